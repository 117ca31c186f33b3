"""The model and Linux compared, segment by segment, by meaning.

The rule: per direction, every segment with SYN, FIN, RST or payload, every keepalive and window
probe, and every ACK that answers one of those or something unacceptable is compared one by one;
payload as a range of bytes, whatever its cut. Other pure ACKs count only by their effect. What the
applications' calls gave is equal. Times: real timers fire late, never early. Opposite directions
are not ordered against each other, so that a race of a few milliseconds is no difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from math import ceil
from typing import Any, Protocol, Self

from tcplab.bench import run
from tcplab.bench.script import Story, StudyScript
from tcplab.core.connections import number_connections
from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, flag_letters
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Call, Packet, Relative, Trace

# ----------------------------------------------------------------------
# A trace read for comparison: what of it counts, one thing after the other, in words.
#
# The rule stands in `agreement.py`, which compares two of these; a picture of both uses it too.

#: An ACK sent this soon after something came in is its answer.
AT_ONCE = 5 * MILLISECOND

_PROBES = ("keepalive", "window_probe")


@dataclass(frozen=True)
class Scope:
    """What of a run is compared; all of it unless an experiment knows better."""

    #: Segments and calls from here on count, their times from here; None = from the first segment.
    since: int | None = None
    #: And before this, nanoseconds.
    until: int | None = None
    #: Names of the outcomes that are compared; None = all.
    outcomes: tuple[str, ...] | None = None


WHOLE = Scope()


@dataclass(frozen=True)
class Event:
    """One thing to be compared: what it is, when it was sent, in which packets of its trace."""

    t: float
    says: str
    packets: tuple[int, ...] = ()


class ScopedRun:
    """One trace, read for comparison within its scope."""

    def __init__(self, trace: Trace, scope: Scope) -> None:
        self.trace, self.scope = trace, scope
        self.since = trace.start if scope.since is None else scope.since
        self.until = trace.end + 1 if scope.until is None else scope.until
        self.begins = scope.since is not None
        #: Every packet's connection, counted from 0 by their first segments.
        self.connection = number_connections(packet.segment for packet in trace.packets)
        self.numbers = self._numbers()

    def _numbers(self) -> list[Relative]:
        """Relative numbers; in a scope that begins later, counted from what was sent before it."""
        relative = self.trace.relative()
        if not self.begins:
            return relative
        sent: dict[tuple[int, str], int] = {}
        out = []
        for packet, number, n in zip(self.trace.packets, relative, self.connection, strict=True):
            ours, theirs = (n, packet.sender), (n, packet.receiver)
            if packet.t < self.since and packet.segment.length:
                sent[ours] = max(sent.get(ours, 0), number.seq + packet.segment.length)
            out.append((number, ours, theirs))
        return [
            Relative(number.seq - sent.get(ours, 0), number.ack - sent.get(theirs, 0))
            for number, ours, theirs in out
        ]

    def seconds(self, t: int) -> float:
        """A moment within the scope."""
        return max(0, t - self.since) / SECOND

    def within(self, t: int) -> bool:
        """What happened before the first segment (listen()) counts where all counts."""
        return t < self.until and (t >= self.since or not self.begins)

    def calls(self, host: str) -> dict[str, list[Event]]:
        """What a host's programs called, in order of return, by connection.

        A call on the side that was connected to doesn't tell its connection, only the listener's
        port. Where there are several, such calls are kept apart by what was called: which of two
        programs gets its turn first is chance, when each of them is served is not.
        """
        opened: dict[int, list[tuple[int, int]]] = {}
        accepted = set()
        for n, (t, opener, port) in enumerate(self._begun()):
            if opener == host:
                opened.setdefault(port, []).append((t, n))
            else:
                accepted.add(n)
        found: dict[str, list[Event]] = {}
        for call in self.trace.calls:
            if call.host != host or not self.within(call.t):
                continue
            verb = call.call.partition("(")[0]
            mine = _connection_of(verb, call, opened.get(call.port, []))
            where = f"{verb}()" if len(accepted) > 1 and mine is None else ""
            if mine is not None and max(self.connection) > 0:
                where = f"connection {mine + 1}"
            event = Event(self.trace.seconds(call.t), f"{call.call} -> {call.result}")
            found.setdefault(where, []).append(event)
        return found

    def bursts(self) -> list[list[int]]:
        """Connections that begin at once, together."""
        found: list[list[int]] = []
        last = 0
        for n, (t, _, _) in enumerate(self._begun()):
            if not found or t - last > AT_ONCE:
                found.append([])
            found[-1].append(n)
            last = t
        return found

    def _begun(self) -> list[tuple[int, str, int]]:
        """Every connection's first segment: when, from which host and port."""
        begun: dict[int, tuple[int, str, int]] = {}
        for packet, n in zip(self.trace.packets, self.connection, strict=True):
            begun.setdefault(n, (packet.t, packet.sender, packet.segment.source.port))
        return [begun[n] for n in sorted(begun)]

    def segments(self, sender: str, receiver: str) -> dict[int, list[Event]]:
        """What is compared of one direction, by connection; payload without a gap is one range of bytes."""
        ways: dict[int, list[int]] = {}
        for i, (packet, n) in enumerate(zip(self.trace.packets, self.connection, strict=True)):
            if packet.sender == sender and packet.receiver == receiver:
                ways.setdefault(n, []).append(i)
        found = {n: list(self._events(indices)) for n, indices in ways.items()}
        return {n: events for n, events in found.items() if events}

    def _events(self, indices: list[int]) -> Iterator[Event]:
        """One direction of one connection: the packets at these places of the trace."""
        last_ack: int | None = None
        payload: _Payload | None = None
        for i in indices:
            packet, relative = self.trace.packets[i], self.numbers[i]
            segment, flags = packet.segment, packet.segment.flags & ~PSH
            repeats = flags == ACK and last_ack == relative.ack
            last_ack = relative.ack if flags & ACK else last_ack
            if not self.within(packet.t):
                continue
            t = self.seconds(packet.t)
            is_new_data = bool(segment.length) and not packet.kind and not flags & (SYN | FIN | RST)
            if is_new_data:
                end = relative.seq + segment.length
                if payload is not None and payload.end == relative.seq:
                    payload = replace(payload, end=end, packets=(*payload.packets, i))
                    continue
                if payload is not None:
                    yield payload.event()
                payload = _Payload(t, relative.seq, end, (i,))
                continue
            said = self._in_words(packet, relative, flags, repeats)
            if said is not None:
                if payload is not None:
                    yield payload.event()
                    payload = None
                yield Event(t, said, (i,))
        if payload is not None:
            yield payload.event()

    def _in_words(self, packet: Packet, relative: Relative, flags: int, repeats: bool) -> str | None:
        """A segment other than new payload; None where only its effect counts."""
        segment = packet.segment
        if packet.kind in _PROBES:
            return f"{packet.kind.replace('_', ' ')} seq {relative.seq}"
        if segment.length or flags & (SYN | FIN | RST):
            ack = f" ack {relative.ack}" if flags & ACK else ""
            length = f" len {segment.length}" if segment.length else ""
            again = " again" if packet.kind == "retransmission" else ""
            return f"{flag_letters(flags)} seq {relative.seq}{ack}{length}{again}"
        if repeats and self._answers(packet):
            return f"ACK {relative.ack} again" + ("" if segment.window else ", window zero")
        return None

    def _answers(self, ack: Packet) -> bool:
        """Was this ACK, which acknowledges nothing new, sent because something had come in?

        A window update says nothing new either; it follows a call of the application instead.
        """
        return any(
            other.receiver == ack.sender
            and other.arrives is not None
            and 0 <= ack.t - other.arrives <= AT_ONCE
            for other in self.trace.packets
        )

    def last_acks(self, sender: str, receiver: str) -> dict[int, int]:
        """The last thing acknowledged in one direction, by connection."""
        said = {}
        for packet, relative, n in zip(self.trace.packets, self.numbers, self.connection, strict=True):
            sent = packet.sender == sender and packet.receiver == receiver
            if sent and packet.segment.flags & ACK and packet.t < self.until:
                said[n] = relative.ack
        return said


