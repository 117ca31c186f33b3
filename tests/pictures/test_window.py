"""The window: where a RST falls, and how it opens and closes over time."""

import re
from itertools import pairwise

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pictures.drawn import named, texts
from pictures.transcripts import ALL, ISN, MS, Story, healthy, reset_in_window, slow_reader
from tcplab.bench import run
from tcplab.core.segment import ACK, FIN, PSH, RST, seq_add
from tcplab.core.text import SECOND
from tcplab.core.trace import Trace
from tcplab.experiments import EXPERIMENTS
from tcplab.pictures.panels import growth
from tcplab.pictures.theme import CHARACTER
from tcplab.pictures.window import (
    VERDICTS,
    advertised,
    draw_window,
    judged_reset,
    number_line,
)

RstInWindow = EXPERIMENTS["rst_in_window"]
SlowReader = EXPERIMENTS["slow_reader"]


def zones(picture):
    """[(verdict, from x, to x)] from left to right."""
    found = []
    for verdict in VERDICTS:
        x = named(picture, f"zone: {verdict}")["x"]
        found += [(verdict, x[i], x[i + 1]) for i in range(0, len(x), 6)]
    return sorted(found, key=lambda zone: zone[1])


def words_of(picture):
    return [re.sub(r"<[^>]+>", "", text) for text in named(picture, "captions")["text"]]


# -- what fell where -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "verdict"),
    [(0, "accepted"), (1, "challenged"), (65536, "challenged"), (65537, "ignored"), (-1, "ignored")],
)
def test_the_window_is_read_from_the_segments(offset, verdict):
    fallen = judged_reset(reset_in_window(offset, ""))
    assert (fallen.offset, fallen.left_edge, fallen.right_edge) == (offset, 0, 65536)
    assert fallen.expected == 201
    assert fallen.verdict == fallen.verdict_at(offset) == verdict


def test_the_traces_own_verdict_counts():
    assert judged_reset(reset_in_window(0, "challenged")).verdict == "challenged"


def test_the_left_edge_lags_while_an_ack_is_delayed():
    """Data that came after the last ACK moves RCV.NXT, not the edge of the window."""
    story = Story()
    t = story.exchange(story.open())
    story.say(t, "server", PSH | ACK, 201, 41, 1000)
    t += 2 * MS
    story.say(t, "server", RST, 201, window=0, kind="forged")
    fallen = judged_reset(story.finish())
    assert (fallen.expected, fallen.left_edge, fallen.offset) == (1201, -1000, -1000)
    assert fallen.right_edge == 64240 - 1000
    assert fallen.verdict == "challenged", "it lies in the window still"
    assert fallen.verdict_at(-1001) == "ignored"


def test_a_lost_segment_does_not_move_what_is_expected():
    story = Story()
    t = story.exchange(story.open())
    story.say(t, "server", PSH | ACK, 201, 41, 100, fate="lost")
    story.say(t, "server", PSH | ACK, 301, 41, 100)
    story.say(t + 2 * MS, "server", RST, 201, window=0, kind="forged")
    assert judged_reset(story.finish()).expected == 201


@pytest.mark.parametrize(("linux", "verdict"), [("6.18", "accepted"), ("3.10", "challenged")])
def test_the_sack_edge_counts_since_it_does_in_linux(linux, verdict):
    trace = reset_in_window(5000, "", sack_edge=5000)
    trace.linux = linux
    fallen = judged_reset(trace)
    assert fallen.sack == ((4900, 5000),)
    assert fallen.verdict == verdict


def test_one_byte_early_counts_after_a_fin():
    story = Story()
    t = story.exchange(story.open())
    t = story.say(t, "server", FIN | ACK, 201, 41)
    t = story.say(t, "client", ACK, 41, 202)
    story.say(t, "server", RST, 201, window=0, kind="forged")
    fallen = judged_reset(story.finish())
    assert (fallen.offset, fallen.verdict) == (-1, "accepted")


