"""Which local ports of a host were held at an instant: the model's port table, filled from a trace.

Socket samples give the ports held and their states; calls give bind() and the options. Both are
replayed into `tcplab.model.ports` in their order; the verdicts about any further call are then the
model's, whether the trace comes from the model, from Linux or from a capture.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tcplab.core.releases import known_release
from tcplab.core.segment import Endpoint
from tcplab.core.trace import Call, SocketSample, Trace
from tcplab.model.ports import ANY, FREE, Ask, Claim, PortError, PortUse, Verdict
from tcplab.model.stack import Stack

_BIND = re.compile(r"bind\((?P<address>[^)]*):(?P<port>\d+)\)")
_CONNECT = re.compile(r"connect\((?P<address>[^)]*):(?P<port>\d+)\)")
_REUSE, _NO_PORT = "SO_REUSEADDR", "IP_BIND_ADDRESS_NO_PORT"


class Attempt(NamedTuple):
    """A program's attempt to connect: the call that needs a port, and its result."""

    began: int
    #: In words: ``bind(0.0.0.0:0) with SO_REUSEADDR``.
    call: str
    ask: Ask
    #: The destination of connect().
    remote: Endpoint
    #: `ok`, or an errno name.
    result: str
    #: The port it got; 0 for none.
    port: int


class CallOutcome(NamedTuple):
    """What one call would get at an instant."""

    call: str
    #: How many ports it may take, and how many it considers.
    may: int
    asked: int
    #: The model's reason: for the first port that may be taken, else for the first that may not.
    says: str
    errno: str | None


def client_of(trace: Trace) -> str:
    """The first host whose programs call connect(); empty when none does."""
    return next((call.host for call in trace.calls if _CONNECT.match(call.call)), "")


def attempts(trace: Trace, host: str) -> list[Attempt]:
    """The calls of a host's programs that need a port, in order: bind(), or connect() without one."""
    tried: list[Attempt] = []
    bind: Call | None = None
    for call in trace.calls:
        if call.host != host:
            continue
        if _BIND.match(call.call):
            bind = call
            if call.result == "ok":
                continue
            remote, port = _destination(trace, host, call.t), 0  # the program does not call connect()
        elif _CONNECT.match(call.call):
            remote, port = _endpoint(_CONNECT, call.call), call.port
        else:
            continue
        first, bind = bind or call, None
        ask = _ask(trace, first, remote)
        tried.append(Attempt(first.began, first.call, ask, remote, call.result, port))
    return tried


def _ask(trace: Trace, call: Call, remote: Endpoint) -> Ask:
    address, reuse = trace.hosts.get(call.host, ""), _REUSE in call.call
    if not _BIND.match(call.call):
        return Ask("connect", address, remote, reuse_address=reuse)
    local = _endpoint(_BIND, call.call)
    if _NO_PORT in call.call and not local.port and known_release(trace.linux).bind_address_no_port:
        chosen = address if local.address == ANY else local.address
        return Ask("connect", chosen, remote, reuse_address=reuse)
    return Ask("bind", local.address, port=local.port, reuse_address=reuse)


def _endpoint(pattern: re.Pattern[str], text: str) -> Endpoint:
    match = pattern.match(text)
    assert match
    return Endpoint(match["address"], int(match["port"]))


def _destination(trace: Trace, host: str, t: int) -> Endpoint:
    """The last destination of this host's connect() until an instant; before the first call, the first."""
    calls = [call for call in trace.calls if call.host == host and _CONNECT.match(call.call)]
    remotes = [(call.t, _endpoint(_CONNECT, call.call)) for call in calls]
    first = remotes[0][1] if remotes else Endpoint(ANY, 0)
    return next((remote for at, remote in reversed(remotes) if at <= t), first)


def port_range(trace: Trace, host: str) -> tuple[int, int] | None:
    """ip_local_port_range by the run's parameters; None: Linux's default.

    Where they give its size alone, the range begins at the lowest port that was ever used.
    """
    parameters = trace.parameters
    if "first_port" in parameters and "last_port" in parameters:
        return parameters["first_port"], parameters["last_port"]
    used = {s.local.port for s in trace.sockets if s.host == host and s.local.port}
    used |= {call.port for call in trace.calls if call.host == host and call.port}
    if "ports" in parameters and used:
        return min(used), min(used) + parameters["ports"] - 1
    return None


