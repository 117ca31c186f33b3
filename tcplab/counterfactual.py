"""Would other settings have saved it? A connection's workload played again on the model.

    >>> import tcplab
    >>> connection = tcplab.read_capture("data/captures/lesson_cable_out_sending.pcap").connection(0)
    >>> tcplab.what_if(connection, user_timeout_s=30).failed_after_s
    30.4

What the programs did is taken from the segments, and so are the settings that they ran under; the network's
part is the simplest that explains what was seen. All of that is said beside the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from tcplab.bench import run
from tcplab.capture.again import Again, Socket, Way
from tcplab.capture.cause import BEFORE_S, Plan, of_the_way, plan_of
from tcplab.capture.death import death_of
from tcplab.capture.fate import Fate, as_captured, closed_by, counted, ending, same, sentence
from tcplab.capture.inference import Inference, Settings, settings_of
from tcplab.capture.likeness import Likeness, compare
from tcplab.capture.workload import (
    CLIENT,
    OTHER,
    SERVER,
    Workload,
    not_played,
    refuse_standstill,
    shortened,
    workload,
)
from tcplab.knobs import FIREWALL_IDLE, ParameterError
from tcplab.route.firewall import EXPIRED
from tcplab.trace import SECOND, Trace, duration

__all__ = ["Fate", "WhatIf", "what_if"]


#: Segments that are played at most: a second or two of the model's work for every few thousand.
MOST_PLAYED = 20_000


@dataclass(frozen=True)
class WhatIf:
    """The answer: the connection as it was, and as it would have been. Shows itself in a notebook."""

    sentence: str
    #: As captured; by the model under the same settings; by the model under the changed ones.
    captured: Trace = field(repr=False)
    model: Trace = field(repr=False)
    changed: Trace = field(repr=False)
    #: What was asked for, by parameter.
    changes: dict[str, Any] = field(default_factory=dict)
    #: What became of it: in the model under the captured settings, and under the changed ones.
    was: Fate = field(default=Fate("lived"), repr=False)
    fate: Fate = field(default=Fate("lived"), repr=False)
    #: Whether the model under the captured settings shows what the capture shows.
    likeness: Likeness = field(default_factory=Likeness, repr=False)
    #: Every setting that was read from the segments or assumed, and how sure that is.
    inferences: tuple[Inference, ...] = field(default=(), repr=False)
    #: What one should know before believing it.
    warnings: tuple[str, ...] = field(default=(), repr=False)

    @property
    def lived(self) -> bool:
        """The connection would have outlived what happened."""
        return self.fate.kind == "lived"

    @property
    def failed_after_s(self) -> float | None:
        """Seconds until its program would have had an error; None when it would have had none."""
        return round(self.fate.after / SECOND, 1) if self.fate.kind == "failed" else None

    @property
    def reproduces(self) -> str:
        """Whether the model under the captured settings shows what the capture shows, in one sentence."""
        return self.likeness.sentence

    @property
    def label(self) -> str:
        """The changed run's name: ``with user_timeout_s = 30``; how many changes there are if not one."""
        if len(self.changes) == 1:
            ((name, value),) = self.changes.items()
            return f"with {name} = {value:g}" if not isinstance(value, str) else f"with {name} = {value}"
        return f"with {len(self.changes)} changes" if self.changes else "by the model"

    def __repr__(self) -> str:
        return self.sentence

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        from tcplab.view.counterfactual import beside

        shown = dict(beside(self)._repr_mimebundle_(**options) or {})
        return shown | {"text/plain": self.sentence}


