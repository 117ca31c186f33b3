"""Which settings a connection ran under and what broke it, as far as its packets show; and how sure that is.

Timers fire late, never early, and Linux counts the long ones coarsely (kernel/time/timer.c: an eighth of
what is left at most), so a setting is the roundest number that fits what was seen. What broke a connection
is the simplest fault that explains it: a middlebox that forgot it, or a peer that was gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import floor

from tcplab.core.knobs import ParameterError
from tcplab.core.segment import FIN, RST
from tcplab.core.text import MILLISECOND, SECOND, duration, in_words
from tcplab.core.trace import Packet
from tcplab.follow import KEEPALIVE, OTHER, RETRANSMISSION, SILENCE, Unanswered
from tcplab.model.roundtrip import retries_as_time
from tcplab.what_if.script import PathFault, SocketSettings
from tcplab.what_if.workload import Workload

#: How sure: seen directly; worked out from what was seen; the default, which nothing contradicts.
SEEN, LIKELY, ASSUMED = "seen", "likely", "assumed"
#: A real time may lie this much before a setting, and after it: seconds, and a share.
EARLY_S, LATE_S, LATE_SHARE = 0.03, 0.3, 0.08
#: The roundest numbers first, seconds.
ROUND = (3600, 1800, 600, 300, 60, 30, 10, 5, 1)
DEFAULT_RETRIES2, DEFAULT_INTERVAL_S, DEFAULT_PROBES = 15, 75, 9


@dataclass(frozen=True, slots=True)
class Inference:
    """One setting as read from the segments."""

    #: The parameter of `what_if` that it gives, or its subject.
    name: str
    value: float | int | None
    #: `seen`, `likely` or `assumed`.
    certainty: str
    #: One sentence: what shows it.
    says: str


def settings_of(work: Workload, side: str) -> tuple[SocketSettings, tuple[Inference, ...]]:
    """The settings that one side's packets show, within what Linux takes; else its defaults."""
    inferences = (*_keepalive(work, side), *_giving_up(work, side))
    seen = {each.name: each.value or 0 for each in inferences}
    knobs = SocketSettings.knobs()
    values = {name: min(max(value, knobs[name].low), knobs[name].high) for name, value in seen.items()}
    return SocketSettings.from_values(values), inferences


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
            f"than {duration(quiet)}, the longest idle period of the {side}.",
        )  # fmt: skip
        return
    heard = work.followed.heard_before(mine[0][0])
    idle = mine[0][1].t - (work.began if heard is None else work.packets[heard].arrives or 0)
    alone = _series(work, side)
    gaps = [later.t - one.t for series in alone for one, later in pairwise(series)]
    spaced = [later.t - one.t for (i, one), (j, later) in pairwise(mine) if _only_answers(work, i, j)]
    said = f"The {side}'s first probe came {duration(idle)} after the {OTHER[side]}'s last packet."
    yield Inference("keepalive_idle_s", rounded(idle), SEEN, said)
    # After an answer Linux checks at the next interval, and waits on where that was shorter than idle.
    longer = [gap for gap in spaced if rounded(gap) > rounded(idle)]
    last = work.unanswered
    gave_up = last.ended if last and last.side == side and not (last.data or last.reset) else None
    if alone and gave_up is not None:
        gaps.append(gave_up - alone[-1][-1].t)  # it checked once more, and gave up
    if gaps or longer:
        between = min(gaps or longer)
        interval, certainty, said = rounded(between), SEEN, f"The next one came {duration(between)} later."
    elif spaced:
        interval, certainty = max(min(rounded(min(spaced)), DEFAULT_INTERVAL_S), 1), LIKELY
        said = f"Answered probes came every {duration(min(spaced))}: the interval is no longer than that."
    else:
        interval, certainty = DEFAULT_INTERVAL_S, ASSUMED
        said = (
            "No two probes in a row went unanswered, so that the interval doesn't show: Linux's "
            f"{DEFAULT_INTERVAL_S} s is taken."
        )
    yield Inference("keepalive_interval_s", interval, certainty, said)
    count = max((len(series) for series in alone), default=0)
    if gave_up is not None:
        said = f"After {count} without an answer the {side} gave up."
        yield Inference("keepalive_probes", count, SEEN, said)
    elif count > DEFAULT_PROBES:
        said = f"{count} went unanswered, and the {side} had not given up."
        yield Inference("keepalive_probes", count + 1, LIKELY, said)
    else:
        said = f"The {side} is not seen to give up, so that the number of probes doesn't show: Linux's "
        yield Inference("keepalive_probes", DEFAULT_PROBES, ASSUMED, f"{said}{DEFAULT_PROBES} is taken.")


