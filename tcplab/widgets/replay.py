"""A connection step by step: what happened at each segment, and what both ends were in then.

    capture = tcplab.read_capture("mine.pcap")
    tcplab.replay(capture.connection(0))

Buttons, a slider and keys do the same thing, and so does Python: `step`, `go`, `next_finding`. Playing
is a task on the notebook kernel's own loop: it needs no thread, so that it also works in a browser's
Python, and a page that is reloaded meets it where it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets as widgets
import traitlets

from tcplab.core.html import paragraph
from tcplab.core.text import MILLISECOND, duration
from tcplab.core.trace import Trace
from tcplab.pictures import ladder
from tcplab.pictures.replay import (
    INFERRED,
    NOTHING,
    ReplaySteps,
    consoles,
    ends_table,
    framed,
    happened,
    plain,
)
from tcplab.widgets.figure import LivingFigure, SliderNames

if TYPE_CHECKING:
    from tcplab.capture.findings.story import Finding


# ----------------------------------------------------------------------
# The keys of a replay: they step it wherever in it the focus is, and don't reach JupyterLab.

#: The class of the box whose keys they are.
BOX = "tcplab-replay"


class ReplayKeys(anywidget.AnyWidget):
    """Nothing to see. Put it into a box of class `BOX`; calls `pressed` with each key's name."""

    _esm = Path(__file__).with_name("replay.js")

    #: How many messages were worked off: the page then sends what was pressed meanwhile.
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


_STYLES = [Path(__file__).with_name(name) for name in ("explorer.css", "replay.css")]
#: Seconds from one step to the next, by the name of the speed.
SPEEDS = {"slow": 2.0, "normal": 1.0, "fast": 0.35}

KEYS_HELP = "Keys: ← → step, Home and End, space plays and pauses, n next finding, p the one before."


