"""The rules as data: the table of states, and what a RST does, state by state and version by version."""

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.conversation import Conversation
from tcplab.core.releases import LISTED, release
from tcplab.core.segment import seq_add
from tcplab.model import rules as s
from tcplab.model.rules import (
    ACCEPTED,
    CHALLENGED,
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    IGNORED,
    LAST_ACK,
    STATES,
    SYN_SENT,
    TRANSITIONS,
    IllegalEvent,
    advance,
    handshake_reset_verdict,
    mermaid,
    reset_error,
    reset_verdict,
)


def test_every_state_can_be_reached_and_left():
    assert {state for state, _ in TRANSITIONS} == set(STATES)
    reached, waiting = {s.CLOSED}, [s.CLOSED]
    while waiting:
        here = waiting.pop()
        for (state, _), after in TRANSITIONS.items():
            if state == here and after not in reached:
                reached.add(after)
                waiting.append(after)
    assert reached == set(STATES)


@pytest.mark.parametrize(
    "path",
    [
        # the active closer, the passive closer, both at once
        [s.CONNECTS, s.GETS_SYN_ACK, s.CLOSES, s.GETS_FIN_ACK, s.GETS_FIN, s.EXPIRES],
        [s.CONNECTS, s.GETS_SYN_ACK, s.GETS_FIN, s.CLOSES, s.GETS_FIN_ACK],
        [s.CONNECTS, s.GETS_SYN_ACK, s.CLOSES, s.GETS_FIN, s.GETS_FIN_ACK, s.EXPIRES],
        [s.LISTENS, s.GETS_SYN, s.GETS_HANDSHAKE_ACK, s.GETS_FIN, s.CLOSES, s.GETS_FIN_ACK],
        [s.LISTENS, s.CLOSES],
        [s.CONNECTS, s.TIMES_OUT],
        [s.CONNECTS, s.GETS_RESET],
    ],
)
def test_the_paths_from_closed_to_closed(path):
    end = SimpleNamespace(state=s.CLOSED)
    for event in path:
        advance(end, event)
    assert end.state == s.CLOSED


@pytest.mark.parametrize(
    ("state", "event"),
    [(s.CLOSED, s.CLOSES), (s.TIME_WAIT, s.CLOSES), (s.LISTEN, s.GETS_RESET), (s.CLOSED, s.GETS_RESET)],
)
def test_an_illegal_event_names_state_and_event_and_changes_nothing(state, event):
    end = SimpleNamespace(state=state)
    with pytest.raises(IllegalEvent, match=state) as error:
        advance(end, event)
    assert event in str(error.value) and end.state == state


def assigned_states(source):
    """The functions in a source text that assign to an attribute `state`."""
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.ctx, ast.Store)
                    and node.attr == "state"
                ):
                    yield function.name


def test_only_one_function_changes_the_state_of_a_socket():
    """A new socket gets its first state, and `Ports` notes the state of the owner of a port."""
    folder = Path(s.__file__).parent
    found = {
        (path.stem, name)
        for path in folder.glob("*.py")
        for name in assigned_states(path.read_text())
        if name != "__init__" and path.stem != "ports"
    }
    assert found == {("rules", "advance"), ("stack", "_touch")}
    assert set(assigned_states("def f(a):\n a.b, c.state = 1, 2")) == {"f"}


def test_any_connection_may_die_of_a_rst_an_abort_or_a_timeout():
    for state in STATES:
        for step in (s.GETS_RESET, s.ABORTS, s.TIMES_OUT):
            assert ((state, step) in TRANSITIONS) == (state not in (s.CLOSED, s.LISTEN))


def test_the_diagram_shows_every_other_step():
    diagram = mermaid()
    for (state, step), after in TRANSITIONS.items():
        ends = {s.CLOSED: "[*]"}
        shown = f"{ends.get(state, state)} --> {ends.get(after, after)}: {step}" in diagram
        assert shown == (step not in (s.GETS_RESET, s.ABORTS, s.TIMES_OUT))


MOVES = [0, 2**32 - 5001, 2**31, 12345]


