"""Middleboxes whose entries expire: a firewall that tracks connections, and a balancer that obeys every RST.

The firewall's tracking follows Linux's (net/netfilter/nf_conntrack_proto_tcp.c): each segment that
passes restarts the timer, in either direction. What follows expiry differs between products, and is a
table.
"""

from __future__ import annotations

from typing import NamedTuple

from tcplab.core.segment import ACK, FIN, RST, Segment, reset_for
from tcplab.core.text import SECOND
from tcplab.route.middlebox import GONE, PASSES, Decision, Middlebox, Tracked, is_reset, opens

INITIATOR, RESPONDER, STRANGER = "initiator", "responder", "stranger"

#: How a note about an expired entry begins.
REMOVES = "removes the "

#: How long an entry outlives a RST that its receiver obeys (nf_conntrack_tcp_timeout_close).
CLOSE_TIMEOUT = 10 * SECOND


class Expired(NamedTuple):
    """How a firewall treats a connection that it has forgotten."""

    #: Whose next segment opens the entry again, in mid-stream.
    reopened_by: tuple[str, ...] = ()
    #: The sender of a later segment gets a RST with the number that the segment acknowledged.
    answers: bool = False
    #: Both ends get a RST at the moment of expiry.
    resets_both: bool = False
    #: The note when it drops the first segment of such a connection.
    says: str = "has no entry for this connection any more: dropped"


#: The five behaviours by name, with products that have them.
#: drop: most firewalls, Azure's load balancer by default. reject: a REJECT rule with tcp-reset
#: (net/ipv4/netfilter/nf_reject_ipv4.c), AWS's NAT gateway. reset_both: Azure's load balancer with
#: "TCP reset" on. reopen: Linux with nf_conntrack_tcp_loose = 1, its default. drop_inbound: firewall
#: rules of Google's cloud that allow egress only.
EXPIRED: dict[str, Expired] = {
    "drop": Expired(),
    "reject": Expired(answers=True, says="has no entry for this connection any more: answered with a RST"),
    "reset_both": Expired(resets_both=True),
    "reopen": Expired(reopened_by=(INITIATOR, RESPONDER, STRANGER)),
    "drop_inbound": Expired(
        reopened_by=(INITIATOR,), says="drops inbound packets until an outbound one passes"
    ),
}


class Firewall(Middlebox):
    """Tracks connections; removes one after `idle` nanoseconds without a segment, 0 = never.

    `expired` names what happens then, see `EXPIRED`; raises KeyError for another word. A FIN
    changes nothing: a closed connection's entry runs out like an idle one's.
    """

    def __init__(self, idle: int, expired: str = "drop", name: str = "firewall") -> None:
        super().__init__(name)
        self.idle = idle
        self.rule = EXPIRED[expired]

    def pass_on(self, now: int, segment: Segment) -> Decision:
        tracked = self._known(segment)
        if tracked is None or tracked.state == GONE:
            if not opens(segment):
                return self._stray(now, segment, tracked)
            tracked = self._track(segment)
        self._let_through(now, segment, tracked)
        return PASSES

    def _forget(self, tracked: Tracked) -> Decision:
        if tracked.is_reset:
            return Decision()
        says = REMOVES + "connection: its idle timer expired"
        if not self.rule.resets_both:
            return Decision(says=says)
        # A RST to each end, in the other's name, with the number that it expects next.
        ends = ((tracked.responder, tracked.initiator), (tracked.initiator, tracked.responder))
        resets = tuple(
            Segment(peer, end, tracked.acked[end], 0, RST, 0) for peer, end in ends if end in tracked.acked
        )
        return Decision(resets=resets, says=says + ", and a RST goes to both ends")

    def _let_through(self, now: int, segment: Segment, tracked: Tracked) -> None:
        # Since 5.1 only a RST with the exact number ends an entry: its receiver may not obey another.
        if is_reset(segment):
            tracked.is_reset |= tracked.acked.get(segment.destination) == segment.seq
        elif segment.flags & ACK:
            tracked.acked[segment.source] = segment.ack
        wait = min(self.idle or CLOSE_TIMEOUT, CLOSE_TIMEOUT) if tracked.is_reset else self.idle
        tracked.due = now + wait if wait else None
        self._write(tracked)

    def _stray(self, now: int, segment: Segment, tracked: Tracked | None) -> Decision:
        """A segment in mid-stream of a connection that is not in the table."""
        side = STRANGER
        if tracked is not None:
            side = INITIATOR if segment.source == tracked.initiator else RESPONDER
        # Neither RST nor FIN opens an entry in mid-stream (tcp_conntracks, tcp_new).
        if side in self.rule.reopened_by and not segment.flags & (RST | FIN):
            reopened = self._track(segment)
            if tracked is not None:
                reopened.initiator, reopened.responder = tracked.initiator, tracked.responder
            self._let_through(now, segment, reopened)
            return Decision(passes=True, says="creates the entry again, in mid-stream")
        answers = (reset_for(segment),) if self.rule.answers and not is_reset(segment) else ()
        says = "" if tracked is not None and tracked.is_noted else self.rule.says
        if tracked is not None:
            tracked.is_noted = True
        return Decision(resets=answers, says=says)


class Balancer(Middlebox):
    """Removes a session `close` nanoseconds after the RST it saw; the next segment gets a RST.

    It obeys every RST, whether or not the server does: modelled after Linux's own balancer
    (net/netfilter/ipvs/ip_vs_proto_tcp.c:tcp_timeouts), where a RST moves the session to CLOSE without a
    look at its sequence number, and CLOSE lasts 10 s. With `refresh` each segment restarts that time, as
    IPVS does (ip_vs_conn.c:__ip_vs_conn_put_timer).
    """

    def __init__(self, close: int, *, refresh: bool = False, name: str = "balancer") -> None:
        super().__init__(name)
        self.close = close
        self.refresh = refresh

    def pass_on(self, now: int, segment: Segment) -> Decision:
        session = self._known(segment)
        if session is None or session.state == GONE:
            if not opens(segment):
                return self._refuse(segment)
            session = self._track(segment)
            self._write(session)
        says = ""
        if is_reset(segment) and not session.is_reset:
            session.is_reset = True
            says = "treats the session as closed, and will soon remove it"
        elif not (session.is_reset and self.refresh):
            return PASSES
        session.due = now + self.close
        self._write(session)
        return Decision(passes=True, says=says)

    def _forget(self, tracked: Tracked) -> Decision:
        return Decision(says=REMOVES + "session")

    def _refuse(self, segment: Segment) -> Decision:
        if is_reset(segment):
            return Decision()
        return Decision(resets=(reset_for(segment),), says="has no such session: answered with a RST")
