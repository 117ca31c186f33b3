"""The captures of a real PostgreSQL: what packets and sidecars must show, stored or freshly recorded."""

import datetime
import ipaddress
import json
import logging
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import need
from stored import assert_tshark_finds_nothing_wrong

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
from scapy.layers.inet import IP, TCP  # noqa: E402
from scapy.packet import Packet  # noqa: E402
from scapy.utils import rdpcap  # noqa: E402

STORED = Path(__file__).parents[1] / "data" / "captures"
NAMES = {
    "postgres_closed_port",
    "postgres_kill9_backend",
    "postgres_kill9_postmaster",
    "postgres_kill9_unread",
    "postgres_stop_fast",
    "postgres_terminate_backend",
    "postgres_terminate_backend_reading",
}
WAITING = {"postgres_idle_in_transaction", "postgres_long_query"}  # see test_data_waiting.py
KEYS = {"title", "story", "linux", "software", "date", "command", "hosts", "events", "states"}
FATAL = "FATAL:  terminating connection due to administrator command"


@dataclass(frozen=True)
class Frame:
    """One packet of a capture, as the tests speak of it."""

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
    """A stored or fresh capture with its sidecar."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.pcap"
        self.packets: list[Packet] = list(rdpcap(str(self.path)))
        self.sidecar = json.loads(self.path.with_suffix(".json").read_text())
        self.hosts = {address: host for host, address in self.sidecar["hosts"].items()}
        start = self.packets[0].time
        self.frames = [
            Frame(
                t=float(packet.time - start),
                host=self.hosts[packet[IP].src],
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

    def event(self, call: str) -> dict:
        (event,) = [event for event in self.sidecar["events"] if call in event["call"]]
        return event

    def states(self, host: str) -> list[str]:
        return [sample["state"] for sample in self.sidecar["states"] if sample["host"] == host]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new recording, made here and now by the recorder."""
    for program in ("psql", "postgres", "initdb", "unshare", "nsenter", "ip", "ss"):
        need(program)
    folder = tmp_path_factory.mktemp("recording")
    command = [sys.executable, str(STORED / "record_postgres.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if "no namespaces" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(params=["stored", pytest.param("fresh", marks=pytest.mark.linux)], scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    return STORED if request.param == "stored" else request.getfixturevalue("fresh")


@pytest.fixture(params=sorted(NAMES))
def capture(folder: Path, request: pytest.FixtureRequest) -> Capture:
    return Capture(folder, request.param)


def test_the_folder_holds_exactly_these_pairs(folder: Path) -> None:
    names = NAMES | (WAITING if folder == STORED else set())
    assert {path.stem for path in folder.glob("postgres_*.pcap")} == names
    assert {path.stem for path in folder.glob("postgres_*.json")} == names


def test_sidecar_is_complete_and_its_values_make_sense(capture: Capture) -> None:
    sidecar = capture.sidecar
    assert set(sidecar) == KEYS
    assert len(sidecar["title"]) > 10
    assert 2 <= len(re.findall(r"[.](?: |$)", sidecar["story"])) <= 3
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", sidecar["linux"])
    assert set(sidecar["software"]) == {"postgres", "psql"}
    assert all(re.fullmatch(r"\d+(\.\d+)*", version) for version in sidecar["software"].values())
    assert (
        datetime.date.fromisoformat(sidecar["date"])
        == datetime.datetime.fromtimestamp(float(capture.packets[0].time), datetime.UTC).date()
    )
    assert all(ipaddress.ip_address(address).is_private for address in sidecar["hosts"].values())
    end = capture.frames[-1].t
    for event in sidecar["events"]:
        assert set(event) == {"t", "began", "host", "call", "result"}
        assert -1 < event["began"] <= event["t"] < end + 1
        assert event["host"] in sidecar["hosts"] and event["call"] and event["result"]
    assert [event["t"] for event in sidecar["events"]] == sorted(event["t"] for event in sidecar["events"])
    for sample in sidecar["states"]:
        assert set(sample) == {"t", "host", "state", "recv_q", "send_q"}
        assert 0 <= sample["t"] < end + 1 and sample["host"] in sidecar["hosts"]


def test_the_command_records_this_file(capture: Capture) -> None:
    program, script = capture.sidecar["command"].split()
    assert program == "python3"
    assert f"def {capture.path.stem}(" in (STORED.parents[1] / script).read_text()


def test_files_are_small_and_name_no_path_of_a_machine(capture: Capture) -> None:
    for path in (capture.path, capture.path.with_suffix(".json")):
        assert path.stat().st_size < 50_000
        assert not re.search(rb"/(tmp|home|root|work|usr|var|dev|etc|run|proc)/", path.read_bytes())


def test_one_connection_in_order_with_right_checksums(capture: Capture) -> None:
    ends = {frozenset([(p[IP].src, p[TCP].sport), (p[IP].dst, p[TCP].dport)]) for p in capture.packets}
    assert len(ends) == 1
    assert capture.frames[0].flags == "S" and capture.frames[0].host == "client"
    assert len(capture.having("S")) == (2 if capture.path.stem != "postgres_closed_port" else 1)
    assert [frame.t for frame in capture.frames] == sorted(frame.t for frame in capture.frames)
    for packet in capture.packets:
        again = packet.copy()
        del again[IP].chksum, again[TCP].chksum
        again = again.__class__(bytes(again))
        assert (again[IP].chksum, again[TCP].chksum) == (packet[IP].chksum, packet[TCP].chksum)


def test_tshark_finds_nothing_wrong(capture: Capture) -> None:
    assert_tshark_finds_nothing_wrong(capture)


def test_terminate_idle_fin_from_the_server_and_rst_only_for_the_next_query(folder: Path) -> None:
    capture = Capture(folder, "postgres_terminate_backend")
    (fin,) = capture.having("F")
    (rst,) = capture.having("R")
    query = capture.frames[-2]
    assert fin.host == rst.host == "server" and rst is capture.frames[-1]
    assert query.host == "client" and query.payload.startswith(b"Q") and b"select 1;" in query.payload
    assert query.t - fin.t > 2, "the client must have sat in CLOSE-WAIT for a while"
    assert rst.flags == "R" and rst.seq == query.ack == fin.end, "exact: seq is what the query acknowledged"
    acknowledged = [f.t for f in capture.frames if f.host == "client" and f.ack == fin.end]
    assert acknowledged[0] < fin.t + 1

    said = next(frame for frame in capture.frames if b"C57P01\0" in frame.payload)
    assert said.host == "server" and said.t < fin.t
    event = capture.event("select 1;")
    assert event["began"] <= query.t <= event["t"]
    assert event["result"].startswith(FATAL) and FATAL.split("  ")[1].encode() in said.payload
    assert "server closed the connection unexpectedly" in event["result"]
    assert capture.event("pg_terminate_backend")["began"] < said.t

    assert capture.states("client") == ["ESTAB", "CLOSE-WAIT", "CLOSE-WAIT", "CLOSED"]
    assert capture.states("server") == ["ESTAB", "FIN-WAIT-2", "FIN-WAIT-2", "CLOSED"]
    waiting = [sample for sample in capture.sidecar["states"] if sample["state"] == "CLOSE-WAIT"]
    assert {sample["recv_q"] for sample in waiting} == {len(said.payload) + 1}, "unread message, and the FIN"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("postgres_stop_fast", b"terminating connection due to administrator command"),
        ("postgres_kill9_postmaster", b"terminating connection due to unexpected postmaster exit"),
        ("postgres_kill9_backend", b""),
    ],
)
def test_whatever_ends_an_idle_backend_sends_fin_and_the_next_query_draws_rst(
    folder: Path, name: str, said: bytes
) -> None:
    capture = Capture(folder, name)
    (fin,), (rst,) = capture.having("F"), capture.having("R")
    query = capture.frames[-2]
    assert fin.host == rst.host == "server" and rst is capture.frames[-1] and rst.flags == "R"
    assert query.host == "client" and b"select 1;" in query.payload and query.t - fin.t > 2
    assert rst.seq == query.ack == fin.end

    (asked,) = [frame for frame in capture.having("", "client") if b"pg_backend_pid" in frame.payload]
    answer, *last_words = [f for f in capture.having("", "server") if f.payload and f.t > asked.t]
    assert capture.event("pg_backend_pid")["result"].encode() in answer.payload
    assert len(last_words) == bool(said) and all(said in frame.payload for frame in last_words)
    result = capture.event("select 1;")["result"]
    assert said.decode() in result and ("FATAL" in result) == bool(said)
    assert "server closed the connection unexpectedly" in result
    assert ("Attempting reset: Succeeded" in result) == (name == "postgres_kill9_backend")

    killed = "pg_ctl stop -m fast" if name == "postgres_stop_fast" else "kill -9"
    assert capture.event(killed)["began"] < fin.t < capture.event(killed)["began"] + 1
    pid = capture.event("pg_backend_pid")["result"]
    assert (capture.event(killed)["call"] == f"kill -9 {pid}") == (name == "postgres_kill9_backend")
    assert capture.states("client") == ["ESTAB", "CLOSE-WAIT", "CLOSE-WAIT", "CLOSED"]
    assert capture.states("server") == ["ESTAB", "FIN-WAIT-2", "FIN-WAIT-2", "CLOSED"]


