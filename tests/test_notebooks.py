"""Every notebook is committed executed, comparable and light; nbval then runs it and compares its outputs.

`complaints` is plain code over a notebook's dictionary, so each rule is tested with a planted fault.
"""

import copy
import json
import re
from pathlib import Path

import pytest
from nbval.plugin import find_comment_markers, find_metadata_tags

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
LARGEST = 200_000  # bytes
# Cells whose output depends on the machine, so nbval runs them and compares nothing.
UNCOMPARED_CELLS = {"00_start_here.ipynb": 1}  # what works on this machine

MACHINE_PATH = re.compile(r"/(?:root|work|home/\w+|Users/\w+)/|[A-Z]:\\\\Users\\\\")


def complaints(name: str, notebook: dict, size: int) -> list[str]:
    """What is wrong with one notebook; `size` in bytes."""
    said = []
    cells = notebook["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    first = "".join(cells[0]["source"]) if cells and cells[0]["cell_type"] == "markdown" else ""
    if not first.startswith("# "):
        said.append("the first cell is no title (`# …`)")
    if [cell["execution_count"] for cell in code] != list(range(1, len(code) + 1)):
        said.append("its code cells are not executed in order from 1: nbval would not compare them")
    if "widgets" in notebook["metadata"]:
        said.append("it carries widget state")
    if notebook["metadata"].get("language_info", {}).get("name") != "python":
        said.append("metadata.language_info.name is not python")
    if size > LARGEST:
        said.append(f"it has {size} bytes, more than {LARGEST}")
    if match := MACHINE_PATH.search(json.dumps(notebook, ensure_ascii=False)):
        said.append(f"it names a path of one machine: {match[0]}")

    uncompared = 0
    for number, cell in enumerate(code, 1):
        # As nbval itself reads the cell's comments and tags.
        options = dict(
            [*find_comment_markers("".join(cell["source"])), *find_metadata_tags(cell["metadata"])]
        )
        if options.get("skip") or "skip-execution" in cell["metadata"].get("tags", []):
            said.append(f"code cell {number} is skipped")
        uncompared += not options.get("check", True)
        failed = any(output["output_type"] == "error" for output in cell["outputs"])
        if failed and not options.get("check_exception"):
            said.append(f"code cell {number} shows a traceback")
    if uncompared > UNCOMPARED_CELLS.get(name, 0):
        said.append(f"{uncompared} cells are not compared; UNCOMPARED_CELLS says which may stay so, and why")
    return said


def test_every_notebook_is_fit_to_be_compared():
    said = {
        path.name: complaints(path.name, json.loads(path.read_text("utf-8")), path.stat().st_size)
        for path in sorted(NOTEBOOKS.rglob("[!.]*.ipynb"))
        if ".ipynb_checkpoints" not in path.parts
    }
    assert not {name: wrong for name, wrong in said.items() if wrong}


GOOD = {
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Keepalive\n", "Who asks whom?"]},
        {
            "cell_type": "code",
            "execution_count": 1,
            "metadata": {},
            "outputs": [],
            "source": ["import tcplab"],
        },
        {
            "cell_type": "code",
            "execution_count": 2,
            "metadata": {"tags": ["nbval-raises-exception"]},
            "outputs": [{"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}],
            "source": ["tcplab.run(0)"],
        },
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": []},
    ],
    "metadata": {"language_info": {"name": "python"}},
}


def tag(name):
    """A fault: the first code cell carries this tag."""
    return lambda notebook: notebook["cells"][1]["metadata"].update(tags=[name])


def source(text):
    """A fault: the first code cell reads like this."""
    return lambda notebook: notebook["cells"][1].update(source=text)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda notebook: notebook["cells"].pop(0), "no title"),
        (lambda notebook: notebook["cells"][0].update(source="## Keepalive"), "no title"),
        (lambda notebook: notebook["cells"][0].update(cell_type="raw"), "no title"),
        (lambda notebook: notebook["cells"][1].update(execution_count=None), "not executed in order"),
        (lambda notebook: notebook["cells"][2].update(execution_count=3), "not executed in order"),
        (lambda notebook: notebook["metadata"].update(widgets={}), "widget state"),
        (lambda notebook: notebook["metadata"].pop("language_info"), "language_info.name"),
        (lambda notebook: notebook["cells"][2]["metadata"].clear(), "code cell 2 shows a traceback"),
        (tag("nbval-skip"), "code cell 1 is skipped"),
        (tag("skip-execution"), "code cell 1 is skipped"),
        (source("# NBVAL_SKIP\nimport tcplab"), "code cell 1 is skipped"),
        (tag("nbval-ignore-output"), "1 cells are not compared"),
        (source(["# a comment\n", "#NBVAL_IGNORE_OUTPUT\n", "import tcplab"]), "1 cells are not compared"),
        (source("open('/root/dump.pcap')"), "path of one machine: /root/"),
        (source("open('/home/ada/dump.pcap')"), "path of one machine: /home/ada/"),
    ],
)
def test_a_planted_fault_is_seen(fault, says):
    notebook = copy.deepcopy(GOOD)
    fault(notebook)
    (said,) = complaints("03_keepalive.ipynb", notebook, 1000)
    assert says in said


def test_a_good_notebook_is_left_in_peace():
    assert complaints("03_keepalive.ipynb", GOOD, LARGEST) == []


def test_a_heavy_notebook_is_seen():
    assert complaints("03_keepalive.ipynb", GOOD, LARGEST + 1) == ["it has 200001 bytes, more than 200000"]


def test_a_cell_about_the_machine_itself_may_stay_uncompared():
    notebook = copy.deepcopy(GOOD)
    tag("nbval-ignore-output")(notebook)
    assert complaints("00_start_here.ipynb", notebook, 1000) == []
