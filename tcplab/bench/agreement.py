"""The model and Linux compared, segment by segment, by meaning.

The rule: per direction, every segment with SYN, FIN, RST or payload, every keepalive and window
probe, and every ACK that answers one of those or something unacceptable is compared one by one;
payload as a range of bytes, however it was cut into segments. Other pure ACKs count only by their
effect. The applications' calls have equal results. Times: real timers fire late, never early.
Opposite directions have no order, so a race of a few milliseconds is no difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import pairwise, permutations
from math import ceil
from typing import Any, Protocol, Self

from tcplab.bench import run
from tcplab.bench.script import Story, StudyScript
from tcplab.core.connections import number_connections
from tcplab.core.segment import ACK, FIN, PSH, RST, SYN
from tcplab.core.text import MILLISECOND, SECOND, duration, plural
from tcplab.core.trace import Call, Packet, Relative, Trace

#: An ACK sent this soon after something came in is its answer.
AT_ONCE = 5 * MILLISECOND

#: A program that calls recv() again this soon reads as fast as it can.
READS_ON = 50 * MILLISECOND

_PROBES = ("keepalive", "window_probe")
_BY_TIMERS = (*_PROBES, "retransmission", "tail_loss_probe")
_NAMES = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (ACK, "ACK"))


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
    """One thing to be compared: when it was sent, seconds, and what it is."""

    t: float
    says: str
    #: Whether only a timer sends it, and neither a program nor a received segment triggers it.
    by_timer: bool = False
    #: When the last of the segments was sent that it is made of, seconds; None: there is only one.
    ended: float | None = None

    @property
    def last(self) -> float:
        """When its last segment was sent, seconds."""
        return self.t if self.ended is None else self.ended


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
        for packet, number, n in zip(self.trace.packets, relative, self.connection, strict=True):
            if packet.t < self.since and packet.segment.length:
                ours = (n, packet.sender)
                sent[ours] = max(sent.get(ours, 0), number.seq + packet.segment.length)
        return [
            Relative(
                number.seq - sent.get((n, packet.sender), 0), number.ack - sent.get((n, packet.receiver), 0)
            )
            for packet, number, n in zip(self.trace.packets, relative, self.connection, strict=True)
        ]

    def seconds(self, t: int) -> float:
        """A time within the scope."""
        return max(0, t - self.since) / SECOND

    def within(self, t: int) -> bool:
        """Whether a time counts; without a beginning, what is before the first segment (listen()) does."""
        return t < self.until and (t >= self.since or not self.begins)

    def calls(self, host: str) -> dict[str, list[Event]]:
        """What a host's programs called, in order of return, by connection.

        A call on the accepting side names only the listener's port, not its connection. Where there are
        several, such calls are kept apart by what was called: which of two programs gets its turn first
        is chance, when each of them is served is not. Data that is read without a pause counts as one read.
        """
        opened: dict[int, list[tuple[int, int]]] = {}
        accepted = set()
        for n, (t, opener, port) in enumerate(self._begun()):
            if opener == host:
                opened.setdefault(port, []).append((t, n))
            else:
                accepted.add(n)
        calls: dict[str, list[Event]] = {}
        #: For each socket the last recv() that returned bytes, when it returned, and the bytes so far.
        reading: dict[tuple[str, int], tuple[Event | None, int, int]] = {}
        for call in self.trace.calls:
            if call.host != host or not self.within(call.t):
                continue
            verb = call.call.partition("(")[0]
            mine = _connection_of(verb, call, opened.get(call.port, []))
            where = f"{verb}()" if len(accepted) > 1 and mine is None else ""
            if mine is not None and max(self.connection) > 0:
                where = f"connection {mine + 1}"
            event = Event(self.trace.seconds(call.t), f"{call.call} -> {call.result}")
            calls.setdefault(where, []).append(event)
            read = int(call.result) if call.call == "recv()" and call.result.isdecimal() else None
            before, ended, already = reading.get((where, call.port), (None, 0, 0))
            if read and before is calls[where][-2:][0] and call.began - ended <= READS_ON:
                read += already
                event = Event(before.t, f"recv() -> {read}")
                calls[where][-2:] = [event]
            reading[where, call.port] = (event if read else None, call.t, read or 0)
        return calls

    def bursts(self) -> list[list[int]]:
        """Connections that begin at once, together."""
        bursts: list[list[int]] = []
        last = 0
        for n, (t, _, _) in enumerate(self._begun()):
            if not bursts or t - last > AT_ONCE:
                bursts.append([])
            bursts[-1].append(n)
            last = t
        return bursts

    def _begun(self) -> list[tuple[int, str, int]]:
        """Every connection's first segment: when, from which host and port."""
        begun: dict[int, tuple[int, str, int]] = {}
        for packet, n in zip(self.trace.packets, self.connection, strict=True):
            begun.setdefault(n, (packet.t, packet.sender, packet.segment.source.port))
        return [begun[n] for n in sorted(begun)]

    def segments(self, sender: str, receiver: str) -> dict[int, list[Event]]:
        """What is compared of one direction, by connection; payload without a gap is one range of bytes."""
        sent: dict[int, list[int]] = {}
        for i, (packet, n) in enumerate(zip(self.trace.packets, self.connection, strict=True)):
            if packet.sender == sender and packet.receiver == receiver:
                sent.setdefault(n, []).append(i)
        read = {n: self._events(indices) for n, indices in sent.items()}
        return {n: events for n, events in read.items() if events}

    def _events(self, indices: list[int]) -> list[Event]:
        """One direction of one connection: the packets at these places of the trace."""
        events: list[Event] = []
        last_ack: int | None = None
        #: The range of bytes that the last event is; new payload at its end belongs to it.
        begin, end = 0, None
        for i in indices:
            packet, relative = self.trace.packets[i], self.numbers[i]
            segment, flags = packet.segment, packet.segment.flags & ~PSH
            repeats = flags == ACK and last_ack == relative.ack
            last_ack = relative.ack if flags & ACK else last_ack
            if not self.within(packet.t):
                continue
            t = last = self.seconds(packet.t)
            if segment.length and not packet.kind and not flags & (SYN | FIN | RST):
                if end == relative.seq:
                    t = events.pop().t
                else:
                    begin = relative.seq
                end = relative.seq + segment.length
                events.append(Event(t, f"bytes {begin} to {end}", ended=last))
            elif (said := self._in_words(packet, relative, flags, repeats)) is not None:
                end = None
                events.append(Event(t, said, packet.kind in _BY_TIMERS))
        return events

    def _in_words(self, packet: Packet, relative: Relative, flags: int, repeats: bool) -> str | None:
        """A segment other than new payload; None where only its effect counts."""
        segment = packet.segment
        if packet.kind in _PROBES:
            return f"{packet.kind.replace('_', ' ')} seq {relative.seq}"
        if segment.length or flags & (SYN | FIN | RST):
            ack = f" ack {relative.ack}" if flags & ACK else ""
            length = f" len {segment.length}" if segment.length else ""
            repeated = " again" if packet.kind == "retransmission" else ""
            names = ", ".join(name for flag, name in _NAMES if flags & flag)
            return f"{names} seq {relative.seq}{ack}{length}{repeated}"
        if repeats and self._answers(packet):
            return f"ACK {relative.ack} again" + ("" if segment.window else ", window zero")
        return None

    def _answers(self, ack: Packet) -> bool:
        """Was this ACK, which acknowledges nothing new, sent because something had come in?

        A window update acknowledges nothing new either; it follows a call of the application.
        """
        return any(
            other.receiver == ack.sender
            and other.arrives is not None
            and 0 <= ack.t - other.arrives <= AT_ONCE
            for other in self.trace.packets
        )

    def last_acks(self, sender: str, receiver: str) -> dict[int, int]:
        """The last thing acknowledged in one direction, by connection."""
        last = {}
        for packet, relative, n in zip(self.trace.packets, self.numbers, self.connection, strict=True):
            sent = packet.sender == sender and packet.receiver == receiver
            if sent and packet.segment.flags & ACK and packet.t < self.until:
                last[n] = relative.ack
        return last


