"""What a replay steps through: moments, what is said at each, findings, and the part that is drawn.

A step is a moment at which a segment has settled (arrived, or been lost), a call has returned, or
something is noted. However long a connection is, the picture holds one page of it, with its own
numbers and its own clock running on from the first segment of all.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from tcplab.kinds import KEEPALIVE, RETRANSMISSION, WINDOW_PROBE
from tcplab.segment import ACK, FIN, RST, SYN
from tcplab.trace import Passage, Relative, SocketSample, Trace
from tcplab.view.excerpt import excerpt
from tcplab.view.replay_ends import Ends, judged
from tcplab.view.words import Words, call_words, words

if TYPE_CHECKING:
    from tcplab.capture.findings import Finding

#: Segments that are stepped through at most.
MOST = 20_000
#: Segments on a page, and how many of the page before it repeats, so that nothing comes from nowhere.
PAGE, AGAIN = 40, 8
#: So far back a page's beginning looks for a segment whose words need none before it.
BACK = 30


@dataclass
class Page(Trace):
    """A part of a trace that keeps the numbers and the clock of the whole."""

    whole_start: int = 0
    numbers: list[Relative] = field(default_factory=list)

    @property
    def start(self) -> int:
        return self.whole_start

    def relative(self) -> list[Relative]:
        return self.numbers


class Steps:
    """A trace made ready for a replay: `at` says what happened, `page` gives what is to be drawn.

    `findings` are those of its connection, None: whatever a capture's trace itself shows; `frames` are
    its segments' numbers in the file.
    """

    def __init__(
        self, trace: Trace, findings: Iterable[Finding] | None = None, frames: Sequence[int] = ()
    ) -> None:
        # A capture's trace may be its beginning alone; the frames are those of the whole.
        whole, trace = max(len(trace.passages), len(frames)), excerpt(trace, MOST)
        if trace.bench == "capture":
            from tcplab.view.replay_findings import findings_of, verdicts

            trace = judged(trace, verdicts(trace))
            found = findings_of(trace) if findings is None else findings
        else:
            found = findings or ()
        self.frames = list(frames)
        self.ends = Ends(trace)
        #: What somebody saw of the sockets; for a capture mostly nothing.
        self.watched = trace
        # What ss showed now and then says little about the time between: all of it is inferred.
        self.trace = trace = replace(trace, sockets=self.ends.sockets()) if self.ends.inferred else trace
        #: When each step is, nanoseconds, strictly increasing; at least one.
        self.moments = _moments(trace)
        #: In order of time: worst first where several begin at once.
        self.findings = sorted(found, key=lambda finding: finding.t)
        #: What a reader must know of a connection that is too long to be stepped through.
        self.warning = ""
        if whole > MOST:
            there = [finding for finding in self.findings if finding.t <= self.moments[-1]]
            later = len(self.findings) - len(there)
            self.findings = there
            self.warning = f"The replay ends after the first {MOST:,} of {whole:,} segments" + (
                f"; findings that begin later: {later}." if later else "."
            )
        self._said = words(trace)
        self._numbers = trace.relative()
        self._settled = _settled(trace.passages)
        self._borders = self._pages()

    def __len__(self) -> int:
        return len(self.moments)

    def position(self, t: int) -> int:
        """The last step not after `t`; 0 when all are."""
        return max(bisect_right(self.moments, t) - 1, 0)

    def segments_by(self, t: int) -> int:
        """How many segments had been sent by `t`."""
        return bisect_right(self.trace.passages, t, key=lambda p: p.t)

    # -- findings --------------------------------------------------------------------------

    def found_at(self, step: int) -> list[Finding]:
        """Findings whose first frame is at this step."""
        return [finding for finding in self.findings if self._step_of(finding) == step]

    def next_finding(self, step: int) -> int | None:
        """The first step after this one at which a finding begins; None when there is no more."""
        return min((there for f in self.findings if (there := self._step_of(f)) > step), default=None)

    def previous_finding(self, step: int) -> int | None:
        """The last step before this one at which a finding begins; None when there is none."""
        return max((there for f in self.findings if (there := self._step_of(f)) < step), default=None)

    def _step_of(self, finding: Finding) -> int:
        return min(bisect_left(self.moments, finding.t), len(self.moments) - 1)

    # -- words -----------------------------------------------------------------------------

    def at(self, step: int) -> list[str]:
        """What happened at a step, a sentence each."""
        t, told = self.moments[step], []
        trace = self.trace
        first = bisect_left(self._settled, (t, -1))
        for when, i in self._settled[first:]:
            if when != t:
                break
            told.append(self._sentence(i))
        told += [f"{call.host}: {call_words(call)}." for call in trace.calls if call.t == t]
        for note in trace.notes:
            if note.t == t:
                told.append(f"{note.host}: {note.text}." if note.host else f"{note.text}.")
        return told or ["Nothing more happens."]

    def _sentence(self, i: int) -> str:
        """One segment: who, what it means, and its own words."""
        p, said = self.trace.passages[i], self._said[i]
        who = f"{p.sender} → {p.receiver}"
        frame = f", frame {self.frames[i]}" if self.frames else ""
        fate = f" {said.fate}." if said.fate else ""
        flags = " ".join(part for part in (said.flags, said.numbers) if part)
        return f"{who}: {meaning(p, said)} ({flags}{frame}).{fate}"

    # -- pages -----------------------------------------------------------------------------

    def page(self, t: int) -> Trace:
        """The part of the trace that is drawn at `t`."""
        last = max(self.segments_by(t) - 1, 0)
        k = max(bisect_right(self._borders, last) - 1, 0)
        if len(self._borders) == 1:
            return self.trace
        begin = self._back(max(self._borders[k] - AGAIN, 0))
        end = self._borders[k + 1] if k + 1 < len(self._borders) else None
        return self._part(begin, end)

    def _pages(self) -> list[int]:
        count = len(self.trace.passages)
        if count <= PAGE + PAGE // 2:
            return [0]
        return list(range(0, count - PAGE // 2, PAGE))

    def _back(self, i: int) -> int:
        """A place from which probes and repetitions are counted rightly, or nearly so."""
        for place in range(i, max(i - BACK, 0) - 1, -1):
            if not self.trace.passages[place].kind:
                return place
        return i

    def _part(self, begin: int, end: int | None) -> Trace:
        trace = self.trace
        since = trace.passages[begin].t
        until = trace.end + 1 if end is None else trace.passages[end].t
        before: dict[Any, SocketSample] = {}
        sockets = []
        for sample in trace.sockets:
            if sample.t < since:
                before[sample.host, sample.local, sample.remote] = sample._replace(t=since)
            elif sample.t < until:
                sockets.append(sample)
        here = {
            "passages": trace.passages[begin:end],
            "calls": [call for call in trace.calls if since <= call.t < until],
            "sockets": [s for s in before.values() if s.state != "CLOSED"] + sockets,
            "notes": [note for note in trace.notes if since <= note.t < until],
            "end": trace.end if end is None else trace.passages[end - 1].t,
        }
        plain = {each.name: getattr(trace, each.name) for each in fields(Trace)} | here
        return Page(**plain, whole_start=trace.start, numbers=self._numbers[begin:end])


def _settled(passages: list[Passage]) -> list[tuple[int, int]]:
    """(moment, place) at which each segment has arrived; where it never does, at which it was sent."""
    return sorted((p.t if p.arrives is None else max(p.arrives, p.t), i) for i, p in enumerate(passages))


def _moments(trace: Trace) -> list[int]:
    found = {t for t, _ in _settled(trace.passages)}
    found |= {call.t for call in trace.calls} | {note.t for note in trace.notes}
    return sorted(found | {max(trace.end, trace.start)})


#: What a segment is for, the first that fits: its kind or its flags, and the words.
_KINDS = {
    KEEPALIVE: "asks whether the other end is still there",
    WINDOW_PROBE: "asks whether there is room again",
    RETRANSMISSION: "sends again what was not acknowledged",
    "tail_loss_probe": "sends the last data again, in case it was lost",
    "challenge_ack": "did not obey, and asks back",
}
_FLAGS = (
    (RST, RST, "ends the connection at once"),
    (SYN | ACK, SYN | ACK, "takes the connection"),
    (SYN, SYN, "asks for a connection"),
)


def meaning(passage: Passage, said: Words) -> str:
    """What a segment is for, in a few words: ``sends 40 bytes``, ``has nothing more to send``."""
    s = passage.segment
    if passage.kind in _KINDS:
        name = said.name.removesuffix(", zero window")
        return f"{_KINDS[passage.kind]}" + (f": {name}" if name else "")
    for mask, wanted, text in _FLAGS:
        if s.flags & mask == wanted:
            return text
    parts = []
    if s.length:
        parts.append(f"sends {s.length:,} byte{'s' * (s.length != 1)}")
    if s.flags & FIN:
        parts.append("has nothing more to send")
    if not parts:
        parts.append("tells its window" if said.name == "window update" else "acknowledges what came")
    if not s.window:
        parts.append("has no room for more")
    return " and ".join(parts)
