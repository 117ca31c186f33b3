"""The lanes of a study: amounts over time from its series, and the intervals that its answer is made of.

Seconds count from what breaks, as everywhere in a timeline; what a study has before that is left out.

Beside the studies: the requests of a recorded pool. Its sidecar has all `requests` of the program above the
pool, each with when it `began`, when it was over, `t`, and its `result`. A lane for writes and one for reads,
or one for all; neighbours with the same result are one interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from tcplab.core.text import SECOND, in_words, plural
from tcplab.core.trace import Trace
from tcplab.pictures.lanes import AnswerLine, BreakMark, Lane, Level, Mark, Span, Timeline, counted, steps
from tcplab.studies.failover import PARTS


class _Amount(NamedTuple):
    """A series, and how its lane shows it."""

    name: str
    unit: str
    #: A colour of the theme.
    colour: str
    #: The outcome that is its limit; empty: none.
    limit: str = ""


#: Rates are a second; the other units are counts at a moment.
_RATE = "a second"
_AMOUNTS = {
    "in_use_high": _Amount("ports in use", "ports", "probe", "ceiling"),
    "time_wait_high": _Amount("in TIME-WAIT", "sockets", "timewait", "ceiling"),
    "refused": _Amount("refused", _RATE, "error"),
    "requests": _Amount("requests", _RATE, "open"),
    "probed": _Amount("probes", _RATE, "probe"),
    "writes_accepted": _Amount("writes accepted", _RATE, "open"),
    "writes_refused": _Amount("writes refused", _RATE, "closing second"),
    "reads_from_old_primary": _Amount("reads of old data", _RATE, "opening"),
    "errors": _Amount("errors", _RATE, "error"),
}
#: What a pool's connections are, by their states in the series; what is not here needs no lane.
_CONNECTIONS = {
    "alive": _Amount("alive", "connections", "open"),
    "zombie": _Amount("dead, in the pool", "connections", "error"),
    "old": _Amount("to the old primary", "connections", "closing second"),
}
#: What is done in a part of an outage; all others are `unaware`.
_PARTS = {"promotion": "works", "connecting": "waits"}
_OLD_PRIMARY = {"dead": "no answer", "refuses": "it refuses", "readable_replica": "it is a replica now"}
_HOST = "client"
#: What breaks under a pool, by its parameter.
_BROKEN = {
    "server_restart": "the server restarts",
    "silent_drop": "the firewall forgets all connections",
    "idle_firewall": "the firewall removes the first connection",
    "server_idle_close": "the server closes the first connection",
    "database_behind_proxy": "the database behind the proxy is gone",
}


def study_lanes(trace: Trace) -> Iterator[Lane]:
    """What a study's series show, from the top down; a series that is 0 all the time has no lane."""
    series, zero = trace.series, zero_s(trace)
    end = trace.end / SECOND - zero
    if "outages_s" in series:
        yield Lane("client/connect", _HOST, "connect()", "program", tuple(_outages(series["outages_s"], end)))
    if "budget" in series:
        yield from _parts(series["budget"], trace.outcome["longest_part"])
    if "connections" in series:
        yield from _connections(since_zero(trace), end)
    for key, amount in _AMOUNTS.items():
        if key == "errors" and (failed := series.get("failed")):
            marks = tuple(Mark(max(t - zero, 0.0), "error", "a request fails") for _, t in failed)
            # Requests are followed beyond the end of the run: then a number would be too small.
            name = plural(len(marks), "error") if len(marks) == trace.outcome["errors"] else "errors"
            yield Lane(f"client/{key}", _HOST, name, "area", marks=marks)
        elif any(values := series.get(key, ())):
            points = a_second(trace, key) if amount.unit == _RATE else zip(series["t_s"], values, strict=True)
            limit = trace.outcome[amount.limit] if amount.limit else 0
            level = Level(steps(points), limit, amount.unit, amount.colour)
            yield Lane(f"client/{key}", _HOST, amount.name, "area", level=level)


def zero_s(trace: Trace) -> float:
    """The moment from which its pictures count, seconds from the beginning of the run."""
    return trace.watching_since / SECOND


