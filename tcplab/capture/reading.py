"""Reading a pcap file into traces, so that the same pictures serve a learner's own capture.

A capture sees one point of the route: a segment has the one time at which it passed there, which
stands for its sending and for its arrival. What never passed there is not in the trace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import overload

import numpy as np

from tcplab.capture import CaptureError
from tcplab.capture.chains import Array
from tcplab.capture.columns import Columns
from tcplab.capture.ends import clients_and_servers, segment_at, segments_at
from tcplab.capture.reader import Table, read_table
from tcplab.capture.sidecar import Sidecar, read_sidecar
from tcplab.kinds import classify
from tcplab.segment import RST, SYN, Endpoint, Segment
from tcplab.trace import Note, Passage, Trace


@dataclass(frozen=True, slots=True)
class Packet:
    """One TCP packet of a capture."""

    #: Its number in the file, from 1, as Wireshark counts.
    frame: int
    #: Nanoseconds since the capture's first packet.
    t: int
    #: The segment, its window as it stands in the header.
    segment: Segment
    #: The connection it belongs to, an index of `Capture.connections`.
    connection: int


class Packets(Sequence[Packet]):
    """The TCP packets of a table, each made when it is asked for."""

    def __init__(self, table: Table, rows: Sequence[int]) -> None:
        self._table, self._rows = table, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, i: int) -> Packet: ...
    @overload
    def __getitem__(self, i: slice) -> Packets: ...
    def __getitem__(self, i: int | slice) -> Packet | Packets:
        if isinstance(i, slice):
            return Packets(self._table, self._rows[i])
        row, table = int(self._rows[i]), self._table
        segment = segment_at(table, row)
        return Packet(int(table.frame[row]), int(table.t[row]), segment, int(table.connection[row]))


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
    def packets(self) -> Sequence[Packet]:
        """The TCP packets in order of time."""
        return Packets(self.table, range(len(self)))

    @cached_property
    def columns(self) -> Columns:
        """One NumPy array for each property of a TCP packet: see `Columns`."""
        return Columns(self.table)

    @cached_property
    def connections(self) -> list[tuple[Endpoint, Endpoint]]:
        """Client and server of every connection, in order of their first packet."""
        return clients_and_servers(self.table)

    def frames(self, i: int) -> list[int]:
        """Frame numbers of connection `i`, one for each passage of its trace."""
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
        passages = [
            Passage(t, *names[segment.source], segment, arrives=t)
            for t, segment in zip(self.table.t[rows].tolist(), segments, strict=True)
        ]
        classify(passages)
        trace = Trace(
            experiment=self.name,
            bench="capture",
            linux=self.sidecar.linux,
            hosts={"client": client.address, "server": server.address},
            passages=passages,
            end=self.ended - self.began,
            warnings=[*self.warnings, *_window_warning(segments, shifts)],
        )
        self._add_sidecar(trace, client, server)
        return trace

    def _cut(self, trace: Trace, rows: Array, part: slice) -> Trace:
        """What is left of the calls and samples with these rows, and the words for what is not."""
        count = len(rows)
        if part.stop < count:
            end, cut = trace.passages[-1].t, int(self.table.t[rows[part.stop]])
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
