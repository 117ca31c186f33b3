"""Topologies for which an earlier version gave a wrong answer, each with the right one.

Most were reported for real products; the source stands beside the case.
"""

from dataclasses import replace
from math import inf

import pytest

from tcplab import DeadPeer, ParameterError, run
from tcplab.advice import Environment, Leg, MiddleboxSettings, advise
from tcplab.advice.environment import (
    DATABASES,
    DRIVERS_OF,
    PROXIES,
    known_middleboxes,
    known_setting,
    pools_of,
    proxies_of,
)
from tcplab.advice.products import InForce
from tcplab.core.catalogue import products, setting

CLOUD_NAT = known_middleboxes()["Google Cloud NAT"]
AZURE = known_middleboxes()["Azure Load Balancer"]


def path(*middleboxes):
    return (Leg("application to database", middleboxes),)


def only(advice, name):
    [check] = [each for each in advice.checks if each.name == name]
    return check


def changes(advice):
    return {each.key: each.value for each in advice.changes}


# --- ports, places and bursts -----------------------------------------------------------------------


def test_a_nat_without_a_port_drops_the_syn():
    """cloud-sql-proxy#1840, dotnet/runtime#35508: connect() times out; it is no errno 99."""
    assert (CLOUD_NAT.ports, CLOUD_NAT.is_per_host, CLOUD_NAT.time_wait_s) == (64, True, 30)
    check = only(
        advise(Environment(database="mysql", legs=path(CLOUD_NAT), connects_per_s=5)),
        "ports of Google Cloud NAT",
    )
    assert not check.holds and check.message == "Communications link failure"
    assert "99" not in check.message and "drops its SYN" in check.says
    assert check.numbers == "10 connections + 5/s x (0.01 + 30) s <= 64 ports of each host"
    # 54 ports are free, 5 a second are taken; then connect() waits for Linux's six retries.
    assert check.breaks_after_s == pytest.approx(54 / 5)
    assert check.heard_after_s > check.breaks_after_s + 60


def test_standing_connections_use_the_ports_of_a_nat():
    nat = MiddleboxSettings("NAT", 0, ports=64)
    wide = Environment(instances=40, pool_size=10, legs=path(nat))
    check = only(advise(wide), "ports of NAT")
    assert not check.holds and (check.left, check.right) == (400, 64) and check.breaks_after_s == 0
    own = MiddleboxSettings("NAT", 0, ports=64, is_per_host=True)
    assert only(advise(Environment(instances=40, legs=path(own))), "ports of NAT").holds


@pytest.mark.parametrize(("connections", "holds"), [(97, True), (98, False), (100, False)])
def test_postgresql_keeps_three_places_for_superusers(connections, holds):
    """Measured with PostgreSQL 15: the 98th ordinary session is refused."""
    check = only(advise(Environment(pool_size=connections)), "places at PostgreSQL server")
    assert check.holds is holds and check.right == 97
    if not holds:
        assert check.message.startswith("FATAL: remaining connection slots are reserved for")
        assert check.says == f"{connections - 97} are refused."


def test_reserved_connections_count_since_16():
    here = Environment(pool_size=95, settings={"postgresql.reserved_connections": 5})
    assert only(advise(here), "places at PostgreSQL server").right == 92


@pytest.mark.parametrize(("connections", "holds"), [(151, True), (152, False)])
def test_mysql_has_one_more_for_an_administrator(connections, holds):
    here = Environment(database="mysql", pool_size=connections)
    assert only(advise(here), "places at MySQL server").holds is holds


def test_hikaricp_opens_one_connection_at_a_time():
    """HikariPool: addConnectionExecutor has one thread (UtilityElf.createThreadPoolExecutor)."""
    here = Environment(driver="pgjdbc", pool="hikaricp", instances=8, pool_size=30, backlog=128, surge=0.25)
    check = only(advise(here), "all instances start at once")
    assert check.holds and check.left == 10


