"""Which timer wins on one leg, as a race: the states in which somebody waits, each a lane.

    >>> import tcplab
    >>> tcplab.which_timer_wins(keepalive_idle_s=60, box_idle_s=0).race["server_dies_waiting"].winner
    'keepalive'

The table of all states and timers is below the picture: CLOSE_WAIT, FIN_WAIT_2 and TIME_WAIT are no races.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from html import escape
from math import inf
from typing import Any

from tcplab.advice.race_lanes import (
    DECIDED,
    FIRES,
    FORGETS,
    IN_TIME,
    LIVES,
    NEVER,
    RESTARTS,
    TOO_LATE,
    UNKNOWN,
    WOULD,
    Race,
    RaceEvent,
    RaceLane,
    time_text,
)
from tcplab.advice.timers import (
    BOX,
    COLUMNS,
    KEEPALIVE,
    READ,
    RESEND,
    SERVER,
    USER,
    TimerCell,
    TimerRow,
    Timers,
    TimerTable,
)
from tcplab.advice.timers import CONNECT as CONNECT_TIMEOUT
from tcplab.core.text import STATUS
from tcplab.lesson import symptoms
from tcplab.lesson.search import PHASES, PhaseMark, marks, seconds_in_words
from tcplab.lesson.tables import Shown
from tcplab.pictures.race import draw_race
from tcplab.pictures.still import folded, to_scroll, turned_over
from tcplab.pictures.svg import Caption, Drawing, Fill, Rect, Stroke, Symbol, text_width
from tcplab.pictures.theme import theme

#: The states that are races: their situation, and what is under way.
_RACES = {
    "SYN": ("connect_nowhere", "no answer to the SYN"),
    "ghost": ("ghost", "connect() has succeeded"),
    "idle": ("idle_session", "both ends are up"),
    "waiting for an answer": ("server_dies_waiting", "query running"),
    "sending": ("server_dies_sending", "request in flight"),
    "zero window": ("slow_reader", "you send"),
}
_HOSTS = {
    CONNECT_TIMEOUT: "application", READ: "application", SERVER: "database", BOX: "the firewall",
    KEEPALIVE: "the kernel", RESEND: "the kernel", USER: "the kernel",
}  # fmt: skip


class TimerRace(TimerTable):
    """The table of states and timers, with its picture; `race` has the lanes."""

    @cached_property
    def race(self) -> Race:
        """The states in which a program waits."""
        lanes = (self._lane(row) for row in self.rows if row.name in _RACES)
        return Race(tuple(lanes), self.settings.outage_s)

    def _lane(self, row: TimerRow) -> RaceLane:
        key, detail = _RACES[row.name]
        events = [self._event(row, column, cell) for column, cell in zip(COLUMNS, row.cells, strict=True)]
        shown = sorted((each for each in events if each.t_s < inf), key=lambda each: each.t_s)
        silent = row.winner == BOX and not row[BOX].tells
        heard = row[row.heard_from].seconds if row.heard_from else None
        lives = not row.winner and row.name in ("idle", "zero window")
        if lives:
            verdict, says = LIVES, "No timer ends it: both ends are up."
        elif heard is None:
            verdict, says = NEVER, "No call of your program returns by itself."
        else:
            verdict = UNKNOWN if not self.settings.outage_s else TOO_LATE
            verdict = IN_TIME if 0 < round(heard, 1) <= self.settings.outage_s else verdict
            says = f"{row.heard_from} ends the wait after {time_text(heard)}."
        if silent:
            says = (
                f"After {time_text(row[BOX].seconds or 0)} the firewall's entry expires, without "
                f"notice. {says}"
            )
        keeps = next((each.timer for each in shown if each.kind == RESTARTS), "") if lives else ""
        return RaceLane(
            key=key, detail=detail, events=tuple(shown), winner=row.winner or keeps, verdict=verdict,
            says=says, heard_s=None if lives else inf if heard is None else heard,
            breaks_s=row[BOX].seconds if silent else None,
        )  # fmt: skip

    def _event(self, row: TimerRow, column: str, cell: TimerCell) -> RaceEvent:
        kind = WOULD
        if column == row.winner:
            kind = FORGETS if column == BOX and not cell.tells else FIRES
        elif cell.seconds is not None and not cell.ends and column == KEEPALIVE and not row.winner:
            kind = RESTARTS
        t_s = inf if cell.seconds is None else cell.seconds
        return RaceEvent(t_s, column, _HOSTS.get(column, "the kernel"), kind, DECIDED)

    def _repr_html_(self) -> str:
        picture = to_scroll(draw_race(self.race).svg)
        said = f"<p {STATUS}>{escape(self.race.sentence)}</p>"
        return said + turned_over(picture) + folded(super()._repr_html_())


def which_timer_wins(**settings: Any) -> TimerRace:
    """The race of timers on one leg under these settings; see `Timers` for their names and defaults.

    Raises `ParameterError` with one sentence for a name or a value that is wrong.
    """
    return TimerRace(Timers.from_values(settings))


# The ruler of seconds: Linux's timers on a logarithmic axis, and where a learner's seconds fall.

#: px of the ruler; where its axis begins, where it ends, and where "never" is.
RULER, AXIS_FROM, AXIS_TO, NEVER_AT = 940, 215, 805, 868
#: Ends of its axis, seconds, and the times that are named on it.
SHORTEST, LONGEST = 0.8, 12_000.0
TICKS = {1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", math.inf: "never"}


def ruler_drawing(seconds: Sequence[float] = ()) -> Drawing:
    """The marks on a logarithmic axis, a lane for each phase; `seconds` are pointed at."""
    colours = theme(False)
    said = "The ruler of seconds" + "".join(f"; you: {seconds_in_words(each)}" for each in seconds)
    drawn = Drawing(RULER, 0, colours, said)
    y = 40.0 if seconds else 14.0
    top = y
    for phase, words in PHASES.items():
        mine = [mark for mark in marks() if mark.phase == phase]
        if not mine:
            continue
        rows: list[float] = []  # px at which the words of each row end
        placed = [_placed(mark, rows) for mark in mine]
        line = y + 20 * len(rows) + 6
        drawn.add(Caption(8, line + 5, words, colours.soft))
        drawn.add(Stroke(AXIS_FROM, line, RULER - 8, line, colours.faint))
        for mark, (left, row, text) in zip(mine, placed, strict=True):
            hit = any(mark.fits(each) for each in seconds)
            ink = colours.error if hit else colours.ink
            for at in mark.at:
                near = hit and (mark.through or any(replace(mark, at=(at,)).fits(each) for each in seconds))
                dot = colours.error if near else colours.ink
                drawn.add(Symbol(ruler_x(at), line, "dot", dot, 6 if near else 4, mark.says))
            if mark.through:
                x0, x1 = ruler_x(mark.at[0]), ruler_x(mark.at[-1])
                drawn.add(Rect(x0, line - 3, x1 - x0, 6, Fill(ink)))
            drawn.add(Caption(left, y + 14 + 20 * row, text, ink, bold=hit, title=mark.says))
        y = line + 16
    for at, text in TICKS.items():
        drawn.add(Stroke(ruler_x(at), y - 4, ruler_x(at), y + 4, colours.soft))
        drawn.add(Caption(ruler_x(at), y + 20, text, colours.soft, "middle"))
    drawn.add(Stroke(AXIS_FROM, y, AXIS_TO, y, colours.soft))
    for each in seconds[:1]:
        x = ruler_x(each)
        drawn.add(Stroke(x, top - 14, x, y, colours.error, 2, "4 3"))
        text, anchor = f"you: {seconds_in_words(each)}", "end" if x > RULER / 2 else "start"
        drawn.add(Caption(x, top - 20, text, colours.error, anchor, bold=True))
    drawn.height = y + 28
    return drawn


def ruler_picture(seconds: Sequence[float] = ()) -> str:
    """The ruler as HTML."""
    return turned_over(to_scroll(ruler_drawing(seconds).svg))


def ruler_x(seconds: float) -> float:
    """Where a time is on the ruler, px."""
    if math.isinf(seconds):
        return NEVER_AT
    share = math.log(min(max(seconds, SHORTEST), LONGEST) / SHORTEST) / math.log(LONGEST / SHORTEST)
    return AXIS_FROM + share * (AXIS_TO - AXIS_FROM)


def _placed(mark: PhaseMark, rows: list[float]) -> tuple[float, int, str]:
    """Where a mark's words begin and in which row; `rows` takes note of it."""
    unit = "" if math.isinf(mark.at[0]) else " s"
    text = f"{mark.label}{unit}: {mark.short}"
    width, middle = text_width(text, True), (ruler_x(mark.at[0]) + ruler_x(mark.at[-1])) / 2
    left = min(max(middle - width / 2, AXIS_FROM), RULER - 4 - width)
    row = next((i for i, end in enumerate(rows) if end < left - 10), len(rows))
    rows[row : row + 1] = [left + width]
    return left, row, text


def ruler() -> Shown:
    """The ruler of seconds, and every mark in the table below it."""
    return symptoms.ruler(ruler_picture)


def look_up(query: str, phase: str = "") -> Shown:
    """What a message, an error number or a time means; a time is pointed at on the ruler."""
    return symptoms.look_up(query, phase, ruler_picture)


def search() -> symptoms.SearchBox:
    """The search box, which points into the ruler."""
    return symptoms.SearchBox("", ruler_picture)
