"""Boxes on a route: the same on both benches, written into the trace."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench import route_stories
from bench.sandboxes import TESTS, need_sandbox, patient_run
from bench.scripted import play
from tcplab.bench.agreement import compare
from tcplab.bench.model import run_on_model
from tcplab.bench.sandbox import Sandbox
from tcplab.bench.script import ScriptError
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.follow import classify
from tcplab.route.firewall import EXPIRED, Firewall

STORIES = [
    *(route_stories.Idle(expired=expired, who=who) for expired in EXPIRED for who in ("client", "server")),
    route_stories.Alive(),
    route_stories.Two(),
    route_stories.RejectedOnce(),
    route_stories.Unplugged(),
    route_stories.Waits(),
    route_stories.HungUp(),
]


def label(story):
    if isinstance(story, route_stories.Idle):
        return f"{story.expired}-{story.who}"
    return type(story).__name__


def on_model(story):
    trace = run_on_model(story)
    classify(trace.packets)
    return trace


def of(kind):
    return next(story for story in STORIES if label(story) == kind)


def drops_and_resets(trace, since=0.5):
    """What went over the wire from a second on: who, flags, and what became of it."""
    return [
        f"{p.sender[0]}>{p.receiver[0]} {p.segment.letters} {p.fate}"
        for p in trace.packets
        if p.t > since * SECOND
    ]


def notes(trace):
    """Who said what; a port of the system's own choice is another on each bench."""
    return [(note.host, re.sub(r"port \d+", "port", note.text)) for note in trace.notes]


def test_a_box_stands_among_the_hosts_without_an_address():
    assert on_model(of("Two")).hosts == {
        "client": "10.0.0.1", "firewall": "", "balancer": "", "server": "10.0.0.2",
    }  # fmt: skip


def test_a_segment_ends_at_the_box_that_drops_it():
    trace = on_model(of("drop-client"))
    assert drops_and_resets(trace) == ["c>s PA dropped_by:firewall"] * 2
    assert all(p.arrives is None for p in trace.packets if p.fate != "delivered")
    assert [note.text for note in trace.notes if note.host == "firewall"] == [
        "removes the connection: its idle timer expired",
        "has no entry for this connection any more: dropped",
    ]


def test_a_rst_comes_from_half_the_way():
    trace = on_model(of("reject-server"))
    asked, reset = (p for p in trace.packets if p.t > SECOND)
    assert (asked.fate, reset.sender, reset.receiver) == ("dropped_by:firewall", "firewall", "server")
    assert (reset.kind, reset.verdict) == ("forged", "accepted")
    assert (reset.t - asked.t, reset.arrives - reset.t) == (5 * MILLISECOND, 5 * MILLISECOND)


def test_expiry_is_noted_at_its_moment():
    trace = on_model(of("reset_both-client"))
    samples = [sample for sample in trace.sockets if sample.host == "firewall"]
    assert {sample.timer for sample in samples} == {"idle", ""}
    assert samples[-1].state == "CLOSED" and samples[-1].t == samples[-2].due
    assert [p.t for p in trace.packets if p.sender == "firewall"] == [samples[-1].t] * 2


def test_two_boxes_each_at_a_third_of_the_way():
    trace = on_model(of("Two"))
    assert drops_and_resets(trace, 0.2) == [
        "s>c PA dropped_by:balancer", "b>s R delivered", "c>s PA dropped_by:firewall", "f>c R delivered",
    ]  # fmt: skip
    times = [p.t for p in trace.packets][-4:]
    assert abs(times[1] - times[0] - 10 * MILLISECOND // 3) <= 1
    assert abs(times[3] - times[2] - 10 * MILLISECOND // 3) <= 1


def test_what_passes_takes_as_long_as_without_boxes():
    for packet in on_model(of("Alive")).packets:
        assert packet.arrives - packet.t == 10 * MILLISECOND


def test_a_rule_may_hold_for_one_segment():
    trace = on_model(of("RejectedOnce"))
    assert drops_and_resets(trace, 0.0599) == ["s>c PA dropped_by:REJECT", "c>s R delivered"]
    assert any("REJECT" in note.text and "only the next segment" in note.text for note in trace.notes)


def test_a_cable_that_is_pulled_takes_what_is_at_the_box():
    trace = on_model(of("Unplugged"))
    assert [p.fate for p in trace.packets if p.segment.length][2:] == ["lost", "delivered"]


def test_the_first_of_several_calls_and_who_hung_up():
    (waits,), (hung_up,) = (on_model(of(story)).notes for story in ("Waits", "HungUp"))
    assert waits.text == "results ('fast', 'outer', False, True, True, True, '0.3')"
    assert hung_up.text == "results True ECONNRESET"


def test_a_box_has_a_name_of_its_own():
    async def script(bench):
        hosts = bench.hosts("client", "server")
        bench.route(*hosts, Firewall(0, name="client"))

    with pytest.raises(ScriptError, match="there is a client already"):
        play(script)


# --- on Linux ---


@pytest.fixture(scope="module")
def on_linux():
    """Every story on Linux, by its label."""
    need_sandbox()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))

        def one(story):
            with Sandbox() as sandbox:
                trace = patient_run(sandbox, story)
            classify(trace.packets)
            return label(story), trace

        with ThreadPoolExecutor(5) as pool:
            yield dict(pool.map(one, STORIES))


@pytest.mark.linux
@pytest.mark.parametrize("story", STORIES, ids=label)
def test_linux_meets_the_same_boxes(on_linux, story):
    model, linux = on_model(story), on_linux[label(story)]
    assert [str(each) for each in compare(model, linux)] == []
    assert drops_and_resets(linux) == drops_and_resets(model)
    assert notes(linux) == notes(model)
    tables = [
        [(s.state, s.timer) for s in trace.sockets if s.host in ("firewall", "balancer")]
        for trace in (model, linux)
    ]
    assert tables[0] == tables[1]
