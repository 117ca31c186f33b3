"""TIME_WAIT's two purposes, each with it and without."""

import pytest

from bench.sandboxes import need_sandbox
from experiments.outcomes import outcome, trace_of, wire
from tcplab.agree import agree
from tcplab.core.text import SECOND
from tcplab.experiments import WhyTimeWait


def test_time_wait_repeats_a_lost_last_ack_and_begins_anew():
    trace, sentence = trace_of(WhyTimeWait)
    assert wire(trace, trace.watched_from) == ["s:FA", "c:A x", "s:FA", "c:A"]
    assert trace.outcome["old_end_answers"] == "ACK" and trace.outcome["server_waited_s"] == 0.206
    waits = [s for s in trace.sockets if s.host == "client" and s.state == "TIME_WAIT"]
    assert len(waits) == 2 and waits[1].due - waits[0].due == waits[1].t - waits[0].t > SECOND // 5
    assert "start again" in sentence and "0.206 s" in sentence


def test_without_it_the_repeated_fin_meets_a_reset():
    trace, sentence = trace_of(WhyTimeWait, time_wait="refused")
    assert wire(trace, trace.watched_from) == ["s:FA", "c:A x", "s:FA", "c:R"]
    assert trace.outcome["old_end_answers"] == "RST"
    assert trace.counters_at(trace.end)["client"]["TcpExtTCPTimeWaitOverflow"] == 1
    assert not any(s.state == "TIME_WAIT" for s in trace.sockets)
    assert sentence.endswith("ends on the server as a reset.")


def test_time_wait_throws_an_old_answer_away():
    trace, _ = trace_of(WhyTimeWait, purpose="old_duplicate")
    assert wire(trace, trace.watched_from) == ["s:FA", "c:A", "s:PA200", "c:A", "s:R"]
    assert trace.outcome["reconnect_error"] == "EADDRNOTAVAIL"
    assert trace.outcome["old_bytes_believed"] == 0
    (waiting,) = [s for s in trace.sockets_at(trace.end) if s.host == "client"]
    assert waiting.state == "TIME_WAIT", "tcp_rfc1337 keeps it alive under the server's RST"


@pytest.mark.parametrize("latency_ms", [0, 1, 20, 100])
def test_without_it_an_old_answer_is_read_as_the_new_one(latency_ms):
    trace, sentence = trace_of(
        WhyTimeWait, purpose="old_duplicate", time_wait="refused", latency_ms=latency_ms
    )
    assert trace.outcome["old_bytes_believed"] == 200 and trace.outcome["reconnect_error"] is None
    answers = [p for p in trace.packets if p.sender == "server" and p.segment.length]
    _, old, true = answers
    assert old.kind == "forged" and true.kind != "forged"
    assert (old.segment.seq, old.segment.length) == (true.segment.seq, true.segment.length)
    reads = [call for call in trace.calls if call.host == "client" and call.call == "recv()"]
    assert [call.result for call in reads] == ["200", "200"], "the true answer is never read"
    assert not any(call.result.startswith("E") for call in trace.calls)
    ends = [s for s in trace.sockets_at(trace.end) if s.state == "ESTABLISHED"]
    assert len(ends) == 2 and all(s.send_q == s.recv_q == 0 for s in ends), "both sides are content"
    assert "No error on either side." in sentence


@pytest.mark.parametrize("linux", ["3.10", "4.9", "5.4", "6.18"])
@pytest.mark.parametrize("purpose", ["last_ack_lost", "old_duplicate"])
def test_it_was_always_so(linux, purpose):
    kept = outcome(WhyTimeWait, purpose=purpose, linux=linux)
    refused = outcome(WhyTimeWait, purpose=purpose, linux=linux, time_wait="refused")
    assert (kept["old_end_answers"], kept["old_bytes_believed"]) == ("ACK", 0)
    assert refused["old_end_answers"] == "RST" or refused["old_bytes_believed"] == 200


@pytest.mark.linux
def test_all_four_agree_with_linux():
    need_sandbox()
    found = agree([WhyTimeWait(**preset) for preset in WhyTimeWait.presets.values()])
    assert [(f.parameters, list(map(str, f.differences))) for f in found if not f.agrees] == []
