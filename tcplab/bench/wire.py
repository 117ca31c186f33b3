"""The wire of the Linux bench: code that carries frames between the hosts' cards.

Each host's card is one end of a veth pair; on the other end, in the sandbox's own network,
sits a packet socket. A frame that the kernel hands over there is stamped by the kernel, waits
for the latency in one heap ordered by (due, number), and is written to the receiver's packet
socket. What is lost, cut or dropped is decided by the same `Cable` objects as on the model bench.

Frames are IPv4 only, which is all that the sandbox uses. Sources: RFC 791 section 3.1, RFC 9293
section 3.1 and 3.2 (header, options), RFC 1071 (checksum).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from heapq import heappop, heappush

from tcplab.bench.path import STRAIGHT, Crossing, RoutedWire
from tcplab.bench.sandbox import TooBusy
from tcplab.core.segment import ACK, FIN, RST, SYN, Endpoint, Segment, seq_diff
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Trace
from tcplab.route.cable import Cable

_IPV4 = b"\x08\x00"
_ETHERNET = 14
_TCP = 6
#: Options of a segment (RFC 9293 section 3.2, RFC 7323, RFC 2018).
_END, _NOTHING, _MSS, _SCALE, _SACK_PERMITTED, _SACK, _TIMESTAMPS = 0, 1, 2, 3, 4, 5, 8


def destination(frame: bytes) -> str | None:
    """The IPv4 address a frame is for, or None when it carries something else."""
    if len(frame) < _ETHERNET + 20 or frame[12:14] != _IPV4:
        return None
    return socket.inet_ntoa(frame[30:34])


class FrameParser:
    """Takes frames apart; remembers the window scales of the connections it has seen begin."""

    def __init__(self) -> None:
        self._scales: dict[tuple[Endpoint, Endpoint], int | None] = {}

    def segment(self, frame: bytes) -> Segment | None:
        """The TCP segment in an IPv4 frame, its window scaled; None when there is none."""
        if frame[23] != _TCP:
            return None
        at = _ETHERNET + (frame[14] & 0x0F) * 4
        total = int.from_bytes(frame[16:18], "big")
        source_port, destination_port, seq, ack, offset, flags, window = struct.unpack_from(
            "!HHIIBBH", frame, at
        )
        header = (offset >> 4) * 4
        source = Endpoint(socket.inet_ntoa(frame[26:30]), source_port)
        target = Endpoint(socket.inet_ntoa(frame[30:34]), destination_port)
        options: dict[int, bytes] = {}
        option, end = at + 20, at + header
        while option < end:
            kind = frame[option]
            if kind == _NOTHING:
                option += 1
                continue
            if kind == _END or option + 1 >= end or frame[option + 1] < 2:
                break
            length = frame[option + 1]
            options[kind] = frame[option + 2 : option + length]
            option += length
        scale = options[_SCALE][0] if _SCALE in options else None
        flags &= 0x3F
        if flags & SYN:
            self._scales[source, target] = scale
        else:
            window <<= self._shift(source, target)
        return Segment(
            source, target, seq, ack if flags & ACK else 0, flags, window,
            total - (at - _ETHERNET) - header,
            int.from_bytes(options[_MSS], "big") if _MSS in options else None, scale,
            _SACK_PERMITTED in options, tuple(struct.iter_unpack("!II", options.get(_SACK, b""))),
            struct.unpack("!II", options[_TIMESTAMPS]) if _TIMESTAMPS in options else None,
        )  # fmt: skip

    def _shift(self, source: Endpoint, target: Endpoint) -> int:
        """Only where both sides' SYNs offered it are windows scaled (RFC 7323 section 2.2)."""
        ours, theirs = self._scales.get((source, target)), self._scales.get((target, source))
        return 0 if ours is None or theirs is None else ours


def _checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def frame_of(segment: Segment, options: bytes = b"") -> bytes:
    """A segment as a frame with valid checksums and zeros as payload, without a receiver's address.

    `options` are bytes of the TCP header, a multiple of four; options in `segment` are not written.
    """
    source, target = socket.inet_aton(segment.source.address), socket.inet_aton(segment.destination.address)
    numbers = (segment.source.port, segment.destination.port, segment.seq, segment.ack)
    offset = 20 + len(options) << 2
    header = struct.pack("!HHIIBBHHH", *numbers, offset, segment.flags, segment.window, 0, 0)
    tcp = header + options + bytes(segment.length)
    pseudo = source + target + struct.pack("!BBH", 0, _TCP, len(tcp))
    tcp = tcp[:16] + _checksum(pseudo + tcp).to_bytes(2, "big") + tcp[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, _TCP, 0, source, target)
    ip = ip[:10] + _checksum(ip).to_bytes(2, "big") + ip[12:]
    return bytes(12) + _IPV4 + ip + tcp


