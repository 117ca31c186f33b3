"""The timer wheel: when a timer that counts in jiffies fires, and what that does to connections."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplab.bench import run
from tcplab.core.text import SECOND
from tcplab.core.trace import Ticks
from tcplab.experiments import DeadPeer, Keepalive, TimeWait
from tcplab.model.wheel import BUCKETS, SHIFT, TimerWheel, level, mean_delay, read_timer_list

TICK = 4_000_000


def wheel(jiffies=0, hz=250, t=0, **options):
    return TimerWheel(Ticks(hz, t, jiffies), **options)


@pytest.mark.parametrize(
    ("wait_s", "fires_s"),
    [
        (0.2, 0.204),  # level 0: the next tick after the one that is due
        (0.408, 0.416),  # level 1: eight ticks
        (2.016, 2.048),  # just level 2
        (60, 61.44),  # TIME_WAIT
        (7200, 7208.96),  # keepalive: a bucket is 131 s
    ],
)
def test_a_timer_fires_with_its_bucket(wait_s, fires_s):
    assert wheel().fires(0, round(wait_s * SECOND)) == round(fires_s * SECOND)


def test_before_4_8_it_fires_at_its_jiffy():
    assert wheel(is_exact=True).fires(0, 7200 * SECOND) == 7200 * SECOND
    assert wheel(is_exact=True).fires(1, 7200 * SECOND) == 7200 * SECOND


def fired_by_a_wheel(clock, expires):
    """Put a timer into buckets and turn the wheel, as calc_wheel_index and collect_expired_timers do."""
    bits, delta, n = BUCKETS.bit_length() - 1, expires - clock, 0
    while delta >= (BUCKETS - 1) << (SHIFT * n):
        n += 1
    due = (expires + (1 << SHIFT * n)) >> SHIFT * n
    bucket = (n << bits) + (due & (BUCKETS - 1))
    while True:
        clock += 1
        turned = clock
        for each in range(9):
            if (each << bits) + (turned & (BUCKETS - 1)) == bucket:
                return clock
            if turned & ((1 << SHIFT) - 1):
                break
            turned >>= SHIFT


@given(st.integers(0, 1 << 33), st.integers(0, 40_000), st.integers(0, TICK - 1))
def test_it_fires_as_a_turning_wheel_does_never_early_and_at_most_an_eighth_late(jiffies, ticks, into):
    ours = wheel(jiffies)
    fired = ours.fires(into, ticks * TICK)
    assert fired == fired_by_a_wheel(jiffies, jiffies + ticks) * TICK - jiffies * TICK
    assert ticks * TICK < fired <= ticks * TICK * (1 + 1 / 7.8) + TICK


@given(st.integers(-(1 << 40), 1 << 40), st.integers(0, 1 << 33), st.integers(0, 1 << 42))
def test_jiffies_and_instants_are_each_others_inverse(t, jiffies, now):
    ours = wheel(jiffies, t=t)
    assert ours.jiffies(ours.instant(jiffies + 17)) == jiffies + 17
    assert 0 <= now - ours.instant(ours.jiffies(now)) < TICK


@given(st.integers(1, 2_000_000), st.sampled_from([100, 250, 1000]))
def test_the_mean_delay_is_what_many_phases_give(ticks, hz):
    tick = SECOND // hz
    bucket = 1 << SHIFT * level(ticks, hz)
    steps = range(0, bucket, max(1, bucket // 64))
    delays = [wheel(j, hz).fires(0, ticks * tick) - ticks * tick for j in steps]
    assert sum(delays) / len(delays) == pytest.approx(mean_delay(ticks * tick, hz), abs=bucket * tick / 60)


def test_a_wait_may_count_from_earlier():
    """Keepalive looks again when the last segment is idle_s old: both in whole ticks."""
    ours = wheel()
    assert ours.fires(9 * TICK, 20 * TICK, since=5 * TICK + 1) == 26 * TICK
    assert ours.fires(40 * TICK, 20 * TICK, since=5 * TICK) == 41 * TICK


def test_the_models_timers_fire_with_the_wheel():
    ticks = Ticks(250, 0, 0)
    probe, *_ = run(Keepalive(), ticks=ticks).outcome["probe_times_s"]
    assert 7200 < probe <= 7332
    rest = run(TimeWait(), ticks=ticks).sockets
    lasted = [s.due - s.t for s in rest if s.state == "TIME_WAIT"]
    assert lasted and all(60 * SECOND < each <= 62.1 * SECOND for each in lasted)


def test_without_ticks_the_model_is_exact():
    assert run(Keepalive()).outcome["probe_times_s"][:2] == [7200, 7275]


def transmissions(experiment, hz=250):
    """How often each number of transmissions comes, over the phases of the wheel."""
    phases = [Ticks(hz, -137_000 * n, 1_000_003 * n) for n in range(32)]
    return Counter(run(experiment, ticks=each).outcome["transmissions"] for each in phases)


@pytest.mark.parametrize("retries2", [3, 4, 5, 8, 15])
@pytest.mark.parametrize("latency_ms", [1, 5, 20])
def test_the_exact_model_gives_up_when_linux_does(retries2, latency_ms):
    """retries2 = 4: 6.1 s of timers are 6.2 s on a wheel, and tcp_retries2 is over (Linux: 6.8 to 7.3 s)."""
    experiment = DeadPeer(retries2=retries2, latency_ms=latency_ms)
    assert set(transmissions(experiment)) == {run(experiment).outcome["transmissions"]}


TIMER_LIST = """Timer List Version: v0.9
HRTIMER_MAX_CLOCK_BASES: 8
now at 1946885084308 nsecs

cpu: 0
 clock 0:
active timers:
 #0: <0000000017ac8508>, tick_sched_timer, S:01
 # expires at 1946885500000-1946885500000 nsecs [in 415692 to 415692 nsecs]
  .last_tick      : 0 nsecs
  .idle_jiffies   : 4295337202
jiffies: 4295378993
"""


def test_ticks_are_read_from_the_kernels_own_list():
    ticks = read_timer_list(TIMER_LIST, 250)
    assert ticks == Ticks(250, 1946881500000, 4295378993)
    assert ticks.since(1946881000000).t == 500000
    since_6_11 = TIMER_LIST.replace("tick_sched_timer", "tick_nohz_handler")
    assert read_timer_list(since_6_11, 250) == ticks
    assert read_timer_list(TIMER_LIST.replace("tick_sched_timer", "watchdog_timer_fn"), 250) is None
    assert read_timer_list("", 250) is None
