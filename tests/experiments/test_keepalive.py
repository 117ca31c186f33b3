"""Keepalive: when an idle client notices, and what it sent until then."""

import pytest

from experiments.outcomes import outcome, trace_of, wire
from tcplab.core.catalogue import catalogue
from tcplab.core.knobs import ParameterError
from tcplab.experiments import Keepalive

SILENCE = {"error": "ETIMEDOUT", "last_segment": "RST"}


def test_the_default_takes_7875_seconds():
    trace, sentence = trace_of(Keepalive)
    times = [7200, 7275, 7350, 7425, 7500, 7575, 7650, 7725, 7800]
    assert trace.outcome == {"probe_times_s": times, "detected_after_s": 7875, **SILENCE}
    assert "2 h 11 min 15 s" in sentence and "9 probes" in sentence and "ETIMEDOUT" in sentence
    assert wire(trace)[-1] == "c:RA x"


@pytest.mark.parametrize("latency_ms", [0, 0.3, 1, 20, 200])
@pytest.mark.parametrize(
    ("idle_s", "interval_s", "probes"), [(15, 5, 3), (2, 1, 3), (120, 30, 4), (1, 32767, 1), (1.5, 1.5, 2)]
)
def test_time_plus_probes_times_interval(idle_s, interval_s, probes, latency_ms):
    """Counted from the last segment that came, wherever the server is."""
    said = outcome(Keepalive, idle_s=idle_s, interval_s=interval_s, probes=probes, latency_ms=latency_ms)
    assert said == {
        "probe_times_s": [pytest.approx(idle_s + n * interval_s) for n in range(probes)],
        "detected_after_s": pytest.approx(idle_s + probes * interval_s),
        **SILENCE,
    }


@pytest.mark.parametrize(
    ("idle_s", "interval_s", "probes", "user_timeout_s", "after"),
    [(2, 1, 9, 3.5, 4), (2, 1, 3, 12, 12), (60, 10, 6, 30, 70)],
)
def test_a_user_timeout_puts_time_in_the_place_of_the_count(
    idle_s, interval_s, probes, user_timeout_s, after
):
    said = outcome(
        Keepalive, idle_s=idle_s, interval_s=interval_s, probes=probes, user_timeout_s=user_timeout_s
    )
    assert said["detected_after_s"] == after and said["last_segment"] == "RST"


@pytest.mark.parametrize("peer", ["rebooted", "moved"])
def test_somebody_who_has_no_socket_answers_the_first_probe(peer):
    trace, sentence = trace_of(Keepalive, peer=peer)
    assert trace.outcome == {
        "probe_times_s": [7200], "detected_after_s": 7200.002, "error": "ECONNRESET", "last_segment": "none",
    }  # fmt: skip
    assert "a RST answered its" in sentence and "ECONNRESET" in sentence
    assert trace.packets[-1].sender == ("server" if peer == "rebooted" else "new owner")


def test_a_living_server_is_probed_every_idle_time():
    trace, sentence = trace_of(Keepalive, peer="alive", idle_s=10, interval_s=1)
    times = trace.outcome["probe_times_s"]
    assert [round(t) for t in times] == [10, 20, 30]
    assert trace.outcome["detected_after_s"] is trace.outcome["error"] is None
    assert trace.outcome["last_segment"] == "none" and "3 probes, each answered at once" in sentence


def test_data_that_comes_more_often_than_the_idle_time_leaves_nothing_to_ask():
    trace, sentence = trace_of(Keepalive, peer="alive", idle_s=60, data_every_s=30)
    assert trace.outcome["probe_times_s"] == [] and "no probe at all" in sentence


def test_after_a_probe_linux_looks_again_only_after_the_interval():
    """tcp_keepalive_timer: data every 10 s could be probed after 8 s, but the timer sleeps for 75."""
    trace, sentence = trace_of(Keepalive, peer="alive", idle_s=8, interval_s=75, probes=3, data_every_s=10)
    assert len(trace.sent_by("client", kind="keepalive")) == 1 and trace.outcome["probe_times_s"] == []
    assert "no further probe" in sentence and "It sent 1 probe before" in sentence
    assert "75 s" in sentence and "more often" not in sentence


def test_data_before_the_end_moves_the_origin():
    said = outcome(Keepalive, idle_s=10, interval_s=1, probes=3, data_every_s=4)
    assert said == {"probe_times_s": [10, 11, 12], "detected_after_s": 13, **SILENCE}


def test_off_is_for_ever():
    trace, sentence = trace_of(Keepalive, idle_s=0)
    assert trace.outcome == {
        "probe_times_s": [], "detected_after_s": None, "error": None, "last_segment": "none",
    }  # fmt: skip
    assert wire(trace, trace.watched_from) == []
    assert "waits indefinitely" in sentence


def test_unacknowledged_data_silences_keepalive():
    trace, sentence = trace_of(Keepalive, idle_s=5, interval_s=1, probes=3, unacked=True)
    assert trace.outcome["probe_times_s"] == []
    assert trace.outcome["detected_after_s"] == pytest.approx(928.9, abs=0.1)
    assert (trace.outcome["error"], trace.outcome["last_segment"]) == ("ETIMEDOUT", "none")
    assert "While data is unacknowledged no keepalive probe is sent" in sentence


def test_a_rebooted_server_refuses_data_at_once():
    said = outcome(Keepalive, peer="rebooted", unacked=True)
    assert said["error"] == "ECONNRESET" and said["detected_after_s"] < 0.01


def test_an_interval_shorter_than_the_round_trip_ends_a_healthy_connection():
    trace, sentence = trace_of(Keepalive, peer="alive", idle_s=4, interval_s=1, probes=1, latency_ms=1000)
    assert trace.outcome["detected_after_s"] == 5 and "The server was alive" in sentence
    talking = outcome(
        Keepalive, peer="alive", idle_s=4, interval_s=1, probes=1, latency_ms=1000, data_every_s=60
    )
    assert talking["detected_after_s"] == 5 and talking["error"] == "ETIMEDOUT"


def test_watched_too_briefly():
    trace, sentence = trace_of(Keepalive, idle_s=10, watch_s=15)
    assert trace.outcome["detected_after_s"] is None
    assert sentence.startswith("In 15 s the client sent 1 probe")


@pytest.mark.parametrize("linux", ["3.10", "4.18", "5.14", "6.18"])
def test_the_rule_is_the_same_on_every_linux(linux):
    assert outcome(Keepalive, linux=linux)["detected_after_s"] == 7875


def test_a_user_timeout_that_connect_would_not_survive_is_refused():
    with pytest.raises(ParameterError) as error:
        Keepalive(user_timeout_s=1, latency_ms=600)
    assert str(error.value) == (
        "user_timeout_s = 1 expires before the server can answer: use more than 1.2 s, "
        "a round trip at latency_ms = 600, or 0 (off)."
    )
    assert outcome(Keepalive, user_timeout_s=1.3, latency_ms=600)["error"] == "ETIMEDOUT"
    assert outcome(Keepalive, user_timeout_s=1, latency_ms=600, linux="4.18")["error"] == "ETIMEDOUT"


def test_the_preset_of_redis_server_is_what_the_product_sets():
    """An idle time of its own, a third of it as interval, three probes."""
    (setting,) = [each for each in catalogue() if each.name == "tcp-keepalive"]
    assert setting.product.probing == "thirds"
    times = {"idle_s": setting.default, "interval_s": setting.default / 3, "probes": 3}
    assert Keepalive.presets["redis-server 300/100/3"] == times
