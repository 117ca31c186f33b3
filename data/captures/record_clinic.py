"""Record the capture clinic's cases: python3 data/captures/record_clinic.py [FOLDER]

Six captures (of one case a second one, from the other end) and their sidecars are written beside this file
(or into FOLDER); ../README.md says what they are, and gives the answers away. Five of the cases have a real
PostgreSQL, with a Linux router between it and its clients; each has hosts of its own, and all run side by
side: see two_hosts.py and record_proxies.py. The sixth runs on tcplab's Linux bench. Linux only, as root or
as an ordinary user; needs HAProxy, nft, PostgreSQL (server and psql), util-linux and iproute2. Takes seven
minutes, nearly all of it silence.
"""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lesson_postgres import read_to_the_end
from record_dead_client import own_network, side_by_side
from record_out_of_ports import inside
from record_postgres import CLOSED_PORT, PORT, SERVER, Psql, prepare, start_postgres
from record_proxies import PROXY_MAC, Leg, three_hosts
from two_hosts import A_MOMENT, ADDRESS, SHELF, run

CLIENT, COMMAND = ADDRESS["client"], "python3 data/captures/record_clinic.py"
#: What is stored of a packet: all headers, and no more of the rows than one needs.
SNAPLEN = 128
SESSION = "select state, wait_event from pg_stat_activity where client_port > 0 and pid <> pg_backend_pid();"

On = dict[str, list[str]]


class Case(Leg):
    """Everything that passes one host's end of the wire to PostgreSQL, as its tcpdump would have it."""

    def __init__(self, path: Path, on: On, story: str, at: str) -> None:
        """at: the host on which the capture is taken."""
        super().__init__(path, on | {"client": on[at]}, story, device=at)
        self.on = on

    def frames(self) -> list[tuple[int, bytes]]:
        """(nanoseconds, frame) of every connection."""
        while select.select([self.wire], [], [], 0)[0]:
            frame, extra, _, _ = self.wire.recvmsg(65536, 64)
            seconds, nanoseconds = struct.unpack("@ll", extra[0][2])
            if frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_TCP:
                self.seen.append((seconds * 10**9 + nanoseconds, frame))
        return self.seen

    def waits(self, seconds: float) -> None:
        """Sleep, and take in what passes: Linux keeps a few hundred packets for a reader, and no more."""
        end = time.time() + seconds
        while (left := end - time.time()) > 0:
            time.sleep(min(left, 0.2))
            self.frames()

    def save_case(self, box: str = "") -> None:
        """Both files. Nothing of the sidecar is drawn into the pictures: the hosts have other names in it.

        box: the program between the two hosts, if one took part.
        """
        self.save(COMMAND, software=("postgres", "psql"))
        cut(self.path.with_suffix(".pcap"))
        path = self.path.with_suffix(".json")
        told = json.loads(path.read_text())
        if box:
            told["software"][box] = re.search(r"\d+(?:\.\d+)+", run(box, "-v"))[0]
        told["hosts"] = {"application": CLIENT, "database": SERVER}
        path.write_text(json.dumps(told, indent=1) + "\n")


def cut(pcap: Path) -> None:
    """Keep `SNAPLEN` bytes of each packet and note its true length, as `tcpdump -s` does."""
    whole, at = pcap.read_bytes(), 24
    parts = [whole[:16], struct.pack("=I", SNAPLEN), whole[20:24]]
    while at < len(whole):
        second, fraction, stored, length = struct.unpack_from("=IIII", whole, at)
        kept = min(stored, SNAPLEN)
        parts += [struct.pack("=IIII", second, fraction, kept, length), whole[at + 16 : at + 16 + kept]]
        at += 16 + stored
    pcap.write_bytes(b"".join(parts))


