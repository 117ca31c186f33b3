"""pool by its contract: figures worked out by hand, and every request against SimPy's resources."""

import importlib.util
import json
import re
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplab import DeadPeer, run
from tcplab.core.knobs import ParameterError
from tcplab.pictures.studies import draw_pool
from tcplab.studies import STUDIES
from tcplab.studies.pool import MOST_REQUESTS, STEPS, Pool

CONTRACT = {
    "size": 10, "order": "lifo", "rate_per_s": 200, "arrivals": "constant", "query_ms": 5, "probe": "none",
    "probe_interval_s": 30, "bypass_window_s": 0, "max_lifetime_s": 1800, "idle_timeout_s": 0,
    "acquire_timeout_s": 30, "socket_timeout_s": 0, "retries2": 15, "breaks": "nothing", "break_at_s": 60,
    "down_s": 0, "firewall_idle_s": 350, "server_idle_s": 28800, "duration_s": 300,
}  # fmt: skip
OUTCOME = {
    "requests", "errors", "zombie_borrows", "probes", "extra_round_trips_per_s", "p50_ms", "p99_ms",
    "recovered_after_s",
}  # fmt: skip


def outcome(**values):
    return run(Pool(**values)).outcome


def restart(**values):
    return outcome(breaks="server_restart", **values)


def test_the_contract():
    assert STUDIES["pool"] is Pool
    defaults = Pool.defaults()
    assert {name: defaults[name] for name in CONTRACT} == CONTRACT
    assert defaults.keys() - CONTRACT.keys() == {"after_error", "latency_ms", "linux", "reads_idle", "seed"}
    assert outcome().keys() >= OUTCOME
    assert not Pool.sampled and set(Pool.controls) <= {field.name for field in fields(Pool)}


def test_nothing_breaks_and_nothing_fails():
    told = outcome()
    assert (told["requests"], told["errors"], told["probes"]) == (60_000, 0, 0)
    assert told["p50_ms"] == told["p99_ms"] == 7  # 5 ms of work and a round trip of 2
    assert told["recovered_after_s"] is None


def test_without_a_probe_each_connection_of_a_fifo_pool_costs_one_error():
    told = restart(order="fifo")
    # The request of 59.995 s is in flight; the other nine connections are borrowed from 60 s to 60.04 s.
    assert (told["errors"], told["zombie_borrows"], told["zombies_left"]) == (10, 9, 0)
    assert told["recovered_after_s"] == 0.04
    assert restart(order="fifo", size=25)["errors"] == 25


def test_a_lifo_pool_never_looks_at_what_lies_at_the_bottom():
    told = restart()
    assert told["errors"] + told["zombies_left"] == 10 and told["zombies_left"] == 8


def test_on_borrow_only_requests_in_flight_fail_and_each_borrow_costs_a_round_trip():
    told = restart(order="fifo", probe="test_on_borrow")
    assert (told["errors"], told["zombie_borrows"]) == (1, 9)
    assert told["probes"] == told["requests"] + 9
    assert told["p50_ms"] == 9
    assert outcome(probe="test_on_borrow")["extra_round_trips_per_s"] == 200


@pytest.mark.parametrize("order", ["fifo", "lifo"])
@pytest.mark.parametrize("probe", ["none", "test_on_borrow"])
@pytest.mark.parametrize("size", [10, 25])
def test_a_pool_that_replaces_all_after_one_error_has_one_and_no_zombie_left(order, probe, size):
    values = {"order": order, "probe": probe, "size": size, "break_at_s": 60.0137, "query_ms": 1}
    one = restart(**values, rate_per_s=10, after_error="all")
    # At 60.1 s, with all of them at rest, the first is borrowed: an error, or a probe that finds it dead.
    assert (one["errors"], one["zombie_borrows"], one["zombies_left"]) == (int(probe == "none"), 1, 0)
    each = restart(**values, rate_per_s=10)
    assert each["zombie_borrows"] + each["zombies_left"] == size


