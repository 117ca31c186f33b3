"""Short tests for a class: an entry test, and two parallel forms for before and after the course.

Nothing says whether an answer is right until the whole sheet is handed in; then `before` tells the
score and the lessons to go to, and the others the reasons too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from tcplab.lesson.course import lessons, read_table
from tcplab.lesson.question import ChoiceQuestion, predict_choice, remember
from tcplab.lesson.tables import Shown, box, to_html, to_plain

#: The forms by name, and whether their reasons are told. `before` keeps them for `after`.
FORMS = {"entry": True, "before": False, "after": True}


class Quiz:
    """A sheet of questions that is handed in as a whole. See `quiz`."""

    def __init__(self, form: str) -> None:
        rows = read_table("quizzes.toml")[form]
        self.form = form
        #: The lesson of each question, by name.
        self.lessons: list[str] = [row["lesson"] for row in rows]
        self.questions: list[ChoiceQuestion] = [
            predict_choice(
                row["text"], dict.fromkeys(row["options"], ""), right=row["right"], because=row["because"]
            )
            for row in rows
        ]
        self._front: Any = None
        self._result: Any = None
        remember(self)

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
        right, of = sum(self.right), len(self.questions)
        lines = [f"**{right} of {of}**{_left(of - self.answered)}."]
        if self.form == "entry":
            lines[0] += " Skip lesson 01." if right == of else " Begin with lesson 01."
        for number, (question, fine) in enumerate(zip(self.questions, self.right, strict=True), 1):
            if fine:
                continue
            where = lessons()[self.lessons[number - 1]]
            reason = f" **{question.right_answer()}**. {question.because}" if FORMS[self.form] else ""
            lines.append(f"{number}:{reason} Lesson {where.number}, {where.title}.")
        text = "\n".join(lines)
        return Shown(to_plain(text), box(to_html(text), edge="#0072B2", role="status"))

    def keep(self, path: str | Path = "my_scores.csv") -> Shown:
        """Add date, form and score as a line to a file beside the notebook; nothing leaves the machine."""
        line = f"{date.today()},{self.form},{sum(self.right)},{len(self.questions)}\n"
        file = Path(path)
        head = "" if file.exists() else "date,form,right,of\n"
        with file.open("a", encoding="utf-8") as out:
            out.write(head + line)
        text = f"Kept in `{file.name}`: {line.strip()}"
        return Shown(to_plain(text), box(to_html(text)))

    def start_again(self) -> None:
        """No score on the screen; the questions look after themselves."""
        if self._result is not None:
            self._result.value = ""

    def front(self) -> Any:
        """The widget: questions, one button, and then the score. Always the same one."""
        if self._front is None:
            self._front = self._made()
        return self._front

    def _made(self) -> Any:
        import ipywidgets as widgets

        from tcplab.lesson.projector import BOX, Keys
        from tcplab.lesson.question import radio

        parts: list[Any] = []
        for number, question in enumerate(self.questions, 1):
            parts += [widgets.HTML(box(f"<b>{number}.</b> {to_html(question.text)}")), radio(question)]
        button = widgets.Button(
            description="Hand in", tooltip="Say how many answers are right", button_style="primary"
        )
        self._result = widgets.HTML("")
        button.on_click(lambda _: setattr(self._result, "value", self.hand_in()._repr_html_()))
        whole = widgets.VBox([*parts, button, self._result, Keys()])
        whole.add_class(BOX)
        return whole

    def __repr__(self) -> str:
        lines = []
        for number, question in enumerate(self.questions, 1):
            lines.append(f"{number}. {to_plain(question.text)}")
            lines += [f"   {letter}) {to_plain(label)}" for letter, label in question.lettered()]
        return "\n".join([*lines, "Run this cell to get buttons to choose with."])

    def _repr_mimebundle_(self, **options: Any) -> Mapping[str, Any]:
        bundle = dict(self.front()._repr_mimebundle_(**options) or {})
        return bundle | {"text/plain": repr(self), "text/html": f"<pre>{to_html(repr(self))}</pre>"}


def _left(number: int) -> str:
    return f" ({number} not answered)" if number else ""


def quiz(form: str) -> Quiz:
    """A fresh sheet: `entry` (five questions), `before` or `after` (ten each).

    Raises `LookupError` in one sentence for any other form.
    """
    if form not in FORMS:
        raise LookupError(f"form = {form!r} is none of the tests: {', '.join(FORMS)}.")
    return Quiz(form)