def curve(trace: Trace, name: str) -> list[tuple[float, Any]]:
    """The values of a series from the moment on from which its pictures count: (seconds, from then on)."""
    zero, known = zero_s(trace), zip(trace.series["t_s"], trace.series[name], strict=True)
    points = [(t - zero, value) for t, value in known]
    before = [(0.0, value) for t, value in points if t < 0][-1:]
    after = [point for point in points if point[0] >= 0]
    return after if after and not after[0][0] else before + after


def a_second(trace: Trace, name: str) -> list[tuple[float, float]]:
    """How many a second of what this series counts: (seconds, from then on)."""
    zero, edges = zero_s(trace), pairwise([*trace.series["t_s"], trace.end / SECOND])
    counts = zip(edges, trace.series[name], strict=True)
    return [
        (max(since - zero, 0.0), round(n / (until - since), 3))
        for (since, until), n in counts
        if until > max(since, zero)
    ]


def since_zero(trace: Trace) -> list[tuple[int, float, float, str]]:
    """The connections of a pool, or what is left of them: place, from, to, state."""
    zero = zero_s(trace)
    return [
        (place, max(since - zero, 0.0), until - zero, state)
        for place, since, until, state in trace.series["connections"]
        if until > zero
    ]


def study_breaks(trace: Trace) -> Iterator[BreakMark]:
    """What broke in a study, and when."""
    for since, _ in trace.series.get("broken", ()):
        kind = trace.parameters["breaks"]
        yield BreakMark(since - zero_s(trace), _HOST, kind, _BROKEN[kind])
    if "budget" in trace.series:
        kind = trace.parameters["old_primary"]
        words = f"the primary fails: {_OLD_PRIMARY[kind]}"
        yield BreakMark(0.0, _HOST, kind, words)


def _outages(outages: Sequence[Sequence[float]], end_s: float) -> Iterator[Span]:
    at = 0.0
    for began, until in (*outages, (end_s, end_s)):
        if at < began:
            yield Span(at, began, "works", ("each connect() gets a port", "succeeds"))
        if began < until:
            yield Span(began, until, "error", ("no free port: EADDRNOTAVAIL", "no port"))
        at = until


def _parts(budget: Sequence[tuple[str, float, float]], longest: str | None) -> Iterator[Lane]:
    """A lane for each part of an outage, which begins where the one before it ends."""
    for part, since, until in budget:
        kind, length = _PARTS.get(part, "unaware"), in_words(until - since)
        words = f"{length}, the longest part" if part == longest else length
        span = Span(since, until, kind, (f"{words}: {PARTS[part]}", words, length))
        yield Lane(f"client/{part}", _HOST, part, "program", (span,))


def _connections(bars: Sequence[tuple[int, float, float, str]], end_s: float) -> Iterator[Lane]:
    """How many connections of the pool are in which state."""
    for state, amount in _CONNECTIONS.items():
        stays = [(since, until) for _, since, until, each in bars if each == state]
        if not stays:
            continue
        changes = [change for since, until in stays for change in ((since, 1), (until, -1))]
        level = Level(counted(changes, end_s), 0, amount.unit, amount.colour)
        yield Lane(f"client/{state}", _HOST, amount.name, "area", level=level)


# -- the requests of a recorded pool ------------------------------------------------------------------

#: A request that takes longer than this is an interval of its own, seconds.
_LONG_S = 0.5
#: How the events begin that break something.
_BREAKING = ("pg_ctl restart", "nft add")
#: Lanes by what was asked; what is not here is a request.
_ASKED = {"insert": "writes", "select": "reads"}


