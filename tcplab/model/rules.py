"""The rules of TCP as data: states and their transitions, what a RST does, and Linux's constants.

`TRANSITIONS` is RFC 9293 section 3.3.2 (figure 5) with Linux's additions: a request that is
forgotten, a timeout in any state, and FIN_WAIT_2 that ends without a FIN. `advance` is the only
function that changes a state; lesson 01 draws its diagram from the same table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tcplab.core.releases import Release
from tcplab.core.segment import after, before, seq_add
from tcplab.core.text import MILLISECOND, SECOND

CLOSED = "CLOSED"
LISTEN = "LISTEN"
SYN_SENT = "SYN_SENT"
SYN_RECV = "SYN_RECV"
ESTABLISHED = "ESTABLISHED"
FIN_WAIT_1 = "FIN_WAIT_1"
FIN_WAIT_2 = "FIN_WAIT_2"
CLOSE_WAIT = "CLOSE_WAIT"
CLOSING = "CLOSING"
LAST_ACK = "LAST_ACK"
TIME_WAIT = "TIME_WAIT"

STATES = (
    CLOSED, LISTEN, SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2,
    CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT,
)  # fmt: skip

#: Events: what the application does …
LISTENS, CONNECTS, CLOSES = "listen()", "connect()", "close() or shutdown()"
#: … what arrives …
GETS_SYN, GETS_SYN_ACK, GETS_HANDSHAKE_ACK = "SYN arrives", "SYN, ACK arrives", "ACK of the SYN arrives"
GETS_FIN, GETS_FIN_ACK, GETS_RESET = "FIN arrives", "ACK of our FIN arrives", "RST arrives"
#: … and what ends a connection without a word from the peer.
ABORTS, TIMES_OUT, EXPIRES = "abort: RST sent", "given up after a timeout", "60 s in TIME_WAIT are over"

#: The state that follows a state and an event; what is not here is illegal.
TRANSITIONS: dict[tuple[str, str], str] = {
    (CLOSED, LISTENS): LISTEN,
    (CLOSED, CONNECTS): SYN_SENT,
    # A SYN makes a new half-open socket; the listener itself goes on listening.
    (LISTEN, GETS_SYN): SYN_RECV,
    (LISTEN, CLOSES): CLOSED,
    (SYN_SENT, GETS_SYN_ACK): ESTABLISHED,
    (SYN_SENT, CLOSES): CLOSED,
    (SYN_RECV, GETS_HANDSHAKE_ACK): ESTABLISHED,
    (ESTABLISHED, CLOSES): FIN_WAIT_1,
    (ESTABLISHED, GETS_FIN): CLOSE_WAIT,
    (CLOSE_WAIT, CLOSES): LAST_ACK,
    (LAST_ACK, GETS_FIN_ACK): CLOSED,
    (FIN_WAIT_1, GETS_FIN_ACK): FIN_WAIT_2,
    (FIN_WAIT_1, GETS_FIN): CLOSING,
    (CLOSING, GETS_FIN_ACK): TIME_WAIT,
    (FIN_WAIT_2, GETS_FIN): TIME_WAIT,
    (TIME_WAIT, EXPIRES): CLOSED,
    # A RST that is obeyed, an abort of our own, or a timer that gives up ends any of these.
    **{
        (state, event): CLOSED
        for event in (GETS_RESET, ABORTS, TIMES_OUT)
        for state in STATES
        if state not in (CLOSED, LISTEN)
    },
}  # fmt: skip


class IllegalEvent(AssertionError):
    """An event that the table doesn't have for this state: a mistake in the model."""


class HasState(Protocol):
    """One end of a connection, or what is left of it."""

    state: str


def advance(end: HasState, event: str) -> None:
    """Move `end` to the state that follows `event`: nothing else assigns a state.

    Raises `IllegalEvent`, which names both, where the table has no such step; the state then stays.
    """
    try:
        end.state = TRANSITIONS[end.state, event]
    except KeyError:
        raise IllegalEvent(f"no event {event!r} in {end.state}") from None


def mermaid() -> str:
    """The table as a Mermaid state diagram; CLOSED is its beginning and its end.

    Leaves out the ends by RST or timeout, which the lesson puts in prose.
    """
    ends = {CLOSED: "[*]"}
    lines = ["stateDiagram-v2", "    accTitle: The states of a connection and its steps"]
    lines += [
        f"    {ends.get(state, state)} --> {ends.get(following, following)}: {event}"
        for (state, event), following in TRANSITIONS.items()
        if event not in (GETS_RESET, ABORTS, TIMES_OUT)
    ]
    return "\n".join(lines)


#: What a receiver does with a RST: obeys it, answers with a challenge ACK, or drops it.
ACCEPTED = "accepted"
CHALLENGED = "challenged"
IGNORED = "ignored"


def reset_verdict(
    seq: int,
    *,
    rcv_nxt: int,
    left_edge: int,
    right_edge: int,
    release: Release,
    state: str = "ESTABLISHED",
    sack_edge: int | None = None,
    length: int = 0,
) -> str:
    """What a Linux receiver does with a RST: one rule for the model and for captures.

    Since 3.6 a number inside the window is not enough (RFC 5961 section 3.2; net/ipv4/tcp_input.c:
    tcp_validate_incoming, tcp_sequence, tcp_reset_check). A challenged connection lives on. Holds in
    every synchronised state but TIME_WAIT. `left_edge` is RCV.NXT as of the last ACK sent
    (tp->rcv_wup), `right_edge` the end of the advertised window; both are inside. `sack_edge`
    is the right edge of the highest block received out of order, if there is one. A RST with `length`
    bytes of payload is in the window when they reach into it.
    """
    after_fin = state in (CLOSE_WAIT, LAST_ACK, CLOSING)
    if after_fin and release.rst_before_fin and seq == seq_add(rcv_nxt, -1):
        return ACCEPTED
    if before(seq_add(seq, length), left_edge) or after(seq, right_edge):
        return IGNORED
    if seq == rcv_nxt or (release.rst_at_sack_edge and seq == sack_edge):
        return ACCEPTED
    return CHALLENGED


