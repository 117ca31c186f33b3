"""What a teacher uses in front of a class, in a real JupyterLab and a real Chromium: projector mode, a lesson
begun again, and a picture saved as SVG."""

import pytest

from conftest import need
from in_jupyterlab import chromium_page, jupyterlab, open_notebook, run_all, write_notebook

pytestmark = pytest.mark.browser

NOTEBOOK = (
    "from tcplab import Keepalive, explore\n"
    "from tcplab.lesson import after, ask, projector, start_again\n"
    "question = ask('keepalive', 'power_cut')",
    "projector(False)",
    "question",
    "after(question, lambda: explore(Keepalive, idle_s=60, interval_s=10, probes=6))",
    "start_again()",
)
#: The height of a letter on the screen, px: of a picture's text with its enlargement, and of an element.
PICTURE_TEXT = """() => {
    const text = document.querySelector(".js-plotly-plot .textpoint text");
    const svg = text.ownerSVGElement;
    const scale = svg.getBoundingClientRect().width / svg.clientWidth;
    return parseFloat(getComputedStyle(text).fontSize) * scale;
}"""
SIZE = "element => parseFloat(getComputedStyle(element).fontSize)"


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    program = need("chromium")
    with jupyterlab(tmp_path_factory.mktemp("lab")) as lab:
        write_notebook(lab.folder / "lesson.ipynb", *NOTEBOOK)
        with chromium_page(program, height=2400) as (page, outside):
            page.set_default_timeout(30_000)
            open_notebook(page, lab.address("lesson.ipynb"))
            run_all(page)
            page.get_by_text("Everything is reset").wait_for()
            yield page, outside


@pytest.fixture
def page(visit):
    """The page with the prediction made and projector mode off."""
    page, outside = visit
    if page.locator(".js-plotly-plot").count() == 0:
        predict(page)
    yield page
    if page.locator("body.tcplab-projector").count():
        page.get_by_role("button", name="Leave projector mode").click()
        page.wait_for_function("() => !document.body.classList.contains('tcplab-projector')")
    assert outside == []


def predict(page):
    page.get_by_role("textbox", name="Your number").fill("8 s")
    page.get_by_role("button", name="Check", exact=True).click()
    page.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for()


def enlarge(page):
    page.get_by_role("button", name="Projector mode").click()
    page.locator("body.tcplab-projector").wait_for(state="attached")
    wait_until_it_fits(page)


def wait_until_it_fits(page):
    """The picture takes all of its place, which scrolls where it is narrower, and has room for its height."""
    page.wait_for_function(
        """() => {
            const plot = document.querySelector(".js-plotly-plot");
            if (!plot?.querySelector(".main-svg")) return false;
            const seen = plot.querySelector(".main-svg").getBoundingClientRect();
            const height = plot.parentElement.getBoundingClientRect().height;
            const width = plot.getBoundingClientRect().width;
            return Math.abs(seen.width - width) < 3 && Math.abs(seen.height - height) < 3;
        }"""
    )


def test_projector_mode_enlarges_text_and_pictures_and_hides_the_rest(page):
    small = page.evaluate(PICTURE_TEXT)
    assert page.get_by_text("more settings").first.is_visible()
    enlarge(page)
    assert page.evaluate(PICTURE_TEXT) >= 18.9 > small
    for text in (".tcplab-sentence", ".tcplab-label label", "[role=status]", ".widget-text label"):
        assert page.locator(text).first.evaluate(SIZE) >= 18, text
    assert not page.get_by_text("more settings").first.is_visible()
    assert page.locator(".tcplab-help:visible").filter(has_text="keepalive").count() == 0
    assert page.get_by_role("tab", name="Picture").is_visible()
    assert not page.get_by_role("tab", name="Segments").is_visible()
    page.get_by_role("button", name="Leave projector mode").click()
    page.get_by_role("tab", name="Segments").wait_for()
    wait_until_it_fits(page)
    assert page.evaluate(PICTURE_TEXT) == small


def test_an_enlarged_picture_is_clicked_and_pointed_at_where_things_stand(page):
    enlarge(page)
    layer = page.locator(".js-plotly-plot .nsewdrag").first
    layer.scroll_into_view_if_needed()
    label = page.locator(".js-plotly-plot .textpoint", has_text="keepalive probe 3").first.bounding_box()
    area = layer.bounding_box()
    layer.click(position={"x": 150, "y": label["y"] + label["height"] + 5 - area["y"]})
    said = page.locator(".tcplab-help", has_text="Your console shows").first
    page.wait_for_function("element => /at (79[.]|80)/.test(element.textContent)", arg=said.element_handle())
    label = page.locator(".js-plotly-plot .textpoint", has_text="keepalive probe 3").first.bounding_box()
    hover = page.locator(".js-plotly-plot .hoverlayer .hovertext").first
    for x in range(0, round(label["width"]), 15):  # along the arrow below its label
        page.mouse.move(label["x"] + x, label["y"] + label["height"] + 4)
        page.wait_for_timeout(150)  # plotly answers a pointer that rests
        if hover.is_visible():
            break
    seen = hover.bounding_box()
    assert abs(seen["y"] + seen["height"] / 2 - label["y"]) < 120


def test_projector_mode_holds_where_a_cell_stands_in_a_frame_of_its_own(page):
    """No switch in another cell reaches such a frame's body: the widget itself is marked, too."""
    enlarge(page)
    page.evaluate("() => document.body.classList.remove('tcplab-projector')")
    page.locator(".tcplab-explorer.tcplab-projector").first.wait_for()
    assert page.evaluate(PICTURE_TEXT) >= 18.9
    assert page.locator(".tcplab-sentence").first.evaluate(SIZE) >= 18
    assert not page.get_by_role("tab", name="Segments").is_visible()
    page.evaluate("() => document.body.classList.add('tcplab-projector')")


def test_projector_mode_survives_a_reload(page):
    enlarge(page)
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty")
    page.evaluate("() => { document.body.dataset.old = 'page' }")
    page.reload()
    page.wait_for_function("() => !document.body.dataset.old", timeout=60_000)
    page.locator("body.tcplab-projector").wait_for(state="attached")
    page.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for()
    wait_until_it_fits(page)


def test_the_camera_button_saves_an_svg(page):
    page.locator(".js-plotly-plot .nsewdrag").first.hover()
    with page.expect_download() as download:
        page.locator(".modebar-btn[data-title*='Download']").first.click()
    assert download.value.suggested_filename == "keepalive.svg"
    drawn = download.value.path().read_text(encoding="utf-8")
    assert drawn.startswith("<svg") and "keepalive probe 3" in drawn
    assert 'href="http' not in drawn.replace("http://www.w3.org", "")


def test_a_lesson_begins_again_without_its_kernel(page):
    page.evaluate(
        """() => {
            const notebook = window.jupyterapp.shell.currentWidget.content;
            const sources = notebook.widgets.map(cell => cell.model.sharedModel.source);
            notebook.activeCellIndex = sources.indexOf("start_again()");
            window.jupyterapp.commands.execute("notebook:run-cell");
        }"""
    )
    page.get_by_text("Answer the question above").wait_for()
    assert page.locator(".js-plotly-plot").count() == 0
    assert page.get_by_role("textbox", name="Your number").input_value() == ""
    page.wait_for_function("() => !document.body.innerText.includes('You said')")
    predict(page)
    page.wait_for_function("() => document.body.innerText.includes('You said')")
