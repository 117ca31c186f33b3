"""The pictures of the studies: curves, rows and hatching show what the run has."""

import re
from itertools import pairwise

import pytest

from pictures.drawn import named, plain, plotly_accepts
from tcplab import Failover, Pool, PortChurn, explore, run
from tcplab.core.text import SECOND
from tcplab.pictures.panels import Fact, compared, growth
from tcplab.pictures.studies import draw_churn, draw_failover, draw_pool
from tcplab.pictures.timeline import read_timeline
from tcplab.widgets.base import LivingFigure
from tcplab.widgets.show import PICTURES, picture


def words_of(drawn):
    return [plain(word) for trace in drawn.data for word in trace.get("text") or []]


@pytest.mark.parametrize("preset", PortChurn.presets)
@pytest.mark.parametrize("dark", [False, True])
def test_plotly_accepts_port_churn(preset, dark):
    drawn = draw_churn(run(PortChurn(**PortChurn.presets[preset])), dark=dark, kept=[run(PortChurn())])
    assert plotly_accepts(drawn)


def test_port_churn_has_the_curves_and_outages_of_the_run():
    drawn = draw_churn(run(PortChurn(rate_per_s=600, hold_s=0)))
    used = named(drawn, "ports in use")
    assert max(used["y"]) == 28232 and (used["x"][0], used["x"][-1]) == (0, 180)
    outages = named(drawn, "no port")
    assert [round(x, 2) for x in outages["x"][:2]] == [47.05, 60.0]
    assert outages["x"].count(None) == 3
    assert words_of(drawn).count("no port12.9 s") == 3
    opened = named(drawn, "opened a second")
    assert max(opened["y"]) == 600 and min(opened["y"]) == 0
    assert set(named(drawn, "refused a second")["y"]) == {600}, "on top of those that were opened"


def test_a_curve_far_below_its_ceiling_says_so():
    drawn = draw_churn(run(PortChurn(rate_per_s=10, closer="server")))
    assert any("far above" in text for text in words_of(drawn))
    assert named(drawn, "ceiling: ports")["x"] == []


def test_what_is_sent_stays_light_however_many_connections():
    drawn = draw_churn(run(PortChurn(rate_per_s=1000, arrivals="poisson")))
    assert all(len(trace["x"]) <= 700 for trace in drawn.data)


def test_the_explorer_shows_port_churn_with_curves_sentence_and_numbers_and_settings():
    explorer = explore(PortChurn, rate_per_s=600)
    assert "EADDRNOTAVAIL" in explorer.sentence and explorer.error is None
    assert list(explorer.panels) == ["Picture", "Numbers", "Settings to paste"]
    assert {trace.name for trace in explorer.figure.data} >= {"ports in use", "ceiling: ports", "no port"}
    explorer.set(tw_reuse=1)
    assert explorer.outcome["refused"] == 0
    explorer.use("two server ports")
    assert explorer.values["destinations"] == 2
    explorer.set(ports=0)
    assert explorer.sentence == "“local ports” = 0 is out of range: 1 to 65535." and explorer.figure is None
    explorer.reset()
    assert explorer.values["rate_per_s"] == 600 and explorer.error is None


def test_port_churn_is_shown_in_one_call():
    assert "ceiling: ports" in {trace.name for trace in picture(run(PortChurn())).figure.data}


@pytest.fixture(scope="module")
def restarted():
    return run(Pool(breaks="server_restart"))


def test_the_dead_in_no_use_are_hatched_to_the_end(restarted):
    drawn = draw_pool(restarted)
    dead = named(drawn, "dead, and still in the pool")
    ends = {x for x in dead["x"] if x is not None}
    assert ends == {0, 240} and dead["x"].count(None) == restarted.outcome["zombies_left"] == 8
    assert dead["fillpattern"]["shape"] == "/"
    assert set(named(drawn, "replaced")["y"]) == {8, 9, None}
    assert set(named(drawn, "slowest request")["y"]) == {7}
    assert " dead, and still in the pool" in words_of(drawn) and " ◆ a new one" in words_of(drawn)
    assert named(drawn, "swatch: dead, and still in the pool")["fillpattern"]["shape"] == "/"


