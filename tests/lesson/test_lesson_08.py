"""The right answers of lesson 08 against the study, and the study against what real pools did."""

import pytest

from recordings.captures import STORED, Capture
from recordings.test_between import SIZE, after, close_wait, errors, requests
from tcplab import DeadPeer, Pool, run
from tcplab.capture.capture import read_capture
from tcplab.core.catalogue import setting
from tcplab.core.segment import FIN
from tcplab.lesson import ask
from tcplab.lesson.page import page_table

NIGHT = {"order": "fifo", "rate_per_s": 0.01, "duration_s": 7200, "breaks": "idle_firewall"}
#: As recorded: one request after another, and a break while all of the pool's connections rest.
RECORDED = {"rate_per_s": 10, "break_at_s": 2.05, "duration_s": 5, "query_ms": 1, "latency_ms": 0.1}


def question(name):
    return ask("pools_and_probes", name)


def outcome(**settings):
    return run(Pool(**settings)).outcome


# The questions ---------------------------------------------------------------------------------


def test_twenty_closes_send_no_fin():
    assert question("closes").right == "Nothing"
    broken = Capture("pool_queue_fifo").event("pg_ctl restart")["t"]
    trace = read_capture(STORED / "pool_queue_fifo.pcap").connection(0)
    fins = [p for p in trace.packets if p.segment.flags & FIN and p.sender == "client"]
    assert len([each for each in requests("pool_queue_fifo") if each["t"] < broken]) == 20
    assert all((p.t - trace.start) / 1e9 > broken - 0.2 for p in fins)


def test_idle_is_not_age():
    assert "rests for 1,000 s" in question("max_lifetime").right
    assert Pool.defaults()["max_lifetime_s"] == setting("hikaricp", "maxLifetime").seconds == 1800
    assert Pool.defaults()["size"] / NIGHT["rate_per_s"] == 1000
    assert outcome(**NIGHT)["errors"] > 40
    assert outcome(**NIGHT, max_lifetime_s=340)["errors"] == 0
    assert outcome(**NIGHT, probe="background_ping", probe_interval_s=300)["errors"] == 0
    assert outcome(**NIGHT, probe="background_ping", probe_interval_s=400)["errors"] > 40


@pytest.mark.parametrize("at", [60, 60.001, 60.0037, 61.5])
def test_a_restart_costs_a_fifo_pool_one_request_for_each_connection(at):
    told = outcome(breaks="server_restart", order="fifo", break_at_s=at)
    assert told["errors"] == question("restart").right == SIZE
    assert told["recovered_after_s"] <= 0.05
    assert outcome(breaks="server_restart", order="fifo", break_at_s=at, rate_per_s=1)["errors"] == SIZE


def test_the_other_nine_stay_where_they_are():
    told = outcome(breaks="server_restart", order="lifo", rate_per_s=10)
    assert (told["errors"], told["zombies_left"]) == (1, 9)
    assert "dead, until" in question("the_other_nine").right
    assert outcome(breaks="server_restart", order="lifo", rate_per_s=1200)["errors"] == SIZE


def test_silence_lasts_as_long_as_linux_sends_again():
    right = question("silence")
    told = outcome(breaks="silent_drop", duration_s=1200)
    assert told["recovered_after_s"] == pytest.approx(right.right, rel=right.tolerance / 2)
    assert run(DeadPeer()).outcome["detected_after_s"] == pytest.approx(right.right, rel=right.tolerance)
    assert told["acquire_timeouts"] == told["errors"] - SIZE, "all others waited for a connection"
    assert outcome(breaks="silent_drop", socket_timeout_s=5, duration_s=1200)["errors"] == SIZE


def test_shorter_errors_are_more_errors_at_night():
    slow, fast = outcome(**NIGHT), outcome(**NIGHT, socket_timeout_s=5)
    assert (slow["errors"], fast["errors"]) == (44, 68)
    assert slow["p99_ms"] == pytest.approx(929_000, rel=0.01) and fast["p99_ms"] == 5000


def test_keepalive_keeps_an_entry_alive_and_tells_the_pool_nothing():
    assert outcome(**NIGHT, probe="tcp_keepalive", probe_interval_s=300)["errors"] == 0
    assert outcome(**NIGHT, probe="tcp_keepalive", probe_interval_s=400)["errors"] == 44
    restarted = outcome(breaks="server_restart", probe="tcp_keepalive", probe_interval_s=1, rate_per_s=10)
    assert restarted["zombies_left"] == 9 and restarted["probes"] == 0


