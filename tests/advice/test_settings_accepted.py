"""The text to paste is taken by the products themselves, and means there what it says."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from conftest import need
from programs import folder, free_port, running, wait_for
from tcplab.advice import Environment, Leg, MiddleboxSettings, advise

BOX = MiddleboxSettings("a box: 350 s, “quoted”; # and such", 350)
OLD = MiddleboxSettings("old", 350, age_s=900)
RUSH = {"connects_per_s": 2000, "instances": 40, "outage_s": 45}
POSTGRESQL = advise(
    Environment(
        driver="libpq", pool="psycopg_pool", proxies=("haproxy", "pgbouncer"),
        legs=tuple(Leg(f"leg {i}", (BOX,)) for i in range(3)), **RUSH,
        settings={
            "pgbouncer.tcp_keepalive": 0, "pgbouncer.query_timeout": 30, "haproxy.timeout server": 60_000,
            "libpq.keepalives": 0, "postgresql.idle_session_timeout": 60_000,
            "pgbouncer.default_pool_size": 200, "pgbouncer.client_idle_timeout": 60,
        },
    )
)  # fmt: skip
JAVA = advise(
    Environment(
        driver="pgjdbc", pool="hikaricp", legs=(Leg("leg", (OLD,)),), **RUSH,
        settings={"pgjdbc.socketTimeout": 60, "hikaricp.keepaliveTime": 0},
    )
)  # fmt: skip
MARIADB = advise(
    Environment(
        database="mariadb", pool="sqlalchemy", legs=(Leg("leg", (BOX,)),), **RUSH,
        settings={"mariadb.wait_timeout": 60},
    )
)  # fmt: skip
REDIS = advise(
    Environment(
        database="redis", legs=(Leg("leg", (BOX,)),), instances=2000, settings={"redis.timeout": 60}
    )
)  # fmt: skip


def changed(advice, product):
    """What is changed of one product, by name."""
    return {each.setting.name: each.value for each in advice.changes if each.setting.product.key == product}


def test_every_kind_of_file_is_among_them():
    kinds = {kind for advice in (POSTGRESQL, JAVA, MARIADB, REDIS) for kind in advice.paste}
    assert kinds >= {
        "sysctl.d", "postgresql.conf", "libpq", "jdbc", "my.cnf", "redis.conf", "hikari",
        "haproxy", "pgbouncer",
    }  # fmt: skip


def test_postgresql_starts_with_it_and_has_it():
    programs, port = Path(need("initdb")).resolve().parent, free_port()
    psql, wanted = need("psql"), changed(POSTGRESQL, "postgresql")
    with folder() as (here, options):
        make = [programs / "initdb", "-D", here / "data", "-U", "postgres", "-A", "trust", "-N",
                "--no-locale", "-E", "UTF8"]  # fmt: skip
        subprocess.run(make, check=True, **options)
        with (here / "data" / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(POSTGRESQL.paste["postgresql.conf"])
        command = [programs / "postgres", "-D", here / "data", "-p", str(port), "-k", "", "-h", "127.0.0.1",
                   "-F"]  # fmt: skip

        def ask():
            sql = "select name, setting from pg_settings where name = any (string_to_array($$%s$$, ','))"
            question = [psql, "-XAtd", f"host=127.0.0.1 port={port} user=postgres", "-c",
                        sql % ",".join(wanted)]  # fmt: skip
            done = subprocess.run(question, capture_output=True, text=True)
            return dict(line.split("|") for line in done.stdout.splitlines()) or None

        with running(command, signal.SIGINT, **options):
            assert wait_for(ask) == {name: str(value) for name, value in wanted.items()}


def test_pgbouncer_starts_with_it_and_has_it():
    pgbouncer, psql, port = need("pgbouncer"), need("psql"), free_port()
    wanted = changed(POSTGRESQL, "pgbouncer")
    assert wanted["tcp_keepalive"] == 1 and wanted["query_timeout"] > 600
    with folder() as (here, options):
        own = ["[databases]", "[pgbouncer]", "listen_addr = 127.0.0.1", f"listen_port = {port}",
               "unix_socket_dir =", "auth_type = any", "admin_users = asker"]  # fmt: skip
        file = here / "pgbouncer.ini"
        file.write_text("\n".join(own) + "\n" + POSTGRESQL.paste["pgbouncer"], "utf-8")

        def ask():
            question = [psql, "-XAtd", f"host=127.0.0.1 port={port} user=asker dbname=pgbouncer", "-c",
                        "show config"]  # fmt: skip
            done = subprocess.run(question, capture_output=True, text=True)
            return {row.split("|")[0]: row.split("|")[1] for row in done.stdout.splitlines()} or None

        with running([pgbouncer, "-q", file], signal.SIGINT, **options):
            have = wait_for(ask)
    assert {name: have[name] for name in wanted} == {name: str(value) for name, value in wanted.items()}


def test_haproxy_takes_it(tmp_path):
    haproxy = need("haproxy")
    assert "timeout tunnel" in POSTGRESQL.paste["haproxy"]
    file = tmp_path / "haproxy.cfg"
    usual = "    mode tcp\n    timeout connect 5s\n    timeout client 1m\n    timeout server 1m\n"
    way = "listen db\n    bind 127.0.0.1:6432\n    server one 127.0.0.1:5432\n"
    file.write_text("defaults\n" + usual + POSTGRESQL.paste["haproxy"] + way, "utf-8")
    done = subprocess.run([haproxy, "-c", "-f", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr.upper(), done.stderr


def test_mariadb_reads_it(tmp_path):
    mariadbd, wanted = need("mariadbd"), changed(MARIADB, "mariadb")
    file = tmp_path / "my.cnf"
    file.write_text(MARIADB.paste["my.cnf"], "utf-8")
    command = [mariadbd, f"--defaults-file={file}", "--verbose", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    have = dict(re.findall(r"^([a-z][a-z0-9-]*) +(\S+)$", text, re.MULTILINE))
    assert {name: have[name.replace("_", "-")] for name in wanted} == {
        name: str(value) for name, value in wanted.items()
    }


def test_redis_starts_with_it_and_has_it():
    server, client, port = need("redis-server"), need("redis-cli"), free_port()
    wanted = changed(REDIS, "redis")
    assert {"tcp-keepalive", "timeout", "tcp-backlog", "maxclients"} <= set(wanted)

    def ask(*words):
        done = subprocess.run([client, "-p", str(port), *words], capture_output=True, text=True)
        return done.stdout.split("\n")[:-1]

    with folder() as (here, options):
        file = here / "redis.conf"
        file.write_text(REDIS.paste["redis.conf"], "utf-8")
        command = [server, file, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        with running(command, **options):
            wait_for(lambda: ask("ping") == ["PONG"] or None)
            # Redis lowers maxclients where it may not open so many files.
            names = [name for name in wanted if name != "maxclients"]
            assert {name: ask("config", "get", name)[1] for name in names} == {
                name: str(wanted[name]) for name in names
            }


@pytest.mark.linux
@pytest.mark.parametrize("advice", [POSTGRESQL, JAVA, MARIADB], ids=["postgresql", "java", "mariadb"])
def test_linux_has_every_sysctl_and_takes_the_value(advice):
    """In a network namespace of its own, so that the machine keeps what it has."""
    write = (
        "import json, pathlib, sys\n"
        "for name, value in json.loads(sys.argv[1]).items():\n"
        "    file = pathlib.Path('/proc/sys', *name.split('.'))\n"
        "    file.write_text(str(value))\n"
        "    assert file.read_text().split() == str(value).split(), name\n"
    )
    lines = [line.split(" = ") for line in advice.paste["sysctl.d"].splitlines() if not line.startswith("#")]
    assert lines
    command = [need("unshare"), "--map-root-user", "--net", sys.executable, "-c", write,
               json.dumps(dict(lines))]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if "Operation not permitted" in done.stderr and not os.environ.get("CI"):
        pytest.skip("no network namespace may be made here")
    assert done.returncode == 0, done.stderr


def test_libpq_takes_the_connection_string():
    need("psycopg")
    from psycopg.conninfo import conninfo_to_dict

    [url] = [line for line in POSTGRESQL.paste["libpq"].splitlines() if not line.startswith("#")]
    read = conninfo_to_dict(url)
    wanted = changed(POSTGRESQL, "libpq")
    assert {name: read[name] for name in wanted} == {name: str(value) for name, value in wanted.items()}


@pytest.mark.parametrize(
    ("advice", "product", "scheme"),
    [(JAVA, "pgjdbc", "jdbc:postgresql"), (MARIADB, "mariadb_connector_j", "jdbc:mariadb")],
)
def test_the_jdbc_url_has_the_shape_of_one(advice, product, scheme):
    [url] = [line for line in advice.paste["jdbc"].splitlines() if not line.startswith("#")]
    assert url.startswith(f"{scheme}://HOST/DATABASE?")
    pairs = dict(parse_qsl(urlsplit(url.removeprefix("jdbc:")).query, strict_parsing=True))
    assert pairs == {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in changed(advice, product).items()
    }


def test_hikaricp_would_take_every_property():
    """Above the least that it takes, and the ping below the age (HikariConfig.java:validateNumerics)."""
    lines = [line for line in JAVA.paste["hikari"].splitlines() if not line.startswith("#")]
    values = {name: int(value) for name, value in (line.split("=") for line in lines)}
    assert values["maxLifetime"] >= 30_000
    assert values.get("keepaliveTime", 30_000) >= 30_000
    assert values.get("keepaliveTime", 0) < values["maxLifetime"]
    assert all(re.fullmatch(r"[a-zA-Z]+=\d+", line) for line in lines)


@pytest.mark.parametrize("kind", ["haproxy", "pgbouncer"])
def test_no_second_section_is_pasted(kind):
    """Both products forget what stood in the first section of that name."""
    lines = [line.strip() for line in POSTGRESQL.paste[kind].splitlines()]
    assert not {"defaults", "[pgbouncer]"} & set(lines)
    assert "a second section would replace the first" in lines[0]
