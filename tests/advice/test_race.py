"""The race of timers: ten situations, each with the timer that decides, and what it is worth."""

from dataclasses import replace
from math import inf

import pytest

from tcplab import ClientGone, DeadPeer, IdleFirewall, Keepalive, UnansweredConnect, run
from tcplab.advice import Environment, Leg, MiddleboxSettings
from tcplab.advice.environment import known_middleboxes
from tcplab.advice.race import race
from tcplab.advice.race_lanes import (
    ASSUMED,
    DECIDED,
    FIRES,
    FORGETS,
    IN_TIME,
    KINDS,
    LIVES,
    NEVER,
    PART,
    READ,
    READY,
    RESTARTS,
    SITUATIONS,
    TOO_LATE,
    UNKNOWN,
    USELESS,
    VERDICTS,
    compared,
)

BOX = known_middleboxes()
#: Retransmissions of Linux end after 15 retries; connect() after 6.
QUARTER = run(DeadPeer()).outcome["detected_after_s"]
NOWHERE = run(UnansweredConnect()).outcome["gave_up_after_s"]

SHOP = Environment(
    database="postgresql", driver="pgjdbc", pool="hikaricp", proxies=("pgbouncer",),
    legs=(
        Leg("application to PgBouncer", (BOX["AWS NLB"],)),
        Leg("PgBouncer to PostgreSQL", (MiddleboxSettings("EC2 connection tracking", 432_000),)),
    ),
    longest_silent_query_s=900, longest_idle_s=3600, instances=8, pool_size=30, connects_per_s=2,
    outage_s=60, promotion_s=60,
    settings={
        "hikaricp.maximumPoolSize": 30, "hikaricp.connectionTimeout": 5000, "pgjdbc.connectTimeout": 10,
        "pgbouncer.max_client_conn": 500, "pgbouncer.default_pool_size": 50,
        "postgresql.max_connections": 400, "postgresql.tcp_keepalives_idle": 300,
        "postgresql.tcp_keepalives_interval": 30, "postgresql.tcp_keepalives_count": 2,
    },
)  # fmt: skip
PROBES = {
    "pgjdbc.tcpKeepAlive": True, "linux.net.ipv4.tcp_keepalive_time": 30,
    "linux.net.ipv4.tcp_keepalive_intvl": 9, "linux.net.ipv4.tcp_keepalive_probes": 3,
}  # fmt: skip
OF_PGBOUNCER = {
    "pgbouncer.tcp_keepidle": 30, "pgbouncer.tcp_keepintvl": 9, "pgbouncer.tcp_keepcnt": 3,
    "pgbouncer.tcp_user_timeout": 52_500,
}  # fmt: skip


def with_(environment, **settings):
    return replace(environment, settings={**environment.settings, **settings})


def kinds(lane):
    return {each.timer: each.kind for each in lane.events}


# --- the lanes of the first example, one by one -----------------------------------------------------


def test_a_ping_keeps_an_idle_session():
    lane = race(SHOP).of("idle_session")[0]
    assert (lane.verdict, lane.winner, lane.heard_s) == (LIVES, "keepaliveTime", None)
    assert kinds(lane)["keepaliveTime"] == RESTARTS
    # Without a ping it is lives no more: HikariCP's own lifetime is longer than the balancer's timer.
    quiet = with_(SHOP, **{"hikaricp.keepaliveTime": 0})
    [lane] = [each for each in race(quiet).of("idle_session") if each.leg == 0]
    assert lane.winner == "AWS NLB idle timer" and lane.breaks_s == 350
    assert kinds(lane)["AWS NLB idle timer"] == FORGETS
    # What stands behind it answers with a RST; the pool's test at the checkout meets it at once.
    assert (lane.verdict, lane.until_s) == (IN_TIME, pytest.approx(0, abs=0.1))


def test_a_silent_query_that_the_balancer_forgets_never_returns():
    lane = race(SHOP)["silent_query"]
    same = IdleFirewall(firewall_idle_s=350, expired="reject", quiet_s=900, waiting_for="long_query")
    assert run(same).outcome["error"] is None
    assert (lane.verdict, lane.heard_s, lane.leg, lane.breaks_s) == (NEVER, inf, 0, 350)
    assert kinds(lane) == {
        "AWS NLB idle timer": FORGETS, "answer ready": READY, "PgBouncer keepalive": "would"
    }  # fmt: skip
    assert race(SHOP).broken[0] == lane


