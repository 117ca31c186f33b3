"""A failover: the outage cut into its parts, where the pool's connections lead, and what requests were told.

Three pictures above each other. The first has a clock of its own, from the failure on: one row a part,
each beginning where the one before it ends, so that they add up to the outage. The other two share the
run's clock.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil
from typing import Any

from tcplab.trace import SECOND, Trace, duration
from tcplab.view import theme as look
from tcplab.view.marks import Line, Picture, Text

#: px of the whole; where the lower pictures end, as parts of the height, and the gap above each.
_HEIGHT, _ANSWERS, _ROWS, _GAP = 640, 0.2, 0.5, 0.11
#: More rows than these would be thinner than a line of text.
_MOST_ROWS = 20
_MINUTES = 600
#: Half the thickness of a row.
_HALF = 0.34
#: How far the answers' axis reaches, in requests a second: what had waited comes in one burst.
_CEILING = 2.2
#: Parts of the width: from where on a bar's length isn't written behind it, and the room that it needs.
_FAR, _ROOM = 0.7, 0.35
#: What may become of a request: words, colour's name in the theme, and pattern; from the bottom up.
_ANSWERED = {
    "writes_accepted": ("writes accepted", "open", ""),
    "reads": ("reads", "waiting", ""),
    "reads_from_old_primary": ("reads from the old primary", "opening", "."),
    "writes_refused": ("writes refused", "closing second", "/"),
    "errors": ("errors", "error", "x"),
}
_PATTERN = {"": "plain", ".": "dotted", "/": "hatched", "x": "crossed"}
#: Where a connection leads: words, colour, pattern.
_LEADS = {
    "primary": ("to the primary", "open", ""),
    "old": ("to the old primary, after the failure", "closing second", "/"),
    "new": ("to the new primary", "closing first", "."),
}


def draw_failover(trace: Trace, *, title: str | None = None, dark: bool = False) -> Picture:
    """The budget of a `failover` run, its connections, and the answers over time."""
    colours = look.theme(dark)
    length = trace.end / SECOND
    unit, name = (60, "min") if length > _MINUTES else (1, "s")
    rows = min(trace.parameters["size"], _MOST_ROWS)
    captions, answered = Text(), Text()
    captions.add(0, rows + 0.1, _legend(trace, rows), "top right", colours.ink)
    top = _CEILING * trace.parameters["rate_per_s"]
    answered.add(0, top, _answers_legend(trace), "top right", colours.ink)
    data = [
        *_budget(trace, colours),
        *_connections(trace, rows, unit, colours),
        *_moments(trace, rows, top, unit, colours),
        *_answers(trace, length, unit, colours),
        captions.trace("captions", colours) | {"yaxis": "y2"},
        answered.trace("captions of the answers", colours) | {"yaxis": "y3"},
    ]
    return Picture(data, _layout(trace, colours, length / unit, rows, top, name, title))


def _colour(name: str, colours: look.Theme) -> str:
    return colours.error if name == "error" else colours.states[name]


def _budget(trace: Trace, colours: look.Theme) -> list[dict[str, Any]]:
    """One row a part, the longest marked by a word; steps join them."""
    budget = trace.series["budget"]
    own = {"xaxis": "x2"}
    bars, longest, steps, words = Line(), Line(), Line(), Text()
    end = budget[-1][2] if budget else 1
    for row, (part, since, until) in enumerate(budget):
        y, is_longest = -row, part == trace.outcome["longest_part"]
        said = duration(round((until - since) * SECOND))
        corners = [(since, y - _HALF), (until, y - _HALF), (until, y + _HALF), (since, y + _HALF)]
        hover = f"{part}: {said}, from {since:,.4g} s to {until:,.4g} s after the failure"
        (longest if is_longest else bars).add([*corners, corners[0]], hover)
        if row:
            steps.add([(since, y + 1 - _HALF), (since, y + _HALF)])
        text = f"<b>{said}, the longest part</b>" if is_longest else said
        is_far = until > _FAR * end
        x = since if is_far and since > _ROOM * end else until  # before a short bar, in a long one
        words.add(x, y, f" {text} ", "middle left" if is_far else "middle right", colours.ink)
    line = {"width": 1.4, "color": colours.ink}
    return [
        bars.trace("parts", fill="toself", fillcolor=look.tint(colours.probe, 0.3), line=line) | own,
        longest.trace(
            "the longest part", fill="toself", fillcolor=look.tint(colours.error, 0.25),
            fillpattern={"shape": "/", "fgcolor": colours.error, "size": 8, "solidity": 0.25}, line=line,
        ) | own,
        steps.trace("steps", line={"width": 1.2, "color": colours.soft, "dash": "dot"}) | own,
        words.trace("lengths", colours) | own,
    ]  # fmt: skip


def _connections(trace: Trace, rows: int, unit: int, colours: look.Theme) -> list[dict[str, Any]]:
    bars = {state: Line() for state in _LEADS}
    for row, since, until, state in trace.series["connections"]:
        if row < rows:
            x0, x1, low, high = since / unit, until / unit, row - _HALF, row + _HALF
            hover = f"connection {row + 1}: {_LEADS[state][0]}, {since:,.4g} s to {until:,.4g} s"
            bars[state].add([(x0, low), (x1, low), (x1, high), (x0, high), (x0, low)], hover)
    made = []
    for state, (words, name, shape) in _LEADS.items():
        colour = _colour(name, colours)
        made.append(
            bars[state].trace(
                words,
                fill="toself",
                fillcolor=look.tint(colour, 0.4),
                fillpattern={"shape": shape, "fgcolor": colour, "size": 7, "solidity": 0.3},
                line={"width": 1, "color": colour},
            )
            | {"yaxis": "y2"}
        )
    return made


def _moments(trace: Trace, rows: int, top: float, unit: int, colours: look.Theme) -> list[dict[str, Any]]:
    """Dotted lines through both lower pictures: the failure, the promotion, the first write accepted."""
    told = trace.parameters
    fails = told["fails_at_s"]
    moments = [fails, fails + told["promotion_s"]]
    if (outage := trace.outcome["write_outage_s"]) is not None:
        moments.append(fails + outage)
    made = []
    for axis, low, high in (("y2", -0.6, rows - 0.4), ("y3", 0, top)):
        lines = Line()
        for moment in moments:
            if moment <= trace.end / SECOND:
                lines.add([(moment / unit, low), (moment / unit, high)])
        line = {"width": 1.6, "color": colours.cursor, "dash": "dot"}
        made.append(lines.trace("failure, promotion, first write", line=line) | {"yaxis": axis})
    return made


def _answers(trace: Trace, length: float, unit: int, colours: look.Theme) -> list[dict[str, Any]]:
    t = [*trace.series["t_s"], length]
    widths = [b - a for a, b in pairwise(t)]
    base = [0.0] * len(widths)
    made = []
    for name, (words, colour, shape) in _ANSWERED.items():
        rates = [count / width for count, width in zip(trace.series[name], widths, strict=True)]
        made.append(
            {
                "type": "bar",
                "name": words,
                "x": [moment / unit for moment in t[:-1]],
                "y": rates,
                "base": base,
                "offset": 0,
                "width": [width / unit for width in widths],
                "marker": {
                    "color": look.tint(_colour(colour, colours), 0.45 if shape else 0.7),
                    "pattern": {"shape": shape, "fgcolor": _colour(colour, colours), "size": 6},
                    "line": {"width": 0},
                },
                "yaxis": "y3",
                "customdata": trace.series[name],
                "hovertemplate": f"{words}: %{{customdata:,}} in this step<extra></extra>",
            }
        )
        base = [below + rate for below, rate in zip(base, rates, strict=True)]
    return made


def _legend(trace: Trace, rows: int) -> str:
    seen = {state for row, _, _, state in trace.series["connections"] if row < rows}
    parts = [f"{_PATTERN[shape]}: {words}" for state, (words, _, shape) in _LEADS.items() if state in seen]
    size = trace.parameters["size"]
    if size > rows:
        parts.append(f"the first {rows} of {size:,}")
    return "   ".join(parts)


def _answers_legend(trace: Trace) -> str:
    shades = {"writes_accepted": "green", "reads": "grey"}
    return "   ".join(
        f"{shades.get(name) or _PATTERN[shape]}: {words}"
        for name, (words, _, shape) in _ANSWERED.items()
        if any(trace.series[name])
    )


def _layout(
    trace: Trace, colours: look.Theme, end: float, rows: int, top: float, unit: str, title: str | None
) -> dict[str, Any]:
    margin = {"l": 130, "r": 24, "t": 36 if title else 12, "b": 56}
    grid = {"gridcolor": colours.faint, "griddash": "dot", "showgrid": True, "showticklabels": True}
    label = {"size": look.FONT_SIZE}
    budget = trace.series["budget"]
    step = ceil(rows / 5)
    numbers = list(range(0, rows, step))
    rate = trace.parameters["rate_per_s"]
    return look.layout(colours, height=_HEIGHT + margin["t"] + margin["b"], margin=margin, title=title) | {
        "uirevision": "failover",
        "xaxis": look.axis(
            range=[0, end],
            ticksuffix=f" {unit}",
            anchor="y3",
            ticklabelstandoff=6,
            title={"text": "time since the run began; dotted lines: failure, promotion, first write",
                   "font": label},
            **grid,
        ),
        "xaxis2": look.axis(
            range=[0, (budget[-1][2] if budget else 1) * 1.02],
            ticksuffix=" s",
            anchor="y",
            nticks=8,
            fixedrange=True,
            **grid,
        ),
        "yaxis": look.axis(
            range=[-max(len(budget), 1) + 0.4, 0.6],
            domain=[_ROWS + _GAP, 1],
            tickvals=[-row for row in range(len(budget))],
            ticktext=[part for part, _, _ in budget],
            fixedrange=True,
            **grid | {"showgrid": False},
        ),
        "yaxis2": look.axis(
            range=[-0.6, rows + 0.9],
            domain=[_ANSWERS + _GAP, _ROWS],
            title={"text": "connection", "font": label},
            tickvals=numbers,
            ticktext=[str(row + 1) for row in numbers],
            fixedrange=True,
            **grid | {"showgrid": False},
        ),
        "yaxis3": look.axis(
            range=[0, top],
            domain=[0, _ANSWERS],
            title={"text": "answers/s", "font": label},
            tickvals=[0, rate],
            tickformat=",",
            fixedrange=True,
            **grid,
        ),
    }  # fmt: skip
