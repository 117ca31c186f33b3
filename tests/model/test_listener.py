"""A listener: half-open requests, connections that wait for accept(), and full queues, by version."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.conversation import Clients, Conversation
from tcplab.core.releases import LISTED, release
from tcplab.core.segment import SYN, Endpoint, Segment
from tcplab.model.listener import accept_queue_holds, syn_queue_holds
from tcplab.model.rules import CLOSED, ESTABLISHED, SYN_RECV

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
    Conversation("listening").play(ASKED + "0.001 < FA 1 1\n = CLOSE_WAIT\n 0.005 > A 1 2")


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
    assert clients.says(9999, "S 0") == "", "dropped, not refused"
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
    clients.says(1, "R 1")
    clients.machine.play("accept() -> ok\n recv() -> ECONNRESET")


def test_when_the_listener_dies_those_in_the_queue_are_reset_and_requests_vanish():
    clients = Clients(5)
    clients.opens(1)
    clients.says(2, "S 0")
    machine = clients.machine
    machine.call("kill_listener()")
    assert [(each["flags"]) for _, each in machine.sends_until(100)] == ["RA"]
    assert clients.state(1) == clients.state(2) == "CLOSED"
    assert machine.stack.next_timer() is None
    assert clients.last_step(2) == "R"
    assert clients.says(3, "S 0") == "RA"
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


COOKIES = ("TCPReqQFullDoCookies", "SyncookiesSent", "SyncookiesRecv", "SyncookiesFailed")
OVERFLOWS = ("ListenOverflows", "ListenDrops")


def full(backlog=2, **more):
    """A listener whose accept queue is full, and nothing in its SYN queue."""
    clients = Clients(backlog, **more)
    for client in range(1000, 1000 + accept_queue_holds(backlog)):
        assert clients.opens(client) == ("SA", "") and clients.state(client) == ESTABLISHED
    return clients


# -- how many fit ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("linux", "backlog", "holds"),
    [
        ("3.10", 1, 16), ("3.10", 8, 16), ("4.2", 15, 16), ("4.2", 16, 32), ("3.10", 128, 256),
        ("4.4", 1, 1), ("4.9", 128, 128), ("6.12.9", 0, 0), ("6.12.10", 0, 1), ("6.13", 0, 1), ("6.18", 2, 3),
        ("6.18", 128, 129),
    ],
)  # fmt: skip
def test_the_syn_queue_by_version(linux, backlog, holds):
    """net/core/request_sock.c:reqsk_queue_alloc in 3.10 and 4.2; inet_csk_reqsk_queue_is_full in 4.9
    and 5.10 (ef547f2ac16b, 4.4); one more since 6.13 (3479c7549fb1). Measured on 6.18.44."""
    assert syn_queue_holds(backlog, release(linux), 2048) == holds
    clients = Clients(backlog, linux=linux, sysctls={"tcp_syncookies": 0, "somaxconn": 4096})
    answers = [clients.says(client, "S 0") for client in range(1, holds + 3)]
    assert answers == ["SA"] * holds + ["", ""]
    assert clients.counted("TCPReqQFullDrop", *OVERFLOWS) == [2, 0, 2]


def test_before_4_4_tcp_max_syn_backlog_cuts_the_syn_queue():
    """net/core/request_sock.c:reqsk_queue_alloc (3.10): the least of backlog and sysctl, eight at least."""
    assert syn_queue_holds(1000, release("3.10"), 100) == 128
    assert syn_queue_holds(1000, release("3.10"), 1) == 16
    assert syn_queue_holds(1000, release("4.9"), 1) == 1000


def test_without_cookies_the_last_quarter_of_tcp_max_syn_backlog_is_kept_for_known_peers():
    """net/ipv4/tcp_input.c:tcp_conn_request: dropped while fewer than a quarter of the places are left."""
    clients = Clients(1000, sysctls={"tcp_syncookies": 0, "tcp_max_syn_backlog": 8})
    assert [clients.says(client, "S 0") for client in range(1, 10)] == ["SA"] * 7 + ["", ""]
    assert clients.counted("TCPReqQFullDrop", *OVERFLOWS) == [0, 0, 2]
    clients = Clients(1000, sysctls={"tcp_max_syn_backlog": 8})
    assert [clients.says(client, "S 0") for client in range(1, 10)] == ["SA"] * 9


# -- a SYN for a full accept queue -------------------------------------------------------------------


@pytest.mark.parametrize("linux", ["4.10", "4.18", "5.4", "6.18"])
def test_since_4_10_every_syn_is_dropped(linux):
    """5ea8ea2cb7f1, read in 4.10.17 to 5.11, measured on 6.18.44."""
    clients = full(linux=linux)
    assert [clients.says(client, "S 0") for client in range(1, 6)] == [""] * 5
    assert clients.counted(*OVERFLOWS) == [5, 5]


@pytest.mark.parametrize("linux", ["3.10", "4.2", "4.9"])
def test_before_only_with_more_than_one_young_request(linux):
    """tcp_v4_conn_request in 3.10.65 and 3.10.0-1160.el7, tcp_conn_request in 4.2.8, 4.9.0 and 4.9.154:
    the first two of five SYNs are answered, and their last step finds the queue full."""
    clients = full(linux=linux, backlog=4)
    assert [clients.says(client, "S 0") for client in range(1, 6)] == ["SA", "SA", "", "", ""]
    assert clients.counted(*OVERFLOWS) == [3, 3]
    assert [clients.last_step(client) for client in (1, 2)] == ["", ""]
    assert [clients.state(client) for client in (1, 2)] == [SYN_RECV, SYN_RECV], "ghosts"
    assert clients.counted(*OVERFLOWS) == [5, 5]


def test_a_request_is_young_until_its_syn_ack_is_repeated():
    """reqsk_queue.young counts down at the first timeout (reqsk_timer_handler), a second later."""
    clients = full(linux="4.9", backlog=4)
    assert [clients.says(client, "S 0") for client in (1, 2, 3)] == ["SA", "SA", ""]
    clients.machine.sends_until(0.9)
    assert clients.says(3, "S 0") == ""
    clients.machine.sends_until(1.1)
    assert [clients.says(client, "S 0") for client in (3, 4, 5)] == ["SA", "SA", ""]


# -- the last step finds the queue full --------------------------------------------------------------


def ghost(**more):
    """One place left for two requests: client 1 gets it, client 2 is the ghost."""
    clients = Clients(1, **more)
    clients.opens(1000)
    assert [clients.says(client, "S 0") for client in (1, 2)] == ["SA", "SA"]
    return clients, [clients.last_step(client) for client in (1, 2)]


@pytest.mark.parametrize("linux", LISTED)
def test_the_last_step_is_thrown_away_and_the_request_stays(linux):
    """net/ipv4/tcp_minisocks.c:tcp_check_req, listen_overflow: the same from 3.10 to 6.18."""
    clients = Clients(2, linux=linux)
    assert [clients.opens(client)[0] for client in (1000, 1001)] == ["SA", "SA"]
    assert [clients.says(client, "S 0") for client in (1, 2)] == ["SA", "SA"]
    assert [clients.last_step(client) for client in (1, 2)] == ["", ""]
    assert [clients.state(client) for client in (1, 2)] == [ESTABLISHED, SYN_RECV]
    assert clients.last_step(2, length=40) == "", "what it sends is thrown away too"
    assert clients.state(2) == SYN_RECV
    assert clients.counted(*OVERFLOWS) == [2, 2]


def test_a_repeated_syn_ack_makes_the_ghost_real_once_there_is_room():
    """Measured: accept() at 5 s, complete at 7.7 s, on the SYN-ACK of the seventh second."""
    clients, _ = ghost()
    assert [t for t, _ in clients.machine.sends_until(4)] == [1, 3]
    clients.last_step(2)
    assert clients.state(2) == SYN_RECV
    clients.machine.play("5 accept() -> ok")
    assert [t for t, _ in clients.machine.sends_until(8)] == [7]
    assert clients.last_step(2) == "" and clients.state(2) == ESTABLISHED


def test_so_does_what_the_client_sends():
    clients, _ = ghost()
    clients.machine.play("0.5 accept() -> ok")
    assert clients.last_step(2, length=40) == "A" and clients.state(2) == ESTABLISHED


def test_after_63_seconds_the_request_is_gone_and_no_segment_says_so():
    """Measured: 64.2 s; what comes later is refused."""
    clients, _ = ghost()
    assert [(t, words["flags"]) for t, words in clients.machine.sends_until(62.9)] == [
        (t, "SA") for t in (1, 3, 7, 15, 31)
    ]
    assert clients.state(2) == SYN_RECV
    assert clients.machine.sends_until(63.1) == []
    assert clients.state(2) == CLOSED and clients.machine.listener.requests == {}
    assert clients.counted("TCPTimeouts", "TCPAbortOnTimeout") == [6, 0]
    assert clients.last_step(2, length=40) == "R"


def test_tcp_abort_on_overflow():
    """tcp_check_req, embryonic_reset; measured on 6.18.44, counters too."""
    clients, heard = ghost(sysctls={"tcp_abort_on_overflow": 1})
    assert heard == ["", "R"]
    assert [clients.state(client) for client in (1, 2)] == [ESTABLISHED, CLOSED]
    assert clients.counted(*OVERFLOWS, "EmbryonicRsts") == [1, 1, 1]


# -- SYN-ACKs under pressure -------------------------------------------------------------------------


def silent(waiting, backlog, **more):
    """So many clients that never take the last step; when SYN-ACKs left, and when all were forgotten."""
    clients = Clients(backlog, **more)
    for client in range(1, waiting + 1):
        assert clients.says(client, "S 0") == "SA"
    times = [t for t, _ in clients.machine.sends_until()]
    assert clients.machine.listener.requests == {}
    return sorted(set(times)), clients.machine.now / 1e9


@pytest.mark.parametrize(
    ("linux", "backlog", "waiting", "times", "gone"),
    [
        ("6.18", 128, 64, [1, 3, 7, 15, 31], 63),  # half is no pressure yet
        ("6.18", 8, 4, [1, 3, 7, 15, 31], 63),
        ("6.18", 8, 5, [1, 3], 7),
        ("6.18", 2, 3, [1, 3, 7, 15, 31], 63),  # eight are never too many
        ("4.9", 128, 65, [1, 3], 7),
        ("3.10", 128, 127, [1, 3, 7, 15, 31], 63),
        ("3.10", 128, 128, [1, 3], 7),  # half of 256
    ],
)
def test_a_syn_queue_more_than_half_full_forgets_sooner(linux, backlog, waiting, times, gone):
    """net/ipv4/inet_connection_sock.c:reqsk_timer_handler; to 4.3 inet_csk_reqsk_queue_prune. The
    requests that are forgotten first take the pressure off those whose timer comes just after them."""
    seen, over = silent(waiting, backlog, linux=linux)
    assert seen[: len(times)] == times
    assert over == gone or (gone == 7 and seen[len(times) :] in ([], [7, 15, 31]))


def test_young_requests_keep_old_ones_longer():
    """A retry less for each time that the young ones, doubled, still leave old ones in the majority."""
    clients = Clients(128)
    for client in range(1, 41):
        clients.says(client, "S 0")
    listener = clients.machine.listener
    clients.machine.sends_until(2)
    assert listener.young == 0 and listener.synack_retries() == 5
    for client in range(41, 71):
        clients.says(client, "S 0")
    assert (len(listener.requests), listener.young) == (70, 30)
    assert listener.synack_retries() == 4, "70 >= 60, but 70 < 120"


# -- cookies -----------------------------------------------------------------------------------------


def with_cookies(backlog=1, **more):
    """The SYN queue is full of silent clients; whoever comes now gets a cookie."""
    clients = Clients(backlog, **more)
    for client in range(2000, 2000 + syn_queue_holds(backlog, clients.machine.stack.release, 2048)):
        clients.says(client, "S 0")
    return clients


def test_a_cookie_keeps_nothing_is_sent_once_and_makes_a_connection():
    clients = with_cookies()
    known = len(clients.machine.stack.sockets)
    assert clients.says(1, "S 0") == "SA"
    assert len(clients.machine.stack.sockets) == known and clients.state(1) == CLOSED
    assert clients.last_step(1) == "" and clients.state(1) == ESTABLISHED
    assert clients.counted(*COOKIES) == [1, 1, 1, 0]
    assert all(segment["flags"] == "SA" for _, segment in clients.machine.sends_until())
    clients.machine.play("70 accept() -> ok\n send(200) -> 200\n ...")


def test_nobody_repeats_a_cookie():
    clients = with_cookies()
    clients.says(1, "S 0")
    repeated = dict.fromkeys((1, 2000), 0)
    while (due := clients.machine.stack.next_timer()) is not None:
        clients.machine.stack.timer(due)
        for segment in clients.machine.stack.to_send():
            if segment.destination.port in repeated:
                repeated[segment.destination.port] += 1
    assert repeated == {1: 0, 2000: 5}


def test_a_cookie_for_a_full_queue_is_a_ghost_without_a_trace():
    """net/ipv4/syncookies.c:tcp_get_cookie_sock: dropped and counted, whatever tcp_abort_on_overflow
    says. Measured on 6.18.44, counters too."""
    clients = with_cookies(sysctls={"tcp_abort_on_overflow": 1})
    clients.says(1, "S 0")
    for client in (2000, 2001):
        clients.last_step(client)
    assert clients.last_step(1) == "" and clients.state(1) == CLOSED
    assert clients.counted(*OVERFLOWS, *COOKIES) == [1, 1, 1, 1, 1, 0]
    assert clients.last_step(1, length=40) == "", "its first word is thrown away too"
    clients.machine.play("1 accept() -> ok")
    assert clients.last_step(1, length=40) == "A" and clients.state(1) == ESTABLISHED


def test_its_second_word_is_no_proof():
    """The cookie is a checksum over the number before the client's first byte: later bytes get a RST."""
    clients = with_cookies()
    clients.says(1, "S 0")
    assert clients.says(1, "PA 41 1 40") == "R"
    assert clients.counted(*COOKIES) == [1, 1, 0, 1]


