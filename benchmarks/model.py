"""1,000 modelled connections against ns-3 on the same work, both in one run.

Each connection opens, carries 4096 bytes from client to server and closes; one a second, 1 ms
each way, until the last TIME_WAIT is over. `python benchmarks/model.py [--peer PYTHON]`, where
PYTHON is an interpreter that has ns-3 (see README.md); this one by default.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcplab import Keepalive, run
from tcplab.bench.model import run_on_model
from tcplab.bench.script import Bench
from tcplab.core.knobs import Knob, Parameters, knob
from tcplab.core.trace import Trace
from tcplab.experiments import DeadPeer

BYTES = 4096
PEER = Path(__file__).with_name("ns3_peer.py")


@dataclass(frozen=True, kw_only=True)
class ShortConnections(Parameters):
    """One connection a second: open, 4 KiB, close."""

    name = "short_connections"
    connections: int = knob(Knob("connections", int, low=1, high=1_000_000), default=1000)

    async def run(self, bench: Bench) -> None:
        client_host, server_host = bench.hosts("client", "server")
        listener = await server_host.listen(5432)
        for _ in range(self.connections):
            _, client = await client_host.connect(server_host, 5432)
            server = await listener.accept()
            await client.send(BYTES)
            await server.receive_exactly(BYTES)
            await client.close()
            await server.receive()
            await server.close()
            await bench.sleep(1)
        await bench.sleep(61)

    def outcome(self, trace: Trace) -> dict[str, Any]:
        received = sum(
            int(call.result)
            for call in trace.calls
            if call.host == "server" and call.call == "recv()" and call.result.isdigit()
        )
        return {"received": received, "left": len(trace.sockets_at(trace.end)) - 1}


def seconds_of_model(connections: int) -> tuple[float, int]:
    """The best of three runs, and the segments of one; checks that all the work was done."""
    best, segments = float("inf"), 0
    for _ in range(3):
        began = time.perf_counter()
        story = ShortConnections(connections=connections)
        trace = run_on_model(story)
        best = min(best, time.perf_counter() - began)
        outcome = story.outcome(trace)
        assert outcome == {"received": connections * BYTES, "left": 0}, outcome
        segments = len(trace.packets)
    return best, segments


def milliseconds_of(experiment: Any) -> float:
    """The median of twenty runs in this process."""
    took = []
    for _ in range(20):
        began = time.perf_counter()
        run(experiment)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--peer", default=sys.executable, help="a Python that has ns-3")
    arguments = parser.parse_args()
    model, segments = seconds_of_model(arguments.connections)
    result: dict[str, Any] = {
        "keepalive_ms": round(milliseconds_of(Keepalive()), 2),
        "dead_peer_ms": round(milliseconds_of(DeadPeer()), 2),
        "model_us_per_connection": round(model / arguments.connections * 1e6),
        "model_segments_per_connection": segments / arguments.connections,
    }
    peer = subprocess.run(
        [arguments.peer, str(PEER), str(arguments.connections)], capture_output=True, text=True, check=False
    )
    if peer.returncode:
        print(peer.stderr.strip().splitlines()[-1], file=sys.stderr)
    else:
        ns3 = json.loads(peer.stdout.splitlines()[-1])
        result["ns3_us_per_connection"] = round(ns3["seconds"] / ns3["connections"] * 1e6)
        result["ns3_packets_per_connection"] = ns3["packets"] / ns3["connections"]
        result["model_by_ns3"] = round(model / ns3["seconds"], 2)
    print(json.dumps(result))
    return peer.returncode


if __name__ == "__main__":
    raise SystemExit(main())
