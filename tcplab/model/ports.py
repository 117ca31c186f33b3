"""Who holds a local port, and who may take it: the table behind EADDRNOTAVAIL and EADDRINUSE.

Theory of operation: a *claim* is one socket's hold on a port, timewait sockets included; the claims
on one port are its bucket. connect() and bind() ask different questions of a bucket:

- connect() knows its destination. It shares a port with any connection to another destination, unless
  a socket has called bind() for that port; then it skips the port.
- bind() does not know the destination yet. It conflicts with every claim on the same local address, TIME_WAIT
  included, unless both have SO_REUSEADDR and the port is asked for by its number.

Sources: net/ipv4/inet_hashtables.c (__inet_hash_connect, __inet_check_established),
net/ipv4/inet_connection_sock.c (inet_csk_get_port, inet_csk_find_open_port, inet_bind_conflict),
net/ipv4/tcp_ipv4.c (tcp_twsk_unique); RFC 6056 section 3.3 (the order of ports).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Literal, NamedTuple

from tcplab.core.releases import Release
from tcplab.core.segment import Endpoint
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.model.rules import ESTABLISHED, FIN_WAIT_2, LISTEN, SYN_SENT, Sysctls

#: bind() to no address in particular.
ANY = "0.0.0.0"
#: What a port is called in the map when no connection's state says more.
FREE, RESERVED, BOUND = "FREE", "RESERVED", "BOUND"


class PortError(Exception):
    """No port for this call: its errno name, and why in one sentence."""

    def __init__(self, errno: str, says: str) -> None:
        super().__init__(says)
        self.errno = errno


@dataclass(slots=True, eq=False)
class Claim:
    """One socket's hold on one port. Its owner keeps `state` and `expires` up to date."""

    port: int
    address: str
    remote: Endpoint | None
    #: `BOUND` until it listens or connects, then the socket's state.
    state: str
    reuse_address: bool
    #: connect() chose the port; bind() was not called for it.
    made_by_connect: bool = False
    #: Of a timewait socket: its beginning, the last timestamp it received, its end; nanoseconds.
    entered: int | None = None
    heard: int = 0
    expires: int | None = None
    #: Both ends used timestamps.
    timestamps: bool = False

    @property
    def local(self) -> Endpoint:
        """Its half of the four-tuple."""
        return Endpoint(self.address, self.port)


@dataclass(frozen=True, slots=True)
class Ask:
    """A call that wants a port."""

    verb: Literal["connect", "bind"]
    #: The socket's own address; `ANY` for a bind() to none in particular.
    address: str = ANY
    #: connect(): where to.
    remote: Endpoint | None = None
    #: bind(): which port, 0 = Linux chooses.
    port: int = 0
    #: SO_REUSEADDR is set before.
    reuse_address: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """May a call take a port?"""

    ok: bool
    #: Why, in one sentence.
    says: str
    #: What the call gives if every port says no.
    errno: str | None = None


class PortUse(NamedTuple):
    """The use of one port, for the map."""

    port: int
    #: `FREE`, `RESERVED`, `BOUND` or the state of its liveliest connection.
    state: str
    #: Nanoseconds until its last TIME_WAIT is over; None where none waits.
    left: int | None
    #: The sockets that hold it.
    claims: tuple[Claim, ...]


def one_by_one(first: int, size: int, below: Callable[[int], int]) -> Iterator[int]:
    """Every port, from a random one on: the order up to Linux 4.5. `below(n)`: a random number, 0 … n-1."""
    start = below(size)
    return (first + (start + i) % size for i in range(size))


def by_parity(
    first: int, size: int, parity: int, below: Callable[[int], int], start: int = -1
) -> Iterator[int]:
    """Every other port, then those between, since Linux 4.6; from pair `start` on, or a random one.

    In an odd range Linux leaves out the last port, or the first if it begins further on, by chance. Here
    it is always the last, so that the outcome of a run does not depend on chance.
    """
    half = size // 2
    if not half:
        yield first
        return
    start = _start(size, below, start)
    for each in (parity, 1 - parity):
        for i in range(half):
            yield first + 2 * ((start + i) % half) + each


