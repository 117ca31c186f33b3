"""Replay and clinic in a real JupyterLab and a real Chromium: keys, reload, a file that is dropped."""

import re
import shutil

import pytest

from conftest import need
from in_jupyterlab import chromium_page, jupyterlab, open_notebook, run_all, write_notebook
from recordings.captures import PROJECT

pytestmark = pytest.mark.browser

CAPTURES = PROJECT / "data" / "captures"
HOSTILE = "<img src=x onerror=document.title='owned'>.pcap"
NOTEBOOK = (
    "import tcplab\ncapture = tcplab.read_capture('lesson_client_write.pcap')\n"
    "tcplab.replay(capture.connection(0), frames=capture.frames(0))",
    "tcplab.clinic()",
)
REPLAY, SAID = ".tcplab-replay", ".tcplab-replay .tcplab-sentence"
#: What is painted of the first replay's ladder: its moment's number, and how many arrows' words.
PAINTED = """() => {
    const plot = document.querySelector(".tcplab-replay .js-plotly-plot");
    if (!plot || !plot.offsetParent) return [];
    return [...plot.querySelectorAll(".textpoint")].map(text => text.textContent);
}"""


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    program = need("chromium")
    with jupyterlab(tmp_path_factory.mktemp("lab")) as lab:
        write_notebook(lab.folder / "clinic.ipynb", *NOTEBOOK)
        shutil.copy(CAPTURES / "lesson_client_write.pcap", lab.folder)
        with chromium_page(program, height=2400) as (page, outside):
            page.set_default_timeout(30_000)
            open_notebook(page, lab.address("clinic.ipynb"))
            run_all(page)
            page.locator(f"{REPLAY} .js-plotly-plot .scatterlayer .trace").first.wait_for(timeout=60_000)
            page.locator(f"{REPLAY}[data-keys=kept]").first.wait_for()
            yield page
            assert outside == []


@pytest.fixture
def page(visit):
    """The replay at its beginning, with the keyboard in it."""
    visit.locator(REPLAY).first.focus()
    visit.keyboard.press("Home")
    at(visit, 1)
    return visit


def at(page, step):
    """Wait until the sentence stands at this step, counted from 1; the sentence."""
    said = page.locator(SAID).first
    said.get_by_text(re.compile(rf"^Step {step} of ")).wait_for()
    return said.inner_text()


def painted(page, text):
    """Wait until these words stand beside an arrow, and tell all words that do."""
    page.wait_for_function(f"text => ({PAINTED})().some(words => words.includes(text))", arg=text)
    return page.evaluate(PAINTED)


def active(page):
    """Whether JupyterLab still has the replay's cell as its own, and how many cells there are."""
    return page.evaluate(
        """() => {
            const content = window.jupyterapp.shell.currentWidget.content;
            return [content.widgets.length, content.mode];
        }"""
    )


def test_keys_step_picture_and_sentence_together(page):
    before = active(page)
    assert "asks for a connection" in at(page, 1)
    page.keyboard.press("ArrowRight")
    assert "takes the connection" in at(page, 2)
    words = painted(page, "SYN, ACK")
    assert not any("len 41" in each for each in words)
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    at(page, 4)
    painted(page, "len 41")
    page.keyboard.press("ArrowLeft")
    at(page, 3)
    page.wait_for_function(f"() => !({PAINTED})().some(words => words.includes('len 41'))")
    page.keyboard.press("n")
    said = page.locator(SAID).first
    said.get_by_text("Finding: retransmission.").wait_for()
    painted(page, "retransmission 1")
    page.keyboard.press("n")
    said.get_by_text("Finding: zero_window.").wait_for()
    page.keyboard.press("p")
    said.get_by_text("Finding: retransmission.").wait_for()
    page.keyboard.press("End")
    at(page, 29)
    assert active(page) == before


def test_keys_as_fast_as_they_come_are_all_taken(page):
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    at(page, 13)


def cursor(page):
    """The page's line at the moment: its x, px, or None where there is none."""
    line = page.locator(f"{REPLAY} .tcplab-timeline-picture .tcplab-cursor rect").last
    return float(line.get_attribute("x")) if line.count() else None


