"""The pictures of the studies: curves, rows and hatching show what the run has."""

import pytest

from pictures.drawn import named, plotly_accepts
from tcplab import Failover, Pool, PortChurn, explore, run
from tcplab.pictures.studies import draw_churn, draw_failover, draw_pool
from tcplab.widgets.base import LivingFigure
from tcplab.widgets.show import PICTURES, picture


@pytest.mark.parametrize("preset", PortChurn.presets)
@pytest.mark.parametrize("dark", [False, True])
def test_plotly_accepts_port_churn(preset, dark):
    drawn = draw_churn(run(PortChurn(**PortChurn.presets[preset])), dark=dark, title=preset)
    assert plotly_accepts(drawn)


def test_port_churn_has_the_curves_and_outages_of_the_run():
    drawn = draw_churn(run(PortChurn(rate_per_s=600, hold_s=0)))
    used = named(drawn, "ports in use")
    assert max(used["y"]) == 28232 and (used["x"][0], used["x"][-1]) == (0, 180)
    outages = named(drawn, "outages")
    assert [round(x, 2) for x in outages["x"][:2]] == [47.05, 60.0]
    assert outages["x"].count(None) == 3
    assert {"<b>no port<br>13 s</b>"} < {
        text.replace("12.9", "13") for text in named(drawn, "captions")["text"]
    }
    opened = named(drawn, "opened a second")
    assert max(opened["y"]) == 600 and min(opened["y"]) == 0


def test_a_curve_far_below_its_ceiling_says_so():
    drawn = draw_churn(run(PortChurn(rate_per_s=10, closer="server")))
    assert any("far above" in text for text in named(drawn, "captions")["text"])
    assert named(drawn, "ceiling")["x"] == []


def test_what_is_sent_stays_light_however_many_connections():
    drawn = draw_churn(run(PortChurn(rate_per_s=1000, arrivals="poisson")))
    assert all(len(trace["x"]) <= 700 for trace in drawn.data)


def test_the_explorer_shows_port_churn_with_curves_sentence_and_numbers_and_settings():
    explorer = explore(PortChurn, rate_per_s=600)
    assert "EADDRNOTAVAIL" in explorer.sentence and explorer.error is None
    assert list(explorer.panels) == ["Picture", "Numbers", "Settings to paste"]
    assert {trace.name for trace in explorer.figure.data} >= {"ports in use", "ceiling", "outages"}
    explorer.set(tw_reuse=1)
    assert explorer.outcome["refused"] == 0
    explorer.use("two server ports")
    assert explorer.values["destinations"] == 2
    explorer.set(ports=0)
    assert explorer.sentence == "ports = 0 is out of range: 1 to 65535." and explorer.figure is None
    explorer.reset()
    assert explorer.values["rate_per_s"] == 600 and explorer.error is None


def test_port_churn_is_shown_in_one_call():
    assert "ceiling" in {trace.name for trace in picture(run(PortChurn())).figure.data}


@pytest.fixture(scope="module")
def restarted():
    return run(Pool(breaks="server_restart"))


def test_the_dead_in_no_use_are_hatched_to_the_end(restarted):
    drawn = draw_pool(restarted)
    dead = named(drawn, "dead, and still in the pool")
    ends = {x for x in dead["x"] if x is not None}
    assert ends == {60, 300} and dead["x"].count(None) == restarted.outcome["zombies_left"] == 8
    assert dead["fillpattern"]["shape"] == "/"
    assert named(drawn, "replaced")["y"] and set(named(drawn, "replaced")["y"]) == {8, 9}
    assert sum(named(drawn, "errors")["y"]) == restarted.outcome["errors"]
    assert set(named(drawn, "slowest request")["y"]) == {7}
    assert "hatched: dead, and still in the pool" in named(drawn, "captions")["text"][0]


