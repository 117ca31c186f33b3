"""Which connections of a capture broke together, between which moments, and the file's story in a sentence.

One event a connection: what broke it, not its consequences. Closes, resets, refusals and ghosts are instants;
those of one server or client at the same time form an incident. A silence is an interval, from the last
packet of the silent side to the first segment that it did not answer: what most intervals share is when it
fell silent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

from tcplab.capture.capture import Capture
from tcplab.capture.findings import ConnectionFindings, Diagnosis, Finding
from tcplab.core.segment import ACK, FIN, RST
from tcplab.core.text import SECOND, clock, in_words, plural, short_duration

#: Instants this close belong together, seconds; refusals and ghosts come as often as clients try.
TOGETHER_S, TRIES_S = 0.25, 10.0
#: Refusals up to this long after closes of the same server belong to them, seconds.
RESTART_S = 60.0
#: This many events make an incident; two do in a file of at most this many connections. Where the whole file
#: has fewer events than the first, each is separate.
MANY, SMALL_FILE = 3, 20
#: The most packets that are read of a connection, half of them at either end.
MOST_PACKETS = 20_000
#: Warnings about a file that does not hold all packets of its connections: it can't show that nothing broke.
BLIND = ("one_sided", "filtered", "truncated")
#: How a connection broke, by finding code; the worst first.
FAMILIES = {
    "cookie_ghost_suspected": "ghost", "ghost_suspected": "ghost", "one_way": "silence",
    "idle_then_dead": "silence", "dead_peer": "silence", "keepalive_death": "silence",
    "unanswered_syn": "silence", "handshake_incomplete": "silence", "refused": "refused",
    "reset_by_server": "server_end", "reset_by_client": "client_end",
}  # fmt: skip


class Passed(NamedTuple):
    """One packet of a connection, as a lane needs it."""

    t_s: float
    frame: int
    by_client: bool
    flags: int
    length: int
    window: int
    ack: int = 0


class Broke(NamedTuple):
    """What broke one connection, and between which moments, seconds since the file's first packet."""

    #: `server_end`, `client_end`, `refused`, `ghost` or `silence`.
    family: str
    low_s: float
    high_s: float


@dataclass(frozen=True, slots=True)
class Incident:
    """Connections that broke together."""

    #: Counted from 1, by time.
    number: int
    #: The range in which it happened, seconds since the file's first packet.
    low_s: float
    high_s: float
    #: A few words: ``server closed 8, refused 1``.
    text: str
    #: The connections' numbers in the capture.
    connections: tuple[int, ...]
    #: What happened, as the end of a sentence.
    what: str = ""
    #: A host stopped answering: the range is that of one moment, not of many.
    is_silence: bool = False
    #: When the file's first packet passed, nanoseconds since 1970.
    began: int = 0

    @property
    def says(self) -> str:
        """What happened, and when by the clock (UTC), in one sentence."""
        low, high = (clock(self.began + round(t * SECOND)) for t in (self.low_s, self.high_s))
        if self.high_s - self.low_s < 0.1:
            return f"At {low} {self.what}."
        return (
            f"Between {low} and {high} {self.what}."
            if self.is_silence
            else f"From {low} to {high} {self.what}."
        )

    def to_json(self) -> dict[str, Any]:
        """As `tcplab diagnose --json` prints it; times in seconds since the file's first packet."""
        return {
            "number": self.number, "from": self.low_s, "to": self.high_s, "says": self.says,
            "connections": list(self.connections),
        }  # fmt: skip


class BreakEvent(NamedTuple):
    """What broke one connection, and who did it."""

    connection: ConnectionFindings
    broke: Broke
    #: A server's address and port, or a host's address.
    actor: str
    #: The file shows a close and its answer: no event by itself.
    quiet: bool = False

    @property
    def low_s(self) -> float:
        """The earliest moment."""
        return self.broke.low_s

    @property
    def high_s(self) -> float:
        """The latest moment."""
        return self.broke.high_s


