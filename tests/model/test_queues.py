"""A listener: half-open requests, and connections that wait for accept()."""

import pytest

from model.clients import Clients
from model.conversation import Conversation
from tcplab.core.segment import RST, SYN, Endpoint, Segment

ASKED = """
        0       listen()
                < S 0
                > SA 0 1
                = SYN_RECV
"""


def test_syn_acks_are_repeated_five_times_and_the_request_goes_without_a_word():
    Conversation("listening").play(
        ASKED
        + """
        1       > SA 0 1
        3       > SA 0 1
        7       > SA 0 1
        15      > SA 0 1
        31      > SA 0 1
        62.999  = SYN_RECV
        63      = CLOSED
        70      < PA 1 1 40             # who comes later is refused
                > R 1
    """
    )


@pytest.mark.parametrize(("retries", "times", "gone"), [(0, [], 1), (1, [1], 3), (2, [1, 3], 7)])
def test_tcp_synack_retries(retries, times, gone):
    machine = Conversation("listening", sysctls={"tcp_synack_retries": retries}).play(ASKED)
    assert [t for t, _ in machine.sends_until()] == times
    assert machine.now == gone * 1e9


def test_the_linear_phase_is_for_syns_only():
    machine = Conversation("listening", sysctls={"tcp_syn_linear_timeouts": 10}).play(ASKED)
    assert [t for t, _ in machine.sends_until()] == [1, 3, 7, 15, 31]


def test_a_repeated_syn_draws_a_syn_ack_and_starts_the_wait_again():
    """Measured on 6.18: a SYN 0.7 s after the first; the timer's SYN-ACK came 1.0 s later."""
    Conversation("listening").play(
        ASKED
        + """
        0.7     < S 0
                > SA 0 1
        0.8     < S 0                   # limited: one in 500 ms
        1.7     > SA 0 1
        3.7     > SA 0 1
    """
    )


def test_payload_may_come_with_the_last_step():
    Conversation("listening").play(
        ASKED
        + """
        0.001   < PA 1 1 40
                > A 1 41
                = ESTABLISHED
                accept() -> ok
                recv() -> 40
    """
    )


def test_payload_after_a_lost_last_step():
    Conversation("listening").play(
        ASKED + "0.3 < PA 1 1 40\n > A 1 41\n accept() -> ok\n recv() -> 40\n 5 < A 41 1"
    )


def test_a_fin_may_come_with_the_last_step():
    Conversation("listening").play(ASKED + "0.001 < FA 1 1\n = CLOSE_WAIT\n 0.041 > A 1 2")


def test_segments_ahead_establish_too():
    """Measured on 6.18."""
    Conversation("listening").play(ASKED + "0.1 < PA 300 1 4\n > A 1 1 sack=300:304\n = ESTABLISHED")


@pytest.mark.parametrize(
    ("segment", "answer", "state"),
    [
        ("A 1 77", "> R 77", "SYN_RECV"),  # acknowledges nonsense: the listener refuses it
        ("A 1 0", "> R 0", "SYN_RECV"),
        ("A -3 1", "> A 1 1", "SYN_RECV"),  # outside the window
        ("A 90000 1", "> A 1 1", "SYN_RECV"),
        ("SA 0 1", "> A 1 1", "SYN_RECV"),
        ("- 1", "", "SYN_RECV"),
        ("F 1", "", "SYN_RECV"),
        ("S 300", "> RA 0 301", "CLOSED"),  # another SYN in the window
        ("S 90000", "> A 1 1", "SYN_RECV"),
    ],
)
def test_what_does_not_establish(segment, answer, state):
    """Measured on 6.18, but for a bare FIN."""
    Conversation("listening").play(ASKED + f"0.1 < {segment}\n {answer}\n = {state}")