def test_what_the_receiver_says_afterwards_is_another_window():
    story = Story()
    t = story.exchange(story.open())
    story.say(t, "server", RST, 500, window=0, kind="forged", verdict="challenged")
    story.say(t + MS, "client", ACK, 41, 201, window=99, kind="challenge_ack")
    story.say(t + 3 * MS, "server", PSH | ACK, 201, 41, 100)
    story.say(t + 5 * MS, "client", ACK, 41, 301, window=999)
    fallen = judged_reset(story.finish())
    assert (fallen.expected, fallen.right_edge) == (201, 64240)


def test_the_forged_reset_is_the_one_to_look_at():
    """Not the one by which a host without a socket answers later."""
    story = Story()
    t = story.exchange(story.open())
    story.say(t, "client", RST, 41)
    story.say(t + SECOND, "server", RST, 501, window=0, kind="forged", verdict="challenged")
    assert judged_reset(story.finish()).index == 7


@pytest.mark.parametrize(
    "offset", [-(2**31) + 1, -70000, -2, -1, 0, 1, 2, 100, 65535, 65536, 65537, 2**31 - 1]
)
def test_picture_and_model_agree(offset):
    trace = run(RstInWindow(offset=offset))
    fallen = judged_reset(trace)
    assert fallen.offset == offset
    assert fallen.right_edge == trace.outcome["window"]
    assert fallen.verdict == fallen.verdict_at(offset) == trace.outcome["verdict"]


def test_without_a_reset_there_is_none():
    assert judged_reset(healthy()) is None
    assert judged_reset(Trace("nothing", "model")) is None


def test_a_reset_that_answers_a_syn_meets_no_window():
    assert judged_reset(run(EXPERIMENTS["unanswered_connect"](fate="closed"))) is None


# -- the number line -------------------------------------------------------------------------


@given(st.lists(st.integers(-(2**31), 2**31), max_size=12), st.integers(-(2**31), 2**31), st.integers(1, 99))
def test_the_number_line_is_in_order(edges, offset, further):
    line = number_line(edges)
    assert line(offset) < line(offset + further)
    assert all(line(edge + 1) - line(edge) >= 1 for edge in edges)
    assert all(line(edge) - line(edge - 1) >= 1 for edge in edges)


@pytest.mark.parametrize("offset", [-1, 0, 1, 30000, 65536, 65537])
def test_neighbours_can_be_told_apart(offset):
    """Where the RST falls lies inside the zone of its verdict, and a good way from the zone's edge."""
    fallen = judged_reset(reset_in_window(offset, ""))
    picture = draw_window(reset_in_window(offset, ""))
    x = named(picture, "RST")["x"][0]
    ((_, x0, x1),) = [zone for zone in zones(picture) if zone[1] < x < zone[2]]
    (verdict,) = [name for name, a, b in zones(picture) if (a, b) == (x0, x1)]
    assert verdict == fallen.verdict
    assert min(x - x0, x1 - x) >= 0.4
    low, high = picture.layout["xaxis"]["range"]
    assert (high - low) < 40, "a unit is at least 20 px wide"


def test_zones_stand_in_order_and_without_a_gap():
    found = zones(draw_window(reset_in_window(5, "challenged")))
    assert [verdict for verdict, _, _ in found] == ["ignored", "accepted", "challenged", "ignored"]
    assert all(end == begin for (_, _, end), (_, begin, _) in pairwise(found))
    held = zones(draw_window(reset_in_window(5000, "accepted", sack_edge=5000)))
    assert [verdict for verdict, _, _ in held] == [
        "ignored",
        "accepted",
        "challenged",
        "accepted",
        "challenged",
        "ignored",
    ]


def test_a_closed_window_has_only_its_exact_number():
    found = zones(draw_window(reset_in_window(0, "accepted", window=0)))
    assert [verdict for verdict, _, _ in found] == ["ignored", "accepted", "ignored"]


def test_words_name_position_verdict_and_edges():
    picture = draw_window(reset_in_window(-1, "ignored"))
    text = words_of(picture)
    assert "RST seq 200 = RCV.NXT − 1 → ignored" in text
    assert "right edge65,737 (+65,536)" in text
    assert "the window of client, not to scale" in text
    assert named(picture, "RST")["line"]["dash"] == "dot"
    assert "<b>exact: accepted</b>" in named(picture, "zone names")["text"]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 50, 65536])
