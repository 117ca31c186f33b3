"""The right answers of lesson 11 against the model and against what was recorded on Linux."""

import json
from itertools import product
from pathlib import Path

import pytest

from tcplab import BindOrConnect, bind_matrix, recording, run
from tcplab.lesson import ask

DATA = Path(__file__).parents[2] / "data"
MATRIX = json.loads((DATA / "captures" / "bind_or_connect.matrix.json").read_text("utf-8"))
AXES = ("held_by", "state", "then", "same_destination")


def question(name):
    return ask("bind_is_not_connect", name)


def model(**settings):
    return run(BindOrConnect(**settings)).outcome["result"]


def linux(**settings):
    """What the matrix says of a cell."""
    defaults = {name: BindOrConnect.defaults()[name] for name in AXES}
    wanted = {**defaults, **settings}
    (cell,) = [cell for cell in MATRIX["cells"] if all(cell[name] == wanted[name] for name in AXES)]
    return cell["result"]


def test_the_recorded_matrix_is_whole_and_says_where_it_comes_from():
    knobs = BindOrConnect.knobs()
    values = [knobs[name].choices if name != "same_destination" else (True, False) for name in AXES]
    assert [tuple(cell[name] for name in AXES) for cell in MATRIX["cells"]] == list(product(*values))
    script, name = MATRIX["command"].removeprefix(".venv/bin/python ").split()
    assert f'"{name}"' in (DATA.parent / script).read_text("utf-8")
    assert MATRIX["linux"].startswith("6.18") and MATRIX["date"]


@pytest.mark.parametrize("cell", MATRIX["cells"], ids=lambda cell: "-".join(str(cell[name]) for name in AXES))
def test_the_model_gives_what_linux_gave(cell):
    assert model(**{name: cell[name] for name in AXES}) == cell["result"]


def test_the_matrix_to_press_knows_what_linux_gave():
    table = bind_matrix()
    assert len(table.cells) == 24
    table.try_all()
    assert "24 of 24 cells gave the same on Linux." in table.sentence
    assert table.try_cell("bind0", "connect") == "EADDRNOTAVAIL"


def test_bind_zero_fails_although_tw_reuse_is_on_and_connect_works():
    assert question("bind_zero").right.startswith("bind() fails: EADDRINUSE")
    assert model() == linux() == "EADDRINUSE"
    for then in ("connect", "bind_no_port"):
        assert model(then=then) == linux(then=then) == "ok"
    assert model(then="connect", wait_s=0.2) == "EADDRNOTAVAIL"
    assert model(then="connect", tw_reuse=2) == model(then="connect", timestamps=False) == "EADDRNOTAVAIL"


def test_a_number_of_ones_own_needs_so_reuseaddr_on_both_sockets():
    assert question("own_number").right.startswith("EADDRINUSE: the old socket")
    cells = {
        (held_by, then): (model(held_by=held_by, then=then), linux(held_by=held_by, then=then))
        for held_by in ("connect", "connect_reuseaddr")
        for then in ("bind_explicit", "bind_explicit_reuseaddr", "bind0_reuseaddr")
    }
    both = ("connect_reuseaddr", "bind_explicit_reuseaddr")
    assert cells.pop(both) == ("ok", "ok")
    assert set(cells.values()) == {("EADDRINUSE", "EADDRINUSE")}
    assert model(held_by=both[0], then=both[1], tw_reuse=0, wait_s=0) == "ok", "nobody asks how old it is"


def test_a_bound_port_is_lost_to_every_connect():
    assert question("neighbour").right.startswith("EADDRNOTAVAIL")
    settings = {"held_by": "bind0", "then": "connect", "same_destination": False}
    assert model(**settings) == linux(**settings) == "EADDRNOTAVAIL"
    assert recording("bind_blocks_connect").outcome == {"result": "EADDRNOTAVAIL"}
    assert model(**settings | {"held_by": "connect"}) == "ok"


def test_one_of_three_addresses_has_a_free_port():
    results = [model(state="established", bind_address=address) for address in ("same", "another", "any")]
    assert results == ["EADDRINUSE", "ok", "EADDRINUSE"]
    assert question("addresses").right == results.count("ok")


def test_bind_zero_fails_in_every_row_and_no_port_is_connect():
    """What the lesson reads from the matrix."""
    for cell in MATRIX["cells"]:
        if cell["then"] in ("bind0", "bind0_reuseaddr"):
            assert cell["result"] == "EADDRINUSE"
        if cell["then"] == "bind_no_port":
            assert cell["result"] == linux(**{name: cell[name] for name in AXES} | {"then": "connect"})
        if cell["then"] == "connect" and cell["held_by"].startswith("bind0"):
            assert cell["result"] == "EADDRNOTAVAIL"


def test_the_older_fallback_that_the_lesson_names():
    """Up to 4.10 bind(0) shared ports whose holders had bound them with SO_REUSEADDR."""
    settings = {"held_by": "bind0_reuseaddr", "then": "bind0_reuseaddr"}
    assert [model(**settings, linux=each) for each in ("3.10", "4.9", "5.4", "6.18")] == [
        "ok", "ok", "EADDRINUSE", "EADDRINUSE",
    ]  # fmt: skip
    assert model(held_by="connect_reuseaddr", then="bind0_reuseaddr", linux="3.10") == "EADDRINUSE"
