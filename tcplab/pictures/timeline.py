"""Read a timeline from a trace: who believed what, and for how long.

Everything comes from what the run left behind: sockets, segments, calls that returned and calls that did not,
what programs did meanwhile, breaks and deadlines. What an experiment alone knows is its answer.

- A **program** does what its activities say; a call that blocks, an error, and a host that is gone count
  for more. It *has not noticed* while one of its sockets is the only end and it waits for nothing.
- A **socket** has its state. *One side only*: the other end is gone, or never was. *Window closed*: the
  peer advertises no room, as one interval while it is more closed than open.
- Two ends are out of step for as long as a segment travels: differences of a flight or two are not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median_low
from typing import TYPE_CHECKING, TypeVar

from tcplab.core.segment import FIN, RST, SYN, Endpoint
from tcplab.core.text import SECOND, duration, plural
from tcplab.core.trace import Break, Call, Packet, SocketSample, Trace
from tcplab.follow import CLIENT, KEEPALIVE, RETRANSMISSION, SERVER, WINDOW_PROBE, EndStates, Followed
from tcplab.pictures import text
from tcplab.pictures.lanes import (
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
)
from tcplab.registry import EXPERIMENTS

if TYPE_CHECKING:
    from tcplab.capture.findings.story import Finding

T = TypeVar("T")
#: From, to (seconds), and what it is.
Interval = tuple[float, float, T]
Socket = tuple[str, Endpoint, Endpoint]

#: A call that takes longer has blocked, seconds.
_BLOCKS_S = 1e-4
#: A host has a lane for each of so many sockets; then one of rows; then amounts by state.
_LANES, _ROWS = 2, 10
#: A queue is worth a lane once it holds more than a segment's payload, bytes.
_WORTH_BYTES = 1460
#: Differences between the ends that last no longer than so many flights are travel.
_FLIGHTS = 2.5
#: Both ends have agreed that there is a connection: one of them alone is worth a word.
_SYNCHRONISED = frozenset({"ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING", "LAST_ACK"})
#: What ends a host or its program, and how its lanes say so.
_GONE = {
    "unplugged": ("cannot be reached", "unplugged"),
    "moved": ("cannot be reached", "unreachable"),
    "rebooted": ("gone: rebooted", "rebooted"),
    "killed": ("gone: killed", "killed"),
}
_CUT = ("unplugged", "moved")
#: What a call shows of a program.
_CALLS = ("waits", "error")
_KINDS = {
    KEEPALIVE: "probe", WINDOW_PROBE: "window_probe", RETRANSMISSION: "retransmission",
    "tail_loss_probe": "retransmission",
}  # fmt: skip


def read_timeline(trace: Trace, findings: Iterable[Finding] | None = None) -> Timeline:
    """The timeline of a run of an experiment, or of a capture.

    Of a capture, sockets are inferred, and findings are marked like what breaks: `findings`, or else those
    that the trace itself shows.
    """
    if trace.bench != "capture":
        return _Reading(trace).timeline()
    from tcplab.capture.findings import findings_of

    found = sorted(findings_of(trace) if findings is None else findings, key=lambda finding: finding.t)
    return _CaptureReading(trace if trace.inferred else EndStates(trace).trace, found).timeline()


def packet_kind(packet: Packet) -> str:
    """What kind of mark a segment is: see `Mark.kind`."""
    segment = packet.segment
    if segment.flags & RST:
        return "rst"
    if kind := _KINDS.get(packet.kind):
        return kind
    flags = ((FIN, "fin"), (SYN, "syn"))
    kind = next((kind for flag, kind in flags if segment.flags & flag), "")
    return kind or ("data" if segment.length else "ack")


class _Reading:
    """One trace, and what several of its lanes are read from."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self._zero = trace, trace.watching_since
        last = (*(p.t for p in trace.packets), *(c.t for c in trace.calls))
        self.end = self.s(max(trace.end, *last) if last else trace.end)
        flights = [p.arrives - p.t for p in trace.packets if p.arrives is not None]
        self.flight = median_low(flights) / SECOND if flights else 0.0
        self.grace = _FLIGHTS * self.flight
        self.breaks = trace.breaks()
        self.history = {
            key: samples for key, samples in trace.socket_history() if key[2].port and key[0] in trace.hosts
        }
        self.ends = {key[1:]: key for key in self.history if trace.hosts[key[0]]}
        self.sent: dict[tuple[Endpoint, Endpoint], list[tuple[Packet, str]]] = {}
        said = text.words(trace)
        for packet, words in zip(trace.packets, said, strict=True):
            way = (packet.segment.source, packet.segment.destination)
            self.sent.setdefault(way, []).append((packet, words.plain))
        story = EXPERIMENTS.get(trace.experiment) if trace.bench != "capture" else None
        self.story = story.from_values(trace.parameters) if story else None
        self.sentence = self.story.sentence(trace) if self.story else ""
        due = [s[-1].due or 0 for s in self.history.values() if s[-1].state == "TIME_WAIT"]
        self.log = bool(due) and self.end < 10
        self.horizon = max(self.end, *map(self.s, due)) if self.log else self.end

    def s(self, t: int) -> float:
        """An instant in seconds from the beginning of what is watched."""
        return (t - self._zero) / SECOND

    def timeline(self) -> Timeline:
        trace, before = self.trace, [p for p in self.trace.packets if p.t < self._zero]
        folded = f"before: {plural(len(before), 'segment')} in {duration(self._zero - trace.start)}"
        hosts = list(trace.hosts)
        lanes: list[Lane] = []
        for place, host in enumerate(hosts):
            if not trace.hosts[host]:
                lanes += self._entries(host)
                continue
            sockets = self._sockets(host) + self._queues(host)
            program = self._program(host, sockets)
            is_last = place and place == len(hosts) - 1
            lanes += [*sockets, *program] if is_last else [*program, *sockets]
        return Timeline(
            name=trace.experiment,
            bench=trace.bench,
            parameters=trace.parameters,
            lanes=tuple(lane for lane in lanes if lane.spans or lane.marks or lane.level or lane.rows),
            breaks=tuple(
                BreakMark(self.s(b.t), b.host, b.kind, b.words) for b in self.breaks if b.t >= self._zero
            ),
            answer=self._answer(),
            flights=tuple(self._flights()),
            to_s=self.end,
            horizon_s=self.horizon,
            log=self.log,
            flight_s=self.flight,
            folded=folded if before else "",
            sentence=self.sentence,
        )

    def _answer(self) -> AnswerLine | None:
        return None

    def _flights(self) -> Iterator[Flight]:
        for packets in self.sent.values():
            for p, words in packets:
                if p.t >= self._zero:
                    arrives = None if p.arrives is None else self.s(p.arrives)
                    yield Flight(self.s(p.t), arrives, p.sender, p.receiver, words, packet_kind(p))

    # -- programs --------------------------------------------------------------------------------

    def _program(self, host: str, sockets: Sequence[Lane]) -> list[Lane]:
        trace = self.trace
        calls = sorted(call for call in trace.calls if call.host == host and call.t >= self._zero)
        pending = [call for call in trace.pending if call.host == host]
        acts = [act for act in trace.activities if act.host == host]
        known = {call.host for call in trace.calls} | {b.host for b in self.breaks}
        if not (pending or acts or host in known):
            return []
        starts = [max(self.s(act.t), 0.0) for act in acts] + [self.end]
        spans = [Span(0.0, starts[0], "idle", ("idle",))]
        spans += [Span(a, b, act.kind, act.words) for act, (a, b) in zip(acts, pairwise(starts), strict=True)]
        spans = list(paint(spans, self._alone(sockets), _unaware))
        spans = list(paint(spans, self._errors(calls, starts), lambda span, words: ("error", (words,))))
        spans = list(paint(spans, self._waits(calls + pending), _waits))
        spans = list(
            paint(
                spans,
                self._gone(host, _GONE),
                lambda span, words: ("gone", (words[0], words[0].partition(":")[0])),
            )
        )
        held = [
            Span(a, b, "locks", ("locks held",))
            for act, (a, b) in zip(acts, pairwise(starts), strict=True)
            if act.locks
        ]
        name = trace.programs.get(host, f"{host}'s program")
        return [
            Lane(
                f"{host}/program",
                host,
                name,
                "program",
                joined(spans),
                tuple(self._call_marks(calls)),
                locks=joined(held),
            )
        ]

    def _call_marks(self, calls: Iterable[Call]) -> Iterator[Mark]:
        for call in calls:
            is_end = call.result == "end of file"
            kind = "error" if call.error else "end_of_file" if is_end else "call"
            t = call.t if kind != "call" else max(call.began, self._zero)
            yield Mark(self.s(t), kind, text.call_words(call))

    def _errors(self, calls: Iterable[Call], starts: Sequence[float]) -> list[Interval[str]]:
        """From each error on until the next, or until the program does something else."""
        ends = [(self.s(c.t), c.error or c.result) for c in calls if c.error or c.result == "end of file"]
        after = [*ends[1:], (self.end, "")]
        return [
            (t, min([b, *(start for start in starts if start > t)]), words)
            for (t, words), (b, _) in zip(ends, after, strict=False)
        ]

    def _waits(self, calls: Iterable[Call]) -> list[Interval[str]]:
        """The times in which a call blocks; those of many programs as one."""
        waits = (
            (max(self.s(c.began), 0.0), self.s(c.t), c.call.partition("(")[0] + "()")
            for c in calls
            if (c.t - c.began) / SECOND > _BLOCKS_S
        )
        return merged(sorted(waits))

    def _alone(self, sockets: Iterable[Lane]) -> list[Interval[str]]:
        """When one of these sockets is the only end of its connection."""
        bands = [band for lane in sockets for band in (lane.spans, *(row.spans for row in lane.rows))]
        return merged(sorted((s.from_s, s.to_s, "") for band in bands for s in band if s.kind == "one_side"))

    def _gone(self, host: str, kinds: Iterable[str]) -> list[Interval[tuple[str, str]]]:
        """When a host or its program is gone, and how its lanes say so."""
        out: list[Interval[tuple[str, str]]] = []
        for b in self.breaks:
            if b.host != host:
                continue
            if out and (b.kind == "plugged" or b.kind in kinds):
                out[-1] = (out[-1][0], self.s(b.t), out[-1][2])
            if b.kind in kinds:
                out.append((self.s(b.t), self.end, _GONE[b.kind]))
        return out

    # -- sockets ---------------------------------------------------------------------------------

    def _sockets(self, host: str) -> list[Lane]:
        """A lane for each socket; of many, one lane of rows; of very many, how many are in which state."""
        read = []
        for key in self.history:
            if key[0] == host and (spans := self._states(key)):
                read.append((key, spans))
        many = f"{host}'s {len(read)} sockets"
        is_client = any(key[1].port != self._port(host) for key, _ in read)
        if len(read) > _ROWS:
            return list(self._amounts(host, [spans for _, spans in read]))
        if len(read) > _LANES:
            rows = [
                Row(f":{(key[1] if is_client else key[2]).port}", spans, tuple(self._segments(key)))
                for key, spans in read
            ]
            return [Lane(f"{host}/rows", host, many, "rows", rows=(*rows, *self._refused(host)))]
        lanes: list[Lane] = []
        for key, spans in read:
            peer = self._peer(key)
            to, same = peer or str(key[2]), sum(lane.key.startswith(f"{host}/{peer}") for lane in lanes)
            key_ = f"{host}/{to}" + f" {same + 1}" * bool(same)
            name = f"{host} → {to}" if len(read) > 1 else f"{host}'s socket"
            name += f" :{key[1].port}" * bool(same)
            lanes.append(
                Lane(
                    key_, host, name, "socket", spans, tuple(self._segments(key)), tuple(self._timers(key)),
                )
            )  # fmt: skip
        return lanes

    def _port(self, host: str) -> int:
        """A port on which this host listens, or 0."""
        return next((s.local.port for s in self.trace.sockets if s.host == host and s.state == "LISTEN"), 0)

    def _peer(self, key: Socket) -> str:
        """The host at the other end, by its address."""
        return next((host for host, address in self.trace.hosts.items() if address == key[2].address), "")

    def _states(self, key: Socket) -> tuple[Span, ...]:
        """What a socket is, from the beginning of what is watched on."""
        host, samples = key[0], self.history[key]
        begins = [s for i, s in enumerate(samples) if not i or s.state != samples[i - 1].state]
        ends = [*(self.s(s.t) for s in begins[1:]), self.end]
        spans: list[Span] = []
        for sample, b in zip(begins, ends, strict=True):
            a, state = self.s(sample.t), sample.state
            if state == "CLOSED":
                if a >= 0 and a < b:
                    spans.append(Span(a, b, "closed", self._why_closed(key, sample)))
            elif b > 0 and a < b:
                spans.append(Span(max(a, 0.0), b, "state", (state.replace("_", "-"),), state))
        peer = self._peer(key)
        spans = list(paint(spans, self._closed_windows(key), _window_closed))
        spans = list(paint(spans, self._absent(key, peer), _one_side, self.grace))
        spans = list(paint(spans, self._gone(host, _CUT), _gone_socket))
        last = samples[-1]
        if (
            last.state == "TIME_WAIT"
            and last.due
            and self.s(last.due) <= self.horizon
            and self.horizon > self.end
        ):
            words = ("TIME-WAIT, until its timer is over", "TIME-WAIT")
            spans.append(Span(self.end, self.s(last.due), "state", words, "TIME_WAIT", predicted=True))
        return joined(spans)

    def _why_closed(self, key: Socket, closed: SocketSample) -> tuple[str, ...]:
        for kind, words in (
            (b.kind, f"gone: {b.kind}") for b in self.breaks if b.host == key[0] and b.t == closed.t
        ):
            if kind == "rebooted":
                return words, kind
        came = (
            p
            for p, _ in self.sent.get((key[2], key[1]), ())
            if p.segment.flags & RST and p.receiver == key[0]
        )
        is_reset = any(p.arrives is not None and abs(p.arrives - closed.t) < 2_000_000 for p in came)
        return ("closed: a RST came", "closed") if is_reset else ("closed",)

    def _absent(self, key: Socket, peer: str) -> list[Interval[str]]:
        """When the socket's other end is not there, and how its lane says so."""
        other = self.ends.get((key[2], key[1]))
        there: list[tuple[float, float]] = []
        if other:
            samples = self.history[other]
            for s, after in zip(samples, [*samples[1:], None], strict=True):
                if s.state not in ("CLOSED", "SYN_RECV", "SYN_RECEIVED"):
                    there.append((self.s(s.t), self.s(after.t) if after else self.end))
        cuts = [(a, b) for a, b, _ in self._gone(other[0] if other else peer, _CUT)]
        absent, at = [], -1e9
        for a, b in _without(there, cuts):
            absent.append((at, a))
            at = b
        absent.append((at, self.end))
        return [
            (a, b, "a ghost" if a == -1e9 and not cuts else f"but {peer or 'the other end'} is gone")
            for a, b in absent
            if b - a > self.grace
        ]

    def _closed_windows(self, key: Socket) -> list[Interval[str]]:
        """From a zero window until it stays open for longer than it was closed."""
        news = [
            (p.arrives, p.segment.window == 0)
            for p, _ in self.sent.get((key[2], key[1]), ())
            if p.arrives is not None and p.fate == "delivered" and not p.segment.flags & (SYN | RST)
        ]
        out: list[Interval[str]] = []
        since: float | None = None
        for arrives, is_zero in sorted(news):
            t = self.s(arrives)
            if is_zero and since is None:
                since = t
            elif not is_zero and since is not None:
                out.append((since, t, ""))
                since = None
        if since is not None:
            out.append((since, self.end, ""))
        whole: list[Interval[str]] = []
        for a, b, words in out:
            if whole and a - whole[-1][1] < max(b - a, whole[-1][1] - whole[-1][0]):
                whole[-1] = (whole[-1][0], b, words)
            else:
                whole.append((a, b, words))
        return whole

    def _segments(self, key: Socket) -> Iterator[Mark]:
        """What a socket sent, and what arrived that claimed to be of its peer."""
        for p, words in self.sent.get((key[1], key[2]), ()):
            if p.sender == key[0] and p.t >= self._zero and p.kind != "forged":
                yield Mark(self.s(p.t), packet_kind(p), words, p.fate != "delivered")
        for p, words in self.sent.get((key[2], key[1]), ()):
            if (
                p.kind == "forged"
                and p.receiver == key[0]
                and p.arrives is not None
                and p.arrives >= self._zero
            ):
                yield Mark(self.s(p.arrives), packet_kind(p), f"forged: {words}")

    def _timers(self, key: Socket) -> Iterator[TimerSpan]:
        samples = self.history[key]
        armed = samples[0]
        for sample, after in zip(samples, [*samples[1:], None], strict=True):
            if (sample.timer, sample.due) != (armed.timer, armed.due):
                armed = sample
            if (
                not sample.timer
                or sample.due is None
                or (after and (after.timer, after.due) == (sample.timer, sample.due))
            ):
                continue
            a, b, due = self.s(armed.t), self.s(after.t) if after else self.end, self.s(sample.due)
            if b > max(a, 0):
                yield TimerSpan(max(a, 0.0), b, a, max(due, a), sample.timer)
            if not after and sample.timer == "timewait" and self.end < due <= self.horizon:
                yield TimerSpan(self.end, due, a, due, sample.timer, predicted=True)

    def _refused(self, host: str) -> list[Row]:
        """A row without a socket for calls that got no port."""
        refused = [
            c
            for c in self.trace.calls
            if c.host == host and c.t >= self._zero and c.result.startswith("EADDR")
        ]
        marks = tuple(Mark(self.s(c.t), "error", text.call_words(c)) for c in refused)
        return [Row("no port", (), marks)] if marks else []

    def _amounts(self, host: str, sockets: Sequence[Sequence[Span]]) -> Iterator[Lane]:
        """How many of a host's sockets are in which state."""
        changes: dict[tuple[str, str], dict[float, int]] = {}
        for spans in sockets:
            for s in spans:
                if s.kind != "closed" and s.to_s - s.from_s > self.grace:
                    steps = changes.setdefault(
                        (s.kind, s.words[-1] if s.kind == "one_side" else s.state.replace("_", "-")), {}
                    )
                    steps[s.from_s] = steps.get(s.from_s, 0) + 1
                    steps[s.to_s] = steps.get(s.to_s, 0) - 1
        for (kind, state), steps in changes.items():
            total, points = 0, []
            for t in sorted(steps):
                total += steps[t]
                points.append((t, float(total)))
            yield Lane(
                f"{host}/{kind} {state}",
                host,
                f"{host}: {state}",
                "area",
                level=Level(tuple(points), 0, "sockets"),
            )

    # -- queues ----------------------------------------------------------------------------------

    def _queues(self, host: str) -> list[Lane]:
        lanes: list[Lane] = []
        mine = [(key, samples) for key, samples in self.history.items() if key[0] == host]
        if len(mine) <= _LANES:
            for key, samples in mine:
                for queue, name in (("recv_q", "Recv-Q"), ("send_q", "Send-Q")):
                    points = self._points([(s.t, getattr(s, queue)) for s in samples])
                    is_full = queue == "recv_q" and any(
                        not p.segment.window for p, _ in self.sent.get((key[1], key[2]), ())
                    )
                    peak = max((value for _, value in points), default=0)
                    if self._lasts(points, _WORTH_BYTES):
                        lane_key = f"{host}/{queue}" + f" {len(lanes)}" * any(
                            lane.key == f"{host}/{queue}" for lane in lanes
                        )
                        lanes.append(
                            Lane(
                                lane_key,
                                host,
                                f"{host}'s {name}",
                                "area",
                                level=Level(points, peak if is_full else 0, "bytes"),
                            )
                        )
        for samples in self._listeners(host):
            points = self._points([(s.t, s.recv_q) for s in samples])
            if self._lasts(points, 0):
                lanes.append(
                    Lane(
                        f"{host}/accept_queue",
                        host,
                        "accept queue",
                        "area",
                        level=Level(points, samples[0].send_q + 1, "waiting"),
                    )
                )
        return lanes

    def _listeners(self, host: str) -> list[list[SocketSample]]:
        listening: dict[Endpoint, list[SocketSample]] = {}
        for s in self.trace.sockets:
            if s.host == host and s.state == "LISTEN":
                listening.setdefault(s.local, []).append(s)
        return list(listening.values())

    def _points(self, samples: Iterable[tuple[int, int]]) -> tuple[tuple[float, float], ...]:
        """Steps from 0 on: the last value before is the first."""
        points: list[tuple[float, float]] = []
        for t, value in samples:
            at = max(self.s(t), 0.0)
            if points and points[-1][0] == at:
                points.pop()
            if not points or points[-1][1] != value:
                points.append((at, float(value)))
        return tuple(points)

    def _lasts(self, points: Sequence[tuple[float, float]], worth: float) -> bool:
        """Whether an amount stays above what is worth showing for longer than a flight or two."""
        ends = [*(t for t, _ in points[1:]), self.end]
        since: float | None = None
        for (t, value), until in zip(points, ends, strict=True):
            since = (t if since is None else since) if value > worth else None
            if since is not None and until - since > self.grace:
                return True
        return False

    # -- middleboxes -----------------------------------------------------------------------------

    def _entries(self, box: str) -> list[Lane]:
        """What a middlebox knows of each connection."""
        lanes: list[Lane] = []
        for key in (key for key in self.history if key[0] == box):
            ways = (key[1], key[2]), (key[2], key[1])
            packets = [each for way in ways for each in self.sent.get(way, ()) if each[0].t >= self._zero]
            marks = [
                Mark(self.s(p.arrives or p.t), packet_kind(p), f"{words}", lost=True)
                for p, words in packets
                if p.fate == f"dropped_by:{box}"
            ] + [Mark(self.s(p.t), packet_kind(p), words) for p, words in packets if p.sender == box]
            answers = any(p.sender == box for p, _ in packets)
            what = (
                "forgotten: it answers with a RST"
                if answers
                else "forgotten: what comes is dropped"
                if marks
                else "forgotten"
            )
            spans = []
            samples = self.history[key]
            for s, after in zip(samples, [*samples[1:], None], strict=True):
                a, b = max(self.s(s.t), 0.0), self.s(after.t) if after else self.end
                if a < b:
                    is_known = s.state != "CLOSED"
                    words = ("knows the connection", "knows it") if is_known else (what, "forgotten")
                    spans.append(Span(a, b, "known" if is_known else "forgotten", words, s.state))
            number = f" {len(lanes) + 1}" * bool(lanes)
            lanes.append(
                Lane(
                    f"{box}/entry{number}", box, f"{box}'s entry{number}", "entry",
                    joined(spans), tuple(sorted(marks, key=lambda mark: mark.t_s)), tuple(self._timers(key)),
                )
            )  # fmt: skip
        return lanes[:_ROWS]


