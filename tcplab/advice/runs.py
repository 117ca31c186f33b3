"""Where the seconds come from: runs of the course's experiments on the model, each made once and kept.

`behind_middlebox` answers when a silent connection ends behind a middlebox, and with which error. The
idle map, the map of lost probes, the table of timers and the advice's checks all ask it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf
from typing import Any

from tcplab import experiments
from tcplab.advice.environment import Environment
from tcplab.advice.products import RETRIES2, SYN_RETRIES, InForce, KeepaliveDefaults
from tcplab.bench import run
from tcplab.core import knobs
from tcplab.core.catalogue import EXPIRIES, find
from tcplab.core.knobs import DAY, Knob, Parameters, knob
from tcplab.core.releases import NEWEST
from tcplab.core.text import SECOND, in_words
from tcplab.core.trace import Trace
from tcplab.experiments.experiment import Experiment
from tcplab.experiments.idle_firewall import EXPIRED, QUIET, WAITING_FOR
from tcplab.studies import PortChurn
from tcplab.studies.study import RATE

#: A shorter user timeout would end the handshake before any answer can arrive.
_LEAST_USER_TIMEOUT_S = 0.01


@dataclass(frozen=True)
class Ending:
    """How a wait ended."""

    #: Seconds from its beginning; `inf`: never.
    after_s: float
    #: The errno's name, or `end of file`; empty: none.
    error: str = ""
    #: Keepalive probes that stayed unanswered.
    probes: int = 0
    #: The other end still has the connection.
    left_behind: bool = False


@lru_cache(maxsize=1024)
def cached_run(experiment: Experiment | PortChurn) -> Trace:
    return run(experiment)


def _within(knob: Knob, value: float) -> Any:
    """A sysctl or a file may contain more than a socket can have: the kernel caps it."""
    return knob.kind(min(max(value, knob.low), knob.high))


def _options(keepalive: KeepaliveDefaults | None, user_timeout_s: float = 0) -> dict[str, Any]:
    """An end as the experiments' parameters."""
    user_timeout = min(max(user_timeout_s, _LEAST_USER_TIMEOUT_S), DAY) if user_timeout_s else 0
    if keepalive is None:
        return {"keepalive_idle_s": 0, "user_timeout_s": user_timeout}
    return {
        "keepalive_idle_s": _within(knobs.KEEPALIVE_IDLE, max(keepalive.idle_s, 1)),
        "keepalive_interval_s": _within(knobs.KEEPALIVE_INTERVAL, keepalive.interval_s),
        "keepalive_probes": _within(knobs.KEEPALIVE_PROBES, keepalive.probes),
        "user_timeout_s": user_timeout,
    }


def _outcome(experiment: Callable[..., Experiment | PortChurn], **settings: Any) -> Mapping[str, Any]:
    return cached_run(experiment(**settings)).outcome


def _or_never(seconds: float | None) -> float:
    return inf if seconds is None else seconds


def probes_unanswered(keepalive: KeepaliveDefaults | None, linux: str) -> Ending:
    """An idle end whose peer is gone; a user timeout decides instead of the number of probes."""
    if keepalive is None:
        return Ending(inf)
    options = _options(keepalive, keepalive.user_timeout_s)
    names = {name.removeprefix("keepalive_"): value for name, value in options.items()}
    outcome = _outcome(experiments.Keepalive, **names, peer="offline", linux=linux)
    after = _or_never(outcome["detected_after_s"])
    return Ending(after, outcome["error"] or "", probes=len(outcome["probe_times_s"]))


def data_unacknowledged(user_timeout_s: float, retries2: int, linux: str) -> Ending:
    """Data in flight to a peer that is gone."""
    options, retries = _options(None, user_timeout_s), min(max(retries2, 1), 100)
    outcome = _outcome(experiments.DeadPeer, **options, retries2=retries, linux=linux)
    return Ending(_or_never(outcome["detected_after_s"]), outcome["error"] or "")


def connect_unanswered(user_timeout_s: float, syn_retries: int, linux: str) -> Ending:
    """connect() to an address that answers nothing."""
    user, retries = min(user_timeout_s, DAY), min(max(syn_retries, 1), 127)
    outcome = _outcome(experiments.UnansweredConnect, user_timeout_s=user, syn_retries=retries, linux=linux)
    return Ending(_or_never(outcome["gave_up_after_s"]), outcome["error"] or "")


