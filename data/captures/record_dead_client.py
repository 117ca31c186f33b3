"""Record a real PostgreSQL whose client is gone: python3 data/captures/record_dead_client.py [FOLDER]

Eight captures and their sidecars are written beside this file (or into FOLDER); ../README.md says what they
are. The database and what is needed are those of record_postgres.py; each story has two hosts and a
PostgreSQL of its own, and all eight run side by side. Takes half a minute.
"""

import ctypes
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from record_postgres import Psql, kill, prepare, start_postgres
from record_postgres_idle import psql, say, timers
from two_hosts import A_MOMENT, ADDRESS, SHELF, Recording, build_network, run

CHECK = {"client_connection_check_interval": "1s"}
KEEPALIVE = {"tcp_keepalives_idle": "2s", "tcp_keepalives_interval": "1s", "tcp_keepalives_count": "3"}
TABLE = "create table seats as select generate_series(1, 9) as seat, 'free' as who;"
TAKES = "update seats set who = 'batch' where seat = 7 returning seat;"
WANTS = "update seats set who = 'desk' where seat = 7 returning who;"
SESSION = "select state, wait_event_type, wait_event from pg_stat_activity where client_port > 0;"
WAITING = "select locktype, mode, granted from pg_locks where not granted;"
BLOCKER = """select w.application_name, h.application_name, h.client_addr, h.state from pg_stat_activity w
    join pg_stat_activity h on h.pid = any (pg_blocking_pids(w.pid));"""
SOON, THEN = 0.1, 0.2  # seconds until a second session wants the same row; until the DBA looks


class Story:
    """A client that holds a row's lock, a second session that wants the row, and a DBA who looks."""

    def __init__(self, recording: Recording, settings: dict[str, str]) -> None:
        """settings: what PostgreSQL is given with ALTER SYSTEM; the client is connected, its lock taken."""
        self.recording, on = recording, recording.on["server"]
        self.dba, self.desk = Psql(SHELF, on), Psql(SHELF, on)  # through the Unix socket, so not on the wire
        self.dba.answer(TABLE)
        for name, value in settings.items():
            say(recording, self.dba, f"alter system set {name} = '{value}';", "server")
        say(recording, self.dba, "select pg_reload_conf();", "server")
        self.desk.answer("set application_name = 'desk';")
        time.sleep(A_MOMENT)  # until every process has read the new settings
        self.client = psql("application_name=batch")
        self.backend = self.client.answer("select pg_backend_pid();")
        self.psql = int(self.client.answer("\\! echo $PPID"))
        say(recording, self.client, "begin;")
        say(recording, self.client, TAKES)

    def types(self, sql: str) -> None:
        """The client sends this and goes on waiting."""

        def write() -> str:
            os.write(self.client.terminal, sql.encode() + b"\n")
            return "waits for the answer"

        self.recording.call("client", f"psql: {sql}", write)
        time.sleep(A_MOMENT)  # until the server has acknowledged it
        self.recording.look()

    def is_killed(self) -> None:
        self.recording.call("client", *kill(self.psql))

    def vanishes(self) -> None:
        words = ("ip", "address", "del", f"{ADDRESS['client']}/24", "dev", "client")
        self.recording.call(
            "client", " ".join(words), lambda: run(*self.recording.on["client"], *words) or None
        )

    def second_session(self, patience: float = 0, then: float = THEN) -> None:
        """It wants the row; meanwhile the DBA looks. Returns when it has the row, or has lost patience.

        patience: its lock_timeout in seconds; 0: none. then: when the DBA looks, seconds later.
        """
        if patience:
            say(self.recording, self.desk, f"set lock_timeout = '{patience:g}s';", "server")
        time.sleep(SOON)
        looking = threading.Timer(then, self.looks)
        looking.start()
        say(self.recording, self.desk, WANTS, "server")
        looking.join()
        self.recording.look()
        self.asks(SESSION)
        self.recording.call("server", "PostgreSQL's log", self.log)

    def looks(self) -> None:
        """What the DBA sees while the second session waits."""
        timers(self.recording, "server")
        for sql in (SESSION, WAITING, " ".join(BLOCKER.split())):
            self.asks(sql)
        self.recording.look()

    def asks(self, sql: str) -> None:
        self.recording.call("server", f"psql: {sql}", lambda: self.dba.answer(sql) or "no rows")

    def log(self) -> str:
        """What PostgreSQL's log says about the client's session, without time and process number."""
        lines = (SHELF / "log").read_text().splitlines()
        said = [line.split("] ", 1)[1] for line in lines if f"[{self.backend}] " in line]
        return "\n".join(line for line in said if re.match("LOG|FATAL|WARNING", line)) or "nothing"


def dead_client_killed(recording: Recording) -> None:
    """A client killed during its query, and PostgreSQL's defaults

    A psql holds the lock of a row and waits for a query of 8 seconds when it is killed. Its Linux says so
    with FIN at once, and the server's Linux acknowledges it. The backend is busy and looks at its socket only
    when the query is over: until then a second session waits for the row.
    """
    story = Story(recording, {})
    story.types("select pg_sleep(8);")
    story.is_killed()
    story.second_session()


