"""Questions to answer before a run: what do you think will happen? And what opens when they are answered.

The answer is a Python attribute (``question.answer = 929``); the form in front of it only sets it. So a
learner, a test and a notebook without widgets all take the same path. The questions of the notebooks are
tables in questions/LESSON.toml: in the notebooks a learner could read the answer before the question.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakSet

from tcplab.core.text import factor, in_words, read_number
from tcplab.lesson import progress
from tcplab.lesson.course import read_table
from tcplab.lesson.displayed import Displayed
from tcplab.lesson.tables import STILL, Shown, as_html, box, in_a_box, to_html, to_plain

#: Whatever `start_again` resets.
remembered: WeakSet[Any] = WeakSet()


def remember(thing: Any) -> None:
    """Make `start_again` call the method of that name of this, too, as long as it exists."""
    remembered.add(thing)


def start_again() -> Shown:
    """Reset every question of this notebook, close what opened with it, and reset every explorer.

    What was kept of this lesson for another day is cleared, too. For a cell of its own:
    ``start_again()``. What cells have printed stays, and so do the variables.
    """
    things = list(remembered)
    for thing in things:
        thing.start_again()
    progress.store().clear({place[0] for thing in things if (place := getattr(thing, "place", None))})
    sentence = (
        "Everything is reset: the questions are unanswered, and the parts that depend on them are closed."
    )
    if not things:
        sentence = "There is nothing to reset: no cell has made a question or an explorer yet."
    return in_a_box(sentence, status=True)


def _bring_back() -> None:
    for thing in list(remembered):
        if hasattr(thing, "bring_back"):
            thing.bring_back()


progress.on_load.append(_bring_back)
if sys.platform == "emscripten":
    progress.store()  # begin to read, so that answers are there when a cell asks


RIGHT, CLOSE, WRONG = "right", "close", "wrong"
NOT_ATTEMPTED, UNCLEAR = "not attempted", "unclear"
HINT, SOLUTION = "hint", "solution"

#: Outcome: symbol, heading and the colour of the edge. The word says it without the colour.
LOOKS = {
    RIGHT: ("✔", "Right", "#009E73"),
    CLOSE: ("≈", "Close", "#E69F00"),
    WRONG: ("✘", "Not so", "#D55E00"),
    NOT_ATTEMPTED: ("…", "Not attempted yet", "#888888"),
    UNCLEAR: ("?", "Not understood", "#888888"),
    HINT: ("→", "Hint", "#56B4E9"),
    SOLUTION: ("!", "Solution", "#0072B2"),
}


@dataclass(frozen=True)
class Feedback:
    """What `check()`, `hint()` and `solution()` return."""

    #: One of the words above.
    outcome: str
    #: Sentences, with `code` and **bold**.
    text: str

    @property
    def right(self) -> bool:
        """True when the prediction was right."""
        return self.outcome == RIGHT

    @property
    def attempted(self) -> bool:
        """True when there was a prediction that could be judged."""
        return self.outcome in (RIGHT, CLOSE, WRONG)

    def __repr__(self) -> str:
        symbol, heading, _ = LOOKS[self.outcome]
        return f"{symbol} {heading}. {to_plain(self.text)}"

    def _repr_html_(self) -> str:
        symbol, heading, colour = LOOKS[self.outcome]
        return box(f"<b>{symbol} {heading}.</b> {to_html(self.text)}", edge=colour, status=True)


class Question(Displayed, ABC):
    """A prediction. Nothing here raises because of what a learner does or doesn't."""

    def __init__(self, text: str, *, because: str, hints: Sequence[str] = ()) -> None:
        self.text = text
        #: Why the right answer is right; shown with it.
        self.because = because
        self.hints = tuple(hints)
        self._answer: Any = None
        #: Called when the answer changes: the form shows it.
        self.on_answer: Callable[[Any], None] | None = None
        #: Whether the right answer is explained at once; in a lesson, that is below the picture.
        self.explains = True
        #: True once a prediction was checked, or the solution was asked for.
        self.committed = False
        #: What was said last.
        self.feedback: Feedback | None = None
        #: Called when that was brought back: the form shows it.
        self.on_feedback: Callable[[], None] | None = None
        #: The lesson and its name there, by which its answers are kept; None: they are not.
        self.place: tuple[str, str] | None = None
        self._hints_given = 0
        self._on_commit: list[Callable[[], None]] = []
        self._on_check: list[Callable[[], None]] = []
        self._on_reset: list[Callable[[], None]] = []
        remember(self)

    @property
    def answer(self) -> Any:
        """The learner's answer; None until then."""
        return self._answer

    @answer.setter
    def answer(self, answer: Any) -> None:
        self._answer = answer
        if self.on_answer:
            self.on_answer(answer)

    @abstractmethod
    def judge(self) -> Feedback:
        """Feedback about `answer`, which is not None; changes nothing."""

    @abstractmethod
    def right_answer(self) -> str:
        """The right answer in words."""

    @property
    @abstractmethod
    def how_to_answer(self) -> str:
        """The line below the question where no form is: how the answer looks in Python."""

    def check(self) -> Feedback:
        """Feedback about the prediction; opens whatever comes `after` it."""
        feedback = self._checked()
        if feedback.attempted:
            self._write_down(progress.CHECK, self.answer, feedback.outcome)
        return feedback

    def hint(self) -> Feedback:
        """The next hint; after the last, the first."""
        if self.hints:
            self._write_down(progress.HINT)
        return self._hinted()

    def solution(self) -> Feedback:
        """The right answer and why; counts as a prediction."""
        self._write_down(progress.SOLUTION)
        return self._solved()

    def bring_back(self) -> None:
        """Do again what was done here on another day."""
        events = progress.store().events(*self.place) if self.place else ()
        again = {progress.HINT: self._hinted, progress.SOLUTION: self._solved}
        self._hints_given = 0
        for event in events:
            if event.did == progress.CHECK:
                self.answer = event.answer
            again.get(event.did, self._checked)()
        if events and self.place:
            progress.store().greet(self.place[0])
            if self.on_feedback:
                self.on_feedback()

    def _checked(self) -> Feedback:
        if self.answer is None or (isinstance(self.answer, str) and not self.answer.strip()):
            said = Feedback(NOT_ATTEMPTED, "Make a guess first; a wrong one teaches more than none.")
        else:
            said = self.judge()
        self.feedback = said
        if said.attempted:
            self._commit()
            for do in self._on_check:
                do()
        return said

    def _hinted(self) -> Feedback:
        said = Feedback(HINT, "There is no hint for this question: guess.")
        if self.hints:
            number = self._hints_given % len(self.hints)
            self._hints_given += 1
            said = Feedback(HINT, f"({number + 1} of {len(self.hints)}) {self.hints[number]}")
        self.feedback = said
        return said

    def _solved(self) -> Feedback:
        because = self.because if self.explains else ""
        self.feedback = Feedback(SOLUTION, f"**{self.right_answer()}.** {because}".rstrip())
        self._commit()
        return self.feedback

    def _write_down(self, did: str, answer: Any = None, outcome: str = "") -> None:
        if self.place:
            progress.store().add(*self.place, did, answer, outcome)

    def when_committed(self, do: Callable[[], None]) -> None:
        """Call `do` at the first checked prediction or solution; at once when there was one.

        After `start_again` the next one is the first.
        """
        self._on_commit.append(do)
        if self.committed:
            do()

    def when_checked(self, do: Callable[[], None]) -> None:
        """Call `do` at each checked prediction; at once when there was one."""
        self._on_check.append(do)
        if self.committed:
            do()

    def when_started_again(self, do: Callable[[], None]) -> None:
        """Call `do` whenever the question is reset."""
        self._on_reset.append(do)

    def start_again(self) -> None:
        """Unanswered, for the next learner. See `tcplab.lesson.start_again`."""
        self.committed = False
        self._hints_given = 0
        self.answer = self.feedback = None
        for do in self._on_reset:
            do()

    def _commit(self) -> None:
        if not self.committed:
            self.committed = True
            for do in self._on_commit:
                do()

    def __repr__(self) -> str:
        return to_plain(f"Question: {self.text}\n{self.how_to_answer}")

    def _repr_html_(self) -> str:
        how = f'<div style="opacity: 0.8">{to_html(self.how_to_answer)}</div>'
        return box(f"<b>Predict.</b> {to_html(self.text)}{how}", edge="#CC79A7")