def events_of(diagnosis: Diagnosis, packets: Callable[[int], Sequence[Passed]]) -> Iterator[BreakEvent]:
    """What broke each connection; `packets` reads those of one, by its number."""
    for each in diagnosis.connections:
        codes = {finding.code: finding for finding in reversed(each.findings)}
        if "probe_only" in codes:
            continue
        code = next((code for code in FAMILIES if code in codes), None)
        if code is None:
            if "closed_by_server" in codes:
                t = codes["closed_by_server"].t / SECOND
                quiet = "half_closed" not in codes
                yield BreakEvent(each, Broke("server_end", t, t), str(each.server), quiet)
            continue
        finding, family = codes[code], FAMILIES[code]
        t = finding.t / SECOND
        if family == "server_end" and "closed_by_server" in codes:
            t = min(t, codes["closed_by_server"].t / SECOND)
        low = t
        if family == "silence":
            silent = each.server if finding.facts.get("side", "client") == "client" else each.client
            low, t = _silence(finding, packets(each.number))
            yield BreakEvent(each, Broke(family, low, t), silent.address)
        else:
            actor = each.client.address if family == "client_end" else str(each.server)
            yield BreakEvent(each, Broke(family, low, t), actor)


def _silence(finding: Finding, packets: Sequence[Passed]) -> tuple[float, float]:
    """The last packet of the silent side, and the first segment that it did not answer, seconds."""
    by_client = finding.facts.get("side", "client") == "client"
    frames = set(finding.frames)
    mine = [
        p for p in packets
        if p.frame in frames and p.by_client == by_client and (p.length or p.flags & FIN)
    ]  # fmt: skip
    first = mine[0].t_s if mine else finding.t / SECOND
    others = [p for p in packets if p.by_client != by_client and not p.flags & RST]
    if finding.code == "one_way" and others:
        # It still sends; what it acknowledged last is the last that arrived.
        last = next(p.t_s for p in others if p.ack == others[-1].ack and p.flags & ACK) if others else 0.0
        return min(last, first), first
    before = [p.t_s for p in others if p.t_s < first]
    return (before[-1] if before else 0.0), first


def incidents_of(
    events: Iterable[BreakEvent], connections: int, began: int
) -> tuple[list[BreakEvent], list[Incident]]:
    """The events that count, and the incidents, by time; `connections` of the file, which `began` then."""
    every = list(events)
    many = MANY - (connections <= SMALL_FILE)
    groups: list[list[BreakEvent]] = []
    alone: list[BreakEvent] = []
    for group in _instants(event for event in every if event.broke.family != "silence"):
        quiet = all(event.quiet for event in group)
        if len(group) >= (MANY if quiet else many) or group[0].broke.family in ("refused", "ghost"):
            groups.append(group)
        else:
            alone += [event for event in group if not event.quiet]
    for host in dict.fromkeys(event.actor for event in every if event.broke.family == "silence"):
        rest = [e for e in every if e.broke.family == "silence" and e.actor == host]
        while rest:
            group = _common(rest)
            if len(group) < many:
                alone += rest
                break
            groups.append(group)
            rest = [event for event in rest if event not in group]
    groups = _joined(groups)
    if sum(map(len, groups)) + len(alone) < MANY:
        groups += [[event] for event in alone]
    kept = [*(event for group in groups for event in group), *alone]
    groups.sort(key=lambda group: (_range(group), group[0].connection.number))
    return kept, [_incident(i + 1, group, began) for i, group in enumerate(groups)]


def _instants(events: Iterable[BreakEvent]) -> Iterator[list[BreakEvent]]:
    """Runs of events of one family and actor, each near the one before."""
    by_actor: dict[tuple[str, str], list[BreakEvent]] = {}
    for event in events:
        by_actor.setdefault((event.broke.family, event.actor), []).append(event)
    for (family, _), own in by_actor.items():
        near = TRIES_S if family in ("refused", "ghost") else TOGETHER_S
        own.sort(key=lambda event: event.high_s)
        run = own[:1]
        for event in own[1:]:
            if event.high_s - run[-1].high_s > near:
                yield run
                run = []
            run.append(event)
        yield run


