"""Where the seconds come from: runs of the course's experiments on the model, each played once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf
from typing import Any

from tcplab.advice.products import KeepaliveDefaults
from tcplab.bench import run
from tcplab.core.catalogue import find
from tcplab.core.knobs import (
    DAY,
    FIREWALL_IDLE,
    KEEPALIVE_IDLE,
    KEEPALIVE_INTERVAL,
    KEEPALIVE_PROBES,
    PERIOD,
    Knob,
    Parameters,
    choice,
    knob,
)
from tcplab.core.text import SECOND, duration
from tcplab.core.trace import Trace
from tcplab.experiments import AcceptQueue, ClientGone, DeadPeer, IdleFirewall, ProxyLegs, UnansweredConnect
from tcplab.experiments import Keepalive as KeepaliveStory
from tcplab.experiments.experiment import Experiment, end_of_socket
from tcplab.route.firewall import EXPIRED
from tcplab.studies import PortChurn
from tcplab.studies.study import RATE

#: A shorter user timeout would end the handshake before any answer can come.
_LEAST_USER_TIMEOUT_S = 0.01


@dataclass(frozen=True)
class Ending:
    """How a wait ended."""

    #: Seconds from when it began; `inf`: never.
    after_s: float
    #: The errno's name, or `end of file`; empty: none.
    error: str = ""
    #: Keepalive probes that stayed unanswered.
    probes: int = 0
    #: The other end has heard nothing.
    left_behind: bool = False


NEVER = Ending(inf)


@lru_cache(maxsize=1024)
def _played(story: Experiment | PortChurn) -> Trace:
    return run(story)


def _within(knob: Knob, value: float) -> Any:
    """Linux takes no more; a sysctl or a file may say more than a socket can have."""
    return knob.kind(min(max(value, knob.low), knob.high))


def _options(keepalive: KeepaliveDefaults | None, user_timeout_s: float = 0) -> dict[str, Any]:
    """An end as the experiments have it."""
    user_timeout = min(max(user_timeout_s, _LEAST_USER_TIMEOUT_S), DAY) if user_timeout_s else 0
    if keepalive is None:
        return {"keepalive_idle_s": 0, "user_timeout_s": user_timeout}
    return {
        "keepalive_idle_s": _within(KEEPALIVE_IDLE, keepalive.idle_s),
        "keepalive_interval_s": _within(KEEPALIVE_INTERVAL, keepalive.interval_s),
        "keepalive_probes": _within(KEEPALIVE_PROBES, keepalive.probes),
        "user_timeout_s": user_timeout,
    }


def probes_unanswered(keepalive: KeepaliveDefaults | None, linux: str) -> Ending:
    """An idle end whose peer is gone; with user timeout, which decides instead of the number of probes."""
    if keepalive is None:
        return NEVER
    options = {
        name.removeprefix("keepalive_"): value
        for name, value in _options(keepalive, keepalive.user_timeout_s).items()
    }
    trace = _played(KeepaliveStory(**options, peer="offline", linux=linux))
    after, probes = trace.outcome["detected_after_s"], len(trace.outcome["probe_times_s"])
    return Ending(inf if after is None else after, trace.outcome["error"] or "", probes)


def data_unacknowledged(user_timeout_s: float, retries2: int, linux: str) -> Ending:
    """Data in flight to a peer that is gone."""
    options = _options(None, user_timeout_s)
    trace = _played(DeadPeer(**options, retries2=min(max(retries2, 1), 100), linux=linux))
    after = trace.outcome["detected_after_s"]
    return Ending(inf if after is None else after, trace.outcome["error"] or "")


def connect_unanswered(user_timeout_s: float, syn_retries: int, linux: str) -> Ending:
    """connect() to an address that answers nothing."""
    retries = min(max(syn_retries, 1), 127)
    trace = _played(
        UnansweredConnect(user_timeout_s=min(user_timeout_s, DAY), syn_retries=retries, linux=linux)
    )
    after = trace.outcome["gave_up_after_s"]
    return Ending(inf if after is None else after, trace.outcome["error"] or "")


def behind_middlebox(
    idle_s: float,
    expired: str,
    waiting_for: str,
    quiet_s: float,
    keepalive: KeepaliveDefaults | None,
    user_timeout_s: float,
    retries2: int,
    linux: str,
) -> Ending | None:
    """A silence behind a box that forgets, as the end sees it that opened; None: the connection lives.

    Seconds count from the silence's beginning.
    """
    story = IdleFirewall(
        **_options(keepalive, user_timeout_s), firewall_idle_s=idle_s, expired=expired, quiet_s=quiet_s,
        waiting_for=waiting_for, retries2=min(max(retries2, 1), 100), linux=linux,
    )  # fmt: skip
    trace = _played(story)
    if trace.outcome["survived"]:
        return None
    end, since = end_of_socket(trace, "client"), trace.watched_from or 0
    after = inf if end is None or trace.outcome["error"] is None else (end.t - since) / SECOND
    told = trace.outcome["error"] or ""
    return Ending(round(after, 3), told, left_behind=trace.outcome["server_left_behind"])


def proxy_cuts(query_s: float, timer_s: float) -> Ending | None:
    """A silent query through a proxy whose data timer runs; None: it gets its answer.

    Probes run on both legs all the time, a few hundred at most: they are no data.
    """
    probe = max(30, query_s // 200)
    story = ProxyLegs(
        broken="nothing", query_s=query_s, proxy_idle_s=timer_s, client_keepalive_idle_s=probe,
        proxy_keepalive_idle_s=probe, backend_keepalive_idle_s=probe,
    )  # fmt: skip
    outcome = _played(story).outcome
    after = outcome["noticed_by_client_after_s"]
    return None if after is None else Ending(round(after, 3), outcome["error"] or "end of file")


def close_noticed(query_s: float, check_interval_s: float) -> float:
    """How long a server works on for a client that has closed in the middle of a query, seconds."""
    story = ClientGone(
        how="close", session="running", query_s=query_s, check_interval_s=min(check_interval_s, DAY)
    )
    after = _played(story).outcome["noticed_after_s"]
    return inf if after is None else after


def vanished_client_noticed(keepalive: KeepaliveDefaults | None, linux: str) -> float:
    """How long a server keeps an idle transaction whose client vanished, seconds."""
    if keepalive is None:
        return inf
    options = _options(keepalive, keepalive.user_timeout_s)
    story = ClientGone(how="vanish", session="idle_in_transaction", **options, linux=linux)
    after = _played(story).outcome["noticed_after_s"]
    return inf if after is None else after


def port_churn(
    rate_per_s: float, ports: int, hold_s: float, time_wait_s: float, tw_reuse: int, linux: str
) -> Mapping[str, Any]:
    """The outcome of `PortChurn`, over a TIME_WAIT or three, as long as a learner would wait for."""
    rate = min(max(rate_per_s, RATE.low), RATE.high)
    length = min(180, max(70, 100_000 / rate), 1_000_000 / rate)
    return _played(
        PortChurn(
            rate_per_s=rate, ports=ports, hold_s=hold_s, time_wait_s=time_wait_s,
            duration_s=max(length, 0.1), tw_reuse=tw_reuse, linux=linux,
        )
    ).outcome  # fmt: skip


def connect_burst(connects: int, backlog: int, server_speaks_first: bool) -> Mapping[str, Any]:
    """The outcome of `AcceptQueue`: everybody connects while the server takes nobody for two seconds."""
    return _played(
        AcceptQueue(
            connects=connects, backlog=backlog, accept_after_s=2,
            speaks_first="server" if server_speaks_first else "client",
        )
    ).outcome  # fmt: skip


# ----------------------------------------------------------------------
# What becomes of a silent connection: my keepalive against the idle timer of a box on the way.
#
# The rules in a few lines each; a test holds them to runs of the experiment idle_firewall.

#: What can become of it.
LIVES, TOLD, SILENT = "lives", "told by a RST", "silent"
FATES = (LIVES, TOLD, SILENT)
WAYS = choice("once it has forgotten", *EXPIRED, help="What the box does with a connection it has forgotten.")
QUIET = replace(
    PERIOD, label="quiet for", zero="not at all", slider_high=7200,
    help="How long nothing is said: by an idle session, or while the server works on a long query.",
)  # fmt: skip
WAITING = choice(
    "the client", "long_query", "next_query",
    help="Waits in recv() for an answer all the time, or is idle and then asks again.",
)  # fmt: skip
#: When Linux sends data again that nobody acknowledges, seconds from the first time (tcp_retries2 = 15).
_RESENDS = (0, 0.2, 0.4, 0.8, 1.6, 3.3, 6.5, 13, 26, 52, 104, 209, 329, 449, 569, 689, 809)
#: And when it gives up.
_GIVES_UP_S = 929

_WHAT = {
    "drop": "drops whatever comes",
    "reject": "answers whatever comes with a RST",
    "reset_both": "sends a RST to both ends",
    "reopen": "takes the connection up again with the next segment",
    "drop_inbound": "lets nothing in until the client sends something",
}


@dataclass(frozen=True, kw_only=True)
class SilentConnection(Parameters):
    """A silence, my keepalive, and a box. As it comes: libpq, a box that drops, a ten-minute report."""

    name = "idle_map"

    keepalive_idle_s: float = knob(KEEPALIVE_IDLE, default=7200)
    keepalive_interval_s: float = knob(KEEPALIVE_INTERVAL, default=75)
    keepalive_probes: int = knob(KEEPALIVE_PROBES, default=9)
    box_idle_s: float = knob(FIREWALL_IDLE, default=350)
    expired: str = knob(WAYS, default="drop")
    quiet_s: float = knob(QUIET, default=600)
    waiting_for: str = knob(WAITING, default="long_query")

    @property
    def fate(self) -> str:
        """`LIVES`, `TOLD` or `SILENT`."""
        return self.fate_at(self.keepalive_idle_s, self.box_idle_s, self.expired)

    def fate_at(self, keepalive: float, box: float, expired: str) -> str:
        """The same for another keepalive idle time (0: off), another box (0: never forgets), another way."""
        if not box or box >= self.quiet_s or 0 < keepalive < box or expired == "reopen":
            return LIVES
        is_asking = self.waiting_for == "next_query"
        match expired:
            case "reset_both":
                return TOLD
            case "reject":
                # A question or a probe draws the RST; somebody who only waits hears nothing.
                return TOLD if is_asking or keepalive else SILENT
            case "drop_inbound":
                # A probe that comes after the server has given up finds its RST behind the open box.
                lives = is_asking or self._let_in(keepalive, box)
                return LIVES if lives else TOLD if keepalive else SILENT
        return SILENT

    def _let_in(self, keepalive: float, box: float) -> bool:
        """Whether the answer, sent again and again, comes while a probe has opened the box."""
        if not keepalive:
            return False
        moments = (self.quiet_s + later for later in _RESENDS)
        return any(t >= keepalive and t % keepalive < box for t in moments)

    @property
    def forgotten(self) -> bool:
        """Whether the box forgets the connection at all."""
        box, keepalive = self.box_idle_s, self.keepalive_idle_s
        return bool(box) and box < self.quiet_s and not 0 < keepalive < box

    @property
    def sentence(self) -> str:
        """What happens, when, and what the application sees."""
        quiet, box = _words(self.quiet_s), _words(self.box_idle_s)
        what = "long query" if self.waiting_for == "long_query" else "idle session"
        if not self.box_idle_s or self.box_idle_s >= self.quiet_s:
            return f"The {what} of {quiet} lives: the box forgets nothing so soon, with keepalive or without."
        if not self.forgotten:
            told = f"A probe after each {_words(self.keepalive_idle_s)} restarts the box's timer of {box}"
            return f"{told}: the {what} of {quiet} lives.{self._margin()}"
        told = f"After {box} the box forgets, before any probe, and {_WHAT[self.expired]}"
        return f"{told}: {self._consequence(what)}"

    def _margin(self) -> str:
        """One probe may get lost; the next comes an interval later."""
        again = self.keepalive_idle_s + self.keepalive_interval_s
        if again < self.box_idle_s:
            return ""
        return f" But let one probe be lost: the next comes after {_words(again)}, too late."

    def _consequence(self, what: str) -> str:
        if self.fate == LIVES:
            return f"the {what} lives."
        if self.fate == TOLD:
            when = self.box_idle_s
            if self.expired == "drop_inbound":
                server_gives_up = self.quiet_s + _GIVES_UP_S
                when = self.keepalive_idle_s * math.ceil(server_gives_up / self.keepalive_idle_s)
            elif self.expired == "reject":
                asks = self.quiet_s if self.waiting_for == "next_query" else math.inf
                when = min(self.keepalive_idle_s or math.inf, asks)
            return f"the client gets a RST after {_words(when)}, Connection reset by peer (ECONNRESET)."
        if self.waiting_for == "next_query":
            return "the next query is sent again for 15 minutes, then Connection timed out (ETIMEDOUT)."
        if not self.keepalive_idle_s:
            return "the client waits for ever, since its keepalive is off; no call returns, no error appears."
        gives_up = self.keepalive_idle_s + self.keepalive_interval_s * self.keepalive_probes
        return (
            f"nobody is told. The client finds out after {_words(gives_up)}, by its keepalive alone: "
            "Connection timed out (ETIMEDOUT)."
        )


def _words(seconds: float) -> str:
    return duration(round(seconds * SECOND))


# -- what others use, as the catalogue has it, with the source of each -------------------------------

#: Boxes that forget by the silence on the wire, and their names here. Proxies count another silence.
_BOXES = {
    "azure_load_balancer": "Azure load balancer",
    "aws_nlb": "AWS NLB",
    "aws_nat_gateway": "AWS NAT gateway",
    "aws_network_firewall": "AWS Network Firewall",
    "gcp_vpc": "Google VPC firewall",
    "ipvs": "Linux IPVS",
    "gcp_cloud_nat": "Google Cloud NAT",
    "conntrack": "Linux conntrack",
}
_CLIENTS = {
    "redis_cli": "redis-cli",
    "redis": "Redis server",
    "libpq": "libpq",
    "pgbouncer": "PgBouncer",
    "connector_j": "Connector/J",
    "pgjdbc": "pgjdbc",
    "redisson": "Redisson",
}
#: What an undocumented box is taken to do.
_MOSTLY = "drop"


@dataclass(frozen=True)
class KnownBox:
    """A box as it comes."""

    name: str
    seconds: float
    #: Of `EXPIRED`; where that is not documented: as most do.
    expired: str


@lru_cache(maxsize=1)
def known_boxes() -> tuple[KnownBox, ...]:
    """Common boxes, the shortest idle timer first."""
    found = []
    for key, name in _BOXES.items():
        # conntrack has a shorter one for data that nobody acknowledges.
        setting = max(find(product=key, purpose="idle"), key=lambda each: each.seconds or 0)
        found.append(KnownBox(name, setting.seconds or 0, setting.expiry or _MOSTLY))
    return tuple(sorted(found, key=lambda box: box.seconds))


@lru_cache(maxsize=1)
def known_clients() -> tuple[tuple[float, tuple[str, ...]], ...]:
    """Common clients by their keepalive idle time, seconds; 0: they leave keepalive off."""
    found: dict[float, list[str]] = {}
    for key, name in _CLIENTS.items():
        found.setdefault(_first_probe(key), []).append(name)
    return tuple((seconds, tuple(names)) for seconds, names in sorted(found.items()))


def _first_probe(product: str) -> float:
    """When a product's first probe comes: Linux's time where it only switches keepalive on; 0: never."""
    idle = find(product=product, knob="KEEPALIVE_IDLE")
    if idle:
        return idle[0].effective.seconds or 0
    is_on = any(setting.default is True for setting in find(product=product, purpose="keepalive"))
    return find(product="linux", knob="KEEPALIVE_IDLE")[0].seconds or 0 if is_on else 0
