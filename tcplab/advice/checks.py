"""The five inequalities of an environment, each with its numbers and what happens where it is broken.

1. idle + interval x lost probes < the shortest layer-4 idle timer
2. what the pool sends < the layer-7 idle timers, and the longest silent query < every data timer
3. the pool's maximum age < every age limit
4. max(connect timeout, user timeout, keepalive's total) < the pool's acquire timeout <= tolerated outage
5. connects/s x (hold + TIME_WAIT) < ports; instances x pool size < backlog and max_connections

When something breaks, and with which error, is a run of the model; what a product prints then was
checked as `tcplab/lesson/symptoms.toml` and `tcplab/experiments/experiment.py` say. Where a product's
words are not known, the errno stands alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from tcplab.advice import products, runs
from tcplab.advice.environment import Environment, MiddleboxSettings
from tcplab.advice.products import InForce, Timer, title
from tcplab.advice.timers import BOX, CONNECT, KEEPALIVE, READ, RESEND, SERVER, USER
from tcplab.core import text
from tcplab.core.text import SECOND, in_words, plural
from tcplab.experiments.experiment import END_OF_FILE, PSQL
from tcplab.model.rules import TIME_WAIT_LENGTH

#: The driver's timer is over: no errno.
READ_TIMEOUT = "read timeout"

_ANY = "*"
_PRINTED: dict[str, dict[str, str]] = {
    "libpq": PSQL,
    # core/v3/QueryExecutorImpl.java:execute, for every IOException, a timeout of its own too
    "pgjdbc": {_ANY: "An I/O error occurred while sending to the backend."},
    "connector_j": {_ANY: "Communications link failure"},
    "jedis": {END_OF_FILE: "Unexpected end of stream."},
    "lettuce": {READ_TIMEOUT: "Command timed out after …"},
    "oracle": {
        END_OF_FILE: "ORA-03113: end-of-file on communication channel",
        "ETIMEDOUT": "TNS-12535: TNS:operation timed out … nt secondary err code: 110",
    },
    "pgbouncer": {_ANY: "server conn crashed?"},
}
#: The database's log about a client that is gone (ETIMEDOUT).
_LOGGED = {"postgresql": "could not receive data from client: Connection timed out"}
_ERRNO = {
    "ETIMEDOUT": "Connection timed out", "ECONNRESET": "Connection reset by peer",
    "EPIPE": "Broken pipe", END_OF_FILE: "end of file", READ_TIMEOUT: "read timed out",
}  # fmt: skip
#: Too many connections. PostgreSQL's and PgBouncer's, and the next: seen with 15.18 and 1.18.
FULL = {
    "postgresql": "FATAL: sorry, too many clients already", "redis": "ERR max number of clients reached",
    "pgbouncer": "FATAL: no more connections allowed (max_client_conn)",
} | dict.fromkeys(("mysql", "mariadb"), "ERROR 1040 (HY000): Too many connections")  # fmt: skip
#: PgBouncer, of a query that runs longer than query_timeout.
QUERY_TIMEOUT = "FATAL: query timeout"
#: No local port is free.
NO_PORT = {"connector_j": "Cannot assign requested address (99)"}
TESTED_DEAD = "Failed to validate connection … Possibly consider using a shorter maxLifetime value."


def printed(product: str, error: str) -> str:
    """What a client's product prints for an error."""
    messages = _PRINTED.get(product, {})
    return messages.get(error) or messages.get(_ANY) or _ERRNO.get(error, error)


def waited_for_pool(pool: str, acquire_s: float) -> str:
    """What a pool prints when a checkout has waited for too long."""
    if pool == "hikaricp":
        return f"Connection is not available, request timed out after {acquire_s * 1000:.0f}ms"
    return {"jedis": "Could not get a resource from the pool"}.get(pool, "the pool's own timeout")


#: A proxy's data timer; the table of timers has no column for it.
DATA_TIMER = "the proxy's data timer"
#: A larger burst of clients is not run.
_MOST_AT_ONCE = 400


