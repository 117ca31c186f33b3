"""What a race of timers is: its lanes, one for each situation, and what they say.

`race` makes one, see `tcplab.advice.race`; pictures, the what-if form and the command line read it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import inf
from typing import Any, NamedTuple

from tcplab.advice.messages import BURST, Check, words
from tcplab.core.text import plural

#: Kinds of an event: it ends the wait; it would have ended it later; its probe restarts a middlebox's timer;
#: a middlebox forgets and tells no program; one of several times that add up; the answer is ready; it
#: can't help here.
FIRES, WOULD, RESTARTS, FORGETS = "fires", "would", "restarts a box", "box forgets"
PART, READY, USELESS = "part of a sum", "answer ready", "useless"
KINDS = (FIRES, WOULD, RESTARTS, FORGETS, PART, READY, USELESS)

#: Where a number comes from: a file or a topology, a default of the catalogue, or a decision: what you say
#: in numbers that no file has, and a remedy that is tried.
READ, ASSUMED, DECIDED = "read", "assumed", "decided"

#: Verdicts. `TOO_LATE` is also what ends that should have gone on: the answer never comes.
LIVES, IN_TIME, TOO_LATE, NEVER, UNKNOWN = "lives", "in time", "too late", "never", "not known"
#: The worse, the later.
VERDICTS = (LIVES, IN_TIME, UNKNOWN, TOO_LATE, NEVER)


class Situation(NamedTuple):
    """What is raced through: its letter, its name, and from when its clock runs."""

    letter: str
    name: str
    clock: str


SITUATIONS = {
    "idle_session": Situation("A", "Session idle", "from the last byte"),
    "silent_query": Situation("B", "Silent query", "from the ACK of the request"),
    "server_dies_idle": Situation("C", "Server dies, idle", "from the next checkout"),
    "server_dies_waiting": Situation("D", "Server dies, waiting", "from its last ACK"),
    "server_dies_sending": Situation("E", "Server dies, sending", "from the first transmission"),
    "failover": Situation("F", "Failover", "from the loss of the primary"),
    "connect_nowhere": Situation("G", "Connect hangs", "from the SYN"),
    "pool_exhausted": Situation("H", "Pool exhausted", "from when all connections hang"),
    "client_dies": Situation("I", "Client dies", "from its last ACK"),
    "ports": Situation("J", "Ports run out", "from the first connection"),
    # Only in the race of one leg.
    "ghost": Situation("K", "Ghost connection", "from the end of connect()"),
    "slow_reader": Situation("L", "Slow reader", "from the closed window"),
}


@dataclass(frozen=True)
class RaceEvent:
    """One timer in a lane."""

    #: Seconds on the lane's clock; `inf`: never.
    t_s: float
    timer: str
    #: Whose it is: "application", "database", or the name of a proxy or a middlebox.
    host: str
    #: One of `KINDS`.
    kind: str = WOULD
    #: `READ`, `ASSUMED` or `DECIDED`.
    source: str = ASSUMED
    #: The setting, ``product.name``; of a middlebox its name; else a field of the environment, or empty.
    key: str = ""
    #: The errno's name, or what else the caller gets.
    error: str = ""


@dataclass(frozen=True)
class Hang:
    """What stays behind, and until when."""

    who: str
    #: On the lane's clock; `inf`: for good.
    until_s: float


@dataclass(frozen=True, kw_only=True)
class RaceLane:
    """One situation on one leg."""

    key: str
    #: The situation in a few words: "query running, leg 2".
    detail: str
    #: The number of the leg, from 0; None: not of one leg.
    leg: int | None = None
    #: In the order of time.
    events: tuple[RaceEvent, ...] = ()
    #: The timer that decides; empty: none does.
    winner: str = ""
    #: When the caller gets its error, seconds; `inf`: never; None: it gets none, because the connection
    #: lives, or it is not known.
    heard_s: float | None = None
    #: How long the caller waits, from its own call; None: as long as `heard_s`.
    waits_s: float | None = None
    #: What is printed then, or why nothing is.
    message: str = ""
    hangs: tuple[Hang, ...] = ()
    #: One of `VERDICTS`.
    verdict: str
    #: One sentence: what happens.
    says: str
    #: The environment's field that is missing, where the verdict is `UNKNOWN`.
    needs: str = ""
    #: When something breaks that nothing outside broke: for what breaks first; None: somebody died.
    breaks_s: float | None = None

    @property
    def situation(self) -> Situation:
        """Letter, name and clock."""
        return SITUATIONS[self.key]

    @property
    def is_broken(self) -> bool:
        """Too late, or never."""
        return self.verdict in (TOO_LATE, NEVER)

    @property
    def until_s(self) -> float:
        """How long it lasts, until the caller has its error and nothing hangs any more."""
        waits = self.heard_s if self.waits_s is None else self.waits_s
        return max((waits or 0, *(each.until_s for each in self.hangs)))

    @property
    def decided_by(self) -> RaceEvent | None:
        """The event of the winner."""
        order = {FIRES: 0, FORGETS: 1, PART: 2, RESTARTS: 3}
        named = [each for each in self.events if each.timer == self.winner]
        return min(named, key=lambda each: order.get(each.kind, 4), default=None)

    @property
    def when(self) -> str:
        """``never``, ``57 s``, ``lives``, ``5 s, until 15 min 29 s``."""
        if self.heard_s is None:
            return self.verdict
        if self.heard_s == inf:
            return "never"
        if self.waits_s is not None:
            return (
                f"{time_text(self.waits_s)} after the next query"
                if self.waits_s >= 1
                else "at the next query"
            )
        until = f", until {time_text(self.until_s)}" if self.until_s > self.heard_s else ""
        return f"{time_text(self.heard_s)}{until}"

    def line(self, outage_s: float) -> str:
        """For a log: ``server_dies_sending 929 s > 60 s tcp_retries2``."""
        late = "never" if self.until_s == inf else f"{self.until_s:,.0f} s > {outage_s:g} s"
        if self.breaks_s is not None:
            late = f"breaks after {self.breaks_s:,.0f} s, " + (
                "never heard" if self.heard_s == inf else f"error after {self.heard_s:,.0f} s"
            )
        where = f" (leg {(self.leg or 0) + 1})" if self.detail.endswith(f"leg {(self.leg or 0) + 1}") else ""
        return f"{self.key}{where} {late}: {self.winner or 'no timer runs'}"

    @property
    def left(self) -> str:
        """``thread + connection``: what hangs, in a few words; empty: nothing."""
        return ", ".join(each.who for each in self.hangs)

    @property
    def sentence(self) -> str:
        """Everything in one line, as a screen reader says it."""
        name = f"{self.situation.letter}, {self.situation.name} ({self.detail})"
        hangs = "".join(f" Left behind: {each.who} until {time_text(each.until_s)}." for each in self.hangs)
        prints = f" Printed: “{self.message}”." if self.message else ""
        return f"{name}: {self.verdict}. {self.says}{prints}{hangs}"


@dataclass(frozen=True)
class Race:
    """All lanes of an environment."""

    #: Every lane, on every leg.
    on_legs: tuple[RaceLane, ...]
    #: What is tolerated, seconds; 0: not known.
    outage_s: float
    #: The counts against their limits.
    counts: tuple[Check, ...] = ()

    @property
    def lanes(self) -> tuple[RaceLane, ...]:
        """One lane for a situation, that of the worst leg, in the order of `SITUATIONS`."""
        worst: dict[str, RaceLane] = {}
        for lane in self.on_legs:
            known = worst.get(lane.key)
            if known is None or _badness(lane) > _badness(known):
                worst[lane.key] = lane
        return tuple(worst[key] for key in SITUATIONS if key in worst)

    def __getitem__(self, key: str) -> RaceLane:
        return next(lane for lane in self.lanes if lane.key == key)

    def of(self, key: str) -> tuple[RaceLane, ...]:
        """A situation on all of its legs."""
        return tuple(lane for lane in self.on_legs if lane.key == key)

    @property
    def broken(self) -> tuple[RaceLane, ...]:
        """What breaks first, first: what breaks by itself, by when; then what is not noticed in time."""
        return tuple(
            sorted(
                (lane for lane in self.lanes if lane.is_broken),
                key=lambda lane: (lane.breaks_s is None, lane.breaks_s or 0, -lane.until_s),
            )
        )

    @property
    def full(self) -> tuple[Check, ...]:
        """The counts that exceed their limits for longer than seconds; ports have a lane of their own."""
        return tuple(
            each
            for each in self.counts
            if not each.holds and each.kind != BURST and each.unit not in ("ports", "per s")
        )

    @property
    def sentence(self) -> str:
        """What breaks first, and how much else does."""
        unknown = [lane.situation.name for lane in self.lanes if lane.verdict == UNKNOWN]
        said = [f"Not known: {'; '.join(unknown)}."] if unknown else []
        said += [_of_count(each) for each in self.full]
        if not self.broken:
            judged = len(self.lanes) - len(unknown)
            return " ".join([f"Nothing breaks in {plural(judged, 'situation')}.", *said])
        first = self.broken[0]
        when = "" if first.breaks_s is None else f", after {time_text(first.breaks_s)}" * bool(first.breaks_s)
        head = f"Breaks first: {first.situation.letter}, {first.situation.name}{when}. {first.says}"
        longer = ""
        if self.outage_s:
            tolerated = f"the {time_text(self.outage_s)} that you tolerate"
            longer = (
                f"{len(self.broken)} of {plural(len(self.lanes), 'situation')} last longer than {tolerated}."
            )
        return " ".join(filter(None, [head, longer, *said]))

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON has it: times in seconds, null for never."""
        lanes = [_plain(asdict(lane) | {"letter": lane.situation.letter, "clock": lane.situation.clock,
                                        "name": lane.situation.name}) for lane in self.lanes]  # fmt: skip
        counts = [
            {"name": each.name, "left": each.left, "right": _plain(each.right), "holds": each.holds,
             "unit": each.unit, "numbers": each.numbers}
            for each in self.counts
        ]  # fmt: skip
        return {"outage_s": self.outage_s, "sentence": self.sentence, "lanes": lanes, "counts": counts}


