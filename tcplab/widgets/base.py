"""What an explorer shows below its controls: one panel a tab, each made from a trace when it is seen."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets as widgets

from tcplab.advice.settings import settings
from tcplab.core.html import paragraph, scrolled, to_paste
from tcplab.core.knobs import Parameters
from tcplab.core.trace import Trace
from tcplab.pictures import console, ladder
from tcplab.pictures.port_table import wanted_at
from tcplab.pictures.ports import port_map
from tcplab.pictures.tables import study_tables, trace_table
from tcplab.pictures.text import excerpt, instant_to_show, instant_words, instants, position
from tcplab.widgets.figure import LivingFigure
from tcplab.widgets.show import OF_ALL, PICTURES

#: Runs an action so that nothing it raises reaches a learner.
Guard = Callable[[Callable[[], None]], None]


class Moment:
    """The second that somebody looks at. Picture and console follow it."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self.trace: Trace | None = None
        self.all: list[int] = []
        self.t = 0
        #: Somebody chose it: then the picture shows it, and the next run keeps its place.
        self.picked = False
        self._told: list[Callable[[], None]] = []

    def follow(self, told: Callable[[], None]) -> None:
        """Call `told` whenever somebody picks another moment."""
        self._told.append(told)

    def restart(self, trace: Trace) -> None:
        """Another run: the same how-many-th event of it where one was picked, else its most telling one."""
        place = position(self.all, self.t) if self.picked and self.all else None
        self.trace, self.all = trace, instants(trace)
        self.t = (
            instant_to_show(trace, self.all) if place is None else self.all[min(place, len(self.all) - 1)]
        )

    def pick(self, t: int) -> None:
        """Look at `t` (nanoseconds) from now on."""
        self.t, self.picked = t, True
        for told in self._told:
            self._guard(told)


class Panel:
    """One tab: `widget`, filled by `refresh`."""

    title = ""
    widget: Any
    #: It takes the whole run, however long; the others get what one can look at.
    needs_all = False

    def refresh(self, experiment: Parameters, trace: Trace) -> None:
        """Show this run."""
        raise NotImplementedError

    def empty(self) -> None:
        """Show no run at all."""
        raise NotImplementedError


class Steps(widgets.HBox):
    """A slider over everything that happens, and what happened at the moment that is picked."""

    def __init__(self, moment: Moment) -> None:
        self.moment = moment
        self.slider = widgets.IntSlider(
            0, 0, 1, description="moment", readout=False, tooltip="Step through everything that happens."
        ).add_class("tcplab-turn")
        self.when = widgets.HTML()
        super().__init__([self.slider, self.when])
        self.add_class("tcplab-row")
        self._quiet = False
        self.slider.observe(self._on_slider, "value")

    def show(self, trace: Trace, t: int) -> None:
        """Stand at `t`, whoever picked it."""
        self._quiet = True
        try:
            self.slider.max = max(len(self.moment.all) - 1, 1)
            self.slider.value = position(self.moment.all, t)
        finally:
            self._quiet = False
        self.when.value = f'<span class="tcplab-when">{escape(instant_words(trace, t))}</span>'

    def _on_slider(self, change: Any) -> None:
        if not self._quiet:
            self.moment.pick(self.moment.all[min(change["new"], len(self.moment.all) - 1)])


class PicturePanel(Panel):
    """The living figure; one of several pictures where an experiment has more than one."""

    title = "Picture"
    needs_all = True

    def __init__(self, pictures: tuple[str, ...], filename: str, moment: Moment, guard: Guard) -> None:
        self.moment = moment
        self.figure = LivingFigure(filename)
        self._choice = widgets.ToggleButtons(options=[(name.capitalize(), name) for name in pictures])
        self._choice.add_class("tcplab-pictures")
        self._hint = widgets.HTML()
        choice = [self._choice] if len(pictures) > 1 else []
        # The port map shows one moment, and has no place to click at another.
        self._steps = [Steps(moment)] if "ports" in pictures else []
        self.widget = widgets.VBox([*choice, *self._steps, self.figure, self._hint])
        self._trace: Trace | None = None
        self._said = ""
        self._choice.observe(lambda change: guard(self._draw), "value")
        self.figure.on_click(self._on_click)
        moment.follow(self._draw)

    @property
    def picture(self) -> str:
        """Name of the picture that is shown: `ladder`, `window`, `queues`, `ports`."""
        return str(self._choice.value)

    def refresh(self, experiment: Any, trace: Trace) -> None:
        self._trace, self._said = trace, experiment.sentence(trace)
        self._draw()

    def empty(self) -> None:
        self._trace = None
        self.figure.clear()
        self._hint.value = ""
        self._show_steps(False)

    def _draw(self) -> None:
        if self._trace is None:
            return
        hint, below = "", ""
        trace = self._trace if self.picture in OF_ALL else excerpt(self._trace)
        if self.picture == "ladder":
            at = self.moment.t if self.moment.picked else None
            self._picture = ladder.draw(trace, at=at)
            hint = "Click on a moment: the tab “Your console” then shows what ss and nstat say at it."
            if at is not None:
                hint = f"Your console stands at {instant_words(trace, at)}."
        elif self.picture == "ports":
            at = self.moment.t if self.moment.picked else wanted_at(trace)
            self._steps[0].show(trace, at)
            self._picture, hint, below = port_map(trace, at)
        else:
            self._picture = PICTURES[self.picture](trace)
        self.figure.show(self._picture, f"{self.picture.capitalize()}: {self._said}")
        self._show_steps(self.picture == "ports")
        self._hint.value = paragraph(hint, "tcplab-help") + below

    def _show_steps(self, shown: bool) -> None:
        for steps in self._steps:
            steps.layout.display = "" if shown else "none"

    def _on_click(self, y: float) -> None:
        if self.picture == "ladder":
            self.moment.pick(self._picture.axis.t_of(y))


