"""Which arrow a segment gets: its kind, and how that kind is drawn."""

from __future__ import annotations

from typing import NamedTuple

from tcplab.segment import RST, Endpoint
from tcplab.trace import Passage, Trace


class Arrow(NamedTuple):
    """How one kind of arrow looks. No two kinds differ by colour alone: words say it too."""

    #: The theme's colour by its name, plotly's dash, px.
    colour: str
    dash: str
    width: float
    #: What stands at its end, and whether that turns with the line.
    head: str = "arrow"
    turns: bool = True


#: Every kind, in the order in which a ladder draws them.
ARROWS: dict[str, Arrow] = {
    "segment": Arrow("ink", "solid", 1.6),
    "reset": Arrow("error", "solid", 2.6),
    "reset challenged": Arrow("error", "dash", 2.2, "arrow-open"),
    "reset ignored": Arrow("error", "dot", 2.2, "arrow-open"),
    "probe": Arrow("probe", "solid", 1.6),
    "again": Arrow("again", "solid", 1.6),
    "lost": Arrow("soft", "dash", 1.6, "x-thin", turns=False),
    "dropped": Arrow("soft", "dashdot", 1.6, "square-x-open", turns=False),
    "other connection": Arrow("soft", "solid", 1.2, "arrow-open"),
    "only Linux": Arrow("cursor", "dash", 2.0, "arrow-open"),
}

_PROBES = {"keepalive", "window_probe"}
_REPEATS = {"retransmission", "tail_loss_probe"}

FourTuple = frozenset[Endpoint]


def four_tuple(passage: Passage) -> FourTuple:
    """The connection that a segment belongs to, whichever way it goes."""
    return frozenset((passage.segment.source, passage.segment.destination))


def main_connections(trace: Trace) -> set[FourTuple]:
    """The connection with the most segments between every two hosts: the one that is drawn in full."""
    counts: dict[frozenset[str], dict[FourTuple, int]] = {}
    for passage in trace.passages:
        between = counts.setdefault(frozenset((passage.sender, passage.receiver)), {})
        connection = four_tuple(passage)
        between[connection] = between.get(connection, 0) + 1
    return {max(between, key=between.__getitem__) for between in counts.values()}


def local_port(connection: FourTuple) -> int:
    """The port that tells this connection from others to the same server: the ephemeral one."""
    return max(endpoint.port for endpoint in connection)


def arrow_kind(passage: Passage, is_main: bool) -> str:
    """Under which name of `ARROWS` a segment is drawn."""
    if passage.fate == "lost":
        return "lost"
    if passage.fate != "delivered":
        return "dropped"
    if passage.segment.flags & RST:
        return f"reset {passage.verdict}" if passage.verdict in ("challenged", "ignored") else "reset"
    return speaking_kind(passage) if is_main else "other connection"


def speaking_kind(passage: Passage) -> str:
    """What kind of segment it is, whatever became of it."""
    if passage.kind in _PROBES:
        return "probe"
    return "again" if passage.kind in _REPEATS else "segment"