def _connection_of(verb: str, call: Call, begun: list[tuple[int, int]]) -> int | None:
    """Which of the connections from its port, (begun, number) in order, a call belongs to; None: to none.

    A connect() that failed before its SYN has none, nor has a bind() without a connection.
    """
    if verb == "bind":
        return next((n for t, n in begun if t >= call.began), None)
    since = call.began if verb == "connect" else 0
    return next((n for t, n in reversed(begun) if since <= t <= call.t), None)


#: A real time may lie this much before the model's, and after it: seconds, and a share.
EARLY_S = 0.030
LATE_S = 0.3
LATE_SHARE = 0.08


@dataclass(frozen=True)
class Tolerance:
    """How far a time on Linux may differ from the model's."""

    early_s: float
    late_s: float
    #: As a share of the time since the run's first segment.
    late_share: float = 0
    #: How far the wait for a timer's segment, counted from the segment before it, may differ if every program
    #: sent at the model's times; None: any.
    wait_s: float | None = None

    def holds(self, model_s: float, linux_s: float) -> bool:
        """Whether a time on Linux matches the model's."""
        return model_s - self.early_s <= linux_s <= model_s + model_s * self.late_share + self.late_s

    def holds_wait(self, model_s: float, linux_s: float) -> bool:
        """Whether the wait for a timer on Linux matches the model's."""
        return self.wait_s is None or abs(linux_s - model_s) <= self.wait_s


