"""A capture file as a table of its TCP packets, fast: batches of records in, columns out.

A few bytes are kept of each packet, never its data. What the fast way does not know goes to scapy,
one packet at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from operator import attrgetter
from os import PathLike, urandom
from socket import AF_INET6, inet_ntop
from typing import NamedTuple, cast

import numpy as np

from tcplab.capture.file import Array, Batch, Frame, Records
from tcplab.capture.headers import (
    LINKS,
    Dissector,
    FirstWords,
    Headers,
    Quote,
    dissect,
    empty,
    knows_link,
    parse,
)
from tcplab.core.segment import ACK, RST, SYN, Segment
from tcplab.follow import incarnations

# ----------------------------------------------------------------------
# Which connection each packet belongs to, and who is its client: for all packets at once.
#
# A flow is what runs between two ends; it may carry one connection after the other. The rule of
# `tcplab.follow` tells them apart. Most flows need no looking: all their SYNs are the one that
# they begin with, or answer it. Only the others are followed segment by segment.


class Lean(NamedTuple):
    """What the rule looks at in a segment; an end is known by its way."""

    source: int
    destination: int
    flags: int
    seq: int
    ack: int


def connection_numbers(
    flows: int, seen: Array | None, way: Array, flags: Array, seq: Array, ack: Array
) -> Array:
    """For each packet, in order of time, the number of its connection, by its first packet.

    `way` is twice the number of the flow, plus one in one of its directions. `seen` is the first
    packet of each flow when the flows are numbered in that order; None when they are not.
    """
    flow = way >> 1
    first = first_of(flow, flows) if seen is None else seen
    opens = (flags & (SYN | RST)) == SYN
    syn = np.flatnonzero(opens)
    begin = first[flow[syn]]
    answers = ((flags[syn] & ACK) != 0) & (ack[syn] - np.uint32(1) == seq[begin])
    same = opens[begin] & np.where(way[syn] == way[begin], seq[syn] == seq[begin], answers)
    odd = np.zeros(flows, bool)
    odd[flow[syn[~same]]] = True
    if not odd.any():
        return flow if seen is not None else _in_order(flow, first)
    there = np.flatnonzero(odd[flow])
    numbers = flow.copy()
    segments = cast(Iterable[Segment], _lean(there, way, flags, seq, ack))
    numbers[there] = flows + np.array(incarnations(segments), np.int32)
    _, numbers = np.unique(numbers, return_inverse=True)
    return _in_order(numbers, first_of(numbers, int(numbers.max()) + 1))


def first_of(numbers: Array, count: int) -> Array:
    """The first place of each number in 0 .. count-1; -1 for one that does not occur."""
    first = np.full(count, -1, np.int64)
    first[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)  # the last one to write stays
    return first


def _in_order(numbers: Array, first: Array) -> Array:
    """Numbered again, in order of their first place."""
    renumbered = np.empty(len(first), np.int32)
    renumbered[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return renumbered[numbers]


def _lean(there: Array, way: Array, flags: Array, seq: Array, ack: Array) -> Iterator[Lean]:
    ways = way[there].tolist()
    rest = zip(flags[there].tolist(), seq[there].tolist(), ack[there].tolist(), strict=True)
    return (Lean(each, each ^ 1, *more) for each, more in zip(ways, rest, strict=True))


def window_shifts(connection: Array, side: Array, syn: Array, scale: Array, count: int) -> Array:
    """How far each side's window is shifted after its SYN, a row for each connection; -1 unknown.

    `syn` are the packets with that flag and `scale` what each offers, -1 for nothing. Both SYNs must
    carry the option, or neither side shifts (RFC 7323 section 2.2).
    """
    unseen = -2
    offer = np.full((count, 2), unseen, np.int8)
    offer[connection[syn[::-1]], side[syn[::-1]]] = scale[::-1]
    refused = (offer == -1).any(axis=1)
    unknown = (offer == unseen).any(axis=1)
    offer[unknown] = -1
    offer[refused] = 0
    return offer


# ----------------------------------------------------------------------
# Numbers for pairs of numbers: the same pair, the same number, exactly and fast.
#
# A hash table in NumPy, for flows (two ends) and IPv6 addresses (two halves). All pairs of a batch look
# into their slot at once; those that find another pair there go on to the next slot together. Slots
# depend on a factor drawn by chance, so that nobody can make a file whose flows all collide; the numbers
# given out do not.

FIRST_SLOTS = 1 << 13
#: Slots for each pair, as long as they are not so many that they leave the processor's cache.
FREE, MANY_SLOTS = 8, 1 << 18


class PairTable:
    """Pairs of uint64 seen so far, numbered from 0."""

    def __init__(self) -> None:
        self._factors = [np.uint64(int.from_bytes(urandom(8), "little") | 1) for _ in range(3)]
        self._slots = np.full(FIRST_SLOTS, -1, np.int32)
        self._first = np.zeros(FIRST_SLOTS // 2, np.uint64)
        self._second = np.zeros(FIRST_SLOTS // 2, np.uint64)
        #: The slot of each pair, and the place of its first occurrence among all that were asked for.
        self._at = np.zeros(FIRST_SLOTS // 2, np.int64)
        self._seen = np.zeros(FIRST_SLOTS // 2, np.int64)
        self._count = self._asked = 0

    def __len__(self) -> int:
        return self._count

    @property
    def pairs(self) -> tuple[Array, Array]:
        """First and second halves by number."""
        return self._first[: self._count], self._second[: self._count]

    @property
    def first_seen(self) -> Array:
        """Where each pair was asked for the first time, counting all pairs ever asked for."""
        return self._seen[: self._count]

    def numbers(self, first: Array, second: Array) -> Array:
        """The number of each pair; new pairs get the next ones, in their order."""
        before = self._count
        slot = self._slot(first, second)
        found = self._slots[slot]
        hit = (self._first[found] == first) & (self._second[found] == second) & (found >= 0)
        self._asked += len(first)
        if hit.all():
            return found
        out = np.where(hit, found, np.int32(-1))
        waiting = np.flatnonzero(~hit)
        slot = slot[waiting]
        while len(waiting):
            found = self._slots[slot]
            free = found < 0
            if free.any():
                self._add(first, second, waiting[free], slot[free])
                if self._count * FREE > len(self._slots) < MANY_SLOTS or self._count * 2 > len(self._slots):
                    self._grow()
                    slot = self._slot(first[waiting], second[waiting])
                    continue  # their new slots may be free
                found = self._slots[slot]
            hit = (self._first[found] == first[waiting]) & (self._second[found] == second[waiting])
            hit &= found >= 0
            out[waiting[hit]] = found[hit]
            waiting, slot = waiting[~hit], (slot[~hit] + 1) & (len(self._slots) - 1)
        if self._count > before:
            self._put_in_order(out, before)
        return out

    def _put_in_order(self, out: Array, before: int) -> None:
        """Number the new pairs by their first occurrence, whoever found a slot first."""
        rows = np.flatnonzero(out >= before)
        new = out[rows] - before
        first = np.empty(self._count - before, np.int64)
        first[new[::-1]] = rows[::-1]  # the last one to write stays
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        out[rows] = rank[new] + before
        fresh = slice(before, self._count)
        self._slots[self._at[fresh]] = rank + before
        for column in (self._first, self._second, self._at):
            column[fresh] = column[fresh][order]
        self._seen[fresh] = first[order] + self._asked - len(out)

    def _slot(self, first: Array, second: Array) -> Array:
        one, two, three = self._factors
        mixed: Array = first * one + second * two
        mixed ^= mixed >> np.uint64(32)
        mixed *= three
        return (mixed >> np.uint64(65 - len(self._slots).bit_length())).astype(np.int64)

    def _add(self, first: Array, second: Array, rows: Array, slots: Array) -> None:
        """Of those that want the same free slot the last one gets it; the others look again."""
        self._slots[slots] = np.arange(len(slots), dtype=np.int32)
        winners = np.flatnonzero(self._slots[slots] == np.arange(len(slots)))
        numbers = np.arange(self._count, self._count + len(winners), dtype=np.int32)
        while self._count + len(winners) > len(self._first):
            self._first = np.concatenate([self._first, np.zeros_like(self._first)])
            self._second = np.concatenate([self._second, np.zeros_like(self._second)])
            self._at = np.concatenate([self._at, np.zeros_like(self._at)])
            self._seen = np.concatenate([self._seen, np.zeros_like(self._seen)])
        self._first[numbers], self._second[numbers] = first[rows[winners]], second[rows[winners]]
        self._slots[slots[winners]] = numbers
        self._at[numbers] = slots[winners]
        self._count += len(winners)

    def _grow(self) -> None:
        """So many slots that most pairs find theirs at once, and everybody moves."""
        size = len(self._slots)
        while size < self._count * 4 or size < min(self._count * FREE * 2, MANY_SLOTS):
            size *= 2
        self._slots = np.full(size, -1, np.int32)
        numbers = np.arange(self._count, dtype=np.int32)
        slot = self._slot(*self.pairs)
        while len(numbers):
            free = self._slots[slot] < 0
            self._slots[slot[free]] = numbers[free]
            settled = self._slots[slot] == numbers
            self._at[numbers[settled]] = slot[settled]
            numbers, slot = numbers[~settled], (slot[~settled] + 1) & (size - 1)


#: Bit of an end's number that says that its address is the number of an IPv6 address.
IS_V6 = np.uint64(1 << 48)
PORT_BITS = np.uint64(16)


@dataclass
class Table:
    """The TCP packets of a capture in order of time, a value each in every one of the first columns."""

    #: Number in the file, from 1; nanoseconds since the capture's first packet.
    frame: Array
    t: Array
    #: Twice the number of the flow, plus one in one of its directions.
    way: Array
    seq: Array
    #: 0 where the ACK flag is not set.
    ack: Array
    flags: Array
    #: As it stands in the header.
    window: Array
    #: Bytes of payload, by the headers: not all of them need be in the file.
    length: Array
    #: TSval and TSecr, good where `has_times`.
    timestamp: Array
    echo: Array
    has_times: Array
    connection: Array
    #: Packets with the SYN flag, in order, and what they offer: -1 without the option.
    syn: Array
    mss: Array
    window_scale: Array
    sack_permitted: Array
    #: SACK blocks: the packet of each, in order, and its edges.
    sack_of: Array
    sack_left: Array
    sack_right: Array
    #: The two ends of each flow, one after the other: address (a number of `addresses`) and port.
    end_address: Array
    end_port: Array
    addresses: list[str]
    first_words: FirstWords
    #: ICMP errors that quote a segment, in order of time.
    quotes: list[Quote]
    #: When the first and the last packet of any kind passed, nanoseconds since 1970.
    began: int
    ended: int
    #: Packets of any kind; how many of them have a link type that nobody here knows, by that type.
    packets: int
    strange: Counter[int]
    #: Where the file broke; empty when it did not.
    trouble: str
    #: Other things a reader must know.
    warnings: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.frame)


#: Columns that are collected from batches: name and type.
COLLECTED = {
    "frame": "u4", "t": "i8", "way": "i4", "seq": "u4", "ack": "u4", "flags": "u1", "window": "u2",
    "length": "u4", "timestamp": "u4", "echo": "u4", "has_times": "?",
}  # fmt: skip
SYNS = {"syn": "i8", "mss": "i4", "window_scale": "i1", "sack_permitted": "?"}
SACK = {"sack_of": "i8", "sack_left": "u4", "sack_right": "u4"}
#: Columns begin with room for so many rows.
FIRST_ROWS = 1024


def read_table(path: str | PathLike[str], progress: Callable[[float], None] = lambda share: None) -> Table:
    """All that can be read of a file; `CaptureError` when it can't be opened or is no capture.

    `progress` is told what share of the file has been read, 0 .. 1; what it raises ends the reading.
    """
    collected = _Collected()
    records = Records(path)
    for batch in records:
        collected.take(batch, records.share)
        progress(records.share)
    return collected.table(records)


class _Growing:
    """Columns of one length that grow."""

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self.columns = {name: np.empty(0, kind) for name, kind in kinds.items()}
        self.count = self._room = 0

    def extend(self, count: int, share: float = 0.0) -> slice:
        """Room for so many more rows, to be filled in every column; `share` of all rows is here then."""
        begin, self.count = self.count, self.count + count
        if self.count > self._room:
            # Memory that is not touched costs nothing; copying would.
            hoped = int(1.02 * self.count / share) if share else 0
            self._room = max(self.count + self._room // 2, hoped, FIRST_ROWS)
            for name, column in self.columns.items():
                self.columns[name] = np.empty(self._room, column.dtype)
                self.columns[name][:begin] = column[:begin]
        return slice(begin, self.count)

    def done(self) -> dict[str, Array]:
        """The columns, as long as they are."""
        return {name: column[: self.count] for name, column in self.columns.items()}


class _Collected:
    """What the batches so far have given."""

    def __init__(self) -> None:
        self._addresses, self._flows = PairTable(), PairTable()
        self._dissector = Dissector(self._addresses.numbers)
        self._dense, self._sack = _Growing(COLLECTED), _Growing(SACK)
        self._syn = _Growing(SYNS)
        self._words = FirstWords()
        self._strange: Counter[int] = Counter()
        self._began: int | None = None
        self._ended = 0

    def take(self, batch: Batch, share: float) -> None:
        """The packets of one batch; with it `share` of the file has been read, 0 when nobody knows."""
        low, high = int(batch.t.min()), int(batch.t.max())
        self._ended = high if self._began is None else max(self._ended, high)
        self._began = low if self._began is None else min(self._began, low)
        if batch.link in LINKS:
            found = self._dissector.take(batch)
            unknown: Iterable[int] = np.concatenate([*found.unknown, np.empty(0, np.int64)]).tolist()
        elif knows_link(batch.link):
            found, unknown = empty(len(batch)), range(len(batch))
        else:
            self._strange[batch.link] += len(batch)
            return
        options = self._ask_scapy(batch, found, unknown)
        options += self._options(batch, found)
        self._keep(batch, found, options, share)

    def _ask_scapy(self, batch: Batch, found: Headers, rows: Iterable[int]) -> list[dict[str, Array]]:
        known = []
        for row in rows:
            at, stored = int(batch.data[row]), int(batch.stored[row])
            data = bytes(batch.memory[at : at + stored])
            frame = Frame(int(batch.frame[row]), int(batch.t[row]), data, int(batch.wire[row]), batch.link)
            if (segment := dissect(frame)) is not None:
                self._enter(found, row, segment)
                known.append((row, segment))
        return [_options_of(row, segment) for row, segment in known]

    def _enter(self, found: Headers, row: int, segment: Segment) -> None:
        for name, end in (("src", segment.source), ("dst", segment.destination)):
            packed = ip_address(end.address).packed
            found.v6[row] = len(packed) == 16
            if len(packed) == 4:
                getattr(found, name)[row] = int.from_bytes(packed)
            else:
                halves = np.frombuffer(packed, ">u8").astype(np.uint64)
                getattr(found, name)[row] = self._addresses.numbers(halves[:1], halves[1:])[0]
        found.sport[row], found.dport[row] = segment.source.port, segment.destination.port
        for name in ("seq", "ack", "flags", "window", "length"):
            getattr(found, name)[row] = getattr(segment, name)
        found.has_times[row] = segment.timestamps is not None
        found.timestamp[row], found.echo[row] = segment.timestamps or (0, 0)
        found.kept[row] = True

    def _options(self, batch: Batch, found: Headers) -> list[dict[str, Array]]:
        given = []
        for row, begin, end in found.options:
            options = parse(batch.memory, begin, end)
            timed = options.timestamp >= 0
            found.has_times[row] = timed
            found.timestamp[row[timed]] = options.timestamp[timed]
            found.echo[row[timed]] = options.echo[timed]
            syn = np.flatnonzero(found.flags[row] & SYN)
            given.append({
                "syn": row[syn], "mss": options.mss[syn], "window_scale": options.window_scale[syn],
                "sack_permitted": options.sack_permitted[syn], "sack_of": row[options.sack_of],
                "sack_left": options.sack_left, "sack_right": options.sack_right,
            })  # fmt: skip
        return given

    def _keep(self, batch: Batch, found: Headers, options: list[dict[str, Array]], share: float) -> None:
        """Add the rows that hold TCP to the columns."""
        kept = found.kept
        whole = bool(kept.all())
        chosen = slice(None) if whole else np.flatnonzero(kept)
        source = found.src.astype(np.uint64) << PORT_BITS | found.sport
        target = found.dst.astype(np.uint64) << PORT_BITS | found.dport
        if found.v6.any():
            source[found.v6] |= IS_V6
            target[found.v6] |= IS_V6
        source, target = source[chosen], target[chosen]
        flow = self._flows.numbers(np.minimum(source, target), np.maximum(source, target))
        here = self._dense.extend(len(flow), share)
        new = {name: column[here] for name, column in self._dense.columns.items()}
        new["frame"][:], new["t"][:] = batch.frame[chosen], batch.t[chosen]
        np.add(flow * 2, source > target, out=new["way"])
        for name in ("seq", "ack", "window", "length", "timestamp", "echo", "has_times"):
            new[name][:] = getattr(found, name)[chosen]
        np.bitwise_and(found.flags[chosen], 0x3F, out=new["flags"])
        new["ack"][new["flags"] & ACK == 0] = 0
        if not new["has_times"].all():
            new["timestamp"] *= new["has_times"]
            new["echo"] *= new["has_times"]
        body, end = found.body[chosen], (batch.data + batch.stored)[chosen]
        self._words.take(batch.memory, len(self._flows), here.start, new["way"], new["length"], body, end)
        syn = np.flatnonzero(new["flags"] & SYN)
        if len(syn) or options:
            rank = np.arange(len(kept)) if whole else np.cumsum(kept) - 1
            self._keep_options(here.start + rank, here.start + syn, options)

    def _keep_options(self, place: Array, syn: Array, options: list[dict[str, Array]]) -> None:
        """`place` is where each row of the batch went."""
        room = self._syn.extend(len(syn))
        offers = {name: column[room] for name, column in self._syn.columns.items()}
        offers["syn"][:], offers["mss"][:], offers["window_scale"][:] = syn, -1, -1
        offers["sack_permitted"][:] = False
        for part in options:
            mine = np.searchsorted(syn, place[part["syn"]])
            for name in ("mss", "window_scale", "sack_permitted"):
                offers[name][mine] = part[name]
            room = self._sack.extend(len(part["sack_of"]))
            self._sack.columns["sack_of"][room] = place[part["sack_of"]]
            for name in ("sack_left", "sack_right"):
                self._sack.columns[name][room] = part[name]

    def table(self, records: Records) -> Table:
        """Everything in order of time."""
        got = {**self._dense.done(), **self._syn.done(), **self._sack.done()}
        fragments = self._dissector.fragments
        if fragments.lengths:
            rows = np.flatnonzero(np.isin(got["frame"], list(fragments.lengths)))
            got["length"][rows] = [fragments.lengths[each] for each in got["frame"][rows].tolist()]
        first = None if _sort_by_time(got, self._words) else self._flows.first_seen
        began = self._began or 0
        got["t"] -= began
        got["connection"] = connection_numbers(
            len(self._flows), first, *(got[name] for name in ("way", "flags", "seq", "ack"))
        )
        quotes = [replace(each, t=each.t - began) for each in self._dissector.quotes.found]
        quotes.sort(key=attrgetter("t"))
        ends = np.stack(self._flows.pairs, axis=1).ravel()
        known, number = np.unique(ends >> PORT_BITS, return_inverse=True)
        warnings = [fragments.warning(records.name)]
        if records.timeless:
            warnings.append(
                f"{records.timeless:,} packets of {records.name} carry no time: "
                "each stands at the time of the one before."
            )
        return Table(
            **got, end_address=number.astype(np.int32), end_port=(ends & np.uint64(0xFFFF)).astype(np.uint16),
            addresses=self._names(known), first_words=self._words, quotes=quotes, began=began,
            ended=self._ended, packets=records.packets, strange=self._strange, trouble=records.trouble,
            warnings=tuple(filter(None, warnings)),
        )  # fmt: skip

    def _names(self, known: Array) -> list[str]:
        high, low = (half.tolist() for half in self._addresses.pairs)
        names = []
        for each in known.tolist():
            number = each & 0xFFFFFFFF
            if each >> 32:
                names.append(inet_ntop(AF_INET6, (high[number] << 64 | low[number]).to_bytes(16)))
            else:
                names.append(f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}")
        return names


def _sort_by_time(got: dict[str, Array], words: FirstWords) -> bool:
    """A capture from several network queues may be out of order: time decides, then the file.

    True when it was.
    """
    t, frame = got["t"], got["frame"]
    order = None
    if not bool(((t[1:] >= t[:-1]) & (frame[1:] > frame[:-1])).all()):
        order = np.lexsort((frame, t))
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        for name in COLLECTED:
            got[name] = got[name][order]
        got["syn"], got["sack_of"] = place[got["syn"]], place[got["sack_of"]]
        spoken = words.row >= 0
        words.row[spoken] = place[words.row[spoken]]
    for part in (SYNS, SACK):
        sparse = np.argsort(got[next(iter(part))], kind="stable")
        for name in part:
            got[name] = got[name][sparse]
    return order is not None


def _options_of(row: int, segment: Segment) -> dict[str, Array]:
    """The options that scapy found, as `_options` gives them."""
    syn = bool(segment.flags & SYN)
    sack = np.array(segment.sack, np.int64).reshape(-1, 2)
    return {
        "syn": np.array([row] * syn, np.int64),
        "mss": np.array([-1 if segment.mss is None else segment.mss] * syn),
        "window_scale": np.array([-1 if segment.window_scale is None else segment.window_scale] * syn),
        "sack_permitted": np.array([segment.sack_permitted] * syn, bool),
        "sack_of": np.full(len(sack), row), "sack_left": sack[:, 0], "sack_right": sack[:, 1],
    }  # fmt: skip


# ----------------------------------------------------------------------
# The columns of a capture by name, each made when it is first asked for.
#
# One NumPy array a column, one value a TCP packet, in order of time. `dict(capture.columns)` is what
# a pandas DataFrame takes.


def _address(table: Table, other: int) -> Array:
    names = np.array([*table.addresses, None], object)[:-1]  # None: no address must not mean numbers
    return names[table.end_address].take(table.way ^ other)


def _port(table: Table, other: int) -> Array:
    return table.end_port.take(table.way ^ other)


def _of_syn(table: Table, values: Array, without: object = -1) -> Array:
    column = np.full(len(table), without, values.dtype)
    column[table.syn] = values
    return column


def _first_block(table: Table, edges: Array) -> Array:
    column = np.zeros(len(table), np.uint32)
    column[table.sack_of[::-1]] = edges[::-1]
    return column


def _window_shift(table: Table) -> Array:
    if not len(table):
        return np.empty(0, np.int8)
    side = table.way & 1
    count = int(table.connection.max()) + 1
    shifts = window_shifts(table.connection, side, table.syn, table.window_scale, count)
    column = shifts.ravel().take(table.connection * 2 + side)
    column[table.syn] = 0
    return column


#: How each column is made.
MAKERS: dict[str, Callable[[Table], Array]] = {
    "frame": lambda table: table.frame,
    "t": lambda table: table.t,
    "connection": lambda table: table.connection,
    "source": lambda table: _address(table, 0),
    "source_port": lambda table: _port(table, 0),
    "destination": lambda table: _address(table, 1),
    "destination_port": lambda table: _port(table, 1),
    "flags": lambda table: table.flags,
    "seq": lambda table: table.seq,
    "ack": lambda table: table.ack,
    "window": lambda table: table.window,
    "window_shift": _window_shift,
    "length": lambda table: table.length,
    "mss": lambda table: _of_syn(table, table.mss),
    "window_scale": lambda table: _of_syn(table, table.window_scale),
    "sack_permitted": lambda table: _of_syn(table, table.sack_permitted, False),
    "sack_blocks": lambda table: np.bincount(table.sack_of, minlength=len(table)).astype(np.uint8),
    "sack_left": lambda table: _first_block(table, table.sack_left),
    "sack_right": lambda table: _first_block(table, table.sack_right),
    "has_timestamps": lambda table: table.has_times,
    "timestamp": lambda table: table.timestamp,
    "timestamp_echo": lambda table: table.echo,
}


class Columns(Mapping[str, Array]):
    """`frame`: number in the file, from 1. `t`: nanoseconds since the capture's first packet.
    `connection`: number of the connection, by its first packet. `source`, `source_port`,
    `destination`, `destination_port`: the ends; addresses are text. `flags`: bits as in the header,
    up to URG. `seq`, `ack`: absolute; ack is 0 without the ACK flag. `window`: as in the header;
    `window_shift`: the real one is `window << window_shift`, and -1 says that a SYN is missing and
    nobody knows. `length`: bytes of payload by the headers, whether or not they were stored. `mss`,
    `window_scale`, `sack_permitted`: what a SYN offers, -1 or False without. `sack_blocks`: how many,
    and `sack_left`, `sack_right`: edges of the first one. `timestamp`, `timestamp_echo`: good where
    `has_timestamps`, else 0.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._made: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._made:
            column = MAKERS[name](self._table)
            column.flags.writeable = False
            self._made[name] = column
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(MAKERS)

    def __len__(self) -> int:
        return len(MAKERS)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)
