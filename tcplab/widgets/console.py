"""The box for a pasted console: at once what it means, the lines that show it, what to do, and the lesson.

The text goes to the notebook's kernel and no further; none of it is run. In Python the same is

    form = tcplab.console("LISTEN 129 128 0.0.0.0:5432 0.0.0.0:*")
    form.explanation.verdicts[0].code
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any

import ipywidgets as widgets

from tcplab.console.verdicts import ConsoleVerdict, Explanation, examples, explain, where
from tcplab.core.text import paragraph, plural, terminal
from tcplab.lesson.course import lessons
from tcplab.widgets.base import Fold, Shell, in_row, labelled, titled

_ASK = "Paste the output of a command: ss -tanoi shows the most."
_PLACEHOLDER = (
    "$ ss -tanoi\n… or netstat, nstat, sysctl, pg_stat_activity, SHOW PROCESSLIST, dmesg: one after the other"
)
_ABOUT = "The text stays in this notebook's kernel: it is not sent anywhere, and none of it is run."
#: Wide columns, of which a quoted line needs no more than two blanks.
_GAP = re.compile(r"\s{3,}")
_NO_EXAMPLE = "an example"


class PasteForm(Shell):
    """A box to paste into, one for a second output, and what both mean."""

    subject = "this text"
    styles = ("console.css",)

    def __init__(self, first: str = "", second: str = "") -> None:
        super().__init__("tcplab-paste-form")
        #: What the paste means; None while nothing is pasted or understood.
        self.explanation: Explanation | None = None
        self.first = _box("the output of a command", 8, _PLACEHOLDER)
        self.second = _box(
            "the same command again", 5, "the same output, taken some seconds later, with `date` before each"
        )
        names = [_NO_EXAMPLE, *examples()]
        self.example = labelled(widgets.Dropdown(options=names, description="or take"))
        self.verdicts = widgets.HTML()
        with self.quietly():
            self.first.value, self.second.value = first, second
        for box in (self.first, self.second):
            self.react(box, lambda _: self._typed())
        self.react(self.example, self._use)
        again = Fold("A second output, to see what grows", self.second)
        again.opened = bool(second)
        heading = widgets.HTML("<h3>Paste what you have</h3>")
        about = widgets.HTML(paragraph(_ABOUT, "tcplab-where"))
        self.build(in_row(heading, self.example), self.first, again, about, self.status, self.verdicts)
        self.update()

    def _typed(self) -> None:
        with self.quietly():
            self.example.value = _NO_EXAMPLE
        self.update()

    def _use(self, name: str) -> None:
        if name in examples():
            with self.quietly():
                self.first.value, self.second.value = examples()[name], ""
            self.update()

    def update(self) -> None:
        """Read both boxes again and say what they mean."""
        self.guard(self._explain)

    def _explain(self) -> None:
        texts = [box.value for box in (self.first, self.second) if box.value.strip()]
        if not texts:
            self.explanation, self.verdicts.value = None, ""
            self.say(_ASK)
            return
        found = explain(*texts)
        self.explanation = found
        self.verdicts.value = "".join(_html(found))
        self.say(_headline(found), notes=[found.rest] if found.rest else ())

    def refuse(self, why: str) -> None:
        self.explanation, self.verdicts.value = None, ""
        super().refuse(why)

    def _repr_html_(self) -> str:
        return f"<p><b>Paste what you have</b></p>{self.status.value}{self.verdicts.value}"


def _box(name: str, rows: int, placeholder: str) -> Any:
    box = titled(widgets.Textarea(description=name, rows=rows, placeholder=placeholder))
    return box.add_class("tcplab-wide").add_class("tcplab-code")


def _headline(found: Explanation) -> str:
    """How many findings, and their titles."""
    worst, count = found.verdicts[0], len(found.verdicts)
    if worst.code == "healthy":
        return worst.says
    titles = "; ".join(verdict.title for verdict in found.verdicts)
    return f"{plural(count, 'finding')}{', the worst first' if count > 1 else ''}: {titles}."


def _html(found: Explanation) -> Iterator[str]:
    for place, verdict in enumerate((each for each in found.verdicts if each.code != "healthy"), 1):
        yield _finding(place, verdict)


def _finding(place: int, verdict: ConsoleVerdict) -> str:
    quoted = "\n".join(f"{where(quote)}: {_GAP.sub('  ', quote.text)}" for quote in verdict.evidence)
    more = verdict.lines - len(verdict.evidence)
    quoted += f"\n… and {plural(more, 'line')} more" if more > 0 else ""
    evidence = terminal(f"lines that show it: {verdict.title}", escape(quoted))
    lesson = lessons().get(verdict.lesson)
    link = f" Lesson: {lesson.link()}." if lesson else ""
    return (
        f'<div class="tcplab-finding"><h4>{place}. {escape(verdict.title)}</h4>'
        f"<p>{escape(verdict.sentence)}</p>{evidence}"
        f"<p><b>What to do:</b> {escape(verdict.fix)}{link}</p></div>"
    )


def console(first: str = "", second: str = "") -> PasteForm:
    """A box for a pasted console; what is given is read at once, `second` as taken some seconds later."""
    return PasteForm(first, second)
