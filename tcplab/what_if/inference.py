"""Which settings a connection ran under, as far as its segments show; and how sure that is.

Timers fire late, never early, and Linux counts the long ones coarsely (kernel/time/timer.c: an eighth of
what is left at most), so that a setting is the roundest number that fits what was seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import floor

from tcplab.core.knobs import ParameterError
from tcplab.core.segment import FIN, RST
from tcplab.core.text import MILLISECOND, SECOND, duration
from tcplab.core.trace import Packet
from tcplab.follow import KEEPALIVE, RETRANSMISSION
from tcplab.model.sender import retries_as_time
from tcplab.what_if.script import Way
from tcplab.what_if.workload import OTHER, SILENCE, Death, Workload

#: How sure: seen itself; worked out from what was seen; taken because nothing contradicts it.
SEEN, LIKELY, ASSUMED = "seen", "likely", "assumed"
#: A real time may lie this much before a setting, and after it: seconds, and a share.
EARLY_S, LATE_S, LATE_SHARE = 0.03, 0.3, 0.08
#: The roundest numbers first, seconds.
ROUND = (3600, 1800, 600, 300, 60, 30, 10, 5, 1)
DEFAULT_RETRIES2, DEFAULT_INTERVAL_S, DEFAULT_PROBES = 15, 75, 9


@dataclass(frozen=True, slots=True)
class Inference:
    """One setting as read from the segments."""

    #: The parameter of `what_if` that it stands for, or what it is about.
    name: str
    value: float | int | None
    #: `seen`, `likely` or `assumed`.
    certainty: str
    #: One sentence: what shows it.
    says: str


@dataclass(frozen=True)
class Settings:
    """What one side's socket and the way were set to, as the segments let it seem."""

    #: Whose: `client` or `server`.
    side: str
    keepalive_idle_s: float
    keepalive_interval_s: float
    keepalive_probes: int
    user_timeout_s: float
    retries2: int
    inferences: tuple[Inference, ...]


def settings_of(work: Workload, side: str) -> Settings:
    """The settings that one side's segments show; Linux's defaults where they show nothing."""
    found = {each.name: each for each in (*_keepalive(work, side), *_giving_up(work, side))}
    value = {name: each.value or 0 for name, each in found.items()}
    return Settings(
        side,
        float(value["keepalive_idle_s"]),
        float(value.get("keepalive_interval_s", DEFAULT_INTERVAL_S)),
        int(value.get("keepalive_probes", DEFAULT_PROBES)),
        float(value["user_timeout_s"]),
        int(value["retries2"]),
        tuple(found.values()),
    )


def rounded(nanoseconds: int) -> float:
    """The roundest number of seconds that a timer of this length may have been set to."""
    seen = nanoseconds / SECOND
    low, high = (seen - LATE_S) / (1 + LATE_SHARE), seen + EARLY_S
    for step in ROUND:
        if (most := floor(high / step) * step) >= low and most > 0:
            return float(most)
    return max(round(seen, 3), 0.001)


# -- keepalive -----------------------------------------------------------------------------------


def _keepalive(work: Workload, side: str) -> Iterator[Inference]:
    mine = [(i, p) for i, p in enumerate(work.packets) if p.sender == side and p.kind == KEEPALIVE]
    if not mine:
        quiet = _quietest(work, side)
        yield Inference(
            "keepalive_idle_s", 0, ASSUMED,
            f"No keepalive probe of the {side} is seen: keepalive is off, or its idle time is longer "
            f"than {duration(quiet)}, the longest that the {side} heard nothing and had nothing in flight.",
        )  # fmt: skip
        return
    idle = mine[0][1].t - _heard_before(work, side, mine[0][0])
    alone = _series(work, side)
    gaps = [later.t - one.t for series in alone for one, later in pairwise(series)]
    spaced = [later.t - one.t for (i, one), (j, later) in pairwise(mine) if _only_answers(work, i, j)]
    said = f"The {side}'s first probe came {duration(idle)} after it last heard from the {OTHER[side]}."
    yield Inference("keepalive_idle_s", rounded(idle), SEEN, said)
    # After an answer Linux looks again after the interval, and waits on where that was shorter than idle.
    longer = [gap for gap in spaced if rounded(gap) > rounded(idle)]
    death = work.death
    asked = death is not None and death.side == side and not (death.data or death.reset)
    if alone and asked and death is not None and death.ended is not None:
        gaps.append(death.ended - alone[-1][-1].t)  # it looked once more, and gave up
    if gaps or longer:
        between = min(gaps or longer)
        yield Inference(
            "keepalive_interval_s", rounded(between), SEEN, f"The next one came {duration(between)} later."
        )
    elif spaced:
        most = rounded(min(spaced))
        yield Inference(
            "keepalive_interval_s", max(min(most, DEFAULT_INTERVAL_S), 1), LIKELY,
            f"Answered probes came every {duration(min(spaced))}: the interval is no longer than that.",
        )  # fmt: skip
    else:
        what = "No two probes in a row went unanswered"
        yield Inference(
            "keepalive_interval_s", DEFAULT_INTERVAL_S, ASSUMED,
            f"{what}, so that the interval doesn't show: Linux's {DEFAULT_INTERVAL_S} s is taken.",
        )  # fmt: skip
    yield _probes(work, side, alone)


