"""Widgets beyond one page of JupyterLab: in Notebook 7, and on a second page of the same kernel."""

import pytest

from conftest import need
from in_jupyterlab import chromium_page, jupyterlab, open_notebook, run_all, write_notebook

pytestmark = pytest.mark.browser

LESSON = (
    "from tcplab import Keepalive, explore\nfrom tcplab.lesson import after, ask\n"
    "question = ask('keepalive', 'power_cut')",
    "question",
    "after(question, lambda: explore(Keepalive, idle_s=60, interval_s=10, probes=6))",
)


def answer(page):
    page.get_by_role("textbox", name="Your number").fill("8 s")
    page.get_by_role("button", name="Check", exact=True).click()
    page.locator(".tcplab-sentence").get_by_text(": 6 probes").first.wait_for()
    page.locator(".tcplab-timeline-picture svg").first.wait_for()


def turn(page, probes):
    """One step to the left with the keyboard: sentence and picture say so."""
    page.get_by_role("slider", name="keepalive: probes").first.focus()
    page.keyboard.press("ArrowLeft")
    page.locator(".tcplab-sentence").get_by_text(f": {probes} probes").first.wait_for()


def test_in_notebook_7_a_question_is_answered_and_the_keyboard_turns_the_picture(tmp_path):
    program = need("chromium")
    with jupyterlab(tmp_path, front_end="notebook") as server:
        write_notebook(server.folder / "lesson.ipynb", *LESSON)
        with chromium_page(program) as (page, outside):
            page.set_default_timeout(60_000)
            open_notebook(page, server.address("lesson.ipynb"))
            run_all(page)
            answer(page)
            before = page.locator(".tcplab-timeline-picture").first.inner_html()
            turn(page, 5)
            page.wait_for_function(
                "was => document.querySelector('.tcplab-timeline-picture').innerHTML !== was", arg=before
            )
            page.get_by_role("tab", name="Segments").first.click()
            page.get_by_text("segments; times in seconds from the first").first.wait_for()
            assert outside == []


def test_a_second_page_on_the_same_kernel_shows_answer_and_picture_and_both_turn_together(tmp_path):
    program = need("chromium")
    with jupyterlab(tmp_path) as lab:
        write_notebook(lab.folder / "lesson.ipynb", *LESSON)
        with chromium_page(program) as (page, outside):
            page.set_default_timeout(60_000)
            open_notebook(page, lab.address("lesson.ipynb"))
            run_all(page)
            answer(page)
            turn(page, 5)
            page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
            second = page.context.new_page()
            second.set_default_timeout(60_000)
            open_notebook(second, lab.address("lesson.ipynb", workspace="second"))
            second.locator(".tcplab-timeline-picture svg").first.wait_for()
            second.get_by_text("too short. The right value is about").first.wait_for()
            turn(second, 4)
            page.locator(".tcplab-sentence").get_by_text(": 4 probes").first.wait_for()
            assert outside == []
