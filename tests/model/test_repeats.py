"""What is sent again, when, and what goes along: tail loss probes, collapsing, timeouts, a window taken back.

Every transcript was played to Linux 6.18 through a TUN device. Its timers fire up to a sixteenth later than
these; what they send is the same.
"""

import pytest

from model.conversation import Conversation

# -- the round trip behind the timeout --------------------------------------------------------------


def test_after_a_retransmission_the_echoed_timestamp_tells_the_round_trip():
    """tcp_ack_update_rtt: 1.55 - 1.408 by the last copy, were it not for TSecr."""
    Conversation(timestamps=True).play("""
        1       send(100)
                > PA 1 1 100
        1.204   > PA 1 1 100
        1.408   > PA 1 1 100
        1.55    < A 1 101               # of the last copy: 142 ms
                send(100)
                > PA 101 1 100
        1.770   > PA 101 1 100          # a mean of 19 ms: the timeout, before twice that and 200 ms
    """)


def test_an_echo_of_the_first_copy_makes_a_long_timeout():
    """The answer was on its way for 550 ms: the sample is that, not the time since the last copy."""
    machine = Conversation(sack=False, timestamps=True).play("""
        1       send(100)
                > PA 1 1 100
        1.204   > PA 1 1 100
    """)
    first = 1000 + machine.stack._clock_offset
    machine.play(f"""
        1.55    < A 1 101 ecr={first}
                send(100)
                > PA 101 1 100
        2.174   > PA 101 1 100          # a mean of 69 ms with a deviation of 137
    """)


def test_without_timestamps_a_repeated_segment_tells_nothing():
    """Karn: the doubled timeout stays, and the next window probe waits for it too."""
    Conversation().play("""
        1       < A 1 1 w=0
                send(50)
                < A 1 1 w=20
        1.204   > PA 1 1 20
        1.408   > PA 1 1 20
        1.8     < A 1 21 w=20
        2.208   > PA 21 1 20
        2.616   > PA 21 1 20
        3.432   > PA 21 1 20
    """)


def test_a_piece_that_arrives_out_of_order_tells_the_round_trip_too():
    machine = Conversation().play("""
        1       send(100)
                > PA 1 1 100
                send(100)
                > PA 101 1 100
        1.003   < A 1 1 sack=101:201
    """)
    assert machine.socket.sender.rtt.smoothed == 1_250_000


@pytest.mark.parametrize(
    ("timestamps", "again"), [(False, ("2.2", "5.2", "11.2")), (True, ("1.5", "1.8", "2.4"))]
)
def test_three_seconds_when_the_handshake_measured_nothing(timestamps, again):
    """RFC 6298 section 5.7 (tcp_init_metrics); a timestamp measures even after a repeated SYN."""
    lines = "\n".join(f"{moment} > PA 1 1 100" for moment in again)
    Conversation("opening", timestamps=timestamps).play(f"""
        0       connect()
                > S 0
        1.000   > S 0
        1.1     < SA 0 1
                > A 1 1
        1.2     send(100)
                > PA 1 1 100
        {lines}
    """)


def test_three_seconds_for_a_server_whose_syn_ack_was_repeated():
    Conversation("listening").play("""
        0       listen()
                < S 0
                > SA 0 1
        1.000   > SA 0 1
        1.1     < A 1 1
                accept()
                send(100)
                > PA 1 1 100
        2.100   > PA 1 1 100
        5.100   > PA 1 1 100
    """)


@pytest.mark.parametrize(("linux", "burst"), [("5.1", 1), ("5.2", 10), ("6.18", 10)])
def test_syns_repeated_for_nothing_cost_no_window_since_5_2(linux, burst):
    """The SYN-ACK echoes the first of three SYNs (tcp_try_undo_spurious_syn)."""
    machine = Conversation("opening", timestamps=True, linux=linux)
    machine.call("connect()")
    first = machine.clock
    machine.sends_until(3.5)
    machine.arrives(f"SA 0 1 ecr={first}")
    machine.sends_until(3.5)
    machine.call("send(20000)")
    assert len(machine.sends_until(3.5)) == burst


# -- tail loss probes -------------------------------------------------------------------------------


