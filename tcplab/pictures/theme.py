"""What pictures are made of: colours, marks, lines and texts, and the layout that all of them share.

Colours are those of Okabe and Ito ("Color Universal Design", 2008), which people with any of the
common colour deficiencies can tell apart, darkened or lightened where text on white or on near-black
has them. No picture says anything by colour alone: a `MarkStyle` has a symbol, a dash or a pattern too, and
a word names it.

A picture has its own background and is readable on any page, on a slide and as a downloaded SVG.
`LIGHT` is the default. In JupyterLab put `JUPYTER_STYLE` once beside pictures inside an element of
class `PICTURE_CLASS`: then a `LIGHT` picture turns dark together with JupyterLab, without a round trip
to the notebook kernel.

A picture is plain dicts rather than plotly's objects: they take microseconds to make, and a widget
sends them to a figure on the page as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tcplab.pictures.timeaxis import TimeAxis

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Sizes in px. Nothing is smaller than 14 px: that is readable from the last row before a projector.
FONT_SIZE = 14
TITLE_SIZE = 18
FONT_FAMILY = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
#: Average width of a character of `FONT_SIZE` in that family, px: rounded up, for making room.
CHARACTER = 7.3


class MarkStyle(NamedTuple):
    """How one kind of thing looks: its colour, and what tells it from others without colour."""

    #: A colour of `Theme` by name: `error`, a verdict, a phase, a timer.
    colour: str
    #: Fill pattern of plotly; empty: plain.
    pattern: str = ""
    #: Plotly's dash and width (px) of a line.
    dash: str = "solid"
    width: float = 1.6
    #: Plotly's symbol for a point or the end of a line.
    symbol: str = ""


@dataclass(frozen=True)
class Theme:
    """One set of colours."""

    paper: str
    ink: str
    #: Secondary text and lines.
    soft: str
    #: Hairlines and what belongs to another connection.
    faint: str
    #: Errors and resets; retransmissions; probes; the line at the chosen instant.
    error: str
    repeat: str
    probe: str
    cursor: str
    #: Fill colours of the zones of a window by verdict, of states by the connection's phase (the state's
    #: name is written beside them), and of timers by their names in ss.
    zones: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    timers: dict[str, str] = field(default_factory=dict)

    def of(self, mark: MarkStyle) -> str:
        """The colour of a mark."""
        named = self.zones | self.states | self.timers
        return named.get(mark.colour) or str(getattr(self, mark.colour))

    def halo(self) -> str:
        """A CSS text shadow in the paper's colour: text stays readable where a line crosses it."""
        return ", ".join(f"{x}px {y}px 1px {self.paper}" for x in (-2, 0, 2) for y in (-1, 0, 1) if x or y)


#: Phase of a connection by state (RFC 9293 section 3.3.2, and Linux's own two).
PHASE = {
    "SYN_SENT": "opening", "SYN_RECV": "opening", "SYN_RECEIVED": "opening", "ESTABLISHED": "open",
    "FIN_WAIT_1": "closing first", "FIN_WAIT_2": "closing first", "CLOSING": "closing first",
    "CLOSE_WAIT": "closing second", "LAST_ACK": "closing second", "LISTEN": "waiting", "TIME_WAIT": "waiting",
}  # fmt: skip
PHASES = ("opening", "open", "closing first", "closing second", "waiting")

#: The timers of a socket by their names in ss.
TIMERS = {
    "on": MarkStyle("on", width=3),
    "keepalive": MarkStyle("keepalive", dash="dot", width=3),
    "persist": MarkStyle("persist", dash="dash", width=3),
    "timewait": MarkStyle("timewait", dash="dashdot", width=3),
}

LIGHT = Theme(
    paper="#ffffff", ink="#1b1f24", soft="#57606a", faint="#c3c9d0",
    error="#b43600", repeat="#9a5b00", probe="#00609c", cursor="#a03c78",
    zones={"accepted": "#d55e00", "challenged": "#e69f00", "ignored": "#8c959f"},
    states={
        "opening": "#e69f00", "open": "#009e73", "closing first": "#0072b2", "closing second": "#cc79a7",
        "waiting": "#8c959f",
    },
    timers={"on": "#b35000", "keepalive": "#0072b2", "persist": "#a03c78", "timewait": "#57606a"},
)  # fmt: skip

DARK = Theme(
    paper="#111111", ink="#e6e9ec", soft="#a5adb6", faint="#4a525b",
    error="#ff8a4c", repeat="#f0b43c", probe="#6cc0f5", cursor="#e39ac4",
    zones={"accepted": "#ff7a2f", "challenged": "#e69f00", "ignored": "#7d8790"},
    states={
        "opening": "#e69f00", "open": "#1fb88c", "closing first": "#56b4e9", "closing second": "#cc79a7",
        "waiting": "#7d8790",
    },
    timers={"on": "#ff7a2f", "keepalive": "#56b4e9", "persist": "#e39ac4", "timewait": "#a5adb6"},
)  # fmt: skip

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
    """A colour ``#rrggbb`` that lets what lies below shine through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def filled(
    colour: str, alpha: float, pattern: str = "", *,
    size: float = 8, solidity: float = 0.16, ground: float = 0,
) -> dict[str, Any]:  # fmt: skip
    """The fill of closed lines: a tint of a colour, and a pattern in it on a ground of another tint."""
    made: dict[str, Any] = {"fill": "toself", "fillcolor": tint(colour, alpha)}
    if pattern:
        made["fillpattern"] = {"shape": pattern, "fgcolor": colour, "size": size, "solidity": solidity}
        if ground:
            made["fillpattern"]["bgcolor"] = tint(colour, ground)
    return made


def rectangle(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    """The corners of a rectangle as a closed line."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]