def _common(events: Sequence[BreakEvent]) -> list[BreakEvent]:
    """The most events whose intervals share a moment."""
    edges = sorted([(event.low_s, 0) for event in events] + [(event.high_s, 1) for event in events])
    count = best = 0
    moment = events[0].high_s
    for t, ends in edges:
        count += -1 if ends else 1
        if count > best:
            best, moment = count, t
    return [event for event in events if event.low_s <= moment <= event.high_s]


def _joined(groups: Sequence[list[BreakEvent]]) -> list[list[BreakEvent]]:
    """Refusals of a server join its closes before them: it was down in between."""
    ends = [group for group in groups if group[0].broke.family == "server_end"]
    made = []
    for group in groups:
        first = group[0]
        before = [
            end for end in ends
            if first.broke.family == "refused" and end[0].actor == first.actor
            and 0 <= first.high_s - end[-1].high_s <= RESTART_S
        ]  # fmt: skip
        if before:
            before[-1].extend(group)
        else:
            made.append(group)
    return made


def _range(group: Sequence[BreakEvent]) -> tuple[float, float]:
    """What the members have in common, seconds: of instants from the first to the last."""
    if group[0].broke.family == "silence":
        return max(event.low_s for event in group), min(event.high_s for event in group)
    first = [event for event in group if event.broke.family == group[0].broke.family]
    return min(event.low_s for event in first), max(event.high_s for event in first)


def _incident(number: int, group: Sequence[BreakEvent], began: int) -> Incident:
    text, what = _words(group)
    numbers = tuple(event.connection.number for event in group)
    is_silence = group[0].broke.family == "silence"
    return Incident(number, *_range(group), text, numbers, what, is_silence, began)


def _ended(group: Sequence[BreakEvent], server: str) -> tuple[str, str]:
    """The same for a server that closed or reset connections, and perhaps refused others then."""
    own = [event for event in group if event.broke.family == "server_end"]
    refused = len(group) - len(own)
    closed = any(f.code == "closed_by_server" for event in own for f in event.connection.findings)
    verb = "closed" if closed else "reset"
    length = max(event.high_s for event in own) - min(event.high_s for event in own)
    within = f" within {short_duration(round(length * SECOND))}" if length else ""
    then = f" and refused the next {refused}" if refused > 1 else " and refused the next one" * refused
    text = f"server {verb} {len(own)}" + (f", refused {refused}" if refused else "")
    return text, f"the server {server} {verb} {plural(len(own), 'connection')}{within}{then}"


def _words(group: Sequence[BreakEvent]) -> tuple[str, str]:
    """A few words about an incident, and what happened, as the end of a sentence."""
    first, many = group[0].connection, len(group)
    server = f"{first.server} ({first.service})" if first.service else str(first.server)
    family = group[0].broke.family
    if family == "server_end":
        return _ended(group, server)
    if family == "refused":
        return f"refused {many}", f"{server} refused {plural(many, 'connection')}"
    if family == "ghost":
        verb = "was" if many == 1 else "were"
        said = f"{plural(many, 'connection')} to {server} {verb} established for the client only"
        return plural(many, "ghost"), said
    if family == "client_end":
        host = first.client.address
        return f"client reset {many}", f"the client {host} reset {plural(many, 'connection')} to {server}"
    silent = group[0].actor
    one_way = any(f.code == "one_way" for event in group for f in event.connection.findings)
    if one_way:
        side = "client" if silent == first.server.address else "server"
        peer = "server" if side == "client" else "client"
        says = (
            f"the path from {side} to {peer} broke, in that direction only: {plural(many, 'connection')} hit"
        )
        return f"{side}’s packets lost", f"{says}; {silent} went on sending"
    codes = [{finding.code for finding in event.connection.findings} for event in group]
    if all("unanswered_syn" in each for each in codes):
        return f"{many} unanswered", f"{server} did not answer {plural(many, 'connection attempt')}"
    if all("handshake_incomplete" in each for each in codes):
        attempts = plural(many, "connection")
        return f"{many} unanswered", f"{silent} did not acknowledge the SYN-ACK of {server} on {attempts}"
    return f"{many} unanswered", f"{silent} no longer answered on {plural(many, 'connection')} to {server}"


