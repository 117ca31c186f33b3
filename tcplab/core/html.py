"""Pieces of HTML for pictures, widgets and lessons: every argument is escaped, except those named `_html`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from html import escape
from typing import Any


class Displayed:
    """What a notebook shows as a widget where a kernel runs, and as text, HTML or SVG where none does."""

    _widget: Any = None

    def widget(self) -> Any:
        """The widget, made when first wanted: always the same one. A widget returns itself."""
        if self._widget is None:
            self._widget = self._build()
        return self._widget

    def _build(self) -> Any:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        """What stands for the widget; a subclass may have a `_repr_svg_` too."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        widget = self.widget()
        shown: Any = super() if widget is self else widget
        bundle = dict(shown._repr_mimebundle_(**options) or {})
        bundle |= {"text/plain": repr(self), "text/html": self._repr_html_()}
        if draw := getattr(self, "_repr_svg_", None):
            bundle["image/svg+xml"] = draw()
        return bundle


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


def download(name: str, content: bytes, kind: str) -> str:
    """A link that hands a file of this MIME type to the browser: nothing leaves the machine."""
    data = b64encode(content).decode()
    return f'<a download="{escape(name)}" href="data:{kind};base64,{data}">Download {escape(name)}</a>'


def bullets(lines: Iterable[str], css: str = "") -> str:
    """A list; nothing where there is no line."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{css}">{items}</ul>' if items else ""
