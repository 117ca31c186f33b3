"""What stands beside a recorded capture: `NAME.json` with title, provenance, calls and states.

The format is described in data/README.md. Times in it are seconds from the capture's first packet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tcplab.segment import Endpoint
from tcplab.trace import SECOND, Call, SocketSample

HOSTS = ("client", "server")
#: ss's words for a state where RFC 9293 has another one; else they differ in the dash only.
SS_STATES = {"ESTAB": "ESTABLISHED", "UNCONN": "CLOSED"}


@dataclass(frozen=True)
class Sidecar:
    """Provenance of a capture and the applications' side of it; empty where there is no file."""

    title: str = ""
    #: Two or three sentences for a DBA.
    story: str = ""
    #: The Linux version that both hosts ran on.
    linux: str = ""
    #: Versions of the programs that took part.
    software: Mapping[str, str] = field(default_factory=dict)
    #: Day of the recording, ISO 8601.
    date: str = ""
    #: Addresses of `client` and `server`.
    hosts: Mapping[str, str] = field(default_factory=dict)
    #: What applications called: (t, began, host, call, result).
    events: tuple[tuple[float, float, str, str, str], ...] = ()
    #: What ss showed: (t, host, state, Recv-Q, Send-Q).
    states: tuple[tuple[float, str, str, int, int], ...] = ()

    def is_about(self, client: Endpoint, server: Endpoint) -> bool:
        """True when a connection runs between the hosts that the file names."""
        return (self.hosts.get("client"), self.hosts.get("server")) == (client.address, server.address)

    def calls(self, client: Endpoint) -> list[Call]:
        """The calls in order of their return, nanoseconds from the capture's first packet.

        The client's are made on this connection; the server's are what a DBA or a process did
        there (a kill, a query in another session), so that they have no port.
        """
        ports = {"client": client.port, "server": 0}
        return sorted(
            (
                Call(_nanoseconds(t), _nanoseconds(began), host, call, result, ports[host])
                for t, began, host, call, result in self.events
            ),
            key=lambda call: call.t,
        )

    def samples(self, client: Endpoint, server: Endpoint) -> list[SocketSample]:
        """The sockets that ss listed, in order of time."""
        ends = {"client": (client, server), "server": (server, client)}
        return sorted(
            (
                SocketSample(_nanoseconds(t), host, *ends[host], state, recv_q, send_q)
                for t, host, state, recv_q, send_q in self.states
            ),
            key=lambda sample: sample.t,
        )


def read_sidecar(capture: Path) -> tuple[Sidecar, str]:
    """What stands beside a capture, and a sentence when that can't be used.

    A JSON file that does not look like a sidecar at all is somebody else's and is left alone.
    """
    path = capture.with_suffix(".json")
    if path == capture or not path.is_file():
        return Sidecar(), ""
    try:
        told = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        return Sidecar(), f"{path.name} beside the capture can't be read as JSON ({error}) and is left out."
    if not isinstance(told, dict) or not {"title", "hosts"} <= told.keys():
        return Sidecar(), ""
    try:
        return _sidecar(told), ""
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        return Sidecar(), f"{path.name} beside the capture is left out: {why}."


def _sidecar(told: Mapping[str, Any]) -> Sidecar:
    return Sidecar(
        title=str(told["title"]),
        story=str(told.get("story", "")),
        linux=str(told.get("linux", "")),
        software=dict(told.get("software", {})),
        date=str(told.get("date", "")),
        hosts=dict(told["hosts"]),
        events=tuple(
            (float(event["t"]), float(event.get("began", event["t"])), _host(event), str(event["call"]),
             str(event["result"]))
            for event in told.get("events", ())
        ),
        states=tuple(
            (float(state["t"]), _host(state), _state(str(state["state"])), int(state.get("recv_q", 0)),
             int(state.get("send_q", 0)))
            for state in told.get("states", ())
        ),
    )  # fmt: skip


def _host(told: Mapping[str, Any]) -> str:
    if told["host"] not in HOSTS:
        raise ValueError(f"its host {told['host']!r} is neither client nor server")
    return str(told["host"])


def _state(name: str) -> str:
    return SS_STATES.get(name, name.replace("-", "_"))


def _nanoseconds(seconds: float) -> int:
    return round(seconds * SECOND)
