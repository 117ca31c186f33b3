"""Pieces of HTML for pictures, widgets and lessons: every argument is escaped, except those named `_html`."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def paragraph(text: str, css: str = "") -> str:
    """A paragraph."""
    return f'<p class="{css}">{escape(text)}</p>'


def status(body_html: str, *, wrong: bool = False) -> str:
    """A sentence that a screen reader says as soon as it changes."""
    css = "tcplab-sentence wrong" if wrong else "tcplab-sentence"
    return f'<div class="{css}" role="status" aria-live="polite">{body_html}</div>'


def scrolled(content_html: str, name: str) -> str:
    """A region that the keyboard reaches and scrolls."""
    label = escape(name)
    return f'<div class="tcplab-scroll" tabindex="0" role="region" aria-label="{label}">{content_html}</div>'


def terminal(name: str, content_html: str) -> str:
    """What a terminal shows, in a region that the keyboard reaches."""
    return f'<pre class="tcplab-console" tabindex="0" aria-label="{escape(name)}">{content_html}</pre>'


def to_paste(place: str, text: str) -> str:
    """Settings in a box to copy from; `place` says where they belong."""
    return (
        f'<textarea class="tcplab-paste" readonly rows="{text.count(chr(10))}" spellcheck="false" '
        f'aria-label="settings to paste: {escape(place)}">{escape(text)}</textarea>'
    )


def bullets(lines: Iterable[str], css: str = "") -> str:
    """A list; nothing where there is no line."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{css}">{items}</ul>' if items else ""
