"""Several cases of an experiment under one set of controls: bars, numbers over all of them, goals."""

from math import inf

import pytest

from tcplab import ClientGone, open_lesson, run
from tcplab.lesson import progress
from tcplab.widgets.cases import Cases, cases_of, outcome_of

ROWS, COLUMNS = {"how": ["kill", "vanish"]}, {"session": ["running", "idle_in_transaction", "sending"]}
DEFAULTS = {"keepalive_idle_s": 7200, "keepalive_interval_s": 75, "keepalive_probes": 9, "query_s": 3600}
ALL_THREE = {
    "keepalive_idle_s": 60, "keepalive_interval_s": 10, "keepalive_probes": 6, "check_interval_s": 10,
    "user_timeout_s": 120,
}  # fmt: skip


@pytest.fixture(name="cases")
def cases_fixture(tmp_path, monkeypatch):
    """Six cases, with a file of its own for what is kept."""
    monkeypatch.setenv(progress.SWITCH, str(tmp_path / "progress.json"))
    progress.store.cache_clear()
    yield Cases(ClientGone, ROWS, COLUMNS, {"user_timeout_s": []}, **DEFAULTS)
    progress.store.cache_clear()


def lanes(cases):
    """Name and end of every bar."""
    return [(lane.name, lane.spans[0].to_s) for lane in cases.timeline.picture.lanes]


def test_each_case_has_a_bar_as_long_as_its_run(cases):
    names = [name for name, _ in lanes(cases)]
    assert names[0] == "kill, running" and names[-1] == "vanish, sending" and len(names) == 6
    for (name, ends), (how, session) in zip(
        lanes(cases), [(h, s) for h in ROWS["how"] for s in COLUMNS["session"]], strict=True
    ):
        alone = run(ClientGone(how=how, session=session, **DEFAULTS)).outcome["lock_held_s"]
        assert ends == pytest.approx(alone, abs=0.01), name


def test_numbers_of_all_cases_have_names_of_their_own(cases):
    assert cases.outcome["lock_held_s of kill running"] == 3600
    assert cases.outcome["largest lock_held_s"] == cases.outcome["lock_held_s of vanish idle_in_transaction"]
    assert "“vanish, idle in transaction”: 2 h 11 min 15 s" in cases.sentence


def test_what_never_ends_is_infinite_and_said_so():
    never = Cases(ClientGone, ROWS, {"session": ["idle_in_transaction"]}, keepalive_idle_s=0)
    assert never.outcome["largest lock_held_s"] == inf and "never" in never.sentence
    assert dict(lanes(never))["vanish, idle in transaction"] == never.timeline.picture.now.to_s
    traces = {"a": run(ClientGone(how="kill")), "b": run(ClientGone(session="idle_in_transaction"))}
    assert outcome_of(traces)["largest lock_held_s"] == inf


def test_the_first_run_stays_in_grey_and_a_turn_is_compared(cases):
    assert [dict(kept.parameters)["keepalive_idle_s"] for kept in cases.kept] == [7200]
    cases.set(**ALL_THREE)
    assert cases.compared == "all over after 2 min instead of 2 h 11 min 15 s"
    picture = cases.timeline.picture
    assert len(picture.kept) == 1 and not picture.drawing().overlaps()
    assert (0, "kill running") in picture.changed and (0, "kill sending") not in picture.changed
    assert "kept: 1 h: 0 s to 1 h" in picture.svg()
    cases.reset()
    assert not cases.timeline.picture.kept


def test_the_sides_have_no_control_and_no_preset_sets_them(cases):
    shown = {control for part in cases.children for control in getattr(part, "children", ())}
    assert cases.controls["how"] not in shown and cases.controls["user_timeout_s"] in shown
    assert not cases._presets


def test_a_wrong_value_is_one_sentence_and_leaves_no_numbers(cases):
    cases.set(keepalive_probes=0)
    assert cases.error and cases.outcome == {} and "Traceback" not in cases.sentence
    cases.set(keepalive_probes=9)
    assert not cases.error and cases.outcome


def test_pictures_ahead_are_those_of_the_turn(cases):
    ahead = cases._frame_ahead("check_interval_s", 10)
    cases.set(check_interval_s=10)
    assert ahead.picture.now == cases.timeline.picture.now
    assert cases._frame_ahead("keepalive_probes", 0) is None


def test_a_side_is_one_parameter_with_values():
    assert list(cases_of({"a": [1, 2]}, {"b": ["x"]})) == ["1 x", "2 x"]
    for wrong in ({}, {"a": []}, {"a": [1], "b": [2]}):
        with pytest.raises(ValueError, match=r"rows = .* is not one parameter with its values\.$"):
            cases_of(wrong, {"b": [1]})


def test_a_goal_must_hold_in_every_case(cases):
    here = open_lesson("05")
    here.ask("rows_in_flight").solution()
    bars = here.cases(ClientGone, ROWS, COLUMNS, goals=["all_six"], **DEFAULTS).thing
    goals = bars.beside.children[0]
    bars.set(**{**ALL_THREE, "user_timeout_s": 0})
    assert not goals.reached and "rows in flight" in goals.about()
    bars.set(user_timeout_s=120)
    assert goals.reached == {"all_six"} and goals.about().startswith("✔ Reached.")
