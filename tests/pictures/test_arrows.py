"""What a ladder draws as one: the beginning, bursts, answered probes, steady retransmissions."""

from dataclasses import replace

import pytest

from pictures.drawn import named, plain
from pictures.transcripts import LATENCY, MS, Story, burst, dead_peer, healthy, keepalive_into_silence
from tcplab.bench import run
from tcplab.core.segment import ACK, FIN, PSH, RST, Endpoint
from tcplab.core.text import SECOND, short_duration
from tcplab.experiments import EXPERIMENTS
from tcplab.pictures.ladder import draw, time_axis
from tcplab.pictures.text import probe_totals
from tcplab.pictures.timeaxis import SHORTEST_GAP, arrows, fold, place, states


def members(trace):
    """The members of every arrow."""
    return [arrow.members for arrow in arrows(trace)]


def labels(picture):
    """Labels of the arrows from top to bottom, without markup."""
    found = named(picture, "labels")
    return [plain(text) for _, text in sorted(zip(found["y"], found["text"], strict=True))]


def hovers(picture):
    """What the arrows say on hover, in their order; the beginning comes last."""
    return list(dict.fromkeys(filter(None, named(picture, "hover")["hovertext"])))


def watched(trace, after=7):
    """The same, watched from after so many packets."""
    trace.watched_from = max(packet.arrives for packet in trace.packets[:after])
    return trace


# -- the beginning -------------------------------------------------------------------------------


def test_the_beginning_is_one_row():
    trace = watched(keepalive_into_silence(), 6)
    beginning = fold(trace)
    assert (beginning.size, beginning.until) == (6, trace.watched_from)
    assert beginning.words == "3-way handshake and one exchange: 6 segments in 6 ms"
    picture = draw(trace)
    assert len(labels(picture)) == 10, "nine probes and the RST"
    written = [plain(text) for text in named(picture, "captions")["text"]]
    assert "▸ handshake and exchange: 6 segments in 6 ms" in written, (
        "in fewer words where there is less room"
    )
    about = hovers(picture)[-1]
    assert about.split("<br>")[1:] == [
        "client → server: SYN", "server → client: SYN, ACK", "client → server: ACK  ack 1",
        "client → server: PSH, ACK  seq 1 len 40", "server → client: PSH, ACK  seq 1 ack 41 len 200",
        "client → server: ACK  ack 201",
    ]  # fmt: skip
    opened = draw(trace, folded=False)
    assert len(labels(opened)) == 16
    assert opened.layout["height"] > picture.layout["height"] + 80


def test_in_the_beginning_only_what_outlives_it_has_words():
    trace = watched(keepalive_into_silence(), 6)
    beside = named(draw(trace), "states and calls")
    assert [plain(text) for text in beside["text"]].count("ESTABLISHED") == 2
    assert not {"SYN-SENT", "connect() → ok", "send(40) → 40"} & set(beside["text"])
    assert "recv() → ✗ ETIMEDOUT" in beside["text"]


