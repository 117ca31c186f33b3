"""Both ways to fill the ports, against playing every moment on its own."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from studies.naive import low_high, play
from tcplab.studies import ports_in_turn as ring
from tcplab.studies import ports_in_turn as steady
from tcplab.studies.ports_in_turn import WHOLE_SECONDS, Load

STEPS = 7

ticks = st.integers(0, 60)
loads = st.builds(
    Load,
    arrivals=st.none(),
    second=st.integers(1, 12),
    end=st.integers(1, 200),
    ports=st.integers(1, 6),
    destinations=st.integers(1, 3),
    hold=st.integers(0, 15),
    time_wait=ticks,
    reuse=st.sampled_from(["", "delay", *WHOLE_SECONDS]),
)


def check(load, fill):
    edges = load.edges(STEPS)
    found, told = fill(load, edges), play(load)
    assert (found.opened, found.refused) == (told.opened, told.refused)
    assert (found.first_refusal, found.longest_outage) == (told.first_refusal, told.longest_outage)
    assert found.outages == [(began, until) for began, until in told.outages if until - began >= edges[1]]
    assert (found.in_use.low, found.in_use.high) == low_high(told.in_use, edges)
    assert (found.time_wait.low, found.time_wait.high) == low_high(told.time_wait, edges)
    assert found.opened_in == [
        sum(begin <= t < end for t in told.opened_at) for begin, end in pairwise(edges)
    ]


@given(load=loads, gaps=st.lists(st.integers(0, 9), max_size=60))
@settings(max_examples=300, deadline=None)
def test_the_ring_takes_any_arrivals(load, gaps):
    moments, now = [], 0
    for gap in gaps:
        moments.append(now := now + gap)
    arrivals = [t for t in moments if t < load.end]
    check(Load(**{**vars(load), "arrivals": arrivals}), ring.fill)


@given(load=loads, step=st.integers(1, 30))
@settings(max_examples=300, deadline=None)
def test_both_take_even_steps(load, step):
    load = Load(**{**vars(load), "arrivals": range(0, load.end, step)})
    check(load, ring.fill)
    if load.busy is not None:
        check(load, steady.fill_steadily)
