"""The questions of the notebooks, as they stand in their files."""

import re
from pathlib import Path

import pytest

import tcplab.lesson
from tcplab.lesson import ask
from tcplab.lesson.course import lessons
from tcplab.lesson.question import ChoiceQuestion, tables

LESSONS = sorted(path.stem for path in Path(tcplab.lesson.__file__).with_name("questions").glob("*.toml"))
ALL = [(lesson, name) for lesson in LESSONS for name in tables(lesson)]


def test_every_file_belongs_to_a_lesson_that_exists():
    assert LESSONS
    for lesson in LESSONS:
        assert lessons()[lesson].ready
        assert len(tables(lesson)) >= 3


@pytest.mark.parametrize("lesson, name", ALL)
def test_every_question_is_complete(lesson, name):
    question = ask(lesson, name)
    assert question.text.endswith("?")
    assert question.because.endswith(".")
    assert question.hints
    if isinstance(question, ChoiceQuestion):
        assert 3 <= len(question.options) <= 5
        assert all(says.endswith(".") for says in question.options.values())
    else:
        assert question.common
        assert question.right not in question.common


@pytest.mark.parametrize("lesson, name", ALL)
def test_no_question_gives_its_own_answer_away(lesson, name):
    question = ask(lesson, name)
    shown = repr(question) + question._repr_html_() + question.widget().children[0].value
    assert question.because not in shown
    if not isinstance(question, ChoiceQuestion):
        assert not re.search(rf"\b{question.right:g}\b", question.text)


def test_a_question_is_fresh_each_time():
    first = ask("fin_or_rst", "next_send")
    first.answer = "a"
    first.check()
    again = ask("fin_or_rst", "next_send")
    assert again.answer is None and not again.committed


def test_a_question_that_does_not_exist_is_named():
    with pytest.raises(
        LookupError, match=r"lesson fin_or_rst has no question 'nope'; it has next_send, unread"
    ):
        ask("fin_or_rst", "nope")
    with pytest.raises(LookupError, match=r"no questions for a lesson 'nope': there is no nope.toml"):
        ask("nope", "x")
