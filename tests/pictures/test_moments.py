"""Moments of a trace: which there are, which one is shown first, and what happened at them."""

import pytest

from pictures.transcripts import ALL, MS, Story
from tcplab import EXPERIMENTS
from tcplab.bench import run
from tcplab.core.segment import RST
from tcplab.core.text import SECOND
from tcplab.core.trace import Trace
from tcplab.pictures.text import events_at, instant_to_show, instant_words, instants, position

RUNS = {
    f"{kind.name}: {preset}": kind(**values)
    for kind in EXPERIMENTS.values()
    for preset, values in kind.presets.items()
}


@pytest.mark.parametrize("experiment", RUNS.values(), ids=RUNS)
def test_every_event_is_a_moment_and_the_first_one_shown_has_a_timer(experiment):
    trace = run(experiment)
    found = instants(trace)
    assert found == sorted(set(found))
    assert {packet.t for packet in trace.packets} | {sample.t for sample in trace.sockets} <= set(found)
    with_timer = [t for t in found if any(sample.timer for sample in trace.sockets_at(t))]
    assert instant_to_show(trace, found) == (with_timer or found)[-1]
    for t in found:
        assert events_at(trace, t) or any(sample.t == t for sample in trace.sockets) or t == trace.end


@pytest.mark.parametrize("story", ALL.values() if isinstance(ALL, dict) else ALL)
def test_the_position_of_a_moment_is_the_last_one_not_after_it(story):
    found = instants(story() if callable(story) else story)
    for i, t in enumerate(found):
        assert position(found, t) == i
        assert position(found, t + 1) == (i + 1 if t + 1 in found else i)
    assert position(found, found[0] - 1) == 0


def test_a_trace_of_nothing_has_one_moment():
    empty = Trace("nothing", "model")
    assert instants(empty) == [0] and instant_to_show(empty, [0]) == 0 and instant_words(empty, 0) == "0 s"


def test_what_happened_is_told_in_words():
    story = Story()
    t = story.open()
    story.note(t + SECOND, "server", "unplugged")
    story.say(t + 2 * SECOND, "client", RST, 1, fate="lost")
    story.say(t + 3 * SECOND, "client", RST, 1, fate="dropped_by:DROP")
    trace = story.finish(t + 3 * SECOND)
    assert events_at(trace, trace.start) == [
        "client sends SYN",
        "client: connect() waits",
        "server: accept() waits",
    ]
    assert events_at(trace, trace.start + 2 * MS) == [
        "client gets SYN, ACK",
        "client sends ACK",
        "client: connect() → ok",
    ]
    assert events_at(trace, trace.start + t + SECOND) == ["server: unplugged"]
    assert instant_words(trace, trace.start + t + 2 * SECOND) == "2.003 s: client sends RST (✗ lost)"
    assert events_at(trace, trace.start + t + 3 * SECOND) == ["client sends RST (✗ dropped by DROP)"]
    assert events_at(trace, trace.start + 1) == []
