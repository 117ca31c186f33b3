"""What every widget is built from: the shell, its parts, rows that set parameters, and the living figure.

The shell has the sentence, the style, the guard that turns a mistake into a sentence, and the static
fallback. What needs no widget library, a lesson's questions share: see lesson/displayed.py.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from asyncio import get_running_loop
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from importlib.metadata import distribution
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anywidget
import ipywidgets as widgets
import traitlets

from tcplab.core.knobs import Knob, ParameterError
from tcplab.core.releases import LISTED
from tcplab.core.text import SECOND, duration, paragraph, status
from tcplab.core.trace import Trace
from tcplab.lesson.displayed import Displayed, parts
from tcplab.lesson.form import Accessible, button, live, on_show
from tcplab.pictures.still import folded, still, to_scroll
from tcplab.pictures.theme import JUPYTER_STYLE, PICTURE_CLASS, Picture

if TYPE_CHECKING:
    import plotly.graph_objects as go

HERE = Path(__file__).parent
#: What a button or a changed value sets off.
Action = Callable[[], Any]
#: Runs an action and turns what it raises into a sentence.
Guard = Callable[[Action], None]


def page_side(name: str) -> str:
    """The module of a widget's page: what several of them share, then its own file."""
    return "".join((HERE / each).read_text("utf-8") for each in ("page.js", name))


