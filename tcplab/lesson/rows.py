"""Tables in a lesson: rows of sentences, and the same results from several witnesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tcplab.lesson.text import Shown, table, to_html


def as_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Shown:
    """A table of sentences, which may have `code` and **bold** in them."""
    plain = "\n".join("  ".join(row) for row in [columns, *rows])
    return Shown(plain, table(list(columns), [[to_html(cell) for cell in row] for row in rows]))


def side_by_side(witnesses: Mapping[str, Mapping[str, Any]], rows: Mapping[str, str]) -> Shown:
    """Outcomes beside each other, a column for each witness and a row for each result.

    `witnesses`: a heading, and the outcome of a run; `rows`: what the first column says, and the
    result's name there, whose ending gives the unit. Raises `KeyError` for a result that isn't there.
    """
    body = [
        [text, *(in_words(name, outcome[name]) for outcome in witnesses.values())]
        for text, name in rows.items()
    ]
    return as_table(["", *witnesses], body)


def in_words(name: str, value: Any) -> str:
    """A result as a reader wants it: `5.0 s, 6.0 s`, `929.4 s`, `never`, `17`, `100,000`, `none`, `yes`."""
    if isinstance(value, (list, tuple)):
        return ", ".join(in_words(name, each) for each in value) or "none"
    if value is None:
        return "never" if name.endswith("_s") else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_s"):
        return f"{value:.1f} s"
    return f"{value:,}" if isinstance(value, int) else str(value)
