"""What broke a connection, as far as its segments tell: a box that forgot, or a peer that was gone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tcplab.capture.again import Way
from tcplab.capture.death import Death
from tcplab.capture.inference import ASSUMED, LIKELY, SEEN, Inference, box_idle
from tcplab.capture.workload import OTHER, Workload
from tcplab.knobs import ParameterError
from tcplab.trace import MILLISECOND, SECOND, duration

#: A box forgets this much before the silence that killed, seconds: late timers are on the safe side.
BEFORE_S = 0.02


@dataclass(frozen=True)
class Plan:
    """What becomes of the way: in the run that repeats the capture, in the changed one, and otherwise."""

    was: Way
    then: Way
    #: What explains the capture as well, with the change; None when nothing does.
    otherwise: Way | None = None
    #: Between which idle times of a box the capture leaves the choice, seconds; None: none, or it was given.
    between: tuple[float, float] | None = None
    #: What is supposed, in one sentence; empty when nothing broke.
    supposes: str = ""


def plan_of(
    work: Workload, cause: str, firewall_idle_s: float | None, expired: str | None, asks_after_s: float
) -> Plan:
    """What the capture can be explained by, and what becomes of that with another box."""
    death, between = work.death, box_idle(work)
    given = firewall_idle_s or 0
    if death is None:
        if cause:
            raise ParameterError(f"cause = {cause!r}: nothing in this connection went unanswered.")
        if expired is not None and not given:
            raise ParameterError(f"expired = {expired!r} is about a box: give firewall_idle_s, too.")
        return Plan(Way(), Way(given, expired or "drop"))
    if cause == "box" and between is None:
        raise ParameterError(
            f"cause = 'box': only {duration(death.silence)} of silence came before what stayed unanswered, "
            "too little for a box to forget; use peer."
        )
    peer = Way(given, expired or "drop", "reboot" if death.reset else "unplug")
    if between is None or cause == "peer" or not (cause or given or death.data):
        supposed = _the_peer(death)
        other = None if between is None or given else _box(death, between, expired, asks_after_s)
        return Plan(replace(peer, firewall_idle_s=0), peer, other, between if other else None, supposed)
    box = _box(death, between, expired, asks_after_s)
    if firewall_idle_s is None:
        return Plan(box, box, replace(peer, firewall_idle_s=0), between, _the_box(death, between))
    if 0 < given <= between[1]:  # it was that box
        box = replace(box, firewall_idle_s=given)
    then = replace(box, firewall_idle_s=given)
    # Who asks about a box's timer takes a box for the cause; probes that went unanswered don't prove one.
    other = None if cause or death.data else peer
    return Plan(box, then, other, None, _the_box(death, between))


def _box(death: Death, between: tuple[float, float], expired: str | None, asks_after_s: float) -> Way:
    """The most patient box that explains it: it forgets before what was seen or set to ask asks."""
    as_seen = "drop" if not death.reset else "reject" if death.attempts else "reset_both"
    longest = min(between[1], asks_after_s or between[1])
    if not death.reset or death.attempts:
        longest -= BEFORE_S + longest / 100
    return Way(max(longest, between[0] + BEFORE_S), expired or as_seen)


def _the_peer(death: Death) -> str:
    how = "had lost the connection, as after a reboot" if death.reset else "was gone, or the way to it"
    return f"The {OTHER[death.side]} {how}, right after it was last heard."


def _the_box(death: Death, between: tuple[float, float]) -> str:
    low, high = (duration(round(each * SECOND)) for each in between)
    return (
        f"A box on the way forgot the connection. Its idle timer lies between {low}, the longest silence "
        f"that was survived, and {high}, the one that was not."
    )


def of_the_way(work: Workload, plan: Plan) -> tuple[Inference, ...]:
    """What is supposed of the network, and how far away the two are."""
    found = []
    if plan.supposes:
        found.append(Inference("cause", None, LIKELY, plan.supposes))
    if work.round_trip:
        said = f"A round trip takes {duration(work.round_trip)}: the fastest answers show it."
        found.append(Inference("latency_ms", work.round_trip / 2 / MILLISECOND, SEEN, said))
    else:
        found.append(Inference("latency_ms", 1, ASSUMED, "No answer shows the round trip: 2 ms is taken."))
    if work.midstream:
        said = "The beginning was not captured: the model opens the connection just before its first segment."
        found.append(Inference("midstream", None, SEEN, said))
    return tuple(found)
