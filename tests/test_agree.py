"""Model and Linux, side by side: the comparison itself, and the samples it is given."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import islice

import pytest

import tcplab.agree
from bench.sandboxes import need_sandbox, ordinary_python
from tcplab.agree import EDGES_EVERY, LONGEST_S, agree, agree_on_kernel, draw, ends, is_tie, quick, samples
from tcplab.bench import run
from tcplab.bench.agreement import LATE_S, _latencies_ms, _models, compare, in_time, judge, matches
from tcplab.bench.sandbox import TRIES, TooBusy
from tcplab.cli import main
from tcplab.core.knobs import ParameterError
from tcplab.core.segment import FIN, RST, SYN
from tcplab.core.trace import Ticks
from tcplab.experiments import EXPERIMENTS, DeadPeer, FinOrRst, HandshakeAndClose, Keepalive, StaleReject
from tcplab.registry import ON_LINUX

#: A kernel's timer tick, somewhere.
TICKS = Ticks(250, -1_234_567, 4_294_892_979)
QUICK = {name: quick(kind, {}) for name, kind in EXPERIMENTS.items()}


def late(trace, share):
    """A copy whose every moment is late by a share, as if Linux had taken its time."""

    def moved(t):
        return None if t is None else trace.start + round((t - trace.start) * (1 + share))

    return replace(
        trace,
        packets=[replace(p, t=moved(p.t), arrives=moved(p.arrives)) for p in trace.packets],
        calls=[call._replace(t=moved(call.t), began=moved(call.began)) for call in trace.calls],
        end=moved(trace.end),
    )


def without(trace, index):
    """A copy in which one segment never was."""
    return replace(trace, packets=[p for i, p in enumerate(trace.packets) if i != index])


def changed(trace, index, **fields):
    """A copy with one segment's header changed."""
    packets = list(trace.packets)
    packets[index] = replace(packets[index], segment=replace(packets[index].segment, **fields))
    return replace(trace, packets=packets)


@pytest.mark.parametrize("name", QUICK)
def test_a_run_agrees_with_itself_and_with_another_seed(name):
    experiment = QUICK[name]
    model, other = run(experiment), run(experiment.with_values(seed=99))
    scopes = (experiment.scope(model), experiment.scope(other))
    assert compare(model, other, scopes) == []


def test_the_sentence_counts_the_packets_that_matter_and_says_how_late_they_are():
    quick = QUICK["keepalive"]
    linux = replace(run(quick), bench="linux", linux="6.18.44")
    matter = sum(
        bool(p.kind or p.segment.length or p.segment.flags & (SYN | FIN | RST)) for p in linux.packets
    )
    agreement, *_ = judge(quick, linux)
    assert (agreement.packets, agreement.same) == (matter, matter)
    calls = len(linux.calls)
    says = (
        f"Linux 6.18.44 does what the model says: all {matter} packets that matter and {calls} calls agree, "
    )
    assert agreement.sentence == says + "at the model's times."
    probe = max(i for i, p in enumerate(linux.packets) if p.kind == "keepalive")
    later = replace(linux.packets[probe], t=linux.packets[probe].t + 3_000_000)
    shifted = replace(linux, packets=[*linux.packets[:probe], later, *linux.packets[probe + 1 :]])
    assert judge(quick, shifted)[0].sentence == says + "none more than 0.003 s later."


def test_what_one_of_them_lacks_is_said_by_name():
    quick = QUICK["keepalive"]
    model = replace(run(quick), bench="linux", linux="6.18.44")
    probes = [i for i, p in enumerate(model.packets) if p.kind == "keepalive"]
    agreement, ours, theirs = judge(quick, without(model, probes[-1]))
    assert agreement.same == agreement.packets - 1
    assert [mine.says for _, mine, its in matches(ours, theirs) if its is None] == ["keepalive seq 40"]
    assert (
        f"differ: {agreement.same} of {agreement.packets} packets that matter agree. " in agreement.sentence
    )
    longer = quick.with_values(probes=quick.probes + 1)
    agreement, ours, theirs = judge(quick, replace(run(longer), bench="linux", linux="6.18.44"))
    assert [its.says for _, mine, its in matches(ours, theirs) if mine is None] == ["keepalive seq 40"]
    assert agreement.same < agreement.packets


