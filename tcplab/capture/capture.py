"""A pcap file as traces, so that the same pictures serve a learner's own capture.

A capture sees one point of the route: a segment has one time, at which it passed there, and that time
counts both as its sending and its arrival. What never passed there is not in the trace.

The packets come from a table: the fast reader's where NumPy is installed (table.py), else the plain
one's (plain.py). Here both become connections with a client and a server, traces, and what the sidecar
adds to them.
"""

from __future__ import annotations

import shutil
import sys
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from operator import attrgetter
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO, overload

from tcplab.capture import CaptureError, FileWarning
from tcplab.capture.plain import PlainTable, read_plain
from tcplab.capture.recordings import Sidecar, read_sidecar
from tcplab.core.segment import ACK, RST, SYN, Endpoint, Segment
from tcplab.core.trace import Note, Packet, Trace
from tcplab.follow import OFTEN, classify

if TYPE_CHECKING:
    from tcplab.capture.table import Columns, Table

#: Ports on which databases and their proxies listen, beyond the system ports to 1023.
SERVICES = {
    1433: "SQL Server", 1521: "Oracle", 3306: "MySQL", 33060: "MySQL X", 5432: "PostgreSQL",
    5433: "PostgreSQL", 6379: "Redis", 6380: "Redis", 6432: "PgBouncer", 9042: "Cassandra",
    11211: "memcached", 16379: "Redis Cluster", 26257: "CockroachDB", 26379: "Redis Sentinel",
    27017: "MongoDB", 50000: "Db2",
}  # fmt: skip
SYSTEM_PORTS = range(1, 1024)
#: The most segments of a connection that are diagnosed, and how many of them from its beginning: some 600 MB.
LONGEST, BEGINNING = 1_000_000, 100_000
#: What the ends of either leg are called in the whole.
FRONT_LEG = {"client": "client", "server": "proxy"}
BACK_LEG = {"client": "proxy", "server": "database"}
#: Calls that use or end a session; every other call in a sidecar only observes.
SESSION_CALLS = "psql -c", "ip address"


def client_and_server(source: Endpoint, destination: Endpoint, flags: int) -> tuple[Endpoint, Endpoint]:
    """The roles of the ends: by a SYN, else by the ports of the first segment that was captured."""
    if flags & (SYN | RST) == SYN:
        return (destination, source) if flags & ACK else (source, destination)
    known = [end.port in SYSTEM_PORTS or end.port in SERVICES for end in (source, destination)]
    if known[0] != known[1]:
        return (destination, source) if known[0] else (source, destination)
    return (destination, source) if source.port < destination.port else (source, destination)


@dataclass(frozen=True, slots=True)
class CapturedPacket:
    """One TCP packet of a capture."""

    #: Its number in the file, from 1, as Wireshark counts.
    frame: int
    #: Nanoseconds since the capture's first packet.
    t: int
    #: The segment, its window as in the header.
    segment: Segment
    #: The connection it belongs to, an index of `Capture.connections`.
    connection: int


class CapturedPackets(Sequence[CapturedPacket]):
    """The TCP packets of a table, each made on access."""

    def __init__(self, table: Table | PlainTable, rows: Sequence[int]) -> None:
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
        (segment,) = table.segments([row])
        return CapturedPacket(int(table.frame[row]), int(table.t[row]), segment, int(table.connection[row]))


