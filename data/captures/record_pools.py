"""Record real connection pools above a PostgreSQL that breaks: python3 data/captures/record_pools.py [FOLDER]

Of each story a capture and its sidecar are written beside this file (or into FOLDER); ../README.md says what
they are. Each pool has ten connections and is asked for one after another; of those ten the capture holds the
one that the first request used, and the sidecar's `requests` what every request got. Each story has two hosts
and a database of its own, and all run side by side; see two_hosts.py. Linux only, as root or as an ordinary
user; needs PostgreSQL (server and psql), nft, util-linux, iproute2, and for the Python that runs it psycopg,
psycopg_pool and SQLAlchemy (this project's test dependencies). Takes a minute.
"""

import json
import logging
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version as python_package
from pathlib import Path
from typing import Any

try:
    import psycopg
    import psycopg_pool
    import sqlalchemy
    import sqlalchemy.pool
except ImportError as error:
    sys.exit(f"This Python has no {error.name}, and without it these captures can't be recorded.")

from record_dead_client import own_network, side_by_side
from record_postgres import PORT, SERVER, prepare, start_postgres
from two_hosts import A_MOMENT, SHELF, Recording, build_network, run

COMMAND = "python3 data/captures/record_pools.py"
SIZE, BEFORE, AFTER = 10, 20, 15
#: Seconds from one request to the next, when nothing is wrong.
PACE = 0.1
QUERY = "select 1"
#: No transaction around it and no preparation: a request is one round trip, as in the study.
PLAIN: dict[str, Any] = {"autocommit": True, "prepare_threshold": None}
#: libpq's setting, and how many seconds it is set to where a story has it.
USER_TIMEOUT, IMPATIENT = "tcp_user_timeout", 2

#: Lends a connection to a `with` statement.
Lend = Callable[[], Any]
Request = dict[str, Any]


