"""The pictures of the studies: panels above each other that share a clock.

- **Port churn**: the ports in use below their ceiling with the outages in which every connect() failed;
  attempts a second, those that succeeded and those that failed.
- **Pool**: the connections as rows, how long requests take, and how many fail. A connection that is alive
  is a plain bar; dead and still in the pool it is hatched; a mark is where the next one begins.
- **Failover**: the outage cut into its parts, one row each, on a clock from the failure on; each part
  begins where the one before it ends. Below, where the pool's connections lead, and the answers to requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, floor, log10
from typing import Any, NamedTuple

from tcplab.core.text import SECOND, duration
from tcplab.core.trace import Trace
from tcplab.pictures import theme as look
from tcplab.pictures.theme import Line, MarkStyle, Picture, Text, Theme, filled, rectangle

#: More rows of connections than these would be thinner than a line of text.
_MOST_ROWS = 20
#: Half the thickness of a row.
_HALF = 0.34
#: An outage narrower than this part of the picture has no text.
_WORTH_A_WORD = 0.045
#: Milliseconds as powers of ten that the latencies' axis names.
_POWERS = range(8)
#: How far the answers' axis reaches, in requests a second: what had waited comes in one burst.
_CEILING = 2.2
#: From this part of the width on, a bar's length is not written behind it; and the room for it before.
_FAR, _ROOM = 0.7, 0.35
_PATTERN = {"": "plain", ".": "dotted", "/": "hatched", "x": "crossed"}


class BarKind(NamedTuple):
    """What one kind of bar means, and how it is drawn."""

    words: str
    mark: MarkStyle
    #: How much of its colour the fill has.
    alpha: float = 0.4


#: The answers to a request, from the bottom up.
_ANSWERS = {
    "writes_accepted": BarKind("writes accepted", MarkStyle("open"), 0.7),
    "reads": BarKind("reads", MarkStyle("waiting"), 0.7),
    "reads_from_old_primary": BarKind("reads from the old primary", MarkStyle("opening", "."), 0.45),
    "writes_refused": BarKind("writes refused", MarkStyle("closing second", "/"), 0.45),
    "errors": BarKind("errors", MarkStyle("error", "x"), 0.45),
}
#: Where a connection leads, and whether it is alive.
_LEADS = {
    "primary": BarKind("to the primary", MarkStyle("open")),
    "old": BarKind("to the old primary, after the failure", MarkStyle("closing second", "/")),
    "new": BarKind("to the new primary", MarkStyle("closing first", ".")),
}
_ALIVE = {
    "alive": BarKind("alive", MarkStyle("open"), 0.55),
    "zombie": BarKind("dead, and still in the pool", MarkStyle("error", "/"), 0.15),
}


class _Panels:
    """The panels of one study on the run's clock, from the top down."""

    def __init__(self, trace: Trace, dark: bool) -> None:
        self.trace, self.colours = trace, look.theme(dark)
        length = trace.end / SECOND
        #: Seconds of the clock's unit, its name, and the end of the clock.
        self.unit, self.name = look.clock(length)
        self.end = length / self.unit
        #: The steps of the curves: where each begins, and the last ends.
        self.t = [round(t / self.unit, 6) for t in (*trace.series["t_s"], length)]
        #: Connections that have a row.
        self.rows = min(trace.parameters.get("size", 0), _MOST_ROWS)
        self._axes: dict[str, Any] = {}

    def panel(self, low: float, high: float, title: str = "", **properties: Any) -> None:
        """One more panel, between two parts of the height."""
        number = len(self._axes) + 1
        axis = look.grid_axis(self.colours, title, domain=[low, high], fixedrange=True, **properties)
        self._axes[f"yaxis{number if number > 1 else ''}"] = axis

    def row_panel(self, low: float, high: float, step: int) -> None:
        """The panel of the connections' rows, numbered in steps."""
        numbers = list(range(0, self.rows, step))
        self.panel(
            low, high, "connection", range=[-0.6, self.rows + 0.9], showgrid=False,
            tickvals=numbers, ticktext=[str(row + 1) for row in numbers],
        )  # fmt: skip

    def picture(
        self, data: list[dict[str, Any]], height: float, title: str | None, about: str,
        left: float, right: float,
    ) -> Picture:  # fmt: skip
        """All panels above the clock."""
        layout = look.layout(self.colours, height, title, left=left, right=right, bottom=56)
        clock = look.grid_axis(
            self.colours, about, range=[0, self.end], ticksuffix=f" {self.name}",
            anchor=f"y{len(self._axes)}", ticklabelstandoff=6,
        )  # fmt: skip
        revision = {"uirevision": self.trace.experiment}
        return Picture(data, layout | revision | {"xaxis": clock} | self._axes)

    def steps(self, name: str, values: Sequence[float], **properties: Any) -> dict[str, Any]:
        """A step curve, without the points between two equal ones."""
        kept = [0, *(i for i in range(1, len(values)) if values[i] != values[i - 1])]
        x, y = [self.t[i] for i in kept] + [self.t[-1]], [values[i] for i in kept] + [values[-1]]
        return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y} | properties

    def connections(self, kinds: Mapping[str, BarKind], axis: str) -> list[dict[str, Any]]:
        """A row of bars for each connection, a bar for each of its states."""
        bars = {state: Line() for state in kinds}
        for row, since, until, state in self.trace.series["connections"]:
            if row < self.rows:
                corners = rectangle(since / self.unit, row - _HALF, until / self.unit, row + _HALF)
                hover = f"connection {row + 1}: {kinds[state].words}, {since:,.4g} s to {until:,.4g} s"
                bars[state].add(corners, hover)
        made = []
        for state, (words, mark, alpha) in kinds.items():
            colour = self.colours.of(mark)
            area = filled(colour, alpha, mark.pattern, solidity=0.3)
            made.append(bars[state].trace(words, line={"width": 1, "color": colour}, yaxis=axis, **area))
        return made

    def legend(self, kinds: Mapping[str, BarKind], *more: str) -> str:
        """What the bars of the rows mean."""
        drawn = {state for row, _, _, state in self.trace.series["connections"] if row < self.rows}
        parts = [_key(kind) for state, kind in kinds.items() if state in drawn]
        size = self.trace.parameters["size"]
        if size > self.rows:
            more = (*more, f"the first {self.rows} of {size:,}")
        return "   ".join([*parts, *more])


