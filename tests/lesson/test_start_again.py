"""Beginning a lesson anew: questions, what waits behind them, explorers and hints."""

from weakref import WeakSet

import ipywidgets as widgets
import pytest

from tcplab import Keepalive, explore
from tcplab.lesson import after, ask, predict_choice, predict_number, reveal, start_again
from tcplab.lesson import question as question_module
from tcplab.lesson.question import WAITING


@pytest.fixture(autouse=True)
def nothing_left_over(monkeypatch):
    """What other tests have made, such as explorers that would all be run again."""
    monkeypatch.setattr(question_module, "remembered", WeakSet())


@pytest.fixture
def question():
    return predict_number(
        "How long?", right=90, unit="s", because="60 + 3 × 10.", hints=["Add.", "Mind the 60."]
    )


def feedback(question):
    return question.widget().children[3].value


def test_an_answered_question_is_untouched_again(question):
    question.widget()
    question.answer = "30 s"
    question.widget().children[2].children[0].click()  # Check
    assert "30 s" in feedback(question) and question.committed
    start_again()
    assert question.answer is None and not question.committed
    assert feedback(question) == "" and question.widget().children[1].value == ""
    assert question.check().outcome == "not attempted"


def test_a_choice_loses_its_mark_and_hints_begin_with_the_first():
    choice = predict_choice("?", {"yes": "", "no": "it isn't"}, right="yes", hints=["one", "two"])
    choice.widget()
    choice.answer = "no"
    assert "one" in choice.hint().text
    start_again()
    assert choice.widget().children[1].value is None
    assert "one" in choice.hint().text


def test_what_waits_closes_and_is_made_anew(question):
    made = []

    def make():
        made.append(explore(Keepalive, idle_s=60))
        return made[-1]

    waiting = after(question, make)
    place = waiting.widget()
    question.solution()
    assert place.children == (made[0],)
    made[0].set(idle_s=5)
    start_again()
    assert WAITING in place.children[0].value and waiting.thing is None and repr(waiting) == WAITING
    question.answer = 90
    question.check()
    assert place.children == (made[1],) and made[1].values["idle_s"] == 60
    assert made[0].comm is None  # closed: nothing piles up
    assert len(made) == 2


def test_a_fact_folds_and_unfolds_again(question):
    fact = reveal(question, "It takes 90 s.")
    place = fact.widget()
    for _ in range(2):
        assert "<details>" in place.value
        question.solution()
        assert "<details open>" in place.value
        start_again()
    assert "<details>" in place.value


def test_an_explorer_that_waits_for_nobody_goes_back_to_its_beginning():
    explorer = explore(Keepalive, idle_s=60, interval_s=10, probes=3)
    explorer.set(idle_s=5)
    explorer.tabs.selected_index = 1
    start_again()
    assert explorer.values["idle_s"] == 60 and "90" in explorer.sentence
    assert explorer.tabs.selected_index == 0


def test_watching_after_a_commit_is_told_at_once_and_at_the_next(question):
    told = []
    question.solution()
    question.when_committed(lambda: told.append("open"))
    question.solution()
    assert told == ["open"]
    start_again()
    question.solution()
    assert told == ["open", "open"]


def test_it_leaves_what_other_questions_never_had(question):
    other = ask("keepalive", "second_probe")
    start_again()
    assert "untouched" not in repr(other) and other.answer is None
    assert "is reset" in repr(start_again())


def test_closing_reaches_everything_inside(question):
    inner = widgets.HTML("deep")
    box = widgets.VBox([widgets.HBox([inner])])
    waiting = after(question, lambda: box)
    waiting.widget()
    question.solution()
    start_again()
    assert inner.comm is None
