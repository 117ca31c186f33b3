"""The sending half: pieces, acknowledgements, the timer, and the round trip behind its timeout."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.conversation import Conversation
from tcplab.core.releases import NEWEST
from tcplab.model.roundtrip import RoundTrip, retries_as_time


def lengths(machine, seconds=0):
    """Lengths of what leaves, within a while."""
    return [each["length"] for _, each in machine.sends_until(machine.now / 1e9 + seconds)]


# -- pieces, and how many -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timestamps", "peer_mss", "piece"),
    [(False, 1460, 1460), (True, 1460, 1448), (False, 1000, 1000), (True, 9000, 1448)],
)
def test_segments_are_as_large_as_both_allow(timestamps, peer_mss, piece):
    machine = Conversation(timestamps=timestamps, mss=peer_mss)
    machine.call("send(5000)")
    assert lengths(machine) == [piece] * (5000 // piece) + [5000 % piece] * (5000 % piece > 0)


def test_only_the_end_of_a_write_carries_psh():
    Conversation().play("1 send(3000)\n > A 1 1 1460\n > A 1461 1 1460\n > PA 2921 1 80")


def test_small_writes_go_at_once():
    """Every socket has TCP_NODELAY."""
    Conversation().play("1 send(1)\n > PA 1 1 1\n send(1)\n > PA 2 1 1\n send(1)\n > PA 3 1 1")


def test_the_first_burst_has_ten_segments_and_each_that_is_acknowledged_allows_two():
    machine = Conversation("server", window=1_000_000)
    machine.call("send(100000)")
    assert lengths(machine) == [1460] * 10
    machine.arrives(f"A 1 {1 + 1460}")
    assert lengths(machine) == [1460] * 2
    machine.arrives(f"A 1 {1 + 10 * 1460}")
    assert len(lengths(machine)) == 18


@pytest.mark.parametrize(("lost_syns", "burst"), [(0, 10), (1, 10), (2, 1), (4, 1)])
def test_after_more_than_one_lost_syn_with_one(lost_syns, burst):
    """tcp_init_transfer."""
    machine = Conversation("opening")
    machine.call("connect()")
    assert len(machine.sends_until(lost_syns + 0.5)) == 1 + lost_syns
    machine.play(f"{lost_syns + 0.6:.1f} < SA 0 1\n > A 1 1")
    machine.call("send(20000)")
    assert len(lengths(machine)) == burst


# -- the peer's window -----------------------------------------------------------------------------


def test_a_burst_ends_with_what_is_left_of_the_window():
    Conversation(window=4000).play("""
        1       send(10000)
                > A 1 1 1460
                > A 1461 1 1460
                > A 2921 1 1080
        1.001   < A 1 4001 w=1000       # less than a segment: nothing begins with a piece
                timer persist
        1.205   > PA 4001 1 1000        # until the probe is due
    """)


def test_old_segments_dont_change_the_window():
    Conversation(window=1000).play("""
        1       send(1000)
                > A 1 1 500             # half of the window at most
                > PA 501 1 500
        1.001   < A 1 1001 w=2000
                send(2000)
                > A 1001 1 1000
                > PA 2001 1 1000
        1.002   < A 0 1001 w=0          # a probe's number is old: answered, not believed
                > A 3001 1
                < A 1 501 w=0           # an older acknowledgement
                < A 1 3001 w=100
                send(100)
                > PA 3001 1 100
    """)


def test_an_update_without_new_acknowledgement_counts():
    Conversation(window=1000).play("""
        1       send(1500)
                > A 1 1 500
                > A 501 1 500
        1.002   < A 1 1001 w=400
        1.003   < A 1 1001 w=500
                > PA 1001 1 500
    """)


# -- losses ----------------------------------------------------------------------------------------


def test_a_hole_is_repeated_without_waiting_for_the_timer():
    """RACK: a later segment was acknowledged, the earlier one gets a moment (tcp_rack_detect_loss)."""
    Conversation().play("""
        1       send(3000)
                > A 1 1 1460
                > A 1461 1 1460
                > PA 2921 1 80
        1.001   < A 1 1 sack=1461:3001
        1.005   > A 1 1 1460
        1.006   < A 1 3001
                timer none
    """)


@pytest.mark.parametrize(
    ("linux", "probe", "repeat"),
    [("6.5.8", 1.012, 1.013), ("6.5.9", 1.004, 1.005), ("6.1.59", 1.012, 1.013), ("6.18", 1.004, 1.005)],
)
def test_timers_for_losses_allow_two_milliseconds_or_two_ticks(linux, probe, repeat):
    """1c2709cfff1d: on top of two round trips (tail loss probe), of a quarter of one (reordering)."""
    both = "1 send(100)\n > PA 1 1 100\n send(100)\n > PA 101 1 100\n"
    Conversation(linux=linux).play(f"{both} {probe} > PA 101 1 100")
    Conversation(linux=linux).play(f"{both} 1.001 < A 1 1 sack=101:201\n {repeat} > PA 1 1 100")


def test_what_was_sent_much_earlier_than_what_has_arrived_is_lost():
    """RACK counts from the sending: by a round trip and a quarter of the shortest (tcp_rack_detect_loss)."""
    Conversation().play("""
        1       send(100)
                > PA 1 1 100
        1.001   send(100)
                > PA 101 1 100
        1.002   < A 1 1 sack=101:201
                > PA 1 1 100
    """)


def test_of_two_holes_the_later_one_may_still_be_filled():
    Conversation().play("""
        1       send(1460)
                > PA 1 1 1460
        1.001   send(1460)
                > PA 1461 1 1460
                send(100)
                > PA 2921 1 100
        1.002   < A 1 1 sack=2921:3021
                > PA 1 1 1460           # sent a millisecond before what has arrived
        1.006   > PA 1461 1 1460
    """)


def test_the_shortest_round_trip_counts_not_the_smoothed_one():
    """A quarter of 1 ms, although replies take 40 ms by now: tcp_min_rtt."""
    machine = Conversation()
    for i in range(8):
        machine.play(f"{i + 1} send(100)\n > PA {100 * i + 1} 1 100\n {i + 1.04} < A 1 {100 * i + 101}")
    assert machine.socket.sender.rtt.smoothed > 20_000_000
    machine.play("""
        10      send(100)
                > PA 801 1 100
                send(100)
                > PA 901 1 100
        10.04   < A 1 801 sack=901:1001
        10.044  > PA 801 1 100
    """)


def test_three_that_have_come_are_too_many_for_one_that_was_overtaken():
    """At the third it is repeated at once, and it alone: what was sent later may still come."""
    Conversation().play("""
        1       send(100)
                > PA 1 1 100
                send(100)
                > PA 101 1 100
                send(100)
                > PA 201 1 100
                send(100)
                > PA 301 1 100
                send(100)
                > PA 401 1 100
        1.001   < A 1 1 sack=101:201
                < A 1 1 sack=101:301
                < A 1 1 sack=101:401
                > PA 1 1 100
    """)


def test_a_lost_tail_is_found_by_a_probe():
    Conversation().play("""
        1       send(3000)
                > A 1 1 1460
                > A 1461 1 1460
                > PA 2921 1 80
        1.001   < A 1 1461
        1.005   > PA 2921 1 80          # two are left, so twice the round trip and 2 ms
        1.006   < A 1 1461 sack=2921:3001
                > A 1461 1 1460         # sent 5 ms before the one that has arrived: lost
        1.011   < A 1 3001
                timer none
    """)


def test_one_tail_loss_probe_in_a_row():
    Conversation().play("""
        1       send(100)
                > PA 1 1 100
        1.204   > PA 1 1 100
                counted TcpExtTCPLossProbes 1
        1.408   > PA 1 1 100
        1.816   > PA 1 1 100
                counted TcpExtTCPLossProbes 1
                counted TcpExtTCPTimeouts 2
        1.817   < A 1 101
        2       send(100)
                > PA 101 1 100
        2.204   > PA 101 1 100
                counted TcpExtTCPLossProbes 2
    """)


def test_after_a_timeout_everything_unacknowledged_goes_again_slowly():
    machine = Conversation(sack=False)
    machine.call("send(14600)")
    assert lengths(machine) == [1460] * 10
    assert lengths(machine, 0.204) == [1460]
    machine.arrives("A 1 1461")
    assert lengths(machine) == [1460] * 2
    machine.arrives("A 1 14601")
    assert lengths(machine, 10) == []


def test_a_lost_fin():
    Conversation().play("""
        1       send(100)
                > PA 1 1 100
                close()
                > FA 101 1
        1.001   < A 1 101
        1.205   > FA 101 1
        1.206   < A 1 102
                = FIN_WAIT_2
    """)


def test_a_fin_is_acknowledged_selectively_too():
    Conversation().play("""
        1       send(100)
                > PA 1 1 100
                shutdown()
                > FA 101 1
        1.001   < A 1 1 sack=101:102
        1.005   > PA 1 1 100            # only what is missing
        1.006   < A 1 102
                = FIN_WAIT_2
    """)


def test_counters():
    Conversation().play("""
                counted TcpActiveOpens 1
        1       send(100)
                > PA 1 1 100
        1.204   > PA 1 1 100
        1.408   > PA 1 1 100
                counted TcpRetransSegs 2
    """)


def test_what_ss_would_show():
    machine = Conversation().play("1 send(100)\n > PA 1 1 100")
    state, received, unacknowledged, timer, due, unanswered = machine.socket.summary()
    assert (state, received, unacknowledged, timer, due, unanswered) == (
        "ESTABLISHED", 0, 100, "on", 1_204_000_000, 0,
    )  # fmt: skip
    machine.play("1.204 > PA 1 1 100\n 1.408 > PA 1 1 100")
    assert machine.socket.summary()[3:] == ("on", 1_816_000_000, 1)
    machine.play("1.5 < PA 1 101 30\n > A 101 31")
    assert machine.socket.summary() == ("ESTABLISHED", 30, 0, "", None, 0)


#: A round trip of 1 ms and the floor of 200 ms, rounded up to ticks of 4 ms.
RTO = 0.204


def silence(**more):
    """Send 40 bytes at 0 to a peer that never answers: when each copy left, when and how it ended."""
    machine = Conversation(**more)
    machine.call("send(40)")
    sent = machine.sends_until()
    assert {each["length"] for _, each in sent} == {40}, "no RST, nothing else"
    return [t for t, _ in sent], machine.now / 1e9, machine.socket.error


# -- tcp_retries2 ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retries2", "sack", "transmissions", "after"),
    [
        (3, False, 5, 6.324), (3, True, 6, 6.528),
        (5, False, 6, 12.852), (5, True, 7, 13.056),
        (8, False, 9, 104.244), (8, True, 10, 104.448),
        (15, False, 16, 928.692), (15, True, 17, 928.896),
    ],
)  # fmt: skip
def test_retries2_is_a_time(retries2, sack, transmissions, after):
    sent, ended, error = silence(sack=sack, sysctls={"tcp_retries2": retries2})
    assert (len(sent), ended, error) == (transmissions, after, "ETIMEDOUT")


def test_the_waits_double_from_the_first_retransmission():
    sent, *_ = silence(sack=False, sysctls={"tcp_retries2": 5})
    assert sent == [0, 0.204, 0.612, 1.428, 3.06, 6.324]


def test_a_tail_loss_probe_repeats_first_so_the_first_two_waits_are_equal():
    sent, *_ = silence(sysctls={"tcp_retries2": 5})
    assert sent == [0, 0.204, 0.408, 0.816, 1.632, 3.264, 6.528]


def test_the_waits_end_at_two_minutes():
    sent, *_ = silence()
    waits = [round(after - before, 3) for before, after in pairwise(sent)]
    assert waits[-7:] == [52.224, 104.448, 120, 120, 120, 120, 120]


@pytest.mark.parametrize(
    ("retries", "seconds"), [(3, 3.0), (5, 12.6), (8, 102.2), (9, 204.6), (10, 324.6), (15, 924.6)]
)
def test_what_linux_makes_of_a_number_of_retries(retries, seconds):
    assert retries_as_time(retries) == round(seconds * 1e9)


@pytest.mark.parametrize(("retries", "seconds"), [(1, 3), (2, 7), (6, 127), (7, 247)])
def test_and_of_a_number_of_syns(retries, seconds):
    assert retries_as_time(retries, 1_000_000_000) == seconds * 1e9


def test_a_long_round_trip_has_a_longer_timeout_but_the_same_allowance():
    """T counts from the first retransmission, whatever the timeout really is."""
    machine = Conversation("opening", sysctls={"tcp_retries2": 3}).play("""
        0       connect()
                > S 0
        0.4     < SA 0 1                # srtt 400 ms: RTO 400 + 4 * 200 = 1200 ms
                > A 1 1
        1       send(40)
                > PA 1 1 40
        2       > PA 1 1 40             # tail loss probe at 2 * 400 + 200 ms
        3.200   > PA 1 1 40             # first retransmission: from here 3.0 s
        5.600   > PA 1 1 40
        10.399  = ESTABLISHED
        10.400  = CLOSED
                error ETIMEDOUT
    """)
    assert machine.stack.counters["TcpExtTCPAbortOnTimeout"] == 1


def test_progress_starts_the_clock_again():
    """But the timeout stays backed off until something sent once is acknowledged (Karn)."""
    Conversation(sack=False, sysctls={"tcp_retries2": 3}).play("""
        1       send(40)
                > PA 1 1 40
        1.204   > PA 1 1 40             # first retransmission: from here 3.0 s
        1.612   > PA 1 1 40
        2       < A 1 41
                send(40)
                > PA 41 1 40
        2.816   > PA 41 1 40            # and from here again
        4.448   > PA 41 1 40
        7.711   = ESTABLISHED
        7.712   = CLOSED
                error ETIMEDOUT
    """)


def test_with_timestamps_even_a_repeated_segment_tells_the_round_trip():
    Conversation(sack=False, timestamps=True).play("""
        1       send(40)
                > PA 1 1 40
        1.204   > PA 1 1 40
        1.205   < A 1 41
                send(40)
                > PA 41 1 40
        1.409   > PA 41 1 40            # no backoff is left
    """)


def test_an_orphan_has_eight_retries_and_sends_no_rst():
    Conversation().play("""
        1       close()
                > FA 1 1
        1.204   > FA 1 1
        1.408   > FA 1 1
        1.816   > FA 1 1
        2.632   > FA 1 1
        4.264   > FA 1 1
        7.528   > FA 1 1
        14.056  > FA 1 1
        27.112  > FA 1 1
        53.224  > FA 1 1
        105.447 = FIN_WAIT_1
        105.448 = CLOSED                # 104.04 s after the first retransmission, more than 102.2
    """)


@pytest.mark.parametrize(("retries", "gone"), [(1, 1.632), (3, 6.528)])
def test_tcp_orphan_retries(retries, gone):
    machine = Conversation(sysctls={"tcp_orphan_retries": retries}).play("0 close()\n > FA 1 1")
    machine.sends_until(gone - 0.001)
    assert machine.state == "FIN_WAIT_1"
    machine.sends_until(gone)
    assert machine.state == "CLOSED"


# -- TCP_USER_TIMEOUT ------------------------------------------------------------------------


@pytest.mark.parametrize("user_timeout", [0.5, 3, 30, 86_400])
def test_the_user_timeout_counts_from_the_first_retransmission(user_timeout):
    _, ended, error = silence(user_timeout=user_timeout)
    assert error == "ETIMEDOUT"
    assert ended == pytest.approx(2 * RTO + user_timeout, abs=0.004)


def test_before_4_19_it_is_looked_at_only_when_the_timer_fires():
    assert silence(linux="4.18", user_timeout=3)[1] == 6.528
    assert silence(linux="4.19", user_timeout=3)[1] == 3.408


def test_it_outranks_retries2():
    assert silence(user_timeout=20, sysctls={"tcp_retries2": 3})[1] == pytest.approx(20.408)


# -- SYN -------------------------------------------------------------------------------------


def syns(retries=None, linear=None, **more):
    sysctls = {"tcp_syn_retries": retries, "tcp_syn_linear_timeouts": linear}
    given = {name: value for name, value in sysctls.items() if value is not None}
    machine = Conversation("opening", sysctls=given, **more)
    machine.call("connect()")
    sent = machine.sends_until()
    assert {each["flags"] for _, each in sent} == {"S"}
    assert machine.socket.error == "ETIMEDOUT" and machine.state == "CLOSED"
    return [t for t, _ in sent][1:], machine.now / 1e9


@pytest.mark.parametrize("linux", ["3.10", "4.9", "4.18", "5.4", "5.14", "6.1", "6.4"])
def test_syns_double_from_the_start_before_6_5(linux):
    assert syns(linux=linux) == ([1, 3, 7, 15, 31, 63], 127)


@pytest.mark.parametrize("linux", ["6.5", "6.12", "6.18"])
def test_four_syns_at_one_second_steps_since_6_5(linux):
    assert syns(linux=linux) == ([1, 2, 3, 4, 5, 7, 11, 19, 35, 67], 131)


@pytest.mark.parametrize(
    ("retries", "linear", "times", "after"),
    [
        # Each line measured on 6.18. Time limits the few, for 1 means 3 s and 2 means 7 s.
        (1, 4, [1, 2], 3),
        (2, 4, [1, 2, 3, 4, 5], 7),
        (1, 2, [1, 2], 3),
        (3, 4, [1, 2, 3, 4, 5, 7, 11], 19),
        (3, 0, [1, 3, 7], 15),
        (6, 0, [1, 3, 7, 15, 31, 63], 127),
        # These are the same rule.
        (1, 0, [1], 3),
        (1, 1, [1, 2], 4),
        (6, 1, [1, 2, 4, 8, 16, 32, 64], 128),
    ],
)
def test_linear_timeouts_are_added_to_the_retries(retries, linear, times, after):
    assert syns(retries=retries, linear=linear) == (times, after)


@pytest.mark.parametrize(
    ("linux", "linear", "times", "after"),
    [
        ("6.18", 4, [1, 2], 2.5),  # measured on 6.18
        ("6.18", 0, [1], 2.5),  # measured on 6.18
        ("4.19", None, [1], 2.5),
        ("4.18", None, [1, 3, 7, 15, 31, 63], 127),
    ],
)
def test_the_user_timeout_ends_connect_since_4_19(linux, linear, times, after):
    assert syns(linux=linux, linear=linear, user_timeout=2.5) == (times, after)


# -- a closed window -------------------------------------------------------------------------


def test_window_probes_double_for_as_long_as_they_are_answered():
    machine = Conversation("server", sysctls={"tcp_retries2": 4}).play("""
        1       send(100)
                > PA 1 1 100
        1.001   < A 1 101 w=0
                send(50)
                timer persist
        1.205   > A 100 1
                < A 1 101 w=0
        1.613   > A 100 1
                < A 1 101 w=0
        2.429   > A 100 1
                < A 1 101 w=0
        4.061   > A 100 1
                < A 1 101 w=0
        7.325   > A 100 1               # the doubling ends at tcp_retries2, the asking doesn't
                < A 1 101 w=0
        10.589  > A 100 1
    """)
    assert machine.state == "ESTABLISHED"


def test_the_longest_wait_of_a_probe_is_two_minutes():
    machine = Conversation().play("1 < A 1 1 w=0\n send(50)")
    moments = [1.0]
    while moments[-1] < 2000:
        moments.append(machine.stack.next_timer() / 1e9)
        machine.play(f"{moments[-1]} > A 0 1\n < A 1 1 w=0")
    assert round(moments[-1] - moments[-2], 3) == 120


def test_probes_that_nobody_answers_end_after_retries2():
    Conversation(sysctls={"tcp_retries2": 3}).play("""
        1       < A 1 1 w=0
                send(50)
        1.204   > A 0 1
        1.612   > A 0 1
        2.428   > A 0 1
        4.059   = ESTABLISHED
        4.060   = CLOSED
                error ETIMEDOUT
    """)


#: A peer with a closed window that answers the probes, at TCP_USER_TIMEOUT = 5.
ANSWERED = """
    1       < A 1 1 w=0
            send(50)
    1.204   > A 0 1
            < A 1 1 w=0
    1.612   > A 0 1
            < A 1 1 w=0
    2.428   > A 0 1
            < A 1 1 w=0
    4.060   > A 0 1
            < A 1 1 w=0
