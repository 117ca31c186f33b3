"""A connection: what an application calls, what a segment does, keepalive, and how it ends."""

import pytest

from model.conversation import Conversation
from tcplab.core.releases import LISTED

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


@pytest.mark.parametrize("finished", ["", "< FA 1 1\n 1.104 > A 1 2", "shutdown()\n > FA 1 1"])
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
        1.004   > A 1 2
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
        1.004   > A 1 2
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
        1.004   > A 1 2
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
    Conversation().play("1 < FA 1 1\n 1.004 > A 1 2\n timer none\n 1000000 = CLOSE_WAIT")


def test_a_lost_last_ack_is_asked_for_again():
    Conversation().play("""
        1       < FA 1 1
        1.004   > A 1 2
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


SENT_100 = "1 send(100)\n > PA 1 1 100\n 1.001 < A 1 101\n"


def test_a_segment_without_any_flag_is_not_looked_at():
    """Measured on 6.18: not even old payload draws an answer."""
    Conversation().play("1 < - 1\n < - -500 10\n < F 1\n 2 = ESTABLISHED")


def test_a_syn_in_a_living_connection_is_challenged_wherever_it_lies():
    """Which is how a client that has lost its memory finds the old connection, and ends it."""
    Conversation("server").play("""
        1       < S 5000
                > A 1 1
        2       < S -5000
                > A 1 1
        3       < SA 0 1
                > A 1 1
        3.1     < SA 0 1                # limited
        4       < S 123
                > A 1 1
        4.001   < R 1
                error ECONNRESET
    """)


# -- acknowledgements that can't be ----------------------------------------------------------------


def test_an_ack_far_in_the_past_is_challenged():
    """No more can be acknowledged twice than was acknowledged once; measured on 6.18."""
    Conversation().play(
        SENT_100
        + """
        2       < A 1 0                 # as old as can be: one before the first byte
        3       < A 1 -1
                > A 101 1
        3.1     < A 1 -1                # limited
        4       < PA 1 -1 40            # and its payload is not taken
                > A 101 1
                recv() -> blocks
    """
    )


def test_a_duplicate_ack_carries_its_payload_in():
    Conversation().play(SENT_100 + "2 < PA 1 50 40\n > A 101 41\n recv() -> 40")


@pytest.mark.parametrize(("linux", "answers"), [("6.12", False), ("6.18", True)])
def test_an_ack_of_what_was_never_sent(linux, answers):
    machine = Conversation(linux=linux).play(SENT_100)
    machine.play("2 < A 1 102" + ("\n > A 101 1" if answers else ""))
    machine.play("3 < PA 1 102 40" + ("\n > A 101 1" if answers else "") + "\n recv() -> blocks")


def test_after_a_fin_it_was_always_challenged():
    Conversation(linux="6.12").play("1 < FA 1 1\n 1.004 > A 1 2\n 2 < A 2 5\n > A 1 2")


# -- payload outside -----------------------------------------------------------------------------


def test_old_payload_is_acknowledged_every_time():
    Conversation().play("""
        1       < PA 1 1 100
                > A 1 101
        1.1     < PA 1 1 100
                > A 1 101
        1.2     < PA 1 1 50
                > A 1 101
                recv() -> 100
    """)


def test_old_numbers_without_payload_are_answered_twice_a_second():
    Conversation().play("""
        1       < PA 1 1 100
                > A 1 101
        1.1     < A 100 1
                > A 1 101
        1.2     < A 1 1
        1.6     < A 100 1
                > A 1 101
    """)


def test_before_4_0_without_a_limit():
    Conversation(linux="3.10").play("1 < A 0 1\n > A 1 1\n 1.001 < A 0 1\n > A 1 1")


def test_an_overlap_gives_only_what_is_new():
    Conversation().play("""
        1       < PA 1 1 100
                > A 1 101
        1.1     < PA 51 1 100
                > A 1 151
                recv() -> 150
    """)


def test_payload_beyond_the_window():
    """Measured on 6.18: what begins inside and ends outside is taken only while nothing waits to be read."""
    Conversation(receive_buffer=4608).play("""
        1       < PA 1401 1 100         # the window ends at 1461
                > A 1 1 w=1460 sack=1401:1501
        1.1     < PA 1 1 1400
                > A 1 1501 w=0
                recv() -> 1500
                > A 1 1501 w=1400
    """)
    Conversation(receive_buffer=4608).play("""
        1       < PA 1 1 1400
                > A 1 1401 w=60
        1.1     < PA 1401 1 61          # one too many
                > A 1 1401 w=60
        1.2     < PA 1461 1 10          # at the right edge
                > A 1 1401 w=60
        1.3     < A 1461 1              # inside, without payload: nothing to say
        1.4     < A 1462 1              # beyond it: answered
                > A 1 1401 w=60
                counted TcpExtBeyondWindow 3
        1.5     < PA 1401 1 60
                > A 1 1461 w=60
                recv() -> 1460
                > A 1 1461 w=1400
    """)


def test_before_6_17_the_end_of_a_segment_did_not_matter():
    Conversation(receive_buffer=4608, linux="6.12").play("""
        1       < PA 1 1 1400
                > A 1 1401 w=60
        1.1     < PA 1401 1 61
                > A 1 1462 w=60
                counted TcpExtBeyondWindow 0
                recv() -> 1461
                > A 1 1462 w=1400
    """)


def test_payload_straddling_a_fin_is_an_abort():
    """Measured on 6.18: nobody has a byte after its FIN."""
    Conversation().play("""
        1       < PA 1 1 10
                > A 1 11
        1.1     < FA 11 1
        1.14    > A 1 12
                = CLOSE_WAIT
        1.2     < FA 11 1               # the FIN again is only acknowledged
                > A 1 12
        1.3     < PA 12 1 10            # so is not what lies wholly behind it: it is thrown away
        1.4     < PA 6 1 10
                > R 1
                = CLOSED
                error EPIPE
    """)


# -- SYN_SENT ------------------------------------------------------------------------------------


def test_syn_sent_and_a_peer_that_lives_in_the_past():
    """A client that reconnects from the same port to a server which still has the old connection."""
    Conversation("opening").play("""
        0       connect()
                > S 0
        0.001   < A 7777 -4000          # the server's challenge
                > R -4000               # ends the old connection there
        0.009   > S 0                   # and two ticks later, not a second: measured on 6.18
        0.010   < SA 0 1
                > A 1 1
                = ESTABLISHED
    """)


@pytest.mark.parametrize("segment", ["S 0", "F 0", "- 0", "A 0 1", "FA 0 1", "PA 0 1 10"])
def test_syn_sent_and_what_means_nothing(segment):
    Conversation("opening").play(f"0 connect()\n > S 0\n 0.5 < {segment}\n = SYN_SENT\n 1 > S 0")


@pytest.mark.parametrize("segment", ["SA 0 0", "SA 0 2", "A 0 9"])
def test_syn_sent_and_an_ack_of_something_else_is_refused(segment):
    ack = segment.split()[-1]
    Conversation("opening").play(
        f"0 connect()\n > S 0\n 0.5 < {segment}\n > R {ack}\n = SYN_SENT\n 0.508 > S 0"
    )


def test_the_handshake_acknowledges_at_once_and_again_when_the_ack_was_lost():
    Conversation().play("0.5 < SA 0 1\n > A 1 1\n = ESTABLISHED")


def dies(machine):
    """When a machine whose peer never answers gives up, how many probes it has sent, and its last word."""
    said = [each for _, each in machine.sends_until()]
    probes = [each for each in said if (each["flags"], each["seq"]) == ("A", 0)]
    return machine.now / 1e9, len(probes), said[-1]["flags"], machine.socket.error


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("linux", LISTED)
def test_silence(role, linux):
    Conversation(role, linux=linux, keepalive=(2, 1, 3)).play("""
                timer keepalive
        2       > A 0 1                 # one before what was last acknowledged, no payload
        3       > A 0 1
        4       > A 0 1
                counted TcpExtTCPKeepAlive 3
                = ESTABLISHED
        5       > RA 1 1
                = CLOSED
                recv() -> ETIMEDOUT
    """)


@pytest.mark.parametrize(
    ("idle", "interval", "probes", "user_timeout", "after", "sent"),
    [
        (7200, 75, 9, 0, 7875, 9),
        (15, 5, 3, 0, 30, 3),
        (2, 1, 3, 0, 5, 3),
        (32767, 32767, 127, 0, 32767 * 128, 127),
        (1, 1, 1, 0, 2, 1),
        # TCP_USER_TIMEOUT puts time in the place of the count.
        (2, 1, 9, 3.5, 4, 2),
        (2, 1, 3, 12, 12, 10),
        (2, 1, 3, 0.5, 3, 1),
        (60, 10, 6, 30, 70, 1),
        (7200, 75, 9, 7276, 7350, 2),
    ],
)
def test_time_plus_probes_times_interval(idle, interval, probes, user_timeout, after, sent):
    machine = Conversation(keepalive=(idle, interval, probes), user_timeout=user_timeout)
    assert dies(machine) == (after, sent, "RA", "ETIMEDOUT")


def test_off_is_silence_for_ever():
    machine = Conversation()
    assert machine.stack.next_timer() is None
    assert machine.sends_until(10_000_000) == []


def test_a_living_peer_is_probed_every_idle_time_not_every_interval():
    Conversation(keepalive=(2, 1, 3)).play("""
        2       > A 0 1
        2.001   < A 1 1
        4.001   > A 0 1                 # counted from the answer
        4.002   < A 1 1
        6.002   > A 0 1
        6.003   < A 1 1
        8.002                           # nothing
    """)


def test_an_answer_to_the_last_probe_starts_the_count_again():
    Conversation(keepalive=(2, 1, 3)).play("""
        2       > A 0 1
        3       > A 0 1
        4       > A 0 1
        4.9     < A 1 1
        6.900   > A 0 1                 # the timer looked at 5 s, and waited for what was left
        7.900   > A 0 1
        8.900   > A 0 1
        9.900   > RA 1 1
    """)


def test_receiving_is_a_sign_of_life_sending_is_not():
    Conversation(keepalive=(2, 1, 3)).play("""
        1.5     < PA 1 1 40
                > A 1 41
        3.5     > A 0 41
        4.5     > A 0 41
        5.5     > A 0 41
        6.5     > RA 1 41               # five seconds after the last that came
    """)
    Conversation(keepalive=(2, 1, 3)).play("""
        1.5     send(40)
                > PA 1 1 40
        1.501   < A 1 41                # but its ACK is
        3.501   > A 40 1
    """)


def test_no_probe_while_data_is_unacknowledged():
    machine = Conversation(keepalive=(2, 1, 3)).play("1.5 send(40)\n > PA 1 1 40")
    sent = machine.sends_until(900)
    assert {each["length"] for _, each in sent} == {40}
    assert machine.state == "ESTABLISHED"
    assert machine.sends_until(1000) == []
    assert machine.socket.error == "ETIMEDOUT"
    assert machine.stack.counters.get("TcpExtTCPKeepAlive") is None


def test_no_probe_while_data_waits_for_the_window():
    machine = Conversation(keepalive=(2, 1, 3)).play("""
        1       < A 1 1 w=0
                send(40)
    """)
    machine.sends_until(600)
    assert machine.stack.counters.get("TcpExtTCPKeepAlive") is None
    assert machine.stack.counters["TcpExtTCPWinProbe"] > 5


def test_probing_goes_on_in_close_wait():
    """Whoever got a FIN and never closed stays in CLOSE_WAIT; its probes are answered, then refused."""
    Conversation(keepalive=(15, 5, 3)).play("""
        1       < FA 1 1
        1.004   > A 1 2
                = CLOSE_WAIT
        16      > A 0 2
        16.001  < A 2 1                 # by what is left at the server: FIN_WAIT_2
        31.001  > A 0 2
        31.002  < R 2                   # and then nothing is left
                = CLOSED
                error EPIPE
    """)


def test_a_probe_to_a_rebooted_peer_is_answered_exactly():
    Conversation(keepalive=(2, 1, 3)).play("""
        2       > A 0 1
        2.001   < R 1
                verdict accepted
                error ECONNRESET
    """)


def test_probing_begins_when_the_connection_is_established_not_at_connect():
    Conversation("opening", keepalive=(2, 1, 3)).play("""
        0       connect()
                > S 0
        1       > S 0
        2       > S 0
        2.5     < SA 0 1
                > A 1 1
        4.5     > A 0 1
    """)


def test_the_living_side_answers_a_probe_at_most_twice_a_second():
    Conversation().play("""
        10      < A 0 1
                > A 1 1
        10.2    < A 0 1
        10.5    < A 0 1
                > A 1 1
    """)


@pytest.mark.parametrize(
    ("linux", "answer"), [("6.18.32", ""), ("6.18.33", "> A 1 1"), ("7.0.9", ""), ("7.1", "> A 1 1")]
)
def test_payload_with_an_ack_of_what_was_never_sent(linux, answer):
    """Challenged since 7.1 and in the stable trees that took 42726ec644cb; its payload is never taken."""
    Conversation(linux=linux).play(f"1 < PA 1 500 10\n {answer}\n recv() -> blocks")