def _probes(work: Workload, side: str, alone: list[list[Packet]]) -> Inference:
    count = max((len(series) for series in alone), default=0)
    death = work.death
    gave_up = death is not None and death.side == side and not death.data and not death.reset
    if gave_up and death is not None and death.ended is not None:
        said = f"After {count} without an answer the {side} gave up."
        return Inference("keepalive_probes", count, SEEN, said)
    if count > DEFAULT_PROBES:
        said = f"{count} went unanswered, and the {side} had not given up."
        return Inference("keepalive_probes", count + 1, LIKELY, said)
    said = f"The {side} is not seen to give up, so that the number of probes doesn't show: Linux's "
    return Inference("keepalive_probes", DEFAULT_PROBES, ASSUMED, f"{said}{DEFAULT_PROBES} is taken.")


def _series(work: Workload, side: str) -> list[list[Packet]]:
    """Probes in a row that nobody answered."""
    found: list[list[Packet]] = [[]]
    for p in work.packets:
        if p.sender == side and p.kind == KEEPALIVE:
            found[-1].append(p)
        elif p.sender != side and p.arrives is not None and found[-1]:
            found[-1].pop()  # this one was answered
            found.append([])
    return [series for series in found if series]


def _only_answers(work: Workload, i: int, j: int) -> bool:
    """Between these two packets nothing but probes and their answers."""
    return not any(p.segment.length or p.segment.flags & (RST | FIN) for p in work.packets[i + 1 : j])


def _heard_before(work: Workload, side: str, place: int) -> int:
    """When the side last heard from its peer."""
    passed = (
        p for p in reversed(work.packets[:place])
        if p.sender != side and p.arrives is not None and p.kind != KEEPALIVE  # Linux counts no probe
    )  # fmt: skip
    heard = next(passed, None)
    return heard.arrives if heard is not None and heard.arrives is not None else work.began


def _quietest(work: Workload, side: str) -> int:
    """The longest time in which a side with nothing in flight heard nothing: keepalive would have asked."""
    heard, busy, longest = work.began, False, 0
    death = work.death
    for p in work.packets:
        if p.sender == side:
            if not busy and (p.segment.length or p.segment.flags & RST):
                longest = max(longest, p.t - heard)
            busy = busy or bool(p.segment.length)
        elif p.arrives is not None and p.kind != KEEPALIVE:
            longest = max(longest, p.arrives - heard if not busy else 0)
            heard, busy = p.arrives, False
    return longest if busy or (death is not None and death.data) else max(longest, work.end - heard)


# -- when data is given up -----------------------------------------------------------------------


def _giving_up(work: Workload, side: str) -> Iterator[Inference]:
    death = work.death
    if death is None or death.side != side or not death.data or death.reset or death.ended is None:
        why = "Nothing shows when the {} gives up on data"
        if death is not None and death.side == side and death.data:
            why = "Where the capture ends the {} had not given up, as far as it shows"
        said = f"{why.format(side)}: Linux's tcp_retries2 = {DEFAULT_RETRIES2} is taken."
        yield Inference("retries2", DEFAULT_RETRIES2, ASSUMED, said)
        yield Inference("user_timeout_s", 0, ASSUMED, "No sign of a TCP_USER_TIMEOUT: off is taken.")
        return
    again = [
        p.t for p in work.packets
        if p.sender == side and p.t >= death.asked and p.kind == RETRANSMISSION and p.t <= death.ended
    ]  # fmt: skip
    yield from _by_time(side, death, again)


def _by_time(side: str, death: Death, again: list[int]) -> Iterator[Inference]:
    """From when it gave up: at the end of a doubled wait by tcp_retries2, in the middle of one otherwise."""
    assert death.ended is not None
    after = duration(death.ended - death.asked)
    at = f"The {side} gave up {after} after it had first sent what stays unanswered"
    # The first may be a tail loss probe, which doesn't start the clock (tp->retrans_stamp).
    since = again[1] if len(again) > 2 and _is_tail_probe(again) else again[0] if again else death.asked
    next_due = again[-1] + min(2 * (again[-1] - again[-2]), 121 * SECOND) if len(again) > 1 else None
    if next_due is not None and death.ended < next_due * 0.92 + again[-1] * 0.08 - LATE_S * SECOND:
        limit = rounded(death.ended - since)
        yield Inference("retries2", DEFAULT_RETRIES2, ASSUMED, "The user timeout decides, not tcp_retries2.")
        yield Inference(
            "user_timeout_s", limit, LIKELY,
            f"{at}, before the next attempt was due: a TCP_USER_TIMEOUT of about {limit:g} s.",
        )  # fmt: skip
        return
    allowed = death.ended - since
    retries = max((n for n in range(1, 31) if retries_as_time(n) <= allowed), default=1)
    yield Inference(
        "retries2", retries, LIKELY,
        f"{at}, when the next attempt was due: as with tcp_retries2 = {retries}.",
    )  # fmt: skip
    yield Inference("user_timeout_s", 0, LIKELY, "So no TCP_USER_TIMEOUT decided.")


