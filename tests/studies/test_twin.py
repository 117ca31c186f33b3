"""The small port_churn with real connections: on the model's stack, and on Linux."""

import random

import pytest

from bench.sandboxes import need_sandbox
from tcplab.agree import agree, draw, quick
from tcplab.bench import run
from tcplab.bench.agreement import compare, scope_of
from tcplab.bench.model import run_on_model
from tcplab.bench.sandbox import TooBusy
from tcplab.core.knobs import ParameterError
from tcplab.studies import PortChurn


def stack(churn):
    """The twin's script on the model of Linux TCP, segment by segment."""
    trace = run_on_model(churn)
    trace.outcome = churn.outcome(trace)
    return trace


@pytest.mark.parametrize("seed", range(8))
def test_the_arithmetic_says_what_the_modelled_stacks_do(seed):
    churn = draw(PortChurn, {}, random.Random(seed))
    model, played = run(churn), stack(churn)
    scope = scope_of(churn, model)
    assert compare(model, played, (scope, scope)) == []


def test_the_stacks_give_all_outcomes_in_the_same_order():
    churn = quick(PortChurn, {})
    played = stack(churn)
    assert list(played.outcome) == list(run(churn).outcome)
    assert (played.outcome["opened"], played.outcome["peak_time_wait"]) == (20, 20)
    assert churn.sentence(played).startswith("After 1 s all 20 ports are in use")
    few = quick(PortChurn, {"rate_per_s": 5})
    assert few.sentence(stack(few)).startswith("All 10 connections are opened; 10 sockets are in TIME_WAIT")


def test_what_is_closed_after_the_end_is_not_counted():
    # Attempts at 0, 0.2 … 1.8 s, each closed 0.33 s later: the last close comes at 2.13 s.
    churn = quick(PortChurn, {"rate_per_s": 5, "hold_s": 0.33, "ports": 10})
    assert run(churn).outcome["peak_time_wait"] == stack(churn).outcome["peak_time_wait"] == 9


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"ports": 62}, "ports = 62: at most 60, on the Linux bench."),
        ({"ports": 7}, "ports = 7: an even number, since Linux leaves one of an odd range unused"),
        ({"duration_s": 21}, "duration_s = 21: at most 20, on the Linux bench."),
        ({"time_wait_s": 30}, "time_wait_s = 30: 60, which is built into Linux, on the Linux bench."),
        ({"sources": 2}, "sources = 2: 1, since its client has one address, on the Linux bench."),
        ({"rate_per_s": 1000}, "rate_per_s = 1000 makes 2,000 attempts: at most 800, on the Linux bench."),
    ],
)
def test_what_is_too_much_for_linux_is_said_before_anything_runs(values, says):
    with pytest.raises(ParameterError) as told:
        run(quick(PortChurn, values), "linux")
    assert says in str(told.value)


def test_ties_are_not_drawn():
    # With reuse after a second and at 30 a second, Linux's own milliseconds decide who gets a port.
    chance = random.Random(1)
    for _ in range(20):
        churn = draw(PortChurn, {"tw_reuse": 1, "closer": "client", "ports": 6}, chance)
        counts = {run(other).outcome["opened"] for other in [churn, *churn.nearby()]}
        assert len(counts) == 1


@pytest.mark.linux
def test_linux_agrees():
    need_sandbox()
    # A port comes back half way between two attempts: a tenth of a second for a busy machine on either side.
    reuse = {"tw_reuse": 1, "rate_per_s": 5, "ports": 4, "hold_s": 0.1, "duration_s": 3}
    server = {"closer": "server", "rate_per_s": 10, "ports": 6}
    twins = [quick(PortChurn, values) for values in ({}, reuse, server)]
    try:
        found = agree(twins)
    except TooBusy as busy:
        pytest.skip(str(busy))
    assert [str(difference) for each in found for difference in each.differences] == []
    assert "the results of both are the same" in found[0].sentence
