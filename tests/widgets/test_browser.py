"""The explorer in a real JupyterLab and a real Chromium: what is painted, and after a reload too."""

import re

import pytest

from bench.sandboxes import need_sandbox
from conftest import need
from in_jupyterlab import chromium_page, jupyterlab, open_notebook, run_all, write_notebook

pytestmark = pytest.mark.browser

NOTEBOOK = (
    "from tcplab import Keepalive, SlowReader, explore",
    "explore(Keepalive, idle_s=60, interval_s=10, probes=6)",
    "explore(SlowReader)",
)
SENTENCE = ".tcplab-sentence"
#: What is painted of the first explorer's ladder, as a person reads it.
PAINTED = """() => {
    const plot = document.querySelector(".js-plotly-plot");
    if (!plot || !plot.offsetParent) return [];
    return [...plot.querySelectorAll(".textpoint")].map(text => text.textContent);
}"""


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    """A page on which the notebook has run, and the requests that wanted to leave the machine."""
    program = need("chromium")
    with jupyterlab(tmp_path_factory.mktemp("lab")) as lab:
        write_notebook(lab.folder / "explorer.ipynb", *NOTEBOOK)
        with chromium_page(program, height=2400) as (page, outside):
            page.set_default_timeout(20_000)
            open_notebook(page, lab.address("explorer.ipynb"))
            run_all(page)
            wait_for_pictures(page)
            yield page, outside


@pytest.fixture
def page(visit):
    """The same page for every test, its first explorer as it began."""
    page, outside = visit
    page.get_by_role("button", name="Reset").first.click()
    page.get_by_role("tab", name="Picture").first.click()
    wait_until_painted(page, 6)
    yield page
    assert outside == []


def wait_for_pictures(page):
    page.wait_for_function(
        """() => {
            const plots = [...document.querySelectorAll(".js-plotly-plot")];
            return plots.length === 2 && plots.every(plot => plot.querySelector(".scatterlayer .trace"));
        }""",
        timeout=60_000,
    )


def painted_probes(page):
    said = " ".join(page.evaluate(PAINTED))
    return max(map(int, re.findall(r"keepalive probe (\d+)", said)), default=0)


def wait_until_painted(page, probes):
    """Sentence and picture both say that many probes."""
    page.locator(SENTENCE).first.get_by_text(f": {probes} probe").wait_for()
    page.wait_for_function(
        f"""probes => {{
            const said = ({PAINTED})().join(" ");
            const seen = [...said.matchAll(/keepalive probe (\\d+)/g)].map(found => Number(found[1]));
            return Math.max(0, ...seen) === probes;
        }}""",
        arg=probes,
    )


def slider(page, label):
    return page.locator(".tcplab-control", has_text=label).first.get_by_role("slider")


def box(page, label):
    return page.locator(".tcplab-control", has_text=label).first.locator("input[type=number]")


def test_arrow_keys_move_slider_box_sentence_and_picture_together(page):
    handle = slider(page, "keepalive: probes")
    handle.focus()
    for probes in (5, 4, 3, 2):
        page.keyboard.press("ArrowLeft")
        wait_until_painted(page, probes)
        assert box(page, "keepalive: probes").input_value() == str(probes)
    for _ in range(5):  # as fast as keys come
        page.keyboard.press("ArrowRight")
    wait_until_painted(page, 7)
    assert box(page, "keepalive: probes").input_value() == "7"


def test_after_a_reload_picture_and_sliders_agree(page):
    box(page, "keepalive: interval").fill("20")
    page.keyboard.press("Enter")
    slider(page, "keepalive: probes").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    wait_until_painted(page, 4)
    before = {
        "painted": page.evaluate(PAINTED),
        "sentence": page.locator(SENTENCE).first.inner_text(),
        "slider": slider(page, "keepalive: probes").input_value(),
    }
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.evaluate("() => { document.body.dataset.old = 'page' }")
    page.reload()
    page.wait_for_function("() => !document.body.dataset.old", timeout=60_000)
    wait_for_pictures(page)
    wait_until_painted(page, 4)
    assert page.evaluate(PAINTED) == before["painted"]
    assert page.locator(SENTENCE).first.inner_text() == before["sentence"]
    assert slider(page, "keepalive: probes").input_value() == before["slider"]
    assert box(page, "keepalive: probes").input_value() == "4"
    assert box(page, "keepalive: interval").input_value() == "20"
    slider(page, "keepalive: probes").focus()  # and it is alive
    page.keyboard.press("ArrowRight")
    wait_until_painted(page, 5)


