"""The buttons do what the Python calls do, and what comes after a question waits for it."""

import json

import ipywidgets as widgets
import pytest

from tcplab.lesson import after, article_says, predict_choice, predict_number, provenance, reveal
from tcplab.lesson.question import WAITING


@pytest.fixture
def number():
    return predict_number(
        "How long?", right=929, unit="s", because="Retransmission.", hints=["Data is in flight."]
    )


@pytest.fixture
def choice():
    return predict_choice("Next?", {"**fails** at once": "No.", "succeeds": "Yes."}, right="succeeds")


def parts(question):
    heading, entry, row, said, _ = question.widget().children
    return heading, entry, dict(zip(("check", "hint", "answer"), row.children[:3], strict=True)), said


def test_every_control_says_what_it_is(number, choice):
    for question in (number, choice):
        heading, _, buttons, _ = parts(question)
        assert question.text in heading.value
        assert [button.description for button in buttons.values()] == ["Check", "Hint", "Show answer"]
        assert all(button.tooltip for button in buttons.values())
    assert parts(number)[1].description == "Your number (s):"
    assert parts(choice)[1].options == ("a) fails at once", "b) succeeds")


def test_typing_and_checking_is_the_same_as_in_python(number):
    _, entry, buttons, said = parts(number)
    entry.value = "60"
    assert number.answer == "60"
    buttons["check"].click()
    assert said.value == number.check()._repr_html_()
    assert number.committed


def test_enter_checks(number):
    _, entry, _, said = parts(number)
    entry.value = "15 min 29 s"
    entry._handle_custom_msg({"event": "submit"}, [])
    assert "Right" in said.value


def test_choosing_and_checking_is_the_same_as_in_python(choice):
    _, entry, buttons, said = parts(choice)
    assert entry.value is None
    entry.value = "b) succeeds"
    assert choice.answer == "succeeds"
    buttons["check"].click()
    assert said.value == choice.check()._repr_html_()


def test_an_answer_set_in_python_shows_in_the_widget(number, choice):
    entry = parts(number)[1]
    number.answer = 60
    assert (entry.value, number.answer) == ("60", 60)
    entry = parts(choice)[1]
    choice.answer = "a"
    assert (entry.value, choice.answer) == ("a) fails at once", "a")
    choice.answer = "nonsense"
    assert (entry.value, choice.answer) == (None, "nonsense")


def test_an_answer_set_before_the_widget_exists_is_there(number, choice):
    number.answer, choice.answer = 60, "b"
    assert parts(number)[1].value == "60"
    assert parts(choice)[1].value == "b) succeeds"


def test_untouched_buttons_never_fail(number, choice):
    for question in (number, choice):
        _, _, buttons, said = parts(question)
        buttons["check"].click()
        assert "Not attempted yet" in said.value
        buttons["hint"].click()
        assert "Hint" in said.value
        buttons["answer"].click()
        assert "Solution" in said.value


def test_clicks_print_nothing(number, capsys):
    for button in parts(number)[2].values():
        button.click()
    assert capsys.readouterr() == ("", "")


def test_what_comes_after_waits_for_a_prediction(number):
    made = []
    waiting = after(number, lambda: made.append(1) or widgets.HTML("the explorer"))
    place = waiting.widget()
    assert repr(waiting) == WAITING
    assert WAITING in place.children[0].value
    number.check()
    number.answer = "soon"
    number.check()
    number.hint()
    assert (made, waiting.thing) == ([], None)
    number.answer = 1
    number.check()
    assert made == [1]
    assert place.children[0] is waiting.thing
    number.check()
    number.solution()
    assert made == [1]


def test_what_comes_after_an_answered_question_is_there_at_once(number):
    number.solution()

    class Explorer(widgets.VBox):
        sentence = "It took 929 s."

    waiting = after(number, Explorer)
    bundle = waiting._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == "It took 929 s."
    assert isinstance(waiting.widget().children[0], Explorer)


def test_what_comes_after_may_be_no_widget(number):
    number.solution()
    assert (
        "Linux does"
        in after(number, lambda: article_says("a", linux="b", source="c")).widget().children[0].value
    )
    assert after(number, lambda: "1 < 2").widget().children[0].value == "<p>1 &lt; 2</p>"


