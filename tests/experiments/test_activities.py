"""What programs do in every story: exactly in some, and nothing left to guess in any."""

import pytest

from bench.sandboxes import need_sandbox, patient_run
from tcplab.bench import run
from tcplab.bench.sandbox import Sandbox
from tcplab.core.text import seconds
from tcplab.registry import EXPERIMENTS, find


def done(name, **parameters):
    """Each activity as (seconds since the watch began, host, kind, shortest words), `!` with locks."""
    trace = run(find(name).from_values(parameters))
    return [
        (seconds(a.t - trace.watching_since), a.host, a.kind, a.words[-1] + "!" * a.locks)
        for a in trace.activities
    ]


def test_an_idle_client_and_a_server_that_waits():
    assert done("keepalive") == [(0, "client", "idle", "idle"), (0, "server", "waits", "waits")]


def test_a_client_that_asks_until_the_server_is_gone():
    asked = done("keepalive", data_every_s=5, idle_s=10, interval_s=1)
    assert [each[1:] for each in asked] == [
        ("client", "idle", "asks"), ("server", "waits", "waits"), ("client", "idle", "idle"),
    ]  # fmt: skip
    assert asked[-1][0] == 0


def test_locks_are_held_while_a_query_runs_and_while_its_rows_are_not_acknowledged():
    assert done("client_gone") == [
        (0, "client", "waits", "recv()"),
        (0, "server", "works", "runs!"),
        (60, "server", "waits", "waits!"),
        (988.896, "server", "idle", "over"),
    ]
    assert done("client_gone", session="idle", how="kill")[1:] == [
        (0, "server", "waits", "waits"), (0.001, "server", "idle", "over"),
    ]  # fmt: skip


def test_the_server_of_a_slow_reader_waits_until_the_last_byte_is_acknowledged():
    whole = done("slow_reader")
    assert whole[:2] == [(0, "client", "reads", "reads"), (0, "server", "waits", "ClientWrite!")]
    assert whole[2:] == [(20.043, "server", "idle", "done"), (25.0, "client", "idle", "has its rows")]
    broken = done("slow_reader", stops_reading_s=2, user_timeout_s=30)
    assert broken[2] == (2, "client", "idle", "does not read")
    assert broken[3:] == [(pytest.approx(30.3, abs=0.1), "server", "idle", "over")]


def test_a_long_query_behind_a_firewall():
    assert done("idle_firewall", waiting_for="long_query", quiet_s=600, keepalive_idle_s=60) == [
        (0, "client", "waits", "recv()"),
        (0, "server", "waits", "waits"),
        (0.001, "server", "works", "runs"),
        (600.001, "server", "waits", "waits"),
        (600.002, "client", "idle", "has its answer"),
    ]


def test_a_proxy_relays_until_it_closes():
    relays = [each for each in done("proxy_legs", backend_keepalive_idle_s=2) if each[1] == "proxy"]
    assert relays == [(0, "proxy", "waits", "relays"), (4.998, "proxy", "idle", "closed")]


PRESETS = [(name, preset) for name, kind in EXPERIMENTS.items() for preset in kind.presets]
#: A host whose program has no part in the story: it never gets to see a SYN, or its port is closed.
WITHOUT_PART = {"unanswered_connect": {"server"}, "fin_or_rst": {"server"}, "keepalive": {"new owner"}}


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_no_program_is_left_to_guess(name, preset):
    trace = run(find(name).from_values(find(name).presets[preset]))
    busy = {each.host for each in (*trace.activities, *trace.calls, *trace.pending)}
    hosts = {host for host, address in trace.hosts.items() if address}
    assert hosts - busy <= WITHOUT_PART.get(name, set())
    assert [each.t for each in trace.activities] == sorted(each.t for each in trace.activities)
    for each in trace.activities:
        assert each.kind in ("idle", "works", "waits", "reads")
        assert 1 <= len(each.words) <= 3 and all(each.words)
        assert list(each.words) == sorted(each.words, key=len, reverse=True)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("client_gone", {"how": "kill", "check_interval_s": 0.7, "query_s": 2}),
        ("proxy_legs", {"query_s": 1, "proxy_idle_s": 0.5, "watch_s": 2, "latency_ms": 20}),
        ("rst_in_window", {"offset": 1}),
        ("slow_reader", {"response": 100_000, "read_bytes": 32768, "read_every_s": 0.3}),
    ],
)
def test_linux_records_the_same(name, parameters):
    need_sandbox()
    story = find(name).from_values(parameters)
    with Sandbox() as sandbox:
        linux = patient_run(sandbox, story)
    model = run(story)
    for seen in (linux, model):  # by host: two of them may act at the same moment
        seen.activities.sort(key=lambda activity: activity.host)
    assert [each[1:] for each in linux.activities] == [each[1:] for each in model.activities]
    assert linux.programs == model.programs
    assert sorted((c.host, c.call, c.result) for c in linux.pending) == sorted(
        (c.host, c.call, c.result) for c in model.pending
    )
    assert [each[1:] for each in linux.breaks()] == [each[1:] for each in model.breaks()]
    for late, exact in zip(linux.activities, model.activities, strict=True):
        drift = (late.t - linux.watching_since) - (exact.t - model.watching_since)
        assert abs(seconds(drift)) < 0.4
