"""Record a COMMIT whose answer is lost: python3 data/captures/record_commit.py [FOLDER]

One capture and its sidecar are written beside this file (or into FOLDER); ../README.md says what they are.
The hosts, the database and what is needed are those of record_postgres.py. Takes a few seconds.

The backend is killed between its commit and its answer. A standby that is configured and missing makes this
moment long enough: PostgreSQL has committed locally, and waits for the standby before it answers.
"""

import os
import threading
import time

from record_postgres import PORT, SERVER, Psql, ask, kill, prepare, start_postgres
from record_postgres_idle import say
from two_hosts import SHELF, Recording, Terminal

#: What psql asks for its next line with: idle, in a transaction, without a server.
PROMPTS = ("postgres=# ", "postgres=*# ", "!?> ")


def postgres_commit_lost(recording: Recording, dba: Psql) -> None:
    """kill -9 of a backend that has committed and not answered

    psql books a payment. PostgreSQL commits it, and waits for a synchronous standby before it answers; then
    its backend is killed. The server's kernel acknowledges every byte and closes with FIN: psql never gets
    an answer. On a new connection PostgreSQL says what became of the transaction: it is committed.
    """
    command = ["psql", "-XnqAt", "-P", "pager=off", "-h", SERVER, "-p", str(PORT)]
    client = Terminal(command, *PROMPTS)
    pid = int(ask(recording, client, "select pg_backend_pid();"))
    say(recording, client, "begin; insert into payment values (100);")
    xid = ask(recording, client, "select pg_current_xact_id();")
    recording.look()

    def end() -> None:
        state = f"select state, wait_event, query from pg_stat_activity where pid = {pid};"
        ask(recording, dba, state, "server")
        recording.look()
        recording.call("server", *kill(pid))

    threading.Timer(1, end).start()
    say(recording, client, "commit;")
    recording.look()
    time.sleep(2)  # until the server is up again
    os.close(client.terminal)
    client = Terminal(command, *PROMPTS)
    ask(recording, client, f"select pg_xact_status('{xid}');")
    ask(recording, client, "select count(*) from payment;")
    os.close(client.terminal)


def main() -> None:
    folder, on = prepare()
    start_postgres(on["server"])  # ends with this script
    dba = Psql(SHELF, on["server"])  # through the Unix socket, so not on the wire
    dba.answer("create table payment (euro int);")
    dba.answer("alter system set synchronous_standby_names = '*';")
    dba.answer("select pg_reload_conf();")
    time.sleep(0.5)  # until each process has read it
    recording = Recording(folder / postgres_commit_lost.__name__, on, postgres_commit_lost.__doc__ or "")
    postgres_commit_lost(recording, dba)
    recording.save("python3 data/captures/record_commit.py", software=("postgres", "psql"))


if __name__ == "__main__":
    main()
