"""A lesson's cells: what opens when, flags, goals with what they hold, proofs, tables to copy."""

import json
import math

import pytest

from tcplab import ClientGone, IdleFirewall, Keepalive, SlowReader, open_lesson, recording
from tcplab.bench.agreement import judge
from tcplab.lesson import progress, start_again
from tcplab.lesson.question import WAITING
from tcplab.widgets.lesson import proof_line


@pytest.fixture(name="here")
def here_fixture(tmp_path, monkeypatch):
    """Lesson 03 with a file of its own for what is answered."""
    monkeypatch.setenv(progress.SWITCH, str(tmp_path / "progress.json"))
    progress.store.cache_clear()
    yield open_lesson("03")
    progress.store.cache_clear()


def opened(here, answer="60", **options):
    """An explorer behind an answered question, and its list of goals."""
    question = here.ask("power_cut")
    waiting = here.explore(Keepalive, **options)
    question.answer = answer
    question.check()
    explorer = waiting.thing
    return explorer, explorer.beside.children[0]


def test_what_waits_opens_with_the_question_asked_last(here):
    question = here.ask("power_cut")
    cells = [here.explore(Keepalive), here.replay("redis_offline"), here.proof("lesson_cable_out_idle")]
    assert [WAITING in repr(cell) for cell in cells[:2]] == [True, True]
    assert "open this after" in cells[2]._repr_html_() and "<details open" not in cells[2]._repr_html_()
    question.answer = "5"
    question.check()
    assert [WAITING in repr(cell) for cell in cells[:2]] == [False, False]
    assert "<details open" in cells[2]._repr_html_()


def test_a_recording_explains_the_question_that_it_follows(here):
    question = here.ask("power_cut")
    waiting = here.replay("redis_offline")
    assert "7875 s, or 2 h" not in waiting._repr_html_()
    question.answer = "5"
    question.check()
    assert "<b>Why.</b>" in waiting._repr_html_() and "7875 s, or 2 h" in waiting._repr_html_()


def test_a_cell_can_wait_for_another_question(here):
    here.ask("power_cut")
    waiting = here.explore(Keepalive, after="second_probe")
    assert waiting.question is here._question("second_probe") and waiting.thing is None


def test_the_first_run_is_kept_and_the_first_turn_is_compared(here):
    explorer, _ = opened(here)
    assert [trace.parameters["idle_s"] for trace in explorer.kept] == [7200] and explorer.compared == ""
    explorer.set(idle_s=60)
    assert "instead of" in explorer.compared or explorer.compared


def test_a_run_beside_it_is_kept_before_it(here):
    explorer, _ = opened(here, idle_s=5, interval_s=1, probes=3, unacked=True, beside={"unacked": False})
    assert [trace.parameters["unacked"] for trace in explorer.kept] == [False, True]
    assert explorer.values["unacked"] and "instead of" in explorer.compared
    explorer.set(unacked=False, idle_s=9)
    start_again()
    assert [trace.parameters["unacked"] for trace in explorer.kept] == [False, True]
    assert explorer.values["unacked"] and explorer.values["idle_s"] == 5


def test_the_guess_is_a_flag_on_the_axis(here):
    explorer, _ = opened(here)
    assert explorer.guess_s == 60 and "your guess: 60 s" in explorer.timeline._repr_html_()
    question = here._question("power_cut")
    question.answer = "never"
    question.check()
    assert explorer.guess_s == math.inf and "your guess: never →" in explorer.timeline._repr_html_()
    question.start_again()


def test_the_why_comes_with_the_first_turn(here):
    explorer, goals = opened(here, "2 h 11 min 15 s")
    because = here._question("power_cut").because
    assert because not in here._question("power_cut").feedback.text and "7875 s" not in goals._why.value
    explorer.set(idle_s=60)
    assert "7875 s" in goals._why.value


def test_a_goal_holds_what_is_not_the_learners_to_change(here):
    explorer, goals = opened(here, goals=["five_minutes", "reset", "forever"])
    held = {name for name, control in explorer.controls.items() if control.held}
    assert held == {"peer"} and goals.tried.name == "five_minutes"
    goals.attempt(goals.goals[1])
    assert {name for name, control in explorer.controls.items() if control.held} == {
        "idle_s", "interval_s", "probes",
    }  # fmt: skip
    goals.attempt(goals.goals[1])
    assert goals.tried is None and not any(control.held for control in explorer.controls.values())


def test_reset_and_presets_keep_what_is_held(here):
    explorer, _ = opened(here, goals=["five_minutes"])
    explorer.use("redis-cli 15/5/3")
    explorer.reset()
    assert explorer.values["peer"] == "offline"


def test_a_goal_is_ticked_and_stays_so_tomorrow(here, tmp_path):
    explorer, goals = opened(here, goals=["five_minutes", "reset"])
    assert goals.reached == frozenset()
    explorer.set(idle_s=60, interval_s=75)
    assert goals.reached == frozenset() and "far apart" in goals.about()
    explorer.set(interval_s=10, probes=6)
    assert goals.reached == {"five_minutes"} and goals.about().startswith("✔ Reached.")
    kept = json.loads((tmp_path / "progress.json").read_text("utf-8"))["lessons"]["keepalive"]["goals"]
    assert list(kept) == ["five_minutes"]
    progress.store.cache_clear()
    _, goals = opened(open_lesson("keepalive"), goals=["five_minutes", "reset"])
    assert goals.reached == {"five_minutes"} and "✔" in goals.still()


