"""Goals: what a learner is asked to bring about with an explorer, and how it is known that it was.

A goal is a table in pages/LESSON.toml:

    [goals.five_minutes]
    text = "Get psql its error within 5 minutes."
    experiment = "keepalive"
    hold = { peer = "offline" }                       # not the learner's to change
    when = { error = "ETIMEDOUT", detected_after_s = "<= 300" }
    reaches = [{ idle_s = 60, interval_s = 10, probes = 6 }]
    [[goals.five_minutes.misses]]
    set = { idle_s = 60, interval_s = 75, probes = 9 }
    where = { interval_s = "> 30" }
    says = "Nine probes, still 75 s apart."

`when` and `where` name results and parameters of a run. A value stands for itself; a text may begin with
`<=`, `>=`, `<`, `>`, `!=` or `in` (`in kill, close`), or be `none` or `some` (of a list: empty or not).
`largest gap of NAME`, `count of NAME` and `first of NAME` look into a list of times, and `errors in NAME`
counts what is not null in a list. `says` is shown while `where` holds and the goal is
missed; without `where`, at exactly the values in `set`. The tests play `reaches` and every `set`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from tcplab.lesson.page import page_table

_COMPARED: dict[str, Callable[[Any, Any], Any]] = {"<=": le, ">=": ge, "!=": ne, "<": lt, ">": gt}
_OF_A_LIST: dict[str, Callable[[Sequence[Any]], float | None]] = {
    "largest gap of ": lambda times: max((b - a for a, b in pairwise([0, *times])), default=None),
    "count of ": len,
    "errors in ": lambda errors: sum(error is not None for error in errors),
    "first of ": lambda times: times[0] if times else None,
}


@dataclass(frozen=True)
class Condition:
    """What a result or a parameter must be."""

    name: str
    wanted: Any

    def holds(self, found: Mapping[str, Any]) -> bool:
        """Whether it is so. Raises `KeyError` for a name that is not there."""
        value = self._value(found)
        if not isinstance(self.wanted, str):
            return bool(eq(value, self.wanted))
        if self.wanted in ("none", "some"):
            return (value in (None, "", [], ())) == (self.wanted == "none")
        sign, _, number = self.wanted.partition(" ")
        if sign == "in":
            return value in number.split(", ")
        if sign in _COMPARED:
            return value is not None and bool(_COMPARED[sign](value, _number(number)))
        return bool(value == self.wanted)

    def _value(self, found: Mapping[str, Any]) -> Any:
        for words, look in _OF_A_LIST.items():
            if self.name.startswith(words):
                return look(found[self.name.removeprefix(words)])
        return found[self.name]


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text  # "!= vanish"


@dataclass(frozen=True)
class Miss:
    """A tempting wrong setting, and the sentence that it earns."""

    values: Mapping[str, Any]
    where: tuple[Condition, ...]
    says: str


@dataclass(frozen=True)
class Goal:
    """Something to bring about."""

    lesson: str
    name: str
    experiment: str
    text: str
    #: Values that the learner may not change, by parameter.
    hold: Mapping[str, Any]
    when: tuple[Condition, ...]
    #: Values that reach it, and wrong ones.
    reaches: tuple[Mapping[str, Any], ...]
    misses: tuple[Miss, ...]
    #: Said once it is reached: what it takes, or costs.
    says: str = ""
    #: For those who want more.
    optional: bool = False

    def is_reached(self, values: Mapping[str, Any], outcome: Mapping[str, Any]) -> bool:
        """Whether a run with these parameters and results reaches it."""
        found = {**values, **outcome}
        held = all(values[name] == value for name, value in self.hold.items())
        return held and all(condition.holds(found) for condition in self.when)

    def about(self, values: Mapping[str, Any], outcome: Mapping[str, Any]) -> str:
        """What a wrong setting earns; empty where nothing is known of it."""
        found = {**values, **outcome}
        return next(
            (miss.says for miss in self.misses if all(condition.holds(found) for condition in miss.where)), ""
        )


def conditions(table: Mapping[str, Any]) -> tuple[Condition, ...]:
    """The conditions of a table."""
    return tuple(Condition(name, wanted) for name, wanted in table.items())


@cache
def goals(lesson: str) -> dict[str, Goal]:
    """The goals of a lesson by name, in the order of its file; none where it has none."""
    return {name: _goal(lesson, name, table) for name, table in page_table(lesson).get("goals", {}).items()}


def _goal(lesson: str, name: str, table: Mapping[str, Any]) -> Goal:
    misses = tuple(
        Miss(miss["set"], conditions(miss.get("where", miss["set"])), miss["says"])
        for miss in table.get("misses", ())
    )
    return Goal(
        lesson, name, table["experiment"], table["text"], table.get("hold", {}), conditions(table["when"]),
        tuple(table["reaches"]), misses, table.get("says", ""), table.get("optional", False),
    )  # fmt: skip
