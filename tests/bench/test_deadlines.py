"""Deadlines that ss does not show: of the user timeout, of a proxy's data timer, of PostgreSQL's check."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.sandboxes import need_sandbox, patient_run
from tcplab.bench import run, user_timeouts
from tcplab.bench.sandbox import Sandbox
from tcplab.core.text import MILLISECOND, seconds
from tcplab.core.trace import Deadline
from tcplab.follow import classify
from tcplab.registry import EXPERIMENTS, find


def run_of(name, **parameters):
    return run(find(name).from_values(parameters))


def shown(trace, name):
    """(when it is set, when it is over), seconds since the watch began; None: from then on there is none."""
    since = trace.watching_since
    return [
        (seconds(d.t - since), None if d.due == d.t else seconds(d.due - since))
        for d in trace.deadlines
        if d.name == name and d.t >= since
    ]


# --- TCP_USER_TIMEOUT ---


def test_it_runs_from_the_first_timeout_of_what_is_in_flight():
    trace = run_of("dead_peer", user_timeout_s=30)
    assert shown(trace, "user timeout") == [(0, 30), (0.408, 30.408), (30.408, None)]


def test_of_a_syn_it_runs_from_the_first():
    trace = run_of("unanswered_connect", user_timeout_s=10)
    assert shown(trace, "user timeout") == [(0, 10), (10, None)]


def test_without_data_in_flight_it_runs_from_the_last_segment_where_keepalive_probes():
    trace = run_of("keepalive", idle_s=60, interval_s=10, user_timeout_s=30)
    assert trace.deadlines[-2] == Deadline(
        trace.last_received("client", trace.watching_since), "client", "user timeout",
        trace.last_received("client", trace.watching_since) + 30_000 * MILLISECOND,
    )  # fmt: skip
    assert shown(trace, "user timeout") == [(69.999, None)]
    assert shown(run_of("keepalive", idle_s=0, user_timeout_s=30, watch_s=60), "user timeout") == []


def test_where_the_window_is_closed_it_runs_from_the_first_probe():
    trace = run_of("slow_reader", stops_reading_s=2, user_timeout_s=30)
    assert shown(trace, "user timeout")[-2:] == [(1.043, 30.296), (30.299, None)]


@given(st.data())
def test_whenever_the_user_timeout_ends_a_connection_its_deadline_is_just_over(data):
    name, host = data.draw(
        st.sampled_from([("dead_peer", "client"), ("client_gone", "server"), ("slow_reader", "server")])
    )
    values = {"user_timeout_s": data.draw(st.integers(2, 300)), "latency_ms": data.draw(st.integers(1, 50))}
    more = {"client_gone": {"session": "sending"}, "slow_reader": {"peer": "offline"}}.get(name, {})
    trace = run_of(name, **values, **more)
    *_, last, none = [d for d in trace.deadlines if d.host == host]
    assert none.t == none.due == trace.end_of_socket(host).t
    assert 0 <= none.t - last.due < 10 * MILLISECOND


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_without_a_timeout_there_is_no_deadline(name):
    assert run_of(name).deadlines == []


def test_linux_has_the_same_deadlines():
    need_sandbox()
    story = find("client_gone").from_values({"session": "sending", "user_timeout_s": 2, "watch_s": 7})
    with Sandbox() as sandbox:
        linux = patient_run(sandbox, story)
    assert linux.user_timeouts and not linux.deadlines
    classify(linux.packets)
    linux.deadlines = list(user_timeouts(linux))
    *_, last, none = linux.deadlines
    assert abs(seconds(none.t - last.due)) < 0.1
    assert abs(shown(linux, "user timeout")[-1][0] - shown(run(story), "user timeout")[-1][0]) < 0.3


# --- timers of programs ---


def test_data_begins_a_proxys_timer_again_and_its_end_stops_it():
    trace = run_of("proxy_legs", broken="nothing", query_s=300, proxy_idle_s=60)
    assert shown(trace, "data timer") == [(59.958, None)]
    before = [d for d in trace.deadlines if d.t < trace.watching_since]
    assert len(before) == 4 and all(d.host == "proxy" and seconds(d.due - d.t) == 60 for d in before)


def test_each_look_of_a_connection_check():
    looks = [(i, i + 1) for i in range(8)]
    trace = run_of("client_gone", check_interval_s=1, keepalive_idle_s=5)
    assert shown(trace, "connection check") == [*looks, (8, None)]
    trace = run_of("client_gone", check_interval_s=25, query_s=60)
    assert shown(trace, "connection check") == [(0, 25), (25, 50), (50, 75), (60, None)]


def test_no_more_looks_than_a_picture_shows():
    trace = run_of("client_gone", check_interval_s=0.001, query_s=3600)
    assert 1000 <= len(trace.deadlines) <= 1001
