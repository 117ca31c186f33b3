"""The right answers of lesson 12 against the model, and the recordings that it shows."""

import pytest

from recordings.captures import LATE, STORED
from tcplab import AcceptQueue, read_capture, recording, run
from tcplab.lesson import ask
from tcplab.pictures.queues import listening

RECORDED = ("accept_queue", "ghosts_forty_nodes", "ghosts_half_open", "queue_full_before")


def counters(trace):
    return {name.removeprefix("TcpExt"): n for name, n in trace.counters_at(trace.end)["server"].items()}


def connects(trace):
    return [(call.t - call.began) / 1e9 for call in trace.calls if call.call.startswith("connect(")]


@pytest.mark.parametrize("name", RECORDED)
def test_model_and_recording_agree_in_outcome_and_counters(name):
    linux = recording(name)
    model = run(AcceptQueue.from_values(linux.parameters))
    assert linux.outcome == model.outcome
    ours, theirs = counters(model), counters(linux)
    for counter in ("ListenOverflows", "ListenDrops", "SyncookiesSent", "SyncookiesRecv", "TCPTimeouts"):
        assert ours.get(counter, 0) == theirs.get(counter, 0), counter


@pytest.mark.parametrize("name", RECORDED[1:])
def test_the_capture_has_every_connection_of_the_run(name):
    assert len(read_capture(STORED / f"{name}.pcap").connections) == listening(recording(name)).clients


def test_eight_succeed_and_the_server_has_three():
    assert ask("ghost_connections", "eight_at_once").right.startswith("connect() succeeds for all eight")
    for trace in (run(AcceptQueue()), recording("accept_queue")):
        now = listening(trace)
        assert (now.connected[-1][1], now.has[-1][1], now.ghosts) == (8, 3, 5)


def test_connect_returns_with_its_own_next_syn():
    question = ask("ghost_connections", "room_after")
    settings = {"connects_before": 3, "connects": 1, "accept_after_s": 5.5, "watch_s": 20}
    for linux in ("6.18", "5.4"):
        assert connects(run(AcceptQueue(**settings, linux=linux)))[-1] == pytest.approx(7.04)
    assert question.right == 7 and 5.5 in question.common
    assert connects(recording("queue_full_before"))[-1] == pytest.approx(7.04, abs=0.3)


def test_only_ghosts_that_speak_become_real():
    assert ask("ghost_connections", "who_lives").right.startswith("Ghosts that send something come alive")
    nodes = {"backlog": 128, "connects": 320, "accept_after_s": 2}
    speaking = run(AcceptQueue(**nodes)).outcome
    waiting = run(AcceptQueue(**nodes, speaks_first="server")).outcome
    assert speaking["ghosts"] == speaking["revived"] == waiting["ghosts"] == 191
    assert waiting["revived"] == 0
    forty = recording("ghosts_forty_nodes")
    assert (forty.outcome["ghosts"], forty.outcome["revived"]) == (23, 0)


def test_half_open_ghosts_are_forgotten_after_63_seconds_in_silence():
    assert ask("ghost_connections", "forgotten").right == (
        "After 63 s the server removes them and sends nothing"
    )
    linux = recording("ghosts_half_open")
    gone = [linux.seconds(s.t) for s in linux.sockets if s.host == "server" and s.state == "CLOSED"]
    assert len(gone) == 2 and all(63 <= t <= 63.1 * (1 + LATE) + 0.3 for t in gone)
    assert not any("R" in packet.segment.letters for packet in linux.packets)
    assert {s.state for s in linux.sockets_at(linux.end) if s.host == "client"} == {"ESTABLISHED"}


def test_an_abort_reaches_no_cookie():
    assert run(AcceptQueue(abort_on_overflow=True)).outcome["client_errors"] == [None] * 8
