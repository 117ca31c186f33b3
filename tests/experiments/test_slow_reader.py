"""A slow reader: the window closes, and the server waits for as long as it is answered."""

import pytest

from experiments.outcomes import outcome, trace_of
from tcplab.core.knobs import ParameterError
from tcplab.core.text import MILLISECOND
from tcplab.experiments import SlowReader
from tcplab.experiments.slow_reader import closed_windows
from transcript import EXCHANGE, trace


def test_all_is_read_in_the_end_and_nobody_sees_an_error():
    trace, sentence = trace_of(SlowReader)
    said = trace.outcome
    assert (said["bytes_delivered"], said["server_error"]) == (200_000, None)
    assert 10 < said["stalled_s"] < 25 and said["window_probes"] > 10
    assert "200,000 of 200,000 bytes; no call fails on either side" in sentence


@pytest.mark.parametrize("receive_buffer", [4608, 16384, 65536, 1 << 20])
@pytest.mark.parametrize("read_bytes", [200, 8192, 1 << 20])
def test_whatever_the_buffer_all_arrives(receive_buffer, read_bytes):
    said = outcome(
        SlowReader, receive_buffer=receive_buffer, read_bytes=read_bytes, response=100_000, read_every_s=0.5
    )
    assert said["bytes_delivered"] == 100_000 and said["server_error"] is None


def test_a_reader_without_a_pause_never_closes_the_window():
    trace, sentence = trace_of(SlowReader, read_every_s=0, read_bytes=65536)
    assert trace.outcome["stalled_s"] == trace.outcome["window_probes"] == 0
    assert "fast enough" in sentence


def test_a_reader_that_stops_holds_the_server_for_ever():
    said = outcome(SlowReader, stops_reading_s=2, watch_s=4000)
    assert said["server_error"] is None and said["stalled_s"] > 3990
    assert said["bytes_delivered"] == 8192, "one read: the second would come just when it stops"


def test_the_servers_user_timeout_kills_a_client_that_lives():
    trace, sentence = trace_of(SlowReader, stops_reading_s=2, user_timeout_s=30)
    assert trace.outcome["server_error"] == "ETIMEDOUT"
    assert 30 <= trace.outcome["stalled_s"] < 33
    assert "Connection timed out (ETIMEDOUT)" in sentence


@pytest.mark.parametrize(
    ("retries2", "probes", "after"), [(3, 3, (2.8, 3.9)), (5, 5, (12.5, 14)), (8, 8, (103, 106))]
)
def test_an_offline_client_is_given_up_after_retries2_probes(retries2, probes, after):
    """The client is there for half a second: what it answers doesn't count."""
    said = outcome(SlowReader, peer="offline", retries2=retries2)
    assert said["server_error"] == "ETIMEDOUT"
    assert probes <= said["window_probes"] <= probes + 2
    assert said["stalled_s"] > after[0]


def test_probes_of_an_offline_client_are_not_answered():
    trace, _ = trace_of(SlowReader, peer="offline", retries2=5)
    late = [p for p in trace.packets if p.t > trace.watched_from + 600 * MILLISECOND]
    assert {p.sender for p in late} == {"server"} and {p.kind for p in late} <= {"window_probe"}


def test_the_watch_may_end_before_the_reader_stops():
    assert outcome(SlowReader, stops_reading_s=60, watch_s=7)["server_error"] is None


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"read_bytes": 1}, "read_bytes = 1 is too small for a response of 200,000 bytes: 40 or more"),
        (
            {"read_every_s": 86_400, "response": 10_000_000},
            "read_every_s = 86400 makes the 10,000,000 bytes take more than 30 days: 2123 at most.",
        ),
    ],
)
def test_what_would_take_too_long_says_so(parameters, says):
    with pytest.raises(ParameterError) as error:
        SlowReader(**parameters)
    assert str(error.value).startswith(says)


def test_closed_windows_as_the_peer_knew_them():
    told = trace(
        EXCHANGE
        + """
        1       c A 41 201 w=0
        1.2     c A 41 201 w=0 late=0.5
        2       c A 41 201 w=100
        3       s A 200 41
        4       c A 41 201 w=0 lost
        5       c A 41 201 w=0
        """
    )
    told.end = 6_000_000_000
    assert closed_windows(told, "client") == [
        (1_001_000_000, 2_001_000_000), (5_001_000_000, 6_000_000_000),
    ]  # fmt: skip
    assert closed_windows(told, "server") == []
