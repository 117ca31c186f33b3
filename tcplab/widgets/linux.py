"""A run on real Linux beside the model's: as a picture for a lesson, and as a tab of the explorer.

The tab shows a run only while the explorer has the parameters that it was made with. It needs nothing
that a browser's Python lacks until the tab is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import ipywidgets as widgets

from tcplab.bench.agreement import Agreement, Compared, Event, judge, matches
from tcplab.bench.script import StudyScript
from tcplab.core.table import html_table
from tcplab.core.text import SECOND, duration, paragraph, status
from tcplab.core.trace import Trace
from tcplab.lesson.form import live
from tcplab.pictures.timeline import read_timeline
from tcplab.pictures.timeline_layout import TimelinePicture
from tcplab.widgets.base import Guard, Panel, Progress, Shell, button, in_row, visible
from tcplab.widgets.timeline import LivingTimeline, ShownFrame


class OnLinux(NamedTuple):
    """A run on Linux beside the model's: whether they agree, both on one time axis, and packet by packet."""

    agreement: Agreement
    picture: TimelinePicture
    #: HTML: every packet that matters, and when each of them sent it.
    packets: str


def on_linux(experiment: Compared | StudyScript, linux: Trace) -> OnLinux:
    """Compare a run on Linux with the model's; its lanes are drawn only where it does not agree."""
    agreement, ours, theirs = judge(experiment, linux)
    now, kept = replace(read_timeline(ours.trace), sentence=agreement.sentence), read_timeline(linux)
    name = f"Linux {linux.linux}"
    answer = kept.answer and replace(kept.answer, text=f"{name}: {kept.answer.text}")
    kept = replace(kept, answer=answer, lanes=() if agreement.agrees else kept.lanes)
    rows = sorted(matches(ours, theirs), key=lambda row: min(each.t for each in row[1:] if each))
    sent = [
        (where, (mine or its or Event(0, "")).says, *("✗" if not e else f"{e.t:.3f}" for e in (mine, its)))
        for where, mine, its in rows
    ]
    headings = ("direction", "packet", "model, s", f"{name}, s")
    return OnLinux(agreement, TimelinePicture(now, (kept,)), html_table(headings, sent, numeric=(2, 3)))


class Both(Shell):
    """The model's run of an experiment and a run on Linux on one time axis, and whether they agree.

    `linux` is a recording's trace or that of a run just made; parameters that differ show as differences.
    """

    def __init__(self, experiment: Compared, linux: Trace) -> None:
        super().__init__()
        both = on_linux(experiment, linux)
        self.picture = both.picture
        #: Both runs; the page plays them.
        self.timeline = LivingTimeline()
        self.timeline.show(_frame(both.picture))
        self.say(both.agreement.sentence)
        self.build(self.status, self.timeline, widgets.HTML(_fold(both.packets)))

    def _repr_html_(self) -> str:
        return super()._repr_html_() + self.timeline._repr_html_()


def both(experiment: Compared, linux: Trace) -> Both:
    """The model's run of an experiment and `linux`, a run on Linux, on one time axis. See `Both`."""
    return Both(experiment, linux)


def _frame(picture: TimelinePicture) -> ShownFrame:
    return ShownFrame(picture, picture.end_s(), picture.now.log)


def _fold(packets: str) -> str:
    return f"<details><summary>Packet by packet</summary>{packets}</details>"


#: Seconds; a run that takes longer can't be started by a click.
LONGEST_S = 1200
#: Parameters that mean nothing to a real Linux.
_MODEL_ONLY = ("linux", "seed")


