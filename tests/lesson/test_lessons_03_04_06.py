"""The right answers of lessons 03, 04 and 06 against the model, and the recordings that they show."""

import re

import pytest

from recordings.captures import LATE, STORED, Capture
from tcplab import DeadPeer, Keepalive, SlowReader, read_capture, run
from tcplab.lesson import ask


def recording(name):
    return read_capture(STORED / f"{name}.pcap").connection(0)


def sidecar(name):
    return Capture(name).sidecar


def failed(trace):
    """The first call that gave an error."""
    return next(call for call in trace.calls if call.result.startswith("E"))


def of_kind(trace, kind):
    return [packet for packet in trace.packets if packet.kind == kind]


def about(expected):
    """As late as a real clock may be."""
    return pytest.approx(expected + expected * LATE / 2 + 0.135, abs=expected * LATE / 2 + 0.165)


# 04: the dead peer ------------------------------------------------------------------------------


def unanswered(trace):
    """When the client's last data was sent, again and again, and when it gave up: seconds."""
    data = [p for p in trace.packets if p.sender == "client" and p.segment.length]
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
    assert not any("R" in packet.segment.letters for packet in real.packets)
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


# 03: keepalive ----------------------------------------------------------------------------------


def seconds_from(trace, since, kind="keepalive"):
    """When segments of a kind went out, seconds from a moment on."""
    return [(packet.t - since) / 1e9 for packet in of_kind(trace, kind) if packet.t > since]


def last_heard(trace, other="server"):
    """When the last segment of the other side crossed the wire, a RST not counted."""
    return max(p.t for p in trace.packets if p.sender == other and "R" not in p.segment.letters)


def test_nobody_tells_an_idle_client_for_two_hours():
    question = ask("keepalive", "power_cut")
    assert run(Keepalive()).outcome["detected_after_s"] == question.right
    said = sidecar("lesson_defaults")["events"]
    timers = [event["result"] for event in said if event["call"] == "ss -tno"]
    assert len(timers) == 2 and all("timer:(keepalive,119min,0)" in timer for timer in timers)
    tcp, unix = (event["result"] for event in said if event["call"].startswith("psql"))
    for name, value in {"idle": 7200, "interval": 75, "count": 9}.items():
        assert f"tcp_keepalives_{name}|{value}|" in tcp and f"tcp_keepalives_{name}|0|" in unix
    assert "tcp_user_timeout|0|" in tcp


def test_a_rebooted_server_is_noticed_at_the_first_probe():
    real = recording("lesson_keepalive_rebooted")
    assert [p.sender for p in real.packets if "R" in p.segment.letters] == ["server"]
    assert failed(real).result == "ECONNRESET" and failed(real).t / 1e9 == about(5)


def test_the_idle_time_counts_from_the_last_answer():
    story = Keepalive(idle_s=15, interval_s=5, probes=3, data_every_s=10)
    assert run(story).outcome["detected_after_s"] == 30
    real = recording("lesson_keepalive_and_data")
    assert len(seconds_from(real, last_heard(real))) == len(of_kind(real, "keepalive")) == 3
    assert (failed(real).t - last_heard(real)) / 1e9 == about(30)


def test_answered_probes_come_every_idle_time_or_interval_whichever_is_longer():
    question = ask("keepalive", "second_probe")
    first, second, *_ = run(Keepalive(idle_s=10, interval_s=75, peer="alive", watch_s=300)).outcome[
        "probe_times_s"
    ]
    assert (first, second - first) == (10, question.right)
    for name, times in {"lesson_interval_above_idle": (4, 14, 24), "lesson_idle_alive": (5, 10, 15)}.items():
        real = recording(name)
        data = max(p.t for p in real.packets if p.segment.length)
        assert seconds_from(real, data) == [about(t) for t in times]
        assert not any(call.result.startswith("E") for call in real.calls)
    sleep = recording("postgres_long_query")
    (probe,) = of_kind(sleep, "keepalive")
    query = next(
        event["began"] for event in sidecar("postgres_long_query")["events"] if "sleep" in event["call"]
    )
    assert probe.sender == "server" and sleep.seconds(probe.t) - query == about(10)


def test_postgresql_notices_nothing_of_the_probes():
    assert ask("keepalive", "idle_in_transaction").right == "Nothing"
    real = recording("postgres_idle_in_transaction")
    probes = of_kind(real, "keepalive")
    data = max(p.t for p in real.packets if p.segment.length and p.t < probes[0].t)
    assert seconds_from(real, data) == [about(t) for t in (5, 10, 15)]
    told = sidecar("postgres_idle_in_transaction")["events"]
    assert "idle in transaction|ClientRead" in [event["result"] for event in told]


# 06: the window ---------------------------------------------------------------------------------


def closed_at(trace):
    """When the client first said that its window is zero."""
    return next(p.t for p in trace.packets if p.sender == "client" and not p.segment.window)


def answers(name, call):
    """What came back from every call of that kind, with its time."""
    told = sidecar(name)["events"]
    return [(event["t"], event["result"]) for event in told if call in event["call"]]


def test_a_client_that_does_not_read_keeps_the_backend_in_client_write():
    assert ask("the_window", "who_waits").right == "active, waiting in ClientWrite"
    *while_closed, (_, in_the_end) = answers("lesson_client_write", "pg_stat_activity")
    assert [result for _, result in while_closed] == ["active|Client|ClientWrite"] * 2
    assert in_the_end == ""
    timers = [result for _, result in answers("lesson_client_write", "ss -tno")]
    assert timers and all("timer:(persist," in timer for timer in timers)


def test_linux_waits_for_ever_for_a_live_reader_and_not_for_a_dead_one():
    assert ask("the_window", "how_long").right == "Never"
    assert run(SlowReader(stops_reading_s=2, watch_s=36_000)).outcome["server_error"] is None
    assert run(SlowReader(peer="offline")).outcome["server_error"] == "ETIMEDOUT"


def test_the_user_timeout_ends_a_live_reader():
    assert ask("the_window", "user_timeout").right.startswith("After about 10 s the server's kernel ends")
    story = SlowReader(receive_buffer=8192, response=40_000, stops_reading_s=0.5, user_timeout_s=10)
    model, real = run(story), recording("lesson_client_write")
    assert model.outcome["server_error"] == "ETIMEDOUT"
    assert model.outcome["stalled_s"] == pytest.approx(10.2, abs=0.1)
    gone = answers("lesson_client_write", "pg_stat_activity")[-1][0]
    assert gone - closed_at(real) / 1e9 == about(10.2)
    expected = seconds_from(model, closed_at(model), "window_probe")
    measured = seconds_from(real, closed_at(real), "window_probe")
    assert measured == [about(t) for t in expected] and len(measured) == 5
    answered = [p for p in real.packets if p.sender == "client" and not p.segment.window]
    assert len(answered) >= 4, "the client's Linux was alive all the time"


def test_the_client_hears_of_it_after_the_bytes_it_had():
    assert ask("the_window", "message").right.endswith("then Connection reset by peer")
    ((_, heard),) = answers("lesson_client_write", "recv")
    assert re.fullmatch(r"[1-9]\d* bytes, then ECONNRESET: Connection reset by peer", heard)
    ((_, log),) = answers("lesson_client_write", "PostgreSQL's log")
    assert log == "LOG:  could not send data to client: Connection timed out"
    update, reset = recording("lesson_client_write").packets[-2:]
    assert (update.sender, reset.sender, reset.segment.letters) == ("client", "server", "R")
