"""Which lesson do I need? What `search` finds, as a learner reads it.

`look_up` answers a message, an error number or a time, `SearchBox` does so while you type, and
`symptom_card` prints the symptoms and the ruler of seconds on one page:

    python3 -m tcplab.lesson.symptoms notebooks/for_teachers/symptom_card.html
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tcplab.lesson.course import lessons, links, names
from tcplab.lesson.displayed import Displayed
from tcplab.lesson.search import (
    NOT_TCP,
    PHASES,
    SURE,
    LessonAnswer,
    PhaseMark,
    Symptom,
    answer_line,
    answers,
    errnos,
    errnos_in,
    marks,
    one_of_each,
    question,
    seconds_in_words,
    symptoms,
    times_in,
)
from tcplab.lesson.tables import Shown, in_a_box, table, to_html, to_plain

#: The ruler with these seconds pointed at, as HTML: `pictures.timer_race` has one.
RulerPicture = Callable[[Sequence[float]], str]


def _no_picture(_: Sequence[float]) -> str:
    return ""


def look_up(query: str, phase: str = "", picture: RulerPicture = _no_picture) -> Shown:
    """What a message, an error number or a number of seconds means, which lesson explains it, and
    what to run first: `look_up("2003 (99)")`, `look_up("my connect took 127 s")`.
    """
    seconds = times_in(query)
    on_ruler = [mark for second in seconds for mark in marks() if mark.fits(second)]
    found = answers(query, phase)
    shown: list[Shown] = []
    for number in errnos_in(query):
        name, text = errnos()[number]
        html = f"<p>Error {number} is <b>{name}</b>: “{to_html(text)}”.</p>"
        shown.append(Shown(f"Error {number} is {name}: “{text}”.", html))
    if found:
        shown.append(_answers(found))
    elif not query.strip() and phase:
        shown.append(_symptoms([row for row in symptoms() if row.phase == phase]))
    if on_ruler:
        shown.append(_ruler(on_ruler, picture(seconds)))
    elif seconds:
        time = seconds_in_words(seconds[0])
        sentence = f"No timer in these lessons takes {time}: think of one in your own system."
        shown.append(Shown(sentence, f"<p>{to_html(sentence)}</p>{picture(seconds)}"))
    if not shown:
        sentence = "Nothing found: try a few words of the message, a bare error number or a time like 127 s."
        if not query.strip():
            sentence = "Type a few words of the message, a bare error number, or how long it took: 127 s."
        return in_a_box(sentence)
    return Shown("\n".join(each.plain for each in shown), "".join(each.html for each in shown))


def _answers(found: Sequence[LessonAnswer]) -> Shown:
    """Ranked lessons with their reasons, and the question that separates the best two."""
    cells, plain = [], []
    for number, answer in enumerate(one_of_each(found), 1):
        named = [each.lesson for each in found if each.says == answer.says and each.lesson != NOT_TCP]
        sure = "<b>sure</b>" if answer.confidence >= SURE else "perhaps"
        says = f"{to_html(answer.says)}<br><i>Because: {to_html(answer.because)}.</i>"
        command = f"<code>{to_html(answer.first_command)}</code>"
        cells.append([sure, links(named) if named else "not TCP", says, command])
        plain.append(f"{number}. {to_plain(answer_line(answer, named))}")
    html = table(["", "lesson", "what it is", "run first"], cells)
    if ask := question(found):
        plain.append(f"To tell them apart: {to_plain(ask)}")
        html += f"<p>To tell them apart: {to_html(ask)}</p>"
    return Shown("\n".join(plain), html)


def symptom_table() -> Shown:
    """Every symptom, by phase."""
    rows = [row for row in symptoms() if row.texts]
    return _symptoms(sorted(rows, key=lambda row: list(PHASES).index(row.phase)))


def ruler(picture: RulerPicture = _no_picture) -> Shown:
    """Every mark on the ruler of seconds, below its picture."""
    return _ruler(marks(), picture(()))


def _symptoms(rows: Sequence[Symptom]) -> Shown:
    cells = []
    for row in rows:
        texts = (f'<div style="margin-bottom: 0.5em"><code>{to_html(t)}</code></div>' for t in row.texts)
        first = f"<code>{to_html(row.first)}</code><br>{to_html(row.where)}"
        message = f"{''.join(texts)}<i>{to_html(row.who)}</i>"
        cells.append([message, to_html(PHASES[row.phase]), to_html(row.cause), first, links(row.lessons)])
    html = table(["message", "when", "what it is", "run first", "lesson"], cells)
    return Shown("\n".join(map(_symptom_line, rows)), f'<div style="overflow-x: auto">{html}</div>')


def _symptom_line(row: Symptom) -> str:
    return (
        f"{' | '.join(row.texts)} ({row.who}; {PHASES[row.phase]}): {to_plain(row.cause)} "
        f"Run first: {row.first} ({row.where}). Lesson: {names(row.lessons)}."
    )


def _ruler(rows: Sequence[PhaseMark], picture: str) -> Shown:
    cells = [[to_html(m.label), to_html(PHASES[m.phase]), to_html(m.says), links(m.lessons)] for m in rows]
    html = table(["seconds", "when", "what it is", "lesson"], cells)
    return Shown("\n".join(map(_mark_line, rows)), picture + html)


def _mark_line(mark: PhaseMark) -> str:
    unit = "" if math.isinf(mark.at[0]) else " s"
    return f"{mark.label}{unit} ({PHASES[mark.phase]}): {mark.says} Lesson: {names(mark.lessons)}."


#: How many messages of a row the card has room for; the start page has them all.
MESSAGES = 2

_STYLE = """
@page { size: A4 portrait; margin: 8mm 9mm; }
* { box-sizing: border-box; }
body { margin: 1rem auto; max-width: 192mm; color: #000; background: #fff;
  font: 6.9pt/1.2 "DejaVu Sans Condensed", "Arial Narrow", Arial, "Liberation Sans", sans-serif; }
