"""What a file leaves uncertain, by both readers: clocks that were set, tunnels, cut and empty records."""

import random
import struct
import subprocess
import sys

import numpy as np
import pytest

import plain_captures as made
from tcplab.capture import file as records
from tcplab.capture.capture import read_capture
from tcplab.capture.findings import diagnose
from tcplab.capture.plain import read_plain
from tcplab.capture.shared import LEAP, InterfaceClock, Steps
from tcplab.core.text import MILLISECOND, SECOND

START = 1_767_225_600 * SECOND
ENDS = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])
SYN = made.conversation()[0][1]
KINDS = "frame", "t", "connection", "ident"


def both(path, content):
    """The capture, after both readers have found the same."""
    path.write_bytes(content)
    capture, table = read_capture(path), read_plain(path)
    for name in KINDS:
        assert getattr(capture.table, name).tolist() == getattr(table, name), name
    for name in ("began", "ended", "packets", "quotes", "trouble", "warnings", "steps"):
        assert getattr(capture.table, name) == getattr(table, name), name
    assert [packet.segment for packet in capture.packets] == table.segments(range(len(table)))
    return capture


def stamped(seconds):
    """A pcapng file of a connection's packets, each with the interface and the time given."""
    frames = [packet for _, packet in made.conversation()]
    frames += [frames[-1]] * (len(seconds) - len(frames))
    parts = [made.section(), made.interface(101), made.interface(101)]
    for frame, (number, at) in zip(frames, seconds, strict=False):
        parts.append(made.enhanced(frame, (START + round(at * SECOND)) // 1000, number=number))
    return b"".join(parts)


def warned(each):
    return [warning.code for warning in each.warnings]


# --- clocks ---


@pytest.mark.parametrize(
    ("seconds", "order", "times"),
    [
        # set back: the file's order, and time goes on from the frame in front
        ([10, 10.5, 3, 3.25, 4], [1, 2, 3, 4, 5], [0, 0.5, 0.5, 0.75, 1.5]),
        # one wrong stamp, and two clocks in turn
        ([10, 10.5, -900, 10.75, 11], [1, 2, 3, 4, 5], [0, 0.5, 0.5, 0.75, 1]),
        ([10, 4, 10.5, 4.5, 11], [1, 2, 3, 4, 5], [0, 0, 0.5, 0.5, 1]),
        # a silence that is nothing like the step
        ([10, 10.5, 3, 90], [1, 2, 3, 4], [0, 0.5, 0.5, 87.5]),
        # exactly one second
        ([10, 12, 11, 11.5], [1, 2, 3, 4], [0, 2, 2, 2.5]),
    ],
)
def test_where_a_clock_was_set_back_the_order_of_the_file_holds(tmp_path, seconds, order, times):
    capture = both(tmp_path / "x.pcapng", stamped([(0, at) for at in seconds]))
    assert [packet.frame for packet in capture.packets] == order
    assert [packet.t / SECOND for packet in capture.packets] == times
    assert warned(capture) == ["clock_step"]
    diagnosis = diagnose(capture)
    assert "clock_step" in warned(diagnosis) and "clock_step" in warned(diagnosis.connections[0])
    assert any("during this connection" in each for each in capture.connection(0).warnings)


@pytest.mark.parametrize("seconds", [[10, 9.000001, 9.5], [10, 300, 301]])
def test_disorder_and_silence_are_no_step(tmp_path, seconds):
    capture = both(tmp_path / "x.pcapng", stamped([(0, at) for at in seconds]))
    assert not capture.table.steps and "clock_step" not in warned(capture)
    assert [packet.t for packet in capture.packets] == sorted(packet.t for packet in capture.packets)


def test_each_interface_has_its_own_clock(tmp_path):
    apart = both(tmp_path / "x.pcapng", stamped([(0, 10), (1, 2), (0, 10.5), (1, 2.5)]))
    assert not apart.table.steps and apart.frames(0) == [2, 4, 1, 3]
    one = both(tmp_path / "x.pcapng", stamped([(0, 10), (1, 10.25), (0, 2), (1, 10.75)]))
    assert [step.frame for step in one.table.steps] == [3]
    assert [(packet.frame, packet.t / SECOND) for packet in one.packets] == [
        (1, 0), (3, 0), (2, 0.25), (4, 0.75),
    ]  # fmt: skip


def test_a_leap_over_years_is_said_and_kept(tmp_path):
    frames = [packet for _, packet in made.conversation()]
    content = made.pcap(frames[:2], 101, start=60) + made.pcap(frames[2:], 101)[24:]
    capture = both(tmp_path / "x.pcap", content)
    (warning,) = capture.warnings
    assert (
        warning.code == "clock_step"
        and "frame 3 is stamped" in warning
        and "after the previous frame" in warning
    )
    assert capture.packets[2].t > LEAP


def test_a_connection_that_does_not_cross_the_step_is_not_doubted(tmp_path):
    first, second = ([packet for _, packet in made.conversation(port)] for port in (40000, 40001))
    content = made.pcap(first, 101) + made.pcap(second, 101, start=1_767_225_000)[24:]
    diagnosis = diagnose(both(tmp_path / "x.pcap", content))
    assert "clock_step" in warned(diagnosis)
    assert ["clock_step" in warned(each) for each in diagnosis.connections] == [False, False]


@pytest.mark.parametrize("seed", range(20))
def test_many_stamps_at_once_give_what_one_after_another_gives(seed):
    rng = random.Random(seed)
    stamps, at = [], START
    for _ in range(300):
        at += rng.choice(
            [0, MILLISECOND, -MILLISECOND, SECOND, -SECOND, 9 * SECOND, -9 * SECOND, 2 * LEAP, -LEAP]
        )
        stamps.append(max(at, 0))
    slow, fast = Steps(), Steps()
    clock = InterfaceClock(slow)
    expected = [clock.take(t, frame) for frame, t in enumerate(stamps, 1)]
    clock, out, begin = InterfaceClock(fast), [], 0
    while begin < len(stamps):
        size = rng.randint(1, 60)
        part = np.array(stamps[begin : begin + size], np.int64)
        out += records.mended(clock, part, np.arange(begin + 1, begin + 1 + len(part))).tolist()
        begin += size
    assert out == expected and fast == slow and slow.count > 10


def test_a_million_steps_take_no_memory_and_no_overflow():
    steps = Steps()
    clock, last = InterfaceClock(steps), 0
    for frame in range(1, 200_001):
        t = clock.take((1 << 62) - 1 if frame % 2 else 0, frame)
        assert last <= t < 1 << 62
        last = t
    assert steps.count >= 100_000 and len(steps.kept) == 65_536


# --- tunnels ---


def gre(kind, payload, *, checksum=False, key=False, sequence=False, flags=0):
    flags |= checksum * 0x8000 | key * 0x2000 | sequence * 0x1000
    fields = bytes(4) * checksum + bytes(4) * key + bytes(4) * sequence
    return made.ipv4(*ENDS, struct.pack(">HH", flags, kind) + fields + payload, proto=47)


FRAME = made.ethernet(0x800, SYN)
TAGGED = made.MAC + struct.pack(">HHHHH", 0x88A8, 5, 0x8100, 6, 0x800) + SYN
III = bytes(10) + b"\0\0"
READ = {
    "erspan 1": gre(0x88BE, FRAME),
    "erspan 2": gre(0x88BE, bytes.fromhex("1007000500000012") + FRAME, sequence=True),
    "erspan 2 with a key": gre(0x88BE, bytes.fromhex("1007000500000012") + FRAME, sequence=True, key=True),
    "erspan 3": gre(0x22EB, III + FRAME, sequence=True),
    "erspan 3 with a platform header": gre(0x22EB, bytes(11) + b"\1" + bytes(8) + FRAME, sequence=True),
    "erspan 3 of two tags": gre(0x22EB, III + TAGGED, sequence=True),
    "bridged": gre(0x6558, FRAME, key=True),
    "ip": gre(0x800, SYN, checksum=True),
    "gre in gre": gre(0x800, gre(0x88BE, FRAME)),
    "two tags": None,
}


@pytest.mark.parametrize("tunnel", READ)
def test_gre_and_erspan_are_read_without_scapy(tmp_path, monkeypatch, tunnel):
    monkeypatch.setattr("tcplab.capture.pcap.can_dissect", lambda: False)
    outer, answer = READ[tunnel], made.conversation()[1][1]
    frames = [TAGGED if outer is None else made.ethernet(0x800, outer), made.ethernet(0x800, answer)]
    capture = both(tmp_path / "x.pcap", made.pcap(frames))
    assert not capture.warnings and len(capture.connections) == 1
    first = capture.packets[0].segment
    assert (first.source, first.mss, first.window_scale) == (("10.0.0.1", 40000), 1460, 7)


@pytest.mark.parametrize("tunnel", [name for name in READ if READ[name]])
def test_tunnels_cut_anywhere(tmp_path, tunnel):
    frame = made.ethernet(0x800, READ[tunnel])
    for size in range(14, len(frame)):
        capture = both(tmp_path / "x.pcap", made.pcap([frame], snaplen=size))
        assert set(warned(capture)) <= {"cut_packets", "tunnel"} and len(capture) <= 1


def vxlan(payload):
    return made.ipv4(
        *ENDS, struct.pack(">HHHHII", 5, 4789, 16 + len(payload), 0, 8 << 24, 7) + payload, proto=17
    )


def test_tunnels_that_are_not_read_are_named_and_counted(tmp_path):
    garbage = bytes(range(1, 60))
    packets = [
        (0x800, made.ipv4(*ENDS, garbage, proto=50)),
        (0x800, made.ipv4(*ENDS, garbage, proto=50)),
        (0x86DD, made.ipv6(made.CLIENT6, made.SERVER6, garbage, following=50)),
        (0x88E5, garbage),
        (0x800, made.ipv4(*ENDS, struct.pack(">HHHH", 5, 2152, 40, 0) + bytes(32), proto=17)),
        (0x800, gre(0x880B, garbage)),
        (0x800, gre(0x880B, garbage, flags=1)),
        (0x800, SYN),
    ]
    capture = both(tmp_path / "x.pcap", made.pcap([made.ethernet(*each) for each in packets]))
    (warning,) = capture.warnings
    assert len(capture) == 1 and warning.code == "tunnel"
    assert "7 packets" in warning and "(ESP: 3, GRE: 2, GTP-U: 1, MACsec: 1)" in warning


def test_what_scapy_reads_is_no_unread_tunnel(tmp_path):
    arp = made.ethernet(0x806, bytes.fromhex("0001080006040001") + bytes(20))
    mpls = struct.pack(">I", 16 << 12 | 0x1FF) + SYN
    packets = [(0x800, vxlan(arp)), (0x800, vxlan(FRAME)), (0x8847, mpls)]
    capture = both(tmp_path / "x.pcap", made.pcap([made.ethernet(*each) for each in packets]))
    assert len(capture) == 2 and not capture.warnings


def test_without_scapy_every_reader_names_what_it_left_out(tmp_path):
    packets = [made.ethernet(0x800, vxlan(FRAME)), made.ethernet(0x8847, bytes(4) + SYN), FRAME]
    (tmp_path / "x.pcap").write_bytes(made.pcap(packets))
    for missing in ("scapy", "numpy scapy"):
        code = f"import sys; sys.modules.update(dict.fromkeys({missing.split()!r})); import tcplab; "
        code += "capture = tcplab.read_capture(sys.argv[1]); print(len(capture), *capture.warnings)"
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "x.pcap"], capture_output=True, text=True
        )
        assert done.stdout.startswith("1 2 packets of x.pcap may carry TCP in a tunnel"), done.stderr
        assert "(MPLS: 1, VXLAN: 1)" in done.stdout


