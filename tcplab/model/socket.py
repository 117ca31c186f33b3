"""One connection on one machine: what an application calls, and what a segment does to it.

The state changes only through `rules.advance`. Sources: net/ipv4/tcp_input.c (tcp_rcv_established,
tcp_rcv_state_process, tcp_rcv_synsent_state_process, tcp_validate_incoming, tcp_fin, tcp_reset),
net/ipv4/tcp.c (tcp_sendmsg, tcp_recvmsg, __tcp_close), RFC 9293 section 3.10, RFC 5961.
"""

from __future__ import annotations

from tcplab.core.segment import ACK, FIN, RST, SYN, Endpoint, Segment, after, before, seq_add, seq_diff
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.model import rules as s
from tcplab.model.machine import Machine, SynQueue
from tcplab.model.receiver import Receiver
from tcplab.model.rules import TcpOptions, advance, handshake_reset_verdict, reset_error, reset_verdict
from tcplab.model.sender import LOSS_PROBE, REORDER, RETRANSMIT, WINDOW_PROBE, Sender
from tcplab.model.timewait import TimeWaitSocket

#: Timers in the words of `ss -o`.
_SS_TIMERS = {RETRANSMIT: "on", LOSS_PROBE: "on", REORDER: "on", WINDOW_PROBE: "persist"}
#: What is left of a socket to show once it is closed.
GONE = (s.CLOSED, 0, 0, "", None, 0)


class KeepaliveTimer:
    """Probes an idle connection and gives it up; off unless SO_KEEPALIVE is set.

    When the timer fires it looks at how long nothing has been received; traffic does not reset it.
    Source: net/ipv4/tcp_timer.c:tcp_keepalive_timer, unchanged in substance from 3.10 to 6.18;
    RFC 9293 section 3.8.4.
    """

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.due: int | None = None

    def start(self, now: int) -> None:
        """When the connection is established: the first look comes after the idle time."""
        if self.socket.options.keepalive_idle:
            self.arm(now, self.socket.options.keepalive_idle)

    def arm(self, now: int, wait: int) -> None:
        """Look again after `wait`."""
        self.due = self.socket.machine.deadline(now, wait)

    def fire(self, now: int) -> None:
        """The timer has fired: probe, give up, or look again later."""
        socket = self.socket
        self.due = None
        if socket.orphan and socket.state == s.FIN_WAIT_2:
            # The socket has waited for what tcp_fin_timeout has above 60 s; as a timewait socket it waits
            # as long once more: 70 s become 20 s, and 200 s become 280 s (measured on 6.18).
            rest = socket.fin_time - s.TIME_WAIT_LENGTH
            if rest > 0:
                socket.become_time_wait(now, rest)
            else:
                socket.send_reset(now)
                socket.end(s.TIMES_OUT)
            return
        options = socket.options
        if not options.keepalive_idle or socket.state in (s.CLOSED, s.SYN_SENT):
            return
        if socket.sender.busy:
            # Data in flight or waiting: retransmission owns the case, no probe is sent.
            self.arm(now, options.keepalive_idle)
            return
        idle = now - socket.last_received
        if idle < options.keepalive_idle:
            # Exactly then: Linux counts both in ticks, so nothing is rounded a second time.
            self.due = socket.machine.deadline(now, options.keepalive_idle, socket.last_received)
            return
        if self._gives_up(idle):
            socket.machine.count("TcpExtTCPKeepAliveTimeout")
            socket.send_reset(now)
            socket.fail(now, "ETIMEDOUT")
            return
        socket.machine.count("TcpExtTCPKeepAlive")
        socket.sender.probe(now)
        socket.probes_out += 1
        self.arm(now, options.keepalive_interval)

    def _gives_up(self, idle: int) -> bool:
        options, probes_out = self.socket.options, self.socket.probes_out
        if options.user_timeout:
            # TCP_USER_TIMEOUT replaces the count of probes altogether.
            return idle >= options.user_timeout and probes_out > 0
        return probes_out >= options.keepalive_probes