def _badness(lane: RaceLane) -> tuple[int, float, float]:
    return VERDICTS.index(lane.verdict), -inf if lane.breaks_s is None else -lane.breaks_s, lane.until_s


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if value == inf else value


def _of_count(check: Check) -> str:
    """A count in a sentence, with mathematics' signs."""
    numbers = check.numbers.replace(" <= ", " ≤ ").replace(" x ", " × ")
    return f"{check.title[0].upper()}{check.title[1:]}: {numbers}."


def time_text(seconds: float | None) -> str:
    """A rounded time in words; from a minute on whole seconds are enough."""
    if seconds is None:
        return ""
    return "never" if seconds == inf else words(round(seconds) if seconds >= 10 else round(seconds, 2))


def compared(before: Race, after: Race) -> str:
    """What a change did, and what is still too late: two sentences."""
    was, now = len(before.broken), len(after.broken)
    mended = [lane.key for lane in before.broken if lane.key not in {each.key for each in after.broken}]
    said = [f"{was} too late → {now}."]
    said += [f"{lane.situation.name}: {time_text(before[lane.key].until_s)} → "
             f"{lane.when}." for lane in after.lanes if lane.key in mended][:2]  # fmt: skip
    for lane in after.broken[:1]:
        said.append(f"Still too late: {lane.situation.letter}, {lane.situation.name}. {lane.says}")
    said += [_of_count(each) for each in after.full[:1]]
    return " ".join(said)
