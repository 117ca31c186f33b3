"""The graphs of one connection: what they say limited it, what they leave out, and that all words fit."""

from functools import cache

import pytest

from recordings.captures import PROJECT
from tcplab import read_capture
from tcplab.core.segment import ACK, SYN, Endpoint, Segment
from tcplab.core.text import MILLISECOND
from tcplab.core.trace import Packet, Trace
from tcplab.follow import classify
from tcplab.pictures.incident_graphs import GraphPicture, read_graphs

CAPTURES = sorted((PROJECT / "data" / "captures").glob("*.pcap"))
CLIENT, SERVER = Endpoint("10.0.0.1", 40_000), Endpoint("10.0.0.2", 5432)
NAMES = {CLIENT: "client", SERVER: "server"}


@cache
def graphs_of(name, number=0):
    capture = read_capture(PROJECT / "data" / "captures" / f"{name}.pcap")
    trace = capture.connection(number)
    return read_graphs(trace, capture.began + trace.packets[0].t)


def made(*sent):
    """A trace from (ms, source, seq, ack, length, window, SACK blocks) each."""
    packets = []
    for ms, source, seq, ack, length, window, *sack in sent:
        other = SERVER if source == CLIENT else CLIENT
        flags = ACK if ack is not None else SYN
        s = Segment(source, other, seq, ack or 0, flags, window, length, sack=tuple(sack))
        packets.append(
            Packet(round(ms * MILLISECOND), NAMES[source], NAMES[other], s, round(ms * MILLISECOND))
        )
    classify(packets)
    return Trace("made", "capture", packets=packets, end=packets[-1].t)


@pytest.mark.parametrize("name", [path.stem for path in CAPTURES])
def test_every_capture_fits(name):
    graphs = graphs_of(name)
    end = graphs.length_s
    for window in ((0.0, end), (0.0, end / 10), (end * 0.4, end * 0.41), (end, end)):
        for width in (845, 950, 1240):
            drawing = GraphPicture(graphs, window).drawing(width)
            assert not drawing.overlaps(), (window, width)
            assert drawing.height <= 520 and len(drawing.svg) < 60_000
    assert graphs.limit.endswith(".") and graphs.table().startswith("<table")


def test_a_closed_window_is_named_with_its_time():
    graphs = graphs_of("slow_reader")
    assert graphs.side == "server" and len(graphs.closed) == 2
    shut = sum(b - a for a, b in graphs.closed)
    assert 1.5 < shut < 2.5 and "the client’s window was closed" in graphs.limit
    drawing = GraphPicture(graphs, (0.0, graphs.length_s)).drawing()
    assert sum("window closed" in caption.text for caption in drawing.captions) == 3  # twice, and the legend


def test_data_that_was_never_acknowledged_is_named_with_its_size():
    graphs = graphs_of("case_2")
    assert graphs.limit.startswith("The last 65 B of the server were never acknowledged")
    top = max(each.high for each in graphs.sent)
    assert top - max(each.upto for each in graphs.acked) == 65


LOSS = (
    (0, CLIENT, 1, 500, 0, 60_000),
    (1, SERVER, 500, 1, 1000, 60_000), (1.1, SERVER, 1500, 1, 1000, 60_000),
    (1.2, SERVER, 2500, 1, 1000, 60_000),
    (2, CLIENT, 1, 500, 0, 60_000, (1500, 3500)),
    (9, SERVER, 500, 1, 1000, 60_000),
    (10, CLIENT, 1, 3500, 0, 60_000),
)  # fmt: skip


def test_sack_is_drawn_and_d_sack_is_not():
    graphs = read_graphs(made(*LOSS))
    assert graphs.sacked == ((0.002, 1000, 3000),)
    assert graphs.limit.startswith("1 segment of the server had to be sent again, 8 ms after")
    twice = (11, SERVER, 2500, 1, 1000, 60_000)
    below = read_graphs(made(*LOSS, twice, (12, CLIENT, 1, 3500, 0, 60_000, (2500, 3500))))
    assert below.sacked == graphs.sacked
    inside = (12, CLIENT, 1, 3500, 0, 60_000, (4600, 4700), (4500, 5500))
    assert read_graphs(made(*LOSS, inside)).sacked == (*graphs.sacked, (0.012, 4000, 5000))


def test_in_flight_is_what_was_sent_and_not_acknowledged():
    graphs = read_graphs(made(*LOSS))
    assert [value for _, value in graphs.in_flight] == [0, 1000, 2000, 3000, 3000, 3000, 0]


def test_a_segment_sent_again_and_those_behind_it_measure_no_round_trip():
    graphs = read_graphs(made(*LOSS, (20, SERVER, 3500, 1, 10, 60_000), (25, CLIENT, 1, 3510, 0, 60_000)))
    assert graphs.round_trips("server") == [(0.02, pytest.approx(0.005))]
    assert graphs.round_trips("client") == []


def test_numbers_wrap_around_without_a_jump():
    high = (1 << 32) - 1500
    sent = [(i, SERVER, (high + 1000 * i) % (1 << 32), 1, 1000, 60_000) for i in range(4)]
    graphs = read_graphs(made(*sent, (9, CLIENT, 1, (high + 4000) % (1 << 32), 0, 60_000)))
    assert [each.low for each in graphs.sent] == [0, 1000, 2000, 3000]
    assert graphs.acked[-1].upto == 4000


def test_a_full_window_is_the_limit():
    rows = [(0, CLIENT, 1, 500, 0, 2000)]
    for i in range(10):
        rows += [
            (20 * i + 1, SERVER, 500 + 2000 * i, 1, 1000, 60_000),
            (20 * i + 1.1, SERVER, 1500 + 2000 * i, 1, 1000, 60_000),
            (20 * i + 19, CLIENT, 1, 2500 + 2000 * i, 0, 2000),
        ]
    assert read_graphs(made(*rows)).limit.startswith("The client’s window was the limit")


def test_the_window_leaves_the_scale_where_it_would_flatten_the_data():
    graphs = read_graphs(made(*LOSS))
    assert graphs.far(0, 1) and "above the scale (at least 60 kB)" in graphs.remarks
    drawn = [caption.text for caption in GraphPicture(graphs, (0.0, 0.012)).drawing().captions]
    assert "window ends here" not in drawn and "arrived behind a hole (SACK)" in drawn


def test_an_empty_connection_says_so():
    assert read_graphs(Trace("nothing", "capture")).limit == "No data passed here."
