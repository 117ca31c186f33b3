"""What a Linux receiver does with a RST: the one rule used by the model and for captures.

Since 3.6 being inside the window is not enough (RFC 5961 section 3.2;
net/ipv4/tcp_input.c:tcp_validate_incoming, tcp_sequence, tcp_reset_check).
"""

from __future__ import annotations

from tcplab.model.states import CLOSE_WAIT, CLOSING, LAST_ACK, SYN_SENT
from tcplab.releases import Release
from tcplab.segment import after, before, seq_add

ACCEPTED = "accepted"
CHALLENGED = "challenged"
IGNORED = "ignored"


def reset_verdict(
    seq: int,
    *,
    rcv_nxt: int,
    left_edge: int,
    right_edge: int,
    release: Release,
    state: str = "ESTABLISHED",
    sack_edge: int | None = None,
) -> str:
    """`accepted`, `challenged` (answered by an ACK, the connection lives) or `ignored`.

    For every synchronised state but TIME_WAIT. `left_edge` is RCV.NXT as of the last ACK sent
    (tp->rcv_wup), `right_edge` the end of the advertised window; both are inside. `sack_edge`
    is the right edge of the highest block received out of order, if there is one.
    """
    after_fin = state in (CLOSE_WAIT, LAST_ACK, CLOSING)
    if after_fin and release.rst_before_fin and seq == seq_add(rcv_nxt, -1):
        return ACCEPTED
    if before(seq, left_edge) or after(seq, right_edge):
        return IGNORED
    if seq == rcv_nxt or (release.rst_at_sack_edge and seq == sack_edge):
        return ACCEPTED
    return CHALLENGED


def handshake_reset_verdict(ack: int | None, *, una: int, nxt: int) -> str:
    """In SYN_SENT a RST counts only with an ACK of our SYN (tcp_rcv_synsent_state_process)."""
    if ack is not None and after(ack, una) and not after(ack, nxt):
        return ACCEPTED
    return IGNORED


def reset_error(state: str) -> str:
    """The errno that an obeyed RST leaves on the socket (net/ipv4/tcp_input.c:tcp_reset)."""
    return {SYN_SENT: "ECONNREFUSED", CLOSE_WAIT: "EPIPE"}.get(state, "ECONNRESET")
