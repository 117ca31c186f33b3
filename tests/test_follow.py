"""Transcripts, and what kind of segment each line of them is: see `transcript`."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplab.core.segment import SYN, Segment, seq_add
from tcplab.core.text import SECOND
from tcplab.core.trace import Packet
from tcplab.follow import classify
from transcript import CLIENT, EXCHANGE, HANDSHAKE, SERVER, read

STORIES = {
    "a healthy connection": EXCHANGE + """
    1       c FA  41 201
    1.001   s FA  201 42
    1.002   c A   42 202
    """,
    "keepalive into silence, then the end": EXCHANGE + """
    7200    c A   40 201 lost -> keepalive
    7275    c A   40 201 lost -> keepalive
    7350    c RA  41 201 lost
    """,
    "keepalive answered, by either side": EXCHANGE + """
    60      c A   40 201 -> keepalive
    60.001  s A   201 41
    90      s A   200 41 -> keepalive
    90.001  c A   41 201
    """,
    "keepalive before any data": HANDSHAKE + """
    10      c A   0 1 -> keepalive
    10.001  s A   1 1
    10.5    s A   0 1 -> keepalive
    """,
    "keepalive with one byte, as others than Linux send it": EXCHANGE + """
    60      c A   40 201 1 -> keepalive
    60.001  s A   201 41
    """,
    "one byte of data that is sent again is no keepalive": EXCHANGE + """
    1       c PA  41 201 1 lost
    1.2     c PA  41 201 1 -> retransmission
    1.201   s A   201 42
    9       c A   41 201 1 -> keepalive
    """,
    "its acknowledgement was lost: still no keepalive": EXCHANGE + """
    1       c PA  41 201 1
    1.001   s A   201 42 lost
    1.2     c PA  41 201 1 -> retransmission
    """,
    "SYN sent into nothing": """
    0       c S   0 0 lost
    1       c S   0 0 lost -> retransmission
    3       c S   0 0 lost -> retransmission
    """,
    "SYN-ACK sent again after the client's ACK was lost": """
    0       c S   0 0
    0.001   s SA  0 1
    0.002   c A   1 1 lost
    1.001   s SA  0 1 -> retransmission
    1.002   c A   1 1
    """,
    "dead peer: tail loss probe and retransmissions": EXCHANGE + """
    5       c PA  41 201 40 lost
    5.204   c PA  41 201 40 lost -> retransmission
    5.408   c PA  41 201 40 lost -> retransmission
    """,
    "a part of what was sent, again": EXCHANGE + """
    5       c PA  41 201 1000 lost
    5.3     c A   41 201 500 -> retransmission
    5.31    c PA  541 201 500 -> retransmission
    5.32    c PA  1041 201 10
    """,
    "old and new bytes in one segment is new data": EXCHANGE + """
    5       c PA  41 201 40 lost
    5.3     c PA  41 201 80
    """,
    "FIN sent again": EXCHANGE + """
    5       c FA  41 201 lost
    5.2     c FA  41 201 lost -> retransmission
    5.6     c FPA 41 201 lost -> retransmission
    """,
    "FIN together with data that was sent before": EXCHANGE + """
    5       c PA  41 201 10 lost
    5.2     c FPA 41 201 10 lost
    5.6     c FPA 41 201 10 -> retransmission
    """,
    "after the FIN, SND.NXT is one higher": EXCHANGE + """
    5       c FA  41 201
    5.001   s A   201 42
    5.002   s PA  201 42 10
    5.003   c A   42 211
    65      s A   210 42 -> keepalive
    65.001  c A   42 211
    """,
    "a closed window and its probes": EXCHANGE + """
    1       s A   201 41 1000
    1.001   c A   41 1201 w=0
    1.3     s A   1200 41 -> window_probe
    1.301   c A   41 1201 w=0
    1.9     s A   1200 41 -> window_probe
    1.901   c A   41 1201 w=0
    2.5     c A   41 1201 w=32768
    2.501   s PA  1201 41 1000
    60      s A   2200 41 -> keepalive
    """,
    "a probe with one new byte, as others than Linux send it": EXCHANGE + """
    1       s A   201 41 1000
    1.001   c A   41 1201 w=0
    6       s A   1201 41 1 -> window_probe
    6.001   c A   41 1201 w=0
    11      s A   1201 41 1 -> window_probe
    11.001  c A   41 1202 w=8192
    11.002  s A   1202 41 1000
    """,
    "data sent again while the window is closed is a retransmission": EXCHANGE + """
    1       s A   201 41 1000 lost
    1.001   c A   41 201 w=0
    1.3     s A   201 41 1000 -> retransmission
    """,
    "a window that has not arrived is not known": EXCHANGE + """
    1       c A   41 201 w=0 late=5
    2       s A   200 41 -> keepalive
    7       s A   200 41 -> window_probe
    """,
    "a lost window update leaves the window closed": EXCHANGE + """
    1       c A   41 201 w=0
    2       c A   41 201 w=65535 lost
    3       s A   200 41 -> window_probe
    """,
    "windows count in the order of their arrival": EXCHANGE + """
    1       c A   41 201 w=0 late=2
    1.5     c A   41 201 w=9000 late=0.1
    2.6     s A   200 41 -> keepalive
    4       s A   200 41 -> window_probe
    """,
    "the zero window of a RST says nothing": EXCHANGE + """
    1       c R   900 0 w=0
    2       s A   200 41 -> keepalive
    """,
    "the window in a probe is thrown away with it": EXCHANGE + """
    1       c A   40 201 w=0 -> keepalive
    2       s A   200 41 -> keepalive
    """,
    "a kind that is set stays": EXCHANGE + """
    1       c PA  41 201 10 lost
    1.1     c PA  41 201 10 lost is=tail_loss_probe -> tail_loss_probe
    1.3     c PA  41 201 10 -> retransmission
    """,
    "a forged segment moves nothing": EXCHANGE + """
    1       c RA  90000 201 w=0 is=forged -> forged
    2       s PA  201 41 10
    2.001   c A   41 211
    60      c A   40 211 -> keepalive
    61      s A   210 41 -> keepalive
    """,
    "the port is used again after a reset": EXCHANGE + """
    1       c RA  41 201
    2       c S   70000 0
    2.001   s SA  90000 70001
    2.002   c A   70001 90001
    3       c S   70000 0 -> retransmission
    60      c A   70000 90001 -> keepalive
    """,
    "the port is used again after a close": EXCHANGE + """
    1       c FA  41 201
    1.001   s FA  201 42
    1.002   c A   42 202
    2       c S   12 0
    2.001   s SA  13 13
    2.002   c A   13 14
    2.003   c PA  13 14 30
    2.004   s A   14 43
    60      c A   42 14 -> keepalive
    """,
    "the next attempt from the same port after one that nobody answered": """
    0       c S   0 0 lost
    1       c S   0 0 lost -> retransmission
    9       c S   500 0 lost
    10      c S   500 0 lost -> retransmission
    """,
    "a SYN inside a live connection changes nothing": EXCHANGE + """
    1       c S   70000 0
    1.001   s A   201 41
    2       c S   70000 0 -> retransmission
    60      c A   40 201 -> keepalive
    """,
    "after a reboot the SYN draws a challenge ACK, a RST, and is sent again": EXCHANGE + """
    100     c S   70000 0
    100.001 s A   201 41
    100.002 c R   41 0
    101     c S   70000 0 -> retransmission
    101.001 s SA  5000 70001
    101.002 c A   70001 5001
    160     c A   70000 5001 -> keepalive
    """,
    "a SYN that is answered after all: the old connection had ended unseen": EXCHANGE + """
    100     c S   70000 0
    100.001 s SA  5000 70001
    100.002 c A   70001 5001
    160     c A   70000 5001 -> keepalive
    161     s A   5000 70001 -> keepalive
    """,
    "a RST that was ignored does not end the connection": EXCHANGE + """
    1       c R   100000 0
    2       s PA  201 41 10
    2.001   c A   41 211
    3       c S   70000 0
    60      c A   40 211 -> keepalive
    """,
    "midstream: the first bare ACK was a probe, its answer shows it": """
    0       c A   40 201 -> keepalive
    0.001   s A   201 41
    60      c A   40 201 -> keepalive
    60.001  s A   201 41
    """,
    "midstream: bare ACKs at N and a RST at N+1 were probes": """
    0       c A   40 201 -> keepalive
    75      c A   40 201 -> keepalive
    150     c RA  41 201
    """,
    "midstream: bare ACKs at SND.NXT are none": """
    0       s PA  201 41 1000
    0.001   c A   41 1201
    0.002   s PA  1201 41 1000
    0.003   c A   41 2201
    0.004   c PA  41 2201 40
    0.005   s A   2201 81
    0.006   c RA  81 2201
    """,
    "midstream: probes of a closed window": """
    0       c A   41 1201 w=0
    0.2     s A   1200 41 -> window_probe
    0.201   c A   41 1201 w=0
    """,
    "midstream: data, again": """
    0       c PA  41 201 10
    0.2     c PA  41 201 10 -> retransmission
    0.6     c PA  41 201 1 -> retransmission
    """,
    "a capture that missed data takes the peer's word for it": EXCHANGE + """
    1       s A   201 1041
    60      c A   1040 201 -> keepalive
    """,
    "packets that overtook each other were not sent twice": EXCHANGE + """
    1       c A   1041 201 1000
    1.0005  c A   41 201 1000
    1.001   c A   41 201 1000 -> retransmission
    """,
    "what was lost before the capture's place comes late and was sent again": EXCHANGE + """
    1       c A   1041 201 1000
    1.2     c A   41 201 1000 -> retransmission
    """,
}  # fmt: skip


def kinds(packets):
    classify(packets)
    return [packet.kind for packet in packets]


def moved(packets, client, server):
    """The same with every sequence number of the client and of the server further on."""
    for packet in packets:
        mine, theirs = (client, server) if packet.sender == "client" else (server, client)
        segment = packet.segment
        ack = seq_add(segment.ack, theirs) if "A" in segment.letters else 0
        packet.segment = replace(segment, seq=seq_add(segment.seq, mine), ack=ack)
    return packets


@pytest.mark.parametrize("name", STORIES)
def test_each_segment_is_what_the_story_says(name):
    packets, expected = read(STORIES[name])
    assert kinds(packets) == expected


@pytest.mark.parametrize("name", [n for n in STORIES if "arrived" not in n and "arrival" not in n])
def test_a_capture_knows_only_the_moment_it_saw_a_segment(name):
    """Where every segment arrives at once, only the stories about late news read otherwise."""
    packets, expected = read(STORIES[name])
    for packet in packets:
        if packet.fate == "delivered":
            packet.arrives = packet.t
    assert kinds(packets) == expected


@given(st.sampled_from(sorted(STORIES)), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_constant_added_to_all_sequence_numbers_changes_nothing(name, client, server):
    packets, expected = read(STORIES[name])
    assert kinds(moved(packets, client, server)) == expected


@pytest.mark.parametrize("back", range(45))
@pytest.mark.parametrize("name", ["keepalive into silence, then the end", "FIN sent again"])
def test_the_wrap_may_fall_on_any_byte(name, back):
    packets, expected = read(STORIES[name])
    assert kinds(moved(packets, 2**32 - back, 2**32 - back)) == expected


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.integers(0, 63),
            st.integers(0, 12),
            st.integers(0, 12),
            st.integers(0, 3),
            st.sampled_from([0, 1]),
            st.sampled_from([None, 0, 5]),
        ),
        max_size=30,
    ),
    st.integers(0, 2**32 - 1),
)
def test_any_sequence_of_segments_is_classified_and_wraps(drawn, base):
    def packets(base):
        out = []
        for t, (forward, flags, seq, ack, length, window, late) in enumerate(drawn):
            ends = (CLIENT, SERVER) if forward else (SERVER, CLIENT)
            names = ("client", "server") if forward else ("server", "client")
            segment = Segment(*ends, seq_add(base, seq), seq_add(base, ack), flags, window, length)
            out.append(Packet(t * 10**6, *names, segment, None if late is None else (t + late) * 10**6))
        return out

    here, there = kinds(packets(0)), kinds(packets(base))
    assert here == there
    assert set(here) <= {"", "keepalive", "window_probe", "retransmission"}
    for packet, kind in zip(packets(0), here, strict=True):
        letters = packet.segment.letters
        if kind in ("keepalive", "window_probe"):
            assert not set(letters) & set("SFR") and packet.segment.length <= 1
        if kind == "retransmission":
            assert "R" not in letters and (packet.segment.length or set(letters) & set("SF"))


def test_two_connections_side_by_side_do_not_disturb_each_other():
    one, expected = read(STORIES["keepalive into silence, then the end"])
    other, others = read(STORIES["a closed window and its probes"])
    for packet in other:
        ends = [
            end._replace(port=40001) if end.port == 40000 else end
            for end in (packet.segment.source, packet.segment.destination)
        ]
        packet.segment = replace(packet.segment, source=ends[0], destination=ends[1])
    together = sorted(one + other, key=lambda packet: packet.t)
    classify(together)
    assert [packet.kind for packet in one] == expected
    assert [packet.kind for packet in other] == others


def test_packets_are_taken_in_the_order_of_sending_whatever_the_list_says():
    packets, expected = read(STORIES["dead peer: tail loss probe and retransmissions"])
    shuffled = list(reversed(packets))
    # the ACK and the query leave at the same moment, and a sort keeps the list's order there
    packets[2].t -= 1
    classify(shuffled)
    assert [packet.kind for packet in packets] == expected


def test_classifying_twice_changes_nothing():
    packets, expected = read(STORIES["SYN sent into nothing"])
    classify(packets)
    assert kinds(packets) == expected


def test_a_socket_connected_to_itself_does_no_harm():
    itself = Segment(CLIENT, CLIENT, 5, 0, SYN, 100)
    packet = Packet(0, "client", "client", itself, 0)
    again = Packet(SECOND, "client", "client", itself, SECOND)
    classify([packet, again])
    assert [packet.kind, again.kind] == ["", "retransmission"]
