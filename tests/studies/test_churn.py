"""port_churn by its contract: figures worked out by hand, and nonsense answered in one sentence."""

import json
import random
import re
from dataclasses import fields
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.sandboxes import need_sandbox
from studies.naive import low_high, play
from tcplab import run
from tcplab.advice.settings import settings as to_paste
from tcplab.agree import agree, draw, is_tie, quick
from tcplab.bench.agreement import compare, scope_of
from tcplab.bench.model import run_on_model
from tcplab.bench.sandbox import TooBusy
from tcplab.core.knobs import ParameterError
from tcplab.studies import STUDIES, PortChurn
from tcplab.studies.churn import MOST_ATTEMPTS, STEPS

CONTRACT = {
    "rate_per_s": 500, "arrivals": "constant", "ports": 28232, "hold_s": 0.01, "time_wait_s": 60,
    "duration_s": 180, "destinations": 1, "sources": 1, "tw_reuse": 0, "closer": "client",
}  # fmt: skip
OUTCOME = {
    "opened", "refused", "first_refusal_s", "sustainable_per_s", "peak_time_wait", "longest_outage_s",
}  # fmt: skip


def outcome(**values):
    return run(PortChurn(**values)).outcome


def test_the_contract():
    assert STUDIES["port_churn"] is PortChurn
    defaults = PortChurn.defaults()
    assert {name: defaults[name] for name in CONTRACT} == CONTRACT
    assert defaults.keys() - CONTRACT.keys() == {"chosen_by", "hosts", "latency_ms", "linux", "seed"}
    assert outcome().keys() >= OUTCOME


def test_the_article_s_rate_is_a_mean():
    # 28232 ports for 60 s each; with the range of Linux 4.1 and older one port more.
    assert outcome(hold_s=0)["sustainable_per_s"] == pytest.approx(28232 / 60)
    assert round(outcome(hold_s=0)["sustainable_per_s"], 1) == 470.5
    assert round(outcome(hold_s=0, ports=28233)["sustainable_per_s"], 2) == 470.55
    assert round(outcome(hold_s=0, ports=64512)["sustainable_per_s"], 1) == 1075.2
    assert outcome(ports=100, destinations=3, sources=2, hold_s=5)["sustainable_per_s"] == 600 / 65


def test_what_one_sees_is_a_burst_and_then_an_outage():
    told = outcome(rate_per_s=600, hold_s=0)
    # Ports 0 … 28231 are taken at k/600 s; the next attempt is refused; the first port is free at 60 s.
    assert told["first_refusal_s"] == 28232 / 600 == pytest.approx(47.0533, abs=1e-4)
    assert told["longest_outage_s"] == pytest.approx(60 - 28232 / 600)
    assert told["opened"] == 3 * 28232
    assert told["refused"] == 3 * (36000 - 28232)
    assert told["peak_time_wait"] == 28232


def test_just_what_is_sustainable_is_never_refused_and_a_little_more_is():
    # 1 port for 2 s: an attempt every 2 s finds it free at that very moment.
    even = {"ports": 1, "hold_s": 0.5, "time_wait_s": 1.5, "duration_s": 20}
    assert outcome(**even, rate_per_s=0.5)["refused"] == 0
    told = outcome(**even, rate_per_s=0.51)
    assert (told["opened"], told["refused"]) == (6, 5)  # every other one
    assert told["sustainable_per_s"] == 0.5


def test_a_tie_is_a_tie_whatever_floats_say():
    # 0.1 + 0.2 s at 10 a second: the port of attempt k is free again exactly at attempt k + 3.
    told = outcome(ports=3, hold_s=0.1, time_wait_s=0.2, rate_per_s=10, duration_s=50)
    assert (told["opened"], told["refused"]) == (500, 0)


@pytest.mark.parametrize(("more", "times"), [("destinations", 3), ("sources", 4), ("hosts", 2)])
def test_more_addresses_are_more_ports(more, times):
    told = outcome(rate_per_s=300, ports=1000, **{more: times})
    assert told["first_refusal_s"] == pytest.approx(1000 * times / 300)


