"""What differs between versions of Linux: each rule, its commits, and the stable trees that took them.

Only behaviours that are modelled. A rule changes with a mainline version, and from some patch level on in
the stable trees to which the commit was backported: 5.10.262 has rules that 5.10.10 lacks. Sources are
kernel files and commits; where no commit is named, the rule was read in the source trees on both sides of the
version. `RULES` is the whole table.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

#: Versions that a person is likely to meet, oldest first (3.10: RHEL 7, 4.18: RHEL 8, 5.14: RHEL 9,
#: 6.1: Debian 12, 6.12: RHEL 10 and Debian 13). Distributions backport; the model follows mainline and the
#: stable trees.
LISTED = ("3.10", "4.9", "4.18", "5.4", "5.14", "6.1", "6.12", "6.18")
NEWEST = LISTED[-1]

Number = tuple[int, int]

#: The newest patch level of each stable tree, as of November 2026; the last one of ended trees.
#: A version without its patch level, `6.1`, means this one; a newer one has the same rules.
NEWEST_PATCH: Mapping[Number, int] = {
    (3, 10): 108, (3, 16): 85, (4, 4): 302, (4, 9): 337, (4, 14): 336, (4, 18): 20, (4, 19): 325,
    (5, 4): 302, (5, 10): 269, (5, 14): 21, (5, 15): 177, (5, 18): 19, (6, 1): 192, (6, 5): 13, (6, 6): 156,
    (6, 12): 118, (6, 17): 13, (6, 18): 44, (6, 19): 6, (7, 0): 10, (7, 1): 6, (7, 3): 4,
}  # fmt: skip


class UnknownRelease(ValueError):
    """Not a Linux version that the model knows."""


@dataclass(frozen=True)
class KernelChange:
    """The change of a rule by one commit."""

    value: Any
    #: The first mainline version that has it, and the commit.
    since: Number
    commit: str = ""
    #: The stable trees that took it, each with its first patch level that has it.
    stable: Mapping[Number, int] = field(default_factory=dict)

    def holds(self, number: Number, patch: float) -> bool:
        """Whether a version with this patch level has the change."""
        return number >= self.since or patch >= self.stable.get(number, math.inf)


@dataclass(frozen=True)
class KernelRule:
    """One behaviour across versions: its first value, and the changes, oldest first."""

    first: Any
    changes: tuple[KernelChange, ...]

    def at(self, number: Number, patch: float) -> Any:
        """The value in one version: that of the last change that it has."""
        return next((each.value for each in reversed(self.changes) if each.holds(number, patch)), self.first)


def _rule(first: Any, *changes: KernelChange) -> Any:
    return field(metadata={"rule": KernelRule(first, changes)})


def _since(version: str, value: Any, commit: str = "", **stable: int) -> KernelChange:
    """A change since a mainline version; its backports as ``v5_10=234``."""
    trees = {_pair(*name.removeprefix("v").split("_")): patch for name, patch in stable.items()}
    return KernelChange(value, _pair(*version.split(".")), commit, trees)


def _pair(major: str, minor: str) -> Number:
    return int(major), int(minor)


@dataclass(frozen=True)
class Release:
    """The rules of one Linux version."""

    version: str
    number: Number
    #: The patch level; that of `NEWEST_PATCH` where the version names none.
    patch: int
    #: Length of a timer tick, nanoseconds: one second / HZ.
    tick: int
    #: SYN repeats at one-second steps before doubling (tcp_syn_linear_timeouts): 4; None where there is no
    #: such sysctl.
    syn_linear_timeouts: int | None = _rule(None, _since("6.5", 4, "ccce324dabfe"))
    #: connect() honours TCP_USER_TIMEOUT, and a retransmission timer is cut to its remaining time
    #: (net/ipv4/tcp_timer.c:tcp_clamp_rto_to_user_timeout, tcp_write_timeout).
    user_timeout_exact: bool = _rule(False, _since("4.19", True, "b701a99e431d"))
    #: How TCP_USER_TIMEOUT counts while the window is closed (tcp_timer.c:tcp_probe_timer): `elapsed`, from
    #: the first probe on; `unanswered`, the time of that many unanswered probes, so that a peer which
    #: answers is never timed out (9721e709fa68).
    user_timeout_of_probes: str = _rule(
        "elapsed",
        _since("5.1", "unanswered", "9721e709fa68"),
        _since("5.11", "elapsed", "9d9b1ee0b2d1", v5_4=93, v5_10=11),
    )
    #: The timer of window probes, too, is cut to the remaining user timeout
    #: (tcp_timer.c:tcp_clamp_probe0_to_user_timeout). Where no time remains, the full wait was
    #: taken until 7.1 (2b9f6f7065d4), which needs an ACK in the very tick of the timeout: not modelled.
    user_timeout_exact_for_probes: bool = _rule(
        False, _since("5.11", True, "344db93ae3ee", v5_4=96, v5_10=13)
    )
    #: tcp_rto_max_ms and TCP_RTO_MAX_MS: the longest retransmission timeout; before, always 120 s
    #: (include/net/tcp.h:tcp_rto_max; the socket option is 54a378f43425).
    has_rto_max: bool = _rule(False, _since("6.15", True, "1280c26228bd"))
    #: A RST at the right edge of the highest SACK block is obeyed
    #: (net/ipv4/tcp_input.c:tcp_validate_incoming).
    rst_at_sack_edge: bool = _rule(False, _since("4.8", True))
    #: A RST at RCV.NXT-1 is obeyed after a FIN (tcp_input.c:tcp_reset_check).
    rst_before_fin: bool = _rule(False, _since("4.11", True))
    #: Challenge ACKs share the 500 ms limit per socket (tcp_invalid_ratelimit).
    challenge_ack_per_socket_limit: bool = _rule(False, _since("4.7", True, "083ae308280d"))
    #: tcp_invalid_ratelimit, milliseconds between two answers to segments out of the window; 0: no limit.
    invalid_ratelimit: int = _rule(0, _since("4.0", 500, "032ee4236954"))
    #: An established connection answers an ACK of data never sent (tcp_input.c:tcp_ack).
    unsent_ack_challenged: bool = _rule(False, _since("7.1", True, "42726ec644cb", v6_18=33, v7_0=10))
    #: In SYN_RECV only a RST at RCV.NXT is obeyed, another in the window challenged
    #: (net/ipv4/tcp_minisocks.c:tcp_check_req). 6.1.192 has it (measured), earlier ones may have it.
    exact_rst_in_syn_recv: bool = _rule(
        False, _since("7.2", True, "a28c4fcbf774", v6_1=192, v6_6=153, v6_12=105, v6_18=42, v7_1=6)
    )
    #: After an unacceptable ACK in SYN_SENT the SYN is repeated after two ticks, not a second
    #: (tcp_input.c:tcp_rcv_synsent_state_process).
    syn_repeated_at_once: bool = _rule(False, _since("5.6", True))
    #: A segment that ends beyond the window is accepted only while no data is unread
    #: (tcp_input.c:tcp_sequence).
    overhang_refused: bool = _rule(False, _since("6.17", True, "9ca48d616ed7"))
    #: A FIN without data is accepted in a closed window (tcp_input.c:tcp_data_queue, tcp_sequence);
    #: from 6.17 to 6.18.15 it was not: the FIN itself counted as beyond the window.
    fin_needs_no_window: bool = _rule(
        False,
        _since("6.10", True, "2bd99aef1b19"),
        _since("6.17", False, "9ca48d616ed7"),
        _since("7.0", True, "1e3bb184e941", v6_18=16, v6_19=6),
    )
    #: Once a hole is filled, an ACK is sent at once (RFC 5681 section 4.2; tcp_input.c:tcp_data_queue).
    filled_hole_acknowledged: bool = _rule(False, _since("4.19", True))
    #: The share of a receive buffer that becomes window is measured from what arrives; before, it is half
    #: (tcp_input.c:tcp_measure_rcv_mss).
    payload_share_measured: bool = _rule(False, _since("6.6", True, "dfa2f0483360"))
    #: A segment for which there is no memory draws an ACK with a closed window (tcp_input.c:tcp_data_queue).
    tells_no_memory: bool = _rule(False, _since("6.6", True, "e2142825c120"))
    #: How long the peer's last timestamp makes older ones unacceptable, seconds: 24 days, or 2^31
    #: microseconds (include/net/tcp.h:TCP_PAWS_WRAP).
    timestamp_counts_s: int = _rule(24 * 24 * 3600, _since("6.7", 2147, "614e8316aa4c"))
    #: A pure ACK with an old timestamp and an old number gets no answer
    #: (tcp_input.c:tcp_disordered_ack_check).
    old_ack_unanswered: bool = _rule(False, _since("6.14", True, "124c4c32e9f3"))
    #: Replies in a row after which delayed ACKs wait to be piggybacked on a reply ("pingpong"):
    #: TCP_PINGPONG_THRESH in include/net/inet_connection_sock.h, 3 with 4a41f453bedf.
    pingpong_threshold: int = _rule(
        1,
        _since("5.1", 3, "4a41f453bedf"),
        _since("5.19", 1, "4d8f24eeedc5", v5_10=135, v5_15=59, v5_18=16),
    )
    #: net.ipv4.tcp_pingpong_thresh sets it.
    has_pingpong_sysctl: bool = _rule(False, _since("6.7", True, "562b1fdf061b"))
    #: A SYN is dropped whenever the accept queue is full; before, only with more than one young request
    #: waiting. 4.9's stable tree was read up to 4.9.154, which still has the old rule.
    full_accept_queue_drops_syn: bool = _rule(False, _since("4.10", True, "5ea8ea2cb7f1", v3_16=81, v4_4=178))
    #: How listen()'s limit of half-open requests is computed: `power_of_two`, `backlog` (ef547f2ac16b), or
    #: `backlog_plus_one`.
    syn_queue_rule: str = _rule(
        "power_of_two",
        _since("4.4", "backlog", "ef547f2ac16b"),
        _since(
            "6.13", "backlog_plus_one", "3479c7549fb1",
            v5_4=290, v5_10=234, v5_15=177, v6_1=125, v6_6=72, v6_12=10,
        ),
    )  # fmt: skip
    #: net.core.somaxconn.
    somaxconn: int = _rule(128, _since("5.4", 4096, "19f92a030ca6"))
    #: The largest value of tcp_rmem, bytes, on a machine with enough memory.
    largest_rmem: int = _rule(6 << 20, _since("6.16", 32 << 20))
    #: The end of ip_local_port_range, which begins at 32768.
    last_local_port: int = _rule(61000, _since("4.2", 60999, "07f4c90062f8"))
    #: connect() begins at a port of the range's first parity, and then goes port by port.
    connect_begins_even: bool = _rule(False, _since("4.2", True, "07f4c90062f8"))
    #: connect() and bind(0) go through the ports by parity, connect() first those of the range's
    #: first port, bind(0) the others (1580ab63fc9a for connect()); before, port by port.
    ports_by_parity: bool = _rule(False, _since("4.6", True, "ea8add2b1903"))
    #: bind(0) with SO_REUSEADDR that finds no free port shares the one with the fewest owners, if
    #: those are bound with SO_REUSEADDR too: up to 4.10 (inet_connection_sock.c:inet_csk_get_port).
    bind_shares_when_full: bool = _rule(True, _since("4.11", False))
    #: The same for any port whose owners have SO_REUSEADDR, when ip_autobind_reuse is 1.
    autobind_reuse: bool = _rule(False, _since("5.7", True, "4b01a9674231"))
    #: IP_BIND_ADDRESS_NO_PORT: bind() to an address, connect() chooses the port.
    bind_address_no_port: bool = _rule(False, _since("4.2", True, "90c337da1524"))
    #: IP_LOCAL_PORT_RANGE: a socket can have its own range, in which connect() tries port by port.
    has_local_port_range: bool = _rule(False, _since("6.3", True, "91d0b78c5177", v6_1=32))
    #: connect() can use a port held by bind() again once the last socket with a bind() has left it;
    #: before, only once no socket at all uses it.
    bound_port_recovers: bool = _rule(False, _since("6.18", True, "d57f4b874946", v6_17=8))
    #: tcp_tw_reuse: 0, or 2 (on loopback only); without the latter 2 means the same as 1.
    tw_reuse: int = _rule(0, _since("4.19", 2, "79e9fed46038"))
    #: When TIME_WAIT may be reused (net/ipv4/tcp_ipv4.c:tcp_twsk_unique). `delay`: after
    #: tcp_tw_reuse_delay; `next_second`: once the clock has reached the next second; `second_after_next`:
    #: the one after it.
    tw_reuse_clock: str = _rule("second_after_next", _since("4.19", "next_second"), _since("6.14", "delay"))
    #: Spurious SYN retransmissions, as the echoed timestamp shows, leave the initial congestion window
    #: unchanged (tcp_input.c:tcp_try_undo_spurious_syn).
    spurious_syn_undone: bool = _rule(False, _since("5.2", True))
    #: The timers of the tail loss probe and of reordering add 2 ms to the round trip; before, two ticks
    #: (tcp_output.c:tcp_schedule_loss_probe, tcp_recovery.c:tcp_rack_mark_lost, TCP_TIMEOUT_MIN_US).
    short_loss_timers: bool = _rule(
        False,
        _since(
            "6.6",
            True,
            "1c2709cfff1d",
            v4_14=328,
            v4_19=297,
            v5_4=259,
            v5_10=199,
            v5_15=137,
            v6_1=60,
            v6_5=9,
        ),
    )
    #: When retransmissions into a shrunk window give up (tcp_timer.c:tcp_retransmit_timer,
    #: tcp_rtx_probe0_timed_out): after two minutes of `silence`; after four of them without progress,
    #: `no_progress`; also when the `user_timeout` is over.
    closed_window_gives_up: str = _rule(
        "silence",
        _since("6.6", "no_progress", "e89688e3e978", v4_19=318, v5_4=280, v5_10=195, v5_15=132, v6_1=53),
        _since(
            "6.10", "user_timeout", "97a9063518f1",
            v4_19=318, v5_4=280, v5_10=222, v5_15=163, v6_1=100, v6_6=41,
        ),
    )  # fmt: skip

    def older_than(self, version: str) -> bool:
        """True when this release came before mainline's `version` (for example ``"6.5"``)."""
        return self.number < _read(version).number


