"""The short tests: complete, parallel, silent until they are handed in, and fair to every answer."""

import re

import pytest

from tcplab.lesson import quiz, start_again
from tcplab.lesson.course import lessons
from tcplab.lesson.quiz import FORMS
from tcplab.lesson.tables import to_plain

#: The right letters, found out anew by reading the questions.
REFERENCE = {"entry": "bbcab", "before": "bbcccabdcacadbc", "after": "dccbcbdcacbdacb"}


def others(sheet):
    """For each question a letter that is wrong."""
    return "".join(
        next(letter for letter, label in question.lettered() if label != question.right)
        for question in sheet.questions
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_reference_answers_are_right(form):
    sheet = quiz(form)
    sheet.answer(REFERENCE[form])
    of = len(sheet.questions)
    assert sheet.right == [True] * of
    assert f"{of} of {of}" in repr(sheet.hand_in())


@pytest.mark.parametrize("form", FORMS)
def test_wrong_answers_lead_to_their_lesson_and_only_before_keeps_the_reason(form):
    sheet = quiz(form)
    sheet.answer(others(sheet))
    said = repr(sheet.hand_in())
    assert f"0 of {len(sheet.questions)}." in said
    for name, question in zip(sheet.lessons, sheet.questions, strict=True):
        assert f"Lesson {lessons()[name].number}, {lessons()[name].title}." in said
        assert (to_plain(question.because) in said) == FORMS[form]


@pytest.mark.parametrize("form", FORMS)
def test_nothing_of_the_answers_is_shown_before(form):
    sheet = quiz(form)
    bundle = sheet._repr_mimebundle_()
    values = [str(getattr(child, "value", "")) for child in sheet.widget().children]
    shown = bundle["text/html"] + bundle["text/plain"] + " ".join(values)
    for question in sheet.questions:
        assert question.because not in shown
        assert to_plain(question.text) in bundle["text/plain"]
    assert "not answered" in repr(sheet.hand_in())


def test_before_and_after_are_parallel():
    before, after = quiz("before"), quiz("after")
    assert before.lessons == after.lessons
    assert set(before.lessons) == {name for name in lessons() if name != "start_here"}
    assert not {question.text for question in before.questions} & {q.text for q in after.questions}


def test_the_right_answer_is_not_always_the_same_letter():
    for form, letters in REFERENCE.items():
        assert len(set(letters)) >= 3, form


def test_the_entry_test_decides_about_lesson_01():
    sheet = quiz("entry")
    sheet.answer(REFERENCE["entry"])
    assert "Skip lesson 01." in repr(sheet.hand_in())
    sheet.answer("-" + REFERENCE["entry"][1:])
    said = repr(sheet.hand_in())
    assert "4 of 5 (1 not answered)" in said and "Begin with lesson 01." in said


def test_buttons_hand_in_and_a_new_beginning_clears_the_sheet():
    sheet = quiz("before")
    *_, button, result, _ = sheet.widget().children
    sheet.widget().children[1].index = 1
    button.click()
    assert "1 of 15" in result.value and sheet.questions[0].chosen() is not None
    start_again()
    assert result.value == "" and sheet.answered == 0 and sheet.widget().children[1].value is None


def test_scores_are_kept_one_a_line(tmp_path):
    file = tmp_path / "my_scores.csv"
    for form in ("before", "after"):
        sheet = quiz(form)
        sheet.answer(REFERENCE[form])
        sheet.keep(file)
    head, first, second = file.read_text(encoding="utf-8").splitlines()
    assert head == "date,form,right,of"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d,before,15,15", first) and second.endswith(",after,15,15")


def test_an_unknown_form_is_one_sentence():
    with pytest.raises(LookupError, match="form = 'final' is not one of the tests: entry, before, after"):
        quiz("final")
