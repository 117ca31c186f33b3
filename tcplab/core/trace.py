"""What one run leaves behind, whether it is of the model, of Linux or a capture.

Everything that draws, compares, explains or checks takes a `Trace`. Times are integer
nanoseconds on the run's own clock; seconds appear only in `Trace.to_json()`, counted from
the first segment.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

from tcplab.core.segment import ACK, RST, SYN, Endpoint, Segment
from tcplab.core.text import SECOND


@dataclass(slots=True)
class Packet:
    """One segment as it crossed the wire from one host to another."""

    #: When it was sent, nanoseconds.
    t: int
    #: Hosts by name.
    sender: str
    receiver: str
    segment: Segment
    #: When it arrived; None if it is still in flight or was lost.
    arrives: int | None = None
    #: `delivered`, `lost`, or `dropped_by:NAME` (a middlebox or a firewall rule).
    fate: str = "delivered"
    #: What the receiver did with a RST: `accepted`, `challenged`, `ignored`; else empty.
    verdict: str = ""
    #: What kind of segment it is where flags don't tell: `keepalive`, `window_probe`,
    #: `retransmission`, `tail_loss_probe`, `challenge_ack`, `forged`; else empty.
    kind: str = ""


class Call(NamedTuple):
    """A call of an application and its result."""

    #: When the call returned, and when it was made (they differ where it blocked).
    t: int
    began: int
    host: str
    #: In words: ``connect(10.0.0.2:5432)``, ``send(40)``, ``recv()``, ``close()``.
    call: str
    #: ``ok``, a number of bytes, ``end of file`` or an errno name.
    result: str
    #: The local port of the socket, 0 where there is none yet.
    port: int = 0

    @property
    def error(self) -> str | None:
        """The errno name that the call gave, or None."""
        return self.result if self.result.isupper() and self.result.startswith("E") else None


class SocketSample(NamedTuple):
    """One line of `ss -tno` from `t` on, until the next sample of the same socket."""

    t: int
    host: str
    local: Endpoint
    remote: Endpoint
    #: State by its RFC 9293 name with underscores: `ESTABLISHED`, `FIN_WAIT_2`, `CLOSED` …
    state: str
    #: Bytes received but not read; bytes sent but not acknowledged (or not sent yet).
    recv_q: int = 0
    send_q: int = 0
    #: The running timer by its name in ss: `on` (retransmission), `keepalive`, `persist`,
    #: `timewait`; empty when none runs.
    timer: str = ""
    #: When that timer is due, nanoseconds.
    due: int | None = None
    #: Retransmissions or probes sent so far without an answer.
    unanswered: int = 0


class CounterSample(NamedTuple):
    """A counter of `nstat` on one host: its value from `t` on."""

    t: int
    host: str
    name: str
    value: int


class Note(NamedTuple):
    """A text of the script or of a middlebox for an instant of the picture."""

    t: int
    #: The host or middlebox where it happened; empty for the path between.
    host: str
    text: str


class Activity(NamedTuple):
    """What a program does from `t` on, until its next activity: what no call and no segment shows."""

    t: int
    host: str
    #: `idle`, `works`, `waits` (in a call) or `reads`.
    kind: str
    #: The same thing in one to three wordings, the longest first: a picture takes the one that fits.
    words: tuple[str, ...]
    #: Whether it holds locks meanwhile.
    locks: bool = False


class Deadline(NamedTuple):
    """A limit that no timer in ss shows, set at `t`; the next one of that name on that host replaces it."""

    t: int
    host: str
    #: `user timeout`, `data timer` (a proxy's), `connection check` (PostgreSQL looks at its socket).
    name: str
    #: When it is over, nanoseconds; `t` itself: from then on there is none.
    due: int


class Break(NamedTuple):
    """Something that ends or cuts a path, a host or a connection: what an answer counts from."""

    t: int
    #: The host or middlebox where it happens.
    host: str
    #: `unplugged`, `plugged`, `rebooted`, `moved`, `killed`, `closed`, `forgot`, `firewall rule` or `forged`.
    kind: str
    words: str


#: How a note or a call begins that breaks something; the kind and the words of its `Break`.
_BREAKS = (
    ("unplugged", "unplugged", "{host}: cable out"),
    ("plugged in again", "plugged", "{host}: cable in again"),
    ("rebooted", "rebooted", "{host} reboots"),
    ("takes over address", "moved", "{host}'s address moves"),
    ("killed (SIGKILL)", "killed", "{host}: kill -9"),
    ("listener killed (SIGKILL)", "killed", "{host}: kill -9 of the listener"),
    ("removes the ", "forgot", "the {host}'s entry expires"),
    ("firewall rule: DROP", "firewall rule", "{host}'s firewall drops"),
    ("firewall rule: REJECT", "firewall rule", "{host}'s firewall rejects"),
)
#: The first of these is the break where nothing else breaks.
_CLOSES = (
    ("close() with SO_LINGER 0", "closed", "{host} closes with a RST"),
    ("close()", "closed", "{host} closes"),
    ("shutdown(SHUT_WR)", "closed", "{host} shuts down its sending side"),
)


class Answer(NamedTuple):
    """What an experiment is about, as an interval: from the break to the moment of truth."""

    start: int
    #: None: still so when the run ends.
    end: int | None
    #: Who gets to know, or waits.
    host: str
    #: ``ETIMEDOUT after 2 min 30 s``.
    words: str
    #: The answer's own number, nanoseconds, where it is not `end - start`.
    measure: int | None = None


class Ticks(NamedTuple):
    """The timer tick of the kernel that ran: its jiffies at one instant, from which all others follow."""

    hz: int
    #: The time of one tick, nanoseconds, and the counter from then on.
    t: int
    jiffies: int

    def since(self, zero: int) -> Ticks:
        """The same ticks on a clock that begins at `zero`."""
        return self._replace(t=self.t - zero)


class Relative(NamedTuple):
    """Sequence numbers counted from the start of the connection, as Wireshark shows them."""

    seq: int
    #: 0 where the segment has no ACK flag.
    ack: int


@dataclass
class Trace:
    """One run: segments, calls, sockets, counters and notes, in order of time."""

    #: Name of the experiment, or of the capture's file.
    experiment: str
    #: `model`, `linux`, `linux:6.1` (that kernel, in virtual time) or `capture`.
    bench: str
    #: The Linux version whose rules applied (model) or that ran it; empty when unknown.
    linux: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    #: Hosts in the order of a picture, left to right, with their addresses. A middlebox is among them
    #: without an address; its entry for a connection is a `SocketSample` with timer `idle` or `close`,
    #: until it forgets it (`CLOSED`).
    hosts: dict[str, str] = field(default_factory=dict)
    packets: list[Packet] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    sockets: list[SocketSample] = field(default_factory=list)
    #: Whether `sockets` are inferred from the packets, because only these were captured.
    inferred: bool = False
    counters: list[CounterSample] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    #: What programs do between and inside their calls, and what a host's program is called where it is not
    #: just "server's program".
    activities: list[Activity] = field(default_factory=list)
    programs: dict[str, str] = field(default_factory=dict)
    #: Calls that never returned: `t` is when the run ended, the result is empty.
    pending: list[Call] = field(default_factory=list)
    deadlines: list[Deadline] = field(default_factory=list)
    #: TCP_USER_TIMEOUT of the sockets that have one, nanoseconds, by host and both ends.
    user_timeouts: dict[tuple[str, Endpoint, Endpoint], int] = field(default_factory=dict)
    #: The experiment's named results; empty for a capture.
    outcome: Mapping[str, Any] = field(default_factory=dict)
    #: Named curves of a fleet study; empty where there are segments.
    series: Mapping[str, Any] = field(default_factory=dict)
    #: When the run ended, nanoseconds; and from when on the script watched what it had set up.
    end: int = 0
    watched_from: int | None = None
    #: What limits the picture (clamped values, knobs that this Linux lacks, a capture cut short).
    warnings: list[str] = field(default_factory=list)
    #: Zero of the trace's clock in CLOCK_MONOTONIC, nanoseconds; 0 where the trace has none.
    began: int = 0
    #: The kernel's timer tick, where it is known.
    ticks: Ticks | None = None

    @property
    def is_virtual(self) -> bool:
        """Whether a kernel ran in virtual time, in which a busy machine makes nothing late."""
        return self.bench.startswith("linux:")

    @property
    def start(self) -> int:
        """Zero of the trace's clock: the first segment, or the first call without one."""
        if self.packets:
            return self.packets[0].t
        return self.calls[0].began if self.calls else 0

    def seconds(self, t: int) -> float:
        """An instant as seconds since the first segment."""
        return (t - self.start) / SECOND

    @property
    def watching_since(self) -> int:
        """When the script began to watch; the start of the trace if it never said so."""
        return self.start if self.watched_from is None else self.watched_from

    def sent_by(self, host: str, since: int = -1, *, kind: str | None = None) -> list[Packet]:
        """Segments a host sent from a moment on, perhaps only those of one kind."""
        sent = [packet for packet in self.packets if packet.sender == host and packet.t >= since]
        return sent if kind is None else [packet for packet in sent if packet.kind == kind]

    def last_received(self, host: str, before: int) -> int:
        """When the last segment before a moment reached a host; that moment if none did."""
        received = (p.arrives for p in self.packets if p.receiver == host and p.arrives)
        return max((arrived for arrived in received if arrived <= before), default=before)

    def calls_of(self, host: str, prefix: str | tuple[str, ...], since: int = -1) -> list[Call]:
        """Calls of one host whose text begins with `prefix`, returned at or after a moment."""
        return [c for c in self.calls if c.host == host and c.call.startswith(prefix) and c.t >= since]

    def end_of_socket(self, host: str) -> SocketSample | None:
        """When a host's first connection was gone, or None while it still stands."""
        return next((s for s in self.sockets if s.host == host and s.state == "CLOSED"), None)

    def breaks(self) -> list[Break]:
        """What broke, in order of time; without anything else, the first close() that was watched.

        Read from notes, calls and forged segments, so that a recording tells it as well.
        """
        happened = [(note.t, note.host, note.text) for note in self.notes]
        happened += [(call.t, call.host, call.call) for call in self.calls]
        found = [broken for each in happened if (broken := self._break(*each, _BREAKS))]
        found += [
            Break(p.t, p.receiver, "forged", "a forged RST" if p.segment.flags & RST else "a late segment")
            for p in self.packets
            if p.kind == "forged"
            and self.hosts.get(p.sender)  # what a middlebox sends follows its forgetting
        ]
        if not found:
            calls = (c for c in self.calls if c.t >= self.watching_since)
            closes = (broken for c in calls if (broken := self._break(c.t, c.host, c.call, _CLOSES)))
            found = [first] if (first := next(closes, None)) else []
        return sorted(found)

    def _break(self, t: int, host: str, text: str, table: tuple[tuple[str, str, str], ...]) -> Break | None:
        found = next(((kind, words) for begins, kind, words in table if text.startswith(begins)), None)
        if found is None:
            return None
        kind, words = found
        if kind == "moved":  # it is the old owner that can't be reached any more
            host = next((name for name, address in self.hosts.items() if text.endswith(f" {address}")), host)
        return Break(t, host, kind, words.format(host=host))

    def relative(self) -> list[Relative]:
        """Relative numbers of every packet, in their order.

        Counted as Wireshark does: from the SYN; without one, the first byte seen is 1. A new
        SYN on the same four-tuple starts a new count.
        """
        base: dict[tuple[Endpoint, Endpoint], int] = {}
        out = []
        for packet in self.packets:
            segment = packet.segment
            forward = (segment.source, segment.destination)
            backward = (segment.destination, segment.source)
            if segment.flags & SYN and base.get(forward) != segment.seq:
                base[forward] = segment.seq
                if not segment.flags & ACK:
                    base.pop(backward, None)
            base.setdefault(forward, (segment.seq - 1) & 0xFFFFFFFF)
            ack = 0
            if segment.flags & ACK:
                base.setdefault(backward, (segment.ack - 1) & 0xFFFFFFFF)
                ack = (segment.ack - base[backward]) & 0xFFFFFFFF
            out.append(Relative((segment.seq - base[forward]) & 0xFFFFFFFF, ack))
        return out

    def sockets_at(self, t: int) -> list[SocketSample]:
        """The sockets that exist at `t`, the last sample of each, in order of appearance."""
        latest: dict[tuple[str, Endpoint, Endpoint], SocketSample] = {}
        for sample in self.sockets[: bisect_right(self.sockets, t, key=attrgetter("t"))]:
            latest[sample.host, sample.local, sample.remote] = sample
        return [sample for sample in latest.values() if sample.state != "CLOSED"]

    def counters_at(self, t: int) -> dict[str, dict[str, int]]:
        """Counters by host and name at `t`; those never counted up are absent."""
        values: dict[str, dict[str, int]] = {}
        for sample in self.counters[: bisect_right(self.counters, t, key=attrgetter("t"))]:
            values.setdefault(sample.host, {})[sample.name] = sample.value
        return values

    def socket_history(self) -> Iterator[tuple[tuple[str, Endpoint, Endpoint], list[SocketSample]]]:
        """Every socket with its samples in order: what the states picture draws."""
        history: dict[tuple[str, Endpoint, Endpoint], list[SocketSample]] = {}
        for sample in self.sockets:
            history.setdefault((sample.host, sample.local, sample.remote), []).append(sample)
        yield from history.items()

    def to_json(self) -> dict[str, Any]:
        """The object that `tcplab run --json` prints."""
        segments = zip(self.packets, self.relative(), strict=True)
        return {
            "experiment": self.experiment, "bench": self.bench, "linux": self.linux,
            "parameters": dict(self.parameters), "outcome": dict(self.outcome),
            "events": [
                {"t": self.seconds(call.t), "host": call.host, "call": call.call, "result": call.result}
                for call in self.calls
            ],
            "segments": [
                {
                    "t": self.seconds(p.t), "arrives": None if p.arrives is None else self.seconds(p.arrives),
                    "fate": p.fate, "from": p.sender, "to": p.receiver, "flags": p.segment.letters,
                    "seq": relative.seq, "ack": relative.ack, "length": p.segment.length,
                    "window": p.segment.window,
                }
                for p, relative in segments
            ],
            "series": dict(self.series), "warnings": list(self.warnings),
        }  # fmt: skip