def _connection_of(verb: str, call: Call, begun: list[tuple[int, int]]) -> int | None:
    """Which of the connections from its port, (begun, number) in order, a call belongs to; None: to none.

    A connect() that failed before its SYN has none, nor has a bind() that no connection came of.
    """
    if verb == "bind":
        return next((n for t, n in begun if t >= call.began), None)
    since = call.began if verb == "connect" else 0
    return next((n for t, n in reversed(begun) if since <= t <= call.t), None)


@dataclass(frozen=True)
class _Payload:
    """A range of bytes, however it was cut into segments."""

    t: float
    begin: int
    end: int
    packets: tuple[int, ...]

    def event(self) -> Event:
        return Event(self.t, f"bytes {self.begin} to {self.end}", self.packets)


#: A real time may lie this much before the model's, and after it: seconds, and a share.
EARLY_S = 0.030
LATE_S = 0.3
LATE_SHARE = 0.08
#: No ACK may be delayed longer (TCP_DELACK_MAX), with the lateness of a real timer.
LONGEST_DELAYED_ACK = 200 * MILLISECOND


@dataclass(frozen=True)
class Difference:
    """One thing in which the two witnesses differ."""

    #: What is compared: `outcome`, `calls of client`, `client to server` …
    where: str
    #: Both sides in words; None where one has nothing more.
    model: str | None
    linux: str | None

    def __str__(self) -> str:
        return f"{self.where}: the model says {self.model or 'nothing'}, Linux {self.linux or 'nothing'}"


