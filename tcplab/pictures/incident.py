"""What the picture of a whole capture shows: each connection as a lane, and where they broke together.

A lane is read from the capture's packets and from what `diagnose` found: kinds of packets and what became of
them are decided there and in `follow`, never here. It is read when it is first drawn: of ten thousand
connections only those that a window shows in detail. Drawn in `incident_layout.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from tcplab.capture.breaks import Broke, Passed, packets_of
from tcplab.capture.incidents import CaptureIncidents, Incident, find_incidents, tenths
from tcplab.core.segment import ACK, FIN, RST, SYN, Endpoint
from tcplab.core.text import SECOND, clock, in_words, plural
from tcplab.pictures.lanes import Mark, Span

if TYPE_CHECKING:
    from tcplab.capture.capture import Capture
    from tcplab.capture.findings import ConnectionFindings, Diagnosis

#: So many connections of a silent server are asked whether they noticed.
MOST_ASKED = 200
#: A handshake that takes longer is drawn as a span of its own, and a close that the other end did not answer
#: within this, seconds.
SLOW_S, UNANSWERED_CLOSE_S = 0.2, 0.02
#: A gap in the whole file of at least this share of its length can be folded.
QUIET = 0.02

#: Findings after which one side sent and got no answer.
_SILENT = ("cookie_ghost_suspected", "one_way", "idle_then_dead", "dead_peer", "keepalive_death")


@dataclass(frozen=True, slots=True)
class ConnectionBrief:
    """One connection in a few numbers; seconds since the file's first packet."""

    number: int
    client: Endpoint
    server: Endpoint
    service: str
    from_s: float
    #: Its last packet; the end of the file where it is still open.
    to_s: float
    broke: Broke | None

    @property
    def hit(self) -> bool:
        """It broke."""
        return self.broke is not None


@dataclass(frozen=True, slots=True)
class ConnectionLane:
    """One connection in detail.

    Spans are of the kinds `opening`, `open`, `one_side`, `unanswered`, `unheard` and `window_closed`; marks
    of the kinds `close`, `goodbye`, `rst`, `late_rst`, `refused`, `again` and `probe`.
    """

    brief: ConnectionBrief
    spans: tuple[Span, ...]
    marks: tuple[Mark, ...]
    #: When the client and when the server sent data.
    client_data: tuple[float, ...] = ()
    server_data: tuple[float, ...] = ()
    #: It was open when the file ended.
    goes_on: bool = False


@dataclass
class CaptureTimeline(CaptureIncidents):
    """A capture, its diagnosis and what broke together, ready to be laid out in any window."""

    #: Never handed on by `replace`: what broke is drawn in them.
    _lanes: dict[int, ConnectionLane] = field(default_factory=dict, init=False)

    @property
    def began(self) -> int:
        """When the file's first packet passed, nanoseconds since 1970."""
        return self.capture.began

    @cached_property
    def connections(self) -> tuple[ConnectionBrief, ...]:
        """Every connection, by number."""
        return tuple(self._briefs())

    @cached_property
    def hit(self) -> tuple[ConnectionBrief, ...]:
        """Those that broke."""
        return tuple(each for each in self.connections if each.hit)

    @cached_property
    def quiet(self) -> tuple[tuple[float, float], ...]:
        """Long gaps in which no TCP packet passed, seconds."""
        table = self.capture.table
        times = sorted(table.values("t", range(len(table))))
        least = QUIET * self.length_s * SECOND
        return tuple((a / SECOND, b / SECOND) for a, b in pairwise(times) if b - a >= least)

    def lane(self, number: int) -> ConnectionLane:
        """One connection in detail; read when first asked for."""
        if number not in self._lanes:
            self._lanes[number] = self._read(number)
        return self._lanes[number]

    def incident_of(self, number: int) -> Incident | None:
        """The incident that a connection belongs to."""
        return self._incident_of.get(number)

    @cached_property
    def _incident_of(self) -> dict[int, Incident]:
        return {number: each for each in self.incidents for number in each.connections}

    def _briefs(self) -> Iterator[ConnectionBrief]:
        table = self.capture.table
        for each in self.diagnosis.connections:
            rows = self.capture.rows(each.number)
            first, last = table.values("t", [rows[0], rows[-1]])
            to_s = self.length_s if each.state == "open" else last / SECOND
            yield ConnectionBrief(
                each.number, each.client, each.server, each.service or "TCP",
                first / SECOND, to_s, self.broke.get(each.number),
            )  # fmt: skip

    def _read(self, number: int) -> ConnectionLane:
        brief, findings = self.connections[number], self.diagnosis.connections[number]
        packets = packets_of(self.capture, number)
        incident = self.incident_of(number)
        broke = self.unaware.get(number, incident.high_s if incident else None)
        reader = _LaneReader(brief, findings, packets, broke, self.length_s, number in self.unaware)
        return reader.lane()


