"""One TCP segment as seen on the wire, its flags, and arithmetic on 32-bit sequence numbers.

Nothing here knows who sends or receives: the model, the Linux bench and a capture all speak
in these terms. Source: RFC 9293 section 3.1 (header), section 3.4 (sequence numbers).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

FIN, SYN, RST, PSH, ACK, URG = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20

#: Letters in the order of the command line's contract, `SFRPAU`.
FLAG_LETTERS = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (ACK, "A"), (URG, "U"))
_LETTERS = tuple("".join(letter for bit, letter in FLAG_LETTERS if flags & bit) for flags in range(0x40))

_HALF = 1 << 31


def seq_add(seq: int, n: int) -> int:
    """`seq + n` in sequence space; `n` may be negative."""
    return (seq + n) & 0xFFFFFFFF


def seq_diff(a: int, b: int) -> int:
    """How far `a` is ahead of `b` in bytes, -2**31 .. 2**31-1 (RFC 9293 section 3.4)."""
    return ((a - b + _HALF) & 0xFFFFFFFF) - _HALF


def before(a: int, b: int) -> bool:
    """True when `a` comes before `b`, across the wrap."""
    return ((a - b) & 0xFFFFFFFF) >= _HALF


def after(a: int, b: int) -> bool:
    """True when `a` comes after `b`, across the wrap."""
    return ((b - a) & 0xFFFFFFFF) >= _HALF


class Endpoint(NamedTuple):
    """An address and a port, as in one half of a four-tuple."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Segment:
    """One TCP segment. Sequence numbers are absolute (0 .. 2**32-1)."""

    source: Endpoint
    destination: Endpoint
    seq: int
    #: Acknowledgement number; 0 where the ACK flag is not set.
    ack: int
    flags: int
    #: Advertised window in bytes, window scale already applied.
    window: int
    #: Payload in bytes. The bytes themselves don't matter to any behaviour taught here.
    length: int = 0
    #: Options of a SYN (RFC 9293 section 3.7.1, RFC 7323 section 2, RFC 2018 section 2).
    mss: int | None = None
    window_scale: int | None = None
    sack_permitted: bool = False
    #: Blocks received out of order, (left edge, right edge) each (RFC 2018 section 3).
    sack: tuple[tuple[int, int], ...] = ()
    #: TSval and TSecr in milliseconds (RFC 7323 section 3), or None without the option.
    timestamps: tuple[int, int] | None = None

    @property
    def end_seq(self) -> int:
        """The sequence number after this segment: SYN and FIN count one each."""
        extra = (self.flags & FIN) + ((self.flags & SYN) >> 1)
        return (self.seq + self.length + extra) & 0xFFFFFFFF

    @property
    def letters(self) -> str:
        """Flags as letters of `SFRPAU`: ``SA`` of SYN and ACK; bits beyond URG are left out."""
        return _LETTERS[self.flags & 0x3F]

    def __str__(self) -> str:
        numbers = f"seq {self.seq} ack {self.ack} len {self.length}"
        return f"{self.source} > {self.destination} {self.letters} {numbers}"


def reset_for(segment: Segment) -> Segment:
    """The RST that answers a segment without a socket; also what a firewall's REJECT sends.

    With ACK: a bare RST at the number it acknowledged. Without (a SYN): RST, ACK from 0
    (RFC 9293 section 3.10.7.1; net/ipv4/netfilter/nf_reject_ipv4.c:nf_reject_ip_tcphdr_put).
    """
    if segment.flags & ACK:
        return Segment(segment.destination, segment.source, segment.ack, 0, RST, 0)
    return Segment(segment.destination, segment.source, 0, segment.end_seq, RST | ACK, 0)