def test_real_timers_may_be_late_but_not_early():
    model = run(QUICK["keepalive"])
    assert compare(model, late(model, 0.05)) == []
    found = [str(difference) for difference in compare(model, late(model, 0.15))]
    assert any("client to server, time" in each for each in found)
    assert compare(model, late(model, -0.05)) != []


def test_the_edges_of_time():
    assert in_time(10, 9.97) and not in_time(10, 9.96)
    assert in_time(10, 10.8 + LATE_S) and not in_time(10, 10.81 + LATE_S)


@pytest.mark.parametrize("name", ["keepalive", "dead_peer", "fin_or_rst", "unanswered_connect"])
def test_a_missing_segment_is_a_difference(name):
    model = run(QUICK[name])
    ends = ("S", "FA", "R", "RA")
    counts = [i for i, p in enumerate(model.packets) if p.kind or p.segment.letters in ends]
    assert counts
    for index in counts:
        assert compare(model, without(model, index)), f"segment {index} may vanish unnoticed"


def test_another_flag_number_or_length_is_a_difference():
    model = run(HandshakeAndClose())
    fin = next(i for i, p in enumerate(model.packets) if p.segment.letters == "FA")
    assert compare(model, changed(model, fin, flags=0x14))
    data = next(i for i, p in enumerate(model.packets) if p.segment.length)
    assert compare(model, changed(model, data, length=41))
    assert compare(model, changed(model, 1, ack=model.packets[1].segment.ack + 1))


def test_another_cut_of_the_same_bytes_is_no_difference():
    model = run(HandshakeAndClose(response=2896))
    first = next(i for i, p in enumerate(model.packets) if p.segment.length == 1448)
    merged = without(changed(model, first, length=2896), first + 1)
    assert [str(each) for each in compare(model, merged)] == []


def test_another_cut_of_what_is_read_without_a_pause_is_no_difference():
    """How much is there each time a program reads as fast as it can is chance; a pause is none."""
    model = run(QUICK["handshake_and_close"].with_values(response=2896))
    place, read = next((i, c) for i, c in enumerate(model.calls) if (c.call, c.result) == ("recv()", "2896"))
    halves = [read._replace(result=each) for each in ("1000", "1896")]

    def cut(pause):
        second = halves[1]._replace(t=read.t + pause, began=read.t + pause)
        return replace(model, calls=[*model.calls[:place], halves[0], second, *model.calls[place + 1 :]])

    assert [str(each) for each in compare(model, cut(1_000_000))] == []
    assert compare(model, cut(100_000_000)) != []


def test_another_errno_is_a_difference():
    model = run(FinOrRst(ending="kill", client="idle"))
    calls = [call._replace(result="ECONNRESET") if call.result == "EPIPE" else call for call in model.calls]
    found = compare(model, replace(model, calls=calls))
    assert [each.where for each in found] == ["calls of client"]


def test_samples_are_the_same_for_a_seed_and_keep_away_from_ties():
    for kind in EXPERIMENTS.values():
        drawn = [[draw(kind, {}, random.Random(seed)) for _ in range(3)] for seed in (5, 5, 6)]
        assert drawn[0] == drawn[1]
        assert all(not is_tie(each) for each in drawn[0])


def test_a_tie_is_seen():
    # The user timeout ends just when the third retransmission is due: a late timer sends one more.
    ties = [DeadPeer(retries2=3, user_timeout_s=t / 1000, watch_s=12) for t in range(1190, 1240, 2)]
    assert any(is_tie(each) for each in ties)
    assert not is_tie(Keepalive(**Keepalive.quick))


def test_settings_of_one_s_own_are_checked():
    with pytest.raises(ParameterError, match="idle_s = -1 is out of range"):
        draw(Keepalive, {"idle_s": -1}, random.Random(1))


