"""Ports over time: how many are in use, how many of them wait in TIME_WAIT, and where nothing is left.

Two pictures above each other with one clock: the ports below their ceiling, with the outages in
which every connect() failed; and attempts a second, those that succeeded and those that didn't.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, floor, log10
from typing import Any

from tcplab.core.text import SECOND, duration
from tcplab.core.trace import Trace
from tcplab.pictures import theme as look
from tcplab.pictures.theme import Line, Picture, Text

#: px of both plotting areas together, and the part of it that the lower one has; a gap is between.
_CHURN_HEIGHT, _LOWER, _CHURN_GAP = 420, 0.2, 0.1
#: An outage narrower than this part of the picture carries no words of its own.
_WORTH_A_WORD = 0.045
#: From this length on the axis counts minutes, seconds.
_CHURN_MINUTES = 600


def draw_churn(trace: Trace, *, title: str | None = None, dark: bool = False) -> Picture:
    """The curves of a `port_churn` run against its ceiling, and what became of the attempts."""
    colours = look.theme(dark)
    series, ceiling = trace.series, trace.outcome["ceiling"]
    length = trace.end / SECOND
    unit, name = (60, "min") if length > _CHURN_MINUTES else (1, "s")
    end = length / unit
    t = [round(moment / unit, 6) for moment in (*series["t_s"], length)]
    most = max(*series["in_use_high"], *series["time_wait_high"])
    top = max(most, ceiling if most > 0.2 * ceiling else 1.2 * most)
    captions = Text()
    outages = Line()
    for began, until in series["outages_s"]:
        x0, x1 = round(began / unit, 6), round(until / unit, 6)
        outages.add([(x0, 0), (x1, 0), (x1, top), (x0, top), (x0, 0)])
        if x1 - x0 >= _WORTH_A_WORD * end:
            text = f"<b>no port<br>{duration(round((until - began) * SECOND))}</b>"
            captions.add((x0 + x1) / 2, 0.3 * top, text, "middle center", colours.error)
    waiting = colours.states["waiting"]
    when = f"<br>at %{{x:.1f}} {name}<extra></extra>"
    data = [
        outages.trace(
            "outages",
            fill="toself",
            fillcolor=look.tint(colours.error, 0.12),
            fillpattern={"shape": "/", "fgcolor": colours.error, "size": 8, "solidity": 0.16},
            line={"width": 0},
        ),
        _steps("in TIME_WAIT", t, series["time_wait_high"])
        | {
            "fill": "tozeroy",
            "fillcolor": look.tint(waiting, 0.35),
            "line": {"shape": "hv", "width": 1.4, "dash": "dot", "color": colours.timers["timewait"]},
            "hovertemplate": "%{y:,} sockets in TIME_WAIT" + when,
        },
        _steps("ports in use, least", t, series["in_use_low"])
        | {"line": {"shape": "hv", "width": 0}, "hoverinfo": "skip"},
        _steps("ports in use", t, series["in_use_high"])
        | {
            "fill": "tonexty",
            "fillcolor": look.tint(colours.probe, 0.5),
            "line": {"shape": "hv", "width": 2, "color": colours.probe},
            "hovertemplate": "%{y:,} ports in use" + when,
        },
        _ceiling(captions, colours, ceiling, top, end),
        *_attempts(trace, t, unit, colours),
    ]
    captions.add(end, 1.02 * top, _churn_legend(trace), "top left", colours.ink)
    data.append(captions.trace("captions", colours))
    return Picture(data, _churn_layout(colours, end, top, trace.parameters["rate_per_s"], name, title))


def _steps(name: str, t: list[float], values: list[float]) -> dict[str, Any]:
    """A step curve, without the points between two that say the same."""
    kept = [0, *(i for i in range(1, len(values)) if values[i] != values[i - 1])]
    x, y = [t[i] for i in kept] + [t[-1]], [values[i] for i in kept] + [values[-1]]
    return {"type": "scatter", "mode": "lines", "name": name, "x": x, "y": y}


def _ceiling(captions: Text, colours: look.Theme, ceiling: int, top: float, end: float) -> dict[str, Any]:
    line = Line()
    if ceiling <= top:
        line.add([(0, ceiling), (end, ceiling)])
        text = f"<b>{ceiling:,} ports: there are no more</b>"
        captions.add(0, 1.02 * ceiling, text, "top right", colours.ink)
    else:
        captions.add(0, top, f"the ceiling, {ceiling:,} ports, is far above", "top right", colours.soft)
    return line.trace("ceiling", line={"color": colours.ink, "width": 2, "dash": "dash"})


def _churn_legend(trace: Trace) -> str:
    """What line and area are."""
    if not trace.outcome["peak_time_wait"]:
        return "— ports in use"
    if trace.outcome["peak_time_wait"] > max(trace.series["in_use_high"]):
        return "— ports that no connect() may take   ··· sockets in TIME_WAIT (grey)"
    return "— ports in use   ··· of them in TIME_WAIT (grey)"


def _attempts(trace: Trace, t: list[float], unit: int, colours: look.Theme) -> list[dict[str, Any]]:
    """The lower picture: attempts a second, and those of them that succeeded."""
    widths = [(b - a) * unit for a, b in pairwise(t)]
    opened, refused = trace.series["opened"], trace.series["refused"]
    good = [round(n / width, 3) for n, width in zip(opened, widths, strict=True)]
    every = [round((a + b) / width, 3) for a, b, width in zip(opened, refused, widths, strict=True)]
    lower = {"yaxis": "y2"}
    return [
        _steps("opened a second", t, good)
        | {
            "fill": "tozeroy",
            "fillcolor": look.tint(colours.states["open"], 0.5),
            "line": {"shape": "hv", "width": 1, "color": colours.states["open"]},
            "hovertemplate": "%{y:,.0f} a second are opened<extra></extra>",
        }
        | lower,
        _steps("attempts a second", t, every)
        | {
            "fill": "tonexty",
            "fillcolor": look.tint(colours.error, 0.12),
            "fillpattern": {"shape": "/", "fgcolor": colours.error, "size": 8, "solidity": 0.16},
            "line": {"shape": "hv", "width": 1.6, "color": colours.ink},
            "hovertemplate": "%{y:,.0f} attempts a second<extra></extra>",
        }
        | lower,
    ]


def _churn_layout(
    colours: look.Theme, end: float, top: float, rate: float, unit: str, title: str | None
) -> dict[str, Any]:
    margin = {"l": 110, "r": 24, "t": 36 if title else 12, "b": 56}
    grid = {"gridcolor": colours.faint, "griddash": "dot", "showgrid": True, "showticklabels": True}
    label = {"size": look.FONT_SIZE}
    return look.layout(
        colours, height=_CHURN_HEIGHT + margin["t"] + margin["b"], margin=margin, title=title
    ) | {
        "uirevision": "churn",
        "xaxis": look.axis(
            range=[0, end],
            ticksuffix=f" {unit}",
            anchor="y2",
            title={"text": "time since the first attempt", "font": label},
            **grid,
        ),
        "yaxis": look.axis(
            range=[0, 1.14 * top],
            domain=[_LOWER + _CHURN_GAP, 1],
            title={"text": "local ports", "font": label},
            tickformat=",d",
            nticks=5,
            fixedrange=True,
            **grid,
        ),
        "yaxis2": look.axis(
            range=[0, 1.4 * rate],
            domain=[0, _LOWER],
            title={"text": "attempts/s", "font": label},
            tickvals=[rate],
            ticktext=[f"{rate:,.10g}"],
            fixedrange=True,
            **grid,
        ),
    }


# ----------------------------------------------------------------------
# A failover: the outage cut into its parts, where the pool's connections lead, and what requests were told.
#
# Three pictures above each other. The first has a clock of its own, from the failure on: one row a part,
# each beginning where the one before it ends, so that they add up to the outage. The other two share the
# run's clock.

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


# ----------------------------------------------------------------------
# A connection pool over time: its connections as rows, how long requests take, and how many fail.
#
# Three pictures above each other with one clock. A row that is alive is a plain bar; dead and still in
# the pool it is hatched; where one connection ends and the next begins there is a mark.

#: px of the whole; where the errors and the latencies end, as parts of the height, and the gap above each.
_POOL_HEIGHT, _ERRORS, _LATENCY, _POOL_GAP = 520, 0.16, 0.5, 0.08
#: More rows than these would be thinner than a line of text.
_POOL_MOST_ROWS = 20
_POOL_MINUTES = 600
#: Milliseconds as powers of ten that the latencies' axis names.
_POWERS = range(8)
#: Half the thickness of a row.
_POOL_HALF = 0.34


def draw_pool(trace: Trace, *, title: str | None = None, dark: bool = False) -> Picture:
    """The lives of a `pool` run's connections, and what became of its requests."""
    colours = look.theme(dark)
    length = trace.end / SECOND
    unit, name = (60, "min") if length > _POOL_MINUTES else (1, "s")
    t = [round(moment / unit, 6) for moment in (*trace.series["t_s"], length)]
    rows = min(trace.parameters["size"], _POOL_MOST_ROWS)
    captions = Text()
    data = [
        *_rows(trace, rows, unit, colours),
        _latency(trace, t, colours),
        _errors(trace, t, unit, colours),
    ]
    captions.add(0, rows + 0.1, _pool_legend(trace, rows), "top right", colours.ink)
    data.append(captions.trace("captions", colours))
    return Picture(data, _pool_layout(trace, colours, length / unit, rows, name, title))


