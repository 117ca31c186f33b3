"""What whole pastes say: files, lines, products, hosts, counts, conflicts; and proposals, read back."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplab import ParameterError
from tcplab.advice import Environment, advise, read
from tcplab.advice.environment import known_middleboxes
from tcplab.advice.products import of_product
from tcplab.advice.reading import NO_EFFECT, NOT_USED, READ, SECRET
from tcplab.advice.settings import Change, texts
from tcplab.core.catalogue import TIMES, catalogue, products

SPRING = """spring.datasource.url=jdbc:postgresql://shop-nlb-1.elb.eu-west-1.amazonaws.com:5432/shop?connectTimeout=10
spring.datasource.username=shop
spring.datasource.password=hunter2
spring.datasource.hikari.maximum-pool-size=30
spring.datasource.hikari.idle-timeout=10m
spring.datasource.hikari.max-lifetime=1800000
"""


def verdicts(reading):
    return [(line.number, line.verdict) for line in reading.lines]


def test_one_line_that_can_not_be_read_loses_no_other():
    reading = read({"application.properties": SPRING})
    [bad] = [line for line in reading.lines if line.verdict == NOT_USED]
    assert (bad.number, bad.name) == (5, "idle-timeout")
    assert "idleTimeout = '10m' can't be read" in bad.why and bad.correction == "idle-timeout = 600000"
    assert reading.environment.settings == {
        "pgjdbc.connectTimeout": 10,
        "hikaricp.maximumPoolSize": 30,
        "hikaricp.maxLifetime": 1_800_000,
    }
    assert read(SPRING.replace("10m", "600000")).environment.settings["hikaricp.idleTimeout"] == 600_000
    assert "application.properties: 5 of 6 read" in reading.sentence or "line 5" in reading.sentence


def test_a_secret_is_dropped():
    reading = read(SPRING + "jdbc:postgresql://u:hunter3@db/x\napi_key=hunter4")
    assert len([line for line in reading.lines if line.verdict == SECRET]) == 3
    assert "hunter" not in repr(reading)


def test_a_paste_sets_the_form():
    reading = read(
        {"application.properties": SPRING, "deployment.yaml": "kind: Deployment\nspec:\n  replicas: 8\n"}
    )
    env = reading.environment
    assert (env.database, env.driver, env.pool) == ("postgresql", "pgjdbc", "hikaricp")
    assert (env.instances, env.pool_size) == (8, 30)
    assert [each.name for each in env.legs[0].middleboxes] == ["AWS NLB"]
    assert set(reading.found) >= {"driver", "pool", "instances", "pool_size", "legs", "settings"}


def test_a_pasted_size_is_the_size_that_is_checked():
    """`maximum-pool-size=3000` and still "10 connections < 100"."""
    start = Environment(driver="pgjdbc", pool="hikaricp")
    env = read("spring.datasource.hikari.maximum-pool-size=3000", start).environment
    [places] = [each for each in advise(env).checks if each.name == "places at PostgreSQL server"]
    assert env.pool_size == 3000 and not places.holds and places.left == 3000
    both = replace(start, settings={"hikaricp.maximumPoolSize": 3000})
    [places] = [each for each in advise(both).checks if each.name == "places at PostgreSQL server"]
    assert places.left == 3000


PYTHON = """from sqlalchemy import create_engine
engine = create_engine(
    "mysql+pymysql://app:geheim@db/shop", pool_recycle=3600, pool_pre_ping=True, pool_size=20,
    connect_args={"connect_timeout": 5, "read_timeout": 30},
)
"""


def test_a_call_of_create_engine_is_read_and_not_run():
    env = read(PYTHON).environment
    assert (env.database, env.driver, env.pool) == ("mysql", "pymysql", "sqlalchemy")
    assert env.settings == {
        "sqlalchemy.pool_recycle": 3600,
        "sqlalchemy.pool_pre_ping": True,
        "sqlalchemy.pool_size": 20,
        "pymysql.connect_timeout": 5,
        "pymysql.read_timeout": 30,
    }
    # With the overflow, which stays at its default.
    assert env.pool_size == 30


def test_a_descriptor_of_oracle_is_read():
    descriptor = (
        "SHOP =\n  (DESCRIPTION = (ENABLE=BROKEN)(CONNECT_TIMEOUT=10)\n"
        "    (ADDRESS=(PROTOCOL=TCP)(HOST=db.example)(PORT=1521))\n    (CONNECT_DATA=(SERVICE_NAME=shop)))\n"
    )
    env = read({"tnsnames.ora": descriptor, "sqlnet.ora": "SQLNET.EXPIRE_TIME=10"}).environment
    assert env.database == "oracle" and env.driver == "oracle"
    assert env.settings["oracle.ENABLE=BROKEN"] is True
    assert env.settings["oracle.SQLNET.EXPIRE_TIME"] == 10
    assert env.settings["oracle.SQLNET.OUTBOUND_CONNECT_TIMEOUT"] == 10


def test_proxies_and_services_come_from_files_and_hosts():
    pgbouncer = (
        "[databases]\nshop = host=shop.c1.eu-west-1.rds.amazonaws.com port=5432 dbname=shop\n"
        "[pgbouncer]\nmax_client_conn = 500\ndefault_pool_size = 50\n"
    )
    env = read({"application.properties": SPRING, "pgbouncer.ini": pgbouncer}).environment
    assert env.proxies == ("pgbouncer",) and len(env.legs) == 2
    assert env.managed == "rds" and env.settings["pgbouncer.default_pool_size"] == 50
    assert [each.name for each in env.legs[0].middleboxes] == ["AWS NLB"]

    rds = next(each for each in advise(env).checks if each.heard_by == "PostgreSQL server")
    assert rds.left == pytest.approx(360, abs=1)


AS_PEOPLE_WRITE = {
    "Go, database/sql": (
        'import ("database/sql"; _ "github.com/go-sql-driver/mysql")\n'
        'db, err := sql.Open("mysql", "app:geheim@tcp(db:3306)/shop?timeout=5s&readTimeout=30s")\n'
        "db.SetMaxOpenConns(20)\ndb.SetConnMaxLifetime(4 * time.Minute)\n"
        "db.SetConnMaxIdleTime(time.Minute)\n",
        ("mysql", "go_sql_driver", "database_sql", 20),
        {"go_sql_driver.readTimeout": 30, "database_sql.SetConnMaxLifetime": 240},
    ),
    "Go, pgxpool": (
        'cfg, err := pgxpool.ParseConfig("postgres://a:geheim@db/shop?pool_max_conns=20&'
        'pool_max_conn_lifetime=1h&connect_timeout=5")',
        ("postgresql", "pgx", "pgxpool", 20),
        {"pgxpool.pool_max_conn_lifetime": 3600, "pgx.connect_timeout": 5},
    ),
    ".NET, Npgsql": (
        '"Shop": "Host=db;Port=5432;Username=app;Password=geheim;TCP Keepalive=true;'
        'TCP Keepalive Time=60;Maximum Pool Size=50"',
        ("postgresql", "npgsql", "npgsql", 50),
        {"npgsql.TCP Keepalive": True, "npgsql.TCP Keepalive Time": 60},
    ),
    ".NET, SqlClient": (
        '<add name="Shop" connectionString="Server=tcp:db,1433;Initial Catalog=shop;User ID=app;'
        'Password=geheim;Connect Timeout=5;Max Pool Size=200" />',
        ("sqlserver", "sqlclient", "sqlclient", 200),
        {"sqlclient.Connect Timeout": 5},
    ),
    "Node, pg": (
        "const { Pool } = require('pg')\nconst pool = new Pool({\n  host: process.env.DB, max: 20,\n"
        "  connectionTimeoutMillis: 5000, // ms\n"
        "  keepAlive: true, keepAliveInitialDelayMillis: 10 * 1000,\n})",
        ("postgresql", "node_postgres", "pg_pool", 20),
        {"node_postgres.keepAliveInitialDelayMillis": 10_000, "pg_pool.connectionTimeoutMillis": 5000},
    ),
    "Django": (
        'DATABASES = {\n "default": {\n  "ENGINE": "django.db.backends.postgresql", "PASSWORD": "geheim",\n'
        '  "CONN_MAX_AGE": 300, "CONN_HEALTH_CHECKS": True,\n  "OPTIONS": {"keepalives_idle": 60},\n }\n}',
        ("postgresql", "libpq", "django", 10),
        {"django.CONN_MAX_AGE": 300, "libpq.keepalives_idle": 60},
    ),
    "psycopg_pool": (
        "from psycopg_pool import ConnectionPool\n"
        'pool = ConnectionPool("host=db dbname=shop keepalives_idle=60", max_size=20, timeout=5)',
        ("postgresql", "libpq", "psycopg_pool", 20),
        {"libpq.keepalives_idle": 60, "psycopg_pool.timeout": 5},
    ),
    "nginx": (
        "stream {\n  server { listen 5432; proxy_pass db; proxy_timeout 1h; proxy_connect_timeout 5s; }\n}",
        ("postgresql", "libpq", "", 10),
        {"nginx.proxy_timeout": 3600, "nginx.proxy_connect_timeout": 5},
    ),
    "ProxySQL": (
        "SET mysql-wait_timeout=3600000;\nSET mysql-tcp_keepalive_time=60;",
        ("mysql", "connector_j", "", 10),
        {"proxysql.mysql-wait_timeout": 3_600_000},
    ),
    "redis-py": (
        'import redis\nr = redis.Redis(host="cache", socket_timeout=5, health_check_interval=30)',
        ("redis", "redis_py", "", 10),
        {"redis_py.socket_timeout": 5, "redis_py.health_check_interval": 30},
    ),
    "MongoDB": (
        "mongodb://app:geheim@m1,m2/shop?maxIdleTimeMS=300000&maxPoolSize=50",
        ("mongodb", "pymongo", "pymongo", 50),
        {"pymongo.maxIdleTimeMS": 300_000},
    ),
    "Spring's YAML": (
        "spring:\n  datasource:\n    url: jdbc:mysql://db:3306/shop?socketTimeout=60000\n"
        "    password: geheim\n"
        "    hikari:\n      maximum-pool-size: 25\n      max-lifetime: 540000\n",
        ("mysql", "connector_j", "hikaricp", 25),
        {"connector_j.socketTimeout": 60_000, "hikaricp.maxLifetime": 540_000},
    ),
    "Tomcat": (
        '<Resource factory="org.apache.tomcat.jdbc.pool.DataSourceFactory" maxActive="50" maxWait="10000"'
        ' testOnBorrow="true" url="jdbc:postgresql://db/shop?socketTimeout=60"/>',
        ("postgresql", "pgjdbc", "tomcat_jdbc", 50),
        {"tomcat_jdbc.maxWait": 10_000, "pgjdbc.socketTimeout": 60},
    ),
    "Java, a builder": (
        "SocketOptions.builder().keepAlive(true).connectTimeout(Duration.ofSeconds(10))",
        ("redis", "lettuce", "", 10),
        {"lettuce.keepAlive": True, "lettuce.connectTimeout": 10},
    ),
    "Java, setters": (
        "HikariConfig config = new HikariConfig();\nconfig.setMaximumPoolSize(30);\n"
        "config.setMaxLifetime(540000);",
        ("postgresql", "pgjdbc", "hikaricp", 30),
        {"hikaricp.maxLifetime": 540_000},
    ),
    "psql": (
        " tcp_keepalives_idle | 60\n statement_timeout   | 30s",
        ("postgresql", "libpq", "", 10),
        {"postgresql.tcp_keepalives_idle": 60, "postgresql.statement_timeout": 30_000},
    ),
}


@pytest.mark.parametrize("name", AS_PEOPLE_WRITE)
def test_as_people_write_it(name):
    text, products_, settings = AS_PEOPLE_WRITE[name]
    reading = read(text)
    env = reading.environment
    assert (env.database, env.driver, env.pool, env.pool_size) == products_
    assert settings.items() <= env.settings.items()
    assert not [line for line in reading.lines if line.verdict == NOT_USED], reading.sentence
    assert "geheim" not in repr(reading)


def test_files_in_one_paste():
    reading = read(
        "## a/postgresql.conf\ntcp_keepalives_idle = 1min\n==> b.conf <==\nnet.ipv4.tcp_retries2 = 8\n"
    )
    assert [file.name for file in reading.files] == ["a/postgresql.conf", "b.conf"]
    assert [(line.number, line.key) for line in reading.lines] == [
        (1, "postgresql.tcp_keepalives_idle"),
        (1, "linux.net.ipv4.tcp_retries2"),
    ]


def test_what_is_known_and_without_effect_and_what_is_misspelt():
    reading = read({"postgresql.conf": "port = 5432\nwal_receiver_timout = 5\ntcp_keepalives_idle = 60\n"})
    assert verdicts(reading) == [(1, NO_EFFECT), (2, NOT_USED), (3, READ)]
    assert reading.lines[1].correction == "wal_receiver_timeout"


KUBERNETES = """
env:
  - name: SPRING_DATASOURCE_HIKARI_MAXIMUM_POOL_SIZE
    value: "20"
