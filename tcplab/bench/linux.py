"""The Linux bench: the script on the real thing, in real time, inside the sandbox.

Each host is a network namespace; between them lies our own wire. Only the sandbox's inner
process uses this module; `tcplab.bench.sandbox` starts that process and asks it for runs.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import select
import selectors
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Awaitable
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from tcplab.bench import namespaces, script
from tcplab.bench.sandbox import REAL_TIME_LOOKS, BenchError, Looks, Progress
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
        self.watch = bench.watch
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

#: While nothing happens, sockets are read again after a share of the time since the last event (a segment,
#: a call, an error, a due timer of ss; see `Looks`), but no sooner than this, seconds: hours cost dozens of
#: looks.
LOOK_EVERY = 0.02
#: How often counters are read, and how often `progress` is called, at most: seconds.
COUNT_EVERY, REPORT_EVERY = 0.1, 0.25
#: In a burst sockets are read no more often than this; and one more tick after a timer was due.
_LOOK_AGAIN, _TICK = MILLISECOND, 4 * MILLISECOND
#: When a script has ended, its hosts' packets are complete once none has come for the first of these; the
#: second is the longest wait, seconds.
_QUIET, _LONGEST_CLOSE = 0.002, 0.05

_libc = ctypes.CDLL(None, use_errno=True)
#: include/uapi/linux/timerfd.h.
_TFD_TIMER_ABSTIME, _TFD_NONBLOCK, _TFD_CLOEXEC = 1, os.O_NONBLOCK, os.O_CLOEXEC
#: A timer that is set no more than this before the wanted time is kept: nanoseconds.
_SOON_ENOUGH = 20_000


class PreciseSelector(selectors.EpollSelector):
    """epoll whose timeouts end to the microsecond, by a timerfd.

    epoll_wait() takes milliseconds, and select() is late by a thousandth of its timeout, up to
    100 ms (fs/select.c:select_estimate_accuracy); a timerfd has no such slack. Python has
    os.timerfd_create since 3.13. Sources: timerfd_create(2), epoll_wait(2).
    """

    def __init__(self) -> None:
        super().__init__()
        #: How often a wait has ended.
        self.wakes = 0
        self._due = 0
        self._timer = _libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._timer < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "timerfd_create")
        self.register(self._timer, selectors.EVENT_READ)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait until something is ready or `timeout` seconds are over."""
        if timeout is not None and timeout > 0:
            due = time.monotonic_ns() + int(timeout * SECOND) + 1
            if not self._due <= due <= self._due + _SOON_ENOUGH:
                self._set(due)
            timeout = None
        ready = super().select(timeout)
        self.wakes += 1
        if any(key.fd == self._timer for key, _ in ready):
            self._set(0)
            return [each for each in ready if each[0].fd != self._timer]
        return ready

    def _set(self, due: int) -> None:
        """Arm the timer, or with 0 stop it; pending expirations are discarded."""
        self._due = due
        setting = struct.pack("@4l", 0, 0, *divmod(due, SECOND))
        _libc.timerfd_settime(self._timer, _TFD_TIMER_ABSTIME, setting, None)

    def close(self) -> None:
        super().close()
        os.close(self._timer)


