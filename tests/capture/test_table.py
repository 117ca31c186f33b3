"""The fast reader against the plain one, and against tshark, on files of every kind, sound and broken."""

import gzip
import os
import random
import struct
import subprocess
import sys
import tracemalloc
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import plain_captures as made
import tcplab.capture as unpacking
from conftest import need
from tcplab.capture import CaptureError
from tcplab.capture import file as records
from tcplab.capture.capture import read_capture
from tcplab.capture.findings import diagnose
from tcplab.capture.findings.report import diagnosis_lines
from tcplab.capture.plain import Frames, read_plain

CAPTURES = sorted((Path(__file__).parents[2] / "data" / "captures").glob("*.pcap"))
#: In CI; the full 100,000 were run once by hand (TCPLAB_BROKEN_FILES=100000).
BROKEN_FILES = int(os.environ.get("TCPLAB_BROKEN_FILES", "2000"))


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    """Chunks and guesses so small that even these files need many, with guesses and all."""
    monkeypatch.setattr(records, "CHUNK", 4096)
    monkeypatch.setattr(records, "LEFTOVER", 100)
    monkeypatch.setattr(records, "WORTH_GUESSING", 600)
    monkeypatch.setattr(records, "GUESS_EVERY", 256)
    monkeypatch.setattr(records, "STEPS", 2)


def read_rows(path, **options):
    """Number, time and segment of each packet by the fast reader, and the capture."""
    capture = read_capture(path, **options)
    return [(packet.frame, packet.t, packet.segment) for packet in capture.packets], capture


def plain_rows(path):
    """The same by the plain reader, and its table."""
    table = read_plain(path)
    return list(zip(table.frame, table.t, table.segments(range(len(table))), strict=True)), table


def same(path, content):
    """Both readers on the same bytes."""
    path.write_bytes(content)
    return compare(path)


def compare(path):
    """Both readers on one file: equal packets, connections, windows, first bytes and warnings."""
    expected, table = plain_rows(path)
    rows, capture = read_rows(path)
    assert rows == expected
    same_tables(capture.table, table)
    return capture


def same_tables(fast, plain):
    for name in ("began", "ended", "packets", "strange", "quotes", "trouble", "warnings"):
        assert getattr(fast, name) == getattr(plain, name), name
    assert fast.connection.tolist() == plain.connection
    assert fast.openings() == plain.openings() and fast.greetings() == plain.greetings()
    for i in range(fast.connections):
        rows = plain.rows(i)
        assert fast.rows(i).tolist() == rows and fast.scaled(i, rows) == plain.scaled(i, rows)


def frames(name):
    wrapping = made.WRAPPINGS[name]
    return [wrapping.wrap(*packet) for packet in made.every_packet()], wrapping.link


# --- what is right is read right ---


@pytest.mark.parametrize("name", made.WRAPPINGS)
@pytest.mark.parametrize("order", "<>")
def test_every_link_in_every_container(tmp_path, name, order):
    wrapped, link = frames(name)
    for nano in (False, True):
        capture = same(tmp_path / "x.pcap", made.pcap(wrapped, link, order, nano))
        assert len(capture) == 30 and len(capture.connections) == 3
    assert len(same(tmp_path / "x.pcapng", made.pcapng(wrapped, link, order))) == 30


def shark(path, *fields):
    """Fields of the TCP packets as tshark sees them; ICMP errors that quote one are none."""
    names = [word for field in fields for word in ("-e", field)]
    command = [need("tshark"), "-r", path, "-Y", "tcp && !icmp", "-T", "fields", *names]
    done = subprocess.run(command, capture_output=True, text=True)
    return [[int(value, 0) for value in line.split("\t")] for line in done.stdout.splitlines()]


FIELDS = {
    "frame": "frame.number", "source_port": "tcp.srcport", "destination_port": "tcp.dstport",
    "seq": "tcp.seq_raw", "ack": "tcp.ack_raw", "flags": "tcp.flags", "window": "tcp.window_size_value",
    "length": "tcp.len", "connection": "tcp.stream",
}  # fmt: skip


