"""The port map: a cell for each local port of a client, and whether the call at hand may take it.

`draw_ports` shows the instant at which the last call wants a port, `at` another one. A cell has the
letter and the pattern of its state, the seconds that a TIME_WAIT has left, and ✓ in a thick frame where
the call may take the port. Of a wider range each cell has equally many ports and is filled in proportion.
Which call may take a port, and why, is the model's verdict (`port_table.py`).
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from operator import attrgetter
from typing import NamedTuple

from tcplab.core.table import html_table
from tcplab.core.text import duration, plural
from tcplab.core.trace import Trace
from tcplab.model.ports import PortUse, Verdict
from tcplab.pictures import theme as look
from tcplab.pictures.port_table import LocalPorts, local_ports
from tcplab.pictures.theme import Line, MarkStyle, Picture, Text, filled, rectangle


class Style(NamedTuple):
    """How the ports of one state are drawn."""

    letter: str
    word: str
    mark: MarkStyle


#: In the order of the legend; a state that is not here is drawn like another one, by `_LIKE`.
STYLES = {
    "FREE": Style("", "free", MarkStyle("paper")),
    "ESTABLISHED": Style("E", "ESTABLISHED", MarkStyle("open")),
    "TIME_WAIT": Style("T", "TIME_WAIT", MarkStyle("waiting", "/")),
    "BOUND": Style("B", "bound, not connected", MarkStyle("opening", "x")),
    "SYN_SENT": Style("S", "SYN_SENT", MarkStyle("opening", "|")),
    "FIN_WAIT_2": Style("F", "FIN_WAIT", MarkStyle("closing first", "\\")),
    "LAST_ACK": Style("C", "CLOSE_WAIT or LAST_ACK", MarkStyle("closing second", "-")),
    "RESERVED": Style("R", "reserved", MarkStyle("waiting", ".")),
}
_LIKE = {
    "FIN_WAIT_1": "FIN_WAIT_2", "CLOSING": "FIN_WAIT_2", "CLOSE_WAIT": "LAST_ACK", "SYN_RECV": "SYN_SENT",
    "LISTEN": "BOUND",
}  # fmt: skip
#: Added to the letter of a port that was taken by bind().
BY_BIND = "ᵇ"
#: Up to so many ports, each has a cell of its own.
MOST_CELLS = 120
#: The map of a wider range has at most so many cells.
_MOST_BINS = 300
#: The width for which cells are laid out, px: they grow with the picture.
_WIDE = 960
#: The narrowest picture in which the legend's texts do not overlap, px.
_NARROW = 620
_GAP = 4
#: Height of a cell for many ports, px.
_BIN = 30
#: The text for a trace without a client.
NO_CLIENT = "No program connects in this trace: no local port is wanted."
_HEAD, _LINE = 54, 24


class _Grid(NamedTuple):
    """Where the cells are."""

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


def draw_ports(
    trace: Trace, *, at: int | None = None, title: str | None = None, dark: bool = False
) -> Picture:
    """The client's local ports at an instant (nanoseconds), by default when its last call wants a port."""
    return _draw(local_ports(trace, at), look.theme(dark), title)


def port_map(trace: Trace, at: int | None = None) -> tuple[Picture, str, str]:
    """Picture, sentence and HTML table of one instant.

    The sentence says what is called and how many ports the call may take, the table what every kind of
    call would get.
    """
    local = local_ports(trace, at)
    return _draw(local, look.LIGHT, None), _words(local), _table(local)


def _draw(local: LocalPorts | None, colours: look.Theme, title: str | None) -> Picture:
    captions, letters, hover = Text(), Text(), Line()
    fills = {state: Line() for state in STYLES}
    frames, may_frames = Line(), Line()
    bottom = float(_HEAD)
    if local is None:
        captions.add(0, 14, NO_CLIENT, "middle right", colours.ink)
    else:
        cells = local.cells
        for y, text in zip((12, 34), _call_words(local), strict=True):
            captions.add(0, y, f"<b>{escape(text, False)}</b>", "middle right", colours.ink)
        bottom = _legend(cells, fills, frames, captions, colours)
        grid = _grid(len(cells), bottom + 6)
        verdicts = list(local.verdicts(local.attempt.ask))
        pairs = list(zip(cells, verdicts, strict=True))
        for number, first in enumerate(range(0, len(pairs), grid.each)):
            some = pairs[first : first + grid.each]
            box = grid.box(number)
            _cell(box, some, fills, letters, colours)
            is_open = any(verdict.ok for _, verdict in some)
            (may_frames if is_open and grid.each == 1 else frames).add(rectangle(*box))
            hover.x.append((box[0] + box[2]) / 2)
            hover.y.append((box[1] + box[3]) / 2)
            hover.hover.append(_hover(local, some))
            bottom = box[3]
        if grid.each > 1:
            bottom += _LINE
            text = f"a cell stands for {grid.each} ports, filled in proportion; its number: how many are held"
            captions.add(0, bottom - 6, f"<i>{text}</i>", "middle right", colours.soft)
    data = []
    for state, style in STYLES.items():
        colour = colours.of(style.mark)
        area = filled(colour, 0.35, style.mark.pattern, size=9, ground=0.18)
        data.append(fills[state].trace(f"state: {state}", line={"width": 0, "color": colour}, **area))
    data += [
        frames.trace("may not be taken", line={"color": colours.soft, "width": 1}),
        may_frames.trace("may be taken", line={"color": colours.states["open"], "width": 3.5}),
        hover.trace("ports", mode="markers", marker={"symbol": "square", "size": 26, "opacity": 0}),
        letters.trace("letters", colours),
        captions.trace("captions", colours),
    ]
    layout = look.layout(colours, bottom + 8, title) | {
        "uirevision": "ports",
        "dragmode": False,
        "hoverdistance": 30,
        "xaxis": look.axis(range=[-2, _WIDE + 2], fixedrange=True),
        "yaxis": look.axis(range=[bottom + 8, 0], fixedrange=True),
    }
    return Picture(data, layout)


