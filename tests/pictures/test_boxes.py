"""Ladders with somebody in the middle: a box and its entry, a proxy with two sides, ends that disagree."""

from itertools import pairwise

import plotly.graph_objects as go
import pytest

from pictures.between import BETWEEN, HalfOpen, Refreshed, Relayed, told
from pictures.test_ladder import arrows, labels, named, plain
from pictures.transcripts import ALL as TWO_COLUMNS
from tcplab.core.segment import RST
from tcplab.core.text import SECOND
from tcplab.pictures import theme
from tcplab.pictures.ladder import ENTRY_TIMERS, draw, timer_words
from tcplab.pictures.timeaxis import HALF_OPEN, LABEL, ROW, states

TRACES = {name: told(make()) for name, make in BETWEEN.items()}
every_story = pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)


def shapes(picture, name):
    """The closed lines of a trace, each as its points without the last, which is the first again."""
    found, points = [], []
    trace = named(picture, name)
    for x, y in zip(trace["x"], trace["y"], strict=True):
        if x is None:
            found.append(points[:-1])
            points = []
        else:
            points.append((x, y))
    return found


def beside(picture, x_from, x_to):
    """What stands beside the lifelines between two x, from top to bottom."""
    trace = named(picture, "states and calls")
    rows = sorted(zip(trace["y"], trace["x"], map(plain, trace["text"]), strict=True))
    return [text for _, x, text in rows if x_from < x < x_to]


# -- a box -------------------------------------------------------------------------------------------


@every_story
@pytest.mark.parametrize("dark", [False, True])
def test_plotly_takes_every_picture(trace, dark):
    picture = draw(trace, at=trace.end, dark=dark)
    validated = go.Figure(data=picture.data, layout=picture.layout)
    assert picture.figure().to_dict() == validated.to_dict()


@every_story
def test_every_segment_is_drawn_and_the_same_traces_as_ever(trace):
    picture = draw(trace)
    assert sorted(arrows(picture)) == list(range(len(trace.packets)))
    usual = [each["name"] for each in draw(TWO_COLUMNS["healthy"]()).data]
    assert [each["name"] for each in picture.data] == usual


@every_story
def test_between_the_lifelines_no_words_share_a_row(trace):
    picture = draw(trace)
    between = list(named(picture, "labels")["y"])
    captions = named(picture, "captions")
    gap = {0.33, 1.5}  # where silences are told, and a running timer beside them
    between += [
        y + ROW / 2
        for x, y, text in zip(captions["x"], captions["y"], captions["text"], strict=True)
        if y >= 0 and (x not in gap or not text.startswith("<i>"))
    ]
    assert all(b - a >= LABEL - 2 for a, b in pairwise(sorted(between)))


def test_an_entry_is_as_long_as_the_box_remembers():
    trace = TRACES["half_open"]
    picture = draw(trace)
    ((left, right, _, low),) = shapes(picture, "entries")
    assert left[0] < 1 < right[0]
    forgotten = next(s.t for s in trace.sockets if s.host == "firewall" and s.state == "CLOSED")
    note = next(note for note in trace.notes if note.text.startswith("forgets"))
    assert note.t == forgotten
    assert low[1] == picture.axis.y_of(forgotten) - ROW / 2, "what it says at the end stands right below"
    assert "<b>firewall</b><br>▼ idle timer 1 s" in named(picture, "captions")["text"]
    captions = named(picture, "captions")
    i = list(map(plain, captions["text"])).index(note.text)
    assert captions["x"][i] == 1, "its words stand at its own lifeline"


def test_the_filling_is_what_is_left_of_the_timer():
    trace = TRACES["refreshed"]
    picture = draw(trace)
    fillings = shapes(picture, "timer: idle")
    widths = [(b[0] - a[0], c[0] - d[0]) for a, b, c, d in fillings]
    full = max(top for top, _ in widths)
    assert all(top == pytest.approx(full) for top, _ in widths), "each segment restarts it"
    pauses = [bottom / full for _, bottom in widths if bottom < 0.9 * full]
    assert pauses[0] == pytest.approx(0.4, abs=0.01), "six seconds of ten are over"
    tops = [a[1] for a, *_ in fillings]
    assert tops == sorted(tops)


def test_a_segment_is_dropped_at_the_box_and_lost_before_it():
    (index, *_) = [i for i, p in enumerate(TRACES["half_open"].packets) if "firewall" in p.fate]
    kind, tail, head, _ = arrows(draw(TRACES["half_open"]))[index]
    assert (kind, tail[0], head[0]) == ("dropped", 0, 1)
    refreshed = TRACES["refreshed"]
    lost = [i for i, p in enumerate(refreshed.packets) if p.fate == "lost"]
    assert {arrows(draw(refreshed))[i][2][0] for i in lost} == {0.5}


