"""The receive window, drawn in two ways: as a number line on which a RST falls, and over time.

`draw_window` draws the first where a receiver had to judge a RST (a forged one, or one that was not
obeyed), else the second: how a slow reader closes the window. The zones of the number line come from the
receiver's rule, `model.rules.reset_verdict`; its edges from what the receiver last sent and what had reached
it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import pairwise
from operator import attrgetter, itemgetter
from typing import NamedTuple

from tcplab.core.releases import Release, known_release
from tcplab.core.segment import ACK, FIN, RST, SYN, Segment, after, seq_add, seq_diff
from tcplab.core.table import html_table
from tcplab.core.text import in_words, plural
from tcplab.core.trace import Trace
from tcplab.follow import WINDOW_PROBE
from tcplab.model.rules import reset_verdict
from tcplab.pictures import theme as look
from tcplab.pictures.lanes import Steps, steps
from tcplab.pictures.panels import KEPT, Fact, Limits, Panels, compared, grown, kept_words, side_by_side
from tcplab.pictures.tables import steps_table
from tcplab.pictures.text import hover_texts, words
from tcplab.pictures.theme import Line, MarkStyle, Picture, Text, filled, rectangle

#: A zone of the number line and the line of a RST, by verdict.
VERDICTS = {
    "accepted": MarkStyle("accepted"),
    "challenged": MarkStyle("challenged", "/", "dash"),
    "ignored": MarkStyle("ignored", ".", "dot"),
}
#: px: the arrow of the RST, the bar of zones, that of a kept run, a line of text.
_ARROW, _BAR, _KEPT_BAR, _LINE = 60, 46, 26, 20
#: The width of the number line for which its texts are kept apart, px.
_NARROW = 720
_BEFORE, _AFTER = "before RCV.NXT", "after RCV.NXT"
#: Bytes that the number line shows on both sides at least: one more than reaches to the middle of a zone.
_AROUND = 16


def draw_window(
    trace: Trace, *, kept: Sequence[Trace] = (), limits: Limits | None = None, dark: bool = False
) -> Picture:
    """The window of this trace: where a RST falls, or how it opens and closes.

    `kept`: up to three runs drawn in grey beside it, the newest last. `limits`: the ends of the axes as the
    picture before had them.
    """
    if runs := side_by_side(trace, kept, judged_reset):
        return _draw_reset(runs, limits, look.theme(dark))
    return _draw_over_time(trace, kept, limits, dark)


@dataclass(frozen=True, slots=True)
class Fallen:
    """A RST and the window that it met. Offsets are bytes from the receiver's RCV.NXT."""

    #: Which of the trace's packets.
    index: int
    offset: int
    #: RCV.NXT as of the last ACK sent, 0 or negative; and the end of the advertised window.
    left_edge: int
    right_edge: int
    #: Blocks held out of order by the receiver's last SACK, (left, right) each.
    sack: tuple[tuple[int, int], ...]
    #: RCV.NXT in relative numbers, as Wireshark shows it.
    expected: int
    #: The peer has sent its FIN.
    after_fin: bool
    rules: Release
    #: The receiver's verdict, or that of the rule where the trace has none.
    verdict: str

    @property
    def edges(self) -> set[int]:
        """Every offset beside which the verdict may change."""
        return {self.left_edge, self.right_edge, 0, *(edge for block in self.sack for edge in block)}

    def verdict_at(self, offset: int) -> str:
        """The verdict on a RST at an offset, by the rule of the receiver's Linux version."""
        return reset_verdict(
            seq_add(0, offset),
            rcv_nxt=0,
            left_edge=seq_add(0, self.left_edge),
            right_edge=seq_add(0, self.right_edge),
            release=self.rules,
            state="CLOSE_WAIT" if self.after_fin else "ESTABLISHED",
            sack_edge=max((right for _, right in self.sack), default=None),
        )


