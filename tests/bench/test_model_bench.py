"""The model bench: the verbs of a script in virtual time, and the trace that a run leaves."""

import gc
from itertools import pairwise

import pytest

from bench.scripted import Scripted, connected, play, wire
from tcplab.bench import run
from tcplab.bench.model import run_on_model
from tcplab.bench.script import ScriptError, SocketOptions
from tcplab.core.knobs import ParameterError
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Activity

# -- time -----------------------------------------------------------------------------------------


def test_two_hours_pass_in_no_time_and_exactly():
    async def script(bench):
        assert bench.now() == 0
        await bench.sleep(7200.25)
        return bench.now()

    now, trace = play(script)
    assert now == 7200.25 and trace.end == 7_200_250_000_000


@pytest.mark.parametrize("latency_ms", [0, 0.0001, 1, 80, 1000])
def test_a_segment_travels_for_the_latency(latency_ms):
    _, trace = play(connected, latency_ms=latency_ms)
    assert {p.arrives - p.t for p in trace.packets} == {round(latency_ms * MILLISECOND)}


def test_a_handshake_an_exchange_and_what_the_programs_saw():
    _, trace = play(connected)
    assert wire(trace) == ["c:S", "s:SA", "c:A", "c:PA40", "s:A", "s:PA200", "c:A"]
    assert [(call.host, call.call, call.result) for call in trace.calls] == [
        ("server", "listen(5432, backlog 128)", "ok"),
        ("client", "connect(10.0.0.2:5432)", "ok"),
        ("server", "accept()", "ok"),
        ("client", "send(40)", "40"),
        ("server", "recv()", "40"),
        ("server", "send(200)", "200"),
        ("client", "recv()", "200"),
    ]
    connect = trace.calls[1]
    assert (connect.began, connect.t) == (0, 2 * MILLISECOND)
    assert connect.port == trace.packets[0].segment.source.port
    assert trace.hosts == {"client": "10.0.0.1", "server": "10.0.0.2"}
    assert (trace.bench, trace.experiment) == ("model", "scripted")


def test_two_runs_are_one():
    async def script(bench):
        client, server, _ = await connected(bench)
        bench.lose(bench_host(bench, "client"), data=2)
        await bench.together(client.send(5000), server.send(9000))
        await bench.sleep(5)
        await client.close()
        await bench.sleep(90)

    (_, one), (_, two), (_, other) = play(script, seed=3), play(script, seed=3), play(script, seed=4)
    assert one == two
    assert one.to_json() == two.to_json()
    assert one.packets[0].segment.seq != other.packets[0].segment.seq
    assert one.to_json()["segments"] == other.to_json()["segments"], "relative numbers hide the seed"


def bench_host(bench, name):
    return next(host for host in bench.wire.owners.values() if host.name == name)


# -- several things at once --------------------------------------------------------------------------


def test_together_gives_results_in_their_order():
    async def after(bench, seconds):
        await bench.sleep(seconds)
        return seconds

    async def script(bench):
        return await bench.together(after(bench, 3), after(bench, 1), after(bench, 2)), bench.now()

    assert play(script)[0] == ([3, 1, 2], 3)


def test_within_gives_up_and_goes_on():
    async def script(bench):
        client, server, _ = await connected(bench)
        began = bench.now()
        nothing = await bench.within(5, client.receive())
        waited = bench.now() - began
        await server.send(10)
        something = await bench.within(5, client.receive())
        return nothing, waited, something.value, bench.now() - began < 6

    result, trace = play(script)
    assert result == (None, 5, 10, True)
    assert [call.result for call in trace.calls if call.call == "recv()"][-1:] == ["10"], "given up: no call"


def test_within_nothing_left_over():
    """A call that returned in time is not disturbed when the limit passes."""

    async def script(bench):
        client, _, _ = await connected(bench)
        await bench.within(1, bench.sleep(0.5))
        await bench.sleep(10)
        return bench.now() > 10, client.socket.error

    assert play(script)[0] == (True, None)


def test_two_programs_may_wait_for_one_connection():
    async def script(bench):
        client, server, _ = await connected(bench)

        async def later():
            await bench.sleep(1)
            await server.send(10)
            await bench.sleep(1)
            await server.send(10)

        first, second, _ = await bench.together(client.receive(10), client.receive(10), later())
        return first.value, second.value

    assert play(script)[0] == (10, 10)


