"""Keepalive: when an idle connection is probed, and when it is given up (linux-tcp.md, section 6)."""

import pytest

from model.conversation import Conversation
from tcplab.core.releases import LISTED


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
        1.04    > A 1 2
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
