"""The screening of connections against a walk of every segment, on captures that are made for it."""

import random
import struct
from pathlib import Path

import pytest

import plain_captures as made
from tcplab.capture import findings
from tcplab.capture.capture import Capture, read_capture
from tcplab.capture.findings import columns, diagnose, looks, screen
from tcplab.capture.findings.story import ENDS, PASS, WALK
from tcplab.capture.plain import read_plain
from tcplab.core.segment import ACK, FIN, PSH, RST, SYN

STORED = [
    *sorted(Path(__file__).parents[2].glob("data/captures/*.pcap")),
    *sorted(Path(__file__).parent.glob("cases/*.pcap")),
]
#: What can go wrong with a packet of a conversation, and how it changes the packets from that one on.
SPOILS = (
    "missing", "repeated", "twice", "late", "pause", "no window", "other flags", "other number", "other ack",
    "the rest is missing",
)  # fmt: skip


def conversation(chance, port):
    """Packets of a healthy connection: microseconds, by the client, flags, seq, ack, length, window."""
    packets, t = [], chance.randrange(3_000_000)
    seq = [chance.choice([99, 0xFFFFFFF0, chance.randrange(1 << 32)]) for _ in "cs"]

    def sends(who, flags, length=0):
        nonlocal t
        t += chance.choice([5, 300, 300, 1_200_000])
        ack = seq[1 - who] & 0xFFFFFFFF if flags & ACK else 0
        packets.append((t, who, flags, seq[who] & 0xFFFFFFFF, ack, length, 502))
        seq[who] += length + bool(flags & (SYN | FIN))

    sends(0, SYN)
    sends(1, SYN | ACK)
    sends(0, ACK)
    for _ in range(chance.randrange(4)):
        sends(0, PSH | ACK, chance.randrange(1, 60))
        for _ in range(chance.randrange(1, 3)):
            sends(1, PSH | ACK, chance.randrange(1, 1448))
        if chance.random() < 0.8:
            sends(0, ACK)
    first = chance.randrange(2)
    closing = chance.choice([0, 1, 2, 2, 2, 2, 3])
    if closing:
        sends(first, FIN | ACK)
    if closing > 1:
        if chance.random() < 0.4:
            sends(1 - first, ACK)
        if chance.random() < 0.3:
            sends(1 - first, PSH | ACK, 20)
        sends(1 - first, FIN | ACK)
        sends(first, ACK)
    if closing == 3:
        sends(first, RST)
    return packets


def spoiled(chance, packets):
    """The same with one or two things gone wrong."""
    packets = [*packets]
    for _ in range(chance.randrange(3)):
        if not packets:
            break
        i, how = chance.randrange(len(packets)), chance.choice(SPOILS)
        t, who, flags, seq, ack, length, window = packets[i]
        if how == "missing":
            del packets[i]
        elif how == "repeated":
            packets.append((t + chance.choice([200_000, 4_000_000]), who, flags, seq, ack, length, window))
        elif how == "twice":
            packets.append((t + chance.choice([0, 20, 900, 1001]), *packets[i][1:]))
        elif how == "late":
            packets[i] = (t + chance.choice([400, 2000, 7000, 1_500_000]), *packets[i][1:])
        elif how == "pause":
            packets[i:] = [(each + 5_000_000, *rest) for each, *rest in packets[i:]]
        elif how == "no window":
            packets[i] = (t, who, flags, seq, ack, length, 0)
        elif how == "other flags":
            packets[i] = (t, who, flags ^ chance.choice([FIN, SYN, RST, ACK]), seq, ack, length, window)
        elif how == "other number":
            by = chance.choice([-1, 1, 1000])
            packets[i] = (t, who, flags, (seq + by) & 0xFFFFFFFF, ack, length, window)
        elif how == "other ack":
            by = chance.choice([-1, 1, 1000])
            packets[i] = (t, who, flags, seq, (ack + by) & 0xFFFFFFFF, length, window)
        else:
            del packets[i:]
    return packets


def written(path, chance, share):
    """A capture of a few connections, of which this share is spoiled."""
    conversations = []
    for number in range(chance.randrange(1, 9)):
        port = 0 if chance.random() < 0.1 else number
        packets = conversation(chance, port)
        conversations.append((port, spoiled(chance, packets) if chance.random() < share else packets))
    write(path, conversations)


