"""The notebooks in a real JupyterLab and a real Chromium, as a learner with a keyboard meets them."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest

from conftest import need
from course_in_browser import DONE, ERRORS, fill
from in_jupyterlab import chromium_page, jupyterlab, open_notebook, run_all
from tcplab.lesson.course import lessons
from tcplab.lesson.question import WAITING
from test_lessons import texts_of

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[1]
READY = [lesson for lesson in lessons().values() if lesson.ready]
OPEN = "async path => { await window.jupyterapp.commands.execute('docmanager:open', { path }); }"
#: The notebook of that path is shown, and its kernel is there and idle.
SHOWN = """path => {
    const panel = window.jupyterapp.shell.currentWidget;
    return panel?.context?.path === path && panel.sessionContext?.isReady
        && panel.sessionContext.session?.kernel?.status === "idle";
}"""
CLOSE = """async () => {
    const { commands, shell } = window.jupyterapp;
    await shell.currentWidget.sessionContext.shutdown();
    await commands.execute('docmanager:save');
    await commands.execute('application:close');
}"""
CELLS = """() => [...window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells]
    .map(cell => cell.toJSON())"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with jupyterlab(tmp_path_factory.mktemp("course")) as server:
        shutil.copytree(ROOT / "notebooks", server.folder / "untouched")
        shutil.copytree(ROOT / "data" / "captures", server.folder / "data" / "captures")
        yield server


@pytest.fixture(scope="module")
def browser(lab):
    """JupyterLab in a Chromium, loaded once: each notebook is opened in it, and closed again."""
    with chromium_page(need("chromium"), height=2000) as (page, outside):
        (lab.folder / "notebooks").mkdir()
        shutil.copy(ROOT / "notebooks" / READY[0].notebook, lab.folder / "first.ipynb")
        open_notebook(page, lab.address("first.ipynb"))
        yield page, outside


@pytest.fixture
def page(browser):
    page, outside = browser
    yield page
    page.evaluate(CLOSE)
    assert outside == []


def show(page, path):
    """Open a notebook, run all of it, and wait for its last cell; nothing may have failed."""
    page.evaluate(OPEN, path)
    page.wait_for_function(SHOWN, arg=path, timeout=60_000)
    run_all(page)
    page.wait_for_function(DONE, timeout=120_000)
    assert page.evaluate(ERRORS) == []


@pytest.mark.parametrize("lesson", READY, ids=str)
def test_a_notebook_runs_with_the_reference_answers(page, lab, lesson):
    fill(lab, lesson.notebook)
    show(page, f"notebooks/{lesson.notebook}")
    book = nbformat.from_dict({"cells": page.evaluate(CELLS)})
    texts = list(texts_of(book))
    assert not any(WAITING in text for text in texts)
    titles = {title for text in texts for title in re.findall(r"<details><summary>(.*?)</summary>", text)}
    assert not any("prediction" in title for title in titles), "it waits for one that was made"
    proofs = 0 if lesson.name in ("start_here", "capture_clinic") else 1
    assert sum("<details open" in text for text in texts) >= proofs


def test_a_prediction_is_made_with_the_keyboard_and_opens_what_waits(page):
    show(page, "untouched/02_fin_or_rst.ipynb")
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
    said = question.locator("[role=status]", has_text="You said")
    said.wait_for(timeout=40_000)
    assert "You said: An error at once: Broken pipe." in said.inner_text()
    assert choices.nth(1).is_checked()

    # The explorer is there, and so is what was folded away.
    page.locator(".tcplab-timeline-picture svg").first.wait_for(state="attached", timeout=30_000)
    page.locator("details[open]").first.wait_for(state="attached", timeout=20_000)
    opened = page.locator("details[open]").first.inner_text()
    assert "On real Linux" in opened and "pg_terminate_backend, psql idle" in opened


def test_a_number_is_checked_with_enter(page):
    show(page, "untouched/01_life_of_a_connection.ipynb")
    box = page.locator(".tcplab-keys input[type=text]").first
    box.scroll_into_view_if_needed()
    box.focus()
    page.keyboard.type("4")
    page.keyboard.press("Enter")
    page.locator(".tcplab-keys [role=status]", has_text="You said 4 segments.").first.wait_for(timeout=20_000)


def test_the_search_follows_every_key(page):
    show(page, "untouched/00_start_here.ipynb")
    box = page.get_by_placeholder("took 127 s")
    box.scroll_into_view_if_needed()
    box.focus()
    page.keyboard.type("my connect took 127 s")
    page.locator(".widget-html", has_text="connect() without an answer").wait_for(timeout=20_000)
