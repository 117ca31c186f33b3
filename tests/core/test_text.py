"""Numbers as people write them, and ratios, amounts of data and times of day in words."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplab.core.text import clock, date, factor, in_words, read_number, size


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("7,875", 7875),
        ("7875 s", 7875),
        ("2 h 11 min 15 s", 7875),
        ("2h11min15s", 7875),
        ("2 hours and 15 s", 7215),
        ("200 ms", 0.2),
        ("0,5", 0.5),
        ("0,5 s", 0.5),
        (".5", 0.5),
        ("1_000", 1000),
        ("~ 15 min", 900),
        ("1 d", 86400),
        ("1,5 min", 90),
        ("1,000,000", 1e6),
        ("3 min, 4 s", 184),
    ],
)
def test_times_are_read_number(text, seconds):
    assert read_number(text, "s") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["never", "Never", " ∞ ", "forever", "never."])
def test_never_is_infinite(text):
    assert read_number(text, "s") == math.inf


@pytest.mark.parametrize(
    "text, unit",
    [
        ("5 ms", "bytes"),
        ("5 s", ""),
        ("1 2", "s"),
        ("1 s 2", "s"),
        ("", "s"),
        ("s", "s"),
        ("1 h 2 min", "bytes"),
    ],
)
def test_other_units_and_bare_sums_are_no_numbers(text, unit):
    assert read_number(text, unit) is None


def test_the_unit_may_stand_or_not():
    assert (
        read_number("40 bytes", "bytes") == read_number("40 byte", "bytes") == read_number(40, "bytes") == 40
    )


@given(st.text(max_size=30), st.sampled_from(["", "s", "bytes", "%"]))
def test_no_text_makes_it_stumble(text, unit):
    value = read_number(text, unit)
    assert value is None or not math.isnan(value)


@given(st.integers(0, 10**7))
def test_a_time_in_words_reads_back(seconds):
    assert read_number(in_words(seconds), "s") == seconds


@pytest.mark.parametrize(
    "ratio, words",
    [
        (1.6, "about 1.5 times"),
        (15.4, "about 15 times"),
        (116, "about 100 times"),
        (984, "about 1,000 times"),
    ],
)
def test_ratios_are_rounded_as_one_says_them(ratio, words):
    assert factor(ratio) == words


def test_amounts_of_data():
    assert [size(count) for count in (12, 9999, 10_000, 2_500_000)] == ["12 B", "9,999 B", "10 kB", "2.5 MB"]


def test_a_time_of_day_is_cut_off_and_never_rounded_up():
    """30 November 2026, the last nanosecond of the day."""
    last = 1_796_083_200 * 10**9 - 1
    assert [clock(last, places) for places in (0, 3, 6)] == ["23:59:59", "23:59:59.999", "23:59:59.999999"]
    assert (clock(last + 1), date(last), date(last + 1)) == (
        "00:00:00.000",
        "Mon 30 Nov 2026",
        "Tue 01 Dec 2026",
    )
