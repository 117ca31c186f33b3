"""Whether a run of the model shows what a capture shows, at the place where it was taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tcplab.bench.agreement import EARLY_S, LATE_S, LATE_SHARE
from tcplab.bench.witness import Event, Scope, Witness
from tcplab.capture.workload import CLIENT, OTHER, SERVER, Workload
from tcplab.segment import SYN
from tcplab.trace import SECOND, Passage, Trace


@dataclass(frozen=True)
class Likeness:
    """How far the model under the captured settings and the capture are alike."""

    #: Segments that were compared, and how many of them came in both, in the same order.
    compared: int = 0
    same: int = 0
    #: How far the worst time is off, seconds.
    off_s: float = 0.0
    #: The same as a share of the second at which it happened.
    off_share: float = 0.0
    #: The first thing that differs, in words; empty when nothing does.
    differs: str = ""

    @property
    def holds(self) -> bool:
        """The model reproduces the capture."""
        return not self.differs

    @property
    def sentence(self) -> str:
        """The same for a reader."""
        if self.holds:
            return (
                f"Under the captured settings the model does what the capture shows: {self.compared} "
                f"segments are the same, none more than {max(self.off_s, 0.01):.2g} s{self._share()} off."
            )
        return (
            f"Under the captured settings the model does not do all that the capture shows "
            f"({self.same} of {self.compared} segments are the same): {self.differs}. Take the answer "
            "with care."
        )

    def _share(self) -> str:
        """Of long times: Linux's timers are coarse."""
        return f" ({self.off_share:.1%} of its time)" if self.off_s > 1 else ""


def compare(work: Workload, model: Trace) -> Likeness:
    """The capture that `work` was taken from, and what the model's run would have looked like there."""
    near = CLIENT if work.near[CLIENT] <= work.near[SERVER] else SERVER
    if work.death is not None:
        near = work.death.side  # what it asked in vain passed here
    theirs = _witness(_plain(work), work.midstream)
    ours = _witness(_seen(model, near), work.midstream)
    end = (work.end - work.began) / SECOND
    compared = same = 0
    off = share = 0.0
    differs: list[tuple[float, str]] = []
    for side, other in OTHER.items():
        captured, played = (witness.segments(side, other).get(0, []) for witness in (theirs, ours))
        compared += len(captured)
        for one, its in zip(played, captured, strict=False):
            if one.says != its.says:
                differs.append((its.t, f"the {side} sent {_at(its)}, and in the model {_at(one)}"))
                break
            if not _in_time(one.t, its.t):
                differs.append((its.t, f"the {side} sent {_at(its)}, and in the model at {one.t:.3f} s"))
                break
            same += 1
            if abs(one.t - its.t) > off:
                off = abs(one.t - its.t)
                share = off / its.t if its.t else 0.0
        else:
            differs += _more(side, played, captured, end)
    return Likeness(compared, same, off, share, min(differs)[1] if differs else "")


def _more(side: str, played: list[Event], captured: list[Event], end: float) -> Iterator[tuple[float, str]]:
    """What one of them has beyond the other; near its end a capture may just miss it."""
    n = min(len(played), len(captured))
    if len(captured) > n:
        yield captured[n].t, f"the {side} sent {_at(captured[n])}, and in the model nothing more"
    elif len(played) > n and played[n].t < end / (1 + LATE_SHARE) - LATE_S:
        yield played[n].t, f"in the model the {side} sent {_at(played[n])}, and here nothing more"


def _in_time(model_s: float, captured_s: float) -> bool:
    """Real timers fire late; the model's round trip and its thinking may each be a little off, too."""
    early = EARLY_S + LATE_SHARE * model_s
    return model_s - early <= captured_s <= model_s * (1 + LATE_SHARE) + LATE_S


def _at(event: Event) -> str:
    return f"{event.says} at {event.t:.3f} s"


def _witness(trace: Trace, midstream: bool) -> Witness:
    if midstream and trace.passages:
        first = next((p.t for p in trace.passages if p.segment.length), trace.passages[0].t)
        trace = replace(trace, passages=[p for p in trace.passages if p.t >= first])
        return Witness(trace, Scope(since=first))
    return Witness(trace, Scope())


def _plain(work: Workload) -> Trace:
    hosts = {CLIENT: work.client.address, SERVER: work.server.address}
    return Trace("", "capture", hosts=hosts, passages=list(work.passages), end=work.end)


def _seen(model: Trace, near: str) -> Trace:
    """What a capture close to one side would have of a run."""
    passages: list[Passage] = []
    for p in model.passages:
        sender = p.sender if p.sender in OTHER else OTHER[p.receiver]
        t = p.t if sender == near else p.arrives
        if t is not None:
            passages.append(replace(p, t=t, arrives=t, sender=sender))
    passages.sort(key=lambda p: p.t)
    began = next((p.t for p in passages if p.segment.flags & SYN), 0)
    return replace(
        model, passages=passages, hosts={CLIENT: CLIENT, SERVER: SERVER}, end=max(model.end, began)
    )