def _stamps(segment: Segment) -> bytes:
    """The timestamp option as Linux writes it, after two NOPs; empty where there is none."""
    return struct.pack("!BBBBII", 1, 1, 8, 10, *segment.timestamps) if segment.timestamps else b""


#: Linux's numbers where Python has no name for them (asm-generic/socket.h, linux/if_packet.h).
_SO_TIMESTAMPNS = 35
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_QDISC_BYPASS = 263, 6, 20
_ETH_P_IP = 0x0800
#: Room for waiting frames; Linux cuts it to net.core.rmem_max.
_ROOM = 4 << 20
#: Two clocks that were read within this were read at the same time.
_AT_ONCE = 5_000
#: A frame that is delivered this much late makes the run worthless.
LATEST = 10 * MILLISECOND


class Clock:
    """Nanoseconds since the run began."""

    def __init__(self) -> None:
        self.began = time.monotonic_ns()
        #: How far the time of day is ahead of this clock.
        self._ahead = time.time_ns() - self.began

    def now(self) -> int:
        """This moment."""
        return time.monotonic_ns() - self.began

    def of_stamp(self, seconds: int, nanoseconds: int) -> int:
        """A kernel's time of day on this clock, even when the time of day is set meanwhile."""
        before = time.monotonic_ns()
        time_of_day = time.time_ns()
        if time.monotonic_ns() - before < _AT_ONCE:
            self._ahead = time_of_day - before
        return seconds * SECOND + nanoseconds - self._ahead - self.began


class LinkEnd:
    """One host's end of the wire: its cable, and the packet socket behind its card."""

    def __init__(self, name: str, card: str, mac: bytes) -> None:
        self.name = name
        self.mac = mac
        self.cable = Cable()
        #: Something went in or out since the host's sockets were last looked at; and whether it
        #: was a SYN, FIN or RST, after which they are looked at without delay.
        self.touched = self.turned = False
        #: When the last frame came: the next can't be earlier.
        self.last = 0
        self.plug_into(card)

    def plug_into(self, card: str) -> None:
        """Open the packet socket. Frames that we write ourselves don't come back on it: bound to
        one protocol, it gets no copies of what leaves."""
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        # A card that has just come up drops what is queued on it, until linkwatch has noticed it.
        self.socket.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        self.socket.bind((card, _ETH_P_IP))

    def overflowed(self) -> bool:
        """True when frames came faster than they were read, so that some are gone."""
        counts = self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return bool(struct.unpack("=II", counts)[1])


