"""What a capture shows about the cause of an incident: its connections, their hosts and messages."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property

from tcplab.capture.breaks import FAMILIES, PIECE, BreakEvent, LastMessage, packets_of, sender_of
from tcplab.capture.capture import Capture
from tcplab.capture.causes import IncidentEvidence
from tcplab.capture.findings import ConnectionFindings, Diagnosis
from tcplab.capture.messages import meaning_of
from tcplab.core.segment import Endpoint
from tcplab.core.text import SECOND, plural

#: So many connections of a host are asked whether it still answered.
MOST_ASKED = 200
#: Bytes of a segment that may be too large for a path: above IPv6's smallest MTU, less its headers.
LARGE = 1220


class EvidenceReader:
    """Looks for what else a capture shows about its incidents."""

    def __init__(
        self, capture: Capture, diagnosis: Diagnosis, events: Mapping[int, BreakEvent],
        said: Mapping[int, LastMessage],
    ) -> None:  # fmt: skip
        self._capture, self._connections = capture, diagnosis.connections
        self._events, self._said = events, said

    def evidence(self, group: Sequence[BreakEvent], moment_s: float) -> IncidentEvidence:
        """All about connections that broke together, at the latest at this moment."""
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
        same, other = (
            self._answers(group, moment_s, host, {*others}) if family == "silence" else (False, False)
        )
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
            server=named(first.connection), host=host, peers=_some(others), side=side,
            codes=frozenset().union(*codes),
            reset=resets.most_common(1)[0][0] if only_reset and not closed else "",
            answers_same=same, answers_others=other, idle_s=min(map(_idle_s, own)),
            full_size=family == "silence" and all(self._is_large(event) for event in own),
            icmp=icmp, icmp_from=sender, **self._message(own),
        )  # fmt: skip

    def _message(self, group: Sequence[BreakEvent]) -> dict[str, str]:
        """The message with which the server ended most of these connections, and what is known about it."""
        if group[0].broke.family != "server_end":
            return {}
        said = [last.message for event in group if (last := self._said.get(event.connection.number))]
        ending = Counter(message for message in said if message.ends)
        if not ending:
            return {}
        message, many = ending.most_common(1)[0]
        to = "" if many == len(group) else f" to {many:,} of {plural(len(group), 'connection')}"
        meaning = meaning_of(message)
        known = meaning._asdict() if meaning else {"says": "", "same": "", "open": ""}
        return {
            "message": message.quoted + to, "meaning": known["says"], "meaning_same": known["same"],
            "meaning_open": known["open"],
        }  # fmt: skip

    def unaware(self, group: Sequence[BreakEvent], low_s: float, high_s: float) -> tuple[int, ...]:
        """Connections that a silent host had too, on which nothing was sent or given up, by number."""
        event = group[0]
        if event.broke.family != "silence":
            return ()
        side, number = _silent_side(event), event.connection.number
        server, spans = event.connection.server, self._spans
        others = [
            each for each in self._of_host.get(event.actor, ())
            if each not in self._events and self._connections[each].server == server
            and _end(self._connections[each], side).address == event.actor
            and spans[each][0] < low_s and self._until(each) > high_s
        ]  # fmt: skip
        if number in others or len(others) > MOST_ASKED:
            return ()
        by_client = side == "client"
        if any(self._heard(each, by_client, high_s) for each in others):
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
        for at in range(begin, len(rows), PIECE):
            some = self._capture.table.segments(rows[at : at + PIECE])
            if any((s.source == client) == by_client for s in some):
                return True
        return False

    def _answers(
        self, group: Sequence[BreakEvent], moment_s: float, host: str, peers: set[str]
    ) -> tuple[bool, bool]:
        """Whether a silent host sent anything afterwards: to these peers, to others."""
        found = {True: False, False: False}
        asked, own = {True: 0, False: 0}, {event.connection.number for event in group}
        for number in self._of_host.get(host, ()):
            each = self._connections[number]
            by_client = each.client.address == host
            same = (each.server if by_client else each.client).address in peers
            if number in own or found[same] or self._spans[number][1] <= moment_s:
                continue
            if asked[same] < MOST_ASKED:
                asked[same] += 1
                found[same] = self._heard(number, by_client, moment_s)
            if all(found.values()):
                break
        return found[True], found[False]

    def _is_large(self, event: BreakEvent) -> bool:
        """What was not answered is larger than all that was, and too large for some paths."""
        code = next(code for code in FAMILIES if any(f.code == code for f in event.connection.findings))
        finding = next(f for f in event.connection.findings if f.code == code)
        if code not in ("dead_peer", "idle_then_dead"):
            return False
        by_client, frames = sender_of(finding) == "client", set(finding.frames)
        mine = [p for p in packets_of(self._capture, event.connection.number) if p.by_client == by_client]
        lost = [p.length for p in mine if p.frame in frames and p.length]
        before = [p.length for p in mine if p.t_s < event.high_s]
        return bool(lost and before) and min(lost) > max(LARGE, *before)


_OTHER = {"client": "server", "server": "client"}


def _silent_side(event: BreakEvent) -> str:
    """The side of a silence that fell silent: `client` or `server`."""
    findings = event.connection.findings
    code = next((code for code in FAMILIES if any(f.code == code for f in findings)), None)
    return _OTHER[sender_of(next(f for f in findings if f.code == code))] if code else "server"


def _end(connection: ConnectionFindings, side: str) -> Endpoint:
    return connection.client if side == "client" else connection.server


def _idle_s(event: BreakEvent) -> float:
    """The silence before what was not answered, seconds; 0 where it was not idle or that is unknown."""
    idle = [
        float(f.facts.get("idle_s") or 0) for f in event.connection.findings
        if f.code in ("idle_then_dead", "keepalive_death")
    ]  # fmt: skip
    return max(idle, default=0.0)


def named(connection: ConnectionFindings) -> str:
    """``10.0.0.2:5432 (PostgreSQL)``."""
    server, service = connection.server, connection.service
    return f"{server} ({service})" if service else str(server)


def _some(hosts: Counter[str]) -> str:
    """The host with most connections, and how many others there are."""
    (first, _), more = hosts.most_common(1)[0], len(hosts) - 1
    return f"{first} and {plural(more, 'other host')}" if more else first