@dataclass(frozen=True)
class Capture:
    """A capture that has been read; `len()` counts its TCP packets."""

    #: The file's name.
    name: str
    table: Table | PlainTable = field(repr=False)
    #: Title, provenance and the applications' calls where the file has a sidecar.
    sidecar: Sidecar = field(default_factory=Sidecar)
    #: Sentences to read first: what is missing or uncertain in the capture.
    warnings: tuple[FileWarning, ...] = ()

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
        if isinstance(self.table, PlainTable):
            raise CaptureError(f"the columns of {self.name} need NumPy, which this Python does not have.")
        from tcplab.capture.table import Columns

        return Columns(self.table)

    @cached_property
    def connections(self) -> list[tuple[Endpoint, Endpoint]]:
        """Client and server of every connection, in order of their first packet."""
        return [client_and_server(*each) for each in self.table.openings()]

    def frames(self, i: int) -> list[int]:
        """Frame numbers of connection `i`, one for each packet of its trace."""
        return self.table.values("frame", self.rows(i))

    def rows(self, i: int) -> Any:
        """The rows of connection `i` in the table and the columns, without frames that were captured twice.

        `CaptureError` when there is none.
        """
        count = len(self.connections)
        if not 0 <= i < count:
            numbered = f"numbers 0 to {count - 1}" if count > 1 else "number 0" if count else "no TCP at all"
            raise CaptureError(f"{self.name} has no connection {i}: it has {numbered}.")
        if i not in self._kept:
            rows: Any = self.table.rows(i)
            self._kept[i] = self.table.without_repeated(rows)
        return self._kept[i]

    @cached_property
    def _kept(self) -> dict[int, Any]:
        return {}

    def looked_at(self, i: int) -> Any:
        """The rows of connection `i` that are diagnosed: of a very long one, its beginning and its end."""
        rows = self.rows(i)
        if len(rows) <= LONGEST:
            return rows
        chosen = [*range(BEGINNING), *range(len(rows) - LONGEST + BEGINNING, len(rows))]
        return [rows[each] for each in chosen] if isinstance(self.table, PlainTable) else rows[chosen]

    def too_long(self, i: int) -> FileWarning | None:
        """The warning for a connection that is not diagnosed as a whole; else None."""
        if len(self.table.rows(i)) <= LONGEST or (count := len(self.rows(i))) <= LONGEST:
            return None
        return FileWarning(
            "too_long",
            f"Of its {count:,} segments only the first {BEGINNING:,} and the last {LONGEST - BEGINNING:,} "
            "are diagnosed.",
        )

    def duplicates(self, i: int) -> int:
        """How many packets of connection `i` repeat an earlier one within 1 ms; its rows exclude them."""
        return len(self.table.rows(i)) - len(self.rows(i))

    def clock_step(self, i: int) -> FileWarning | None:
        """The warning for a connection during which the clock was set (unreliable times); else None."""
        if not (steps := self.table.steps):
            return None
        rows = self.table.rows(i)
        first, last = self.table.values("frame", [rows[0], rows[-1]])
        place = bisect_right(steps, first, key=attrgetter("frame"))
        if place == len(steps) or steps[place].frame > last:
            return None
        return FileWarning(
            "clock_step",
            f"The clock was set at frame {steps[place].frame}, during this connection: times and durations "
            "after that frame are unreliable.",
        )

    def connection(
        self,
        i: int,
        *,
        first: int | None = None,
        last: int | None = None,
        going: Callable[[], None] = lambda: None,
    ) -> Trace:
        """Connection `i`, counted from 0, as a trace; `CaptureError` when there is none.

        `first` or `last` (1 or more) limits a long one to that many segments: a million of them take half a
        minute. A note at its end, or a warning, says what is left out. `going` is called every few thousand
        segments, and may end it by raising.
        """
        rows = self.rows(i)
        part = _part(len(rows), first, last)
        return self._cut(self.trace(i, rows[part], going), rows, part)

    def passed(self, i: int, rows: Any, segments: Sequence[Segment]) -> list[Packet]:
        """The segments in these rows of connection `i` as packets, whose kind is not known yet."""
        client, server = self.connections[i]
        names = {client: ("client", "server"), server: ("server", "client")}
        times = self.table.values("t", rows)
        return [Packet(t, *names[s.source], s, arrives=t) for t, s in zip(times, segments, strict=True)]

    def trace(self, i: int, rows: Any, going: Callable[[], None] = lambda: None) -> Trace:
        """These rows of connection `i` as a trace; `going` as in `connection`."""
        client, server = self.connections[i]
        packets, known = list[Packet](), True
        for begin in range(0, len(rows), OFTEN):
            going()
            part = rows[begin : begin + OFTEN]
            segments, is_known = self.table.scaled(i, part)
            packets += self.passed(i, part, segments)
            known = known and is_known
        classify(packets, going)
        trace = Trace(
            experiment=self.name,
            bench="capture",
            linux=self.sidecar.linux,
            hosts={"client": client.address, "server": server.address},
            packets=packets,
            end=self.ended - self.began,
            warnings=[
                *self.warnings,
                *filter(None, [self.clock_step(i)]),
                *([] if known else _window_warning([p.segment for p in packets])),
            ],
        )
        self._add_sidecar(trace, client, server)
        return trace

    def _cut(self, trace: Trace, rows: Any, part: slice) -> Trace:
        """Drop the calls and samples after the part that is shown, and say what is left out."""
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
    path: str | PathLike[str] | BinaryIO,
    *,
    cut_short_ok: bool = True,
    progress: Callable[[float], None] = lambda share: None,
) -> Capture:
    """A pcap or pcapng file, plain or packed with gzip or zstd: its TCP packets, whatever else it holds.

    Ethernet, VLAN, Linux cooked, raw IP, loopback; IPv4 and IPv6; tunnels that scapy knows. Raises
    `CaptureError` in one sentence when the file is missing, no capture, or of a link type that can't
    be read. Of a file that is cut short or damaged, what precedes that place is read, and the first of
    the `warnings` says where it is; without `cut_short_ok` that is an error, too. `progress` gets the
    share of the file that has been read, 0 .. 1; what it raises ends the reading. An open file is read to
    its end first, as a pipe has to be.
    """
    if not isinstance(path, str | PathLike):
        with TemporaryDirectory(prefix="tcplab-") as folder:
            whole = Path(folder, "standard input" if path is sys.stdin.buffer else "capture")
            with whole.open("wb") as copy:
                shutil.copyfileobj(path, copy)
            return read_capture(whole, cut_short_ok=cut_short_ok, progress=progress)
    file = Path(path)
    table: Table | PlainTable
    if find_spec("numpy"):
        from tcplab.capture.table import read_table

        table = read_table(file, progress)
    else:  # in a browser
        table = read_plain(file, progress)
    if table.trouble and not (cut_short_ok and table.packets):
        advice = " Its whole packets can be read with cut_short_ok=True." if table.packets else ""
        raise CaptureError(table.trouble + advice)
    skipped = sum(table.strange.values())
    if skipped and skipped == table.packets:
        raise CaptureError(
            f"{file.name} was captured on a link of type {min(table.strange)}, which tcplab can't read; "
            "it reads Ethernet, Linux cooked (tcpdump -i any), raw IP and loopback."
        )
    sidecar, sidecar_warning = read_sidecar(file)
    warnings = [table.trouble, *table.warnings]
    if sidecar_warning:
        warnings.append(FileWarning("sidecar", sidecar_warning))
    if skipped:
        says = f"{skipped} packets of {file.name} are left out: their link type is not supported."
        warnings.append(FileWarning("link_type", says))
    return Capture(file.name, table, sidecar, tuple(filter(None, warnings)))


