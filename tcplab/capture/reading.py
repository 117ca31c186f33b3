"""Reading a pcap file into traces, so that the same pictures serve a learner's own capture.

A capture sees one point of the route: a segment has the one time at which it passed there, which
stands for its sending and for its arrival. What never passed there is not in the trace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from tcplab.capture import CaptureError
from tcplab.capture.container import read_frames
from tcplab.capture.dissect import dissect, knows_link
from tcplab.capture.sidecar import Sidecar, read_sidecar
from tcplab.incarnations import incarnations
from tcplab.kinds import classify
from tcplab.segment import ACK, RST, SYN, Endpoint, Segment
from tcplab.trace import Passage, Trace

#: Ports on which databases and what stands before them listen, beyond the system ports to 1023.
SERVICES = {
    1433: "SQL Server", 1521: "Oracle", 3306: "MySQL", 33060: "MySQL X", 5432: "PostgreSQL",
    5433: "PostgreSQL", 6379: "Redis", 6380: "Redis", 6432: "PgBouncer", 9042: "Cassandra",
    11211: "memcached", 16379: "Redis Cluster", 26257: "CockroachDB", 26379: "Redis Sentinel",
    27017: "MongoDB", 50000: "Db2",
}  # fmt: skip
SYSTEM_PORTS = range(1, 1024)


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


@dataclass(frozen=True)
class Capture:
    """A capture that has been read; `len()` counts its TCP packets."""

    #: The file's name.
    name: str
    packets: Sequence[Packet]
    #: When the first and the last packet of any kind passed, nanoseconds since 1970.
    began: int = 0
    ended: int = 0
    #: Title, provenance and the applications' calls where the file has a sidecar.
    sidecar: Sidecar = field(default_factory=Sidecar)
    #: Sentences a reader must know before believing what is shown.
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.packets)

    @cached_property
    def connections(self) -> list[tuple[Endpoint, Endpoint]]:
        """Client and server of every connection, in order of their first packet."""
        return [_client_and_server([packet.segment for packet in each]) for each in self._by_connection]

    @cached_property
    def columns(self) -> Mapping[str, list[Any]]:
        """One list for each property of a TCP packet, as a DataFrame takes them; `t` in ns."""
        rows = [(packet.frame, packet.t, packet.connection, packet.segment) for packet in self.packets]
        columns: dict[str, list[Any]] = {
            "frame": [frame for frame, _, _, _ in rows],
            "t": [t for _, t, _, _ in rows],
            "connection": [connection for _, _, connection, _ in rows],
            "source": [segment.source.address for *_, segment in rows],
            "source_port": [segment.source.port for *_, segment in rows],
            "destination": [segment.destination.address for *_, segment in rows],
            "destination_port": [segment.destination.port for *_, segment in rows],
        }
        for name in ("flags", "seq", "ack", "window", "length"):
            columns[name] = [getattr(segment, name) for *_, segment in rows]
        return columns

    def frames(self, i: int) -> list[int]:
        """Frame numbers of connection `i`, one for each passage of its trace."""
        return [packet.frame for packet in self._packets_of(i)]

    def connection(self, i: int) -> Trace:
        """Connection `i`, counted from 0, as a trace; `CaptureError` when there is none."""
        packets = self._packets_of(i)
        client, server = self.connections[i]
        names = {client: "client", server: "server"}
        scales = _window_scales([packet.segment for packet in packets])
        passages = [
            Passage(
                t=packet.t,
                sender=names[packet.segment.source],
                receiver="server" if names[packet.segment.source] == "client" else "client",
                segment=_scaled(packet.segment, scales),
                arrives=packet.t,
            )
            for packet in packets
        ]
        classify(passages)
        trace = Trace(
            experiment=self.name,
            bench="capture",
            linux=self.sidecar.linux,
            hosts={"client": client.address, "server": server.address},
            passages=passages,
            end=self.ended - self.began,
            warnings=[*self.warnings, *_window_warning(passages, scales)],
        )
        self._add_sidecar(trace, client, server)
        return trace

    @cached_property
    def _by_connection(self) -> list[list[Packet]]:
        sorted_out: dict[int, list[Packet]] = {}
        for packet in self.packets:
            sorted_out.setdefault(packet.connection, []).append(packet)
        return [sorted_out[i] for i in range(len(sorted_out))]

    def _packets_of(self, i: int) -> list[Packet]:
        if not 0 <= i < len(self._by_connection):
            there = len(self._by_connection)
            numbered = f"numbers 0 to {there - 1}" if there > 1 else "number 0" if there else "no TCP at all"
            raise CaptureError(f"{self.name} has no connection {i}: it has {numbered}.")
        return self._by_connection[i]

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


def read_capture(path: str | PathLike[str], *, cut_short_ok: bool = False) -> Capture:
    """A pcap or pcapng file, plain or gzipped: its TCP packets, whatever else it holds.

    Packets within scapy's reach: Ethernet, Linux cooked, raw IP, loopback; IPv4 and IPv6. Raises
    `CaptureError` in one sentence when the file is missing, no capture, of a link type that can't
    be read, or cut short; with `cut_short_ok` its whole packets are read and a warning says so.
    """
    file = Path(path)
    frames, cut_short = read_frames(file)
    if cut_short and not (cut_short_ok and frames):
        advice = " Its whole packets can be read with cut_short_ok=True." if frames else ""
        raise CaptureError(cut_short + advice)
    links = {frame.link for frame in frames}
    strange = {link for link in links if not knows_link(link)}
    if strange and strange == links:
        raise CaptureError(
            f"{file.name} was captured on a link of type {min(strange)}, which tcplab can't read; "
            "it reads Ethernet, Linux cooked (tcpdump -i any), raw IP and loopback."
        )
    sidecar, sidecar_warning = read_sidecar(file)
    warnings = [cut_short, sidecar_warning]
    if strange:
        skipped = sum(frame.link in strange for frame in frames)
        warnings.append(f"{skipped} packets of {file.name} are left out: their link type can't be read.")
    # A capture from several network queues may be out of order: time decides, not the file.
    dissected = sorted(
        ((frame.t, frame.number, segment) for frame in frames if (segment := dissect(frame))),
        key=lambda each: each[:2],
    )
    began, ended = min((f.t for f in frames), default=0), max((f.t for f in frames), default=0)
    numbers = incarnations(segment for _, _, segment in dissected)
    packets = [
        Packet(frame, t - began, segment, connection)
        for (t, frame, segment), connection in zip(dissected, numbers, strict=True)
    ]
    return Capture(file.name, packets, began, ended, sidecar, tuple(filter(None, warnings)))


def _client_and_server(segments: Sequence[Segment]) -> tuple[Endpoint, Endpoint]:
    """Who asked whom: the SYN tells, or else the ports."""
    for segment in segments:
        if segment.flags & SYN and not segment.flags & RST:
            ends = segment.source, segment.destination
            return ends[::-1] if segment.flags & ACK else ends
    one, other = segments[0].source, segments[0].destination
    known = [end.port in SYSTEM_PORTS or end.port in SERVICES for end in (one, other)]
    if known[0] != known[1]:
        return (other, one) if known[0] else (one, other)
    return (other, one) if one.port < other.port else (one, other)


def _window_scales(segments: Sequence[Segment]) -> dict[Endpoint, int] | None:
    """How far each side's window is shifted after its SYN; None where a SYN was not captured.

    Both SYNs must carry the option, or neither side shifts (RFC 7323 section 2.2).
    """
    offers: dict[Endpoint, int | None] = {}
    for segment in segments:
        if segment.flags & SYN:
            offers.setdefault(segment.source, segment.window_scale)
    if None in offers.values():
        return dict.fromkeys((segments[0].source, segments[0].destination), 0)
    return {end: scale or 0 for end, scale in offers.items()} if len(offers) == 2 else None


def _scaled(segment: Segment, scales: Mapping[Endpoint, int] | None) -> Segment:
    if scales is None or segment.flags & SYN or not scales[segment.source]:
        return segment
    return replace(segment, window=segment.window << scales[segment.source])


def _window_warning(passages: Sequence[Passage], scales: Mapping[Endpoint, int] | None) -> list[str]:
    shown = any(p.segment.window and not p.segment.flags & (SYN | RST) for p in passages)
    if scales is not None or not shown:
        return []
    return [
        "The capture does not hold both SYNs of this connection, so the factor of its window sizes is "
        "unknown: they are shown as they stand in the header, and the real ones may be many times larger."
    ]