@pytest.mark.parametrize(("after", "answer"), [(50, ""), (100, ""), (121, "R"), (300, "R")])
def test_a_cookie_is_good_for_one_to_two_minutes(after, answer):
    clients = with_cookies(sysctls={"tcp_synack_retries": 0})
    clients.says(1, "S 0")
    clients.machine.sends_until(after)
    assert clients.last_step(1) == answer
    assert clients.state(1) == (CLOSED if answer else ESTABLISHED)


def test_an_ack_of_nothing_is_refused():
    for clients in (Clients(1), with_cookies()):
        assert clients.says(7, "A 1 5") == "R"
        assert clients.says(7, "RA 1 5") == ""


@pytest.mark.parametrize("syncookies", [0, 2])
def test_tcp_syncookies(syncookies):
    """2: always; 0: never, and what is full drops."""
    clients = Clients(1, sysctls={"tcp_syncookies": syncookies})
    assert clients.opens(1)[0] == "SA"
    assert clients.counted(*COOKIES[:2]) == ([1, 1] if syncookies else [0, 0])
    assert clients.state(1) == ESTABLISHED


@pytest.mark.parametrize("sack", [True, False])
@pytest.mark.parametrize("timestamps", [True, False])
def test_what_a_cookie_remembers_rides_in_the_timestamp(sack, timestamps):
    """net/ipv4/syncookies.c:cookie_init_timestamp; without timestamps there is no SACK and no scale."""
    from tcplab.core.segment import Endpoint
    from tcplab.model.stack import Stack

    server, client = Stack("10.0.0.1"), Stack("10.0.0.2")
    server.sysctls.tcp_syncookies = 2
    client.sysctls.tcp_sack, client.sysctls.tcp_timestamps = int(sack), int(timestamps)
    listener = server.listen(5432, 5)
    mine = client.connect(0, Endpoint("10.0.0.1", 5432))
    for now in range(1, 4):
        for segment in client.to_send():
            server.receive(now * 20_000_000, segment)
        for segment in server.to_send():
            client.receive(now * 20_000_000, segment)
    theirs = server.call(80_000_000, "accept", listener)
    assert theirs is not None
    for socket in (mine, theirs):
        assert (socket.timestamps, socket.sack, socket.scaling) == (
            timestamps,
            sack and timestamps,
            timestamps,
        )
    assert (theirs.receiver.nxt, mine.receiver.nxt) == (mine.sender.nxt, theirs.sender.nxt)


