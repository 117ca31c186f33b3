"""No word of a timeline overlaps another one or is cut, whatever is run, kept, how wide and on which axis."""

from functools import cache

import pytest

import tcplab
from conftest import need
from in_jupyterlab import OVERLAPS, chromium_page, painted_wrong
from tcplab.pictures.timeline import read_timeline
from tcplab.pictures.timeline_layout import TimelinePicture
from tcplab.registry import STORIES

WIDTHS = (845, 950, 1240)
#: px; a middlebox or a proxy between two hosts makes three.
MOST, MOST_OF_TWO = 420, 330


@cache
def runs(name):
    """The timelines of a story by preset, the default first."""
    kind = STORIES[name]
    settings = {"default": {}, "quick": kind.quick, **kind.presets}
    return {preset: read_timeline(tcplab.run(kind(**values))) for preset, values in settings.items()}


@pytest.mark.parametrize("name", STORIES)
def test_every_preset_fits(name):
    default, *others = runs(name).values()
    for preset, now in runs(name).items():
        two = len({lane.host for lane in now.lanes}) <= 2
        for kept in ((), (default,), (*others[:2], default)):
            for width, log in ((width, log) for width in WIDTHS for log in (False, True)):
                drawing = TimelinePicture(now, kept).drawing(width, log=log)
                where = (preset, len(kept), width, log)
                assert not drawing.overlaps(), where
                assert drawing.height <= (MOST_OF_TWO if two and len(kept) < 2 else MOST), where
                assert len(drawing.svg) < 50_000, where


@pytest.fixture(scope="module")
def page():
    with chromium_page(need("chromium")) as (page, _):
        yield page


@pytest.mark.browser
@pytest.mark.parametrize("name", STORIES)
def test_a_browser_agrees(page, name):
    """The widths of texts are right: what fits here fits there."""
    default, quick, *_ = runs(name).values()
    for log, dark in ((False, False), (True, True)):
        drawing = TimelinePicture(default, (quick,)).drawing(845, log=log, dark=dark)
        assert painted_wrong(page, drawing) == []


@pytest.mark.browser
def test_a_browser_sees_a_planted_overlap(page):
    drawing = TimelinePicture(runs("keepalive")["default"]).drawing()
    caption = next(drawing.captions)
    drawing.add(caption._replace(x=caption.x + 5), caption._replace(x=drawing.width))
    page.set_content(drawing.svg)
    _, wrong = page.evaluate(OVERLAPS)
    assert len(wrong) == 2 and sorted(wrong) == sorted(drawing.overlaps())
