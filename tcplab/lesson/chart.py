"""A captured connection as a table without comment: what one has before one knows what it means."""

from __future__ import annotations

import math
from typing import Any

from tcplab.lesson.text import Shown, to_html

FLAGS = {"S": "SYN", "F": "FIN", "R": "RST", "P": "PSH", "A": "ACK"}
COLUMNS = ("no.", "at", "later by", "from → to", "flags", "seq", "ack", "bytes", "window")


def chart(trace: Any, since_s: float = 0, until_s: float = math.inf) -> Shown:
    """The segments of a trace, a row each, and not a word about what they are.

    Times are seconds: from the first segment, and since the one before; only segments between `since_s`
    and `until_s` are shown. Numbers count from the beginning of each direction, as in Wireshark.
    """
    rows, before = [], 0.0
    numbered = zip(trace.passages, trace.relative(), strict=True)
    for number, (passage, relative) in enumerate(numbered, 1):
        segment, at = passage.segment, trace.seconds(passage.t)
        gap, before = at - before, at
        if not since_s <= at <= until_s:
            continue
        rows.append(
            [
                str(number),
                f"{at:.3f}",
                _gap(gap),
                f"{passage.sender} → {passage.receiver}",
                ", ".join(name for letter, name in FLAGS.items() if letter in segment.letters),
                str(relative.seq),
                str(relative.ack) if "A" in segment.letters else "",
                str(segment.length),
                f"{segment.window:,}",
            ]
        )
    plain = "\n".join("  ".join(row) for row in [COLUMNS, *rows])
    return Shown(plain, _table(rows))


def _table(rows: list[list[str]]) -> str:
    """Lean, as there are many cells: one style for all of them, which also holds inside a widget."""
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    body = "".join(f"<tr>{''.join(f'<td>{to_html(cell)}</td>' for cell in row)}</tr>" for row in rows)
    style = 'cellpadding="4" style="text-align: right; line-height: 1.2"'
    return f"<table {style}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _gap(seconds: float) -> str:
    """A silence of a second or more stands out."""
    return f"**{seconds:.1f}**" if seconds >= 1 else f"{seconds:.3f}"
