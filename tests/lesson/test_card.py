"""The symptom card: the file is the one that is generated, complete, alone, and one page when printed."""

import re
from pathlib import Path

import pytest

from conftest import need
from in_jupyterlab import chromium_page
from tcplab.lesson.symptoms import marks, symptom_card, symptoms
from tcplab.lesson.tables import to_html

FILE = Path(__file__).parents[2] / "notebooks" / "for_teachers" / "symptom_card.html"


def test_the_committed_card_is_the_generated_one():
    assert FILE.read_text(encoding="utf-8") == symptom_card(), (
        "run: python3 -m tcplab.lesson.symptoms notebooks/for_teachers/symptom_card.html"
    )


def test_every_symptom_and_every_mark_is_on_it():
    card = symptom_card()
    assert all(
        to_html(row.texts[0]) in card and to_html(row.first) in card for row in symptoms() if row.texts
    )
    assert all(mark.label in card for mark in marks())


def test_it_needs_no_other_file():
    assert not re.search(r"src=|href=|url\(|@import|https?://", symptom_card())


@pytest.mark.browser
def test_it_prints_on_one_page(tmp_path):
    with chromium_page(need("chromium")) as (page, outside):
        page.goto(FILE.as_uri())
        printed = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1
    assert outside == []