def sockets(case: Case, host: str, port: int = PORT) -> None:
    """What ss shows on this host of every connection of this port, a line each."""
    command = ["ss", "-Htno", f"( sport = :{port} or dport = :{port} )"]

    def seen() -> str:
        lines = run(*case.on[host], *command).splitlines()
        return "\n".join(sorted(" ".join(line.split()) for line in lines)) or "nothing"

    case.call(host, "ss -tno", seen)


def forgets_after(on: On, seconds: int) -> None:
    """The router in between becomes a firewall with a memory; what it doesn't know it drops, except SYNs."""
    rules = "add table ip fw; add chain ip fw way { type filter hook forward priority 0; policy drop; }; "
    rules += "add rule ip fw way ct state established accept; "
    rules += "add rule ip fw way ct state new tcp flags & (syn | ack | rst | fin) == syn accept"
    run(*on["proxy"], "nft", rules)
    for name, value in (("timeout_established", seconds), ("loose", 0)):
        path = f"/proc/sys/net/netfilter/nf_conntrack_tcp_{name}"
        run(*on["proxy"], "sh", "-c", f"echo {value} > {path}")


def psql_once(case: Case, sql: str, parameters: str = "", patience: float = 60) -> None:
    """A psql that runs one command, and what it printed, or that it still waited.

    patience: how long it is watched, seconds.
    """
    words = ["psql", "-XAt", "-c", sql, f"host={SERVER} port={PORT} {parameters}"]

    def run_it() -> str:
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=patience)
        except subprocess.TimeoutExpired:
            return f"still waits after {patience:.0f} s"
        return f"{(done.stdout + done.stderr).strip()}\n(exit status {done.returncode})"

    case.call("client", f"psql -c '{sql}' {parameters}".strip(), run_it)


def types(client: Psql, sql: str) -> Callable[[], str]:
    """The client sends this and goes on waiting."""

    def write() -> str:
        os.write(client.terminal, sql.encode() + b"\n")
        return "waits for the answer"

    return write


def case_1(folder: Path, on: On, dba: Psql) -> None:
    """A firewall forgot an idle connection: the client's view

    A session of the application's pool is silent for five minutes; the firewall on the way forgets after
    four (`nf_conntrack_tcp_timeout_established`) and drops what it does not know. The next query gets no
    answer, while a new connection from the same host to the same server works at once.
    """
    forgets_after(on, 240)
    case = Case(folder / "case_1", on, case_1.__doc__ or "", "client")
    pooled = Psql(SERVER)
    for _ in range(3):
        case.call(
            "client", "the pooled session: select now();", lambda: pooled.answer("select now();") and "ok"
        )
        time.sleep(2)
    time.sleep(298)
    case.call("client", "the pooled session: select 1;", types(pooled, "select 1;"))
    time.sleep(20)
    psql_once(case, "select 1;")
    sockets(case, "client")
    sockets(case, "server")
    case.call("server", f"psql: {SESSION}", lambda: dba.answer(SESSION) or "no rows")
    time.sleep(50)
    case.save_case("nft")


def case_2(folder: Path, on: On, dba: Psql) -> None:
    """A firewall forgot a long report: the server's view, and the client's

    A report takes five minutes; the firewall on the way forgets after four. The server's answer is dropped
    again and again. The client is alive: its keepalive asks after 280 seconds, which is too late for this
    firewall, and gives up half a minute later.
    """
    forgets_after(on, 240)
    server = Case(folder / "case_2", on, case_2.__doc__ or "", "server")
    client = Case(folder / "case_2_client", on, case_2.__doc__ or "", "client")
    report = "select count(*) from pg_class, pg_sleep(300);"
    waiting = threading.Thread(
        target=psql_once,
        args=(client, report, "keepalives_idle=280 keepalives_interval=10 keepalives_count=3", 400),
    )
    waiting.start()
    time.sleep(305)
    sockets(client, "client")
    sockets(server, "server")
    server.call("server", f"psql: {SESSION}", lambda: dba.answer(SESSION) or "no rows")
    waiting.join()
    time.sleep(40)
    sockets(server, "server")
    server.save_case("nft")
    client.save_case("nft")


