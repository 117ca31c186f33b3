"""The questions of the notebooks: questions/LESSON.toml, one table a question.

They stand there and not in the notebooks, so that nobody reads the answer before the question.
A table has `text`, `right`, `because` and `hints`, and for a choice `options` (each with a `label`
and what it `says` to somebody who chose it), for a number `unit`, `tolerance` and `common` (wrong
numbers that people often give, and why they are wrong). `right = inf` is never.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from tcplab.lesson.course import read_table
from tcplab.lesson.question import Question, predict_choice, predict_number


@cache
def tables(lesson: str) -> dict[str, dict[str, Any]]:
    """The questions of a lesson by name, in their order, as they stand in its file."""
    return read_table(f"questions/{lesson}.toml")


def ask(lesson: str, name: str) -> Question:
    """A fresh question, not answered yet: `ask("fin_or_rst", "next_send")`.

    Raises `LookupError` in one sentence when there is no such question.
    """
    try:
        table = tables(lesson)[name]
    except FileNotFoundError:
        raise LookupError(f"no questions for a lesson {lesson!r}: there is no {lesson}.toml.") from None
    except KeyError:
        raise LookupError(
            f"lesson {lesson} has no question {name!r}; it has {', '.join(tables(lesson))}."
        ) from None
    rest = {key: value for key, value in table.items() if key not in ("text", "options", "common")}
    if "options" in table:
        options = {option["label"]: option["says"] for option in table["options"]}
        return predict_choice(table["text"], options, **rest)
    common = {float(number): why for number, why in table.get("common", {}).items()}
    return predict_number(table["text"], common=common, **rest)