def test_a_wrong_value_leaves_its_sentence_and_no_picture(page):
    box(page, "keepalive: probes").fill("500")
    page.keyboard.press("Enter")
    page.locator(SENTENCE).first.get_by_text(
        "“keepalive: probes” = 500 is out of range: 1 to 127."
    ).wait_for()
    page.wait_for_function(f"() => ({PAINTED})().length === 0")
    assert page.get_by_role("tab", name="Picture").count() == 1  # the other explorer's
    assert box(page, "keepalive: probes").input_value() == "500"
    box(page, "keepalive: probes").fill("3")
    page.keyboard.press("Enter")
    wait_until_painted(page, 3)
    page.wait_for_function(  # it takes all of its place again
        """() => {
            const plot = document.querySelector(".js-plotly-plot");
            const wide = plot.querySelector(".main-svg").getBoundingClientRect().width;
            return Math.abs(wide - plot.parentElement.clientWidth) < 2;
        }"""
    )


def test_a_click_on_the_picture_picks_the_second_of_the_console(page):
    layer = page.locator(".js-plotly-plot .nsewdrag").first
    probe = page.locator(".js-plotly-plot .textpoint", has_text="keepalive probe 3").first
    # The arrow is a little below its label.
    below = probe.bounding_box()["y"] + probe.bounding_box()["height"] + 4 - layer.bounding_box()["y"]
    layer.click(position={"x": 300, "y": below})
    page.locator(".tcplab-help", has_text=re.compile(r"Your console shows the state at (79\.|80)")).wait_for()
    page.get_by_role("tab", name="Your console").first.click()
    shown = page.get_by_label("console of client").first.inner_text()
    assert re.search(r"ESTAB .* timer:\(keepalive,[\d.]+(sec|ms),[23]\)", shown)
    when = page.locator(".tcplab-moment").first.inner_text()
    page.get_by_role("slider", name="moment").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("was => document.querySelector('.tcplab-moment').innerText !== was", arg=when)


def test_all_of_it_is_reached_and_worked_with_the_keyboard(page):
    slider(page, "keepalive: idle").focus()
    reached = []
    for _ in range(25):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """() => {
                    const at = document.activeElement;
                    const row = at.closest(".tcplab-control");
                    return at.getAttribute("role") === "tab" ? at.textContent.trim()
                        : row ? row.querySelector("label").textContent : at.textContent.trim();
                }"""
            )
        )
        if reached[-1] == "Picture":
            break
    wanted = {"keepalive: idle (s)", "keepalive: interval (s)", "keepalive: probes", "the server", "Picture"}
    assert wanted <= set(reached)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_role("tab", name="Segments", selected=True).first.wait_for()
    page.get_by_text("segments; times in seconds from the first").first.wait_for()


def test_a_screen_reader_is_told_name_and_value_of_every_slider(page):
    probes = page.get_by_role("slider", name="keepalive: probes").first
    probes.focus()
    page.keyboard.press("ArrowLeft")
    wait_until_painted(page, 5)
    assert probes.get_attribute("aria-valuetext") == "5"
    page.get_by_role("tab", name="Your console").first.click()
    page.get_by_role("slider", name="moment").first.wait_for()
    nameless = "() => document.querySelectorAll(':is([role=slider], [type=range]):not([aria-label])').length"
    page.wait_for_function(f"() => ({nameless})() === 0")


def test_the_picture_turns_dark_with_jupyterlab(page):
    paper = "() => getComputedStyle(document.querySelector('.js-plotly-plot .svg-container')).filter"
    change = "theme => { window.jupyterapp.commands.execute('apputils:change-theme', {theme}) }"
    assert page.evaluate(paper) == "none"
    page.evaluate(change, "JupyterLab Dark")
    page.wait_for_function(f"() => ({paper})().startsWith('invert')")
    page.evaluate(change, "JupyterLab Light")
    page.wait_for_function(f"() => ({paper})() === 'none'")


@pytest.mark.linux
def test_linux_runs_at_a_click_shows_how_far_it_is_and_can_be_cancelled(page):
    need_sandbox()
    for label, value in (("keepalive: idle", "7"), ("keepalive: interval", "1"), ("keepalive: probes", "1")):
        box(page, label).fill(value)
        page.keyboard.press("Enter")
    wait_until_painted(page, 1)
    page.get_by_role("tab", name="On real Linux").first.click()
    start = page.get_by_role("button", name="Run it on this Linux now").first
    page.get_by_text("A run takes about 8 s in real time").wait_for()  # until then nothing can be pressed
    start.focus()
    page.keyboard.press("Space")
    page.get_by_text(re.compile(r"[1-4] of 8 s, \d+ segments")).wait_for()
    page.get_by_role("button", name="Cancel").first.click()
    page.get_by_text("Cancelled: the run was discarded.").wait_for()
    start.click()
    page.get_by_text("Run just now on Linux").wait_for()
    page.locator(SENTENCE).get_by_text("does what the model says").wait_for()
    answers = page.locator(".tcplab-timeline-picture svg text").filter(has_text="ETIMEDOUT after 8")
    answers.filter(has_text=re.compile(r"^Linux [\d.]+: ")).wait_for()
    page.get_by_text("Packet by packet").click()
    assert page.get_by_role("cell", name="keepalive seq 40").count() == 1
