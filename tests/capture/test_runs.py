"""Whole runs in a file: what is written is what is read, and what isn't a run is said in a sentence."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tcplab.bench import run
from tcplab.capture import CaptureError
from tcplab.capture.recordings import read_run, recording, write_run
from tcplab.experiments import EXPERIMENTS


@pytest.mark.parametrize("kind", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_a_run_comes_back_as_it_was(kind, tmp_path):
    trace = run(kind.from_values(kind.quick))
    assert trace.packets and trace.sockets and trace.calls
    path = tmp_path / "it.run.json"
    write_run(path, trace)
    assert read_run(path) == trace
    assert b"\n" in path.read_bytes()[:2000], "a line for each thing, so that two recordings can be compared"


def test_an_unknown_recording_is_answered_with_those_there_are(tmp_path):
    with pytest.raises(CaptureError, match=r"^there is no recorded run 'keepaliv'; there are .*keepalive"):
        recording("keepaliv")
    with pytest.raises(CaptureError, match=r"there are none\.$"):
        recording("keepalive", tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(cut=st.integers(0, 4000), noise=st.binary(max_size=4))
def test_a_broken_file_is_one_sentence(cut, noise, tmp_path):
    experiment = EXPERIMENTS["handshake_and_close"]
    path = tmp_path / "it.run.json"
    trace = run(experiment())
    write_run(path, trace)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut] + noise + whole[cut + len(noise) :])
    try:
        read_run(path)
    except CaptureError as error:
        assert str(error).startswith("it.run.json ") and "\n" not in str(error)


def test_another_format_is_told_from_a_broken_file(tmp_path):
    path = tmp_path / "it.run.json"
    path.write_text('{"format": 99}')
    with pytest.raises(CaptureError, match="another version of tcplab"):
        read_run(path)
    path.unlink()
    with pytest.raises(CaptureError, match="No such file"):
        read_run(path)


def test_what_programs_do_and_wait_for_comes_back_too(tmp_path):
    trace = run(EXPERIMENTS["client_gone"].from_values({"check_interval_s": 10, "session": "running"}))
    trace.pending = run(EXPERIMENTS["proxy_legs"]()).pending
    assert trace.activities and trace.deadlines and trace.pending and trace.programs
    path = tmp_path / "it.run.json"
    write_run(path, trace)
    assert read_run(path) == trace
    assert read_run(path).activities[0].words == trace.activities[0].words


def test_a_recording_from_before_they_were_known_is_read_and_has_its_breaks_and_answer(tmp_path):
    trace = run(EXPERIMENTS["client_gone"]())
    path = tmp_path / "it.run.json"
    write_run(path, trace)
    values = json.loads(path.read_text())
    for name in ("activities", "pending", "deadlines", "programs"):
        del values[name]
    path.write_text(json.dumps(values))
    old = read_run(path)
    assert (old.activities, old.pending, old.deadlines, old.programs) == ([], [], [], {})
    assert old.breaks() == trace.breaks() != []


@pytest.mark.parametrize("name", ["keepalive", "dead_peer", "client_gone", "handshake_and_close"])
def test_a_recorded_run_gives_the_answer_of_its_experiment(name):
    recorded = recording(name)
    story = EXPERIMENTS[name].from_values(recorded.parameters)
    answer, model = story.answer(recorded), run(story)
    assert answer.words.split(" after ")[0] == story.answer(model).words.split(" after ")[0]
    assert recorded.breaks()[0].words == model.breaks()[0].words
