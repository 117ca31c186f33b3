"""A listener and its two queues: half-open requests, and connections waiting for accept().

Theory of operation: a SYN makes a request in the SYN queue, and a SYN-ACK. The client's ACK moves it
to the accept queue, if there is room; if not, the ACK is dropped and the request stays, while the
client has an established connection: a ghost. Each repeated SYN-ACK draws another ACK, which may find
room. With the SYN queue full there is no request: Linux sends a SYN cookie, or drops the SYN.

A SYN cookie is a half-open connection that the client carries: the initial sequence number of the
SYN-ACK is a checksum over the four-tuple and the client's number, the options are in the lowest bits of
the timestamp. Only a segment that begins with the client's first byte can prove itself; such a SYN-ACK
is never repeated, since nothing of it is kept.

Sources: net/ipv4/tcp_input.c:tcp_conn_request (tcp_ipv4.c:tcp_v4_conn_request to 3.15),
net/ipv4/tcp_minisocks.c:tcp_check_req, net/ipv4/tcp_ipv4.c:tcp_v4_syn_recv_sock,
include/net/sock.h:sk_acceptq_is_full, net/ipv4/inet_connection_sock.c (reqsk_timer_handler,
inet_csk_listen_stop), net/core/request_sock.c:reqsk_queue_alloc (to 4.3); for cookies
net/ipv4/syncookies.c (cookie_v4_check, cookie_init_timestamp, __cookie_v4_check), include/net/tcp.h
(MAX_SYNCOOKIE_AGE, TCP_SYNCOOKIE_PERIOD).

Not modelled: peers that Linux remembers as proven (they pass tcp_max_syn_backlog), SO_REUSEPORT,
TCP_DEFER_ACCEPT, before 4.4 the SYN-ACK timer's steps of a fifth of a second, and the four steps to
which a cookie rounds the MSS.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any
from zlib import crc32

from tcplab.core.releases import Release
from tcplab.core.segment import ACK, RST, SYN, Endpoint, Segment, seq_add
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.model import rules as s
from tcplab.model.machine import Machine
from tcplab.model.rules import ACCEPTED, CHALLENGED, MSS_ETHERNET, TcpOptions, advance
from tcplab.model.sender import RETRANSMIT
from tcplab.model.socket import Socket
from tcplab.model.timewait import in_window

#: A cookie counts periods; it is good in the one it was made in and in the next.
PERIOD = 60 * SECOND
MAX_AGE = 2
#: Without a cookie sent for so long no ACK is tried as one (TCP_SYNCOOKIE_VALID).
VALID = MAX_AGE * PERIOD
#: Lowest bits of the timestamp: window scale (15 = none), SACK, ECN (include/net/tcp.h: TSBITS).
OPTION_BITS = 6
_SACK_BIT = 1 << 4
#: What a client offers; its own scale is applied to a segment's window already.
_SCALE = 7


def cookie(secret: int, client: Endpoint, server: Endpoint, seq: int, period: int) -> int:
    """The initial sequence number for a client whose SYN had `seq`."""
    return crc32(repr((secret, *client, *server, seq, period)).encode())


def syn_ack(segment: Segment, offered: Segment, clock: int) -> Segment:
    """A SYN-ACK as an ordinary request would send it, made into a cookie's.

    `segment` is the client's SYN. Without timestamps there is no place for options: no window scale
    and no SACK then.
    """
    if offered.timestamps is None:
        return replace(offered, window_scale=None, sack_permitted=False)
    scale = 15 if segment.window_scale is None else segment.window_scale
    options = scale | (_SACK_BIT if offered.sack_permitted else 0)
    stamp = clock >> OPTION_BITS << OPTION_BITS | options
    if stamp > clock:
        stamp -= 1 << OPTION_BITS
    return replace(offered, timestamps=(stamp & 0xFFFFFFFF, offered.timestamps[1]))


def remembered_syn(segment: Segment) -> Segment:
    """The SYN that a client must have sent, from an ACK that carries a good cookie."""
    echo = segment.timestamps[1] if segment.timestamps else None
    scaled = echo is not None and echo & 0xF != 15
    return replace(
        segment, seq=seq_add(segment.seq, -1), ack=0, flags=SYN, length=0, mss=MSS_ETHERNET,
        window_scale=_SCALE if scaled else None,
        sack_permitted=echo is not None and bool(echo & _SACK_BIT), sack=(),
    )  # fmt: skip


def is_good(secret: int, segment: Segment, now: int) -> bool:
    """Does this segment bring back a cookie that this machine made in time?"""
    if not segment.flags & ACK:
        return False
    seq, wanted = seq_add(segment.seq, -1), seq_add(segment.ack, -1)
    made = [now // PERIOD - age for age in range(MAX_AGE)]
    return wanted in [cookie(secret, segment.source, segment.destination, seq, each) for each in made]


#: However small the backlog, so many half-open requests are never pressed (reqsk_timer_handler); before
#: 4.4 also the least for which a SYN queue was made.
LEAST_REQUESTS = 8
#: And so often a SYN-ACK is repeated even then.
LEAST_SYNACK_RETRIES = 2


def accept_queue_holds(backlog: int) -> int:
    """Connections that wait for accept() at most: one more than listen() asked for.

    include/net/sock.h:sk_acceptq_is_full compares with `>`.
    """
    return backlog + 1


def syn_queue_holds(backlog: int, release: Release, max_syn_backlog: int) -> int:
    """Half-open requests at most, after which SYN cookies begin, or silence.

    To 4.2 a power of two (reqsk_queue_alloc), then the backlog itself (ef547f2ac16b), and since 6.13
    one more (3479c7549fb1; inet_csk_reqsk_queue_is_full).
    """
    if release.syn_queue_rule == "power_of_two":
        entries = max(LEAST_REQUESTS, min(backlog, max_syn_backlog))
        return 1 << entries.bit_length()
    return backlog + (release.syn_queue_rule == "backlog_plus_one")


class ListenSocket:
    """A socket in LISTEN."""

    def __init__(self, machine: Machine, local: Endpoint, backlog: int, options: TcpOptions) -> None:
        self.machine = machine
        self.local, self.remote = local, Endpoint("0.0.0.0", 0)
        self.detached = False
        #: listen()'s limit, silently cut to somaxconn.
        self.backlog = min(backlog, machine.sysctls.somaxconn)
        self.options = options
        self.state = s.CLOSED
        advance(self, s.LISTENS)
        self.accept_queue: deque[Socket] = deque()
        #: The SYN queue: half-open requests, oldest first.
        self.requests: dict[Socket, None] = {}
        self._secret: int | None = None
        #: When the last cookie was sent.
        self._cookie_sent = 0

    @property
    def full(self) -> bool:
        """No connection more may wait for accept()."""
        return len(self.accept_queue) >= accept_queue_holds(self.backlog)

    @property
    def syn_queue_full(self) -> bool:
        """No half-open request more is kept."""
        return len(self.requests) >= self._syn_queue_holds

    @property
    def _syn_queue_holds(self) -> int:
        machine = self.machine
        return syn_queue_holds(self.backlog, machine.release, machine.sysctls.tcp_max_syn_backlog)

    @property
    def young(self) -> int:
        """Requests whose SYN-ACK has never been repeated (inet_csk_reqsk_queue_young)."""
        return sum(not request.sender.timer.repeats for request in self.requests)

    def on_syn(self, now: int, segment: Segment, iss: int | None = None) -> Socket | None:
        """A SYN for this port: a half-open request and a SYN-ACK, a cookie, or nothing.

        `iss` comes with a SYN that revives a TIME_WAIT; it needs no place in the SYN queue.
        """
        machine, sysctls = self.machine, self.machine.sysctls
        wants_cookie = iss is None and (sysctls.tcp_syncookies == 2 or self.syn_queue_full)
        if wants_cookie:
            machine.count("TcpExtTCPReqQFullDoCookies" if sysctls.tcp_syncookies else "TcpExtTCPReqQFullDrop")
            if not sysctls.tcp_syncookies:
                self._drop()
                return None
        if self.full and (machine.release.full_accept_queue_drops_syn or self.young > 1):
            self._overflow()
            return None
        if not wants_cookie and iss is None and not sysctls.tcp_syncookies:
            # The last quarter is kept for peers that Linux knows.
            most = sysctls.tcp_max_syn_backlog
            if most - len(self.requests) < most // 4:
                self._drop()
                return None
        if wants_cookie:
            self._send_cookie(now, segment)
            return None
        request = self._new_request(segment.source, iss)
        self._prepare(now, request, segment)
        self.requests[request] = None
        request.sender.send_syn(now, SYN | ACK)
        return request

    def _new_request(self, remote: Endpoint, iss: int | None) -> Socket:
        if iss is None:
            iss = self.machine.random.getrandbits(32)
        request = Socket(self.machine, self.local, remote, self.options, iss, self)
        self.machine.inherit(request)
        return request

    def drop_request(self, request: Any) -> None:
        """A half-open request is over."""
        self.requests.pop(request, None)

    def _overflow(self) -> None:
        self.machine.count("TcpExtListenOverflows")
        self._drop()

    def _drop(self) -> None:
        self.machine.count("TcpExtListenDrops")

    def _prepare(self, now: int, request: Socket, syn: Segment) -> None:
        advance(request, s.GETS_SYN)
        request.take_options(now, syn)
        request.receiver.size_for(request.timestamps)

    # -- cookies -----------------------------------------------------------------------------

    def _send_cookie(self, now: int, segment: Segment) -> None:
        """A SYN-ACK from which the client's answer can be recognised; nothing is kept."""
        machine = self.machine
        if self._secret is None:
            self._secret = machine.random.getrandbits(32)
        self._cookie_sent = now
        iss = cookie(self._secret, segment.source, segment.destination, segment.seq, now // PERIOD)
        never_kept = Socket(machine, segment.destination, segment.source, self.options, iss, self)
        self._prepare(now, never_kept, segment)
        offered = never_kept.handshake_segment(now, SYN | ACK, iss)
        machine.count("TcpExtSyncookiesSent")
        machine.transmit(syn_ack(segment, offered, machine.clock(now)))

    def on_ack(self, now: int, segment: Segment) -> Socket | None:
        """A segment with ACK of no connection: it may bring a cookie back (cookie_v4_check).

        A good one that finds the accept queue full is thrown away, whatever tcp_abort_on_overflow says;
        anything else is refused.
        """
        machine = self.machine
        asked = self._secret is not None and now - self._cookie_sent <= VALID
        if segment.flags & (SYN | RST) or not asked or not machine.sysctls.tcp_syncookies:
            machine.refuse(segment)
            return None
        if not is_good(self._secret or 0, segment, now):
            machine.count("TcpExtSyncookiesFailed")
            machine.refuse(segment)
            return None
        machine.count("TcpExtSyncookiesRecv")
        if self.full:
            self._overflow()
            return None
        iss = seq_add(segment.ack, -1)
        request = self._new_request(segment.source, iss)
        self._prepare(now, request, remembered_syn(segment))
        request.sender.una = request.sender.nxt = segment.ack
        self._establish(request, now, segment)
        return request

    # -- requests ----------------------------------------------------------------------------

    def on_request(self, now: int, request: Socket, segment: Segment) -> None:
        """A segment for a half-open request (tcp_check_req)."""
        flags, receiver = segment.flags, request.receiver
        if flags & (SYN | RST | ACK) == SYN and segment.seq == seq_add(receiver.nxt, -1):
            if now - request.last_reply >= self.machine.sysctls.tcp_invalid_ratelimit * MILLISECOND:
                request.last_reply = now
                request.emit(now, SYN | ACK, seq=request.sender.iss)
                # The timer of the SYN-ACK begins its present wait again.
                timer = request.sender.timer
                timer.arm(now, RETRANSMIT, timer.rto)
            return
        if flags & RST:
            self._on_reset(now, request, segment)
            return
        if flags & ACK and segment.ack != request.sender.nxt:
            self.machine.refuse(segment)
            return
        if not in_window(segment, receiver.nxt, receiver.right_edge):
            request.answer(now, segment)
            return
        if flags & SYN and segment.seq != seq_add(receiver.nxt, -1):
            request.end(s.ABORTS)
            self.machine.refuse(segment)
            return
        if not flags & ACK:
            return
        if self.full:
            self._overflow()
            if self.machine.sysctls.tcp_abort_on_overflow:
                self.machine.count("TcpExtEmbryonicRsts")
                request.end(s.ABORTS)
                self.machine.refuse(segment)
            return
        self.drop_request(request)
        self._establish(request, now, segment)

    def _establish(self, request: Socket, now: int, segment: Segment) -> None:
        self.machine.count("TcpPassiveOpens")
        self.accept_queue.append(request)
        request.on_handshake_ack(now, segment)

    def synack_retries(self) -> int:
        """How often a SYN-ACK is repeated: fewer times while the SYN queue is more than half full.

        Old requests make room for young ones (reqsk_timer_handler; to 4.3 inet_csk_reqsk_queue_prune).
        """
        retries, waiting = self.machine.sysctls.tcp_synack_retries, len(self.requests)
        if self.machine.release.syn_queue_rule == "power_of_two":
            pressed = waiting >= self._syn_queue_holds // 2
        else:
            pressed = waiting * 2 > max(LEAST_REQUESTS, self.backlog)
        if pressed:
            young = self.young * 2
            while retries > LEAST_SYNACK_RETRIES and waiting >= young:
                retries -= 1
                young *= 2
        return retries

    def _on_reset(self, now: int, request: Socket, segment: Segment) -> None:
        """Exact, or, by the release, in the window, unless it acknowledges nonsense."""
        receiver, machine = request.receiver, self.machine
        exact = segment.seq == receiver.nxt
        strict = machine.release.exact_rst_in_syn_recv
        if not strict and segment.flags & ACK and segment.ack != request.sender.nxt:
            return
        if exact or (in_window(segment, receiver.nxt, receiver.right_edge) and not strict):
            machine.verdict = ACCEPTED
            request.end(s.GETS_RESET)
        elif in_window(segment, receiver.nxt, receiver.right_edge):
            machine.verdict = CHALLENGED
            request.challenge(now)

    def accept(self, now: int) -> Socket | None:
        """accept(): the oldest connection, or None while there is none."""
        if not self.accept_queue:
            return None
        accepted = self.accept_queue.popleft()
        accepted.listener = None
        return accepted

    def summary(self) -> tuple[str, int, int, str, int | None, int]:
        """State, waiting connections and limit, as `ss -l` shows them in Recv-Q and Send-Q."""
        return self.state, len(self.accept_queue), self.backlog, "", None, 0

    def close(self, now: int) -> None:
        """close() or the end of its process: half-open requests vanish, waiting connections get a RST."""
        self.machine.stop_listening(self.local)
        for request in list(self.requests):
            request.end(s.TIMES_OUT)
        advance(self, s.CLOSES)
        for socket in self.accept_queue:
            socket.reset(now)
        self.accept_queue.clear()
