"""Text for two readers: HTML in a notebook, plain text everywhere else.

Authors write plain sentences with two kinds of markup, as in Markdown: ``**bold**`` and
```code```. Whatever a learner types goes through the same door and can't become HTML.
"""

from __future__ import annotations

import html
import re

_CODE = re.compile(r"`([^`]+)`")
_BOLD = re.compile(r"\*\*([^*]+)\*\*")

#: JupyterLab's own colours, so that light and dark both work; the second value is for elsewhere.
FRAME = "var(--jp-border-color1, #999)"
FAINT = "var(--jp-layout-color2, rgba(128, 128, 128, 0.12))"


def to_html(text: str) -> str:
    """Escaped text with its markup and line breaks as HTML."""
    escaped = html.escape(text, quote=True)
    parts = _CODE.split(escaped)  # odd parts stood between backticks: no bold in there
    for i, part in enumerate(parts):
        parts[i] = f"<code>{part}</code>" if i % 2 else _BOLD.sub(r"<b>\1</b>", part)
    return "".join(parts).replace("\n", "<br>")


def to_plain(text: str) -> str:
    """The same text without the asterisks; backticks stay, they read well."""
    return _BOLD.sub(r"\1", text)


def box(body: str, *, edge: str = FRAME, role: str = "") -> str:
    """HTML in a quiet frame with a coloured left edge."""
    attribute = f' role="{role}"' if role else ""
    return (
        f'<div{attribute} style="border: 1px solid {FRAME}; border-left: 6px solid {edge}; '
        f'padding: 0.5em 1em; margin: 0.4em 0; max-width: 60em; line-height: 1.5">{body}</div>'
    )


def table(columns: list[str], rows: list[list[str]]) -> str:
    """An HTML table with a header row; cells are HTML already."""
    head = "".join(
        f'<th scope="col" style="text-align: left; padding: 0.3em 0.6em">{to_html(name)}</th>'
        if name
        else "<td></td>"  # the corner above the rows' names heads nothing
        for name in columns
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="text-align: left; vertical-align: top; padding: 0.3em 0.6em">{cell}</td>'
            for cell in row
        )
        + "</tr>"
        for row in rows
    )
    return f'<table style="line-height: 1.4"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


class Shown:
    """Something with a text for the terminal and HTML for the notebook."""

    def __init__(self, plain: str, html: str) -> None:
        self.plain = plain
        self.html = html

    def __repr__(self) -> str:
        return self.plain

    def _repr_html_(self) -> str:
        return self.html