def test_a_healthy_pool_has_nothing_to_explain():
    drawn = draw_pool(run(Pool(size=50)))
    assert {" alive", " the first 20 of 50"} <= set(words_of(drawn))
    assert " dead, and still in the pool" not in words_of(drawn)
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
    drawn = draw_pool(run(Pool(**values)), dark=dark, kept=[run(Pool())])
    assert plotly_accepts(drawn)
    (low, high) = next(
        a["range"] for a in drawn.layout.values() if isinstance(a, dict) and a.get("type") == "log"
    )
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


def test_each_part_of_an_outage_says_how_long_it_is_and_the_longest_says_so(readable):
    words = {lane.name: lane.spans[0].words for lane in read_timeline(readable).lanes if lane.spans}
    assert [(name, said[-1]) for name, said in words.items()] == [
        ("promotion", "10 s"), ("DNS", "5 s"), ("client cache", "30 s"), ("lifetime", "28 min 15 s"),
        ("connecting", "0.052 s"),
    ]  # fmt: skip
    assert [name for name, said in words.items() if "the longest part" in said[1]] == ["lifetime"]


def test_connections_and_answers_are_those_of_the_run(readable):
    rows = draw_failover(readable)
    old = named(rows, "to the old primary, after the failure")
    assert {round(x) for x in old["x"] if x is not None} == {0, 1740}
    assert old["x"].count(None) == 10
    for words, name in (
        ("writes accepted", "writes_accepted"),
        ("writes refused", "writes_refused"),
        ("reads from the old primary", "reads_from_old_primary"),
    ):
        hovers = named(rows, words)["hovertext"][:-1]
        rates = [float(re.search(r": ([\d.]+) a second", hover)[1]) for hover in hovers]
        edges = [*(t - 60 for t in readable.series["t_s"] if t > 55), readable.end / SECOND - 60]
        edges = edges[: len(rates) + 1]  # the picture ends soon after everything is over
        assert edges[0] <= 0 and edges[-1] > 1740, "from the failure on, until the writes succeed"
        many = sum(rate * (b - a) for rate, (a, b) in zip(rates, pairwise(edges), strict=True))
        later = zip(readable.series["t_s"], readable.series[name], strict=True)
        assert many == pytest.approx(sum(n for t, n in later if 55 < t < edges[-1] + 60), rel=1e-3)
    assert {" writes refused", " to the old primary, after the failure"} <= set(words_of(rows))
    assert " errors" not in words_of(rows)


def test_what_is_said_differs_in_more_than_colour(readable):
    rows = draw_failover(readable)
    shapes = [
        named(rows, words)["fillpattern"]["shape"]
        for words in ("reads from the old primary", "writes refused")
    ]
    assert len(set(shapes)) == 2 and all(shapes)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("preset", [*Failover.presets, "nobody writes", "many"])
def test_plotly_accepts_every_failover(preset, dark):
    values = {"nobody writes": {"write_share": 0}, "many": {"size": 50, "old_primary": "refuses"}}
    trace = run(Failover(**(values.get(preset) or Failover.presets.get(preset, {}))))
    drawn = draw_failover(trace, dark=dark, kept=[run(Failover())])
    assert plotly_accepts(drawn)
    for axis in (name for name in drawn.layout if name.startswith(("xaxis", "yaxis"))):
        low, high = drawn.layout[axis]["range"]
        assert low != high


