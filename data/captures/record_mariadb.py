"""Record how connections to a real MariaDB end: python3 data/captures/record_mariadb.py [FOLDER]

Three captures and their sidecars are written beside this file (or into FOLDER); ../README.md says what they
are. Everything, MariaDB included, happens on two hosts made for the occasion: see two_hosts.py. Linux only,
as root or as an ordinary user; needs mariadbd and mariadb, util-linux and iproute2. Takes 15 seconds.
"""

import os
import signal
import subprocess
import sys
import time

from two_hosts import A_MOMENT, ADDRESS, SHELF, Recording, Terminal, build_network, enter, run

SERVER, PORT = ADDRESS["server"], 3306
PROMPT = "mariadb> "


class Client(Terminal):
    """An interactive mariadb: a result is shown without frame and names, and a lost server is not sought."""

    def __init__(self) -> None:
        words = f"mariadb --no-defaults -h {SERVER} -P {PORT} -u root --skip-ssl -ANs --skip-reconnect"
        super().__init__([*words.split(), f"--prompt={PROMPT}"], PROMPT)


def start_mariadb(on: list[str]) -> subprocess.Popen:
    """A throw-away server that trusts everybody; returns when it answers."""
    (SHELF / "data").mkdir()
    command = ["mariadbd", "--no-defaults", f"--datadir={SHELF}/data", f"--socket={SHELF}/mariadb"]
    command += [f"--bind-address={SERVER}", f"--port={PORT}", "--skip-grant-tables", "--skip-name-resolve"]
    server = subprocess.Popen([*on, *command], stderr=(SHELF / "log").open("w"))
    while subprocess.run(dba("select 1"), capture_output=True).returncode:
        if server.poll() is not None:
            sys.exit("mariadbd did not start: " + (SHELF / "log").read_text().strip())
        time.sleep(0.05)
    return server


def dba(sql: str) -> list[str]:
    """A statement on the server's own host, through the Unix socket, so not on the wire."""
    return ["mariadb", "--no-defaults", f"--socket={SHELF}/mariadb", "-u", "root", "-ANs", "-e", sql]


def say(recording: Recording, client: Client, line: str) -> str:
    return recording.call("client", f"mariadb: {line}", lambda: client.answer(line) or None)


def command(recording: Recording, sql: str) -> None:
    """The DBA's."""
    recording.call("server", f"mariadb: {sql}", lambda: run(*dba(sql)) or None)


def mariadb_quit(recording: Recording) -> None:
    """quit in the mariadb client: who closes first?

    The client says COM_QUIT and closes, and the server closes when it has read that: whose FIN is the first
    is a race. Who wins it keeps the connection in TIME-WAIT for a minute. Over a wire without latency, as
    here, either may win; the farther away the server is, the surer it is the client.
    """
    client = Client()
    say(recording, client, "select 42;")
    time.sleep(1)
    recording.look()
    recording.call("client", "mariadb: quit", lambda: client.answer("quit") or None)
    time.sleep(A_MOMENT)
    recording.look()


def mariadb_kill(recording: Recording) -> None:
    """KILL of a session whose client sits at its prompt

    A DBA kills a session. MariaDB closes it with FIN; the client is not reading, and its socket stays in
    CLOSE-WAIT. Three seconds later the next statement goes out and is answered with RST: error 2013.
    """
    client = Client()
    number = say(recording, client, "select connection_id();")
    time.sleep(1)
    recording.look()
    command(recording, f"kill {number};")
    for wait in (A_MOMENT, 3):
        time.sleep(wait)
        recording.look()
    say(recording, client, "select 42;")
    recording.look()
    os.close(client.terminal)


def mariadb_wait_timeout(recording: Recording) -> None:
    """wait_timeout of 3 s, and a client that is silent for longer

    A session sets wait_timeout to 3 seconds and then says nothing. When the time is over MariaDB does not
    close, it resets: RST+ACK, no FIN, and both sockets are gone at once. The client hears of it with its next
    statement, which is not even sent: error 2006, where a session that was killed gives 2013.
    """
    client = Client()
    say(recording, client, "set wait_timeout = 3;")
    for wait in (1, 2.5, 2.5):
        time.sleep(wait)
        recording.look()
    say(recording, client, "select 42;")
    recording.look()
    os.close(client.terminal)


def main() -> None:
    folder = enter(needs=("mariadbd", "mariadb"))
    os.environ["TERM"] = "dumb"  # a plain prompt
    on = build_network()
    server = start_mariadb(on["server"])
    for scenario in (mariadb_quit, mariadb_kill, mariadb_wait_timeout):
        recording = Recording(folder / scenario.__name__, on, scenario.__doc__ or "")
        scenario(recording)
        recording.save("python3 data/captures/record_mariadb.py", software=("mariadbd", "mariadb"))
    server.send_signal(signal.SIGTERM)
    server.wait(30)


if __name__ == "__main__":
    main()
