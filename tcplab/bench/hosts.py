"""A host of the Linux bench: a network namespace with one card, real sockets, and real rules.

All sockets of all hosts belong to one process and one asyncio loop; each is made inside its
host's network.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
from itertools import count
from typing import TYPE_CHECKING

from tcplab.bench.namespaces import (
    Network,
    bring_up,
    errno_name,
    give_address,
    make_cable,
    read_sysctl,
    silence_ipv6,
    whole_frames,
    write_sysctl,
)
from tcplab.bench.script import (
    Bind,
    Connection,
    Host,
    Result,
    ScriptError,
    SocketOptions,
)
from tcplab.bench.sockdiag import Console
from tcplab.bench.sockets import Held, LinuxConnection, LinuxListener, abort, bind_before, set_options
from tcplab.bench.trouble import BenchError
from tcplab.bench.wire import End
from tcplab.route.cable import Rule
from tcplab.segment import Endpoint
from tcplab.trace import Call

if TYPE_CHECKING:
    from tcplab.bench.linux import LinuxBench

CARD = "eth0"
#: Buckets for connections in a host of ours, where Linux allows a table of its own (6.1): the
#: list of its sockets is then read in 20 µs instead of walking the whole machine's table.
_OWN_BUCKETS = 4096
#: tcp_wmem: room for what a program writes at once, so that send() takes it as the model does.
_SEND_BUFFER = 32 << 20
#: tcp_rmem's middle value, as Linux has it by default.
_RECEIVE_BUFFER = 131072
#: Numbers for the wire's ends of cables; one that was let go may take Linux a moment to remove.
_CARDS = count(1)
_NFT_RULES = {"REJECT": "reject with tcp reset", "DROP": "drop"}
#: No packet without payload is longer: an IP header without options, a TCP header with all it can hold.
_HEADERS = 80
_MORE_PLACES = ("/usr/sbin", "/sbin", "/usr/local/sbin")


def prepare_home() -> None:
    """Settings of the sandbox's own network, where the wire is and where hosts are made."""
    silence_ipv6()
    write_sysctl("ipv4/tcp_child_ehash_entries", str(_OWN_BUCKETS))


