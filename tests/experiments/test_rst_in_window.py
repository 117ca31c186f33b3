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
    [(0, ACCEPTED), (1, CHALLENGED), (30_000, CHALLENGED), (64_088, CHALLENGED),
     (64_089, IGNORED), (-1, IGNORED), (-(2**31) + 1, IGNORED), (2**31 - 1, IGNORED)],
)  # fmt: skip
def test_inside_is_from_the_next_byte_to_the_right_edge_both_inclusive(offset, says, latency_ms):
    assert outcome(RstInWindow, offset=offset, latency_ms=latency_ms) == {**says, "window": 64088}


@pytest.mark.parametrize(
    ("window", "wide"),
    [(2304, 1460), (2919, 2144), (2920, 2720), (3944, 2720), (8192, 7100), (20_000, 18_780), (65_535, 64_040),
     (65_536, 64_088), (131_072, 129_740), (200_000, 198_552), (1 << 20, 1_048_096)],
)  # fmt: skip
def test_the_edges_move_with_the_window_that_linux_advertises(window, wide):
    """Measured on 6.18.44: whole segments at first, then less the answer of 200 bytes or one segment."""
    assert outcome(RstInWindow, window=window, offset=0)["window"] == wide
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
        assert {"accepted": "is accepted", "challenged": "challenge ACK", "ignored": "is discarded"}[
            verdict
        ] in sentence


def test_a_connection_that_lives_still_carries_a_question():
    trace, _ = trace_of(RstInWindow, offset=-1)
    assert trace.packets[-1].segment.letters == "A" and trace.packets[-2].segment.length == 40