def case_3(folder: Path, on: On, dba: Psql) -> None:
    """A RST that was keepalive's last word: the client's view

    A psql with keepalive of 30/10/3 waits for a query, and the server's address is taken away, as by a power
    cut. Three probes go unanswered; then the client's own Linux gives up and sends RST+ACK.
    """
    case = Case(folder / "case_3", on, case_3.__doc__ or "", "client")
    parameters = "keepalives_idle=30 keepalives_interval=10 keepalives_count=3"
    waiting = threading.Thread(
        target=psql_once, args=(case, "select count(*) from pg_class, pg_sleep(900);", parameters, 120)
    )
    waiting.start()
    time.sleep(12)
    words = ("ip", "address", "del", f"{SERVER}/24", "dev", "server")
    case.call("server", " ".join(words), lambda: run(*on["server"], *words) or None)
    time.sleep(10)
    sockets(case, "client")
    waiting.join()
    case.save_case()


def case_5(folder: Path, on: On, dba: Psql) -> None:
    """Forged RSTs that did not close: the client's view

    A session asks every second. A box on the way wants to end it and sends three RSTs in the server's name:
    one with the number of a packet that has long passed, one 1,460 further and one 4,380 further. The first
    is too old and ignored; the second is answered by a challenge ACK. The session goes on.
    """
    case = Case(folder / "case_5", on, case_5.__doc__ or "", "client")
    session = Psql(SERVER)
    for second in range(12):
        case.call("client", "psql: select now();", lambda: session.answer("select now();") and "ok")
        if second == 7:
            time.sleep(0.2)
            case.call("server", "a box sends 3 RSTs in the server's name", lambda: forge(case, on))
        time.sleep(1)
    case.call("client", "psql: \\q", lambda: session.answer("\\q") or None)
    case.save_case()


def forge(case: Case, on: On) -> None:
    """From the router's own interface towards the client, so that it is the router's TTL that they carry."""
    spoken = [frame for _, frame in case.frames() if frame[26:30] == socket.inet_aton(SERVER)]
    stale = [frame for frame in spoken if frame[47] & 0x08][-2]  # PSH: of the last answer but one
    start = struct.unpack("!I", stale[38:42])[0]
    wire = inside(on["proxy"], lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
    wire.bind(("to_client", 0))
    for ahead in (0, 1460, 4380):
        # Type of service, length, id, no fragment, TTL 255, protocol 6; then no options and no window.
        network = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0x4000, 255, 6, 0) + stale[26:34]
        network = network[:10] + checksum(network) + network[12:]
        segment = stale[34:38] + struct.pack("!IIBBHHH", (start + ahead) % 2**32, 0, 0x50, 0x04, 0, 0, 0)
        pseudo = stale[26:34] + struct.pack("!HH", socket.IPPROTO_TCP, len(segment))
        segment = segment[:16] + checksum(pseudo + segment) + segment[18:]
        wire.send(stale[:14] + network + segment)
    wire.close()


def checksum(words: bytes) -> bytes:
    """The Internet checksum, RFC 1071."""
    total = sum(struct.unpack(f"!{len(words) // 2}H", words))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


def case_6(folder: Path, on: On, dba: Psql) -> None:
    """One slow reader among health checks: the server's view

    HAProxy's health check connects and leaves many times, a forgotten monitor knocks at a closed port, and
    short sessions come and go. One client asks for 20 MB and stops reading. Its window closes, and after the
    10 seconds of `tcp_user_timeout` the server gives up in silence.
    """
    dba.answer("alter system set tcp_user_timeout = '10s';")
    dba.answer("select pg_reload_conf();")
    time.sleep(A_MOMENT)
    case = Case(folder / "case_6", on, case_6.__doc__ or "", "server")
    end = time.time() + 38
    checks = health_checks()
    others = [threading.Thread(target=each, args=(end,)) for each in (knock, visit)]
    for each in others:
        each.start()
    case.waits(4)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(30)
    client.connect((SERVER, PORT))
    log_in(client)
    report = "select repeat('x', 1000) from generate_series(1, 20000);"
    case.call("client", f"the report: {report}", lambda: client.send(query(report)))
    case.waits(6)
    sockets(case, "server")
    case.call("server", f"psql: {SESSION}", lambda: dba.answer(SESSION) or "no rows")
    case.waits(20)
    case.call("client", "the report: recv, until it ends", lambda: read_to_the_end(client))
    case.waits(max(end - time.time(), 0))
    for each in others:
        each.join()
    checks.terminate()
    case.call("server", "PostgreSQL's log, its different lines", log)
    case.save_case("haproxy")


