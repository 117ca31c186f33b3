"""The captures of what runs out between client and server: what stored packets and sidecars must show."""

import json
import re
from pathlib import Path

import pytest

from tcplab.capture.capture import read_capture
from tcplab.core.segment import ACK, SYN
from tcplab.core.text import SECOND

STORED = Path(__file__).parents[1] / "data" / "captures"


@pytest.fixture
def read(request):
    """Capture and sidecar by name."""

    def both(name):
        path = STORED / f"{name}.pcap"
        capture = read_capture(path)
        assert not capture.warnings
        told = json.loads(path.with_suffix(".json").read_text("utf-8"))
        assert {"title", "story", "linux", "software", "date", "command", "hosts", "events"} <= set(told)
        return capture.connection(0), {event["call"]: event for event in told["events"]}

    return both


def test_a_nat_without_a_port_looks_like_a_dropped_syn(read):
    trace, called = read("nat_out_of_ports")
    assert [p.segment.flags & (SYN | ACK) for p in trace.packets] == [SYN] * 3
    assert [round((p.t - trace.start) / SECOND) for p in trace.packets] == [0, 1, 3]
    seventh = called["connect(), the seventh"]
    assert seventh["result"].startswith("ETIMEDOUT") and 7 <= seventh["t"] - seventh["began"] < 8
    assert re.fullmatch(r"6 of \d{5}", called["ss: local ports in use"]["result"])
    seen = called["ss: its clients"]["result"].split()
    assert {int(end.rpartition(":")[2]) for end in seen} == set(range(60001, 60007))
    assert {end.rpartition(":")[0] for end in seen} == {"10.0.0.3"}


def test_a_redirected_port_serves_the_same_local_ports_again(read):
    trace, called = read("redirected_port")
    assert {p.segment.destination.port for p in trace.packets if p.sender == "client"} == {3307}
    assert called["connect() to 3306, the seventh"]["result"].startswith("EADDRNOTAVAIL")
    assert [called[f"connect() to 3307, number {n}"]["result"] for n in range(1, 7)] == ["ok"] * 6
    assert called["ss: its ports"]["result"].split() == [str(port) for port in range(60001, 60007)]
    seen = {int(end.rpartition(":")[2]) for end in called["ss: its clients"]["result"].split()}
    assert len(seen) == 12 and len(seen - set(range(60001, 60007))) == 6, "rewritten on the server"
