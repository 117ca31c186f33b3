"""What an application calls, and how a connection ends (linux-tcp.md, section 8)."""

import pytest

from model.conversation import Conversation

# -- close, exit, kill -------------------------------------------------------------------------


def test_close_with_nothing_unread_is_a_fin():
    Conversation().play("""
        1       close()
                > FA 1 1
                = FIN_WAIT_1
        1.001   < A 1 2
                = FIN_WAIT_2
        1.5     < FA 1 2
                > A 2 2
                = TIME_WAIT
    """)


@pytest.mark.parametrize("read", [0, 99])
def test_close_with_bytes_unread_is_a_rst(read):
    Conversation().play(f"""
        1       < PA 1 1 100
                > A 1 101
                {f"recv({read}) -> {read}" if read else ""}
                close()
                > RA 1 101
                = CLOSED
                counted TcpExtTCPAbortOnClose 1
    """)


def test_close_after_all_was_read_is_a_fin():
    Conversation().play("""
        1       < PA 1 1 100
                > A 1 101
                recv() -> 100
                close()
                > FA 1 101
    """)


def test_unread_bytes_reset_in_every_state_even_when_both_sides_have_finished():
    """Measured on 6.18 in LAST_ACK."""
    unread = """
        1       < PA 1 1 100
                > A 1 101
        1.1     < FA 101 1
        1.14    > A 1 102
                = CLOSE_WAIT
    """
    Conversation().play(unread + "2 close()\n > RA 1 102\n = CLOSED")
    Conversation().play(unread + "2 shutdown()\n > FA 1 102\n = LAST_ACK\n close()\n > RA 2 102\n = CLOSED")
    Conversation().play("""
        1       < PA 1 1 100
                > A 1 101
                shutdown()
                > FA 1 101
                < FA 101 1
                > A 2 102
                = CLOSING
                close()
                > RA 2 102
                = CLOSED
    """)


@pytest.mark.parametrize("finished", ["", "< FA 1 1\n 1.140 > A 1 2", "shutdown()\n > FA 1 1"])
def test_linger_0_is_a_rst_and_no_time_wait(finished):
    machine = Conversation().play("1.1 " + finished)
    machine.call("reset()")
    ((_, said),) = machine.sends_until(machine.now / 1e9)
    assert said["flags"] == "RA" and machine.state == "CLOSED"
    assert machine.stack.counters["TcpExtTCPAbortOnData"] == 1


def test_linger_0_after_both_have_finished_just_forgets():
    """Measured on 6.18: tcp_disconnect resets nothing in LAST_ACK."""
    Conversation().play("""
        1       < FA 1 1
        1.04    > A 1 2
        2       shutdown()
                > FA 1 2
                = LAST_ACK
                reset()
                = CLOSED
        100                             # nothing is repeated
    """)


def test_linger_0_with_bytes_unread():
    Conversation().play("1 < PA 1 1 10\n > A 1 11\n reset()\n > RA 1 11\n counted TcpExtTCPAbortOnClose 1")


def test_data_after_a_full_close_draws_a_bare_rst():
    """An orphan: the RST stands at the number which the data acknowledges."""
    Conversation().play("""
        1       close()
                > FA 1 1
        1.001   < PA 1 1 40             # sent before the FIN came
                > R 1
                = CLOSED
    """)
    Conversation().play("""
        1       close()
                > FA 1 1
        1.001   < PA 1 2 40
                > R 2
                = CLOSED
    """)


def test_what_was_sent_before_close_still_goes_out():
    Conversation().play("""
        1       send(2000)
                > A 1 1 1460
                > PA 1461 1 540
                close()
                > FA 2001 1
        1.001   < A 1 2002
                = FIN_WAIT_2
    """)


def test_a_fin_waits_for_room_as_data_does():
    """Measured on 6.18: into a closed window goes no FIN, only probes."""
    Conversation().play("""
        1       < A 1 1 w=0
                close()
                = FIN_WAIT_1
        1.204   > A 0 1
        1.612   > A 0 1
        1.7     < A 1 1 w=50
                > FA 1 1
    """)
    Conversation().play("""
        1       < A 1 1 w=100
                send(100)
                > PA 1 1 100            # fills it
                close()
        1.001   < A 1 101 w=0
        1.205   > A 100 1
    """)


