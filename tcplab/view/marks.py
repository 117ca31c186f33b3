"""What pictures are made of: lines with gaps, words at points, and the dicts that plotly wants.

Plain dicts rather than plotly's objects: making them costs microseconds, and an explorer can send
them to a living figure as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from tcplab.view.theme import FONT_SIZE, Theme
from tcplab.view.timeaxis import TimeAxis


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
