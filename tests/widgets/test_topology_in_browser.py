"""The what-if form in a real JupyterLab and a real Chromium: typing, the picture, a reload, a file."""

import json

import pytest

from conftest import need
from in_jupyterlab import chromium_page, jupyterlab, open_notebook, run_all, write_notebook
from tcplab.advice.environment import PRESETS

pytestmark = pytest.mark.browser

SAID = ".tcplab-topology .tcplab-sentence"
ORACLE = PRESETS["On-prem: firewall, Oracle"]


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    program = need("chromium")
    with jupyterlab(tmp_path_factory.mktemp("lab")) as lab:
        write_notebook(lab.folder / "topology.ipynb", "import tcplab", "tcplab.topology()")
        with chromium_page(program, height=1600) as (page, outside):
            page.set_default_timeout(30_000)
            open_notebook(page, lab.address("topology.ipynb"))
            run_all(page)
            page.locator(SAID).first.wait_for()
            yield page, lab
            assert outside == []


def says(page, text):
    """Wait until the form says this."""
    page.locator(SAID).first.get_by_text(text).wait_for()


def open_tab(page, title):
    page.locator(".tcplab-topology .lm-TabBar-tabLabel").get_by_text(title, exact=True).first.click()


def test_what_is_typed_is_answered_drawn_and_still_there_after_a_reload(visit):
    page, lab = visit
    says(page, "a dead server is noticed")
    open_tab(page, "2 · Boxes on the way")
    page.get_by_role("button", name="Add a box to this leg").first.click()
    says(page, "broken")
    open_tab(page, "3 · How long, how many")
    field = page.get_by_label("longest silent query (s)").first
    field.focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("900")
    page.keyboard.press("Tab")
    open_tab(page, "What breaks")
    page.get_by_text("7200 + 75 × 2 = 7350 s (libpq) < 350 s (AWS NLB)").first.wait_for()
    open_tab(page, "All timers")
    words = page.locator(".tcplab-topology .js-plotly-plot .textpoint")
    words.get_by_text("longest silent query: silent for 15 min").first.wait_for()
    # As wide as its place, and not as plotly draws what is hidden: 700 px.
    width = page.locator(".tcplab-topology .js-plotly-plot svg.main-svg").first.bounding_box()["width"]
    assert width > 800
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    said = page.locator(SAID).first.inner_text()
    page.wait_for_timeout(500)
    open_notebook(page, lab.address("topology.ipynb"))
    page.locator(SAID).first.wait_for()
    assert page.locator(SAID).first.inner_text() == said
    assert page.get_by_label("longest silent query (s)").first.input_value() == "900"


def test_a_file_is_loaded_and_handed_out(visit, tmp_path):
    page, _ = visit
    open_tab(page, "5 · Save and load")
    saved = tmp_path / "saved.json"
    saved.write_text(ORACLE.to_json(), "utf-8")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Load a saved file").first.click()
    chooser.value.set_files(saved)
    says(page, "Oracle Net waits for ever")
    with page.expect_download() as download:
        page.get_by_text("Download topology.json").first.click()
    assert json.loads(download.value.path().read_text("utf-8")) == json.loads(ORACLE.to_json())
    broken = tmp_path / "broken.json"
    broken.write_text("{", "utf-8")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Load a saved file").first.click()
    chooser.value.set_files(broken)
    page.get_by_text("✗ broken.json").locator("visible=true").first.wait_for()
    says(page, "Oracle Net waits for ever")
