"""The clinic's cases in a lesson: packets on the wall clock, then the clinic with what it really was."""

import pytest

from tcplab import open_lesson
from tcplab.lesson import progress
from tcplab.lesson.page import page_table
from tcplab.lesson.question import WAITING
from tcplab.widgets.clinic import CaptureClinic
from tcplab.widgets.lesson import TRUTH


@pytest.fixture(name="here")
def here_fixture(tmp_path, monkeypatch):
    monkeypatch.setenv(progress.SWITCH, str(tmp_path / "progress.json"))
    progress.store.cache_clear()
    yield open_lesson("14")
    progress.store.cache_clear()


def opened(here, name, *captures, answer="a"):
    question = here.ask(name)
    waiting = here.clinic(*captures)
    assert WAITING in repr(waiting)
    question.answer = answer
    question.check()
    return waiting.thing


def test_a_case_shows_packets_on_the_wall_clock_and_no_verdict(here):
    shown = here.case("case_1")
    assert "13:22:30.128" in shown.plain and "at (UTC)" in shown.html and "twenty seconds" in shown.html
    assert not any(word in shown.plain for word in ("keepalive", "retransmission", "firewall"))


@pytest.mark.parametrize("name", page_table("capture_clinic")["cases"])
def test_each_case_says_who_asks_and_where_it_was_captured(here, name):
    assert " Captured on the " in here.case(name).plain and here.case(name).html.count("<table") >= 1


def test_the_clinic_opens_with_the_answer_and_says_why(here):
    thing = opened(here, "first_query", "case_1")
    assert "no longer answered" in thing.sentence and "Why." in thing._repr_html_()
    assert TRUTH in thing._repr_html_() and "after four" in thing._repr_html_()


def test_both_ends_are_on_one_clock(here):
    thing = opened(here, "one_side", "case_2", "case_2_client")
    assert "broke in both directions" in thing.sentence and thing.thing.both is not None


def test_the_article_is_in_the_fold_of_its_case(here):
    thing = opened(here, "who_reset", "case_3")
    assert "A RST comes when the network is unreachable" in thing._repr_html_()


def test_without_a_name_it_waits_for_nothing(here):
    here.ask("first_query")
    assert isinstance(here.clinic(), CaptureClinic)


def test_an_unknown_case_is_one_sentence(here):
    with pytest.raises(LookupError, match="no case 'case_9'; there are case_1, case_2"):
        here.case("case_9")
