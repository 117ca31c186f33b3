"""How long a window was closed, by hand and against what the experiment says of itself."""

import pytest

from tcplab import SlowReader, run
from tcplab.core.segment import ACK, RST, SYN, Endpoint, Segment
from tcplab.core.text import SECOND
from tcplab.core.trace import Packet, Trace
from tcplab.follow import Followed

CLIENT, SERVER = Endpoint("10.0.0.1", 50000), Endpoint("10.0.0.2", 5432)


def said(t, window, flags=ACK, sender="client"):
    ends = (CLIENT, SERVER) if sender == "client" else (SERVER, CLIENT)
    receiver = "server" if sender == "client" else "client"
    return Packet(t, sender, receiver, Segment(*ends, seq=1, ack=1, flags=flags, window=window), arrives=t)


def stalled(packets, side, end=20):
    return Followed(Trace("made", "capture", packets=packets, end=end)).stalled(side)


def test_from_the_first_zero_to_the_next_room():
    packets = [said(1, 900), said(3, 0), said(5, 0), said(9, 1), said(12, 0)]
    assert stalled(packets, "client") == (6 + 8, [1, 2, 4])
    assert stalled(packets, "server") == (0, [])


def test_a_reset_ends_it_and_its_own_window_counts_for_nothing():
    assert stalled([said(3, 0), said(7, 0, RST, "server")], "client") == (4, [0])
    assert stalled([said(3, 0, RST | ACK), said(4, 0, SYN | ACK)], "client") == (0, [])


@pytest.mark.parametrize("values", [{}, {"stops_reading_s": 2, "user_timeout_s": 30}])
def test_a_run_that_says_how_long_it_stood(values):
    trace = run(SlowReader(**values))
    closed, shut = Followed(trace).stalled("client")
    assert closed / SECOND == pytest.approx(trace.outcome["stalled_s"], rel=0.02) and shut