def columns_and_tshark(path):
    capture = read_capture(path)
    ours = np.stack([capture.columns[name].astype(np.int64) for name in FIELDS], axis=1)
    return ours.tolist(), shark(path, *FIELDS.values())


def test_tshark_sees_the_same_packets_and_streams_on_all_links(tmp_path):
    """One file with an interface of each kind; every conversation on another port."""
    parts, number = [made.section()], 0
    for name in made.WRAPPINGS:
        parts.append(made.interface(made.WRAPPINGS[name].link))
    for face, wrapping in enumerate(made.WRAPPINGS.values()):
        for six in (False, True):
            port = 41000 + 2 * face + six
            for packet in [*made.conversation(port, six), *made.others(port - six)]:
                number += 1
                parts.append(made.enhanced(wrapping.wrap(*packet), number * 1000, number=face))
    file = tmp_path / "x.pcapng"
    file.write_bytes(b"".join(parts))
    ours, theirs = columns_and_tshark(file)
    assert len(ours) == 200 and ours == theirs


@pytest.mark.parametrize("file", CAPTURES, ids=lambda file: file.stem)
def test_tshark_sees_the_same_in_every_stored_capture(file):
    ours, theirs = columns_and_tshark(file)
    assert ours and ours == theirs
    compare(file)


def test_addresses_are_text_and_columns_stand_in_one_order(tmp_path):
    wrapped, link = frames("ethernet")
    (tmp_path / "x.pcap").write_bytes(made.pcap(wrapped, link))
    capture = read_capture(tmp_path / "x.pcap")
    columns = capture.columns
    assert set(columns["source"].tolist()) == {"10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"}
    assert {len(column) for column in columns.values()} == {30} and len(dict(columns)) == len(columns)
    syn = columns["flags"] & made.SYN > 0
    assert columns["mss"].tolist() == np.where(syn, 1460, -1).tolist()
    assert columns["window_scale"].tolist() == np.where(syn, 7, -1).tolist()
    assert columns["window_shift"].tolist() == np.where(syn, 0, 7).tolist()
    assert columns["sack_permitted"].tolist() == syn.tolist()
    sacked = columns["sack_blocks"] == 1
    assert sacked.sum() == 3 and set(columns["sack_left"][sacked]) == {0x1000}
    assert set(columns["sack_right"][sacked]) == {0x2000} and not columns["sack_right"][~sacked].any()
    timed = columns["has_timestamps"]
    assert set(columns["timestamp"][timed & ~syn]) == {3000} and not columns["timestamp"][~timed].any()
    with pytest.raises(ValueError, match="read-only"):
        columns["seq"][0] = 1
    with pytest.raises(KeyError):
        columns["colour"]


def test_a_shift_that_nobody_knows(tmp_path):
    wrapped, link = frames("ethernet")
    (tmp_path / "x.pcap").write_bytes(made.pcap(wrapped[1:10], link))
    shifts = read_capture(tmp_path / "x.pcap").columns["window_shift"].tolist()
    assert shifts == [0, *[-1] * 8]  # the SYN-ACK's own window is never shifted


# --- containers ---


def test_interfaces_have_their_own_clock_and_link(tmp_path):
    (ether, _), (raw, _) = frames("ethernet"), frames("raw")
    second = 1_700_000_000
    content = b"".join([
        made.section(), made.interface(1, resolution=9), made.interface(101, resolution=3),
        made.enhanced(ether[0], second * 10**9 + 1), made.enhanced(raw[1], second * 1000 + 2, number=1),
        made.interface(1, resolution=0x80 | 20), made.interface(101, resolution=6, offset=1000),
        made.enhanced(ether[2], (second << 20) + (1 << 19), number=2),
        made.enhanced(raw[3], (second - 999) * 10**6, number=3),
        made.interface(1, resolution=12), made.enhanced(ether[4], 10**12 * 1_000_000 + 10**10, number=4),
        made.section(">"), made.interface(1, ">"), made.enhanced(ether[5], (second + 2) * 10**6, ">"),
    ])  # fmt: skip
    capture = same(tmp_path / "x.pcapng", content)
    assert [packet.t + capture.began - second * 10**9 for packet in capture.packets[1:]] == [
        1, 2_000_000, 500_000_000, 10**9, 2 * 10**9,
    ]  # fmt: skip
    assert capture.began == 1_000_000 * 10**9 + 10**7


