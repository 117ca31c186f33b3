"""Predictions: right, close, wrong and untouched answers, hints, solutions."""

import math

import pytest

from tcplab.lesson import predict_choice, predict_number
from tcplab.lesson.question import with_unit


def how_long(**changes):
    values = {
        "right": 929,
        "unit": "s",
        "because": "Data in flight belongs to the retransmission timer.",
        "hints": ["Is anything unacknowledged?", "Look up tcp_retries2."],
        "common": {8: "8 s is what keepalive would take on an idle connection."},
    }
    return predict_number("How long?", **{**values, **changes})


def which():
    return predict_choice(
        "Its next send()?",
        {"It fails": "The error comes one call later.", "`send()` succeeds": "And it draws a RST."},
        right="`send()` succeeds",
        because="Linux only copies bytes.",
    )


@pytest.mark.parametrize("answer", [929, "929", " 929 s", "15 min 29 s", "0 h 15 min 29 sec", 900, "0.258 h"])
def test_a_right_number_is_right_in_any_form(answer):
    question = how_long()
    question.answer = answer
    feedback = question.check()
    assert feedback.right, feedback
    assert "retransmission timer" in feedback.text


@pytest.mark.parametrize(
    "answer, outcome, words",
    [
        (8, "wrong", "8 s is what keepalive"),
        ("8s", "wrong", "8 s is what keepalive"),
        (800, "close", "You said **800 s (13 min 20 s)**: too short by 14%"),
        (60, "wrong", "too short. The right value is about 15 times as long"),
        (9290, "wrong", "about 10 times too long"),
        (0, "wrong", "too short"),
        (-3, "wrong", "too short"),
        ("never", "wrong", "It does end."),
    ],
)
def test_a_wrong_number_is_told_how_far_off_it_is(answer, outcome, words):
    question = how_long()
    question.answer = answer
    feedback = question.check()
    assert (feedback.outcome, feedback.right) == (outcome, False)
    assert words in feedback.text
    assert question.committed


def test_a_wrong_answer_never_gives_the_truth_away():
    for answer in (8, 60, 800, 9290, "never"):
        question = how_long()
        question.answer = answer
        assert "929" not in question.check().text


@pytest.mark.parametrize("answer", [None, "", "   "])
def test_an_untouched_question_is_not_attempted(answer):
    for question in (how_long(), which()):
        question.answer = answer
        feedback = question.check()
        assert feedback.outcome == "not attempted"
        assert not feedback.attempted and not question.committed


@pytest.mark.parametrize("answer", ["soon", "12 parsecs", "1 2", "3 min 4", object(), [], math.nan, True])
def test_what_is_no_number_is_said_so_and_commits_nothing(answer):
    question = how_long()
    question.answer = answer
    feedback = question.check()
    assert feedback.outcome == "unclear"
    assert "can't be read as a number" in feedback.text
    assert not question.committed


def test_never_can_be_the_truth():
    question = how_long(right=math.inf, common={7200: "That takes SO_KEEPALIVE, which is off."})
    for answer, right, words in (
        ("never", True, "You said **never**"),
        (7200, False, "SO_KEEPALIVE"),
        (60, False, "No number"),
    ):
        question.answer = answer
        assert question.check().right is right
        assert words in question.check().text
    assert question.solution().text.startswith("**Never.**")


def test_small_counts_are_exact_and_zero_can_be_right():
    ports = predict_number("How many?", right=3, unit="segments", because="Three.")
    ports.answer = 4
    assert ports.check().outcome == "close"
    ports.answer = "3 segments"
    assert ports.check().right
    nothing = predict_number("How many?", right=0, because="None.")
    nothing.answer = 5
    assert nothing.check().outcome == "wrong"
    nothing.answer = 0
    assert nothing.check().right


@pytest.mark.parametrize("answer", ["b", "B", "b)", "`send()` succeeds", "`SEND()` succeeds"])
def test_a_choice_is_taken_by_letter_or_by_label(answer):
    question = which()
    question.answer = answer
    feedback = question.check()
    assert feedback.right
    assert feedback.text == "You said: **`send()` succeeds**. And it draws a RST. Linux only copies bytes."


def test_a_wrong_choice_gets_its_own_explanation():
    question = which()
    question.answer = "a"
    assert question.check().outcome == "wrong"
    assert "one call later" in question.check().text


@pytest.mark.parametrize("answer", ["c", "maybe", 7])
def test_a_choice_that_does_not_exist_is_said_so(answer):
    question = which()
    question.answer = answer
    assert question.check().outcome == "unclear"
    assert "`a`, `b`" in question.check().text


def test_a_question_whose_right_answer_is_no_option_cannot_be_made():
    with pytest.raises(ValueError, match=r"right = 'c' is not one of the options: a, b\."):
        predict_choice("?", {"a": "", "b": ""}, right="c")


def test_hints_come_one_at_a_time_and_begin_again():
    question = how_long()
    assert [question.hint().text for _ in range(3)] == [
        "(1 of 2) Is anything unacknowledged?",
        "(2 of 2) Look up tcp_retries2.",
        "(1 of 2) Is anything unacknowledged?",
    ]
    assert not question.committed
    assert "no hint" in how_long(hints=()).hint().text


def test_the_solution_tells_all_and_counts_as_commitment():
    question = how_long()
    assert question.solution().text.startswith("**929 s (15 min 29 s).** Data in flight")
    assert question.committed


def test_feedback_reads_in_a_terminal_and_in_a_notebook():
    question = how_long()
    question.answer = 8
    feedback = question.check()
    assert repr(feedback) == "✘ Not so. You said 8 s. 8 s is what keepalive would take on an idle connection."
    assert "<b>✘ Not so.</b>" in feedback._repr_html_()


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", "`<img src=x>`", "**<b>**", "&lt;"])
def test_what_a_learner_types_never_becomes_html(evil):
    for question in (how_long(), which()):
        question.answer = evil
        page = question.check()._repr_html_()
        for tag in ("<script", "<img", "<b><b>"):
            assert tag not in page


def test_a_question_reads_without_widgets():
    assert repr(which()) == (
        "Question: Its next send()?\na) It fails\nb) `send()` succeeds\n"
        "Run this cell to get buttons to choose with."
    )
    bundle = how_long()._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"].startswith("Question: How long?")
    assert "How long?" in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_a_usual_mistake_close_to_the_truth_is_still_told_apart():
    question = how_long(right=131, common={127: "That was before Linux 6.5."}, tolerance=0.035)
    for answer, outcome in ((131, "right"), (134, "right"), (127, "wrong"), (127.5, "wrong"), (110, "close")):
        question.answer = answer
        assert question.check().outcome == outcome


@pytest.mark.parametrize(
    "value, unit, text",
    [
        (929, "s", "929 s (15 min 29 s)"),
        (8, "s", "8 s"),
        (0.204, "s", "0.204 s"),
        (7875, "s", "7,875 s (2 h 11 min 15 s)"),
        (3, "segments", "3 segments"),
        (28232, "", "28,232"),
        (math.inf, "s", "never"),
    ],
)
def test_a_number_in_an_answer(value, unit, text):
    assert with_unit(value, unit) == text
