"""Captures made of conversations of a client and a server, with payloads, for tests of what they say."""

import struct
from dataclasses import dataclass, field

from tcplab.core.segment import ACK, FIN, PSH, RST, SYN

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
ETHERNET = b"\2" * 12 + b"\x08\x00"
BEGAN = 1_795_428_000_000_000_000


@dataclass
class Talk:
    """One connection, packet by packet: times in seconds, payloads as bytes."""

    port: int = 40_000
    to: int = 5432
    client: str = CLIENT
    server: str = SERVER
    isn: tuple[int, int] = (1000, 9000)
    #: Packets carry time stamps that count with the bytes sent, as a box that rewrites numbers leaves them.
    stamped: bool = False
    packets: list = field(default_factory=list)

    def __post_init__(self):
        self.next = {"client": self.isn[0], "server": self.isn[1]}

    def say(self, t, side, flags=ACK, data=b""):
        """A packet of this side, which acknowledges all that the other has sent."""
        other = "server" if side == "client" else "client"
        ack = self.next[other] if flags & ACK else 0
        self.packets.append((t, side, self.next[side], ack, flags, data))
        self.next[side] += len(data) + bool(flags & SYN) + bool(flags & FIN)
        return self

    def again(self, t, place=-1):
        """The packet at this place once more."""
        self.packets.append((t, *self.packets[place][1:]))
        return self

    def open(self, t):
        """The handshake."""
        return self.say(t, "client", SYN).say(t, "server", SYN | ACK).say(t, "client", ACK)

    def ask(self, t, question=b"Q", answer=b"A", after=0.001):
        """A question and its answer."""
        self.say(t, "client", PSH | ACK, question)
        return self.say(t + after, "server", PSH | ACK, answer).say(t + after, "client", ACK)

    def close(self, t, side="server", after=0.001):
        """Both close, this side first."""
        other = "server" if side == "client" else "client"
        self.say(t, side, FIN | ACK).say(t + after, other, FIN | ACK)
        return self.say(t + after, side, ACK)

    def reset(self, t, side="server"):
        """A RST of this side."""
        return self.say(t, side, RST | ACK)

    def frames(self):
        """Time, and bytes of each packet."""
        ends = {"client": (self.client, self.port), "server": (self.server, self.to)}
        for n, (t, side, seq, ack, flags, data) in enumerate(self.packets):
            source, target = ends[side], ends["server" if side == "client" else "client"]
            mine, other = self.isn if side == "client" else self.isn[::-1]
            times = (50_000 + seq - mine, 50_000 + ack - other if flags & ACK else 0)
            options = b"\1\1\x08\x0a" + struct.pack(">II", *times) if self.stamped else b""
            header = struct.pack(
                ">HHIIBBHHH", source[1], target[1], seq & 0xFFFFFFFF, ack & 0xFFFFFFFF,
                (20 + len(options)) // 4 << 4, flags, 64_000, 0, 0,
            ) + options  # fmt: skip
            addresses = [bytes(map(int, end[0].split("."))) for end in (source, target)]
            total = 20 + len(header) + len(data)
            ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, total, n + 1, 0, 64, 6, 0, *addresses)
            yield t, ETHERNET + ip + header + data


def capture(path, *talks, until=0.0, shift=0.0):
    """Write these conversations to a file; `until`: a last packet that is not TCP, `shift`: of the clock."""
    frames = sorted((frame for talk in talks for frame in talk.frames()), key=lambda frame: frame[0])
    frames += [(until, b"\2" * 12 + b"\x08\x06" + bytes(28))] if until else []
    content = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, 1)
    for t, frame in frames:
        moment = BEGAN + round((t + shift) * 1e9)
        content += struct.pack("<IIII", *divmod(moment, 10**9), len(frame), len(frame)) + frame
    path.write_bytes(content)
    return path
