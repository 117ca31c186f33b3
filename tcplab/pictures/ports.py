"""The port map: a cell for each local port of a client, and whether the call at hand may take it.

Below it, how many ports were in use over time, against the number that there are. `draw_ports` shows the
instant at which the last call wants a port, `at` another one. A cell has the
letter and the pattern of its state, the seconds that a TIME_WAIT has left, and ✓ in a thick frame where
the call may take the port. Of a wider range each cell has equally many ports and is filled in proportion.
Which call may take a port, and why, is the model's verdict (`port_table.py`).
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from operator import attrgetter
from typing import NamedTuple

from tcplab.core.table import html_table
from tcplab.core.text import duration, plural
from tcplab.core.trace import Trace
from tcplab.model.ports import PortUse, Verdict
from tcplab.pictures import theme as look
from tcplab.pictures.lanes import Steps, steps, together
from tcplab.pictures.panels import KEPT, Fact, Limits, Panels, only_words, reach, side_by_side
from tcplab.pictures.port_table import LocalPorts, attempts, local_ports, occupancy
from tcplab.pictures.theme import Line, MarkStyle, Picture, Text, rectangle


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
_GAP = 4
#: Height of a cell for many ports, px.
_BIN = 26
#: The text for a trace without a client.
NO_CLIENT = "No program connects in this trace: no local port is wanted."
#: px of the ports over time.
_OVER_TIME = 110


class _Grid(NamedTuple):
    """Where the cells are."""

    columns: int
    height: int
    #: Ports in each.
    each: int

    def box(self, number: int) -> tuple[float, float, float, float]:
        """x from, y from, x to, y to."""
        (row, column), width, gap = divmod(number, self.columns), _WIDE / self.columns, _GAP / 2
        x, y = column * width, row * self.height
        return x + gap, y + gap, x + width - gap, y + self.height - gap


class Occupancy(NamedTuple):
    """A run's local ports at an instant, and how many were in use over time."""

    at: LocalPorts
    #: By the words of a group of states.
    curves: dict[str, Steps]
    #: When the run ended, and when the last TIME_WAIT that it left is over; seconds.
    end_s: float
    over_s: float

    @property
    def total(self) -> Steps:
        """All states together."""
        return steps((t, sum(counts)) for t, counts in together(self.curves))

    @property
    def ceiling(self) -> float:
        """How many there are."""
        return len(self.at.cells)


def occupied(trace: Trace, at: int | None = None) -> Occupancy | None:
    """What this picture shows of a run; None where no program connects."""
    local = local_ports(trace, at)
    if local is None:
        return None
    counts = [(trace.seconds(t), _grouped(states)) for t, states in occupancy(trace, local.host)]
    held, end = [state for state in STYLES if state != "FREE"], trace.seconds(trace.end)
    curves = {STYLES[state].word: steps((t, float(some[state])) for t, some in counts) for state in held}
    return Occupancy(local, curves, end, max(end, counts[-1][0]))


def _facts(run: Occupancy) -> list[Fact]:
    local = run.at
    groups, tried = _groups(local.cells), attempts(local.trace, local.host)
    failed = (f"number {i} ({a.result})" for i, a in enumerate(tried, 1) if a.result.startswith("E"))
    return [
        Fact("{} ports", f"{len(local.cells):,}"),
        Fact("{} of them in TIME_WAIT", f"{groups['TIME_WAIT']:,}"),
        Fact("{} in another state", f"{len(local.cells) - groups['FREE'] - groups['TIME_WAIT']:,}"),
        Fact("the last call may take {}", f"{local.answer().may:,}"),
        Fact("the first call that fails: {}", next(failed, "none")),
    ]


def _ends(run: Occupancy) -> dict[str, float]:
    most, cells = max((count for _, count in run.total), default=0), run.at.cells
    return {
        "s": run.over_s, "_log": max((n for _, n in run.curves["TIME_WAIT"]), default=0) > 0,
        "_first": -cells[0].port, "_last": cells[-1].port, "ports in use": reach(most, run.ceiling),
    }  # fmt: skip