@dataclass(frozen=True, kw_only=True)
class Check:
    """One inequality on one leg, with the numbers put in."""

    #: 1 to 5, as this module counts them.
    inequality: int
    #: What is compared, in a few words.
    name: str
    #: The leg's name; empty: not of one leg.
    leg: str = ""
    holds: bool
    #: The side that must be smaller, and the side that must be larger, in `unit`; `inf`: never.
    left: float
    right: float
    unit: str = "s"
    #: The inequality with its numbers: ``300 + 75 x 2 = 450 s < 350 s (AWS NLB)``.
    numbers: str
    #: What happens, in whole sentences; where it holds, why.
    says: str
    #: When the first thing breaks, seconds from when the silence, the rush or the connection began;
    #: None: it holds.
    breaks_after_s: float | None = None
    #: When a call of the application fails, counted the same way; `inf`: never; None: it holds.
    heard_after_s: float | None = None
    #: Whose call fails, or who logs it.
    heard_by: str = "the application"
    #: What it prints then; empty: nothing.
    message: str = ""
    #: What stays on the server.
    left_behind: str = ""
    #: The timer that decides.
    winner: str = ""
    #: Which settings or middleboxes make the right side: for the remedies.
    about: tuple[str, ...] = ()

    @property
    def margin(self) -> float:
        """The distance between the two sides; below 0: how much is missing."""
        if inf in (self.left, self.right):
            return inf if self.holds else -inf
        return self.right - self.left

    @property
    def sentence(self) -> str:
        """Everything in one line."""
        where = f" ({self.leg})" if self.leg else ""
        if self.holds:
            return f"Holds{where}: {self.numbers}. {self.says}"
        heard = ""
        if self.heard_after_s is not None:
            who = self.heard_by[0].upper() + self.heard_by[1:]
            when = f"after {words(self.heard_after_s)}" if self.heard_after_s else "at once"
            error = "never hears of it" if self.heard_after_s == inf else f"hears {when}: {self.message}"
            heard = f" {who} {error}{'' if error.endswith(('.', '…')) else '.'}"
        left = f" {self.left_behind}" if self.left_behind else ""
        return f"Broken{where}: {self.numbers}. {self.says}{heard}{left}"


def words(seconds: float) -> str:
    """Seconds in words; ``for ever``."""
    return "for ever" if seconds == inf else in_words(seconds)


def number(value: float) -> str:
    """A side of an inequality: ``350 s``, ``never``."""
    return text.number(value, "s")


def _check(holds: bool, says: str, broken: Mapping[str, Any], **common: Any) -> Check:
    """A check that holds and says why, or one with what is broken."""
    return Check(holds=holds, **common, **({"says": says} if holds else broken))