def first_one_by_one(first: int, size: int, below: Callable[[int], int], taken: int) -> int:
    """The first port of `one_by_one` whose bit in `taken` is not set; 0 when all are."""
    start = below(size)
    free = ~(taken >> first) & ((1 << size) - 1)
    return first + _first_from(free, start) if free else 0


def first_by_parity(first: int, size: int, below: Callable[[int], int], start: int, taken: int) -> int:
    """The first port of `by_parity` with parity 0 whose bit in `taken` is not set; 0 when all are."""
    half = size // 2
    if not half:
        return 0 if taken >> first & 1 else first
    start = _start(size, below, start)
    free = ~(taken >> first)
    for each in (0, 1):
        if some := free & _every_other(half) << each:
            return first + _first_from(some, 2 * start + each)
    return 0


def _start(size: int, below: Callable[[int], int], start: int) -> int:
    if size % 2:
        return 0
    return below(size // 2) if start < 0 else start


@lru_cache(maxsize=64)
def _every_other(half: int) -> int:
    """Bits 0, 2, 4 …, so many of them."""
    return ((1 << 2 * half) - 1) // 3


def _first_from(bits: int, start: int) -> int:
    """The lowest bit that is set from `start` on, or else the lowest at all."""
    above = bits >> start
    some, offset = (above, start) if above else (bits, 0)
    return offset + (some & -some).bit_length() - 1


#: connect() moves on by a random number of steps below this (__inet_hash_connect).
_RANDOM_STEPS = 8


@dataclass(slots=True, eq=False)
class _Bucket:
    """The claims on one port (struct inet_bind_bucket)."""

    claims: dict[Claim, None] = field(default_factory=dict)
    #: How many of them came by bind().
    binders: int = 0
    #: connect() passes it over (fastreuse or fastreuseport are 0 or more).
    bound: bool = False
    #: Every owner so far has SO_REUSEADDR (fastreuse > 0).
    shared: bool = False


class Ports:
    """The local ports of one machine."""

    def __init__(
        self, rules: Release, sysctls: Sysctls, below: Callable[[int], int], second_began: int = 0
    ) -> None:
        """`below(n)`: a random number, 0 … n-1. `second_began`: where in its second the clock stood at 0."""
        self._rules = rules
        self._sysctls = sysctls
        self._below = below
        self._second_began = second_began
        self._buckets: dict[int, _Bucket] = {}
        self._tuples: dict[tuple[str, int, Endpoint], Claim] = {}
        #: Where the next connect() between two addresses begins to look.
        self._hints: dict[tuple[str, Endpoint], int] = {}
        self._reserved_text, self._reserved = "", frozenset[int]()
        #: Ports as bits: those that a bind() holds, and those that lead from an address to a destination.
        self._bound_bits = 0
        self._taken_bits: defaultdict[tuple[str, Endpoint], int] = defaultdict(int)

    # -- taking and leaving --------------------------------------------------------------------

    def connect(
        self,
        now: int,
        address: str,
        remote: Endpoint,
        *,
        reuse_address: bool = False,
        own_range: tuple[int, int] | None = None,
    ) -> tuple[Claim, Claim | None]:
        """A port for connect() on a socket that has none, and the TIME_WAIT that had to go for it.

        `own_range`: the socket's IP_LOCAL_PORT_RANGE, both ends inclusive.

        Raises `PortError` EADDRNOTAVAIL (net/ipv4/inet_hashtables.c:__inet_hash_connect).
        """
        own = self._inside(own_range)
        if own or self._reuses(address, remote):
            port, replaced = self._first_reusable(now, address, remote, own)
        else:
            port, replaced = self._first_free(address, remote), None
        if not port:
            raise PortError("EADDRNOTAVAIL", f"no port of {self._range_text(own)} is free towards {remote}.")
        if replaced is not None:
            self.release(replaced)
        claim = Claim(port, address, remote, SYN_SENT, reuse_address, made_by_connect=True)
        self._hold(claim)
        if not own:
            self._move_on(port, address, remote)
        return claim, replaced

    def connect_bound(self, claim: Claim, address: str, remote: Endpoint) -> Claim | None:
        """connect() on a bound socket from `address`; gives the TIME_WAIT that had to go for it.

        tcp_tw_reuse is not asked: whoever named the port gets it, if both ends used timestamps.
        Raises `PortError` EADDRNOTAVAIL.
        """
        held = self._tuples.get((address, claim.port, remote))
        if held is not None:
            if held.entered is None or not held.timestamps:
                raise PortError("EADDRNOTAVAIL", f"{address}:{claim.port} already leads to {remote}.")
            self.release(held)
        claim.address, claim.remote, claim.state = address, remote, SYN_SENT
        self._lead(claim, remote)
        return held

    def bind(self, address: str, port: int = 0, *, reuse_address: bool = False) -> Claim:
        """bind(): that port, or with 0 one of Linux's choice.

        Raises `PortError` EADDRINUSE (net/ipv4/inet_connection_sock.c:inet_csk_get_port).
        """
        chosen = port or self._choose(address, reuse_address)
        if not chosen:
            raise PortError("EADDRINUSE", f"no port of {self._range_text()} is free on {address}.")
        if port and self._conflict(port, address, reuse_address, named=True):
            raise PortError("EADDRINUSE", f"another socket holds port {port} on {address}.")
        claim = Claim(chosen, address, None, BOUND, reuse_address)
        bucket = self._buckets.get(chosen)
        shared = reuse_address and (bucket is None or bucket.shared)
        self._hold(claim)
        bucket = self._buckets[chosen]
        bucket.bound, bucket.shared = True, shared
        self._bound_bits |= 1 << chosen
        return claim

    def inherit(self, parent: Claim, remote: Endpoint, state: str) -> Claim:
        """The claim of a connection that came to a listener (__inet_inherit_port)."""
        claim = Claim(parent.port, parent.address, remote, state, parent.reuse_address)
        self._hold(claim)
        return claim

    def listens(self, claim: Claim) -> None:
        """listen() on a bound socket: SO_REUSEADDR no longer shares its port (inet_csk_listen_start)."""
        claim.state = LISTEN
        self._buckets[claim.port].shared = False

    def wait(self, claim: Claim, now: int, state: str, expires: int | None, *, timestamps: bool) -> None:
        """A timewait socket takes over: TIME_WAIT, or FIN_WAIT_2 without an application."""
        claim.state, claim.entered, claim.heard = state, now, now
        claim.expires, claim.timestamps = expires, timestamps

    def release(self, claim: Claim) -> None:
        """Free the port of a socket; a second call does nothing."""
        bucket = self._buckets.get(claim.port)
        if bucket is None or claim not in bucket.claims:
            return
        del bucket.claims[claim]
        bucket.binders -= not claim.made_by_connect
        if claim.remote is not None:
            key = (claim.address, claim.port, claim.remote)
            if self._tuples.get(key) is claim:
                del self._tuples[key]
                self._taken_bits[claim.address, claim.remote] &= ~(1 << claim.port)
        if not bucket.claims:
            del self._buckets[claim.port]
            self._bound_bits &= ~(1 << claim.port)
        elif not bucket.binders and self._rules.bound_port_recovers:
            bucket.bound = bucket.shared = False
            self._bound_bits &= ~(1 << claim.port)

    def clear(self) -> None:
        """Free every port."""
        self._buckets.clear()
        self._tuples.clear()
        self._taken_bits.clear()
        self._bound_bits = 0

    # -- looking ---------------------------------------------------------------------------------

    def why(self, now: int, port: int, ask: Ask) -> Verdict:
        """May this call take this port, now? For connect() and bind(0) each port of the range is asked."""
        errno = "EADDRNOTAVAIL" if ask.verb == "connect" else "EADDRINUSE"
        named = ask.verb == "bind" and bool(ask.port)
        no = (named and port != ask.port and "It asks for another port.") or (
            not named and self._never_tried(port)
        )
        if no:
            return Verdict(False, no, errno)
        ok, says = self._why_connect(now, port, ask) if ask.verb == "connect" else self._why_bind(port, ask)
        return Verdict(ok, says, None if ok else errno)

    def map(self, now: int) -> list[PortUse]:
        """Every port of ip_local_port_range, in order."""
        first, last = self._sysctls.ip_local_port_range
        return [self.use(now, port) for port in range(first, last + 1)]

    def held(self, port: int) -> tuple[Claim, ...]:
        """The sockets that hold a port."""
        bucket = self._buckets.get(port)
        return tuple(bucket.claims) if bucket else ()

    @property
    def reserved(self) -> frozenset[int]:
        """ip_local_reserved_ports."""
        text = self._sysctls.ip_local_reserved_ports
        if text != self._reserved_text:
            pairs = (each.partition("-") for each in text.split(",") if each)
            self._reserved = frozenset(port for a, _, b in pairs for port in range(int(a), int(b or a) + 1))
            self._reserved_text = text
        return self._reserved

    def use(self, now: int, port: int) -> PortUse:
        """The use of one port."""
        claims = self.held(port)
        if not claims:
            return PortUse(port, RESERVED if port in self.reserved else FREE, None, ())
        waits = [claim.expires for claim in claims if claim.entered is not None and claim.expires]
        alive = [claim.state for claim in claims if claim.entered is None]
        state = ESTABLISHED if ESTABLISHED in alive else alive[0] if alive else claims[0].state
        return PortUse(port, state, max(waits) - now if waits else None, claims)

    def _never_tried(self, port: int) -> str:
        first, last = self._sysctls.ip_local_port_range
        if not first <= port <= last:
            return f"Port {port} is not in ip_local_port_range ({first} to {last})."
        if port in self.reserved:
            return f"Port {port} is in ip_local_reserved_ports: only a bind() that names it gets it."
        if self._rules.ports_by_parity and port == last != first and (last - first) % 2 == 0:
            return f"Linux goes through an even number of ports, and leaves {port} out."
        return ""

    def _why_connect(self, now: int, port: int, ask: Ask) -> tuple[bool, str]:
        bucket = self._buckets.get(port)
        if bucket is None:
            return True, f"No socket holds port {port}."
        if bucket.bound:
            who = "A socket that called bind() holds" if bucket.binders else "bind() once took"
            return False, f"{who} port {port}: connect() passes it over, wherever it leads."
        claim = self._tuples.get((ask.address, port, ask.remote)) if ask.remote else None
        if claim is None:
            return True, f"Port {port} leads to other destinations only, and may lead to {ask.remote} too."
        if claim.entered is None:
            return False, f"Port {port} already leads to {ask.remote} ({claim.state})."
        no = self._not_reusable(now, claim)
        if no:
            return False, f"Port {port} led to {ask.remote} and is in {claim.state}: {no}."
        return True, f"Port {port} is in TIME_WAIT, old enough to be reused (tcp_tw_reuse, timestamps)."

    def _why_bind(self, port: int, ask: Ask) -> tuple[bool, str]:
        claims = self.held(port)
        if not claims:
            return True, f"No socket holds port {port}."
        relaxed = bool(ask.port or self._autobind_shares())
        claim = self._conflict(port, ask.address, ask.reuse_address, named=relaxed)
        if claim is None:
            if not any(_overlap(each.address, ask.address) for each in claims):
                return True, f"Port {port} is held on another local address only."
            return True, f"Both sockets have SO_REUSEADDR, so that port {port} may be bound twice."
        if not ask.port and self._shares_when_full(port, ask.reuse_address):
            return True, f"Port {port} may be shared: all its owners are bound with SO_REUSEADDR."
        who = f"a socket in {claim.state}" if claim.state != BOUND else "a bound socket"
        both = "; SO_REUSEADDR would have to be set on both"
        why = both if ask.port else ", wherever it leads, and tcp_tw_reuse is not asked"
        return False, f"Port {port} is held on {claim.address} by {who}: bind() refuses it{why}."

    # -- the rules -------------------------------------------------------------------------------

    def _not_reusable(self, now: int, claim: Claim) -> str:
        """Why a connect() that chooses its port may not have this one's four-tuple; empty if it may."""
        if claim.entered is None:
            return "it is in use"
        rules, reuse = self._rules, self._sysctls.tcp_tw_reuse
        if not claim.timestamps:
            return "reuse needs timestamps on both ends"
        if reuse == 2 and not self._reuses(claim.address, claim.remote):
            return "tcp_tw_reuse = 2 reuses on loopback only"
        if not reuse:
            return "tcp_tw_reuse is 0"
        if rules.tw_reuse_clock == "delay":
            if claim.state == FIN_WAIT_2:
                return "it still waits for the peer's FIN"
            delay = self._sysctls.tcp_tw_reuse_delay
            too_young = now // MILLISECOND - claim.entered // MILLISECOND <= delay
            return f"reuse waits tcp_tw_reuse_delay, {delay} ms" if too_young else ""
        passed = self._second(now) - self._second(claim.heard)
        if passed > (rules.tw_reuse_clock == "second_after_next"):
            return ""
        return "this Linux reuses it only when its clock shows a later second"

    def _reuses(self, address: str, remote: Endpoint | None) -> bool:
        """Does tcp_tw_reuse count between these two?"""
        reuse = self._sysctls.tcp_tw_reuse
        if reuse != 2 or self._rules.tw_reuse != 2:
            return bool(reuse)
        return address.startswith("127.") or (remote is not None and remote.address.startswith("127."))

    def _inside(self, own_range: tuple[int, int] | None) -> tuple[int, int] | None:
        """A socket's own range, clamped: an end outside the machine's range is ignored.

        net/ipv4/inet_connection_sock.c:inet_sk_get_local_port_range, where 0 means unset.
        """
        if own_range is None or not self._rules.has_local_port_range:
            return None
        first, last = self._sysctls.ip_local_port_range
        low, high = own_range
        return low if first <= low <= last else first, high if first <= high <= last else last

    def _first_reusable(
        self, now: int, address: str, remote: Endpoint, own: tuple[int, int] | None = None
    ) -> tuple[int, Claim | None]:
        """connect()'s port, perhaps one in TIME_WAIT that has to go for it; 0 when there is none."""
        for port in self._walk_for_connect(address, remote, own):
            bucket, held = self._buckets.get(port), self._tuples.get((address, port, remote))
            if (bucket and bucket.bound) or (held and self._not_reusable(now, held)):
                continue
            if port not in self.reserved:
                return port, held
        return 0, None

    def _first_free(self, address: str, remote: Endpoint) -> int:
        """The same where no TIME_WAIT may be reused: on a busy machine most ports are taken, and
        looking at each would take long."""
        first, last = self._sysctls.ip_local_port_range
        taken = self._bound_bits | self._taken_bits.get((address, remote), 0)
        for port in self.reserved:
            taken |= 1 << port
        size = last - first + 1
        if not self._rules.ports_by_parity:
            return first_one_by_one(first, size, self._first_offset, taken)
        start = self._hints.get((address, remote), -1)
        return first_by_parity(first, size, self._below, start, taken)

    def _second(self, now: int) -> int:
        return (now + self._second_began) // SECOND

    def _conflict(self, port: int, address: str, reuse_address: bool, *, named: bool) -> Claim | None:
        """The claim that a bind() runs into (inet_bind_conflict); `named` is the kernel's `relax`."""
        bucket = self._buckets.get(port)
        for claim in bucket.claims if bucket else ():
            shares = named and reuse_address and claim.reuse_address and claim.state != LISTEN
            if not shares and _overlap(claim.address, address):
                return claim
        return None

    def _choose(self, address: str, reuse_address: bool) -> int:
        """bind(0)'s port, or 0 when there is none."""
        rounds = (False, True) if self._autobind_shares() else (False,)
        for relaxed in rounds:
            for port in self._walk_for_bind(reuse_address):
                if port not in self.reserved and not self._conflict(
                    port, address, reuse_address, named=relaxed
                ):
                    return port
        shares = [p for p in self._walk_for_bind(False) if self._shares_when_full(p, reuse_address)]
        return min(shares, key=lambda port: len(self._buckets[port].claims), default=0)

    def _autobind_shares(self) -> bool:
        return self._rules.autobind_reuse and bool(self._sysctls.ip_autobind_reuse)

    def _shares_when_full(self, port: int, reuse_address: bool) -> bool:
        bucket = self._buckets.get(port)
        may = self._rules.bind_shares_when_full and reuse_address
        return may and bucket is not None and bucket.shared and port not in self.reserved

    def _hold(self, claim: Claim) -> None:
        bucket = self._buckets.setdefault(claim.port, _Bucket())
        bucket.claims[claim] = None
        bucket.binders += not claim.made_by_connect
        if claim.remote is not None:
            self._lead(claim, claim.remote)

    def _lead(self, claim: Claim, remote: Endpoint) -> None:
        self._tuples[claim.address, claim.port, remote] = claim
        self._taken_bits[claim.address, remote] |= 1 << claim.port

    # -- the order of trying ---------------------------------------------------------------------

    def _walk_for_connect(
        self, address: str, remote: Endpoint, own: tuple[int, int] | None = None
    ) -> Iterator[int]:
        if own:
            # Parity applies only to the shared range.
            return one_by_one(own[0], own[1] - own[0] + 1, self._below)
        first, last = self._sysctls.ip_local_port_range
        if not self._rules.ports_by_parity:
            return one_by_one(first, last - first + 1, self._first_offset)
        start = self._hints.get((address, remote), -1)
        return by_parity(first, last - first + 1, 0, self._below, start)

    def _first_offset(self, n: int) -> int:
        """Where connect() begins in a range that it tries port by port: at an even offset since 4.2."""
        start = self._below(n)
        return start & ~1 if self._rules.connect_begins_even else start

    def _walk_for_bind(self, reuse_address: bool) -> Iterator[int]:
        """bind(0) begins with the other parity, and with SO_REUSEADDR in the lower half."""
        first, last = self._sysctls.ip_local_port_range
        size = last - first + 1
        if not self._rules.ports_by_parity:
            return one_by_one(first, size, self._below)
        lower = size // 4 * 2 if reuse_address and size >= 4 else 0
        upper = by_parity(first + lower, size - lower, 1, self._below)
        return chain(by_parity(first, lower, 1, self._below), upper) if lower else upper

    def _move_on(self, port: int, address: str, remote: Endpoint) -> None:
        """The next connect() to this destination begins a few ports further on."""
        first, last = self._sysctls.ip_local_port_range
        if half := (last - first + 1) // 2:
            further = (port - first) // 2 + 1 + self._below(_RANDOM_STEPS)
            self._hints[address, remote] = further % half

    def _range_text(self, own: tuple[int, int] | None = None) -> str:
        first, last = own or self._sysctls.ip_local_port_range
        return f"{first} to {last}"


def _overlap(one: str, other: str) -> bool:
    return one == other or ANY in (one, other)
