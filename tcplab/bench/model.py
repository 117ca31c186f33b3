"""The model bench: the script in virtual time, on SimPy. Two hours of keepalive take milliseconds.

Hosts are `Stack`s; the wire is a delay, with named losses. Every run with the same parameters
gives the same trace.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Generator
from dataclasses import replace
from typing import Any, TypeVar

import simpy

from tcplab.bench import script
from tcplab.bench.path import Crossing, RoutedWire
from tcplab.bench.script import DEFAULTS, Bench, Bind, Connection, Host, Listener, Result, SocketOptions
from tcplab.core.knobs import ParameterError
from tcplab.core.releases import Release, release
from tcplab.core.segment import RST, Endpoint, Segment, reset_for
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import CounterSample, SocketSample, Ticks, Trace
from tcplab.model.listener import ListenSocket
from tcplab.model.ports import ANY, PortError
from tcplab.model.rules import SYN_SENT, TcpOptions
from tcplab.model.socket import Socket
from tcplab.model.stack import BLOCKING, Stack
from tcplab.model.wheel import TimerWheel
from tcplab.route.cable import Cable, Rule
from tcplab.route.middlebox import Middlebox

T = TypeVar("T")


class ModelConnection(Connection):
    """A socket of the model, in a program's hands."""

    host: ModelHost

    def __init__(self, host: ModelHost, socket: Socket) -> None:
        self.host, self.socket = host, socket
        self.local, self.remote = socket.local, socket.remote

    async def _perform(self, verb: str, *arguments: Any) -> Result:
        value = await self.host.call(self.socket, "close" if verb == "kill" else verb, *arguments)
        return Result(error=value) if isinstance(value, str) else Result(value or 0)

    async def _changed(self) -> None:
        await self.host.changed(self.socket)

    def _is_settled(self) -> bool:
        return self.socket.settled

    def _is_hung_up(self) -> bool:
        return self.socket.hung_up

    def _pending_error(self) -> str | None:
        return self.socket.error


class ModelListener(Listener):
    """A listening socket of the model."""

    host: ModelHost

    def __init__(self, host: ModelHost, listener: ListenSocket, options: SocketOptions) -> None:
        self.host, self.listener, self.options = host, listener, options
        self.port = listener.local.port

    async def _accept(self) -> ModelConnection:
        return ModelConnection(self.host, await self.host.call(self.listener, "accept"))

    def _end(self, *, kill: bool) -> None:
        self.host.stack.call(self.host.env.now, "close_listener", self.listener)
        self.host.settle()


class VirtualTime(simpy.Environment):
    """SimPy's clock, counting whole nanoseconds."""

    @property
    def now(self) -> int:
        """Nanoseconds since the run began."""
        return self._now  # type: ignore[return-value]


class ModelWire(RoutedWire["ModelHost"]):
    """Carries segments in virtual time."""

    def __init__(self, env: VirtualTime, trace: Trace, latency: int) -> None:
        super().__init__(trace, latency)
        self._env = env
        self._middlebox_timer: int | None = None

    def carry(self, sender: ModelHost, segment: Segment, kind: str = "") -> None:
        """Put a segment on the wire."""
        self.put(sender, self.owners[segment.destination.address], segment, self._env.now, kind)

    def _schedule(self, crossing: Crossing[ModelHost], due: int) -> None:
        def over(event: simpy.Event) -> None:
            self._arrive(crossing, due, due)

        self._env.timeout(due - self._env.now).callbacks.append(over)

    def _deliver(self, crossing: Crossing[ModelHost], now: int) -> None:
        packet, receiver = crossing.packet, crossing.receiver
        assert packet is not None
        packet.arrives = now
        rule = receiver.cable.rule_for(packet.segment)
        if rule is None:
            receiver.stack.receive(now, packet.segment)
            packet.verdict = receiver.stack.verdict
            receiver.settle()
            return
        packet.fate = f"dropped_by:{rule}"
        if rule == "REJECT" and not packet.segment.flags & RST:
            self.carry(receiver, reset_for(packet.segment))

    def _watch_middleboxes(self) -> None:
        """An earlier timer that is no longer due when it fires does nothing."""
        due = self.routes.next_timer()
        if due is None or (self._middlebox_timer is not None and self._middlebox_timer <= due):
            return

        def is_due(event: simpy.Event) -> None:
            if self._middlebox_timer == self._env.now:
                self._middlebox_timer = None
                self._fire_middleboxes(self._env.now)

        self._middlebox_timer = due
        self._env.timeout(due - self._env.now).callbacks.append(is_due)