def verdict(seq, *, nxt=5000, wup=5000, window=29200, move=0, linux="6.18", **more):
    """The verdict with every number moved by `move`, which must change nothing."""
    if more.get("sack_edge") is not None:
        more["sack_edge"] = seq_add(more["sack_edge"], move)
    return reset_verdict(
        seq_add(seq, move),
        rcv_nxt=seq_add(nxt, move),
        left_edge=seq_add(wup, move),
        right_edge=seq_add(wup, window + move),
        release=release(linux),
        **more,
    )


# -- the rule itself -------------------------------------------------------------------------


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("linux", LISTED)
@pytest.mark.parametrize(
    ("seq", "says"),
    [
        (5000, ACCEPTED),
        (5001, CHALLENGED), (20000, CHALLENGED), (34200, CHALLENGED),
        (4999, IGNORED), (4000, IGNORED), (34201, IGNORED), (5000 + 2**31, IGNORED),
    ],
)  # fmt: skip
def test_window_5000_to_34200(seq, says, linux, move):
    assert verdict(seq, linux=linux, move=move) == says


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize(
    ("seq", "says"), [(5000, ACCEPTED), (4000, CHALLENGED), (4999, CHALLENGED), (3999, IGNORED)]
)
def test_the_left_edge_lags_while_an_ack_is_delayed(seq, says, move):
    assert verdict(seq, wup=4000, move=move) == says


@pytest.mark.parametrize(("linux", "says"), [("4.7", CHALLENGED), ("4.8", ACCEPTED), ("6.18", ACCEPTED)])
def test_the_edge_of_what_is_held_out_of_order_counts_since_4_8(linux, says):
    assert verdict(5200, linux=linux, sack_edge=5200) == says
    assert verdict(5199, linux=linux, sack_edge=5200) == CHALLENGED


@pytest.mark.parametrize("state", [CLOSE_WAIT, CLOSING, LAST_ACK])
def test_one_before_counts_after_a_fin_since_4_11(state):
    assert verdict(4999, linux="4.11", state=state) == ACCEPTED
    assert verdict(4999, linux="4.10", state=state) == IGNORED
    assert verdict(4999, linux="4.10", state=state, wup=4000) == CHALLENGED
    assert verdict(4999, linux="4.11", state=ESTABLISHED) == IGNORED


def test_the_errno_tells_the_state():
    errors = {state: reset_error(state) for state in STATES}
    assert errors.pop(SYN_SENT) == "ECONNREFUSED"
    assert errors.pop(CLOSE_WAIT) == "EPIPE"
    assert set(errors.values()) == {"ECONNRESET"}


@given(
    seq=st.integers(-(2**31) + 1, 2**31 - 1),
    unacknowledged=st.integers(0, 5000),
    window=st.integers(0, 2**30 - 1),
    move=st.integers(0, 2**32 - 1),
    linux=st.sampled_from(LISTED),
)
def test_only_the_exact_number_kills_and_only_the_window_is_answered(
    seq, unacknowledged, window, move, linux
):
    window = max(window, unacknowledged)
    says = verdict(seq, nxt=0, wup=-unacknowledged, window=window, move=move, linux=linux)
    inside = -unacknowledged <= seq <= window - unacknowledged
    assert says == (ACCEPTED if seq == 0 else CHALLENGED if inside else IGNORED)


@pytest.mark.parametrize("iss", [0, 2**32 - 1, 2**32 - 5, 77])
def test_in_syn_sent_only_an_ack_of_our_syn_counts(iss):
    numbers = {"una": iss, "nxt": seq_add(iss, 1)}
    assert handshake_reset_verdict(seq_add(iss, 1), **numbers) == ACCEPTED
    for wrong in (iss, seq_add(iss, 2), seq_add(iss, -1)):
        assert handshake_reset_verdict(wrong, **numbers) == IGNORED
    assert handshake_reset_verdict(None, **numbers) == IGNORED


# -- in conversations ------------------------------------------------------------------------


def test_established_exact():
    Conversation().play("""
        1   < R 1
            verdict accepted
            = CLOSED
            recv() -> ECONNRESET        # once;
            recv() -> 0                 # then the end of the file
            send(40) -> EPIPE
    """)


