"""The explorer around its timeline in a real JupyterLab and a real Chromium: keys, frames ahead, playing."""

import re

import pytest

from conftest import need
from in_jupyterlab import chromium_page, jupyterlab, open_notebook, run_all, write_notebook
from tcplab import Keepalive

pytestmark = pytest.mark.browser

NOTEBOOK = (
    "from time import sleep\nfrom tcplab import Keepalive, explore",
    "explorer = explore(Keepalive, idle_s=60, interval_s=10, probes=6)\nexplorer",
    "with explorer._lock:  # it can answer nothing meanwhile\n    sleep(4)",
)
PICTURE = ".tcplab-timeline-picture"
SENTENCE = ".tcplab-sentence"
DRAWN = f"() => document.querySelector('{PICTURE} svg')?.outerHTML ?? ''"
CURSOR = f"() => document.querySelector('{PICTURE} .tcplab-cursor text')?.textContent ?? ''"


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    """A page of 1280 x 800 with the file browser open, on which the notebook has run."""
    with jupyterlab(tmp_path_factory.mktemp("lab")) as lab:
        write_notebook(lab.folder / "timeline.ipynb", *NOTEBOOK)
        with chromium_page(need("chromium"), height=800) as (page, outside):
            page.set_default_timeout(30_000)
            open_notebook(page, lab.address("timeline.ipynb"))
            run_all(page)
            page.locator(f"{PICTURE} svg").wait_for()
            page.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for(state="attached")
            yield page, outside


@pytest.fixture
def page(visit):
    page, outside = visit
    page.get_by_role("button", name="Reset").click()
    hand(page).focus()
    page.keyboard.press("Escape")
    said(page, ": 6 probes")
    page.evaluate("() => document.querySelector('.tcplab-explorer').scrollIntoView()")
    yield page
    assert outside == []


def said(page, words):
    page.locator(SENTENCE).get_by_text(words).wait_for()


def hand(page):
    return page.get_by_role("slider", name="moment on the timeline")


def probes(page):
    return page.get_by_role("slider", name="keepalive: probes")


def test_it_turns_dark_with_jupyterlab(page):
    paper = f"() => document.querySelector('{PICTURE} svg > rect').getAttribute('fill')"
    light = page.evaluate(paper)
    change = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
    page.evaluate(change, "JupyterLab Dark")
    page.wait_for_function(f"light => ({paper})() !== light", arg=light)
    page.evaluate(change, "JupyterLab Light")
    page.wait_for_function("() => document.body.dataset.jpThemeLight === 'true'")
    page.wait_for_function(f"light => ({paper})() === light", arg=light)


def test_controls_sentence_timeline_and_bar_fit_one_screen(page):
    assert page.locator(".jp-FileBrowser").first.is_visible()
    seen = page.locator(".jp-WindowedPanel-outer").bounding_box()
    top = page.locator(".tcplab-explorer").bounding_box()["y"]
    bar = page.locator(".tcplab-bar").first.bounding_box()
    assert bar["y"] + bar["height"] - top <= seen["height"]
    order = (
        ".tcplab-head",
        ".tcplab-controls",
        SENTENCE,
        PICTURE,
        ".tcplab-bar",
        ".tcplab-more",
        ".lm-TabBar-tab",
    )
    places = [page.locator(f".tcplab-explorer {css}").first.bounding_box()["y"] for css in order]
    assert places == sorted(places)


def test_a_key_changes_the_picture_and_the_sentence_follows(page):
    before = page.evaluate(DRAWN)
    probes(page).focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"before => ({DRAWN})() !== before", arg=before)
    said(page, ": 7 probes")


def test_a_picture_sent_ahead_is_shown_while_the_kernel_is_busy(page):
    probes(page).focus()
    page.wait_for_timeout(1500)  # idle: the neighbours are sent
    before = page.evaluate(DRAWN)
    page.evaluate(
        """() => {
            window.jupyterapp.shell.currentWidget.content.activeCellIndex = 2;
            window.jupyterapp.commands.execute("notebook:run-cell");
        }"""
    )
    page.get_by_text("[*]:").first.wait_for()
    page.wait_for_timeout(300)
    probes(page).focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"before => ({DRAWN})() !== before", arg=before, timeout=1000)
    assert ": 6 probes" in page.locator(SENTENCE).inner_text(), "the kernel has not answered yet"
    ahead = page.evaluate(DRAWN)
    assert probes(page).get_attribute("aria-valuetext") == "7"
    said(page, ": 7 probes")
    page.wait_for_timeout(500)
    page.wait_for_function(f"ahead => ({DRAWN})() === ahead", arg=ahead)  # the run shows the same


