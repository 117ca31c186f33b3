"""A lesson that is left and opened the next day, in a real JupyterLab and a real Chromium."""

import json
import urllib.request

import pytest

from conftest import need
from in_jupyterlab import chromium_page, jupyterlab, open_notebook, run_all, write_notebook
from tcplab.views import NOTE, VIEW

pytestmark = pytest.mark.browser

LESSON = (
    "from tcplab import Keepalive, explore\nfrom tcplab.lesson import after, ask",
    "power_cut = ask('keepalive', 'power_cut')\npower_cut",
    "after(power_cut, lambda: explore(Keepalive))",
)
SENTENCE = ".tcplab-explorer .tcplab-status p >> nth=0"
FEEDBACK = ".tcplab-keys .tcplab-status >> nth=0"
RIGHT = "You said 7,875 s"


def call(lab, method, path):
    with urllib.request.urlopen(urllib.request.Request(f"{lab.url}/api/{path}", method=method)) as answer:
        return json.loads(answer.read() or "null")


def save(page):
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty")


def come_back(page):
    """Load the page again, and wait until the notebook is shown."""
    page.evaluate("() => { document.body.dataset.old = 'page' }")
    page.reload()
    page.wait_for_function(
        "() => !document.body.dataset.old && window.jupyterapp?.shell.currentWidget?.sessionContext?.isReady"
        " && document.querySelectorAll('.jp-OutputArea-output').length >= 2",
        timeout=60_000,
    )


def stored(lab):
    return json.loads((lab.folder / "03_keepalive.ipynb").read_text("utf-8"))


def test_a_lesson_is_left_and_found_again(tmp_path, monkeypatch):
    monkeypatch.delenv("TCPLAB_PROGRESS")
    program = need("chromium")
    with jupyterlab(tmp_path) as lab, chromium_page(program, height=2400) as (page, outside):
        (lab.folder / "00_start_here.ipynb").write_text("{}")
        write_notebook(lab.folder / "03_keepalive.ipynb", *LESSON)
        page.set_default_timeout(30_000)
        open_notebook(page, lab.address("03_keepalive.ipynb"))
        run_all(page)
        page.get_by_label("Your number").fill("7875")
        page.get_by_role("button", name="Check", exact=True).click()
        page.locator(SENTENCE).get_by_text(": 9 probes").wait_for()
        handle = page.locator(".tcplab-control", has_text="keepalive: probes").first.get_by_role("slider")
        handle.focus()
        for _ in range(3):
            page.keyboard.press("ArrowLeft")
        page.locator(SENTENCE).get_by_text(": 6 probes").wait_for()

        # The page is loaded again while the kernel runs: all of it is alive.
        save(page)
        outputs = [output for cell in stored(lab)["cells"] for output in cell["outputs"]]
        assert not any(VIEW in output["data"] for output in outputs)
        assert any(NOTE in output["metadata"] for output in outputs)
        come_back(page)
        page.locator(SENTENCE).get_by_text(": 6 probes").wait_for()
        save(page)

        # The next day: another kernel, which has none of the models.
        (session,) = call(lab, "GET", "sessions")
        call(lab, "DELETE", f"sessions/{session['id']}")
        come_back(page)
        page.wait_for_function("() => document.body.innerText.includes('psql is waiting for the rows')")
        page.wait_for_timeout(1500)
        text = page.locator("body").inner_text()
        assert "model not found" not in text and "Loading widget" not in text
        assert page.locator(".tcplab-explorer").count() == 0

        run_all(page)
        page.locator(FEEDBACK).get_by_text(RIGHT).wait_for()
        assert "Your answers from earlier today are back" in page.locator(FEEDBACK).inner_text()
        assert page.get_by_label("Your number").input_value() == "7875"
        page.locator(SENTENCE).get_by_text(": 6 probes").wait_for()
        assert outside == []