def _rows(trace: Trace, rows: int, unit: int, colours: look.Theme) -> list[dict[str, Any]]:
    bars = {"alive": Line(), "zombie": Line()}
    replaced: list[tuple[float, int]] = []
    for row, since, until, state in trace.series["connections"]:
        if row >= rows:
            continue
        x0, x1, low, high = since / unit, until / unit, row - _POOL_HALF, row + _POOL_HALF
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


def _pool_legend(trace: Trace, rows: int) -> str:
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


def _pool_layout(
    trace: Trace, colours: look.Theme, end: float, rows: int, unit: str, title: str | None
) -> dict[str, Any]:
    margin = {"l": 110, "r": 40, "t": 36 if title else 12, "b": 56}
    grid = {"gridcolor": colours.faint, "griddash": "dot", "showgrid": True, "showticklabels": True}
    label = {"size": look.FONT_SIZE}
    step = max(1, rows // 10)
    numbers = list(range(0, rows, step))
    most = max(trace.series["errors"], default=0)
    return look.layout(
        colours, height=_POOL_HEIGHT + margin["t"] + margin["b"], margin=margin, title=title
    ) | {
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
            domain=[_LATENCY + _POOL_GAP, 1],
            title={"text": "connection", "font": label},
            tickvals=numbers,
            ticktext=[str(row + 1) for row in numbers],
            fixedrange=True,
            **grid | {"showgrid": False},
        ),
        "yaxis2": look.axis(
            type="log",
            domain=[_ERRORS + _POOL_GAP, _LATENCY],
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