header { border-bottom: 1.5pt solid #000; margin-bottom: 1.5mm; padding-bottom: 0.8mm; }
h1 { font-size: 12.5pt; line-height: 1.2; margin: 0; }
h2 { font-size: 8.5pt; margin: 1.4mm 0 0.5mm; padding: 0.2mm 1mm; background: #ddd; break-after: avoid;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
p { margin: 0; }
.columns { columns: 2; column-gap: 5mm; }
.row { break-inside: avoid; border-bottom: 0.4pt solid #999; padding: 0.45mm 0 0.45mm 7mm;
  position: relative; }
.row > b:first-child { position: absolute; left: 0; width: 6.4mm; line-height: 1.1; }
code { font-family: "DejaVu Sans Mono", "Liberation Mono", monospace; font-size: 6pt;
  overflow-wrap: anywhere; }
.says { font-weight: 700; }
.run { padding-left: 1.6em; text-indent: -1.6em; }
.run::before { content: "▸ run: "; font-weight: 700; }
@media screen { body { font-size: 11pt; max-width: 62rem; padding: 0 1rem; } code { font-size: 9.5pt; } }
@media print { body { margin: 0; max-width: none; } }
"""


def symptom_card() -> str:
    """A whole HTML page that needs no other file; printed, it is one page of A4."""
    parts = []
    for phase, words in PHASES.items():
        rows = "".join(_symptom(row) for row in symptoms() if row.phase == phase and row.texts)
        if rows:
            parts.append(f"<h2>{to_html(words)}</h2>{rows}")
    parts.append("<h2>the ruler of seconds</h2>" + "".join(map(_mark, marks())))
    numbers = " · ".join(f"{number} {name}" for number, (name, _) in errnos().items())
    parts.append(f"<h2>numbers in brackets (Linux)</h2><p>{numbers}</p>")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>tcplab: symptom card</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        "<header><h1>A database connection broke, or hangs</h1>"
        "<p>Three keys: the <b>message</b>, word for word; the <b>phase</b>; the <b>seconds</b> until it "
        "came. On the left are tcplab's lessons, the likeliest first; — is not TCP.</p></header>\n"
        f'<div class="columns">\n{chr(10).join(parts)}\n</div>\n</body>\n</html>\n'
    )


def _symptom(row: Symptom) -> str:
    said = " · ".join(f'<code class="says">{to_html(text)}</code>' for text in row.texts[:MESSAGES])
    more = " …" if len(row.texts) > MESSAGES else ""
    return (
        f'<div class="row"><b>{_numbers(row.lessons)}</b><p>{said}{more}</p>'
        f'<p>{to_html(_first(row.cause))}</p><p class="run"><code>{to_html(row.first)}</code></p></div>\n'
    )


def _mark(mark: PhaseMark) -> str:
    unit = "" if mark.label == "never" else " s"
    return (
        f'<div class="row"><b>{_numbers(mark.lessons)}</b>'
        f'<p><span class="says">{to_html(mark.label)}{unit}</span> {to_html(_first(mark.says))}</p></div>\n'
    )


def _first(sentences: str) -> str:
    """The first one, which is the most important; the start page has the others."""
    return re.split(r"(?<=[.!?]) +(?=[A-Z“])", sentences, maxsplit=1)[0]


def _numbers(names: tuple[str, ...]) -> str:
    return " ".join(lessons()[name].number for name in names) or "—"


class SearchBox(Displayed):
    """Type a message, an error number or a time; the answer is updated with every key."""

    def __init__(self, query: str = "", picture: RulerPicture = _no_picture) -> None:
        self._query, self._picture = query, picture

    def _build(self) -> Any:
        import ipywidgets as widgets

        from tcplab.lesson.form import keyboard_box

        self.query = widgets.Text(
            value=self._query,
            description="Message, error number or seconds:",
            placeholder="2003 (99) · took 127 s",
            style={"description_width": "initial"},
            layout=widgets.Layout(width="auto", max_width="60em"),
        )
        self.phase = widgets.Dropdown(
            options=[("any time", ""), *((text, phase) for phase, text in PHASES.items() if phase != "any")],
            description="When it happened:",
            style={"description_width": "initial"},
            layout=widgets.Layout(width="24em"),
        )
        self.answer = widgets.HTML()
        for entry in (self.query, self.phase):
            entry.observe(self._search, "value")
        self._search()
        return keyboard_box([self.query, self.phase, self.answer])

    def _search(self, _: Any = None) -> None:
        self.answer.value = look_up(self.query.value, self.phase.value, self._picture).html

    def __repr__(self) -> str:
        return "Run this cell to get a field to type into; the whole table is below."

    def _repr_html_(self) -> str:
        return to_html(repr(self))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(symptom_card(), encoding="utf-8")
