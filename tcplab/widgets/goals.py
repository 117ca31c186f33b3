"""The goals below an explorer's picture: which is being tried, which were reached, and what a miss earns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from typing import Any

import ipywidgets as widgets

from tcplab.core.text import paragraph, status
from tcplab.lesson.goals import Goal
from tcplab.lesson.progress import store
from tcplab.lesson.tables import box, to_html
from tcplab.widgets import base
from tcplab.widgets.explorer import Explorer

OPEN, REACHED = "☐", "✔"


class GoalList(widgets.VBox):
    """A lesson's goals for one explorer, each ticked when a run reaches it.

    One of them is being tried: what it holds is locked. `why` explains the question, and is shown from the
    first turn on.
    """

    def __init__(self, explorer: Explorer, goals: Sequence[Goal], why: str = "") -> None:
        self.explorer, self.goals, self.why = explorer, tuple(goals), why
        #: The goal that is being tried; None: play as you like.
        self.tried: Goal | None = None
        self._start = explorer.values
        self._turned = False
        self._buttons = {goal.name: base.button("Try it", "", partial(self.attempt, goal)) for goal in goals}
        self._texts = {goal.name: widgets.HTML() for goal in goals}
        self._why = widgets.HTML()
        #: What a setting that misses earns, read aloud when it changes.
        self.said = base.live()
        rows = [base.in_row(self._buttons[g.name], self._texts[g.name], css="tcplab-goal") for g in goals]
        super().__init__([*rows, self.said, self._why])
        self.add_class("tcplab-goals")
        explorer.on_run.append(self._has_run)
        first = next(iter(self.goals), None)
        if first and all(self._start[name] == value for name, value in first.hold.items()):
            self.attempt(first)
        self._has_run()

    @property
    def reached(self) -> frozenset[str]:
        """The names of the goals that were reached."""
        kept = {goal.name for goal in self.goals if goal.name in store().reached(goal.lesson)}
        return frozenset(kept | self._now)

    _now: frozenset[str] = frozenset()

    def attempt(self, goal: Goal) -> None:
        """Try this goal: what it holds is set and locked. Once more: play as you like."""
        self.tried = None if self.tried is goal else goal
        self.explorer.hold(self.tried.hold if self.tried else {})
        self._show()

    def start_again(self) -> None:
        """Nothing reached, the first goal being tried."""
        self._now, self._turned, self.tried = frozenset(), False, None
        self._show()

    def _has_run(self) -> None:
        explorer = self.explorer
        self._turned = self._turned or explorer.values != self._start
        if explorer.trace and self._turned:
            for goal in self.goals:
                if goal.is_reached(explorer.values, explorer.outcome):
                    self._now |= {goal.name}
                    store().reach(goal.lesson, goal.name)
        self._show()

    def about(self) -> str:
        """What is said of the present setting under the goal that is being tried; mostly nothing."""
        explorer, goal = self.explorer, self.tried
        if goal is None or explorer.trace is None or not self._turned:
            return ""
        if goal.is_reached(explorer.values, explorer.outcome):
            return f"{REACHED} Reached. {goal.says}".strip()
        return goal.about(explorer.values, explorer.outcome)

    def _show(self) -> None:
        for goal in self.goals:
            button, tried = self._buttons[goal.name], goal is self.tried
            button.description = "Trying" if tried else "Try it"
            button.button_style = "primary" if tried else ""
            button.tooltip = (
                "Play without this goal" if tried else "What is fixed in this goal is set and locked"
            )
            self._texts[goal.name].value = self._line(goal)
        about = self.about()
        self.said.value = status(paragraph(about)) if about else ""
        self._why.value = box(f"<b>Why.</b> {to_html(self.why)}") if self.why and self._turned else ""

    def _line(self, goal: Goal) -> str:
        mark = REACHED if goal.name in self.reached else OPEN
        star = " <i>(optional)</i>" if goal.optional else ""
        return f"<b>{mark}</b> {to_html(goal.text)}{star}"

    def still(self) -> str:
        """The same as static HTML."""
        lines = "".join(f"<div>{self._line(goal)}</div>" for goal in self.goals)
        why = f"<details><summary>Why</summary>{to_html(self.why)}</details>" if self.why else ""
        return lines + why

    def __repr__(self) -> str:
        marks = (f"{REACHED if g.name in self.reached else OPEN} {g.text}" for g in self.goals)
        return "\n".join([*marks, *filter(None, [self.about()])])


def unknown(name: str, known: Any) -> str:
    """The sentence about a goal that a lesson does not have."""
    return f"this lesson has no goal {escape(name)!r}; it has {', '.join(known) or 'none'}."
