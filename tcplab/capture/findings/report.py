"""A diagnosis as lines of text: the summary, then the connections, worst first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tcplab.capture.findings import CODES, ConnectionFindings, Diagnosis
from tcplab.core.text import plural, seconds

#: More connections than this are counted, not listed.
LISTED = 12
#: Of more frames than this the first ones and the last are listed.
FRAMES = 8


def harmless(text: str) -> str:
    """The text with every character escaped that a terminal could obey."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def diagnosis_lines(
    diagnosis: Diagnosis,
    story: Iterable[str] = (),
    remarks: Callable[[int], Iterable[str]] = lambda number: (),
) -> Iterator[str]:
    """What `tcplab diagnose` prints for one file.

    `story`: what happened and why, a line each; `remarks`: sentences about one connection, by its number.
    """
    listed = sorted((each for each in diagnosis.connections if each.findings or each.warnings), key=_rank)
    silent = len(diagnosis) - len(listed)
    yield (
        f"{harmless(diagnosis.name)}: {plural(diagnosis.packets, 'TCP packet')}, "
        f"{plural(len(diagnosis), 'connection')}."
    )
    yield from map(harmless, filter(None, story))
    for warning in diagnosis.warnings:
        yield f"Note: {harmless(warning)}"
    if len(diagnosis) > 1:
        for code, count in diagnosis.summary.items():
            yield f"  {count:>8,}  {code}"
        yield from [f"  {silent:>8,}  nothing to tell"] if silent else []
    elif silent:
        yield "Nothing to tell: no finding in this connection."
    for connection in listed[:LISTED]:
        yield ""
        yield from _connection_lines(connection, remarks(connection.number))
    if len(listed) > LISTED:
        yield ""
        yield f"{len(listed) - LISTED:,} more connections have findings: --json gives them all."


def _rank(connection: ConnectionFindings) -> int:
    return list(CODES).index(connection.findings[0].code) if connection.findings else len(CODES)


def _connection_lines(connection: ConnectionFindings, remarks: Iterable[str]) -> Iterator[str]:
    service = f" ({connection.service})" if connection.service else ""
    ends = f"{connection.client} → {connection.server}{service}"
    yield f"connection {connection.number}: {ends}, {connection.state}"
    for warning in connection.warnings:
        yield f"  Note: {harmless(warning)}"
    for remark in remarks:
        yield f"  {harmless(remark)}"
    for finding in connection.findings:
        numbers = [str(frame) for frame in finding.frames]
        if len(numbers) > FRAMES:
            numbers = [*numbers[: FRAMES - 1], "…", numbers[-1]]
        word = "frame" if len(numbers) == 1 else "frames"
        yield f"  {seconds(finding.t):.3f} s  {finding.code}: {finding.says}"
        yield f"      {word} {', '.join(numbers)}; lesson {finding.lesson}"