def _key(kind: BarKind) -> str:
    return f"{_PATTERN[kind.mark.pattern]}: {kind.words}"


# -- port churn ------------------------------------------------------------------------------


def draw_churn(trace: Trace, *, title: str | None = None, dark: bool = False) -> Picture:
    """The curves of a `port_churn` run against its ceiling, and the attempts a second."""
    panels = _Panels(trace, dark)
    series, ceiling, rate = trace.series, trace.outcome["ceiling"], trace.parameters["rate_per_s"]
    colours, end = panels.colours, panels.end
    most = max(*series["in_use_high"], *series["time_wait_high"])
    top = max(most, ceiling if most > 0.2 * ceiling else 1.2 * most)
    captions, outages = Text(), Line()
    for began, until in series["outages_s"]:
        x0, x1 = round(began / panels.unit, 6), round(until / panels.unit, 6)
        outages.add(rectangle(x0, 0, x1, top))
        if x1 - x0 >= _WORTH_A_WORD * end:
            text = f"<b>no port<br>{duration(round((until - began) * SECOND))}</b>"
            captions.add((x0 + x1) / 2, 0.3 * top, text, "middle center", colours.error)
    waiting = look.tint(colours.states["waiting"], 0.35)
    dotted = {"shape": "hv", "width": 1.4, "dash": "dot", "color": colours.timers["timewait"]}
    when = f"<br>at %{{x:.1f}} {panels.name}<extra></extra>"
    data = [
        outages.trace("outages", line={"width": 0}, **filled(colours.error, 0.12, "/")),
        panels.steps(
            "in TIME_WAIT", series["time_wait_high"], fill="tozeroy", fillcolor=waiting, line=dotted,
            hovertemplate="%{y:,} sockets in TIME_WAIT" + when,
        ),
        panels.steps(
            "ports in use, least", series["in_use_low"], line={"shape": "hv", "width": 0}, hoverinfo="skip"
        ),
        panels.steps(
            "ports in use", series["in_use_high"], fill="tonexty", fillcolor=look.tint(colours.probe, 0.5),
            line={"shape": "hv", "width": 2, "color": colours.probe},
            hovertemplate="%{y:,} ports in use" + when,
        ),
        _ceiling(captions, colours, ceiling, top, end),
        *_attempts(panels),
    ]  # fmt: skip
    captions.add(end, 1.02 * top, _churn_legend(trace), "top left", colours.ink)
    data.append(captions.trace("captions", colours))
    panels.panel(0.3, 1, "local ports", range=[0, 1.14 * top], tickformat=",d", nticks=5)
    panels.panel(
        0, 0.2, "attempts/s", range=[0, 1.4 * rate], tickvals=[rate], ticktext=[f"{rate:,.10g}"]
    )  # fmt: skip
    return panels.picture(data, 420, title, "time since the first attempt", left=110, right=24)


