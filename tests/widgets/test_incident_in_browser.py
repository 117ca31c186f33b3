"""The clinic's timeline in a real JupyterLab and a real Chromium: brush, keys, a click into a connection."""

import re
import shutil

import pytest

from conftest import need
from in_jupyterlab import OVERLAPS, chromium_page, jupyterlab, open_notebook, run_all, write_notebook
from recordings.captures import PROJECT

pytestmark = pytest.mark.browser

PICTURE, HAND = ".tcplab-incident-picture", ".tcplab-incident .tcplab-timeline-hand"
SAID = ".tcplab-incident .tcplab-live"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    program = need("chromium")
    with jupyterlab(tmp_path_factory.mktemp("lab")) as lab:
        write_notebook(lab.folder / "clinic.ipynb", "import tcplab\ntcplab.clinic('case_6.pcap')")
        shutil.copy(PROJECT / "data" / "captures" / "case_6.pcap", lab.folder)
        with chromium_page(program, width=1280, height=800) as (page, outside):
            page.set_default_timeout(30_000)
            open_notebook(page, lab.address("clinic.ipynb"))
            run_all(page)
            page.locator(f"{PICTURE} svg").first.wait_for(timeout=60_000)
            yield page
            assert outside == []


def shown(page, pattern):
    """Wait until the line below the picture is like this; the line."""
    said = page.locator(SAID).first
    said.get_by_text(re.compile(pattern)).wait_for()
    return said.inner_text()


def whole(page):
    page.locator(HAND).first.focus()
    page.keyboard.press("Home")
    return shown(page, "38.2 s; 25 connections broke")


def test_all_but_the_ledger_fits_the_screen(page):
    whole(page)
    page.evaluate("document.querySelector('.tcplab-clinic').scrollIntoView()")
    top = page.locator(".tcplab-file").first.bounding_box()["y"]
    foot = page.locator(".tcplab-incident .tcplab-help").first.bounding_box()
    assert top >= 0 and foot["y"] + foot["height"] <= 800 - 26  # above JupyterLab's status bar
    overlaps = OVERLAPS.replace('document.querySelector("svg")', f'document.querySelector("{PICTURE} svg")')
    painted, wrong = page.evaluate(overlaps.replace('"svg text"', f'"{PICTURE} svg text"'))
    assert painted > 10 and wrong == []


def test_keys_zoom_go_to_the_incident_and_back(page):
    first = whole(page)
    page.keyboard.press("+")
    shown(page, "19.1 s; ")
    page.keyboard.press("Escape")
    assert shown(page, "38.2 s; 25") == first
    page.keyboard.press("ArrowRight")
    shown(page, "broke in it")
    page.keyboard.press("Home")
    whole(page)
    page.keyboard.press("ArrowDown")
    shown(page, "10.0.0.1:58464 → 10.0.0.2:5433")
    page.keyboard.press("ArrowUp")


def test_a_drag_on_the_strip_and_on_the_picture_zooms(page):
    whole(page)
    strip = page.locator(".tcplab-strip svg").first.bounding_box()
    y, left, wide = strip["y"] + 14, strip["x"], strip["width"]
    page.mouse.move(left + wide * 0.4, y)
    page.mouse.down()
    page.mouse.move(left + wide * 0.5, y, steps=4)
    moving = page.locator(".tcplab-moving").count()
    page.mouse.move(left + wide * 0.6, y, steps=4)
    page.mouse.up()
    said = shown(page, r"UTC, ([5-9]\.\d+|1\d\.\d) s; ")
    assert moving == 1 and page.locator(".tcplab-moving").count() == 0
    box = page.locator(f"{PICTURE} svg").first.bounding_box()
    y = box["y"] + 40
    page.mouse.move(box["x"] + box["width"] * 0.5, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, y, steps=4)
    page.mouse.up()
    page.wait_for_function("([at, said]) => document.querySelector(at).innerText !== said", arg=[SAID, said])
    assert re.search(r"[01]\.\d+ s; ", page.locator(SAID).first.inner_text())
    page.mouse.dblclick(box["x"] + box["width"] * 0.9, box["y"] + 4)
    shown(page, "38.2 s; 25")


def test_a_click_opens_the_connection_and_its_graphs(page):
    whole(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    clinic = page.locator(".tcplab-clinic")
    clinic.get_by_text("Finding: refused.").first.wait_for()
    assert "10.0.0.1:58464" in clinic.locator("h4").first.inner_text()
    page.get_by_role("tab", name="Graphs").click()
    clinic.get_by_text("No data passed here.").first.wait_for()
    page.get_by_role("tab", name="Timeline").click()
    page.locator(f"{PICTURE} svg").first.wait_for()
