"""Captures where no NumPy is, in a browser: the recorded ones, read beforehand.

Whoever builds the site reads every recorded capture there and then; its connections lie beside the package as
runs (`tcplab.capture.recordings`), under the hash of the file, so that no other is taken for
it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from os import PathLike
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tcplab.capture import CaptureError
from tcplab.capture.recordings import LIBRARY, read_run, write_run
from tcplab.core.segment import Endpoint
from tcplab.core.trace import Trace

if TYPE_CHECKING:
    from tcplab.capture.capture import Capture
    from tcplab.capture.findings import Diagnosis


# ----------------------------------------------------------------------
# Two captures, one story: what a proxy did between its client and its server.

#: What the ends of either leg are called in the whole.
FRONT = {"client": "client", "server": "proxy"}
BACK = {"client": "proxy", "server": "database"}
#: Calls by which a session is used or ended; every other one that a sidecar has only looks.
DEEDS = "psql -c", "ip address"


def both_legs(front: Capture | StoredCapture, back: Capture | StoredCapture) -> Trace:
    """A client's connection to a proxy and the proxy's connection to the database as one trace.

    Each capture holds its leg as its first connection (`CaptureError` where it has none); their clocks must
    agree, as on one machine. Hosts are `client`, `proxy` and `database`; times are nanoseconds from the
    earlier capture's first packet. Of the calls beside the captures those are kept that the session itself
    felt; what a DBA looked up meanwhile (`ss`, logs) stays with the captures.
    """
    began = min(front.began, back.began)
    first = _renamed(front.connection(0), FRONT, front.began - began)
    second = _renamed(back.connection(0), BACK, back.began - began)
    in_order = attrgetter("t")
    return replace(
        first,
        hosts={**first.hosts, **second.hosts},
        packets=sorted(first.packets + second.packets, key=in_order),
        calls=sorted(first.calls + second.calls, key=in_order),
        sockets=sorted(first.sockets + second.sockets, key=in_order),
        end=max(first.end, second.end),
        warnings=[*first.warnings, *second.warnings],
    )


def _renamed(leg: Trace, names: Mapping[str, str], later: int) -> Trace:
    """The same leg with its ends' names in the whole, `later` nanoseconds on the whole's clock."""
    return replace(
        leg,
        hosts={names[host]: address for host, address in leg.hosts.items()},
        packets=[
            replace(
                p,
                t=p.t + later,
                sender=names[p.sender],
                receiver=names[p.receiver],
                arrives=None if p.arrives is None else p.arrives + later,
            )
            for p in leg.packets
        ],
        calls=[
            call._replace(t=call.t + later, began=call.began + later, host=names[call.host])
            for call in leg.calls
            if call.call.startswith(DEEDS)
        ],
        sockets=[sample._replace(t=sample.t + later, host=names[sample.host]) for sample in leg.sockets],
        end=leg.end + later,
    )


NEEDS_NUMPY = (
    "that needs NumPy, which Python in the browser does not have. "
    "Installed on a machine, tcplab can: python3 lab.py"
)


class NotHereError(CaptureError):
    """What a browser can't do: in a notebook the sentence alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


@dataclass(frozen=True)
class StoredDiagnosis:
    """What a recorded capture shows, as `tcplab.capture.findings.Diagnosis` has it."""

    name: str
    packets: int
    #: With the attributes of `ConnectionFindings` and, in them, of `Finding`.
    connections: tuple[Any, ...]
    warnings: tuple[str, ...]
    summary: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.connections)


@dataclass(frozen=True)
class StoredCapture:
    """What the lessons ask of a recorded capture."""

    name: str
    #: When the first and the last packet of any kind passed, nanoseconds since 1970.
    began: int
    ended: int
    warnings: tuple[str, ...]
    #: Where its connections lie.
    folder: Path

    def connection(self, i: int) -> Trace:
        """Connection `i`, counted from 0, as a trace; `CaptureError` when there is none."""
        return read_run(self.folder / f"{i}.json")


def store_capture(path: Path, capture: Capture, diagnosis: Diagnosis, library: Path) -> None:
    """Put a capture and what it shows into `library`, for where it can't be read. Raises `OSError`."""
    folder = library / _digest(path)
    folder.mkdir(parents=True, exist_ok=True)
    head = {"began": capture.began, "ended": capture.ended, "warnings": capture.warnings}
    (folder / "capture.json").write_text(json.dumps(head), "utf-8")
    shown = {**asdict(diagnosis), "summary": diagnosis.summary}
    (folder / "diagnosis.json").write_text(json.dumps(shown), "utf-8")
    for i in range(len(capture.connections)):
        write_run(folder / f"{i}.json", capture.connection(i))


def read_capture(path: str | PathLike[str], library: Path = LIBRARY / "stored") -> StoredCapture:
    """A recorded capture; `CaptureError` in one sentence when the file is missing, or not a recorded one."""
    file = Path(path)
    try:
        folder = library / _digest(file)
    except OSError as error:
        raise NotHereError(f"{file.name} can't be read: {error.strerror}.") from None
    if not folder.exists():
        raise NotHereError(
            f"{file.name} is none of the recorded captures and can't be read here: {NEEDS_NUMPY}"
        )
    head = json.loads((folder / "capture.json").read_text("utf-8"))
    return StoredCapture(file.name, head["began"], head["ended"], tuple(head["warnings"]), folder)


def diagnose(capture: StoredCapture) -> StoredDiagnosis:
    """What a recorded capture shows."""
    told = json.loads((capture.folder / "diagnosis.json").read_text("utf-8"))
    connections = tuple(map(_connection, told["connections"]))
    return StoredDiagnosis(
        capture.name, told["packets"], connections, tuple(told["warnings"]), told["summary"]
    )


def _connection(told: dict[str, Any]) -> SimpleNamespace:
    findings = [SimpleNamespace(**each | {"frames": tuple(each["frames"])}) for each in told["findings"]]
    ends = {end: Endpoint(*told[end]) for end in ("client", "server")}
    return SimpleNamespace(**told | ends | {"findings": tuple(findings)})


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]
