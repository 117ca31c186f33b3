"""Findings about waiting: keepalive, data sent again, data that nobody answers, a closed window.

Sources: net/ipv4/tcp_timer.c:tcp_keepalive_timer and tcp_retransmit_timer, RFC 9293 section 3.8.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tcplab.capture.findings.story import OTHER, Finding, Story, acks
from tcplab.core.segment import ACK, RST, SYN, seq_diff
from tcplab.core.text import SECOND, duration, seconds, times
from tcplab.follow import KEEPALIVE, RETRANSMISSION, WINDOW_PROBE, standstill

SIDES = ("client", "server")
#: Silence after which a box may have forgotten a connection; and how long an answer may take.
SILENCE = 3 * SECOND
PATIENCE = SECOND


def _heard_before(story: Story, place: int) -> int | None:
    """The last segment that the sender of this one had received; a probe of the peer counts for nothing."""
    sender = story.packets[place].sender
    for i in range(place - 1, -1, -1):
        if story.packets[i].sender != sender and story.packets[i].kind != KEEPALIVE:
            return i
    return None


def _idle(story: Story, probe: int) -> int:
    """Nanoseconds since the prober last heard of its peer: that is what Linux's timer counts."""
    heard = _heard_before(story, probe)
    since = story.packets[0 if heard is None else heard].t
    return story.packets[probe].t - since


def _answered(story: Story, place: int) -> int | None:
    """The peer's next segment before anything else of the prober, unless it is a RST."""
    sender = story.packets[place].sender
    for i in range(place + 1, len(story.packets)):
        p = story.packets[i]
        if p.sender != sender:
            return None if p.segment.flags & RST else i
        if p.kind == KEEPALIVE or p.segment.flags & RST:
            return None
    return None


def keepalive(story: Story) -> Iterator[Finding]:
    """Probes that were answered."""
    for side in SIDES:
        probes = [i for i in story.places(side) if story.packets[i].kind == KEEPALIVE]
        pairs = [(i, answer) for i in probes if (answer := _answered(story, i)) is not None]
        if not pairs:
            continue
        idle = _idle(story, pairs[0][0])
        yield story.finding(
            "keepalive", [place for pair in pairs for place in pair],
            f"The {side}'s keepalive asked after {duration(idle)} of silence and was answered, "
            f"{times(len(pairs))}: at least the next machine with a TCP of its own was alive.",
            side=side, idle_s=seconds(idle), count=len(pairs),
        )  # fmt: skip


def death(story: Story) -> list[int] | None:
    """Unanswered probes and the prober's RST+ACK, or None."""
    for side in SIDES:
        ends = [i for i in story.places(side, RST | ACK) if not story.packets[i].segment.flags & SYN]
        for end in ends:
            probes: list[int] = []
            for i in range(end - 1, -1, -1):
                p = story.packets[i]
                if p.sender == side and p.kind == KEEPALIVE:
                    probes.append(i)
                elif p.sender != side and (not probes or acks(p.segment)):
                    break
            if probes and _heard_before(story, end) == _heard_before(story, probes[0]):
                return [*reversed(probes), end]
    return None


def keepalive_death(story: Story) -> Iterator[Finding]:
    """Probes without an answer, then RST+ACK."""
    places = death(story)
    if places is None:
        return
    *probes, end = places
    side = story.packets[end].sender
    idle = _idle(story, probes[0])
    interval = (story.packets[end].t - story.packets[probes[0]].t) // len(probes)
    yield story.finding(
        "keepalive_death", places,
        f"The {side}'s keepalive asked {times(len(probes))} after {duration(idle)} of silence, "
        "got no answer, and "
        "gave the connection up "
        f"{duration(story.packets[end].t - story.packets[probes[0]].t + idle)} after it "
        f"last heard from the {OTHER[side]}: ETIMEDOUT for the program. That RST rarely reaches anybody.",
        side=side, idle_s=seconds(idle), interval_s=seconds(interval), probes=len(probes),
    )  # fmt: skip


def retransmission(story: Story) -> Iterator[Finding]:
    """Data sent again and finally acknowledged."""
    for side in SIDES:
        acked = _acked(story, side)
        again, gaps = [], []
        last: dict[int, int] = {}
        for i in story.places(side):
            p = story.packets[i]
            if not p.segment.length or p.segment.flags & RST:
                continue
            if p.kind == RETRANSMISSION and acked is not None and seq_diff(p.segment.end_seq, acked) <= 0:
                again.append(i)
                gaps.append(p.t - last.get(p.segment.seq, p.t))
            last[p.segment.seq] = p.t
        if not again:
            continue
        longest = max(gaps, default=0)
        yield story.finding(
            "retransmission", again,
            f"The {side} sent data again {times(len(again))}, and it was acknowledged in the "
            "end; the longest wait "
            f"before another attempt was {duration(longest)}.",
            side=side, count=len(again), longest_gap_s=seconds(longest),
        )  # fmt: skip


