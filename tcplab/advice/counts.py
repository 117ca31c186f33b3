"""The inequalities that compare counts: ports, places, queues, entries, and the load of a pool.

a. connects/s x (hold + TIME_WAIT) < local ports of a host
b. pool connections + connects/s x (hold + TIME_WAIT of the NAT) <= ports of a NAT
c. pool connections <= connections that a server accepts, without those reserved
d. connections that are opened at the same time <= accept queue + 1
e. requests/s x time with a connection < pool size
f. connections + connects/s x 120 < entries of connection tracking
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from tcplab.advice import products, runs
from tcplab.advice.environment import Environment as Environment
from tcplab.advice.environment import Leg, MiddleboxSettings
from tcplab.advice.messages import (
    BURST,
    FULL,
    NO_PORT,
    Check,
    Unknown,
    check,
    not_connected,
    waited_for_pool,
    words,
)
from tcplab.advice.products import InForce, of_product, title
from tcplab.advice.timers import CONNECT, RESEND
from tcplab.core.text import SECOND
from tcplab.model.rules import TIME_WAIT_LENGTH

#: A larger burst of clients is not run.
_MOST_AT_ONCE = 400
#: How long connection tracking keeps a closed connection, seconds
#: (net/netfilter/nf_conntrack_proto_tcp.c: tcp_timeouts, TIME_WAIT; Linux 6.18).
_TRACKED_S = 120


class Counts:
    """The counts of an environment against their limits."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.force = InForce(environment)

    def all(self) -> Iterator[Check | Unknown]:
        """Every count that the environment has."""
        yield from self._ports()
        for i, leg in enumerate(self.environment.legs):
            yield from self._nats(i, leg)
        yield from self._places()
        yield from self._burst()
        yield from self._load()
        yield from self._tracked()

    def connections(self, leg: int = 0) -> int:
        """The most pool connections on a leg: of all instances, or of the last proxy before it."""
        wanted = self.environment.most_instances * self.force.pool_size()
        if "pgbouncer" in self.environment.proxies[:leg]:
            wanted = min(wanted, int(self.force.own("pgbouncer", "default_pool_size")))
        return wanted

    def _ports(self) -> Iterator[Check]:
        """Local ports of one host of the application."""
        env = self.environment
        rate, ports = env.connects_per_s, self.force.ports()
        if not rate:
            return
        reuse = int(self.force.linux(products.TW_REUSE)) if self.force.linux("net.ipv4.tcp_timestamps") else 0
        time_wait = TIME_WAIT_LENGTH / SECOND
        outcome = runs.port_churn(rate, ports, env.hold_s, time_wait, reuse, env.linux)
        most = inf if outcome["sustainable_per_s"] is None else outcome["sustainable_per_s"]
        wait = f"({env.hold_s:g} + {'reuse' if reuse == 1 else f'{time_wait:g}'})"
        first = ports / rate if outcome["first_refusal_s"] is None else outcome["first_refusal_s"]
        broken = {
            "says": f"After {words(first)} all {ports:,} ports are in use; only {most:,.1f} connections per "
            f"second are sustainable, and the longest outage lasts {words(outcome['longest_outage_s'])}.",
            "winner": f"TIME_WAIT ({env.hold_s + time_wait:g} s)",
            "breaks_after_s": first, "heard_after_s": first,
            "message": NO_PORT.get(env.driver, "Cannot assign requested address"),
            "left_behind": "The server sees nothing: no packet was sent.",
        }  # fmt: skip
        yield check(
            rate < most,
            f"{most:,.0f} connections per second are sustainable." if most < inf else "No port is kept.",
            broken, inequality=5, name="local ports of a host", left=rate, right=most, unit="per s",
            fails="the local ports of a host run out",
            numbers=f"{rate:g}/s x {wait} s < {ports:,} ports", about=("linux",),
        )  # fmt: skip

    def _nats(self, i: int, leg: Leg) -> Iterator[Check]:
        for nat in leg.middleboxes:
            if nat.ports:
                yield self._nat(i, leg, nat)

    def _nat(self, i: int, leg: Leg, nat: MiddleboxSettings) -> Check:
        """Standing connections hold a port each; a closed one keeps its port for a while."""
        env = self.environment
        hosts = env.most_instances if i == 0 and not nat.is_per_host else 1
        standing = self.force.pool_size() * hosts if i == 0 else self.connections(i)
        rate = env.connects_per_s * hosts if i == 0 else 0
        keep = env.hold_s + nat.time_wait_s
        wanted = standing + rate * keep
        first = max(nat.ports - standing, 0) / rate if rate else 0
        client = env.client_of(i)
        user = self.force.user_timeout(i)
        linux = runs.connect_unanswered(user, self.force.linux(products.SYN_RETRIES), env.linux).after_s
        own = self.force.of(products.CONNECT, client) or inf
        waits, timer = min((own, CONNECT), (linux, RESEND))
        of_each = " of each host" if nat.is_per_host else ""
        broken = {
            "says": f"{nat.name} has no port for another connection and drops its SYN.",
            "winner": "the NAT's ports", "breaks_after_s": first, "heard_after_s": first + waits,
            "message": not_connected(client, timer),
            "left_behind": "The server gets no SYN; the client does send them, so this is not errno 99.",
        }  # fmt: skip
        churn = f" + {rate:g}/s x ({env.hold_s:g} + {nat.time_wait_s:g}) s" if rate else ""
        return check(
            wanted <= nat.ports, "Every connection gets a port.", broken, inequality=5,
            name=f"ports of {nat.name}", fails=f"the ports of {nat.name} run out", leg=leg.name,
            left=wanted, right=nat.ports, unit="ports", about=(nat.name,),
            numbers=f"{standing:,} connections{churn} <= {nat.ports:,} ports{of_each}",
        )  # fmt: skip

    def _places(self) -> Iterator[Check | Unknown]:
        """Whether the first server, the proxies and the database accept all connections."""
        env = self.environment
        for i, leg in enumerate(env.legs):
            server, limit = env.server_of(i), self.force.limit(env.server_of(i))
            name = f"places at {title(server)}"
            if shared := [each for each in leg.middleboxes if each.kind == "requests"]:
                needs = f"how many connections {shared[0].name} opens to {title(server)}"
                yield Unknown(inequality=5, name=name, leg=leg.name, needs=needs)
                continue
            if not limit:
                continue
            wanted, reserved = self.connections(i), self.force.reserved(server)
            free = limit - reserved
            minus = f" - {reserved} reserved = {free:,}" if reserved else ""
            broken = {
                "says": f"{wanted - free:,} are refused.", "breaks_after_s": 0, "heard_after_s": 0,
                "message": FULL.get(server, "too many connections"),
                "left_behind": "Nothing: they are refused at once.",
            }  # fmt: skip
            yield check(
                wanted <= free, "All of them are accepted.", broken, inequality=5, leg=leg.name, name=name,
                fails=f"too few places at {title(server)}", left=wanted, right=free, unit="connections",
                about=(server, "limit"),
                numbers=f"{wanted:,} connections <= {limit:,}{minus} ({title(server)})",
            )  # fmt: skip

    def opened_at_once(self) -> int:
        """Connections that all instances open at the same time when they start."""
        env = self.environment
        opens = of_product(env.pool).opens if env.pool else 0
        return env.most_instances * min(opens or self.force.pool_size(), self.force.pool_size())

    def _burst(self) -> Iterator[Check]:
        """All instances start at the same time."""
        env = self.environment
        server, wanted = env.server_of(0), self.opened_at_once()
        backlog = self.force.backlog(server)
        if not backlog:
            return
        # include/net/sock.h:sk_acceptq_is_full: one more than the backlog may wait.
        holds, ghosts = wanted <= backlog + 1, 0
        if not holds and wanted <= _MOST_AT_ONCE:
            speaks = server in ("mysql", "mariadb")
            ghosts = runs.connect_burst(wanted, backlog, speaks)["ghosts"]
        broken = {
            "says": f"When all start at once and {title(server)} is busy for two seconds, its queue is full: "
            "the others retransmit their SYN after 1, 3 and 7 s"
            + (f", and {ghosts:,} are ghosts: connected only on the client." if ghosts else "."),
            "winner": "SYN retransmissions", "breaks_after_s": 0, "heard_after_s": 1,
            "message": "nothing: connecting takes 1, 3 or 7 s",
            "left_behind": "In nstat: TcpExtListenOverflows grows.",
        }  # fmt: skip
        yield check(
            holds, "All can connect at once.", broken, inequality=5, name="all instances start at once",
            fails="too many connect at once", leg=env.legs[0].name, left=wanted, right=backlog + 1,
            unit="connections", kind=BURST, about=(server, "backlog"),
            numbers=f"{wanted:,} at once <= {backlog:,} + 1 (backlog)",
        )  # fmt: skip

    def _load(self) -> Iterator[Check | Unknown]:
        """Little's law: requests that are in work need a connection each."""
        env, name = self.environment, "load of the pool"
        if not env.pool:
            return
        if not env.requests_per_s or not env.busy_s:
            needs = "the requests per second of one instance, and how long each keeps its connection"
            missing = "busy_s" if env.requests_per_s else "requests_per_s"
            yield Unknown(inequality=5, name=name, needs=needs, field=missing)
            return
        size, busy = self.force.pool_size(), env.requests_per_s * env.busy_s
        waits = self.force.of(products.ACQUIRE, env.pool) or env.acquire_timeout_s or inf
        grows = busy - size
        broken = {
            "says": f"On average {busy:g} requests need a connection, and the pool has {size:,}: more wait "
            "every second.",
            "winner": "pool size", "breaks_after_s": 0,
            # The queue grows until the last one waits for as long as the pool allows.
            "heard_after_s": waits if grows > 0 else inf,
            "message": waited_for_pool(env.pool, waits) if waits < inf and grows > 0 else "",
            "left_behind": "Healthy connections, all in use.",
        }  # fmt: skip
        lasts = words(size / env.requests_per_s)
        yield check(
            busy < size, f"While a server does not answer, the pool lasts {lasts}.", broken,
            inequality=5, name=name, fails="the pool is too small for its load", left=busy,
            right=size, unit="connections", about=(env.pool, "size"),
            numbers=f"{env.requests_per_s:g}/s x {env.busy_s:g} s = {busy:g} < {size:,} connections",
        )  # fmt: skip

    def _tracked(self) -> Iterator[Check]:
        """Entries of connection tracking on a host of the application."""
        env = self.environment
        most = env.settings.get("conntrack.net.netfilter.nf_conntrack_max")
        if not most:
            return
        wanted = self.force.pool_size() + env.connects_per_s * (env.hold_s + _TRACKED_S)
        broken = {
            "says": "The connection table is full, and packets of new connections are dropped.",
            "winner": "nf_conntrack_max", "heard_after_s": inf,
            "breaks_after_s": most / env.connects_per_s if env.connects_per_s else 0,
            "left_behind": "In the kernel's log: nf_conntrack: table full, dropping packet.",
        }  # fmt: skip
        yield check(
            wanted < most, "The table has room.", broken, inequality=5, name="entries of connection tracking",
            fails="the connection tracking table is full", left=wanted, right=most, unit="connections",
            about=("conntrack", "limit"),
            numbers=f"{self.force.pool_size():,} + {env.connects_per_s:g}/s x {env.hold_s + _TRACKED_S:g} s "
            f"= {wanted:,.0f} < {most:,}",
        )  # fmt: skip
