"""Flags, sequence arithmetic across the wrap, and what a segment says about itself."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplab.core.segment import (
    ACK,
    FIN,
    FLAG_LETTERS,
    PSH,
    RST,
    SYN,
    URG,
    Endpoint,
    Segment,
    after,
    before,
    reset_for,
    seq_add,
    seq_diff,
)

CLIENT, SERVER = Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 5432)
numbers = st.integers(0, 2**32 - 1)
steps = st.integers(-(2**31), 2**31 - 1)


def segment(flags, seq=0, ack=0, length=0):
    return Segment(CLIENT, SERVER, seq, ack, flags, 65535, length)


# --- flags ---


@pytest.mark.parametrize(
    ("flags", "letters"),
    [
        (0, ""),
        (SYN, "S"),
        (SYN | ACK, "SA"),
        (ACK | PSH, "PA"),
        (FIN | ACK, "FA"),
        (RST, "R"),
        (RST | ACK, "RA"),
        (SYN | FIN | RST | PSH | ACK | URG, "SFRPAU"),
        (SYN | 0xC0, "S"),  # ECE and CWR have no letter here
    ],
)
def test_letters_stand_in_the_order_of_the_contract(flags, letters):
    assert segment(flags).letters == letters


def test_flags_are_the_bits_of_the_header():
    """RFC 9293 section 3.1: FIN is the lowest bit, URG the sixth."""
    assert [bit for bit, _ in sorted(FLAG_LETTERS)] == [1, 2, 4, 8, 16, 32]
    assert (FIN, SYN, RST, PSH, ACK, URG) == (1, 2, 4, 8, 16, 32)


# --- sequence numbers ---


@pytest.mark.parametrize(
    ("a", "b", "difference"),
    [
        (10, 3, 7),
        (3, 10, -7),
        (5, 5, 0),
        (2, 2**32 - 3, 5),
        (2**32 - 3, 2, -5),
        (2**31, 0, -(2**31)),
        (2**31 - 1, 0, 2**31 - 1),
    ],
)
def test_difference_goes_the_short_way_round(a, b, difference):
    assert seq_diff(a, b) == difference


@given(numbers, steps)
def test_a_step_and_back(start, step):
    there = seq_add(start, step)
    assert 0 <= there < 2**32
    assert seq_diff(there, start) == step
    assert seq_add(there, -step) == start


@given(numbers, numbers)
def test_before_after_or_equal_and_never_two_of_them(a, b):
    if abs(seq_diff(a, b)) == 2**31:  # exactly opposite: nobody can tell, RFC 1982 section 3.2
        return
    assert [before(a, b), a == b, after(a, b)].count(True) == 1
    assert before(a, b) == after(b, a) == (seq_diff(a, b) < 0)


@given(numbers, numbers, numbers)
def test_moving_both_changes_nothing(a, b, by):
    assert seq_diff(seq_add(a, by), seq_add(b, by)) == seq_diff(a, b)
    assert before(seq_add(a, by), seq_add(b, by)) == before(a, b)


# --- a segment ---


@pytest.mark.parametrize(
    ("flags", "length", "takes"),
    [
        (ACK, 0, 0),
        (ACK | PSH, 40, 40),
        (SYN, 0, 1),
        (SYN | ACK, 0, 1),
        (FIN | ACK, 0, 1),
        (FIN | PSH | ACK, 7, 8),
        (RST, 0, 0),
    ],
)
def test_syn_and_fin_take_one_number_each(flags, length, takes):
    assert segment(flags, 100, length=length).end_seq == 100 + takes


def test_the_end_wraps():
    assert segment(PSH | FIN, 2**32 - 5, length=5).end_seq == 1
    assert segment(SYN, 2**32 - 1).end_seq == 0


def test_it_reads_like_a_line_of_tcpdump():
    told = str(segment(PSH | ACK, 7, 9, 40))
    assert told == "10.0.0.1:40000 > 10.0.0.2:5432 PA seq 7 ack 9 len 40"
    assert str(Endpoint("fd00::1", 5432)) == "[fd00::1]:5432"


def test_it_cannot_be_changed():
    with pytest.raises(AttributeError):
        segment(SYN).seq = 5


# --- the RST for a segment that nobody wants ---


def test_a_segment_with_ack_draws_a_rst_where_it_acknowledged():
    answer = reset_for(segment(PSH | ACK, 100, 500, 40))
    assert answer == Segment(SERVER, CLIENT, 500, 0, RST, 0)


def test_a_syn_draws_a_rst_ack_from_zero():
    answer = reset_for(segment(SYN, 2**32 - 1))
    assert answer == Segment(SERVER, CLIENT, 0, 0, RST | ACK, 0)
    assert reset_for(segment(SYN, 100)).ack == 101


@given(numbers, numbers, st.integers(0, 63), st.integers(0, 1448))
def test_it_is_always_a_rst_back_and_never_more(seq, ack, flags, length):
    asked = replace(segment(flags, seq, ack if flags & ACK else 0, length))
    answer = reset_for(asked)
    assert (answer.source, answer.destination) == (SERVER, CLIENT)
    assert answer.flags in (RST, RST | ACK) and not answer.length
    assert bool(answer.flags & ACK) != bool(flags & ACK)
