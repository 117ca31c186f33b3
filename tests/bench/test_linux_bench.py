"""The verbs on real Linux: what a script sees is what the model says, and what ss and nstat say fits.

Every run needs real time, so all of them run once, side by side, before the first test.
"""

import os
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import pytest

from bench import linux_stories
from bench.sandboxes import TESTS, need_sandbox, patient_run
from tcplab.bench import run
from tcplab.bench.agreement import in_time
from tcplab.bench.linux import LinuxHost
from tcplab.bench.sandbox import REAL_TIME_LOOKS, BenchError, Looks, Sandbox
from tcplab.bench.script import Result
from tcplab.core.releases import release
from tcplab.core.segment import ACK, FIN, RST, SYN
from tcplab.core.text import MILLISECOND
from tcplab.experiments import EXPERIMENTS
from tcplab.follow import classify
from tcplab.registry import find_experiment as find
from tcplab.route.cable import Rule

pytestmark = pytest.mark.linux

SIDE_BY_SIDE = 6

#: What is compared in other ways, because Linux's buffers are charged in its own way (experiments'
#: contract): where a window closes.
OWN_WAYS = {"slow_reader": {"stalled_s", "window_probes"}}

#: At 1 ms the retransmission timeout is so near to 200 ms that a late timer decides how often the
#: data is sent (a tie: 2.9 s against the 3 s of tcp_retries2=3); at 20 ms nothing is near.
AWAY_FROM_TIES = {"dead_peer": {"latency_ms": 20}}

CASES = [
    (name, {**experiment.quick, **AWAY_FROM_TIES.get(name, {})}) for name, experiment in EXPERIMENTS.items()
]
CASES += [("handshake_and_close", {"closer": closer}) for closer in ("server", "both")]
CASES += [("handshake_and_close", {"request": 14480, "response": 14480, "latency_ms": 10})]
ENDINGS = (
    "close",
    "kill",
    "kill_unread",
    "kill_running",
    "linger0",
    "listener_killed",
    "shutdown_write",
    "reject",
    "port_closed",
)
CASES += [("fin_or_rst", {"ending": ending, "client": "reading"}) for ending in ENDINGS]
CASES += [("unanswered_connect", {"fate": fate}) for fate in ("reject", "closed")]
CASES += [("rst_in_window", {"offset": offset}) for offset in (0, -1, 200_000)]
CASES += [("rst_in_window", {"sack_hole": True, "at_sack_edge": True})]
PEERS = ("alive", "rebooted", "moved")
CASES += [("keepalive", {"idle_s": 2, "interval_s": 1, "probes": 2, "peer": peer}) for peer in PEERS]

STORIES = [
    linux_stories.Errors(), linux_stories.Unread(), linux_stories.Fin(), linux_stories.GivenUp(),
    linux_stories.Together(), linux_stories.ClosedUnderneath(), linux_stories.Lost(),
    linux_stories.Unplugged(latency_ms=20), linux_stories.Settings(), linux_stories.Refused(),
    linux_stories.HalfASecond(), linux_stories.Wrong(), linux_stories.RunsALot(),
]  # fmt: skip


def label(case):
    """An experiment and what is not its default, as one word."""
    return "-".join([case[0], *(f"{name}={value}" for name, value in case[1].items())])


class Runs:
    """Every run of this file by its label, or the error that it ended with."""

    def __init__(self) -> None:
        self.results = {}
        stories = {label(case): find(case[0]).from_values(case[1]) for case in CASES}
        stories |= {type(story).__name__: story for story in STORIES}
        # The longest first, so that none is left over at the end.
        self.stories = dict(sorted(stories.items(), key=lambda item: -("idle_s=4" in item[0])))
        own = threading.local()
        sandboxes = []

        def one(item):
            if not hasattr(own, "sandbox"):
                own.sandbox = Sandbox()
                sandboxes.append(own.sandbox)
            try:
                trace = patient_run(own.sandbox, item[1])
                classify(trace.packets)
                trace.outcome = item[1].outcome(trace)
                self.results[item[0]] = trace
            except Exception as error:
                self.results[item[0]] = error

        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            list(pool.map(one, self.stories.items()))
        for sandbox in sandboxes:
            sandbox.close()

    def __getitem__(self, name):
        """The trace of a run; its error is raised here."""
        result = self.results[name]
        if isinstance(result, Exception):
            raise result
        return result


