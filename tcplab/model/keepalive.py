"""Keepalive: when an idle connection is probed, and when it is given up.

One timer that looks, when it fires, at how long nothing has been received; it is not reset by
traffic. Source: net/ipv4/tcp_timer.c:tcp_keepalive_timer, unchanged in substance from 3.10 to
6.18; RFC 9293 section 3.8.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcplab.model.states import CLOSED, FIN_WAIT_2, SYN_SENT, TIMES_OUT
from tcplab.model.sysctls import TIME_WAIT_LENGTH

if TYPE_CHECKING:
    from tcplab.model.socket import Socket


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
