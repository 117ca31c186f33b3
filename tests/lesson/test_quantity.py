"""Numbers as people write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplab.lesson.tables import in_words, read, show, times


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
def test_times_are_read(text, seconds):
    assert read(text, "s") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["never", "Never", " ∞ ", "forever", "never."])
def test_never_is_infinite(text):
    assert read(text, "s") == math.inf


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
    assert read(text, unit) is None


def test_the_unit_may_stand_or_not():
    assert read("40 bytes", "bytes") == read("40 byte", "bytes") == read(40, "bytes") == 40


@given(st.text(max_size=30), st.sampled_from(["", "s", "bytes", "%"]))
def test_no_text_makes_it_stumble(text, unit):
    value = read(text, unit)
    assert value is None or not math.isnan(value)


@given(st.integers(0, 10**7))
def test_a_time_in_words_reads_back(seconds):
    assert read(in_words(seconds), "s") == seconds


@pytest.mark.parametrize(
    "value, unit, text",
    [
        (929, "s", "929 s (15 min 29 s)"),
        (8, "s", "8 s"),
        (0.204, "s", "0.204 s"),
        (7875, "s", "7,875 s (2 h 11 min 15 s)"),
        (3, "segments", "3 segments"),
        (28232, "", "28,232"),
        (math.inf, "s", "never"),
    ],
)
def test_numbers_are_shown_as_one_says_them(value, unit, text):
    assert show(value, unit) == text


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
    assert times(ratio) == words
