"""A workload played again on a bench: the same programs, under other settings or on another way."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from tcplab.bench.script import Bench, Connection, Result, SocketOptions
from tcplab.core.knobs import (
    KEEPALIVE_IDLE,
    KEEPALIVE_INTERVAL,
    KEEPALIVE_PROBES,
    RETRIES2,
    USER_TIMEOUT,
    Parameters,
    knob,
)
from tcplab.core.releases import NEWEST
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Trace
from tcplab.route.firewall import Firewall
from tcplab.what_if.workload import CLIENT, CLOSE, OTHER, RESET, SEND, SERVER, SHUTDOWN, Deed, Workload

#: The database's port on the model; a capture's own stands in its addresses.
PORT = 5432
#: Nothing in flight is settled sooner than this: an ACK may be delayed, seconds.
SETTLED_S = 1.0
#: How long data can be in flight with tcp_retries2 = 15, seconds, and what each retry beyond adds.
IN_FLIGHT_S, RETRY_S = 1100, 125


@dataclass(frozen=True, kw_only=True)
class Socket(Parameters):
    """How one side's socket is set; checked when made."""

    name = "what_if"

    keepalive_idle_s: float = knob(KEEPALIVE_IDLE, default=0)
    keepalive_interval_s: float = knob(KEEPALIVE_INTERVAL, default=75)
    keepalive_probes: int = knob(KEEPALIVE_PROBES, default=9)
    user_timeout_s: float = knob(USER_TIMEOUT, default=0)
    retries2: int = knob(RETRIES2, default=15)

    def options(self) -> SocketOptions:
        """As a program sets them."""
        return SocketOptions(
            keepalive_idle_s=self.keepalive_idle_s,
            keepalive_interval_s=self.keepalive_interval_s,
            keepalive_probes=self.keepalive_probes,
            user_timeout_s=self.user_timeout_s,
        )

    def patience(self) -> float:
        """How long it can take until it has given up, seconds."""
        in_flight = max(IN_FLIGHT_S, self.user_timeout_s + RETRY_S, (self.retries2 - 6) * RETRY_S)
        return in_flight + self.probing()

    def probing(self) -> float:
        """How long keepalive can take, seconds; 0 without it."""
        if not self.keepalive_idle_s:
            return 0
        probing = self.keepalive_idle_s + self.keepalive_interval_s * (self.keepalive_probes + 1)
        return probing + self.user_timeout_s


@dataclass(frozen=True)
class Way:
    """What becomes of the way between the two."""

    #: A box that forgets after so long a silence, seconds (0: none), and what it does then.
    firewall_idle_s: float = 0
    expired: str = "drop"
    #: The peer of the side that asked in vain goes, right after it was last heard: `unplug` or `reboot`.
    breaks: str = ""


