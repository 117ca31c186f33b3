"""A run on Linux over the model's: what is paired, what stands alone, and that one ladder can hold both."""

import pytest

from tcplab.agree import agreement
from tcplab.bench import run
from tcplab.bench.agreement import judge
from tcplab.capture.recordings import recording
from tcplab.experiments import EXPERIMENTS
from tcplab.follow import classify
from tcplab.pictures import ladder
from tcplab.pictures.tables import BOTH, LINUX, MODEL, overlay
from tcplab.registry import find_experiment as find


def both(name, **changes):
    """The recorded run of an experiment over the model's at these parameters."""
    linux = recording(name)
    experiment = find(name).from_values({**linux.parameters, **changes})
    result, ours, theirs = judge(experiment, linux)
    return result, ours, theirs, *overlay(ours, theirs)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_where_they_agree_nothing_is_added_and_all_that_is_compared_has_a_band(name):
    result, ours, theirs, merged, overlaid = both(name)
    assert result == agreement(theirs.trace) and result.agrees
    assert merged.packets == ours.trace.packets and len(overlaid) == len(merged.packets)
    assert {each.who for each in overlaid} <= {BOTH, ""}
    ticked = [each for each in overlaid if each.says.startswith("✓ Linux ")]
    assert len(ticked) == result.packets
    picture = ladder.draw(merged, overlay=overlaid)
    labels = next(trace for trace in picture.data if trace["name"] == "labels")
    assert sum("✓ Linux" in text for text in labels["text"]) == len(ticked)
    band = next(trace for trace in picture.data if trace["name"] == "both runs")
    assert band["x"].count(None) == sum(each.who == BOTH for each in overlaid)
    assert "both runs" in picture.figure().to_json()


def test_what_only_one_of_them_sent_says_whose_it_is():
    result, ours, _, merged, overlaid = both("keepalive", probes=2)
    assert not result.agrees and result.sentence.endswith("(3 more differences).")
    (extra,) = [p for p, each in zip(merged.packets, overlaid, strict=True) if each.who == LINUX]
    model = next(p for p in ours.trace.packets if p.kind == "keepalive").segment
    assert extra.kind == "keepalive" and extra.segment.seq == model.seq
    assert (extra.segment.source, extra.segment.destination) == (model.source, model.destination)
    kinds = [p.kind for p in merged.packets]
    classify(merged.packets)
    assert [p.kind for p in merged.packets] == kinds, "its numbers fit into the model's connection"
    assert list(merged.packets) == sorted(merged.packets, key=lambda packet: packet.t)

    *_, overlaid = both("keepalive", probes=5)
    assert [each.says for each in overlaid if each.who == MODEL] == ["✗ not on Linux"] * 2


def test_a_model_that_sends_nothing_back_leaves_linux_its_own_segments():
    linux = recording("keepalive")
    experiment = find("keepalive").from_values(linux.parameters)
    result, ours, theirs = judge(experiment, linux)
    ours.trace.packets[:] = ours.trace.packets[:1]
    ours.numbers[:] = ours.numbers[:1]
    ours.connection[:] = ours.connection[:1]
    merged, overlaid = overlay(ours, theirs)
    assert [each.who for each in overlaid].count(LINUX) == result.packets - 1
    assert len({frozenset((p.segment.source, p.segment.destination)) for p in merged.packets}) == 1
    ladder.draw(merged, overlay=overlaid)


def test_an_ordinary_ladder_has_no_word_of_it():
    trace = run(EXPERIMENTS["handshake_and_close"]())
    picture = ladder.draw(trace)
    assert "✓" not in str(picture.data)
    assert not next(each for each in picture.data if each["name"] == "both runs")["x"]