class LinuxWire(RoutedWire[LinkEnd]):
    """Carries frames in real time."""

    def __init__(self, trace: Trace, clock: Clock, latency: int, stirred: Callable[[], None]) -> None:
        super().__init__(trace, latency)
        self._clock = clock
        #: Called after anything went in or out.
        self._stirred = stirred
        self._loop = asyncio.get_running_loop()
        self._parser = FrameParser()
        self._ends: list[LinkEnd] = []
        self._retired: list[socket.socket] = []
        self._heap: list[tuple[int, int, Crossing[LinkEnd]]] = []
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._middlebox_timer: asyncio.TimerHandle | None = None
        #: Per direction: the last ACK sent, and the end of what has arrived without a gap.
        self._acked: dict[tuple[Endpoint, Endpoint], int] = {}
        self._arrived: dict[tuple[Endpoint, Endpoint], int] = {}
        #: Frames that hosts have sent, and when the run ended: later ones are not counted.
        self.taken = 0
        self._ended: int | None = None
        #: Why the run is worthless, once it is.
        self.trouble: TooBusy | None = None

    # -- who is on it ------------------------------------------------------------------------

    def attach(self, end: LinkEnd, address: str) -> None:
        """Add a host, or one that is back with a new card."""
        self.owners[address] = end
        if end not in self._ends:
            self._ends.append(end)
        self._loop.add_reader(end.socket.fileno(), self._read, end)

    def detach(self, end: LinkEnd) -> None:
        """Take a host's card off the wire."""
        self._loop.remove_reader(end.socket.fileno())
        if end.overflowed():
            self._too_busy("frames came faster than they could be carried")
        # Closing a packet socket takes longer than the wire can wait.
        self._retired.append(end.socket)

    def move(self, address: str, new: LinkEnd) -> None:
        """From now on what is for `address` goes to another host."""
        self.drain()
        self.owners[address] = new

    def freeze(self, t: int) -> None:
        """End the run at `t`: packets in transit stay there, and those sent until then are recorded."""
        self._ended = t
        if self._timer:
            self._timer.cancel()
        if self._middlebox_timer:
            self._middlebox_timer.cancel()
        self._heap.clear()

    def close(self) -> None:
        """Disconnect every host."""
        self.freeze(self._clock.now())
        for end in self._ends:
            self.detach(end)
        for each in self._retired:
            each.close()

    # -- in ------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take in what the hosts have sent up to now, before anything about the wire changes."""
        for end in self._ends:
            self._read(end)

    def _read(self, end: LinkEnd) -> None:
        receive = end.socket.recvmsg
        while True:
            try:
                frame, ancillary, _, _ = receive(65536, 64)
            except (BlockingIOError, InterruptedError):
                return
            stamp = next(data for level, kind, data in ancillary if kind == _SO_TIMESTAMPNS)
            end.last = max(end.last, self._clock.of_stamp(*struct.unpack("=qq", stamp)))
            self._take(end, frame, end.last)
            if self._heap and self._heap[0][0] <= self._clock.now():  # in the middle of a burst
                self._deliver_due()

    def _take(self, end: LinkEnd, frame: bytes, t: int) -> None:
        self.taken += 1
        if self._ended is not None and t > self._ended:
            return
        address = destination(frame)
        receiver = self.owners.get(address) if address else None
        if receiver is None:
            return
        segment = self._parser.segment(frame)
        if segment is None:  # ICMP, for example: carried, but no part of the story
            if end.cable.plugged and receiver.cable.plugged:
                self._go(Crossing(None, receiver, (end.cable, receiver.cable), STRAIGHT, frame), t)
            return
        if segment.flags & ACK:
            self._acked[segment.source, segment.destination] = segment.ack
        self._touch(end, segment)
        self.put(end, receiver, segment, t, frame=frame)

    def forge(self, segment: Segment) -> None:
        """A segment that its sender never sent, put on the wire at its end."""
        sender, receiver = self.owners[segment.source.address], self.owners[segment.destination.address]
        self.put(sender, receiver, segment, self._clock.now(), "forged")

    def _schedule(self, crossing: Crossing[LinkEnd], due: int) -> None:
        if self._ended is not None:
            return
        self._number += 1
        heappush(self._heap, (due, self._number, crossing))
        if self._heap[0][1] == self._number:
            self._set_timer()

    # -- middleboxes ---------------------------------------------------------------------------

    def _meet(self, crossing: Crossing[LinkEnd], due: int, now: int) -> None:
        super()._meet(crossing, due, now)
        self._stirred()

    def _watch_middleboxes(self) -> None:
        if self._middlebox_timer:
            self._middlebox_timer.cancel()
        due = self.routes.next_timer()
        if due is not None:
            self._middlebox_timer = self._loop.call_at(
                (due + self._clock.began) / SECOND, self._middleboxes_due
            )

    def _middleboxes_due(self) -> None:
        self._fire_middleboxes(self._clock.now())
        self._stirred()

    # -- out -----------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        due = (self._heap[0][0] + self._clock.began) / SECOND
        self._timer = self._loop.call_at(due, self._deliver_due)

    def _deliver_due(self) -> None:
        while self._heap and self._heap[0][0] <= (now := self._clock.now()):
            due, _, crossing = heappop(self._heap)
            if now - due > LATEST:
                self._too_busy(f"a segment arrived {(now - due) // MILLISECOND} ms late")
            self._arrive(crossing, due, now)
        if self._heap:
            self._set_timer()

    def _deliver(self, crossing: Crossing[LinkEnd], now: int) -> None:
        packet, receiver, frame = crossing.packet, crossing.receiver, crossing.frame
        if packet:
            packet.arrives = now
            frame = frame or frame_of(packet.segment, _stamps(packet.segment))  # no host has sent it
            rule = receiver.cable.rule_for(packet.segment)
            if rule is not None:
                packet.fate = f"dropped_by:{rule}"
            else:
                self._note_arrival(packet.segment)
            self._touch(receiver, packet.segment)
        try:
            receiver.socket.send(receiver.mac + frame[6:])
        except BlockingIOError:
            self._too_busy("a host did not take its segments")

    def _touch(self, end: LinkEnd, segment: Segment) -> None:
        end.touched = True
        end.turned = end.turned or bool(segment.flags & (SYN | FIN | RST))
        self._stirred()

    def _too_busy(self, what: str) -> None:
        if self.trouble is None:
            self.trouble = TooBusy(f"this machine is too busy for the Linux bench: {what}; try again.")
            self._stirred()

    # -- what has been acknowledged --------------------------------------------------------------

    def _note_arrival(self, segment: Segment) -> None:
        direction = (segment.source, segment.destination)
        known = self._arrived.get(direction)
        if (
            known is None
            or segment.flags & SYN
            or (seq_diff(segment.seq, known) <= 0 < seq_diff(segment.end_seq, known))
        ):
            self._arrived[direction] = segment.end_seq

    def owes_ack(self, local: Endpoint, remote: Endpoint) -> bool:
        """True while something has arrived at `local` that it has not acknowledged on the wire."""
        arrived, acked = self._arrived.get((remote, local)), self._acked.get((local, remote))
        return arrived is not None and (acked is None or seq_diff(arrived, acked) > 0)
