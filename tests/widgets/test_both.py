"""A recording over the model's ladder: one picture, and the sentence of agreement."""

import pytest

from tcplab import EXPERIMENTS, Keepalive, agreement, both, recording
from tcplab.capture.recordings import LIBRARY
from tcplab.lesson import after, ask

RECORDED = sorted(path.name.removesuffix(".run.json") for path in LIBRARY.glob("*.run.json"))


@pytest.mark.parametrize("name", RECORDED)
def test_every_recorded_run_agrees_and_can_be_drawn(name):
    linux = recording(name)
    shown = both(EXPERIMENTS[linux.experiment].from_values(linux.parameters), linux)
    assert shown.sentence == agreement(linux).sentence
    assert shown.sentence.startswith(f"Linux {linux.linux} does what the model says: ")
    assert shown.figure in shown.children and "✓ Linux" in shown.figure.drawn
    assert not any(words in shown.figure.drawn for words in ("not on Linux", "Linux only"))


def test_other_parameters_are_a_difference_and_not_hidden():
    shown = both(Keepalive(idle_s=4, interval_s=2, probes=5), recording("keepalive"))
    assert "and the model differ" in shown.sentence and "✗ not on Linux" in shown.figure.drawn


def test_it_waits_for_a_prediction_and_then_says_its_sentence():
    question = ask("keepalive", "power_cut")
    linux = recording("keepalive")
    waiting = after(question, lambda: both(Keepalive.from_values(linux.parameters), linux))
    assert "prediction" in repr(waiting)
    question.answer = "1"
    question.check()
    assert repr(waiting) == agreement(linux).sentence