def _ceiling(captions: Text, colours: Theme, ceiling: int, top: float, end: float) -> dict[str, Any]:
    line = Line()
    if ceiling <= top:
        line.add([(0, ceiling), (end, ceiling)])
        text = f"<b>{ceiling:,} ports: there are no more</b>"
        captions.add(0, 1.02 * ceiling, text, "top right", colours.ink)
    else:
        captions.add(0, top, f"the ceiling, {ceiling:,} ports, is far above", "top right", colours.soft)
    return line.trace("ceiling", line={"color": colours.ink, "width": 2, "dash": "dash"})


def _churn_legend(trace: Trace) -> str:
    if not trace.outcome["peak_time_wait"]:
        return "— ports in use"
    if trace.outcome["peak_time_wait"] > max(trace.series["in_use_high"]):
        return "— ports that no connect() may take   ··· sockets in TIME_WAIT (grey)"
    return "— ports in use   ··· of them in TIME_WAIT (grey)"


def _attempts(panels: _Panels) -> list[dict[str, Any]]:
    """The lower panel: attempts a second, and those of them that succeeded."""
    colours, series = panels.colours, panels.trace.series
    widths = [(b - a) * panels.unit for a, b in pairwise(panels.t)]
    counts = zip(series["opened"], series["refused"], widths, strict=True)
    rates = [
        (round(opened / width, 3), round((opened + refused) / width, 3)) for opened, refused, width in counts
    ]
    green = colours.states["open"]
    return [
        panels.steps(
            "opened a second", [opened for opened, _ in rates], fill="tozeroy",
            fillcolor=look.tint(green, 0.5), line={"shape": "hv", "width": 1, "color": green},
            hovertemplate="%{y:,.0f} a second are opened<extra></extra>", yaxis="y2",
        ),
        panels.steps(
            "attempts a second", [every for _, every in rates],
            line={"shape": "hv", "width": 1.6, "color": colours.ink},
            hovertemplate="%{y:,.0f} attempts a second<extra></extra>", yaxis="y2",
            **filled(colours.error, 0.12, "/") | {"fill": "tonexty"},
        ),
    ]  # fmt: skip


# -- pool ------------------------------------------------------------------------------------


