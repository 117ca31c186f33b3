"""A connection as a table without comment."""

from tcplab import Keepalive, run
from tcplab.follow import KEEPALIVE
from tcplab.lesson.tables import chart


def lines(shown):
    return repr(shown).splitlines()[1:]


def test_every_segment_has_a_row_and_none_says_what_it_is():
    trace = run(Keepalive(idle_s=60, interval_s=10, probes=3))
    rows = lines(chart(trace))
    assert len(rows) == len(trace.packets)
    assert any(packet.kind == KEEPALIVE for packet in trace.packets)
    assert "keepalive" not in repr(chart(trace)) and "probe" not in chart(trace)._repr_html_()
    assert "client → server  SYN  0    0  " in rows[0]
    assert "RST, ACK" in rows[-1]


def test_a_long_silence_stands_out():
    trace = run(Keepalive(idle_s=60, interval_s=10, probes=3))
    gaps = [row.split("  ")[2] for row in lines(chart(trace))]
    assert [gap for gap in gaps if gap.startswith("**")] == ["**60.0**", "**10.0**", "**10.0**", "**10.0**"]


def test_a_part_keeps_its_numbers_and_its_clock():
    trace = run(Keepalive(idle_s=60, interval_s=10, probes=3))
    whole, part = lines(chart(trace)), lines(chart(trace, since_s=65, until_s=85))
    assert part == whole[-3:-1]
