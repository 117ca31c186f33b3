"""One connection as the findings look at it: its packets, their frames, ICMP errors, and the database.

ICMP errors say why segments went unanswered. Linux fails a connect() at once for nearly all of them, and
keeps a connection that is established in spite of all of them (net/ipv4/tcp_ipv4.c:tcp_v4_err,
net/ipv4/icmp.c:icmp_err_convert).

The database is known by the first bytes of a connection, else by the server's port. The bytes count only
where the capture holds the SYN before them, so that they are the first ones. What is encrypted from the
first byte on looks the same for every database: there the port is all there is. A protocol is also spoken
by other products: PostgreSQL's by PgBouncer and CockroachDB, Redis's by Valkey.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from tcplab.capture.capture import SERVICES, Capture
from tcplab.capture.shared import HOST, LATE, NETWORK, PORT, PROHIBITED, TOO_BIG, Quote
from tcplab.core.segment import Endpoint
from tcplab.core.text import SECOND, seconds, times
from tcplab.follow import CLIENT, SERVER, Followed

#: What must be looked at of a connection: nothing, how it was closed, or every segment.
PASS, ENDS, WALK = 0, 1, 2

#: A host or firewall refuses the connection; or there is none. Codes that an error can explain.
REFUSALS, ABSENCES = (PORT, PROHIBITED), (HOST, NETWORK, LATE)
SYN_CODES = ("refused", "unanswered_syn")
EXPLAINED = (*SYN_CODES, "dead_peer", "keepalive_death", "idle_then_dead", "retransmission")
#: The message of the program that called connect().
MESSAGES = {PORT: "Connection refused", HOST: "No route to host", NETWORK: "Network is unreachable"}


@dataclass(frozen=True)
class Finding:
    """One thing that a capture shows, with its frames as evidence."""

    code: str
    #: Numbers in the file, from 1, as in Wireshark.
    frames: tuple[int, ...]
    #: Nanoseconds since the capture's first packet.
    t: int
    #: One sentence for a DBA.
    says: str
    facts: dict[str, Any] = field(default_factory=dict)
    #: The notebook that explains it.
    lesson: str = ""

    @property
    def filter(self) -> str:
        """A Wireshark display filter that shows its frames."""
        frames, parts = sorted({*self.frames}), list[list[int]]()
        for frame in frames:
            if parts and frame == parts[-1][-1] + 1:
                parts[-1][1:] = [frame]
            else:
                parts.append([frame])
        return f"frame.number in {{{', '.join('..'.join(map(str, part)) for part in parts)}}}"

    def to_json(self, began: int = 0) -> dict[str, Any]:
        """As `tcplab diagnose --json` prints it: `t` in seconds since the capture's first packet.

        `began` is when that packet passed, nanoseconds since 1970: `wall` is the time of the finding, UTC.
        """
        wall = datetime.fromtimestamp((began + self.t) // SECOND, UTC)
        wall = wall.replace(microsecond=(began + self.t) % SECOND // 1000)
        return {
            "code": self.code, "frames": list(self.frames), "t": seconds(self.t), "says": self.says,
            "facts": self.facts, "lesson": self.lesson,
            "wall": wall.isoformat(timespec="microseconds"), "filter": self.filter,
        }  # fmt: skip


@dataclass(frozen=True)
class Earlier:
    """The connection before, on the same four-tuple, when the capture saw its end."""

    ended: int
    frame: int
    #: True when both sides closed, so that one of them stays in TIME_WAIT.
    by_fin: bool
    #: SYNs that arrived while it was open: number, time and frame of each.
    syns: tuple[tuple[int, int, int], ...] = ()


class Goodbye(NamedTuple):
    """How a healthy connection was closed: the frame of each segment, and its time in nanoseconds."""

    syn: int
    opened: int
    synack: int
    answered: int
    #: The first FIN; the second one, or the first again without; what first acknowledges the first.
    fin: int
    began: int
    other_fin: int
    ended: int
    ack: int
    acknowledged: int
    #: The client sent the first FIN; both sides sent one; the second was sent before the first arrived.
    by_client: bool
    both: bool
    crossed: bool
    #: No byte of data passed.
    empty: bool


@dataclass(frozen=True)
class ConnectionStory(Followed):
    """One followed connection with what is known around it. A place is an index of `packets` and `frames`."""

    client: Endpoint
    server: Endpoint
    frames: list[int]
    earlier: Earlier | None = None
    #: ICMP errors that quote its segments, in order of time.
    errors: tuple[Quote, ...] = ()

    def finding(self, code: str, places: list[int], says: str, **facts: Any) -> Finding:
        """A finding that these places prove, the first of them telling when."""
        frames = tuple(self.frames[i] for i in places)
        return Finding(code, frames, self.packets[places[0]].t, says, facts)


def errors(capture: Capture) -> dict[int, list[Quote]]:
    """By connection, the errors about it; of several on one four-tuple the last that had begun."""
    of_pair: dict[frozenset[Endpoint], list[int]] = {}
    for i, pair in enumerate(capture.connections if capture.table.quotes else ()):
        of_pair.setdefault(frozenset(pair), []).append(i)
    found: dict[int, list[Quote]] = {}
    for quote in capture.table.quotes:
        there = of_pair.get(frozenset((quote.source, quote.destination)), [])
        begun = [i for i in there if capture.table.values("t", capture.rows(i)[:1])[0] <= quote.t]
        if there:
            found.setdefault(begun[-1] if begun else there[0], []).append(quote)
    return found


def about_syn(story: ConnectionStory, said: Sequence[str]) -> Quote | None:
    """The first of these errors about the client's segments."""
    return next((each for each in story.errors if each.source == story.client and each.says in said), None)