def read_requests(sidecar: Mapping[str, Any]) -> Timeline:
    """The timeline of a sidecar's requests. Raises `KeyError` when it has none."""
    requests: Sequence[Mapping[str, Any]] = sidecar["requests"]
    events = sidecar["events"]
    breaks = [(e["t"], e["call"]) for e in events if e["call"].startswith(_BREAKING)]
    zero, words = (sidecar["failed"], "the primary fails") if "failed" in sidecar else breaks[0]
    end = max(each["t"] for each in requests) - zero
    names = list(dict.fromkeys(map(_asked_for, requests)))
    lanes = []
    for name in names:
        mine = [each for each in requests if _asked_for(each) == name and each["t"] > zero]
        spans = tuple(_answers(mine, zero, sidecar["hosts"].get("server", "")))
        marks = tuple(Mark(each["t"] - zero, "error", "") for each in mine if not _is_ok(each))
        lanes.append(Lane(f"{_HOST}/{name}", _HOST, name, "program", spans, marks))
    if moved := [e for e in events if e["call"].startswith("the name ")]:
        lanes.append(_name_lane(moved[0], zero, end, sidecar["hosts"]["server"]))
    answer = _ended(requests, zero, sidecar)
    broken = BreakMark(0.0, _HOST, "closed", words.split(" tcp ")[0])
    return Timeline(
        name="requests", bench="linux", parameters={}, lanes=tuple(lanes), breaks=(broken,), answer=answer,
        flights=(), to_s=end, horizon_s=end, log=False, flight_s=0.0, folded="", sentence=sidecar["title"],
        settled_s=min(1.6 * (answer.to_s or 0), end),
    )  # fmt: skip


def _asked_for(request: Mapping[str, Any]) -> str:
    return _ASKED.get(request.get("sql", ""), "requests")


def _is_ok(request: Mapping[str, Any]) -> bool:
    return str(request["result"]).startswith("ok")


def _ended(requests: Sequence[Mapping[str, Any]], zero: float, sidecar: Mapping[str, Any]) -> AnswerLine:
    """Until the new primary takes a write, or until the last error."""
    if "failed" in sidecar:
        new = f"ok: {_new_address(sidecar)}"
        to = next(r["t"] for r in requests if r["sql"] == "insert" and r["result"] == new) - zero
        return AnswerLine(0.0, to, _HOST, f"first write accepted after {to:.1f} s")
    wrong = [r["t"] - zero for r in requests if not _is_ok(r)]
    slow = [r["t"] - zero for r in requests if r["t"] - r["began"] > _LONG_S]
    many, to = plural(len(wrong), "error") if wrong else "no error", max([*wrong, *slow], default=0.0)
    if not to:
        return AnswerLine(0.0, 0.0, _HOST, many)
    ends = "the last after" if to in wrong else "the last slow request ends after"
    return AnswerLine(0.0, to, _HOST, f"{many}, {ends} {to:.1f} s")


def _new_address(sidecar: Mapping[str, Any]) -> str:
    moved = next(e["call"] for e in sidecar["events"] if e["call"].startswith("the name "))
    return str(moved.rsplit(" ", 1)[1])


def _answers(requests: Sequence[Mapping[str, Any]], zero: float, old: str) -> Iterator[Span]:
    """From each result until the next other one; what takes long is waiting."""
    at = 0.0
    for result, each in groupby(requests, lambda r: str(r["result"])):
        group = list(each)
        slow = next((r for r in group[:1] if r["t"] - r["began"] > _LONG_S), None)
        began = max(group[0]["began"] - zero, at)
        if slow:
            yield Span(began, slow["t"] - zero, "waits", ("a request waits", "waits"))
            began = slow["t"] - zero
        yield Span(began, max(group[-1]["t"] - zero, began), *_answer_words(result, len(group), old))
        at = group[-1]["t"] - zero


def _answer_words(result: str, count: int, old: str) -> tuple[str, tuple[str, ...]]:
    """Kind and wordings of an interval with this result."""
    if not result.startswith("ok"):
        said = result.split(": ", 1)[-1].splitlines()[0]
        return "error", (f"{plural(count, 'error')}: {said}", plural(count, "error"))
    address = result.partition(": ")[2]
    if not address:
        return "works", ("answered",)
    if address == old:
        return "reads", (f"answered by the old primary, {address}", "old primary")
    return "works", (f"answered by the new primary, {address}", "new primary")


def _name_lane(event: Mapping[str, Any], zero: float, end: float, old: str) -> Lane:
    """Where the name leads."""
    moved, words = event["t"] - zero, str(event["call"])
    name, new = words.split()[2], words.rsplit(" ", 1)[1]
    spans = (Span(0.0, moved, "idle", (old,)), Span(moved, end, "known", (new,)))
    return Lane(f"{_HOST}/name", _HOST, f"the name {name}", "entry", spans)