def test_one_cursor_goes_through_the_timeline_and_the_steps(page):
    start = cursor(page)
    hand = page.locator(f"{REPLAY} .tcplab-timeline-hand").first
    page.keyboard.press("n")
    at(page, 17)
    assert cursor(page) > start
    hand.focus()
    page.keyboard.press("ArrowLeft")  # the page's own step, to the event before
    at(page, 16)
    page.keyboard.press("n")
    at(page, 17)
    picture = page.locator(f"{REPLAY} .tcplab-timeline-picture").first.bounding_box()
    before = page.locator(SAID).first.inner_text()
    page.mouse.click(picture["x"] + picture["width"] * 0.9, picture["y"] + 80)
    page.wait_for_function(
        "said => document.querySelector('.tcplab-replay .tcplab-sentence').innerText !== said", arg=before
    )
    assert page.evaluate("() => Boolean(document.activeElement.closest('.tcplab-replay'))")
    page.keyboard.press("Home")
    at(page, 1)
    assert cursor(page) == start


def test_space_plays_in_the_page_and_steps_follow(page):
    page.keyboard.press(" ")
    play = page.locator(f"{REPLAY} .tcplab-bar button").first
    play.get_by_text("Pause").wait_for()
    step = "+document.querySelector('.tcplab-replay .tcplab-sentence').innerText.match(/Step (\\d+)/)[1]"
    page.wait_for_function(f"() => {step} > 9")
    page.keyboard.press(" ")
    play.get_by_text("Play").wait_for()
    page.wait_for_timeout(1000)
    stands, said = cursor(page), page.locator(SAID).first.inner_text()
    page.wait_for_timeout(1500)
    assert cursor(page) == stands and page.locator(SAID).first.inner_text() == said


def test_after_a_reload_all_of_it_stands_where_it_stood(page):
    page.keyboard.press("n")
    page.locator(SAID).first.get_by_text("Finding: retransmission.").wait_for()
    words, moment = painted(page, "retransmission 1"), cursor(page)
    said = page.locator(SAID).first.inner_text()
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.evaluate("() => { document.body.dataset.old = 'page' }")
    page.reload()
    page.wait_for_function("() => !document.body.dataset.old", timeout=60_000)
    page.locator(f"{REPLAY}[data-keys=kept]").first.wait_for(timeout=60_000)
    assert painted(page, "retransmission 1") == words
    assert page.locator(SAID).first.inner_text() == said
    assert cursor(page) == moment
    page.locator(REPLAY).first.focus()  # and it is alive
    page.keyboard.press("ArrowLeft")
    at(page, 16)


def test_a_file_is_handed_over_diagnosed_and_looked_into(page, tmp_path):
    """Its name is a picture that would run a script if it were not escaped."""
    path = tmp_path / HOSTILE
    shutil.copy(CAPTURES / "case_1.pcap", path)
    title = page.title()
    page.locator(".tcplab-drop input").set_input_files(path)
    said = page.locator(".tcplab-clinic .tcplab-sentence").first
    said.get_by_text("no longer answered on 1 connection").wait_for()
    line = page.locator(".tcplab-clinic .tcplab-file").inner_text()
    assert f"{HOSTILE} · " in line and "2 connections (1 dead, 1 closed)" in line
    page.locator(".tcplab-incident-picture svg").first.wait_for()
    page.get_by_role("tab", name="Connections and findings").click()
    page.locator(".tcplab-clinic").get_by_text("Finding: idle_then_dead.").first.wait_for()
    lists = page.locator(".tcplab-clinic .tcplab-list select")
    assert lists.locator("option").count() == 2
    lists.select_option(index=1)
    page.locator(".tcplab-clinic").get_by_text("Finding: closed_by_client.").first.wait_for()
    page.locator(".tcplab-clinic .js-plotly-plot .textpoint").first.wait_for(state="attached")
    assert page.locator(".tcplab-clinic img").count() == 0 and page.title() == title
    page.locator(".tcplab-drop input").set_input_files(PROJECT / "README.md")
    said.get_by_text("README.md is not a capture file").wait_for()