def test_a_silent_connection_fails_at_once_after_three_lost_probes():
    """The next use finds the error that keepalive has left: no wait of 929 s, and still an error."""
    values = {
        "breaks": "silent_drop",
        "order": "fifo",
        "rate_per_s": 0.1,
        "duration_s": 600,
        "break_at_s": 65,
    }
    run_ = run(Pool(**values, probe="tcp_keepalive", probe_interval_s=5))
    took = [until - since for since, until in run_.series["failed"]]
    assert len(took) >= 6 and max(took[3:]) == 0


def test_behind_a_proxy_only_the_database_knows():
    values = {"breaks": "database_behind_proxy", "break_at_s": 65, "rate_per_s": 0.1, "duration_s": 600}
    assert question("layers").right == "Never"
    kept = outcome(**values, probe="tcp_keepalive", probe_interval_s=4)
    assert kept["errors"] and kept["zombies_left"] == SIZE and kept["recovered_after_s"] is None
    assert outcome(**values, probe="test_on_borrow")["recovered_after_s"] is None, "a test without a limit"
    assert outcome(**values, probe="test_on_borrow", socket_timeout_s=2)["errors"] == 0


def test_wait_timeout_is_a_reset_and_leaves_no_close_wait():
    capture = Capture("mariadb_wait_timeout")
    assert not capture.having("F", "server") and capture.having("R", "server")
    states = {each["state"] for each in capture.sidecar["states"]}
    assert "CLOSE-WAIT" not in states and "CLOSED" in states
    assert "2006" in page_table("pools_and_probes")["proofs"]["mariadb_wait_timeout"]["line"]


def test_the_lines_of_the_proofs_say_what_was_recorded():
    lines = {name: proof["line"] for name, proof in page_table("pools_and_probes")["proofs"].items()}
    assert "10 in `CLOSE-WAIT`, ten errors" in lines["pool_psycopg"]
    assert close_wait(Capture("pool_psycopg"))[0] == len(errors("pool_psycopg")) == 10
    assert "one error, and 9 in" in lines["pool_queue_lifo"] and len(errors("pool_queue_lifo")) == 1
    assert close_wait(Capture("pool_queue_lifo")) == [10, 9]
    assert len(errors("pool_engine")) == 1 and not errors("pool_engine_pre_ping")
    slow = [took for took, result in after("pool_dropped") if result != "ok"]
    assert len(slow) == 10 and round(min(slow), 1) >= 2.4 and round(max(slow), 1) <= 2.7
    assert "2.4 to 2.7 s" in lines["pool_dropped"]
    assert max(took for took, _ in after("pool_dropped_pre_ping")) == pytest.approx(2.4, abs=0.05)


def test_a_test_on_borrow_costs_the_way_there_and_back():
    told = outcome(probe="test_on_borrow", query_ms=5, latency_ms=10)
    assert told["p50_ms"] == question("price").right
    assert outcome(query_ms=5, latency_ms=10)["p50_ms"] in question("price").common


def test_only_what_is_in_flight_is_left():
    tested = {"order": "fifo", "probe": "test_on_borrow", "socket_timeout_s": 1, "rate_per_s": 50}
    resting = outcome(breaks="server_restart", break_at_s=60.0103, **tested)
    assert resting["errors"] == 0, "every query is over when the server restarts"
    assert outcome(breaks="server_restart", query_ms=100, **tested)["errors"] == 5
    assert outcome(breaks="silent_drop", break_at_s=60.0103, **tested)["errors"] == 0


# The study and real pools ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("pool_psycopg", {"order": "fifo"}),
        ("pool_psycopg_immediate", {"order": "fifo"}),
        ("pool_queue_fifo", {"order": "fifo"}),
        ("pool_queue_lifo", {"order": "lifo"}),
        ("pool_engine", {"order": "fifo", "after_error": "all"}),
        ("pool_engine_pre_ping", {"order": "fifo", "after_error": "all", "probe": "test_on_borrow"}),
    ],
)
def test_the_study_counts_as_many_errors_as_a_real_pool_had(name, settings):
    told = outcome(**RECORDED, breaks="server_restart", **settings)
    assert told["errors"] == len(errors(name))
    if "after_error" in settings:
        assert (told["zombie_borrows"], told["zombies_left"]) == (1, 0)
    else:
        assert told["errors"] + told["zombies_left"] == SIZE


