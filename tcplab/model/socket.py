"""One connection on one machine: what an application calls, and what a segment does to it.

The state changes only through the table in `states`. Sources: net/ipv4/tcp_input.c
(tcp_rcv_established, tcp_rcv_state_process, tcp_validate_incoming, tcp_fin, tcp_reset),
net/ipv4/tcp.c (tcp_sendmsg, tcp_recvmsg, __tcp_close), RFC 9293 section 3.10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcplab.model import states as s
from tcplab.model.keepalive import Keepalive
from tcplab.model.receiver import Receiver
from tcplab.model.sender import Sender
from tcplab.model.sendtimer import LOSS_PROBE, REORDER, RETRANSMIT, WINDOW_PROBE
from tcplab.model.states import next_state
from tcplab.model.sysctls import (
    INITIAL_WINDOW,
    MILLISECOND,
    MSS_ETHERNET,
    SECOND,
    TIME_WAIT_LENGTH,
    TIMESTAMP_OPTION,
    Options,
)
from tcplab.segment import ACK, RST, SYN, Endpoint, Segment, seq_add

if TYPE_CHECKING:
    from tcplab.model.queues import Listener
    from tcplab.model.stack import Stack

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
