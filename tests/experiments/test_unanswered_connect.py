"""connect() to nowhere: when SYNs go out, how long it takes, and what it says."""

import pytest

from experiments.outcomes import outcome, trace_of
from tcplab.experiments import UnansweredConnect

DEFAULT = [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67]


def test_the_default_waits_131_seconds():
    trace, sentence = trace_of(UnansweredConnect)
    assert trace.outcome == {"syn_times_s": DEFAULT, "gave_up_after_s": 131, "error": "ETIMEDOUT"}
    assert "10 times" in sentence and "2 min 11 s" in sentence


@pytest.mark.parametrize("linux", ["3.10", "4.18", "5.14", "6.1", "6.4.0"])
def test_before_6_5_127_seconds(linux):
    assert outcome(UnansweredConnect, linux=linux) == {
        "syn_times_s": [0, 1, 3, 7, 15, 31, 63], "gave_up_after_s": 127, "error": "ETIMEDOUT",
    }  # fmt: skip


def test_a_knob_that_the_release_lacks_is_ignored_with_a_word():
    trace, _ = trace_of(UnansweredConnect, linux="6.1", linear_timeouts=2)
    assert trace.outcome["gave_up_after_s"] == 127
    (warning,) = trace.warnings
    assert warning.startswith("linear_timeouts is ignored: Linux 6.1 has no net.ipv4.tcp_syn_linear_timeouts")
    assert "6.5" in warning
    assert trace_of(UnansweredConnect, linux="6.1")[0].warnings == []


@pytest.mark.parametrize(
    ("retries", "linear", "times", "after"),
    [(6, 0, [0, 1, 3, 7, 15, 31, 63], 127), (3, 4, [0, 1, 2, 3, 4, 5, 7, 11], 19), (2, 0, [0, 1, 3], 7),
     (1, 2, [0, 1, 2], 3), (1, 4, [0, 1, 2], 3)],
)  # fmt: skip
def test_retries_and_linear_timeouts(retries, linear, times, after):
    said = outcome(UnansweredConnect, syn_retries=retries, linear_timeouts=linear)
    assert (said["syn_times_s"], said["gave_up_after_s"]) == (times, after)


@pytest.mark.parametrize("fate", ["reject", "closed"])
@pytest.mark.parametrize("latency_ms", [0, 1, 80])
def test_a_refusal_takes_one_round_trip(fate, latency_ms):
    trace, sentence = trace_of(UnansweredConnect, fate=fate, latency_ms=latency_ms)
    assert trace.outcome == {
        "syn_times_s": [0], "gave_up_after_s": 2 * latency_ms / 1000, "error": "ECONNREFUSED",
    }  # fmt: skip
    assert "ECONNREFUSED" in sentence and ("REJECT" in sentence)


def test_the_user_timeout_ends_it_since_4_19():
    assert outcome(UnansweredConnect, user_timeout_s=10)["gave_up_after_s"] == 10
    assert outcome(UnansweredConnect, user_timeout_s=10, linux="4.18")["gave_up_after_s"] == 127


def test_one_that_is_watched_too_briefly():
    trace, sentence = trace_of(UnansweredConnect, watch_s=10)
    assert trace.outcome == {"syn_times_s": [0, 1, 2, 3, 4, 5, 7], "gave_up_after_s": None, "error": None}
    assert sentence == "After 10 s and 6 retransmissions of its SYN the client still waits in connect()."


@pytest.mark.parametrize(("retries", "linear"), [(127, 127), (127, 0), (1, 127), (9, 0)])
def test_the_default_watch_is_long_enough(retries, linear):
    assert outcome(UnansweredConnect, syn_retries=retries, linear_timeouts=linear)["error"] == "ETIMEDOUT"
