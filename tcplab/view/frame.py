"""Where things stand in a ladder: lifelines, distances from them, and what is shown so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from tcplab.trace import Trace
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
    #: x between the outermost lifelines.
    wide: int = field(init=False)

    def __post_init__(self) -> None:
        self.placed = place(self.trace)
        self.hosts = hosts_of(self.trace)
        self.x = {host: i for i, host in enumerate(self.hosts)}
        self.inner = set(self.hosts[1:-1])
        self.wide = max(len(self.hosts) - 1, 1)

    @property
    def axis(self) -> TimeAxis:
        """Time to y and back."""
        return self.placed.axis

    @property
    def middle(self) -> float:
        """x half way between the outermost lifelines."""
        return self.wide / 2

    def shown(self, t: int) -> bool:
        """True when what happened at `t` is drawn."""
        return self.upto is None or t <= self.upto

    def bottom(self) -> float:
        """y of the last thing drawn."""
        return self.axis.height if self.upto is None else self.axis.bottom_of(self.upto)

    def out(self, host: str) -> int:
        """Which way is out: -1 on the left; a host in the middle writes to its right."""
        return -1 if self.x[host] == 0 else 1

    def beside(self, host: str, distance: float, lane: int = 0) -> float:
        """x at `distance` from a host's lifeline; a host in the middle has a lane on each side."""
        if host in self.inner:
            return self.x[host] + self.wide * distance * (-1 if lane == 0 else 1)
        return self.x[host] + self.out(host) * self.wide * distance * (1 + lane)
