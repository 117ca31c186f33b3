"""The hash table behind flows against a dictionary, and connections against the rule one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplab.capture import table as flows
from tcplab.capture.table import PairTable, connection_numbers
from tcplab.core.connections import number_connections
from tcplab.core.segment import Endpoint, Segment


@pytest.mark.parametrize("pairs", [5, 300, 4000, 60_000])
def test_a_pair_has_one_number_and_keeps_it(pairs):
    chance = np.random.default_rng(pairs)
    table, known, first_seen, asked = PairTable(), {}, [], 0
    for size in [0, 3, 20_000, 1, 40_000, 40_000]:
        one = chance.integers(0, pairs, size).astype(np.uint64) << np.uint64(30)
        other = one * np.uint64(7) + chance.integers(0, 2, size).astype(np.uint64)
        expected = []
        for pair in zip(one.tolist(), other.tolist(), strict=True):
            if pair not in known:
                known[pair] = len(known)
                first_seen.append(asked)
            expected.append(known[pair])
            asked += 1
        assert table.numbers(one, other).tolist() == expected
    assert list(zip(*(half.tolist() for half in table.pairs), strict=True)) == list(known)
    assert len(table) == len(known) and table.first_seen.tolist() == first_seen


def test_pairs_that_all_want_the_same_slot(monkeypatch):
    monkeypatch.setattr(PairTable, "_slot", lambda self, first, second: np.zeros(len(first), np.int64))
    monkeypatch.setattr(flows, "FIRST_SLOTS", 8)
    table = PairTable()
    pairs = np.arange(100, dtype=np.uint64) % np.uint64(60)
    assert table.numbers(pairs, pairs).tolist() == pairs.tolist()
    assert table.numbers(pairs[::-1], pairs[::-1]).tolist() == pairs[::-1].tolist()


ENDS = [(Endpoint("10.0.0.1", port), Endpoint("10.0.0.2", 5432)) for port in (1, 2, 3)]
SEGMENTS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from([2, 18, 16, 17, 4, 20, 6, 24]),
        st.integers(0, 3),
        st.integers(0, 3),
    ),
    max_size=60,
)


@given(SEGMENTS, st.booleans())
@settings(max_examples=500)
def test_connections_are_numbered_as_the_rule_says(told, in_order):
    """Few numbers, so that SYNs run into everything: live, ended, answered, stray, revived."""
    segments = [
        Segment(*ENDS[way // 2][:: 1 - 2 * (way % 2)], seq, ack if flags & 16 else 0, flags, 0)
        for way, flags, seq, ack in told
    ]
    names: dict[int, int] = {}
    ways = [names.setdefault(way // 2, len(names)) * 2 + way % 2 for way, *_ in told]
    way, flags, seq, ack = (
        np.array([*values], kind)
        for values, kind in (
            (ways, np.int32),
            ([segment.flags for segment in segments], np.uint8),
            ([segment.seq for segment in segments], np.uint32),
            ([segment.ack for segment in segments], np.uint32),
        )
    )
    places = [each >> 1 for each in ways]
    first = np.array([places.index(flow) for flow in range(len(names))], np.int64)
    numbers = connection_numbers(len(names), first if in_order else None, way, flags, seq, ack)
    assert numbers.tolist() == number_connections(segments)
