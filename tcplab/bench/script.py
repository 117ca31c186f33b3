"""The verbs a script may use. Every bench offers these and no others, with the same meaning.

A script holds a `Bench`, its `Host`s, a `Listener` and `Connection`s. Calls that a program would make
return a `Result`; TCP's errors are values, not exceptions. Times that a script passes or gets are
seconds (float), sizes are bytes. What every bench does alike is written here; a bench adds the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, TypeVar, runtime_checkable

from tcplab.core.segment import ACK, FIN, PSH, RST, Endpoint, Segment, seq_add
from tcplab.core.text import SECOND
from tcplab.core.trace import Activity, Call, Deadline, Note, Trace
from tcplab.route.cable import Cable, Rule
from tcplab.route.middlebox import Middlebox

T = TypeVar("T")

#: What a program may be doing, see `Activity.kind`.
Doing = Literal["idle", "works", "waits", "reads"]

#: Hosts are 10.0.0.1, 10.0.0.2 …; what `Host.add_address` gives begins above this.
MORE_ADDRESSES = 100
#: The window in the header of what `Bench.forge_data` makes, bytes.
OLD_WINDOW = 500
#: Real timers fire late by at most this share of their time, and a tick: a timer of 63 × 8ⁿ ticks or more
#: has a wheel that turns every 8ⁿ⁺¹ ticks (kernel/time/timer.c, LVL_START and LVL_GRAN, since 4.8). Two
#: hours are up to 131 s late at 250 ticks a second, 262 s at 1000, 328 s at 100.
TIMER_LATE = 8 / 63


class Story(Protocol):
    """What a bench needs of an experiment."""

    @property
    def name(self) -> Any: ...
    @property
    def linux(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def latency_ms(self) -> float: ...

    def values(self) -> dict[str, Any]: ...
    def ignored_by_release(self) -> list[str]: ...
    async def run(self, bench: Bench) -> None: ...
    def outcome(self, trace: Trace) -> dict[str, Any]: ...


@runtime_checkable
class StudyScript(Story, Protocol):
    """A study of many connections: it runs itself on the model; its script is for Linux alone."""

    def simulated(self) -> Trace: ...
    def check_for_linux(self) -> None: ...
    def matched_to(self, linux: Trace) -> Self: ...
    def with_values(self, **values: Any) -> Self: ...
    def compared(self) -> tuple[str, ...]: ...
    def nearby(self) -> Iterable[Trace]: ...


class ScriptError(RuntimeError):
    """A script asked for something impossible: a mistake in an experiment, not a result."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a call gave back: a number of bytes, or an errno name."""

    value: int = 0
    #: `ECONNRESET`, `ETIMEDOUT` …; None when the call succeeded.
    error: str | None = None

    @property
    def ok(self) -> bool:
        """True when the call succeeded; receiving end of file (0 bytes) is a success."""
        return self.error is None

    @property
    def end_of_file(self) -> bool:
        """True for a receive that found the peer's FIN."""
        return self.error is None and self.value == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketOptions:
    """Options that a program sets on its socket before it connects or listens.

    0 means off, or the system's default. Every socket has TCP_NODELAY.
    """

    #: SO_KEEPALIVE with TCP_KEEPIDLE; 0 = SO_KEEPALIVE off.
    keepalive_idle_s: float = 0
    #: TCP_KEEPINTVL and TCP_KEEPCNT; only used with `keepalive_idle_s`.
    keepalive_interval_s: float = 75
    keepalive_probes: int = 9
    #: TCP_USER_TIMEOUT; 0 = off.
    user_timeout_s: float = 0
    #: SO_RCVBUF as getsockopt() shows it; 0 = the system's default.
    receive_buffer: int = 0
    #: TCP_WINDOW_CLAMP: the largest window to advertise; 0 = what the buffer allows.
    window_clamp: int = 0
    #: SO_REUSEADDR.
    reuse_address: bool = False
    #: IP_LOCAL_PORT_RANGE: the first and the last port that connect() may take; None = the machine's range.
    #: Ignored by Linux before 6.3.
    local_ports: tuple[int, int] | None = None

    @property
    def keepalive_gives_up_s(self) -> float:
        """When keepalive closes a silent connection, seconds after the last segment came; 0: it is off.

        idle + interval × probes: the last probe, too, gets an interval to be answered in.
        """
        if not self.keepalive_idle_s:
            return 0
        return self.keepalive_idle_s + self.keepalive_interval_s * self.keepalive_probes

    @property
    def keepalive_watch_s(self) -> float:
        """How long to watch until keepalive has surely given up, seconds; 0 while it is off.

        One interval longer than needed, plus TCP_USER_TIMEOUT, which may replace the count of probes, plus
        the delay of real timers.
        """
        after = self.keepalive_interval_s + self.user_timeout_s
        return self.keepalive_gives_up_s and (self.keepalive_gives_up_s + after) * (1 + TIMER_LATE)

    def connect_says(self, remote: Endpoint, bind: Bind | None) -> str:
        """connect() as a trace has it, with what decides who may share its port, if no bind() says so."""
        shares = " with SO_REUSEADDR" if self.reuse_address and bind is None else ""
        return f"connect({remote}){shares}"


