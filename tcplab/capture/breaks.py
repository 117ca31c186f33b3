"""What broke each connection of a capture, and between which moments: one event a connection.

That is what broke it, not its consequences. Closes, resets, refusals and ghosts are instants. A silence is an
interval, from the last packet of the silent side to the first segment that it did not answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from tcplab.capture.capture import Capture
from tcplab.capture.findings import ConnectionFindings, Diagnosis, Finding
from tcplab.capture.messages import ServerMessage, read_message
from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, Endpoint
from tcplab.core.text import SECOND

#: The most packets that are read of a connection, half of them at either end.
MOST_PACKETS = 20_000
#: A close this soon after the answer belongs to it, nanoseconds.
SOON = SECOND // 4
#: Bytes of a goodbye in a database's protocol: a request is longer.
GOODBYE = 5
#: So many packets are read at a time where the last of a kind is looked for.
PIECE = 200
#: How a connection broke, by finding code; the worst first.
FAMILIES = {
    "cookie_ghost_suspected": "ghost", "ghost_suspected": "ghost", "one_way": "silence",
    "idle_then_dead": "silence", "dead_peer": "silence", "keepalive_death": "silence",
    "unanswered_syn": "silence", "handshake_incomplete": "silence", "refused": "refused",
    "reset_by_server": "server_end", "reset_by_client": "client_end",
}  # fmt: skip


class Passed(NamedTuple):
    """One packet of a connection, as a lane needs it."""

    t_s: float
    frame: int
    by_client: bool
    flags: int
    length: int
    window: int
    ack: int = 0


class Broke(NamedTuple):
    """What broke one connection, and between which moments, seconds since the file's first packet."""

    #: `server_end`, `client_end`, `refused`, `ghost` or `silence`.
    family: str
    low_s: float
    high_s: float


class LastMessage(NamedTuple):
    """An error message that is the last data of a server on a connection."""

    message: ServerMessage
    t_s: float
    frame: int


class BreakEvent(NamedTuple):
    """What broke one connection, and who did it."""

    connection: ConnectionFindings
    broke: Broke
    #: A server's address and port, or a host's address.
    actor: str
    #: The file shows a close and its answer: no event by itself.
    quiet: bool = False

    @property
    def low_s(self) -> float:
        """The earliest moment."""
        return self.broke.low_s

    @property
    def high_s(self) -> float:
        """The latest moment."""
        return self.broke.high_s


def last_messages(capture: Capture) -> dict[int, LastMessage]:
    """By connection, the error message that its server sent last, where that was its last data."""
    found: dict[int, LastMessage] = {}
    table, rows = capture.table, sorted(capture.table.messages)
    columns = (table.values(name, rows) for name in ("connection", "seq", "t", "frame"))
    for row, number, seq, t, frame in zip(rows, *columns, strict=True):
        server = capture.connections[number][1]
        if not table.sent_by(server, [row])[0]:
            continue
        message = read_message(table.messages[row])
        if message and message.interrupts and closes_next(capture, number, row):
            message = message._replace(ends=True)
        if message and _last_data(capture, number, server) == seq:
            found.setdefault(number, LastMessage(message, t / SECOND, frame))
    return found


def _last_data(capture: Capture, number: int, sender: Endpoint) -> int | None:
    """The sequence number of the last segment with data that one end of a connection sent."""
    rows, table = capture.rows(number), capture.table
    for stop in range(len(rows), 0, -PIECE):
        some = rows[max(stop - PIECE, 0) : stop]
        columns = table.sent_by(sender, some), table.values("length", some), table.values("seq", some)
        with_data = [seq for mine, length, seq in zip(*columns, strict=True) if mine and length]
        if with_data:
            return with_data[-1]
    return None


def closes_next(capture: Capture, number: int, row: int) -> bool:
    """The sender of this packet closed soon after it, and the other side sent no data and no FIN before."""
    table, rows = capture.table, [each for each in capture.rows(number)[-PIECE:] if each >= row]
    segments, times = table.segments(rows), table.values("t", rows)
    for t, segment in zip(times[1:], segments[1:], strict=True):
        if segment.source == segments[0].source and segment.flags & (FIN | RST):
            return t - times[0] <= SOON
        if segment.length or segment.flags & (FIN | RST):
            return False
    return False


def closed_unanswered(capture: Capture, number: int) -> bool:
    """The server closed first, and had not answered what the client asked before.

    MySQL and MariaDB end a session like that where a statement runs when it is ended by KILL. A goodbye
    (QUIT of MySQL, Terminate of PostgreSQL) gets no other answer, but at once, or is shorter than a request.
    """
    rows, table = capture.rows(number)[-PIECE:], capture.table
    columns = (table.values(name, rows) for name in ("t", "length", "flags"))
    asked: int | None = None
    by_client = table.sent_by(capture.connections[number][0], rows)
    for mine, t, length, flags in zip(by_client, *columns, strict=True):
        if length:
            asked = t if mine and length > GOODBYE else None
        if flags & FIN:
            return not mine and asked is not None and t - asked > SOON
    return False