def test_behind_a_proxy_that_shares_connections_the_databases_limit_is_no_limit_of_the_clients():
    """HikariCP#2017: the proxy's limits apply, and nothing here says what they are."""
    proxy = known_middleboxes()["AWS RDS Proxy"]
    advice = advise(
        Environment(driver="pgjdbc", pool="hikaricp", instances=40, pool_size=30, legs=path(proxy))
    )
    name = "places at PostgreSQL server"
    assert name not in [each.name for each in advice.checks]
    [unknown] = [each for each in advice.unknown if each.name == name]
    assert "how many connections AWS RDS Proxy opens" in unknown.sentence


# --- what breaks first ------------------------------------------------------------------------------


def test_a_virtual_address_of_ipvs_answers_with_a_rst():
    """kube-router#521, #1577; kubeasz#688; Linux 6.18 ip_vs_proto_tcp.c: no entry, no schedule."""
    ipvs = known_middleboxes()["Linux IPVS"]
    assert (ipvs.idle_s, ipvs.expired) == (900, "reject")
    here = Environment(legs=path(ipvs), longest_idle_s=14_400, longest_silent_query_s=1)
    check = only(advise(here), "keepalive before the box")
    assert not check.holds and check.message == "server closed the connection unexpectedly"
    # With the first probe after 2 h, not after nine more.
    assert check.heard_after_s == pytest.approx(7200, abs=1)


def test_an_incident_comes_before_a_wish():
    """A box forgets after 4 minutes; that detection takes longer than a minute is only a wish."""
    advice = advise(Environment(legs=path(AZURE), longest_silent_query_s=600))
    first, *others = advice.broken
    assert first.name == "keepalive before the box" and first.breaks_after_s == 240
    late = next(each for each in others if each.name == "a dead server is noticed")
    assert late.breaks_after_s == 60 and late.title == "a dead server is not detected in time"


def test_redis_has_no_silent_query_of_its_own():
    here = Environment(database="redis", driver="lettuce", legs=path(AZURE))
    assert here.longest_silent_query_s == 0
    advice = advise(here)
    assert not [each for each in advice.broken if "quer" in each.name]
    assert "lettuce.timeout" not in changes(advice)
    assert Environment(database="mysql").longest_silent_query_s == 600


def test_the_one_connection_of_a_shared_client_stays():
    """StackExchange.Redis#1848: every command times out until tcp_retries2 gives up."""
    quarter = run(DeadPeer()).outcome["detected_after_s"]
    here = Environment(
        database="redis", driver="lettuce", outage_s=60,
        settings={"lettuce.keepAlive": False, "lettuce.timeout": 5},
    )  # fmt: skip
    advice = advise(here)
    check = only(advice, "a dead server is noticed")
    assert not check.holds and check.heard_after_s == quarter == pytest.approx(928.9, abs=0.1)
    assert "Each command fails after 5 s, and the one connection stays." in check.says
    assert changes(advice)["lettuce.tcpUserTimeout"] <= 60_000
    assert changes(advice)["lettuce.keepAlive"] is True
    assert advice.left == ()
    # Keepalive alone is no remedy: it says nothing while a command is unacknowledged.
    alone = Environment(database="redis", driver="lettuce", outage_s=60)
    assert not only(advise(alone), "a dead server is noticed").holds


# --- how soon ---------------------------------------------------------------------------------------


def test_a_longer_wait_for_the_pool_is_no_remedy():
    here = Environment(
        driver="pgjdbc", pool="hikaricp", outage_s=60, settings={"hikaricp.connectionTimeout": 5000}
    )
    proposed = changes(advise(here))
    assert "hikaricp.connectionTimeout" not in proposed
    assert proposed["pgjdbc.tcpKeepAlive"] is True


