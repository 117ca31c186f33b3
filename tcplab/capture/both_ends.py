"""Two captures of the same connections, taken on different hosts: one clock, and what was lost in between.

A connection is recognised in the other file by its addresses and ports, behind NAT by its sequence numbers,
and where a firewall rewrites those by its TCP time stamps. A packet is in both files when addresses aside its
header says the same. Each direction bounds the difference of the clocks from one side, for no packet arrives
before it was sent: the offset is the middle of what is left, and half of that its error (as in NTP, RFC 5905
section 8). What one end sent while both captures ran and only its own file holds was lost between them.

Incidents are those of the near file. One of the far file counts, too, where none of its connections broke in
the near file, which has them: an idle client sees nothing when its server gives it up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from tcplab.capture.breaks import MOST_PACKETS, Broke
from tcplab.capture.capture import Capture
from tcplab.capture.causes import IncidentEvidence, cause_of
from tcplab.capture.incidents import CaptureIncidents, Incident
from tcplab.core.segment import ACK, FIN, RST, SYN, Segment, seq_diff
from tcplab.core.text import MILLISECOND, SECOND, clock, duration, plural

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

#: Packets at either end of a connection by which it is recognised, and how many of them both files must have.
SIGNATURE, COMMON = 8, 3
#: From this length on the clocks' drift is estimated, nanoseconds.
LONG = 600 * SECOND
#: Packets this close to the end of a file may have been on their way, nanoseconds.
UNDER_WAY = 10 * MILLISECOND
FLAGS = SYN | FIN | RST | ACK
FILE = TypeVar("FILE", bound=CaptureIncidents)


class SeenPacket(NamedTuple):
    """One packet as one of the files has it."""

    #: Nanoseconds since 1970 by the clock of its file.
    t: int
    frame: int
    by_client: bool
    segment: Segment


def _by_numbers(packet: SeenPacket) -> Hashable:
    s = packet.segment
    return packet.by_client, s.seq, s.ack, s.flags & FLAGS, s.length, s.timestamps and s.timestamps[0]


def _by_times(packet: SeenPacket) -> Hashable:
    s = packet.segment
    return (packet.by_client, s.flags & FLAGS, s.length, *s.timestamps) if s.timestamps else object()


class SamePair(NamedTuple):
    """One connection in both files, by its numbers there."""

    near: int
    far: int
    key: Callable[[SeenPacket], Hashable] = _by_numbers


class LostPacket(NamedTuple):
    """A packet that one end sent and the other file lacks."""

    pair: SamePair
    by_client: bool
    #: Its number in the file of the end that sent it.
    frame: int
    #: Nanoseconds since 1970, by the near file's clock.
    t: int
    #: No later packet of this direction arrived.
    final: bool
    flags: int = 0
    length: int = 0


class MatchedPacket(NamedTuple):
    """A packet that is in both files."""

    by_client: bool
    #: When it passed either capture point, nanoseconds since 1970, by the near file's clock.
    near: int
    far: int


@dataclass(frozen=True)
class ClockOffset:
    """How far the far file's clock is ahead of the near file's, nanoseconds."""

    offset: int
    error: int
    #: Nanoseconds a second by which the far clock gains, and since when.
    drift: float = 0.0
    since: int = 0

    def to_near(self, t: int) -> int:
        """A time of the far file by the near file's clock."""
        return t - self.offset - round(self.drift * (t - self.since) / SECOND)

    def to_far(self, t: int) -> int:
        """The reverse."""
        return t + self.offset + round(self.drift * (t - self.since) / SECOND)


