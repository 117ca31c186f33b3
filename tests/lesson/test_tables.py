"""Tables of a lesson: sentences, results of several runs, segments, and a recorded pool's requests."""

import json
from pathlib import Path

import pytest

from tcplab import Keepalive, run
from tcplab.follow import KEEPALIVE
from tcplab.lesson import borrowed, chart
from tcplab.lesson.tables import provenance, to_html

CAPTURES = Path(__file__).parents[2] / "data" / "captures"


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


def test_only_the_requests_after_the_break_count(tmp_path):
    def request(began, took, result="ok"):
        return {"began": began, "t": began + took, "result": result}

    sidecar = {
        "events": [{"t": 1.0, "host": "client"}, {"t": 2.0, "host": "server"}, {"t": 9.0, "host": "client"}],
        "requests": [
            request(0.5, 0.1, "Error: too early to count"),
            request(2.0, 0.004, "Error: lost: for ever"),
            request(3.0, 1.5),
        ],
    }
    (tmp_path / "pool_made.json").write_text(json.dumps(sidecar))
    got = borrowed(tmp_path / "pool_made.pcap")
    assert got.seconds == (pytest.approx(0.004), 1.5)
    assert (got.errors, got.first_error, got.slowest) == (("lost: for ever",), "lost: for ever", "1.5 s")


def test_a_stored_one():
    got = borrowed(CAPTURES / "pool_engine_pre_ping.pcap")
    assert (got.errors, got.first_error, len(got.seconds)) == ((), "–", 15)
    assert got.slowest.endswith(" ms")


def test_a_capture_without_requests_is_refused_in_one_sentence():
    for name in ("keepalive.json", "no_such.pcap"):
        with pytest.raises(
            LookupError, match=r"lists no pool's requests: take one of the captures pool_…\.$"
        ):
            borrowed(CAPTURES / name)


def test_a_long_story_can_be_shortened_in_its_middle():
    whole, short = (provenance(CAPTURES / "stale_reject.pcap", most) for most in (0, 24))
    rows = [shown.plain.splitlines() for shown in (whole, short)]
    assert rows[1][:14] == rows[0][:14] and rows[1][-12:] == rows[0][-12:]
    assert rows[1][14] == f"… {len(rows[0]) - 2 - 24} more" and len(rows[1]) == 2 + 24 + 1
    assert provenance(CAPTURES / "lesson_rst_old.pcap", 500).plain.count("…") == 0


def test_bold_may_have_code_in_it_and_code_has_no_bold():
    assert to_html("**with `a**b` 3 s:** cut") == "<b>with <code>a**b</code> 3 s:</b> cut"
    assert to_html("`a**b**` & **c**") == "<code>a**b**</code> &amp; <b>c</b>"