def test_terminate_reading_closes_both_ways_without_rst(folder: Path) -> None:
    capture = Capture(folder, "postgres_terminate_backend_reading")
    first, second = capture.having("F")
    last = capture.frames[-1]
    assert not capture.having("R")
    assert (first.host, second.host) == ("server", "client") and second.ack == first.end
    assert last.host == "server" and last.flags == "A" and last.ack == second.end

    event = capture.event("pg_sleep")
    assert event["result"].startswith(FATAL) and first.t < event["t"] < first.t + 1
    assert event["began"] < first.t - 0.5, "psql was waiting for its result"
    assert capture.states("client") == ["ESTAB", "CLOSED"]
    assert capture.states("server") == ["ESTAB", "TIME-WAIT"]


def test_kill9_with_unread_bytes_sends_rst_and_no_fin(folder: Path) -> None:
    capture = Capture(folder, "postgres_kill9_unread")
    (rst,) = capture.having("R")
    assert not capture.having("F")
    assert rst is capture.frames[-1] and (rst.host, rst.flags, rst.payload) == ("server", "RA", b"")
    sleep, unread = [frame for frame in capture.frames if frame.payload.startswith(b"Q")]
    assert b"pg_sleep" in sleep.payload
    assert not any(frame.payload for frame in capture.frames if frame.host == "server" and frame.t > sleep.t)
    assert rst.ack == unread.end, "Linux had acknowledged the bytes that PostgreSQL never read"

    queue = [sample["recv_q"] for sample in capture.sidecar["states"] if sample["host"] == "server"]
    assert queue == [len(unread.payload), 0]
    assert capture.states("server") == capture.states("client") == ["ESTAB", "CLOSED"]
    assert capture.event("kill -9")["began"] < rst.t < capture.event("recv")["t"]
    assert capture.event("recv")["result"] == "ECONNRESET: Connection reset by peer"
    assert capture.event("select 2;")["result"] == "EPIPE: Broken pipe"


