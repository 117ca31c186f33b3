"""Pictures as SVG, made of few primitives in px, and checked for overlapping words without a browser.

How wide a text is decides where it may stand. A browser takes the first font of `theme.FONT_FAMILY` that
the machine has; widths here are those of DejaVu Sans, the widest of them, so that what fits here fits
everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from html import escape
from itertools import combinations, groupby
from math import cos, pi, sin
from operator import itemgetter
from typing import Any, NamedTuple
from zlib import crc32

from tcplab.pictures.theme import FONT_FAMILY, FONT_SIZE, Theme

#: Advance widths of DejaVu Sans in em, rounded up to 1/25.
_REGULAR = {
    0.28: "'ijl", 0.32: " ,.IJ·’‘", 0.36: "/:;\\f|", 0.40: "()-[]t", 0.44: "!r", 0.48: '"', 0.52: "*_`°–“”",
    0.56: "?Lcsz", 0.60: "Fkvxy", 0.64: "$0123456789EPSTYabdeghnopqu{}µé", 0.68: "K", 0.72: "ABCRVXZ",
    0.76: "HNU", 0.80: "&DGOQ", 0.84: "#+<=>^w~×→←≈−≥≤", 0.88: "M", 0.96: "%",
}  # fmt: skip
_BOLD = {
    0.32: "'", 0.36: " ijl", 0.40: ",./:;IJ\\|·’‘", 0.44: "-f", 0.48: "!()[]t", 0.52: "_`r°–", 0.56: '"*',
    0.60: "?csz", 0.64: "L", 0.68: "aekvxy“”é", 0.72: "$0123456789EFTbdghnopqu{}", 0.76: "CPSYZµ",
    0.80: "ABKRVX", 0.84: "#+<=>DGHNU^~×→←≈−≥≤", 0.88: "&OQ", 0.96: "w", 1.04: "%", 1.08: "m", 1.12: "W",
}  # fmt: skip
_WIDTHS = tuple(
    {letter: em * FONT_SIZE for em, letters in table.items() for letter in letters}
    for table in (_REGULAR, _BOLD)
)
#: Above and below a text's baseline, px: the font's own box, which is what a browser measures.
ASCENT, DESCENT = 0.93 * FONT_SIZE, 0.24 * FONT_SIZE
#: Two texts may share this much before they count as overlapping, px: less than the air around letters.
_SHARED_X, _SHARED_Y = 1.0, 4.0


@cache
def text_width(text: str, bold: bool = False) -> float:
    """The width of a text in px, an upper bound for the fonts of `FONT_FAMILY`."""
    widths = _WIDTHS[bold]
    return sum(widths.get(letter, FONT_SIZE) for letter in text)


def shortened(text: str, room: float, bold: bool = False) -> str:
    """A text without its last words, and "…", where it is wider than `room` px; empty: not even one fits."""
    if text_width(text, bold) <= room:
        return text
    words = text.split()
    while words:
        words.pop()
        if words and text_width(short := " ".join(words).rstrip(",:;") + " …", bold) <= room:
            return short
    return ""


def _free(low: float, high: float, taken: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """What is left of an interval."""
    for left, right in sorted(taken):
        if left > low:
            yield low, min(left, high)
        low = max(low, right)
        if low >= high:
            return
    yield low, high


def hits(box: tuple[float, float], taken: Iterable[tuple[float, float]]) -> bool:
    """Whether an interval shares something with one of others."""
    return any(box[0] < right and left < box[1] for left, right in taken)


def place(
    words: Iterable[str], low: float, high: float, taken: Iterable[tuple[float, float]]
) -> tuple[float, str] | None:
    """The first of some wordings that fits into what `taken` leaves of an interval, and where it begins."""
    rooms = list(_free(low, high, taken))
    for text in words:
        width = text_width(text)
        for left, right in rooms:
            if right - left >= width:
                return left + 3 * (left > low), text
    return None


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


@cache
def blend(colour: str, alpha: float, ground: str) -> str:
    """What `colour` is on `ground` with this opacity, both ``#rrggbb``."""
    pairs = zip(_channels(colour), _channels(ground), strict=True)
    return "#" + "".join(f"{round(above * alpha + below * (1 - alpha)):02x}" for above, below in pairs)


