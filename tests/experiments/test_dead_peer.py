"""Data in flight and nobody there: how often, how long, and that nothing else helps."""

import re

import pytest

from experiments.outcomes import outcome, trace_of
from tcplab.bench import run
from tcplab.core.knobs import ParameterError
from tcplab.experiments import DeadPeer


def test_the_default_takes_928_9_seconds():
    trace, sentence = trace_of(DeadPeer)
    assert trace.outcome == {
        "transmissions": 17, "detected_after_s": pytest.approx(928.9, abs=0.05), "error": "ETIMEDOUT",
    }  # fmt: skip
    assert "17 times" in sentence and "15 min 29 s" in sentence
    assert {p.segment.letters for p in trace.packets if p.t >= trace.watched_from} == {"PA"}, "and no RST"


@pytest.mark.parametrize(
    ("retries2", "sack", "transmissions", "after"),
    [
        (3, False, 5, 6.324), (3, True, 6, 6.528), (5, False, 6, 12.852), (5, True, 7, 13.056),
        (8, False, 9, 104.244), (8, True, 10, 104.448), (15, False, 16, 928.692),
    ],
)  # fmt: skip
def test_retries2(retries2, sack, transmissions, after):
    said = outcome(DeadPeer, retries2=retries2, sack=sack)
    assert said == {"transmissions": transmissions, "detected_after_s": after, "error": "ETIMEDOUT"}


@pytest.mark.parametrize(
    ("rto_max_s", "retries2", "transmissions", "after"),
    [(1, 3, 6, 3.632), (10, 15, 17, 113.056), (120, 15, 17, 928.896)],
)
def test_the_longest_timeout(rto_max_s, retries2, transmissions, after):
    """With 10 s: 12.6 s of doubling, then ten waits of 10 s (tcp_model_timeout)."""
    said = outcome(DeadPeer, rto_max_s=rto_max_s, retries2=retries2)
    assert said == {"transmissions": transmissions, "detected_after_s": after, "error": "ETIMEDOUT"}
    older = DeadPeer(rto_max_s=rto_max_s, linux="6.14")
    assert outcome(DeadPeer, rto_max_s=rto_max_s, linux="6.14") == outcome(DeadPeer)
    assert "rto_max_s" in older.idle_controls()
    ignored = "rto_max_s is ignored: Linux 6.14 has no net.ipv4.tcp_rto_max_ms, which came with 6.15."
    assert older.ignored_by_release() == ([ignored] if rto_max_s != 120 else [])


@pytest.mark.parametrize("latency_ms", [0, 5, 50, 300])
def test_the_distance_changes_little(latency_ms):
    """The allowance counts from the first retransmission; only where the last wait ends differs."""
    after = outcome(DeadPeer, retries2=8, latency_ms=latency_ms)["detected_after_s"]
    assert 102.2 <= after <= 2.1 * 102.2 + 2


@pytest.mark.parametrize("user_timeout_s", [0.5, 3, 30, 3600])
def test_the_user_timeout_comes_after_the_first_retransmission(user_timeout_s):
    said = outcome(DeadPeer, user_timeout_s=user_timeout_s)
    assert said["detected_after_s"] == pytest.approx(0.408 + user_timeout_s, abs=0.004)


def test_keepalive_keeps_quiet():
    trace, sentence = trace_of(DeadPeer, keepalive_idle_s=5, keepalive_interval_s=1, keepalive_probes=3)
    assert trace.outcome == outcome(DeadPeer)
    assert not [p for p in trace.packets if p.kind == "keepalive"]
    assert "Keepalive was on and sent no probe" in sentence


def test_but_its_user_timeout_applies():
    said = outcome(DeadPeer, keepalive_idle_s=5, user_timeout_s=10)
    assert said["detected_after_s"] == pytest.approx(10.408, abs=0.004)


def test_watched_too_briefly():
    trace, sentence = trace_of(DeadPeer, watch_s=10)
    assert trace.outcome == {"transmissions": 7, "detected_after_s": None, "error": None}
    assert sentence == "In 10 s the client sent the same 40 bytes 7 times, and it still waits."


@pytest.mark.parametrize("retries2", [1, 2, 9, 10, 30, 100])
@pytest.mark.parametrize("latency_ms", [1, 1000])
def test_the_default_watch_is_long_enough(retries2, latency_ms):
    assert outcome(DeadPeer, retries2=retries2, latency_ms=latency_ms)["error"] == "ETIMEDOUT"


def test_before_4_19_the_user_timeout_is_met_when_a_timer_fires():
    assert outcome(DeadPeer, user_timeout_s=3, linux="4.18")["detected_after_s"] == 6.528


def test_a_user_timeout_that_connect_would_not_survive_is_refused():
    with pytest.raises(ParameterError) as error:
        DeadPeer(user_timeout_s=1, latency_ms=600)
    assert str(error.value) == (
        "user_timeout_s = 1 expires before the server can answer: use more than 1.2 s, "
        "a round trip at latency_ms = 600, or 0 (off)."
    )
    assert outcome(DeadPeer, user_timeout_s=1.3, latency_ms=600)["error"] == "ETIMEDOUT"
    assert outcome(DeadPeer, user_timeout_s=1, latency_ms=600, linux="4.18")["error"] == "ETIMEDOUT"


def test_a_limit_that_is_nearly_over_at_a_timer_is_over_on_linux():
    """31 x 200 ms: the timers add up to 6.12 s here, and on Linux to 6.2 s and more (6 of 6 runs on 6.18)."""
    trace = run(DeadPeer(retries2=4))
    assert (trace.outcome["transmissions"], trace.outcome["detected_after_s"]) == (6, 6.528)
    assert "chance" not in DeadPeer(retries2=4).sentence(trace)


def test_where_the_phase_of_the_timer_wheel_decides_the_sentence_gives_both_times():
    experiment = DeadPeer(retries2=3, latency_ms=3)
    sentence = experiment.sentence(run(experiment))
    assert "On Linux this varies from run to run" in sentence
    assert re.search(r"gives up after 3\.4\d* s \(\d+ times\) and after 6\.9\d* s \(\d+ times\)\.", sentence)
    # The user timeout ends it exactly.
    exact = experiment.with_values(user_timeout_s=3)
    assert "chance" not in exact.sentence(run(exact))
