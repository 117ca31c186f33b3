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

from tcplab.bench import Story, run
from tcplab.segment import ACK, FIN, PSH, RST, SYN, flag_letters
from tcplab.trace import MILLISECOND, SECOND, Passage, Relative, Trace

#: A real time may lie this much before the model's, and after it: seconds, and a share.
EARLY_S = 0.030
LATE_S = 0.3
LATE_SHARE = 0.08
#: An ACK sent this soon after something came in is its answer.
AT_ONCE = 5 * MILLISECOND
#: No ACK may be delayed longer (TCP_DELACK_MAX), with the lateness of a real timer.
LONGEST_DELAYED_ACK = 200 * MILLISECOND

_PROBES = ("keepalive", "window_probe")


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


class Compared(Story, Protocol):
    """What a comparison needs of an experiment."""

    def twin(self, linux: Trace) -> Self: ...
    def scope(self, trace: Trace) -> Scope: ...


def judge(experiment: Compared, linux: Trace) -> tuple[Agreement, Trace]:
    """A run on Linux against the model: the agreement, and the model's run at Linux's own parameters."""
    twin = experiment.twin(linux)
    model = run(twin)
    scopes = (twin.scope(model), twin.scope(linux))
    found = compare(model, linux, scopes)
    ours, theirs = _Witness(model, scopes[0]), _Witness(linux, scopes[1])
    pairs = [(list(ours.segments(*way)), list(theirs.segments(*way))) for way in permutations(model.hosts, 2)]
    behind = [b.t - a.t for model_s, linux_s in pairs for a, b in zip(model_s, linux_s, strict=False)]
    return Agreement(
        str(experiment.name),
        experiment.values(),
        tuple(found),
        linux.linux,
        sum(len(linux_s) for _, linux_s in pairs),
        sum(1 for host in model.hosts for _ in theirs.calls(host)),
        max(behind, default=0.0),
    ), model


@dataclass(frozen=True)
class _Event:
    """One thing to be compared: what it is, and when it was sent."""

    t: float
    says: str


def in_time(model_s: float, linux_s: float) -> bool:
    """A real moment that fits the model's: at most 8 % + 0.3 s later, 30 ms earlier."""
    return model_s - EARLY_S <= linux_s <= model_s + model_s * LATE_SHARE + LATE_S


def compare(model: Trace, linux: Trace, scopes: tuple[Scope, Scope] = (WHOLE, WHOLE)) -> list[Difference]:
    """Everything in which two runs of one experiment differ; empty when they agree."""
    ours, theirs = _Witness(model, scopes[0]), _Witness(linux, scopes[1])
    found = list(_compare_outcomes(model.outcome, linux.outcome, scopes[0].outcomes))
    for host in model.hosts:
        found += _compare_sequences(f"calls of {host}", list(ours.calls(host)), list(theirs.calls(host)))
    for sender, receiver in permutations(model.hosts, 2):
        where = f"{sender} to {receiver}"
        sent = [list(witness.segments(sender, receiver)) for witness in (ours, theirs)]
        found += _compare_sequences(where, *sent)
        acks = [witness.last_ack(sender, receiver) for witness in (ours, theirs)]
        if acks[0] != acks[1]:
            found.append(Difference(f"{where}, last ACK", str(acks[0]), str(acks[1])))
    return [*found, *_late_acks(linux)]


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


def _compare_sequences(where: str, model: list[_Event], linux: list[_Event]) -> Iterator[Difference]:
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


def _at(event: _Event) -> str:
    return f"{event.says} at {event.t:.3f} s"