@cache
def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours ``#rrggbb``, 1 to 21 (WCAG 2.2); texts need 4.5."""

    def luminance(colour: str) -> float:
        parts = (c / 255 for c in _channels(colour))
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def readable(ground: str, *wanted: str) -> str:
    """The first of these colours that can be read on `ground`; else black or white, whichever is better."""
    better = max(("#000000", "#ffffff"), key=lambda colour: contrast(colour, ground))
    return next((colour for colour in wanted if contrast(colour, ground) >= 4.5), better)


class Fill(NamedTuple):
    """How an area looks: its ground, a pattern in it, its outline."""

    #: ``#rrggbb``, `none`, or with opacity what `theme.tint` makes.
    ground: str = "none"
    #: A name of `_PATTERNS`, and its colour; empty: plain.
    pattern: str = ""
    ink: str = ""
    outline: str = "none"
    dash: str = ""
    width: float = 1


class Rect(NamedTuple):
    """A rectangle from its upper left corner, px; at least 0.6 px wide, so that it is seen."""

    x: float
    y: float
    width: float
    height: float
    fill: Fill
    title: str = ""


class Polygon(NamedTuple):
    """A filled area."""

    points: tuple[tuple[float, float], ...]
    fill: Fill
    title: str = ""


class Stroke(NamedTuple):
    """A straight line."""

    x1: float
    y1: float
    x2: float
    y2: float
    colour: str
    width: float = 1
    dash: str = ""


