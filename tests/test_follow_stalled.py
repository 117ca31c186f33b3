"""How long a window was closed, by hand and against what the experiment says of itself."""

import pytest

from tcplab import SlowReader, run
from tcplab.core.segment import ACK, RST, SYN, Endpoint, Segment
from tcplab.core.text import SECOND
from tcplab.core.trace import Packet, Trace
from tcplab.follow import Followed, classify

CLIENT, SERVER = Endpoint("10.0.0.1", 50000), Endpoint("10.0.0.2", 5432)


def said(t, window, flags=ACK, sender="client", length=0):
    ends = (CLIENT, SERVER) if sender == "client" else (SERVER, CLIENT)
    receiver = "server" if sender == "client" else "client"
    segment = Segment(*ends, seq=1, ack=1, flags=flags, window=window, length=length)
    return Packet(t, sender, receiver, segment, arrives=t)


def stalled(packets, side, end=20):
    return Followed(Trace("made", "capture", packets=packets, end=end)).stalled(side)


def test_from_the_first_zero_to_the_next_room():
    packets = [said(1, 900), said(3, 0), said(5, 0), said(9, 1), said(12, 0)]
    assert stalled(packets, "client") == (6 + 8, [1, 2, 4])
    assert stalled(packets, "server") == (0, [])


def test_a_reset_ends_it_and_its_own_window_counts_for_nothing():
    assert stalled([said(3, 0), said(7, 0, RST, "server")], "client") == (4, [0])
    assert stalled([said(3, 0, RST | ACK), said(4, 0, SYN | ACK)], "client") == (0, [])


@pytest.mark.parametrize("window, is_one_way", [(900, True), (0, False)])
def test_a_closed_window_is_no_broken_direction(window, is_one_way):
    """It answers: the data arrived, and there was no room."""
    data = [said(t * SECOND, 900, length=5) for t in (2, 3, 5, 9)]
    alive = [said(t * SECOND, window, sender="server") for t in (1, 4, 6)]
    packets = sorted([*data, *alive], key=lambda packet: packet.t)
    classify(packets)
    followed = Followed(Trace("made", "capture", packets=packets, end=20 * SECOND))
    assert followed.one_way("client") == ([3, 5] if is_one_way else [])
    assert followed.one_way("server") == []
    assert followed.unanswered(0).one_way is is_one_way


@pytest.mark.parametrize("values", [{}, {"stops_reading_s": 2, "user_timeout_s": 30}])
def test_a_run_that_says_how_long_it_stood(values):
    trace = run(SlowReader(**values))
    closed, shut = Followed(trace).stalled("client")
    assert closed / SECOND == pytest.approx(trace.outcome["stalled_s"], rel=0.02) and shut
