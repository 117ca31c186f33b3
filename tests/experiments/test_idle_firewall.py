"""A firewall that forgets: who learns of it, when, and what keepalive changes."""

import pytest

from experiments.outcomes import outcome, trace_of, wire
from tcplab.core.knobs import ParameterError
from tcplab.core.text import SECOND
from tcplab.experiments import IdleFirewall

NOTHING_HAPPENED = {"survived": True, "error": None, "detected_after_s": None, "server_left_behind": False}
LIBPQ = {"keepalive_idle_s": 7200, "keepalive_interval_s": 75, "keepalive_probes": 9}
REPORT = {"waiting_for": "long_query", "quiet_s": 600}


def test_the_next_query_of_an_idle_session_is_sent_for_a_quarter_of_an_hour():
    trace, sentence = trace_of(IdleFirewall)
    assert trace.outcome == {
        "survived": False, "error": "ETIMEDOUT", "server_left_behind": True,
        "detected_after_s": pytest.approx(928.9, abs=0.1),
    }  # fmt: skip
    assert set(wire(trace, 395 * SECOND)) == {"c:PA40 x"}
    assert "Connection timed out (ETIMEDOUT)" in sentence and "its session stays" in sentence


def test_a_ten_minute_report_with_libpqs_defaults_hangs_for_two_hours():
    """The naive answer is 350 s."""
    trace, sentence = trace_of(IdleFirewall, **REPORT, **LIBPQ)
    assert trace.outcome["detected_after_s"] == pytest.approx(7875, abs=0.1)
    assert trace.outcome["error"] == "ETIMEDOUT" and not trace.outcome["server_left_behind"]
    assert "2 h 11 min 15 s" in sentence


def test_with_a_box_that_answers_the_first_probe_tells():
    said = outcome(IdleFirewall, **REPORT, **LIBPQ, expired="reject")
    assert said["error"] == "ECONNRESET" and said["detected_after_s"] == pytest.approx(7200, abs=0.1)


def test_without_keepalive_the_report_waits_for_ever():
    trace, sentence = trace_of(IdleFirewall, **REPORT)
    assert trace.outcome == {
        "survived": False, "error": None, "detected_after_s": None, "server_left_behind": False,
    }  # fmt: skip
    assert "indefinitely" in sentence and "gave up retransmitting its answer" in sentence


@pytest.mark.parametrize("expired", ["drop", "reject", "reset_both", "reopen", "drop_inbound"])
@pytest.mark.parametrize("waiting_for", ["next_query", "long_query"])
def test_keepalive_below_the_firewalls_timer_keeps_it_alive(expired, waiting_for):
    said = outcome(IdleFirewall, expired=expired, waiting_for=waiting_for, quiet_s=3600, keepalive_idle_s=300)
    assert said == NOTHING_HAPPENED


def test_keepalive_above_it_only_finds_out():
    said = outcome(IdleFirewall, **REPORT, keepalive_idle_s=360, keepalive_interval_s=10, keepalive_probes=3)
    assert said["error"] == "ETIMEDOUT" and said["detected_after_s"] == pytest.approx(390, abs=0.1)


def test_an_idle_session_that_keepalive_has_given_up_fails_at_its_next_call():
    trace, sentence = trace_of(IdleFirewall, **LIBPQ, quiet_s=9000)
    assert trace.outcome["detected_after_s"] == 675 and trace.outcome["error"] == "ETIMEDOUT"
    assert "at once: the connection had already ended" in sentence


@pytest.mark.parametrize(
    ("expired", "waiting_for", "error", "left_behind"),
    [
        ("reject", "next_query", "ECONNRESET", True),
        ("reject", "long_query", None, False),
        ("reset_both", "next_query", "ECONNRESET", False),
        ("reset_both", "long_query", "ECONNRESET", False),
        ("drop_inbound", "long_query", None, False),
    ],
)
def test_who_hears_of_it(expired, waiting_for, error, left_behind):
    trace, sentence = trace_of(IdleFirewall, expired=expired, waiting_for=waiting_for)
    assert not trace.outcome["survived"]
    assert (trace.outcome["error"], trace.outcome["server_left_behind"]) == (error, left_behind)
    assert ("got a RST" in sentence) == (expired.startswith("re") and not left_behind)


def test_reset_both_tells_a_waiting_client_at_the_moment_of_expiry():
    said = outcome(IdleFirewall, **REPORT, expired="reset_both")
    assert said["detected_after_s"] == pytest.approx(350, abs=0.1)


@pytest.mark.parametrize("waiting_for", ["next_query", "long_query"])
def test_reopen_shows_nothing(waiting_for):
    trace, sentence = trace_of(IdleFirewall, expired="reopen", waiting_for=waiting_for)
    assert trace.outcome == NOTHING_HAPPENED
    assert "creates the entry again" in sentence and "no call fails" in sentence


def test_egress_only_lets_the_next_query_live_and_the_report_die():
    assert outcome(IdleFirewall, expired="drop_inbound") == NOTHING_HAPPENED
    assert not outcome(IdleFirewall, expired="drop_inbound", waiting_for="long_query")["survived"]


def test_a_probe_that_goes_out_opens_the_way_for_an_answer_that_is_still_repeated():
    report = {**REPORT, "keepalive_idle_s": 700, "quiet_s": 650}
    assert outcome(IdleFirewall, **report, expired="drop_inbound") == NOTHING_HAPPENED
    assert not outcome(IdleFirewall, **report, expired="drop")["survived"]


def test_a_user_timeout_bounds_the_next_query_only():
    assert outcome(IdleFirewall, user_timeout_s=30)["detected_after_s"] == pytest.approx(30, rel=0.1)
    assert outcome(IdleFirewall, user_timeout_s=30, waiting_for="long_query")["error"] is None


def test_a_firewall_that_never_forgets():
    trace, sentence = trace_of(IdleFirewall, firewall_idle_s=0, quiet_s=80_000)
    assert trace.outcome == NOTHING_HAPPENED and sentence.startswith("The firewall keeps every entry.")


def test_an_idle_timer_shorter_than_a_handshake_is_refused():
    with pytest.raises(ParameterError) as error:
        IdleFirewall(firewall_idle_s=1, latency_ms=500)
    assert str(error.value) == (
        "firewall_idle_s = 1 is over before the server has answered at all: more than 2.25 s at "
        "latency_ms = 500, or 0 (never)."
    )


def test_one_retransmission_at_a_second_of_latency_is_refused_in_a_sentence():
    with pytest.raises(ParameterError, match="retries2 = 1 gives up before the first answer can arrive"):
        IdleFirewall(latency_ms=1000, retries2=1)
    assert outcome(IdleFirewall, latency_ms=1000, retries2=2)["error"] == "ETIMEDOUT"
