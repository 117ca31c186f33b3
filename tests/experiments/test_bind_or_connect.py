"""bind() or connect(): all ways to hold every port, and all ways to want one more."""

from itertools import product

import pytest

from bench.sandboxes import need_sandbox
from experiments.outcomes import outcome, trace_of
from tcplab.agree import agree
from tcplab.experiments import BindOrConnect

HELD_BY = ("connect", "connect_reuseaddr", "bind0", "bind0_reuseaddr")
BINDS = ("bind0", "bind0_reuseaddr", "bind_explicit", "bind_explicit_reuseaddr")
THEN = ("connect", *BINDS, "bind_no_port")

#: What six ports in TIME_WAIT gave on 6.18 with tcp_tw_reuse = 1, a second later.
MEASURED = {
    ("connect", "connect"): "ok",
    ("connect", "bind0"): "EADDRINUSE",
    ("connect", "bind0_reuseaddr"): "EADDRINUSE",
    ("connect", "bind_explicit"): "EADDRINUSE",
    ("connect", "bind_explicit_reuseaddr"): "EADDRINUSE",
    ("connect", "bind_no_port"): "ok",
    ("connect_reuseaddr", "bind0_reuseaddr"): "EADDRINUSE",
    ("connect_reuseaddr", "bind_explicit"): "EADDRINUSE",
    ("connect_reuseaddr", "bind_explicit_reuseaddr"): "ok",
    ("bind0", "connect"): "EADDRNOTAVAIL",
    ("bind0", "bind_no_port"): "EADDRNOTAVAIL",
    ("bind0_reuseaddr", "connect"): "EADDRNOTAVAIL",
    ("bind0_reuseaddr", "bind0_reuseaddr"): "EADDRINUSE",
    ("bind0_reuseaddr", "bind_explicit_reuseaddr"): "ok",
}


@pytest.mark.parametrize(("held_by", "then"), MEASURED)
def test_what_was_measured_on_linux(held_by, then):
    assert outcome(BindOrConnect, held_by=held_by, then=then) == {"result": MEASURED[held_by, then]}


@pytest.mark.parametrize("linux", ["3.10", "4.9", "5.4", "6.18"])
@pytest.mark.parametrize("state", ["time_wait", "established"])
@pytest.mark.parametrize("held_by", ["connect", "bind0"])
def test_bind_never_gets_a_port_that_is_held_without_so_reuseaddr(linux, state, held_by):
    for then in BINDS:
        result = outcome(BindOrConnect, held_by=held_by, state=state, then=then, linux=linux)
        assert result == {"result": "EADDRINUSE"}


def test_connect_goes_elsewhere_from_any_port_that_nobody_bound():
    for held_by, state in product(HELD_BY, ("time_wait", "established")):
        result = outcome(
            BindOrConnect, held_by=held_by, state=state, then="connect", same_destination=False, tw_reuse=0
        )
        assert result == {"result": "ok" if held_by.startswith("connect") else "EADDRNOTAVAIL"}


def test_before_4_2_no_port_takes_one():
    trace, _ = trace_of(BindOrConnect, then="bind_no_port", linux="3.10")
    assert trace.outcome == {"result": "EADDRINUSE"}
    assert any("came with 4.2" in warning for warning in trace.warnings)


def test_the_sentences_name_errno_and_reason():
    _, sentence = trace_of(BindOrConnect)
    assert "Address already in use (EADDRINUSE, 98)" in sentence and "on every port" in sentence
    _, sentence = trace_of(BindOrConnect, then="bind_explicit")
    assert "finds another socket on this port, and ignores tcp_tw_reuse" in sentence
    _, sentence = trace_of(BindOrConnect, held_by="bind0", then="connect", same_destination=False)
    assert (
        "(EADDRNOTAVAIL, 99)" in sentence
        and "connect() skips every port that was taken by bind()" in sentence
    )
    _, sentence = trace_of(BindOrConnect, then="connect")
    assert sentence.endswith("and connects to the same destination.")


@pytest.mark.linux
def test_every_cell_agrees_with_linux():
    need_sandbox()
    cells = [
        BindOrConnect(
            held_by=held_by, state=state, then=then, same_destination=same, tw_reuse=reuse, ports=2,
            # Only a connect() that may reuse has to wait for it.
            wait_s=1.3 if (state, reuse) == ("time_wait", 1) and then in ("connect", "bind_no_port") else 0,
        )
        for held_by, state, then, same, reuse in product(
            HELD_BY, ("time_wait", "established"), THEN, (True, False), (0, 1)
        )
    ]  # fmt: skip
    found = agree(cells)
    assert len(found) == 192
    assert [(f.parameters, list(map(str, f.differences))) for f in found if not f.agrees] == []


@pytest.mark.parametrize("state", ["time_wait", "established"])
@pytest.mark.parametrize("held_by", ["connect", "bind0"])
def test_ports_are_held_for_each_local_address(held_by, state):
    found = {
        address: [
            outcome(BindOrConnect, held_by=held_by, state=state, then=then, bind_address=address)["result"]
            for then in ("bind0", "bind_explicit")
        ]
        for address in ("any", "same", "another")
    }
    refused = ["EADDRINUSE"] * 2
    assert found == {"any": refused, "same": refused, "another": ["ok", "ok"]}


def test_a_second_address_does_not_help_a_connect_that_meets_bound_ports():
    """connect() passes such a port over before it looks at any address."""
    _, sentence = trace_of(BindOrConnect, held_by="bind0", then="bind_no_port", bind_address="another")
    assert (
        "(EADDRNOTAVAIL, 99)" in sentence
        and "connect() skips every port that was taken by bind()" in sentence
    )
    _, sentence = trace_of(BindOrConnect, bind_address="another")
    assert sentence.endswith("Each local address has its own ports: on this one all are free.")


@pytest.mark.linux
def test_other_addresses_agree_with_linux():
    need_sandbox()
    cells = [
        BindOrConnect(held_by=held_by, state=state, then=then, bind_address=address, ports=2, wait_s=0)
        for held_by, state, then, address in product(
            HELD_BY, ("time_wait", "established"), (*BINDS, "bind_no_port"), ("same", "another")
        )
    ]
    found = agree(cells)
    assert len(found) == 80
    assert [(f.parameters, list(map(str, f.differences))) for f in found if not f.agrees] == []
