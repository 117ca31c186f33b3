"""A connection step by step: what happened at each segment, and what both ends were in then.

    capture = tcplab.read_capture("mine.pcap")
    tcplab.replay(capture.connection(0))

Buttons, a slider and keys do the same thing, and so does Python: `step`, `go`, `next_finding`. Playing
is a task on the notebook kernel's own loop: it needs no thread, so that it also works in a browser's
Python, and a page that is reloaded meets it where it is.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import ipywidgets as widgets
import traitlets

from tcplab.core.segment import ACK, FIN, RST, SYN
from tcplab.core.text import MILLISECOND, duration
from tcplab.core.trace import Packet, Relative, SocketSample, Trace
from tcplab.follow import KEEPALIVE, RETRANSMISSION, WINDOW_PROBE, End, Ends, judged
from tcplab.lesson.course import Lesson, lessons
from tcplab.pictures import console, ladder
from tcplab.pictures.text import Words, call_words, excerpt, words
from tcplab.pictures.theme import Picture
from tcplab.pictures.timeaxis import hosts_of
from tcplab.widgets.base import paragraph, screens
from tcplab.widgets.figure import LivingFigure, SliderNames

if TYPE_CHECKING:
    from tcplab.capture.findings.story import Finding, Story


# ----------------------------------------------------------------------
# The keys of a replay: they step it wherever in it the focus is, and don't reach JupyterLab.

#: The class of the box whose keys they are.
BOX = "tcplab-replay"


class ReplayKeys(anywidget.AnyWidget):
    """Nothing to see. Put it into a box of class `BOX`; calls `pressed` with each key's name."""

    _esm = Path(__file__).with_name("replay.js")

    #: How many messages were worked off: the page then sends what was pressed meanwhile.
    taken = traitlets.Int(0).tag(sync=True)

    def __init__(self, pressed: Callable[[str], None]) -> None:
        super().__init__()
        self._pressed = pressed
        self.on_msg(self._on_message)

    def _on_message(self, widget: Any, content: Any, buffers: Any) -> None:
        try:
            for key in content["keys"]:
                self._pressed(key)
        finally:
            self.taken += 1


