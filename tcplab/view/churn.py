"""Ports over time: how many are in use, how many of them wait in TIME_WAIT, and where nothing is left.

Two pictures above each other with one clock: the ports below their ceiling, with the outages in
which every connect() failed; and attempts a second, those that succeeded and those that didn't.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tcplab.trace import SECOND, Trace, duration
from tcplab.view import theme as look
from tcplab.view.marks import Line, Picture, Text

#: px of both plotting areas together, and the part of it that the lower one has; a gap is between.
_HEIGHT, _LOWER, _GAP = 420, 0.2, 0.1
#: An outage narrower than this part of the picture carries no words of its own.
_WORTH_A_WORD = 0.045
#: From this length on the axis counts minutes, seconds.
_MINUTES = 600


def draw_churn(trace: Trace, *, title: str | None = None, dark: bool = False) -> Picture:
    """The curves of a `port_churn` run against its ceiling, and what became of the attempts."""
    colours = look.theme(dark)
    series, ceiling = trace.series, trace.outcome["ceiling"]
    length = trace.end / SECOND
    unit, name = (60, "min") if length > _MINUTES else (1, "s")
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
    captions.add(end, 1.02 * top, _legend(trace), "top left", colours.ink)
    data.append(captions.trace("captions", colours))
    return Picture(data, _layout(colours, end, top, trace.parameters["rate_per_s"], name, title))


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


def _legend(trace: Trace) -> str:
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


def _layout(
    colours: look.Theme, end: float, top: float, rate: float, unit: str, title: str | None
) -> dict[str, Any]:
    margin = {"l": 110, "r": 24, "t": 36 if title else 12, "b": 56}
    grid = {"gridcolor": colours.faint, "griddash": "dot", "showgrid": True, "showticklabels": True}
    label = {"size": look.FONT_SIZE}
    return look.layout(colours, height=_HEIGHT + margin["t"] + margin["b"], margin=margin, title=title) | {
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
            domain=[_LOWER + _GAP, 1],
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