class PoolRecording(Recording):
    """A pool at work: one of its connections on the wire, and what every request got."""

    #: Local port of the first request's connection; 0 before it.
    port = 0

    def __init__(self, path: Path, on: dict[str, list[str]], story: str) -> None:
        super().__init__(path, on, story)
        self.requests: list[Request] = []
        #: What the pool is made of.
        self.packages = ("psycopg", "sqlalchemy")

    def frames(self) -> list[tuple[int, bytes]]:
        """(nanoseconds, frame) of the connection on `port`."""
        if not self.port:
            return []
        super().frames()
        port = self.port.to_bytes(2, "big")
        return [item for item in self.seen if port in (item[1][34:36], item[1][36:38])]

    def request(self, lend: Lend) -> None:
        """Borrow a connection, ask one thing, give it back."""
        told: Request = {"began": time.time(), "port": 0, "result": "ok"}
        try:
            with lend() as connection:
                told["port"] = port_of(connection)
                ask(connection)
        except (psycopg.Error, psycopg_pool.PoolTimeout, sqlalchemy.exc.SQLAlchemyError) as error:
            told["result"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        told["t"] = time.time()
        self.port = self.port or told["port"]
        self.requests.append(told)

    def ask_for(self, lend: Lend, count: int, every: float = PACE) -> None:
        """So many requests, one after another; one that takes longer than `every` seconds delays the next."""
        due = time.time()
        for _ in range(count):
            time.sleep(max(0, due - time.time()))
            due += every
            self.request(lend)

    def count(self, state: str) -> None:
        """How many of the client's sockets are in this state, in ss's word for it."""
        words = ["ss", "-Htn", "state", state]
        self.call("client", f"{' '.join(words)} | wc -l", lambda: len(run(*words).splitlines()))

    def save_pool(self) -> None:
        """Both files: events of this connection and of the first request after the break; all requests."""
        for number, each in enumerate(self.requests, 1):
            if each["port"] == self.port or number == BEFORE + 1:
                call = f"request {number}: {QUERY}"
                event = {"t": each["t"], "began": each["began"], "host": "client", "call": call}
                self.events.append(event | {"result": each["result"]})
        self.save(COMMAND, software=("postgres",))
        start = self.frames()[0][0] / 10**9
        path = self.path.with_suffix(".json")
        told = json.loads(path.read_text())
        told["software"] |= {package: python_package(package) for package in self.packages}
        told["requests"] = [
            {"number": number} | each | {key: round(each[key] - start, 6) for key in ("began", "t")}
            for number, each in enumerate(self.requests, 1)
        ]
        path.write_text(json.dumps(told, indent=1) + "\n")


def driver(connection: Any) -> psycopg.Connection:
    """psycopg's connection below whatever a pool lends."""
    if isinstance(connection, sqlalchemy.Connection):
        connection = connection.connection
    return getattr(connection, "driver_connection", connection)


def port_of(connection: Any) -> int:
    with socket.socket(fileno=os.dup(driver(connection).fileno())) as copy:
        return copy.getsockname()[1]


def ask(connection: Any) -> None:
    if isinstance(connection, sqlalchemy.Connection):
        connection.exec_driver_sql(QUERY)
    else:
        driver(connection).execute(QUERY)


# The pools ------------------------------------------------------------------------------------------


@contextmanager
def psycopg_pool_of_ten(
    recording: PoolRecording, check: bool, impatient: bool = False, after_error: bool = False
) -> Iterator[Lend]:
    """psycopg's own pool, all open.

    check: it tests what it lends. impatient: with a user timeout. after_error: the program calls
    pool.check() when a request has failed.
    """
    where = f"host={SERVER} port={PORT}"
    patience = f" {USER_TIMEOUT}={IMPATIENT * 1000}" if impatient else ""
    tester = psycopg_pool.ConnectionPool.check_connection if check else None
    ending = ", check=ConnectionPool.check_connection)" if check else ")"
    with psycopg_pool.ConnectionPool(
        where + patience, kwargs=PLAIN, min_size=SIZE, max_size=SIZE, check=tester, open=False
    ) as pool:

        @contextmanager
        def lend() -> Iterator[Any]:
            try:
                with pool.connection() as connection:
                    yield connection
            except psycopg.Error:
                if after_error:
                    recording.call("client", "pool.check()", pool.check)
                raise

        pool.wait()
        recording.packages = ("psycopg", "psycopg_pool")
        says = f"ConnectionPool('…{patience}', min_size={SIZE}, max_size={SIZE}{ending}"
        recording.call("client", "the pool", lambda: says)
        yield lend


def all_ten_open(lend: Lend) -> None:
    """SQLAlchemy opens a connection only when none is idle: borrow all at once, and give them back."""
    for connection in [lend() for _ in range(SIZE)]:
        connection.close()


@contextmanager
def engine_of_ten(recording: PoolRecording, pre_ping: bool, impatient: bool = False) -> Iterator[Lend]:
    """SQLAlchemy as it is mostly used: an Engine with its pool."""
    patience = {USER_TIMEOUT: IMPATIENT * 1000} if impatient else {}
    engine = sqlalchemy.create_engine(
        f"postgresql+psycopg://{SERVER}:{PORT}/postgres",
        pool_size=SIZE,
        max_overflow=0,
        pool_pre_ping=pre_ping,
        isolation_level="AUTOCOMMIT",
        connect_args=PLAIN | patience,
    )
    all_ten_open(engine.connect)
    says = [f"pool_size={SIZE}", *["pool_pre_ping=True"] * pre_ping]
    says += [f"connect_args={patience}"] * impatient
    recording.call("client", "the pool", lambda: f"create_engine(…, {', '.join(says)})")
    yield engine.connect


@contextmanager
def queue_of_ten(recording: PoolRecording, lifo: bool) -> Iterator[Lend]:
    """SQLAlchemy's QueuePool alone, which knows nothing of SQL errors."""

    def connect() -> psycopg.Connection:
        return psycopg.connect(host=SERVER, port=PORT, **PLAIN)

    pool = sqlalchemy.pool.QueuePool(connect, pool_size=SIZE, max_overflow=0, use_lifo=lifo)

    @contextmanager
    def lend() -> Iterator[Any]:
        connection = pool.connect()
        try:
            yield connection
        finally:
            connection.close()

    all_ten_open(pool.connect)
    recording.call("client", "the pool", lambda: f"QueuePool(connect, pool_size={SIZE}, use_lifo={lifo})")
    yield lend


# What happens to them -------------------------------------------------------------------------------


def restarted(recording: PoolRecording, lend: Lend, mode: str = "fast") -> None:
    """Twenty requests, a restart of the server while all rest, and fifteen more."""
    recording.ask_for(lend, BEFORE)
    recording.look()
    words = ("pg_ctl", "restart", "-w", "-m", mode, "-D", SHELF / "data", "-l", SHELF / "log")
    recording.call(
        "server", f"pg_ctl restart -m {mode}", lambda: run(*recording.on["server"], *words) and None
    )
    time.sleep(A_MOMENT)
    recording.look()
    recording.count("close-wait")
    recording.ask_for(lend, AFTER)
    time.sleep(A_MOMENT)
    recording.count("close-wait")
    recording.look()


def dropped(recording: PoolRecording, lend: Lend, every: float) -> None:
    """Twenty requests; then a firewall on the server drops what the ten open connections send."""
    recording.ask_for(lend, BEFORE)
    recording.look()
    lines = run("ss", "-Htn", "state", "established").splitlines()
    ports = ", ".join(line.split()[2].rpartition(":")[2] for line in lines)
    on = recording.on["server"]

    def forget() -> None:
        run(*on, "nft", "add table ip forgetful")
        run(*on, "nft", "add chain ip forgetful input { type filter hook input priority 0; }")
        run(*on, "nft", f"add rule ip forgetful input tcp sport {{ {ports} }} drop")

    recording.call("server", "nft add rule … tcp sport { the ten of the pool } drop", forget)
    # In the middle of the wait for the first answer.
    looking = threading.Timer(IMPATIENT / 2, recording.look)
    looking.start()
    recording.ask_for(lend, AFTER - 3, every)
    looking.join()
    time.sleep(A_MOMENT)
    recording.look()


def pool_psycopg(recording: PoolRecording) -> None:
    """psycopg_pool, and pg_ctl restart -m fast while all its connections rest

    The pool lends the connection that has rested longest, and tests none. Each of the ten holds the server's
    farewell unread, and the request that borrows it gets it: ten errors in a row, and then all is well.
    """
    with psycopg_pool_of_ten(recording, check=False) as lend:
        restarted(recording, lend)


def pool_psycopg_checked(recording: PoolRecording) -> None:
    """psycopg_pool with check=ConnectionPool.check_connection, and the same restart

    Each connection is tested with an empty query before it is lent. After each test that fails the pool rests
    before it tries the next one, longer and longer: the first request is out of time (30 s) after a few, and
    the second waits for the others. Then all is well.
    """
    with psycopg_pool_of_ten(recording, check=True) as lend:
        restarted(recording, lend)


def pool_psycopg_check_all(recording: PoolRecording) -> None:
    """psycopg_pool, the same restart, and a program that calls pool.check() after an error

    The first request after the restart fails. The program catches the error and has the pool test all of its
    connections: the other nine dead ones are found at once, and replaced. One error.
    """
    with psycopg_pool_of_ten(recording, check=False, after_error=True) as lend:
        restarted(recording, lend)


def pool_psycopg_immediate(recording: PoolRecording) -> None:
    """psycopg_pool, and pg_ctl restart -m immediate

    The server's processes end without order this time. To the pool it is the same: ten errors.
    """
    with psycopg_pool_of_ten(recording, check=False) as lend:
        restarted(recording, lend, "immediate")


def pool_engine(recording: PoolRecording) -> None:
    """An Engine of SQLAlchemy, and pg_ctl restart -m fast

    The first request after the restart fails. The Engine recognises the error as that of a lost connection
    and throws away every connection that is as old: one error, where a pool without this rule has ten.
    """
    with engine_of_ten(recording, pre_ping=False) as lend:
        restarted(recording, lend)


def pool_engine_pre_ping(recording: PoolRecording) -> None:
    """An Engine of SQLAlchemy with pool_pre_ping, and the same restart

    Each connection is tested before it is lent. The first test fails, all old connections are thrown away,
    and the request gets a new one. No request fails.
    """
    with engine_of_ten(recording, pre_ping=True) as lend:
        restarted(recording, lend)


def pool_queue_fifo(recording: PoolRecording) -> None:
    """SQLAlchemy's QueuePool without its Engine, first in first out

    The pool alone knows nothing of errors. It lends the connection that has rested longest, and each of the
    ten costs one request.
    """
    with queue_of_ten(recording, lifo=False) as lend:
        restarted(recording, lend)


def pool_queue_lifo(recording: PoolRecording) -> None:
    """SQLAlchemy's QueuePool without its Engine, last in first out

    One request after another, and all use the same connection, the one on top. One request fails; its
    replacement is on top from then on. Below it nine dead connections wait in CLOSE-WAIT for a busier hour.
    """
    with queue_of_ten(recording, lifo=True) as lend:
        restarted(recording, lend)


def pool_dropped(recording: PoolRecording) -> None:
    """psycopg_pool with tcp_user_timeout of 2 s, and a firewall that silently drops what its connections send

    New connections pass, the ten old ones are dead, and nobody says so. Each costs a request two seconds
    and an error.
    """
    with psycopg_pool_of_ten(recording, check=False, impatient=True) as lend:
        dropped(recording, lend, IMPATIENT + 0.5)


def pool_dropped_checked(recording: PoolRecording) -> None:
    """The same silent drop, and a psycopg_pool that tests each connection before it lends it

    Each test of a dead connection takes two seconds, and the pool rests after it. The first requests after
    the drop wait until the last dead connection is found.
    """
    with psycopg_pool_of_ten(recording, check=True, impatient=True) as lend:
        dropped(recording, lend, PACE)


def pool_dropped_pre_ping(recording: PoolRecording) -> None:
    """The same silent drop, and an Engine of SQLAlchemy with pool_pre_ping

    The first request after the drop waits two seconds for the first test. It fails, all old connections are
    thrown away untested, and the request is answered on a new one.
    """
    with engine_of_ten(recording, pre_ping=True, impatient=True) as lend:
        dropped(recording, lend, PACE)


SCENARIOS = (
    pool_psycopg, pool_psycopg_checked, pool_psycopg_check_all, pool_psycopg_immediate,
    pool_engine, pool_engine_pre_ping, pool_queue_fifo, pool_queue_lifo,
    pool_dropped, pool_dropped_checked, pool_dropped_pre_ping,
)  # fmt: skip


def record(scenario: Callable[[PoolRecording], None], folder: Path, all_are_ready: Any) -> None:
    """One story on two hosts of its own, when the others' databases are started too."""
    own_network()
    on = build_network()
    start_postgres(on["server"])
    all_are_ready.wait()
    recording = PoolRecording(folder / scenario.__name__, on, scenario.__doc__ or "")
    scenario(recording)
    recording.save_pool()  # its connection is long gone: what closes the pool's others is not on this wire
    run("pg_ctl", "stop", "-m", "immediate", "-D", SHELF / "data")


def main() -> None:
    logging.disable(logging.ERROR)  # the pools tell of each dead connection, with tracebacks
    if not shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
        sys.exit("nft is not installed here, and without it these captures can't be recorded.")
    side_by_side(record, SCENARIOS, prepare()[0])


if __name__ == "__main__":
    main()