#: Every rule by its name in `Release`.
RULES: Mapping[str, KernelRule] = {
    each.name: each.metadata["rule"] for each in fields(Release) if "rule" in each.metadata
}

#: HZ of the kernels that distributions build, by what follows the version in `uname -r`, and since which
#: version: Red Hat's and Fedora's 1000, Ubuntu's 1000 since 24.10, which has 6.11. Debian, SUSE, Amazon and
#: Ubuntu before: 250.
HZ = 250
_DISTRIBUTIONS: tuple[tuple[str, Number, int], ...] = (
    (r"\.(el|fc)\d", (0, 0), 1000),
    (r"-lowlatency\b", (0, 0), 1000),
    (r"-generic\b", (6, 11), 1000),
)
#: What the kernel's configuration offers (kernel/Kconfig.hz).
_HZ_CHOICES = (100, 250, 300, 1000)


@dataclass(frozen=True)
class _Name:
    """The parts of a version's name."""

    number: Number
    #: None where it names no patch level of the stable tree.
    patch: int | None
    hz: int


_WRITTEN = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:\.\d+)*([-+][^@]*)?(?:@(\d+))?")


def _read(version: str) -> _Name:
    match = _WRITTEN.fullmatch(version.strip())
    if not match:
        raise UnknownRelease(f"not a Linux version; use one of {', '.join(LISTED)} or another mainline x.y.")
    number, rest = (int(match[1]), int(match[2])), match[4] or ""
    patch = int(match[3]) if match[3] else None
    if rest.startswith("-rc"):
        patch = 0
    elif patch == 0 and rest.startswith("-"):
        # 6.1.0-56-amd64, 5.14.0-427.el9: the name of an ABI or a package, which keeps its 0.
        patch = None
    named = [hz for found, since, hz in _DISTRIBUTIONS if re.search(found, rest) and number >= since]
    hz = int(match[5]) if match[5] else [HZ, *named][-1]
    if hz not in _HZ_CHOICES:
        raise UnknownRelease(f"no kernel has {hz} ticks a second; after @ one of {_choices()}.")
    return _Name(number, patch, hz)