class Polyline(NamedTuple):
    """A line through points."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float = 1
    dash: str = ""


class Caption(NamedTuple):
    """A text; `y` is its baseline."""

    x: float
    y: float
    text: str
    colour: str
    #: `start`, `middle` or `end` as in SVG.
    anchor: str = "start"
    bold: bool = False
    #: The colour around the letters; empty: none.
    halo: str = ""
    title: str = ""
    #: px.
    size: float = FONT_SIZE

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        scale = self.size / FONT_SIZE
        width = text_width(self.text, self.bold) * scale
        left = self.x - {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        return left, self.y - ASCENT * scale, left + width, self.y + DESCENT * scale


class Symbol(NamedTuple):
    """A small mark around a point: a name of `_SYMBOLS`."""

    x: float
    y: float
    kind: str
    colour: str
    size: float = 5
    title: str = ""
    #: The colour inside a hollow one; empty: it is filled.
    paper: str = ""


class Ring(NamedTuple):
    """An empty circle around a point."""

    x: float
    y: float
    radius: float
    colour: str
    dash: str = ""


Item = Rect | Polygon | Stroke | Polyline | Caption | Symbol | Ring

#: Lines within a tile of 8 × 8 px that continue in the next one.
_PATTERNS = {
    "/": "M-1 1l2-2M0 8l8-8M7 9l2-2", "\\": "M-1 7l2 2M0 0l8 8M7-1l2 2", "x": "M0 0l8 8M0 8l8-8",
    ".": "M3 4h2M7 0h1M0 0h1M7 8h1M0 8h1", "-": "M0 4h8", "|": "M4 0v8", "+": "M0 4h8M4 0v8",
}  # fmt: skip

#: Symbols around 0, of size 1: corners of an area, or pairs of ends of lines with a width in px.
_STAR = [
    (cos(i * pi / 5 - pi / 2) * radius, sin(i * pi / 5 - pi / 2) * radius)
    for i, radius in enumerate([1, 0.42] * 5)
]
_SYMBOLS: dict[str, tuple[list[tuple[float, float]], float]] = {
    "up": ([(0, -1), (1, 1), (-1, 1)], 0),
    "down": ([(-1, -1), (1, -1), (0, 1)], 0),
    "right": ([(-1, -1), (0.6, 0), (-1, 1)], 0),
    "dot": ([], 0),  # a circle
    "diamond": ([(0, -1), (1, 0), (0, 1), (-1, 0)], 0),
    "square": ([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)], 0),
    "bolt": ([(0.4, -1.2), (-0.7, 0.2), (0, 0.2), (-0.4, 1.2), (0.7, -0.2), (0, -0.2)], 0),
    "star": (_STAR, 0),
    "cross": ([(-1, -1), (1, 1), (-1, 1), (1, -1)], 2),
    "bar": ([(0, -1.5), (0, 1.5)], 3),
    "tick": ([(0, -0.5), (0, 0.5)], 1.5),
    "again": ([(-1, 0.1), (0, -0.9), (0, -0.9), (1, 0.1), (-1, 1), (0, 0), (0, 0), (1, 1)], 2),
    "exchange": (
        [(-1, -0.5), (1, -0.5), (1, -0.5), (0.5, -1), (-1, 0.5), (1, 0.5), (-1, 0.5), (-0.5, 1)], 1.5,
    ),
}  # fmt: skip


def px(value: float) -> str:
    """A length for SVG, to a tenth of a px."""
    return f"{value:.1f}".rstrip("0").rstrip(".") if value % 1 else str(int(value))


@dataclass
class Drawing:
    """A picture in px, and what it says in one sentence."""

    width: float
    height: float
    theme: Theme
    label: str
    items: list[Item] = field(default_factory=list)

    def add(self, *items: Item) -> None:
        """Draw on top of what is there."""
        self.items += items

    @property
    def captions(self) -> Iterator[Caption]:
        """Every text."""
        return (item for item in self.items if isinstance(item, Caption))

    def overlaps(self) -> list[str]:
        """Texts that overlap or are cut by the picture's edge, in words; empty: all can be read."""
        boxes = [(each.text, *each.box()) for each in self.captions]
        wrong = [
            f"cut: {text}"
            for text, left, top, right, bottom in boxes
            if left < -1 or top < -1 or right > self.width + 1 or bottom > self.height + 1
        ]
        for (a, left, top, right, bottom), (b, left2, top2, right2, bottom2) in combinations(boxes, 2):
            shared_x = min(right, right2) - max(left, left2)
            shared_y = min(bottom, bottom2) - max(top, top2)
            if shared_x > _SHARED_X and shared_y > _SHARED_Y:
                wrong.append(f"{a} × {b}")
        return wrong

    @cached_property
    def svg(self) -> str:
        """The picture as an `<svg>` element that needs nothing beside it; made once."""
        patterns: dict[str, str] = {}
        written = (_WRITERS[type(item)](item, patterns) for item in self.items)
        body = "".join(
            f"<g {look}>{''.join(element for _, element in elements)}</g>"
            for look, elements in groupby(written, key=itemgetter(0))
        )
        width, height = px(self.width), px(self.height)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" '
            f'role="img" aria-label="{escape(self.label)}" font-family="{escape(FONT_FAMILY)}" '
            f'font-size="{FONT_SIZE}"><defs>{"".join(patterns.values())}</defs>'
            f'<rect width="100%" height="100%" fill="{self.theme.paper}"/>{body}</svg>'
        )


def _paint(fill: Fill, patterns: dict[str, str]) -> str:
    """Attributes of a fill; a new pattern is added to `patterns`."""
    ground, outline = fill.ground, ""
    if fill.pattern:
        # Named after its look: another picture on the page with the same name has the same pattern.
        ground = f"t{crc32('|'.join(fill[:3]).encode()):08x}"
        if ground not in patterns:
            below = "" if fill.ground == "none" else f'<rect width="8" height="8" fill="{fill.ground}"/>'
            heavy = 2 if fill.pattern == "." else 1
            patterns[ground] = (
                f'<pattern id="{ground}" width="8" height="8" patternUnits="userSpaceOnUse">{below}<path '
                f'd="{_PATTERNS[fill.pattern]}" stroke="{fill.ink}" '
                f'stroke-width="{heavy}" opacity=".55"/></pattern>'
            )
        ground = f"url(#{ground})"
    if fill.outline != "none":
        width = "" if fill.width == 1 else f' stroke-width="{px(fill.width)}"'
        outline = f' stroke="{fill.outline}"{width}' + (
            f' stroke-dasharray="{fill.dash}"' if fill.dash else ""
        )
    return f'fill="{ground}"{outline}'


