"""One connection as seen from a box between: segments by a word, moments in seconds."""

from dataclasses import replace

from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, Endpoint, Segment
from tcplab.core.text import SECOND

CLIENT, SERVER = Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 5432)
#: Sequence numbers around the wrap, so that arithmetic shows.
CLIENT_AT, SERVER_AT = 2**32 - 20, 7000

FLAGS = {"syn": SYN, "synack": SYN | ACK, "ack": ACK, "data": ACK | PSH, "fin": ACK | FIN, "rst": RST}


def segment(who, what, **more):
    """`client data` and the like; each side is at its number and acknowledges the other's."""
    here, there = (CLIENT, SERVER) if who == "client" else (SERVER, CLIENT)
    seq, ack = (CLIENT_AT, SERVER_AT) if who == "client" else (SERVER_AT, CLIENT_AT)
    flags = FLAGS[what]
    made = Segment(here, there, seq, ack if flags & ACK else 0, flags, 65535, 40 if what == "data" else 0)
    return replace(made, **more)


def ask(box, second, words):
    """What a box does with `client data` at a second; whatever is due before is fired first."""
    now = round(second * SECOND)
    due = box.next_timer()
    if due is not None and due <= now:
        box.timer(due)
    return box.pass_on(now, segment(*words.split()))


def handshake(box, second=0.0):
    """SYN, SYN-ACK, ACK; all of them pass."""
    for words in ("client syn", "server synack", "client ack"):
        assert ask(box, second, words).passes