def test_one_tail_loss_probe_until_its_end_is_acknowledged():
    """tlp_high_seq: an ACK of less doesn't allow the next one."""
    Conversation().play("""
        1       send(100)
                > PA 1 1 100
                send(100)
                > PA 101 1 100
        1.004   > PA 101 1 100
        1.06    < A 1 101
        1.276   > PA 101 1 100          # the timer fires for a probe, which isn't sent again: the timeout
        1.700   > PA 101 1 100
        2.548   > PA 101 1 100
                counted TcpExtTCPLossProbes 1
    """)


def test_the_mere_acknowledgement_of_a_probe_doesnt_settle_it():
    """Was the first copy lost, or the probe needless? Only a duplicate ACK or one of more tells."""
    Conversation().play("""
        1       send(100)
                > PA 1 1 100
        1.204   > PA 1 1 100
                counted TcpExtTCPLossProbes 1
        1.3     < A 1 101
        1.4     send(100)
                > PA 101 1 100
        1.608   > PA 101 1 100          # by the timeout
                counted TcpExtTCPLossProbes 1
        2       < A 1 201
        2.1     send(100)
                > PA 201 1 100
        2.304   > PA 201 1 100
                counted TcpExtTCPLossProbes 2
        2.5     < A 1 301
                < A 1 301               # both copies have come
        2.6     send(100)
                > PA 301 1 100
        2.804   > PA 301 1 100
                counted TcpExtTCPLossProbes 3
    """)


def test_a_tail_loss_probe_is_new_data_when_the_window_allows_some():
    """Beyond the congestion window (tcp_send_loss_probe)."""
    machine = Conversation(mss=500).play("0 < A 1 1")
    machine.now = 1_000_000_000
    machine.call("send(6000)")
    assert [said["length"] for _, said in machine.sends_until(1.003)] == [500] * 10
    machine.play("""
        1.004   > A 5001 1 500
                counted TcpExtTCPLossProbes 1
                counted TcpRetransSegs 0
        1.208   > A 1 1 500
        1.616   > A 1 1 500
    """)


def test_no_probe_beyond_the_window():
    Conversation(window=1000, mss=500).play("""
        1       send(2000)
                > A 1 1 500
                > A 501 1 500
        1.004   > A 501 1 500
                counted TcpExtTCPLossProbes 1
                counted TcpRetransSegs 1
        1.208   > A 1 1 500
    """)


def test_data_of_a_window_probe_has_no_tail_loss_probe():
    """tcp_write_wakeup arms the timeout: a window of 512 bytes, which nothing acknowledges."""
    Conversation().play("""
        1       < A 1 1 w=0
                send(1000)
        1.1     < A 1 1 w=512
        1.304   > PA 1 1 512
        1.508   > PA 1 1 512
        1.916   > PA 1 1 512
        2.732   > PA 1 1 512
                counted TcpExtTCPLossProbes 0
    """)


def test_no_tail_loss_probe_while_something_is_out_of_order():
    """TCP_CA_Disorder (tcp_schedule_loss_probe)."""
    Conversation().play("""
        1       send(100)
                > PA 1 1 100
                send(100)
                > PA 101 1 100
        1.001   < A 1 1 sack=101:201
        1.002   send(100)
                > PA 201 1 100
        1.005   > PA 1 1 100            # overtaken
        1.209   > PA 1 1 100
                counted TcpExtTCPLossProbes 0
    """)


def test_an_acknowledgement_within_a_segment_leaves_the_timer():
    Conversation().play("""
        1       send(100)
                > PA 1 1 100
        1.001   < A 1 41
        1.204   > PA 41 1 60
        1.206   < A 1 101
                timer none
    """)


# -- collapsing -------------------------------------------------------------------------------------


def test_small_writes_and_the_fin_are_repeated_as_one():
    """tcp_retrans_try_collapse; a part of it may be acknowledged afterwards."""
    Conversation().play("""
        1       send(100)
                > PA 1 1 100
        1.001   send(50)
                > PA 101 1 50
        1.005   > PA 101 1 50
        1.05    send(30)
                > PA 151 1 30
        1.06    close()
                > FA 181 1
        1.204   > FPA 1 1 180
        1.612   > FPA 1 1 180
        2.428   > FPA 1 1 180
        3       < A 1 152
        4.060   > FPA 152 1 29
        4.1     < A 1 182
                = FIN_WAIT_2
    """)