def test_a_read_timeout_gives_the_caller_an_error_and_no_answer():
    lane = race(with_(SHOP, **{"pgjdbc.socketTimeout": 600}))["silent_query"]
    assert (lane.verdict, lane.heard_s, lane.breaks_s) == (TOO_LATE, 600, 350)
    lane = race(with_(SHOP, **{"pgjdbc.socketTimeout": 300}))["silent_query"]
    assert (lane.winner, lane.heard_s) == ("socketTimeout", 300)
    assert "its answer never arrives" in lane.says


def test_a_server_that_dies_by_the_models_own_runs():
    lanes = race(SHOP)
    waiting, sending, idle = (lanes[f"server_dies_{wait}"] for wait in ("waiting", "sending", "idle"))
    assert (waiting.verdict, waiting.heard_s, waiting.winner, waiting.leg) == (NEVER, inf, "", 0)
    assert (sending.verdict, sending.heard_s, sending.winner) == (TOO_LATE, QUARTER, "tcp_retries2")
    # The pool's own test ends after 5 s; PgBouncer's server has none, and is the worse leg.
    assert [(each.winner, each.heard_s) for each in lanes.of("server_dies_idle")] == [
        ("validationTimeout", 5), ("PgBouncer tcp_retries2", QUARTER)
    ]  # fmt: skip
    assert idle.leg == 1
    behind = lanes.of("server_dies_waiting")[1]
    assert behind.heard_s == run(Keepalive(peer="offline")).outcome["detected_after_s"] == 7875


def test_a_failover_is_a_sum_and_its_parts_run_beside_each_other():
    lane = race(SHOP)["failover"]
    connect = 15  # PgBouncer's server_connect_timeout
    assert lane.heard_s == 7875 + connect and lane.winner == "PgBouncer keepalive: old sessions"
    mended = race(with_(SHOP, **OF_PGBOUNCER))["failover"]
    # 15 s: PgBouncer's dns_max_ttl
    assert (mended.heard_s, mended.winner) == (60 + 15 + connect, "promotion + name")
    assert kinds(mended)["promotion"] == PART
    assert race(replace(SHOP, promotion_s=0))["failover"].verdict == UNKNOWN


def test_the_end_behind_the_last_proxy_must_notice_a_dead_client():
    """PgBouncer's 7875 s, not PostgreSQL's 360 s, and it is PostgreSQL's probes that can't help."""
    lane = race(SHOP)["client_dies"]
    gone = run(ClientGone(how="vanish", session="idle_in_transaction", keepalive_idle_s=7200,
                          keepalive_interval_s=75, keepalive_probes=9))  # fmt: skip
    assert lane.heard_s == pytest.approx(gone.outcome["noticed_after_s"])
    assert (lane.winner, lane.verdict) == ("PgBouncer keepalive", TOO_LATE)
    assert kinds(lane)["PostgreSQL keepalive"] == USELESS
    short = with_(SHOP, **{"postgresql.idle_in_transaction_session_timeout": 30_000})
    assert race(short)["client_dies"].winner == "idle_in_transaction_session_timeout"


def test_connecting_and_the_pool():
    lanes = race(SHOP)
    assert lanes.of("connect_nowhere")[0].winner == "connectionTimeout"
    assert {each.t_s for each in lanes.of("connect_nowhere")[0].events} == {5, 10, NOWHERE}
    full = lanes["pool_exhausted"]
    assert (full.heard_s, full.verdict, full.until_s) == (5, NEVER, inf)
    assert full.message == "Connection is not available, request timed out after 5000ms"
    assert full.left == "all 30 connections"
    assert "pool_exhausted" not in [lane.key for lane in race(replace(SHOP, pool="")).lanes]


def test_ports_only_where_the_rate_exceeds_the_limit():
    assert "ports" not in [lane.key for lane in race(SHOP).lanes]
    lane = race(replace(SHOP, connects_per_s=500))["ports"]
    assert lane.breaks_s == pytest.approx(28_232 / 500, abs=1) and lane.is_broken


# --- what a remedy does -----------------------------------------------------------------------------