@dataclass(frozen=True)
class LocalPorts:
    """The local ports of one host at one instant of a trace."""

    trace: Trace
    host: str
    #: Nanoseconds on the run's clock.
    now: int
    stack: Stack
    #: The attempt at this instant, else the next one, else the last.
    attempt: Attempt
    #: Every port of ip_local_port_range, in order.
    cells: list[PortUse]

    def verdict(self, port: int, ask: Ask) -> Verdict:
        """May this call take this port now?"""
        return self.stack.ports.why(self.now, port, ask)

    def verdicts(self, ask: Ask) -> list[Verdict]:
        """The same for every port; those that were never used share the verdict of the first of them."""
        free = next((cell for cell in self.cells if cell.state == FREE), self.cells[0])
        found = [self.verdict(free.port, ask)] * len(self.cells)
        for i in range(len(found)) if ask.port else self._unlike:
            found[i] = self.verdict(self.cells[i].port, ask)
        return found

    @cached_property
    def _unlike(self) -> list[int]:
        """The places of ports with a verdict of their own: used, reserved, and the last of the range."""
        cells = self.cells
        return [i for i, cell in enumerate(cells) if cell.claims or cell.state != FREE or cell is cells[-1]]

    def answers(self) -> list[CallOutcome]:
        """What each kind of call would get now."""
        return [self._answer(says, ask) for says, ask in self._calls()]

    def answer(self) -> CallOutcome:
        """What the call of `attempt` gets."""
        return self._answer(self.attempt.call, self.attempt.ask)

    def _calls(self) -> list[tuple[str, Ask]]:
        own, here = self.trace.hosts.get(self.host, ""), self.attempt.remote
        used = {sample.remote for sample in self.trace.sockets}
        ports = range(here.port + 1, here.port + len(used) + 2)
        elsewhere = next(to for port in ports if (to := Endpoint(here.address, port)) not in used)
        held = next((cell.port for cell in self.cells if cell.claims), self.cells[0].port)
        named = self.attempt.ask.port or held
        chooses_late = known_release(self.trace.linux).bind_address_no_port
        late = Ask("connect", own, here) if chooses_late else Ask("bind", own)
        zero, reuse = "bind() to port 0", "with SO_REUSEADDR"
        return [
            (f"connect() to {here}", Ask("connect", own, here)),
            (f"connect() to another destination, {elsewhere}", Ask("connect", own, elsewhere)),
            (zero, Ask("bind")),
            (f"{zero} {reuse}", Ask("bind", reuse_address=True)),
            (f"bind() to port {named}", Ask("bind", port=named)),
            (f"bind() to port {named} {reuse}", Ask("bind", port=named, reuse_address=True)),
            (f"bind() with IP_BIND_ADDRESS_NO_PORT, then connect() to {here}", late),
        ]

    def _answer(self, call: str, ask: Ask) -> CallOutcome:
        asked = [self.verdict(ask.port, ask)] if ask.port else self.verdicts(ask)
        may = [verdict for verdict in asked if verdict.ok]
        best = (may or asked)[0]
        return CallOutcome(call, len(may), len(asked), best.says, None if may else best.errno)


def wanted_at(trace: Trace) -> int:
    """When the last call needs a port, nanoseconds; the run's start where no call does."""
    tried = attempts(trace, client_of(trace))
    return tried[-1].began if tried else trace.start


def local_ports(trace: Trace, at: int | None = None) -> LocalPorts | None:
    """The client's ports at an instant (nanoseconds), by default when its last call needs a port.

    At the instant of a call they are as the call finds them. None where no program connects.
    """
    host = client_of(trace)
    tried = attempts(trace, host)
    if not tried:
        return None
    now = wanted_at(trace) if at is None else at
    attempt = next((each for each in tried if each.began >= now), tried[-1])
    seed = int(trace.parameters.get("seed") or 0)
    stack = Stack(trace.hosts.get(host, ""), known_release(trace.linux), seed)
    if "tw_reuse" in trace.parameters:
        stack.sysctls.tcp_tw_reuse = int(trace.parameters["tw_reuse"])
    limits = port_range(trace, host) or stack.sysctls.ip_local_port_range
    _PortReplay(trace, host, stack).until(now, inclusive=attempt.began != now)
    stack.sysctls.ip_local_port_range = limits
    return LocalPorts(trace, host, now, stack, attempt, stack.ports.map(now))


def occupancy(trace: Trace, host: str) -> list[tuple[int, dict[str, int]]]:
    """(instant, ports of the range in use by state): every change, TIME_WAIT to its end after the run too."""
    stack = Stack(trace.hosts.get(host, ""), known_release(trace.linux), 0)
    first, last = port_range(trace, host) or stack.sysctls.ip_local_port_range
    replay, states, counts = _PortReplay(trace, host, stack), dict[int, str](), Counter[str]()
    curve: dict[int, dict[str, int]] = {trace.start: {}}
    left: list[tuple[int, int, str]] = []
    for event in replay.events():
        replay.play(event)
        when, _, port, _ = event
        left.append((when, port, stack.ports.use(when, port).state))
    ends = {port: stack.ports.use(trace.end, port).left for port in {port for _, port, _ in left}}
    left += [(trace.end + wait, port, FREE) for port, wait in ends.items() if wait is not None and wait > 0]
    for when, port, state in sorted(left, key=lambda change: change[0]):
        if first <= port <= last and states.get(port, FREE) != state:
            counts[states.get(port, FREE)] -= 1
            counts[state] += 1
            states[port] = state
            curve[when] = {state: count for state, count in counts.items() if count and state != FREE}
    return [*curve.items()]


