"""How many connections fit into a range of local ports."""

import pytest

from experiments.outcomes import outcome, trace_of
from tcplab.core.knobs import ParameterError
from tcplab.core.segment import SYN
from tcplab.experiments import PortRange


def test_the_seventh_connect_sends_nothing():
    trace, sentence = trace_of(PortRange)
    assert trace.outcome == {"opened": 6, "error": "EADDRNOTAVAIL", "ports_used": 6}
    assert sum(bool(p.segment.flags & SYN) and p.sender == "client" for p in trace.packets) == 6
    last = trace.calls[-1]
    assert (last.host, last.result, last.port, last.began) == ("client", "EADDRNOTAVAIL", 0, last.t)
    assert "Cannot assign requested address (EADDRNOTAVAIL, 99)" in sentence and "(99)" in sentence


@pytest.mark.parametrize(
    ("parameters", "opened", "error", "used"),
    [
        ({"connects": 6}, 6, None, 6),
        ({"destinations": 2, "connects": 13}, 12, "EADDRNOTAVAIL", 6),
        ({"sources": 2, "connects": 13}, 12, "EADDRNOTAVAIL", 6),
        ({"sources": 3, "destinations": 2, "connects": 37}, 36, "EADDRNOTAVAIL", 6),
        ({"last_port": 60001}, 1, "EADDRNOTAVAIL", 1),
        ({"last_port": 60003}, 2, "EADDRNOTAVAIL", 2),
        ({"last_port": 60005}, 4, "EADDRNOTAVAIL", 4),
        ({"last_port": 60012, "connects": 13}, 12, "EADDRNOTAVAIL", 12),
        ({"first_port": 1024, "last_port": 65535, "connects": 40}, 40, None, 40),
        ({"last_port": 60003, "linux": "4.5"}, 3, "EADDRNOTAVAIL", 3),
    ],
)
def test_ports_times_destinations_times_own_addresses(parameters, opened, error, used):
    assert outcome(PortRange, **parameters) == {"opened": opened, "error": error, "ports_used": used}


@pytest.mark.parametrize(
    ("last_port", "chance"), [(60003, False), (60005, True), (60007, True), (60006, False)]
)
def test_an_odd_range_says_where_chance_decides(last_port, chance):
    """Linux 6.18 opened all seven of seven ports in most runs (__inet_hash_connect)."""
    _, sentence = trace_of(PortRange, last_port=last_port)
    assert ("is chance" in sentence) == chance
    assert ("an odd number" in sentence) == (last_port % 2 == 1)


def test_the_error_comes_at_the_connect_that_finds_no_port_and_nothing_after_it():
    trace, _ = trace_of(PortRange, connects=20)
    assert [call.call[:8] for call in trace.calls if call.host == "client"] == ["connect("] * 7


def test_own_addresses_are_bound_without_a_port():
    trace, _ = trace_of(PortRange, sources=2, connects=2)
    calls = [call.call for call in trace.calls if call.host == "client"]
    assert calls[0] == "bind(10.0.0.1:0) with IP_BIND_ADDRESS_NO_PORT"
    assert calls[2] == "bind(10.0.0.102:0) with IP_BIND_ADDRESS_NO_PORT"
    assert {p.segment.source.address for p in trace.packets if p.sender == "client"} == {
        "10.0.0.1",
        "10.0.0.102",
    }


def test_without_no_port_each_address_has_its_ports_once():
    """Before 4.2 bind() to an address takes a port, whatever the destination will be."""
    trace, sentence = trace_of(PortRange, sources=2, destinations=2, connects=25, linux="3.10")
    assert trace.outcome["error"] == "EADDRINUSE" and trace.outcome["opened"] < 24
    assert "Address already in use (EADDRINUSE, 98)" in sentence
    assert any("IP_BIND_ADDRESS_NO_PORT, which came with 4.2" in warning for warning in trace.warnings)


def test_a_range_upside_down_gets_one_sentence():
    with pytest.raises(ParameterError) as error:
        PortRange(first_port=60006, last_port=60001)
    said = "first_port = 60006 is above last_port = 60001: use 1024 to 60001."
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("parameters", "whole"),
    [
        ({}, True), ({"last_port": 60003}, True), ({"last_port": 60005, "connects": 4}, True),
        ({"last_port": 60005, "connects": 5}, False),
    ],
)  # fmt: skip
def test_the_comparison_ends_where_chance_begins(parameters, whole):
    experiment = PortRange(**parameters)
    trace, _ = trace_of(PortRange, **parameters)
    scope = experiment.scope(trace)
    assert (scope.until is None) == whole
    if not whole:
        assert (
            scope.outcomes == () and sum(c.t < scope.until for c in trace.calls if "connect" in c.call) == 4
        )