class LinuxHost(Host):
    """One machine: one address, until it is given more."""

    def __init__(self, bench: LinuxBench, name: str, address: str) -> None:
        self.bench = bench
        self.name, self.address = name, address
        self._number = int(address.rpartition(".")[2])
        self._sysctls: dict[str, str] = {}
        self._more_addresses: list[str] = []
        #: Every socket that a program here holds or has held.
        self.held: list[Held] = []
        self.looked = 0
        self.console: Console | None = None
        self.end: End
        self._boot()

    def _boot(self) -> None:
        """A fresh network with a card on the wire; what was set before is set again."""
        home = self.bench.home
        kept = {
            name: read_sysctl(f"ipv4/{name}") or "" for name in ("tcp_max_tw_buckets", "tcp_max_syn_backlog")
        }
        self.network = Network.new(home)
        mac = bytes((2, 0, 0, 0, 0, self._number))
        card = f"wire{next(_CARDS)}"
        make_cable(card, CARD, mac, self.network)
        with self.network.inside(home):
            silence_ipv6()
            bring_up("lo")
            whole_frames(CARD)
            give_address(CARD, self.address)
            bring_up(CARD)
            for i, more in enumerate(self._more_addresses):
                give_address(f"{CARD}:{i + 2}", more)
            # A small table of sockets must not bring small limits with it.
            for name, value in kept.items():
                write_sysctl(f"ipv4/{name}", value)
            self._usual_settings()
            for name, value in self._sysctls.items():
                self._write(name, value)
            self.console = Console(self.name, self.console)
        if not hasattr(self, "end"):
            self.end = End(self.name, card, mac)
        else:
            self.end.plug_into(card)
        for rule in self.end.cable.rules.values():
            self._apply_rule(rule)
        self.bench.wire.attach(self.end, self.address)

    def _usual_settings(self) -> None:
        """What a namespace inherits from its machine, back to what Linux has by default."""
        least, _, most = (read_sysctl("ipv4/tcp_rmem") or "4096 131072 6291456").split()
        write_sysctl("ipv4/tcp_rmem", f"{least} {_RECEIVE_BUFFER} {most}")
        write_sysctl("ipv4/tcp_wmem", f"4096 {_SEND_BUFFER} {_SEND_BUFFER}")
        if read_sysctl("ipv4/tcp_congestion_control") != "cubic":
            write_sysctl("ipv4/tcp_congestion_control", "reno")

    def shut_down(self) -> None:
        """Let go of everything; nothing of it reaches the wire any more."""
        for each in self.held:
            each.let_go(abort)
        self.held.clear()
        if self.console:
            self.console.close()
        self.network.close()

    # -- the script's verbs ----------------------------------------------------------------

    def set(self, **sysctls: int | str | tuple[int, ...]) -> None:
        for name, value in sysctls.items():
            text = _text(value)
            self._sysctls[name] = text
            with self.network.inside(self.bench.home):
                self._write(name, text)

    def _write(self, name: str, text: str) -> None:
        place = "core" if name == "somaxconn" else "ipv4"
        try:
            known = write_sysctl(f"{place}/{name}", text)
        except OSError as error:
            said = f"{error.strerror} ({errno_name(error)})"
            raise BenchError(f"Linux refuses {name} = {text}: {said}.") from error
        if not known:
            self.bench.warn(f"{name} is ignored: this Linux ({self.bench.trace.linux}) has no such setting.")

    async def listen(
        self, port: int, backlog: int = 128, options: SocketOptions = SocketOptions()
    ) -> LinuxListener:
        began = self.bench.clock.now()
        listening = self.make_socket(options)
        try:
            listening.bind((self.address, port))
            listening.listen(backlog)
        except OSError as error:
            raise ScriptError(f"listen({port}) failed: {errno_name(error)}") from error
        self.record(f"listen({port}, backlog {backlog})", "ok", began, port)
        return LinuxListener(self, listening)

    async def connect(
        self,
        server: Host,
        port: int,
        options: SocketOptions = SocketOptions(),
        *,
        bind: Bind | None = None,
    ) -> tuple[Result, Connection]:
        connecting = self.make_socket(options)
        remote = Endpoint(server.address, port)
        if bind is not None:
            began = self.bench.clock.now()
            failed = bind_before(connecting, bind)
            local = connecting.getsockname()
            self.record(bind.says(options), failed or "ok", began, local[1])
            if failed:
                connecting.close()
                return Result(error=failed), LinuxConnection(self, connecting, remote, local)
        began = self.bench.clock.now()
        error = connecting.connect_ex(remote)
        connection = LinuxConnection(self, connecting, remote)
        if error == errno.EINPROGRESS:
            self.touched()
            await connection.ready(write=True)
            error = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        elif error:  # no port: nobody can use this socket, and what it is bound to is free again
            connecting.close()
        result = Result(error=errno_name(OSError(error, "")) if error else None)
        self.record(options.connect_says(remote, bind), result.error or "ok", began, connection.local.port)
        return result, connection

    def unplug(self) -> None:
        self.bench.wire.drain()
        self.end.cable.unplug()
        self.bench.note(self, "unplugged")

    def plug(self) -> None:
        self.bench.wire.drain()
        self.end.cable.plug()
        self.bench.note(self, "plugged in again")

    def reboot(self) -> None:
        # A new network in place of the old one: with it go sockets of every kind, and none of
        # them can say a word, since their card hangs on no wire.
        self.bench.wire.drain()
        self.bench.wire.detach(self.end)
        self.shut_down()
        self._boot()
        self.touched()
        self.bench.note(self, "rebooted: no socket is left")

    def reject(self, port: int, times: int = 0) -> None:
        self._rule(port, "REJECT", times)

    def drop(self, port: int) -> None:
        self._rule(port, "DROP")

    def _rule(self, port: int, rule: str, times: int = 0) -> None:
        self.bench.wire.drain()
        added = self.end.cable.add_rule(port, rule, times)
        self._apply_rule(added)
        self.bench.note(self, added.says)

    def _apply_rule(self, rule: Rule) -> None:
        """A rule of netfilter in this host's network; the wire knows of it only to name the fate."""
        if rule.left == 0:
            return
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_MORE_PLACES])
        nft = shutil.which("nft", path=path)
        if nft is None:
            raise BenchError("firewall rules on Linux need the program nft: install the package nftables.")
        # One more would have to wait until tomorrow.
        limit = f"ip length > {_HEADERS} limit rate 1/day burst {rule.left} packets " if rule.left else ""
        hook = "{ type filter hook input priority 0 ; policy accept ; }"
        rules = (
            f"add table ip tcplab\nadd chain ip tcplab input {hook}\n"
            f"add rule ip tcplab input tcp dport {rule.port} {limit}{_NFT_RULES[rule.action]}\n"
        )
        with self.network.inside(self.bench.home):
            done = subprocess.run([nft, "-f", "-"], input=rules, text=True, capture_output=True)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["nothing"])[0]
            raise BenchError(f"nft could not set the firewall rule {rule.action}: it said {said!r}.")

    def add_address(self) -> str:
        address = self.bench.one_more_address()
        self._more_addresses.append(address)
        with self.network.inside(self.bench.home):
            give_address(f"{CARD}:{len(self._more_addresses) + 1}", address)
        self.bench.wire.move(address, self.end)
        return address

    def take_over(self, address: str) -> None:
        """One more address on this host's card."""
        with self.network.inside(self.bench.home):
            give_address(f"{CARD}:1", address)

    # -- for its sockets ---------------------------------------------------------------------

    def make_socket(self, options: SocketOptions) -> socket.socket:
        """A socket in this host's network with a program's options."""
        with self.network.inside(self.bench.home):
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        set_options(made, options, self.bench.warn)
        return made

    def touched(self) -> None:
        """A call may have changed a socket: look at them soon."""
        self.end.touched = self.end.turned = True
        self.bench.stirred()

    def record(self, call: str, result: str, began: int, port: int) -> None:
        """Write a call into the trace."""
        self.bench.trace.calls.append(Call(self.bench.clock.now(), began, self.name, call, result, port))
        self.touched()


def _text(value: int | str | tuple[int, ...]) -> str:
    """A value as a file under /proc/sys takes it."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, str):
        return value
    return str(int(value)) if value == int(value) else str(value)
