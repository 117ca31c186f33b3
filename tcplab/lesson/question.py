"""Questions to be answered before a run: what do you think will happen?

The answer lives in Python (``question.answer = 929``), the buttons in front of it only set it,
so that a learner, a test and a notebook without widgets all go the same way.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tcplab.lesson import quantity
from tcplab.lesson.again import remember
from tcplab.lesson.feedback import CLOSE, HINT, NOT_ATTEMPTED, RIGHT, SOLUTION, UNCLEAR, WRONG, Feedback
from tcplab.lesson.text import box, to_html, to_plain

#: Within this factor of the truth a wrong number is called close.
CLOSE_FACTOR = 1.5


class Question(ABC):
    """A prediction. Nothing here raises because of what a learner does or doesn't."""

    def __init__(self, text: str, *, because: str, hints: Sequence[str] = ()) -> None:
        self.text = text
        #: Why the right answer is right; shown with it.
        self.because = because
        self.hints = tuple(hints)
        self._answer: Any = None
        #: Called when the answer changes: the front in front of this question shows it.
        self.shows_answer: Callable[[Any], None] | None = None
        #: True once a prediction was checked, or the solution was asked for.
        self.committed = False
        self._hints_given = 0
        self._watchers: list[Callable[[], None]] = []
        self._beginners: list[Callable[[], None]] = []
        self._front: Any = None
        remember(self)

    @property
    def answer(self) -> Any:
        """What the learner said; None until then."""
        return self._answer

    @answer.setter
    def answer(self, answer: Any) -> None:
        self._answer = answer
        if self.shows_answer:
            self.shows_answer(answer)

    @abstractmethod
    def judge(self) -> Feedback:
        """Feedback about `answer`, which is not None; leaves everything as it is."""

    @abstractmethod
    def right_answer(self) -> str:
        """The right answer in words."""

    @property
    @abstractmethod
    def how_to_answer(self) -> str:
        """The line below the question where no buttons are: how the answer looks in Python."""

    def check(self) -> Feedback:
        """Feedback about the prediction, and the end of waiting for whatever comes `after` it."""
        if self.answer is None or (isinstance(self.answer, str) and not self.answer.strip()):
            return Feedback(NOT_ATTEMPTED, "Make a guess first; a wrong one teaches more than none.")
        feedback = self.judge()
        if feedback.attempted:
            self._commit()
        return feedback

    def hint(self) -> Feedback:
        """The next hint; the first again after the last."""
        if not self.hints:
            return Feedback(HINT, "There is none for this question: just guess.")
        number = self._hints_given % len(self.hints)
        self._hints_given += 1
        return Feedback(HINT, f"({number + 1} of {len(self.hints)}) {self.hints[number]}")

    def solution(self) -> Feedback:
        """The right answer and why. Whoever has seen it has predicted enough."""
        self._commit()
        return Feedback(SOLUTION, f"**{self.right_answer()}.** {self.because}")

    def when_committed(self, do: Callable[[], None]) -> None:
        """Call `do` at the first checked prediction or solution; at once when that has been.

        After `start_again` the next one is the first.
        """
        self._watchers.append(do)
        if self.committed:
            do()

    def when_started_again(self, do: Callable[[], None]) -> None:
        """Call `do` whenever the question has become untouched again."""
        self._beginners.append(do)

    def start_again(self) -> None:
        """As nobody had answered yet, for the next learner. See `tcplab.lesson.start_again`."""
        self.committed = False
        self._hints_given = 0
        self.answer = None
        for do in self._beginners:
            do()

    def _commit(self) -> None:
        if self.committed:
            return
        self.committed = True
        for do in self._watchers:
            do()

    def front(self) -> Any:
        """The widget in front of this question: always the same one."""
        if self._front is None:
            from tcplab.lesson.front import front

            self._front = front(self)
        return self._front

    def __repr__(self) -> str:
        return to_plain(f"Question: {self.text}\n{self.how_to_answer}")

    def _repr_html_(self) -> str:
        how = f'<div style="opacity: 0.8">{to_html(self.how_to_answer)}</div>'
        return box(f"<b>Predict.</b> {to_html(self.text)}{how}", edge="#CC79A7")

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """Buttons where a kernel runs; the question as text where none does."""
        bundle = dict(self.front()._repr_mimebundle_(**options) or {})
        return bundle | {"text/plain": repr(self), "text/html": self._repr_html_()}