@dataclass(frozen=True)
class BothEnds(Generic[FILE]):
    """Two captures of the same connections; `near` is the one nearer to the clients, and its clock counts."""

    near: FILE
    far: FILE
    pairs: tuple[SamePair, ...]
    clocks: ClockOffset
    #: Packets that are in both files.
    matched: int
    lost: tuple[LostPacket, ...]
    #: When the last packet before each final loss arrived, by the near file's clock.
    last_arrived: int
    #: Packets that passed one capture point and that its file lacks.
    missed: int

    @property
    def translated(self) -> bool:
        """Addresses or ports differ between the files: NAT."""
        near, far = self.near.capture.connections, self.far.capture.connections
        return any(near[pair.near] != far[pair.far] for pair in self.pairs)

    @property
    def names(self) -> tuple[str, str]:
        """What the near and the far file are called; where both have one name, also where they were taken."""
        near, far = self.near.capture.name, self.far.capture.name
        return (near, far) if near != far else (f"{near} of the client’s side", f"{far} of the server’s side")

    def lost_from(self, by_client: bool) -> list[LostPacket]:
        """What the clients, or the servers, sent and the other file lacks."""
        return [each for each in self.lost if each.by_client == by_client]

    def flights(self, pair: SamePair) -> list[MatchedPacket]:
        """The packets of one connection that are in both files, in order of time."""
        both = _matched(self.near.capture, self.far.capture, pair).both
        return sorted(
            (MatchedPacket(one.by_client, one.t, self.clocks.to_near(other.t)) for one, other in both),
            key=lambda each: each.near,
        )

    def story(self, since: int = 0) -> str:
        """What was lost between the files, and between which moments, in a sentence.

        `since`: the moment that is 00:00:00, nanoseconds since 1970.
        """
        final = [each for each in self.lost if each.final]
        counts = self._counts()
        if not final and not self.lost:
            return f"Nothing was lost between the two files: {plural(self.matched, 'packet')} are in both."
        if not final:
            return f"No connection broke between the two files, but packets were lost: {counts}."
        low, high = self.last_arrived, min(each.t for each in final)
        low, high = min(low, high), max(low, high)
        when = f"Between {clock(max(low - since, 0))} and {clock(max(high - since, 0))}"
        sides = {each.by_client for each in final}
        direction = "in both directions" if len(sides) > 1 else (
            "from client to server" if True in sides else "from server to client"
        )  # fmt: skip
        who = "both ends" if len(sides) > 1 else "the client" if True in sides else "the server"
        hit = plural(len({each.pair.near for each in final}), "connection")
        return (
            f"{when} the path between the two capture points broke {direction} for {hit}, while {who} went "
            f"on sending: {counts}."
        )

    def headline(self, since: int = 0) -> str:
        """The story, after what else happened where nothing broke between the two; `since` as in `story`."""
        broke, merged = any(each.final for each in self.lost), self.merged()
        if since:
            incidents = tuple(replace(each, began=each.began - since) for each in merged.incidents)
            merged = replace(merged, incidents=incidents)
        return self.story(since) if broke else f"{merged.headline()} {self.story(since)}"

    def why(self) -> str:
        """The cause, and what would look the same; of a loss, which the story is about, only the latter."""
        cause = self.merged().cause
        if cause is None:
            return ""
        return cause.looks_same if cause.code == "lost_between" else cause.text

    def clocks_line(self) -> str:
        """How the clocks compare, and whose times are shown."""
        offset, error = self.clocks.offset, self.clocks.error
        ahead = "ahead of" if offset >= 0 else "behind"
        drift = f", and gains {self.clocks.drift / 1000:.1f} µs a second" if self.clocks.drift else ""
        nat = " Addresses or ports differ between the files (NAT)." if self.translated else ""
        miss = (
            f" {plural(self.missed, 'packet')} passed a capture point whose file lacks them: it dropped some."
            if self.missed else ""
        )  # fmt: skip
        near_name, far_name = self.names
        return (
            f"The clock of {far_name} is {duration(abs(offset))} {ahead} that of "
            f"{near_name}, ± {duration(max(error, 1))}{drift}: "
            f"{plural(self.matched, 'packet')} of {plural(len(self.pairs), 'connection')} are in both files. "
            f"Times are by the clock of {near_name}, UTC.{nat}{miss}"
        )

    def merged(self) -> FILE:
        """The near file's incidents and what only the far file shows of its connections.

        The loss between the files is the cause where one of the connections had one.
        """
        incidents = [*self.near.incidents, *self.only_far]
        incidents.sort(key=lambda each: (each.low_s, each.high_s))
        hit = {each.pair.near for each in self.lost if each.final}
        cause = cause_of(IncidentEvidence(family="silence", lost=self._counts())) if hit else None
        broke, unaware = dict(self.near.broke), dict(self.near.unaware)
        far_of = {pair.near: pair.far for pair in self.pairs}
        for each in self.only_far:
            for number in each.connections:
                family = self.far.broke[far_of[number]].family
                broke[number] = Broke(family, each.low_s, each.high_s)
                unaware[number] = each.high_s
        numbered = tuple(
            replace(each, number=i, cause=cause if hit & {*each.connections} else each.cause)
            for i, each in enumerate(incidents, 1)
        )
        return replace(self.near, incidents=numbered, broke=broke, unaware=unaware)

    @cached_property
    def only_far(self) -> tuple[Incident, ...]:
        """Incidents of the far file whose connections are in the near one and did not break there."""
        near_of = {pair.far: pair.near for pair in self.pairs}
        began, (near_name, far_name) = self.near.capture.began, self.names
        made = []
        for each in self.far.incidents:
            numbers = sorted(near_of[number] for number in each.connections if number in near_of)
            if not numbers or any(number in self.near.broke for number in numbers):
                continue
            low, high = (
                (self.clocks.to_near(each.began + round(t * SECOND)) - began) / SECOND
                for t in (each.low_s, each.high_s)
            )
            if high < 0 or high > self.near.length_s + (self.clocks.error + UNDER_WAY) / SECOND:
                continue  # the near file was not being written
            some = f"; {len(numbers):,} of them are in {near_name}" * (len(numbers) < len(each.connections))
            made.append(
                replace(
                    each, low_s=max(low, 0.0), high_s=min(high, self.near.length_s), began=began, unaware=(),
                    connections=tuple(numbers), what=f"{each.what}, which only {far_name} shows{some}",
                )
            )  # fmt: skip
        return tuple(made)

    def remark(self) -> str:
        """What the far file has besides, in a sentence; empty where that is nothing."""
        near_of = {pair.far: pair.near for pair in self.pairs}
        shown = sum(
            any(near_of.get(number) in self.near.broke for number in each.connections)
            for each in self.far.incidents
        )
        rest = len(self.far.incidents) - len(self.only_far) - shown
        near_name, far_name = self.names
        if not rest:
            return ""
        return (
            f"{far_name} has {plural(rest, 'more incident')}, of connections or times that {near_name} does "
            "not hold."
        )

    def to_json(self, zone: ZoneInfo | None = None) -> dict[str, Any]:
        """As `tcplab diagnose --json` prints it, as `both_ends` of each of the two files.

        `offset_s`: how far the server file's clock is ahead; `lost`: frames in the file of the end that sent
        them; `connections`: their numbers in the client's and in the server's file; `incidents`: those of
        both files, times since the client file's first packet and numbers of its connections.
        """
        return {
            "client_file": self.near.capture.name, "server_file": self.far.capture.name,
            "says": self.headline(), "clocks": self.clocks_line(), "offset_s": self.clocks.offset / SECOND,
            "error_s": self.clocks.error / SECOND, "drift_ppm": self.clocks.drift / 1000,
            "matched": self.matched, "missed": self.missed, "translated": self.translated,
            "connections": [[pair.near, pair.far] for pair in self.pairs],
            "remark": self.remark(), "incidents": [each.to_json(zone) for each in self.merged().incidents],
            "lost": {
                "client_to_server": [each.frame for each in self.lost_from(True)],
                "server_to_client": [each.frame for each in self.lost_from(False)],
            },
        }  # fmt: skip

    def _counts(self) -> str:
        parts = []
        for by_client, words in ((True, "from client to server"), (False, "from server to client")):
            if count := len(self.lost_from(by_client)):
                parts.append(f"{plural(count, 'packet')} {words}")
        return f"{' and '.join(parts)} never arrived"


