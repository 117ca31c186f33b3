"""What every stored capture of a real product must have, whoever recorded it."""

import datetime
import re
import subprocess
from pathlib import Path

from conftest import need
from tcplab.capture.capture import read_capture

PROJECT = Path(__file__).parents[1]
#: A path of the machine that recorded it.
MACHINE_PATH = re.compile(rb"/(tmp|home|root|work|usr|var|dev|etc|run|proc)/")


def assert_it_names_its_recorder(capture, story):
    """The sidecar says when, by which function of which script, and nothing of a machine's own paths."""
    told = capture.sidecar
    day = datetime.datetime.fromtimestamp(float(capture.packets[0].time), datetime.UTC).date()
    assert datetime.date.fromisoformat(told["date"]) == day
    program, script = told["command"].split()
    assert program == "python3" and f"def {story}(" in (PROJECT / script).read_text()
    assert all(event["call"] and event["result"] for event in told["events"])
    for path in (capture.path, capture.path.with_suffix(".json")):
        assert path.stat().st_size < 50_000
        assert not MACHINE_PATH.search(path.read_bytes())


def assert_it_reads_back_whole(capture):
    """One connection, with every call and state that its sidecar tells of."""
    read = read_capture(capture.path)
    trace = read.connection(0)
    assert not read.warnings and not trace.warnings and len(read.connections) == 1
    assert len(trace.calls) == len(capture.sidecar["events"])
    assert len(trace.sockets) == len(capture.sidecar["states"])


def assert_tshark_finds_nothing_wrong(capture):
    """Nothing malformed, every checksum right."""
    wrong = "_ws.malformed || tcp.checksum.status == Bad || ip.checksum.status == Bad"
    options = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-Y", wrong]
    command = [need("tshark"), "-n", "-r", str(capture.path), *options]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, "")
