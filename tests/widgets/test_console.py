"""The box for a pasted console: what it says, what it keeps, and that a paste stays text."""

import pytest

import tcplab
from conftest import need
from in_jupyterlab import chromium_page, jupyterlab, open_notebook, run_all, write_notebook
from tcplab.console.verdicts import examples

FULL = "LISTEN 129 128 0.0.0.0:5432 0.0.0.0:*"


def test_it_asks_answers_and_asks_again():
    form = tcplab.console()
    assert form.explanation is None and form.sentence.startswith("Paste the output") and form.error is None
    form.first.value = FULL
    assert form.sentence == "1 finding: Listen queue full."
    assert (
        "129 connections wait" in form.verdicts.value and "12_ghost_connections.ipynb" in form.verdicts.value
    )
    form.first.value = ""
    assert form.explanation is None and form.verdicts.value == ""


def test_what_is_not_understood_is_said():
    form = tcplab.console("nothing that a command prints")
    assert form.error and form.error.startswith("None of 1 line") and form.verdicts.value == ""
    form.first.value = f"{FULL}\nnothing that a command prints"
    assert form.error is None and "not understood (2: nothing that" in form.status.value


def test_a_second_output_shows_what_grows():
    look = "10:00:{}\nTcpExtListenOverflows {} 0.0"
    form = tcplab.console(look.format("00", 10), look.format("10", 510))
    assert "grew by 500 (50 per second)" in form.verdicts.value
    assert "line 2 of paste 2" in form.verdicts.value


@pytest.mark.parametrize("name", examples())
def test_an_example_is_found_and_let_go_when_it_is_edited(name):
    form = tcplab.console()
    form.example.value = name
    assert form.first.value == examples()[name]
    assert form.explanation.verdicts[0].code != "healthy" and form.explanation.unknown == ()
    form.first.value += "\n"
    assert form.example.value not in examples()


def test_a_paste_is_text():
    hostile = "<img src=x onerror=alert(1)>"
    form = tcplab.console(
        f'LISTEN 129 128 0.0.0.0:5432 0.0.0.0:* users:(("{hostile}",pid=1,fd=2))\n{hostile}'
    )
    for html in (form.verdicts.value, form.status.value, form._repr_html_()):
        assert "<img" not in html and "&lt;img" in html


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_page_and_comes_back_after_a_reload(theme, tmp_path):
    program = need("chromium")
    wide = "ESTAB 0 4156928 127.0.0.1:15432 127.0.0.1:37208 timer:(persist,39sec,0) ino:" + "1234567890" * 20
    with jupyterlab(tmp_path, theme=theme) as lab:
        write_notebook(lab.folder / "console.ipynb", "import tcplab", "tcplab.console()")
        with chromium_page(program) as (page, outside):
            page.set_viewport_size({"width": 1280, "height": 800})
            page.set_default_timeout(60_000)
            open_notebook(page, lab.address("console.ipynb"))
            run_all(page)
            page.get_by_label("the output of a command").first.fill(wide)
            page.get_by_text("The receiver's window is closed").nth(1).wait_for()
            page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
            page.wait_for_timeout(1000)
            open_notebook(page, lab.address("console.ipynb"))
            finding = page.locator(".tcplab-paste-form .tcplab-finding").first
            finding.wait_for()
            box = page.get_by_label("the output of a command").first
            assert box.input_value() == wide
            right = box.bounding_box()["x"] + box.bounding_box()["width"]
            for part in (finding, finding.locator("pre"), finding.locator("p").first):
                bounds = part.bounding_box()
                assert bounds["x"] + bounds["width"] <= right + 2
        assert outside == []
