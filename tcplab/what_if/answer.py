"""Would other settings have saved it? A connection's workload, replayed on the model.

    >>> import tcplab
    >>> connection = tcplab.read_capture("data/captures/lesson_cable_out_sending.pcap").connection(0)
    >>> tcplab.what_if(connection, user_timeout_s=30).failed_after_s
    30.4

What the programs did is taken from the packets, and so are the settings that they ran under; the network's
part is the simplest that explains what was seen. The answer comes with all of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from tcplab.bench import run
from tcplab.bench.agreement import EARLY_S, LATE_S, LATE_SHARE, Event, Scope, ScopedRun
from tcplab.core.knobs import DAY, FIREWALL_IDLE, ParameterError
from tcplab.core.segment import SYN
from tcplab.core.text import SECOND, duration, in_words
from tcplab.core.trace import Packet, Trace
from tcplab.follow import CLIENT, OTHER, SERVER
from tcplab.route.firewall import EXPIRED, REMOVES
from tcplab.what_if.inference import (
    BEFORE_S,
    LIKELY,
    SEEN,
    Inference,
    ReplayPlan,
    of_the_network,
    plan_of,
    settings_of,
)
from tcplab.what_if.script import PathFault, SocketSettings, WorkloadReplay
from tcplab.what_if.stall import Stall, StalledReplay, longest, settings_seen, stall_of
from tcplab.what_if.workload import RESET, SEND, Workload, not_replayed, shortened, workload

#: Segments that are replayed at most: a second or two of the model's work for every few thousand.
MOST_PLAYED = 20_000
#: Days that a connection may cover: a run's longest time, see `tcplab.core.knobs.WATCH`.
MOST_DAYS = 30
#: A time stamp this much before the previous one means that the clock was set, nanoseconds.
CLOCK_STEP = SECOND
#: Two times are the same in a sentence: a share, and seconds.
SAME_SHARE, SAME_S = 0.02, 0.5


# -- what became of a connection in one run, in words ---------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of a connection in one run, as one side met it."""

    #: `lived`, `failed` (an error), `waits` (unanswered, and without an error).
    kind: str
    #: Whose program is meant.
    side: str = CLIENT
    error: str | None = None
    #: How long it took, nanoseconds, and since when: `asked` (the first unanswered transmission), `heard`
    #: (the peer's last packet) or `closed` (the peer's window).
    after: int = 0
    since: str = ""
    #: The other side still holds its end.
    left_behind: bool = False
    #: Where it lived: who closed it in the end, and how (`close` or `reset`); empty while it is open.
    closed: str = ""
    #: Only the model shows it: the trace ends before.
    by_model: bool = False


def as_captured(outcome: Outcome, work: Workload, side: str) -> Outcome:
    """The model's outcome under the captured settings, with the capture's own times where it has them."""
    last = work.unanswered
    if last is None or last.side != side:
        return outcome
    if last.ended is None:
        return replace(outcome, by_model=True)
    began, since = (last.asked, "asked") if last.data else (last.heard, "heard")
    return replace(outcome, kind="failed", error=last.error, after=last.ended - began, since=since)


def closed_by(work: Workload) -> str:
    """How the programs ended it: ``the server closed it``; empty when they did not."""
    first = next((event for event in work.events if event.call != SEND), None)
    return f"the {first.side} {'reset' if first.call == RESET else 'closed'} it" if first else ""


def sentence(changes: dict[str, Any], side: str, was: Outcome, outcome: Outcome) -> str:
    """What would have happened, and what did."""
    mine = {name: value for name, value in changes.items() if name not in ("firewall_idle_s", "expired")}
    listed = ", ".join(f"{name} = {value:g}" for name, value in mine.items())
    conditions = [f"{listed} on the {side}"] if mine else []
    if "firewall_idle_s" in changes:
        idle = changes["firewall_idle_s"]
        after = f"a firewall with an idle timer of {in_words(idle)}"
        conditions.append(after if idle else "no firewall on the path")
    if not conditions:
        past = ending(was).replace("been left waiting", "was left waiting")
        return f"As it was, this session {past}{counted(was) if was.kind == 'failed' else ''}."
    given = " and ".join(conditions)
    if same(was, outcome):
        return f"With {given}, nothing would have changed: this session would have {ending(outcome)}."
    stays = f" The {OTHER[side]}'s end would have stayed." if outcome.left_behind else ""
    stays = stays if outcome.kind == "failed" else ""
    return f"With {given}, this session would have {ending(outcome)}{_instead(was, outcome)}.{stays}"


