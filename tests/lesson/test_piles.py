"""Nothing piles up in a kernel: what a cell's next run replaces is let go, what is still seen is not."""

import gc

import ipywidgets
import pytest

from in_kernel import kernel
from tcplab import Keepalive, Pool, SlowReader, explore, idle_map, picture, run, topology
from tcplab.lesson.displayed import close, reopen

COUNT = (
    "len(__import__('gc').collect() and [] or ipywidgets.widgets.widget._instances)",
    "sum(type(each).__name__ == 'Explorer' for each in __import__('gc').get_objects())",
)
CELLS = {
    "a": "import ipywidgets\nfrom tcplab import Keepalive, explore, picture, run\n"
    "from tcplab.lesson import after, ask",
    "b": "question = ask('keepalive', 'power_cut')\nquestion",
    "c": "after(question, lambda: explore(Keepalive))",
    "d": "mine = explore(Keepalive, idle_s=60)\nmine",
    "e": "picture(run(Keepalive()))",
}


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    with kernel(tmp_path_factory.mktemp("notebook")) as made:
        yield made


def run_all(notebook):
    for cell, source in CELLS.items():
        notebook.run(source, cell)
    notebook.run("question.solution()")


def test_a_notebook_that_is_run_again_and_again_does_not_grow(notebook):
    run_all(notebook)
    before = list(map(notebook.value, COUNT))
    assert before[0] > 100 and before[1] == 2
    for _ in range(4):
        run_all(notebook)
    assert list(map(notebook.value, COUNT)) == before


def test_what_another_cell_still_shows_stays_open(notebook):
    run_all(notebook)
    notebook.run("mine", "f")
    notebook.run("mine.add_class('old')\nold = mine", "g")
    notebook.run(CELLS["d"], "d")
    assert notebook.value("old.comm is not None"), "cell f shows it"
    notebook.run("'nothing'", "f")
    assert notebook.value("old.comm is None")
    shown = notebook.run("old", "h")
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert notebook.value("all(each.comm for each in (old, old.timeline, old.layout, old.status))")


def test_a_front_end_that_names_no_cell_loses_nothing(notebook):
    notebook.run("first = explore(Keepalive)\nfirst")
    notebook.run("second = explore(Keepalive)\nsecond")
    assert notebook.value("first.comm is not None and second.comm is not None")


@pytest.mark.parametrize(
    "make",
    [
        lambda: explore(Keepalive), lambda: explore(SlowReader), lambda: explore(Pool), idle_map, topology,
        lambda: picture(run(Keepalive())),
    ],
)  # fmt: skip
def test_a_closed_widget_leaves_none_of_its_parts(make):
    gc.collect()
    instances = ipywidgets.widgets.widget._instances
    before = set(instances)
    widget = make()
    assert len(instances) > len(before)
    reopen(widget)  # changes nothing
    close(widget)
    assert set(instances) <= before
