"""Which database a connection speaks to: by its first bytes, else by the server's port.

The bytes count only where the capture holds the SYN before them, so that they are the first ones. What is
encrypted from the first byte on looks the same for every database: there the port is all there is. Who
speaks a protocol may be another product: PgBouncer and CockroachDB speak PostgreSQL's, Valkey Redis's.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tcplab.capture.connections import first_of
from tcplab.capture.ends import SERVICES
from tcplab.segment import ACK, RST

if TYPE_CHECKING:
    from tcplab.capture.reading import Capture

#: Products by their ports that speak another one's protocol.
SPEAKS = {"PgBouncer": "PostgreSQL", "CockroachDB": "PostgreSQL", "Redis Sentinel": "Redis"}

#: PostgreSQL's frontend messages without a type: length, then 3.x, or one of the request codes for
#: cancelling, TLS and GSSAPI (src/include/libpq/pqcomm.h).
_POSTGRES = re.compile(rb"\0\0[\0-\x27].(?:\0\x03..|\x04\xd2\x16[\x2e-\x30])", re.S)
#: Redis: an array of strings (RESP, redis.io/docs/latest/develop/reference/protocol-spec).
_REDIS = re.compile(rb"\*[1-9]\d{0,6}\r\n\$\d{1,9}\r\n")
#: Oracle Net: a CONNECT packet (type 1) without checksums, of version 300 to 399.
_ORACLE = re.compile(rb"..\0\0\x01.\0\0\x01[\x2c-\x8f]", re.S)
#: SQL Server: PRELOGIN (type 18), one whole message, whose first option is the version (MS-TDS 2.2.6.5).
_SQL_SERVER = re.compile(rb"\x12\x01..\0\0[\0\x01]\0\0..\0\x06", re.S)
#: MongoDB: length, request, an answer to nothing, then OP_QUERY, OP_COMPRESSED or OP_MSG.
_MONGODB = re.compile(rb"...[\0-\x02].{4}\0{4}(?:\xd4\x07|\xdc\x07|\xdd\x07)\0\0", re.S)
BY_CLIENT = {
    "PostgreSQL": _POSTGRES, "Redis": _REDIS, "Oracle": _ORACLE, "SQL Server": _SQL_SERVER,
    "MongoDB": _MONGODB,
}  # fmt: skip
#: MySQL's greeting (protocol 10, a version of printable characters) or a refusal instead of it (error
#: 1000 to 4999): the first packet that the server sends. MariaDB names itself in its version.
BY_SERVER = {
    "MariaDB": re.compile(rb"...\0\x0a[ -~]*MariaDB", re.S),
    "MySQL": re.compile(rb"...\0(?:\x0a\d+\.[ -~]+|\xff[\0-\xff][\x03-\x13])", re.S),
}


@lru_cache(4096)
def spoken(client: bytes, server: bytes) -> str | None:
    """The database whose protocol begins like this; None for any other."""
    for said, beginnings in ((client, BY_CLIENT), (server, BY_SERVER)):
        for name, begins in beginnings.items():
            if begins.match(said):
                return name
    return None


def services(capture: Capture) -> list[str | None]:
    """The database behind the server of each connection; None when neither bytes nor port tell."""
    heard = _heard(capture)
    if not heard:
        return [SERVICES.get(server.port) for _, server in capture.connections]
    table, found = capture.table, []
    flows = table.way[first_of(table.connection, len(capture.connections))] >> 1
    for flow, (_, server) in zip(flows.tolist(), capture.connections, strict=True):
        by_port, by_bytes = SERVICES.get(server.port), heard.get(flow)
        agree = by_bytes is None or SPEAKS.get(by_port or "") == by_bytes
        found.append(by_port if agree else by_bytes)
    return found


def _heard(capture: Capture) -> dict[int, str]:
    """What is spoken on each flow that begins with known bytes."""
    table = capture.table
    count = len(capture.connections)
    if not count:
        return {}
    flags, way = table.flags[table.syn], table.way[table.syn]
    sound = (flags & RST) == 0
    syn, way = table.syn[sound], way[sound]
    began = first_of(way, len(table.end_port))
    ways = np.flatnonzero(began >= 0)
    isn = np.full(len(table.end_port), -2, np.int64)
    isn[ways] = table.seq[syn[began[ways]]]
    said = np.flatnonzero(table.first_words.row[: len(isn)] >= 0)
    rows = table.first_words.row[said]
    first = said[table.seq[rows] == (isn[said] + 1 & 0xFFFFFFFF)]
    words = {each: table.first_words.said(each) for each in first.tolist()}
    # Who asked: the SYN without ACK, or the other end of one with it.
    asked = np.full(len(isn) // 2, -1, np.int64)
    both = way ^ ((table.flags[syn] & ACK) != 0)
    asked[both[::-1] >> 1] = both[::-1]
    found = {}
    for flow in {each >> 1 for each in words}:
        client = int(asked[flow])
        if (name := spoken(words.get(client, b""), words.get(client ^ 1, b""))) is not None:
            found[flow] = name
    return found
