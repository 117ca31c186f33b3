"""A diagnosis as lines of text: the summary first, then the connections, worst first."""

from __future__ import annotations

from collections.abc import Iterator

from tcplab.capture.findings import CODES, ConnectionFindings, Diagnosis
from tcplab.core.text import seconds

#: More connections than this are counted, not told one by one.
TOLD = 12
#: More frames than this are given by the first and the last.
FRAMES = 8


def harmless(text: str) -> str:
    """The text with every sign escaped that a terminal could obey."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def diagnosis_lines(diagnosis: Diagnosis) -> Iterator[str]:
    """What `tcplab diagnose` prints for one file."""
    shown = sorted((each for each in diagnosis.connections if each.findings), key=_rank)
    silent = len(diagnosis) - len(shown)
    yield (
        f"{harmless(diagnosis.name)}: {diagnosis.packets:,} TCP packet{'s' * (diagnosis.packets != 1)}, "
        f"{len(diagnosis):,} connection{'s' * (len(diagnosis) != 1)}."
    )
    for warning in diagnosis.warnings:
        yield f"Note: {harmless(warning)}"
    if len(diagnosis) > 1:
        for code, count in diagnosis.summary.items():
            yield f"  {count:>8,}  {code}"
        yield from [f"  {silent:>8,}  nothing to tell"] if silent else []
    elif silent:
        yield "Nothing to tell: no finding in this connection."
    for connection in shown[:TOLD]:
        yield ""
        yield from _connection_lines(connection)
    if len(shown) > TOLD:
        yield ""
        yield f"{len(shown) - TOLD:,} more connections have findings: --json gives them all."


def _rank(connection: ConnectionFindings) -> int:
    return list(CODES).index(connection.findings[0].code)


def _connection_lines(connection: ConnectionFindings) -> Iterator[str]:
    service = f" ({connection.service})" if connection.service else ""
    ends = f"{connection.client} → {connection.server}{service}"
    yield f"connection {connection.number}: {ends}, {connection.state}"
    for finding in connection.findings:
        numbers = [str(frame) for frame in finding.frames]
        if len(numbers) > FRAMES:
            numbers = [*numbers[: FRAMES - 1], "…", numbers[-1]]
        word = "frame" if len(numbers) == 1 else "frames"
        yield f"  {seconds(finding.t):.3f} s  {finding.code}: {finding.says}"
        yield f"      {word} {', '.join(numbers)}; lesson {finding.lesson}"
