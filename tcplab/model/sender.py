"""The sending half of a connection: what is in flight, and what an acknowledgement does to it.

Sources: net/ipv4/tcp_output.c (tcp_write_xmit, tcp_snd_wnd_test), net/ipv4/tcp_input.c (tcp_ack,
tcp_clean_rtx_queue, tcp_may_update_window, tcp_ack_probe), net/ipv4/tcp_recovery.c.

Not modelled: congestion control beyond the initial window of ten segments and slow start; undoing a
spurious timeout (F-RTO); duplicate ACKs as a sign of loss where there is no SACK.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from tcplab.core.segment import ACK, FIN, PSH, Segment, after, before, seq_add, seq_diff
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.model import rules as s
from tcplab.model.flight import Chunk, InFlight
from tcplab.model.machine import OwningSocket
from tcplab.model.roundtrip import RoundTrip, retries_as_time

#: Milliseconds; an older echoed timestamp gives no sample (tcp_rtt_tsopt_us).
_FARTHEST_ECHO = 2**31 // 1000

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
        #: The current timeout, including doublings (icsk_rto); a round-trip sample resets it.
        self.rto = self.machine.ticks(s.TIMEOUT_INIT)
        #: Doublings of the wait between window probes, and timeouts since the last progress.
        self.backoff = 0
        self.repeats = 0
        #: First retransmission of what is in flight (tp->retrans_stamp), or the first SYN.
        self.repeating_since: int | None = None
        #: By how much Linux's timers have been later since then, on average: its wheel rounds them up.
        self.delayed = 0
        self.probing_since: int | None = None
        #: SND.NXT after the last tail loss probe, until an ACK shows what became of it (tp->tlp_high_seq),
        #: and whether the probe repeated data.
        self.tail_probe_end: int | None = None
        self.tail_probe_repeats = False

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

    def learn_rto(self) -> None:
        """Reset the timeout after a round-trip sample, without doublings (tcp_ack_update_rtt)."""
        self.rto = min(self.machine.ticks(self.sender.rtt.rto), self.sender.rto_max)
        self.backoff = 0

    def fall_back(self) -> None:
        """The handshake has measured no round trip: 3 s (RFC 6298 section 5.7; tcp_init_metrics)."""
        self.rto = min(self.machine.ticks(s.TIMEOUT_FALLBACK), self.sender.rto_max)

    def after_new(self, now: int, was_in_flight: bool) -> None:
        """New data was sent (tcp_event_new_data_sent, tcp_write_xmit)."""
        if self._schedule_loss_probe(now, self._rest_of_rto(now)):
            return
        if not was_in_flight or self.kind == LOSS_PROBE:
            self.rearm(now)

    def after_ack(self, now: int) -> None:
        """Data was acknowledged, and other data is still in flight (tcp_set_xmit_timer)."""
        if not self._schedule_loss_probe(now, self.rto):
            self.rearm(now)

    def rearm(self, now: int) -> None:
        """Wait for the retransmission timeout, or for the rest of it after a probe that wasn't sent.

        net/ipv4/tcp_input.c:tcp_rearm_rto.
        """
        early = self.kind in (LOSS_PROBE, REORDER)
        self.arm(now, RETRANSMIT, max(self._rest_of_rto(now), 1) if early else self.rto)

    def _rest_of_rto(self, now: int) -> int:
        """Time until the first piece in flight times out (tcp_rto_delta_us)."""
        return self.sender.flight[0].sent_at + self.rto - now

    def await_reordering(self, now: int, round_trip: int) -> None:
        """A later piece has arrived first, after `round_trip`: give the earlier ones some more time.

        They have as long, counted from when they were sent, and a quarter of the shortest round trip: a piece
        sent that much earlier is lost already (tcp_rack_detect_loss, tcp_rack_reo_wnd; RFC 8985). Three that
        have arrived are too many for one that was merely overtaken.
        """
        flight, rtt = self.sender.flight, self.sender.rtt
        too_many = sum(chunk.sacked for chunk in flight) >= DUPLICATES
        allowed = round_trip + (0 if too_many else min((rtt.least or 0) // 4, rtt.smoothed))
        left = [chunk.sent_at + allowed - now for chunk in flight.overtaken]
        if min(left) <= 0:
            self._repair(now, now - allowed)
        if max(left) > 0:
            self.arm(now, REORDER, self._with_floor(max(left)))

    def _with_floor(self, wait: int) -> int:
        """The wait of a timer for losses, with the least that Linux adds (TCP_TIMEOUT_MIN_US)."""
        release = self.machine.release
        if release.short_loss_timers:
            return wait + s.LOSS_TIMER_MIN
        return self.machine.ticks(wait) + 2 * release.tick

    def watch_window(self, now: int) -> None:
        """Data waits for a closed window and nothing is in flight (tcp_check_probe_timer)."""
        self.arm(now, WINDOW_PROBE, self._probe_base())

    def _schedule_loss_probe(self, now: int, at_most: int) -> bool:
        """A tail without an answer is repeated once before the timer begins to back off.

        Since 3.10 (net/ipv4/tcp_output.c:tcp_send_loss_probe). True when that is what is waited for.
        """
        sender, socket = self.sender, self.socket
        if not socket.sack or sender.recovery_end is not None or sender.disordered:
            return False
        if sender.rtt.srtt:
            lone, wait = len(sender.flight) == 1, 2 * sender.rtt.smoothed
            wait = wait + s.RTO_MIN if lone else self._with_floor(wait)
        else:
            wait = s.TIMEOUT_INIT
        self.arm(now, LOSS_PROBE, min(wait, at_most) if at_most > 0 else wait)
        return True

    # -- firing --------------------------------------------------------------------------

    def fire(self, now: int) -> None:
        """What was waited for hasn't come."""
        kind = self.kind
        if kind == LOSS_PROBE and self.sender.flight:
            self._probe_tail(now)
            return
        self.disarm()
        if kind == WINDOW_PROBE:
            self._probe_window(now)
        elif not self.sender.flight:
            return
        elif kind == REORDER:
            self._repair(now, now)
        else:
            self._time_out(now)

    def _repair(self, now: int, sent_until: int) -> None:
        """Retransmit what was sent until then and overtaken."""
        self.tail_probe_end = None
        self.sender.start_recovery(sent_until)
        self.sender.push(now)
        self.arm(now, RETRANSMIT, self.rto)

    def _probe_tail(self, now: int) -> None:
        """One probe at a time: new data if the window allows it, or the last piece again.

        It neither doubles the timeout nor starts the clock of tcp_retries2.
        """
        sender = self.sender
        if self.tail_probe_end is None:
            self.tail_probe_repeats = not sender.next_fits
            if sender.repeat_tail(now) if self.tail_probe_repeats else sender.send_next(now):
                self.machine.count("TcpExtTCPLossProbes")
                self.tail_probe_end = sender.nxt
                self.disarm()
        self.rearm(now)

    def on_tail_probe_ack(self, ack: int, *, nothing_new: bool) -> None:
        """Check whether an ACK ends the episode of the tail loss probe (tcp_process_tlp_ack).

        After a retransmitted piece, either copy may have been acknowledged, so one ACK decides nothing: a
        duplicate of it (`nothing_new`) or an ACK of more does.
        """
        if self.tail_probe_end is None or before(ack, self.tail_probe_end):
            return
        if not self.tail_probe_repeats or nothing_new or after(ack, self.tail_probe_end):
            self.tail_probe_end = None

    def _time_out(self, now: int) -> None:
        sender, socket = self.sender, self.socket
        self.tail_probe_end = None
        if not sender.window and not socket.orphan and socket.state not in (s.SYN_SENT, s.SYN_RECV):
            self._repeat_into_closed_window(now)
            return
        expired = self._expired(now)
        if not expired or socket.state == s.SYN_RECV:
            self.machine.count("TcpExtTCPTimeouts")
        if expired:
            self._give_up(now)
            return
        self._repeat_first(now)
        self.repeats += 1
        linear = (self.machine.sysctls.tcp_syn_linear_timeouts or 0) if socket.state == s.SYN_SENT else 0
        if self.repeats > linear:
            self.backoff += 1
            # A SYN-ACK's is not cut by tcp_rto_max_ms (measured on 6.18).
            self._double(s.RTO_MAX if socket.state == s.SYN_RECV else sender.rto_max)
        self._wait_for_repeat(now)

    def _double(self, most: int) -> None:
        self.rto = min(self.rto << 1, most)

    def _repeat_first(self, now: int) -> None:
        self.sender.start_recovery()
        self.sender.cwnd = 1
        self.sender.repeat(now, 0)

    def _wait_for_repeat(self, now: int) -> None:
        exact = self.machine.release.user_timeout_exact
        wait = self._clamp(now, self.rto, self.repeating_since, exact)
        self.delayed = self.machine.mean_delay(wait) + (self.delayed if self.repeats > 1 else 0)
        self.arm(now, RETRANSMIT, wait)

    def _repeat_into_closed_window(self, now: int) -> None:
        """Retransmit after the peer has shrunk its window to zero: this is a window probe.

        It is not counted as a retry, so tcp_retries2 never ends a connection whose peer answers
        (net/ipv4/tcp_timer.c:tcp_retransmit_timer, tcp_rtx_probe0_timed_out).
        """
        silent = now - self.socket.last_received
        since = self.sender.flight[0].sent_at if self.repeating_since is None else self.repeating_since
        rule, user_timeout = self.machine.release.closed_window_gives_up, self.socket.options.user_timeout
        quiet = min(silent, now - since)
        most = self.sender.rto_max
        expired = silent > most if rule == "silence" else quiet > 2 * most
        if rule == "user_timeout" and user_timeout:
            # Linux requires more than the user timeout, and its timer is always a little late.
            expired = expired or now - since >= user_timeout
        if expired:
            self._give_up(now)
            return
        self._repeat_first(now)
        self._double(self.sender.rto_max)
        self._wait_for_repeat(now)

    def _give_up(self, now: int) -> None:
        if self.socket.state != s.SYN_RECV:
            self.machine.count("TcpExtTCPAbortOnTimeout")
        self.socket.fail(now, "ETIMEDOUT")

    def _expired(self, now: int) -> bool:
        """Whether to give up: by time, not by count (tcp_timer.c:tcp_write_timeout).

        The time is checked when a timer fires, and Linux's timers fire late: a limit that is nearly over here
        is over there.
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
        # The last wait for a user timeout is cut to its remaining time: no allowance needed.
        delayed = 0 if user_timeout and self.machine.release.user_timeout_exact else self.delayed
        return now - self.repeating_since + delayed >= allowed

    def _orphan_retries(self) -> int:
        """Without an application: 8 while the timeout is below its maximum (tcp_orphan_retries)."""
        return self.machine.sysctls.tcp_orphan_retries or (8 if self.rto < self.sender.rto_max else 0)

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
        return max(self.rto, s.RTO_MIN)

    def _probe_wait(self) -> int:
        return min(self._probe_base() << self.backoff, self.sender.rto_max)

    def _probing_expired(self, now: int) -> bool:
        """Whether TCP_USER_TIMEOUT has expired, as this release counts it in a closed window."""
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
            # Data in flight: retransmission takes over, without a tail loss probe (tcp_send_probe0), and
            # the next probing starts from zero.
            self.backoff = socket.probes_out = 0
            self.probing_since = None
            self.arm(now, RETRANSMIT, self.rto)
            return
        self.machine.count("TcpExtTCPWinProbe")
        sender.probe(now)
        socket.probes_out += 1
        if self.backoff < self.machine.sysctls.tcp_retries2:
            self.backoff += 1
        self._wait_for_answer(now)


#: GSO_LEGACY_MAX_SIZE less the longest headers: the largest buffer that Linux queues.
LARGEST_BUFFER = 65535 - 320


class Sender:
    """SND.UNA, SND.NXT, the window, what is in flight, and its timer."""

    def __init__(self, socket: OwningSocket, iss: int) -> None:
        self.socket = socket
        self.iss = self.una = self.nxt = iss
        #: Where the count of acknowledged bytes begins: our own SYN counts, a SYN-ACK doesn't (bytes_acked).
        self.counted_from = iss
        #: End of what the application has written, and whether a FIN follows it.
        self.data_end = seq_add(iss, 1)
        self.finishing = False
        #: Where the write began whose bytes wait first.
        self.queued_from = self.data_end
        #: Ends of writes not yet sent: their last segment carries PSH.
        self.boundaries: deque[int] = deque()
        self.flight = InFlight()
        #: The peer's window, the largest so far, and the segment it came with (SND.WL1).
        self.window = self.max_window = self.wl1 = 0
        #: Payload of a full segment that path and peer allow, at most half the largest window.
        self.full_mss = self.mss = s.MSS_DEFAULT
        self.cwnd = s.INITIAL_WINDOW
        #: Whether the congestion window limited sending, the most segments in flight, and until which number
        #: is acknowledged this is valid.
        self.cwnd_in_the_way, self.most_out, self.use_until = False, 0, iss
        #: The longest timeout, as it was when the socket was made (tcp_init_sock).
        self.rto_max = socket.machine.rto_max(socket.options)
        self.rtt = RoundTrip(self.rto_max)
        self.timer = SendTimer(self)
        #: Repairing losses until this number is acknowledged: no tail loss probe meanwhile.
        self.recovery_end: int | None = None
        #: Data has arrived out of order, or the first piece was retransmitted (TCP_CA_Disorder): none either.
        self.disordered = False

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
        window_end, mss = self.window_end, self.current_mss
        room = self.cwnd - self.flight.outstanding
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
        if new or room <= 0:
            self._note_use(room <= 0)
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
        if self.finishing and length == left and after(self.window_end, end):
            flags |= FIN
        chunk = Chunk(self.nxt, length, flags, now)
        self.flight.append(chunk)
        self.nxt = chunk.end
        self.transmit(now, chunk)
        if length:
            self.socket.new_data_sent(now)

    @property
    def current_mss(self) -> int:
        """Payload of a full segment now, less the space that SACK takes (tcp_current_mss)."""
        return self.mss - self.socket.sack_bytes

    @property
    def window_end(self) -> int:
        """The first number beyond the peer's window (tcp_wnd_end)."""
        return seq_add(self.una, self.window)

    def _send_lost(self, now: int) -> bool:
        room = self.cwnd - self.flight.outstanding
        sent = False
        i = 0
        while i < len(self.flight) and room > 0:
            if self.flight[i].lost and self.repeat(now, i):
                sent = True
                room -= 1
            i += 1
        return sent

    def transmit(self, now: int, chunk: Chunk) -> None:
        self.socket.emit(now, chunk.flags, seq=chunk.seq, length=chunk.length)

    def repeat(self, now: int, index: int) -> bool:
        """Retransmit a piece in flight; False when the window no longer reaches it.

        Short pieces after it are sent along where that saves segments (tcp_retransmit_skb).
        """
        if not self.flight.fit(index, self.una, self.window_end):
            return False
        chunk = self.flight[index]
        self.flight.collapse(index, self.current_mss, self.window_end)
        self._send_again(now, chunk)
        if self.timer.repeating_since is None:
            self.timer.repeating_since = now
        return True

    def repeat_tail(self, now: int) -> bool:
        """Retransmit the last piece, as a tail loss probe; False when the window no longer reaches it."""
        last = len(self.flight) - 1
        if not self.flight.fit(last, self.una, self.window_end):
            return False
        self._send_again(now, self.flight[last])
        return True

    def _send_again(self, now: int, chunk: Chunk) -> None:
        chunk.lost = False
        chunk.repeats += 1
        chunk.sent_at = now
        self.socket.machine.count("TcpRetransSegs")
        self.transmit(now, chunk)

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
        ack, timer = segment.ack, self.timer
        if before(ack, self.una):
            return False
        self.socket.heard(now)
        had_flight = bool(self.flight)
        updated = self._update_window(segment)
        advanced = ack != self.una
        sacked = self.flight.mark_sacked(segment.sack) if segment.sack and had_flight else []
        pieces = self._acknowledge(now, segment, sacked) if had_flight else 0
        self.una = ack
        if advanced:
            timer.repeats = 0
        if not self.flight:
            self.disordered = False
            if had_flight:
                timer.disarm()
        if timer.tail_probe_end is not None:
            timer.on_tail_probe_ack(ack, nothing_new=not (advanced or updated or sacked or segment.length))
        if self.flight:
            if self.disordered or sacked or not (advanced or updated or segment.length):
                self.disordered = self.flight.disordered
            if pieces:
                timer.after_ack(now)
            if sacked and self.recovery_end is None and self.flight.overtaken:
                timer.await_reordering(now, now - max(chunk.sent_at for chunk in sacked))
        elif not had_flight and self.unsent and timer.kind == WINDOW_PROBE:
            timer.on_probe_answer(now)
        return advanced

    def may_update_window(self, segment: Segment) -> bool:
        """Whether the segment may update the send window (tcp_may_update_window)."""
        seq, window = segment.seq, segment.window
        return (
            after(segment.ack, self.una)
            or after(seq, self.wl1)
            or (seq == self.wl1 and (window > self.window or not window))
        )

    def _update_window(self, segment: Segment) -> bool:
        if not self.may_update_window(segment):
            return False
        self.window = window = segment.window
        if window > self.max_window:
            self.learn_window(window)
        self.wl1 = segment.seq
        return True

    def learn_window(self, largest: int) -> None:
        """Limit segments to half of the peer's largest window so far.

        net/ipv4/tcp_output.c:tcp_sync_mss, include/net/tcp.h:tcp_bound_to_half_wnd.
        """
        self.max_window = largest
        half = largest >> 1 if largest > s.MSS_DEFAULT else largest
        headers = s.TCP_HEADER + (s.TIMESTAMP_OPTION if self.socket.timestamps else 0)
        self.mss = max(half, s.LEAST_PACKET - headers) if 0 < half < self.full_mss else self.full_mss

    def _acknowledge(self, now: int, segment: Segment, sacked: list[Chunk]) -> int:
        """Remove acknowledged pieces and measure their round trip; returns how many (tcp_clean_rtx_queue).

        `sacked` are the pieces that the segment is the first to acknowledge selectively.
        """
        ack = segment.ack
        count, delivered, repeated, sent_at = self.flight.acknowledge(ack)
        if count or sacked:
            if repeated or sent_at is None:
                sent_at = next((chunk.sent_at for chunk in sacked if not chunk.repeats), None)
            measured = self._round_trip(now, segment, sent_at, count)
            if measured is not None:
                base = self.iss
                self.rtt.sample(measured, (ack - base) & 0xFFFFFFFF, (self.nxt - base) & 0xFFFFFFFF)
                self.timer.learn_rto()
            if count and self._cwnd_grows:
                self.cwnd += delivered + len(sacked)
        if self.recovery_end is not None and not before(ack, self.recovery_end):
            self.recovery_end = None
        if self.timer.repeating_since is not None and not any(chunk.repeats for chunk in self.flight):
            self.timer.repeating_since = None
        return count

    def _round_trip(self, now: int, segment: Segment, sent_at: int | None, count: int) -> int | None:
        """A round-trip sample, nanoseconds, or None: from data sent once, or from the peer's TSecr.

        After a retransmission the echoed timestamp identifies the copy that arrived, to the millisecond
        (net/ipv4/tcp_input.c:tcp_ack_update_rtt, tcp_rtt_tsopt_us); without it there is no sample (Karn).
        """
        if sent_at is not None:
            return now - sent_at
        if not count or not self.socket.timestamps or not segment.timestamps or not segment.timestamps[1]:
            return None
        passed = (self.socket.machine.clock(now) - segment.timestamps[1]) & 0xFFFFFFFF
        return max(passed, 1) * MILLISECOND if passed < _FARTHEST_ECHO else None

    def start_recovery(self, sent_until: int | None = None) -> None:
        """Take pieces for lost: all, or those sent until then and overtaken by something that arrived."""
        if self.recovery_end is None or sent_until is not None:
            self.recovery_end = self.nxt
        self.flight.mark_lost(sent_until)

    @property
    def next_fits(self) -> bool:
        """Data is queued, and the peer's window has room for its first segment (tcp_snd_wnd_test)."""
        left = seq_diff(self.data_end, self.nxt)
        length = min(left, self.current_mss)
        room = seq_diff(self.window_end, self.nxt)
        return self.unsent and room >= length + (self.finishing and length == left)

    def send_next(self, now: int) -> bool:
        """Send the next segment, regardless of the congestion window."""
        left = seq_diff(self.data_end, self.nxt)
        self.send_new(now, min(left, self.current_mss), left)
        return True

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
        return not after(end, self.window_end)

    def send_into_small_window(self, now: int) -> bool:
        """What fits when the window is open but smaller than a segment; False when it is closed.

        It carries PSH: nothing follows soon (net/ipv4/tcp_output.c:tcp_write_wakeup).
        """
        space = seq_diff(self.window_end, self.nxt)
        left = seq_diff(self.data_end, self.nxt)
        if space <= 0 or not left:
            return False
        self.send_new(now, min(space, self.mss, left), left, PSH)
        return True

    # -- the congestion window -----------------------------------------------------------

    def _note_use(self, in_the_way: bool) -> None:
        """Note how much of the congestion window is used, for a round trip (tcp_cwnd_validate)."""
        out = len(self.flight)
        more = not self.cwnd_in_the_way and out > self.most_out
        if not before(self.una, self.use_until) or in_the_way or more:
            self.cwnd_in_the_way, self.most_out, self.use_until = in_the_way, out, self.nxt

    @property
    def _cwnd_grows(self) -> bool:
        """Whether it may grow: up to twice what is used (tcp_is_cwnd_limited in slow start, since 3.16)."""
        return self.cwnd_in_the_way or self.cwnd < 2 * self.most_out

    def stop(self) -> None:
        """Forget everything in flight: the connection is over."""
        self.timer.disarm()
        self.flight.clear()
        self.boundaries.clear()
        if self.nxt != self.iss:
            self.nxt = self.limit()