def close_noticed(query_s: float, check_interval_s: float) -> float:
    """Seconds that a server works on for a client which closed in the middle of a query."""
    how, checks = {"how": "close", "session": "running"}, min(check_interval_s, DAY)
    outcome = _outcome(experiments.ClientGone, **how, query_s=query_s, check_interval_s=checks)
    return _or_never(outcome["noticed_after_s"])


def vanished_client_noticed(keepalive: KeepaliveDefaults | None, linux: str) -> float:
    """Seconds that a server keeps the idle transaction of a client which vanished."""
    if keepalive is None:
        return inf
    how = {"how": "vanish", "session": "idle_in_transaction"}
    options = _options(keepalive, keepalive.user_timeout_s)
    return _or_never(_outcome(experiments.ClientGone, **how, **options, linux=linux)["noticed_after_s"])


@lru_cache(maxsize=8192)
def behind_middlebox(
    idle_s: float,
    expired: str,
    waiting_for: str,
    quiet_s: float,
    keepalive: KeepaliveDefaults | None,
    user_timeout_s: float = 0,
    retries2: int = 15,
    linux: str = NEWEST,
) -> Ending | None:
    """How a silent connection behind a middlebox ends for the client; None: it survives.

    `idle_s` and `expired` are the middlebox's, keepalive and user timeout the client's. Seconds count
    from the beginning of the silence.
    """
    left_out = _repeated(quiet_s, keepalive, user_timeout_s)
    experiment = experiments.IdleFirewall(
        **_options(keepalive, user_timeout_s), firewall_idle_s=idle_s, expired=expired,
        quiet_s=quiet_s - left_out, waiting_for=waiting_for, retries2=min(max(retries2, 1), 100),
        linux=linux,
    )  # fmt: skip
    if keepalive:
        # A server that has given up on its answer sends a RST only when the next probe arrives.
        experiment = replace(experiment, watch_s=experiment.watch() + keepalive.longest_gap())
    trace = cached_run(experiment)
    if trace.outcome["survived"]:
        return None
    end, error = trace.end_of_socket("client"), trace.outcome["error"]
    after = inf
    if end is not None and error is not None:
        after = round((end.t - (trace.watched_from or 0)) / SECOND, 3)
        after += left_out if after > quiet_s - left_out else 0
    return Ending(after, error or "", left_behind=trace.outcome["server_left_behind"])


def experiment_of(environment: Environment, situation: str, leg: int) -> Experiment | None:
    """The experiment behind a lane of the race, for its packets; None: the lane is arithmetic.

    A program's own timers are not in it: it shows what the two kernels and a middlebox do.
    """
    force, linux = InForce(environment), environment.linux
    client, user = force.client(leg), force.user_timeout(leg)
    options = _options(client, user)
    retries2 = min(max(int(force.linux(RETRIES2)), 1), 100)
    match situation:
        case "server_dies_waiting":
            names = {name.removeprefix("keepalive_"): value for name, value in options.items()}
            return experiments.Keepalive(**names, peer="offline", linux=linux) if client else None
        case "server_dies_idle" | "server_dies_sending":
            return experiments.DeadPeer(**options, retries2=retries2, linux=linux)
        case "connect_nowhere":
            retries = min(max(int(force.linux(SYN_RETRIES)), 1), 127)
            return experiments.UnansweredConnect(
                user_timeout_s=min(user, DAY), syn_retries=retries, linux=linux
            )
        case "client_dies":
            server = force.server(leg)
            own = _options(server, server.user_timeout_s) if server else None
            how: dict[str, Any] = {"how": "vanish", "session": "idle_in_transaction"}
            return experiments.ClientGone(**how, **own, linux=linux) if own else None
        case "silent_query" | "idle_session":
            return _behind_first(environment, leg, situation, options, retries2)
    return None


