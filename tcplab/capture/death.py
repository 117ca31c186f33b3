"""From when on nobody answered any more: who asked, what came back, and after how long a silence."""

from __future__ import annotations

from dataclasses import dataclass

from tcplab.kinds import KEEPALIVE, RETRANSMISSION
from tcplab.segment import ACK, FIN, RST, SYN, seq_diff
from tcplab.trace import MILLISECOND, SECOND, Passage, Trace

OTHER = {"client": "server", "server": "client"}
#: An answer may take this long; and after so long a silence a box on the way may have forgotten.
PATIENCE = SECOND
SILENCE = 3 * SECOND
#: What is on its way when a RST arrives still passes.
STRAGGLERS = 50 * MILLISECOND
#: Errors by which a program learns that its connection is gone.
FATAL = ("ETIMEDOUT", "ECONNRESET", "EPIPE", "EHOSTUNREACH", "ENETUNREACH")


@dataclass(frozen=True, slots=True)
class Death:
    """What was asked last, and got no answer or a RST."""

    #: Who asked: `client` or `server`.
    side: str
    #: It was answered by a RST that no program sent; False: by nothing at all.
    reset: bool
    #: It was data or a FIN; False: a keepalive probe, or nothing at all before that RST.
    data: bool
    #: When it was first asked, and when its peer was last heard before; nanoseconds.
    asked: int
    heard: int
    #: How long nothing had passed before it was asked, nanoseconds.
    silence: int
    #: How often it was asked.
    attempts: int
    #: When the side gave up, as a RST, a recorded call or a socket tells; None where nothing does.
    ended: int | None = None
    #: What its program was told, where that is recorded.
    error: str | None = None


def death_of(
    trace: Trace, passages: tuple[Passage, ...], round_trip: int, first: str = "client"
) -> Death | None:
    """What ended it from outside, if anything did; where both asked in vain, the view of `first`."""
    reset = ended_by_reset(passages)
    if reset is not None and (refused := _refused(trace, passages, reset, round_trip)) is not None:
        return refused
    found = [_unanswered(trace, passages, side, reset) for side in (first, OTHER[first])]
    return next((death for death in found if death is not None), None)


def ended_by_reset(passages: tuple[Passage, ...]) -> int | None:
    """Where the RST stands that ended it; None when there is none, or it went on after every one."""
    for i, p in enumerate(passages):
        if not p.segment.flags & RST or p.arrives is None or p.verdict in ("challenged", "ignored"):
            continue
        rest = (q for q in passages[i + 1 :] if not q.segment.flags & RST)
        if all(q.t - p.t <= STRAGGLERS for q in rest):
            return i
    return next(
        (i for i, p in enumerate(passages) if p.segment.flags & RST and p.arrives is None and not p.verdict),
        None,
    )


# -- nothing came back ---------------------------------------------------------------------------


def _unanswered(trace: Trace, passages: tuple[Passage, ...], side: str, reset: int | None) -> Death | None:
    answers = [
        p for p in passages
        if p.sender != side and p.arrives is not None and not p.segment.flags & RST
    ]  # fmt: skip
    if not answers:
        return None
    heard = max(p.arrives for p in answers if p.arrives is not None)
    acked = [p.segment.ack for p in answers if p.segment.flags & ACK]
    furthest = max(acked, key=lambda ack: seq_diff(ack, acked[0]), default=None)
    asked = [p for p in passages if p.sender == side and _asks(p, heard, furthest)]
    if not asked:
        return None
    first = asked[0]
    gave_up = passages[reset].t if reset is not None and passages[reset].sender == side else None
    ended, error = _told(trace, side, first.t)
    watched = max(trace.end, gave_up or 0, passages[-1].t)
    once = len(asked) == 1 and gave_up is None and ended is None
    if watched - first.t < PATIENCE or (once and first.kind == KEEPALIVE and watched == first.t):
        return None
    if any(p.sender != side and p.segment.flags & RST and p.arrives is not None for p in passages):
        return None
    return Death(
        side, False, first.kind != KEEPALIVE, first.t, heard, first.t - _passed_before(passages, first),
        len(asked), ended if ended is not None else gave_up, error or ("ETIMEDOUT" if gave_up else None),
    )  # fmt: skip


def _asks(p: Passage, heard: int, acked: int | None) -> bool:
    """Wants an answer, and got none."""
    if p.segment.flags & (RST | SYN):
        return False
    if p.kind == KEEPALIVE:
        return p.t >= heard
    unacked = acked is None or seq_diff(p.segment.end_seq, acked) > 0
    return bool(p.segment.length or p.segment.flags & FIN) and unacked


def _passed_before(passages: tuple[Passage, ...], asked: Passage) -> int:
    """When the last segment passed before this one."""
    return max((p.t for p in passages if p.t < asked.t and p.arrives is not None), default=asked.t)


def _told(trace: Trace, side: str, since: int) -> tuple[int | None, str | None]:
    """When Linux gave up and what the program was told, where the trace has more than segments."""
    calls = (c for c in trace.calls if c.host == side and c.t >= since and c.result in FATAL)
    call = next(calls, None)
    gone = next((s.t for s in trace.sockets if s.host == side and s.state == "CLOSED" and s.t >= since), None)
    if call is not None:
        return call.t if gone is None else min(gone, call.t), call.result
    return (gone, None) if trace.bench != "capture" else (None, None)


# -- a RST came back -----------------------------------------------------------------------------


def _refused(trace: Trace, passages: tuple[Passage, ...], at: int, round_trip: int) -> Death | None:
    """A RST from nowhere: it answers what was asked, or breaks a long silence, and nobody had closed."""
    p = passages[at]
    victim = p.receiver
    forged = p.kind == "forged"
    if p.segment.flags & ACK and not forged:
        return None  # a program's close, or keepalive that gave up: tcp_send_active_reset sets ACK
    if any(q.sender == p.sender and q.segment.flags & FIN for q in passages[:at]):
        return None
    before = [q for q in passages[:at] if q.arrives is not None]
    heard = max((q.arrives for q in before if q.sender == p.sender and q.arrives is not None), default=p.t)
    asked = [
        q for q in passages[:at]
        if q.sender == victim and q.t >= heard and (q.segment.length or q.segment.flags & FIN or q.kind)
    ]  # fmt: skip
    answers = asked and p.t - asked[-1].t <= round_trip + STRAGGLERS
    first = asked[0] if answers else p
    silence = first.t - _passed_before(passages, first)
    if silence < SILENCE and not forged and not (answers and first.kind == KEEPALIVE):
        return None
    ended, error = _told(trace, victim, first.t)
    is_data = bool(answers) and first.kind in ("", RETRANSMISSION)
    return Death(
        victim, True, is_data, first.t, heard, silence, len(asked) if answers else 0,
        ended if ended is not None else p.t, error or "ECONNRESET",
    )  # fmt: skip
