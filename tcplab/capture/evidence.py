"""What a capture shows about the cause of an incident: its connections, their hosts and messages."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from operator import itemgetter

from tcplab.capture.breaks import FAMILIES, BreakEvent, LastMessage, packets_of, sender_of
from tcplab.capture.capture import Capture
from tcplab.capture.causes import IncidentEvidence
from tcplab.capture.findings import ConnectionFindings, Diagnosis
from tcplab.capture.messages import meaning_of
from tcplab.core.segment import Endpoint
from tcplab.core.text import SECOND, plural

#: With more connections of a host that did not break than this, it did not fall silent.
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

    def evidence(
        self, group: Sequence[BreakEvent], moment_s: float, equal_s: float = 0.0
    ) -> IncidentEvidence:
        """All about connections that broke together, at the latest at this moment.

        `equal_s`: each of them had been silent for so long, seconds.
        """
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
            answers_same=same, answers_others=other, idle_s=min(map(_idle_s, own)), equal_s=equal_s,
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
        side = _silent_side(event)
        others = self._unbroken.get((event.actor, event.connection.server, side), LongSpans([]))
        found = list(islice(others.around(low_s, high_s), MOST_ASKED + 1))
        after = round(high_s * SECOND)
        if len(found) > MOST_ASKED or any(self._last_sent[each][side] > after for each in found):
            return ()
        return tuple(sorted(found))

    @cached_property
    def _unbroken(self) -> dict[tuple[str, Endpoint, str], LongSpans]:
        """Connections that did not break, by the address of one end, the server, and the side of that end."""
        found: dict[tuple[str, Endpoint, str], list[tuple[float, float, int]]] = {}
        ended = self._capture.ended - self._capture.began
        for each, (first, last) in zip(self._connections, self._capture.table.spans(), strict=True):
            if each.number in self._events:
                continue
            span = first / SECOND, (ended if each.state == "open" else last) / SECOND, each.number
            for side in _OTHER:
                found.setdefault((_end(each, side).address, each.server, side), []).append(span)
        return {key: LongSpans(spans) for key, spans in found.items()}

    @cached_property
    def _last_sent(self) -> list[dict[str, int]]:
        """When each side of each connection last sent a packet, nanoseconds; -1: never."""
        found = []
        for each, (end, *last) in zip(self._connections, self._capture.table.last_sent(), strict=True):
            mine, its = last if end == each.client else reversed(last)
            found.append({"client": mine, "server": its})
        return found

    @cached_property
    def _heard(self) -> dict[str, dict[str, list[tuple[int, int]]]]:
        """By host and by peer: when the host last sent on each connection, and its number, latest first."""
        found: dict[str, dict[str, list[tuple[int, int]]]] = {}
        for each, last in zip(self._connections, self._last_sent, strict=True):
            client, server = each.client.address, each.server.address
            found.setdefault(client, {}).setdefault(server, []).append((last["client"], each.number))
            if server != client:
                found.setdefault(server, {}).setdefault(client, []).append((last["server"], each.number))
        # The peer that heard of it last comes first.
        for host, peers in found.items():
            for heard in peers.values():
                heard.sort(reverse=True)
            found[host] = dict(sorted(peers.items(), key=itemgetter(1), reverse=True))
        return found

    def _answers(
        self, group: Sequence[BreakEvent], moment_s: float, host: str, peers: set[str]
    ) -> tuple[bool, bool]:
        """Whether a silent host sent anything afterwards: to these peers, to others."""
        own, after = {event.connection.number for event in group}, round(moment_s * SECOND)
        known = self._heard.get(host, {})

        def answers(peer: str) -> bool:
            last = next((t for t, number in known.get(peer, ()) if number not in own), -1)
            return last > after

        others = (peer for peer in known if peer not in peers)
        return any(map(answers, peers)), any(map(answers, islice(others, 1)))

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


class LongSpans:
    """Spans of time, and which of them are around another one, without asking each."""

    #: So many spans are passed over at once where all of them end too early.
    BLOCK = 64

    def __init__(self, spans: list[tuple[float, float, int]]) -> None:
        self._spans = sorted(spans)
        blocks = (self._spans[at : at + self.BLOCK] for at in range(0, len(spans), self.BLOCK))
        self._latest = [max(until for _, until, _ in block) for block in blocks]

    def around(self, low: float, high: float) -> Iterator[int]:
        """The numbers of the spans that began before `low` and end after `high`."""
        stop = bisect_left(self._spans, (low,))
        for block, latest in enumerate(self._latest[: -(-stop // self.BLOCK)]):
            if latest > high:
                begin = block * self.BLOCK
                some = self._spans[begin : min(begin + self.BLOCK, stop)]
                yield from (number for _, until, number in some if until > high)


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
