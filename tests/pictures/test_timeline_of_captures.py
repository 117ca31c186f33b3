"""A capture's timeline: what its packets show of both ends, marked as inferred, with its findings."""

from dataclasses import replace

import pytest

from pictures.transcripts import Story
from recordings.captures import PROJECT
from tcplab import diagnose, read_capture
from tcplab.capture.capture import both_legs
from tcplab.capture.recordings import recording
from tcplab.core.segment import RST
from tcplab.core.text import SECOND
from tcplab.pictures.svg import Rect
from tcplab.pictures.timeline import read_timeline
from tcplab.pictures.timeline_layout import TimelinePicture, timeline

CAPTURES = sorted((PROJECT / "data" / "captures").glob("*.pcap"))
FRONTS = [path for path in CAPTURES if path.stem.endswith("_front")]


def captured(name, i=0):
    return read_capture(PROJECT / "data" / "captures" / f"{name}.pcap").connection(i)


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_every_connection_is_drawn_without_an_overlap_and_says_what_is_inferred(path):
    capture = read_capture(path)
    for connection in diagnose(capture).connections:
        trace = capture.connection(connection.number)
        now = read_timeline(trace, connection.findings)
        drawing = TimelinePicture(now).drawing(950)
        assert drawing.overlaps() == [] and drawing.height <= 420
        assert drawing.label == now.sentence != ""
        assert sorted(b.text for b in now.breaks) == sorted(
            each.code.replace("_", " ") for each in connection.findings
        )
        sockets = [lane for lane in now.lanes if lane.kind == "socket"]
        assert sockets
        for lane in sockets:
            assert all(span.words[0] == f"{span.words[1]} (inferred)" for span in lane.spans)
        programs = {lane.host for lane in now.lanes if lane.kind == "program"}
        assert programs <= {call.host for call in trace.calls}, "no program is invented"
        assert any("(inferred)" in what for *_, what in now.rows())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("case_1", "client: no answer for 54.3 s"),
        ("keepalive", "client gives up after 6.049 s"),
        ("lesson_report_reset", "client: a RST after 0.001 s"),
        ("unanswered_connect", "client: no answer for 2.045 s"),
        ("handshake_and_close", None),
    ],
)
def test_the_answer_is_how_long_an_end_waited_in_vain(name, says):
    answer = timeline(captured(name)).answer
    assert (answer and answer.text) == says


def test_the_sentence_is_that_of_the_worst_finding_and_the_marks_are_in_order_of_time():
    now = read_timeline(captured("slow_reader"))
    assert [b.text for b in now.breaks] == ["retransmission", "zero window"]
    assert now.sentence.startswith("The client had no room for more data")


def test_a_closed_window_a_timer_and_time_wait_come_from_the_packets():
    server = next(lane for lane in timeline(captured("slow_reader")).lanes if lane.host == "server")
    assert "window_closed" in {span.kind for span in server.spans}
    client = timeline(captured("keepalive")).lanes[1]
    assert [timer.name for timer in client.timers] == ["keepalive"] * 3
    assert [mark.kind for mark in client.marks].count("probe") == 3
    client = timeline(captured("handshake_and_close")).lanes[1]
    assert "TIME_WAIT" in {span.state for span in client.spans}


def test_what_is_inferred_is_lighter_and_in_the_legend():
    seen, run = captured("keepalive"), recording("keepalive")
    captions = [{each.text for each in timeline(trace).drawing().captions} for trace in (seen, run)]
    assert "inferred from the packets" in captions[0] - captions[1]
    inferred = TimelinePicture(read_timeline(seen))
    known = replace(inferred, now=replace(inferred.now, bench="linux"))
    (light, *_), (full, *_) = (
        [i.fill.ground for i in p.drawing().items if isinstance(i, Rect) and "ESTABLISHED" in i.title]
        for p in (inferred, known)
    )
    assert light != full


def test_nothing_is_claimed_of_an_end_that_sent_nothing():
    lanes = timeline(captured("unanswered_connect")).lanes
    assert {lane.host for lane in lanes if lane.kind == "socket"} == {"client"}
    assert {span.state for lane in lanes for span in lane.spans if span.state} == {"SYN_SENT"}


@pytest.mark.parametrize("path", FRONTS, ids=lambda path: path.stem)
def test_both_legs_of_a_proxy_are_one_timeline(path):
    back = read_capture(path.with_name(path.name.replace("_front", "_back")))
    picture = timeline(both_legs(read_capture(path), back))
    assert picture.drawing().overlaps() == []
    proxy = [lane.name for lane in picture.lanes if lane.host == "proxy" and lane.kind == "socket"]
    assert proxy == ["proxy → client", "proxy → database"]


def test_a_long_connection_is_a_small_picture_that_still_has_every_moment_that_differs():
    story, t = Story(), 0
    t = story.open()
    for i in range(3000):
        t = story.exchange(t + SECOND, seq=1 + 40 * i, ack=1 + 200 * i)
    story.say(t + 60 * SECOND, "client", RST, 120_001)
    trace = story.finish(t + 60 * SECOND)
    packets = [replace(p, arrives=p.t) for p in trace.packets]
    picture = timeline(replace(trace, bench="capture", packets=packets, sockets=[], calls=[]))
    client = picture.lanes[0]
    assert len(client.marks) < 2500 < len(packets) / 3
    assert [mark.kind for mark in client.marks].count("rst") == 1
    together = [mark.text for mark in client.marks if "until" in mark.text]
    assert together and all(text.split()[0].isdigit() for text in together)
    assert len(picture.svg()) < 100_000 and picture.drawing().overlaps() == []
    assert picture.now.flights == ()
