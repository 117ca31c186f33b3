"""The race as a picture: words that fit, what decided before, and the same as a table."""

import re
from dataclasses import replace
from html import unescape

import pytest

from tcplab.advice import Environment
from tcplab.advice.environment import PRESETS
from tcplab.advice.race import race
from tcplab.advice.race_lanes import VERDICTS
from tcplab.advice.topology_file import examples, load_topology
from tcplab.pictures.race import _COLOURS, _SIGNS, TOP, draw_race, race_table, row_height
from tcplab.pictures.svg import Caption, Polygon, Ring, Stroke, contrast

ON = {
    "pgjdbc.tcpKeepAlive": True, "linux.net.ipv4.tcp_keepalive_time": 30,
    "linux.net.ipv4.tcp_keepalive_intvl": 9, "linux.net.ipv4.tcp_keepalive_probes": 3,
}  # fmt: skip
SHOP = replace(PRESETS["AWS: NLB, PgBouncer, RDS"], promotion_s=60)
EVERY = {**PRESETS, "untouched": Environment()}
EVERY |= {name: load_topology(path).environment for name, path in examples().items()}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", EVERY)
def test_no_word_overlaps_another_and_all_can_be_read(name, dark):
    drawing = draw_race(race(EVERY[name]), dark=dark)
    assert drawing.overlaps() == []
    for each in drawing.captions:
        assert each.size >= 9.5
        assert contrast(each.colour, drawing.theme.paper) >= 4.5, each.text


def test_a_verdict_is_never_a_colour_alone():
    assert set(_SIGNS) == set(_COLOURS) == set(VERDICTS)
    drawing = draw_race(race(SHOP))
    texts = [each.text for each in drawing.captions]
    for lane in race(SHOP).lanes:
        assert lane.situation.letter in texts
        assert any(text.startswith(_SIGNS[lane.verdict]) for text in texts)


def test_what_decided_before_is_a_dashed_ring_with_an_arrow():
    before = race(SHOP)
    after = race(replace(SHOP, settings={**SHOP.settings, **ON}))
    plain, both = draw_race(after), draw_race(after, before)
    assert not [item for item in plain.items if isinstance(item, Ring)]
    rings = [item for item in both.items if isinstance(item, Ring)]
    moved = [
        lane
        for lane in after.lanes
        if (lane.when, lane.winner) != (before[lane.key].when, before[lane.key].winner)
    ]
    assert 0 < len(rings) <= len(moved) and all(ring.dash for ring in rings)
    # Server dies, waiting: from "never" to the left.
    waiting = next(i for i, lane in enumerate(after.lanes) if lane.key == "server_dies_waiting")
    row = row_height(after)
    [ring] = [ring for ring in rings if TOP + row * waiting < ring.y < TOP + row * (waiting + 1)]
    heads = [item for item in both.items if isinstance(item, Polygon) and item.points[0][1] == ring.y]
    assert heads and heads[0].points[0][0] < ring.x
    lines = [sum(isinstance(item, Stroke) for item in each.items) for each in (plain, both)]
    assert lines[1] > lines[0]
    assert both.overlaps() == []


def test_the_table_says_the_same():
    lanes = race(SHOP)
    text = unescape(re.sub("<[^>]+>", " ", race_table(lanes)))
    for lane in lanes.lanes:
        assert lane.says in text and lane.detail in text and lane.verdict in text
    assert "(was: never)" in race_table(race(replace(SHOP, settings={**SHOP.settings, **ON})), lanes)


def test_names_of_people_are_text():
    topology = Environment(outage_s=5)
    evil = replace(topology.legs[0], name="<img src=x>")
    shown = draw_race(race(replace(topology, legs=(evil,)))).svg
    assert "<img" not in shown and isinstance(Caption(0, 0, "x", "#000000").box(), tuple)