def test_what_was_given_up_is_opened_when_it_is_next_borrowed_and_the_request_waits_for_that():
    values = {"size": 4, "order": "fifo", "rate_per_s": 2, "break_at_s": 3.01, "duration_s": 10}
    trace = run(Pool(**values, breaks="server_restart", after_error="all"))
    assert trace.outcome["errors"] == 1
    lives = trace.series["connections"]
    # The error comes at 3.5 s; from then on each has its turn every 0.5 s, after a round trip of 2 ms.
    anew = sorted(since for _, since, _, state in lives if since and state == "alive")
    assert anew == pytest.approx([4.002, 4.502, 5.002, 5.502])
    assert [until for *_, until, state in lives if state == "zombie"] == pytest.approx([3.5] * 4, abs=0.01)
    # Last in first out: nobody borrows the others, and nobody needs them.
    lifo = run(Pool(**values | {"order": "lifo"}, breaks="server_restart", after_error="all"))
    assert len([each for each in lifo.series["connections"] if each[1]]) - 4 == 1


def test_an_error_in_use_gives_up_what_rests():
    values = {"size": 4, "order": "fifo", "rate_per_s": 20, "break_at_s": 1.51, "query_ms": 90}
    told = restart(**values, duration_s=10, after_error="all")
    assert (told["errors"], told["zombie_borrows"]) == (2, 0), "the two in use at the break"


def test_a_bypass_window_saves_the_probes_of_a_busy_pool_and_lets_the_fresh_dead_through():
    told = restart(order="fifo", probe="test_on_borrow", bypass_window_s=0.5)
    # Each connection has its turn every 50 ms.
    assert told["errors"] == 10 and told["p50_ms"] == 7
    assert told["probes"] < 30


def test_on_return_costs_as_much_and_helps_nobody():
    told = restart(order="fifo", probe="test_on_return")
    assert told["errors"] + told["zombies_left"] >= 9 and told["p50_ms"] == 7
    assert told["probes"] == pytest.approx(told["requests"], abs=10)


def test_while_idle_finds_the_dead_at_the_next_round():
    told = restart(order="lifo", probe="test_while_idle", break_at_s=59.99)
    assert told["zombies_left"] == 0
    assert told["errors"] < restart(order="fifo")["errors"]


@pytest.mark.parametrize("probe", ["test_while_idle", "background_ping"])
def test_the_series_has_every_probe_of_an_idle_connection(probe):
    trace = run(Pool(probe=probe, probe_interval_s=30, rate_per_s=1, duration_s=100))
    assert sum(trace.series["probed"]) == trace.outcome["probes"] > 0
    asked = [t for t, count in zip(trace.series["t_s"], trace.series["probed"], strict=True) if count]
    assert asked[0] == pytest.approx(30, abs=1)


def test_a_silent_drop_costs_what_dead_peer_says():
    told = outcome(
        breaks="silent_drop", size=1, rate_per_s=0.5, duration_s=3, break_at_s=1, acquire_timeout_s=0
    )
    detected = run(DeadPeer()).outcome["detected_after_s"]
    assert told["errors"] == told["zombie_borrows"] == 1
    assert told["p99_ms"] == pytest.approx(detected * 1000)
    short = outcome(
        breaks="silent_drop", size=1, rate_per_s=0.5, duration_s=3, break_at_s=1, socket_timeout_s=4
    )
    assert short["p99_ms"] == 4000


def test_what_was_acknowledged_waits_for_ever():
    values = {"breaks": "silent_drop", "size": 1, "rate_per_s": 0.1, "duration_s": 5, "query_ms": 3000}
    told = outcome(**values, break_at_s=1)
    assert told["errors"] == 1 and told["p99_ms"] is None and told["recovered_after_s"] is None
    assert outcome(**values, break_at_s=1, socket_timeout_s=4)["p99_ms"] == 4000


def test_while_the_server_is_down_requests_wait_for_a_connection():
    told = restart(order="fifo", down_s=5)
    # Ten meet a dead connection; from 60.05 s on nobody fails, and all are served when it is back.
    assert (told["errors"], told["acquire_timeouts"]) == (10, 0)
    assert restart(order="fifo", down_s=5, acquire_timeout_s=1)["acquire_timeouts"] > 700


def test_idle_is_not_age_behind_a_firewall():
    rare = {"order": "fifo", "rate_per_s": 0.01, "duration_s": 7200, "breaks": "idle_firewall"}
    assert outcome(**rare)["errors"] > 0
    told = outcome(**rare, probe="background_ping", probe_interval_s=300)
    assert (told["errors"], told["zombie_borrows"], told["zombies_left"]) == (0, 0, 0)
    assert (
        outcome(**rare, probe="background_ping", probe_interval_s=351)["zombie_borrows"] == 0
    )  # found by it
    assert outcome(**rare, idle_timeout_s=340)["errors"] == 0


