"""The catalogue: its form, its completeness, what can be asked of it, and what it says when it is wrong."""

import re

import pytest

from tcplab.core import catalogue as module
from tcplab.core import knobs
from tcplab.core.catalogue import (
    PURPOSES,
    TIMES,
    UNITS,
    CatalogueError,
    catalogue,
    find,
    products,
    read,
    setting,
)
from tcplab.core.releases import NEWEST, release

#: What the course has to have, by product.
NEEDED = {
    "linux": 20, "socket": 5, "java": 1, "postgresql": 12, "libpq": 6, "psycopg": 1, "psycopg_pool": 5,
    "sqlalchemy": 5, "pgjdbc": 6, "pgbouncer": 15, "mysql": 6, "mariadb": 10, "connector_j": 3, "oracle": 4,
    "mariadb_connector_j": 6,
    "redis": 6, "redis_cli": 1, "jedis": 6, "lettuce": 6, "redisson": 5, "hikaricp": 6, "commons_pool2": 6,
    "dbcp2": 6, "haproxy": 12, "conntrack": 4, "ipvs": 2, "aws_nlb": 1, "aws_nat_gateway": 1,
    "aws_network_firewall": 1, "ec2_connection_tracking": 1, "azure_load_balancer": 1, "gcp_vpc": 1,
    "gcp_cloud_nat": 1, "rds_proxy": 1,
}  # fmt: skip

#: Every setting that one of the three articles names.
IN_THE_ARTICLES = {
    "linux": """net.ipv4.tcp_keepalive_time net.ipv4.tcp_keepalive_intvl net.ipv4.tcp_keepalive_probes
        net.ipv4.tcp_retries2 net.ipv4.ip_local_port_range net.ipv4.tcp_tw_reuse net.ipv4.tcp_tw_recycle
        net.ipv4.tcp_max_tw_buckets net.ipv4.tcp_fin_timeout TCP_TIMEWAIT_LEN""",
    "socket": "SO_KEEPALIVE TCP_KEEPIDLE TCP_KEEPINTVL TCP_USER_TIMEOUT",
    "postgresql": """tcp_keepalives_idle tcp_keepalives_interval tcp_keepalives_count tcp_user_timeout
        client_connection_check_interval""",
    "libpq": "keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout",
    "redis_cli": "REDIS_CLI_KEEPALIVE_INTERVAL",
    "redis": "tcp-keepalive",
    "commons_pool2": "testOnBorrow testOnReturn testWhileIdle",
    "dbcp2": "testOnBorrow testOnReturn testWhileIdle",
    "jedis": "testOnBorrow",
    "hikaricp": "connectionTestQuery",
    "lettuce": "pingBeforeActivateConnection",
    "redisson": "pingConnectionInterval",
    "java": "networkaddress.cache.ttl",
}


def test_every_product_that_the_course_needs_is_there():
    counted = {product.key: len(find(product=product.key)) for product in products()}
    assert set(counted) >= set(NEEDED)
    assert not {key: counted[key] for key, least in NEEDED.items() if counted[key] < least}


def test_every_setting_of_the_articles_is_there():
    for product, names in IN_THE_ARTICLES.items():
        for name in names.split():
            assert setting(product, name).says


def test_no_setting_stands_twice():
    names = [(each.product.key, each.name) for each in catalogue()]
    assert len(names) == len(set(names))


def test_what_people_read_is_whole_sentences():
    bad = [
        (each.product.key, each.name, text)
        for each in catalogue()
        for text in filter(None, (each.says, each.means, each.changed))
        if not re.fullmatch(r"[A-Z0-9].{1,158}\.", text) or "  " in text
    ]
    assert not bad
    assert not [each.name for each in catalogue() if len(each.says.split()) < 4]


def test_a_source_is_a_document_or_a_file_and_an_address_is_public():
    for each in catalogue():
        assert len(each.source) > 8 and not each.source.startswith("http"), each.name
        assert re.fullmatch(r"(https://[a-z0-9.-]+\.[a-z]+/\S*)?", each.url), each.url
        assert re.search(r"\d", each.version), f"{each.name}: which version?"


def test_a_number_that_is_no_time_but_looks_like_one_is_explained():
    for each in catalogue():
        silent = each.unit in TIMES and each.default in (0, -1) and not each.means
        assert not silent, f"{each.product.key} {each.name}: what does {each.default} mean?"
        if each.unit == "switch":
            assert each.default in (0, 1) and each.means, each.name
        if isinstance(each.default, int | float) and each.low is not None:
            assert each.low <= each.default, each.name
        if isinstance(each.default, int | float) and each.high is not None:
            assert each.default <= each.high, each.name


def test_boxes_say_how_they_expire_only_where_something_expires():
    for each in catalogue():
        if each.expiry:
            assert each.product.kind == "box" and each.purpose == "idle" and each.seconds, each.name
    idle = [each for each in find(kind="box", purpose="idle") if each.seconds]
    assert {each.product for each in idle} == {each for each in products() if each.kind == "box"}