def _is_tail_probe(again: list[int]) -> bool:
    """The first gap is no shorter than half the second's: the timer had not begun to double."""
    return again[1] - again[0] < 1.5 * (again[2] - again[1]) and again[2] - again[1] < 3 * (
        again[1] - again[0]
    )


# -- the box in between --------------------------------------------------------------------------


def box_idle(work: Workload) -> tuple[float, float] | None:
    """What a box's idle timer must lie between if it was the one that forgot, seconds; None: no box.

    From the longest silence that the connection survived to the shortest that killed it.
    """
    death = work.death
    if death is None or (death.silence < SILENCE and not death.reset):
        return None
    return work.quiet / SECOND, death.silence / SECOND


# ----------------------------------------------------------------------
# What broke a connection, as far as its segments tell: a box that forgot, or a peer that was gone.

#: A box forgets this much before the silence that killed, seconds: late timers are on the safe side.
BEFORE_S = 0.02


@dataclass(frozen=True)
class Plan:
    """What becomes of the way: in the run that repeats the capture, in the changed one, and otherwise."""

    was: Way
    then: Way
    #: What explains the capture as well, with the change; None when nothing does.
    otherwise: Way | None = None
    #: Between which idle times of a box the capture leaves the choice, seconds; None: none, or it was given.
    between: tuple[float, float] | None = None
    #: What is supposed, in one sentence; empty when nothing broke.
    supposes: str = ""


def plan_of(
    work: Workload, cause: str, firewall_idle_s: float | None, expired: str | None, asks_after_s: float
) -> Plan:
    """What the capture can be explained by, and what becomes of that with another box."""
    death, between = work.death, box_idle(work)
    given = firewall_idle_s or 0
    if death is None:
        if cause:
            raise ParameterError(f"cause = {cause!r}: nothing in this connection went unanswered.")
        if expired is not None and not given:
            raise ParameterError(f"expired = {expired!r} is about a box: give firewall_idle_s, too.")
        return Plan(Way(), Way(given, expired or "drop"))
    if cause == "box" and between is None:
        raise ParameterError(
            f"cause = 'box': only {duration(death.silence)} of silence came before what stayed unanswered, "
            "too little for a box to forget; use peer."
        )
    peer = Way(given, expired or "drop", "reboot" if death.reset else "unplug")
    if between is None or cause == "peer" or not (cause or given or death.data):
        supposed = _the_peer(death)
        other = None if between is None or given else _box(death, between, expired, asks_after_s)
        return Plan(replace(peer, firewall_idle_s=0), peer, other, between if other else None, supposed)
    box = _box(death, between, expired, asks_after_s)
    if firewall_idle_s is None:
        return Plan(box, box, replace(peer, firewall_idle_s=0), between, _the_box(death, between))
    if 0 < given <= between[1]:  # it was that box
        box = replace(box, firewall_idle_s=given)
    then = replace(box, firewall_idle_s=given)
    # Who asks about a box's timer takes a box for the cause; probes that went unanswered don't prove one.
    other = None if cause or death.data else peer
    return Plan(box, then, other, None, _the_box(death, between))


def _box(death: Death, between: tuple[float, float], expired: str | None, asks_after_s: float) -> Way:
    """The most patient box that explains it: it forgets before what was seen or set to ask asks."""
    as_seen = "drop" if not death.reset else "reject" if death.attempts else "reset_both"
    longest = min(between[1], asks_after_s or between[1])
    if not death.reset or death.attempts:
        longest -= BEFORE_S + longest / 100
    return Way(max(longest, between[0] + BEFORE_S), expired or as_seen)


def _the_peer(death: Death) -> str:
    how = "had lost the connection, as after a reboot" if death.reset else "was gone, or the way to it"
    return f"The {OTHER[death.side]} {how}, right after it was last heard."


def _the_box(death: Death, between: tuple[float, float]) -> str:
    low, high = (duration(round(each * SECOND)) for each in between)
    return (
        f"A box on the way forgot the connection. Its idle timer lies between {low}, the longest silence "
        f"that was survived, and {high}, the one that was not."
    )


def of_the_way(work: Workload, plan: Plan) -> tuple[Inference, ...]:
    """What is supposed of the network, and how far away the two are."""
    found = []
    if plan.supposes:
        found.append(Inference("cause", None, LIKELY, plan.supposes))
    if work.round_trip:
        said = f"A round trip takes {duration(work.round_trip)}: the fastest answers show it."
        found.append(Inference("latency_ms", work.round_trip / 2 / MILLISECOND, SEEN, said))
    else:
        found.append(Inference("latency_ms", 1, ASSUMED, "No answer shows the round trip: 2 ms is taken."))
    if work.midstream:
        said = "The beginning was not captured: the model opens the connection just before its first segment."
        found.append(Inference("midstream", None, SEEN, said))
    return tuple(found)
