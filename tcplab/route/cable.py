"""One host's end of the wire: its plug, the segments it is told to lose, its own firewall's rules."""

from __future__ import annotations

from collections.abc import Callable

from tcplab.segment import ACK, FIN, RST, SYN, Segment

#: Names of segments that can be lost.
LOSABLE: dict[str, Callable[[Segment], bool]] = {
    "any": lambda segment: True,
    "syn": lambda segment: bool(segment.flags & SYN),
    "fin": lambda segment: bool(segment.flags & FIN),
    "data": lambda segment: segment.length > 0,
    "ack": lambda segment: segment.length == 0 and segment.flags & (SYN | FIN | RST | ACK) == ACK,
}


class Cable:
    """Decides what leaves a host and what it lets in; keeps no time."""

    def __init__(self) -> None:
        self.plugged = True
        #: How often it was pulled: what was sent before is lost with it.
        self.cuts = 0
        #: Rules of the host's own firewall by destination port: `REJECT` or `DROP`.
        self.rules: dict[int, str] = {}
        #: For how many more segments a rule holds, where it doesn't hold for all.
        self.rules_left: dict[int, int] = {}
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
        port = segment.destination.port
        if not self.rules_left.get(port, 1):
            return None
        if port in self.rules_left:
            self.rules_left[port] -= 1
        return self.rules.get(port)

    def add_rule(self, port: int, rule: str, times: int = 0) -> None:
        """`REJECT` or `DROP` whatever comes for a port, or only so many segments."""
        self.rules[port] = rule
        if times:
            self.rules_left[port] = times
        else:
            self.rules_left.pop(port, None)
