"""What differs between versions of Linux, each rule with the version that brought it.

Only behaviours that the model has. Sources are kernel files and commits; where no commit is
named, the rule was read in the source trees on both sides of the version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

#: Versions that a person is likely to meet, oldest first (3.10: RHEL 7, 4.18: RHEL 8, 5.14: RHEL 9,
#: 6.1: Debian 12, 6.12: RHEL 10 and Debian 13). Distributions backport; the model follows mainline.
LISTED = ("3.10", "4.9", "4.18", "5.4", "5.14", "6.1", "6.12", "6.18")
NEWEST = LISTED[-1]


class UnknownRelease(ValueError):
    """Not a Linux version that the model knows."""


def _rule(first: Any, since: Mapping[tuple[int, int], Any]) -> Any:
    """A rule's value up to the first version that changed it, and since each of those."""
    return field(metadata={(0, 0): first, **since})


@dataclass(frozen=True)
class Release:
    """The rules of one Linux version."""

    version: str
    number: tuple[int, int]
    #: SYN repeats at one-second steps before doubling (tcp_syn_linear_timeouts): 4 since 6.5, in
    #: which `ccce324dabfe` brought the sysctl; None where there is no such sysctl.
    syn_linear_timeouts: int | None = _rule(None, {(6, 5): 4})
    #: connect() honours TCP_USER_TIMEOUT, and a retransmission timer is cut to what is left of it:
    #: since 4.19 (net/ipv4/tcp_timer.c:tcp_clamp_rto_to_user_timeout, tcp_write_timeout).
    user_timeout_exact: bool = _rule(False, {(4, 19): True})
    #: So is the timer of window probes: since 5.11 (tcp_timer.c:tcp_clamp_probe0_to_user_timeout).
    user_timeout_exact_for_probes: bool = _rule(False, {(5, 11): True})
    #: A RST at the right edge of the highest SACK block is obeyed: since 4.7
    #: (net/ipv4/tcp_input.c:tcp_validate_incoming).
    rst_at_sack_edge: bool = _rule(False, {(4, 7): True})
    #: A RST at RCV.NXT-1 is obeyed after a FIN: since 4.11 (tcp_input.c:tcp_reset_check).
    rst_before_fin: bool = _rule(False, {(4, 11): True})
    #: Challenge ACKs share the 500 ms limit per socket (tcp_invalid_ratelimit): since 4.7.
    challenge_ack_per_socket_limit: bool = _rule(False, {(4, 7): True})
    #: Replies in a row after which delayed ACKs wait to ride on an answer ("pingpong"): 1, but 3
    #: from 5.1 to 5.18 (TCP_PINGPONG_THRESH in include/net/inet_connection_sock.h; back to 1 with
    #: 4d8f24eeedc5).
    pingpong_threshold: int = _rule(1, {(5, 1): 3, (5, 19): 1})
    #: A SYN is dropped whenever the accept queue is full: since 4.10 (5ea8ea2cb7f1); before, only
    #: with more than one young request waiting.
    full_accept_queue_drops_syn: bool = _rule(False, {(4, 10): True})
    #: How listen()'s limit of half-open requests is drawn: `power_of_two` to 4.2, `backlog` from
    #: 4.4, `backlog_plus_one` since 6.13 (3479c7549fb1).
    syn_queue_rule: str = _rule("power_of_two", {(4, 4): "backlog", (6, 13): "backlog_plus_one"})
    #: net.core.somaxconn: 128, and 4096 since 5.4 (19f92a030ca6).
    somaxconn: int = _rule(128, {(5, 4): 4096})
    #: The end of ip_local_port_range, which begins at 32768: 61000, and 60999 since 4.2 (07f4c90062f8).
    last_local_port: int = _rule(61000, {(4, 2): 60999})
    #: connect() and bind(0) go through the ports by parity, connect() first those of the range's
    #: first port, bind(0) the others: since 4.6 (1580ab63fc9a, ea8add2b1903); before, port by port.
    ports_by_parity: bool = _rule(False, {(4, 6): True})
    #: bind(0) with SO_REUSEADDR that finds no free port shares the one with the fewest owners, if
    #: those are bound with SO_REUSEADDR too: up to 4.11 (inet_connection_sock.c:inet_csk_get_port).
    bind_shares_when_full: bool = _rule(True, {(4, 12): False})
    #: The same for any port whose owners have SO_REUSEADDR, when ip_autobind_reuse says so: since 5.7.
    autobind_reuse: bool = _rule(False, {(5, 7): True})
    #: IP_BIND_ADDRESS_NO_PORT: bind() to an address, connect() chooses the port: since 4.2.
    bind_address_no_port: bool = _rule(False, {(4, 2): True})
    #: A port that bind() held is connect()'s again when the last socket with a bind() leaves it:
    #: since 6.18 (d57f4b874946); before, only when no socket at all is left on it.
    bound_port_recovers: bool = _rule(False, {(6, 18): True})
    #: tcp_tw_reuse: 0, and 2 (on loopback only) since 4.19; before that 2 meant the same as 1.
    tw_reuse: int = _rule(0, {(4, 19): 2})
    #: When TIME_WAIT may be reused (net/ipv4/tcp_ipv4.c:tcp_twsk_unique). `delay`: after
    #: tcp_tw_reuse_delay, since 6.14; `next_second`: when the clock shows another second, from 4.19;
    #: `second_after_next`: when it shows two more, before.
    tw_reuse_clock: str = _rule("second_after_next", {(4, 19): "next_second", (6, 14): "delay"})
    #: Length of a timer tick, nanoseconds. Debian's 250 Hz; RHEL uses 1000 Hz.
    tick: int = 4_000_000

    def older_than(self, version: str) -> bool:
        """True when this release came before `version` (for example ``"6.5"``)."""
        return self.number < _number(version)


def _number(version: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)\.(\d+)(\.\d+)*([-+].*)?", version.strip())
    if not match:
        raise UnknownRelease(f"not a Linux version; use one of {', '.join(LISTED)} or another mainline x.y.")
    return int(match[1]), int(match[2])


@lru_cache(maxsize=64)
def release(version: str = NEWEST) -> Release:
    """The rules of a mainline version from 3.10 on.

    Raises `UnknownRelease` with the rest of a sentence for anything else.
    """
    number = _number(version)
    if number < (3, 10):
        raise UnknownRelease("older than 3.10, the oldest that tcplab knows.")
    if number > (7, 99):
        raise UnknownRelease(f"no such Linux version; the newest that tcplab knows is {NEWEST}.")
    rules = {
        each.name: [value for since, value in each.metadata.items() if since <= number][-1]
        for each in fields(Release) if each.metadata
    }  # fmt: skip
    return Release(version, number, **rules)


def known_release(version: str) -> Release:
    """The rules of the version that a trace names; of the newest where that is empty or unknown.

    A capture may name anything.
    """
    try:
        return release(version or NEWEST)
    except UnknownRelease:
        return release(NEWEST)