def ending(outcome: Outcome) -> str:
    """The words that follow `would have`."""
    if outcome.kind == "lived":
        return f"lived until {outcome.closed}" if outcome.closed else "lived"
    if outcome.kind == "waits":
        return f"been left waiting: {duration(outcome.after)} later no call had returned"
    error = f" ({outcome.error})" if outcome.error else ""
    return f"failed after {_rounded(outcome.after)}{error}"


def _instead(was: Outcome, outcome: Outcome) -> str:
    origin = counted(outcome) if outcome.kind == "failed" else ""
    by = "by the model, the trace ending before"
    if was.kind == "lived":
        return f"{origin}; as it was, it {ending(was)}"
    if was.kind == "waits":
        return f"{origin} instead of waiting without end{f' {by}' if was.by_model else ''}"
    failed = _rounded(was.after) + (f" ({by})" if was.by_model else "")
    if outcome.kind == "failed" and outcome.since == was.since:
        return f" instead of {failed}{origin}"
    return f"{origin}; as it was, it failed after {failed}{counted(was)}"


def counted(outcome: Outcome) -> str:
    """The start of the time that is counted."""
    if outcome.since == "closed":
        return f", counted from when the {OTHER[outcome.side]}'s window closed"
    asked, heard = "the first unanswered transmission", f"the {OTHER[outcome.side]}'s last packet"
    return f", counted from {asked if outcome.since == 'asked' else heard}"


