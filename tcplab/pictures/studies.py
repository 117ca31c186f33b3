"""The pictures of the studies: panels above each other that share a clock.

- **Port churn**: the ports in use below their ceiling with the outages in which every connect() failed;
  attempts a second, those that succeeded and those that failed.
- **Pool**: the connections as rows, how long requests take, and how many fail. A connection that is alive
  is a plain bar; dead and still in the pool it is hatched; a mark is where the next one begins.
- **Failover**: the outage cut into its parts, one row each, on a clock from the failure on; each part
  begins where the one before it ends. Below, where the pool's connections lead, and the answers to requests.

`kept`: up to three runs whose curves are drawn in grey, the newest last. `limits`: the ends of the axes as
the picture before had them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import ceil, floor, log10
from typing import Any

from tcplab.core.text import SECOND, duration, in_words
from tcplab.core.trace import Trace
from tcplab.pictures import theme as look
from tcplab.pictures.panels import KEPT, Fact, Limits, Panels, grown
from tcplab.pictures.theme import Line, MarkStyle, Picture, Text, filled, rectangle
from tcplab.pictures.timeline_look import Axis, axis_end, tick_text

#: More rows of connections than these would be thinner than a line of text.
_MOST_ROWS = 20
#: Half the thickness of a row.
_HALF = 0.34
#: An outage narrower than this part of the picture has no text.
_WORTH_A_WORD = 0.045
#: Fewer ports in use than this part of them: the ceiling is out of the picture.
_FAR_ABOVE = 0.2
#: Milliseconds as powers of ten that the latencies' axis names.
_POWERS = range(8)
#: How far the answers' axis reaches, in requests a second: what had waited comes in one burst.
_CEILING = 2.2
#: From this part of the width on, a bar's length is not written behind it; and the room for it before.
_FAR, _ROOM = 0.7, 0.35

#: The answers to a request, from the bottom up: series, words, mark.
_ANSWERS = {
    "writes_accepted": ("writes accepted", MarkStyle("open")),
    "reads": ("reads", MarkStyle("waiting")),
    "reads_from_old_primary": ("reads from the old primary", MarkStyle("opening", ".")),
    "writes_refused": ("writes refused", MarkStyle("closing second", "/")),
    "errors": ("errors", MarkStyle("error", "x")),
}
#: Where a connection leads, and whether it is alive.
_LEADS = {
    "primary": ("to the primary", MarkStyle("open")),
    "old": ("to the old primary, after the failure", MarkStyle("closing second", "/")),
    "new": ("to the new primary", MarkStyle("closing first", ".")),
}
_ALIVE = {
    "alive": ("alive", MarkStyle("open")),
    "zombie": ("dead, and still in the pool", MarkStyle("error", "/")),
}
_NO_PORT = MarkStyle("error", "/")


class _Study(Panels):
    """The panels of one study on the run's clock, and the kept runs beside it, the newest first."""

    def __init__(
        self, trace: Trace, kept: Sequence[Trace], limits: Limits | None, dark: bool,
        facts: Callable[[Trace], Sequence[Fact]], ends: Callable[[Trace], Mapping[str, float]],
    ) -> None:  # fmt: skip
        kept = [each for each in kept if each.experiment == trace.experiment]
        self.trace, self.beside = trace, [*reversed(kept)]
        for each in (trace, *kept):
            limits = grown(limits, s=axis_end(each.end / SECOND), **ends(each))
        super().__init__(look.theme(dark), limits or {})
        self.until = trace.end / SECOND
        self.data: list[dict[str, Any]] = []
        self.keep(trace, kept, facts)

    def curve(self, name: str, words: str, axis: str, unit: str = "", **properties: Any) -> None:
        """A series of the run."""
        self.data.append(self.steps(words, _curve(self.trace, name), self.until, axis, unit, **properties))

    def beside_it(self, name: str, axis: str, of: Callable[[Trace], Any]) -> None:
        """The same curve of every kept run."""
        for n, each in enumerate(self.beside):
            self.data.append(self.kept(n, name, of(each), each.end / SECOND, axis))

    def connections(self, kinds: Mapping[str, tuple[str, MarkStyle]], px: float, *more: str) -> str:
        """A panel with a row for each connection, a bar for each of its states, below their legend."""
        rows, size = self._rows(), self.trace.parameters["size"]
        bars = {state: Line() for state in kinds}
        for row, since, until, state in self.trace.series["connections"]:
            if row < rows:
                hover = f"connection {row + 1}: {kinds[state][0]}, {since:,.4g} s to {until:,.4g} s"
                bars[state].add(rectangle(since, row - _HALF, until, row + _HALF), hover)
        if size > rows:
            more = (*more, f"the first {rows} of {size:,}")
        known = {words: mark for state, (words, mark) in kinds.items() if bars[state].x}
        self.data += self.legend(known | dict.fromkeys(more))
        numbers = list(range(0, rows, max(1, ceil(rows * 18 / px))))
        axis = self.panel(
            px, above=6, range=[-0.6, rows - 0.4], showgrid=False, tickvals=numbers,
            ticktext=[f"connection {row + 1}" if not row else str(row + 1) for row in numbers],
        )  # fmt: skip
        for state, (words, mark) in kinds.items():
            line = {"width": 1, "color": self.colours.of(mark)}
            self.data.append(bars[state].trace(words, line=line, yaxis=axis) | self.fill(mark))
        return axis

    def _rows(self) -> int:
        return min(self.trace.parameters["size"], _MOST_ROWS)

    def done(self, about: str, left: float) -> Picture:
        """The picture."""
        return self.picture(self.data, revision=self.trace.experiment, about=about, left=left)


