"""The widgets of a lesson: the form of a question, the place of what opens after it, the projector's switch.

A form sets the answer of a question (question.py) and shows its feedback. A Python without ipywidgets
never imports this module: the rest of the lesson kit does so when something is displayed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

import anywidget
import ipywidgets as widgets
import traitlets

from tcplab.lesson.displayed import Displayed, close
from tcplab.lesson.progress import store
from tcplab.lesson.tables import STILL, as_html, box, to_html, to_plain


class Accessible(anywidget.AnyWidget):
    """Nothing to see: what ipywidgets leave out for keyboards and screen readers, in the box around it.

    Radio buttons are named by their question, and a sentence that changes is read aloud, once. Arrow keys,
    Enter and Space stay in the box: in command mode JupyterLab takes them for itself wherever the focus is
    not in a text field. Others, such as Ctrl+S, pass.
    """

    _esm = Path(__file__).with_name("accessible.js").read_text("utf-8")
    #: Where this lives, so do the widgets beside which still pictures stand.
    _css = f".{STILL} {{ display: none; }}"


def keyboard_box(children: list[Any]) -> widgets.VBox:
    """A column that works by keyboard."""
    column = widgets.VBox([*children, Accessible()])
    return column.add_class("tcplab-accessible").add_class("tcplab-keys")


def live() -> widgets.HTML:
    """A place for sentences that a screen reader says as soon as they change."""
    return widgets.HTML().add_class("tcplab-status")


def button(
    text: str, icon: str, pressed: Callable[[], Any], tooltip: str = "", style: str = ""
) -> widgets.Button:
    """A button that does one thing."""
    made = widgets.Button(description=text, icon=icon, tooltip=tooltip, button_style=style)
    made.on_click(lambda _: pressed())
    return made


def form(question: Any, entry: widgets.Widget) -> widgets.VBox:
    """The question, `entry` to answer it, Check, Hint and Show answer, and the feedback.

    Everything is reached with Tab and works with Space and Enter; Enter in a text field checks.
    """
    feedback = live()

    def say(said: Any) -> None:
        news = to_html(store().news())
        feedback.value = (said._repr_html_() if said else "") + (f"<p>{news}</p>" if news else "")
        shrink(not question.explains and bool(said) and said.right)

    def asking(label: str, tooltip: str, ask: Callable[[], Any], style: str = "") -> widgets.Button:
        return button(label, "", lambda: say(ask()), tooltip, style)

    check = asking("Check", "Commit this prediction and see how good it is", question.check, "primary")
    buttons = [
        check,
        asking("Hint", "A hint; there may be several", question.hint),
        asking("Show answer", "The right answer, and why", question.solution),
    ]
    entry.on_msg(lambda _, content, __: check.click() if content.get("event") == "submit" else None)
    heading = widgets.HTML()
    again = button("Answer again", "undo", lambda: shrink(False), "Show the question as it was")
    row = widgets.HBox([*buttons, again], layout=widgets.Layout(flex_flow="row wrap"))

    def shrink(yes: bool) -> None:
        """To a line: in a lesson a right answer makes room for the picture."""
        text = to_html(question.text)
        scene, _, asked = text.rpartition(". ")  # its last sentence is the question
        line = f"<details><summary><b>Predicted.</b> {'… ' * bool(scene)}{asked}</summary>{text}</details>"
        heading.value = box(line if yes else f"<b>Predict.</b> {text}", edge="#CC79A7")
        for part in (entry, *buttons):
            part.layout.display = "none" if yes else ""
        again.layout.display = "" if yes else "none"

    question.on_feedback = lambda: say(question.feedback)
    say(question.feedback)
    question.when_started_again(lambda: say(None))
    return keyboard_box([heading, entry, row, feedback])


def radio_buttons(question: Any) -> widgets.RadioButtons:
    """The options: they set the question's answer, and follow it when a cell sets it."""
    labels = {f"{letter}) {to_plain(label)}": label for letter, label in question.lettered()}
    texts = {label: text for text, label in labels.items()}
    entry = widgets.RadioButtons(
        options=list(labels),
        value=texts.get(question.chosen() or ""),
        layout=widgets.Layout(width="auto", max_width="60em"),
    )

    def choose(change: dict[str, Any]) -> None:
        if change["new"] is not None and question.chosen() != labels[change["new"]]:
            question.answer = labels[change["new"]]

    entry.observe(choose, "value")
    question.on_answer = lambda _: setattr(entry, "value", texts.get(question.chosen() or ""))
    return entry


def text_field(question: Any, unit: str) -> widgets.Text:
    """A field for a number."""

    def as_text(answer: object) -> str:
        return "" if answer is None else str(answer)

    entry = widgets.Text(
        value=as_text(question.answer),
        description=f"Your number{f' ({unit})' if unit else ''}:",
        placeholder="45, 2 min 30 s, or never" if unit == "s" else "a number",
        style={"description_width": "initial"},
        layout=widgets.Layout(width="24em"),
    )

    def type_in(change: dict[str, Any]) -> None:
        if change["new"] != as_text(question.answer):
            question.answer = change["new"] or None

    entry.observe(type_in, "value")
    question.on_answer = lambda answer: setattr(entry, "value", as_text(answer))
    return entry


class Place(widgets.VBox):
    """A place for one thing: a widget, or whatever has HTML."""

    children: Any

    def show(self, thing: Any) -> None:
        """Show `thing`; close what was shown before, with all that is in it."""
        gone = self.children
        if isinstance(thing, Displayed):
            thing = thing.widget()
        self.children = [thing if isinstance(thing, widgets.Widget) else widgets.HTML(as_html(thing))]
        for each in gone:
            close(each)


PROJECTOR = "tcplab-projector"
#: The widgets on show, and whether projector mode is on for them.
_SHOWN: WeakSet[widgets.DOMWidget] = WeakSet()
_projecting = False


def on_show(widget: widgets.DOMWidget) -> None:
    """Let projector mode reach this widget itself: some front ends show each cell in a frame of its own."""
    _SHOWN.add(widget)
    if _projecting:
        widget.add_class(PROJECTOR)


class Switch(anywidget.AnyWidget):
    """Projector mode: a style sheet, and while it is on a class on the page's body and on each widget."""

    _esm = Path(__file__).with_name("projector.js").read_text("utf-8")

    #: The style sheet, which the page keeps as long as this switch exists.
    sheet = traitlets.Unicode(Path(__file__).with_name("projector.css").read_text("utf-8")).tag(sync=True)
    on = traitlets.Bool(False).tag(sync=True)

    @traitlets.observe("on")
    def _reach_each_widget(self, change: Any) -> None:
        global _projecting
        _projecting = change["new"]
        for each in tuple(_SHOWN):
            (each.add_class if _projecting else each.remove_class)(PROJECTOR)

    def __repr__(self) -> str:
        if self.on:
            return "Projector mode: larger type and fewer controls, on this whole page."
        return "Projector mode is off."