def test_a_failover_is_what_picture_and_explorer_show(readable):
    assert PICTURES["failover"] is draw_failover and Failover.pictures == ("failover",)
    assert isinstance(picture(readable), LivingFigure)
    explorer = explore(Failover, old_primary="refuses", client_dns_ttl_s=0)
    assert explorer.outcome["longest_part"] == "promotion"
    explorer.use("refused, cached without limit")
    assert explorer.outcome["write_outage_s"] is None and explorer.error is None


# -- one run beside another --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "small", "large", "unit", "says"),
    [
        (draw_churn, PortChurn(rate_per_s=50), PortChurn(duration_s=600), "ports",
         "axis: 10 min, was 3 min; 28,232 ports, was 3,602 ports; "
         "500 attempts per second, was 50 attempts per second"),
        (draw_pool, Pool(), Pool(breaks="silent_drop"), "ms", "axis: 1,000,000 ms, was 10 ms"),
        (draw_failover, Failover(old_primary="refuses"), Failover(duration_s=2100, rate_per_s=30),
         "requests per second",
         "axis: 20 min, was 60 s; 30 requests per second, was 20 requests per second"),
    ],
)  # fmt: skip
def test_axes_grow_and_never_shrink(draw, small, large, unit, says):
    first = draw(run(small))
    second = draw(run(large), limits=first.limits)
    third = draw(run(small), limits=second.limits)
    assert second.limits[unit] > first.limits[unit] and third.limits == second.limits
    assert growth(second.limits, first.limits).startswith(says)
    assert third.layout["xaxis"]["range"] == second.layout["xaxis"]["range"]
    assert [a["range"] for n, a in third.layout.items() if n.startswith("yaxis") and a.get("type")] == [
        a["range"] for n, a in second.layout.items() if n.startswith("yaxis") and a.get("type")
    ]


def test_kept_curves_are_dashed_and_the_difference_is_said():
    kept = [run(PortChurn(ports=15000)), run(PortChurn())]
    drawn = draw_churn(run(PortChurn(rate_per_s=600)), kept=kept)
    assert drawn.compared.startswith(
        "The first connect() fails after 47.1 s instead of 56.5 s, the longest outage lasts 13 s instead of"
    )
    assert named(drawn, "kept 1: ports in use")["y"] == named(draw_churn(kept[1]), "ports in use")["y"]
    assert (
        set(named(drawn, "kept 2: ceiling: ports")["y"]) == {15000}
        and not named(drawn, "kept 1: ceiling: ports")["y"]
    )
    said = [word.replace("\xa0", " ") for word in words_of(drawn)]
    assert "···· kept: attempts per second 500, local ports 15000" in said


def test_a_kept_pool_and_a_kept_failover_are_beside_it():
    drawn = draw_pool(
        run(Pool(breaks="silent_drop", socket_timeout_s=5)), kept=[run(Pool(breaks="silent_drop"))]
    )
    assert drawn.compared.startswith("10 errors instead of 48,001, 0 dead connections left instead of 10")
    assert max(filter(None, named(drawn, "kept 1: slowest request")["y"])) > 30_000
    drawn = draw_failover(run(Failover(user_timeout_s=20)), kept=[run(Failover())])
    assert drawn.compared.startswith("The first write is accepted after 50.7 s instead of never")
    assert set(named(drawn, "kept 1: writes accepted")["y"]) == {0}, "never, from the failure on"


def test_a_run_of_another_study_is_no_curve_here():
    drawn = draw_churn(run(PortChurn()), kept=[run(Pool())])
    assert not drawn.compared and drawn.data == draw_churn(run(PortChurn())).data


def test_what_differs_is_said_and_nothing_else():
    now, kept = [Fact("{} ports", "6"), Fact("it ends {}", "after 3 s")], [Fact("{} ports", "6")]
    assert compared(now, [*kept, Fact("it ends {}", "after 5 s")]) == "It ends after 3 s instead of 5 s"
    assert compared(now, [*kept, Fact("it ends {}", "never")]) == "It ends after 3 s instead of never"
    assert compared(now, now) == "As before: nothing in this picture differs"
