"""The picture of a pool: rows, hatching and curves tell what the run tells."""

import plotly.graph_objects as go
import pytest

from tcplab import Pool, explore, run
from tcplab.pictures.studies import draw_pool
from tcplab.widgets.figure import LivingFigure
from tcplab.widgets.show import PICTURES, picture


def traces(drawn):
    return {each["name"]: each for each in drawn.data}


@pytest.fixture(scope="module")
def restarted():
    return run(Pool(breaks="server_restart"))


def test_the_dead_that_nobody_borrows_are_hatched_to_the_end(restarted):
    drawn = traces(draw_pool(restarted))
    dead = drawn["dead, and still in the pool"]
    ends = {x for x in dead["x"] if x is not None}
    assert ends == {60, 300} and dead["x"].count(None) == restarted.outcome["zombies_left"] == 8
    assert dead["fillpattern"]["shape"] == "/"
    assert drawn["replaced"]["y"] and set(drawn["replaced"]["y"]) == {8, 9}
    assert sum(drawn["errors"]["y"]) == restarted.outcome["errors"]
    assert set(drawn["slowest request"]["y"]) == {7}
    assert "hatched: dead, and still in the pool" in drawn["captions"]["text"][0]


def test_a_healthy_pool_has_nothing_to_explain():
    drawn = traces(draw_pool(run(Pool(size=50))))
    assert drawn["captions"]["text"][0] == "plain: alive   the first 20 of 50"
    assert not [x for x in drawn["replaced"]["x"] if x is not None]


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
def test_plotly_takes_it(values, dark):
    drawn = draw_pool(run(Pool(**values)), dark=dark, title="A pool")
    go.Figure(data=drawn.data, layout=drawn.layout)
    low, high = drawn.layout["yaxis2"]["range"]
    assert low < high


def test_it_is_what_picture_and_explorer_show(restarted):
    assert PICTURES["pool"] is draw_pool and Pool.pictures == ("pool",)
    assert isinstance(picture(restarted), LivingFigure)
    explorer = explore(Pool, breaks="server_restart", order="fifo")
    assert explorer.outcome["errors"] == 10
    explorer.set(probe="test_on_borrow")
    assert explorer.outcome["errors"] == 1