class NumberQuestion(Question):
    """A number with a unit; `never` is one too. See `predict_number`."""

    def __init__(
        self, text: str, *, right: float, unit: str, because: str, hints: Sequence[str],
        common: Mapping[float, str], tolerance: float,
    ) -> None:  # fmt: skip
        super().__init__(text, because=because, hints=hints)
        self.right = float(right)
        self.unit = unit
        self.common = {float(value): why for value, why in common.items()}
        self.tolerance = tolerance

    @property
    def how_to_answer(self) -> str:
        like = "seconds (45, 2 min 30 s, or never)" if self.unit == "s" else "a number"
        return f"Answer with {like}. Run this cell to get a box to type into."

    def right_answer(self) -> str:
        return quantity.show(self.right, self.unit).capitalize()

    def judge(self) -> Feedback:
        value = quantity.read(self.answer, self.unit)
        if value is None:
            example = "`45`, `45 s`, `2 min 30 s`" if self.unit == "s" else "`7`"
            said = f"“{_short(self.answer)}” can't be read as a number"
            return Feedback(UNCLEAR, f"{said}: write for example {example} or `never`.")
        said = f"You said **{quantity.show(value, self.unit)}**"
        for usual, why in self.common.items():
            if self._near(value, usual, 0.02) and not self._near(value, self.right, 0.005):
                return Feedback(WRONG, f"{said}. {why}")
        if self._near(value, self.right, self.tolerance):
            exact = "." if value == self.right else f"; it is {quantity.show(self.right, self.unit)}."
            return Feedback(RIGHT, f"{said}{exact} {self.because}")
        return self._distance(said, value)

    def _near(self, value: float, target: float, relative: float) -> bool:
        if math.isinf(value) or math.isinf(target):
            return value == target
        return abs(value - target) <= relative * abs(target)

    def _distance(self, said: str, value: float) -> Feedback:
        """How far off on a scale of factors, for seconds and ports alike."""
        low, high, more = ("short", "long", "as long") if self.unit == "s" else ("low", "high", "as much")
        if math.isinf(self.right):
            return Feedback(WRONG, f"{said}. No number is right here: nothing ever ends it.")
        if math.isinf(value):
            return Feedback(WRONG, f"{said}. It does come to an end.")
        word = low if value < self.right else high
        if value <= 0 or self.right <= 0:
            return Feedback(WRONG, f"{said}: too {word}.")
        ratio = max(value / self.right, self.right / value)
        if ratio < CLOSE_FACTOR:
            return Feedback(CLOSE, f"{said}: too {word} by {abs(value / self.right - 1):.0%}.")
        if value > self.right:
            return Feedback(WRONG, f"{said}: {quantity.times(ratio)} too {high}.")
        return Feedback(WRONG, f"{said}: too {low}. The truth is {quantity.times(ratio)} {more}.")


class ChoiceQuestion(Question):
    """One of a few answers. See `predict_choice`."""

    def __init__(
        self, text: str, options: Mapping[str, str], *, right: str, because: str, hints: Sequence[str]
    ) -> None:
        super().__init__(text, because=because, hints=hints)
        if right not in options:
            raise ValueError(f"right = {right!r} is not one of the options: {', '.join(options)}.")
        #: Label -> what to say to somebody who chose it.
        self.options = dict(options)
        self.right = right

    @property
    def how_to_answer(self) -> str:
        lines = [f"{letter}) {label}" for letter, label in self.lettered()]
        return "\n".join([*lines, "Run this cell to get buttons to choose with."])

    def right_answer(self) -> str:
        return to_plain(self.right)

    def lettered(self) -> list[tuple[str, str]]:
        """Letter and label of each option, in their order."""
        return list(zip("abcdefghij", self.options, strict=False))

    def chosen(self) -> str | None:
        """The label that `answer` means, as a label or as its letter; None when neither."""
        wanted = str(self.answer).strip().lower().rstrip(").")
        for letter, label in self.lettered():
            if wanted in (letter, label.lower(), to_plain(label).lower().rstrip(").")):
                return label
        return None

    def judge(self) -> Feedback:
        label = self.chosen()
        if label is None:
            letters = ", ".join(f"`{letter}`" for letter, _ in self.lettered())
            return Feedback(UNCLEAR, f"“{_short(self.answer)}” is none of the answers: use {letters}.")
        said = f"You said: **{to_plain(label)}**."
        if label == self.right:
            return Feedback(RIGHT, " ".join(filter(None, (said, self.options[label], self.because))))
        return Feedback(WRONG, f"{said} {self.options[label]}")


def _short(answer: object) -> str:
    text = str(answer)
    return text if len(text) <= 40 else f"{text[:39]}…"


def predict_number(
    text: str,
    *,
    right: float,
    unit: str = "",
    because: str,
    hints: Sequence[str] = (),
    common: Mapping[float, str] | None = None,
    tolerance: float = 0.05,
) -> NumberQuestion:
    """Ask for a number before a run.

    `right` may be `math.inf` (never). `tolerance` is relative: 0.05 takes 5 % either way.
    `common` maps wrong numbers that people often give to why they are wrong.
    """
    return NumberQuestion(
        text, right=right, unit=unit, because=because, hints=hints, common=common or {}, tolerance=tolerance
    )


def predict_choice(
    text: str, options: Mapping[str, str], *, right: str, because: str = "", hints: Sequence[str] = ()
) -> ChoiceQuestion:
    """Ask for one of a few answers before a run.

    `options` maps each label to what is said to somebody who chose it; `right` is the label of
    the right one. Raises `ValueError` when it is not among them.
    """
    return ChoiceQuestion(text, options, right=right, because=because, hints=hints)