def test_reuse_after_a_second():
    values = {"ports": 20, "hold_s": 0, "rate_per_s": 40, "duration_s": 10}
    assert outcome(**values)["opened"] == 20
    told = outcome(**values, tw_reuse=1)
    # 20 ports last for half a second of each second.
    assert (told["opened"], told["longest_outage_s"], told["sustainable_per_s"]) == (200, 0.5, 20)
    assert told["peak_time_wait"] == 20


def test_a_program_that_names_its_ports_waits_for_no_time_wait():
    """bind() with SO_REUSEADDR on both sockets, and timestamps: tcp_twsk_unique (see `bind_or_connect`)."""
    values = {"ports": 20, "hold_s": 0.1, "rate_per_s": 100, "duration_s": 10, "chosen_by": "program"}
    told = outcome(**values)
    assert (told["refused"], told["sustainable_per_s"], told["peak_time_wait"]) == (0, 200, 10)
    assert outcome(**values | {"rate_per_s": 250})["refused"] > 0, "open connections still hold their ports"
    assert "tw_reuse" in PortChurn(chosen_by="program").idle_controls()


def test_reuse_by_the_clock_of_older_linux():
    values = {"ports": 10, "hold_s": 0.25, "rate_per_s": 10, "duration_s": 6, "tw_reuse": 1}
    # To 4.18 two seconds must have begun since: ports taken in the first second are free at 2 s.
    old = outcome(**values, linux="4.9")
    assert (old["first_refusal_s"], old["longest_outage_s"]) == (1, 1)
    # From 4.19 to 6.13 the next second will do.
    assert outcome(**values, linux="5.4")["sustainable_per_s"] == 10


def test_2_means_loopback_only_since_4_19_and_1_before():
    values = {"ports": 20, "rate_per_s": 10, "duration_s": 10}
    assert outcome(**values, tw_reuse=2) == outcome(**values, tw_reuse=0)
    assert outcome(**values, tw_reuse=2, linux="4.18") == outcome(**values, tw_reuse=1, linux="4.18")
    assert "loopback" in PortChurn(tw_reuse=2).sentence(run(PortChurn(tw_reuse=2)))


def test_a_server_that_closes_first_keeps_time_wait_to_itself():
    told = outcome(closer="server", rate_per_s=1000)
    assert (told["refused"], told["peak_time_wait"]) == (0, 0)
    assert told["sustainable_per_s"] == 28232 / 0.01
    assert outcome(closer="server", hold_s=0)["sustainable_per_s"] is None


def test_the_curves_reach_the_ceiling_and_count_every_attempt():
    trace = run(PortChurn())
    series, told = trace.series, trace.outcome
    assert not trace.packets
    outages = series.pop("outages_s")
    assert outages == [[56.464, 60.01], [116.474, 120.02], [176.484, 180]]
    assert {len(curve) for curve in series.values()} == {STEPS}
    assert all(a < b for a, b in pairwise(series["t_s"]))
    assert max(series["in_use_high"]) == told["ceiling"] == 28232
    assert sum(series["opened"]) == told["opened"] and sum(series["refused"]) == told["refused"]
    first = next(t for t, refused in zip(series["t_s"], series["refused"], strict=True) if refused)
    assert first <= told["first_refusal_s"] < first + 180 / STEPS


def test_the_same_seed_gives_the_same_run_and_another_another():
    values = {"arrivals": "poisson", "rate_per_s": 50, "ports": 1000}
    assert run(PortChurn(**values)) == run(PortChurn(**values))
    assert run(PortChurn(**values)).series != run(PortChurn(**values, seed=2)).series
    assert outcome(**values)["opened"] == pytest.approx(50 * 180 - outcome(**values)["refused"], rel=0.05)


def test_a_trace_is_json():
    told = json.loads(json.dumps(run(PortChurn(closer="server", hold_s=0)).to_json(), allow_nan=False))
    assert told["segments"] == [] and told["series"]["opened"] and told["outcome"]["first_refusal_s"] is None


