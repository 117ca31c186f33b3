"""Which connections of a capture broke together, between which moments, and the file's story in a sentence.

One event a connection: what broke it, not its consequences. Closes, resets, refusals and ghosts are instants;
those of one server or client at the same time form an incident. A silence is an interval, from the last
packet of the silent side to the first segment that it did not answer: what most intervals share is when it
fell silent.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import itemgetter
from typing import Any, NamedTuple

from tcplab.capture.capture import Capture
from tcplab.capture.causes import Cause, IncidentEvidence, cause_of
from tcplab.capture.findings import ConnectionFindings, Diagnosis, Finding
from tcplab.core.segment import ACK, FIN, RST, Endpoint
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
#: So many connections of a host are asked whether it still answered.
MOST_ASKED = 200
#: Bytes of a segment that may be too large for a path: above IPv6's smallest MTU, less its headers.
LARGE = 1220
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
    #: Why, and how certain that is; None where nobody asked.
    cause: Cause | None = None
    #: Connections whose ends got no error although they had the silent host, too; and when it fell silent.
    unaware: tuple[int, ...] = ()

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
            "connections": list(self.connections), "unaware": list(self.unaware),
            **({"cause": self.cause.to_json()} if self.cause else {}),
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
            silent = each.server if _sender(finding) == "client" else each.client
            low, t = _silence(finding, packets(each.number))
            yield BreakEvent(each, Broke(family, low, t), silent.address)
        else:
            actor = each.client.address if family == "client_end" else str(each.server)
            yield BreakEvent(each, Broke(family, low, t), actor)


def _sender(finding: Finding) -> str:
    """The side whose segments were not answered."""
    default = "server" if finding.code == "handshake_incomplete" else "client"
    return str(finding.facts.get("side", default))


def _silence(finding: Finding, packets: Sequence[Passed]) -> tuple[float, float]:
    """The last packet of the silent side, and the first segment that it did not answer, seconds."""
    by_client = _sender(finding) == "client"
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
    server = _named(first)
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
    #: Connections that broke although their ends detected nothing; and the moment, by number.
    unaware: Mapping[int, float] = field(default_factory=dict)

    @property
    def worst(self) -> Incident | None:
        """The incident with most connections."""
        return max(self.incidents, key=lambda each: len(each.connections), default=None)

    @property
    def cause(self) -> Cause | None:
        """Why that one happened, as far as the file shows."""
        return self.worst.cause if self.worst else None

    @property
    def length_s(self) -> float:
        """From the first packet to the last, seconds; never 0."""
        return max((self.capture.ended - self.capture.began) / SECOND, 1e-6)

    def headline(self) -> str:
        """What happened in this file, in one or two sentences; the incident with most connections first."""
        many = len(self.diagnosis)
        if not many:
            return "There is no TCP connection in this file."
        worst = self.worst
        if worst is None:
            return self._no_incident()
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
    """What broke together in a capture that was diagnosed, and why as far as it shows."""
    events = events_of(diagnosis, lambda number: packets_of(capture, number))
    kept, incidents = incidents_of(events, len(diagnosis), capture.began)
    by_number = {event.connection.number: event for event in kept}
    reader = _EvidenceReader(capture, diagnosis, by_number)
    unaware: dict[int, float] = {}
    whole = []
    for each in incidents:
        others = reader.unaware(each)
        unaware |= dict.fromkeys(others, each.high_s)
        whole.append(replace(each, cause=cause_of(reader.evidence(each)), unaware=others))
    broke = {number: event.broke for number, event in by_number.items()}
    return CaptureIncidents(capture, diagnosis, tuple(whole), broke, unaware)


# -- evidence ------------------------------------------------------------------------------------------


class _EvidenceReader:
    """Looks for what else a capture shows about its incidents."""

    def __init__(self, capture: Capture, diagnosis: Diagnosis, events: Mapping[int, BreakEvent]) -> None:
        self._capture, self._connections, self._events = capture, diagnosis.connections, events

    def evidence(self, incident: Incident) -> IncidentEvidence:
        """All of it."""
        group = [self._events[number] for number in incident.connections]
        first, family = group[0], group[0].broke.family
        own = [event for event in group if event.broke.family == family]
        findings = [finding for event in own for finding in event.connection.findings]
        codes = [{finding.code for finding in event.connection.findings} for event in own]
        attempts = sum(bool(each & {"unanswered_syn", "handshake_incomplete"}) for each in codes)
        side = _silent_side(first)
        if family == "silence":
            host = first.actor
            others = Counter(str(_end(event.connection, _OTHER[side]).address) for event in own)
        else:
            host = first.connection.client.address if family == "client_end" else first.actor
            others = Counter(event.connection.client.address for event in own)
        same, other = self._answers(incident, host, {*others}) if family == "silence" else (False, False)
        resets = Counter(
            str(finding.facts.get("kind", ""))
            for finding in findings if finding.code in ("reset_by_server", "reset_by_client")
        )  # fmt: skip
        only_reset = resets and family in ("server_end", "client_end")
        closed = any("closed_by_server" in each for each in codes)
        errors = Counter(
            (str(f.facts["icmp"]), str(f.facts["icmp_from"])) for f in findings if "icmp" in f.facts
        )
        (icmp, sender), _ = errors.most_common(1)[0] if errors else (("", ""), 0)
        return IncidentEvidence(
            family=family, count=len(own), refused=len(group) - len(own), attempts=attempts,
            server=_named(first.connection), host=host, peers=_some(others), side=side,
            codes=frozenset().union(*codes),
            reset=resets.most_common(1)[0][0] if only_reset and not closed else "",
            answers_same=same, answers_others=other, idle_s=min(map(_idle_s, own)),
            full_size=family == "silence" and all(self._is_large(event) for event in own),
            icmp=icmp, icmp_from=sender,
        )  # fmt: skip

    def unaware(self, incident: Incident) -> tuple[int, ...]:
        """Connections that a silent host had too, on which nothing was sent or given up, by number."""
        event = self._events[incident.connections[0]]
        if event.broke.family != "silence":
            return ()
        side, number = _silent_side(event), event.connection.number
        server, spans = event.connection.server, self._spans
        others = [
            each for each in self._of_host.get(event.actor, ())
            if each not in self._events and self._connections[each].server == server
            and _end(self._connections[each], side).address == event.actor
            and spans[each][0] < incident.low_s and self._until(each) > incident.high_s
        ]  # fmt: skip
        if number in others or len(others) > MOST_ASKED:
            return ()
        by_client = side == "client"
        if any(self._heard(each, by_client, incident.high_s) for each in others):
            return ()
        return tuple(others)

    @cached_property
    def _spans(self) -> list[tuple[float, float]]:
        return [(first / SECOND, last / SECOND) for first, last in self._capture.table.spans()]

    @cached_property
    def _of_host(self) -> dict[str, list[int]]:
        """Numbers of the connections of each host."""
        found: dict[str, list[int]] = {}
        for each in self._connections:
            for address in {each.client.address, each.server.address}:
                found.setdefault(address, []).append(each.number)
        return found

    def _until(self, number: int) -> float:
        """The last packet; the end of the file where the connection is still open."""
        if self._connections[number].state == "open":
            return (self._capture.ended - self._capture.began) / SECOND
        return self._spans[number][1]

    def _heard(self, number: int, by_client: bool, after_s: float) -> bool:
        """This side sent a packet after this moment."""
        rows, client = self._capture.rows(number), self._capture.connections[number][0]
        times = self._capture.table.values("t", rows)
        begin = bisect_right(times, round(after_s * SECOND))
        for at in range(begin, len(rows), MOST_ASKED):
            some = self._capture.table.segments(rows[at : at + MOST_ASKED])
            if any((s.source == client) == by_client for s in some):
                return True
        return False

    def _answers(self, incident: Incident, host: str, peers: set[str]) -> tuple[bool, bool]:
        """Whether a silent host sent anything afterwards: to these peers, to others."""
        found = {True: False, False: False}
        asked = {True: 0, False: 0}
        for number in self._of_host.get(host, ()):
            each = self._connections[number]
            by_client = each.client.address == host
            same = (each.server if by_client else each.client).address in peers
            if number in incident.connections or found[same] or self._spans[number][1] <= incident.high_s:
                continue
            if asked[same] < MOST_ASKED:
                asked[same] += 1
                found[same] = self._heard(number, by_client, incident.high_s)
            if all(found.values()):
                break
        return found[True], found[False]

    def _is_large(self, event: BreakEvent) -> bool:
        """What was not answered is larger than all that was, and too large for some paths."""
        code = next(code for code in FAMILIES if any(f.code == code for f in event.connection.findings))
        finding = next(f for f in event.connection.findings if f.code == code)
        if code not in ("dead_peer", "idle_then_dead"):
            return False
        by_client, frames = _sender(finding) == "client", set(finding.frames)
        mine = [p for p in packets_of(self._capture, event.connection.number) if p.by_client == by_client]
        lost = [p.length for p in mine if p.frame in frames and p.length]
        before = [p.length for p in mine if p.t_s < event.high_s]
        return bool(lost and before) and min(lost) > max(LARGE, *before)


_OTHER = {"client": "server", "server": "client"}


def _silent_side(event: BreakEvent) -> str:
    """The side of a silence that fell silent: `client` or `server`."""
    findings = event.connection.findings
    code = next((code for code in FAMILIES if any(f.code == code for f in findings)), None)
    return _OTHER[_sender(next(f for f in findings if f.code == code))] if code else "server"


def _end(connection: ConnectionFindings, side: str) -> Endpoint:
    return connection.client if side == "client" else connection.server


def _idle_s(event: BreakEvent) -> float:
    """The silence before what was not answered, seconds; 0 where it was not idle or that is unknown."""
    idle = [
        float(f.facts.get("idle_s") or 0) for f in event.connection.findings
        if f.code in ("idle_then_dead", "keepalive_death")
    ]  # fmt: skip
    return max(idle, default=0.0)


def _named(connection: ConnectionFindings) -> str:
    """``10.0.0.2:5432 (PostgreSQL)``."""
    server, service = connection.server, connection.service
    return f"{server} ({service})" if service else str(server)


def _some(hosts: Counter[str]) -> str:
    """The host with most connections, and how many others there are."""
    (first, _), more = hosts.most_common(1)[0], len(hosts) - 1
    return f"{first} and {plural(more, 'other host')}" if more else first
