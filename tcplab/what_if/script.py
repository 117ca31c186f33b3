"""A workload replayed on a bench: the same programs, under other settings or on another path."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import KW_ONLY, dataclass
from typing import Any

from tcplab.bench.script import Bench, Connection, Result, SocketOptions
from tcplab.core import knobs
from tcplab.core.releases import NEWEST
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Trace
from tcplab.follow import CLIENT, OTHER, SERVER
from tcplab.route.firewall import Firewall
from tcplab.what_if.workload import CLOSE, RESET, SEND, SHUTDOWN, ApplicationEvent, Workload

#: The database's port on the model; a capture's own is in its addresses.
PORT = 5432
#: Nothing in flight is settled sooner than this: an ACK may be delayed, seconds.
SETTLED_S = 1.0
#: All segments, as a number of them.
EVERY = 1 << 30
#: How long data can be in flight with tcp_retries2 = 15, seconds, and what each retry beyond adds.
IN_FLIGHT_S, RETRY_S = 1100, 125


@dataclass(frozen=True, kw_only=True)
class SocketSettings(knobs.Parameters):
    """The settings of one side's socket; checked when made."""

    name = "what_if"

    keepalive_idle_s: float = knobs.knob(knobs.KEEPALIVE_IDLE, default=0)
    keepalive_interval_s: float = knobs.knob(knobs.KEEPALIVE_INTERVAL, default=75)
    keepalive_probes: int = knobs.knob(knobs.KEEPALIVE_PROBES, default=9)
    user_timeout_s: float = knobs.knob(knobs.USER_TIMEOUT, default=0)
    retries2: int = knobs.knob(knobs.RETRIES2, default=15)

    def options(self) -> SocketOptions:
        """The options that a program sets."""
        return SocketOptions(
            keepalive_idle_s=self.keepalive_idle_s, keepalive_interval_s=self.keepalive_interval_s,
            keepalive_probes=self.keepalive_probes, user_timeout_s=self.user_timeout_s,
        )  # fmt: skip

    def patience(self) -> float:
        """How long it can take to give up, seconds."""
        in_flight = max(IN_FLIGHT_S, self.user_timeout_s + RETRY_S, (self.retries2 - 6) * RETRY_S)
        return in_flight + self.probing()

    def probing(self) -> float:
        """How long keepalive can take, seconds; 0 without it."""
        if not self.keepalive_idle_s:
            return 0
        probing = self.keepalive_idle_s + self.keepalive_interval_s * (self.keepalive_probes + 1)
        return probing + self.user_timeout_s


@dataclass(frozen=True)
class PathFault:
    """What happens on the path between the two."""

    #: A middlebox that forgets after so long a silence, seconds (0: none), and what it does then.
    firewall_idle_s: float = 0
    expired: str = "drop"
    #: The peer that stopped answering goes right after it was last heard: `unplug` or `reboot`. `one_way`:
    #: what its side sends is lost from then on, and what it is sent still arrives.
    breaks: str = ""


@dataclass(frozen=True)
class SessionReplay:
    """One run of a captured session under some settings: what all such stories share."""

    work: Workload
    client: SocketSettings
    server: SocketSettings
    _: KW_ONLY
    name: str = "what_if"
    linux: str = NEWEST
    seed: int = 1

    @property
    def latency_ms(self) -> float:
        """Half a round trip; a millisecond where the trace doesn't show it."""
        return min(self.work.round_trip / 2 / MILLISECOND or 1.0, 1000.0)

    def values(self) -> dict[str, Any]:
        """The settings, for the trace."""
        return {
            "client": self.client.values(), "server": self.server.values(), "latency_ms": self.latency_ms,
        }  # fmt: skip

    def ignored_by_release(self) -> list[str]:
        """Nothing: every setting here is older than the oldest release."""
        return []

    def outcome(self, trace: Trace) -> dict[str, Any]:
        """Read by `tcplab.what_if.answer`, which knows what to compare it with."""
        return {}