"""


@pytest.mark.parametrize(
    ("linux", "last", "closed"),
    [
        (NEWEST, "6.203", "6.204"),  # from the first probe: five seconds
        ("5.0", "7.323", "7.324"),  # the probe's timer was not cut to them
        ("5.4.95", "7.323", "7.324"),
        ("5.10.12", "7.323", "7.324"),
    ],
)
def test_a_user_timeout_kills_a_peer_that_lives_and_answers(linux, last, closed):
    Conversation(user_timeout=5, linux=linux).play(f"""{ANSWERED}
        {last}   = ESTABLISHED
        {closed}   = CLOSED
                error ETIMEDOUT
    """)


@pytest.mark.parametrize("linux", ["5.1", "5.4.92", "5.10.10"])
def test_a_peer_that_answered_its_probes_was_never_given_up(linux):
    """9721e709fa68 counted the probes without an answer, mended with 9d9b1ee0b2d1."""
    Conversation(user_timeout=5, linux=linux).play(f"""{ANSWERED}
        7.324   > A 0 1
                < A 1 1 w=0
        13.852  > A 0 1
                = ESTABLISHED
    """)
    first, *later = ANSWERED.strip().splitlines()
    silent = "\n".join([first, *(line for line in later if "w=0" not in line)])
    Conversation(user_timeout=5, linux=linux).play(f"""{silent}
        7.323   = ESTABLISHED
        7.324   = CLOSED
                error ETIMEDOUT
    """)


@pytest.mark.parametrize(
    ("linux", "sysctl", "option", "gap"),
    [("6.15", 1000, 0, 1), ("6.15", 120000, 2, 2), ("6.15", 1000, 3, 3), ("6.14", 1000, 1, 6.528)],
)
def test_the_longest_timeout(linux, sysctl, option, gap):
    """tcp_rto_max_ms and TCP_RTO_MAX_MS; measured on 6.18: with 1000 the 15 retries take 15.0 s."""
    machine = Conversation(sysctls={"tcp_rto_max_ms": sysctl}, linux=linux, rto_max=option)
    machine.play("send(50)\n > PA 1 1 50")
    sent = [at for at, _ in machine.sends_until(26)]
    assert round(sent[-1] - sent[-2], 3) == gap


def test_the_window_opens():
    Conversation().play("""
        1       < A 1 1 w=0
                send(50)
        1.204   > A 0 1
        1.3     < A 1 1 w=1000
                > PA 1 1 50
        1.301   < A 1 51 w=1000
                timer none
    """)


def test_a_window_smaller_than_what_waits_is_used_when_the_probe_is_due():
    """Measured on 6.18: 20 bytes with PSH; from then on it is a retransmission."""
    Conversation().play("""
        1       < A 1 1 w=0
                send(50)
                < A 1 1 w=20
        1.204   > PA 1 1 20
        1.408   > PA 1 1 20
        1.409   < A 1 21 w=20
        1.817   > PA 21 1 20            # the doubled timeout is left
        1.818   < A 1 41 w=65535
                > PA 41 1 10
    """)


def test_an_orphan_does_not_probe_for_ever():
    machine = Conversation().play("""
        1       < A 1 1 w=0
                send(50)
                close()
                = FIN_WAIT_1
    """)
    assert {each["seq"] for _, each in machine.sends_until()} == {0}
    assert machine.state == "CLOSED" and machine.now < 150e9


def test_progress_into_a_small_window_lets_the_user_timeout_begin_again():
    Conversation(user_timeout=5).play("""
        1       < A 1 1 w=0
                send(50)
        1.204   > A 0 1                 # probing since now
                < A 1 1 w=0
        1.612   > A 0 1
                < A 1 1 w=20
        2.428   > PA 1 1 20
        2.429   < A 1 21 w=0
        2.633   > A 20 1                # probing since now
                < A 1 21 w=0
        3.041   > A 20 1
                < A 1 21 w=0
        3.857   > A 20 1
                < A 1 21 w=0
        5.489   > A 20 1
                < A 1 21 w=0
        7.632   = ESTABLISHED
        7.633   = CLOSED
                error ETIMEDOUT
    """)


MS = 1_000_000


def measured(*samples):
    """A connection that has measured these, in milliseconds, a byte each."""
    rtt = RoundTrip()
    for i, sample in enumerate(samples):
        rtt.sample(round(sample * MS), i + 1, i + 2)
    return rtt


def test_before_a_sample_one_second():
    assert measured().rto == 1000 * MS


def test_the_floor_lies_under_the_variance_not_under_the_sum():
    """RTO = srtt + max(4 * mean deviation, 200 ms): always a little above 200 ms."""
    assert measured(1).rto == 201 * MS
    assert measured(0.05).rto == 200_050_000
    assert measured(100).rto == 300 * MS
    assert measured(150).rto == 450 * MS  # the first deviation is half the sample


def test_a_steady_path_calms_down_to_the_floor():
    assert 350 * MS < measured(*[150] * 40).rto < 352 * MS


def test_a_sudden_rise_widens_the_variance_a_fall_does_not():
    steady = [500] * 40
    before, rise, fall = measured(*steady), measured(*steady, 900), measured(*steady, 100)
    assert fall.rto - fall.smoothed <= before.rto - before.smoothed < 206 * MS
    assert rise.rto - rise.smoothed > 400 * MS


def test_a_sample_is_a_microsecond_at_least():
    assert measured(0).smoothed == 1000


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=60))
def test_the_timeout_keeps_its_bounds(samples):
    rtt = measured(*samples)
    assert min(samples) <= rtt.smoothed / MS + 1
    assert rtt.smoothed / MS <= max(samples) + 1
    assert rtt.smoothed + 200 * MS <= rtt.rto <= 120_000 * MS or rtt.rto == 120_000 * MS


@pytest.mark.parametrize(
    ("window", "first"),
    [(65535, 1460), (2920, 1460), (2304, 1152), (537, 268), (536, 536), (100, 100), (40, 48)],
)
def test_no_segment_is_longer_than_half_the_largest_window(window, first):
    """Measured on 6.18; up to 536 bytes the whole window counts (tcp_bound_to_half_wnd)."""
    machine = Conversation(window=window)
    assert machine.socket.sender.mss == first
    machine.play("1 < A 1 1 w=65535")
    assert machine.socket.sender.mss == 1460


# -- the congestion window ---------------------------------------------------------------------------


def test_the_congestion_window_grows_only_as_far_as_it_is_used():
    """Small exchanges leave it at ten segments; it doubles what a large one uses (measured on 6.18, reno)."""
    machine = Conversation(mss=1000, window=131072)
    for i in range(20):
        machine.play(f"{i + 1} send(200)\n > PA {200 * i + 1} 1 200\n {i + 1.01} < A 1 {200 * i + 201}")
    assert machine.socket.sender.cwnd == 10
    machine.call("send(60000)")
    assert len(machine.left) == 10
    machine.arrives("A 1 7001")
    assert machine.socket.sender.cwnd == 13
    assert len(machine.left) == 16


@pytest.mark.parametrize(("segments", "after"), [(5, 10), (6, 12), (9, 18), (10, 20)])
def test_the_congestion_window_after_a_burst(segments, after):
    """Twice what was out, if that is more than it was."""
    machine = Conversation(mss=1000, window=131072).play(f"1 send({segments * 1000})\n ...")
    machine.play("\n".join(f"1.003 < A 1 {i * 1000 + 1}\n ..." for i in range(1, segments + 1)))
    assert machine.socket.sender.cwnd == after


def test_what_arrives_behind_a_hole_widens_the_congestion_window_once():
    """Pieces that SACK has told already are no news to the ACK that covers them (tcp_newly_delivered)."""
    machine = Conversation(mss=1000, window=131072).play("1 send(20000)\n ...")
    machine.play("1.002 < A 1 1 sack=1001:2001\n ...\n 1.003 < A 1 1 sack=1001:3001\n ...")
    assert machine.socket.sender.cwnd == 10
    machine.play("1.004 < A 1 3001\n ...")
    assert machine.socket.sender.cwnd == 11
