"""The race of the timers of an environment: every timer, leg by leg, and which of them decide what breaks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import inf

from tcplab.advice import Advice, Check, runs
from tcplab.advice.checks import DATA_TIMER, LimitChecks
from tcplab.advice.products import AGE, ANSWER, IDLE_CLOSE, PING, RETRIES2, InForce, KeepaliveDefaults, title
from tcplab.advice.timers import BOX as BOX_WINS
from tcplab.advice.timers import KEEPALIVE, READ, RESEND, SERVER, USER

#: Kinds of a lane.
SILENCE, PROBES, TIMER, MIDDLEBOX = "silence", "probes", "timer", "middlebox"


@dataclass(frozen=True)
class Lane:
    """One timer, or one length of silence."""

    name: str
    #: `SILENCE`, `PROBES`, `TIMER` or `MIDDLEBOX`.
    kind: str
    #: Seconds from the beginning of the silence or the call (`inf`: never), and what happens then.
    instants: tuple[tuple[float, str], ...]
    #: What breaks when this timer decides; empty: nothing does.
    decides: str = ""


@dataclass(frozen=True)
class LegLanes:
    """The lanes of one leg."""

    name: str
    lanes: tuple[Lane, ...]


#: A lane, the timer as a check names its winner, and the side, middlebox or setting of it.
_Timer = tuple[Lane, str, str]


def race(advice: Advice) -> tuple[LegLanes, ...]:
    """The lanes of all legs; a timer that decides what breaks names it."""
    env = advice.environment
    return tuple(
        LegLanes(leg.name, tuple(_decided(_timers(advice, i), advice.broken, leg.name, i == 0)))
        for i, leg in enumerate(env.legs)
    )


def _decided(timers: Iterable[_Timer], broken: Iterable[Check], leg: str, first: bool) -> Iterator[Lane]:
    here = [check for check in broken if check.leg == leg or (first and not check.leg)]
    for lane, timer, side in timers:
        names = [each.name for each in here if each.winner == timer and _is_about(each, timer, side)]
        yield replace(lane, decides="; ".join(dict.fromkeys(names))) if names else lane


def _is_about(check: Check, timer: str, side: str) -> bool:
    """Whether a check's winner is the timer of this side, middlebox or setting."""
    if timer in (BOX_WINS, DATA_TIMER, SERVER):
        return not side or side in check.about
    asked = check.about[1] if len(check.about) > 1 and check.about[1] in ("client", "server") else "client"
    return timer != KEEPALIVE or asked == side


def _timers(advice: Advice, i: int) -> Iterator[_Timer]:
    env = advice.environment
    force, limits = InForce(env), LimitChecks(env)
    client, server, leg = env.client_of(i), env.server_of(i), env.legs[i]
    yield Lane("longest silent query", SILENCE, ((env.longest_silent_query_s, "silent for"),)), "", ""
    rests, what = force.rests(i)
    who = what.partition(" = ")[0].rstrip(":")
    yield Lane("longest rest of a session", SILENCE, ((rests, f"{who},"),)), "", ""
    for box in leg.middleboxes:
        if box.idle_s:
            counts = {"layer4": "forgets after", "layer7": "without data, cuts after"}
            does = counts.get(box.kind, "without a request, closes after")
            winner = BOX_WINS if box.kind == "layer4" else DATA_TIMER if box.kind == "layer7" else SERVER
            yield Lane(box.name, MIDDLEBOX, ((box.idle_s, does),)), winner, box.name
        if box.age_s:
            lane = Lane(f"{box.name}: age", MIDDLEBOX, ((box.age_s, "ends any connection of"),))
            yield lane, BOX_WINS, box.name
    yield _keepalive(client, force.client(i), "client", advice)
    yield _keepalive(server, force.server(i), "server", advice)
    user = force.user_timeout(i)
    sent = runs.data_unacknowledged(user, force.linux(RETRIES2), env.linux).after_s
    why = "user timeout" if user else "retransmission"
    lane = Lane(f"{title(client)} with data in flight", TIMER, ((sent, f"{why} gives up after"),))
    yield lane, USER if user else RESEND, "client"
    if answer := force.answer(i):
        yield _named(client, ANSWER[client], answer, "stops waiting after"), READ, "client"
    yield from _server_timers(force, server)
    if i == 0:
        yield from _pool(force, limits)


def _keepalive(product: str, end: KeepaliveDefaults | None, side: str, advice: Advice) -> _Timer:
    env = advice.environment
    name = f"{title(product)}'s keepalive ({side})"
    if end is None:
        return Lane(name, PROBES, ((inf, "off: never asks"),)), KEEPALIVE, side
    asks = [(end.probe_after(0), "asks after")]
    if env.lost_probes:
        asks.append((end.probe_after(env.lost_probes), f"with {env.lost_probes} lost"))
    gives_up = runs.probes_unanswered(end, env.linux).after_s
    # Where the user timeout ends it before, there is no such retry.
    instants = [each for each in asks if each[0] < gives_up]
    return Lane(name, PROBES, (*instants, (gives_up, "gives up"))), KEEPALIVE, side


def _server_timers(force: InForce, server: str) -> Iterator[_Timer]:
    """The timers with which the server of a leg ends connections by itself."""
    if server == "haproxy":
        seconds, names = force.relay_timer()
        if seconds:
            lane = Lane(f"HAProxy's {names[0]}", TIMER, ((seconds, "without data, cuts after"),))
            yield lane, DATA_TIMER, f"haproxy.{names[0]}"
    elif seconds := force.of(IDLE_CLOSE, server):
        name = IDLE_CLOSE[server]
        yield _named(server, name, seconds, "closes what rests for"), SERVER, f"{server}.{name}"
    if server == "pgbouncer" and (seconds := force.seconds("pgbouncer", "query_timeout")):
        lane = _named(server, "query_timeout", seconds, "kills a query after")
        yield lane, DATA_TIMER, "pgbouncer.query_timeout"


def _pool(force: InForce, limits: LimitChecks) -> Iterator[_Timer]:
    """The application's timers."""
    pool = force.environment.pool
    connect, timer = limits.connect()
    yield (
        Lane(f"{title(force.environment.driver)} in connect()", TIMER, ((connect, "gives up after"),)),
        timer,
        "",
    )
    if ping := force.ping():
        yield _named(pool, PING[pool], ping, "sends something every"), "", ""
    if age := force.of(AGE, pool):
        yield _named(pool, AGE[pool], age, "replaces connections of"), "", ""
    acquire, who = limits.acquire()
    if who:
        yield Lane(who, TIMER, ((acquire or inf, "a borrower waits"),)), who, ""


def _named(product: str, name: str, seconds: float, what: str) -> Lane:
    return Lane(f"{title(product)}'s {name}", TIMER, ((seconds, what),))