def judged_reset(trace: Trace) -> Fallen | None:
    """The first RST that was forged or not obeyed; None where nothing had to be judged."""
    for i, packet in enumerate(trace.packets):
        judged = packet.kind == "forged" or packet.verdict in ("challenged", "ignored")
        arrived = packet.segment.flags & RST and packet.arrives is not None
        if judged and arrived and (fallen := fallen_reset(trace, i)):
            return fallen
    return None


def fallen_reset(trace: Trace, index: int) -> Fallen | None:
    """The window that RST number `index` met; None where its receiver had advertised none yet."""
    reset = trace.packets[index]
    when = reset.arrives or reset.t
    forward, before = (reset.segment.source, reset.segment.destination), []
    received: list[Segment] = []
    for i, packet in enumerate(trace.packets):
        s = packet.segment
        # What the receiver sends at the same instant is its answer.
        if (s.destination, s.source) == forward and s.flags & (ACK | RST) == ACK and packet.t < when:
            before.append(i)
        elif (s.source, s.destination) == forward and not s.flags & RST:
            received += [s] if packet.arrives is not None and packet.arrives <= when else []
    if not before:
        return None
    last = trace.packets[before[-1]].segment
    left = last.ack
    expected = _contiguous(left, received)
    fallen = Fallen(
        index=index,
        offset=seq_diff(reset.segment.seq, expected),
        left_edge=seq_diff(left, expected),
        right_edge=seq_diff(seq_add(left, last.window), expected),
        sack=tuple((seq_diff(a, expected), seq_diff(b, expected)) for a, b in last.sack),
        expected=trace.relative()[before[-1]].ack + seq_diff(expected, left),
        after_fin=any(segment.flags & FIN for segment in received),
        rules=known_release(trace.linux),
        verdict=reset.verdict,
    )
    return replace(fallen, verdict=fallen.verdict or fallen.verdict_at(fallen.offset))


def _contiguous(left: int, received: Iterable[Segment]) -> int:
    """RCV.NXT: the end of the data received in order from `left` on."""
    expected = left
    for segment in sorted(received, key=lambda segment: seq_diff(segment.seq, left)):
        if not after(segment.seq, expected) and after(segment.end_seq, expected):
            expected = segment.end_seq
    return expected


def number_line(edges: Iterable[int]) -> Callable[[float], float]:
    """Offsets to x: the logarithm of their distance from RCV.NXT, with a unit for each byte at an edge.

    x depends on the edges alone, so that a RST moves along the line and the line stays where it is.
    """
    places = {0, *edges}

    def x(offset: float) -> float:
        far = math.copysign(0.4 * math.log2(1 + abs(offset)), offset)
        return far + sum(min(max(offset - edge, -1.5), 1.5) for edge in places)

    return x


def zones(fallen: Fallen) -> list[tuple[str, float, float]]:
    """(verdict, offset from, to) from left to right, to infinity: verdicts change beside edges only."""
    cuts = sorted({edge + half for edge in fallen.edges for half in (-0.5, 0.5)})
    found: list[tuple[str, float, float]] = []
    for begin, end in pairwise([-math.inf, *cuts, math.inf]):
        verdict = fallen.verdict_at(int((end if begin == -math.inf else begin + 1) - 0.5))
        if found and found[-1][0] == verdict:
            begin = found.pop()[1]
        found.append((verdict, begin, end))
    return found


def _reset_facts(fallen: Fallen) -> list[Fact]:
    return [
        Fact("the RST is {}", fallen.verdict),
        Fact("it lies at {}", position(fallen.offset)),
        Fact("the window ends at {}", f"{fallen.expected + fallen.right_edge:,}"),
    ]


