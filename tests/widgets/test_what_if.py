"""Both ladders of a `what_if`: one time axis, names, and nothing from a capture that is not escaped."""

from dataclasses import replace

import pytest

import tcplab
from tcplab.capture.recordings import LIBRARY
from tcplab.lesson import after, predict_number
from tcplab.widgets.what_if import LEFT, MOST_OF_EACH, RIGHT, SideBySide, draw_side_by_side, side_by_side

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def answer():
    captured = tcplab.read_capture(LIBRARY / "lesson_cable_out_user_timeout.pcap").connection(0)
    return tcplab.what_if(captured, user_timeout_s=10)


def test_both_stand_side_by_side_from_zero(answer):
    trace = side_by_side(answer)
    assert list(trace.hosts) == [*LEFT.values(), *RIGHT.values()]
    firsts = [next(p.t for p in trace.packets if p.sender == names["client"]) for names in (LEFT, RIGHT)]
    assert firsts == [0, 0]
    counts = [sum(p.sender in names.values() for p in trace.packets) for names in (LEFT, RIGHT)]
    assert counts == [len(answer.captured.packets), len(answer.changed.packets)]
    assert [call.result for call in trace.calls] == ["ETIMEDOUT", "ETIMEDOUT"]
    assert trace.packets == sorted(trace.packets, key=lambda p: p.t)


def test_each_ladder_has_its_name(answer):
    picture = draw_side_by_side(answer)
    assert [each["text"] for each in picture.layout["annotations"]] == [
        "<b>as captured</b>",
        "<b>with user_timeout_s = 10</b>",
    ]
    picture.figure()


def test_a_connection_that_lives_is_drawn_as_far_as_the_other():
    captured = tcplab.read_capture(LIBRARY / "idle_firewall.pcap").connection(0)
    answer = tcplab.what_if(captured, keepalive_idle_s=1, keepalive_interval_s=1)
    trace = side_by_side(answer)
    left = max(call.t for call in trace.calls)
    assert answer.lived and max(p.t for p in trace.packets) <= left < answer.changed.packets[-1].t


def test_a_note_says_on_which_side(answer):
    assert [note.text for note in side_by_side(answer).notes] == ["right: server unplugged"]


def test_a_box_speaks_in_the_name_of_a_host():
    captured = tcplab.read_capture(LIBRARY / "lesson_report_reset.pcap").connection(0)
    answer = tcplab.what_if(captured, firewall_idle_s=2, expired="reject")
    assert any(p.kind == "forged" for p in answer.changed.packets)
    assert {p.sender for p in side_by_side(answer).packets} <= {*LEFT.values(), *RIGHT.values()}
    draw_side_by_side(answer).figure()


def test_of_a_long_connection_the_end_is_drawn(answer):
    first = answer.captured.packets[0]
    many = [replace(first, t=first.t - n, arrives=first.t - n) for n in range(5 * MOST_OF_EACH, 0, -1)]
    long = replace(answer.captured, packets=[*many, *answer.captured.packets])
    trace = side_by_side(replace(answer, captured=long))
    left = [p for p in trace.packets if p.sender in LEFT.values()]
    assert len(left) == MOST_OF_EACH and left[-1].segment == answer.captured.packets[-1].segment
    assert any("are left out" in note.text for note in trace.notes)
    draw_side_by_side(replace(answer, captured=long)).figure()


def test_it_shows_itself(answer):
    shown = answer._repr_mimebundle_()
    assert shown["text/plain"] == answer.sentence == repr(answer)
    assert "application/vnd.jupyter.widget-view+json" in shown


def test_a_place_that_waits_for_a_prediction_shows_it_too(answer):
    question = predict_number("How long?", right=1, because="So it is.")
    place = after(question, lambda: answer).widget()
    question.solution()
    assert isinstance(place.children[0], SideBySide)


def test_what_comes_from_a_capture_is_escaped(answer):
    evil = replace(
        answer,
        sentence=EVIL,
        warnings=(EVIL,),
        likeness=replace(answer.likeness, differs=EVIL),
        captured=replace(
            answer.captured,
            experiment=EVIL,
            calls=[call._replace(call=EVIL, result="ETIMEDOUT") for call in answer.captured.calls],
        ),
    )
    shown = SideBySide(evil)
    said = "".join(child.value for child in shown.children if hasattr(child, "value"))
    assert "<img" not in said and said.count("&lt;img") == 3
    assert "<img" not in shown.figure.drawn


def test_what_the_answer_rests_on_stands_below(answer):
    grounds = SideBySide(answer).children[-1].value
    assert "<details>" in grounds
    for each in answer.inferences:
        assert each.certainty in grounds
    assert {each.name for each in answer.inferences} >= {"cause", "latency_ms", "user_timeout_s", "retries2"}