def test_start_again_opens_the_goals(here):
    explorer, goals = opened(here, goals=["five_minutes"])
    explorer.set(idle_s=60, interval_s=10, probes=6)
    start_again()
    assert goals.reached == frozenset() and explorer.values["idle_s"] == 7200


def test_an_unknown_goal_question_or_lesson_is_one_sentence(here):
    with pytest.raises(LookupError, match="has no question 'nothing'"):
        here.ask("nothing")
    here.ask("power_cut").solution()
    with pytest.raises(LookupError, match="no goal 'nothing'; it has five_minutes"):
        here.explore(Keepalive, goals=["nothing"]).thing  # noqa: B018
    with pytest.raises(LookupError, match="no lesson '99'; there are 00, 01"):
        open_lesson("99")


def test_tabs_are_folded_and_filled_when_they_are_opened(here):
    explorer, _ = opened(here)
    assert not explorer.details.opened and explorer.figure is None
    explorer.details.opened = True
    assert explorer.figure is not None
    explorer, _ = opened(here, opened=True)
    assert explorer.details.opened and explorer.figure is not None


def test_a_proof_line_is_computed():
    linux = recording("lesson_cable_out_idle")
    agreement = judge(Keepalive.from_values(linux.parameters), linux)[0]
    line = proof_line(agreement, linux, "5/1/3")
    assert line.startswith("**Linux 6.18, 5/1/3:** the same 8 packets, the same ETIMEDOUT, at most 0.2")
    other = judge(Keepalive.from_values({**linux.parameters, "idle_s": 9}), linux)[0]
    assert "differ" in proof_line(other, linux)


def test_the_fold_has_both_runs_what_the_article_says_and_where_it_comes_from(here):
    shown = here.proof("lesson_cable_out_idle", "redis_offline", after="power_cut")._repr_html_()
    for part in (
        "<svg",
        "The article says",
        "tcp_keepalive_timer",
        "Packet by packet",
        "redis-cli 7.0, 15/5/3",
    ):
        assert part in shown, part


def test_rows_to_recognise_and_lines_to_copy(here):
    rows, lines = here.recognise(), here.fix()
    assert "timer:(keepalive,119min,0)" in rows.html and "no timer" not in lines.sentence
    assert lines._repr_html_().count('class="tcplab-copied"') == 4
    assert "tcp_keepalives_idle = 60" in repr(lines) and "shortest idle timeout" in repr(lines)


def test_resets_stand_on_one_axis_after_the_prediction(here):
    lesson = open_lesson("13")
    question = lesson.ask("stale")
    shown = lesson.resets("lesson_reject_stale", "rst_in_window")
    assert "open this after" in shown._repr_html_() and "<details open" not in shown._repr_html_()
    question.answer = "c"
    question.check()
    assert "<details open" in shown._repr_html_() and "one byte past" in shown._repr_html_()
    question.start_again()


def test_more_is_made_when_it_is_opened(here):
    made = []
    more = here.more("Something else", lambda: made.append(1) or IdleFirewall.title)
    fold = more.widget()
    assert made == []
    fold.opened = True
    fold.opened = False
    fold.opened = True
    assert made == [1]


def test_controls_that_a_goal_needs_are_shown():
    lesson = open_lesson("05")
    lesson.ask("killed").solution()
    settings = {"keepalive_idle_s": 7200, "keepalive_interval_s": 75, "keepalive_probes": 9, "query_s": 600}
    for goals in ([], ["killed_15"]):
        explorer = lesson.explore(ClientGone, how="kill", goals=goals, **settings).thing
        shown = explorer.children[3].children
        assert (explorer.controls["check_interval_s"] in shown) == bool(goals)


def test_the_bar_says_what_is_done(here):
    bar = here.widget()
    assert repr(here) == "Lesson 03: 0 of 5 predictions made, 0 of 8 goals reached."
    explorer, _ = opened(here, goals=["five_minutes"])
    explorer.set(idle_s=60, interval_s=10, probes=6)
    assert "1 of 5 predictions made, 1 of 8 goals reached" in bar.children[0].value
    bar.children[1].click()
    assert "0 of 5 predictions made, 0 of 8 goals reached" in bar.children[0].value


def test_a_topology_waits_only_for_the_question_that_is_named(here):
    lesson = open_lesson("15")
    question = lesson.ask("one_lost")
    assert "Nothing pasted yet" in lesson.topology().sentence
    waiting = lesson.topology("keepalive 300 before a box of 350", after="one_lost")
    assert WAITING in repr(waiting)
    question.answer = "375"
    question.check()
    assert "AWS Network Firewall" in waiting.thing.sentence
    question.start_again()
    assert "'nothing' is not a worked topology" in lesson.topology("nothing").sentence


def test_words_that_a_goal_needs_can_be_chosen():
    lesson = open_lesson("06")
    lesson.ask("user_timeout").solution()
    explorer = lesson.explore(SlowReader, user_timeout_s=10, goals=["which_kernel"]).thing
    assert {"5.10.10", "5.10.11", "6.18"} <= set(explorer.controls["linux"].steps)


def test_both_legs_of_a_recorded_proxy_are_a_proof():
    lesson = open_lesson("07")
    lesson.ask("silent_report").solution()
    shown = lesson.proof("proxy_timeout_server")._repr_html_()
    assert "<svg" in shown and "proxy" in shown and "HAProxy 2.6" in shown
