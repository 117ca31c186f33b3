"""What a lesson's cells show besides questions and pictures: pages/LESSON.toml.

[goals.NAME]                  # see goals.py
[proofs.RECORDING]            # what its fold has besides both runs
label = "5/1/3"               # which settings, after the version of Linux
line = "…"                    # in place of the computed line, for a capture of a program
notes = ["…"]
connection = 0                # which one of a capture; of a pool: on the wire, too, below its requests
also = ["RECORDING"]          # others in the same fold
[[proofs.RECORDING.articles]] # says, linux, source, and since where it depends on the version
[cases.CAPTURE]               # of the clinic: title; says: who sees what; taken: "on the … host"
packets = [{ connection = 0, since_s = 2, note = "…" }]  # which are shown before the question
[[cases.CAPTURE.articles]]    # in the fold, as those of a proof
[[recognise]]                 # see, means, check; `symptom` of symptoms.toml in place of the last two
[[fix]]                       # where, line, who, when
[fix_more]                    # inequality: the one rule that settings keep; warning
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from typing import Any

from tcplab.lesson.course import lessons, read_table
from tcplab.lesson.tables import Shown, article_says, table, to_html, to_plain

#: Class of what a page's script gives a button that copies it.
COPIED = "tcplab-copied"


@cache
def page_table(lesson: str) -> dict[str, Any]:
    """The file of a lesson; empty where it has none."""
    try:
        return read_table(f"pages/{lesson}.toml")
    except FileNotFoundError:
        return {}


def _rows(columns: Sequence[str], rows: Iterable[Sequence[str]], html: Iterable[Sequence[str]]) -> Shown:
    plain = "\n".join("  ".join(to_plain(cell) for cell in row if cell) for row in rows)
    return Shown(plain, f'<div style="overflow-x: auto">{table(columns, html)}</div>')


def recognise(lesson: str) -> Shown:
    """What one sees at work, what it means, and what tells."""
    known = {row["name"]: row for row in read_table("symptoms.toml")["symptom"]}
    rows = []
    for row in page_table(lesson).get("recognise", ()):
        symptom = known[row["symptom"]] if "symptom" in row else {}
        means, check = row.get("means") or symptom["cause"], row.get("check") or f"`{symptom['first']}`"
        rows.append((row["see"], means, check))
    return _rows(("you see", "it means", "check with"), rows, [tuple(map(to_html, row)) for row in rows])


def fix(lesson: str) -> Shown:
    """Where to set what, who does it and when it counts; each line can be copied."""
    page = page_table(lesson)
    rows = [(row["where"], row["line"], row["who"], row["when"]) for row in page.get("fix", ())]
    cells = [
        (
            to_html(where),
            f'<code class="{COPIED}" style="white-space: pre-wrap">{escape(line)}</code>',
            to_html(who),
            to_html(when),
        )
        for where, line, who, when in rows
    ]
    shown = _rows(("where", "line to paste", "who", "takes effect"), rows, cells)
    more = page.get("fix_more", {})
    for name in ("inequality", "warning"):
        if text := more.get(name):
            mark = "⚠ " * (name == "warning")
            shown = Shown(
                f"{shown.plain}\n{mark}{to_plain(text)}", f"{shown.html}<p>{mark}{to_html(text)}</p>"
            )
    return shown


def proof_texts(lesson: str, recording: str) -> dict[str, Any]:
    """What the file says of a recording; empty where it says nothing."""
    found: dict[str, Any] = page_table(lesson).get("proofs", {}).get(recording, {})
    return found


def articles(texts: dict[str, Any]) -> list[Shown]:
    """*The article says, Linux does*: a box each."""
    return [
        article_says(each["says"], linux=each["linux"], since=each.get("since", ""), source=each["source"])
        for each in texts.get("articles", ())
    ]


def lesson_numbered(number: str) -> str:
    """The name of a lesson by its two digits. Raises `LookupError` in one sentence."""
    for lesson in lessons().values():
        if number in (lesson.number, lesson.name):
            return lesson.name
    known = ", ".join(lesson.number for lesson in lessons().values())
    raise LookupError(f"there is no lesson {number!r}; there are {known}.")