class _CaptureReading(_Reading):
    """A captured connection: what is known of its ends is inferred, what broke are its findings."""

    def __init__(self, trace: Trace, findings: Sequence[Finding]) -> None:
        super().__init__(trace)
        self.breaks = [Break(each.t, "", "finding", each.code.replace("_", " ")) for each in findings]
        self.sentence = findings[0].says if findings else f"{plural(len(trace.packets), 'segment')}."

    def _answer(self) -> AnswerLine | None:
        """What was never answered, from the first attempt to the end of the waiting."""
        trace, packets = self.trace, self.trace.packets
        if not {*trace.hosts} <= {CLIENT, SERVER}:
            return None
        replies = (b.t - a.t for a, b in pairwise(packets) if a.sender != b.sender)
        lost = Followed(trace).unanswered(next(replies, 0))
        if lost is None:
            return None
        waited = duration((trace.end if lost.ended is None else lost.ended) - lost.asked)
        if lost.ended is None:
            return AnswerLine(self.s(lost.asked), None, lost.side, f"{lost.side}: no answer for {waited}")
        words = f"{lost.side}: a RST after {waited}" if lost.reset else f"{lost.side} gives up after {waited}"
        return AnswerLine(self.s(lost.asked), self.s(lost.ended), lost.side, words)

    def _program(self, host: str, sockets: Sequence[Lane]) -> list[Lane]:
        """Its recorded calls; what it does between them is unknown."""
        lanes = super()._program(host, sockets)
        return [replace(lane, spans=tuple(s for s in lane.spans if s.kind in _CALLS)) for lane in lanes]

    def _states(self, key: Socket) -> tuple[Span, ...]:
        return tuple(
            replace(span, words=(f"{span.words[0]} (inferred)", *span.words)) for span in super()._states(key)
        )

    def _absent(self, key: Socket, peer: str) -> list[Interval[str]]:
        """An end that sent nothing may be there for all that the capture shows."""
        return super()._absent(key, peer) if (key[2], key[1]) in self.ends else []