def test_established_in_the_window_is_challenged_at_most_once_in_500_ms():
    Conversation().play("""
        1       < R 2
                verdict challenged
                > A 1 1
        1.499   < R 30000               # too soon: no answer
                verdict challenged
        1.500   < R 30000
                > A 1 1
        1.9     < S 500                 # a SYN in a living connection shares the limit
        2.1     < S 500
                > A 1 1
                counted TcpExtTCPChallengeACK 3
                = ESTABLISHED
        2.2     send(40) -> 40
                > PA 1 1 40
        2.201   < A 1 41
    """)


def test_before_4_7_every_challenge_is_answered():
    Conversation(linux="4.6").play("""
        1       < R 2
                > A 1 1
        1.1     < R 2
                > A 1 1
                counted TcpExtTCPChallengeACK 2
    """)


def test_established_out_of_the_window_is_silence():
    machine = Conversation()
    edge = machine.socket.receiver.right_edge - machine.socket.receiver.nxt + 1
    machine.play(f"""
        1       < R 0
                verdict ignored
                < R {edge + 1}
                verdict ignored
                < R {2**31}
                verdict ignored
                < RA 0 1
                verdict ignored
                < R {edge}              # the right edge itself is inside
                verdict challenged
                > A 1 1
                = ESTABLISHED
    """)


def test_a_real_peer_without_the_socket_answers_the_challenge_exactly():
    Conversation().play("""
        1       < R 200
                > A 1 1                 # the peer has no socket: its RST takes this ACK's number
        1.001   < R 1
                verdict accepted
                error ECONNRESET
    """)


def test_the_left_edge_is_that_of_the_last_ack_sent():
    machine = Conversation().play("""
        0.001   send(40)
                > PA 1 1 40
        0.002   < PA 1 41 100           # the first answer is acknowledged at once
                > A 41 101
                send(40)
                > PA 41 101 40
        0.003   < PA 101 81 100         # now the ACK waits for a question to ride on
    """)
    assert machine.socket.receiver.nxt != machine.socket.receiver.wup
    machine.play("""
        0.010   < R 101                 # acknowledged last time: still inside
                verdict challenged
                > A 81 201              # this is an ACK: the edge moves on
        0.020   < R 101
                verdict ignored
        0.030   < R 201
                verdict accepted
    """)


def test_the_sack_edge():
    story = """
        1       < PA 41 1 40            # 40 bytes are missing before it
                > A 1 1 sack=41:81
        1.1     < PA 121 1 40
                > A 1 1 sack=121:161,41:81
        1.2     < R 81                  # the edge of the lower block is nothing special
                verdict challenged
                > A 1 1
        1.3     < R 161
    """
    Conversation(linux="4.8").play(story + "verdict accepted\n error ECONNRESET")
    Conversation(linux="4.6").play(story + "verdict challenged\n > A 1 1")
    without = Conversation(sack=False).play("""
        1       < PA 41 1 40
                > A 1 1 sack=
        1.1     < R 81
                verdict challenged
                > A 1 1
    """)
    assert without.socket.receiver.memory.ahead


def test_a_fin_out_of_order_belongs_to_the_edge():
    """Measured on 6.18: SACK 101:202 for 100 bytes and a FIN, and a RST at 202 kills."""
    Conversation().play("""
        1       < PA 101 1 100
                > A 1 1 sack=101:201
                < FA 201 1
                > A 1 1 sack=101:202
                < R 201
                verdict challenged
                > A 1 1
                < R 202
                verdict accepted
    """)


def test_after_a_fin_nothing_is_held_out_of_order():
    Conversation().play("""
        1       < PA 2 1 10             # from beyond a FIN at 1
                > A 1 1 sack=2:12
        1.1     < FA 1 1
        1.104   > A 1 2 sack=
                < R 12
                verdict challenged
                > A 1 2
    """)


@pytest.mark.parametrize(("linux", "says"), [("4.11", "accepted"), ("4.10", "ignored")])
def test_one_before_after_a_fin(linux, says):
    Conversation(linux=linux).play(f"""
        1       < FA 1 1
        1.004   > A 1 2
                = CLOSE_WAIT
        2       < R 1
                verdict {says}
                error {"EPIPE" if says == "accepted" else "none"}
    """)


def test_close_wait_reset_is_a_broken_pipe():
    Conversation().play("""
        1       < FA 1 1
        1.004   > A 1 2
        2       send(40) -> 40
                > PA 1 2 40
        2.001   < R 2
                verdict accepted
                send(40) -> EPIPE
                recv() -> 0             # the end of file came first
    """)


