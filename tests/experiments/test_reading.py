"""The few questions that outcomes and sentences ask of a trace."""

import pytest

from tcplab.core.text import MILLISECOND, SECOND, in_words, plural, seconds, times
from tcplab.core.trace import Call, SocketSample
from transcript import CLIENT, EXCHANGE, SERVER, trace

STORY = trace(EXCHANGE)


def test_watching_since_the_script_said_so_or_from_the_start():
    told = trace("5 c S 0 0")
    assert told.watching_since == 5 * SECOND
    told.watched_from = 7 * SECOND
    assert told.watching_since == 7 * SECOND


def test_sent_by():
    assert [p.segment.letters for p in STORY.sent_by("server")] == ["SA", "PA"]
    assert len(STORY.sent_by("client", 2 * MILLISECOND)) == 3
    assert len(STORY.sent_by("client", 2 * MILLISECOND + 1)) == 1
    STORY.packets[3].kind = "keepalive"
    assert STORY.sent_by("client", kind="keepalive") == [STORY.packets[3]]
    STORY.packets[3].kind = ""


def test_last_received():
    assert STORY.last_received("client", 10 * SECOND) == 4 * MILLISECOND
    assert STORY.last_received("client", 3 * MILLISECOND) == 2 * MILLISECOND
    assert STORY.last_received("client", MILLISECOND) == MILLISECOND, "nothing yet: the moment itself"
    assert trace("0 c S 0 0 lost").last_received("server", 9) == 9


def test_the_end_of_a_hosts_first_connection():
    def sample(t, host, state):
        return SocketSample(t, host, CLIENT, SERVER, state)

    told = trace(EXCHANGE)
    told.sockets = [
        sample(1, "client", "ESTABLISHED"),
        sample(2, "server", "CLOSED"),
        sample(3, "client", "CLOSED"),
    ]
    assert told.end_of_socket("client").t == 3
    assert told.end_of_socket("server").t == 2
    assert told.end_of_socket("elsewhere") is None


def test_calls_and_their_errors():
    told = trace(EXCHANGE)
    told.calls = [
        Call(1, 1, "client", "send(40)", "40"),
        Call(5, 2, "client", "recv()", "end of file"),
        Call(9, 6, "client", "recv()", "ECONNRESET"),
    ]
    assert [call.t for call in told.calls_of("client", "recv(")] == [5, 9]
    assert [call.t for call in told.calls_of("client", "recv(", 6)] == [9]
    assert told.calls_of("server", "recv(") == []
    assert [call.error for call in told.calls] == [None, None, "ECONNRESET"]


@pytest.mark.parametrize(
    ("nanoseconds", "said"),
    [(0, 0.0), (1_499_999, 0.001), (7_875_000_000_000, 7875.0), (928_896_000_000, 928.896)],
)
def test_seconds_to_the_millisecond(nanoseconds, said):
    assert seconds(nanoseconds) == said


@pytest.mark.parametrize(
    ("value", "words"),
    [(7875, "2 h 11 min 15 s"), (928.896, "15 min 29 s"), (3600, "1 h"), (30, "30 s")],
)
def test_durations_as_one_says_them(value, words):
    assert in_words(value) == words


def test_how_often():
    assert [times(n) for n in (1, 2, 17)] == ["once", "twice", "17 times"]
    assert [plural(n, "probe") for n in (0, 1, 9)] == ["0 probes", "1 probe", "9 probes"]