def test_knobs_and_units_go_together():
    """A knob in seconds is a time everywhere; a knob that counts is a time nowhere."""
    for each in catalogue():
        if each.knob:
            knob = getattr(knobs, each.knob)
            assert (knob.unit == "s") == (each.unit in TIMES), f"{each.product.key} {each.name}"


@pytest.mark.parametrize(
    ("product", "field", "factor"),
    [
        ("linux", "sysctl", "sysctl_factor"),
        ("socket", "socket_option", "socket_factor"),
        ("libpq", "libpq", "libpq_factor"),
    ],
)
def test_the_knobs_own_names_are_those_of_the_catalogue(product, field, factor):
    named = {name: each for name, each in vars(knobs).items() if isinstance(each, knobs.Knob)}
    for name, knob in named.items():
        theirs = getattr(knob, field)
        if not theirs or theirs == "SO_RCVBUF":  # a size, not in the catalogue
            continue
        entry = setting(product, theirs)
        assert entry.knob == name
        if entry.unit in TIMES:
            assert entry.own(1) == getattr(knob, factor)


def test_the_defaults_that_changed_agree_with_the_newest_release():
    rules = release(NEWEST)
    assert setting("linux", "net.core.somaxconn").default == rules.somaxconn
    assert setting("linux", "net.ipv4.tcp_tw_reuse").default == rules.tw_reuse
    assert setting("linux", "net.ipv4.tcp_syn_linear_timeouts").default == rules.syn_linear_timeouts
    assert setting("linux", "net.ipv4.ip_local_port_range").default == f"32768 {rules.last_local_port}"
    for name in ("tcp_syn_linear_timeouts", "tcp_tw_reuse_delay", "ip_autobind_reuse"):
        since = setting("linux", f"net.ipv4.{name}").since
        before = f"{since.split('.')[0]}.{int(since.split('.')[1]) - 1}"
        seen = [(each.syn_linear_timeouts, each.tw_reuse_clock, each.autobind_reuse)
                for each in (release(before), release(since))]  # fmt: skip
        assert seen[0] != seen[1], f"{name}: nothing new in {since}"


def test_times_are_converted_from_their_own_unit():
    assert setting("hikaricp", "maxLifetime").seconds == 1800
    assert setting("libpq", "connect_timeout").seconds is None
    assert setting("azure_load_balancer", "idleTimeoutInMinutes").seconds == 240
    assert setting("postgresql", "tcp_user_timeout").seconds is None  # 0: off, not at once
    assert setting("sqlalchemy", "pool_recycle").seconds is None  # -1: never
    assert setting("pgjdbc", "tcpKeepAlive").seconds is None
    assert setting("hikaricp", "maximumPoolSize").seconds is None
    assert setting("hikaricp", "keepaliveTime").own(240) == 240_000
    assert setting("oracle", "SQLNET.EXPIRE_TIME").own(90) == 2  # whole minutes, never less than asked
    assert setting("libpq", "keepalives_idle").own(0.1 + 0.2 + 0.7) == 1


def test_a_setting_that_leaves_it_to_linux_leads_there():
    idle = setting("postgresql", "tcp_keepalives_idle")
    assert idle.seconds is None and idle.effective.seconds == 7200
    assert setting("redis", "tcp-keepalive").effective.seconds == 300
    assert setting("haproxy", "srvtcpka-cnt").effective.default == 9


def test_one_knob_leads_to_many_products():
    found = find(knob="KEEPALIVE_IDLE")
    assert found == find(knob=knobs.KEEPALIVE_IDLE)
    names = {each.product.key: each.name for each in found}
    assert names["oracle"] == "SQLNET.EXPIRE_TIME" and names["redis"] == "tcp-keepalive"
    assert len(names) >= 10
    assert {each.product.key for each in find(knob="USER_TIMEOUT")} >= {"postgresql", "libpq", "pgbouncer"}


def test_searches_are_narrowed_by_all_that_is_given():
    assert [each.name for each in find(product="hikaricp", purpose="age")] == ["maxLifetime"]
    assert {each.product.key for each in find(who="cloud")} >= {"aws_nlb", "azure_load_balancer"}
    assert {each.product.kind for each in find(kind="pool")} == {"pool"}
    assert len(find()) == len(catalogue())
    assert {each.purpose for each in catalogue()} == set(PURPOSES)
    assert {each.unit for each in catalogue()} == set(UNITS)


def test_whether_a_restart_is_needed():
    assert setting("postgresql", "max_connections").applies == "restart"
    assert setting("postgresql", "tcp_user_timeout").applies != "restart"
    assert not setting("linux", "TCP_TIMEWAIT_LEN").who


