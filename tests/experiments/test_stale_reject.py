"""The stale RST: what the server makes of it depends on what has come meanwhile."""

from itertools import pairwise

import pytest

from experiments.outcomes import outcome, trace_of
from tcplab.bench import run
from tcplab.core.segment import RST
from tcplab.experiments import StaleReject

IGNORED = {"verdict": "ignored", "alive_after_rst": True, "closed_after_s": None}


def forged(trace):
    """The RST that netfilter sent in the client's name."""
    return next(p for p in trace.packets if p.sender == "client" and p.segment.flags & RST)


@pytest.mark.parametrize("latency_ms", [1, 3, 20, 100])
@pytest.mark.parametrize("in_flight", [1, 2, 6])
def test_with_newer_requests_on_their_way_it_is_stale(in_flight, latency_ms):
    trace, sentence = trace_of(StaleReject, in_flight=in_flight, latency_ms=latency_ms)
    assert trace.outcome == IGNORED
    assert "stale" in sentence and "Nothing else ends the connection" in sentence


@pytest.mark.parametrize("latency_ms", [0, 1, 20, 400])
def test_one_at_a_time_it_is_exact(latency_ms):
    trace, sentence = trace_of(StaleReject, in_flight=0, latency_ms=latency_ms)
    assert trace.outcome == {
        "verdict": "accepted", "alive_after_rst": False, "closed_after_s": latency_ms / 1000,
    }  # fmt: skip
    assert "the server accepts the RST" in sentence and "ECONNRESET" in sentence


@pytest.mark.parametrize("latency_ms", [1, 20])
def test_all_newer_requests_leave_before_the_response_is_rejected(latency_ms):
    trace = run(StaleReject(latency_ms=latency_ms))
    rejected = next(p for p in trace.packets if p.fate == "dropped_by:REJECT")
    requests = [p.t for p in trace.packets if p.sender == "client" and p.segment.length][1:8]
    assert rejected.segment.length == 200 and requests[-1] < rejected.arrives
    gaps = {after - before for before, after in pairwise(requests)}
    assert gaps == {5_000_000}


def test_its_number_is_what_the_rejected_response_acknowledged():
    trace = run(StaleReject(latency_ms=20))
    rejected = next(p for p in trace.packets if p.fate == "dropped_by:REJECT")
    reset = forged(trace)
    assert (reset.segment.seq, reset.t) == (rejected.segment.ack, rejected.arrives)
    newest = max(
        p.segment.end_seq for p in trace.packets if p.sender == "client" and p.arrives < reset.arrives
    )
    assert newest - reset.segment.seq == 240


def test_the_client_gets_every_answer_all_the_same():
    trace = run(StaleReject(latency_ms=20))
    read = sum(
        int(c.result) for c in trace.calls if c.host == "client" and c.call == "recv()" and c.result.isdigit()
    )
    asked = sum(c.host == "client" and c.call == "send(40)" for c in trace.calls)
    assert read == 200 * asked


@pytest.mark.parametrize("latency_ms", [1, 20])
def test_the_balancer_ends_it_ten_seconds_later(latency_ms):
    trace, sentence = trace_of(StaleReject, balancer_close_s=10, latency_ms=latency_ms)
    assert trace.outcome["verdict"] == "ignored" and trace.outcome["alive_after_rst"]
    assert 10 <= trace.outcome["closed_after_s"] < 10.35
    assert "the load balancer accepted it" in sentence and "ECONNRESET" in sentence
    last = [p for p in trace.packets if p.sender == "balancer"]
    assert [(p.receiver, p.verdict) for p in last] == [("client", "accepted")]


def test_a_balancer_that_starts_its_time_again_never_ends_it():
    trace, sentence = trace_of(StaleReject, balancer_close_s=10, balancer_refresh=True)
    assert trace.outcome == IGNORED
    assert "each packet restarts its timer of 10 s" in sentence


def test_but_a_time_shorter_than_the_pause_between_questions_is_over():
    said = outcome(StaleReject, balancer_close_s=0.2, balancer_refresh=True)
    assert said["closed_after_s"] is not None


def test_watched_too_briefly():
    trace, sentence = trace_of(StaleReject, latency_ms=200, watch_s=0.3)
    assert trace.outcome == {"verdict": None, "alive_after_rst": None, "closed_after_s": None}
    assert "no response arrived" in sentence
    trace, sentence = trace_of(StaleReject, latency_ms=200, watch_s=0.5)
    assert trace.outcome["verdict"] is None and "ends before the RST arrives" in sentence
