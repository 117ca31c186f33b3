"""The sending half of a connection: what is in flight, and what an acknowledgement does to it.

Sources: net/ipv4/tcp_output.c (tcp_write_xmit, tcp_snd_wnd_test), net/ipv4/tcp_input.c (tcp_ack,
tcp_clean_rtx_queue, tcp_may_update_window, tcp_ack_probe), net/ipv4/tcp_recovery.c.

Not modelled: congestion control beyond the initial window of ten segments and slow start.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from tcplab.model.rtt import RoundTrip
from tcplab.model.sendtimer import RETRANSMIT, WINDOW_PROBE, SendTimer
from tcplab.model.sysctls import INITIAL_WINDOW, MSS_DEFAULT, TIMEOUT_INIT
from tcplab.segment import ACK, FIN, PSH, SYN, Segment, after, before, seq_add, seq_diff

if TYPE_CHECKING:
    from tcplab.model.socket import Socket


#: GSO_LEGACY_MAX_SIZE less the longest headers: the largest buffer that Linux queues.
LARGEST_BUFFER = 65535 - 320


class Chunk:
    """A piece of the stream in flight, as it was last sent."""

    __slots__ = ("end", "flags", "length", "lost", "repeats", "sacked", "sent_at", "seq")

    def __init__(self, seq: int, length: int, flags: int, now: int) -> None:
        self.seq = seq
        self.length = length
        self.flags = flags
        self.end = seq_add(seq, length + (1 if flags & (SYN | FIN) else 0))
        self.sent_at = now
        self.repeats = 0
        self.lost = False
        self.sacked = False


class Sender:
    """SND.UNA, SND.NXT, the window, what is in flight, and its timer."""

    __slots__ = (
        "boundaries", "cwnd", "data_end", "finishing", "flight", "iss", "max_window", "mss", "nxt",
        "queued_from",
        "recovery_end", "rtt", "socket", "timer", "una", "window", "wl1", "wl2",
    )  # fmt: skip

    def __init__(self, socket: Socket, iss: int) -> None:
        self.socket = socket
        self.iss = self.una = self.nxt = iss
        #: End of what the application has written, and whether a FIN follows it.
        self.data_end = seq_add(iss, 1)
        self.finishing = False
        #: Where the write began whose bytes wait first.
        self.queued_from = self.data_end
        #: Ends of writes not yet sent: their last segment carries PSH.
        self.boundaries: deque[int] = deque()
        self.flight: deque[Chunk] = deque()
        self.window = self.max_window = 0
        self.wl1 = self.wl2 = 0
        self.mss = MSS_DEFAULT
        self.cwnd = INITIAL_WINDOW
        self.rtt = RoundTrip()
        self.timer = SendTimer(self)
        #: Repairing losses until this number is acknowledged: no tail loss probe meanwhile.
        self.recovery_end: int | None = None

    @property
    def unsent(self) -> bool:
        """Data or a FIN waits for the window."""
        return self.nxt != self.limit()

    @property
    def busy(self) -> bool:
        """Something is in flight or waits to be sent."""
        return bool(self.flight) or self.unsent

    def limit(self) -> int:
        if self.nxt == self.iss:
            return self.iss
        return seq_add(self.data_end, 1) if self.finishing else self.data_end

    # -- sending -------------------------------------------------------------------------

    def send_syn(self, now: int, flags: int) -> None:
        """SYN or SYN-ACK; its timer starts at one second."""
        self.flight.append(Chunk(self.iss, 0, flags, now))
        self.nxt = seq_add(self.iss, 1)
        self.timer.repeating_since = now
        self.transmit(now, self.flight[0])
        self.timer.arm(now, RETRANSMIT, TIMEOUT_INIT)

    def write(self, now: int, length: int) -> None:
        """Take `length` bytes from the application and send what the windows allow."""
        if not self.unsent:
            self.queued_from = self.data_end
        self.data_end = seq_add(self.data_end, length)
        self.boundaries.append(self.data_end)
        self.push(now)

    def finish(self, now: int) -> None:
        """Send a FIN after the last byte."""
        self.finishing = True
        self.push(now)

    def push(self, now: int) -> None:
        """Send what may be sent: lost pieces first, then new ones."""
        sent = self.recovery_end is not None and self._send_lost(now)
        limit = self.limit()
        if self.nxt == limit:
            return
        was_in_flight = bool(self.flight)
        window_end = seq_add(self.una, self.window)
        room = self._room()
        burst = new = False
        while self.nxt != limit and room > 0:
            left = seq_diff(self.data_end, self.nxt)
            length = left if left < self.mss else self.mss
            space = seq_diff(window_end, self.nxt)
            # A FIN needs room as well (tcp_snd_wnd_test).
            if space < length + (self.finishing and length == left):
                # A burst may end with what is left of the window; nothing starts with a piece of it.
                if not burst or space <= 0:
                    break
                length = space
            self.send_new(now, length, left)
            burst = new = True
            room -= 1
        if new:
            self.timer.after_new(now, was_in_flight)
        elif not sent and not self.flight and self.unsent and self.timer.kind is None:
            self.timer.watch_window(now)

    def send_new(self, now: int, length: int, left: int, flags: int = 0) -> None:
        flags |= ACK
        end = seq_add(self.nxt, length)
        while self.boundaries and not after(self.boundaries[0], end):
            self.boundaries.popleft()
            flags |= PSH
        if self.finishing and length == left and after(seq_add(self.una, self.window), end):
            flags |= FIN
        chunk = Chunk(self.nxt, length, flags, now)
        self.flight.append(chunk)
        self.nxt = chunk.end
        self.transmit(now, chunk)
        if length:
            self.socket.receiver.answered(now)

    def _room(self) -> int:
        """How many more segments the congestion window allows."""
        return self.cwnd - sum(not (chunk.lost or chunk.sacked) for chunk in self.flight)

    def _send_lost(self, now: int) -> bool:
        room = self._room()
        sent = False
        for chunk in self.flight:
            if room <= 0:
                break
            if chunk.lost:
                self.repeat(now, chunk)
                sent = True
                room -= 1
        return sent

    def transmit(self, now: int, chunk: Chunk) -> None:
        self.socket.emit(now, chunk.flags, seq=chunk.seq, length=chunk.length)

    def repeat(self, now: int, chunk: Chunk) -> None:
        chunk.lost = False
        chunk.repeats += 1
        chunk.sent_at = now
        self.socket.stack.count("TcpRetransSegs")
        self.transmit(now, chunk)
        if self.timer.repeating_since is None:
            self.timer.repeating_since = now

    def probe(self, now: int) -> None:
        """A keepalive or window probe: an ACK at SND.UNA - 1 that demands an answer."""
        self.socket.emit(now, ACK, seq=seq_add(self.una, -1))

    # -- acknowledgements ----------------------------------------------------------------

    def acceptable(self, ack: int) -> bool:
        """Does `ack` acknowledge only what was sent, and nothing far in the past?"""
        if ack == self.una or ack == self.nxt:
            return True
        acknowledged = (self.una - self.iss) & 0xFFFFFFFF
        oldest = seq_add(self.una, -min(self.max_window, acknowledged))
        return not after(ack, self.nxt) and not before(ack, oldest)

    def on_ack(self, now: int, segment: Segment) -> bool:
        """Take an acceptable acknowledgement; True when it acknowledged something new."""
        ack = segment.ack
        if before(ack, self.una):
            return False
        self.socket.heard(now)
        had_flight = bool(self.flight)
        self._update_window(segment)
        newly_sacked = self._mark_sacked(segment)
        advanced = ack != self.una
        if advanced:
            self._acknowledge(now, ack)
        if self.flight:
            if advanced:
                self.timer.after_ack(now)
            if newly_sacked and self.recovery_end is None and self._overtaken():
                self.timer.await_reordering(now)
        elif had_flight:
            self.timer.disarm()
        elif self.unsent and self.timer.kind == WINDOW_PROBE:
            self.timer.on_probe_answer(now)
        return advanced

    def _update_window(self, segment: Segment) -> None:
        ack, seq, window = segment.ack, segment.seq, segment.window
        if (
            after(ack, self.una)
            or after(seq, self.wl1)
            or (seq == self.wl1 and (window > self.window or not window))
        ):
            self.window = window
            if window > self.max_window:
                self.max_window = window
            self.wl1, self.wl2 = seq, ack

    def _acknowledge(self, now: int, ack: int) -> None:
        oldest: Chunk | None = None
        count = 0
        while self.flight and not after(self.flight[0].end, ack):
            chunk = self.flight.popleft()
            oldest = oldest or chunk
            count += 1
        if self.flight and before(self.flight[0].seq, ack):
            first = self.flight[0]
            first.length -= seq_diff(ack, first.seq)
            first.seq = ack
        self.una = ack
        self.timer.repeats = 0
        self.timer.tail_probe_sent = False
        if oldest:
            measured = now - oldest.sent_at
            if not oldest.repeats or self.socket.timestamps:
                base = self.iss
                self.rtt.sample(measured, (ack - base) & 0xFFFFFFFF, (self.nxt - base) & 0xFFFFFFFF)
                self.timer.backoff = 0
            self.cwnd += count
        if self.recovery_end is not None and not before(ack, self.recovery_end):
            self.recovery_end = None
        if self.timer.repeating_since is not None and not any(chunk.repeats for chunk in self.flight):
            self.timer.repeating_since = None

    def _mark_sacked(self, segment: Segment) -> bool:
        if not segment.sack:
            return False
        newly = False
        for left, right in segment.sack:
            for chunk in self.flight:
                if not chunk.sacked and not before(chunk.seq, left) and not after(chunk.end, right):
                    chunk.sacked = newly = True
                    chunk.lost = False
        return newly

    def _overtaken(self) -> bool:
        """Has something arrived that was sent after a piece still missing (RACK)?

        net/ipv4/tcp_recovery.c:tcp_rack_detect_loss.
        """
        latest = self._latest_arrival()
        return any(
            not chunk.sacked and not chunk.repeats and (chunk.sent_at, i) < latest
            for i, chunk in enumerate(self.flight)
        )

    def _latest_arrival(self) -> tuple[int, int]:
        """What was sent last of all that has arrived behind a hole: when, and its place in the flight.

        Of two that were sent at the same moment it is the later one (tcp_rack_sent_after).
        """
        arrived = ((chunk.sent_at, i) for i, chunk in enumerate(self.flight) if chunk.sacked)
        return max(arrived, default=(-1, -1))

    def start_recovery(self, now: int, *, everything: bool) -> None:
        """Take pieces for lost: all, or those overtaken by something that arrived."""
        latest = self._latest_arrival()
        if self.recovery_end is None or not everything:
            self.recovery_end = self.nxt
        for i, chunk in enumerate(self.flight):
            chunk.lost = not chunk.sacked and (everything or (chunk.sent_at, i) < latest)

    @property
    def window_fits_next(self) -> bool:
        """The whole next buffer lies inside the peer's window.

        Linux queues what is written in buffers of whole segments, up to half the largest window
        (net/ipv4/tcp.c:tcp_send_mss, tcp_bound_to_half_wnd).
        """
        buffer = max(min(self.max_window // 2, LARGEST_BUFFER) // self.mss, 1) * self.mss
        queued = seq_diff(self.nxt, self.queued_from)
        end = seq_add(self.queued_from, (queued // buffer + 1) * buffer)
        if after(end, self.limit()):
            end = self.limit()
        return not after(end, seq_add(self.una, self.window))

    def send_into_small_window(self, now: int) -> bool:
        """What fits when the window is open but smaller than a segment; False when it is closed.

        It carries PSH: nothing follows soon (net/ipv4/tcp_output.c:tcp_write_wakeup).
        """
        space = seq_diff(seq_add(self.una, self.window), self.nxt)
        left = seq_diff(self.data_end, self.nxt)
        if space <= 0 or not left:
            return False
        self.send_new(now, min(space, self.mss, left), left, PSH)
        return True

    def stop(self) -> None:
        """Forget everything in flight: the connection is over."""
        self.timer.disarm()
        self.flight.clear()
        self.boundaries.clear()
        if self.nxt != self.iss:
            self.nxt = self.limit()
