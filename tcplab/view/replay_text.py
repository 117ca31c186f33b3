"""What a replay shows in words: what happened, the finding, both ends as a table, the console."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import TYPE_CHECKING

from tcplab.trace import SocketSample, duration
from tcplab.view import console
from tcplab.view.panels import paragraph, screens
from tcplab.view.replay_ends import End
from tcplab.view.replay_findings import lesson_of
from tcplab.view.replay_steps import Steps

if TYPE_CHECKING:
    from tcplab.capture.findings import Finding

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