@pytest.mark.parametrize("sack_edge", [0, 110, 5000])
def test_no_words_of_the_number_line_touch(size, sack_edge):
    kept = [reset_in_window(offset, "", window=2000) for offset in (-1, 1, 70000)]
    picture = draw_window(reset_in_window(1, "", window=size, sack_edge=sack_edge), kept=kept)
    low, high = picture.layout["xaxis"]["range"]
    unit = 720 / (high - low)
    boxes = []
    for name in ("captions", "zone names"):
        trace = named(picture, name)
        for x, y, text, where in zip(
            trace["x"], trace["y"], trace["text"], trace["textposition"], strict=True
        ):
            lines = re.sub(r"</?[bi]>", "", text).split("<br>")
            wide = max(map(len, lines)) * CHARACTER * 0.9
            left = (x - low) * unit - {"middle center": wide / 2, "middle left": wide, "middle right": 0}[
                where
            ]
            boxes.append((left, left + wide, y - 8 * len(lines), y + 8 * len(lines), text))
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert a[1] <= b[0] or b[1] <= a[0] or a[3] <= b[2] or b[3] <= a[2], (a, b)


# -- over time -------------------------------------------------------------------------------


def test_the_window_is_that_of_whoever_gets_the_data():
    assert advertised(slow_reader()).receiver == "client"
    assert advertised(Trace("nothing", "model")).receiver == ""


def test_steps_come_when_the_sender_learns_of_them():
    story = Story()
    t = story.open()
    story.say(t, "server", PSH | ACK, 1, 1, 100)
    story.say(t + MS, "client", ACK, 1, 101, window=500)
    story.say(t + 2 * MS, "client", ACK, 1, 101, window=0, fate="lost")
    story.say(t + 5 * MS, "client", ACK, 1, 101, window=900)
    assert advertised(story.finish()).window == ((0.003, 64240), (0.005, 500), (0.009, 900))


def test_a_window_is_closed_until_its_peer_knows_that_it_opens():
    now = advertised(slow_reader(fills=2, stall=6))
    # The peer has the update one latency after the read, six seconds after the window closed.
    assert [ended - began for began, ended in now.closed] == pytest.approx([6.001, 6.001])


def test_a_window_that_never_opens_is_closed_to_the_end():
    story = Story()
    t = story.open()
    story.say(t, "server", PSH | ACK, 1, 1, 100)
    story.say(t + MS, "client", ACK, 1, 101, window=0)
    assert advertised(story.finish(t + 9 * MS)).closed == ((0.005, 0.012),)
    assert advertised(story.finish(t + 2 * MS)).closed == ()


def test_stalls_are_hatched_and_probes_counted():
    picture = draw_window(slow_reader(fills=2, stall=6))
    hatch = named(picture, "closed")
    assert hatch["fillpattern"]["shape"] == "/"
    assert hatch["x"].count(None) == 2
    assert "closed for 12 s in all" in " ".join(texts(picture))
    assert picture.sentence == "The window of client is closed for 12 s in all; 8 window probes."


def test_the_picture_agrees_with_the_outcome():
    for values in SlowReader.presets.values():
        trace = run(SlowReader(**values))
        now = advertised(trace)
        assert now.closed_s == pytest.approx(trace.outcome["stalled_s"], abs=0.01)
        assert now.probes == trace.outcome["window_probes"]


# -- one run beside another ------------------------------------------------------------------


def test_axes_grow_and_never_shrink():
    small, large = run(SlowReader(receive_buffer=16384, read_bytes=65536)), run(SlowReader(read_every_s=3))
    first = draw_window(small)
    second = draw_window(large, limits=first.limits)
    third = draw_window(small, limits=second.limits)
    assert all(second.limits[unit] > first.limits[unit] for unit in ("s", "bytes"))
    assert third.limits == second.limits and third.layout["xaxis"]["range"] == second.layout["xaxis"]["range"]
    assert growth(second.limits, first.limits).startswith("axis: 2 min, was ")
    assert growth(third.limits, second.limits) == growth(first.limits, None) == ""


