"""What a diagnosis has, to choose from: a summary by finding, filters, connections, worst first."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from tcplab.view.replay_findings import lesson_of

if TYPE_CHECKING:
    from tcplab.capture.findings import ConnectionFindings, Diagnosis

#: Connections that a list holds at most; filters reach the others.
LISTED = 300
#: Filters beside the codes of findings.
ALL, WITH, WITHOUT = "", "*", "-"


def worst_first(diagnosis: Diagnosis) -> list[ConnectionFindings]:
    """Connections by their worst finding, then by their number."""
    from tcplab.capture.findings import CODES

    rank = {code: i for i, code in enumerate(CODES)}
    last = len(rank)
    return sorted(
        diagnosis.connections,
        key=lambda each: rank[each.findings[0].code] if each.findings else last,
    )


def headline(diagnosis: Diagnosis) -> str:
    """``big.pcap: 120,000 TCP packets, 1,204 connections: 3 reset, 1 dead, 1,200 closed.``"""
    packets, count = diagnosis.packets, len(diagnosis)
    states: dict[str, int] = {}
    for connection in diagnosis.connections:
        states[connection.state] = states.get(connection.state, 0) + 1
    told = ", ".join(f"{states[state]:,} {state}" for state in _STATES if state in states)
    return (
        f"{diagnosis.name}: {packets:,} TCP packet{'s' * (packets != 1)}, "
        f"{count:,} connection{'s' * (count != 1)}" + (f": {told}." if told else ".")
    )


#: States as `ConnectionFindings.state` has them, worst first.
_STATES = ("dead", "unanswered", "refused", "reset", "closing", "open", "closed")


def summary_table(diagnosis: Diagnosis) -> str:
    """How many connections show each finding, with the lesson that explains it, as HTML."""
    if not diagnosis.summary:
        return "<p>Nothing to tell: no finding in any connection.</p>"
    rows = []
    first = {f.code: f for each in reversed(diagnosis.connections) for f in each.findings}
    for code, count in diagnosis.summary.items():
        lesson = lesson_of(first[code])
        link = lesson.link() if lesson else ""
        rows.append(
            f'<tr><th scope="row">{escape(code)}</th><td class="n">{count:,}</td><td>{link}</td></tr>'
        )
    return (
        '<table class="tcplab-table"><caption>findings, worst first</caption><thead><tr>'
        '<th scope="col">finding</th><th scope="col">connections</th><th scope="col">explained in</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def filters(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """What one can look for: (text, filter) each."""
    found = sum(bool(each.findings) for each in diagnosis.connections)
    made = [(f"all connections ({len(diagnosis):,})", ALL), (f"with any finding ({found:,})", WITH)]
    made += [(f"{code} ({count:,})", code) for code, count in diagnosis.summary.items()]
    made.append((f"without a finding ({len(diagnosis) - found:,})", WITHOUT))
    return made


def chosen(connections: list[ConnectionFindings], wanted: str, text: str) -> Iterator[ConnectionFindings]:
    """Those that a filter lets through and that have a text in their addresses, ports or service."""
    text = text.strip().lower()
    for each in connections:
        codes = {finding.code for finding in each.findings}
        passes = {ALL: True, WITH: bool(codes), WITHOUT: not codes}.get(wanted, wanted in codes)
        if passes and text in f"{each.client} {each.server} {each.service or ''}".lower():
            yield each


def line(connection: ConnectionFindings) -> str:
    """One connection in a list."""
    service = f" ({connection.service})" if connection.service else ""
    codes = ", ".join(dict.fromkeys(finding.code for finding in connection.findings)) or "nothing to tell"
    ends = f"{connection.client} → {connection.server}{service}"
    return f"{connection.number}: {ends}, {connection.state}: {codes}"
