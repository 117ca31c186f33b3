"""Record real proxies between a psql and a PostgreSQL: python3 data/captures/record_proxies.py [FOLDER]

Of each story two captures with their sidecars are written beside this file (or into FOLDER), one of each
leg: NAME_front is the client's connection to the proxy, NAME_back the proxy's to the database; ../README.md
says what they are. Each story has three hosts, a proxy and a database of its own, and all run side by side;
see two_hosts.py. Linux only, as root or as an ordinary user; needs HAProxy, PgBouncer, PostgreSQL (server
and psql), util-linux and iproute2. Takes half a minute.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from record_dead_client import own_network, side_by_side
from record_out_of_ports import inside
from record_postgres import PORT, SERVER, Psql, prepare, start_postgres
from record_postgres_idle import say
from two_hosts import A_MOMENT, ADDRESS, MAC, SHELF, Recording, run, switch_offload_off

PROXY = "10.0.0.3"
PROXY_MAC = {"client": "02:00:00:00:00:03", "server": "02:00:00:00:00:04"}  # of its two ends
COMMAND = "python3 data/captures/record_proxies.py"
#: What each leg's sidecar calls the hosts at its two ends.
LEGS = {
    "front": {"client": ADDRESS["client"], "server": PROXY},
    "back": {"client": PROXY, "server": ADDRESS["server"]},
}
SESSION = "select state, wait_event from pg_stat_activity where client_port > 0;"
#: Keepalive with an idle time of 2 s, an interval of 1 s and three probes, in each program's own words.
LIBPQ = "keepalives_idle=2 keepalives_interval=1 keepalives_count=3"
BACKEND = "option srvtcpka", "srvtcpka-idle 2s", "srvtcpka-intvl 1s", "srvtcpka-cnt 3"
FRONTEND = "option clitcpka", "clitcpka-idle 4s", "clitcpka-intvl 1s", "clitcpka-cnt 2"
DATABASE = {"tcp_keepalives_idle": "2s", "tcp_keepalives_interval": "1s", "tcp_keepalives_count": "3"}
NO_HURRY = "timeout client 1h", "timeout server 1h"

On = dict[str, list[str]]


class Leg(Recording):
    """One of the proxy's two connections, recorded at its client's end."""

    def __init__(self, path: Path, on: On, story: str, device: str) -> None:
        """on: its two ends, called client and server here; device: of the client's end."""
        super().__init__(path, on, story)
        self.wire.close()

        def listen() -> socket.socket:
            every_protocol, timestamp_ns = 0x0003, 35  # ETH_P_ALL; SO_TIMESTAMPNS
            wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(every_protocol))
            wire.setsockopt(socket.SOL_SOCKET, timestamp_ns, 1)
            wire.bind((device, 0))
            return wire

        self.wire = inside(on["client"], listen)

    def save_leg(self, proxy: str) -> None:
        """Both files; the proxy's version stands beside PostgreSQL's, and its address among the hosts."""
        self.save(COMMAND, software=("postgres", "psql"))
        path = self.path.with_suffix(".json")
        told = json.loads(path.read_text())
        told["hosts"] = LEGS[self.path.name.rpartition("_")[2]]
        said = run(proxy, "-v" if proxy == "haproxy" else "--version")
        told["software"][proxy] = re.search(r"\d+(?:\.\d+)+", said)[0]
        path.write_text(json.dumps(told, indent=1) + "\n")


def sockets(leg: Leg, host: str) -> None:
    """What ss shows on this host of every connection of the database's port, a line each."""
    command = ["ss", "-Htno", f"( sport = :{PORT} or dport = :{PORT} )"]

    def seen() -> str:
        lines = run(*leg.on[host], *command).splitlines()
        return "\n".join(sorted(" ".join(line.split()) for line in lines)) or "nothing"

    leg.call(host, "ss -tno", seen)