# -- intervals and spans ---------------------------------------------------------------------


def paint(
    spans: Iterable[Span],
    intervals: Iterable[Interval[T]],
    look: Callable[[Span, T], tuple[str, tuple[str, ...]] | None],
    least: float = 0,
) -> Iterator[Span]:
    """The spans, cut where an interval lies over them.

    `look` gives the kind and the words of such a piece, or None to leave it as it is; pieces no longer than
    `least` seconds are left, too. Spans and intervals are in order and don't overlap among themselves.
    """
    intervals = list(intervals)
    for span in spans:
        at = span.from_s
        for a, b, thing in intervals:
            a, b = max(a, at), min(b, span.to_s)
            if b - a <= least or not (seen := look(span, thing)):
                continue
            if at < a:
                yield replace(span, from_s=at, to_s=a)
            kind, words = seen
            yield replace(span, from_s=a, to_s=b, kind=kind, words=words)
            at = b
        if at < span.to_s:
            yield replace(span, from_s=at)


def joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Spans, those that say the same and touch as one."""
    out: list[Span] = []
    for span in spans:
        if span.to_s <= span.from_s:
            continue
        if (
            out
            and replace(span, from_s=out[-1].from_s, to_s=out[-1].to_s) == out[-1]
            and out[-1].to_s == span.from_s
        ):
            out[-1] = replace(out[-1], to_s=span.to_s)
        else:
            out.append(span)
    return tuple(out)


def merged(intervals: Iterable[Interval[str]]) -> list[Interval[str]]:
    """Intervals in order, those that overlap as one; the first one's words count."""
    out: list[Interval[str]] = []
    for a, b, words in intervals:
        if out and a <= out[-1][1] and (words == out[-1][2] or b > out[-1][1]):
            out[-1] = (out[-1][0], max(b, out[-1][1]), out[-1][2])
        elif not out or a >= out[-1][1]:
            out.append((a, b, words))
    return out