def what_if(
    connection: Trace,
    *,
    keepalive_idle_s: float | None = None,
    keepalive_interval_s: float | None = None,
    keepalive_probes: int | None = None,
    user_timeout_s: float | None = None,
    retries2: int | None = None,
    firewall_idle_s: float | None = None,
    expired: str | None = None,
    side: str = "",
    cause: str = "",
) -> WhatIf:
    """What would have become of a connection under other settings, or on another way.

    `connection` is one of a capture, as `read_capture(FILE).connection(0)`, or any run with a single one.
    What is not given stays as the segments show it. Durations are seconds, 0 = off; `firewall_idle_s` is the
    idle timer of a box in between (0: no box), `expired` what it does then: drop, reject, reset_both, reopen
    or drop_inbound. The socket's settings are those of `side`: `client` or `server`; as it comes, of the side
    that asked in vain. `cause` of a silence without an answer: `box` (one that forgot) or `peer` (gone, or
    the way to it); as it comes, the likelier one, and the sentence names the other. Where the model under the
    captured settings does not do what the capture shows, the sentence begins with that. Raises
    `ParameterError`: for a wrong value, and for a connection that stood still because its receiver did not
    read, which is the case of the experiment slow_reader.
    """
    asked = {
        "keepalive_idle_s": keepalive_idle_s, "keepalive_interval_s": keepalive_interval_s,
        "keepalive_probes": keepalive_probes, "user_timeout_s": user_timeout_s, "retries2": retries2,
    }  # fmt: skip
    _check(side, cause, firewall_idle_s, expired)
    work, warnings = shortened(workload(_last_of(connection)))
    refuse_standstill(work)
    left_out = not_played(work)
    reasons = (*left_out, *(each.partition(" (")[0] for each in warnings))
    if len(connection.passages) > MOST_PLAYED:
        warnings += (
            f"Only the last {MOST_PLAYED:,} of {len(connection.passages):,} segments are played: a silence "
            "before them is not considered.",
        )
    side = side or (work.death.side if work.death else CLIENT)
    settings = {each: settings_of(work, each) for each in OTHER}
    sockets = {each: _socket(found) for each, found in settings.items()}
    wanted = {name: value for name, value in asked.items() if value is not None}
    case = _Case(work, side, sockets, sockets[side].with_values(**wanted))
    _check_user_timeout(case.socket, work)
    plan = plan_of(work, cause, firewall_idle_s, expired, _asks_after(sockets))
    was, again = case.run(sockets[side], plan.was), case.run(case.socket, plan.then)
    before, fate = case.fate(was, plan.was), case.fate(again, plan.then)
    likeness = compare(work, was)
    before = as_captured(before, work, side)
    box = {"firewall_idle_s": firewall_idle_s, "expired": expired}
    changes = wanted | {name: value for name, value in box.items() if value is not None}
    doubts = _doubts(case, plan, fate) if changes else []
    answer = _guessed(sentence(changes, side, before, fate), likeness, reasons)
    told = " ".join([answer, *doubts])
    inferences = (*of_the_way(work, plan), *settings[side].inferences)
    warnings += tuple(connection.warnings) + left_out + _without_effect(case.socket, wanted)
    return WhatIf(told, connection, was, again, changes, before, fate, likeness, inferences, warnings)


def _last_of(connection: Trace) -> Trace:
    """What of a long connection is played: its end, where it is decided."""
    if len(connection.passages) <= MOST_PLAYED:
        return connection
    return replace(connection, passages=connection.passages[-MOST_PLAYED:])


# -- the case ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Case:
    """One workload, and how the sockets are set."""

    work: Workload
    side: str
    sockets: dict[str, Socket]
    #: The side's own, changed.
    socket: Socket

    def run(self, socket: Socket, way: Way) -> Trace:
        """The model's run with this socket on the side that is asked about."""
        sockets = self.sockets | {self.side: socket}
        return run(Again(self.work, sockets[CLIENT], sockets[SERVER], way, self.work.end))

    def fate(self, trace: Trace, way: Way) -> Fate:
        """What became of it: as the side met it, or as the other did where this one never learned."""
        passages = tuple(workload(trace).passages)
        death = death_of(trace, passages, self.work.round_trip, first=self.side)
        # Of a peer that is gone nobody knows whether its machine lives.
        left = not way.breaks and any(
            s.host == OTHER[self.side] and s.state not in ("LISTEN", "TIME_WAIT")
            for s in trace.sockets_at(trace.end)
        )
        cut = bool(way.breaks) or any(n.text.startswith("forgets") for n in trace.notes)
        if death is None or death.side != self.side:
            if death is None and not (cut and self._open(trace)):
                return Fate("lived", self.side, closed=closed_by(self.work))
            heard = max((p.arrives or 0 for p in passages if p.receiver == self.side), default=0)
            return Fate("waits", self.side, None, trace.end - heard, "heard", left)
        since = "asked" if death.data else "heard"
        began = death.asked if death.data else death.heard
        if death.ended is None:
            return Fate("waits", self.side, None, trace.end - began, since, left)
        return Fate("failed", self.side, death.error, death.ended - began, since, left)

    def _open(self, trace: Trace) -> bool:
        """The side still has a connection at the end that the other could use."""
        return any(s.host == self.side and s.state == "ESTABLISHED" for s in trace.sockets_at(trace.end))


