"""The switch of projector mode, as far as Python goes; what it does to a page is in tests/view."""

import re
from importlib.resources import files

import pytest

from tcplab import Keepalive, explore
from tcplab.lesson import projector
from tcplab.lesson.form import PROJECTOR


@pytest.fixture(autouse=True)
def off_afterwards():
    yield
    projector(False)


def test_one_switch_for_all_cells():
    first, second = projector(), projector(False)
    assert first is second and first.on is False
    assert repr(projector()) == "Projector mode: larger type and fewer controls, on this whole page."
    assert projector(False)._repr_mimebundle_()[0]["text/plain"] == "Projector mode is off."


def test_its_rules_touch_nothing_while_it_is_off():
    sheets = projector(False).sheet + (files("tcplab.widgets") / "base.css").read_text("utf-8")
    rules = [rule.split("{")[0].strip() for rule in sheets.replace("*/", "}").split("}") if "{" in rule]
    own = [rule for rule in rules if "projector" in rule]
    assert len(own) > 10
    off = "(body)?[.]tcplab-projector([ .]|$)|:is[(][.]tcplab-projector[ .]"
    assert [part for rule in own for part in rule.split(",\n") if not re.match(off, part)] == []


def test_it_reaches_each_widget_where_a_front_end_gives_every_cell_a_frame_of_its_own():
    before = explore(Keepalive).widget()
    switch = projector(True)
    after = explore(Keepalive).widget()
    marked = [PROJECTOR in each._dom_classes for each in (before, after)]
    switch.on = False  # as a click on the page sets it
    assert marked == [True, True]
    assert not [each for each in (before, after) if PROJECTOR in each._dom_classes]