class _Witness:
    """One trace, read for comparison within its scope."""

    def __init__(self, trace: Trace, scope: Scope) -> None:
        self.trace = trace
        self.since = trace.start if scope.since is None else scope.since
        self.until = trace.end + 1 if scope.until is None else scope.until
        self.begins = scope.since is not None
        self.numbers = self._numbers()

    def _numbers(self) -> list[Relative]:
        """Relative numbers; in a scope that begins later, counted from what was sent before it."""
        relative = self.trace.relative()
        if not self.begins:
            return relative
        sent = dict.fromkeys(self.trace.hosts, 0)
        for passage, number in zip(self.trace.passages, relative, strict=True):
            if passage.t < self.since and passage.segment.length:
                sent[passage.sender] = max(sent[passage.sender], number.seq + passage.segment.length)
        return [
            Relative(number.seq - sent[passage.sender], number.ack - sent[passage.receiver])
            for passage, number in zip(self.trace.passages, relative, strict=True)
        ]

    def seconds(self, t: int) -> float:
        """A moment within the scope."""
        return max(0, t - self.since) / SECOND

    def within(self, t: int) -> bool:
        """What happened before the first segment (listen()) counts where all counts."""
        return t < self.until and (t >= self.since or not self.begins)

    def calls(self, host: str) -> Iterator[_Event]:
        """What a host's programs called, in order of return."""
        for call in self.trace.calls:
            if call.host == host and self.within(call.t):
                yield _Event(self.trace.seconds(call.t), f"{call.call} -> {call.result}")

    def segments(self, sender: str, receiver: str) -> Iterator[_Event]:
        """What is compared of one direction; payload without a gap is one range of bytes."""
        last_ack: int | None = None
        payload: _Payload | None = None
        for passage, relative in zip(self.trace.passages, self.numbers, strict=True):
            if passage.sender != sender or passage.receiver != receiver:
                continue
            segment, flags = passage.segment, passage.segment.flags & ~PSH
            repeats = flags == ACK and last_ack == relative.ack
            last_ack = relative.ack if flags & ACK else last_ack
            if not self.within(passage.t):
                continue
            t = self.seconds(passage.t)
            is_new_data = bool(segment.length) and not passage.kind and not flags & (SYN | FIN | RST)
            if is_new_data:
                end = relative.seq + segment.length
                if payload is not None and payload.end == relative.seq:
                    payload = replace(payload, end=end)
                    continue
                if payload is not None:
                    yield payload.event()
                payload = _Payload(t, relative.seq, end)
                continue
            said = self._in_words(passage, relative, flags, repeats)
            if said is not None:
                if payload is not None:
                    yield payload.event()
                    payload = None
                yield _Event(t, said)
        if payload is not None:
            yield payload.event()

    def _in_words(self, passage: Passage, relative: Relative, flags: int, repeats: bool) -> str | None:
        """A segment other than new payload; None where only its effect counts."""
        segment = passage.segment
        if passage.kind in _PROBES:
            return f"{passage.kind.replace('_', ' ')} seq {relative.seq}"
        if segment.length or flags & (SYN | FIN | RST):
            ack = f" ack {relative.ack}" if flags & ACK else ""
            length = f" len {segment.length}" if segment.length else ""
            again = " again" if passage.kind == "retransmission" else ""
            return f"{flag_letters(flags)} seq {relative.seq}{ack}{length}{again}"
        if repeats and self._answers(passage):
            return f"ACK {relative.ack} again" + ("" if segment.window else ", window zero")
        return None

    def _answers(self, ack: Passage) -> bool:
        """Was this ACK, which acknowledges nothing new, sent because something had come in?

        A window update says nothing new either; it follows a call of the application instead.
        """
        return any(
            other.receiver == ack.sender
            and other.arrives is not None
            and 0 <= ack.t - other.arrives <= AT_ONCE
            for other in self.trace.passages
        )

    def last_ack(self, sender: str, receiver: str) -> int | None:
        """The highest thing acknowledged in one direction by the end."""
        said = None
        for passage, relative in zip(self.trace.passages, self.numbers, strict=True):
            sent = passage.sender == sender and passage.receiver == receiver
            if sent and passage.segment.flags & ACK and passage.t < self.until:
                said = relative.ack
        return said


@dataclass(frozen=True)
class _Payload:
    """A range of bytes, however it was cut into segments."""

    t: float
    begin: int
    end: int

    def event(self) -> _Event:
        return _Event(self.t, f"bytes {self.begin} to {self.end}")


def _late_acks(linux: Trace) -> Iterator[Difference]:
    """No pure ACK of Linux may come later than a delayed ACK can."""
    last_arrival: dict[str, int] = {}
    arrivals = sorted(
        (p.arrives, p.receiver) for p in linux.passages if p.arrives is not None and p.segment.length
    )
    for passage in linux.passages:
        while arrivals and arrivals[0][0] <= passage.t:
            arrived, host = arrivals.pop(0)
            last_arrival.setdefault(host, arrived)
        if passage.segment.flags & ACK:
            waited = passage.t - last_arrival.pop(passage.sender, passage.t)
            if waited > LONGEST_DELAYED_ACK * (1 + LATE_SHARE) + LATE_S * 1e9:
                yield Difference(f"ACK of {passage.sender}", "within 200 ms", f"after {waited / 1e6:.0f} ms")
