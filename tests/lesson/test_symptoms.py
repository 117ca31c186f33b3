"""Which lesson do I need? The tables hold together, and people's own words find their row."""

import errno
import os
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplab.lesson.course import glossary, lesson_map, lessons, read_table
from tcplab.lesson.search import (
    NOT_TCP,
    PHASES,
    SURE,
    answers,
    errnos,
    errnos_in,
    marks,
    messages,
    one_of_each,
    question,
    read_log,
    symptoms,
    times_in,
    words_of,
)
from tcplab.lesson.symptoms import SearchBox, symptom_table
from tcplab.pictures.svg import Symbol
from tcplab.pictures.timer_race import look_up, ruler, ruler_drawing, ruler_x


def test_every_row_is_complete():
    for row in symptoms():
        assert row.phase in PHASES, row
        assert set(row.lessons) <= set(lessons()), row
        assert row.lessons or row.cause.startswith("Not TCP"), row
        assert set(row.errno) <= set(errnos()), row
        assert row.texts or row.phrases, row
        for text in (row.cause, row.who, row.first, row.where, row.checked, *row.texts, *row.phrases):
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
    texts = [message.text for message in messages()]
    assert len(texts) == len(set(texts))
    assert len({row.name for row in symptoms()}) == len(symptoms())


def test_every_message_names_a_symptom_its_lessons_and_a_source():
    names = {row.name for row in symptoms()}
    for message in messages():
        assert message.symptom in names, message
        assert message.phase in PHASES, message
        assert message.lessons and set(message.lessons) <= {*lessons(), NOT_TCP}, message
        assert message.product and message.text and message.source, message
        assert words_of(message.text) or not re.search(r"[a-z]{3}", message.text), message


def test_every_question_is_between_two_lessons_that_it_names():
    for row in read_table("symptoms.toml")["question"]:
        for name in row["between"]:
            assert name in row["ask"] or (name == NOT_TCP and "not TCP" in row["ask"]), row


@pytest.mark.parametrize("message", messages(), ids=lambda message: message.text[:50])
def test_every_known_message_finds_its_lesson_first(message):
    found = answers(message.text.replace("…", "10.0.0.7"))
    assert found[0].lesson in message.lessons


def quality(pairs):
    """Shares of (text, lessons): right first, right in the first three, wrong and sure of it."""
    first = three = wrong = 0
    for found, known in pairs:
        named = [answer.lesson for answer in found[:3]]
        right = bool(named) and named[0] in known
        first += right
        three += not set(named).isdisjoint(known)
        wrong += bool(found) and found[0].confidence >= SURE and not right
    return first / len(pairs), three / len(pairs), wrong / len(pairs)


def test_a_message_that_is_not_known_is_found_by_those_that_are_like_it():
    """Each in turn is taken out of what is known; so is whatever has the same words."""
    pairs = []
    for message in messages()[::3]:
        words = words_of(message.text)
        others = [other for other in messages() if words_of(other.text) != words]
        pairs.append((answers(message.text, known=others), message.lessons))
    first, three, wrong = quality(pairs)
    assert first >= 0.85 and three >= 0.93 and wrong <= 0.08


PREFIXES = (
    "2026-11-30 02:13:10.113 UTC [823] app@db1 ",
    "Nov 30 02:14:01 db1 myapp[4711]: ",
    "[2026-11-30T02:13:10.113Z] (pid 77) 10.1.2.3:51234 ",
)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_log_prefixes_and_addresses_do_not_disturb(prefix):
    for message in messages()[::7]:
        if len(words_of(message.text)) > 2:
            found = answers(prefix + message.text.replace("10.0.0.2", "192.168.77.13"))
            assert not {answer.lesson for answer in found[:2]}.isdisjoint(message.lessons), message


def test_numbers_of_windows_sockets_are_linuxs():
    for text, lesson in (
        ("10061", "fin_or_rst"),
        ("SocketException (10049)", "out_of_ports"),
        ("10048", "bind_is_not_connect"),
    ):
        assert answers(text)[0].lesson == lesson, text
    assert "Error 111 is ECONNREFUSED" in repr(look_up("10061"))


