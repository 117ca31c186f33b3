"""The notebooks in a real JupyterLab and a real Chromium, as a learner with a keyboard meets them."""

import shutil
from pathlib import Path

import pytest

from conftest import need
from in_jupyterlab import chromium_page, jupyterlab, open_notebook, run_all
from tcplab.lesson.course import lessons
from tcplab.lesson.question import WAITING

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[1]
READY = [lesson for lesson in lessons().values() if lesson.ready]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with jupyterlab(tmp_path_factory.mktemp("course")) as server:
        shutil.copytree(ROOT / "notebooks", server.folder / "notebooks")
        shutil.copytree(ROOT / "data" / "captures", server.folder / "data" / "captures")
        yield server


@pytest.fixture
def page(lab):
    with chromium_page(need("chromium"), height=2000) as (page, outside):
        yield page
        assert outside == []


def show(page, lab, notebook):
    """Open a notebook, run all of it, and wait for its last cell; nothing may have failed."""
    open_notebook(page, lab.address(f"notebooks/{notebook}"))
    run_all(page)
    page.wait_for_function(
        """() => {
            const cells = window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells;
            const code = [...cells].filter(cell => cell.cell_type === "code");
            return code.every(cell => cell.execution_count) && code.at(-1).executionState !== "running";
        }""",
        timeout=60_000,
    )
    errors = page.evaluate(
        """() => [...window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells]
            .flatMap(cell => cell.cell_type === "code" ? cell.toJSON().outputs : [])
            .filter(output => output.output_type === "error").map(output => output.evalue)"""
    )
    assert errors == []


@pytest.mark.parametrize("lesson", READY, ids=str)
def test_a_notebook_runs_without_an_error(page, lab, lesson):
    show(page, lab, lesson.notebook)


def test_a_prediction_is_made_with_the_keyboard_and_opens_what_waits(page, lab):
    show(page, lab, "02_fin_or_rst.ipynb")
    question = page.locator(".tcplab-keys[data-keys=kept]").first
    question.scroll_into_view_if_needed()
    assert page.get_by_text(WAITING).count() >= 1
    assert page.locator("details[open]").count() == 0

    choices = question.locator("input[type=radio]")
    choices.nth(0).focus()
    page.keyboard.press("Space")
    page.wait_for_timeout(
        500
    )  # as fast as a person; ipywidgets drops a change that comes with the first one's echo
    page.keyboard.press("ArrowDown")
    page.wait_for_timeout(500)
    for _ in range(6):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Check":
            break
    page.keyboard.press("Enter")
    said = question.locator("[role=status]")
    said.wait_for(timeout=20_000)
    assert "You said: An error at once: Broken pipe." in said.inner_text()
    assert choices.nth(1).is_checked()

    # The explorer is there, and so is what was folded away.
    page.locator(".js-plotly-plot .main-svg").first.wait_for(state="attached", timeout=30_000)
    page.locator("details[open]").first.wait_for(state="attached", timeout=20_000)
    opened = page.locator("details[open]").first.inner_text()
    assert "only the one after says: Broken pipe (EPIPE)" in opened


def test_a_number_is_checked_with_enter(page, lab):
    show(page, lab, "01_life_of_a_connection.ipynb")
    box = page.locator(".tcplab-keys input[type=text]").first
    box.scroll_into_view_if_needed()
    box.focus()
    page.keyboard.type("4")
    page.keyboard.press("Enter")
    said = page.locator(".tcplab-keys [role=status]").first
    said.wait_for(timeout=20_000)
    assert "You said 4 segments." in said.inner_text()


def test_the_search_follows_every_key(page, lab):
    show(page, lab, "00_start_here.ipynb")
    box = page.get_by_placeholder("my connect took 127 s")
    box.scroll_into_view_if_needed()
    box.focus()
    page.keyboard.type("my connect took 127 s")
    page.locator(".widget-html", has_text="connect() to nowhere").wait_for(timeout=20_000)