def test_a_listener_looks_at_syns_only():
    """Measured on 6.18."""
    Conversation("listening").play("""
        0       listen()
                < - 0
                < F 0
                < SF 0
                < R 0
                < A 0 77
                > R 77
                < SA 0 77
                > R 77
                < FA 0 77
                > R 77
    """)


def test_where_nobody_listens():
    Conversation("listening").play("""
        0       < S 0
                > RA 0 1
                < FA 0 77 3
                > R 77
                < - 0 3
                > RA 0 3
                < F 0 3
                > RA 0 4
    """)


# -- several clients -----------------------------------------------------------------------------


@pytest.mark.parametrize("backlog", [0, 1, 2, 128])
def test_the_accept_queue_holds_one_more_than_the_backlog(backlog):
    clients = Clients(backlog)
    for client in range(1, backlog + 2):
        assert clients.opens(client) == ("SA", "")
        assert clients.state(client) == "ESTABLISHED"
    assert clients.says(9999, SYN, 0) == "", "dropped, not refused"
    counters = clients.machine.stack.counters
    assert counters["TcpExtListenOverflows"] == counters["TcpExtListenDrops"] == 1
    clients.machine.play("1 accept() -> ok")
    assert clients.opens(9999) == ("SA", "")


def test_the_backlog_is_cut_to_somaxconn():
    assert Clients(100_000).machine.listener.backlog == 4096
    assert Clients(100_000, linux="5.3").machine.listener.backlog == 128


def test_accept_in_order_and_blocks_when_empty():
    clients = Clients(5)
    for client in (3, 1, 2):
        clients.opens(client)
    ports = []
    for _ in range(3):
        clients.machine.play("accept() -> ok")
        ports.append(clients.machine.socket.remote.port)
    clients.machine.play("accept() -> blocks")
    assert ports == [3, 1, 2]


def test_a_connection_that_died_in_the_queue_is_still_accepted():
    clients = Clients(5)
    clients.opens(1)
    clients.says(1, RST, 1)
    clients.machine.play("accept() -> ok\n recv() -> ECONNRESET")


def test_when_the_listener_dies_those_in_the_queue_are_reset_and_requests_vanish():
    clients = Clients(5)
    clients.opens(1)
    clients.says(2, SYN, 0)
    machine = clients.machine
    machine.call("kill_listener()")
    assert [(each["flags"]) for _, each in machine.sends_until(100)] == ["RA"]
    assert clients.state(1) == clients.state(2) == "CLOSED"
    assert machine.stack.next_timer() is None
    assert clients.last_step(2) == "R"
    assert clients.says(3, SYN, 0) == "RA"
    machine.play("200 listen()")
    assert clients.opens(3) == ("SA", "")


def test_accepted_connections_outlive_the_listener():
    Conversation("server").play("1 kill_listener()\n 2 < PA 1 1 40\n > A 1 41\n = ESTABLISHED")


def test_connections_inherit_the_listeners_options():
    Conversation("server", keepalive=(2, 1, 3)).play("2 > A 0 1\n 2.001 < A 1 1")


def test_what_ss_would_show_of_a_listener():
    clients = Clients(2)
    assert clients.machine.listener.summary() == ("LISTEN", 0, 2, "", None, 0)
    clients.opens(1)
    assert clients.machine.listener.summary() == ("LISTEN", 1, 2, "", None, 0)


def test_only_the_dying_listeners_own_connections_are_reset():
    clients = Clients(5)
    stack = clients.machine.stack
    other = stack.listen(5433, 5)
    for port in (5432, 5433):
        stack.receive(
            0, Segment(Endpoint("10.0.0.2", 9), Endpoint("10.0.0.1", port), 0, 0, SYN, 65535, mss=1460)
        )
    stack.to_send()
    clients.machine.call("kill_listener()")
    assert [(socket.local.port, socket.state) for socket in stack.sockets.values()] == [(5433, "SYN_RECV")]
    assert other.state == "LISTEN" and list(stack.listeners) == [5433]
