"""The receiving half: when it acknowledges, what it keeps, and how its window opens and closes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.conversation import Conversation, Wire
from tcplab.core.releases import LISTED
from tcplab.model.memory import charge_for

# -- acknowledgements: at once, then with the answer, then late ------------------------------------


def test_at_first_everything_is_acknowledged_at_once():
    machine = Conversation()
    for i in range(16):
        machine.play(f"{1 + i / 100} < PA {1 + 10 * i} 1 10\n > A 1 {11 + 10 * i}")
    machine.play("1.16 < PA 161 1 10\n 1.2 > A 1 171")  # sixteen are the most


def test_a_connection_that_answers_waits_for_its_answer():
    Conversation().play("""
        1       < PA 1 1 40             # a question
                > A 1 41                # the first ACK goes at once
        1.010   send(200)
                > PA 1 41 200
        1.011   < A 41 201
        1.020   < PA 41 201 40          # the next waits 40 ms at most …
        1.050   send(200)
                > PA 201 81 200         # … for an answer to ride on
        1.051   < A 81 401
        1.060   < PA 81 401 40
        1.100   > A 401 121             # no answer in time: on its own
    """)


def test_after_a_missed_answer_acknowledgements_are_quick_again():
    Conversation().play("""
        1       < PA 1 1 40
                > A 1 41
                send(40)
                > PA 1 41 40
        1.001   < A 41 41
        1.002   < PA 41 41 40
        1.042   > A 41 81
        1.05    < PA 81 41 40
                > A 41 121
    """)


@pytest.mark.parametrize(
    ("linux", "answers_until_it_waits"),
    [("5.0", 1), ("5.1", 3), ("5.10.134", 3), ("5.10.135", 1), ("5.18.15", 3), ("5.19", 1), ("6.18", 1)],
)
def test_how_many_answers_make_a_connection_interactive(linux, answers_until_it_waits):
    machine = Conversation(linux=linux)
    for answers in range(6):
        theirs, mine = 1 + 10 * answers, 1 + 10 * answers
        machine.arrives(f"PA {theirs} {mine} 10")
        if not machine.sends_until(machine.now / 1e9):
            break
        machine.play(f"send(10)\n > PA {mine} {theirs + 10} 10\n < A {theirs + 10} {mine + 10}")
    assert answers == answers_until_it_waits


@pytest.mark.parametrize(("linux", "asked", "answers_until_it_waits"), [("6.7", 3, 3), ("6.6", 3, 1)])
def test_the_sysctl_sets_it_where_there_is_one(linux, asked, answers_until_it_waits):
    machine = Conversation(linux=linux, sysctls={"tcp_pingpong_thresh": asked})
    answers = 0
    while True:
        theirs, mine = 1 + 10 * answers, 1 + 10 * answers
        machine.arrives(f"PA {theirs} {mine} 10")
        if not machine.sends_until(machine.now / 1e9):
            break
        machine.play(f"send(10)\n > PA {mine} {theirs + 10} 10\n < A {theirs + 10} {mine + 10}")
        answers += 1
    assert answers == answers_until_it_waits


def test_a_thinking_server_acknowledges_every_question():
    """An answer after 100 ms is no answer to what came just before (tcp_event_data_sent)."""
    machine = Conversation("server")
    for i in range(5):
        at, theirs, mine = 1 + i, 1 + 40 * i, 1 + 200 * i
        machine.play(f"""
            {at}      < PA {theirs} {mine} 40
                      > A {mine} {theirs + 40}
                      recv() -> 40
            {at}.1    send(200)
                      > PA {mine} {theirs + 40} 200
            {at}.101  < A {theirs + 40} {mine + 200}
        """)


@pytest.mark.parametrize(
    ("clamp", "first", "after_200", "later"),
    [(2304, 1460, 1460, 1460), (2919, 1460, 2144, 2144), (2920, 2920, 2720, 2720), (3944, 2920, 2720, 2720),
     (65535, 64240, 64040, 64040), (65536, 64240, 64088, 64088), (200_000, 65535, 198_552, 198_552)],
)  # fmt: skip
def test_a_window_clamp_is_rounded_to_whole_segments(clamp, first, after_200, later):
    """Of the SYN to segments, of what follows to segments or to the scale (measured on 6.18.44)."""
    machine = Conversation("opening", timestamps=True, window_clamp=clamp, receive_buffer=2 * clamp)
    machine.play(f"""
        connect()
                > S 0 w={first}
        0       < SA 0 1
        ...
        1       < PA 1 1 200
                > A 1 201 w={after_200}
                recv() -> 200
        1.1     send(40)
                > PA 1 201 40 w={later}
    """)


def test_a_window_clamp_has_a_least_value():
    """SOCK_MIN_RCVBUF / 2."""
    Conversation("opening", window_clamp=1, receive_buffer=4608).play("connect()\n > S 0 w=1152")


def test_a_fin_is_acknowledged_after_40_ms_or_with_our_own():
    data = "1 < PA 1 1 40\n > A 1 41\n recv()\n"
    Conversation().play(data + "1.1 < FA 41 1\n 1.140 > A 1 42")
    Conversation().play(
        data + "1.1 < FA 41 1\n 1.120 close()\n > FA 1 42\n = LAST_ACK\n 1.121 < A 42 2\n = CLOSED"
    )


def test_a_fin_before_any_data_is_acknowledged_with_the_next_tick():
    """There is no delay yet that it could have learnt (measured: 2 to 8 ms)."""
    Conversation().play("1 < FA 1 1\n 1.004 > A 1 2")
    Conversation().play("1 < FA 1 1\n 1.002 close()\n > FA 1 2\n = LAST_ACK\n 1.003 < A 2 2\n = CLOSED")


def test_more_than_a_segment_is_acknowledged_at_once_while_the_window_moves_on():
    """Every second full segment, even where the connection is interactive; unread ones can wait."""
    Conversation(receive_buffer=65536).play("""
        1       < PA 1 1 40
                > A 1 41
                recv() -> 40
                send(40)
                > PA 1 41 40
        1.001   < A 41 41 1460
                recv() -> 1460
        1.002   < A 1501 41 1460
                > A 41 2961
                recv() -> 1460
        1.003   < A 2961 41 1460
        1.004   < A 4421 41 1460
                > A 41 5881             # the window grows still: it has moved on
        1.005   < A 5881 41 1460
        1.006   < A 7341 41 1460        # now it would not move on: the ACK would say little
        1.045   > A 41 8801
    """)


def test_reading_may_acknowledge():
    """recv() empties the buffer: an ACK that waits goes now, unless it may ride on an answer."""
    Conversation().play("""
        1       < PA 1 1 40
                > A 1 41
                send(40)
                > PA 1 41 40
        1.001   < A 41 41
        1.002   < PA 41 41 40
        1.003   < PA 81 41 40
                recv() -> 120           # two small ones were waiting
                > A 41 121
    """)


def test_a_delayed_ack_that_is_about_to_go_goes():
    Conversation().play("""
        1       < PA 1 1 40
                > A 1 41
                send(40)
                > PA 1 41 40
        1.001   < A 41 41
        1.002   < PA 41 41 40
        1.030   < PA 81 41 40
        1.031   < A 121 41
        1.035   < PA 121 41 40          # the timer would fire in 7 ms, less than a quarter of 40
                > A 41 161
    """)


# -- out of order ----------------------------------------------------------------------------------


def test_a_hole_is_reported_at_once_and_filled():
    Conversation().play("""
        1       < PA 101 1 100
                > A 1 1 sack=101:201
                recv() -> blocks
        1.1     < PA 301 1 100
                > A 1 1 sack=301:401,101:201    # the newest first
        1.2     < PA 201 1 100          # joins them
                > A 1 1 sack=101:401
        1.3     < PA 1 1 100
                > A 1 401 sack=
                recv() -> 400
    """)


def test_without_sack_only_the_number_repeats():
    Conversation(sack=False).play("1 < PA 101 1 100\n > A 1 1 sack=\n 1.1 < PA 1 1 100\n > A 1 201")


def test_a_fin_before_its_data():
    Conversation().play("""
        1       < FA 101 1
                > A 1 1 sack=101:102
                = ESTABLISHED
        1.1     < PA 1 1 100            # the hole is filled: at once
                > A 1 102
                = CLOSE_WAIT
                recv() -> 100
                recv() -> 0
    """)


def test_a_fin_with_payload_out_of_order():
    Conversation().play("""
        1       < FPA 51 1 50
                > A 1 1 sack=51:102
        1.1     < PA 1 1 50
                > A 1 102
                = CLOSE_WAIT
                recv() -> 100
                recv() -> 0
    """)


def test_payload_in_the_place_of_a_fin_wins():
    """No honest peer does this; Linux takes the bytes (tcp_ofo_queue)."""
    Conversation().play("""
        1       < FA 51 1
                > A 1 1
        1.1     < PA 1 1 100
                > A 1 101
                = ESTABLISHED
        1.2     < PA 101 1 10
                > A 1 111
                recv() -> 110
    """)


@given(st.permutations(range(8)), st.lists(st.integers(0, 7), max_size=6), st.booleans())
def test_any_order_and_any_repetition_gives_the_same_bytes(order, again, fin):
    machine = Conversation()
    for i in [*order, *again]:
        flags = "FPA" if fin and i == 7 else "PA"
        machine.sends_until(machine.now / 1e9 + 0.001)
        machine.arrives(f"{flags} {1 + 100 * i} 1 100")
    machine.left.clear()
    machine.call("recv() -> 800")
    assert machine.socket.receiver.memory.ahead == []
    assert machine.state == ("CLOSE_WAIT" if fin else "ESTABLISHED")
    machine.call("recv() -> 0" if fin else "recv() -> blocks")


# -- the window ------------------------------------------------------------------------------------


@pytest.mark.parametrize("linux", LISTED)
def test_a_system_buffer_offers_44_segments(linux):
    machine = Conversation("opening", linux=linux).play("0 connect()\n > S 0 w=64240")
    shift = machine.socket.receiver.scale
    assert shift == (10 if linux == "6.18" else 7)  # tcp_rmem went from 6 to 32 MB with 6.16


def test_the_window_closes_stays_closed_and_opens_when_it_is_worth_it():
    """Measured on 6.18: a full segment is charged 2304 bytes of memory, and three fill 9000."""
    Conversation("server", receive_buffer=9000).play("""
        1       < PA 1 1 1460
                > A 1 1461 w=2920
        1.001   < PA 1461 1 1460
        1.002   < PA 2921 1 1460
        1.003   < PA 4381 1 1460        # nothing is left, and nothing was promised
                > A 1 4381 w=0
                counted TcpExtTCPToZeroWindowAdv 1
        2       recv(500) -> 500        # silly window avoidance: not worth a word
        3       recv(500) -> 500
        4       recv(500) -> 500        # the first segment's memory is free: now it is
                > A 1 4381 w=1460
                counted TcpExtTCPFromZeroWindowAdv 1
        5       recv(2000) -> 2000
                > A 1 4381 w=2920       # twice what the peer knows
        6       recv(2000) -> 880       # less than twice: nothing
    """)


def test_a_closed_window_answers_probes_twice_a_second():
    Conversation("server", receive_buffer=9000).play("""
        1       < PA 1 1 1460
                > A 1 1461 w=2920
                < PA 1461 1 1460
                < PA 2921 1 1460
        1.040   > A 1 4381 w=0
        1.2     < A 4380 1
                > A 1 4381 w=0
        1.6     < A 4380 1              # 400 ms later: no answer
        1.7     < A 4380 1
                > A 1 4381 w=0
                recv() -> 4380
                > A 1 4381 w=4380
        2.5     < A 4380 1
                > A 1 4381 w=4380
    """)


@pytest.mark.parametrize(("linux", "taken"), [("6.9", False), ("6.10", True)])
def test_a_bare_fin_needs_no_room_since_6_10(linux, taken):
    machine = Conversation("server", receive_buffer=9000, linux=linux).play(
        """
        1       < PA 1 1 1460
                ...
        2       < PA 1461 1 1460
                ...
                < PA 2921 1 1460
        3       ...
                < FA 4381 1
    """
        + ("" if taken else "> A 1 4381 w=0")
    )
    assert machine.state == ("CLOSE_WAIT" if taken else "ESTABLISHED")
    machine.left.clear()
    machine.sends_until(3)


def test_payload_into_a_closed_window_is_thrown_away():
    Conversation("server", receive_buffer=9000).play("""
        1       < PA 1 1 1460
                > A 1 1461 w=2920
                < PA 1461 1 1460
                < PA 2921 1 1460
        1.040   > A 1 4381 w=0
        1.1     < PA 4381 1 1
                > A 1 4381 w=0
                recv() -> 4380
                > A 1 4381 w=4380
    """)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("arrives"), st.integers(1, 3000)),
            st.tuples(st.just("ahead"), st.integers(1, 3000)),
            st.tuples(st.just("reads"), st.integers(1, 5000)),
            st.tuples(st.just("waits"), st.integers(1, 300)),
        ),
        max_size=40,
    ),
    st.sampled_from([0, 4608, 9000, 65536, 200_000]),
)
def test_the_right_edge_never_goes_back(steps, buffer):
    """A window that was promised is never taken back (RFC 9293 section 3.8.6)."""
    machine = Conversation("server", receive_buffer=buffer)
    receiver = machine.socket.receiver
    sent, read, edge = 0, 0, None
    for what, n in steps:
        if what == "reads":
            read += machine.call(f"recv({n})") or 0
        elif what == "waits":
            machine.passes(n / 1000)
        else:
            n = min(n, receiver.window_left)
            ahead = 5 if what == "ahead" else 0
            if n > ahead:
                at = 1 + sent + ahead
                machine.arrives(f"PA {at} 1 {n - ahead}")
                if not ahead:
                    sent = (receiver.nxt - machine.bases[1] - 1) % 2**32
        for _, segment in machine.left:
            said = machine.read(segment)
            right = said["ack"] + said["window"]
            assert edge is None or right >= edge
            edge = right
        machine.left.clear()
        assert receiver.buffered == sent - read >= 0


def test_old_payload_makes_an_interactive_connection_quick_again():
    """The peer repeats itself: it may have missed an ACK (tcp_send_dupack)."""
    Conversation().play("""
        1       < PA 1 1 40
                > A 1 41
                send(40)
                > PA 1 41 40
        1.001   < A 41 41
        1.1     < PA 1 41 40            # again
                > A 41 41
        1.2     < PA 41 41 40           # would have waited
                > A 41 81
    """)


def test_without_scaling_no_window_is_larger_than_its_field():
    machine = Conversation("server", receive_buffer=600_000, sysctls={"tcp_window_scaling": 0})
    machine.play("1 < PA 1 1 40\n > A 1 41 w=64240\n recv() -> 40")
    assert machine.socket.receiver.window_left <= 65535
    assert Conversation("server", receive_buffer=600_000).play("1 < PA 1 1 9\n ...").socket.receiver.scale > 0


# -- what comes twice, and what comes from the past --------------------------------------------------


def test_what_comes_twice_is_told_once_and_first():
    """RFC 2883; measured on 6.18."""
    Conversation().play("""
        1       < PA 1 1 100
                > A 1 101 sack=
        1.1     < PA 1 1 100            # all of it again
                > A 1 101 sack=1:101
        1.2     < PA 51 1 100           # half of it
                > A 1 151 sack=51:101
        1.3     < PA 201 1 100
                > A 1 151 sack=201:301
        1.4     < PA 221 1 20           # inside what is held
                > A 1 151 sack=221:241,201:301
        1.5     < PA 251 1 100
                > A 1 151 sack=251:301,201:351
        1.6     < PA 151 1 100
                > A 1 351 sack=201:251
                counted TcpExtTCPDSACKOldSent 3
                counted TcpExtTCPDSACKOfoSent 2
    """)


def test_what_comes_twice_with_a_fin_is_not_told():
    """tcp_fin forgets it (tcp_sack_reset); measured on 6.18."""
    Conversation().play("""
        1       < PA 1 1 100
                > A 1 101 sack=
        1.1     < FA 1 1 100
        1.14    > A 1 102 sack=
    """)


@pytest.mark.parametrize(
    ("timestamps", "told"), [(False, "51:56,41:46,31:36,21:26"), (True, "51:56,41:46,31:36")]
)
def test_the_newest_blocks_are_told_as_far_as_there_is_room(timestamps, told):
    machine = Conversation(timestamps=timestamps)
    for left in (11, 21, 31, 41):
        machine.play(f"{left / 10} < PA {left} 1 5\n ...")
    machine.play(f"""
        5       < PA 51 1 5
                > A 1 1 sack={told}
                send(3000)              # segments are shorter by what SACK takes
                ...
    """)
    assert machine.socket.sender.flight[0].length == machine.socket.sender.mss - (28 if timestamps else 36)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("PA 11 1 10 ts=1990", "> A 1 11 echo=2000"),  # old payload: not taken
        ("PA 11 1 10 ts=1999", "> A 1 21 echo=2000"),  # one tick may be disorder
        ("PA 11 1 10 ts=2001", "> A 1 21 echo=2001"),
        ("FA 11 1 ts=1000", "> A 1 11"),
        ("S 11 ts=1000", "> A 1 11\n counted TcpExtTCPChallengeACK 1"),
        ("A 11 1 ts=1900", ""),  # a pure ACK in the replay window
        ("A 11 1 ts=1000", "> A 1 11"),
        ("A 11 1 w=300000 ts=1900", "> A 1 11"),  # one that would change the window
        ("R 11 ts=1000", "= CLOSED"),  # a RST has no time
    ],
)
def test_a_segment_from_the_past_is_answered_and_thrown_away(text, answer):
    """PAWS, RFC 7323 section 5; measured on 6.18."""
    Conversation(timestamps=True).play(f"""
        1       < PA 1 1 10 ts=2000
                > A 1 11 echo=2000
                < A 11 1 ts=2000
        1.1     < {text}
                {answer}
    """)


@pytest.mark.parametrize(("linux", "answer"), [("6.13", "> A 1 11"), ("6.14", "counted TcpExtPAWSOldAck 1")])
def test_an_old_ack_with_an_old_timestamp_draws_nothing_since_6_14(linux, answer):
    Conversation(timestamps=True, linux=linux).play(
        f"1 < PA 1 1 10 ts=2000\n ...\n 2 < A 10 1 ts=1000\n {answer}"
    )


def test_the_last_timestamp_does_not_count_for_ever():
    """Until 6.6 24 days, then 2147 s."""
    machine = Conversation(timestamps=True, linux="6.18").play("1 < PA 1 1 10 ts=2000\n ...")
    machine.play("2140 < PA 11 1 10 ts=1000\n > A 1 11\n 2150 < PA 11 1 10 ts=1000\n > A 1 21")


# -- what segments are charged ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "options", "charge"),
    [
        (1, 0, 832),
        (128, 12, 832),
        (200, 0, 1280),
        (600, 12, 1280),
        (640, 0, 2304),
        (1448, 12, 2304),
        (1460, 0, 2304),
    ],
)
def test_the_memory_of_a_segment(length, options, charge):
    """SO_MEMINFO's rmem_alloc with one segment unread, on 6.18.44 through a veth pair."""
    assert charge_for(length, options)[0] == charge


@pytest.mark.parametrize(
    ("buffer", "reads"), [(4608, [1000, 460, 730, 730]), (16384, [1000, 1000, 1000, 1000])]
)
def test_what_a_small_buffer_gives_to_read(buffer, reads):
    """As slow_reader gave it on 6.18: a window of one segment, then of as much as is free."""
    wire = Wire(receive_buffer=buffer)
    wire.passes(0.1)
    wire.call("server", "send", 20_000)
    got = []
    for _ in reads:
        wire.passes(0.3)
        got.append(wire.call("client", "receive", 1000))
    assert got == reads
