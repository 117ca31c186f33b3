"""Which connections of a capture broke together, between which moments, and the file's story in a sentence.

Each connection has one event at most (see `breaks.py`). Closes, resets, refusals and ghosts are instants:
those of one server or client at the same time form an incident. A silence is an interval: what most intervals
share is when the host fell silent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC
from functools import cached_property, lru_cache, partial
from itertools import accumulate
from math import sqrt
from operator import itemgetter
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from tcplab.capture.breaks import (
    BreakEvent,
    Broke,
    LastMessage,
    answered_close,
    closed_unanswered,
    events_of,
    last_messages,
    packets_of,
    silence_before,
)
from tcplab.capture.capture import Capture
from tcplab.capture.causes import Cause, cause_of
from tcplab.capture.evidence import EvidenceReader, named
from tcplab.capture.findings import Diagnosis
from tcplab.core.text import SECOND, clock, in_words, plural, short_duration, zoned

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

#: Instants this close belong together, seconds; refusals and ghosts come as often as clients try.
TOGETHER_S, TRIES_S = 0.25, 10.0
#: A server that closes connections for longer than this, one soon after the other, always does so, seconds.
HABIT_S = 2.0
#: Refusals up to this long after closes of the same server belong to them, seconds.
RESTART_S = 60.0
#: This many events make an incident; two do in a file of at most this many connections. Where the whole file
#: has fewer events than the first, each is separate.
MANY, SMALL_FILE = 3, 20
#: Silences that differ by at most this share are equal; so long is the shortest that counts, seconds.
EQUAL, SILENT_S = 0.02, 3.0
#: Warnings about a file that does not hold all packets of its connections: it can't show that nothing broke.
BLIND = ("one_sided", "filtered", "truncated")
#: What a connection was doing when it broke, in words.
DOING = {
    "waiting": "the client was waiting for an answer", "answering": "the server was sending an answer",
    "idle": "it was idle",
}  # fmt: skip


class ConnectionLife(NamedTuple):
    """When one connection began, broke and ended; seconds since the file's first packet."""

    from_s: float
    #: Its last packet, and whether it was still open then.
    to_s: float
    open: bool
    #: When the first FIN passed, and how long only one side had closed where that was a second or more.
    closed_s: float | None
    half_closed_s: float | None
    #: Opened and ended without data.
    health_check: bool
    broke: Broke | None
    #: What it was doing when it broke, a key of `DOING`; None where it did not.
    doing: str | None
    #: The server's last message where that was an error.
    said: LastMessage | None

    def to_json(self) -> dict[str, Any]:
        """As `tcplab diagnose --json` prints it.

        `broke` has `how` (`server_end`, `client_end`, `refused`, `ghost`, `silence`), `from` and `to`: of a
        silence the last sign of life and the first segment without an answer.
        """
        broke = self.broke and {"how": self.broke.family, "from": self.broke.low_s, "to": self.broke.high_s}
        said = self.said and {**self.said.message.to_json(), "frame": self.said.frame, "t": self.said.t_s}
        return {
            "from": self.from_s, "to": self.to_s, "open": self.open, "closed": self.closed_s,
            "half_closed_s": self.half_closed_s, "health_check": self.health_check, "broke": broke,
            "doing": self.doing, "last_message": said,
        }  # fmt: skip


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
    #: Each of them broke after a silence of so many seconds; 0: not after equal ones.
    silence_s: float = 0.0

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

    def local(self, zone: ZoneInfo) -> tuple[str, str]:
        """From when to when it was in a time zone, as ISO 8601 has it, with the offset from UTC."""
        low, high = (
            zoned(self.began + round(t * SECOND), zone).isoformat(timespec="milliseconds")
            for t in (self.low_s, self.high_s)
        )
        return low, high

    def to_json(self, zone: ZoneInfo | None = None) -> dict[str, Any]:
        """As `tcplab diagnose --json` prints it; times in seconds since the file's first packet.

        `unaware`: connections whose ends got no error although the silent host was theirs, too. `cause` has
        `code`, `certainty` and the sentences `says`, `looks_same` and `cannot_tell`: see `causes.py`.
        `local`: from and to in this time zone. `silence_s`: each broke after a silence of this length.
        """
        return {
            "number": self.number, "from": self.low_s, "to": self.high_s, "says": self.says,
            "connections": list(self.connections), "unaware": list(self.unaware),
            **({"silence_s": self.silence_s} if self.silence_s else {}),
            **({"cause": self.cause.to_json()} if self.cause else {}),
            **({"local": self.local(zone)} if zone else {}),
        }  # fmt: skip


