"""The time axis is a monotone map in which everything has its row."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictures.transcripts import ALL, CLIENT, MS, SERVER, Story, burst, dead_peer, keepalive_into_silence
from tcplab.core.segment import ACK, PSH, Endpoint, Segment
from tcplab.core.text import SECOND, duration
from tcplab.core.trace import Call, Note, Packet, SocketSample, Trace
from tcplab.pictures.timeaxis import (
    BAND,
    DROP,
    LABEL,
    ROW,
    SHORTEST_GAP,
    TICK,
    arrows,
    place,
    tick_texts,
    time_axis,
)  # fmt: skip

moments = st.one_of(st.integers(0, 5), st.integers(0, 10**7), st.integers(0, 10**13))
flights = st.one_of(st.none(), st.sampled_from([0, 1, MS, 300 * MS]), st.integers(0, 10**10))
hosts = st.sampled_from(["client", "server"])
#: What rounding makes of a px.
NOTHING = 1e-6
STATES = ["SYN_SENT", "ESTABLISHED", "FIN_WAIT_1", "TIME_WAIT", "CLOSED"]


@st.composite
def traces(draw):
    """Anything that a trace may hold, in any disorder of time and ties."""
    trace = Trace("any", "model")
    trace.hosts = {"client": CLIENT.address, "server": SERVER.address}
    for t, sender, flight in sorted(
        draw(st.lists(st.tuples(moments, hosts, flights), max_size=25)), key=lambda x: x[0]
    ):
        ends = (CLIENT, SERVER) if sender == "client" else (SERVER, CLIENT)
        segment = Segment(*ends, 1, 1, PSH | ACK, 1000, 10)
        receiver = "server" if sender == "client" else "client"
        arrives = None if flight is None else t + flight
        fate = "lost" if flight is None else "delivered"
        trace.packets.append(Packet(t, sender, receiver, segment, arrives, fate))
    for t, blocked, host in draw(st.lists(st.tuples(moments, moments, hosts), max_size=10)):
        trace.calls.append(Call(t + blocked, t, host, "recv()", "ok"))
    for t, host, state in draw(st.lists(st.tuples(moments, hosts, st.sampled_from(STATES)), max_size=10)):
        ends = (CLIENT, SERVER) if host == "client" else (SERVER, CLIENT)
        trace.sockets.append(SocketSample(t, host, *ends, state))
    for t in draw(st.lists(moments, max_size=3)):
        trace.notes.append(Note(t, "", "something"))
    trace.calls.sort(key=lambda call: call.t)
    trace.sockets.sort(key=lambda sample: sample.t)
    trace.notes.sort(key=lambda note: note.t)
    return trace


@given(traces(), st.lists(moments, min_size=2, max_size=20))
def test_later_is_never_higher(trace, some):
    axis = time_axis(trace)
    some = sorted(some)
    assert all(axis.y_of(a) <= axis.y_of(b) for a, b in pairwise(some))
    assert all(axis.bottom_of(a) <= axis.bottom_of(b) for a, b in pairwise(some))
    for (top, bottom), (next_top, _) in pairwise(zip(axis.tops, axis.bottoms, strict=True)):
        assert top <= bottom < next_top


@given(traces())
def test_a_click_on_any_row_of_a_moment_is_that_moment(trace):
    axis = time_axis(trace)
    for t, top, bottom in zip(axis.times, axis.tops, axis.bottoms, strict=True):
        assert axis.t_of(top) == axis.t_of(bottom) == axis.t_of((top + bottom) / 2) == t
        assert axis.y_of(t) == top
        assert axis.bottom_of(t) == bottom


@given(traces(), st.lists(st.floats(-100, 5000), min_size=2, max_size=20))
def test_a_lower_click_is_never_earlier(trace, clicks):
    axis = time_axis(trace)
    found = [axis.t_of(y) for y in sorted(clicks)]
    assert found == sorted(found)
    if axis.times:
        assert axis.times[0] <= found[0]
        assert found[-1] <= axis.times[-1]


@given(traces())
def test_everything_keeps_its_distance(trace):
    placed = place(trace)
    tails = sorted(placed.sent)
    assert all(b - a >= LABEL - NOTHING for a, b in pairwise(tails))
    for tail, head in zip(placed.sent, placed.arrived, strict=True):
        assert head is None or head - tail >= DROP - NOTHING
    for host in ("client", "server"):
        beside = [y for y, call in zip(placed.returned, trace.calls, strict=True) if call.host == host]
        beside += [y for y, s in zip(placed.changed, placed.states, strict=True) if s.host == host]
        assert all(b - a >= ROW - NOTHING for a, b in pairwise(sorted(beside)))
    assert all(b - a >= TICK - NOTHING for (_, a), (_, b) in pairwise(placed.axis.ticks))


@given(traces())
@settings(max_examples=50)
def test_rows_agree_with_the_map(trace):
    placed = place(trace)
    axis = placed.axis
    for y, arrow in zip(placed.sent, placed.arrows, strict=True):
        assert axis.y_of(arrow.t) <= y <= axis.bottom_of(arrow.t)
    for y, arrow in zip(placed.arrived, placed.arrows, strict=True):
        assert (y is None) == (arrow.arrives is None)
        if y is not None:
            assert axis.y_of(arrow.arrives) <= y <= axis.bottom_of(arrow.arrives)
    for y, call in zip(placed.returned, trace.calls, strict=True):
        assert axis.y_of(call.t) <= y <= axis.bottom_of(call.t)


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_nothing_happens_in_a_silence(make):
    trace = make()
    for gap in time_axis(trace).gaps:
        assert gap.ended - gap.began >= SHORTEST_GAP
        assert gap.bottom - gap.top >= BAND - NOTHING
        for p in trace.packets:
            assert not gap.began < p.t < gap.ended
            assert p.arrives is None or p.arrives <= gap.began or p.t >= gap.ended


def test_a_flight_is_no_silence_however_long():
    story = Story(latency=2 * SECOND)
    story.open()
    assert not time_axis(story.finish()).gaps


def test_a_longer_silence_is_never_a_lower_band():
    for trace in (dead_peer(), keepalive_into_silence()):
        bands = sorted((s.ended - s.began, round(s.bottom - s.top, 6)) for s in time_axis(trace).gaps)
        assert bands == sorted(bands, key=lambda band: band[1])
        assert max(height for _, height in bands) < 3 * BAND


def test_the_silences_of_a_keepalive_are_its_settings():
    lengths = [s.ended - s.began for s in time_axis(keepalive_into_silence()).gaps]
    assert [round(length / SECOND) for length in lengths] == [7200] + 9 * [75]


def test_what_is_sent_at_one_nanosecond_stands_in_rows_of_its_own():
    trace = burst(10)
    placed = place(trace, shown=arrows(trace, joined=False))
    at_once = [y for y, p in zip(placed.sent, trace.packets, strict=True) if p.segment.length]
    assert len({p.t for p in trace.packets if p.segment.length}) == 1
    assert all(b - a >= LABEL - NOTHING for a, b in pairwise(at_once))
    assert {placed.axis.t_of(y) for y in at_once} == {trace.packets[3].t}


def test_an_answer_stands_below_what_caused_it():
    story = Story()
    story.open()
    trace = story.finish()
    placed = place(trace)
    syn_arrives, answer = placed.arrived[0], placed.sent[1]
    received = next(y for y, s in zip(placed.changed, placed.states, strict=True) if s.name == "SYN_RECV")
    assert syn_arrives is not None
    assert syn_arrives <= received
    assert answer >= syn_arrives + LABEL - NOTHING


def test_a_segment_seen_at_one_point_only_slants_too():
    """In a capture sending and arriving are one moment."""
    trace = Trace("capture", "capture")
    for n in range(4):
        ends = (CLIENT, SERVER) if n % 2 == 0 else (SERVER, CLIENT)
        names = ("client", "server") if n % 2 == 0 else ("server", "client")
        segment = Segment(*ends, 1, 1, ACK, 1000)
        trace.packets.append(Packet(n * 1000, *names, segment, n * 1000))
    placed = place(trace, shown=arrows(trace, joined=False))
    assert all(head - tail >= DROP - NOTHING for tail, head in zip(placed.sent, placed.arrived, strict=True))
    assert [placed.axis.t_of(y) for y in placed.sent] == [0, 1000, 2000, 3000]


def test_an_empty_trace_has_an_axis_too():
    axis = time_axis(Trace("nothing", "model"))
    assert (axis.height, axis.y_of(5), axis.t_of(5.0), axis.ticks) == (0, 0, 0, ())


def test_a_listening_socket_gets_no_row():
    trace = Trace("listen", "model", hosts={"server": SERVER.address})
    trace.sockets.append(SocketSample(0, "server", SERVER, Endpoint("0.0.0.0", 0), "LISTEN"))
    assert place(trace).states == []


@pytest.mark.parametrize(
    ("nanoseconds", "said"),
    [
        (0, "0 s"),
        (40_000, "40 µs"),
        (MS, "0.001 s"),
        (204 * MS, "0.204 s"),
        (1010 * MS, "1.010 s"),
        (SECOND, "1 s"),
        (12_870 * MS, "12.9 s"),
        (75 * SECOND, "75 s"),
        (99_949 * MS, "99.9 s"),
        (99_950 * MS, "1 min 40 s"),
        (120 * SECOND, "2 min"),
        (928 * SECOND, "15 min 28 s"),
        (7200 * SECOND, "2 h"),
        (7875 * SECOND, "2 h 11 min 15 s"),
        (3600 * SECOND + 5 * SECOND, "1 h 0 min 5 s"),
        (-MS, "−0.001 s"),
    ],
)
def test_durations_as_one_says_them(nanoseconds, said):
    assert duration(nanoseconds) == said


def test_ticks_tell_neighbours_apart():
    assert tick_texts([45_000, 2_045_000, 2_056_000, 2_100_000, 3 * MS]) == [
        "45 µs",
        "2.04 ms",
        "2.06 ms",
        "2.1 ms",
        "3 ms",
    ]
    assert tick_texts([2_044_000, 2_044_100]) == ["2.04 ms", "+ 0.1 µs"]
    at = [0, MS, SECOND, 7200 * SECOND, 7200 * SECOND + MS, 7200 * SECOND + 3 * MS, 7275 * SECOND]
    assert tick_texts(at) == ["0 s", "1 ms", "1 s", "2 h", "+ 1 ms", "+ 3 ms", "2 h 1 min 15 s"]
