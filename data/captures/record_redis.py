"""Record how redis-cli loses a real Redis: python3 data/captures/record_redis.py [FOLDER]

Three captures and their sidecars are written beside this file (or into FOLDER); ../README.md says what they
are. Everything, Redis included, happens on two hosts made for the occasion: see two_hosts.py. Linux only, as
root or as an ordinary user; needs redis-server and redis-cli, util-linux and iproute2. Takes a minute and a
half, nearly all of it waiting.
"""

import os
import subprocess
import sys
import time

from two_hosts import A_MOMENT, ADDRESS, SHELF, Recording, Terminal, build_network, enter, run

SERVER, PORT = ADDRESS["server"], 6379
FIN_TIMEOUT_S = 20  # Linux has 60


class RedisCli(Terminal):
    """An interactive redis-cli, which switches on TCP keepalive by itself: 15 s, 5 s, 3 probes."""

    def __init__(self) -> None:
        super().__init__(
            ["redis-cli", "-h", SERVER, "-p", str(PORT)], f"{SERVER}:{PORT}> ", "not connected> "
        )


def start_redis(on: list[str]) -> subprocess.Popen:
    """A throw-away server; returns when it answers."""
    settings = f"--bind {SERVER} --port {PORT} --unixsocket {SHELF}/redis --dir {SHELF} --protected-mode no"
    # redis-cli would fetch the help of every command, 200 kB, before it shows its first prompt.
    command = [*on, "redis-server", *settings.split(), "--save", "", "--rename-command", "COMMAND", ""]
    server = subprocess.Popen(command, stdout=(SHELF / "log").open("w"))
    while subprocess.run(dba("ping"), capture_output=True, text=True).stdout.strip() != "PONG":
        if server.poll() is not None:
            sys.exit("redis-server did not start: " + (SHELF / "log").read_text().strip())
        time.sleep(0.05)
    return server


def dba(*words: str) -> list[str]:
    """A command to Redis on its own host, through the Unix socket, so not on the wire."""
    return ["redis-cli", "-s", str(SHELF / "redis"), *words]


def ask(recording: Recording, cli: RedisCli, line: str) -> str:
    return recording.call("client", f"redis-cli: {line}", lambda: cli.answer(line))


def keepalive_timer(recording: Recording) -> None:
    """What ss shows of the client's running timer."""
    command = ["ss", "-Htno", f"( dport = :{PORT} )"]
    recording.call("client", "ss -tno", lambda: " ".join(run(*command).split()))


def redis_offline(recording: Recording, server: subprocess.Popen) -> None:
    """The server's address is taken offline under a waiting redis-cli

    A redis-cli sits at its prompt when the server's address disappears: no FIN and no RST comes. redis-cli
    has switched on keepalive with 15/5/3, so three probes go out after 15, 20 and 25 seconds, and after 30
    its Linux gives up with a RST. The server's half stays ESTABLISHED, and redis-cli says "Connection timed
    out" only when it is given its next command.
    """
    cli = RedisCli()
    ask(recording, cli, "ping")
    time.sleep(A_MOMENT)
    keepalive_timer(recording)
    words = ("ip", "address", "del", f"{SERVER}/24", "dev", "server")
    recording.call("server", " ".join(words), lambda: run(*recording.on["server"], *words) or None)
    for wait in (A_MOMENT, 16, 15.5):
        time.sleep(wait)
        recording.look()
    ask(recording, cli, "ping")  # redis-cli says what is wrong, and ends


def redis_shutdown(recording: Recording, server: subprocess.Popen) -> None:
    """SHUTDOWN while redis-cli sits at its prompt

    A DBA shuts Redis down while a redis-cli waits for its user. Redis closes with FIN, the client's socket
    goes to CLOSE-WAIT, and nothing is shown. Three seconds later the next command is answered with RST.
    """
    cli = RedisCli()
    ask(recording, cli, "ping")
    time.sleep(1)
    recording.look()
    recording.call("server", "redis-cli: shutdown nosave", lambda: run(*dba("shutdown", "nosave")) or None)
    server.wait(10)
    for wait in (A_MOMENT, 3):
        time.sleep(wait)
        recording.look()
    ask(recording, cli, "ping")
    recording.look()
    os.close(cli.terminal)


def redis_kill9(recording: Recording, server: subprocess.Popen) -> None:
    """kill -9 of redis-server while redis-cli sits at its prompt

    Linux closes for the killed process with FIN, and redis-cli does not look. Its keepalive goes on in
    CLOSE-WAIT: the first probe is answered by what the server's Linux still knows of the connection. That is
    forgotten after tcp_fin_timeout, here 20 seconds instead of 60, and the next probe is answered with RST:
    it comes from the server, not from redis-cli.
    """
    cli = RedisCli()
    ask(recording, cli, "ping")
    time.sleep(1)
    recording.look()
    recording.call("server", f"kill -9 {server.pid}", server.kill)
    time.sleep(A_MOMENT)
    keepalive_timer(recording)
    recording.look()
    for _ in range(2):
        time.sleep(15.5)
        recording.look()
    ask(recording, cli, "ping")  # redis-cli says what is wrong, and ends


def main() -> None:
    folder = enter(needs=("redis-server", "redis-cli"))
    os.environ["TERM"] = "dumb"  # a plain prompt, without colours and hints
    on = build_network()
    run(*on["server"], "sh", "-c", f"echo {FIN_TIMEOUT_S} > /proc/sys/net/ipv4/tcp_fin_timeout")
    for scenario in (redis_shutdown, redis_kill9, redis_offline):  # the last one leaves no server to reach
        server = start_redis(on["server"])
        recording = Recording(folder / scenario.__name__, on, scenario.__doc__ or "")
        scenario(recording, server)
        recording.save("python3 data/captures/record_redis.py", software=("redis-server", "redis-cli"))
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
