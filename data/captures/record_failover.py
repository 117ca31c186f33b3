"""Record a real failover of PostgreSQL under a real pool: python3 data/captures/record_failover.py [FOLDER]

Of each story a capture and its sidecar are written beside this file (or into FOLDER); ../README.md says what
they are. An old primary (10.0.0.2) and a standby (10.0.0.4), both real and joined by streaming replication,
run on one host with two addresses; on the other host a psycopg_pool of one connection writes and reads in
turn. The capture holds the connection to the old primary with which it begins, the sidecar's `requests` what
every request got. `db` is a name in the client's hosts file. Each story has hosts and databases of its own,
and all run side by side; see two_hosts.py. Linux only, as root or as an ordinary user; needs PostgreSQL
(server and psql), util-linux, iproute2, and for the Python that runs it psycopg and psycopg_pool (this
project's test dependencies). Takes half a minute.
"""

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version as python_package
from pathlib import Path
from typing import Any

try:
    import psycopg
    import psycopg_pool
except ImportError as error:
    sys.exit(f"This Python has no {error.name}, and without it these captures can't be recorded.")

from record_dead_client import own_network, side_by_side
from record_pools import PLAIN, PoolRecording, port_of
from record_postgres import PORT, Psql, prepare, start_postgres
from two_hosts import A_MOMENT, ADDRESS, MAC, SHELF, build_network, run

COMMAND = "python3 data/captures/record_failover.py"
OLD, NEW = ADDRESS["server"], "10.0.0.4"
WRITE = "insert into orders default values returning inet_server_addr()"
READ = "select inet_server_addr()"
#: Seconds: from one request to the next; until the old primary fails; from when the servers have changed
#: until the name moves; from the failure until the recording ends.
PACE, BEFORE, NAME_MOVES, WATCHED = 0.2, 1, 4, 16
#: How old the pool lets a connection become, seconds.
LIFETIME = 6
BOTH = f"host={OLD},{NEW} target_session_attrs=read-write"

Check = Callable[[psycopg.Connection], None]


def raises(connection: psycopg.Connection) -> None:
    """A check for ConnectionPool that knows the role."""
    if connection.execute("show transaction_read_only").fetchone() == ("on",):
        raise psycopg.OperationalError("the server is read-only")


def closes(connection: psycopg.Connection) -> None:
    """The same, and what must not be used again is closed: else the pool keeps it, since it lives."""
    try:
        raises(connection)
    except psycopg.OperationalError:
        connection.close()
        raise


