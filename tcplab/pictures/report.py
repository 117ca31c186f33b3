"""One page about what broke, to hand on: story, timeline, evidence, what to change and by whom.

HTML is self-contained, without a script, and prints on one A4 page; Markdown has a table for the timeline.
Of two captures of the same connections it tells one story, by the client side's clock.
Redacted, the page has names instead of addresses, client ports and file names (`client 1, session 3`,
`server A:5432`) and none of what programs said; frame numbers, server ports and times stay.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from ipaddress import ip_address
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, NamedTuple

from tcplab.capture.breaks import FAMILIES
from tcplab.core.knobs import ParameterError
from tcplab.core.segment import Endpoint
from tcplab.core.text import SECOND, clock, in_words, plural
from tcplab.pictures.incident import (
    CaptureTimeline,
    ConnectionBrief,
    ConnectionLane,
    consequences,
)
from tcplab.pictures.incident_both import both_drawing
from tcplab.pictures.incident_layout import MOST_FEW, Choice, incident_drawing, rows_of, whole
from tcplab.what_if.answer import MOST_PLAYED, WhatIf, what_if
from tcplab.what_if.script import SocketSettings

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from tcplab.capture.both_ends import BothEnds
    from tcplab.capture.findings import ConnectionFindings, Finding

#: What fits the page: rows of evidence, frames in a row, rows of what to change, sentences about limits.
EVIDENCE, FRAMES, CHANGES, LIMITS = 8, 8, 5, 5
#: Connections of two files that fit the page.
PAIRS = 2
#: A window of less than this share of the file is drawn alone.
ZOOM = 0.15
#: The time that stands for the first packet's where times are shifted.
MIDNIGHT = "00:00:00"

OWNERS = CLIENT, SERVER, NETWORK = "Client settings", "Server settings", "Network, firewall"

#: Codes that are evidence, and what was seen of several connections.
SEEN = {
    "idle_then_dead": "sent after a silence and never acknowledged",
    "cookie_ghost_suspected": "the client’s first data never acknowledged: a full accept queue",
    "one_way": "retransmitted while the peer kept sending: one direction is broken",
    "dead_peer": "the same data sent again and again, never acknowledged",
    "keepalive_death": "keepalive probes without an answer, then RST by the prober",
    "ghost_suspected": "the server repeats its SYN-ACK: its accept queue was full",
    "unanswered_syn": "SYN sent again, no answer at all",
    "handshake_incomplete": "SYN-ACK sent again, never acknowledged",
    "refused": "SYN answered by RST: no program listened there, or a firewall rejects",
    "reset_by_server": "RST by the server ended it",
    "reset_by_client": "RST by the client ended it",
    "closed_by_server": "the server closed first (FIN)",
    "slow_connect": "the handshake needed several SYNs",
    "stale_half": "SYN answered with the ACK of an older connection",
    "half_closed": "one side closed, the other did not: CLOSE-WAIT",
    "zero_window": "the receiver advertised no room: its program did not read",
    "retransmission": "data sent again before it was acknowledged",
    "reset_challenged": "RST that ended nothing: challenge ACK",
    "reset_ignored": "RST that ended nothing: outside the window",
    "reset_after_close": "RST after the close: harmless",
}
_PRE_PING = (
    "Test a connection before it is handed out (pre-ping), and retry once when the first statement fails. "
    "Keepalive "
    "does not help where a FIN or RST had arrived."
)
_ACCEPT = "Raise the backlog of listen() and net.core.somaxconn, and accept faster."
#: Who can change something, and what, by the code that calls for it; the worst first.
ADVICE = {
    "idle_then_dead": {
        NETWORK: "Find the firewall, NAT or load balancer that removes idle connections. Its idle "
        "timer has to "
        "be longer than the longest silence, or it should answer with RST.",
    },
    "cookie_ghost_suspected": {SERVER: _ACCEPT},
    "one_way": {
        NETWORK: "Only one direction is dropped: look for an asymmetric route, or a stateful "
        "firewall that sees "
        "half of the traffic.",
    },
    "dead_peer": {
        NETWORK: "Find where the packets are lost: host, cable or route. No setting repairs the "
        "path; settings "
        "decide how long programs hang.",
    },
    "keepalive_death": {
        NETWORK: "The peer or the path to it was gone while the connection was idle: see what was restarted, "
        "moved or unplugged then.",
    },
    "ghost_suspected": {SERVER: _ACCEPT},
    "unanswered_syn": {
        NETWORK: "A firewall drops the SYN, or no host has that address. REJECT instead of DROP "
        "fails at once.",
        CLIENT: "Set a connect timeout (libpq: connect_timeout=5): without one connect() takes minutes.",
    },
    "handshake_incomplete": {NETWORK: "SYN-ACKs do not reach the client, or its ACKs do not come back."},
    "refused": {
        SERVER: "No program listened on this port then: see whether the server was being restarted, and "
        "on which address and port it listens.",
        CLIENT: "Retry a refused connection with a pause that grows, up to the time of a restart.",
    },
    "reset_by_server": {
        SERVER: "See the server's log at this time: what ended these sessions?", CLIENT: _PRE_PING,
    },
    "reset_by_client": {CLIENT: "See which program ended at this time, and why it left data unread."},
    "closed_by_server": {
        SERVER: "Announce restarts; with a pooler in front (PgBouncer: PAUSE, RESUME) sessions wait instead.",
        CLIENT: _PRE_PING,
    },
    "slow_connect": {NETWORK: "SYNs were lost: see drops at the firewall and in the server's SYN queue."},
    "stale_half": {NETWORK: "The server still held a connection that the client had lost."},
    "half_closed": {
        CLIENT: "A pool does not detect a socket in CLOSE-WAIT until it uses it: pre-ping, or a "
        "shorter lifetime "
        "of pooled connections.",
    },
    "zero_window": {
        CLIENT: "Read results as they arrive, or fetch fewer rows at a time: the sender waits while the "
        "receiver's window is closed.",
    },
    "retransmission": {NETWORK: "Packets were lost on a path that works: see errors and drops on it."},
}  # fmt: skip
#: Settings that the what-if tries for a connection that got no answer, by code.
TRIED: Mapping[str, Mapping[str, int]] = {
    "idle_then_dead": {"keepalive_idle_s": 60, "keepalive_interval_s": 10, "keepalive_probes": 6},
    "keepalive_death": {"keepalive_idle_s": 60, "keepalive_interval_s": 10, "keepalive_probes": 6},
    "dead_peer": {"user_timeout_s": 30},
    "one_way": {"user_timeout_s": 30},
}


class Evidence(NamedTuple):
    """One row of the page's table."""

    #: Nanoseconds since the file's first packet.
    t: int
    wall: str
    seen: str
    frames: str
    filter: str


