"""What every study of many connections declares: parameters, its outcome, its curves and its sentence.

A study has no script and no segments. It plays a model of the whole and leaves a `Trace` whose
`series` hold the curves, so that whatever runs, lists, shows or prints an experiment takes it too.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tcplab.core.knobs import Knob, ParameterError, Parameters
from tcplab.core.releases import release
from tcplab.core.segment import Endpoint, Segment
from tcplab.core.text import SECOND
from tcplab.core.trace import Trace
from tcplab.model.rules import CLOSED, DEFAULT_OPTIONS, TcpOptions
from tcplab.model.socket import Socket
from tcplab.model.stack import Stack

if TYPE_CHECKING:
    from tcplab.bench.script import Bench


# ----------------------------------------------------------------------
# How long a client waits for a peer that has vanished: the model's own two machines, played once.
#
# All times are whole nanoseconds; `latency` is one way.

_CLIENT, _SERVER, _PORT = "10.0.0.1", "10.0.0.2", 5432
#: Bytes of a request and of its answer.
_BYTES = 40
#: In which an exchange is over, its delayed ACKs included, beside its round trips.
_SETTLED = 300_000_000


class _Wire:
    """A client and a server, and the segments between them, until somebody pulls the plug."""

    def __init__(self, latency: int, linux: str, options: TcpOptions = DEFAULT_OPTIONS) -> None:
        rules = release(linux)
        self.latency, self.options = latency, options
        self.stacks = {address: Stack(address, rules) for address in (_CLIENT, _SERVER)}
        self.client, self.server = self.stacks.values()
        self.on_the_way: deque[tuple[int, Segment]] = deque()
        self.plugged, self.now = True, 0

    def connect(self) -> Socket:
        """connect(), whatever comes of it."""
        socket = self.client.connect(self.now, Endpoint(_SERVER, _PORT), self.options)
        self.send_out()
        return socket

    def connection(self) -> Socket:
        """The client's end of a connection after one exchange: its sender knows the round-trip time."""
        listener = self.server.listen(_PORT, 1)
        client = self.connect()
        self.settle()
        server = self.server.call(self.now, "accept", listener)
        for stack, sender in ((self.client, client), (self.server, server)):
            stack.call(self.now, "send", sender, _BYTES)
            self.send_out()
            self.settle()
        return client

    def send_out(self) -> None:
        """What the machines want to send goes on the wire, or nowhere."""
        for stack in self.stacks.values():
            for segment in stack.to_send():
                if self.plugged:
                    self.on_the_way.append((self.now + self.latency, segment))

    def settle(self) -> None:
        """Until an exchange is over."""
        limit = self.now + 4 * self.latency + _SETTLED
        while (due := self.next()) is not None and due <= limit:
            self.step(due)

    def until_given_up(self, socket: Socket) -> int:
        """Go on until this socket is closed, which must happen: the moment."""
        while socket.state != CLOSED and (due := self.next()) is not None:
            self.step(due)
        return self.now

    def next(self) -> int | None:
        """When something happens next."""
        moments = [due for stack in self.stacks.values() if (due := stack.next_timer()) is not None]
        return min([*moments, *([self.on_the_way[0][0]] if self.on_the_way else [])], default=None)

    def step(self, now: int) -> None:
        """What happens at this moment."""
        self.now = now
        while self.on_the_way and self.on_the_way[0][0] <= now:
            segment = self.on_the_way.popleft()[1]
            self.stacks[segment.destination.address].receive(now, segment)
            self.send_out()
        for stack in self.stacks.values():
            stack.timer(now)
        self.send_out()


@lru_cache(maxsize=64)
def detection(retries2: int, latency: int, linux: str, user_timeout: int = 0) -> int:
    """From the first transmission of a request that stays unanswered to ETIMEDOUT: as in `dead_peer`.

    Keepalive does not count here: no probe is sent while data is unacknowledged
    (net/ipv4/tcp_timer.c:tcp_keepalive_timer).
    """
    wire = _Wire(latency, linux, TcpOptions(user_timeout=user_timeout))
    wire.client.sysctls.tcp_retries2 = retries2
    client = wire.connection()
    wire.plugged, began = False, wire.now
    wire.client.call(began, "send", client, _BYTES)
    wire.send_out()
    return wire.until_given_up(client) - began


@lru_cache(maxsize=64)
def idle_detection(options: TcpOptions, latency: int, linux: str) -> int:
    """From the last segment received from the peer to keepalive's end: as in `keepalive`.

    `options` has keepalive on.
    """
    wire = _Wire(latency, linux, options)
    client = wire.connection()
    wire.plugged, heard = False, client.last_received
    return wire.until_given_up(client) - heard


@lru_cache(maxsize=64)
def connecting(latency: int, linux: str, user_timeout: int = 0) -> int:
    """From the first SYN to the end of a connect() that nobody answers: as in `unanswered_connect`."""
    wire = _Wire(latency, linux, TcpOptions(user_timeout=user_timeout))
    wire.plugged = False
    return wire.until_given_up(wire.connect())


RATE = Knob(
    "attempts a second", float, "per s", 0.01, 1_000_000, slider_high=2000,
    help="How many connections the program asks for.", test_only=True,
)  # fmt: skip
ARRIVALS = Knob(
    "arrivals", str, choices=("constant", "poisson"), test_only=True,
    help="At even steps, or at random with that mean.",
)  # fmt: skip
DURATION = Knob(
    "run for", float, "s", 0.1, 86_400, slider_high=600, help="Length of the run.", test_only=True
)


@dataclass(frozen=True, kw_only=True)
class Study(Parameters):
    """Parameters plus a model of many connections plus what it teaches. Frozen: a run never changes them."""

    #: As of an experiment: see `tcplab.experiments.experiment`.
    title: ClassVar[str] = ""
    lesson: ClassVar[str] = ""
    controls: ClassVar[tuple[str, ...]] = ()
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    pictures: ClassVar[tuple[str, ...]] = ()
    quick: ClassVar[Mapping[str, Any]] = {}
    sampled: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

    @property
    @abstractmethod
    def length_s(self) -> float:
        """How long the run lasts, seconds."""

    @abstractmethod
    def simulate(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The outcome and the series."""

    @abstractmethod
    def sentence(self, trace: Trace) -> str:
        """What happened, when, and what the application saw: reads without the picture."""

    def simulated(self) -> Trace:
        """The run, as a trace without segments."""
        outcome, series = self.simulate()
        return Trace(
            self.name,
            "model",
            linux=self.linux,
            parameters=self.values(),
            outcome=outcome,
            series=series,
            end=round(self.length_s * SECOND),
            warnings=self.ignored_by_release(),
        )

    def check_for_linux(self) -> None:
        """Raise `ParameterError` where there is no run on real Linux, or not with these parameters."""
        raise ParameterError(f"{self.name} runs on the model only: tcplab run {self.name}.")

    async def run(self, bench: Bench) -> None:
        """The small twin on Linux, in a bench's verbs."""
        self.check_for_linux()

    def outcome(self, trace: Trace) -> dict[str, Any]:
        """The named results of the twin's run, read from what it left behind."""
        return dict(trace.outcome)

    def matched_to(self, linux: Trace) -> Self:
        """The parameters with which the model is compared to a run on Linux: those of that Linux."""
        return self.with_values(linux=linux.linux or self.linux)

    def compared(self) -> tuple[str, ...]:
        """The outcomes in which the two are compared."""
        return ()

    def nearby(self) -> Sequence[Self]:
        """Parameters that Linux may take these for: where they tell something else, it's a tie."""
        return ()
