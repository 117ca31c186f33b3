"""What a capture shows: one function per finding code, for the connections that are worth a look."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tcplab.capture import FileWarning
from tcplab.capture.capture import Capture
from tcplab.capture.findings import lifecycle, screen, silence
from tcplab.capture.findings.coverage import Coverage, by_rule, coverage, file_warnings
from tcplab.capture.findings.lifecycle import of_goodbye
from tcplab.capture.findings.story import (
    PASS,
    ConnectionStory,
    Earlier,
    Finding,
    Goodbye,
    errors,
    explained,
    services,
)
from tcplab.capture.plain import PlainTable
from tcplab.capture.shared import Quote
from tcplab.core.connections import opens
from tcplab.core.segment import FIN, RST, SYN, Endpoint
from tcplab.core.text import plural
from tcplab.core.trace import Trace
from tcplab.follow import CLIENT, KEEPALIVE, OTHER, RETRANSMISSION, SERVER
from tcplab.model.rules import ACCEPTED

if TYPE_CHECKING:
    from tcplab.capture.table import Table

__all__ = ["CODES", "ConnectionFindings", "Diagnosis", "Finding", "diagnose", "findings_of"]

#: Every code, worst first: the function that finds it, and the notebook that explains it.
CODES: dict[str, tuple[Callable[[ConnectionStory], Iterator[Finding]], str]] = {
    "idle_then_dead": (silence.idle_then_dead, "03_keepalive"),
    "cookie_ghost_suspected": (lifecycle.cookie_ghost_suspected, "12_ghost_connections"),
    "one_way": (silence.one_way, "04_dead_peer"),
    "dead_peer": (silence.dead_peer, "04_dead_peer"),
    "keepalive_death": (silence.keepalive_death, "03_keepalive"),
    "ghost_suspected": (lifecycle.ghost_suspected, "12_ghost_connections"),
    "unanswered_syn": (lifecycle.unanswered_syn, "02_fin_or_rst"),
    "handshake_incomplete": (lifecycle.handshake_incomplete, "02_fin_or_rst"),
    "refused": (lifecycle.refused, "02_fin_or_rst"),
    "reset_by_server": (partial(lifecycle.reset_by, side=SERVER), "02_fin_or_rst"),
    "reset_by_client": (partial(lifecycle.reset_by, side=CLIENT), "02_fin_or_rst"),
    "reset_challenged": (lifecycle.reset_challenged, "13_the_rst_that_did_not_close"),
    "reset_ignored": (lifecycle.reset_ignored, "13_the_rst_that_did_not_close"),
    "slow_connect": (lifecycle.slow_connect, "02_fin_or_rst"),
    "stale_half": (lifecycle.stale_half, "13_the_rst_that_did_not_close"),
    "half_closed": (lifecycle.half_closed, "02_fin_or_rst"),
    "zero_window": (silence.zero_window, "06_the_window"),
    "retransmission": (silence.retransmission, "04_dead_peer"),
    "port_reused": (lifecycle.port_reused, "10_out_of_ports"),
    "keepalive": (silence.keepalive, "03_keepalive"),
    "reset_after_close": (lifecycle.reset_after_close, "02_fin_or_rst"),
    "probe_only": (lifecycle.probe_only, "08_pools_and_probes"),
    "midstream": (lifecycle.midstream, "14_capture_clinic"),
    "closed_by_server": (partial(lifecycle.closed_by, side=SERVER), "01_life_of_a_connection"),
    "closed_by_client": (partial(lifecycle.closed_by, side=CLIENT), "01_life_of_a_connection"),
}
Need = Callable[[ConnectionStory], object]
_RESET: Need = lambda story: story.places(flags=RST)  # noqa: E731
_CLOSED: Need = lambda story: story.places(flags=FIN)  # noqa: E731
_PROBED: Need = lambda story: KEEPALIVE in story.kinds  # noqa: E731
_UNACKNOWLEDGED: Need = lambda story: any(map(story.unacknowledged, OTHER))  # noqa: E731
_SYNACK_AGAIN: Need = lambda story: len(story.places(SERVER, SYN)) > 1  # noqa: E731
#: What a connection must have for a code to be possible: without it, its function is not called.
NEEDS: dict[str, Need] = {
    "idle_then_dead": _UNACKNOWLEDGED, "one_way": _UNACKNOWLEDGED, "dead_peer": _UNACKNOWLEDGED,
    "keepalive_death": _PROBED, "keepalive": _PROBED,
    "reset_by_server": _RESET, "reset_by_client": _RESET, "reset_challenged": _RESET,
    "reset_ignored": _RESET, "reset_after_close": _RESET,
    "refused": lambda story: story.errors or story.places(flags=RST),
    "unanswered_syn": lambda story: not story.places(SERVER),
    "ghost_suspected": _SYNACK_AGAIN, "handshake_incomplete": _SYNACK_AGAIN,
    "slow_connect": lambda story: story.earlier or len(story.places(CLIENT, SYN)) > 1,
    "port_reused": lambda story: story.earlier,
    "half_closed": _CLOSED, "closed_by_server": _CLOSED, "closed_by_client": _CLOSED,
    "retransmission": lambda story: RETRANSMISSION in story.kinds,
    "midstream": lambda story: not story.places(flags=SYN),
}  # fmt: skip
#: Connections between two reports of the progress.
OFTEN = 64
#: The state in which a capture leaves a connection, by the code that says so; the first one counts.
STATES = {
    "refused": "refused", "unanswered_syn": "unanswered", "reset_by_server": "reset",
    "reset_by_client": "reset", "idle_then_dead": "dead", "one_way": "dead", "dead_peer": "dead",
    "cookie_ghost_suspected": "dead", "handshake_incomplete": "unanswered",
}  # fmt: skip


@dataclass(frozen=True)
class ConnectionFindings:
    """One connection of a capture and what it shows."""

    #: Its number in the capture, from 0, as in `Capture.connection`.
    number: int
    client: Endpoint
    server: Endpoint
    #: The database by its first bytes, else by the server's port; None when neither tells.
    service: str | None
    #: As the capture leaves it: `open`, `closed`, `closing`, `reset`, `dead`, `refused`, `unanswered`.
    state: str
    #: Worst first.
    findings: tuple[Finding, ...]
    #: What is missing from this connection in the file, or is unreliable.
    warnings: tuple[FileWarning, ...] = ()

    def to_json(self, began: int = 0) -> dict[str, Any]:
        """As `tcplab diagnose --json` prints it; `warnings` only where there are any.

        `began` is when the capture's first packet passed, nanoseconds since 1970.
        """
        warnings = [each.to_json() for each in self.warnings]
        return {
            "client": str(self.client), "server": str(self.server), "service": self.service,
            "state": self.state, "findings": [each.to_json(began) for each in self.findings],
            **({"warnings": warnings} if warnings else {}),
        }  # fmt: skip


@dataclass(frozen=True)
class Diagnosis:
    """What a capture shows. `len()` counts its connections."""

    name: str
    #: TCP packets.
    packets: int
    #: In order of their first packet.
    connections: tuple[ConnectionFindings, ...]
    #: Sentences to read first: what is missing or uncertain in the capture.
    warnings: tuple[FileWarning, ...] = ()
    #: When its first packet passed, nanoseconds since 1970.
    began: int = 0

    def __len__(self) -> int:
        return len(self.connections)

    @property
    def summary(self) -> Mapping[str, int]:
        """How many connections show each code, worst first."""
        codes = [{each.code for each in connection.findings} for connection in self.connections]
        counts = {code: sum(code in each for each in codes) for code in CODES}
        return {code: count for code, count in counts.items() if count}

    def to_json(self) -> dict[str, Any]:
        """As `tcplab diagnose --json` prints it."""
        return {
            "packets": self.packets,
            "warnings": [each.to_json() for each in self.warnings],
            "connections": [each.to_json(self.began) for each in self.connections],
        }


def diagnose(capture: Capture, progress: Callable[[float], None] = lambda share: None) -> Diagnosis:
    """What happened to each connection of a capture, as far as one point of the route shows it.

    `progress` gets the share of them that is done, 0 .. 1; what it raises ends the diagnosis.
    """
    # No reference cycles arise here: garbage collection over millions of packets would find nothing.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _diagnosed(capture, progress)
    finally:
        if collecting:
            gc.enable()


def _diagnosed(capture: Capture, progress: Callable[[float], None]) -> Diagnosis:
    service, quotes, end = services(capture), errors(capture), capture.ended - capture.began
    earlier: dict[frozenset[Endpoint], Earlier | None] = {}
    seen: list[tuple[tuple[Finding, ...], FinalState]] = []
    parts: list[Coverage] = []
    repeated = 0
    looked = zip(capture.connections, looks(capture.table), strict=True)
    for i, ((client, server), (depth, bye)) in enumerate(looked):
        if not i % OFTEN:
            progress(i / len(capture.connections))
        if depth == PASS and i not in quotes:
            seen.append(((), FinalState()))
            parts.append(Coverage())
            continue
        if bye is not None and i not in quotes:
            seen.append(
                (tuple(_with_lesson(each) for each in of_goodbye(bye, end)), FinalState(bye.both, True))
            )
            parts.append(Coverage())
            continue
        repeated += capture.duplicates(i)
        pair = frozenset((client, server))
        going = partial(progress, i / len(capture.connections))
        story = _story(capture, i, earlier.get(pair), quotes.get(i, []), going)
        seen.append((_findings(story, going), FinalState.of(story)))
        parts.append(coverage(story))
        earlier[pair] = _ended(story)
    everywhere = by_rule(parts)
    connections = []
    for i, ((client, server), (findings, ending), part) in enumerate(
        zip(capture.connections, seen, parts, strict=True)
    ):
        kept = tuple(each for each in findings if each.code not in part.hidden | everywhere)
        missing = tuple(filter(None, (capture.clock_step(i), capture.too_long(i), part.warning())))
        connections.append(
            ConnectionFindings(i, client, server, service[i], ending.state(kept), kept, missing)
        )
    twice = FileWarning(
        "duplicates",
        f"{capture.name} holds {plural(repeated, 'frame')} twice within 1 ms (a mirror port of both "
        "directions, or several interfaces of one host): counted as packets, ignored by the findings.",
    )
    warnings = (*capture.warnings, *([twice] if repeated else []), *file_warnings(capture.name, parts))
    return Diagnosis(capture.name, len(capture), tuple(connections), warnings, capture.began)


def findings_of(trace: Trace) -> list[Finding]:
    """What a captured connection shows by itself; the other connections of its capture are unknown.

    Frames are places among its segments, from 1. Of two legs in one trace nothing is said.
    """
    if not trace.packets or not {*trace.hosts} <= {CLIENT, SERVER}:
        return []
    first = trace.packets[0]
    ends = first.segment.source, first.segment.destination
    client, server = ends if first.sender == CLIENT else ends[::-1]
    frames = list(range(1, len(trace.packets) + 1))
    story = ConnectionStory(trace, client, server, frames)
    hidden = coverage(story).hidden if trace.bench == "capture" else frozenset[str]()
    return [each for each in _findings(story) if each.code not in hidden]


def looks(table: Table | PlainTable) -> Iterator[tuple[int, Goodbye | None]]:
    """Of each connection how much to look at (`PASS`, `ENDS`, `WALK`), and of `ENDS` how it was closed."""
    if isinstance(table, PlainTable):
        return screen.looks(table)
    from tcplab.capture.findings import columns

    return columns.looks(table)


def _story(
    capture: Capture, i: int, earlier: Earlier | None, quotes: list[Quote], going: Callable[[], None]
) -> ConnectionStory:
    rows = capture.looked_at(i)
    trace, frames = capture.trace(i, rows, going), capture.table.values("frame", rows)
    return ConnectionStory(trace, *capture.connections[i], frames, earlier=earlier, errors=tuple(quotes))


def _findings(story: ConnectionStory, going: Callable[[], None] = lambda: None) -> tuple[Finding, ...]:
    """All findings of one connection; `going` is called before each search, and may end it by raising."""
    findings: list[Finding] = []
    for code, (find, _) in CODES.items():
        if code not in NEEDS or NEEDS[code](story):
            going()
            findings += (_with_lesson(explained(finding, story)) for finding in find(story))
    return tuple(findings)


def _with_lesson(finding: Finding) -> Finding:
    return replace(finding, lesson=CODES[finding.code][1])


@dataclass(frozen=True, slots=True)
class FinalState:
    """The state of a connection at the end of the capture, apart from its findings."""

    #: Both FINs were acknowledged; there was a FIN; there was a RST.
    complete: bool = False
    closes: bool = False
    reset: bool = False

    @classmethod
    def of(cls, story: ConnectionStory) -> FinalState:
        """From its packets."""
        return cls(lifecycle.complete(story), bool(story.places(flags=FIN)), bool(story.places(flags=RST)))

    def state(self, findings: Sequence[Finding]) -> str:
        """One of the words of `ConnectionFindings.state`."""
        codes = {finding.code for finding in findings}
        if "handshake_incomplete" in codes and self.reset:
            return "reset"
        for code, state in STATES.items():
            if code in codes:
                return state
        if self.complete:
            return "closed"
        return "reset" if "reset_after_close" in codes else "closing" if self.closes else "open"


def _ended(story: ConnectionStory) -> Earlier | None:
    """How it ended, if the capture saw that: by a RST, or by both FINs."""
    ends = [reset.place for reset in story.resets if reset.verdict == ACCEPTED]
    ends = ends[:1] if lifecycle.ended_by_reset(story) else []
    by_fin = not ends and lifecycle.both_fins(story)
    if not by_fin and not ends:
        ends = story.places(flags=RST)[-1:]  # refused, or of a handshake that was not completed
        if not ends or any(i > ends[0] for i in story.places()):
            return None
    place = len(story.packets) - 1 if by_fin else ends[0]
    syns = ((i, p) for i in story.places(flags=SYN) if opens((p := story.packets[i]).segment))
    asked = tuple((p.segment.seq, p.t, story.frames[i]) for i, p in syns)
    return Earlier(story.packets[place].t, story.frames[place], by_fin=by_fin, syns=asked)