class _Wait:
    """Lets a coroutine await a SimPy event, which SimPy itself doesn't offer."""

    __slots__ = ("event",)

    def __init__(self, event: simpy.Event) -> None:
        self.event = event

    def __await__(self) -> Generator[simpy.Event, Any, Any]:
        return (yield self.event)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * SECOND)


class ModelHost(Host):
    """One machine: a `Stack` and its cable."""

    bench: ModelBench

    def __init__(self, bench: ModelBench, name: str, address: str, seed: int) -> None:
        self.bench, self.env = bench, bench.env
        self.name, self.address = name, address
        self.stack = Stack(address, bench.release, seed, bench.wheel)
        self.cable = Cable()
        self._waiting: dict[Any, simpy.Event] = {}
        self._samples: dict[Any, tuple[Any, ...]] = {}
        self._timer: int | None = None
        self._timer_delay = bench.timer_delay if bench.delayed_host in ("", name) else 0

    # -- the script's verbs ----------------------------------------------------------------

    def set(self, **sysctls: int | str | tuple[int, ...]) -> None:
        for name, value in sysctls.items():
            if not hasattr(self.stack.sysctls, name):
                raise script.ScriptError(f"no sysctl {name}")
            if getattr(self.stack.sysctls, name) is not None:
                setattr(self.stack.sysctls, name, value)

    def add_address(self) -> str:
        owners = self.bench.wire.owners
        address = f"10.0.0.{script.MORE_ADDRESSES + len(owners)}"
        owners[address] = self
        return address

    async def listen(self, port: int, backlog: int = 128, options: SocketOptions = DEFAULTS) -> ModelListener:
        try:
            listener = self.stack.listen(port, backlog, _options(options))
        except PortError as error:
            raise script.ScriptError(f"listen({port}) failed: {error.errno}") from error
        self.settle()
        self.record(f"listen({port}, backlog {backlog})", "ok", self.env.now, port)
        return ModelListener(self, listener, options)

    async def connect(
        self, server: Host, port: int, options: SocketOptions = DEFAULTS, *, bind: Bind | None = None
    ) -> tuple[Result, Connection]:
        began, stack, remote = self.env.now, self.stack, Endpoint(server.address, port)
        call = options.connect_says(remote, bind)
        wants, bound, address = _options(options), None, ""
        try:
            if bind is not None:
                call = bind.says(options)
                address = bind.address
                if not bind.no_port or bind.port or not stack.release.bind_address_no_port:
                    bound = stack.ports.bind(address or ANY, bind.port, reuse_address=options.reuse_address)
                self.record(call, "ok", began, bound.port if bound else 0)
                call = options.connect_says(remote, bind)
            socket = stack.connect(began, remote, wants, bound=bound, address=address)
        except PortError as error:
            self.record(call, error.errno, began, 0)
            useless = Socket(stack, Endpoint(ANY, 0), remote, wants, 0)
            return Result(error=error.errno), ModelConnection(self, useless)
        waiting = self.begin(call, socket.local.port, began)
        self.has_options(options, socket.local, remote)
        self.settle()
        while socket.state == SYN_SENT:
            await self.changed(socket)
        failed = socket.take_error()
        self.end_calls(waiting)
        self.record(call, failed or "ok", began, socket.local.port)
        return Result(error=failed), ModelConnection(self, socket)

    def _apply_rule(self, rule: Rule) -> None:
        """The wire asks the cable."""

    def reboot(self) -> None:
        self.stack.forget_everything()
        self.settle()
        self.bench.note(self, "rebooted: no socket is left")

    # -- calls, and waiting ----------------------------------------------------------------

    async def call(self, target: Any, verb: str, *arguments: Any) -> Any:
        """Make a call, and wait while it would block."""
        value = self.stack.call(self.env.now, verb, target, *arguments)
        self.settle()
        while value is None and verb in BLOCKING:
            await self.changed(target)
            value = self.stack.call(self.env.now, verb, target, *arguments)
            self.settle()
        return value

    def changed(self, target: Any) -> _Wait:
        """Wait until the stack has touched a socket or listener."""
        return _Wait(self._waiting.setdefault(target, self.env.event()))

    # -- between stack and wire ------------------------------------------------------------

    def settle(self) -> None:
        """After anything happened: send, write down what changed, wake, and set the timer."""
        stack = self.stack
        for segment in stack.to_send():
            self.bench.wire.carry(self, segment)
        for target in stack.changed():
            self._sample(target)
            if target in self._waiting:
                self._waiting.pop(target).succeed()
        for name, value in stack.moved_counters():
            self.bench.trace.counters.append(CounterSample(self.env.now, self.name, name, value))
        due = stack.next_timer()
        if due is not None and (self._timer is None or due < self._timer):
            wait = max(due - self.env.now, 0)
            wait += int(wait * self._timer_delay)
            self._timer = self.env.now + wait
            self.env.timeout(wait).callbacks.append(self._on_timer)

    def _on_timer(self, event: simpy.Event) -> None:
        if self._timer == self.env.now:
            # After arrivals at the same moment: Linux's timers are always a little late.
            self.env.timeout(0).callbacks.append(self._fire)

    def _fire(self, event: simpy.Event) -> None:
        now = self.env.now
        if self._timer == now:
            self._timer = None
            self.stack.timer(now)
            self.settle()

    def _sample(self, target: Any) -> None:
        line: tuple[str, int, int, str, int | None, int] = target.summary()
        if line != self._samples.get(target) and not target.detached:
            self._samples[target] = line
            sample = SocketSample(self.env.now, self.name, target.local, target.remote, *line)
            self.bench.trace.sockets.append(sample)


