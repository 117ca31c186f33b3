"""Record a real PostgreSQL for lessons 03 and 06: python3 data/captures/lesson_postgres.py [FOLDER]

Two captures and their sidecars are written beside this file (or into FOLDER); ../README.md
says what they are. Everything happens on two hosts made for the occasion: see two_hosts.py. Linux only, as
root or as an ordinary user; needs PostgreSQL (server and psql), util-linux and iproute2. Takes a quarter of
a minute, nearly all of it waiting.
"""

import errno
import glob
import os
import signal
import socket
import struct
import time

from record_postgres import LOGIN, PORT, SERVER, Psql, ask, start_postgres
from two_hosts import A_MOMENT, SHELF, Recording, build_network, enter, run

SETTINGS = "select name, setting, unit from pg_settings where name like 'tcp\\_%' order by name;"
WHAT_IT_DOES = "select state, wait_event_type, wait_event from pg_stat_activity where client_port > 0;"
COMMAND = "python3 data/captures/lesson_postgres.py"


def sockets(recording: Recording, host: str) -> None:
    """Queues and timer of this port's connection, as `ss` shows them, as the recording's event."""
    command = ["ss", "-Htno", f"( sport = :{PORT} or dport = :{PORT} )"]

    def shown() -> str:
        _, received, unacknowledged, _, _, *timer = run(*recording.on[host], *command).split()
        return " ".join([f"Recv-Q {received}, Send-Q {unacknowledged},", *timer])

    recording.call(host, "ss -tno", shown)


def lesson_defaults(recording: Recording, dba: Psql) -> None:
    """What PostgreSQL and libpq set when nobody sets anything

    A psql and a PostgreSQL without any keepalive setting. On both hosts ss shows a keepalive timer of two
    hours: both programs switch keepalive on, and the times are those of Linux. Through the Unix socket the
    same settings read 0.
    """
    psql = Psql(SERVER)
    ask(recording, psql, SETTINGS)
    ask(recording, dba, SETTINGS, "server")
    time.sleep(A_MOMENT)  # until the last answer is acknowledged, and only keepalive's timers run
    sockets(recording, "client")
    sockets(recording, "server")
    recording.look()
    os.close(psql.terminal)  # and psql leaves


def lesson_client_write(recording: Recording, dba: Psql) -> None:
    """A client that stops fetching, and a backend in ClientWrite

    A client asks for 20 MB inside a transaction and reads nothing. Its window closes; the backend waits in
    ClientWrite with its transaction open. The client answers window probes, and still tcp_user_timeout (10 s
    in this session) ends the session.
    """
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(30)
    client.connect((SERVER, PORT))
    login = struct.pack("!I", 3 << 16) + b"user\0postgres\0database\0postgres\0\0"
    client.send(struct.pack("!I", len(login) + 4) + login)

    def answer() -> bytes:
        got = b""
        while not (got.endswith((b"Z\0\0\0\5I", b"Z\0\0\0\5T"))):  # ReadyForQuery: idle, or in a transaction
            got += client.recv(65536)
        return got

    def query(sql: str) -> None:
        message = b"Q" + struct.pack("!I", len(sql) + 5) + sql.encode() + b"\0"
        recording.call("client", f"send: {sql}", lambda: client.send(message))

    answer()
    for sql in ("set tcp_user_timeout = '10s';", "begin;"):
        query(sql)
        answer()
    query("select repeat('x', 1000) from generate_series(1, 20000);")
    for _ in range(2):
        time.sleep(3)
        recording.look()
        ask(recording, dba, WHAT_IT_DOES, "server")
        sockets(recording, "server")
    while dba.answer(WHAT_IT_DOES):
        time.sleep(0.05)
    ask(recording, dba, WHAT_IT_DOES, "server")
    recording.look()
    recording.call("server", "PostgreSQL's log", last_complaint)
    recording.call("client", "recv, until it ends", lambda: read_to_the_end(client))
    recording.look()


def last_complaint() -> str:
    """The last thing that PostgreSQL's log says about the network, without the time."""
    lines = (SHELF / "log").read_text().splitlines()
    return next(line.split("] ", 1)[1] for line in reversed(lines) if "could not" in line)


def read_to_the_end(client: socket.socket) -> str:
    """How many bytes were still there, and what came after them."""
    got = 0
    try:
        while part := client.recv(65536):
            got += len(part)
    except OSError as error:
        return f"{got} bytes, then {errno.errorcode[error.errno or 0]}: {error.strerror}"
    return f"{got} bytes, then end of file"


def main() -> None:
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin") + glob.glob("/usr/pgsql-*/bin"), reverse=True)
    os.environ["PATH"] = os.pathsep.join([*folders, os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    folder = enter(needs=("psql", "pg_isready", "initdb", "postgres"))
    os.environ |= LOGIN
    on = build_network()
    server = start_postgres(on["server"])
    dba = Psql(SHELF, on["server"])  # through the Unix socket, so not on the wire
    for scenario in (lesson_defaults, lesson_client_write):
        recording = Recording(folder / scenario.__name__, on, scenario.__doc__ or "")
        scenario(recording, dba)
        recording.save(COMMAND, software=("postgres", "psql"))
    server.send_signal(signal.SIGINT)  # what pg_ctl stop -m fast sends
    server.wait(30)


if __name__ == "__main__":
    main()