#: (instant, calls before samples, the port it is about, what happened).
Event = tuple[int, int, int, Call | SocketSample]


class _PortReplay:
    """Replays one host's calls and socket samples into a `Ports`."""

    def __init__(self, trace: Trace, host: str, stack: Stack) -> None:
        self._stack, self._ports = stack, stack.ports
        self._no_port = known_release(trace.linux).bind_address_no_port
        self._calls = [call for call in trace.calls if call.host == host]
        self._samples = [sample for sample in trace.sockets if sample.host == host]
        self._open: dict[tuple[Endpoint, Endpoint], Claim] = {}
        #: By port: bound, and not connected yet.
        self._bound: dict[int, Claim] = {}
        #: The connect() calls with SO_REUSEADDR as (port, destination, when).
        self._reusing = [
            (call.port, _endpoint(_CONNECT, call.call), call.began)
            for call in self._calls
            if _CONNECT.match(call.call) and _REUSE in call.call
        ]
        #: Connections on which the peer used timestamps.
        self._stamped = {
            (p.segment.destination, p.segment.source) for p in trace.packets if p.segment.timestamps
        }

    def events(self) -> list[Event]:
        """Calls and samples in order. At one instant calls come before the sockets they make."""
        events: list[Event] = [(call.began, 0, call.port, call) for call in self._calls]
        events += [(sample.t, 1, sample.local.port, sample) for sample in self._samples]
        return sorted(events, key=lambda event: event[:2])

    def until(self, t: int, *, inclusive: bool) -> None:
        """Everything before `t`, or until `t`."""
        for event in self.events():
            if event[0] > t or (event[0] == t and not inclusive):
                break
            self.play(event)

    def play(self, event: Event) -> None:
        """One call or sample."""
        what = event[-1]
        if isinstance(what, Call):
            self._called(what)
        else:
            self._saw(what)

    def _called(self, call: Call) -> None:
        if _BIND.match(call.call) and call.result == "ok" and call.port:
            local = _endpoint(_BIND, call.call)
            if _NO_PORT in call.call and not local.port and self._no_port:
                return  # only the address was fixed
            try:
                reuse = _REUSE in call.call
                self._bound[call.port] = self._ports.bind(local.address, call.port, reuse_address=reuse)
            except PortError:
                pass  # bind(0) may share where a bind() that names the port may not
        elif _CONNECT.match(call.call) and call.result != "ok" and not call.port and self._bound:
            self._ports.release(self._bound.popitem()[1])

    def _saw(self, sample: SocketSample) -> None:
        pair = (sample.local, sample.remote)
        claim = self._open.get(pair)
        if sample.state == "CLOSED":
            if claim is not None:
                self._ports.release(self._open.pop(pair))
            return
        waits = sample.timer == "timewait"
        if claim is None or (claim.entered is not None and not waits):  # the first, or the next one
            if not sample.local.port or not sample.remote.port:
                return
            claim = self._open[pair] = self._connect(sample)
        if not waits:
            claim.state = sample.state
        elif claim.state != sample.state or claim.entered is None:
            stamped = pair in self._stamped
            self._ports.wait(claim, sample.t, sample.state, sample.due or sample.t, timestamps=stamped)
        else:
            claim.expires = sample.due

    def _connect(self, sample: SocketSample) -> Claim:
        local, remote = sample.local, sample.remote
        # A range of one port makes connect() take just the one that the trace shows.
        self._stack.sysctls.ip_local_port_range = (local.port, local.port)
        reuse = any((port, to) == (local.port, remote) and t <= sample.t for port, to, t in self._reusing)
        while True:
            bound = self._bound.pop(local.port, None)
            try:
                if bound is not None:
                    self._ports.connect_bound(bound, local.address, remote)
                    return bound
                return self._ports.connect(sample.t, local.address, remote, reuse_address=reuse)[0]
            except PortError:
                self._release(local, remote)

    def _release(self, local: Endpoint, remote: Endpoint) -> None:
        """Release what keeps the rules from taking a port that, by the trace, was taken."""
        held = self._ports.held(local.port)
        same = [claim for claim in held if (claim.local, claim.remote) == (local, remote)]
        for claim in same or held:
            self._ports.release(claim)
