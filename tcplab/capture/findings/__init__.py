"""What a capture shows: findings, one function a code, for the connections that are worth a look.

Columns pick those; every other connection did nothing but talk, and is not walked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tcplab.capture.ends import segments_at
from tcplab.capture.findings import ending, opening, silence
from tcplab.capture.findings.errors import errors, explained
from tcplab.capture.findings.screen import ENDS, PASS, ends, suspicious
from tcplab.capture.findings.story import Earlier, Finding, Story
from tcplab.capture.icmp import Quote
from tcplab.capture.reading import Capture
from tcplab.capture.services import services
from tcplab.model.rst import ACCEPTED
from tcplab.segment import Endpoint
from tcplab.trace import Passage

__all__ = ["CODES", "ConnectionFindings", "Diagnosis", "Finding", "diagnose"]

#: Every code, worst first: the function that finds it, and the notebook that explains it.
CODES: dict[str, tuple[Callable[[Story], Iterator[Finding]], str]] = {
    "idle_then_dead": (silence.idle_then_dead, "03_keepalive"),
    "cookie_ghost_suspected": (opening.cookie_ghost_suspected, "12_ghost_connections"),
    "dead_peer": (silence.dead_peer, "04_dead_peer"),
    "keepalive_death": (silence.keepalive_death, "03_keepalive"),
    "ghost_suspected": (opening.ghost_suspected, "12_ghost_connections"),
    "unanswered_syn": (opening.unanswered_syn, "02_fin_or_rst"),
    "refused": (opening.refused, "02_fin_or_rst"),
    "reset_by_server": (ending.reset_by_server, "02_fin_or_rst"),
    "reset_by_client": (ending.reset_by_client, "02_fin_or_rst"),
    "reset_challenged": (ending.reset_challenged, "13_the_rst_that_did_not_close"),
    "reset_ignored": (ending.reset_ignored, "13_the_rst_that_did_not_close"),
    "half_closed": (ending.half_closed, "02_fin_or_rst"),
    "zero_window": (silence.zero_window, "06_the_window"),
    "retransmission": (silence.retransmission, "04_dead_peer"),
    "port_reused": (opening.port_reused, "10_out_of_ports"),
    "keepalive": (silence.keepalive, "03_keepalive"),
    "probe_only": (opening.probe_only, "08_pools_and_probes"),
    "midstream": (opening.midstream, "14_capture_clinic"),
    "closed_by_server": (ending.closed_by_server, "01_life_of_a_connection"),
    "closed_by_client": (ending.closed_by_client, "01_life_of_a_connection"),
}
#: After so many connections it is told how far the look at them is.
OFTEN = 64
#: The state in which a capture leaves a connection, by the code that says so; the first one counts.
STATES = {
    "refused": "refused", "unanswered_syn": "unanswered", "reset_by_server": "reset",
    "reset_by_client": "reset", "idle_then_dead": "dead", "dead_peer": "dead",
    "cookie_ghost_suspected": "dead",
}  # fmt: skip


@dataclass(frozen=True)
class ConnectionFindings:
    """One connection of a capture and what it shows."""

    #: Its number in the capture, from 0, as in `Capture.connection`.
    number: int
    client: Endpoint
    server: Endpoint
    #: The database by its first bytes, else by the server's port; None when neither tells: see services.py.
    service: str | None
    #: As the capture leaves it: `open`, `closed`, `closing`, `reset`, `dead`, `refused`, `unanswered`.
    state: str
    #: Worst first.
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """As `tcplab diagnose --json` prints it."""
        return {
            "client": str(self.client), "server": str(self.server), "service": self.service,
            "state": self.state, "findings": [each.to_json() for each in self.findings],
        }  # fmt: skip


@dataclass(frozen=True)
class Diagnosis:
    """What a capture shows. `len()` counts its connections."""

    name: str
    #: TCP packets.
    packets: int
    #: In order of their first packet.
    connections: tuple[ConnectionFindings, ...]
    #: Sentences a reader must know before believing it.
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.connections)

    @property
    def summary(self) -> Mapping[str, int]:
        """How many connections show each code, worst first."""
        shown = [{each.code for each in connection.findings} for connection in self.connections]
        counts = {code: sum(code in codes for codes in shown) for code in CODES}
        return {code: count for code, count in counts.items() if count}

    def to_json(self) -> dict[str, Any]:
        """As `tcplab diagnose --json` prints it."""
        return {"packets": self.packets, "connections": [each.to_json() for each in self.connections]}


def diagnose(capture: Capture, progress: Callable[[float], None] = lambda share: None) -> Diagnosis:
    """What happened to each connection of a capture, as far as one point of the route shows it.

    `progress` is told what share of them has been looked at, 0 .. 1; what it raises ends the look.
    """
    look, service, said = suspicious(capture), services(capture), errors(capture)
    lasting: dict[frozenset[Endpoint], Earlier | None] = {}
    connections = []
    for i, (client, server) in enumerate(capture.connections):
        if not i % OFTEN:
            progress(i / len(capture.connections))
        findings: tuple[Finding, ...] = ()
        state = "open"
        if look[i] != PASS or i in said:
            pair = frozenset((client, server))
            lean = look[i] == ENDS and i not in said
            story = _ends_of(capture, i) if lean else _story(capture, i, lasting.get(pair), said.get(i, []))
            findings = _findings(story)
            state = _state(story, findings)
            lasting[pair] = _ended(story, state)
        connections.append(ConnectionFindings(i, client, server, service[i], state, findings))
    return Diagnosis(capture.name, len(capture), tuple(connections), capture.warnings)


def _story(capture: Capture, i: int, earlier: Earlier | None, said: list[Quote]) -> Story:
    client, server = capture.connections[i]
    trace = capture.connection(i)
    carried = any(p.segment.length for p in trace.passages)
    return Story(client, server, trace.passages, capture.frames(i), trace.end, carried, earlier, tuple(said))


def _ends_of(capture: Capture, i: int) -> Story:
    """Handshake and end of a connection in which nothing else was odd, nor before it."""
    (client, server), table, rows = capture.connections[i], capture.table, capture.rows(i)
    chosen = ends(capture, rows)
    segments, frames = segments_at(table, chosen), table.frame[chosen].tolist()
    names = {client: ("client", "server"), server: ("server", "client")}
    passages = [
        Passage(t, *names[segment.source], segment, arrives=t)
        for t, segment in zip(table.t[chosen].tolist(), segments, strict=True)
    ]
    end, carried = capture.ended - capture.began, bool(table.length[rows].any())
    return Story(client, server, passages, frames, end, carried)


def _findings(story: Story) -> tuple[Finding, ...]:
    return tuple(
        replace(explained(finding, story), lesson=lesson)
        for find, lesson in CODES.values()
        for finding in find(story)
    )


def _state(story: Story, findings: tuple[Finding, ...]) -> str:
    codes = {finding.code for finding in findings}
    for code, state in STATES.items():
        if code in codes:
            return state
    if codes & {"closed_by_client", "closed_by_server"}:
        return "closed" if ending.complete(story) else "closing"
    return "open"


def _ended(story: Story, state: str) -> Earlier | None:
    """How it ended, if the capture saw that."""
    if state == "closed":
        return Earlier(story.passages[-1].t, story.frames[-1], True)
    for reset in ending.resets(story):
        if reset.verdict == ACCEPTED:
            return Earlier(story.passages[reset.place].t, story.frames[reset.place], False)
    return Earlier(story.passages[-1].t, story.frames[-1], False) if state == "refused" else None