class Socket:
    """One end of a connection. Made by `Stack`; every method takes `now` in nanoseconds."""

    def __init__(
        self, machine: Machine, local: Endpoint, remote: Endpoint, options: TcpOptions, iss: int,
        listener: SynQueue | None = None,
    ) -> None:  # fmt: skip
        self.machine = machine
        self.local, self.remote = local, remote
        self.options = options
        self.state = s.CLOSED if listener is None else s.LISTEN
        #: The listener whose queue it waits in; None once accepted, or for an active open.
        self.listener = listener
        #: Pending error (sk_err), given to the next call; then it is gone.
        self.error: str | None = None
        self.read_closed = self.write_closed = self.fin_received = self.fin_read = False
        #: A timewait socket has taken its place; only its application still holds it.
        self.detached = False
        #: No application holds it any more.
        self.orphan = False
        self.timestamps = self.sack = self.scaling = False
        #: The peer's last timestamp (TSval), and when it arrived.
        self.ts_recent = self.ts_recent_at = 0
        #: Probes since the last answer; shared by keepalive and window probes, as in Linux.
        self.probes_out = 0
        self.last_received = 0
        self.last_reply = -(1 << 62)
        self.scheduled: int | None = None
        self.sender = Sender(self, iss)
        self.receiver = Receiver(self, options.receive_buffer or machine.sysctls.tcp_rmem, self.sender.rtt)
        self.keepalive = KeepaliveTimer(self)

    # -- what an application calls ---------------------------------------------------------

    def connect(self, now: int) -> None:
        """connect(): the first SYN."""
        advance(self, s.CONNECTS)
        self.sender.send_syn(now, SYN)

    def send(self, now: int, length: int) -> int | str | None:
        """Bytes taken, an errno name, or None while it would block (still connecting)."""
        if self.error:
            return self.take_error()
        if self.write_closed:
            return "EPIPE"
        if self.state == s.SYN_SENT:
            return None
        if self.state not in (s.ESTABLISHED, s.CLOSE_WAIT):
            return "EPIPE"
        self.sender.write(now, length)
        return length

    def receive(self, now: int, at_most: int) -> int | str | None:
        """Bytes read, 0 at end of file, an errno name, or None while it would block."""
        if self.receiver.buffered:
            return self.receiver.read(now, at_most)
        if self.fin_received:
            self.fin_read = True
            return 0
        if self.error:
            return self.take_error()
        if self.read_closed:
            return 0
        return "ENOTCONN" if self.state == s.CLOSED else None

    def shutdown_write(self, now: int) -> str | None:
        """shutdown(SHUT_WR): a FIN; reading goes on. An errno name, or None."""
        if self.state not in (s.ESTABLISHED, s.CLOSE_WAIT):
            return "ENOTCONN" if self.state in (s.CLOSED, s.SYN_SENT, s.TIME_WAIT) else None
        self.write_closed = True
        self._finish(now)
        return None

    def close(self, now: int) -> None:
        """close(), exit() or SIGKILL: a FIN, or a RST when received bytes lie unread."""
        self.orphan = self.read_closed = True
        if self.receiver.buffered and self.state not in (s.CLOSED, s.TIME_WAIT):
            self.machine.count("TcpExtTCPAbortOnClose")
            self._abort(now)
        elif self.state == s.SYN_SENT:
            self.end(s.CLOSES)
        elif self.state in (s.ESTABLISHED, s.CLOSE_WAIT):
            self.write_closed = True
            self._finish(now)
        elif self.state == s.FIN_WAIT_2:
            self.wait_for_fin(now)

    def reset(self, now: int) -> None:
        """close() with SO_LINGER {1, 0}: a RST at once (tcp_disconnect).

        Where both sides have finished there is nothing to reset: the socket just goes.
        """
        if self.receiver.buffered:
            self.close(now)
            return
        self.orphan = self.read_closed = True
        if self.state in (s.ESTABLISHED, s.CLOSE_WAIT, s.FIN_WAIT_1, s.FIN_WAIT_2, s.SYN_RECV):
            self.machine.count("TcpExtTCPAbortOnData")
            self._abort(now)
        elif self.state in (s.CLOSING, s.LAST_ACK):
            self.machine.count("TcpExtTCPAbortOnData")
            if self.sender.unsent:
                self.send_reset(now)
            self.end(s.ABORTS)
        elif self.state == s.SYN_SENT:
            self.end(s.CLOSES)

    def take_error(self) -> str | None:
        """getsockopt(SO_ERROR): the pending error; it is gone then."""
        error, self.error = self.error, None
        return error

    @property
    def settled(self) -> bool:
        """All that was sent is acknowledged, and no ACK is owed; or it is closed."""
        return self.state == s.CLOSED or not (self.sender.busy or self.receiver.ack_needed)

    @property
    def hung_up(self) -> bool:
        """What poll() calls POLLRDHUP: no more data will come."""
        return self.fin_received or self.state == s.CLOSED

    def _finish(self, now: int) -> None:
        advance(self, s.CLOSES)
        self.sender.finish(now)

    def _abort(self, now: int) -> None:
        self.send_reset(now)
        self.end(s.ABORTS)

    # -- what a segment does, in the order in which Linux looks at it ---------------------

    def on_segment(self, now: int, segment: Segment) -> None:
        """Take a segment for a connection that is no half-open request."""
        if self.state == s.SYN_SENT:
            self._on_segment_in_syn_sent(now, segment)
            return
        if not segment.flags & (ACK | RST | SYN):
            return
        if not self._valid(now, segment) or not self._acknowledges_what_was_sent(now, segment.ack):
            return
        stamps = segment.timestamps
        if (
            stamps is not None
            and self.timestamps
            and not after(segment.seq, self.receiver.wup)
            and not before(segment.ack, self.sender.una)
            and (not before(stamps[0], self.ts_recent) or not self.ts_recent)
        ):
            # tcp_replace_ts_recent; an old acknowledgement changes nothing.
            self.ts_recent, self.ts_recent_at = stamps[0], now
        self.sender.on_ack(now, segment)
        if self._after_ack(now, segment):
            self._take_data(now, segment)
            if self.state not in (s.CLOSED, s.TIME_WAIT):
                self.sender.push(now)
                self.receiver.acknowledge_if_due(now)

    def on_handshake_ack(self, now: int, segment: Segment) -> None:
        """The last step of the handshake at the server; the segment may carry data already."""
        self.sender.learn_window(segment.window)
        if self.timestamps and segment.timestamps and not after(segment.seq, self.receiver.nxt):
            self.ts_recent, self.ts_recent_at = segment.timestamps[0], now
        self.synchronised(now, s.GETS_HANDSHAKE_ACK, segment)
        self.sender.counted_from = self.sender.una
        if segment.length or segment.flags & FIN:
            self.on_segment(now, segment)

    def _on_segment_in_syn_sent(self, now: int, segment: Segment) -> None:
        flags, sender = segment.flags, self.sender
        if flags & ACK and (not after(segment.ack, sender.una) or after(segment.ack, sender.nxt)):
            # The peer thinks of an older connection. Our RST ends it, so ask again soon: after two
            # ticks (TCP_TIMEOUT_MIN) instead of a second.
            if not sender.timer.repeats and self.machine.release.syn_repeated_at_once:
                sender.timer.arm(now, RETRANSMIT, 2 * self.machine.release.tick)
            self.machine.refuse(segment)
            return
        if flags & RST:
            ack = segment.ack if flags & ACK else None
            self.machine.verdict = handshake_reset_verdict(ack, una=sender.una, nxt=sender.nxt)
            if self.machine.verdict == s.ACCEPTED:
                self._reset_by_peer()
            return
        if flags & (SYN | ACK) != SYN | ACK:
            # A bare SYN would be a simultaneous open, which no database client makes.
            return
        self.take_options(now, segment)
        self.synchronised(now, s.GETS_SYN_ACK, segment)
        self.send_ack(now)

    def _from_the_past(self, now: int, segment: Segment) -> bool:
        """PAWS: whether a segment's timestamp is too old; slightly reordered ACKs are excepted.

        RFC 7323 section 5; tcp_paws_check, tcp_disordered_ack_check.
        """
        stamps = segment.timestamps
        if stamps is None or not self.timestamps or not before(stamps[0], self.ts_recent):
            return False
        age = seq_diff(self.ts_recent, stamps[0])
        if age <= s.PAWS_WINDOW or not self.ts_recent:
            return False
        if now - self.ts_recent_at >= self.machine.release.timestamp_counts_s * SECOND:
            return False
        sender = self.sender
        if (
            segment.end_seq != segment.seq
            or not segment.flags & ACK
            or segment.seq != self.receiver.nxt
            or segment.ack != sender.una
            or sender.may_update_window(segment)
        ):
            return True
        # A peer's clock may tick 1.2 times in a millisecond (tcp_tsval_replay).
        return age > sender.rtt.rto * 6 // 5 // MILLISECOND

    def _refuse_the_past(self, now: int, segment: Segment) -> None:
        if segment.flags & SYN:
            self.challenge(now)
            return
        is_ack = segment.flags & ACK and segment.end_seq == segment.seq
        if is_ack and before(segment.seq, self.receiver.nxt) and self.machine.release.old_ack_unanswered:
            self.machine.count("TcpExtPAWSOldAck")
            return
        self.machine.count("TcpExtPAWSEstab")
        self._answer_old(now, segment)

    def _answer_old(self, now: int, segment: Segment) -> None:
        """Answer an unacceptable segment with an ACK, and a D-SACK if it is a duplicate (tcp_send_dupack)."""
        if not self._may_answer(now, segment):
            return
        receiver = self.receiver
        if segment.end_seq != segment.seq and before(segment.seq, receiver.nxt):
            receiver.repeated(segment)
        self.send_ack(now)

    def _valid(self, now: int, segment: Segment) -> bool:
        """Timestamp and window first, then RST, then SYN (tcp_validate_incoming)."""
        if not segment.flags & RST and self._from_the_past(now, segment):
            self._refuse_the_past(now, segment)
            return False
        if segment.flags & RST:
            self._on_reset(now, segment)
            return False
        if not self.receiver.acceptable(segment):
            if segment.flags & SYN:
                self.challenge(now)
                return False
            if self.machine.release.overhang_refused and not before(segment.end_seq, self.receiver.wup):
                self.machine.count("TcpExtBeyondWindow")
            self._answer_old(now, segment)
            return False
        if segment.flags & SYN:
            self.challenge(now)
            return False
        return True

    def _acknowledges_what_was_sent(self, now: int, ack: int) -> bool:
        """RFC 5961 section 5.2 (tcp_ack): what is far too old, or was never sent, draws a challenge ACK.

        An established connection may leave an ACK of data never sent unanswered.
        """
        sender = self.sender
        if sender.acceptable(ack):
            return True
        never_sent = after(ack, sender.nxt)
        if self.machine.release.unsent_ack_challenged or not never_sent or self.state != s.ESTABLISHED:
            self.challenge(now)
        return False

    def _on_reset(self, now: int, segment: Segment) -> None:
        receiver = self.receiver
        verdict = self.machine.verdict = reset_verdict(
            segment.seq,
            length=segment.length,
            rcv_nxt=receiver.nxt,
            left_edge=receiver.wup,
            right_edge=receiver.right_edge,
            release=self.machine.release,
            state=self.state,
            sack_edge=receiver.sack_edge if self.sack else None,
        )
        if verdict == s.ACCEPTED:
            self._reset_by_peer()
        elif verdict == s.CHALLENGED:
            self.challenge(now)

    def _reset_by_peer(self) -> None:
        self.error = reset_error(self.state)
        self.machine.count("TcpAttemptFails" if self.state == s.SYN_SENT else "TcpEstabResets")
        self.end(s.GETS_RESET)

    def _after_ack(self, now: int, segment: Segment) -> bool:
        """State changes once everything, our FIN included, is acknowledged. False: it is over."""
        if not self.sender.finishing or self.sender.busy:
            return True
        if self.state == s.FIN_WAIT_1:
            advance(self, s.GETS_FIN_ACK)
            if self.orphan:
                if self._is_late_data(segment):
                    self._refuse_data(segment)
                    return False
                return not self.wait_for_fin(now, fin_here=bool(segment.flags & FIN))
        elif self.state == s.CLOSING:
            advance(self, s.GETS_FIN_ACK)
            self.become_time_wait(now)
            return False
        elif self.state == s.LAST_ACK:
            self.end(s.GETS_FIN_ACK)
            return False
        return True

    def _is_late_data(self, segment: Segment) -> bool:
        return bool(segment.length) and after(seq_add(segment.seq, segment.length), self.receiver.nxt)

    def _refuse_data(self, segment: Segment) -> None:
        """Data for an application that has closed, or after a FIN: RST (TCPAbortOnData)."""
        self.machine.count("TcpExtTCPAbortOnData")
        self.error = reset_error(self.state)
        self.end(s.ABORTS)
        self.machine.refuse(segment)

    def _take_data(self, now: int, segment: Segment) -> None:
        if not segment.length and not segment.flags & FIN:
            return
        if self.state in (s.CLOSE_WAIT, s.CLOSING, s.LAST_ACK) and not before(segment.seq, self.receiver.nxt):
            return
        if self.read_closed and self._is_late_data(segment):
            self._refuse_data(segment)
            return
        if segment.length:
            self.last_received = now
        if self.receiver.on_data(now, segment):
            self._on_fin(now)

    def _on_fin(self, now: int) -> None:
        self.fin_received = self.read_closed = True
        if self.state == s.FIN_WAIT_2:
            self.send_ack(now)
            advance(self, s.GETS_FIN)
            self.become_time_wait(now)
            return
        advance(self, s.GETS_FIN)
        if self.state == s.CLOSING:
            self.send_ack(now)
        else:
            self.receiver.enter_interactive()

    # -- sending ---------------------------------------------------------------------------

    def emit(self, now: int, flags: int, *, seq: int, length: int = 0) -> None:
        """Put one segment on the wire, with acknowledgement and window as they are now."""
        receiver = self.receiver
        if flags & SYN:
            self.machine.transmit(self.handshake_segment(now, flags, seq))
            return
        if self.state == s.SYN_RECV:
            # A request has no socket yet that could choose (tcp_v4_reqsk_send_ack).
            window = receiver.advertised >> receiver.scale << receiver.scale
        else:
            window = receiver.advertise()
        self.machine.transmit(
            Segment(
                self.local, self.remote, seq, receiver.nxt, flags, window, length, None, None, False,
                receiver.sack_blocks(self._most_blocks) if receiver.blocks or receiver.dsack else (),
                (self.machine.clock(now), self.ts_recent) if self.timestamps else None,
            )
        )  # fmt: skip
        receiver.acknowledged()

    @property
    def _most_blocks(self) -> int:
        """How many SACK blocks the options have room for (RFC 2018 section 3; tcp_established_options)."""
        return 3 if self.timestamps else 4

    @property
    def sack_bytes(self) -> int:
        """Bytes of the next segment's options that SACK takes."""
        receiver = self.receiver
        if not receiver.blocks and receiver.dsack is None:
            return 0
        return 4 + 8 * min(len(receiver.blocks) + (receiver.dsack is not None), self._most_blocks)

    def handshake_segment(self, now: int, flags: int, seq: int) -> Segment:
        """A SYN or SYN-ACK with its options."""
        receiver, sysctls, syn_ack = self.receiver, self.machine.sysctls, flags & ACK
        return Segment(
            self.local, self.remote, seq, receiver.nxt if syn_ack else 0, flags,
            min(receiver.advertised, 65535), 0, s.MSS_ETHERNET,
            receiver.scale if (self.scaling if syn_ack else sysctls.tcp_window_scaling) else None,
            self.sack if syn_ack else bool(sysctls.tcp_sack), (),
            (self.machine.clock(now), self.ts_recent)
            if (self.timestamps if syn_ack else sysctls.tcp_timestamps) else None,
        )  # fmt: skip

    def send_ack(self, now: int) -> None:
        """A pure acknowledgement."""
        self.emit(now, ACK, seq=self.sender.nxt)

    def send_reset(self, now: int) -> None:
        """RST, ACK from our side (tcp_send_active_reset)."""
        self.machine.count("TcpOutRsts")
        self.emit(now, RST | ACK, seq=self.sender.nxt)

    def answer(self, now: int, segment: Segment) -> None:
        """An ACK to something unacceptable (tcp_oow_rate_limited).

        Payload and FIN are always answered: who repeats them must have missed our ACK.
        """
        if self._may_answer(now, segment):
            self.send_ack(now)

    def _may_answer(self, now: int, segment: Segment) -> bool:
        """Payload and FIN always; anything else at most once in 500 ms per socket."""
        if not segment.flags & SYN and segment.end_seq != segment.seq:
            return True
        return self._within_limit(now)

    def _within_limit(self, now: int) -> bool:
        if now - self.last_reply < self.machine.sysctls.tcp_invalid_ratelimit * MILLISECOND:
            return False
        self.last_reply = now
        return True

    def challenge(self, now: int) -> None:
        """A challenge ACK: is it really you? (RFC 5961 section 3.2; tcp_send_challenge_ack)."""
        if self.machine.release.challenge_ack_per_socket_limit and not self._within_limit(now):
            return
        self.machine.count("TcpExtTCPChallengeACK")
        self.send_ack(now)

    # -- shared by calls and arrivals ------------------------------------------------------

    def take_options(self, now: int, segment: Segment) -> None:
        """Learn from the peer's SYN: numbers, MSS, window scale, SACK, timestamps."""
        sysctls, receiver = self.machine.sysctls, self.receiver
        receiver.nxt = receiver.wup = seq_add(segment.seq, 1)
        self.scaling = bool(sysctls.tcp_window_scaling) and segment.window_scale is not None
        self.sack = bool(sysctls.tcp_sack) and segment.sack_permitted
        self.timestamps = bool(sysctls.tcp_timestamps) and segment.timestamps is not None
        if segment.timestamps and self.timestamps:
            self.ts_recent = segment.timestamps[0]
            self.ts_recent_at = now
        receiver.agree(self.scaling, self.timestamps)
        largest = min(segment.mss or s.MSS_DEFAULT, s.MSS_ETHERNET)
        self.sender.full_mss = largest - s.TIMESTAMP_OPTION if self.timestamps else largest
        self.sender.window = segment.window
        self.sender.learn_window(segment.window)
        self.sender.wl1 = segment.seq

    def synchronised(self, now: int, step: str, segment: Segment) -> None:
        """The handshake is complete on this side."""
        advance(self, step)
        self.last_received = now
        timer = self.sender.timer
        lost = timer.repeats > 1 and not self._echoes_first_syn(segment)
        self.sender.on_ack(now, segment)
        if not self.sender.rtt.srtt:
            timer.fall_back()
        # Two lost SYNs are no accident: begin with one segment (tcp_init_transfer).
        self.sender.cwnd = 1 if lost else s.INITIAL_WINDOW
        self.sender.window = segment.window
        self.sender.wl1 = segment.seq
        self.sender.recovery_end = None
        self.receiver.open(now, self.sender.mss)
        self.keepalive.start(now)

    def _echoes_first_syn(self, segment: Segment) -> bool:
        """Whether the SYN retransmission was spurious (tcp_try_undo_spurious_syn, since 5.2)."""
        since, machine = self.sender.timer.repeating_since, self.machine
        if (
            since is None
            or not (self.timestamps and segment.timestamps)
            or not machine.release.spurious_syn_undone
        ):
            return False
        return segment.timestamps[1] == machine.clock(since)

    def new_data_sent(self, now: int) -> None:
        """The application's data has left for the first time."""
        self.receiver.answered(now)

    def heard(self, now: int) -> None:
        """An acceptable acknowledgement came: the peer is alive."""
        self.last_received = now
        self.probes_out = 0

    @property
    def fin_time(self) -> int:
        """tcp_fin_timeout, at least 3.5 RTO, nanoseconds (include/net/tcp.h:tcp_fin_time)."""
        return max(int(self.machine.sysctls.tcp_fin_timeout * SECOND), self.sender.rtt.rto * 7 // 2)

    def wait_for_fin(self, now: int, *, fin_here: bool = False) -> bool:
        """FIN_WAIT_2 without an application; True when a timewait socket has taken over.

        With `fin_here` a FIN has come along: the socket itself stays to look at it.
        """
        wait = self.fin_time
        if wait > s.TIME_WAIT_LENGTH:
            self.keepalive.arm(now, wait - s.TIME_WAIT_LENGTH)
        elif fin_here:
            self.keepalive.arm(now, wait)
        else:
            self.become_time_wait(now, wait)
            return True
        return False

    def become_time_wait(self, now: int, wait: int = s.TIME_WAIT_LENGTH) -> None:
        """In TIME_WAIT, or in FIN_WAIT_2 without an application: let a timewait socket take over.

        With tcp_max_tw_buckets of them there the new one is not made (tcp_time_wait).
        """
        if self.detached:
            return
        if not self.machine.has_room_for_time_wait():
            self.end(s.TIMES_OUT)
            return
        rest = TimeWaitSocket(
            self.machine, self.local, self.remote, state=self.state, due=self.machine.deadline(now, wait),
            rcv_nxt=self.receiver.nxt, rcv_window=self.receiver.window_left, snd_nxt=self.sender.nxt,
            ts_recent=self.ts_recent if self.timestamps else None,
        )  # fmt: skip
        self.stop()
        self.detached = self.read_closed = self.write_closed = True
        self.machine.replace(now, self, rest)

    # -- time, and the end -----------------------------------------------------------------

    @property
    def due(self) -> int | None:
        """The next moment at which one of its timers fires."""
        pending = self.sender.timer.pending
        due = pending and pending.due
        for other in (self.receiver.ack_due, self.keepalive.due):
            if other is not None and (due is None or other < due):
                due = other
        return due

    def fire(self, now: int) -> None:
        """Fire what is due."""
        if self.receiver.ack_due is not None and self.receiver.ack_due <= now:
            self.receiver.fire(now)
        pending = self.sender.timer.pending
        if pending is not None and pending.due <= now:
            self.sender.timer.fire(now)
        if self.keepalive.due is not None and self.keepalive.due <= now:
            self.keepalive.fire(now)

    def fail(self, now: int, error: str) -> None:
        """A timer has given up: the next call gets `error`."""
        self.error = error
        self.end(s.TIMES_OUT)

    def end(self, step: str) -> None:
        """CLOSED by `step`: no timers, nothing in flight, the four-tuple is free (tcp_done)."""
        advance(self, step)
        self.stop()
        self.read_closed = self.write_closed = True
        if self.listener is not None:
            self.listener.drop_request(self)
        self.machine.forget(self)

    def stop(self) -> None:
        """No timer runs any more."""
        self.sender.stop()
        self.receiver.ack_due = self.keepalive.due = None
        self.receiver.ack_needed = False

    def summary(self) -> tuple[str, int, int, str, int | None, int]:
        """State, queues, timer, its due time and unanswered sends, as `ss -o` shows them.

        In the queues SYN and FIN count as one byte (net/ipv4/tcp_diag.c:tcp_diag_get_info).
        """
        if self.state == s.CLOSED:
            return GONE
        sender = self.sender
        unread = self.receiver.buffered + (self.fin_received and not self.fin_read)
        end = sender.data_end + sender.finishing
        unacknowledged = 0 if self.state == s.SYN_RECV else (end - sender.una) & 0xFFFFFFFF
        timer, due = "", self.keepalive.due
        if sender.timer.pending:
            timer, due = _SS_TIMERS[sender.timer.pending.kind], sender.timer.pending.due
        elif due is not None:
            timer = "keepalive"
        unanswered = sender.timer.repeats or self.probes_out
        return self.state, unread, unacknowledged, timer, due, unanswered
