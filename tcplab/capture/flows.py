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


class PairTable:
    """Pairs of uint64 seen so far, numbered from 0."""

    def __init__(self) -> None:
        self._factors = [np.uint64(int.from_bytes(urandom(8), "little") | 1) for _ in range(3)]
        self._slots = np.full(FIRST_SLOTS, -1, np.int32)
        self._first = np.zeros(FIRST_SLOTS // 2, np.uint64)
        self._second = np.zeros(FIRST_SLOTS // 2, np.uint64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def pairs(self) -> tuple[Array, Array]:
        """First and second halves by number."""
        return self._first[: self._count], self._second[: self._count]

    def numbers(self, first: Array, second: Array) -> Array:
        """The number of each pair; new pairs get the next ones."""
        out = np.full(len(first), -1, np.int32)
        slot = self._slot(first, second)
        found = self._slots[slot]
        hit = (self._first[found] == first) & (self._second[found] == second) & (found >= 0)
        out = np.where(hit, found, out)
        waiting = np.flatnonzero(~hit)
        slot = slot[waiting]
        while len(waiting):
            found = self._slots[slot]
            free = found < 0
            if free.any():
                self._add(first, second, waiting[free], slot[free])
                if self._count * 2 > len(self._slots):
                    self._grow()
                    slot = self._slot(first[waiting], second[waiting])
                found = self._slots[slot]
            hit = (self._first[found] == first[waiting]) & (self._second[found] == second[waiting])
            hit &= found >= 0
            out[waiting[hit]] = found[hit]
            waiting, slot = waiting[~hit], (slot[~hit] + 1) & (len(self._slots) - 1)
        return out

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
        self._first[numbers], self._second[numbers] = first[rows[winners]], second[rows[winners]]
        self._slots[slots[winners]] = numbers
        self._count += len(winners)

    def _grow(self) -> None:
        """Four times the slots or more, and everybody moves."""
        size = len(self._slots)
        while size < self._count * 4:
            size *= 2
        self._slots = np.full(size, -1, np.int32)
        numbers = np.arange(self._count, dtype=np.int32)
        slot = self._slot(*self.pairs)
        while len(numbers):
            free = self._slots[slot] < 0
            self._slots[slot[free]] = numbers[free]
            settled = self._slots[slot] == numbers
            numbers, slot = numbers[~settled], (slot[~settled] + 1) & (size - 1)
