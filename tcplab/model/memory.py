"""The memory of received segments: what Linux charges for each, and the window that the rest gives.

A buffer of SO_RCVBUF bytes is charged for memory, not for payload: each segment takes a piece of memory of a
fixed size (an sk_buff), and a small one is copied to the end of the previous one if there is room. The share
of a full segment's memory that is payload becomes the share of the buffer that is advertised as window.

Sources: include/net/tcp.h (tcp_win_from_space, TCP_DEFAULT_SCALING_RATIO), net/ipv4/tcp_input.c
(tcp_measure_rcv_mss, tcp_try_coalesce, tcp_grow_window, tcp_init_buffer_space, tcp_clamp_window,
tcp_prune_queue, tcp_collapse, tcp_data_queue_ofo, tcp_ofo_queue), net/core/skbuff.c (kmalloc_reserve,
skb_try_coalesce) of 6.18. The sizes are those of a network card whose driver copies each frame into new
memory, as on the Linux bench (measured on 6.18.44); a driver that passes pages is charged differently.

Not modelled: growth with what the application reads (tcp_rcv_space_adjust), memory pressure of the whole
machine, and collapsing out-of-order data.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from functools import lru_cache

from tcplab.core.segment import after, before, seq_add, seq_diff

#: struct sk_buff and struct skb_shared_info.
_BUFFER, _SHARED = 256, 320
#: IPv4 and TCP without options; Ethernet with the space reserved before a frame (LL_RESERVED_SPACE).
_HEADERS, _ETHERNET, _KEPT = 20 + 20, 14, 16
#: Sizes of allocations: skb_small_head_cache, then kmalloc's.
_SIZES = (576, *(1 << n for n in range(10, 18)))
#: The room for a frame in each.
_HOLDS = tuple(size - _SHARED for size in _SIZES)
#: Payload of the pieces into which a full queue is collapsed: SKB_MAX_ORDER(0, 0).
_COLLAPSED = 4096 - _SHARED
#: Shares are 256ths (TCP_RMEM_TO_WIN_SCALE); half of it is payload, as long as nothing is measured.
_SHARE_BITS = 8
HALF = 1 << (_SHARE_BITS - 1)
WHOLE = 1 << _SHARE_BITS


def _memory_for(used: int) -> tuple[int, int]:
    """The charge for `used` bytes (truesize), and the room that is left after them (skb_tailroom)."""
    kind = bisect_left(_HOLDS, used)
    if kind == len(_SIZES):
        return used + _SHARED + _BUFFER, 0
    return _SIZES[kind] + _BUFFER, _HOLDS[kind] - used


@lru_cache(maxsize=4096)
def charge_for(length: int, options: int) -> tuple[int, int]:
    """The charge for a segment of `length` bytes with `options` bytes of TCP options; its room."""
    charge, room = _memory_for(_KEPT + _ETHERNET + _HEADERS + options + length)
    return charge, room + _ETHERNET


class Piece:
    """Received payload in one piece of memory: [seq, end), a FIN counting one."""

    __slots__ = ("charge", "end", "fin", "room", "seq")

    def __init__(self, seq: int, end: int, fin: bool, charge: int, room: int) -> None:
        self.seq, self.end, self.fin = seq, end, fin
        self.charge, self.room = charge, room

    @property
    def length(self) -> int:
        """Payload in bytes."""
        return ((self.end - self.seq) & 0xFFFFFFFF) - self.fin

    def join(self, later: Piece) -> bool:
        """Append `later` to this one, if it follows and there is room (tcp_try_coalesce)."""
        if later.seq != self.end:
            return False
        length = later.length
        if length > self.room:
            return False
        self.room -= length
        self.end, self.fin = later.end, later.fin
        return True


class ReceiveMemory:
    """A socket's unread data: sk_rcvbuf, sk_rmem_alloc, and the window."""

    __slots__ = ("ahead", "charged", "locked", "queue", "share", "size")

    def __init__(self, size: int, *, locked: bool) -> None:
        #: SO_RCVBUF as getsockopt() shows it; `locked`: the program set it.
        self.size, self.locked = size, locked
        self.charged = 0
        self.share = HALF
        #: Pieces in order, and out of order by sequence number.
        self.queue: deque[Piece] = deque()
        self.ahead: list[Piece] = []

    def window(self, space: int) -> int:
        """The window that `space` bytes of memory give (tcp_win_from_space); below 0 for less than none."""
        return space * self.share >> _SHARE_BITS

    @property
    def free(self) -> int:
        """tcp_space: the window that the free part gives."""
        return (self.size - self.charged) * self.share >> _SHARE_BITS

    @property
    def full(self) -> int:
        """tcp_full_space: the window that the whole buffer gives."""
        return self.size * self.share >> _SHARE_BITS

    def measure(self, length: int, charge: int) -> bool:
        """Measure the share from a segment; True when it has changed (tcp_measure_rcv_mss)."""
        share = max(1, (length << _SHARE_BITS) // charge)
        if share == self.share:
            return False
        self.share = share
        return True

    def piece(self, seq: int, end: int, fin: bool, length: int, options: int) -> Piece:
        """The piece of a received segment."""
        charge, room = charge_for(length, options)
        return Piece(seq, end, fin, charge, room)

    def append(self, piece: Piece) -> None:
        """Queue the next piece in order (tcp_queue_rcv)."""
        queue = self.queue
        if queue and queue[-1].join(piece):
            return
        queue.append(piece)
        self.charged += piece.charge

    def read_to(self, copied: int) -> None:
        """Everything before `copied` has been read: free its memory."""
        queue = self.queue
        while queue and not after(seq_add(queue[0].end, -queue[0].fin), copied):
            self.charged -= queue.popleft().charge

    # -- too full ------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """tcp_can_ingest: one more segment may always exceed it."""
        return self.charged <= self.size

    def make_room(self, copied: int, seq: int) -> bool:
        """Collapse the queue, then drop the highest pieces, for a segment at `seq` (tcp_prune_queue)."""
        self._collapse(copied)
        if not self.has_room:
            self._prune(seq)
        return self.has_room

    def _collapse(self, copied: int) -> None:
        """Copy unread data together, from the first piece that wastes memory (tcp_collapse)."""
        pieces, kept = list(self.queue), 0
        while kept < len(pieces) and not self._is_wasteful(pieces[kept], copied):
            kept += 1
        if kept == len(pieces):
            return
        first, last = pieces[kept], pieces[-1]
        self.queue = deque(pieces[:kept])
        at = copied if before(first.seq, copied) else first.seq
        end = seq_add(last.end, -last.fin)
        while before(at, end):
            length = min(_COLLAPSED, seq_diff(end, at))
            charge, room = _memory_for(length)
            self.queue.append(Piece(at, seq_add(at, length), False, charge, room))
            at = seq_add(at, length)
        self.charged = sum(piece.charge for piece in (*self.queue, *self.ahead))

    def _is_wasteful(self, piece: Piece, copied: int) -> bool:
        return not piece.fin and (self.window(piece.charge) > piece.length or before(piece.seq, copied))

    def _prune(self, seq: int) -> None:
        """Drop the highest out-of-order pieces, an eighth at a time (tcp_prune_ofo_queue)."""
        goal = self.size >> 3
        while self.ahead and not after(seq, self.ahead[-1].seq):
            charge = self.ahead.pop().charge
            self.charged -= charge
            goal -= charge
            if goal <= 0 or not self.ahead:
                if self.has_room:
                    return
                goal = self.size >> 3
