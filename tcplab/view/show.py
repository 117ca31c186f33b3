"""What a notebook shows of a trace in one call."""

from __future__ import annotations

from collections.abc import Callable

from tcplab.trace import Trace, duration
from tcplab.view.churn import draw_churn
from tcplab.view.failover import draw_failover
from tcplab.view.figure_widget import LivingFigure
from tcplab.view.ladder import draw
from tcplab.view.marks import Picture
from tcplab.view.numbers import tables
from tcplab.view.pool import draw_pool
from tcplab.view.ports import draw_ports
from tcplab.view.queues import draw_queues
from tcplab.view.table import rows, table
from tcplab.view.window import draw_window
from tcplab.view.words import words

#: Every picture of a trace by the name that experiments give it.
PICTURES: dict[str, Callable[[Trace], Picture]] = {
    "ladder": draw,
    "window": draw_window,
    "queues": draw_queues,
    "ports": draw_ports,
    "churn": draw_churn,
    "pool": draw_pool,
    "failover": draw_failover,
}
#: The picture of a study, which has no segments.
_CURVES = {"port_churn": "churn", "pool": "pool", "failover": "failover"}
#: Those that stay readable however many segments there are; the others take the beginning of a long run.
OF_ALL = ("queues", "ports", "churn", "pool", "failover")


class SegmentTable:
    """Segments line by line: text where there is only text, HTML in a notebook."""

    def __init__(self, trace: Trace) -> None:
        self.plain = "\n".join("  ".join(row) for row in rows(trace))
        self.html = table(trace)

    def __repr__(self) -> str:
        return self.plain

    def _repr_html_(self) -> str:
        return self.html


def picture(trace: Trace, name: str = "") -> LivingFigure:
    """A picture of a trace: its `ladder`, of a study its curves, or another one by name."""
    name = name or _CURVES.get(trace.experiment, "ladder")
    figure = LivingFigure(trace.experiment)
    numbers = tables(trace) if trace.series else table(trace)
    figure.show(PICTURES[name](trace), f"{name.capitalize()}: {summary(trace)}", numbers)
    return figure


def summary(trace: Trace) -> str:
    """A run in one sentence that needs no experiment: how much, between whom, and what came last."""
    if not trace.passages:
        return f"{trace.seconds(trace.end):.3g} s, without a segment of its own."
    last, said = trace.passages[-1], words(trace)[-1]
    what = ", ".join(part for part in (said.name, said.fate) if part) or said.flags
    return (
        f"{len(trace.passages)} segments between {' and '.join(trace.hosts)}. "
        f"The last goes from {last.sender} to {last.receiver} after {duration(last.t - trace.start)}: {what}."
    )


def segment_table(trace: Trace) -> SegmentTable:
    """The table of a trace's segments."""
    return SegmentTable(trace)
