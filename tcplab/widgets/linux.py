"""The tab "On real Linux": a recorded run over the model's, and a button that makes one now.

A run is shown only while the explorer stands at the parameters it was made with. It needs nothing
that a browser's Python lacks until somebody looks at the tab.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import ipywidgets as widgets

from tcplab.bench.agreement import Compared, judge
from tcplab.core.html import paragraph
from tcplab.core.text import SECOND, duration
from tcplab.core.trace import Trace
from tcplab.pictures import ladder
from tcplab.pictures.ladder import draw
from tcplab.pictures.overlay import overlay
from tcplab.pictures.tables import trace_table
from tcplab.widgets.base import Guard, Panel
from tcplab.widgets.figure import LivingFigure

# ----------------------------------------------------------------------
# A run on Linux over the model's, in one call: what a lesson shows as proof.

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
        trace, overlaid = overlay(ours, theirs)
        self.figure.show(draw(trace, overlay=overlaid), self.sentence, trace_table(trace, overlaid))
        said = f'<div style="line-height: 1.5"><b>{escape(self.sentence)}</b><br>{HOW_TO_READ}</div>'
        super().__init__([widgets.HTML(said), self.figure])

    def __repr__(self) -> str:
        return self.sentence


def both(experiment: Compared, linux: Trace) -> Both:
    """The model's ladder of an experiment with a run on Linux laid over it, and whether they agree.

    `linux` is a recording's trace or that of a run just made; parameters that differ show as differences.
    """
    return Both(experiment, linux)


#: A run that would take longer than this is not started by a click: seconds.
LONGEST_S = 1200
#: Segments that one picture of both can hold.
MOST = 600
#: Parameters that mean nothing to a real Linux.
_MODEL_ONLY = ("linux", "seed")


class LinuxPanel(Panel):
    """A run on real Linux over the model's, and the sentence of agreement."""

    title = "On real Linux"
    needs_all = True

    def __init__(self, name: str, turn: Callable[[Mapping[str, Any]], None], guard: Guard) -> None:
        self._name, self._turn, self._guard = name, turn, guard
        #: Runs made here or recorded, by their parameters, with a word on where they come from.
        self._runs: dict[str, tuple[Trace, str]] = {}
        self._recorded: Mapping[str, Any] | None = None
        self._opened = False
        self._why_not: str | None = None
        self._experiment: Any = None
        self._takes = 0.0
        self._sandbox: Any = None
        self._figure = LivingFigure(f"{name}_on_linux")
        self._where, self._said = widgets.HTML(), widgets.HTML()
        self._go = _button("Run it on this Linux now", "play", self._start)
        self._stop = _button("Cancel", "stop", self._cancel)
        self._back = _button("Set the recording's values", "undo", self._to_recording)
        self._bar = widgets.FloatProgress(max=1, layout=widgets.Layout(width="16rem"))
        self._bar.tooltip = "How far the run is"
        self._far = widgets.HTML()
        self._running = widgets.HBox([self._bar, self._far, self._stop])
        buttons = widgets.HBox([self._go, self._back]).add_class("tcplab-head")
        self.widget = widgets.VBox([self._where, buttons, self._running, self._said, self._figure])
        self._show_progress(False)

    # -- a panel ---------------------------------------------------------------------------

    def refresh(self, experiment: Any, trace: Trace) -> None:
        self._open()
        self._experiment, self._takes = experiment, (trace.end - trace.start) / SECOND
        key = _key(experiment.values())
        self._back.layout.display = "none" if self._recorded is None or key == _key(self._recorded) else ""
        self._offer()
        if key in self._runs:
            self._show(*self._runs[key])
            return
        self._figure.clear()
        self._said.value = ""
        self._where.value = paragraph(self._nothing())

    def empty(self) -> None:
        self._experiment = None
        self._figure.clear()
        self._where.value = self._said.value = ""
        self._offer()

    # -- what there is ---------------------------------------------------------------------

    def _open(self) -> None:
        """Once, when somebody looks: the recording, and whether this machine can run one."""
        if self._opened:
            return
        self._opened = True
        self._why_not = _why_not()
        from tcplab.capture import CaptureError
        from tcplab.capture.recordings import recording

        try:
            trace = recording(self._name)
        except CaptureError:
            return
        self._recorded = trace.parameters
        where = f"Recorded on Linux {trace.linux}; tcplab record {self._name} does it again."
        self._runs[_key(trace.parameters)] = trace, where

    def _nothing(self) -> str:
        """Why there is no run to be seen."""
        takes = duration(max(round(self._takes), 1) * SECOND)
        if self._why_not is not None:
            can = f"None can be made here: {self._why_not}"
        elif self._takes > LONGEST_S:
            can = f"It would take {takes} in real time: choose shorter times, or the recording's values."
        else:
            can = f"One takes about {takes} in real time, on a network of its own."
        return f"No run on Linux with these values yet. {can}"

    def _offer(self) -> None:
        """The button, where a click on it can do something."""
        able = self._experiment is not None and self._why_not is None and self._takes <= LONGEST_S
        self._go.disabled = not able or self._sandbox is not None

    def _show(self, linux: Trace, where: str) -> None:
        agreement, ours, theirs = judge(self._experiment, linux)
        self._where.value = paragraph(where)
        said = [paragraph(agreement.sentence)]
        said += [paragraph(str(difference)) for difference in agreement.differences[1:4]]
        rules = self._experiment.linux
        if not linux.linux.startswith(f"{rules}."):
            also = f"The model keeps to the rules of Linux {rules}, the run was on {linux.linux}."
            said.append(paragraph(also, "warning"))
        marks = "tcplab-sentence" if agreement.agrees else "tcplab-sentence wrong"
        self._said.value = f'<div class="{marks}" role="status" aria-live="polite">{"".join(said)}</div>'
        if max(len(ours.trace.packets), len(linux.packets)) > MOST:
            self._figure.clear()
            self._where.value += paragraph(f"More than {MOST} segments: too many for a picture of both.")
            return
        trace, overlaid = overlay(ours, theirs)
        self._figure.show(ladder.draw(trace, overlay=overlaid))
        self._where.value += paragraph(HOW_TO_READ, "tcplab-help")

    def _to_recording(self) -> None:
        if self._recorded is not None:
            self._turn(self._recorded)

    # -- a run now -------------------------------------------------------------------------

    def _start(self) -> None:
        if self._experiment is None or self._sandbox is not None:
            return
        from threading import Thread

        from tcplab.bench.sandbox import Sandbox

        self._sandbox = Sandbox()
        self._show_progress(True)
        self._offer()
        Thread(target=self._run, args=(self._experiment, self._sandbox, self._takes), daemon=True).start()

    def _cancel(self) -> None:
        if self._sandbox is not None:
            self._far.value = " ending it …"
            self._sandbox.cancel()

    def _run(self, experiment: Any, sandbox: Any, takes: float) -> None:
        """In a thread of its own, so that the rest of the notebook stays alive."""
        from tcplab.bench import run
        from tcplab.bench.sandbox import BenchError, Cancelled, patiently
        from tcplab.bench.script import ScriptError

        def progress(seconds: float, segments: int) -> None:
            self._bar.value = min(seconds / takes, 1) if takes else 1
            self._far.value = escape(f" {seconds:.0f} of {takes:.0f} s, {segments} segments")

        trouble = ""
        try:
            with sandbox:
                progress(0, 0)
                trace = patiently(lambda: run(experiment, "linux", progress, sandbox=sandbox))
            where = f"Run just now on Linux {trace.linux}, this machine's own."
            self._runs[_key(experiment.values())] = trace, where
        except Cancelled:
            trouble = "Cancelled: nothing of the run is left."
        except (BenchError, ScriptError) as error:
            trouble = f"No run: {error}"
        finally:
            self._sandbox = None
            self._guard(lambda: self._over(experiment, trouble))

    def _over(self, experiment: Any, trouble: str) -> None:
        self._show_progress(False)
        self._offer()
        if self._experiment is None:
            return
        if trouble:
            self._where.value = paragraph(trouble)
        elif _key(self._experiment.values()) == _key(experiment.values()):
            self._show(*self._runs[_key(experiment.values())])
        else:
            self._where.value = paragraph("The run is over; it belongs to the values that were set before.")

    def _show_progress(self, shown: bool) -> None:
        self._running.layout.display = "" if shown else "none"
        self._bar.value, self._far.value = 0, " starting …"


def _button(text: str, icon: str, pressed: Callable[[], None]) -> widgets.Button:
    button = widgets.Button(description=text, icon=icon, layout=widgets.Layout(width="auto"))
    button.on_click(lambda _: pressed())
    return button


def _key(values: Mapping[str, Any]) -> str:
    """Parameters as far as they matter to a real Linux."""
    return repr(sorted((name, value) for name, value in values.items() if name not in _MODEL_ONLY))


def _why_not() -> str | None:
    """Why no run can be made here; None when it can."""
    try:
        from tcplab.bench.sandbox import why_not
    except ImportError:
        return "this Python, in a browser, has no Linux of its own."
    return why_not()