def draw_ports(
    trace: Trace, *, at: int | None = None, kept: Sequence[Trace] = (), limits: Limits | None = None,
    dark: bool = False,
) -> Picture:  # fmt: skip
    """The client's local ports at an instant (nanoseconds), by default when its last call wants a port.

    Below, how many were in use over time. `kept`: up to three runs drawn in grey beside it, the newest last.
    `limits`: the ends of the axes as the picture before had them.
    """
    runs = side_by_side(trace, kept, lambda each: occupied(each, at if each is trace else None))
    if not runs:
        return only_words(NO_CLIENT, limits, dark=dark, revision="ports")
    return _Map([run for _, run in runs], Panels(runs, _ends, _facts, limits, dark=dark)).picture()


class _Map:
    """One picture while it is drawn."""

    def __init__(self, runs: Sequence[Occupancy], panels: Panels[Occupancy]) -> None:
        self.run, *self.beside = runs
        self.now, self.panels, self.colours = self.run.at, panels, panels.colours
        # Cells keep their places as long as there is one for each port.
        self.first, self.last = round(-panels.limits["_first"]), round(panels.limits["_last"])
        if self.last - self.first >= MOST_CELLS:
            self.first, self.last = self.now.cells[0].port, self.now.cells[-1].port

    def picture(self) -> Picture:
        """From the top down: the call, the cells, kept runs, the ports in use over time."""
        panels = self.panels
        panels.lines([f"<b>{escape(text, False)}</b>" for text in _call_words(self.now)])
        groups = _groups(self.now.cells)
        marks: dict[str, MarkStyle | None] = {
            f"{STYLES[state].letter}  {STYLES[state].word}: {count:,}".strip(): STYLES[state].mark
            if state != "FREE" else None
            for state, count in _in_order(groups)
        }  # fmt: skip
        if any(map(_by_bind, self.now.cells)):
            marks[f"{BY_BIND} taken by bind(): every connect() passes it over"] = None
        as_one = len(self.now.cells) > MOST_CELLS
        marks["✗ the call may take none of them" if as_one else "✓ the call may take it"] = None
        panels.legend(marks)
        cells = self._cells()
        # What a kept run's last call found.
        found = ((sign, run.at) for (_, sign), run in zip(KEPT, self.beside, strict=False))
        said = [f"{sign} {_states(local)}; {_call_words(local)[1]}" for sign, local in found]
        if said:
            panels.lines([escape(text, False) for text in said], self.colours.soft)
        self._over_time()
        drawn = panels.picture(
            revision="ports", about="time since the first segment", left=84,
            sentence=_words(self.now), table=_table(self.now),
        )  # fmt: skip
        drawn.layout["xaxis2"] = look.axis(range=[-2, _WIDE + 2], fixedrange=True, anchor=cells)
        drawn.layout.update(dragmode=False, hoverdistance=30)
        return drawn

    def _cells(self) -> str:
        letters, hover, frames, may_frames, outside = Text(), Line(), Line(), Line(), Line()
        fills = {state: Line() for state in STYLES}
        grid = _grid(self.last - self.first + 1)
        pairs = list(zip(self.now.cells, self.now.verdicts(self.now.attempt.ask), strict=True))
        first = self.now.cells[0].port - self.first
        for number in range(-(-(self.last - self.first + 1) // grid.each)):
            if some := pairs[max(number * grid.each - first, 0) : max((number + 1) * grid.each - first, 0)]:
                box = grid.box(number)
                _cell(box, some, fills, letters, self.colours)
                is_open = any(verdict.ok for _, verdict in some)
                (may_frames if is_open and grid.each == 1 else frames).add(rectangle(*box))
                hover.x.append((box[0] + box[2]) / 2)
                hover.y.append((box[1] + box[3]) / 2)
                hover.hover.append(_hover(self.now, some))
            else:
                outside.add(rectangle(*grid.box(number)), "not in the range")
        bottom = grid.box(self.last - self.first if grid.each == 1 else number)[3]
        axis = self.panels.panel(bottom, above=6, range=[bottom, 0], showgrid=False, tickvals=[], anchor="x2")
        if grid.each > 1:
            text = f"a cell stands for {grid.each} ports, filled in proportion; its number: how many are held"
            self.panels.lines([f"<i>{text}</i>"], self.colours.soft)
        thin = {"color": self.colours.soft, "width": 1}
        own = {"xaxis": "x2", "yaxis": axis}
        for state, style in STYLES.items():
            self.panels.area(f"state: {state}", fills[state], style.mark, axis, xaxis="x2", line={"width": 0})
        self.panels.data += [
            frames.trace("may not be taken", line=thin) | own,
            may_frames.trace("may be taken", line={"color": self.colours.states["open"], "width": 3.5}) | own,
            outside.trace("not in the range", line=thin | {"dash": "dot"}) | own,
            hover.trace("ports", mode="markers", marker={"symbol": "square", "size": 26, "opacity": 0}) | own,
            letters.trace("letters", self.colours) | own,
        ]
        return axis

    def _over_time(self) -> None:
        """Ports in use by state, up to the number that there are; TIME_WAIT to its end after the run."""
        run, panels, unit, head = self.run, self.panels, "ports in use", 1.16
        seconds, heading = self.now.trace.seconds, f"<b>{unit}</b> over time"
        moments = [(seconds(self.now.now), "the cells above")]
        if run.over_s > run.end_s:
            moments.append((run.end_s, "the run ends"))
            heading += "; right of the dotted line the run is over, and TIME_WAIT runs on"
        axis = panels.amounts(_OVER_TIME, unit, "ports", heading, head=head, ceiling=attrgetter("ceiling"))
        marks = {style.word: style.mark for style in STYLES.values()}
        panels.stack(axis, "ports", marks, run.curves)
        panels.beside(unit, axis, attrgetter("total"))
        panels.moments(axis, moments)
        refused, y = Line(), 1.08 * min(run.ceiling, panels.limits[unit])
        for each in attempts(self.now.trace, self.now.host):
            if each.result.startswith("E"):
                refused.add([(panels.x(seconds(each.began)), y)], f"{each.call}: {each.result}")
        cross = {"symbol": "x", "size": 11, "color": self.colours.error}
        panels.data.append(refused.trace("refused", mode="markers", marker=cross, yaxis=axis))


def _words(local: LocalPorts) -> str:
    left = [cell.left for cell in local.cells if cell.left is not None]
    ends = f" The first TIME_WAIT ends in {duration(max(min(left), 0))}." if left else ""
    call = f"At {duration(local.now - local.trace.start)}: {' '.join(_call_words(local))}."
    return f"{call} Local ports: {_states(local)}.{ends} {local.answer().says}"


def _states(local: LocalPorts) -> str:
    return ", ".join(f"{count:,} {STYLES[state].word}" for state, count in _in_order(_groups(local.cells)))


def _table(local: LocalPorts) -> str:
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
    return _grouped(Counter(map(attrgetter("state"), cells)))


def _grouped(states: Mapping[str, int]) -> Counter[str]:
    groups: Counter[str] = Counter()
    for state, count in states.items():
        groups[_group(state)] += count
    return groups


def _in_order(groups: Counter[str]) -> Iterator[tuple[str, int]]:
    return ((state, groups[state]) for state in STYLES if groups[state])


def _grid(count: int) -> _Grid:
    if count <= 6:
        return _Grid(max(count, 3), 92, 1)
    if count <= MOST_CELLS:
        return _Grid(10, 50, 1)
    each = next(n for n in (10, 20, 50, 100, 200, 500) if -(-count // n) <= _MOST_BINS)
    return _Grid(20, _BIN, each)


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