def _behind_first(
    environment: Environment, leg: int, situation: str, options: Mapping[str, Any], retries2: int
) -> Experiment | None:
    """A silence behind the middlebox of a leg that forgets first."""
    boxes = [box for box in environment.legs[leg].middleboxes if box.kind == "layer4" and box.idle_s]
    quiet, wait = environment.longest_silent_query_s, "long_query"
    if situation == "idle_session":
        quiet, wait = InForce(environment).rests(leg)[0], "next_query"
    if not boxes or not quiet:
        return None
    box = min(boxes, key=lambda each: (each.expired == "reopen", each.idle_s))
    return experiments.IdleFirewall(
        **options, firewall_idle_s=box.idle_s, expired=box.expired, quiet_s=quiet, waiting_for=wait,
        retries2=retries2, linux=environment.linux,
    )  # fmt: skip


def _repeated(quiet_s: float, keepalive: KeepaliveDefaults | None, user_timeout_s: float) -> float:
    """Seconds of a silence that can be left out, since answered probes only repeat one cycle.

    What is kept is long enough for unanswered probes to give the connection up.
    """
    if keepalive is None:
        return 0
    cycle = keepalive.longest_gap()
    kept = keepalive.idle_s + cycle * (keepalive.probes + 4) + user_timeout_s
    return cycle * max(0, (quiet_s - kept) // cycle)


def proxy_cuts(query_s: float, timer_s: float) -> Ending | None:
    """A silent query through a proxy with a data timer; None: it gets its answer.

    Keepalive probes run on both legs, a few hundred at most: they are no data.
    """
    probe = max(30, query_s // 200)
    outcome = _outcome(
        experiments.ProxyLegs, broken="nothing", query_s=query_s, proxy_idle_s=timer_s,
        client_keepalive_idle_s=probe, proxy_keepalive_idle_s=probe, backend_keepalive_idle_s=probe,
    )  # fmt: skip
    after = outcome["noticed_by_client_after_s"]
    return None if after is None else Ending(round(after, 3), outcome["error"] or "end of file")


def port_churn(
    rate_per_s: float, ports: int, hold_s: float, time_wait_s: float, tw_reuse: int, linux: str
) -> Mapping[str, Any]:
    """The outcome of `PortChurn` over one to three times TIME_WAIT: no longer than a form can wait."""
    rate = min(max(rate_per_s, RATE.low), RATE.high)
    length = min(180, max(70, 100_000 / rate), 1_000_000 / rate)
    return _outcome(
        PortChurn, rate_per_s=rate, ports=ports, hold_s=hold_s, time_wait_s=time_wait_s,
        duration_s=max(length, 0.1), tw_reuse=tw_reuse, linux=linux,
    )  # fmt: skip


def connect_burst(connects: int, backlog: int, server_speaks_first: bool) -> Mapping[str, Any]:
    """The outcome of `AcceptQueue`: all clients connect while the server accepts none for two seconds."""
    return _outcome(
        experiments.AcceptQueue, connects=connects, backlog=backlog, accept_after_s=2,
        speaks_first="server" if server_speaks_first else "client",
    )  # fmt: skip


#: What can become of a silent connection.
SURVIVES, RESET, SILENT = "survives", "gets a RST", "silent"
OUTCOMES = (SURVIVES, RESET, SILENT)
_SAYS = {
    "ECONNRESET": "Connection reset by peer (ECONNRESET)", "EPIPE": "Broken pipe (EPIPE)",
    "ETIMEDOUT": "Connection timed out (ETIMEDOUT)",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SilentConnection(Parameters):
    """A silence, a keepalive and a middlebox. By default: libpq, a box that drops, a ten-minute report."""

    name = "idle_map"

    keepalive_idle_s: float = knob(knobs.KEEPALIVE_IDLE, default=7200)
    keepalive_interval_s: float = knob(knobs.KEEPALIVE_INTERVAL, default=75)
    keepalive_probes: int = knob(knobs.KEEPALIVE_PROBES, default=9)
    box_idle_s: float = knob(knobs.FIREWALL_IDLE, default=350)
    expired: str = knob(EXPIRED, default="drop")
    quiet_s: float = knob(replace(QUIET, slider_high=7200), default=600)
    waiting_for: str = knob(WAITING_FOR, default="long_query")

    def keepalive(self, idle_s: float) -> KeepaliveDefaults | None:
        """The keepalive with another idle time; 0: off."""
        times = idle_s, self.keepalive_interval_s, self.keepalive_probes
        return KeepaliveDefaults(*times) if idle_s else None

    def ending(self, keepalive: float, box: float, expired: str) -> Ending | None:
        """The run with another keepalive idle time (0: off) and another middlebox (0: never forgets)."""
        return behind_middlebox(
            box, expired, self.waiting_for, self.quiet_s, self.keepalive(keepalive), linux=self.linux
        )

    def outcome_at(self, keepalive: float, box: float, expired: str) -> str:
        """What becomes of the connection then: `SURVIVES`, `RESET` or `SILENT`."""
        ending = self.ending(keepalive, box, expired)
        if ending is None:
            return SURVIVES
        return RESET if ending.error in ("ECONNRESET", "EPIPE") else SILENT

    @property
    def outcome(self) -> str:
        """What becomes of the connection."""
        return self.outcome_at(self.keepalive_idle_s, self.box_idle_s, self.expired)

    def longest_gap(self, keepalive: float) -> float:
        """The longest time without a segment during the silence, with another keepalive idle time."""
        end = self.keepalive(keepalive)
        if end is None or end.idle_s >= self.quiet_s:
            return self.quiet_s
        return max(end.idle_s, min(end.longest_gap(), self.quiet_s - end.idle_s))

    @property
    def sentence(self) -> str:
        """What happens, when, and what the application sees."""
        quiet, box, idle = self.quiet_s, self.box_idle_s, self.keepalive_idle_s
        what = "long query" if self.waiting_for == "long_query" else "idle session"
        if not box or box >= quiet:
            survives = f"The {what} of {in_words(quiet)} survives"
            return f"{survives}: the middlebox keeps its entry longer, with keepalive or without."
        end = self.keepalive(idle)
        if end and self.longest_gap(idle) < box:
            late = end.probe_after(1)
            margin = f" But if one probe is lost, the next comes after {in_words(late)}, too late."
            return (
                f"A probe after each {in_words(idle)} restarts the middlebox's timer of {in_words(box)}: "
                f"the {what} of {in_words(quiet)} survives.{margin if late >= box else ''}"
            )
        first = f"After {in_words(box)}, before any probe, the middlebox removes the connection"
        if end and end.idle_s < box:
            later = f"The first probe comes in time, the next only {in_words(end.interval_s)} later"
            first = f"{later}: in between the middlebox removes the connection"
        return f"{first} and {EXPIRIES[self.expired]}: {self._consequence(what)}"

    def _consequence(self, what: str) -> str:
        ending = self.ending(self.keepalive_idle_s, self.box_idle_s, self.expired)
        if ending is None:
            return f"the {what} survives."
        if ending.after_s == inf:
            return "the client waits indefinitely: keepalive is off, no call returns, and no error appears."
        error, after = _SAYS[ending.error], in_words(round(ending.after_s))
        if ending.error != "ETIMEDOUT":
            return f"the client gets a RST after {after}, {error}."
        if self.waiting_for == "long_query":
            return f"no program is notified. Only the client's keepalive detects it, after {after}: {error}."
        if ending.after_s < self.quiet_s:
            return f"keepalive ends the connection after {after}; the next query fails at once: {error}."
        sending = in_words(round(ending.after_s - self.quiet_s))
        return f"the next query is retransmitted for {sending}, then {error}."


#: Common clients by their names in the catalogue, and their short names here.
_CLIENTS = {
    "redis_cli": "redis-cli", "redis": "Redis server", "libpq": "libpq", "pgbouncer": "PgBouncer",
    "connector_j": "Connector/J", "pgjdbc": "pgjdbc", "redisson": "Redisson",
}  # fmt: skip


@lru_cache(maxsize=1)
def known_clients() -> tuple[tuple[float, tuple[str, ...]], ...]:
    """Common clients by their keepalive idle time, seconds; 0: keepalive is off."""
    names: dict[float, list[str]] = {}
    for key, name in _CLIENTS.items():
        names.setdefault(_first_probe(key), []).append(name)
    return tuple((seconds, tuple(same)) for seconds, same in sorted(names.items()))


def _first_probe(product: str) -> float:
    """When a product's first probe comes, seconds; the kernel's time where it only switches keepalive on."""
    if idle := find(product=product, knob="KEEPALIVE_IDLE"):
        return idle[0].effective.seconds or 0
    is_on = any(setting.default is True for setting in find(product=product, purpose="keepalive"))
    return find(product="linux", knob="KEEPALIVE_IDLE")[0].seconds or 0 if is_on else 0