def incidents_of(
    events: Iterable[BreakEvent],
    connections: int,
    began: int,
    answered: Callable[[BreakEvent], bool] = lambda event: False,
    silence: Callable[[BreakEvent], float] = lambda event: 0.0,
) -> tuple[list[BreakEvent], list[Incident]]:
    """The events that count, and the incidents, by time; `connections` of the file, which `began` then.

    `answered`: the server closed when it had answered a request, as servers of HTTP do. `silence`: for how
    long the connection had been silent before.
    """
    whole = list(events)
    every = _without_habits(whole, answered)
    many = MANY - (connections <= SMALL_FILE)
    groups: list[list[BreakEvent]] = []
    alone: list[BreakEvent] = []
    for group in _instants(event for event in every if event.broke.family != "silence"):
        quiet = all(event.quiet for event in group)
        if not quiet:  # a goodbye that only came at the same time
            group = [event for event in group if not (event.quiet and answered(event))]
        if len(group) >= (MANY if quiet else many) or group[0].broke.family in ("refused", "ghost"):
            groups.append(group)
        else:
            alone += [event for event in group if not event.quiet]
    silent: dict[str, list[BreakEvent]] = {}
    for event in every:
        if event.broke.family == "silence":
            silent.setdefault(event.actor, []).append(event)
    for own in silent.values():
        together, others = _overlapping(own, many)
        groups += together
        alone += others
    timed, alone = _after_equal_silences(whole, groups, alone, silence)
    groups = [*_joined(groups), *timed]
    if sum(map(len, groups)) + len(alone) < MANY:
        groups += [[event] for event in alone]
    kept = [*(event for group in groups for event in group), *alone]
    groups.sort(key=lambda group: (_range(group), group[0].connection.number))
    return kept, [
        _incident(i + 1, group, began, equal_silence(group, silence)) for i, group in enumerate(groups)
    ]


def equal_silence(group: Sequence[BreakEvent], silence: Callable[[BreakEvent], float]) -> float:
    """The silence before each of these ends, seconds, where all were silent for the same time; else 0.

    Ends at the same time prove nothing: what was last used together was silent for the same time, too.
    """
    own = [event for event in group if event.broke.family in ("server_end", "client_end")]
    silences = sorted(map(silence, own))
    if len(own) < MANY or silences[0] < SILENT_S or silences[-1] - silences[0] > 2 * EQUAL * silences[0]:
        return 0.0
    length = max(event.high_s for event in own) - min(event.high_s for event in own)
    is_spread = length > max(TOGETHER_S, 4 * (silences[-1] - silences[0]))
    return median(silences) if is_spread else 0.0


