"""Where one connection of a four-tuple ends and the next begins: a number for each line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplab.core.connections import ConnectionTracking, number_connections
from transcript import EXCHANGE, read

FIRST = "000000"  # the six segments of EXCHANGE

STORIES = {
    "a close": ("""
        1  c FA 41 201
        2  s FA 201 42
        3  c A  42 202
        4  c S  900 0
        5  s SA 70 901
        """, "00011"),
    "one FIN is no close": ("""
        1  c FA 41 201
        2  c S  900 0
        3  s A  201 42
        """, "000"),
    "a reset": ("""
        1  s R  201 0
        2  c S  900 0
        """, "01"),
    "the same SYN again is no new connection": ("""
        1  s R  201 0
        2  c S  900 0
        3  c S  900 0
        4  s SA 70 901
        5  s SA 70 901
        """, "01111"),
    "a SYN inside a live connection": ("""
        1  c S  900 0
        2  s A  201 41
        3  s PA 201 41 10
        4  c A  41 211
        """, "0000"),
    "the same after a challenge ACK and the RST that it draws": ("""
        1  c S  900 0
        2  s A  201 41
        3  c R  41 0
        4  c S  900 0
        5  s SA 70 901
        """, "00011"),
    "a SYN-ACK shows that the SYN before it was the first of the next": ("""
        1  c S  900 0
        2  c S  900 0
        3  s SA 70 901
        4  c A  901 71
        """, "1111"),
    "a RST that was ignored: both talk on, and the connection lives": ("""
        1  s R  9000 0
        2  c A  41 201
        3  s PA 201 41 10
        4  c S  900 0
        5  c PA 41 211 10
        """, "00000"),
    "the same port asked from the other side": ("""
        1  c RA 41 201
        2  s S  300 0
        3  c SA 400 301
        """, "011"),
    "attempt after attempt that nobody answers": ("""
        1  c RA 41 201
        2  c S  900 0
        3  c S  900 0
        4  c S  5000 0
        5  c S  5000 0
        """, "01122"),
    "refused, and refused again": ("""
        1  c RA 41 201
        2  c S  900 0
        3  s RA 0 901
        4  c S  5000 0
        5  s RA 0 5001
        """, "01122"),
    "only one direction was captured": ("""
        1  c RA 41 201
        2  s SA 70 901
        3  s PA 71 901 5
        4  s SA 5070 7901
        """, "0112"),
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_each_segment_belongs_to_its_connection(name):
    story, expected = STORIES[name]
    packets, _ = read(EXCHANGE + story)
    assert "".join(map(str, number_connections(p.segment for p in packets))) == FIRST + expected


def test_midstream_is_known_until_a_syn_begins_the_next():
    packets, _ = read("""
        0  s PA 201 41 10
        1  c RA 41 211
        2  c S  900 0
        """)
    follower = ConnectionTracking()
    seen = []
    for packet in packets:
        follower.take(packet.sender == "server", packet.segment)
        seen.append((follower.number, follower.midstream, follower.ended))
    assert seen == [(1, True, False), (1, True, True), (2, False, False)]


@given(
    st.lists(st.tuples(st.sampled_from("cs"), st.sampled_from(["S", "SA", "A", "PA", "FA", "R", "RA"]),
                       st.integers(0, 4), st.integers(0, 4)), max_size=25)
)  # fmt: skip
def test_numbers_start_at_zero_and_leave_none_out(drawn):
    packets, _ = read("\n".join(f"{t} {' '.join(map(str, each))}" for t, each in enumerate(drawn)))
    numbers = number_connections(packet.segment for packet in packets)
    assert len(numbers) == len(drawn)
    firsts = list(dict.fromkeys(numbers))
    assert firsts == list(range(len(firsts)))
