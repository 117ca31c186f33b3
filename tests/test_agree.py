"""Model and Linux, side by side: the comparison itself, and the samples it is given."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace

import pytest

from bench.sandboxes import need_sandbox, ordinary_python
from tcplab.agree import draw, is_tie, quick
from tcplab.bench import run
from tcplab.bench.agreement import LATE_S, compare, in_time, judge, matches
from tcplab.core.knobs import ParameterError
from tcplab.core.segment import FIN, RST, SYN
from tcplab.experiments import EXPERIMENTS, DeadPeer, FinOrRst, HandshakeAndClose, Keepalive
from tcplab.registry import ON_LINUX

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