@dataclass(frozen=True)
class IncidentReport:
    """The page's parts, as text; nothing of it is markup except the picture."""

    title: str
    consequences: tuple[str, ...]
    #: The file in a few words.
    file: str
    picture: str
    #: The picture as a table: connection, from, to, what happened.
    lanes: tuple[tuple[str, ...], ...]
    evidence: tuple[Evidence, ...]
    #: Who, and what.
    changes: tuple[tuple[str, str], ...]
    limits: tuple[str, ...]
    foot: str
    #: What the column of times is called: `UTC`, or `after the first packet`.
    times: str = "UTC"
    #: What the limits are those of: `this file` or `these files`.
    source: str = "this file"

    def html(self) -> str:
        """A page of its own."""
        rows = "".join(
            f"<tr><td class=t>{escape(row.wall)}<td>{escape(row.seen)}<td>{escape(row.frames)}"
            f"<td><code>{escape(row.filter)}</code>"
            for row in self.evidence
        )
        table = f"<table><tr><th>{self.times}<th>seen<th>frames<th>Wireshark filter{rows}</table>"
        changes = "".join(
            f"<tr><td class=t><b>{escape(who)}</b><td>{escape(what)}" for who, what in self.changes
        )
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Incident report</title>'
            f"<style>{_CSS}</style><main><div class=top><span>Incident report</span>"
            f"<span>{escape(self.file)}</span></div><h1>{escape(self.title)}</h1>"
            f"<p>{escape(' '.join(self.consequences))}</p><h2>Timeline</h2>{self.picture}"
            f"<h2>Evidence</h2>{table if rows else '<p>Nothing broke.</p>'}"
            f"<h2>What to change, and who</h2>{f'<table>{changes}</table>' if changes else '<p>Nothing.</p>'}"
            f"<h2>What {self.source} can’t show</h2><p>{escape(' '.join(self.limits))}</p>"
            f"<p class=foot>{escape(self.foot)}</p></main></html>\n"
        )

    def markdown(self) -> str:
        """The same as Markdown; the picture is a table."""
        parts = [f"# {_plain(self.title)}", _plain(" ".join(self.consequences)), _plain(self.file)]
        headings = ("connection", "from", "to", "what happened")
        parts += ["## Timeline", _table(headings, self.lanes)]
        frames = [(row.wall, row.seen, row.frames, f"`{row.filter}`") for row in self.evidence]
        parts += ["## Evidence", _table((self.times, "seen", "frames", "Wireshark filter"), frames)]
        parts += ["## What to change, and who changes it", _table(("who", "what"), self.changes)]
        parts += [f"## What {self.source} can’t show", _plain(" ".join(self.limits)), _plain(self.foot)]
        return "\n\n".join(part for part in parts if part) + "\n"


