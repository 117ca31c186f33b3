"""The explorer: an experiment's parameters to change, and at once its picture, sentence and console.

Everything is built from the experiment's own declaration. Values live in Python, so a cell or a test
can set them too:

    explorer = explore(Keepalive)
    explorer.set(idle_s=60)
    print(explorer.sentence)

Every change runs the model again and shows all of the new run: sentence, timeline, and below them a tab for
each `Panel`, filled when it is seen; what Linux itself does has one of its own (`linux.py`). Parameters that
can't be run leave the last timeline, greyed, and the sentence that says why. Up to three runs can be kept
and stay in the timeline beside the next one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from html import escape
from typing import Any

import ipywidgets as widgets

from tcplab.bench import run
from tcplab.core.knobs import ParameterError
from tcplab.core.text import SECOND, in_words, paragraph, scrolled
from tcplab.core.trace import Trace
from tcplab.lesson.progress import Shelf
from tcplab.lesson.question import remember
from tcplab.pictures import console, ladder, text
from tcplab.pictures.lanes import Timeline
from tcplab.pictures.port_table import wanted_at
from tcplab.pictures.tables import study_tables, trace_table
from tcplab.pictures.theme import Picture
from tcplab.pictures.timeaxis import ROW, fold
from tcplab.pictures.timeline import read_timeline
from tcplab.pictures.timeline_layout import TimelinePicture
from tcplab.widgets import base
from tcplab.widgets.linux import CapturePanel, LinuxPanel
from tcplab.widgets.show import OF_ALL, PicturesInTurn, settings_html
from tcplab.widgets.timeline import Ahead, Bar, LivingTimeline, ShownFrame, offer

#: Parameters by name, and values of theirs.
Needed = Mapping[str, Sequence[Any]]
NOTHING: Needed = {}
#: px of a tab's borders and air.
TAB = 45
#: What the list of presets says while the values are none of them.
OWN = "your own values"
#: So many runs are kept; then the oldest goes.
MOST_KEPT = 3
#: A hand that turns a control rests after so many seconds: then the tabs follow.
REST_S = 0.15
#: How long a study runs: it has to be long enough, and that is the notebook's business.
LENGTH = "duration_s"
#: So many controls are shown at first, in two rows.
MOST_SHOWN = 6


class Cursor:
    """The instant that timeline, picture and console show; `moved` is called when another one is picked."""

    def __init__(self, moved: base.Action) -> None:
        self._moved = moved
        self.trace: Trace | None = None
        #: Every instant at which something happens, nanoseconds.
        self.instants: list[int] = []
        self.t = 0
        #: Whether the learner chose it: then the picture shows it, and the next run keeps its place.
        self.picked = False

    def restart(self, trace: Trace) -> None:
        """Another run: the event with the same number where one was picked, else its most telling one."""
        place = text.position(self.instants, self.t) if self.picked and self.instants else None
        self.trace, self.instants = trace, text.instants(trace)
        if place is None:
            self.t = text.instant_to_show(trace, self.instants)
        else:
            self.t = self.instants[min(place, len(self.instants) - 1)]

    def pick(self, t: int) -> None:
        """Show `t` (nanoseconds) from now on."""
        self.t, self.picked = t, True
        self._moved()

    def leave(self) -> None:
        """No instant is picked any more."""
        self.picked = False
        if self.trace:
            self.restart(self.trace)
        self._moved()


class CursorSlider(base.Quiet, base.ControlRow):
    """A slider over everything that happens, and what happened at the instant that is picked."""

    def __init__(self, cursor: Cursor) -> None:
        super().__init__(
            kind="slider", label="moment", steps=[0, 1], value=0, help="Step through everything that happens."
        )
        self.add_class("tcplab-moment")
        self.cursor = cursor
        self.react(self, lambda i: cursor.pick(cursor.instants[min(i, len(cursor.instants) - 1)]))

    def show(self, trace: Trace, t: int) -> None:
        """Move to `t` without picking it."""
        with self.quietly():
            self.steps = list(range(max(len(self.cursor.instants), 2)))
            self.value = text.position(self.cursor.instants, t)
        self.meaning = text.instant_words(trace, t)


class PicturePanel(base.Panel):
    """The living figure; one of several pictures where an experiment has more than one."""

    title = "Picture"
    whole_run = True
    follows_cursor = True

    def __init__(self, pictures: tuple[str, ...], filename: str, cursor: Cursor, guard: base.Guard) -> None:
        self.cursor, self.pictures = cursor, PicturesInTurn()
        self.figure = base.LivingFigure(filename)
        names = [name.capitalize() for name in pictures]
        #: Which picture is drawn.
        self.choice = base.ControlRow(kind="buttons", label="picture", steps=names, value=names[0])
        self.choice.add_class("tcplab-pictures")
        #: Shows the ladder's first segments one by one, where they are one row.
        self.beginning = base.ControlRow(kind="check", label="show the beginning", value=False)
        self._hint = widgets.HTML()
        base.visible(self.choice, len(pictures) > 1)
        #: Of the port map, which shows one instant and has no place to click at another.
        self.slider = CursorSlider(cursor) if "ports" in pictures else None
        above = [self.choice, *filter(None, [self.slider]), self.beginning]
        self.widget = widgets.VBox([*above, self.figure, self._hint])
        #: The picture that was drawn last.
        self.drawn: Picture | None = None
        self._trace: Trace | None = None
        self._sentence = ""
        #: px that a page has for it.
        self.width = ladder.WIDTH
        for row in (self.choice, self.beginning):
            row.observe(lambda change: guard(self._draw), "value")
        self.figure.on_click(self._on_click)

    @property
    def picture(self) -> str:
        """Name of the picture that is drawn: `ladder`, `window`, `queues`, `ports`."""
        return str(self.choice.value).lower()

    def refresh(self, experiment: Any, trace: Trace) -> None:
        self._trace, self._sentence = trace, experiment.sentence(trace)
        self._draw()

    def fit(self, width: int) -> None:
        """Draw for a page of this width."""
        if (width := min(width, ladder.WIDTH)) != self.width:
            self.width = width
            self._draw()

    def empty(self) -> None:
        self._trace = None
        self.figure.clear()
        self._hint.value = ""
        base.visible(self.beginning, False)
        if self.slider:
            base.visible(self.slider, False)

    def _draw(self) -> None:
        if self._trace is None:
            return
        hint = below = folded = ""
        trace = self._trace if self.picture in OF_ALL else text.excerpt(self._trace)
        if self.picture == "ladder":
            at = self.cursor.t if self.cursor.picked else None
            self.drawn = ladder.draw(trace, at=at, folded=not self.beginning.value, width=self.width)
            hint = "Click on a moment: the tab “Your console” then shows what ss and nstat print then."
            if at is not None:
                hint = f"Your console shows the state at {text.instant_words(trace, at)}."
        else:
            options = {}
            if self.slider:
                options["at"] = self.cursor.t if self.cursor.picked else wanted_at(trace)
                self.slider.show(trace, options["at"])
            self.drawn, hint = self.pictures.draw(self.picture, trace, **options)
            below, folded = (self.drawn.table, "") if self.slider else ("", self.drawn.table)
        said = f"{self.picture.capitalize()}: {self._sentence} {self.drawn.compared}".rstrip()
        self.figure.show(self.drawn, said, folded)
        if self.slider:
            base.visible(self.slider, self.picture == "ports")
        base.visible(self.beginning, self.picture == "ladder" and fold(trace) is not None)
        self._hint.value = paragraph(hint, "tcplab-help") + below

    def _on_click(self, y: float) -> None:
        if self.picture != "ladder" or not self.drawn:
            return
        if self.beginning.layout.display != "none" and not self.beginning.value and abs(y) <= ROW / 2:
            self.beginning.value = True  # its row opens
        else:
            self.cursor.pick(self.drawn.axis.t_of(y))


class TextPanel(base.Panel):
    """A run as HTML, made by `html`."""

    def __init__(self, title: str, html: Callable[[Any, Trace], str]) -> None:
        self.title = title
        self._html = html
        self.widget = widgets.HTML()

    def refresh(self, experiment: Any, trace: Trace) -> None:
        self.widget.value = self._html(experiment, trace)

    def empty(self) -> None:
        self.widget.value = ""


class ConsolePanel(base.Panel):
    """What `ss` and `nstat` show on each host at the instant that is picked."""

    title = "Your console"
    follows_cursor = True

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self._slider = CursorSlider(cursor)
        self._screens = widgets.HTML()
        self.widget = widgets.VBox([self._slider, self._screens])

    def empty(self) -> None:
        self._slider.meaning = self._screens.value = ""

    def refresh(self, experiment: Any, trace: Trace) -> None:
        if self.cursor.trace is not None:
            self._slider.show(self.cursor.trace, self.cursor.t)
            self._screens.value = console.screens_html(self.cursor.trace, self.cursor.t)


class Explorer(base.Shell):
    """An experiment to change and to watch, for the last line of a cell: ``explore(Keepalive, idle_s=60)``.

    `initial` are parameters of the experiment; what is wrong with one of them is said in place of
    the picture. `in_lesson`: the run it begins with is kept, and the tabs are folded away at first.
    `needed`: parameters whose controls are shown in any case, and further words that they offer. `beside`:
    other values, whose run is kept too.
    """

    def __init__(
        self, experiment_class: Any, in_lesson: bool = False, needed: Needed = NOTHING,
        beside: Mapping[str, Any] | None = None, /, **initial: Any,
    ) -> None:  # fmt: skip
        from threading import RLock  # a front end and a cell may set values at the same time

        super().__init__("tcplab-turning")
        self._lock: AbstractContextManager[Any] = RLock()
        self.experiment_class = experiment_class
        self._knobs = experiment_class.knobs()
        self._defaults: dict[str, Any] = {name: experiment_class.defaults()[name] for name in self._knobs}
        presets: Mapping[str, Mapping[str, Any]] = experiment_class.presets
        self._presets = {name: {**self._defaults, **preset} for name, preset in presets.items()}
        self._values = dict(self._defaults)
        #: The run that is shown: its trace, and the parameters behind it. None when there is none.
        self.trace: Trace | None = None
        self.experiment: Any = None
        #: The row of each parameter.
        self.controls = {
            name: self._control(name, initial.get(name), *needed.get(name, ())) for name in self._knobs
        }
        #: The instant that timeline, picture and console show.
        self.cursor = Cursor(self._moved)
        #: The first picture, with its bar.
        self.timeline = LivingTimeline(str(self.model_id), self._pressed)
        self.timeline.react(self.timeline, self._follow, "cursor")
        self._ahead = Ahead(self.timeline, self._frame_ahead)
        self._kept: list[tuple[Trace, Timeline]] = []
        #: The timeline of this run, to its end.
        self._now: Timeline | None = None
        #: Which axis the learner chose, None: the story's own; and its end, which only grows.
        self._log: bool | None = None
        self._end_s = 0.0
        self._growth = ""
        self._turning = False
        #: Calls off what is to be done when the hand rests.
        self._call_off: base.Action = lambda: None
        self._shelf: Shelf | None = None
        self._in_lesson, self._beside = in_lesson, dict(beside or {})
        self._held: dict[str, Any] = {}
        #: Called after each run that is shown.
        self.on_run: list[base.Action] = []
        #: What the learner has predicted, seconds on the picture's axis; None: nothing.
        self.guess_s: float | None = None
        name, pictures = str(experiment_class.name), tuple(experiment_class.pictures)
        #: The panel of the first tab.
        self.picture = PicturePanel(pictures, name, self.cursor, self.guard)
        self.timeline.react(self.timeline, lambda width: self.picture.fit(width - TAB), "width")
        panels: list[base.Panel] = [self.picture]
        to_set = TextPanel("Settings to paste", lambda experiment, trace: settings_html(experiment))
        if "ladder" in pictures:
            panels += [
                TextPanel("Segments", lambda experiment, trace: scrolled(trace_table(trace), "segments")),
                ConsolePanel(self.cursor),
                to_set,
                LinuxPanel(name, lambda values: self.set(**values), self.guard),
                CapturePanel(name),
            ]
        else:
            numbers = TextPanel("Numbers", lambda experiment, trace: scrolled(study_tables(trace), "numbers"))
            panels += [numbers, to_set]
        #: What each tab shows, by its title.
        self.panels = {panel.title: panel for panel in panels}
        pages = {title: panel.widget for title, panel in self.panels.items()}
        self.tabs = base.Tabs(pages, lambda title: self.guard(lambda: self._fill(title)))
        first, rest = self._rows(initial, needed)
        #: The control whose neighbouring pictures are sent ahead: the one in hand.
        self._hand = next(iter(first or rest))
        grids = [
            widgets.Box([self.controls[name] for name in names]).add_class("tcplab-controls")
            for names in (first, rest)
        ]
        more = base.Fold(f"{len(rest)} more settings", grids[1]).add_class("tcplab-more")
        #: What a lesson has to say of the picture, below it.
        self.beside = widgets.VBox()
        #: The same as static HTML.
        self.still_beside: Callable[[], str] = str
        #: What the tabs are folded in at first, in a lesson; None elsewhere.
        self.details: base.Fold | None = None
        if in_lesson:
            titles = ", ".join(panel.title.lower() for panel in panels[:3])
            self.details = base.Fold(f"Look closer: {titles} …", self.tabs)
            self.react(self.details, lambda opened: self.guard(self._fill_tabs), "opened")
        below = self.details or self.tabs
        self.build(self._head(), grids[0], self.status, self.timeline, self.beside, more, below)
        self.set(**initial)
        #: What `reset` goes back to.
        self._initial = dict(self._values)
        self._keep_first()
        #: Where values and kept runs are kept for another day.
        self._shelf = Shelf(name, initial, self._initial)
        self.bring_back()
        remember(self)

    @property
    def values(self) -> dict[str, Any]:
        """Every parameter with the value that is set."""
        return dict(self._values)

    @property
    def _folded(self) -> bool:
        """Whether nobody sees the tabs."""
        return self.details is not None and not self.details.opened

    @property
    def outcome(self) -> Mapping[str, Any]:
        """The named results of the run that is shown; empty when there is none."""
        return self.trace.outcome if self.trace else {}

    @property
    def warnings(self) -> list[str]:
        """Where the run that is shown differs from a real one, or is shown in part; mostly nothing."""
        if self.trace is None:
            return []
        return [*self.trace.warnings, *filter(None, [text.excerpt_words(self.trace)])]

    @property
    def figure(self) -> Any:
        """The picture that is shown, as a plotly figure; None when there is none."""
        return self.picture.figure.figure

    def set(self, **values: Any) -> None:
        """Set parameters by name. `sentence` then says what is wrong with a name or a value."""
        with self._lock:
            wrong = [said for name, value in values.items() if (said := self._take(name, value))]
            self._update(wrong[0] if wrong else None)

    def use(self, preset: str) -> None:
        """Set all parameters as a preset has them; the list above the controls has their names."""
        if preset in self._presets:
            self._end_s = 0.0
            self.picture.pictures.forget()
            self.set(**self._presets[preset] | self._held)
        else:
            names = ", ".join(self._presets)
            self._update(f"{self.experiment_class.name} has no preset {preset!r}; it has {names}.")

    def hold(self, values: Mapping[str, Any]) -> None:
        """Set these parameters, and lock their controls; those that were locked before are free again."""
        self._held = dict(values)
        for name, control in self.controls.items():
            control.held = name in values
        if any(self._values[name] != value for name, value in values.items()):
            self.set(**values)

    def guess(self, seconds: float | None) -> None:
        """Show what the learner has predicted as a flag on the time axis."""
        with self._lock:
            self.guess_s = seconds
            self._redraw()

    def reset(self) -> None:
        """Back to the values that the explorer began with, and to its axis."""
        self._end_s, self._log = 0.0, None
        self.picture.pictures.forget()
        self.set(**self._initial | self._held)

    def start_again(self) -> None:
        """Reset, nothing kept, the first tab in front. See `tcplab.lesson.start_again`."""
        self._kept, self.guess_s = [], None
        self.hold({})
        self.reset()
        self._keep_first()
        self.tabs.selected_index = 0

    def _keep_first(self) -> None:
        """In a lesson: keep the run beside the first one, then the first one."""
        if self._beside:
            self.set(**self._beside)
            self.keep()
            self.set(**self._initial)
        if self._in_lesson:
            self.keep()

    def bring_back(self) -> None:
        """Set and keep again what was set and kept on another day."""
        if self._shelf and self._shelf.bring_back(self.set, self.keep) and self.error:
            self.start_again()  # an older edition's values

    def look_at(self, seconds: float) -> str:
        """Pick an instant, in seconds since the first segment; returns what the consoles show then."""
        with self._lock:
            if self.trace is None:
                return ""
            self.cursor.pick(self.trace.start + round(seconds * SECOND))
            return console.console(self.trace, self.cursor.t)

    # -- keeping and playing -----------------------------------------------------------------

    @property
    def kept(self) -> tuple[Trace, ...]:
        """The runs that were kept, the newest last."""
        return tuple(trace for trace, _ in self._kept)

    @property
    def compared(self) -> str:
        """What differs from the newest kept run, in one sentence; empty where none is kept, or shown."""
        picture = self.timeline.picture
        return picture.compared if picture and self.trace else ""

    def keep(self) -> None:
        """Keep this run: it stays in the timeline, in grey. Up to three; the oldest goes."""
        with self._lock:
            if self.trace and self._now and self.timeline.picture and self.trace not in self.kept:
                self._kept = [*self._kept, (self.trace, self._now)][-MOST_KEPT:]
                self._redraw()

    def forget(self) -> None:
        """Forget the kept runs, and how long the axis was for them."""
        with self._lock:
            self._kept, self._end_s = [], 0.0
            self.picture.pictures.forget()
            self._redraw()

    def play(self) -> None:
        """Play the run in the page: one cursor through the timeline, and the tab in front follows it."""
        self.timeline.play()

    def _pressed(self, what: str) -> None:
        """A button of the timeline's bar."""
        if what in ("linear", "log"):
            with self._lock:
                self._log = what == "log"
                self._redraw()
        else:
            {"keep": self.keep, "forget": self.forget}[what]()

    def _follow(self, seconds: float) -> None:
        """The page's cursor has moved."""
        with self._lock:
            if self.trace is None:
                return
            if seconds < 0:
                self.cursor.leave()
            else:
                with self.timeline.quietly():
                    self.cursor.pick(self.trace.watching_since + round(seconds * SECOND))

    def _moved(self) -> None:
        """Another instant is picked: show it wherever an instant is shown."""
        if not self._folded:
            self.tabs.renew(*(title for title, panel in self.panels.items() if panel.follows_cursor))
        self._show_cursor()

    def _show_cursor(self) -> None:
        if self.trace and not self.timeline._quiet:
            with self.timeline.quietly():
                since = (self.cursor.t - self.trace.watching_since) / SECOND
                self.timeline.cursor = max(since, 0.0) if self.cursor.picked else -1.0

    # -- building ----------------------------------------------------------------------------

    def _control(self, name: str, initial: Any, *needed: Any) -> base.Control:
        words = [value for value in needed if isinstance(value, str)]
        presets = [preset[name] for preset in self._presets.values()]
        return base.Control(
            self._knobs[name],
            self._defaults[name],
            [initial, *presets, *words],
            lambda value: self._turn(name, value),
            lambda: self._take_in_hand(name),
            group=str(self.model_id),
            name=name,
        )

    def _head(self) -> widgets.Widget:
        """Title, presets and reset."""
        title = widgets.HTML(f"<h3>{escape(self.experiment_class.title)}</h3>")
        self._preset = base.labelled(widgets.Dropdown(options=[OWN, *self._presets], description="preset"))
        self.react(self._preset, lambda name: self._show_values() if name == OWN else self.use(name))
        reset = base.button("Reset", "undo", self.reset, "Back to the initial values.")
        return base.in_row(title, *([self._preset] if self._presets else []), reset)

    def _rows(self, initial: Mapping[str, Any], needed: Collection[str]) -> tuple[list[str], list[str]]:
        """The controls that are shown, and those that are folded away at first.

        Shown are those that are needed, those that the notebook sets and the experiment's own, but none that
        does nothing. What is too much is left out from the end.
        """
        turned = [
            name
            for name, value in initial.items()
            if value != self._defaults.get(name, value) and name != LENGTH
        ]
        try:
            idle = self.experiment_class.from_values(initial).idle_controls()
        except ParameterError:
            idle = {}
        wanted = dict.fromkeys([*self.experiment_class.controls, *turned, *needed])
        first = [name for name in wanted if name in self.controls and (name not in idle or name in needed)]
        for name in reversed([name for name in first if name not in {*turned, *needed}]):
            if len(first) > MOST_SHOWN:
                first.remove(name)
        return first, [name for name in self.controls if name not in first]

    # -- showing -----------------------------------------------------------------------------

    def _take(self, name: str, value: Any) -> str:
        """Keep a value; returns what is wrong with it, if not even its control could show it."""
        if name not in self._knobs:
            return f"{self.experiment_class.name} has no parameter {name!r}; it has {', '.join(self._knobs)}."
        try:
            value = self._knobs[name].check(name, value)
        except ParameterError as error:
            if not self.controls[name].can_show(value):
                return self._in_its_own_words(str(error))
        self._values[name] = value
        return ""

    def _turn(self, name: str, value: Any) -> None:
        """The learner has turned a control."""
        self._hand, self._turning = name, True
        try:
            self.set(**{name: value})
        finally:
            self._turning = False

    def _take_in_hand(self, name: str) -> None:
        """The learner is at a control: it may be turned next."""
        with self._lock:
            if name != self._hand:
                self._hand = name
                self._look_ahead()

    def _update(self, wrong: str | None) -> None:
        """Run the model with the values that are set, and show all of it, or why not."""
        with self._lock:
            self._ahead.stop()
            self._call_off()
            self.error = None
            if wrong is None:
                self.guard(self._run)
            else:
                self.refuse(wrong)
            self._show_values()
            if self.error is None:
                self._fill_tabs()
            if self.error is None:  # nor has the picture failed
                self._say_run()
                self._look_ahead()
                for action in self.on_run:
                    action()

    def _fill_tabs(self) -> None:
        """Show the run below too; while a control is being turned, when the hand rests."""
        if self._folded:
            return
        if self._turning:
            self._call_off = base.later(REST_S, self.tabs.renew)
        else:
            self.tabs.renew()

    def _run(self) -> None:
        experiment = self.experiment_class.from_values(self._values)
        self._values.update(experiment.values())
        trace = run(experiment)
        self.sentence = experiment.sentence(trace)
        self._whole, self._excerpt = trace, text.excerpt(trace)
        self.cursor.restart(self._excerpt)
        self._draw(read_timeline(trace))
        self.experiment, self.trace = experiment, trace
        self._show_cursor()

    def _say_run(self) -> None:
        if self._shelf:
            self._shelf.keep(self._values, [trace.parameters for trace in self.kept])
        self.say(
            self.sentence,
            notes=[f"⚠ {warning}" for warning in self.warnings],
            aside=" ".join(f"{each}." for each in (self.compared, self._growth) if each),
        )

    def _draw(self, now: Timeline) -> None:
        """Show this run, on an axis that is no shorter than before."""
        self._now = now
        self.picture.pictures.kept = self.kept
        if not now.lanes:
            self.timeline.clear()
            return
        frame, before = self._frame(now, self._values), self._end_s
        self._end_s, grown = frame.end_s, 0 < before < frame.end_s
        self._growth = f"axis: {in_words(frame.end_s)}, was {in_words(before)}" if grown else ""
        self.timeline.show(frame)

    def _redraw(self) -> None:
        """Another axis or other kept runs beside the same run."""
        if self.timeline.picture and self._now and self.trace:
            self._ahead.stop()
            self._draw(self._now)
            if not self._folded:
                self.tabs.renew(self.picture.title)
            self._say_run()
            self._look_ahead()

    def _frame(self, now: Timeline, values: Mapping[str, Any]) -> ShownFrame:
        others = tuple(kept for trace, kept in self._kept if dict(trace.parameters) != dict(values))
        picture = TimelinePicture(now, others, self.guess_s)
        end_s = picture.end_s(self._end_s)
        log = now.log if self._log is None else self._log
        why_log = "" if log else offer(picture, end_s, self.timeline.width)
        return ShownFrame(picture.until(end_s), end_s, log, dict(values), Bar(len(self._kept), why_log))

    def _frame_ahead(self, name: str, value: Any) -> ShownFrame | None:
        """The picture for one other value; None where there would be none."""
        values = {**self._values, name: value}
        try:
            return self._frame(read_timeline(run(self.experiment_class.from_values(values))), values)
        except Exception:  # the run itself will say why
            return None

    def _look_ahead(self) -> None:
        """Have the pictures of the steps beside this one ready, for the control in hand."""
        control, values = self.controls[self._hand], self._values
        if not self.timeline.picture or control.kind == "number":
            return
        near = control.neighbours(Ahead.STEPS)
        others = tuple((name, value) for name, value in values.items() if name != self._hand)
        kept = tuple(id(trace) for trace, _ in self._kept)
        key = (others, kept, self._end_s, self._log, self.timeline.width, self.timeline.dark)
        self._ahead.plan(self._hand, near, key, values)

    def _show_values(self) -> None:
        idle = self.experiment.idle_controls() if self.experiment else None
        with self.quietly():
            for name, control in self.controls.items():
                control.show(self._values[name])
                if idle is not None:
                    control.idle = idle.get(name, "")
            same = (preset for preset, values in self._presets.items() if values == self._values)
            self._preset.value = next(same, OWN)

    def _fill(self, title: str) -> None:
        panel = self.panels[title]
        panel.refresh(self.experiment, self._whole if panel.whole_run else self._excerpt)

    def _in_its_own_words(self, why: str) -> str:
        """A sentence about parameters with the controls' labels in place of their names."""
        names = "|".join(sorted(self._knobs, key=len, reverse=True))
        why = re.sub(rf"\b({names})\b", lambda found: f"“{self._knobs[found[0]].label}”", why)
        return why.replace("= True", "= on").replace("= False", "= off")

    def say(self, sentence: str, **how: Any) -> None:
        super().say(sentence, **how)
        base.visible(self.details or self.tabs, self.error is None)

    def refuse(self, why: str) -> None:
        self.trace = self.experiment = None
        self.tabs.forget()
        self.timeline.grey(why, self._values)
        for panel in self.panels.values():
            panel.empty()
        super().refuse(why)

    def guard(self, action: base.Action, refuse: Callable[[str], None] | None = None) -> None:
        with self._lock:
            super().guard(action, refuse or (lambda why: self.refuse(self._in_its_own_words(why))))

    def _repr_html_(self) -> str:
        title = f"<p><b>{escape(self.experiment_class.title)}</b></p>"
        seen = self.timeline._repr_html_() if self.timeline.picture else self.picture.figure.still()
        return title + self.status.value + (seen if self.trace else "") + self.still_beside()

    def __repr__(self) -> str:
        return "\n".join([self.sentence, *self.warnings])


def explore(experiment_class: Any, **initial: Any) -> Explorer:
    """An `Explorer` that begins with these parameters: ``explore(Keepalive, idle_s=60)``."""
    return Explorer(experiment_class, **initial)