def test_libpq_without_keepalive_has_no_user_timeout():
    """Measured with libpq 18.6: no setsockopt at all; fe-connect.c."""
    settings = {"libpq.keepalives": 0, "libpq.tcp_user_timeout": 30_000}
    check = only(advise(Environment(settings=settings)), "a dead server is noticed")
    assert not check.holds and check.heard_after_s == inf
    advice = advise(Environment(settings=settings, outage_s=60))
    assert changes(advice)["libpq.keepalives"] == 1 and advice.left == ()
    on = {"libpq.keepalives": 1, "libpq.tcp_user_timeout": 30_000, "libpq.keepalives_idle": 20}
    assert only(advise(Environment(settings=on)), "a dead server is noticed").heard_after_s < 100


FAST = {
    "libpq.keepalives_idle": 20, "libpq.keepalives_interval": 5, "libpq.keepalives_count": 3,
    "libpq.tcp_user_timeout": 33_000, "libpq.connect_timeout": 5, "psycopg_pool.timeout": 5,
}  # fmt: skip


def test_failing_fast_is_good():
    here = Environment(
        pool="psycopg_pool", outage_s=60, longest_silent_query_s=30, settings=FAST, deadline_s=10
    )
    advice = advise(here)
    assert only(advice, "an outage ends in time").holds
    assert only(advice, "borrowers give up before the users do").holds
    assert not [key for key in changes(advice) if key.startswith(("libpq", "psycopg_pool"))]


def test_a_checkout_that_hides_the_cause_says_so():
    slow = FAST | {"libpq.connect_timeout": 20}
    here = Environment(pool="psycopg_pool", outage_s=60, settings=slow, deadline_s=10)
    check = only(advise(here), "borrowers give up before the users do")
    assert check.holds and "the pool's message hides the cause" in check.says


@pytest.mark.parametrize(("addresses", "holds"), [(1, True), (4, True), (8, False)])
def test_every_address_costs_a_connect_timeout(addresses, holds):
    here = Environment(outage_s=60, settings=FAST, addresses=addresses)
    assert only(advise(here), "an outage ends in time").holds is holds


def test_a_connection_in_use_is_not_replaced():
    old = MiddleboxSettings("age limit", 0, age_s=1900)
    here = Environment(
        driver="pgjdbc", pool="hikaricp", legs=path(old), longest_silent_query_s=900,
        settings={"hikaricp.maxLifetime": 1_800_000},
    )  # fmt: skip
    advice = advise(here)
    check = only(advice, "replaced before the age limit")
    assert not check.holds and (check.left, check.right) == (2700, 1900)
    assert changes(advice)["hikaricp.maxLifetime"] == 900_000


def test_the_switch_alone_only_moves_never_to_two_hours():
    here = Environment(driver="pgjdbc", settings={"pgjdbc.tcpKeepAlive": True})
    check = only(advise(here), "a dead server is noticed")
    assert not check.holds and check.heard_after_s == pytest.approx(7875, abs=1)
    [remedy] = [
        each for each in advise(Environment(driver="pgjdbc")).remedies if "pgjdbc.tcpKeepAlive" in each.keys
    ]
    assert set(remedy.keys) == {"pgjdbc.tcpKeepAlive"} | {
        f"linux.net.ipv4.tcp_keepalive_{each}" for each in ("time", "intvl", "probes")
    }


# --- what is not known is never right ---------------------------------------------------------------


def test_without_a_number_there_is_no_answer():
    advice = advise(Environment(pool="hikaricp", driver="pgjdbc"))
    unknown = {each.name: each for each in advice.unknown}
    assert {"an outage ends in time", "a failover ends in time", "load of the pool"} <= set(unknown)
    assert not set(unknown) & {each.name for each in advice.checks}
    fields = {each.field for each in advice.unknown if each.field}
    assert fields <= set(Environment.__dataclass_fields__)
    said = Environment(
        pool="hikaricp", driver="pgjdbc", outage_s=60, promotion_s=10, requests_per_s=5, busy_s=1
    )
    assert not {each.name for each in advise(said).unknown} & set(unknown)


