"""Colours, sizes and the frame that all pictures share.

Colours are those of Okabe and Ito ("Color Universal Design", 2008), which people with any of the
common colour deficiencies can tell apart; darkened or lightened where they must stand as text on
white or on near-black. No picture says anything by colour alone: a word, a symbol, a dash or a
pattern says it too.

A picture carries its own background, so that it is readable wherever it lands: in a page, on a
slide, as a downloaded SVG. `LIGHT` is the default. In JupyterLab put `JUPYTER_STYLE` once beside
pictures inside an element of class `PICTURE_CLASS`: then a `LIGHT` picture turns dark together
with the rest of JupyterLab, at once, without asking the notebook kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from tcplab.pictures.timeaxis import TimeAxis

#: Sizes in px. Nothing smaller than 14 px: that is what a last row can read from a projector.
FONT_SIZE = 14
TITLE_SIZE = 18
FONT_FAMILY = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
#: Average width of a character of `FONT_SIZE` in that family, px: rounded up, for making room.
CHARACTER = 7.3


@dataclass(frozen=True)
class Theme:
    """One set of colours. `states` are by phase of a connection, since the name stands beside them."""

    paper: str
    ink: str
    #: Secondary text, and lines that should step back.
    soft: str
    #: Hairlines and what belongs to another connection.
    faint: str
    #: Errors and resets; what is sent again; probes; the line at the chosen moment.
    error: str
    again: str
    probe: str
    cursor: str
    #: Fill colours of the zones of a window: what kills, what is challenged, what is ignored.
    zones: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    timers: dict[str, str] = field(default_factory=dict)

    def halo(self) -> str:
        """A CSS text shadow in the paper's colour: text stays readable where a line crosses it."""
        return ", ".join(f"{x}px {y}px 1px {self.paper}" for x in (-2, 0, 2) for y in (-1, 0, 1) if x or y)


#: Phase of a connection by state (RFC 9293 section 3.3.2, and Linux's own two).
PHASE = {
    "LISTEN": "waiting",
    "SYN_SENT": "opening",
    "SYN_RECV": "opening",
    "SYN_RECEIVED": "opening",
    "ESTABLISHED": "open",
    "FIN_WAIT_1": "closing first",
    "FIN_WAIT_2": "closing first",
    "CLOSING": "closing first",
    "CLOSE_WAIT": "closing second",
    "LAST_ACK": "closing second",
    "TIME_WAIT": "waiting",
}
PHASES = ("opening", "open", "closing first", "closing second", "waiting")

#: Timers in ss's words: how the bar is dashed, and what it says beside it.
TIMERS = {
    "on": ("solid", "timer: retransmission (on)"),
    "keepalive": ("dot", "timer: keepalive"),
    "persist": ("dash", "timer: window probe (persist)"),
    "timewait": ("dashdot", "timer: timewait"),
}

LIGHT = Theme(
    paper="#ffffff",
    ink="#1b1f24",
    soft="#57606a",
    faint="#c3c9d0",
    error="#c43c00",
    again="#9a5b00",
    probe="#00609c",
    cursor="#a03c78",
    zones={"accepted": "#d55e00", "challenged": "#e69f00", "ignored": "#8c959f"},
    states={
        "opening": "#e69f00",
        "open": "#009e73",
        "closing first": "#0072b2",
        "closing second": "#cc79a7",
        "waiting": "#8c959f",
    },
    timers={"on": "#d55e00", "keepalive": "#0072b2", "persist": "#a03c78", "timewait": "#57606a"},
)

DARK = Theme(
    paper="#111111",
    ink="#e6e9ec",
    soft="#a5adb6",
    faint="#4a525b",
    error="#ff8a4c",
    again="#f0b43c",
    probe="#6cc0f5",
    cursor="#e39ac4",
    zones={"accepted": "#ff7a2f", "challenged": "#e69f00", "ignored": "#7d8790"},
    states={
        "opening": "#e69f00",
        "open": "#1fb88c",
        "closing first": "#56b4e9",
        "closing second": "#cc79a7",
        "waiting": "#7d8790",
    },
    timers={"on": "#ff7a2f", "keepalive": "#56b4e9", "persist": "#e39ac4", "timewait": "#a5adb6"},
)

PICTURE_CLASS = "tcplab-picture"

# Inverting by 93.3 % turns #ffffff into #111111, the background of JupyterLab's dark notebooks;
# turning the hue by half a circle brings every colour back to its own.
JUPYTER_STYLE = (
    f'<style>body[data-jp-theme-light="false"] .{PICTURE_CLASS} .js-plotly-plot .svg-container'
    "{filter:invert(.933) hue-rotate(180deg)}</style>"
)