def with_unit(value: float, unit: str = "") -> str:
    """A number in an answer: `929 s (15 min 29 s)`, `7 connections`, `never`."""
    if math.isinf(value):
        return "never"
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    text = f"{number} {unit}".rstrip()
    return f"{text} ({in_words(round(value))})" if unit == "s" and value >= 120 else text


def _short(answer: object) -> str:
    text = str(answer)
    return text if len(text) <= 40 else f"{text[:39]}…"


class NumberQuestion(Question):
    """Asks for a number before a run.

    `right` may be `math.inf` (never). `tolerance` is relative: 0.05 takes 5 % either way.
    `common` maps wrong numbers that people often give to why they are wrong.
    """

    #: Within this factor of the right number, a wrong one is called close.
    CLOSE_FACTOR = 1.5

    def __init__(
        self, text: str, *, right: float, unit: str = "", because: str, hints: Sequence[str] = (),
        common: Mapping[float, str] | None = None, tolerance: float = 0.05,
    ) -> None:  # fmt: skip
        super().__init__(text, because=because, hints=hints)
        self.right = float(right)
        self.unit = unit
        self.common = {float(value): why for value, why in (common or {}).items()}
        self.tolerance = tolerance

    @property
    def how_to_answer(self) -> str:
        like = "seconds (45, 2 min 30 s, or never)" if self.unit == "s" else "a number"
        return f"Answer with {like}. Run this cell to get a box to type into."

    def right_answer(self) -> str:
        return with_unit(self.right, self.unit).capitalize()

    def _build(self) -> Any:
        from tcplab.lesson.form import form, text_field

        return form(self, text_field(self, self.unit))

    def judge(self) -> Feedback:
        value = read_number(self.answer, self.unit)
        if value is None:
            example = "`45`, `45 s`, `2 min 30 s`" if self.unit == "s" else "`7`"
            unreadable = f"“{_short(self.answer)}” can't be read as a number"
            return Feedback(UNCLEAR, f"{unreadable}: write for example {example} or `never`.")
        said = f"You said **{with_unit(value, self.unit)}**"
        for usual, why in self.common.items():
            if self._near(value, usual, 0.02) and not self._near(value, self.right, 0.005):
                return Feedback(WRONG, f"{said}. {why}")
        if self._near(value, self.right, self.tolerance):
            exact = "." if value == self.right else f"; it is {with_unit(self.right, self.unit)}."
            return Feedback(RIGHT, f"{said}{exact} {self.because if self.explains else ''}".rstrip())
        return self._distance(said, value)

    def _near(self, value: float, target: float, relative: float) -> bool:
        if math.isinf(value) or math.isinf(target):
            return value == target
        return abs(value - target) <= relative * abs(target)

    def _distance(self, said: str, value: float) -> Feedback:
        """How far off, as a factor: for seconds and ports alike."""
        low, high, more = ("short", "long", "as long") if self.unit == "s" else ("low", "high", "as much")
        if math.isinf(self.right):
            return Feedback(WRONG, f"{said}. No number is right here: it never ends.")
        if math.isinf(value):
            return Feedback(WRONG, f"{said}. It does end.")
        word = low if value < self.right else high
        if value <= 0 or self.right <= 0:
            return Feedback(WRONG, f"{said}: too {word}.")
        ratio = max(value / self.right, self.right / value)
        if ratio < self.CLOSE_FACTOR:
            return Feedback(CLOSE, f"{said}: too {word} by {abs(value / self.right - 1):.0%}.")
        if value > self.right:
            return Feedback(WRONG, f"{said}: {factor(ratio)} too {high}.")
        return Feedback(WRONG, f"{said}: too {low}. The right value is {factor(ratio)} {more}.")


