"""The Linux bench: the script on the real thing, in real time, inside the sandbox.

Each host is a network namespace; between them lies our own wire. Only the sandbox's inner
process uses this module; `tcplab.bench.sandbox` starts that process and asks it for runs.
"""

from __future__ import annotations

import asyncio
import errno
import os
import selectors
import shutil
import socket
import subprocess
import time
from collections.abc import Awaitable
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from tcplab.bench import namespaces, script
from tcplab.bench.sandbox import BenchError, Progress
from tcplab.bench.script import DEFAULTS, Bench, Bind, Connection, Host, Result, SocketOptions
from tcplab.bench.sockets import LinuxConnection, LinuxListener, SocketHost, abort, bind_before, set_options
from tcplab.bench.wire import Clock, LinkEnd, LinuxWire
from tcplab.core.releases import full_version
from tcplab.core.segment import Endpoint, Segment
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Trace
from tcplab.route.cable import Rule
from tcplab.route.middlebox import Middlebox

CARD = "eth0"
#: Buckets for connections in a host of ours, where Linux allows a table of its own (6.1): the
#: list of its sockets is then read in 20 µs instead of walking the whole machine's table.
_OWN_BUCKETS = 4096
#: tcp_wmem: room for what a program writes at once, so that send() takes it as the model does.
_SEND_BUFFER = 32 << 20
#: tcp_rmem's middle value, as Linux has it by default.
_RECEIVE_BUFFER = 131072
#: Numbers for the wire's ends of cables: Linux may take a moment to remove an old one.
_CARDS = count(1)
_NFT_RULES = {"REJECT": "reject with tcp reset", "DROP": "drop"}
#: No packet without payload is longer: an IP header without options, a TCP header with all it can hold.
_HEADERS = 80
_MORE_PLACES = ("/usr/sbin", "/sbin", "/usr/local/sbin")


def prepare_home() -> None:
    """Settings of the sandbox's own network, where the wire is and where hosts are made."""
    namespaces.silence_ipv6()
    namespaces.write_sysctl("ipv4/tcp_child_ehash_entries", str(_OWN_BUCKETS))


