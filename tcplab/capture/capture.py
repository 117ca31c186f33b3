"""Reading a pcap file into traces, so that the same pictures serve a learner's own capture.

A capture sees one point of the route: a segment has the one time at which it passed there, which
stands for its sending and for its arrival. What never passed there is not in the trace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import overload

import numpy as np

from tcplab.capture import CaptureError
from tcplab.capture.file import Array
from tcplab.capture.recordings import Sidecar, read_sidecar
from tcplab.capture.table import Columns, Table, first_of, read_table
from tcplab.core.segment import ACK, RST, SYN, Endpoint, Segment
from tcplab.core.trace import Note, Packet, Trace
from tcplab.follow import classify

# ----------------------------------------------------------------------
# Rows of a table as segments, and the two ends of each connection: who is its client.

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


@dataclass(frozen=True, slots=True)
class CapturedPacket:
    """One TCP packet of a capture."""

    #: Its number in the file, from 1, as Wireshark counts.
    frame: int
    #: Nanoseconds since the capture's first packet.
    t: int
    #: The segment, its window as it stands in the header.
    segment: Segment
    #: The connection it belongs to, an index of `Capture.connections`.
    connection: int


class CapturedPackets(Sequence[CapturedPacket]):
    """The TCP packets of a table, each made when it is asked for."""

    def __init__(self, table: Table, rows: Sequence[int]) -> None:
        self._table, self._rows = table, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, i: int) -> CapturedPacket: ...
    @overload
    def __getitem__(self, i: slice) -> CapturedPackets: ...
    def __getitem__(self, i: int | slice) -> CapturedPacket | CapturedPackets:
        if isinstance(i, slice):
            return CapturedPackets(self._table, self._rows[i])
        row, table = int(self._rows[i]), self._table
        segment = segment_at(table, row)
        return CapturedPacket(int(table.frame[row]), int(table.t[row]), segment, int(table.connection[row]))


@dataclass(frozen=True)
class Capture:
    """A capture that has been read; `len()` counts its TCP packets."""

    #: The file's name.
    name: str
    table: Table = field(repr=False)
    #: Title, provenance and the applications' calls where the file has a sidecar.
    sidecar: Sidecar = field(default_factory=Sidecar)
    #: Sentences a reader must know before believing what is shown.
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def began(self) -> int:
        """When the first packet of any kind passed, nanoseconds since 1970."""
        return self.table.began

    @property
    def ended(self) -> int:
        """When the last packet of any kind passed, nanoseconds since 1970."""
        return self.table.ended

    @property
    def packets(self) -> Sequence[CapturedPacket]:
        """The TCP packets in order of time."""
        return CapturedPackets(self.table, range(len(self)))

    @cached_property
    def columns(self) -> Columns:
        """One NumPy array for each property of a TCP packet: see `Columns`."""
        return Columns(self.table)

    @cached_property
    def connections(self) -> list[tuple[Endpoint, Endpoint]]:
        """Client and server of every connection, in order of their first packet."""
        return clients_and_servers(self.table)

    def frames(self, i: int) -> list[int]:
        """Frame numbers of connection `i`, one for each packet of its trace."""
        frames: list[int] = self.table.frame[self.rows(i)].tolist()
        return frames

    def rows(self, i: int) -> Array:
        """Where the packets of connection `i` stand in the columns; `CaptureError` when there is none."""
        there = len(self.connections)
        if not 0 <= i < there:
            numbered = f"numbers 0 to {there - 1}" if there > 1 else "number 0" if there else "no TCP at all"
            raise CaptureError(f"{self.name} has no connection {i}: it has {numbered}.")
        order, borders = self.by_connection
        return order[borders[i] : borders[i + 1]]

    def connection(self, i: int, *, first: int | None = None, last: int | None = None) -> Trace:
        """Connection `i`, counted from 0, as a trace; `CaptureError` when there is none.

        Of a long one only the `first` or the `last` so many segments, 1 or more, if given: a million of them
        take half a minute. A note at its end, or a warning, says what is left out.
        """
        rows = self.rows(i)
        part = _part(len(rows), first, last)
        return self._cut(self._trace(i, rows[part]), rows, part)

    def _trace(self, i: int, rows: Array) -> Trace:
        client, server = self.connections[i]
        names = {client: ("client", "server"), server: ("server", "client")}
        shifts = self.columns["window_shift"][rows]
        segments = segments_at(self.table, rows, np.maximum(shifts, 0))
        packets = [
            Packet(t, *names[segment.source], segment, arrives=t)
            for t, segment in zip(self.table.t[rows].tolist(), segments, strict=True)
        ]
        classify(packets)
        trace = Trace(
            experiment=self.name,
            bench="capture",
            linux=self.sidecar.linux,
            hosts={"client": client.address, "server": server.address},
            packets=packets,
            end=self.ended - self.began,
            warnings=[*self.warnings, *_window_warning(segments, shifts)],
        )
        self._add_sidecar(trace, client, server)
        return trace

    def _cut(self, trace: Trace, rows: Array, part: slice) -> Trace:
        """What is left of the calls and samples with these rows, and the words for what is not."""
        count = len(rows)
        if part.stop < count:
            end, cut = trace.packets[-1].t, int(self.table.t[rows[part.stop]])
            trace.end = end
            trace.calls = [call for call in trace.calls if call.t < cut]
            trace.sockets = [sample for sample in trace.sockets if sample.t < cut]
            trace.notes.append(Note(end, "", f"{count - part.stop:,} more segments follow"))
        if part.start:
            trace.warnings.append(
                f"Only the last {count - part.start:,} of {count:,} segments are looked at."
            )
        return trace

    @cached_property
    def by_connection(self) -> tuple[Array, Array]:
        """The rows sorted by connection, and where each connection begins there."""
        order = np.argsort(self.table.connection, kind="stable")
        return order, np.append(0, np.cumsum(np.bincount(self.table.connection)))

    def _add_sidecar(self, trace: Trace, client: Endpoint, server: Endpoint) -> None:
        if not self.sidecar.is_about(client, server):
            return
        if len(self.connections) > 1:
            if self.sidecar.events or self.sidecar.states:
                trace.warnings.append(
                    "The calls recorded with this capture are left out: it holds "
                    f"{len(self.connections)} connections, and they don't say which one is meant."
                )
            return
        trace.calls = self.sidecar.calls(client)
        trace.sockets = self.sidecar.samples(client, server)


def read_capture(
    path: str | PathLike[str],
    *,
    cut_short_ok: bool = True,
    progress: Callable[[float], None] = lambda share: None,
) -> Capture:
    """A pcap or pcapng file, plain or packed with gzip or zstd: its TCP packets, whatever else it holds.

    Ethernet, VLAN, Linux cooked, raw IP, loopback; IPv4 and IPv6; tunnels that scapy knows. Raises
    `CaptureError` in one sentence when the file is missing, no capture, or of a link type that can't
    be read. Of a file that is cut short or damaged, what stands before that place is read, and the
    first of the `warnings` says where it is; without `cut_short_ok` that is an error, too.
    `progress` is told what share of the file has been read, 0 .. 1; what it raises ends the reading.
    """
    file = Path(path)
    table = read_table(file, progress)
    if table.trouble and not (cut_short_ok and table.packets):
        advice = " Its whole packets can be read with cut_short_ok=True." if table.packets else ""
        raise CaptureError(table.trouble + advice)
    skipped = table.strange.total()
    if skipped and skipped == table.packets:
        raise CaptureError(
            f"{file.name} was captured on a link of type {min(table.strange)}, which tcplab can't read; "
            "it reads Ethernet, Linux cooked (tcpdump -i any), raw IP and loopback."
        )
    sidecar, sidecar_warning = read_sidecar(file)
    warnings = [table.trouble, *table.warnings, sidecar_warning]
    if skipped:
        warnings.append(f"{skipped} packets of {file.name} are left out: their link type can't be read.")
    return Capture(file.name, table, sidecar, tuple(filter(None, warnings)))


def _part(count: int, first: int | None, last: int | None) -> slice:
    """Which of `count` segments are wanted; both ends stand in it."""
    for name, most in (("first", first), ("last", last)):
        if most is not None and most < 1:
            raise CaptureError(f"{name} = {most} leaves no segments: give 1 or more.")
    if first is not None and last is not None:
        raise CaptureError("first and last are both given: a connection can be cut at one end only.")
    return slice(max(count - last, 0) if last else 0, min(count, first) if first else count)


def _window_warning(segments: Sequence[Segment], shifts: Array) -> list[str]:
    shown = any(segment.window and not segment.flags & (SYN | RST) for segment in segments)
    if not shown or (shifts >= 0).all():
        return []
    return [
        "The capture does not hold both SYNs of this connection, so the factor of its window sizes is "
        "unknown: they are shown as they stand in the header, and the real ones may be many times larger."
    ]
