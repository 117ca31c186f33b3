"""A router of netfilter's between a client and a server, in namespaces of its own.

`python netfilter_router.py IDLE_SECONDS EXPIRED WHO ACTION` prints, as JSON, every TCP segment that came into
the router or went out of it, and what the two programs' calls gave.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from tcplab.bench.namespaces import NetworkNamespace, enter, errno_name, make_cable, write_sysctl
from tcplab.bench.wire import FrameParser

CARDS = {"client": ("10.1.0.1", "10.1.0.2"), "server": ("10.2.0.1", "10.2.0.2")}
CONNTRACK = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established")
#: What is let through besides the connections in the table, and what becomes of the rest.
RULES = {
    "drop": "tcp flags & (fin | syn | rst | ack) == syn accept\ndrop",
    "reject": "tcp flags & (fin | syn | rst | ack) == syn accept\nmeta l4proto tcp reject with tcp reset",
    "reopen": "ct state new accept\ndrop",
}
EVERYTHING, OUTGOING = 3, 4


def command(*words, text=None):
    done = subprocess.run(words, input=text, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{words[0]}: {done.stderr.strip()}")


def build(idle, expired):
    """Two machines with a card each, and the router between them, which is this namespace."""
    home, machines = NetworkNamespace.current(), {}
    command("ip", "link", "set", "lo", "up")
    for n, (name, (router, address)) in enumerate(CARDS.items(), 1):
        machines[name] = NetworkNamespace.new(home)
        make_cable(name, "eth0", bytes((2, 0, 0, 0, 0, n)), machines[name])
        command("ip", "link", "set", name, "arp", "on")
        command("ip", "address", "add", f"{router}/24", "dev", name)
        with machines[name].inside(home):
            command("ip", "link", "set", "lo", "up")
            command("ip", "address", "add", f"{address}/24", "dev", "eth0")
            command("ip", "link", "set", "eth0", "up")
            command("ip", "route", "add", "default", "via", router)
    write_sysctl("ipv4/ip_forward", "1")
    chain = "type filter hook forward priority 0 ; policy drop ;"
    rules = f"ct state established accept\n{RULES[expired]}"
    command("nft", "-f", "-", text=f"table ip box {{\nchain forward {{\n{chain}\n{rules}\n}}\n}}\n")
    if not CONNTRACK.exists():
        print(json.dumps({"missing": "this Linux tracks no connections inside a namespace"}))
        raise SystemExit(0)
    write_sysctl("netfilter/nf_conntrack_tcp_timeout_established", str(idle))
    write_sysctl("netfilter/nf_conntrack_tcp_loose", str(int(expired == "reopen")))
    return home, machines


class Watch(threading.Thread):
    """Sees whatever comes in and goes out on the router's cards, each at its moment.

    The kernel's own stamps are times of day, which somebody may set while an entry ages.
    """

    def __init__(self):
        super().__init__(daemon=True)
        self.packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERYTHING))
        self.parser, self.events = FrameParser(), []
        self.start()

    def run(self):
        while True:
            frame, (card, _, kind, *_) = self.packets.recvfrom(65536)
            now = time.monotonic_ns()
            if frame[12:14] != b"\x08\x00" or (segment := self.parser.segment(frame)) is None:
                continue
            numbers = [segment.seq, segment.ack, segment.flags, segment.length]
            ends = [list(segment.source), list(segment.destination)]
            self.events.append([now, card, "out" if kind == OUTGOING else "in", ends, numbers])


def said(call, *arguments):
    try:
        result = call(*arguments)
    except TimeoutError:
        return "nothing"
    except OSError as error:
        return errno_name(error)
    return len(result) if isinstance(result, bytes) else result


def story(home, machines, idle, who, action):
    """A question and an answer, silence for longer than the router remembers, and one more thing."""
    with machines["server"].inside(home):
        listener = socket.create_server((CARDS["server"][1], 5432))
    with machines["client"].inside(home):
        client = socket.create_connection((CARDS["server"][1], 5432), 3)
    server, _ = listener.accept()
    for each in (client, server):
        each.settimeout(0.6)
    client.sendall(bytes(40))
    server.recv(40)
    server.sendall(bytes(200))
    client.recv(200)
    time.sleep(idle + 0.7)
    here, there = (client, server) if who == "client" else (server, client)
    if action == "send":
        here.sendall(bytes(40))
        results = {"there": said(there.recv, 40), "here": said(here.recv, 40)}
    else:
        here.shutdown(socket.SHUT_WR)
        results = {"there": said(there.recv, 40)}
    results["there_lives"] = there.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1
    return results


def main():
    idle, expired, who, action = int(sys.argv[1]), *sys.argv[2:]
    enter()
    if child := os.fork():  # the first in a new pid namespace: when it ends, all of it ends
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    home, machines = build(idle, expired)
    watch = Watch()
    results = story(home, machines, idle, who, action)
    time.sleep(0.1)
    print(json.dumps({"results": results, "events": watch.events}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