def silence_before(capture: Capture, number: int, t_s: float) -> float:
    """For how long no data had passed on a connection at this moment, seconds; a keepalive probe is none.

    Before the first data it counts from the handshake; 0 where nothing is known.
    """
    rows, table = capture.rows(number), capture.table
    for stop in range(len(rows), 0, -PIECE):
        some = rows[max(stop - PIECE, 0) : stop]
        columns = (table.values(name, some) for name in ("t", "length", "flags"))
        times = [
            t for t, length, flags in zip(*columns, strict=True)
            if length > 1 or (length and flags & PSH) or flags & SYN
        ]  # fmt: skip
        earlier = [t / SECOND for t in times if t / SECOND < t_s]
        if earlier:
            return t_s - earlier[-1]
    return 0.0


def answered_close(capture: Capture, number: int) -> bool:
    """The server closed right after it had answered the client's last request, or after a goodbye of it.

    HTTP/1.0 and `Connection: close` end each exchange like that (RFC 9112 section 9.6), MySQL after COM_QUIT.
    """
    rows = capture.rows(number)[-PIECE:]
    server = capture.connections[number][1]
    times, asked, last = capture.table.values("t", rows), None, 0
    for t, segment in zip(times, capture.table.segments(rows), strict=True):
        if segment.source != server:
            if segment.length:
                asked = last = t
        elif asked is not None and (segment.length or segment.flags & FIN):
            pause = t - last
            if segment.flags & FIN and not segment.length:
                return pause <= SOON
            if last != asked and pause > SECOND:
                asked = None  # the answer was over: what follows is none
            last = t
            if segment.flags & FIN:
                return asked is not None
    return False


def events_of(
    diagnosis: Diagnosis,
    packets: Callable[[int], Sequence[Passed]],
    said: Mapping[int, LastMessage] = MappingProxyType({}),
    unanswered: Callable[[int], bool] = lambda number: False,
) -> Iterator[BreakEvent]:
    """What broke each connection; `packets` reads those of one, by its number; `said` as `last_messages`.

    `unanswered`: the server closed one instead of an answer.
    """
    for each in diagnosis.connections:
        codes = {finding.code: finding for finding in reversed(each.findings)}
        if "probe_only" in codes:
            continue
        code = next((code for code in FAMILIES if code in codes), None)
        last = said.get(each.number)
        if last and last.message.ends and code in (None, "reset_by_client", "reset_by_server"):
            closed = [codes[c].t / SECOND for c in ("closed_by_server", "reset_by_server") if c in codes]
            t = min([last.t_s, *closed]) if closed else last.t_s
            yield BreakEvent(each, Broke("server_end", t, t), str(each.server))
            continue
        if code is None:
            if "closed_by_server" in codes:
                t = codes["closed_by_server"].t / SECOND
                quiet = "half_closed" not in codes and not unanswered(each.number)
                yield BreakEvent(each, Broke("server_end", t, t), str(each.server), quiet)
            continue
        finding, family = codes[code], FAMILIES[code]
        t = finding.t / SECOND
        if family == "server_end" and "closed_by_server" in codes:
            t = min(t, codes["closed_by_server"].t / SECOND)
        low = t
        if family == "silence":
            silent = each.server if sender_of(finding) == "client" else each.client
            low, t = _silence(finding, packets(each.number))
            yield BreakEvent(each, Broke(family, low, t), silent.address)
        else:
            actor = each.client.address if family == "client_end" else str(each.server)
            yield BreakEvent(each, Broke(family, low, t), actor)


def sender_of(finding: Finding) -> str:
    """The side whose segments were not answered."""
    default = "server" if finding.code == "handshake_incomplete" else "client"
    return str(finding.facts.get("side", default))


def _silence(finding: Finding, packets: Sequence[Passed]) -> tuple[float, float]:
    """The last packet of the silent side, and the first segment that it did not answer, seconds."""
    by_client = sender_of(finding) == "client"
    frames = set(finding.frames)
    mine = [
        p for p in packets
        if p.frame in frames and p.by_client == by_client and (p.length or p.flags & FIN)
    ]  # fmt: skip
    first = mine[0].t_s if mine else finding.t / SECOND
    others = [p for p in packets if p.by_client != by_client and not p.flags & RST]
    if finding.code == "one_way" and others:
        # It still sends; what it acknowledged last is the last that arrived.
        last = next(p.t_s for p in others if p.ack == others[-1].ack and p.flags & ACK) if others else 0.0
        return min(last, first), first
    before = [p.t_s for p in others if p.t_s < first]
    return (before[-1] if before else 0.0), first


def packets_of(capture: Capture, number: int) -> list[Passed]:
    """The packets of one connection; of a long one those at either end."""
    rows = capture.rows(number)
    if len(rows) > MOST_PACKETS:
        half = MOST_PACKETS // 2
        rows = [*rows[:half], *rows[-half:]]
    table, client = capture.table, capture.connections[number][0]
    names = "flags", "length", "window", "ack"
    columns = table.values("t", rows), table.values("frame", rows), table.sent_by(client, rows)
    return [
        Passed(t / SECOND, *rest)
        for t, *rest in zip(*columns, *(table.values(name, rows) for name in names), strict=True)
    ]