def test_a_sample_is_drawn_again_alone_by_its_seed():
    three = list(islice(samples(Keepalive, {}, 7), 3))
    assert [seed for seed, _ in three] == [7, 8, 9]
    assert [next(samples(Keepalive, {}, seed)) for seed, _ in three] == three


def test_every_third_sample_takes_a_parameter_to_an_end_that_is_never_sampled():
    for kind in (Keepalive, DeadPeer, HandshakeAndClose):
        for seed, drawn in islice(samples(kind, {}, 1), 6):
            at_an_end = [
                name for name, knob in kind.knobs().items()
                if getattr(drawn, name) in ends(name, knob, kind.sampled.get(name, ()))
            ]  # fmt: skip
            assert bool(at_an_end) == (seed % EDGES_EVERY == 0), (kind.name, seed)
            assert not at_an_end or run(drawn).end <= LONGEST_S * 1e9


def test_an_end_at_which_milliseconds_of_programs_decide_is_not_drawn():
    """Near by, an answer must leave within a millisecond of a request: real programs are not that exact."""
    assert ends("latency_ms", StaleReject.knobs()["latency_ms"], StaleReject.sampled["latency_ms"])
    drawn = [each for _, each in islice(samples(StaleReject, {}, 1), 24)]
    assert {each.latency_ms for each in drawn} == set(StaleReject.sampled["latency_ms"])


def test_what_is_set_by_hand_stays_also_at_the_edges():
    for _, drawn in islice(samples(Keepalive, {"probes": 2, "linux": "5.4"}, 3), 4):
        assert (drawn.probes, drawn.linux) == (2, "5.4")


def linux_by_the_model(monkeypatch, *, version="6.18.44", too_busy=()):
    """`run(…, "linux")` gives the model's run; experiments in `too_busy` fail that often first."""
    left, lock = dict(too_busy), threading.Lock()

    def fake(experiment, bench="model", **options):
        if bench != "linux":
            return run(experiment, bench, **options)
        with lock:
            left[experiment.name] = left.get(experiment.name, 0) - 1
            if left[experiment.name] >= 0:
                raise TooBusy("the machine had no time for the wire.")
        return replace(run(experiment.with_values(linux=version)), bench="linux", linux=version)

    monkeypatch.setattr(tcplab.agree, "run", fake)
    monkeypatch.setattr(tcplab.agree, "why_not", lambda: None)
    monkeypatch.setattr(tcplab.agree, "PAUSE_S", 0.001)


def test_a_run_that_was_too_late_is_repeated_then_skipped_and_the_others_count(monkeypatch):
    linux_by_the_model(monkeypatch, too_busy={"keepalive": TRIES + 1, "fin_or_rst": 1000})
    asked = [QUICK[name] for name in ("fin_or_rst", "keepalive", "dead_peer")]
    seen = {}
    found = agree(asked, lambda place, done: seen.__setitem__(place, done), jobs=2)
    assert [each.experiment for each in found] == ["fin_or_rst", "keepalive", "dead_peer"]
    assert [each.agrees for each in found] == [False, True, True]
    assert found[0].skipped == "the machine had no time for the wire."
    assert [seen[place] for place in range(3)] == found


def test_the_rules_are_those_of_the_kernel_that_ran(monkeypatch):
    """6.1 has no linear SYN timeouts: the model at 6.18's rules says something else."""
    linux_by_the_model(monkeypatch, version="6.1.192")
    asked = [QUICK["unanswered_connect"]]
    assert agree(asked)[0].agrees
    assert not agree(asked, own_rules=False)[0].agrees


