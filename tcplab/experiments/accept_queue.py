"""Many clients connect, and the server does not keep up: who is accepted, who waits, and which are ghosts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tcplab.bench.agreement import WHOLE, Scope
from tcplab.bench.script import Bench, Connection, Host, Listener
from tcplab.core import knobs
from tcplab.core.knobs import choice, knob
from tcplab.core.releases import release
from tcplab.core.segment import ACK, SYN
from tcplab.core.text import MILLISECOND, SECOND, duration, in_words, plural
from tcplab.core.trace import Answer, Trace
from tcplab.experiments.experiment import Experiment, answered, first_error

CONCURRENT = replace(
    knobs.YES_NO, label="all at once", help="Whether all connect at the same moment or one by one."
)
BEFORE = replace(
    knobs.CONNECTS, label="connected before", low=0, slider_high=20,
    help="Clients that connect one by one before the others: they fill the queue.",
)  # fmt: skip
ACCEPT_AFTER = replace(
    knobs.PERIOD,
    label="accept() begins after",
    help="From then on the server accepts the connections that wait.",
)
SPEAKS_FIRST = choice(
    "who speaks first", "client", "server",
    help="PostgreSQL's and Redis's clients speak first; MySQL's client waits for the server's greeting.",
)  # fmt: skip
SPEAK_AFTER = replace(
    knobs.PERIOD, label="looked at after", zero="at once",
    help="Seconds after the last connect() began: then both sides are counted, and clients speak.",
)  # fmt: skip

LOGIN_BYTES, ANSWER_BYTES, GREETING_BYTES = 40, 200, 80
#: A half-open request is over after 63 s, an unanswered connect() after 135.
LONG_ENOUGH_S = 150
BEFORE_THEY_SPEAK = 50 * MILLISECOND
#: Outcomes that no race of clients for the server's queue can change.
CERTAIN = ("connected", "client_errors")
#: A moment that real clocks can't tell from none.
SOON_S = 1e-6


@dataclass(frozen=True, kw_only=True)
class AcceptQueue(Experiment):
    """A listener with a short queue, and more clients than it holds.

    Times count from the first connect().
    """

    name = "accept_queue"
    title = "Ghost connections: the accept queue is full, and connect() succeeds"
    lesson = "ghost_connections"
    controls = ("backlog", "connects", "concurrent", "accept_after_s", "speaks_first")
    presets = {
        "eight clients, no accept()": {},
        "one by one": {"concurrent": False},
        "the queue is full already": {"connects_before": 3, "connects": 5},
        "the same before 4.10": {"connects_before": 3, "connects": 5, "linux": "3.10"},
        "320 nodes start up": {"backlog": 128, "connects": 320, "accept_after_s": 2},
        "320 nodes, MySQL greets first": {
            "backlog": 128, "connects": 320, "accept_after_s": 2, "speaks_first": "server",
        },
        "abort on overflow": {"syncookies": False, "abort_on_overflow": True, "connects": 3,
            "connects_before": 2},
        "half open for 63 s": {"syncookies": False, "connects_before": 2, "connects": 3,
            "speaks_first": "server", "watch_s": 80},
    }  # fmt: skip
    pictures = ("queues", "ladder")
    quick = {"speak_after_s": 1, "watch_s": 4}
    sampled = {
        "backlog": (1, 2, 4), "connects": (3, 5, 8), "connects_before": (0, 0, 1, 2),
        "concurrent": (True, True, True, False), "syncookies": (True, False),
        "abort_on_overflow": (False, False, True), "accept_after_s": (0, 2),
        "speaks_first": ("client", "server"), "speak_after_s": (2.7,), "latency_ms": (15, 20, 30),
        "watch_s": (4.6,),
    }  # fmt: skip

    backlog: int = knob(knobs.BACKLOG, default=2)
    connects: int = knob(knobs.CONNECTS, default=8)
    concurrent: bool = knob(CONCURRENT, default=True)
    connects_before: int = knob(BEFORE, default=0)
    syncookies: bool = knob(knobs.SYNCOOKIES, default=True)
    abort_on_overflow: bool = knob(knobs.ABORT_ON_OVERFLOW, default=False)
    accept_after_s: float = knob(ACCEPT_AFTER, default=0)
    speaks_first: str = knob(SPEAKS_FIRST, default="client")
    speak_after_s: float = knob(SPEAK_AFTER, default=3)
    latency_ms: float = knob(knobs.LATENCY, default=20)
    watch_s: float = knob(knobs.WATCH, default=10)

    def idle_controls(self) -> dict[str, str]:
        return knobs.idle((self.connects == 1, "concurrent", "there is only one client."))

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        server_host.set(
            tcp_syncookies=int(self.syncookies), tcp_abort_on_overflow=int(self.abort_on_overflow)
        )
        listener = await server_host.listen(self.port, backlog=self.backlog)
        bench.watch_from_now()
        bench.call_program(client_host, plural(self.connects_before + self.connects, "client program"))
        speaks = self.speaks_first == "client"
        first = "send nothing yet" if speaks else "wait for the greeting"
        bench.does(client_host, "idle" if speaks else "waits", f"once connected: {first}", first)
        bench.does(server_host, "idle", "does not call accept()")
        clients = _Clients(self, bench, client_host, server_host)
        processes = [clients.connect_all()]
        if self.speaks_first == "client":
            processes.append(clients.speak())
        if self.accept_after_s:
            processes.append(self._accept(bench, listener, clients.end))
        await bench.together(*processes, bench.sleep(self.watch()))

    @property
    def port(self) -> int:
        """MySQL's port where the server speaks first, PostgreSQL's otherwise."""
        return 3306 if self.speaks_first == "server" else 5432

    def ignored_by_release(self) -> list[str]:
        limit = release(self.linux).somaxconn
        cut = f"backlog = {self.backlog} is cut to {limit}: that is net.core.somaxconn in Linux {self.linux}."
        return [*super().ignored_by_release(), *([cut] if self.backlog > limit else [])]

    def watch(self) -> float:
        """How long the run lasts from the first connect() on, seconds."""
        return self.watch_s or LONG_ENOUGH_S + self.speak_after_s + self.accept_after_s

    async def _accept(self, bench: Bench, listener: Listener, end: float) -> None:
        await bench.sleep(min(self.accept_after_s, self.watch()))
        bench.does(listener.host, "works", "accepts waiting connections", "accepts")
        await self._serve(bench, listener, end)

    async def _serve(self, bench: Bench, listener: Listener, end: float) -> None:
        """A server that takes one connection after the other, each with a process of its own."""
        connection = await bench.within(end - bench.now(), listener.accept())
        if connection is not None:
            await bench.together(self._answer(bench, connection, end), self._serve(bench, listener, end))

    async def _answer(self, bench: Bench, connection: Connection, end: float) -> None:
        if self.speaks_first == "server":
            await connection.send(GREETING_BYTES)
            return
        asked = await bench.within(end - bench.now(), connection.receive_exactly(LOGIN_BYTES))
        if asked is not None and asked.value:
            await connection.send(ANSWER_BYTES)

    def scope(self, trace: Trace) -> Scope:
        """Without what is a race on Linux: many clients and an accepting server, at the same moment.

        What the clients send arrives while the server takes connections out of its queue. How many of
        them have room at once, and how many have to retransmit, is a matter of microseconds.
        """
        if not self.accept_after_s:
            return WHOLE
        begins = trace.start + round(self.accept_after_s * SECOND)
        if not self.concurrent:
            return Scope(until=begins - BEFORE_THEY_SPEAK)
        speak = counted_at(trace, self.speak_after_s) - BEFORE_THEY_SPEAK
        return Scope(until=None if self.speaks_first == "server" else speak, outcomes=CERTAIN)

    def outcome(self, trace: Trace) -> dict[str, Any]:
        moment = counted_at(trace, self.speak_after_s)
        believing, real = established(trace, moment)
        ghosts = believing - real
        later = {
            sample.remote.port
            for sample in trace.sockets
            if sample.host == "server" and sample.state == "ESTABLISHED" and sample.t > moment
        }
        connects = [call for call in trace.calls if call.call.startswith("connect(")]
        calls = trace.calls_of("client", "")
        errors = [first_error(c for c in calls if c.port == port) for port in client_ports(trace)]
        return {
            "connected": sum(call.result == "ok" for call in connects),
            "server_has": len(real),
            "ghosts": len(ghosts),
            "revived": len(ghosts & later),
            "client_errors": errors + [None] * (self.connects_before + self.connects - len(errors)),
        }

    def answer(self, trace: Trace) -> Answer:
        """From the first connection that becomes a ghost to the last that is none any more."""
        outcome, moment = trace.outcome, counted_at(trace, self.speak_after_s)
        believing, real = established(trace, moment)
        ghosts, reset = believing - real, outcome["client_errors"].count("ECONNRESET")
        if not ghosts:
            return self._without_ghosts(trace, moment)
        up = [s for s in trace.sockets if s.state == "ESTABLISHED"]
        start = min(s.t for s in up if s.host == "client" and s.local.port in ghosts)
        number = plural(len(ghosts), "ghost")
        if outcome["revived"] == len(ghosts):
            end = max(s.t for s in up if s.host == "server" and s.remote.port in ghosts)
            words = f"{number} for {duration(end - start)}: then accept() makes room"
            return Answer(start, end, "client", words)
        error = f"{reset} × ECONNRESET" if reset else "no error"
        return Answer(start, None, "client", f"{number}: connected, unknown to the server, {error}")

    def _without_ghosts(self, trace: Trace, moment: int) -> Answer:
        since, connects = trace.watching_since, trace.calls_of("client", "connect(")
        if failed := next((call for call in trace.calls if call.error), None):
            start = next((call.began for call in connects if call.port == failed.port), since)
            return answered(start, failed.t, "client", failed.result)
        if waiting := len(client_ports(trace)) - len(connects):
            return Answer(
                since, None, "client", f"no ghosts, but {plural(waiting, 'connect()')} still waiting"
            )
        slowest = max(connects, key=lambda call: call.t - call.began)
        if slowest.t - slowest.began >= SECOND:
            return answered(slowest.began, slowest.t, "client", "no ghost: connect() succeeds")
        return Answer(since, moment, "client", f"no ghosts: the server has all {len(connects)}")

    def sentence(self, trace: Trace) -> str:
        outcome = trace.outcome
        return " ".join(
            [
                self._who_connects(trace),
                f"{_after(counted_at(trace, self.speak_after_s) - last_began(trace))} the server has "
                f"{outcome['server_has']}{_of_ghosts(outcome['ghosts'])}.",
                *self._outcome_of_ghosts(outcome),
                *self._outcome_of_waiting(trace),
            ]
        )

    def _who_connects(self, trace: Trace) -> str:
        everyone, connected = len(trace.outcome["client_errors"]), trace.outcome["connected"]
        them = "it" if self.connects == 1 else "them"
        how = "" if self.connects == 1 else " at once" if self.concurrent else " one by one"
        before = f", after {self.connects_before} before {them}" if self.connects_before else ""
        if connected == everyone:
            succeeds = "connect() succeeds" if everyone == 1 else "connect() succeeds for all of them"
        else:
            succeeds = f"connect() succeeds for {connected} of {everyone}"
        verb = "connects" if self.connects == 1 else "connect"
        return f"{plural(self.connects, 'client')} {verb}{how}{before}, and {succeeds}."

    def _outcome_of_ghosts(self, outcome: Mapping[str, Any]) -> Iterator[str]:
        ghosts, revived = outcome["ghosts"], outcome["revived"]
        reset = sum(error == "ECONNRESET" for error in outcome["client_errors"])
        if revived:
            who = (
                "All of them" if revived == ghosts else "1 of them" if revived == 1 else f"{revived} of them"
            )
            spoken = " or what the client sent" if self.speaks_first == "client" else ""
            yield f"{who} became real later: accept() had made room for a repeated SYN-ACK{spoken}."
        if reset:
            yield (
                f"For {plural(reset, 'client')} a later call failed with Connection reset by peer "
                "(ECONNRESET)."
            )
        if ghosts - revived - reset > 0:
            yield (
                "A ghost waits for a greeting that never arrives; MySQL's client fails only when its own "
                "timeout ends: Lost connection to MySQL server at 'reading initial communication packet'."
                if self.speaks_first == "server"
                else "What a ghost sends is retransmitted and never acknowledged; its program gets no error."
            )

    def _outcome_of_waiting(self, trace: Trace) -> Iterator[str]:
        calls = [call for call in trace.calls if call.call.startswith("connect(")]
        took = [call.t - call.began for call in calls if call.result == "ok"]
        refused = sum(call.result == "ETIMEDOUT" for call in calls)
        waiting = len(client_ports(trace)) - len(calls)
        if took and max(took) >= SECOND:
            yield (
                f"The slowest connect() took {max(took) / SECOND:.1f} s: its SYN was dropped and "
                "retransmitted."
            )
        if refused:
            yield f"{plural(refused, 'connect() call')} ended with Connection timed out (ETIMEDOUT)."
        if waiting:
            calls_wait = f"{plural(waiting, 'connect() call')} still {'waits' if waiting == 1 else 'wait'}"
            yield f"{calls_wait}: the SYN was dropped and is retransmitted."


class _Clients:
    """All clients of one run: who connects when, and speaks when."""

    def __init__(self, story: AcceptQueue, bench: Bench, host: Host, server: Host) -> None:
        self.story, self.bench = story, bench
        self.host, self.server = host, server
        self.end = bench.now() + story.watch()
        self.last_began = bench.now()
        #: Those who wait until it is time to speak, in the order in which they got in.
        self.waiting: list[Connection] = []
        self.is_time_to_speak = False

    @property
    def left(self) -> float:
        """Seconds until the run is over."""
        return max(self.end - self.bench.now(), 0)

    async def connect_all(self) -> None:
        """The ones before, then the others; those who are connected live on by themselves."""
        await self._one_by_one(self.story.connects_before, self._the_others)

    async def _the_others(self) -> None:
        if self.story.concurrent:
            await self.bench.together(*(self._client() for _ in range(self.story.connects)))
        else:
            await self._one_by_one(self.story.connects)

    async def _one_by_one(self, clients: int, then: Callable[[], Awaitable[None]] | None = None) -> None:
        """Each connects when the one before is in, or has failed; none when the time is over."""
        if clients and self.left > SOON_S:
            connection = await self._connect()
            calls = [self._enter(connection)] if connection is not None else []
            await self.bench.together(*calls, self._one_by_one(clients - 1, then))
        elif then is not None and self.left > SOON_S:
            await then()

    async def _client(self) -> None:
        connection = await self._connect()
        if connection is not None:
            await self._enter(connection)

    async def _connect(self) -> Connection | None:
        """None when connect() failed, or was given up at the end."""
        self.last_began = self.bench.now()
        done = await self.bench.within(self.left, self.host.connect(self.server, self.story.port))
        return done[1] if done is not None and done[0].ok else None

    async def _enter(self, connection: Connection) -> None:
        """Wait for the greeting, or for the moment to speak."""
        if self.story.speaks_first == "server":
            await self._listen(connection)
        elif self.is_time_to_speak:
            await connection.send(LOGIN_BYTES)
            await self._listen(connection)
        else:
            self.waiting.append(connection)

    async def speak(self) -> None:
        """The clients' first word, one client after the other, and what they get for it."""
        while (wait := self.last_began + self.story.speak_after_s - self.bench.now()) > SOON_S:
            await self.bench.sleep(min(wait, self.left))
            if self.left < SOON_S:
                return
        self.is_time_to_speak = True
        self.bench.does(self.host, "waits", "have sent a query, wait for an answer", "wait for an answer")
        for connection in self.waiting:
            await connection.send(LOGIN_BYTES)
        await self.bench.together(*(self._listen(connection) for connection in self.waiting))

    async def _listen(self, connection: Connection) -> None:
        await self.bench.within(self.left, connection.receive())


