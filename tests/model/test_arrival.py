"""What a segment does that isn't simply the next one (linux-tcp.md, sections 1 and 8)."""

import pytest

from model.conversation import Conversation

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
    Conversation(linux="6.12").play("1 < FA 1 1\n 1.04 > A 1 2\n 2 < A 2 5\n > A 1 2")


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
    machine = Conversation(receive_buffer=9000)  # a window of 6000
    machine.play("""
        1       < A 1 1
                < PA 1 1 6500
                > A 1 6501 w=0
                recv() -> 6500
                > A 1 6501 w=6000
        2       < PA 6501 1 1000
                > A 1 7501 w=5000
        2.1     < PA 7501 1 5001        # one too many
                > A 1 7501 w=5000
        2.2     < PA 12501 1 10         # at the right edge
                > A 1 7501
        2.3     < PA 12502 1 10
                > A 1 7501
        2.4     < A 12502 1             # beyond it, without payload: answered
                > A 1 7501
        3       < A 12501 1             # at the edge: inside, nothing to say
                recv() -> 1000
    """)


def test_before_6_17_the_end_of_a_segment_did_not_matter():
    Conversation(receive_buffer=9000, linux="6.12").play("""
        1       < PA 1 1 1000
                > A 1 1001 w=5000
        2       < PA 1001 1 5001
                > A 1 6002 w=0
                recv() -> 6001
                > A 1 6002 w=6000
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