def test_a_failover_is_a_sum():
    here = Environment(outage_s=120, promotion_s=60, dns_ttl_s=30, settings=FAST)
    check = only(advise(here), "a failover ends in time")
    assert check.holds and check.left == 95
    slower = Environment(outage_s=90, promotion_s=60, dns_ttl_s=30, settings=FAST)
    assert not only(advise(slower), "a failover ends in time").holds


def test_an_old_address_stays_in_the_pool():
    here = Environment(
        driver="pgjdbc", pool="hikaricp", promotion_s=30, stale_s=600, dns_ttl_s=60, longest_silent_query_s=60
    )
    check = only(advise(here), "an old address is left in time")
    # maxLifetime, the longest query, the name and Java's cache of it
    assert not check.holds and check.left == 1800 + 60 + 60 + 30
    assert changes(advise(here))["hikaricp.maxLifetime"] == 450_000


def test_a_query_without_its_client_goes_on():
    here = Environment(driver="pgjdbc", longest_silent_query_s=20, settings={"pgjdbc.socketTimeout": 30})
    advice = advise(here)
    check = only(advice, "a statement ends before its client")
    assert (
        not check.holds and check.left_behind == "The query keeps its locks until it ends, whenever that is."
    )
    assert changes(advice)["postgresql.client_connection_check_interval"] == 10_000
    limited = Environment(
        driver="pgjdbc", longest_silent_query_s=20,
        settings={"pgjdbc.socketTimeout": 30, "postgresql.statement_timeout": 25_000},
    )  # fmt: skip
    assert only(advise(limited), "a statement ends before its client").holds


def test_a_pause_in_a_transaction():
    settings = {"postgresql.idle_in_transaction_session_timeout": 60_000}
    assert "a pause in a transaction" in [
        each.name for each in advise(Environment(settings=settings)).unknown
    ]
    here = Environment(settings=settings, longest_pause_s=300)
    check = only(advise(here), "a pause in a transaction")
    assert not check.holds and "idle-in-transaction" in check.message and check.kind == "incident"
    # It also ends the session of a client that is gone.
    assert only(advise(here), "a dead client is noticed").left == 60


def test_a_pool_too_small_for_its_load():
    here = Environment(driver="pgjdbc", pool="hikaricp", requests_per_s=200, busy_s=0.1)
    check = only(advise(here), "load of the pool")
    assert not check.holds and (check.left, check.right) == (20, 10)
    enough = Environment(driver="pgjdbc", pool="hikaricp", requests_per_s=20, busy_s=0.1)
    assert (
        only(advise(enough), "load of the pool").says
        == "While a server does not answer, the pool lasts 0.500 s."
    )


def test_entries_of_connection_tracking():
    here = Environment(connects_per_s=100, settings={"conntrack.net.netfilter.nf_conntrack_max": 8192})
    assert not only(advise(here), "entries of connection tracking").holds


# --- products that people run -----------------------------------------------------------------------

TRIPLES = [(database, driver) for database in DATABASES for driver in DRIVERS_OF[database]]


@pytest.mark.parametrize(("database", "driver"), TRIPLES, ids=lambda each: each)
def test_every_driver_can_be_asked(database, driver):
    for pool in pools_of(driver):
        here = Environment(database=database, driver=driver, pool=pool, outage_s=60, legs=path(AZURE))
        advice = advise(here)
        assert advice.checks and all(known_setting(each.key).who for each in advice.changes)
        after = advise(replace(here, settings=changes(advice)))
        assert {each.name for each in after.broken} <= {each.name for each in advice.broken}


@pytest.mark.parametrize("proxy", PROXIES)
def test_every_proxy_can_be_asked(proxy):
    database = next(each for each in DATABASES if proxy in proxies_of(each))
    here = Environment(database=database, proxies=(proxy,), legs=(Leg("a"), Leg("b")), longest_idle_s=50_000)
    checks = advise(here).checks
    idle = [each for each in checks if each.name == "what the pool sends before the idle close"]
    assert {"a", "b"} == {each.leg for each in checks if each.name == "a dead server is noticed"}
    if proxy in ("nginx", "envoy", "openshift_router", "proxysql"):
        assert idle and not idle[0].holds and "keepalive probes don't restart" in idle[0].says


