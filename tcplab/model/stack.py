"""One machine's TCP: sockets by four-tuple, listeners by port, timers, and what it wants to send.

Theory of operation: whoever runs it tells the stack what time it is, hands it segments and
calls, collects `to_send()` after each, and calls `timer()` at `next_timer()`. Nothing here
blocks: a call that would block returns None, and `woken` names the sockets that have changed
and may be tried again.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count
from typing import Any

from tcplab.core.releases import Release, release
from tcplab.core.segment import ACK, FIN, RST, SYN, Endpoint, Segment, reset_for, seq_add
from tcplab.model import rules as s
from tcplab.model.listener import Listener
from tcplab.model.ports import ANY, Claim, PortError, Ports
from tcplab.model.rules import (
    DEFAULT_OPTIONS,
    IGNORED,
    MILLISECOND,
    SECOND,
    TIME_WAIT_LENGTH,
    Options,
    Sysctls,
)
from tcplab.model.socket import Socket, on_segment
from tcplab.model.timewait import NEW_CONNECTION, RESET, TimeWait

#: The clock behind initial sequence numbers goes on by one in this time (net/core/secure_seq.c:seq_scale).
ISN_TICK = 64


class Stack:
    """The TCP of one machine, with one address or several."""

    def __init__(self, address: str, rules: Release | None = None, seed: int = 0) -> None:
        self.address = address
        self.release = rules or release()
        self.sysctls = Sysctls(
            tcp_syn_linear_timeouts=self.release.syn_linear_timeouts,
            # The limit, and its sysctl, came with 4.0 (032ee4236954).
            tcp_invalid_ratelimit=0 if self.release.older_than("4.0") else 500,
            somaxconn=self.release.somaxconn,
            tcp_rmem_max=6 << 20 if self.release.older_than("6.16") else 32 << 20,
            tcp_tw_reuse=self.release.tw_reuse,
            ip_local_port_range=(32768, self.release.last_local_port),
        )
        self.random = random.Random(f"{seed} {address}")
        second_began = random.Random(f"{seed} {address} clock").randrange(SECOND)
        #: Who holds which local port.
        self.ports = Ports(self.release, self.sysctls, lambda n: self.random.randrange(n), second_began)
        self._claims: dict[tuple[Endpoint, Endpoint], Claim] = {}
        self._listening: dict[int, Claim] = {}
        #: Minisockets now; tcp_max_tw_buckets is their limit.
        self.minisockets = 0
        self._isn: dict[tuple[Endpoint, Endpoint], int] = {}
        self.sockets: dict[tuple[Endpoint, Endpoint], Socket | TimeWait] = {}
        self.listeners: dict[int, Listener] = {}
        #: `nstat`'s counters that have moved.
        self.counters: dict[str, int] = {}
        #: Names of those that have moved since somebody emptied this.
        self.counted: dict[str, None] = {}
        #: Sockets and listeners that have changed since somebody emptied this.
        self.woken: dict[Any, None] = {}
        #: What was done with the segment just received, if it was a RST.
        self.verdict = ""
        self._out: list[Segment] = []
        self._timers: list[tuple[int, int, Socket | TimeWait]] = []
        self._order = count()
        self._clock_offset = self.random.getrandbits(30)

    # -- the surface -------------------------------------------------------------------------

    def receive(self, now: int, segment: Segment) -> None:
        """A segment has arrived."""
        self.verdict = IGNORED if segment.flags & RST else ""
        found = self.sockets.get((segment.destination, segment.source))
        if isinstance(found, TimeWait):
            self._receive_in_time_wait(now, found, segment)
        elif found is not None:
            if found.state == s.SYN_RECV and found.listener is not None:
                listener = found.listener
                listener.on_request(now, found, segment)
                self.woken[listener] = None
            else:
                on_segment(found, now, segment)
            self._changed(found)
        else:
            self._receive_at_listener(now, segment)

    def call(self, now: int, verb: str, target: Any, *arguments: Any) -> Any:
        """What an application does with a socket or listener it holds; see `CALLS`."""
        result = CALLS[verb](target, now, *arguments)
        if result is not None or verb not in BLOCKING:
            # A call that would block changes nothing, and wakes nobody: two that wait for the
            # same socket would wake each other for ever.
            self._changed(target)
        return result

    def timer(self, now: int) -> None:
        """Fire every timer that is due."""
        while self._timers and self._timers[0][0] <= now:
            due, _, socket = heapq.heappop(self._timers)
            if socket.scheduled == due:
                socket.scheduled = None
                socket.fire(now)
                self._changed(socket)

    def next_timer(self) -> int | None:
        """When `timer` wants to be called, or None."""
        timers = self._timers
        while timers and timers[0][2].scheduled != timers[0][0]:
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    def to_send(self) -> list[Segment]:
        """Segments for the wire, in order; they are handed out once."""
        out, self._out = self._out, []
        return out

    # -- opening -----------------------------------------------------------------------------

    def bind(self, address: str, port: int, *, reuse_address: bool = False) -> Claim:
        """bind() on a new socket, port 0 = of the system's choice; hand the claim to `connect`.

        Raises `PortError` EADDRINUSE.
        """
        return self.ports.bind(address, port, reuse_address=reuse_address)

    def connect(
        self,
        now: int,
        remote: Endpoint,
        options: Options = DEFAULT_OPTIONS,
        *,
        bound: Claim | None = None,
        address: str = "",
    ) -> Socket:
        """connect() on a new socket, from a port of the system's choice unless it is bound to one.

        `address`: which of its own addresses; the first one if it doesn't say. Raises `PortError`
        EADDRNOTAVAIL, and a bound socket has then let go of its port.
        """
        try:
            if bound is None:
                address = address or self.address
                reuse = options.reuse_address
                claim, replaced = self.ports.connect(now, address, remote, reuse_address=reuse)
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
            assert isinstance(rest, TimeWait)
            # Clear of what the old connection may still have on its way (tcp_twsk_unique).
            iss, ts_recent = seq_add(rest.snd_nxt, 65537) or 1, rest.ts_recent or 0
            rest.due, rest.detached = None, True
            self.forget(rest)
        self.count("TcpActiveOpens")
        socket = self._new_socket(claim, remote, options, None, iss)
        socket.ts_recent = ts_recent
        socket.connect(now)
        self._changed(socket)
        return socket

    def listen(self, port: int, backlog: int, options: Options = DEFAULT_OPTIONS) -> Listener:
        """bind() and listen() on a port. Raises `PortError` EADDRINUSE."""
        claim = self.ports.bind(self.address, port, reuse_address=options.reuse_address)
        self.ports.listens(claim)
        self._listening[port] = claim
        listener = Listener(self, claim.local, backlog, options)
        self.listeners[port] = listener
        self._changed(listener)
        return listener

    def close_listener(self, now: int, listener: Listener) -> None:
        """close() of a listening socket, or the death of its process."""
        self.listeners.pop(listener.local.port, None)
        if claim := self._listening.pop(listener.local.port, None):
            self.ports.release(claim)
        for half_open in [
            each for each in self.sockets.values() if isinstance(each, Socket) and each.listener is listener
        ]:
            if half_open.state == s.SYN_RECV:
                half_open.end(s.TIMES_OUT)
                self._changed(half_open)
        for waiting in listener.close(now):
            self._changed(waiting)

    def forget_everything(self) -> None:
        """A reboot: no socket is left, and nobody is told."""
        for socket in list(self.sockets.values()):
            if isinstance(socket, Socket):
                socket.end(s.TIMES_OUT)
            else:
                socket.due = None
                self.forget(socket)
            self.woken[socket] = None
        self.listeners.clear()
        self._listening.clear()
        self._claims.clear()
        self.ports.clear()
        self.minisockets = 0
        self._timers.clear()
        self._out.clear()

    # -- for the sockets ---------------------------------------------------------------------

    def new_socket(
        self,
        port: int,
        remote: Endpoint,
        options: Options,
        listener: Listener,
        iss: int | None = None,
    ) -> Socket:
        """A half-open socket of a listener, with a fresh initial sequence number if none is given."""
        claim = self.ports.inherit(self._listening[port], remote, s.SYN_RECV)
        return self._new_socket(
            claim, remote, options, listener, self.random.getrandbits(32) if iss is None else iss
        )

    def _new_socket(
        self, claim: Claim, remote: Endpoint, options: Options, listener: Listener | None, iss: int
    ) -> Socket:
        socket = Socket(self, claim.local, remote, options, iss, listener)
        self.sockets[claim.local, remote] = socket
        self._claims[claim.local, remote] = claim
        self._changed(socket)
        return socket

    def transmit(self, segment: Segment) -> None:
        """Queue one segment for the wire."""
        self._out.append(segment)

    def refuse(self, segment: Segment) -> None:
        """The answer to a segment that nobody wants (net/ipv4/tcp_ipv4.c:tcp_v4_send_reset)."""
        if segment.flags & RST:
            return
        self.count("TcpOutRsts")
        self.transmit(reset_for(segment))

    def forget(self, socket: Socket | TimeWait) -> None:
        """The four-tuple is free again."""
        key = (socket.local, socket.remote)
        if self.sockets.get(key) is socket:
            del self.sockets[key]
            self.ports.release(self._claims.pop(key))
            self.minisockets -= isinstance(socket, TimeWait)
        self.woken[socket] = None

    def become_time_wait(self, now: int, socket: Socket, wait: int = TIME_WAIT_LENGTH) -> None:
        """Replace a socket in TIME_WAIT, or in FIN_WAIT_2 without an application, by a minisocket.

        With tcp_max_tw_buckets of them there it is the new one that has to go (tcp_time_wait).
        """
        if socket.detached:
            return
        if self.minisockets >= self.sysctls.tcp_max_tw_buckets:
            self.count("TcpExtTCPTimeWaitOverflow")
            socket.end(s.TIMES_OUT)
            return
        self.minisockets += 1
        rest = TimeWait(
            self, socket.local, socket.remote, state=socket.state, due=now + self.ticks(wait),
            rcv_nxt=socket.receiver.nxt, rcv_window=socket.receiver.window_left, snd_nxt=socket.sender.nxt,
            ts_recent=socket.ts_recent if socket.timestamps else None,
        )  # fmt: skip
        socket.stop()
        socket.detached = True
        socket.read_closed = socket.write_closed = True
        self.sockets[socket.local, socket.remote] = rest
        claim = self._claims[socket.local, socket.remote]
        self.ports.wait(claim, now, rest.state, now + wait, timestamps=socket.timestamps)
        self.woken[socket] = None
        self._changed(rest)

    def count(self, counter: str) -> None:
        """Add one to a counter of `nstat`."""
        self.counters[counter] = self.counters.get(counter, 0) + 1
        self.counted[counter] = None

    def ticks(self, wait: int) -> int:
        """A wait rounded up to whole timer ticks."""
        tick = self.release.tick
        return -(-wait // tick) * tick

    def clock(self, now: int) -> int:
        """The timestamp option's clock, milliseconds from a random start (RFC 7323 section 5.4)."""
        return (self._clock_offset + now // MILLISECOND) & 0xFFFFFFFF

    # -- inside ------------------------------------------------------------------------------

    def _changed(self, socket: Any) -> None:
        self.woken[socket] = None
        if isinstance(socket, Listener):
            return
        due = socket.due
        claim = self._claims.get((socket.local, socket.remote))
        if claim is not None:
            claim.state = socket.state
            if claim.entered is not None:
                claim.expires = due
        if due != socket.scheduled:
            socket.scheduled = due
            if due is not None:
                heapq.heappush(self._timers, (due, next(self._order), socket))

    def _receive_at_listener(self, now: int, segment: Segment) -> None:
        listener = self.listeners.get(segment.destination.port)
        if listener is None:
            self.refuse(segment)
        elif segment.flags & ACK:
            self._asked(listener.on_ack(now, segment))
            self.woken[listener] = None
        elif segment.flags & (SYN | FIN | RST) == SYN:
            # Without ACK nothing but a SYN is looked at (tcp_rcv_state_process, TCP_LISTEN).
            self._asked(listener.on_syn(now, segment))

    def _asked(self, request: Socket | None) -> None:
        if request is not None:
            self._changed(request)

    def _receive_in_time_wait(self, now: int, rest: TimeWait, segment: Segment) -> None:
        claim, waited_for_fin = self._claims[rest.local, rest.remote], rest.state == s.FIN_WAIT_2
        verdict = rest.receive(now, segment)
        if waited_for_fin and rest.state == s.TIME_WAIT:
            claim.entered = claim.heard = now
        if verdict == RESET:
            self.refuse(segment)
        elif verdict == NEW_CONNECTION:
            listener = self.listeners.get(segment.destination.port)
            if listener is None:
                rest.send_ack(now)
            else:
                rest.due = None
                self.forget(rest)
                # Clear of what the old connection may still have on its way (tcp_timewait_state_process).
                self._asked(listener.on_syn(now, segment, seq_add(rest.snd_nxt, 65537) or 1))
        self._changed(rest)

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
    "accept": lambda listener, now: listener.accept(),
    "close_listener": lambda listener, now: listener.stack.close_listener(now, listener),
}