def test_a_reason_names_words_of_the_message_or_its_number():
    assert (
        "it is like “server closed the connection unexpectedly”"
        in answers("psql: error: server closed the connection unexpectedly")[0].because
    )
    assert answers("(99)")[0].because == "Linux's error 99 is EADDRNOTAVAIL"
    assert "it contains “password”" in answers("bad password, try again")[0].because


def test_a_stack_trace_does_not_disturb():
    trace = """org.postgresql.util.PSQLException: Connection to 10.0.0.2:5432 refused. Check that the hostname
    at org.postgresql.core.v3.ConnectionFactoryImpl.openConnectionImpl(ConnectionFactoryImpl.java:319)
    at org.postgresql.Driver.makeConnection(Driver.java:434)
Caused by: java.net.ConnectException: Connection refused (Connection refused)
    at java.base/java.net.PlainSocketImpl.socketConnect(Native Method)"""
    assert answers(trace)[0].lesson == "fin_or_rst"
    assert "refused" in answers(trace)[0].because


def test_where_two_lessons_remain_one_question_separates_them():
    found = answers("server closed the connection unexpectedly")
    assert [answer.lesson for answer in found[:2]] == ["fin_or_rst", "keepalive"]
    assert "idle for minutes" in question(found)
    assert "To tell them apart" in repr(look_up("server closed the connection unexpectedly"))
    assert question(answers("Cannot assign requested address")) == ""


def test_lessons_with_one_meaning_share_one_answer():
    found = answers("Connection reset by peer")
    assert len(one_of_each(found)) < len(found)
    assert repr(look_up("Connection reset by peer")).count("A RST arrived") == 1


def test_seconds_decide_where_no_message_does_and_add_to_one_that_does():
    assert answers("my connect took 131 s")[0].lesson == "fin_or_rst"
    assert answers("it hung for 2 h 11 min 15 s")[0].lesson == "keepalive"
    assert answers("it hung for 15 min 29 s")[0].lesson == "dead_peer"
    (both, *_) = answers("connection timed out while connecting, after 131 s")
    assert both.lesson == "fin_or_rst" and "2 min 11 s: connect() without an answer" in both.because
    assert answers("FATAL: password authentication failed after 131 s")[0].lesson == NOT_TCP


def test_the_answer_says_how_sure_it_is():
    assert answers("Connection refused")[0].confidence >= SURE
    vague = answers("something is slow with the database server today")
    assert all(answer.confidence < SURE for answer in vague)
    for message in messages()[::11]:
        found = answers(message.text)
        assert all(0 < answer.confidence < 1 for answer in found)
        assert [a.confidence for a in found] == sorted((a.confidence for a in found), reverse=True)


LOG = """\
2026-11-30 02:11:09.113 UTC [812] LOG:  connection received: host=10.0.0.1 port=51234
2026-11-30 02:11:10.113 UTC [812] FATAL:  sorry, too many clients already
2026-11-30 02:12:10.113 UTC [822] FATAL:  sorry, too many clients already

2026-11-30 02:13:10.113 UTC [823] LOG:  could not receive data from client: Connection timed out
2026-11-30 02:13:11.113 UTC [824] LOG:  checkpoint complete: wrote 44 buffers (0.3%)
Nov 30 02:14:01 db1 kernel: nf_conntrack: table full, dropping packet
"""


def test_a_log_is_each_message_once_with_its_times():
    told = []
    found, silent = read_log(LOG.splitlines(), told.append)
    assert [(entry.count, entry.first[-12:], entry.answers[0].lesson) for entry in found] == [
        (2, "02:11:10.113", NOT_TCP),
        (1, "02:13:10.113", "dead_client"),
        (1, "Nov 30 02:14:01"[-12:], "out_of_ports"),
    ]
    assert found[0].last.endswith("02:12:10.113") and silent == 2 and told


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
    assert answers(query)[0].lesson == lesson


def test_an_error_number_decides_between_messages_of_one_text():
    text = "Can't connect to MySQL server on 'db1' (%d)"
    found = {number: answers(text % number)[0].lesson for number in (99, 111, 113, 110)}
    assert found == {99: "out_of_ports", 111: "fin_or_rst", 113: "fin_or_rst", 110: "fin_or_rst"}
    assert "The SYN was not answered" in answers(text % 110)[0].says


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
    assert repr(look_up("42 s")) == "No timer in these lessons takes 42 s: think of one in your own system."
    assert "No timer" in repr(look_up("11 h"))