def _draw_reset(runs: Sequence[tuple[Trace, Fallen]], limits: Limits | None, colours: look.Theme) -> Picture:
    (trace, fallen), *beside = runs
    shown = [each for _, each in runs]
    lowest = min(min(each.offset, *each.edges) for each in shown)
    highest = max(max(each.offset, *each.edges) for each in shown)
    limits = grown(limits, **{f"bytes {_BEFORE}": _AROUND - lowest, f"bytes {_AFTER}": _AROUND + highest})
    line = number_line(edge for each in shown for edge in each.edges)
    left, right = line(-limits[f"bytes {_BEFORE}"]) - 1, line(limits[f"bytes {_AFTER}"]) + 1
    names, captions, marks, held, fall, resets = Text(), Text(), Line(), Line(), Line(), Line()
    areas, greys = ({verdict: Line() for verdict in VERDICTS} for _ in range(2))

    def bar(of: Fallen, y: float, height: float, into: dict[str, Line], ink: str) -> list[tuple[float, str]]:
        """One bar of zones; gives the verdicts for which its zones are too narrow."""
        narrow = []
        for verdict, begin, end in zones(of):
            x0 = left if begin == -math.inf else line(begin)
            x1 = right if end == math.inf else line(end)
            into[verdict].add(rectangle(x0, y, x1, y + height))
            word = f"{'exact: ' * (x0 < line(0) < x1)}{verdict}"
            if (x1 - x0) * _NARROW / (right - left) >= (len(word) + 1) * look.CHARACTER:
                names.add((x0 + x1) / 2, y + height / 2, f"<b>{word}</b>", "middle center", ink)
            else:
                narrow.append(((x0 + x1) / 2, f"<b>{word}</b>"))
        return narrow

    y, differs = 0.0, compared(_reset_facts(fallen), _reset_facts(beside[0][1])) if beside else ""
    if differs:
        captions.add(left, 10, f"<b>{differs}</b>", "middle right", colours.soft)
        y = _LINE + 4
    bottom = y + _ARROW + _BAR
    x = line(fallen.offset)
    said = f"<b>RST</b> seq {fallen.expected + fallen.offset:,} = {position(fallen.offset)}"
    away, side = (-0.12, "middle left") if x > (left + right) / 2 else (0.12, "middle right")
    captions.add(x + away, y + 14, f"{said} → <b>{fallen.verdict}</b>", side, colours.error)
    fall.add([(x, y + 6), (x, y + _ARROW)], hover_texts(trace, words(trace))[fallen.index], fallen.index)
    narrow = bar(fallen, y + _ARROW, _BAR, areas, colours.ink)
    for a, b in fallen.sack:
        about = f"held out of order (SACK): {fallen.expected + a:,}–{fallen.expected + b:,}"
        held.add([(line(a), bottom + 3), (line(b), bottom + 3)], about)
    y = bottom + 6
    for x, text, row in _apart(narrow, left, right):
        names.add(x, bottom + 16 + row * _LINE, text, "middle center", colours.ink)
        y = max(y, bottom + 26 + row * _LINE)
    first = y + 4
    landmarks = _landmarks(fallen, line)
    for (at, _), (x, text, row) in zip(landmarks, _apart(landmarks, left, right), strict=True):
        below = first + row * (2 * _LINE + 6)
        marks.add([(at, bottom), (at, below)])
        captions.add(x, below + _LINE, text, "middle center", colours.ink)
        y = max(y, below + 2 * _LINE)
    receiver = trace.packets[fallen.index].receiver
    whose = f"the window of <b>{escape(receiver, False)}</b>, <i>not to scale</i>"
    captions.add(right, y + 12, whose, "middle left", colours.soft)
    y += 26
    for (_, sign), (other_trace, other) in zip(KEPT, beside, strict=False):
        said = f"{sign} {escape(kept_words(trace, other_trace), False)}: <b>{other.verdict}</b>"
        captions.add(left, y + 10, said, "middle right", colours.soft)
        bar(other, y + _LINE + 6, _KEPT_BAR, greys, colours.soft)
        resets.x.append(line(other.offset))
        resets.y.append(y + _LINE + 6)
        y += _LINE + _KEPT_BAR + 12
    thin, dashed = {"color": colours.ink, "width": 1}, {"color": colours.soft, "width": 1.4, "dash": "dash"}
    data = []
    for verdict, mark in VERDICTS.items():
        area = filled(colours.zones[verdict], 0.35, mark.pattern, size=9, ground=0.18)
        data.append(areas[verdict].trace(f"zone: {verdict}", line=thin, **area))
        area = filled(colours.soft, 0.22, mark.pattern, size=9, ground=0.06)
        data.append(greys[verdict].trace(f"kept zone: {verdict}", line=dashed, **area))
    arrow = {"symbol": "arrow", "angleref": "previous", "size": [0, 18, 0], "opacity": 1}
    dash = {"color": colours.error, "width": 3, "dash": VERDICTS[fallen.verdict].dash}
    triangle = {"symbol": "triangle-down", "size": 12, "color": colours.soft}
    data += [
        resets.trace("kept RST", mode="markers", marker=triangle),
        held.trace("held out of order", line={"color": colours.states["open"], "width": 7}),
        marks.trace("landmarks", line={"color": colours.soft, "width": 1}),
        fall.trace(
            "RST", mode="lines+markers", line=dash, marker=arrow | {"color": colours.error},
            customdata=fall.index,
        ),
        names.trace("zone names", colours),
        captions.trace("captions", colours),
    ]  # fmt: skip
    layout = look.layout(colours, y + 4, None) | {
        "uirevision": "window",
        "dragmode": False,
        "xaxis": look.axis(range=[left, right], fixedrange=True),
        "yaxis": look.axis(range=[y + 4, 0], fixedrange=True),
    }
    sentence = (
        f"A RST at {position(fallen.offset)} is {fallen.verdict} by {receiver}, whose window reaches from "
        f"{fallen.expected + fallen.left_edge:,} to {fallen.expected + fallen.right_edge:,}."
    )
    return Picture(
        data, layout, limits=limits, compared=differs, sentence=sentence, table=_zone_table(fallen)
    )


