"""The table of cells to try."""

import ipywidgets as widgets

from tcplab import BindOrConnect, explore
from tcplab.widgets.explorer import UNTRIED, matrix

ROWS = ("held_by", {"connect": "by connect()", "bind0": "by bind(0)"})
COLUMNS = ("then", {"connect": "connect()", "bind0": "bind(0)"})
RECORDED = [
    {"held_by": "connect", "then": "connect", "result": "ok"},
    {"held_by": "bind0", "then": "connect", "state": "established", "result": "made up"},
]


def made(**options):
    return matrix(explore(BindOrConnect, ports=2), ROWS, COLUMNS, **options)


def buttons(shown):
    return {cell: button.description for cell, button in shown._buttons.items()}


def test_cells_wait_for_a_guess():
    shown = made()
    assert set(buttons(shown).values()) == {UNTRIED}
    heads = [each.value for each in shown.children[0].children if isinstance(each, widgets.HTML)]
    assert heads == ["", "<b>connect()</b>", "<b>bind(0)</b>", "<b>by connect()</b>", "<b>by bind(0)</b>"]
    assert shown._buttons["bind0", "connect"].tooltip == "by bind(0); then connect()"


def test_pressing_one_runs_it_in_the_explorer():
    shown = made(recorded=[{**RECORDED[0], "ports": 2}])
    shown._buttons["connect", "connect"].click()
    assert shown.explorer.values["then"] == "connect" and shown.explorer.outcome == {"result": "ok"}
    assert buttons(shown) == {
        ("connect", "connect"): "ok",
        ("connect", "bind0"): UNTRIED,
        ("bind0", "connect"): UNTRIED,
        ("bind0", "bind0"): UNTRIED,
    }
    assert "Linux, recorded: ok" in shown._said.value
    assert shown.try_cell("bind0", "connect") == "EADDRNOTAVAIL"
    assert shown._said.value == "", "nothing was recorded for this one"


def test_a_recording_with_other_settings_says_nothing():
    shown = made(recorded=RECORDED)
    shown.try_cell("connect", "connect")
    assert shown._said.value == "", "recorded with six ports"
    shown.explorer.set(ports=6, state="established")
    shown.try_cell("bind0", "connect")
    assert "made up" in shown._said.value


def test_other_settings_open_all_cells_again():
    shown = made()
    shown.try_cell("connect", "connect")
    shown.explorer.set(state="established")
    shown.try_cell("connect", "bind0")
    assert buttons(shown)["connect", "connect"] == UNTRIED
    assert buttons(shown)["connect", "bind0"] == "EADDRINUSE"


def test_all_at_once_without_moving_the_explorer():
    shown = matrix(explore(BindOrConnect), ROWS, COLUMNS, recorded=RECORDED)
    before = shown.explorer.values
    (everything,) = [each for each in shown.children[1].children if isinstance(each, widgets.Button)]
    everything.click()
    assert shown.explorer.values == before
    assert list(buttons(shown).values()) == ["ok", "EADDRINUSE", "EADDRNOTAVAIL", "EADDRINUSE"]
    assert "1 of 1 cells gave the same on Linux." in shown._said.value


def test_a_long_result_has_a_short_label():
    shown = made(labels={"EADDRINUSE": "98"})
    assert shown.try_cell("connect", "bind0") == "EADDRINUSE"
    assert buttons(shown)["connect", "bind0"] == "98"


def test_without_widgets_it_is_a_list():
    assert repr(made()).splitlines()[:3] == [
        "held_by, then then:",
        "by connect(); connect(): ok",
        "by connect(); bind(0): EADDRINUSE",
    ]
