"""The receiving half of a connection: what is acceptable, the window, and when to acknowledge.

Sources: net/ipv4/tcp_input.c (tcp_sequence, tcp_data_queue, tcp_event_data_recv,
__tcp_ack_snd_check, tcp_send_delayed_ack), net/ipv4/tcp_output.c (__tcp_select_window),
net/ipv4/tcp.c (__tcp_cleanup_rbuf), net/ipv4/tcp_timer.c (tcp_delack_timer_handler).
"""

from __future__ import annotations

from tcplab.core.segment import FIN, PSH, Segment, after, before, seq_add, seq_diff
from tcplab.model.machine import OwningSocket
from tcplab.model.rules import ATO_MIN, DELACK_MAX, MAX_QUICKACKS, MSS_DEFAULT, MSS_ETHERNET, WINDOW_SHARE
from tcplab.model.sender import RoundTrip


class Receiver:
    """RCV.NXT, the window, the buffer, and the delayed acknowledgement."""

    def __init__(self, socket: OwningSocket, buffer: int, rtt: RoundTrip) -> None:
        self.socket, self.machine = socket, socket.machine
        self.rtt = rtt
        #: What the buffer holds. A buffer that the program chose first gives half of itself as
        #: window, and more once Linux has learnt how much of it is payload (tcp_grow_window).
        self.full_space = buffer // 2
        # Linux scales for the largest buffer that autotuning may reach (tcp_rmem's third value).
        largest = self.machine.sysctls.tcp_rmem_max
        if socket.options.window_clamp:
            largest = self.full_space = socket.options.window_clamp
        elif socket.options.receive_buffer:
            largest = self.full_space = buffer * WINDOW_SHARE[0] // WINDOW_SHARE[1]
        self.scale = min(max(largest.bit_length() - 16, 0), 14)
        #: RCV.NXT; and RCV.NXT as of the last ACK sent, from which the window counts.
        self.nxt = self.wup = 0
        #: The most that is advertised (rcv_ssthresh), and the window as last advertised from `wup`.
        self.limit = self.advertised = self._whole_segments(MSS_ETHERNET)
        self.buffered = 0
        self.out_of_order: list[tuple[int, int]] = []
        self.fin_at: int | None = None
        # The acknowledgement engine: an ACK is owed, its timer, how long it may be delayed (ato),
        # how many go out at once (quick), and replies in a row ("pingpong").
        self.ack_needed = False
        self.ack_due: int | None = None
        self.ato = 0
        self.quick = 0
        self.answers = 0
        self.pushed = 0
        self.rcv_mss = MSS_DEFAULT
        self.last_data = -(1 << 62)

    def _whole_segments(self, mss: int) -> int:
        """What a SYN or SYN-ACK offers (tcp_select_initial_window)."""
        options = self.socket.options
        largest = 65535 << self.scale
        if options.window_clamp:
            return min(options.window_clamp, largest)
        space = options.receive_buffer // 2 or min(self.full_space, 65535)
        return min(space // mss * mss or space, largest)

    def size_for(self, mss: int) -> None:
        """Before a SYN-ACK: the window in whole segments of what the client will send."""
        self.limit = self.advertised = self._whole_segments(mss)

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
        free = self.full_space - self.buffered
        for left, right in self.out_of_order:
            free -= seq_diff(right, left)
        mss = min(self.rcv_mss, self.full_space)
        if free < self.full_space >> 1:
            free = free >> self.scale << self.scale
            if free < self.full_space >> 4 or free < mss:
                return 0
        return -(-min(free, self.limit) >> self.scale) << self.scale

    def advertise(self) -> int:
        """The window of a segment that is being sent; it never takes back what was promised."""
        window = max(self._new_window(), self.window_left)
        if not window and self.advertised:
            self.machine.count("TcpExtTCPToZeroWindowAdv")
        elif window and not self.advertised:
            self.machine.count("TcpExtTCPFromZeroWindowAdv")
        self.advertised, self.wup = window, self.nxt
        return window

    # -- data ----------------------------------------------------------------------------

    def on_data(self, now: int, segment: Segment) -> bool:
        """Take payload and FIN of an acceptable segment; True when a FIN has become due."""
        if self._known_or_without_room(segment):
            # Say at once what is expected.
            self.be_quick()
            self.ack_needed = True
            return False
        end = seq_add(segment.seq, segment.length)
        if segment.flags & FIN:
            self.fin_at = end
        if after(segment.seq, self.nxt):
            self._keep_out_of_order(segment.seq, segment.end_seq)
            self.ack_needed = True
            return False
        if segment.length:
            self.buffered += seq_diff(end, self.nxt)
            self.nxt = end
            self._merge()
            self._received(now, segment)
        if self.fin_at is not None and not after(self.fin_at, self.nxt):
            if self.fin_at != self.nxt:
                # Data has come in the place where a FIN was: the data wins (tcp_ofo_queue).
                self.fin_at = None
                return False
            # What came from beyond a FIN is thrown away (tcp_fin).
            self.out_of_order = []
            self.nxt = seq_add(self.nxt, 1)
            self.fin_at = None
            self.ack_needed = True
            return True
        return False

    def _known_or_without_room(self, segment: Segment) -> bool:
        """Nothing new, or nothing that fits (tcp_data_queue)."""
        if not self.window_left:
            # A bare FIN needs no room since 6.10.
            bare_fin = not segment.length and segment.seq == self.nxt
            return not bare_fin or not self.machine.release.fin_needs_no_window
        return not after(segment.end_seq, self.nxt) or not before(segment.seq, self.right_edge)

    def _keep_out_of_order(self, left: int, right: int) -> None:
        blocks = sorted([*self.out_of_order, (left, right)], key=lambda block: seq_diff(block[0], self.nxt))
        merged = [blocks[0]]
        for start, end in blocks[1:]:
            last_start, last_end = merged[-1]
            if after(start, last_end):
                merged.append((start, end))
            elif after(end, last_end):
                merged[-1] = (last_start, end)
        self.out_of_order = merged

    def _merge(self) -> None:
        while self.out_of_order and not after(self.out_of_order[0][0], self.nxt):
            _, end = self.out_of_order.pop(0)
            if self.fin_at is not None and after(end, self.fin_at):
                end = self.fin_at
            if after(end, self.nxt):
                self.buffered += seq_diff(end, self.nxt)
                self.nxt = end

    @property
    def sack_edge(self) -> int | None:
        """Right edge of the highest block received out of order; a FIN counts one."""
        return self.out_of_order[-1][1] if self.out_of_order else None

    def read(self, now: int, at_most: int) -> int:
        """The application takes bytes; may send an ACK or open the window (__tcp_cleanup_rbuf)."""
        taken = min(at_most, self.buffered)
        self.buffered -= taken
        if not taken:
            return 0
        unacknowledged = seq_diff(self.nxt, self.wup)
        interactive = self._interactive
        if self.ack_needed and (
            unacknowledged > self.rcv_mss
            or (not self.buffered and (self.pushed == 2 or (self.pushed == 1 and not interactive)))
        ):
            self.socket.send_ack(now)
        elif not self.socket.read_closed and 2 * self.window_left <= self.full_space:
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
        self.quick = max(self.quick, min(MAX_QUICKACKS, max(2, self.window_left // (2 * self.rcv_mss))))

    def be_quick(self) -> None:
        """The next acknowledgements go out at once (tcp_enter_quickack_mode)."""
        self._more_quick()
        self.answers = 0
        self.ato = ATO_MIN

    def _received(self, now: int, segment: Segment) -> None:
        """Learn from data received (tcp_event_data_recv, tcp_measure_rcv_mss)."""
        self.ack_needed = True
        if segment.length >= self.rcv_mss and self.socket.options.receive_buffer:
            self.limit = self.full_space
        if segment.length >= self.rcv_mss:
            self.rcv_mss = min(segment.length, MSS_ETHERNET)
            if segment.flags & PSH:
                self.pushed = max(self.pushed, 1)
        else:
            self.pushed = min(self.pushed + 1, 2)
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
            (seq_diff(self.nxt, self.wup) > self.rcv_mss and self._new_window() >= self.advertised)
            or (self.quick and not self._interactive)
            or self.out_of_order
        ):
            self.socket.send_ack(now)
            return
        # A FIN before any data finds no delay to begin with: the next tick (measured on 6.18).
        wait = self.ato
        if wait > ATO_MIN:
            rtt = self.rtt.smoothed
            wait = min(wait, DELACK_MAX, max(rtt, ATO_MIN) if rtt else DELACK_MAX)
        due = now + self.machine.ticks(max(wait, 1))
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
            self.ack_needed = False
        self.ack_due = None
        self.pushed = 0
