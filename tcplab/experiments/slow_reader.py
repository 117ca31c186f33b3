"""A client that reads slowly: its window closes, and the server has to wait."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tcplab.bench.agreement import Scope
from tcplab.bench.script import Bench, Connection, Host, SocketOptions
from tcplab.core import knobs
from tcplab.core.knobs import DAY, ParameterError, choice, knob
from tcplab.core.segment import ACK, RST, SYN
from tcplab.core.text import duration, in_words, plural, seconds
from tcplab.core.trace import Answer, Trace
from tcplab.experiments.experiment import Experiment

PEER = choice(
    "the client",
    "alive",
    "offline",
    help="Stays up, or loses its cable half a second after the request.",
)
READ_EVERY = replace(
    knobs.PERIOD, label="a read every", help="Time between two recv() calls.", zero="without a pause"
)
STOPS = replace(knobs.PERIOD, label="stops reading after", help="After this time it calls recv() no more.")
#: How long after the request the client goes offline: the window has closed by then, no read has come yet.
OFFLINE_AFTER_S = 0.5
#: More would only make the learner wait.
MOST_READS = 5000
LONGEST_S = 30 * DAY
#: What PostgreSQL's process does meanwhile.
CLIENT_WRITE = ("ClientWrite: query active, transaction open", "ClientWrite")
#: After the window has opened again, the next read gets at least this share of the buffer: 730 bytes of 4608.
SHARE_OF_A_READ = 8
#: A read that is due just when the client stops is not made: real clocks are late.
TIE_S = 0.001


@dataclass(frozen=True, kw_only=True)
class SlowReader(Experiment):
    """A large result for a client that fetches it piece by piece."""

    name = "slow_reader"
    title = "The window: a slow reader stops the server"
    lesson = "the_window"
    controls = ("receive_buffer", "read_bytes", "read_every_s", "stops_reading_s", "user_timeout_s")
    presets = {
        "a slow report tool": {},
        "stops after 2 s": {"stops_reading_s": 2},
        "stops, and the server has a user timeout": {"stops_reading_s": 2, "user_timeout_s": 30},
        "client offline": {"peer": "offline", "retries2": 5},
    }
    pictures = ("window", "ladder")
    held_up = ("its transaction", "open: snapshot and locks stay", "over")
    quick = {"response": 100_000, "read_bytes": 32768, "stops_reading_s": 0}
    sampled = {
        # Reads that the buffer holds, and large enough to open the window each time.
        "receive_buffer": (65536,), "response": (100_000, 150_000, 200_000), "read_bytes": (24576, 32768),
        "stops_reading_s": (0, 2), "peer": ("alive", "alive", "offline"), "retries2": (2, 3),
        "user_timeout_s": (0, 0, 3), "watch_s": (8,),
    }  # fmt: skip

    receive_buffer: int = knob(knobs.RECEIVE_BUFFER, default=65536)
    response: int = knob(knobs.LONG_RESPONSE, default=200_000)
    read_bytes: int = knob(knobs.READ_BYTES, default=8192)
    read_every_s: float = knob(READ_EVERY, default=1)
    stops_reading_s: float = knob(STOPS, default=0)
    peer: str = knob(PEER, default="alive")
    retries2: int = knob(knobs.RETRIES2, default=15)
    user_timeout_s: float = knob(knobs.USER_TIMEOUT, default=0)
    watch_s: float = knob(knobs.WATCH, default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.response > self.read_bytes * MOST_READS:
            raise ParameterError(
                f"read_bytes = {self.read_bytes} is too small for a response of {self.response:,} bytes: "
                f"{-(-self.response // MOST_READS)} or more, which makes {MOST_READS:,} reads."
            )
        if self.read_every_s * self.response > self.read_bytes * LONGEST_S:
            raise ParameterError(
                f"read_every_s = {self.read_every_s:g} makes the {self.response:,} bytes take more than "
                f"30 days: {self.read_bytes * LONGEST_S / self.response:.0f} at most."
            )

    def idle_controls(self) -> dict[str, str]:
        return knobs.idle((self.peer == "offline", "stops_reading_s", "the client is offline before that."))

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        server_host.set(tcp_retries2=self.retries2)
        client, server = await client_host.open(
            server_host,
            SocketOptions(receive_buffer=self.receive_buffer),
            server_options=SocketOptions(user_timeout_s=self.user_timeout_s),
        )
        await client.exchange(server)
        await client.send(40)
        await server.receive_exactly(40)
        bench.watch_from_now()
        bench.call_program(server_host, "PostgreSQL's process")
        serving = bench.within(self.watch(), self._serve(bench, server))
        await bench.together(self._live(bench, client_host, client, server), serving)

    async def _serve(self, bench: Bench, server: Connection) -> None:
        """The session's query is active until the last of its rows is acknowledged."""
        bench.does(server.host, "waits", *CLIENT_WRITE, locks=True)
        await server.send(self.response)
        await server.settled()
        if (await server.wait_until_broken(0)).ok:
            bench.does(server.host, "idle", "has sent its rows", "done")
        elif not (await server.send(1)).ok:  # its next send() gets the error
            bench.does(server.host, "idle", "the session is over", "over")

    async def _live(self, bench: Bench, client_host: Host, client: Connection, server: Connection) -> None:
        """What becomes of the client."""
        end = bench.now() + self.watch()
        pace = f"every {in_words(self.read_every_s)}" if self.read_every_s else "at a time"
        bench.does(client_host, "reads", f"reads {self.read_bytes:,} bytes {pace}", "reads")
        if self.peer == "offline":
            await bench.sleep(OFFLINE_AFTER_S)
            client_host.unplug()
            await server.wait_until_broken(self.watch())
        else:
            await bench.within(self.watch(), self._read_slowly(bench, client, bench.now()))
            if self.stops_reading_s and bench.now() < end:
                await server.wait_until_broken(end - bench.now())

    async def _read_slowly(self, bench: Bench, client: Connection, began: float) -> None:
        got = 0
        while got < self.response:
            await bench.sleep(self.read_every_s)
            if self.stops_reading_s and bench.now() - began > self.stops_reading_s - TIE_S:
                bench.does(client.host, "idle", "no longer reads", "does not read")
                return
            result = await client.receive(self.read_bytes)
            if not result.ok or result.end_of_file:
                return
            got += result.value
        bench.does(client.host, "idle", "has all its rows", "has its rows")

    def watch(self) -> float:
        """How long the run is watched, seconds."""
        if self.watch_s:
            return self.watch_s
        if self.peer == "offline":
            return max(1800, self.user_timeout_s + 130, (self.retries2 - 6) * 125)
        if self.stops_reading_s:
            # Before Linux 5.11 only a probe checks the user timeout, up to two minutes late or more.
            return self.stops_reading_s + 120 + (self.user_timeout_s and self.user_timeout_s + 10)
        # A small buffer holds less than recv() asks for.
        at_a_time = min(self.read_bytes, self.receive_buffer / SHARE_OF_A_READ)
        return self.response / at_a_time * max(self.read_every_s, 0.05) * 2 + 60

    def outcome(self, trace: Trace) -> dict[str, Any]:
        delivered = sum(int(c.result) for c in trace.calls_of("client", "recv(") if c.result.isdigit())
        probes = trace.sent_by("server", kind="window_probe")
        broken = trace.end_of_socket("server")
        return {
            "bytes_delivered": delivered - 200,
            "stalled_s": seconds(sum(end - begin for begin, end in closed_windows(trace, "client", broken))),
            "window_probes": len(probes),
            "server_error": trace.calls_of("server", "send(")[-1].error if broken else None,
        }

    def scope(self, trace: Trace) -> Scope:
        """From the first closed window to its opening.

        Where a window closes, and how far it opens, depends on how Linux accounts for buffers; a
        piece repeated just as it closes is a race. The last word about zero counts: it sets the
        timer of the first probe.
        """
        read_all = trace.outcome["bytes_delivered"] == self.response
        outcomes = ("server_error", *(["bytes_delivered"] if read_all else []))
        closed = closed_windows(trace, "client")
        if not closed:
            return Scope(outcomes=outcomes)
        since, until = closed[0]
        probe = next((p.t for p in trace.sent_by("server", since, kind="window_probe")), since)
        return Scope(trace.last_received("server", probe), until if until < trace.end else None, outcomes)

    def answer(self, trace: Trace) -> Answer:
        """From the first closed window to the last opening; its number is all the time between, closed."""
        broken = trace.end_of_socket("server")
        closed = closed_windows(trace, "client", broken)
        if not closed:
            return Answer(trace.watching_since, trace.end, "server", "the server is never stalled", 0)
        (start, _), (_, end) = closed[0], closed[-1]
        held = sum(until - begin for begin, until in closed)
        words = f"server stalled for {duration(held)}"
        if broken:
            words += f", then {trace.outcome['server_error']}"
        return Answer(start, None if end == trace.end and not broken else end, "server", words, held)

    def sentence(self, trace: Trace) -> str:
        outcome = trace.outcome
        stalled, probes = in_words(outcome["stalled_s"]), plural(outcome["window_probes"], "window probe")
        if not outcome["stalled_s"]:
            return "The client reads fast enough: its window never closes, and the server never has to wait."
        waits = (
            f"The client's buffer fills and it advertises a zero window. For {stalled} in all the server "
            f"may send only probes ({probes}); its session is active and its transaction open"
        )
        if outcome["server_error"]:
            gives_up = "Then the server's kernel gives up: Connection timed out (ETIMEDOUT)."
            reset = next((c for c in trace.calls_of("client", "recv(") if c.result == "ECONNRESET"), None)
            then = " The client, which reads on, gets ECONNRESET." if reset else ""
            return f"{waits}. {gives_up}{then}"
        done = f"The client has read {outcome['bytes_delivered']:,} of {self.response:,} bytes"
        return f"{waits}. {done}; no call fails on either side."


def closed_windows(trace: Trace, receiver: str, until: Any = None) -> list[tuple[int, int]]:
    """Intervals in which `receiver`'s window was closed as its peer knew it, (from, to) each."""
    intervals: list[tuple[int, int]] = []
    begin: int | None = None
    end = until.t if until else trace.end
    for packet in trace.packets:
        is_window = packet.segment.flags & (SYN | RST | ACK) == ACK
        if packet.sender != receiver or packet.arrives is None or not is_window:
            continue
        if packet.segment.window == 0 and begin is None:
            begin = packet.arrives
        elif packet.segment.window and begin is not None:
            intervals.append((begin, min(packet.arrives, end)))
            begin = None
    return [*intervals, (begin, end)] if begin is not None else intervals