#: For a machine that may be busy; for virtual time, where the timer wheel is late by an eighth, and programs
#: by the milliseconds that Python takes; for virtual time and a model whose timers fire with that wheel.
REAL_TIME = Tolerance(EARLY_S, LATE_S, LATE_SHARE)
VIRTUAL_TIME = Tolerance(0.050, 0.050, 0.127)
SAME_WHEEL = Tolerance(0.050, 0.050, wait_s=0.005)


def tolerance(linux: Trace) -> Tolerance:
    """The tolerance for the clock of the Linux run."""
    if not linux.is_virtual:
        return REAL_TIME
    return SAME_WHEEL if linux.ticks else VIRTUAL_TIME


#: No ACK may be delayed longer (TCP_DELACK_MAX), with the delay of a real timer.
LONGEST_DELAYED_ACK = 200 * MILLISECOND


@dataclass(frozen=True)
class Difference:
    """One thing in which the model and Linux differ."""

    #: What is compared: `outcome`, `calls of client`, `client to server` …
    where: str
    #: Both sides in words; None where one has nothing more.
    model: str | None
    linux: str | None

    def __str__(self) -> str:
        if self.model is None or self.linux is None:
            lacks = "the model lacks" if self.model is None else "Linux lacks"
            return f"{self.where}: {lacks} {self.linux or self.model}"
        return f"{self.where}: the model says {self.model}, Linux {self.linux}"


@dataclass(frozen=True)
class Agreement:
    """What came of comparing the model and Linux at one set of parameters."""

    experiment: str
    parameters: Mapping[str, Any]
    differences: tuple[Difference, ...]
    #: The Linux version that ran.
    linux: str = ""
    #: How many packets matter in either run, and how many of them both sent, at the same time.
    packets: int = 0
    same: int = 0
    #: How many calls were compared one by one.
    calls: int = 0
    #: The longest delay of a packet behind the model's, seconds.
    behind_s: float = 0.0
    #: Why nothing was compared, in one sentence; empty when it ran.
    skipped: str = ""

    @property
    def agrees(self) -> bool:
        """True when it ran and nothing differs."""
        return not self.differences and not self.skipped

    @property
    def sentence(self) -> str:
        """For a reader: how many packets that matter agree and how late, or what differs first."""
        if self.skipped:
            return f"Nothing was compared: {self.skipped}"
        if self.agrees and not self.packets:
            return f"Linux {self.linux} does what the model says: the results of both are the same."
        if self.agrees:
            calls = f" and {plural(self.calls, 'call')}" if self.calls else ""
            late = ceil(self.behind_s * 1000) * MILLISECOND
            when = f"none more than {duration(late)} later" if late > 0 else "at the model's times"
            packets = f"all {self.packets} packets that matter{calls}"
            return f"Linux {self.linux} does what the model says: {packets} agree, {when}."
        first, more = str(self.differences[0]), len(self.differences) - 1
        others = f" ({plural(more, 'more difference')})" if more else ""
        agree = f": {self.same} of {self.packets} packets that matter agree" if self.packets else ""
        return f"Linux {self.linux} and the model differ{agree}. {first[0].upper()}{first[1:]}{others}."

    def to_json(self) -> dict[str, Any]:
        """One run in `tcplab agree --json`."""
        return {
            "experiment": self.experiment,
            "parameters": dict(self.parameters),
            "agrees": self.agrees,
            "differences": [str(difference) for difference in self.differences],
            **({"skipped": self.skipped} if self.skipped else {}),
        }


