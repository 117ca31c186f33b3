"""Where things stand in a ladder: lifelines, distances from them, and what is shown so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from tcplab.trace import Trace
from tcplab.view.states import boxes_of
from tcplab.view.theme import Theme
from tcplab.view.timeaxis import Placement, TimeAxis, hosts_of, place

#: Distances from the lifeline, in parts of the distance between the outermost two.
STATE_BAR, TIMER_BAR, BRACKET, ASIDE, EDGE = 0.022, 0.042, 0.056, 0.068, 0.075


@dataclass(slots=True)
class Frame:
    """The geometry that all parts of one ladder share."""

    trace: Trace
    colours: Theme
    #: Draw only what had happened until then, nanoseconds; None: everything.
    upto: int | None
    placed: Placement = field(init=False)
    hosts: list[str] = field(init=False)
    #: x of every lifeline.
    x: dict[str, int] = field(init=False)
    #: Hosts that have neighbours on both sides, as a proxy has.
    inner: set[str] = field(init=False)
    #: Boxes on the way: lifelines without an address, which keep an entry and not a socket.
    boxes: set[str] = field(init=False)
    #: x between the outermost lifelines.
    wide: int = field(init=False)

    def __post_init__(self) -> None:
        self.placed = place(self.trace)
        self.hosts = hosts_of(self.trace)
        self.x = {host: i for i, host in enumerate(self.hosts)}
        self.inner = set(self.hosts[1:-1])
        self.boxes = boxes_of(self.trace)
        self.wide = max(len(self.hosts) - 1, 1)

    @property
    def axis(self) -> TimeAxis:
        """Time to y and back."""
        return self.placed.axis

    @property
    def middle(self) -> float:
        """x half way between the outermost lifelines."""
        return self.wide / 2

    def aside(self, host: str) -> float:
        """x for words about a host that stand on a line of their own: in the middle, but on no lifeline."""
        if self.inner - self.boxes and host in self.x:
            return max(self.x[host] - 0.5, 0.5)
        return self.middle

    @property
    def gap(self) -> float:
        """x between two lifelines where nobody else writes: for how long a silence was."""
        if self.inner - self.boxes:  # who writes to both of its sides
            return 0.33
        return self.wide / 2 if self.wide % 2 else self.wide / 2 + 0.5

    def shown(self, t: int) -> bool:
        """True when what happened at `t` is drawn."""
        return self.upto is None or t <= self.upto

    def bottom(self) -> float:
        """y of the last thing drawn."""
        return self.axis.height if self.upto is None else self.axis.bottom_of(self.upto)

    def out(self, host: str, peer: str = "") -> int:
        """Which way the words of a host go: -1 to the left.

        The outer hosts write outwards, one in the middle to the side of its peer (an address).
        """
        if host in self.inner:
            peers = [x for name, x in self.x.items() if self.trace.hosts.get(name) == peer]
            return -1 if peers and peers[0] < self.x[host] else 1
        return -1 if self.x[host] == 0 else 1

    def beside(self, host: str, distance: float, lane: int = 0, peer: str = "") -> float:
        """x at `distance` from a host's lifeline; the lanes of a host in the middle stand on both sides."""
        if host in self.inner:
            lane = 0
        return self.x[host] + self.out(host, peer) * self.wide * distance * (1 + lane)

    def room(self, host: str) -> float:
        """How far from a lifeline the label of an arrow begins, in parts of `wide`."""
        if host in self.boxes:
            return STATE_BAR
        return BRACKET if host in self.inner else 0.012
