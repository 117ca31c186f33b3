"""The maps: keepalive × idle timer against the experiment, with lost probes too, and a sweep as a picture."""

import re
import time
from itertools import pairwise, product
from math import log10

import pandas as pd
import plotly.graph_objects as go
import pytest

import tcplab
from tcplab import heat_map, run, sweep
from tcplab.advice.runs import OUTCOMES, RESET, SILENT, SURVIVES, SilentConnection, known_clients
from tcplab.core.knobs import ParameterError
from tcplab.core.segment import RST
from tcplab.experiments import IdleFirewall
from tcplab.route.firewall import EXPIRED
from tcplab.widgets.maps import (
    DIES,
    LUCK,
    OFF,
    PATTERNS,
    RIGHT,
    SIGNS,
    draw_idle_map,
    idle_map,
    lost_probe_map,
    map_middleboxes,
)

SHORT = {"keepalive_interval_s": 20, "keepalive_probes": 3}
KEEPALIVES = (0, 30, 100, 200, 400, 700, 1500)
BOXES = (60, 150, 350, 900)
SILENCES = (100, 500, 1000)


def experienced(expired, waiting_for, keepalive, box, quiet):
    """What the model's run of the experiment comes to."""
    trace = run(
        IdleFirewall(
            **SHORT, firewall_idle_s=box, expired=expired, keepalive_idle_s=keepalive, quiet_s=quiet,
            waiting_for=waiting_for, watch_s=4000,
        )
    )  # fmt: skip
    if trace.outcome["survived"]:
        return SURVIVES
    resets = [p for p in trace.packets if p.receiver == "client" and p.segment.flags & RST]
    return RESET if any(p.verdict == "accepted" for p in resets) else SILENT


@pytest.mark.parametrize("waiting_for", ["long_query", "next_query"])
@pytest.mark.parametrize("expired", EXPIRED)
def test_the_rules_are_what_the_experiment_does(expired, waiting_for):
    seen = set()
    for keepalive, box, quiet in product(KEEPALIVES, BOXES, SILENCES):
        silence = SilentConnection(
            **SHORT, keepalive_idle_s=keepalive, box_idle_s=box, expired=expired, quiet_s=quiet,
            waiting_for=waiting_for,
        )  # fmt: skip
        outcome = experienced(expired, waiting_for, keepalive, box, quiet)
        assert silence.outcome == outcome, (keepalive, box, quiet)
        seen.add(outcome)
    assert SURVIVES in seen


def named(picture, name):
    (found,) = [trace for trace in picture.data if trace["name"] == name]
    return found


def inside(picture, keepalive, box):
    """The names of the areas that cover a place, by counting the edges to the right of it."""
    x, y = log10(keepalive or OFF), log10(box)
    found = []
    for outcome in OUTCOMES:
        area = named(picture, f"area: {outcome}")
        points = list(zip(area["x"], area["y"], strict=True))
        crossed = 0
        for (x0, y0), (x1, y1) in pairwise(points):
            if None in (x0, x1) or (y0 > y) == (y1 > y):
                continue
            crossed += x0 + (y - y0) / (y1 - y0) * (x1 - x0) > x
        found += [outcome] * (crossed % 2)
    return found


@pytest.mark.parametrize("expired", ["drop", "reject", "reset_both", "reopen"])
@pytest.mark.parametrize("quiet", [200, 600, 86400])
def test_the_areas_are_the_rules(expired, quiet):
    silence = SilentConnection(expired=expired, quiet_s=quiet)
    picture = draw_idle_map(silence)
    for keepalive, box in product(
        (0, 2, 14, 29, 310, 1000, 25_000), (12, 61, 300, 1800, 7000, 40_000, 430_000)
    ):
        assert inside(picture, keepalive, box) == [silence.outcome_at(keepalive, box, expired)], (
            keepalive,
            box,
        )


def test_where_late_probes_decide_the_area_is_cut():
    silence = SilentConnection(expired="drop_inbound", quiet_s=1200)
    picture = draw_idle_map(silence)
    assert inside(picture, 20_000, 100) == [RESET]
    assert inside(picture, 0, 100) == [SILENT]
    assert inside(picture, 100, 90) == [SURVIVES]
    assert inside(picture, 60, 400) == [SURVIVES]
    assert silence.outcome_at(20_000, 100, "drop_inbound") == RESET


