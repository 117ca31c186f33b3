"""A recorded capture read beforehand is the same as one read now, and nothing else is taken for it."""

from pathlib import Path

import pytest

from tcplab.capture import CaptureError
from tcplab.capture.legs import both_legs
from tcplab.capture.reading import read_capture
from tcplab.capture.stored import diagnose, store_capture
from tcplab.capture.stored import read_capture as read_stored

CAPTURES = Path(__file__).resolve().parents[2] / "data" / "captures"


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("*.pcap")), ids=lambda path: path.stem)
def test_every_recording_comes_back_as_it_was(path, tmp_path):
    capture = read_capture(path)
    store_capture(path, capture, tmp_path)
    stored = read_stored(path, tmp_path)
    assert (stored.began, stored.ended, stored.warnings) == (capture.began, capture.ended, capture.warnings)
    for i in range(len(capture.connections)):
        assert stored.connection(i) == capture.connection(i)


def test_two_legs_can_be_stored_ones(tmp_path):
    legs = [CAPTURES / f"proxy_pgbouncer_{leg}.pcap" for leg in ("front", "back")]
    for path in legs:
        store_capture(path, read_capture(path), tmp_path)
    assert both_legs(*(read_stored(path, tmp_path) for path in legs)) == both_legs(*map(read_capture, legs))


def test_another_file_under_a_recordings_name_is_not_taken_for_it(tmp_path):
    store_capture(CAPTURES / "keepalive.pcap", read_capture(CAPTURES / "keepalive.pcap"), tmp_path)
    mine = tmp_path / "keepalive.pcap"
    mine.write_bytes((CAPTURES / "dead_peer.pcap").read_bytes())
    with pytest.raises(CaptureError, match=r"^keepalive\.pcap is none of the recorded captures .* NumPy"):
        read_stored(mine, tmp_path)


def test_what_is_missing_is_said_in_one_sentence(tmp_path):
    with pytest.raises(CaptureError, match=r"^nothing\.pcap can't be read: No such file"):
        read_stored(tmp_path / "nothing.pcap", tmp_path)
    path = CAPTURES / "keepalive.pcap"
    store_capture(path, read_capture(path), tmp_path)
    with pytest.raises(CaptureError):
        read_stored(path, tmp_path).connection(7)
    with pytest.raises(CaptureError, match=r"^what keepalive\.pcap shows .* NumPy"):
        diagnose(read_stored(path, tmp_path))
