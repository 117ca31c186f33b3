"""Local ports: who holds one, who may take it, in which order they are tried, and what each Linux does."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tcplab.core.releases import LISTED, release
from tcplab.core.segment import Endpoint
from tcplab.model.ports import (
    ANY,
    BOUND,
    FREE,
    RESERVED,
    Ask,
    PortError,
    Ports,
    by_parity,
    first_by_parity,
    first_one_by_one,
    one_by_one,
)
from tcplab.model.rules import ESTABLISHED, FIN_WAIT_2, LISTEN, MILLISECOND, SECOND, TIME_WAIT, Sysctls

HERE, THERE, ELSEWHERE = "10.0.0.1", Endpoint("10.0.0.2", 5432), Endpoint("10.0.0.2", 5433)
OTHER = "10.0.0.102"
MINUTE = 60 * SECOND


class Machine:
    """A table of ports, and calls in a test's words."""

    def __init__(self, first=60001, last=60006, linux="6.18", seed=1, second_began=0, **sysctls):
        rules = release(linux)
        self.sysctls = Sysctls(
            tcp_tw_reuse=sysctls.pop("tcp_tw_reuse", rules.tw_reuse),
            ip_local_port_range=(first, last),
            **sysctls,
        )
        self.ports = Ports(rules, self.sysctls, random.Random(seed).randrange, second_began)

    def connect(self, now=0, remote=THERE, address=HERE, **options):
        """The port, or the errno's name."""
        try:
            return self.ports.connect(now, address, remote, **options)[0].port
        except PortError as error:
            return error.errno

    def bind(self, port=0, address=ANY, **options):
        """The port, or the errno's name."""
        try:
            return self.ports.bind(address, port, **options).port
        except PortError as error:
            return error.errno

    def hold(self, how, state, now=0, timestamps=True):
        """Take every port in one way, towards THERE."""
        first, last = self.sysctls.ip_local_port_range
        reuse, claims = how.endswith("reuseaddr"), []
        for _ in range(first, last + 1):
            if how.startswith("connect"):
                claim, _ = self.ports.connect(now, HERE, THERE, reuse_address=reuse)
            else:
                claim = self.ports.bind(ANY, reuse_address=reuse)
                self.ports.connect_bound(claim, HERE, THERE)
            claim.state = ESTABLISHED
            if state == TIME_WAIT:
                self.ports.wait(claim, now, TIME_WAIT, now + MINUTE, timestamps=timestamps)
            claims.append(claim)
        return claims


# --- connect() ---


def test_six_ports_serve_six_connections_and_the_seventh_gets_an_errno():
    machine = Machine()
    assert sorted(machine.connect() for _ in range(6)) == list(range(60001, 60007))
    assert machine.connect() == "EADDRNOTAVAIL"


def test_each_destination_and_each_own_address_has_all_the_ports():
    machine = Machine()
    for remote in (THERE, ELSEWHERE):
        for address in (HERE, OTHER):
            ports = {machine.connect(remote=remote, address=address) for _ in range(6)}
            assert ports == set(range(60001, 60007))