class ModelBench(Bench):
    """Hosts on one wire, in virtual time."""

    def __init__(
        self,
        story: script.Story,
        timer_delay: float = 0,
        delayed_host: str = "",
        ticks: Ticks | None = None,
        rules: Release | None = None,
    ) -> None:
        self.timer_delay, self.delayed_host = timer_delay, delayed_host
        self.env = VirtualTime()
        self.release = rules or release(story.linux)
        self.wheel: TimerWheel | None = None
        if ticks is not None:
            self.wheel = TimerWheel(ticks, is_exact=self.release.older_than("4.8"))
            self.release = replace(self.release, tick=self.wheel.tick)
        self.trace = Trace(str(story.name), "model", story.linux, story.values(), ticks=ticks)
        self._seed = story.seed
        self.wire = ModelWire(self.env, self.trace, round(story.latency_ms * MILLISECOND))

    def _make_host(self, name: str, address: str) -> ModelHost:
        return self.wire.owners.setdefault(address, ModelHost(self, name, address, self._seed))

    def route(self, one: Host, other: Host, *middleboxes: Middlebox) -> None:
        self.wire.routes.place(one.name, other.name, middleboxes)

    def nanoseconds(self) -> int:
        return self.env.now

    def drain(self) -> None:
        """A host's segments are on the wire as soon as it has sent them."""

    async def sleep(self, seconds: float) -> None:
        await _Wait(self.env.timeout(_nanoseconds(seconds)))

    async def together(self, *calls: Awaitable[Any]) -> list[Any]:
        processes = [self.env.process(_until_interrupted(call)) for call in calls]  # type: ignore[arg-type]
        await _Wait(self.env.all_of(processes))
        return [process.value for process in processes]

    async def first(self, *calls: Awaitable[T]) -> T:
        processes = [self.env.process(_until_interrupted(call)) for call in calls]  # type: ignore[arg-type]
        try:
            await _Wait(self.env.any_of(processes))
            result: Any = next(process.value for process in processes if process.triggered)
            return result
        finally:
            for process in processes:
                if process.is_alive:
                    process.interrupt()

    async def within(self, seconds: float, call: Awaitable[T]) -> T | None:
        process = self.env.process(_until_interrupted(call))  # type: ignore[arg-type]
        await _Wait(process | self.env.timeout(_nanoseconds(seconds)))
        if process.is_alive:
            process.interrupt()
            await _Wait(process)
        return process.value

    def _forge(self, segment: Segment) -> None:
        self.wire.carry(self.wire.owners[segment.source.address], segment, kind="forged")

    def move_address(self, old: Host, new: Host) -> None:
        assert isinstance(new, ModelHost)
        self.wire.owners[old.address] = new
        self.note(new, f"takes over address {old.address}")


