"""Where the seconds come from: runs of the course's experiments on the model, each played once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Any

from tcplab.advice.products import Keepalive
from tcplab.bench import run
from tcplab.experiments import (
    AcceptQueue,
    ClientGone,
    DeadPeer,
    IdleFirewall,
    ProxyLegs,
    UnansweredConnect,
)
from tcplab.experiments import Keepalive as KeepaliveStory
from tcplab.experiments.experiment import Experiment
from tcplab.experiments.reading import end_of_socket
from tcplab.fleet import PortChurn
from tcplab.fleet.study import RATE
from tcplab.knobs import DAY, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, Knob
from tcplab.trace import SECOND, Trace

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


def _options(keepalive: Keepalive | None, user_timeout_s: float = 0) -> dict[str, Any]:
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


def nobody_answers_probes(keepalive: Keepalive | None, linux: str) -> Ending:
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


def nobody_acknowledges(user_timeout_s: float, retries2: int, linux: str) -> Ending:
    """Data in flight to a peer that is gone."""
    options = _options(None, user_timeout_s)
    trace = _played(DeadPeer(**options, retries2=min(max(retries2, 1), 100), linux=linux))
    after = trace.outcome["detected_after_s"]
    return Ending(inf if after is None else after, trace.outcome["error"] or "")


def nobody_answers_connect(user_timeout_s: float, syn_retries: int, linux: str) -> Ending:
    """connect() to an address that answers nothing."""
    retries = min(max(syn_retries, 1), 127)
    trace = _played(
        UnansweredConnect(user_timeout_s=min(user_timeout_s, DAY), syn_retries=retries, linux=linux)
    )
    after = trace.outcome["gave_up_after_s"]
    return Ending(inf if after is None else after, trace.outcome["error"] or "")


def box_forgets(
    idle_s: float,
    expired: str,
    waiting_for: str,
    quiet_s: float,
    keepalive: Keepalive | None,
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


def relay_cuts(query_s: float, timer_s: float) -> Ending | None:
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


def server_hears_of_close(query_s: float, check_interval_s: float) -> float:
    """How long a server works on for a client that has closed in the middle of a query, seconds."""
    story = ClientGone(
        how="close", session="running", query_s=query_s, check_interval_s=min(check_interval_s, DAY)
    )
    after = _played(story).outcome["noticed_after_s"]
    return inf if after is None else after


def server_misses_client(keepalive: Keepalive | None, linux: str) -> float:
    """How long a server keeps an idle transaction whose client vanished, seconds."""
    if keepalive is None:
        return inf
    options = _options(keepalive, keepalive.user_timeout_s)
    story = ClientGone(how="vanish", session="idle_in_transaction", **options, linux=linux)
    after = _played(story).outcome["noticed_after_s"]
    return inf if after is None else after


def ports_run_out(
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


def all_at_once(connects: int, backlog: int, server_speaks_first: bool) -> Mapping[str, Any]:
    """The outcome of `AcceptQueue`: everybody connects while the server takes nobody for two seconds."""
    return _played(
        AcceptQueue(
            connects=connects, backlog=backlog, accept_after_s=2,
            speaks_first="server" if server_speaks_first else "client",
        )
    ).outcome  # fmt: skip
