"""Record a real PostgreSQL while nothing is said: python3 data/captures/record_postgres_idle.py [FOLDER]

Two captures and their sidecars are written beside this file (or into FOLDER); ../README.md says what they
are. The hosts, the database and what is needed are those of record_postgres.py. Takes three quarters of a
minute, nearly all of it waiting.
"""

import os
import threading
import time

from record_postgres import PORT, SERVER, Psql, prepare, start_postgres
from two_hosts import A_MOMENT, SHELF, Recording, Terminal, run

SESSION = "select state, wait_event from pg_stat_activity where client_port > 0;"


def psql(*parameters: str) -> Terminal:
    """A psql whose libpq has these connection parameters."""
    words = " ".join([f"host={SERVER}", f"port={PORT}", *parameters])
    return Terminal(["psql", "-XnqAt", "-P", "pager=off", words], "postgres=# ", "postgres=*# ")


def say(recording: Recording, psql: Terminal, sql: str, host: str = "client") -> None:
    """What psql answered; it says nothing where a command gives nothing."""
    recording.call(host, f"psql: {sql}", lambda: psql.answer(sql, patience=30) or None)


def timers(recording: Recording, host: str) -> None:
    """What ss shows of the connection on this host, its running timer included."""
    command = ["ss", "-Htno", f"( sport = :{PORT} or dport = :{PORT} )"]
    recording.call(host, "ss -tno", lambda: " ".join(run(*recording.on[host], *command).split()))


def postgres_idle_in_transaction(recording: Recording, dba: Psql) -> None:
    """Idle in transaction under libpq's keepalive of 5 s

    A psql with keepalives_idle=5 and keepalives_interval=3 opens a transaction, and its user leaves. Linux
    asks every 5 seconds whether the server is there and is answered; the interval of 3 seconds counts only
    while answers stay away. To keepalive all is well, and the transaction stays open.
    """
    client = psql("keepalives_idle=5", "keepalives_interval=3")
    say(recording, client, "begin;")
    say(recording, client, "select 42;")
    time.sleep(A_MOMENT)
    timers(recording, "client")
    time.sleep(17)
    say(recording, dba, SESSION, "server")
    recording.look()
    say(recording, client, "commit;")
    os.close(client.terminal)


def postgres_long_query(recording: Recording, dba: Psql) -> None:
    """A long query under the server's keepalive of 10 s

    PostgreSQL has tcp_keepalives_idle = 10, and a client waits 25 seconds for its result. Meanwhile the wire
    is silent but for one probe of the server's Linux after 10 seconds, answered by the client's; the next one
    would come after Linux's interval of 75 seconds. Keepalive is the sockets' business: it does not wait for
    the query.
    """
    for sql in ("alter system set tcp_keepalives_idle = 10;", "select pg_reload_conf();"):
        say(recording, dba, sql, "server")
    client = psql()

    def meanwhile() -> None:
        recording.look()
        say(recording, dba, SESSION, "server")
        timers(recording, "server")

    threading.Timer(5, meanwhile).start()
    say(recording, client, "select pg_sleep(25);")
    recording.look()
    os.close(client.terminal)


def main() -> None:
    folder, on = prepare()
    start_postgres(on["server"])  # ends with this script
    dba = Psql(SHELF, on["server"])  # through the Unix socket, so not on the wire
    for scenario in (postgres_idle_in_transaction, postgres_long_query):
        recording = Recording(folder / scenario.__name__, on, scenario.__doc__ or "")
        scenario(recording, dba)
        recording.save("python3 data/captures/record_postgres_idle.py", software=("postgres", "psql"))


if __name__ == "__main__":
    main()