def test_two_boxes_have_a_lifeline_and_words_each():
    trace = TRACES["two_boxes"]
    picture = draw(trace)
    assert len(shapes(picture, "entries")) == 2
    assert named(picture, "timer: close")["x"], "the balancer's"
    assert timer_words(trace, "balancer") == "▼ close timer 0.200 s"
    captions = named(picture, "captions")
    at = {plain(text): x for text, x in zip(captions["text"], captions["x"], strict=True)}
    assert at["forgets the session"] == 2
    assert at["forgets the connection: its idle timer is over"] == 1
    assert named(picture, "timer: idle")["fillcolor"] != named(picture, "timer: close")["fillcolor"]
    assert len({mark.pattern for mark in ENTRY_TIMERS.values()}) == 2, "not by colour alone"


def test_a_box_without_a_timer():
    trace = told(Refreshed())
    trace.sockets = [s._replace(timer="", due=None) if s.host == "firewall" else s for s in trace.sockets]
    assert timer_words(trace, "firewall") == "entry"
    picture = draw(trace)
    assert shapes(picture, "entries") and not named(picture, "timer: idle")["x"]


def test_a_forged_reset_leaves_from_the_box():
    trace = TRACES["reset_both_client"]
    picture = draw(trace)
    resets = [i for i, p in enumerate(trace.packets) if p.sender == "firewall" and p.segment.flags & RST]
    ends = {(arrows(picture)[i][1][0], arrows(picture)[i][2][0]) for i in resets}
    assert ends == {(1, 0), (1, 2)}


def test_an_entry_opened_again_is_a_second_bar():
    picture = draw(TRACES["reopen_client"])
    first, second = shapes(picture, "entries")
    assert first[2][1] < second[0][1]


@every_story
def test_upto_moves_nothing_and_draws_no_future(trace):
    now = (trace.start + trace.end) // 2
    whole, part = draw(trace), draw(trace, upto=now)
    assert part.layout["yaxis"] == whole.layout["yaxis"]
    low = [y for name in ("entries", "timer: idle", "timer: close") for y in named(part, name)["y"] if y]
    assert max(low, default=0) <= part.axis.bottom_of(now)


def test_a_box_has_no_words_of_a_socket():
    said = beside(draw(TRACES["half_open"]), 0.2, 1.8)
    assert said == []


# -- two truths --------------------------------------------------------------------------------------


def test_a_half_open_end_is_told_by_sign_word_and_stripes():
    trace = TRACES["half_open"]
    picture = draw(trace)
    assert beside(picture, 2, 3)[-1] == "⚠ half-open: client has gone"
    bar = named(picture, "state: half open")
    assert bar["line"]["dash"] != "solid" and bar["line"]["color"] == theme.LIGHT.error
    closed = next(s.t for s in trace.sockets if s.host == "client" and s.state == "CLOSED")
    assert min(y for y in bar["y"] if y is not None) == pytest.approx(picture.axis.y_of(closed), abs=ROW)
    assert "client has no such connection any more" in bar["hovertext"][0]
    assert labels(picture)


def test_a_half_open_end_that_hears_of_it_later_is_cut_short():
    found = [s for s in states(TRACES["two_boxes"]) if s.name == HALF_OPEN]
    ((host, gone),) = {(s.host, s.gone) for s in found}
    assert (host, gone) == ("client", "server")
    assert 0.3 < (found[0].ended - found[0].began) / SECOND < 0.7


@pytest.mark.parametrize("name", ["reset_both_client", "reopen_client", "refreshed"])
def test_a_reset_on_its_way_leaves_nobody_half_open(name):
    assert not [s for s in states(TRACES[name]) if s.name == HALF_OPEN]


def test_half_open_is_seen_to_the_end_of_the_picture_however_short_it_is():
    trace = told(HalfOpen())
    trace.end = next(s.t for s in trace.sockets if s.host == "client" and s.state == "CLOSED")
    trace.calls = [call for call in trace.calls if call.t <= trace.end]
    ys = [y for y in named(draw(trace), "state: half open")["y"] if y is not None]
    assert max(ys) - min(ys) >= ROW - 1


# -- a proxy -----------------------------------------------------------------------------------------


def test_a_proxy_writes_on_the_side_of_its_peer():
    trace = told(Relayed())
    picture = draw(trace)
    left, right = beside(picture, 0.2, 1), beside(picture, 1, 1.8)
    assert "recv() → 40 bytes" in left and "recv() → 200 bytes" in right
    assert "recv() → ✗ ETIMEDOUT" in right and "timer: keepalive" in right
    assert left[-1] == "close() with SO_LINGER 0 → ok"


def test_a_proxys_bars_stand_on_both_sides_of_its_lifeline():
    picture = draw(TRACES["relayed"])
    bars = sorted({x for x in named(picture, "state: open")["x"] if x is not None})
    assert len(bars) == 4
    assert bars[1] < 1 < bars[2]
    words = named(picture, "states and calls")
    inner = [abs(x - 1) for x in words["x"] if 0.2 < x < 1.8]
    timers = [abs(x - 1) for x in named(picture, "timer: keepalive")["x"] if x is not None and 0.2 < x < 1.8]
    assert max(timers) < min(inner), "its words begin beyond its bars"


def test_the_database_is_half_open_when_its_proxy_gives_up():
    assert "⚠ half-open: proxy has gone" in beside(draw(TRACES["relayed"]), 2, 3)
