"""How long a window was closed, by hand and against what the experiment says of itself."""

import pytest

from tcplab import SlowReader, run
from tcplab.core.segment import ACK, RST, SYN, Endpoint, Segment
from tcplab.core.text import SECOND
from tcplab.core.trace import Packet
from tcplab.follow import standstill

CLIENT, SERVER = Endpoint("10.0.0.1", 50000), Endpoint("10.0.0.2", 5432)


def said(t, window, flags=ACK, sender="client"):
    ends = (CLIENT, SERVER) if sender == "client" else (SERVER, CLIENT)
    receiver = "server" if sender == "client" else "client"
    return Packet(t, sender, receiver, Segment(*ends, seq=1, ack=1, flags=flags, window=window), arrives=t)


def test_from_the_first_zero_to_the_next_room():
    packets = [said(1, 900), said(3, 0), said(5, 0), said(9, 1), said(12, 0)]
    assert standstill(packets, "client", 20) == (6 + 8, [1, 2, 4])
    assert standstill(packets, "server", 20) == (0, [])


def test_a_reset_ends_it_and_its_own_window_counts_for_nothing():
    assert standstill([said(3, 0), said(7, 0, RST, "server")], "client", 20) == (4, [0])
    assert standstill([said(3, 0, RST | ACK), said(4, 0, SYN | ACK)], "client", 20) == (0, [])


@pytest.mark.parametrize("values", [{}, {"stops_reading_s": 2, "user_timeout_s": 30}])
def test_a_run_that_says_how_long_it_stood(values):
    trace = run(SlowReader(**values))
    stood, shut = standstill(trace.packets, "client", trace.end)
    assert stood / SECOND == pytest.approx(trace.outcome["stalled_s"], rel=0.02) and shut