drawn = st.builds(
    PortChurn,
    rate_per_s=st.sampled_from([0.7, 1, 2.5, 3.3333, 5]),
    arrivals=st.sampled_from(["constant", "poisson"]),
    ports=st.integers(1, 5),
    hold_s=st.sampled_from([0, 0.1, 0.3, 1, 2.2]),
    time_wait_s=st.sampled_from([0, 0.7, 1, 2, 5]),
    duration_s=st.sampled_from([0.1, 3, 10, 12.5]),
    destinations=st.integers(1, 3),
    sources=st.integers(1, 2),
    tw_reuse=st.integers(0, 2),
    chosen_by=st.sampled_from(["kernel", "program"]),
    closer=st.sampled_from(["client", "server"]),
    linux=st.sampled_from(["3.10", "4.18", "5.4", "6.18"]),
    seed=st.integers(0, 5),
)


@given(drawn)
@settings(max_examples=150, deadline=None)
def test_outcome_and_series_are_those_of_playing_every_moment(churn):
    outcome, series = churn.simulate()
    load = churn.load()
    told = play(load)
    assert (outcome["opened"], outcome["refused"]) == (told.opened, told.refused)
    first = None if told.first_refusal is None else told.first_refusal / load.second
    assert outcome["first_refusal_s"] == (first if first is None else pytest.approx(first))
    assert outcome["longest_outage_s"] == pytest.approx(told.longest_outage / load.second)
    assert outcome["peak_time_wait"] == max(value for _, value in told.time_wait)
    edges = load.edges(STEPS)
    assert (series["in_use_low"], series["in_use_high"]) == low_high(told.in_use, edges)
    assert (series["time_wait_low"], series["time_wait_high"]) == low_high(told.time_wait, edges)
    assert sum(series["refused"]) == told.refused
    sentence = churn.sentence(churn.simulated())
    assert sentence.endswith(".") and "None" not in sentence and "nan" not in sentence


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"ports": 0}, r"ports = 0 is out of range: 1 to 65535\."),
        ({"ports": 65536}, r"ports = 65536 is out of range: 1 to 65535\."),
        ({"rate_per_s": 0}, r"rate_per_s = 0 is out of range: 0\.01 to 1000000 per s\."),
        ({"rate_per_s": "fast"}, r"rate_per_s = 'fast' is not a number"),
        ({"duration_s": 0}, r"duration_s = 0 is out of range: 0\.1 to 86400 s\."),
        ({"tw_reuse": 3}, r"tw_reuse = 3 is not one of 0, 1, 2\."),
        ({"closer": "nobody"}, r"closer = 'nobody' is not one of client, server\."),
        ({"destinations": 1.5}, r"destinations = 1\.5 is not a whole number"),
        (
            {"rate_per_s": 100_000},
            rf"rate_per_s = 100000 for duration_s = 180 .* at most {MOST_ATTEMPTS:,}\.",
        ),
    ],
)
def test_nonsense_is_answered_in_one_sentence(values, says):
    with pytest.raises(ParameterError) as told:
        PortChurn(**values)
    assert re.search(says, str(told.value)) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("ports", "line"),
    [
        (28232, "# net.ipv4.ip_local_port_range = 32768 60999   (Linux's default)"),
        (64512, "net.ipv4.ip_local_port_range = 1024 65535"),
        (40000, "net.ipv4.ip_local_port_range = 25536 65535"),
        (64513, "# net.ipv4.ip_local_port_range: this would begin below 1024, where servers listen"),
    ],
)
def test_the_range_is_a_setting_to_paste(ports, line):
    pasted = to_paste(PortChurn(ports=ports, tw_reuse=1))["sysctl"].splitlines()
    assert line in pasted and "net.ipv4.tcp_tw_reuse = 1" in pasted


def test_a_day_of_a_million_a_second_is_refused_at_once():
    says = (
        r"rate_per_s = 1e\+06 for duration_s = 86400 makes about 86,400,000,000 attempts: at most 5,000,000\."
    )
    with pytest.raises(ParameterError, match=says):
        PortChurn(rate_per_s=1_000_000, duration_s=86_400)


@pytest.mark.parametrize("preset", PortChurn.presets)
def test_presets_are_settings_of_it(preset):
    churn = PortChurn.from_values(PortChurn.presets[preset])
    assert churn.sentence(churn.simulated())


def test_controls_are_parameters():
    assert set(PortChurn.controls) <= {field.name for field in fields(PortChurn)}


# -- a small run with real connections: on the model's stack, and on Linux -------------------


