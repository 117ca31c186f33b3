"""The sending half of a connection: what is in flight, and what an acknowledgement does to it.

Sources: net/ipv4/tcp_output.c (tcp_write_xmit, tcp_snd_wnd_test), net/ipv4/tcp_input.c (tcp_ack,
tcp_clean_rtx_queue, tcp_may_update_window, tcp_ack_probe), net/ipv4/tcp_recovery.c.

Not modelled: congestion control beyond the initial window of ten segments and slow start.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from tcplab.core.segment import ACK, FIN, PSH, SYN, Segment, after, before, seq_add, seq_diff
from tcplab.core.text import SECOND
from tcplab.model import rules as s
from tcplab.model.machine import OwningSocket

MICROSECOND = 1_000
_FLOOR = s.RTO_MIN // MICROSECOND


class RoundTrip:
    """Smoothed round-trip time of one connection, and the retransmission timeout made from it.

    RFC 6298 as Linux does it, in microseconds and shifts (net/ipv4/tcp_input.c:tcp_rtt_estimator,
    tcp_set_rto). The floor of 200 ms is under the variance term, so the timeout is a little above
    200 ms plus the smoothed round-trip time.
    """

    __slots__ = ("deviation", "deviation_max", "epoch", "rto_max", "srtt", "variation")

    def __init__(self, rto_max: int = s.RTO_MAX) -> None:
        self.rto_max = rto_max
        #: 8 x the smoothed time and 4 x its mean deviation, microseconds; 0 before a sample.
        self.srtt = 0
        self.deviation = 0
        self.deviation_max = 0
        self.variation = 0
        #: Bytes acknowledged when this round trip began: the variance may shrink once a round trip.
        self.epoch = 0

    def sample(self, rtt: int, acknowledged: int, outstanding: int) -> None:
        """Learn from one measurement in nanoseconds.

        `acknowledged` and `outstanding` count bytes since the start (SND.UNA and SND.NXT without
        wrap): they tell when a round trip is over.
        """
        m = rtt // MICROSECOND or 1
        if not self.srtt:
            self.srtt = m << 3
            self.deviation = m << 1
            self.variation = self.deviation_max = max(self.deviation, _FLOOR)
            self.epoch = outstanding
            return
        error = m - (self.srtt >> 3)
        self.srtt = max(1, self.srtt + error)
        if error < 0:
            # A sudden drop should not widen the variance as fast as a rise.
            delta = -error - (self.deviation >> 2)
            delta = delta >> 3 if delta > 0 else delta
        else:
            delta = error - (self.deviation >> 2)
        self.deviation += delta
        if self.deviation > self.deviation_max:
            self.deviation_max = self.deviation
            self.variation = max(self.variation, self.deviation_max)
        if acknowledged > self.epoch:
            if self.deviation_max < self.variation:
                self.variation -= (self.variation - self.deviation_max) >> 2
            self.epoch = outstanding
            self.deviation_max = _FLOOR

    @property
    def smoothed(self) -> int:
        """Smoothed round-trip time in nanoseconds; 0 before a sample."""
        return (self.srtt >> 3) * MICROSECOND

    @property
    def rto(self) -> int:
        """Timeout before any backoff, nanoseconds, not yet rounded to the tick."""
        if not self.srtt:
            return s.TIMEOUT_INIT
        return min(((self.srtt >> 3) + self.variation) * MICROSECOND, self.rto_max)


def retries_as_time(retries: int, base: int = s.RTO_MIN, rto_max: int = s.RTO_MAX) -> int:
    """The time that Linux makes of a number of retries (tcp_timer.c:tcp_model_timeout).

    As if every timeout had doubled from `base` up to `rto_max`: 15 -> 924.6 s, 8 -> 102.2 s,
    5 -> 12.6 s; for a SYN (base 1 s) 6 -> 127 s. Nanoseconds.
    """
    doublings = (rto_max // base).bit_length() - 1
    if retries <= doublings:
        return ((2 << retries) - 1) * base
    return ((2 << doublings) - 1) * base + (retries - doublings) * rto_max


#: What a sender may wait for; never two of them at once, as in Linux's icsk_pending.
RETRANSMIT = "retransmit"
LOSS_PROBE = "loss probe"
REORDER = "reorder"
WINDOW_PROBE = "window probe"

#: Segments that have arrived behind a hole, after which it is taken for a loss at once: tcp_reordering's
#: default, RFC 5681 section 3.2 (net/ipv4/tcp_recovery.c:tcp_rack_reo_wnd; tcp_time_to_recover).
DUPLICATES = 3


class Pending(NamedTuple):
    """What the sender waits for, and until when."""

    kind: str
    due: int


class SendTimer:
    """The one timer of a sender, and how often it has fired in vain.

    Sources: net/ipv4/tcp_timer.c (tcp_retransmit_timer, tcp_write_timeout, tcp_probe_timer),
    net/ipv4/tcp_output.c (tcp_schedule_loss_probe, tcp_send_loss_probe, tcp_send_probe0),
    net/ipv4/tcp_input.c (tcp_rearm_rto, tcp_ack_probe).
    """

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self.socket, self.machine = sender.socket, sender.socket.machine
        self.pending: Pending | None = None
        #: How often the timeout has doubled, and timeouts since the last progress.
        self.backoff = 0
        self.repeats = 0
        #: First retransmission of what is in flight (tp->retrans_stamp), or the first SYN.
        self.repeating_since: int | None = None
        #: By how much Linux's timers have come later since then, on average: its wheel rounds them up.
        self.delayed = 0
        self.probing_since: int | None = None
        self.tail_probe_sent = False

    @property
    def kind(self) -> str | None:
        """What the sender waits for; None while it waits for nothing."""
        return self.pending and self.pending.kind

    # -- arming --------------------------------------------------------------------------

    def arm(self, now: int, kind: str, wait: int) -> None:
        """Wait for `kind`, and for nothing else."""
        self.pending = Pending(kind, self.machine.deadline(now, wait))

    def disarm(self) -> None:
        """Wait for nothing."""
        self.pending = None

    def rto(self) -> int:
        """The retransmission timeout with its backoff."""
        rto = self.machine.ticks(self.sender.rtt.rto)
        # A SYN-ACK's is not cut by tcp_rto_max_ms (measured on 6.18).
        most = s.RTO_MAX if self.socket.state == s.SYN_RECV else self.sender.rto_max
        return min(rto << self.backoff, most) if self.backoff else rto

    def after_new(self, now: int, was_in_flight: bool) -> None:
        """Something new was sent."""
        head_due = self.sender.flight[0].sent_at + self.rto()
        probing = self._schedule_loss_probe(now, head_due - now)
        if not probing and (not was_in_flight or self.kind in (LOSS_PROBE, REORDER)):
            self.arm(now, RETRANSMIT, max(head_due - now, 1))

    def after_ack(self, now: int) -> None:
        """Something was acknowledged, and something else is still in flight."""
        rto = self.rto()
        if not self._schedule_loss_probe(now, rto):
            self.arm(now, RETRANSMIT, rto)

    def await_reordering(self, now: int) -> None:
        """A later piece has arrived first: give the earlier one a moment (tcp_rack_reo_wnd).

        Three of them are too many for a piece that was merely overtaken.
        """
        if sum(chunk.sacked for chunk in self.sender.flight) >= DUPLICATES:
            self._repair(now)
            return
        self.arm(now, REORDER, self.sender.rtt.smoothed // 4 + 2 * self.machine.release.tick)

    def watch_window(self, now: int) -> None:
        """Data waits for a closed window and nothing is in flight."""
        self.arm(now, WINDOW_PROBE, self._probe_wait())

    def _schedule_loss_probe(self, now: int, at_most: int) -> bool:
        """A tail without an answer is repeated once before the timer begins to back off.

        Since 3.10 (net/ipv4/tcp_output.c:tcp_send_loss_probe). True when that is what is waited for.
        """
        sender, socket = self.sender, self.socket
        if not socket.sack or sender.recovery_end is not None:
            return False
        if sender.rtt.srtt:
            lone = len(sender.flight) == 1
            wait = 2 * sender.rtt.smoothed + (s.RTO_MIN if lone else 2 * self.machine.release.tick)
        else:
            wait = s.TIMEOUT_INIT
        self.arm(now, LOSS_PROBE, min(wait, at_most) if at_most > 0 else wait)
        return True

    # -- firing --------------------------------------------------------------------------

    def fire(self, now: int) -> None:
        """What was waited for hasn't come."""
        kind = self.kind
        self.disarm()
        if kind == WINDOW_PROBE:
            self._probe_window(now)
        elif not self.sender.flight:
            return
        elif kind == LOSS_PROBE:
            self._probe_tail(now)
        elif kind == REORDER:
            self._repair(now)
        else:
            self._time_out(now)

    def _repair(self, now: int) -> None:
        """Send again what was overtaken."""
        self.sender.start_recovery(now, everything=False)
        self.sender.push(now)
        self.arm(now, RETRANSMIT, self.rto())

    def _probe_tail(self, now: int) -> None:
        sender = self.sender
        if not self.tail_probe_sent:
            self.tail_probe_sent = True
            self.machine.count("TcpExtTCPLossProbes")
            self.machine.count("TcpRetransSegs")
            tail = sender.flight[-1]
            tail.repeats += 1
            tail.sent_at = now
            # Neither backs the timeout off nor starts the clock of tcp_retries2.
            sender.transmit(now, tail)
        self.arm(now, RETRANSMIT, self.rto())

    def _time_out(self, now: int) -> None:
        sender, socket = self.sender, self.socket
        expired = self._expired(now)
        if not expired or socket.state == s.SYN_RECV:
            self.machine.count("TcpExtTCPTimeouts")
        if expired:
            self._give_up(now)
            return
        sender.start_recovery(now, everything=True)
        sender.cwnd = 1
        sender.repeat(now, sender.flight[0])
        self.repeats += 1
        linear = (self.machine.sysctls.tcp_syn_linear_timeouts or 0) if socket.state == s.SYN_SENT else 0
        if self.repeats > linear:
            self.backoff += 1
        exact = self.machine.release.user_timeout_exact
        wait = self._clamp(now, self.rto(), self.repeating_since, exact)
        self.delayed = self.machine.mean_delay(wait) + (self.delayed if self.repeats > 1 else 0)
        self.arm(now, RETRANSMIT, wait)

    def _give_up(self, now: int) -> None:
        if self.socket.state != s.SYN_RECV:
            self.machine.count("TcpExtTCPAbortOnTimeout")
        self.socket.fail(now, "ETIMEDOUT")

    def _expired(self, now: int) -> bool:
        """Is it time to give up? A time, not a count (tcp_timer.c:tcp_write_timeout).

        The time is looked at when a timer fires, and Linux's timers fire late: what is nearly over here is
        over there.
        """
        socket, sysctls = self.socket, self.machine.sysctls
        user_timeout = socket.options.user_timeout
        if socket.state == s.SYN_RECV and socket.listener is not None:
            return self.repeats >= socket.listener.synack_retries()
        if socket.state == s.SYN_SENT:
            limit = sysctls.tcp_syn_retries
            if self.repeats >= limit + (sysctls.tcp_syn_linear_timeouts or 0):
                return True
            honoured = user_timeout if self.machine.release.user_timeout_exact else 0
            allowed = honoured or retries_as_time(limit, SECOND, self.sender.rto_max)
        else:
            retries = self._orphan_retries() if socket.orphan else sysctls.tcp_retries2
            allowed = user_timeout or retries_as_time(retries, rto_max=self.sender.rto_max)
        if not self.repeats or self.repeating_since is None:
            return False
        # The last wait for a user timeout is cut to what is left of it, and needs no luck.
        delayed = 0 if user_timeout and self.machine.release.user_timeout_exact else self.delayed
        return now - self.repeating_since + delayed >= allowed

    def _orphan_retries(self) -> int:
        """Without an application: 8 while the timeout is below its maximum (tcp_orphan_retries)."""
        return self.machine.sysctls.tcp_orphan_retries or (8 if self.rto() < self.sender.rto_max else 0)

    def _clamp(self, now: int, wait: int, since: int | None, exact: bool) -> int:
        """Never sleep beyond the user timeout, where the release is that exact."""
        limit = self.socket.options.user_timeout
        if not limit or since is None or not exact:
            return wait
        return min(wait, max(limit - (now - since), 1))

    def _wait_for_answer(self, now: int) -> None:
        release = self.machine.release
        exact = release.user_timeout_exact_for_probes and release.user_timeout_of_probes == "elapsed"
        self.arm(now, WINDOW_PROBE, self._clamp(now, self._probe_wait(), self.probing_since, exact))

    # -- a closed window -----------------------------------------------------------------

    def _probe_base(self) -> int:
        return max(self.machine.ticks(self.sender.rtt.rto), s.RTO_MIN)

    def _probe_wait(self) -> int:
        return min(self._probe_base() << self.backoff, self.sender.rto_max)

    def _probing_expired(self, now: int) -> bool:
        """Is TCP_USER_TIMEOUT over, as this release counts it in a closed window?"""
        limit = self.socket.options.user_timeout
        if limit and self.machine.release.user_timeout_of_probes == "unanswered":
            return retries_as_time(self.socket.probes_out, self._probe_base(), self.sender.rto_max) >= limit
        return bool(limit) and self.probing_since is not None and now - self.probing_since >= limit

    def on_probe_answer(self, now: int) -> None:
        """A window probe was answered, or the window has opened (tcp_ack_probe)."""
        if self.sender.window_fits_next:
            self.backoff = 0
            self.probing_since = None
            self.disarm()
        else:
            self._wait_for_answer(now)

    def _probe_window(self, now: int) -> None:
        """Ask again, for as long as the peer answers (tcp_probe_timer, tcp_write_wakeup)."""
        sender, socket = self.sender, self.socket
        if sender.flight or not sender.unsent:
            socket.probes_out = 0
            self.probing_since = None
            return
        if self._probing_expired(now):
            self._give_up(now)
            return
        if self.probing_since is None:
            self.probing_since = now
        if socket.probes_out >= (
            self._orphan_retries() if socket.orphan else self.machine.sysctls.tcp_retries2
        ):
            self._give_up(now)
            return
        if sender.send_into_small_window(now):
            # Data in flight: retransmission takes over, and probing starts afresh another time.
            self.backoff = socket.probes_out = 0
            self.probing_since = None
            self.after_new(now, was_in_flight=False)
            return
        self.machine.count("TcpExtTCPWinProbe")
        sender.probe(now)
        socket.probes_out += 1
        if self.backoff < self.machine.sysctls.tcp_retries2:
            self.backoff += 1
        self._wait_for_answer(now)


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

    def __init__(self, socket: OwningSocket, iss: int) -> None:
        self.socket = socket
        self.iss = self.una = self.nxt = iss
        #: Where the count of acknowledged bytes began: our own SYN counts, a SYN-ACK doesn't (bytes_acked).
        self.counted_from = iss
        #: End of what the application has written, and whether a FIN follows it.
        self.data_end = seq_add(iss, 1)
        self.finishing = False
        #: Where the write began whose bytes wait first.
        self.queued_from = self.data_end
        #: Ends of writes not yet sent: their last segment carries PSH.
        self.boundaries: deque[int] = deque()
        self.flight: deque[Chunk] = deque()
        #: The peer's window, the largest so far, and the segment it came with (SND.WL1).
        self.window = self.max_window = self.wl1 = 0
        #: Payload of a full segment as path and peer allow it, and no more than half the largest window.
        self.full_mss = self.mss = s.MSS_DEFAULT
        self.cwnd = s.INITIAL_WINDOW
        #: The longest timeout, as it was when the socket was made (tcp_init_sock).
        self.rto_max = socket.machine.rto_max(socket.options)
        self.rtt = RoundTrip(self.rto_max)
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
        self.timer.arm(now, RETRANSMIT, s.TIMEOUT_INIT)

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
        # What SACK takes up is not there for payload (tcp_current_mss).
        mss = self.mss - self.socket.sack_bytes
        new = False
        while self.nxt != limit and room > 0:
            left = seq_diff(self.data_end, self.nxt)
            length = min(left, mss)
            space = seq_diff(window_end, self.nxt)
            # A FIN needs room as well (tcp_snd_wnd_test).
            if space < length + (self.finishing and length == left):
                # A burst may end with what is left of the window; nothing starts with a piece of it.
                if not new or space <= 0:
                    break
                length = space
            self.send_new(now, length, left)
            new = True
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
            self.socket.new_data_sent(now)

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
        self.socket.machine.count("TcpRetransSegs")
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
        acknowledged = (self.una - self.counted_from) & 0xFFFFFFFF
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

    def may_update_window(self, segment: Segment) -> bool:
        """It says something about the window (tcp_may_update_window)."""
        seq, window = segment.seq, segment.window
        return (
            after(segment.ack, self.una)
            or after(seq, self.wl1)
            or (seq == self.wl1 and (window > self.window or not window))
        )

    def _update_window(self, segment: Segment) -> None:
        if self.may_update_window(segment):
            seq, window = segment.seq, segment.window
            self.window = window
            if window > self.max_window:
                self.learn_window(window)
            self.wl1 = seq

    def learn_window(self, largest: int) -> None:
        """The peer's largest window so far: no segment is longer than half of it.

        net/ipv4/tcp_output.c:tcp_sync_mss, include/net/tcp.h:tcp_bound_to_half_wnd.
        """
        self.max_window = largest
        half = largest >> 1 if largest > s.MSS_DEFAULT else largest
        headers = s.TCP_HEADER + (s.TIMESTAMP_OPTION if self.socket.timestamps else 0)
        self.mss = max(half, s.LEAST_PACKET - headers) if 0 < half < self.full_mss else self.full_mss

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
