"""Frames and segments: both ways, with options, scaled windows, and checksums that Linux would accept."""

import socket
import struct

import pytest

from tcplab.bench.wire import FrameParser, destination, frame_of
from tcplab.core.segment import ACK, PSH, RST, SYN, Endpoint, Segment

CLIENT, SERVER = Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 5432)


def frame(source, target, seq, ack, flags, window, options=b"", payload=b"", padding=b""):
    """A frame as a card sends it; checksums left out, since nobody here looks at them."""
    tcp = struct.pack(
        "!HHIIBBHHH", source.port, target.port, seq, ack, (5 + len(options) // 4) << 4, flags, window, 0, 0
    )
    length = 20 + len(tcp) + len(options) + len(payload)
    addresses = socket.inet_aton(source.address) + socket.inet_aton(target.address)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, length, 1, 0x4000, 64, 6, 0) + addresses
    return bytes(12) + b"\x08\x00" + ip + tcp + options + payload + padding


def syn_options(scale: int) -> bytes:
    """MSS 1460, SACK permitted, timestamps 7 and 0, one byte of nothing, window scale: Linux's order."""
    timestamps = b"\x08\x0a" + struct.pack("!II", 7, 0)
    return b"\x02\x04\x05\xb4" + b"\x04\x02" + timestamps + b"\x01\x03\x03" + bytes([scale])


def test_a_syn_with_all_its_options():
    taken = FrameParser().segment(frame(CLIENT, SERVER, 2**32 - 5, 0, SYN, 64240, syn_options(7)))
    options = {"mss": 1460, "window_scale": 7, "sack_permitted": True, "timestamps": (7, 0)}
    assert taken == Segment(CLIENT, SERVER, 2**32 - 5, 0, SYN, 64240, **options)


def test_windows_are_scaled_by_what_the_sender_of_the_window_offered():
    parser = FrameParser()
    assert parser.segment(frame(CLIENT, SERVER, 1, 0, SYN, 1000, syn_options(3))).window == 1000
    assert parser.segment(frame(SERVER, CLIENT, 9, 2, SYN | ACK, 1000, syn_options(10))).window == 1000
    assert parser.segment(frame(CLIENT, SERVER, 2, 10, ACK, 5)).window == 5 << 3
    assert parser.segment(frame(SERVER, CLIENT, 10, 2, ACK, 5)).window == 5 << 10


def test_one_side_without_scaling_switches_it_off_for_both():
    parser = FrameParser()
    parser.segment(frame(CLIENT, SERVER, 1, 0, SYN, 1000, syn_options(3)))
    parser.segment(frame(SERVER, CLIENT, 9, 2, SYN | ACK, 1000, b"\x02\x04\x05\xb4"))
    assert parser.segment(frame(CLIENT, SERVER, 2, 10, ACK, 5)).window == 5
    assert parser.segment(frame(SERVER, CLIENT, 10, 2, ACK, 5)).window == 5


def test_payload_sack_blocks_and_a_padded_frame():
    blocks = struct.pack("!BBBB4I", 1, 1, 5, 18, 100, 140, 200, 240)
    taken = FrameParser().segment(
        frame(CLIENT, SERVER, 7, 9, PSH | ACK, 8, blocks, b"hello", padding=bytes(9))
    )
    assert (taken.length, taken.sack, taken.flags) == (5, ((100, 140), (200, 240)), PSH | ACK)


def test_an_ack_number_without_the_flag_is_none():
    assert FrameParser().segment(frame(CLIENT, SERVER, 7, 99, RST, 0)).ack == 0


@pytest.mark.parametrize(
    "options", [b"\x08\x00\x00\x00", b"\x05\x01\x00\x00", b"\x00\xff\xff\xff", b"\x01\x01\x01\x02"]
)
def test_broken_options_end_the_list(options):
    assert FrameParser().segment(frame(CLIENT, SERVER, 7, 9, ACK, 0, options)).timestamps is None


def test_what_is_not_ipv4_has_no_destination_and_what_is_not_tcp_no_segment():
    assert destination(bytes(12) + b"\x08\x06" + bytes(40)) is None
    assert destination(b"") is None
    ping = bytearray(frame(CLIENT, SERVER, 1, 0, SYN, 0))
    ping[23] = 1
    assert destination(bytes(ping)) == SERVER.address
    assert FrameParser().segment(bytes(ping)) is None


def ones_complement_sum(data: bytes) -> int:
    """RFC 1071: over data with its checksum inside it is all ones."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@pytest.mark.parametrize("seq", [0, 1, 2**32 - 1, 0xFFFF0000, 3405691582])
def test_a_forged_segment_survives_the_way_out_and_in(seq):
    forged = Segment(SERVER, CLIENT, seq, 0, RST, 0)
    made = frame_of(forged)
    assert FrameParser().segment(made) == forged
    ip, tcp = made[14:34], made[34:]
    assert ones_complement_sum(ip) == 0xFFFF
    assert ones_complement_sum(ip[12:20] + struct.pack("!BBH", 0, 6, len(tcp)) + tcp) == 0xFFFF


@pytest.mark.parametrize("length", [1, 2, 199, 200])
def test_so_does_a_forged_one_with_payload_of_any_length(length):
    forged = Segment(SERVER, CLIENT, 7, 9, PSH | ACK, 500, length)
    made = frame_of(forged)
    assert FrameParser().segment(made) == forged and made[54:] == bytes(length)
    tcp = made[34:]
    covered = made[26:34] + struct.pack("!BBH", 0, 6, len(tcp)) + tcp + bytes(len(tcp) % 2)
    assert ones_complement_sum(covered) == 0xFFFF