def test_close_while_connecting():
    Conversation("opening").play("0 connect()\n > S 0\n 0.5 close()\n = CLOSED\n 100")
    Conversation("opening").play("0 connect()\n > S 0\n 0.5 reset()\n = CLOSED\n 100")


def test_after_the_servers_fin_a_send_succeeds_and_draws_the_rst():
    Conversation().play("""
        1       < FA 1 1
        1.04    > A 1 2
                recv() -> 0
        2       send(40) -> 40
                > PA 1 2 40
        2.001   < R 2
                send(40) -> EPIPE
                send(40) -> EPIPE
                recv() -> 0
    """)


# -- half closed -------------------------------------------------------------------------------


def test_shutdown_sends_a_fin_and_goes_on_reading():
    Conversation().play("""
        1       shutdown() -> blocks    # returns at once, without an error
                > FA 1 1
                = FIN_WAIT_1
                send(1) -> EPIPE
        1.001   < A 1 2
                = FIN_WAIT_2
        5       < PA 1 2 100
                > A 2 101
                recv() -> 100
        6       < FA 101 2
                > A 2 102
                = TIME_WAIT
                recv() -> 0
                send(1) -> EPIPE
                shutdown() -> ENOTCONN
    """)


def test_the_passive_side_may_go_on_sending():
    Conversation().play("""
        1       < FA 1 1
        1.04    > A 1 2
                = CLOSE_WAIT
                recv() -> 0
        2       send(100) -> 100
                > PA 1 2 100
        2.001   < A 2 101
        3       close()
                > FA 101 2
                = LAST_ACK
        3.001   < A 2 102
                = CLOSED
    """)


def test_close_wait_has_no_timer():
    Conversation().play("1 < FA 1 1\n 1.04 > A 1 2\n timer none\n 1000000 = CLOSE_WAIT")


def test_a_lost_last_ack_is_asked_for_again():
    Conversation().play("""
        1       < FA 1 1
        1.04    > A 1 2
        2       close()
                > FA 1 2
        2.204   > FA 1 2
        2.3     < A 2 2
                = CLOSED
    """)


# -- both at once ------------------------------------------------------------------------------


def test_simultaneous_close():
    Conversation().play("""
        1       close()
                > FA 1 1
        1.001   < FA 1 1                # theirs has crossed ours
                > A 2 2
                = CLOSING
        1.002   < A 2 2
                = TIME_WAIT
        61.002  = CLOSED
    """)


def test_simultaneous_close_with_the_ack_lost():
    Conversation().play("""
        1       close()
                > FA 1 1
        1.001   < FA 1 1
                > A 2 2
        1.204   > FA 1 2
        1.205   < FA 1 1                # they repeat theirs, too
                > A 2 2
        1.206   < A 2 2
                = TIME_WAIT
    """)


def test_fin_and_ack_in_one():
    Conversation().play("1 close()\n > FA 1 1\n 1.001 < FA 1 2\n > A 2 2\n = TIME_WAIT")


# -- calls on what isn't connected ---------------------------------------------------------------


def test_calls_while_connecting_and_after_a_refusal():
    Conversation("opening").play("""
        0       connect()
                > S 0
                send(1) -> blocks
                recv() -> blocks
                shutdown() -> ENOTCONN
        0.001   < RA 0 1
                send(1) -> ECONNREFUSED # the error comes once
                send(1) -> EPIPE
                recv() -> 0
                shutdown() -> ENOTCONN
    """)


def test_an_error_is_given_once():
    Conversation().play("""
        1       < R 1
                recv() -> ECONNRESET
                recv() -> 0
                send(1) -> EPIPE
                close()
                = CLOSED
    """)


def test_reading_from_a_dead_connection_sends_nothing():
    Conversation().play("""
        1       < PA 1 1 10
                > A 1 11
                send(10)
                > PA 1 11 10
        1.005   < PA 11 11 10           # this ACK may wait
        1.006   < R 21
                verdict accepted
                recv() -> 20
        2                               # nothing has left
    """)
