"""The right answers of lesson 07 against the model, and against what a real HAProxy did."""

import json

import pytest

from recordings.captures import legs
from recordings.test_between import LOST, log, query
from tcplab import ProxyLegs, agreement, recording, run
from tcplab.lesson import ask
from tcplab.lesson.page import page_table

ALIVE = {"broken": "nothing", "query_s": 300}
LEGS = ("client_keepalive_idle_s", "proxy_keepalive_idle_s", "backend_keepalive_idle_s")


def question(name):
    return ask("proxies", name)


def noticed(**settings):
    return run(ProxyLegs(**settings)).outcome["noticed_by_client_after_s"]


@pytest.mark.parametrize("idle", [0, 2, 10])
def test_keepalive_does_not_feed_the_data_timer(idle):
    keepalive = dict.fromkeys(LEGS, idle)
    right = question("silent_report").right
    assert noticed(**ALIVE, proxy_idle_s=right, **keepalive) == pytest.approx(right, abs=0.1)
    assert noticed(**ALIVE, proxy_idle_s=0, **keepalive) is None
    assert noticed(**ALIVE, proxy_idle_s=360, **keepalive) is None


def test_the_report_of_the_first_question_is_a_preset():
    (report,) = [each for each in ProxyLegs.presets.values() if each.get("proxy_idle_s") == 60]
    assert noticed(**report) == pytest.approx(question("silent_report").right, abs=0.1)
    assert {report[name] for name in LEGS} == {10} and report["query_s"] == 300


def test_the_model_and_a_real_haproxy_cut_the_same_query_at_the_same_second():
    front, _ = legs("proxy_timeout_server")
    told = query(front)
    ours = noticed(broken="nothing", query_s=6, proxy_idle_s=3, **dict.fromkeys(LEGS, 2))
    assert told["t"] - told["began"] == pytest.approx(ours, abs=0.54)


@pytest.mark.parametrize(("client", "proxy", "expected"), [(60, 0, None), (0, 60, 90), (60, 60, 90)])
def test_only_the_proxys_own_keepalive_tells_of_a_dead_database(client, proxy, expected):
    seconds = noticed(
        client_keepalive_idle_s=client,
        backend_keepalive_idle_s=proxy,
        keepalive_interval_s=10,
        watch_s=7200,
    )
    assert seconds == (None if expected is None else pytest.approx(expected, abs=0.1))
    assert question("who_asks_whom").right == "Never"


def test_the_relay_on_linux_agrees_with_the_model():
    assert agreement(recording("proxy_legs")).agrees


def test_a_dead_client_behind_a_proxy_is_never_noticed_by_the_database():
    trace = run(ProxyLegs(broken="client", watch_s=7200))
    assert not [call for call in trace.calls if call.host == "database" and call.call == "close()"]
    watched = run(ProxyLegs(broken="client", proxy_keepalive_idle_s=4, keepalive_probes=2))
    (closed,) = [call for call in watched.calls if call.host == "database" and call.call == "close()"]
    assert (closed.t - watched.watched_from) / 1e9 == pytest.approx(6, abs=0.1)
    assert question("dead_client").right.startswith("When HAProxy detects it")


def test_timeout_client_and_postgresqls_check_end_a_query_together():
    assert question("other_timer").right == "PostgreSQL cancels it after about a minute"
    alone, _ = legs("proxy_timeout_client")
    checked, back = legs("proxy_timeout_client_checked")
    assert LOST not in query(alone)["result"] and LOST in query(checked)["result"]
    timers = {front.event("haproxy.cfg")["result"] for front in (alone, checked)}
    assert len(timers) == 1 and "timeout client 3s\ntimeout server 1h" in timers.pop()
    assert any("client_connection_check_interval = '1s'" in e["call"] for e in back.sidecar["events"])


@pytest.mark.parametrize(
    ("story", "letters"),
    [
        ("timeout_server", "sD"),
        ("timeout_client", "cD"),
        ("timeout_tunnel", "--"),
        ("database_gone_keepalive", "SD"),
        ("client_gone", "CD"),
    ],
)
def test_the_letters_that_the_lesson_says_were_measured(story, letters):
    assert log(legs(f"proxy_{story}")[0]) == letters
    assert f"`{letters}`" in json.dumps(page_table("proxies"))
