"""Two captures of a proxy's two connections, read as one story."""

from dataclasses import replace

import pytest

from recordings.captures import STORED, merged
from tcplab.capture import CaptureError
from tcplab.capture.capture import both_legs, read_capture
from tcplab.core.text import SECOND

STORIES = sorted(path.stem.removesuffix("_front") for path in STORED.glob("proxy_*_front.pcap"))


@pytest.mark.parametrize("name", STORIES)
def test_both_legs_make_one_trace_of_three_hosts_in_order(name):
    front, back = (read_capture(STORED / f"{name}_{leg}.pcap") for leg in ("front", "back"))
    trace = both_legs(front, back)
    assert list(trace.hosts) == ["client", "proxy", "database"]
    assert len(trace.packets) == len(front) + len(back)
    assert {frozenset((p.sender, p.receiver)) for p in trace.packets} == {
        frozenset(("client", "proxy")),
        frozenset(("proxy", "database")),
    }
    for items in (trace.packets, trace.calls, trace.sockets):
        assert [item.t for item in items] == sorted(item.t for item in items)
    assert trace.end >= trace.packets[-1].t
    assert {call.call.split()[0] for call in trace.calls} <= {"psql", "ip"}


def test_the_clocks_of_both_legs_are_one_clock():
    """The login passes the proxy within a blink: in on the one leg, out on the other."""
    trace = merged("proxy_database_gone")
    into, out = (
        next(p.t for p in trace.packets if p.sender == sender and p.segment.length)
        for sender in ("client", "proxy")
    )
    assert 0 < out - into < 0.5 * SECOND
    assert trace.packets[0].sender == "client" and trace.packets[0].t == 0


def test_a_clock_that_is_later_stays_later():
    """The database's leg again, as if it had been recorded a second later."""
    front, back = (read_capture(STORED / f"proxy_timeout_server_{leg}.pcap") for leg in ("front", "back"))
    began, ended = back.table.began + SECOND, back.table.ended + SECOND
    late = replace(back, table=replace(back.table, began=began, ended=ended))
    as_it_was, moved = both_legs(front, back), both_legs(front, late)

    def to_database(trace):
        return [p.t for p in trace.packets if p.receiver == "database"]

    assert to_database(moved) == [t + SECOND for t in to_database(as_it_was)]
    assert moved.end == to_database(moved)[-1] > as_it_was.end


def test_a_capture_without_a_connection_gets_one_sentence(tmp_path):
    empty = tmp_path / "empty.pcap"
    empty.write_bytes((STORED / "proxy_pgbouncer_back.pcap").read_bytes()[:24])  # its header alone
    front = read_capture(STORED / "proxy_pgbouncer_front.pcap")
    with pytest.raises(CaptureError, match="has no connection 0"):
        both_legs(front, read_capture(empty))
