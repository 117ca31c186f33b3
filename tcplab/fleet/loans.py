"""What a pool is asked to do, what it lends, and what came of it. All times in whole nanoseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

#: Later than everything.
NEVER = 1 << 62
#: How long Linux may keep back the ACK of a request, hoping to send it with the answer: nanoseconds
#: (include/net/tcp.h:TCP_DELACK_MIN).
ACK_DELAY = 40_000_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a pool is asked to do. All times in nanoseconds; `NEVER` for a timer that is off."""

    arrivals: Sequence[int]
    end: int
    size: int
    is_lifo: bool
    latency: int
    #: From sending a request to its answer, and the same for a probe or a handshake.
    query: int
    round_trip: int
    #: `none`, `test_on_borrow`, `test_on_return`, `test_while_idle` or `background_ping`.
    probe: str
    probe_interval: int
    bypass: int
    lifetime: int
    idle_timeout: int
    acquire_timeout: int
    #: The moment at which every connection dies; whether by FIN or RST; until when none can be opened.
    break_at: int
    is_told: bool
    up_at: int
    #: Silence after which a connection is dead.
    silence_limit: int
    #: From sending into a dead connection to the error: of the application's own, and of Linux.
    socket_timeout: int
    detection: int
    #: Who finds one dead gives up all that are as old; each is opened anew when it is next borrowed.
    all_at_once: bool

    @property
    def usual(self) -> int:
        """How long a healthy request takes that need not wait."""
        return self.query + (self.round_trip if self.probe == "test_on_borrow" and not self.bypass else 0)


@dataclass(slots=True, eq=False)
class Link:
    """One connection of the pool."""

    row: int
    born: int
    #: An exchange that ends by then is safe; the last segment; the last request's end.
    safe: int = NEVER
    quiet: int = 0
    used: int = 0
    is_busy: bool = False
    is_old: bool = False
    is_gone: bool = False


@dataclass(slots=True)
class Told:
    """What came of it."""

    errors: int = 0
    timeouts: int = 0
    zombies: int = 0
    probes: int = 0
    zombies_left: int = 0
    first_death: int = NEVER
    last_error: int = -1
    #: (arrival, how long it took, did it fail) of every request that was not answered in `Plan.usual`.
    unusual: list[tuple[int, int, bool]] = field(default_factory=list)
    #: (row, from, until, `alive` or `zombie`).
    lives: list[tuple[int, int, int, str]] = field(default_factory=list)
