"""Advice: what breaks and when, as the model says it, and settings with which nothing breaks any more."""

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplab import DeadPeer, IdleFirewall, Keepalive, PortChurn, run
from tcplab.advice import Environment, Leg, MiddleboxSettings, advise, read_settings
from tcplab.advice.environment import DRIVERS_OF

NFW = MiddleboxSettings("AWS Network Firewall", 350)


def way(*boxes):
    return (Leg("application to database", boxes),)


def found(advice, name, broken=True):
    """The only check of this name, broken or not."""
    [check] = [each for each in advice.checks if each.name == name and each.holds != broken]
    return check


def pasted(advice):
    """What all of the text to paste says, read back."""
    values = {}
    for text in advice.paste.values():
        read = read_settings(text)
        assert not read.unknown, read.sentence
        values |= read
    return values


def again(environment, advice):
    """The advice after everything has been pasted."""
    return advise(dataclasses.replace(environment, settings={**environment.settings, **pasted(advice)}))


# --- examples that the course tells of --------------------------------------------------------------


def test_expire_time_10_as_the_audit_says_is_too_late_for_a_box_of_350_s():
    here = Environment(
        database="oracle", legs=way(NFW), settings={"oracle.SQLNET.EXPIRE_TIME": 10}, notice_within_s=120
    )
    advice = advise(here)
    check = found(advice, "keepalive before the box")
    assert (check.left, check.right, check.margin) == (612, 350, -262)
    assert check.breaks_after_s == 350 and check.heard_after_s == math.inf
    assert "never gets an error" in check.sentence
    assert {change.key: change.value for change in advice.changes}["oracle.SQLNET.EXPIRE_TIME"] == 1
    assert "SQLNET.EXPIRE_TIME = 1" in advice.paste["sqlnet.ora"]
    assert not again(here, advice).broken


def test_keepalive_300_before_350_is_broken_by_one_lost_probe():
    here = Environment(legs=way(NFW), lost_probes=1, settings={"libpq.keepalives_idle": 300})
    check = found(advise(here), "keepalive before the box")
    assert (check.left, check.right) == (375, 350)
    assert "300 + 75 x 1 = 375 s (libpq) < 350 s (AWS Network Firewall)" in check.numbers
    assert "the next comes after 6 min 15 s, too late" in check.says
    # 300 + 9 x 75: the probes that were lost are among the nine.
    assert check.heard_after_s == pytest.approx(975, abs=1)
    assert found(advise(dataclasses.replace(here, lost_probes=0)), "keepalive before the box", broken=False)


def test_seconds_are_those_of_the_experiments():
    here = Environment(legs=way(NFW))
    check = found(advise(here), "keepalive before the box")
    trace = run(IdleFirewall(keepalive_idle_s=7200, quiet_s=3600))
    played = run(IdleFirewall(keepalive_idle_s=7200, quiet_s=600, waiting_for="long_query"))
    assert trace.outcome["error"] == played.outcome["error"] == "ETIMEDOUT"
    assert check.heard_after_s == pytest.approx(7875, abs=1) and check.winner == "keepalive"
    assert check.message == "could not receive data from server: Connection timed out"
    server = found(advise(here), "a dead client is noticed")
    alone = run(Keepalive(peer="offline"))
    assert server.heard_after_s == pytest.approx(alone.outcome["detected_after_s"], abs=1)
    assert server.message == "could not receive data from client: Connection timed out"
    sending = found(
        advise(Environment(settings={"libpq.keepalives_idle": 20, "libpq.keepalives_interval": 5})),
        "a dead server is noticed",
    )
    assert sending.heard_after_s == run(DeadPeer()).outcome["detected_after_s"]
    assert sending.winner == "retransmission"


