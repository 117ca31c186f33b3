"""The replay: every step says and draws what had happened by then, for every witness."""

import json

import pytest

from inside import button_of
from stored import PROJECT
from tcplab import DeadPeer, Keepalive, ProxyLegs, read_capture, replay, run

CAPTURES = sorted((PROJECT / "data" / "captures").glob("*.pcap"))


def captured(name):
    return read_capture(PROJECT / "data" / "captures" / f"{name}.pcap").connection(0)


def drawn(widget):
    return json.loads(widget._figure.get_state()["drawn"])


def arrows(widget):
    """How many arrows are drawn."""
    data = drawn(widget)["data"]
    return sum(len({i for i in each["customdata"] if i is not None}) for each in data if "customdata" in each)


@pytest.mark.parametrize(
    "trace",
    [run(Keepalive()), run(DeadPeer()), run(ProxyLegs()), captured("keepalive"), captured("keepalive")],
    ids=["keepalive", "dead peer", "three hosts", "capture", "again"],
)
def test_every_step_draws_what_was_sent_by_then_and_says_what_happened(trace):
    widget = replay(trace)
    assert widget.position == 0
    for step, t in enumerate(widget.steps.moments):
        widget.go(step)
        assert widget.t == t
        assert arrows(widget) == sum(p.t <= t for p in trace.passages)
        assert widget.sentence
        assert f"Step {step + 1} of {len(widget.steps)}" in widget._said.value
        assert widget._slider.value == step
    assert widget._forward.disabled and not widget._back.disabled
    widget.step(1)
    assert widget.position == len(widget.steps) - 1
    widget.go(-5)
    assert widget.position == 0 and widget._back.disabled


def test_buttons_keys_and_slider_do_the_same():
    widget = replay(captured("keepalive"))
    button_of(widget, "Forward").click()
    assert widget.position == 1
    widget.press("ArrowRight")
    assert widget.position == 2
    widget.press("ArrowLeft")
    button_of(widget, "Back").click()
    assert widget.position == 0
    widget._slider.value = 3
    assert widget.position == 3
    widget.press("End")
    assert widget.position == len(widget.steps) - 1
    widget.press("Home")
    widget.press("x")
    assert widget.position == 0
