"""What ICMP errors add to the findings: who said what about a connection whose segments went unanswered.

Linux fails a connect() at once for nearly all of them, and keeps a connection that is established in spite
of all of them (net/ipv4/tcp_ipv4.c:tcp_v4_err, net/ipv4/icmp.c:icmp_err_convert).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tcplab.capture.connections import first_of
from tcplab.capture.findings.story import Finding, Story, times
from tcplab.capture.icmp import HOST, LATE, NETWORK, PORT, PROHIBITED, TOO_BIG, Quote
from tcplab.capture.reading import Capture
from tcplab.segment import Endpoint

#: Somebody does not want this connection; or nobody is there. Codes that an error can explain.
REFUSALS, ABSENCES = (PORT, PROHIBITED), (HOST, NETWORK, LATE)
SYN_CODES = ("refused", "unanswered_syn")
CODES = (*SYN_CODES, "dead_peer", "keepalive_death", "idle_then_dead", "retransmission")
#: What the program that called connect() is told.
TOLD = {PORT: "Connection refused", HOST: "No route to host", NETWORK: "Network is unreachable"}


def errors(capture: Capture) -> dict[int, list[Quote]]:
    """By connection, what was said of its segments; of several on one four-tuple the last that had begun."""
    table = capture.table
    if not table.quotes:
        return {}
    began = table.t[first_of(table.connection, len(capture.connections))].tolist()
    of_pair: dict[frozenset[Endpoint], list[int]] = {}
    for i, pair in enumerate(capture.connections):
        of_pair.setdefault(frozenset(pair), []).append(i)
    found: dict[int, list[Quote]] = {}
    for quote in table.quotes:
        there = of_pair.get(frozenset((quote.source, quote.destination)), [])
        before = [i for i in there if began[i] <= quote.t] or there[:1]
        if before:
            found.setdefault(before[-1], []).append(quote)
    return found


def about_syn(story: Story, said: Sequence[str]) -> Quote | None:
    """The first error of these that was said of the client's segments."""
    return next((each for each in story.errors if each.source == story.client and each.says in said), None)


def explained(finding: Finding, story: Story) -> Finding:
    """The finding with what was said of the segments that it is about: facts `icmp`, `icmp_from`, …."""
    if finding.code not in CODES:
        return finding
    end = {"client": story.client, "server": story.server}[finding.facts.get("side", "client")]
    again = finding.code == "retransmission"  # it begins when data is sent again: the reason came before
    said = [
        each for each in story.errors
        if each.source == end and (each.says == TOO_BIG if again else each.t >= finding.t)
    ]  # fmt: skip
    if not said:
        return finding
    last = said[-1]
    same = [each for each in said if (each.says, each.sender) == (last.says, last.sender)]
    facts: dict[str, Any] = {
        "icmp": last.says,
        "icmp_from": last.sender,
        "icmp_frames": [each.frame for each in same],
    }
    if last.mtu:
        facts["mtu"] = last.mtu
    way = f"{last.sender} said {times(len(same))} by ICMP: {last.says}{_meaning(finding, last)}."
    return replace(finding, says=f"{finding.says} {way}", facts={**finding.facts, **facts})


def _meaning(finding: Finding, error: Quote) -> str:
    if error.says == TOO_BIG:
        size = f"packets of more than {error.mtu:,} bytes" if error.mtu else "packets of this size"
        return f"; {size} don't fit through there, and the sender must hear of it: many firewalls drop ICMP"
    if finding.code in SYN_CODES:
        return f" (a program on Linux reads “{TOLD[error.says]}”)" if error.says in TOLD else ""
    return "; Linux keeps an established connection in spite of that"
