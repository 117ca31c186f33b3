"""TCP options of many segments at once (RFC 9293 section 3.1, RFC 7323, RFC 2018).

All segments take a step together, one option each; a segment whose options end or make no sense
drops out, and keeps what it had until there, as Linux does (net/ipv4/tcp_input.c:tcp_parse_options).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tcplab.capture.chains import Array, fields

END, NOP, MSS, WINDOW_SCALE, SACK_PERMITTED, SACK, TIMESTAMPS = 0, 1, 2, 3, 4, 5, 8
#: Options fit into 40 bytes: no more steps than that.
MOST = 40
#: A shift beyond this counts as this (RFC 7323 section 2.3).
LARGEST_WINDOW_SCALE = 14


@dataclass(frozen=True)
class Options:
    """What was found: one value for each segment, -1 where there is no such option."""

    mss: Array
    window_scale: Array
    sack_permitted: Array
    timestamp: Array
    echo: Array
    #: SACK blocks in order: which segment, left and right edge.
    sack_of: Array
    sack_left: Array
    sack_right: Array


def parse(memory: bytearray, begin: Array, end: Array) -> Options:
    """The options between these places, one pair for each segment."""
    byte, short, word = fields(memory, "u1"), fields(memory, ">u2"), fields(memory, ">u4")
    count = len(begin)
    mss, scale, timestamp, echo = (np.full(count, -1, np.int64) for _ in range(4))
    permitted = np.zeros(count, bool)
    blocks: list[tuple[Array, Array, Array]] = []
    who, at = np.arange(count), begin
    for _ in range(MOST):
        inside = at < end[who]
        who, at = who[inside], at[inside]
        kind = byte[at]
        going = kind != END
        who, at, kind = who[going], at[going], kind[going]
        if not len(who):
            break
        single = kind == NOP
        size = np.where(single, 1, byte[at + 1]).astype(np.int64)
        sound = single | (size >= 2) & (at + size <= end[who])
        who, at, kind, size = who[sound], at[sound], kind[sound], size[sound]
        is_mss, is_scale = (kind == MSS) & (size == 4), (kind == WINDOW_SCALE) & (size == 3)
        is_times = (kind == TIMESTAMPS) & (size == 10)
        is_sack = (kind == SACK) & (size >= 10) & (size % 8 == 2)
        mss[who[is_mss]] = short[at[is_mss] + 2]
        scale[who[is_scale]] = np.minimum(byte[at[is_scale] + 2], LARGEST_WINDOW_SCALE)
        permitted[who[(kind == SACK_PERMITTED) & (size == 2)]] = True
        timestamp[who[is_times]] = word[at[is_times] + 2]
        echo[who[is_times]] = word[at[is_times] + 6]
        for block in range(4 if is_sack.any() else 0):
            there = is_sack & (size >= 10 + 8 * block)
            place = at[there] + 2 + 8 * block
            blocks.append((who[there], word[place], word[place + 4]))
        at = at + size
    of, left, right = ([each[n] for each in blocks] for n in range(3))
    whose = np.concatenate([*of, np.empty(0, np.int64)])
    order = np.argsort(whose, kind="stable")
    return Options(
        mss, scale, permitted, timestamp, echo, whose[order],
        np.concatenate([*left, np.empty(0, ">u4")])[order].astype(np.uint32),
        np.concatenate([*right, np.empty(0, ">u4")])[order].astype(np.uint32),
    )  # fmt: skip