def log_in(client: socket.socket) -> None:
    login = struct.pack("!I", 3 << 16) + b"user\0postgres\0database\0postgres\0\0"
    client.send(struct.pack("!I", len(login) + 4) + login)
    got = b""
    while not got.endswith(b"Z\0\0\0\5I"):  # ReadyForQuery
        got += client.recv(65536)


def query(sql: str) -> bytes:
    return b"Q" + struct.pack("!I", len(sql) + 5) + sql.encode() + b"\0"


def health_checks() -> subprocess.Popen:
    """A HAProxy on the client's host that only checks: connect, and away."""
    text = "defaults\nmode tcp\ntimeout connect 1s\ntimeout client 1h\ntimeout server 1h\n"
    text += f"listen postgres\nbind 127.0.0.1:7000\nserver db {SERVER}:{PORT} check inter 400ms\n"
    file = SHELF / "haproxy.cfg"
    file.write_text(text)
    return subprocess.Popen(["haproxy", "-db", "-f", str(file)], stderr=(SHELF / "haproxy.log").open("w"))


def knock(until: float) -> None:
    """A monitor that was told of a port on which nobody listens any more."""
    while time.time() < until:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection((SERVER, CLOSED_PORT)).close()
        time.sleep(1.6)


def visit(until: float) -> None:
    """Short healthy sessions."""
    while time.time() < until:
        with socket.create_connection((SERVER, PORT)) as client:
            log_in(client)
            client.send(query("select 1;"))
            client.recv(4096)
            client.send(b"X\0\0\0\4")  # Terminate
            client.recv(1)
        time.sleep(2.4)


def log() -> str:
    """What PostgreSQL's log says about the network: each line once, without time and process number."""
    lines = [line.split("] ", 1)[-1] for line in (SHELF / "log").read_text().splitlines()]
    told = [line for line in lines if re.search("could not|incomplete|connection to client", line)]
    return "\n".join(f"{told.count(line)} × {line}" for line in dict.fromkeys(told)) or "nothing"


CASES = (case_1, case_2, case_3, case_5, case_6)


def record(case: Callable[[Path, On, Psql], None], folder: Path, all_are_ready: Any) -> None:
    """One case on hosts of its own, when the others' databases are started too."""
    own_network()
    run("ip", "link", "set", "lo", "up")
    on = three_hosts()
    for host, other in (("client", "server"), ("server", "client")):  # the host in the middle is a router
        neighbour = (ADDRESS[other], "lladdr", PROXY_MAC[host], "dev", host, "nud", "permanent")
        run(*on[host], "ip", "neighbour", "replace", *neighbour)
    run(*on["proxy"], "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    server = start_postgres(on["server"])
    dba = Psql(SHELF, on["server"])  # through the Unix socket, so not on the wire
    all_are_ready.wait()
    case(folder, on, dba)
    server.send_signal(signal.SIGQUIT)  # what pg_ctl stop -m immediate sends: some backends still run


def main() -> None:
    for program in ("haproxy", "nft"):
        if not shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
            sys.exit(f"{program} is not installed here, and without it these captures can't be recorded.")
    side_by_side(record, CASES, prepare()[0])


if __name__ == "__main__":
    main()