@dataclass(frozen=True)
class Again:
    """One run of a workload: what a bench needs of a story."""

    work: Workload
    client: Socket
    server: Socket
    way: Way
    #: Nanoseconds of the trace's clock that the run covers at least.
    until: int
    name: str = "what_if"
    linux: str = NEWEST
    seed: int = 1

    @property
    def latency_ms(self) -> float:
        """One way; a millisecond where the trace doesn't show it."""
        return min(self.work.round_trip / 2 / MILLISECOND or 1.0, 1000.0)

    def values(self) -> dict[str, Any]:
        """The settings, for the trace."""
        return {
            "client": self.client.values(), "server": self.server.values(),
            "firewall_idle_s": self.way.firewall_idle_s, "expired": self.way.expired,
            "breaks": self.way.breaks, "latency_ms": self.latency_ms,
        }  # fmt: skip

    def ignored_by_release(self) -> list[str]:
        """Nothing: every setting here is older than the oldest release."""
        return []

    def outcome(self, trace: Trace) -> dict[str, Any]:
        """Read by `tcplab.what_if.answer`, which knows what to compare it with."""
        return {}

    # -- the story ---------------------------------------------------------------------------

    async def run(self, bench: Bench) -> None:
        """Both programs again: up to the break, the break, and the rest."""
        hosts = dict(zip((CLIENT, SERVER), bench.hosts(CLIENT, SERVER), strict=True))
        if self.way.firewall_idle_s:
            idle = round(self.way.firewall_idle_s * SECOND)
            bench.route(hosts[CLIENT], hosts[SERVER], Firewall(idle, self.way.expired))
        hosts[CLIENT].set(tcp_retries2=self.client.retries2)
        hosts[SERVER].set(tcp_retries2=self.server.retries2)
        listener = await hosts[SERVER].listen(PORT, options=self.server.options())
        result, connection = await hosts[CLIENT].connect(hosts[SERVER], PORT, self.client.options())
        if not result.ok:
            return
        programs = {CLIENT: _Program(bench, connection), SERVER: _Program(bench, await listener.accept())}
        begun = bench.now() if self.work.midstream else 0.0
        before, rest = self._parts()
        if self.way.breaks:
            # In no more time than it took then: what a capture has missed might be waited for without end.
            took = (self.work.end - self.work.began) / SECOND + SETTLED_S
            if await bench.within(took, bench.together(*self._played(programs, before))) is None:
                rest = []
            for program in programs.values():
                await bench.within(SETTLED_S, program.end.settled())
            bench.watch_from_now()
            assert self.work.death is not None
            peer = hosts[OTHER[self.work.death.side]]
            peer.unplug() if self.way.breaks == "unplug" else peer.reboot()
        left = max(begun + (self.until - self.work.began) / SECOND - bench.now(), 0)
        both = self._played(programs, rest, read_on=True)
        await bench.first(
            _as_none(bench.together(*both, bench.sleep(left))), self._watch(bench, programs, left)
        )
        await bench.sleep(2 * self.latency_ms / 1000)  # what was sent last still arrives

    def _parts(self) -> tuple[list[Deed], list[Deed]]:
        """What is done before the break, and after it; where nothing breaks all of it is the rest."""
        death, deeds = self.work.death, list(self.work.deeds)
        if death is None or not self.way.breaks:
            return [], deeds
        last = {death.side: death.asked - 1, OTHER[death.side]: death.heard}
        return (
            [deed for deed in deeds if deed.t <= last[deed.side]],
            [deed for deed in deeds if deed.t > last[deed.side]],
        )

    def _played(
        self, programs: dict[str, _Program], deeds: list[Deed], *, read_on: bool = False
    ) -> list[Awaitable[None]]:
        """Both programs with these deeds; each then hears what the other sends by them, or whatever comes."""
        coming = {side: programs[side].sent for side in OTHER}
        for deed in deeds:
            coming[deed.side] += deed.length
        return [
            program.play([deed for deed in deeds if deed.side == side], coming[OTHER[side]], read_on=read_on)
            for side, program in programs.items()
        ]

    async def _watch(self, bench: Bench, programs: dict[str, _Program], left: float) -> None:
        """As long as the trace goes, and until nothing can come any more."""
        await bench.sleep(left)
        patience = SETTLED_S
        for side, socket in ((CLIENT, self.client), (SERVER, self.server)):
            is_settled = await bench.within(SETTLED_S, _true(programs[side].end.settled()))
            patience = max(patience, socket.probing() if is_settled else socket.patience())
        await bench.sleep(patience)


async def _as_none(call: Awaitable[Any]) -> None:
    await call


async def _true(call: Awaitable[None]) -> bool:
    await call
    return True


class _Program:
    """One side's program."""

    def __init__(self, bench: Bench, end: Connection) -> None:
        self.bench, self.end = bench, end
        self.sent = self.got = 0
        #: When it last did or received something, seconds; and whether it goes on at all.
        self.since = bench.now()
        self.goes_on = True

    async def play(self, deeds: list[Deed], then_hear: int, *, read_on: bool) -> None:
        """Its deeds, each as long after what came before as it was; then what is still to come."""
        for deed in deeds:
            if not await self._hear(deed.heard, deed.hung_up):
                return
            await self.bench.sleep(max(0.0, self.since + deed.after / SECOND - self.bench.now()))
            if not await self._do(deed):
                return
        if self.goes_on and not read_on:
            await self._hear(then_hear, False)
        while self.goes_on and read_on:
            result = await self.end.receive()
            self.got += result.value
            self.goes_on = result.ok and not result.end_of_file

    async def _hear(self, count: int, hung_up: bool) -> bool:
        if count > self.got:
            result = await self.end.receive_exactly(count - self.got)
            self.got += result.value
            self.since = self.bench.now()
            if not result.ok or self.got < count:
                self.goes_on = False
                return False
        if hung_up:
            await self.end.wait_until_hung_up(IN_FLIGHT_S)
            self.since = max(self.since, self.bench.now())
        return True

    async def _do(self, deed: Deed) -> bool:
        result = await self._call(deed)
        self.since = self.bench.now()
        self.goes_on = result.ok and deed.what in (SEND, SHUTDOWN)
        return self.goes_on

    async def _call(self, deed: Deed) -> Result:
        if deed.what == SEND:
            self.sent += deed.length
            return await self.end.send(deed.length)
        calls = {SHUTDOWN: self.end.shutdown_write, CLOSE: self.end.close, RESET: self.end.reset}
        return await calls[deed.what]()
