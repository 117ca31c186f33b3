"""Pictures that stay: every kind as an SVG laid out in Python, light, and saying what the living one says."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest

from pictures.drawn import every_kind, plain
from tcplab import Keepalive, PortChurn, run
from tcplab.pictures.ladder import draw
from tcplab.pictures.still import HEAVIEST, drawing, still
from tcplab.pictures.svg import Polygon, Polyline, Rect
from tcplab.pictures.theme import DARK
from tcplab.widgets.base import LivingFigure
from tcplab.widgets.show import PICTURES, picture

KINDS = (
    "ladder",
    "window",
    "queues",
    "ports",
    "churn",
    "pool",
    "failover",
    "rst window",
    "idle map",
    "heat map",
)


def test_these_are_all_kinds():
    assert tuple(every_kind()) == KINDS and set(PICTURES) <= set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_it_is_light_and_says_what_the_living_picture_says(name):
    living = every_kind()[name]
    svg = still(living, "what it shows")
    assert 0 < len(svg.encode()) < HEAVIEST
    assert ElementTree.fromstring(svg).get("aria-label") == "what it shows"
    said = " ".join(each.text for each in drawing(living).captions)
    wanted = [
        line
        for trace in living.data
        if trace.get("mode") == "text"
        for text in trace["text"]
        for line in re.split(r"<br\s*/?>", text)
    ]
    # A word may be shortened where the page has no room for it.
    missing = [line for line in map(plain, wanted) if line.split() and line.split()[0] not in said]
    assert missing == []


@pytest.mark.parametrize("name", [name for name in KINDS if name != "idle map"])
def test_its_words_keep_apart(name):
    assert drawing(every_kind()[name]).overlaps() == []


def test_a_curve_stands_where_its_numbers_say():
    living = every_kind()["churn"]
    made = drawing(living)
    layout = living.layout
    right = made.width - layout["margin"]["r"]
    high = max((each for each in made.items if isinstance(each, Polyline)), key=lambda line: len(line.points))
    assert all(layout["margin"]["l"] <= x <= right for x, _ in high.points)
    tops = [y for each in made.items if isinstance(each, Polygon) for _, y in each.points]
    assert min(tops) >= layout["margin"]["t"]
    longest = drawing(PICTURES["churn"](run(PortChurn(rate_per_s=10))))
    assert longest.svg != made.svg


def test_a_cell_of_a_heat_map_has_the_colour_of_its_value():
    cells = [each for each in drawing(every_kind()["heat map"]).items if isinstance(each, Rect)]
    values = [value for row in every_kind()["heat map"].data[0]["z"] for value in row if value is not None]
    assert len(cells) == len(values)
    fills = [each.fill for each in cells]
    assert [a == b for a, b in pairwise(fills)] == [a == b for a, b in pairwise(values)]


def test_dark_paper_stays_dark():
    assert DARK.paper in still(draw(run(Keepalive()), dark=True))


def test_what_would_be_too_heavy_is_left_to_its_table():
    long = draw(run(Keepalive(interval_s=1, probes=127, idle_s=1)))
    long.data[0]["x"], long.data[0]["y"] = ([i % 97 for i in range(20_000)] for _ in "xy")
    assert still(long) == ""


def test_a_living_figure_leaves_it_beside_its_words():
    figure = picture(run(Keepalive()))
    html = figure._repr_html_()
    assert html.count("<svg") == 1 and figure.said.split(".")[0] in html and "<details>" in html
    assert LivingFigure().still() == ""
