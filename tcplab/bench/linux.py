"""The Linux bench: the script on the real thing, in real time, inside the sandbox.

Each host is a network namespace; between them lies our own wire. Only the sandbox's inner
process uses this module; `tcplab.bench.sandbox` starts that process and asks it for runs.
"""

from __future__ import annotations

import asyncio
import os
import re
import selectors
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tcplab.bench.hosts import LinuxHost
from tcplab.bench.namespaces import Network
from tcplab.bench.script import MORE_ADDRESSES, OLD_WINDOW, Bench, Connection, Host
from tcplab.bench.sockets import LinuxConnection
from tcplab.bench.wire import Clock, Wire
from tcplab.route.box import Box
from tcplab.segment import ACK, PSH, RST, Segment, seq_add
from tcplab.trace import MILLISECOND, SECOND, Note, Trace

if TYPE_CHECKING:
    from tcplab.bench import Story

T = TypeVar("T")

#: How often sockets are looked at when nothing happens on the wire, and counters, and how often
#: somebody is told how far the run is: seconds.
LOOK_EVERY, COUNT_EVERY, TELL_EVERY = 0.02, 0.1, 0.25
#: In a burst sockets are looked at no more often than this.
_LOOK_AGAIN = MILLISECOND

#: Told from time to time: seconds since the run began, and segments so far.
Progress = Callable[[float, int], None]


def version() -> str:
    """The running Linux's version, the first three numbers: `6.18.44`."""
    found = re.match(r"\d+(\.\d+){0,2}", os.uname().release)
    return found[0] if found else ""


class LinuxBench(Bench):
    """Hosts on one wire, in real time."""

    def __init__(self, story: Story, home: Network) -> None:
        self.home = home
        self.clock = Clock()
        self.trace = Trace(str(story.name), "linux", version(), story.values())
        self.wire = Wire(self.trace, self.clock, round(story.latency_ms * MILLISECOND), self.stirred)
        self._hosts: list[LinuxHost] = []
        self._more_addresses = 0
        self._loop = asyncio.get_running_loop()
        self._waiting: list[asyncio.Future[None]] = []
        self._next_look: asyncio.Handle | None = None
        self._script: asyncio.Task[None] | None = None

    # -- the script's verbs ------------------------------------------------------------------

    def hosts(self, *names: str) -> tuple[LinuxHost, ...]:
        made = []
        for name in names:
            host = LinuxHost(self, name, f"10.0.0.{len(self._hosts) + 1}")
            self._hosts.append(host)
            self.trace.hosts[name] = host.address
            made.append(host)
        return tuple(made)

    def route(self, one: Host, other: Host, *boxes: Box) -> None:
        self.wire.between.place(one.name, other.name, boxes)

    def now(self) -> float:
        return self.clock.now() / SECOND

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

    def lose(self, sender: Host, **which: int) -> None:
        assert isinstance(sender, LinuxHost)
        self.wire.drain()
        for kind, times in which.items():
            sender.end.cable.lose(kind, times)

    def forge_reset(self, victim: Connection, offset: int) -> None:
        assert isinstance(victim, LinuxConnection)
        self.wire.drain()
        last = self.wire.acked[victim.local, victim.remote]
        self.wire.forge(Segment(victim.remote, victim.local, seq_add(last, offset), 0, RST, 0))

    def forge_data(self, victim: Connection, length: int) -> None:
        assert isinstance(victim, LinuxConnection)
        self.wire.drain()
        last = next(p.segment for p in reversed(self.trace.passages) if p.segment.source == victim.local)
        numbers = last.ack, last.end_seq
        self.wire.forge(Segment(victim.remote, victim.local, *numbers, PSH | ACK, OLD_WINDOW, length))

    def move_address(self, old: Host, new: Host) -> None:
        assert isinstance(new, LinuxHost)
        new.take_over(old.address)
        self.wire.move(old.address, new.end)
        self.note(new, f"takes over address {old.address}")

    def watch_from_now(self) -> None:
        self.wire.drain()
        self.trace.watched_from = self.clock.now()

    def note(self, host: Host | None, text: str) -> None:
        self.trace.notes.append(Note(self.clock.now(), host.name if host else "", text))

    # -- for its hosts -----------------------------------------------------------------------

    def warn(self, sentence: str) -> None:
        """Something a reader must know before believing the picture."""
        if sentence not in self.trace.warnings:
            self.trace.warnings.append(sentence)

    def one_more_address(self) -> str:
        """An address that no host has yet."""
        self._more_addresses += 1
        return f"10.0.0.{MORE_ADDRESSES + len(self._hosts) + self._more_addresses - 1}"

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
        if host.console:
            self.trace.sockets += host.console.sockets(self.clock.now)
        host.looked = self.clock.now()

    def _count(self) -> None:
        for host in self._hosts:
            if host.console:
                self.trace.counters += host.console.counters(self.clock.now())

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)

    # -- a run -------------------------------------------------------------------------------

    async def perform(self, story: Story, progress: Progress) -> None:
        """The script from beginning to end. Raises `BenchError`, `ScriptError`."""
        ticking = asyncio.create_task(self._tick(progress))
        self._script = asyncio.create_task(_as_coroutine(story.run(self)))
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
        counted = told = 0.0
        while True:
            await asyncio.sleep(LOOK_EVERY)
            for host in self._hosts:
                self._sample(host)
            self._wake()
            now = self.now()
            if now - counted > COUNT_EVERY:
                counted = now
                self._count()
            if now - told > TELL_EVERY:
                told = now
                progress(now, len(self.trace.passages))

    def _finish(self) -> None:
        self.wire.drain()
        for host in self._hosts:
            self._sample(host)
        self._count()
        self.trace.end = self.clock.now()
        self.wire.close()
        for host in self._hosts:
            host.shut_down()
        # The kernel's stamps of different hosts are read one after the other.
        self.trace.passages.sort(key=lambda passage: passage.t)


async def _as_coroutine(call: Awaitable[None]) -> None:
    await call


def perform(story: Story, home: Network, progress: Progress) -> Trace:
    """Run a story here, in the sandbox."""

    async def whole() -> LinuxBench:
        bench = LinuxBench(story, home)
        await bench.perform(story, progress)
        return bench

    # select() waits to the microsecond; epoll, which asyncio would take, to the millisecond.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return runner.run(whole()).trace
