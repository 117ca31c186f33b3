"""The timeline as a picture: where things are, what has words, and that no word overlaps another one."""

import re
from dataclasses import replace
from html import escape
from itertools import pairwise

import pytest

import tcplab
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
)  # fmt: skip
from tcplab.pictures.svg import (
    Caption,
    Drawing,
    Polygon,
    Rect,
    Stroke,
    Symbol,
    contrast,
    shortened,
    text_width,
)
from tcplab.pictures.theme import DARK, LIGHT
from tcplab.pictures.timeline_layout import TimelinePicture
from tcplab.pictures.timeline_look import STEPS, Axis, axis_end, tick_text


def run_of(*lanes, to_s=120.0, answer=None, breaks=(), **more):
    """A hand-made run."""
    known = {
        "name": "keepalive", "bench": "model", "parameters": {}, "flights": (), "horizon_s": to_s,
        "log": False, "flight_s": 0.001, "folded": "", "sentence": "The client has the error after 2 min.",
    }  # fmt: skip
    return Timeline(lanes=lanes, breaks=tuple(breaks), answer=answer, to_s=to_s, **known | more)


def keepalive(to_s=120.0, idle_s=60.0, **more):
    """A dead server, and a client whose keepalive ends the connection."""
    every = (to_s - idle_s) / 6
    due = [idle_s + i * every for i in range(7)]
    timers = [TimerSpan(0, idle_s, 0, idle_s, "keepalive")]
    timers += [TimerSpan(a, b, a, b, "keepalive") for a, b in pairwise(due)]
    return run_of(
        Lane(
            "client/program", "client", "client's program", "program",
            (Span(0, to_s, "unaware", ("idle: has not noticed", "has not noticed")),),
            (Mark(to_s, "error", "recv() → ✗ ETIMEDOUT"),),
        ),
        Lane(
            "client/server", "client", "client's socket", "socket",
            (Span(0, to_s, "one_side", ("ESTABLISHED: but server is gone", "is gone"), "ESTABLISHED"),),
            tuple(Mark(t, "probe", "keepalive probe", lost=True) for t in due[:-1]),
            tuple(timers),
        ),
        Lane(
            "server/client", "server", "server's socket", "socket",
            (Span(0, to_s, "gone", ("ESTABLISHED, unplugged", "unplugged"), "ESTABLISHED"),),
        ),
        Lane(
            "server/program", "server", "server's program", "program",
            (Span(0, to_s, "gone", ("cannot be reached",)),),
        ),
        to_s=to_s, answer=AnswerLine(0, to_s, "client", f"ETIMEDOUT after {to_s:g} s"),
        breaks=[BreakMark(0, "server", "unplugged", "server: cable out")],
        folded="before: 12 segments in 0.2 s", **more,
    )  # fmt: skip


def texts(drawing):
    return [each.text for each in drawing.captions]


def test_the_axis_ends_at_a_round_number():
    spans = (0.0123, 0.3, 1, 8.4, 61, 131.2, 7875, 90_000, 3e6)
    assert [axis_end(span) for span in spans] == [0.02, 0.5, 1, 10, 120, 180, 10_800, 172_800, 4_320_000]
    assert axis_end(60.03) == 60, "a hundredth more is still at the edge"
    assert axis_end(60, 10_800) == 10_800, "it never shrinks"


def test_a_linear_axis_has_round_ticks():
    axis = Axis(10_800, 200, 920)
    assert [tick_text(t) for t in axis.ticks()] == [
        "0", "30 min", "1 h", "1 h 30 min", "2 h", "2 h 30 min", "3 h",
    ]  # fmt: skip
    assert axis.x(0) == 200 and axis.x(5400) == 560 and axis.x(1e9) == 920


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("end", STEPS[3:])
def test_ticks_have_room_and_x_has_its_instant(end, log):
    axis = Axis(end, 200, 920, log, end / 1000)
    ticks = axis.ticks()
    half = {t: text_width(tick_text(t)) / 2 for t in ticks}
    edges = [(axis.x(t) - half[t], axis.x(t) + half[t]) for t in ticks]
    assert ticks[0] == 0 and ticks[-1] == pytest.approx(end) and len(ticks) > 2
    assert all(right + 8 < left for (_, right), (left, _) in pairwise(edges))
    assert all(axis.t(axis.x(t)) == pytest.approx(t, abs=end * 1e-9) for t in ticks)


