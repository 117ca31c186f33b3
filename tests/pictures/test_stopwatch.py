"""When things happened, in seconds: on the model, where it is exact, and in captures of real programs."""

from pathlib import Path

import pytest

from tcplab import DeadPeer, HandshakeAndClose, Keepalive, SlowReader, read_capture, run
from tcplab.pictures.text import keepalive_times_s, sending_times_s, window_closed_s, window_probe_times_s

CAPTURES = Path(__file__).parents[2] / "data" / "captures"


def capture(name):
    return read_capture(CAPTURES / f"{name}.pcap").connection(0)


def test_probes_count_from_the_last_data():
    alive = run(Keepalive(idle_s=5, interval_s=3, peer="alive", watch_s=17, latency_ms=20))
    assert keepalive_times_s(alive) == pytest.approx([5, 10, 15], abs=0.15)
    after_data = run(Keepalive(idle_s=15, interval_s=5, probes=3, data_every_s=10))
    assert keepalive_times_s(after_data) == pytest.approx([15, 20, 25], abs=0.01)
    real = keepalive_times_s(capture("postgres_idle_in_transaction"))
    assert real == pytest.approx([5, 10, 15], rel=0.08)


def test_a_query_in_flight_is_sent_again_and_again():
    trace = run(DeadPeer(retries2=3))
    times = sending_times_s(trace)
    assert times[0] == 0 and times == sorted(times) and len(times) == trace.outcome["transmissions"]
    assert len(sending_times_s(run(HandshakeAndClose()))) == 1


def test_window_probes_count_from_the_closing_of_the_window():
    trace = run(SlowReader(receive_buffer=8192, response=40_000, stops_reading_s=0.5, user_timeout_s=10))
    model, real = window_probe_times_s(trace), window_probe_times_s(capture("lesson_client_write"))
    assert model == pytest.approx([0.2, 0.6, 1.5, 3.2, 6.6], abs=0.1)
    assert real == pytest.approx(model, rel=0.08, abs=0.05)
    closed = window_closed_s(trace)
    first = next(p for p in trace.packets if p.kind == "window_probe")
    assert closed + model[0] == pytest.approx(trace.seconds(first.t))


def test_where_nothing_of_the_kind_happened_there_are_no_times():
    healthy = run(HandshakeAndClose())
    assert keepalive_times_s(healthy) == window_probe_times_s(healthy) == []
    assert window_closed_s(healthy) is None