def test_an_answer_names_cause_command_and_lesson():
    text = repr(look_up("2003 (99)"))
    assert "Error 99 is EADDRNOTAVAIL" in text
    assert "no free port left" in text
    assert "ss -tan state time-wait" in text
    assert "lesson 10 out_of_ports" in text


def test_not_tcp_is_said_so():
    assert "1. not TCP: " in repr(look_up("too many clients already"))


def test_nothing_found_is_a_sentence():
    assert repr(look_up("qwertz")).startswith("Nothing found")
    assert repr(look_up("  ")).startswith("Type a few words")


def test_a_phase_alone_lists_its_rows():
    assert "health check" in repr(look_up("", "log"))
    assert all(answer.phase == "log" for answer in answers("connection reset by peer", "log"))


@given(st.text(max_size=60), st.sampled_from(["", *PHASES]))
def test_no_text_makes_the_search_stumble_or_becomes_html(query, phase):
    page = look_up(query, phase)._repr_html_()
    assert page
    if "<" not in query:  # the ruler of seconds is a picture of ours
        page = re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", page, flags=re.DOTALL)
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
    assert "connect() without an answer" in box.answer.value
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


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("psycopg2.OperationalError: could not connect: Connection timed out", "ETIMEDOUT"),
        ("could not connect to server: Connection timed out after 131 s", "ETIMEDOUT"),
        ("could not connect to server: Connection refused", "ECONNREFUSED"),
        ("cannot connect: No route to host", "EHOSTUNREACH"),
        ("unable to connect: Cannot assign requested address", "EADDRNOTAVAIL"),
    ],
)
def test_the_text_of_an_error_number_outweighs_the_words_around_it(message, name):
    """“could not connect” alone means most often that nobody listens; the rest says what it was."""
    [number] = [number for number, (each, _) in errnos().items() if each == name]
    assert errnos_in(message) == [number]
    means = [row.cause for row in symptoms() if number in row.errno]
    assert answers(message)[0].says in means and answers(message)[0].confidence >= SURE


# The ruler as a picture ----------------------------------------------------------------------------


def pointed(*seconds):
    """What the ruler's picture has in the colour of what is pointed at."""
    drawn = ruler_drawing(seconds)
    colour = drawn.theme.error
    return [item.text for item in drawn.captions if item.colour == colour]


def test_the_ruler_has_every_mark_in_its_place_and_no_words_touch():
    words = " ".join(item.text for item in ruler_drawing().captions)
    assert all(f"{mark.label}" in words and mark.short in words for mark in marks())
    times = sorted({at for mark in marks() for at in mark.at})
    drawn = {item.x for item in ruler_drawing().items if isinstance(item, Symbol)}
    assert sorted(drawn) == pytest.approx([ruler_x(at) for at in times])
    assert [ruler_x(at) for at in times] == sorted(ruler_x(at) for at in times)
    # Equal factors are equal lengths: the axis is logarithmic.
    assert ruler_x(100) - ruler_x(10) == pytest.approx(ruler_x(1000) - ruler_x(100))
    for seconds in ((), *((at,) for at in times), (5000,), (0.01,), (86_400,)):
        assert ruler_drawing(seconds).overlaps() == [], seconds


def test_the_search_points_into_the_ruler():
    assert pointed(127) == ["127 to 135 s: no answer to any SYN", "you: 2 min 7 s"]
    assert "you: 2 min 7 s" in look_up("my connect took 127 s").html
    assert pointed(350)[:-1] == ["240, 350, 600, 900, 1200, 1800 s: idle timeouts of middleboxes"]
    assert pointed() == [] and "you:" not in ruler().html


def test_a_time_that_no_timer_takes_is_shown_between_the_marks():
    assert len(pointed(5000)) == 1 and "you: 1 h 23 min 20 s" in look_up("it took 5000 s").html


def test_only_the_time_that_fits_is_large():
    large = [item.x for item in ruler_drawing((350,)).items if isinstance(item, Symbol) and item.size > 5]
    assert large == [pytest.approx(ruler_x(350))]
