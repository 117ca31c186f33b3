"""The picture of a whole capture: what a lane says, and that no word overlaps another one, in any window."""

from functools import cache

import pytest

from conftest import need
from in_jupyterlab import chromium_page, painted_wrong
from recordings.captures import PROJECT
from tcplab import diagnose, read_capture
from tcplab.capture.breaks import Broke
from tcplab.capture.incidents import Incident
from tcplab.core.text import SECOND, clock, date
from tcplab.pictures.incident import CaptureTimeline, read_incidents
from tcplab.pictures.incident_layout import Choice, gutter, incident_drawing, overview, whole
from tcplab.pictures.wallclock import FOLDED, STEPS, WallAxis

CAPTURES = sorted((PROJECT / "data" / "captures").glob("*.pcap"))
WIDTHS = (845, 950, 1240)
NAMES = (
    "case_1",
    "case_4",
    "case_6",
    "ghosts_forty_nodes",
    "postgres_stop_fast",
    "slow_reader",
    "port_range",
)


@cache
def read(name):
    capture = read_capture(PROJECT / "data" / "captures" / f"{name}.pcap")
    return read_incidents(capture, diagnose(capture))


def windows(timeline):
    """The whole file, and parts of it around what broke, down to a millisecond."""
    length = timeline.length_s
    yield whole(timeline)
    yield whole(timeline)._replace(healthy=True)
    for each in timeline.hit[:2]:
        for wide in (length / 3, length / 50, 0.001):
            low = max(0.0, each.broke.high_s - wide / 2)
            yield Choice(low, low + wide)
    for server in dict.fromkeys(str(each.server) for each in timeline.connections):
        yield whole(timeline)._replace(server=server)


@pytest.mark.parametrize("name", [path.stem for path in CAPTURES])
def test_every_capture_fits(name):
    timeline = read(name)
    for choice in windows(timeline):
        for width in WIDTHS:
            drawing = incident_drawing(timeline, choice, width)
            assert not drawing.overlaps(), (choice, width)
            assert drawing.height <= 560, (choice, drawing.height)
            assert len(drawing.svg) < 50_000 or len(timeline.connections) > 40
            assert not overview(timeline, choice, width).overlaps()


@pytest.fixture(scope="module")
def page():
    with chromium_page(need("chromium")) as (page, _):
        yield page


@pytest.mark.browser
@pytest.mark.parametrize("name", NAMES)
def test_a_browser_agrees(page, name):
    for dark in (False, True):
        drawing = incident_drawing(read(name), width=950, dark=dark)
        assert painted_wrong(page, drawing) == []


def test_spans_follow_each_other_and_stay_in_the_file():
    for path in CAPTURES:
        timeline = read(path.stem)
        for each in timeline.connections[:20]:
            lane = timeline.lane(each.number)
            spans = [span for span in lane.spans if span.kind != "window_closed"]
            ends = [t for span in spans for t in (span.from_s, span.to_s)]
            assert ends == sorted(ends) and all(0 <= t <= timeline.length_s + 1e-9 for t in ends)
            times = [p.t / SECOND for p in timeline.capture.connection(each.number).packets]
            assert {mark.t_s for mark in lane.marks} <= set(times)
            assert set(lane.client_data) | set(lane.server_data) <= set(times)


def test_what_broke_one_connection_is_in_its_lane():
    ghosts = read("case_4")
    lanes = [ghosts.lane(each.number) for each in ghosts.hit]
    assert len(lanes) == 7
    for lane in lanes:
        (silent,) = [span for span in lane.spans if span.kind == "unanswered"]
        assert silent.to_s - silent.from_s > 10 and silent.words[0].startswith("no answer: ")
        assert sum(mark.kind == "again" for mark in lane.marks) > 5
    refused = [read("case_6").lane(each.number) for each in read("case_6").hit]
    assert sum(mark.kind == "refused" for lane in refused for mark in lane.marks) == 24


def test_health_checks_did_not_break():
    """Of 137 connections 96 are health checks."""
    assert len(read("case_6").hit) == 25