class Replay(widgets.VBox):
    """A trace to step through. See `replay`."""

    def __init__(
        self, trace: Trace, findings: Iterable[Finding] | None = None, frames: Sequence[int] = ()
    ) -> None:
        self._figure = LivingFigure("replay")
        self._figure.on_click(self._on_click)
        self._quiet = False
        self._task: Any = None
        self._title, self._said, self._below = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self._said.add_class("tcplab-happened")
        self._console = widgets.HTML()
        self._folded = widgets.Accordion([self._console], titles=["Your console at this moment"])
        self._folded.selected_index = None
        self._folded.observe(lambda change: self._show(), "selected_index")
        self._back = _button("Back", "step-backward", "One step back (←)", lambda: self.step(-1))
        self._play = _button("Play", "play", "Step by itself (space)", self.toggle)
        self._forward = _button("Forward", "step-forward", "One step on (→)", lambda: self.step(1))
        self._next = _button("Next finding", "flag", "To the next finding (n)", self.next_finding)
        self._speed = widgets.Dropdown(options=list(SPEEDS), value="normal", description="speed")
        self._speed.style.description_width = "initial"
        self._slider = widgets.IntSlider(0, 0, 1, description="moment", readout=False).add_class(
            "tcplab-turn"
        )
        self._slider.observe(self._on_slider, "value")
        self._slider.style.description_width = "initial"
        turnable = [self._back, self._play, self._forward, self._next, self._speed, self._slider]
        buttons = widgets.HBox(turnable)
        style = "".join(path.read_text() for path in _STYLES)
        self._body = widgets.VBox(
            [
                buttons.add_class("tcplab-buttons"),
                widgets.HTML(paragraph(KEYS_HELP, "tcplab-help")),
                self._said,
                self._figure,
                self._below,
                self._folded,
            ]
        )
        super().__init__(
            [
                widgets.HTML(f"<style>{style}</style>").add_class("tcplab-style"),
                ReplayKeys(self.press),
                self._title,
                self._body,
                SliderNames(),
            ]
        )
        self.add_class("tcplab-explorer")
        self.add_class(BOX)
        self.show(trace, findings, frames)

    # -- for cells and tests -----------------------------------------------------------------

    @property
    def position(self) -> int:
        """The step that is shown, from 0."""
        return self._step

    @property
    def t(self) -> int:
        """The moment that is shown, nanoseconds."""
        return self.steps.instants[self._step]

    @property
    def sentence(self) -> str:
        """What happened at the step that is shown, and the finding that begins there."""
        return plain(self.steps, self._step) if self.steps.trace.packets else NOTHING

    @property
    def playing(self) -> bool:
        """True while it steps by itself."""
        return self._task is not None

    @property
    def figure(self) -> Any:
        """The picture that is shown, as a plotly figure; None when there is none."""
        return self._figure.figure

    def show(
        self, trace: Trace, findings: Iterable[Finding] | None = None, frames: Sequence[int] = ()
    ) -> None:
        """Replay this trace from its beginning instead."""
        self.pause()
        self.steps = ReplaySteps(trace, findings, frames)
        self._step = 0
        there = bool(self.steps.trace.packets)
        self._body.layout.display = "" if there else "none"
        self._title.value = self._heading() if there else paragraph(NOTHING)
        self._next.disabled = not self.steps.findings
        self._next.tooltip = "To the next finding (n)" if self.steps.findings else "Nothing was found here."
        self._quiet = True
        try:
            self._slider.value = 0
            self._slider.max = max(len(self.steps) - 1, 1)
        finally:
            self._quiet = False
        self._show()

    def step(self, by: int) -> None:
        """So many steps on; back when negative. Stays where there is no more."""
        self.go(self._step + by)

    def go(self, position: int) -> None:
        """Show this step; the first or the last one where there is none."""
        self._step = min(max(position, 0), len(self.steps) - 1)
        self._show()

    def look_at(self, seconds: float) -> None:
        """Show the last step not after this second, counted from the first segment."""
        self.go(self.steps.position(self.steps.trace.start + round(seconds * 1e9)))

    def next_finding(self) -> None:
        """To the next step at which a finding begins; stays when there is no more."""
        there = self.steps.next_finding(self._step)
        if there is not None:
            self.go(there)

    def previous_finding(self) -> None:
        """To the step before at which a finding begins; stays when there is none."""
        there = self.steps.previous_finding(self._step)
        if there is not None:
            self.go(there)

    def press(self, key: str) -> None:
        """What a key does, by the page's name for it; others do nothing."""
        actions = {
            "ArrowLeft": lambda: self.step(-1),
            "ArrowRight": lambda: self.step(1),
            "Home": lambda: self.go(0),
            "End": lambda: self.go(len(self.steps) - 1),
            " ": self.toggle,
            "n": self.next_finding,
            "p": self.previous_finding,
        }
        if key in actions:
            actions[key]()

    # -- playing -----------------------------------------------------------------------------

    def toggle(self) -> None:
        """Play, or pause."""
        if self.playing:
            self.pause()
        else:
            self.play()

    def play(self) -> None:
        """Step on by itself to the end; from the beginning when it stands there. Needs a running loop."""
        import asyncio

        if self.playing or not self.steps.trace.packets:
            return
        if self._step == len(self.steps) - 1:
            self.go(0)
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._show_play()

    def pause(self) -> None:
        """Stay at the step that is shown."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._show_play()

    async def _run(self) -> None:
        import asyncio

        while self._step < len(self.steps) - 1:
            await asyncio.sleep(self._pause_s())
            self.step(1)
        self._task = None
        self._show_play()

    def _pause_s(self) -> float:
        """How long this step is looked at: longer before a silence, and where a finding begins."""
        instants = self.steps.instants
        gap = instants[self._step + 1] - instants[self._step]
        seconds = 0.6 + 0.15 * math.log10(1 + gap / MILLISECOND)
        seconds += 2.0 * bool(self.steps.findings_at(self._step))
        return seconds * SPEEDS[self._speed.value]

    def _show_play(self) -> None:
        self._play.description = "Pause" if self.playing else "Play"
        self._play.icon = "pause" if self.playing else "play"

    # -- showing -----------------------------------------------------------------------------

    def _heading(self) -> str:
        steps = self.steps
        count = len(steps.trace.packets)
        ends = " ↔ ".join(
            f"{host} {address}" if address != host else host for host, address in steps.trace.hosts.items()
        )
        long = duration(steps.trace.packets[-1].t - steps.trace.start)
        found = len(steps.findings)
        told = f", {found} finding{'s' * (found != 1)}" if steps.trace.bench == "capture" else ""
        said = f"{ends}: {count:,} segment{'s' * (count != 1)} in {long}{told}"
        told_first = [*steps.trace.warnings, *filter(None, [steps.warning])]
        warnings = "".join(paragraph(warning, "warning") for warning in told_first)
        return f"<h3>{escape(said)}</h3>{warnings}"

    def _show(self) -> None:
        if not self.steps.trace.packets:
            self._figure.clear()
            return
        steps, t = self.steps, self.t
        self._quiet = True
        try:
            self._slider.value = self._step
        finally:
            self._quiet = False
        self._back.disabled = self._step == 0
        self._forward.disabled = self._step == len(steps) - 1
        said = happened(steps, self._step)
        self._said.value = f'<div class="tcplab-sentence" role="status" aria-live="polite">{said}</div>'
        page = steps.page(t)
        drawn = ladder.draw(page, at=t, upto=t)
        self._axis = drawn.axis
        self._figure.show(framed(drawn, page, t))
        note = paragraph(INFERRED, "tcplab-help") if steps.ends.inferred else ""
        self._below.value = ends_table(steps, t) + note
        if self._folded.selected_index is not None:
            self._console.value = consoles(steps, t)

    def _on_slider(self, change: Any) -> None:
        if not self._quiet:
            self.go(change["new"])

    def _on_click(self, y: float) -> None:
        self.go(self.steps.position(self._axis.t_of(y)))

    def __repr__(self) -> str:
        return self.sentence

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = dict(super()._repr_mimebundle_(**options) or {})
        return bundle | {"text/plain": repr(self), "text/html": self._title.value + self._said.value}


def _button(text: str, icon: str, tooltip: str, pressed: Any) -> widgets.Button:
    button = widgets.Button(description=text, icon=icon, tooltip=tooltip)
    button.on_click(lambda _: pressed())
    return button


def replay(
    connection: Trace, findings: Iterable[Finding] | None = None, frames: Sequence[int] = ()
) -> Replay:
    """A connection to step through, for the last line of a cell: ``replay(capture.connection(0))``.

    `connection` is any trace. `findings` are what one can jump to: of a capture's trace without them,
    those that the trace itself shows. `frames` are the segments' numbers in the file, as
    `Capture.frames` gives them.
    """
    return Replay(connection, findings, frames)
