"""A balancer that believes a RST, whatever the server makes of it, and soon forgets the session.

Modelled after Linux's own (net/netfilter/ipvs/ip_vs_proto_tcp.c:tcp_timeouts): a RST moves the
session to CLOSE without a look at its sequence number, and CLOSE lasts 10 s there.
"""

from __future__ import annotations

from dataclasses import dataclass

from tcplab.route.box import GONE, OPEN, PASSES, Box, Decision, Entry, conversation, is_reset, opens
from tcplab.segment import Endpoint, Segment, reset_for


@dataclass(slots=True)
class _Session:
    initiator: Endpoint
    responder: Endpoint
    state: str = OPEN
    #: When it is forgotten; None before a RST has passed.
    due: int | None = None


class Balancer(Box):
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
