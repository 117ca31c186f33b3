"""What became of a connection in one run, and how one says it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tcplab.capture.workload import CLIENT, OTHER, RESET, SEND, Workload
from tcplab.trace import SECOND, duration

#: Two times are the same in a sentence: a share, and seconds.
SAME_SHARE, SAME_S = 0.02, 0.5


@dataclass(frozen=True)
class Fate:
    """What became of a connection in one run, as one side met it."""

    #: `lived`, `failed` (an error), `waits` (unanswered, and nobody was told).
    kind: str
    #: Whose program is meant.
    side: str = CLIENT
    error: str | None = None
    #: How long it took, nanoseconds, and since when: `asked` (first sent what stays unanswered) or `heard`.
    after: int = 0
    since: str = ""
    #: The other side still holds its end.
    left_behind: bool = False
    #: Where it lived: who closed it in the end, and how (`close` or `reset`); empty while it is open.
    closed: str = ""
    #: Only the model says so: the trace ends before.
    by_model: bool = False


def as_captured(fate: Fate, work: Workload, side: str) -> Fate:
    """What the model says of the captured settings, with the capture's own times where it has them."""
    death = work.death
    if death is None or death.side != side:
        return fate
    if death.ended is None:
        return replace(fate, by_model=True)
    began, since = (death.asked, "asked") if death.data else (death.heard, "heard")
    return replace(fate, kind="failed", error=death.error, after=death.ended - began, since=since)


def closed_by(work: Workload) -> str:
    """How the programs ended it: ``the server closed it``; empty when they did not."""
    first = next((deed for deed in work.deeds if deed.what != SEND), None)
    return f"the {first.side} {'reset' if first.what == RESET else 'closed'} it" if first else ""


def sentence(changes: dict[str, Any], side: str, was: Fate, fate: Fate) -> str:
    """What would have been, and what was."""
    mine = {name: value for name, value in changes.items() if name not in ("firewall_idle_s", "expired")}
    told = ", ".join(f"{name} = {value:g}" for name, value in mine.items())
    conditions = [f"{told} on the {side}"] if mine else []
    if "firewall_idle_s" in changes:
        idle = changes["firewall_idle_s"]
        after = f"a box that forgets after {duration(round(idle * SECOND))} of silence"
        conditions.append(after if idle else "no box on the way that forgets")
    if not conditions:
        return f"As it was, this session {_past(was)}."
    given = " and ".join(conditions)
    if same(was, fate):
        return f"With {given}, nothing would have changed: this session would have {ending(fate)}."
    stays = (
        f" The {OTHER[side]}'s end would have stayed." if fate.kind == "failed" and fate.left_behind else ""
    )
    return f"With {given}, this session would have {ending(fate)}{_instead(was, fate)}.{stays}"


def _past(was: Fate) -> str:
    told = ending(was).replace("been left waiting", "was left waiting")
    return told + (counted(was) if was.kind == "failed" else "")


def ending(fate: Fate) -> str:
    """What comes after `would have`."""
    if fate.kind == "lived":
        return f"lived until {fate.closed}" if fate.closed else "lived"
    if fate.kind == "waits":
        return f"been left waiting: {duration(fate.after)} later no call had returned"
    error = f" ({fate.error})" if fate.error else ""
    return f"failed after {_seconds(fate.after)}{error}"


def _instead(was: Fate, fate: Fate) -> str:
    origin = counted(fate) if fate.kind == "failed" else ""
    by = " by the model, the trace ending before" if was.by_model else ""
    if was.kind == "lived":
        return f"{origin}; as it was, it {ending(was)}"
    if was.kind == "waits":
        return f"{origin} instead of waiting without end{by}"
    if fate.kind == "failed" and fate.since == was.since:
        return f" instead of {_seconds(was.after)}{by and f' ({by.strip()})'}{origin}"
    return (
        f"{origin}; as it was, it failed after {_seconds(was.after)}{by and f' ({by.strip()})'}{counted(was)}"
    )


def counted(fate: Fate) -> str:
    """From when the time counts."""
    what = (
        "what stayed unanswered was first sent"
        if fate.since == "asked"
        else (f"the {OTHER[fate.side]} was last heard")
    )
    return f", counted from when {what}"


def _seconds(nanoseconds: int) -> str:
    """To a tenth of a second where that is enough."""
    tenth = SECOND // 10
    if nanoseconds < 10 * SECOND:
        return duration(nanoseconds)
    return duration((nanoseconds + tenth // 2) // tenth * tenth)


def same(one: Fate, other: Fate) -> bool:
    if one.kind != other.kind or one.since != other.since:
        return False
    return one.kind != "failed" or abs(one.after - other.after) <= one.after * SAME_SHARE + SAME_S * SECOND