class Compared(Story, Protocol):
    """What a comparison needs of an experiment."""

    def matched_to(self, linux: Trace) -> Self: ...
    def with_values(self, **values: Any) -> Self: ...
    def scope(self, trace: Trace) -> Scope: ...


def scope_of(experiment: Compared | StudyScript, trace: Trace) -> Scope:
    """What of a run is compared; of a study those results that it names."""
    if isinstance(experiment, StudyScript):
        return Scope(outcomes=experiment.compared())
    return experiment.scope(trace)


def judge(
    experiment: Compared | StudyScript, linux: Trace, *, own_rules: bool = True
) -> tuple[Agreement, ScopedRun, ScopedRun]:
    """Compare a run on Linux with the model at the same parameters: the agreement, and both runs.

    The model follows the rules of the Linux that ran; not `own_rules`: those that the experiment names.
    """
    matched = experiment.matched_to(linux)
    if not own_rules:
        matched = matched.with_values(linux=experiment.linux)
    judged = (_judge(experiment, matched, model, linux) for model in _models(matched, linux))
    best = next(judged)
    while not best[0].agrees and (other := next(judged, None)):
        if len(other[0].differences) < len(best[0].differences):
            best = other
    return best


def _models(matched: Compared | StudyScript, linux: Trace) -> Iterator[Trace]:
    """The model's runs, one of which must agree: a single one, unless timers fire with Linux's wheel.

    The first segment is the same moment on both clocks. In virtual time the latency is taken from the first
    round trip: it is a tenth of a millisecond more than the parameter, and timers depend on it. Where a
    timeout is at the edge of a tick, the longer round trip of a burst's last segments decides. A program on
    Linux also needs time from call to call, so its timers are set later than the model's, by fractions of a
    tick to a few ticks: they may fall into another bucket, and a delayed ACK makes a round trip up to a tick
    longer or shorter.
    """
    if not (linux.is_virtual and linux.ticks) or isinstance(matched, StudyScript):
        yield run(matched)
        return
    for latency_ms in _latencies_ms(linux) or (matched.latency_ms,):
        matched = matched.with_values(latency_ms=latency_ms)
        model = run(matched)
        ticks = linux.ticks.since(linux.start - model.start)
        steps = _LATE_STEPS * ticks.hz
        for late in range(round(SAME_WHEEL.late_s * steps) + 1):
            yield run(matched, ticks=ticks.since(late * SECOND // steps))


#: Steps of a tick by which programs are taken to be late: at 250 Hz milliseconds, as timestamps count.
_LATE_STEPS = 4


def _latencies_ms(linux: Trace) -> tuple[float, ...]:
    """Half of the first round trip, if there was one, and half of the longest that a packet can have had."""
    for syn, answer in pairwise(linux.packets):
        is_answer = answer.segment.flags & (SYN | ACK) == SYN | ACK and answer.arrives is not None
        if is_answer and syn.segment.flags & (SYN | ACK) == SYN and syn.t == linux.start:
            first = ((answer.arrives or 0) - syn.t) / 2
            taken = [p.arrives - p.t for p in linux.packets if p.arrives is not None]
            longest = max((each for each in taken if each < 2 * first), default=first)
            return first / MILLISECOND, (first + longest) / 2 / MILLISECOND
    return ()


def _judge(
    experiment: Compared | StudyScript, matched: Compared | StudyScript, model: Trace, linux: Trace
) -> tuple[Agreement, ScopedRun, ScopedRun]:
    ours, theirs = (ScopedRun(trace, scope_of(matched, trace)) for trace in (model, linux))
    align(ours, theirs)
    pairs = list(matches(ours, theirs))
    both = [(mine, its) for _, mine, its in pairs if mine and its]
    agreement = Agreement(
        str(experiment.name),
        experiment.values(),
        tuple(_differences(ours, theirs)),
        linux.linux,
        packets=len(pairs),
        same=sum(tolerance(linux).holds(mine.t, its.t) for mine, its in both),
        calls=sum(len(events) for host in model.hosts for events in theirs.calls(host).values()),
        behind_s=max((its.t - mine.t for mine, its in both), default=0.0),
    )
    return agreement, ours, theirs


def in_time(model_s: float, linux_s: float) -> bool:
    """Whether a real time fits the model's: at most 8 % + 0.3 s later, 30 ms earlier."""
    return REAL_TIME.holds(model_s, linux_s)


def compare(model: Trace, linux: Trace, scopes: tuple[Scope, Scope] = (WHOLE, WHOLE)) -> list[Difference]:
    """Everything in which two runs of one experiment differ; empty when they agree."""
    ours, theirs = ScopedRun(model, scopes[0]), ScopedRun(linux, scopes[1])
    align(ours, theirs)
    return _differences(ours, theirs)


def align(ours: ScopedRun, theirs: ScopedRun) -> None:
    """Give each of Linux's connections the number of one of the model's that is like it.

    Which of several connections that begin at once gets a place in a queue, or the processor first, is
    chance; what they get together is not. So those are compared as a set.
    """
    bursts = [ours.bursts(), theirs.bursts()]
    if list(map(len, bursts[0])) != list(map(len, bursts[1])):
        return
    allowed = replace(tolerance(theirs.trace), wait_s=None)
    directions = list(permutations(ours.trace.hosts, 2))
    sent = [[each.segments(*direction) for direction in directions] for each in (ours, theirs)]
    numbers: dict[int, int] = {}
    for mine, its in zip(*bursts, strict=True):
        left, rest = list(its), []
        for n in mine:
            m = next((m for m in left if _alike(sent, n, m, allowed)), None)
            if m is None:
                rest.append(n)
            else:
                left.remove(m)
                numbers[m] = n
        numbers.update(zip(left, rest, strict=True))
    theirs.connection = [numbers[m] for m in theirs.connection]


def _alike(sent: list[list[dict[int, list[Event]]]], n: int, m: int, allowed: Tolerance) -> bool:
    """True when the model's connection `n` and Linux's `m` have nothing that differs."""
    return not any(
        difference
        for a, b in zip(*sent, strict=True)
        for difference in _compare_sequences("", a.get(n, []), b.get(m, []), allowed)
    )


def _differences(ours: ScopedRun, theirs: ScopedRun) -> list[Difference]:
    model, linux = ours.trace, theirs.trace
    allowed = _with_programs_late(tolerance(linux), ours, theirs)
    differences = list(_compare_outcomes(model.outcome, linux.outcome, ours.scope.outcomes, allowed))
    for host in model.hosts:
        called = [ours.calls(host), theirs.calls(host)]
        for which in dict.fromkeys([*called[0], *called[1]]):
            where = f"calls of {host}" + (f", {which}" if which else "")
            mine, its = (calls.get(which, []) for calls in called)
            differences += _compare_sequences(where, mine, its, allowed)
    for where, model_s, linux_s in _pairs(ours, theirs):
        differences += _compare_sequences(where, model_s, linux_s, allowed)
    for direction in permutations(model.hosts, 2):
        last, its_last = ours.last_acks(*direction), theirs.last_acks(*direction)
        for n in sorted({*last, *its_last}):
            if last.get(n) != its_last.get(n):
                where = f"{_direction(ours, direction, n)}, last ACK"
                differences.append(Difference(where, str(last.get(n)), str(its_last.get(n))))
    return [*differences, *_late_acks(theirs)]


def _with_programs_late(allowed: Tolerance, ours: ScopedRun, theirs: ScopedRun) -> Tolerance:
    """Allow timers what programs are late: they count from round trips, which are as uncertain."""
    if allowed.wait_s is None:
        return allowed
    sent = [(mine, its) for _, mine, its in matches(ours, theirs) if mine and its and not mine.by_timer]
    late = max((abs(its.t - mine.t) for mine, its in sent), default=0.0)
    return replace(allowed, wait_s=allowed.wait_s + late)


def _pairs(ours: ScopedRun, theirs: ScopedRun) -> Iterator[tuple[str, list[Event], list[Event]]]:
    """Every direction of every connection: its name, and what each of the two sent there."""
    for direction in permutations(ours.trace.hosts, 2):
        mine, its = ours.segments(*direction), theirs.segments(*direction)
        for n in sorted({*mine, *its}):
            yield _direction(ours, direction, n), mine.get(n, []), its.get(n, [])


def matches(ours: ScopedRun, theirs: ScopedRun) -> Iterator[tuple[str, Event | None, Event | None]]:
    """The packets that matter: from where to where, the model's and Linux's; None where only one sent it."""
    for where, mine, its in _pairs(ours, theirs):
        matcher = SequenceMatcher(None, [e.says for e in mine], [e.says for e in its], autojunk=False)
        for tag, i, i_end, j, j_end in matcher.get_opcodes():
            if tag == "equal":
                yield from ((where, *both) for both in zip(mine[i:i_end], its[j:j_end], strict=True))
            else:
                yield from ((where, event, None) for event in mine[i:i_end])
                yield from ((where, None, event) for event in its[j:j_end])


def _direction(ours: ScopedRun, direction: tuple[str, str], n: int) -> str:
    """`client to server`; with the number of the connection where there are several."""
    only = max(ours.connection, default=0) == 0
    return " to ".join(direction) + ("" if only else f", connection {n + 1}")


def _compare_outcomes(
    model: Mapping[str, Any], linux: Mapping[str, Any], names: tuple[str, ...] | None, allowed: Tolerance
) -> Iterator[Difference]:
    for name, ours in model.items():
        theirs = linux.get(name)
        if (names is None or name in names) and not _same_value(name, ours, theirs, allowed):
            yield Difference(f"outcome {name}", str(ours), str(theirs))


def _same_value(name: str, ours: Any, theirs: Any, allowed: Tolerance) -> bool:
    if isinstance(ours, list) and isinstance(theirs, list):
        same = (_same_value(name, *both, allowed) for both in zip(ours, theirs, strict=False))
        return len(ours) == len(theirs) and all(same)
    if name.endswith("_s") and ours is not None and theirs is not None:
        return allowed.holds(ours, theirs)
    return bool(ours == theirs)


def _compare_sequences(
    where: str, model: list[Event], linux: list[Event], allowed: Tolerance
) -> Iterator[Difference]:
    """The first difference of two sequences: what follows it would differ for that reason alone."""
    before = (0.0, 0.0)
    for ours, theirs in zip(model, linux, strict=False):
        if ours.says != theirs.says:
            yield Difference(where, _at(ours), _at(theirs))
            return
        waits = ours.t - before[0], theirs.t - before[1]
        if not allowed.holds(ours.t, theirs.t) or (ours.by_timer and not allowed.holds_wait(*waits)):
            yield Difference(f"{where}, time", _at(ours), _at(theirs))
            return
        before = ours.last, theirs.last
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
            # A host that still sends SYN-ACKs has no connection that could have taken the data.
            is_late = waited > LONGEST_DELAYED_ACK * (1 + LATE_SHARE) + LATE_S * 1e9
            if is_late and not packet.segment.flags & SYN:
                yield Difference(f"ACK of {packet.sender}", "within 200 ms", f"after {waited / 1e6:.0f} ms")
