"""The two queues, and every connection on both sides: what is read from a run, and what is drawn."""

import re

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pictures.drawn import named
from tcplab.bench import run
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Trace
from tcplab.experiments import AcceptQueue, Keepalive
from tcplab.pictures.queues import (
    ACCEPTED,
    CONNECTED,
    CONNECTING,
    GHOST,
    GHOSTS,
    HALF_GHOST,
    HALF_OPEN,
    IN_QUEUE,
    MARKS,
    Shortened,
    blocks,
    counted,
    draw_queues,
    queue_lengths,
    views,
)
from tcplab.pictures.queues import View as S

NODES = {"backlog": 128, "connects": 320, "accept_after_s": 2}


def of(**parameters):
    return run(AcceptQueue(**parameters))


def said(picture):
    return [re.sub(r"<[^>]+>", "", text) for text in named(picture, "captions")["text"]]


# -- what is read ------------------------------------------------------------------------------------


def test_a_ghost_is_connected_on_one_side_only():
    rows = views(of())
    assert [[s.what for s in each.at_client] for each in rows] == [[CONNECTING, CONNECTED]] * 8
    assert [[s.what for s in each.at_server] for each in rows] == [[HALF_OPEN, IN_QUEUE]] * 3 + [[GHOST]] * 5
    assert [each.at_server[-1].what in GHOSTS for each in rows] == [False] * 3 + [True] * 5


def test_a_half_open_ghost_is_forgotten_after_63_seconds():
    rows = views(of(syncookies=False, connects_before=2, connects=3, speaks_first="server", watch_s=80))
    (one, other) = [each for each in rows if each.was_ghost]
    assert (
        [s.what for s in one.at_server] == [s.what for s in other.at_server] == [HALF_OPEN, HALF_GHOST, GHOST]
    )
    assert one.at_server[-1].began / SECOND == pytest.approx(63.1, abs=0.01)


def test_a_ghost_that_became_real_is_none_at_last():
    rows = views(of(accept_after_s=2))
    assert [s.what for s in rows[-1].at_server] == [GHOST, ACCEPTED]
    assert rows[-1].was_ghost and rows[-1].at_server[-1].what not in GHOSTS
    assert [s.what for s in rows[0].at_server] == [HALF_OPEN, IN_QUEUE, ACCEPTED]


@pytest.mark.parametrize("latency_ms", [0, 1, 20, 500])
def test_the_way_of_the_last_step_makes_no_ghost(latency_ms):
    rows = views(of(connects=3, latency_ms=latency_ms))
    assert not any(each.was_ghost for each in rows)


def test_both_sides_are_counted_at_a_moment():
    rows = views(of(**NODES))
    assert counted(rows, SECOND) == (320, 129, 191)
    assert counted(rows, 9 * SECOND) == (320, 320, 0)
    assert counted(rows, 10 * MILLISECOND) == (0, 0, 0)


@pytest.mark.parametrize(
    ("linux", "half_open"), [("3.10", 16), ("4.9", 2), ("6.18", 3), ("", 3), ("not known", 3)]
)
def test_the_queues_and_their_limits(linux, half_open):
    trace = of(linux=linux or "6.18") if linux != "not known" else of()
    trace.linux = linux
    found = queue_lengths(trace)
    assert (found.accept_holds, found.half_open_holds) == (3, half_open)
    assert max(n for _, n in found.accept) == 3
    assert max(n for _, n in found.half_open) == min(half_open, 8)
    assert found.half_open[-1][1] == (0 if half_open < 8 else 5)


def test_a_connection_without_a_listener_in_the_trace():
    trace = Trace("somebody's capture", "capture")
    assert views(trace) == [] and queue_lengths(trace) is None
    assert said(draw_queues(trace)) == ["Nobody listened in this trace."]


# -- what is drawn -----------------------------------------------------------------------------------


