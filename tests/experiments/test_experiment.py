"""What all experiments promise: names, parameters, outcomes, sentences, and the same run twice."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.drawn import experiments
from tcplab.bench import run
from tcplab.bench.script import Bench
from tcplab.core.knobs import ParameterError
from tcplab.core.releases import LISTED, NEWEST
from tcplab.experiments import EXPERIMENTS
from tcplab.experiments.experiment import Experiment
from tcplab.registry import find_experiment as find

#: The contract: parameters with their defaults, and the names of the outcome.
CONTRACT = {
    "handshake_and_close": (
        {"closer": "client", "request": 40, "response": 200},
        {"first_fin", "time_wait_on", "segments"},
    ),
    "fin_or_rst": (
        {"ending": "close", "client": "reading", "fin_timeout_s": 60, "keepalive_idle_s": 0},
        {"server_sends", "client_error", "second_write_error"},
    ),
    "unanswered_connect": (
        {"fate": "drop", "syn_retries": 6, "linear_timeouts": 4, "user_timeout_s": 0},
        {"syn_times_s", "gave_up_after_s", "error"},
    ),
    "rst_in_window": (
        {"offset": 0, "window": 65536, "sack_hole": False, "at_sack_edge": False},
        {"verdict", "alive", "client_error", "window"},
    ),
    "keepalive": (
        {"idle_s": 7200, "interval_s": 75, "probes": 9, "user_timeout_s": 0, "peer": "offline",
         "data_every_s": 0, "unacked": False, "waiting": False},
        {"probe_times_s", "detected_after_s", "error", "last_segment"},
    ),
    "idle_firewall": (
        {"firewall_idle_s": 350, "expired": "drop", "keepalive_idle_s": 0, "keepalive_interval_s": 75,
         "keepalive_probes": 9, "user_timeout_s": 0, "quiet_s": 400, "waiting_for": "next_query",
         "retries2": 15},
        {"survived", "error", "detected_after_s", "server_left_behind"},
    ),
    "client_gone": (
        {"how": "vanish", "session": "running", "check_interval_s": 0, "keepalive_idle_s": 0,
         "keepalive_interval_s": 1, "keepalive_probes": 3, "user_timeout_s": 0, "query_s": 60},
        {"noticed_after_s", "how_noticed", "lock_held_s"},
    ),
    "proxy_legs": (
        {"broken": "database", "client_keepalive_idle_s": 0, "backend_keepalive_idle_s": 0,
         "keepalive_interval_s": 1, "keepalive_probes": 3, "proxy_idle_s": 0, "query_s": 0},
        {"noticed_by_client_after_s", "error", "session_over_after_s", "probes_seen_by_database"},
    ),
    "stale_reject": (
        {"in_flight": 6, "balancer_close_s": 0, "balancer_refresh": False},
        {"verdict", "alive_after_rst", "closed_after_s"},
    ),
    "dead_peer": (
        {"retries2": 15, "user_timeout_s": 0, "keepalive_idle_s": 0, "keepalive_interval_s": 75,
         "keepalive_probes": 9, "sack": True, "rto_max_s": 120},
        {"transmissions", "detected_after_s", "error"},
    ),
    "slow_reader": (
        {"receive_buffer": 65536, "response": 200_000, "read_bytes": 8192, "read_every_s": 1,
         "stops_reading_s": 0, "peer": "alive", "retries2": 15, "user_timeout_s": 0},
        {"bytes_delivered", "stalled_s", "window_probes", "server_error"},
    ),
    "accept_queue": (
        {"backlog": 2, "connects": 8, "concurrent": True, "connects_before": 0, "syncookies": True,
         "abort_on_overflow": False, "accept_after_s": 0, "speaks_first": "client", "speak_after_s": 3,
         "latency_ms": 20, "watch_s": 10},
        {"connected", "server_has", "ghosts", "revived", "client_errors"},
    ),
    "port_range": (
        {"first_port": 60001, "last_port": 60006, "connects": 7, "destinations": 1, "sources": 1},
        {"opened", "error", "ports_used"},
    ),
    "time_wait": (
        {"ports": 6, "tw_reuse": 0, "timestamps": True, "max_tw_buckets": 131072, "wait_s": 0.2,
         "closer": "client", "rfc1337": True},
        {"held", "reopened", "error"},
    ),
    "bind_or_connect": (
        {"held_by": "connect", "state": "time_wait", "then": "bind0", "same_destination": True, "ports": 6,
         "tw_reuse": 1, "wait_s": 1.3},
        {"result"},
    ),
}  # fmt: skip
NAMES = pytest.mark.parametrize("name", CONTRACT)


def test_the_registry_has_them_under_their_names():
    assert set(CONTRACT) <= set(EXPERIMENTS)
    for name, kind in EXPERIMENTS.items():
        assert kind.name == name and issubclass(kind, Experiment) and find(name) is kind


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("keepalife", "no experiment 'keepalife': did you mean keepalive?"),
        ("moon", "no experiment 'moon': there are handshake_and_close, "),
    ],
)
def test_an_unknown_name_gets_one_sentence(asked, says):
    with pytest.raises(ParameterError) as error:
        find(asked)
    assert str(error.value).startswith(says) and "\n" not in str(error.value)


@NAMES
def test_parameters_and_defaults_are_those_of_the_contract(name):
    defaults = EXPERIMENTS[name].defaults()
    wanted, _ = CONTRACT[name]
    assert {each: defaults[each] for each in wanted} == wanted
    common = {"latency_ms": 1, "linux": NEWEST, "seed": 1}
    assert {each: defaults[each] for each in common} == {**common, "latency_ms": wanted.get("latency_ms", 1)}


@NAMES
def test_the_defaults_give_the_contracts_outcome_and_a_sentence(name):
    experiment = EXPERIMENTS[name]()
    trace = run(experiment)
    assert set(trace.outcome) == CONTRACT[name][1]
    assert trace.parameters == experiment.values()
    assert (trace.experiment, trace.bench, trace.linux) == (name, "model", NEWEST)
    sentence = experiment.sentence(trace)
    assert sentence.endswith(".") and len(sentence) > 60 and "None" not in sentence


@NAMES
def test_presets_controls_quick_and_samples_are_parameters(name):
    kind = EXPERIMENTS[name]
    assert kind.title and kind.lesson and kind.pictures
    assert 3 <= len(kind.controls) <= 6 and set(kind.controls) <= set(kind.knobs())
    assert next(iter(kind.presets.values())) == {}, "the defaults come first under their own name"
    for settings_ in (*kind.presets.values(), kind.quick):
        trace = run(kind(**settings_))
        assert set(trace.outcome) == CONTRACT[name][1]
    for parameter, values in kind.sampled.items():
        for value in values:
            assert kind.knobs()[parameter].check(parameter, value) == value


@NAMES
def test_the_quick_preset_is_over_in_fifteen_seconds(name):
    kind = EXPERIMENTS[name]
    assert run(kind(**kind.quick)).end <= 15e9


@NAMES
@pytest.mark.parametrize("linux", LISTED)
def test_every_linux_has_an_outcome(name, linux):
    trace = run(EXPERIMENTS[name](linux=linux))
    assert set(trace.outcome) == CONTRACT[name][1] and trace.linux == linux


@NAMES
def test_a_wrong_value_gets_one_sentence_with_name_value_and_range(name):
    kind = EXPERIMENTS[name]
    for parameter, knob in kind.knobs().items():
        for wrong in ("nonsense-", -(10**12), 10**12, None, 1.5j):
            if knob.kind is str and isinstance(wrong, str) and not knob.choices and parameter != "linux":
                continue
            if wrong == 10**12 and knob.high > wrong:
                continue
            with pytest.raises(ParameterError) as error:
                kind(**{parameter: wrong})
            said = str(error.value)
            assert said.startswith(f"{parameter} = ") and said.endswith("."), said
            assert "\n" not in said and said.count(". ") == 0, said
            limits = re.findall(r"[\w.]+", knob.range_text())
            assert any(limit in said for limit in limits), said


@NAMES
def test_an_unknown_parameter_gets_one_sentence(name):
    with pytest.raises(ParameterError) as error:
        EXPERIMENTS[name].from_values({"colour": "blue"})
    assert str(error.value).startswith(f"{name} has no parameter 'colour'; it has ")


@NAMES
def test_texts_as_a_command_line_has_them(name):
    kind = EXPERIMENTS[name]
    as_text = {each: str(value) for each, value in kind().values().items()}
    assert kind.from_values(as_text) == kind()


@NAMES
@settings(max_examples=60)
@given(data=st.data())
def test_whatever_is_turned_the_run_ends_with_an_outcome_and_is_the_same_twice(name, data):
    experiment = data.draw(experiments(EXPERIMENTS[name]))
    trace = run(experiment)
    assert set(trace.outcome) == CONTRACT[name][1]
    assert experiment.sentence(trace).strip().endswith(".")
    assert trace.to_json() == run(experiment).to_json()
    for packet in trace.packets:
        assert packet.arrives is None or packet.arrives >= packet.t


@NAMES
def test_the_seed_changes_numbers_and_ports_and_nothing_else(name):
    one, two = (run(EXPERIMENTS[name](seed=seed)) for seed in (1, 2))
    assert one.outcome == two.outcome
    assert one.to_json()["segments"] == two.to_json()["segments"]
    assert [p.segment.seq for p in one.packets] != [p.segment.seq for p in two.packets]


@NAMES
def test_scripts_use_the_verbs_of_the_bench_only(name):
    """A bench that has the verbs and nothing else is enough: a script finds out nothing by other ways."""
    verbs = {verb for verb in dir(Bench) if not verb.startswith("_")} | {"trace"}
    asked = set()

    class Narrow:
        def __init__(self, bench):
            self.bench = bench

        def __getattr__(self, verb):
            asked.add(verb)
            assert verb in verbs, f"{verb} is no verb"
            return getattr(self.bench, verb)

    kind = EXPERIMENTS[name]

    class Narrowed(kind):
        async def run(self, bench):
            await super().run(Narrow(bench))

    run(Narrowed(**kind.quick))
    assert "hosts" in asked
