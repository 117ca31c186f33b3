"""What would have been, held against recordings in which it was so."""

import os
from dataclasses import replace

import pytest

import tcplab
from bench.sandboxes import TESTS, need_sandbox, patient_run
from tcplab.bench.sandbox import Sandbox
from tcplab.capture.pcap import write_pcap
from tcplab.capture.recordings import LIBRARY
from tcplab.what_if import answer as what_if_answer
from tcplab.what_if.stall import longest
from what_if.stories import Lost, OneWayDrop


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
    assert answer.outcome.error == "ETIMEDOUT"
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
    assert late.outcome.kind == "failed" and late.failed_after_s < 8


def test_a_more_patient_box_saves_the_report():
    answer = tcplab.what_if(connection("lesson_report_dropped"), firewall_idle_s=350)
    assert answer.lived and "Had the server gone down instead, it would have failed" in answer.sentence
    assert not tcplab.what_if(connection("lesson_report_dropped"), firewall_idle_s=2).lived
    assert not tcplab.what_if(connection("lesson_report_dropped"), firewall_idle_s=350, cause="peer").lived


def test_an_idle_session_behind_a_box():
    idle = connection("idle_firewall")
    saved = tcplab.what_if(idle, keepalive_idle_s=1, keepalive_interval_s=1)
    assert saved.lived and "if the middlebox's idle timeout is longer than 1.0" in saved.sentence
    assert "Had the server gone down instead" in saved.sentence
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
        assert ran.outcome.kind == seen.outcome.kind
        assert ran.outcome.after == pytest.approx(seen.outcome.after, abs=2e8)


def test_of_a_long_connection_the_end_is_played(monkeypatch):
    monkeypatch.setattr(what_if_answer, "MOST_PLAYED", 12)
    answer = tcplab.what_if(connection("lesson_keepalive_and_data"), keepalive_idle_s=5)
    assert any("the last 12 of 20" in each for each in answer.warnings)
    assert answer.likeness.holds and answer.failed_after_s == pytest.approx(20, abs=0.5)


def test_several_connections_are_refused():
    with pytest.raises(tcplab.ParameterError, match="a single one"):
        tcplab.what_if(tcplab.recording("port_range"))
    with pytest.raises(tcplab.ParameterError, match="no segments"):
        tcplab.what_if(tcplab.Trace("", "capture"))


# --- what is not its case, and what it can't repeat ---


@pytest.mark.parametrize(("name", "i"), [("lesson_client_write", 0), ("case_6", 15)])
def test_a_reader_that_did_not_read_is_played(name, i):
    """Both servers had tcp_user_timeout = 10 s and gave up without a word."""
    answer = tcplab.what_if(connection(name, i), user_timeout_s=5)
    assert answer.likeness.holds and answer.likeness.compared >= 5, answer.likeness.sentence
    assert answer.failed_after_s == close_to(5) and answer.outcome.side == "server"
    assert "counted from when the client's window closed" in answer.sentence
    (limit,) = (each for each in answer.inferences if each.name == "user_timeout_s")
    assert limit.value == 10
    longer = tcplab.what_if(connection(name, i), user_timeout_s=300)
    assert longer.lived and "as it was, it failed after 1" in longer.sentence


def test_a_short_stall_would_have_lived_through_a_user_timeout_of_seconds():
    answer = tcplab.what_if(connection("slow_reader"), user_timeout_s=5)
    assert answer.lived and "nothing would have changed" in answer.sentence


def test_a_run_of_a_slow_reader_is_answered_as_another_run_gives_it():
    stopped = tcplab.run(tcplab.SlowReader(stops_reading_s=1, watch_s=100))
    answer = tcplab.what_if(stopped, user_timeout_s=5)
    other = tcplab.run(tcplab.SlowReader(stops_reading_s=1, user_timeout_s=5, watch_s=100))
    real = longest(other, "client")
    assert answer.failed_after_s == close_to((real.gave_up - real.closed) / 1e9)
    assert "instead of waiting without end" in answer.sentence
    with pytest.raises(tcplab.ParameterError, match=r"firewall_idle_s = 5: .* the client did not read"):
        tcplab.what_if(stopped, firewall_idle_s=5)


def test_a_window_that_was_closed_for_a_moment_does_not_hide_a_dead_peer():
    """The server's data goes unanswered later: that is what is asked about."""
    trace = connection("lesson_cable_out_sending")
    shut = next(i for i, p in enumerate(trace.packets) if p.sender == "server" and p.segment.length == 0)
    packet = trace.packets[shut]
    trace.packets[shut] = replace(packet, segment=replace(packet.segment, window=0))
    assert tcplab.what_if(trace, user_timeout_s=30).failed_after_s == close_to(30)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("lesson_rst_beyond", "a RST ended nothing here"),
        ("case_5", "3 RSTs ended nothing here"),
        ("last_ack_reset", ""),
        ("old_duplicate", "the server sent bytes 202 to 402 at"),
    ],
)
def test_what_the_model_does_not_reproduce_gets_no_verdict(name, why):
    answer = tcplab.what_if(connection(name), user_timeout_s=30)
    assert not answer.likeness.holds
    assert answer.sentence.startswith("No verdict: under the captured settings the model does not reproduce")
    assert why in answer.sentence and "would have failed" not in answer.sentence
    assert answer.lived is None and answer.failed_after_s is None