def explained(finding: Finding, story: ConnectionStory) -> Finding:
    """The finding with the errors about its segments: facts `icmp`, `icmp_from`, …."""
    if finding.code not in EXPLAINED:
        return finding
    end = {CLIENT: story.client, SERVER: story.server}[finding.facts.get("side", CLIENT)]
    is_late = finding.code == "retransmission"  # the error came before the second transmission
    said = [
        each for each in story.errors
        if each.source == end and (each.says == TOO_BIG if is_late else each.t >= finding.t)
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
    added = f"{last.sender} said {times(len(same))} by ICMP: {last.says}{_meaning(finding, last)}."
    return replace(finding, says=f"{finding.says} {added}", facts={**finding.facts, **facts})


def _meaning(finding: Finding, error: Quote) -> str:
    if error.says == TOO_BIG:
        size = f"packets of more than {error.mtu:,} bytes" if error.mtu else "packets of this size"
        return f"; {size} don't fit through; the sender needs this message, and many firewalls drop ICMP"
    if finding.code in SYN_CODES:
        return f" (a program on Linux reads “{MESSAGES[error.says]}”)" if error.says in MESSAGES else ""
    return "; Linux keeps an established connection in spite of that"


#: Products by their ports that speak another one's protocol.
SPEAKS = {"PgBouncer": "PostgreSQL", "CockroachDB": "PostgreSQL", "Redis Sentinel": "Redis"}

BY_CLIENT = {
    # PostgreSQL's frontend messages without a type: length, then 3.x, or one of the request codes for
    # cancelling, TLS and GSSAPI (src/include/libpq/pqcomm.h).
    "PostgreSQL": re.compile(rb"\0\0[\0-\x27].(?:\0\x03..|\x04\xd2\x16[\x2e-\x30])", re.S),
    # Redis: an array of strings (RESP, redis.io/docs/latest/develop/reference/protocol-spec).
    "Redis": re.compile(rb"\*[1-9]\d{0,6}\r\n\$\d{1,9}\r\n"),
    # Oracle Net: a CONNECT packet (type 1) without checksums, of version 300 to 399.
    "Oracle": re.compile(rb"..\0\0\x01.\0\0\x01[\x2c-\x8f]", re.S),
    # SQL Server: PRELOGIN (type 18), one whole message, whose first option is the version (MS-TDS 2.2.6.5).
    "SQL Server": re.compile(rb"\x12\x01..\0\0[\0\x01]\0\0..\0\x06", re.S),
    # MongoDB: length, request, an answer to nothing, then OP_QUERY, OP_COMPRESSED or OP_MSG.
    "MongoDB": re.compile(rb"...[\0-\x02].{4}\0{4}(?:\xd4\x07|\xdc\x07|\xdd\x07)\0\0", re.S),
}
#: MySQL's greeting (protocol 10, a version of printable characters) or a refusal instead of it (error
#: 1000 to 4999): the first packet that the server sends. MariaDB names itself in its version.
BY_SERVER = {
    "MariaDB": re.compile(rb"...\0\x0a[ -~]*MariaDB", re.S),
    "MySQL": re.compile(rb"...\0(?:\x0a\d+\.[ -~]+|\xff[\0-\xff][\x03-\x13])", re.S),
}


@lru_cache(4096)
def spoken(client: bytes, server: bytes) -> str | None:
    """The database whose protocol begins like this; None for any other."""
    for greeting, beginnings in ((client, BY_CLIENT), (server, BY_SERVER)):
        for name, begins in beginnings.items():
            if begins.match(greeting):
                return name
    return None


def services(capture: Capture) -> list[str | None]:
    """The database behind the server of each connection; None when neither bytes nor port show it."""
    found = []
    for (_, server), greeting in zip(capture.connections, capture.table.greetings(), strict=True):
        by_port, by_bytes = SERVICES.get(server.port), spoken(*greeting)
        agree = by_bytes is None or SPEAKS.get(by_port or "") == by_bytes
        found.append(by_port if agree else by_bytes)
    return found