def test_rows_of_one_kind_become_one_rectangle():
    a, b = S("a", 0, 10), S("a", 5 * MILLISECOND, 10)
    rows = [(a,), (b,), (S("b", 0, 10),), (a, S("c", 10, 20)), (a, S("c", 10, 20))]
    found = [(block.first, block.rows, block.view.what) for block in blocks(rows)]
    assert sorted(found) == [(0, 2, "a"), (2, 1, "b"), (3, 2, "a"), (3, 2, "c")]


@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=3, unique=True)))
def test_no_row_is_lost_or_drawn_twice(kinds):
    rows = [tuple(S(what, i * SECOND, (i + 1) * SECOND) for what, i in row) for row in kinds]
    drawn = [
        (i, block.view.what, block.view.began)
        for block in blocks(rows)
        for i in range(block.first, block.first + block.rows)
    ]
    assert sorted(drawn) == sorted((i, s.what, s.began) for i, row in enumerate(rows) for s in row)


@given(st.lists(st.integers(0, 200 * SECOND), min_size=1))
def test_shortened_time_keeps_the_order(moments):
    axis = Shortened(moments)
    at = [axis.x(t) for t in sorted(moments)]
    assert at == sorted(at) and at[0] >= 0 and at[-1] <= axis.end
    between = [axis.x(t) for t in range(min(moments), max(moments) + 1, 7 * SECOND)]
    assert between == sorted(between)


def test_a_ghost_is_told_by_pattern_cross_and_word():
    picture = draw_queues(of())
    assert "✗ ghost: nothing here × 5" in said(picture)
    assert "At the end 8 clients believe to be connected, the server has 3: 5 ghosts" in said(picture)
    ghost = named(picture, GHOST)
    assert ghost["fillpattern"]["shape"] == "x" and ghost["line"]["dash"] == "dash"
    assert {"holds 3 ", "ListenOverflows: 35", "SyncookiesSent: 5", "▾ the clients speak"} <= set(
        said(picture)
    )
    patterns = [MARKS[what] for what in (CONNECTED, IN_QUEUE, GHOST, HALF_GHOST, HALF_OPEN)]
    assert len({mark.pattern for mark in patterns}) == 5, "no two by colour alone"


def test_320_connections_are_a_few_rectangles_with_their_number():
    picture = draw_queues(of(**NODES))
    assert {"connected × 320", "accepted × 129", "✗ ghost: nothing here × 129", "320 clients "} <= set(
        said(picture)
    )
    assert named(picture, CONNECTED)["x"].count(None) <= 3
    assert picture.layout["height"] < 1000


def test_the_rectangles_say_who_and_when():
    hovers = named(draw_queues(of()), GHOST)["hovertext"]
    assert any(
        re.fullmatch(r"<b>ghost: nothing here</b><br>5 clients, :\d+ first<br>from .* to 10 s", h)
        for h in hovers
    )


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(
    "parameters",
    [
        {}, {"connects": 1}, {"concurrent": False, "accept_after_s": 2.5}, NODES, {"watch_s": 0.001},
        {"linux": "3.10", "connects_before": 3}, {"connects": 40, "latency_ms": 0}, {"backlog": 0},
    ],
)  # fmt: skip
def test_plotly_takes_every_picture(parameters, dark):
    picture = draw_queues(of(**parameters), dark=dark)
    validated = go.Figure(data=picture.data, layout=picture.layout)
    assert picture.figure().to_dict() == validated.to_dict()
    assert validated.layout.uirevision == "queues"
    assert len({trace["name"] for trace in picture.data}) == len(picture.data)


def test_the_same_traces_in_the_same_order_whatever_happened():
    names = [
        [trace["name"] for trace in draw_queues(of(**each)).data] for each in ({}, NODES, {"connects": 1})
    ]
    assert names[0] == names[1] == names[2]


def test_one_connection_and_a_title():
    figure = draw_queues(run(Keepalive(idle_s=5)), title="One").figure()
    assert figure.layout.title.text == "One"
    assert "At the end" in figure.data[-1]["text"][0]
