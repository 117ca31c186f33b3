"""A listener and its two queues: half-open requests, and connections waiting for accept().

Sources: net/ipv4/tcp_input.c:tcp_conn_request, net/ipv4/tcp_minisocks.c:tcp_check_req,
include/net/sock.h:sk_acceptq_is_full, net/ipv4/inet_connection_sock.c (reqsk_timer_handler,
inet_csk_listen_stop).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from tcplab.model import states as s
from tcplab.model.arrival import on_handshake_ack
from tcplab.model.rst import ACCEPTED, CHALLENGED
from tcplab.model.sendtimer import RETRANSMIT
from tcplab.model.socket import Socket
from tcplab.model.sysctls import MILLISECOND, Options
from tcplab.model.timewait import in_window
from tcplab.segment import ACK, RST, SYN, Endpoint, Segment, seq_add

if TYPE_CHECKING:
    from tcplab.model.stack import Stack


class Listener:
    """A socket in LISTEN."""

    def __init__(self, stack: Stack, local: Endpoint, backlog: int, options: Options) -> None:
        self.stack = stack
        self.local, self.remote = local, Endpoint("0.0.0.0", 0)
        self.detached = False
        #: listen()'s limit, silently cut to somaxconn.
        self.backlog = min(backlog, stack.sysctls.somaxconn)
        self.options = options
        self.state = s.next_state(s.CLOSED, s.LISTENS)
        self.accept_queue: deque[Socket] = deque()

    @property
    def full(self) -> bool:
        """The accept queue holds backlog + 1 (sk_acceptq_is_full compares with `>`)."""
        return len(self.accept_queue) > self.backlog

    def on_syn(self, now: int, segment: Segment, iss: int | None = None) -> Socket | None:
        """A SYN for this port: a half-open request and a SYN-ACK, or nothing when full."""
        if self.full:
            self.stack.count("TcpExtListenOverflows")
            self.stack.count("TcpExtListenDrops")
            return None
        request = self.stack.new_socket(self.local.port, segment.source, self.options, self, iss)
        request.state = s.next_state(request.state, s.GETS_SYN)
        request.take_options(segment)
        request.receiver.size_for(request.sender.mss)
        request.sender.send_syn(now, SYN | ACK)
        return request

    def on_request(self, now: int, request: Socket, segment: Segment) -> None:
        """A segment for a half-open request (tcp_check_req)."""
        flags, receiver = segment.flags, request.receiver
        if flags & (SYN | RST | ACK) == SYN and segment.seq == seq_add(receiver.nxt, -1):
            if now - request.last_reply >= self.stack.sysctls.tcp_invalid_ratelimit * MILLISECOND:
                request.last_reply = now
                request.emit(now, SYN | ACK, seq=request.sender.iss)
                # The timer of the SYN-ACK begins its present wait again.
                timer = request.sender.timer
                timer.arm(now, RETRANSMIT, timer.rto())
            return
        if flags & RST:
            self._on_reset(now, request, segment)
            return
        if flags & ACK and segment.ack != request.sender.nxt:
            self.stack.refuse(segment)
            return
        if not in_window(segment, receiver.nxt, receiver.right_edge):
            request.answer(now, segment)
            return
        if flags & SYN and segment.seq != seq_add(receiver.nxt, -1):
            request.end(s.ABORTS)
            self.stack.refuse(segment)
            return
        if not flags & ACK:
            return
        if self.full:
            self.stack.count("TcpExtListenOverflows")
            self.stack.count("TcpExtListenDrops")
            if self.stack.sysctls.tcp_abort_on_overflow:
                request.end(s.ABORTS)
                self.stack.refuse(segment)
            return
        self.stack.count("TcpPassiveOpens")
        self.accept_queue.append(request)
        on_handshake_ack(request, now, segment)

    def _on_reset(self, now: int, request: Socket, segment: Segment) -> None:
        """Exact since 6.18 (measured on 6.18.44); before, in the window, unless it acknowledges nonsense."""
        receiver, stack = request.receiver, self.stack
        exact = segment.seq == receiver.nxt
        strict = not stack.release.older_than("6.18")
        if not strict and segment.flags & ACK and segment.ack != request.sender.nxt:
            return
        if exact or (in_window(segment, receiver.nxt, receiver.right_edge) and not strict):
            stack.verdict = ACCEPTED
            request.end(s.GETS_RESET)
        elif in_window(segment, receiver.nxt, receiver.right_edge):
            stack.verdict = CHALLENGED
            request.challenge(now)

    def accept(self) -> Socket | None:
        """accept(): the oldest connection, or None while there is none."""
        if not self.accept_queue:
            return None
        accepted = self.accept_queue.popleft()
        accepted.listener = None
        return accepted

    def summary(self) -> tuple[str, int, int, str, int | None, int]:
        """State, waiting connections and limit, as `ss -l` shows them in Recv-Q and Send-Q."""
        return self.state, len(self.accept_queue), self.backlog, "", None, 0

    def close(self, now: int) -> list[Socket]:
        """close() or death: half-open requests vanish, what was never accepted gets a RST."""
        self.state = s.next_state(self.state, s.CLOSES)
        waiting = list(self.accept_queue)
        self.accept_queue.clear()
        for socket in waiting:
            socket.reset(now)
        return waiting