class ChoiceQuestion(Question):
    """Asks for one of a few answers before a run.

    `options` maps each label to the feedback for a learner who chose it; `right` is the label of the right
    one. Raises `ValueError` when it is not among them.
    """

    def __init__(
        self, text: str, options: Mapping[str, str], *, right: str, because: str = "",
        hints: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(text, because=because, hints=hints)
        if right not in options:
            raise ValueError(f"right = {right!r} is not one of the options: {', '.join(options)}.")
        #: Label -> the feedback for a learner who chose it.
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

    def _build(self) -> Any:
        from tcplab.lesson.form import form, radio_buttons

        return form(self, radio_buttons(self))

    def judge(self) -> Feedback:
        label = self.chosen()
        if label is None:
            letters = ", ".join(f"`{letter}`" for letter, _ in self.lettered())
            return Feedback(UNCLEAR, f"“{_short(self.answer)}” is not one of the answers: use {letters}.")
        said = f"You said: **{to_plain(label)}**."
        if label == self.right:
            because = self.because if self.explains else ""
            return Feedback(RIGHT, " ".join(filter(None, (said, self.options[label], because))))
        return Feedback(WRONG, f"{said} {self.options[label]}")


#: What lessons call them.
predict_number, predict_choice = NumberQuestion, ChoiceQuestion


@cache
def tables(lesson: str) -> dict[str, dict[str, Any]]:
    """The questions of a lesson by name, in the order of its file.

    A table has `text`, `right`, `because` and `hints`, and for a choice `options` (each with a `label` and
    what it `says` to a learner who chose it), for a number `unit`, `tolerance` and `common` (wrong numbers
    that people often give, and why they are wrong). `right = inf` is never.
    """
    return read_table(f"questions/{lesson}.toml")


def ask(lesson: str, name: str) -> Question:
    """A new question: `ask("fin_or_rst", "next_send")`, as it was left where it was answered before.

    Raises `LookupError` in one sentence when there is no such question.
    """
    try:
        table = tables(lesson)[name]
    except FileNotFoundError:
        raise LookupError(f"no questions for a lesson {lesson!r}: there is no {lesson}.toml.") from None
    except KeyError:
        known = ", ".join(tables(lesson))
        raise LookupError(f"lesson {lesson} has no question {name!r}; it has {known}.") from None
    rest = {key: value for key, value in table.items() if key not in ("text", "options", "common")}
    if "options" in table:
        options = {option["label"]: option["says"] for option in table["options"]}
        question: Question = predict_choice(table["text"], options, **rest)
    else:
        question = predict_number(table["text"], common=table.get("common"), **rest)
    question.place, progress.store().where = (lesson, name), (lesson, "")
    question.bring_back()
    return question


WAITING = "Answer the question above to open this part. Any guess will do."


class After(Displayed):
    """Shows what `make` makes once `question` was answered, and a sentence that says so until then.

    `make` is called at most once, and not before: ``after(question, lambda: explore(Keepalive))``.
    After `start_again` it is called once more.
    """

    def __init__(self, question: Question, make: Callable[[], Any]) -> None:
        self.question = question
        self._make = make
        self._made: Any = None
        #: Of what a notebook shows of it, to replace that.
        self._handle: Any = None
        question.when_committed(self._show)
        question.when_started_again(self._start_again)

    @property
    def thing(self) -> Any:
        """What was waiting, made when first wanted; None while the question is open."""
        if not self.question.committed:
            return None
        if self._made is None:
            with progress.behind(self.question.place):
                self._made = self._make()
        return self._made

    def _build(self) -> Any:
        """The widget that contains the waiting sentence first, and the thing itself later."""
        from tcplab.lesson.form import Place

        self._widget = Place()
        self._show()
        return self._widget

    def _ipython_display_(self) -> None:
        """Show the widget, and what stays of it when the notebook is saved, which changes when it opens.

        Two outputs, because a front end would draw a widget again whose output changes. A page with living
        widgets hides the second one: see `Accessible`.
        """
        from IPython.display import display

        made = self._repr_mimebundle_()
        living = dict(made[0] if isinstance(made, tuple) else made)
        still = self._still()
        if len(living) > 2:
            display(living | {"text/html": ""}, raw=True)
        self._handle = display(still, raw=True, display_id=True)

    def _still(self) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": f'<div class="{STILL}">{self._repr_html_()}</div>'}

    def _show(self) -> None:
        if self._handle is not None:
            self._handle.update(self._still(), raw=True)
        if self._widget is not None:
            self._widget.show(self.thing if self.question.committed else in_a_box(WAITING))

    def _start_again(self) -> None:
        """Show the sentence again; the next thing will be a new one."""
        self._made = None
        self._show()

    def let_go(self) -> None:
        super().let_go()
        self._made = self._handle = None

    def __repr__(self) -> str:
        if not self.question.committed:
            return WAITING
        return str(getattr(self.thing, "sentence", "") or repr(self.thing))

    def _repr_html_(self) -> str:
        """The learner's own answer, and what opened."""
        if not self.question.committed:
            return box(to_html(repr(self)))
        return f"{as_html(self.question.feedback) if self.question.feedback else ''}{as_html(self.thing)}"


#: What lessons call it.
after = After


class Reveal(Displayed):
    """A fact under a title, folded away until `question` was answered; then it unfolds.

    Parts are sentences, lines of a terminal, or things with an HTML form such as tables. Without a
    kernel the reader opens it by hand; where no HTML is shown, its text is printed.
    """

    def __init__(self, question: Question, *parts: Any, title: str = "What happens") -> None:
        self.question = question
        self.parts = parts
        self.title = title

    def _build(self) -> Any:
        """The widget that unfolds when the question is answered."""
        from ipywidgets import HTML

        shown = HTML(self._repr_html_())
        for when in (self.question.when_committed, self.question.when_started_again):
            when(lambda: setattr(shown, "value", self._repr_html_()))
        return shown

    def __repr__(self) -> str:
        return "\n".join(to_plain(str(part)) for part in self.parts)

    def _repr_html_(self) -> str:
        done = self.question.committed
        title = self.title if done else f"{self.title} (open this after your prediction)"
        inside = f"<summary><b>{to_html(title)}</b></summary>{''.join(map(as_html, self.parts))}"
        return box(f"<details{' open' if done else ''}>{inside}</details>", edge="#009E73")


#: What lessons call it.
reveal = Reveal