class SegmentsPanel(Panel):
    """Every segment as a row of text."""

    title = "Segments"

    def __init__(self) -> None:
        self.widget = widgets.HTML()

    def refresh(self, experiment: Parameters, trace: Trace) -> None:
        self.widget.value = scrolled(trace_table(trace), "segments")

    def empty(self) -> None:
        self.widget.value = ""


class NumbersPanel(SegmentsPanel):
    """A study's outcome and curves as text."""

    title = "Numbers"

    def refresh(self, experiment: Parameters, trace: Trace) -> None:
        self.widget.value = scrolled(study_tables(trace), "numbers")


class ConsolePanel(Panel):
    """What `ss` and `nstat` show on each host at the moment that is picked."""

    title = "Your console"

    def __init__(self, moment: Moment) -> None:
        self.moment = moment
        self._steps = Steps(moment)
        self._screens = widgets.HTML()
        self.widget = widgets.VBox([self._steps, self._screens])
        moment.follow(self._show)

    def refresh(self, experiment: Parameters, trace: Trace) -> None:
        self._show()

    def empty(self) -> None:
        self._steps.when.value = self._screens.value = ""

    def _show(self) -> None:
        trace, t = self.moment.trace, self.moment.t
        if trace is None:
            return
        self._steps.show(trace, t)
        self._screens.value = console.screens_html(trace, t)


class SettingsPanel(Panel):
    """The parameters as text to paste, a block for each place where they can be set."""

    title = "Settings to paste"

    def __init__(self) -> None:
        self.widget = widgets.HTML()

    def refresh(self, experiment: Parameters, trace: Trace) -> None:
        blocks = [
            f"<h4>{escape(layer)}</h4>{to_paste(layer, text)}" for layer, text in settings(experiment).items()
        ]
        nothing = "These parameters belong to the experiment only: no system has a setting for them."
        self.widget.value = "".join(blocks) or paragraph(nothing)

    def empty(self) -> None:
        self.widget.value = ""


class CapturePanel(Panel):
    """The run as a pcap, made when somebody asks for it: the link never belongs to an older run."""

    title = "Capture"
    needs_all = True

    def __init__(self, filename: str) -> None:
        self._filename = f"{filename}.pcap"
        self._trace: Trace | None = None
        self._button = widgets.Button(description="Make the capture file", icon="download")
        self._button.layout = widgets.Layout(width="auto", align_self="flex-start")
        self._link = widgets.HTML()
        about = "This run as tcpdump would have written it on the first host, for Wireshark or tshark."
        self.widget = widgets.VBox([widgets.HTML(paragraph(about)), self._button, self._link])
        self._button.on_click(lambda button: self._make())

    def refresh(self, experiment: Parameters, trace: Trace) -> None:
        self._trace, self._link.value = trace, ""

    def empty(self) -> None:
        self._trace, self._link.value = None, ""

    def _make(self) -> None:
        if self._trace is None:
            return
        from tcplab.capture import CaptureError
        from tcplab.capture.pcap import pcap_bytes

        try:
            content = b64encode(pcap_bytes(self._trace)).decode()
        except CaptureError as error:
            self._link.value = paragraph(str(error))
            return
        name = escape(self._filename, quote=True)
        self._link.value = (
            f'<p><a download="{name}" href="data:application/vnd.tcpdump.pcap;base64,{content}">'
            f"Download {name}</a>, then: <code>wireshark {name}</code></p>"
        )
