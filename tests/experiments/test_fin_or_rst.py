"""FIN or RST: every ending, and what the client's calls say."""

from itertools import pairwise

import pytest

from experiments.outcomes import outcome, trace_of, wire
from tcplab.experiments import FinOrRst

ENDINGS = {
    # ending: (server sends, recv() of a waiting client, send() after; then the idle client's two sends)
    "close": ("FIN", None, None, None, "EPIPE"),
    "kill": ("FIN", None, None, None, "EPIPE"),
    "kill_unread": ("RST", "ECONNRESET", "EPIPE", "ECONNRESET", "EPIPE"),
    "kill_running": ("FIN", None, None, None, "EPIPE"),
    "linger0": ("RST", "ECONNRESET", "EPIPE", "ECONNRESET", "EPIPE"),
    "shutdown_write": ("FIN", None, None, None, None),
    "listener_killed": ("RST", "ECONNRESET", "EPIPE", "ECONNRESET", "EPIPE"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_a_waiting_client_reads(ending):
    sends, error, second, *_ = ENDINGS[ending]
    assert outcome(FinOrRst, ending=ending) == {
        "server_sends": sends, "client_error": error, "second_write_error": second,
    }  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_an_idle_client_is_told_when_it_writes(ending):
    sends, _, _, first, second = ENDINGS[ending]
    trace, sentence = trace_of(FinOrRst, ending=ending, client="idle")
    assert trace.outcome == {
        "server_sends": sends, "client_error": first, "second_write_error": second,
    }  # fmt: skip
    succeeds = ending in ("close", "kill", "kill_running")
    assert ("still succeeds, and the server answers with a RST" in sentence) == succeeds


@pytest.mark.parametrize(
    ("ending", "sends", "error", "after"),
    [("port_closed", "RST", "ECONNREFUSED", 0.002), ("reject", "RST", "ECONNREFUSED", 0.002),
     ("drop", "nothing", "ETIMEDOUT", 131)],
)  # fmt: skip
def test_endings_that_a_new_connection_meets(ending, sends, error, after):
    trace, _ = trace_of(FinOrRst, ending=ending)
    assert trace.outcome == {"server_sends": sends, "client_error": error, "second_write_error": None}
    (connect,) = [call for call in trace.calls if call.call.startswith("connect(")]
    assert (connect.t - connect.began) / 1e9 == pytest.approx(after)
    assert outcome(FinOrRst, ending=ending, client="idle") == trace.outcome


def test_a_closed_port_and_a_reject_look_the_same_on_the_wire():
    wires = [
        wire(trace_of(FinOrRst, ending=ending)[0])[0].removesuffix(" x")
        for ending in ("port_closed", "reject")
    ]
    assert wires[0] == wires[1] == "c:S"
    closed, rejected = (trace_of(FinOrRst, ending=e)[0].packets[1].segment for e in ("port_closed", "reject"))
    assert (closed.flags, closed.seq, closed.ack) == (rejected.flags, rejected.seq, rejected.ack)


def test_kill_minus_9_sends_a_fin_unless_something_lies_unread():
    killed, _ = trace_of(FinOrRst, ending="kill")
    unread, _ = trace_of(FinOrRst, ending="kill_unread")
    assert wire(killed, killed.watched_from)[0] == "s:FA"
    assert wire(unread, unread.watched_from) == ["s:RA"]
    assert unread.counters_at(unread.end)["server"]["TcpExtTCPAbortOnClose"] == 1


def test_the_bare_rst_stands_at_the_number_that_the_data_acknowledged():
    trace, _ = trace_of(FinOrRst, ending="kill", client="idle")
    data, reset = [p.segment for p in trace.packets][-2:]
    assert (data.letters, reset.letters, reset.seq) == ("PA", "R", data.ack)


@pytest.mark.parametrize(("fin_timeout_s", "answered"), [(60, 4), (61, 0), (40, 2), (20, 1), (5, 0)])
def test_a_client_at_its_prompt_probes_what_is_left_of_the_server(fin_timeout_s, answered):
    """A probe every 15 s from the FIN on: answered for tcp_fin_timeout; the next one draws the RST."""
    trace, _ = trace_of(
        FinOrRst, ending="kill", client="idle", keepalive_idle_s=15, fin_timeout_s=fin_timeout_s
    )
    assert replies_to_probes(trace) == ["A"] * answered + ["R"]
    assert trace.outcome["client_error"] == "EPIPE"


def test_a_fin_timeout_above_a_minute_counts_twice():
    """Measured on Linux 6.18: 200 s keep the remains for 280 s."""
    trace, _ = trace_of(FinOrRst, ending="kill", client="idle", keepalive_idle_s=100, fin_timeout_s=200)
    assert replies_to_probes(trace) == ["A", "A", "R"]


def replies_to_probes(trace):
    """What came back to each keepalive probe."""
    return [
        after.segment.letters
        for probe, after in pairwise(trace.packets)
        if probe.kind == "keepalive" and probe.t > trace.watched_from
    ]


def test_a_client_that_waits_no_longer_than_it_watches():
    assert outcome(FinOrRst, ending="drop", watch_s=10)["client_error"] is None
    _, sentence = trace_of(FinOrRst, ending="drop", watch_s=10)
    assert sentence.endswith("The client still waits in connect().")
