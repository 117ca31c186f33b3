"""Every experiment's ladder as a browser draws it: no word on a line, on the axis or on another word."""

import json
import re

import pytest

from conftest import need
from in_jupyterlab import chromium_page
from pictures.drawn import every_kind, named
from tcplab.bench import run
from tcplab.experiments import EXPERIMENTS
from tcplab.pictures.ladder import draw
from tcplab.pictures.svg import contrast
from tcplab.pictures.theme import theme

browser = pytest.mark.browser
WIDTHS = (800, 950, 1240)
#: px that boxes of two texts may share: less than the air around the letters.
SHARED_X, SHARED_Y = 1, 4

#: Draws a figure, and gives the boxes of its texts by trace, of the axis, the grounds and the lifelines' x.
DRAWN = """async ([figure, width]) => {
    document.body.innerHTML = `<div id="plot" style="width:${width}px"></div>`;
    const plot = document.getElementById("plot");
    await Plotly.newPlot(plot, figure.data, figure.layout, {displayModeBar: false});
    const origin = plot.getBoundingClientRect();
    const box = node => {
        const {left, right, top, bottom} = node.getBoundingClientRect();
        return {text: node.textContent, x0: left - origin.left, x1: right - origin.left,
                y0: top - origin.top, y1: bottom - origin.top};
    };
    const full = plot._fullLayout, texts = {}, grounds = {};
    for (const trace of plot.querySelectorAll(".scatterlayer .trace")) {
        const name = trace.__data__[0].trace.name;
        texts[name] = [...trace.querySelectorAll("text")].map(box);
        grounds[name] = [...trace.querySelectorAll(".point")].map(box);
    }
    return {
        texts, grounds, ticks: [...plot.querySelectorAll(".ytick text")].map(box),
        lifelines: [...new Set(figure.data[0].x.map(Math.round))].filter(x => x !== null)
            .map(x => full.xaxis._offset + full.xaxis.l2p(x)),
        head: full.yaxis._offset + full.yaxis.l2p(-22),
        scale: [full.xaxis._offset, full.xaxis.l2p(1) - full.xaxis.l2p(0), full.xaxis.l2p(0),
                full.yaxis._offset, full.yaxis.l2p(0)],
    };
}"""


@pytest.fixture(scope="module")
def page():
    from plotly.offline import get_plotlyjs

    with chromium_page(need("chromium"), width=1300, height=1000) as (page, _):
        page.set_content("<body style='margin:0'></body>")
        page.add_script_tag(content=get_plotlyjs())
        yield page


def drawn(page, picture, width):
    return page.evaluate(DRAWN, [json.loads(picture.figure().to_json()), width])


def overlapping(boxes):
    """Pairs of texts that cover each other."""
    found = []
    boxes = sorted(boxes, key=lambda box: box["y0"])
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            if b["y0"] >= a["y1"]:
                break
            across = min(a["x1"], b["x1"]) - max(a["x0"], b["x0"])
            down = min(a["y1"], b["y1"]) - max(a["y0"], b["y0"])
            if across > SHARED_X and down > SHARED_Y:
                found.append((a["text"], b["text"]))
    return found


@browser
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_word_is_on_a_line_or_on_another_word(page, name, width):
    seen = drawn(page, draw(run(EXPERIMENTS[name]()), width=width), width)
    texts = {name: boxes for name, boxes in seen["texts"].items() if boxes}
    every = [box for boxes in texts.values() for box in boxes] + seen["ticks"]
    assert len(seen["lifelines"]) > 1 and len(every) > 8
    assert overlapping(every) == []
    assert [box["text"] for box in every if box["x0"] < 0 or box["x1"] > width] == []
    between = texts.get("labels", []) + [box for box in texts["captions"] if box["y0"] > seen["head"]]
    crossed = [
        box["text"]
        for box in between + seen["ticks"] + texts["states and calls"]
        if any(box["x0"] < x < box["x1"] for x in seen["lifelines"])
    ]
    assert crossed == []


@browser
def test_too_narrow_a_page_is_seen(page):
    """The check of the test above fails where there is no room."""
    seen = drawn(page, draw(run(EXPERIMENTS["idle_firewall"]())), 560)
    labels = seen["texts"]["labels"]
    assert any(box["x0"] < x < box["x1"] for box in labels for x in seen["lifelines"])
    assert overlapping(labels + seen["texts"]["captions"] + seen["ticks"])


@browser
@pytest.mark.parametrize("name", ["keepalive", "accept_queue", "stale_reject"])
def test_a_label_has_a_ground_as_long_as_itself(page, name):
    seen = drawn(page, draw(run(EXPERIMENTS[name]())), 950)
    pairs = list(zip(seen["texts"]["labels"], seen["grounds"]["grounds of labels"], strict=True))
    assert pairs
    for text, ground in pairs:
        assert ground["x0"] <= text["x0"] + 1 and text["x1"] - 1 <= ground["x1"], text["text"]
        longer = (ground["x1"] - ground["x0"]) - (text["x1"] - text["x0"])
        assert longer < 30 + 0.15 * (text["x1"] - text["x0"]), "not much longer than its text"


@browser
def test_an_arrow_says_what_it_is_wherever_the_pointer_is_on_it(page):
    picture = draw(run(EXPERIMENTS["fin_or_rst"]()))
    seen = drawn(page, picture, 1240)
    left, unit, x0, top, y0 = seen["scale"]
    line = named(picture, "segment")
    tail, head = ((line["x"][i], line["y"][i]) for i in (0, 2))
    for part in (0.05, 0.21, 0.33, 0.5, 0.68, 0.81, 0.95):
        x, y = (tail[i] + part * (head[i] - tail[i]) for i in (0, 1))
        page.mouse.move(5, 5)
        page.mouse.move(left + x0 + x * unit, top + y0 + y)
        hover = page.locator(".hoverlayer .hovertext").first
        hover.wait_for(state="visible", timeout=3000)
        said = hover.locator(".nums tspan").all_text_contents()
        assert "FIN, ACK" in " ".join(said), part
        assert sum(text.startswith("segment 8: sent at ") for text in said) == 1


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_text_has_contrast(name, dark):
    picture, paper = draw(run(EXPERIMENTS[name]()), dark=dark), theme(dark).paper
    colours = {picture.layout["font"]["color"], picture.layout["yaxis"]["tickfont"]["color"]}
    for trace in ("labels", "captions", "states and calls"):
        colours |= set(named(picture, trace)["textfont"]["color"])
    assert all(contrast(colour, paper) >= 4.5 for colour in colours), colours


@browser
def test_no_picture_offers_to_upload_itself(page):
    """A figure by itself, as `figure.show()` has it: what its layout says is all that plotly knows."""
    buttons = """async (figure) => {
        document.body.innerHTML = '<div id="plot" style="width:950px"></div>';
        await Plotly.newPlot("plot", figure.data, figure.layout);
        return [...document.querySelectorAll(".modebar-btn")].map(each => each.dataset.title);
    }"""
    upload = re.compile("share|cloud|upload|edit", re.IGNORECASE)

    def offers(figure):
        return [title for title in page.evaluate(buttons, figure) if upload.search(title)]

    assert offers({"data": [{"y": [1, 2]}], "layout": {}}), "plotly's own habit, which this test looks for"
    for name, picture in every_kind().items():
        assert offers(json.loads(picture.figure().to_json())) == [], name