def test_a_reset_moves_along_a_line_that_stays():
    drawn = draw_window(run(RstInWindow(offset=70000)))
    drawn = draw_window(run(RstInWindow(offset=-500)), limits=drawn.limits)
    for offset in (0, 1, -1, 30000, 65537):
        other = draw_window(run(RstInWindow(offset=offset)), limits=drawn.limits)
        assert zones(other) == zones(drawn)
        assert other.layout["xaxis"] == drawn.layout["xaxis"]


def test_a_kept_window_is_drawn_in_grey_beside_the_present_one():
    now, kept = run(RstInWindow(window=20000, offset=30000)), run(RstInWindow(offset=30000))
    drawn = draw_window(now, kept=[kept])
    assert (
        drawn.compared
        == "The RST is ignored instead of challenged, the window ends at 18,981 instead of 64,289"
    )
    assert drawn.compared in words_of(drawn)
    assert "╌╌ kept: receive window 65536 bytes: challenged" in words_of(drawn)
    assert named(drawn, "kept RST")["x"] == named(drawn, "RST")["x"][:1], "the same offset"
    right = named(drawn, "kept zone: challenged")["x"][1]
    assert right > named(drawn, "zone: challenged")["x"][1], "the kept window reaches further"
    assert not named(draw_window(now), "kept RST")["x"]


def test_kept_curves_are_dashed_and_named():
    now, kept = run(SlowReader(receive_buffer=32768)), [run(SlowReader(stops_reading_s=2)), run(SlowReader())]
    drawn = draw_window(now, kept=kept)
    assert [named(drawn, f"kept {n}: window")["line"]["dash"] for n in (1, 2)] == ["dash", "dot"]
    assert named(drawn, "kept 1: window")["y"] == named(draw_window(kept[1]), "window")["y"]
    said = texts(drawn)
    assert "╌╌ kept: receive buffer 65536 bytes" in said
    assert "···· kept: receive buffer 65536 bytes, stops reading after 2 s" in said
    assert drawn.compared.startswith(
        "Window closed for 22.1 s instead of 19.1 s, window probes: 46 instead of 40"
    )
    same = draw_window(kept[1], kept=[run(SlowReader(seed=7))])
    assert same.compared.startswith("As before") and "╌╌ kept: seed 7" in texts(same)


# -- all of them -----------------------------------------------------------------------------


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
@pytest.mark.parametrize("dark", [False, True])
def test_plotly_finds_nothing_to_object_to(make, dark):
    picture = draw_window(make(), kept=[make()], dark=dark)
    validated = go.Figure(data=picture.data, layout=picture.layout)
    assert picture.figure().to_dict() == validated.to_dict()
    assert not validated.layout.annotations
    assert not validated.layout.shapes
    assert validated.layout.uirevision == "window"


def test_each_kind_of_trace_gets_its_own_picture():
    assert named(draw_window(reset_in_window()), "RST")["x"]
    assert named(draw_window(slow_reader()), "window")["x"]


def test_a_wrapped_window_is_no_other_window():
    """The server's numbers wrap inside the client's window."""
    story = Story()
    t = story.exchange(story.open())
    shift = 2**32 - 300 - ISN["server"]
    story.say(t, "server", RST, 201 + 60000, window=0, kind="forged")
    trace = story.finish()
    plain = judged_reset(trace)
    for packet in trace.packets:
        s = packet.segment
        changes = {"seq": seq_add(s.seq, shift)} if packet.sender == "server" else {}
        if packet.sender == "client" and s.flags & ACK:
            changes = {"ack": seq_add(s.ack, shift)}
        packet.segment = type(s)(**{f: getattr(s, f) for f in s.__slots__} | changes)
    wrapped = judged_reset(trace)
    assert (wrapped.offset, wrapped.right_edge, wrapped.expected, wrapped.verdict) == (
        plain.offset,
        plain.right_edge,
        plain.expected,
        plain.verdict,
    )
