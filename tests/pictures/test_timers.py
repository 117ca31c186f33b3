"""The picture of all timers: every lane in words, on its place, and who decides said without colour."""

from math import inf, log10

import plotly.graph_objects as go
import pytest

from pictures.drawn import named
from tcplab.advice.race import MIDDLEBOX, PROBES, SILENCE, TIMER, LegLanes, RaceLane
from tcplab.pictures.timers import NEVER, RIGHT, draw_timers

LEGS = (
    LegLanes(
        "application to database",
        (
            RaceLane("longest silent query", SILENCE, ((600, "silent for"),)),
            RaceLane("a box", MIDDLEBOX, ((350, "forgets after"),)),
            RaceLane("keepalive", PROBES, ((300, "asks after"), (975, "gives up")), decides="first; second"),
            RaceLane("no keepalive", PROBES, ((inf, "off: never asks"),)),
        ),
    ),
    LegLanes("proxy to database", (RaceLane("a very long one", TIMER, ((10 * RIGHT, "closes after"),)),)),
)  # fmt: skip


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("legs", [LEGS, LEGS[:1], ()])
def test_plotly_takes_it(legs, dark):
    picture = draw_timers(legs, dark=dark)
    go.Figure(data=picture.data, layout=picture.layout)


def test_every_lane_has_its_words_and_its_place():
    picture = draw_timers(LEGS)
    words = named(picture, "words")
    for leg in LEGS:
        assert any(leg.name in text for text in words["text"])
        for lane in leg.lanes:
            (said,) = [
                text for text in words["text"] if f"{lane.name}: " in text and lane.instants[0][1] in text
            ]
            assert ("▶ decides" in said) == bool(lane.decides)
    assert len(set(words["y"])) == len(words["y"]) == 7
    probes = [x for x in named(picture, "instant: probes")["x"] if x is not None]
    assert probes == pytest.approx([log10(300), log10(975), log10(NEVER)])
    assert named(picture, "instant: timer")["x"][0] == log10(RIGHT)


def test_who_decides_has_a_star_that_says_what():
    stars = named(draw_timers(LEGS), "decides")
    assert stars["x"][0] == pytest.approx(log10(975)) and stars["marker"]["symbol"] == "star"
    assert "first; second" in stars["hovertext"][0]


def test_a_box_stands_across_the_lanes_of_its_leg():
    walls = named(draw_timers(LEGS), "middleboxes")
    assert walls["x"][:2] == pytest.approx([log10(350)] * 2)
    assert walls["y"][0] < 1 and 4 < walls["y"][1] < 5


def test_no_box_no_winner_no_trace_is_missing():
    assert [each["name"] for each in draw_timers(LEGS).data] == [
        each["name"] for each in draw_timers(()).data
    ]


def test_long_names_are_cut_and_hostile_ones_are_text():
    lane = RaceLane("<b onclick=x>" + "n" * 100, MIDDLEBOX, ((5, "forgets after"),))
    picture = draw_timers([LegLanes("<script>", (lane,))])
    text = " ".join(named(picture, "words")["text"])
    assert "<script>" not in text and "<b onclick" not in text and "…" in text
    assert "<b onclick" not in " ".join(named(picture, "middleboxes")["hovertext"])
