"""Which lesson do I need? The tables hold together, and people's own words find their row."""

import errno
import os
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplab.lesson.course import glossary, lesson_map, lessons, read_table
from tcplab.lesson.symptoms import (
    PHASES,
    SearchBox,
    errnos,
    find,
    look_up,
    marks,
    ruler,
    symptom_table,
    symptoms,
    times_in,
)


def test_every_row_is_complete():
    for row in symptoms():
        assert row.phase in PHASES, row
        assert set(row.lessons) <= set(lessons()), row
        assert row.lessons or row.cause.startswith("Not TCP"), row
        assert set(row.errno) <= set(errnos()), row
        for text in (row.cause, row.who, row.first, row.where, row.checked, *row.texts):
            assert text.strip(), row
        assert row.cause.endswith("."), row


def test_every_mark_is_complete_and_in_order():
    for mark in marks():
        assert mark.phase in PHASES
        assert mark.lessons and set(mark.lessons) <= set(lessons())
        assert mark.says.endswith(".")


@pytest.mark.skipif(sys.platform != "linux", reason="error numbers are Linux's")
def test_error_numbers_are_those_of_linux():
    for number, (name, text) in errnos().items():
        assert getattr(errno, name) == number
        assert os.strerror(number) == text


def test_no_text_stands_in_two_rows():
    texts = [text for row in symptoms() for text in row.texts]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize("text", [text for row in symptoms() for text in row.texts])
def test_every_exact_text_finds_its_own_row_first(text):
    filled = text.replace("…", "10.0.0.7")
    assert text in find(filled)[0].texts or any(
        text in row.texts for row in find(filled) if set(row.errno) & set(find(filled)[0].errno)
    )


@pytest.mark.parametrize(
    "query, lesson",
    [
        ("99", "out_of_ports"),
        ("104", "fin_or_rst"),
        ("110", "fin_or_rst"),
        ("111", "fin_or_rst"),
        ("32", "fin_or_rst"),
        ("113", "fin_or_rst"),
        ("(99)", "out_of_ports"),
        ("errno 111", "fin_or_rst"),
        ("EADDRNOTAVAIL", "out_of_ports"),
        ("2003 (99)", "out_of_ports"),
        ("2003 (111)", "fin_or_rst"),
        ("mysql gone away", "pools_and_probes"),
        ("ORA-12541", "fin_or_rst"),
        ("socketRead0", "dead_peer"),
        ("broken pipe", "fin_or_rst"),
        ("Eaddrinuse", "bind_is_not_connect"),
        ("conntrack table full", "out_of_ports"),
        ("read-only", "failover"),
    ],
)
def test_peoples_words_find_the_lesson(query, lesson):
    assert find(query)[0].lessons[0] == lesson


def test_an_error_number_rules_other_rows_out():
    assert all(99 in row.errno for row in find("Can't connect to MySQL server on 'db1' (99)"))


@pytest.mark.parametrize(
    "query, label",
    [
        ("my connect took 127 s", "127 to 135"),
        ("133.9 s", "127 to 135"),
        ("connect took 3.06 s", "1, 2, 3, 4, 5, 7"),
        ("15 min 29 s", "925 to 1045"),
        ("it hung for 2 h 11 min 15 s", "7875"),
        ("every 2 hours", "7200"),
        ("350 s idle", "240, 350, 600, 900, 1200, 1800"),
        ("it hangs for ever", "never"),
        ("63s", "63"),
        ("12,9 s", "12.9"),
    ],
)
def test_seconds_find_their_mark(query, label):
    (seconds,) = times_in(query)
    assert label in [mark.label for mark in marks() if mark.fits(seconds)]
    assert label in repr(look_up(query))


def test_a_time_that_no_timer_takes_is_said_so():
    assert repr(look_up("42 s")) == "No timer that these lessons know takes 42 s: think of one of your own."
    assert "No timer" in repr(look_up("11 h"))


def test_an_answer_names_cause_command_and_lesson():
    text = repr(look_up("2003 (99)"))
    assert "Error 99 is EADDRNOTAVAIL" in text
    assert "no free port left" in text
    assert "ss -tan state time-wait" in text
    assert "Lesson: 10 out_of_ports" in text


def test_not_tcp_is_said_so():
    assert "Lesson: none: this is not TCP." in repr(look_up("too many clients already"))


def test_nothing_found_is_a_sentence():
    assert repr(look_up("qwertz")).startswith("Nothing found")
    assert repr(look_up("  ")).startswith("Type a few words")


def test_a_phase_alone_lists_its_rows():
    assert {row.phase for row in find("", "log")} == {"log"}
    assert all(row.phase == "log" for row in find("connection reset by peer", "log"))


@given(st.text(max_size=60), st.sampled_from(["", *PHASES]))
def test_no_text_makes_the_search_stumble_or_becomes_html(query, phase):
    page = look_up(query, phase)._repr_html_()
    assert page
    for tag in re.findall(r"<(\w+)", page):
        assert tag in {
            "div",
            "p",
            "b",
            "i",
            "a",
            "br",
            "wbr",
            "code",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "caption",
        }


def test_the_box_follows_every_key():
    box = SearchBox()
    box.widget()
    assert box.query.description and box.phase.description
    assert "Type a few words" in box.answer.value
    box.query.value = "127 s"
    assert "connect() to nowhere" in box.answer.value
    box.query.value = "reset by peer"
    both = box.answer.value
    box.phase.value = "log"
    assert "health check" in box.answer.value and len(box.answer.value) < len(both)
    assert box._repr_mimebundle_()["text/plain"].startswith("Run this cell")


def test_the_static_tables_hold_everything():
    for row in symptoms():
        for text in row.texts:
            assert text in repr(symptom_table())
    for mark in marks():
        assert mark.says in repr(ruler())


def test_only_lessons_that_exist_are_links():
    page = lesson_map()._repr_html_()
    for lesson in lessons().values():
        assert (f'href="{lesson.notebook}"' in page) == lesson.ready
        assert lesson.name in page.replace("<wbr>", "") and lesson.promise in repr(lesson_map())
    assert ("(planned)" in repr(lesson_map())) == any(not lesson.ready for lesson in lessons().values())


def test_the_glossary_is_sorted_and_complete():
    terms = [line.split(":")[0] for line in repr(glossary()).splitlines()]
    assert terms == sorted(read_table("glossary.toml"), key=str.lower)
    assert repr(glossary("RST", "FIN")).startswith("FIN: ")