def test_simple_and_old_packet_blocks(tmp_path):
    wrapped, _ = frames("ethernet")
    content = b"".join([
        made.section(), made.interface(snaplen=60), made.old(wrapped[0], 10**15), made.simple(wrapped[1]),
        made.block(11, b"who knows"), made.simple(wrapped[3]), made.old(wrapped[2], 10**15 + 5, number=0),
    ])  # fmt: skip
    file = tmp_path / "x.pcapng"
    capture = same(file, content)
    assert [(packet.frame, packet.t) for packet in capture.packets] == [(1, 0), (2, 0), (3, 0), (4, 5000)]
    assert capture.began == 10**18
    (warning,) = capture.warnings
    assert warning == "2 packets of x.pcapng carry no time stamp: each gets the time of the previous packet."


@pytest.mark.parametrize("members", [1, 3])
def test_gzip_in_members_and_cut_short(tmp_path, members):
    wrapped, link = frames("vlan")
    content = made.pcap(wrapped, link)
    third = len(content) // members + 1
    packed = b"".join(gzip.compress(content[n : n + third]) for n in range(0, len(content), third))
    file = tmp_path / "x.pcap.gz"
    for filled in (packed, packed + bytes(100), packed + b"something else"):
        file.write_bytes(filled)
        assert len(read_capture(file)) == 30 and read_capture(file).warnings == ()
    file.write_bytes(packed[:-30])
    capture = read_capture(file)
    (warning,) = capture.warnings
    assert 0 < len(capture) < 30 and warning.startswith("x.pcap.gz is cut short after packet ")


def test_zstd(tmp_path, monkeypatch):
    wrapped, link = frames("vlan")
    home = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    content, file = import_module(home).compress(made.pcap(wrapped * 100, link)), tmp_path / "x.pcap.zst"
    file.write_bytes(content)
    assert len(read_capture(file)) == 3000 and read_capture(file).warnings == ()
    file.write_bytes(content[:-9])
    capture = read_capture(file)
    assert 0 < len(capture) < 3000
    assert capture.warnings[0].startswith("x.pcap.zst is cut short after packet ")
    file.write_bytes(content[:20])
    with pytest.raises(CaptureError, match="so early that nothing of it can be unpacked"):
        read_capture(file)
    monkeypatch.setattr(unpacking, "ZSTD_MODULES", ("no_such_module",))
    with pytest.raises(CaptureError, match="unpack it first with `zstd -d x"):
        read_capture(file)


