"""What a replay shows: its timeline, and at each step a page of the ladder, what happened, and both ends.

A step is an instant at which a segment has settled (arrived, or been lost), a call has returned, or
something is noted. However long a connection is, the picture holds one page of it, with its own
numbers and its own clock running on from the first segment of all.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

from tcplab.core.table import html_table
from tcplab.core.text import duration, paragraph, terminal
from tcplab.core.trace import Packet, Relative, SocketSample, Trace
from tcplab.follow import EndState, EndStates
from tcplab.lesson.course import Lesson, lessons
from tcplab.pictures import console
from tcplab.pictures.text import call_words, excerpt, meaning, words
from tcplab.pictures.theme import Picture
from tcplab.pictures.timeaxis import hosts_of
from tcplab.pictures.timeline import read_timeline
from tcplab.pictures.timeline_layout import TimelinePicture

if TYPE_CHECKING:
    from tcplab.capture.findings.story import Finding

#: Segments that are stepped through at most.
MOST = 20_000
#: Segments on a page, and how many of them were already on the page before.
PAGE, OVERLAP = 40, 8
#: How many segments back a page looks for a beginning whose words need no segment before it.
LOOK_BACK = 30


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


class ReplaySteps:
    """A trace made ready for a replay: `at` says what happened, `page` gives the part to draw.

    `findings` are those of its connection; None takes what a capture's trace itself shows. `frames` are
    the numbers of its segments in the file.
    """

    def __init__(
        self, trace: Trace, findings: Iterable[Finding] | None = None, frames: Sequence[int] = ()
    ) -> None:
        # A capture's trace may be its beginning alone; the frames are those of the whole.
        whole, trace = max(len(trace.packets), len(frames)), excerpt(trace, MOST)
        #: The trace with its sockets as `ss` showed them; a capture mostly has none.
        self.watched = trace
        self.ends = EndStates(trace)
        #: Of a capture its sockets are inferred: samples of ss say little about the time between them.
        self.trace = trace = self.ends.trace
        if findings is None and self.ends.inferred:
            from tcplab.capture.findings import findings_of

            findings = findings_of(trace)
        self.frames = list(frames)
        #: The time of each step, nanoseconds, strictly increasing; at least one.
        self.instants = _instants(trace)
        #: In order of time: worst first where several begin at once.
        self.findings = sorted(findings or (), key=lambda finding: finding.t)
        #: Says which part is shown of a connection that is too long to be stepped through.
        self.warning = ""
        if whole > MOST:
            within = [finding for finding in self.findings if finding.t <= self.instants[-1]]
            later = len(self.findings) - len(within)
            self.findings = within
            self.warning = f"The replay ends after the first {MOST:,} of {whole:,} segments" + (
                f"; findings that begin later: {later}." if later else "."
            )
        self._words = words(trace)
        self._numbers = trace.relative()
        self._settled = _settled(trace.packets)

    def __len__(self) -> int:
        return len(self.instants)

    @cached_property
    def timeline(self) -> TimelinePicture:
        """All of it on a true time axis, with the findings."""
        return TimelinePicture(read_timeline(self.trace, self.findings))

    def position(self, t: int) -> int:
        """The last step not after `t`; 0 when all are."""
        return max(bisect_right(self.instants, t) - 1, 0)

    def segments_by(self, t: int) -> int:
        """How many segments had been sent by `t`."""
        return bisect_right(self.trace.packets, t, key=lambda p: p.t)

    def step_of(self, finding: Finding) -> int:
        """The step at which a finding begins: that of its first frame."""
        return min(bisect_left(self.instants, finding.t), len(self.instants) - 1)

    def findings_at(self, step: int) -> list[Finding]:
        """Findings that begin at this step."""
        return [finding for finding in self.findings if self.step_of(finding) == step]

    def next_finding(self, step: int) -> int | None:
        """The first step after this one at which a finding begins; None when there is no more."""
        return min((at for f in self.findings if (at := self.step_of(f)) > step), default=None)

    def previous_finding(self, step: int) -> int | None:
        """The last step before this one at which a finding begins; None when there is none."""
        return max((at for f in self.findings if (at := self.step_of(f)) < step), default=None)

    def at(self, step: int) -> list[str]:
        """What happened at a step, a sentence each."""
        t, trace = self.instants[step], self.trace
        begin, end = bisect_left(self._settled, (t, -1)), bisect_left(self._settled, (t + 1, -1))
        lines = [self._sentence(i) for _, i in self._settled[begin:end]]
        lines += [f"{call.host}: {call_words(call)}." for call in trace.calls if call.t == t]
        notes = [note for note in trace.notes if note.t == t]
        lines += [f"{note.host}: {note.text}." if note.host else f"{note.text}." for note in notes]
        return lines or ["Nothing more happens."]

    def _sentence(self, i: int) -> str:
        """One segment: from where to where, what it means, and its own words."""
        p, its = self.trace.packets[i], self._words[i]
        frame = f", frame {self.frames[i]}" if self.frames else ""
        fate = f" {its.fate}." if its.fate else ""
        flags = " ".join(part for part in (its.flags, its.numbers) if part)
        return f"{p.sender} → {p.receiver}: {meaning(p, its)} ({flags}{frame}).{fate}"

    def page(self, t: int) -> Trace:
        """The part of the trace that is drawn at `t`."""
        count, last = len(self.trace.packets), max(self.segments_by(t) - 1, 0)
        if count <= PAGE + PAGE // 2:
            return self.trace
        # The last page takes a rest of up to half a page with it.
        border = min(last // PAGE, -(-(count - PAGE // 2) // PAGE) - 1) * PAGE
        begin = self._back(max(border - OVERLAP, 0))
        return self._part(begin, border + PAGE if border + PAGE < count - PAGE // 2 else None)

    def _back(self, i: int) -> int:
        """A segment from which probes and retransmissions are counted correctly, or nearly so."""
        for place in range(i, max(i - LOOK_BACK, 0) - 1, -1):
            if not self.trace.packets[place].kind:
                return place
        return i

    def _part(self, begin: int, end: int | None) -> Trace:
        trace = self.trace
        since = trace.packets[begin].t
        until = trace.end + 1 if end is None else trace.packets[end].t
        before: dict[Any, SocketSample] = {}
        sockets = []
        for sample in trace.sockets:
            if sample.t < since:
                before[sample.host, sample.local, sample.remote] = sample._replace(t=since)
            elif sample.t < until:
                sockets.append(sample)
        here = {
            "packets": trace.packets[begin:end],
            "calls": [call for call in trace.calls if since <= call.t < until],
            "sockets": [s for s in before.values() if s.state != "CLOSED"] + sockets,
            "notes": [note for note in trace.notes if since <= note.t < until],
            "end": trace.end if end is None else trace.packets[end - 1].t,
        }
        plain = {each.name: getattr(trace, each.name) for each in fields(Trace)} | here
        return Page(**plain, whole_start=trace.start, numbers=self._numbers[begin:end])


def _settled(packets: list[Packet]) -> list[tuple[int, int]]:
    """(time, place) at which each segment arrived; of a lost one, at which it was sent."""
    return sorted((p.t if p.arrives is None else max(p.arrives, p.t), i) for i, p in enumerate(packets))


def _instants(trace: Trace) -> list[int]:
    times = {t for t, _ in _settled(trace.packets)}
    times |= {call.t for call in trace.calls} | {note.t for note in trace.notes}
    return sorted(times | {max(trace.end, trace.start)})


# -- findings ------------------------------------------------------------------------------------


def lesson_of(finding: Finding) -> Lesson | None:
    """The lesson that explains a finding: `Finding.lesson` is its notebook without the ending."""
    notebook = f"{finding.lesson}.ipynb"
    return next((lesson for lesson in lessons().values() if lesson.notebook == notebook), None)


# -- as HTML -----------------------------------------------------------------------------------

#: More frames than this are given by the first and the last; more ends than this are not listed.
FRAMES, ENDS = 8, 8

#: Timers of ss in plain words.
_TIMERS = {
    "on": "retransmission (on)", "keepalive": "keepalive probe", "persist": "window probe (persist)",
    "timewait": "end of TIME-WAIT",
}  # fmt: skip
_HEADINGS = ("end", "state", "sent, not acknowledged", "its window", "timer")

#: Below what is inferred.
INFERRED = (
    "States and timers are inferred from the segments. A timer is named where the capture shows what it "
    "sent when it ran out, and TIME-WAIT as Linux keeps it, 60 s. What waits unread at a receiver no "
    "segment tells."
)


def happened(steps: ReplaySteps, step: int) -> str:
    """What happened at a step as HTML: where we are, the segment in words, and what begins there."""
    t = steps.instants[step]
    since = t - steps.trace.start
    when = f"{duration(since)} after the first segment" if since >= 0 else "before the first segment"
    where = f"Step {step + 1} of {len(steps)}, {when}"
    lines = "".join(map(paragraph, steps.at(step)))
    return paragraph(where, "tcplab-where") + lines + findings_html(steps.findings_at(step))


def findings_html(findings: Iterable[Finding]) -> str:
    """Findings with their evidence and a link to the lesson, escaped."""
    made = []
    for finding in findings:
        lesson = lesson_of(finding)
        link = f"; lesson {lesson.link()}" if lesson else ""
        made.append(
            f'<div class="tcplab-finding"><p><b>Finding: {escape(finding.code)}.</b> '
            f"{escape(finding.says)}</p>"
            f'<p class="tcplab-where">{escape(frames_words(finding.frames))}{link}</p></div>'
        )
    return "".join(made)


def frames_words(frames: Iterable[int]) -> str:
    """``frame 4``, ``frames 4, 7, 9``; of many the first ones and the last."""
    numbers = [str(frame) for frame in frames]
    if len(numbers) > FRAMES:
        numbers = [*numbers[: FRAMES - 1], "…", numbers[-1]]
    return f"{'frame' if len(numbers) == 1 else 'frames'} {', '.join(numbers)}"


def plain(steps: ReplaySteps, step: int) -> str:
    """The same as text: what a notebook without a kernel shows, and what a screen reader says."""
    findings = [f"{finding.code}: {finding.says}" for finding in steps.findings_at(step)]
    return " ".join([*steps.at(step), *findings])


def ends_table(steps: ReplaySteps, t: int) -> str:
    """Both ends at `t` as an HTML table."""
    ends = steps.ends.at(t)
    more = f" (the first {ENDS} of {len(ends)})" if len(ends) > ENDS else ""
    caption = f"the ends at this moment{more}" + (", inferred" if steps.ends.inferred else "")
    rows = (_row(steps, end, t) for end in ends[:ENDS])
    return html_table(_HEADINGS, rows, caption=caption, row_headings=True)


def _row(steps: ReplaySteps, end: EndState, t: int) -> tuple[str, ...]:
    sample = steps.ends.sample(end, t)
    state = console.state_name(sample.state) if sample else "closed" if end.state else "gone"
    sent = f"{end.unacknowledged:,} bytes" if sample else ""
    window = f"{end.window:,} bytes" if sample and end.window is not None else ""
    return f"{end.host} {end.local}", state, sent, window, _timer(sample, t)


def _timer(sample: SocketSample | None, t: int) -> str:
    if sample is None or not sample.timer:
        return "none" if sample else ""
    name = _TIMERS.get(sample.timer, sample.timer)
    left = "" if sample.due is None else f" in {duration(max(sample.due - t, 0))}"
    unanswered = f", {sample.unanswered} without an answer" if sample.unanswered else ""
    return f"{name}{left}{unanswered}"


def consoles(steps: ReplaySteps, t: int) -> str:
    """What `ss` shows on each host at `t`, as HTML: as recorded, or as far as it can be inferred."""
    if not steps.ends.inferred:
        return console.screens_html(steps.trace, t)
    made = []
    for host, how, text in [*_inferred_screens(steps, t), *_recorded_screens(steps, t)]:
        head = escape(f"{console.prompt(host, console.SS)}   # {how}")
        made.append(terminal(f"console of {host}, {how}", f"<b>{head}</b>\n{escape(text)}"))
    return "".join(made)


def _recorded_screens(steps: ReplaySteps, t: int) -> Iterator[tuple[str, str, str]]:
    """The last that ss showed on each host, where that was recorded with the capture."""
    watched = steps.watched
    for host in watched.hosts:
        if samples := console.sockets(watched, host, t):
            when = duration(max(sample.t for sample in samples) - watched.start)
            yield host, f"recorded at {when}", console.ss(watched, host, t)


def _inferred_screens(steps: ReplaySteps, t: int) -> Iterator[tuple[str, str, str]]:
    for end in steps.ends.at(t)[:ENDS]:
        sample = steps.ends.sample(end, t)
        rows = [("State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port", "")]
        if sample is not None:
            timer = console.timer(sample, t, steps.trace.linux)
            state = console.state_name(sample.state)
            rows.append((state, "?", str(sample.send_q), str(end.local), str(end.remote), timer))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (" ".join(text.ljust(wide) for text, wide in zip(row, widths, strict=True)) for row in rows)
        yield end.host, "inferred", "\n".join(line.rstrip() for line in lines)


NOTHING = "There is nothing to replay: no segment was sent."
#: px of the picture; a higher one is seen through a frame that follows the cursor.
HEIGHT = 470
#: px above it for the hosts' names, once their place has moved out of sight.
NAMES = 14
#: Where in that frame the cursor stands once the frame moves.
LOW = 0.72


def framed(picture: Picture, trace: Trace, t: int) -> Picture:
    """A ladder seen through a frame of `HEIGHT` that follows `t`; hosts' names stay in sight."""
    layout = picture.layout
    bottom, top = layout["yaxis"]["range"]
    margins = layout["margin"]["t"] + layout["margin"]["b"]
    if bottom - top + margins <= HEIGHT:
        return picture
    high = HEIGHT - margins - NAMES
    full = max(bottom - top, picture.axis.height + 30 - top)
    begin = picture.axis.bottom_of(t) - LOW * high
    begin = min(max(begin, top), top + full - high)
    names = [
        {
            "x": x, "y": 1, "xref": "x", "yref": "paper", "yanchor": "bottom", "showarrow": False,
            "text": f"<b>{escape(host, False)}</b>",
        }
        for x, host in enumerate(hosts_of(trace))
    ]  # fmt: skip
    frame = {
        "height": HEIGHT, "margin": layout["margin"] | {"t": layout["margin"]["t"] + NAMES},
        "yaxis": layout["yaxis"] | {"range": [begin + high, begin], "fixedrange": False},
        "dragmode": "pan", "uirevision": f"{begin}", "annotations": names if begin > top else [],
    }  # fmt: skip
    return Picture(picture.data, layout | frame, picture.axis)
