"""A run on real Linux beside the model's: as a picture, and as a tab of the explorer; and a run as a pcap.

The tab shows a run only while the explorer has the parameters that it was made with. It runs on this
machine's kernel in real time, or on one of Debian's kernels in virtual time. Modules that a browser's Python
lacks are imported only when the tab is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from html import escape
from typing import Any, NamedTuple

import ipywidgets as widgets

from tcplab.bench.agreement import Agreement, Compared, Event, judge, matches
from tcplab.bench.script import StudyScript
from tcplab.capture.recordings import recordings_by_kernel
from tcplab.claims import KernelClaim, claim_named, in_versions
from tcplab.core.table import html_table
from tcplab.core.text import SECOND, download, duration, paragraph, status, to_copy
from tcplab.core.trace import Trace
from tcplab.lesson.form import live
from tcplab.pictures.timeline import read_timeline
from tcplab.pictures.timeline_layout import TimelinePicture
from tcplab.widgets.base import Action, Guard, Panel, Progress, Shell, button, in_row, labelled, visible
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
    name = f"Linux {linux.linux}{', virtual time' * linux.is_virtual}"
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


class Versions(Shell):
    """A claim about versions of Linux: the model's run and those of several kernels on one time axis.

    The model's run has the rules of the newest kernel. A kernel's lanes are drawn where its rule differs.
    """

    def __init__(self, claim: KernelClaim, kernels: Sequence[Trace]) -> None:
        super().__init__()
        judged = [judge(claim.experiment, linux) for linux in kernels]
        newest = kernels[-1]
        now = read_timeline(judged[-1][1].trace)
        answer = now.answer and replace(now.answer, text=f"model: {now.answer.text}")
        kept = []
        for linux, (agreement, *_) in zip(kernels, judged, strict=True):
            drawn, text = read_timeline(linux), f"Linux {linux.linux}"
            same = agreement.agrees and claim.expected(linux.linux) == claim.expected(newest.linux)
            said = drawn.answer and replace(drawn.answer, text=f"{text}: {drawn.answer.text}")
            kept.append(replace(drawn, answer=said, lanes=() if same else drawn.lanes))
        sentence = in_versions(claim)
        self.picture = TimelinePicture(replace(now, answer=answer, sentence=sentence), tuple(kept))
        #: All runs; the page plays them.
        self.timeline = LivingTimeline()
        self.timeline.show(_frame(self.picture))
        self.say(sentence)
        rows = [
            (linux.linux, linux.bench, each[0].sentence) for linux, each in zip(kernels, judged, strict=True)
        ]
        headings = ("Linux", "ran as", "against the model with that kernel's rules")
        table = html_table(headings, rows, row_headings=True)
        self.build(self.status, self.timeline, widgets.HTML(_fold(table, "Kernel by kernel")))

    def _repr_html_(self) -> str:
        return super()._repr_html_() + self.timeline._repr_html_()


def versions(claim: str) -> Versions:
    """What differs between versions of Linux, by the claim's name, as several kernels showed it.

    Names: keys of `tcplab.claims.CLAIMS` that data/captures has recordings of; the newest three are shown.
    Raises `ParameterError` for an unknown name, `CaptureError` where there is no recording. See `Versions`.
    """
    return Versions(claim_named(claim), recordings_by_kernel(claim)[-3:])


def _frame(picture: TimelinePicture) -> ShownFrame:
    return ShownFrame(picture, picture.end_s(), picture.now.log)


def _fold(table: str, title: str = "Packet by packet") -> str:
    return f"<details><summary>{title}</summary>{table}</details>"


#: Seconds; a run in real time that takes longer can't be started by a click.
LONGEST_S = 1200
#: Parameters that mean nothing to a real Linux.
_MODEL_ONLY = ("linux", "seed")
#: Runs an experiment, and calls back with the seconds and segments so far.
_Run = Callable[[Any, Callable[[float, int], None]], Trace]
#: The choice that is not a kernel in virtual time.
_THIS = ""


class LinuxPanel(Panel):
    """A run on real Linux beside the model's, and the sentence of agreement."""

    title = "On real Linux"
    whole_run = True

    def __init__(self, name: str, set_values: Callable[[Mapping[str, Any]], None], guard: Guard) -> None:
        self._name, self._set_values, self._guard = name, set_values, guard
        #: Runs made here or recorded, by kernel and parameters, each with the sentence on its origin.
        self._runs: dict[tuple[str, str], tuple[Trace, str]] = {}
        self._recorded: Mapping[str, Any] | None = None
        self._opened = False
        self._why_not: str | None = None
        self._why_no_others: str | None = None
        self._experiment: Any = None
        self._takes = 0.0
        #: Ends the current run; None: there is none.
        self._end: Action | None = None
        #: Both runs on one time axis, and packet by packet; empty without a run.
        self.timeline, self._packets = LivingTimeline(), widgets.HTML()
        self._where, self._status = widgets.HTML(), live()
        #: The kernel to run on; hidden while there is only one.
        self.kernel = labelled(widgets.Dropdown(options=[("this machine's Linux", _THIS)], description="on"))
        self.kernel.observe(lambda change: guard(self._renew), "value")
        visible(self.kernel, False)
        self._go = button("Run it on this Linux now", "play", self._start)
        self._back = button("Use the recording's values", "undo", self._to_recording)
        self._progress = Progress(self._cancel)
        buttons = in_row(self.kernel, self._go, self._back)
        self.widget = widgets.VBox(
            [self._where, buttons, self._progress, self._status, self.timeline, self._packets]
        )

    def refresh(self, experiment: Any, trace: Trace) -> None:
        self._open(type(experiment))
        self._experiment, self._takes = experiment, (trace.end - trace.start) / SECOND
        self._renew()

    def empty(self) -> None:
        self._experiment = None
        self._where.value = ""
        self._clear()
        self._offer()

    def _open(self, kind: Any) -> None:
        """When the tab is first opened: read the recording, check what this machine can run."""
        if self._opened:
            return
        self._opened, self._why_not = True, why_not()
        others, self._why_no_others = other_kernels()
        if others:
            self.kernel.options = [*self.kernel.options, *others]
            visible(self.kernel, True)
        from tcplab.capture import CaptureError
        from tcplab.capture.recordings import recording

        try:
            trace = recording(self._name)
        except CaptureError:
            return
        # A parameter that was added to the story later has its default.
        self._recorded = kind.from_values(trace.parameters).values()
        where = f"Recorded on Linux {trace.linux}; tcplab record {self._name} records it again."
        self._runs[_THIS, _key(self._recorded)] = trace, where

    def _renew(self) -> None:
        """Show the run on the chosen kernel with the explorer's values, or why there is none."""
        self._offer()
        if self._experiment is None:
            return
        run = self._runs.get(self._key(self._experiment))
        if run is not None:
            self._show(*run)
            return
        self._clear()
        self._where.value = "".join(map(paragraph, self._nothing()))

    def _key(self, experiment: Any) -> tuple[str, str]:
        return self.kernel.value, _key(experiment.values())

    def _nothing(self) -> Iterable[str]:
        """Why no run is shown."""
        takes = duration(max(round(self._takes), 1) * SECOND)
        if self.kernel.value != _THIS:
            before = "" if is_fetched(self.kernel.value) else "is downloaded first. It "
            can = f"This kernel {before}boots in QEMU and runs {takes} of virtual time in seconds."
            yield f"No run on {self.kernel.label.partition(',')[0]} with these values yet. {can}"
            return
        if self._why_not is not None:
            can = f"A run is not possible here: {self._why_not}"
        elif self._takes > LONGEST_S:
            can = f"It would take {takes} in real time: choose shorter times, or the recording's values."
        else:
            can = f"A run takes about {takes} in real time, in its own network namespaces."
        yield f"No run on Linux with these values yet. {can}"
        if self._why_no_others:
            which = "More" if len(self.kernel.options) > 1 else "Other"
            yield f"{which} kernels, in virtual time, can't run here: {self._why_no_others}"

    def _offer(self) -> None:
        """Enable the button where a run is possible; name the kernel on it."""
        this = self.kernel.value == _THIS
        able = not this or (self._why_not is None and self._takes <= LONGEST_S)
        self._go.disabled = self._experiment is None or not able or self._end is not None
        self._go.description = f"Run it on {'this Linux' if this else f'Linux {self.kernel.value}'} now"
        known = None if self._recorded is None else _key(self._recorded)
        elsewhere = self._experiment is not None and known not in (None, _key(self._experiment.values()))
        visible(self._back, this and elsewhere)

    def _clear(self) -> None:
        self._status.value = self._packets.value = ""
        self.timeline.clear()
        visible(self.timeline, False)

    def _show(self, linux: Trace, where: str) -> None:
        agreement, picture, packets = on_linux(self._experiment, linux)
        self._where.value = paragraph(where)
        lines = [paragraph(agreement.sentence)]
        lines += [paragraph(str(difference)) for difference in agreement.differences[1:4]]
        rules = self._experiment.linux
        if not linux.linux.startswith(f"{rules}."):
            also = (
                f"The model above follows the rules of Linux {rules}; here it follows those of Linux "
                f"{linux.linux}, the kernel of this run."
            )
            lines.append(paragraph(also, "warning"))
        if linux.is_virtual and linux.ticks:
            lines.append(
                paragraph(
                    "Here the model's timers are as coarse as that kernel's timer wheel: up to 1/8 late."
                )
            )
        self._status.value = status("".join(lines), wrong=not agreement.agrees)
        visible(self.timeline, True)
        self.timeline.show(_frame(picture))
        self._packets.value = _fold(packets)

    def _to_recording(self) -> None:
        if self._recorded is not None:
            self._set_values(self._recorded)

    def _start(self) -> None:
        if self._experiment is None or self._end is not None:
            return
        from threading import Event, Thread

        from tcplab.bench.sandbox import Sandbox

        run: _Run
        if self.kernel.value == _THIS:
            sandbox = Sandbox()
            self._end, run = sandbox.cancel, partial(_in_real_time, sandbox)
        else:
            ended = Event()
            self._end, run = ended.set, partial(_on_kernel, self.kernel.value, self._tell, ended.is_set)
        self._progress.show(0, " starting …")
        self._offer()
        about = self._experiment, self._key(self._experiment), run, self._takes
        Thread(target=self._run, args=about, daemon=True).start()

    def _tell(self, what: str) -> None:
        """Show what is done before the run begins."""
        self._progress.show(self._progress.bar.value, f" {what}")

    def _cancel(self) -> None:
        if self._end is not None:
            self._progress.show(self._progress.bar.value, " ending it …")
            self._end()

    def _run(
        self,
        experiment: Any,
        key: tuple[str, str],
        run: _Run,
        takes: float,
    ) -> None:
        """Runs in its own thread, so that the rest of the notebook stays responsive."""
        from tcplab.bench.sandbox import BenchError, Cancelled
        from tcplab.bench.script import ScriptError

        def progress(seconds: float, segments: int) -> None:
            share = min(seconds / takes, 1) if takes else 1
            self._progress.show(share, f" {seconds:.0f} of {takes:.0f} s, {segments} segments")

        trouble = ""
        try:
            trace = run(experiment, progress)
            own = "in virtual time" if trace.is_virtual else "this machine's kernel"
            self._runs[key] = trace, f"Run just now on Linux {trace.linux}, {own}."
        except Cancelled:
            trouble = "Cancelled: the run was discarded."
        except (BenchError, ScriptError) as error:
            trouble = f"No run: {error}"
        finally:
            self._end = None
            self._guard(lambda: self._over(key, trouble))

    def _over(self, key: tuple[str, str], trouble: str) -> None:
        self._progress.show(None)
        self._offer()
        if self._experiment is None:
            return
        if trouble:
            self._where.value = paragraph(trouble)
        elif self._key(self._experiment) == key:
            self._show(*self._runs[key])
        elif self.kernel.value != key[0]:
            self._where.value = paragraph("The run has ended; it was on the kernel that was selected before.")
        else:
            self._where.value = paragraph("The run has ended; it had the values that were set before.")


