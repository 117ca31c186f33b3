"""The race of the timers of an environment: every timer, leg by leg, and which of them decide what breaks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import inf

from tcplab.advice import Advice, Check, products, runs
from tcplab.advice.checks import Inequalities
from tcplab.advice.messages import DATA_TIMER
from tcplab.advice.products import InForce, KeepaliveDefaults, title
from tcplab.advice.timers import BOX, KEEPALIVE, READ, RESEND, SERVER, USER

#: Kinds of a lane.
SILENCE, PROBES, TIMER, MIDDLEBOX = "silence", "probes", "timer", "middlebox"


@dataclass(frozen=True)
class RaceLane:
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
    lanes: tuple[RaceLane, ...]


#: What the timer of a middlebox does, and its name as a winner, by what restarts it.
_MIDDLEBOXES = {
    "layer4": ("forgets after", BOX), "layer7": ("without data, cuts after", DATA_TIMER),
    "requests": ("without a request, closes after", SERVER),
}  # fmt: skip
#: A lane, the timer as a check names its winner, and the side, middlebox or setting of it.
_Timer = tuple[RaceLane, str, str]


def race(advice: Advice) -> tuple[LegLanes, ...]:
    """The lanes of all legs; a timer that decides what breaks names it."""
    return tuple(
        LegLanes(leg.name, tuple(_decided(_timers(advice, i), advice.broken, leg.name, i == 0)))
        for i, leg in enumerate(advice.environment.legs)
    )


def _decided(timers: Iterable[_Timer], broken: Iterable[Check], leg: str, first: bool) -> Iterator[RaceLane]:
    here = [check for check in broken if check.leg == leg or (first and not check.leg)]
    for lane, timer, side in timers:
        names = [each.name for each in here if each.winner == timer and _is_about(each, timer, side)]
        yield replace(lane, decides="; ".join(dict.fromkeys(names))) if names else lane


def _is_about(check: Check, timer: str, side: str) -> bool:
    """Whether a check's winner is the timer of this side, middlebox or setting."""
    if timer in (BOX, DATA_TIMER, SERVER):
        return not side or side in check.about
    asked = check.about[1] if len(check.about) > 1 and check.about[1] in ("client", "server") else "client"
    return timer != KEEPALIVE or asked == side


def _timers(advice: Advice, i: int) -> Iterator[_Timer]:
    env = advice.environment
    force, inequalities = InForce(env), Inequalities(env)
    client, server, leg = env.client_of(i), env.server_of(i), env.legs[i]
    yield _lane("longest silent query", env.longest_silent_query_s, "silent for", SILENCE), "", ""
    rests, what = force.rests(i)
    who = what.partition(" = ")[0].rstrip(":")
    yield _lane("longest rest of a session", rests, f"{who},", SILENCE), "", ""
    for box in leg.middleboxes:
        if box.idle_s:
            does, winner = _MIDDLEBOXES[box.kind]
            yield _lane(box.name, box.idle_s, does, MIDDLEBOX), winner, box.name
        if box.age_s:
            yield _lane(f"{box.name}: age", box.age_s, "ends any connection of", MIDDLEBOX), BOX, box.name
    yield _keepalive(client, force.client(i), "client", advice)
    yield _keepalive(server, force.server(i), "server", advice)
    user = force.user_timeout(i)
    sent = runs.data_unacknowledged(user, force.linux(products.RETRIES2), env.linux).after_s
    why, winner = ("user timeout", USER) if user else ("retransmission", RESEND)
    yield _lane(f"{title(client)} with data in flight", sent, f"{why} gives up after"), winner, "client"
    for answer, who, _ in force.timer(client, products.ANSWER.get(client, "")):
        yield _lane(who, answer, "stops waiting after"), READ, "client"
    yield from _server_timers(force, server)
    if i == 0:
        yield from _pool(force, inequalities)


def _keepalive(product: str, end: KeepaliveDefaults | None, side: str, advice: Advice) -> _Timer:
    env = advice.environment
    name = f"{title(product)}'s keepalive ({side})"
    if end is None:
        return RaceLane(name, PROBES, ((inf, "off: never asks"),)), KEEPALIVE, side
    asks = [(end.probe_after(0), "asks after")]
    if env.lost_probes:
        asks.append((end.probe_after(env.lost_probes), f"with {env.lost_probes} lost"))
    gives_up = runs.probes_unanswered(end, env.linux).after_s
    # Where the user timeout ends it before, there is no such retry.
    instants = [each for each in asks if each[0] < gives_up]
    return RaceLane(name, PROBES, (*instants, (gives_up, "gives up"))), KEEPALIVE, side


def _server_timers(force: InForce, server: str) -> Iterator[_Timer]:
    """The timers with which the server of a leg ends connections by itself."""
    if server != "haproxy":
        for seconds, who, key in force.idle_closes(server):
            yield _lane(who, seconds, "closes what rests for"), SERVER, key
    does = "without data, cuts after" if server == "haproxy" else "kills a query after"
    for seconds, who, key in force.data_timers(server):
        yield _lane(who, seconds, does), DATA_TIMER, key


def _pool(force: InForce, inequalities: Inequalities) -> Iterator[_Timer]:
    """The application's timers."""
    pool = force.environment.pool
    connect, timer = inequalities.connect()
    yield _lane(f"{title(force.environment.driver)} in connect()", connect, "gives up after"), timer, ""
    if ping := force.ping():
        yield _lane(f"{title(pool)}'s {products.PING[pool]}", ping, "sends something every"), "", ""
    for age, who, _ in force.timer(pool, products.AGE.get(pool, "")):
        yield _lane(who, age, "replaces connections of"), "", ""
    acquire, who = inequalities.acquire()
    if who:
        yield _lane(who, acquire or inf, "a borrower waits"), who, ""


def _lane(name: str, seconds: float, does: str, kind: str = TIMER) -> RaceLane:
    return RaceLane(name, kind, ((seconds, does),))