def _curve(trace: Trace, name: str) -> list[tuple[float, float]]:
    return [(t, value) for t, value in zip(trace.series["t_s"], trace.series[name], strict=True)]


def _rates(trace: Trace, *names: str) -> list[tuple[float, float]]:
    """How many a second, of these series together."""
    edges = [*trace.series["t_s"], trace.end / SECOND]
    counts = zip(pairwise(edges), *(trace.series[name] for name in names), strict=True)
    return [(since, round(sum(some) / (until - since), 3)) for (since, until), *some in counts]


def _after(seconds: float | None) -> str:
    return "never" if seconds is None else f"after {in_words(seconds)}" if seconds else "at once"


# -- port churn ------------------------------------------------------------------------------


def _churn_facts(trace: Trace) -> list[Fact]:
    outcome = trace.outcome
    return [
        Fact("{} ports", f"{outcome['ceiling']:,}"),
        Fact("at most {} in TIME_WAIT", f"{outcome['peak_time_wait']:,}"),
        Fact("the first connect() fails {}", _after(outcome["first_refusal_s"])),
        Fact("the longest outage lasts {}", in_words(outcome["longest_outage_s"])),
        Fact("{} attempts fail", f"{outcome['refused']:,}"),
    ]


def _churn_ends(trace: Trace) -> dict[str, float]:
    most = max(*trace.series["in_use_high"], *trace.series["time_wait_high"])
    ceiling = trace.outcome["ceiling"]
    return {
        "ports": max(most, ceiling if most > _FAR_ABOVE * ceiling else ceil(1.2 * most)),
        "attempts a second": trace.parameters["rate_per_s"],
    }