def test_one_lost_probe_is_mentioned():
    assert SilentConnection(keepalive_idle_s=300).sentence.endswith(
        "the next comes after 6 min 15 s, too late."
    )
    assert "lost" not in SilentConnection(keepalive_idle_s=300, keepalive_interval_s=30).sentence


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "Only the client's keepalive detects it, after 2 h 11 min 15 s"),
        ({"keepalive_idle_s": 0}, "the client waits indefinitely"),
        ({"expired": "reject"}, "the client gets a RST after 2 h, Connection reset by peer (ECONNRESET)"),
        ({"expired": "reject", "waiting_for": "next_query"}, "the client gets a RST after 10 min"),
        ({"expired": "reset_both"}, "the client gets a RST after 5 min 50 s"),
        ({"expired": "drop_inbound", "keepalive_idle_s": 1000, "quiet_s": 1500}, "survives."),
        ({"expired": "drop_inbound"}, "the client gets a RST after 2 h"),
        (
            {"expired": "reopen"},
            "creates the entry again with the next packet: the long query survives.",
        ),
        ({"waiting_for": "next_query"}, "the next query is retransmitted for 15 min 29 s, then"),
        ({"quiet_s": 300}, "long query of 5 min survives: the middlebox keeps its entry longer"),
        ({"box_idle_s": 0}, "survives"),
        ({"keepalive_idle_s": 60}, "A probe after each 60 s restarts the middlebox's timer of 5 min 50 s"),
        (
            {"keepalive_idle_s": 15, "box_idle_s": 60},
            "the next only 75 s later: in between the middlebox removes the connection",
        ),
        (
            {"keepalive_idle_s": 400, "keepalive_interval_s": 20, "waiting_for": "next_query"},
            "keepalive ends the connection after 9 min 40 s; the next query fails at once",
        ),
    ],
)
def test_the_sentence_says_what_happens_and_when(settings, says):
    assert says in SilentConnection(**settings).sentence


@pytest.mark.parametrize("expired", ["drop", "reject", "reset_both", "drop_inbound"])
@pytest.mark.parametrize("keepalive", [0, 60, 400, 1500])
def test_the_seconds_of_the_sentence_are_the_experiments(expired, keepalive):
    silence = SilentConnection(**SHORT, keepalive_idle_s=keepalive, expired=expired, quiet_s=600)
    trace = run(
        IdleFirewall(
            **SHORT, keepalive_idle_s=keepalive, firewall_idle_s=350, expired=expired, quiet_s=600,
            waiting_for="long_query", watch_s=5000,
        )
    )  # fmt: skip
    gone = next((s.t for s in trace.sockets if s.host == "client" and s.state == "CLOSED"), None)
    ended = re.search(r"(?:RST|it,|connection) after ((?:\d+ (?:h|min|s) ?)+)", silence.sentence)
    assert (ended is None) == (gone is None)
    if ended and gone:
        number = {"h": 3600, "min": 60, "s": 1}
        said = sum(int(n) * number[unit] for n, unit in re.findall(r"(\d+) (h|min|s)", ended[1]))
        assert trace.seconds(gone) == pytest.approx(said, abs=1)


def test_boxes_and_clients_come_from_the_catalogue():
    boxes = {box.name: (box.idle_s, box.expired) for box in map_middleboxes()}
    assert boxes["AWS NAT gateway"] == (350, "reject")
    assert boxes["Azure Load Balancer"] == (240, "drop")
    assert boxes["Linux conntrack"] == (432_000, "reopen")
    clients = dict(known_clients())
    assert "redis-cli" in clients[15] and "libpq" in clients[7200] and "pgjdbc" in clients[0]


def test_every_box_is_a_line_and_a_word_and_says_what_it_does():
    picture = draw_idle_map(SilentConnection())
    words = named(picture, "words")["text"]
    assert " 5 min 50 s: ◆ AWS NAT gateway, ✗ AWS Network Firewall, ◆ AWS NLB" in words
    lines = named(picture, "boxes")
    assert {y for y in lines["y"] if y is not None} == {log10(box.idle_s) for box in map_middleboxes()}
    assert {"✓ survives", "✗ silent"} <= {re.sub("<[^>]+>", "", text) for text in words}


def test_clients_stand_on_the_diagonal():
    points = named(draw_idle_map(SilentConnection()), "clients")
    on = [(x, y) for x, y in zip(points["x"], points["y"], strict=True) if x is not None and 10**x < RIGHT]
    assert len(on) >= 3 and all(x == y for x, y in on)
    assert any("survives every box above" in text for text in points["hovertext"])


