"""The sending half of a connection: what is in flight, and the one timer that watches it.

There is one timer with variants, so that impossible combinations can't be written: a
retransmission, a tail loss probe, a wait for reordering, or a window probe. Sources:
net/ipv4/tcp_output.c (tcp_write_xmit, tcp_schedule_loss_probe, tcp_send_loss_probe,
tcp_send_probe0), net/ipv4/tcp_timer.c (tcp_retransmit_timer, tcp_write_timeout, tcp_probe_timer),
net/ipv4/tcp_input.c (tcp_ack, tcp_rearm_rto, tcp_ack_probe).

Not modelled: congestion control beyond the initial window of ten segments and slow start.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from tcplab.model.rtt import RoundTrip, retries_as_time
from tcplab.model.states import SYN_RECV, SYN_SENT
from tcplab.model.sysctls import INITIAL_WINDOW, MSS_DEFAULT, RTO_MAX, RTO_MIN, SECOND, TIMEOUT_INIT
from tcplab.segment import ACK, FIN, PSH, SYN, Segment, after, before, seq_add, seq_diff

if TYPE_CHECKING:
    from tcplab.model.socket import Socket

RETRANSMIT = "retransmit"
LOSS_PROBE = "loss probe"
REORDER = "reorder"
WINDOW_PROBE = "window probe"


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
        "backoff", "boundaries", "cwnd", "data_end", "due", "finishing", "flight", "iss", "max_window",
        "mss", "nxt", "probing_since", "recovery_end", "retransmits", "retransmitting_since", "rtt",
        "socket", "tail_probe_sent", "timer", "una", "window", "wl1", "wl2",
    )  # fmt: skip

    def __init__(self, socket: Socket, iss: int) -> None:
        self.socket = socket
        self.iss = self.una = self.nxt = iss
        #: End of what the application has written, and whether a FIN follows it.
        self.data_end = seq_add(iss, 1)
        self.finishing = False
        #: Ends of writes not yet sent: their last segment carries PSH.
        self.boundaries: deque[int] = deque()
        self.flight: deque[Chunk] = deque()
        self.window = self.max_window = 0
        self.wl1 = self.wl2 = 0
        self.mss = MSS_DEFAULT
        self.cwnd = INITIAL_WINDOW
        self.rtt = RoundTrip()
        self.timer: str | None = None
        self.due: int | None = None
        self.backoff = 0
        self.retransmits = 0
        #: First retransmission of what is in flight (tp->retrans_stamp), or the first SYN.
        self.retransmitting_since: int | None = None
        self.probing_since: int | None = None
        #: Repairing losses until this number is acknowledged: no tail loss probe meanwhile.
        self.recovery_end: int | None = None
        self.tail_probe_sent = False

    @property
    def unsent(self) -> bool:
        """Data or a FIN waits for the window."""
        return self.nxt != self._limit()

    @property
    def busy(self) -> bool:
        """Something is in flight or waits to be sent."""
        return bool(self.flight) or self.unsent

    def _limit(self) -> int:
        if self.nxt == self.iss:
            return self.iss
        return seq_add(self.data_end, 1) if self.finishing else self.data_end

    # -- sending -------------------------------------------------------------------------

    def send_syn(self, now: int, flags: int) -> None:
        """SYN or SYN-ACK; its timer starts at one second."""
        self.flight.append(Chunk(self.iss, 0, flags, now))
        self.nxt = seq_add(self.iss, 1)
        self.retransmitting_since = now
        self._transmit(now, self.flight[0])
        self._arm(now, RETRANSMIT, TIMEOUT_INIT)

    def write(self, now: int, length: int) -> None:
        """Take `length` bytes from the application and send what the windows allow."""
        self.data_end = seq_add(self.data_end, length)
        self.boundaries.append(self.data_end)
        self.push(now)

    def finish(self, now: int) -> None:
        """Send a FIN after the last byte."""
        self.finishing = True
        self.push(now)

    def push(self, now: int) -> None:
        """Send what may be sent: lost pieces first, then new ones."""
        was_in_flight = bool(self.flight)
        sent = self._send_lost(now)
        window_end = seq_add(self.una, self.window)
        limit = self._limit()
        room = self.cwnd - sum(not (c.lost or c.sacked) for c in self.flight) if was_in_flight else self.cwnd
        burst = False
        new = False
        while self.nxt != limit and room > 0:
            left = seq_diff(self.data_end, self.nxt)
            length = min(left, self.mss)
            space = seq_diff(window_end, self.nxt)
            if space < length:
                # A burst may end with what is left of the window; nothing starts with a piece of it.
                if not burst or space <= 0:
                    break
                length = space
            self._send_new(now, length, left)
            burst = new = True
            room -= 1
        if new:
            self._arm_after_new(now, was_in_flight)
        elif not sent and not self.flight and self.unsent and self.timer is None:
            self._arm(now, WINDOW_PROBE, max(self._rto(), RTO_MIN))

    def _send_new(self, now: int, length: int, left: int) -> None:
        flags = ACK
        end = seq_add(self.nxt, length)
        while self.boundaries and not after(self.boundaries[0], end):
            self.boundaries.popleft()
            flags |= PSH
        if self.finishing and length == left:
            flags |= FIN
        chunk = Chunk(self.nxt, length, flags, now)
        self.flight.append(chunk)
        self.nxt = chunk.end
        self._transmit(now, chunk)
        if length:
            self.socket.receiver.answered(now)

    def _send_lost(self, now: int) -> bool:
        if self.recovery_end is None:
            return False
        room = self.cwnd - sum(not (c.lost or c.sacked) for c in self.flight)
        sent = False
        for chunk in self.flight:
            if room <= 0:
                break
            if chunk.lost:
                self._repeat(now, chunk)
                sent = True
                room -= 1
        return sent

    def _transmit(self, now: int, chunk: Chunk) -> None:
        self.socket.emit(now, chunk.flags, seq=chunk.seq, length=chunk.length)

    def _repeat(self, now: int, chunk: Chunk) -> None:
        chunk.lost = False
        chunk.repeats += 1
        chunk.sent_at = now
        self.socket.stack.count("TcpRetransSegs")
        self._transmit(now, chunk)
        if self.retransmitting_since is None:
            self.retransmitting_since = now

    def probe(self, now: int) -> None:
        """A keepalive or window probe: an ACK at SND.UNA - 1 that demands an answer."""
        self.socket.emit(now, ACK, seq=seq_add(self.una, -1))

    # -- acknowledgements ----------------------------------------------------------------

    def acceptable(self, ack: int) -> bool:
        """Does `ack` acknowledge only what was sent, and nothing far in the past?"""
        return not after(ack, self.nxt) and not before(ack, seq_add(self.una, -max(self.max_window, 1)))

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
                self._arm_after_ack(now)
            if newly_sacked:
                self._look_for_loss(now)
        elif had_flight:
            self._disarm()
        elif self.unsent and self.timer == WINDOW_PROBE:
            self._on_probe_answer(now)
        return advanced

    def _update_window(self, segment: Segment) -> None:
        ack, seq, window = segment.ack, segment.seq, segment.window
        if (
            after(ack, self.una)
            or after(seq, self.wl1)
            or (seq == self.wl1 and (window > self.window or not window))
        ):
            self.window = window
            self.max_window = max(self.max_window, window)
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
        self.retransmits = 0
        self.tail_probe_sent = False
        if oldest:
            measured = now - oldest.sent_at
            if not oldest.repeats or self.socket.timestamps:
                base = self.iss
                self.rtt.sample(measured, (ack - base) & 0xFFFFFFFF, (self.nxt - base) & 0xFFFFFFFF)
                self.backoff = 0
            self.cwnd += count
        if self.recovery_end is not None and not before(ack, self.recovery_end):
            self.recovery_end = None
        if not any(chunk.repeats for chunk in self.flight):
            self.retransmitting_since = None

    def _mark_sacked(self, segment: Segment) -> bool:
        newly = False
        for left, right in segment.sack:
            for chunk in self.flight:
                if not chunk.sacked and not before(chunk.seq, left) and not after(chunk.end, right):
                    chunk.sacked = newly = True
                    chunk.lost = False
        return newly

    def _look_for_loss(self, now: int) -> None:
        """RACK: what was sent before something that arrived is lost unless it comes very soon.

        net/ipv4/tcp_recovery.c:tcp_rack_detect_loss, tcp_rack_mark_lost.
        """
        latest = max((c.sent_at for c in self.flight if c.sacked), default=None)
        if latest is None or self.recovery_end is not None:
            return
        if any(not c.sacked and c.sent_at <= latest and not c.repeats for c in self.flight):
            wait = self.rtt.smoothed // 4 + 2 * self.socket.stack.release.tick
            self._arm(now, REORDER, wait)

    def _on_probe_answer(self, now: int) -> None:
        """A window probe was answered, or the window has opened (tcp_ack_probe)."""
        next_end = seq_add(self.nxt, min(self.mss, max(1, seq_diff(self._limit(), self.nxt))))
        if not after(next_end, seq_add(self.una, self.window)):
            self.backoff = 0
            self.probing_since = None
            self._disarm()
        else:
            self._arm(now, WINDOW_PROBE, self._clamp_probe(now, self._probe_wait()))

    # -- the timer -----------------------------------------------------------------------

    def _rto(self) -> int:
        return min(self.socket.stack.ticks(self.rtt.rto) << self.backoff, RTO_MAX)

    def _arm(self, now: int, timer: str, wait: int) -> None:
        self.timer = timer
        self.due = now + self.socket.stack.ticks(wait)

    def _disarm(self) -> None:
        self.timer = self.due = None

    def stop(self) -> None:
        """Forget everything in flight: the connection is over."""
        self._disarm()
        self.flight.clear()
        self.boundaries.clear()
        self.nxt = self._limit() if self.nxt != self.iss else self.iss

    def _arm_after_new(self, now: int, was_in_flight: bool) -> None:
        head_due = self.flight[0].sent_at + self._rto()
        if not was_in_flight or self.timer in (LOSS_PROBE, REORDER):
            self._arm(now, RETRANSMIT, max(head_due - now, 1))
        self._schedule_loss_probe(now, max(head_due - now, 0))

    def _arm_after_ack(self, now: int) -> None:
        self._arm(now, RETRANSMIT, self._rto())
        self._schedule_loss_probe(now, self._rto())

    def _schedule_loss_probe(self, now: int, at_most: int) -> None:
        """A lone segment without an answer is repeated once before the timer backs off."""
        socket = self.socket
        if not (socket.stack.release.tail_loss_probe and socket.sack) or self.recovery_end is not None:
            return
        tick = socket.stack.release.tick
        if self.rtt.srtt:
            wait = 2 * self.rtt.smoothed + (RTO_MIN if len(self.flight) == 1 else 2 * tick)
        else:
            wait = TIMEOUT_INIT
        self._arm(now, LOSS_PROBE, min(wait, at_most) if at_most else wait)

    def fire(self, now: int) -> None:
        """The timer is due."""
        timer, self.timer, self.due = self.timer, None, None
        if timer == WINDOW_PROBE:
            self._probe_window(now)
        elif not self.flight:
            return
        elif timer == LOSS_PROBE:
            self._probe_tail(now)
        elif timer == REORDER:
            self._start_recovery(now)
            self.push(now)
            self._arm(now, RETRANSMIT, self._rto())
        else:
            self._time_out(now)

    def _start_recovery(self, now: int) -> None:
        latest = max(c.sent_at for c in self.flight if c.sacked)
        self.recovery_end = self.nxt
        for chunk in self.flight:
            chunk.lost = not chunk.sacked and chunk.sent_at <= latest

    def _probe_tail(self, now: int) -> None:
        if not self.tail_probe_sent:
            self.tail_probe_sent = True
            self.socket.stack.count("TcpExtTCPLossProbes")
            self.socket.stack.count("TcpRetransSegs")
            tail = self.flight[-1]
            tail.repeats += 1
            tail.sent_at = now
            self._transmit(now, tail)
        self._arm(now, RETRANSMIT, self._rto())

    def _time_out(self, now: int) -> None:
        socket = self.socket
        if self._expired(now):
            socket.stack.count("TcpExtTCPAbortOnTimeout")
            socket.fail(now, "ETIMEDOUT")
            return
        socket.stack.count("TcpExtTCPTimeouts")
        if self.recovery_end is None:
            self.recovery_end = self.nxt
        self.cwnd = 1
        for chunk in self.flight:
            chunk.lost = not chunk.sacked
        self._repeat(now, self.flight[0])
        self.retransmits += 1
        linear = (socket.stack.sysctls.tcp_syn_linear_timeouts or 0) if socket.state == SYN_SENT else 0
        if self.retransmits > linear:
            self.backoff += 1
        self._arm(now, RETRANSMIT, self._clamp(now, self._rto()))

    def _expired(self, now: int) -> bool:
        """Is it time to give up? A time, not a count (tcp_timer.c:tcp_write_timeout)."""
        socket, sysctls = self.socket, self.socket.stack.sysctls
        exact = socket.stack.release.user_timeout_exact
        user_timeout = socket.options.user_timeout
        if socket.state == SYN_SENT:
            limit = sysctls.tcp_syn_retries
            if self.retransmits >= limit + (sysctls.tcp_syn_linear_timeouts or 0):
                return True
            allowed = (user_timeout if exact else 0) or retries_as_time(limit, SECOND)
        elif socket.state == SYN_RECV:
            return self.retransmits >= sysctls.tcp_synack_retries
        else:
            retries = sysctls.tcp_retries2
            if socket.orphan:
                retries = sysctls.tcp_orphan_retries or (8 if self._rto() < RTO_MAX else 0)
            allowed = user_timeout or retries_as_time(retries)
        if not self.retransmits or self.retransmitting_since is None:
            return False
        return now - self.retransmitting_since >= allowed

    def _clamp(self, now: int, wait: int) -> int:
        """Never sleep beyond the user timeout (tcp_clamp_rto_to_user_timeout, since 4.19)."""
        limit = self.socket.options.user_timeout
        if not limit or not self.socket.stack.release.user_timeout_exact or self.retransmitting_since is None:
            return wait
        return min(wait, max(limit - (now - self.retransmitting_since), 1))

    def _probe_wait(self) -> int:
        return min(max(self.socket.stack.ticks(self.rtt.rto), RTO_MIN) << self.backoff, RTO_MAX)

    def _clamp_probe(self, now: int, wait: int) -> int:
        limit = self.socket.options.user_timeout
        if not limit or self.probing_since is None or not self.socket.stack.release.user_timeout_exact:
            return wait
        return min(wait, max(limit - (now - self.probing_since), 1))

    def _probe_window(self, now: int) -> None:
        """The window is closed: ask again, for as long as the peer answers (tcp_probe_timer)."""
        socket = self.socket
        if self.flight or not self.unsent:
            socket.probes_out = 0
            self.probing_since = None
            return
        limit = socket.options.user_timeout
        if self.probing_since is None:
            self.probing_since = now
        elif limit and now - self.probing_since >= limit:
            socket.fail(now, "ETIMEDOUT")
            return
        retries2 = socket.stack.sysctls.tcp_retries2
        if socket.orphan:
            retries2 = socket.stack.sysctls.tcp_orphan_retries or (8 if self._probe_wait() < RTO_MAX else 0)
        if socket.probes_out >= retries2:
            socket.stack.count("TcpExtTCPAbortOnTimeout")
            socket.fail(now, "ETIMEDOUT")
            return
        space = seq_diff(seq_add(self.una, self.window), self.nxt)
        left = seq_diff(self.data_end, self.nxt)
        if space > 0 and left:
            # Not closed, but too small for a full segment: send what fits.
            self._send_new(now, min(space, self.mss, left), left)
            self._arm_after_new(now, was_in_flight=False)
            return
        socket.stack.count("TcpExtTCPWinProbe")
        self.probe(now)
        socket.probes_out += 1
        if self.backoff < socket.stack.sysctls.tcp_retries2:
            self.backoff += 1
        self._arm(now, WINDOW_PROBE, self._clamp_probe(now, self._probe_wait()))