def draw_churn(
    trace: Trace, *, kept: Sequence[Trace] = (), limits: Limits | None = None, dark: bool = False
) -> Picture:
    """The curves of a `port_churn` run against its ceiling, and the attempts a second."""
    study = _Study(trace, kept, limits, dark, _churn_facts, _churn_ends)
    colours, series, ceiling = study.colours, trace.series, trace.outcome["ceiling"]
    top, rate = study.limits["ports"], study.limits["attempts a second"]
    waits, peak = MarkStyle("waiting", "."), trace.outcome["peak_time_wait"]
    # With several destinations a port has a TIME_WAIT for each.
    many = peak > max(series["in_use_high"])
    used = "ports that no connect() may take" if many else "ports in use"
    marks: dict[str, MarkStyle | None] = {used: MarkStyle("probe")}
    if peak:
        marks["sockets in TIME_WAIT" if many else "of them in TIME_WAIT"] = waits
    if series["outages_s"]:
        marks["no port: every connect() fails"] = _NO_PORT
    study.data += study.legend(marks)
    ticks = [0, ceiling] if ceiling <= top else [0, floor(top / 1.2)]
    axis = study.panel(
        250, above=14, range=[0, 1.06 * top], tickvals=ticks, ticktext=[f"{round(n):,} ports" for n in ticks]
    )
    outages, limit = Line(), Line()
    for began, until in series["outages_s"]:
        outages.add(rectangle(began, 0, until, top))
        if until - began >= _WORTH_A_WORD * study.end:
            text = f"<b>no port<br>{duration(round((until - began) * SECOND))}</b>"
            study.text(axis, (began + until) / 2, 0.3 * top, text, "middle center")
    if ceiling <= top:
        limit.add([(0, ceiling), (study.end, ceiling)], f"{ceiling:,} ports: there are no more")
    else:
        text = f"the ceiling, {ceiling:,} ports, is far above"
        study.text(axis, 0, 1.06 * top, text, "bottom right", colours.soft)
    dotted = {"width": 1.4, "dash": "dot", "color": colours.timers["timewait"]}
    study.curve(
        "time_wait_high", "in TIME_WAIT", axis, "sockets in TIME_WAIT", line=dotted,
        **study.fill(waits) | {"fill": "tozeroy"},
    )  # fmt: skip
    study.curve("in_use_low", "ports in use, least", axis, line={"width": 0}, hoverinfo="skip")
    band = {"fill": "tonexty", "fillcolor": look.tint(colours.probe, 0.5)}
    study.curve("in_use_high", "ports in use", axis, "ports in use", **band)
    study.data += [
        outages.trace("outages", line={"width": 0}, yaxis=axis, **filled(colours.error, 0.12, "/")),
        limit.trace("ceiling", line={"color": colours.ink, "width": 2, "dash": "dash"}, yaxis=axis),
    ]
    study.beside_it("ports in use", axis, lambda each: _curve(each, "in_use_high"))
    study.beside_it(
        "ceiling", axis,
        lambda each: [(0, each.outcome["ceiling"])] if ceiling != each.outcome["ceiling"] <= top else [],
    )  # fmt: skip
    axis = study.panel(
        64, "<b>attempts a second</b>: those that open a connection, and those that fail",
        range=[0, 1.1 * rate], tickvals=[0, rate], ticktext=["0", f"{rate:,.10g}"],
    )  # fmt: skip
    opened = {"opened a second": _rates(trace, "opened"), "refused a second": _rates(trace, "refused")}
    looks = {"opened a second": MarkStyle("open"), "refused a second": _NO_PORT}
    study.data += study.stack(opened, looks, study.until, axis, "a second")
    study.beside_it("opened a second", axis, lambda each: _rates(each, "opened"))
    return study.done("time since the first attempt", 110)


# -- pool ------------------------------------------------------------------------------------


def _pool_facts(trace: Trace) -> list[Fact]:
    outcome = trace.outcome
    return [
        Fact("{} errors", f"{outcome['errors']:,}"),
        Fact("{} dead connections left", f"{outcome['zombies_left']:,}"),
        Fact("all requests succeed again {}", _after(outcome["recovered_after_s"])),
        Fact("99 of 100 requests take at most {}", duration(round((outcome["p99_ms"] or 0) * SECOND / 1000))),
        Fact("{} more round trips a second for probes", f"{outcome['extra_round_trips_per_s']:.3g}"),
    ]


def _pool_ends(trace: Trace) -> dict[str, float]:
    """The latencies' axis has at least a decade, with room for a line."""
    known = [value for value in trace.series["slowest_ms"] if value] or [1]
    low = floor(log10(min(known)))
    high = max(ceil(log10(max(known))), low + 1)
    return {"ms": 10.0**high, "_lowest": -low, "errors in a step": max(*trace.series["errors"], 1)}