@pytest.mark.parametrize(
    ("expired", "heard", "message"),
    [
        ("reject", 375, "server closed the connection unexpectedly"),
        ("reset_both", 350, "server closed the connection unexpectedly"),
        ("drop", 975, "could not receive data from server: Connection timed out"),
    ],
)
def test_how_a_box_forgets_decides_when_one_hears(expired, heard, message):
    box = MiddleboxSettings("box", 350, expired=expired)
    here = Environment(legs=way(box), settings={"libpq.keepalives_idle": 300}, longest_idle_s=60)
    check = found(advise(here), "keepalive before the box")
    assert check.heard_after_s == pytest.approx(heard, abs=1) and check.message == message


def test_a_box_that_takes_a_connection_up_again_does_no_harm():
    check = found(
        advise(Environment(legs=way(MiddleboxSettings("conntrack", 350, expired="reopen")))),
        "keepalive before the box",
        False,
    )
    assert "creates the entry again" in check.says


def test_a_driver_that_gives_up_first_keeps_no_box_waiting():
    here = Environment(
        driver="pgjdbc", legs=way(NFW), longest_idle_s=60, settings={"pgjdbc.socketTimeout": 60}
    )
    check = found(advise(here), "keepalive before the box", broken=False)
    assert "no connection is idle" in check.says
    longer = dataclasses.replace(here, settings={"pgjdbc.socketTimeout": 400})
    assert found(advise(longer), "keepalive before the box").heard_after_s == 400


def test_nothing_silent_is_never_forgotten():
    here = Environment(legs=way(NFW), longest_idle_s=300, longest_silent_query_s=60)
    assert (
        "no connection is idle for 5 min 50 s"
        in found(advise(here), "keepalive before the box", broken=False).says
    )


def test_each_leg_has_its_own_keepalive():
    legs = (
        Leg("application to HAProxy", (NFW,)),
        Leg("HAProxy to database", (MiddleboxSettings("inner", 900),)),
    )
    here = Environment(
        proxies=("haproxy",), legs=legs,
        settings={"libpq.keepalives_idle": 60, "postgresql.tcp_keepalives_idle": 7200},
    )  # fmt: skip
    checks = {each.leg: each for each in advise(here).checks if each.name == "keepalive before the box"}
    assert checks["application to HAProxy"].holds
    inner = checks["HAProxy to database"]
    assert not inner.holds and inner.breaks_after_s == 900


def test_max_lifetime_protects_from_no_box():
    here = Environment(
        driver="pgjdbc", pool="hikaricp", legs=way(NFW), longest_silent_query_s=10,
        settings={"hikaricp.keepaliveTime": 0, "hikaricp.maxLifetime": 1_800_000},
    )  # fmt: skip
    assert not found(advise(here), "keepalive before the box").holds
    pinged = dataclasses.replace(here, settings={"hikaricp.keepaliveTime": 120_000})
    assert found(advise(pinged), "keepalive before the box", broken=False)


def test_wait_timeout_in_seconds_against_max_lifetime_in_milliseconds():
    here = Environment(
        database="mysql", pool="hikaricp",
        settings={"mysql.wait_timeout": 600, "hikaricp.maxLifetime": 540, "hikaricp.keepaliveTime": 0},
    )  # fmt: skip
    advice = advise(here)
    check = found(advice, "what the pool sends before the idle close")
    assert check.numbers == (
        "HikariCP's maxLifetime = 1800000 ms: 1,800 s < 600 s (MySQL server's wait_timeout)"
    )
    assert check.breaks_after_s == 600 and "shorter maxLifetime" in check.message
    assert advice.notes == (
        "HikariCP counts maxLifetime in ms and does not accept 540: it uses 1800000 ms instead.",
    )
    right = dataclasses.replace(here, settings={**here.settings, "hikaricp.maxLifetime": 540_000})
    assert found(advise(right), "what the pool sends before the idle close", broken=False)


