"""Runs a packetdrill script against the model: one host, its system calls, and the scripted peer.

Time is virtual, so a script of an hour takes no time. The checks are packetdrill's: the order of outgoing
segments, times, flags, sequence and acknowledgement numbers, lengths, options, and the window where the
script gives it. Two things differ from a real interface: the model has no segmentation offload, so one long
segment of a script matches all that are sent at its time; and differences in PSH, which depends on how Linux
queues data, are only counted.
"""

import ast
import re
from collections import deque
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from packetdrill.calls import ALIASES, MACHINE, PEER, PORT, Calls
from packetdrill.script import (
    MICROSECOND,
    SECOND,
    Arrives,
    Assertions,
    Call,
    Differs,
    Event,
    Leaves,
    NotModelled,
    NotUnderstood,
    Options,
    Shell,
)
from tcplab.core.releases import NEWEST, release
from tcplab.core.segment import ACK, FIN, FLAG_LETTERS, PSH, RST, SYN, Endpoint, Segment, seq_add, seq_diff
from tcplab.core.text import MILLISECOND
from tcplab.model import rules
from tcplab.model.ports import PortError
from tcplab.model.socket import Socket
from tcplab.model.stack import Stack

FIRST_PORT = 50000
MODEL = Path(rules.__file__).parent
#: How far a time may be off, microseconds, unless the script sets it.
TOLERANCE = 10_000
#: How long a `*` waits.
ANY_TIME = 600 * SECOND
#: Timers that may fire one after another without an event.
QUARREL = 10_000

#: The most payload that a TUN device puts into linear memory; more uses pages, which are charged differently
#: (drivers/net/tun.c:tun_alloc_skb).
ONE_PIECE = 4000

#: What google's and the kernel's common/defaults.sh sets and the model has.
DEFAULTS = {"tcp_rmem": "4096 540000 15728640", "tcp_syn_retries": "5", "tcp_synack_retries": "5"}
#: Settings with a single modelled value, and what another value would need.
FIXED = {
    "tcp_ecn": ("0", "ECN"),
    "tcp_early_retrans": ("3 4", "early retransmit and loss probes switched off"),
    "tcp_recovery": ("1", "RACK switched off"),
    "tcp_dsack": ("1", "D-SACK switched off"),
    "tcp_reordering": ("3", "tcp_reordering"),
    "tcp_shrink_window": ("0", "tcp_shrink_window"),
    "tcp_slow_start_after_idle": ("0", "slow start after idle"),
    "tcp_congestion_control": ("cubic reno", "congestion control"),
    "tcp_mtu_probing": ("0", "MTU probing"),
    "tcp_notsent_lowat": ("4294967295", "TCP_NOTSENT_LOWAT"),
    "tcp_window_scaling": ("1", "window scaling switched off"),
}
#: Settings without an effect under the model's rules.
WITHOUT_EFFECT = {
    "tcp_frto", "tcp_fack", "tcp_tso_win_divisor", "tcp_min_tso_segs", "tcp_pacing_ss_ratio",
    "tcp_pacing_ca_ratio", "tcp_fastopen", "tcp_fastopen_key", "tcp_wmem", "tcp_ecn_option",
    "tcp_base_mss", "tcp_no_metrics_save",
}  # fmt: skip
#: Commands without an effect on a host without interfaces.
IGNORED_COMMANDS = re.compile(
    r"(ip tcp_metrics flush|ethtool|/tmp/sysctl_restore|sleep|nstat -n|tc qdisc \w+ .*pfifo$)"
)
#: Commands that need something outside the model.
COMMANDS = {
    "tc qdisc delete": "a queue of the machine's own that drops",
    "root fq": "pacing",
    "hystart": "congestion control (CUBIC)",
    "testfile": "sendfile()",
}
_SETTING = re.compile(r"(?:/proc/sys/net|net)[./]ipv4[./](\w+)\s*=\s*(\"[^\"]*\"|\S+)")
_COUNTED = re.compile(r"nstat.*\|\s*grep (?:-q )?(\w+)\s*\|\s*grep -q \"\s*(\d+)\s*\"")