def _choices() -> str:
    return ", ".join(map(str, _HZ_CHOICES))


@lru_cache(maxsize=64)
def release(version: str = NEWEST) -> Release:
    """The rules of a version from 3.10 on: ``6.1``, ``6.1.140``, or the output of `uname -r`.

    Without a patch level it is the newest that is known, `newest_patch`; so it is for the names of
    distributions that carry none (``5.14.0-427.el9``; see `full_version`). HZ is that of the distribution in
    the name, else 250; ``6.12@1000`` sets it. Raises `UnknownRelease` with the rest of a sentence for
    anything else.
    """
    name = _read(version)
    number = name.number
    if number < (3, 10):
        raise UnknownRelease("older than 3.10, the oldest that tcplab knows.")
    if number > (7, 99):
        raise UnknownRelease(f"no such Linux version; the newest that tcplab knows is {NEWEST}.")
    patch = newest_patch(number) if name.patch is None else name.patch
    rules = {each: rule.at(number, patch) for each, rule in RULES.items()}
    return Release(version, number, patch, 1_000_000_000 // name.hz, **rules)


def newest_patch(number: Number) -> int:
    """The newest known patch level of a stable tree, at least the last that changed a rule."""
    changed = [c.stable.get(number, 0) for rule in RULES.values() for c in rule.changes]
    return max(NEWEST_PATCH.get(number, 0), *changed)


def known_release(version: str) -> Release:
    """The rules of the version that a trace names; of the newest where that is empty or unknown.

    A capture may name anything.
    """
    try:
        return release(version or NEWEST)
    except UnknownRelease:
        return release(NEWEST)


def full_version(named: str, built: str = "", signature: str = "", hz: int = 0) -> str:
    """A kernel's version with its patch level, for `release`, from what the kernel reports.

    `named` is `uname -r`, `built` is `uname -v`, in which Debian writes its package's version
    (``#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-1 (2026-11-02)``), `signature` is /proc/version_signature, in
    which Ubuntu writes the stable release (``Ubuntu 6.8.0-45.45-generic 6.8.12``). `hz`: the measured
    ticks per second; appended after an @ where the name implies another value.
    """
    written = _WRITTEN.match(named.strip())
    if written is None:
        return named.strip()
    name, plain = _read(written[0]), re.match(r"\d+\.\d+(\.\d+)?", written[0])
    found = re.search(r"\bDebian (\d+\.\d+\.\d+)", built) or re.search(r" (\d+\.\d+\.\d+)\s*$", signature)
    if found and _read(found[1]).number == name.number:
        full = found[1]
    else:
        full = written[0] if name.patch is None or plain is None else plain[0]
    hz = hz if hz in _HZ_CHOICES else name.hz
    return full if hz == _read(full).hz else f"{full}@{hz}"
