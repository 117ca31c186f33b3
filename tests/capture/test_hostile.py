"""Hostile captures cost no more than their size: twice the input, twice the steps, counted and not timed."""

import sys

import pytest

from tcplab.capture.findings import findings_of
from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, Endpoint, Segment
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Packet, Trace
from tcplab.follow import classify

CLIENT, SERVER = Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 5432)
DATA = PSH | ACK


def packet(t, who, flags, seq, ack, length):
    ends, other = ((CLIENT, SERVER), "server") if who == "client" else ((SERVER, CLIENT), "client")
    return Packet(t, who, other, Segment(*ends, seq, ack, flags, 1000, length), arrives=t)


HANDSHAKE = (
    (0, "client", SYN, 99, 0, 0),
    (1000, "server", SYN | ACK, 499, 100, 0),
    (2000, "client", ACK, 100, 500, 0),
)
#: Of the n-th of `count` packets: time in microseconds, who, flags, seq, ack, length.
HOSTILE = {
    "never acknowledged": lambda n, count: (n * 100, "client", DATA, 100 + n * 10, 500, 10),
    "the same, never acknowledged": lambda n, count: (n * 100, "client", DATA, 100, 500, 10),
    "out of order": lambda n, count: (n, "client", DATA, 100 + n * 7919 % count * 10, 500, 10),
    "backwards": lambda n, count: (n, "client", DATA, 100 + (count - n) * 10, 500, 10),
    "holes": lambda n, count: (n, "client", DATA, 100 + n * 20, 500, 10),
    "RSTs outside the window": lambda n, count: (n * 100, "server", RST, 200_000 + n, 0, 0),
    "RSTs and challenge ACKs": lambda n, count: (
        (n * 100, "server", RST, 550, 0, 0) if n % 2 else (n * 100, "client", ACK, 100, 500, 0)
    ),
    "probes without an answer": lambda n, count: (n * 1_000_000, "client", ACK, 99, 500, 0),
    "FINs": lambda n, count: (n * 10, "client", FIN | ACK, 100, 500, 0),
    "SYNs": lambda n, count: (n * 10, "client", SYN, 99, 0, 0),
    "SYN-ACKs": lambda n, count: (n * 1_000_000, "server", SYN | ACK, 499, 100, 0),
    "ACK numbers up and down": lambda n, count: (n, "server", ACK, 500, 100 + n * 3 % 500, 0),
}


def steps(name, count):
    """Lines of Python that run, from the packets to the findings."""
    later = (HOSTILE[name](n, count) for n in range(count))
    packets = [packet(*each) for each in HANDSHAKE]
    packets += [packet(10 * MILLISECOND + t * 1000, *rest) for t, *rest in later]
    hosts = {"client": CLIENT.address, "server": SERVER.address}
    trace = Trace("made", "capture", hosts=hosts, packets=packets, end=packets[-1].t + SECOND)
    lines = 0

    def count_lines(frame, event, argument):
        nonlocal lines
        lines += event == "line"
        return count_lines

    before = sys.gettrace()
    sys.settrace(count_lines)
    try:
        classify(packets)
        findings_of(trace)
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize("name", HOSTILE)
def test_twice_the_packets_take_twice_the_steps(name):
    assert steps(name, 800) < 2.3 * steps(name, 400)