def test_a_file_larger_than_memory_that_is_used_again(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(records, "CHUNK", 2 << 20)
    wrapped, link = frames("ethernet")
    content = made.pcap(wrapped * 3000, link)
    assert len(content) > 4 * records.CHUNK > 4 * records.WORTH_GUESSING
    (tmp_path / "x.pcap").write_bytes(content)
    (tmp_path / "x.pcapng").write_bytes(made.pcapng(wrapped * 3000, link))
    one, other = (read_capture(tmp_path / name) for name in ("x.pcap", "x.pcapng"))
    assert len(one) == 90_000 == len(other)
    for name, column in one.columns.items():
        assert (column == other.columns[name]).all(), name
    assert one.columns["frame"][-30:].tolist() == [99_000 - 33 + int(n) for n in one.columns["frame"][:30]]


@given(st.integers(0, 2**32), st.sampled_from("<>"), st.booleans())
@settings(max_examples=60)
def test_guesses_never_decide_what_comes_out(seed, order, twice):
    """Payload full of what looks like records."""
    chance = random.Random(seed)
    wrapped = made.WRAPPINGS["raw"].wrap(*made.conversation()[0])
    bait = made.pcapng([wrapped], 101, order)[28:] if twice else made.pcap([wrapped], 101, order)[24:]
    packets = []
    for _ in range(80):
        data = bait * chance.randint(0, 6) + chance.randbytes(chance.randint(0, 90))
        packets.append(made.ipv4(made.CLIENT4, made.SERVER4, made.tcp(40000, 5432, 16, 1, 1, data)))
    content = made.pcapng(packets, 101, order) if twice else made.pcap(packets, 101, order)
    content = bytearray(content) + bytes(99)
    layout = records.pcapng_layout(order, b"") if twice else records.pcap_layout(order, 16)
    low, high = 0 if twice else 24, len(content) - 99
    expected = records._walk(content, low, high, layout)
    found = records.record_starts(content, low, high, layout)
    assert found[0].tolist() == expected[0].tolist() and found[1] == expected[1]


# --- headers that make no sense, and packets that were cut ---


def test_headers_that_no_receiver_would_take(tmp_path):
    good = made.tcp(40000, 5432, made.ACK, 1, 1, b"data")
    ends = made.CLIENT4, made.SERVER4
    packets = [
        made.ipv4(*ends, good),
        made.ipv4(*ends, made.tcp(40000, 5432, made.ACK, 1, 1, offset=4)),  # a header of 16 bytes
        made.ipv4(*ends, made.tcp(40000, 5432, made.ACK, 1, 1, offset=9)),  # longer than its packet
        made.ipv4(*ends, good, total=30),
        b"\x44" + made.ipv4(*ends, good)[1:],
        made.ipv4(*ends, good, frag=3),
        made.ipv4(*ends, good, proto=17),
        made.ipv6(made.CLIENT6, made.SERVER6, good, size=0),  # the network card cuts segments itself
    ]
    wrapped = [made.ethernet(0x86DD if packet[0] >> 4 == 6 else 0x800, packet) for packet in packets]
    capture = same(tmp_path / "x.pcap", made.pcap(wrapped))
    assert [(packet.frame, packet.segment.length) for packet in capture.packets] == [(1, 4), (8, 4)]


@pytest.mark.parametrize("name", ["ethernet", "qinq", "cooked-2", "raw"])
def test_any_snap_length(tmp_path, name):
    wrapped, link = frames(name)
    for snaplen in range(1, 130):
        same(tmp_path / "x.pcap", made.pcap(wrapped, link, snaplen=snaplen))


def fragments_of(packet, *cuts):
    """An IPv4 packet in pieces that end at these bytes of its payload, multiples of 8."""
    payload, begins = packet[20:], [0, *cuts]
    ends = [*cuts, len(packet) - 20]
    return [
        made.ipv4(
            packet[12:16], packet[16:20], payload[low:high], frag=low // 8 | 0x2000 * (high < ends[-1])
        )
        for low, high in zip(begins, ends, strict=True)
    ]  # fmt: skip


def test_a_segment_in_fragments_is_one_packet(tmp_path):
    whole = made.ipv4(made.CLIENT4, made.SERVER4, made.tcp(40000, 5432, made.ACK, 1, 1, b"x" * 1000))
    one, two, three = fragments_of(whole, 400, 800)
    file = tmp_path / "x.pcap"
    for order in ([one, two, three], [three, two, one], [one, three]):
        file.write_bytes(made.pcap(order, 101))
        capture = read_capture(file)
        assert [packet.segment.length for packet in capture.packets] == [1000] and not capture.warnings
    file.write_bytes(made.pcap([one, two], 101))
    capture = read_capture(file)
    assert [packet.segment.length for packet in capture.packets] == [380]
    assert capture.warnings == (
        "1 segment was cut into IP fragments whose last one is not in x.pcap: only the length of the first "
        "fragment is known.",
    )
    file.write_bytes(made.pcap([two, three], 101))
    assert len(read_capture(file)) == 0 and not read_capture(file).warnings


def test_a_segment_in_ipv6_fragments(tmp_path):
    payload = made.tcp(40000, 5432, made.ACK, 1, 1, b"x" * 1000)
    pieces = [(0, payload[:400], 1), (400, payload[400:], 0)]
    packets = [
        made.ipv6(made.CLIENT6, made.SERVER6, struct.pack(">BBHI", 6, 0, at | more, 77) + data, following=44)
        for at, data, more in pieces
    ]
    (tmp_path / "x.pcap").write_bytes(made.pcap(packets, 101))
    capture = read_capture(tmp_path / "x.pcap")
    assert [(packet.frame, packet.segment.length) for packet in capture.packets] == [(1, 1000)]


@pytest.mark.parametrize("tunnel", ["ip in ip", "gre", "vxlan"])
def test_what_the_fast_way_does_not_know_scapy_reads(tmp_path, tunnel):
    ends = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])
    inner = made.conversation()[0][1]
    vxlan = struct.pack(">HHHHII", 5555, 4789, 8 + 8 + 14 + len(inner), 0, 8 << 24, 7 << 8)
    outer = {
        "ip in ip": made.ipv4(*ends, inner, proto=4),
        "gre": made.ipv4(*ends, struct.pack(">HH", 0, 0x800) + inner, proto=47),
        "vxlan": made.ipv4(*ends, vxlan + made.ethernet(0x800, inner), proto=17),
    }[tunnel]  # fmt: skip
    (tmp_path / "x.pcap").write_bytes(made.pcap([outer, made.conversation()[2][1]], 101))
    capture = read_capture(tmp_path / "x.pcap")
    first, second = (packet.segment for packet in capture.packets)
    assert (first.source, first.mss, first.window_scale) == (("10.0.0.1", 40000), 1460, 7)
    assert first.sack_permitted and first.timestamps == (1, 0) and second.source == first.source
    assert len(capture.connections) == 1