def test_remedies_move_the_winner_and_are_drawn_as_decided():
    after = race(with_(SHOP, **PROBES, **OF_PGBOUNCER), decided=[*PROBES, *OF_PGBOUNCER])
    waiting = after.of("server_dies_waiting")[0]
    assert (waiting.heard_s, waiting.winner, waiting.verdict) == (57, "TCP keepalive", IN_TIME)
    assert waiting.decided_by.source == DECIDED
    assert after["silent_query"].verdict == LIVES
    said = compared(race(SHOP), after)
    assert said.startswith("7 too late → 4.") and "Still too late: E" in said


def test_the_switch_alone_only_moves_never_to_two_hours():
    """D21: one remedy is the switch with its three times."""
    lane = race(with_(SHOP, **{"pgjdbc.tcpKeepAlive": True})).of("server_dies_waiting")[0]
    assert (lane.heard_s, lane.verdict) == (7875, TOO_LATE)


def test_where_a_number_comes_from():
    lane = race(SHOP)["connect_nowhere"]
    sources = {each.timer: each.source for each in race(SHOP).of("connect_nowhere")[0].events}
    assert sources == {"connectionTimeout": READ, "connectTimeout": READ, "tcp_syn_retries": ASSUMED}
    assert lane.situation.clock == "from the SYN"


# --- shared connections, local legs, deadlines ------------------------------------------------------


def test_a_shared_connection_has_two_times():
    """StackExchange.Redis#1848: each command fails, the one connection stays."""
    here = Environment(
        database="redis", driver="lettuce", legs=(Leg("a", (BOX["Azure Load Balancer"],)),), outage_s=60,
        longest_idle_s=1800, settings={"lettuce.keepAlive": False, "lettuce.timeout": 5},
    )  # fmt: skip
    lanes = race(here)
    for wait in ("waiting", "sending"):
        lane = lanes[f"server_dies_{wait}"]
        assert (lane.heard_s, lane.until_s, lane.verdict) == (5, QUARTER, TOO_LATE)
    idle = lanes["idle_session"]
    assert (idle.winner, idle.breaks_s) == ("Azure Load Balancer idle timer", 240)
    assert idle.until_s == pytest.approx(QUARTER, abs=0.5)
    assert "silent_query" not in [lane.key for lane in lanes.lanes]
    # 300 s and three probes 100 s apart
    assert lanes["client_dies"].heard_s == 600


def test_nothing_gets_lost_between_two_programs_on_one_host():
    legs = (Leg("to the sidecar", is_local=True), SHOP.legs[1])
    lanes = race(replace(SHOP, legs=legs))
    assert {lane.leg for lane in lanes.of("server_dies_waiting")} == {1}
    assert {lane.leg for lane in lanes.of("idle_session")} == {0, 1}


# --- what is not known, and what is written ---------------------------------------------------------


def test_without_numbers_nothing_is_called_in_time():
    lanes = race(Environment())
    for lane in lanes.lanes:
        assert lane.verdict in (UNKNOWN, LIVES)
        assert (lane.verdict == UNKNOWN) == bool(lane.needs)
    assert lanes.sentence.startswith("Nothing breaks in 2 situations. Not known: ")


def test_what_is_unlimited_is_never_and_no_number():
    import json

    written = race(SHOP).to_json()
    text = json.dumps(written, allow_nan=False)
    assert "Infinity" not in text
    by_key = {lane["key"]: lane for lane in written["lanes"]}
    assert list(by_key) == [key for key in SITUATIONS if key not in ("ports", "ghost", "slow_reader")]
    assert by_key["server_dies_waiting"]["heard_s"] is None
    for lane in written["lanes"]:
        assert lane["verdict"] in VERDICTS and lane["letter"] == SITUATIONS[lane["key"]].letter
        assert all(each["kind"] in KINDS for each in lane["events"])
    assert {each["name"] for each in written["counts"]} >= {"places at PgBouncer"}


def test_every_lane_has_its_sentence_and_its_winner_fires():
    for environment in (SHOP, with_(SHOP, **PROBES), Environment(outage_s=30, database="mysql")):
        for lane in race(environment).on_legs:
            assert lane.sentence.startswith(lane.situation.letter) and lane.says.endswith(".")
            if lane.winner:
                assert lane.decided_by.kind in (FIRES, FORGETS, RESTARTS, PART)
            times = [each.t_s for each in lane.events]
            assert times == sorted(times)