# ----------------------------------------------------------------------
# What a replay steps through: moments, what is said at each, findings, and the part that is drawn.
#
# A step is a moment at which a segment has settled (arrived, or been lost), a call has returned, or
# something is noted. However long a connection is, the picture holds one page of it, with its own
# numbers and its own clock running on from the first segment of all.

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
        whole, trace = max(len(trace.packets), len(frames)), excerpt(trace, MOST)
        if trace.bench == "capture":
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
        self._settled = _settled(trace.packets)
        self._borders = self._pages()

    def __len__(self) -> int:
        return len(self.moments)

    def position(self, t: int) -> int:
        """The last step not after `t`; 0 when all are."""
        return max(bisect_right(self.moments, t) - 1, 0)

    def segments_by(self, t: int) -> int:
        """How many segments had been sent by `t`."""
        return bisect_right(self.trace.packets, t, key=lambda p: p.t)

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
        p, said = self.trace.packets[i], self._said[i]
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
        count = len(self.trace.packets)
        if count <= PAGE + PAGE // 2:
            return [0]
        return list(range(0, count - PAGE // 2, PAGE))

    def _back(self, i: int) -> int:
        """A place from which probes and repetitions are counted rightly, or nearly so."""
        for place in range(i, max(i - BACK, 0) - 1, -1):
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
    """(moment, place) at which each segment has arrived; where it never does, at which it was sent."""
    return sorted((p.t if p.arrives is None else max(p.arrives, p.t), i) for i, p in enumerate(packets))


def _moments(trace: Trace) -> list[int]:
    found = {t for t, _ in _settled(trace.packets)}
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


def meaning(packet: Packet, said: Words) -> str:
    """What a segment is for, in a few words: ``sends 40 bytes``, ``has nothing more to send``."""
    s = packet.segment
    if packet.kind in _KINDS:
        name = said.name.removesuffix(", zero window")
        return f"{_KINDS[packet.kind]}" + (f": {name}" if name else "")
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


# ----------------------------------------------------------------------
# Findings of one connection when nothing but its trace is there, and the verdicts on its RSTs.


def story_of(trace: Trace) -> Story | None:
    """A captured connection as the findings look at it, its frames counted from 1.

    None without a segment, and in a browser's Python: findings need NumPy.
    """
    try:
        from tcplab.capture.findings.story import Story
    except ImportError:
        return None
    if not trace.packets:
        return None
    first = trace.packets[0].segment
    from_client = trace.packets[0].sender == "client"
    ends = (first.source, first.destination) if from_client else (first.destination, first.source)
    frames = list(range(1, len(trace.packets) + 1))
    carried = any(p.segment.length for p in trace.packets)
    return Story(*ends, trace.packets, frames, trace.end, carried)


def findings_of(trace: Trace) -> list[Finding]:
    """What `diagnose` finds in this connection, by itself: its capture's other connections are unknown.

    Its frames are places among the connection's segments, from 1.
    """
    story = story_of(trace)
    if story is None:
        return []
    from tcplab.capture.findings import CODES

    return [replace(finding, lesson=lesson) for find, lesson in CODES.values() for finding in find(story)]


def verdicts(trace: Trace) -> dict[int, str]:
    """What became of each RST, by its place among the packets."""
    story = story_of(trace)
    if story is None:
        return {}
    from tcplab.capture.findings.ends import resets

    return {each.place: each.verdict for each in resets(story)}


def lesson_of(finding: Finding) -> Lesson | None:
    """The lesson that explains a finding: `Finding.lesson` is its notebook without the ending."""
    return _by_notebook().get(f"{finding.lesson}.ipynb")


@cache
def _by_notebook() -> dict[str, Lesson]:
    return {lesson.notebook: lesson for lesson in lessons().values()}


# ----------------------------------------------------------------------
# What a replay shows in words: what happened, the finding, both ends as a table, the console.

#: More frames than this are given by the first and the last; more ends than this are not listed.
FRAMES, ENDS = 8, 8

#: Timers of ss in plain words.
_TIMERS = {
    "on": "retransmission (on)",
    "keepalive": "keepalive probe",
    "persist": "window probe (persist)",
    "timewait": "end of TIME-WAIT",
}
_HEADINGS = ("end", "state", "sent, not acknowledged", "its window", "timer")

#: Below what is inferred.
INFERRED = (
    "States and timers are inferred from the segments. A timer is named where the capture shows what it "
    "sent when it ran out, and TIME-WAIT as Linux keeps it, 60 s. What waits unread at a receiver no "
    "segment tells."
)


def happened(steps: Steps, step: int) -> str:
    """What happened at a step as HTML: where we are, the segment in words, and what begins there."""
    t = steps.moments[step]
    since = t - steps.trace.start
    when = f"{duration(since)} after the first segment" if since >= 0 else "before the first segment"
    where = f"Step {step + 1} of {len(steps)}, {when}"
    told = "".join(paragraph(sentence) for sentence in steps.at(step))
    return paragraph(where, "tcplab-where") + told + findings_html(steps.found_at(step))


def findings_html(findings: Iterable[Finding]) -> str:
    """Findings with their evidence and a link to the lesson, escaped."""
    made = []
    for finding in findings:
        lesson = lesson_of(finding)
        link = f"; lesson {lesson.link()}" if lesson else ""
        made.append(
            f'<div class="tcplab-found"><p><b>Finding: {escape(finding.code)}.</b> {escape(finding.says)}</p>'
            f'<p class="tcplab-where">{escape(frames_words(finding.frames))}{link}</p></div>'
        )
    return "".join(made)


def frames_words(frames: Iterable[int]) -> str:
    """``frame 4``, ``frames 4, 7, 9``; of many the first ones and the last."""
    numbers = [str(frame) for frame in frames]
    if len(numbers) > FRAMES:
        numbers = [*numbers[: FRAMES - 1], "…", numbers[-1]]
    return f"{'frame' if len(numbers) == 1 else 'frames'} {', '.join(numbers)}"


def plain(steps: Steps, step: int) -> str:
    """The same as text: what a notebook without a kernel shows, and what a screen reader says."""
    found = [f"{finding.code}: {finding.says}" for finding in steps.found_at(step)]
    return " ".join([*steps.at(step), *found])


def ends_table(steps: Steps, t: int) -> str:
    """Both ends at `t` as an HTML table."""
    ends = steps.ends.at(t)
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in _HEADINGS)
    body = []
    for end in ends[:ENDS]:
        name, *cells = _row(steps, end, t)
        row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        body.append(f'<tr><th scope="row">{escape(name)}</th>{row}</tr>')
    more = f" (the first {ENDS} of {len(ends)})" if len(ends) > ENDS else ""
    caption = f"the ends at this moment{more}" + (", inferred" if steps.ends.inferred else "")
    return (
        f'<table class="tcplab-table"><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def _row(steps: Steps, end: End, t: int) -> tuple[str, ...]:
    sample = steps.ends.sample(end, t)
    nothing = "closed" if end.state else "gone"
    state = console.state_name(sample.state) if sample else nothing
    window = "" if end.window is None else f"{end.window:,} bytes"
    return (
        f"{end.host} {end.local}",
        state,
        f"{end.unacknowledged:,} bytes" if sample else "",
        window if sample else "",
        _timer(sample, t),
    )


def _timer(sample: SocketSample | None, t: int) -> str:
    if sample is None or not sample.timer:
        return "none" if sample else ""
    name = _TIMERS.get(sample.timer, sample.timer)
    left = "" if sample.due is None else f" in {duration(max(sample.due - t, 0))}"
    again = f", {sample.unanswered} without an answer" if sample.unanswered else ""
    return f"{name}{left}{again}"


def consoles(steps: Steps, t: int) -> str:
    """What `ss` shows on each host at `t`, as HTML: as it was seen, or as far as it can be inferred."""
    if not steps.ends.inferred:
        return screens(steps.trace, t)
    seen = [_screen(host, text) for host, text in _recorded_screens(steps, t)]
    made = [_screen(host, text) for host, text in _inferred_screens(steps, t)]
    return "".join([*made, *seen])


def _recorded_screens(steps: Steps, t: int) -> Iterator[tuple[str, str]]:
    """The last that ss showed on each host, where that was recorded with the capture."""
    watched = steps.watched
    for host in watched.hosts:
        shown = console.sockets(watched, host, t)
        if shown:
            when = duration(max(sample.t for sample in shown) - watched.start)
            yield f"{host}, recorded at {when}", console.ss(watched, host, t)


def _inferred_screens(steps: Steps, t: int) -> Iterator[tuple[str, str]]:
    for end in steps.ends.at(t)[:ENDS]:
        sample = steps.ends.sample(end, t)
        rows = [("State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port", "")]
        if sample is not None:
            timer = console.timer(sample, t, steps.trace.linux)
            state = console.state_name(sample.state)
            rows.append((state, "?", str(sample.send_q), str(end.local), str(end.remote), timer))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (" ".join(text.ljust(wide) for text, wide in zip(row, widths, strict=True)) for row in rows)
        yield f"{end.host}, inferred", "\n".join(line.rstrip() for line in lines)


def _screen(host: str, text: str) -> str:
    label = escape(f"console of {host}", quote=True)
    host, _, how = host.partition(", ")
    head = escape(f"{console.prompt(host, console.SS)}   # {how}")
    return (
        f'<pre class="tcplab-console" tabindex="0" aria-label="{label}"><b>{head}</b>\n{escape(text)}</pre>'
    )


_STYLES = [Path(__file__).with_name(name) for name in ("explorer.css", "replay.css")]
#: px of the picture; a higher one is seen through a frame that follows the moment.
HEIGHT = 470
#: px above it for the hosts' names, once their place has moved out of sight.
NAMES = 14
#: Where in that frame the moment stands once it moves.
LOW = 0.72
#: Seconds from one step to the next, by the name of the speed.
SPEEDS = {"slow": 2.0, "normal": 1.0, "fast": 0.35}

KEYS_HELP = "Keys: ← → step, Home and End, space plays and pauses, n next finding, p the one before."


class Replay(widgets.VBox):
    """A trace to step through. See `replay`."""

    def __init__(
        self, trace: Trace, findings: Iterable[Finding] | None = None, frames: Sequence[int] = ()
    ) -> None:
        self._figure = LivingFigure("replay")
        self._figure.on_click(self._on_click)
        self._quiet = False
        self._task: Any = None
        self._title, self._said, self._below = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self._said.add_class("tcplab-happened")
        self._console = widgets.HTML()
        self._folded = widgets.Accordion([self._console], titles=["Your console at this moment"])
        self._folded.selected_index = None
        self._folded.observe(lambda change: self._show(), "selected_index")
        self._back = _button("Back", "step-backward", "One step back (←)", lambda: self.step(-1))
        self._play = _button("Play", "play", "Step by itself (space)", self.toggle)
        self._forward = _button("Forward", "step-forward", "One step on (→)", lambda: self.step(1))
        self._next = _button("Next finding", "flag", "To the next finding (n)", self.next_finding)
        self._speed = widgets.Dropdown(options=list(SPEEDS), value="normal", description="speed")
        self._speed.style.description_width = "initial"
        self._slider = widgets.IntSlider(0, 0, 1, description="moment", readout=False).add_class(
            "tcplab-turn"
        )
        self._slider.observe(self._on_slider, "value")
        self._slider.style.description_width = "initial"
        turnable = [self._back, self._play, self._forward, self._next, self._speed, self._slider]
        buttons = widgets.HBox(turnable)
        style = "".join(path.read_text() for path in _STYLES)
        self._body = widgets.VBox(
            [
                buttons.add_class("tcplab-buttons"),
                widgets.HTML(paragraph(KEYS_HELP, "tcplab-help")),
                self._said,
                self._figure,
                self._below,
                self._folded,
            ]
        )
        super().__init__(
            [
                widgets.HTML(f"<style>{style}</style>").add_class("tcplab-style"),
                ReplayKeys(self.press),
                self._title,
                self._body,
                SliderNames(),
            ]
        )
        self.add_class("tcplab-explorer")
        self.add_class(BOX)
        self.show(trace, findings, frames)

    # -- for cells and tests -----------------------------------------------------------------

    @property
    def position(self) -> int:
        """The step that is shown, from 0."""
        return self._step

    @property
    def t(self) -> int:
        """The moment that is shown, nanoseconds."""
        return self.steps.moments[self._step]

    @property
    def sentence(self) -> str:
        """What happened at the step that is shown, and the finding that begins there."""
        return plain(self.steps, self._step) if self.steps.trace.packets else NOTHING

    @property
    def playing(self) -> bool:
        """True while it steps by itself."""
        return self._task is not None

    @property
    def figure(self) -> Any:
        """The picture that is shown, as a plotly figure; None when there is none."""
        return self._figure.figure

    def show(
        self, trace: Trace, findings: Iterable[Finding] | None = None, frames: Sequence[int] = ()
    ) -> None:
        """Replay this trace from its beginning instead."""
        self.pause()
        self.steps = Steps(trace, findings, frames)
        self._step = 0
        there = bool(self.steps.trace.packets)
        self._body.layout.display = "" if there else "none"
        self._title.value = self._heading() if there else paragraph(NOTHING)
        self._next.disabled = not self.steps.findings
        self._next.tooltip = "To the next finding (n)" if self.steps.findings else "Nothing was found here."
        self._quiet = True
        try:
            self._slider.value = 0
            self._slider.max = max(len(self.steps) - 1, 1)
        finally:
            self._quiet = False
        self._show()

    def step(self, by: int) -> None:
        """So many steps on; back when negative. Stays where there is no more."""
        self.go(self._step + by)

    def go(self, position: int) -> None:
        """Show this step; the first or the last one where there is none."""
        self._step = min(max(position, 0), len(self.steps) - 1)
        self._show()

    def look_at(self, seconds: float) -> None:
        """Show the last step not after this second, counted from the first segment."""
        self.go(self.steps.position(self.steps.trace.start + round(seconds * 1e9)))

    def next_finding(self) -> None:
        """To the next step at which a finding begins; stays when there is no more."""
        there = self.steps.next_finding(self._step)
        if there is not None:
            self.go(there)

    def previous_finding(self) -> None:
        """To the step before at which a finding begins; stays when there is none."""
        there = self.steps.previous_finding(self._step)
        if there is not None:
            self.go(there)

    def press(self, key: str) -> None:
        """What a key does, by the page's name for it; others do nothing."""
        actions = {
            "ArrowLeft": lambda: self.step(-1),
            "ArrowRight": lambda: self.step(1),
            "Home": lambda: self.go(0),
            "End": lambda: self.go(len(self.steps) - 1),
            " ": self.toggle,
            "n": self.next_finding,
            "p": self.previous_finding,
        }
        if key in actions:
            actions[key]()

    # -- playing -----------------------------------------------------------------------------

    def toggle(self) -> None:
        """Play, or pause."""
        if self.playing:
            self.pause()
        else:
            self.play()

    def play(self) -> None:
        """Step on by itself to the end; from the beginning when it stands there. Needs a running loop."""
        import asyncio

        if self.playing or not self.steps.trace.packets:
            return
        if self._step == len(self.steps) - 1:
            self.go(0)
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._show_play()

    def pause(self) -> None:
        """Stay at the step that is shown."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._show_play()

    async def _run(self) -> None:
        import asyncio

        while self._step < len(self.steps) - 1:
            await asyncio.sleep(self._pause_s())
            self.step(1)
        self._task = None
        self._show_play()

    def _pause_s(self) -> float:
        """How long this step is looked at: longer before a silence, and where a finding begins."""
        moments = self.steps.moments
        gap = moments[self._step + 1] - moments[self._step]
        seconds = 0.6 + 0.15 * math.log10(1 + gap / MILLISECOND)
        seconds += 2.0 * bool(self.steps.found_at(self._step))
        return seconds * SPEEDS[self._speed.value]

    def _show_play(self) -> None:
        self._play.description = "Pause" if self.playing else "Play"
        self._play.icon = "pause" if self.playing else "play"

    # -- showing -----------------------------------------------------------------------------

    def _heading(self) -> str:
        steps = self.steps
        count = len(steps.trace.packets)
        ends = " ↔ ".join(
            f"{host} {address}" if address != host else host for host, address in steps.trace.hosts.items()
        )
        long = duration(steps.trace.packets[-1].t - steps.trace.start)
        found = len(steps.findings)
        told = f", {found} finding{'s' * (found != 1)}" if steps.trace.bench == "capture" else ""
        said = f"{ends}: {count:,} segment{'s' * (count != 1)} in {long}{told}"
        told_first = [*steps.trace.warnings, *filter(None, [steps.warning])]
        warnings = "".join(paragraph(warning, "warning") for warning in told_first)
        return f"<h3>{escape(said)}</h3>{warnings}"

    def _show(self) -> None:
        if not self.steps.trace.packets:
            self._figure.clear()
            return
        steps, t = self.steps, self.t
        self._quiet = True
        try:
            self._slider.value = self._step
        finally:
            self._quiet = False
        self._back.disabled = self._step == 0
        self._forward.disabled = self._step == len(steps) - 1
        said = happened(steps, self._step)
        self._said.value = f'<div class="tcplab-sentence" role="status" aria-live="polite">{said}</div>'
        page = steps.page(t)
        drawn = ladder.draw(page, at=t, upto=t)
        self._axis = drawn.axis
        self._figure.show(framed(drawn, page, t))
        note = paragraph(INFERRED, "tcplab-help") if steps.ends.inferred else ""
        self._below.value = ends_table(steps, t) + note
        if self._folded.selected_index is not None:
            self._console.value = consoles(steps, t)

    def _on_slider(self, change: Any) -> None:
        if not self._quiet:
            self.go(change["new"])

    def _on_click(self, y: float) -> None:
        self.go(self.steps.position(self._axis.t_of(y)))

    def __repr__(self) -> str:
        return self.sentence

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = dict(super()._repr_mimebundle_(**options) or {})
        return bundle | {"text/plain": repr(self), "text/html": self._title.value + self._said.value}


NOTHING = "There is nothing to replay: not one segment was sent."


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
    yaxis = layout["yaxis"] | {"range": [begin + high, begin], "fixedrange": False}
    return Picture(
        picture.data,
        layout
        | {
            "height": HEIGHT,
            "margin": layout["margin"] | {"t": layout["margin"]["t"] + NAMES},
            "yaxis": yaxis,
            "dragmode": "pan",
            "uirevision": f"{begin}",
            "annotations": names if begin > top else [],
        },
        picture.axis,
    )


def _button(text: str, icon: str, tooltip: str, pressed: Any) -> widgets.Button:
    button = widgets.Button(description=text, icon=icon, tooltip=tooltip)
    button.on_click(lambda _: pressed())
    return button


def replay(
    connection: Trace, findings: Iterable[Finding] | None = None, frames: Sequence[int] = ()
) -> Replay:
    """A connection to step through, for the last line of a cell: ``replay(capture.connection(0))``.

    `connection` is any trace. `findings` are what one can jump to: of a capture's trace without them,
    those that the trace itself shows. `frames` are the segments' numbers in the file, as
    `Capture.frames` gives them.
    """
    return Replay(connection, findings, frames)