def test_it_plays_and_the_console_follows(page):
    page.get_by_role("tab", name="Your console").click()
    console = page.get_by_label("console of client")
    console.wait_for()
    before = console.inner_text()
    hand(page).focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Pause").wait_for()
    page.wait_for_function(f"() => parseFloat(({CURSOR})()) > 10")
    page.wait_for_function(
        "was => document.querySelector('[aria-label=\"console of client\"]').innerText !== was", arg=before
    )
    page.keyboard.press("Space")
    page.get_by_role("button", name="Play").wait_for()
    at = page.evaluate(CURSOR)
    page.wait_for_timeout(400)
    assert page.evaluate(CURSOR) == at, "it rests"
    page.keyboard.press("Escape")
    page.wait_for_function(f"() => ({CURSOR})() === ''")
    page.get_by_role("tab", name="Picture").click()


def test_arrows_step_from_event_to_event_and_say_them(page):
    hand(page).focus()
    page.keyboard.press("Home")
    assert page.evaluate(CURSOR) == "0 s"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(CURSOR) == "60 s" == hand(page).get_attribute("aria-valuetext")
    assert "keepalive probe" in page.locator(".tcplab-live").first.inner_text()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(CURSOR) == "70 s"
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(CURSOR) == "60 s"
    page.keyboard.press("End")
    assert page.evaluate(CURSOR) == "2 min"
    active = "() => window.jupyterapp.shell.currentWidget.content.activeCellIndex"
    assert page.evaluate(active) == page.evaluate(active)
    area = page.locator(f"{PICTURE} svg").bounding_box()
    page.mouse.click(area["x"] + area["width"] * 0.6, area["y"] + 60)
    assert re.fullmatch(r"\d+(\.\d)? s", page.evaluate(CURSOR))


def test_a_run_is_kept_and_compared(page):
    page.get_by_role("button", name="Keep this run").click()
    box = page.locator(".tcplab-control", has_text="keepalive: probes").locator("input[type=number]")
    box.fill("3")
    page.keyboard.press("Enter")
    said(page, "ETIMEDOUT after 90 s instead of 2 min.")
    page.wait_for_function(f"() => ({DRAWN})().includes('kept: probes 6')")
    page.get_by_role("button", name="Forget kept runs").click()
    page.wait_for_function(f"() => !({DRAWN})().includes('kept: probes 6')")


def test_every_setting_is_reached_and_its_help_read_with_the_keyboard(page):
    page.get_by_role("button", name="more settings").focus()
    page.keyboard.press("Enter")
    page.get_by_role("slider", name="user timeout").wait_for()
    assert page.get_by_role("button", name="more settings").get_attribute("aria-expanded") == "true"
    page.get_by_role("combobox", name="preset").focus()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                """() => {
                    const row = document.activeElement.closest(".tcplab-control");
                    const help = row?.querySelector(".tcplab-help");
                    return help && getComputedStyle(help).visibility === "visible"
                        ? row.querySelector("label").textContent : "";
                }"""
            )
        )
    labels = {knob.label for knob in Keepalive.knobs().values()}
    assert labels <= {label.partition(" (")[0] for label in reached}
    page.get_by_role("button", name="more settings").click()


def test_buttons_say_which_is_pressed_and_the_keys_stay_in_the_explorer(page):
    alive, offline = (page.get_by_role("button", name=name, exact=True) for name in ("alive", "offline"))
    assert (alive.get_attribute("aria-pressed"), offline.get_attribute("aria-pressed")) == ("false", "true")
    active = "() => window.jupyterapp.shell.currentWidget.content.activeCellIndex"
    before = page.evaluate(active)
    alive.focus()
    page.keyboard.press("Space")
    said(page, "The server is alive.")
    assert alive.get_attribute("aria-pressed") == "true"
    probes(page).focus()
    page.keyboard.press("ArrowUp")
    hand(page).focus()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(active) == before


def test_out_of_range_greys_the_last_picture(page):
    before = page.evaluate(DRAWN)
    box = page.locator(".tcplab-control", has_text="keepalive: probes").locator("input[type=number]")
    box.fill("500")
    page.keyboard.press("Enter")
    said(page, "“keepalive: probes” = 500 is out of range: 1 to 127.")
    page.locator(f"{PICTURE}.grey[aria-disabled=true]").wait_for()
    assert page.evaluate(DRAWN) == before