def incident_report(
    timeline: CaptureTimeline, *, both: BothEnds[CaptureTimeline] | None = None, digests: Sequence[str] = (),
    redact: bool = False, shift_time: bool = False, zone: ZoneInfo | None = None, version: str = "",
) -> IncidentReport:  # fmt: skip
    """The page about a capture, or about two of the same connections.

    `both`: those two; `timeline` is what they show together then. `digests`: SHA-256 of each file, of two
    the client side's first. `redact`: no address, client port, name or message of a file occurs.
    `shift_time`: times count from 00:00:00 at the first packet. `zone`: when it broke is said in this time
    zone, too; not where times are shifted.
    """
    names = _Names(timeline, both) if redact else None
    shown = _Shown.of(timeline, names, shift_time)
    say = names.hide if names else str
    choice = _window(shown)
    drawing = (both_drawing(both, shown, most=PAIRS) if both else None) or incident_drawing(shown, choice)
    svg = drawing.svg
    if shift_time:
        svg = re.sub(">UTC, [^<]*<", ">from the first packet<", svg).replace(" UTC", "")
        svg = svg.replace(">01 Jan<", f">{MIDNIGHT}<")  # a tick at midnight is a date
    since = timeline.began if shift_time else 0
    title = both.headline(since) if both else shown.headline()
    reason = both.why() if both else shown.cause.text if shown.cause else ""
    rest = [reason, consequences(shown)]
    rest += [both.clocks_line(), both.remark()] if both else []
    if shift_time:
        title, *rest = (each.replace(", UTC", "").replace(" UTC", "") for each in (title, *rest))
    else:
        rest.append(timeline.in_zone(zone))
    changes = sorted(list(_changes(timeline))[:CHANGES], key=lambda row: OWNERS.index(row[0]))
    hidden = "redacted: addresses, client ports, names, SQL and messages; server ports, frames and times stay"
    source = hidden if redact else _hashes(both, digests)
    times = f"times count from {MIDNIGHT}, the first packet" if shift_time else "times in UTC"
    host = "client’s host" if both else "capturing host"
    foot = (
        f"tcplab {version}".rstrip() + f" · {source} · {times}, by the clock of the {host}, which is "
        "not checked · frame numbers count from 1, as in Wireshark"
    )
    packets, connections = plural(timeline.diagnosis.packets, "packet"), len(timeline.connections)
    file = f"{shown.diagnosis.name} · {packets}, {plural(connections, 'connection')}"
    evidence = [*_evidence(shown, say)]
    if both:
        packets = plural(timeline.diagnosis.packets + both.far.diagnosis.packets, "packet")
        common = plural(len(both.pairs), "connection")
        file = f"{say(' and '.join(both.names))} · {packets}, {common} in both"
        more = [*_lost(both, since, say), *_far(both, since, say)][:EVIDENCE]
        evidence = sorted([*more, *evidence[: EVIDENCE - len(more)]], key=lambda row: row.t)
    return IncidentReport(
        say(title), tuple(say(each) for each in rest if each), file,
        svg, tuple(rows_of(shown)), tuple(evidence),
        tuple((who, say(what)) for who, what in changes),
        tuple(map(say, _limits(shown, both)))[:LIMITS], foot, "time" if shift_time else "UTC",
        "these files" if both else "this file",
    )  # fmt: skip