def _series(work: Workload, side: str) -> list[list[Packet]]:
    """Probes in a row without an answer."""
    all_series: list[list[Packet]] = [[]]
    for p in work.packets:
        if p.sender == side and p.kind == KEEPALIVE:
            all_series[-1].append(p)
        elif p.sender != side and p.arrives is not None and all_series[-1]:
            all_series[-1].pop()  # this one was answered
            all_series.append([])
    return [series for series in all_series if series]


def _only_answers(work: Workload, i: int, j: int) -> bool:
    """Between these two packets nothing but probes and their answers."""
    return not any(p.segment.length or p.segment.flags & (RST | FIN) for p in work.packets[i + 1 : j])


def _quietest(work: Workload, side: str) -> int:
    """The longest time in which a side with nothing in flight received nothing."""
    heard, busy, longest = work.began, False, 0
    for p in work.packets:
        if p.sender == side:
            if not busy and (p.segment.length or p.segment.flags & RST):
                longest = max(longest, p.t - heard)
            busy = busy or bool(p.segment.length)
        elif p.arrives is not None and p.kind != KEEPALIVE:
            longest = max(longest, p.arrives - heard if not busy else 0)
            heard, busy = p.arrives, False
    busy = busy or (work.unanswered is not None and work.unanswered.data)
    return longest if busy else max(longest, work.end - heard)


# -- when data is given up -----------------------------------------------------------------------


def _giving_up(work: Workload, side: str) -> Iterator[Inference]:
    last = work.unanswered
    if last is None or last.side != side or not last.data or last.reset or last.ended is None:
        why = "Nothing shows when the {} gives up on data"
        if last is not None and last.side == side and last.data:
            why = "Where the capture ends the {} had not given up, as far as it shows"
        said = f"{why.format(side)}: Linux's tcp_retries2 = {DEFAULT_RETRIES2} is taken."
        yield Inference("retries2", DEFAULT_RETRIES2, ASSUMED, said)
        yield Inference("user_timeout_s", 0, ASSUMED, "No sign of a TCP_USER_TIMEOUT: off is taken.")
        return
    repeats = [
        p.t for p in work.packets
        if p.sender == side and last.asked <= p.t <= last.ended and p.kind == RETRANSMISSION
    ]  # fmt: skip
    # It gave up at the end of a doubled wait by tcp_retries2, else in the middle of one.
    after = duration(last.ended - last.asked)
    at = f"The {side} gave up {after} after it had first sent what stays unanswered"
    # The first may be a tail loss probe, which doesn't start the clock (tp->retrans_stamp).
    since = (
        repeats[1] if len(repeats) > 2 and _is_tail_probe(repeats) else repeats[0] if repeats else last.asked
    )
    next_due = repeats[-1] + min(2 * (repeats[-1] - repeats[-2]), 121 * SECOND) if len(repeats) > 1 else None
    if next_due is not None and last.ended < next_due * 0.92 + repeats[-1] * 0.08 - LATE_S * SECOND:
        limit = rounded(last.ended - since)
        yield Inference("retries2", DEFAULT_RETRIES2, ASSUMED, "The user timeout decides, not tcp_retries2.")
        yield Inference(
            "user_timeout_s", limit, LIKELY,
            f"{at}, before the next attempt was due: a TCP_USER_TIMEOUT of about {limit:g} s.",
        )  # fmt: skip
        return
    retries = max((n for n in range(1, 31) if retries_as_time(n) <= last.ended - since), default=1)
    said = f"{at}, when the next attempt was due: as with tcp_retries2 = {retries}."
    yield Inference("retries2", retries, LIKELY, said)
    yield Inference("user_timeout_s", 0, LIKELY, "So no TCP_USER_TIMEOUT decided.")


def _is_tail_probe(repeats: list[int]) -> bool:
    """True when the first two gaps are alike: the timer had not begun to double."""
    first, second = repeats[1] - repeats[0], repeats[2] - repeats[1]
    return first < 1.5 * second and second < 3 * first


# -- what broke it -------------------------------------------------------------------------------

#: A middlebox forgets this much before the silence that was too long, seconds: timers fire late.
BEFORE_S = 0.02


