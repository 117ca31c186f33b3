"""The pictures of the studies: panels above each other that share a clock.

- **Port churn**: the ports in use below their ceiling with the outages in which every connect() failed;
  attempts a second, those that succeeded and those that failed.
- **Pool**: the connections as rows, and how long requests take. A connection that is alive is a plain bar;
  dead and still in the pool it is hatched; a mark is where the next one begins.
- **Failover**: where the pool's connections lead, and the answers to requests.

`kept`: up to three runs whose curves are drawn in grey, the newest last. `limits`: the ends of the axes as
the picture before had them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, log10

from tcplab.core.text import SECOND, duration, in_words
from tcplab.core.trace import Trace
from tcplab.pictures.panels import Fact, Limits, Panels, reach
from tcplab.pictures.theme import Line, MarkStyle, Picture, rectangle
from tcplab.pictures.timeline_studies import a_second, curve, since_zero, zero_s
from tcplab.studies import STUDIES

#: More rows of connections than these would be thinner than a line of text.
_MOST_ROWS = 20
#: Half the thickness of a row.
_HALF = 0.34
#: Milliseconds as powers of ten that the latencies' axis names.
_POWERS = range(8)
#: How far the answers' axis reaches, in requests a second: what had waited comes in one burst.
_CEILING = 2.2
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
#: The attempts of a churn.
_NO_PORT = MarkStyle("error", "/")
_ATTEMPTS = {"opened": ("opened a second", MarkStyle("open")), "refused": ("refused a second", _NO_PORT)}


class _Study(Panels[Trace]):
    """The panels of one study on the run's clock, and the kept runs of the same study beside it."""

    def __init__(
        self, trace: Trace, kept: Sequence[Trace], limits: Limits | None, dark: bool,
        facts: Callable[[Trace], Sequence[Fact]], ends: Callable[[Trace], Mapping[str, float]],
    ) -> None:  # fmt: skip
        same = [each for each in reversed(kept) if each.experiment == trace.experiment]
        runs = [(each, each) for each in (trace, *same)]
        super().__init__(runs, lambda each: {"s": _reach_s(each), **ends(each)}, facts, limits, dark=dark)
        self.trace = trace

    def connections(self, kinds: Mapping[str, tuple[str, MarkStyle]], px: float, *more: str) -> str:
        """A panel with a row for each connection, a bar for each of its states, below their legend."""
        size = self.trace.parameters["size"]
        rows, bars = min(size, _MOST_ROWS), {state: Line() for state in kinds}
        for row, since, until, state in since_zero(self.trace):
            if row < rows and since < self.limits["s"]:
                until = min(until, self.limits["s"])
                hover = f"connection {row + 1}: {kinds[state][0]}, {since:,.4g} s to {until:,.4g} s"
                bars[state].add(rectangle(since, row - _HALF, until, row + _HALF), hover)
        if size > rows:
            more = (*more, f"the first {rows} of {size:,}")
        known = {words: mark for state, (words, mark) in kinds.items() if bars[state].x}
        self.legend(known | dict.fromkeys(more))
        numbers = list(range(0, rows, max(1, ceil(rows * 18 / px))))
        axis = self.panel(
            px, above=6, range=[-0.6, rows - 0.4], showgrid=False, tickvals=numbers,
            ticktext=[f"connection {row + 1}" if not row else str(row + 1) for row in numbers],
        )  # fmt: skip
        for state, (words, mark) in kinds.items():
            self.area(words, bars[state], mark, axis)
        return axis

    def done(self, about: str) -> Picture:
        """The picture."""
        return self.picture(revision=self.trace.experiment, about=about)

    def rates(self, axis: str, kinds: Mapping[str, tuple[str, MarkStyle]]) -> None:
        """How many a second of these series, by their words, on top of each other; of kept runs the first."""
        curves = {
            words: [(t, n) for t, n in a_second(self.trace, name) if t < self.limits["s"]]
            for name, (words, _) in kinds.items()
        }
        self.stack(axis, "a second", dict(kinds.values()), curves)
        first = next(iter(kinds))
        self.beside(kinds[first][0], axis, lambda each: a_second(each, first))


def _series(name: str) -> Callable[[Trace], list[tuple[float, float]]]:
    """The curve of a series of any run."""
    return lambda trace: curve(trace, name)


def _reach_s(trace: Trace) -> float:
    """How far the clock of a run reaches: as in its timeline."""
    study = STUDIES[trace.experiment].from_values(trace.parameters)
    return study.settled_s(trace) or trace.end / SECOND - zero_s(trace)


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
    rate = trace.parameters["rate_per_s"]
    return {"ports": reach(most, trace.outcome["ceiling"]), "attempts per second": rate}


