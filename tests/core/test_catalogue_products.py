"""The catalogue's defaults against the real products, where they are installed."""

import ctypes
import gzip
import inspect
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import need
from programs import folder, free_port, running, wait_for
from tcplab.core.catalogue import find, setting
from tcplab.core.releases import release


def seen(names, product, read):
    """Catalogue and product side by side; {} when they say the same."""
    pairs = {name: (setting(product, name).default, read(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


# --- Linux ------------------------------------------------------------------------------------------

READ_LINUX = """
import json, pathlib, socket, sys
found = {}
for name in json.loads(sys.argv[1]):
    file = pathlib.Path("/proc/sys", *name.split("."))
    if file.exists():
        found[name] = " ".join(file.read_text().split())
with socket.socket() as fresh:
    for name in ("SO_KEEPALIVE", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT",
                 "TCP_RTO_MAX_MS", "TCP_SYNCNT", "TCP_DEFER_ACCEPT", "IP_BIND_ADDRESS_NO_PORT"):
        level = {"SO": socket.SOL_SOCKET, "TC": socket.IPPROTO_TCP, "IP": socket.IPPROTO_IP}[name[:2]]
        number = getattr(socket, name, {"IP_BIND_ADDRESS_NO_PORT": 24, "TCP_RTO_MAX_MS": 44}.get(name))
        try:
            found[name] = str(fresh.getsockopt(level, number))
        except OSError:
            pass  # not in this Linux
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def linux():
    """What an untouched network namespace has: nobody's sysctl.conf reaches it."""
    if sys.platform != "linux":
        pytest.skip("needs Linux")
    names = [each.name for product in ("linux", "conntrack") for each in find(product=product)]
    command = [
        need("unshare"),
        "--map-root-user",
        "--net",
        sys.executable,
        "-c",
        READ_LINUX,
        json.dumps(names),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no fresh network namespace here: {done.stderr.strip()}")
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def rules():
    return release(".".join(re.findall(r"\d+", platform.release())[:2]))


def test_sysctls(linux, rules):
    # What differs between versions stands in releases.py; the catalogue has the newest.
    by_version = {
        "net.core.somaxconn": rules.somaxconn,
        "net.ipv4.tcp_tw_reuse": rules.tw_reuse,
        "net.ipv4.ip_local_port_range": f"32768 {rules.last_local_port}",
    }
    compared = 0
    for each in find(product="linux"):
        if not each.name.startswith("net."):
            continue
        if each.name == "net.ipv4.tcp_tw_recycle":
            assert (each.name in linux) == rules.older_than("4.12")
        elif each.name not in linux:
            assert each.since and rules.older_than(each.since), f"{each.name} is not in this Linux"
        elif each.default is None:
            assert int(linux[each.name]) > 0  # from the machine's memory
        else:
            assert linux[each.name] == str(by_version.get(each.name, each.default)), each.name
            compared += 1
    assert compared >= 18


def test_socket_options(linux, rules):
    for each in find(product="socket"):
        if each.name not in linux:
            assert each.since and rules.older_than(each.since), f"{each.name} is not in this Linux"
            continue
        assert linux[each.name] == str(each.default), each.name
        if each.inherits:
            assert each.default == each.effective.default


def test_conntrack(linux):
    if "net.netfilter.nf_conntrack_tcp_timeout_established" not in linux:
        pytest.skip("this Linux has no nf_conntrack loaded")
    for each in find(product="conntrack"):
        if each.default is None:
            assert int(linux[each.name]) > 0, each.name  # from the machine's memory
            continue
        assert linux[each.name] == str(each.default), each.name


# --- PostgreSQL and libpq ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgresql():
    """A fresh PostgreSQL: a function that asks it, and its port."""
    programs = Path(need("initdb")).resolve().parent
    psql, port = need("psql"), free_port()
    with folder() as (here, options):
        make = [programs / "initdb", "-D", here / "data", "-U", "postgres", "-A", "trust", "-N",
                "--no-locale", "-E", "UTF8"]  # fmt: skip
        subprocess.run(make, check=True, **options)
        command = [programs / "postgres", "-D", here / "data", "-p", str(port), "-k", "",
                   "-h", "127.0.0.1", "-F"]  # fmt: skip

        def ask(sql):
            question = [psql, "-XAtd", f"host=127.0.0.1 port={port} user=postgres", "-c", sql]
            done = subprocess.run(question, capture_output=True, text=True)
            return done.stdout.split("\n")[:-1] if done.returncode == 0 else None

        with running(command, signal.SIGINT, **options):
            wait_for(lambda: ask("select 1"))
            yield ask, port


def test_pg_settings(postgresql):
    ask, _ = postgresql
    version = int(ask("show server_version_num")[0]) // 10000
    answer = ask("select name, boot_val, coalesce(unit, ''), context from pg_settings")
    rows = {name: rest for name, *rest in (row.split("|") for row in answer)}
    for each in find(product="postgresql"):
        if each.name not in rows:
            assert each.since and version < float(each.since), f"{each.name} is not in PostgreSQL {version}"
            continue
        default, unit, context = rows[each.name]
        assert default == str(each.default), each.name
        assert unit == ("" if each.unit in ("connections", "probes") else each.unit), each.name
        assert (context == "postmaster") == (each.applies == "restart"), each.name


def test_postgresql_shows_what_linux_has(postgresql):
    ask, _ = postgresql
    for name in ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count"):
        own = Path("/proc/sys", *setting("postgresql", name).inherits.split(".")).read_text().strip()
        assert ask(f"show {name}") == [own]


@pytest.fixture(scope="module")
def libpq():
    try:
        return ctypes.CDLL("libpq.so.5")
    except OSError as why:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no libpq here: {why}")


def test_pqconndefaults(libpq):
    class Option(ctypes.Structure):
        _fields_ = [
            *((name, ctypes.c_char_p) for name in ("keyword", "envvar", "compiled", "val", "label", "shown")),
            ("size", ctypes.c_int),
        ]

    libpq.PQconndefaults.restype = ctypes.POINTER(Option)
    options = libpq.PQconndefaults()
    compiled, index = {}, 0
    while options[index].keyword:
        compiled[options[index].keyword.decode()] = options[index].compiled
        index += 1
    libpq.PQconninfoFree(options)
    for each in find(product="libpq"):
        if each.name == "keepalives":
            assert compiled[each.name] is None  # what that means shows the next test
            continue
        if each.name not in compiled:
            assert each.since, f"{each.name} is not in this libpq"
            continue
        expected = None if each.default is None else str(each.default).encode()
        assert compiled[each.name] == expected, each.name


def test_libpq_switches_keepalive_on_and_leaves_the_times_to_linux(libpq, postgresql):
    _, port = postgresql
    libpq.PQconnectdb.restype = ctypes.c_void_p
    for call in (libpq.PQsocket, libpq.PQstatus, libpq.PQfinish):
        call.argtypes = [ctypes.c_void_p]
    connection = libpq.PQconnectdb(f"host=127.0.0.1 port={port} user=postgres dbname=postgres".encode())
    assert libpq.PQstatus(connection) == 0
    with socket.socket(fileno=os.dup(libpq.PQsocket(connection))) as same, socket.socket() as fresh:
        assert (
            same.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == setting("libpq", "keepalives").default
        )
        for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"):
            option = getattr(socket, name)
            theirs, ours = (each.getsockopt(socket.IPPROTO_TCP, option) for each in (same, fresh))
            assert theirs == ours, name
    libpq.PQfinish(connection)


# --- Redis ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis():
    """A fresh Redis: a function that asks it, and its port."""
    server, client, port = need("redis-server"), need("redis-cli"), free_port()

    def ask(*words):
        done = subprocess.run([client, "-p", str(port), *words], capture_output=True, text=True)
        return done.stdout.split("\n")[:-1]

    with folder() as (_, options):
        command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        with running(command, **options):
            wait_for(lambda: ask("ping") == ["PONG"] or None)
            yield ask, port


def test_redis_config(redis):
    ask, _ = redis
    assert not seen([each.name for each in find(product="redis")], "redis", lambda name: int(
        ask("config", "get", name)[1]))  # fmt: skip


def test_redis_says_which_setting_needs_a_restart(redis):
    ask, _ = redis
    for each in find(product="redis"):
        changed = ask("config", "set", each.name, str(each.default)) == ["OK"]
        assert changed != (each.applies == "restart"), each.name


def test_redis_and_redis_cli_keepalive_as_ss_shows_it(redis):
    _, port = redis
    ss = need("ss")

    def timers():
        """Seconds to the next keepalive probe, by side."""
        done = subprocess.run([ss, "-Htno", f"( sport = :{port} or dport = :{port} )"],
                              capture_output=True, text=True)  # fmt: skip
        found = {}
        for line in done.stdout.splitlines():
            timer = re.search(r"timer:\(keepalive,(?:(\d+)min)?(?:([\d.]+)sec)?,0\)", line)
            if timer and line.startswith("ESTAB"):
                side = "server" if line.split()[3].endswith(f":{port}") else "client"
                found[side] = 60 * int(timer[1] or 0) + float(timer[2] or 0)
        return found if len(found) == 2 else None

    with subprocess.Popen([need("redis-cli"), "-p", str(port)], stdin=subprocess.PIPE,
                          stdout=subprocess.DEVNULL) as client:  # fmt: skip
        left = wait_for(timers)
        client.stdin.close()
    built_in = setting("redis_cli", "REDIS_CLI_KEEPALIVE_INTERVAL").default
    assert built_in - 5 < left["client"] <= built_in
    of_server = setting("redis", "tcp-keepalive").default
    assert of_server - 5 < left["server"] <= of_server


# --- MariaDB, PgBouncer, HAProxy --------------------------------------------------------------------


def test_mariadb_variables():
    command = [need("mariadbd"), "--no-defaults", "--verbose", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    values = dict(re.findall(r"^([a-z][a-z0-9-]*) +(\S+)$", text, re.MULTILINE))
    names = [each.name for each in find(product="mariadb")]
    assert not seen(names, "mariadb", lambda name: int(values[name.replace("_", "-")]))


def test_pgbouncer_config():
    pgbouncer, psql, port = need("pgbouncer"), need("psql"), free_port()
    with folder() as (here, options):
        file = here / "pgbouncer.ini"
        lines = ["[databases]", "[pgbouncer]", "listen_addr = 127.0.0.1", f"listen_port = {port}",
                 "unix_socket_dir =", "auth_type = any", "admin_users = asker"]  # fmt: skip
        file.write_text("\n".join(lines) + "\n", "utf-8")

        def ask():
            question = [psql, "-XAtd", f"host=127.0.0.1 port={port} user=asker dbname=pgbouncer", "-c",
                        "show config"]  # fmt: skip
            done = subprocess.run(question, capture_output=True, text=True)
            rows = [row.split("|") for row in done.stdout.splitlines()]
            return {name: (default, changeable) for name, _, default, changeable in rows} or None

        with running([pgbouncer, "-q", file], signal.SIGINT, **options):
            rows = wait_for(ask)
    for each in find(product="pgbouncer"):
        if each.name not in rows:
            assert each.since, f"{each.name} is not in this PgBouncer"
            continue
        default, changeable = rows[each.name]
        newer = each.name == "server_check_query" and default == "<empty>"
        assert default == str(each.default) or newer, each.name
        assert (changeable == "no") == (each.applies == "restart"), each.name


def test_haproxy_manual():
    need("haproxy")
    places = [Path("/usr/share/doc/haproxy", name) for name in ("configuration.txt", "configuration.txt.gz")]
    manual = next(filter(Path.exists, places), None)
    if manual is None:
        pytest.skip("HAProxy's manual is not installed")
    raw = manual.read_bytes()
    text = (gzip.decompress(raw) if manual.suffix == ".gz" else raw).decode()
    for each in find(product="haproxy"):
        assert re.search(rf"^{re.escape(each.name)}( <.*>)?$", text, re.MULTILINE), each.name
    words = " ".join(text.split())
    assert f"the delay defaults to {setting('haproxy', 'inter').default} ms" in words
    for name, verb in (("fall", "dead"), ("rise", "operational")):
        told = re.search(rf"considered as {verb} after <count> .{{10,60}} This value defaults to (\d)", words)
        assert told and int(told[1]) == setting("haproxy", name).default


# --- Python -----------------------------------------------------------------------------------------


def defaults(*calls):
    """What parameters of these calls are by default."""
    found = {}
    for call in calls:
        for name, parameter in inspect.signature(call).parameters.items():
            found[name] = parameter.default
    return found


def test_sqlalchemy():
    pool = pytest.importorskip("sqlalchemy.pool")
    theirs = defaults(pool.QueuePool.__init__, pool.Pool.__init__)
    names = [each.name for each in find(product="sqlalchemy")]
    assert not seen(
        names, "sqlalchemy", lambda name: theirs.get(name, theirs.get(name.removeprefix("pool_")))
    )


def test_psycopg_pool():
    pool = pytest.importorskip("psycopg_pool")
    theirs = defaults(pool.ConnectionPool.__init__)
    names = [each.name for each in find(product="psycopg_pool")]
    assert not seen(names, "psycopg_pool", theirs.__getitem__)


def test_psycopg():
    conninfo = pytest.importorskip("psycopg.conninfo")
    if not hasattr(conninfo, "timeout_from_conninfo"):
        pytest.skip("this psycopg leaves the time to connect to libpq")
    assert conninfo.timeout_from_conninfo({}) == setting("psycopg", "connect_timeout").default
