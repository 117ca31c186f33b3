"""Read a timeline from a trace: the state of each program and socket over time.

Everything comes from what the run left behind: sockets, segments, calls that returned and calls that did not,
what programs did meanwhile, breaks and deadlines. Only the answer is the experiment's own.

- A **program** does what its activities say; a call that blocks, an error, and a host that is gone count
  for more. It *has not noticed* while one of its sockets is the only end and it waits for nothing.
- A **socket** has its state. *One side only*: the other end is gone, or never was. *Window closed*: the
  peer advertises no room, as one interval while it is more closed than open.
- Two ends are out of step for as long as a segment travels: differences of a flight or two are not shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import inf
from operator import attrgetter
from statistics import median_low
from typing import TYPE_CHECKING, TypeVar

from tcplab.core.segment import ACK, FIN, RST, SYN, Endpoint
from tcplab.core.text import SECOND, duration, in_words, plural
from tcplab.core.trace import Break, Call, Deadline, Packet, SocketSample, Trace
from tcplab.follow import CLIENT, KEEPALIVE, RETRANSMISSION, SERVER, WINDOW_PROBE, EndStates, Followed
from tcplab.pictures.lanes import (
    MARKS,
    AnswerLine,
    BreakMark,
    Flight,
    Lane,
    Level,
    Mark,
    Row,
    Span,
    Timeline,
    TimerSpan,
    counted,
    steps,
)
from tcplab.pictures.text import call_words, fate_words
from tcplab.pictures.theme import PHASE
from tcplab.pictures.timeline_studies import study_breaks, study_lanes
from tcplab.registry import STORIES
from tcplab.studies.study import Study

if TYPE_CHECKING:
    from tcplab.capture.findings.story import Finding

T = TypeVar("T")
#: From, to (seconds), and what it is.
Interval = tuple[float, float, T]
Socket = tuple[str, Endpoint, Endpoint]
#: The kind and the words of a piece of a span.
Look = tuple[str, tuple[str, ...]]

#: A call that takes longer has blocked, seconds.
_BLOCKS_S = 1e-4
#: A call in C's notation.
_FUNCTION = re.compile(r"^(\w+)\(.*")
#: A host has a lane for each of so many sockets; then one of rows; then amounts by state.
_LANES, _ROWS = 2, 10
#: A queue is worth a lane once it holds more than a segment's payload, bytes.
_WORTH_BYTES = 1460
#: Differences between the ends that last no longer than so many flights are travel.
_FLIGHTS = 2.5
_ANSWERS = 20
#: So late a real machine may show what has happened, seconds.
_LATE_S = 0.02
#: Both ends have agreed that there is a connection: one of them alone is worth a word.
SYNCHRONISED = frozenset({"ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING", "LAST_ACK"})
_ABSENT = frozenset({"CLOSED", "SYN_RECV", "SYN_RECEIVED"})
#: Breaks that cut a host off, and those that also end its program; the program's words, the socket's.
_CUT = {"unplugged": ("cannot be reached", "unplugged"), "moved": ("cannot be reached", "unreachable")}
_GONE = _CUT | {"rebooted": ("gone: rebooted", "rebooted"), "killed": ("gone: killed", "killed")}
#: A limit that is a socket's; others are a program's.
_OF_A_SOCKET = "user timeout"
_CHECK = "connection check"
#: A captured connection of more packets than these has at most so many marks of a kind.
_EACH = 1000
#: What a call shows of a program.
_CALLS = ("waits", "error")
_KINDS = {
    KEEPALIVE: "probe", WINDOW_PROBE: "window_probe", RETRANSMISSION: "retransmission",
    "tail_loss_probe": "retransmission",
}  # fmt: skip


def read_timeline(trace: Trace, findings: Iterable[Finding] | None = None) -> Timeline:
    """The timeline of a run of an experiment or a study, or of a capture.

    Of a capture, sockets are inferred, and findings are marked like what breaks: `findings`, or else those
    that the trace itself shows.
    """
    if trace.bench != "capture":
        return _Reading(trace).timeline()
    from tcplab.capture.findings import CODES, findings_of

    worst = [*CODES]
    found = sorted(findings_of(trace) if findings is None else findings, key=lambda f: worst.index(f.code))
    return _CaptureReading(trace if trace.inferred else EndStates(trace).trace, found).timeline()


def packet_kind(packet: Packet) -> str:
    """What kind of mark a segment is: see `Mark.kind`."""
    segment = packet.segment
    if segment.flags & RST:
        return "rst"
    if packet.kind in _KINDS:
        return _KINDS[packet.kind]
    if segment.flags & (FIN | SYN):
        return "fin" if segment.flags & FIN else "syn"
    return "data" if segment.length else "ack"


class _Reading:
    """One trace, and what several of its lanes are read from."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self._zero = trace, trace.watching_since
        self.end = self.s(max((trace.end, *(p.t for p in trace.packets), *(c.t for c in trace.calls))))
        flights = [p.arrives - p.t for p in trace.packets if p.arrives is not None]
        self.flight = median_low(flights) / SECOND if flights else 0.0
        # A capture sees only one point of the path: a flight is half of the time until an answer.
        turns = [b.t - a.t for a, b in pairwise(trace.packets) if a.sender != b.sender][:_ANSWERS]
        travel = _FLIGHTS * (self.flight or (median_low(turns) / SECOND / 2 if turns else 0.0))
        self.grace = travel if trace.bench == "model" else max(travel, _LATE_S)
        self.breaks = trace.breaks()
        last = round(self.end * SECOND) + self._zero
        self.history = {
            key: known
            for key, samples in trace.socket_history()
            if key[2].port and (known := [sample for sample in samples if sample.t <= last])
        }
        #: Segments with their kinds and words, by source and destination.
        self.sent: dict[tuple[Endpoint, Endpoint], list[tuple[Packet, str, str]]] = {}
        for packet in trace.packets:
            segment, kind = packet.segment, packet_kind(packet)
            words = f"{MARKS[kind]}: {segment.length:,} bytes" if segment.length else MARKS[kind]
            if fate := fate_words(packet):
                words = f"{words} {fate}"
            self.sent.setdefault((segment.source, segment.destination), []).append((packet, kind, words))
        story = None if trace.bench == "capture" else STORIES.get(trace.experiment)
        self.story = story.from_values(trace.parameters) if story else None
        self.sentence = self.story.sentence(trace) if self.story else ""
        #: What is still in TIME-WAIT when the run ends is followed where the story is about it.
        self.log = bool(self.story and self.story.log_time)
        final = [samples[-1] for samples in self.history.values()] if self.log else []
        due = [self.s(sample.due) for sample in final if sample.state == "TIME_WAIT" and sample.due]
        self.horizon = max(self.end, *due, self.end)

    def s(self, t: int) -> float:
        """An instant in seconds from the beginning of what is watched."""
        return (t - self._zero) / SECOND

    def timeline(self) -> Timeline:
        trace = self.trace
        before, lasted = sum(p.t < self._zero for p in trace.packets), duration(self._zero - trace.start)
        lanes = study_lanes(trace) if trace.series else self._lanes()
        breaks = [BreakMark(self.s(b.t), b.host, b.kind, b.words) for b in self.breaks if b.t >= self._zero]
        return Timeline(
            name=trace.experiment,
            bench=trace.bench,
            parameters=trace.parameters,
            lanes=tuple(lane for lane in lanes if lane.spans or lane.marks or lane.level or lane.rows),
            breaks=tuple(study_breaks(trace) if trace.series else breaks),
            answer=self._answer(),
            flights=tuple(self._flights()),
            to_s=self.end,
            horizon_s=self.horizon,
            log=self.log,
            flight_s=self.flight,
            folded=f"before: {plural(before, 'segment')} in {lasted}" if before else "",
            sentence=self.sentence,
            settled_s=self.story.settled_s(trace) if isinstance(self.story, Study) else 0.0,
        )

    def _answer(self) -> AnswerLine | None:
        if not self.story or not (answer := self.story.answer(self.trace)):
            return None
        end = None if answer.end is None else self.s(answer.end)
        return AnswerLine(self.s(answer.start), end, answer.host, answer.words)

    def _lanes(self) -> Iterator[Lane]:
        """Mirrored: the sockets of the first and the last host face each other."""
        hosts = self.trace.hosts
        seen = {key[0] for key in self.history} | {call.host for call in self.trace.calls}
        *_, last = "", *(host for place, host in enumerate(hosts) if place and host in seen)
        for host, address in hosts.items():
            if not address:
                yield from self._entries(host)
                continue
            spans = {key: spans for key in self.history if key[0] == host and (spans := self._spans(key))}
            sockets = [*self._sockets(host, spans), *self._queues(host), *self._accept_queues(host)]
            program = self._program(host, spans.values())
            yield from (*sockets, *program) if host == last else (*program, *sockets)

    def _flights(self) -> Iterator[Flight]:
        for packets in self.sent.values():
            for p, kind, words in packets:
                if p.t >= self._zero:
                    arrives = None if p.arrives is None else self.s(p.arrives)
                    yield Flight(self.s(p.t), arrives, p.sender, p.receiver, words, kind)

    # -- programs --------------------------------------------------------------------------------

    def _program(self, host: str, sockets: Collection[Iterable[Span]]) -> Iterator[Lane]:
        trace = self.trace
        calls = sorted(call for call in trace.calls if call.host == host)
        pending = [call for call in trace.pending if call.host == host]
        acts = [act for act in trace.activities if act.host == host]
        if not (calls or pending or acts or any(b.host == host for b in self.breaks)):
            return
        calls = [call for call in calls if call.t >= self._zero]
        starts = [min(max(self.s(act.t), 0.0), self.end) for act in acts] + [self.end]
        if acts and starts[0] < self.grace:
            starts[0] = 0.0
        stays = list(zip(acts, pairwise(starts), strict=True))
        spans = [Span(0.0, starts[0], "idle", ("idle",))]
        # Between two reads a program is idle.
        spans += [Span(a, b, "idle" if act.kind == "reads" else act.kind, act.words) for act, (a, b) in stays]
        alone = merged((s.from_s, s.to_s, "") for each in sockets for s in each if s.kind == "one_side")
        spans = paint(spans, alone, _unaware)
        spans = paint(spans, self._errors(calls, starts), lambda span, words: ("error", (words,)))
        waits = self._waits(calls + pending)
        # Beside work, or among many programs, a call that lasts no longer than a round trip is no wait.
        if len(sockets) <= _LANES:
            spans = paint(
                spans, waits, lambda span, call: None if span.kind == "works" else _waits(span, call)
            )
        spans = paint(spans, waits, _waits, self.grace)
        spans = paint(spans, self._gone(host, _GONE), lambda span, words: ("gone", words))
        held = joined(Span(a, b, "locks", ("locks held",)) for act, (a, b) in stays if act.locks)
        marks = sorted([*self._call_marks(calls), *self._checks(host)], key=attrgetter("t_s"))
        timers = self._limit_timers(host, of_a_socket=False)
        yield Lane(
            f"{host}/program", host, trace.programs.get(host, f"{host}'s program"), "program", joined(spans),
            tuple(marks), tuple(timers), held,
        )  # fmt: skip
        if held and self.story and self.story.held_up:
            yield self._held_up(host, held[-1].to_s, *self.story.held_up)

    def _held_up(self, host: str, free_s: float, name: str, waits: str, then: str) -> Lane:
        """What a program's locks hold up: it sees nothing of the network, only how long it takes."""
        spans = (
            Span(0.0, free_s, "waits", (waits, waits.partition(":")[0])),
            Span(free_s, self.end, "idle", (then,)),
        )
        return Lane(f"{host}/held up", host, name, "program", joined(spans))

    def _call_marks(self, calls: Iterable[Call]) -> Iterator[Mark]:
        for call in calls:
            kind = "error" if call.error else "end_of_file" if call.result == "end of file" else "call"
            t = max(call.began, self._zero) if kind == "call" else call.t
            yield Mark(self.s(t), kind, call_words(call))

    def _checks(self, host: str) -> Iterator[Mark]:
        for t, until, limit in self._limits(host):
            if limit.name == _CHECK and t < until == self.s(limit.due) >= 0:
                yield Mark(until, "check", _CHECK)

    def _errors(self, calls: Iterable[Call], starts: Sequence[float]) -> list[Interval[str]]:
        """From each error on until the next, or until the program does something else.

        An end of file that the program answers with its own close() is how a connection ends in peace.
        """
        closes = [self.s(c.t) for c in calls if c.call == "close()"]
        ends = [
            (self.s(c.t), c.error or c.result)
            for c in calls
            if c.error or (c.result == "end of file" and self.s(c.t) not in closes)
        ]
        after = [*(t for t, _ in ends[1:]), self.end]
        return [
            (t, min(until, *(start for start in starts if start > t), self.end), words)
            for (t, words), until in zip(ends, after, strict=False)
        ]

    def _waits(self, calls: Iterable[Call]) -> list[Interval[str]]:
        """The times in which a call blocks."""
        return merged(
            (max(self.s(c.began), 0.0), self.s(c.t), _FUNCTION.sub(r"\1()", c.call))
            for c in calls
            if c.t - c.began > _BLOCKS_S * SECOND
        )

    def _gone(self, host: str, kinds: Mapping[str, tuple[str, ...]]) -> list[Interval[tuple[str, ...]]]:
        """When a host or its program is gone, and how its lanes say so."""
        out: list[Interval[tuple[str, ...]]] = []
        for b in self.breaks:
            if b.host == host and (b.kind in kinds or b.kind == "plugged"):
                if out:
                    out[-1] = (out[-1][0], self.s(b.t), out[-1][2])
                if b.kind in kinds:
                    out.append((self.s(b.t), self.end, kinds[b.kind]))
        return out

    def _limits(self, host: str) -> Iterator[Interval[Deadline]]:
        """Limits that no timer in ss shows, each until it is over or the next of its name is set."""
        limits = [limit for limit in self.trace.deadlines if limit.host == host]
        for i, limit in enumerate(limits):
            after = next((other.t for other in limits[i + 1 :] if other.name == limit.name), limit.due)
            yield self.s(limit.t), min(self.s(min(after, limit.due)), self.end), limit

    def _limit_timers(self, host: str, *, of_a_socket: bool) -> Iterator[TimerSpan]:
        for a, b, limit in self._limits(host):
            if limit.name != _CHECK and (limit.name == _OF_A_SOCKET) == of_a_socket and b > max(a, 0.0):
                yield TimerSpan(max(a, 0.0), b, a, self.s(limit.due), limit.name)

    # -- sockets ---------------------------------------------------------------------------------

    def _sockets(self, host: str, read: Mapping[Socket, tuple[Span, ...]]) -> Iterator[Lane]:
        """A lane for each socket; of many, one lane of rows; of very many, how many are in which state."""
        if len(read) > _ROWS:
            yield from self._amounts(host, read.values())
            return
        if len(read) > _LANES:
            listens = {s.local.port for s in self.trace.sockets if s.host == host and s.state == "LISTEN"}
            rows = []
            for key, spans in read.items():
                port = key[2].port if key[1].port in listens else key[1].port
                rows.append(Row(f":{port}", spans, tuple(self._marks(key))))
            name = f"{host}'s {len(read)} sockets"
            yield Lane(f"{host}/rows", host, name, "rows", rows=(*rows, *self._refused(host)))
            return
        limits = list(self._limit_timers(host, of_a_socket=True))
        peers: list[str] = []
        for key, spans in read.items():
            peer = self._peer(key) or str(key[2])
            name = f"{host}'s socket" if len(read) == 1 else f"{host} → {peer}"
            if is_second := peer in peers:
                name = f"{name} :{key[1].port}"
            peers.append(peer)
            timers = sorted([*self._timers(key), *limits], key=attrgetter("from_s"))
            limits = []
            yield Lane(
                f"{host}/{peer}" + " 2" * is_second, host, name, "socket",
                spans, tuple(self._marks(key)), tuple(timers),
            )  # fmt: skip

    def _peer(self, key: Socket) -> str:
        """The host at the other end, by its address."""
        return next((host for host, address in self.trace.hosts.items() if address == key[2].address), "")

    def _spans(self, key: Socket) -> tuple[Span, ...]:
        """What a socket is, from the beginning of what is watched on."""
        samples = self.history[key]
        begins = [s for i, s in enumerate(samples) if not i or s.state != samples[i - 1].state]
        spans: list[Span] = []
        for sample, a, b in self._stays(begins):
            state = sample.state
            if state != "CLOSED" and b > 0:
                spans.append(Span(max(a, 0.0), b, "state", (state.replace("_", "-"),), state))
            elif state == "CLOSED" and a >= 0:
                spans.append(Span(a, b, "closed", self._why_closed(key, sample)))
        spans = paint(spans, self._closed_windows(key), _window_closed)
        spans = paint(spans, self._absent(key), _one_side, self.grace)
        spans = paint(spans, self._gone(key[0], _CUT), _cut_off)
        last = samples[-1]
        if self.log and last.state == "TIME_WAIT" and last.due and self.s(last.due) > self.end:
            words = ("TIME-WAIT, until its timer expires", "TIME-WAIT")
            spans.append(Span(self.end, self.s(last.due), "state", words, "TIME_WAIT", predicted=True))
        return joined(spans)

    def _stays(self, samples: Sequence[SocketSample]) -> Iterator[tuple[SocketSample, float, float]]:
        """Samples with the seconds from which and until which they hold."""
        times = [*(self.s(sample.t) for sample in samples), self.end]
        return zip(samples, times, times[1:], strict=False)

    def _why_closed(self, key: Socket, closed: SocketSample) -> tuple[str, ...]:
        """By the last segment that reached it."""
        if any(b.host == key[0] and b.kind == "rebooted" and b.t == closed.t for b in self.breaks):
            return "closed: rebooted", "closed"
        came = (p for p, _, _ in self._received(key) if (p.arrives or 0) <= closed.t + SECOND // 500)
        last = max(came, key=lambda p: p.arrives or 0, default=None)
        is_reset = last and last.segment.flags & RST and last.verdict not in ("ignored", "challenged")
        return ("closed: a RST came", "closed") if is_reset else ("closed",)

    def _received(self, key: Socket) -> Iterator[tuple[Packet, str, str]]:
        """What reached a socket, in the order in which it was sent."""
        for each in self.sent.get((key[2], key[1]), ()):
            if each[0].arrives is not None and each[0].fate == "delivered" and each[0].receiver == key[0]:
                yield each

    def _absent(self, key: Socket) -> list[Interval[str]]:
        """When the socket's other end is not there, and how its lane says so."""
        peer = self._peer(key)
        samples = self.history.get((peer, key[2], key[1]), [])
        there = merged((a, b, "") for s, a, b in self._stays(samples) if s.state not in _ABSENT)
        cuts = [(a, b, "") for a, b, _ in self._gone(peer, _CUT)]
        out, at = [], -inf
        for a, b, _ in [*without(there, cuts), (self.end, inf, "")]:
            never = at == -inf and not cuts
            out.append((at, a, "a ghost" if never else f"but {peer or 'the other end'} is gone"))
            at = b
        return out

    def _closed_windows(self, key: Socket) -> list[Interval[str]]:
        """From a zero window until it stays open for longer than it was closed."""
        news = sorted(
            (p.arrives or 0, p.segment.window > 0)
            for p, _, _ in self._received(key)
            if not p.segment.flags & (SYN | RST)
        )
        out: list[Interval[str]] = []
        since: float | None = None
        for arrives, is_open in [*news, (round(self.end * SECOND) + self._zero, True)]:
            t = self.s(arrives)
            if not is_open:
                since = t if since is None else since
            elif since is not None:
                if out and since - out[-1][1] < max(t - since, out[-1][1] - out[-1][0]):
                    since = out.pop()[0]
                out.append((since, t, ""))
                since = None
        return out

    def _marks(self, key: Socket) -> Iterator[Mark]:
        """What a socket sent; what came that was forged."""
        for p, kind, words in self.sent.get((key[1], key[2]), ()):
            if p.sender == key[0] and p.t >= self._zero and p.kind != "forged":
                yield Mark(self.s(p.t), kind, words, p.fate != "delivered")
        for p, kind, words in self._received(key):
            if p.kind == "forged" and p.t >= self._zero:
                yield Mark(self.s(p.arrives or p.t), kind, f"forged {words}")

    def _timers(self, key: Socket) -> Iterator[TimerSpan]:
        armed = None
        samples = self.history[key]
        for sample, after in zip(samples, [*samples[1:], None], strict=True):
            if armed is None or (sample.timer, sample.due) != (armed.timer, armed.due):
                armed = sample
            goes_on = after and (after.timer, after.due) == (sample.timer, sample.due)
            if not sample.timer or sample.due is None or goes_on:
                continue
            a, b, due = self.s(armed.t), self.s(after.t) if after else self.end, self.s(sample.due)
            if b > max(a, 0.0):
                yield TimerSpan(max(a, 0.0), b, a, max(due, a), sample.timer)
            if not after and sample.timer == "timewait" and self.end < due <= self.horizon:
                yield TimerSpan(self.end, due, a, due, sample.timer, predicted=True)

    def _refused(self, host: str) -> Iterator[Row]:
        """A row without a socket for calls that got no port."""
        calls = (c for c in self.trace.calls if c.host == host and c.t >= self._zero)
        marks = [Mark(self.s(c.t), "error", call_words(c)) for c in calls if c.result.startswith("EADDR")]
        if marks:
            yield Row("no port", (), tuple(marks))

    def _amounts(self, host: str, sockets: Iterable[Iterable[Span]]) -> Iterator[Lane]:
        """How many of a host's sockets are in which state."""
        changes: dict[tuple[str, str], list[tuple[float, int]]] = {}
        for span in (span for spans in sockets for span in spans if span.kind != "closed"):
            if span.to_s - span.from_s > self.grace:
                words = span.words[0].partition(", ")[0] if span.kind == "one_side" else span.state
                changed = changes.setdefault((span.state, words), [])
                changed += [(span.from_s, 1), (span.to_s, -1)]
        for (state, words), changed in changes.items():
            level = Level(counted(changed, self.horizon), 0, "sockets", PHASE.get(state, ""))
            yield Lane(f"{host}/{words}", host, words.replace("_", "-"), "area", level=level)

    # -- queues ----------------------------------------------------------------------------------

    def _queues(self, host: str) -> Iterator[Lane]:
        """What one socket has not read, and what it has sent in vain or could not send."""
        keys = [key for key in self.history if key[0] == host]
        for key in keys if len(keys) <= _LANES else ():
            for queue, name in (("recv_q", "Recv-Q"), ("send_q", "Send-Q")):
                points = self._points((s.t, getattr(s, queue)) for s in self.history[key])
                if not self._lasts(points, _WORTH_BYTES):
                    continue
                mine = (p.segment for p, _, _ in self.sent.get((key[1], key[2]), ()))
                is_full = queue == "recv_q" and any(not s.window and not s.flags & RST for s in mine)
                capacity = max(value for _, value in points) if is_full else 0
                number = " 2" * (key is not keys[0])
                yield Lane(
                    f"{host}/{queue}{number}", host, f"{host}'s {name}{number}", "area",
                    level=Level(points, capacity, "bytes"),
                )  # fmt: skip

    def _accept_queues(self, host: str) -> Iterator[Lane]:
        listening: dict[Endpoint, list[SocketSample]] = {}
        for s in self.trace.sockets:
            if s.host == host and s.state == "LISTEN":
                listening.setdefault(s.local, []).append(s)
        for local, samples in listening.items():
            points = self._points((s.t, s.recv_q) for s in samples)
            if self._lasts(points, 0):
                number = f" :{local.port}" * (len(listening) > 1)
                # Linux lets one more in than the backlog says.
                level = Level(points, samples[0].send_q + 1, "waiting")
                yield Lane(f"{host}/accept_queue{number}", host, f"accept queue{number}", "area", level=level)

    def _points(self, samples: Iterable[tuple[int, int]]) -> tuple[tuple[float, float], ...]:
        """Steps from 0 on: the last value before is the first."""
        return steps((max(self.s(t), 0.0), float(value)) for t, value in samples)

    def _lasts(self, points: Sequence[tuple[float, float]], worth: float) -> bool:
        """Whether an amount stays above what is worth showing for longer than a flight or two."""
        ends = [*(t for t, _ in points[1:]), self.end]
        above = merged((t, b, "") for (t, value), b in zip(points, ends, strict=True) if value > worth)
        return any(b - a > self.grace for a, b, _ in above)

    # -- middleboxes -----------------------------------------------------------------------------

    def _entries(self, middlebox: str) -> Iterator[Lane]:
        """What a middlebox knows of each connection."""
        keys = [key for key in self.history if key[0] == middlebox][:_ROWS]
        for i, key in enumerate(keys, 1):
            directions = (key[1], key[2]), (key[2], key[1])
            packets = [
                each for way in directions for each in self.sent.get(way, ()) if each[0].t >= self._zero
            ]
            dropped = [each for each in packets if each[0].fate == f"dropped_by:{middlebox}"]
            answers = [each for each in packets if each[0].sender == middlebox]
            marks = [Mark(self.s(p.arrives or p.t), kind, words, lost=True) for p, kind, words in dropped]
            marks += [Mark(self.s(p.t), kind, words) for p, kind, words in answers]
            what = "answers with a RST" if answers else "drops packets"
            forgotten = (f"entry removed: {what}", "removed") if marks else ("entry removed", "removed")
            looks = {True: ("known", ("has an entry", "entry")), False: ("forgotten", forgotten)}
            spans = (
                Span(max(a, 0.0), b, *looks[s.state != "CLOSED"], s.state)
                for s, a, b in self._stays(self.history[key])
            )
            number = f" {i}" * (len(keys) > 1)
            yield Lane(
                f"{middlebox}/entry{number}", middlebox, f"{middlebox}'s entry{number}", "entry",
                joined(spans), tuple(sorted(marks, key=attrgetter("t_s"))), tuple(self._timers(key)),
            )  # fmt: skip


class _CaptureReading(_Reading):
    """A captured connection: what is known of its ends is inferred, what broke are its findings."""

    def __init__(self, trace: Trace, findings: Sequence[Finding]) -> None:
        super().__init__(trace)
        self.breaks = sorted(Break(f.t, "", "finding", f.code.replace("_", " ")) for f in findings)
        #: The worst one's.
        self.sentence = findings[0].says if findings else f"{plural(len(trace.packets), 'segment')}."

    def _answer(self) -> AnswerLine | None:
        """What was never answered, from the first attempt to the end of the waiting."""
        trace, packets = self.trace, self.trace.packets
        if not packets or not {*trace.hosts} <= {CLIENT, SERVER}:
            return None
        replies = (b.t - a.t for a, b in pairwise(packets) if a.sender != b.sender)
        lost = Followed(trace).unanswered(next(replies, 0))
        if lost is None:
            syns_alone = all(p.segment.flags & (SYN | ACK) == SYN for p in packets)
            waits = f"{packets[0].sender}: no answer for {duration(trace.end - trace.start)}"
            return AnswerLine(0.0, None, packets[0].sender, waits) if syns_alone else None
        waited = duration((trace.end if lost.ended is None else lost.ended) - lost.asked)
        if lost.ended is None:
            return AnswerLine(self.s(lost.asked), None, lost.side, f"{lost.side}: no answer for {waited}")
        words = f"{lost.side}: a RST after {waited}" if lost.reset else f"{lost.side} gives up after {waited}"
        return AnswerLine(self.s(lost.asked), self.s(lost.ended), lost.side, words)

    def _program(self, host: str, sockets: Collection[Iterable[Span]]) -> Iterator[Lane]:
        """Its recorded calls; what it does between them is unknown."""
        for lane in super()._program(host, sockets):
            calls = (span for span in lane.spans if span.kind in _CALLS)
            # Beside a short call its words would seem to be about the time after it.
            short = self.end / 20
            spans = (
                s if s.to_s - s.from_s > short or s.kind == "error" else replace(s, words=()) for s in calls
            )
            yield replace(lane, spans=tuple(spans))

    def _spans(self, key: Socket) -> tuple[Span, ...]:
        spans = super()._spans(key)
        return tuple(replace(span, words=(f"{span.words[0]} (inferred)", *span.words)) for span in spans)

    def _marks(self, key: Socket) -> Iterator[Mark]:
        """Of a long connection, what no picture keeps apart is one mark."""
        if len(self.trace.packets) <= _EACH:
            yield from super()._marks(key)
            return
        together: dict[tuple[str, int], list[int]] = {}
        a_part = self.trace.end // _EACH + 1
        for p, kind, _ in self.sent.get((key[1], key[2]), ()):
            together.setdefault((kind, p.t // a_part), []).append(p.t)
        for (kind, _), times in together.items():
            many = f"{plural(len(times), MARKS[kind])} until {in_words(self.s(times[-1]))}"
            yield Mark(self.s(times[0]), kind, many if len(times) > 1 else MARKS[kind])

    def _flights(self) -> Iterator[Flight]:
        """None: a capture sees one point of the path."""
        yield from ()

    def _absent(self, key: Socket) -> list[Interval[str]]:
        """An end that sent nothing may be there for all that the capture shows."""
        return super()._absent(key) if (self._peer(key), key[2], key[1]) in self.history else []


# -- intervals and spans ---------------------------------------------------------------------


def paint(
    spans: Iterable[Span],
    intervals: Iterable[Interval[T]],
    look: Callable[[Span, T], Look | None],
    least: float = 0,
) -> list[Span]:
    """The spans, cut where an interval lies over them.

    `look` gives the kind and the words of such a piece, or None to leave it as it is; pieces no longer than
    `least` seconds are left, too. Spans and intervals are in order and don't overlap among themselves.
    """
    intervals, out = list(intervals), []
    for span in spans:
        at = span.from_s
        for a, b, thing in intervals:
            a, b = max(a, at), min(b, span.to_s)
            if b - a > least and (seen := look(span, thing)):
                out += [replace(span, to_s=a, from_s=at)] if at < a else []
                out.append(replace(span, from_s=a, to_s=b, kind=seen[0], words=seen[1]))
                at = b
        out += [replace(span, from_s=at)] if at < span.to_s else []
    return out


def joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Spans in order, without empty ones; those that touch and say the same as one."""
    out: list[Span] = []
    for span in spans:
        if span.to_s <= span.from_s:
            continue
        if (
            out
            and out[-1].to_s == span.from_s
            and replace(out[-1], from_s=span.from_s, to_s=span.to_s) == span
        ):
            out[-1] = replace(out[-1], to_s=span.to_s)
        else:
            out.append(span)
    return tuple(out)


def merged(intervals: Iterable[Interval[str]]) -> list[Interval[str]]:
    """Intervals in order; those of the same words are joined, other overlaps are left to the earlier one."""
    out: list[Interval[str]] = []
    for a, b, words in sorted(intervals):
        if out and out[-1][2] == words and a <= out[-1][1]:
            out[-1] = (out[-1][0], max(b, out[-1][1]), words)
        elif b > (a := max(a, out[-1][1]) if out else a):
            out.append((a, b, words))
    return out


def without(intervals: Iterable[Interval[T]], cuts: Iterable[Interval[str]]) -> Iterator[Interval[T]]:
    """These intervals, less the cuts; both in order."""
    cuts = list(cuts)
    for a, b, thing in intervals:
        for low, high, _ in cuts:
            if low < b and high > a:
                if a < low:
                    yield a, low, thing
                a = max(a, high)
        if a < b:
            yield a, b, thing


def _unaware(span: Span, _: str) -> Look | None:
    if span.kind != "idle":
        return None
    return "unaware", (*(f"{words}: has not noticed" for words in span.words[:1]), "has not noticed")


def _waits(span: Span, call: str) -> Look | None:
    return None if span.kind == "waits" else ("waits", (f"waits in {call}", call))


def _window_closed(span: Span, _: str) -> Look | None:
    if span.state not in ("ESTABLISHED", "CLOSE_WAIT"):
        return None
    return "window_closed", (f"{span.words[0]}: window closed, only probes", "window closed")


def _one_side(span: Span, words: str) -> Look | None:
    if span.state not in SYNCHRONISED or span.kind == "closed":
        return None
    return "one_side", (f"{span.state.replace('_', '-')}: {words}", words.partition(" ")[2])


def _cut_off(span: Span, words: tuple[str, ...]) -> Look | None:
    if span.kind == "closed":
        return None
    name = span.state.replace("_", "-")
    return "gone", (f"{name}, {words[1]}", name)
