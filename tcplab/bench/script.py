"""The verbs a script may use. Every bench offers these and no others, with the same meaning.

A script holds a `Bench`, its `Host`s, a `Listener` and `Connection`s, and reads like the story
it tells. Calls that a program would make return a `Result`; nothing raises because of TCP.
Times that a script passes or gets are seconds (float), sizes are bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, TypeVar

from tcplab.core.segment import Endpoint
from tcplab.core.trace import Trace
from tcplab.route.middlebox import Middlebox

T = TypeVar("T")


#: Hosts are 10.0.0.1, 10.0.0.2 …; what `Host.add_address` gives begins above this.
MORE_ADDRESSES = 100
#: The window in the header of what `Bench.forge_data` makes, bytes.
OLD_WINDOW = 500


class ScriptError(RuntimeError):
    """A script asked for something that can't be: a mistake in an experiment, not a result."""


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

    Off or the system's own where they are 0. Every socket has TCP_NODELAY.
    """

    #: SO_KEEPALIVE with TCP_KEEPIDLE; 0 = SO_KEEPALIVE off.
    keepalive_idle_s: float = 0
    #: TCP_KEEPINTVL and TCP_KEEPCNT; only used with `keepalive_idle_s`.
    keepalive_interval_s: float = 75
    keepalive_probes: int = 9
    #: TCP_USER_TIMEOUT; 0 = off.
    user_timeout_s: float = 0
    #: SO_RCVBUF as getsockopt() shows it; 0 = the system's own.
    receive_buffer: int = 0
    #: TCP_WINDOW_CLAMP: the largest window to advertise; 0 = what the buffer allows. The model takes
    #: it exactly, Linux in its own steps.
    window_clamp: int = 0
    #: SO_REUSEADDR.
    reuse_address: bool = False

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

        One interval longer than it takes, and TCP_USER_TIMEOUT, which may replace the count of probes.
        """
        if not self.keepalive_idle_s:
            return 0
        return self.keepalive_gives_up_s + self.keepalive_interval_s + self.user_timeout_s

    def connect_says(self, remote: Endpoint, bind: Bind | None) -> str:
        """connect() as a trace has it, with what decides who may share its port, if no bind() says so."""
        shares = " with SO_REUSEADDR" if self.reuse_address and bind is None else ""
        return f"connect({remote}){shares}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A bind() that a program makes on its socket before it connects."""

    #: One of the host's own addresses; empty = to none in particular (0.0.0.0).
    address: str = ""
    #: 0 = a port of Linux's choice.
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

    @property
    @abstractmethod
    def port(self) -> int:
        """Its own port."""

    @abstractmethod
    async def send(self, length: int) -> Result:
        """send(): hand `length` bytes to the system; returns when they are in its buffer."""

    @abstractmethod
    async def receive(self, at_most: int = 1 << 20) -> Result:
        """recv(): wait for bytes, end of file or an error."""

    @abstractmethod
    async def close(self) -> Result:
        """close(): FIN, or RST when received bytes lie unread."""

    @abstractmethod
    async def reset(self) -> Result:
        """close() with SO_LINGER {1, 0}: RST at once, no TIME_WAIT."""

    @abstractmethod
    async def shutdown_write(self) -> Result:
        """shutdown(SHUT_WR): FIN, but go on reading."""

    @abstractmethod
    async def kill(self) -> Result:
        """SIGKILL to the process that holds this socket."""

    @abstractmethod
    async def settled(self) -> None:
        """Wait until all that was sent is acknowledged and this side owes no ACK either."""

    @abstractmethod
    async def wait_until_broken(self, limit_s: float) -> Result:
        """Wait, doing nothing, until this end has an error or the limit is over.

        The error is the one the program's next call would give; a FIN is no error.
        """

    @abstractmethod
    async def wait_until_hung_up(self, limit_s: float) -> bool:
        """Wait, doing nothing, until the system knows that no more will come: a FIN or an error is in.

        What poll() calls POLLRDHUP; False when the limit is over. The next call still gives the error.
        """

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

    @abstractmethod
    async def accept(self) -> Connection:
        """accept(): wait for the next established connection."""

    @abstractmethod
    async def close(self) -> Result:
        """close(): connections still in the accept queue get a RST."""

    @abstractmethod
    async def kill(self) -> Result:
        """SIGKILL to the process that listens; the same as close() for the wire."""


