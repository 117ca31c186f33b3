"""What an experiment says of controls that change nothing, held against the model, setting by setting."""

import random
from dataclasses import replace

import pytest

from tcplab import EXPERIMENTS, STUDIES
from tcplab.bench import run
from tcplab.core.knobs import ParameterError, idle
from tcplab.pictures.timeline import read_timeline
from tcplab.widgets.base import steps

STORIES = EXPERIMENTS | STUDIES
#: Runs of a study take long.
DRAWN = {name: 4 if name in STUDIES else 25 for name in STORIES}
VALUES = {name: 1 if name in STUDIES else 4 for name in STORIES}


def seen(kind, values):
    """All that a learner sees of a run: its outcome, its curves and its timeline."""
    trace = run(kind.from_values(values))
    return dict(trace.outcome), dict(trace.series), replace(read_timeline(trace), parameters={}, sentence="")


def others(knob, value, many):
    """Values that one may turn a knob to."""
    if knob.kind is bool:
        return [not value]
    if knob.choices:
        return [each for each in knob.choices if each != value]
    offered = [each for each in steps(knob, value) or [1, 2, 3] if each != value]
    return offered[:: max(1, len(offered) // many)][:many] + offered[-1:]


def settings(kind):
    """The presets of a story, and others drawn from what model and Linux are compared with."""
    chance = random.Random(kind.name)
    drawn = [
        {**kind.quick, **{name: chance.choice(values) for name, values in kind.sampled.items()}}
        for _ in range(DRAWN[kind.name])
    ]
    lowest = [
        {name: max(knob.low, 0)}
        for name, knob in kind.knobs().items()
        if knob.kind in (int, float) and not knob.choices and kind.name in EXPERIMENTS
    ]
    return [kind.defaults() | chosen for chosen in [*kind.presets.values(), *drawn, *lowest]]


@pytest.mark.parametrize("kind", STORIES.values(), ids=STORIES)
def test_a_control_that_is_said_to_do_nothing_does_nothing(kind):
    tried = 0
    for values in settings(kind):
        try:
            said = kind.from_values(values).idle_controls()
        except ParameterError:
            continue
        assert all(why.endswith(".") for why in said.values())
        before = seen(kind, values) if said else None
        for name in said:
            for value in others(kind.knobs()[name], values[name], VALUES[kind.name]):
                try:
                    after = seen(kind, values | {name: value})
                except ParameterError:  # nor can it be turned
                    continue
                tried += 1
                assert after == before, f"{name} = {value} with {values}"
    assert tried or kind.idle_controls is kind.__base__.idle_controls


@pytest.mark.parametrize("kind", STORIES.values(), ids=STORIES)
def test_every_control_that_comes_first_changes_what_is_seen(kind):
    values = kind.defaults()
    first = [name for name in kind.controls if name not in kind().idle_controls()]
    if kind.name == "time_wait":  # the shortest pause, which the other defaults are about
        values["wait_s"] = 1.3
        # tcp_fin_timeout changes nothing, which its sentence says once it is turned.
        first = [name for name in kind.controls if name not in ("timestamps", "fin_timeout_s")]
    before = seen(kind, values)
    assert len(first) >= 3
    for name in first:
        after = []
        for value in others(kind.knobs()[name], values[name], 3):
            try:
                after.append(seen(kind, values | {name: value}))
            except ParameterError:
                continue
        assert any(each != before for each in after), name


def test_the_first_reason_counts():
    assert idle((True, "a b", "one."), (False, "c", "no."), (1, "b", "two.")) == {"a": "one.", "b": "one."}