async def _until_interrupted(call: Awaitable[T]) -> T | None:
    try:
        return await call
    except simpy.Interrupt:
        return None


def _options(options: SocketOptions) -> TcpOptions:
    return TcpOptions(
        keepalive_idle=_nanoseconds(options.keepalive_idle_s),
        keepalive_interval=_nanoseconds(options.keepalive_interval_s),
        keepalive_probes=options.keepalive_probes,
        user_timeout=_nanoseconds(options.user_timeout_s),
        receive_buffer=options.receive_buffer,
        window_clamp=options.window_clamp,
        reuse_address=options.reuse_address,
        local_ports=options.local_ports,
    )


class TooLong(script.ScriptError):
    """The script did not end within its time limit."""


class TooManyEvents(TooLong, ParameterError):
    """The parameters ask for more than `MOST_EVENTS`."""


#: The most events of one run: about 15 s of work, and some hundred megabytes of packets and samples.
MOST_EVENTS = 500_000


def run_on_model(
    story: script.Story,
    *,
    timer_delay: float = 0,
    delayed_host: str = "",
    ticks: Ticks | None = None,
    limit_s: float = 0,
    rules: Release | None = None,
) -> Trace:
    """Run a story's script to its end in virtual time; kinds and outcome are still to be read.

    `timer_delay`: the share by which every timer fires late, as real ones do; on one host alone if
    `delayed_host` names it. `ticks`: timers fire with the buckets of a kernel's timer wheel that ticks like
    this on the run's clock; without it, exactly when they are due. Raises `TooLong` when it has not ended
    after `limit_s` virtual seconds (0: no limit), `TooManyEvents` after `MOST_EVENTS` events. `rules`: follow
    these, not those of the story's version.
    """
    # A run only adds to its trace: looking for garbage would cost a fifth of the time and find none.
    collecting = gc.isenabled()
    gc.disable()
    try:
        bench = ModelBench(story, timer_delay, delayed_host, ticks, rules)
        running = bench.env.process(story.run(bench))  # type: ignore[arg-type]
        until = running | bench.env.timeout(_nanoseconds(limit_s)) if limit_s else running
        try:
            _step_until(bench.env, until, story.name)
        except simpy.core.EmptySchedule:
            raise script.ScriptError("the script waits for something that never comes") from None
        if not running.triggered:
            raise TooLong(f"{story.name} has not ended after {limit_s:g} s")
        bench.finish()
        trace = bench.trace
        trace.warnings += story.ignored_by_release()
    finally:
        if collecting:
            gc.enable()
    return trace


def _step_until(env: simpy.Environment, end: simpy.Event, name: str) -> None:
    """Run until this event has been processed, or there are too many events."""
    for _ in range(MOST_EVENTS):
        if end.processed:
            break
        env.step()
    else:
        raise TooManyEvents(
            f"{name} was stopped after {MOST_EVENTS:,} events, the most that one run may have, at "
            f"{env.now / SECOND:,.0f} s of virtual time: choose a shorter time or less data."
        )