class LinuxPanel(Panel):
    """A run on real Linux beside the model's, and the sentence of agreement."""

    title = "On real Linux"
    whole_run = True

    def __init__(self, name: str, set_values: Callable[[Mapping[str, Any]], None], guard: Guard) -> None:
        self._name, self._set_values, self._guard = name, set_values, guard
        #: Runs made here or recorded, by their parameters, each with the sentence on its origin.
        self._runs: dict[str, tuple[Trace, str]] = {}
        self._recorded: Mapping[str, Any] | None = None
        self._opened = False
        self._why_not: str | None = None
        self._experiment: Any = None
        self._takes = 0.0
        self._sandbox: Any = None
        #: Both runs on one time axis, and packet by packet; empty without a run.
        self.timeline, self._packets = LivingTimeline(), widgets.HTML()
        self._where, self._status = widgets.HTML(), live()
        self._go = button("Run it on this Linux now", "play", self._start)
        self._back = button("Set the recording's values", "undo", self._to_recording)
        self._progress = Progress(self._cancel)
        buttons = in_row(self._go, self._back)
        self.widget = widgets.VBox(
            [self._where, buttons, self._progress, self._status, self.timeline, self._packets]
        )

    def refresh(self, experiment: Any, trace: Trace) -> None:
        self._open()
        self._experiment, self._takes = experiment, (trace.end - trace.start) / SECOND
        key = _key(experiment.values())
        visible(self._back, self._recorded is not None and key != _key(self._recorded))
        self._offer()
        if key in self._runs:
            self._show(*self._runs[key])
            return
        self._clear()
        self._where.value = paragraph(self._nothing())

    def empty(self) -> None:
        self._experiment = None
        self._where.value = ""
        self._clear()
        self._offer()

    def _open(self) -> None:
        """When the tab is first opened: read the recording, check whether this machine can make a run."""
        if self._opened:
            return
        self._opened, self._why_not = True, why_not()
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
        """Why no run is shown."""
        takes = duration(max(round(self._takes), 1) * SECOND)
        if self._why_not is not None:
            can = f"None can be made here: {self._why_not}"
        elif self._takes > LONGEST_S:
            can = f"It would take {takes} in real time: choose shorter times, or the recording's values."
        else:
            can = f"One takes about {takes} in real time, on a network of its own."
        return f"No run on Linux with these values yet. {can}"

    def _offer(self) -> None:
        """Enable the button where a click on it can do something."""
        able = self._experiment is not None and self._why_not is None and self._takes <= LONGEST_S
        self._go.disabled = not able or self._sandbox is not None

    def _clear(self) -> None:
        self._status.value = self._packets.value = ""
        self.timeline.clear()

    def _show(self, linux: Trace, where: str) -> None:
        agreement, picture, packets = on_linux(self._experiment, linux)
        self._where.value = paragraph(where)
        lines = [paragraph(agreement.sentence)]
        lines += [paragraph(str(difference)) for difference in agreement.differences[1:4]]
        rules = self._experiment.linux
        if not linux.linux.startswith(f"{rules}."):
            also = f"The model keeps to the rules of Linux {rules}, the run was on {linux.linux}."
            lines.append(paragraph(also, "warning"))
        self._status.value = status("".join(lines), wrong=not agreement.agrees)
        self.timeline.show(_frame(picture))
        self._packets.value = _fold(packets)

    def _to_recording(self) -> None:
        if self._recorded is not None:
            self._set_values(self._recorded)

    def _start(self) -> None:
        if self._experiment is None or self._sandbox is not None:
            return
        from threading import Thread

        from tcplab.bench.sandbox import Sandbox

        self._sandbox = Sandbox()
        self._progress.show(0, " starting …")
        self._offer()
        Thread(target=self._run, args=(self._experiment, self._sandbox, self._takes), daemon=True).start()

    def _cancel(self) -> None:
        if self._sandbox is not None:
            self._progress.show(self._progress.bar.value, " ending it …")
            self._sandbox.cancel()

    def _run(self, experiment: Any, sandbox: Any, takes: float) -> None:
        """In a thread of its own, so that the rest of the notebook stays alive."""
        from tcplab.bench import run
        from tcplab.bench.sandbox import BenchError, Cancelled, patiently
        from tcplab.bench.script import ScriptError

        def progress(seconds: float, segments: int) -> None:
            share = min(seconds / takes, 1) if takes else 1
            self._progress.show(share, f" {seconds:.0f} of {takes:.0f} s, {segments} segments")

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
        self._progress.show(None)
        self._offer()
        if self._experiment is None:
            return
        if trouble:
            self._where.value = paragraph(trouble)
        elif _key(self._experiment.values()) == _key(experiment.values()):
            self._show(*self._runs[_key(experiment.values())])
        else:
            self._where.value = paragraph("The run is over; it belongs to the values that were set before.")


def _key(values: Mapping[str, Any]) -> str:
    """The parameters that matter to a real Linux, as a key."""
    return repr(sorted((name, value) for name, value in values.items() if name not in _MODEL_ONLY))


def why_not() -> str | None:
    """Why no run can be made here; None when it can."""
    try:
        from tcplab.bench import sandbox
    except ImportError:
        return "this Python, in a browser, has no Linux of its own."
    return sandbox.why_not()