def test_what_it_reproduces_has_a_verdict():
    answer = tcplab.what_if(connection("lesson_cable_out_sending"), user_timeout_s=30)
    assert answer.sentence.startswith("With user_timeout_s = 30") and answer.lived is False


# --- one direction broken, single losses, clocks ---


def on_linux(story):
    """A run's trace; the sandbox has to find the story, too."""
    need_sandbox()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        with Sandbox() as sandbox:
            return patient_run(sandbox, story)


def one_way(tmp_path, trace=None):
    write_pcap(trace or tcplab.run(OneWayDrop()), tmp_path / "x.pcap")
    return tcplab.read_capture(tmp_path / "x.pcap").connection(0)


def test_a_one_way_drop_is_played(tmp_path):
    capture = one_way(tmp_path)
    answer = tcplab.what_if(capture, user_timeout_s=5)
    assert answer.likeness.holds, answer.likeness.sentence
    assert answer.outcome.error == "ETIMEDOUT" and answer.failed_after_s == close_to(5.47)
    assert "instead of 15 min" in answer.sentence
    keepalive = tcplab.what_if(capture, keepalive_idle_s=5, keepalive_interval_s=1, keepalive_probes=3)
    assert "nothing would have changed" in keepalive.sentence
    (cause,) = (each for each in answer.inferences if each.name == "cause")
    assert cause.says.startswith("From then on every packet from the client was lost")
    with pytest.raises(tcplab.ParameterError, match=r"cause = 'peer': the server kept sending"):
        tcplab.what_if(capture, cause="peer")


@pytest.mark.linux
def test_a_one_way_drop_on_linux_is_answered_as_linux_does(tmp_path):
    answer = tcplab.what_if(one_way(tmp_path, on_linux(OneWayDrop(watch_s=8))), user_timeout_s=5)
    assert answer.likeness.holds, answer.likeness.sentence
    story = OneWayDrop(user_timeout_s=5, watch_s=8)
    assert story.outcome(on_linux(story))["failed_after_s"] == close_to(answer.failed_after_s)


def test_libpq_sets_no_user_timeout_without_keepalive(tmp_path):
    answer = tcplab.what_if(one_way(tmp_path), user_timeout_s=5, keepalive_idle_s=0)
    assert answer.failed_after_s == close_to(5.47)
    assert "If the program uses libpq, keepalives=0 leaves tcp_user_timeout unset" in answer.sentence
    assert "would then have failed after 15 min" in answer.sentence
    assert "libpq" not in tcplab.what_if(one_way(tmp_path), user_timeout_s=5).sentence


def test_a_lost_query_and_a_lost_syn_are_played(tmp_path):
    for kind in ("data", "syn"):
        trace = tcplab.run(Lost(kind=kind))
        write_pcap(trace, tmp_path / "x.pcap")
        capture = tcplab.read_capture(tmp_path / "x.pcap").connection(0)
        assert sum(p.kind == "retransmission" for p in capture.packets) == 1
        answer = tcplab.what_if(capture, user_timeout_s=30)
        assert answer.likeness.holds, answer.likeness.sentence
        assert answer.lived and not answer.warnings


def stamped(trace, i, by):
    """The trace with its segments from `i` on moved, as by a clock that is set."""
    moved = [replace(p, t=p.t + by, arrives=p.arrives + by) for p in trace.packets[i:]]
    return replace(trace, packets=[*trace.packets[:i], *moved], end=trace.end + max(by, 0))


def test_a_clock_that_was_set_is_a_sentence():
    idle = connection("idle_firewall")
    with pytest.raises(
        tcplab.ParameterError, match=r"covers 19,358 .* segment 3 is stamped 19,358 days after"
    ):
        tcplab.what_if(stamped(idle, 2, 19_358 * 86_400 * 10**9), keepalive_idle_s=60)
    with pytest.raises(tcplab.ParameterError, match="segment of the file is stamped 19,358 days after"):
        tcplab.what_if(replace(idle, end=19_358 * 86_400 * 10**9), keepalive_idle_s=60)
    with pytest.raises(tcplab.ParameterError, match=r"clock step: its segment 9 is stamped .* before"):
        tcplab.what_if(stamped(idle, 8, -idle.packets[8].t), keepalive_idle_s=60)


def test_events_are_bounded(monkeypatch):
    monkeypatch.setattr("tcplab.bench.model.MOST_EVENTS", 5_000)
    week = replace(tcplab.run(tcplab.Keepalive(peer="alive")), end=7 * 86_400 * 10**9)
    with pytest.raises(tcplab.ParameterError, match="what_if was stopped after 5,000 events"):
        tcplab.what_if(week, keepalive_idle_s=1, keepalive_interval_s=1)


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
