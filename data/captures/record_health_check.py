"""Record a health check that only opens a connection: python3 data/captures/record_health_check.py [FOLDER]

One capture and its sidecar are written beside this file (or into FOLDER); ../README.md says what they are.
See two_hosts.py. Linux only, as root or as an ordinary user; needs PostgreSQL (server and psql), util-linux
and iproute2. Takes some seconds.
"""

import os
import signal
import socket
import subprocess
import time

from record_postgres import PORT, SERVER, prepare, start_postgres
from two_hosts import A_MOMENT, Recording


def health_check_stopped(recording: Recording, postmaster: int) -> None:
    """A health check that only opens a connection, to a PostgreSQL that is stopped

    The process that accepts connections is stopped, as a hanging machine or disk may stop it. The server's
    Linux answers the handshake in its place, and the check is content. A psql gets no answer.
    """
    recording.call("server", "kill -STOP (the postmaster)", lambda: os.kill(postmaster, signal.SIGSTOP))
    checker = socket.socket()
    recording.call("client", "the check: connect()", lambda: checker.connect((SERVER, PORT)))
    time.sleep(A_MOMENT)
    recording.look()
    recording.call("client", "the check: close()", checker.close)
    time.sleep(A_MOMENT)
    recording.look()
    where = f"host={SERVER} port={PORT} connect_timeout=3"

    def complaint() -> str:
        done = subprocess.run(["psql", "-X", "-c", "select 1", where], capture_output=True, text=True)
        return done.stderr.strip()

    recording.call("client", "psql 'host=… connect_timeout=3' -c 'select 1'", complaint)
    os.kill(postmaster, signal.SIGCONT)


def main() -> None:
    folder, on = prepare()
    server = start_postgres(on["server"])
    recording = Recording(folder / "health_check_stopped", on, health_check_stopped.__doc__ or "")
    # What runs on the server is what nsenter became.
    health_check_stopped(recording, server.pid)
    recording.save("python3 data/captures/record_health_check.py", software=("postgres", "psql"))
    server.send_signal(signal.SIGINT)  # what pg_ctl stop -m fast sends
    server.wait(30)


if __name__ == "__main__":
    main()