class Story(PoolRecording):
    """A primary, its standby, a pool above them, and what every request got."""

    def begins(self, where: str, check: Check | None = None) -> None:
        """The client's requests start, in a thread; where: libpq's words for the database."""
        self.packages = ("psycopg", "psycopg_pool")
        shown = {
            None: "", raises: ", check=raises", closes: ", check=closes",
            psycopg_pool.ConnectionPool.check_connection: ", check=ConnectionPool.check_connection",
        }[check]  # fmt: skip
        self.pool = psycopg_pool.ConnectionPool(
            f"{where} port={PORT}", kwargs=PLAIN, min_size=1, max_size=1, max_lifetime=LIFETIME, check=check,
            open=True,
        )  # fmt: skip
        self.pool.wait()
        says = f"ConnectionPool('{where}', min_size=1, max_lifetime={LIFETIME}{shown})"
        self.call("client", "the pool", lambda: says)
        self.asking = threading.Thread(target=self._asks)
        self.asking.start()
        time.sleep(BEFORE)
        self.look()
        self.failed = time.time()

    def _asks(self) -> None:
        due = time.time()
        end = due + BEFORE + WATCHED
        number = 0
        while due < end:
            time.sleep(max(0, due - time.time()))
            due = max(due + PACE, time.time())
            self._ask(WRITE if number % 2 == 0 else READ)
            number += 1

    def _ask(self, sql: str) -> None:
        told: dict[str, Any] = {"began": time.time(), "port": 0, "sql": sql.split()[0]}
        try:
            with self.pool.connection() as connection:
                told["port"] = port_of(connection)
                (server,) = connection.execute(sql).fetchone() or ("",)
                told["result"] = f"ok: {server}"
        except (psycopg.Error, psycopg_pool.PoolTimeout) as error:
            told["result"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        told["t"] = time.time()
        self.port = self.port or told["port"]
        self.requests.append(told)

    # -- what happens to the servers -------------------------------------------------------------

    def on_server(self, call: str, *words: object) -> None:
        """A command on the servers' host, kept under this name."""

        def do() -> None:
            run(*self.on["server"], *words)

        self.call("server", call, do)

    def promote(self) -> None:
        self.on_server(f"{NEW}: pg_ctl promote", "pg_ctl", "promote", "-w", "-D", SHELF / "standby")

    def demote(self) -> None:
        """The old primary stops, the standby is promoted, and the old one comes back as its standby."""
        self.on_server(f"{OLD}: pg_ctl stop -m fast", "pg_ctl", "stop", "-m", "fast", "-D", SHELF / "data")
        self.promote()
        (SHELF / "data/standby.signal").touch()
        with (SHELF / "data/postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = 'host={SHELF}/new port={PORT} user=postgres'\n")
        self.call("server", f"{OLD}: starts again, as a standby", lambda: serve(self.on, "data", OLD, SHELF))

    def fence(self) -> None:
        """The old primary takes no more writes, but keeps its connections."""
        self.asks_the_old("alter system set default_transaction_read_only = on")
        self.asks_the_old("select pg_reload_conf()")

    def asks_the_old(self, sql: str) -> None:
        """The DBA, at the old primary."""
        self.call("server", f"{OLD}: {sql}", lambda: self.dba.answer(f"{sql};") or None)

    def moves_the_name(self) -> None:
        time.sleep(NAME_MOVES)
        self.call("client", f"the name db now means {NEW}", lambda: point(NEW))

    def ends(self) -> None:
        self.asking.join()
        self.look()
        self.pool.close()

    def save_story(self) -> None:
        """Both files; of the requests those are events that got something else than the one before."""
        before: dict[str, str] = {}
        for each in self.requests:
            if before.get(each["sql"]) != each["result"]:
                before[each["sql"]] = each["result"]
                event = {"t": each["t"], "began": each["began"], "host": "client"}
                self.events.append(event | {"call": f"pool: {each['sql']}", "result": each["result"]})
        self.save(COMMAND, software=("postgres",))
        start = self.frames()[0][0] / 10**9
        path = self.path.with_suffix(".json")
        told = json.loads(path.read_text())
        told["software"] |= {package: python_package(package) for package in self.packages}
        told["failed"] = round(self.failed - start, 6)
        told["requests"] = [
            each | {key: round(each[key] - start, 6) for key in ("began", "t")} for each in self.requests
        ]
        path.write_text(json.dumps(told, indent=1) + "\n")


def point(address: str) -> None:
    """The name db means this address."""
    with (SHELF / "hosts").open("w") as hosts:  # not a new file: this one is mounted
        hosts.write(f"127.0.0.1 localhost\n{address} db\n")


def serve(on: dict[str, list[str]], data: str, address: str, sockets: Path) -> None:
    """Start the server of this data folder; returns when it answers."""
    settings = f"-F -p {PORT} -h {address} -k {sockets} -c timezone=UTC -c autovacuum=off".split()
    settings += ["-c", "wal_retrieve_retry_interval=200ms"]  # else a promotion may first sleep for 5 s
    words = [*on["server"], "postgres", "-D", str(SHELF / data), *settings]
    server = subprocess.Popen(words, stderr=(SHELF / f"{data}.log").open("w"))
    while subprocess.call(["pg_isready", "-q", "-h", sockets, "-p", str(PORT)]):
        if server.poll() is not None:
            sys.exit("postgres did not start: " + (SHELF / f"{data}.log").read_text().strip())
        time.sleep(0.05)


def two_servers(on: dict[str, list[str]]) -> Psql:
    """The primary and its standby, on two addresses of one host; a psql of the DBA at the old one."""
    server, client = on["server"], on["client"]
    run(*server, "ip", "address", "add", f"{NEW}/32", "dev", "server")
    # Stays when the first address is taken away, and its route with it.
    run(*server, "ip", "route", "add", ADDRESS["client"], "dev", "server", "src", NEW, "metric", "9")
    neighbour = (NEW, "lladdr", MAC["server"], "dev", "client", "nud", "permanent")
    run(*client, "ip", "neighbour", "replace", *neighbour)
    start_postgres(server)
    dba = Psql(SHELF, server)  # through the Unix socket, so not on the wire
    dba.answer("create table orders (number int generated always as identity);")
    source = ("-h", SHELF, "-p", PORT, "-U", "postgres")
    run(*server, "pg_basebackup", *source, "-D", SHELF / "standby", "-R", "-c", "fast")
    (SHELF / "new").mkdir()
    serve(on, "standby", NEW, SHELF / "new")
    (SHELF / "hosts").touch()
    run("mount", "--bind", SHELF / "hosts", "/etc/hosts")
    point(OLD)
    return dba


# -- the stories ---------------------------------------------------------------------------------


def failover_select_1(story: Story) -> None:
    """One name, a check for life, and an old primary that comes back as a standby

    The pool loses its connection when the old primary stops, and opens another before the name has moved: to
    the old primary, which is a standby by now. The check finds that connection healthy. The name moves, and
    writes are refused all the same, until the connection is six seconds old and the pool replaces it.
    """
    story.begins("host=db", psycopg_pool.ConnectionPool.check_connection)
    story.demote()
    story.moves_the_name()
    story.ends()


def failover_role_aware(story: Story) -> None:
    """One name, the same failover, and a check that asks for the role and closes what it does not like

    The check asks whether the server is read-only, and closes each connection to the old primary, so no write
    is refused; requests wait. The pool opens the next one at once, by the name as it is then, and tests it
    only after a rest, longer and longer: it arrives long after the name has moved.
    """
    story.begins("host=db", closes)
    story.demote()
    story.moves_the_name()
    story.ends()


def failover_two_hosts(story: Story) -> None:
    """Both addresses and target_session_attrs=read-write, the same failover

    The pool loses its connection when the old primary stops. libpq asks both addresses for their role
    whenever the pool connects, and takes the one that can write. No name is asked, and no write is refused.
    """
    story.begins(BOTH)
    story.demote()
    story.moves_the_name()
    story.ends()


def failover_two_hosts_fenced(story: Story) -> None:
    """Both addresses, and an old primary that is made read-only without a restart

    The old primary gets default_transaction_read_only, and the standby is promoted. Nothing ends the pool's
    connection, and libpq asks for the role only when it connects: writes are refused until the connection is
    six seconds old. Asked pg_is_in_recovery(), the old primary still answers no.
    """
    story.begins(BOTH)
    story.fence()
    story.promote()
    story.asks_the_old("select pg_is_in_recovery()")
    story.asks_the_old("show transaction_read_only")
    story.moves_the_name()
    story.ends()


def failover_two_hosts_checked(story: Story) -> None:
    """Both addresses, a check that asks for the role, and an old primary that is made read-only

    The same, and now the pool's check asks whether the server is read-only. It closes the living connection
    before a request gets it, and to connect means to ask both addresses. No write is refused.
    """
    story.begins(BOTH, closes)
    story.fence()
    story.promote()
    story.moves_the_name()
    story.ends()


def failover_two_hosts_raised(story: Story) -> None:
    """The same, but the check only raises an error and leaves the connection open

    To psycopg_pool a connection that is open is a good one. It goes back into the pool and is tested again,
    after longer and longer rests, until it is too old.
    """
    story.begins(BOTH, raises)
    story.fence()
    story.promote()
    story.moves_the_name()
    story.ends()


def failover_dead(story: Story) -> None:
    """Both addresses, and an old primary whose address is taken away

    With tcp_user_timeout of 3 s and connect_timeout of 2 s. A request is on its way when the address goes:
    Linux sends it again for three seconds and gives up. Then libpq waits two seconds for the old address
    before it asks the new one.
    """
    story.begins(f"{BOTH} connect_timeout=2 tcp_user_timeout=3000")
    words = ("ip", "address", "del", f"{OLD}/24", "dev", "server")
    story.on_server(" ".join(words), *words)
    story.promote()
    story.moves_the_name()
    story.look()
    story.ends()


def failover_refused(story: Story) -> None:
    """One name, and an old primary that is stopped and stays so

    The pool's connection ends at once, and each connect() to the old address is refused at once. The name
    moves after four seconds. The pool pauses after each failed attempt, longer and longer, and arrives at
    its next one.
    """
    story.begins("host=db")
    stop = ("pg_ctl", "stop", "-m", "fast", "-D", SHELF / "data")
    story.on_server(f"{OLD}: pg_ctl stop -m fast", *stop)
    story.promote()
    story.moves_the_name()
    story.ends()


SCENARIOS = (
    failover_select_1, failover_role_aware, failover_two_hosts, failover_two_hosts_fenced,
    failover_two_hosts_checked, failover_two_hosts_raised, failover_dead, failover_refused,
)  # fmt: skip


def record(scenario: Callable[[Story], None], folder: Path, all_are_ready: Any) -> None:
    """One story on two hosts of its own, when the others' databases are started too."""
    own_network()
    on = build_network()
    dba = two_servers(on)
    all_are_ready.wait()
    story = Story(folder / scenario.__name__, on, scenario.__doc__ or "")
    story.dba = dba
    scenario(story)
    story.save_story()
    for data in ("standby", "data"):
        if (SHELF / data / "postmaster.pid").exists():
            run("pg_ctl", "stop", "-m", "immediate", "-D", SHELF / data)
    time.sleep(A_MOMENT)


def main() -> None:
    logging.disable(logging.WARNING)  # the pool tells of each dead connection
    side_by_side(record, SCENARIOS, prepare()[0])


if __name__ == "__main__":
    main()