def test_a_server_that_closes_what_is_idle():
    rare = {"order": "fifo", "rate_per_s": 0.01, "duration_s": 3000, "breaks": "server_idle_close"}
    told = outcome(**rare, server_idle_s=600)
    assert told["errors"] == told["zombie_borrows"] == 24  # all but the requests up to 500 s
    assert outcome(**rare)["errors"] == 0


def test_the_curves_count_every_request():
    trace = run(Pool(breaks="server_restart", order="fifo"))
    series = trace.series
    assert {len(series[name]) for name in ("t_s", "requests", "errors", "slowest_ms")} == {STEPS}
    assert sum(series["requests"]) == 60_000 and sum(series["errors"]) == 10
    # Of the nine one is borrowed, and found dead, at the very moment of the break.
    lives = [each for each in series["connections"] if each[3] == "zombie"]
    assert len(lives) == 8 and all(since == 60 and until < 60.05 for _, since, until, _ in lives)
    assert len([each for each in series["connections"] if each[3] == "alive"]) == 20
    json.dumps(trace.to_json(), allow_nan=False)


def test_the_same_seed_gives_the_same_run():
    values = {"arrivals": "poisson", "breaks": "silent_drop", "socket_timeout_s": 2}
    assert run(Pool(**values)) == run(Pool(**values))
    assert run(Pool(**values)).series != run(Pool(**values, seed=2)).series


@pytest.mark.parametrize("preset", Pool.presets)
def test_presets_have_a_sentence_and_a_picture_that_plotly_takes(preset):
    trace = run(Pool.from_values(Pool.presets[preset]))
    said = Pool.from_values(trace.parameters).sentence(trace)
    assert said.endswith(".") and "None" not in said and "nan" not in said
    picture = draw_pool(trace)
    import plotly.graph_objects as go

    go.Figure(data=picture.data, layout=picture.layout)


def test_a_lone_request_is_a_line_as_long_as_its_step():
    trace = run(Pool(breaks="server_restart", order="fifo", rate_per_s=0.1))
    (slowest,) = (each for each in draw_pool(trace).data if each["name"] == "slowest request")
    t, ms = slowest["x"], slowest["y"]
    (first, *_) = (i for i, value in enumerate(ms) if value)
    assert ms[first : first + 3] == [7, 7, None] and t[first] < t[first + 1] == t[first + 2]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"size": 0}, r"size = 0 is out of range: 1 to 1000\."),
        ({"probe": "ping"}, r"probe = 'ping' is not one of none, test_on_borrow"),
        ({"rate_per_s": 100_000}, rf"rate_per_s = 100000 .* at most {MOST_REQUESTS:,}\."),
        (
            {"socket_timeout_s": 0.005},
            r"socket_timeout_s = 0\.005 ends every request: an answer takes 0\.007 s",
        ),
        ({"breaks": "idle_firewall", "firewall_idle_s": 0.001}, r"firewall_idle_s = 0\.001 ends every"),
        ({"max_lifetime_s": 0.1}, r"max_lifetime_s = 0\.1 is too short"),
        (
            {"probe": "background_ping", "probe_interval_s": 0.001, "size": 1000},
            r"probe_interval_s = 0\.001 ",
        ),
    ],
)
def test_nonsense_is_answered_in_one_sentence(values, says):
    with pytest.raises(ParameterError) as told:
        Pool(**values)
    assert re.search(says, str(told.value)) and "\n" not in str(told.value)


