"""The colours of pictures: text is readable on its paper, also where JupyterLab turns a picture dark."""

import re
from itertools import combinations

import pytest

from tcplab.pictures.theme import DARK, JUPYTER_STYLE, LIGHT

#: Colours in which pictures write.
WRITTEN = ("ink", "soft", "error", "repeat", "probe", "cursor")
#: Contrast that WCAG 2.2 asks for: of text (success criterion 1.4.3, AA), and of what isn't text (1.4.11).
TEXT, LINE = 4.5, 3.0


def rgb(colour):
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def turned(colour):
    """What JUPYTER_STYLE's filter makes of a colour (Filter Effects Module Level 1, sections 6.1 and 8)."""
    part = float(re.search(r"invert\((.\d+)\)", JUPYTER_STYLE)[1])
    assert "hue-rotate(180deg)" in JUPYTER_STYLE
    red, green, blue = (part + c * (1 - 2 * part) for c in colour)
    rows = ((-0.574, 1.430, 0.144), (0.426, 0.430, 0.144), (0.426, 1.430, -0.856))
    return tuple(min(1, max(0, r * red + g * green + b * blue)) for r, g, b in rows)


def luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


PAPERS = {
    "light": (LIGHT, rgb),
    "dark": (DARK, rgb),
    "light, turned dark by JupyterLab": (LIGHT, lambda colour: turned(rgb(colour))),
}
every_paper = pytest.mark.parametrize("colours, seen", PAPERS.values(), ids=PAPERS)


def test_the_measure_is_that_of_wcag():
    assert contrast(rgb("#000000"), rgb("#ffffff")) == pytest.approx(21)
    assert contrast(rgb("#767676"), rgb("#ffffff")) == pytest.approx(4.54, abs=0.01)
    assert contrast(turned(rgb("#ffffff")), rgb("#111111")) == pytest.approx(1, abs=0.01)


@every_paper
@pytest.mark.parametrize("name", WRITTEN)
def test_text_stands_out_from_its_paper(colours, seen, name):
    assert contrast(seen(getattr(colours, name)), seen(colours.paper)) >= TEXT


@every_paper
def test_timers_stand_out_from_their_paper(colours, seen):
    for timer, colour in colours.timers.items():
        assert contrast(seen(colour), seen(colours.paper)) >= LINE, timer


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_thick_bars_stand_out_from_their_paper(colours):
    """Their names are written beside them."""
    for colour in (*colours.states.values(), *colours.zones.values()):
        assert contrast(rgb(colour), rgb(colours.paper)) >= 2.2


@every_paper
def test_no_two_written_colours_are_one(colours, seen):
    for one, other in combinations(WRITTEN, 2):
        assert seen(getattr(colours, one)) != seen(getattr(colours, other))
