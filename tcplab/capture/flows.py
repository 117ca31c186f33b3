"""Numbers for pairs of numbers: the same pair, the same number, exactly and fast.

A hash table in NumPy, for flows (two ends) and IPv6 addresses (two halves). All pairs of a batch look
into their slot at once; those that find another pair there go on to the next slot together. Slots
depend on a factor drawn by chance, so that nobody can make a file whose flows all collide; the numbers
given out do not.
"""

from __future__ import annotations

from os import urandom

import numpy as np

from tcplab.capture.chains import Array

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
