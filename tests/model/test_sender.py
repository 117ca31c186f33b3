"""The sending half: what may leave, in which pieces, and what an acknowledgement does."""

import pytest

from model.conversation import Conversation


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
                > PA 1 1 1000
        1.001   < A 1 1001 w=2000
                send(2000)
                > A 1001 1 1460
                > PA 2461 1 540
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
        1.204   > PA 1 1 1000
        1.205   < A 1 1001 w=400
        1.206   < A 1 1001 w=500
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
        1.013   > A 1 1 1460
        1.014   < A 1 3001
                timer none
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
        1.013   > PA 2921 1 80          # two are left, so twice the round trip and two ticks
        1.014   < A 1 1461 sack=2921:3001
        1.026   > A 1461 1 1460
        1.027   < A 1 3001
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


def test_a_partial_acknowledgement_cuts_the_first_segment():
    Conversation().play("""
        1       send(100)
                > PA 1 1 100
        1.001   < A 1 41
        1.205   > PA 41 1 60
        1.206   < A 1 101
                timer none
    """)


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
        1.013   > PA 1 1 100            # only what is missing
        1.014   < A 1 102
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
