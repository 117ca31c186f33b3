"""What a trace tells about itself: seconds, relative numbers, sockets and counters at a moment, JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplab.core.segment import ACK, RST, Endpoint, Segment
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Call, CounterSample, Note, Packet, SocketSample, Trace
from transcript import EXCHANGE, HANDSHAKE, trace

HERE, THERE = Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 5432)


def relative(story, offset=(0, 0)):
    return [tuple(each) for each in trace(story, offset=offset).relative()]


# --- time ---


def test_zero_is_the_first_segment():
    told = trace(HANDSHAKE)
    for packet in told.packets:
        packet.t += 7 * SECOND
    assert told.start == 7 * SECOND
    assert told.seconds(7 * SECOND + 250 * MILLISECOND) == 0.25


def test_without_segments_zero_is_the_first_call():
    told = Trace("x", "model", calls=[Call(5 * SECOND, 3 * SECOND, "client", "connect()", "ETIMEDOUT")])
    assert told.start == 3 * SECOND
    assert Trace("x", "model").start == 0


# --- relative numbers, as Wireshark counts ---

NUMBERS = [(0, 0), (0, 1), (1, 1), (1, 1), (1, 41), (41, 201)]


def test_numbers_count_from_the_syn():
    assert relative(EXCHANGE) == NUMBERS


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_whatever_the_initial_sequence_numbers(client, server):
    assert relative(EXCHANGE, (client, server)) == NUMBERS


def test_a_syn_that_is_sent_again_counts_from_the_same_start():
    story = """
    0  c S  0 0 lost
    1  c S  0 0
    1  s SA 0 1 lost
    2  s SA 0 1
    3  c A  1 1
    """
    assert relative(story, (900, 70)) == [(0, 0), (0, 0), (0, 1), (0, 1), (1, 1)]


def test_midstream_the_first_byte_seen_is_1():
    story = """
    0  s PA 5000 700 100
    1  c A  700 5100
    2  c PA 700 5100 10
    """
    assert relative(story) == [(1, 1), (1, 101), (1, 101)]


def test_without_ack_there_is_no_number():
    assert relative(EXCHANGE + "1  c R  41 0")[-1] == (41, 0)


def test_a_refusal_counts_from_zero():
    assert relative("0 c S 0 0\n1 s RA 0 1", (500, 0)) == [(0, 0), (1, 1)]


def test_the_next_connection_on_the_same_ports_starts_again():
    story = (
        EXCHANGE
        + """
    1      c RA 41 201
    2      c S  90000 0
    2.001  s SA 80000 90001
    2.002  c A  90001 80001
    """
    )
    assert relative(story)[-3:] == [(0, 0), (0, 1), (1, 1)]


def test_numbers_behind_the_start_wrap_as_in_wireshark():
    assert relative(HANDSHAKE + "9  c A  4294967290 1")[-1] == (2**32 - 6, 1)


# --- sockets and counters ---


def sample(t, host, state, timer="", port=40000):
    return SocketSample(t, host, HERE._replace(port=port), THERE, state, timer=timer)


def test_sockets_at_a_moment_are_the_last_samples_of_each():
    told = Trace("x", "model", sockets=[
        sample(0, "client", "SYN_SENT", "on"),
        sample(5, "server", "SYN_RECV"),
        sample(10, "client", "ESTABLISHED"),
        sample(10, "client", "ESTABLISHED", "keepalive"),
        sample(20, "client", "CLOSED"),
    ])  # fmt: skip
    assert told.sockets_at(-1) == []
    assert [(s.host, s.state) for s in told.sockets_at(0)] == [("client", "SYN_SENT")]
    assert [s.state for s in told.sockets_at(10)] == ["ESTABLISHED", "SYN_RECV"]
    assert [s.timer for s in told.sockets_at(10)] == ["keepalive", ""]
    assert [s.host for s in told.sockets_at(20)] == ["server"]


def test_a_port_that_is_used_again_is_there_again():
    told = Trace("x", "model", sockets=[sample(0, "client", "CLOSED"), sample(5, "client", "SYN_SENT")])
    assert told.sockets_at(0) == [] and len(told.sockets_at(5)) == 1


def test_history_keeps_sockets_apart_and_in_order():
    samples = [
        sample(0, "client", "SYN_SENT"),
        sample(1, "client", "SYN_SENT", port=2),
        sample(3, "client", "CLOSED"),
    ]
    told = dict(Trace("x", "model", sockets=samples).socket_history())
    assert list(told) == [("client", HERE, THERE), ("client", HERE._replace(port=2), THERE)]
    assert told["client", HERE, THERE] == [samples[0], samples[2]]


def test_counters_at_a_moment():
    told = Trace("x", "model", counters=[
        CounterSample(0, "client", "TcpRetransSegs", 1),
        CounterSample(5, "server", "TcpOutRsts", 1),
        CounterSample(9, "client", "TcpRetransSegs", 2),
    ])  # fmt: skip
    assert told.counters_at(-1) == {}
    assert told.counters_at(5) == {"client": {"TcpRetransSegs": 1}, "server": {"TcpOutRsts": 1}}
    assert told.counters_at(9)["client"] == {"TcpRetransSegs": 2}


# --- JSON ---


def test_json_is_the_agreed_object():
    told = trace(EXCHANGE + "1  c PA 41 201 10 lost", offset=(2**32 - 7, 5))
    told.calls.append(Call(2 * MILLISECOND, 0, "client", "connect(10.0.0.2:5432)", "ok", 40000))
    told.parameters, told.outcome, told.linux = {"idle_s": 60}, {"error": None}, "6.18"
    told.packets[-1].fate = "dropped_by:firewall"
    printed = json.loads(json.dumps(told.to_json()))
    plain = {
        "experiment": "story", "bench": "model", "linux": "6.18", "parameters": {"idle_s": 60},
        "outcome": {"error": None}, "series": {},
    }  # fmt: skip
    assert printed == {**printed, **plain}
    assert printed["events"] == [
        {"t": 0.002, "host": "client", "call": "connect(10.0.0.2:5432)", "result": "ok"}
    ]
    assert printed["segments"][1] == {
        "t": 0.001, "arrives": 0.002, "fate": "delivered", "from": "server", "to": "client", "flags": "SA",
        "seq": 0, "ack": 1, "length": 0, "window": 65535,
    }  # fmt: skip
    last = printed["segments"][-1]
    assert (last["arrives"], last["fate"]) == (None, "dropped_by:firewall")
    assert (last["seq"], last["length"]) == (41, 10)


# --- what broke ---


def happened(*calls, notes=(), **more):
    """A trace of calls (t, host, call) and notes (t, host, text), between a client and two servers."""
    hosts = {"client": "10.0.0.1", "firewall": "", "server": "10.0.0.2", "new owner": "10.0.0.3"}
    made = [Call(t * SECOND, t * SECOND, host, call, "ok") for t, host, call in calls]
    noted = [Note(t * SECOND, host, text) for t, host, text in notes]
    return Trace("x", "model", hosts=hosts, calls=made, notes=noted, watched_from=2 * SECOND, **more)


def broke(trace):
    return [(each.t // SECOND, each.host, each.kind, each.words) for each in trace.breaks()]


@pytest.mark.parametrize(
    ("host", "text", "where", "kind", "words"),
    [
        ("server", "unplugged", "server", "unplugged", "server: cable out"),
        ("server", "plugged in again", "server", "plugged", "server: cable in again"),
        ("server", "rebooted: no socket is left", "server", "rebooted", "server reboots"),
        ("new owner", "takes over address 10.0.0.2", "server", "moved", "server's address moves"),
        ("firewall", "removes the connection: its idle timer expired", "firewall", "forgot",
         "the firewall's entry expires"),
        ("server", "firewall rule: DROP port 5432", "server", "firewall rule", "server's firewall drops"),
        ("client", "firewall rule: REJECT port 40000, only the next segment with data", "client",
         "firewall rule", "client's firewall rejects"),
    ],
)  # fmt: skip
def test_a_note_that_breaks_something(host, text, where, kind, words):
    assert broke(happened(notes=[(3, host, text), (4, "", "a remark")])) == [(3, where, kind, words)]


def test_a_recorded_capture_has_the_same_as_calls():
    assert broke(happened((3, "server", "unplugged"))) == [(3, "server", "unplugged", "server: cable out")]


def test_a_kill_is_a_break_and_a_close_only_where_nothing_else_broke():
    kills = [(3, "client", "killed (SIGKILL)"), (4, "server", "listener killed (SIGKILL)")]
    assert broke(happened(*kills, (5, "server", "close()"))) == [
        (3, "client", "killed", "client: kill -9"),
        (4, "server", "killed", "server: kill -9 of the listener"),
    ]
    before_it_was_watched = (1, "client", "close()")
    closes = (3, "server", "shutdown(SHUT_WR)"), (4, "client", "close()")
    assert broke(happened(before_it_was_watched, *closes)) == [
        (3, "server", "closed", "server shuts down its sending side")
    ]
    reset = (3, "server", "close() with SO_LINGER 0")
    assert broke(happened(reset)) == [(3, "server", "closed", "server closes with a RST")]
    assert happened(before_it_was_watched).breaks() == []


def test_a_forged_rst_is_a_break_unless_a_middlebox_sent_it():
    rst = Segment(THERE, HERE, 1, 0, RST, 0)
    late = Segment(THERE, HERE, 1, 0, ACK, 500, 200)
    packets = [
        Packet(3 * SECOND, "server", "client", rst, kind="forged"),
        Packet(4 * SECOND, "firewall", "client", rst, kind="forged"),
        Packet(5 * SECOND, "server", "client", late, kind="forged"),
    ]
    assert broke(happened(packets=packets)) == [
        (3, "client", "forged", "a forged RST"), (5, "client", "forged", "a late segment"),
    ]  # fmt: skip