def peer():
    """SimPy's resources, which the benchmark plays too."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "pool.py"
    spec = importlib.util.spec_from_file_location("pool_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PEER = peer()
#: No timer and no query divides the steps of another: what happens at one moment has no order in SimPy.
drawn = st.builds(
    Pool,
    size=st.integers(1, 5),
    order=st.sampled_from(["lifo", "fifo"]),
    rate_per_s=st.sampled_from([20, 90, 300]),
    arrivals=st.just("poisson"),
    query_ms=st.sampled_from([3.331, 17.77, 61.913]),
    probe=st.sampled_from(["none", "test_on_borrow", "test_on_return"]),
    max_lifetime_s=st.just(0),
    acquire_timeout_s=st.sampled_from([0, 0.70707]),
    socket_timeout_s=st.sampled_from([0.303131, 1.10101]),
    breaks=st.sampled_from(["nothing", "server_restart", "silent_drop"]),
    break_at_s=st.sampled_from([0.51113, 1.0177]),
    down_s=st.sampled_from([0, 0.33371]),
    after_error=st.sampled_from(["this_one", "all"]),
    duration_s=st.just(3),
    seed=st.integers(0, 50),
)


@given(drawn)
@settings(max_examples=120, deadline=None)
def test_every_request_fares_as_with_simpy(pool):
    plan = pool.plan()
    assert PEER.answers(plan) == PEER.with_simpy(plan)


anything = st.builds(
    Pool,
    size=st.integers(1, 6),
    order=st.sampled_from(["lifo", "fifo"]),
    rate_per_s=st.sampled_from([0.3, 5, 80]),
    arrivals=st.sampled_from(["constant", "poisson"]),
    query_ms=st.sampled_from([0, 5, 90]),
    probe=st.sampled_from(["none", "test_on_borrow", "test_on_return", "test_while_idle", "background_ping"]),
    probe_interval_s=st.sampled_from([0.5, 1, 3]),
    bypass_window_s=st.sampled_from([0, 0.1]),
    max_lifetime_s=st.sampled_from([0, 1, 4.5]),
    idle_timeout_s=st.sampled_from([0, 1, 2]),
    acquire_timeout_s=st.sampled_from([0, 0.5]),
    socket_timeout_s=st.sampled_from([0, 0.7]),
    retries2=st.sampled_from([1, 15]),
    breaks=st.sampled_from(
        ["nothing", "server_restart", "silent_drop", "idle_firewall", "server_idle_close"]
    ),
    break_at_s=st.sampled_from([0, 5, 7.3, 100]),
    down_s=st.sampled_from([0, 2]),
    after_error=st.sampled_from(["this_one", "all"]),
    firewall_idle_s=st.sampled_from([0.4, 2]),
    server_idle_s=st.sampled_from([0.4, 2]),
    duration_s=st.just(12),
)


@given(anything)
@settings(max_examples=150, deadline=None)
def test_every_request_is_counted_once_and_no_row_holds_two_connections(pool):
    try:
        trace = pool.simulated()
    except ParameterError as endless:
        assert "reopened indefinitely" in str(endless)
        return
    told, series = trace.outcome, trace.series
    assert sum(series["requests"]) == told["requests"] and sum(series["errors"]) == told["errors"]
    assert told["errors"] <= told["requests"] and told["acquire_timeouts"] <= told["errors"]
    if pool.breaks == "nothing":
        assert not told["zombie_borrows"] and not told["zombies_left"]
        assert told["errors"] == told["acquire_timeouts"]
    if told["p50_ms"] is not None and told["p99_ms"] is not None:
        assert told["p50_ms"] <= told["p99_ms"]
    for (row, _, until, _), (other, since, _, _) in pairwise(series["connections"]):
        assert row != other or until <= since
    assert {row for row, *_ in series["connections"]} <= set(range(pool.size))
    said = pool.sentence(trace)
    assert said.endswith(".") and "None" not in said


def test_what_is_too_old_is_replaced_once_idle():
    series = run(Pool(size=2, max_lifetime_s=100, duration_s=250)).series
    # Each lives for 100 s, and its successor begins a handshake later.
    assert len(series["connections"]) == 6
    assert run(Pool(size=2, max_lifetime_s=100, duration_s=250)).outcome["errors"] == 0


def test_what_is_unused_is_closed_and_comes_back_when_it_is_needed():
    trace = run(Pool(size=4, idle_timeout_s=10, rate_per_s=1, duration_s=100))
    assert trace.outcome["errors"] == 0
    assert sorted(until for _, _, until, _ in trace.series["connections"])[:3] == [10, 10, 10]
    lonely = outcome(size=1, idle_timeout_s=10, rate_per_s=0.05, duration_s=100)
    assert lonely["p99_ms"] == 9  # a handshake before the request


def test_a_pool_that_goes_round_for_ever_is_stopped_in_a_sentence():
    """While one connection is being found dead, the firewall's entry expires the idle others."""
    pool = Pool(
        size=3, rate_per_s=1, probe="test_on_borrow", socket_timeout_s=0.7, acquire_timeout_s=0,
        breaks="idle_firewall", firewall_idle_s=0.4, duration_s=12,
    )  # fmt: skip
    with pytest.raises(ParameterError, match="closed before they can serve a request"):
        pool.simulated()
