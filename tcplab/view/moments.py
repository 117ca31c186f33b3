"""The moments of a trace: when anything happened, and what, in words."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from tcplab.trace import Trace, duration
from tcplab.view.words import call_words, words


def moments(trace: Trace) -> list[int]:
    """Every nanosecond at which something happened, strictly increasing; at least the run's start."""
    found = {trace.start, max(trace.end, trace.start)}
    for passage in trace.passages:
        found.add(passage.t)
        if passage.arrives is not None:
            found.add(passage.arrives)
    found |= {call.t for call in trace.calls} | {call.began for call in trace.calls}
    found |= {sample.t for sample in trace.sockets} | {note.t for note in trace.notes}
    return sorted(t for t in found if t >= trace.start)


def position(found: list[int], t: int) -> int:
    """Which of these moments is the last one not after `t`; 0 when all are."""
    return max(bisect_right(found, t) - 1, 0)


def telling(trace: Trace, found: list[int]) -> int:
    """The moment to look at first: the last one at which a timer runs, else the last of all."""
    running: set[tuple[str, object, object]] = set()
    stopped = None
    for sample in trace.sockets:
        socket = (sample.host, sample.local, sample.remote)
        if sample.timer:
            running.add(socket)
            stopped = None
        elif socket in running:
            running.remove(socket)
            stopped = None if running else sample.t
    if stopped is None:
        return found[-1]
    return found[max(bisect_left(found, stopped) - 1, 0)]


def happenings(trace: Trace, t: int) -> list[str]:
    """What happened at exactly `t`: ``client sends SYN``, ``server: recv() → 40 bytes``."""
    told = []
    said = None
    for i, passage in enumerate(trace.passages):
        if t not in (passage.t, passage.arrives):
            continue
        said = said or words(trace)
        name = " ".join(part for part in (said[i].name, said[i].flags) if part)
        if passage.arrives == t:
            verb = "gets" if passage.fate == "delivered" else "never sees"
            told.append(f"{passage.receiver} {verb} {name}")
        if passage.t == t:
            fate = f" ({said[i].fate})" if passage.arrives is None and said[i].fate else ""
            told.append(f"{passage.sender} sends {name}{fate}")
    for call in trace.calls:
        if call.t == t:
            told.append(f"{call.host}: {call_words(call)}")
        elif call.began == t:
            told.append(f"{call.host}: {call_words(call).partition(' → ')[0]} waits")
    told += [f"{note.host}: {note.text}" if note.host else note.text for note in trace.notes if note.t == t]
    return told


def moment_words(trace: Trace, t: int) -> str:
    """``2 h 1 min 15 s: client sends keepalive probe 2``."""
    told = "; ".join(happenings(trace, t))
    return f"{duration(t - trace.start)}" + (f": {told}" if told else "")