def handshake_reset_verdict(ack: int | None, *, una: int, nxt: int) -> str:
    """In SYN_SENT a RST counts only with an ACK of our SYN (tcp_rcv_synsent_state_process)."""
    if ack is not None and after(ack, una) and not after(ack, nxt):
        return ACCEPTED
    return IGNORED


def reset_error(state: str) -> str:
    """The errno that an obeyed RST leaves on the socket (net/ipv4/tcp_input.c:tcp_reset)."""
    return {SYN_SENT: "ECONNREFUSED", CLOSE_WAIT: "EPIPE"}.get(state, "ECONNRESET")


#: Compile-time constants of include/net/tcp.h.
RTO_MIN = 200 * MILLISECOND
RTO_MAX = 120 * SECOND
TIMEOUT_INIT = SECOND
TIMEOUT_FALLBACK = 3 * SECOND
TIME_WAIT_LENGTH = 60 * SECOND
LOSS_TIMER_MIN = 2 * MILLISECOND
ATO_MIN = 40 * MILLISECOND
DELACK_MAX = 200 * MILLISECOND
MAX_QUICKACKS = 16
#: Payload of a full segment on Ethernet, with and without the timestamp option; TCP_MSS_DEFAULT.
MSS_ETHERNET = 1460
TIMESTAMP_OPTION = 12
#: A timestamp may be so much older than the last one (RFC 7323 section 5).
PAWS_WINDOW = 1
MSS_DEFAULT = 536
TCP_HEADER = 20
#: The smallest value that TCP_WINDOW_CLAMP takes (SOCK_MIN_RCVBUF / 2; net/ipv4/tcp.c:tcp_set_window_clamp).
LEAST_CLAMP = 1152
#: The smallest MSS that is accepted from a peer (TCP_MIN_MSS).
LEAST_MSS = 88
#: The smallest packet that every network carries unfragmented (RFC 791): no segment is cut below it.
LEAST_PACKET = 68
INITIAL_WINDOW = 10


@dataclass(slots=True)
class Sysctls:
    """`net.ipv4.*` of one machine, under their own names; times in seconds as Linux has them."""

    tcp_syn_retries: int = 6
    tcp_synack_retries: int = 5
    #: None on a release without it (before 6.5).
    tcp_syn_linear_timeouts: int | None = 4
    tcp_retries2: int = 15
    #: The longest retransmission timeout, milliseconds; None on a release without it (before 6.15).
    tcp_rto_max_ms: int | None = RTO_MAX // MILLISECOND
    tcp_orphan_retries: int = 0
    tcp_fin_timeout: float = 60
    tcp_sack: int = 1
    tcp_timestamps: int = 1
    tcp_window_scaling: int = 1
    tcp_rfc1337: int = 0
    tcp_abort_on_overflow: int = 0
    #: 0 = never, 1 = when the SYN queue is full, 2 = always.
    tcp_syncookies: int = 1
    #: From memory at boot, 128 or more; since 4.4 it matters only without cookies.
    tcp_max_syn_backlog: int = 2048
    #: 1: reuse TIME_WAIT for a new connect(); 2: only on loopback (before 4.19 the same as 1).
    tcp_tw_reuse: int = 2
    #: Milliseconds in TIME_WAIT before that; only where the release has it (6.14).
    tcp_tw_reuse_delay: int = 1000
    #: Timewait sockets at once. Linux derives it from the machine's memory; this is what 8 GB give.
    tcp_max_tw_buckets: int = 131072
    #: First and last port for connect() and bind(0).
    ip_local_port_range: tuple[int, int] = (32768, 60999)
    #: Ports of the range that neither takes: `5432,40000-40010`.
    ip_local_reserved_ports: str = ""
    #: 1: bind(0) may share a port whose owners all have SO_REUSEADDR (since 5.7).
    ip_autobind_reuse: int = 0
    #: Milliseconds between two answers to segments out of the window, per socket.
    tcp_invalid_ratelimit: int = 500
    #: Replies in a row that make a conversation; None on a release without it (before 6.7).
    tcp_pingpong_thresh: int | None = 1
    #: net.core.somaxconn.
    somaxconn: int = 4096
    #: Default SO_RCVBUF (the middle value of tcp_rmem).
    tcp_rmem: int = 131072
    #: What autotuning may make of it (the largest value of tcp_rmem): 6 MB, but 32 MB since 6.16.
    tcp_rmem_max: int = 6291456


@dataclass(frozen=True, slots=True)
class TcpOptions:
    """Options of one socket, times in nanoseconds; 0 = off or the system's default."""

    keepalive_idle: int = 0
    keepalive_interval: int = 75 * SECOND
    keepalive_probes: int = 9
    user_timeout: int = 0
    #: TCP_RTO_MAX_MS; 0 = the value of tcp_rto_max_ms.
    rto_max: int = 0
    receive_buffer: int = 0
    #: TCP_WINDOW_CLAMP.
    window_clamp: int = 0
    #: SO_REUSEADDR.
    reuse_address: bool = False
    #: IP_LOCAL_PORT_RANGE, for connect(): first and last port.
    local_ports: tuple[int, int] | None = None


DEFAULT_OPTIONS = TcpOptions()