def test_the_answer_lies_between_the_break_and_the_moment_of_truth():
    drawing = TimelinePicture(keepalive()).drawing()
    star = next(item for item in drawing.items if isinstance(item, Symbol) and item.kind == "star")
    down = next(item for item in drawing.items if isinstance(item, Symbol) and item.kind == "down")
    assert (down.x, star.x) == (drawing.axis.x(0), drawing.axis.x(120))
    line = [
        i
        for i in drawing.items
        if isinstance(i, Stroke) and i.x1 == i.x2 == star.x and i.colour == LIGHT.cursor
    ]
    assert line[0].y2 == drawing.bottom


def test_every_span_mark_and_timer_has_a_title():
    run = keepalive()
    svg = TimelinePicture(run).svg(legend=False)
    for lane in run.lanes:
        for span in lane.spans:
            assert f"<title>{lane.name}: {span.words[0]}: 0 s to 2 min</title>" in svg
    assert svg.count("<title>keepalive probe, lost: ") == 6
    assert svg.count("<title>keepalive timer: set") == 7
    assert "before: 12 segments" in svg and "server: cable out: 0 s" in svg


def test_the_label_is_the_sentence_and_escaped():
    picture = TimelinePicture(keepalive(sentence='client < server & "proxy"'))
    assert '<svg xmlns="http://www.w3.org/2000/svg"' in picture.svg()
    assert 'role="img" aria-label="client &lt; server &amp; &quot;proxy&quot;"' in picture.svg()
    assert repr(picture) == 'client < server & "proxy"'


def test_an_error_that_ends_the_run_is_named_beside_it():
    drawing = TimelinePicture(keepalive()).drawing(end_s=180)
    word = next(each for each in drawing.captions if each.text == "ETIMEDOUT")
    assert word.x > drawing.axis.x(120), "right of it, where there is room"
    word = next(each for each in TimelinePicture(keepalive()).drawing().captions if each.text == "ETIMEDOUT")
    assert word.box()[2] < drawing.axis.x1, "left of it at the picture's edge"


def test_kept_runs_have_a_line_each_and_a_band_only_where_they_differ():
    now, before = keepalive(), keepalive(7875.0, 7200.0, parameters={"idle_s": 7200})
    picture = TimelinePicture(now, (before,))
    drawing = picture.drawing()
    assert "ETIMEDOUT after 120 s instead of 7875 s" in texts(drawing)
    assert "kept: idle 7200 s: ETIMEDOUT after 7875 s" in texts(drawing)
    bands = [i.title for i in drawing.items if isinstance(i, Rect) and i.title.startswith("kept")]
    assert bands == [f"kept: {before.lanes[1].spans[0].words[0]}: 0 s to 2 h 11 min 15 s"], "the other probes"
    assert picture.end_s() == 10_800 and TimelinePicture(now).end_s() == 120


def test_three_kept_runs_are_solid_dashed_and_dotted():
    picture = TimelinePicture(keepalive(), (keepalive(300.0), keepalive(600.0), keepalive(900.0)))
    drawing = picture.drawing()
    grey = [
        i
        for i in drawing.items
        if isinstance(i, Stroke) and i.y1 == i.y2 and i.colour == LIGHT.soft and i.width == 2
    ]
    assert list(dict.fromkeys(item.dash for item in grey)) == ["", "6 3", "2 3"]
    assert not drawing.overlaps() and drawing.height <= 330


def test_a_logarithmic_axis_says_so():
    assert "time" in texts(TimelinePicture(keepalive()).drawing())
    drawing = TimelinePicture(keepalive()).drawing(log=True)
    assert "log time axis" in texts(drawing) and drawing.axis.c == 0.12
    drawing = TimelinePicture(keepalive(log=True)).drawing()
    assert drawing.axis.log and drawing.axis.c == pytest.approx(0.003), "about three flights"


