"""The picture of a failover: its parts add up, and what is drawn is what the run tells."""

import plotly.graph_objects as go
import pytest

from tcplab import Failover, explore, run
from tcplab.pictures.studies import draw_failover
from tcplab.widgets.figure import LivingFigure
from tcplab.widgets.show import PICTURES, picture


def traces(drawn):
    return {each["name"]: each for each in drawn.data}


@pytest.fixture(scope="module")
def readable():
    return run(Failover(old_primary="readable_replica", probe="select_1", duration_s=2100))


def test_each_part_has_a_row_and_the_longest_says_so(readable):
    drawn = draw_failover(readable)
    rows = traces(drawn)
    assert drawn.layout["yaxis"]["ticktext"] == ["promotion", "DNS", "client cache", "lifetime", "connecting"]
    said = rows["lengths"]["text"]
    assert [text.strip() for text in said[:3]] == ["10 s", "5 s", "30 s"]
    assert said[3].strip() == "<b>28 min 15 s, the longest part</b>"
    longest = rows["the longest part"]
    assert {x for x in longest["x"] if x is not None} == {45, 1740}
    assert longest["fillpattern"]["shape"] == "/"
    assert rows["parts"]["x"].count(None) == 4  # the others


def test_connections_and_answers_are_those_of_the_run(readable):
    rows = traces(draw_failover(readable))
    old = rows["to the old primary, after the failure"]
    assert {round(x * 60) for x in old["x"] if x is not None} == {60, 1800}
    assert old["x"].count(None) == 10
    for words, name in (
        ("writes accepted", "writes_accepted"),
        ("writes refused", "writes_refused"),
        ("reads from the old primary", "reads_from_old_primary"),
    ):
        assert sum(rows[words]["customdata"]) == readable.outcome[name]
    legend = rows["captions of the answers"]["text"][0]
    assert "hatched: writes refused" in legend and "errors" not in legend
    assert "hatched: to the old primary, after the failure" in rows["captions"]["text"][0]


def test_what_is_said_differs_in_more_than_colour(readable):
    rows = traces(draw_failover(readable))
    shapes = [rows[words]["marker"]["pattern"]["shape"] for words in
              ("reads from the old primary", "writes refused", "errors")]  # fmt: skip
    assert len(set(shapes)) == 3 and all(shapes)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("preset", [*Failover.presets, "nobody writes", "many"])
def test_plotly_takes_every_preset(preset, dark):
    values = {"nobody writes": {"write_share": 0}, "many": {"size": 50, "old_primary": "refuses"}}
    trace = run(Failover(**(values.get(preset) or Failover.presets.get(preset, {}))))
    drawn = draw_failover(trace, dark=dark, title="A failover")
    go.Figure(data=drawn.data, layout=drawn.layout)
    for axis in ("xaxis", "xaxis2", "yaxis", "yaxis2", "yaxis3"):
        low, high = drawn.layout[axis]["range"]
        assert low < high


def test_it_is_what_picture_and_explorer_show(readable):
    assert PICTURES["failover"] is draw_failover and Failover.pictures == ("failover",)
    assert isinstance(picture(readable), LivingFigure)
    explorer = explore(Failover, old_primary="refuses", client_dns_ttl_s=0)
    assert explorer.outcome["longest_part"] == "promotion"
    explorer.use("refused, cached for ever")
    assert explorer.outcome["write_outage_s"] is None and explorer.error is None