def dead_client_killed_checked(recording: Recording) -> None:
    """A client killed during its query, and client_connection_check_interval of 1 s

    The same with a check every second. The first check after the FIN finds that the client hung up; the query
    is cancelled, and the second session has its row.
    """
    story = Story(recording, CHECK)
    story.types("select pg_sleep(60);")
    story.is_killed()
    story.second_session()


def dead_client_vanished_checked(recording: Recording) -> None:
    """A client vanished during its query, and client_connection_check_interval of 1 s

    The client's address is taken away while its query runs: no FIN, no RST. The check asks the server's Linux
    every second, and that has heard nothing. The backend goes on, and the second session loses patience after
    12 seconds.
    """
    story = Story(recording, CHECK)
    story.types("select pg_sleep(60);")
    story.vanishes()
    story.second_session(patience=12)


def dead_client_vanished_keepalive(recording: Recording) -> None:
    """A client vanished during its query, and the server's keepalive of 2/1/3 alone

    The address is taken away again. The server's Linux asks three times, gives up and sends RST. The backend
    is in the middle of a query of 10 seconds and hears of it when that is over.
    """
    story = Story(recording, KEEPALIVE)
    story.types("select pg_sleep(10);")
    story.vanishes()
    story.second_session()


def dead_client_vanished_both(recording: Recording) -> None:
    """A client vanished during its query: keepalive of 2/1/3, and a check every second

    Now keepalive tells the server's Linux that nobody is there, and the next check tells the backend. The
    query is cancelled in the middle, and the second session has its row.
    """
    story = Story(recording, KEEPALIVE | CHECK)
    story.types("select pg_sleep(60);")
    story.vanishes()
    story.second_session()


def dead_client_vanished_idle(recording: Recording) -> None:
    """A client vanished in an idle transaction, and the server's keepalive of 2/1/3

    Nothing runs when the address is taken away: the backend waits for the next command, with its lock. It
    hears of keepalive's end at once, without any check.
    """
    story = Story(recording, KEEPALIVE)
    time.sleep(A_MOMENT)
    recording.look()
    story.vanishes()
    story.second_session()


def dead_client_vanished_rows(recording: Recording) -> None:
    """A client vanished before its rows came, with keepalive of 2/1/3 and a check every second

    The query is over a second after the client has vanished, and its result is in flight: Linux sends it
    again and again, and keepalive asks nothing. The second session loses patience after 12 seconds.
    """
    story = Story(recording, KEEPALIVE | CHECK)
    story.types("select pg_sleep(1);")
    story.vanishes()
    story.second_session(patience=12, then=1.5)


def dead_client_vanished_rows_limited(recording: Recording) -> None:
    """A client vanished before its rows came: keepalive of 2/1/3, a check every second, a user timeout of 6 s

    The same with tcp_user_timeout. Linux gives the unacknowledged result up after 6 seconds, without a RST,
    and the backend, which waits for the next command, hears of it at once.
    """
    story = Story(recording, KEEPALIVE | CHECK | {"tcp_user_timeout": "6s"})
    story.types("select pg_sleep(1);")
    story.vanishes()
    story.second_session(then=1.5)


SCENARIOS = (
    dead_client_killed,
    dead_client_killed_checked,
    dead_client_vanished_checked,
    dead_client_vanished_keepalive,
    dead_client_vanished_both,
    dead_client_vanished_idle,
    dead_client_vanished_rows,
    dead_client_vanished_rows_limited,
)


def own_network() -> None:
    """This process alone gets a network, and a memory disk, of its own; the namespace is the client's."""
    new_mounts, new_network = 0x00020000, 0x40000000  # linux/sched.h: CLONE_NEWNS, CLONE_NEWNET
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(new_mounts | new_network):
        sys.exit(f"This system gives us no further namespaces ({os.strerror(ctypes.get_errno())}).")
    run("mount", "-t", "tmpfs", "tmpfs", SHELF)
    os.chdir(SHELF)


def record(scenario: Callable[[Recording], None], folder: Path, all_are_ready: Any) -> None:
    """One story on two hosts of its own, when the others' databases are started too."""
    own_network()
    on = build_network()
    server = start_postgres(on["server"])
    all_are_ready.wait()
    recording = Recording(folder / scenario.__name__, on, scenario.__doc__ or "")
    scenario(recording)
    recording.save("python3 data/captures/record_dead_client.py", software=("postgres", "psql"))
    server.send_signal(signal.SIGQUIT)  # what pg_ctl stop -m immediate sends: some backends still run


def side_by_side(record: Callable[..., None], scenarios: Sequence[Callable[..., None]], folder: Path) -> None:
    """Record all of them at the same time, each in a process of its own; one that fails ends the script.

    record: called with a scenario, the folder, and a barrier to wait at when its database is started.
    """
    processes = multiprocessing.get_context("fork")
    ready = processes.Barrier(len(scenarios))
    running = [processes.Process(target=record, args=(each, folder, ready)) for each in scenarios]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
        if process.exitcode:
            ready.abort()
    if any(process.exitcode for process in running):
        sys.exit("Not every story was recorded.")


def main() -> None:
    side_by_side(record, SCENARIOS, prepare()[0])


if __name__ == "__main__":
    main()
