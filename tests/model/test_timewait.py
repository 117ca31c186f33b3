"""TIME_WAIT, and FIN_WAIT_2 after close(): what is left without an application (sections 1, 4 and 8)."""

import pytest

from model.conversation import Conversation

#: The machine closes first and ends in TIME_WAIT at 1.001 s.
CLOSED_FIRST = """
        1       close()
                > FA 1 1
        1.001   < FA 1 2
                > A 2 2
                = TIME_WAIT
"""
#: The machine closes, its FIN is acknowledged, the peer goes on: FIN_WAIT_2 from 1.001 s.
HALF = """
        1       close()
                > FA 1 1
        1.001   < A 1 2
                = FIN_WAIT_2
"""


def test_sixty_seconds():
    Conversation().play(CLOSED_FIRST + "timer timewait\n 61.000 = TIME_WAIT\n 61.001 = CLOSED")


def test_a_duplicate_fin_is_answered_every_time_and_starts_the_sixty_seconds_again():
    """Measured on 6.18: what carries a FIN or payload is never limited."""
    Conversation().play(
        CLOSED_FIRST
        + """
        20      < FA 1 2
                > A 2 2
        20.1    < FA 1 2
                > A 2 2
        80.099  = TIME_WAIT
        80.1    = CLOSED
    """
    )


def test_other_old_segments_are_answered_twice_a_second_at_most():
    Conversation().play(
        CLOSED_FIRST
        + """
        20      < A 1 2
                > A 2 2
        20.1    < A 1 2
        20.499  < A 0 2
        20.5    < A 1 2
                > A 2 2
        30      < A 2 2                 # exactly what is expected: no answer, but sixty seconds more
        89.999  = TIME_WAIT
        90      = CLOSED
    """
    )


def test_a_reset_does_not_start_it_again():
    Conversation().play(CLOSED_FIRST + "40 < R 1\n 61.000 = TIME_WAIT\n 61.001 = CLOSED")


def test_late_data_is_acknowledged_not_refused():
    Conversation().play(CLOSED_FIRST + "2 < PA 2 2 40\n > A 2 2\n = TIME_WAIT")


# -- a new connection from the same four-tuple -------------------------------------------------


SERVER_CLOSED_FIRST = CLOSED_FIRST


def reopened(syn, *, linux="6.18", **more):
    """Send a SYN into a server's TIME_WAIT; the state afterwards, and the words of the answers."""
    machine = Conversation("server", linux=linux, **more).play(SERVER_CLOSED_FIRST)
    machine.passes(9)
    machine.arrives(syn)
    said = machine.sends_until(machine.now / 1e9)
    return machine.state, [(each["flags"], each["seq"]) for _, each in said]


def test_a_syn_with_a_later_number_opens_a_new_connection_clear_of_the_old_one():
    assert reopened("S 3") == ("SYN_RECV", [("SA", 2 + 65537)])
    assert reopened("S 1000000") == ("SYN_RECV", [("SA", 2 + 65537)])


@pytest.mark.parametrize("seq", [2, 1, -100000])
def test_a_syn_with_an_earlier_number_is_answered_by_an_ack(seq):
    assert reopened(f"S {seq}") == ("TIME_WAIT", [("A", 2)])


def test_newer_timestamps_are_enough_and_older_ones_forbid():
    """Measured on 6.18, both."""
    assert reopened("S -100000 ts=60000", timestamps=True) == ("SYN_RECV", [("SA", 2 + 65537)])
    assert reopened("S 1000000 ts=5", timestamps=True) == ("TIME_WAIT", [("A", 2)])
    assert reopened("S 1000000 ts=2001", timestamps=True) == ("SYN_RECV", [("SA", 2 + 65537)])


def test_without_a_listener_a_new_syn_draws_an_ack():
    Conversation("server").play("0.5 kill_listener()" + CLOSED_FIRST + "10 < S 1000\n > A 2 2\n = TIME_WAIT")


def test_the_new_connection_is_a_full_one():
    Conversation("server").play(
        SERVER_CLOSED_FIRST
        + """
        10      < S 100
                > SA 65539 101
        10.001  < A 101 65540
                accept() -> ok
                = ESTABLISHED
        11      < PA 101 65540 40
                > A 65540 141
                recv() -> 40
    """
    )


# -- FIN_WAIT_2 without an application ---------------------------------------------------------


