"""A proxy has two legs: what reaches whom, and which timer ends it."""

import pytest

from experiments.outcomes import outcome, trace_of
from tcplab.bench import run
from tcplab.core.knobs import ParameterError
from tcplab.core.text import SECOND
from tcplab.experiments import ProxyLegs

NEVER = {
    "noticed_by_client_after_s": None, "error": None, "session_over_after_s": None,
    "probes_seen_by_database": 0,
}  # fmt: skip


def noticed(after, error=None, probes=0):
    """An outcome, the time to a tenth."""
    return {
        "noticed_by_client_after_s": pytest.approx(after, abs=0.1),
        "error": error,
        "session_over_after_s": None,
        "probes_seen_by_database": probes,
    }


@pytest.mark.parametrize("query_s", [0, 300])
def test_the_clients_keepalive_reaches_only_the_proxy(query_s):
    """The naive answer is that keepalive finds the dead database after 5 s."""
    trace, sentence = trace_of(ProxyLegs, client_keepalive_idle_s=2, query_s=query_s)
    assert trace.outcome == NEVER
    answered = [p for p in trace.packets if p.kind == "keepalive"]
    assert len(answered) == 4 and {(p.sender, p.receiver) for p in answered} == {("client", "proxy")}
    assert "4 keepalive probes" in sentence and "none of them reaches the database" in sentence


@pytest.mark.parametrize("query_s", [0, 300])
def test_the_proxys_keepalive_finds_it_and_the_client_gets_a_fin(query_s):
    trace, sentence = trace_of(ProxyLegs, backend_keepalive_idle_s=2, query_s=query_s)
    assert trace.outcome == noticed(5)
    (given_up,) = [c for c in trace.calls if c.host == "proxy" and c.result == "ETIMEDOUT"]
    (told,) = [c for c in trace.calls if c.host == "client" and c.result == "end of file"]
    assert given_up.t < told.t
    assert "the proxy's keepalive" in sentence and "server closed the connection unexpectedly" in sentence


def test_a_data_timer_cuts_a_silent_report_though_nothing_is_broken():
    report = {"broken": "nothing", "query_s": 300, "proxy_idle_s": 60}
    probing = {f"{leg}_keepalive_idle_s": 10 for leg in ("client", "proxy", "backend")}
    trace, sentence = trace_of(ProxyLegs, **report, **probing)
    assert trace.outcome == noticed(60, probes=5)
    assert "Nothing breaks" in sentence and "probes don't restart it" in sentence
    assert outcome(ProxyLegs, **report) == noticed(60)


def test_a_report_shorter_than_the_data_timer_gets_its_answer():
    trace, sentence = trace_of(ProxyLegs, broken="nothing", query_s=59, proxy_idle_s=60)
    assert trace.outcome == NEVER and "gets its answer" in sentence


def test_a_client_without_network_has_its_own_keepalive_only():
    assert outcome(ProxyLegs, broken="client", client_keepalive_idle_s=2) == noticed(5, "ETIMEDOUT")
    watched = outcome(ProxyLegs, broken="client", proxy_keepalive_idle_s=2)
    assert watched == {**NEVER, "session_over_after_s": pytest.approx(5, abs=0.1)}


@pytest.mark.parametrize(
    ("parameters", "proxy_closes", "database_closes"),
    [
        ({"client_keepalive_idle_s": 2}, None, None),
        ({"backend_keepalive_idle_s": 2}, None, None),
        ({"proxy_keepalive_idle_s": 2}, 5, 5),
        ({"proxy_idle_s": 8}, 8, 8),
        ({"proxy_keepalive_idle_s": 2, "query_s": 10}, 5, 10),
        ({"query_s": 10}, 939, 939),
    ],
)
def test_when_the_database_hears_that_the_client_is_gone(parameters, proxy_closes, database_closes):
    trace, sentence = trace_of(ProxyLegs, broken="client", **parameters)

    def closed(host):
        return [
            (c.t - trace.watched_from) / 1e9 for c in trace.calls if (c.host, c.call) == (host, "close()")
        ]

    assert closed("proxy") == ([] if proxy_closes is None else [pytest.approx(proxy_closes, abs=0.5)] * 2)
    assert closed("database") == (
        [] if database_closes is None else [pytest.approx(database_closes, abs=0.5)]
    )
    assert ("stays open and keeps its locks" in sentence) == (database_closes is None)


def test_the_database_sees_the_proxys_probes_as_long_as_it_lives():
    said = outcome(ProxyLegs, broken="client", backend_keepalive_idle_s=10, proxy_idle_s=35)
    assert said["probes_seen_by_database"] == 3


def test_a_proxy_is_a_third_host_and_relays_every_byte():
    trace = run(ProxyLegs(broken="nothing", query_s=1))
    assert list(trace.hosts) == ["client", "proxy", "database"]
    assert not any({p.sender, p.receiver} == {"client", "database"} for p in trace.packets)
    for host, ways in (("client", 2), ("database", 2)):
        assert sum(p.segment.length for p in trace.packets if p.sender == host) == (
            80 if host == "client" else 400
        )
        assert len([p for p in trace.packets if p.receiver == host and p.segment.length]) == ways


def test_timers_shorter_than_an_answer():
    trace, sentence = trace_of(ProxyLegs, proxy_idle_s=0.001, latency_ms=100)
    assert trace.outcome["probes_seen_by_database"] == 0
    assert sentence.startswith("The session ends before anything breaks")
    with pytest.raises(
        ParameterError, match=r"backend_keepalive_idle_s = 0\.5 is shorter than Linux accepts"
    ):
        ProxyLegs(backend_keepalive_idle_s=0.5)


def test_the_data_timer_ends_whatever_the_latency():
    """A rest of the timer smaller than a nanosecond once kept it waiting for ever."""
    for latency_ms in (1, 7, 20, 25, 33.3):
        story = ProxyLegs(
            broken="client",
            proxy_idle_s=3,
            query_s=2,
            latency_ms=latency_ms,
            backend_keepalive_idle_s=2,
            watch_s=6,
        )
        assert run(story).end < 30 * SECOND
