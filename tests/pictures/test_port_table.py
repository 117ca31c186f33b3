"""Who held which port, played back from a trace: the model's verdicts must be what the programs then got."""

import pytest

from tcplab import BindOrConnect, Keepalive, PortRange, TimeWait, recording, run
from tcplab.core.segment import Endpoint
from tcplab.core.text import SECOND
from tcplab.core.trace import SocketSample, Trace
from tcplab.pictures.port_table import attempts, client_of, local_ports, port_range, wanted_at

STORIES = [
    kind(**preset) for kind in (PortRange, TimeWait, BindOrConnect) for preset in kind.presets.values()
]
STORIES += [
    BindOrConnect(held_by=held_by, state=state, then=then, same_destination=same)
    for held_by in ("connect_reuseaddr", "bind0", "bind0_reuseaddr")
    for state in ("time_wait", "established")
    for then in ("connect", "bind0_reuseaddr", "bind_explicit_reuseaddr", "bind_no_port")
    for same in (True, False)
]
STORIES += [
    BindOrConnect(then="bind_no_port", linux="3.10"),
    BindOrConnect(held_by="bind0_reuseaddr", then="bind0_reuseaddr", linux="3.10"),
    PortRange(sources=2, connects=13, linux="3.10"),
    TimeWait(tw_reuse=1, wait_s=1.3, linux="4.9"),
    TimeWait(tw_reuse=1, wait_s=2.2, linux="4.9"),
    TimeWait(tw_reuse=1, wait_s=0.2, linux="5.4"),
    TimeWait(tw_reuse=1, wait_s=1.3, linux="5.4"),
]


def holds(told, attempt):
    """Whether what the program got is what the model says of the ports as they were played back."""
    refused = attempt.result in ("EADDRINUSE", "EADDRNOTAVAIL")
    if attempt.ask.verb == "bind" and attempt.result == "EADDRNOTAVAIL":
        return True  # bind() found a port; the connect() after it did not
    answer = told.answer()
    if refused:
        return (answer.may, answer.errno) == (0, attempt.result)
    return answer.may > 0 and told.verdict(attempt.port, attempt.ask).ok


@pytest.mark.parametrize("story", STORIES, ids=repr)
def test_every_call_gets_what_the_played_back_ports_say(story):
    trace = run(story)
    tried = attempts(trace, "client")
    assert tried
    for attempt in tried:
        assert holds(local_ports(trace, attempt.began), attempt), attempt


@pytest.mark.parametrize(
    "name", ["port_range", "time_wait", "bind_or_connect", "bind_no_port", "bind_blocks_connect"]
)
def test_so_does_a_recording_of_linux(name):
    trace = recording(name)
    for attempt in attempts(trace, "client"):
        assert holds(local_ports(trace, attempt.began), attempt), attempt


def test_the_call_at_hand_is_the_next_one_and_after_the_last_that_one_again():
    trace = run(BindOrConnect())
    *opened, last = attempts(trace, "client")
    assert (last.call, last.result, last.ask.verb) == ("bind(0.0.0.0:0)", "EADDRINUSE", "bind")
    assert [each.result for each in opened] == ["ok"] * 6
    assert local_ports(trace).attempt == local_ports(trace, trace.end).attempt == last
    assert local_ports(trace, opened[0].began).attempt == opened[0]
    assert local_ports(trace, opened[2].began + 1).attempt == opened[3]
    assert wanted_at(trace) == last.began


def test_a_call_finds_the_ports_as_they_were_before_it():
    trace = run(PortRange(connects=1))
    (first,) = attempts(trace, "client")
    assert {cell.state for cell in local_ports(trace, first.began).cells} == {"FREE"}
    later = {cell.port: cell.state for cell in local_ports(trace, first.began + 1).cells}
    assert later[first.port] == "SYN_SENT"


def test_seconds_left_go_down_and_the_verdict_of_connect_changes_with_them():
    trace = run(BindOrConnect(then="connect", wait_s=1.3))
    early, late = (local_ports(trace, wanted_at(trace) + d) for d in (-SECOND, -SECOND // 10))
    assert 0.85 < (early.cells[0].left - late.cells[0].left) / SECOND < 0.95
    assert (early.answer().may, late.answer().may) == (0, 6)


def test_every_kind_of_call_has_an_answer():
    says = {answer.call: answer for answer in local_ports(run(BindOrConnect())).answers()}
    assert [bool(answer.may) for answer in says.values()] == [True, True, False, False, False, False, True]
    assert says["bind() to port 0"].errno == "EADDRINUSE"
    assert "wherever it leads" in says["bind() to port 0"].says
    bound = local_ports(run(BindOrConnect(held_by="bind0"))).answers()
    assert not any(answer.may for answer in bound)
    old = {
        answer.call: answer for answer in local_ports(run(BindOrConnect(linux="3.10", tw_reuse=1))).answers()
    }
    (no_port,) = [answer for call, answer in old.items() if "NO_PORT" in call]
    assert (no_port.may, no_port.errno) == (0, "EADDRINUSE")


def test_counts_over_a_wide_range_are_exact():
    story = PortRange(first_port=32768, last_port=60998, connects=30)
    told = local_ports(run(story))
    assert len(told.cells) == 28231
    answer, verdicts = told.answer(), list(told.verdicts(told.attempt.ask))
    assert (answer.may, answer.asked) == (sum(v.ok for v in verdicts), 28231)
    assert answer.may == 28231 - 29 - 1, "29 are held, and an odd range leaves out its last"


def test_the_range_is_read_from_the_parameters_or_is_linuxs():
    assert port_range(run(PortRange(first_port=2000, last_port=2002, connects=1)), "client") == (2000, 2002)
    assert port_range(run(TimeWait(ports=4)), "client") == (60001, 60004)
    keepalive = run(Keepalive(idle_s=1, interval_s=1, probes=1))
    assert port_range(keepalive, "client") is None
    assert len(local_ports(keepalive).cells) == 28232
    assert len(local_ports(run(Keepalive(idle_s=1, interval_s=1, probes=1, linux="3.10"))).cells) == 28233


def test_where_nobody_connects_there_is_nothing_to_tell():
    trace = Trace("nothing", "model")
    assert client_of(trace) == "" and local_ports(trace) is None and wanted_at(trace) == 0


def test_the_trace_is_believed_where_the_rules_see_no_way():
    """A socket that shows up on a port which by the rules is not free: it is there all the same."""
    trace = run(TimeWait(ports=1))
    server = Endpoint("10.0.0.2", 5432)
    trace.sockets.append(
        SocketSample(trace.end, "client", Endpoint("10.0.0.1", 60001), server, "ESTABLISHED")
    )
    (cell,) = local_ports(trace, trace.end).cells
    assert (cell.state, len(cell.claims)) == ("ESTABLISHED", 1)
