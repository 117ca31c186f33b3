"""Where NumPy is missing, as in a browser: every capture is read and diagnosed as with it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import plain_captures as made
from tcplab.capture import CaptureError
from tcplab.capture.capture import Capture, read_capture
from tcplab.capture.findings import diagnose
from tcplab.capture.incidents import find_incidents
from tcplab.capture.plain import read_plain

CAPTURES = sorted((Path(__file__).parents[2] / "data" / "captures").glob("*.pcap"))
DIAGNOSES = """
import json, sys
sys.modules["numpy"] = None
import tcplab
from tcplab.capture.incidents import find_incidents
for path in sys.argv[1:]:
    capture = tcplab.read_capture(path)
    traces = [capture.connection(i) for i in range(len(capture.connections))]
    segments = [[(p.t, p.kind, repr(p.segment)) for p in trace.packets] for trace in traces]
    story = find_incidents(capture, tcplab.diagnose(capture)).to_json()
    print(json.dumps([story, segments, capture.warnings]))
"""


def test_every_recording_shows_the_same_without_numpy():
    done = subprocess.run([sys.executable, "-c", DIAGNOSES, *CAPTURES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path, line in zip(CAPTURES, done.stdout.splitlines(), strict=True):
        capture = read_capture(path)
        traces = [capture.connection(i) for i in range(len(capture.connections))]
        segments = [[[p.t, p.kind, repr(p.segment)] for p in trace.packets] for trace in traces]
        story = find_incidents(capture, diagnose(capture)).to_json()
        expected = json.loads(json.dumps([story, segments, capture.warnings]))
        assert json.loads(line) == expected, path.name


def test_without_scapy_tunnels_are_left_out_and_counted(tmp_path):
    inner = made.conversation()[0][1]
    packets = [made.ipv4(made.CLIENT4, made.SERVER4, inner, proto=4), made.conversation()[2][1]]
    (tmp_path / "x.pcap").write_bytes(made.pcap(packets, 101))
    assert len(read_plain(tmp_path / "x.pcap")) == 2
    code = "import sys; sys.modules['numpy'] = sys.modules['scapy'] = None; import tcplab; "
    code += "capture = tcplab.read_capture(sys.argv[1]); print(len(capture), *capture.warnings)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.pcap"], capture_output=True, text=True)
    says = (
        "1 1 packet of x.pcap may carry TCP in a tunnel that tcplab does not decode: left out (IP in IP: 1)."
    )
    assert (done.stdout, done.stderr) == (f"{says}\n", "")


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
