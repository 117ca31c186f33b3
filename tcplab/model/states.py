"""The states of a connection and every legal step between them, as one table.

The table is RFC 9293 section 3.3.2 (figure 5) with Linux's additions: a request that is
forgotten, a timeout in any state, and FIN_WAIT_2 that ends without a FIN. The model executes
it and nothing else changes a state; lesson 01 draws its diagram from it.
"""

from __future__ import annotations

CLOSED = "CLOSED"
LISTEN = "LISTEN"
SYN_SENT = "SYN_SENT"
SYN_RECV = "SYN_RECV"
ESTABLISHED = "ESTABLISHED"
FIN_WAIT_1 = "FIN_WAIT_1"
FIN_WAIT_2 = "FIN_WAIT_2"
CLOSE_WAIT = "CLOSE_WAIT"
CLOSING = "CLOSING"
LAST_ACK = "LAST_ACK"
TIME_WAIT = "TIME_WAIT"

STATES = (
    CLOSED, LISTEN, SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2,
    CLOSE_WAIT, CLOSING, LAST_ACK, TIME_WAIT,
)  # fmt: skip

#: Steps: what the application does …
LISTENS, CONNECTS, CLOSES = "listen()", "connect()", "close() or shutdown()"
#: … what arrives …
GETS_SYN, GETS_SYN_ACK, GETS_HANDSHAKE_ACK = "SYN arrives", "SYN, ACK arrives", "ACK of the SYN arrives"
GETS_FIN, GETS_FIN_ACK, GETS_RESET = "FIN arrives", "ACK of our FIN arrives", "RST arrives"
#: … and what ends it without a word from the peer.
ABORTS, TIMES_OUT, EXPIRES = "abort: RST sent", "given up after a timeout", "60 s in TIME_WAIT are over"

TRANSITIONS: dict[tuple[str, str], str] = {
    (CLOSED, LISTENS): LISTEN,
    (CLOSED, CONNECTS): SYN_SENT,
    # A SYN makes a new half-open socket; the listener itself goes on listening.
    (LISTEN, GETS_SYN): SYN_RECV,
    (LISTEN, CLOSES): CLOSED,
    (SYN_SENT, GETS_SYN_ACK): ESTABLISHED,
    (SYN_SENT, CLOSES): CLOSED,
    (SYN_RECV, GETS_HANDSHAKE_ACK): ESTABLISHED,
    (ESTABLISHED, CLOSES): FIN_WAIT_1,
    (ESTABLISHED, GETS_FIN): CLOSE_WAIT,
    (CLOSE_WAIT, CLOSES): LAST_ACK,
    (LAST_ACK, GETS_FIN_ACK): CLOSED,
    (FIN_WAIT_1, GETS_FIN_ACK): FIN_WAIT_2,
    (FIN_WAIT_1, GETS_FIN): CLOSING,
    (CLOSING, GETS_FIN_ACK): TIME_WAIT,
    (FIN_WAIT_2, GETS_FIN): TIME_WAIT,
    (TIME_WAIT, EXPIRES): CLOSED,
    # A RST that is obeyed, an abort of our own, or a timer that gives up ends any of these.
    **{
        (state, step): CLOSED
        for step in (GETS_RESET, ABORTS, TIMES_OUT)
        for state in STATES
        if state not in (CLOSED, LISTEN)
    },
}  # fmt: skip


class IllegalStep(AssertionError):
    """The model asked for a step that the table doesn't have: a mistake in the model."""


def next_state(state: str, step: str) -> str:
    """The state after `step`; raises `IllegalStep`, which names both, where there is none."""
    try:
        return TRANSITIONS[state, step]
    except KeyError:
        raise IllegalStep(f"no step {step!r} from {state}") from None


def mermaid() -> str:
    """The table as a Mermaid state diagram, CLOSED as its beginning and its end.

    The ways out by RST or timeout are left to prose.
    """
    ends = {CLOSED: "[*]"}
    lines = ["stateDiagram-v2", "    accTitle: The states of a connection and its steps"]
    lines += [
        f"    {ends.get(state, state)} --> {ends.get(after, after)}: {step}"
        for (state, step), after in TRANSITIONS.items()
        if step not in (GETS_RESET, ABORTS, TIMES_OUT)
    ]
    return "\n".join(lines)