def both_ends(one: FILE, other: FILE, *, swapped: bool = False) -> BothEnds[FILE] | str:
    """Two captures as one; where they can't be compared, a sentence that says why.

    The files may come in either order: which of them is nearer to the clients follows from the times, unless
    they were `swapped` already.
    """
    names = f"{one.capture.name} and {other.capture.name}"
    pairs = _pairs(one.capture, other.capture)
    if not pairs:
        return (
            f"{names} could not be matched: no connection is in both, neither by addresses and ports nor by "
            "sequence numbers or TCP time stamps."
        )
    seen = [_matched(one.capture, other.capture, pair) for pair in pairs]
    deltas: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    for match in seen:
        for near, far in match.both:
            deltas[near.by_client].append((near.t, far.t - near.t))
    if not deltas[True] or not deltas[False]:
        way = "client to server" if deltas[False] else "server to client"
        return f"{names} hold no packet from {way} in common, so their clocks can’t be compared."
    clocks, in_order = _clocks(deltas)
    if not in_order and not swapped:
        return both_ends(other, one, swapped=True)
    lost: list[LostPacket] = []
    missed, arrived = 0, 0
    for pair, match in zip(pairs, seen, strict=True):
        found, before, gone = _lost(one.capture, other.capture, pair, match, clocks)
        lost += found
        missed += gone
        arrived = max(arrived, before)
    count = sum(len(match.both) for match in seen)
    lost.sort(key=lambda each: each.t)
    return BothEnds(one, other, tuple(pairs), clocks, count, tuple(lost), arrived, missed)


