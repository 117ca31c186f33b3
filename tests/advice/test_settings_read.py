"""Settings as people paste them: every kind of file, its units, what is not known, and nonsense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplab import ParameterError
from tcplab.advice import read_settings
from tcplab.core.catalogue import find

JDBC_PG = "jdbc:postgresql://db.example:5432/shop?user=app&password=geheim&socketTimeout=30&tcpKeepAlive=true"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (JDBC_PG, {"pgjdbc.socketTimeout": 30, "pgjdbc.tcpKeepAlive": True}),
        (
            "spring.datasource.url=jdbc:mysql://db/shop?connectTimeout=10000&socketTimeout=60000",
            {"connector_j.connectTimeout": 10_000, "connector_j.socketTimeout": 60_000},
        ),
        (
            '<url>"jdbc:mariadb:replication://a,b/shop?tcpKeepIdle=60&socketTimeout=5000"',
            {"mariadb_connector_j.tcpKeepIdle": 60, "mariadb_connector_j.socketTimeout": 5000},
        ),
        (
            "postgres://app:geheim@db/shop?keepalives_idle=60&tcp_user_timeout=30000",
            {"libpq.keepalives_idle": 60, "libpq.tcp_user_timeout": 30_000},
        ),
        (
            "host=db dbname=shop password='a b' keepalives=0 connect_timeout=5",
            {"libpq.keepalives": 0, "libpq.connect_timeout": 5},
        ),
        (
            "maximumPoolSize=20\nmaxLifetime=540000  # nine minutes\npoolName=shop",
            {"hikaricp.maximumPoolSize": 20, "hikaricp.maxLifetime": 540_000},
        ),
        (
            "spring.datasource.hikari.max-lifetime=540000\nspring.datasource.hikari.keepalive-time = 30000",
            {"hikaricp.maxLifetime": 540_000, "hikaricp.keepaliveTime": 30_000},
        ),
        (
            "hikari:\n  connection-timeout: 20000\n  max-lifetime: 540000",
            {"hikaricp.connectionTimeout": 20_000, "hikaricp.maxLifetime": 540_000},
        ),
        (
            "net.ipv4.tcp_keepalive_time = 300\nnet/ipv4/ip_local_port_range = 1024\t65000\n"
            "-net.core.somaxconn=512",
            {
                "linux.net.ipv4.tcp_keepalive_time": 300,
                "linux.net.ipv4.ip_local_port_range": "1024 65000",
                "linux.net.core.somaxconn": 512,
            },
        ),
        (
            "[databases]\nshop = host=db port=5432\n[pgbouncer]\ntcp_keepidle = 60\n"
            "server_idle_timeout = 30.5 ; s\ntcp_user_timeout = 12500\nmax_client_conn=500",
            {
                "pgbouncer.tcp_keepidle": 60,
                "pgbouncer.server_idle_timeout": 30.5,
                "pgbouncer.tcp_user_timeout": 12_500,
                "pgbouncer.max_client_conn": 500,
            },
        ),
        (
            "[mysqld]\nwait-timeout = 600\nmax_connections=300",
            {
                f"{each}.{name}": value
                for each in ("mysql", "mariadb")
                for name, value in (("wait_timeout", 600), ("max_connections", 300))
            },
        ),
        (
            "# postgresql.conf\ntcp_keepalives_idle = 1min\ntcp_user_timeout = '30s'\n"
            "idle_session_timeout = 2h  # not in a transaction\nmax_connections = 200",
            {
                "postgresql.tcp_keepalives_idle": 60,
                "postgresql.tcp_user_timeout": 30_000,
                "postgresql.idle_session_timeout": 7_200_000,
                "postgresql.max_connections": 200,
            },
        ),
        (
            "tcp-keepalive 60\ntimeout 300\ntcp-backlog 1024",
            {"redis.tcp-keepalive": 60, "redis.timeout": 300, "redis.tcp-backlog": 1024},
        ),
        ("SQLNET.EXPIRE_TIME=10", {"oracle.SQLNET.EXPIRE_TIME": 10}),
        (
            "defaults\n  mode tcp\n  option clitcpka\n  no option srvtcpka\n  timeout client 1m\n"
            "  timeout server 90s\n  timeout tunnel 3600000\n  clitcpka-idle 10s\n  clitcpka-cnt 3\n"
            "listen db\n  bind :5432 tcp-ut 30s\n  server a 10.0.0.1:5432 check inter 5s fall 2",
            {
                "haproxy.option clitcpka": True,
                "haproxy.option srvtcpka": False,
                "haproxy.timeout client": 60_000,
                "haproxy.timeout server": 90_000,
                "haproxy.timeout tunnel": 3_600_000,
                "haproxy.clitcpka-idle": 10,
                "haproxy.clitcpka-cnt": 3,
                "haproxy.tcp-ut": 30_000,
                "haproxy.inter": 5000,
                "haproxy.fall": 2,
            },
        ),
        ("psycopg_pool.max_lifetime = 1800   # s", {"psycopg_pool.max_lifetime": 1800}),
    ],
)
def test_what_is_read(text, read):
    assert dict(read_settings(text)) == read


def test_several_files_below_each_other():
    read = read_settings(
        f"net.ipv4.tcp_keepalive_time = 60\n{JDBC_PG}\n# postgresql.conf\ntcp_user_timeout = 10s\n"
        "[pgbouncer]\ntcp_user_timeout = 7000\n"
    )
    assert dict(read) == {
        "linux.net.ipv4.tcp_keepalive_time": 60,
        "pgjdbc.socketTimeout": 30,
        "pgjdbc.tcpKeepAlive": True,
        "postgresql.tcp_user_timeout": 10_000,
        "pgbouncer.tcp_user_timeout": 7000,
    }


def test_what_is_not_known_is_named_without_its_value():
    read = read_settings(
        "jdbc:postgresql://db/shop?fancyThing=geheim&apiToken=geheim&socketTimeout=5&password=geheim"
    )
    assert read.unknown == ("fancyThing",)
    assert read.sentence == "Read: socketTimeout. Not known here, and left out: fancyThing."
    assert "geheim" not in repr(read)
    assert read_settings("").sentence == "There is no setting in this text."
    assert "left out: frobnicate" in read_settings("frobnicate = 3").sentence


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("maxLifetime=30 min\nmaximumPoolSize=3", "HikariCP: maxLifetime = '30 min' can't be read: it takes"),
        ("jdbc:postgresql://db/x?socketTimeout=30s", "pgjdbc: socketTimeout = '30s' can't be read"),
        ("jdbc:postgresql://db/x?tcpKeepAlive=perhaps", "tcpKeepAlive = 'perhaps' is neither on nor off."),
        ("net.ipv4.ip_local_port_range = 65000 1024", "is no range: two ports, the lower one first."),
        ("# postgresql.conf\ntcp_user_timeout = 5 fortnights", "us, ms, s, min, h, d"),
        (
            "[mysqld]\nwait_timeout = 1.5",
            "wait_timeout = '1.5' can't be read: it takes a number of s,",
        ),
        ("net.core.somaxconn = 99999999999999999999", "is no number"),
    ],
)
def test_a_value_that_its_product_would_not_take_is_one_sentence(text, says):
    read = read_settings(text)
    assert says in read.refused[0].why and "\n" not in read.sentence
    assert read.refused[0].key not in read


@pytest.mark.parametrize("text", ["x" * 1_000_001, 7])
def test_what_is_no_text_to_read(text):
    with pytest.raises(ParameterError, match=r"at most 1,000,000\.|must be a text\."):
        read_settings(text)


NAMES = sorted({each.name for each in find()} | {"jdbc:mysql://x?", "timeout client", "[mysqld]", "spring."})


@given(
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from(("=", " ", ": ", "")), st.text(max_size=12)),
        max_size=6,
    )
)
def test_whatever_is_pasted_is_read_or_refused_in_a_sentence(parts):
    text = "\n".join("".join(part) for part in parts)
    try:
        read = read_settings(text)
    except ParameterError as refused:
        assert str(refused).count("\n") == 0
    else:
        assert read.sentence
