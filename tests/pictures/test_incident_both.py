"""Two captures of the same connections in one picture: every loss is a cross, and nothing else is."""

from functools import cache

import pytest

from capture.test_both_ends import split, working
from recordings.captures import PROJECT
from tcplab import diagnose, read_capture
from tcplab.capture.both_ends import both_ends
from tcplab.core.text import SECOND
from tcplab.pictures.incident import read_incidents
from tcplab.pictures.incident_both import MOST_PAIRS, both_drawing, drawn_pairs
from tcplab.pictures.report import incident_report
from tcplab.pictures.svg import Rect, Symbol


def timeline(path):
    capture = read_capture(path)
    return read_incidents(capture, diagnose(capture))


@cache
def case_2():
    near, far = (PROJECT / "data" / "captures" / f"{name}.pcap" for name in ("case_2_client", "case_2"))
    return both_ends(timeline(near), timeline(far))


def made(tmp_path, count=4, **options):
    return both_ends(*map(timeline, split(tmp_path, list(working(count)), **options)))


def crosses(drawing):
    return [
        each for each in drawing.items if isinstance(each, Symbol) and each.kind == "cross" and each.title
    ]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [845, 950, 1240])
def test_a_recording_from_both_ends(width, dark):
    both = case_2()
    drawing = both_drawing(both, width=width, dark=dark)
    assert not drawing.overlaps() and drawing.height < 300
    began = both.near.capture.began
    expected = sorted(drawing.axis.x((each.t - began) / SECOND) for each in both.lost)
    assert sorted(each.x for each in crosses(drawing)) == pytest.approx(expected) and len(expected) == 11
    said = [each.text for each in drawing.captions]
    assert {"the client’s file", "the server’s file", "4 lost to the server", "7 lost to the client"} <= {
        *said
    }
    assert "frame 13 of the client’s file: RST, never arrived, 13:22:37.277" in drawing.svg


@pytest.mark.parametrize(
    "lost", [lambda side, t: side == "server" and t > 12, lambda side, t: 10 < t < 11, lambda side, t: False],
    ids=["one way", "for a second", "never"],
)  # fmt: skip
@pytest.mark.parametrize("offset", [0.3, -7200.0])
def test_each_loss_is_drawn_where_the_sender_sent_it(tmp_path, lost, offset):
    both = made(tmp_path, lost=lost, offset=offset)
    drawing = both_drawing(both)
    if not both.lost:
        assert drawing is None  # nothing broke either
        return
    assert len(crosses(drawing)) == len(both.lost) and not drawing.overlaps()
    # Both files' lanes are on one clock: a connection begins in both at the same place.
    begin = [
        each.x for each in drawing.items if isinstance(each, Rect) and each.title.startswith("connecting")
    ]
    lanes = [each.x for each in drawing.items if isinstance(each, Rect) and each.title.startswith("open")]
    first = drawing.axis.x(0)
    assert min([*begin, *lanes]) == pytest.approx(first, abs=1) and max(lanes) < first + 60
    assert [number for *_, number in drawing.rows] == [pair.near for pair in drawn_pairs(both)]


def test_flights_are_the_packets_of_both_files_by_one_clock(tmp_path):
    both = made(tmp_path, 2, lost=lambda side, t: t > 12, offset=5.0, delay=0.002)
    flights = [each for pair in both.pairs for each in both.flights(pair)]
    assert len(flights) == both.matched
    for each in flights:
        took = (each.far - each.near) / SECOND * (1 if each.by_client else -1)
        assert took == pytest.approx(0.002, abs=0.0005)


def test_more_pairs_than_can_be_looked_at_are_not_drawn(tmp_path):
    most, more = (
        made(tmp_path, count, lost=lambda side, t: t > 12) for count in (MOST_PAIRS, MOST_PAIRS + 1)
    )
    assert both_drawing(most) is not None and both_drawing(more) is None
    assert both_drawing(most, most=2) is None


def test_the_report_of_two_files_has_this_picture_and_redacted_no_address():
    both = case_2()
    for redact in (False, True):
        picture = incident_report(both.merged(), both=both, redact=redact).picture
        assert "7 lost to the client" in picture and ("10.0.0.1" in picture) is not redact
        assert ("client 1, session" in picture) is redact