def _far(both: BothEnds[CaptureTimeline], since: int, say: Any) -> Iterator[Evidence]:
    """A row for each incident that only the server side's file shows, with its frames there."""
    far_of = {pair.near: pair.far for pair in both.pairs}
    for each in both.only_far:
        connections = [both.far.diagnosis.connections[far_of[number]] for number in each.connections]
        found = [f for one in connections for f in one.findings if f.code in FAMILIES]
        if found:
            shown, numbers = _frames(sorted({f.frames[0] for f in found}))
            t = round(each.low_s * SECOND)
            yield Evidence(
                t, clock(max(each.began + t - since, 0)), say(each.what),
                f"{shown} of {say(both.names[1])}", f"frame.number in {{{numbers}}}",
            )  # fmt: skip


def _hashes(both: BothEnds[CaptureTimeline] | None, digests: Sequence[str]) -> str:
    """The files' hashes, with their names where there are two."""
    known = [each for each in digests if each]
    if not known:
        return "read from a pipe, so without a hash"
    if both is None:
        return f"sha256 {known[0]}"
    files = zip(both.names, digests, strict=True)
    return " · ".join(f"sha256 of {name} {digest}" for name, digest in files if digest)


def _lost(both: BothEnds[CaptureTimeline], since: int, say: Any) -> Iterator[Evidence]:
    """What was lost between two files, a row for each direction; frames are those of the sender's file."""
    for by_client, name in zip((True, False), both.names, strict=True):
        if lost := both.lost_from(by_client):
            way = "client to server" if by_client else "server to client"
            first, frames = min(each.t for each in lost), sorted(each.frame for each in lost)
            shown, numbers = _frames(frames)
            yield Evidence(
                first - both.near.capture.began, clock(max(first - since, 0)),
                f"{plural(len(lost), 'packet')} from {way} never arrived", f"{shown} of {say(name)}",
                f"frame.number in {{{numbers}}}",
            )  # fmt: skip


# -- names instead of addresses ------------------------------------------------------------------