def theme(dark: bool) -> Theme:
    """The set of colours for a dark or a light page."""
    return DARK if dark else LIGHT


def tint(colour: str, alpha: float) -> str:
    """A colour ``#rrggbb`` as a thin coat: what lies below shines through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def layout(
    colours: Theme, *, height: float, margin: Mapping[str, float], title: str | None
) -> dict[str, Any]:
    """What every picture's layout has in common. `height` and `margin` in px, the title's room included."""
    return {
        "height": round(height),
        "margin": {**margin, "autoexpand": False},
        "autosize": True,
        "paper_bgcolor": colours.paper,
        "plot_bgcolor": colours.paper,
        "font": {"family": FONT_FAMILY, "size": FONT_SIZE, "color": colours.ink},
        "title": {
            "text": title or "",
            "font": {"size": TITLE_SIZE},
            "x": 0.0,
            "xref": "container",
            "xanchor": "left",
            "pad": {"l": 12, "t": 12},
            "y": 1.0,
            "yref": "container",
            "yanchor": "top",
        },
        "showlegend": False,
        "hovermode": "closest",
        "hoverdistance": 16,
        "hoverlabel": {
            "align": "left",
            "bgcolor": colours.paper,
            "bordercolor": colours.soft,
            "font": {"family": FONT_FAMILY, "size": FONT_SIZE, "color": colours.ink},
        },
        "dragmode": "pan",
        "modebar": {"remove": ["zoom", "select", "lasso", "zoomin", "zoomout", "autoscale"]},
    }


def axis(**properties: Any) -> dict[str, Any]:
    """An axis without any furniture, for pictures that draw their own."""
    return {
        "showgrid": False,
        "zeroline": False,
        "showline": False,
        "ticks": "",
        "showticklabels": False,
        "autorange": False,
    } | properties


# ----------------------------------------------------------------------
# What pictures are made of: lines with gaps, words at points, and the dicts that plotly wants.
#
# Plain dicts rather than plotly's objects: making them costs microseconds, and an explorer can send
# them to a living figure as they are.


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure before plotly has looked at it: plain dicts, which are cheap to make and to send."""

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    #: Translates the y of a ladder into moments; empty for other pictures.
    axis: TimeAxis = field(default_factory=TimeAxis)

    def figure(self) -> go.Figure:
        """The same as a plotly figure.

        Not validated, which would take four times as long; a test has plotly validate every picture.
        """
        return go.Figure(data=self.data, layout=self.layout, _validate=False)


@dataclass(slots=True)
class Line:
    """Points of one scatter trace."""

    x: list[float | None] = field(default_factory=list)
    y: list[float | None] = field(default_factory=list)
    hover: list[str] = field(default_factory=list)
    index: list[int | None] = field(default_factory=list)
    size: list[float] = field(default_factory=list)

    def add(self, points: Iterable[tuple[float, float]], hover: str = "", index: int | None = None) -> None:
        """One stretch of line, and the gap after it."""
        before = len(self.x)
        for x, y in points:
            self.x.append(x)
            self.y.append(y)
        self.x.append(None)
        self.y.append(None)
        count = len(self.x) - before
        self.hover += [*[hover] * (count - 1), ""]
        self.index += [*[index] * (count - 1), None]

    def trace(self, name: str, **properties: Any) -> dict[str, Any]:
        """As plotly wants it."""
        made: dict[str, Any] = {"type": "scatter", "name": name, "x": self.x, "y": self.y, "mode": "lines"}
        return made | _hovering(self.hover) | properties


@dataclass(slots=True)
class Text:
    """Words at points."""

    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    colour: list[str] = field(default_factory=list)
    hover: list[str] = field(default_factory=list)

    def add(self, x: float, y: float, text: str, where: str, colour: str, hover: str = "") -> None:
        self.x.append(x)
        self.y.append(y)
        self.text.append(text)
        self.where.append(where)
        self.colour.append(colour)
        self.hover.append(hover)

    def trace(self, name: str, colours: Theme) -> dict[str, Any]:
        """As plotly wants it."""
        made = {
            "type": "scatter",
            "name": name,
            "x": self.x,
            "y": self.y,
            "mode": "text",
            "text": self.text,
            "textposition": self.where,
            "textfont": {"size": FONT_SIZE, "color": self.colour, "shadow": colours.halo()},
            "cliponaxis": False,
        }
        return made | _hovering(self.hover)


def _hovering(texts: list[str]) -> dict[str, Any]:
    return {"hovertext": texts, "hoverinfo": "text"} if any(texts) else {"hoverinfo": "skip"}
