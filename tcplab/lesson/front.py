"""Buttons in front of a question. They set its answer and show its feedback, nothing more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from tcplab.lesson.keys import BOX, Keys
from tcplab.lesson.question import ChoiceQuestion, Question
from tcplab.lesson.text import box, to_html, to_plain

WIDE = {"width": "auto", "max_width": "60em"}


def front(question: Question) -> widgets.Widget:
    """The question with something to answer it, Check, Hint and Show answer, and its feedback.

    Everything is reached with Tab and works with Space and Enter; Enter in the box checks.
    """
    said = widgets.HTML("")
    entry = radio(question) if isinstance(question, ChoiceQuestion) else _text(question)

    def button(label: str, tooltip: str, ask: Callable[[], Any], style: str = "") -> widgets.Button:
        made = widgets.Button(description=label, tooltip=tooltip, button_style=style)

        def clicked(_: object) -> None:
            said.value = ask()._repr_html_()

        made.on_click(clicked)
        return made

    question.when_started_again(lambda: setattr(said, "value", ""))
    check = button("Check", "Commit this prediction and see how good it is", question.check, "primary")
    buttons = [check, button("Hint", "A hint; there may be several", question.hint)]
    buttons.append(button("Show answer", "The right answer, and why", question.solution))
    entry.on_msg(lambda _, content, __: check.click() if content.get("event") == "submit" else None)
    heading = widgets.HTML(box(f"<b>Predict.</b> {to_html(question.text)}", edge="#CC79A7"))
    row = widgets.HBox(buttons, layout=widgets.Layout(flex_flow="row wrap"))
    whole = widgets.VBox([heading, entry, row, said, Keys()])
    whole.add_class(BOX)
    return whole


def radio(question: ChoiceQuestion) -> widgets.Widget:
    """The options to choose from: they set the question's answer, and show it when a cell has set it."""
    labels = {f"{letter}) {to_plain(label)}": label for letter, label in question.lettered()}
    texts = {label: text for text, label in labels.items()}
    entry = widgets.RadioButtons(
        options=list(labels), value=texts.get(question.chosen() or ""), layout=widgets.Layout(**WIDE)
    )

    def chosen(change: dict[str, Any]) -> None:
        if change["new"] is not None and question.chosen() != labels[change["new"]]:
            question.answer = labels[change["new"]]

    def show(_: object) -> None:
        entry.value = texts.get(question.chosen() or "")

    entry.observe(chosen, "value")
    question.shows_answer = show
    return entry


def _text(question: Question) -> widgets.Widget:
    unit = getattr(question, "unit", "")
    entry = widgets.Text(
        value="" if question.answer is None else str(question.answer),
        description=f"Your number{f' ({unit})' if unit else ''}:",
        placeholder="45, 2 min 30 s, or never" if unit == "s" else "a number",
        style={"description_width": "initial"},
        layout=widgets.Layout(width="24em"),
    )

    def typed(change: dict[str, Any]) -> None:
        if change["new"] != _as_text(question.answer):
            question.answer = change["new"] or None

    def show(answer: object) -> None:
        entry.value = _as_text(answer)

    entry.observe(typed, "value")
    question.shows_answer = show
    return entry


def _as_text(answer: object) -> str:
    return "" if answer is None else str(answer)
