"""SYN cookies: a half-open connection that the server doesn't keep, but lets the client carry.

The initial sequence number of the SYN-ACK is a checksum over the four-tuple and the client's number,
the options ride in the lowest bits of the timestamp. Only a segment that begins with the client's
first byte can prove itself; nobody repeats such a SYN-ACK, since nobody remembers it.

Sources: net/ipv4/syncookies.c (cookie_v4_check, cookie_init_timestamp, __cookie_v4_check),
include/net/tcp.h (MAX_SYNCOOKIE_AGE, TCP_SYNCOOKIE_PERIOD), net/ipv4/tcp_input.c:tcp_conn_request.

Not modelled: the four steps to which a cookie rounds the MSS.
"""

from __future__ import annotations

from dataclasses import replace
from zlib import crc32

from tcplab.model.sysctls import MSS_ETHERNET, SECOND
from tcplab.segment import ACK, SYN, Endpoint, Segment, seq_add

#: A cookie counts periods; it is good in the one it was made in and in the next.
PERIOD = 60 * SECOND
MAX_AGE = 2
#: Without a cookie sent for so long no ACK is tried as one (TCP_SYNCOOKIE_VALID).
VALID = MAX_AGE * PERIOD
#: Lowest bits of the timestamp: window scale (15 = none), SACK, ECN (include/net/tcp.h: TSBITS).
OPTION_BITS = 6
_SACK_BIT = 1 << 4
#: What a client offers; its own scale is applied to a segment's window already.
_SCALE = 7


def cookie(secret: int, client: Endpoint, server: Endpoint, seq: int, period: int) -> int:
    """The initial sequence number for a client whose SYN had `seq`."""
    return crc32(repr((secret, *client, *server, seq, period)).encode())


def syn_ack(segment: Segment, offered: Segment, clock: int) -> Segment:
    """A SYN-ACK as an ordinary request would send it, made into a cookie's.

    `segment` is the client's SYN. Without timestamps there is no place for options: no window scale
    and no SACK then.
    """
    if offered.timestamps is None:
        return replace(offered, window_scale=None, sack_permitted=False)
    scale = 15 if segment.window_scale is None else segment.window_scale
    options = scale | (_SACK_BIT if offered.sack_permitted else 0)
    stamp = clock >> OPTION_BITS << OPTION_BITS | options
    if stamp > clock:
        stamp -= 1 << OPTION_BITS
    return replace(offered, timestamps=(stamp & 0xFFFFFFFF, offered.timestamps[1]))


def remembered_syn(segment: Segment) -> Segment:
    """The SYN that a client must have sent, from an ACK that carries a good cookie."""
    echo = segment.timestamps[1] if segment.timestamps else None
    scaled = echo is not None and echo & 0xF != 15
    return replace(
        segment, seq=seq_add(segment.seq, -1), ack=0, flags=SYN, length=0, mss=MSS_ETHERNET,
        window_scale=_SCALE if scaled else None,
        sack_permitted=echo is not None and bool(echo & _SACK_BIT), sack=(),
    )  # fmt: skip


def is_good(secret: int, segment: Segment, now: int) -> bool:
    """Does this segment bring back a cookie that this machine made in time?"""
    if not segment.flags & ACK:
        return False
    seq, wanted = seq_add(segment.seq, -1), seq_add(segment.ack, -1)
    made = [now // PERIOD - age for age in range(MAX_AGE)]
    return wanted in [cookie(secret, segment.source, segment.destination, seq, each) for each in made]