# -- whatever happens --------------------------------------------------------------------------------

CLIENT = st.integers(1, 12)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("syn"), CLIENT),
        st.tuples(st.just("ack"), CLIENT),
        st.tuples(st.just("data"), CLIENT),
        st.tuples(st.just("reset"), CLIENT),
        st.tuples(st.just("accept"), st.just(0)),
        st.tuples(st.just("time"), st.integers(1, 40_000)),
    ),
    min_size=5,
    max_size=60,
)


@settings(max_examples=150)
@given(
    STEPS, st.sampled_from(LISTED), st.integers(0, 5), st.sampled_from([0, 1, 2]), st.sampled_from([0, 1]),
)  # fmt: skip
def test_queues_never_exceed_their_limits(steps, linux, backlog, cookies, abort):
    clients = Clients(
        backlog, linux=linux, sysctls={"tcp_syncookies": cookies, "tcp_abort_on_overflow": abort}
    )
    machine, listener = clients.machine, clients.machine.listener
    stack = machine.stack
    answered = set()
    for what, client in steps:
        heard = ""
        if what == "syn":
            heard = clients.says(client, "S 0")
        elif what in ("ack", "data") and client in clients.numbers:
            heard = clients.last_step(client, 40 if what == "data" else 0)
        elif what == "reset":
            clients.says(client, "R 1")
        elif what == "accept":
            listener.accept(machine.now)
        elif what == "time":
            machine.passes(client / 1000)
            machine.left.clear()
        if heard == "SA":
            answered.add(client)
        sockets = [each for each in stack.sockets.values() if each.state == SYN_RECV]
        assert set(listener.requests) == set(sockets), "the SYN queue is what is half open"
        assert len(listener.requests) <= max(syn_queue_holds(backlog, stack.release, 2048), 0)
        assert len(listener.accept_queue) <= accept_queue_holds(backlog)
        assert 0 <= listener.young <= len(listener.requests)
        overflows, drops = clients.counted(*OVERFLOWS)
        assert overflows <= drops
        real = {remote.port for (_, remote), each in stack.sockets.items() if each.state == ESTABLISHED}
        assert real <= answered, "the server has nobody whom it never answered"
