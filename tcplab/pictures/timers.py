"""Timers of a whole way on one logarithmic axis of seconds: a lane for each timer, a line for each box.

Which timer decides has a star and the words "▶ decides". What never ends reaches into a strip of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from math import inf, log10
from typing import Any

from tcplab.advice import Advice, Check, runs
from tcplab.advice.checks import DATA_TIMER, LimitChecks
from tcplab.advice.products import AGE, ANSWER, IDLE_CLOSE, PING, RETRIES2, InForce, KeepaliveDefaults, title
from tcplab.advice.timers import BOX as BOX_WINS
from tcplab.advice.timers import KEEPALIVE, READ, RESEND, SERVER, USER
from tcplab.core.text import SECOND, duration
from tcplab.pictures import theme as look
from tcplab.pictures.theme import Line, Picture, Text

#: What a lane can be: symbol at its ends, dash of its line.
SILENCE, PROBES, TIMER, BOX = "silence", "probes", "timer", "box"
_LOOKS = {
    SILENCE: ("line-ns-open", "solid"), PROBES: ("circle-open", "dot"), TIMER: ("diamond", "solid"),
    BOX: ("square", "dash"),
}  # fmt: skip
#: Ends of the axis, seconds, and the strip for what never comes.
LEFT, RIGHT, NEVER, NEVER_TO = 1.0, 864_000.0, 5_000_000.0, 12_000_000.0
_TICKS = (1, 10, 60, 300, 1800, 7200, 28_800, 86_400, 864_000)
#: px of a lane: its words, and its line below them.
_LANE = 46
_LONGEST = 44


@dataclass(frozen=True)
class Lane:
    """One timer, or one length of silence."""

    name: str
    #: `SILENCE`, `PROBES`, `TIMER` or `BOX`.
    kind: str
    #: Moments (seconds from when the silence or the call began; `inf`: never) and what happens at each.
    moments: tuple[tuple[float, str], ...]
    #: What breaks when this timer decides; empty: nothing does.
    decides: str = ""


@dataclass(frozen=True)
class LegLanes:
    """The lanes of one leg."""

    name: str
    lanes: tuple[Lane, ...]


def draw_desk_timeline(legs: Sequence[LegLanes], *, title: str | None = None, dark: bool = False) -> Picture:
    """The picture of all legs, the first at the top."""
    drawing = _Timeline(legs, look.theme(dark))
    return Picture(drawing.data(), drawing.layout(title))


class _Timeline:
    """One picture on its way; x is the decimal logarithm of seconds, y counts lanes downwards."""

    def __init__(self, legs: Sequence[LegLanes], colours: look.Theme) -> None:
        self.colours = colours
        self.count = 0
        self.lines = {kind: Line() for kind in _LOOKS}
        self.points = {kind: Line() for kind in _LOOKS}
        self.walls, self.stars, self.rules = Line(), Line(), Line()
        self.text = Text()
        for leg in legs:
            self._draw_leg(leg)

    def _draw_leg(self, leg: LegLanes) -> None:
        top = self.count
        self.count += 1
        self.text.add(log10(LEFT), top, f"<b>{_short(leg.name)}</b>", "middle right", self.colours.ink)
        self.rules.add([(log10(LEFT), top + 0.35), (log10(NEVER_TO), top + 0.35)])
        for lane in leg.lanes:
            self._draw_lane(lane, self.count)
            self.count += 1
        for lane in leg.lanes:
            if lane.kind == BOX:
                for seconds, what in lane.moments:
                    ends = [(_x(seconds), top + 0.4), (_x(seconds), self.count - 0.55)]
                    self.walls.add(ends, f"{_short(lane.name)}: {what} {_words(seconds)}")

    def _draw_lane(self, lane: Lane, y: int) -> None:
        places = [(_x(seconds), seconds, what) for seconds, what in lane.moments]
        first, last = places[0][0], places[-1][0]
        told = [f"{what} {_words(s)}" if s < inf else what for _, s, what in places]
        hover = f"<b>{_short(lane.name)}</b><br>" + "<br>".join(told)
        start = first if lane.kind == PROBES else log10(LEFT)
        self.lines[lane.kind].add([(start, y), (last, y)], hover)
        for x, _, _ in places:
            self.points[lane.kind].add([(x, y)], hover)
        said, colour = f"{_short(lane.name)}: {', '.join(told)}", self.colours.ink
        if lane.decides:
            hover = f"{hover}<br>decides: {escape(lane.decides)}"
            self.stars.add([(last, y)], hover)
            said, colour = f"<b>▶ decides</b> · {said}", self.colours.cursor
        self.text.add(log10(LEFT), y - 0.38, said, "middle right", colour, hover)

    # -- for plotly --------------------------------------------------------------------------

    def data(self) -> list[dict[str, Any]]:
        """Always the same traces in the same order."""
        colours = self.colours
        inks = {
            SILENCE: colours.soft, PROBES: colours.probe, TIMER: colours.states["open"], BOX: colours.error,
        }  # fmt: skip
        made = [
            self.rules.trace("legs", line={"color": colours.faint, "width": 1}),
            self.walls.trace(
                "boxes", line={"color": look.tint(colours.error, 0.5), "width": 2, "dash": "dash"}
            ),
        ]
        for kind, (symbol, dash) in _LOOKS.items():
            ink = {"color": inks[kind], "width": 2, "dash": dash}
            made.append(self.lines[kind].trace(f"lane: {kind}", line=ink))
            marker = {"symbol": symbol, "size": 11, "color": inks[kind], "line": {"width": 2}}
            made.append(self.points[kind].trace(f"moment: {kind}", mode="markers", marker=marker))
        star = {"symbol": "star", "size": 17, "color": colours.cursor, "line": {"width": 1}}
        made.append(self.stars.trace("decides", mode="markers", marker=star))
        return [*made, self.text.trace("words", colours)]

    def layout(self, title: str | None) -> dict[str, Any]:
        """A place for every lane."""
        margin = {"l": 16, "r": 24, "t": 60 if title else 12, "b": 76}
        height = _LANE * max(self.count, 1) + margin["t"] + margin["b"]
        ticks = [*map(_x, _TICKS), _x(inf)]
        size = {"size": look.FONT_SIZE}
        signs = "○ probes   ◆ timer   ■ box   ❘ silence   ★ decides"
        return look.layout(self.colours, height=height, margin=margin, title=title) | {
            "uirevision": "desk timeline",
            "dragmode": False,
            "xaxis": look.axis(
                range=[log10(LEFT), log10(NEVER_TO)], fixedrange=True, showticklabels=True, showgrid=True,
                gridcolor=self.colours.faint, tickmode="array", tickvals=ticks, tickangle=0,
                ticktext=[*map(_words, _TICKS), "<b>never</b>"],
                title={"text": f"after so long<br>{signs}", "font": size},
            ),
            "yaxis": look.axis(range=[self.count - 0.4, -0.6], fixedrange=True),
        }  # fmt: skip


def _x(seconds: float) -> float:
    return log10(NEVER) if seconds == inf else log10(min(max(seconds, LEFT), RIGHT))


def _short(name: str) -> str:
    """Names are people's own: as text, and no longer than a line has room for."""
    return escape(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…")


def _words(seconds: float) -> str:
    if seconds == inf:
        return "never"
    if seconds >= 86_400 and seconds % 86_400 == 0:
        return "1 day" if seconds == 86_400 else f"{seconds / 86_400:g} days"
    return duration(round(seconds * SECOND))


# ----------------------------------------------------------------------
# Every timer of an environment, leg by leg, with the ones that decide what breaks: for the picture.

#: A lane, and in the checks' words which timer it is and on whose side: what a check names as its winner.
_Timer = tuple[Lane, str, str]


def timeline(advice: Advice) -> tuple[LegLanes, ...]:
    """The lanes of all legs. A timer that decides what breaks says what that is."""
    env = advice.environment
    return tuple(
        LegLanes(leg.name, tuple(_decided(_timers(advice, i), advice.broken, leg.name, i == 0)))
        for i, leg in enumerate(env.legs)
    )


def _decided(timers: Iterable[_Timer], broken: Iterable[Check], leg: str, first: bool) -> Iterator[Lane]:
    here = [check for check in broken if check.leg == leg or (first and not check.leg)]
    for lane, timer, side in timers:
        names = [each.name for each in here if each.winner == timer and _is_about(each, timer, side)]
        yield replace(lane, decides="; ".join(dict.fromkeys(names))) if names else lane


def _is_about(check: Check, timer: str, side: str) -> bool:
    """Whether a check's winner is the timer of this side, box or setting."""
    if timer in (BOX_WINS, DATA_TIMER, SERVER):
        return not side or side in check.about
    asked = check.about[1] if len(check.about) > 1 and check.about[1] in ("client", "server") else "client"
    return timer != KEEPALIVE or asked == side


def _timers(advice: Advice, i: int) -> Iterator[_Timer]:
    env = advice.environment
    force, limits = InForce(env), LimitChecks(env)
    client, server, leg = env.client_of(i), env.server_of(i), env.legs[i]
    yield Lane("longest silent query", SILENCE, ((env.longest_silent_query_s, "silent for"),)), "", ""
    rests, what = force.rests(i)
    who = what.partition(" = ")[0].rstrip(":")
    yield Lane("longest rest of a session", SILENCE, ((rests, f"{who},"),)), "", ""
    for box in leg.middleboxes:
        if box.idle_s:
            counts = {"layer4": "forgets after", "layer7": "without data, cuts after"}
            told = counts.get(box.kind, "without a request, closes after")
            winner = BOX_WINS if box.kind == "layer4" else DATA_TIMER if box.kind == "layer7" else SERVER
            yield Lane(box.name, BOX, ((box.idle_s, told),)), winner, box.name
        if box.age_s:
            yield Lane(f"{box.name}: age", BOX, ((box.age_s, "ends any connection of"),)), BOX_WINS, box.name
    yield _keepalive(client, force.client(i), "client", advice)
    yield _keepalive(server, force.server(i), "server", advice)
    user = force.user_timeout(i)
    sent = runs.data_unacknowledged(user, force.linux(RETRIES2), env.linux).after_s
    why = "user timeout" if user else "retransmission"
    lane = Lane(f"{title(client)} with data in flight", TIMER, ((sent, f"{why} gives up after"),))
    yield lane, USER if user else RESEND, "client"
    if answer := force.answer(i):
        yield _named(client, ANSWER[client], answer, "stops waiting after"), READ, "client"
    yield from _server_timers(force, server)
    if i == 0:
        yield from _pool(force, limits)


def _keepalive(product: str, end: KeepaliveDefaults | None, side: str, advice: Advice) -> _Timer:
    env = advice.environment
    name = f"{title(product)}'s keepalive ({side})"
    if end is None:
        return Lane(name, PROBES, ((inf, "off: never asks"),)), KEEPALIVE, side
    asks = [(end.probe_after(0), "asks after")]
    if env.lost_probes:
        asks.append((end.probe_after(env.lost_probes), f"with {env.lost_probes} lost"))
    gives_up = runs.probes_unanswered(end, env.linux).after_s
    # Where the user timeout ends it before, there is no such retry.
    moments = [each for each in asks if each[0] < gives_up]
    return Lane(name, PROBES, (*moments, (gives_up, "gives up"))), KEEPALIVE, side


def _server_timers(force: InForce, server: str) -> Iterator[_Timer]:
    """What the server of a leg ends by itself."""
    if server == "haproxy":
        seconds, names = force.relay_timer()
        if seconds:
            lane = Lane(f"HAProxy's {names[0]}", TIMER, ((seconds, "without data, cuts after"),))
            yield lane, DATA_TIMER, f"haproxy.{names[0]}"
    elif seconds := force.of(IDLE_CLOSE, server):
        name = IDLE_CLOSE[server]
        yield _named(server, name, seconds, "closes what rests for"), SERVER, f"{server}.{name}"
    if server == "pgbouncer" and (seconds := force.seconds("pgbouncer", "query_timeout")):
        lane = _named(server, "query_timeout", seconds, "kills a query after")
        yield lane, DATA_TIMER, "pgbouncer.query_timeout"


def _pool(force: InForce, limits: LimitChecks) -> Iterator[_Timer]:
    """What the application's own timers are."""
    pool = force.environment.pool
    connect, timer = limits.connect()
    yield (
        Lane(f"{title(force.environment.driver)} in connect()", TIMER, ((connect, "gives up after"),)),
        timer,
        "",
    )
    if ping := force.ping():
        yield _named(pool, PING[pool], ping, "sends something every"), "", ""
    if age := force.of(AGE, pool):
        yield _named(pool, AGE[pool], age, "replaces connections of"), "", ""
    acquire, who = limits.acquire()
    if who:
        yield Lane(who, TIMER, ((acquire or inf, "a borrower waits"),)), who, ""


def _named(product: str, name: str, seconds: float, what: str) -> Lane:
    return Lane(f"{title(product)}'s {name}", TIMER, ((seconds, what),))
