"""One set of controls over several cases of an experiment: a bar for each, on one axis.

    here.cases(ClientGone, rows={"how": ["kill", "vanish"]}, columns={"session": ["running", "sending"]})

Every change runs all cases again. A bar lasts as long as the experiment's answer; the run it begins with is
kept in grey. Goals name results over all cases: `largest lock_held_s`, or `lock_held_s of vanish sending`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import ipywidgets as widgets

from tcplab.bench import run
from tcplab.core.text import SECOND, in_words
from tcplab.core.trace import Answer, Trace
from tcplab.pictures.lanes import AnswerLine, Lane, Span, Timeline
from tcplab.widgets import base
from tcplab.widgets.explorer import NOTHING, Explorer, Needed
from tcplab.widgets.timeline import ShownFrame

#: The share of the axis from which on a bar has its words inside.
WIDE = 0.15
#: The values of one parameter, by its name.
Side = Mapping[str, Sequence[Any]]


def cases_of(rows: Side, columns: Side) -> dict[str, dict[str, Any]]:
    """The parameters that make each case, by the case's name: `vanish sending`.

    Raises `ValueError` in one sentence where a side is not one parameter with its values.
    """
    for name, side in {"rows": rows, "columns": columns}.items():
        if len(side) != 1 or not all(side.values()):
            raise ValueError(f"{name} = {dict(side)} is not one parameter with its values.")
    ((row, its), (column, others)) = (*rows.items(), *columns.items())
    return {f"{a} {b}": {row: a, column: b} for a in its for b in others}


def run_cases(
    experiment_class: Any, cases: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]
) -> dict[str, Trace]:
    """A run of each case with these values besides. Raises `ParameterError` like any run."""
    return {name: run(experiment_class.from_values({**values, **case})) for name, case in cases.items()}


def outcome_of(traces: Mapping[str, Trace]) -> dict[str, Any]:
    """The numbers of all cases under names of their own, and the largest of each. Never is infinite."""
    found: dict[str, Any] = {}
    for case, trace in traces.items():
        for name, value in trace.outcome.items():
            if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
                number = inf if value is None else value
                found[f"{name} of {case}"] = number
                found[f"largest {name}"] = max(number, found.get(f"largest {name}", number))
    return found


class Cases(Explorer):
    """An explorer of several cases at once; its `trace` is that of the worst one, under the shared values."""

    def __init__(
        self,
        experiment_class: Any,
        rows: Side,
        columns: Side,
        needed: Needed = NOTHING,
        /,
        **initial: Any,
    ) -> None:
        self.cases = cases_of(rows, columns)
        self._sides = (*rows, *columns)
        #: The run of each case; empty when there is none.
        self.traces: dict[str, Trace] = {}
        super().__init__(experiment_class, True, needed, **initial)
        base.visible(self.details or self.tabs, False)

    @property
    def outcome(self) -> Mapping[str, Any]:
        """The numbers of all cases, by name and case."""
        return outcome_of(self.traces) if self.trace else {}

    def _head(self) -> widgets.Widget:
        self._presets = {}  # they are about one case
        return super()._head()

    def _rows(self, initial: Mapping[str, Any], needed: Collection[str]) -> tuple[list[str], list[str]]:
        first, rest = super()._rows(initial, needed)
        return [n for n in first if n not in self._sides], [n for n in rest if n not in self._sides]

    def _run(self) -> None:
        experiment = self.experiment_class.from_values(self._values)
        self._values.update(experiment.values())
        traces = run_cases(self.experiment_class, self.cases, self._values)
        now = self._timeline_of(traces, self._values)
        worst = traces[max(traces, key=lambda case: self._lasts(traces[case])[0])]
        self.sentence = now.sentence
        # Kept runs differ by the shared values, not by those of the worst case.
        self._whole = self._excerpt = replace(worst, parameters=dict(self._values))
        self._draw(now)
        self.traces, self.experiment, self.trace = traces, experiment, self._whole

    def _frame_ahead(self, name: str, value: Any) -> ShownFrame | None:
        values = {**self._values, name: value}
        try:
            traces = run_cases(self.experiment_class, self.cases, values)
            return self._frame(self._timeline_of(traces, values), values)
        except Exception:  # the run itself will say why
            return None

    def _moved(self) -> None:
        """There is no one run to follow moment by moment."""

    def _follow(self, seconds: float) -> None:
        """Nor one whose console could be shown."""

    def say(self, sentence: str, **how: Any) -> None:
        super().say(sentence, **how)
        base.visible(self.details or self.tabs, False)

    def refuse(self, why: str) -> None:
        self.traces = {}
        super().refuse(why)

    def _lasts(self, trace: Trace) -> tuple[float, str]:
        """How long this case's answer takes, seconds, and in words; one that never comes is infinite."""
        answer: Answer | None = self.experiment_class.from_values(trace.parameters).answer(trace)
        if answer is None:
            return 0.0, "no answer"
        if answer.end is None:
            return inf, "never"
        seconds = (answer.end - answer.start) / SECOND
        return seconds, in_words(seconds)

    def _timeline_of(self, traces: Mapping[str, Trace], values: Mapping[str, Any]) -> Timeline:
        """All cases as one picture, the longest as its answer."""
        lasts = {case: self._lasts(trace) for case, trace in traces.items()}
        ends = [seconds for seconds, _ in lasts.values() if seconds < inf]
        end = max([*ends, *(self._seen(each) for each in traces.values() if self._lasts(each)[0] == inf)])
        worst = max(lasts, key=lambda case: lasts[case][0])
        longest, words = lasts[worst]
        said = f"all over after {words}" if longest < inf else "one is never over"
        answer = AnswerLine(0.0, None if longest == inf else longest, "", said)
        sentence = f"The longest of {len(traces)} cases is “{_spoken(worst)}”: {words}. " + self._others(
            lasts, worst
        )
        first = next(iter(traces.values()))
        return Timeline(
            name=first.experiment, bench=first.bench, parameters=dict(values),
            lanes=tuple(self._lanes(lasts, end)), breaks=(), answer=answer, flights=(), to_s=end,
            horizon_s=end, log=False, flight_s=0.0, folded="", sentence=sentence.strip(),
        )  # fmt: skip

    def _lanes(self, lasts: Mapping[str, tuple[float, str]], end: float) -> Iterator[Lane]:
        for case, (seconds, words) in lasts.items():
            row, _, _ = case.partition(" ")
            wide = seconds >= end * WIDE
            bar = Span(0.0, min(seconds, end), "works", (words,) * wide)
            after = Span(seconds, end, "closed", (words,) * (not wide))
            spans = (bar, after) if seconds < end else (bar,)
            yield Lane(case, row, _spoken(case), "program", spans)

    @staticmethod
    def _others(lasts: Mapping[str, tuple[float, str]], worst: str) -> str:
        others = (f"“{_spoken(case)}” {words}" for case, (_, words) in lasts.items() if case != worst)
        return f"The others: {', '.join(others)}."

    @staticmethod
    def _seen(trace: Trace) -> float:
        """How long a run was watched, seconds."""
        return (trace.end - trace.watching_since) / SECOND


def _spoken(case: str) -> str:
    row, _, column = case.partition(" ")
    return f"{row}, {column.replace('_', ' ')}"