def write(path, conversations):
    """A capture of connections, each with the number of its port and its packets."""
    frames = []
    for number, packets in conversations:
        port = 40000 + number
        for t, who, flags, seq, ack, length, window in packets:
            ends = (port, 5432), (5432, port)
            addresses = (made.CLIENT4, made.SERVER4), (made.SERVER4, made.CLIENT4)
            segment = made.tcp(*ends[who], flags, seq, ack, b"q" * length, window=window)
            ident = (t * 7919 + seq + flags) & 0xFFFF
            packet = made.ipv4(*addresses[who], segment, ident=ident)
            frames.append((t, made.ethernet(0x0800, packet)))
    frames.sort(key=lambda each: each[0])
    records = [
        struct.pack("<IIII", 1_767_225_600 + t // 10**6, t % 10**6, len(frame), len(frame)) + frame
        for t, frame in frames
    ]
    path.write_bytes(made.pcap([]) + b"".join(records))


def captures(folder, count, share, start=0):
    """So many of them, read by both readers."""
    for seed in range(start, start + count):
        written(folder / "made.pcap", random.Random(seed), share)
        fast = read_capture(folder / "made.pcap")
        yield fast, Capture(fast.name, read_plain(folder / "made.pcap"), fast.sidecar, fast.warnings)


def walks(monkeypatch):
    """Every connection is walked."""
    monkeypatch.setattr(findings, "looks", lambda table: ((WALK, None) for _ in range(table.connections)))


def depths(capture):
    """How much is looked at of each connection."""
    return [depth for depth, _ in looks(capture.table)]


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_the_screening_says_what_a_walk_of_all_segments_says(share, tmp_path, monkeypatch):
    for fast, plain in captures(tmp_path, 60, share):
        quick = diagnose(fast)
        assert diagnose(plain) == quick
        with monkeypatch.context() as patched:
            walks(patched)
            assert diagnose(fast) == quick


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_both_readers_pass_over_the_same_connections(share, tmp_path):
    for fast, plain in captures(tmp_path, 100, share, start=1000):
        assert depths(fast) == depths(plain)
        byes = [bye for _, bye in looks(fast.table)]
        assert byes == [bye for _, bye in looks(plain.table)]


def test_a_code_whose_need_is_not_met_would_find_nothing(tmp_path, monkeypatch):
    met = set()
    made = [fast for fast, _ in captures(tmp_path, 40, 0.8)]
    for capture in (*made, *map(read_capture, STORED)):
        quick = diagnose(capture)
        met |= {code for code, count in quick.summary.items() if count}
        with monkeypatch.context() as patched:
            patched.setattr(findings, "NEEDS", {})
            assert diagnose(capture) == quick
    needs = findings.NEEDS
    assert {needs[code] for code in met & needs.keys()} == {*needs.values()}


def test_most_healthy_connections_need_no_walk(tmp_path):
    known = [depth for fast, _ in captures(tmp_path, 40, 0) for depth in depths(fast)]
    assert {PASS, ENDS} <= {*known} and known.count(WALK) < 0.5 * len(known)


def test_every_criterion_is_true_of_some_captures_and_not_of_all(tmp_path):
    every = [columns.summaries(fast.table) for fast, _ in captures(tmp_path, 100, 1) if len(fast)]
    for criterion in screen.CRITERIA:
        assert 0 < sum(criterion(summary).any() for summary in every) < len(every), criterion.__name__


def test_the_plain_reader_makes_no_segment_of_a_healthy_connection(tmp_path, monkeypatch):
    packets = [
        (t, who, flags, seq, ack, length, 502) for t, who, flags, seq, ack, length in (
            (0, 0, SYN, 99, 0, 0), (9, 1, SYN | ACK, 499, 100, 0), (20, 0, ACK, 100, 500, 0),
            (30, 0, PSH | ACK, 100, 500, 40), (40, 1, PSH | ACK, 500, 140, 900), (50, 0, ACK, 140, 1400, 0),
        )
    ]  # fmt: skip
    close = [(60, 0, FIN | ACK, 140, 1400, 0, 502), (70, 1, FIN | ACK, 1400, 141, 0, 502)]
    closed = [*packets, *close, (80, 0, ACK, 141, 1401, 0, 502)]
    again = [*packets, (400_000, 0, PSH | ACK, 100, 500, 40, 502)]
    walked, segments = [], []
    monkeypatch.setattr(findings, "_story", counted(findings._story, walked))
    for number, (conversations, expected) in enumerate((([packets, closed], []), ([packets, again], [1]))):
        path = tmp_path / f"{number}.pcap"
        write(path, enumerate(conversations))
        capture = Capture(path.name, read_plain(path))
        with monkeypatch.context() as patched:
            patched.setattr(type(capture.table), "segments", counted(type(capture.table).segments, segments))
            diagnosis = diagnose(capture)
        assert [arguments[1] for arguments in walked] == expected
        assert bool(segments) == bool(expected)
        assert [bool(each.findings) for each in diagnosis.connections] == [False, True]


def counted(function, calls):
    """The same function, and the arguments of each call in a list."""

    def call(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return call