# --- cut and empty ---


@pytest.mark.parametrize("six", [False, True])
def test_packets_that_were_cut_inside_their_headers_are_counted(tmp_path, six):
    frame = made.ethernet(0x86DD if six else 0x800, made.conversation(six=six)[0][1])
    header = 14 + (40 if six else 20) + 20
    for size in range(15, len(frame) + 1):
        capture = both(tmp_path / "x.pcap", made.pcap([frame], snaplen=size))
        assert (len(capture), warned(capture)) == ((1, []) if size >= header else (0, ["cut_packets"])), size


def test_records_of_zeros_are_counted_and_carry_no_time(tmp_path):
    frames = [packet for _, packet in made.conversation()]
    whole = made.pcap(frames, 101)
    first = made.pcap(frames[:2], 101)
    capture = both(tmp_path / "x.pcap", first + bytes(16 * 5) + whole[len(first) :])
    assert warned(capture) == ["empty_records"] and "5 records" in capture.warnings[0]
    assert capture.began == START and capture.table.packets == len(frames) + 5
    assert [packet.frame for packet in capture.packets] == [1, 2, *range(8, len(frames) + 6)]


# --- very long connections ---


@pytest.mark.parametrize("plain", [False, True])
def test_of_a_very_long_connection_the_beginning_and_the_end_are_diagnosed(tmp_path, monkeypatch, plain):
    monkeypatch.setattr("tcplab.capture.capture.LONGEST", 40)
    monkeypatch.setattr("tcplab.capture.capture.BEGINNING", 10)
    (tmp_path / "x.pcap").write_bytes(long_connection(300))
    monkeypatch.setattr("tcplab.capture.capture.find_spec", lambda name: not plain)
    diagnosis = diagnose(read_capture(tmp_path / "x.pcap"))
    (only,) = diagnosis.connections
    assert warned(only) == ["too_long"] and "300 segments" in only.warnings[0]
    assert {each.code for each in only.findings} == {"reset_by_server"} and only.state == "reset"
    assert only.findings[0].frames[-1] == 300