def test_bytes_received_before_a_reset_can_still_be_read():
    Conversation().play("""
        1       < PA 1 1 100
                > A 1 101
                < R 101
                recv(40) -> 40
                recv() -> 60
                recv() -> ECONNRESET
    """)


def test_syn_sent():
    Conversation("opening").play("""
        0       connect()
                > S 0
        0.5     < R 0                   # without ACK
                verdict ignored
                = SYN_SENT
        0.6     < RA 0 1
                verdict accepted
                = CLOSED
                send(1) -> ECONNREFUSED
    """)


def test_syn_sent_and_a_rst_that_acknowledges_something_else():
    """The peer may think of an older connection: the SYN is repeated soon (since 5.6)."""
    Conversation("opening").play("""
        0       connect()
                > S 0
        0.1     < RA 0 2
                verdict ignored
        0.108   > S 0
        0.2     < RA 0 0                # only once
                verdict ignored
        1.108   > S 0
                = SYN_SENT
    """)
    Conversation("opening", linux="5.4").play("""
        0       connect()
                > S 0
        0.1     < RA 0 2
                verdict ignored
        1       > S 0
    """)


@pytest.mark.parametrize("window", [0, 29200])
def test_syn_recv_is_as_strict_since_6_18(window):
    """Measured on 6.18.44."""
    story = """
        0       listen()
                < S 0
                > SA 0 1
        0.1     < R 0
                verdict ignored
                = SYN_RECV
        0.2     < R 500
                verdict challenged
                > A 1 1
        0.3     < R 501                 # limited, too
                verdict challenged
        0.8     < RA 1 99               # exact: what it acknowledges doesn't matter
                verdict accepted
                = CLOSED
        1.5     < A 1 1                 # nobody there
                > R 1
    """
    Conversation("listening", window=window).play(story)


@pytest.mark.parametrize("linux", ["5.10", "6.12.104", "6.18.41", "7.1.5"])
def test_syn_recv_before_its_rst_had_to_be_exact(linux):
    story = """
        0       listen()
                < S 0
                > SA 0 1
        0.1     < RA 1 99               # the listener gets it, and throws a RST away
                verdict ignored
        0.2     < R 0
                verdict ignored
                = SYN_RECV
        0.3     < R 500
                verdict accepted
                = CLOSED
    """
    Conversation("listening", linux=linux).play(story)


@pytest.mark.parametrize(("rfc1337", "state"), [(0, "CLOSED"), (1, "TIME_WAIT")])
def test_time_wait_dies_of_the_exact_number_unless_rfc1337(rfc1337, state):
    Conversation(sysctls={"tcp_rfc1337": rfc1337}).play(f"""
        1       close()
                > FA 1 1
        1.001   < FA 1 2
                > A 2 2
                = TIME_WAIT
        2       < R 1
                verdict ignored
                < R 3                   # in the window is not enough, and draws nothing
                verdict ignored
                < RA 1 2
                verdict ignored
                = TIME_WAIT
        3       < R 2
                = {state}
                verdict {"accepted" if state == "CLOSED" else "ignored"}
    """)


def test_in_fin_wait_2_without_an_application_the_window_is_enough_and_outside_is_answered():
    """Measured on 6.18: the minisocket answers even a RST that it doesn't obey."""
    Conversation().play("""
        1       close()
                > FA 1 1
        1.001   < A 1 2
                = FIN_WAIT_2
        2       < R 0
                verdict ignored
                > A 2 1
        2.6     < R 90000
                > A 2 1
                = FIN_WAIT_2
        3       < R 500
                verdict accepted
                = CLOSED
    """)


def test_a_rst_to_nobody_is_never_answered():
    Conversation("listening").play("""
        0   < R 0
            verdict ignored
            < RA 0 5
            listen()
            < R 0
            < RA 0 5
            verdict ignored
    """)


def test_counters_tell_a_refused_attempt_from_a_reset_connection():
    Conversation("opening").play("""
        0   connect()
            > S 0
            < RA 0 1
            counted TcpAttemptFails 1
            counted TcpEstabResets 0
    """)
    Conversation().play("1 < R 1\n counted TcpEstabResets 1\n counted TcpAttemptFails 0")
