"""ICMP errors that quote a TCP segment: what somebody on the way said of a connection.

They are no packets of a connection and count as none; findings use them as evidence. Sources: RFC 792,
RFC 1812 section 5.2.7.1, RFC 4443 section 3; an error quotes the IP header and at least 8 bytes behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from struct import unpack_from

import numpy as np

from tcplab.capture.chains import Array, fields
from tcplab.capture.records import Batch
from tcplab.segment import Endpoint

ICMP, ICMP_V6, TCP = 1, 58, 6
HOST, NETWORK, PORT = "host unreachable", "network unreachable", "port unreachable"
PROHIBITED, TOO_BIG, LATE = "administratively prohibited", "fragmentation needed", "time to live exceeded"
#: By type and code.
V4 = {
    (3, 0): NETWORK, (3, 1): HOST, (3, 3): PORT, (3, 4): TOO_BIG, (3, 9): PROHIBITED, (3, 10): PROHIBITED,
    (3, 13): PROHIBITED, (11, 0): LATE,
}  # fmt: skip
V6 = {(1, 0): NETWORK, (1, 1): PROHIBITED, (1, 3): HOST, (1, 4): PORT, (2, 0): TOO_BIG, (3, 0): LATE}
#: IP version -> what codes mean; bytes of the quoted IP header; where it says TCP, and its addresses.
VERSIONS = {4: (V4, 20, 9, 12, 4), 6: (V6, 40, 6, 8, 16)}
ICMP_HEADER, QUOTED = 8, 8
#: More errors than this are not kept.
MOST = 65_536


@dataclass(frozen=True, slots=True)
class Quote:
    """One ICMP error about one segment."""

    #: Its number in the file, from 1, and when it passed: nanoseconds since the capture's first packet.
    frame: int
    t: int
    #: One of this module's words.
    says: str
    #: The largest packet that fits, in bytes: of `fragmentation needed`; 0 when it is not told.
    mtu: int
    #: Who says it: a router, a firewall, or the host itself.
    sender: str
    #: Of the segment that is quoted.
    source: Endpoint
    destination: Endpoint
    seq: int


class Quotes:
    """The errors of a file, collected from its batches."""

    def __init__(self) -> None:
        #: In the file's order; their times count from 1970.
        self.found: list[Quote] = []

    def take(self, batch: Batch, version: int, row: Array, ip: Array, at: Array, end: Array) -> None:
        """The ICMP messages of these rows: their IP headers begin at `ip`, they themselves at `at`."""
        codes, header, says_tcp, _, _ = VERSIONS[version]
        whole = at + ICMP_HEADER + header + QUOTED <= end[row]
        row, ip, at = row[whole], ip[whole], at[whole]
        byte = fields(batch.memory, "u1")
        errors = np.isin(byte[at], [kind for kind, _ in codes]) & (byte[at + ICMP_HEADER + says_tcp] == TCP)
        for i in np.flatnonzero(errors).tolist()[: MOST - len(self.found)]:
            message = bytes(batch.memory[int(at[i]) : int(end[row[i]])])
            outer = bytes(batch.memory[int(ip[i]) : int(ip[i]) + header])
            frame, t = int(batch.frame[row[i]]), int(batch.t[row[i]])
            if (quote := _quote(version, outer, message, frame, t)) is not None:
                self.found.append(quote)


def _quote(version: int, outer: bytes, message: bytes, frame: int, t: int) -> Quote | None:
    codes, header, _, addresses, size = VERSIONS[version]
    says, inner = codes.get((message[0], message[1])), message[ICMP_HEADER:]
    if version == 4:
        header = (inner[0] & 15) * 4
    if says is None or inner[0] >> 4 != version or header < 20 or len(inner) < header + QUOTED:
        return None
    mtu = unpack_from(">H" if version == 4 else ">I", message, 6 if version == 4 else 4)[0]
    sport, dport, seq = unpack_from(">HHI", inner, header)
    ends = [str(ip_address(inner[at : at + size])) for at in (addresses, addresses + size)]
    sender = str(ip_address(outer[addresses : addresses + size]))
    mine, theirs = Endpoint(ends[0], sport), Endpoint(ends[1], dport)
    return Quote(frame, t, says, mtu if says == TOO_BIG else 0, sender, mine, theirs, seq)
