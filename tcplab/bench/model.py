"""The model bench: the script in virtual time, on SimPy. Two hours of keepalive take milliseconds.

Hosts are `Stack`s; the wire is a delay, with named losses. Every run with the same parameters
gives the same trace.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

import simpy

from tcplab.bench.path import PathAhead, Routes
from tcplab.bench.script import (
    MORE_ADDRESSES,
    OLD_WINDOW,
    Bench,
    Bind,
    Connection,
    Host,
    Listener,
    Result,
    ScriptError,
    SocketOptions,
)
from tcplab.core.releases import release
from tcplab.core.segment import ACK, PSH, RST, Endpoint, Segment, reset_for, seq_add
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Call, CounterSample, Note, Packet, SocketSample, Trace
from tcplab.model.listener import ListenSocket
from tcplab.model.ports import ANY, PortError
from tcplab.model.rules import SYN_SENT, TcpOptions
from tcplab.model.socket import Socket
from tcplab.model.stack import Stack
from tcplab.route.cable import Cable
from tcplab.route.middlebox import Middlebox

if TYPE_CHECKING:
    from tcplab.bench import Story


# ----------------------------------------------------------------------
# Connections and listeners of the model bench: sockets of the model, in a program's hands.


class ModelConnection(Connection):
    """A socket of the model, in a program's hands."""

    def __init__(self, host: ModelHost, socket: Socket) -> None:
        self.host: ModelHost = host
        self.socket = socket

    @property
    def port(self) -> int:
        return self.socket.local.port

    async def send(self, length: int) -> Result:
        return await self.host.call(f"send({length})", self.socket, "send", length)

    async def receive(self, at_most: int = 1 << 20) -> Result:
        return await self.host.call("recv()", self.socket, "receive", at_most, end_of_file=True)

    async def close(self) -> Result:
        return await self.host.call("close()", self.socket, "close", blocks=False)

    async def reset(self) -> Result:
        return await self.host.call("close() with SO_LINGER 0", self.socket, "reset", blocks=False)

    async def shutdown_write(self) -> Result:
        return await self.host.call("shutdown(SHUT_WR)", self.socket, "shutdown_write", blocks=False)

    async def kill(self) -> Result:
        return await self.host.call("killed (SIGKILL)", self.socket, "close", blocks=False)

    async def settled(self) -> None:
        while not self.socket.settled:
            await self.host.changed(self.socket)

    async def wait_until_broken(self, limit_s: float) -> Result:
        async def broken() -> Result:
            while self.socket.error is None:
                await self.host.changed(self.socket)
            return Result(error=self.socket.error)

        return await self.host.bench.within(limit_s, broken()) or Result()

    async def wait_until_hung_up(self, limit_s: float) -> bool:
        async def hung_up() -> bool:
            while not self.socket.hung_up:
                await self.host.changed(self.socket)
            return True

        return await self.host.bench.within(limit_s, hung_up()) or False


class ModelListener(Listener):
    """A listening socket of the model."""

    def __init__(self, host: ModelHost, listener: ListenSocket) -> None:
        self.host = host
        self.listener = listener

    async def accept(self) -> ModelConnection:
        host, began = self.host, self.host.env.now
        while (socket := host.stack.call(host.env.now, "accept", self.listener)) is None:
            await host.changed(self.listener)
        host.record("accept()", "ok", began, socket.local.port)
        host.settle()
        return ModelConnection(host, socket)

    async def close(self) -> Result:
        return await self.host.call("close() of the listener", self.listener, "close_listener", blocks=False)

    async def kill(self) -> Result:
        return await self.host.call(
            "listener killed (SIGKILL)", self.listener, "close_listener", blocks=False
        )


# ----------------------------------------------------------------------
# The model bench's wire: a delay, with named losses, pulled cables, and boxes on the way.


class VirtualTime(simpy.Environment):
    """SimPy's clock, counting whole nanoseconds."""

    @property
    def now(self) -> int:
        """Nanoseconds since the run began."""
        return self._now  # type: ignore[return-value]