def test_ones_own_setting_is_marked():
    picture = draw_idle_map(SilentConnection(keepalive_idle_s=300, box_idle_s=1000))
    ring = named(picture, "my setting")
    assert (ring["x"][0], ring["y"][0]) == (log10(300), log10(1000))
    assert "<b>my keepalive: 5 min</b>" in named(picture, "words")["text"]
    off = named(draw_idle_map(SilentConnection(keepalive_idle_s=0)), "my setting")
    assert off["x"][0] == log10(OFF)
    assert not named(draw_idle_map(SilentConnection(box_idle_s=0)), "my setting")["x"]


def test_nothing_is_said_by_colour_alone():
    assert len(set(PATTERNS.values())) == 3
    assert len({symbol for symbol, _ in SIGNS.values()}) == len({sign for _, sign in SIGNS.values()}) == 3


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {}, {"keepalive_idle_s": 0}, {"keepalive_idle_s": 32767, "box_idle_s": 2_592_000}, {"quiet_s": 0},
        {"expired": "drop_inbound", "quiet_s": 86400}, {"box_idle_s": 0.5}, {"keepalive_idle_s": 0.5},
        {"expired": "reopen", "waiting_for": "next_query", "quiet_s": 5},
    ],
)  # fmt: skip
def test_plotly_takes_every_map(settings, dark):
    picture = draw_idle_map(SilentConnection(**settings), dark=dark, title="A title")
    validated = go.Figure(data=picture.data, layout=picture.layout)
    assert picture.figure().to_dict() == validated.to_dict()
    usual = [trace["name"] for trace in draw_idle_map(SilentConnection()).data]
    assert [trace["name"] for trace in picture.data] == usual


def test_a_map_is_drawn_while_a_slider_moves():
    spent = []
    for expired in ("drop", "drop_inbound"):
        for _ in range(3):
            began = time.process_time()
            draw_idle_map(SilentConnection(expired=expired))
            spent.append(time.process_time() - began)
    assert min(spent[:3]) < 0.005
    assert min(spent[3:]) < 0.03


# -- the widget --------------------------------------------------------------------------------------


def test_turning_a_knob_changes_picture_and_sentence():
    shown = tcplab.idle_map(keepalive_idle_s=300)
    assert repr(shown) == shown.sentence and "survives" in shown.sentence
    shown.set(keepalive_idle_s=400)
    assert "no program is notified" in shown.sentence
    (ring,) = [trace for trace in shown.figure.data if trace.name == "my setting"]
    assert ring.x[0] == log10(400)
    control = shown.controls["box_idle_s"]
    control.value = 1200
    assert shown.values["box_idle_s"] == 1200 and "keeps its entry longer" in shown.sentence


def test_a_wrong_value_is_one_sentence_and_no_picture():
    shown = idle_map(keepalive_idle_s=-5)
    assert shown.sentence == "keepalive_idle_s = -5 is out of range: 0 (off) to 32767 s."
    assert shown.figure is None
    assert "✗ keepalive_idle_s" in shown.status.value
    shown.set(keepalive_idle_s=5)
    assert shown.figure is not None and "wrong" not in shown.status.value
    assert "no parameter 'keepalive'" in idle_map(keepalive=5).sentence
    with pytest.raises(ParameterError):
        SilentConnection(expired="forget")


def test_it_reads_where_no_widget_can_live():
    bundle = idle_map()._repr_mimebundle_()
    assert bundle["text/plain"].startswith("After 5 min 50 s, before any probe, the middlebox removes")
    assert 'role="status"' in bundle["text/html"]


# -- a sweep as a picture ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    grid = {"firewall_idle_s": [240, 350, 900], "keepalive_idle_s": [0, 60, 300, 7200]}
    return sweep("idle_firewall", {"waiting_for": ["long_query"], "quiet_s": [600], **grid})


def drawn(made):
    (trace,) = made.figure.data
    return trace


def test_every_cell_stands_where_its_two_values_meet(table):
    made = heat_map(table, "detected_after_s")
    trace = drawn(made)
    layout = made.figure.layout
    assert list(layout.xaxis.ticktext) == ["0", "60", "300", "7200"]
    assert list(layout.yaxis.ticktext) == ["240", "350", "900"]
    by_hand = {(r.firewall_idle_s, r.keepalive_idle_s): r.detected_after_s for r in table.itertuples()}
    for row, texts in zip((240, 350, 900), trace.text, strict=True):
        for column, text in zip((0, 60, 300, 7200), texts, strict=True):
            assert (text == "never") == pd.isna(by_hand[row, column])
    assert trace.text[0][3] == "2 h 11 min 15 s"


