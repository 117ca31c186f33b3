"""The sysctls and socket options that the model knows, with Linux's defaults."""

from __future__ import annotations

from dataclasses import dataclass

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
MICROSECOND = 1_000

#: Compile-time constants of include/net/tcp.h.
RTO_MIN = 200 * MILLISECOND
RTO_MAX = 120 * SECOND
TIMEOUT_INIT = SECOND
TIME_WAIT_LENGTH = 60 * SECOND
ATO_MIN = 40 * MILLISECOND
DELACK_MAX = 200 * MILLISECOND
MAX_QUICKACKS = 16
#: Payload of a full segment on Ethernet, with and without the timestamp option; TCP_MSS_DEFAULT.
MSS_ETHERNET = 1460
TIMESTAMP_OPTION = 12
MSS_DEFAULT = 536
INITIAL_WINDOW = 10
#: Share of SO_RCVBUF that becomes window: measured on 6.18, where 65536 held 43,440 bytes. Linux
#: charges buffers, not payload, so that no rule gives it exactly (see "What the model leaves out").
WINDOW_SHARE = (2, 3)


@dataclass(slots=True)
class Sysctls:
    """`net.ipv4.*` of one machine, under their own names; times in seconds as Linux has them."""

    tcp_syn_retries: int = 6
    tcp_synack_retries: int = 5
    #: None on a release without it (before 6.5).
    tcp_syn_linear_timeouts: int | None = 4
    tcp_retries2: int = 15
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
    #: Minisockets at once. Linux derives it from the machine's memory; this is what 8 GB give.
    tcp_max_tw_buckets: int = 131072
    #: First and last port for connect() and bind(0).
    ip_local_port_range: tuple[int, int] = (32768, 60999)
    #: Ports of the range that neither takes: `5432,40000-40010`.
    ip_local_reserved_ports: str = ""
    #: 1: bind(0) may share a port whose owners all have SO_REUSEADDR (since 5.7).
    ip_autobind_reuse: int = 0
    #: Milliseconds between two answers to segments out of the window, per socket.
    tcp_invalid_ratelimit: int = 500
    #: net.core.somaxconn.
    somaxconn: int = 4096
    #: Default SO_RCVBUF (the middle value of tcp_rmem).
    tcp_rmem: int = 131072
    #: What autotuning may make of it (the largest value of tcp_rmem): 6 MB, but 32 MB since 6.16.
    tcp_rmem_max: int = 6291456


@dataclass(frozen=True, slots=True)
class Options:
    """Options of one socket, times in nanoseconds; 0 = off or the system's own."""

    keepalive_idle: int = 0
    keepalive_interval: int = 75 * SECOND
    keepalive_probes: int = 9
    user_timeout: int = 0
    receive_buffer: int = 0
    #: The window itself, exactly; what TCP_WINDOW_CLAMP comes near to.
    window_clamp: int = 0
    #: SO_REUSEADDR.
    reuse_address: bool = False


DEFAULT_OPTIONS = Options()
