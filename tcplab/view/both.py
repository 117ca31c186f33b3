"""A run on Linux over the model's, in one call: what a lesson shows as proof."""

from __future__ import annotations

from html import escape

import ipywidgets as widgets

from tcplab.bench.agreement import Compared, judge
from tcplab.trace import Trace
from tcplab.view.figure_widget import LivingFigure
from tcplab.view.ladder import draw
from tcplab.view.overlay import overlay
from tcplab.view.table import table

HOW_TO_READ = (
    "The arrows are the model's. A band behind one and ✓: Linux sent the same, at the second that stands "
    "there; ✗: only one of them did. Acknowledgements without a mark count by their effect."
)


class Both(widgets.VBox):
    """The picture of both, below the sentence of agreement."""

    def __init__(self, experiment: Compared, linux: Trace) -> None:
        agreement, ours, theirs = judge(experiment, linux)
        #: Whether they agree, and in what not.
        self.sentence = agreement.sentence
        self.figure = LivingFigure(f"{experiment.name}_on_linux")
        trace, beside = overlay(ours, theirs)
        self.figure.show(draw(trace, beside=beside), self.sentence, table(trace, beside))
        said = f'<div style="line-height: 1.5"><b>{escape(self.sentence)}</b><br>{HOW_TO_READ}</div>'
        super().__init__([widgets.HTML(said), self.figure])

    def __repr__(self) -> str:
        return self.sentence


def both(experiment: Compared, linux: Trace) -> Both:
    """The model's ladder of an experiment with a run on Linux laid over it, and whether they agree.

    `linux` is a recording's trace or that of a run just made; parameters that differ show as differences.
    """
    return Both(experiment, linux)
