"""From a frame to its network layer, for all packets of a batch at once.

Link types: Ethernet, Linux cooked v1 and v2, BSD loopback (null), raw IP. VLAN tags (IEEE 802.1Q,
stacked as 802.1ad has it) may stand in front of the network layer on any of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tcplab.capture.chains import Array, fields

IPV4, IPV6 = 0x0800, 0x86DD
VLAN_TAGS = (0x8100, 0x88A8, 0x9100, 0x9200)
MOST_TAGS = 16
#: EtherTypes behind which scapy may find TCP: MPLS, PPPoE, bridged Ethernet.
TUNNELS = (0x8847, 0x8848, 0x8864, 0x6558)
#: Below this an Ethernet type is a length, and an LLC header follows; this one announces SNAP.
FIRST_TYPE = 0x0600
SNAP = 0xAAAA


@dataclass(frozen=True)
class Link:
    """Where the network layer begins, and what tells which one it is."""

    header: int
    #: Offset of the EtherType; None where there is none.
    type_at: int | None = None
    #: Address families in front, in either byte order.
    family: bool = False
    #: The only network layer that there can be.
    only: int = 0


ETHERNET, NULL, RAW, LOOP, SLL, IPV4_ONLY, IPV6_ONLY, SLL2 = 1, 0, 101, 108, 113, 228, 229, 276
#: By LINKTYPE_ value; 12 and 14 are what some systems write for raw IP.
LINKS = {
    ETHERNET: Link(14, 12), SLL: Link(16, 14), SLL2: Link(20, 0),
    NULL: Link(4, family=True), LOOP: Link(4, family=True),
    RAW: Link(0), 12: Link(0), 14: Link(0), IPV4_ONLY: Link(0, only=IPV4), IPV6_ONLY: Link(0, only=IPV6),
}  # fmt: skip
#: AF_INET and the AF_INET6 of Linux, NetBSD, FreeBSD and macOS.
FAMILIES = {2: IPV4, 10: IPV6, 24: IPV6, 28: IPV6, 30: IPV6}


@dataclass(frozen=True)
class Network:
    """Where network layers begin: row of the batch, place, EtherType."""

    row: Array
    at: Array
    kind: Array

    def of(self, chosen: Array) -> Network:
        """Some of them."""
        return Network(self.row[chosen], self.at[chosen], self.kind[chosen])


def network_layers(memory: bytearray, link: Link, row: Array, at: Array, end: Array) -> Network:
    """The network layer of each row that has one; `at` and `end` bound what is stored of the packet."""
    short = fields(memory, ">u2")
    whole = at + link.header + (link.type_at is None and not link.family) <= end[row]
    row, at = row[whole], at[whole]
    if link.type_at is not None:
        kind = short[at + link.type_at].astype(np.int64)
    elif link.family:
        kind = _by_family(memory, at)
    else:
        version = fields(memory, "u1")[at] >> 4
        kind = np.select([version == 4, version == 6], [IPV4, IPV6], 0)
        if link.only:
            kind[kind != link.only] = 0
    at = at + link.header
    for _ in range(MOST_TAGS):
        tagged = np.isin(kind, VLAN_TAGS)
        if not tagged.any():
            break
        ok = ~tagged | (at + 4 <= end[row])
        row, at, kind, tagged = row[ok], at[ok], kind[ok], tagged[ok]
        kind[tagged] = short[at[tagged] + 2]
        at[tagged] += 4
    return Network(row, at, kind)


def _by_family(memory: bytearray, at: Array) -> Array:
    kind = np.zeros(len(at), np.int64)
    for order in "<>":
        families = fields(memory, order + "u4")[at]
        for family, network in FAMILIES.items():
            kind[families == family] = network
    return kind


def for_scapy(memory: bytearray, link: Link, network: Network, end: Array) -> Array:
    """Which of these frames may hold TCP in a way that scapy knows and this module does not."""
    asked = np.isin(network.kind, TUNNELS)
    if link.header == 14:
        llc = (network.kind < FIRST_TYPE) & (network.at + 8 <= end[network.row])
        asked |= llc & (fields(memory, ">u2")[network.at] == SNAP)
    return asked