@dataclass(frozen=True)
class ReplayPlan:
    """What happens on the path: in the run that repeats the capture, in the changed one, and otherwise."""

    captured: PathFault
    changed: PathFault
    #: What explains the capture as well, with the change; None when nothing does.
    otherwise: PathFault | None = None
    #: The limits of a middlebox's idle timer that the capture leaves, seconds; None: none, or it was given.
    between: tuple[float, float] | None = None
    #: The assumption, in one sentence; empty when nothing broke.
    assumes: str = ""


def plan_of(
    work: Workload, cause: str, firewall_idle_s: float | None, expired: str | None, asks_after_s: float
) -> ReplayPlan:
    """What explains the capture, and what becomes of that with another middlebox."""
    last, given = work.unanswered, firewall_idle_s or 0
    if last is None:
        if cause:
            raise ParameterError(f"cause = {cause!r}: nothing in this connection went unanswered.")
        if expired is not None and not given:
            raise ParameterError(f"expired = {expired!r} is about a box: give firewall_idle_s, too.")
        return ReplayPlan(PathFault(), PathFault(given, expired or "drop"))
    # From the longest silence that the connection survived to the shortest that it did not.
    if last.one_way:
        if cause:
            raise ParameterError(
                f"cause = {cause!r}: the {OTHER[last.side]} kept sending, so only the path from the "
                f"{last.side} to it was broken, and no other cause fits."
            )
        broken = PathFault(breaks="one_way")
        changed = replace(broken, firewall_idle_s=given, expired=expired or "drop")
        assumes = (
            f"From then on every packet from the {last.side} was lost, and the {OTHER[last.side]}'s packets "
            "still arrived."
        )
        return ReplayPlan(broken, changed, assumes=assumes)
    is_long = last.silence >= SILENCE or last.reset
    between = (work.quiet / SECOND, last.silence / SECOND) if is_long else None
    if cause == "box" and between is None:
        raise ParameterError(
            f"cause = 'box': only {duration(last.silence)} of silence came before what stayed unanswered, "
            "too short for an idle timer; use peer."
        )
    peer = PathFault(given, expired or "drop", "reboot" if last.reset else "unplug")
    if between is None or cause == "peer" or not (cause or given or last.data):
        other = None if between is None or given else _middlebox(last, between, expired, asks_after_s)
        alone = replace(peer, firewall_idle_s=0)
        how = "had lost the connection, as after a reboot" if last.reset else "was gone, or the way to it"
        assumes = f"The {OTHER[last.side]} {how}, right after its last packet."
        return ReplayPlan(alone, peer, other, between if other else None, assumes)
    box, (low, high) = _middlebox(last, between, expired, asks_after_s), map(in_words, between)
    assumes = (
        f"A firewall on the path removed the connection. Its idle timer is between {low}, the longest "
        f"silence that was survived, and {high}, the one that was not."
    )
    if firewall_idle_s is None:
        return ReplayPlan(box, box, replace(peer, firewall_idle_s=0), between, assumes)
    if 0 < given <= between[1]:  # it was that one
        box = replace(box, firewall_idle_s=given)
    # A question about a middlebox's timer takes one for the cause; unanswered probes don't prove one.
    other = None if cause or last.data else peer
    return ReplayPlan(box, replace(box, firewall_idle_s=given), other, None, assumes)


def _middlebox(
    last: Unanswered, between: tuple[float, float], expired: str | None, asks_after_s: float
) -> PathFault:
    """The longest idle timer that explains it: it expires before the segment that came too late."""
    as_seen = "drop" if not last.reset else "reject" if last.attempts else "reset_both"
    longest = min(between[1], asks_after_s or between[1])
    if not last.reset or last.attempts:
        longest -= BEFORE_S + longest / 100
    return PathFault(max(longest, between[0] + BEFORE_S), expired or as_seen)


def of_the_network(work: Workload, plan: ReplayPlan) -> tuple[Inference, ...]:
    """What is assumed of the network, and how far apart the two are."""
    inferences = []
    if plan.assumes:
        inferences.append(Inference("cause", None, LIKELY, plan.assumes))
    if work.round_trip:
        said = f"A round trip takes {duration(work.round_trip)}: the fastest answers show it."
        inferences.append(Inference("latency_ms", work.round_trip / 2 / MILLISECOND, SEEN, said))
    else:
        said = "No answer shows the round trip: 2 ms is taken."
        inferences.append(Inference("latency_ms", 1, ASSUMED, said))
    if work.midstream:
        said = "The beginning was not captured: the model opens the connection just before its first segment."
        inferences.append(Inference("midstream", None, SEEN, said))
    return tuple(inferences)
