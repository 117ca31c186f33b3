"""For a class: a page set for a projector, an entry test, and two parallel tests before and after the course.

Whether an answer is right stays hidden until the whole sheet is handed in. Then `before` shows the score
and the lessons to go to; the others show the reasons too.
"""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from tcplab.lesson.course import lessons, read_table
from tcplab.lesson.displayed import Displayed
from tcplab.lesson.progress import CHECK, store
from tcplab.lesson.question import RIGHT, WRONG, ChoiceQuestion, remember
from tcplab.lesson.tables import Shown, box, in_a_box, to_html, to_plain

#: The forms by name, and whether they show the reasons. `before` keeps them for `after`.
FORMS = {"entry": True, "before": False, "after": True}


class Quiz(Displayed):
    """A sheet of questions that is handed in as a whole. See `quiz`."""

    def __init__(self, form: str) -> None:
        rows = read_table("quizzes.toml")[form]
        self.form = form
        #: The lesson of each question, by name.
        self.lessons: list[str] = [row["lesson"] for row in rows]
        self.questions = [
            ChoiceQuestion(
                row["text"], dict.fromkeys(row["options"], ""), right=row["right"], because=row["because"]
            )
            for row in rows
        ]
        #: The widget of the score, once the sheet is displayed.
        self._score: Any = None
        #: Where its answers are kept.
        self.place = (f"quiz_{form}", "")
        #: Whether it was handed in, on another day too.
        self.handed_in = False
        self.bring_back()
        remember(self)

    def bring_back(self) -> None:
        """Answer again, and hand in, what was handed in on another day."""
        for number, question in enumerate(self.questions, 1):
            for event in store().events(self.place[0], str(number)):
                question.answer, self.handed_in = event.answer, True
                store().greet(self.place[0])
        if self.handed_in and self._score is not None:
            self._show_score()

    def answer(self, letters: str) -> None:
        """All answers at once, a letter each in order: ``answer("bacd…")``; ``-`` leaves one out."""
        for question, letter in zip(self.questions, letters, strict=False):
            question.answer = None if letter == "-" else letter

    @property
    def right(self) -> list[bool]:
        """Which answers are right, in order."""
        return [question.chosen() == question.right for question in self.questions]

    @property
    def answered(self) -> int:
        """How many have an answer."""
        return sum(question.chosen() is not None for question in self.questions)

    def hand_in(self) -> Shown:
        """The score; for each wrong answer the lesson to go to, and unless this is `before` the reason."""
        self.handed_in = True
        for number, (question, fine) in enumerate(zip(self.questions, self.right, strict=True), 1):
            if label := question.chosen():
                store().add(self.place[0], str(number), CHECK, label, RIGHT if fine else WRONG)
        right, of = sum(self.right), len(self.questions)
        left = f" ({of - self.answered} not answered)" if self.answered < of else ""
        lines = [f"**{right} of {of}**{left}."]
        if self.form == "entry":
            lines[0] += " Skip lesson 01." if right == of else " Begin with lesson 01."
        for number, (question, fine) in enumerate(zip(self.questions, self.right, strict=True), 1):
            if fine:
                continue
            where = lessons()[self.lessons[number - 1]]
            reason = f" **{question.right_answer()}**. {question.because}" if FORMS[self.form] else ""
            lines.append(f"{number}:{reason} Lesson {where.number}, {where.title}.")
        return in_a_box("\n".join(lines), edge="#0072B2", status=True)

    def keep(self, path: str | Path = "my_scores.csv") -> Shown:
        """Add date, form and score as a line to a file beside the notebook; nothing leaves the machine."""
        line = f"{date.today()},{self.form},{sum(self.right)},{len(self.questions)}\n"
        file = Path(path)
        head = "" if file.exists() else "date,form,right,of\n"
        with file.open("a", encoding="utf-8") as out:
            out.write(head + line)
        return in_a_box(f"Kept in `{file.name}`: {line.strip()}")

    def start_again(self) -> None:
        """Remove the score; the questions are reset by themselves."""
        self.handed_in = False
        if self._score is not None:
            self._score.value = ""

    def _build(self) -> Any:
        """The questions, one button, and then the score."""
        import ipywidgets as widgets

        from tcplab.lesson.form import button, keyboard_box, live, radio_buttons

        parts: list[Any] = []
        for number, question in enumerate(self.questions, 1):
            heading = box(f"<b>{number}.</b> {to_html(question.text)}")
            parts += [widgets.HTML(heading), radio_buttons(question)]
        self._score = live()
        if self.handed_in:
            self._show_score()
        hand_in = button("Hand in", "", self._show_score, "Say how many answers are right", "primary")
        return keyboard_box([*parts, hand_in, self._score])

    def _show_score(self) -> None:
        score, news = self.hand_in()._repr_html_(), to_html(store().news())
        self._score.value = score + (f"<p>{news}</p>" if news else "")

    def __repr__(self) -> str:
        lines = []
        for number, question in enumerate(self.questions, 1):
            lines.append(f"{number}. {to_plain(question.text)}")
            lines += [f"   {letter}) {to_plain(label)}" for letter, label in question.lettered()]
        return "\n".join([*lines, "Run this cell to get buttons to choose with."])

    def _repr_html_(self) -> str:
        return f"<pre>{to_html(repr(self))}</pre>"


def quiz(form: str) -> Quiz:
    """A new sheet: `entry` (five questions), `before` or `after` (fifteen each).

    Raises `LookupError` in one sentence for any other form.
    """
    if form not in FORMS:
        raise LookupError(f"form = {form!r} is not one of the tests: {', '.join(FORMS)}.")
    return Quiz(form)


@cache
def _switch() -> Any:
    """The one switch of this kernel, off at first."""
    from tcplab.lesson.form import Switch

    return Switch()


def projector(on: bool = True) -> Any:
    """Set the whole page for a projector, or back (`False`); for the last line of a cell.

    Text of at least 18 px, pictures a third larger. Each explorer keeps its first controls, its presets,
    the sentence and the picture: help, *more settings* and the other tabs are hidden. Returns a switch to
    click; it holds until it is turned back or its kernel ends.
    """
    switch = _switch()
    switch.on = on
    return switch
