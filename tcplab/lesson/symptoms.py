"""Which lesson do I need? By message, by error number, by phase and by seconds.

symptoms.toml has the messages, the error numbers and the ruler of seconds. `look_up` searches them,
`SearchBox` does so while you type, and `symptom_card` prints all of them on one page:

    python3 -m tcplab.lesson.symptoms notebooks/for_teachers/symptom_card.html
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tcplab.core.text import UNITS_S, in_words, read_number
from tcplab.lesson.course import lessons, links, names, read_table
from tcplab.lesson.displayed import Displayed
from tcplab.lesson.tables import Shown, in_a_box, table, to_html, to_plain

PHASES = {
    "connecting": "while connecting",
    "idle": "after it lay idle",
    "waiting": "while waiting for an answer",
    "sending": "while sending",
    "log": "in the server's log",
}

#: Words of a question that are not part of a message.
STOP_WORDS = frozenset(
    "a after all an and at but by does error errno for from get gets got hangs hung i in is it me my of "  # noqa: SIM905
    "on or our process says that the then time to took tried was we when why with".split()
)
_UNITS = "|".join(sorted(UNITS_S, key=len, reverse=True))
_TIME = re.compile(rf"(?<![\w.,])(?:\d+(?:[.,]\d+)?\s*(?:{_UNITS})\b\s*)+")
_WORD = re.compile(r"[a-z_]{2,}|\d+")


@dataclass(frozen=True)
class Symptom:
    """Messages with the same meaning, and what to do about them."""

    #: Exact texts; `…` stands for what differs.
    texts: tuple[str, ...]
    #: Products that print them.
    who: str
    #: One of `PHASES`.
    phase: str
    #: Linux's error numbers behind them.
    errno: tuple[int, ...]
    #: Lessons by name, the likeliest first; none when it is not TCP.
    lessons: tuple[str, ...]
    #: One sentence, or two.
    cause: str
    #: The first command to run, and where and why.
    first: str
    where: str
    #: How this row was checked.
    checked: str


@dataclass(frozen=True)
class PhaseMark:
    """A place on the ruler of seconds."""

    #: The times; infinite for a wait that never ends.
    at: tuple[float, ...]
    #: True when anything from the first to the last of them counts.
    through: bool
    phase: str
    lessons: tuple[str, ...]
    says: str

    @property
    def label(self) -> str:
        """The times as printed: `1, 3, 7`, `127 to 135`, `never`."""
        if math.isinf(self.at[0]):
            return "never"
        return (" to " if self.through else ", ").join(f"{seconds:g}" for seconds in self.at)

    def fits(self, seconds: float) -> bool:
        """True when a clock may show `seconds` here: up to 5 % and 0.3 s late, at most 1 % early."""
        if self.through:
            return self.at[0] * 0.99 <= seconds <= self.at[-1]
        if math.isinf(seconds):
            return seconds in self.at
        return any(at * 0.99 <= seconds <= at * 1.05 + 0.3 for at in self.at)


@cache
def symptoms() -> tuple[Symptom, ...]:
    """Every row of symptoms.toml."""
    rows: list[dict[str, Any]] = [
        {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
        for row in read_table("symptoms.toml")["symptom"]
    ]
    return tuple(Symptom(**row) for row in rows)


@cache
def errnos() -> dict[int, tuple[str, str]]:
    """Error number -> name and text."""
    return {row["number"]: (row["name"], row["text"]) for row in read_table("symptoms.toml")["errno"]}


@cache
def marks() -> tuple[PhaseMark, ...]:
    """The ruler of seconds, shortest first."""
    return tuple(
        PhaseMark(
            tuple(row["at"]), row.get("through", False), row["phase"], tuple(row["lessons"]), row["says"]
        )
        for row in read_table("symptoms.toml")["mark"]
    )


def times_in(query: str) -> list[float]:
    """Times with a unit in a text, in seconds; `for ever` is infinite."""
    text = query.lower()
    times = [seconds for part in _TIME.findall(text) if (seconds := read_number(part, "s")) is not None]
    return times + [math.inf] * bool(re.search(r"\b(never|for ?ever)\b", text))


def errnos_in(query: str) -> list[int]:
    """Linux's error numbers in a text: `(111)`, `errno 104`, or a bare `99`."""
    numbers = [int(word) for word in re.findall(r"\b\d+\b", _TIME.sub(" ", query.lower()))]
    return list(dict.fromkeys(number for number in numbers if number in errnos()))


def find(query: str, phase: str = "") -> list[Symptom]:
    """The symptoms that match a text, best first; all of a phase when the text is empty.

    An error number in the text rules out the others. With a time in the text, only a symptom that matches
    a real piece of the message counts.
    """
    text = _TIME.sub(" ", _plain(query))
    words = [word for word in _WORD.findall(text) if word not in STOP_WORDS]
    rows = [row for row in symptoms() if not phase or row.phase == phase]
    times, numbers = times_in(query), errnos_in(query)
    if not words:
        return rows if phase and not times else []
    if numbers:
        rows = [row for row in rows if set(numbers) & set(row.errno)]
    scored = [(_score(row, words, " ".join(text.split())), row) for row in rows]
    enough = 1.5 if times else 0.0 if numbers else 0.6
    if times and len(words) < 2:
        return []
    best = max((score for score, _ in scored), default=0)
    ranked = sorted(scored, key=lambda pair: -pair[0])
    return [row for score, row in ranked if score >= max(enough, best / 2)][:5]