securityContext:
  sysctls:
    - name: net.ipv4.tcp_keepalive_time
      value: "60"
"""


def test_an_environment_variable_wins_over_a_property():
    reading = read({"application.properties": SPRING, "deployment.yaml": KUBERNETES})
    [twice] = [each for each in reading.conflicts if each.kind == "twice"]
    assert reading.environment.settings["hikaricp.maximumPoolSize"] == 20
    assert reading.environment.settings["linux.net.ipv4.tcp_keepalive_time"] == 60
    assert twice.choices[twice.taken].settings == {"hikaricp.maximumPoolSize": 20}
    assert "an environment variable wins" in twice.why
    swapped = read({"deployment.yaml": KUBERNETES, "application.properties": SPRING})
    assert swapped.environment.pool_size == 20
    [other] = [each for each in twice.choices if each.settings != {"hikaricp.maximumPoolSize": 20}]
    assert other.on(reading.environment).settings["hikaricp.maximumPoolSize"] == 30


def test_the_last_line_of_a_file_wins():
    reading = read({"postgresql.conf": "max_connections = 100\nmax_connections = 300\n"})
    [twice] = reading.conflicts
    assert reading.environment.settings["postgresql.max_connections"] == 300
    assert "line 1" in twice.sentence and "line 2" in twice.sentence


@pytest.mark.parametrize(
    ("text", "says", "mends"),
    [
        (
            "host=db keepalives=0 tcp_user_timeout=30000",
            "tcp_user_timeout does nothing while keepalives is off",
            {"libpq.keepalives": 1},
        ),
        (
            "maxLifetime=540000\nkeepaliveTime=600000",
            "keepaliveTime (600 s) does nothing, for maxLifetime (540 s) replaces",
            {"hikaricp.keepaliveTime": 270_000},
        ),
        (
            "jdbc:mariadb://db/x?tcpKeepAlive=false&tcpKeepIdle=60",
            "tcpKeepIdle does nothing while tcpKeepAlive is off",
            {"mariadb_connector_j.tcpKeepAlive": True},
        ),
        (
            "jdbc:postgresql://db/x?connectTimeout=5\nnet.ipv4.tcp_keepalive_time = 60",
            "Linux's tcp_keepalive_* does nothing for pgjdbc",
            {"pgjdbc.tcpKeepAlive": True},
        ),
    ],
)
def test_a_setting_without_effect(text, says, mends):
    reading = read(text)
    [conflict] = [each for each in reading.conflicts if each.kind == "no effect"]
    assert says in conflict.sentence
    mended = conflict.choices[1].on(reading.environment)
    assert mends.items() <= mended.settings.items()
    assert says not in " ".join(each.sentence for each in read("", mended).conflicts)


def test_whose_sysctls_they_are():
    reading = read("jdbc:mysql://db/x?connectTimeout=5000\nnet.ipv4.tcp_keepalive_time = 60")
    [whose] = [each for each in reading.conflicts if each.kind == "whose"]
    dead = {
        each.label: {
            check.name: check.left
            for check in advise(each.on(reading.environment)).checks
            if check.name == "a dead client is noticed"
        }["a dead client is noticed"]
        for each in whose.choices
    }
    assert dead["the application's host only"] == pytest.approx(7875, abs=1)
    assert dead["the database's host only"] == pytest.approx(60 + 9 * 75, abs=1)


def test_a_files_name_says_whose_sysctls_they_are():
    reading = read({"deployment.yaml": KUBERNETES})
    assert reading.environment.linux_host == "application" and "linux_host" in reading.found
    assert not [each for each in reading.conflicts if each.kind == "whose"]
    database = read({"db-host/90-tcp.conf": "net.ipv4.tcp_keepalive_time = 60"})
    assert database.environment.linux_host == "database"
    two = {"app/90-tcp.conf": "net.ipv4.tcp_retries2 = 8", "db/90-tcp.conf": "net.core.somaxconn = 512"}
    assert read(two).environment.linux_host == ""


def test_a_port_that_is_another_products():
    reading = read("jdbc:postgresql://db:6432/shop?tcpKeepAlive=true")
    [port] = [each for each in reading.conflicts if each.kind == "port"]
    assert "port 6432 is usually PgBouncer's" in port.sentence
    assert port.choices[1].on(reading.environment).proxies == ("pgbouncer",)


def test_long_pastes_are_read_at_once():
    """2,000 lines: a whole postgresql.conf and more. CPU time, the best of five runs."""
    lines = [f"some_other_parameter_{i} = {i}" for i in range(1000)]
    for i in range(300):
        lines += ["tcp_keepalives_idle = 60", f"engine = create_engine(x{i}=5)", ""]
    text = "\n".join([*lines, *SPRING.splitlines() * 17])
    assert text.count("\n") > 1990

    def once():
        began = time.process_time()
        read({"postgresql.conf": "\n".join(lines), "application.properties": SPRING * 17})
        return time.process_time() - began

    read(SPRING)
    assert min(once() for _ in range(5)) < 0.2


@pytest.mark.parametrize(
    ("texts_", "says"),
    [
        (3, "texts must be a text"),
        ({"a": 3}, "settings must be a text."),
        ({"a": "x" * 600_000, "b": "x" * 600_000}, "at most 1,000,000"),
    ],
)
def test_what_is_no_paste(texts_, says):
    with pytest.raises(ParameterError) as caught:
        read(texts_)
    assert says in str(caught.value) and "\n" not in str(caught.value)


WORDS = sorted({each.name for each in catalogue()} | {m for p in products() for m in p.marks})


@given(
    st.lists(
        st.tuples(
            st.sampled_from(WORDS),
            st.sampled_from(("=", " ", ": ", "(", "", "://", ";")),
            st.text(max_size=12),
        ),
        max_size=8,
    )
)
def test_whatever_is_pasted_is_read(parts):
    reading = read("\n".join("".join(part) for part in parts))
    assert reading.sentence and advise(reading.environment)


# --- the round trip ---------------------------------------------------------------------------------


def proposed(each):
    """A value that a product would take and that is not its default."""
    if isinstance(each.default, bool):
        return not each.default
    if each.unit == "switch":
        return 1 - int(each.default)
    return int(max(each.low or 0, 7))


PRODUCTS = [each for each in products() if each.kind not in ("box",) and each.key not in ("socket", "java")]


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda each: each.key)
def test_what_is_proposed_read_back_changes_nothing(product):
    settings = [
        each for each in catalogue()
        if each.product.key == product.key and each.who and not each.is_text
    ]  # fmt: skip
    changes = [
        Change(each, f"{product.key}.{each.name}", proposed(each), each.default, "1: because")
        for each in settings
    ]
    kinds = texts(changes)
    reading = read(kinds)
    wanted = {change.key: change.value for change in changes}
    got = {key: value for key, value in reading.environment.settings.items() if key in wanted}
    assert got == wanted
    assert not [line for line in reading.lines if line.verdict == NOT_USED], reading.sentence


def test_advice_pasted_back_proposes_nothing():
    env = read(SPRING, Environment(outage_s=60, longest_silent_query_s=900)).environment
    advice = advise(env)
    again = read(advice.paste, env)
    assert not [each for each in again.conflicts if each.kind == "twice"]
    assert advise(again.environment).changes == ()
    assert again.environment.settings == {**env.settings, **{c.key: c.value for c in advice.changes}}
    assert of_product(env.pool).title == "HikariCP" and "AWS NLB" in known_middleboxes() and TIMES