class Story:
    """A client, a proxy and a database, and a recording of each leg."""

    def __init__(self, name: str, on: On, folder: Path, story: str) -> None:
        self.on, self.dba = on, Psql(SHELF, on["server"])  # through the Unix socket, so not on the wire
        front = {"client": on["client"], "server": on["proxy"]}
        back = {"client": on["proxy"], "server": on["server"]}
        self.front = Leg(folder / f"{name}_front", front, story, "client")
        self.back = Leg(folder / f"{name}_back", back, story, "to_server")
        self.proxy, self.log = "haproxy", SHELF / "proxy.log"

    def haproxy(self, *lines: str) -> None:
        """Start it with these lines in its section."""
        text = ["global", "log stdout format raw local0", "defaults", "mode tcp", "log global"]
        text += ["option tcplog", "timeout connect 5s", *lines, "listen postgres", f"bind {PROXY}:{PORT}"]
        text += [f"server db {SERVER}:{PORT}"]
        self.start("\n".join(text) + "\n", "haproxy", "-db", "-f")
        self.front.call("server", "haproxy.cfg", lambda: "\n".join(lines))

    def pgbouncer(self, *lines: str) -> None:
        """Start it with these lines in its section."""
        self.proxy = "pgbouncer"
        text = ["[databases]", f"postgres = host={SERVER} port={PORT} user=postgres", "[pgbouncer]"]
        text += [f"listen_addr = {PROXY}", f"listen_port = {PORT}", "auth_type = any", "unix_socket_dir ="]
        self.start("\n".join([*text, *lines]) + "\n", "pgbouncer")
        self.front.call("server", "pgbouncer.ini", lambda: "\n".join(lines))

    def start(self, configuration: str, *command: str) -> None:
        file = SHELF / f"{self.proxy}.cfg"
        file.write_text(configuration)
        words = [*self.on["proxy"], *command, str(file)]
        with self.log.open("w") as log:
            self.running = subprocess.Popen(words, stdout=log, stderr=log)
        while not run(*self.on["proxy"], "ss", "-Htln", "sport", "=", f":{PORT}"):
            if self.running.poll() is not None:
                sys.exit(f"{self.proxy} did not start: {self.log.read_text().strip()}")
            time.sleep(0.05)

    def database(self, settings: dict[str, str]) -> None:
        for name, value in settings.items():
            say(self.back, self.dba, f"alter system set {name} = '{value}';", "server")
        say(self.back, self.dba, "select pg_reload_conf();", "server")
        time.sleep(A_MOMENT)

    def psql(self, sql: str, parameters: str = "", patience: float = 60) -> threading.Thread:
        """A psql that runs this one command, in a thread; what it printed, or that it still waits.

        patience: how long it is watched, seconds.
        """
        where = f"host={PROXY} port={PORT} {parameters}"

        def run_it() -> str:
            client = subprocess.Popen(
                ["psql", "-X", "-At", "-c", sql, where],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            )  # fmt: skip
            try:
                return (
                    client.communicate(timeout=patience)[0].strip() + f"\n(exit status {client.returncode})"
                )
            except subprocess.TimeoutExpired:
                return f"still waits after {patience:.0f} s"

        self.front.call("client", "psql's connection string", lambda: f"host=… port=… {parameters}".strip())
        thread = threading.Thread(target=lambda: self.front.call("client", f"psql -c '{sql}'", run_it))
        thread.start()
        time.sleep(1)  # until everything is acknowledged and silent
        return thread

    def vanishes(self, host: str) -> None:
        """Its address is taken away: from now on it answers nothing."""
        leg = self.front if host == "client" else self.back
        words = ("ip", "address", "del", f"{ADDRESS[host]}/24", "dev", host)
        leg.call(host, " ".join(words), lambda: run(*self.on[host], *words) or None)

    def look(self) -> None:
        """What ss shows of both legs: states everywhere, timers on each host."""
        for leg in (self.front, self.back):
            leg.look()
        moment = time.time()  # of the whole look: four hosts one after the other would seem to disagree
        for leg in (self.front, self.back):
            for state in leg.states[-2:]:
                state["t"] = moment
        sockets(self.front, "client")
        for host in ("client", "server"):  # the proxy is the client of its own leg
            sockets(self.back, host)

    def asks(self) -> None:
        """What the DBA sees of the client's session."""
        self.back.call("server", f"psql: {SESSION}", lambda: self.dba.answer(SESSION) or "no rows")

    def says(self) -> str:
        """What the proxy's log has, without times and process numbers; its warnings at the start left out."""
        words = "failed|closing|WARNING|ERROR" if self.proxy == "pgbouncer" else "postgres/db"
        lines = [line for line in self.log.read_text().splitlines() if re.search(words, line)]
        return "\n".join(re.sub(r"^[-\d]+ [\d:.]+ \w+ \[\d+\] ", "", line) for line in lines) or "nothing"

    def save(self) -> None:
        self.front.call("server", f"{self.proxy}'s log", self.says)
        for leg in (self.front, self.back):
            leg.save_leg(self.proxy)