def _zone_table(fallen: Fallen) -> str:
    rows = [
        (
            verdict,
            "" if begin == -math.inf else f"{fallen.expected + math.ceil(begin):,}",
            "" if end == math.inf else f"{fallen.expected + math.floor(end):,}",
        )
        for verdict, begin, end in zones(fallen)
    ]
    caption = "what becomes of a RST, by its sequence number"
    return html_table(("RST", "from", "to"), rows, caption=caption, row_headings=True, numeric=(1, 2))


def _landmarks(fallen: Fallen, line: Callable[[float], float]) -> list[tuple[float, str]]:
    """(x, text) of every edge: its name over its number and offset."""
    names: dict[int, list[str]] = {fallen.left_edge: ["left edge"]}
    names.setdefault(0, []).insert(0, "RCV.NXT (next expected)")
    for a, b in fallen.sack:
        names.setdefault(a, []).append("held (SACK) from")
        names.setdefault(b, []).append("held (SACK) to")
    names.setdefault(fallen.right_edge, []).append("right edge")
    landmarks = []
    for offset in sorted(names):
        number = f"{fallen.expected + offset:,}"
        if offset:
            number = f"{number} ({offset:+,})".replace("-", "−")
        landmarks.append((line(offset), f"{', '.join(names[offset])}<br>{number}"))
    return landmarks


def _apart(words_at: list[tuple[float, str]], left: float, right: float) -> list[tuple[float, str, int]]:
    """(x, text, row) of these texts, given from left to right: no two overlap, and none is cut."""
    ends: list[float] = []  # px at which the texts of each row end
    placed = []
    unit = _NARROW / (right - left)
    for x, text in words_at:
        longest = max(len(re.sub("<[^>]+>", "", line)) for line in text.split("<br>"))
        half = longest * look.CHARACTER / 2 + 6
        centre = min(max((x - left) * unit, half), _NARROW - half)
        row = next((i for i, end in enumerate(ends) if end <= centre - half), len(ends))
        ends[row : row + 1] = [centre + half]
        placed.append((left + centre / unit, text, row))
    return placed


