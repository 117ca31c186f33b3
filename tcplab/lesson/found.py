"""A diagnosis as a table for a learner: what was found, in which frames, and which lesson explains it."""

from __future__ import annotations

from typing import Any

from tcplab.lesson.course import lessons
from tcplab.lesson.text import Shown, table, to_html

#: More frames than this are given by the first and the last.
FRAMES = 6


def found(diagnosis: Any, *numbers: int) -> Shown:
    """What `tcplab.diagnose` found, a row for each finding.

    `numbers`: of those connections only, counted from 0. A diagnosis without any finding gets a
    sentence that says so.
    """
    by_file = {lesson.notebook.removesuffix(".ipynb"): lesson for lesson in lessons().values()}
    rows, lines = [], []
    for connection in diagnosis.connections:
        if numbers and connection.number not in numbers:
            continue
        for finding in connection.findings:
            when, frames = f"{finding.t / 1e9:.1f} s", _frames(finding.frames)
            lesson = by_file[finding.lesson]
            lines.append(f"{connection.number}  {when}  {finding.code}: {finding.says} (frames {frames})")
            code = f"<code>{to_html(finding.code)}</code>"
            at = when.replace(" ", "\u00a0")
            rows.append([str(connection.number), at, code, to_html(finding.says), frames, lesson.link()])
    if not rows:
        sentence = "Nothing to tell: no finding in these connections."
        return Shown(sentence, f"<p>{sentence}</p>")
    columns = ["connection", "at", "finding", "in words", "frames", "lesson"]
    return Shown("\n".join(lines), table(columns, rows))


def _frames(frames: tuple[int, ...]) -> str:
    numbers = [str(frame) for frame in frames]
    if len(numbers) > FRAMES:
        numbers = [*numbers[: FRAMES - 2], "…", numbers[-1]]
    return ", ".join(numbers)