# -- matching ------------------------------------------------------------------------------------------


def _packets(capture: Capture, number: int, most: int = MOST_PACKETS) -> list[SeenPacket]:
    """The packets of a connection; of a long one those at either end."""
    rows = capture.rows(number)
    if len(rows) > most:
        rows = [*rows[: most // 2], *rows[-(most // 2) :]]
    table, client = capture.table, capture.connections[number][0]
    columns = table.values("t", rows), table.values("frame", rows), table.segments(rows)
    return [
        SeenPacket(capture.began + t, frame, s.source == client, s)
        for t, frame, s in zip(*columns, strict=True)
    ]


def _pairs(one: Capture, other: Capture) -> list[SamePair]:
    """The connections that both files have, each once."""
    ends = [_packets(one, n, 2 * SIGNATURE) for n in range(len(one.connections))]
    others = [_packets(other, n, 2 * SIGNATURE) for n in range(len(other.connections))]
    pairs: list[SamePair] = []
    for key, by_name in ((_by_numbers, True), (_by_numbers, False), (_by_times, False)):
        taken = {pair.near for pair in pairs}, {pair.far for pair in pairs}
        where: dict[Hashable, int | None] = {}
        for number, packets in enumerate(others):
            if number in taken[1]:
                continue
            name = other.connections[number] if by_name else None
            for each in {(name, key(packet)) for packet in packets}:
                where[each] = None if each in where else number
        votes: Counter[tuple[int, int]] = Counter()
        for number, packets in enumerate(ends):
            if number in taken[0]:
                continue
            name = one.connections[number] if by_name else None
            for each in {(name, key(packet)) for packet in packets}:
                if (found := where.get(each)) is not None:
                    votes[number, found] += 1
        for (near, far), count in sorted(votes.items(), key=lambda item: -item[1]):
            used = near in taken[0] or far in taken[1]
            if not used and count >= (1 if by_name else COMMON):
                pairs.append(SamePair(near, far, key))
                taken[0].add(near)
                taken[1].add(far)
    return sorted(pairs, key=lambda pair: pair.near)


class _Match(NamedTuple):
    """The packets of one connection: in both files, and in only one of them."""

    both: list[tuple[SeenPacket, SeenPacket]]
    only_near: list[SeenPacket]
    only_far: list[SeenPacket]


def _matched(one: Capture, other: Capture, pair: SamePair) -> _Match:
    """The n-th packet of a kind in one file is the n-th in the other."""
    near, far = _packets(one, pair.near), _packets(other, pair.far)
    waiting: dict[Hashable, list[SeenPacket]] = {}
    for packet in far:
        waiting.setdefault(pair.key(packet), []).append(packet)
    both, only = [], []
    for packet in near:
        if same := waiting.get(pair.key(packet)):
            both.append((packet, same.pop(0)))
        else:
            only.append(packet)
    rest = sorted((packet for each in waiting.values() for packet in each), key=lambda packet: packet.t)
    # Network cards join and cut segments: one file may hold the same bytes in other pieces.
    return _Match(both, [*_not_in(only, rest, far)], [*_not_in(rest, only, near)])


def _not_in(
    mine: Sequence[SeenPacket], theirs: Sequence[SeenPacket], whole: Sequence[SeenPacket]
) -> Iterator[SeenPacket]:
    """Packets whose bytes the other file does not hold in other pieces."""
    sizes = {(packet.by_client, packet.segment.seq, packet.segment.length) for packet in whole}
    for packet in mine:
        s = packet.segment
        cut = s.length > 1 and (packet.by_client, s.seq, s.length) not in sizes
        if cut and any(
            other.by_client == packet.by_client and other.segment.length > 1
            and seq_diff(other.segment.seq, s.seq) < s.length
            and seq_diff(s.seq, other.segment.seq) < other.segment.length
            for other in theirs
        ):  # fmt: skip
            continue
        yield packet


def _clocks(deltas: dict[bool, list[tuple[int, int]]]) -> tuple[ClockOffset, bool]:
    """The far clock's offset, and False where the files are in the other order."""
    times = [t for each in deltas.values() for t, _ in each]
    first, last = min(times), max(times)
    drift = 0.0
    if last - first >= LONG:
        part = (last - first) // 4
        ends = []
        for low, high in ((first, first + part), (last - part, last)):
            some = {side: [d for t, d in each if low <= t <= high] for side, each in deltas.items()}
            if min(map(len, some.values())) >= COMMON:
                ends.append(_middle(some[True], some[False]))
        if len(ends) == 2 and abs(ends[1][0] - ends[0][0]) > ends[0][1] + ends[1][1]:
            drift = (ends[1][0] - ends[0][0]) / ((last - first - part) / SECOND)
    flat = {side: [d - round(drift * (t - first) / SECOND) for t, d in each] for side, each in deltas.items()}
    offset, error, in_order = _middle(flat[True], flat[False])
    return ClockOffset(offset, error, drift, first), in_order


def _middle(by_client: Sequence[int], by_server: Sequence[int]) -> tuple[int, int, bool]:
    """Offset, error, and whether the first file is nearer to the client: from far minus near times."""
    room, reverse = min(by_client) - max(by_server), min(by_server) - max(by_client)
    low, high = (max(by_server), min(by_client)) if room >= reverse else (max(by_client), min(by_server))
    return (low + high) // 2, abs(high - low) // 2, room >= reverse


def _lost(
    near: Capture, far: Capture, pair: SamePair, match: _Match, clocks: ClockOffset
) -> tuple[list[LostPacket], int, int]:
    """What was lost, when the last packet before a final loss arrived, and how many a file missed."""
    margin = 4 * clocks.error + UNDER_WAY
    lost: list[LostPacket] = []
    arrived = missed = 0
    for by_client, only, runs in ((True, match.only_near, far), (False, match.only_far, near)):
        to_other = clocks.to_far if by_client else clocks.to_near
        sent = [
            packet for packet in only
            if packet.by_client == by_client and runs.began <= to_other(packet.t) <= runs.ended - margin
        ]  # fmt: skip
        mine = [
            (a.t if by_client else clocks.to_near(b.t)) for a, b in match.both if a.by_client == by_client
        ]
        latest = max(mine, default=0)
        for packet in sent:
            t = packet.t if by_client else clocks.to_near(packet.t)
            s = packet.segment
            lost.append(LostPacket(pair, by_client, packet.frame, t, t > latest, s.flags, s.length))
        if any(each.final and each.by_client == by_client for each in lost):
            arrived = max(arrived, latest)
        # The other file has them, so they passed the sender's own capture point.
        own, back = (near, clocks.to_near) if by_client else (far, clocks.to_far)
        others = match.only_far if by_client else match.only_near
        missed += sum(
            packet.by_client == by_client and own.began + margin <= back(packet.t) <= own.ended - margin
            for packet in others
        )
    return lost, arrived, missed
