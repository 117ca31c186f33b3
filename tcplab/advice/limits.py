"""Inequalities 4 and 5: how soon a death is noticed, and how many connections there may be.

4. max(connect timeout, user timeout, keepalive's total) < the pool's acquire timeout <= the outage tolerated
5. connects/s x (hold + TIME_WAIT) < ports; instances x pool size < backlog and max_connections
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from tcplab.advice import played
from tcplab.advice.checks import Check, number, words
from tcplab.advice.environment import Environment
from tcplab.advice.messages import FULL, NO_PORT, READ_TIMEOUT, logged, printed, waited_for_pool
from tcplab.advice.products import BORROW, CONNECT, RETRIES2, SYN_RETRIES, TW_REUSE, InForce, title
from tcplab.model.sysctls import TIME_WAIT_LENGTH
from tcplab.trace import SECOND
from tcplab.view.timertable import CONNECT as CONNECT_TIMEOUT
from tcplab.view.timertable import KEEPALIVE, READ, RESEND, USER

#: More clients at once are not played one by one.
_MOST_AT_ONCE = 400


class Limits:
    """Inequalities 4 and 5 of an environment."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.force = InForce(environment)

    def checks(self) -> Iterator[Check]:
        """Every one that there is to check, in no order."""
        for i in range(len(self.environment.legs)):
            yield self._noticed(i)
            yield self._missed(i)
        yield from self._borrowing()
        yield from self._ports()
        yield from self._places()
        yield from self._rush()

    # -- 4: how soon -------------------------------------------------------------------------

    def deaths(self, i: int) -> dict[str, tuple[float, str, str]]:
        """What ends a wait on a leg whose other end is gone: name of the wait -> seconds, timer, error."""
        env, keepalive = self.environment, self.force.client(i)
        user = self.force.user_timeout(i)
        waiting = played.nobody_answers_probes(keepalive, env.linux)
        sending = played.nobody_acknowledges(user, self.force.linux(RETRIES2), env.linux)
        probing = USER if user and keepalive else KEEPALIVE
        found = {
            "waiting for an answer": (waiting.after_s, probing, "ETIMEDOUT"),
            "sending": (sending.after_s, USER if user else RESEND, "ETIMEDOUT"),
        }
        if answer := self.force.answer(i):
            found = {name: min(each, (answer, READ, READ_TIMEOUT)) for name, each in found.items()}
        return found

    def _noticed(self, i: int) -> Check:
        env = self.environment
        wait, (after, timer, error) = max(self.deaths(i).items(), key=lambda each: each[1][0])
        limit, who = env.notice_within_s, env.client_of(i)
        holds = after <= limit
        says = f"{title(who)} notices in time, whether it waits or sends."
        if not holds:
            says = (
                f"When {title(env.server_of(i))} vanishes while {title(who)} is {wait}, "
                f"{timer} decides, and lets it wait {words(after)}."
            )
            if after == inf:
                says = f"{title(who)} waits for ever when its server vanishes: keepalive is off."
        return Check(
            inequality=4, name="a dead server is noticed", leg=env.legs[i].name, holds=holds, left=after,
            right=limit, numbers=f"{wait}: {number(after)} <= {number(limit)} (wanted)", says=says,
            about=(who, "client"), winner="" if holds else timer,
            breaks_after_s=None if holds else limit, heard_after_s=None if holds else after,
            message="" if holds or after == inf else printed(who, error),
            left_behind="" if holds else "The thread and its connection hang until then.",
        )  # fmt: skip

    def _missed(self, i: int) -> Check:
        env = self.environment
        server, limit = env.server_of(i), env.notice_within_s
        after = played.server_misses_client(self.force.server(i), env.linux)
        holds = after <= limit
        says = f"{title(server)} notices in time that a client has vanished."
        return Check(
            inequality=4, name="a dead client is noticed", leg=env.legs[i].name, holds=holds, left=after,
            right=limit, numbers=f"{title(server)}: {number(after)} <= {number(limit)} (wanted)",
            says=says if holds else f"{title(server)} keeps the session of a client that vanished.",
            about=(server, "server"), heard_by=title(server), winner="" if holds else KEEPALIVE,
            breaks_after_s=None if holds else limit, heard_after_s=None if holds else after,
            message="" if holds or after == inf else logged(server, "ETIMEDOUT"),
            left_behind="" if holds else f"{_kept(env.database)}: {words(after)}.",
        )  # fmt: skip

    def acquire(self) -> tuple[float, str]:
        """How long a borrower waits, seconds, and what says so; 0: for ever, or there is no pool."""
        env = self.environment
        name = BORROW.get(env.pool, "")
        if env.acquire_timeout_s and f"{env.pool}.{name}" not in env.settings:
            return env.acquire_timeout_s, "acquire timeout"
        if not name:
            return 0, ""
        return self.force.seconds(env.pool, name), f"{title(env.pool)}'s {name}"

    def connect(self) -> tuple[float, str]:
        """How long connect() to nowhere takes the driver, seconds, and the timer that ends it."""
        env = self.environment
        own = self.force.of(CONNECT, env.driver) or inf
        user = self.force.user_timeout(0)
        linux = played.nobody_answers_connect(user, self.force.linux(SYN_RETRIES), env.linux).after_s
        return min((own, CONNECT_TIMEOUT), (linux, RESEND))

    def _borrowing(self) -> Iterator[Check]:
        env = self.environment
        acquire, who = self.acquire()
        if not who:
            return
        acquire = acquire or inf
        parts = {name: each[0] for name, each in self.deaths(0).items()} | {"connecting": self.connect()[0]}
        wait = max(parts, key=lambda name: parts[name])
        holds = parts[wait] < acquire
        message = waited_for_pool(env.pool, acquire) if acquire < inf else ""
        yield Check(
            inequality=4, name="deaths are noticed before borrowers give up", holds=holds, left=parts[wait],
            right=acquire, numbers=f"{wait}: {number(parts[wait])} < {number(acquire)} ({who})",
            says="Dead connections are found before anybody is sent away."
            if holds
            else f"All connections hang, {wait}, while borrowers are sent away.",
            about=("acquire",), winner="" if holds else who, message="" if holds else message,
            breaks_after_s=None if holds else acquire, heard_after_s=None if holds else acquire,
            left_behind="" if holds else "The hanging connections keep their places in the pool.",
        )  # fmt: skip
        if env.outage_s:
            holds = acquire <= env.outage_s
            yield Check(
                inequality=4, name="borrowers give up before the users do", holds=holds, left=acquire,
                right=env.outage_s, numbers=f"{who}: {number(acquire)} <= {number(env.outage_s)} (tolerated)",
                says="Who waits for the pool is told in time."
                if holds
                else "Users wait for the pool for longer than they bear.",
                about=("acquire",), winner="" if holds else who, message="" if holds else message,
                breaks_after_s=None if holds else env.outage_s, heard_after_s=None if holds else acquire,
            )  # fmt: skip

    # -- 5: how many -------------------------------------------------------------------------

    def _ports(self) -> Iterator[Check]:
        env = self.environment
        if not env.connects_per_s:
            return
        reuse = int(self.force.linux(TW_REUSE)) if self.force.linux("net.ipv4.tcp_timestamps") else 0
        time_wait = TIME_WAIT_LENGTH / SECOND
        yield self._churn(
            "local ports of a host", env.connects_per_s, self.force.ports(), time_wait, reuse, "", "linux"
        )
        for leg in env.legs[:1]:
            for box in leg.boxes:
                if box.ports:
                    rate = env.connects_per_s * env.instances
                    name = f"ports of {box.name}"
                    yield self._churn(name, rate, box.ports, box.time_wait_s, 0, leg.name, box.name)

    def _churn(
        self, name: str, rate: float, ports: int, time_wait: float, reuse: int, leg: str, about: str
    ) -> Check:
        env = self.environment
        told = played.ports_run_out(rate, ports, env.hold_s, time_wait, reuse, env.linux)
        most = inf if told["sustainable_per_s"] is None else told["sustainable_per_s"]
        holds = rate < most
        kept = env.hold_s + time_wait
        wait = f"({env.hold_s:g} + {'reuse' if reuse == 1 else f'{time_wait:g}'})"
        first, outage = told["first_refusal_s"], told["longest_outage_s"]
        says = f"{most:,.0f} connections a second can go on for ever." if most < inf else "None is kept."
        if not holds:
            first = ports / rate if first is None else first
            says = (
                f"After {words(first)} all {ports:,} ports are in use; only {most:,.1f} connections a second "
                f"can go on, and the longest outage lasts {words(outage)}."
            )
        return Check(
            inequality=5, name=name, leg=leg, holds=holds, left=rate, right=most, unit="per s",
            numbers=f"{rate:g}/s x {wait} s < {ports:,} ports", says=says, about=(about,),
            winner="" if holds else f"TIME_WAIT ({kept:g} s)",
            breaks_after_s=None if holds else first, heard_after_s=None if holds else first,
            message="" if holds else NO_PORT.get(env.driver, "Cannot assign requested address"),
            left_behind="" if holds else "The server has heard nothing: not one packet was sent.",
        )  # fmt: skip

    def _places(self) -> Iterator[Check]:
        """Whether everybody may come in, at the first server and at the database."""
        env = self.environment
        wanted = env.connections
        for i in range(len(env.legs)):
            server, limit = env.server_of(i), self.force.limit(env.server_of(i))
            if limit:
                holds = wanted < limit
                yield Check(
                    inequality=5, name=f"places at {title(server)}", leg=env.legs[i].name, holds=holds,
                    left=wanted, right=limit, unit="connections", about=(server, "limit"),
                    numbers=f"{wanted:,} connections < {limit:,} ({title(server)})",
                    says="All of them may come in." if holds else f"{wanted - limit:,} find no place.",
                    breaks_after_s=None if holds else 0, heard_after_s=None if holds else 0,
                    message="" if holds else FULL.get(server, "too many connections"),
                    left_behind="" if holds else "Nothing: they are sent away at once.",
                )  # fmt: skip
            if server == "pgbouncer":
                wanted = min(wanted, int(self.force.own("pgbouncer", "default_pool_size")))

    def _rush(self) -> Iterator[Check]:
        """All instances start at once."""
        env = self.environment
        server, wanted = env.server_of(0), env.connections
        backlog = self.force.backlog(server)
        if not backlog:
            return
        # include/net/sock.h:sk_acceptq_is_full: one more than the backlog may wait.
        holds, ghosts = wanted <= backlog + 1, 0
        if not holds and wanted <= _MOST_AT_ONCE:
            speaks = server in ("mysql", "mariadb")
            ghosts = played.all_at_once(wanted, backlog, speaks)["ghosts"]
        says = (
            "All may knock at once."
            if holds
            else (
                f"When all start at once and {title(server)} is busy for two seconds, its queue is full: "
                f"the others repeat their SYN after 1, 3 and 7 s"
                + (f", and {ghosts:,} believe to be connected and are not." if ghosts else ".")
            )
        )
        yield Check(
            inequality=5, name="all instances start at once", leg=env.legs[0].name, holds=holds, left=wanted,
            right=backlog + 1, unit="connections", numbers=f"{wanted:,} at once <= {backlog:,} + 1 (backlog)",
            says=says, about=(server, "backlog"), winner="" if holds else "SYN repeats",
            breaks_after_s=None if holds else 0, heard_after_s=None if holds else 1,
            message="" if holds else "nothing: connecting takes 1, 3 or 7 s",
            left_behind="" if holds else "In nstat: TcpExtListenOverflows grows.",
        )  # fmt: skip


def _kept(database: str) -> str:
    """What a session whose client is gone keeps."""
    return "Its place stays taken" if database == "redis" else "Its transaction and locks stay"
