"""Findings of one connection when nothing but its trace is there, and the verdicts on its RSTs."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from tcplab.lesson.course import Lesson, lessons
from tcplab.trace import Trace

if TYPE_CHECKING:
    from tcplab.capture.findings.story import Finding, Story


def story_of(trace: Trace) -> Story | None:
    """A captured connection as the findings look at it, its frames counted from 1.

    None without a segment, and in a browser's Python: findings need NumPy.
    """
    try:
        from tcplab.capture.findings.story import Story
    except ImportError:
        return None
    if not trace.passages:
        return None
    first = trace.passages[0].segment
    from_client = trace.passages[0].sender == "client"
    ends = (first.source, first.destination) if from_client else (first.destination, first.source)
    frames = list(range(1, len(trace.passages) + 1))
    carried = any(p.segment.length for p in trace.passages)
    return Story(*ends, trace.passages, frames, trace.end, carried)


def findings_of(trace: Trace) -> list[Finding]:
    """What `diagnose` finds in this connection, by itself: its capture's other connections are unknown.

    Its frames are places among the connection's segments, from 1.
    """
    story = story_of(trace)
    if story is None:
        return []
    from tcplab.capture.findings import CODES

    return [replace(finding, lesson=lesson) for find, lesson in CODES.values() for finding in find(story)]


def verdicts(trace: Trace) -> dict[int, str]:
    """What became of each RST, by its place among the passages."""
    story = story_of(trace)
    if story is None:
        return {}
    from tcplab.capture.findings.ending import resets

    return {each.place: each.verdict for each in resets(story)}


def lesson_of(finding: Finding) -> Lesson | None:
    """The lesson that explains a finding: `Finding.lesson` is its notebook without the ending."""
    return _by_notebook().get(f"{finding.lesson}.ipynb")


@cache
def _by_notebook() -> dict[str, Lesson]:
    return {lesson.notebook: lesson for lesson in lessons().values()}