def test_what_never_came_has_no_colour_but_a_word(table):
    made = heat_map(table, "detected_after_s")
    trace = drawn(made)
    uncoloured = sum(z is None for line in trace.z for z in line)
    assert uncoloured == table.detected_after_s.isna().sum() > 0
    assert [text for texts in trace.text for text in texts].count("never") == uncoloured
    assert f"Never: {uncoloured} of 12 cells." in made.sentence


def test_the_sentence_names_least_and_most_and_where():
    table = sweep("keepalive", {"idle_s": [60, 300], "interval_s": [10, 75]})
    made = heat_map(table, "detected_after_s")
    assert made.sentence == (
        "detected_after_s for 2 values of interval_s and 2 of idle_s. "
        "Least: 2 min 30 s, at interval_s = 10 and idle_s = 60. "
        "Most: 16 min 15 s, at interval_s = 75 and idle_s = 300."
    )
    assert repr(made) == made.sentence
    html = made._repr_mimebundle_()["text/html"]
    assert "16 min 15 s" in html and '<th scope="row">300</th>' in html


def test_words_and_yes_or_no_are_told_apart(table):
    made = heat_map(table, "survived")
    heights = {text: z for t, h in zip(drawn(made).text, drawn(made).z, strict=True)
               for text, z in zip(t, h, strict=True)}  # fmt: skip
    assert set(heights) == {"yes", "no"} and heights["yes"] != heights["no"]
    said = [text for texts in drawn(made).text for text in texts]
    assert f"yes {said.count('yes')} times" in made.sentence.lower()


def test_far_results_are_coloured_by_their_size():
    table = pd.DataFrame({"a": [1, 2, 3], "b": [1, 1, 1], "took_s": [1.0, 10.0, 10_000.0]})
    (z,) = drawn(heat_map(table, "took_s", "a", "b")).z
    assert list(z) == [0, 1, 4]


def test_plotly_accepts_the_picture(table):
    figure = heat_map(table, "detected_after_s").figure
    go.Figure(figure.to_dict())


def test_columns_from_a_stranger_are_escaped():
    table = pd.DataFrame({"<b>a": ["<i>x"], "b": ["<u>"], "c": ["<img src=x>"]})
    made = heat_map(table, "c", "<b>a", "b")
    html = made._repr_mimebundle_()["text/html"]
    assert "<img" not in html and "<i>" not in html and "<u>" not in html


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nothing",), "value = 'nothing' is not in the table"),
        (("error", "idle"), "x = 'idle' is not in the table"),
        (("error", "firewall_idle_s", "quiet_s"), "several rows for one pair"),
    ],
)
def test_what_can_not_be_drawn_is_said(table, arguments, says):
    with pytest.raises(ParameterError, match=says):
        heat_map(table, *arguments)


def test_a_table_that_is_no_sweep_needs_two_names():
    with pytest.raises(ParameterError, match="x is not given"):
        heat_map(pd.DataFrame({"a": [1], "c": [2]}), "c")


# -- keepalive against boxes, with probes that get lost ------------------------------------------------

SLOWER, LONGER = (60, 274, 300, 600), (350, 900)


def reach(picture, keepalives=SLOWER, boxes=LONGER):
    """The words of every pair; the picture counts both from 0."""
    (heat,) = [trace for trace in picture.figure.data if trace.type == "heatmap"]
    told = [text.replace("<br>", " ") for row in heat.text for text in row]
    return dict(zip([(idle, box) for box in boxes for idle in keepalives], told, strict=True))


def test_every_pair_is_what_the_inequality_says():
    found = reach(lost_probe_map(SLOWER, LONGER))
    assert len(found) == len(SLOWER) * len(LONGER)
    for (idle, box), text in found.items():
        wanted = DIES if idle >= box else LUCK if idle + 75 >= box else SURVIVES
        assert text == wanted, (idle, box, text)


def test_it_is_a_run_of_the_experiment():
    story = IdleFirewall(firewall_idle_s=350, keepalive_idle_s=600, quiet_s=1800, waiting_for="long_query")
    assert not run(story).outcome["survived"]
    assert reach(lost_probe_map((600,), (350,)), (600,), (350,))[600, 350] == DIES


def test_more_lost_probes_kill_more():
    assert reach(lost_probe_map((250,), (350,), lost=1), (250,), (350,))[250, 350] == SURVIVES
    assert reach(lost_probe_map((250,), (350,), lost=2), (250,), (350,))[250, 350] == LUCK


@pytest.mark.parametrize(
    "wrong", [{"lost": 0}, {"interval_s": 0}, {"keepalives_s": (40_000,)}, {"silent_s": -1}]
)
def test_what_linux_does_not_take_is_refused(wrong):
    with pytest.raises(ParameterError):
        lost_probe_map(**wrong)