def stack(churn):
    """The script for Linux on the model of Linux TCP, segment by segment."""
    trace = run_on_model(churn)
    trace.outcome = churn.outcome(trace)
    return trace


@pytest.mark.parametrize("seed", range(8))
def test_the_arithmetic_says_what_the_modelled_stacks_do(seed):
    churn = draw(PortChurn, {}, random.Random(seed))
    model, played = run(churn), stack(churn)
    scope = scope_of(churn, model)
    assert compare(model, played, (scope, scope)) == []


def test_the_stacks_give_all_outcomes_in_the_same_order():
    churn = quick(PortChurn, {})
    played = stack(churn)
    assert list(played.outcome) == list(run(churn).outcome)
    assert (played.outcome["opened"], played.outcome["peak_time_wait"]) == (20, 20)
    assert churn.sentence(played).startswith("After 1 s all 20 ports are in use")
    few = quick(PortChurn, {"rate_per_s": 5})
    assert few.sentence(stack(few)).startswith("All 10 connections are opened; 10 sockets are in TIME_WAIT")


def test_what_is_closed_after_the_end_is_not_counted():
    # Attempts at 0, 0.2 … 1.8 s, each closed 0.33 s later: the last close comes at 2.13 s.
    churn = quick(PortChurn, {"rate_per_s": 5, "hold_s": 0.33, "ports": 10})
    assert run(churn).outcome["peak_time_wait"] == stack(churn).outcome["peak_time_wait"] == 9


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"ports": 62}, "ports = 62: at most 60, on the Linux bench."),
        ({"ports": 7}, "ports = 7: an even number, since Linux leaves one port of an odd range unused"),
        ({"duration_s": 21}, "duration_s = 21: at most 20, on the Linux bench."),
        ({"time_wait_s": 30}, "time_wait_s = 30: 60, which is built into Linux, on the Linux bench."),
        ({"sources": 2}, "sources = 2: 1, since its client has one address, on the Linux bench."),
        ({"rate_per_s": 1000}, "rate_per_s = 1000 makes 2,000 attempts: at most 800, on the Linux bench."),
    ],
)
def test_what_is_too_much_for_linux_is_said_before_anything_runs(values, says):
    with pytest.raises(ParameterError) as told:
        run(quick(PortChurn, values), "linux")
    assert says in str(told.value)


def test_ties_are_not_drawn():
    # With reuse after a second and at 30 a second, Linux's own milliseconds decide who gets a port.
    chance = random.Random(1)
    for _ in range(20):
        churn = draw(PortChurn, {"tw_reuse": 1, "closer": "client", "ports": 6}, chance)
        counts = {other.outcome["opened"] for other in [run(churn), *churn.nearby()]}
        assert len(counts) == 1


def test_the_second_of_the_clock_at_which_a_run_begins_makes_ties():
    """Before 6.14 a port in TIME_WAIT comes back with a later second: ten ports for ten attempts a second."""
    values = {"rate_per_s": 10, "ports": 10, "hold_s": 0.05, "duration_s": 3, "tw_reuse": 1}
    opened = {
        linux: {each.outcome["opened"] for each in quick(PortChurn, {**values, "linux": linux}).nearby()}
        for linux in ("5.10", "6.14")
    }
    assert opened["6.14"] == {28} and len(opened["5.10"]) > 1
    assert not is_tie(quick(PortChurn, {**values, "linux": "6.14"}))
    assert is_tie(quick(PortChurn, {**values, "linux": "5.10"}))


@pytest.mark.linux
def test_linux_agrees():
    need_sandbox()
    # A port comes back half way between two attempts: a tenth of a second for a busy machine on either side.
    reuse = {"tw_reuse": 1, "rate_per_s": 5, "ports": 4, "hold_s": 0.1, "duration_s": 3}
    server = {"closer": "server", "rate_per_s": 10, "ports": 6}
    program = {"chosen_by": "program", "ports": 6, "rate_per_s": 20, "hold_s": 0.17, "duration_s": 3}
    small = [quick(PortChurn, values) for values in ({}, reuse, server, program)]
    try:
        found = agree(small)
    except TooBusy as busy:
        pytest.skip(str(busy))
    assert [str(difference) for each in found for difference in each.differences] == []
    assert "the results of both are the same" in found[0].sentence