def test_a_healthy_pool_has_nothing_to_explain():
    drawn = draw_pool(run(Pool(size=50)))
    assert named(drawn, "captions")["text"][0] == "plain: alive   the first 20 of 50"
    assert not [x for x in named(drawn, "replaced")["x"] if x is not None]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        {"breaks": "silent_drop"},
        {"rate_per_s": 0.01, "duration_s": 50},
        {"breaks": "server_restart", "max_lifetime_s": 30, "duration_s": 900},
        {"breaks": "silent_drop", "query_ms": 3000, "rate_per_s": 1},
    ],
)
def test_plotly_accepts_a_pool(values, dark):
    drawn = draw_pool(run(Pool(**values)), dark=dark, title="A pool")
    assert plotly_accepts(drawn)
    low, high = drawn.layout["yaxis2"]["range"]
    assert low < high


def test_a_pool_is_what_picture_and_explorer_show(restarted):
    assert PICTURES["pool"] is draw_pool and Pool.pictures == ("pool",)
    assert isinstance(picture(restarted), LivingFigure)
    explorer = explore(Pool, breaks="server_restart", order="fifo")
    assert explorer.outcome["errors"] == 10
    explorer.set(probe="test_on_borrow")
    assert explorer.outcome["errors"] == 1


@pytest.fixture(scope="module")
def readable():
    return run(Failover(old_primary="readable_replica", probe="select_1", duration_s=2100))


def test_each_part_has_a_row_and_the_longest_says_so(readable):
    drawn = draw_failover(readable)
    rows = drawn
    assert drawn.layout["yaxis"]["ticktext"] == ["promotion", "DNS", "client cache", "lifetime", "connecting"]
    said = named(rows, "lengths")["text"]
    assert [text.strip() for text in said[:3]] == ["10 s", "5 s", "30 s"]
    assert said[3].strip() == "<b>28 min 15 s, the longest part</b>"
    longest = named(rows, "the longest part")
    assert {x for x in longest["x"] if x is not None} == {45, 1740}
    assert longest["fillpattern"]["shape"] == "/"
    assert named(rows, "parts")["x"].count(None) == 4  # the others


def test_connections_and_answers_are_those_of_the_run(readable):
    rows = draw_failover(readable)
    old = named(rows, "to the old primary, after the failure")
    assert {round(x * 60) for x in old["x"] if x is not None} == {60, 1800}
    assert old["x"].count(None) == 10
    for words, name in (
        ("writes accepted", "writes_accepted"),
        ("writes refused", "writes_refused"),
        ("reads from the old primary", "reads_from_old_primary"),
    ):
        assert sum(named(rows, words)["customdata"]) == readable.outcome[name]
    legend = named(rows, "captions of the answers")["text"][0]
    assert "hatched: writes refused" in legend and "errors" not in legend
    assert "hatched: to the old primary, after the failure" in named(rows, "captions")["text"][0]


def test_what_is_said_differs_in_more_than_colour(readable):
    rows = draw_failover(readable)
    shapes = [named(rows, words)["marker"]["pattern"]["shape"] for words in
              ("reads from the old primary", "writes refused", "errors")]  # fmt: skip
    assert len(set(shapes)) == 3 and all(shapes)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("preset", [*Failover.presets, "nobody writes", "many"])
def test_plotly_accepts_every_failover(preset, dark):
    values = {"nobody writes": {"write_share": 0}, "many": {"size": 50, "old_primary": "refuses"}}
    trace = run(Failover(**(values.get(preset) or Failover.presets.get(preset, {}))))
    drawn = draw_failover(trace, dark=dark, title="A failover")
    assert plotly_accepts(drawn)
    for axis in ("xaxis", "xaxis2", "yaxis", "yaxis2", "yaxis3"):
        low, high = drawn.layout[axis]["range"]
        assert low < high


def test_a_failover_is_what_picture_and_explorer_show(readable):
    assert PICTURES["failover"] is draw_failover and Failover.pictures == ("failover",)
    assert isinstance(picture(readable), LivingFigure)
    explorer = explore(Failover, old_primary="refuses", client_dns_ttl_s=0)
    assert explorer.outcome["longest_part"] == "promotion"
    explorer.use("refused, cached for ever")
    assert explorer.outcome["write_outage_s"] is None and explorer.error is None
