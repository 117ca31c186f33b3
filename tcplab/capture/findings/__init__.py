"""What a capture shows: findings, one function a code, for the connections that are worth a look.

Columns pick those; every other connection did nothing but talk, and is not walked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tcplab.capture.capture import Capture
from tcplab.capture.findings import ends as ending
from tcplab.capture.findings import ends as opening
from tcplab.capture.findings import silence
from tcplab.capture.findings.silence import SILENCE
from tcplab.capture.findings.story import Earlier, Finding, Story, errors, explained, services
from tcplab.capture.plain import PlainTable, Quote
from tcplab.core.segment import ACK, FIN, RST, SYN, Endpoint
from tcplab.core.trace import Packet
from tcplab.model.rules import ACCEPTED

if TYPE_CHECKING:
    from tcplab.capture.file import Array
    from tcplab.capture.table import Table

# ----------------------------------------------------------------------
# Which connections are worth a look, told from the columns, for all packets at once.
#
# A connection is passed over only when nothing in it can be a finding: it began with one SYN and its answer,
# every segment stands where the one before ended, no window was shut, no FIN or RST came, and what was not
# acknowledged when the capture ended had not been sent after a silence. Of one that differs only by its FINs
# the handshake and the end are enough.

#: What a connection needs: nothing, its handshake and its end, or every segment.
PASS, ENDS, WALK = 0, 1, 2
#: Room between two directions on the line on which all of them stand one behind the other.
APART = 1 << 34
#: Segments of a handshake.
HANDSHAKE = 3


def suspicious(capture: Capture) -> Array:
    """For each connection, how much of it must be looked at: `PASS`, `ENDS` or `WALK`."""
    import numpy as np

    table, count = capture.table, len(capture.connections)
    assert not isinstance(table, PlainTable)
    looked = np.zeros(count, bool)
    if not len(table):
        return looked.astype(np.int8)
    flags = table.flags
    closed = np.zeros(count, bool)
    closed[table.connection[(flags & FIN) != 0]] = True
    odd = (flags & RST) != 0
    odd |= (table.window == 0) & ((flags & SYN) == 0)
    looked[table.connection[odd]] = True
    # Several connections on one four-tuple: how the one before ended is part of the next one's story.
    pairs = np.unique(np.stack([table.direction >> 1, table.connection]), axis=1)
    often = np.bincount(pairs[0]) > 1
    looked[pairs[1][often[pairs[0]]]] = True
    opening = (flags[table.syn] & ACK) == 0
    for rows in (table.syn[opening], table.syn[~opening]):
        looked |= np.bincount(table.connection[rows], minlength=count) != 1
    side = table.connection.astype(np.int64) * 2 + (table.direction & 1)
    order = np.argsort(side, kind="stable")
    side = side[order]
    first = np.flatnonzero(np.append(True, side[1:] != side[:-1]))
    size = np.diff(np.append(first, len(side)))
    seq = table.seq[order]
    begin = np.repeat(seq[first], size)
    at = (seq - begin).astype(np.int32).astype(np.int64)
    counted = ((flags & SYN) != 0).astype(np.int64) + ((flags & FIN) != 0)
    end = at + table.length[order] + counted[order]
    reached = np.maximum.accumulate(end + side * APART) - side * APART
    again = np.zeros(len(side), bool)
    again[1:] = (at[1:] < reached[:-1]) & (side[1:] == side[:-1])
    looked[side[again] >> 1] = True
    short = _unanswered(looked, side, first, size, seq[first], reached, table.ack[order], flags[order])
    looked |= short & (closed | _quiet(table, order[first + size - 1]))
    return np.where(looked, WALK, np.where(closed, ENDS, PASS)).astype(np.int8)


def ends(table: Table, rows: Array) -> Array:
    """Of the rows of one connection those of its handshake, and those from its first FIN on."""
    import numpy as np

    fins = np.flatnonzero(table.flags[rows] & FIN)
    return np.concatenate([rows[: min(HANDSHAKE, int(fins[0]))], rows[fins[0] :]])


def _unanswered(
    looked: Array,
    side: Array,
    first: Array,
    size: Array,
    begin: Array,
    reached: Array,
    ack: Array,
    flags: Array,
) -> Array:
    """The connections that have something not acknowledged at the end; marks those with one side only."""
    import numpy as np

    last = first + size - 1
    numbers = side[first]
    place = np.full(2 * len(looked), -1, np.int64)
    place[numbers] = np.arange(len(numbers))
    peer = place[numbers ^ 1]
    alone = peer < 0
    looked[numbers[alone] >> 1] = True
    mine = np.flatnonzero(~alone)
    base = np.repeat(begin[peer], size)
    heard = np.where((flags & ACK) != 0, (ack - base).astype(np.int32).astype(np.int64), -APART // 4)
    acked = np.maximum.reduceat(heard, first)
    short = np.zeros(len(looked), bool)
    short[numbers[mine[reached[last[peer[mine]]] > acked[mine]]] >> 1] = True
    return short


def _quiet(table: Table, lasts: Array) -> Array:
    """The connections in which one side sent after a silence and heard nothing more of the other.

    `lasts` are the last rows of each side of each connection.
    """
    import numpy as np

    order, borders = table.by_connection
    t = table.t[order]
    rows = np.flatnonzero(t[1:] - t[:-1] >= SILENCE) + 1
    rows = order[rows[~np.isin(rows, borders)]]
    count, connection = len(borders) - 1, table.connection
    silence, heard = np.full(count, -1), np.full(count, len(connection))
    np.maximum.at(silence, connection[rows], rows)
    np.minimum.at(heard, connection[lasts], lasts)
    quiet: Array = silence > heard
    return quiet


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
    # Without columns every connection is walked: what has none is small.
    table, service, said = capture.table, services(capture), errors(capture)
    look = [WALK] * len(capture.connections) if isinstance(table, PlainTable) else suspicious(capture)
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
    carried = any(p.segment.length for p in trace.packets)
    return Story(client, server, trace.packets, capture.frames(i), trace.end, carried, earlier, tuple(said))


def _ends_of(capture: Capture, i: int) -> Story:
    """Handshake and end of a connection in which nothing else was odd, nor before it."""
    (client, server), table, rows = capture.connections[i], capture.table, capture.rows(i)
    assert not isinstance(table, PlainTable)
    chosen = ends(table, rows)
    segments, frames = table.segments(chosen), table.values("frame", chosen)
    names = {client: ("client", "server"), server: ("server", "client")}
    packets = [
        Packet(t, *names[segment.source], segment, arrives=t)
        for t, segment in zip(table.values("t", chosen), segments, strict=True)
    ]
    end, carried = capture.ended - capture.began, any(table.values("length", rows))
    return Story(client, server, packets, frames, end, carried)


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
        return Earlier(story.packets[-1].t, story.frames[-1], True)
    for reset in ending.resets(story):
        if reset.verdict == ACCEPTED:
            return Earlier(story.packets[reset.place].t, story.frames[reset.place], False)
    return Earlier(story.packets[-1].t, story.frames[-1], False) if state == "refused" else None
