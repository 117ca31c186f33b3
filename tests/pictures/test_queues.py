"""The two queues, and every connection on both sides: what is read from a run, and what is drawn."""

import re

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pictures.drawn import named
from tcplab.bench import run
from tcplab.core.trace import Trace
from tcplab.experiments import AcceptQueue
from tcplab.pictures.lanes import together
from tcplab.pictures.queues import (
    ACCEPTED,
    GHOST,
    HALF_GHOST,
    HANDSHAKE,
    IN_QUEUE,
    MARKS,
    NO_LISTENER,
    connections,
    draw_queues,
    listening,
    stages,
)

NODES = {"backlog": 128, "connects": 320, "accept_after_s": 2}


def of(**parameters):
    return run(AcceptQueue(**parameters))


def said(picture):
    return [re.sub(r"<[^>]+>", "", text) for text in named(picture, "captions")["text"]]


# -- what is read ------------------------------------------------------------------------------------


def rows_of(trace):
    """The stages of every client's connection, without flights."""
    listener = next(sample for sample in trace.sockets if sample.state == "LISTEN")
    end = trace.seconds(trace.end)
    return [stages(*pair, end, 0.011) for pair in connections(trace, listener)]


def kinds(row):
    return [span.kind for span in row]


def test_a_ghost_is_connected_on_one_side_only():
    rows = rows_of(of(latency_ms=1))
    assert [kinds(row) for row in rows] == [[HANDSHAKE, ACCEPTED]] * 3 + [[HANDSHAKE, GHOST]] * 5


def test_a_half_open_ghost_is_forgotten_after_63_seconds():
    rows = rows_of(of(syncookies=False, connects_before=2, connects=3, speaks_first="server", watch_s=80))
    (one, other) = [row for row in rows if GHOST in kinds(row)]
    assert kinds(one) == kinds(other) == [HANDSHAKE, HALF_GHOST, GHOST]
    assert one[-1].from_s == pytest.approx(63.1, abs=0.01)


def test_a_ghost_that_became_real_is_none_at_last():
    now = listening(of(accept_after_s=2))
    assert (now.ever, now.ghosts, now.has[-1][1]) == (5, 0, 8)
    assert max(n for _, n in now.connections[IN_QUEUE]) == 3 and now.connections[ACCEPTED][-1][1] == 8


@pytest.mark.parametrize("latency_ms", [0, 1, 20, 500])
def test_the_way_of_the_last_step_makes_no_ghost(latency_ms):
    assert listening(of(connects=3, latency_ms=latency_ms)).ever == 0


def test_both_sides_are_counted_over_time():
    def at(seconds):
        return {stage: last_before(curve, seconds) for stage, curve in now.connections.items()}

    now = listening(of(**NODES))
    assert at(1) == {ACCEPTED: 0, IN_QUEUE: 129, GHOST: 191, HALF_GHOST: 0, HANDSHAKE: 0}
    assert at(9) == {ACCEPTED: 320, IN_QUEUE: 0, GHOST: 0, HALF_GHOST: 0, HANDSHAKE: 0}
    assert at(0.01) == {ACCEPTED: 0, IN_QUEUE: 0, GHOST: 0, HALF_GHOST: 0, HANDSHAKE: 320}
    assert [last_before(now.connected, t) for t in (0.01, 1, 9)] == [0, 320, 320]
    assert (now.connected[-1][1], now.has[-1][1], now.clients, now.ever) == (320, 320, 320, 191)


def last_before(curve, t):
    return [n for at, n in curve if at <= t][-1]


@given(st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.integers(0, 9), st.integers(0, 5))))
def test_curves_together_are_each_of_them(points):
    curves = {name: tuple(sorted(some.items())) for name, some in points.items()}
    found = together(curves)
    for i, (_, curve) in enumerate(curves.items()):
        for t, values in found:
            assert values[i] == [0, *(n for at, n in curve if at <= t)][-1]
    assert [t for t, _ in found] == sorted({t for curve in curves.values() for t, _ in curve})


@pytest.mark.parametrize(
    ("linux", "half_open"), [("3.10", 16), ("4.9", 2), ("6.18", 3), ("", 3), ("not known", 3)]
)
def test_the_queues_and_their_limits(linux, half_open):
    trace = of(linux=linux or "6.18") if linux != "not known" else of()
    trace.linux = linux
    accept, syn = listening(trace).queues.values()
    assert (accept.holds, syn.holds) == (3, half_open)
    assert (accept.most, syn.most) == (3, min(half_open, 8))
    assert syn.length[-1][1] == (0 if half_open < 8 else 5)


