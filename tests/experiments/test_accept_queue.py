"""More clients than the accept queue holds: who is in, who waits, and who is a ghost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.outcomes import outcome, trace_of
from tcplab.bench import run
from tcplab.core.releases import LISTED
from tcplab.experiments import AcceptQueue
from tcplab.experiments.accept_queue import client_ports, counted_at, established, last_began

NODES = {"backlog": 128, "connects": 320, "accept_after_s": 2}
RACE = {"syncookies": False, "connects_before": 2, "connects": 3}


def counters(trace, *names):
    said = trace.counters_at(trace.end)["server"]
    return [said.get(f"TcpExt{name}", 0) for name in names]


def test_eight_at_once_all_succeed_and_the_server_has_three():
    """Measured on 6.18.44, counters too."""
    trace, sentence = trace_of(AcceptQueue)
    assert trace.outcome == {
        "connected": 8, "server_has": 3, "ghosts": 5, "revived": 0, "client_errors": [None] * 8,
    }  # fmt: skip
    assert counters(trace, "ListenOverflows", "ListenDrops", "SyncookiesSent") == [35, 35, 5]
    assert "8 clients connect at once, and connect() succeeds for all of them." in sentence
    assert "3 s after the last connect() began the server has 3: 5 are ghosts" in sentence
    assert "its program gets no error" in sentence


def test_one_by_one_three_are_in_and_the_fourth_waits():
    trace, sentence = trace_of(AcceptQueue, concurrent=False)
    assert trace.outcome == {
        "connected": 3, "server_has": 3, "ghosts": 0, "revived": 0, "client_errors": [None] * 8,
    }  # fmt: skip
    assert len(client_ports(trace)) == 4
    assert "there is no ghost" in sentence and "1 connect() call still waits" in sentence


@pytest.mark.parametrize("linux", ["4.10", "4.18", "6.18"])
def test_a_full_queue_drops_every_syn_since_4_10(linux):
    said = outcome(AcceptQueue, connects_before=3, connects=5, linux=linux, backlog=2)
    assert (said["connected"], said["ghosts"]) == (3, 0)


@pytest.mark.parametrize("linux", ["3.10", "4.2"])
def test_before_it_let_two_in_at_a_time_as_ghosts(linux):
    """With more than one young request a SYN was dropped: two ghosts in the first second."""
    said = outcome(AcceptQueue, connects_before=3, connects=5, linux=linux, speak_after_s=0.5)
    assert (said["server_has"], said["ghosts"]) == (3, 2)


def test_320_nodes_all_become_real_when_they_speak_first():
    """Measured on 6.18.44: 129, 191, 191 and 253 overflows, the same."""
    trace, _ = trace_of(AcceptQueue, **NODES)
    said = trace.outcome
    assert (said["connected"], said["server_has"], said["ghosts"], said["revived"]) == (320, 129, 191, 191)
    assert counters(trace, "ListenOverflows", "SyncookiesSent", "SyncookiesRecv") == [253, 191, 444]


@pytest.mark.parametrize(("linux", "revived"), [("6.18", 0), ("6.12", 0), ("3.10", 127)])
def test_those_who_wait_for_a_greeting_stay_ghosts_where_it_was_a_cookie(linux, revived):
    """A cookie's SYN-ACK is never repeated; on 3.10 the SYN queue had room for 256, and repeats."""
    trace, sentence = trace_of(AcceptQueue, **NODES, speaks_first="server", linux=linux)
    assert (trace.outcome["server_has"], trace.outcome["revived"]) == (129, revived)
    assert "'reading initial communication packet'" in sentence
    assert not any(trace.outcome["client_errors"])


def test_half_open_for_63_seconds_and_then_unknown():
    trace, _ = trace_of(AcceptQueue, **RACE, speaks_first="server", watch_s=80)
    assert (trace.outcome["ghosts"], trace.outcome["revived"]) == (2, 0)
    gone = [s.t / 1e9 for s in trace.sockets if s.host == "server" and s.state == "CLOSED"]
    assert gone == [pytest.approx(63.1, abs=0.01)] * 2
    states = {s.state for s in trace.sockets_at(trace.end) if s.host == "client"}
    assert states == {"ESTABLISHED"}, "nobody has told the clients"


