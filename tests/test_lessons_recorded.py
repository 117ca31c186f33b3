"""The right answers of lessons 03, 04 and 06 against the model, and the recordings that they show."""

import json
import re
from pathlib import Path

import pytest

from tcplab import DeadPeer, Keepalive, read_capture, run
from tcplab.lesson import ask

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
RECORDED = sorted(path.stem for path in CAPTURES.glob("lesson_*.pcap"))
KEYS = {"title", "story", "linux", "software", "date", "command", "hosts", "events", "states"}
LATE = 0.08  # a real clock's timers fire this much late at most, and 0.3 s; never early


def recording(name):
    return read_capture(CAPTURES / f"{name}.pcap").connection(0)


def sidecar(name):
    return json.loads((CAPTURES / f"{name}.json").read_text(encoding="utf-8"))


def failed(trace):
    """The first call that gave an error."""
    return next(call for call in trace.calls if call.result.startswith("E"))


def of_kind(trace, kind):
    return [passage for passage in trace.passages if passage.kind == kind]


def about(expected):
    """As late as a real clock may be."""
    return pytest.approx(expected + expected * LATE / 2 + 0.135, abs=expected * LATE / 2 + 0.165)


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_says_where_it_comes_from(name):
    told = sidecar(name)
    assert {"title", "story", "linux", "software", "date", "command", "hosts", "events", "states"} <= set(
        told
    )
    command = re.sub(r"^(?:\S+/)?python3? ", "", told["command"])
    script, *names = command.split()
    assert (CAPTURES.parents[1] / script).exists()
    assert names in ([], [name])
    assert name in (CAPTURES.parents[1] / script).read_text(encoding="utf-8")
    for path in (CAPTURES / f"{name}.pcap", CAPTURES / f"{name}.json"):
        assert path.stat().st_size < 50_000
        assert not re.search(rb"/(tmp|home|root|work|usr|var|dev|etc|run|proc)/", path.read_bytes())
    assert len(read_capture(CAPTURES / f"{name}.pcap").connections) == 1


# 04: the dead peer ------------------------------------------------------------------------------


def unanswered(trace):
    """When the client's last data was sent, again and again, and when it gave up: seconds."""
    data = [p for p in trace.passages if p.sender == "client" and p.segment.length]
    sent = [p.t for p in data if p.segment.seq == data[-1].segment.seq]
    return [(t - sent[0]) / 1e9 for t in sent], (failed(trace).t - sent[0]) / 1e9


def test_a_small_keepalive_does_not_help_a_query_in_flight():
    question = ask("dead_peer", "small_keepalive")
    settings = {"keepalive_idle_s": 5, "keepalive_interval_s": 1, "keepalive_probes": 3}
    outcome = run(DeadPeer(**settings)).outcome
    assert round(outcome["detected_after_s"]) == question.right
    assert outcome["transmissions"] == ask("dead_peer", "how_often").right
    for latency in (5, 20, 40, 80, 150):
        after = run(DeadPeer(**settings, latency_ms=latency)).outcome["detected_after_s"]
        assert 924.6 <= after <= 1045
        assert abs(after - question.right) <= question.tolerance * question.right
    idle = run(Keepalive(idle_s=5, interval_s=1, probes=3)).outcome["detected_after_s"]
    assert idle == 8 and 8 in question.common

    real = recording("lesson_cable_out_sending")
    sent, gave_up = unanswered(real)
    assert len(sent) == 17 and not of_kind(real, "keepalive")
    assert gave_up == about(question.right)
    assert not any("R" in passage.segment.letters for passage in real.passages)
    assert failed(recording("lesson_cable_out_idle")).t / 1e9 == about(8)


def test_the_user_timeout_ends_data_in_flight():
    _, after = unanswered(recording("lesson_cable_out_user_timeout"))
    assert after == about(30)
    assert run(DeadPeer(user_timeout_s=30)).outcome["detected_after_s"] == pytest.approx(30.4, abs=0.1)


def test_the_user_timeout_replaces_the_number_of_probes():
    settings = {"idle_s": 60, "interval_s": 10, "probes": 6}
    right = ask("dead_peer", "user_timeout").right
    assert run(Keepalive(**settings, user_timeout_s=30)).outcome["detected_after_s"] == right
    assert run(Keepalive(**settings)).outcome["detected_after_s"] == 120
    real = recording("lesson_user_timeout_idle")
    assert len(of_kind(real, "keepalive")) == 1
    assert failed(real).t / 1e9 == about(right)


def test_who_only_waits_hears_nothing_without_keepalive():
    assert ask("dead_peer", "waiting").right == "Never"
    outcome = run(Keepalive(idle_s=0, user_timeout_s=30)).outcome
    assert (outcome["detected_after_s"], outcome["probe_times_s"]) == (None, [])