class Inequalities:
    """The five inequalities of an environment, those of silence, age and death on each leg."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.force = InForce(environment)

    def checks(self) -> tuple[Check, ...]:
        """All of them, the broken ones first, by when they break."""
        of_leg = (
            self._forgets, self._lost_probes, self._idle_closes, self._data_timers, self._ages,
            self._noticed, self._missed,
        )  # fmt: skip
        made = [each for i in range(len(self.environment.legs)) for checks in of_leg for each in checks(i)]
        for limits in (self._checkout, self._ports, self._places, self._burst):
            made += limits()
        return tuple(sorted(made, key=lambda each: (each.holds, each.breaks_after_s or 0, each.inequality)))

    # -- 1: keepalive before the middlebox ---------------------------------------------------

    def _forgets(self, i: int) -> Iterator[Check]:
        leg, lost = self.environment.legs[i], self.environment.lost_probes
        layer4 = [each for each in leg.middleboxes if each.kind == "layer4" and each.idle_s]
        if not layer4:
            return
        # A middlebox that takes a connection up again does no harm, however soon it forgets.
        middlebox = min(layer4, key=lambda each: (each.expired == "reopen", each.idle_s))
        ends = [end for end in (self.force.client(i), self.force.server(i)) if end]
        best = min(ends, key=lambda end: end.longest_gap(lost), default=None)
        left = best.longest_gap(lost) if best else inf
        sum_ = "keepalive is off at both ends"
        if best:
            silent = f"{max(best.idle_s, best.interval_s):g} + {best.interval_s:g} x {lost}"
            sum_ = f"{silent} = {left:g} s ({title(best.product)})"
        holds = bool(best and best.beats(middlebox.idle_s, lost))
        check = Check(
            inequality=1, name="keepalive before the box", leg=leg.name, holds=holds, left=left,
            right=middlebox.idle_s, numbers=f"{sum_} < {number(middlebox.idle_s)} ({middlebox.name})",
            about=(middlebox.name,),
            says=f"A probe restarts the box's timer, even if {plural(lost, 'probe')} before it get lost.",
        )  # fmt: skip
        yield check if check.holds else self._forgotten(check, i, middlebox)

    def _forgotten(self, check: Check, i: int, middlebox: MiddleboxSettings) -> Check:
        """The worse outcome of a long query and of an idle session, if either is long enough."""
        endings, answer = [], self.force.answer(i)
        # A driver that gives up earlier also ends the silence: inequality 2 covers that.
        query = min(self.environment.longest_silent_query_s, answer or inf)
        silences = {"long_query": query, "next_query": self.force.rests(i)[0]}
        for waiting_for, quiet in silences.items():
            if quiet >= middlebox.idle_s and (ending := self._behind(i, middlebox, waiting_for, quiet)):
                endings.append((ending.after_s, waiting_for, quiet, ending))
        if not endings:
            why = "with the next segment the box takes the connection up again."
            if max(silences.values()) < middlebox.idle_s:
                why = f"nothing is ever silent for {words(middlebox.idle_s)}."
            return replace(check, holds=True, says=f"Probes come too late, but {why}")
        _, waiting_for, quiet, ending = max(endings)
        what = "query" if waiting_for == "long_query" else "rest of a session"
        client, first = self.force.client(i), ""
        if client and client.beats(middlebox.idle_s):
            late = words(client.probe_after(1)) + ("" if client.beats(middlebox.idle_s, 1) else ", too late")
            first = f"The first probe comes in time; but let it be lost, and the next comes after {late}. "
        elif client and client.idle_s < middlebox.idle_s:
            first = f"The first probe comes in time, the next only {words(client.interval_s)} later. "
        product = self.environment.client_of(i)
        heard, error = ending.after_s, ending.error
        winner = KEEPALIVE if client and heard < inf else BOX
        if client and client.user_timeout_s and error == "ETIMEDOUT":
            winner = USER
        if answer and (limit := answer + (0 if waiting_for == "long_query" else quiet)) < heard:
            heard, error, winner = limit, READ_TIMEOUT, READ
        if middlebox.expired == "reset_both":
            winner = BOX
        return replace(
            check,
            says=f"{first}{middlebox.name} forgets a silent {what} after {words(middlebox.idle_s)}.",
            breaks_after_s=middlebox.idle_s, heard_after_s=heard,
            message=printed(product, error) if heard < inf else "",
            left_behind=self._session_left(i, ending), winner=winner,
        )  # fmt: skip

    def _behind(self, i: int, middlebox: MiddleboxSettings, wait: str, quiet: float) -> runs.Ending | None:
        """The run, with as few lost probes as make the client's keepalive too late."""
        keepalive, lost = self.force.client(i), self.environment.lost_probes
        if keepalive:
            gone = next((n for n in range(lost) if not keepalive.beats(middlebox.idle_s, n)), lost)
            keepalive = keepalive.after_losing(gone)
        return runs.behind_middlebox(
            middlebox.idle_s, middlebox.expired, wait, quiet, keepalive, self.force.user_timeout(i),
            self.force.linux(products.RETRIES2), self.environment.linux,
        )  # fmt: skip

    def _session_left(self, i: int, ending: runs.Ending) -> str:
        server = self.environment.server_of(i)
        if not ending.left_behind:
            return f"On {title(server)} nothing stays for long: it gets a RST, or gives up on its answer."
        until = runs.probes_unanswered(self.force.server(i), self.environment.linux).after_s
        ends = "nothing ends it" if until == inf else f"its own keepalive ends it after {words(until)}"
        locks = "" if server == "redis" else ", with its locks"
        return f"On {title(server)} the session stays{locks}: {ends}."

    def _lost_probes(self, i: int) -> Iterator[Check]:
        """A healthy connection must survive the probes that are lost."""
        lost = self.environment.lost_probes
        for end in filter(None, (self.force.client(i), self.force.server(i))):
            ending = runs.probes_unanswered(end, self.environment.linux)
            probes, who = plural(ending.probes, "probe"), title(end.product)
            broken = {
                "says": f"{who} gives a healthy connection up when {probes} in a row get lost.",
                "breaks_after_s": ending.after_s, "heard_after_s": ending.after_s,
                "message": printed(end.product, ending.error),
                "winner": USER if end.user_timeout_s else KEEPALIVE,
                "left_behind": "Both ends were healthy.",
            }  # fmt: skip
            yield _check(
                ending.probes > lost, "A healthy connection outlives lost probes.", broken, inequality=1,
                name="probes that may get lost", leg=self.environment.legs[i].name, left=lost,
                right=ending.probes, unit="probes",
                numbers=f"{lost} lost < {probes} of {who}",
                about=(end.product, "client" if end == self.force.client(i) else "server"),
            )  # fmt: skip

    # -- 2: timers that only data or only a request restarts ---------------------------------

    def _middleboxes(self, i: int, *kinds: str) -> list[Timer]:
        """The idle timers of a leg's middleboxes of these kinds."""
        these = (each for each in self.environment.legs[i].middleboxes if each.kind in kinds and each.idle_s)
        return [Timer(each.idle_s, each.name, each.name) for each in these]

    def _idle_closes(self, i: int) -> Iterator[Check]:
        (rests, what), env = self.force.rests(i), self.environment
        timers = self._middleboxes(i, "layer7", "requests") + self.force.idle_closes(env.server_of(i))
        for seconds, who, key in timers:
            broken = {
                "says": f"{who} ends a session that rests for {words(seconds)}, "
                "and keepalive does not count for it.",
                "breaks_after_s": seconds, "heard_after_s": env.longest_idle_s,
                "message": TESTED_DEAD if env.pool == "hikaricp" else printed(env.driver, END_OF_FILE),
                "left_behind": "Nothing stays: the session is closed properly.", "winner": SERVER,
            }  # fmt: skip
            yield _check(
                rests < seconds, "Nobody is silent for so long.", broken, inequality=2,
                name="what the pool sends before the idle close", leg=env.legs[i].name,
                left=rests, right=seconds, about=(key,),
                numbers=f"{what} {number(rests)} < {number(seconds)} ({who}{self.force.in_own_unit(key)})",
            )  # fmt: skip

    def _data_timers(self, i: int) -> Iterator[Check]:
        """Timers that end a silent query: the proxy's, the driver's, a middlebox's."""
        query, env = self.environment.longest_silent_query_s, self.environment
        timers = [(t, DATA_TIMER) for t in self._middleboxes(i, "layer7")]
        timers += [(t, DATA_TIMER) for t in self.force.data_timers(env.server_of(i))]
        if i == 0:
            name = products.ANSWER.get(env.driver, "")
            timers += [(t, READ) for t in self.force.timer(env.driver, name)]
        for (seconds, who, key), winner in timers:
            own = self.force.in_own_unit(key)
            check = Check(
                inequality=2, name="the longest silent query before the data timer", leg=env.legs[i].name,
                holds=query < seconds, left=query, right=seconds, about=(key,), winner="",
                numbers=f"a silent query of {number(query)} < {number(seconds)} ({who}{own})",
                says="Such a query gets its answer.",
            )  # fmt: skip
            yield check if check.holds else self._cut(check, seconds, who, key, winner)

    def _cut(self, check: Check, seconds: float, who: str, key: str, winner: str) -> Check:
        query, env = self.environment.longest_silent_query_s, self.environment
        ending = runs.Ending(seconds, READ_TIMEOUT)
        if winner == DATA_TIMER:
            ending = runs.proxy_cuts(query, seconds) or runs.Ending(seconds, END_OF_FILE)
            # The run counts from a moment after the proxy's timer began.
            ending = replace(ending, after_s=max(ending.after_s, seconds))
        message = printed(env.driver, ending.error)
        if key.startswith("haproxy."):
            letters = "cD" if key.endswith("client") else "sD"
            message += f" (HAProxy's log: {letters})"
        elif key == "pgbouncer.query_timeout":
            message = QUERY_TIMEOUT
        every = self.force.seconds("postgresql", "client_connection_check_interval")
        goes_on = runs.close_noticed(max(query - seconds, 0), every if env.database == "postgresql" else 0)
        return replace(
            check,
            says=f"{who} kills a healthy query after {words(seconds)}; probes are answered all the while.",
            breaks_after_s=seconds, heard_after_s=ending.after_s, message=message, winner=winner,
            left_behind=f"The database works on for nobody, for {words(goes_on)} more.",
        )  # fmt: skip

    # -- 3: age ------------------------------------------------------------------------------

    def _ages(self, i: int) -> Iterator[Check]:
        env = self.environment
        holder = env.pool if self.force.reached_by_pool(i) else "pgbouncer"
        age = self.force.of(products.AGE, holder) or inf
        name = products.AGE.get(holder, "")
        who = f"{title(holder)}'s {name}" if name else "nobody replaces connections"
        for middlebox in (each for each in env.legs[i].middleboxes if each.age_s):
            broken = {
                "says": f"{middlebox.name} ends connections of {words(middlebox.age_s)}, in use or not.",
                "breaks_after_s": middlebox.age_s, "heard_after_s": middlebox.age_s,
                "message": printed(env.client_of(i), END_OF_FILE), "winner": BOX,
                "left_behind": "A transaction that was open is rolled back.",
            }  # fmt: skip
            own = self.force.in_own_unit(f"{holder}.{name}") if name else ""
            yield _check(
                age < middlebox.age_s, "Connections are replaced before.", broken, inequality=3,
                name="replaced before the age limit", leg=env.legs[i].name, left=age, right=middlebox.age_s,
                about=(middlebox.name, holder),
                numbers=f"{who}{own}: {number(age)} < {number(middlebox.age_s)} ({middlebox.name})",
            )  # fmt: skip

    # -- 4: how soon -------------------------------------------------------------------------

    def deaths(self, i: int) -> dict[str, tuple[float, str, str]]:
        """What ends a wait on a leg whose other end is gone: name of the wait -> seconds, timer, error."""
        env, keepalive = self.environment, self.force.client(i)
        user = self.force.user_timeout(i)
        waiting = runs.probes_unanswered(keepalive, env.linux)
        sending = runs.data_unacknowledged(user, self.force.linux(products.RETRIES2), env.linux)
        probing = USER if user and keepalive else KEEPALIVE
        waits = {
            "waiting for an answer": (waiting.after_s, probing, "ETIMEDOUT"),
            "sending": (sending.after_s, USER if user else RESEND, "ETIMEDOUT"),
        }
        if answer := self.force.answer(i):
            waits = {name: min(each, (answer, READ, READ_TIMEOUT)) for name, each in waits.items()}
        return waits

    def _noticed(self, i: int) -> Iterator[Check]:
        env = self.environment
        wait, (after, timer, error) = max(self.deaths(i).items(), key=lambda each: each[1][0])
        limit, who = env.notice_within_s, env.client_of(i)
        when = f"When {title(env.server_of(i))} vanishes while {title(who)} is {wait}"
        says = f"{when}, {timer} decides, and lets it wait {words(after)}."
        if after == inf:
            says = f"{title(who)} waits for ever when its server vanishes: keepalive is off."
        broken = {
            "says": says, "winner": timer, "breaks_after_s": limit, "heard_after_s": after,
            "message": "" if after == inf else printed(who, error),
            "left_behind": "The thread and its connection hang until then.",
        }  # fmt: skip
        yield _check(
            after <= limit, f"{title(who)} notices in time, whether it waits or sends.", broken,
            inequality=4, name="a dead server is noticed", leg=env.legs[i].name, left=after, right=limit,
            numbers=f"{wait}: {number(after)} <= {number(limit)} (wanted)", about=(who, "client"),
        )  # fmt: skip

    def _missed(self, i: int) -> Iterator[Check]:
        env = self.environment
        server, limit = env.server_of(i), env.notice_within_s
        after = runs.vanished_client_noticed(self.force.server(i), env.linux)
        log = _LOGGED.get(server, "a log that says Connection timed out, or nothing")
        kept = "Its place stays taken" if env.database == "redis" else "Its transaction and locks stay"
        broken = {
            "says": f"{title(server)} keeps the session of a client that vanished.", "winner": KEEPALIVE,
            "breaks_after_s": limit, "heard_after_s": after,
            "message": "" if after == inf else log,
            "left_behind": f"{kept}: {words(after)}.",
        }  # fmt: skip
        yield _check(
            after <= limit, f"{title(server)} notices in time that a client has vanished.", broken,
            inequality=4, name="a dead client is noticed", leg=env.legs[i].name, left=after, right=limit,
            numbers=f"{title(server)}: {number(after)} <= {number(limit)} (wanted)",
            about=(server, "server"), heard_by=title(server),
        )  # fmt: skip

    def acquire(self) -> tuple[float, str]:
        """How long a checkout waits, seconds, and the setting; 0: indefinitely, or there is no pool."""
        env = self.environment
        name = products.ACQUIRE.get(env.pool, "")
        if env.acquire_timeout_s and f"{env.pool}.{name}" not in env.settings:
            return env.acquire_timeout_s, "acquire timeout"
        if not name:
            return 0, ""
        return self.force.seconds(env.pool, name), f"{title(env.pool)}'s {name}"

    def connect(self) -> tuple[float, str]:
        """How long connect() to a silent address takes the driver, seconds, and the timer that ends it."""
        env = self.environment
        own = self.force.of(products.CONNECT, env.driver) or inf
        user = self.force.user_timeout(0)
        linux = runs.connect_unanswered(user, self.force.linux(products.SYN_RETRIES), env.linux).after_s
        return min((own, CONNECT), (linux, RESEND))

    def _checkout(self) -> Iterator[Check]:
        env = self.environment
        acquire, who = self.acquire()
        if not who:
            return
        acquire = acquire or inf
        parts = {name: each[0] for name, each in self.deaths(0).items()} | {"connecting": self.connect()[0]}
        wait = max(parts, key=lambda name: parts[name])
        message = waited_for_pool(env.pool, acquire) if acquire < inf else ""
        common = {"inequality": 4, "about": ("acquire",)}
        broken = {"winner": who, "message": message, "breaks_after_s": acquire, "heard_after_s": acquire}
        yield _check(
            parts[wait] < acquire, "Dead connections are found before anybody is sent away.",
            broken | {
                "says": f"All connections hang, {wait}, while borrowers are sent away.",
                "left_behind": "The hanging connections keep their places in the pool.",
            },
            **common, name="deaths are noticed before borrowers give up", left=parts[wait], right=acquire,
            numbers=f"{wait}: {number(parts[wait])} < {number(acquire)} ({who})",
        )  # fmt: skip
        if env.outage_s:
            yield _check(
                acquire <= env.outage_s, "A thread that waits for the pool gets its error in time.",
                broken | {
                    "says": "Users wait for the pool for longer than they bear.",
                    "breaks_after_s": env.outage_s,
                },
                **common, name="borrowers give up before the users do", left=acquire, right=env.outage_s,
                numbers=f"{who}: {number(acquire)} <= {number(env.outage_s)} (tolerated)",
            )  # fmt: skip

    # -- 5: how many -------------------------------------------------------------------------

    def _ports(self) -> Iterator[Check]:
        env = self.environment
        if not env.connects_per_s:
            return
        reuse = int(self.force.linux(products.TW_REUSE)) if self.force.linux("net.ipv4.tcp_timestamps") else 0
        time_wait = TIME_WAIT_LENGTH / SECOND
        yield self._churn(
            "local ports of a host", env.connects_per_s, self.force.ports(), time_wait, reuse, "", "linux"
        )
        leg = env.legs[0]
        for nat in leg.middleboxes:
            if nat.ports:
                rate = env.connects_per_s * env.instances
                name = f"ports of {nat.name}"
                yield self._churn(name, rate, nat.ports, nat.time_wait_s, 0, leg.name, nat.name)

    def _churn(
        self, name: str, rate: float, ports: int, time_wait: float, reuse: int, leg: str, about: str
    ) -> Check:
        env = self.environment
        outcome = runs.port_churn(rate, ports, env.hold_s, time_wait, reuse, env.linux)
        most = inf if outcome["sustainable_per_s"] is None else outcome["sustainable_per_s"]
        wait = f"({env.hold_s:g} + {'reuse' if reuse == 1 else f'{time_wait:g}'})"
        first = ports / rate if outcome["first_refusal_s"] is None else outcome["first_refusal_s"]
        broken = {
            "says": f"After {words(first)} all {ports:,} ports are in use; only {most:,.1f} connections a "
            f"second can go on, and the longest outage lasts {words(outcome['longest_outage_s'])}.",
            "winner": f"TIME_WAIT ({env.hold_s + time_wait:g} s)",
            "breaks_after_s": first, "heard_after_s": first,
            "message": NO_PORT.get(env.driver, "Cannot assign requested address"),
            "left_behind": "The server has heard nothing: not one packet was sent.",
        }  # fmt: skip
        return _check(
            rate < most,
            f"{most:,.0f} connections a second can go on for ever." if most < inf else "None is kept.",
            broken, inequality=5, name=name, leg=leg, left=rate, right=most, unit="per s",
            numbers=f"{rate:g}/s x {wait} s < {ports:,} ports", about=(about,),
        )  # fmt: skip

    def _places(self) -> Iterator[Check]:
        """Whether the first server, the proxies and the database accept all connections."""
        env = self.environment
        wanted = env.connections
        for i, leg in enumerate(env.legs):
            server, limit = env.server_of(i), self.force.limit(env.server_of(i))
            if limit:
                broken = {
                    "says": f"{wanted - limit:,} find no place.", "breaks_after_s": 0, "heard_after_s": 0,
                    "message": FULL.get(server, "too many connections"),
                    "left_behind": "Nothing: they are sent away at once.",
                }  # fmt: skip
                yield _check(
                    wanted < limit, "All of them may come in.", broken, inequality=5, leg=leg.name,
                    name=f"places at {title(server)}", left=wanted, right=limit, unit="connections",
                    about=(server, "limit"),
                    numbers=f"{wanted:,} connections < {limit:,} ({title(server)})",
                )  # fmt: skip
            if server == "pgbouncer":
                wanted = min(wanted, int(self.force.own("pgbouncer", "default_pool_size")))

    def _burst(self) -> Iterator[Check]:
        """All instances start at the same time."""
        env = self.environment
        server, wanted = env.server_of(0), env.connections
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
            "the others repeat their SYN after 1, 3 and 7 s"
            + (f", and {ghosts:,} believe to be connected and are not." if ghosts else "."),
            "winner": "SYN repeats", "breaks_after_s": 0, "heard_after_s": 1,
            "message": "nothing: connecting takes 1, 3 or 7 s",
            "left_behind": "In nstat: TcpExtListenOverflows grows.",
        }  # fmt: skip
        yield _check(
            holds, "All may knock at once.", broken, inequality=5, name="all instances start at once",
            leg=env.legs[0].name, left=wanted, right=backlog + 1, unit="connections",
            numbers=f"{wanted:,} at once <= {backlog:,} + 1 (backlog)", about=(server, "backlog"),
        )  # fmt: skip
