"""A recorded capture read beforehand is the same as one read now, and nothing else is taken for it."""

from pathlib import Path

import pytest

from tcplab.capture import CaptureError
from tcplab.capture.capture import read_capture
from tcplab.capture.findings import diagnose
from tcplab.capture.stored import both_legs, store_capture
from tcplab.capture.stored import diagnose as stored_diagnosis
from tcplab.capture.stored import read_capture as read_stored
from tcplab.lesson import found

CAPTURES = Path(__file__).resolve().parents[2] / "data" / "captures"


def store(path, library):
    """Read a capture and what it shows, and put both into the library."""
    capture = read_capture(path)
    store_capture(path, capture, diagnose(capture), library)


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("*.pcap")), ids=lambda path: path.stem)
def test_every_recording_comes_back_as_it_was(path, tmp_path):
    capture = read_capture(path)
    store_capture(path, capture, diagnose(capture), tmp_path)
    stored = read_stored(path, tmp_path)
    assert (stored.began, stored.ended, stored.warnings) == (capture.began, capture.ended, capture.warnings)
    for i in range(len(capture.connections)):
        assert stored.connection(i) == capture.connection(i)
    shown, told = diagnose(capture), stored_diagnosis(stored)
    assert (len(told), told.packets, told.summary) == (len(shown), shown.packets, shown.summary)
    assert found(told).plain == found(shown).plain


def test_two_legs_can_be_stored_ones(tmp_path):
    legs = [CAPTURES / f"proxy_pgbouncer_{leg}.pcap" for leg in ("front", "back")]
    for path in legs:
        store(path, tmp_path)
    assert both_legs(*(read_stored(path, tmp_path) for path in legs)) == both_legs(*map(read_capture, legs))


def test_another_file_under_a_recordings_name_is_not_taken_for_it(tmp_path):
    store(CAPTURES / "keepalive.pcap", tmp_path)
    mine = tmp_path / "keepalive.pcap"
    mine.write_bytes((CAPTURES / "dead_peer.pcap").read_bytes())
    with pytest.raises(CaptureError, match=r"^keepalive\.pcap is none of the recorded captures .* NumPy"):
        read_stored(mine, tmp_path)


def test_what_is_missing_is_said_in_one_sentence(tmp_path):
    with pytest.raises(CaptureError, match=r"^nothing\.pcap can't be read: No such file"):
        read_stored(tmp_path / "nothing.pcap", tmp_path)
    path = CAPTURES / "keepalive.pcap"
    store(path, tmp_path)
    with pytest.raises(CaptureError):
        read_stored(path, tmp_path).connection(7)
