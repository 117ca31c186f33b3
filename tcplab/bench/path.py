"""The wire of one run, as both benches have it: losses, legs, and the middleboxes between hosts.

A segment crosses in legs of equal length: to the first middlebox, to the next, to the receiver.
What a middlebox decides is asked here, so its drops, notes and table read the same from either
bench. A bench adds the clock and the delivery.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from tcplab.bench.script import ScriptError
from tcplab.core.segment import Segment
from tcplab.core.trace import Note, Packet, SocketSample, Trace
from tcplab.route.cable import Cable
from tcplab.route.middlebox import Decision, Middlebox


class PathAhead(NamedTuple):
    """What is left of the path to a host: the middleboxes ahead, and the legs of the whole path."""

    middleboxes: tuple[Middlebox, ...] = ()
    legs: int = 1

    def leg(self, latency: int) -> int:
        """How long the next leg takes, where the whole path takes `latency`."""
        legs_behind = len(self.middleboxes)
        return latency * (legs_behind + 1) // self.legs - latency * legs_behind // self.legs


#: No middlebox ahead.
STRAIGHT = PathAhead()


class Routes:
    """Which middleboxes are between which hosts."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._paths: dict[tuple[str, str], PathAhead] = {}
        self._middleboxes: dict[str, Middlebox] = {}

    def place(self, one: str, other: str, middleboxes: tuple[Middlebox, ...]) -> None:
        """Middleboxes between two hosts, in their order from `one`. Raises `ScriptError`."""
        hosts = list(self._trace.hosts)
        at = min(hosts.index(one), hosts.index(other)) + 1
        ordered = middleboxes if hosts[at - 1] == one else middleboxes[::-1]
        for middlebox in middleboxes:
            if middlebox.name in self._trace.hosts or middlebox.name in self._middleboxes:
                raise ScriptError(f"there is a {middlebox.name} already")
            self._middleboxes[middlebox.name] = middlebox
        hosts[at:at] = [middlebox.name for middlebox in ordered]
        addresses = dict(self._trace.hosts)
        self._trace.hosts.clear()
        self._trace.hosts.update({name: addresses.get(name, "") for name in hosts})
        self._paths[one, other] = PathAhead(middleboxes, len(middleboxes) + 1)
        self._paths[other, one] = PathAhead(middleboxes[::-1], len(middleboxes) + 1)

    def path(self, sender: str, receiver: str) -> PathAhead:
        """From one host to another."""
        return self._paths.get((sender, receiver), STRAIGHT)

    def path_from(self, middlebox: Middlebox, receiver: str) -> PathAhead:
        """From a middlebox to a host."""
        for (_, end), (middleboxes, legs) in self._paths.items():
            if end == receiver and middlebox in middleboxes:
                return PathAhead(middleboxes[middleboxes.index(middlebox) + 1 :], legs)
        return STRAIGHT

    def meet(self, now: int, middlebox: Middlebox, packet: Packet) -> Decision:
        """A segment has come to a middlebox."""
        decision = middlebox.pass_on(now, packet.segment)
        if not decision.passes:
            packet.fate = f"dropped_by:{middlebox.name}"
        self._write(now, middlebox, decision)
        return decision

    def next_timer(self) -> int | None:
        """When `fire` wants to be called, or None."""
        timers = (middlebox.next_timer() for middlebox in self._middleboxes.values())
        return min((due for due in timers if due is not None), default=None)

    def fire(self, now: int) -> list[tuple[Middlebox, Segment]]:
        """Let every middlebox forget what is due; the RSTs that they send for that."""
        sent = []
        for middlebox in self._middleboxes.values():
            due = middlebox.next_timer()
            if due is not None and due <= now:
                decision = middlebox.timer(now)
                self._write(now, middlebox, decision)
                sent += [(middlebox, reset) for reset in decision.resets]
        return sent

    def _write(self, now: int, middlebox: Middlebox, decision: Decision) -> None:
        """A middlebox's table in the terms of `ss`: its entry as a socket."""
        for entry in middlebox.changed():
            ends = (entry.initiator, entry.responder)
            sample = SocketSample(now, middlebox.name, *ends, entry.state, timer=entry.timer, due=entry.due)
            self._trace.sockets.append(sample)
        if decision.says:
            self._trace.notes.append(Note(now, middlebox.name, decision.says))


