"""Every timer of an environment, leg by leg, with the ones that decide what breaks: for the picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import inf

from tcplab.advice import Advice, Check, played
from tcplab.advice.checks import DATA_TIMER
from tcplab.advice.limits import Limits
from tcplab.advice.products import (
    AGE,
    ANSWER,
    IDLE_CLOSE,
    PING,
    RETRIES2,
    InForce,
    Keepalive,
    title,
)
from tcplab.view.desk_timeline import BOX, PROBES, SILENCE, TIMER, Lane, LegLanes
from tcplab.view.timertable import BOX as BOX_WINS
from tcplab.view.timertable import KEEPALIVE, READ, RESEND, SERVER, USER

#: A lane, and in the checks' words which timer it is and on whose side: what a check names as its winner.
_Timer = tuple[Lane, str, str]


def timeline(advice: Advice) -> tuple[LegLanes, ...]:
    """The lanes of all legs. A timer that decides what breaks says what that is."""
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
    """Whether a check's winner is the timer of this side, box or setting."""
    if timer in (BOX_WINS, DATA_TIMER, SERVER):
        return not side or side in check.about
    asked = check.about[1] if len(check.about) > 1 and check.about[1] in ("client", "server") else "client"
    return timer != KEEPALIVE or asked == side


def _timers(advice: Advice, i: int) -> Iterator[_Timer]:
    env = advice.environment
    force, limits = InForce(env), Limits(env)
    client, server, leg = env.client_of(i), env.server_of(i), env.legs[i]
    yield Lane("longest silent query", SILENCE, ((env.longest_silent_query_s, "silent for"),)), "", ""
    rests, what = force.rests(i)
    who = what.partition(" = ")[0].rstrip(":")
    yield Lane("longest rest of a session", SILENCE, ((rests, f"{who},"),)), "", ""
    for box in leg.boxes:
        if box.idle_s:
            counts = {"layer4": "forgets after", "layer7": "without data, cuts after"}
            told = counts.get(box.kind, "without a request, closes after")
            winner = BOX_WINS if box.kind == "layer4" else DATA_TIMER if box.kind == "layer7" else SERVER
            yield Lane(box.name, BOX, ((box.idle_s, told),)), winner, box.name
        if box.age_s:
            yield Lane(f"{box.name}: age", BOX, ((box.age_s, "ends any connection of"),)), BOX_WINS, box.name
    yield _keepalive(client, force.client(i), "client", advice)
    yield _keepalive(server, force.server(i), "server", advice)
    user = force.user_timeout(i)
    sent = played.nobody_acknowledges(user, force.linux(RETRIES2), env.linux).after_s
    why = "user timeout" if user else "retransmission"
    lane = Lane(f"{title(client)} with data in flight", TIMER, ((sent, f"{why} gives up after"),))
    yield lane, USER if user else RESEND, "client"
    if answer := force.answer(i):
        yield _named(client, ANSWER[client], answer, "stops waiting after"), READ, "client"
    yield from _server_timers(force, server)
    if i == 0:
        yield from _pool(force, limits)


def _keepalive(product: str, end: Keepalive | None, side: str, advice: Advice) -> _Timer:
    env = advice.environment
    name = f"{title(product)}'s keepalive ({side})"
    if end is None:
        return Lane(name, PROBES, ((inf, "off: never asks"),)), KEEPALIVE, side
    asks = [(end.probe_after(0), "asks after")]
    if env.lost_probes:
        asks.append((end.probe_after(env.lost_probes), f"with {env.lost_probes} lost"))
    gives_up = played.nobody_answers_probes(end, env.linux).after_s
    # Where the user timeout ends it before, there is no such retry.
    moments = [each for each in asks if each[0] < gives_up]
    return Lane(name, PROBES, (*moments, (gives_up, "gives up"))), KEEPALIVE, side


def _server_timers(force: InForce, server: str) -> Iterator[_Timer]:
    """What the server of a leg ends by itself."""
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


def _pool(force: InForce, limits: Limits) -> Iterator[_Timer]:
    """What the application's own timers are."""
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