def test_connect_and_accept_wait_for_each_other():
    async def script(bench):
        client_host, server_host = bench.hosts("client", "server")
        listener = await server_host.listen(5432)

        async def late():
            await bench.sleep(3)
            return await client_host.connect(server_host, 5432)

        accepted, (result, _) = await bench.together(listener.accept(), late())
        return result.ok, accepted.socket.state

    assert play(script)[0] == (True, "ESTABLISHED")


def test_a_mistake_in_a_script_comes_out():
    async def script(bench):
        bench.hosts("client")[0].set(tcp_nonsense=1)

    with pytest.raises(ScriptError, match="no sysctl tcp_nonsense"):
        play(script)
    assert gc.isenabled()


def test_a_script_that_waits_for_ever_says_so():
    async def script(bench):
        listener = await bench.hosts("server")[0].listen(5432)
        await listener.accept()

    with pytest.raises(ScriptError, match="waits for something that never comes"):
        play(script)


def test_a_runtime_error_of_a_script_stays_what_it_is():
    async def script(bench):
        await bench.sleep(1)
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        play(script)


def test_garbage_is_collected_again_afterwards_unless_it_was_not():
    play(connected)
    assert gc.isenabled()
    gc.disable()
    try:
        play(connected)
        assert not gc.isenabled()
    finally:
        gc.enable()


# -- losses, cables, firewalls -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "lost"),
    [
        ({"syn": 1}, ["c:S x"]),
        ({"syn": 3}, ["c:S x"] * 3),
        ({"ack": 1}, ["c:A x"]),
        ({"data": 2}, ["c:PA40 x"] * 2),
        ({"any": 4}, ["c:S x"] * 4),
    ],
)
def test_named_segments_are_lost_and_the_story_goes_on(which, lost):
    async def script(bench):
        client_host, server_host = bench.hosts("client", "server")
        bench.lose(client_host, **which)
        listener = await server_host.listen(5432)
        _, client = await client_host.connect(server_host, 5432)
        server = await listener.accept()
        await client.exchange(server)

    _, trace = play(script)
    assert [each for each in wire(trace) if each.endswith("x")] == lost
    assert {p.fate for p in trace.packets if p.arrives is None} == {"lost"}


def test_an_unknown_name_of_a_loss():
    async def script(bench):
        bench.lose(bench.hosts("client")[0], packets=1)

    with pytest.raises(KeyError):
        play(script)


def test_what_is_on_the_wire_when_the_cable_is_pulled_is_lost_too():
    async def script(bench):
        client, server, _ = await connected(bench)
        await client.send(10)
        await bench.sleep(0.0005)
        bench_host(bench, "server").unplug()
        await bench.sleep(0.0001)
        bench_host(bench, "server").plug()
        await bench.sleep(0.1)
        return server.socket.receiver.buffered, await bench.within(10, server.receive())

    (lost, (received)), trace = play(script)
    assert lost == 0 and received.value == 10
    assert [p.fate for p in trace.packets if p.segment.length == 10] == ["lost", "delivered"]
    assert [note.text for note in trace.notes] == ["unplugged", "plugged in again"]


@pytest.mark.parametrize("end", ["client", "server"])
def test_an_unplugged_host_neither_sends_nor_receives(end):
    async def script(bench):
        client, server, _ = await connected(bench)
        bench_host(bench, end).unplug()
        await bench.together(client.send(10), server.send(20))
        await bench.sleep(0.01)
        return client.socket.receiver.buffered, server.socket.receiver.buffered

    assert play(script)[0] == (0, 0)


def test_reject_answers_with_a_rst_and_drop_with_nothing():
    async def script(bench):
        client_host, server_host = bench.hosts("client", "server")
        server_host.reject(5432)
        server_host.drop(5433)
        refused, _ = await client_host.connect(server_host, 5432)
        return refused.error, await bench.within(200, client_host.connect(server_host, 5433)), bench.now()

    (refused, (dropped, _), now), trace = play(script)
    assert (refused, dropped.error) == ("ECONNREFUSED", "ETIMEDOUT")
    assert now == pytest.approx(131.002)
    assert wire(trace)[:2] == ["c:S", "s:RA"]
    assert {p.fate for p in trace.packets if p.sender == "client"} == {
        "dropped_by:REJECT",
        "dropped_by:DROP",
    }


