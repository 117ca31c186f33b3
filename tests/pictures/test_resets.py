"""Several RSTs on one axis: each in the zone of its verdict, and no words that touch."""

from dataclasses import replace

import pytest

from tcplab import RstInWindow, StaleReject, recording, run
from tcplab.lesson.page import proof_texts
from tcplab.pictures.resets import ResetsPicture, read_reset
from tcplab.pictures.svg import Rect, Stroke, Symbol

RECORDED = {
    "lesson_reject_stale": (-240, "ignored"),
    "lesson_reject_alone": (0, "accepted"),
    "rst_in_window": (1, "challenged"),
    "lesson_rst_beyond": (70_000, "ignored"),
}


@pytest.fixture(name="resets", scope="module")
def resets_fixture():
    return [read_reset(name, recording(name)) for name in RECORDED]


def test_each_is_where_linux_recorded_it_and_what_linux_made_of_it(resets):
    assert {each.name: (each.fallen.offset, each.verdict) for each in resets} == RECORDED


def test_the_model_s_are_in_the_same_places(resets):
    runs = [StaleReject(latency_ms=20, watch_s=1.5), StaleReject(latency_ms=20, in_flight=0)]
    for each, experiment in zip(resets, [*runs, RstInWindow(offset=1)], strict=False):
        model = read_reset(each.name, run(experiment))
        assert (model.fallen.offset, model.verdict) == (each.fallen.offset, each.verdict)


def test_an_arrow_ends_over_the_zone_of_its_verdict(resets):
    drawn = ResetsPicture(resets).drawing()
    left, exact, inside, right = (item for item in drawn.items if isinstance(item, Rect))
    arrows = [item.x for item in drawn.items if isinstance(item, Symbol)]
    for x, zone in zip(sorted(arrows), (left, exact, inside, right), strict=True):
        assert zone.x < x < zone.x + zone.width


def test_no_arrow_crosses_words(resets):
    lesson = "the_rst_that_did_not_close"
    named = [replace(each, name=proof_texts(lesson, each.name)["label"]) for each in resets]
    drawn = ResetsPicture(named).drawing()
    for line in (item for item in drawn.items if isinstance(item, Stroke)):
        for words in drawn.captions:
            left, top, right, bottom = words.box()
            assert not (left < line.x1 < right and top < line.y2 and line.y1 < bottom), words.text


@pytest.mark.parametrize("dark", [False, True])
def test_no_words_touch(resets, dark):
    for shown in (resets, resets[:1], resets[2:], resets[3:]):
        assert ResetsPicture(shown).drawing(dark).overlaps() == []


def test_the_sentence_and_the_table_say_the_same(resets):
    picture = ResetsPicture(resets)
    assert "rst_in_window: RCV.NXT + 1, challenged" in repr(picture)
    assert "<td" in picture.table() and "RCV.NXT − 240" in picture._repr_html_()


def test_without_a_reset_it_is_one_sentence():
    with pytest.raises(LookupError, match=r"^nothing: no RST reached its receiver\.$"):
        read_reset("nothing", recording("lesson_cable_out_idle"))
