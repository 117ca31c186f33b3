"""The TCP packets of a file as columns: third step of the fast reader (see file.py).

A few bytes are kept of each packet, never its data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from os import PathLike, urandom
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any, NamedTuple, cast

import numpy as np

from tcplab.capture import shared
from tcplab.capture.file import Array, Batch, Records
from tcplab.capture.headers import (
    LINKS,
    Dissector,
    FirstPayload,
    HeaderOptions,
    Headers,
    error_messages,
    parse_options,
)
from tcplab.capture.messages import KEPT, Messages
from tcplab.capture.pcap import knows_link
from tcplab.capture.shared import LATEST, Whole
from tcplab.core.connections import number_connections
from tcplab.core.segment import ACK, RST, SYN, Endpoint, Segment

#: Bit of an end's number that says that its address is the number of an IPv6 address.
IS_V6 = np.uint64(1 << 48)
PORT_BITS = np.uint64(16)
#: Columns that are collected from batches: name and type.
COLLECTED = {
    "frame": "u4", "t": "i8", "direction": "i4", "seq": "u4", "ack": "u4", "flags": "u1", "window": "u2",
    "length": "u4", "timestamp": "u4", "echo": "u4", "has_times": "?", "ident": "u2",
}  # fmt: skip
SYNS = {"syn": "i8", "mss": "i4", "window_scale": "i1", "sack_permitted": "?"}
SACK = {"sack_of": "i8", "sack_left": "u4", "sack_right": "u4"}
#: Rows of a batch and their options.
Parsed = tuple[Array, HeaderOptions]
#: Columns begin with room for so many rows.
FIRST_ROWS = 1024
#: An odd number without a pattern, by which hashes are multiplied (the golden ratio, Knuth vol. 3, 6.4).
MIX = np.uint64(0x9E3779B97F4A7C15)
#: The hash table of pairs begins with so many slots.
FIRST_SLOTS = 1 << 13
#: Slots for each pair, until they are so many that they leave the processor's cache.
FREE, MANY_SLOTS = 8, 1 << 18


def read_table(path: str | PathLike[str], progress: Callable[[float], None] = lambda share: None) -> Table:
    """All that can be read of a file; `CaptureError` when it can't be opened or is no capture.

    `progress` gets the share of the file that has been read, 0 .. 1; what it raises ends the reading.
    """
    collected = _Collected()
    records = Records(path)
    for batch in records:
        collected.take(batch, records.share)
        progress(records.share)
    return collected.table(records)


@dataclass
class Table(Whole):
    """The TCP packets of a capture in order of time, one value per packet in the first columns."""

    #: Number in the file, from 1; nanoseconds since the capture's first packet.
    frame: Array
    t: Array
    #: Twice the number of the flow, plus one for the opposite direction.
    direction: Array
    seq: Array
    #: 0 where the ACK flag is not set.
    ack: Array
    flags: Array
    #: As in the header.
    window: Array
    #: Bytes of payload, by the headers: not all of them need be in the file.
    length: Array
    #: TSval and TSecr, valid where `has_times`.
    timestamp: Array
    echo: Array
    has_times: Array
    #: IPv4's identification; 0 in IPv6.
    ident: Array
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
    first_payload: FirstPayload

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return int(self.connection.max()) + 1 if len(self) else 0

    @cached_property
    def by_connection(self) -> tuple[Array, Array]:
        """The rows sorted by connection, and where each connection begins there."""
        order = sorted_by(self.connection, self.connections)
        return order, np.append(0, np.cumsum(np.bincount(self.connection)))

    @cached_property
    def may_repeat(self) -> Array:
        """The connections with two packets that may be equal in all of `shared.IDENTITY`, as a mask."""
        mixed = np.zeros(len(self), np.uint64)
        for name in shared.IDENTITY:
            mixed = (mixed ^ mixed >> np.uint64(29)) * MIX + getattr(self, name).astype(np.uint64)
        known = np.sort(mixed)
        equal = known[1:][known[1:] == known[:-1]]
        marked = np.zeros(self.connections, bool)
        if len(equal):
            marked[self.connection[np.isin(mixed, equal)]] = True
        return marked

    @cached_property
    def window_shift(self) -> Array:
        """How far each window is shifted, 0 in a SYN; -1 where a SYN is missing.

        Both SYNs must carry the option, or neither side shifts (RFC 7323 section 2.2).
        """
        side, unseen = self.connection * 2 + (self.direction & 1), -2
        offer = np.full((self.connections, 2), unseen, np.int8)
        offer.ravel()[side[self.syn[::-1]]] = self.window_scale[::-1]
        refused, unknown = (offer == -1).any(axis=1), (offer == unseen).any(axis=1)
        offer[unknown], offer[refused] = -1, 0
        column: Array = offer.ravel().take(side)
        column[self.syn] = 0
        return column

    def end(self, direction: int) -> Endpoint:
        """The end that sends in this direction."""
        return Endpoint(self.addresses[self.end_address[direction]], int(self.end_port[direction]))

    def rows(self, i: int) -> Array:
        """The packets of connection `i`, as places in the columns."""
        order, borders = self.by_connection
        return order[borders[i] : borders[i + 1]]

    def spans(self) -> list[tuple[int, int]]:
        """When the first and the last packet of each connection passed, as in `t`."""
        order, borders = self.by_connection
        first, last = self.t[order[borders[:-1]]], self.t[order[borders[1:] - 1]]
        return list(zip(first.tolist(), last.tolist(), strict=True))

    def last_sent(self) -> list[tuple[Endpoint, int, int]]:
        """Of each connection one end, and when it and the other one last sent, as in `t`; -1: never."""
        order, borders = self.by_connection
        last = np.full(2 * self.connections, -1, np.int64)
        last[self.connection * 2 + (self.direction & 1)] = self.t  # of several, the last one counts
        one = map(self.end, (self.direction[order[borders[:-1]]] & ~1).tolist())
        return list(zip(one, last[::2].tolist(), last[1::2].tolist(), strict=True))

    def repeated(self, rows: Array) -> Array:
        """Which of these packets of one connection repeat an earlier one: see `shared.REPEATED`."""
        wide = {name: getattr(self, name)[rows].astype(np.uint64) for name in shared.IDENTITY}
        keys = [
            wide[high] << np.uint64(32) | wide[low]
            for high, low in zip(*[iter(shared.IDENTITY)] * 2, strict=True)
        ]
        t = self.t[rows]
        order = np.lexsort((t, *keys))
        same = np.diff(t[order]) <= shared.REPEATED
        for key in keys:
            same &= key[order][1:] == key[order][:-1]
        repeated = np.zeros(len(rows), bool)
        repeated[order[1:][same]] = True
        return repeated

    def without_repeated(self, rows: Array) -> Array:
        """These packets of one connection without those that repeat an earlier one."""
        if not len(rows) or not self.may_repeat[self.connection[rows[0]]]:
            return rows
        repeated = self.repeated(rows)
        return rows[~repeated] if repeated.any() else rows

    def values(self, name: str, rows: Any) -> list[int]:
        """A column's values for these packets."""
        values: list[int] = getattr(self, name)[rows].tolist()
        return values

    def sent_by(self, end: Endpoint, rows: Any) -> list[bool]:
        """Which of these packets this end sent."""
        directions = self.values("direction", rows)
        mine = {each: self.end(each) == end for each in set(directions)}
        return [mine[each] for each in directions]

    def scaled(self, i: int, rows: Any) -> tuple[list[Segment], bool]:
        """Segments of connection `i` with real windows; False when the scale is unknown."""
        shifts = self.window_shift[rows]
        return self.segments(rows, np.maximum(shifts, 0)), bool((shifts >= 0).all())

    def segments(self, rows: Any, window_shift: Array | int = 0) -> list[Segment]:
        """The segments of these packets of one connection, the windows in their headers shifted left."""
        rows = np.asarray(rows)
        directions = self.direction[rows].tolist()
        ends = {each: self.end(each) for one in {each & ~1 for each in directions} for each in (one, one + 1)}
        window = self.window[rows].astype(np.int64) << window_shift
        stamps = zip(*(self.values(name, rows) for name in ("timestamp", "echo", "has_times")), strict=True)
        times = [(timestamp, echo) if has else None for timestamp, echo, has in stamps]
        numbers = (self.values(name, rows) for name in ("seq", "ack", "flags"))
        columns = directions, *numbers, window.tolist(), self.values("length", rows), times
        segments = [
            Segment(ends[direction], ends[direction ^ 1], seq, ack, flags, size, length, timestamps=pair)
            for direction, seq, ack, flags, size, length, pair in zip(*columns, strict=True)
        ]
        for i in [i for i, segment in enumerate(segments) if segment.flags & SYN]:
            at = int(np.searchsorted(self.syn, rows[i]))
            mss, scale = (int(each[at]) if each[at] >= 0 else None for each in (self.mss, self.window_scale))
            permitted = bool(self.sack_permitted[at])
            segments[i] = replace(segments[i], mss=mss, window_scale=scale, sack_permitted=permitted)
        if not len(self.sack_of):
            return segments
        low, high = np.searchsorted(self.sack_of, rows), np.searchsorted(self.sack_of, rows, "right")
        for i in np.flatnonzero(high > low).tolist():
            blocks = slice(int(low[i]), int(high[i]))
            edges = zip(self.sack_left[blocks].tolist(), self.sack_right[blocks].tolist(), strict=True)
            segments[i] = replace(segments[i], sack=tuple(edges))
        return segments

    def openings(self) -> list[tuple[Endpoint, Endpoint, int]]:
        """For each connection, source, destination and flags of its first SYN, else its first segment."""
        first = first_of(self.connection, self.connections)
        opening = self.syn[self.flags[self.syn] & RST == 0]
        by_syn = first_of(self.connection[opening], self.connections)
        first[by_syn >= 0] = opening[by_syn[by_syn >= 0]]
        return [
            (self.end(direction), self.end(direction ^ 1), flags)
            for direction, flags in zip(
                self.values("direction", first), self.values("flags", first), strict=True
            )
        ]

    def greetings(self) -> list[tuple[bytes, bytes]]:
        """For each connection, the first bytes that client and server of its four-tuple sent.

        Empty where the SYN before them is missing or none are stored.
        """
        ends, payload = len(self.end_port), self.first_payload
        opening = self.syn[self.flags[self.syn] & RST == 0]
        direction = self.direction[opening]
        first = first_of(direction, ends)
        sent = np.flatnonzero((payload.row[:ends] >= 0) & (first >= 0))
        known = sent[self.seq[payload.row[sent]] == self.seq[opening[first[sent]]] + np.uint32(1)]
        bytes_of = {each: payload.of(each) for each in known.tolist()}
        # The client sent the first SYN without ACK, or received the first one with it.
        by_client = direction ^ ((self.flags[opening] & ACK) != 0)
        client = np.arange(0, ends, 2)
        client[by_client[::-1] >> 1] = by_client[::-1]
        flow = self.direction[first_of(self.connection, self.connections)] >> 1
        return [(bytes_of.get(each, b""), bytes_of.get(each ^ 1, b"")) for each in client[flow].tolist()]


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
        self._payload, self._messages = FirstPayload(), Messages()
        self._strange: Counter[int] = Counter()
        self._began, self._ended = LATEST, 0

    def take(self, batch: Batch, share: float) -> None:
        """The packets of one batch; with it `share` of the file has been read, 0 when unknown."""
        self._began = min(self._began, int(batch.t.min()))
        self._ended = max(self._ended, int(batch.t.max()))
        if batch.link not in LINKS and not knows_link(batch.link):
            self._strange[batch.link] += len(batch)
            return
        headers = self._dissector.take(batch)
        options = [(row, parse_options(batch.memory, *place)) for row, *place in headers.options]
        for row, each in options:
            timed = each.timestamp >= 0
            headers.has_times[row] = timed
            headers.timestamp[row[timed]] = each.timestamp[timed]
            headers.echo[row[timed]] = each.echo[timed]
        self._keep(batch, headers, options, share)

    def _keep(self, batch: Batch, headers: Headers, options: list[Parsed], share: float) -> None:
        """Add the rows that hold TCP to the columns."""
        kept = headers.kept
        whole = bool(kept.all())
        chosen = slice(None) if whole else np.flatnonzero(kept)
        source = headers.src.astype(np.uint64) << PORT_BITS | headers.sport
        target = headers.dst.astype(np.uint64) << PORT_BITS | headers.dport
        if headers.v6.any():
            source[headers.v6] |= IS_V6
            target[headers.v6] |= IS_V6
        source, target = source[chosen], target[chosen]
        flow = self._flows.numbers(np.minimum(source, target), np.maximum(source, target))
        here = self._dense.extend(len(flow), share)
        new = {name: column[here] for name, column in self._dense.columns.items()}
        new["frame"][:], new["t"][:] = batch.frame[chosen], batch.t[chosen]
        np.add(flow * 2, source > target, out=new["direction"])
        for name in ("seq", "ack", "window", "length", "timestamp", "echo", "has_times", "ident"):
            new[name][:] = getattr(headers, name)[chosen]
        np.bitwise_and(headers.flags[chosen], 0x3F, out=new["flags"])
        new["ack"][new["flags"] & ACK == 0] = 0
        if not new["has_times"].all():
            new["timestamp"] *= new["has_times"]
            new["echo"] *= new["has_times"]
        body, end = headers.body[chosen], (batch.data + batch.stored)[chosen]
        self._payload.take(batch.memory, len(self._flows), here.start, new, body, end)
        stop = np.minimum(np.minimum(body + new["length"], end), body + KEPT)
        for i in error_messages(batch.memory, body, stop):
            payload = bytes(batch.memory[int(body[i]) : int(stop[i])])
            self._messages.add(int(new["frame"][i]), int(new["direction"][i]), payload)
        syn = np.flatnonzero(new["flags"] & SYN)
        if len(syn) or options:
            rank = np.arange(len(kept)) if whole else np.cumsum(kept) - 1
            self._keep_options(here.start + rank, here.start + syn, headers, options)

    def _keep_options(self, place: Array, syn: Array, headers: Headers, options: list[Parsed]) -> None:
        """`place` is where each row of the batch went."""
        room = self._syn.extend(len(syn))
        offers = {name: column[room] for name, column in self._syn.columns.items()}
        offers["syn"][:], offers["mss"][:], offers["window_scale"][:] = syn, -1, -1
        offers["sack_permitted"][:] = False
        for row, part in options:
            with_syn = np.flatnonzero(headers.flags[row] & SYN)
            mine = np.searchsorted(syn, place[row[with_syn]])
            for name in ("mss", "window_scale", "sack_permitted"):
                offers[name][mine] = getattr(part, name)[with_syn]
            room = self._sack.extend(len(part.sack_of))
            self._sack.columns["sack_of"][room] = place[row[part.sack_of]]
            for name in ("sack_left", "sack_right"):
                self._sack.columns[name][room] = getattr(part, name)

    def table(self, records: Records) -> Table:
        """Everything in order of time."""
        got = {**self._dense.done(), **self._syn.done(), **self._sack.done()}
        fragments = self._dissector.fragments
        if fragments.lengths:
            rows = np.flatnonzero(np.isin(got["frame"], list(fragments.lengths)))
            got["length"][rows] = [fragments.lengths[each] for each in got["frame"][rows].tolist()]
        first = None if _sort_by_time(got, self._payload) else self._flows.first_seen
        began = self._began if records.packets else 0
        got["t"] -= began
        got["connection"] = connection_numbers(
            len(self._flows), first, *(got[name] for name in ("direction", "flags", "seq", "ack"))
        )
        quotes = [replace(each, t=each.t - began) for each in self._dissector.quotes]
        quotes.sort(key=attrgetter("t"))
        said = dict(self._messages)
        in_file = np.argsort(got["frame"], kind="stable") if said else np.empty(0, np.int64)
        place = in_file[np.searchsorted(got["frame"], list(said), sorter=in_file)] if said else in_file
        messages = dict(zip(place.tolist(), said.values(), strict=True))
        ends = np.stack(self._flows.pairs, axis=1).ravel()
        known, number = np.unique(ends >> PORT_BITS, return_inverse=True)
        warnings = [
            records.steps.warning(records.name), fragments.warning(records.name),
            shared.empty_warning(records.name, records.empty, records.trouble),
            shared.cut_warning(records.name, self._dissector.cut),
            shared.timeless_warning(records.name, records.timeless),
            shared.tunnel_warning(records.name, self._dissector.tunnels),
        ]  # fmt: skip
        return Table(
            **got, end_address=number.astype(np.int32), end_port=(ends & np.uint64(0xFFFF)).astype(np.uint16),
            addresses=self._names(known), first_payload=self._payload, quotes=quotes, began=began,
            ended=self._ended, packets=records.packets, strange=self._strange, trouble=records.trouble,
            warnings=tuple(filter(None, warnings)), steps=tuple(sorted(records.steps.kept)),
            messages=messages,
        )  # fmt: skip

    def _names(self, known: Array) -> list[str]:
        high, low = (half.tolist() for half in self._addresses.pairs)
        names = []
        for each in known.tolist():
            number = each & 0xFFFFFFFF
            if each >> 32:
                names.append(inet_ntop(AF_INET6, (high[number] << 64 | low[number]).to_bytes(16)))
            else:
                names.append(inet_ntop(AF_INET, number.to_bytes(4)))
        return names