def _acked(story: Story, side: str) -> int | None:
    """The highest number of this side that the other one has acknowledged."""
    acked: int | None = None
    for i in story.places(OTHER[side]):
        segment = story.packets[i].segment
        if acks(segment) and (acked is None or seq_diff(segment.ack, acked) > 0):
            acked = segment.ack
    return acked


def _covers(story: Story, place: int, seq: int) -> bool:
    segment = story.packets[place].segment
    return seq_diff(segment.seq, seq) <= 0 < seq_diff(segment.end_seq, seq)


def _unanswered(story: Story, side: str) -> list[int]:
    """Every transmission of the oldest data of this side that was never acknowledged."""
    acked = _acked(story, side)
    data = [
        i
        for i in story.places(side)
        if (p := story.packets[i]).segment.length
        and not p.segment.flags & RST
        and p.kind not in (KEEPALIVE, WINDOW_PROBE)
        and (acked is None or seq_diff(p.segment.end_seq, acked) > 0)
    ]
    if not data:
        return []
    base = story.packets[data[0]].segment.seq
    oldest = min((story.packets[i].segment.seq for i in data), key=lambda seq: seq_diff(seq, base))
    return [i for i in data if _covers(story, i, oldest)]


def _given_up(story: Story, side: str) -> list[int]:
    """Transmissions of data that TCP repeated at growing gaps and nobody acknowledged."""
    places = _unanswered(story, side)
    at = [story.packets[i].t for i in places]
    gaps = [later - one for one, later in pairwise(at)]
    half = len(gaps) // 2
    if len(places) < 3 or sum(gaps[-half:]) < 0.8 * sum(gaps[:half]):
        return []
    # A peer that answers by RST is no dead peer.
    after = range(places[0] + 1, len(story.packets))
    if any(story.packets[i].sender != side and story.packets[i].segment.flags & RST for i in after):
        return []
    return places


def dead_peer(story: Story) -> Iterator[Finding]:
    """The same data three times or more, never acknowledged."""
    for side in SIDES:
        places = _given_up(story, side)
        if not places:
            continue
        waited = story.packets[places[-1]].t - story.packets[places[0]].t
        yield story.finding(
            "dead_peer", places,
            f"The {side} sent the same data {times(len(places))} within {duration(waited)}, and "
            "nobody acknowledged "
            f"it: the {OTHER[side]} or the way to it is dead, or the answers don't pass here.",
            side=side, attempts=len(places), waited_s=seconds(waited),
        )  # fmt: skip


def idle_then_dead(story: Story) -> Iterator[Finding]:
    """Data that nothing answered, after a silence on a connection that had worked."""
    for side in SIDES:
        places = _given_up(story, side) or _unanswered(story, side)
        if not places:
            continue
        first = places[0]
        before = [
            i for i in range(first) if story.packets[i].sender != side or story.packets[i].kind != KEEPALIVE
        ]
        later = [i for i in range(first + 1, len(story.packets)) if story.packets[i].sender != side]
        worked = any(story.packets[i].segment.length and story.acknowledged(i) in before for i in before)
        if later or not before or not worked or story.end - story.packets[first].t < PATIENCE:
            continue
        idle = story.packets[first].t - story.packets[before[-1]].t
        if idle >= SILENCE:
            yield story.finding(
                "idle_then_dead", places,
                f"The connection had worked, was silent for {duration(idle)}, and what the "
                f"{side} sent then was "
                "never answered: a firewall or NAT that forgot it is the usual cause; that the "
                f"{OTHER[side]} died meanwhile would look the same here.",
                side=side, idle_s=seconds(idle),
            )  # fmt: skip


def zero_window(story: Story) -> Iterator[Finding]:
    """A receiver without room."""
    for side in SIDES:
        total, shut = standstill(story.packets, side, story.end)
        if shut:
            yield story.finding(
                "zero_window", shut,
                f"The {side} had no room for more data, for {duration(total)} in all: its "
                "program reads too slowly "
                f"or not at all, and the {OTHER[side]} must wait.",
                side=side, stalled_s=seconds(total),
            )  # fmt: skip
