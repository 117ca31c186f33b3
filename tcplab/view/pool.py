"""A connection pool over time: its connections as rows, how long requests take, and how many fail.

Three pictures above each other with one clock. A row that is alive is a plain bar; dead and still in
the pool it is hatched; where one connection ends and the next begins there is a mark.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, floor, log10
from typing import Any

from tcplab.trace import SECOND, Trace
from tcplab.view import theme as look
from tcplab.view.marks import Line, Picture, Text

#: px of the whole; where the errors and the latencies end, as parts of the height, and the gap above each.
_HEIGHT, _ERRORS, _LATENCY, _GAP = 520, 0.16, 0.5, 0.08
#: More rows than these would be thinner than a line of text.
_MOST_ROWS = 20
_MINUTES = 600
#: Milliseconds as powers of ten that the latencies' axis names.
_POWERS = range(8)
#: Half the thickness of a row.
_HALF = 0.34


def draw_pool(trace: Trace, *, title: str | None = None, dark: bool = False) -> Picture:
    """The lives of a `pool` run's connections, and what became of its requests."""
    colours = look.theme(dark)
    length = trace.end / SECOND
    unit, name = (60, "min") if length > _MINUTES else (1, "s")
    t = [round(moment / unit, 6) for moment in (*trace.series["t_s"], length)]
    rows = min(trace.parameters["size"], _MOST_ROWS)
    captions = Text()
    data = [
        *_rows(trace, rows, unit, colours),
        _latency(trace, t, colours),
        _errors(trace, t, unit, colours),
    ]
    captions.add(0, rows + 0.1, _legend(trace, rows), "top right", colours.ink)
    data.append(captions.trace("captions", colours))
    return Picture(data, _layout(trace, colours, length / unit, rows, name, title))


def _rows(trace: Trace, rows: int, unit: int, colours: look.Theme) -> list[dict[str, Any]]:
    bars = {"alive": Line(), "zombie": Line()}
    replaced: list[tuple[float, int]] = []
    for row, since, until, state in trace.series["connections"]:
        if row >= rows:
            continue
        x0, x1, low, high = since / unit, until / unit, row - _HALF, row + _HALF
        words = "alive" if state == "alive" else "dead, and still in the pool"
        hover = f"connection {row + 1}: {words} from {since:,.4g} s to {until:,.4g} s"
        bars[state].add([(x0, low), (x1, low), (x1, high), (x0, high), (x0, low)], hover)
        if state == "alive" and since:
            replaced.append((x0, row))
    alive, zombie = colours.states["open"], colours.error
    return [
        bars["alive"].trace(
            "alive", fill="toself", fillcolor=look.tint(alive, 0.55), line={"width": 1, "color": alive}
        ),
        bars["zombie"].trace(
            "dead, and still in the pool",
            fill="toself",
            fillcolor=look.tint(zombie, 0.15),
            fillpattern={"shape": "/", "fgcolor": zombie, "size": 8, "solidity": 0.3},
            line={"width": 1.4, "color": zombie},
        ),
        {
            "type": "scatter",
            "mode": "markers",
            "name": "replaced",
            "x": [x for x, _ in replaced],
            "y": [row for _, row in replaced],
            "marker": {"symbol": "diamond", "size": 9, "color": colours.ink},
            "hovertemplate": "connection %{y}: a new one<extra></extra>",
        },
    ]


def _latency(trace: Trace, t: list[float], colours: look.Theme) -> dict[str, Any]:
    slowest = trace.series["slowest_ms"]
    # A request alone has no line; where each has a neighbour, 600 dots would only be slow to paint.
    around = [None, *slowest, None]
    is_lone = any(
        here and not before and not after
        for before, here, after in zip(around, slowest, around[2:], strict=False)
    )
    return {
        "type": "scatter",
        "mode": "lines+markers" if is_lone else "lines",
        "name": "slowest request",
        "x": t[:-1],
        "y": [value or None for value in slowest],  # a logarithmic axis has no 0
        "line": {"shape": "hv", "width": 1.6, "color": colours.probe},
        "marker": {"size": 3, "color": colours.probe},
        "yaxis": "y2",
        "hovertemplate": "the slowest that came here took %{y:,.4g} ms<extra></extra>",
    }


