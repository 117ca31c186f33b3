"""Transcripts: a connection as text, one line a segment, for tests that need segments without a model.

``seconds side flags seq ack [length] [key=value…] [lost] [-> kind]``. Sides are `c` and `s`; `w=` is
the window (default 65535), `late=` the seconds it travels (default 0.001), `lost` says that it never
arrives, `is=` sets a kind. Sequence numbers count from 0 on either side.
"""

from dataclasses import replace

from tcplab.core.segment import ACK, FLAG_LETTERS, SYN, Endpoint, Segment, seq_add
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Packet, Trace

CLIENT, SERVER = Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 5432)
BITS = {letter: bit for bit, letter in FLAG_LETTERS}

HANDSHAKE = """
    0       c S   0 0
    0.001   s SA  0 1
    0.002   c A   1 1
"""
EXCHANGE = (
    HANDSHAKE
    + """
    0.002   c PA  1 1 40
    0.003   s PA  1 41 200
    0.004   c A   41 201
"""
)


def read(story):
    """The packets of a transcript, and the kinds that it expects."""
    packets, expected = [], []
    for line in filter(None, map(str.strip, story.splitlines())):
        told, _, kind = line.partition("->")
        second, side, flags, seq, ack, *more = told.split()
        options = dict(word.split("=") for word in more if "=" in word)
        length = next((int(word) for word in more if word.isdigit()), 0)
        mine, theirs = (CLIENT, SERVER) if side == "c" else (SERVER, CLIENT)
        names = ("client", "server") if side == "c" else ("server", "client")
        bits = sum(BITS[letter] for letter in flags)
        segment = Segment(mine, theirs, int(seq), int(ack), bits, int(options.get("w", 65535)), length)
        t = round(float(second) * SECOND)
        lost = "lost" in more
        arrives = None if lost else t + round(float(options.get("late", 0.001)) * SECOND)
        packets.append(
            Packet(t, *names, segment, arrives, "lost" if lost else "delivered", kind=options.get("is", ""))
        )
        expected.append(kind.strip())
    return packets, expected


def trace(story, *, port=5432, offset=(0, 0), scale=7, timestamps=False):
    """A trace with the story's packets: SYNs with options, numbers moved by `offset`."""
    packets, _ = read(story)
    for packet in packets:
        packet.segment = _dressed(packet, port, offset, scale, timestamps)
    hosts = {"client": CLIENT.address, "server": SERVER.address}
    return Trace("story", "model", hosts=hosts, packets=packets, end=packets[-1].t)


def _dressed(packet, port, offset, scale, timestamps):
    segment = packet.segment
    mine, theirs = offset if packet.sender == "client" else offset[::-1]
    syn = bool(segment.flags & SYN)
    server = SERVER._replace(port=port)
    return replace(
        segment,
        source=server if segment.source == SERVER else segment.source,
        destination=server if segment.destination == SERVER else segment.destination,
        seq=seq_add(segment.seq, mine),
        ack=seq_add(segment.ack, theirs) if segment.flags & ACK else 0,
        mss=1460 if syn else None,
        window_scale=scale if syn else None,
        sack_permitted=syn,
        timestamps=(packet.t // MILLISECOND, 1) if timestamps else None,
    )
