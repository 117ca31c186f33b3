"""Record what runs out where nobody looks: python3 data/captures/record_out_of_ports.py [FOLDER]

Two captures and their sidecars are written beside this file (or into FOLDER); ../README.md says what they
are. Everything happens on hosts made for the occasion: see two_hosts.py. Linux only, as root or as an
ordinary user; needs util-linux, iproute2 and nft. Takes about ten seconds.
"""

import ctypes
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from two_hosts import A_MOMENT, ADDRESS, MAC, Recording, build_network, enter, run, switch_offload_off

SERVER, PORT = ADDRESS["server"], 3306
#: Six ports stand for the 28,232 of a real range.
RANGE, PORTS = "60001-60006", 6
NAT, NAT_MAC = "10.0.0.3", {"towards_client": "02:00:00:00:00:03", "towards_server": "02:00:00:00:00:04"}

On = dict[str, list[str]]
libc = ctypes.CDLL(None, use_errno=True)
NEW_NETWORK = 0x40000000  # CLONE_NEWNET of linux/sched.h


def inside(on: list[str], action: Callable[[], socket.socket]) -> socket.socket:
    """A socket made in a host's network; this process itself stays where it is."""
    if on == ["nsenter"]:
        return action()
    here, there = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(f"/proc/{on[2]}/ns/net", os.O_RDONLY)
    libc.setns(there, 0)
    try:
        return action()
    finally:
        libc.setns(here, 0)
        os.close(here)
        os.close(there)


def connect(port: int = PORT) -> socket.socket:
    connecting = socket.socket()
    connecting.connect((SERVER, port))
    return connecting


def ports_on_the_server(on: On) -> str:
    """The clients' ports as the server sees them."""
    lines = run(*on["server"], "ss", "-Htn", "state", "established").splitlines()
    return " ".join(sorted(line.split()[-1] for line in lines))


def ports_in_use() -> str:
    """How many local ports of its range the client has given away."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    used = {line.split()[3].rpartition(":")[2] for line in run("ss", "-Htan").splitlines()}
    return f"{len(used)} of {high - low + 1}"


def a_nat_between() -> On:
    """Client, NAT and server; the NAT has an address of its own and six ports for all who go through it."""
    on = {"client": ["nsenter"]}
    for name in ("nat", "server"):
        holder = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        on[name] = ["nsenter", "-t", str(holder.pid), "-n"]
    for host in ("client", "server"):
        side = f"towards_{host}"
        run("ip", "link", "add", host, "type", "veth", "peer", "name", side)
        for device in (host, side):
            switch_offload_off(device)
        run("ip", "link", "set", side, "netns", on["nat"][2])
        if host == "server":
            run("ip", "link", "set", host, "netns", on["server"][2])
        run(*on[host], "ip", "address", "add", f"{ADDRESS[host]}/24", "dev", host)
        run(*on[host], "ip", "link", "set", host, "address", MAC[host], "up")
        run(*on["nat"], "ip", "link", "set", side, "address", NAT_MAC[side], "up")
        run(*on["nat"], "ip", "route", "add", ADDRESS[host], "dev", side)
        neighbour = (ADDRESS[host], "lladdr", MAC[host], "dev", side, "nud", "permanent")
        run(*on["nat"], "ip", "neighbour", "replace", *neighbour)
    for host, other, side in (("client", SERVER, "towards_client"), ("server", NAT, "towards_server")):
        neighbour = (other, "lladdr", NAT_MAC[side], "dev", host, "nud", "permanent")
        run(*on[host], "ip", "neighbour", "replace", *neighbour)
    run(*on["nat"], "ip", "address", "add", f"{NAT}/32", "dev", "towards_server")
    run(*on["nat"], "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    rules = "add table ip nat; add chain ip nat out { type nat hook postrouting priority srcnat; }; "
    rules += f"add rule ip nat out oifname towards_server meta l4proto tcp snat to {NAT}:{RANGE}"
    run(*on["nat"], "nft", rules)
    return on


def nat_out_of_ports(folder: Path) -> None:
    """A NAT between client and server runs out of ports

    Every client behind the NAT shares its six ports towards the database. Six connections stand; the
    seventh client has ports of its own in plenty, so connect() raises no error: its SYN disappears in the
    NAT, which has no port left for it. The client repeats the SYN, and says "Connection timed out".
    (tcp_syn_retries is 2 here, so that it does not take two minutes.)
    """
    on = a_nat_between()
    run("sh", "-c", "cd /proc/sys/net/ipv4; echo 2 > tcp_syn_retries; echo 0 > tcp_syn_linear_timeouts")
    listener = inside(on["server"], lambda: socket.create_server((SERVER, PORT), backlog=64))
    standing = [connect() for _ in range(PORTS)]
    recording = Recording(folder / "nat_out_of_ports", on, nat_out_of_ports.__doc__)
    recording.call("server", "ss: its clients", lambda: ports_on_the_server(on))
    recording.call("client", "ss: local ports in use", ports_in_use)
    recording.call("client", "connect(), the seventh", lambda: standing.append(connect()))
    recording.call("server", "ss: its clients", lambda: ports_on_the_server(on))
    recording.look()
    recording.save(COMMAND, ("nft",))
    listener.close()


def redirected_port(folder: Path) -> None:
    """A second server port, redirected to the first one

    The client has six ports. Six connections go to port 3306 of the server; six more to port 3307, which
    a rule on the server redirects to 3306: for the client another destination, so its six ports serve
    again. For the server's socket all twelve would be the same four-tuples twice, so its connection
    tracking gives the second six other source ports: the server sees ports that the client does not have.
    """
    on = build_network()
    run("sh", "-c", "echo 60001 60006 > /proc/sys/net/ipv4/ip_local_port_range")
    rules = "add table ip nat; add chain ip nat in { type nat hook prerouting priority dstnat; }; "
    run(*on["server"], "nft", f"{rules} add rule ip nat in tcp dport 3307 redirect to :{PORT}")
    listener = inside(on["server"], lambda: socket.create_server((SERVER, PORT), backlog=64))
    standing = [connect() for _ in range(PORTS)]
    recording = Recording(folder / "redirected_port", on, redirected_port.__doc__)
    recording.call("client", f"connect() to {PORT}, the seventh", lambda: standing.append(connect()))
    for number in range(1, PORTS + 1):
        call = f"connect() to 3307, number {number}"
        recording.call("client", call, lambda: standing.append(connect(3307)))
    time.sleep(A_MOMENT)
    ours = " ".join(sorted({str(each.getsockname()[1]) for each in standing}))
    recording.call("client", "ss: its ports", lambda: ours)
    recording.call("server", "ss: its clients", lambda: ports_on_the_server(on))
    recording.look()
    recording.save(COMMAND, ("nft",))
    listener.close()


COMMAND = "python3 data/captures/record_out_of_ports.py"

if __name__ == "__main__":
    into = enter(("nft",))
    for record in (nat_out_of_ports, redirected_port):
        libc.unshare(NEW_NETWORK)
        run("ip", "link", "set", "lo", "up")
        record(into)
