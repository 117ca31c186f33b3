"""One machine's surface: sockets by four-tuple, ports, timers, reboot, counters, and what wakes whom."""

import pytest

from model.conversation import CLIENT, MACHINE, PEER, SERVER, Conversation, Wire
from tcplab.core.releases import release
from tcplab.core.segment import ACK, FIN, RST, SYN, Endpoint, Segment, seq_add, seq_diff
from tcplab.model.ports import PortError
from tcplab.model.rules import TcpOptions
from tcplab.model.stack import CALLS, Stack

SERVICE = Endpoint(PEER, 5432)


def test_a_machine_of_the_newest_linux_without_any_timer():
    stack = Stack(MACHINE)
    assert stack.release == release() and stack.next_timer() is None and stack.to_send() == []
    stack.timer(10**18)


@pytest.mark.parametrize(
    ("linux", "linear", "limit", "somaxconn"),
    [("3.10", None, 0, 128), ("4.0", None, 500, 128), ("5.4", None, 500, 4096), ("6.5", 4, 500, 4096)],
)
def test_sysctls_begin_as_the_release_has_them(linux, linear, limit, somaxconn):
    sysctls = Stack(MACHINE, release(linux)).sysctls
    assert sysctls.tcp_syn_linear_timeouts == linear
    assert sysctls.tcp_invalid_ratelimit == limit
    assert sysctls.somaxconn == somaxconn


def test_what_is_to_be_sent_is_handed_out_once():
    stack = Stack(MACHINE)
    stack.connect(0, SERVICE)
    assert [segment.flags for segment in stack.to_send()] == [SYN]
    assert stack.to_send() == []


def test_connect_takes_ports_of_the_first_ones_parity_each_only_once():
    stack = Stack(MACHINE, seed=5)
    ports = [stack.connect(0, SERVICE).local.port for _ in range(200)]
    assert len(set(ports)) == 200
    assert all(32768 <= port <= 60999 and port % 2 == 0 for port in ports)


def test_another_destination_may_use_the_same_port():
    stack = Stack(MACHINE)
    stack.random = Conversation("opening").stack.random
    here, there = stack.connect(0, SERVICE), stack.connect(0, Endpoint(PEER, 5433))
    assert here.local == there.local


def test_sequence_numbers_and_ports_come_from_the_seed():
    def start(seed):
        stack = Stack(MACHINE, seed=seed)
        stack.connect(0, SERVICE)
        return stack.to_send()

    assert start(1) == start(1) != start(2)


def test_two_machines_with_one_seed_still_differ():
    isns = set()
    for address in (MACHINE, PEER):
        stack = Stack(address, seed=1)
        stack.connect(0, SERVICE)
        isns.add(stack.to_send()[0].seq)
    assert len(isns) == 2


def test_a_stranger_gets_a_rst_and_his_rst_gets_nothing():
    stack = Stack(MACHINE)
    stray = Segment(Endpoint(PEER, 7), Endpoint(MACHINE, 8), 100, 200, ACK, 0, 10)
    stack.receive(0, stray)
    (answer,) = stack.to_send()
    assert (answer.seq, answer.flags, answer.source) == (200, RST, stray.destination)
    stack.receive(0, answer)
    assert stack.to_send() == [] and stack.verdict == "ignored"
    assert stack.counters == {"TcpOutRsts": 1}


def test_a_reboot_forgets_everything_without_a_word():
    wire = Wire()
    wire.passes(1)
    server = wire.stacks[SERVER]
    wire.call("server", "send", 5)
    wire.call("server", "shutdown_write")
    server.forget_everything()
    assert (server.sockets, server.listeners, server.next_timer(), server.to_send()) == ({}, {}, None, [])
    wire.log.clear()
    wire.call("client", "send", 40)
    wire.passes(1)
    assert [flags for _, _, flags, *_ in wire.log][-1] == "R"
    assert wire.client.error in ("ECONNRESET", "EPIPE")


def test_timers_that_are_no_longer_wanted_do_not_fire():
    machine = Conversation().play("""
        1       send(100)
                > PA 1 1 100
        1.001   < A 1 101
    """)
    assert machine.stack.next_timer() is None


