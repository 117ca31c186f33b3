"""Keepalive: when an idle connection is probed, and when it is given up.

One timer that looks, when it fires, at how long nothing has been received; it is not reset by
traffic. Source: net/ipv4/tcp_timer.c:tcp_keepalive_timer, unchanged in substance from 3.10 to
6.18; RFC 9293 section 3.8.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcplab.model.states import CLOSED, FIN_WAIT_2, SYN_SENT

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
            # tcp_fin_timeout above 60 s is served by this timer, the last 60 s as a minisocket.
            socket.stack.become_time_wait(now, socket)
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
            self.arm(now, options.keepalive_idle - idle)
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