def test_a_fact_is_folded_until_the_question_was_answered(number):
    fact = reveal(number, "It took **929 s** & more.", article_says("a", linux="b", source="c"))
    assert repr(fact) == "It took 929 s & more.\nThe article says: a\nLinux does: b\nChecked: c"
    assert "<details><summary>" in fact._repr_html_()
    assert "<b>929 s</b> &amp; more" in fact._repr_html_() and "<b>Linux does:</b> b" in fact._repr_html_()
    console = reveal(number, "State  Recv-Q\nESTAB      <40>")
    assert "<pre>State  Recv-Q\nESTAB      &lt;40&gt;</pre>" in console._repr_html_()
    place = fact.widget()
    assert place.value == fact._repr_html_()
    number.solution()
    assert "<details open>" in place.value
    assert "<details open>" in reveal(number, "x")._repr_mimebundle_()["text/html"]


def test_the_article_box_reads_both_ways():
    says = article_says("a RST means <unreachable>", linux="somebody sent it", source="RFC 9293")
    assert repr(says) == (
        "The article says: a RST means <unreachable>\nLinux does: somebody sent it\nChecked: RFC 9293"
    )
    page = says._repr_html_()
    assert "&lt;unreachable&gt;" in page and "Since" not in page
    assert (
        "<b>Since:</b> Linux 6.5" in article_says("a", linux="b", since="Linux 6.5", source="c")._repr_html_()
    )


def test_a_capture_tells_where_it_comes_from(tmp_path):
    sidecar = {
        "title": "closed port",
        "story": "psql knocks & nobody listens.",
        "linux": "6.18.44",
        "software": {"psql": "15.18"},
        "date": "2026-11-21",
        "command": "python3 record.py",
        "events": [
            {"t": 0.5, "began": 0.1, "host": "client", "call": "psql -p 5433", "result": "Connection refused"}
        ],
        "states": [{"t": 0.2, "host": "server", "state": "ESTAB", "recv_q": 15, "send_q": 0}],
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps(sidecar))
    for given in (path, tmp_path / "x.pcap", str(path)):
        told = provenance(given)
        assert "Linux 6.18.44, psql 15.18, 2026-11-21; to record it again: python3 record.py" in repr(told)
        assert "0.500 s  client: psql -p 5433 → Connection refused" in repr(told)
        assert "0.200 s  ss on the server: ESTAB, Recv-Q 15, Send-Q 0" in repr(told)
        assert "knocks &amp; nobody" in told._repr_html_()
    assert repr(told).index("0.200 s") < repr(told).index("0.500 s")


def test_a_capture_without_provenance_says_so(tmp_path):
    assert "nothing is known about x.pcap" in repr(provenance(tmp_path / "x.pcap"))


def test_a_case_that_was_only_told_says_so_and_why(tmp_path):
    told = {"title": "A killed session", "story": "An article saw a FIN.", "run": False}
    told |= {"why_not": "A <licence>.", "instead": ["one", "another"]}
    path = tmp_path / "x.json"
    path.write_text(json.dumps(told))
    assert repr(provenance(path)).splitlines() == [
        "A killed session. An article saw a FIN.",
        "Not run here. A <licence>.",
        "Recorded in its place: one, another.",
    ]
    assert "<b>Not run here.</b> A &lt;licence&gt;." in provenance(path)._repr_html_()


def test_in_a_lesson_a_right_answer_shrinks_the_question_to_a_line(number):
    number.explains = False
    heading, entry, buttons, _ = parts(number)
    again = number.widget().children[2].children[3]
    hidden = lambda: [part.layout.display == "none" for part in (entry, *buttons.values(), again)]  # noqa: E731
    number.answer = 5
    buttons["check"].click()
    assert hidden() == [False] * 4 + [True] and "<details>" not in heading.value
    number.answer = 929
    buttons["check"].click()
    assert hidden() == [True] * 4 + [False] and "<details>" in heading.value
    again.click()
    assert hidden() == [False] * 4 + [True]
    number.start_again()
    assert hidden() == [False] * 4 + [True] and "<details>" not in heading.value
