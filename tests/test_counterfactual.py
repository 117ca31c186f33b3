"""What would have been, held against recordings in which it was so."""

import pytest

import tcplab
from tcplab.capture.runs import LIBRARY


def connection(name, i=0):
    return tcplab.read_capture(LIBRARY / f"{name}.pcap").connection(i)


def recorded(name, outcome="detected_after_s"):
    """What a recording's own run gave."""
    return tcplab.recording(name).outcome[outcome]


def close_to(seconds):
    """As the agreement of model and Linux takes it: real timers fire late."""
    return pytest.approx(seconds, rel=0.08, abs=0.3)


# --- the answer is known from another recording ---


def test_a_user_timeout_instead_of_a_quarter_of_an_hour():
    answer = tcplab.what_if(connection("lesson_cable_out_sending"), user_timeout_s=30)
    assert answer.fate.error == "ETIMEDOUT"
    assert answer.failed_after_s == close_to(recorded("lesson_cable_out_user_timeout"))
    assert "instead of 15 min 47 s" in answer.sentence


def test_a_quarter_of_an_hour_instead_of_a_user_timeout():
    answer = tcplab.what_if(connection("lesson_cable_out_user_timeout"), user_timeout_s=0)
    assert answer.failed_after_s == close_to(recorded("lesson_cable_out_sending"))


def test_keepalive_shorter_than_the_box_saves_the_report():
    dropped = connection("lesson_report_dropped")
    assert tcplab.what_if(dropped, keepalive_idle_s=1, firewall_idle_s=2).lived
    assert tcplab.recording("lesson_report_dropped").parameters["firewall_idle_s"] == 2
    late = tcplab.what_if(dropped, keepalive_idle_s=3, firewall_idle_s=2)
    assert late.fate.kind == "failed" and late.failed_after_s < 8


def test_a_more_patient_box_saves_the_report():
    answer = tcplab.what_if(connection("lesson_report_dropped"), firewall_idle_s=350)
    assert answer.lived and "Had the server gone instead, it would have failed" in answer.sentence
    assert not tcplab.what_if(connection("lesson_report_dropped"), firewall_idle_s=2).lived
    assert not tcplab.what_if(connection("lesson_report_dropped"), firewall_idle_s=350, cause="peer").lived


def test_an_idle_session_behind_a_box():
    idle = connection("idle_firewall")
    saved = tcplab.what_if(idle, keepalive_idle_s=1, keepalive_interval_s=1)
    assert saved.lived and "if the box forgets after more than 1.0" in saved.sentence
    assert "Had the server gone instead" in saved.sentence
    assert tcplab.what_if(idle, firewall_idle_s=0).lived


def test_keepalive_of_another_recording():
    """15/5/3 as redis-cli has it against 5/1/3: the figures are those of the other recording."""
    own = connection("redis_offline")
    faster = tcplab.what_if(own, keepalive_idle_s=5, keepalive_interval_s=1)
    assert faster.failed_after_s == close_to(recorded("lesson_cable_out_idle"))


def test_what_nothing_would_have_changed():
    answer = tcplab.what_if(connection("postgres_long_query"), firewall_idle_s=350)
    assert answer.lived and "nothing would have changed" in answer.sentence
    killed = tcplab.what_if(connection("postgres_long_query"), firewall_idle_s=5)
    assert not killed.lived


# --- the model does what the capture shows ---


@pytest.mark.parametrize(
    "name",
    [
        "lesson_cable_out_sending", "lesson_cable_out_user_timeout", "lesson_cable_out_idle", "idle_firewall",
        "keepalive", "dead_peer", "lesson_keepalive_and_data", "lesson_keepalive_rebooted",
        "lesson_report_dropped", "lesson_report_reset", "postgres_long_query", "postgres_terminate_backend",
        "mariadb_kill", "mariadb_wait_timeout", "redis_offline", "handshake_and_close",
    ],
)  # fmt: skip
def test_the_model_reproduces(name):
    answer = tcplab.what_if(connection(name))
    assert answer.likeness.holds, answer.likeness.sentence
    assert answer.likeness.compared >= 4


def test_an_interval_that_stays_long_is_said():
    idle = connection("idle_firewall")
    alone = tcplab.what_if(idle, keepalive_idle_s=1)
    assert not alone.lived and any("keepalive_interval_s" in each for each in alone.warnings)
    assert not tcplab.what_if(idle, keepalive_idle_s=1, keepalive_interval_s=1).warnings
    probes = tcplab.what_if(idle, keepalive_probes=3)
    assert any("while keepalive is off" in each for each in probes.warnings)


def test_a_run_is_answered_like_its_capture():
    for name in ("lesson_cable_out_sending", "idle_firewall", "keepalive"):
        ran = tcplab.what_if(tcplab.recording(name), user_timeout_s=3)
        seen = tcplab.what_if(connection(name), user_timeout_s=3)
        assert ran.fate.kind == seen.fate.kind
        assert ran.fate.after == pytest.approx(seen.fate.after, abs=2e8)


def test_of_a_long_connection_the_end_is_played(monkeypatch):
    monkeypatch.setattr("tcplab.counterfactual.MOST_PLAYED", 12)
    answer = tcplab.what_if(connection("lesson_keepalive_and_data"), keepalive_idle_s=5)
    assert any("the last 12 of 20" in each for each in answer.warnings)
    assert answer.likeness.holds and answer.failed_after_s == pytest.approx(20, abs=0.5)


def test_several_connections_are_refused():
    with pytest.raises(tcplab.ParameterError, match="a single one"):
        tcplab.what_if(tcplab.recording("port_range"))
    with pytest.raises(tcplab.ParameterError, match="no segments"):
        tcplab.what_if(tcplab.Trace("", "capture"))


def test_slow_readers_losses_and_forged_resets_are_said_to_be_left_out():
    for name, what in (("slow_reader", "window closed"), ("lesson_rst_beyond", "forged"),
                       ("lesson_reject_stale", "sent again")):  # fmt: skip
        assert any(what in each for each in tcplab.what_if(connection(name)).warnings), name


# --- bad input ---


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"keepalive_idle_s": -1}, "keepalive_idle_s = -1"),
        ({"keepalive_idle_s": 0.5}, "keepalive_idle_s = 0.5"),
        ({"firewall_idle_s": "soon"}, "firewall_idle_s = 'soon'"),
        ({"expired": "explode"}, "expired = 'explode'"),
        ({"side": "middle"}, "side = 'middle'"),
        ({"cause": "weather"}, "cause = 'weather'"),
        ({"cause": "box"}, "cause = 'box'"),
        ({"user_timeout_s": 0.001}, "user_timeout_s = 0.001"),
    ],
)
def test_a_wrong_question_is_answered_in_one_sentence(asked, says):
    with pytest.raises(tcplab.ParameterError) as error:
        tcplab.what_if(connection("lesson_cable_out_sending"), **asked)
    assert str(error.value).startswith(says) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["postgres_closed_port", "unanswered_connect"])
def test_what_never_came_about_is_not_played(name):
    with pytest.raises(tcplab.ParameterError, match="never came about"):
        tcplab.what_if(connection(name))