@dataclass(frozen=True)
class WorkloadReplay(SessionReplay):
    """One run of a workload: the story that a bench runs."""

    fault: PathFault
    #: Nanoseconds of the trace's clock that the run covers at least.
    until: int

    def values(self) -> dict[str, Any]:
        """The settings and the path's fault, for the trace."""
        return super().values() | {
            "firewall_idle_s": self.fault.firewall_idle_s, "expired": self.fault.expired,
            "breaks": self.fault.breaks,
        }  # fmt: skip

    # -- the story ---------------------------------------------------------------------------

    async def run(self, bench: Bench) -> None:
        """Both programs: up to the break, the break, and the rest."""
        hosts = dict(zip((CLIENT, SERVER), bench.hosts(CLIENT, SERVER), strict=True))
        if self.fault.firewall_idle_s:
            idle = round(self.fault.firewall_idle_s * SECOND)
            bench.route(hosts[CLIENT], hosts[SERVER], Firewall(idle, self.fault.expired))
        hosts[CLIENT].set(tcp_retries2=self.client.retries2)
        hosts[SERVER].set(tcp_retries2=self.server.retries2)
        for side, lost in self.work.lost_syns.items():
            if lost:
                bench.lose(hosts[side], syn=lost)
        listener = await hosts[SERVER].listen(PORT, options=self.server.options())
        result, connection = await hosts[CLIENT].connect(hosts[SERVER], PORT, self.client.options())
        if not result.ok:
            return
        programs = {CLIENT: _Program(bench, connection), SERVER: _Program(bench, await listener.accept())}
        begun = bench.now() if self.work.midstream else 0.0
        before, rest = self._parts()
        if self.fault.breaks:
            # In no more time than it took then: the programs might wait forever for what a capture missed.
            took = (self.work.end - self.work.began) / SECOND + SETTLED_S
            if await bench.within(took, bench.together(*self._replayed(programs, before))) is None:
                rest = []
            for program in programs.values():
                await bench.within(SETTLED_S, program.end.settled())
            bench.watch_from_now()
            assert self.work.unanswered is not None
            side = self.work.unanswered.side
            if self.fault.breaks == "one_way":
                bench.lose(hosts[side], any=EVERY)
            elif self.fault.breaks == "unplug":
                hosts[OTHER[side]].unplug()
            else:
                hosts[OTHER[side]].reboot()
        left = max(begun + (self.until - self.work.began) / SECOND - bench.now(), 0)
        both = self._replayed(programs, rest, read_on=True)
        await bench.first(
            _as_none(bench.together(*both, bench.sleep(left))), self._watch(bench, programs, left)
        )
        await bench.sleep(2 * self.latency_ms / 1000)  # what was sent last still arrives

    def _parts(self) -> tuple[list[ApplicationEvent], list[ApplicationEvent]]:
        """What happens before the break, and after it; where nothing breaks all of it is the rest."""
        unanswered, events = self.work.unanswered, list(self.work.events)
        if unanswered is None or not self.fault.breaks:
            return [], events
        last = {unanswered.side: unanswered.asked - 1, OTHER[unanswered.side]: unanswered.heard}
        before = [event for event in events if event.t <= last[event.side]]
        return before, [event for event in events if event.t > last[event.side]]

    def _replayed(
        self, programs: dict[str, _Program], events: list[ApplicationEvent], *, read_on: bool = False
    ) -> list[Awaitable[None]]:
        """Both programs with these events; each then reads what the other one sends."""
        coming = {side: programs[side].sent for side in OTHER}
        for event in events:
            coming[event.side] += event.length
        return [
            program.replay(
                [event for event in events if event.side == side], coming[OTHER[side]], read_on=read_on
            )
            for side, program in programs.items()
        ]

    async def _watch(self, bench: Bench, programs: dict[str, _Program], left: float) -> None:
        """As long as the trace lasts, and until nothing more can come."""
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
        #: When it last called or received something, seconds; and whether it goes on at all.
        self.since = bench.now()
        self.goes_on = True

    async def replay(self, events: list[ApplicationEvent], then_read: int, *, read_on: bool) -> None:
        """Its events, each as long after what came before as it was; then what is still to come."""
        for event in events:
            if not await self._read(event.received, event.got_fin):
                return
            await self.bench.sleep(max(0.0, self.since + event.after / SECOND - self.bench.now()))
            result = await self._call(event)
            self.since = self.bench.now()
            self.goes_on = result.ok and event.call in (SEND, SHUTDOWN)
            if not self.goes_on:
                return
        if self.goes_on and not read_on:
            await self._read(then_read, False)
        while self.goes_on and read_on:
            result = await self.end.receive()
            self.got += result.value
            self.goes_on = result.ok and not result.end_of_file

    async def _read(self, count: int, got_fin: bool) -> bool:
        if count > self.got:
            result = await self.end.receive_exactly(count - self.got)
            self.got += result.value
            self.since = self.bench.now()
            if not result.ok or self.got < count:
                self.goes_on = False
                return False
        if got_fin:
            await self.end.wait_until_hung_up(IN_FLIGHT_S)
            self.since = max(self.since, self.bench.now())
        return True

    async def _call(self, event: ApplicationEvent) -> Result:
        if event.lost:
            kind = "data" if event.call == SEND else "fin"
            self.bench.lose(self.end.host, **{kind: event.lost})
        if event.call == SEND:
            self.sent += event.length
            return await self.end.send(event.length)
        calls = {SHUTDOWN: self.end.shutdown_write, CLOSE: self.end.close, RESET: self.end.reset}
        return await calls[event.call]()