def test_closed_port_answers_the_syn_with_rst_and_nothing_else(folder: Path) -> None:
    capture = Capture(folder, "postgres_closed_port")
    syn, rst = capture.frames
    assert (syn.host, syn.flags) == ("client", "S")
    assert (rst.host, rst.flags, rst.window, rst.seq) == ("server", "RA", 0, 0)
    assert rst.ack == syn.end
    event = capture.event("psql")
    assert event["began"] < syn.t and rst.t < event["t"]
    assert "Connection refused" in event["result"]
    assert f"port {capture.packets[0][TCP].dport} failed" in event["result"]


def test_a_missing_folder_is_named_in_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, str(STORED / "record_postgres.py"), str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert re.fullmatch(r"There is no folder .*nowhere to record into: .*\n", done.stderr)


def test_a_case_that_was_not_run_has_no_packets_and_names_captures_in_its_place() -> None:
    sidecars = {p.stem: json.loads(p.read_text()) for p in STORED.glob("*.json") if "." not in p.stem}
    only_told = {name: told for name, told in sidecars.items() if not told.get("run", True)}
    assert set(only_told) == {"oracle_kill_session"}
    readme = (STORED.parent / "README.md").read_text().split("### Told, and not run here")[1]
    for name, told in only_told.items():
        assert set(told) == {"title", "story", "run", "why_not", "instead"}
        assert not list(STORED.glob(f"{name}*.pcap")) and f"| `{name}` |" in readme
        assert all((STORED / f"{capture}.pcap").exists() for capture in told["instead"])
    assert {path.stem for path in STORED.glob("*.pcap")} == sidecars.keys() - only_told.keys()
