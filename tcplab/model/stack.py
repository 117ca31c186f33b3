"""One machine's TCP: sockets by four-tuple, listeners by port, timers, and what it wants to send.

Theory of operation: the caller passes the time, segments and calls; after each it collects
`to_send()`, `changed()` and `moved_counters()`, and it calls `timer()` at `next_timer()`. Nothing
here blocks: a call that would block returns None and may be tried again once `changed()` names its
socket.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count
from typing import Any

from tcplab.core.releases import Release, release
from tcplab.core.segment import ACK, FIN, RST, SYN, Endpoint, Segment, reset_for, seq_add
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.model import rules as s
from tcplab.model.listener import ListenSocket
from tcplab.model.machine import FourTuple
from tcplab.model.ports import ANY, Claim, PortError, Ports
from tcplab.model.rules import DEFAULT_OPTIONS, IGNORED, Sysctls, TcpOptions
from tcplab.model.socket import Socket
from tcplab.model.timewait import NEW_CONNECTION, RESET, TimeWaitSocket
from tcplab.model.wheel import TimerWheel, mean_delay

#: The clock behind initial sequence numbers goes on by one in this time (net/core/secure_seq.c:seq_scale).
ISN_TICK = 64


class Stack:
    """The TCP of one machine, with one address or several."""

    def __init__(
        self, address: str, rules: Release | None = None, seed: int = 0, wheel: TimerWheel | None = None
    ) -> None:
        """`wheel`: timers fire with its buckets; without it, exactly when they are due."""
        self.address, self.wheel = address, wheel
        self.release = rules or release()
        self.sysctls = Sysctls(
            tcp_syn_linear_timeouts=self.release.syn_linear_timeouts,
            tcp_rto_max_ms=s.RTO_MAX // MILLISECOND if self.release.has_rto_max else None,
            tcp_pingpong_thresh=self.release.pingpong_threshold if self.release.has_pingpong_sysctl else None,
            tcp_invalid_ratelimit=self.release.invalid_ratelimit,
            somaxconn=self.release.somaxconn,
            tcp_rmem_max=self.release.largest_rmem,
            tcp_tw_reuse=self.release.tw_reuse,
            ip_local_port_range=(32768, self.release.last_local_port),
        )
        self.random = random.Random(f"{seed} {address}")
        second_began = random.Random(f"{seed} {address} clock").randrange(SECOND)
        #: Who holds which local port.
        self.ports = Ports(self.release, self.sysctls, lambda n: self.random.randrange(n), second_began)
        self._claims: dict[tuple[Endpoint, Endpoint], Claim] = {}
        self._listening: dict[int, Claim] = {}
        #: Timewait sockets now; tcp_max_tw_buckets is their limit.
        self.timewait_sockets = 0
        self._isn: dict[tuple[Endpoint, Endpoint], int] = {}
        self.sockets: dict[tuple[Endpoint, Endpoint], Socket | TimeWaitSocket] = {}
        self.listeners: dict[int, ListenSocket] = {}
        #: `nstat`'s counters that have moved.
        self.counters: dict[str, int] = {}
        self._moved: dict[str, None] = {}
        self._touched: dict[Any, None] = {}
        #: What was done with the segment just received, if it was a RST.
        self.verdict = ""
        self._out: list[Segment] = []
        self._timers: list[tuple[int, int, Socket | TimeWaitSocket]] = []
        self._order = count()
        self._clock_offset = self.random.getrandbits(30)

    # -- the surface -------------------------------------------------------------------------

    def receive(self, now: int, segment: Segment) -> None:
        """A segment has arrived."""
        self.verdict = IGNORED if segment.flags & RST else ""
        found = self.sockets.get((segment.destination, segment.source))
        if isinstance(found, TimeWaitSocket):
            self._receive_in_time_wait(now, found, segment)
        elif found is not None:
            if found.state == s.SYN_RECV:
                listener = self.listeners[found.local.port]
                listener.on_request(now, found, segment)
                self._touched[listener] = None
            else:
                found.on_segment(now, segment)
            self._touch(found)
        else:
            self._receive_at_listener(now, segment)

    def call(self, now: int, verb: str, target: Any, *arguments: Any) -> Any:
        """What an application does with a socket or listener it holds; see `CALLS`."""
        result = CALLS[verb](target, now, *arguments)
        if result is not None or verb not in BLOCKING:
            # A call that would block changes nothing, so it touches nothing: two calls that wait for
            # the same socket would otherwise wake each other without end.
            self._touch(target)
        return result

    def timer(self, now: int) -> None:
        """Fire every timer that is due."""
        while self._timers and self._timers[0][0] <= now:
            due, _, socket = heapq.heappop(self._timers)
            if socket.scheduled == due:
                socket.scheduled = None
                socket.fire(now)
                self._touch(socket)

    def next_timer(self) -> int | None:
        """When `timer` wants to be called, or None."""
        timers = self._timers
        while timers and timers[0][2].scheduled != timers[0][0]:
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def to_send(self) -> list[Segment]:
        """Segments for the wire since the last call, in order."""
        out, self._out = self._out, []
        return out

    def changed(self) -> list[Any]:
        """Sockets and listeners that may have changed since the last call, in order."""
        touched, self._touched = self._touched, {}
        return list(touched)

    def moved_counters(self) -> list[tuple[str, int]]:
        """`nstat`'s counters that have moved since the last call, with their values."""
        moved, self._moved = self._moved, {}
        return [(name, self.counters[name]) for name in moved]

    # -- opening -----------------------------------------------------------------------------

    def connect(
        self,
        now: int,
        remote: Endpoint,
        options: TcpOptions = DEFAULT_OPTIONS,
        *,
        bound: Claim | None = None,
        address: str = "",
    ) -> Socket:
        """connect() on a new socket, from a port of the system's choice unless `ports.bind` gave it one.

        `address`: which of its own addresses; the first one if it doesn't say. Raises `PortError`
        EADDRNOTAVAIL, and a bound socket has then let go of its port.
        """
        try:
            if bound is None:
                address = address or self.address
                reuse, own = options.reuse_address, options.local_ports
                claim, replaced = self.ports.connect(now, address, remote, reuse_address=reuse, own_range=own)
            else:
                address = self.address if bound.address == ANY else bound.address
                claim, replaced = bound, self.ports.connect_bound(bound, address, remote)
        except PortError:
            if bound is not None:
                self.ports.release(bound)
            raise
        iss, ts_recent = self._next_isn(now, claim.local, remote), 0
        if replaced is not None:
            rest = self.sockets[replaced.local, remote]
            assert isinstance(rest, TimeWaitSocket)
            # Clear of what the old connection may still have on its way (tcp_twsk_unique).
            iss, ts_recent = seq_add(rest.snd_nxt, 65537) or 1, rest.ts_recent or 0
            rest.due, rest.detached = None, True
            self.forget(rest)
        self.count("TcpActiveOpens")
        socket = Socket(self, claim.local, remote, options, iss)
        self._register(socket, claim)
        socket.ts_recent = ts_recent
        socket.connect(now)
        self._touch(socket)
        return socket

    def listen(self, port: int, backlog: int, options: TcpOptions = DEFAULT_OPTIONS) -> ListenSocket:
        """bind() and listen() on a port. Raises `PortError` EADDRINUSE."""
        claim = self.ports.bind(self.address, port, reuse_address=options.reuse_address)
        self.ports.listens(claim)
        self._listening[port] = claim
        listener = ListenSocket(self, claim.local, backlog, options)
        self.listeners[port] = listener
        self._touch(listener)
        return listener

    def forget_everything(self) -> None:
        """A reboot: no socket is left, and no segment says so."""
        for socket in list(self.sockets.values()):
            if isinstance(socket, Socket):
                socket.end(s.TIMES_OUT)
            else:
                socket.due = None
                self.forget(socket)
        self.listeners.clear()
        self._listening.clear()
        self._claims.clear()
        self.ports.clear()
        self.timewait_sockets = 0
        self._timers.clear()
        self._out.clear()

    # -- for the sockets ---------------------------------------------------------------------

    def stop_listening(self, local: Endpoint) -> None:
        """No listener has this port any more."""
        if self.listeners.pop(local.port, None):
            self.ports.release(self._listening.pop(local.port))

    def inherit(self, socket: FourTuple) -> None:
        """Register a listener's half-open socket; it shares the listener's port."""
        parent = self._listening[socket.local.port]
        self._register(socket, self.ports.inherit(parent, socket.remote, s.SYN_RECV))

    def _register(self, socket: FourTuple, claim: Claim) -> None:
        assert isinstance(socket, Socket)
        self.sockets[socket.local, socket.remote] = socket
        self._claims[socket.local, socket.remote] = claim
        self._touch(socket)

    def transmit(self, segment: Segment) -> None:
        """Queue one segment for the wire."""
        self._out.append(segment)

    def refuse(self, segment: Segment) -> None:
        """Answer a segment that no socket wants with a RST (net/ipv4/tcp_ipv4.c:tcp_v4_send_reset)."""
        if segment.flags & RST:
            return
        self.count("TcpOutRsts")
        self.transmit(reset_for(segment))

    def forget(self, socket: FourTuple) -> None:
        """The four-tuple is free again."""
        key = (socket.local, socket.remote)
        if self.sockets.get(key) is socket:
            del self.sockets[key]
            self.ports.release(self._claims.pop(key))
            self.timewait_sockets -= isinstance(socket, TimeWaitSocket)
        self._touch(socket)

    def has_room_for_time_wait(self) -> bool:
        """False, and counted, while there are tcp_max_tw_buckets timewait sockets."""
        if self.timewait_sockets < self.sysctls.tcp_max_tw_buckets:
            return True
        self.count("TcpExtTCPTimeWaitOverflow")
        return False

    def replace(self, now: int, socket: FourTuple, rest: FourTuple) -> None:
        """Put the timewait socket `rest` in the place of `socket`."""
        assert isinstance(rest, TimeWaitSocket)
        self.timewait_sockets += 1
        self.sockets[rest.local, rest.remote] = rest
        claim = self._claims[rest.local, rest.remote]
        self.ports.wait(claim, now, rest.state, rest.due, timestamps=rest.ts_recent is not None)
        self._touched[socket] = None
        self._touch(rest)

    def count(self, counter: str) -> None:
        """Add one to a counter of `nstat`."""
        self.counters[counter] = self.counters.get(counter, 0) + 1
        self._moved[counter] = None

    def ticks(self, wait: int) -> int:
        """A wait rounded up to whole timer ticks."""
        tick = self.release.tick
        return -(-wait // tick) * tick

    def rto_max(self, options: TcpOptions) -> int:
        """The longest retransmission timeout of a new socket: TCP_RTO_MAX_MS, tcp_rto_max_ms, or 120 s."""
        sysctl = self.sysctls.tcp_rto_max_ms
        return s.RTO_MAX if sysctl is None else options.rto_max or sysctl * MILLISECOND

    def deadline(self, now: int, wait: int, since: int | None = None) -> int:
        """When a timer fires that is set now for `wait`, counted from `since` or from now."""
        if self.wheel is None:
            return (now if since is None else since) + self.ticks(wait)
        return self.wheel.fires(now, wait, since)

    def mean_delay(self, wait: int) -> int:
        """How much later Linux's wheel fires such a timer on average; 0 where the model uses a wheel."""
        if self.wheel is not None or self.release.older_than("4.8"):
            return 0
        return mean_delay(wait, SECOND // self.release.tick)

    def clock(self, now: int) -> int:
        """The timestamp option's clock, milliseconds from a random start (RFC 7323 section 5.4)."""
        return (self._clock_offset + now // MILLISECOND) & 0xFFFFFFFF

    # -- inside ------------------------------------------------------------------------------

    def _touch(self, socket: Any) -> None:
        """Note that it may have changed: its claim on a port and its timer follow."""
        self._touched[socket] = None
        if isinstance(socket, ListenSocket):
            return
        key, due = (socket.local, socket.remote), socket.due
        is_known = self.sockets.get(key) is socket
        if is_known:
            claim = self._claims[key]
            claim.state = socket.state
            if claim.entered is not None:
                claim.expires = due
        if due != socket.scheduled:
            socket.scheduled = due
            if due is not None:
                heapq.heappush(self._timers, (due, next(self._order), socket))

    def _receive_at_listener(self, now: int, segment: Segment, iss: int | None = None) -> None:
        listener, request = self.listeners.get(segment.destination.port), None
        if listener is None:
            self.refuse(segment)
        elif segment.flags & ACK:
            request = listener.on_ack(now, segment)
            self._touched[listener] = None
        elif segment.flags & (SYN | FIN | RST) == SYN:
            # Without ACK nothing but a SYN is looked at (tcp_rcv_state_process, TCP_LISTEN).
            request = listener.on_syn(now, segment, iss)
        if request is not None:
            self._touch(request)

    def _receive_in_time_wait(self, now: int, rest: TimeWaitSocket, segment: Segment) -> None:
        claim, waited_for_fin = self._claims[rest.local, rest.remote], rest.state == s.FIN_WAIT_2
        verdict = rest.receive(now, segment)
        if waited_for_fin and rest.state == s.TIME_WAIT:
            claim.entered = claim.heard = now
        if verdict == RESET:
            self.refuse(segment)
        elif verdict == NEW_CONNECTION and segment.destination.port not in self.listeners:
            rest.send_ack(now)
        elif verdict == NEW_CONNECTION:
            rest.due = None
            self.forget(rest)
            # Clear of what the old connection may still have on its way (tcp_timewait_state_process).
            self._receive_at_listener(now, segment, seq_add(rest.snd_nxt, 65537) or 1)
        self._touch(rest)

    def _next_isn(self, now: int, local: Endpoint, remote: Endpoint) -> int:
        """A number of chance for each four-tuple, plus a clock (RFC 6528; secure_tcp_seq).

        So the next connection on the same four-tuple begins above the last one.
        """
        base = self._isn.get((local, remote))
        if base is None:
            base = self._isn[local, remote] = seq_add(self.random.getrandbits(32), -(now // ISN_TICK))
        return seq_add(base, now // ISN_TICK)


#: Calls that give None where they would block.
BLOCKING = ("send", "receive", "accept")
#: The calls of an application, by name.
CALLS: dict[str, Callable[..., Any]] = {
    "send": Socket.send,
    "receive": Socket.receive,
    "shutdown_write": Socket.shutdown_write,
    "close": Socket.close,
    "reset": Socket.reset,
    "accept": ListenSocket.accept,
    "close_listener": ListenSocket.close,
}