def test_a_reject_in_the_middle_tells_one_side_only():
    """The RST goes to whoever sent, at the number that it had acknowledged."""

    async def script(bench):
        client, server, _ = await connected(bench)
        bench_host(bench, "server").reject(5432)
        await client.send(10)
        await bench.sleep(1)
        return client.socket.error, server.socket.state

    result, trace = play(script)
    assert result == ("ECONNRESET", "ESTABLISHED")
    assert trace.packets[-1].verdict == "accepted"


# -- hosts -------------------------------------------------------------------------------------------


def test_a_rebooted_host_answers_with_a_rst():
    async def script(bench):
        client, _, _ = await connected(bench)
        bench_host(bench, "server").reboot()
        await client.send(10)
        return (await client.receive()).error

    assert play(script)[0] == "ECONNRESET"


def test_an_address_that_has_moved():
    async def script(bench):
        client_host, server_host, other = bench.hosts("client", "server", "other")
        listener = await server_host.listen(5432)
        _, client = await client_host.connect(server_host, 5432)
        await client.exchange(await listener.accept())
        bench.move_address(server_host, other)
        await client.send(10)
        return (await client.receive()).error

    error, trace = play(script)
    assert error == "ECONNRESET"
    assert [p.receiver for p in trace.packets[-2:]] == ["other", "client"]
    assert trace.packets[-1].sender == "other"


def test_sysctls_that_a_release_lacks_are_ignored():
    async def script(bench):
        (host,) = bench.hosts("client")
        host.set(tcp_syn_linear_timeouts=2, tcp_retries2=3)
        return host.stack.sysctls.tcp_syn_linear_timeouts, host.stack.sysctls.tcp_retries2

    assert play(script, linux="6.1")[0] == (None, 3)
    assert play(script, linux="6.18")[0] == (2, 3)