def test_a_socket_timeout_kills_healthy_reports():
    here = Environment(driver="pgjdbc", settings={"pgjdbc.socketTimeout": 60})
    advice = advise(here)
    check = found(advice, "the longest silent query before the data timer")
    assert check.breaks_after_s == check.heard_after_s == 60 and check.winner == "socketTimeout"
    assert check.message == "An I/O error occurred while sending to the backend."
    assert check.left_behind == "The database keeps running the query, for 9 min more."
    checked = dataclasses.replace(
        here, settings={**here.settings, "postgresql.client_connection_check_interval": 1000}
    )
    told = found(advise(checked), "the longest silent query before the data timer").left_behind
    assert told == "The database keeps running the query, for 1 s more."


def test_a_proxys_data_timer_is_fed_by_no_probe():
    legs = (Leg("application to HAProxy"), Leg("HAProxy to database"))
    timers = {"haproxy.timeout client": 300_000, "haproxy.timeout server": 60_000}
    here = Environment(proxies=("haproxy",), legs=legs, settings=timers)
    check = found(advise(here), "the longest silent query before the data timer")
    assert check.heard_after_s == pytest.approx(60, abs=0.2)
    assert check.message == "server closed the connection unexpectedly (HAProxy's log: sD)"
    other = {"haproxy.timeout client": 60_000, "haproxy.timeout server": 300_000}
    check = found(
        advise(dataclasses.replace(here, settings=other)), "the longest silent query before the data timer"
    )
    assert check.message.endswith("(HAProxy's log: cD)")


def test_a_proxy_that_looks_at_requests_lets_a_running_query_live():
    proxy = MiddleboxSettings("RDS Proxy", 1800, kind="requests")
    names = [each.name for each in advise(Environment(legs=way(proxy))).broken]
    assert "what the pool sends before the idle close" in names
    assert "the longest silent query before the data timer" not in names


def test_an_age_limit():
    here = Environment(pool="hikaricp", driver="pgjdbc", legs=way(MiddleboxSettings("proxy", 0, age_s=900)))
    advice = advise(here)
    assert found(advice, "replaced before the age limit").breaks_after_s == 900
    assert {c.key: c.value for c in advice.changes}["hikaricp.maxLifetime"] == 270_000
    nobody = advise(dataclasses.replace(here, pool="", driver="libpq"))
    assert [each.name for each in nobody.left] == ["replaced before the age limit"]


def test_ports_run_out_when_the_study_says_so():
    here = Environment(connects_per_s=600)
    check = found(advise(here), "local ports of a host")
    told = run(PortChurn(rate_per_s=600, hold_s=here.hold_s)).outcome
    assert check.breaks_after_s == told["first_refusal_s"]
    assert check.right == told["sustainable_per_s"]
    values = {change.key: change.value for change in advise(here).changes}
    assert values["linux.net.ipv4.ip_local_port_range"] == "10240 65535"
    assert "linux.net.ipv4.tcp_tw_reuse" not in values
    more = {change.key: change.value for change in advise(Environment(connects_per_s=2000)).changes}
    assert more["linux.net.ipv4.tcp_tw_reuse"] == 1
    nat = MiddleboxSettings("NAT", 0, ports=10_000)
    left = advise(Environment(connects_per_s=100, instances=2, legs=way(nat))).left
    assert [each.name for each in left] == ["ports of NAT"]


def test_places_and_the_rush_at_the_start():
    here = Environment(database="mariadb", instances=40, pool_size=10)
    advice = advise(here)
    places = found(advice, "places at MariaDB server")
    assert (places.left, places.right) == (400, 151)
    assert places.message == "ERROR 1040 (HY000): Too many connections"
    # MariaDB: 50 + 151 / 5; one more may wait, and whom the server greets first is a ghost
    rush = found(advice, "all instances start at once")
    assert rush.right == 81 and "ghosts" in rush.says
    assert not again(here, advice).broken


def test_borrowers_wait_no_longer_than_users_bear():
    here = Environment(driver="pgjdbc", pool="hikaricp", outage_s=20)
    advice = advise(here)
    check = found(advice, "borrowers give up before the users do")
    assert (check.left, check.right) == (30, 20)
    assert check.message == "Connection is not available, request timed out after 30000ms"
    assert not again(here, advice).broken


