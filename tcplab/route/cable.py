"""One host's end of the wire: its plug, the segments to be lost, its own firewall's rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tcplab.core.segment import ACK, FIN, RST, SYN, Segment

#: Names of segments that can be lost.
LOSABLE: dict[str, Callable[[Segment], bool]] = {
    "any": lambda segment: True,
    "syn": lambda segment: bool(segment.flags & SYN),
    "fin": lambda segment: bool(segment.flags & FIN),
    "data": lambda segment: segment.length > 0,
    "ack": lambda segment: segment.length == 0 and segment.flags & (SYN | FIN | RST | ACK) == ACK,
}


@dataclass(slots=True)
class Rule:
    """A rule of a host's own firewall for one of its ports."""

    port: int
    #: `REJECT` (answer with a RST) or `DROP`.
    action: str
    #: For how many more segments with payload it holds; None = for all that comes.
    left: int | None = None

    @property
    def says(self) -> str:
        """The rule as a trace has it."""
        which = {None: "", 1: ", only the next segment with data"}
        some = f", only the next {self.left} segments with data"
        return f"firewall rule: {self.action} port {self.port}{which.get(self.left, some)}"

    def applies(self, segment: Segment) -> bool:
        """Whether this segment meets it; it counts."""
        if self.left is None:
            return True
        if not segment.length or not self.left:
            return False
        self.left -= 1
        return True


class Cable:
    """Decides what leaves a host and what it lets in; keeps no time."""

    def __init__(self) -> None:
        self.plugged = True
        #: How often it was pulled: what was sent before is lost with it.
        self.cuts = 0
        #: Rules of the host's own firewall by destination port.
        self.rules: dict[int, Rule] = {}
        self._losses: dict[str, int] = {}

    def unplug(self) -> None:
        """Pull it: nothing passes, and what is on the wire is lost."""
        self.plugged = False
        self.cuts += 1

    def plug(self) -> None:
        """Put it back."""
        self.plugged = True

    def lose(self, kind: str, times: int) -> None:
        """Lose the next `times` segments of a kind; 0 ends it. Raises KeyError for an unknown kind."""
        LOSABLE[kind]
        self._losses[kind] = times

    def loses(self, segment: Segment) -> bool:
        """True when this one is to be lost; it counts."""
        for kind, left in self._losses.items():
            if left and LOSABLE[kind](segment):
                self._losses[kind] = left - 1
                return True
        return False

    def rule_for(self, segment: Segment) -> str | None:
        """What the host's firewall does with an arriving segment; None lets it in. It counts."""
        rule = self.rules.get(segment.destination.port)
        return rule.action if rule is not None and rule.applies(segment) else None

    def add_rule(self, port: int, action: str, times: int = 0) -> Rule:
        """`REJECT` or `DROP` what comes for a port: all of it, or only so many segments with payload."""
        self.rules[port] = rule = Rule(port, action, times or None)
        return rule
