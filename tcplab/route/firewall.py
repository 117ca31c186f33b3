"""A firewall that tracks connections, forgets the idle ones, and then treats them in one of five ways.

The tracking follows Linux's (net/netfilter/nf_conntrack_proto_tcp.c): each segment that passes
restarts the timer, whoever sent it. What follows expiry differs between products, and is a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tcplab.core.segment import ACK, FIN, RST, Endpoint, Segment, reset_for
from tcplab.route.middlebox import (
    GONE,
    OPEN,
    PASSES,
    Decision,
    Entry,
    Middlebox,
    conversation,
    is_reset,
    opens,
)

# ----------------------------------------------------------------------
# A balancer that believes a RST, whatever the server makes of it, and soon forgets the session.
#
# Modelled after Linux's own (net/netfilter/ipvs/ip_vs_proto_tcp.c:tcp_timeouts): a RST moves the
# session to CLOSE without a look at its sequence number, and CLOSE lasts 10 s there.


@dataclass(slots=True)
class _Session:
    initiator: Endpoint
    responder: Endpoint
    state: str = OPEN
    #: When it is forgotten; None before a RST has passed.
    due: int | None = None


class Balancer(Middlebox):
    """Forgets a session `close` nanoseconds after the RST it saw; the next segment gets a RST.

    With `refresh` each segment restarts that time, as IPVS does (ip_vs_conn.c:__ip_vs_conn_put_timer).
    """

    def __init__(self, close: int, *, refresh: bool = False, name: str = "balancer") -> None:
        super().__init__()
        self.name = name
        self.close = close
        self.refresh = refresh
        self._sessions: dict[frozenset[Endpoint], _Session] = {}

    def pass_on(self, now: int, segment: Segment) -> Decision:
        key = conversation(segment)
        session = self._sessions.get(key)
        if session is None or session.state == GONE:
            if not opens(segment):
                return self._refuse(segment)
            session = self._sessions[key] = _Session(segment.source, segment.destination)
            self._write(session)
        says = ""
        if is_reset(segment) and session.due is None:
            session.due = now + self.close
            says = "takes the session for closed, and will soon forget it"
        elif session.due is not None and self.refresh:
            session.due = now + self.close
        else:
            return PASSES
        self._write(session)
        return Decision(passes=True, says=says)

    def timer(self, now: int) -> Decision:
        said = ""
        for session in self._sessions.values():
            if session.due is not None and session.due <= now:
                session.state, session.due = GONE, None
                self._write(session)
                said = "forgets the session"
        return Decision(says=said)

    def next_timer(self) -> int | None:
        return min((each.due for each in self._sessions.values() if each.due is not None), default=None)

    # -- inside ------------------------------------------------------------------------------

    def _refuse(self, segment: Segment) -> Decision:
        if is_reset(segment):
            return Decision()
        return Decision(resets=(reset_for(segment),), says="has no such session: answered with a RST")

    def _write(self, session: _Session) -> None:
        timer = "" if session.due is None else "close"
        self._changed.append(Entry(session.initiator, session.responder, session.state, timer, session.due))


INITIATOR, RESPONDER, STRANGER = "initiator", "responder", "stranger"

#: How long an entry outlives a RST that its receiver obeys (nf_conntrack_tcp_timeout_close).
CLOSE_TIMEOUT = 10_000_000_000


class Expired(NamedTuple):
    """How a firewall treats a connection that it has forgotten."""

    #: Whose next segment opens the entry again, in mid-stream.
    reopened_by: tuple[str, ...] = ()
    #: Whoever goes on gets a RST with the number that the segment acknowledged.
    answers: bool = False
    #: Both ends get a RST at the moment of expiry.
    resets_both: bool = False
    #: What it says when it throws away the first segment of such a connection.
    says: str = "does not know this connection any more: dropped"


#: The five ways by name. Real boxes that go each way:
#: drop: most firewalls, Azure's load balancer as it comes. reject: a REJECT rule with tcp-reset
#: (net/ipv4/netfilter/nf_reject_ipv4.c), AWS's NAT gateway. reset_both: Azure's load balancer with
#: "TCP reset" on. reopen: Linux with nf_conntrack_tcp_loose = 1, its default. drop_inbound: firewall
#: rules of Google's cloud that allow egress only.
EXPIRED: dict[str, Expired] = {
    "drop": Expired(),
    "reject": Expired(answers=True, says="does not know this connection any more: answered with a RST"),
    "reset_both": Expired(resets_both=True),
    "reopen": Expired(reopened_by=(INITIATOR, RESPONDER, STRANGER)),
    "drop_inbound": Expired(
        reopened_by=(INITIATOR,), says="lets nothing in until something goes out: dropped"
    ),
}


@dataclass(slots=True)
class _Tracked:
    """One connection, and what each side last acknowledged."""

    initiator: Endpoint
    responder: Endpoint
    acked: dict[Endpoint, int]
    state: str = OPEN
    due: int | None = None
    #: A RST has ended it.
    is_ended: bool = False
    #: It has said what it does with segments of this one.
    has_said: bool = False

    def side(self, segment: Segment) -> str:
        return INITIATOR if segment.source == self.initiator else RESPONDER


class Firewall(Middlebox):
    """Tracks connections; `idle` nanoseconds without a segment and one is forgotten, 0 = never.

    `expired` names what happens then, see `EXPIRED`; raises KeyError for another word. A FIN
    changes nothing: a closed connection's entry runs out like an idle one's.
    """

    def __init__(self, idle: int, expired: str = "drop", name: str = "firewall") -> None:
        super().__init__()
        self.name = name
        self.idle = idle
        self.rule = EXPIRED[expired]
        self._table: dict[frozenset[Endpoint], _Tracked] = {}

    def pass_on(self, now: int, segment: Segment) -> Decision:
        tracked = self._table.get(conversation(segment))
        if tracked is None or tracked.state == GONE:
            if not opens(segment):
                return self._stray(now, segment, tracked)
            tracked = self._track(segment)
        self._let_through(now, segment, tracked)
        return Decision(passes=True)

    def timer(self, now: int) -> Decision:
        resets: list[Segment] = []
        said = ""
        for tracked in self._table.values():
            if tracked.due is None or tracked.due > now:
                continue
            tracked.state, tracked.due = GONE, None
            self._write(tracked)
            if tracked.is_ended:
                continue
            said = "forgets the connection: its idle timer is over"
            if self.rule.resets_both:
                said += ", and a RST goes to both ends"
                resets += _farewell(tracked)
        return Decision(resets=tuple(resets), says=said)

    def next_timer(self) -> int | None:
        return min((each.due for each in self._table.values() if each.due is not None), default=None)

    # -- inside ------------------------------------------------------------------------------

    def _track(self, segment: Segment) -> _Tracked:
        tracked = _Tracked(segment.source, segment.destination, {})
        self._table[conversation(segment)] = tracked
        return tracked

    def _let_through(self, now: int, segment: Segment, tracked: _Tracked) -> None:
        # Since 5.1 only a RST with the exact number ends an entry: its receiver may not obey another.
        if is_reset(segment):
            tracked.is_ended |= tracked.acked.get(segment.destination) == segment.seq
        elif segment.flags & ACK:
            tracked.acked[segment.source] = segment.ack
        wait = min(self.idle or CLOSE_TIMEOUT, CLOSE_TIMEOUT) if tracked.is_ended else self.idle
        tracked.due = now + wait if wait else None
        self._write(tracked)

    def _stray(self, now: int, segment: Segment, tracked: _Tracked | None) -> Decision:
        """A segment in mid-stream of a connection that is not in the table."""
        side = STRANGER if tracked is None else tracked.side(segment)
        # Neither RST nor FIN opens an entry in mid-stream (tcp_conntracks, tcp_new).
        if side in self.rule.reopened_by and not segment.flags & (RST | FIN):
            again = self._track(segment)
            if tracked is not None:
                again.initiator, again.responder = tracked.initiator, tracked.responder
            self._let_through(now, segment, again)
            return Decision(passes=True, says="takes up the connection again, in mid-stream")
        answers = (reset_for(segment),) if self.rule.answers and not is_reset(segment) else ()
        says = "" if tracked is not None and tracked.has_said else self.rule.says
        if tracked is not None:
            tracked.has_said = True
        return Decision(resets=answers, says=says)

    def _write(self, tracked: _Tracked) -> None:
        timer = "" if tracked.due is None else "close" if tracked.is_ended else "idle"
        self._changed.append(Entry(tracked.initiator, tracked.responder, tracked.state, timer, tracked.due))


def _farewell(tracked: _Tracked) -> list[Segment]:
    """A RST to each end, in the other's name, with the number that it expects next."""
    ends = ((tracked.responder, tracked.initiator), (tracked.initiator, tracked.responder))
    return [Segment(peer, end, tracked.acked[end], 0, RST, 0) for peer, end in ends if end in tracked.acked]