def _decades(trace: Trace) -> list[float]:
    """Ends of the latencies' axis, as powers of ten: a decade at least, with room for a line."""
    seen = [value for value in trace.series["slowest_ms"] if value] or [1]
    low, high = log10(min(seen)), log10(max(seen))
    return [floor(low) - 0.1, max(ceil(high), floor(low) + 1) + 0.1]


def _errors(trace: Trace, t: list[float], unit: int, colours: look.Theme) -> dict[str, Any]:
    seen = [
        (x, after - x, many)
        for (x, after), many in zip(pairwise(t), trace.series["errors"], strict=True)
        if many
    ]
    return {
        "type": "bar",
        "name": "errors",
        "x": [x for x, _, _ in seen],
        "y": [many for _, _, many in seen],
        "offset": 0,
        # Thinner than three pixels nobody would see one.
        "width": [max(width, t[-1] / 250) for _, width, _ in seen],
        "marker": {"color": colours.error, "pattern": {"shape": "/"}, "line": {"width": 0}},
        "yaxis": "y3",
        "hovertemplate": f"%{{y:,}} of the requests that came at %{{x:.1f}} {'min' if unit > 1 else 's'} fail"
        "<extra></extra>",
    }


def _legend(trace: Trace, rows: int) -> str:
    seen = {state for row, _, _, state in trace.series["connections"] if row < rows}
    parts = ["plain: alive"]
    if "zombie" in seen:
        parts.append("hatched: dead, and still in the pool")
    if any(since for row, since, _, state in trace.series["connections"] if state == "alive" and row < rows):
        parts.append("◆ a new one")
    size = trace.parameters["size"]
    if size > rows:
        parts.append(f"the first {rows} of {size:,}")
    return "   ".join(parts)


def _layout(
    trace: Trace, colours: look.Theme, end: float, rows: int, unit: str, title: str | None
) -> dict[str, Any]:
    margin = {"l": 110, "r": 40, "t": 36 if title else 12, "b": 56}
    grid = {"gridcolor": colours.faint, "griddash": "dot", "showgrid": True, "showticklabels": True}
    label = {"size": look.FONT_SIZE}
    step = max(1, rows // 10)
    numbers = list(range(0, rows, step))
    most = max(trace.series["errors"], default=0)
    return look.layout(colours, height=_HEIGHT + margin["t"] + margin["b"], margin=margin, title=title) | {
        "uirevision": "pool",
        "xaxis": look.axis(
            range=[0, end],
            ticksuffix=f" {unit}",
            anchor="y3",
            ticklabelstandoff=6,
            title={"text": "time since the run began", "font": label},
            **grid,
        ),
        "yaxis": look.axis(
            range=[-0.6, rows + 0.9],
            domain=[_LATENCY + _GAP, 1],
            title={"text": "connection", "font": label},
            tickvals=numbers,
            ticktext=[str(row + 1) for row in numbers],
            fixedrange=True,
            **grid | {"showgrid": False},
        ),
        "yaxis2": look.axis(
            type="log",
            domain=[_ERRORS + _GAP, _LATENCY],
            title={"text": "slowest request", "font": label},
            range=_decades(trace),
            tickvals=[10.0**power for power in _POWERS],
            ticktext=[f"{10**power:,} ms" if power < 3 else f"{10 ** (power - 3):,} s" for power in _POWERS],
            fixedrange=True,
            **grid,
        ),
        "yaxis3": look.axis(
            range=[0, 1.2 * max(most, 1)],
            domain=[0, _ERRORS],
            title={"text": "errors", "font": label},
            tickvals=[0, max(most, 1)],
            tickformat=",d",
            fixedrange=True,
            **grid,
        ),
    }