@pytest.mark.parametrize(("size", "usable"), [(1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (7, 6)])
def test_an_odd_range_has_one_port_less(size, usable):
    """`remaining &= ~1U` in __inet_hash_connect, since 4.6."""
    machine = Machine(last=60000 + size)
    taken = [machine.connect() for _ in range(size + 1)]
    assert sum(isinstance(port, int) for port in taken) == usable
    assert usable == size or 60000 + size not in taken


@pytest.mark.parametrize("size", [3, 5, 7])
def test_before_4_6_an_odd_range_is_used_up(size):
    """One by one from a random place (net/ipv4/inet_hashtables.c of 3.10)."""
    machine = Machine(last=60000 + size, linux="4.5")
    assert {machine.connect() for _ in range(size)} == set(range(60001, 60001 + size))


def test_connect_prefers_the_parity_of_the_first_port_and_bind_the_other():
    """Measured on 6.18: 40 of 40 even for connect(), 20 of 20 odd for bind(0)."""
    machine = Machine(40100, 40199)
    assert all(machine.connect() % 2 == 0 for _ in range(40))
    assert all(machine.bind() % 2 == 1 for _ in range(20))


@pytest.mark.parametrize(("linux", "parities"), [("3.10", 2), ("4.1", 2), ("4.2", 1), ("4.5", 1)])
def test_before_4_6_only_connect_looks_at_parity(linux, parities):
    """Where it begins, since 4.2 (07f4c90062f8); net/ipv4/inet_hashtables.c of 3.10 and 4.2."""
    machine = Machine(40100, 49999, linux=linux)
    assert len({machine.connect() % 2 for _ in range(40)}) == parities
    assert machine.connect() is not None
    assert len({machine.bind() % 2 for _ in range(20)}) == 2


def test_the_next_connect_goes_on_where_the_last_one_was():
    machine = Machine(32768, 60999)
    ports = [machine.connect() for _ in range(40)]
    steps = [(after - before) % 28232 for before, after in pairwise(ports)]
    assert all(2 <= step <= 16 and step % 2 == 0 for step in steps)


def test_reserved_ports_are_for_those_who_name_them():
    machine = Machine(ip_local_reserved_ports="60002,60004-60006")
    assert {machine.connect(), machine.connect()} == {60001, 60003}
    assert machine.connect() == "EADDRNOTAVAIL" and machine.bind() == "EADDRINUSE"
    assert machine.bind(60005) == 60005
    assert [cell.state for cell in machine.ports.map(0)][1::2] == [RESERVED] * 3


def test_connect_passes_over_a_bound_port_wherever_it_leads():
    machine = Machine(last=60001)
    assert machine.bind() == 60001
    assert machine.connect(remote=ELSEWHERE) == "EADDRNOTAVAIL"
    assert machine.connect(remote=ELSEWHERE, address=OTHER) == "EADDRNOTAVAIL"


@pytest.mark.parametrize(("linux", "again"), [("6.12", "EADDRNOTAVAIL"), ("6.18", 60001)])
def test_a_bound_port_is_connects_again_when_its_binder_has_gone(linux, again):
    """d57f4b874946, "tcp: Update bind bucket state on port release", in 6.18."""
    machine = Machine(last=60001, linux=linux)
    machine.connect()
    binder = machine.ports.bind(OTHER, 60001)
    assert machine.connect(remote=ELSEWHERE) == "EADDRNOTAVAIL"
    machine.ports.release(binder)
    assert machine.connect(remote=ELSEWHERE) == again


# --- TIME_WAIT ---


@pytest.mark.parametrize(
    ("reuse", "timestamps", "after_ms", "gives"),
    [
        (0, True, 59_000, "EADDRNOTAVAIL"),
        (1, True, 1000, "EADDRNOTAVAIL"),
        (1, True, 1001, 60001),
        (1, False, 59_000, "EADDRNOTAVAIL"),
        (2, True, 59_000, "EADDRNOTAVAIL"),
    ],
)
def test_who_may_have_a_port_in_time_wait(reuse, timestamps, after_ms, gives):
    """tcp_twsk_unique; measured on 6.18: not after 0.3 s, but after 1.2 s, and never without timestamps."""
    machine = Machine(last=60001, tcp_tw_reuse=reuse)
    machine.hold("connect", TIME_WAIT, timestamps=timestamps)
    assert machine.connect(now=after_ms * MILLISECOND) == gives
    assert machine.connect(now=after_ms * MILLISECOND, remote=ELSEWHERE) == 60001


def test_the_delay_is_a_setting():
    machine = Machine(last=60001, tcp_tw_reuse=1, tcp_tw_reuse_delay=100)
    machine.hold("connect", TIME_WAIT)
    assert (
        machine.connect(100 * MILLISECOND) == "EADDRNOTAVAIL" and machine.connect(101 * MILLISECOND) == 60001
    )


def test_two_means_loopback_only_since_4_19():
    """Measured on 6.18: EADDRNOTAVAIL 0.2 s after the close, ok after 1.4 s, on 127.0.0.1."""
    loop = Endpoint("127.0.0.1", 5432)
    machine = Machine(last=60001)
    claim, _ = machine.ports.connect(0, "127.0.0.1", loop)
    machine.ports.wait(claim, 0, TIME_WAIT, MINUTE, timestamps=True)
    assert machine.connect(SECOND // 5, loop, "127.0.0.1") == "EADDRNOTAVAIL"
    assert machine.connect(2 * SECOND, loop, "127.0.0.1") == 60001


def test_before_4_19_two_is_not_zero():
    machine = Machine(last=60001, linux="4.18", tcp_tw_reuse=2)
    machine.hold("connect", TIME_WAIT)
    assert machine.connect(5 * SECOND) == 60001


@pytest.mark.parametrize(("linux", "default"), [("4.18", 0), ("4.19", 2), ("6.18", 2)])
def test_the_default_of_tw_reuse(linux, default):
    """net/ipv4/tcp_ipv4.c:tcp_sk_init of 4.12 and 4.19."""
    assert release(linux).tw_reuse == default


@pytest.mark.parametrize(
    ("linux", "refused_ms", "taken_ms"),
    [
        ("4.18", (0, 1699), (1700,)),
        ("5.4", (0, 699), (700,)),
        ("6.12", (0, 699), (700,)),
        ("6.14", (0, 1000), (1001,)),
    ],
)
def test_the_clock_behind_the_delay(linux, refused_ms, taken_ms):
    """Up to 4.18 two seconds of the clock apart, up to 6.13 the next second, since 6.14 exact.

    Here the clock stands at 0.3 s when TIME_WAIT begins (tcp_twsk_unique of 4.12, 5.4 and 6.18).
    """
    for after in refused_ms + taken_ms:
        machine = Machine(last=60001, linux=linux, tcp_tw_reuse=1, second_began=300 * MILLISECOND)
        machine.hold("connect", TIME_WAIT)
        assert (machine.connect(after * MILLISECOND) == 60001) == (after in taken_ms)


def test_what_still_waits_for_a_fin_is_not_reused():
    machine = Machine(last=60001, tcp_tw_reuse=1)
    (claim,) = machine.hold("connect", TIME_WAIT)
    claim.state = FIN_WAIT_2
    assert machine.connect(10 * SECOND) == "EADDRNOTAVAIL"


def test_a_named_port_is_reused_at_once_whatever_tw_reuse_says():
    """`twp` is NULL for a bound socket in __inet_check_established."""
    machine = Machine(last=60001, tcp_tw_reuse=0)
    (old,) = machine.hold("connect_reuseaddr", TIME_WAIT)
    new = machine.ports.bind(ANY, 60001, reuse_address=True)
    assert machine.ports.connect_bound(new, HERE, THERE) is old
    assert machine.ports.held(60001) == (new,)


def test_a_named_port_is_not_reused_without_timestamps_or_while_it_lives():
    for state, timestamps in ((TIME_WAIT, False), (ESTABLISHED, True)):
        machine = Machine(last=60001, tcp_tw_reuse=1)
        machine.hold("connect_reuseaddr", state, timestamps=timestamps)
        new = machine.ports.bind(ANY, 60001, reuse_address=True)
        with pytest.raises(PortError) as error:
            machine.ports.connect_bound(new, HERE, THERE)
        assert error.value.errno == "EADDRNOTAVAIL"
        assert machine.ports.connect_bound(new, HERE, ELSEWHERE) is None


# --- bind() ---


@pytest.mark.parametrize("linux", LISTED)
@pytest.mark.parametrize("state", [TIME_WAIT, ESTABLISHED])
def test_bind_0_sees_a_socket_on_every_port(linux, state):
    """Measured on 6.18 with six ports in TIME_WAIT and tcp_tw_reuse = 1."""
    machine = Machine(linux=linux, tcp_tw_reuse=1)
    machine.hold("connect", state)
    assert machine.bind() == machine.bind(reuse_address=True) == "EADDRINUSE"
    assert machine.bind(address=HERE) == "EADDRINUSE"
    assert isinstance(machine.bind(address=OTHER), int), "the test is per local address"


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("old", ["connect", "connect_reuseaddr", "bind0", "bind0_reuseaddr"])
def test_a_named_port_needs_so_reuseaddr_on_both(old, new):
    """inet_bind_conflict with `relax`; the table was measured on 6.18."""
    machine = Machine()
    machine.hold(old, TIME_WAIT)
    both = new and old.endswith("reuseaddr")
    assert machine.bind(60003, reuse_address=new) == (60003 if both else "EADDRINUSE")


@pytest.mark.parametrize(
    ("linux", "autobind_reuse", "held_by", "gives"),
    [
        ("3.10", 0, "bind0_reuseaddr", True), ("4.10", 0, "bind0_reuseaddr", True),
        ("4.11", 0, "bind0_reuseaddr", False), ("5.4", 1, "bind0_reuseaddr", False),
        ("5.7", 0, "bind0_reuseaddr", False), ("5.7", 1, "bind0_reuseaddr", True),
        ("3.10", 0, "connect_reuseaddr", False), ("6.18", 1, "connect_reuseaddr", True),
    ],
)  # fmt: skip
def test_bind_0_may_share_a_port_where_linux_lets_it(linux, autobind_reuse, held_by, gives):
    """The least loaded up to 4.10, ip_autobind_reuse since 5.7 (inet_csk_get_port of 3.10, 4.12, 5.7)."""
    machine = Machine(linux=linux, ip_autobind_reuse=autobind_reuse)
    machine.hold(held_by, ESTABLISHED)
    assert isinstance(machine.bind(reuse_address=True), int) == gives
    assert machine.bind() == "EADDRINUSE", "the new socket has to have SO_REUSEADDR"


def test_a_listener_shares_its_port_with_nobody():
    machine = Machine()
    claim = machine.ports.bind(HERE, 5432, reuse_address=True)
    assert machine.bind(5432, reuse_address=True) == 5432, "bound, but not listening yet"
    machine.ports.clear()
    claim = machine.ports.bind(HERE, 5432, reuse_address=True)
    machine.ports.listens(claim)
    assert claim.state == LISTEN and machine.bind(5432, reuse_address=True) == "EADDRINUSE"


def test_a_server_that_restarts_needs_so_reuseaddr_for_its_own_time_wait():
    """What every database server sets: its old connections hold the port after it has gone."""
    for reuse in (False, True):
        machine = Machine()
        listener = machine.ports.bind(ANY, 5432, reuse_address=reuse)
        machine.ports.listens(listener)
        served = machine.ports.inherit(listener, Endpoint("10.0.0.9", 40000), ESTABLISHED)
        machine.ports.release(listener)
        machine.ports.wait(served, 0, TIME_WAIT, MINUTE, timestamps=True)
        assert machine.bind(5432, reuse_address=reuse) == (5432 if reuse else "EADDRINUSE")


# --- the map, and why ---


def test_the_map_names_each_port():
    machine = Machine(60001, 60005, ip_local_reserved_ports="60005")
    machine.bind(60002)
    claim, _ = machine.ports.connect(0, HERE, THERE)
    claim.state = ESTABLISHED
    waiting, _ = machine.ports.connect(0, HERE, THERE)
    machine.ports.wait(waiting, SECOND, TIME_WAIT, 61 * SECOND, timestamps=True)
    cells = {cell.port: cell for cell in machine.ports.map(11 * SECOND)}
    assert {cells[claim.port].state, cells[waiting.port].state} == {ESTABLISHED, TIME_WAIT}
    assert cells[waiting.port].left == 50 * SECOND and cells[claim.port].left is None
    assert (cells[60002].state, cells[60005].state) == (BOUND, RESERVED)
    assert [cell.state for cell in cells.values()].count(FREE) == 1


@pytest.mark.parametrize(
    ("held_by", "state", "ask", "says"),
    [
        ("connect", TIME_WAIT, Ask("connect", HERE, THERE), "is in TIME_WAIT: tcp_tw_reuse is 0."),
        ("connect", ESTABLISHED, Ask("connect", HERE, THERE), "leads to 10.0.0.2:5432 (ESTABLISHED)."),
        ("connect", ESTABLISHED, Ask("connect", HERE, ELSEWHERE), "leads to other destinations only"),
        ("bind0", TIME_WAIT, Ask("connect", HERE, ELSEWHERE), "connect() passes it over, wherever it leads."),
        ("connect", TIME_WAIT, Ask("bind"), "and tcp_tw_reuse is not asked."),
        ("connect", TIME_WAIT, Ask("bind", OTHER), "is held on another local address only."),
        ("connect", TIME_WAIT, Ask("bind", port=60003), "SO_REUSEADDR would have to be set on both."),
        ("bind0_reuseaddr", TIME_WAIT, Ask("bind", port=60003, reuse_address=True), "may be bound twice."),
        ("connect", TIME_WAIT, Ask("bind", port=60001), "It asks for another port."),
    ],
)  # fmt: skip
def test_why_a_call_may_or_may_not_take_a_port(held_by, state, ask, says):
    machine = Machine(tcp_tw_reuse=0)
    machine.hold(held_by, state)
    verdict = machine.ports.why(0, 60003, ask)
    assert verdict.says.endswith(says) or says in verdict.says
    assert verdict.ok == (verdict.errno is None) == any(word in says for word in ("only", "twice"))


# --- whatever happens ---


class Whatever(RuleBasedStateMachine):
    """Sockets come and go; what the table gives out is what its own `why` allows, and nobody else's."""

    def __init__(self):
        super().__init__()
        self.now = 0
        self.claims, self.bound = [], []
        self.machine = None

    def table(self, linux="6.18", size=6, **sysctls):
        if self.machine is None:
            self.machine = Machine(last=60000 + size, linux=linux, **sysctls)
        return self.machine.ports

    @rule(
        linux=st.sampled_from(LISTED), size=st.integers(1, 9), reuse=st.sampled_from([0, 1, 2]),
        autobind=st.sampled_from([0, 1]), reserved=st.sampled_from(["", "60002", "60001-60003"]),
    )  # fmt: skip
    def begins(self, linux, size, reuse, autobind, reserved):
        self.table(
            linux, size, tcp_tw_reuse=reuse, ip_autobind_reuse=autobind, ip_local_reserved_ports=reserved
        )

    def free(self, ports, ask):
        first, last = self.machine.sysctls.ip_local_port_range
        return {port for port in range(first, last + 1) if ports.why(self.now, port, ask).ok}

    @rule(
        address=st.sampled_from([HERE, OTHER]),
        remote=st.sampled_from([THERE, ELSEWHERE]),
        reuse=st.booleans(),
    )
    def connects(self, address, remote, reuse):
        ports = self.table()
        free = self.free(ports, Ask("connect", address, remote))
        try:
            claim, replaced = ports.connect(self.now, address, remote, reuse_address=reuse)
        except PortError as error:
            assert error.errno == "EADDRNOTAVAIL" and not free
            return
        assert claim.port in free
        if replaced is not None:
            assert replaced.entered is not None and replaced in self.claims
            self.claims.remove(replaced)
        claim.state = ESTABLISHED
        self.claims.append(claim)

    @rule(
        address=st.sampled_from([ANY, HERE, OTHER]),
        port=st.sampled_from([0, 0, 60001, 60003]),
        reuse=st.booleans(),
    )
    def binds(self, address, port, reuse):
        ports = self.table()
        ask = Ask("bind", address, port=port, reuse_address=reuse)
        free = {port} if port and ports.why(self.now, port, ask).ok else set()
        free = free if port else self.free(ports, ask)
        try:
            claim = ports.bind(address, port, reuse_address=reuse)
        except PortError as error:
            assert error.errno == "EADDRINUSE" and not free
            return
        assert claim.port in free
        self.bound.append(claim)

    @rule(data=st.data(), remote=st.sampled_from([THERE, ELSEWHERE]))
    def connects_what_is_bound(self, data, remote):
        if not self.bound:
            return
        claim = self.bound.pop(data.draw(st.integers(0, len(self.bound) - 1)))
        address = HERE if claim.address == ANY else claim.address
        try:
            replaced = self.machine.ports.connect_bound(claim, address, remote)
        except PortError as error:
            assert error.errno == "EADDRNOTAVAIL"
            self.machine.ports.release(claim)
            return
        if replaced is not None:
            self.claims.remove(replaced)
        claim.state = ESTABLISHED
        self.claims.append(claim)

    @rule(data=st.data(), timestamps=st.booleans())
    def closes(self, data, timestamps):
        alive = [claim for claim in self.claims if claim.entered is None]
        if alive:
            claim = data.draw(st.sampled_from(alive))
            self.machine.ports.wait(claim, self.now, TIME_WAIT, self.now + MINUTE, timestamps=timestamps)

    @rule(data=st.data())
    def goes(self, data):
        if self.claims:
            claim = self.claims.pop(data.draw(st.integers(0, len(self.claims) - 1)))
            self.machine.ports.release(claim)
            self.machine.ports.release(claim)

    @rule(seconds=st.sampled_from([0.2, 1.001, 5]))
    def time_goes_by(self, seconds):
        self.now += round(seconds * SECOND)

    @invariant()
    def no_four_tuple_twice_and_nobody_forgotten(self):
        tuples = [(claim.local, claim.remote) for claim in self.claims]
        assert len(tuples) == len(set(tuples))
        if self.machine is not None:
            known = [claim for port in range(60001, 60011) for claim in self.machine.ports.held(port)]
            assert len(known) == len(set(known)) and set(known) == {*self.claims, *self.bound}


TestWhatever = Whatever.TestCase
TestWhatever.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


@settings(max_examples=100)
@given(
    first=st.integers(1024, 1040),
    size=st.integers(1, 20),
    linux=st.sampled_from(LISTED),
    seed=st.integers(0, 9),
)
def test_the_walks_try_every_port_that_why_allows_once(first, size, linux, seed):
    for reuse in (False, True):
        for verb in ("connect", "bind"):
            machine = Machine(first, first + size - 1, linux, seed)
            ask = Ask(verb, HERE, THERE if verb == "connect" else None, reuse_address=reuse)
            free = {cell.port for cell in machine.ports.map(0) if machine.ports.why(0, cell.port, ask).ok}
            take = (
                machine.connect if verb == "connect" else lambda machine=machine: machine.bind(address=HERE)
            )
            taken = [take() for _ in range(len(free) + 1)]
            assert set(taken[:-1]) == free and isinstance(taken[-1], str)


def test_a_port_outside_the_range_is_never_handed_out_and_why_says_so():
    verdict = Machine().ports.why(0, 5432, Ask("connect", HERE, THERE))
    assert verdict.says == "Port 5432 is not in ip_local_port_range (60001 to 60006)."


@st.composite
def ranges(draw):
    """First port, size, and which of them are taken."""
    first, size = draw(st.integers(1024, 1100)), draw(st.integers(1, 40))
    return first, size, draw(st.sets(st.integers(first, first + size - 1)))


def bits(ports):
    return sum(1 << port for port in ports)


@given(case=ranges(), seed=st.integers(0, 99), start=st.integers(-1, 19))
def test_bits_find_the_port_that_steps_find(case, seed, start):
    first, size, taken = case
    start = min(start, size // 2 - 1)
    steps = by_parity(first, size, 0, random.Random(seed).randrange, start)
    expected = next((port for port in steps if port not in taken), 0)
    assert first_by_parity(first, size, random.Random(seed).randrange, start, bits(taken)) == expected
    steps = one_by_one(first, size, random.Random(seed).randrange)
    expected = next((port for port in steps if port not in taken), 0)
    assert first_one_by_one(first, size, random.Random(seed).randrange, bits(taken)) == expected


@given(case=ranges(), parity=st.sampled_from([0, 1]), seed=st.integers(0, 99))
def test_a_walk_tries_no_port_twice_and_of_an_odd_range_one_less(case, parity, seed):
    first, size, _ = case
    tried = list(by_parity(first, size, parity, random.Random(seed).randrange))
    assert len(tried) == len(set(tried)) == (size - size % 2 or 1)
    assert first <= min(tried) and max(tried) < first + size
    assert size == 1 or all((port - first) % 2 == parity for port in tried[: size // 2])
    assert sorted(one_by_one(first, size, random.Random(seed).randrange)) == list(range(first, first + size))