class SessionName(Endpoint):
    """A client's end under another name: its address is the client's, its port the session."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{self.address}, session {self.port}"


class _Names:
    """What each address, client port and file name of a capture is called instead."""

    def __init__(self, timeline: CaptureTimeline, both: BothEnds[CaptureTimeline] | None = None) -> None:
        briefs = timeline.connections
        files = zip(both.names, ("the client’s file", "the server’s file"), strict=True) if both else ()
        #: The longest name first: it may contain another one.
        self.files = dict(sorted(files, key=lambda each: -len(each[0]))) or {
            timeline.diagnosis.name: "the file"
        }
        servers = list(dict.fromkeys(each.server.address for each in briefs))
        clients = [each for each in dict.fromkeys(b.client.address for b in briefs) if each not in servers]
        self.hosts = {address: f"server {_letters(i)}" for i, address in enumerate(servers)}
        self.hosts |= {address: f"client {i}" for i, address in enumerate(clients, 1)}
        self.clients = {each.client: self.client(each) for each in briefs}
        ends = [(each.client, each.server) for each in briefs]
        ends += both.far.capture.connections if both else []
        self.ports = {str(client.port) for client, _ in ends} - {str(server.port) for _, server in ends}

    def client(self, brief: ConnectionBrief) -> SessionName:
        return SessionName(self.hosts[brief.client.address], brief.number + 1)

    def server(self, brief: ConnectionBrief) -> Endpoint:
        return Endpoint(self.hosts[brief.server.address], brief.server.port)

    def hide(self, text: str) -> str:
        """A sentence without what it must not say."""
        for name, instead in self.files.items():
            text = text.replace(name, instead) if name else text
        text = re.sub(r"[“\"][^”\"]*[”\"]", "(text left out)", text)
        text = re.sub(r"\[?[0-9A-Fa-f:.]*[.:][0-9A-Fa-f:.]*[0-9A-Fa-f]\]?(:\d+)?", self._address, text)
        text = re.sub(r"\b\d{4,5}\b", lambda found: "(port)" if found[0] in self.ports else found[0], text)
        return re.sub(r"\b(server|client) (?=\1 )", "", text)

    def _address(self, found: re.Match[str]) -> str:
        whole = found[0]
        for address, port in ((whole, ""), *(_split(whole))):
            try:
                known = str(ip_address(address.strip("[]")))
            except ValueError:
                continue
            if port and (name := self.clients.get(Endpoint(known, int(port)))):
                return str(name)
            return self.hosts.get(known, "another host") + (f":{port}" if port else "")
        return whole


def _split(text: str) -> Iterator[tuple[str, str]]:
    address, colon, port = text.rpartition(":")
    if colon and port.isdigit():
        yield address, port


def _letters(number: int) -> str:
    """A, B … Z, AA, AB …"""
    text = ascii_uppercase[number % 26]
    return text if number < 26 else _letters(number // 26 - 1) + text


@dataclass
class _Shown(CaptureTimeline):
    """A timeline under other names, or on a clock that begins at midnight."""

    original: CaptureTimeline | None = None
    names: _Names | None = None
    shifted: bool = False

    @classmethod
    def of(cls, timeline: CaptureTimeline, names: _Names | None, shifted: bool) -> _Shown:
        diagnosis = replace(timeline.diagnosis, name="capture 1") if names else timeline.diagnosis
        incidents = timeline.incidents
        if shifted:
            incidents = tuple(replace(each, began=0) for each in incidents)
        if names:
            incidents = tuple(
                replace(
                    each, text=names.hide(each.text), what=names.hide(each.what),
                    cause=each.cause.worded(names.hide) if each.cause else None,
                )
                for each in incidents
            )  # fmt: skip
        return cls(
            timeline.capture, diagnosis, incidents, timeline.broke, timeline.unaware, timeline.said,
            original=timeline, names=names, shifted=shifted,
        )  # fmt: skip

    @property
    def began(self) -> int:
        return 0 if self.shifted else self.capture.began

    @cached_property
    def connections(self) -> tuple[ConnectionBrief, ...]:
        assert self.original is not None
        if (names := self.names) is None:
            return self.original.connections
        return tuple(
            replace(each, client=names.client(each), server=names.server(each))
            for each in self.original.connections
        )

    def lane(self, number: int) -> ConnectionLane:
        assert self.original is not None
        return replace(self.original.lane(number), brief=self.connections[number])


# -- the parts -----------------------------------------------------------------------------------


def _window(timeline: CaptureTimeline) -> Choice:
    """The whole file, or the part in which it broke where that is short."""
    times = [t for each in timeline.hit if each.broke for t in (each.broke.low_s, each.broke.high_s)]
    length = timeline.length_s
    if not times or max(times) - min(times) > ZOOM * length:
        return whole(timeline)
    until = max([max(times), *(_until(timeline, each) for each in timeline.hit[:MOST_FEW])])
    wide = max(until - min(times), length / 1000, 1e-3)
    low, high = max(min(times) - 0.5 * wide, 0.0), min(until + 0.1 * wide, length)
    return Choice(low, high) if high - low < 0.5 * length else whole(timeline)


def _until(timeline: CaptureTimeline, brief: ConnectionBrief) -> float:
    """When the last of what followed in this connection was over, seconds."""
    return max((span.to_s for span in timeline.lane(brief.number).spans), default=brief.to_s)


def _evidence(timeline: CaptureTimeline, say: Any) -> Iterator[Evidence]:
    """What was seen, a row for each code and server, in order of time; the worst where there are many."""
    groups: dict[tuple[str, Endpoint], list[Finding]] = {}
    for brief, each in zip(timeline.connections, timeline.diagnosis.connections, strict=True):
        for finding in _telling(timeline, each):
            groups.setdefault((finding.code, brief.server), []).append(finding)
    order = list(SEEN)
    worst = sorted(groups, key=lambda key: (order.index(key[0]), -len(groups[key])))[:EVIDENCE]
    for key in sorted(worst, key=lambda key: min(each.t for each in groups[key])):
        yield _row(timeline, *key, groups[key], say)


def _telling(timeline: CaptureTimeline, connection: ConnectionFindings) -> list[Finding]:
    """What counts as evidence: of a health check nothing, and no end that only followed from the break."""
    codes = {finding.code for finding in connection.findings}
    if "probe_only" in codes:
        return []
    left_out = {"reset_by_client", "reset_by_server"} if codes & {*TRIED, "unanswered_syn"} else set()
    left_out |= {"dead_peer"} if "idle_then_dead" in codes else set()
    broke = timeline.broke.get(connection.number)
    if (broke is None or broke.family != "server_end") and "half_closed" not in codes:
        left_out.add("closed_by_server")
    return [each for each in connection.findings if each.code in {*SEEN} - left_out]


def _row(
    timeline: CaptureTimeline, code: str, server: Endpoint, found: Sequence[Finding], say: Any
) -> Evidence:
    first, last = min(each.t for each in found), max(each.t for each in found)
    if len(found) == 1:
        seen, frames = say(found[0].says), list(found[0].frames)
    else:
        within = f" within {in_words(round((last - first) / SECOND, 3))}" if last > first else ""
        seen = f"{server}: {SEEN[code]}; {plural(len(found), 'connection')}{within}"
        frames = [each.frames[0] for each in found]
    shown, numbers = _frames(sorted({*frames}))
    wall = clock(timeline.began + first)
    return Evidence(first, wall, seen, shown, f"frame.number in {{{numbers}}}")


def _frames(frames: Sequence[int]) -> tuple[str, str]:
    """Numbers in words, and as a display filter has them; of many the first."""
    runs = _runs(frames)
    more = f" … ({len(frames):,} in all)" if len(runs) > FRAMES else ""
    numbers = ", ".join(runs[:FRAMES])
    return numbers.replace("..", "–") + more, numbers


def _runs(frames: Sequence[int]) -> list[str]:
    """Numbers as a display filter has them, those in a row together: ``8..24``."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][-1] + 1:
            runs[-1][1:] = [frame]
        else:
            runs.append([frame])
    return ["..".join(map(str, run)) for run in runs]