def test_a_connection_without_a_listener_in_the_trace():
    trace = Trace("somebody's capture", "capture")
    assert listening(trace) is None
    drawn = draw_queues(trace, kept=[of()])
    assert said(drawn) == [NO_LISTENER] == [drawn.sentence]


# -- what is drawn -----------------------------------------------------------------------------------


def words_of(picture):
    return [re.sub(r"<[^>]+>", "", word) for trace in picture.data for word in trace.get("text") or []]


def test_a_ghost_is_told_by_pattern_and_word():
    picture = draw_queues(of())
    assert {"5 × ghost: nothing here", "3 × waits for accept()"} <= set(words_of(picture))
    assert {"ListenOverflows: 35", "SyncookiesSent: 5", "accept queue, at most 3 of 3"} <= set(
        words_of(picture)
    )
    assert picture.sentence == "At the end 8 of 8 clients have a connection, the server has 3: 5 ghosts."
    ghost = named(picture, GHOST)
    assert ghost["fillpattern"]["shape"] == "x" and ghost["y"][-1] == 8
    assert named(picture, IN_QUEUE)["y"][-1] == 3
    assert len({mark.pattern for mark in MARKS.values()}) == 5, "no two by colour alone"
    assert HALF_GHOST not in {trace["name"] for trace in picture.data}, "there was none"


def test_320_connections_are_a_few_areas():
    picture = draw_queues(of(**NODES))
    assert {"129 × waits for accept()", "191 × ghost: nothing here"} <= set(words_of(picture))
    assert all(len(trace["x"]) < 60 for trace in picture.data)
    assert picture.layout["height"] < 500
    assert "(there were 191)" in picture.sentence
    assert picture.table.count("<tr>") < 45 and ">191<" in picture.table


def test_the_areas_say_what_and_when():
    hovers = named(draw_queues(of()), GHOST)["hovertext"]
    assert "ghost: nothing here: 5 connections, from 0.060 s" in hovers


# -- one run beside another --------------------------------------------------------------------------


def test_a_kept_run_is_named_and_drawn_beside_it():
    picture = draw_queues(of(backlog=7), kept=[of(concurrent=False), of()])
    assert picture.compared == (
        "Ghosts at the end: 0 instead of 5, 8 connections at the server instead of 3, "
        "an accept queue for 8 instead of 3, ListenOverflows 0 instead of 35"
    )
    assert {"╌╌ kept: backlog 2", "···· kept: backlog 2, all at once off"} <= set(words_of(picture))
    assert named(picture, "kept 1: the server's")["y"][-1] == 3
    assert named(picture, "kept 1: accept queue")["y"] == named(draw_queues(of()), "accept queue")["y"]
    assert named(picture, "kept 2: accept queue")["line"]["dash"] == "dot"


def test_axes_grow_and_never_shrink():
    few, many = draw_queues(of()), draw_queues(of(**NODES, watch_s=40))
    after = draw_queues(of(), limits=many.limits)
    assert after.limits == many.limits and few.limits["connections"] == 8
    ranges = [
        [drawn.layout["yaxis2"]["range"], drawn.layout["xaxis"]["ticktext"]] for drawn in (few, many, after)
    ]
    assert ranges[1] == ranges[2] and not any(a == b for a, b in zip(*ranges[:2], strict=True))
    assert draw_queues(of(**NODES, watch_s=40), limits=few.limits).limits == many.limits


# -- all of them -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(
    "parameters",
    [
        {}, {"connects": 1}, {"concurrent": False, "accept_after_s": 2.5}, NODES, {"watch_s": 0.001},
        {"linux": "3.10", "connects_before": 3}, {"connects": 40, "latency_ms": 0}, {"backlog": 0},
    ],
)  # fmt: skip
def test_plotly_takes_every_picture(parameters, dark):
    picture = draw_queues(of(**parameters), kept=[of()], dark=dark)
    validated = go.Figure(data=picture.data, layout=picture.layout)
    assert picture.figure().to_dict() == validated.to_dict()
    assert validated.layout.uirevision == "queues"
    assert len({trace["name"] for trace in picture.data}) == len(picture.data)
