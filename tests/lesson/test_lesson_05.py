"""The right answers of lesson 05 against the model, and the model against a real PostgreSQL."""

import pytest

from recordings.captures import Capture
from recordings.test_databases import log, waited
from tcplab import ClientGone, recording, run
from tcplab.lesson import ask

DEFAULTS = {"keepalive_idle_s": 7200, "keepalive_interval_s": 75, "keepalive_probes": 9}
SHORT = {"keepalive_idle_s": 2, "keepalive_interval_s": 1, "keepalive_probes": 3}


def held(**settings):
    """How long the model's lock is held, seconds."""
    return run(ClientGone(**settings)).outcome["lock_held_s"]


def test_keepalives_defaults_decide_over_a_check_every_second():
    right = ask("dead_client", "night_batch").right
    assert held(check_interval_s=1, query_s=28_800, **DEFAULTS) == right
    assert held(query_s=28_800, **DEFAULTS) == 28_800


def test_a_killed_clients_lock_is_held_until_the_query_is_over():
    right = ask("dead_client", "killed").right
    assert held(how="kill", query_s=right, **DEFAULTS) == right
    assert held(how="kill", query_s=60, check_interval_s=1, **DEFAULTS) == 1
    assert held(how="kill", query_s=8) == pytest.approx(waited(Capture("dead_client_killed")), abs=0.5)


def test_keepalive_alone_does_not_reach_a_busy_backend():
    assert held(keepalive_idle_s=5, query_s=300) == 300
    assert held(keepalive_idle_s=5, query_s=300, check_interval_s=1) == 8


def test_the_model_frees_the_lock_when_postgresql_does():
    alone = held(query_s=10, **SHORT)
    assert alone == pytest.approx(waited(Capture("dead_client_vanished_keepalive")), abs=0.5)
    idle = held(session="idle_in_transaction", **SHORT)
    assert idle == pytest.approx(waited(Capture("dead_client_vanished_idle")), abs=0.5)
    with_check = held(check_interval_s=1, **SHORT)
    assert with_check - 0.5 < waited(Capture("dead_client_vanished_both")) < with_check + 1.2
    assert held(check_interval_s=1, query_s=60, **DEFAULTS) > 12
    rows = {"check_interval_s": 1, "query_s": 0.7, **SHORT}  # a second from when it was asked
    limited = waited(Capture("dead_client_vanished_rows_limited"))
    assert held(**rows, user_timeout_s=6) == pytest.approx(limited, abs=0.6)
    assert held(**rows) > 900


def test_the_model_says_what_postgresql_logs():
    for name, settings in {
        "dead_client_killed": {"how": "kill"},
        "dead_client_killed_checked": {"how": "kill", "check_interval_s": 1},
        "dead_client_vanished_both": {"check_interval_s": 1, **SHORT},
        "dead_client_vanished_keepalive": {"query_s": 10, **SHORT},
        "dead_client_vanished_idle": {"session": "idle_in_transaction", **SHORT},
    }.items():
        story = ClientGone(**settings)
        _, said = log(Capture(name))[0].split("  ", 1)
        assert f"PostgreSQL's log says: {said}." in story.sentence(run(story))


def test_idle_in_transaction_only_keepalive_frees_the_lock():
    assert ask("dead_client", "idle_in_transaction").right == "Keepalive, after 2 h 11 min"
    for check in (0, 1):
        assert held(session="idle_in_transaction", check_interval_s=check, **DEFAULTS) == 7875


def test_rows_in_flight_wait_for_retransmission():
    question = ask("dead_client", "rows_in_flight")
    settings = {"session": "sending", "check_interval_s": 1, "keepalive_idle_s": 5}
    assert held(**settings) == pytest.approx(question.right, abs=0.5)
    for latency in (5, 20, 80, 150):
        after = held(**settings, latency_ms=latency)
        assert 924.6 <= after <= 1045
        assert abs(after - question.right) <= question.tolerance * question.right


def test_a_user_timeout_as_long_as_keepalives_total_changes_nothing_for_the_idle():
    asks = {"keepalive_idle_s": 60, "keepalive_interval_s": 10, "keepalive_probes": 6}
    for session in ("running", "idle_in_transaction", "sending"):
        settings = {"session": session, "check_interval_s": 10, "query_s": 3600, **asks}
        assert held(**settings, user_timeout_s=120) == pytest.approx(120, abs=1)
    assert held(session="idle_in_transaction", keepalive_idle_s=5, user_timeout_s=30) == 30


def test_the_experiments_recording_has_the_parameters_that_the_lesson_names():
    parameters = recording("client_gone").parameters
    named = ("how", "session", "check_interval_s", "query_s", *SHORT)
    assert [parameters[name] for name in named] == ["vanish", "running", 1.5, 8, 2, 1, 2]