# --- connections ---


def test_ports_that_are_used_again_and_again(tmp_path):
    packets = []
    for round_ in range(30):
        for port in (40000, 40001):
            isn = 1000 + 7919 * round_
            packets.append(made.ipv4(made.CLIENT4, made.SERVER4, made.tcp(port, 5432, made.SYN, isn, 0)))
            packets.append(
                made.ipv4(made.SERVER4, made.CLIENT4, made.tcp(5432, port, made.RST | made.ACK, 0, isn + 1))
            )
    file = tmp_path / "x.pcap"
    file.write_bytes(made.pcap(packets, 101))
    capture = read_capture(file)
    assert capture.columns["connection"].tolist() == [n // 2 for n in range(120)]
    assert len(capture.connections) == 60
    ours, theirs = columns_and_tshark(file)
    assert ours == theirs


# --- files that break ---


def containers():
    for name in made.WRAPPINGS:
        wrapped, link = frames(name)
        yield made.pcap(wrapped, link, "<>"[len(name) % 2], len(name) % 3 == 0)
        yield made.pcapng(wrapped, link, "><"[len(name) % 2])


SOUND = list(containers())


@pytest.mark.parametrize("content", [SOUND[0], SOUND[1]], ids=["pcap", "pcapng"])
def test_cut_anywhere(tmp_path, content):
    """What stands before the cut is read, nothing else, and one sentence says where it is."""
    file = tmp_path / "x.pcap"
    file.write_bytes(content)
    whole, _ = plain_rows(file)
    for size in [*range(1, 400), *range(400, len(content), 37)]:
        file.write_bytes(content[:size])
        try:
            rows, capture = read_rows(file)
        except CaptureError as error:
            assert "x.pcap" in str(error) and "\n" not in str(error)
            continue
        assert rows == whole[: len(rows)]
        assert len(capture.warnings) <= 1 and all("after packet" in says for says in capture.warnings)


@st.composite
def broken_files(draw):
    content = bytearray(draw(st.sampled_from(SOUND)))
    chance = draw(st.randoms(use_true_random=False))
    for _ in range(chance.choice((0, 1, 1, 2, 4, 16, 64))):
        at = chance.randrange(4, len(content))
        match chance.randrange(5):
            case 0:
                content[at] ^= 1 << chance.randrange(8)
            case 1:
                content[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:  # a length that can't be
                content[at : at + 4] = struct.pack(chance.choice("<>") + "I", chance.choice(
                    (0, 1, 11, 12, 15, 0xFFFF, 262144, 262145, 1 << 24, 0x7FFFFFFF, 0xFFFFFFFF)
                ))  # fmt: skip
            case 3:
                del content[at : at + chance.randrange(1, 40)]
            case 4:
                content[at:at] = content[at : at + chance.randrange(1, 40)]
    if chance.random() < 0.3:
        del content[chance.randrange(4, len(content) + 1) :]
    return bytes(content)


@given(broken_files())
@example(SOUND[1][:28])
@settings(max_examples=BROKEN_FILES, deadline=None)
def test_broken_files(tmp_path_factory, content):
    """One sentence or a capture: exactly the packets that a plain reader finds, none invented."""
    file = tmp_path_factory.getbasetemp() / "broken.pcap"
    file.write_bytes(content)
    try:
        rows, capture = read_rows(file)
    except CaptureError as error:
        assert "broken.pcap" in str(error) and "\n" not in str(error)
        return
    expected, table = plain_rows(file)
    assert rows == expected
    same_tables(capture.table, table)
    assert len(capture) <= capture.table.packets == len(list(Frames(file)))
    told = diagnose(capture)
    assert len(told) == len(capture.connections) and list(diagnosis_lines(told))
    for i in range(len(capture.connections)):
        assert len(capture.connection(i).packets) == len(capture.frames(i))


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 1 << 24, 262_145])
def test_an_absurd_length_takes_no_memory(tmp_path, size):
    wrapped, link = frames("ethernet")
    content = made.pcap(wrapped[:3], link) + struct.pack("<IIII", 0, 0, size, size) + bytes(64)
    (tmp_path / "x.pcap").write_bytes(content)
    tracemalloc.start()
    capture = read_capture(tmp_path / "x.pcap")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(capture) == 3 and peak < 4 << 20
    (warning,) = capture.warnings
    assert warning == f"x.pcap is damaged after packet 3: the next one says that it has {size:,} bytes."