class _LaneReader:
    """Spans and marks of one connection."""

    def __init__(
        self, brief: ConnectionBrief, findings: ConnectionFindings, packets: Sequence[Passed],
        broke_s: float | None, end_s: float, unaware: bool,
    ) -> None:  # fmt: skip
        self.brief, self.packets, self.broke_s, self.end_s = brief, packets, broke_s, end_s
        self.unaware = unaware
        self.by_code = {each.code: each for each in reversed(findings.findings)}
        self.findings = findings.findings
        self.at = {each.frame: each for each in packets}
        #: RSTs that ended nothing.
        vain = (each for each in findings.findings if each.code in ("reset_challenged", "reset_ignored"))
        self.vain = {frame for each in vain for frame in each.frames}
        self.spans: list[Span] = []
        self.marks: list[Mark] = []

    def lane(self) -> ConnectionLane:
        """All of it."""
        established = self._established()
        goes_on = False
        if established is None:
            self._never_open()
        else:
            if established - self.brief.from_s > SLOW_S:
                self._span(self.brief.from_s, established, "opening", "connecting")
            goes_on = self._life(established)
            self._windows()
        for p in self.packets:
            if p.flags & RST and p.frame in self.vain:
                self._mark(p.t_s, "late_rst", "RST without effect")
        self._repeats()
        data = {
            side: tuple(p.t_s for p in self.packets if p.by_client == side and p.length)
            for side in (True, False)
        }
        marks = tuple(sorted(self.marks, key=lambda mark: mark.t_s))
        return ConnectionLane(self.brief, tuple(self.spans), marks, data[True], data[False], goes_on)

    def _span(self, from_s: float, to_s: float, kind: str, *words: str) -> None:
        if to_s > from_s:
            length = in_words(to_s - from_s)
            said = (*(f"{each}: {length}" for each in words), length) if words else ()
            self.spans.append(Span(from_s, to_s, kind, said))

    def _mark(self, t_s: float, kind: str, text: str) -> None:
        self.marks.append(Mark(t_s, kind, text))

    def _first(self, flags: int, by_client: bool | None = None, after_s: float = -1.0) -> float | None:
        """When the first packet with one of these flags passed."""
        return next(
            (
                p.t_s for p in self.packets
                if p.flags & flags and p.t_s > after_s and by_client in (None, p.by_client)
                and not (p.flags & RST and p.frame in self.vain)
            ),
            None,
        )  # fmt: skip

    def _established(self) -> float | None:
        """When the client's first ACK passed; of one that the file saw from the middle its first packet."""
        if not any(p.flags & SYN for p in self.packets):
            return self.packets[0].t_s
        accepted = self._first(SYN, by_client=False)
        if accepted is None:
            others = [p for p in self.packets if not p.flags & (SYN | RST)]
            return others[0].t_s if others and any(p.length for p in others) else None
        return next(
            (
                p.t_s for p in self.packets
                if p.by_client and p.t_s >= accepted and p.flags & ACK and not p.flags & (SYN | RST)
            ),
            None,
        )  # fmt: skip

    def _never_open(self) -> None:
        first, last = self.packets[0].t_s, self.packets[-1].t_s
        if refused := self.by_code.get("refused"):
            frame = self.at.get(refused.frames[-1])
            self._mark(frame.t_s if frame else last, "refused", "refused")
        elif self.by_code.get("unanswered_syn"):
            self._span(first, last, "unanswered", "connect, no answer", "no answer")
        else:
            self._span(first, last, "opening", "never established")
            if (reset := self._first(RST)) is not None:
                self._mark(reset, "rst" if self.brief.hit else "late_rst", "RST")

    def _life(self, established: float) -> bool:
        """From the handshake to the end; True where it was open when the file ended."""
        silent = next((self.by_code[code] for code in _SILENT if code in self.by_code), None)
        if silent is not None:
            self._silence(established, silent.code, str(silent.facts.get("side", "client")), silent.frames)
            return False
        fins = {side: self._first(FIN, side) for side in (True, False)}
        reset = self._first(RST)
        ends = [t for t in (*fins.values(), reset) if t is not None]
        end = min(ends, default=None)
        until = self.end_s if end is None else end
        if self.unaware and self.broke_s is not None and established < self.broke_s < until:
            self._span(established, self.broke_s, "open")
            self._span(self.broke_s, until, "one_side", *self._waiting())
        else:
            self._span(established, until, "open")
        if end is None:
            return True
        self._ending(end, fins, reset)
        return False

    def _waiting(self) -> tuple[str, ...]:
        """What the end that has not noticed does: it waits for an answer, or nothing."""
        data = [p for p in self.packets if p.length]
        waits = bool(data) and data[-1].by_client
        return ("waits for its answer, no error", "waits") if waits else ("idle, no error", "idle")

    def _ending(self, end: float, fins: Mapping[bool, float | None], reset: float | None) -> None:
        """The close or reset at `end`, and what was left of the other side."""
        harmless = "reset_after_close" in self.by_code or "probe_only" in self.by_code
        by_server, hit = fins[False] == end, self.brief.hit
        if end in fins.values():
            side = "server" if by_server else "client"
            kind = "close" if by_server and hit else "goodbye"
            self._mark(end, kind, f"the {side} closed (FIN)")
            rest = [t for t in (fins[by_server], reset) if t is not None and t > end]
            other = min(rest, default=self.end_s)
            if other - end > UNANSWERED_CLOSE_S:
                name = "client" if by_server else "server"
                words = (f"{name} in CLOSE-WAIT", "CLOSE-WAIT") if other - end > 1 else ()
                self._span(end, other, "one_side", *words)
        if reset is not None:
            late = harmless or (reset > end and not {"reset_by_server", "reset_by_client"} & {*self.by_code})
            said = "RST after the close, without effect" if late else "RST"
            if "probe_only" in self.by_code:
                said = "RST of a health check"
            self._mark(reset, "late_rst" if late else "rst", said)

    def _silence(self, established: float, code: str, side: str, frames: Iterable[int]) -> None:
        """What one side sent and nothing answered."""
        asked = [self.at[f] for f in frames if f in self.at]
        mine = [p for p in asked if p.by_client == (side == "client") and (p.length or p.flags & FIN)]
        mine = mine or [p for p in asked if p.by_client == (side == "client")]
        if not mine:
            self._span(established, self.end_s, "open")
            return
        first = mine[0].t_s
        reset = self._first(RST, after_s=first)
        last = reset if reset is not None else max(mine[-1].t_s, self.packets[-1].t_s)
        broke = min(max(self.broke_s or first, established), first)
        if code == "one_way":
            broke = min(self.broke_s or first, first)
        self._span(established, broke, "open")
        self._span(broke, first, "one_side", "no error yet")
        words = ("sends, not received", "not received") if code == "one_way" else ("no answer",)
        self._span(first, last, "unheard" if code == "one_way" else "unanswered", *words)
        if reset is not None:
            self._mark(reset, "rst", f"the {side} gives up: RST")

    def _windows(self) -> None:
        """Where a side had no room."""
        if "zero_window" not in self.by_code:
            return
        for side in (True, False):
            shut: float | None = None
            for p in self.packets:
                if p.by_client != side or p.flags & (SYN | RST) or not p.flags & ACK:
                    continue
                if not p.window and shut is None:
                    shut = p.t_s
                elif p.window and shut is not None:
                    self._closed(shut, p.t_s, side)
                    shut = None
            if shut is not None:
                self._closed(shut, self._first(RST | FIN, after_s=shut) or self.end_s, side)

    def _closed(self, from_s: float, to_s: float, by_client: bool) -> None:
        name = "client" if by_client else "server"
        self._span(from_s, to_s, "window_closed", f"the {name} does not read", "window closed")

    def _repeats(self) -> None:
        """What was sent again, and keepalive probes."""
        for each in self.findings:
            frames = [self.at[frame] for frame in each.frames if frame in self.at]
            if each.code in ("dead_peer", "idle_then_dead", "cookie_ghost_suspected", "one_way"):
                client = each.facts.get("side", "client") == "client"
                sent = [p for p in frames if p.by_client == client and (p.length or p.flags & FIN)]
                again, kind, words = sent[1:], "again", "sent again"
            elif each.code in ("retransmission", "unanswered_syn"):
                again = frames[each.code == "unanswered_syn" :]
                kind, words = "again", "SYN sent again" if each.code == "unanswered_syn" else "sent again"
            elif each.code == "keepalive":
                again, kind, words = frames[::2], "probe", "keepalive probe, answered"
            elif each.code == "keepalive_death":
                again, kind, words = frames[:-1], "probe", "keepalive probe, no answer"
            else:
                continue
            known = {mark.t_s for mark in self.marks if mark.kind == kind}
            for p in again:
                if p.t_s not in known:
                    self._mark(p.t_s, kind, words)