def test_timers_fire_in_order_and_late_ones_all():
    stack = Stack(MACHINE)
    for n in range(3):
        stack.connect(n * 1_000_000, Endpoint(PEER, 5432 + n))
    stack.to_send()
    assert stack.next_timer() == 1_000_000_000
    stack.timer(1_001_000_000)
    assert [segment.destination.port for segment in stack.to_send()] == [5432, 5433]
    assert stack.next_timer() == 1_002_000_000


def test_a_socket_that_was_touched_is_named_once():
    machine = Conversation()
    assert machine.stack.changed()
    machine.play("1 < PA 1 1 10\n > A 1 11")
    assert machine.stack.changed() == [machine.socket]
    assert machine.stack.changed() == []
    listening = Conversation("listening").play("0 listen()\n < S 0\n > SA 0 1")
    listening.stack.changed()
    listening.play("0.1 < A 1 1")
    assert listening.listener in listening.stack.changed()


def test_a_counter_that_has_moved_is_named_once():
    machine = Conversation()
    assert machine.stack.moved_counters() == [("TcpActiveOpens", 1)]
    machine.play("1 < R 1")
    assert machine.stack.moved_counters() == [("TcpEstabResets", 1)]
    assert machine.stack.moved_counters() == []


def test_the_clock_of_timestamps_counts_milliseconds_and_wraps():
    stack = Stack(MACHINE)
    stack._clock_offset = 2**32 - 1
    assert stack.clock(0) == 2**32 - 1
    assert stack.clock(1_999_999) == 0


def test_waits_are_rounded_up_to_ticks():
    stack = Stack(MACHINE)
    assert [stack.ticks(ns) for ns in (0, 1, 4_000_000, 4_000_001)] == [0, 4_000_000, 4_000_000, 8_000_000]


def test_every_call_of_an_application_has_its_verb():
    assert {"send", "receive", "shutdown_write", "close", "reset", "accept", "close_listener"} == set(CALLS)


def test_a_conversation_of_two():
    wire = Wire(isns=(2**32 - 5, 2**32 - 1))
    wire.passes(0.01)
    wire.call("client", "send", 40)
    wire.passes(0.01)
    assert wire.call("server", "receive", 100) == 40
    wire.call("server", "send", 200)
    wire.passes(0.01)
    assert wire.call("client", "receive", 1000) == 200
    wire.call("client", "close")
    wire.passes(0.01)
    assert wire.call("server", "receive", 1) == 0
    wire.call("server", "close")
    wire.passes(0.1)
    assert wire.states() == {CLIENT: ["TIME_WAIT"], SERVER: []}
    segments = [(who == CLIENT, flags, seq, ack, length) for _, who, flags, seq, ack, length, *_ in wire.log]
    assert segments == [
        (True, "S", 0, None, 0), (False, "SA", 0, 1, 0), (True, "A", 1, 1, 0),
        (True, "PA", 1, 1, 40), (False, "A", 1, 41, 0),
        (False, "PA", 1, 41, 200), (True, "A", 41, 201, 0),
        (True, "FA", 41, 201, 0), (False, "FA", 201, 42, 0), (True, "A", 42, 202, 0),
    ]  # fmt: skip


# --- local ports, and what waits on them ---


def small(linux="6.18", **sysctls):
    """A machine with one local port."""
    stack = Stack(MACHINE, release(linux))
    stack.sysctls.ip_local_port_range = (60001, 60001)
    for name, value in sysctls.items():
        setattr(stack.sysctls, name, value)
    return stack


def established(stack, now=0, remote=SERVICE, timestamps=True, **how):
    """A connection of ours, its handshake just over."""
    socket = stack.connect(now, remote, **how)
    (syn,) = stack.to_send()
    clock = (1000, syn.timestamps[0]) if timestamps else None
    stack.receive(
        now,
        Segment(remote, syn.source, 5000, seq_add(syn.seq, 1), SYN | ACK, 65535, mss=1460, timestamps=clock),
    )
    stack.to_send()
    assert socket.state == "ESTABLISHED"
    return socket


def closed(stack, socket, now=0):
    """We close first: FIN, its ACK, the peer's FIN."""
    stack.call(now, "close", socket)
    (fin,) = stack.to_send()
    clock = (1001, 0) if socket.timestamps else None
    answer = (fin.destination, fin.source, 5001, seq_add(fin.seq, 1))
    stack.receive(now, Segment(*answer, ACK, 65535, timestamps=clock))
    stack.receive(now, Segment(*answer, FIN | ACK, 65535, timestamps=clock))
    return stack.to_send()


