"""The living incident timeline: windows, incidents, filters, and what a click opens."""

import json

import pytest

from recordings.captures import PROJECT
from tcplab import clinic, diagnose, read_capture
from tcplab.capture.incidents import Incident
from tcplab.pictures.incident import CaptureTimeline, read_incidents
from tcplab.pictures.incident_layout import Choice, whole
from tcplab.widgets.clinic import CONNECTIONS, TIMELINE
from tcplab.widgets.incident import SHORTEST_S, LivingIncident, around

CAPTURES = PROJECT / "data" / "captures"


def timeline(name, *lows):
    capture = read_capture(CAPTURES / f"{name}.pcap")
    made = read_incidents(capture, diagnose(capture))
    hit = [each.number for each in made.hit]
    bands = tuple(Incident(i + 1, low, low, f"{i} hit", (hit[i],)) for i, low in enumerate(lows))
    return CaptureTimeline(capture, made.diagnosis, bands, made.broke)


@pytest.fixture
def case_6():
    opened = []
    made = LivingIncident(opened.append)
    made.show(timeline("case_6", 1.0, 20.0, 30.0))
    made.opened = opened
    return made


def send(widget, **message):
    widget._handle_custom_msg(message, [])
    return json.loads(widget.frame)


def test_a_brush_asks_for_a_window_and_back_is_a_step_back(case_6):
    everything = case_6.choice
    assert everything == whole(case_6.timeline)
    frame = send(case_6, window=[12.5, 10.0])
    assert frame["window"] == [10.0, 12.5] and "2.500 s" in frame["said"]
    send(case_6, window=[11, 11])  # a press without a drag
    assert case_6.choice.high_s - case_6.choice.low_s >= 0.99 * SHORTEST_S
    send(case_6, back=True)
    assert case_6.choice[:2] == (10.0, 12.5)
    send(case_6, back=True)
    send(case_6, back=True)
    assert case_6.choice == everything
    send(case_6, window=[-5, 1e9])
    assert case_6.choice == everything


def test_arrow_keys_go_from_incident_to_incident(case_6):
    windows = [around(case_6.timeline, each)[:2] for each in case_6.timeline.incidents]
    seen = [tuple(send(case_6, step=1)["window"]) for _ in range(4)]
    assert seen == [*windows, windows[-1]]
    assert tuple(send(case_6, step=-1)["window"]) == windows[1]
    send(case_6, whole=True)
    assert tuple(send(case_6, step=-1)["window"]) == windows[2]
    send(case_6, window=[10.0, 11.0])
    assert tuple(send(case_6, step=-1)["window"]) == windows[0]
    send(case_6, window=[10.0, 11.0])
    assert tuple(send(case_6, step=1)["window"]) == windows[1]
    for each, (low, high) in zip(case_6.timeline.incidents, windows, strict=True):
        assert low <= each.low_s <= each.high_s <= high


def test_chips_choose_a_server_and_those_without_trouble(case_6):
    frame = send(case_6, show="server 10.0.0.2:5433")
    assert all("10.0.0.2:5433" in row[5] for row in frame["rows"] if isinstance(row[4], int))
    pressed = [chip["text"] for chip in frame["chips"] if chip["pressed"]]
    assert "10.0.0.2:5433" in pressed and "25 hit" in pressed
    frame = send(case_6, show="server 10.0.0.2:5433")
    assert case_6.choice.server == ""
    send(case_6, show="healthy")
    assert case_6.choice.healthy
    send(case_6, show="hit")
    assert not case_6.choice.healthy


def test_a_click_opens_a_connection_that_there_is(case_6):
    for number in (3, 136, 137, -1):
        send(case_6, open=number)
    assert case_6.opened == [3, 136]


@pytest.mark.parametrize(
    "message",
    [
        {"window": ["a", None]}, {"window": 3}, {"window": [float("nan"), 1.0]}, {"incident": 99},
        {"show": "server <img>"}, {"step": "x"}, {"open": "3"}, {},
    ],
)  # fmt: skip
def test_what_no_page_sends_does_no_harm(case_6, message):
    case_6._handle_custom_msg(message, [])
    assert json.loads(case_6.frame)["svg"].startswith("<svg")
    assert "<img" not in case_6.frame


def test_a_short_incident_alone_is_shown_closer_from_the_start():
    made = LivingIncident()
    made.show(timeline("case_6", 20.0))
    assert made.choice[:2] == around(made.timeline, made.timeline.incidents[0])[:2]
    made.back()
    assert made.choice == whole(made.timeline)


def test_the_page_gets_its_width_and_its_theme(case_6):
    light = json.loads(case_6.frame)
    case_6.width, case_6.dark = 1200, True
    dark = json.loads(case_6.frame)
    assert (light["width"], dark["width"]) == (950, 1200)
    assert light["colours"]["paper"] != dark["colours"]["paper"]
    assert dark["pieces"][0][1] == dark["x0"] and dark["pieces"][-1][1] == pytest.approx(dark["x1"])


def test_without_a_kernel_the_picture_stays():
    made = clinic(str(CAPTURES / "case_4.pcap"))
    made.wait()
    html = made._repr_html_()
    assert html.count("<svg") == 2 and "10.0.0.1:58114" in html and "<script" not in html


def test_the_clinic_opens_what_is_clicked():
    made = clinic(str(CAPTURES / "ghosts_forty_nodes.pcap"))
    made.wait()
    assert made.pages.seen == TIMELINE
    made.search.value = "no such address"
    last = made.diagnosis.connections[-1]
    made.incident._handle_custom_msg({"open": last.number}, [])
    assert made.pages.seen == CONNECTIONS and made.number == last.number
    assert str(last.client) in made.findings.value


def test_a_windows_frame_is_light():
    for name in ("case_1", "case_4", "lesson_idle_alive", "postgres_stop_fast"):
        made = LivingIncident()
        made.show(timeline(name))
        assert len(made.frame) < 60_000
        assert made.choice == Choice(0.0, made.timeline.length_s)