# -- reading such a run ------------------------------------------------------------------------------


def client_ports(trace: Trace) -> list[int]:
    """The clients by their local port, in the order in which they began to connect."""
    ports = [p.segment.source.port for p in trace.packets if p.segment.flags & (SYN | ACK) == SYN]
    return list(dict.fromkeys(ports))


def last_began(trace: Trace) -> int:
    """When the last client began to connect."""
    began: dict[int, int] = {}
    for packet in trace.packets:
        if packet.segment.flags & (SYN | ACK) == SYN:
            began.setdefault(packet.segment.source.port, packet.t)
    return max(began.values(), default=trace.watching_since)


def counted_at(trace: Trace, speak_after_s: float) -> int:
    """The moment at which both sides are counted: after the last connect() began, or the end."""
    return min(last_began(trace) + round(speak_after_s * SECOND), trace.end)


def established(trace: Trace, t: int) -> tuple[set[int], set[int]]:
    """Clients that are established at a moment: to themselves, and to the server."""
    up = [sample for sample in trace.sockets_at(t) if sample.state == "ESTABLISHED"]
    believing = {each.local.port for each in up if each.host == "client"}
    return believing, {each.remote.port for each in up if each.host != "client"}


def _of_ghosts(ghosts: int) -> str:
    if not ghosts:
        return ", and there is no ghost"
    are = "1 connection is a ghost" if ghosts == 1 else f"{ghosts} are ghosts"
    return f": {are}, established on the client, unknown to any program on the server"


def _after(nanoseconds: int) -> str:
    if not nanoseconds:
        return "When the last connect() begins"
    return f"{in_words(round(nanoseconds / SECOND, 3))} after the last connect() began"