def draw_pool(
    trace: Trace, *, kept: Sequence[Trace] = (), limits: Limits | None = None, dark: bool = False
) -> Picture:
    """The connections of a `pool` run over time, the latency of its requests, and the errors."""
    study = _Study(trace, kept, limits, dark, _pool_facts, _pool_ends)
    colours = study.colours
    replaced = [
        (since, row)
        for row, since, _, state in trace.series["connections"]
        if state == "alive" and since and row < _MOST_ROWS
    ]
    axis = study.connections(_ALIVE, 200, *(["◆ a new one"] if replaced else []))
    study.data.append(
        {
            "type": "scatter", "mode": "markers", "name": "replaced", "yaxis": axis,
            "x": [x for x, _ in replaced], "y": [row for _, row in replaced],
            "marker": {"symbol": "diamond", "size": 9, "color": colours.ink},
            "hovertemplate": "connection %{y}: a new one<extra></extra>",
        }
    )  # fmt: skip
    high = log10(study.limits["ms"])
    axis = study.panel(
        120, type="log", range=[-study.limits["_lowest"] - 0.1, high + 0.1],
        tickvals=[10.0**power for power in _POWERS],
        ticktext=[f"{10**power:,} ms" if power < 3 else f"{10 ** (power - 3):,} s" for power in _POWERS],
    )  # fmt: skip
    study.text(axis, 0, 10 ** (high + 0.1), "<b>slowest request</b>", "top right", colours.soft)
    study.data.append(_latency(trace, axis, colours.probe))
    study.beside_it(
        "slowest request", axis, lambda each: [(t, ms or None) for t, ms in _curve(each, "slowest_ms")]
    )
    most = study.limits["errors in a step"]
    axis = study.panel(
        70, "<b>errors</b>, by when their requests came", range=[0, 1.1 * most], tickvals=[0, most],
        ticktext=["0", f"{round(most):,}"],
    )  # fmt: skip
    edges = [*trace.series["t_s"], study.until]
    steps = [
        (since, until - since, count)
        for (since, until), count in zip(pairwise(edges), trace.series["errors"], strict=True)
        if count
    ]
    study.data.append(
        {
            "type": "bar", "name": "errors", "yaxis": axis, "offset": 0,
            "x": [x for x, _, _ in steps], "y": [count for _, _, count in steps],
            # A bar is at least three pixels wide, to be visible.
            "width": [max(width, study.end / 250) for _, width, _ in steps],
            "marker": {"color": colours.error, "pattern": {"shape": "/"}, "line": {"width": 0}},
            "hovertext": [f"{n:,} of the requests that came at {tick_text(t)} fail" for t, _, n in steps],
            "hoverinfo": "text",
        }
    )  # fmt: skip
    study.beside_it("errors", axis, lambda each: _curve(each, "errors"))
    return study.done("time since the run began", 110)


def _latency(trace: Trace, axis: str, colour: str) -> dict[str, Any]:
    slowest = trace.series["slowest_ms"]
    # A single request has no line and needs a dot; 600 dots beside lines would only be slow to paint.
    around = zip([None, *slowest], slowest, [*slowest[1:], None], strict=False)
    is_lone = any(here and not before and not after for before, here, after in around)
    return {
        "type": "scatter", "name": "slowest request", "mode": "lines+markers" if is_lone else "lines",
        "yaxis": axis, "x": trace.series["t_s"],
        "y": [value or None for value in slowest],  # a logarithmic axis has no 0
        "line": {"shape": "hv", "width": 1.6, "color": colour},
        "marker": {"size": 3, "color": colour},
        "hovertemplate": "the slowest that came here took %{y:,.4g} ms<extra></extra>",
    }  # fmt: skip


# -- failover --------------------------------------------------------------------------------


def _failover_facts(trace: Trace) -> list[Fact]:
    outcome = trace.outcome
    lengths = {part: duration(round((b - a) * SECOND)) for part, a, b in trace.series["budget"]}
    longest = outcome["longest_part"]
    return [
        Fact("the first write is accepted {}", _after(outcome["write_outage_s"])),
        Fact("the longest part is {}", f"{longest}, {lengths[longest]}" if longest in lengths else "none"),
        Fact("{} errors", f"{outcome['errors']:,}"),
        Fact("{} writes refused", f"{outcome['writes_refused']:,}"),
        Fact("{} reads from the old primary", f"{outcome['reads_from_old_primary']:,}"),
    ]


def _failover_ends(trace: Trace) -> dict[str, float]:
    budget = trace.series["budget"]
    return {
        "_budget": axis_end(budget[-1][2] if budget else 1),
        "requests a second": trace.parameters["rate_per_s"],
    }