def test_a_timer_is_full_when_armed_and_empty_when_due():
    lane = Lane("a/b", "a", "a's socket", "socket", timers=(TimerSpan(30, 60, 0, 60, "on"),))
    drawing = TimelinePicture(run_of(lane)).drawing(legend=False)
    points = next(item for item in drawing.items if isinstance(item, Polygon)).points
    bottom = max(y for _, y in points)
    assert [(x, bottom - y) for x, y in points[:2]] == [
        (drawing.axis.x(30), pytest.approx(7.5)), (drawing.axis.x(60), pytest.approx(0)),
    ]  # fmt: skip


def test_many_short_timers_are_one_dotted_block():
    timers = tuple(TimerSpan(t, t + 1, t, t + 1, "persist") for t in range(100))
    long = TimerSpan(100, 120, 100, 120, "persist")
    drawing = TimelinePicture(
        run_of(Lane("a/b", "a", "a's socket", "socket", timers=(*timers, long)))
    ).drawing()
    assert len([i for i in drawing.items if isinstance(i, Polygon) and i.title]) == 1
    assert [i.fill.pattern for i in drawing.items if isinstance(i, Rect) and "set 100 times" in i.title] == [
        "."
    ]


def test_rows_are_named_once_for_neighbours_that_are_alike():
    def row(n, words, kind="state"):
        return Row(f":{n}", (Span(0, 120, kind, (words,), "ESTABLISHED"),))

    rows = [row(n, "ESTABLISHED") for n in range(3)] + [row(n, "ghost", "one_side") for n in range(4)]
    lane = Lane("client/rows", "client", "client's 7 sockets", "rows", rows=tuple(rows))
    assert {"ESTABLISHED × 3", "ghost × 4"} <= set(texts(TimelinePicture(run_of(lane)).drawing()))


def test_a_level_has_its_capacity_and_the_kept_one():
    def lane(peak):
        return Lane(
            "a/q", "a", "a's Recv-Q", "area", level=Level(((0, 0), (10, peak), (60, 0)), 4000, "bytes")
        )

    drawing = TimelinePicture(run_of(lane(4000)), (run_of(lane(2000)),)).drawing()
    now, kept = (item for item in drawing.items if isinstance(item, Polygon) and "up to" in item.title)
    assert [max(y for _, y in each.points) - min(y for _, y in each.points) for each in (now, kept)] == [
        30,
        15,
    ]
    assert kept.fill.dash and "full: 4,000 bytes" in texts(drawing)


@pytest.mark.parametrize(("ms", "seen"), [(1, False), (50, True)])
def test_segments_slant_only_where_they_travel_far_enough(ms, seen):
    open_ = (Span(0, 4, "state", ("ESTABLISHED",), "ESTABLISHED"),)
    lanes = [Lane(f"{host}/x", host, f"{host}'s socket", "socket", open_) for host in ("client", "server")]
    flight = Flight(1, 1 + ms / 1000, "client", "server", "SYN", "syn")
    drawing = TimelinePicture(run_of(*lanes, to_s=4.0, flights=(flight,))).drawing()
    assert ("segments" in texts(drawing)) == seen


def test_the_legend_has_only_what_the_picture_has():
    words = texts(TimelinePicture(keepalive()).drawing())
    assert {"keepalive timer", "lost", "one side only", "gone", "before 0"} <= set(words)
    assert not {"has not noticed", "works", "locks held", "kept run", "FIN"} & set(words)
    narrow = Lane("a/b", "a", "a's socket", "socket", (Span(0, 2, "state", ("SYN-SENT",), "SYN_SENT"),))
    assert "SYN-SENT" in texts(TimelinePicture(run_of(narrow)).drawing()), (
        "a colour without room for its name"
    )
    assert not {"keepalive timer", "gone"} & set(texts(TimelinePicture(keepalive()).drawing(legend=False)))