@dataclass(frozen=True)
class Agreement:
    """The two witnesses of one set of parameters."""

    experiment: str
    parameters: Mapping[str, Any]
    differences: tuple[Difference, ...]
    #: The Linux version that ran.
    linux: str = ""
    #: How much was compared one by one: what was on the wire, and the programs' calls.
    segments: int = 0
    calls: int = 0
    #: How far the latest of it lies behind the model's time, seconds.
    behind_s: float = 0.0

    @property
    def agrees(self) -> bool:
        """True when nothing differs."""
        return not self.differences

    @property
    def sentence(self) -> str:
        """The agreement for a reader: how much was compared, or what differs first."""
        if self.agrees and not self.segments:
            return f"Linux {self.linux} does what the model says: the results of both are the same."
        if self.agrees:
            calls = f" and {self.calls} call{'s' * (self.calls > 1)}" if self.calls else ""
            late = ceil(self.behind_s * 100) / 100
            when = "at the model's times" if late <= 0.01 else f"none more than {late:g} s later"
            return (
                f"Linux {self.linux} does what the model says: {self.segments} segments{calls} were compared "
                f"one by one and are the same, {when}."
            )
        first, more = self.differences[0], len(self.differences) - 1
        others = f" ({more} more)" if more else ""
        return f"Linux {self.linux} and the model differ{others}. {str(first)[0].upper()}{str(first)[1:]}."

    def to_json(self) -> dict[str, Any]:
        """One run in `tcplab agree --json`."""
        return {
            "experiment": self.experiment,
            "parameters": dict(self.parameters),
            "agrees": self.agrees,
            "differences": [str(difference) for difference in self.differences],
        }


class Compared(Story, Protocol):
    """What a comparison needs of an experiment."""

    def matched_to(self, linux: Trace) -> Self: ...
    def scope(self, trace: Trace) -> Scope: ...


def scope_of(experiment: Compared | StudyScript, trace: Trace) -> Scope:
    """What of a run is compared; of a study those results that it names."""
    if isinstance(experiment, StudyScript):
        return Scope(outcomes=experiment.compared())
    return experiment.scope(trace)


def judge(experiment: Compared | StudyScript, linux: Trace) -> tuple[Agreement, ScopedRun, ScopedRun]:
    """A run on Linux against the model at Linux's own parameters: the agreement, and both as read."""
    matched = experiment.matched_to(linux)
    model = run(matched)
    ours, theirs = (ScopedRun(trace, scope_of(matched, trace)) for trace in (model, linux))
    align(ours, theirs)
    pairs = list(_pairs(ours, theirs))
    calls = sum(len(events) for host in model.hosts for events in theirs.calls(host).values())
    behind = (b.t - a.t for _, model_s, linux_s in pairs for a, b in zip(model_s, linux_s, strict=False))
    agreement = Agreement(
        str(experiment.name),
        experiment.values(),
        tuple(_differences(ours, theirs)),
        linux.linux,
        segments=sum(len(linux_s) for _, _, linux_s in pairs),
        calls=calls,
        behind_s=max(behind, default=0.0),
    )
    return agreement, ours, theirs


def in_time(model_s: float, linux_s: float) -> bool:
    """A real moment that fits the model's: at most 8 % + 0.3 s later, 30 ms earlier."""
    return model_s - EARLY_S <= linux_s <= model_s + model_s * LATE_SHARE + LATE_S


def compare(model: Trace, linux: Trace, scopes: tuple[Scope, Scope] = (WHOLE, WHOLE)) -> list[Difference]:
    """Everything in which two runs of one experiment differ; empty when they agree."""
    ours, theirs = ScopedRun(model, scopes[0]), ScopedRun(linux, scopes[1])
    align(ours, theirs)
    return _differences(ours, theirs)


def align(ours: ScopedRun, theirs: ScopedRun) -> None:
    """Number Linux's connections so that each has the same number as one of the model's that is like it.

    Which of several that begin at once gets a place in a queue, or the processor first, is chance;
    what they get together is not. So those are compared as a set.
    """
    bursts = [witness.bursts() for witness in (ours, theirs)]
    if list(map(len, bursts[0])) != list(map(len, bursts[1])):
        return
    ways = list(permutations(ours.trace.hosts, 2))
    sent = [[witness.segments(*way) for way in ways] for witness in (ours, theirs)]
    numbers: dict[int, int] = {}
    for mine, its in zip(*bursts, strict=True):
        left, rest = list(its), []
        for n in mine:
            like = (m for m in left if _alike(sent, n, m))
            m = next(like, None)
            if m is None:
                rest.append(n)
            else:
                left.remove(m)
                numbers[m] = n
        numbers.update(zip(left, rest, strict=True))
    theirs.connection = [numbers[m] for m in theirs.connection]