def states(stack):
    return [socket.state for socket in stack.sockets.values()]


def test_without_a_port_connect_sends_nothing_and_counts_nothing():
    stack = small()
    established(stack)
    before = dict(stack.counters)
    with pytest.raises(PortError) as error:
        stack.connect(0, SERVICE)
    assert error.value.errno == "EADDRNOTAVAIL" and "60001 to 60001" in str(error.value)
    assert stack.to_send() == [] and stack.counters == before and len(stack.sockets) == 1


def test_a_reused_time_wait_is_gone_and_the_new_number_lies_above_it():
    stack = small(tcp_tw_reuse=1)
    old = established(stack)
    closed(stack, old)
    (rest,) = stack.sockets.values()
    assert rest.state == "TIME_WAIT" and stack.timewait_sockets == 1
    new = stack.connect(1_001 * 1_000_000, SERVICE)
    (syn,) = stack.to_send()
    assert new.local == old.local and syn.seq == seq_add(rest.snd_nxt, 65537)
    assert syn.timestamps[1] == rest.ts_recent, "what the peer said last is still known"
    assert stack.timewait_sockets == 0 and states(stack) == ["SYN_SENT"]


def test_the_next_connection_on_a_four_tuple_begins_above_the_last():
    """RFC 6528: a number of chance for each four-tuple, plus a clock that ticks every 64 ns."""
    stack = small()
    first = stack.connect(0, SERVICE).sender.iss
    stack.call(0, "close", next(iter(stack.sockets.values())))
    second = stack.connect(64_000_000, SERVICE).sender.iss
    assert seq_diff(second, first) == 1_000_000


@pytest.mark.parametrize(("limit", "left"), [(0, []), (1, ["TIME_WAIT"])])
def test_over_the_limit_the_new_one_gets_no_time_wait(limit, left):
    stack = small(tcp_max_tw_buckets=limit)
    closed(stack, established(stack))
    assert states(stack) == left
    assert stack.counters.get("TcpExtTCPTimeWaitOverflow", 0) == (not limit)
    if not limit:
        stack.connect(0, SERVICE)


def test_refused_while_it_still_waited_for_the_fin_its_socket_answers_with_a_rst():
    """FIN_WAIT_2 without an application is a minisocket too (tcp_rcv_state_process)."""
    stack = small(tcp_max_tw_buckets=0)
    answers = closed(stack, established(stack))
    assert [answer.flags for answer in answers] == [RST]


def test_only_one_listener_on_a_port_and_its_old_connections_keep_the_next_one_out():
    stack = Stack(MACHINE)
    listener = stack.listen(5432, 10)
    with pytest.raises(PortError) as error:
        stack.listen(5432, 10)
    assert error.value.errno == "EADDRINUSE"
    stack.call(0, "close_listener", listener)
    stack.listen(5432, 10)


def test_a_bound_socket_that_can_not_connect_lets_go_of_its_port():
    stack = small()
    established(stack, options=TcpOptions(reuse_address=True))
    bound = stack.ports.bind("0.0.0.0", 60001, reuse_address=True)
    with pytest.raises(PortError):
        stack.connect(0, SERVICE, bound=bound)
    assert len(stack.ports.held(60001)) == 1


def test_a_second_address_has_ports_of_its_own():
    stack = small()
    assert established(stack).local == Endpoint(MACHINE, 60001)
    assert established(stack, address="10.0.0.102").local == Endpoint("10.0.0.102", 60001)
    with pytest.raises(PortError):
        stack.connect(0, SERVICE, address="10.0.0.102")


def test_a_reboot_frees_every_port():
    stack = small()
    closed(stack, established(stack))
    stack.forget_everything()
    assert stack.timewait_sockets == 0 and stack.ports.held(60001) == ()
    established(stack)


def test_the_port_is_free_after_a_minute_in_time_wait():
    stack = small()
    closed(stack, established(stack))
    stack.timer(59_999_000_000)
    assert states(stack) == ["TIME_WAIT"]
    stack.timer(60_000_000_000)
    assert states(stack) == [] and stack.timewait_sockets == 0
    established(stack, now=60_000_000_000)