def _rounded(nanoseconds: int) -> str:
    """A length of time to a tenth of a second where that is enough."""
    tenth = SECOND // 10
    if nanoseconds < 10 * SECOND:
        return duration(nanoseconds)
    return duration((nanoseconds + tenth // 2) // tenth * tenth)


def same(one: Outcome, other: Outcome) -> bool:
    if one.kind != other.kind or one.since != other.since:
        return False
    return one.kind != "failed" or abs(one.after - other.after) <= one.after * SAME_SHARE + SAME_S * SECOND


# -- whether a run of the model shows what a capture shows, at the point of capture ----------------


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
        """The same in words."""
        if self.holds:
            # Of long times a share: Linux's timers are coarse.
            share = f" ({self.off_share:.1%} of its time)" if self.off_s > 1 else ""
            return (
                f"Under the captured settings the model does what the capture shows: {self.compared} "
                f"segments are the same, none more than {max(self.off_s, 0.01):.2g} s{share} off."
            )
        return (
            f"Under the captured settings the model does not do all that the capture shows "
            f"({self.same} of {self.compared} segments are the same): {self.differs}. There is no verdict."
        )


def compare(work: Workload, model: Trace) -> Likeness:
    """The capture that `work` was taken from, and what the model's run would have looked like there."""
    near = CLIENT if work.near[CLIENT] <= work.near[SERVER] else SERVER
    if work.unanswered is not None:
        near = work.unanswered.side  # what stayed unanswered passed here
    hosts = {CLIENT: work.client.address, SERVER: work.server.address}
    capture = Trace("", "capture", hosts=hosts, packets=list(work.packets), end=work.end)
    theirs, ours = (_scoped(trace, work.midstream) for trace in (capture, _seen(model, near)))
    end = (work.end - work.began) / SECOND
    compared = same = 0
    off = share = 0.0
    differs: list[tuple[float, str]] = []
    for side, other in OTHER.items():
        captured, played = (run.segments(side, other).get(0, []) for run in (theirs, ours))
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
    """What one of them has and the other lacks; near its end a capture may just miss it."""
    n = min(len(played), len(captured))
    if len(captured) > n:
        yield captured[n].t, f"the {side} sent {_at(captured[n])}, and in the model nothing more"
    elif len(played) > n and played[n].t < end / (1 + LATE_SHARE) - LATE_S:
        yield played[n].t, f"in the model the {side} sent {_at(played[n])}, and here nothing more"


def _in_time(model_s: float, captured_s: float) -> bool:
    """Real timers fire late; the model's round trip and its pauses may be slightly off, too."""
    early = EARLY_S + LATE_SHARE * model_s
    return model_s - early <= captured_s <= model_s * (1 + LATE_SHARE) + LATE_S


def _at(event: Event) -> str:
    return f"{event.says} at {event.t:.3f} s"


def _scoped(trace: Trace, midstream: bool) -> ScopedRun:
    if midstream and trace.packets:
        first = next((p.t for p in trace.packets if p.segment.length), trace.packets[0].t)
        trace = replace(trace, packets=[p for p in trace.packets if p.t >= first])
        return ScopedRun(trace, Scope(since=first))
    return ScopedRun(trace, Scope())


def _seen(model: Trace, near: str) -> Trace:
    """What a capture close to one side would have of a run."""
    packets: list[Packet] = []
    for p in model.packets:
        sender = p.sender if p.sender in OTHER else OTHER[p.receiver]
        t = p.t if sender == near else p.arrives
        if t is not None:
            packets.append(replace(p, t=t, arrives=t, sender=sender))
    packets.sort(key=lambda p: p.t)
    began = next((p.t for p in packets if p.segment.flags & SYN), 0)
    return replace(model, packets=packets, hosts={CLIENT: CLIENT, SERVER: SERVER}, end=max(model.end, began))


# -- the answer ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class WhatIf:
    """The answer: the connection as it was, and as it would have been."""

    sentence: str
    #: As captured; by the model under the same settings; by the model under the changed ones.
    captured: Trace = field(repr=False)
    model: Trace = field(repr=False)
    changed: Trace = field(repr=False)
    #: The changes that were asked for, by parameter.
    changes: dict[str, Any] = field(default_factory=dict)
    #: What became of it: in the model under the captured settings, and under the changed ones.
    was: Outcome = field(default=Outcome("lived"), repr=False)
    outcome: Outcome = field(default=Outcome("lived"), repr=False)
    #: Whether the model under the captured settings shows what the capture shows.
    likeness: Likeness = field(default_factory=Likeness, repr=False)
    #: Every setting that was read from the segments or assumed, and how sure that is.
    inferences: tuple[Inference, ...] = field(default=(), repr=False)
    #: Sentences to read first: what makes the answer uncertain.
    warnings: tuple[str, ...] = field(default=(), repr=False)

    @property
    def lived(self) -> bool | None:
        """The connection would have survived what happened; None: no verdict."""
        return self.outcome.kind == "lived" if self.likeness.holds else None

    @property
    def failed_after_s(self) -> float | None:
        """Seconds until its program would have had an error; None: it would have had none, or no verdict."""
        failed = self.outcome.kind == "failed" and self.likeness.holds
        return round(self.outcome.after / SECOND, 1) if failed else None

    @property
    def label(self) -> str:
        """The changed run's name: ``with user_timeout_s = 30``; how many changes there are if not one."""
        if len(self.changes) == 1:
            ((name, value),) = self.changes.items()
            return f"with {name} = {value if isinstance(value, str) else format(value, 'g')}"
        return f"with {len(self.changes)} changes" if self.changes else "by the model"

    def __repr__(self) -> str:
        return self.sentence


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
    """What would have become of a connection under other settings, or on another path.

    `connection` is one of a capture, as `read_capture(FILE).connection(0)`, or any run with a single one.
    What is not given stays as the packets show it. Durations are seconds, 0 = off; `firewall_idle_s` is the
    idle timer of a middlebox (0: none), `expired` what it does then: drop, reject, reset_both, reopen or
    drop_inbound. The socket's settings are those of `side`: `client` or `server`; by default the side that
    got no answer. `cause` of a silence without an answer: `box` (a middlebox that forgot) or `peer` (gone, or
    the path to it); by default the likelier one, and the sentence names the other. Where the model under the
    captured settings does not do what the capture shows there is no verdict, and the sentence says why.
    Where a connection stalled because its receiver did not read, that stall is replayed.
    Raises `ParameterError`: for a wrong value; for a connection whose time stamps go back or cover more
    than `MOST_DAYS`; and where a run has too many events (`tcplab.bench.model.MOST_EVENTS`).
    """
    asked = {
        "keepalive_idle_s": keepalive_idle_s, "keepalive_interval_s": keepalive_interval_s,
        "keepalive_probes": keepalive_probes, "user_timeout_s": user_timeout_s, "retries2": retries2,
    }  # fmt: skip
    _check(side, cause, firewall_idle_s, expired)
    # Of a long connection its end is replayed, which decides.
    last = replace(connection, packets=connection.packets[-MOST_PLAYED:])
    _check_clock(last)
    work, warnings = shortened(workload(last))
    if stall := stall_of(work):
        _check_stalled(stall, firewall_idle_s, expired, cause)
        return _stalled(connection, work, stall, side or stall.sender, asked)
    left_out = not_replayed(work)
    reasons = (*left_out, *(each.partition(" (")[0] for each in warnings))
    if len(connection.packets) > MOST_PLAYED:
        warnings += (
            f"Only the last {MOST_PLAYED:,} of {len(connection.packets):,} segments are played: a silence "
            "before them is not considered.",
        )
    side = side or (work.unanswered.side if work.unanswered else CLIENT)
    settings = {each: settings_of(work, each) for each in OTHER}
    sockets = {each: socket for each, (socket, _) in settings.items()}
    wanted = {name: value for name, value in asked.items() if value is not None}
    case = _Case(work, side, sockets, sockets[side].with_values(**wanted))
    _check_user_timeout(case.socket, work)
    # The shorter keepalive idle time of both sides, seconds; 0 where neither has keepalive.
    idle = min((each.keepalive_idle_s for each in sockets.values() if each.keepalive_idle_s), default=0)
    plan = plan_of(work, cause, firewall_idle_s, expired, idle)
    model, changed = case.run(sockets[side], plan.captured), case.run(case.socket, plan.changed)
    was, outcome = case.outcome(model, plan.captured), case.outcome(changed, plan.changed)
    likeness = compare(work, model)
    was = as_captured(was, work, side)
    box = {"firewall_idle_s": firewall_idle_s, "expired": expired}
    changes = wanted | {name: value for name, value in box.items() if value is not None}
    doubts = _doubts(case, plan, outcome, wanted) if changes else []
    answer = " ".join([sentence(changes, side, was, outcome), *doubts])
    answer = answer if likeness.holds else _no_verdict(likeness, reasons)
    inferences = (*of_the_network(work, plan), *settings[side][1])
    warnings += tuple(connection.warnings) + left_out + _without_effect(case.socket, wanted)
    return WhatIf(answer, connection, model, changed, changes, was, outcome, likeness, inferences, warnings)


@dataclass(frozen=True)
class _Case:
    """One workload, and how the sockets are set."""

    work: Workload
    side: str
    sockets: dict[str, SocketSettings]
    #: The side's own, changed.
    socket: SocketSettings

    def run(self, socket: SocketSettings, fault: PathFault) -> Trace:
        """The model's run with this socket on the side that the question is about."""
        sockets = self.sockets | {self.side: socket}
        return run(WorkloadReplay(self.work, sockets[CLIENT], sockets[SERVER], fault, self.work.end))

    def outcome(self, trace: Trace, fault: PathFault) -> Outcome:
        """What became of it: as the side met it, or as the other did where this one got no error."""
        followed = workload(trace).followed
        last = followed.unanswered(self.work.round_trip, first=self.side)
        # Nothing shows whether the machine of a peer that is gone still runs.
        ends = [(s.host, s.state) for s in trace.sockets_at(trace.end)]
        left = fault.breaks in ("", "one_way") and any(
            host == OTHER[self.side] and state not in ("LISTEN", "TIME_WAIT") for host, state in ends
        )
        cut = bool(fault.breaks) or any(n.text.startswith(REMOVES) for n in trace.notes)
        if last is None or last.side != self.side:
            # Cut off, and the side still has a connection that the other could use?
            if last is None and not (cut and (self.side, "ESTABLISHED") in ends):
                return Outcome("lived", self.side, closed=closed_by(self.work))
            heard = max((p.arrives or 0 for p in followed.packets if p.receiver == self.side), default=0)
            return Outcome("waits", self.side, None, trace.end - heard, "heard", left)
        began, since = (last.asked, "asked") if last.data else (last.heard, "heard")
        if last.ended is None:
            return Outcome("waits", self.side, None, trace.end - began, since, left)
        return Outcome("failed", self.side, last.error, last.ended - began, since, left)


def _doubts(case: _Case, plan: ReplayPlan, outcome: Outcome, wanted: dict[str, float | int]) -> list[str]:
    """What the answer depends on: which middlebox, or none; and which program sets the options."""
    doubts = []
    if wanted.get("keepalive_idle_s") == 0 and wanted.get("user_timeout_s") and case.side == CLIENT:
        # src/interfaces/libpq/fe-connect.c:PQconnectPoll calls setTCPUserTimeout() only if useKeepalives().
        unset = case.run(case.socket.with_values(user_timeout_s=0), plan.changed)
        doubts.append(
            "If the program uses libpq, keepalives=0 leaves tcp_user_timeout unset: this session would then "
            f"have {ending(case.outcome(unset, plan.changed))}."
        )
    if plan.between is not None and not plan.changed.breaks and outcome.kind == "lived":
        low, high = plan.between
        least = replace(plan.changed, firewall_idle_s=low + 2 * BEFORE_S)
        if case.outcome(case.run(case.socket, least), least).kind != "lived":
            needed = workload(case.run(case.socket, PathFault())).quiet
            doubts.append(
                f"This holds if the middlebox's idle timeout is longer than {duration(needed)}; the capture "
                f"only shows that it is between {in_words(low)} and {in_words(high)}."
            )
    if plan.otherwise is not None:
        other = case.outcome(case.run(case.socket, plan.otherwise), plan.otherwise)
        peer = OTHER[case.side]
        box = "Had a middlebox dropped its entry instead"
        what = f"Had the {peer} gone down instead" if plan.otherwise.breaks else box
        if not same(outcome, other):
            doubts.append(f"{what}, it would have {ending(other)}{counted(other) if other.after else ''}.")
    return doubts


def _no_verdict(likeness: Likeness, reasons: tuple[str, ...]) -> str:
    """Why there is no answer: the model does not do what the capture shows."""
    why = "; ".join(each[:1].lower() + each[1:].rstrip(".") for each in reasons) or likeness.differs
    return (
        f"No verdict: under the captured settings the model does not reproduce this capture ({why}), so it "
        "can't say what other settings would have done."
    )


def _stalled(
    connection: Trace, work: Workload, stall: Stall, side: str, asked: dict[str, float | int | None]
) -> WhatIf:
    """The answer about a connection whose receiver did not read."""
    wanted = {name: value for name, value in asked.items() if value is not None}
    sockets = {each: settings_of(work, each)[0] for each in OTHER}
    sockets[stall.sender] = settings_seen(stall, sockets[stall.sender])
    changed_sockets = sockets | {side: sockets[side].with_values(**wanted)}
    _check_user_timeout(changed_sockets[side], work)
    runs = [
        run(StalledReplay(work, each[CLIENT], each[SERVER], stall)) for each in (sockets, changed_sockets)
    ]
    stalls = [longest(trace, stall.reader) for trace in runs]
    was, outcome = (
        _behind(each, stall.sender, closed_by(work) if stall.reopened else "", trace)
        for each, trace in zip((stall, stalls[1]), (connection, runs[1]), strict=True)
    )
    likeness = _like(stall, stalls[0])
    says = f"The {stall.reader} read nothing for {duration(stall.lasted)}: its window was closed."
    inferences = [Inference("reads", None, SEEN, says)]
    if stall.gave_up is not None:
        limit = sockets[stall.sender].user_timeout_s
        gave_up = f"The {stall.sender} aborted it meanwhile: a TCP_USER_TIMEOUT of about {limit:g} s."
        inferences.append(Inference("user_timeout_s", limit, LIKELY, gave_up))
    answer = sentence(wanted, side, was, outcome) if likeness.holds else _no_verdict(likeness, ())
    warnings = (
        *connection.warnings,
        "Only the longest stall is replayed: the sender has more data than fits, the receiver reads nothing.",
    )
    return WhatIf(
        answer, connection, runs[0], runs[1], wanted, was, outcome, likeness, tuple(inferences), warnings
    )  # fmt: skip


def _behind(stall: Stall | None, side: str, closed: str, trace: Trace) -> Outcome:
    """The outcome for the side whose peer closed its window."""
    if stall is None or (stall.reopened and stall.gave_up is None):
        return Outcome("lived", side, closed=closed)
    if stall.gave_up is not None:
        after = stall.gave_up - stall.closed
        return Outcome("failed", side, "ETIMEDOUT", after, "closed", left_behind=True)
    return Outcome("waits", side, None, stall.lasted, "closed")


def _like(stall: Stall, played: Stall | None) -> Likeness:
    """Whether the window was probed in the model as in the capture."""
    ours = () if played is None else played.probes
    pairs = [(one / SECOND, its / SECOND) for one, its in zip(ours, stall.probes, strict=False)]
    same = next((i for i, (one, its) in enumerate(pairs) if not _in_time(one, its)), len(pairs))
    off = max((abs(one - its) for one, its in pairs[:same]), default=0.0)
    differs = ""
    if same < len(pairs):
        one, its = pairs[same]
        differs = f"window probe {same + 1} came after {its:.3f} s, in the model after {one:.3f} s"
    elif abs(len(ours) - len(stall.probes)) > 1 or not pairs:
        counts = f"{len(stall.probes)} times, in the model {len(ours)}"
        differs = f"the {stall.sender} probed the closed window {counts}"
    return Likeness(len(stall.probes), same, off, 0.0, differs)


def _check_stalled(stall: Stall, firewall_idle_s: float | None, expired: str | None, cause: str) -> None:
    given = {"firewall_idle_s": firewall_idle_s, "expired": expired, "cause": cause or None}
    for name, value in given.items():
        if value is not None:
            raise ParameterError(
                f"{name} = {value!r}: this connection stalled because the {stall.reader} did not read; it "
                "was never silent. Set user_timeout_s instead."
            )


def _check(side: str, cause: str, firewall_idle_s: float | None, expired: str | None) -> None:
    if side not in ("", CLIENT, SERVER):
        raise ParameterError(f"side = {side!r} is not one of client, server.")
    if cause not in ("", "box", "peer"):
        raise ParameterError(f"cause = {cause!r} is not one of box, peer.")
    if firewall_idle_s is not None:
        FIREWALL_IDLE.check("firewall_idle_s", firewall_idle_s)
    if expired is not None and expired not in EXPIRED:
        raise ParameterError(f"expired = {expired!r} is not one of {', '.join(EXPIRED)}.")


def _check_clock(connection: Trace) -> None:
    """Raise `ParameterError` where the time stamps are impossible for a connection."""
    packets = connection.packets
    for i, (one, later) in enumerate(pairwise(packets), 2):
        if later.t < one.t - CLOCK_STEP:
            raise ParameterError(
                f"connection has a clock step: its segment {i} is stamped {duration(one.t - later.t)} before "
                "the previous one. The clock was set during the capture, and what_if replays times."
            )
    if not packets:
        return
    times = [*(p.t for p in packets), max(connection.end, packets[-1].t)]
    if (took := times[-1] - times[0]) > MOST_DAYS * DAY * SECOND:
        gap, i = max((later - one, i) for i, (one, later) in enumerate(pairwise(times), 2))
        which = f"Its segment {i}" if i <= len(packets) else "The last segment of the file"
        raise ParameterError(
            f"connection covers {took / (DAY * SECOND):,.0f} days by its time stamps, and what_if replays "
            f"at most {MOST_DAYS}. {which} is stamped {gap / (DAY * SECOND):,.0f} days after the previous "
            "one, most likely because of a clock step."
        )


def _check_user_timeout(socket: SocketSettings, work: Workload) -> None:
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


def _without_effect(socket: SocketSettings, wanted: dict[str, float | int]) -> tuple[str, ...]:
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