#: linux/time.h:CLOCK_MONOTONIC_COARSE, which advances once a tick; Python has no name for it.
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

    def __init__(
        self,
        story: script.Story,
        home: namespaces.NetworkNamespace,
        selector: PreciseSelector,
        looks: Looks,
    ) -> None:
        """Runs in a loop that waits with `selector`."""
        self.home, self.selector = home, selector
        self.clock = Clock()
        self.trace = Trace(str(story.name), "linux", version(), story.values(), began=self.clock.began)
        self.wire = LinuxWire(self.trace, self.clock, round(story.latency_ms * MILLISECOND), self.stirred)
        self._hosts: list[LinuxHost] = []
        self._more_addresses = 0
        self._loop = asyncio.get_running_loop()
        self._waiting: list[asyncio.Future[None]] = []
        self._next_look: asyncio.Handle | None = None
        self._script: asyncio.Task[None] | None = None
        #: How often one host's sockets have been read.
        self.looks = 0
        self._longest_wait, self._share = round(looks.longest_s * SECOND), looks.share
        self._idle_look: asyncio.TimerHandle | None = None
        #: The time of the last event, and when the next timer of ss is due.
        self._happened = self._due = 0
        self._counted = self._reported = 0.0
        #: Counters change with events and with sockets: they are read again after either.
        self._uncounted = True
        #: None before the script begins and after it has ended: nothing is read then.
        self._progress: Progress | None = None
        #: Reports errors and hang-ups on the connections of all hosts, without a task that waits for them.
        self._watched: dict[int, LinuxHost] = {}
        self._broken = select.epoll()
        self._loop.add_reader(self._broken.fileno(), self._look_at_broken)

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

    def watch(self, held: socket.socket, host: LinuxHost) -> None:
        """Wake whoever awaits `changed()` when an error or a hang-up comes on a connection."""
        self._watched[held.fileno()] = host
        # Errors are always reported; edge-triggered, each of them once.
        self._broken.register(held.fileno(), select.EPOLLRDHUP | select.EPOLLET)

    def _look_at_broken(self) -> None:
        for descriptor, _ in self._broken.poll(0):
            self._watched[descriptor].touched()

    def stirred(self) -> None:
        """Something happened: look at the sockets in this turn of the loop."""
        if self._progress is None:
            return
        if isinstance(self._next_look, asyncio.TimerHandle):
            self._next_look.cancel()
        elif self._next_look is not None:
            return
        self._next_look = self._loop.call_soon(self._look)

    def _look(self) -> None:
        """Look at the hosts where something happened."""
        self._next_look = None
        self._happened, self._uncounted = self.clock.now(), True
        later = False
        for host in self._hosts:
            if not host.end.touched:
                continue
            if host.end.turned or self._happened - host.looked > _LOOK_AGAIN:
                self._sample(host)
            else:
                later = True
        if later:
            self._next_look = self._loop.call_later(_LOOK_AGAIN / SECOND, self._look)
        self._look_idly_in(LOOK_EVERY)
        if self.wire.trouble and self._script:
            self._script.cancel()
        self._wake()

    def _look_idly_in(self, seconds: float) -> None:
        """Look at all hosts after this many seconds, or sooner if a look is planned."""
        at = self._loop.time() + seconds
        if self._idle_look is None or self._idle_look.when() > at:
            if self._idle_look:
                self._idle_look.cancel()
            self._idle_look = self._loop.call_at(at, self._look_idly)

    def _look_idly(self) -> None:
        """Look at everything without an event, and plan the next such look."""
        self._idle_look = None
        for host in self._hosts:
            self._sample(host)
        self._wake()
        now = self.now()
        if self._uncounted and now - self._counted > COUNT_EVERY:
            self._counted, self._uncounted = now, False
            self._count()
        if self._progress and now - self._reported > REPORT_EVERY:
            self._reported = now
            self._progress(now, len(self.trace.packets))
        self._look_idly_in(self._wait())

    def _wait(self) -> float:
        """How long to wait until the next look, unless something happens, seconds."""
        now = self.clock.now()
        if self._happened < self._due <= now:
            self._happened = self._due
        wait = min(round((now - self._happened) * self._share), self._longest_wait)
        dues = (host.console.next_due(now) for host in self._hosts)
        self._due = min((due for due in dues if due is not None), default=0)
        if self._due:
            wait = min(wait, self._due + _TICK - now)
        return max(wait / SECOND, LOOK_EVERY)

    def _sample(self, host: LinuxHost) -> None:
        host.end.touched = host.end.turned = False
        self.looks += 1
        changed = host.console.sockets(self.clock.now)
        self._uncounted = self._uncounted or bool(changed)
        self.trace.sockets += changed
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
        self._progress = progress
        self._look_idly_in(LOOK_EVERY)
        self._script = asyncio.create_task(story.run(self))
        try:
            await self._script
            self._end()
            await self._last_segments()
        except asyncio.CancelledError:
            if not self.wire.trouble:
                raise
        finally:
            self._close()
        if self.wire.trouble:
            raise self.wire.trouble
        # The kernel's time stamps of different hosts are read one after the other.
        self.trace.packets.sort(key=lambda packet: packet.t)

    def _end(self) -> None:
        """End the run: packets that hosts send from now on do not belong to it and do not arrive."""
        self.wire.drain()
        self._stop_looking()
        for host in self._hosts:
            self._sample(host)
        self._count()
        self.finish()
        self.wire.freeze(self.trace.end)

    def _stop_looking(self) -> None:
        self._progress = None
        for handle in (self._next_look, self._idle_look):
            if handle:
                handle.cancel()

    async def _last_segments(self) -> None:
        """Read what hosts sent before the end and the kernel has not delivered yet.

        A timer that aborts a connection wakes the program at once; its RST, sent before that, crosses to the
        wire's side in a softirq, which another processor may still have to run.
        """
        until = self._loop.time() + _LONGEST_CLOSE
        seen = -1
        while seen != self.wire.taken and self._loop.time() < until:
            seen = self.wire.taken
            await asyncio.sleep(_QUIET)
            self.wire.drain()

    def _close(self) -> None:
        self._stop_looking()
        self.wire.close()
        for host in self._hosts:
            host.shut_down()
        self._loop.remove_reader(self._broken.fileno())
        self._broken.close()


def perform(
    story: script.Story,
    home: namespaces.NetworkNamespace,
    progress: Progress,
    looks: Looks = REAL_TIME_LOOKS,
) -> Trace:
    """Run a story here, in the sandbox."""

    selector = PreciseSelector()

    async def whole() -> Trace:
        bench = LinuxBench(story, home, selector, looks)
        await bench.perform(story, progress)
        return bench.trace

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        return runner.run(whole())