def _without(
    there: Iterable[tuple[float, float]], cuts: Sequence[tuple[float, float]]
) -> Iterator[tuple[float, float]]:
    """These intervals, less the cuts; both in order."""
    for a, b in there:
        for low, high in cuts:
            if low < b and high > a:
                if a < low:
                    yield a, low
                a = max(a, high)
        if a < b:
            yield a, b


def _unaware(span: Span, _: str) -> tuple[str, tuple[str, ...]] | None:
    if span.kind != "idle":
        return None
    return "unaware", (f"{span.words[0]}: has not noticed", "has not noticed") if span.words else (
        "has not noticed",
    )


def _waits(span: Span, call: str) -> tuple[str, tuple[str, ...]] | None:
    return None if span.kind == "waits" else ("waits", (f"waits in {call}", call))


def _window_closed(span: Span, _: str) -> tuple[str, tuple[str, ...]] | None:
    if span.kind != "state" or span.state not in ("ESTABLISHED", "CLOSE_WAIT"):
        return None
    return "window_closed", (f"{span.words[0]}: window closed, nothing but probes", "window closed")


def _one_side(span: Span, words: str) -> tuple[str, tuple[str, ...]] | None:
    if span.state not in _SYNCHRONISED or span.kind == "closed":
        return None
    name = span.state.replace("_", "-")
    return "one_side", (f"{name}: {words}", words.removeprefix("a ").removeprefix("but "))


def _gone_socket(span: Span, words: tuple[str, str]) -> tuple[str, tuple[str, ...]] | None:
    if span.kind == "closed":
        return None
    name = span.state.replace("_", "-")
    return "gone", (f"{name}, {words[1]}", name)
