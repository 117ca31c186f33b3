"""Record how a real PostgreSQL ends a connection: python3 data/captures/record_postgres.py [FOLDER]

Seven captures and their sidecars are written beside this file (or into FOLDER); ../README.md says what they
are. Everything, the database included, happens on two hosts made for the occasion: see two_hosts.py. Linux
only, as root or as an ordinary user; needs PostgreSQL (server and psql), util-linux and iproute2. Takes
half a minute.
"""

import glob
import os
import shlex
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from two_hosts import A_MOMENT, ADDRESS, SHELF, Recording, Terminal, build_network, enter, run

SERVER, PORT, CLOSED_PORT = ADDRESS["server"], 5432, 5433
LOGIN = {"PGUSER": "postgres", "PGDATABASE": "postgres"}
LOGIN |= {"PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}  # readable, and no extra round trips


class Psql(Terminal):
    """An interactive psql."""

    def __init__(self, server: object, on: tuple[str, ...] | list[str] = ()) -> None:
        command = [*on, "psql", "-XnqAt", "-P", "pager=off", "-h", str(server), "-p", str(PORT)]
        super().__init__(command, "postgres=# ", "!?> ")  # the latter when it has lost its server for good


def ask(recording: Recording, psql: Psql, sql: str, host: str = "client") -> str:
    return recording.call(host, f"psql: {sql}", lambda: psql.answer(sql))


def start_postgres(on: list[str]) -> subprocess.Popen:
    """A throw-away server that trusts the client; returns when it takes connections. May be started again."""
    if not (SHELF / "data").exists():
        run(
            "initdb", "-D", SHELF / "data", "-U", "postgres", "-A", "trust", "--no-locale", "-E", "UTF8", "-N"
        )
        with (SHELF / "data/pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {ADDRESS['client']}/32 trust\n")
    settings = f"-F -p {PORT} -h {SERVER} -k {SHELF} -c timezone=UTC -c autovacuum=off".split()
    command = [*on, "postgres", "-D", SHELF / "data", *settings]
    server = subprocess.Popen(command, stderr=(SHELF / "log").open("w"))
    while subprocess.call(["pg_isready", "-q", "-h", SHELF, "-p", str(PORT)]):
        if server.poll() is not None:
            sys.exit("postgres did not start: " + (SHELF / "log").read_text().strip())
        time.sleep(0.05)
    return server


def postgres_terminate_backend(recording: Recording, dba: Psql) -> None:
    """pg_terminate_backend while psql sits at its prompt

    A psql has its answer and waits for the next line when a DBA terminates its session. The server says why
    and closes with FIN, but nobody is reading: the client's socket stays in CLOSE-WAIT. Seconds later the
    next query goes out on the closed connection and is answered with RST, and only now does psql print the
    message that was there all along.
    """
    psql = Psql(SERVER)
    pid = ask(recording, psql, "select pg_backend_pid();")
    time.sleep(1)
    recording.look()
    ask(recording, dba, f"select pg_terminate_backend({pid});", "server")
    for wait in (A_MOMENT, 3):
        time.sleep(wait)
        recording.look()
    ask(recording, psql, "select 1;")
    recording.look()


def postgres_terminate_backend_reading(recording: Recording, dba: Psql) -> None:
    """pg_terminate_backend while psql waits for a result

    The same command meets a psql that waits for the result of pg_sleep(60). It reads the message and the end
    of the connection at once and closes its own side too: a FIN in each direction and no RST.
    """
    psql = Psql(SERVER)
    pid = ask(recording, psql, "select pg_backend_pid();")
    terminate = (recording, dba, f"select pg_terminate_backend({pid});", "server")
    threading.Timer(1, lambda: recording.look() or ask(*terminate)).start()
    ask(recording, psql, "select pg_sleep(60);")
    time.sleep(A_MOMENT)
    recording.look()


#: What to call an action, and the action.
Deed = tuple[str, Callable[[], object]]


def kill(pid: int) -> Deed:
    return f"kill -9 {pid}", lambda: os.kill(pid, signal.SIGKILL)


def outlives_its_server(recording: Recording, end: Callable[[int], Deed]) -> None:
    """A psql at its prompt whose server is ended; three seconds later it is given a query.

    end: what is done, given the process number of psql's backend.
    """
    psql = Psql(SERVER)
    pid = ask(recording, psql, "select pg_backend_pid();")
    time.sleep(1)
    recording.look()
    recording.call("server", *end(int(pid)))
    for wait in (A_MOMENT, 3):
        time.sleep(wait)
        recording.look()
    ask(recording, psql, "select 1;")
    recording.look()
    os.close(psql.terminal)


def postgres_stop_fast(recording: Recording, dba: Psql) -> None:
    """pg_ctl stop -m fast while psql sits at its prompt

    A DBA stops the server. The backend says why and closes with FIN, as with pg_terminate_backend; psql is
    not reading and stays in CLOSE-WAIT. Seconds later its query is answered with RST, and a new connection is
    refused.
    """
    stop = ("pg_ctl", "stop", "-m", "fast", "-D", SHELF / "data")
    outlives_its_server(recording, lambda _: ("pg_ctl stop -m fast", lambda: run(*stop) and None))


def postgres_kill9_postmaster(recording: Recording, dba: Psql) -> None:
    """kill -9 of the postmaster while psql sits at its prompt

    The postmaster is killed; the backend of the idle psql notices, says so and ends by itself, with FIN. It
    is not the killed process whose connection is closed here. psql hears of it with its next query.
    """
    postmaster = int((SHELF / "data/postmaster.pid").read_text().split()[0])
    outlives_its_server(recording, lambda _: kill(postmaster))


def postgres_kill9_backend(recording: Recording, dba: Psql) -> None:
    """kill -9 of a backend while psql sits at its prompt

    An idle backend that has read everything is killed. Linux closes its socket with FIN, without a word from
    PostgreSQL. psql stays in CLOSE-WAIT until its next query draws a RST; the server, which restarts after
    the crash of one of its processes, takes it back at once.
    """
    outlives_its_server(recording, kill)


def postgres_closed_port(recording: Recording, dba: Psql) -> None:
    """psql to a port on which nobody listens

    The database host is up, but no process listens on the port that psql was given. The server's Linux
    answers the SYN with RST+ACK, and psql says so at once.
    """
    command = ["psql", "-h", SERVER, "-p", str(CLOSED_PORT), "-c", "select 1;"]

    def complaint() -> str:
        return subprocess.run(command, capture_output=True, text=True).stderr.strip()

    recording.call("client", shlex.join(command), complaint)


def postgres_kill9_unread(recording: Recording, dba: Psql) -> None:
    """kill -9 of a backend that has not read everything

    A driver sends a second query while the backend is busy with the first, so those bytes lie unread in the
    server's receive queue. kill -9 ends the backend; Linux throws the bytes away and says so with RST instead
    of FIN. The driver gets "Connection reset by peer" and no word from PostgreSQL.
    """
    driver = socket.create_connection((SERVER, PORT), timeout=30)  # psql itself never sends a query too early
    login = struct.pack("!I", 3 << 16) + b"user\0postgres\0database\0postgres\0\0"
    driver.send(struct.pack("!I", len(login) + 4) + login)
    greeting = b""
    while not greeting.endswith(b"Z\0\0\0\5I"):  # ReadyForQuery
        greeting += driver.recv(65536)
    pid = struct.unpack("!I", greeting.split(b"K\0\0\0\x0c")[1][:4])[0]  # BackendKeyData

    def send(sql: str) -> None:
        message = b"Q" + struct.pack("!I", len(sql) + 5) + sql.encode() + b"\0"
        recording.call("client", f"send: {sql}", lambda: driver.send(message))

    for sql in ("select pg_sleep(60);", "select 1;"):
        send(sql)
        time.sleep(1)
    recording.look()
    threading.Timer(1, recording.call, ("server", *kill(pid))).start()
    recording.call("client", "recv", lambda: driver.recv(65536))
    recording.look()
    send("select 2;")


def prepare() -> tuple[Path, dict[str, list[str]]]:
    """Enter the two hosts; the folder to write to, and the words that run a command on each host."""
    # Distributions keep initdb and postgres in a folder that is on nobody's PATH.
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin") + glob.glob("/usr/pgsql-*/bin"), reverse=True)
    os.environ["PATH"] = os.pathsep.join([*folders, os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    folder = enter(needs=("psql", "pg_isready", "initdb", "postgres"))
    os.environ |= LOGIN
    return folder, build_network()


def main() -> None:
    folder, on = prepare()
    endings = (postgres_stop_fast, postgres_kill9_postmaster, postgres_kill9_backend, postgres_kill9_unread)
    terminate = (postgres_terminate_backend, postgres_terminate_backend_reading)
    for scenario in (*terminate, postgres_closed_port, *endings):
        server = start_postgres(on["server"])
        dba = Psql(SHELF, on["server"])  # through the Unix socket, so not on the wire
        recording = Recording(folder / scenario.__name__, on, scenario.__doc__ or "")
        scenario(recording, dba)
        recording.save("python3 data/captures/record_postgres.py", software=("postgres", "psql"))
        os.close(dba.terminal)
        server.send_signal(signal.SIGINT)  # what pg_ctl stop -m fast sends
        server.wait(30)


if __name__ == "__main__":
    main()