def _in_real_time(sandbox: Any, experiment: Any, progress: Callable[[float, int], None]) -> Trace:
    from tcplab.bench import run
    from tcplab.bench.sandbox import patiently

    with sandbox:
        progress(0, 0)
        return patiently(lambda: run(experiment, "linux", progress, sandbox=sandbox))


def _on_kernel(
    kernel: str,
    tell: Callable[[str], None],
    cancelled: Callable[[], bool],
    experiment: Any,
    progress: Callable[[float, int], None],
) -> Trace:
    from tcplab.bench import run

    return run(experiment, f"linux:{kernel}", progress, tell=tell, cancelled=cancelled)


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


def other_kernels() -> tuple[list[tuple[str, str]], str | None]:
    """Kernels that can run here in virtual time, (label, name), and why others can't, if there are any."""
    try:
        from tcplab.bench.kernels import here
    except ImportError:
        return [], None  # a browser: `why_not` gives that reason already
    able, reason = here()
    return [
        (f"Linux {(there or kernel).version}, virtual time", kernel.name) for kernel, there in able
    ], reason


def is_fetched(kernel: str) -> bool:
    """Whether a kernel from `other_kernels` is in the cache."""
    from tcplab.bench.kernels.debian import find_kernel, unpacked

    return unpacked(find_kernel(kernel)) is not None


class CapturePanel(Panel):
    """The run as a pcap, made on demand: the link never belongs to an older run."""

    title = "Capture"
    whole_run = True

    def __init__(self, filename: str) -> None:
        self._filename = f"{filename}.pcap"
        self._trace: Trace | None = None
        self._link = widgets.HTML()
        about = "This run as tcpdump would have written it on the first host, for Wireshark or tshark."
        make = button("Make the capture file", "download", self._make)
        self.widget = widgets.VBox([widgets.HTML(paragraph(about)), make, self._link])

    def refresh(self, experiment: Any, trace: Trace) -> None:
        self._trace, self._link.value = trace, ""

    def empty(self) -> None:
        self._trace, self._link.value = None, ""

    def _make(self) -> None:
        if self._trace is None:
            return
        from tcplab.capture import CaptureError
        from tcplab.capture.pcap import pcap_bytes

        try:
            content = pcap_bytes(self._trace)
        except CaptureError as error:
            self._link.value = paragraph(str(error))
            return
        link = download(self._filename, content, "application/vnd.tcpdump.pcap")
        then = f"<p>{link}, then: <code>wireshark {escape(self._filename)}</code></p>"
        self._link.value = then + to_copy(self._filename, content)