def test_a_normal_close_is_hollow_and_a_closed_window_has_its_span():
    timeline = read("slow_reader")
    lane = timeline.lane(0)
    assert any(span.kind == "window_closed" for span in lane.spans)
    for path in CAPTURES:
        timeline = read(path.stem)
        for each in timeline.connections[:20]:
            if not each.hit:
                assert {"close", "rst"}.isdisjoint(mark.kind for mark in timeline.lane(each.number).marks)


# -- bands ---------------------------------------------------------------------------------------------


def banded(name, *bands):
    timeline = read(name)
    return CaptureTimeline(timeline.capture, timeline.diagnosis, bands, timeline.broke)


def test_bands_are_numbered_and_their_words_do_not_meet():
    hit = tuple(each.number for each in read("case_6").hit)
    for width in WIDTHS:
        for lows in ((0.1, 0.2, 0.3), (37.0, 37.5, 38.0), (1.0, 20.0, 38.2), (0.0, 0.0, 0.0)):
            bands = [
                Incident(i + 1, low, low + 0.2 * i, f"server closed {i}10, refused 40", hit[i : i + 1])
                for i, low in enumerate(lows)
            ]
            drawing = incident_drawing(banded("case_6", *bands), width=width)
            assert not drawing.overlaps()
            assert [number for number, _, _ in drawing.discs] == [1, 2, 3]


def test_the_connections_of_one_incident_are_thin_and_ordered():
    timeline = read("ghosts_forty_nodes")
    numbers = tuple(each.number for each in timeline.connections)
    broke = {number: Broke("silence", 1.0, 1.0 + number / 10) for number in numbers}
    band = Incident(1, 0.5, 1.0, f"{len(numbers)} unanswered", numbers)
    made = CaptureTimeline(timeline.capture, timeline.diagnosis, (band,), broke)
    drawing = incident_drawing(made)
    assert not drawing.overlaps()
    rows = [row[4] for row in drawing.rows if isinstance(row[4], int)]
    assert sorted(rows) == sorted(numbers)


def test_one_that_noticed_nothing_is_open_on_one_side_from_the_break_on():
    timeline = read("lesson_idle_alive")
    made = CaptureTimeline(timeline.capture, timeline.diagnosis, unaware={0: 5.0})
    spans = made.lane(0).spans
    assert [span.kind for span in spans][:2] == ["open", "one_side"] and spans[0].to_s == 5.0
    assert "no error" in spans[1].words[0]


# -- the axis --------------------------------------------------------------------------------------------


def test_ticks_are_round_moments_with_room_between_them():
    began = 1_795_428_000_123_456_789
    for span in (0.0001, 0.01, 1, 13.4, 60, 1200, 9000, 90_000, 3_000_000):
        axis = WallAxis(began, 0.0, span, 168, 942)
        ticks = list(axis.ticks())
        assert 2 <= len(ticks) <= 13 and axis.step in STEPS
        for x, text in ticks:
            t = axis.low_s + (x - axis.x0) / (axis.x1 - axis.x0) * span
            at = began + round(t * SECOND)
            places = len(text.partition(".")[2])
            near = {clock(at + shift, places) for shift in (-1000, 0, 1000)}
            assert text in near or any(date(at + shift)[4:10] == text for shift in (-2000, 2000, 10**9))


def test_a_long_silence_is_folded_and_moments_keep_their_order():
    axis = WallAxis.of(0, (0.0, 330.0), (168, 942), [(1.0, 300.0)])
    ((a, b),) = axis.folds
    assert 1 < a < 5 and 295 < b < 300
    assert axis.x(b) - axis.x(a) == pytest.approx(FOLDED)
    xs = [axis.x(t / 10) for t in range(3301)]
    assert xs == sorted(xs) and xs[0] == 168 and xs[-1] == pytest.approx(942)
    assert WallAxis.of(0, (0.0, 330.0), (168, 942), [(1.0, 100.0)]).folds == ()


def test_a_long_address_loses_its_beginning_only():
    timeline = read("case_1")
    assert 168 <= gutter(timeline) <= 300
