"""The order in which ports are tried, step by step and by bits: the same."""

import random

from hypothesis import given
from hypothesis import strategies as st

from tcplab.model.ports import by_parity, first_by_parity, first_one_by_one, one_by_one


@st.composite
def ranges(draw):
    """First port, size, and which of them are taken."""
    first, size = draw(st.integers(1024, 1100)), draw(st.integers(1, 40))
    return first, size, draw(st.sets(st.integers(first, first + size - 1)))


def bits(ports):
    return sum(1 << port for port in ports)


@given(case=ranges(), seed=st.integers(0, 99), start=st.integers(-1, 19))
def test_bits_find_the_port_that_steps_find(case, seed, start):
    first, size, taken = case
    start = min(start, size // 2 - 1)
    steps = by_parity(first, size, 0, random.Random(seed).randrange, start)
    expected = next((port for port in steps if port not in taken), 0)
    assert first_by_parity(first, size, random.Random(seed).randrange, start, bits(taken)) == expected
    steps = one_by_one(first, size, random.Random(seed).randrange)
    expected = next((port for port in steps if port not in taken), 0)
    assert first_one_by_one(first, size, random.Random(seed).randrange, bits(taken)) == expected


@given(case=ranges(), parity=st.sampled_from([0, 1]), seed=st.integers(0, 99))
def test_a_walk_tries_no_port_twice_and_of_an_odd_range_one_less(case, parity, seed):
    first, size, _ = case
    tried = list(by_parity(first, size, parity, random.Random(seed).randrange))
    assert len(tried) == len(set(tried)) == (size - size % 2 or 1)
    assert first <= min(tried) and max(tried) < first + size
    assert size == 1 or all((port - first) % 2 == parity for port in tried[: size // 2])
    assert sorted(one_by_one(first, size, random.Random(seed).randrange)) == list(range(first, first + size))