class Host(ABC):
    """One machine: one address, until it is given more."""

    name: str
    address: str

    @abstractmethod
    def set(self, **sysctls: int | str | tuple[int, ...]) -> None:
        """Set `net.ipv4.*` values by their last name (``tcp_retries2=5``), before any traffic.

        Ranges are pairs (``ip_local_port_range=(60001, 60006)``), lists of ports are texts.
        """

    @abstractmethod
    def add_address(self) -> str:
        """One more address on this host's card; a program uses it with `Bind`."""

    @abstractmethod
    async def listen(
        self, port: int, backlog: int = 128, options: SocketOptions = SocketOptions()
    ) -> Listener:
        """A listening socket; connections it accepts inherit its options."""

    @abstractmethod
    async def connect(
        self,
        server: Host,
        port: int,
        options: SocketOptions = SocketOptions(),
        *,
        bind: Bind | None = None,
    ) -> tuple[Result, Connection]:
        """connect(), after a bind() if one is given: wait until it succeeded or failed.

        The connection is useless after an error. Without a port the call fails at once and sends
        nothing: bind() gives EADDRINUSE, and connect() is not called; connect() gives EADDRNOTAVAIL.
        """

    @abstractmethod
    def unplug(self) -> None:
        """Pull the cable: what is on the wire in either direction is lost too."""

    @abstractmethod
    def plug(self) -> None:
        """Put the cable back."""

    @abstractmethod
    def reboot(self) -> None:
        """Lose every socket without a word, and be reachable again at once."""

    @abstractmethod
    def reject(self, port: int, times: int = 0) -> None:
        """Firewall rule on this host: answer what comes for `port` with a RST (REJECT).

        Whatever comes, or only the next `times` segments with payload.
        """

    @abstractmethod
    def drop(self, port: int) -> None:
        """Firewall rule on this host: throw away whatever comes for `port` (DROP)."""


class Bench(ABC):
    """Where a script runs."""

    #: What has been seen so far; complete when the script has ended.
    trace: Trace

    @abstractmethod
    def hosts(self, *names: str) -> tuple[Host, ...]:
        """Hosts joined by one wire, in the order in which a picture shows them."""

    @abstractmethod
    def route(self, one: Host, other: Host, *boxes: Middlebox) -> None:
        """Put boxes between two hosts, in their order from the first, at equal distances.

        In the trace a box stands among the hosts, without an address.
        """

    @abstractmethod
    def now(self) -> float:
        """Seconds since the run began."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Do nothing for a while."""

    @abstractmethod
    async def together(self, *calls: Awaitable[Any]) -> list[Any]:
        """Several calls at once, as separate processes would make them; results in their order."""

    @abstractmethod
    async def first(self, *calls: Awaitable[T]) -> T:
        """Several calls at once, until one of them returns: its result; the others are given up."""

    @abstractmethod
    async def within(self, seconds: float, call: Awaitable[T]) -> T | None:
        """A call that is given up after `seconds`: None then, and the program stops waiting."""

    @abstractmethod
    def lose(self, sender: Host, **which: int) -> None:
        """Lose named segments from `sender`: ``lose(client, data=1)`` is the next with payload.

        Names: `syn`, `fin`, `data`, `ack` (without payload, SYN or FIN), `any`; the number says
        how many of them are lost from now on.
        """

    @abstractmethod
    def forge_reset(self, victim: Connection, offset: int) -> None:
        """Put a RST on the wire that claims to come from the victim's peer.

        `offset` counts from what the victim last acknowledged (its RCV.NXT once it is settled).
        """

    @abstractmethod
    def forge_data(self, victim: Connection, length: int) -> None:
        """Put an old duplicate on the wire: payload that claims to come from the victim's peer.

        By chance it has just the numbers that the victim expects next. Without the timestamp option.
        """

    @abstractmethod
    def move_address(self, old: Host, new: Host) -> None:
        """From now on segments for the old host's address reach the new host."""

    @abstractmethod
    def watch_from_now(self) -> None:
        """The scene is set: what the experiment is about begins here."""

    @abstractmethod
    def note(self, host: Host | None, text: str) -> None:
        """Write a remark into the trace, for pictures and for the experiment's own outcome."""