def _part(count: int, first: int | None, last: int | None) -> slice:
    """Which of `count` segments are wanted, with explicit ends."""
    for name, most in (("first", first), ("last", last)):
        if most is not None and most < 1:
            raise CaptureError(f"{name} = {most} leaves no segments: give 1 or more.")
    if first is not None and last is not None:
        raise CaptureError("first and last are both given: a connection can be cut at one end only.")
    return slice(max(count - last, 0) if last else 0, min(count, first) if first else count)


def _window_warning(segments: Sequence[Segment]) -> list[str]:
    if not any(segment.window and not segment.flags & (SYN | RST) for segment in segments):
        return []
    return [
        "The capture does not hold both SYNs of this connection, so the factor of its window sizes is "
        "unknown: they are shown as they stand in the header, and the real ones may be many times larger."
    ]


def both_legs(front: Capture, back: Capture) -> Trace:
    """A client's connection to a proxy and the proxy's connection to the database as one trace.

    Each capture holds its leg as its first connection (`CaptureError` where it has none); their clocks must
    agree, as on one machine. Hosts are `client`, `proxy` and `database`; times are nanoseconds from the
    earlier capture's first packet. Of the sidecars' calls only those are kept that affect the session; what
    a DBA looked up meanwhile (`ss`, logs) is left out.
    """
    began = min(front.began, back.began)
    first = _renamed(front.connection(0), FRONT_LEG, front.began - began)
    second = _renamed(back.connection(0), BACK_LEG, back.began - began)
    in_order = attrgetter("t")
    return replace(
        first,
        hosts={**first.hosts, **second.hosts},
        packets=sorted(first.packets + second.packets, key=in_order),
        calls=sorted(first.calls + second.calls, key=in_order),
        sockets=sorted(first.sockets + second.sockets, key=in_order),
        end=max(first.end, second.end),
        warnings=[*first.warnings, *second.warnings],
    )


def _renamed(leg: Trace, names: Mapping[str, str], later: int) -> Trace:
    """The same leg with its ends' names in the whole, `later` nanoseconds on the whole's clock."""
    return replace(
        leg,
        hosts={names[host]: address for host, address in leg.hosts.items()},
        packets=[
            replace(
                p,
                t=p.t + later,
                sender=names[p.sender],
                receiver=names[p.receiver],
                arrives=None if p.arrives is None else p.arrives + later,
            )
            for p in leg.packets
        ],
        calls=[
            call._replace(t=call.t + later, began=call.began + later, host=names[call.host])
            for call in leg.calls
            if call.call.startswith(SESSION_CALLS)
        ],
        sockets=[sample._replace(t=sample.t + later, host=names[sample.host]) for sample in leg.sockets],
        end=leg.end + later,
    )
