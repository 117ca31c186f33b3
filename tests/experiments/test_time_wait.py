"""Ports in TIME_WAIT, and one more connect(): each remedy, and when it helps."""

import pytest

from experiments.outcomes import outcome, trace_of
from tcplab.core.segment import RST, SYN, seq_diff
from tcplab.experiments import TimeWait


@pytest.mark.parametrize(
    ("parameters", "held", "error"),
    [
        ({}, 6, "EADDRNOTAVAIL"),
        ({"wait_s": 59}, 6, "EADDRNOTAVAIL"),
        ({"wait_s": 61}, 6, None),
        ({"tw_reuse": 1}, 6, "EADDRNOTAVAIL"),
        ({"tw_reuse": 1, "wait_s": 0.9}, 6, "EADDRNOTAVAIL"),
        ({"tw_reuse": 1, "wait_s": 1.1}, 6, None),
        ({"tw_reuse": 1, "wait_s": 59, "timestamps": False}, 6, "EADDRNOTAVAIL"),
        ({"tw_reuse": 2, "wait_s": 5}, 6, "EADDRNOTAVAIL"),
        ({"tw_reuse": 2, "wait_s": 5, "linux": "4.18"}, 6, None),
        ({"max_tw_buckets": 5}, 5, None),
        ({"max_tw_buckets": 6}, 6, "EADDRNOTAVAIL"),
        ({"max_tw_buckets": 0}, 0, None),
        ({"closer": "server"}, 0, None),
        ({"closer": "server", "timestamps": False}, 0, None),
        ({"closer": "server", "wait_s": 0}, 0, None),
        ({"ports": 1}, 1, "EADDRNOTAVAIL"),
        ({"ports": 3}, 2, "EADDRNOTAVAIL"),
        ({"ports": 3, "linux": "3.10"}, 3, "EADDRNOTAVAIL"),
    ],
)
def test_who_gets_a_port_again(parameters, held, error):
    """Measured on 6.18: reuse after 1.2 s, not 0.3 s, never without timestamps; five buckets leave five."""
    assert outcome(TimeWait, **parameters) == {"held": held, "reopened": error is None, "error": error}


def test_a_reused_port_begins_above_the_old_connections_numbers():
    """tcp_twsk_unique: the new number is the old SND.NXT + 65535 + 2."""
    trace, sentence = trace_of(TimeWait, ports=1, tw_reuse=1, wait_s=1.3)
    first, again = (p for p in trace.packets if p.sender == "client" and p.segment.flags & SYN)
    assert first.segment.source == again.segment.source
    # The SYN and the FIN count as one each, the question as its bytes.
    assert seq_diff(again.segment.seq, first.segment.seq) == 2 + 40 + 65537
    assert "tcp_tw_reuse = 1" in sentence


def test_the_new_one_is_refused_its_time_wait_and_its_port_is_free():
    """tcp_time_wait: the old ones stay, the new socket goes from FIN_WAIT_2 straight to CLOSED."""
    trace, sentence = trace_of(TimeWait, max_tw_buckets=5)
    assert trace.counters_at(trace.end)["client"]["TcpExtTCPTimeWaitOverflow"] == 1
    sixth = [p.segment.source for p in trace.packets if p.segment.letters == "S"][5]
    states = [s.state for s in trace.sockets if s.local == sixth]
    assert "TIME_WAIT" not in states and states.count("CLOSED") == 1
    assert trace.calls[-2].result == "ok" and trace.calls[-2].port == sixth.port
    assert not any(p.segment.flags & RST for p in trace.packets)
    assert "TCPTimeWaitOverflow" in sentence


def test_no_bucket_means_no_time_wait():
    """As the sysctl has it, and as in `why_time_wait` (inet_twsk_alloc; measured on 6.18)."""
    _, sentence = trace_of(TimeWait, max_tw_buckets=0)
    assert "tcp_max_tw_buckets = 0 allows no TIME_WAIT" in sentence and "succeeds" in sentence


def test_the_server_takes_a_new_syn_for_its_time_wait():
    trace, sentence = trace_of(TimeWait, ports=1, closer="server")
    states = [s.state for s in trace.sockets if s.host == "server" and s.remote.port == 60001]
    assert states[-1] == "ESTABLISHED" and "TIME_WAIT" in states
    assert "the server has it" in sentence


def test_each_reason_has_its_sentence():
    said = {
        "tcp_tw_reuse = 0 reuses no port": {},
        "without timestamps": {"tw_reuse": 1, "timestamps": False},
        "on loopback only": {"tw_reuse": 2},
        "for more than a second": {"tw_reuse": 1},
    }
    for words, parameters in said.items():
        _, sentence = trace_of(TimeWait, **parameters)
        assert words in sentence and "Cannot assign requested address (EADDRNOTAVAIL, 99)" in sentence


def test_fin_timeout_changes_nothing_and_says_so():
    """The minute is TCP_TIMEWAIT_LEN, compiled in (include/net/tcp.h); tried on 6.18 with 5 s."""
    before, _ = trace_of(TimeWait, wait_s=59)
    after, sentence = trace_of(TimeWait, wait_s=59, fin_timeout_s=5)
    assert (after.outcome, after.packets, after.sockets) == (before.outcome, before.packets, before.sockets)
    assert "tcp_fin_timeout = 5 changes nothing" in sentence
    assert "fin_timeout_s" not in TimeWait().idle_controls()
    assert "FIN_WAIT_2" in TimeWait(fin_timeout_s=5).idle_controls()["fin_timeout_s"]


@pytest.mark.parametrize(
    ("parameters", "error", "said"),
    [
        ({"max_tw_buckets": 5}, "EADDRNOTAVAIL", "connect() number 2 fails"),
        ({"max_tw_buckets": 4}, None, "2 more connects succeed"),
        ({"tw_reuse": 1, "wait_s": 1.5}, None, "2 more connects succeed: tcp_tw_reuse = 1"),
    ],
)
def test_a_second_further_connect(parameters, error, said):
    """With five buckets one port is free: the article's second connection fails (tried on 6.18)."""
    trace, sentence = trace_of(TimeWait, connects=2, **parameters)
    assert trace.outcome["error"] == error and said in sentence