def test_a_cursor_hides_the_future_and_says_its_moment():
    drawing = TimelinePicture(keepalive()).drawing(cursor_s=83)
    assert "now: 83 s" in texts(drawing) and not drawing.overlaps()
    veil = next(
        item for item in drawing.items if isinstance(item, Rect) and item.fill.ground.startswith("rgba(255")
    )
    assert veil.x == drawing.axis.x(83) and veil.x + veil.width == drawing.width


def test_the_words_of_a_break_stay_inside():
    for t in (0, 1, 60, 119, 120):
        words = "the balancer forgets the connection without a word"
        run = replace(keepalive(), breaks=(BreakMark(t, "server", "forgot", words),))
        drawing = TimelinePicture(run).drawing(845)
        assert words in texts(drawing) and not drawing.overlaps()


def test_an_answer_without_room_is_shortened_and_whole_in_its_title():
    words = "the answer " + "is a very long text that does not fit " * 4
    drawing = TimelinePicture(replace(keepalive(), answer=AnswerLine(0, 60, "client", words))).drawing(845)
    answer = next(each for each in drawing.captions if each.title == words)
    assert answer.text.endswith("…") and not drawing.overlaps()


def test_patterns_are_named_after_their_look():
    light, dark = (TimelinePicture(keepalive()).svg(dark=dark) for dark in (False, True))
    ids = [set(re.findall(r'<pattern id="(\w+)"', svg)) for svg in (light, dark)]
    assert ids[0] and ids[1] and not ids[0] & ids[1]
    for svg, made in zip((light, dark), ids, strict=True):
        assert set(re.findall(r"url\(#(\w+)\)", svg)) == made


def test_overlapping_and_cut_texts_are_found():
    drawing = Drawing(200, 50, LIGHT, "")
    drawing.add(Caption(10, 20, "one", "#000000"), Caption(120, 20, "beside", "#000000"))
    assert drawing.overlaps() == []
    drawing.add(Caption(150, 25, "on top", "#000000"), Caption(180, 48, "outside", "#000000"))
    assert drawing.overlaps() == ["cut: outside", "beside × on top"]


def test_texts_are_shortened_at_words():
    assert shortened("one two", 100) == "one two"
    assert shortened("one two three", text_width("one two …")) == "one two …"
    assert shortened("one", 5) == ""


def background(drawing, caption):
    """The colour behind a text."""
    if caption.halo:
        return caption.halo
    left, top, right, bottom = caption.box()
    x, y = (left + right) / 2, (top + bottom) / 2
    below = [
        item.fill.ground
        for item in drawing.items
        if isinstance(item, Rect) and item.fill.ground.startswith("#")
        and item.x <= x <= item.x + item.width and item.y <= y <= item.y + item.height
    ]  # fmt: skip
    return (below or [drawing.theme.paper])[-1]


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_can_be_read_on_what_is_behind_it(dark):
    kinds = ("one_side", "window_closed", "gone", "closed", "waits", "works", "idle", "unaware", "error")
    states = ("SYN_SENT", "ESTABLISHED", "FIN_WAIT_1", "CLOSE_WAIT", "TIME_WAIT")
    spans = [Span(0, 120, kind, (kind,)) for kind in (*kinds, "known", "forgotten")]
    spans += [Span(0, 120, "state", (state,), state) for state in states]
    lanes = [Lane(f"{span.words}", "a", "a's lane", "socket", (span,)) for span in spans]
    drawing = TimelinePicture(run_of(*lanes)).drawing(dark=dark, cursor_s=100)
    assert drawing.theme is (DARK if dark else LIGHT)
    for caption in drawing.captions:
        assert contrast(caption.colour, background(drawing, caption)) >= 4.5, caption


def test_a_notebook_shows_sentence_picture_and_table():
    picture = tcplab.timeline(tcplab.run(tcplab.Keepalive(idle_s=60)), [tcplab.run(tcplab.Keepalive())])
    html = picture._repr_html_()
    assert html.index(picture.sentence[:20]) < html.index("<svg") < html.index("<details")
    assert escape(picture.compared) in html and "keepalive probe" in picture.table()
    assert picture._repr_svg_().startswith("<svg")
