"""The what-if form in a real JupyterLab and a real Chromium: files, ticks, pastes, the keyboard, a reload."""

from itertools import pairwise

import pytest

from conftest import need
from in_jupyterlab import chromium_page, jupyterlab, open_notebook, run_all, write_notebook
from tcplab.advice.topology_file import examples

pytestmark = pytest.mark.browser

SAID = ".tt-verdict"
#: What a cell's output has on a screen of 1280 × 800, px.
ROOM = (1108, 685)


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    program = need("chromium")
    with jupyterlab(tmp_path_factory.mktemp("lab")) as lab:
        write_notebook(lab.folder / "topology.ipynb", "import tcplab", "tcplab.topology()")
        with chromium_page(program, width=1280, height=800) as (page, outside):
            page.set_default_timeout(30_000)
            open_notebook(page, lab.address("topology.ipynb"))
            page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
            run_all(page)
            page.locator(SAID).first.wait_for()
            yield page, lab
            assert outside == []


def says(page, text):
    """Wait until the form says this."""
    page.locator(SAID).first.get_by_text(text).wait_for()


def size(page):
    box = page.locator(".tt-form").first.bounding_box()
    return box["width"], box["height"]


def fits(page):
    wide, high = size(page)
    inside = page.evaluate("""() => {
        const form = document.querySelector(".tt-form");
        return form.scrollWidth <= form.clientWidth + 1;
    }""")
    return wide <= ROOM[0] and high <= ROOM[1] and inside


def test_a_paste_a_tick_and_a_conflict_fit_the_screen(visit):
    page, _ = visit
    assert fits(page)
    says(page, "Nothing pasted yet")
    # Beside JupyterLab's list of files a cell is narrower: box, sample and stacks stand one below the other.
    page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
    page.wait_for_function("() => document.querySelector('.tt-form').clientWidth < 1000")
    parts = [page.locator(part).first.bounding_box() for part in (".tt-text", ".tt-sample", ".tt-stacks")]
    assert all(each["height"] > 60 for each in parts)
    assert all(above["y"] + above["height"] <= below["y"] for above, below in pairwise(parts))
    page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
    page.wait_for_function("() => document.querySelector('.tt-form').clientWidth > 1000")
    page.locator("input.tt-file").first.set_input_files(examples()["java_aws"])
    says(page, "Breaks first: B, Silent query")
    assert fits(page)
    # Ten lanes fit, too.
    page.get_by_label("Examples").first.select_option("go_google_cloud")
    says(page, "Breaks first: J, Ports run out")
    assert fits(page)
    page.get_by_label("Examples").first.select_option("java_aws")
    says(page, "Breaks first: B, Silent query")
    # By keyboard: the space bar ticks, and the focus stays.
    tick = page.locator(".tt-remedies input").first
    tick.focus()
    page.keyboard.press("Space")
    says(page, "7 too late →")
    assert page.evaluate("() => document.activeElement.type") == "checkbox"
    assert fits(page)
    # Lanes are a list: the arrow keys go through it, and what is in the path is marked.
    lane = page.locator('[data-lane="A"]').first
    lane.focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("() => document.activeElement.dataset.lane") == "B"
    outline = "() => getComputedStyle(document.querySelector('.tt-path .in-B')).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.keyboard.press("Enter")
    packets = page.locator(".tcplab-topology .tcplab-picture .main-svg").first
    packets.wait_for()
    page.keyboard.press("Enter")
    packets.wait_for(state="detached")
    page.locator(".tt-paste summary").first.click()
    box = page.locator(".tt-paste textarea").first
    box.fill("## deployment.yaml\n- name: SPRING_DATASOURCE_HIKARI_MAXIMUM_POOL_SIZE\n  value: '80'\n"
             "## application.properties\nspring.datasource.hikari.maximum-pool-size=30")  # fmt: skip
    page.locator(".tt-paste").get_by_role("button", name="Read it").first.click()
    says(page, "1 conflict.")
    assert fits(page)
    page.locator(".tt-aside input[type=radio]:not(:checked)").first.check()
    page.locator(".tt-chip.bad").wait_for(state="detached")


def test_the_race_is_drawn_for_a_dark_page(visit):
    page, _ = visit
    theme = "() => window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
    page.evaluate(theme)
    page.locator('.tt-picture svg > rect[fill="#111111"]').first.wait_for()
    assert fits(page)


def test_a_number_is_typed_and_is_there_after_a_reload(visit):
    page, lab = visit
    field = page.get_by_label("idle up to").first
    field.fill("2 h")
    field.press("Enter")
    page.wait_for_function("() => document.querySelector('[aria-label=\"idle up to\"]').value === '2 h'")
    said = page.locator(SAID).first.inner_text()
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_timeout(500)
    open_notebook(page, lab.address("topology.ipynb"))
    page.locator(SAID).first.wait_for()
    assert page.locator(SAID).first.inner_text() == said
    assert page.get_by_label("idle up to").first.input_value() == "2 h"
