"""A run on Linux laid over the model's: one ladder of both, and who sent what.

The ladder is the model's. Where Linux sent the same, the arrow lies in a band and says when Linux
sent it; what only one of them sent says so. What counts as the same is what `tcplab.bench.agreement`
reads for the agreement; a pure ACK that counts by its effect alone, and whatever is not compared,
is drawn without a word.
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
class Beside:
    """Who sent a segment of the picture (empty: not compared), and how its label says so."""

    who: str = ""
    says: str = ""


def overlay(ours: ScopedRun, theirs: ScopedRun) -> tuple[Trace, list[Beside]]:
    """The model's trace with what only Linux sent put in, and for every packet who sent it.

    Both as `tcplab.bench.agreement.judge` returns them.
    """
    model, linux = ours.trace, theirs.trace
    said = [Beside()] * len(model.packets)
    later = ours.since - theirs.since
    places = _Places(ours)
    foreign = []
    for way in permutations(model.hosts, 2):
        for mine, its in _pairs(ours, theirs, *way):
            for i in mine:
                said[i] = Beside(MODEL, "✗ not on Linux")
                if its:
                    when = duration(linux.packets[its[0]].t - linux.start)
                    said[i] = Beside(BOTH, f"✓ Linux {when}" if i == mine[0] else "")
            if not mine:
                foreign += [
                    places.moved(linux.packets[j], theirs.numbers[j], theirs.connection[j], later)
                    for j in its
                ]
    own = list(zip(model.packets, said, strict=True))
    both = sorted([*own, *((each, Beside(LINUX, "✗ Linux only")) for each in foreign)], key=lambda b: b[0].t)
    packets = [packet for packet, _ in both]
    end = max([model.end, *(packet.t for packet in packets)])
    return replace(model, packets=packets, end=end), [beside for _, beside in both]


def _pairs(
    ours: ScopedRun, theirs: ScopedRun, sender: str, receiver: str
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """One direction in order: the packets of what both sent, or of one and none of the other."""
    sent = [witness.segments(sender, receiver) for witness in (ours, theirs)]
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
    """Endpoints and numbers of the model's connections, for what Linux alone has sent on them."""

    def __init__(self, model: ScopedRun) -> None:
        #: Both ends of every connection's directions, and where their relative numbers begin.
        self._ends: dict[tuple[int, str], tuple[Endpoint, Endpoint]] = {}
        self._base: dict[tuple[int, str], int] = {}
        each = zip(model.trace.packets, model.numbers, model.connection, strict=True)
        for packet, number, n in each:
            segment = packet.segment
            self._ends.setdefault((n, packet.sender), (segment.source, segment.destination))
            self._ends.setdefault((n, packet.receiver), (segment.destination, segment.source))
            self._base.setdefault((n, packet.sender), seq_add(segment.seq, -number.seq))

    def moved(self, packet: Packet, number: tuple[int, int], n: int, later: int) -> Packet:
        """A segment of Linux as the model's connection `n` would have carried it, so much later."""
        ours, segment = (n, packet.sender), packet.segment
        if ours in self._ends:
            source, destination = self._ends[ours]
            segment = replace(
                segment,
                source=source,
                destination=destination,
                seq=seq_add(self._base.get(ours, 0), number[0]),
                ack=seq_add(self._base.get((n, packet.receiver), 0), number[1]),
            )
        arrives = None if packet.arrives is None else packet.arrives + later
        return replace(packet, t=packet.t + later, arrives=arrives, segment=segment)
