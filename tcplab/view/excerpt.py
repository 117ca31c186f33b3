"""The beginning of a trace that is too long to be looked at whole."""

from __future__ import annotations

from dataclasses import replace

from tcplab.trace import Note, Trace

#: Segments that a picture or a table shows at most.
MOST = 600


def excerpt(trace: Trace, most: int = MOST) -> Trace:
    """The trace up to its first `most` segments, with a note that says so; itself when it has no more.

    What the run came to (outcome, warnings) stays that of the whole.
    """
    left_out = len(trace.passages) - most
    if left_out <= 0:
        return trace
    cut = trace.passages[most].t
    last = trace.passages[most - 1].t
    told = Note(last, "", f"{left_out:,} more segments follow")
    return replace(
        trace,
        passages=trace.passages[:most],
        calls=[call for call in trace.calls if call.t < cut],
        sockets=[sample for sample in trace.sockets if sample.t < cut],
        counters=[sample for sample in trace.counters if sample.t < cut],
        notes=[*(note for note in trace.notes if note.t < cut), told],
        end=last,
    )


def excerpt_words(trace: Trace, most: int = MOST, whole: int = 0) -> str:
    """What to say beside an excerpt; empty when the trace is shown whole.

    `whole` is how many segments there are where the trace itself is only their beginning.
    """
    count = max(len(trace.passages), whole)
    if count <= most:
        return ""
    return f"Ladder, table and console show the first {most} of {count:,} segments; the capture has all."