def test_who_speaks_then_is_refused():
    said = outcome(AcceptQueue, **RACE, speak_after_s=70, watch_s=80)
    assert said["client_errors"].count("ECONNRESET") == 2


@pytest.mark.parametrize(("syncookies", "resets"), [(False, 2), (True, 2)])
def test_abort_on_overflow_answers_half_open_ghosts(syncookies, resets):
    trace, sentence = trace_of(AcceptQueue, **{**RACE, "syncookies": syncookies}, abort_on_overflow=True)
    assert (trace.outcome["connected"], trace.outcome["ghosts"]) == (5, 0)
    assert trace.outcome["client_errors"].count("ECONNRESET") == resets
    assert "Connection reset by peer (ECONNRESET)" in sentence


def test_and_means_nothing_to_a_cookie():
    """Measured on 6.18.44."""
    assert outcome(AcceptQueue, abort_on_overflow=True)["ghosts"] == 5


@pytest.mark.parametrize(
    ("linux", "freed", "in_at"), [("6.18", 2.5, 3.04), ("6.18", 3.5, 4.04), ("5.4", 3.5, 7.04)]
)
def test_connect_does_not_wait_for_room_but_for_its_next_syn(linux, freed, in_at):
    """Measured: freed at 2.5 s, connect() returned at 3.06 s; before 6.5 SYNs went at 1, 3, 7 s."""
    trace, sentence = trace_of(
        AcceptQueue, connects_before=3, connects=1, accept_after_s=freed, linux=linux, latency_ms=20
    )
    took = max(call.t - call.began for call in trace.calls if call.call.startswith("connect"))
    assert took / 1e9 == pytest.approx(in_at, abs=0.01)
    assert f"The slowest connect() took {in_at:.1f} s" in sentence


def test_with_patience_a_connect_ends_with_an_error():
    said = outcome(AcceptQueue, concurrent=False, connects=4, watch_s=140)
    assert said["client_errors"] == [None, None, None, "ETIMEDOUT"]


def test_a_backlog_beyond_somaxconn_is_cut_and_that_is_said():
    trace, _ = trace_of(AcceptQueue, backlog=511, linux="4.18", connects=200)
    assert trace.warnings == ["backlog = 511 is cut to 128: that is net.core.somaxconn in Linux 4.18."]
    assert trace.outcome["server_has"] == 129
    assert trace_of(AcceptQueue, backlog=511)[0].warnings == []


def test_watched_for_as_long_as_it_takes():
    trace, _ = trace_of(AcceptQueue, watch_s=0)
    assert trace.end > 150e9
    assert trace.outcome["client_errors"].count("ECONNRESET") == 5, "the cookies are too old by then"


def test_a_run_may_end_before_the_clients_speak():
    trace, sentence = trace_of(AcceptQueue, speak_after_s=20, watch_s=2)
    assert counted_at(trace, 20) == trace.end and trace.outcome["ghosts"] == 5
    assert "2 s after the last connect() began" in sentence
    assert not [call for call in trace.calls if call.call.startswith("send")]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 6), st.integers(1, 12), st.integers(0, 8), st.booleans(), st.booleans(), st.booleans(),
    st.sampled_from([0, 0.3, 2]), st.sampled_from(["client", "server"]), st.sampled_from(LISTED),
    st.sampled_from([0, 1, 20, 400]),
)  # fmt: skip
def test_ghosts_are_those_whom_the_client_has_and_the_server_has_not(
    backlog, connects, before, at_once, cookies, abort, accept, first, linux, latency
):
    experiment = AcceptQueue(
        backlog=backlog, connects=connects, connects_before=before, concurrent=at_once, syncookies=cookies,
        abort_on_overflow=abort, accept_after_s=accept, speaks_first=first, linux=linux, latency_ms=latency,
        watch_s=6,
    )  # fmt: skip
    trace = run(experiment)
    said = trace.outcome
    believing, real = established(trace, counted_at(trace, 3))
    assert said["server_has"] == len(real) and said["ghosts"] == len(believing - real)
    assert said["revived"] <= said["ghosts"] <= said["connected"] <= connects + before
    assert len(said["client_errors"]) == connects + before
    assert last_began(trace) <= trace.end
    for sample in trace.sockets:
        if sample.state == "LISTEN":
            assert sample.recv_q <= backlog + 1
    assert experiment.sentence(trace).endswith(".")