def _words(local: LocalPorts | None) -> str:
    if local is None:
        return NO_CLIENT
    groups = _groups(local.cells)
    states = ", ".join(f"{count:,} {STYLES[state].word}" for state, count in _in_order(groups))
    left = [cell.left for cell in local.cells if cell.left is not None]
    ends = f" The first TIME_WAIT ends in {duration(max(min(left), 0))}." if left else ""
    when = duration(local.now - local.trace.start)
    return f"At {when}: {' '.join(_call_words(local))}. Local ports: {states}.{ends} {local.answer().says}"


def _table(local: LocalPorts | None) -> str:
    if local is None:
        return ""
    rows = [
        (
            each.call,
            f"{'✓' if each.may else '✗'} {each.may:,} of {each.asked:,}",
            each.errno or "ok",
            each.says,
        )
        for each in local.answers()
    ]
    caption = f"what each call would get at {duration(local.now - local.trace.start)}"
    headings, classes = ("call", "ports", "result", "for example"), "tcplab-table wraps"
    return html_table(headings, rows, caption=caption, row_headings=True, classes=classes)


def _call_words(local: LocalPorts) -> tuple[str, str]:
    """``client calls bind(0.0.0.0:0):`` and ``✗ 0 of 6 ports may be taken (EADDRINUSE)``."""
    answer, attempt = local.answer(), local.attempt
    when = "calls" if attempt.began == local.now else "will call" if attempt.began > local.now else "called"
    now = "" if when == "calls" else "now "
    named = attempt.ask.port
    which = f"port {named} may" if named else f"{answer.may:,} of {plural(answer.asked, 'port')} may"
    no = " not" if named and not answer.may else ""
    mark, errno = ("✓", "") if answer.may else ("✗", f" ({answer.errno})")
    return f"{local.host} {when} {attempt.call}:", f"{mark} {which}{no} {now}be taken{errno}"


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


def _cell(
    box: tuple[float, float, float, float], some: list[tuple[PortUse, Verdict]], fills: dict[str, Line],
    letters: Text, colours: look.Theme,
) -> None:  # fmt: skip
    """Fill one cell, from left to right in proportion, and label it."""
    x0, y0, x1, y1 = box
    groups = _groups(cell for cell, _ in some)
    x = x0
    for state, count in _in_order(groups):
        wide = (x1 - x0) * count / len(some)
        fills[state].add(rectangle(x, y0, x + wide, y1))
        x += wide
    middle = (x0 + x1) / 2, (y0 + y1) / 2
    if y1 - y0 < _BIN:
        no = "" if any(verdict.ok for _, verdict in some) else " ✗"
        if taken := len(some) - groups["FREE"]:
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


def _hover(local: LocalPorts, some: list[tuple[PortUse, Verdict]]) -> str:
    first, last = some[0][0], some[-1][0]
    if len(some) > 1:
        groups = _groups(cell for cell, _ in some)
        lines = [f"<b>ports {first.port} to {last.port}</b>"]
        lines += [f"{count} {STYLES[state].word}" for state, count in _in_order(groups)]
        lines.append(f"the call may take {sum(verdict.ok for _, verdict in some)} of them")
        no = next((verdict.says for _, verdict in some if not verdict.ok), "")
        return _joined(lines, no)
    verdict = some[0][1]
    state = first.state if first.claims else STYLES[_group(first.state)].word
    lines = [f"<b>port {first.port}</b>: {state}"]
    for claim in first.claims:
        to = f" → {claim.remote}" if claim.remote else ""
        how = "connect()" if claim.made_by_connect else "bind()"
        reuse = ", SO_REUSEADDR" if claim.reuse_address else ""
        left = "" if claim.expires is None else f", {duration(max(claim.expires - local.now, 0))} left"
        lines.append(f"{claim.local}{to}: {claim.state}{left} (taken by {how}{reuse})")
    lines.append("✓ may be taken:" if verdict.ok else "✗ may not be taken:")
    return _joined(lines, verdict.says)


def _joined(lines: list[str], says: str) -> str:
    return "<br>".join([*lines, *(escape(line, False) for line in textwrap.wrap(says, 70))])


def _legend(
    cells: list[PortUse], fills: dict[str, Line], frames: Line, captions: Text, colours: look.Theme
) -> float:
    """A swatch, a letter and a word for every state in the map; returns the y below it."""
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
            fills[state].add(rectangle(x + 2, y, x + 20, y + 14))
            frames.add(rectangle(x + 2, y, x + 20, y + 14))
        captions.add(x + (26 if state in fills else 2), y + 7, text, "middle right", colours.ink)
        x += wide
    return y + _LINE