class ModelWire:
    """Carries segments; writes a packet for each."""

    def __init__(self, env: VirtualTime, trace: Trace, latency: int) -> None:
        self._env = env
        self._trace = trace
        self._latency = latency
        #: Whom an address leads to.
        self.owners: dict[str, ModelHost] = {}
        self.routes = Routes(trace)
        self._box_timer: int | None = None

    def carry(self, sender: ModelHost, segment: Segment, kind: str = "") -> None:
        """Put a segment on the wire, unless a named loss or a pulled cable takes it."""
        env = self._env
        receiver = self.owners[segment.destination.address]
        ours, theirs = sender.cable, receiver.cable
        packet = Packet(env.now, sender.name, receiver.name, segment, kind=kind)
        self._trace.packets.append(packet)
        if ours.loses(segment) or not (ours.plugged and theirs.plugged):
            packet.fate = "lost"
            return
        cuts = ours.cuts + theirs.cuts
        if self.routes and (way := self.routes.way(sender.name, receiver.name)).boxes:
            self._leg(packet, (ours, theirs), cuts, way)
            return

        def arrive(event: simpy.Event) -> None:
            if ours.cuts + theirs.cuts != cuts:
                packet.fate = "lost"
                return
            self._arrive(packet, receiver)

        env.timeout(self._latency).callbacks.append(arrive)

    def _arrive(self, packet: Packet, receiver: ModelHost) -> None:
        segment, now = packet.segment, self._env.now
        packet.arrives = now
        rule = receiver.cable.rule_for(segment)
        if rule is None:
            receiver.stack.receive(now, segment)
            packet.verdict = receiver.stack.verdict
            receiver.settle()
            return
        packet.fate = f"dropped_by:{rule}"
        if rule == "REJECT" and not segment.flags & RST:
            self.carry(receiver, reset_for(segment))

    # -- the boxes on it ---------------------------------------------------------------------

    def _leg(self, packet: Packet, cables: tuple[Cable, ...], cuts: int, way: PathAhead) -> None:
        """To the next box, and further if it lets the segment pass; to the receiver behind the last."""

        def ended(event: simpy.Event) -> None:
            if sum(cable.cuts for cable in cables) != cuts:
                packet.fate = "lost"
            elif not way.boxes:
                self._arrive(packet, self.owners[packet.segment.destination.address])
            else:
                box = way.boxes[0]
                self._fire_boxes()
                decision = self.routes.meet(self._env.now, box, packet)
                for reset in decision.resets:
                    self._reset_from(box, reset)
                if decision.passes:
                    self._leg(packet, cables, cuts, way.rest)
                self._watch_boxes()

        wait = way.left(self._latency) - (way.rest.left(self._latency) if way.boxes else 0)
        self._env.timeout(wait).callbacks.append(ended)

    def _reset_from(self, box: Middlebox, reset: Segment) -> None:
        """A RST that a box sends in somebody's name."""
        receiver = self.owners[reset.destination.address]
        packet = Packet(self._env.now, box.name, receiver.name, reset, kind="forged")
        self._trace.packets.append(packet)
        if not receiver.cable.plugged:
            packet.fate = "lost"
            return
        way = self.routes.way_from(box, receiver.name)
        self._leg(packet, (receiver.cable,), receiver.cable.cuts, way)

    def _fire_boxes(self) -> None:
        for box, reset in self.routes.fire(self._env.now):
            self._reset_from(box, reset)

    def _watch_boxes(self) -> None:
        """Wake when a box has something to forget; one that has moved on since is woken for nothing."""
        due = self.routes.next_timer()
        if due is None or (self._box_timer is not None and self._box_timer <= due):
            return

        def is_due(event: simpy.Event) -> None:
            if self._box_timer == self._env.now:
                self._box_timer = None
                self._fire_boxes()
                self._watch_boxes()

        self._box_timer = due
        self._env.timeout(due - self._env.now).callbacks.append(is_due)


