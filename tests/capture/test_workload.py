"""What the programs did, taken out of packets: of a run through its own pcap, and of recordings."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplab.bench import run
from tcplab.capture.capture import read_capture
from tcplab.capture.pcap import write_pcap
from tcplab.capture.recordings import LIBRARY, recording
from tcplab.core.segment import Endpoint
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.follow import CLIENT, OTHER, SERVER
from tcplab.what_if.answer import compare, what_if
from tcplab.what_if.inference import ASSUMED, SEEN, rounded, settings_of
from tcplab.what_if.script import PathFault, SocketSettings, WorkloadReplay
from tcplab.what_if.workload import SEND, ApplicationEvent, Workload, shortened, workload

ENDS = Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 5432)


def of(name, connection=0):
    return workload(read_capture(LIBRARY / f"{name}.pcap").connection(connection))


def made(talk, round_trip=2 * MILLISECOND):
    """A workload of (side, bytes, milliseconds of thought) in turns: each waits for all before it."""
    events, sent, t = [], dict.fromkeys(OTHER, 0), 0
    for side, length, thinks in talk:
        t += thinks * MILLISECOND + round_trip
        received = sent[OTHER[side]]
        events.append(ApplicationEvent(side, SEND, t, length, received=received, after=thinks * MILLISECOND))
        sent[side] += length
    near = dict.fromkeys(OTHER, round_trip // 2)
    return Workload(*ENDS, tuple(events), near, 1448, 0, t, False, None)


def played(work):
    return run(WorkloadReplay(work, SocketSettings(), SocketSettings(), PathFault(), work.end))


def through_a_file(trace, folder):
    path = folder / "run.pcap"
    write_pcap(trace, path)
    return read_capture(path).connection(0)


TALK = st.lists(
    st.tuples(st.sampled_from((CLIENT, SERVER)), st.integers(1, 14000), st.integers(0, 5000)),
    min_size=1, max_size=12,
)  # fmt: skip


def in_turns(talk):
    """Without two messages of one side in a row: those may be one on the wire."""
    kept = []
    for each in talk:
        if not kept or kept[-1][0] != each[0]:
            kept.append(each)
    return kept


@settings(max_examples=25)
@given(TALK)
def test_a_run_taken_apart_is_what_was_played(tmp_path_factory, talk):
    work = made(in_turns(talk))
    trace = played(work)
    for seen in (trace, through_a_file(trace, tmp_path_factory.mktemp("run"))):
        found = workload(seen)
        sent = [(each.side, each.length, each.received) for each in found.events if each.call == SEND]
        assert sent == [(each.side, each.length, each.received) for each in work.events]
        for mine, theirs in zip(found.events, work.events, strict=False):
            assert mine.after == pytest.approx(theirs.after, abs=3 * MILLISECOND)
        assert found.unanswered is None


@settings(max_examples=25)
@given(TALK)
def test_a_replay_is_the_same_run(talk):
    first = played(made(in_turns(talk)))
    again = workload(first)
    assert compare(again, played(again)).holds


@given(st.integers(1, 32000))
def test_a_setting_is_found_behind_its_late_timer(seconds):
    for late in (0, 0.01, 0.05):
        seen = round(seconds * SECOND * (1 + late))
        assert rounded(seen) <= seconds * (1 + late) + 0.03
        assert rounded(seen) >= (seconds * (1 + late) - 0.3) / 1.08 - 1e-9


@pytest.mark.parametrize(
    ("seen", "meant"), [(4.188, 4), (15.125, 15), (61.78, 60), (7462, 7200), (10.24, 10), (2.004, 2)]
)
def test_the_roundest_number_that_fits(seen, meant):
    assert rounded(round(seen * SECOND)) == meant


# --- what stayed unanswered, against what was done ---


@pytest.mark.parametrize(
    ("name", "side", "data", "reset"),
    [
        ("lesson_cable_out_sending", "client", True, False),
        ("lesson_cable_out_idle", "client", False, False),
        ("idle_firewall", "client", True, False),
        ("lesson_keepalive_rebooted", "client", False, True),
        ("dead_client_vanished_idle", "server", False, False),
        ("dead_client_vanished_rows", "server", True, False),
    ],
)
def test_who_asked_in_vain(name, side, data, reset):
    last = of(name).unanswered
    assert (last.side, last.data, last.reset) == (side, data, reset)


@pytest.mark.parametrize(
    "name",
    ["handshake_and_close", "postgres_long_query", "mariadb_kill", "mariadb_wait_timeout", "fin_or_rst"],
)
def test_what_programs_ended_was_answered(name):
    assert of(name).unanswered is None


def test_silence_of_a_recorded_run_is_the_quiet_of_its_parameters():
    work = workload(recording("idle_firewall"))
    quiet = recording("idle_firewall").parameters["quiet_s"]
    assert work.unanswered.silence / SECOND == pytest.approx(quiet, abs=0.1)
    assert work.unanswered.error == recording("idle_firewall").outcome["error"]


@pytest.mark.parametrize("name", ["keepalive", "lesson_cable_out_idle", "lesson_keepalive_and_data"])
def test_keepalive_as_it_was_set(name):
    did = recording(name).parameters
    found, inferences = settings_of(of(name), "client")
    mine = (found.keepalive_idle_s, found.keepalive_interval_s, found.keepalive_probes)
    assert mine == (did["idle_s"], did["interval_s"], did["probes"])
    assert {each.certainty for each in inferences if each.name.startswith("keepalive")} == {SEEN}


def test_a_user_timeout_as_it_was_set():
    did = recording("lesson_cable_out_user_timeout").parameters
    found, _ = settings_of(of("lesson_cable_out_user_timeout"), "client")
    assert found.user_timeout_s == did["user_timeout_s"]
    assert settings_of(of("lesson_cable_out_sending"), "client")[0].retries2 == 15


def test_no_probe_says_how_long_keepalive_would_have_had():
    _, inferences = settings_of(of("idle_firewall"), "client")
    (idle,) = (each for each in inferences if each.name == "keepalive_idle_s")
    assert idle.certainty == ASSUMED and "longer than 3" in idle.says


# --- what the model can't play ---


def test_long_messages_are_shortened_and_said_so():
    work = made([(CLIENT, 40, 0), (SERVER, 100_000, 5), (CLIENT, 50, 5)])
    short, (said,) = shortened(work)
    assert [event.length for event in short.events] == [40, 14480, 50]
    assert [event.received for event in short.events] == [0, 40, 14480]
    assert "100,000" in said and "14,480" in said
    assert shortened(made([(CLIENT, 40, 0)]))[1] == ()


def test_midstream_is_played_from_its_first_segment():
    trace = read_capture(LIBRARY / "lesson_keepalive_and_data.pcap").connection(0)
    late = replace(trace, packets=[p for p in trace.packets if p.t > 5 * SECOND])
    work = workload(late)
    assert work.midstream and work.events[0].length == 40
    answer = what_if(late)
    assert answer.likeness.holds and answer.likeness.compared >= 5, answer.likeness.sentence
    assert answer.failed_after_s == pytest.approx(what_if(trace).failed_after_s, abs=0.1)


def test_the_longest_silence_survived():
    work = of("lesson_keepalive_and_data")
    assert work.quiet / SECOND == pytest.approx(10, abs=0.1)
