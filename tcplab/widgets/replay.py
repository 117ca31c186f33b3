"""A connection step by step: its timeline, what happened at each segment, and the state of both ends then.

    capture = tcplab.read_capture("mine.pcap")
    tcplab.replay(capture.connection(0))

One cursor moves through all of it, by the timeline (which plays, and takes clicks), by buttons and keys, and
by Python: `step`, `go`, `next_finding`. The page plays, so that it needs no thread and no task here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets as widgets
import traitlets

from tcplab.core.text import SECOND, duration, paragraph, plural, status
from tcplab.core.trace import Trace
from tcplab.pictures import ladder
from tcplab.pictures import replay as pictured
from tcplab.widgets import base
from tcplab.widgets.timeline import Bar, LivingTimeline, ShownFrame, offer

if TYPE_CHECKING:
    from tcplab.capture.findings.story import Finding

KEYS_HELP = "Keys: ← → step, Home and End, space plays and pauses, n next finding, p the one before."


class ReplayKeys(anywidget.AnyWidget):
    """Nothing to see: calls `pressed` with the name of each key that is pressed in the replay around it.

    Those keys don't reach JupyterLab.
    """

    _esm = (base.HERE / "replay.js").read_text("utf-8")

    #: How many messages were handled: the page then sends the keys that were pressed in the meantime.
    taken = traitlets.Int(0).tag(sync=True)

    def __init__(self, pressed: Callable[[str], None]) -> None:
        super().__init__()
        self._pressed = pressed
        self.on_msg(self._on_message)

    def _on_message(self, widget: Any, content: Any, buffers: Any) -> None:
        try:
            for key in content["keys"]:
                self._pressed(key)
        finally:
            self.taken += 1


class Replay(base.Shell):
    """A connection to step through, for the last line of a cell: ``replay(capture.connection(0))``.

    `trace` is any trace. `findings` are what one can jump to: of a capture's trace without them, those
    that the trace itself shows. `frames` are the segments' numbers in the file, as `Capture.frames`
    gives them.
    """

    styles = ("replay.css",)

    def __init__(
        self, trace: Trace, findings: Iterable[Finding] | None = None, frames: Sequence[int] = ()
    ) -> None:
        super().__init__("tcplab-replay")
        self.timeline = LivingTimeline(pressed=self._pressed)
        self.timeline.react(self.timeline, self._follow, "cursor")
        #: The living figure: the ladder's page.
        self.picture = base.LivingFigure("replay")
        self.picture.on_click(lambda y: self.go(self.steps.position(self.axis.t_of(y))))
        #: Between which ends, how long, and what a reader must know first.
        self.title = widgets.HTML()
        self.status.add_class("tcplab-happened")
        self._ends, self._console = widgets.HTML(), widgets.HTML()
        #: The consoles of both ends, folded away at first.
        self.fold = base.Fold("Your console at this moment", self._console)
        self.fold.observe(lambda change: self._show(), "opened")
        self.back = base.button("Back", "step-backward", lambda: self.step(-1), "One step back (←)")
        self.forward = base.button("Forward", "step-forward", lambda: self.step(1), "One step on (→)")
        self._next = base.button("Next finding", "flag", self.next_finding)
        buttons = base.in_row(self.back, self.forward, self._next, css="tcplab-buttons")
        keys = widgets.HTML(paragraph(KEYS_HELP, "tcplab-help"))
        parts = [self.timeline, buttons, keys, self.status, self.picture, self._ends, self.fold]
        self._body = widgets.VBox(parts)
        self.build(ReplayKeys(self.press), self.title, self._body)
        self.show(trace, findings, frames)

    @property
    def position(self) -> int:
        """The step that is shown, from 0."""
        return self._step

    @property
    def t(self) -> int:
        """The instant that is shown, nanoseconds."""
        return self.steps.instants[self._step]

    @property
    def figure(self) -> Any:
        """The picture that is shown, as a plotly figure; None when there is none."""
        return self.picture.figure

    def show(
        self, trace: Trace, findings: Iterable[Finding] | None = None, frames: Sequence[int] = ()
    ) -> None:
        """Replay this trace from its beginning instead."""
        self.steps = pictured.ReplaySteps(trace, findings, frames)
        self._step = 0
        self._next.disabled = not self.steps.findings
        self._next.tooltip = "To the next finding (n)" if self.steps.findings else "Nothing was found here."
        self._log = False
        with self.timeline.quietly():
            self.timeline.cursor = -1.0
        base.visible(self._body, bool(self.steps.trace.packets))
        if self.steps.trace.packets:
            self.title.value = self._heading()
            self._show_timeline()
        else:
            self.title.value = paragraph(pictured.NOTHING)
            self.sentence, self.status.value = pictured.NOTHING, ""
            self.picture.clear()
            self.timeline.clear()
        self._show()

    def step(self, by: int) -> None:
        """So many steps on; back when negative. Stays where there is no more."""
        self.go(self._step + by)

    def go(self, position: int) -> None:
        """Show this step; the first or the last one where there is none."""
        self._step = min(max(position, 0), len(self.steps) - 1)
        if self.steps.trace.packets:
            with self.timeline.quietly():
                self.timeline.cursor = max((self.t - self.steps.trace.watching_since) / SECOND, 0.0)
        self._show()

    def look_at(self, seconds: float) -> None:
        """Show the last step not after this second, counted from the first segment."""
        self.go(self.steps.position(self.steps.trace.start + round(seconds * SECOND)))

    def next_finding(self) -> None:
        """To the next step at which a finding begins; stays when there is no more."""
        self._go_to(self.steps.next_finding(self._step))

    def previous_finding(self) -> None:
        """To the step before at which a finding begins; stays when there is none."""
        self._go_to(self.steps.previous_finding(self._step))

    def _go_to(self, step: int | None) -> None:
        if step is not None:
            self.go(step)

    def press(self, key: str) -> None:
        """What a key does, by the page's name for it; others do nothing."""
        actions = {
            "ArrowLeft": lambda: self.step(-1), "ArrowRight": lambda: self.step(1),
            "Home": lambda: self.go(0), "End": lambda: self.go(len(self.steps) - 1),
            " ": self.timeline.play, "n": self.next_finding, "p": self.previous_finding,
        }  # fmt: skip
        if key in actions:
            actions[key]()

    # -- showing -----------------------------------------------------------------------------

    def _heading(self) -> str:
        trace = self.steps.trace
        ends = " ↔ ".join(
            f"{host} {address}" if address != host else host for host, address in trace.hosts.items()
        )
        heading = f"{ends}: {plural(len(trace.packets), 'segment')} in "
        heading += duration(trace.packets[-1].t - trace.start)
        if trace.bench == "capture":
            heading += f", {plural(len(self.steps.findings), 'finding')}"
        notes = [*trace.warnings, *filter(None, [self.steps.warning])]
        return f"<h3>{escape(heading)}</h3>" + "".join(paragraph(note, "warning") for note in notes)

    def _show(self) -> None:
        if not self.steps.trace.packets:
            return
        steps, t = self.steps, self.t
        self.back.disabled = self._step == 0
        self.forward.disabled = self._step == len(steps) - 1
        self.sentence = pictured.plain(steps, self._step)
        self.status.value = status(pictured.happened(steps, self._step))
        page = steps.page(t)
        drawn = ladder.draw(page, at=t, upto=t)
        #: The time axis of the picture.
        self.axis = drawn.axis
        self.picture.show(pictured.framed(drawn, page, t))
        note = paragraph(pictured.INFERRED, "tcplab-help") if steps.ends.inferred else ""
        self._ends.value = pictured.ends_table(steps, t) + note
        if self.fold.opened:
            self._console.value = pictured.consoles(steps, t)

    def _show_timeline(self) -> None:
        picture = self.steps.timeline
        end = picture.end_s()
        bar = Bar(None, "" if self._log else offer(picture, end, self.timeline.width))
        self.timeline.show(ShownFrame(picture, end, self._log, bar=bar))

    def _pressed(self, what: str) -> None:
        """A button of the timeline's bar: `linear` or `log`."""
        self._log = what == "log"
        self._show_timeline()

    def _follow(self, seconds: float) -> None:
        """The page's cursor has moved; without one, the step stays."""
        step = self.steps.position(self.steps.trace.watching_since + round(seconds * SECOND))
        if seconds >= 0 and step != self._step:
            self._step = step
            self._show()

    def _repr_html_(self) -> str:
        return f"{self.title.value}{self.status.value}{self.timeline._repr_html_()}"


def replay(
    connection: Trace, findings: Iterable[Finding] | None = None, frames: Sequence[int] = ()
) -> Replay:
    """A connection to step through; `Replay` describes the arguments."""
    return Replay(connection, findings, frames)