def position(offset: int) -> str:
    """`RCV.NXT + 1`."""
    if offset == 0:
        return "RCV.NXT"
    return f"RCV.NXT {'+' if offset > 0 else '−'} {abs(offset):,}"


# -- over time -------------------------------------------------------------------------------


class Advertised(NamedTuple):
    """The window of the host that gets most of the payload; times are seconds since the first segment."""

    #: Empty where no program gets one.
    receiver: str
    #: Bytes, as its peer knew them.
    window: Steps
    #: From when to when it was zero.
    closed: tuple[tuple[float, float], ...]
    probes: int
    end_s: float

    @property
    def closed_s(self) -> float:
        """For how long it was zero in all."""
        return sum(ended - began for began, ended in self.closed)


def advertised(trace: Trace) -> Advertised:
    """What the window over time shows: it changes when the news of it arrives."""
    got: Counter[str] = Counter()
    for packet in trace.packets:
        if packet.segment.length:
            got[packet.receiver] += packet.segment.length
    receiver = max(got, key=got.__getitem__, default="")
    news = [
        (trace.seconds(packet.arrives), packet.segment.window)
        for packet in trace.packets
        if packet.sender == receiver
        and packet.arrives is not None
        and packet.segment.flags & (ACK | SYN | RST) == ACK
    ]
    window, end = steps(sorted(news, key=itemgetter(0))), trace.seconds(trace.end)
    spans = pairwise([*window, (end, 0.0)])
    return Advertised(
        receiver=receiver,
        window=window,
        closed=tuple((t, ended) for (t, size), (ended, _) in spans if not size and ended > t),
        probes=sum(p.kind == WINDOW_PROBE and p.receiver == receiver for p in trace.packets),
        end_s=end,
    )


def _facts(now: Advertised) -> list[Fact]:
    return [
        Fact("window closed for {}", in_words(now.closed_s)),
        Fact("window probes: {}", str(now.probes)),
        Fact("window at most {} bytes", f"{_most(now):,}"),
        Fact("watched for {}", in_words(now.end_s)),
    ]


def _most(now: Advertised) -> float:
    return max((size for _, size in now.window), default=0)


def _draw_over_time(trace: Trace, kept: Sequence[Trace], limits: Limits | None, dark: bool) -> Picture:
    """The window that the receiver of most of the data advertised, hatched where it was closed."""
    runs = side_by_side(trace, kept, advertised)
    panels = Panels(runs, lambda run: {"s": run.end_s, "bytes": _most(run)}, _facts, limits, dark=dark)
    now = runs[0][1]
    closed = f"closed for {in_words(now.closed_s)} in all" if now.closed else "never closed"
    heading = f"<b>window</b> that {escape(now.receiver, False)} advertises, {closed}"
    sentence = f"The window of {now.receiver} is {closed}; {plural(now.probes, 'window probe')}."
    if not now.window:
        heading = sentence = "No window was advertised in this trace."
    axis = panels.amounts(170, "bytes", "bytes", heading, head=1)
    area = filled(panels.colours.zones["ignored"], 0, "/", size=9, solidity=0.18)
    panels.stretches("closed", axis, now.closed, panels.limits["bytes"], MarkStyle("ignored"), **area)
    fill = panels.fill(MarkStyle("probe")) | {"fill": "tozeroy"}
    panels.curve("window", axis, attrgetter("window"), "bytes", **fill)
    about = "time since the first segment"
    table = steps_table(f"the window of {now.receiver} as its peer knew it", {"bytes": now.window})
    return panels.picture(revision="window", about=about, left=130, sentence=sentence, table=table)