def test_collapsing_ends_at_a_full_segment():
    Conversation(sack=False, mss=200, window=600).play("""
        1       send(100)
                > PA 1 1 100
                send(50)
                > PA 101 1 50
                send(60)
                > PA 151 1 60
                send(70)
                > PA 211 1 70
        1.204   > PA 1 1 150
        1.612   > PA 1 1 150
        2       < A 1 151
                > PA 151 1 130
        2.816   > PA 151 1 130
        3       < A 1 211
        4.448   > PA 211 1 70
    """)


def test_what_has_arrived_is_not_collapsed():
    Conversation().play("""
        1       send(100)
                > PA 1 1 100
                send(100)
                > PA 101 1 100
                send(100)
                > PA 201 1 100
        1.001   < A 1 1 sack=201:301
        1.005   > PA 1 1 200
    """)


# -- a window taken back ------------------------------------------------------------------------------


def test_a_closed_window_outlives_tcp_retries2():
    """tcp_retries2 = 3 would be over 3.0 s after the first repeat; a closed window is no loss."""
    machine = Conversation(sysctls={"tcp_retries2": 3}).play("""
        1       send(100)
                > PA 1 1 100
        1.1     send(100)
                > PA 101 1 100
        1.104   > PA 101 1 100
        1.2     < A 1 1 w=0
        1.308   > PA 1 1 100            # alone: the other one is beyond the window
        1.716   > PA 1 1 100
                < A 1 1 w=0
        2.532   > PA 1 1 100
        4.164   > PA 1 1 100
        7.428   > PA 1 1 100
        13.956  > PA 1 1 100
                = ESTABLISHED
                counted TcpExtTCPTimeouts 0
        14      < A 1 101 w=1000
                > PA 101 1 100
        14.001  < A 1 201 w=1000
                timer none
    """)
    assert machine.socket.error is None


@pytest.mark.parametrize(
    ("linux", "gone"),
    [("6.5", 209.9), ("6.6", 329.9), ("6.18", 329.9)],
)
def test_silence_behind_a_closed_window_ends_it(linux, gone):
    """Up to 6.5 two minutes of silence are enough, since 6.6 it is four (tcp_rtx_probe0_timed_out)."""
    machine = Conversation(linux=linux).play("1 send(100)\n > PA 1 1 100\n 1.1 < A 1 1 w=0")
    machine.sends_until()
    assert (round(machine.now / 1e9, 1), machine.socket.error) == (gone, "ETIMEDOUT")


def test_an_answer_keeps_it_alive_for_as_long_as_it_answers():
    machine = Conversation().play("1 send(100)\n > PA 1 1 100\n 1.1 < A 1 1 w=0")
    moment = 1.1
    while moment < 3000:
        moment = machine.stack.next_timer() / 1e9
        machine.play(f"{moment} ...\n {moment + 0.001} < A 1 1 w=0")
    assert machine.state == "ESTABLISHED"


def test_a_user_timeout_ends_it_since_6_10():
    """Linux 6.18: ETIMEDOUT at 4.4 s, three seconds after the first repeat (97a9063518f1)."""
    Conversation(user_timeout=3).play("""
        1       send(100)
                > PA 1 1 100
        1.1     < A 1 1 w=0
        1.204   > PA 1 1 100
        1.408   > PA 1 1 100
        1.5     < A 1 1 w=0
        1.816   > PA 1 1 100
        2.632   > PA 1 1 100
        4.264   > PA 1 1 100
        4.408   = CLOSED
                error ETIMEDOUT
    """)


def test_a_window_taken_back_in_part_cuts_what_is_repeated():
    Conversation(window=3000, sysctls={"tcp_retries2": 3}).play("""
        1       send(100)
                > PA 1 1 100
                send(100)
                > PA 101 1 100
        1.004   > PA 101 1 100
        1.1     < A 1 1 w=150
        1.208   > PA 1 1 100
        1.5     < A 1 151 w=20
                > A 151 1 20
        1.908   > A 151 1 20
        2.724   > A 151 1 20
        4.1     < A 1 171 w=0
                > PA 171 1 30
        5.732   > PA 171 1 30
        8.996   > PA 171 1 30
    """)