T = TypeVar("T")


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
    """One machine: a `Stack`, its cable, and its firewall rules."""

    def __init__(self, bench: ModelBench, name: str, address: str, seed: int) -> None:
        self.bench = bench
        self.env = bench.env
        self.name, self.address = name, address
        self.stack = Stack(address, bench.release, seed)
        self.cable = Cable()
        self._waiting: dict[Any, simpy.Event] = {}
        self._samples: dict[Any, tuple[Any, ...]] = {}
        self._timer: int | None = None
        self._timer_delay = bench.timer_delay_of(name)

    # -- the script's verbs ----------------------------------------------------------------

    def set(self, **sysctls: int | str | tuple[int, ...]) -> None:
        for name, value in sysctls.items():
            if not hasattr(self.stack.sysctls, name):
                raise ScriptError(f"no sysctl {name}")
            if getattr(self.stack.sysctls, name) is not None:
                setattr(self.stack.sysctls, name, value)

    def add_address(self) -> str:
        return self.bench.one_more_address(self)

    async def listen(
        self, port: int, backlog: int = 128, options: SocketOptions = SocketOptions()
    ) -> ModelListener:
        try:
            listener = self.stack.listen(port, backlog, _options(options))
        except PortError as error:
            raise ScriptError(f"listen({port}) failed: {error.errno}") from error
        self.settle()
        self.record(f"listen({port}, backlog {backlog})", "ok", self.env.now, port)
        return ModelListener(self, listener)

    async def connect(
        self,
        server: Host,
        port: int,
        options: SocketOptions = SocketOptions(),
        *,
        bind: Bind | None = None,
    ) -> tuple[Result, Connection]:
        began, stack, remote = self.env.now, self.stack, Endpoint(server.address, port)
        call = options.connect_says(remote, bind)
        wants, bound, address = _options(options), None, ""
        try:
            if bind is not None:
                call = bind.says(options)
                address = bind.address
                if not bind.no_port or bind.port or not stack.release.bind_address_no_port:
                    bound = stack.bind(address or ANY, bind.port, reuse_address=options.reuse_address)
                self.record(call, "ok", began, bound.port if bound else 0)
                call = options.connect_says(remote, bind)
            socket = stack.connect(began, remote, wants, bound=bound, address=address)
        except PortError as error:
            self.record(call, error.errno, began, 0)
            useless = Socket(stack, Endpoint(ANY, 0), remote, wants, 0)
            return Result(error=error.errno), ModelConnection(self, useless)
        self.settle()
        while socket.state == SYN_SENT:
            await self.changed(socket)
        failed = socket.take_error()
        self.record(call, failed or "ok", began, socket.local.port)
        return Result(error=failed), ModelConnection(self, socket)

    def unplug(self) -> None:
        self.cable.unplug()
        self.bench.note(self, "unplugged")

    def plug(self) -> None:
        self.cable.plug()
        self.bench.note(self, "plugged in again")

    def reboot(self) -> None:
        self.stack.forget_everything()
        self.settle()
        self.bench.note(self, "rebooted: no socket is left")

    def reject(self, port: int, times: int = 0) -> None:
        self.bench.note(self, self.cable.add_rule(port, "REJECT", times).says)

    def drop(self, port: int) -> None:
        self.bench.note(self, self.cable.add_rule(port, "DROP").says)

    # -- calls, and waiting ----------------------------------------------------------------

    async def call(
        self,
        text: str,
        target: Any,
        verb: str,
        *arguments: Any,
        end_of_file: bool = False,
        blocks: bool = True,
    ) -> Result:
        """Make a call, wait while it would block, and write down what came back."""
        began = self.env.now
        value = self.stack.call(began, verb, target, *arguments)
        self.settle()
        while blocks and value is None:
            await self.changed(target)
            value = self.stack.call(self.env.now, verb, target, *arguments)
            self.settle()
        result = Result(error=value) if isinstance(value, str) else Result(value or 0)
        said = result.error or ("end of file" if end_of_file and not result.value else str(result.value))
        self.record(text, said if blocks else (result.error or "ok"), began, target.local.port)
        return result

    def record(self, call: str, result: str, began: int, port: int) -> None:
        """Write a call into the trace."""
        self.bench.trace.calls.append(Call(self.env.now, began, self.name, call, result, port))

    def changed(self, target: Any) -> _Wait:
        """Wait until the stack has touched a socket or listener."""
        event = self._waiting.get(target)
        if event is None:
            event = self._waiting[target] = self.env.event()
        return _Wait(event)

    # -- between stack and wire ------------------------------------------------------------

    def settle(self) -> None:
        """After anything happened: send, write down what changed, wake, and set the timer."""
        stack = self.stack
        for segment in stack.to_send():
            self.bench.wire.carry(self, segment)
        changed = stack.changed()
        for target in changed:
            self._sample(target)
        for target in changed if self._waiting else ():
            event = self._waiting.pop(target, None)
            if event is not None:
                event.succeed()
        for name, value in stack.moved_counters():
            self.bench.trace.counters.append(CounterSample(self.env.now, self.name, name, value))
        due = stack.next_timer()
        if due is not None and (self._timer is None or due < self._timer):
            wait = max(due - self.env.now, 0)
            wait += int(wait * self._timer_delay)
            self._timer = self.env.now + wait
            timeout = self.env.timeout(wait)
            timeout.callbacks.append(self._on_timer)

    def _on_timer(self, event: simpy.Event) -> None:
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

    def __init__(self, story: Story, timer_delay: float = 0, delayed_host: str = "") -> None:
        self._timer_delay, self._delayed_host = timer_delay, delayed_host
        self.env = VirtualTime()
        self.release = release(story.linux)
        self.trace = Trace(str(story.name), "model", story.linux, story.values())
        self._seed = story.seed
        self.wire = ModelWire(self.env, self.trace, round(story.latency_ms * MILLISECOND))

    def hosts(self, *names: str) -> tuple[ModelHost, ...]:
        made = []
        for name in names:
            address = f"10.0.0.{len(self.trace.hosts) + 1}"
            host = ModelHost(self, name, address, self._seed)
            self.wire.owners[address] = host
            self.trace.hosts[name] = address
            made.append(host)
        return tuple(made)

    def one_more_address(self, host: ModelHost) -> str:
        """Another address that leads to a host."""
        address = f"10.0.0.{MORE_ADDRESSES + len(self.wire.owners)}"
        self.wire.owners[address] = host
        return address

    def route(self, one: Host, other: Host, *boxes: Middlebox) -> None:
        self.wire.routes.place(one.name, other.name, boxes)

    def timer_delay_of(self, host: str) -> float:
        """The share by which a host's timers fire late."""
        return self._timer_delay if self._delayed_host in ("", host) else 0

    def now(self) -> float:
        return self.env.now / SECOND

    async def sleep(self, seconds: float) -> None:
        await _Wait(self.env.timeout(_nanoseconds(seconds)))

    async def together(self, *calls: Awaitable[Any]) -> list[Any]:
        processes = [self.env.process(_as_coroutine(call)) for call in calls]  # type: ignore[arg-type]
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

    def lose(self, sender: Host, **which: int) -> None:
        assert isinstance(sender, ModelHost)
        for kind, times in which.items():
            sender.cable.lose(kind, times)

    def forge_reset(self, victim: Connection, offset: int) -> None:
        assert isinstance(victim, ModelConnection)
        ours = victim.socket.local
        last = next(p.segment for p in reversed(self.trace.packets) if p.segment.source == ours)
        forged = Segment(last.destination, last.source, seq_add(last.ack, offset), 0, RST, 0)
        claimed = self.wire.owners[last.destination.address]
        self.wire.carry(claimed, forged, kind="forged")

    def forge_data(self, victim: Connection, length: int) -> None:
        assert isinstance(victim, ModelConnection)
        ours = victim.socket.local
        last = next(p.segment for p in reversed(self.trace.packets) if p.segment.source == ours)
        numbers = last.ack, last.end_seq
        forged = Segment(last.destination, last.source, *numbers, PSH | ACK, OLD_WINDOW, length)
        self.wire.carry(self.wire.owners[last.destination.address], forged, kind="forged")

    def move_address(self, old: Host, new: Host) -> None:
        assert isinstance(new, ModelHost)
        self.wire.owners[old.address] = new
        self.note(new, f"takes over address {old.address}")

    def watch_from_now(self) -> None:
        self.trace.watched_from = self.env.now

    def note(self, host: Host | None, text: str) -> None:
        self.trace.notes.append(Note(self.env.now, host.name if host else "", text))


async def _as_coroutine(call: Awaitable[Any]) -> Any:
    return await call


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
    )


def run_on_model(story: Story, *, timer_delay: float = 0, delayed_host: str = "") -> Trace:
    """Run a story's script to its end in virtual time; kinds and outcome are still to be read.

    `timer_delay`: the share by which every timer fires late, as real ones do; on one host alone if
    `delayed_host` names it.
    """
    # A run only adds to its trace: looking for garbage would cost a fifth of the time and find none.
    collecting = gc.isenabled()
    gc.disable()
    try:
        bench = ModelBench(story, timer_delay, delayed_host)
        script = bench.env.process(story.run(bench))  # type: ignore[arg-type]
        try:
            bench.env.run(until=script)
        except RuntimeError as error:
            if script.triggered:
                raise
            # SimPy has run out of events, and the script has not ended.
            raise ScriptError("the script waits for something that never comes") from error
        trace = bench.trace
        trace.end = bench.env.now
        trace.warnings += story.ignored_by_release()
    finally:
        if collecting:
            gc.enable()
    return trace