def _alike(sent: list[list[dict[int, list[Event]]]], n: int, m: int) -> bool:
    """True when the model's connection `n` and Linux's `m` have nothing that differs."""
    return not any(
        difference
        for a, b in zip(*sent, strict=True)
        for difference in _compare_sequences("", a.get(n, []), b.get(m, []))
    )


def _differences(ours: ScopedRun, theirs: ScopedRun) -> list[Difference]:
    model, linux = ours.trace, theirs.trace
    found = list(_compare_outcomes(model.outcome, linux.outcome, ours.scope.outcomes))
    for host in model.hosts:
        called = [witness.calls(host) for witness in (ours, theirs)]
        for which in dict.fromkeys([*called[0], *called[1]]):
            where = f"calls of {host}" + (f", {which}" if which else "")
            found += _compare_sequences(where, *(calls.get(which, []) for calls in called))
    for where, model_s, linux_s in _pairs(ours, theirs):
        found += _compare_sequences(where, model_s, linux_s)
    for way in permutations(model.hosts, 2):
        acks = [witness.last_acks(*way) for witness in (ours, theirs)]
        for n in sorted({*acks[0], *acks[1]}):
            said = [str(each.get(n)) for each in acks]
            if said[0] != said[1]:
                found.append(Difference(f"{_way(ours, way, n)}, last ACK", *said))
    return [*found, *_late_acks(theirs)]


def _pairs(ours: ScopedRun, theirs: ScopedRun) -> Iterator[tuple[str, list[Event], list[Event]]]:
    """Every direction of every connection: its name, and what each of the two sent there."""
    for way in permutations(ours.trace.hosts, 2):
        sent = [witness.segments(*way) for witness in (ours, theirs)]
        for n in sorted({*sent[0], *sent[1]}):
            yield _way(ours, way, n), sent[0].get(n, []), sent[1].get(n, [])


def _way(ours: ScopedRun, way: tuple[str, str], n: int) -> str:
    """`client to server`; with the number of the connection where there are several."""
    only = max(ours.connection, default=0) == 0
    return f"{way[0]} to {way[1]}" + ("" if only else f", connection {n + 1}")


def _compare_outcomes(
    model: Mapping[str, Any], linux: Mapping[str, Any], names: tuple[str, ...] | None
) -> Iterator[Difference]:
    for name, ours in model.items():
        theirs = linux.get(name)
        if (names is None or name in names) and not _same_value(name, ours, theirs):
            yield Difference(f"outcome {name}", str(ours), str(theirs))


def _same_value(name: str, ours: Any, theirs: Any) -> bool:
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_same_value, [name] * len(ours), ours, theirs))
    if name.endswith("_s") and ours is not None and theirs is not None:
        return in_time(ours, theirs)
    return bool(ours == theirs)


def _compare_sequences(where: str, model: list[Event], linux: list[Event]) -> Iterator[Difference]:
    """The first difference of two sequences: what follows it would differ for that reason alone."""
    for ours, theirs in zip(model, linux, strict=False):
        if ours.says != theirs.says:
            yield Difference(where, _at(ours), _at(theirs))
            return
        if not in_time(ours.t, theirs.t):
            yield Difference(f"{where}, time", _at(ours), _at(theirs))
            return
    if len(model) != len(linux):
        longer = model if len(model) > len(linux) else linux
        extra = _at(longer[min(len(model), len(linux))])
        yield Difference(where, extra if longer is model else None, None if longer is model else extra)


def _at(event: Event) -> str:
    return f"{event.says} at {event.t:.3f} s"


def _late_acks(theirs: ScopedRun) -> Iterator[Difference]:
    """No pure ACK of Linux may come later than a delayed ACK can."""
    waiting: dict[tuple[str, int], int] = {}
    arrivals = sorted(
        (packet.arrives, packet.receiver, n)
        for packet, n in zip(theirs.trace.packets, theirs.connection, strict=True)
        if packet.arrives is not None and packet.segment.length and packet.fate == "delivered"
    )
    for packet, n in zip(theirs.trace.packets, theirs.connection, strict=True):
        while arrivals and arrivals[0][0] <= packet.t:
            arrived, host, number = arrivals.pop(0)
            waiting.setdefault((host, number), arrived)
        if packet.segment.flags & ACK:
            waited = packet.t - waiting.pop((packet.sender, n), packet.t)
            # Who still sends SYN-ACKs has no connection that could have taken the data.
            is_late = waited > LONGEST_DELAYED_ACK * (1 + LATE_SHARE) + LATE_S * 1e9
            if is_late and not packet.segment.flags & SYN:
                yield Difference(f"ACK of {packet.sender}", "within 200 ms", f"after {waited / 1e6:.0f} ms")
