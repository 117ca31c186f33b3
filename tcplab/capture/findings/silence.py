"""Findings about waiting: keepalive, data sent again, data that nothing answers, a closed window.

Sources: net/ipv4/tcp_timer.c:tcp_keepalive_timer and tcp_retransmit_timer, RFC 9293 section 3.8.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tcplab.capture.findings.story import ConnectionStory, Finding
from tcplab.core.segment import RST, seq_diff
from tcplab.core.text import duration, seconds, times
from tcplab.follow import KEEPALIVE, OTHER, PATIENCE, RETRANSMISSION, SILENCE


def _idle(story: ConnectionStory, probe: int) -> int:
    """Nanoseconds since the prober last heard of its peer: that is what Linux's timer counts."""
    return story.packets[probe].t - story.packets[story.heard_before(probe) or 0].t


def keepalive(story: ConnectionStory) -> Iterator[Finding]:
    """Probes that were answered."""
    for side in OTHER:
        probes = [i for i in story.places(side) if story.packets[i].kind == KEEPALIVE]
        pairs = [(i, answer) for i in probes if (answer := story.answered(i)) is not None]
        if not pairs:
            continue
        idle = _idle(story, pairs[0][0])
        yield story.finding(
            "keepalive", [place for pair in pairs for place in pair],
            f"The {side}'s keepalive asked after {duration(idle)} of silence and was answered, "
            f"{times(len(pairs))}: at least the next machine with a TCP of its own was alive.",
            side=side, idle_s=seconds(idle), count=len(pairs),
        )  # fmt: skip


def keepalive_death(story: ConnectionStory) -> Iterator[Finding]:
    """Probes without an answer, then RST+ACK."""
    if not story.keepalive_death:
        return
    *probes, end = story.keepalive_death
    side = story.packets[end].sender
    idle = _idle(story, probes[0])
    interval = (story.packets[end].t - story.packets[probes[0]].t) // len(probes)
    yield story.finding(
        "keepalive_death", story.keepalive_death,
        f"The {side}'s keepalive asked {times(len(probes))} after {duration(idle)} of silence, got no "
        "answer, and gave the connection up "
        f"{duration(story.packets[end].t - story.packets[probes[0]].t + idle)} after it last heard from the "
        f"{OTHER[side]}: ETIMEDOUT for the program. That RST rarely reaches anybody.",
        side=side, idle_s=seconds(idle), interval_s=seconds(interval), probes=len(probes),
    )  # fmt: skip


def retransmission(story: ConnectionStory) -> Iterator[Finding]:
    """Data sent again and finally acknowledged."""
    for side in OTHER:
        acked = story.acked[side]
        repeated, gaps = [], []
        last: dict[int, int] = {}
        for i in story.places(side):
            p = story.packets[i]
            if not p.segment.length or p.segment.flags & RST:
                continue
            if p.kind == RETRANSMISSION and acked is not None and seq_diff(p.segment.end_seq, acked) <= 0:
                repeated.append(i)
                gaps.append(p.t - last.get(p.segment.seq, p.t))
            last[p.segment.seq] = p.t
        if not repeated:
            continue
        longest = max(gaps, default=0)
        yield story.finding(
            "retransmission", repeated,
            f"The {side} sent data again {times(len(repeated))}, and it was acknowledged in the end; the "
            f"longest wait before another attempt was {duration(longest)}.",
            side=side, count=len(repeated), longest_gap_s=seconds(longest),
        )  # fmt: skip


def _given_up(story: ConnectionStory, side: str) -> list[int]:
    """Transmissions of data that TCP repeated at growing gaps and that nothing answered."""
    places = story.unanswered_data(side)
    gaps = [story.packets[later].t - story.packets[one].t for one, later in pairwise(places)]
    half = len(gaps) // 2
    if len(places) < 3 or sum(gaps[-half:]) < 0.8 * sum(gaps[:half]):
        return []
    # A peer that answers by RST is no dead peer.
    is_reset = any(place > places[0] for place in story.places(OTHER[side], RST))
    return [] if is_reset else places


def dead_peer(story: ConnectionStory) -> Iterator[Finding]:
    """The same data three times or more, never acknowledged."""
    for side in OTHER:
        places = _given_up(story, side)
        if not places:
            continue
        waited = story.packets[places[-1]].t - story.packets[places[0]].t
        yield story.finding(
            "dead_peer", places,
            f"The {side} sent the same data {times(len(places))} within {duration(waited)}, and nobody "
            f"acknowledged it: the {OTHER[side]} or the way to it is dead, or the answers don't pass here.",
            side=side, attempts=len(places), waited_s=seconds(waited),
        )  # fmt: skip


def idle_then_dead(story: ConnectionStory) -> Iterator[Finding]:
    """Data that nothing answered, after a silence on a connection that had worked."""
    for side in OTHER:
        places = _given_up(story, side) or story.unanswered_data(side)
        if not places:
            continue
        first, since = places[0], story.packets[places[0]].t
        before = {
            i: p for i, p in enumerate(story.packets[:first]) if p.sender != side or p.kind != KEEPALIVE
        }
        worked = any(p.segment.length and story.acknowledged(i) in before for i, p in before.items())
        is_last = all(p.sender == side for p in story.packets[first:])
        if not is_last or not worked or story.end - since < PATIENCE:
            continue
        idle = since - before[max(before)].t
        if idle >= SILENCE:
            yield story.finding(
                "idle_then_dead", places,
                f"The connection had worked, was silent for {duration(idle)}, and what the {side} sent then "
                "was never answered: a firewall or NAT that forgot it is the usual cause; that the "
                f"{OTHER[side]} died meanwhile would look the same here.",
                side=side, idle_s=seconds(idle),
            )  # fmt: skip


def zero_window(story: ConnectionStory) -> Iterator[Finding]:
    """A receiver without room."""
    for side in OTHER:
        total, shut = story.stalled(side)
        if shut:
            yield story.finding(
                "zero_window", shut,
                f"The {side} had no room for more data, for {duration(total)} in all: its program reads too "
                f"slowly or not at all, and the {OTHER[side]} must wait.",
                side=side, stalled_s=seconds(total),
            )  # fmt: skip
