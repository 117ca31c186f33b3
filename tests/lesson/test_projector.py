"""The switch of projector mode, as far as Python goes; what it does to a page is in tests/view."""

import pytest

from tcplab.lesson import projector


@pytest.fixture(autouse=True)
def off_afterwards():
    yield
    projector(False)


def test_one_switch_for_all_cells():
    first, second = projector(), projector(False)
    assert first is second and first.on is False
    assert repr(projector()) == "Projector mode: larger type and fewer controls, on this whole page."
    assert projector(False)._repr_mimebundle_()[0]["text/plain"] == "Projector mode is off."


def test_its_style_sheet_touches_nothing_while_it_is_off():
    sheet = projector(False).sheet
    rules = [rule.split("{")[0] for rule in sheet.replace("*/", "}").split("}") if "{" in rule]
    selectors = [line for rule in rules for line in rule.replace(",\n", "\n").strip().split("\n") if line]
    outside = [line for line in selectors if not line.startswith(("body.tcplab-projector", "  "))]
    assert len(rules) > 10 and outside == []
