"""Two machines of the model and a wire between them: no bench, no script, only time and losses."""

import heapq
from itertools import count

from model.conversation import MILLISECOND, SECOND, Numbers, options
from tcplab.core.releases import NEWEST, release
from tcplab.core.segment import ACK, RST, Endpoint
from tcplab.model.socket import Socket
from tcplab.model.stack import Stack

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
#: So many segments without a call by anybody are a quarrel, not a conversation.
QUARREL = 4000


class Wire:
    """A client and a server; `lost` holds the numbers of the segments that never arrive."""

    def __init__(
        self, *, lost=(), latency_ms=1, linux=NEWEST, isns=(1000, 2000), sysctls=None, server=None, **client
    ):  # fmt: skip
        self.now = 0
        self.stacks = {}
        for address, isn in zip((CLIENT, SERVER), isns, strict=True):
            self.stacks[address] = stack = Stack(address, release(linux))
            stack.random = Numbers(isn)
            stack._clock_offset = 77
            for name, value in (sysctls or {}).items():
                setattr(stack.sysctls, name, value)
        self.isns = dict(zip((CLIENT, SERVER), isns, strict=True))
        self.latency = round(latency_ms * MILLISECOND)
        self.lost = set(lost)
        #: (time, sender, flags, relative seq, relative ack, length, window, lost) of every segment.
        self.log = []
        self._flying = []
        self._order = count()
        self.listener = self.stacks[SERVER].listen(5432, 10, options(**(server or {})))
        self.client = self.stacks[CLIENT].connect(0, Endpoint(SERVER, 5432), options(**client))
        self.server = None
        self._collect()

    def call(self, side, verb, *arguments):
        """What the application at one side calls; None while it would block."""
        address, socket = (CLIENT, self.client) if side == "client" else (SERVER, self.server)
        if socket is None:
            return None
        result = self.stacks[address].call(self.now, verb, socket, *arguments)
        self._collect()
        return result

    def inject(self, address, segment):
        """A segment from nowhere reaches a machine."""
        self.stacks[address].receive(self.now, segment)
        self._collect()

    def passes(self, seconds):
        """Let time go by; every timer has to get somewhere, and no two machines may quarrel."""
        end, began = self.now + round(seconds * SECOND), len(self.log)
        while True:
            timers = [stack.next_timer() for stack in self.stacks.values()]
            moments = [t for t in timers if t is not None] + [flying[0] for flying in self._flying[:1]]
            if not moments or min(moments) > end:
                break
            assert min(moments) >= self.now, "a timer in the past"
            self.now = min(moments)
            while self._flying and self._flying[0][0] <= self.now:
                segment = heapq.heappop(self._flying)[2]
                self.stacks[segment.destination.address].receive(self.now, segment)
                self._collect()
            for stack in self.stacks.values():
                stack.timer(self.now)
                again = stack.next_timer()
                assert again is None or again > self.now, "a timer without progress"
            self._collect()
            assert len(self.log) - began < QUARREL, "the machines quarrel"
        self.now = end
        if self.server is None:
            self.server = self.stacks[SERVER].call(self.now, "accept", self.listener)
            self._collect()

    def _collect(self):
        for address, stack in self.stacks.items():
            for segment in stack.to_send():
                lost = len(self.log) in self.lost
                self.log.append(self._told(address, segment, lost))
                if not lost and segment.destination.address in self.stacks:
                    heapq.heappush(self._flying, (self.now + self.latency, next(self._order), segment))

    def _told(self, address, segment, lost):
        mine, theirs = self.isns[address], self.isns[CLIENT if address == SERVER else SERVER]
        bare = segment.flags & RST and not segment.flags & ACK
        return (
            self.now, address, segment.letters,
            (segment.seq - mine) % 2**32,
            None if bare or not segment.flags & ACK else (segment.ack - theirs) % 2**32,
            segment.length, segment.window, lost,
        )  # fmt: skip

    def states(self):
        """States of all sockets of each machine."""
        return {
            address: sorted(socket.state for socket in stack.sockets.values())
            for address, stack in self.stacks.items()
        }

    def sockets(self):
        """All full sockets that exist."""
        for stack in self.stacks.values():
            yield from (socket for socket in stack.sockets.values() if isinstance(socket, Socket))