#: Named constants in scripts.
_WORDS = {
    "TCPI_OPT_TIMESTAMPS": 1, "TCPI_OPT_SACK": 2, "TCPI_OPT_WSCALE": 4, "TCPI_OPT_ECN": 8,
    "TCPI_OPT_SYN_DATA": 32,
}  # fmt: skip
#: Fields of struct tcp_info that the model knows (net/ipv4/tcp.c:tcp_get_info).
INFO = {
    "tcpi_snd_mss": lambda socket: socket.sender.mss,
    "tcpi_rcv_mss": lambda socket: socket.receiver.rcv_mss,
    "tcpi_advmss": lambda socket: socket.receiver.own_mss,
    "tcpi_snd_cwnd": lambda socket: socket.sender.cwnd,
    "tcpi_unacked": lambda socket: len(socket.sender.flight),
    "tcpi_sacked": lambda socket: sum(chunk.sacked for chunk in socket.sender.flight),
    "tcpi_retransmits": lambda socket: socket.sender.timer.repeats,
    "tcpi_backoff": lambda socket: socket.sender.timer.backoff,
    "tcpi_probes": lambda socket: socket.probes_out,
    "tcpi_rto": lambda socket: socket.sender.timer.rto() // MICROSECOND,
    "tcpi_rtt": lambda socket: socket.sender.rtt.smoothed // MICROSECOND,
    "tcpi_options": lambda socket: socket.timestamps * 1 | socket.sack * 2 | socket.scaling * 4,
    "SK_MEMINFO_RCVBUF": lambda socket: socket.receiver.memory.size,
}
#: Those that need the beginning of the connection.
_OF_FLOW = {
    "tcpi_bytes_received": lambda socket, flow, now: seq_diff(socket.receiver.nxt, flow.peer_iss) - 1,
    "tcpi_last_data_recv": lambda socket, flow, now: (
        (now - max(socket.receiver.last_data, flow.opened or 0)) // MILLISECOND
    ),
}
#: What GRO changes: several segments arrive in one piece of memory.
_OF_MEMORY = ("tcpi_rcv_mss", "SK_MEMINFO_RCVBUF", "win")
#: Python that an assertion may use; anything else is not run.
_HARMLESS = (
    ast.Module, ast.Assert, ast.Compare, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Name, ast.Constant,
    ast.Tuple, ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip


@dataclass
class Flow:
    """One connection's numbers: the script's, and the real ones."""

    local: Endpoint
    remote: Endpoint
    iss: int | None = None
    #: Window scales of both SYNs; None until seen.
    own_scale: int | None = None
    peer_scale: int | None = None
    #: Clocks of the machine by the script's numbers, and the first of both.
    stamps: dict[int, int] = field(default_factory=dict)
    first_stamp: tuple[int, int] | None = None
    #: The peer's first number, when the connection was established, and whether joined segments came.
    peer_iss: int = 0
    opened: int | None = None
    joined: bool = False

    def scales(self):
        """Shifts of the machine's and the peer's window."""
        if self.own_scale is None or self.peer_scale is None:
            return 0, 0
        return self.own_scale, self.peer_scale


@dataclass
class Waiting:
    """A call that blocks, and when it has to end."""

    event: Event
    attempt: object
    until: int


def letters(flags):
    """Flags as packetdrill writes them."""
    return "".join("." if bit == ACK else letter for bit, letter in FLAG_LETTERS if flags & bit) or "-"


class Player(Calls):
    """A host and its traffic; `play` runs a whole script."""

    def __init__(self, linux=NEWEST):
        self.stack = Stack(MACHINE, release(linux))
        self.now = self.before = 0
        self.tolerance = TOLERANCE * MICROSECOND
        self.tick = None
        #: Segments of this size may arrive joined into one (--mss).
        self.joined_mss = 0
        #: Sent segments that no line has matched yet: (when, segment).
        self.left = deque()
        self.descriptors = {}
        self.waiting = []
        self.flow = None
        self.fresh_listener = False
        self.next_port = FIRST_PORT
        self.pushes_differ = 0

    def play(self, script):
        """Run a script. Raises `Differs` or `NotModelled` at the first line that doesn't hold."""
        self._options(script.options)
        for command in script.before:
            self._command(command)
        for event in script.events:
            try:
                self._event(event)
            except (Differs, NotModelled, NotUnderstood) as error:
                error.args = (f"line {event.line}: {error}",)
                raise
        if self.waiting:
            self._until(max(waiting.until for waiting in self.waiting) + self.tolerance)
            for waiting in self.waiting:
                raise Differs(f"line {waiting.event.line}: {waiting.event.action.name}() still blocks")

    def _options(self, options):
        if "6" in options.get("ip_version", ""):
            raise NotModelled("IPv6")
        if "tolerance_usecs" in options:
            self.tolerance = int(options["tolerance_usecs"]) * MICROSECOND
        if "tcp_ts_tick_usecs" in options:
            self.tick = int(options["tcp_ts_tick_usecs"]) * MICROSECOND
        if "mss" in options:
            self.joined_mss = int(options["mss"])
        if "tcp_ts_ecr_scaled" in options:
            raise NotModelled("scaled timestamps")

    # -- time ------------------------------------------------------------------------------------------

    def _event(self, event):
        moment = event.moment
        base = self.before if moment.relative else 0
        if isinstance(event.action, Leaves):
            self._expect(event.action, moment, base)
            return
        if moment.first is not None:
            self._until(max(base + moment.first, self.now))
        self.before = self.now
        match event.action:
            case Arrives():
                self._arrives(event.action)
            case Call():
                self._call(event, base)
            case Shell():
                for command in event.action.commands:
                    self._command(command)
            case Assertions():
                self._assert(event.action.source)

    def _until(self, t):
        while (due := self.stack.next_timer()) is not None and due <= t:
            self._fire(due)
        self.now = max(self.now, t)

    def _fire(self, due):
        self.now = max(self.now, due)
        self.stack.timer(self.now)
        self._collect()

    def _collect(self):
        """Collect sent segments, and let blocked calls try again."""
        self.left += [(self.now, segment) for segment in self.stack.to_send()]
        for _, segment in self.left:
            self._no_nagle(segment)
        for waiting in tuple(self.waiting):
            result = waiting.attempt()
            if result is not None:
                self.waiting.remove(waiting)
                call, at = waiting.event.action, waiting.until
                if abs(self.now - at) > self.tolerance:
                    took = f"{self.now / SECOND:.3f} s, not {at / SECOND:.3f} s"
                    raise Differs(f"{call.name}() of line {waiting.event.line} ends at {took}")
                self._same_result(call, result)
                self._collect()

    def _no_nagle(self, segment):
        """The model sends a small segment at once; without TCP_NODELAY Linux waits for an ACK."""
        socket = self.stack.sockets.get((segment.source, segment.destination))
        holder = next((each for each in self.descriptors.values() if each.socket is socket), None)
        if not isinstance(socket, Socket) or not segment.length or segment.flags & FIN or not holder:
            return
        flight = socket.sender.flight
        is_new = flight and flight[-1].seq == segment.seq and not flight[-1].repeats
        # Linux holds back a small segment while another is in flight (tcp_nagle_check, tcp_minshall_check).
        small = [chunk for chunk in flight if 0 < chunk.length < socket.sender.mss]
        if (
            is_new
            and not holder.nodelay
            and segment.length < socket.sender.mss
            and len(flight) > 1
            and len(small) > 1
        ):
            raise NotModelled("Nagle's algorithm")

    # -- segments --------------------------------------------------------------------------------------

    def _arrives(self, said):
        flow = self._flow_for(said)
        syn = said.flags & SYN
        options = said.options or Options()
        if syn:
            flow.peer_scale, flow.peer_iss = options.scale, said.seq
        if said.length > (self.joined_mss or rules.MSS_ETHERNET):
            self._join(flow, said.length)
        self._no_duplicate_acks(flow, said)
        iss = flow.iss or 0
        scale = 0 if syn else flow.scales()[1]
        stamps = options.stamps
        self.stack.receive(
            self.now,
            Segment(
                flow.remote, flow.local, said.seq, seq_add(iss, said.ack) if said.flags & ACK else 0,
                said.flags, said.window << scale, said.length, mss=options.mss if syn else None,
                window_scale=options.scale if syn else None,
                sack_permitted=bool(syn and options.sack_permitted),
                sack=tuple((seq_add(iss, left), seq_add(iss, right)) for left, right in options.sack),
                timestamps=(stamps.value, self._live_stamp(flow, stamps.echo)) if stamps else None,
            ),
        )  # fmt: skip
        entry = self.stack.sockets.get((flow.local, flow.remote))
        if flow.opened is None and entry and entry.state == rules.ESTABLISHED:
            flow.opened = self.now
        self._collect()

    def _join(self, flow, length):
        """A long segment arrives as a card joins it (GRO), the size of its parts beside it (gso_size)."""
        flow.joined = flow.joined or length > ONE_PIECE or not self.joined_mss
        socket = self.stack.sockets.get((flow.local, flow.remote))
        if not self.joined_mss or not isinstance(socket, Socket) or "_measure" in vars(socket.receiver):
            return
        measure, mss = socket.receiver._measure, self.joined_mss

        def measure_parts(segment, charge):
            if segment.length > mss:
                # The share of payload is computed from the whole segment.
                charge = Fraction(charge * mss, segment.length)
                segment = replace(segment, length=mss)
            measure(segment, charge)

        socket.receiver._measure = measure_parts

    def _no_duplicate_acks(self, flow, said):
        """The model detects a hole by SACK alone; Linux counts duplicate ACKs too."""
        socket = self.stack.sockets.get((flow.local, flow.remote))
        if not isinstance(socket, Socket) or socket.sack or said.length or said.flags != ACK:
            return
        sender = socket.sender
        same = (
            seq_add(flow.iss or 0, said.ack) == sender.una
            and said.window << flow.scales()[1] == sender.window
        )
        if sender.flight and same:
            raise NotModelled("fast retransmit without SACK")

    def _flow_for(self, said):
        if said.flags & (SYN | ACK) == SYN and self.fresh_listener:
            self.fresh_listener = False
            self.flow = None
            self.next_port += 1
        if self.flow is None:
            self.begin_flow(Endpoint(MACHINE, PORT), Endpoint(PEER, self.next_port))
        return self.flow

    def begin_flow(self, local, remote):
        """From now on the script is about this connection."""
        self.flow = Flow(local, remote)

    def _live_stamp(self, flow, echo):
        if echo in flow.stamps or not flow.first_stamp:
            return flow.stamps.get(echo, echo)
        said, live = flow.first_stamp
        return seq_add(live, echo - said)

    def _expect(self, said, moment, base):
        if moment.first is None:
            first, last, slack = base, base + ANY_TIME, 0
        else:
            first, last, slack = base + moment.first, base + moment.last, self.tolerance
        self._forget_others()
        while not self.left and (due := self.stack.next_timer()) is not None and due <= last + slack:
            self._fire(due)
            self._forget_others()
        if not self.left:
            raise Differs(f"{self._words(said)} doesn't leave")
        at, segment = self.left.popleft()
        segment, pieces = self._long(at, segment, said)
        self._compare(said, segment, pieces)
        if not first - slack <= at <= last + slack:
            raise Differs(f"{self._words(said)} leaves at {at / SECOND:.3f} s, not {first / SECOND:.3f} s")
        self.now, self.before = max(self.now, at), at

    def _forget_others(self):
        """Like packetdrill, look only at the connection that the script is about now."""
        flow = self.flow
        while (
            flow
            and self.left
            and (self.left[0][1].source, self.left[0][1].destination) != (flow.local, flow.remote)
        ):
            self.left.popleft()

    def _long(self, at, segment, said):
        """All that leaves at one moment and follows on, as one segment; how many they were."""
        pieces = 1
        while segment.length and segment.length < said.length and self.left:
            then, more = self.left[0]
            if then != at or more.seq != segment.end_seq or not more.length:
                break
            self.left.popleft()
            segment = replace(segment, length=segment.length + more.length, flags=segment.flags | more.flags)
            pieces += 1
        return segment, pieces

    def _compare(self, said, live, pieces):
        flow = self.flow
        if flow is None:
            raise NotUnderstood(f"{self._words(said)} before any connection")
        if live.flags & SYN and flow.iss is None:
            flow.iss = seq_add(live.seq, -said.seq)
        if live.flags & SYN:
            flow.own_scale = live.window_scale
        iss = flow.iss or 0
        # The RST that answers a SYN has a real 0.
        seq = 0 if live.flags & RST and not live.seq else seq_add(live.seq, -iss)
        scale = 0 if live.flags & SYN else flow.scales()[0]
        found = [
            ("flags", live.flags & ~PSH, said.flags & ~PSH),
            ("seq", seq, said.seq),
            ("length", live.length, said.length),
            ("ack", live.ack if live.flags & ACK else 0, said.ack),
        ]
        if said.window is not None:
            found.append(("win", live.window >> scale, said.window))
        if said.options is not None:
            found += self._options_of(flow, said.options, live)
        for name, got, wanted in found:
            if got != wanted:
                if name in _OF_MEMORY and flow.joined:
                    raise NotModelled(f"the memory of segments that a card has joined ({name})")
                if name == "flags":
                    got, wanted = letters(got), letters(wanted)
                raise Differs(f"{self._words(said)}: {name} is {got}, not {wanted}")
        self.pushes_differ += (live.flags ^ said.flags) & PSH > 0 and pieces == 1

    def _options_of(self, flow, said, live):
        yield "mss", live.mss, said.mss
        yield "wscale", live.window_scale, said.scale
        yield "sackOK", live.sack_permitted, said.sack_permitted
        # Blocks of the peer's data are in the peer's numbers.
        yield "sack", live.sack, said.sack
        yield "TS", live.timestamps is not None, said.stamps is not None
        if live.timestamps and said.stamps:
            value, echo = live.timestamps
            flow.stamps[said.stamps.value] = value
            flow.first_stamp = flow.first_stamp or (said.stamps.value, value)
            yield "TS ecr", echo, said.stamps.echo
            if self.tick:
                began, clock = flow.first_stamp
                off = abs(seq_diff(value, seq_add(clock, said.stamps.value - began))) * self.tick
                yield "TS val", value if off > self.tolerance else said.stamps.value, said.stamps.value

    def _words(self, said):
        tail = f" ack {said.ack}" if said.flags & ACK else ""
        return f"> {letters(said.flags)} {said.seq}:{said.seq + said.length}({said.length}){tail}"

    # -- commands and assertions -----------------------------------------------------------------------

    def _command(self, command):
        if command.endswith("defaults.sh"):
            for name, value in DEFAULTS.items():
                self._set(name, value)
        elif settings := _SETTING.findall(command):
            for name, value in settings:
                self._set(name, value.strip('"'))
        elif counted := _COUNTED.search(command):
            if not any(counted[1] in path.read_text() for path in MODEL.glob("*.py")):
                raise NotModelled(f"the counter {counted[1]}")
            got = self.stack.counters.get(counted[1], 0)
            if got != int(counted[2]):
                raise Differs(f"{counted[1]} is {got}, not {counted[2]}")
        elif not IGNORED_COMMANDS.match(command):
            what = next(
                (what for part, what in COMMANDS.items() if part in command), f"the command {command!r}"
            )
            raise NotModelled(what)

    def _set(self, name, value):
        value = re.sub(r"\$\(\(([\d* ]+)\)\)", lambda sum_: str(_product(sum_[1])), value)
        sysctls = self.stack.sysctls
        if name == "tcp_rmem":
            _, sysctls.tcp_rmem, sysctls.tcp_rmem_max = map(int, value.split())
        elif name in FIXED:
            only, what = FIXED[name]
            if value not in only.split():
                raise NotModelled(what)
        elif hasattr(sysctls, name):
            setattr(sysctls, name, int(value))
        elif name not in WITHOUT_EFFECT:
            raise NotModelled(f"the setting {name}")

    def _assert(self, source):
        lines = re.sub(r"\\\n|;", "\n", source).splitlines()
        try:
            tree = ast.parse("\n".join(line.strip() for line in lines))
        except SyntaxError as error:
            raise NotUnderstood(f"no Python: {error.text or source!r}") from None
        for node in ast.walk(tree):
            if not isinstance(node, _HARMLESS):
                raise NotModelled(f"Python: {ast.unparse(node)}" if hasattr(node, "lineno") else "Python")
        for statement in tree.body:
            names = [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]
            known = {name: self._known(name) for name in names}
            condition = compile(ast.Expression(statement.test), "script", "eval")
            if not eval(condition, {"__builtins__": {}}, known):
                if self.flow and self.flow.joined and set(names) & set(_OF_MEMORY):
                    raise NotModelled(f"the memory of segments that a card has joined ({names[0]})")
                raise Differs(f"{ast.unparse(statement.test)} with {known}")

    def _known(self, name):
        if name in _WORDS:
            return _WORDS[name]
        flow = self.flow
        if name not in INFO and name not in _OF_FLOW:
            raise NotModelled(f"tcp_info field {name}")
        entry = flow and self.stack.sockets.get((flow.local, flow.remote))
        if not isinstance(entry, Socket):
            raise NotModelled(f"{name} of a closed connection")
        if name in _OF_FLOW:
            return _OF_FLOW[name](entry, flow, self.now)
        return INFO[name](entry)

    # -- calls -----------------------------------------------------------------------------------------

    def _call(self, event, base):
        call = event.action
        action = getattr(self, f"call_{ALIASES.get(call.name, call.name)}", None)
        if action is None:
            raise NotModelled(f"{call.name}()")

        def attempt():
            try:
                return action(call)
            except PortError as error:
                return str(error).split()[0]

        result = attempt()
        self._collect()
        if result is None:
            descriptor = self._descriptor(call)
            if not descriptor.blocking or "MSG_DONTWAIT" in call.arguments:
                result = "EINPROGRESS" if call.name == "connect" else "EAGAIN"
            elif event.moment.until is None:
                raise Differs(f"{call.name}() blocks")
            else:
                self.waiting.append(Waiting(event, attempt, base + event.moment.until))
                return
        self._same_result(call, result)

    def _same_result(self, call, result):
        if result != call.result:
            raise Differs(f"{call.name}() gives {result}, not {call.result}")


def _product(words):
    result = 1
    for factor in words.split("*"):
        result *= int(factor)
    return result
