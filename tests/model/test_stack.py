"""One machine's surface: sockets by four-tuple, ports, timers, reboot, counters, and what wakes whom."""

import pytest

from model.conversation import MACHINE, PEER, Conversation
from model.wire import CLIENT, SERVER, Wire
from tcplab.model.stack import CALLS, Stack
from tcplab.releases import release
from tcplab.segment import ACK, RST, SYN, Endpoint, Segment

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


def test_who_was_touched_is_woken():
    machine = Conversation()
    machine.stack.woken.clear()
    machine.play("1 < PA 1 1 10\n > A 1 11")
    assert list(machine.stack.woken) == [machine.socket]
    listening = Conversation("listening").play("0 listen()\n < S 0\n > SA 0 1")
    listening.stack.woken.clear()
    listening.play("0.1 < A 1 1")
    assert listening.listener in listening.stack.woken


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
    told = [(who == CLIENT, flags, seq, ack, length) for _, who, flags, seq, ack, length, *_ in wire.log]
    assert told == [
        (True, "S", 0, None, 0), (False, "SA", 0, 1, 0), (True, "A", 1, 1, 0),
        (True, "PA", 1, 1, 40), (False, "A", 1, 41, 0),
        (False, "PA", 1, 41, 200), (True, "A", 41, 201, 0),
        (True, "FA", 41, 201, 0), (False, "FA", 201, 42, 0), (True, "A", 42, 202, 0),
    ]  # fmt: skip