def _changes(timeline: CaptureTimeline) -> Iterator[tuple[str, str]]:
    """Who can change what: answers of the what-if first, then what each code calls for."""
    codes = Counter(
        finding.code for each in timeline.diagnosis.connections for finding in _telling(timeline, each)
    )
    yield from _tried(timeline)
    given: set[str] = set()
    for code in [code for code in ADVICE if codes[code]][:3]:
        for who, what in ADVICE[code].items():
            if what not in given:
                given.add(what)
                yield who, what


def _tried(timeline: CaptureTimeline) -> Iterator[tuple[str, str]]:
    """What other settings would have done for the first connection of each kind that got no answer."""
    for code, settings in TRIED.items():
        for each in timeline.diagnosis.connections:
            finding = next((f for f in each.findings if f.code == code), None)
            if finding is None or len(timeline.capture.rows(each.number)) > MOST_PLAYED:
                continue
            side = str(finding.facts.get("side", "client"))
            connection = timeline.capture.connection(each.number)
            try:
                answer = what_if(connection, side=side, **_fitting(finding, settings))
            except ParameterError:
                break
            if answer.likeness.holds and _is_better(answer):
                owner = CLIENT if side == "client" else SERVER
                yield owner, f"{answer.sentence} Set {', '.join(_libpq(answer.changes, side))}."
            break