@pytest.fixture(scope="module")
def runs():
    need_sandbox()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        return Runs()


# --- the experiments ---


def fits(name, model, linux):
    """Whether an outcome's value is the same, a time as DESIGN allows."""
    if isinstance(model, list) and isinstance(linux, list):
        return len(model) == len(linux) and all(map(fits, [name] * len(model), model, linux))
    if name.endswith("_s") and None not in (model, linux):
        return in_time(model, linux)
    return model == linux


@pytest.mark.parametrize("case", CASES, ids=label)
def test_an_experiment_comes_out_on_linux_as_on_the_model(runs, case):
    linux = runs[label(case)]
    model = run(runs.stories[label(case)])
    compared = set(model.outcome) - OWN_WAYS.get(case[0], set())
    assert set(linux.outcome) == set(model.outcome)
    differing = {
        name: (model.outcome[name], linux.outcome[name])
        for name in compared
        if not fits(name, model.outcome[name], linux.outcome[name])
    }
    assert not differing


@pytest.mark.parametrize("case", CASES, ids=label)
def test_calls_have_the_models_words_and_results(runs, case):
    if case[0] == "slow_reader":
        return  # what one recv() gets depends on how Linux charges buffers

    def as_called(trace):
        return {
            host: [
                (re.sub(r"\d{5}", "PORT", call.call), call.result)
                for call in trace.calls
                if call.host == host
            ]
            for host in trace.hosts
        }

    assert as_called(runs[label(case)]) == as_called(run(runs.stories[label(case)]))


def test_a_slow_readers_window_closes_and_is_probed(runs):
    trace = runs[label(("slow_reader", EXPERIMENTS["slow_reader"].quick))]
    probes = [p for p in trace.packets if p.kind == "window_probe"]
    assert probes and all(p.sender == "server" for p in probes)
    assert any(p.segment.window == 0 and p.sender == "client" for p in trace.packets)


# --- what the trace holds ---


def states(trace, host):
    """What ss would show of a host's first connection, one state after the other."""
    listener = {sample.local for sample in trace.sockets if sample.state == "LISTEN"}
    remote = [s for s in trace.sockets if s.host == host and (s.remote.port or s.local not in listener)]
    return [state for state, _ in groupby(sample.state for sample in remote)]


@pytest.mark.parametrize("closer", ["client", "server", "both"])
def test_sockets_go_through_the_models_states(runs, closer):
    case = ("handshake_and_close", {"closer": closer} if closer != "client" else {})
    trace, model = runs[label(case)], run(runs.stories[label(case)])
    for host in ("client", "server"):
        assert states(trace, host) == states(model, host)


def test_the_running_timer_is_shown_with_its_due_time(runs):
    trace = runs[label(("keepalive", EXPERIMENTS["keepalive"].quick))]
    timers = [s for s in trace.sockets if s.host == "client" and s.timer == "keepalive"]
    probes = [p.t for p in trace.packets if p.kind == "keepalive"]
    assert len(probes) == 3
    # ss counts what is unanswered, and before each probe a timer is due just then.
    assert {s.unanswered for s in timers} >= {0, 1, 2, 3}
    for probe in probes:
        before = [s for s in timers if s.t < probe][-1]
        assert before.due is not None and -MILLISECOND * 30 < probe - before.due < MILLISECOND * 330


def test_segments_travel_for_the_latency_and_are_in_order(runs):
    for name, result in runs.results.items():
        if isinstance(result, Exception):
            continue
        sent = [p.t for p in result.packets]
        assert sent == sorted(sent), name
        latency = runs.stories[name].latency_ms * MILLISECOND
        for packet in result.packets:
            if packet.arrives is not None:
                # A box stands somewhere on the way: what it sends itself has less of it before it.
                least = latency if result.hosts[packet.sender] else 0
                took = packet.arrives - packet.t
                assert least <= took < latency + 11 * MILLISECOND, (name, packet)


