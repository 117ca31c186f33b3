"""The client is gone: what makes the server notice, and how long its locks stay."""

import pytest

from experiments.outcomes import outcome, trace_of, wire
from tcplab.experiments import ClientGone

#: The last retransmission, and the give-up after it.
IN_FLIGHT = pytest.approx(929, abs=5)


def told(after, how, lock):
    """An outcome, the times to a tenth."""
    return {
        "noticed_after_s": None if after is None else pytest.approx(after, abs=0.1),
        "how_noticed": how,
        "lock_held_s": None if lock is None else pytest.approx(lock, abs=0.1),
    }


@pytest.mark.parametrize(
    ("how", "session", "after", "by"),
    [
        ("close", "idle", 0, "fin"),
        ("close", "idle_in_transaction", 0, "fin"),
        ("close", "running", 60, "fin"),
        ("close", "sending", 0, "rst"),
        ("kill", "idle_in_transaction", 0, "fin"),
        ("kill", "running", 60, "fin"),
        ("kill", "sending", 0, "rst"),
        ("reset", "idle_in_transaction", 0, "rst"),
        ("reset", "running", 60, "rst"),
        ("reset", "sending", 0, "rst"),
        ("vanish", "idle_in_transaction", None, "never"),
    ],
)
def test_with_nothing_set(how, session, after, by):
    said = outcome(ClientGone, how=how, session=session)
    assert said == told(after, by, 0 if session == "idle" else after)


def test_a_client_that_vanishes_during_a_query_keeps_its_locks_for_the_query_and_a_quarter_of_an_hour():
    trace, sentence = trace_of(ClientGone)
    assert trace.outcome["noticed_after_s"] - 60 == IN_FLIGHT
    assert trace.outcome["lock_held_s"] == trace.outcome["noticed_after_s"]
    assert trace.outcome["how_noticed"] == "retransmission"
    assert set(wire(trace, trace.watched_from)) == {"s:PA1000 x"}
    assert "could not receive data from client: Connection timed out" in sentence


def test_a_check_every_second_is_blind_for_it():
    """The naive answer is 1 s: it sees what Linux knows."""
    trace, sentence = trace_of(ClientGone, check_interval_s=1)
    assert trace.outcome == outcome(ClientGone)
    assert "without keepalive the kernel does not know" in sentence


def test_keepalive_alone_waits_for_the_query():
    trace, sentence = trace_of(ClientGone, keepalive_idle_s=5)
    assert trace.outcome == told(60, "keepalive", 60)
    assert (
        "could not send data to client: Connection timed out" in sentence
        and "The kernel knew earlier" in sentence
    )


def test_both_free_the_locks():
    trace, sentence = trace_of(ClientGone, keepalive_idle_s=5, check_interval_s=1)
    assert trace.outcome == told(8, "keepalive", 8)
    assert "connection to client lost" in sentence


@pytest.mark.parametrize("how", ["close", "reset", "kill"])
@pytest.mark.parametrize(("check_interval_s", "after"), [(1, 1), (7, 7), (59, 59), (60, 60), (100, 60)])
def test_a_client_that_says_goodbye_is_found_by_the_next_check(how, check_interval_s, after):
    said = outcome(ClientGone, how=how, check_interval_s=check_interval_s)
    assert said == told(after, "rst" if how == "reset" else "fin", after)


def test_a_client_that_dies_in_the_middle_is_found_by_the_check_after_that():
    said = outcome(
        ClientGone, keepalive_idle_s=7, keepalive_interval_s=2, keepalive_probes=3, check_interval_s=5
    )
    assert said == told(15, "keepalive", 15)


def test_keepalive_finds_an_idle_session_by_its_own_rule():
    postgres = {"keepalive_idle_s": 7200, "keepalive_interval_s": 75, "keepalive_probes": 9}
    for session in ("idle", "idle_in_transaction"):
        said = outcome(ClientGone, session=session, **postgres)
        assert said["noticed_after_s"] == pytest.approx(7875, abs=0.1) and said["how_noticed"] == "keepalive"


def test_without_keepalive_an_idle_session_is_kept():
    trace, sentence = trace_of(ClientGone, session="idle_in_transaction")
    assert trace.outcome == told(None, "never", None)
    assert sentence.endswith("the server does not detect it: it keeps its session and all its locks.")
    assert wire(trace, trace.watched_from) == []


def test_rows_in_flight_silence_keepalive():
    trace, sentence = trace_of(ClientGone, session="sending", keepalive_idle_s=5, check_interval_s=1)
    assert trace.outcome["noticed_after_s"] == IN_FLIGHT and "sent no probe" in sentence
    bounded = outcome(ClientGone, session="sending", keepalive_idle_s=5, user_timeout_s=30)
    assert bounded["how_noticed"] == "retransmission" and bounded["noticed_after_s"] == pytest.approx(
        30, rel=0.1
    )


def test_a_fin_that_postgresql_does_not_log():
    assert (
        "PostgreSQL's log says nothing. The session ends."
        in trace_of(ClientGone, session="idle", how="kill")[1]
    )


def test_watched_too_briefly():
    trace, sentence = trace_of(ClientGone, watch_s=30)
    assert trace.outcome == told(None, "never", None) and trace.seconds(trace.end) == pytest.approx(
        30, abs=0.2
    )
    assert "In 30 s the server does not detect it" in sentence
