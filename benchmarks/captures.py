"""Captures for ingest.py and browser.py: conversations with a database in whole frames, most made with NumPy.

Each connection opens with a handshake and then goes through requests of 20 to 300 bytes, answers of
one full segment and one shorter one, and acknowledgements, interleaved with all others. On average a
record has about 660 bytes. The same seed makes the same file.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

PACKETS_PER_CONNECTION = 250
PIECE = 1_000_000
ETHERNET_IP_TCP = 54
FIN, SYN, RST, ACK, PSH = 1, 2, 4, 16, 8
TIMES, SYN_OPTIONS = 12, 20
START_US = 1_767_225_600_000_000

Array = np.ndarray[Any, np.dtype[Any]]
HEADER = np.dtype([
    ("macs", "V12"), ("type", ">u2"), ("vihl", "u1"), ("tos", "u1"), ("total", ">u2"), ("ident", ">u2"),
    ("frag", ">u2"), ("ttl", "u1"), ("proto", "u1"), ("sum", ">u2"), ("src", ">u4"), ("dst", ">u4"),
    ("sport", ">u2"), ("dport", ">u2"), ("seq", ">u4"), ("ack", ">u4"), ("offset", "u1"), ("flags", "u1"),
    ("window", ">u2"), ("check", ">u2"), ("urgent", ">u2"),
])  # fmt: skip


def write(path: Path, packets: int, *, pcapng: bool = False) -> None:
    """Write a capture of so many packets, pcap with microseconds or pcapng."""
    with path.open("wb") as file:
        if pcapng:
            section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
            interface = struct.pack("<HHI", 1, 0, 262144)
            for kind, body in ((0x0A0D0D0A, section), (1, interface)):
                size = struct.pack("<I", len(body) + 12)
                file.write(struct.pack("<I", kind) + size + body + size)
        else:
            file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for piece, begin in enumerate(range(0, packets, PIECE)):
            _piece(min(PIECE, packets - begin), piece, pcapng).tofile(file)


def write_closed(path: Path, connections: int) -> None:
    """Write healthy connections of 18 packets, frames cut after their headers: opened, used, and closed."""
    syn = bytes.fromhex("020405b40402080a000000010000000001030307")
    steps = [(0, SYN, 0), (1, SYN | ACK, 0), (0, ACK, 0)]
    steps += [(0, PSH | ACK, 90), (1, ACK, 1448), (1, PSH | ACK, 700), (0, ACK, 0)] * 3
    steps += [(0, FIN | ACK, 0), (1, FIN | ACK, 0), (0, ACK, 0)]
    records = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)]
    for number in range(connections):
        ends = [(bytes([10, 0, number >> 8 & 255, number & 255]), 40000), (bytes([10, 1, 0, 1]), 5432)]
        sent = [7919 * number, 104729 * number]
        for step, (side, flags, length) in enumerate(steps):
            t = START_US + 10_000 * number + 300 * step
            (source, sport), (target, dport) = ends[side], ends[1 - side]
            options = syn if flags & SYN else b""
            ack = sent[1 - side] & 0xFFFFFFFF if flags & ACK else 0
            ports = struct.pack(">HHII", sport, dport, sent[side] & 0xFFFFFFFF, ack)
            tcp = ports + struct.pack(">BBHI", (20 + len(options)) // 4 << 4, flags, 502, 0) + options
            ident = (18 * number + step) & 0xFFFF
            ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp) + length, ident, 0x4000, 64, 6, 0)
            frame = bytes(12) + b"\x08\0" + ip + source + target + tcp
            wire = len(frame) + length
            records.append(struct.pack("<IIII", t // 10**6, t % 10**6, len(frame), wire) + frame)
            sent[side] += length + bool(flags & (SYN | FIN))
    path.write_bytes(b"".join(records))


#: How a connection of `write_mixed` goes wrong, one after the other.
WRONG = (
    "reset by the server", "dead peer", "zero window", "keepalive", "unanswered SYN", "refused",
    "retransmission", "closed by the server",
)  # fmt: skip


def write_mixed(path: Path, packets: int, connections: int, share: float = 0.1) -> None:
    """Write interleaved connections to PostgreSQL, of which this share goes wrong (`WRONG`), whole frames.

    Half of the healthy ones are closed by the client, the others still open. Without chance: the same numbers
    make the same file, of `packets` packets or a few less.
    """
    per, bad = packets // connections, round(connections * share)
    frames: list[tuple[int, bytes]] = []
    for number in range(connections):
        wrong = WRONG[number * bad // connections % len(WRONG)] if number * bad % connections < bad else ""
        frames += _conversation(number, per, wrong)
    frames.sort(key=lambda each: each[0])
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for t, frame in frames:
            file.write(struct.pack("<IIII", t // 10**6, t % 10**6, len(frame), len(frame)) + frame)


def _conversation(number: int, packets: int, wrong: str) -> list[tuple[int, bytes]]:
    """One connection of about so many packets: time in microseconds and frame of each."""
    frames, sent = list[tuple[int, bytes]](), [7919 * number, 104729 * number]
    t = START_US + 10_000 * number
    address = bytes([10, 0, number >> 8 & 255, number & 255])
    ends = (address, 40000 + number), (bytes([10, 1, 0, 1]), 5432)

    def send(
        side: int, flags: int, length: int = 0, *, after: int = 300, back: int = 0, window: int = 502
    ) -> None:
        nonlocal t
        t += after
        stamps = struct.pack(">II", t // 1000 & 0xFFFFFFFF, (t - after) // 1000 & 0xFFFFFFFF)
        options = (
            b"\2\4\5\xb4\4\2\x08\x0a" + stamps + b"\1\3\3\7" if flags & SYN else b"\1\1\x08\x0a" + stamps
        )
        (source, sport), (target, dport) = ends[side], ends[1 - side]
        ack = sent[1 - side] & 0xFFFFFFFF if flags & ACK else 0
        tcp = struct.pack(">HHIIBBHI", sport, dport, (sent[side] - back) & 0xFFFFFFFF, ack,
                          (20 + len(options)) // 4 << 4, flags, window, 0) + options  # fmt: skip
        ident = (number * packets + len(frames)) & 0xFFFF
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp) + length, ident, 0x4000, 64, 6, 0)
        frames.append((t, bytes(12) + b"\x08\0" + ip + source + target + tcp + b"q" * length))
        sent[side] += 0 if back else length + bool(flags & (SYN | FIN))

    send(0, SYN)
    if wrong == "unanswered SYN":
        for after in (1_000_000, 2_000_000, 4_000_000):
            send(0, SYN, after=after, back=1)
        return frames
    if wrong == "refused":
        send(1, RST | ACK)
        return frames
    send(1, SYN | ACK)
    send(0, ACK)
    while len(frames) < packets - 8:
        send(0, PSH | ACK, 90, after=700_000)
        send(1, ACK, 1448)
        send(1, PSH | ACK, 700)
        send(0, ACK)
    if wrong == "dead peer":
        send(0, PSH | ACK, 90)
        for after in (200_000, 400_000, 800_000, 1_600_000, 3_200_000):
            send(0, PSH | ACK, 90, after=after, back=90)
    elif wrong == "retransmission":
        send(0, PSH | ACK, 90)
        send(0, PSH | ACK, 90, after=210_000, back=90)
        send(1, PSH | ACK, 700)
        send(0, ACK)
    elif wrong == "zero window":
        send(0, ACK, window=0)
        send(0, ACK, after=2_000_000)
    elif wrong == "keepalive":
        for _ in range(3):
            send(0, ACK, after=5_000_000, back=1)
            send(1, ACK)
    elif wrong == "reset by the server":
        send(1, RST | ACK)
    elif wrong == "closed by the server" or number % 2:
        first = int(wrong != "")
        send(first, FIN | ACK)
        send(1 - first, FIN | ACK)
        send(first, ACK)
    return frames


def _piece(count: int, seed: int, pcapng: bool) -> Array:
    chance = np.random.default_rng(seed)
    connections = max(1, count // PACKETS_PER_CONNECTION)
    connection = chance.integers(0, connections, count)
    order = np.argsort(connection, kind="stable")
    begins = np.concatenate([[0], np.cumsum(np.bincount(connection, minlength=connections))])
    step = np.empty(count, np.int64)
    step[order] = np.arange(count) - begins[connection[order]]
    phase = np.where(step < 3, step, 3 + (step - 3) % 4)  # SYN, SYN-ACK, ACK, then request, two answers, ACK
    request, rest = chance.integers(20, 300, count), chance.integers(1, 1448, count)
    payload = np.select([phase == 3, phase == 4, phase == 5], [request, 1448, rest])
    back = (phase == 1) | (phase == 4) | (phase == 5)
    header = _headers(connection + seed * connections, order, begins, payload, phase, back)
    options = np.where(phase < 2, SYN_OPTIONS, TIMES)
    header["total"] = 40 + options + payload
    header["offset"] = (20 + options) // 4 << 4
    t = START_US + seed * 200_000_000 + np.cumsum(chance.integers(1, 300, count))
    return _records(header, options, payload, t, pcapng, chance)


def _headers(
    connection: Array, order: Array, begins: Array, payload: Array, phase: Array, back: Array
) -> Array:
    header = np.zeros(len(connection), HEADER)
    header["type"], header["vihl"], header["frag"] = 0x800, 0x45, 0x4000
    header["ttl"], header["proto"] = 64, 6
    client, server = 0x0A000001 + connection % 200, 0x0A010001 + connection % 4
    port = 20000 + connection // 200 % 40000
    header["src"], header["dst"] = np.where(back, server, client), np.where(back, client, server)
    header["sport"], header["dport"] = np.where(back, 5432, port), np.where(back, port, 5432)
    length = payload + (phase < 2)  # a SYN counts one
    sent = {}
    for side in (False, True):
        total = np.cumsum(np.where(back[order] == side, length[order], 0))
        before = np.concatenate([[0], total])[begins[:-1]]
        sent[side] = np.empty_like(total)
        sent[side][order] = total - np.repeat(before, np.diff(begins))
    mine, theirs = np.where(back, sent[True], sent[False]), np.where(back, sent[False], sent[True])
    header["seq"] = (mine - length + 7919 * connection) & 0xFFFFFFFF
    header["ack"] = np.where(phase == 0, 0, (theirs + 7919 * connection) & 0xFFFFFFFF)
    header["flags"] = np.select([phase == 0, phase == 1, payload > 0], [SYN, SYN | ACK, PSH | ACK], ACK)
    header["window"] = np.where(phase < 2, 64240, 502)
    return header


def _records(header: Array, options: Array, payload: Array, t: Array, pcapng: bool, chance: Any) -> Array:
    frame = ETHERNET_IP_TCP + options + payload
    if pcapng:
        words = ("type", "size", "face", "high", "low", "cap", "wire")
        lead = np.zeros(len(t), [(name, "<u4") for name in words])
        room = frame + (-frame % 4) + 32
        lead["type"], lead["size"], lead["high"], lead["low"] = 6, room, t >> 32, t & 0xFFFFFFFF
    else:
        lead = np.zeros(len(t), [(name, "<u4") for name in ("second", "micro", "cap", "wire")])
        room = frame + 16
        lead["second"], lead["micro"] = t // 1_000_000, t % 1_000_000
    lead["cap"] = lead["wire"] = frame
    begins = np.concatenate([[0], np.cumsum(room)])
    tile = np.frombuffer(chance.bytes(1 << 20), np.uint8)
    out = np.resize(tile, int(begins[-1]))
    at = begins[:-1] + lead.dtype.itemsize
    _put(out, begins[:-1], lead)
    _put(out, at, header)
    at = at + ETHERNET_IP_TCP
    times = np.zeros(len(t), [("kind", ">u4"), ("value", ">u4"), ("echo", ">u4")])
    clock = t // 1000 & 0xFFFFFFFF
    times["kind"], times["value"], times["echo"] = 0x0101080A, clock, clock - 1 & 0xFFFFFFFF
    usual = options == TIMES
    _put(out, at[usual], times[usual])
    opening = np.zeros(int((~usual).sum()), [("mss", ">u4"), ("sack", ">u4"), ("t", ">u8"), ("scale", ">u4")])
    opening["mss"], opening["sack"], opening["scale"] = 0x020405B4, 0x0402080A, 0x01030307
    opening["t"] = clock[~usual] << 32
    _put(out, at[~usual], opening)
    if pcapng:
        _put(out, begins[1:] - 4, room.astype([("size", "<u4")]))
    return out


def _put(out: Array, at: Array, values: Array) -> None:
    size = values.dtype.itemsize
    places = np.ndarray((len(out) - size + 1,), f"V{size}", out, strides=(1,))
    places[at] = values.view(f"V{size}")