DEFAULTS = SocketOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A bind() that a program makes on its socket before it connects."""

    #: One of the host's own addresses; empty = to none in particular (0.0.0.0).
    address: str = ""
    #: 0 = Linux chooses.
    port: int = 0
    #: IP_BIND_ADDRESS_NO_PORT: only the address is fixed, and connect() chooses the port. Ignored by
    #: Linux before 4.2.
    no_port: bool = False

    def says(self, options: SocketOptions) -> str:
        """The call as a trace has it: ``bind(0.0.0.0:0) with SO_REUSEADDR``."""
        named = ("SO_REUSEADDR",) * options.reuse_address + ("IP_BIND_ADDRESS_NO_PORT",) * self.no_port
        with_options = f" with {' and '.join(named)}" if named else ""
        return f"bind({self.address or '0.0.0.0'}:{self.port}){with_options}"


class Connection(ABC):
    """One end of a connection: what a program holds as a socket."""

    host: Host
    local: Endpoint
    remote: Endpoint
    #: Its calls that have not returned.
    _unreturned: tuple[Call, ...] = ()

    @property
    def port(self) -> int:
        """Its own port."""
        return self.local.port

    # -- what a bench does -----------------------------------------------------------------

    @abstractmethod
    async def _perform(self, verb: str, *arguments: Any) -> Result:
        """Make a call: send, receive, close, reset, shutdown_write or kill; wait while it blocks."""

    @abstractmethod
    async def _changed(self) -> None:
        """Wait until the socket may have changed."""

    @abstractmethod
    def _is_settled(self) -> bool: ...
    @abstractmethod
    def _is_hung_up(self) -> bool: ...
    @abstractmethod
    def _pending_error(self) -> str | None: ...

    # -- the verbs -------------------------------------------------------------------------

    async def _call(self, text: str, verb: str, *arguments: Any) -> Result:
        """Make a call and write into the trace what came back."""
        call = self.host.begin(text, self.port)
        self._unreturned += (call,)
        result = await self._perform(verb, *arguments)
        says = "ok"
        if verb in ("send", "receive"):
            says = "end of file" if verb == "receive" and not result.value else str(result.value)
        # With its socket a program gives up what still waits for it.
        over = self._unreturned if verb in ("close", "reset", "kill") else (call,)
        self._unreturned = tuple(each for each in self._unreturned if each not in over)
        self.host.end_calls(*over)
        self.host.record(text, result.error or says, call.began, self.port)
        return result

    async def send(self, length: int) -> Result:
        """send(): hand `length` bytes to the system; returns when they are in its buffer."""
        return await self._call(f"send({length})", "send", length)

    async def receive(self, at_most: int = 1 << 20) -> Result:
        """recv(): wait for bytes, end of file or an error."""
        return await self._call("recv()", "receive", at_most)

    async def close(self) -> Result:
        """close(): FIN, or RST when received bytes lie unread."""
        return await self._call("close()", "close")

    async def reset(self) -> Result:
        """close() with SO_LINGER {1, 0}: RST at once, no TIME_WAIT."""
        return await self._call("close() with SO_LINGER 0", "reset")

    async def shutdown_write(self) -> Result:
        """shutdown(SHUT_WR): FIN, but go on reading."""
        return await self._call("shutdown(SHUT_WR)", "shutdown_write")

    async def kill(self) -> Result:
        """SIGKILL to the process that holds this socket."""
        return await self._call("killed (SIGKILL)", "kill")

    async def settled(self) -> None:
        """Wait until all that was sent is acknowledged and this side owes no ACK either."""
        self.host.bench.drain()
        while not self._is_settled():
            await self._changed()

    async def wait_until_broken(self, limit_s: float) -> Result:
        """Wait, doing nothing, until this end has an error or the limit is over.

        The error is the one the program's next call would give; a FIN is no error.
        """

        async def broken() -> Result:
            while (error := self._pending_error()) is None:
                await self._changed()
            return Result(error=error)

        return await self.host.bench.within(limit_s, broken()) or Result()

    async def wait_until_hung_up(self, limit_s: float) -> bool:
        """Wait, doing nothing, until the system knows that no more will come: a FIN or an error is in.

        What poll() calls POLLRDHUP; False when the limit is over. The next call still gives the error.
        """

        async def hung_up() -> bool:
            while not self._is_hung_up():
                await self._changed()
            return True

        return await self.host.bench.within(limit_s, hung_up()) or False

    async def receive_exactly(self, length: int) -> Result:
        """recv() until `length` bytes are in, the peer has finished, or an error."""
        got = 0
        while got < length:
            result = await self.receive(length - got)
            if not result.ok or result.end_of_file:
                return Result(got, result.error)
            got += result.value
        return Result(got)

    async def exchange(self, server: Connection, request: int = 40, response: int = 200) -> None:
        """A question and its answer; returns when it is settled: the last ACK is in.

        Raises `ScriptError` when anything went wrong: a story begins with a healthy exchange.
        """
        steps = (
            await self.send(request),
            await server.receive_exactly(request),
            await server.send(response),
            await self.receive_exactly(response),
        )
        for step, wanted in zip(steps, (request, request, response, response), strict=True):
            if step.value != wanted or not step.ok:
                raise ScriptError(f"the exchange failed: {step}")
        await server.settled()
        await self.settled()


class Listener(ABC):
    """A listening socket."""

    host: Host
    port: int
    #: What the connections that it accepts inherit.
    options: SocketOptions

    @abstractmethod
    async def _accept(self) -> Connection: ...
    @abstractmethod
    def _end(self, *, kill: bool) -> None: ...

    async def accept(self) -> Connection:
        """accept(): wait for the next established connection."""
        call = self.host.begin("accept()", self.port)
        connection = await self._accept()
        self.host.end_calls(call)
        self.host.has_options(self.options, connection.local, connection.remote)
        self.host.record("accept()", "ok", call.began, self.port)
        return connection

    async def close(self) -> Result:
        """close(): connections still in the accept queue get a RST."""
        return self._call("close() of the listener", kill=False)

    async def kill(self) -> Result:
        """SIGKILL to the process that listens; the same as close() for the wire."""
        return self._call("listener killed (SIGKILL)", kill=True)

    def _call(self, text: str, *, kill: bool) -> Result:
        began = self.host.bench.nanoseconds()
        self._end(kill=kill)
        self.host.record(text, "ok", began, self.port)
        return Result()


class Host(ABC):
    """One machine: one address, until it is given more."""

    bench: Bench
    name: str
    address: str
    #: Its end of the wire, with its firewall's rules.
    cable: Cable

    @abstractmethod
    def set(self, **sysctls: int | str | tuple[int, ...]) -> None:
        """Set `net.ipv4.*` values by their last name (``tcp_retries2=5``), before any traffic.

        Ranges are pairs (``ip_local_port_range=(60001, 60006)``), lists of ports are texts.
        """

    @abstractmethod
    def add_address(self) -> str:
        """One more address on this host's card; a program uses it with `Bind`."""

    @abstractmethod
    async def listen(self, port: int, backlog: int = 128, options: SocketOptions = DEFAULTS) -> Listener:
        """A listening socket; connections it accepts inherit its options."""

    @abstractmethod
    async def connect(
        self, server: Host, port: int, options: SocketOptions = DEFAULTS, *, bind: Bind | None = None
    ) -> tuple[Result, Connection]:
        """connect(), after a bind() if one is given: wait until it succeeded or failed.

        The connection is useless after an error. Without a port the call fails at once and sends
        nothing: bind() gives EADDRINUSE, and connect() is not called; connect() gives EADDRNOTAVAIL.
        """

    async def open(
        self, server: Host, options: SocketOptions = DEFAULTS, server_options: SocketOptions = DEFAULTS
    ) -> tuple[Connection, Connection]:
        """listen() on the server's port 5432, connect() and accept(): the client's end, and the server's."""
        listener = await server.listen(5432, options=server_options)
        _, client = await self.connect(server, 5432, options)
        return client, await listener.accept()

    @abstractmethod
    def reboot(self) -> None:
        """Lose every socket without a word, and be reachable again at once."""

    def unplug(self) -> None:
        """Pull the cable: what is on the wire in either direction is lost too."""
        self.bench.drain()
        self.cable.unplug()
        self.bench.note(self, "unplugged")

    def plug(self) -> None:
        """Put the cable back."""
        self.bench.drain()
        self.cable.plug()
        self.bench.note(self, "plugged in again")

    def reject(self, port: int, times: int = 0) -> None:
        """Firewall rule on this host: answer what comes for `port` with a RST (REJECT).

        All of it, or only the next `times` segments with payload.
        """
        self._add_rule(port, "REJECT", times)

    def drop(self, port: int) -> None:
        """Firewall rule on this host: throw away all that comes for `port` (DROP)."""
        self._add_rule(port, "DROP")

    def _add_rule(self, port: int, action: str, times: int = 0) -> None:
        self.bench.drain()
        rule = self.cable.add_rule(port, action, times)
        self._apply_rule(rule)
        self.bench.note(self, rule.says)

    @abstractmethod
    def _apply_rule(self, rule: Rule) -> None: ...

    def has_options(self, options: SocketOptions, local: Endpoint, remote: Endpoint) -> None:
        """Write down what of a socket's options no segment and no sample shows."""
        if options.user_timeout_s:
            limit = round(options.user_timeout_s * SECOND)
            self.bench.trace.user_timeouts[self.name, local, remote] = limit

    def begin(self, call: str, port: int, began: int | None = None) -> Call:
        """Write a call into the trace that may never return: it is pending until `end_calls`."""
        now = self.bench.nanoseconds() if began is None else began
        begun = Call(now, now, self.name, call, "", port)
        self.bench.trace.pending.append(begun)
        return begun

    def end_calls(self, *calls: Call) -> None:
        """These are pending no more."""
        pending = self.bench.trace.pending
        for call in calls:
            if call in pending:
                pending.remove(call)

    def record(self, call: str, result: str, began: int, port: int) -> None:
        """Write a call that has returned into the trace."""
        self.bench.trace.calls.append(Call(self.bench.nanoseconds(), began, self.name, call, result, port))


