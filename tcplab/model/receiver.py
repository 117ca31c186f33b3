"""The receiving half of a connection: what is acceptable, the window, and when to acknowledge.

Sources: net/ipv4/tcp_input.c (tcp_sequence, tcp_data_queue, tcp_data_queue_ofo, tcp_ofo_queue,
tcp_event_data_recv, tcp_measure_rcv_mss, tcp_grow_window, __tcp_ack_snd_check, tcp_dsack_set,
tcp_sack_new_ofo_skb), net/ipv4/tcp_output.c (tcp_select_window, __tcp_select_window,
tcp_select_initial_window, tcp_send_delayed_ack), net/ipv4/tcp.c (__tcp_cleanup_rbuf),
net/ipv4/tcp_timer.c (tcp_delack_timer_handler); RFC 2018, RFC 2883.

Not modelled: duplicate ACKs that wait up to a millisecond for one another (tcp_comp_sack_delay_ns).
"""

from __future__ import annotations

from tcplab.core.segment import FIN, PSH, Segment, after, before, seq_add, seq_diff
from tcplab.model.machine import OwningSocket
from tcplab.model.memory import Piece, ReceiveMemory
from tcplab.model.roundtrip import RoundTrip
from tcplab.model.rules import (
    ATO_MIN,
    DELACK_MAX,
    LEAST_CLAMP,
    LEAST_MSS,
    MAX_QUICKACKS,
    MSS_DEFAULT,
    MSS_ETHERNET,
    TIMESTAMP_OPTION,
)

#: Blocks that a receiver stores (TCP_NUM_SACKS).
MOST_BLOCKS = 4
#: A segment below this does not make the window grow.
_GROWS_FROM = 128

Block = tuple[int, int]