def _sort_by_time(got: dict[str, Array], payload: FirstPayload) -> bool:
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
        there = payload.row >= 0
        payload.row[there] = place[payload.row[there]]
    for part in (SYNS, SACK):
        sparse = np.argsort(got[next(iter(part))], kind="stable")
        for name in part:
            got[name] = got[name][sparse]
    return order is not None


class Lean(NamedTuple):
    """What `tcplab.core.connections` looks at in a segment; an end is known by its direction."""

    source: int
    destination: int
    flags: int
    seq: int
    ack: int


def connection_numbers(
    flows: int, seen: Array | None, direction: Array, flags: Array, seq: Array, ack: Array
) -> Array:
    """For each packet, in order of time, the number of its connection, by its first packet.

    A flow may carry several connections after one another. Most flows need no closer look: all their SYNs
    are the one that they begin with, or answer it. Only the others are followed segment by segment.

    `direction` is twice the number of the flow, plus one for the opposite direction. `seen` is the first
    packet of each flow when the flows are numbered in that order; None when they are not.
    """
    flow = direction >> 1
    first = first_of(flow, flows) if seen is None else seen
    opens = (flags & (SYN | RST)) == SYN
    syn = np.flatnonzero(opens)
    begin = first[flow[syn]]
    answers = ((flags[syn] & ACK) != 0) & (ack[syn] - np.uint32(1) == seq[begin])
    same = opens[begin] & np.where(direction[syn] == direction[begin], seq[syn] == seq[begin], answers)
    odd = np.zeros(flows, bool)
    odd[flow[syn[~same]]] = True
    if not odd.any():
        return flow if seen is not None else _in_order(flow, first)
    there = np.flatnonzero(odd[flow])
    numbers = flow.copy()
    columns = (column[there].tolist() for column in (direction, direction ^ 1, flags, seq, ack))
    segments = cast(Iterable[Segment], map(Lean, *columns))
    numbers[there] = flows + np.array(number_connections(segments), np.int32)
    _, numbers = np.unique(numbers, return_inverse=True)
    return _in_order(numbers, first_of(numbers, int(numbers.max()) + 1))