def draw_pool(trace: Trace, *, title: str | None = None, dark: bool = False) -> Picture:
    """The connections of a `pool` run over time, the latency of its requests, and the errors."""
    panels = _Panels(trace, dark)
    colours, rows, errors = panels.colours, panels.rows, trace.series["errors"]
    replaced = [
        (since / panels.unit, row)
        for row, since, _, state in trace.series["connections"]
        if state == "alive" and since and row < rows
    ]
    captions = Text()
    new = ["◆ a new one"] if replaced else []
    captions.add(0, rows + 0.1, panels.legend(_ALIVE, *new), "top right", colours.ink)
    data = [
        *panels.connections(_ALIVE, "y"),
        {
            "type": "scatter", "mode": "markers", "name": "replaced",
            "x": [x for x, _ in replaced], "y": [row for _, row in replaced],
            "marker": {"symbol": "diamond", "size": 9, "color": colours.ink},
            "hovertemplate": "connection %{y}: a new one<extra></extra>",
        },
        _latency(panels), _errors(panels), captions.trace("captions", colours),
    ]  # fmt: skip
    panels.row_panel(0.58, 1, max(1, rows // 10))
    panels.panel(
        0.24, 0.5, "slowest request", type="log", range=_decades(trace),
        tickvals=[10.0**power for power in _POWERS],
        ticktext=[f"{10**power:,} ms" if power < 3 else f"{10 ** (power - 3):,} s" for power in _POWERS],
    )  # fmt: skip
    most = max(*errors, 1)
    panels.panel(0, 0.16, "errors", range=[0, 1.2 * most], tickvals=[0, most], tickformat=",d")
    return panels.picture(data, 520, title, "time since the run began", left=110, right=40)


def _latency(panels: _Panels) -> dict[str, Any]:
    slowest = panels.trace.series["slowest_ms"]
    # A single request has no line and needs a dot; 600 dots beside lines would only be slow to paint.
    around = zip([None, *slowest], slowest, [*slowest[1:], None], strict=False)
    is_lone = any(here and not before and not after for before, here, after in around)
    return {
        "type": "scatter", "name": "slowest request", "mode": "lines+markers" if is_lone else "lines",
        "yaxis": "y2", "x": panels.t[:-1],
        "y": [value or None for value in slowest],  # a logarithmic axis has no 0
        "line": {"shape": "hv", "width": 1.6, "color": panels.colours.probe},
        "marker": {"size": 3, "color": panels.colours.probe},
        "hovertemplate": "the slowest that came here took %{y:,.4g} ms<extra></extra>",
    }  # fmt: skip


def _decades(trace: Trace) -> list[float]:
    """Ends of the latencies' axis as powers of ten: at least a decade, with room for a line."""
    known = [value for value in trace.series["slowest_ms"] if value] or [1]
    low, high = log10(min(known)), log10(max(known))
    return [floor(low) - 0.1, max(ceil(high), floor(low) + 1) + 0.1]


def _errors(panels: _Panels) -> dict[str, Any]:
    counts = zip(pairwise(panels.t), panels.trace.series["errors"], strict=True)
    steps = [(x, after - x, count) for (x, after), count in counts if count]
    when = f"at %{{x:.1f}} {panels.name}"
    return {
        "type": "bar", "name": "errors", "yaxis": "y3", "offset": 0,
        "x": [x for x, _, _ in steps], "y": [count for _, _, count in steps],
        # A bar is at least three pixels wide, to be visible.
        "width": [max(width, panels.t[-1] / 250) for _, width, _ in steps],
        "marker": {"color": panels.colours.error, "pattern": {"shape": "/"}, "line": {"width": 0}},
        "hovertemplate": f"%{{y:,}} of the requests that came {when} fail<extra></extra>",
    }  # fmt: skip


# -- failover --------------------------------------------------------------------------------


def draw_failover(trace: Trace, *, title: str | None = None, dark: bool = False) -> Picture:
    """The parts of a `failover` run's outage, its connections, and the answers over time."""
    panels = _Panels(trace, dark)
    colours, rows, budget = panels.colours, panels.rows, trace.series["budget"]
    rate = trace.parameters["rate_per_s"]
    top = _CEILING * rate
    captions, answers = Text(), Text()
    captions.add(0, rows + 0.1, panels.legend(_LEADS), "top right", colours.ink)
    answers.add(0, top, _answers_legend(trace), "top right", colours.ink)
    data = [
        *_budget(trace, colours), *panels.connections(_LEADS, "y2"),
        *_instants(panels, top), *_answers(panels),
        captions.trace("captions", colours) | {"yaxis": "y2"},
        answers.trace("captions of the answers", colours) | {"yaxis": "y3"},
    ]  # fmt: skip
    panels.panel(
        0.61, 1, range=[-max(len(budget), 1) + 0.4, 0.6], showgrid=False,
        tickvals=[-row for row in range(len(budget))], ticktext=[part for part, _, _ in budget],
    )  # fmt: skip
    panels.row_panel(0.31, 0.5, ceil(rows / 5))
    panels.panel(0, 0.2, "answers/s", range=[0, top], tickvals=[0, rate], tickformat=",")
    about = "time since the run began; dotted lines: failure, promotion, first write"
    picture = panels.picture(data, 640, title, about, left=130, right=24)
    until = (budget[-1][2] if budget else 1) * 1.02
    picture.layout["xaxis2"] = look.grid_axis(
        colours, range=[0, until], ticksuffix=" s", anchor="y", nticks=8, fixedrange=True
    )
    return picture


def _budget(trace: Trace, colours: Theme) -> list[dict[str, Any]]:
    """One row for each part, with a word on the longest; steps join them."""
    budget = trace.series["budget"]
    bars, longest, steps, words = Line(), Line(), Line(), Text()
    end = budget[-1][2] if budget else 1
    for row, (part, since, until) in enumerate(budget):
        y, is_longest = -row, part == trace.outcome["longest_part"]
        length = duration(round((until - since) * SECOND))
        hover = f"{part}: {length}, from {since:,.4g} s to {until:,.4g} s after the failure"
        (longest if is_longest else bars).add(rectangle(since, y - _HALF, until, y + _HALF), hover)
        if row:
            steps.add([(since, y + 1 - _HALF), (since, y + _HALF)])
        text = f"<b>{length}, the longest part</b>" if is_longest else length
        is_far = until > _FAR * end
        x = since if is_far and since > _ROOM * end else until  # before a short bar, in a long one
        words.add(x, y, f" {text} ", "middle left" if is_far else "middle right", colours.ink)
    line = {"width": 1.4, "color": colours.ink}
    dotted = {"width": 1.2, "color": colours.soft, "dash": "dot"}
    hatched = filled(colours.error, 0.25, "/", solidity=0.25)
    made = [
        bars.trace("parts", line=line, **filled(colours.probe, 0.3)),
        longest.trace("the longest part", line=line, **hatched),
        steps.trace("steps", line=dotted),
        words.trace("lengths", colours),
    ]
    return [trace | {"xaxis": "x2"} for trace in made]


def _instants(panels: _Panels, top: float) -> list[dict[str, Any]]:
    """Dotted lines through both lower panels: the failure, the promotion, the first write accepted."""
    parameters, outage = panels.trace.parameters, panels.trace.outcome["write_outage_s"]
    fails = parameters["fails_at_s"]
    instants = [fails, fails + parameters["promotion_s"]] + ([] if outage is None else [fails + outage])
    made = []
    for axis, low, high in (("y2", -0.6, panels.rows - 0.4), ("y3", 0, top)):
        lines = Line()
        for instant in instants:
            if instant <= panels.trace.end / SECOND:
                lines.add([(instant / panels.unit, low), (instant / panels.unit, high)])
        line = {"width": 1.6, "color": panels.colours.cursor, "dash": "dot"}
        made.append(lines.trace("failure, promotion, first write", line=line, yaxis=axis))
    return made


def _answers(panels: _Panels) -> list[dict[str, Any]]:
    widths = [b - a for a, b in pairwise(panels.t)]
    base = [0.0] * len(widths)
    made = []
    for name, (words, mark, alpha) in _ANSWERS.items():
        counts, colour = panels.trace.series[name], panels.colours.of(mark)
        rates = [count / width / panels.unit for count, width in zip(counts, widths, strict=True)]
        pattern = {"shape": mark.pattern, "fgcolor": colour, "size": 6}
        bar = {
            "type": "bar", "name": words, "yaxis": "y3", "offset": 0,
            "x": panels.t[:-1], "y": rates, "base": base, "width": widths,
            "marker": {"color": look.tint(colour, alpha), "pattern": pattern, "line": {"width": 0}},
            "customdata": counts, "hovertemplate": f"{words}: %{{customdata:,}} in this step<extra></extra>",
        }  # fmt: skip
        made.append(bar)
        base = [below + rate for below, rate in zip(base, rates, strict=True)]
    return made


def _answers_legend(trace: Trace) -> str:
    shades = {"writes_accepted": "green: writes accepted", "reads": "grey: reads"}
    return "   ".join(
        shades.get(name) or _key(kind) for name, kind in _ANSWERS.items() if any(trace.series[name])
    )