class Quiet:
    """Something whose values both a learner and a program set: only a learner's changes have an effect."""

    _quiet = False

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """While this lasts, nothing reacts to a change of value."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def react(self, widget: Any, action: Callable[[Any], Any], name: str = "value") -> Any:
        """Call `action` with each new value of a widget, unless it is set quietly; returns the widget."""

        def changed(change: Any) -> None:
            if not self._quiet:
                action(change["new"])

        widget.observe(changed, name)
        return widget


class Shell(Displayed, Quiet, widgets.VBox):
    """A widget with a sentence that says what it shows, or why it shows nothing."""

    #: Style sheets in addition to base.css.
    styles: tuple[str, ...] = ()
    #: What tcplab failed with, in the sentence about a mistake of its own.
    subject = "these values"

    def __init__(self, *classes: str) -> None:
        #: What it shows, or why it shows nothing.
        self.sentence = ""
        #: Why it shows nothing: the same sentence; None when it shows something.
        self.error: str | None = None
        #: The sentence as a screen reader gets it.
        self.status = live()
        super().__init__()
        for name in ("tcplab-explorer", "tcplab-accessible", *classes):
            self.add_class(name)
        on_show(self)

    def build(self, *parts: widgets.Widget) -> None:
        """Show these parts behind one style element, which has also the sheets of the shells among them."""
        inner = [shell.bare() for part in parts for shell in _shells(part)]
        self.styles = (*self.styles, *chain.from_iterable(shell.styles for shell in inner))
        sheets = dict.fromkeys(("base.css", *self.styles))
        style = "".join((HERE / name).read_text("utf-8") for name in sheets)
        self._style = widgets.HTML(f"<style>{style}</style>").add_class("tcplab-style")
        self.children = [self._style, Accessible(), *parts]

    def bare(self) -> Self:
        """Leave the style to the shell around this one.

        An anywidget stays: a page that still loads one when it is closed reports an error two seconds later.
        """
        self.children = [part for part in self.children if part is not self._style]
        self._style.close()
        return self

    def say(self, sentence: str, *, wrong: bool = False, notes: Iterable[str] = (), aside: str = "") -> None:
        """Show this sentence, after it what has changed beside it, and below it what a reader must know."""
        self.sentence, self.error = sentence, sentence if wrong else None
        said = f' <span class="tcplab-aside">{escape(aside)}</span>' if aside else ""
        lines = [f"<p>{escape(f'✗ {sentence}' if wrong else sentence)}{said}</p>"]
        lines += [paragraph(note, "warning") for note in notes]
        self.status.value = status("".join(lines), wrong=wrong) if sentence else ""

    def refuse(self, why: str) -> None:
        """Show this sentence and nothing else."""
        self.say(why, wrong=True)

    def guard(self, action: Action, refuse: Callable[[str], None] | None = None) -> None:
        """Run an action. Nothing that it raises reaches a learner: `refuse` gets one sentence instead."""
        refuse = refuse or self.refuse
        try:
            action()
        except ParameterError as error:
            refuse(str(error))
        except Exception as error:
            # The learner can't mend a mistake of ours; whoever reads the log can.
            self.log.error("%s with %s", type(self).__name__, self.subject, exc_info=error)
            refuse(mistake(self.subject, error))

    def _repr_html_(self) -> str:
        pictures = (part.still() for part in parts(self) if isinstance(part, LivingFigure))
        return (str(self.status.value) or paragraph(self.sentence)) + "".join(pictures)

    def __repr__(self) -> str:
        return self.sentence


def _shells(widget: Any) -> Iterator[Shell]:
    """The outermost shells in a widget: each has the styles of those inside it."""
    if isinstance(widget, Shell):
        yield widget
    else:
        for part in getattr(widget, "children", ()):
            yield from _shells(part)


def mistake(subject: str, error: Exception) -> str:
    """The sentence about a mistake of ours."""
    return f"tcplab failed with {subject}. This is a bug: please report it ({type(error).__name__}: {error})."


class Panel(ABC):
    """What one tab of an explorer shows of a run: `widget`, filled by `refresh`."""

    title = ""
    widget: Any
    #: It takes the whole run, however long; the others get the part that can be looked at.
    whole_run = False
    #: It shows the instant that is picked.
    follows_cursor = False

    @abstractmethod
    def refresh(self, experiment: Any, trace: Trace) -> None:
        """Show this run."""

    @abstractmethod
    def empty(self) -> None:
        """Show no run at all."""


class Tabs(widgets.Tab):
    """Pages by title. `fill` gets the title of a page that is seen for the first time since `renew`."""

    def __init__(self, pages: Mapping[str, widgets.Widget], fill: Callable[[str], None]) -> None:
        super().__init__(list(pages.values()), titles=list(pages))
        self.selected_index = 0
        self._fill = fill
        self._stale: set[str] = set()
        self.observe(lambda change: self._fill_seen(), "selected_index")

    @property
    def seen(self) -> str:
        """The title of the page in front."""
        return str(self.titles[self.selected_index or 0])

    def select(self, title: str) -> None:
        """Bring a page to the front."""
        self.selected_index = self.titles.index(title)

    def renew(self, *titles: str) -> None:
        """Forget what was filled, of all pages or of some; the page in front is filled at once."""
        self._stale |= set(titles or self.titles)
        self._fill_seen()

    def forget(self) -> None:
        """Fill nothing until `renew`: there is nothing to show."""
        self._stale = set()

    def _fill_seen(self) -> None:
        if self.seen in self._stale:
            self._stale.discard(self.seen)
            self._fill(self.seen)


class Progress(widgets.HBox):
    """How far some work is, with a button that cancels it. Hidden while nothing is being done."""

    def __init__(self, cancel: Action) -> None:
        self.bar = widgets.FloatProgress(max=1, layout=widgets.Layout(width="16rem"))
        self.bar.tooltip = "How far it is"
        self.text = widgets.HTML()
        super().__init__([self.bar, self.text, button("Cancel", "stop", cancel)])
        self.show(None)

    def show(self, share: float | None, text: str = "") -> None:
        """A share from 0 to 1 and what is being done; None: nothing is."""
        visible(self, share is not None)
        self.bar.value, self.text.value = share or 0.0, escape(text)


def later(seconds: float, action: Action) -> Action:
    """Do this after a time, or at once where no event loop runs. Returns what calls it off."""
    try:
        return get_running_loop().call_later(seconds, action).cancel
    except RuntimeError:
        action()
        return lambda: None


def labelled(widget: Any) -> Any:
    """A widget with its description in full in front of it."""
    widget.style.description_width = "initial"
    return widget


def titled(widget: Any) -> Any:
    """A widget with its description in full above it."""
    if not isinstance(widget, widgets.Checkbox):
        widget.style.description_width = "100%"
    return widget.add_class("tcplab-turn")


def visible(widget: widgets.DOMWidget, yes: bool) -> None:
    """Show or hide a widget."""
    widget.layout.display = "" if yes else "none"


class FoldButton(anywidget.AnyWidget):
    """The title of something folded: a button that says whether it is open."""

    _esm = (HERE / "fold.js").read_text("utf-8")

    title = traitlets.Unicode("").tag(sync=True)
    opened = traitlets.Bool(False).tag(sync=True)


class Fold(widgets.VBox):
    """Something under its title, folded away at first. The keyboard opens it too."""

    #: Whether it is shown.
    opened = traitlets.Bool(False)

    def __init__(self, title: str, *content: widgets.Widget) -> None:
        inner, head = widgets.VBox(list(content)), FoldButton(title=title)
        super().__init__([head, inner])
        visible(inner, False)
        self.observe(lambda change: visible(inner, change["new"]), "opened")
        traitlets.link((head, "opened"), (self, "opened"))


def in_row(*parts: widgets.Widget, css: str = "tcplab-head") -> widgets.HBox:
    """Parts in a row, wrapped where there is no room."""
    return widgets.HBox(list(parts)).add_class(css)


#: Up to this many steps a slider simply counts.
_COUNTED = 64
#: Whole numbers beyond this are no range to slide over (a seed).
_ENDLESS = 1 << 26
#: Steps of a decade, and round lengths of time.
_DECADE = (1, 1.5, 2, 3, 5, 7)
_SPOKEN = (
    *(1, 2, 3, 5, 10, 15, 20, 30, 45),
    *(60 * minutes for minutes in (1, 1.5, 2, 3, 4, 5, 7.5, 10, 15, 20, 30, 45)),
    *(3600 * hours for hours in (1, 1.5, 2, 3, 4, 6, 9, 12, 24, 48, 96, 168, 336, 720)),
)
#: Up to this many words stand side by side as buttons, if they are short enough for one line.
_BUTTONS, _BUTTON_TEXT = 4, 36


def steps(knob: Knob, *also: Any) -> list[float]:
    """The steps of a slider of this knob; `also` are among them. Empty: no slider."""
    if knob.slider_high is None and knob.low >= 0 and knob.high > _ENDLESS:
        return []
    high = knob.slider_high if knob.slider_high is not None else knob.high
    extra = [value for value in also if _is_number(value) and knob.low <= value <= knob.high]
    if (high - knob.low) / knob.step <= _COUNTED:
        made = [knob.low + i * knob.step for i in range(int((high - knob.low) / knob.step) + 1)]
    elif knob.low < 0:
        upwards = _decades(1, min(high, -knob.low), (1, 2, 5))
        made = [0, *upwards, *(-value for value in upwards)]
    else:
        smallest = knob.low or min(knob.step, 1)
        spoken = [value for value in _SPOKEN if value >= smallest]
        rounds = spoken if knob.unit == "s" else _decades(smallest, high)
        made = [knob.low, *rounds, high]
    kept = {value for value in made if knob.low <= value <= high} | set(extra)
    # Whole numbers without their ".0": that is how they are read.
    return sorted({int(value) if value == int(value) else value for value in kept if _fits(knob, value)})


def _decades(low: float, high: float, leading: tuple[float, ...] = _DECADE) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [step * 10**power for power in powers for step in leading]
    return [value for value in values if low <= value <= high]


def _fits(knob: Knob, value: float) -> bool:
    return knob.kind is float or value == int(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def meaning(knob: Knob, value: Any) -> str:
    """What a number means, in words: ``off``, ``= 2 h``; mostly nothing."""
    if not _is_number(value):
        return ""
    if value == 0 and knob.zero:
        return knob.zero
    if knob.unit == "s" and value >= 100:
        return f"= {duration(round(value * SECOND))}"
    return ""


def title(knob: Knob) -> str:
    """`keepalive: idle (s)`."""
    return f"{knob.label} ({knob.unit})" if knob.unit else knob.label


def explanation(knob: Knob) -> str:
    """The help of a knob, with its range where one can leave it."""
    limits = "" if knob.choices or knob.kind in (bool, str) else f"{knob.range_text()}."
    return " ".join(part for part in (knob.help, limits) if part)


class ControlRow(anywidget.AnyWidget):
    """One thing to turn, with its label and its help: a slider, a box, buttons, a list or a check box."""

    _esm = page_side("slider.js")

    #: `slider`, `range` (a slider and a box), `number` (a box), `buttons`, `list` or `check`.
    kind = traitlets.Unicode("").tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    unit = traitlets.Unicode("").tag(sync=True)
    help = traitlets.Unicode("").tag(sync=True)
    #: The values of a slider, of buttons or of a list, and what each of a slider's means.
    steps: traitlets.List[Any] = traitlets.List().tag(sync=True)
    meanings: traitlets.List[str] = traitlets.List().tag(sync=True)
    value = traitlets.Any().tag(sync=True)
    #: What each of buttons or of a list is called, where it is not its value.
    texts: traitlets.List[str] = traitlets.List().tag(sync=True)
    #: What `value` means, in words; mostly nothing.
    meaning = traitlets.Unicode("").tag(sync=True)
    #: Why it has no effect under the present settings; empty: it has.
    idle = traitlets.Unicode("").tag(sync=True)
    #: Whether it is not the learner's to change.
    held = traitlets.Bool(False).tag(sync=True)
    #: The explorer it belongs to, and the parameter: with them the page finds a picture that was sent ahead.
    group = traitlets.Unicode("").tag(sync=True)
    name = traitlets.Unicode("").tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.add_class("tcplab-control")

    def __repr__(self) -> str:
        return f"{self.label}: {self.value}"


class Control(Quiet, ControlRow):
    """The row of one parameter, built from its knob. `changed` gets the value the learner chose.

    A number gets a slider over round values (logarithmic where its range is wide, with 0 as a step of its
    own where that means "off") and a box for exact ones. Defaults, presets and the values that an explorer
    begins with are steps too. For any other value the slider shows the nearest step and the box has the
    value: steps never change afterwards, so that a slider never moves under the hand.
    """

    def __init__(
        self,
        knob: Knob,
        value: Any,
        also: Iterable[Any],
        changed: Callable[[Any], None],
        focused: Action = lambda: None,
        **place: str,
    ) -> None:
        self.knob = knob
        offered: list[Any] = steps(knob, value, *also) if knob.kind in (int, float) else []
        offered = list(knob.choices) or offered
        if knob.kind is str and not knob.choices:
            offered = list(dict.fromkeys((*LISTED, value, *filter(None, also))))
        super().__init__(
            kind=_kind(knob, offered), label=title(knob), unit=knob.unit, help=explanation(knob),
            steps=offered, meanings=[meaning(knob, step) for step in offered],
            texts=list(knob.names), **place,
        )  # fmt: skip
        self.show(value)
        self.react(self, changed)
        self.on_msg(lambda widget, content, buffers: focused() if content == "focus" else None)

    def can_show(self, value: Any) -> bool:
        """Whether this row can show a value, even one that the knob refuses."""
        knob = self.knob
        if knob.choices:
            return value in knob.choices
        if knob.kind in (int, float):
            return _is_number(value) and _fits(knob, value)
        return isinstance(value, knob.kind)

    def show(self, value: Any) -> None:
        """Set the row to a value, also one that the knob refuses; `changed` is not called."""
        with self.quietly():
            if self.kind == "list" and value not in self.steps:  # a Linux version that is not in the list
                self.steps = [*self.steps, value]
            self.value = value
        self.meaning = meaning(self.knob, value)

    def neighbours(self, many: int) -> list[Any]:
        """What one may turn it to next: of a slider `many` steps either way, the nearest first."""
        if self.kind == "check":
            return [not self.value]
        if self.kind != "range":
            return [step for step in self.steps if step != self.value]
        at = self.steps.index(self.step)
        places = (at + away * sign for away in range(1, many + 1) for sign in (1, -1))
        return [self.steps[i] for i in places if 0 <= i < len(self.steps)]

    @property
    def step(self) -> Any:
        """The step at which the slider stands: the nearest to the value."""
        return min(self.steps, key=lambda step: abs(step - self.value))


def _kind(knob: Knob, offered: list[Any]) -> str:
    if knob.kind is bool:
        return "check"
    if knob.choices or knob.kind is str:
        texts = list(map(knob.word, offered))
        return "buttons" if len(texts) <= _BUTTONS and sum(map(len, texts)) <= _BUTTON_TEXT else "list"
    return "range" if offered else "number"


#: What is said of a picture that brings no words of its own.
_NO_WORDS = "Picture: the sentence beside it says what it shows."
_FIGURE_STYLE = """
.tcplab-frame { overflow: auto hidden; }
.tcplab-as-table { margin: 0.2em 0 0.6em; font-size: 14px; }
.tcplab-as-table > summary { cursor: pointer; }
.tcplab-as-table > div { max-height: 36rem; overflow: auto; }
.tcplab-as-table caption { text-align: left; padding: 0.3em 0; }
.tcplab-as-table th, .tcplab-as-table td { padding: 0.1em 0.8em; text-align: left; white-space: nowrap; }
.tcplab-as-table .n { text-align: right; }
"""


class LivingFigure(Displayed, anywidget.AnyWidget):
    """A plotly figure that shows its last picture, in every front end and after a reload.

    plotly's own FigureWidget hands a newly attached front end the figure of its constructor, and sends
    5 MB per instance. This one has a single synchronised trait, the whole figure as JSON: one message
    per change, drawn by `Plotly.react`, which touches only what differs. A reloaded page asks for the
    widget's state and gets that same trait, so it cannot show an older picture. plotly's JavaScript
    travels once per page, when the first picture is wanted, and comes from the installed package:
    no network is needed.
    """

    _esm = page_side("figure.js")
    _css = JUPYTER_STYLE.removeprefix("<style>").removesuffix("</style>") + _FIGURE_STYLE

    #: What is drawn, as JSON: data, layout, its least width, a file name for saving it, and how many changes
    #: it has seen. Empty: nothing. A text, because ipywidgets walks through lists item by item.
    drawn = traitlets.Unicode("").tag(sync=True)
    #: What a screen reader says in place of the picture.
    said = traitlets.Unicode("").tag(sync=True)
    #: The same as a table, HTML whose texts are escaped: folded away below the picture. Empty: none.
    table = traitlets.Unicode("").tag(sync=True)
    #: The last click: {"y": in units of the y axis, "change": of which drawing}.
    clicked = traitlets.Dict({}).tag(sync=True)

    def __init__(self, filename: str = "tcplab", **options: Any) -> None:
        super().__init__(**options)
        self.add_class(PICTURE_CLASS)
        self.on_msg(self._on_message)
        self._filename = filename
        #: How many pictures it has shown.
        self.changes = 0
        self._picture: Picture | None = None

    def show(self, picture: Picture, said: str = "", table: str = "") -> None:
        """Draw this instead of what was there.

        `said` is what it shows, in words; without it, it refers to the sentence that stands beside every
        picture. `table` is the same as HTML, where no other place has it.
        """
        self.said, self.table = said or _NO_WORDS, table
        self.changes += 1
        self._picture = picture
        drawn = {
            "data": picture.data, "layout": picture.layout, "filename": self._filename,
            "change": self.changes, "least": picture.least_width,
        }  # fmt: skip
        self.drawn = json.dumps(drawn, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def clear(self) -> None:
        """Draw nothing."""
        self._picture = None
        self.drawn = self.said = self.table = ""

    @property
    def figure(self) -> go.Figure | None:
        """What is drawn, as a plotly figure of its own; None when nothing is."""
        return self._picture.figure() if self._picture else None

    def still(self) -> str:
        """The picture where no script runs, as SVG; empty when there is none, or it would be too heavy."""
        return to_scroll(still(self._picture, self.said)) if self._picture else ""

    def _repr_html_(self) -> str:
        return paragraph(self.said) + self.still() + (folded(self.table) if self.table else "")

    def __repr__(self) -> str:
        return self.said

    def on_click(self, action: Callable[[float], None]) -> None:
        """Call `action` with the y of every click on the picture that is drawn."""

        def clicked(change: Any) -> None:
            click = change["new"]
            if click.get("change") == self.changes and self._picture:
                action(click["y"])

        self.observe(clicked, "clicked")

    def _on_message(self, widget: Any, content: Any, buffers: Any) -> None:
        """A page that has no plotly yet asks for it."""
        if content == "plotly?":
            self.send("plotly", [plotly_js()])


def plotly_js() -> bytes:
    """plotly's JavaScript, from the installed package, whose Python takes most of a second to import."""
    file = distribution("plotly").locate_file("plotly/package_data/plotly.min.js")
    return Path(str(file)).read_bytes()
