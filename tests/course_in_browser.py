"""The whole course in JupyterLab in Chromium, every question answered: what a learner would stumble over.

`python tests/course_in_browser.py [03 10 …] [--pictures FOLDER] [--axe axe.min.js]` runs the notebooks
whose names begin so (all of them without), in light and dark, 1280 and 1920 px wide, and prints what
`course_checks.js` has to say: labels that overlap or leave their picture, words that are cut, empty
pictures, whatever can be worked and has no name. In each explorer it then turns a control with the
arrow keys, and reloads the page. That takes about half a minute a notebook, theme and width, so
`tests/test_course_in_browser.py` does only a part of it. With `--pictures` there is a PNG of every
screenful to look at; axe-core, where somebody has it (`npm pack axe-core`), knows more rules.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from base64 import b64encode
from itertools import product
from pathlib import Path
from typing import Any

import nbformat

from answers import answered
from in_jupyterlab import THEMES, JupyterLab, chromium_page, jupyterlab, open_notebook, run_all
from tcplab.lesson.course import lessons

ROOT = Path(__file__).parents[1]
CHECKS = (ROOT / "tests" / "course_checks.js").read_text("utf-8")
CONTRAST = (ROOT / "tests" / "course_contrast.js").read_text("utf-8")
#: WCAG 2.2, 1.4.3.
LEAST_CONTRAST = 4.5
#: The page without its texts.
TEXTLESS = """* { color: transparent !important; -webkit-text-fill-color: transparent !important;
    text-shadow: none !important; text-decoration: none !important; transition: none !important }
    svg text, svg tspan { fill: transparent !important; stroke: none !important }"""
WIDTHS = (1280, 1920)
#: 1280 x 800 at 200 %, px.
ZOOMED = {"width": 640, "height": 400}
#: All cells are done, or one has failed.
DONE = """() => {
    const cells = window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells;
    const code = [...cells].filter(cell => cell.cell_type === "code");
    return code.every(cell => cell.execution_count && cell.executionState !== "running")
        || code.some(cell => cell.toJSON().outputs.some(output => output.output_type === "error"));
}"""
ERRORS = """() => [...window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells]
    .flatMap(cell => cell.cell_type === "code" ? cell.toJSON().outputs : [])
    .filter(output => output.output_type === "error").map(output => output.evalue)"""
IDLE = "() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'"
#: Every picture that is seen has been drawn.
DRAWN = """() => [...document.querySelectorAll(".js-plotly-plot, .tcplab-picture")]
    .filter(el => el.checkVisibility()).every(el => el.querySelector(".main-svg"))"""
#: What each explorer says, draws, and how its controls stand.
EXPLORERS = """() => [...document.querySelectorAll(".tcplab-explorer")]
    .filter(explorer => explorer.checkVisibility() && explorer.querySelector(".tcplab-controls input"))
    .map(explorer => ({
        said: explorer.querySelector(".tcplab-sentence")?.innerText ?? "",
        drawn: [...explorer.querySelectorAll(".js-plotly-plot, .tcplab-timeline-picture")]
            .filter(plot => plot.checkVisibility())
            .map(plot => [...plot.querySelectorAll("svg text, .scatterlayer path")]
                .map(el => el.textContent + (el.getAttribute("d") ?? "")).join("|")).join("#"),
        controls: [...explorer.querySelectorAll(".tcplab-controls :is(input, select, button)")]
            .map(el => el.value + el.checked + el.ariaPressed).join(" "),
    }))"""
#: What turns a control of that kind.
KEYS = {
    "input[type=range]": ("ArrowRight", "ArrowLeft", "ArrowLeft"),
    "select": ("ArrowDown", "ArrowUp", "ArrowUp"),
    "button": ("Space",),
}
#: Nothing but lines, weight and size is left of a style sheet when a reader forces colours upon it.
FORCED = """() => {
    const look = el => { const s = getComputedStyle(el); return [s.borderWidth, s.fontWeight].join(" "); };
    const all = css => [...document.querySelectorAll(css)].filter(el => el.checkVisibility());
    const alike = (chosen, other) => all(chosen)
        .filter(el => [...el.parentElement.children].some(it => it.matches(other) && look(it) === look(el)))
        .map(el => `forced colours: looks like its neighbours: ${el.innerText}`);
    return [...alike("[aria-pressed=true]", "[aria-pressed=false]"),
        ...alike(".tcplab-explorer [aria-selected=true]", "[aria-selected=false]")];
}"""
AXE = """async () => {
    const rules = {"aria-input-field-name": {enabled: false}};  // JupyterLab's own editors
    const told = await axe.run(".jp-Notebook", {rules, resultTypes: ["violations"]});
    return told.violations.flatMap(rule => rule.nodes
        .filter(node => document.querySelector(node.target[0])?.closest(".jp-OutputArea"))
        .map(node => `axe ${rule.id}: ${node.html.slice(0, 160)}`));
}"""


def fill(lab: JupyterLab, name: str) -> None:
    """Put a notebook with every reference answer given, and the captures, where the server shows them."""
    if not (lab.folder / "data").exists():
        shutil.copytree(ROOT / "data" / "captures", lab.folder / "data" / "captures")
    book = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    lesson = next(each for each in lessons().values() if each.notebook == name)
    for cell in book.cells:
        cell.source = answered(cell.source, lesson)
    (lab.folder / "notebooks").mkdir(exist_ok=True)
    nbformat.write(book, lab.folder / "notebooks" / name)


def show(page: Any, lab: JupyterLab, name: str) -> float:
    """Open a notebook and run all of it; returns the seconds until the last picture stands there."""
    width = page.viewport_size["width"]
    open_notebook(page, lab.address(f"notebooks/{name}", f"{name[:2]}-{width}"))
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    began = time.monotonic()
    run_all(page)
    page.wait_for_function(DONE, timeout=120_000)
    page.wait_for_function(DRAWN, timeout=60_000)
    took = time.monotonic() - began
    page.wait_for_timeout(1000)  # places take their width, and pictures theirs
    assert page.evaluate(ERRORS) == []
    return took


def complaints(page: Any) -> list[str]:
    """What is wrong with the page, sentence by sentence."""
    return list(page.evaluate(CHECKS))


def contrast(page: Any) -> list[str]:
    """Texts that are hard to read: their colours, screenful by screenful, against what is behind them."""
    size = page.viewport_size
    page.set_viewport_size({"width": size["width"], "height": 4000})
    scroller = "document.querySelector('.jp-WindowedPanel-outer')"
    said, top, last = [], 0, None
    while top != last:
        last = top
        page.evaluate(f"top => {{ {scroller}.scrollTop = top }}", top)
        page.wait_for_timeout(300)
        sheet = page.add_style_tag(content=TEXTLESS)
        png = b64encode(page.screenshot(animations="disabled")).decode()
        sheet.evaluate("sheet => sheet.remove()")
        said += page.evaluate(CONTRAST, {"png": png, "least": LEAST_CONTRAST})
        lowest = page.evaluate(f"() => {scroller}.scrollHeight - {scroller}.clientHeight")
        top = min(top + 3600, lowest)
    page.set_viewport_size(size)
    return list(dict.fromkeys(said))


def zoomed(page: Any) -> list[str]:
    """What is wrong at 200 %: the same page on half as many px."""
    size = page.viewport_size
    page.set_viewport_size(ZOOMED)
    page.wait_for_timeout(2000)
    said = [f"at 200 %: {sentence}" for sentence in complaints(page)]
    page.set_viewport_size(size)
    page.wait_for_timeout(1000)
    return said


def folds(page: Any) -> list[str]:
    """Open and close every fold by Enter and Space, as JupyterLab hands them on; what did not follow."""
    heads = page.locator(".tcplab-fold:visible")
    wrong = []
    for head in map(heads.nth, range(heads.count())):
        head.focus()
        for key in ("Enter", "Space"):
            before = head.get_attribute("aria-expanded")
            page.keyboard.press(key)
            for _ in range(10):  # the notebook kernel opens it, and may have to make what is in it
                page.wait_for_timeout(300)
                shown = head.evaluate("head => head.parentElement.nextElementSibling.checkVisibility()")
                if before != head.get_attribute("aria-expanded") == str(shown).lower():
                    break
            else:
                wrong.append(f"fold {head.inner_text()!r}: {key} does nothing")
    return wrong


def forced(page: Any) -> list[str]:
    """Under forced colours: chosen buttons or tabs that look like the others."""
    page.emulate_media(forced_colors="active")
    wrong: list[str] = page.evaluate(FORCED)
    page.emulate_media(forced_colors="none")
    return wrong


def settle(page: Any) -> None:
    """Wait until the kernel has answered, and nothing on the page changes any more."""
    before = None
    for _ in range(60):
        page.wait_for_timeout(500)
        now = page.evaluate(EXPLORERS)
        if now == before and page.evaluate(IDLE):
            return
        before = now


def turn(page: Any, number: int) -> str:
    """Turn the explorer with that number by keys, its sliders first, until picture and sentence are others.

    A list or a button has its turn where no slider matters. Returns what did not work; mostly nothing.
    """
    before = page.evaluate(EXPLORERS)[number]
    explorer = page.locator(".tcplab-explorer:has(.tcplab-controls input):visible").nth(number)
    for kind, keys in KEYS.items():
        controls = explorer.locator(f".tcplab-controls {kind}:visible")
        for each, key in product(range(controls.count()), keys):
            if controls.nth(each).is_disabled():
                continue  # a goal holds it
            controls.nth(each).focus()
            page.keyboard.press(key)
            settle(page)
            now = page.evaluate(EXPLORERS)[number]
            if now["drawn"] and all(now[part] != before[part] for part in before):
                return ""
    now = page.evaluate(EXPLORERS)[number]
    same = [part for part in before if now[part] == before[part]]
    return f"explorer {number + 1}: keys leave as it was: {', '.join(same)}"


def reload(page: Any) -> list[str]:
    """Save, load the page anew, and compare: every explorer still says and draws what its sliders say."""
    before = page.evaluate(EXPLORERS)
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.evaluate("() => { document.body.dataset.old = 'page' }")
    page.reload()
    page.wait_for_function(
        "() => !document.body.dataset.old && window.jupyterapp?.shell.currentWidget?.sessionContext?.isReady",
        timeout=60_000,
    )
    page.wait_for_function(
        "n => document.querySelectorAll('.tcplab-explorer').length >= n", arg=len(before), timeout=60_000
    )
    page.wait_for_function(
        f"n => ({EXPLORERS})().filter(each => each.drawn).length >= n", arg=len(before), timeout=60_000
    )
    page.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    settle(page)
    after = page.evaluate(EXPLORERS)
    return [
        f"explorer {n}: after a reload another {it}: {was[it][:150]!r}, {now[it][:150]!r}"
        for n, (was, now) in enumerate(zip(before, after, strict=True), 1)
        for it in was
        if was[it] != now[it]
    ]


def photograph(page: Any, prefix: Path) -> None:
    """A PNG of every screenful."""
    scroller = "document.querySelector('.jp-WindowedPanel-outer')"
    page.evaluate(f"() => {{ {scroller}.scrollTop = 0 }}")
    last = None
    for n in range(80):
        page.wait_for_timeout(150)
        page.screenshot(path=f"{prefix}_{n:02d}.png")
        top = page.evaluate(f"() => {{ {scroller}.scrollTop += 880; return {scroller}.scrollTop }}")
        if top == last:
            return
        last = top


def visit(page: Any, lab: JupyterLab, name: str, wanted: argparse.Namespace, prefix: str) -> list[str]:
    """All that a page is asked: what is wrong with it, also when it never got so far."""
    from playwright.sync_api import Error

    said: list[str] = []
    try:
        print(f"{name}: drawn {show(page, lab, name):.1f} s after Run All Cells")
        said += complaints(page)
        if wanted.axe:
            page.evaluate(wanted.axe.read_text("utf-8"))
            said += page.evaluate(AXE)
        if wanted.pictures:
            wanted.pictures.mkdir(parents=True, exist_ok=True)
            photograph(page, wanted.pictures / prefix)
        said += contrast(page) + folds(page) + forced(page) + zoomed(page)
        said += filter(None, (turn(page, n) for n in range(len(page.evaluate(EXPLORERS)))))
        said += reload(page)
    except (Error, AssertionError) as error:
        said.append(f"it went no further: {str(error)[:300]}")
    return said


def main() -> None:
    """Print what is wrong, notebook by notebook; ends with 1 when something is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("begin", nargs="*", default=[""], help="how the notebooks' names begin: 03 10")
    parser.add_argument("--themes", nargs="*", default=list(THEMES), choices=list(THEMES))
    parser.add_argument("--widths", nargs="*", type=int, default=list(WIDTHS))
    parser.add_argument("--pictures", type=Path, help="a folder for a PNG of every screenful")
    parser.add_argument("--axe", type=Path, help="axe.min.js of axe-core")
    wanted = parser.parse_args()
    from conftest import need

    names = [
        p.name for p in sorted((ROOT / "notebooks").glob("*.ipynb")) if p.name.startswith(tuple(wanted.begin))
    ]
    wrong = 0
    for theme in wanted.themes:
        with (
            tempfile.TemporaryDirectory() as folder,
            jupyterlab(Path(folder), theme=theme, whole=True) as lab,
        ):
            for name, width in product(names, wanted.widths):
                fill(lab, name)
                with chromium_page(need("chromium"), width=width, height=1000) as (page, outside):
                    said = visit(page, lab, name, wanted, f"{name[:2]}_{theme}_{width}")
                    said += [f"it asked another machine: {url}" for url in outside]
                print(f"{name}, {theme}, {width} px: {len(said)} to mend", flush=True)
                print(
                    *(f"    {sentence}" for sentence in said), sep="\n", end="\n" if said else "", flush=True
                )
                wrong += len(said)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