def test_counters_count_from_the_run_s_beginning(runs):
    trace = runs[label(CASES[list(EXPERIMENTS).index("dead_peer")])]
    counters = trace.counters_at(trace.end)
    assert counters["client"]["TcpActiveOpens"] == counters["server"]["TcpPassiveOpens"] == 1
    assert counters["client"]["TcpRetransSegs"] == trace.outcome["transmissions"] - 1
    assert counters["client"]["TcpExtTCPAbortOnTimeout"] == 1
    assert "TcpExtTCPAbortOnTimeout" not in counters["server"]


def test_the_trace_names_its_bench_its_linux_and_its_hosts(runs):
    trace = runs["handshake_and_close"]
    assert trace.bench == "linux"
    assert release(trace.linux).number == release(os.uname().release).number
    assert 1_000_000_000 // release(trace.linux).tick == round(1 / time.clock_getres(6))
    assert trace.hosts == {"client": "10.0.0.1", "server": "10.0.0.2"}
    assert trace.parameters["closer"] == "client"
    assert trace.end >= trace.packets[-1].t > trace.packets[0].t >= 0


def test_real_rules_drop_and_reject_and_the_fate_names_them(runs):
    rejected = runs[label(("fin_or_rst", {"ending": "reject", "client": "reading"}))].packets
    assert [p.fate for p in rejected] == ["dropped_by:REJECT", "delivered"]
    assert rejected[1].segment.flags == RST | ACK and rejected[1].sender == "server"
    dropped = runs[label(("unanswered_connect", EXPERIMENTS["unanswered_connect"].quick))].packets
    assert {p.fate for p in dropped} == {"dropped_by:DROP"} and all(p.arrives for p in dropped)


def test_without_nft_a_rule_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    host = object.__new__(LinuxHost)
    with pytest.raises(BenchError, match="need the program nft: install the package nftables"):
        host._apply_rule(Rule(5432, "DROP"))


def test_a_forged_reset_lies_where_it_was_asked_for(runs):
    for offset in (0, -1, 1, 200_000):
        trace = runs[label(("rst_in_window", {"offset": offset}))]
        at = next(i for i, p in enumerate(trace.packets) if p.kind == "forged")
        acked = [p.segment.ack for p in trace.packets[:at] if p.sender == "client"][-1]
        forged = trace.packets[at].segment
        assert (forged.seq - acked + 2**31) % 2**32 - 2**31 == offset
        assert (trace.packets[at].sender, trace.packets[at].receiver) == ("server", "client")


# --- how often it looks ---


