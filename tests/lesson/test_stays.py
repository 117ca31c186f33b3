"""A picture that stays: what a saved or published notebook shows of what opened, without a kernel."""

import re

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

CELLS = (
    "from tcplab import Keepalive, PortChurn, explore, idle_map, picture, run\n"
    "from tcplab.lesson import after, ask, start_again",
    "question = ask('keepalive', 'power_cut')\nquestion",
    "after(question, lambda: explore(Keepalive))",
    "after(question, lambda: picture(run(PortChurn(rate_per_s=600))))",
    "after(question, idle_map)",
)
VIEW = "application/vnd.jupyter.widget-view+json"


def executed(*more):
    """The notebook after all its cells and these have run."""
    cells = [nbformat.v4.new_code_cell(cell) for cell in (*CELLS, *more)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name="python3", store_widget_state=False).execute()
    return notebook


def opened(notebook):
    """What stays where something waits, by MIME type; the living widget stands before it."""
    both = [[output["data"] for output in cell.outputs] for cell in notebook.cells[2:5]]
    assert all(VIEW in living and VIEW not in still for living, still in both)
    assert all(living["text/html"] == "" for living, _ in both)
    return [still for _, still in both]


@pytest.fixture(scope="module")
def answered():
    return executed("question.answer = '8 s'\nprint(question.check().outcome)")


def test_an_answer_puts_pictures_into_the_notebook(answered):
    seen = opened(answered)
    assert len(seen) == 3
    for data in seen:
        assert data["text/html"].count("<svg") == 1 and "You said" in data["text/html"]
        svg = re.search(r"<svg.*</svg>", data["text/html"], re.DOTALL)[0]
        assert len(svg.encode()) < 50_000
    assert "keepalive probe" in seen[0]["text/html"].lower() and "28,232 ports" in seen[1]["text/html"]


def test_a_published_page_has_them_too(answered):
    for cell in answered.cells:
        for output in cell.outputs:
            output.get("data", {}).pop(VIEW, None)
    page, _ = HTMLExporter().from_notebook_node(answered)
    assert page.count("You said") == 3 and "28,232 ports</text>" in page


def test_what_waits_stays_closed_until_then_and_after_a_new_beginning():
    for more in ((), ("question.solution()", "start_again()")):
        for data in opened(executed(*more)):
            assert "<svg" not in data["text/html"] and "Answer the question above" in data["text/plain"]
