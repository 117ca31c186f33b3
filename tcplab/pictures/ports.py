"""The port map: each local port of a client a cell, and whether the call at hand may take it.

`ports(trace)` shows the moment at which the last call wants a port, `at` another one. A cell has the
letter and the pattern of its state, the seconds that a TIME_WAIT has left, and ✓ in a thick frame where
the call may take the port. More ports than fit are put together, equally many to a cell, which then is
filled in proportion. Who may take what, and why, is the model's own word (`localports.py`).
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from operator import attrgetter
from typing import Any, NamedTuple

import plotly.graph_objects as go

from tcplab.core.text import duration
from tcplab.core.trace import Trace
from tcplab.model.ports import PortUse, Verdict
from tcplab.pictures import theme as look
from tcplab.pictures.port_table import LocalPorts, local_ports
from tcplab.pictures.theme import Line, Picture, Text

__all__ = ["draw_ports", "port_map", "ports", "ports_table", "ports_words"]


class Style(NamedTuple):
    """How a state is told apart, beside its colour."""

    letter: str
    word: str
    #: A fill pattern of plotly; empty = plain.
    pattern: str
    #: Which of the theme's colours of states; empty = the paper's.
    phase: str


#: In the order of the legend; a state that is not here looks like its neighbour in `_LIKE`.
STYLES = {
    "FREE": Style("", "free", "", ""),
    "ESTABLISHED": Style("E", "ESTABLISHED", "", "open"),
    "TIME_WAIT": Style("T", "TIME_WAIT", "/", "waiting"),
    "BOUND": Style("B", "bound, not connected", "x", "opening"),
    "SYN_SENT": Style("S", "SYN_SENT", "|", "opening"),
    "FIN_WAIT_2": Style("F", "FIN_WAIT", "\\", "closing first"),
    "LAST_ACK": Style("C", "CLOSE_WAIT or LAST_ACK", "-", "closing second"),
    "RESERVED": Style("R", "reserved", ".", "waiting"),
}
_LIKE = {
    "FIN_WAIT_1": "FIN_WAIT_2", "CLOSING": "FIN_WAIT_2", "CLOSE_WAIT": "LAST_ACK", "SYN_RECV": "SYN_SENT",
    "LISTEN": "BOUND",
}  # fmt: skip
#: Added to the letter of a port for which somebody has called bind().
BY_BIND = "ᵇ"
#: Up to so many ports each has a cell of its own.
MOST_CELLS = 120
#: So many cells at most stand in the map of a wider range.
_MOST_BINS = 300
#: The width that cells are laid out for, px: they grow with the picture.
_WIDE = 960
#: The narrowest place in which the words of the legend keep apart, px.
_NARROW = 620
_GAP = 4
#: Height of a cell for many ports, px.
_BIN = 30
#: What is said of a trace without a client.
NOBODY = "Nobody connects in this trace: no local port is wanted."
_HEAD, _LINE = 54, 24


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where cells stand."""

    columns: int
    height: int
    #: Ports in each.
    each: int
    top: float

    @property
    def width(self) -> float:
        return _WIDE / self.columns

    def box(self, number: int) -> tuple[float, float, float, float]:
        """x from, y from, x to, y to."""
        row, column = divmod(number, self.columns)
        x, y = column * self.width, self.top + row * self.height
        return x + _GAP / 2, y + _GAP / 2, x + self.width - _GAP / 2, y + self.height - _GAP / 2


def ports(trace: Trace, *, at: int | None = None, title: str | None = None, dark: bool = False) -> go.Figure:
    """The client's local ports at a moment (nanoseconds); without one, when its last call wants a port."""
    return draw_ports(trace, at=at, title=title, dark=dark).figure()


def draw_ports(
    trace: Trace, *, at: int | None = None, title: str | None = None, dark: bool = False
) -> Picture:
    """What `ports` shows, as plain data."""
    return _draw(local_ports(trace, at), look.theme(dark), title)


