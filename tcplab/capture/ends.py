"""Rows of a table as segments, and the two ends of each connection: who is its client."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tcplab.capture.chains import Array
from tcplab.capture.connections import first_of
from tcplab.capture.reader import Table
from tcplab.segment import ACK, RST, SYN, Endpoint, Segment

#: Ports on which databases and what stands before them listen, beyond the system ports to 1023.
SERVICES = {
    1433: "SQL Server", 1521: "Oracle", 3306: "MySQL", 33060: "MySQL X", 5432: "PostgreSQL",
    5433: "PostgreSQL", 6379: "Redis", 6380: "Redis", 6432: "PgBouncer", 9042: "Cassandra",
    11211: "memcached", 16379: "Redis Cluster", 26257: "CockroachDB", 26379: "Redis Sentinel",
    27017: "MongoDB", 50000: "Db2",
}  # fmt: skip
SYSTEM_PORTS = range(1, 1024)


def end_of(table: Table, way: int) -> Endpoint:
    """The end that sends in this direction of a flow."""
    return Endpoint(table.addresses[table.end_address[way]], int(table.end_port[way]))


def segment_at(table: Table, row: int) -> Segment:
    """The segment in one row, its window as it stands in the header."""
    return segments_at(table, np.array([row]))[0]


def segments_at(table: Table, rows: Array, window_shift: Array | int = 0) -> list[Segment]:
    """The segments in rows of one connection, their windows as in the header, shifted to the left."""
    ways = table.way[rows].tolist()
    ends = {way: end_of(table, way) for each in set(ways) for way in (each, each ^ 1)}
    window = table.window[rows].astype(np.int64) << window_shift
    columns = (table.seq[rows], table.ack[rows], table.flags[rows], window, table.length[rows])
    stamps = (table.timestamp[rows], table.echo[rows], table.has_times[rows])
    times = [
        (t, echo) if has else None for t, echo, has in zip(*(each.tolist() for each in stamps), strict=True)
    ]
    segments = [
        Segment(ends[way], ends[way ^ 1], seq, ack, flags, wide, length, timestamps=pair)
        for way, seq, ack, flags, wide, length, pair in zip(
            ways, *(column.tolist() for column in columns), times, strict=True
        )
    ]
    for i in np.flatnonzero(table.flags[rows] & SYN).tolist():
        at = int(np.searchsorted(table.syn, rows[i]))
        mss, scale = (int(each[at]) if each[at] >= 0 else None for each in (table.mss, table.window_scale))
        permitted = bool(table.sack_permitted[at])
        segments[i] = replace(segments[i], mss=mss, window_scale=scale, sack_permitted=permitted)
    low, high = np.searchsorted(table.sack_of, rows), np.searchsorted(table.sack_of, rows, "right")
    for i in np.flatnonzero(high > low).tolist():
        blocks = slice(int(low[i]), int(high[i]))
        edges = zip(table.sack_left[blocks].tolist(), table.sack_right[blocks].tolist(), strict=True)
        segments[i] = replace(segments[i], sack=tuple(edges))
    return segments


def clients_and_servers(table: Table) -> list[tuple[Endpoint, Endpoint]]:
    """Who asked whom in every connection: the SYN tells, or else the ports."""
    if not len(table):
        return []
    count = int(table.connection.max()) + 1
    first = first_of(table.connection, count)
    opening = table.syn[table.flags[table.syn] & RST == 0]
    asked = first_of(table.connection[opening], count)
    found = []
    for row, which in zip(first.tolist(), asked.tolist(), strict=True):
        if which >= 0:
            row = int(opening[which])
            way = int(table.way[row]) ^ bool(table.flags[row] & ACK)
            found.append((end_of(table, way), end_of(table, way ^ 1)))
        else:
            way = int(table.way[row])
            found.append(_by_ports(end_of(table, way), end_of(table, way ^ 1)))
    return found


def _by_ports(one: Endpoint, other: Endpoint) -> tuple[Endpoint, Endpoint]:
    """Client and server; `one` sent the first segment that was captured."""
    known = [end.port in SYSTEM_PORTS or end.port in SERVICES for end in (one, other)]
    if known[0] != known[1]:
        return (other, one) if known[0] else (one, other)
    return (other, one) if one.port < other.port else (one, other)
