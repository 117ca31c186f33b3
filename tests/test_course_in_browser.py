"""The course with every question answered, in a real browser: a part of `course_in_browser.py`."""

import pytest

from conftest import need
from course_in_browser import EXPLORERS, complaints, contrast, fill, folds, forced, reload, show, turn, zoomed
from in_jupyterlab import chromium_page, jupyterlab

pytestmark = pytest.mark.browser

#: Between them: ladder, timeline, window, curves, the map of ports; narrow and wide.
NOTEBOOKS = (("10_out_of_ports.ipynb", 1280), ("06_the_window.ipynb", 1920))

PLOT = (
    '<div class="js-plotly-plot" role="figure" aria-label="a ladder" style="width:400px">'
    '<svg class="main-svg" width="400" height="200"><g class="trace"><path d="M0,0L9,9"/></g>{}</svg></div>'
)
FOLD = '<div><div><button class="tcplab-fold" {}>more</button></div><div {}><p>seen</p></div></div>'
CHOICE = (
    '<div class="tcplab-choice" role="group" aria-label="the server">'
    '<button aria-pressed="{}">alive</button><button aria-pressed="{}">offline</button></div>'
)
#: A fault each, and what is said of it.
FAULTS = {
    PLOT.format("").replace("<path", "<i"): "empty picture",
    PLOT.format('<text x="390" y="50">leaves</text>'): "label leaves its picture: leaves",
    PLOT.format('<text x="10" y="50">first</text><text x="20" y="52">second</text>'): "labels overlap: first",
    PLOT.format("").replace("width:400px", "width:300px"): "picture not as wide as its place: 400 of 300 px",
    PLOT.format("").replace("aria-label", "data-label"): "picture without a name",
    '<div style="width:40px;overflow:hidden;white-space:nowrap">a long sentence</div>': "text is cut: a long",
    '<select aria-label="x" style="width:50px"><option>a long sentence</select>': "text of a list is cut",
    '<input type="text" aria-label="x" value="a long sentence" style="width:50px">': "text of a box is cut",
    '<button style="width:40px;white-space:nowrap">a long sentence</button>': "text of a button is cut",
    '<div class="jp-OutputArea-output" style="width:90px;overflow:auto"><p style="width:200px">x</p></div>':
        "wider than the notebook: 200 px of 90",
    '<input type="number">': "no name",
    '<div role="slider" tabindex="0">0</div>': "no name",
    CHOICE.format("false", "false"): "not one is pressed: alive",
    CHOICE.format("true", "true"): "not one is pressed: alive",
    '<div role="tab" class="lm-mod-current">Ports</div>': "does not say whether it is selected",
    FOLD.format("", ""): "does not say whether it is open: more",
    FOLD.format('aria-expanded="true"', "hidden"): "does not say whether it is open: more",
    '<div class="widget-radio"><label><input type="radio">yes</label></div>': "group without a name: yes",
    '<button tabindex="2">first</button>': "focus out of order: first",
    '<div role="status"><p aria-live="polite">changed</p></div>': "is read twice: changed",
}  # fmt: skip


#: What looks like one of them, and is none.
RIGHT = (
    PLOT.format('<text x="10" y="50">first</text><text x="10" y="90">second</text>'),
    '<label>how many <input type="number" value="7"></label><button>Check</button>',
    '<div style="width:40px">a long sentence</div>',
    '<select aria-label="x"><option>a long sentence</select>',
    CHOICE.format("true", "false"),
    FOLD.format('aria-expanded="false"', "hidden"),
)


def planted(page, inside):
    page.set_content(
        '<div class="jp-Notebook"><div class="jp-Cell"><div class="jp-OutputArea">'
        f'<div style="width:max-content">{inside}</div></div></div></div>'
    )
    return complaints(page)


def test_the_checks_see_every_planted_fault_and_nothing_else():
    with chromium_page(need("chromium")) as (page, _):
        for fault, said in FAULTS.items():
            assert any(sentence.startswith(f"cell 0: {said}") for sentence in planted(page, fault)), said
        assert [planted(page, right) for right in RIGHT] == [[]] * len(RIGHT)


#: Colours of a text and of what is behind it, and the contrast as the WCAG count it; None where it is enough.
TEXTS = {
    '<p style="color:#777; background:#fff">faint</p>': "4.48: #777777 on #ffffff: faint",
    '<p style="color:#767676; background:#fff">dark</p>': None,
    '<p style="color:#000; opacity:.5; background:#fff">half</p>': "3.98: #808080 on #ffffff: half",
    '<div style="filter:invert(1)"><p style="color:#777; background:#fff">turned</p></div>': None,
    '<svg width="90" height="40" style="background:#d7dadd"><text y="32" fill="#c43c00">red</text></svg>':
        "3.75: #c43c00 on #d7dadd: red",
    '<p aria-disabled="true" style="color:#999; background:#fff">not now</p>': None,
}  # fmt: skip


def test_too_little_contrast_is_seen():
    with chromium_page(need("chromium")) as (page, _):
        for text, said in TEXTS.items():
            area = f'<div class="jp-OutputArea" style="font:bold 30px monospace">{text}</div>'
            page.set_content(f'<div class="jp-WindowedPanel-outer">{area}</div>')
            assert contrast(page) == ([f"contrast {said}"] if said else []), text


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with jupyterlab(tmp_path_factory.mktemp("course"), theme="dark", whole=True) as server:
        yield server


@pytest.mark.parametrize("name, width", NOTEBOOKS)
def test_an_answered_notebook_is_readable_turns_and_survives_a_reload(lab, name, width):
    fill(lab, name)
    with chromium_page(need("chromium"), width=width, height=1000) as (page, outside):
        show(page, lab, name)
        assert complaints(page) == []
        assert forced(page) == []
        if name == NOTEBOOKS[0][0]:
            assert contrast(page) == []
            # A table of a lesson scrolls as a whole there.
            assert [said for said in zoomed(page) if "wider than the notebook" not in said] == []
        else:
            assert folds(page) == []
        explorers = len(page.evaluate(EXPLORERS))
        assert explorers >= 3
        assert [turn(page, number) for number in range(explorers)] == [""] * explorers
        assert reload(page) == []
        assert outside == []
