"""A run on Linux over the model's run: one ladder of both that says who sent what.

The ladder is the model's. Where Linux sent the same segment, the arrow lies in a band and its label
gives Linux's time; the label of a segment that only one of them sent says so. Which segments are the
same is decided by `tcplab.bench.agreement`; what the agreement does not compare one by one has no mark.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import permutations

from tcplab.bench.agreement import ScopedRun
from tcplab.core.segment import Endpoint, seq_add
from tcplab.core.text import duration
from tcplab.core.trace import Packet, Trace

BOTH, MODEL, LINUX = "both", "model", "linux"


@dataclass(frozen=True, slots=True)
class Overlay:
    """Who sent a segment (empty: it is not compared), and the text of its label."""

    who: str = ""
    says: str = ""


def overlay(ours: ScopedRun, theirs: ScopedRun) -> tuple[Trace, list[Overlay]]:
    """The model's trace with the segments that only Linux sent, and an overlay for every packet.

    Both arguments are what `tcplab.bench.agreement.judge` returns.
    """
    model, linux = ours.trace, theirs.trace
    said = [Overlay()] * len(model.packets)
    later = ours.since - theirs.since
    places = _Places(ours)
    foreign = []
    for direction in permutations(model.hosts, 2):
        for mine, its in _pairs(ours, theirs, *direction):
            for i in mine:
                said[i] = Overlay(MODEL, "✗ not on Linux")
                if its:
                    when = duration(linux.packets[its[0]].t - linux.start)
                    said[i] = Overlay(BOTH, f"✓ Linux {when}" if i == mine[0] else "")
            if not mine:
                foreign += [
                    places.moved(linux.packets[j], theirs.numbers[j], theirs.connection[j], later)
                    for j in its
                ]
    own = list(zip(model.packets, said, strict=True))
    both = sorted([*own, *((each, Overlay(LINUX, "✗ Linux only")) for each in foreign)], key=lambda b: b[0].t)
    packets = [packet for packet, _ in both]
    end = max([model.end, *(packet.t for packet in packets)])
    return replace(model, packets=packets, end=end), [each for _, each in both]


def _pairs(
    ours: ScopedRun, theirs: ScopedRun, sender: str, receiver: str
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The packets of one direction in order, the model's and Linux's; empty where only the other sent."""
    sent = [run.segments(sender, receiver) for run in (ours, theirs)]
    for n in sorted({*sent[0], *sent[1]}):
        mine, its = (segments.get(n, []) for segments in sent)
        matcher = SequenceMatcher(None, [e.says for e in mine], [e.says for e in its], autojunk=False)
        for tag, i, i_end, j, j_end in matcher.get_opcodes():
            if tag == "equal":
                pairs = zip(mine[i:i_end], its[j:j_end], strict=True)
                yield from ((a.packets, b.packets) for a, b in pairs)
            else:
                yield from ((event.packets, ()) for event in mine[i:i_end])
                yield from (((), event.packets) for event in its[j:j_end])


class _Places:
    """Endpoints and sequence numbers of the model's connections, for segments that only Linux sent."""

    def __init__(self, model: ScopedRun) -> None:
        #: By connection and sender: both endpoints, and where the relative numbers begin.
        self._ends: dict[tuple[int, str], tuple[Endpoint, Endpoint]] = {}
        self._base: dict[tuple[int, str], int] = {}
        for packet, number, n in zip(model.trace.packets, model.numbers, model.connection, strict=True):
            segment = packet.segment
            self._ends.setdefault((n, packet.sender), (segment.source, segment.destination))
            self._ends.setdefault((n, packet.receiver), (segment.destination, segment.source))
            self._base.setdefault((n, packet.sender), seq_add(segment.seq, -number.seq))

    def moved(self, packet: Packet, number: tuple[int, int], n: int, later: int) -> Packet:
        """Linux's segment with endpoints and numbers of the model's connection `n`, so much later."""
        ours, segment = (n, packet.sender), packet.segment
        if ours in self._ends:
            source, destination = self._ends[ours]
            seq = seq_add(self._base.get(ours, 0), number[0])
            ack = seq_add(self._base.get((n, packet.receiver), 0), number[1])
            segment = replace(segment, source=source, destination=destination, seq=seq, ack=ack)
        arrives = None if packet.arrives is None else packet.arrives + later
        return replace(packet, t=packet.t + later, arrives=arrives, segment=segment)