# --- what advice is like ----------------------------------------------------------------------------


def test_checks_come_in_the_order_in_which_things_break():
    advice = advise(Environment(legs=way(NFW), instances=100, connects_per_s=600))
    order = [("incident", "wish", "burst").index(each.kind) for each in advice.broken]
    assert order == sorted(order) and set(order) == {0, 1, 2}
    for kind in ("incident", "wish", "burst"):
        times = [each.breaks_after_s for each in advice.broken if each.kind == kind]
        assert times == sorted(times)
    assert all(each.breaks_after_s is None for each in advice.checks[len(order) :])


def test_changes_say_who_may_make_them_and_when_they_are_felt():
    advice = advise(Environment(legs=way(NFW), instances=100))
    groups = advice.by_who()
    assert set(groups) == {"dba", "application"}
    restart = next(each for each in groups["dba"] if each.key == "postgresql.max_connections")
    assert restart.setting.applies == "restart" and "needs a restart" in restart.sentence
    timeout = next(each for each in groups["application"] if each.key == "libpq.tcp_user_timeout")
    assert (timeout.value, timeout.seconds, timeout.was) == (55_000, 55, None)
    assert "55000 ms (55 s), was unset" in timeout.sentence


def test_remedies_are_whole_and_the_last_resorts_come_last():
    here = Environment(driver="pgjdbc", legs=way(NFW), outage_s=60, connects_per_s=600)
    advice = advise(here)
    keepalive = next(each for each in advice.remedies if "pgjdbc.tcpKeepAlive" in each.keys)
    assert len(keepalive.changes) == 4 and keepalive.who == ("application", "dba")
    assert "it applies to every connection of the host" in keepalive.prices
    # By itself it keeps the box's entry; what is in flight is another remedy's.
    assert "keepalive before the box" in [each.name for each in advice.mended_by(keepalive)]
    assert "an outage ends in time" not in [each.name for each in advice.mended_by(keepalive)]
    assert set(advice.mended_by(*advice.remedies)) == set(advice.broken)
    assert [each.is_last for each in advice.remedies] == sorted(each.is_last for each in advice.remedies)
    ports = next(each for each in advice.remedies if "linux.net.ipv4.ip_local_port_range" in each.keys)
    assert ports.is_last and ports.on(here).settings["linux.net.ipv4.ip_local_port_range"] == "10240 65535"
    assert {key for each in advice.remedies for key in each.keys} == {each.key for each in advice.changes}


def test_what_holds_is_left_alone():
    here = Environment(legs=way(NFW))
    good = dataclasses.replace(here, settings=pasted(advise(here)))
    advice = advise(good)
    assert (advice.broken, advice.changes, advice.paste) == ((), (), {})
    assert "with known numbers hold; nothing has to be changed. Not known: " in advice.sentence


def test_the_proof_is_a_line_for_every_leg():
    legs = (Leg("a"), Leg("b"))
    advice = advise(Environment(proxies=("pgbouncer",), legs=legs))
    first, second = advice.prove.splitlines()
    assert "dport = :6432" in first and "dport = :5432" in second
    assert "timer:(keepalive" in first and "30sec" in first


def test_it_shows_itself_in_a_notebook_and_escapes_names():
    legs = (Leg("<b>app</b>", (MiddleboxSettings("<script>", 350),)),)
    html = advise(Environment(legs=legs))._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html


# --- any environment --------------------------------------------------------------------------------