def _element(name: str, place: str, title: str) -> str:
    inside = f"><title>{escape(title, False)}</title></{name}>" if title else "/>"
    return f"<{name} {place}{inside}"


# Each returns how an item looks, which neighbours share, and the element without that.


def _rect(item: Rect, patterns: dict[str, str]) -> tuple[str, str]:
    size = f'width="{px(max(item.width, 0.6))}" height="{px(item.height)}"'
    element = _element("rect", f'x="{px(item.x)}" y="{px(item.y)}" {size}', item.title)
    return _paint(item.fill, patterns), element


def _path(points: Iterable[tuple[float, float]]) -> str:
    path, last = "", ("", "")
    for point in points:
        x, y = map(px, point)
        if not path:
            path = f"M{x} {y}"
        elif x == last[0]:
            path += f"V{y}" if y != last[1] else ""
        else:
            path += f"H{x}" if y == last[1] else f"L{x} {y}"
        last = (x, y)
    return path


def _polygon(item: Polygon, patterns: dict[str, str]) -> tuple[str, str]:
    return _paint(item.fill, patterns), _element("path", f'd="{_path(item.points)}Z"', item.title)


def _stroke(item: Stroke, _: dict[str, str]) -> tuple[str, str]:
    dash = f' stroke-dasharray="{item.dash}"' if item.dash else ""
    ends = _path([(item.x1, item.y1), (item.x2, item.y2)])
    return f'stroke="{item.colour}" stroke-width="{px(item.width)}"{dash}', f'<path d="{ends}"/>'


def _polyline(item: Polyline, _: dict[str, str]) -> tuple[str, str]:
    dash = f' stroke-dasharray="{item.dash}"' if item.dash else ""
    look = f'fill="none" stroke="{item.colour}" stroke-width="{px(item.width)}"{dash}'
    return look, f'<path d="{_path(item.points)}"/>'


def _caption(item: Caption, _: dict[str, str]) -> tuple[str, str]:
    look = f'fill="{item.colour}" text-anchor="{item.anchor}"'
    if item.bold:
        look += ' font-weight="600"'
    if item.size != FONT_SIZE:
        look += f' font-size="{px(item.size)}"'
    if item.halo:
        look += f' paint-order="stroke" stroke="{item.halo}" stroke-width="3" stroke-linejoin="round"'
    title = f"<title>{escape(item.title, False)}</title>" if item.title else ""
    return look, f'<text x="{px(item.x)}" y="{px(item.y)}">{escape(item.text, False)}{title}</text>'


def _symbol(item: Symbol, _: dict[str, str]) -> tuple[str, str]:
    points, width = _SYMBOLS[item.kind]
    look = f'fill="{item.colour}"'
    if item.paper:
        look = f'fill="{item.paper}" stroke="{item.colour}" stroke-width="1.3"'
    if not points:
        place = f'cx="{px(item.x)}" cy="{px(item.y)}" r="{px(item.size)}"'
        return look, _element("circle", place, item.title)
    corners = [(item.x + x * item.size, item.y + y * item.size) for x, y in points]
    if not width:
        return look, _element("path", f'd="{_path(corners)}Z"', item.title)
    lines = "".join(_path(corners[i : i + 2]) for i in range(0, len(corners), 2))
    look = f'fill="none" stroke="{item.colour}" stroke-width="{px(width)}"'
    return look, _element("path", f'd="{lines}"', item.title)


def _ring(item: Ring, _: dict[str, str]) -> tuple[str, str]:
    dash = f' stroke-dasharray="{item.dash}"' if item.dash else ""
    circle = f'<circle cx="{px(item.x)}" cy="{px(item.y)}" r="{px(item.radius)}"/>'
    return f'fill="none" stroke="{item.colour}" stroke-width="1.6"{dash}', circle


_WRITERS: Mapping[type[Item], Any] = {
    Rect: _rect, Polygon: _polygon, Stroke: _stroke, Polyline: _polyline, Caption: _caption, Symbol: _symbol,
    Ring: _ring,
}  # fmt: skip
