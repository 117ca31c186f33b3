"""What a segment does to a connection, in the order in which Linux looks at it.

Acceptable? A RST? A SYN? Then the acknowledgement, then data and FIN. Sources:
net/ipv4/tcp_input.c (tcp_rcv_established, tcp_rcv_state_process, tcp_validate_incoming, tcp_fin,
tcp_reset, tcp_rcv_synsent_state_process), RFC 9293 section 3.10.7, RFC 5961.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcplab.model import states as s
from tcplab.model.rst import ACCEPTED, CHALLENGED, handshake_reset_verdict, reset_error, reset_verdict
from tcplab.model.sendtimer import RETRANSMIT
from tcplab.segment import ACK, FIN, RST, SYN, Segment, after, before, seq_add

if TYPE_CHECKING:
    from tcplab.model.socket import Socket


def on_segment(socket: Socket, now: int, segment: Segment) -> None:
    """Take a segment for a connection that is no half-open request."""
    if socket.state == s.SYN_SENT:
        _on_segment_in_syn_sent(socket, now, segment)
        return
    if not segment.flags & (ACK | RST | SYN):
        return
    if not _valid(socket, now, segment) or not _acknowledges_what_was_sent(socket, now, segment.ack):
        return
    if socket.timestamps and segment.timestamps and not after(segment.seq, socket.receiver.wup):
        socket.ts_recent = segment.timestamps[0]
    socket.sender.on_ack(now, segment)
    if _after_ack(socket, now, segment):
        _take_data(socket, now, segment)
        if socket.state not in (s.CLOSED, s.TIME_WAIT):
            socket.sender.push(now)
            socket.receiver.acknowledge_if_due(now)


def on_handshake_ack(socket: Socket, now: int, segment: Segment) -> None:
    """The last step of the handshake at the server; the segment may carry data already."""
    socket.synchronised(now, s.GETS_HANDSHAKE_ACK, segment)
    if segment.length or segment.flags & FIN:
        on_segment(socket, now, segment)


def _on_segment_in_syn_sent(socket: Socket, now: int, segment: Segment) -> None:
    flags, sender = segment.flags, socket.sender
    if flags & ACK and (not after(segment.ack, sender.una) or after(segment.ack, sender.nxt)):
        # The peer thinks of an older connection. Our RST ends it, so ask again soon: after two
        # ticks (TCP_TIMEOUT_MIN) instead of a second, since 5.6.
        if not sender.timer.repeats and not socket.stack.release.older_than("5.6"):
            sender.timer.arm(now, RETRANSMIT, 2 * socket.stack.release.tick)
        socket.stack.refuse(segment)
        return
    if flags & RST:
        ack = segment.ack if flags & ACK else None
        socket.stack.verdict = handshake_reset_verdict(ack, una=sender.una, nxt=sender.nxt)
        if socket.stack.verdict == ACCEPTED:
            _reset_by_peer(socket)
        return
    if flags & (SYN | ACK) != SYN | ACK:
        # A bare SYN would be a simultaneous open, which no database client makes.
        return
    socket.take_options(segment)
    socket.synchronised(now, s.GETS_SYN_ACK, segment)
    socket.send_ack(now)


def _valid(socket: Socket, now: int, segment: Segment) -> bool:
    """The window first, then RST, then SYN."""
    if segment.flags & RST:
        _on_reset(socket, now, segment)
        return False
    if not socket.receiver.acceptable(segment):
        if segment.flags & SYN:
            socket.challenge(now)
            return False
        if segment.end_seq != segment.seq and before(segment.seq, socket.receiver.nxt):
            socket.receiver.be_quick()
        socket.answer(now, segment)
        return False
    if segment.flags & SYN:
        socket.challenge(now)
        return False
    return True


def _acknowledges_what_was_sent(socket: Socket, now: int, ack: int) -> bool:
    """RFC 5961 section 5.2 (tcp_ack): what is far too old, or was never sent, draws a challenge ACK.

    For an ACK of something never sent an established connection stayed silent before 6.18 (measured
    on 6.18.44, read in the sources of 5.10 and 6.9).
    """
    sender = socket.sender
    if sender.acceptable(ack):
        return True
    never_sent = after(ack, sender.nxt)
    if not (never_sent and socket.state == s.ESTABLISHED and socket.stack.release.older_than("6.18")):
        socket.challenge(now)
    return False


def _on_reset(socket: Socket, now: int, segment: Segment) -> None:
    receiver = socket.receiver
    verdict = socket.stack.verdict = reset_verdict(
        segment.seq,
        rcv_nxt=receiver.nxt,
        left_edge=receiver.wup,
        right_edge=receiver.right_edge,
        release=socket.stack.release,
        state=socket.state,
        sack_edge=receiver.sack_edge if socket.sack else None,
    )
    if verdict == ACCEPTED:
        _reset_by_peer(socket)
    elif verdict == CHALLENGED:
        socket.challenge(now)


def _reset_by_peer(socket: Socket) -> None:
    socket.error = reset_error(socket.state)
    socket.stack.count("TcpAttemptFails" if socket.state == s.SYN_SENT else "TcpEstabResets")
    socket.end(s.GETS_RESET)


def _after_ack(socket: Socket, now: int, segment: Segment) -> bool:
    """State changes once everything, our FIN included, is acknowledged. False: it is over."""
    if not socket.sender.finishing or socket.sender.busy:
        return True
    if socket.state == s.FIN_WAIT_1:
        socket.state = s.next_state(socket.state, s.GETS_FIN_ACK)
        if socket.orphan:
            if _is_late_data(socket, segment):
                _refuse_data(socket, segment)
                return False
            return not socket.wait_for_fin(now, fin_here=bool(segment.flags & FIN))
    elif socket.state == s.CLOSING:
        socket.state = s.next_state(socket.state, s.GETS_FIN_ACK)
        socket.stack.become_time_wait(now, socket)
        return False
    elif socket.state == s.LAST_ACK:
        socket.end(s.GETS_FIN_ACK)
        return False
    return True


def _is_late_data(socket: Socket, segment: Segment) -> bool:
    return bool(segment.length) and after(seq_add(segment.seq, segment.length), socket.receiver.nxt)


def _refuse_data(socket: Socket, segment: Segment) -> None:
    """Data for an application that has closed, or after a FIN: RST (TCPAbortOnData)."""
    socket.stack.count("TcpExtTCPAbortOnData")
    socket.error = reset_error(socket.state)
    socket.end(s.ABORTS)
    socket.stack.refuse(segment)


def _take_data(socket: Socket, now: int, segment: Segment) -> None:
    if not segment.length and not segment.flags & FIN:
        return
    if socket.state in (s.CLOSE_WAIT, s.CLOSING, s.LAST_ACK) and not before(segment.seq, socket.receiver.nxt):
        return
    if socket.read_closed and _is_late_data(socket, segment):
        _refuse_data(socket, segment)
        return
    if segment.length:
        socket.last_received = now
    if socket.receiver.on_data(now, segment):
        _on_fin(socket, now)


def _on_fin(socket: Socket, now: int) -> None:
    socket.fin_received = socket.read_closed = True
    if socket.state == s.FIN_WAIT_2:
        socket.send_ack(now)
        socket.state = s.next_state(socket.state, s.GETS_FIN)
        socket.stack.become_time_wait(now, socket)
        return
    socket.state = s.next_state(socket.state, s.GETS_FIN)
    if socket.state == s.CLOSING:
        socket.send_ack(now)
    else:
        socket.receiver.enter_interactive()
