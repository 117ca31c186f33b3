"""A RST that doesn't come from the peer: where it falls decides."""

import pytest

from experiments.outcomes import outcome, trace_of
from tcplab.core.knobs import ParameterError
from tcplab.experiments import RstInWindow

ACCEPTED = {"verdict": "accepted", "alive": False, "client_error": "ECONNRESET"}
CHALLENGED = {"verdict": "challenged", "alive": True, "client_error": None}
IGNORED = {"verdict": "ignored", "alive": True, "client_error": None}


@pytest.mark.parametrize("latency_ms", [0, 1, 100])
@pytest.mark.parametrize(
    ("offset", "says"),
    [(0, ACCEPTED), (1, CHALLENGED), (30_000, CHALLENGED), (65_536, CHALLENGED),
     (65_537, IGNORED), (-1, IGNORED), (-(2**31) + 1, IGNORED), (2**31 - 1, IGNORED)],
)  # fmt: skip
def test_inside_is_from_the_next_byte_to_the_right_edge_both_inclusive(offset, says, latency_ms):
    assert outcome(RstInWindow, offset=offset, latency_ms=latency_ms) == {**says, "window": 65536}


@pytest.mark.parametrize("window", [2304, 8192, 65536, 1 << 20])
def test_the_edges_move_with_the_window(window):
    wide = outcome(RstInWindow, window=window, offset=0)["window"]
    assert abs(wide - window) <= max(1024, window // 16)
    assert outcome(RstInWindow, window=window, offset=wide)["verdict"] == "challenged"
    assert outcome(RstInWindow, window=window, offset=wide + 1)["verdict"] == "ignored"


@pytest.mark.parametrize(("linux", "says"), [("4.7.0", CHALLENGED), ("4.8.0", ACCEPTED), ("6.18", ACCEPTED)])
def test_at_the_edge_of_what_is_held_out_of_order(linux, says):
    said = outcome(RstInWindow, sack_hole=True, at_sack_edge=True, linux=linux)
    assert {name: said[name] for name in says} == says


def test_with_a_hole_the_exact_number_is_still_that_of_the_missing_byte():
    assert outcome(RstInWindow, sack_hole=True)["verdict"] == "accepted"
    assert outcome(RstInWindow, sack_hole=True, offset=40)["verdict"] == "challenged"


def test_an_edge_needs_a_hole():
    with pytest.raises(ParameterError, match="at_sack_edge = True needs sack_hole = True"):
        RstInWindow(at_sack_edge=True)


def test_the_trace_says_what_became_of_the_forged_segment():
    for offset, verdict in ((0, "accepted"), (1, "challenged"), (-1, "ignored")):
        trace, sentence = trace_of(RstInWindow, offset=offset)
        (forged,) = [p for p in trace.packets if p.kind == "forged"]
        assert (forged.sender, forged.receiver, forged.segment.letters) == ("server", "client", "R")
        assert forged.verdict == trace.outcome["verdict"] == verdict
        assert {"accepted": "obeyed", "challenged": "challenge ACK", "ignored": "thrown away"}[
            verdict
        ] in sentence


def test_a_connection_that_lives_still_carries_a_question():
    trace, _ = trace_of(RstInWindow, offset=-1)
    assert trace.packets[-1].segment.letters == "A" and trace.packets[-2].segment.length == 40


def test_a_window_below_the_range_is_compared_and_ends_nothing():
    """With a window of 2304 bytes Linux advertises one segment, 1460 bytes, which nobody can ask for."""
    linux, _ = trace_of(RstInWindow, window=2304)
    linux.outcome["window"] = 1460
    assert RstInWindow(window=2304).matched_to(linux).window == 2304
