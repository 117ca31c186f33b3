"""The one timer of a sender, with its variants, so that impossible combinations can't be written.

A retransmission, a tail loss probe, a wait for reordering, or a window probe: never two at
once, as in Linux's icsk_pending. Sources: net/ipv4/tcp_timer.c (tcp_retransmit_timer,
tcp_write_timeout, tcp_probe_timer), net/ipv4/tcp_output.c (tcp_schedule_loss_probe,
tcp_send_loss_probe, tcp_send_probe0), net/ipv4/tcp_input.c (tcp_rearm_rto, tcp_ack_probe).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcplab.model.rtt import retries_as_time
from tcplab.model.states import SYN_RECV, SYN_SENT
from tcplab.model.sysctls import RTO_MAX, RTO_MIN, SECOND, TIMEOUT_INIT

if TYPE_CHECKING:
    from tcplab.model.sender import Sender

RETRANSMIT = "retransmit"
LOSS_PROBE = "loss probe"
REORDER = "reorder"
WINDOW_PROBE = "window probe"

#: Pieces that have arrived behind a hole, after which it is taken for a loss at once: tcp_reordering's
#: default, RFC 5681 section 3.2 (net/ipv4/tcp_recovery.c:tcp_rack_reo_wnd; tcp_time_to_recover).
DUPLICATES = 3


class SendTimer:
    """What the sender waits for, until when, and how often it has waited in vain."""

    __slots__ = (
        "backoff", "due", "kind", "probing_since", "repeating_since", "repeats", "sender", "tail_probe_sent",
    )  # fmt: skip

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        #: One of the four, or None while nothing is waited for.
        self.kind: str | None = None
        self.due: int | None = None
        #: How often the timeout has doubled, and timeouts since the last progress.
        self.backoff = 0
        self.repeats = 0
        #: First retransmission of what is in flight (tp->retrans_stamp), or the first SYN.
        self.repeating_since: int | None = None
        self.probing_since: int | None = None
        self.tail_probe_sent = False

    # -- arming --------------------------------------------------------------------------

    def arm(self, now: int, kind: str, wait: int) -> None:
        """Wait for `kind`, and for nothing else."""
        self.kind = kind
        self.due = now + self.sender.socket.stack.ticks(wait)

    def disarm(self) -> None:
        """Wait for nothing."""
        self.kind = self.due = None

    def rto(self) -> int:
        """The retransmission timeout with its backoff."""
        rto = self.sender.socket.stack.ticks(self.sender.rtt.rto)
        return min(rto << self.backoff, RTO_MAX) if self.backoff else rto

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
        self.arm(now, REORDER, self.sender.rtt.smoothed // 4 + 2 * self.sender.socket.stack.release.tick)

    def watch_window(self, now: int) -> None:
        """Data waits for a closed window and nothing is in flight."""
        self.arm(now, WINDOW_PROBE, self._probe_wait())

    def _schedule_loss_probe(self, now: int, at_most: int) -> bool:
        """A tail without an answer is repeated once before the timer begins to back off.

        True when that is what is waited for.
        """
        sender, socket = self.sender, self.sender.socket
        if not (socket.stack.release.tail_loss_probe and socket.sack) or sender.recovery_end is not None:
            return False
        if sender.rtt.srtt:
            lone = len(sender.flight) == 1
            wait = 2 * sender.rtt.smoothed + (RTO_MIN if lone else 2 * socket.stack.release.tick)
        else:
            wait = TIMEOUT_INIT
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
            sender.socket.stack.count("TcpExtTCPLossProbes")
            sender.socket.stack.count("TcpRetransSegs")
            tail = sender.flight[-1]
            tail.repeats += 1
            tail.sent_at = now
            # Neither backs the timeout off nor starts the clock of tcp_retries2.
            sender.transmit(now, tail)
        self.arm(now, RETRANSMIT, self.rto())

    def _time_out(self, now: int) -> None:
        sender, socket = self.sender, self.sender.socket
        expired = self._expired(now)
        if not expired or socket.state == SYN_RECV:
            socket.stack.count("TcpExtTCPTimeouts")
        if expired:
            self._give_up(now)
            return
        sender.start_recovery(now, everything=True)
        sender.cwnd = 1
        sender.repeat(now, sender.flight[0])
        self.repeats += 1
        linear = (socket.stack.sysctls.tcp_syn_linear_timeouts or 0) if socket.state == SYN_SENT else 0
        if self.repeats > linear:
            self.backoff += 1
        exact = socket.stack.release.user_timeout_exact
        self.arm(now, RETRANSMIT, self._clamp(now, self.rto(), self.repeating_since, exact))

    def _give_up(self, now: int) -> None:
        if self.sender.socket.state != SYN_RECV:
            self.sender.socket.stack.count("TcpExtTCPAbortOnTimeout")
        self.sender.socket.fail(now, "ETIMEDOUT")

    def _expired(self, now: int) -> bool:
        """Is it time to give up? A time, not a count (tcp_timer.c:tcp_write_timeout)."""
        socket, sysctls = self.sender.socket, self.sender.socket.stack.sysctls
        user_timeout = socket.options.user_timeout
        if socket.state == SYN_RECV and socket.listener is not None:
            return self.repeats >= socket.listener.synack_retries()
        if socket.state == SYN_SENT:
            limit = sysctls.tcp_syn_retries
            if self.repeats >= limit + (sysctls.tcp_syn_linear_timeouts or 0):
                return True
            honoured = user_timeout if socket.stack.release.user_timeout_exact else 0
            allowed = honoured or retries_as_time(limit, SECOND)
        else:
            retries = self._orphan_retries() if socket.orphan else sysctls.tcp_retries2
            allowed = user_timeout or retries_as_time(retries)
        return (
            bool(self.repeats) and self.repeating_since is not None and now - self.repeating_since >= allowed
        )

    def _orphan_retries(self) -> int:
        """Without an application: 8 while the timeout is below its maximum (tcp_orphan_retries)."""
        return self.sender.socket.stack.sysctls.tcp_orphan_retries or (8 if self.rto() < RTO_MAX else 0)

    def _clamp(self, now: int, wait: int, since: int | None, exact: bool) -> int:
        """Never sleep beyond the user timeout, where the release is that exact."""
        limit = self.sender.socket.options.user_timeout
        if not limit or since is None or not exact:
            return wait
        return min(wait, max(limit - (now - since), 1))

    def _wait_for_answer(self, now: int) -> None:
        exact = self.sender.socket.stack.release.user_timeout_exact_for_probes
        self.arm(now, WINDOW_PROBE, self._clamp(now, self._probe_wait(), self.probing_since, exact))

    # -- a closed window -----------------------------------------------------------------

    def _probe_wait(self) -> int:
        return min(max(self.sender.socket.stack.ticks(self.sender.rtt.rto), RTO_MIN) << self.backoff, RTO_MAX)

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
        sender, socket = self.sender, self.sender.socket
        if sender.flight or not sender.unsent:
            socket.probes_out = 0
            self.probing_since = None
            return
        limit = socket.options.user_timeout
        if self.probing_since is None:
            self.probing_since = now
        elif limit and now - self.probing_since >= limit:
            self._give_up(now)
            return
        if socket.probes_out >= (
            self._orphan_retries() if socket.orphan else socket.stack.sysctls.tcp_retries2
        ):
            self._give_up(now)
            return
        if sender.send_into_small_window(now):
            # Data in flight: retransmission takes over, and probing starts afresh another time.
            self.backoff = socket.probes_out = 0
            self.probing_since = None
            self.after_new(now, was_in_flight=False)
            return
        socket.stack.count("TcpExtTCPWinProbe")
        sender.probe(now)
        socket.probes_out += 1
        if self.backoff < socket.stack.sysctls.tcp_retries2:
            self.backoff += 1
        self._wait_for_answer(now)
