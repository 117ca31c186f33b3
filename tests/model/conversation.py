"""Transcripts for the model: one Linux machine and a peer or several clients made by hand, or two machines.

    0       send(40) -> 40          a call, and what it gives
            > PA 1 1 40             this leaves the machine; whatever leaves has to be named
    0.001   < A 1 41                this reaches it
            = ESTABLISHED           the state of the connection
    7200    > A 0 1                 a time as it is written: 7200 is exact, 6.6 is good to half a tenth
    9000    ...                     nobody looks at what has left since the line before
    9001                            nothing has left

Segments are ``flags seq [ack] [length]`` with, where they matter, ``w=`` window, ``sack=from:to,from:to``,
``ts=`` the clock of who sends it, ``echo=`` what comes back of it (TSecr), and ``ecr=`` which clock of the
machine's the peer echoes (otherwise its latest); ``-`` stands for no flags. A line without a time happens at
the time of the one above. Sequence numbers count from 0 on either side, as the other one's do; the real ones
begin just before the wrap. The connection is established at 0 with a round trip of a millisecond. Checks:
``error``, ``verdict`` (of the last RST), ``counted NAME n``, ``timer NAME``.

`Clients` says the same words to one listener from many ports; `Wire` joins two machines.
"""

import heapq
import re
from itertools import count

from tcplab.core.releases import NEWEST, release
from tcplab.core.segment import ACK, FLAG_LETTERS, RST, SYN, Endpoint, Segment, seq_add
from tcplab.model.rules import CLOSED, TcpOptions
from tcplab.model.socket import Socket
from tcplab.model.stack import Stack

SECOND, MILLISECOND = 1_000_000_000, 1_000_000
MACHINE, PEER = "10.0.0.1", "10.0.0.2"
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
#: So many segments without a call by anybody are a quarrel, not a conversation.
QUARREL = 4000
BITS = {letter: bit for bit, letter in FLAG_LETTERS}
ISN, PEER_ISN = 2**32 - 5, 2**32 - 9

#: Calls of a transcript, and the verbs of the stack.
VERBS = {"send": "send", "recv": "receive", "close": "close", "reset": "reset", "shutdown": "shutdown_write"}


#: Lines that only look; they may stand before what a segment draws.
CHECKS = ("=", "error", "verdict", "counted", "timer")


class Numbers:
    """In place of chance: the initial sequence number that a test wants, and the first free port."""

    def __init__(self, isn):
        self.isn = isn

    def getrandbits(self, bits):
        return self.isn & ((1 << bits) - 1)

    def randrange(self, stop):
        return 0


def options(keepalive=(0, 75, 9), user_timeout=0, receive_buffer=0, window_clamp=0, rto_max=0):
    """Socket options from seconds."""
    idle, interval, probes = keepalive
    return TcpOptions(
        keepalive_idle=round(idle * SECOND),
        keepalive_interval=round(interval * SECOND),
        keepalive_probes=probes,
        user_timeout=round(user_timeout * SECOND),
        receive_buffer=receive_buffer,
        window_clamp=window_clamp,
        rto_max=round(rto_max * SECOND),
    )