def read_incidents(capture: Capture, diagnosis: Diagnosis) -> CaptureTimeline:
    """A capture and its diagnosis as a picture, with what broke together."""
    found = find_incidents(capture, diagnosis)
    return CaptureTimeline(capture, diagnosis, found.incidents, found.broke, found.unaware, found.said)


# -- in words ------------------------------------------------------------------------------------------


def consequences(timeline: CaptureTimeline) -> str:
    """What followed from the incident that hit most connections: how long ends waited, and when it served."""
    worst = timeline.worst
    if worst is None:
        return ""
    spans = [span for n in worst.connections[:MOST_ASKED] for span in timeline.lane(n).spans]
    said = []
    for kind, words in (("one_side", "one side kept its connection"), ("unanswered", "no answer came")):
        times = [span.to_s - span.from_s for span in spans if span.kind == kind]
        if long := [t for t in times if t > 1]:
            short, most = (tenths(t) for t in (min(long), max(long)))
            span = most if short == most else f"{short} to {most}"
            said.append(f"On {plural(len(long), 'connection')} {words} for {span}.")
    alone = sum(number in timeline.broke for number in timeline.unaware)
    if alone:
        said.append(f"On {plural(alone, 'connection')} this end got no error.")
    if unaware := len(timeline.unaware) - alone:
        said.append(
            f"{plural(unaware, 'more connection')} got no error until the file ended or it was closed."
        )
    first = timeline.connections[worst.connections[0]]
    last = max(each.high_s for number in worst.connections if (each := timeline.broke.get(number)))
    if timeline.broke[first.number].family == "server_end":
        again = [each.from_s for each in timeline.connections
                 if each.server == first.server and each.from_s > last and not each.hit]  # fmt: skip
        if again:
            at = clock(timeline.began + round(min(again) * SECOND))
            said.append(f"It accepted connections again at {at}, {tenths(min(again) - worst.low_s)} later.")
    return " ".join(said)