def draw_churn(
    trace: Trace, *, kept: Sequence[Trace] = (), limits: Limits | None = None, dark: bool = False
) -> Picture:
    """The curves of a `port_churn` run against its ceiling, and the attempts a second."""
    study = _Study(trace, kept, limits, dark, _churn_facts, _churn_ends)
    waits, peak = MarkStyle("waiting", "."), trace.outcome["peak_time_wait"]
    # With several destinations a port has a TIME_WAIT for each.
    many = peak > max(trace.series["in_use_high"])
    used = "ports that no connect() can take" if many else "ports in use"
    marks: dict[str, MarkStyle | None] = {used: MarkStyle("probe")}
    if peak:
        marks["sockets in TIME_WAIT" if many else "of them in TIME_WAIT"] = waits
    if outages := trace.series["outages_s"]:
        marks["no port: every connect() fails"] = _NO_PORT
    study.legend(marks)
    axis = study.amounts(
        250, "ports", "ports", head=1.06, above=14, ceiling=lambda each: each.outcome["ceiling"]
    )
    study.stretches("no port", axis, outages, study.limits["ports"], _NO_PORT)
    dotted = {"width": 1.4, "dash": "dot", "color": study.colours.timers["timewait"]}
    area = study.fill(waits) | {"fill": "tozeroy", "line": dotted}
    study.curve("in TIME_WAIT", axis, _series("time_wait_high"), "sockets in TIME_WAIT", alone=True, **area)
    study.curve("ports in use", axis, _series("in_use_high"), "ports in use")
    heading = "<b>attempts per second</b>: those that open a connection, and those that fail"
    axis = study.amounts(64, "attempts per second", "", heading)
    study.rates(axis, _ATTEMPTS)
    return study.done("time since the first attempt")


# -- pool ------------------------------------------------------------------------------------


def _pool_facts(trace: Trace) -> list[Fact]:
    outcome = trace.outcome
    return [
        Fact("{} errors", f"{outcome['errors']:,}"),
        Fact("{} dead connections left", f"{outcome['zombies_left']:,}"),
        Fact("all requests succeed again {}", _after(outcome["recovered_after_s"])),
        Fact(
            "99 % of the requests take at most {}", duration(round((outcome["p99_ms"] or 0) * SECOND / 1000))
        ),
        Fact("{} more round trips per second for probes", f"{outcome['extra_round_trips_per_s']:.3g}"),
    ]


def _pool_ends(trace: Trace) -> dict[str, float]:
    """The latencies' axis has at least a decade, with room for a line."""
    known = [value for value in trace.series["slowest_ms"] if value] or [1]
    low = floor(log10(min(known)))
    return {"ms": 10.0 ** max(ceil(log10(max(known))), low + 1), "_lowest": -low}


def draw_pool(
    trace: Trace, *, kept: Sequence[Trace] = (), limits: Limits | None = None, dark: bool = False
) -> Picture:
    """The connections of a `pool` run over time, and the latency of its requests."""
    study = _Study(trace, kept, limits, dark, _pool_facts, _pool_ends)
    replaced = Line()
    for row, since, _, state in since_zero(trace):
        if state == "alive" and since and row < _MOST_ROWS:
            replaced.add([(since, row)], f"connection {row + 1}: a new one")
    axis = study.connections(_ALIVE, 200, *(["◆ a new one"] if replaced.x else []))
    diamond = {"symbol": "diamond", "size": 9, "color": study.colours.ink}
    study.data.append(replaced.trace("replaced", mode="markers", marker=diamond, yaxis=axis))
    high = log10(study.limits["ms"]) + 0.1
    axis = study.panel(
        120, type="log", range=[-study.limits["_lowest"] - 0.1, high],
        tickvals=[10.0**power for power in _POWERS],
        ticktext=[f"{10**power:,} ms" if power < 3 else f"{10 ** (power - 3):,} s" for power in _POWERS],
    )  # fmt: skip
    study.text(axis, 0, 10**high, "<b>slowest request</b>", "top right", study.colours.soft)
    # A logarithmic axis has no 0.
    slowest = _series("slowest_ms")
    study.curve("slowest request", axis, lambda each: [(t, ms or None) for t, ms in slowest(each)], "ms")
    return study.done("time since the break" if trace.watching_since else "time since the run began")


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


def draw_failover(
    trace: Trace, *, kept: Sequence[Trace] = (), limits: Limits | None = None, dark: bool = False
) -> Picture:
    """Where the connections of a `failover` run lead, and the answers over time."""
    rate = "requests per second"
    study = _Study(
        trace, kept, limits, dark, _failover_facts, lambda each: {rate: each.parameters["rate_per_s"]}
    )
    above = study.connections(_LEADS, 110)
    known = {words: mark for name, (words, mark) in _ANSWERS.items() if any(trace.series[name])}
    study.legend(known)
    below = study.amounts(110, rate, "a second", head=_CEILING, above=6)
    study.rates(below, _ANSWERS)
    first = trace.outcome["write_outage_s"]
    moments = {"the failure": 0.0, "the promotion": trace.parameters["promotion_s"]}
    if first is not None:
        moments["the first write"] = first
    for axis in (above, below):
        study.moments(axis, ((t, says) for says, t in moments.items() if t <= study.end))
    return study.done("time since the failure; dotted lines: failure, promotion, first write")
