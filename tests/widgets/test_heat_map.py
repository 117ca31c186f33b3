"""A sweep as a picture: every cell, its colour and its text, and the sentence."""

import pandas as pd
import plotly.graph_objects as go
import pytest

from tcplab import heat_map, sweep
from tcplab.core.knobs import ParameterError


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
