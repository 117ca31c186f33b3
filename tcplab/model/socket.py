"""One connection on one machine: what an application calls, and what a segment does to it.

The state changes only through the table in `states`. Sources: net/ipv4/tcp_input.c
(tcp_rcv_established, tcp_rcv_state_process, tcp_validate_incoming, tcp_fin, tcp_reset),
net/ipv4/tcp.c (tcp_sendmsg, tcp_recvmsg, __tcp_close), RFC 9293 section 3.10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcplab.core.segment import ACK, FIN, RST, SYN, Endpoint, Segment, after, before, seq_add
from tcplab.model import rules as s
from tcplab.model.receiver import Receiver
from tcplab.model.rules import (
    ACCEPTED,
    CHALLENGED,
    CLOSED,
    FIN_WAIT_2,
    INITIAL_WINDOW,
    MILLISECOND,
    MSS_ETHERNET,
    SECOND,
    SYN_SENT,
    TIME_WAIT_LENGTH,
    TIMES_OUT,
    TIMESTAMP_OPTION,
    Options,
    handshake_reset_verdict,
    next_state,
    reset_error,
    reset_verdict,
)
from tcplab.model.sender import LOSS_PROBE, REORDER, RETRANSMIT, WINDOW_PROBE, Sender

if TYPE_CHECKING:
    from tcplab.model.listener import Listener
    from tcplab.model.stack import Stack


# ----------------------------------------------------------------------
# What a segment does to a connection, in the order in which Linux looks at it.
#
# Acceptable? A RST? A SYN? Then the acknowledgement, then data and FIN. Sources:
# net/ipv4/tcp_input.c (tcp_rcv_established, tcp_rcv_state_process, tcp_validate_incoming, tcp_fin,
# tcp_reset, tcp_rcv_synsent_state_process), RFC 9293 section 3.10.7, RFC 5961.


def on_segment(socket: Socket, now: int, segment: Segment) -> None:
    """Take a segment for a connection that is no half-open request."""
    if socket.state == s.SYN_SENT:
        _on_segment_in_syn_sent(socket, now, segment)
        return
    if not segment.flags & (ACK | RST | SYN):
        return
    if not _valid(socket, now, segment) or not _acknowledges_what_was_sent(socket, now, segment.ack):
        return
    if socket.timestamps and segment.timestamps and not after(segment.seq, socket.receiver.wup):
        socket.ts_recent = segment.timestamps[0]
    socket.sender.on_ack(now, segment)
    if _after_ack(socket, now, segment):
        _take_data(socket, now, segment)
        if socket.state not in (s.CLOSED, s.TIME_WAIT):
            socket.sender.push(now)
            socket.receiver.acknowledge_if_due(now)


def on_handshake_ack(socket: Socket, now: int, segment: Segment) -> None:
    """The last step of the handshake at the server; the segment may carry data already."""
    socket.synchronised(now, s.GETS_HANDSHAKE_ACK, segment)
    if segment.length or segment.flags & FIN:
        on_segment(socket, now, segment)


def _on_segment_in_syn_sent(socket: Socket, now: int, segment: Segment) -> None:
    flags, sender = segment.flags, socket.sender
    if flags & ACK and (not after(segment.ack, sender.una) or after(segment.ack, sender.nxt)):
        # The peer thinks of an older connection. Our RST ends it, so ask again soon: after two
        # ticks (TCP_TIMEOUT_MIN) instead of a second, since 5.6.
        if not sender.timer.repeats and not socket.stack.release.older_than("5.6"):
            sender.timer.arm(now, RETRANSMIT, 2 * socket.stack.release.tick)
        socket.stack.refuse(segment)
        return
    if flags & RST:
        ack = segment.ack if flags & ACK else None
        socket.stack.verdict = handshake_reset_verdict(ack, una=sender.una, nxt=sender.nxt)
        if socket.stack.verdict == ACCEPTED:
            _reset_by_peer(socket)
        return
    if flags & (SYN | ACK) != SYN | ACK:
        # A bare SYN would be a simultaneous open, which no database client makes.
        return
    socket.take_options(segment)
    socket.synchronised(now, s.GETS_SYN_ACK, segment)
    socket.send_ack(now)


def _valid(socket: Socket, now: int, segment: Segment) -> bool:
    """The window first, then RST, then SYN."""
    if segment.flags & RST:
        _on_reset(socket, now, segment)
        return False
    if not socket.receiver.acceptable(segment):
        if segment.flags & SYN:
            socket.challenge(now)
            return False
        if segment.end_seq != segment.seq and before(segment.seq, socket.receiver.nxt):
            socket.receiver.be_quick()
        socket.answer(now, segment)
        return False
    if segment.flags & SYN:
        socket.challenge(now)
        return False
    return True


def _acknowledges_what_was_sent(socket: Socket, now: int, ack: int) -> bool:
    """RFC 5961 section 5.2 (tcp_ack): what is far too old, or was never sent, draws a challenge ACK.

    For an ACK of something never sent an established connection stayed silent before 6.18 (measured
    on 6.18.44, read in the sources of 5.10 and 6.9).
    """
    sender = socket.sender
    if sender.acceptable(ack):
        return True
    never_sent = after(ack, sender.nxt)
    if not (never_sent and socket.state == s.ESTABLISHED and socket.stack.release.older_than("6.18")):
        socket.challenge(now)
    return False


def _on_reset(socket: Socket, now: int, segment: Segment) -> None:
    receiver = socket.receiver
    verdict = socket.stack.verdict = reset_verdict(
        segment.seq,
        rcv_nxt=receiver.nxt,
        left_edge=receiver.wup,
        right_edge=receiver.right_edge,
        release=socket.stack.release,
        state=socket.state,
        sack_edge=receiver.sack_edge if socket.sack else None,
    )
    if verdict == ACCEPTED:
        _reset_by_peer(socket)
    elif verdict == CHALLENGED:
        socket.challenge(now)


def _reset_by_peer(socket: Socket) -> None:
    socket.error = reset_error(socket.state)
    socket.stack.count("TcpAttemptFails" if socket.state == s.SYN_SENT else "TcpEstabResets")
    socket.end(s.GETS_RESET)


def _after_ack(socket: Socket, now: int, segment: Segment) -> bool:
    """State changes once everything, our FIN included, is acknowledged. False: it is over."""
    if not socket.sender.finishing or socket.sender.busy:
        return True
    if socket.state == s.FIN_WAIT_1:
        socket.state = s.next_state(socket.state, s.GETS_FIN_ACK)
        if socket.orphan:
            if _is_late_data(socket, segment):
                _refuse_data(socket, segment)
                return False
            return not socket.wait_for_fin(now, fin_here=bool(segment.flags & FIN))
    elif socket.state == s.CLOSING:
        socket.state = s.next_state(socket.state, s.GETS_FIN_ACK)
        socket.stack.become_time_wait(now, socket)
        return False
    elif socket.state == s.LAST_ACK:
        socket.end(s.GETS_FIN_ACK)
        return False
    return True


def _is_late_data(socket: Socket, segment: Segment) -> bool:
    return bool(segment.length) and after(seq_add(segment.seq, segment.length), socket.receiver.nxt)


def _refuse_data(socket: Socket, segment: Segment) -> None:
    """Data for an application that has closed, or after a FIN: RST (TCPAbortOnData)."""
    socket.stack.count("TcpExtTCPAbortOnData")
    socket.error = reset_error(socket.state)
    socket.end(s.ABORTS)
    socket.stack.refuse(segment)


def _take_data(socket: Socket, now: int, segment: Segment) -> None:
    if not segment.length and not segment.flags & FIN:
        return
    if socket.state in (s.CLOSE_WAIT, s.CLOSING, s.LAST_ACK) and not before(segment.seq, socket.receiver.nxt):
        return
    if socket.read_closed and _is_late_data(socket, segment):
        _refuse_data(socket, segment)
        return
    if segment.length:
        socket.last_received = now
    if socket.receiver.on_data(now, segment):
        _on_fin(socket, now)


def _on_fin(socket: Socket, now: int) -> None:
    socket.fin_received = socket.read_closed = True
    if socket.state == s.FIN_WAIT_2:
        socket.send_ack(now)
        socket.state = s.next_state(socket.state, s.GETS_FIN)
        socket.stack.become_time_wait(now, socket)
        return
    socket.state = s.next_state(socket.state, s.GETS_FIN)
    if socket.state == s.CLOSING:
        socket.send_ack(now)
    else:
        socket.receiver.enter_interactive()


# ----------------------------------------------------------------------
# Keepalive: when an idle connection is probed, and when it is given up.
#
# One timer that looks, when it fires, at how long nothing has been received; it is not reset by
# traffic. Source: net/ipv4/tcp_timer.c:tcp_keepalive_timer, unchanged in substance from 3.10 to
# 6.18; RFC 9293 section 3.8.4.


class Keepalive:
    """The timer of one socket; off unless SO_KEEPALIVE is set."""

    __slots__ = ("due", "socket")

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.due: int | None = None

    def start(self, now: int) -> None:
        """When the connection is established: the first look comes after the idle time."""
        if self.socket.options.keepalive_idle:
            self.arm(now, self.socket.options.keepalive_idle)

    def arm(self, now: int, wait: int) -> None:
        """Look again after `wait`."""
        self.due = now + self.socket.stack.ticks(wait)

    def fire(self, now: int) -> None:
        """The timer has fired: probe, give up, or look again later."""
        socket = self.socket
        self.due = None
        if socket.orphan and socket.state == FIN_WAIT_2:
            # The first stretch was what tcp_fin_timeout has above 60 s; the second, as a minisocket,
            # is the same again: 70 s become 20 s, and 200 s become 280 s (measured on 6.18).
            rest = socket.fin_time - TIME_WAIT_LENGTH
            if rest > 0:
                socket.stack.become_time_wait(now, socket, rest)
            else:
                socket.send_reset(now)
                socket.end(TIMES_OUT)
            return
        options = socket.options
        if not options.keepalive_idle or socket.state in (CLOSED, SYN_SENT):
            return
        if socket.sender.busy:
            # Data in flight or waiting: retransmission owns the case, no probe is sent.
            self.arm(now, options.keepalive_idle)
            return
        idle = now - socket.last_received
        if idle < options.keepalive_idle:
            # Exactly then: Linux counts both in ticks, so nothing is rounded a second time.
            self.due = socket.last_received + socket.stack.ticks(options.keepalive_idle)
            return
        if self._gives_up(idle):
            socket.stack.count("TcpExtTCPKeepAliveTimeout")
            socket.send_reset(now)
            socket.fail(now, "ETIMEDOUT")
            return
        socket.stack.count("TcpExtTCPKeepAlive")
        socket.sender.probe(now)
        socket.probes_out += 1
        self.arm(now, options.keepalive_interval)

    def _gives_up(self, idle: int) -> bool:
        options, probes_out = self.socket.options, self.socket.probes_out
        if options.user_timeout:
            # TCP_USER_TIMEOUT replaces the count of probes altogether.
            return idle >= options.user_timeout and probes_out > 0
        return probes_out >= options.keepalive_probes


#: Timers in the words of `ss -o`.
_SS_TIMERS = {RETRANSMIT: "on", LOSS_PROBE: "on", REORDER: "on", WINDOW_PROBE: "persist"}


#: What is left of a socket to show once it is closed.
GONE = (s.CLOSED, 0, 0, "", None, 0)


class Socket:
    """One end of a connection. Made by `Stack`; every method takes `now` in nanoseconds."""

    __slots__ = (
        "detached",
        "error",
        "fin_read",
        "fin_received",
        "keepalive",
        "last_received",
        "last_reply",
        "listener",
        "local",
        "options",
        "orphan",
        "probes_out",
        "read_closed",
        "receiver",
        "remote",
        "sack",
        "scaling",
        "scheduled",
        "sender",
        "stack",
        "state",
        "timestamps",
        "ts_recent",
        "write_closed",
    )  # fmt: skip

    def __init__(
        self, stack: Stack, local: Endpoint, remote: Endpoint, options: Options, iss: int,
        listener: Listener | None = None,
    ) -> None:  # fmt: skip
        self.stack = stack
        self.local, self.remote = local, remote
        self.options = options
        self.state = s.CLOSED if listener is None else s.LISTEN
        #: The listener whose queue it waits in; None once accepted, or for an active open.
        self.listener = listener
        #: Pending error (sk_err), given to the next call; then it is gone.
        self.error: str | None = None
        self.read_closed = self.write_closed = self.fin_received = self.fin_read = False
        #: A minisocket has taken its place; only its application still holds it.
        self.detached = False
        #: No application holds it any more.
        self.orphan = False
        self.timestamps = self.sack = self.scaling = False
        self.ts_recent = 0
        #: Probes since the last answer; shared by keepalive and window probes, as in Linux.
        self.probes_out = 0
        self.last_received = 0
        self.last_reply = -(1 << 62)
        self.scheduled: int | None = None
        self.sender = Sender(self, iss)
        self.receiver = Receiver(self, options.receive_buffer or stack.sysctls.tcp_rmem)
        self.keepalive = Keepalive(self)

    # -- what an application calls ---------------------------------------------------------

    def connect(self, now: int) -> None:
        """connect(): the first SYN."""
        self.state = next_state(self.state, s.CONNECTS)
        self.sender.send_syn(now, SYN)

    def send(self, now: int, length: int) -> int | str | None:
        """Bytes taken, an errno name, or None while it would block (still connecting)."""
        if self.error:
            return self._take_error()
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
            return self._take_error()
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
            self.stack.count("TcpExtTCPAbortOnClose")
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
            self.stack.count("TcpExtTCPAbortOnData")
            self._abort(now)
        elif self.state in (s.CLOSING, s.LAST_ACK):
            self.stack.count("TcpExtTCPAbortOnData")
            if self.sender.unsent:
                self.send_reset(now)
            self.end(s.ABORTS)
        elif self.state == s.SYN_SENT:
            self.end(s.CLOSES)

    def _take_error(self) -> str | None:
        error, self.error = self.error, None
        return error

    def _finish(self, now: int) -> None:
        self.state = next_state(self.state, s.CLOSES)
        self.sender.finish(now)

    def _abort(self, now: int) -> None:
        self.send_reset(now)
        self.end(s.ABORTS)

    # -- sending ---------------------------------------------------------------------------

    def emit(self, now: int, flags: int, *, seq: int, length: int = 0) -> None:
        """Put one segment on the wire, with acknowledgement and window as they are now."""
        receiver = self.receiver
        if flags & SYN:
            self.stack.transmit(self.handshake_segment(now, flags, seq))
            return
        window = receiver.advertise()
        self.stack.transmit(
            Segment(
                self.local, self.remote, seq, receiver.nxt, flags, window, length, None, None, False,
                tuple(receiver.out_of_order[:3]) if self.sack else (),
                (self.stack.clock(now), self.ts_recent) if self.timestamps else None,
            )
        )  # fmt: skip
        receiver.acknowledged()

    def handshake_segment(self, now: int, flags: int, seq: int) -> Segment:
        """A SYN or SYN-ACK with its options."""
        receiver, syn_ack = self.receiver, flags & ACK
        return Segment(
            self.local, self.remote, seq, receiver.nxt if syn_ack else 0, flags,
            min(receiver.advertised, 65535), 0, MSS_ETHERNET,
            receiver.scale if self._offers_scaling(syn_ack) else None,
            self.sack if syn_ack else bool(self.stack.sysctls.tcp_sack), (),
            self._stamps(now) if not syn_ack or self.timestamps else None,
        )  # fmt: skip

    def _offers_scaling(self, syn_ack: int) -> bool:
        return self.scaling if syn_ack else bool(self.stack.sysctls.tcp_window_scaling)

    def _stamps(self, now: int) -> tuple[int, int] | None:
        return (self.stack.clock(now), self.ts_recent) if self.stack.sysctls.tcp_timestamps else None

    def send_ack(self, now: int) -> None:
        """A pure acknowledgement."""
        self.emit(now, ACK, seq=self.sender.nxt)

    def send_reset(self, now: int) -> None:
        """RST, ACK from our side (tcp_send_active_reset)."""
        self.stack.count("TcpOutRsts")
        self.emit(now, RST | ACK, seq=self.sender.nxt)

    def answer(self, now: int, segment: Segment) -> None:
        """An ACK to something unacceptable (tcp_oow_rate_limited).

        Payload and FIN are always answered: who repeats them must have missed our ACK.
        """
        if segment.flags & SYN or segment.end_seq == segment.seq:
            self.reply_limited(now)
        else:
            self.send_ack(now)

    def reply_limited(self, now: int) -> bool:
        """An ACK to something unacceptable, at most one in 500 ms per socket."""
        if now - self.last_reply < self.stack.sysctls.tcp_invalid_ratelimit * MILLISECOND:
            return False
        self.last_reply = now
        self.send_ack(now)
        return True

    def challenge(self, now: int) -> None:
        """A challenge ACK: is it really you? (RFC 5961 section 3.2; tcp_send_challenge_ack)."""
        if self.stack.release.challenge_ack_per_socket_limit:
            if self.reply_limited(now):
                self.stack.count("TcpExtTCPChallengeACK")
        else:
            self.stack.count("TcpExtTCPChallengeACK")
            self.send_ack(now)

    # -- shared by calls and arrivals ------------------------------------------------------

    def take_options(self, segment: Segment) -> None:
        """Learn from the peer's SYN: numbers, MSS, window scale, SACK, timestamps."""
        sysctls, receiver = self.stack.sysctls, self.receiver
        receiver.nxt = receiver.wup = seq_add(segment.seq, 1)
        self.scaling = bool(sysctls.tcp_window_scaling) and segment.window_scale is not None
        if not self.scaling:
            receiver.scale = 0
            receiver.limit = min(receiver.limit, 65535)
            receiver.advertised = min(receiver.advertised, 65535)
        self.sack = bool(sysctls.tcp_sack) and segment.sack_permitted
        self.timestamps = bool(sysctls.tcp_timestamps) and segment.timestamps is not None
        if segment.timestamps and self.timestamps:
            self.ts_recent = segment.timestamps[0]
        self.sender.mss = min(segment.mss or 536, MSS_ETHERNET) - (TIMESTAMP_OPTION if self.timestamps else 0)
        self.sender.window = self.sender.max_window = segment.window
        self.sender.wl1 = segment.seq

    def synchronised(self, now: int, step: str, segment: Segment) -> None:
        """The handshake is complete on this side."""
        self.state = next_state(self.state, step)
        self.last_received = now
        repeats = self.sender.timer.repeats
        self.sender.on_ack(now, segment)
        # Two lost SYNs are no accident: begin with one segment (tcp_init_transfer).
        self.sender.cwnd = 1 if repeats > 1 else INITIAL_WINDOW
        self.sender.window = segment.window
        self.sender.wl1 = segment.seq
        self.sender.recovery_end = None
        self.keepalive.start(now)

    def heard(self, now: int) -> None:
        """An acceptable acknowledgement came: the peer is alive."""
        self.last_received = now
        self.probes_out = 0

    @property
    def fin_time(self) -> int:
        """tcp_fin_timeout, at least 3.5 RTO, nanoseconds (include/net/tcp.h:tcp_fin_time)."""
        return max(int(self.stack.sysctls.tcp_fin_timeout * SECOND), self.sender.rtt.rto * 7 // 2)

    def wait_for_fin(self, now: int, *, fin_here: bool = False) -> bool:
        """FIN_WAIT_2 without an application; True when a minisocket has taken over.

        With `fin_here` a FIN has come along: the socket itself stays to look at it.
        """
        wait = self.fin_time
        if wait > TIME_WAIT_LENGTH:
            self.keepalive.arm(now, wait - TIME_WAIT_LENGTH)
        elif fin_here:
            self.keepalive.arm(now, wait)
        else:
            self.stack.become_time_wait(now, self, wait)
            return True
        return False

    # -- time, and the end -----------------------------------------------------------------

    @property
    def due(self) -> int | None:
        """The next moment at which one of its timers fires."""
        due = self.sender.timer.due
        for other in (self.receiver.ack_due, self.keepalive.due):
            if other is not None and (due is None or other < due):
                due = other
        return due

    def fire(self, now: int) -> None:
        """Fire what is due."""
        if self.receiver.ack_due is not None and self.receiver.ack_due <= now:
            self.receiver.fire(now)
        if self.sender.timer.due is not None and self.sender.timer.due <= now:
            self.sender.timer.fire(now)
        if self.keepalive.due is not None and self.keepalive.due <= now:
            self.keepalive.fire(now)

    def fail(self, now: int, error: str) -> None:
        """A timer has given up: the next call gets `error`."""
        self.error = error
        self.end(s.TIMES_OUT)

    def end(self, step: str) -> None:
        """CLOSED by `step`: no timers, nothing in flight, the four-tuple is free (tcp_done)."""
        self.state = next_state(self.state, step)
        self.stop()
        self.read_closed = self.write_closed = True
        if self.listener is not None:
            self.listener.requests.pop(self, None)
        self.stack.forget(self)

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
        if sender.timer.kind:
            timer, due = _SS_TIMERS[sender.timer.kind], sender.timer.due
        elif self.keepalive.due is not None:
            timer, due = "keepalive", self.keepalive.due
        else:
            timer, due = "", None
        unanswered = sender.timer.repeats or self.probes_out
        return self.state, unread, unacknowledged, timer, due, unanswered