def port_map(trace: Trace, at: int | None = None) -> tuple[Picture, str, str]:
    """Picture, sentence and table of one moment, worked out once."""
    told = local_ports(trace, at)
    return _draw(told, look.LIGHT, None), _words(told), _table(told)


def ports_words(trace: Trace, at: int | None = None) -> str:
    """The port map as a sentence: who calls what, how many ports it may take, and why not the others."""
    return _words(local_ports(trace, at))


def ports_table(trace: Trace, at: int | None = None) -> str:
    """HTML: what every kind of call would get at that moment, whichever was made."""
    return _table(local_ports(trace, at))


def _draw(told: LocalPorts | None, colours: look.Theme, title: str | None) -> Picture:
    captions, letters, hover = Text(), Text(), Line()
    fills = {state: Line() for state in STYLES}
    frames, may_frames = Line(), Line()
    bottom = float(_HEAD)
    if told is None:
        captions.add(0, 14, NOBODY, "middle right", colours.ink)
    else:
        cells = told.cells
        for y, text in zip((12, 34), _call_words(told), strict=True):
            captions.add(0, y, f"<b>{escape(text, False)}</b>", "middle right", colours.ink)
        bottom = _legend(cells, fills, frames, captions, colours)
        grid = _grid(len(cells), bottom + 6)
        verdicts = list(told.verdicts(told.attempt.ask))
        for number, some in enumerate(_chunks(cells, verdicts, grid.each)):
            box = grid.box(number)
            _cell(box, some, fills, letters, colours)
            is_open = any(verdict.ok for _, verdict in some)
            (may_frames if is_open and grid.each == 1 else frames).add(_outline(*box))
            hover.x.append((box[0] + box[2]) / 2)
            hover.y.append((box[1] + box[3]) / 2)
            hover.hover.append(_hover(told, some))
            bottom = box[3]
        if grid.each > 1:
            bottom += _LINE
            text = f"a cell stands for {grid.each} ports, filled in proportion; its number: how many are held"
            captions.add(0, bottom - 6, f"<i>{text}</i>", "middle right", colours.soft)
    data = [_fill(state, fills[state], colours) for state in STYLES]
    data += [
        frames.trace("may not be taken", line={"color": colours.soft, "width": 1}),
        may_frames.trace("may be taken", line={"color": colours.states["open"], "width": 3.5}),
        hover.trace("ports", mode="markers", marker={"symbol": "square", "size": 26, "opacity": 0}),
        letters.trace("letters", colours),
        captions.trace("captions", colours),
    ]
    margin = {"l": 16, "r": 16, "t": 36 if title else 12, "b": 8}
    height = bottom + 8 + margin["t"] + margin["b"]
    layout = look.layout(colours, height=height, margin=margin, title=title) | {
        "uirevision": "ports",
        "dragmode": False,
        "hoverdistance": 30,
        "xaxis": look.axis(range=[-2, _WIDE + 2], fixedrange=True),
        "yaxis": look.axis(range=[bottom + 8, 0], fixedrange=True),
    }
    return Picture(data, layout)


def _words(told: LocalPorts | None) -> str:
    if told is None:
        return NOBODY
    groups = _groups(told.cells)
    states = ", ".join(f"{count:,} {STYLES[state].word}" for state, count in _in_order(groups))
    left = [cell.left for cell in told.cells if cell.left is not None]
    ends = f" The first TIME_WAIT ends in {duration(max(min(left), 0))}." if left else ""
    when = duration(told.now - told.trace.start)
    return f"At {when}: {' '.join(_call_words(told))}. Local ports: {states}.{ends} {told.answer().says}"