def _socket(found: Settings) -> Socket:
    """The settings that were seen, within what Linux takes."""
    return Socket(
        keepalive_idle_s=min(found.keepalive_idle_s, 32767), user_timeout_s=found.user_timeout_s,
        keepalive_interval_s=min(max(found.keepalive_interval_s, 1), 32767),
        keepalive_probes=min(max(found.keepalive_probes, 1), 127), retries2=max(found.retries2, 1),
    )  # fmt: skip


def _doubts(case: _Case, plan: Plan, fate: Fate) -> list[str]:
    """What the answer hangs on: which box, or none at all."""
    told = []
    if plan.between is not None and not plan.then.breaks and fate.kind == "lived":
        low, high = plan.between
        least = replace(plan.then, firewall_idle_s=low + 2 * BEFORE_S)
        if case.fate(case.run(case.socket, least), least).kind != "lived":
            alive = case.run(case.socket, Way())
            needed = workload(alive).quiet
            told.append(
                f"That is so if the box forgets after more than {duration(needed)} of silence; the capture "
                f"only shows that it does between {_in_words(low)} and {_in_words(high)}."
            )
    if plan.otherwise is not None:
        other = case.fate(case.run(case.socket, plan.otherwise), plan.otherwise)
        peer = OTHER[case.side]
        what = f"Had the {peer} gone instead" if plan.otherwise.breaks else "Had a box forgotten it instead"
        if not same(fate, other):
            told.append(f"{what}, it would have {ending(other)}{counted(other) if other.after else ''}.")
    return told


def _guessed(answer: str, likeness: Likeness, reasons: tuple[str, ...]) -> str:
    """The answer; where the model does something else than the capture shows, that and why comes first."""
    if likeness.holds:
        return answer
    why = "; ".join(each[:1].lower() + each[1:].rstrip(".") for each in reasons) or likeness.differs
    return (
        f"The model does not reproduce this capture ({why}), so take this as a guess: "
        f"{answer[:1].lower()}{answer[1:]}"
    )


def _in_words(seconds: float) -> str:
    return duration(round(seconds * SECOND))


def _asks_after(sockets: dict[str, Socket]) -> float:
    """The shortest idle time after which somebody's keepalive asks, seconds; 0: nobody's does."""
    return min((each.keepalive_idle_s for each in sockets.values() if each.keepalive_idle_s), default=0)


def _check(side: str, cause: str, firewall_idle_s: float | None, expired: str | None) -> None:
    if side not in ("", CLIENT, SERVER):
        raise ParameterError(f"side = {side!r} is not one of client, server.")
    if cause not in ("", "box", "peer"):
        raise ParameterError(f"cause = {cause!r} is not one of box, peer.")
    if firewall_idle_s is not None:
        FIREWALL_IDLE.check("firewall_idle_s", firewall_idle_s)
    if expired is not None and expired not in EXPIRED:
        raise ParameterError(f"expired = {expired!r} is not one of {', '.join(EXPIRED)}.")


def _check_user_timeout(socket: Socket, work: Workload) -> None:
    round_trip = work.round_trip / SECOND
    if 0 < socket.user_timeout_s <= round_trip:
        raise ParameterError(
            f"user_timeout_s = {socket.user_timeout_s:g} is over before an answer can come: more than "
            f"{round_trip:.3g} s, the round trip of this connection, or 0 (off)."
        )
    if 0 < socket.keepalive_idle_s < 1:
        raise ParameterError(
            f"keepalive_idle_s = {socket.keepalive_idle_s:g} is shorter than Linux takes: 1 s or more, "
            "or 0 (off)."
        )


def _without_effect(socket: Socket, wanted: dict[str, float | int]) -> tuple[str, ...]:
    names = [name for name in ("keepalive_interval_s", "keepalive_probes") if name in wanted]
    if names and not socket.keepalive_idle_s:
        return (f"{' and '.join(names)} change nothing while keepalive is off: give keepalive_idle_s, too.",)
    idle, interval = socket.keepalive_idle_s, socket.keepalive_interval_s
    if "keepalive_idle_s" in wanted and not names and 0 < idle < interval:
        return (
            "After the first probe Linux looks again only every keepalive_interval_s, which stays "
            f"{interval:g} s here: give it, too.",
        )
    if "keepalive_probes" in wanted and socket.user_timeout_s and socket.keepalive_idle_s:
        return ("keepalive_probes changes nothing beside a user timeout: Linux counts that time instead.",)
    return ()