def test_every_instant_of_the_beginning_is_in_its_row():
    trace = watched(keepalive_into_silence(), 6)
    axis = time_axis(trace)
    assert axis.t_of(0) == trace.start
    within = [axis.y_of(t) for t in range(trace.start, trace.watched_from, MS // 2)]
    assert within == sorted(within) and within[-1] < axis.y_of(trace.packets[6].t)
    assert not [gap for gap in axis.gaps if gap.ended <= trace.watched_from]
    unfolded = time_axis(trace, folded=False)
    assert unfolded.height > axis.height


@pytest.mark.parametrize(
    "change",
    [
        lambda trace: setattr(trace.packets[4], "fate", "lost"),
        lambda trace: setattr(trace.packets[4], "kind", "retransmission"),
        lambda trace: setattr(trace.packets[4], "arrives", trace.watched_from + 1),
        lambda trace: setattr(trace, "watched_from", None),
        lambda trace: setattr(trace, "watched_from", trace.start),
        lambda trace: trace.packets.clear(),
        lambda trace: trace.calls.insert(0, trace.calls[-1]._replace(t=trace.start + 1)),
    ],
    ids=["lost", "again", "in flight", "never watched", "watched at once", "empty", "failed"],
)
def test_an_eventful_beginning_is_shown(change):
    trace = watched(keepalive_into_silence(), 6)
    assert fold(trace)
    change(trace)
    assert fold(trace) is None


def test_a_note_ends_the_beginning():
    story = Story()
    t = story.open()
    story.note(t, "server", "unplugged")
    story.exchange(t)
    trace = watched(story.finish(t + SECOND), 6)
    assert fold(trace).size == 3
    assert fold(trace).words == "3-way handshake: 3 segments in 3 ms"


def test_what_the_beginning_holds_is_counted():
    first, second = Story(), Story(start=6 * SECOND, port=40001)
    for story in (first, second):
        t = story.exchange(story.open())
        t = story.say(t, "client", FIN | ACK, 41, 201)
        t = story.say(t, "server", FIN | ACK, 201, 42)
    t = second.say(t, "client", PSH | ACK, 42, 202, 10)
    trace = first.finish()
    trace.packets += second.finish().packets
    trace.watched_from, trace.end = 7 * SECOND, 8 * SECOND
    assert fold(trace).words.startswith(
        "2 handshakes, 2 exchanges, one request and 2 closes: 17 segments in "
    )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_beginning_of_an_experiment_ends_where_it_is_watched(name):
    trace = run(EXPERIMENTS[name]())
    beginning = fold(trace)
    if trace.watched_from in (None, trace.start):
        assert beginning is None
    else:
        assert beginning.size == sum(packet.t < trace.watched_from for packet in trace.packets)


# -- one arrow -----------------------------------------------------------------------------------


def test_a_burst_of_data_is_one_arrow():
    story = Story(latency=20 * MS)
    t = story.open()
    for n in range(8):
        story.say(t + n * MS, "server", PSH * (n == 7) | ACK, 1 + n * 1250, 1, 1250)
    story.say(t + 200 * MS, "server", ACK, 10_001, 1, 1250)
    trace = story.finish()
    assert members(trace)[3:] == [tuple(range(3, 11)), (11,)]
    picture = draw(trace)
    assert labels(picture)[3:] == ["8 segments, 10,000 bytes", "ACK  seq 10001 len 1250"]
    text = hovers(picture)[3]
    assert text.count("<br>") == 9 and "len 1250" in text
    (arrow,) = [arrow for arrow in arrows(trace) if len(arrow.members) == 8]
    assert (arrow.t, arrow.arrives) == (trace.packets[3].t, trace.packets[10].arrives)


def test_what_is_stepped_through_is_not_joined():
    trace = burst(10)
    assert len(labels(draw(trace))) < len(labels(draw(trace, upto=trace.end))) == len(trace.packets)
    trace = watched(keepalive_into_silence(), 6)
    assert len(labels(draw(trace, upto=trace.end))) == len(trace.packets)


def test_an_answer_ends_a_burst():
    """In a capture, sending and arriving are one instant."""
    story = Story(latency=0)
    t = story.open()
    for n, sender in enumerate(("server", "server", "client", "server")):
        data = {"length": 100, "seq": 1 + 100 * n} if sender == "server" else {"seq": 1}
        story.say(t + n * 10_000, sender, ACK, ack=1, **data)
    assert members(story.finish())[-3:] == [(3, 4), (5,), (6,)]


def test_a_lost_segment_is_in_no_burst():
    story = Story()
    t = story.open()
    for n, fate in enumerate(("delivered", "lost", "delivered", "delivered")):
        story.say(t, "server", ACK, 1 + 100 * n, 1, 100, fate=fate)
    assert members(story.finish())[3:] == [(3,), (4,), (5, 6)]


def test_segments_of_several_connections_at_once_are_one_arrow():
    stories = [Story(port=40000 + n) for n in range(3)]
    for story in stories:
        story.open()
    trace = stories[0].finish()
    for story in stories[1:]:
        trace.packets += story.finish().packets
    trace.packets.sort(key=lambda p: p.t)
    assert labels(draw(trace)) == [f"3 × {flags}  of 3 connections" for flags in ("SYN", "SYN, ACK", "ACK")]


def probed(times, window=64240, lost=()):
    """Keepalive probes at these seconds after an exchange, answered unless lost."""
    story = Story()
    story.exchange(story.open())
    for n, t in enumerate(times):
        t = round(t * SECOND)
        fate = "lost" if n in lost else "delivered"
        story.say(t, "client", ACK, 40, 201, kind="keepalive", fate=fate)
        if fate == "delivered":
            story.say(t + LATENCY, "server", ACK, 201, 41, window=window)
    return story.finish((times[-1] + 1) * SECOND)


def test_answered_probes_are_two_arrows():
    trace = probed((10, 20, 30, 40, 50))
    assert members(trace)[6:] == [(6, 8, 10, 12, 14), (7, 9, 11, 13, 15)]
    picture = draw(trace)
    assert labels(picture)[-2:] == ["keepalive probe × 5, every 10 s", "5 × ACK  ack 41"]
    last = trace.packets[15].arrives
    assert last in picture.axis.times, "they last until the last answer"
    for gap in picture.axis.gaps:
        assert not any(gap.began < packet.t < gap.ended for packet in trace.packets)


def test_probes_at_odd_times_say_how_long_they_took():
    assert labels(draw(probed((10, 20, 35))))[-2] == "keepalive probe × 3, in 25 s"
    assert labels(draw(probed((10, 20))))[-2] == "keepalive probe × 2, 10 s apart"


def test_unanswered_probes_stay_apart():
    trace = probed((10, 20, 30, 40), lost=(2, 3))
    assert members(trace)[6:] == [(6, 8), (7, 9), (10,), (11,)]
    assert labels(draw(trace))[-2:] == [f"keepalive probe {n}  ACK  seq 40  ✗ lost" for n in (1, 2)]


def test_the_number_of_probes_is_known_where_the_sender_gave_up():
    trace = keepalive_into_silence(probes=4)
    assert set(probe_totals(trace).values()) == {4}
    assert len(probe_totals(trace)) == 4
    trace.sockets = [sample for sample in trace.sockets if sample.state != "CLOSED"]
    assert not probe_totals(trace)
    assert not probe_totals(probed((10, 20)))


def test_an_answer_that_closes_the_window_is_its_own():
    trace = probed((10, 20, 30))
    trace.packets[9].segment = replace(trace.packets[9].segment, window=0)
    assert (7, 9, 11) not in members(trace)


def test_steady_retransmissions_are_one_arrow():
    trace = dead_peer()
    (arrow,) = [arrow for arrow in arrows(trace) if arrow.pace]
    assert arrow.pace == "every 2 min" and len(arrow.members) == 6
    placed = place(trace)
    assert arrow.ends in placed.axis.times
    assert not [gap for gap in placed.axis.gaps if arrow.t <= gap.began < arrow.ends]


def test_unjoined_every_segment_has_its_arrow():
    trace = dead_peer()
    assert [arrow.members for arrow in arrows(trace, joined=False)] == [
        (i,) for i in range(len(trace.packets))
    ]


# -- states between samples ----------------------------------------------------------------------


def sampled(late=20):
    """A socket whose next sample comes long after its program got ECONNRESET."""
    story = Story()
    t = story.exchange(story.open())
    story.say(t, "server", RST, 201, verdict="accepted")
    story.call(t, t + LATENCY, "client", "recv()", "ECONNRESET")
    story.state(late * SECOND, "client", "CLOSED")
    return story.finish(late * SECOND), t + LATENCY + story.start


def ends_of(trace, host="client"):
    return [(s.name, s.ended) for s in states(trace) if s.host == host]


def test_no_bar_claims_established_after_a_reset():
    trace, gone = sampled()
    assert ends_of(trace)[-2:] == [("ESTABLISHED", gone), ("CLOSED", gone)]
    assert len([name for name, _ in ends_of(trace) if name == "CLOSED"]) == 1
    trace.packets[-1].verdict = "ignored"
    assert ends_of(trace)[-2] == ("ESTABLISHED", trace.sockets[-1].t)


def test_no_bar_claims_established_after_a_calls_error():
    trace, gone = sampled()
    trace.packets.pop()
    assert ends_of(trace)[-2] == ("ESTABLISHED", trace.sockets[-1].t), "a call without a port says nothing"
    trace.calls[-1] = trace.calls[-1]._replace(port=40000)
    assert ends_of(trace)[-2:] == [("ESTABLISHED", gone), ("CLOSED", gone)]
    # Of two sockets with one port the call does not say which.
    client = trace.sockets[-1]
    trace.sockets.append(client._replace(remote=Endpoint("10.0.0.9", 1)))
    assert ("ESTABLISHED", gone) not in ends_of(trace)


def test_a_bar_ends_in_the_picture_where_the_socket_failed():
    trace, gone = sampled()
    picture = draw(trace)
    bar = named(picture, "state: open")
    low = max(y for x, y in zip(bar["x"], bar["y"], strict=True) if x is not None and x < 0)
    assert picture.axis.t_of(low) == gone


# -- times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 s"), (40_000, "40 µs"), (8 * MS, "8 ms"), (203_500_000, "204 ms"), (999 * MS, "999 ms"),
        (SECOND, "1 s"), (1007 * MS, "1.007 s"), (3020 * MS, "3.02 s"), (75 * SECOND, "75 s"),
        (7200 * SECOND, "2 h"),
    ],
)  # fmt: skip
def test_short_durations(nanoseconds, text):
    assert short_duration(nanoseconds) == text


def test_the_axis_says_how_long_nothing_happened():
    picture = draw(healthy())
    assert SHORTEST_GAP < 60 * SECOND
    assert "<i>↓ 60 s</i>" in picture.layout["yaxis"]["ticktext"]
