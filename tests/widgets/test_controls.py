"""Controls: their steps, and that a row always shows the value that is set."""

import pytest

from tcplab import EXPERIMENTS, Keepalive, RstInWindow
from tcplab.core.knobs import KEEPALIVE_IDLE, OFFSET, PERIOD, SEED, Knob
from tcplab.widgets.base import Control, explanation, meaning, steps, title

NUMBERS = {
    f"{kind.name}-{name}": (knob, kind.defaults()[name])
    for kind in EXPERIMENTS.values()
    for name, knob in kind.knobs().items()
    if knob.kind in (int, float) and not knob.choices
}


@pytest.mark.parametrize(("knob", "default"), NUMBERS.values(), ids=NUMBERS)
def test_steps_ascend_within_the_range_and_include_what_is_set(knob, default):
    also = min(max(int(knob.low), 0) + 17, knob.high)
    made = steps(knob, default, also)
    if not made:
        assert knob.label == "seed"
        return
    assert made == sorted(set(made))
    assert default in made and also in made
    assert all(knob.low <= value <= knob.high for value in made)
    assert all(knob.check("it", value) == value for value in made)
    assert 10 <= len(made) <= 130
    if knob.low >= 0:
        assert made[0] == knob.low


def test_a_wide_range_steps_through_times_that_people_say():
    made = steps(KEEPALIVE_IDLE)
    assert made[:7] == [0, 1, 2, 3, 5, 10, 15]
    assert {60, 300, 3600, 7200} <= set(made)
    assert made[-1] == 7200


def test_a_range_around_zero_steps_both_ways():
    made = steps(OFFSET)
    assert made == [-value for value in reversed(made)]
    assert {-1, 0, 1, 100, 1000} <= set(made)


def test_a_seed_has_no_slider():
    assert steps(SEED) == []
    assert Control(SEED, 1, [], lambda value: None).kind == "number"


@pytest.mark.parametrize(
    ("knob", "value", "said"),
    [
        (KEEPALIVE_IDLE, 0, "off"), (KEEPALIVE_IDLE, 60, ""), (KEEPALIVE_IDLE, 7200, "= 2 h"),
        (PERIOD, 0, "never"), (SEED, 0, ""),
    ],
)  # fmt: skip
def test_what_a_number_means(knob, value, said):
    assert meaning(knob, value) == said


def test_titles_have_the_unit_and_explanations_the_range():
    assert title(KEEPALIVE_IDLE) == "keepalive: idle (s)"
    assert explanation(KEEPALIVE_IDLE).endswith("0 (off) to 32767 s.")


@pytest.mark.parametrize(
    ("value", "step"),
    [(0, 0), (60, 60), (61, 60), (350, 350), (7200, 7200), (32767, 7200), (99999, 7200), (-1, 0), (0.4, 0)],
)
def test_the_box_has_any_number_and_the_slider_stands_at_it_or_next_to_it(value, step):
    chosen = []
    control = Control(KEEPALIVE_IDLE, 7200, [350], chosen.append)
    before = list(control.steps)
    control.show(value)
    assert control.kind == "range" and control.value == value and control.step == step
    assert control.steps == before
    assert chosen == []


def test_moving_the_slider_or_typing_says_the_value():
    chosen = []
    control = Control(KEEPALIVE_IDLE, 7200, [], chosen.append)
    control.value = 60
    control.value = 7201
    assert chosen == [60, 7201]


def test_each_step_says_what_it_means():
    control = Control(KEEPALIVE_IDLE, 7200, [], lambda value: None)
    means = dict(zip(control.steps, control.meanings, strict=True))
    assert means[0] == "off" and means[60] == "" and means[7200] == control.meaning == "= 2 h"


def test_words_are_buttons_when_few_and_a_list_when_many():
    few = Control(Keepalive.knobs()["peer"], "offline", [], lambda value: None)
    assert few.kind == "buttons" and few.steps == ["alive", "offline", "rebooted", "moved"]
    many = Knob("many", str, choices=tuple("abcdefgh"))
    assert Control(many, "c", [], lambda value: None).kind == "list"


@pytest.mark.parametrize(
    ("knob", "value", "can"),
    [
        (KEEPALIVE_IDLE, 99999, True), (KEEPALIVE_IDLE, "abc", False), (KEEPALIVE_IDLE, True, False),
        (KEEPALIVE_IDLE, float("nan"), False), (SEED, 2.5, False), (Keepalive.knobs()["peer"], "moved", True),
        (Keepalive.knobs()["peer"], "dead", False), (RstInWindow.knobs()["sack_hole"], 1, False),
        (Keepalive.knobs()["linux"], "5.15", True), (Keepalive.knobs()["linux"], 5.15, False),
    ],
)  # fmt: skip
def test_it_knows_what_it_can_show(knob, value, can):
    start = {bool: False, str: "offline", int: 1}.get(knob.kind, 1)
    control = Control(knob, start if knob.choices or knob.kind is not str else "6.18", [], lambda value: None)
    assert control.can_show(value) is can
    if can:
        control.show(value)


@pytest.mark.parametrize("kind", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_every_knob_of_every_experiment_has_a_labelled_row_with_its_help(kind):
    for name, knob in kind.knobs().items():
        control = Control(knob, kind.defaults()[name], [], lambda value: None)
        assert control.label == title(knob) and control.kind
        assert knob.help and control.help == explanation(knob), f"{kind.name}.{name} explains nothing"
