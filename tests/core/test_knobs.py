"""Knobs and parameters: what is taken, what is refused, and the sentence that says why."""

import dataclasses
import math
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tcplab.core import knobs
from tcplab.core.knobs import (
    KEEPALIVE_IDLE,
    SYN_LINEAR_TIMEOUTS,
    Knob,
    ParameterError,
    Parameters,
    choice,
    knob,
)
from tcplab.core.releases import NEWEST
from tcplab.experiments import EXPERIMENTS

SECONDS = Knob("wait", float, "s", 0, 100, zero="off")
COUNT = Knob("how many", int, "", 1, 127)
ANY = Knob("as many as you like", int, "", 1)
ONOFF = Knob("on or off", bool)
WORD = Knob("name", str)
ENDING = choice("ending", "close", "kill")
EVERY_KNOB = {name: value for name, value in vars(knobs).items() if isinstance(value, Knob)}


@dataclass(frozen=True, kw_only=True)
class Story(Parameters):
    """Something with parameters."""

    name = "story"
    wait_s: float = knob(SECONDS, default=5)
    count: int = knob(COUNT, default=9)
    ending: str = knob(ENDING, default="close")
    linear_timeouts: int = knob(SYN_LINEAR_TIMEOUTS, default=4)
    watch_s: float = knob(knobs.WATCH, default=0)


# --- one value ---


@pytest.mark.parametrize(
    ("each", "given", "taken"),
    [
        (SECONDS, 0, 0.0),
        (SECONDS, 100, 100.0),
        (SECONDS, "0.25", 0.25),
        (SECONDS, " 7 ", 7.0),
        (COUNT, 3.0, 3),
        (COUNT, "127", 127),
        (ANY, 10**12, 10**12),
        (ONOFF, True, True),
        (ONOFF, "Yes", True),
        (ONOFF, "off", False),
        (ONOFF, "0", False),
        (ENDING, "kill", "kill"),
        (WORD, "x", "x"),
    ],
)
def test_what_is_taken_has_the_knobs_own_type(each, given, taken):
    value = each.check("it", given)
    assert value == taken and type(value) is type(taken)


@pytest.mark.parametrize(
    ("each", "given", "says"),
    [
        (SECONDS, -1, "it = -1 is out of range: 0 (off) to 100 s."),
        (SECONDS, 100.5, "it = 100.5 is out of range: 0 (off) to 100 s."),
        (SECONDS, "soon", "it = 'soon' is not a number: 0 (off) to 100 s."),
        (SECONDS, "", "it = '' is not a number: 0 (off) to 100 s."),
        (SECONDS, math.nan, "it = nan is not a number: 0 (off) to 100 s."),
        (SECONDS, math.inf, "it = inf is not a number: 0 (off) to 100 s."),
        (SECONDS, None, "it = None is not a number: 0 (off) to 100 s."),
        (SECONDS, True, "it = True is not a number: 0 (off) to 100 s."),
        (COUNT, 1.5, "it = 1.5 is not a whole number: 1 to 127."),
        (COUNT, 10**400, "it = about 10^400 is out of range: 1 to 127."),
        (ANY, -(10**4000), "it = about -10^4000 is out of range: 1 or more."),
        (COUNT, 0, "it = 0 is out of range: 1 to 127."),
        (ANY, 0, "it = 0 is out of range: 1 or more."),
        (ONOFF, 1, "it = 1 is not a boolean: use true or false."),
        (ONOFF, "perhaps", "it = 'perhaps' is not a boolean: use true or false."),
        (ENDING, "explode", "it = 'explode' is not one of close, kill."),
        (ENDING, 3, "it = 3 is not one of close, kill."),
        (WORD, 3, "it = 3 is not a word."),
    ],
)
def test_what_is_refused_is_said_in_one_sentence_with_name_value_and_range(each, given, says):
    with pytest.raises(ParameterError) as said:
        each.check("it", given)
    assert str(said.value) == says


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())))
@example(1e300)
@example(10**400)
def test_whatever_comes_is_taken_or_refused(given):
    for each in (SECONDS, COUNT, ANY, ONOFF, WORD, ENDING):
        try:
            value = each.check("it", given)
        except ParameterError as said:
            assert str(said).startswith("it = ") and str(said).endswith(".")
        else:
            assert type(value) is each.kind
            assert each.check("it", value) == value


# --- every knob that there is ---