def measured(story, looks=REAL_TIME_LOOKS):
    """A run's trace, with its outcome."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        with Sandbox(looks) as sandbox:
            trace = patient_run(sandbox, story)
    trace.outcome = story.outcome(trace)
    return trace


@pytest.mark.parametrize(("share", "most"), [(1 / 4, 24), (1 / 2, 14), (1, 10)])
def test_looks_and_wake_ups_grow_with_the_logarithm_of_what_is_watched(share, most):
    need_sandbox()
    looks = Looks(600, share)
    short, long = (measured(linux_stories.Watches(watched_s=s), looks).outcome for s in (0.5, 4))
    # In eight times the time: log 8 / log(1 + share) looks (9.3, 5.1 or 3) at each of two hosts; fewer where
    # a busy machine makes a look late, for the next one waits for a share of what has passed.
    assert int(long["looks"]) - int(short["looks"]) <= most
    assert int(long["wakes"]) - int(short["wakes"]) <= 3 * 5
    assert 0 <= float(long["late"]) < 0.1


def test_in_real_time_sockets_are_read_several_times_a_second():
    need_sandbox()
    outcome = measured(linux_stories.Watches(watched_s=3)).outcome
    assert 40 <= int(outcome["looks"]) <= 80  # every 20 ms at both hosts would be 300


@pytest.mark.parametrize("share", [1 / 4, 1 / 2])
def test_the_end_of_a_socket_that_nothing_tells_is_seen_in_good_time(share):
    need_sandbox()
    trace = measured(linux_stories.HalfClosed(), Looks(600, share))
    client = [s for s in trace.sockets if s.host == "client"]
    due = next(s.due for s in client if s.timer == "timewait")
    end = next(s for s in client if s.state == "CLOSED")
    # The timer wheel may be 256 ms late (kernel/time/timer.c); looks after that grow from when it was due,
    # and a timer that is late is the same timer still.
    assert not [s for s in client if due < s.t < end.t]
    assert -20 * MILLISECOND < end.t - due < 450 * MILLISECOND


# --- how a run ends ---


def test_a_reset_sent_as_the_script_ends_is_in_the_trace():
    need_sandbox()
    trace = measured(linux_stories.EndsWithItsLastSegment())
    resets = [p for p in trace.packets if p.segment.flags & RST]
    assert len(resets) == 3 and all(p.sender == "client" and p.t <= trace.end for p in resets)


def test_what_was_sent_before_the_end_is_waited_for_and_nothing_more_is_taken():
    need_sandbox()
    trace = measured(linux_stories.EndsInTransit())
    last = trace.packets[-1]
    assert trace.outcome["later"] == "sent"
    assert (last.segment.length, last.arrives) == (77, None) and last.t <= trace.end
    assert max(sample.t for sample in trace.sockets) <= trace.end


# --- the verbs ---


def test_an_error_seen_by_looking_is_still_owed_to_the_next_call(runs):
    assert runs["Errors"].outcome["errors"] == "ECONNRESET ECONNRESET ECONNRESET None EPIPE"


def test_bytes_that_came_before_the_error_are_read_before_it(runs):
    received = [Result(100), Result(error="ECONNRESET")]
    assert runs["Unread"].outcome["received"] == str([str(result) for result in received])


def test_a_fin_breaks_nothing(runs):
    assert runs["Fin"].outcome == {"error": "None", "waited": "0.3"}


def test_within_gives_up_and_the_program_s_socket_goes_on(runs):
    trace = runs["GivenUp"]
    assert trace.outcome == {"results": "None None 7", "waited": "0.3"}
    assert not [call for call in trace.calls if call.call.startswith("connect")]
    # Both SYNs are repeated after their second, though nobody waits for them any more.
    assert sum(1 for p in trace.packets if p.segment.flags & SYN) == 4


def test_together_keeps_the_order_of_results(runs):
    assert runs["Together"].outcome["results"] == "30 30"


def test_a_waiting_call_returns_when_its_socket_is_closed(runs):
    assert runs["ClosedUnderneath"].outcome == {"client": "EBADF", "server": "EBADF"}


def test_named_segments_are_lost_and_no_others(runs):
    lost = [p for p in runs["Lost"].packets if p.fate == "lost"]
    assert [(p.sender, bool(p.segment.flags & SYN), p.segment.length) for p in lost] == [
        ("client", True, 0),
        ("server", False, 200),
    ]


def test_a_pulled_cable_takes_what_is_on_the_wire(runs):
    packets = runs["Unplugged"].packets
    lost = [p for p in packets if p.fate == "lost"]
    assert {p.sender for p in lost} == {"client", "server"}
    assert any(p.segment.length == 10 for p in lost) and any(p.segment.length == 20 for p in lost)
    assert all(p.arrives is None for p in lost)
    retransmitted = {
        p.segment.length for p in packets if p.kind == "retransmission" and p.fate == "delivered"
    }
    assert retransmitted == {10, 20}


def test_a_setting_that_linux_lacks_is_reported_and_a_buffer_cut(runs):
    lacking, cut = runs["Settings"].warnings
    assert (
        lacking == f"tcp_no_such_thing is ignored: this Linux ({runs['Settings'].linux}) has no such setting."
    )
    assert "net.core.rmem_max" in cut


@pytest.mark.parametrize(
    ("story", "says"),
    [
        ("Refused", "Linux refuses tcp_fin_timeout = 0.5: Invalid argument (EINVAL)."),
        ("HalfASecond", "Linux takes TCP_KEEPIDLE in whole seconds: 0.5 can't be set."),
        ("Wrong", "the run on the Linux bench failed: ZeroDivisionError: by nothing."),
    ],
)
def test_what_can_t_be_done_is_one_sentence(runs, story, says):
    with pytest.raises(BenchError) as error:
        runs[story]
    assert str(error.value) == says


def test_many_segments_in_a_row_arrive_all(runs):
    trace = runs["RunsALot"]
    assert trace.outcome["bytes"] == "1000000 1000000"
    assert max(p.segment.length for p in trace.packets) == 1448  # cut by Linux, as on a real wire
    assert not [p for p in trace.packets if p.fate != "delivered"]
    assert not [p for p in trace.packets if p.kind == "retransmission" and not p.segment.flags & FIN]
