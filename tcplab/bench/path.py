"""The boxes of one run: between which hosts they stand, and what they do, written into the trace.

Both benches carry a segment in legs of equal length: to the first box, to the next, to the
receiver. What a box decides is asked here, so that its fate, its words and its table read the
same from either bench.
"""

from __future__ import annotations

from typing import NamedTuple

from tcplab.bench.script import ScriptError
from tcplab.core.segment import Segment
from tcplab.core.trace import Note, Packet, SocketSample, Trace
from tcplab.route.middlebox import Decision, Middlebox


class PathAhead(NamedTuple):
    """What is left of the way to a host: the boxes ahead, and how many legs the whole way has."""

    boxes: tuple[Middlebox, ...] = ()
    legs: int = 1

    @property
    def rest(self) -> PathAhead:
        """The way behind the first of the boxes."""
        return PathAhead(self.boxes[1:], self.legs)

    def left(self, latency: int) -> int:
        """How long the rest of the way takes, where the whole takes `latency`."""
        return latency * (len(self.boxes) + 1) // self.legs


#: No box ahead.
STRAIGHT = PathAhead()


class Routes:
    """Routes with boxes on them; false while there is none."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._ways: dict[tuple[str, str], PathAhead] = {}
        self._boxes: dict[str, Middlebox] = {}

    def __bool__(self) -> bool:
        return bool(self._boxes)

    def place(self, one: str, other: str, boxes: tuple[Middlebox, ...]) -> None:
        """Boxes between two hosts, in their order from `one`. Raises `ScriptError`."""
        hosts = list(self._trace.hosts)
        at = min(hosts.index(one), hosts.index(other)) + 1
        ordered = boxes if hosts[at - 1] == one else boxes[::-1]
        for box in boxes:
            if box.name in self._trace.hosts or box.name in self._boxes:
                raise ScriptError(f"there is a {box.name} already")
            self._boxes[box.name] = box
        hosts[at:at] = [box.name for box in ordered]
        addresses = dict(self._trace.hosts)
        self._trace.hosts.clear()
        self._trace.hosts.update({name: addresses.get(name, "") for name in hosts})
        self._ways[one, other] = PathAhead(boxes, len(boxes) + 1)
        self._ways[other, one] = PathAhead(boxes[::-1], len(boxes) + 1)

    def way(self, sender: str, receiver: str) -> PathAhead:
        """From one host to another."""
        return self._ways.get((sender, receiver), STRAIGHT)

    def way_from(self, box: Middlebox, receiver: str) -> PathAhead:
        """From a box to a host."""
        for (_, end), (boxes, legs) in self._ways.items():
            if end == receiver and box in boxes:
                return PathAhead(boxes[boxes.index(box) + 1 :], legs)
        return STRAIGHT

    def meet(self, now: int, box: Middlebox, packet: Packet) -> Decision:
        """A segment has come to a box."""
        decision = box.pass_on(now, packet.segment)
        if not decision.passes:
            packet.fate = f"dropped_by:{box.name}"
        self._write(now, box, decision)
        return decision

    def next_timer(self) -> int | None:
        """When `fire` wants to be called, or None."""
        timers = (box.next_timer() for box in self._boxes.values())
        return min((due for due in timers if due is not None), default=None)

    def fire(self, now: int) -> list[tuple[Middlebox, Segment]]:
        """Let every box forget what is due; the RSTs that they send for that."""
        sent = []
        for box in self._boxes.values():
            due = box.next_timer()
            if due is not None and due <= now:
                decision = box.timer(now)
                self._write(now, box, decision)
                sent += [(box, reset) for reset in decision.resets]
        return sent

    def _write(self, now: int, box: Middlebox, decision: Decision) -> None:
        """A box's table in the terms of `ss`: its entry as a socket of its own."""
        for entry in box.changed():
            ends = (entry.initiator, entry.responder)
            sample = SocketSample(now, box.name, *ends, entry.state, timer=entry.timer, due=entry.due)
            self._trace.sockets.append(sample)
        if decision.says:
            self._trace.notes.append(Note(now, box.name, decision.says))
