"""The answer of every story: its words, and that its number is the outcome's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplab.bench import run
from tcplab.core.text import SECOND, duration
from tcplab.registry import EXPERIMENTS, STORIES, find

#: Words of the answer and the host they are about, by story and by what differs from its defaults.
WORDS = [
    ("handshake_and_close", {}, "client", "the port stays in TIME-WAIT for 60 s on the client"),
    ("handshake_and_close", {"closer": "server"}, "server",
     "the port stays in TIME-WAIT for 60 s on the server"),
    ("handshake_and_close", {"closer": "both"}, "client",
     "the port stays in TIME-WAIT for 60 s on both sides"),
    ("fin_or_rst", {}, "client", "end of file after 0.001 s"),
    ("fin_or_rst", {"ending": "kill", "client": "idle"}, "client", "EPIPE after 2 s"),
    ("fin_or_rst", {"ending": "kill_unread"}, "client", "ECONNRESET after 0.001 s"),
    ("fin_or_rst", {"ending": "shutdown_write", "client": "idle"}, "client",
     "no error: the server still reads"),
    ("fin_or_rst", {"ending": "drop"}, "client", "ETIMEDOUT after 2 min 11 s"),
    ("fin_or_rst", {"ending": "drop", "watch_s": 20}, "client", "not detected in 20 s"),
    ("unanswered_connect", {}, "client", "ETIMEDOUT after 2 min 11 s"),
    ("unanswered_connect", {"fate": "closed"}, "client", "ECONNREFUSED after 0.002 s"),
    ("unanswered_connect", {"watch_s": 30}, "client", "not detected in 30 s"),
    ("rst_in_window", {}, "client", "the RST is accepted: ECONNRESET at the next call"),
    ("rst_in_window", {"offset": 1}, "client", "the RST is challenged: the connection stays open"),
    ("rst_in_window", {"offset": -1}, "client", "the RST is ignored: the connection stays open"),
    ("stale_reject", {}, "server", "the RST is ignored: the connection stays open"),
    ("stale_reject", {"in_flight": 0}, "server", "closed 0.001 s after the RST"),
    ("stale_reject", {"balancer_close_s": 10}, "client", "closed 10 s after the RST"),
    ("keepalive", {}, "client", "ETIMEDOUT after 2 h 11 min 15 s"),
    ("keepalive", {"idle_s": 60, "interval_s": 10, "probes": 6}, "client", "ETIMEDOUT after 2 min"),
    ("keepalive", {"idle_s": 0}, "client", "not detected in 1 h"),
    ("keepalive", {"peer": "alive", "idle_s": 10}, "client", "nothing to detect: 1 probe"),
    ("keepalive", {"peer": "rebooted", "idle_s": 10}, "client", "ECONNRESET after 10 s"),
    ("dead_peer", {}, "client", "ETIMEDOUT after 15 min 29 s"),
    ("dead_peer", {"user_timeout_s": 30}, "client", "ETIMEDOUT after 30.4 s"),
    ("dead_peer", {"watch_s": 12}, "client", "not detected in 12 s"),
    ("slow_reader", {}, "server", "server stalled for 19.1 s"),
    ("slow_reader", {"stops_reading_s": 2}, "server", "server stalled for 2 min 2 s"),
    ("slow_reader", {"stops_reading_s": 2, "user_timeout_s": 30}, "server",
     "server stalled for 30.2 s, then ETIMEDOUT"),
    ("slow_reader", {"receive_buffer": 1 << 20}, "server", "the server is never stalled"),
    ("port_range", {}, "client", "EADDRNOTAVAIL: connection 7 gets no port"),
    ("port_range", {"last_port": 60012}, "client", "all 7 open"),
    ("time_wait", {}, "client", "EADDRNOTAVAIL after 0.200 s"),
    ("time_wait", {"tw_reuse": 1, "wait_s": 1.3}, "client", "connect() takes a port again after 1.300 s"),
    ("why_time_wait", {}, "server", "server done after 0.206 s"),
    ("why_time_wait", {"time_wait": "refused"}, "server", "server done by a RST after 0.206 s"),
    ("why_time_wait", {"purpose": "old_duplicate"}, "client", "TIME-WAIT drops the late segment"),
    ("why_time_wait", {"purpose": "old_duplicate", "time_wait": "refused"}, "client",
     "200 old bytes are read as the new answer"),
    ("bind_or_connect", {}, "client", "EADDRINUSE after 1.300 s"),
    ("bind_or_connect", {"then": "connect"}, "client", "connect() takes a port after 1.300 s"),
    ("accept_queue", {}, "client", "5 ghosts: connected, unknown to the server, no error"),
    ("accept_queue", {"backlog": 8}, "client", "no ghosts: the server has all 8"),
    ("accept_queue", {"concurrent": False}, "client", "no ghosts, but 1 connect() still waiting"),
    ("accept_queue", {"accept_after_s": 2}, "client", "5 ghosts for 3.260 s: then accept() makes room"),
    ("accept_queue", {"connects_before": 3, "connects": 1, "accept_after_s": 5.5}, "client",
     "no ghost: connect() succeeds after 7.040 s"),
    ("accept_queue", {"syncookies": False, "abort_on_overflow": True, "connects": 3, "connects_before": 2},
     "client", "ECONNRESET after 3 s"),
    ("idle_firewall", {}, "client", "ETIMEDOUT after 15 min 29 s"),
    ("idle_firewall", {"waiting_for": "long_query", "quiet_s": 600}, "client",
     "never: no rows and no error"),
    ("idle_firewall", {"waiting_for": "long_query", "quiet_s": 600, "keepalive_idle_s": 60}, "client",
     "rows arrive after 10 min"),
    ("idle_firewall", {"expired": "reset_both"}, "client", "ECONNRESET at the next query"),
    ("idle_firewall", {"expired": "reopen"}, "client", "the answer arrives after 0.002 s"),
    ("proxy_legs", {}, "client", "client: no answer and no error for 1 h"),
    ("proxy_legs", {"backend_keepalive_idle_s": 10}, "client", "end of file after 13 s"),
    ("proxy_legs", {"broken": "nothing", "query_s": 300}, "client", "rows arrive after 5 min"),
    ("proxy_legs", {"broken": "client", "query_s": 10, "proxy_keepalive_idle_s": 2}, "database",
     "session over after 10 s"),
    ("proxy_legs", {"broken": "client"}, "database", "nothing reaches the database: its session stays"),
    ("client_gone", {}, "server", "locks held for 16 min 29 s"),
    ("client_gone", {"check_interval_s": 1, "keepalive_idle_s": 5}, "server", "locks held for 8 s"),
    ("client_gone", {"session": "idle_in_transaction"}, "server", "locks held: never detected"),
    ("client_gone", {"session": "idle", "how": "kill"}, "server", "session kept for 0.001 s"),
    ("port_churn", {}, "client", "first refusal after 56.5 s"),
    ("port_churn", {"rate_per_s": 470}, "client", "no refusal in 3 min"),
    ("pool", {"breaks": "server_restart", "order": "fifo"}, "client", "recovered after 0.040 s"),
    ("pool", {"breaks": "server_restart"}, "client", "recovered at once"),
    ("pool", {"breaks": "silent_drop"}, "client", "not recovered when the run ends"),
    ("failover", {"old_primary": "refuses"}, "client", "first write accepted after 45 s"),
    ("failover", {"old_primary": "refuses", "client_dns_ttl_s": -1}, "client",
     "no write accepted when the run ends"),
]  # fmt: skip

#: The outcome that each answer's number is.
MEASURES = {
    "unanswered_connect": "gave_up_after_s", "stale_reject": "closed_after_s",
    "dead_peer": "detected_after_s", "keepalive": "detected_after_s", "slow_reader": "stalled_s",
    "why_time_wait": "server_waited_s",
    "idle_firewall": "detected_after_s", "proxy_legs": "noticed_by_client_after_s",
    "client_gone": "noticed_after_s", "port_churn": "first_refusal_s", "pool": "recovered_after_s",
    "failover": "write_outage_s",
}  # fmt: skip
#: Presets whose answer is about something else: the database behind a proxy, a late segment.
ANOTHER = {"proxy_legs": {"broken": "client"}, "why_time_wait": {"purpose": "old_duplicate"}}

PRESETS = [(name, preset) for name, kind in STORIES.items() for preset in kind.presets]


def answer_of(name, **parameters):
    story = find(name).from_values(parameters)
    trace = run(story)
    return trace, story.answer(trace)


def number(answer):
    """Seconds that the answer measures; None where it never comes."""
    return (answer.end - answer.start if answer.measure is None else answer.measure) / SECOND


@pytest.mark.parametrize(("name", "parameters", "host", "words"), WORDS)
def test_the_answer_in_words(name, parameters, host, words):
    _, answer = answer_of(name, **parameters)
    assert (answer.words, answer.host) == (words, host)


def test_every_story_is_asked_twice():
    assert all(sum(name == asked for asked, *_ in WORDS) >= 2 for name in STORIES)


def agrees(name, parameters):
    trace, answer = answer_of(name, **parameters)
    if answer is None:
        return
    assert trace.watching_since <= answer.start
    assert answer.end is None or answer.start <= answer.end
    values = find(name).from_values(parameters).values()
    is_another = any(values[key] == value for key, value in ANOTHER.get(name, {}).items())
    if name not in MEASURES or is_another:
        return
    outcome = trace.outcome[MEASURES[name]]
    if outcome is None:
        assert answer.end is None or "arrive" in answer.words
    else:
        assert number(answer) == pytest.approx(outcome, abs=0.0005)
        said = answer.words.partition("for " if "for " in answer.words else "after ")[2]
        assert not said or duration(round(outcome * SECOND)) in answer.words or outcome < 0.01


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_the_number_of_a_preset_is_the_outcomes(name, preset):
    agrees(name, find(name).presets[preset])


@given(st.data())
def test_and_of_whatever_is_sampled(data):
    name = data.draw(st.sampled_from(sorted(EXPERIMENTS)))
    kind = find(name)
    values = {key: data.draw(st.sampled_from(choices), key) for key, choices in kind.sampled.items()}
    try:
        kind.from_values(kind.quick | values)
    except ValueError:
        return
    agrees(name, kind.quick | values)


def test_stories_of_milliseconds_and_a_minute_begin_logarithmic():
    log = {name for name, kind in STORIES.items() if kind.log_time}
    assert log == {"handshake_and_close", "time_wait", "why_time_wait", "bind_or_connect"}


def test_zero_is_the_break():
    for name in ("keepalive", "dead_peer", "client_gone", "unanswered_connect", "stale_reject"):
        trace, _ = answer_of(name)
        assert trace.breaks()[0].t == trace.watching_since, name