@pytest.mark.parametrize("name", EVERY_KNOB)
def test_every_knob_makes_sense(name):
    each = EVERY_KNOB[name]
    assert each.label and each.low <= each.high
    assert each.step > 0
    if each.slider_high is not None:
        assert each.low < each.slider_high <= each.high
    if each.test_only:
        assert not (each.sysctl or each.socket_option or each.libpq), "would be shown as a setting to paste"
    if each.sysctl:
        assert each.sysctl.startswith("net.")


def test_all_that_a_dba_can_set_has_help_and_a_name_to_set_it_by():
    real = {name: each for name, each in EVERY_KNOB.items() if not each.test_only}
    assert [name for name, each in real.items() if not each.help.endswith(".")] == []
    nameless = [name for name, each in real.items() if not (each.sysctl or each.socket_option)]
    assert nameless == []


def test_units_of_the_settings():
    """tcp(7): TCP_USER_TIMEOUT counts milliseconds, the keepalive times seconds; so does libpq."""
    for each, factor in ((knobs.USER_TIMEOUT, 1000), (KEEPALIVE_IDLE, 1), (knobs.KEEPALIVE_INTERVAL, 1)):
        assert (each.unit, each.socket_factor, each.libpq_factor) == ("s", factor, factor)
    assert KEEPALIVE_IDLE.libpq == "keepalives_idle"
    assert KEEPALIVE_IDLE.sysctl == "net.ipv4.tcp_keepalive_time"


# --- parameters together ---


def test_what_belongs_to_the_story_comes_first():
    own, common = ["wait_s", "count", "ending", "linear_timeouts"], ["latency_ms", "linux", "seed", "watch_s"]
    assert list(Story.knobs()) == own + common
    assert list(Story().values()) == list(Story.knobs())


def test_defaults():
    assert Story.defaults() == Story().values()
    assert (Story().linux, Story().latency_ms, Story().seed) == (NEWEST, 1, 1)


def test_from_texts_as_a_command_line_has_them():
    story = Story.from_values({"wait_s": "2.5", "count": "3", "ending": "kill", "linux": "5.14"})
    assert (story.wait_s, story.count, story.ending, story.linux) == (2.5, 3, "kill", "5.14")


def test_a_wrong_one_cannot_exist():
    with pytest.raises(ParameterError, match=r"wait_s = 101 is out of range"):
        Story(wait_s=101)
    with pytest.raises(ParameterError, match=r"count = 0 is out of range"):
        Story().with_values(count=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Story().wait_s = 7


def test_a_name_that_is_not_there():
    with pytest.raises(ParameterError, match=r"story has no parameter 'wait'; it has wait_s, count, ending"):
        Story.from_values({"wait": 3})


@pytest.mark.parametrize(("linux", "says"), [("2.6", "older than 3.10"), ("big", "not a Linux version")])
def test_a_linux_that_is_not_known(linux, says):
    with pytest.raises(ParameterError, match=f"linux = '{linux}': {says}"):
        Story(linux=linux)


def test_with_values_changes_only_those():
    story = Story(wait_s=3).with_values(count=4)
    assert (story.wait_s, story.count) == (3, 4)
    assert story == Story(wait_s=3, count=4) and hash(story) == hash(Story(wait_s=3, count=4))


def test_a_knob_that_this_linux_lacks_is_named_when_it_was_turned():
    assert Story(linux="4.18").ignored_by_release() == []
    assert Story(linear_timeouts=2).ignored_by_release() == []
    (sentence,) = Story(linux="4.18", linear_timeouts=2).ignored_by_release()
    assert sentence == (
        "linear_timeouts is ignored: Linux 4.18 has no net.ipv4.tcp_syn_linear_timeouts, which came with 6.5."
    )


# --- the experiments' own declarations ---


@pytest.mark.parametrize("kind", EXPERIMENTS.values(), ids=lambda kind: kind.name)
def test_experiments_declare_what_they_promise(kind):
    assert kind.title and kind.lesson and kind.pictures
    assert 3 <= len(kind.controls) <= 6 and set(kind.controls) <= kind.knobs().keys()
    for values in ({}, kind.quick, *kind.presets.values()):
        assert kind.from_values(values).values() == {**kind.defaults(), **values}
    for name, each in kind.knobs().items():
        assert each.help.endswith("."), f"{name} has no help"
        unit = {"s": "s", "ms": "ms"}.get(name.rpartition("_")[2])
        assert unit is None or each.unit == unit, f"{name} counts {each.unit}"
