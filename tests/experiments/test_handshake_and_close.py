"""A healthy connection: three steps to open, four to close, TIME_WAIT at whoever closed first."""

import pytest

from experiments.outcomes import outcome, trace_of, wire
from tcplab.experiments import HandshakeAndClose

OPENING = ["c:S", "s:SA", "c:A", "c:PA40", "s:A", "s:PA200", "c:A"]


@pytest.mark.parametrize(
    ("closer", "closing"),
    [
        ("client", ["c:FA", "s:FA", "c:A"]),
        ("server", ["s:FA", "c:FA", "s:A"]),
        ("both", ["c:FA", "s:FA", "s:A", "c:A"]),
    ],
)
def test_who_closes_first_keeps_time_wait(closer, closing):
    trace, sentence = trace_of(HandshakeAndClose, closer=closer)
    assert wire(trace)[:7] == OPENING
    assert sorted(wire(trace)[7:]) == sorted(closing)
    assert trace.outcome == {"first_fin": closer, "time_wait_on": closer, "segments": 7 + len(closing)}
    assert ("both sides keep" if closer == "both" else f"the {closer} keeps") in sentence


def test_every_call_succeeds():
    trace, _ = trace_of(HandshakeAndClose)
    assert not [call for call in trace.calls if call.result.startswith("E")]
    assert [call.result for call in trace.calls][-3:] == ["ok", "end of file", "ok"]


@pytest.mark.parametrize("request_, response", [(1, 1), (1448, 14480), (14480, 1)])
def test_all_bytes_arrive(request_, response):
    trace, sentence = trace_of(HandshakeAndClose, request=request_, response=response)
    sent = {"client": 0, "server": 0}
    for packet in trace.packets:
        sent[packet.sender] += packet.segment.length
    assert sent == {"client": request_, "server": response}
    assert f"a query of {request_:,} byte" in sentence


@pytest.mark.parametrize("latency_ms", [0, 0.1, 1, 80, 1000])
@pytest.mark.parametrize("closer", ["client", "server", "both"])
def test_far_away_or_near_the_same_side_keeps_it(latency_ms, closer):
    assert outcome(HandshakeAndClose, closer=closer, latency_ms=latency_ms)["time_wait_on"] == closer
