"""Keepalive against boxes, with probes that get lost: which pairs live, which live by luck, which die."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from tcplab.advice import played
from tcplab.advice.products import Keepalive
from tcplab.knobs import KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, PERIOD, Knob
from tcplab.releases import NEWEST
from tcplab.view.heat_map import Cells, HeatMap

LIVES, LUCK, DIES = "lives", "until one is lost", "dies"
_LOST = Knob("lost probes", int, "probes", 1, 20)
_RETRIES2 = 15


def lost_probe_map(
    keepalives_s: Sequence[float] = (60, 120, 200, 270, 300, 600, 1800, 7200),
    boxes_s: Sequence[float] = (240, 350, 600, 900, 1200),
    *,
    interval_s: float = 75,
    probes: int = 9,
    silent_s: float = 1800,
    lost: int = 1,
) -> HeatMap:
    """A silent query behind a box that drops what it has forgotten: every pair of times run on the model.

    A pair lives, lives until `lost` probes in a row get lost, or dies. All times in seconds; raises
    `ParameterError` for one that Linux or the model does not take.
    """
    interval_s = KEEPALIVE_INTERVAL.check("interval_s", interval_s)
    probes = KEEPALIVE_PROBES.check("probes", probes)
    silent_s, lost = PERIOD.check("silent_s", silent_s), _LOST.check("lost", lost)
    rows = [
        {
            "keepalive (s)": idle,
            "box (s)": box,
            "a silent query": _fate(idle, interval_s, probes, box, silent_s, lost),
        }
        for box in boxes_s
        for idle in keepalives_s
    ]
    return HeatMap(Cells(cast(Any, _Table(rows)), "a silent query", "keepalive (s)", "box (s)"))


def _fate(idle: float, interval: float, probes: int, box: float, silent: float, lost: int) -> str:
    idle = KEEPALIVE_IDLE.check("keepalives_s", idle)
    if _dies(idle, interval, probes, box, silent):
        return DIES
    # The probes that get lost are none for the box: the first that counts comes later.
    late = idle + interval * lost
    return LUCK if _dies(late, interval, max(probes - lost, 1), box, silent) else LIVES


def _dies(idle: float, interval: float, probes: int, box: float, silent: float) -> bool:
    keepalive = Keepalive("", idle, interval, probes, 0)
    ending = played.box_forgets(box, "drop", "long_query", silent, keepalive, 0, _RETRIES2, NEWEST)
    return ending is not None


class _Column(list[Any]):
    """Values of a column, with the one method that a heat map asks for."""

    def tolist(self) -> list[Any]:
        return list(self)


class _Table:
    """As much of a table as a heat map needs: a browser's Python has no pandas."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, name: str) -> _Column:
        return _Column(row[name] for row in self._rows)
