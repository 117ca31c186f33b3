"""What lesson 03 says of middleboxes that forget, against the model and the recordings that it shows."""

import pytest

from recordings.captures import LATE
from tcplab import IdleFirewall, recording, run
from tcplab.core.text import SECOND
from tcplab.lesson import ask

REPORT = {"waiting_for": "long_query", "quiet_s": 600}


def server_ends(trace):
    """When the server's socket was gone, seconds from the client's question; None while it is there."""
    gone = [s.t for s in trace.sockets if s.host == "server" and s.state == "CLOSED"]
    return (gone[0] - trace.watched_from) / SECOND if gone else None


@pytest.mark.parametrize("name", ["lesson_report_dropped", "lesson_report_reset"])
def test_model_and_recording_end_with_the_same_error_at_the_same_time(name):
    linux = recording(name)
    model = run(IdleFirewall.from_values(linux.parameters))
    assert linux.outcome["error"] == model.outcome["error"]
    for ours, theirs in (
        (model.outcome["detected_after_s"], linux.outcome["detected_after_s"]),
        (server_ends(model), server_ends(linux)),
    ):
        assert ours - 0.03 <= theirs <= ours * (1 + LATE) + 0.3


def test_a_dropped_report_is_missed_when_keepalive_gives_up():
    question = ask("keepalive", "long_report")
    libpq = run(IdleFirewall(keepalive_idle_s=7200, **REPORT))
    assert libpq.outcome["detected_after_s"] == pytest.approx(question.right, abs=0.1)
    assert libpq.outcome["error"] == "ETIMEDOUT"
    # The numbers that the question knows as mistakes are moments of the same story.
    assert round(server_ends(libpq)) == 1529 and 1529 in question.common
    rejected = run(IdleFirewall(keepalive_idle_s=7200, expired="reject", **REPORT)).outcome
    assert round(rejected["detected_after_s"]) == 7200 and 7200 in question.common
    pgjdbc = run(IdleFirewall(**REPORT)).outcome
    assert (pgjdbc["survived"], pgjdbc["error"], pgjdbc["detected_after_s"]) == (False, None, None)
    assert float("inf") in question.common


def test_a_box_that_answers_tells_whoever_sends_first():
    assert ask("keepalive", "who_first").right == "The server at 600 s, the client at 7200 s"
    model = run(IdleFirewall(keepalive_idle_s=7200, expired="reject", **REPORT))
    assert server_ends(model) == pytest.approx(600, abs=0.1)
    assert model.outcome["detected_after_s"] == pytest.approx(7200, abs=0.1)
    linux = recording("lesson_report_reset")
    resets = [p for p in linux.packets if "R" in p.segment.letters and p.fate == "delivered"]
    assert [p.receiver for p in resets] == ["server", "client"]


def test_the_border_is_the_box_s_own_time():
    for idle, survives in ((300, True), (349, True), (350, False), (400, False)):
        assert run(IdleFirewall(keepalive_idle_s=idle, **REPORT)).outcome["survived"] is survives, idle


def test_a_firewall_that_blocks_inbound_spares_the_next_query_only():
    assert run(IdleFirewall(expired="drop_inbound")).outcome["survived"]
    assert not run(IdleFirewall(expired="drop_inbound", keepalive_idle_s=7200, **REPORT)).outcome["survived"]