#: Plotly's tools that no picture has a use for.
_TOOLS = ("zoom", "select", "lasso", "zoomin", "zoomout", "autoscale")


def layout(
    colours: Theme, height: float, title: str | None, *,
    left: float = 16, right: float = 16, bottom: float = 8, top: tuple[float, float] = (12, 36),
) -> dict[str, Any]:  # fmt: skip
    """What every picture's layout has in common.

    `height` of the plotting area and its margins in px; `top` is the margin without and with a title.
    """
    above = top[bool(title)]
    font = {"family": FONT_FAMILY, "size": FONT_SIZE, "color": colours.ink}
    return {
        "height": round(height + above + bottom),
        "margin": {"l": left, "r": right, "t": above, "b": bottom, "autoexpand": False},
        "autosize": True,
        "paper_bgcolor": colours.paper,
        "plot_bgcolor": colours.paper,
        "font": font,
        "title": {
            "text": title or "", "font": {"size": TITLE_SIZE}, "pad": {"l": 12, "t": 12},
            "x": 0.0, "xref": "container", "xanchor": "left",
            "y": 1.0, "yref": "container", "yanchor": "top",
        },
        "showlegend": False,
        "hovermode": "closest",
        "hoverdistance": 16,
        "hoverlabel": {"align": "left", "bgcolor": colours.paper, "bordercolor": colours.soft, "font": font},
        "dragmode": "pan",
        # Here, and not in a page's configuration: a figure that is shown by itself has it too.
        "modebar": {"remove": ["sendChartToCloud", *_TOOLS]},
    }  # fmt: skip


def axis(**properties: Any) -> dict[str, Any]:
    """An axis that shows nothing, for pictures that draw their own."""
    hidden = dict.fromkeys(("showgrid", "zeroline", "showline", "showticklabels", "autorange"), False)
    return {**hidden, "ticks": "", **properties}


def grid_axis(colours: Theme, title: str = "", **properties: Any) -> dict[str, Any]:
    """An axis with numbers, a dotted grid and a title."""
    named: dict[str, Any] = {"title": {"text": title, "font": {"size": FONT_SIZE}}} if title else {}
    grid = {"showgrid": True, "gridcolor": colours.faint, "griddash": "dot", "showticklabels": True}
    return axis(**named | grid | properties)


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure as plain dicts."""

    data: list[dict[str, Any]]
    layout: dict[str, Any]
    #: Translates the y of a ladder into instants; empty for other pictures.
    axis: TimeAxis = field(default_factory=TimeAxis)
    #: The ends of its axes by unit, to draw the next run on the same ones (`panels.py`).
    limits: Mapping[str, float] = field(default_factory=dict)
    #: What differs from the newest kept run, in words; empty without one.
    compared: str = ""
    #: What it shows, in words and as an HTML table, where that is not the run's own sentence and segments.
    sentence: str = ""
    table: str = ""
    #: px of width below which words would meet: a narrower page scrolls it.
    least_width: int = 760

    def figure(self) -> go.Figure:
        """The same as a plotly figure.

        Not validated, which would take four times as long; a test has plotly validate every picture.
        plotly's Python is imported here alone: a page needs only its JavaScript.
        """
        import plotly.graph_objects as go

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
        """A line through these points, and a gap after it."""
        x, y = zip(*points, strict=True)
        self.x += [*x, None]
        self.y += [*y, None]
        self.hover += [*[hover] * len(x), ""]
        self.index += [*[index] * len(x), None]

    def trace(self, name: str, **properties: Any) -> dict[str, Any]:
        """As a trace of plotly."""
        made: dict[str, Any] = {"type": "scatter", "name": name, "x": self.x, "y": self.y, "mode": "lines"}
        return made | _hovering(self.hover) | properties


@dataclass(slots=True)
class Text:
    """Words at points."""

    #: x, y, text, position, colour and hover text of each.
    words: list[tuple[float, float, str, str, str, str]] = field(default_factory=list)

    def add(self, x: float, y: float, text: str, position: str, colour: str, hover: str = "") -> None:
        """A text at a point; `position` is plotly's, such as ``middle left``."""
        self.words.append((x, y, text, position, colour, hover))

    def trace(self, name: str, colours: Theme) -> dict[str, Any]:
        """As a trace of plotly."""
        columns: list[list[Any]] = [[each[i] for each in self.words] for i in range(6)]
        x, y, text, position, colour, hover = columns
        font = {"size": FONT_SIZE, "color": colour, "shadow": colours.halo()}
        return {
            "type": "scatter", "name": name, "x": x, "y": y, "mode": "text", "text": text,
            "textposition": position, "textfont": font, "cliponaxis": False,
        } | _hovering(hover)  # fmt: skip


def _hovering(texts: list[str]) -> dict[str, Any]:
    return {"hovertext": texts, "hoverinfo": "text"} if any(texts) else {"hoverinfo": "skip"}