def draw_failover(
    trace: Trace, *, kept: Sequence[Trace] = (), limits: Limits | None = None, dark: bool = False
) -> Picture:
    """The parts of a `failover` run's outage, its connections, and the answers over time."""
    study = _Study(trace, kept, limits, dark, _failover_facts, _failover_ends)
    outage = _budget(study)
    through = [(study.connections(_LEADS, 110), -0.6, min(trace.parameters["size"], _MOST_ROWS) - 0.4)]
    rate = study.limits["requests a second"]
    known = {words: mark for name, (words, mark) in _ANSWERS.items() if any(trace.series[name])}
    study.data += study.legend(known)
    axis = study.panel(
        110, above=6, range=[0, _CEILING * rate], tickvals=[0, rate], ticktext=["0", f"{rate:,.10g} a second"]
    )
    curves = {words: _rates(trace, name) for name, (words, _) in _ANSWERS.items()}
    study.data += study.stack(curves, dict(_ANSWERS.values()), study.until, axis, "a second")
    study.beside_it("writes accepted", axis, lambda each: _rates(each, "writes_accepted"))
    # Dotted lines through both lower panels.
    fails, first = trace.parameters["fails_at_s"], trace.outcome["write_outage_s"]
    moments = {"the failure": fails, "the promotion": fails + trace.parameters["promotion_s"]}
    if first is not None:
        moments["the first write"] = fails + first
    for name, low, high in (*through, (axis, 0, _CEILING * rate)):
        lines = Line()
        for what, moment in moments.items():
            if moment <= study.until:
                lines.add([(moment, low), (moment, high)], what)
        line = {"width": 1.6, "color": study.colours.cursor, "dash": "dot"}
        study.data.append(lines.trace("failure, promotion, first write", line=line, yaxis=name))
    drawn = study.done("time since the run began; dotted lines: failure, promotion, first write", 132)
    end = study.limits["_budget"]
    ticks = Axis(end, 0, 620).ticks()
    drawn.layout["xaxis2"] = look.grid_axis(
        study.colours, range=[0, end], tickvals=ticks, ticktext=[tick_text(t) for t in ticks], anchor=outage,
        fixedrange=True,
    )  # fmt: skip
    return drawn


def _budget(study: _Study) -> str:
    """A panel with a row for each part, a word on the longest, steps between them, and a row a kept run."""
    trace, colours = study.trace, study.colours
    budget = trace.series["budget"]
    rows = max(len(budget), 1) + len(study.beside)
    signs = [f"{sign} kept" for _, sign in KEPT[: len(study.beside)]]
    axis = study.panel(
        30 * rows + 20, "<b>the outage for writes</b>, part after part since the failure",
        range=[0.6 - rows, 0.6], showgrid=False, anchor="x2",
        tickvals=[-row for row in range(rows)],
        ticktext=[*([part for part, _, _ in budget] or [""]), *signs],
    )  # fmt: skip
    study.panel(30, above=0, range=[0, 1], showgrid=False, tickvals=[])  # the outage's own clock
    bars, longest, steps, kept, words = Line(), Line(), Line(), Line(), Text()
    end = study.limits["_budget"]

    def write(row: int, since: float, until: float, text: str, colour: str) -> None:
        is_far = until > _FAR * end
        x = since if is_far and since > _ROOM * end else until  # before a short bar, in a long one
        words.add(x, -row, f" {text} ", "middle left" if is_far else "middle right", colour)

    for row, (part, since, until) in enumerate(budget):
        is_longest = part == trace.outcome["longest_part"]
        length = duration(round((until - since) * SECOND))
        hover = f"{part}: {length}, from {since:,.4g} s to {until:,.4g} s after the failure"
        (longest if is_longest else bars).add(rectangle(since, -row - _HALF, until, -row + _HALF), hover)
        if row:
            steps.add([(since, 1 - row - _HALF), (since, -row + _HALF)])
        text = f"<b>{length}, the longest part</b>" if is_longest else length
        write(row, since, until, text, colours.ink)
    for row, other in enumerate(study.beside, rows - len(study.beside)):
        parts = other.series["budget"]
        for part, since, until in parts:
            kept.add(rectangle(since, -row - _HALF, until, -row + _HALF), f"kept: {part}")
        if parts:
            length = duration(round(parts[-1][2] * SECOND))
            write(row, 0, parts[-1][2], f"{length}; longest: {other.outcome['longest_part']}", colours.soft)
    line = {"width": 1.4, "color": colours.ink}
    grey = {"width": 1.4, "color": colours.soft, "dash": "dash"}
    made = [
        bars.trace("parts", line=line, **filled(colours.probe, 0.3)),
        longest.trace("the longest part", line=line, **filled(colours.error, 0.25, "/", solidity=0.25)),
        kept.trace("kept parts", line=grey, **filled(colours.soft, 0.15)),
        steps.trace("steps", line={"width": 1.2, "color": colours.soft, "dash": "dot"}),
        words.trace("lengths", colours),
    ]
    study.data += [each | {"xaxis": "x2", "yaxis": axis} for each in made]
    return axis
