"""A trace's segments as a table of text: for reading line by line, for a screen reader, for copying."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tcplab.segment import ACK
from tcplab.trace import Trace, duration
from tcplab.view.overlay import Beside
from tcplab.view.words import words

_HEADINGS = ("no.", "sent", "arrives", "from → to", "flags", "seq", "ack", "len", "window", "what")
#: Columns of numbers stand right.
_NUMBERS = {"no.", "sent", "arrives", "seq", "ack", "len", "window"}


def rows(trace: Trace) -> list[tuple[str, ...]]:
    """One row of texts per segment, in the order of the headings: seconds from the first segment,
    sequence numbers relative as Wireshark counts them."""
    made: list[tuple[str, ...]] = []
    numbered = zip(trace.passages, trace.relative(), words(trace), strict=True)
    for number, (passage, now, said) in enumerate(numbered, 1):
        segment = passage.segment
        verdict = f"RST {passage.verdict}" if passage.verdict and passage.verdict not in said.fate else ""
        made.append(
            (
                str(number),
                f"{trace.seconds(passage.t):.6f}",
                "" if passage.arrives is None else f"+{duration(passage.arrives - passage.t)}",
                f"{passage.sender} → {passage.receiver}",
                said.flags,
                str(now.seq),
                str(now.ack) if segment.flags & ACK else "",
                str(segment.length),
                str(segment.window),
                ", ".join(part for part in (said.name, said.fate, verdict) if part),
            )
        )
    return made


def table(trace: Trace, beside: Sequence[Beside] = ()) -> str:
    """The same as an HTML table with headings for columns and rows; every text is escaped.

    `beside`: for every passage what the other witness says of it (see `overlay.py`), as one more column.
    """
    if not trace.passages:
        return "<p>Not one segment was sent.</p>"
    headings = (*_HEADINGS, *(["Linux"] if beside else []))
    css = ['class="n"' if heading in _NUMBERS else "" for heading in headings]
    head = "".join(f'<th scope="col" {css[i]}>{escape(text)}</th>' for i, text in enumerate(headings))
    body = []
    says = [[each.says] for each in beside] or [[]] * len(trace.passages)
    for (number, *own), more in zip(rows(trace), says, strict=True):
        texts = [*own, *more]
        cells = "".join(f"<td {css[i]}>{escape(text)}</td>" for i, text in enumerate(texts, 1))
        body.append(f'<tr><th scope="row" class="n">{number}</th>{cells}</tr>')
    caption = f"{len(body)} segments; times in seconds from the first, numbers relative as in Wireshark"
    return (
        f'<table class="tcplab-table"><caption>{caption}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    )
