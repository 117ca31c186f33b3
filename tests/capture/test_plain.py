"""Where NumPy is missing, as in a browser: every capture is read and diagnosed as with it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tcplab.capture import CaptureError
from tcplab.capture.capture import Capture, read_capture
from tcplab.capture.findings import diagnose
from tcplab.capture.plain import read_plain

CAPTURES = sorted((Path(__file__).parents[2] / "data" / "captures").glob("*.pcap"))
DIAGNOSES = """
import json, sys
sys.modules["numpy"] = None
import tcplab
for path in sys.argv[1:]:
    capture = tcplab.read_capture(path)
    traces = [capture.connection(i) for i in range(len(capture.connections))]
    segments = [[(p.t, p.kind, repr(p.segment)) for p in trace.packets] for trace in traces]
    print(json.dumps([tcplab.diagnose(capture).to_json(), segments, capture.warnings]))
"""


def test_every_recording_shows_the_same_without_numpy():
    done = subprocess.run([sys.executable, "-c", DIAGNOSES, *CAPTURES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path, line in zip(CAPTURES, done.stdout.splitlines(), strict=True):
        capture = read_capture(path)
        traces = [capture.connection(i) for i in range(len(capture.connections))]
        segments = [[[p.t, p.kind, repr(p.segment)] for p in trace.packets] for trace in traces]
        expected = json.loads(json.dumps(diagnose(capture).to_json()))
        assert json.loads(line) == [expected, segments, [*capture.warnings]], path.name


def test_a_plain_capture_has_the_face_of_any_other():
    fast = read_capture(CAPTURES[0])
    plain = Capture(fast.name, read_plain(CAPTURES[0]), fast.sidecar)
    assert (len(plain), plain.began, plain.ended) == (len(fast), fast.began, fast.ended)
    assert list(plain.packets) == list(fast.packets) and list(plain.packets[2:4]) == list(fast.packets)[2:4]
    assert plain.connections == fast.connections and plain.frames(0) == fast.frames(0)
    assert plain.connection(0, last=3) == fast.connection(0, last=3)
    with pytest.raises(CaptureError, match=r"columns of .* need NumPy"):
        plain.columns["t"]


def test_the_progress_of_a_plain_reading_ends_with_everything():
    shares = []
    read_plain(CAPTURES[0], shares.append)
    assert shares == sorted(shares) and shares[-1] == 1