class LinuxHost(SocketHost):
    """A network namespace with one card, real sockets, and real rules.

    All sockets of all hosts belong to one process and one asyncio loop; each is made inside its host's
    network.
    """

    bench: LinuxBench

    def __init__(self, bench: LinuxBench, name: str, address: str) -> None:
        self.bench = bench
        self.name, self.address = name, address
        self._number = int(address.rpartition(".")[2])
        self._sysctls: dict[str, str] = {}
        self._more_addresses: list[str] = []
        self.held, self.changed, self.owes_ack = [], bench.changed, bench.wire.owes_ack
        self.looked = 0
        self.end: LinkEnd
        self._boot()

    def _boot(self) -> None:
        """A fresh network with a card on the wire; what was set before is set again."""
        home = self.bench.home
        kept = {
            name: namespaces.read_sysctl(f"ipv4/{name}") or ""
            for name in ("tcp_max_tw_buckets", "tcp_max_syn_backlog")
        }
        self.network = namespaces.NetworkNamespace.new(home)
        mac = bytes((2, 0, 0, 0, 0, self._number))
        card = f"wire{next(_CARDS)}"
        namespaces.make_cable(card, CARD, mac, self.network)
        with self.network.inside(home):
            namespaces.silence_ipv6()
            namespaces.bring_up("lo")
            namespaces.whole_frames(CARD)
            namespaces.give_address(CARD, self.address)
            namespaces.bring_up(CARD)
            for i, more in enumerate(self._more_addresses):
                namespaces.give_address(f"{CARD}:{i + 2}", more)
            # A small table of sockets must not bring small limits with it.
            for name, value in kept.items():
                namespaces.write_sysctl(f"ipv4/{name}", value)
            self._usual_settings()
            for name, value in self._sysctls.items():
                self._write(name, value)
            self.console = namespaces.Console(self.name, getattr(self, "console", None))
        if not hasattr(self, "end"):
            self.end = LinkEnd(self.name, card, mac)
            self.cable = self.end.cable
        else:
            self.end.plug_into(card)
        for rule in self.cable.rules.values():
            self._apply_rule(rule)
        self.bench.wire.attach(self.end, self.address)

    def _usual_settings(self) -> None:
        """What a namespace inherits from its machine, back to what Linux has by default."""
        least, _, most = (namespaces.read_sysctl("ipv4/tcp_rmem") or "4096 131072 6291456").split()
        namespaces.write_sysctl("ipv4/tcp_rmem", f"{least} {_RECEIVE_BUFFER} {most}")
        namespaces.write_sysctl("ipv4/tcp_wmem", f"4096 {_SEND_BUFFER} {_SEND_BUFFER}")
        if namespaces.read_sysctl("ipv4/tcp_congestion_control") != "cubic":
            namespaces.write_sysctl("ipv4/tcp_congestion_control", "reno")

    def shut_down(self) -> None:
        """Let go of everything; nothing of it reaches the wire any more."""
        for each in self.held:
            each.let_go(abort)
        self.held.clear()
        self.console.close()
        self.network.close()

    # -- the script's verbs ----------------------------------------------------------------

    def set(self, **sysctls: int | str | tuple[int, ...]) -> None:
        for name, value in sysctls.items():
            text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value).removesuffix(".0")
            self._sysctls[name] = text
            with self.network.inside(self.bench.home):
                self._write(name, text)

    def _write(self, name: str, text: str) -> None:
        place = "core" if name == "somaxconn" else "ipv4"
        try:
            known = namespaces.write_sysctl(f"{place}/{name}", text)
        except OSError as error:
            said = f"{error.strerror} ({namespaces.errno_name(error)})"
            raise BenchError(f"Linux refuses {name} = {text}: {said}.") from error
        if not known:
            self.bench.warn(f"{name} is ignored: this Linux ({self.bench.trace.linux}) has no such setting.")

    async def listen(self, port: int, backlog: int = 128, options: SocketOptions = DEFAULTS) -> LinuxListener:
        began = self.bench.clock.now()
        listening = self.make_socket(options)
        try:
            listening.bind((self.address, port))
            listening.listen(backlog)
        except OSError as error:
            raise script.ScriptError(f"listen({port}) failed: {namespaces.errno_name(error)}") from error
        self.record(f"listen({port}, backlog {backlog})", "ok", began, port)
        return LinuxListener(self, listening, options)

    async def connect(
        self, server: Host, port: int, options: SocketOptions = DEFAULTS, *, bind: Bind | None = None
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
        call = options.connect_says(remote, bind)
        self.has_options(options, connection.local, remote)
        if error == errno.EINPROGRESS:
            self.touched()
            waiting = self.begin(call, connection.local.port, began)
            await connection.ready(write=True)
            self.end_calls(waiting)
            error = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        elif error:  # no port: the socket is useless, and what it is bound to is free again
            connecting.close()
        result = Result(error=namespaces.errno_name(OSError(error, "")) if error else None)
        self.record(call, result.error or "ok", began, connection.local.port)
        return result, connection

    def reboot(self) -> None:
        # A new network replaces the old one: sockets of every kind go with it, and none of them can send,
        # since their card is on no wire.
        self.bench.drain()
        self.bench.wire.detach(self.end)
        self.shut_down()
        self._boot()
        self.touched()
        self.bench.note(self, "rebooted: no socket is left")

    def _apply_rule(self, rule: Rule) -> None:
        """A rule of netfilter in this host's network; the cable has it only to name the fate."""
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
            namespaces.give_address(f"{CARD}:{len(self._more_addresses) + 1}", address)
        self.bench.wire.move(address, self.end)
        return address

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
        super().record(call, result, began, port)
        self.touched()


T = TypeVar("T")

#: How often sockets are read when nothing happens on the wire, and counters, and how often
#: `progress` is called: seconds.
LOOK_EVERY, COUNT_EVERY, REPORT_EVERY = 0.02, 0.1, 0.25
#: In a burst sockets are read no more often than this.
_LOOK_AGAIN = MILLISECOND


#: linux/time.h:CLOCK_MONOTONIC_COARSE, which moves once a tick; Python has no name for it.
_COARSE_CLOCK = 6


def version() -> str:
    """The running Linux's version with its patch level, as `releases.release` takes it: `6.18.44`."""
    said = os.uname()
    try:
        signature = Path("/proc/version_signature").read_text()
    except OSError:
        signature = ""  # only Ubuntu's kernels have it
    return full_version(said.release, said.version, signature, round(1 / time.clock_getres(_COARSE_CLOCK)))


class LinuxBench(Bench):
    """Hosts on one wire, in real time."""

    def __init__(self, story: script.Story, home: namespaces.NetworkNamespace) -> None:
        self.home = home
        self.clock = Clock()
        self.trace = Trace(str(story.name), "linux", version(), story.values())
        self.wire = LinuxWire(self.trace, self.clock, round(story.latency_ms * MILLISECOND), self.stirred)
        self._hosts: list[LinuxHost] = []
        self._more_addresses = 0
        self._loop = asyncio.get_running_loop()
        self._waiting: list[asyncio.Future[None]] = []
        self._next_look: asyncio.Handle | None = None
        self._script: asyncio.Task[None] | None = None

    # -- the script's verbs ------------------------------------------------------------------

    def _make_host(self, name: str, address: str) -> LinuxHost:
        self._hosts.append(LinuxHost(self, name, address))
        return self._hosts[-1]

    def route(self, one: Host, other: Host, *middleboxes: Middlebox) -> None:
        self.wire.routes.place(one.name, other.name, middleboxes)

    def nanoseconds(self) -> int:
        return self.clock.now()

    def drain(self) -> None:
        self.wire.drain()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def together(self, *calls: Awaitable[Any]) -> list[Any]:
        return list(await asyncio.gather(*calls))

    async def first(self, *calls: Awaitable[T]) -> T:
        tasks = [asyncio.ensure_future(call) for call in calls]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(task for task in tasks if task in done).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def within(self, seconds: float, call: Awaitable[T]) -> T | None:
        try:
            async with asyncio.timeout(seconds):
                return await call
        except TimeoutError:
            return None

    def _forge(self, segment: Segment) -> None:
        self.wire.forge(segment)

    def move_address(self, old: Host, new: Host) -> None:
        assert isinstance(new, LinuxHost)
        with new.network.inside(self.home):
            namespaces.give_address(f"{CARD}:1", old.address)
        self.wire.move(old.address, new.end)
        self.note(new, f"takes over address {old.address}")

    # -- for its hosts -----------------------------------------------------------------------

    def warn(self, sentence: str) -> None:
        """Add a sentence that a reader must know beside the picture."""
        if sentence not in self.trace.warnings:
            self.trace.warnings.append(sentence)

    def one_more_address(self) -> str:
        """An address that no host has yet."""
        self._more_addresses += 1
        return f"10.0.0.{script.MORE_ADDRESSES + len(self._hosts) + self._more_addresses - 1}"

    async def changed(self) -> None:
        """Wait until something may have changed on some host."""
        waiting = self._loop.create_future()
        self._waiting.append(waiting)
        await waiting

    def stirred(self) -> None:
        """Something happened: look at the sockets in this turn of the loop."""
        if isinstance(self._next_look, asyncio.TimerHandle):
            self._next_look.cancel()
        elif self._next_look is not None:
            return
        self._next_look = self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._next_look = None
        later = False
        for host in self._hosts:
            if not host.end.touched:
                continue
            if host.end.turned or self.clock.now() - host.looked > _LOOK_AGAIN:
                self._sample(host)
            else:
                later = True
        if later:
            self._next_look = self._loop.call_later(_LOOK_AGAIN / SECOND, self._look)
        if self.wire.trouble and self._script:
            self._script.cancel()
        self._wake()

    def _sample(self, host: LinuxHost) -> None:
        host.end.touched = host.end.turned = False
        self.trace.sockets += host.console.sockets(self.clock.now)
        host.looked = self.clock.now()

    def _count(self) -> None:
        for host in self._hosts:
            self.trace.counters += host.console.counters(self.clock.now())

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)

    # -- a run -------------------------------------------------------------------------------

    async def perform(self, story: script.Story, progress: Progress) -> None:
        """The script from beginning to end. Raises `BenchError`, `ScriptError`."""
        ticking = asyncio.create_task(self._tick(progress))
        self._script = asyncio.create_task(story.run(self))
        try:
            await self._script
        except asyncio.CancelledError:
            if not self.wire.trouble:
                raise
        finally:
            ticking.cancel()
            self._finish()
        if self.wire.trouble:
            raise self.wire.trouble

    async def _tick(self, progress: Progress) -> None:
        counted = reported = 0.0
        while True:
            await asyncio.sleep(LOOK_EVERY)
            for host in self._hosts:
                self._sample(host)
            self._wake()
            now = self.now()
            if now - counted > COUNT_EVERY:
                counted = now
                self._count()
            if now - reported > REPORT_EVERY:
                reported = now
                progress(now, len(self.trace.packets))

    def _finish(self) -> None:
        self.wire.drain()
        for host in self._hosts:
            self._sample(host)
        self._count()
        self.finish()
        self.wire.close()
        for host in self._hosts:
            host.shut_down()
        # The kernel's stamps of different hosts are read one after the other.
        self.trace.packets.sort(key=lambda packet: packet.t)


def perform(story: script.Story, home: namespaces.NetworkNamespace, progress: Progress) -> Trace:
    """Run a story here, in the sandbox."""

    async def whole() -> Trace:
        bench = LinuxBench(story, home)
        await bench.perform(story, progress)
        return bench.trace

    # select() waits to the microsecond; epoll, which asyncio would take, to the millisecond.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return runner.run(whole())
