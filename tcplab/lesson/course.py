"""The course: its lessons in their order and what was done in them, its glossary, a diagnosis with links."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from tcplab.core.text import download, to_copy
from tcplab.lesson.progress import CHECK, FILE, HINT, CourseProgress, store
from tcplab.lesson.tables import Shown, table, to_html


@dataclass(frozen=True)
class Lesson:
    """One notebook of the course."""

    #: Two digits and the name, as its file has them: `02`, `fin_or_rst`.
    number: str
    name: str
    title: str
    #: How many minutes it takes a learner.
    minutes: int
    #: False: an elective.
    core: bool
    #: True when the notebook exists.
    ready: bool
    #: What a learner can do afterwards.
    promise: str

    @property
    def notebook(self) -> str:
        """File name of the notebook."""
        return f"{self.number}_{self.name}.ipynb"

    def __str__(self) -> str:
        return f"{self.number} {self.name}" + ("" if self.ready else " (planned)")

    def link(self) -> str:
        """HTML: a link where there is a notebook, `(planned)` where there is none yet."""
        # A long name may break at its underscores, so that the column of links stays narrow.
        name = f"{self.number} {to_html(self.name).replace('_', '_<wbr>')}"
        style = "color: var(--jp-content-link-color, #1565c0); text-decoration: underline"
        if self.ready:
            return f'<a href="{self.notebook}" target="_blank" style="{style}">{name}</a>'
        return f"{name} <i>(planned)</i>"


def read_table(name: str) -> dict[str, Any]:
    """One of the .toml files beside this module."""
    return tomllib.loads(files("tcplab.lesson").joinpath(name).read_text(encoding="utf-8"))


@cache
def lessons() -> dict[str, Lesson]:
    """Every lesson by its name, in the course's order."""
    return {row["name"]: Lesson(**row) for row in read_table("lessons.toml")["lesson"]}


def links(names: Iterable[str]) -> str:
    """HTML: links to lessons, the likeliest first."""
    return ", then ".join(lessons()[name].link() for name in names) or "none: this is not TCP"


def names(names: Iterable[str]) -> str:
    """The same as plain text."""
    return ", then ".join(str(lessons()[name]) for name in names) or "none: this is not TCP"


@dataclass(frozen=True)
class Done:
    """What a learner has done in one lesson, or in one test (`lesson` is then `quiz_before`, …)."""

    lesson: str
    #: Questions that have an answer or were solved, of all; answered right without one wrong answer before.
    answered: int
    of: int
    right_at_first: int
    hints: int
    #: When something was done last: UTC, ISO 8601.
    last: str

    def __str__(self) -> str:
        return f"{self.answered} of {self.of}"


def done(progress: CourseProgress) -> dict[str, Done]:
    """What a learner has done, lesson by lesson in the course's order, then the tests of a class."""
    tests = {f"quiz_{form}": len(rows) for form, rows in read_table("quizzes.toml").items()}
    numbers = {name: _number_of_questions(name) for name in lessons()} | tests
    found = {}
    for name, of in numbers.items():
        lesson = progress.lesson(name)
        answers = [[each for each in events if each.did != HINT] for events in lesson.questions.values()]
        firsts = [events[0] for events in answers if events]
        right = sum(first.did == CHECK and first.outcome == "right" for first in firsts)
        hints = sum(event.did == HINT for events in lesson.questions.values() for event in events)
        if lesson.last:
            found[name] = Done(name, len(firsts), max(of, len(firsts)), right, hints, lesson.last)
    return found


def hand_in() -> Shown:
    """A link that saves progress.json, the only way to it where Python runs in a browser."""
    content = store().read().to_json()
    link = download(FILE, content.encode(), "application/json")
    return Shown(content, f"<p>{link}</p>{to_copy(FILE, content.encode())}")


def _number_of_questions(lesson: str) -> int:
    try:
        return len(read_table(f"questions/{lesson}.toml"))
    except FileNotFoundError:
        return 0


def lesson_map() -> Shown:
    """The whole course; only notebooks that exist are links. With what was done, where something was."""
    rows, lines = [], []
    mine = done(store().read())
    for lesson in lessons().values():
        kind, minutes = "core" if lesson.core else "elective", str(lesson.minutes)
        answered = str(mine.get(lesson.name, ""))
        bar = _bar(mine[lesson.name]) if lesson.name in mine else ""
        row = [lesson.link(), to_html(lesson.title), to_html(lesson.promise), minutes, kind]
        rows.append([*row, *([f"{bar}{answered}"] if mine else [])])
        lines.append(f"{lesson}: {lesson.promise} ({lesson.minutes} min, {kind})")
        lines[-1] += f" {answered} answered" if answered else ""
    columns = ["lesson", "title", "afterwards you can", "minutes", "", *(["answered"] if mine else [])]
    return Shown("\n".join(lines), table(columns, rows))


def _bar(mine: Done) -> str:
    """HTML: how much of a lesson is done, as a bar."""
    share = round(100 * mine.answered / mine.of) if mine.of else 0
    frame = "width: 5em; height: 0.6em; border: 1px solid currentColor; margin-right: 0.4em"
    filled = f"width: {share}%; height: 100%; background: currentColor"
    return f'<div style="{frame}"><div style="{filled}"></div></div>'


def glossary(*terms: str) -> Shown:
    """Terms and what they mean, in alphabetical order; all of them without arguments."""
    words: dict[str, str] = read_table("glossary.toml")
    chosen = sorted(terms or words, key=str.lower)
    rows = [[f"<b>{to_html(term)}</b>", to_html(words[term])] for term in chosen]
    return Shown("\n".join(f"{term}: {words[term]}" for term in chosen), table(["term", "meaning"], rows))
