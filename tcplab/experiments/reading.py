"""Reading a run: the few questions that outcomes and sentences ask of a trace."""

from __future__ import annotations

from collections.abc import Iterator

from tcplab.trace import SECOND, Call, Passage, SocketSample, Trace, duration


def watching_since(trace: Trace) -> int:
    """When the script began to watch; the start of the trace if it never said so."""
    return trace.start if trace.watched_from is None else trace.watched_from


def sent_by(trace: Trace, host: str, since: int = -1, *, kind: str | None = None) -> Iterator[Passage]:
    """Segments a host sent from a moment on, perhaps only those of one kind."""
    for passage in trace.passages:
        if passage.sender == host and passage.t >= since and (kind is None or passage.kind == kind):
            yield passage


def last_received(trace: Trace, host: str, before: int) -> int:
    """When the last segment before a moment reached a host; that moment if none did."""
    return max(
        (p.arrives for p in trace.passages if p.receiver == host and p.arrives and p.arrives <= before),
        default=before,
    )


def end_of_socket(trace: Trace, host: str) -> SocketSample | None:
    """When a host's first connection was gone, or None while it still stands."""
    return next((s for s in trace.sockets if s.host == host and s.state == "CLOSED"), None)


def still_there(trace: Trace, host: str) -> bool:
    """Whether a host has a connection at the end of the run."""
    return any(s.host == host and s.state != "LISTEN" for s in trace.sockets_at(trace.end))


def calls_of(trace: Trace, host: str, prefix: str, since: int = -1) -> list[Call]:
    """Calls of one host whose text begins with `prefix`, returned at or after a moment."""
    return [c for c in trace.calls if c.host == host and c.call.startswith(prefix) and c.t >= since]


def error_of(call: Call) -> str | None:
    """The errno name that a call gave, or None."""
    return call.result if call.result.isupper() and call.result.startswith("E") else None


def seconds(nanoseconds: int) -> float:
    """Seconds to the millisecond: finer than a timer tick, and stable to print."""
    return round(nanoseconds / SECOND, 3)


def in_words(value: float) -> str:
    """Seconds as one says them: `0.204 s`, `13.3 s`, `15 min 28 s`, `2 h 11 min 15 s`."""
    return duration(round(value * SECOND))


def times(n: int) -> str:
    """`once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(n, f"{n} times")


def plural(n: int, thing: str) -> str:
    """`1 probe`, `3 probes`."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"
