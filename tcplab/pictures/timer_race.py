"""Which timer wins on one leg, as a race: the states in which somebody waits, each a lane.

    >>> import tcplab
    >>> tcplab.which_timer_wins(keepalive_idle_s=60, box_idle_s=0).race["server_dies_waiting"].winner
    'keepalive'

The table of all states and timers is below the picture: CLOSE_WAIT, FIN_WAIT_2 and TIME_WAIT are no races.
"""

from __future__ import annotations

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
from tcplab.pictures.race import draw_race
from tcplab.pictures.still import folded, to_scroll, turned_over

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