def _is_better(answer: WhatIf) -> bool:
    """The session would have lived, or failed clearly sooner than it did."""
    if answer.lived:
        return answer.was.kind != "lived"
    failed = answer.outcome.kind == "failed"
    return failed and (answer.was.kind == "waits" or answer.outcome.after < 0.8 * answer.was.after)


def _fitting(finding: Finding, settings: Mapping[str, int]) -> dict[str, Any]:
    """The settings; a keepalive shorter than the silence that was too long."""
    idle = finding.facts.get("idle_s")
    values: dict[str, Any] = dict(settings)
    if "keepalive_idle_s" in values and idle and idle / 2 < values["keepalive_idle_s"]:
        values["keepalive_idle_s"] = max(int(idle / 2), 1)
        values["keepalive_interval_s"] = min(values["keepalive_interval_s"], values["keepalive_idle_s"])
    return values


def _libpq(changes: Mapping[str, Any], side: str) -> Iterable[str]:
    """Settings as PostgreSQL's client or server has them."""
    for name, value in changes.items():
        knob = SocketSettings.knobs()[name]
        word = knob.libpq.replace("keepalives", "tcp_keepalives") if side == "server" else knob.libpq
        yield f"{word}={value * knob.libpq_factor:g}"


def _limits(timeline: CaptureTimeline, both: BothEnds[CaptureTimeline] | None) -> Iterator[str]:
    """What nobody can read from these files."""
    began, ended = (clock(timeline.began + round(t * SECOND), 0) for t in (0, timeline.length_s))
    points = "They show two points" if both else "It shows one point"
    yield f"{points} of the path, from {began} to {ended}."
    if timeline.cause:
        yield timeline.cause.cannot_tell
    far = both.far.diagnosis.warnings if both else ()
    yield from [*timeline.diagnosis.warnings, *far][: LIMITS - 3]
    beyond, files = ("these points", "files do") if both else ("this point", "file does")
    yield (
        f"What programs and the server logged, whether work was committed, what got lost beyond {beyond}, "
        f"and sessions that the {files} not hold."
    )


# -- text ----------------------------------------------------------------------------------------

_CSS = (
    "@page{size:A4;margin:12mm 14mm}body{margin:0;color:#1b1f24;background:#fff;font:9.6pt/1.32 Inter,"
    '"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}main{width:182mm;margin:0 auto}'
    "h1{font-size:14pt;line-height:1.25;margin:2mm 0 1mm}h2{font-size:10.5pt;margin:2.6mm 0 .8mm;"
    "border-bottom:1px solid #c3c9d0}p{margin:.8mm 0}.top{display:flex;justify-content:space-between}"
    ".top,.foot,th{color:#57606a;font-size:8.5pt}table{border-collapse:collapse;width:100%;font-size:8.8pt}"
    "td,th{text-align:left;vertical-align:top;padding:.5mm 2mm .5mm 0;border-bottom:1px solid #e6e8eb;"
    "font-weight:400}.t{white-space:nowrap}code{font:7.5pt monospace;overflow-wrap:anywhere}"
    "svg{display:block;width:100%;height:auto;max-height:88mm}@media screen{main{padding:12mm 0}}"
)


def _plain(text: str) -> str:
    """Text that Markdown takes as it is."""
    return re.sub(r"([\\`*{}\[\]<>#|])", r"\\\1", text.replace("\n", " "))


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = ([cell if cell.startswith("`") else _plain(cell) for cell in row] for row in rows)
    lines = [f"| {' | '.join(row)} |" for row in cells]
    if not lines:
        return "Nothing."
    return "\n".join([f"| {' | '.join(headings)} |", "|" + "---|" * len(headings), *lines])