def _score(row: Symptom, words: list[str], query: str) -> float:
    """The share of words found in one of the row's texts, and 1 more for a whole phrase."""
    best = 0.0
    for plain in map(_plain, row.texts):
        known = set(_WORD.findall(f"{plain} {row.who.lower()}"))
        known |= {part for number in row.errno for part in (str(number), errnos()[number][0].lower())}
        share = sum(_knows(known, word) for word in words) / len(words)
        phrase = query in plain or any(part in query for part in _parts(plain))
        best = max(best, share + phrase)
    return best


def _plain(text: str) -> str:
    return text.lower().replace("’", "'").replace("timeout", "timed out")


def _knows(known: set[str], word: str) -> bool:
    return word in known or (len(word) >= 4 and any(each.startswith(word) for each in known))


def _parts(text: str) -> list[str]:
    """The parts of a text between its dots that are long enough to recognise."""
    return [part.strip() for part in text.split("…") if len(part.strip()) > 12]


def look_up(query: str, phase: str = "") -> Shown:
    """What a message, an error number or a number of seconds means, which lesson explains it, and
    what to run first: `look_up("2003 (99)")`, `look_up("my connect took 127 s")`.
    """
    seconds = times_in(query)
    on_ruler = [mark for second in seconds for mark in marks() if mark.fits(second)]
    rows = find(query, phase)
    shown: list[Shown] = []
    for number in errnos_in(query):
        name, text = errnos()[number]
        html = f"<p>Error {number} is <b>{name}</b>: “{to_html(text)}”.</p>"
        shown.append(Shown(f"Error {number} is {name}: “{text}”.", html))
    if on_ruler:
        shown.append(_ruler(on_ruler))
    elif seconds:
        sentence = f"No timer that these lessons know takes {_time(seconds[0])}: think of one of your own."
        shown.append(Shown(sentence, f"<p>{to_html(sentence)}</p>"))
    if rows:
        shown.append(_symptoms(rows))
    if not shown:
        sentence = "Nothing found: try a few words of the message, a bare error number or a time like 127 s."
        if not query.strip():
            sentence = "Type a few words of the message, a bare error number, or how long it took: 127 s."
        return in_a_box(sentence)
    return Shown("\n".join(each.plain for each in shown), "".join(each.html for each in shown))


def symptom_table() -> Shown:
    """Every symptom, by phase."""
    return _symptoms(sorted(symptoms(), key=lambda row: list(PHASES).index(row.phase)))


def ruler() -> Shown:
    """Every mark on the ruler of seconds."""
    return _ruler(marks())


def _symptoms(rows: Sequence[Symptom]) -> Shown:
    cells = []
    for row in rows:
        texts = (f'<div style="margin-bottom: 0.5em"><code>{to_html(t)}</code></div>' for t in row.texts)
        first = f"<code>{to_html(row.first)}</code><br>{to_html(row.where)}"
        message = f"{''.join(texts)}<i>{to_html(row.who)}</i>"
        cells.append([message, to_html(PHASES[row.phase]), to_html(row.cause), first, links(row.lessons)])
    html = table(["message", "when", "what it is", "run first", "lesson"], cells)
    return Shown("\n".join(map(_symptom_line, rows)), html)


def _symptom_line(row: Symptom) -> str:
    return (
        f"{' | '.join(row.texts)} ({row.who}; {PHASES[row.phase]}): {to_plain(row.cause)} "
        f"Run first: {row.first} ({row.where}). Lesson: {names(row.lessons)}."
    )


def _ruler(rows: Sequence[PhaseMark]) -> Shown:
    cells = [[to_html(m.label), to_html(PHASES[m.phase]), to_html(m.says), links(m.lessons)] for m in rows]
    html = table(["seconds", "when", "what it is", "lesson"], cells)
    return Shown("\n".join(map(_mark_line, rows)), html)


def _mark_line(mark: PhaseMark) -> str:
    unit = "" if math.isinf(mark.at[0]) else " s"
    return f"{mark.label}{unit} ({PHASES[mark.phase]}): {mark.says} Lesson: {names(mark.lessons)}."


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s"
    return "for ever" if math.isinf(seconds) else in_words(round(seconds))


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
        rows = "".join(_symptom(row) for row in symptoms() if row.phase == phase)
        parts.append(f"<h2>{to_html(words)}</h2>{rows}")
    parts.append("<h2>the ruler of seconds</h2>" + "".join(map(_mark, marks())))
    numbers = " · ".join(f"{number} {name}" for number, (name, _) in errnos().items())
    parts.append(f"<h2>numbers in brackets (Linux)</h2><p>{numbers}</p>")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>tcplab: symptom card</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        "<header><h1>A database connection broke, or hangs</h1>"
        "<p>Three keys: the <b>message</b>, word for word; the <b>phase</b>; the <b>seconds</b> until it "
        "came. At the left stand tcplab's lessons, the likeliest first; — is not TCP.</p></header>\n"
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

    def __init__(self, query: str = "") -> None:
        self._query = query

    def _build(self) -> Any:
        import ipywidgets as widgets

        from tcplab.lesson.form import keyboard_box

        self.query = widgets.Text(
            value=self._query,
            description="Message, error number or seconds:",
            placeholder="Connection reset by peer · 2003 (99) · my connect took 127 s",
            style={"description_width": "initial"},
            layout=widgets.Layout(width="auto", max_width="60em"),
        )
        self.phase = widgets.Dropdown(
            options=[("any time", ""), *((text, phase) for phase, text in PHASES.items())],
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
        self.answer.value = look_up(self.query.value, self.phase.value)._repr_html_()

    def __repr__(self) -> str:
        return "Run this cell to get a box to type into; the whole table stands below."

    def _repr_html_(self) -> str:
        return to_html(repr(self))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(symptom_card(), encoding="utf-8")