class Conversation:
    """A machine under test, and all that has passed."""

    #: The latest clock of the machine's timestamps.
    clock = 0

    def __init__(
        self, role="client", *, linux=NEWEST, isn=ISN, peer_isn=PEER_ISN, sack=True, timestamps=False,
        window=65535, mss=1460, scale=7, backlog=5, sysctls=None, **socket_options,
    ):  # fmt: skip
        self.stack = Stack(MACHINE, release(linux))
        self.stack.random = Numbers(isn)
        self.stack.sysctls.tcp_timestamps = int(timestamps)
        self.stack.sysctls.tcp_sack = int(sack)
        for name, value in (sysctls or {}).items():
            assert hasattr(self.stack.sysctls, name), name
            if getattr(self.stack.sysctls, name) is not None:
                setattr(self.stack.sysctls, name, value)
        self.options = options(**socket_options)
        self.bases = isn, peer_isn
        self.peer = {"window": window, "mss": mss, "scale": scale, "sack": sack, "timestamps": timestamps}
        self.ports = (32768, 5432) if role == "client" else (5432, 40000)
        self.backlog = backlog
        self.now = -MILLISECOND
        self.socket = self.listener = None
        self.left = []
        self.story = []
        if role == "client":
            self.play("connect()\n > S 0\n 0 < SA 0 1\n > A 1 1")
        elif role == "server":
            self.play("listen()\n < S 0\n > SA 0 1\n 0 < A 1 1\n accept()")
        else:
            assert role in ("opening", "listening"), role
            self.ports = (32768, 5432) if role == "opening" else (5432, 40000)
            self.now = 0

    # -- reading a story ---------------------------------------------------------------------

    def play(self, story):
        """Run the lines of a story; fails at the first that isn't so."""
        for line in story.splitlines():
            words = line.split("#")[0].split()
            if not words:
                continue
            self.story.append(line.strip())
            moment = None
            if re.fullmatch(r"\d+(\.\d+)?", words[0]):
                moment = words.pop(0)
            self._step(moment, words)
        if self.left:
            self._fail("leaves unnamed", self.left)
        return self

    def _step(self, moment, words):
        t = self.now if moment is None else round(float(moment) * SECOND)
        if words[:1] == [">"]:
            decimals = len(moment.partition(".")[2]) if moment else 0
            self._expect(t, MILLISECOND // 2 if decimals == 0 else SECOND // 10**decimals // 2, words[1:])
            return
        self._until(t)
        if words == ["..."]:
            self.left.clear()
            return
        first, *rest = words or [""]
        if self.left and not (moment is None and first in CHECKS):
            self._fail("leaves unnamed", self.left)
        if not words:
            return
        if first == "<":
            self.arrives(" ".join(rest))
        elif first == "=":
            self._same("state", self.state, rest[0])
        elif first == "error":
            self._same("error", self.socket.error, None if rest == ["none"] else rest[0])
        elif first == "verdict":
            self._same("verdict", self.stack.verdict, rest[0])
        elif first == "counted":
            self._same(rest[0], self.stack.counters.get(rest[0], 0), int(rest[1]))
        elif first == "timer":
            self._same("timer", self.entry.summary()[3] or "none", rest[0])
        else:
            self.call(" ".join(words))

    # -- time --------------------------------------------------------------------------------

    def _until(self, t):
        assert t >= self.now, f"time goes back: {self.story[-1]}"
        while (due := self.stack.next_timer()) is not None and due <= t:
            self._fire(due)
        self.now = t

    def _fire(self, due):
        self.now = max(self.now, due)
        self.stack.timer(self.now)
        again = self.stack.next_timer()
        assert again is None or again > self.now, "a timer without progress"
        self._collect()

    def _collect(self):
        sent = [(self.now, segment) for segment in self.stack.to_send()]
        self.clock = next((each.timestamps[0] for _, each in reversed(sent) if each.timestamps), self.clock)
        self.left += sent

    # -- what may stand in a line ------------------------------------------------------------

    def _expect(self, t, good_to, words):
        while not self.left and (due := self.stack.next_timer()) is not None and due <= t + good_to:
            self._fire(due)
        if not self.left:
            self._fail("doesn't leave", words)
        left_at, segment = self.left.pop(0)
        said = self.read(segment)
        for name, value in self._words(words).items():
            self._same(name, said[name], value, segment, left_at)
        if abs(left_at - t) > good_to:
            self._fail(f"leaves at {left_at / SECOND:.3f} s", words)
        self.now = max(self.now, left_at)

    def _words(self, words):
        flags, *rest = words
        named = dict(word.split("=") for word in rest if "=" in word)
        numbers = [int(word) for word in rest if "=" not in word]
        said = {"flags": flags, "seq": numbers.pop(0) if numbers else 0}
        said["ack"] = numbers.pop(0) if "A" in flags else 0
        said["length"] = numbers.pop(0) if numbers else 0
        assert not numbers, words
        if "w" in named:
            said["window"] = int(named["w"])
        if "sack" in named:
            pairs = [each.split(":") for each in named["sack"].split(",") if each]
            said["sack"] = tuple((int(left), int(right)) for left, right in pairs)
        for name in ("ts", "echo", "ecr"):
            if name in named:
                said[name] = int(named[name])
        return said

    def read(self, segment):
        """A segment of the machine in the words of a line."""
        mine, theirs = self.bases

        def count(number, base):
            return (number - base + 2**31) % 2**32 - 2**31

        return {
            "flags": segment.letters or "-",
            # The RST that answers a SYN has a real 0.
            "seq": 0 if segment.flags & RST and not segment.seq else count(segment.seq, mine),
            "ack": count(segment.ack, theirs) if segment.flags & ACK else 0,
            "length": segment.length,
            "window": segment.window,
            "sack": tuple((count(left, theirs), count(right, theirs)) for left, right in segment.sack),
            "echo": segment.timestamps[1] if segment.timestamps and segment.flags & ACK else 0,
        }

    def arrives(self, text):
        """One segment of the peer, as a line has it."""
        self.stack.receive(self.now, self.segment(text, self.ports[1], self.bases))
        self._collect()

    def segment(self, text, port, bases):
        """A segment from a port of the peer; numbers count from `bases`, the machine's and the peer's."""
        said = self._words(text.split())
        mine, theirs = bases
        flags = sum(BITS[letter] for letter in said["flags"] if letter != "-")
        syn, peer = bool(flags & SYN), self.peer
        clock = said.get("ts", 1000 + self.now // MILLISECOND)
        return Segment(
            Endpoint(PEER, port),
            Endpoint(MACHINE, self.ports[0]),
            seq_add(theirs, said["seq"]),
            seq_add(mine, said["ack"]) if flags & ACK else 0,
            flags,
            said.get("window", peer["window"]),
            said["length"],
            mss=peer["mss"] if syn else None,
            window_scale=peer["scale"] if syn else None,
            sack_permitted=syn and peer["sack"],
            sack=tuple((seq_add(mine, left), seq_add(mine, right)) for left, right in said.get("sack", ())),
            timestamps=(clock, said.get("ecr", self.clock)) if peer["timestamps"] else None,
        )

    def call(self, text):
        """One call, as a line has it."""
        call, _, gives = (part.strip() for part in text.partition("->"))
        name, arguments = re.fullmatch(r"(\w+)\((.*)\)", call).groups()
        arguments = [int(each) for each in arguments.split(",") if each.strip()]
        if name == "connect":
            self.socket = self.stack.connect(self.now, Endpoint(PEER, 5432), self.options)
            result = None
        elif name == "listen":
            self.listener = self.stack.listen(5432, self.backlog, self.options)
            result = None
        elif name == "accept":
            result = self.socket = self.stack.call(self.now, "accept", self.listener)
            result = "ok" if result else None
        elif name == "kill_listener":
            result = self.stack.call(self.now, "close_listener", self.listener)
        else:
            arguments = arguments or ([1 << 20] if name == "recv" else [])
            result = self.stack.call(self.now, VERBS[name], self.socket, *arguments)
        self._collect()
        if gives:
            self._same(call, "blocks" if result is None else str(result), gives)
        return result

    # -- looking ---------------------------------------------------------------------------

    @property
    def entry(self):
        """Socket or timewait socket under the connection's four-tuple, or None."""
        four_tuple = Endpoint(MACHINE, self.ports[0]), Endpoint(PEER, self.ports[1])
        return self.stack.sockets.get(four_tuple)

    @property
    def state(self):
        return self.entry.state if self.entry else CLOSED

    def passes(self, seconds):
        """Let time go by; what leaves is kept in `left`."""
        self._until(self.now + round(seconds * SECOND))

    def sends_until(self, t=None):
        """All that leaves until a moment, or until no timer runs: (seconds, words) each.

        For tables and for what is too long to write line by line.
        """
        if t is None:
            while (due := self.stack.next_timer()) is not None:
                self._fire(due)
        else:
            self._until(round(t * SECOND))
        sent = [(round(at / SECOND, 3), self.read(segment)) for at, segment in self.left]
        self.left.clear()
        return sent

    def _same(self, what, got, wanted, segment=None, at=None):
        if got != wanted:
            self._fail(f"{what} is {got!r}, not {wanted!r}", [(at, segment)] if segment else "")

    def _fail(self, why, what):
        if what and isinstance(what[0], tuple):
            what = "; ".join(f"{at / SECOND:.3f} {self.read(segment)}" for at, segment in what)
        lines = "\n    ".join(self.story)
        raise AssertionError(f"{why}: {what}\n    {lines}   <-- here")


class Clients:
    """Several clients of one listener, at port 1, 2, 3 … of the peer; all their options are off."""

    def __init__(self, backlog, **more):
        self.machine = Conversation("listening", backlog=backlog, scale=None, **more).play("0 listen()")
        self.machine.peer["sack"] = False
        self.numbers = {}

    def says(self, client, text):
        """One segment, as a line has it; the flags of what comes back to this client."""
        machine = self.machine
        bases = self.numbers.get(client, 0), 0
        machine.stack.receive(machine.now, machine.segment(text, client, bases))
        answers = [each for each in machine.stack.to_send() if each.destination.port == client]
        for each in answers:
            if each.flags & SYN:
                self.numbers[client] = each.seq
        return "".join(each.letters for each in answers)

    def opens(self, client):
        """SYN and last step; what came back to each."""
        return self.says(client, "S 0"), self.last_step(client)

    def last_step(self, client, length=0):
        return self.says(client, f"A 1 1 {length}")

    def counted(self, *names):
        """Counters by their last words: `ListenDrops`."""
        return [self.machine.stack.counters.get(f"TcpExt{name}", 0) for name in names]

    def state(self, client):
        key = Endpoint(MACHINE, 5432), Endpoint(PEER, client)
        entry = self.machine.stack.sockets.get(key)
        return entry.state if entry else CLOSED


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
                self.log.append(self._read(address, segment, lost))
                if not lost and segment.destination.address in self.stacks:
                    heapq.heappush(self._flying, (self.now + self.latency, next(self._order), segment))

    def _read(self, address, segment, lost):
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