def test_options_reach_the_socket():
    options = SocketOptions(
        keepalive_idle_s=2,
        keepalive_interval_s=1.5,
        keepalive_probes=3,
        user_timeout_s=0.25,
        receive_buffer=9000,
    )

    async def script(bench):
        client, _, _ = await connected(bench, options)
        return client.socket.options

    given = play(script)[0]
    assert (given.keepalive_idle, given.keepalive_interval) == (2 * SECOND, 3 * SECOND // 2)
    assert (given.keepalive_probes, given.user_timeout, given.receive_buffer) == (3, SECOND // 4, 9000)


# -- calls -------------------------------------------------------------------------------------------


def test_calls_say_what_came_back():
    async def script(bench):
        client, server, _ = await connected(bench)
        await server.send(10)
        await server.kill()
        await bench.sleep(0.1)
        first, second = await client.receive(), await client.receive()
        await client.send(5)
        await bench.sleep(0.1)
        gone = await client.send(5)
        await client.close()
        return first.value, second.end_of_file, gone.error

    result, trace = play(script)
    assert result == (10, True, "EPIPE")
    said = [(call.call, call.result) for call in trace.calls[-6:]]
    assert said == [
        ("killed (SIGKILL)", "ok"), ("recv()", "10"), ("recv()", "end of file"),
        ("send(5)", "5"), ("send(5)", "EPIPE"), ("close()", "ok"),
    ]  # fmt: skip


def test_a_blocked_call_knows_when_it_began():
    async def script(bench):
        client, server, _ = await connected(bench)
        began = bench.now()
        await bench.together(client.receive(), later(bench, server))
        return began

    async def later(bench, server):
        await bench.sleep(2)
        await server.send(1)

    began, trace = play(script)
    call = trace.calls[-1]
    assert (call.call, call.began, call.t - call.began) == (
        "recv()",
        round(began * SECOND),
        2_001 * MILLISECOND,
    )


@pytest.mark.parametrize(
    ("verb", "flags", "text"),
    [
        ("close", "FA", "close()"),
        ("kill", "FA", "killed (SIGKILL)"),
        ("reset", "RA", "close() with SO_LINGER 0"),
        ("shutdown_write", "FA", "shutdown(SHUT_WR)"),
    ],
)
def test_ways_to_end(verb, flags, text):
    async def script(bench):
        client, _, _ = await connected(bench)
        bench.watch_from_now()
        return (await getattr(client, verb)()).ok

    ok, trace = play(script)
    assert ok and trace.calls[-1].call == text and trace.calls[-1].result == "ok"
    assert wire(trace, trace.watched_from) == [f"c:{flags} x"], "the run ends before it arrives"


@pytest.mark.parametrize("verb", ["close", "kill"])
def test_a_listener_that_goes_resets_what_waits(verb):
    async def script(bench):
        client_host, server_host = bench.hosts("client", "server")
        listener = await server_host.listen(5432)
        _, client = await client_host.connect(server_host, 5432)
        await bench.sleep(0.1)
        await getattr(listener, verb)()
        return (await client.receive()).error

    assert play(script)[0] == "ECONNRESET"


def test_wait_until_broken():
    async def script(bench):
        client, server, _ = await connected(bench)
        nothing = await client.wait_until_broken(10)
        await server.close()
        fin = await client.wait_until_broken(10)
        healthy, after = nothing.ok and fin.ok, bench.now()
        await client.send(1)
        error = (await client.wait_until_broken(10)).error
        return healthy, round(after), error, (await client.send(1)).error

    assert play(script)[0] == (True, 20, "EPIPE", "EPIPE")


def test_settled_waits_for_the_acknowledgement_and_for_ones_own():
    async def script(bench):
        client, _, _ = await connected(bench)
        await client.send(10)
        before = client.socket.sender.busy
        await client.settled()
        return before, client.socket.sender.busy, client.socket.receiver.ack_needed

    assert play(script)[0] == (True, False, False)


def test_settled_ends_when_the_connection_does():
    async def script(bench):
        client, server, _ = await connected(bench)
        await client.send(10)
        await server.reset()
        await client.settled()
        return client.socket.state

    assert play(script)[0] == "CLOSED"


# -- forged resets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "verdict", "answers"),
    [(0, "accepted", 0), (1, "challenged", 1), (-1, "ignored", 0), (10**9, "ignored", 0)],
)
def test_a_forged_reset_claims_to_come_from_the_peer(offset, verdict, answers):
    async def script(bench):
        client, _, _ = await connected(bench)
        bench.watch_from_now()
        bench.forge_reset(client, offset)
        await bench.sleep(0.0015)

    _, trace = play(script)
    forged, *answered = [p for p in trace.packets if p.t >= trace.watched_from]
    assert (forged.kind, forged.sender, forged.verdict) == ("forged", "server", verdict)
    assert len(answered) == answers


# -- what the trace keeps ----------------------------------------------------------------------------


def test_states_of_both_ends_over_time():
    async def script(bench):
        client, server, _ = await connected(bench)
        await client.close()
        await server.receive()
        await server.close()
        await bench.sleep(100)

    _, trace = play(script)
    states = {}
    for sample in trace.sockets:
        history = states.setdefault((sample.host, sample.remote.port == 0), [])
        if history[-1:] != [sample.state]:
            history.append(sample.state)
    # The server's FIN came with the ACK of the client's: no FIN_WAIT_2 to be seen.
    assert states["client", False] == ["SYN_SENT", "ESTABLISHED", "FIN_WAIT_1", "TIME_WAIT", "CLOSED"]
    assert states["server", False][:2] == ["SYN_RECV", "ESTABLISHED"]
    assert states["server", False][-2:] == ["LAST_ACK", "CLOSED"]
    assert states["server", True] == ["LISTEN"]
    assert trace.sockets_at(trace.end)[-1].state == "LISTEN"


def test_samples_are_in_order_and_each_says_something_new():
    async def script(bench):
        client, server, _ = await connected(bench, SocketOptions(keepalive_idle_s=5))
        await client.send(5000)
        await bench.sleep(30)
        await server.receive()
        await client.reset()
        await bench.sleep(1)

    _, trace = play(script)
    assert [s.t for s in trace.sockets] == sorted(s.t for s in trace.sockets)
    assert [p.t for p in trace.packets] == sorted(p.t for p in trace.packets)
    for _, history in trace.socket_history():
        for one, two in pairwise(history):
            assert one[4:] != two[4:]
    keepalive = [s for s in trace.sockets if s.timer == "keepalive"]
    assert keepalive and all(s.due > s.t for s in keepalive)


def test_a_four_tuple_used_again_begins_again():
    """The server's TIME_WAIT gives way to a new connection from the same port."""

    async def script(bench):
        client_host, server_host = bench.hosts("client", "server")
        listener = await server_host.listen(5432)
        states = []
        client_host.stack.sysctls.ip_local_port_range = (60001, 60001)
        for _ in range(2):
            _, client = await client_host.connect(server_host, 5432)
            server = await listener.accept()
            await server.close()
            await client.receive()
            await client.close()
            await bench.sleep(1)
            states.append((client.socket.local.port, server.socket.state))
        return states

    ((one, _), (two, state)), trace = play(script)
    assert one == two and state == "TIME_WAIT"
    assert [p.segment.letters for p in trace.packets].count("S") == 2
    syns = [r for p, r in zip(trace.packets, trace.relative(), strict=True) if "S" in p.segment.letters]
    assert [(r.seq, r.ack) for r in syns] == [(0, 0), (0, 1)] * 2


def test_counters_are_kept_as_nstat_shows_them():
    async def script(bench):
        client, _, _ = await connected(bench)
        bench_host(bench, "server").unplug()
        await client.send(10)
        await client.wait_until_broken(2000)

    _, trace = play(script)
    at_the_end = trace.counters_at(trace.end)["client"]
    assert at_the_end["TcpExtTCPAbortOnTimeout"] == 1
    assert at_the_end["TcpRetransSegs"] == 16 and at_the_end["TcpExtTCPLossProbes"] == 1
    assert trace.counters_at(trace.start)["client"] == {"TcpActiveOpens": 1}


def test_warnings_of_the_story_are_in_the_trace():
    trace = run_on_model(Scripted(connected, ignored=["one thing is ignored."]))
    assert trace.warnings == ["one thing is ignored."]


def test_run_reads_kinds_and_outcome():
    async def script(bench):
        client, _, _ = await connected(bench)
        bench_host(bench, "client").unplug()
        await client.send(10)
        await bench.sleep(1)

    trace = run(Scripted(script))
    assert trace.outcome == {"packets": len(trace.packets)}
    assert [p.kind for p in trace.packets[-3:]] == ["retransmission"] * 3


def test_a_bench_that_does_not_exist():
    with pytest.raises(ParameterError, match=r"bench = 'moon' is not one of .*model"):
        run(Scripted(connected), bench="moon")


# --- what programs do, and calls that never return ---


def test_what_a_program_does_is_in_the_trace():
    async def script(bench):
        client, _ = bench.hosts("client", "server")
        bench.call_program(client, "the report")
        bench.does(client, "idle", "idle in the pool", "idle")
        await bench.sleep(2)
        bench.does(client, "works", "the query runs", locks=True)

    trace = play(script)[1]
    assert trace.programs == {"client": "the report"}
    assert trace.activities == [
        Activity(0, "client", "idle", ("idle in the pool", "idle")),
        Activity(2 * SECOND, "client", "works", ("the query runs",), True),
    ]


def test_a_call_that_never_returns_is_pending_until_the_run_ends():
    async def script(bench):
        client, server, listener = await connected(bench)
        client.host.bench.watch_from_now()
        server.host.drop(7777)
        await bench.together(
            bench.within(1, client.receive()),
            bench.within(2, listener.accept()),
            bench.within(3, client.host.connect(server.host, 7777)),
        )

    trace = play(script)[1]
    began, end = trace.watched_from, trace.watched_from + 3 * SECOND
    assert [(c.host, c.call, c.result, c.began, c.t) for c in trace.pending] == [
        ("client", "recv()", "", began, end),
        ("server", "accept()", "", began, end),
        ("client", "connect(10.0.0.2:7777)", "", began, end),
    ]
    assert all(call.t < began for call in trace.calls)


def test_a_program_that_closes_its_socket_waits_for_it_no_more():
    async def script(bench):
        client, server, _ = await connected(bench)
        await bench.first(client.receive(), bench.sleep(1))
        await server.kill()
        await bench.first(client.receive(), bench.sleep(1))
        await client.close()

    assert play(script)[1].pending == []