def _table(told: LocalPorts | None) -> str:
    if told is None:
        return ""
    rows = []
    for answer in told.answers():
        count = f"{'✓' if answer.may else '✗'} {answer.may:,} of {answer.asked:,}"
        texts = "".join(f"<td>{escape(text)}</td>" for text in (count, answer.errno or "ok", answer.says))
        rows.append(f'<tr><th scope="row">{escape(answer.call)}</th>{texts}</tr>')
    head = "".join(f'<th scope="col">{name}</th>' for name in ("call", "ports", "result", "for example"))
    when = duration(told.now - told.trace.start)
    return (
        f'<table class="tcplab-table wraps"><caption>what each call would get at {when}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _call_words(told: LocalPorts) -> tuple[str, str]:
    """``client calls bind(0.0.0.0:0):`` and ``✗ 0 of 6 ports may be taken (EADDRINUSE)``."""
    answer, attempt = told.answer(), told.attempt
    when = "calls" if attempt.began == told.now else "will call" if attempt.began > told.now else "called"
    now = "" if when == "calls" else "now "
    named = attempt.ask.port
    which = f"port {named} may" if named else f"{answer.may:,} of {_ports(answer.asked)} may"
    no = " not" if named and not answer.may else ""
    mark, errno = ("✓", "") if answer.may else ("✗", f" ({answer.errno})")
    return f"{told.host} {when} {attempt.call}:", f"{mark} {which}{no} {now}be taken{errno}"


def _ports(count: int) -> str:
    return f"{count:,} port" if count == 1 else f"{count:,} ports"


def _group(state: str) -> str:
    """The state by whose style another is drawn."""
    alike = _LIKE.get(state, state)
    return alike if alike in STYLES else "BOUND"


def _groups(cells: Iterable[PortUse]) -> Counter[str]:
    groups: Counter[str] = Counter()
    for state, count in Counter(map(attrgetter("state"), cells)).items():
        groups[_group(state)] += count
    return groups


def _in_order(groups: Counter[str]) -> Iterator[tuple[str, int]]:
    return ((state, groups[state]) for state in STYLES if groups[state])


def _grid(count: int, top: float) -> _Grid:
    if count <= 6:
        return _Grid(max(count, 3), 92, 1, top)
    if count <= MOST_CELLS:
        return _Grid(10, 50, 1, top)
    each = next(n for n in (10, 20, 50, 100, 200, 500) if -(-count // n) <= _MOST_BINS)
    return _Grid(20, _BIN, each, top)


def _chunks(
    cells: list[PortUse], verdicts: list[Verdict], each: int
) -> Iterator[list[tuple[PortUse, Verdict]]]:
    pairs = list(zip(cells, verdicts, strict=True))
    return (pairs[i : i + each] for i in range(0, len(pairs), each))


def _cell(
    box: tuple[float, float, float, float],
    some: list[tuple[PortUse, Verdict]],
    fills: dict[str, Line],
    letters: Text,
    colours: look.Theme,
) -> None:
    """Fill one cell, from left to right in proportion, and write into it."""
    x0, y0, x1, y1 = box
    groups = _groups(cell for cell, _ in some)
    x = x0
    for state, count in _in_order(groups):
        wide = (x1 - x0) * count / len(some)
        fills[state].add(_outline(x, y0, x + wide, y1))
        x += wide
    middle = (x0 + x1) / 2, (y0 + y1) / 2
    if y1 - y0 < _BIN:
        taken = len(some) - groups["FREE"]
        no = "" if any(verdict.ok for _, verdict in some) else " ✗"
        if taken:
            letters.add(*middle, f"{taken}{no}", "middle center", colours.ink)
        return
    ((cell, verdict),) = some
    mark = "✓" if verdict.ok else "✗"
    if y1 - y0 > 80:
        left = f"{_left(cell)} left" if cell.left is not None else ""
        lines = [f"<b>{cell.port}</b>", _state_words(cell), left, mark]
    else:
        lines = [f"{cell.port} {mark}", f"<b>{_letter(cell)}</b> {_left(cell)}" if cell.claims else ""]
    letters.add(*middle, "<br>".join(filter(None, lines)), "middle center", colours.ink)


def _state_words(cell: PortUse) -> str:
    style = STYLES[_group(cell.state)]
    word = cell.state if cell.claims and cell.state != "BOUND" else style.word.split(",")[0]
    return f"{word} {BY_BIND}" if _by_bind(cell) else word


def _letter(cell: PortUse) -> str:
    return STYLES[_group(cell.state)].letter + (BY_BIND if _by_bind(cell) else "")


def _by_bind(cell: PortUse) -> bool:
    return any(not claim.made_by_connect for claim in cell.claims)


def _left(cell: PortUse) -> str:
    return "" if cell.left is None else duration(max(cell.left, 0))


def _hover(told: LocalPorts, some: list[tuple[PortUse, Verdict]]) -> str:
    first, last = some[0][0], some[-1][0]
    if len(some) > 1:
        groups = _groups(cell for cell, _ in some)
        lines = [f"<b>ports {first.port} to {last.port}</b>"]
        lines += [f"{count} {STYLES[state].word}" for state, count in _in_order(groups)]
        lines.append(f"the call may take {sum(verdict.ok for _, verdict in some)} of them")
        no = next((verdict.says for _, verdict in some if not verdict.ok), "")
        return "<br>".join([*lines, *_wrapped(no)])
    verdict = some[0][1]
    lines = [
        f"<b>port {first.port}</b>: {STYLES[_group(first.state)].word if not first.claims else first.state}"
    ]
    for claim in first.claims:
        to = f" → {claim.remote}" if claim.remote else ""
        how = "connect()" if claim.made_by_connect else "bind()"
        reuse = ", SO_REUSEADDR" if claim.reuse_address else ""
        left = "" if claim.expires is None else f", {duration(max(claim.expires - told.now, 0))} left"
        lines.append(f"{claim.local}{to}: {claim.state}{left} (taken by {how}{reuse})")
    lines.append("✓ may be taken:" if verdict.ok else "✗ may not be taken:")
    return "<br>".join([*lines, *_wrapped(verdict.says)])


def _wrapped(text: str) -> Iterable[str]:
    return (escape(line, False) for line in textwrap.wrap(text, 70))


def _legend(
    cells: list[PortUse], fills: dict[str, Line], frames: Line, captions: Text, colours: look.Theme
) -> float:
    """A box, a letter and a word for every state that is there; gives the y below it."""
    groups = _groups(cells)
    items = [
        (state, f"{STYLES[state].letter}  {STYLES[state].word}: {count:,}".strip())
        for state, count in _in_order(groups)
    ]
    if any(map(_by_bind, cells)):
        items.append(("", f"{BY_BIND} taken by bind(): every connect() passes it over"))
    together = len(cells) > MOST_CELLS
    items.append(("", "✗ the call may take none of them" if together else "✓ the call may take it"))
    x, y = 0.0, float(_HEAD)
    for state, text in items:
        wide = (len(text) * look.CHARACTER + 40) * _WIDE / _NARROW
        if x and x + wide > _WIDE:
            x, y = 0.0, y + _LINE
        if state in fills:
            fills[state].add(_outline(x + 2, y, x + 20, y + 14))
            frames.add(_outline(x + 2, y, x + 20, y + 14))
        captions.add(x + (26 if state in fills else 2), y + 7, text, "middle right", colours.ink)
        x += wide
    return y + _LINE


def _outline(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]


def _fill(state: str, shape: Line, colours: look.Theme) -> dict[str, Any]:
    style = STYLES[state]
    colour = colours.states[style.phase] if style.phase else colours.paper
    return shape.trace(
        f"state: {state}",
        fill="toself",
        line={"width": 0, "color": colour},
        fillcolor=look.tint(colour, 0.35) if style.phase else colours.paper,
        fillpattern={
            "shape": style.pattern,
            "fgcolor": colour,
            "bgcolor": look.tint(colour, 0.18) if style.phase else colours.paper,
            "size": 9,
            "solidity": 0.16,
        },
    )
