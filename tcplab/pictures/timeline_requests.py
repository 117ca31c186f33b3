"""The requests of a recorded pool on a timeline: what became of each, from the break on.

A recording of a pool has two parts: one connection as a capture, and in the sidecar all `requests` of the
program above the pool, each with when it `began`, when it was over, `t`, and its `result`. A lane for writes
and one for reads, or one for all; neighbours with the same result are one interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from tcplab.core.text import plural
from tcplab.pictures.lanes import AnswerLine, BreakMark, Lane, Mark, Span, Timeline

#: A request that takes longer than this is an interval of its own, seconds.
_LONG_S = 0.5
#: How the events begin that break something.
_BREAKS = ("pg_ctl restart", "nft add")
#: Lanes by what was asked; what is not here is a request.
_LANES = {"insert": "writes", "select": "reads"}
_HOST = "client"


def read_requests(sidecar: Mapping[str, Any]) -> Timeline:
    """The timeline of a sidecar's requests. Raises `KeyError` when it has none."""
    requests: Sequence[Mapping[str, Any]] = sidecar["requests"]
    events = sidecar["events"]
    breaks = [(e["t"], e["call"]) for e in events if e["call"].startswith(_BREAKS)]
    zero, words = (sidecar["failed"], "the primary fails") if "failed" in sidecar else breaks[0]
    end = max(each["t"] for each in requests) - zero
    names = list(dict.fromkeys(map(_lane, requests)))
    lanes = []
    for name in names:
        mine = [each for each in requests if _lane(each) == name and each["t"] > zero]
        spans = tuple(_spans(mine, zero, sidecar["hosts"].get("server", "")))
        marks = tuple(Mark(each["t"] - zero, "error", "") for each in mine if not _is_ok(each))
        lanes.append(Lane(f"{_HOST}/{name}", _HOST, name, "program", spans, marks))
    if moved := [e for e in events if e["call"].startswith("the name ")]:
        lanes.append(_name(moved[0], zero, end, sidecar["hosts"]["server"]))
    answer = _answer(requests, zero, sidecar)
    broken = BreakMark(0.0, _HOST, "closed", words.split(" tcp ")[0])
    return Timeline(
        name="requests", bench="linux", parameters={}, lanes=tuple(lanes), breaks=(broken,), answer=answer,
        flights=(), to_s=end, horizon_s=end, log=False, flight_s=0.0, folded="", sentence=sidecar["title"],
        settled_s=min(1.6 * (answer.to_s or 0), end),
    )  # fmt: skip


def _lane(request: Mapping[str, Any]) -> str:
    return _LANES.get(request.get("sql", ""), "requests")


def _is_ok(request: Mapping[str, Any]) -> bool:
    return str(request["result"]).startswith("ok")


def _answer(requests: Sequence[Mapping[str, Any]], zero: float, sidecar: Mapping[str, Any]) -> AnswerLine:
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


def _spans(requests: Sequence[Mapping[str, Any]], zero: float, old: str) -> Iterator[Span]:
    """From each result until the next other one; what takes long is waiting."""
    at = 0.0
    for result, each in groupby(requests, lambda r: str(r["result"])):
        group = list(each)
        slow = next((r for r in group[:1] if r["t"] - r["began"] > _LONG_S), None)
        began = max(group[0]["began"] - zero, at)
        if slow:
            yield Span(began, slow["t"] - zero, "waits", ("a request waits", "waits"))
            began = slow["t"] - zero
        yield Span(began, max(group[-1]["t"] - zero, began), *_words(result, len(group), old))
        at = group[-1]["t"] - zero


def _words(result: str, count: int, old: str) -> tuple[str, tuple[str, ...]]:
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


def _name(event: Mapping[str, Any], zero: float, end: float, old: str) -> Lane:
    """Where the name leads."""
    moved, words = event["t"] - zero, str(event["call"])
    name, new = words.split()[2], words.rsplit(" ", 1)[1]
    spans = (Span(0.0, moved, "idle", (old,)), Span(moved, end, "known", (new,)))
    return Lane(f"{_HOST}/name", _HOST, f"the name {name}", "entry", spans)