def proxy_database_gone(story: Story) -> None:
    """The database vanishes behind HAProxy, and only the client has keepalive

    A psql with keepalive of 2/1/3 waits for a query through HAProxy. The database's address is taken away.
    HAProxy's Linux answers the client's probes, every two seconds: they reach no further. The client still
    waits when the recording ends.
    """
    story.haproxy(*NO_HURRY)
    waiting = story.psql("select pg_sleep(5);", LIBPQ, patience=14)
    story.look()
    story.vanishes("server")
    time.sleep(9)
    story.look()
    waiting.join()


def proxy_database_gone_keepalive(story: Story) -> None:
    """The database vanishes behind HAProxy, which has keepalive towards it

    The same with keepalive of 2/1/3 on HAProxy's own connection to the database. HAProxy's Linux gives the
    database up after five seconds; HAProxy closes the client's connection too, and psql says so at once.
    """
    story.haproxy(*NO_HURRY, *BACKEND)
    waiting = story.psql("select pg_sleep(20);", LIBPQ)
    story.look()
    story.vanishes("server")
    waiting.join()
    time.sleep(A_MOMENT)
    story.look()


def proxy_timeout_server(story: Story) -> None:
    """HAProxy's timeout server of 3 s and a query of 6 s, with keepalive on both legs

    Everybody is alive, and keepalive of 2/1/3 runs on both legs and is answered. The query says nothing for
    6 seconds. HAProxy's timer waits for data of the server and ends both connections after 3 seconds; the
    database goes on with the query, for nobody.
    """
    story.haproxy("timeout client 1h", "timeout server 3s", *BACKEND)
    waiting = story.psql("select pg_sleep(6);", LIBPQ)
    story.look()
    waiting.join()
    story.look()
    story.asks()
    time.sleep(4)
    story.asks()


def proxy_timeout_tunnel(story: Story) -> None:
    """HAProxy's timeout tunnel of an hour above timers of 3 s, and a query of 6 s

    `timeout client` and `timeout server` are 3 seconds, `timeout tunnel` is an hour. It replaces both as soon
    as HAProxy only relays, and the answer comes after 6 seconds.
    """
    story.haproxy("timeout client 3s", "timeout server 3s", "timeout tunnel 1h", *BACKEND)
    waiting = story.psql("select pg_sleep(6);", LIBPQ)
    story.look()
    waiting.join()
    time.sleep(A_MOMENT)


def client_timer(story: Story) -> None:
    """A query of 6 s under a `timeout client` of 3 s."""
    story.haproxy("timeout client 3s", "timeout server 1h", *BACKEND)
    waiting = story.psql("select pg_sleep(6);", LIBPQ)
    story.look()
    time.sleep(2.5)
    story.look()
    waiting.join()
    time.sleep(A_MOMENT)
    story.asks()


def proxy_timeout_client(story: Story) -> None:
    """HAProxy's timeout client of 3 s and a query of 6 s, with a patient timeout server

    The same with the timers the other way round: `timeout server` is an hour, `timeout client` 3 seconds.
    After 3 seconds HAProxy half-closes its connection to the database, as if the client had finished.
    PostgreSQL goes on, its answer still passes, and psql is content.
    """
    client_timer(story)


def proxy_timeout_client_checked(story: Story) -> None:
    """The same timeout client, and a PostgreSQL with client_connection_check_interval of 1 s

    PostgreSQL now looks every second whether its client hung up. HAProxy's FIN looks to it just like that: it
    ends the query, and psql, which was there all the time, gets nothing.
    """
    story.database({"client_connection_check_interval": "1s"})
    client_timer(story)


