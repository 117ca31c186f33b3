"""The round trip as it is smoothed, and the timeout made from it."""

from hypothesis import given
from hypothesis import strategies as st

from tcplab.model.sender import RoundTrip

MS = 1_000_000


def measured(*samples):
    """A connection that has measured these, in milliseconds, a byte each."""
    rtt = RoundTrip()
    for i, sample in enumerate(samples):
        rtt.sample(round(sample * MS), i + 1, i + 2)
    return rtt


def test_before_a_sample_one_second():
    assert measured().rto == 1000 * MS


def test_the_floor_lies_under_the_variance_not_under_the_sum():
    """RTO = srtt + max(4 * mean deviation, 200 ms): always a little above 200 ms."""
    assert measured(1).rto == 201 * MS
    assert measured(0.05).rto == 200_050_000
    assert measured(100).rto == 300 * MS
    assert measured(150).rto == 450 * MS  # the first deviation is half the sample


def test_a_steady_path_calms_down_to_the_floor():
    assert 350 * MS < measured(*[150] * 40).rto < 352 * MS


def test_a_sudden_rise_widens_the_variance_a_fall_does_not():
    steady = [500] * 40
    before, rise, fall = measured(*steady), measured(*steady, 900), measured(*steady, 100)
    assert fall.rto - fall.smoothed <= before.rto - before.smoothed < 206 * MS
    assert rise.rto - rise.smoothed > 400 * MS


def test_a_sample_is_a_microsecond_at_least():
    assert measured(0).smoothed == 1000


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=60))
def test_the_timeout_keeps_its_bounds(samples):
    rtt = measured(*samples)
    assert min(samples) <= rtt.smoothed / MS + 1
    assert rtt.smoothed / MS <= max(samples) + 1
    assert rtt.smoothed + 200 * MS <= rtt.rto <= 120_000 * MS or rtt.rto == 120_000 * MS
