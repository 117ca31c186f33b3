"""Findings about waiting: keepalive, data sent again, data that nothing answers, a closed window.

Sources: net/ipv4/tcp_timer.c:tcp_keepalive_timer and tcp_retransmit_timer, RFC 9293 section 3.8.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tcplab.capture.findings.story import ConnectionStory, Finding
from tcplab.core.segment import RST, seq_diff
from tcplab.core.text import duration, plural, seconds, times
from tcplab.follow import KEEPALIVE, OTHER, PATIENCE, RETRANSMISSION, SILENCE


def _idle(story: ConnectionStory, probe: int) -> int | None:
    """Nanoseconds since the peer's last packet, which Linux's keepalive timer counts; None: unknown."""
    heard = story.heard_before(probe)
    return None if heard is None else story.packets[probe].t - story.packets[heard].t


def _after(idle: int | None) -> str:
    return "an unknown time" if idle is None else duration(idle)


def keepalive(story: ConnectionStory) -> Iterator[Finding]:
    """Probes that were answered."""
    for side in OTHER:
        probes = [i for i in story.places(side) if story.packets[i].kind == KEEPALIVE]
        pairs = [(i, answer) for i in probes if (answer := story.answered(i)) is not None]
        if not pairs:
            continue
        # Where the capture starts midstream, no packet precedes the first probe.
        idle = next((idle for i, _ in pairs if (idle := _idle(story, i)) is not None), None)
        yield story.finding(
            "keepalive", [place for pair in pairs for place in pair],
            f"The {side} sent a keepalive probe after {_after(idle)} of silence and got an answer, "
            f"{times(len(pairs))}: at least the next host that ends TCP connections was alive.",
            side=side, idle_s=None if idle is None else seconds(idle), count=len(pairs),
        )  # fmt: skip


def keepalive_death(story: ConnectionStory) -> Iterator[Finding]:
    """Probes without an answer, then RST+ACK."""
    if not story.keepalive_death:
        return
    *probes, end = story.keepalive_death
    side = story.packets[end].sender
    idle = _idle(story, probes[0])
    asked = story.packets[end].t - story.packets[probes[0]].t
    interval = asked // len(probes)
    after = (
        f"{duration(asked)} after the first probe" if idle is None
        else f"{duration(asked + idle)} after the {OTHER[side]}'s last packet"
    )  # fmt: skip
    yield story.finding(
        "keepalive_death", story.keepalive_death,
        f"The {side} sent {plural(len(probes), 'keepalive probe')} after {_after(idle)} of silence, got no "
        f"answer, and aborted the connection {after}: ETIMEDOUT for the program. The RST that it then sent "
        f"rarely reaches the {OTHER[side]}.",
        side=side, idle_s=None if idle is None else seconds(idle), interval_s=seconds(interval),
        probes=len(probes),
    )  # fmt: skip


def retransmission(story: ConnectionStory) -> Iterator[Finding]:
    """Data sent again and finally acknowledged."""
    for side in OTHER:
        acked, packets = story.acked[side], story.packets
        repeated, gaps = [], []
        last: dict[int, int] = {}
        for i in story.places(side):
            p = packets[i]
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
            f"The {side} retransmitted data {times(len(repeated))}, and it was finally acknowledged; the "
            f"longest wait before a retransmission was {duration(longest)}.",
            side=side, count=len(repeated), longest_gap_s=seconds(longest),
        )  # fmt: skip


def one_way(story: ConnectionStory) -> Iterator[Finding]:
    """Data or a FIN that was never acknowledged, although the other side kept sending."""
    for side in OTHER:
        alive = story.one_way(side)
        if not alive:
            continue
        places, peer = story.never_answered(side), OTHER[side]
        what = _what(story, places)
        yield story.finding(
            "one_way", sorted([*places, *alive]),
            f"The {side} sent the same {what} {times(len(places))} and it was never acknowledged, although "
            f"the {peer} kept sending: the {side}'s packets don't reach the {peer}, or the acknowledgements "
            "don't come back.",
            side=side, broken=f"{side}_to_{peer}", attempts=len(places),
        )  # fmt: skip


def _what(story: ConnectionStory, places: list[int]) -> str:
    return "data" if any(story.packets[i].segment.length for i in places) else "FIN"


def _given_up(story: ConnectionStory, side: str) -> list[int]:
    """Transmissions of data that TCP repeated at growing gaps and that nothing answered."""
    places = story.never_answered(side)
    gaps = [story.packets[later].t - story.packets[one].t for one, later in pairwise(places)]
    half = len(gaps) // 2
    if len(places) < 3 or sum(gaps[-half:]) < 0.8 * sum(gaps[:half]):
        return []
    return [] if story.one_way(side) else places


def dead_peer(story: ConnectionStory) -> Iterator[Finding]:
    """The same data or FIN three times or more, never acknowledged."""
    for side in OTHER:
        places = _given_up(story, side)
        if not places:
            continue
        waited = story.packets[places[-1]].t - story.packets[places[0]].t
        yield story.finding(
            "dead_peer", places,
            f"The {side} sent the same {_what(story, places)} {times(len(places))} within "
            f"{duration(waited)}, and it was never acknowledged: the {OTHER[side]} or the path to it is "
            "down, or the answers don't pass the capture point.",
            side=side, attempts=len(places), waited_s=seconds(waited),
        )  # fmt: skip


def idle_then_dead(story: ConnectionStory) -> Iterator[Finding]:
    """Data or a FIN that nothing answered, after a silence on a connection that had worked."""
    for side in OTHER:
        places = story.never_answered(side)
        if not places or story.one_way(side):
            continue
        first, since = places[0], story.packets[places[0]].t
        rest = [i for i in range(first) if (p := story.packets[i]).sender != side or p.kind != KEEPALIVE]
        data = (i for i in rest if story.packets[i].segment.length)
        worked = any((done := story.acknowledged(i)) is not None and done < first for i in data)
        is_last = all(p.sender == side for p in story.packets[first:])
        if not is_last or not worked or story.end - since < PATIENCE:
            continue
        idle = since - story.packets[rest[-1]].t
        if idle >= SILENCE:
            yield story.finding(
                "idle_then_dead", places,
                f"The connection had worked, was silent for {duration(idle)}, and what the {side} sent then "
                "was never answered: a firewall or NAT that dropped its entry is the usual cause; a "
                f"{OTHER[side]} that went down meanwhile would look the same here.",
                side=side, attempts=len(places), idle_s=seconds(idle),
            )  # fmt: skip


def zero_window(story: ConnectionStory) -> Iterator[Finding]:
    """A receiver without room."""
    for side in OTHER:
        total, shut = story.stalled(side)
        if shut:
            yield story.finding(
                "zero_window", shut,
                f"The {side} had no room for more data, for {duration(total)} in all: its program read too "
                f"slowly or not at all, and the {OTHER[side]} had to wait.",
                side=side, stalled_s=seconds(total),
            )  # fmt: skip