def proxy_client_gone(story: Story) -> None:
    """The client vanishes in front of HAProxy, which has keepalive towards it

    PostgreSQL has keepalive of 2/1/3 and checks every second whether its client hung up. The client vanishes
    during a query, and HAProxy's Linux answers the database's probes as before. HAProxy's own keepalive
    towards the client (4/1/2) gives it up and closes the database's connection: only now is the query ended.
    """
    story.database(DATABASE | {"client_connection_check_interval": "1s"})
    story.haproxy(*NO_HURRY, *FRONTEND)
    story.psql("select pg_sleep(60);", patience=15)
    story.look()
    story.vanishes("client")
    time.sleep(3)
    story.look()
    story.asks()
    time.sleep(6)
    story.look()
    story.asks()


def proxy_pgbouncer(story: Story) -> None:
    """The database vanishes behind a PgBouncer with keepalive

    PgBouncer's keepalive is set to 2/1/3 for both legs. The database vanishes during a query; after five
    seconds PgBouncer gives it up and tells the client so in PostgreSQL's protocol, before it closes.
    """
    story.pgbouncer("tcp_keepidle = 2", "tcp_keepintvl = 1", "tcp_keepcnt = 3")
    waiting = story.psql("select pg_sleep(20);", LIBPQ)
    story.look()
    story.vanishes("server")
    waiting.join()
    time.sleep(A_MOMENT)
    story.look()


SCENARIOS = (
    proxy_database_gone,
    proxy_database_gone_keepalive,
    proxy_timeout_server,
    proxy_timeout_client,
    proxy_timeout_client_checked,
    proxy_timeout_tunnel,
    proxy_client_gone,
    proxy_pgbouncer,
)


def three_hosts() -> On:
    """The words that run a command on each; the namespace that we are in is the client's."""
    on = {"client": ["nsenter"]}
    for name in ("proxy", "server"):
        holder = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        on[name] = ["nsenter", "-t", str(holder.pid), "-n"]
    for host in ("client", "server"):
        end = f"to_{host}"
        run("ip", "link", "add", host, "type", "veth", "peer", "name", end)
        for device in (host, end):
            switch_offload_off(device)
        run("ip", "link", "set", end, "netns", on["proxy"][2])
        if host == "server":
            run("ip", "link", "set", host, "netns", on["server"][2])
        ends = (
            (on[host], host, MAC[host], f"{ADDRESS[host]}/24", PROXY, PROXY_MAC[host]),
            (on["proxy"], end, PROXY_MAC[host], f"{PROXY}/32", ADDRESS[host], MAC[host]),
        )
        for words, device, mac, address, other, other_mac in ends:
            run(*words, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
            run(*words, "ip", "address", "add", address, "dev", device)
            run(*words, "ip", "link", "set", device, "address", mac, "up")
            neighbour = (other, "lladdr", other_mac, "dev", device, "nud", "permanent")
            run(*words, "ip", "neighbour", "replace", *neighbour)
        run(*on["proxy"], "ip", "route", "add", ADDRESS[host], "dev", end, "src", PROXY)
    return on


def record(scenario: Callable[[Story], None], folder: Path, all_are_ready: Any) -> None:
    """One story on three hosts of its own, when the others' databases are started too."""
    own_network()
    on = three_hosts()
    server = start_postgres(on["server"])
    with (SHELF / "data/pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {PROXY}/32 trust\n")
    story = Story(scenario.__name__, on, folder, scenario.__doc__ or "")
    story.dba.answer("select pg_reload_conf();")
    all_are_ready.wait()
    scenario(story)
    story.save()
    story.running.terminate()
    server.send_signal(signal.SIGQUIT)  # what pg_ctl stop -m immediate sends: some backends still run


def main() -> None:
    for program in ("haproxy", "pgbouncer"):
        if not shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
            sys.exit(f"{program} is not installed here, and without it these captures can't be recorded.")
    side_by_side(record, SCENARIOS, prepare()[0])


if __name__ == "__main__":
    main()