def _after_equal_silences(
    whole: Sequence[BreakEvent],
    groups: Sequence[list[BreakEvent]],
    alone: Sequence[BreakEvent],
    silence: Callable[[BreakEvent], float],
) -> tuple[list[list[BreakEvent]], list[BreakEvent]]:
    """Ends of one server or client at different times, most of them after equal silences; the other events.

    A goodbye counts, too: who ends an idle connection gets its answer at once.
    """
    in_groups = {event.connection.number for group in groups for event in group}
    by_actor: dict[tuple[str, str], list[tuple[float, BreakEvent]]] = {}
    for event in whole:
        if event.broke.family in ("server_end", "client_end") and event.connection.number not in in_groups:
            by_actor.setdefault((event.broke.family, event.actor), []).append((silence(event), event))
    found = []
    for ends in by_actor.values():
        ends.sort(key=itemgetter(0))
        middle, _ = ends[len(ends) // 2]
        same = [event for silent, event in ends if abs(silent - middle) <= EQUAL * middle]
        if 2 * len(same) > len(ends) and equal_silence(same, silence):
            found.append(sorted(same, key=lambda event: event.high_s))
    taken = {event.connection.number for group in found for event in group}
    return found, [event for event in alone if event.connection.number not in taken]


def _without_habits(events: Sequence[BreakEvent], answered: Callable[[BreakEvent], bool]) -> list[BreakEvent]:
    """The events without closes that are how a server ends its connections all the time."""
    habit: set[int] = set()
    quiet = [event for event in events if event.quiet]
    of_server = Counter(event.actor for event in quiet)
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for event in quiet:
        first[event.actor] = min(first.get(event.actor, event.low_s), event.low_s)
        last[event.actor] = max(last.get(event.actor, event.high_s), event.high_s)
    for run in _instants(quiet):
        if len(run) < MANY:
            continue
        actor, length = run[0].actor, run[-1].high_s - run[0].high_s
        others, rest_s = of_server[actor] - len(run), last[actor] - first[actor] - length
        # So many would fall into this time if the server's closes were spread evenly, and by chance more.
        usual = others * (length + TOGETHER_S) / max(rest_s, TOGETHER_S)
        if length > HABIT_S or len(run) < MANY + usual + 5 * sqrt(usual):
            habit |= {event.connection.number for event in run}
        else:
            habit |= {event.connection.number for event in run if answered(event)}
    return [event for event in events if event.connection.number not in habit]


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


def _overlapping(events: Sequence[BreakEvent], many: int) -> tuple[list[list[BreakEvent]], list[BreakEvent]]:
    """The most events whose intervals share a moment, then the most of the rest, down to `many`; the others.

    Each pass over the moments takes all groups of one size: how many sizes there are is at most the root of
    twice the number of events.
    """
    groups: list[list[BreakEvent]] = []
    left = sorted(events, key=lambda event: event.connection.number)
    while len(left) >= many:
        edges = [(event.low_s, False, place) for place, event in enumerate(left)]
        edges += [(event.high_s, True, place) for place, event in enumerate(left)]
        edges.sort()
        most = max(accumulate(-1 if ends else 1 for _, ends, _ in edges))
        if most < many:
            break
        now, taken = set[int](), set[int]()
        for _, ends, place in edges:
            if ends:
                now.discard(place)
            else:
                now.add(place)
            if len(now) == most:
                groups.append([left[each] for each in sorted(now)])
                taken |= now
                now.clear()
        left = [event for place, event in enumerate(left) if place not in taken]
    return groups, left


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


def _incident(number: int, group: Sequence[BreakEvent], began: int, silence_s: float) -> Incident:
    text, what = _words(group)
    if silence_s:
        what = f"{what}, each after {silence_s:,.1f} s of silence"
    numbers = tuple(event.connection.number for event in group)
    is_silence = group[0].broke.family == "silence"
    return Incident(
        number, *_range(group), text, numbers, what, is_silence, began, silence_s=round(silence_s, 3)
    )


def _ended(group: Sequence[BreakEvent], server: str) -> tuple[str, str]:
    """The same for a server that closed or reset connections, and perhaps refused others then."""
    own = [event for event in group if event.broke.family == "server_end"]
    refused = len(group) - len(own)
    closed = any(f.code == "closed_by_server" for event in own for f in event.connection.findings)
    reset = any(f.code == "reset_by_server" for event in own for f in event.connection.findings)
    verb = "closed" if closed else "reset" if reset else "ended"
    length = max(event.high_s for event in own) - min(event.high_s for event in own)
    within = f" within {short_duration(round(length * SECOND))}" if length else ""
    then = f" and refused the next {refused}" if refused > 1 else " and refused the next one" * refused
    text = f"server {verb} {len(own)}" + (f", refused {refused}" if refused else "")
    return text, f"the server {server} {verb} {plural(len(own), 'connection')}{within}{then}"


def _words(group: Sequence[BreakEvent]) -> tuple[str, str]:
    """A few words about an incident, and what happened, as the end of a sentence."""
    first, many = group[0].connection, len(group)
    server = named(first)
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
    #: What each server said last, where that was an error, by the connection's number.
    said: Mapping[int, LastMessage] = field(default_factory=dict)

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

    def life(self, number: int) -> ConnectionLife:
        """When a connection began, broke and ended, and what it was doing when it broke."""
        each, (first, last) = self.diagnosis.connections[number], self._spans[number]
        codes = {finding.code: finding for finding in reversed(each.findings)}
        close = codes.get("closed_by_client") or codes.get("closed_by_server")
        half, broke = codes.get("half_closed"), self.broke.get(number)
        moment = broke.high_s if broke else self.unaware.get(number)
        return ConnectionLife(
            first / SECOND, last / SECOND, each.state == "open", close.t / SECOND if close else None,
            half.facts["lasted_s"] if half else None, "probe_only" in codes, broke,
            None if moment is None else self._doing(number, moment), self.said.get(number),
        )  # fmt: skip

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        return self.capture.table.spans()

    def _doing(self, number: int, moment_s: float) -> str:
        """What the connection was doing at this moment, by the last data before it."""
        said = self.said.get(number)
        packets = packets_of(self.capture, number)
        data = [
            p for p in packets
            if p.length and p.t_s <= moment_s and not (said and said.message.ends and p.frame >= said.frame)
        ]  # fmt: skip
        if not data:
            return "idle"
        last = data[-1]
        if last.length == 1 and len(data) > 1 and last.by_client == data[-2].by_client:
            return "idle"  # a keepalive probe of one byte
        if last.by_client:
            return "waiting"
        acked = any(p.by_client and p.t_s > last.t_s for p in packets)
        return "idle" if acked else "answering"

    def remarks(self, number: int) -> list[str]:
        """When a connection broke and what its server sent last, a sentence each; none of a healthy one."""
        life, said = self.life(number), self.said.get(number)
        doing = DOING.get(life.doing or "", "")
        lines = []
        if life.broke and life.broke.family == "silence":
            low, high = (self._clock(t) for t in (life.broke.low_s, life.broke.high_s))
            lines.append(f"Last sign of life {low}, first segment without an answer {high}; {doing}.")
        elif life.broke and life.broke.family == "server_end":
            lines.append(f"It broke at {self._clock(life.broke.high_s)}; {doing}.")
        elif number in self.unaware:
            moment = self._clock(self.unaware[number])
            lines.append(f"Neither end got an error, although it broke before {moment}; {doing}.")
        if said:
            lines.append(f"The server’s last message, in frame {said.frame}: {said.message.quoted}.")
        return lines

    def _clock(self, t_s: float) -> str:
        return clock(self.capture.began + round(t_s * SECOND))

    def in_zone(self, zone: ZoneInfo | None) -> str:
        """When the incident with most connections was in a time zone, in a sentence; empty without one."""
        if zone is None or (worst := self.worst) is None:
            return ""
        low, high = (zoned(worst.began + round(t * SECOND), zone) for t in (worst.low_s, worst.high_s))
        first, last = (f"{each:%H:%M:%S}.{each.microsecond // 1000:03}" for each in (low, high))
        when = f"at {first}" if first == last else f"from {first} to {last}"
        day = f" on {low:%d %b %Y}" * (low.date() != low.astimezone(UTC).date())
        return f"In {zone.key} (UTC{low.isoformat()[-6:]}) that was {when}{day}; all other times are UTC."

    def to_json(self, zone: ZoneInfo | None = None) -> dict[str, Any]:
        """All that `tcplab diagnose --json` prints of one file.

        That is `Diagnosis.to_json` with a `life` in each connection (`ConnectionLife.to_json`), and `story`,
        the headline, and `incidents` (`Incident.to_json`); with a time zone also its name, as `zone`, and
        when the incident with most connections was there, as `in_zone`.
        """
        whole = self.diagnosis.to_json()
        for number, each in enumerate(whole["connections"]):
            each["life"] = self.life(number).to_json()
        local = {"zone": zone.key, "in_zone": self.in_zone(zone)} if zone else {}
        incidents = [each.to_json(zone) for each in self.incidents]
        return {**whole, "story": self.headline(), **local, "incidents": incidents}

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
    said = last_messages(capture)
    events = events_of(diagnosis, partial(packets_of, capture), said, partial(closed_unanswered, capture))

    @lru_cache(None)
    def silence(number: int, t_s: float) -> float:
        return silence_before(capture, number, t_s)

    kept, incidents = incidents_of(
        events, len(diagnosis), capture.began,
        lambda event: answered_close(capture, event.connection.number),
        lambda event: silence(event.connection.number, event.low_s),
    )  # fmt: skip
    by_number = {event.connection.number: event for event in kept}
    reader = EvidenceReader(capture, diagnosis, by_number, said)
    unaware: dict[int, float] = {}
    whole = []
    for each in incidents:
        group = [by_number[number] for number in each.connections]
        others = reader.unaware(group, each.low_s, each.high_s)
        unaware |= dict.fromkeys(others, each.high_s)
        whole.append(
            replace(each, cause=cause_of(reader.evidence(group, each.high_s, each.silence_s)), unaware=others)
        )
    broke = {number: event.broke for number, event in by_number.items()}
    return CaptureIncidents(capture, diagnosis, tuple(whole), broke, unaware, said)