@pytest.mark.parametrize("before", [0, 3])
def test_a_file_filled_up_with_zeros_is_read_no_further(tmp_path, monkeypatch, before):
    monkeypatch.setattr(records, "CHUNK", 70_001)  # a run of empty records goes over several windows
    wrapped, link = frames("ethernet")
    content = made.pcap(wrapped[:before], link) + bytes(16 * 1_000_000)
    (tmp_path / "x.pcap").write_bytes(content)
    capture = read_capture(tmp_path / "x.pcap")
    assert len(capture) == before and capture.table.packets == before + 9_999
    (warning,) = capture.warnings
    assert warning.startswith(
        f"x.pcap is damaged after packet {before + 9_999}: 10,000 records in a row are empty"
    )
    _, table = plain_rows(tmp_path / "x.pcap")
    same_tables(capture.table, table)


def test_a_few_empty_records_are_only_counted(tmp_path):
    wrapped, link = frames("ethernet")
    content = made.pcap(wrapped[:3], link)
    (tmp_path / "x.pcap").write_bytes(content + bytes(16 * 9_999) + content[24:])
    capture = read_capture(tmp_path / "x.pcap")
    assert len(capture) == 6 and capture.table.packets == 10_005


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (made.block(6, struct.pack("<5I4s", 9, 0, 0, 4, 4, b"abcd")), "an interface that is not described"),
        (made.block(6, struct.pack("<5I4s", 0, 0, 0, 400, 4, b"abcd")), "says that it has 400 bytes"),
        (struct.pack("<III", 11, 8, 8), "a block of 8 bytes"),
        (struct.pack("<IIII", 11, 16, 0, 20), "a block of 16 bytes"),
        (b"\x0a\x0d\x0d\x0a" + bytes(28), "a section begins without a valid byte-order magic"),
    ],
)
def test_where_a_pcapng_file_breaks(tmp_path, part, says):
    wrapped, link = frames("ethernet")
    content = made.pcapng(wrapped[:3], link)
    (tmp_path / "x.pcapng").write_bytes(content + part + content)
    capture = read_capture(tmp_path / "x.pcapng")
    (warning,) = capture.warnings
    assert warning.startswith("x.pcapng is damaged after packet 3: ") and says in warning
    assert len(capture) == 3
