"""The shell of every widget: sentence, style, buttons, tabs, guard, quiet flag and static fallback.

What it needs without a widget library, a lesson's questions share: see `Displayed` in core/html.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets

from tcplab.core.html import Displayed, paragraph, status
from tcplab.core.knobs import ParameterError
from tcplab.core.trace import Trace

HERE = Path(__file__).parent
#: What a button or a changed value sets off.
Action = Callable[[], Any]
#: Runs an action and turns what it raises into a sentence.
Guard = Callable[[Action], None]


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

    #: Style sheets beside base.css.
    styles: tuple[str, ...] = ()
    #: What tcplab failed with, in the sentence about a mistake of its own.
    subject = "these values"

    def __init__(self, *classes: str) -> None:
        #: What it shows, or why it shows nothing.
        self.sentence = ""
        #: Why it shows nothing: the same sentence; None when it shows something.
        self.error: str | None = None
        #: The sentence as a screen reader gets it.
        self.status = widgets.HTML()
        super().__init__()
        for name in ("tcplab-explorer", *classes):
            self.add_class(name)

    def build(self, *parts: widgets.Widget) -> None:
        """Show these parts, with the style sheets in front of them."""
        sheets = "".join((HERE / name).read_text("utf-8") for name in ("base.css", *self.styles))
        style = widgets.HTML(f"<style>{sheets}</style>").add_class("tcplab-style")
        self.children = [style, *parts]

    def say(self, sentence: str, *, wrong: bool = False, notes: Iterable[str] = ()) -> None:
        """Show this sentence, and below it what a reader must know with it."""
        self.sentence, self.error = sentence, sentence if wrong else None
        lines = [paragraph(f"✗ {sentence}" if wrong else sentence)]
        lines += [paragraph(note, "warning") for note in notes]
        self.status.value = status("".join(lines), wrong=wrong)

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

    def widget(self) -> Any:
        return self

    def _repr_html_(self) -> str:
        return str(self.status.value)

    def __repr__(self) -> str:
        return self.sentence


def mistake(subject: str, error: Exception) -> str:
    """The sentence about a mistake of ours."""
    return f"With {subject} tcplab itself makes a mistake ({type(error).__name__}: {error})."


class Panel:
    """What one tab of an explorer shows of a run: `widget`, filled by `refresh`."""

    title = ""
    widget: Any
    #: It takes the whole run, however long; the others get the part that can be looked at.
    whole_run = False

    def refresh(self, experiment: Any, trace: Trace) -> None:
        """Show this run."""
        raise NotImplementedError

    def empty(self) -> None:
        """Show no run at all."""
        raise NotImplementedError


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

    def renew(self) -> None:
        """Forget what was filled; the page in front is filled at once."""
        self._stale = set(self.titles)
        self._fill_seen()

    def forget(self) -> None:
        """Fill nothing until `renew`: there is nothing to show."""
        self._stale = set()

    def _fill_seen(self) -> None:
        if self.seen in self._stale:
            self._stale.discard(self.seen)
            self._fill(self.seen)


class SliderNames(anywidget.AnyWidget):
    """Nothing to see: gives the sliders around it the name and the value that a screen reader says.

    ipywidgets leaves a slider's handle without a name, and of one over a list it says the position
    in the list.
    """

    _esm = HERE / "names.js"


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


def button(text: str, icon: str, pressed: Action, tooltip: str = "", style: str = "") -> widgets.Button:
    """A button that does one thing."""
    made = widgets.Button(description=text, icon=icon, tooltip=tooltip, button_style=style)
    made.on_click(lambda _: pressed())
    return made


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


def folded(title: str, *content: widgets.Widget) -> widgets.Accordion:
    """Something under its title, folded away at first."""
    return widgets.Accordion(list(content), titles=[title], selected_index=None)


def in_row(*parts: widgets.Widget, css: str = "tcplab-head") -> widgets.HBox:
    """Parts beside each other, wrapped where there is no room."""
    return widgets.HBox(list(parts)).add_class(css)
