"""The recorded captures of data/captures as tests see them: frames, calls, states and requests."""

import datetime
import ipaddress
import json
import logging
import re
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from conftest import need
from tcplab.capture.capture import both_legs, read_capture

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
from scapy.layers.inet import IP, TCP  # noqa: E402
from scapy.packet import Packet  # noqa: E402
from scapy.utils import rdpcap  # noqa: E402

PROJECT = Path(__file__).parents[2]
STORED = PROJECT / "data" / "captures"
#: A path of the machine that recorded it.
MACHINE_PATH = re.compile(rb"/(tmp|home|root|work|usr|var|dev|etc|run|proc)/")
KEYS = {"title", "story", "linux", "software", "date", "command", "hosts", "events", "states"}
LATE = 0.08  # a real clock's timers fire this much late at most, and 0.3 s; never early


@dataclass(frozen=True)
class Frame:
    """One packet of a capture."""

    t: float
    host: str
    flags: str
    seq: int
    ack: int
    payload: bytes
    window: int

    @property
    def end(self) -> int:
        """Sequence number after this segment."""
        return self.seq + len(self.payload) + ("S" in self.flags) + ("F" in self.flags)


class Capture:
    """A capture with its sidecar: `Capture("postgres_stop_fast")`."""

    def __init__(self, name: str, folder: Path = STORED) -> None:
        self.name = name
        self.path = folder / f"{name}.pcap"
        self.sidecar = json.loads(self.path.with_suffix(".json").read_text("utf-8"))

    @cached_property
    def packets(self) -> list[Packet]:
        return list(rdpcap(str(self.path)))

    @cached_property
    def frames(self) -> list[Frame]:
        hosts = {address: host for host, address in self.sidecar["hosts"].items()}
        start = self.packets[0].time
        return [
            Frame(
                t=float(packet.time - start),
                host=hosts[packet[IP].src],
                flags=str(packet[TCP].flags),
                seq=packet[TCP].seq,
                ack=packet[TCP].ack,
                payload=bytes(packet[TCP].payload),
                window=packet[TCP].window,
            )
            for packet in self.packets
        ]

    def having(self, flag: str, host: str = "") -> list[Frame]:
        return [frame for frame in self.frames if flag in frame.flags and host in ("", frame.host)]

    def probes(self, host: str = "client") -> list[Frame]:
        """Keepalive probes of a host: empty, and one byte before what it would send next."""
        newest, sent = 0, []
        for frame in self.having("", host):
            if frame.flags == "A" and not frame.payload and frame.seq == newest - 1:
                sent.append(frame)
            newest = max(newest, frame.end)
        return sent

    def after(self, frame: Frame) -> Frame:
        """The next frame."""
        return self.frames[self.frames.index(frame) + 1]

    def event(self, call: str) -> dict:
        (event,) = [event for event in self.sidecar["events"] if call in event["call"]]
        return event

    def states(self, host: str) -> list[str]:
        return [sample["state"] for sample in self.sidecar["states"] if sample["host"] == host]

    @property
    def requests(self) -> list[dict]:
        return self.sidecar["requests"]


def legs(story: str) -> tuple[Capture, Capture]:
    """Both connections of a proxy."""
    return Capture(f"{story}_front"), Capture(f"{story}_back")


def merged(story: str):
    """Both connections of a proxy as one trace."""
    return both_legs(*(read_capture(leg.path) for leg in legs(story)))


