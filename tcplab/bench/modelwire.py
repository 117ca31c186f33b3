"""The model bench's wire: a delay, with named losses, pulled cables, and boxes on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import simpy

from tcplab.bench.between import Between, Way
from tcplab.route.box import Box
from tcplab.route.cable import Cable
from tcplab.segment import RST, Segment, reset_for
from tcplab.trace import Passage, Trace

if TYPE_CHECKING:
    from tcplab.bench.model import ModelHost


class VirtualTime(simpy.Environment):
    """SimPy's clock, counting whole nanoseconds."""

    @property
    def now(self) -> int:
        """Nanoseconds since the run began."""
        return self._now  # type: ignore[return-value]


class ModelWire:
    """Carries segments; writes a passage for each."""

    def __init__(self, env: VirtualTime, trace: Trace, latency: int) -> None:
        self._env = env
        self._trace = trace
        self._latency = latency
        #: Whom an address leads to.
        self.owners: dict[str, ModelHost] = {}
        self.between = Between(trace)
        self._box_timer: int | None = None

    def carry(self, sender: ModelHost, segment: Segment, kind: str = "") -> None:
        """Put a segment on the wire, unless a named loss or a pulled cable takes it."""
        env = self._env
        receiver = self.owners[segment.destination.address]
        ours, theirs = sender.cable, receiver.cable
        passage = Passage(env.now, sender.name, receiver.name, segment, kind=kind)
        self._trace.passages.append(passage)
        if ours.loses(segment) or not (ours.plugged and theirs.plugged):
            passage.fate = "lost"
            return
        cuts = ours.cuts + theirs.cuts
        if self.between and (way := self.between.way(sender.name, receiver.name)).boxes:
            self._leg(passage, (ours, theirs), cuts, way)
            return

        def arrive(event: simpy.Event) -> None:
            if ours.cuts + theirs.cuts != cuts:
                passage.fate = "lost"
                return
            self._arrive(passage, receiver)

        env.timeout(self._latency).callbacks.append(arrive)

    def _arrive(self, passage: Passage, receiver: ModelHost) -> None:
        segment, now = passage.segment, self._env.now
        passage.arrives = now
        rule = receiver.cable.rule_for(segment)
        if rule is None:
            receiver.stack.receive(now, segment)
            passage.verdict = receiver.stack.verdict
            receiver.settle()
            return
        passage.fate = f"dropped_by:{rule}"
        if rule == "REJECT" and not segment.flags & RST:
            self.carry(receiver, reset_for(segment))

    # -- the boxes on it ---------------------------------------------------------------------

    def _leg(self, passage: Passage, cables: tuple[Cable, ...], cuts: int, way: Way) -> None:
        """To the next box, and further if it lets the segment pass; to the receiver behind the last."""

        def ended(event: simpy.Event) -> None:
            if sum(cable.cuts for cable in cables) != cuts:
                passage.fate = "lost"
            elif not way.boxes:
                self._arrive(passage, self.owners[passage.segment.destination.address])
            else:
                box = way.boxes[0]
                self._fire_boxes()
                decision = self.between.meet(self._env.now, box, passage)
                for reset in decision.resets:
                    self._reset_from(box, reset)
                if decision.passes:
                    self._leg(passage, cables, cuts, way.rest)
                self._watch_boxes()

        wait = way.left(self._latency) - (way.rest.left(self._latency) if way.boxes else 0)
        self._env.timeout(wait).callbacks.append(ended)

    def _reset_from(self, box: Box, reset: Segment) -> None:
        """A RST that a box sends in somebody's name."""
        receiver = self.owners[reset.destination.address]
        passage = Passage(self._env.now, box.name, receiver.name, reset, kind="forged")
        self._trace.passages.append(passage)
        if not receiver.cable.plugged:
            passage.fate = "lost"
            return
        way = self.between.way_from(box, receiver.name)
        self._leg(passage, (receiver.cable,), receiver.cable.cuts, way)

    def _fire_boxes(self) -> None:
        for box, reset in self.between.fire(self._env.now):
            self._reset_from(box, reset)

    def _watch_boxes(self) -> None:
        """Wake when a box has something to forget; one that has moved on since is woken for nothing."""
        due = self.between.next_timer()
        if due is None or (self._box_timer is not None and self._box_timer <= due):
            return

        def is_due(event: simpy.Event) -> None:
            if self._box_timer == self._env.now:
                self._box_timer = None
                self._fire_boxes()
                self._watch_boxes()

        self._box_timer = due
        self._env.timeout(due - self._env.now).callbacks.append(is_due)