class Receiver:
    """RCV.NXT, the window, the buffer, and the delayed acknowledgement."""

    def __init__(self, socket: OwningSocket, buffer: int, rtt: RoundTrip) -> None:
        self.socket, self.machine = socket, socket.machine
        self.rtt = rtt
        options = socket.options
        self.memory = ReceiveMemory(buffer, locked=bool(options.receive_buffer))
        #: The largest window ever (window_clamp). Without a buffer of the program's own it is what
        #: autotuning may reach, for which Linux scales (tcp_rmem's third value).
        largest = self.memory.full if self.memory.locked else self.machine.sysctls.tcp_rmem_max
        if options.window_clamp:
            largest = min(largest, max(options.window_clamp, LEAST_CLAMP))
        self.scale = min(max(largest.bit_length() - 16, 0), 14)
        self.clamp = min(largest, 65535 << self.scale)
        #: RCV.NXT; and RCV.NXT as of the last ACK sent, from which the window counts.
        self.nxt = self.wup = 0
        #: The most that is advertised (rcv_ssthresh), and the window as last advertised from `wup`.
        self.limit = self.advertised = self._whole_segments(MSS_ETHERNET)
        #: Our own largest segment, less the timestamp option (advmss).
        self.own_mss = MSS_ETHERNET
        #: Unread payload, in order.
        self.buffered = 0
        #: Out-of-order blocks for SACK, newest first; and the duplicate block for D-SACK (RFC 2883).
        self.blocks: list[Block] = []
        self.dsack: Block | None = None
        # The acknowledgement engine: an ACK is owed, at once, its timer, how long it may be delayed
        # (ato), how many are sent at once (quick), and replies in a row ("pingpong").
        self.ack_needed = self.ack_now = False
        self.ack_due: int | None = None
        self.ato = 0
        self.quick = 0
        self.answers = 0
        self.pushed = 0
        self.rcv_mss = MSS_DEFAULT
        self._last_length = 0
        self._no_memory = False
        self.last_data = -(1 << 62)

    def _whole_segments(self, mss: int) -> int:
        """What a SYN or SYN-ACK offers (tcp_select_initial_window)."""
        space = min(self.memory.full, self.clamp)
        return space // mss * mss or space

    def size_for(self, timestamps: bool) -> None:
        """Before a SYN-ACK: the window in whole segments as we would send them."""
        mss = MSS_ETHERNET - TIMESTAMP_OPTION if timestamps else MSS_ETHERNET
        self.limit = self.advertised = self._whole_segments(mss)

    def agree(self, scaling: bool, timestamps: bool) -> None:
        """Keep only the options that the peer's SYN has too."""
        if not scaling:
            self.scale = 0
            self.clamp = min(self.clamp, 65535)
            self.advertised = min(self.advertised, 65535)
        if timestamps:
            self.own_mss = MSS_ETHERNET - TIMESTAMP_OPTION

    def open(self, now: int, mss: int) -> None:
        """Established: room for one segment is kept back (tcp_init_buffer_space), `mss` is ours to send."""
        self.last_data = now
        full, own = self.memory.full, self.own_mss
        self.clamp = min(self.clamp, full)
        if self.clamp > 2 * own and self.clamp + own > full:
            self.clamp = max(2 * own, full - own)
        self.limit = min(self.limit, self.clamp)
        self.rcv_mss = max(min(own, mss, self.advertised // 2, MSS_DEFAULT), LEAST_MSS)

    # -- the window ----------------------------------------------------------------------

    @property
    def window_left(self) -> int:
        """What is left of the advertised window (tcp_receive_window)."""
        return max(0, self.advertised - ((self.nxt - self.wup) & 0xFFFFFFFF))

    @property
    def right_edge(self) -> int:
        """The last sequence number inside the window, inclusive."""
        return seq_add(self.nxt, self.window_left)

    def acceptable(self, segment: Segment) -> bool:
        """In the window, both ends inclusive (tcp_sequence).

        Linux takes a segment that begins inside whole, even where it ends outside; since 6.17 only
        while nothing waits to be read (selftest tcp_rcv_big_endseq.pkt; measured on 6.18).
        """
        if segment.seq == self.nxt and segment.length <= self.window_left:
            return True
        edge = self.right_edge
        if before(segment.end_seq, self.wup) or after(segment.seq, edge):
            return False
        overhangs = after(seq_add(segment.seq, segment.length), edge)
        return not (overhangs and self.buffered) or not self.machine.release.overhang_refused

    def _new_window(self) -> int:
        """What could be advertised now, avoiding silly windows (__tcp_select_window)."""
        memory, scale = self.memory, self.scale
        free, allowed = memory.free, memory.full
        full = allowed if allowed < self.clamp else self.clamp
        if free < full >> 1:
            self.quick = 0
            free = free >> scale << scale
            if free < allowed >> 4 or free < min(self.rcv_mss, full):
                return 0
        if free > self.limit:
            free = self.limit
        if scale:
            return -(-free >> scale) << scale
        mss = min(self.rcv_mss, full)
        window = self.advertised
        if window <= free - mss or window > free:
            # In whole segments; otherwise it stays as it was.
            return free // mss * mss
        if mss == full and free > window + (full >> 1):
            return free
        return window

    def advertise(self) -> int:
        """The window of a segment that is being sent (tcp_select_window).

        It never shrinks a window already advertised, unless memory ran out.
        """
        if self._no_memory:
            window = 0
        else:
            window, left = self._new_window(), self.window_left
            if window < left:
                window = -(-left >> self.scale) << self.scale
        if not window and self.advertised:
            self.machine.count("TcpExtTCPToZeroWindowAdv")
        elif window and not self.advertised:
            self.machine.count("TcpExtTCPFromZeroWindowAdv")
        self.advertised, self.wup = window, self.nxt
        return min(window, 65535 << self.scale)

    def _grow(self, length: int, charge: int) -> None:
        """Advertise more, if segments like this one fit (tcp_grow_window)."""
        memory = self.memory
        room = min(self.clamp, memory.free) - self.limit
        if room <= 0:
            return
        if memory.window(charge) <= length:
            more = 2 * self.own_mss
        else:
            more = self._grows_by(length, memory.window(charge) >> 1)
        if more:
            self.limit += min(room, max(more, 2 * length))
            self.quick |= 1

    def _grows_by(self, length: int, charge: int) -> int:
        """The slow path: while the window is far below its maximum (__tcp_grow_window)."""
        window = self.memory.window(self.machine.sysctls.tcp_rmem_max) >> 1
        while self.limit <= window:
            if charge <= length:
                return 2 * self.rcv_mss
            charge >>= 1
            window >>= 1
        return 0

    # -- data ----------------------------------------------------------------------------

    def on_data(self, now: int, segment: Segment) -> bool:
        """Take payload and FIN of an acceptable segment; True when a FIN has become due."""
        self.dsack = None
        seq, nxt = segment.seq, self.nxt
        if seq != nxt:
            end = segment.end_seq
            if not after(end, nxt):
                self._set_dsack(seq, end)
                self._ack_at_once()
                return False
            if not before(seq, self.right_edge):
                self._ack_at_once()
                return False
            if after(seq, nxt):
                self._keep(segment)
                return False
            self._set_dsack(seq, nxt)
        bare_fin = not segment.length and seq == nxt and self.machine.release.fin_needs_no_window
        if not self.window_left and not bare_fin:
            self._ack_at_once()
            return False
        return self._take(now, segment)

    def _ack_at_once(self) -> None:
        """Request an immediate ACK: the segment was old, or did not fit."""
        self.be_quick()
        self.ack_needed = True

    def _piece(self, segment: Segment) -> Piece:
        options = TIMESTAMP_OPTION if segment.timestamps else 0
        if segment.sack:
            options += 4 + 8 * len(segment.sack)
        return self.memory.piece(
            segment.seq, segment.end_seq, bool(segment.flags & FIN), segment.length, options
        )

    def _take(self, now: int, segment: Segment) -> bool:
        memory = self.memory
        if not memory.has_room and not self._make_room(segment):
            self.ack_needed = self.ack_now = True
            self._no_memory = self.machine.release.tells_no_memory
            if memory.queue and segment.length:
                self.machine.count("TcpExtTCPRcvQDrop")
                return False
        piece = self._piece(segment)
        memory.append(piece)
        fin = piece.fin
        self.buffered += ((piece.end - self.nxt) & 0xFFFFFFFF) - fin
        self.nxt = piece.end
        if segment.length:
            self._received(now, segment, piece.charge)
        if fin:
            self._forget_ahead()
        elif memory.ahead:
            fin = self._merge()
            if not memory.ahead and self.machine.release.filled_hole_acknowledged:
                self.ack_now = True
        if self.blocks:
            self._forget_blocks()
        if fin:
            self.ack_needed = True
        return fin

    def _make_room(self, segment: Segment) -> bool:
        """Make room when more memory than the buffer is charged (tcp_prune_queue, tcp_clamp_window)."""
        memory = self.memory
        self.machine.count("TcpExtPruneCalled")
        self.quick = 0
        if not memory.locked:
            memory.size = max(memory.size, min(memory.charged, self.machine.sysctls.tcp_rmem_max))
        if memory.has_room:
            return True
        self.limit = min(self.clamp, 2 * self.own_mss)
        held = len(memory.ahead)
        made = memory.make_room(seq_add(self.nxt, -self.buffered), segment.seq)
        if len(memory.ahead) < held:
            self.blocks.clear()
        if not made:
            self.machine.count("TcpExtRcvPruned")
        return made

    def _forget_ahead(self) -> None:
        """Discard data beyond a FIN, and the D-SACK block (tcp_fin)."""
        memory = self.memory
        for piece in memory.ahead:
            memory.charged -= piece.charge
        memory.ahead.clear()
        self.blocks.clear()
        self.dsack = None

    def _merge(self) -> bool:
        """Move what is now in order from the out-of-order queue; True with a FIN (tcp_ofo_queue)."""
        memory, known = self.memory, self.nxt
        while memory.ahead and not after(memory.ahead[0].seq, self.nxt):
            piece = memory.ahead.pop(0)
            memory.charged -= piece.charge
            if before(piece.seq, known):
                self._extend_dsack(piece.seq, piece.end if before(piece.end, known) else known)
            if not after(piece.end, self.nxt):
                continue
            self.buffered += seq_diff(piece.end, self.nxt) - piece.fin
            self.nxt = piece.end
            memory.append(piece)
            if piece.fin:
                self._forget_ahead()
                return True
        return False

    # -- out of order --------------------------------------------------------------------

    def _keep(self, segment: Segment) -> None:
        """Keep a segment from beyond a hole (tcp_data_queue_ofo)."""
        memory = self.memory
        if not memory.has_room and not self._make_room(segment):
            self.machine.count("TcpExtTCPOFODrop")
            return
        piece = self._piece(segment)
        seq, end = piece.seq, piece.end
        self._measure(segment, piece.charge)
        self.ack_needed = True
        kept = self._insert(piece)
        if self.socket.sack:
            self._add_sack(seq, end)
            if kept:
                self._grow(segment.length, piece.charge)

    def _insert(self, piece: Piece) -> bool:
        """Insert a piece into the out-of-order queue, noting duplicates. False when all of it was there."""
        memory, ahead = self.memory, self.memory.ahead
        i = len(ahead)
        while i and before(piece.seq, ahead[i - 1].seq):
            i -= 1
        if i:
            left = ahead[i - 1]
            if before(piece.seq, left.end):
                if not after(piece.end, left.end):
                    self._set_dsack(piece.seq, piece.end)
                    return False
                if piece.seq == left.seq:
                    # It covers the existing one.
                    self._extend_dsack(left.seq, left.end)
                    i -= 1
                    memory.charged -= ahead.pop(i).charge
                else:
                    self._set_dsack(piece.seq, left.end)
            elif left.join(piece):
                return True
        ahead.insert(i, piece)
        memory.charged += piece.charge
        while i + 1 < len(ahead) and after(piece.end, ahead[i + 1].seq):
            right = ahead[i + 1]
            if before(piece.end, right.end):
                self._extend_dsack(right.seq, piece.end)
                break
            self._extend_dsack(right.seq, right.end)
            memory.charged -= ahead.pop(i + 1).charge
        return True

    def _set_dsack(self, left: int, right: int) -> None:
        """Report a duplicate in the next ACK (tcp_dsack_set)."""
        if self.socket.sack:
            old = before(left, self.nxt)
            self.machine.count("TcpExtTCPDSACKOldSent" if old else "TcpExtTCPDSACKOfoSent")
            self.dsack = (left, right)

    def repeated(self, segment: Segment) -> None:
        """Answer an old segment, as the peer may have missed our ACK, with a D-SACK (tcp_send_dupack)."""
        self.be_quick()
        end = segment.end_seq
        self._set_dsack(segment.seq, self.nxt if after(end, self.nxt) else end)

    def _extend_dsack(self, left: int, right: int) -> None:
        """Extend the duplicate block (tcp_dsack_extend)."""
        if self.dsack is None:
            self._set_dsack(left, right)
        else:
            self.dsack = _joined(self.dsack, (left, right)) or self.dsack

    def _add_sack(self, left: int, right: int) -> None:
        """Add a block for SACK, newest first (RFC 2018 section 4; tcp_sack_new_ofo_skb)."""
        new, blocks = (left, right), self.blocks
        for i, block in enumerate(blocks):
            if joined := _joined(block, new):
                del blocks[i]
                new = joined
                break
        else:
            del blocks[MOST_BLOCKS - 1 :]
            blocks.insert(0, new)
            return
        # It may have grown into others (tcp_sack_maybe_coalesce).
        i = 0
        while i < len(blocks):
            if joined := _joined(new, blocks[i]):
                new = joined
                del blocks[i]
            else:
                i += 1
        blocks.insert(0, new)

    def _forget_blocks(self) -> None:
        """Remove blocks below RCV.NXT (tcp_sack_remove)."""
        if not self.memory.ahead:
            self.blocks.clear()
        else:
            self.blocks = [block for block in self.blocks if before(self.nxt, block[0])]

    def sack_blocks(self, most: int) -> tuple[Block, ...]:
        """The blocks for the next segment; a D-SACK block comes first, once (RFC 2883 section 4)."""
        blocks = self.blocks
        if self.dsack is not None:
            blocks = [self.dsack, *blocks]
            self.dsack = None
        return tuple(blocks[:most])

    @property
    def sack_edge(self) -> int | None:
        """Right edge of the highest block received out of order; a FIN counts one."""
        edge: int | None = None
        for _, right in self.blocks:
            if edge is None or after(right, edge):
                edge = right
        return edge

    def read(self, now: int, at_most: int) -> int:
        """The application takes bytes; may send an ACK or open the window (__tcp_cleanup_rbuf)."""
        taken = min(at_most, self.buffered)
        if not taken:
            return 0
        self.buffered -= taken
        memory = self.memory
        memory.read_to(seq_add(self.nxt, -self.buffered - self.socket.fin_received))
        unacknowledged = seq_diff(self.nxt, self.wup)
        if self.ack_needed and (
            unacknowledged > self.rcv_mss
            or (not memory.charged and (self.pushed == 2 or (self.pushed == 1 and not self._interactive)))
        ):
            self.socket.send_ack(now)
        elif not self.socket.read_closed and 2 * self.window_left <= self.clamp:
            window = self._new_window()
            if window and window >= 2 * self.window_left:
                self.socket.send_ack(now)
        return taken

    # -- acknowledgements ----------------------------------------------------------------

    @property
    def _interactive(self) -> bool:
        return self.answers >= self._pingpong_threshold

    @property
    def _pingpong_threshold(self) -> int:
        return self.machine.sysctls.tcp_pingpong_thresh or self.machine.release.pingpong_threshold

    def _more_quick(self) -> None:
        """Enough for half a window of small segments (tcp_incr_quickack)."""
        enough = self.advertised // (2 * self.rcv_mss) or 2
        self.quick = max(self.quick, min(MAX_QUICKACKS, enough))

    def be_quick(self) -> None:
        """The next acknowledgements go out at once (tcp_enter_quickack_mode)."""
        self._more_quick()
        self.answers = 0
        self.ato = ATO_MIN

    def _measure(self, segment: Segment, charge: int) -> None:
        """The peer's segment size, on which delayed ACKs are based (tcp_measure_rcv_mss)."""
        length, last, push = segment.length, self._last_length, segment.flags & PSH
        self._last_length = 0
        if length >= self.rcv_mss:
            measures = length != self.rcv_mss and self.machine.release.payload_share_measured
            if measures and self.memory.measure(length, charge):
                self._set_clamp(self.memory.full)
            self.rcv_mss = min(length, self.own_mss)
            if push:
                self.pushed = max(self.pushed, 1)
            return
        if length >= MSS_DEFAULT or (length >= LEAST_MSS and not push):
            self._last_length = length
            if length == last:
                self.rcv_mss = length
                return
        self.pushed = min(self.pushed + 1, 2)

    def _set_clamp(self, clamp: int) -> None:
        """Set the largest window that the buffer gives (tcp_set_window_clamp)."""
        if clamp < self.clamp:
            self.limit = min(self.limit, clamp)
        elif clamp > self.clamp:
            self.limit = max(self.limit, min(self.advertised, clamp))
        self.clamp = clamp

    def _received(self, now: int, segment: Segment, charge: int) -> None:
        """Update the ACK state from received data (tcp_event_data_recv)."""
        self.ack_needed = True
        self._measure(segment, charge)
        gap = now - self.last_data
        if not self.ato:
            self._more_quick()
            self.ato = ATO_MIN
        elif gap <= ATO_MIN // 2:
            self.ato = self.ato // 2 + ATO_MIN // 2
        elif gap < self.ato:
            self.ato = min(self.ato // 2 + gap, self.rtt.rto)
        elif gap > self.rtt.rto:
            self._more_quick()
        self.last_data = now
        if segment.length >= _GROWS_FROM:
            self._grow(segment.length, charge)

    def answered(self, now: int) -> None:
        """The application has sent: was it an answer to what came just before?"""
        if now - self.last_data < self.ato:
            self.answers = min(self.answers + 1, 255)

    def enter_interactive(self) -> None:
        """After a FIN the next ACK may wait for the application's own FIN (tcp_fin)."""
        self.answers = max(self.answers, self._pingpong_threshold)

    def acknowledge_if_due(self, now: int) -> None:
        """After a segment: an ACK now, later, or not at all (__tcp_ack_snd_check)."""
        if not self.ack_needed:
            return
        if (
            (
                seq_diff(self.nxt, self.wup) > self.rcv_mss
                and (not self.buffered or self._new_window() >= self.advertised)
            )
            or (self.quick and not self._interactive)
            or self.ack_now
            or self.memory.ahead
        ):
            self.socket.send_ack(now)
            return
        # Before any data the ACK of a FIN has no delay yet: the next tick (measured on 6.18).
        wait = self.ato
        if wait > ATO_MIN:
            rtt = self.rtt.smoothed
            wait = min(wait, DELACK_MAX, max(rtt, ATO_MIN) if rtt else DELACK_MAX)
        due = self.machine.deadline(now, max(wait, 1))
        if self.ack_due is not None and self.ack_due <= now + wait // 4:
            # About to go anyway (tcp_send_delayed_ack).
            self.socket.send_ack(now)
        elif self.ack_due is None or due < self.ack_due:
            self.ack_due = due

    def fire(self, now: int) -> None:
        """The delayed acknowledgement is due."""
        self.ack_due = None
        if not self.ack_needed:
            return
        if self._interactive:
            self.answers = 0
            self.ato = ATO_MIN
        else:
            self.ato = min(self.ato * 2, self.rtt.rto)
        self.socket.send_ack(now)

    def acknowledged(self) -> None:
        """A segment with an ACK has been sent: nothing is owed any more."""
        if self.ack_needed:
            if self.quick:
                self.quick -= 1
            self.ack_needed = self.ack_now = self._no_memory = False
        self.ack_due = None
        self.pushed = 0


def _joined(one: Block, other: Block) -> Block | None:
    """Two blocks as one, where they touch or overlap (tcp_sack_extend)."""
    if after(other[0], one[1]) or after(one[0], other[1]):
        return None
    left = other[0] if before(other[0], one[0]) else one[0]
    return left, other[1] if after(other[1], one[1]) else one[1]