def packets_of(capture: Capture, number: int) -> list[Passed]:
    """The packets of one connection; of a long one those at either end."""
    rows = capture.rows(number)
    if len(rows) > MOST_PACKETS:
        half = MOST_PACKETS // 2
        rows = [*rows[:half], *rows[-half:]]
    table, client = capture.table, capture.connections[number][0]
    times, frames = table.values("t", rows), table.values("frame", rows)
    return [
        Passed(t / SECOND, frame, s.source == client, s.flags, s.length, s.window, s.ack)
        for t, frame, s in zip(times, frames, table.segments(rows), strict=True)
    ]


@dataclass
class CaptureIncidents:
    """A capture, its diagnosis, and what broke together."""

    capture: Capture
    diagnosis: Diagnosis
    #: By time.
    incidents: tuple[Incident, ...] = ()
    #: What broke each connection, by its number; connections that did not break are not in it.
    broke: Mapping[int, Broke] = field(default_factory=dict)

    @property
    def length_s(self) -> float:
        """From the first packet to the last, seconds; never 0."""
        return max((self.capture.ended - self.capture.began) / SECOND, 1e-6)

    def headline(self) -> str:
        """What happened in this file, in one or two sentences; the incident with most connections first."""
        many = len(self.diagnosis)
        if not many:
            return "There is no TCP connection in this file."
        if not self.incidents:
            return self._no_incident()
        worst = max(self.incidents, key=lambda each: len(each.connections))
        rest = len(self.incidents) - 1
        if not rest and len(self.broke) == len(worst.connections):
            return worst.says
        together = sum(len(each.connections) for each in self.incidents)
        alone = len(self.broke) - together
        parts = [f"The file has {plural(rest, 'other incident')}"] if rest else []
        parts.append(f"{together:,} of {plural(many, 'connection')} broke in {'incidents' if rest else 'it'}")
        parts += [f"{alone:,} more broke separately"] if alone else []
        return f"{worst.says} {'; '.join(parts)}."

    def to_json(self) -> dict[str, Any]:
        """What `tcplab diagnose --json` prints beside the diagnosis: the headline and each incident."""
        return {"story": self.headline(), "incidents": [each.to_json() for each in self.incidents]}

    def _no_incident(self) -> str:
        count = plural(len(self.diagnosis), "connection")
        if self.broke:
            return f"{len(self.broke):,} of {count} broke, each at another time."
        codes = {warning.code for warning in self.diagnosis.warnings}
        blind = [code.replace("_", "-") for code in BLIND if code in codes]
        if blind:
            return (
                f"This file can’t show whether something broke: it is {' and '.join(blind)}; see the notes."
            )
        stalls = [
            (finding.facts.get("stalled_s", 0), each) for each in self.diagnosis.connections
            for finding in each.findings if finding.code == "zero_window"
        ]  # fmt: skip
        stalled, which = max(stalls, key=itemgetter(0), default=(0, None))
        if stalled >= 1 and which is not None:
            return (
                f"No connection broke, but one program did not read for {in_words(stalled)}: "
                f"{which.client} → {which.server} ({which.service or 'TCP'})."
            )
        states = Counter(each.state for each in self.diagnosis.connections)
        said = ", ".join(f"{many:,} {state}" for state, many in states.most_common())
        length = tenths(self.length_s) if self.length_s >= 1 else in_words(self.length_s)
        return f"Nothing broke in this file: {count} in {length}, {said}."


def tenths(seconds: float) -> str:
    """A length of time to a tenth of a second: ``25.9 s``."""
    return short_duration(round(round(seconds, 1) * SECOND))


def find_incidents(capture: Capture, diagnosis: Diagnosis) -> CaptureIncidents:
    """What broke together in a capture that was diagnosed."""
    events = events_of(diagnosis, lambda number: packets_of(capture, number))
    kept, incidents = incidents_of(events, len(diagnosis), capture.began)
    broke = {event.connection.number: event.broke for event in kept}
    return CaptureIncidents(capture, diagnosis, tuple(incidents), broke)