BOXES = st.builds(
    MiddleboxSettings,
    st.sampled_from(("a", "b")),
    st.sampled_from((0, 60, 240, 350, 3600)),
    kind=st.sampled_from(("layer4", "layer4", "requests")),
    expired=st.sampled_from(("drop", "reject", "reset_both", "reopen", "drop_inbound")),
)
PROXIES = {"postgresql": ((), ("pgbouncer",), ("haproxy",), ("haproxy", "pgbouncer"))}
POOLS = ("", "hikaricp", "psycopg_pool", "commons_pool2", "dbcp2", "sqlalchemy")
#: Drivers with a setting for every inequality.
MENDABLE = (
    "libpq",
    "psycopg",
    "pgjdbc",
    "connector_j",
    "mariadb_connector_j",
    "jedis",
    "lettuce",
    "redisson",
)
#: What people paste, some of it wrong.
TODAY = {
    "linux.net.ipv4.tcp_keepalive_time": (60, 300, 7200),
    "linux.net.ipv4.tcp_retries2": (5, 15),
    "libpq.keepalives": (0, 1),
    "libpq.tcp_user_timeout": (5000, 30_000),
    "pgjdbc.socketTimeout": (10, 60, 3600),
    "hikaricp.maxLifetime": (1800, 540_000, 1_800_000),
    "hikaricp.keepaliveTime": (0, 30_000, 300_000),
    "hikaricp.connectionTimeout": (1000, 30_000),
    "mysql.wait_timeout": (60, 600, 28_800),
    "haproxy.timeout server": (60_000, 3_600_000),
    "haproxy.timeout client": (60_000, 3_600_000),
    "pgbouncer.query_timeout": (0, 30),
    "redis.timeout": (0, 300),
}


@st.composite
def environments(draw):
    """Environments that settings can mend: time enough to notice, and no box that only its owner can turn."""
    database = draw(st.sampled_from(("postgresql", "mysql", "mariadb", "redis")))
    proxies = draw(st.sampled_from(PROXIES.get(database, ((), ("haproxy",)))))
    legs = tuple(
        Leg(f"leg {i}", tuple(box for box in draw(st.lists(BOXES, max_size=2)) if box.kind == "layer4"))
        for i in range(len(proxies) + 1)
    )
    names = draw(st.lists(st.sampled_from(sorted(TODAY)), unique=True, max_size=5))
    return Environment(
        database=database,
        driver=draw(st.sampled_from([each for each in DRIVERS_OF[database] if each in MENDABLE])),
        pool=draw(st.sampled_from(POOLS)),
        proxies=proxies,
        legs=legs,
        notice_within_s=draw(st.sampled_from((10, 30, 60, 600))),
        lost_probes=draw(st.integers(0, 2)),
        longest_silent_query_s=draw(st.sampled_from((1, 60, 600, 7200))),
        longest_idle_s=draw(st.sampled_from((60, 3600, 43_200))),
        connects_per_s=draw(st.sampled_from((0, 0, 100, 600, 2000))),
        instances=draw(st.sampled_from((1, 5, 20))),
        outage_s=draw(st.sampled_from((0, 45, 120))),
        linux=draw(st.sampled_from(("5.4", "6.1", "6.18"))),
        settings={name: draw(st.sampled_from(TODAY[name])) for name in names},
    )


@settings(max_examples=40)
@given(here=environments())
def test_what_is_advised_pasted_and_read_back_breaks_nothing(here):
    advice = advise(here)
    assert advice.left == ()
    after = again(here, advice)
    assert after.broken == (), after.sentence
    assert after.changes == ()


@settings(max_examples=15)
@given(here=environments())
def test_every_broken_check_says_when_and_what(here):
    for check in advise(here).checks:
        if check.holds:
            assert check.breaks_after_s is check.heard_after_s is None and not check.message
            continue
        assert check.breaks_after_s is not None and check.heard_after_s is not None
        assert check.breaks_after_s <= check.heard_after_s
        assert bool(check.message) == (check.heard_after_s < math.inf)
        assert "Broken" in check.sentence and check.numbers in check.sentence


@settings(max_examples=15)
@given(here=environments())
def test_an_environment_survives_json(here):
    assert Environment.from_json(here.to_json()) == here