@pytest.mark.parametrize(
    ("database", "driver", "settings", "keepalive"),
    [
        ("postgresql", "pgx", {}, (15, 15, 9)),
        ("postgresql", "asyncpg", {}, None),
        ("postgresql", "node_postgres", {"keepAlive": True}, (7200, 75, 9)),
        (
            "postgresql", "node_postgres", {"keepAlive": True, "keepAliveInitialDelayMillis": 10_000},
            (10, 1, 10),
        ),
        ("postgresql", "npgsql", {"TCP Keepalive": True, "TCP Keepalive Time": 60}, (60, 60, 9)),
        ("mysql", "pymysql", {}, (7200, 75, 9)),
        ("mysql", "mysql_connector_python", {}, None), ("mysql", "mysqlnd", {}, (7200, 75, 9)),
        ("redis", "phpredis", {}, None),
        ("sqlserver", "sqlclient", {}, (30, 1, 9)),
        ("oracle", "oracledb", {}, None),
        ("oracle", "oracledb", {"expire_time": 2}, (120, 6, 10)),
        ("mongodb", "pymongo", {}, (120, 10, 9)),
        ("redis", "redis_py", {}, (30, 5, 3)),
        ("postgresql", "other_driver", {"keepalive": True, "keepalive_idle": 40}, (40, 75, 9)),
    ],
)  # fmt: skip
def test_a_drivers_keepalive_is_what_strace_and_its_source_say(database, driver, settings, keepalive):
    here = Environment(
        database=database,
        driver=driver,
        settings={f"{driver}.{key}": value for key, value in settings.items()},
    )
    seen = InForce(here).client(0)
    assert (seen and (seen.idle_s, seen.interval_s, seen.probes)) == keepalive


@pytest.mark.parametrize(
    ("database", "managed", "times"),
    [
        ("postgresql", "", (7200, 75, 9)), ("postgresql", "rds", (300, 30, 2)),
        ("postgresql", "azure", (120, 30, 9)), ("postgresql", "aiven", (180, 10, 6)),
        ("sqlserver", "", (30, 1, 5)), ("mongodb", "", (300, 75, 9)), ("redis", "", (300, 100, 3)),
    ],
)  # fmt: skip
def test_a_servers_keepalive(database, managed, times):
    seen = InForce(Environment(database=database, managed=managed)).server(0)
    assert (seen.idle_s, seen.interval_s, seen.probes) == times
    with pytest.raises(ParameterError, match="managed = 'mars' is no service of"):
        Environment(database=database, managed="mars")


def test_managed_defaults_are_settings_of_their_product():
    services = [(each.key, names) for each in products() for names in each.managed.values()]
    assert services and all(setting(key, name) for key, names in services for name in names)


def test_proxies_end_a_silent_query_with_a_fin_to_both():
    """Measured with nginx 1.22.1 and Envoy 1.40: probes every second, and a FIN at the idle timeout."""
    here = Environment(proxies=("nginx",), legs=(Leg("a"), Leg("b")), longest_silent_query_s=900)
    check = only(advise(here), "the longest silent query before the data timer")
    assert not check.holds and check.breaks_after_s == 600
    assert check.message == "server closed the connection unexpectedly"


def test_there_are_drivers_of_every_language():
    languages = {each.language for each in products() if each.kind == "driver"}
    assert languages >= {"Python", "Go", "Node.js", ".NET", "PHP", "Java"}


def test_what_fits_together():
    assert "pgxpool" in pools_of("pgx") and "hikaricp" not in pools_of("pgx")
    assert "proxysql" in proxies_of("mysql") and "pgbouncer" not in proxies_of("mysql")
    assert "haproxy" in proxies_of("redis") and pools_of("npgsql")[:2] == ("", "npgsql")