class Wired(Protocol):
    """A host's end of the wire."""

    name: str
    cable: Cable


EndT = TypeVar("EndT", bound=Wired)


@dataclass(eq=False)
class Crossing(Generic[EndT]):
    """Something on the wire: a segment as a packet of the trace, or a frame that is none of TCP's."""

    packet: Packet | None
    receiver: EndT
    cables: tuple[Cable, ...]
    path: PathAhead
    #: Empty for a segment that no host has sent, and on the model.
    frame: bytes = b""

    def __post_init__(self) -> None:
        self._cuts = [cable.cuts for cable in self.cables]

    @property
    def is_cut(self) -> bool:
        """A cable that it crosses has been pulled since."""
        return [cable.cuts for cable in self.cables] != self._cuts


class RoutedWire(ABC, Generic[EndT]):
    """Carries segments between the ends that addresses lead to; writes a packet for each."""

    def __init__(self, trace: Trace, latency: int) -> None:
        self.trace = trace
        self.routes = Routes(trace)
        #: The end that an address leads to.
        self.owners: dict[str, EndT] = {}
        self._latency = latency

    @abstractmethod
    def _schedule(self, crossing: Crossing[EndT], due: int) -> None:
        """Call `_arrive` when a leg is over."""

    @abstractmethod
    def _deliver(self, crossing: Crossing[EndT], now: int) -> None:
        """Hand it to the receiver."""

    @abstractmethod
    def _watch_middleboxes(self) -> None:
        """Call `_fire_middleboxes` when a middlebox has something to forget."""

    def put(
        self, sender: EndT, receiver: EndT, segment: Segment, t: int, kind: str = "", frame: bytes = b""
    ) -> None:
        """Put a segment on the wire, unless a named loss or a pulled cable takes it."""
        packet = Packet(t, sender.name, receiver.name, segment, kind=kind)
        self.trace.packets.append(packet)
        if sender.cable.loses(segment) or not (sender.cable.plugged and receiver.cable.plugged):
            packet.fate = "lost"
            return
        path = self.routes.path(sender.name, receiver.name)
        self._go(Crossing(packet, receiver, (sender.cable, receiver.cable), path, frame), t)

    def _go(self, crossing: Crossing[EndT], t: int) -> None:
        """One leg: to the next middlebox, or to the receiver."""
        self._schedule(crossing, t + crossing.path.leg(self._latency))

    def _arrive(self, crossing: Crossing[EndT], due: int, now: int) -> None:
        """A leg is over; the next one begins when this one should have ended."""
        packet = crossing.packet
        if crossing.is_cut:
            if packet:
                packet.fate = "lost"
        elif not crossing.path.middleboxes:
            self._deliver(crossing, now)
        else:
            self._meet(crossing, due, now)

    def _meet(self, crossing: Crossing[EndT], due: int, now: int) -> None:
        middlebox, packet = crossing.path.middleboxes[0], crossing.packet
        crossing.path = PathAhead(crossing.path.middleboxes[1:], crossing.path.legs)
        if packet is None:
            self._go(crossing, due)
            return
        self._reset_from_middleboxes(now)
        decision = self.routes.meet(now, middlebox, packet)
        for reset in decision.resets:
            self._reset_from(middlebox, reset, now)
        if decision.passes:
            self._go(crossing, due)
        self._watch_middleboxes()

    def _fire_middleboxes(self, now: int) -> None:
        self._reset_from_middleboxes(now)
        self._watch_middleboxes()

    def _reset_from_middleboxes(self, now: int) -> None:
        for middlebox, reset in self.routes.fire(now):
            self._reset_from(middlebox, reset, now)

    def _reset_from(self, middlebox: Middlebox, reset: Segment, now: int) -> None:
        """A RST that a middlebox sends in the name of a host."""
        receiver = self.owners[reset.destination.address]
        packet = Packet(now, middlebox.name, receiver.name, reset, kind="forged")
        self.trace.packets.append(packet)
        if not receiver.cable.plugged:
            packet.fate = "lost"
            return
        path = self.routes.path_from(middlebox, receiver.name)
        self._go(Crossing(packet, receiver, (receiver.cable,), path), now)
