"""The right answers of lesson 13 against the model, and the recordings that it shows."""

import pytest

from tcplab import RstInWindow, StaleReject, recording, run
from tcplab.lesson import ask
from tcplab.registry import find

RECORDED = (
    "rst_in_window",
    "lesson_rst_exact",
    "lesson_rst_old",
    "lesson_rst_beyond",
    "lesson_rst_sack_edge",
    "stale_reject",
    "lesson_reject_alone",
    "lesson_reject_stale",
    "lesson_reject_refreshed",
)


def question(name):
    return ask("the_rst_that_did_not_close", name)


def counters(trace, host="client"):
    return trace.counters_at(trace.end)[host]


def reset_and_expected(trace):
    """The relative numbers of the forged RST, and of the newest request's end that came before it."""
    sent = [
        (packet, number)
        for packet, number in zip(trace.packets, trace.relative(), strict=True)
        if packet.sender == "client"
    ]
    reset, number = next(pair for pair in sent if "R" in pair[0].segment.letters)
    ends = [n.seq + p.segment.length for p, n in sent if p.segment.length and p.arrives <= reset.arrives]
    return number.seq, max(ends)


@pytest.mark.parametrize("name", RECORDED)
def test_model_and_recording_give_the_same_verdict(name):
    linux = recording(name)
    model = run(find(linux.experiment).from_values(linux.parameters))
    assert linux.outcome["verdict"] == model.outcome["verdict"]


def test_one_byte_past_is_asked_back():
    assert question("one_byte_past").right == "It answers with an ACK, and the connection stays open"
    for trace in (run(RstInWindow(offset=1)), recording("rst_in_window")):
        assert (trace.outcome["verdict"], trace.outcome["alive"]) == ("challenged", True)
        assert counters(trace)["TcpExtTCPChallengeACK"] == 1
    for name in ("lesson_rst_exact", "lesson_rst_old", "lesson_rst_beyond"):
        assert "TcpExtTCPChallengeACK" not in counters(recording(name))


def test_the_zones_end_where_the_lesson_says():
    verdicts = {-5000: "ignored", -1: "ignored", 0: "accepted", 1: "challenged"}
    verdicts |= {64_088: "challenged", 64_089: "ignored"}
    for offset, verdict in verdicts.items():
        assert run(RstInWindow(offset=offset)).outcome["verdict"] == verdict, offset
    edge = {"sack_hole": True, "at_sack_edge": True}
    assert run(RstInWindow(**edge)).outcome["verdict"] == "accepted"
    assert run(RstInWindow(**edge, linux="3.10")).outcome["verdict"] == "challenged"


@pytest.mark.parametrize("name", ["lesson_rst_old", "lesson_rst_beyond"])
def test_an_ignored_reset_leaves_no_trace_but_a_segment_received(name):
    """As the same run without a RST would: nothing reset, nothing challenged, nothing skipped."""
    moved = {each for each in counters(recording(name)) if "Reset" in each or "Skipped" in each}
    assert not moved


def test_a_reject_is_stale_with_newer_requests_in_flight():
    assert question("stale").right.startswith("It discards the RST without an answer")
    for trace in (run(StaleReject(latency_ms=20)), recording("lesson_reject_stale")):
        assert trace.outcome["verdict"] == "ignored" and trace.outcome["closed_after_s"] is None
        number, expected = reset_and_expected(trace)
        assert expected - number == 6 * 40
        assert not any(call.result.startswith("E") for call in trace.calls)
        # All requests are answered, the rejected response by a repetition.
        bytes_read = sum(
            int(call.result) for call in trace.calls if (call.host, call.call) == ("client", "recv()")
        )
        requests = sum(1 for p in trace.packets if p.sender == "client" and p.segment.length)
        assert bytes_read == 200 * requests


def test_a_reject_is_exact_for_a_client_that_sends_one_request_at_a_time():
    for trace in (run(StaleReject(in_flight=0, latency_ms=20)), recording("lesson_reject_alone")):
        number, expected = reset_and_expected(trace)
        assert number == expected and trace.outcome["verdict"] == "accepted"
        errors = [
            call.result for call in trace.calls if call.host == "client" and call.result.startswith("E")
        ]
        assert errors[0] == "ECONNRESET"


def test_ten_seconds_need_ten_seconds_of_silence_where_packets_restart_them():
    assert question("ten_seconds").right == "Not while the client keeps sending"
    refreshed = StaleReject(latency_ms=20, balancer_close_s=10, balancer_refresh=True)
    assert run(refreshed).outcome["closed_after_s"] is None
    fixed = run(StaleReject(latency_ms=20, balancer_close_s=10))
    assert fixed.outcome["closed_after_s"] == pytest.approx(10, abs=0.3)
    assert recording("lesson_reject_refreshed").outcome["closed_after_s"] is None
    assert recording("stale_reject").outcome["closed_after_s"] == pytest.approx(2, abs=0.3)


def test_the_balancer_tells_the_client_and_the_server_keeps_its_session():
    linux = recording("stale_reject")
    states = {sample.host: sample.state for sample in linux.sockets_at(linux.end)}
    assert states.get("server") == "ESTABLISHED" and states.get("client") in (None, "CLOSED")
    assert counters(linux)["TcpEstabResets"] == 1 and "TcpOutRsts" not in counters(linux)
    assert not any("Reset" in name or "Rst" in name for name in counters(linux, "server"))
