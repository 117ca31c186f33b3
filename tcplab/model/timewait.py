"""TIME_WAIT, and FIN_WAIT_2 after close(): what is left of a socket, without its application.

Source: net/ipv4/tcp_minisocks.c (tcp_time_wait, tcp_timewait_state_process), RFC 9293
section 3.10.7.4, RFC 6191; TIME_WAIT assassination: RFC 1337.
"""

from __future__ import annotations

from tcplab.core.segment import ACK, FIN, RST, SYN, Endpoint, Segment, after, before, seq_add, seq_diff
from tcplab.core.text import MILLISECOND
from tcplab.model import rules as s
from tcplab.model.machine import Machine
from tcplab.model.rules import advance


def in_window(segment: Segment, left: int, right: int) -> bool:
    """Does any of it lie in the window [left, right)? (net/ipv4/tcp_minisocks.c:tcp_in_window)

    The rule for requests and timewait sockets; for a full socket both ends are inside
    (`Receiver.acceptable`).
    """
    seq, end = segment.seq, segment.end_seq
    return seq == left or (after(end, left) and before(seq, right)) or seq == end == right


#: What the stack has to do with a segment that met a timewait socket.
HANDLED, RESET, NEW_CONNECTION = "handled", "reset", "new connection"


class TimeWaitSocket:
    """What is left of a closed socket: four-tuple, numbers and one timer."""

    def __init__(
        self, machine: Machine, local: Endpoint, remote: Endpoint, *, state: str, due: int,
        rcv_nxt: int, rcv_window: int, snd_nxt: int, ts_recent: int | None,
    ) -> None:  # fmt: skip
        self.machine = machine
        self.local, self.remote = local, remote
        #: `TIME_WAIT`, or `FIN_WAIT_2` while the peer's FIN is still to come.
        self.state = state
        self.due: int | None = due
        self.scheduled: int | None = None
        self.rcv_nxt, self.rcv_window, self.snd_nxt = rcv_nxt, rcv_window, snd_nxt
        self.ts_recent = ts_recent
        self.detached = False
        self.last_reply = -(1 << 62)

    def receive(self, now: int, segment: Segment) -> str:
        """`handled`, `reset` (answer with a RST) or `new connection` (a listener may have it)."""
        if self.state == s.FIN_WAIT_2:
            return self._in_fin_wait_2(now, segment)
        flags, seq, clock = segment.flags, segment.seq, self._clock(segment)
        if clock >= 0 and seq == self.rcv_nxt and (flags & RST or segment.end_seq == seq):
            if flags & RST:
                if not self.machine.sysctls.tcp_rfc1337:
                    self.machine.verdict = s.ACCEPTED
                    self._end(s.GETS_RESET)
            else:
                self._learn_clock(segment)
                self._restart(now)
            return HANDLED
        if flags & (SYN | RST | ACK) == SYN and clock >= 0 and (after(seq, self.rcv_nxt) or clock > 0):
            return NEW_CONNECTION
        if not flags & RST:
            if flags & ACK or clock < 0:
                self._restart(now)
            self._reply(now, segment)
        return HANDLED

    def _clock(self, segment: Segment) -> int:
        """How far the peer's timestamps have moved on; below 0 it is an old segment (tcp_paws_reject)."""
        if not self.ts_recent or segment.timestamps is None:
            return 0
        return seq_diff(segment.timestamps[0], self.ts_recent)

    def _learn_clock(self, segment: Segment) -> None:
        if self.ts_recent is not None and segment.timestamps is not None:
            self.ts_recent = segment.timestamps[0]

    def _in_fin_wait_2(self, now: int, segment: Segment) -> str:
        flags, seq, end = segment.flags, segment.seq, segment.end_seq
        right_edge = seq_add(self.rcv_nxt, self.rcv_window)
        if self._clock(segment) < 0 or not in_window(segment, self.rcv_nxt, right_edge):
            # Even a RST is answered here.
            self._reply(now, segment)
            return HANDLED
        if flags & RST:
            self.machine.verdict = s.ACCEPTED
            self._end(s.GETS_RESET)
            return HANDLED
        if flags & SYN and not before(seq, self.rcv_nxt):
            return self._refuse()
        if not flags & ACK or not after(end, self.rcv_nxt) or end == seq:
            return HANDLED
        if not flags & FIN or end != seq_add(self.rcv_nxt, 1):
            # Data for an application that has gone.
            return self._refuse()
        advance(self, s.GETS_FIN)
        self.rcv_nxt = end
        self._learn_clock(segment)
        self._restart(now)
        self.send_ack(now)
        return HANDLED

    def _refuse(self) -> str:
        self._end(s.GETS_RESET)
        return RESET

    def _restart(self, now: int) -> None:
        self.due = self.machine.deadline(now, s.TIME_WAIT_LENGTH)

    def _reply(self, now: int, segment: Segment) -> None:
        """An ACK; without payload or FIN at most one in 500 ms (tcp_timewait_check_oow_rate_limit)."""
        if not segment.flags & SYN and segment.end_seq != segment.seq:
            self.send_ack(now)
        elif now - self.last_reply >= self.machine.sysctls.tcp_invalid_ratelimit * MILLISECOND:
            self.last_reply = now
            self.send_ack(now)

    def send_ack(self, now: int) -> None:
        """An ACK of all that came."""
        self.machine.transmit(
            Segment(
                self.local, self.remote, self.snd_nxt, self.rcv_nxt, ACK, self.rcv_window,
                timestamps=None if self.ts_recent is None else (self.machine.clock(now), self.ts_recent),
            )
        )  # fmt: skip

    def fire(self, now: int) -> None:
        """Its time is over."""
        self._end(s.EXPIRES if self.state == s.TIME_WAIT else s.TIMES_OUT)

    def _end(self, step: str) -> None:
        advance(self, step)
        self.due = None
        self.machine.forget(self)

    def summary(self) -> tuple[str, int, int, str, int | None, int]:
        """State, queues and timer as `ss` shows them."""
        return self.state, 0, 0, "timewait" if self.due is not None else "", self.due, 0
