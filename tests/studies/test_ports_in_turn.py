"""Filling the ports, against playing every moment on its own."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from studies.naive import low_high, play
from tcplab.studies.ports_in_turn import AT_ONCE, WHOLE_SECONDS, Load, fill

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
    reuse=st.sampled_from(["", "delay", AT_ONCE, *WHOLE_SECONDS]),
)


def check(load):
    edges = load.edges(STEPS)
    filling, naive = fill(load, edges), play(load)
    assert (filling.opened, filling.refused) == (naive.opened, naive.refused)
    assert (filling.first_refusal, filling.longest_outage) == (naive.first_refusal, naive.longest_outage)
    assert filling.outages == [(began, until) for began, until in naive.outages if until - began >= edges[1]]
    assert (filling.in_use.low, filling.in_use.high) == low_high(naive.in_use, edges)
    assert (filling.time_wait.low, filling.time_wait.high) == low_high(naive.time_wait, edges)
    assert filling.opened_in == [
        sum(begin <= t < end for t in naive.opened_at) for begin, end in pairwise(edges)
    ]


@given(load=loads, gaps=st.lists(st.integers(0, 9), max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_arrivals(load, gaps):
    moments, now = [], 0
    for gap in gaps:
        moments.append(now := now + gap)
    check(replace(load, arrivals=[t for t in moments if t < load.end]))


@given(load=loads, step=st.integers(1, 30))
@settings(max_examples=300, deadline=None)
def test_even_steps(load, step):
    check(replace(load, arrivals=range(0, load.end, step)))
