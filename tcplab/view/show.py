"""What a notebook shows of a trace in one call."""

from __future__ import annotations

from tcplab.trace import Trace
from tcplab.view.figure_widget import LivingFigure
from tcplab.view.ladder import draw
from tcplab.view.table import rows, table


class SegmentTable:
    """Segments line by line: text where there is only text, HTML in a notebook."""

    def __init__(self, trace: Trace) -> None:
        self.plain = "\n".join("  ".join(row) for row in rows(trace))
        self.html = table(trace)

    def __repr__(self) -> str:
        return self.plain

    def _repr_html_(self) -> str:
        return self.html


def picture(trace: Trace) -> LivingFigure:
    """The ladder of a trace."""
    figure = LivingFigure(trace.experiment)
    figure.show(draw(trace))
    return figure


def segment_table(trace: Trace) -> SegmentTable:
    """The table of a trace's segments."""
    return SegmentTable(trace)