def first_of(numbers: Array, count: int) -> Array:
    """The first place of each number in 0 .. count-1; -1 for one that does not occur."""
    first = np.full(count, -1, np.int64)
    first[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)  # the last one to write stays
    return first


def sorted_by(numbers: Array, count: int) -> Array:
    """The places of numbers in 0 .. count-1, sorted by number; equal ones in their order.

    NumPy sorts 16 bits by radix, several times as fast as the rest: the lower half goes first.
    """
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    if count > 1 << 16:
        order = order[np.argsort((numbers >> 16).astype(np.uint16)[order], kind="stable")]
    return order


def _in_order(numbers: Array, first: Array) -> Array:
    """Numbered again, in order of their first place."""
    renumbered = np.empty(len(first), np.int32)
    renumbered[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return renumbered[numbers]


class PairTable:
    """Pairs of uint64 seen so far, numbered from 0: an exact hash table for flows and IPv6 addresses.

    All pairs of a batch look into their slot at once; those whose slot holds another pair go on to the
    next slot together. Slots depend on a random factor, so that no file can make all its flows collide;
    the numbers don't depend on it.
    """

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
        number = self._slots[slot]
        hit = (self._first[number] == first) & (self._second[number] == second) & (number >= 0)
        self._asked += len(first)
        if hit.all():
            return number
        out = np.where(hit, number, np.int32(-1))
        waiting = np.flatnonzero(~hit)
        slot = slot[waiting]
        while len(waiting):
            number = self._slots[slot]
            free = number < 0
            if free.any():
                self._add(first, second, waiting[free], slot[free])
                if self._count * FREE > len(self._slots) < MANY_SLOTS or self._count * 2 > len(self._slots):
                    self._grow()
                    slot = self._slot(first[waiting], second[waiting])
                    continue  # their new slots may be free
                number = self._slots[slot]
            hit = (self._first[number] == first[waiting]) & (self._second[number] == second[waiting])
            hit &= number >= 0
            out[waiting[hit]] = number[hit]
            waiting, slot = waiting[~hit], (slot[~hit] + 1) & (len(self._slots) - 1)
        if self._count > before:
            self._put_in_order(out, before)
        return out

    def _put_in_order(self, out: Array, before: int) -> None:
        """Number the new pairs by their first occurrence, whichever got a slot first."""
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
        """Of those that want the same free slot the last one gets it; the others try again."""
        self._slots[slots] = np.arange(len(slots), dtype=np.int32)
        winners = np.flatnonzero(self._slots[slots] == np.arange(len(slots)))
        numbers = np.arange(self._count, self._count + len(winners), dtype=np.int32)
        while self._count + len(winners) > len(self._first):
            for name in ("_first", "_second", "_at", "_seen"):
                column = getattr(self, name)
                setattr(self, name, np.concatenate([column, np.zeros_like(column)]))
        self._first[numbers], self._second[numbers] = first[rows[winners]], second[rows[winners]]
        self._slots[slots[winners]] = numbers
        self._at[numbers] = slots[winners]
        self._count += len(winners)

    def _grow(self) -> None:
        """So many slots that most pairs find theirs at once, and all pairs move."""
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


def _address(table: Table, other: int) -> Array:
    names = np.array([*table.addresses, None], object)[:-1]  # None: no address must not mean numbers
    return names[table.end_address].take(table.direction ^ other)


def _of_syn(table: Table, values: Array, without: object = -1) -> Array:
    column = np.full(len(table), without, values.dtype)
    column[table.syn] = values
    return column


def _first_block(table: Table, edges: Array) -> Array:
    column = np.zeros(len(table), np.uint32)
    column[table.sack_of[::-1]] = edges[::-1]
    return column


#: The columns, each by its maker or by the attribute of the table that has its values.
MAKERS: dict[str, Callable[[Table], Array] | str] = {
    "frame": "frame", "t": "t", "connection": "connection",
    "source": lambda table: _address(table, 0),
    "source_port": lambda table: table.end_port.take(table.direction),
    "destination": lambda table: _address(table, 1),
    "destination_port": lambda table: table.end_port.take(table.direction ^ 1),
    "flags": "flags", "seq": "seq", "ack": "ack", "window": "window", "window_shift": "window_shift",
    "length": "length",
    "mss": lambda table: _of_syn(table, table.mss),
    "window_scale": lambda table: _of_syn(table, table.window_scale),
    "sack_permitted": lambda table: _of_syn(table, table.sack_permitted, False),
    "sack_blocks": lambda table: np.bincount(table.sack_of, minlength=len(table)).astype(np.uint8),
    "sack_left": lambda table: _first_block(table, table.sack_left),
    "sack_right": lambda table: _first_block(table, table.sack_right),
    "has_timestamps": "has_times", "timestamp": "timestamp", "timestamp_echo": "echo",
}  # fmt: skip


class Columns(Mapping[str, Array]):
    """One NumPy array per property, one value per TCP packet, in order of time, made on first access.

    pandas makes a DataFrame of `dict(capture.columns)`. `frame`: number in the file, from 1. `t`:
    nanoseconds since the capture's first packet. `connection`: number of the connection, by its first
    packet. `source`, `source_port`, `destination`, `destination_port`: the ends; addresses are text.
    `flags`: bits as in the header, up to URG. `seq`, `ack`: absolute; ack is 0 without the ACK flag.
    `window`: as in the header; `window_shift`: the real one is `window << window_shift`, and -1 where a
    SYN is missing, so that it is unknown. `length`: bytes of payload by the headers, whether or not they
    were stored. `mss`, `window_scale`, `sack_permitted`: what a SYN offers, -1 or False without.
    `sack_blocks`: how many, and `sack_left`, `sack_right`: edges of the first one. `timestamp`,
    `timestamp_echo`: valid where `has_timestamps`, else 0.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._made: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._made:
            maker = MAKERS[name]
            column: Array = getattr(self._table, maker) if isinstance(maker, str) else maker(self._table)
            column.flags.writeable = False
            self._made[name] = column
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(MAKERS)

    def __len__(self) -> int:
        return len(MAKERS)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)