def long_connection(count):
    """A handshake, data and its acknowledgements, and a RST."""
    client, server = made.CLIENT4, made.SERVER4

    def up(flags, seq, ack, payload=b""):
        return made.ipv4(client, server, made.tcp(40000, 5432, flags, seq, ack, payload), ident=seq & 0xFFFF)

    def down(flags, seq, ack):
        return made.ipv4(server, client, made.tcp(5432, 40000, flags, seq, ack), ident=ack & 0xFFFF)

    frames = [up(made.SYN, 99, 0), down(made.SYN | made.ACK, 499, 100), up(made.ACK, 100, 500)]
    for at in range(100, 100 + 10 * (count // 2 - 2), 10):
        frames += [up(made.PSH | made.ACK, at, 500, bytes(10)), down(made.ACK, 500, at + 10)]
    return made.pcap([*frames, down(made.RST | made.ACK, 500, at + 10)], 101)


def test_a_diagnosis_can_be_cancelled_while_segments_are_made_and_classified(tmp_path, monkeypatch):
    for module in ("tcplab.capture.capture", "tcplab.follow.kinds"):
        monkeypatch.setattr(f"{module}.OFTEN", 32)
    (tmp_path / "x.pcap").write_bytes(long_connection(320))
    capture, calls = read_capture(tmp_path / "x.pcap"), []
    capture.trace(0, capture.rows(0), lambda: calls.append(1))
    assert len(calls) == 20

    def stop(limit):
        calls = iter(range(limit))

        def progress(share):
            if next(calls, None) is None:
                raise InterruptedError

        return progress

    for limit in (1, 10, 15, 21):
        with pytest.raises(InterruptedError):
            diagnose(capture, stop(limit))