@pytest.mark.parametrize(
    ("fin_timeout", "lasts"),
    # Above 60 s the rest over 60 s runs twice; 20, 70, 90 and 200 measured on 6.18.
    [(1, 1), (20, 20), (60, 60), (61, 2), (70, 20), (90, 60), (120, 120), (200, 280)],
)
def test_tcp_fin_timeout(fin_timeout, lasts):
    Conversation(sysctls={"tcp_fin_timeout": fin_timeout}).play(
        HALF + f"{1.001 + lasts - 0.001:.3f} = FIN_WAIT_2\n {1.001 + lasts:.3f} = CLOSED"
    )


def test_it_lasts_three_and_a_half_timeouts_at_least():
    """A round trip of a second: RTO 1 + 4 * 0.5 s, so which makes 10.5 s of tcp_fin_timeout = 5."""
    Conversation("opening", sysctls={"tcp_fin_timeout": 5}).play("""
        0       connect()
                > S 0
        0.999   < SA 0 1
                > A 1 1
        1       close()
                > FA 1 1
        1.999   < A 1 2
                = FIN_WAIT_2
        12.4    = FIN_WAIT_2
        12.5    = CLOSED
    """)


def test_the_fin_leads_to_time_wait():
    Conversation().play(
        HALF
        + """
        30      < FA 1 2
                > A 2 2
                = TIME_WAIT
        89.999  = TIME_WAIT
        90      = CLOSED
    """
    )


def test_then_the_peers_probes_find_nobody():
    """redis-cli at its prompt after the server's end: answered for a minute, then a RST."""
    Conversation("server").play(
        HALF
        + """
        16      < A 0 2
                > A 2 1
        31      < A 0 2
                > A 2 1
        61.001  = CLOSED
        76      < A 0 2
                > R 2
    """
    )


@pytest.mark.parametrize("fin_timeout", [60, 90])
def test_data_for_an_application_that_has_gone_is_refused(fin_timeout):
    Conversation(sysctls={"tcp_fin_timeout": fin_timeout}).play(
        HALF
        + """
        2       < PA 1 2 40
                > R 2
                = CLOSED
    """
    )


def test_old_data_is_answered_every_time():
    """Measured on 6.18: all of it is known, so that it lies outside; but payload is never limited."""
    Conversation().play(
        """
        0.5     < PA 1 1 100
                > A 1 101
                recv() -> 100
        1       close()
                > FA 1 101
        1.001   < A 101 2
                = FIN_WAIT_2
        2       < PA 1 2 100
                > A 2 101
        2.1     < PA 1 2 100
                > A 2 101
        3       < A 100 2
                > A 2 101
        3.1     < A 100 2
                = FIN_WAIT_2
    """
    )


def test_a_syn_in_the_window_is_refused():
    Conversation().play(HALF + "2 < S 100\n > RA 0 101\n = CLOSED")


def test_with_an_application_fin_wait_2_has_no_timer():
    Conversation().play("""
        1       shutdown()
                > FA 1 1
        1.001   < A 1 2
                = FIN_WAIT_2
                timer none
        100000  = FIN_WAIT_2
                close()
                = FIN_WAIT_2
                timer timewait
        100060  = CLOSED
    """)


def test_a_fin_out_of_order_with_the_ack_of_ours_keeps_the_socket_but_not_for_ever():
    """Without the missing 100 bytes it ends in a RST after tcp_fin_timeout (tcp_rcv_state_process)."""
    Conversation(sysctls={"tcp_fin_timeout": 20}).play("""
        1       close()
                > FA 1 1
        1.001   < FA 101 2
                > A 2 1 sack=101:102
                = FIN_WAIT_2
        21.000  = FIN_WAIT_2
        21.001  > RA 2 1
                = CLOSED
    """)


def test_the_clock_moves_on_with_what_arrives():
    """A SYN whose timestamp lies before the last one seen is old, even where it is after the FIN's."""
    for learned, opens in (("A 2 2 ts=9000", False), ("A 1 2 ts=9000", True)):
        machine = Conversation("server", timestamps=True).play(SERVER_CLOSED_FIRST)
        machine.passes(1)
        machine.arrives(learned)
        machine.passes(1)
        machine.arrives("S 1000000 ts=5000")
        machine.left.clear()
        assert (machine.state == "SYN_RECV") == opens


def test_the_fin_brings_its_clock_along():
    machine = Conversation("server", timestamps=True).play("1 close()\n > FA 1 1\n 1.001 < A 1 2")
    machine.play("2 < FA 1 2 ts=9000\n > A 2 2\n = TIME_WAIT\n 3 < S 1000000 ts=5000\n > A 2 2\n = TIME_WAIT")


def test_without_timestamps_the_number_alone_decides():
    machine = Conversation("server").play(SERVER_CLOSED_FIRST + "2 < A 2 2\n 3 < S 3\n > SA 65539 4")
    assert machine.state == "SYN_RECV"