def test_an_engine_opens_its_connections_anew_one_by_one_as_the_study_does():
    """The error, then ten requests each on a connection of its own, then the first of them again."""
    ports = [each["port"] for each in requests("pool_engine")]
    before, broken, later = set(ports[:20]), ports[20], ports[21:]
    assert broken in before and not before & set(later)
    assert len(set(later[:SIZE])) == SIZE and later[SIZE:] == later[: len(later) - SIZE]
    study = run(Pool(**RECORDED, breaks="server_restart", order="fifo", after_error="all"))
    anew = sorted(since for _, since, _, state in study.series["connections"] if since and state == "alive")
    assert anew == pytest.approx([2.2 + k / 10 for k in range(SIZE)], abs=0.001)


def test_one_test_of_a_silent_connection_is_enough_for_an_engine_and_for_the_study():
    values = RECORDED | {"rate_per_s": 0.4, "break_at_s": 50.1, "duration_s": 100}
    values |= {"breaks": "silent_drop", "order": "fifo", "socket_timeout_s": 2.4, "probe": "test_on_borrow"}
    told = run(Pool(**values, after_error="all"))
    assert told.outcome["zombie_borrows"] == 1 and not told.outcome["errors"]
    assert run(Pool(**values)).outcome["zombie_borrows"] == SIZE
    recorded = [took for took, result in after("pool_dropped_pre_ping")]
    slow = [took for took in recorded if took > 1]
    assert len(slow) == 1 and not errors("pool_dropped_pre_ping")
    assert slow[0] * 1000 == pytest.approx(max(most for most in told.series["slowest_ms"] if most), rel=0.2)


def test_a_silent_drop_takes_the_study_as_long_as_a_real_pool():
    limit = run(DeadPeer(user_timeout_s=2, latency_ms=0.1)).outcome["detected_after_s"]
    told = run(
        Pool(
            **RECORDED | {"rate_per_s": 0.4, "break_at_s": 50.1, "duration_s": 100},
            breaks="silent_drop",
            order="fifo",
            socket_timeout_s=limit,
        )
    )
    seconds = [took for took, result in after("pool_dropped") if result != "ok"]
    assert told.outcome["errors"] == len(seconds) == SIZE
    slowest = max(most for most in told.series["slowest_ms"] if most) / 1000
    assert slowest == limit
    assert all(limit - 0.03 <= took <= 1.08 * limit + 0.3 for took in seconds)


def test_what_the_study_cannot_say_is_what_the_lesson_says_it_cannot():
    checked = outcome(**RECORDED, breaks="server_restart", order="fifo", probe="test_on_borrow")
    assert checked["errors"] == 0 and len(errors("pool_psycopg_checked")) == 1, "psycopg_pool's check rests"


# The defaults that the lesson compares ---------------------------------------------------------


@pytest.mark.parametrize(
    ("product", "name", "value"),
    [
        ("hikaricp", "maximumPoolSize", 10),
        ("hikaricp", "keepaliveTime", 120_000),
        ("hikaricp", "idleTimeout", 600_000),
        ("hikaricp", "com.zaxxer.hikari.aliveBypassWindowMs", 500),
        ("mysql", "wait_timeout", 28_800),
        ("jedis", "timeBetweenEvictionRuns", 30_000),
        ("redisson", "pingConnectionInterval", 30_000),
        ("sqlalchemy", "pool_use_lifo", False),
        ("commons_pool2", "lifo", True),
    ],
)
def test_the_figures_of_the_prose_are_the_catalogues(product, name, value):
    assert setting(product, name).default == value


def test_hikari_takes_nothing_below_half_a_minute():
    assert {setting("hikaricp", name).low for name in ("maxLifetime", "keepaliveTime")} == {30_000}


def test_the_order_in_which_the_real_pools_lend_is_that_of_their_source():
    """What the lesson says of psycopg_pool and SQLAlchemy, asked of the installed ones without a database."""
    sqlalchemy = pytest.importorskip("sqlalchemy.util.queue")
    queue = sqlalchemy.Queue(3)
    for each in "abc":
        queue.put(each)
    assert [queue.get() for _ in range(3)] == list("abc")
    lifo = sqlalchemy.Queue(3, use_lifo=True)
    for each in "abc":
        lifo.put(each)
    assert [lifo.get() for _ in range(3)] == list("cba")