def assert_tshark_finds_nothing_wrong(capture) -> None:
    """Nothing malformed, every checksum right."""
    wrong = "_ws.malformed || tcp.checksum.status == Bad || ip.checksum.status == Bad"
    options = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-Y", wrong]
    command = [need("tshark"), "-n", "-r", str(capture.path), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def assert_its_sidecar_makes_sense(capture: Capture) -> None:
    """Title, story, versions, date, hosts, and every call and state in its time."""
    sidecar, frames = capture.sidecar, capture.frames
    assert len(sidecar["title"]) > 10
    assert 1 <= len(re.findall(r"[.](?: |$)", sidecar["story"])) <= 4
    versions = [sidecar["linux"], *sidecar["software"].values()]
    assert all(re.fullmatch(r"\d+(\.\d+)*", version) for version in versions)
    day = datetime.date.fromisoformat(sidecar["date"])
    began = datetime.datetime.fromtimestamp(float(capture.packets[0].time), datetime.UTC).date()
    # A run of an experiment has a clock of its own, which begins with the year of the first recordings.
    assert day == began or (began == datetime.date(2026, 1, 1) < day and "tcplab" in sidecar["software"])
    assert all(ipaddress.ip_address(address).is_private for address in sidecar["hosts"].values())
    # Calls may end after the last packet: what waits for an answer that never comes.
    hosts = set(sidecar["hosts"]) | {"client", "server"}
    for event in sidecar["events"]:
        assert set(event) == {"t", "began", "host", "call", "result"}
        assert -1 < event["began"] <= event["t"] and event["host"] in hosts and event["call"]
        assert event["result"] or capture.name == "lesson_client_write", "no line of pg_stat_activity"
    assert [event["t"] for event in sidecar["events"]] == sorted(event["t"] for event in sidecar["events"])
    for sample in sidecar["states"]:
        assert set(sample) == {"t", "host", "state", "recv_q", "send_q"}
        assert sample["t"] >= 0 and sample["host"] in sidecar["hosts"]
    assert frames[0].flags == "S" and [f.t for f in frames] == sorted(f.t for f in frames)
    if not capture.name.startswith("case_"):
        assert frames[0].host == "client"


def assert_it_is_small_and_names_no_path_of_a_machine(capture: Capture) -> None:
    """Pcap, sidecar and run."""
    for path in capture.path.parent.glob(f"{capture.name}.*"):
        assert path.stat().st_size < (100_000 if capture.name == "case_6" else 50_000)
        assert not MACHINE_PATH.search(path.read_bytes())


#: What every capture must pass, stored or recorded just now.
CHECKS = {
    "has_a_sidecar_that_makes_sense": assert_its_sidecar_makes_sense,
    "is_small_and_names_no_path_of_a_machine": assert_it_is_small_and_names_no_path_of_a_machine,
    "has_nothing_that_tshark_finds_wrong": assert_tshark_finds_nothing_wrong,
}
#: Captures of several connections, by how many. The calls in a sidecar belong to none of them for certain.
SEVERAL = {
    "accept_queue": 8, "bind_blocks_connect": 6, "bind_no_port": 7, "bind_or_connect": 6, "case_1": 2,
    "case_4": 12, "case_6": 137, "ghosts_forty_nodes": 40, "ghosts_half_open": 5,
    "old_duplicate_believed": 2, "port_range": 6, "queue_full_before": 4, "time_wait": 6,
    "tw_reuse_clock_early_on_6_1": 2, "tw_reuse_clock_early_on_6_12": 2,
}  # fmt: skip


def assert_it_reads_back_whole(capture: Capture) -> None:
    """Every packet in a connection, with every call and state of its sidecar."""
    read = read_capture(capture.path)
    assert not read.warnings and len(read.connections) == SEVERAL.get(capture.name, 1)
    traces = [read.connection(i) for i in range(len(read.connections))]
    assert sum(len(trace.packets) for trace in traces) == len(read) == len(capture.packets)
    first = traces[0]
    if capture.name.startswith("case_"):  # a learner sees what a stranger's capture shows
        assert first.calls == [] and first.sockets == [] and first.warnings == []
    elif len(traces) == 1:
        assert not first.warnings
        assert len(first.calls) == len(capture.sidecar["events"])
        assert len(first.sockets) == len(capture.sidecar["states"])
    else:
        (warning,) = first.warnings
        assert warning.startswith("The calls recorded with this capture are left out")
    assert first.packets[0].sender == "client"
    assert all(-1_000_000_000 < call.began <= call.t for call in first.calls)