class Bench(ABC):
    """Where a script runs."""

    #: What has been seen so far; complete when the script has ended.
    trace: Trace

    @abstractmethod
    def _make_host(self, name: str, address: str) -> Host: ...

    def hosts(self, *names: str) -> tuple[Host, ...]:
        """Hosts joined by one wire, in the order in which a picture shows them."""
        made = []
        for name in names:
            # Middleboxes have no address.
            host = self._make_host(name, f"10.0.0.{sum(map(bool, self.trace.hosts.values())) + 1}")
            self.trace.hosts[name] = host.address
            made.append(host)
        return tuple(made)

    @abstractmethod
    def route(self, one: Host, other: Host, *middleboxes: Middlebox) -> None:
        """Put middleboxes between two hosts, in their order from the first, at equal distances.

        In the trace they are among the hosts, without an address.
        """

    @abstractmethod
    def nanoseconds(self) -> int:
        """Nanoseconds since the run began."""

    def now(self) -> float:
        """Seconds since the run began."""
        return self.nanoseconds() / SECOND

    @abstractmethod
    def drain(self) -> None:
        """Take in what the hosts have sent so far, before anything about the wire changes."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Do nothing for a while."""

    @abstractmethod
    async def together(self, *calls: Awaitable[Any]) -> list[Any]:
        """Several calls at once, as separate processes would make them; results in their order."""

    @abstractmethod
    async def first(self, *calls: Awaitable[T]) -> T:
        """Several calls at once, until one of them returns: its result; the others are cancelled."""

    @abstractmethod
    async def within(self, seconds: float, call: Awaitable[T]) -> T | None:
        """A call that is cancelled after `seconds`: the result is None then."""

    def lose(self, sender: Host, **which: int) -> None:
        """Lose named segments from `sender`: ``lose(client, data=1)`` is the next with payload.

        Names: `syn`, `fin`, `data`, `ack` (without payload, SYN or FIN), `any`; the number says
        how many of them are lost from now on.
        """
        self.drain()
        for kind, times in which.items():
            sender.cable.lose(kind, times)

    def forge_reset(self, victim: Connection, offset: int) -> None:
        """Put a RST on the wire that claims to come from the victim's peer.

        `offset` counts from what the victim last acknowledged (its RCV.NXT once it is settled).
        """
        last = self._last_sent_by(victim)
        self._forge(Segment(victim.remote, victim.local, seq_add(last.ack, offset), 0, RST, 0))

    def forge_data(self, victim: Connection, length: int) -> None:
        """Put an old duplicate on the wire: payload that claims to come from the victim's peer.

        By chance it has just the numbers that the victim expects next. Without the timestamp option.
        """
        last = self._last_sent_by(victim)
        numbers = last.ack, last.end_seq
        self._forge(Segment(victim.remote, victim.local, *numbers, PSH | ACK, OLD_WINDOW, length))

    def forge_ack(self, victim: Connection, ahead: int) -> None:
        """Put an ACK on the wire that claims to come from the victim's peer.

        It acknowledges `ahead` bytes more than the victim has sent.
        """
        last = self._last_sent_by(victim)
        number = seq_add(last.end_seq, ahead)
        self._forge(Segment(victim.remote, victim.local, last.ack, number, ACK, OLD_WINDOW))

    def forge_old_ack(self, victim: Connection, older_ms: int) -> None:
        """Put an old ACK on the wire: one byte and `older_ms` of timestamp before the newest."""
        last = self._last_sent_by(victim)
        theirs, newest = last.timestamps or (0, 0)
        stamps = (newest - older_ms) & 0xFFFFFFFF, theirs
        numbers = seq_add(last.ack, -1), last.end_seq
        old = Segment(victim.remote, victim.local, *numbers, ACK, OLD_WINDOW, timestamps=stamps)
        self._forge(old)

    def forge_fin(self, victim: Connection) -> None:
        """Put a FIN without data on the wire, at exactly the number that the victim expects next."""
        last = self._last_sent_by(victim)
        self._forge(Segment(victim.remote, victim.local, last.ack, last.end_seq, FIN | ACK, OLD_WINDOW))

    def forge(self, source: Host, port: int, victim: Host, to: int, flags: int, seq: int) -> None:
        """Put a segment without ACK on the wire that belongs to no connection: a SYN, or a RST after it."""
        ends = Endpoint(source.address, port), Endpoint(victim.address, to)
        self._forge(Segment(*ends, seq, 0, flags, 65535))

    def _last_sent_by(self, victim: Connection) -> Segment:
        self.drain()
        ends = victim.local, victim.remote
        sent = (packet.segment for packet in reversed(self.trace.packets))
        return next(segment for segment in sent if (segment.source, segment.destination) == ends)

    @abstractmethod
    def _forge(self, segment: Segment) -> None:
        """Put a segment on the wire at the end of the host that it names as its sender."""

    @abstractmethod
    def move_address(self, old: Host, new: Host) -> None:
        """From now on segments for the old host's address reach the new host."""

    def watch_from_now(self) -> None:
        """The scene is set: what the experiment is about begins here."""
        self.drain()
        self.trace.watched_from = self.nanoseconds()

    def call_program(self, host: Host, name: str) -> None:
        """What the program on a host is called in pictures, where it is not `server's program`."""
        self.trace.programs[host.name] = name

    def does(self, host: Host, kind: Doing, *words: str, locks: bool = False) -> None:
        """From now on the program on a host does this, which no call shows.

        `words`: the same in one to three wordings, the longest first. `locks`: it holds locks meanwhile.
        """
        activity = Activity(self.nanoseconds(), host.name, kind, words, locks)
        before = next((each for each in reversed(self.trace.activities) if each.host == host.name), None)
        if before is None or before[1:] != activity[1:]:
            self.trace.activities.append(activity)

    def limit(self, host: Host, name: str, after_s: float, since_s: float | None = None) -> None:
        """Set a deadline that ss does not show, `after_s` from now (or from `since_s`); 0: there is none."""
        t = self.nanoseconds() if since_s is None else round(since_s * SECOND)
        self.trace.deadlines.append(Deadline(t, host.name, name, t + round(after_s * SECOND)))

    def finish(self) -> None:
        """The run ends now, and with it the calls that still wait."""
        self.trace.end = self.nanoseconds()
        self.trace.pending = [call._replace(t=self.trace.end) for call in self.trace.pending]

    def note(self, host: Host | None, text: str) -> None:
        """Write a remark into the trace, for pictures and for the experiment's own outcome."""
        self.trace.notes.append(Note(self.nanoseconds(), host.name if host else "", text))
