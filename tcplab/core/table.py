"""Tables: the only place that turns rows of cells into HTML or into lines of plain text.

A cell is a text, which is escaped in HTML, `Markup`, which is HTML already, or a `Cell`. Every
heading has a scope, so that a screen reader names the row and the column of a cell.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape
from itertools import zip_longest
from typing import NamedTuple


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


class Cell(NamedTuple):
    """A cell that differs from the others of its column: ``Cell("5 s", 'class="wins"')``."""

    text: str
    attributes: str = ""
    #: `th` or `td`; empty: as in the other rows.
    tag: str = ""


def html_table(
    headings: Sequence[str],
    rows: Iterable[Iterable[str | Cell]],
    *,
    caption: str = "",
    row_headings: bool = False,
    numeric: Collection[int] = (),
    classes: str = "tcplab-table",
    attributes: str = "",
    heading_attributes: str = "",
    cell_attributes: str = "",
) -> str:
    """An HTML table: caption, a heading for each column, and the rows.

    `row_headings`: the first cell of a row names it. `numeric`: the columns that are aligned right
    (class `n`). The attributes of the table, its headings and its cells are HTML, such as ``style="…"``
    where no style sheet applies.
    """

    def opening(tag: str, column: int, more: str) -> str:
        return " ".join(filter(None, (f"<{tag}", more, 'class="n"' if column in numeric else ""))) + ">"

    def cells(row: Iterable[str | Cell]) -> str:
        made = []
        for i, cell in enumerate(row):
            if i == len(starts):
                starts.append((opening("td", i, cell_attributes), "td"))
            start, tag = starts[i]
            if isinstance(cell, Cell):
                tag = cell.tag or tag
                scope = 'scope="row"' if tag == "th" else ""
                start = f"<{' '.join(filter(None, (tag, scope, cell.attributes)))}>"
                cell = cell.text
            made.append(f"{start}{_html(cell)}</{tag}>")
        return f"<tr>{''.join(made)}</tr>"

    starts = [(opening("th", 0, 'scope="row"'), "th")] if row_headings else []
    scope = f'scope="col" {heading_attributes}'.strip()
    # The corner above the rows' names may be empty; then it is not a heading.
    top = "".join(
        f"{opening('th', i, scope)}{_html(text)}</th>" if text else "<td></td>"
        for i, text in enumerate(headings)
    )
    table = " ".join(filter(None, ("<table", f'class="{classes}"' if classes else "", attributes)))
    above = f"<caption>{_html(caption)}</caption>" if caption else ""
    head = f"<thead><tr>{top}</tr></thead>" if top else ""
    return f"{table}>{above}{head}<tbody>{''.join(map(cells, rows))}</tbody></table>"


def _html(text: str) -> str:
    return text if isinstance(text, Markup) else escape(text)


def text_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Collection[int] = ()
) -> list[str]:
    """The same as lines of plain text: columns two blanks apart, numeric ones aligned right.

    A cell may have several lines.
    """
    lines: list[tuple[str, ...]] = []
    for row in ([headings] if headings else []) + list(rows):
        lines += zip_longest(*(cell.split("\n") for cell in row), fillvalue="")
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i in numeric else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