@pytest.mark.parametrize(
    ("product", "name", "text"),
    [
        ("hikaricp", "connectionTimeout", "30000 ms"),
        ("azure_load_balancer", "idleTimeoutInMinutes", "4 min"),
        ("postgresql", "tcp_user_timeout", "0 ms (off: tcp_retries2 decides)"),
        ("connector_j", "socketTimeout", "0 ms (off: no limit on the wait for an answer)"),
        ("pgbouncer", "tcp_keepalive", "1 (on)"),
        ("sqlalchemy", "pool_pre_ping", "false (off)"),
        ("linux", "net.ipv4.ip_local_reserved_ports", "empty (no port is reserved)"),
        ("psycopg_pool", "max_size", "Unset: the same as min_size"),
        ("pgbouncer", "server_check_query", "select 1"),
    ],
)  # fmt: skip
def test_a_default_for_people(product, name, text):
    assert setting(product, name).default_text == text


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"product": "hikari"}, "product = 'hikari' is not in the catalogue: use one of linux, socket"),
        ({"knob": "IDLE"}, "knob = 'IDLE' is not in the catalogue: use one of ABORT_ON_OVERFLOW"),
        ({"who": "boss"}, "who = 'boss' is not in the catalogue: use one of dba, application"),
        ({"purpose": "fun"}, "purpose = 'fun'"),
        ({"kind": "car"}, "kind = 'car'"),
    ],
)
def test_an_unknown_word_gets_one_sentence(asked, says):
    with pytest.raises(CatalogueError) as caught:
        find(**asked)
    assert str(caught.value).startswith(says) and str(caught.value).endswith(".")


def test_an_unknown_setting_gets_one_sentence():
    with pytest.raises(CatalogueError, match="redis_cli has no setting 'x' in the catalogue: it has REDIS"):
        setting("redis_cli", "x")
    with pytest.raises(CatalogueError, match="tcp_retries2 of Linux is no time: it counts in retries"):
        setting("linux", "net.ipv4.tcp_retries2").own(5)


GOOD = """
[tool]
title = "Tool"
kind = "proxy"
who = ["dba"]
applies = "reload"
checked = "source"
version = "1"
source = "Tool: manual"
[tool.settings.timeout]
default = 5
unit = "s"
purpose = "idle"
says = "Ends what is silent."
"""


def test_a_good_text_is_read():
    (entry,) = read(GOOD, "some.toml")
    assert (entry.product.title, entry.name, entry.seconds, entry.who) == ("Tool", "timeout", 5, ("dba",))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('unit = "s"', 'unit = "hours"', "tool, timeout: unit = 'hours' is not one of ms, s, min"),
        ('unit = "s"', "", "tool, timeout: unit is missing"),
        ("default = 5", "", "tool, timeout: without a default, means must say"),
        ('purpose = "idle"', 'purpose = "fun"', "tool, timeout: purpose = 'fun' is not one of keepalive"),
        ('checked = "source"', 'checked = "hearsay"', "checked = 'hearsay' is not one of product, source"),
        ('version = "1"', "", "tool, timeout: version is missing"),
        ('source = "Tool: manual"', "", "tool, timeout: source is missing"),
        ('who = ["dba"]', 'who = ["boss"]', "who = 'boss' is not one of dba"),
        ('who = ["dba"]', "who = []", "who must be empty where a change never applies, and only there"),
        (
            "default = 5",
            'default = 5\nknob = "NONSENSE"',
            "knob = 'NONSENSE' is no knob in tcplab.core.knobs",
        ),
        ("default = 5", "default = 5\ncolour = 1", "'colour' is no field of a setting; use applies, changed"),
        ('kind = "proxy"', 'kind = "car"', "tool: kind = 'car' is not one of system"),
        ('title = "Tool"', "", "tool: title is missing"),
        (
            'kind = "proxy"',
            'kind = "proxy"\ncolour = 1',
            "tool: 'colour' is no field of a product; use databases",
        ),
        ('kind = "proxy"', 'kind = "proxy"\nprobing = "odd"', "probing = 'odd' is not one of thirds, node"),
        ("default = 5", 'default = 5\nroles = ["boss"]', "roles = 'boss' is not one of keepalive"),
        ("[tool.settings.timeout]", "[tool.other.timeout]", "tool: there are no settings"),
        ("[tool]", "[tool", "some.toml is no TOML"),
    ],
)
def test_a_mistake_in_the_file_is_named(old, new, says):
    assert old in GOOD
    with pytest.raises(CatalogueError) as caught:
        read(GOOD.replace(old, new), "some.toml")
    assert says in str(caught.value) and str(caught.value).startswith("some.toml")


def test_a_default_of_linux_that_is_not_there_is_named(monkeypatch, tmp_path):
    file = tmp_path / "tool.toml"
    file.write_text(GOOD.replace("default = 5", 'default = 5\ninherits = "net.nothing"'), "utf-8")
    monkeypatch.setattr(module, "_FOLDER", tmp_path)
    with pytest.raises(CatalogueError, match=r"tool, timeout: inherits = 'net\.nothing' is not in linux"):
        catalogue.__wrapped__()