def test_the_command_prints_what_finished(monkeypatch, capsys):
    linux_by_the_model(monkeypatch, too_busy={"fin_or_rst": 1000})
    words = ["agree", "fin_or_rst", "keepalive", "--samples", "1", "--seed", "4"]
    assert main(words) == 1
    said, progress = capsys.readouterr()
    assert "skipped: the machine had no time for the wire." in said
    assert "again: tcplab agree fin_or_rst --samples 1 --seed 4" in said
    assert said.endswith("1 of 2 agree, 1 skipped.\n")
    assert "2 of 2: fin_or_rst (seed 4) SKIPPED" in progress
    assert main([*words, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [each.get("skipped") for each in told["runs"]] == ["the machine had no time for the wire.", None]
    assert (told["agreed"], told["of"], told["runs"][0]["seed"]) == (1, 2, 4)


def kernel_by_the_model(monkeypatch, *, late_ms=0.0, ticks=TICKS, version="6.1.192", without=()):
    """`run_all` gives what a kernel's wheel makes of the model, with a program that is late."""

    def fake(kernel, experiments, tell, cancelled):
        tell(f"Linux {kernel}: boots")
        for place, experiment in enumerate(experiments):
            if experiment.name in without:
                yield place, f"{experiment.name} was ended after 9 s of the kernel's time."
                continue
            trace = run(experiment.with_values(linux=version), ticks=ticks)
            trace = replace(trace, bench=f"linux:{kernel}", linux=version, ticks=ticks)
            yield place, later(trace, late_ms)

    monkeypatch.setattr(tcplab.agree, "run_all", fake)


def later(trace, ms):
    """A copy in which all that comes after the handshake is late by so much."""
    since, late = trace.packets[min(2, len(trace.packets) - 1)].t, round(ms * 1e6)
    packets = [replace(p, t=p.t + late, arrives=p.arrives and p.arrives + late) for p in trace.packets[3:]]
    calls = [
        c._replace(t=c.t + late * (c.t > since), began=c.began + late * (c.began > since))
        for c in trace.calls
    ]
    return replace(trace, packets=[*trace.packets[:3], *packets], calls=calls, end=trace.end + late)


@pytest.mark.parametrize("name", QUICK)
def test_a_kernel_in_virtual_time_agrees_with_the_model_on_its_wheel(name, monkeypatch):
    kernel_by_the_model(monkeypatch)
    assert agree_on_kernel("6.1", [QUICK[name]])[0].differences == ()


def test_in_virtual_time_a_program_may_be_late_but_no_timer(monkeypatch):
    kernel_by_the_model(monkeypatch, late_ms=20)
    hours = Keepalive()
    assert agree_on_kernel("6.1", [hours])[0].differences == ()
    kernel_by_the_model(monkeypatch, late_ms=60)
    assert agree_on_kernel("6.1", [hours])[0].differences
    exact = replace(run(hours), bench="linux:6.1", linux="6.1.192", ticks=TICKS)
    found = judge(hours, exact)[0].differences
    assert any("keepalive" in str(each) for each in found), (
        "the wheel makes 7200 s more, and this one knows no wheel"
    )


def test_a_timer_counts_from_the_last_of_the_segments_before_it():
    """The writes of a program are one range of bytes; each comes some milliseconds later than planned."""
    plan = Keepalive(idle_s=3, peer="offline", data_every_s=1, unacked=True, latency_ms=10, watch_s=3)
    slow = run(plan.with_values(data_every_s=1.005), ticks=TICKS)
    linux = replace(slow, bench="linux:6.1", linux="6.18", ticks=TICKS, parameters=plan.values())
    assert judge(plan, linux)[0].differences == ()
    early = [
        replace(p, t=p.t - 10_000_000 * (p.kind == "retransmission"), arrives=p.arrives) for p in slow.packets
    ]
    assert judge(plan, replace(linux, packets=early))[0].differences


def test_a_burst_has_a_longer_round_trip_than_the_handshake():
    """Its last segments wait for the first ones, which can make the timeout a tick longer."""
    slow = QUICK["slow_reader"].with_values(peer="offline", retries2=2, watch_s=8, latency_ms=1)
    linux = run(slow.with_values(latency_ms=1.4), ticks=TICKS)
    handshake = [replace(p, arrives=p.t + 1_000_000) for p in linux.packets[:2]]
    linux = replace(
        linux, bench="linux:6.18", linux="6.18", ticks=TICKS, packets=handshake + linux.packets[2:]
    )
    assert _latencies_ms(linux) == (1.2, 1.3)
    assert [each.parameters["latency_ms"] for each in islice(_models(slow, linux), 50, 52)] == [1.2, 1.3]
    assert judge(slow, linux)[0].differences == ()


def test_a_program_may_be_late_by_a_part_of_a_tick():
    """The delayed ACK comes with a tick: the round trip that the sender measures depends on its distance."""
    slow = QUICK["slow_reader"].with_values(peer="offline", retries2=2, watch_s=8)
    ticks = TICKS.since(1_000_000)
    for late_ms in (1, 2, 3, 6):
        linux = run(slow, ticks=ticks.since(late_ms * 1_000_000))
        linux = replace(linux, bench="linux:6.18", linux="6.18", ticks=ticks)
        assert judge(slow, linux)[0].differences == ()


def test_without_the_kernels_tick_only_an_eighth_is_known():
    hours = Keepalive()
    exact = replace(run(hours), bench="linux:6.1", linux="6.1.192")
    assert judge(hours, exact)[0].agrees
    assert judge(hours, replace(run(hours, ticks=TICKS), bench="linux:6.1", linux="6.1.192", ticks=None))[
        0
    ].agrees
    assert not judge(hours, late(exact, 0.14))[0].agrees


def test_kernels_are_compared_with_the_quick_presets_and_samples(monkeypatch, capsys):
    kernel_by_the_model(monkeypatch, without={"fin_or_rst"})
    words = ["agree", "keepalive", "fin_or_rst", "--linux", "6.1,6.1", "--samples", "1", "--seed", "4"]
    assert main(words) == 1
    said, progress = capsys.readouterr()
    assert said.endswith("2 of 4 agree, 2 skipped.\n")
    assert "again: tcplab agree fin_or_rst --samples 1 --seed 4 --linux 6.1" in said
    assert "keepalive (seed 4) on 6.1 agrees" in progress
    assert main([*words, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [(each["linux"], each.get("seed")) for each in told["runs"][:2]] == [
        ("6.1.192", None),
        ("6.1.192", 4),
    ]


@pytest.mark.parametrize("option", ["--jobs", "--samples"])
def test_a_number_out_of_range_is_one_sentence(option, capsys):
    assert main(["agree", option, "0"]) == 2
    assert f"{option} 0 is out of range" in capsys.readouterr().err


@pytest.mark.linux
def test_ctrl_c_prints_what_finished_and_leaves_nothing_behind():
    need_sandbox()
    command = [sys.executable, "-m", "tcplab", "agree", "handshake_and_close", "keepalive"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "1 of 2: handshake_and_close agrees" in running.stderr.readline()
    children = subprocess.run(
        ["pgrep", "-P", str(running.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=30)
    assert said.endswith("1 of 2 agree, 1 not run.\n")
    assert running.returncode == 130
    assert children
    assert subprocess.run(["ps", "-p", ",".join(children)], capture_output=True, check=False).returncode == 1


@pytest.mark.linux
def test_model_and_linux_agree():
    """`tcplab agree --samples 2`: the quick presets are in the samples' range, and these are real."""
    need_sandbox()
    done = subprocess.run(
        [sys.executable, "-m", "tcplab", "agree", "--samples", "2", "--seed", "11", "--json"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    told = json.loads(done.stdout)
    assert [each for each in told["runs"] if not each["agrees"]] == []
    assert told["agreed"] == told["of"] == 2 * len(ON_LINUX)


@pytest.mark.linux
def test_an_ordinary_user_sees_them_agree():
    need_sandbox()
    with ordinary_python() as (python, options):
        command = [*python, "-m", "tcplab", "agree", "--samples", "1", "--seed", "29", "--json"]
        done = subprocess.run(command, **options, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["agreed"] == told["of"] == len(ON_LINUX)


@pytest.mark.parametrize("kind", ON_LINUX.values(), ids=ON_LINUX)
def test_no_quick_preset_is_a_tie(kind):
    """What is compared again and again does not hang on which of two timers is the later one."""
    assert not is_tie(quick(kind, {}))
