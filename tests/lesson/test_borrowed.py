"""What the lessons say of recorded pools' requests."""

import json
from pathlib import Path

import pytest

from tcplab.lesson import borrowed

CAPTURES = Path(__file__).parents[2] / "data" / "captures"


def test_only_the_requests_after_the_break_count(tmp_path):
    def request(began, took, result="ok"):
        return {"began": began, "t": began + took, "result": result}

    told = {
        "events": [{"t": 1.0, "host": "client"}, {"t": 2.0, "host": "server"}, {"t": 9.0, "host": "client"}],
        "requests": [
            request(0.5, 0.1, "Error: too early to count"),
            request(2.0, 0.004, "Error: lost: for ever"),
            request(3.0, 1.5),
        ],
    }
    (tmp_path / "pool_made.json").write_text(json.dumps(told))
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
            LookupError, match=r"tells of no pool's requests: take one of the captures pool_…\.$"
        ):
            borrowed(CAPTURES / name)
