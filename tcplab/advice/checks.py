"""The inequalities of an environment, each with its numbers and what happens where it is broken.

1. idle + interval x lost probes < the shortest layer-4 idle timer
2. what the pool sends < the layer-7 idle timers, and the longest silent query < every data timer;
   the longest pause in a transaction < what ends it
3. the pool's maximum age + the longest checkout < every age limit
4. detection + connect timeout x addresses <= tolerated outage; a checkout waits no longer than its caller
5. the counts, see `counts`

One whose numbers are not known is `Unknown`, and never holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf

from tcplab.advice import products, runs
from tcplab.advice.counts import Counts
from tcplab.advice.environment import Environment, MiddleboxSettings
from tcplab.advice.messages import (
    BURST,
    DATA_TIMER,
    LOGGED,
    PAUSED,
    QUERY_TIMEOUT,
    READ_TIMEOUT,
    TESTED_DEAD,
    WISH,
    Unknown,
    number,
    printed,
    waited_for_pool,
)
from tcplab.advice.messages import Check as Check
from tcplab.advice.messages import check as made
from tcplab.advice.messages import words as words
from tcplab.advice.products import InForce, Timer, of_product, title
from tcplab.advice.timers import BOX, CONNECT, KEEPALIVE, READ, RESEND, SERVER, USER
from tcplab.core.text import plural
from tcplab.experiments.experiment import END_OF_FILE

#: A detection: how long it takes, the timer that ends it, and the error.
_Death = tuple[float, str, str]


def _gives_up(after_s: float) -> str:
    """Whether and when a client gives up, as the end of a sentence."""
    if after_s == inf:
        return "never gives up its dead connection"
    return f"gives up its dead connection after {words(after_s)}"


class Inequalities:
    """The inequalities of an environment, those of silence, age and death on each leg."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.force = InForce(environment)

    def all(self) -> tuple[Check | Unknown, ...]:
        """Every inequality, in the order of a connection's path."""
        of_leg = (
            self._forgets, self._lost_probes, self._idle_closes, self._data_timers, self._pauses, self._ages,
            self._noticed, self._outage, self._missed,
        )  # fmt: skip
        legs = range(len(self.environment.legs))
        answers: list[Check | Unknown] = [each for i in legs for checks in of_leg for each in checks(i)]
        for limits in (self._checkout, self._orphans, self._failover, self._stale):
            answers += limits()
        return (*answers, *Counts(self.environment).all())

    def checks(self) -> tuple[Check, ...]:
        """What can be judged: the broken ones first, incidents before wishes, by when they break."""
        order = {each: i for i, each in enumerate(("", WISH, BURST))}
        return tuple(
            sorted(
                (each for each in self.all() if isinstance(each, Check)),
                key=lambda each: (
                    each.holds,
                    0 if each.holds else order.get(each.kind, 0),
                    each.breaks_after_s or 0,
                    each.inequality,
                ),
            )
        )

    def unknown(self) -> tuple[Unknown, ...]:
        """What can't be judged."""
        return tuple(each for each in self.all() if isinstance(each, Unknown))

    # -- 1: keepalive before the middlebox ---------------------------------------------------

    def _forgets(self, i: int) -> Iterator[Check]:
        leg, lost = self.environment.legs[i], self.environment.lost_probes
        layer4 = [each for each in leg.middleboxes if each.kind == "layer4" and each.idle_s]
        if not layer4:
            return
        # A middlebox that takes a connection up again does no harm, however soon it forgets.
        middlebox = min(layer4, key=lambda each: (each.expired == "reopen", each.idle_s))
        # What the server sends to a middlebox that lets nothing in restarts nothing.
        server = None if middlebox.expired == "drop_inbound" else self.force.server(i)
        ends = [end for end in (self.force.client(i), server) if end]
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
            says=f"A probe restarts its timer in time, even if {plural(lost, 'probe')} before it got lost.",
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
            why = "the next packet creates the entry again."
            if max(silences.values()) < middlebox.idle_s:
                why = f"no connection is idle for {words(middlebox.idle_s)}."
            return replace(check, holds=True, says=f"Probes come too late, but {why}")
        _, waiting_for, quiet, ending = max(endings)
        what = "silent query" if waiting_for == "long_query" else "idle session"
        client, first = self.force.client(i), ""
        if client and client.beats(middlebox.idle_s):
            late = words(client.probe_after(1)) + ("" if client.beats(middlebox.idle_s, 1) else ", too late")
            first = f"The first probe comes in time; if it gets lost, the next comes after {late}. "
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
            says=f"{first}{middlebox.name} removes the entry of a{'n' * what.startswith('i')} {what} "
            f"after {words(middlebox.idle_s)}.",
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
            return f"{title(server)} ends the session: it gets a RST, or gives up on its answer."
        until = runs.probes_unanswered(self.force.server(i), self.environment.linux).after_s
        ends = "nothing ends it" if until == inf else f"its own keepalive ends it after {words(until)}"
        locks = "" if server == "redis" else ", with its locks"
        return f"On {title(server)} the session remains{locks}: {ends}."

    def _lost_probes(self, i: int) -> Iterator[Check]:
        """A healthy connection must survive the probes that are lost."""
        lost = self.environment.lost_probes
        for end in filter(None, (self.force.client(i), self.force.server(i))):
            ending = runs.probes_unanswered(end, self.environment.linux)
            probes, who = plural(ending.probes, "probe"), title(end.product)
            broken = {
                "says": f"{who} ends a healthy connection when {probes} in a row get lost.",
                "breaks_after_s": ending.after_s, "heard_after_s": ending.after_s,
                "message": printed(end.product, ending.error),
                "winner": USER if end.user_timeout_s else KEEPALIVE,
                "left_behind": "Both ends were up.",
            }  # fmt: skip
            yield made(
                ending.probes > lost, "A healthy connection survives lost probes.", broken, inequality=1,
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
                "says": f"{who} ends a session that is idle for {words(seconds)}; "
                "keepalive probes don't restart that timer.",
                "breaks_after_s": seconds, "heard_after_s": env.longest_idle_s,
                "message": TESTED_DEAD if env.pool == "hikaricp" else printed(env.driver, END_OF_FILE),
                "left_behind": "Nothing remains: the session is closed properly.", "winner": SERVER,
            }  # fmt: skip
            yield made(
                rests < seconds, "No session is idle for that long.", broken, inequality=2,
                name="what the pool sends before the idle close", leg=env.legs[i].name,
                left=rests, right=seconds, about=(key,),
                numbers=f"{what} {number(rests)} < {number(seconds)} ({who}{self.force.in_own_unit(key)})",
            )  # fmt: skip

    def _data_timers(self, i: int) -> Iterator[Check]:
        """Timers that end a silent query: the proxy's, the driver's, a middlebox's."""
        query, env = self.environment.longest_silent_query_s, self.environment
        if not query:
            return
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
            says=f"{who} ends a healthy query after {words(seconds)}, although probes are answered.",
            breaks_after_s=seconds, heard_after_s=ending.after_s, message=message, winner=winner,
            left_behind=f"The database keeps running the query, for {words(goes_on)} more.",
        )  # fmt: skip

    def _pauses(self, i: int) -> Iterator[Check | Unknown]:
        """What ends a session that is idle in a transaction, against the program's longest pause."""
        env, name = self.environment, "a pause in a transaction"
        pause, server = env.longest_pause_s, env.server_of(i)
        for seconds, who, key in self.force.timer(server, products.PAUSE.get(server, "")):
            if not pause:
                needs = "the longest pause of a program inside a transaction"
                yield Unknown(
                    inequality=2, name=name, leg=env.legs[i].name, needs=needs, field="longest_pause_s"
                )
                continue
            broken = {
                "says": f"{who} ends a session that pauses in a transaction for {words(seconds)}.",
                "breaks_after_s": seconds, "heard_after_s": pause, "winner": SERVER,
                "message": PAUSED.get(server, printed(env.driver, END_OF_FILE)),
                "left_behind": "The transaction is rolled back.",
            }  # fmt: skip
            yield made(
                pause < seconds, "No program pauses for that long.", broken, inequality=2, name=name,
                fails="a pause in a transaction ends its session", leg=env.legs[i].name,
                left=pause, right=seconds, about=(key,),
                numbers=f"{number(pause)} < {number(seconds)} ({who}{self.force.in_own_unit(key)})",
            )  # fmt: skip

    # -- 3: age ------------------------------------------------------------------------------

    def longest_checkout(self) -> float:
        """How long a connection is away from its pool at most, seconds: it is not replaced meanwhile."""
        return max(self.environment.longest_checkout_s, self.environment.longest_silent_query_s)

    def _ages(self, i: int) -> Iterator[Check]:
        env = self.environment
        holder, away = self.force.holder(i), self.longest_checkout()
        age = self.force.of(products.AGE, holder) or inf
        name = products.AGE.get(holder, "")
        who = f"{title(holder)}'s {name}" if name else "nothing replaces connections"
        for middlebox in (each for each in env.legs[i].middleboxes if each.age_s):
            broken = {
                "says": f"{middlebox.name} ends connections aged {words(middlebox.age_s)}, in use or not.",
                "breaks_after_s": middlebox.age_s, "heard_after_s": middlebox.age_s,
                "message": printed(env.client_of(i), END_OF_FILE), "winner": BOX,
                "left_behind": "A transaction that was open is rolled back.",
            }  # fmt: skip
            own = self.force.in_own_unit(f"{holder}.{name}") if name else ""
            sum_ = f"{number(age)} + {away:g} s in use" if age < inf else number(age)
            yield made(
                age + away < middlebox.age_s, "Connections are replaced before that.", broken, inequality=3,
                name="replaced before the age limit", fails="not replaced before the age limit",
                leg=env.legs[i].name, left=age + away, right=middlebox.age_s,
                about=(middlebox.name, holder),
                numbers=f"{who}{own}: {sum_} < {number(middlebox.age_s)} ({middlebox.name})",
            )  # fmt: skip

    # -- 4: how soon -------------------------------------------------------------------------

    def deaths(self, i: int) -> dict[str, _Death]:
        """What ends a wait on a leg whose other end is gone: name of the wait -> seconds, timer, error."""
        env, keepalive, client = self.environment, self.force.client(i), self.environment.client_of(i)
        user = self.force.user_timeout(i)
        waiting = runs.probes_unanswered(keepalive, env.linux)
        sending = runs.data_unacknowledged(user, self.force.linux(products.RETRIES2), env.linux)
        probing = USER if user and keepalive else KEEPALIVE
        waits = {
            "waiting for an answer": (waiting.after_s, probing, "ETIMEDOUT"),
            "sending": (sending.after_s, USER if user else RESEND, "ETIMEDOUT"),
        }
        if of_product(client).is_shared:
            # The next command is sent over the same connection: data is always in flight, and a command
            # that times out does not close it.
            return {"sending": waits["sending"]}
        if answer := self.force.answer(i):
            waits = {name: min(each, (answer, READ, READ_TIMEOUT)) for name, each in waits.items()}
        return waits

    def detection(self, i: int) -> tuple[str, _Death]:
        """The slowest of the waits of a leg whose other end is gone."""
        return max(self.deaths(i).items(), key=lambda each: each[1][0])

    def _noticed(self, i: int) -> Iterator[Check]:
        env = self.environment
        wait, (after, timer, error) = self.detection(i)
        limit, who = env.notice_within_s, env.client_of(i)
        when = f"When {title(env.server_of(i))} vanishes while {title(who)} is {wait}"
        says = f"{when}, {timer} decides: it waits {words(after)}."
        if after == inf:
            says = f"{title(who)} waits indefinitely when its server vanishes: keepalive is off."
        elif of_product(who).is_shared and (answer := self.force.answer(i)):
            says += f" Each command fails after {words(answer)}, and the one connection stays."
        broken = {
            "says": says, "winner": timer, "breaks_after_s": limit, "heard_after_s": after,
            "message": "" if after == inf else printed(who, error),
            "left_behind": "The thread and its connection hang until then.",
        }  # fmt: skip
        yield made(
            after <= limit, f"{title(who)} detects it in time, whether it waits or sends.", broken,
            inequality=4, name="a dead server is noticed", fails="a dead server is not detected in time",
            leg=env.legs[i].name, left=after, right=limit, kind=WISH,
            numbers=f"{wait}: {number(after)} <= {number(limit)} (wanted)", about=(who, "client"),
        )  # fmt: skip

    def connecting(self, i: int) -> tuple[float, str]:
        """How long a leg's client may need for a new connection, all addresses tried, and the sum."""
        each, count = self.connect(i)[0], self.tries(i)
        return each * count, number(each) + (f" x {count}" if count > 1 else "")

    def tries(self, i: int) -> int:
        """How many times connect() is called until a leg's client gives up."""
        if self.environment.client_of(i) == "haproxy":
            return int(self.force.own("haproxy", "retries")) + 1
        return self.environment.addresses if i == 0 else 1

    def _outage(self, i: int) -> Iterator[Check | Unknown]:
        env, name, leg = self.environment, "an outage ends in time", self.environment.legs[i].name
        if not env.outage_s:
            needs = "the longest outage that is tolerated"
            yield Unknown(inequality=4, name=name, leg=leg, needs=needs, field="outage_s")
            return
        wait, (after, timer, error) = self.detection(i)
        connecting, sum_ = self.connecting(i)
        who = env.client_of(i)
        broken = {
            "says": f"{title(who)} {_gives_up(after)}, and needs up to {words(connecting)} for a new one.",
            "winner": timer if after >= connecting else self.connect(i)[1], "breaks_after_s": env.outage_s,
            "heard_after_s": after + connecting,
            "message": "" if after + connecting == inf else printed(who, error),
            "left_behind": "Until then nothing works, even if the server is back.",
        }  # fmt: skip
        yield made(
            after + connecting <= env.outage_s, "A dead connection is replaced in time.", broken,
            inequality=4, name=name, fails="an outage does not end in time", leg=leg,
            left=after + connecting, right=env.outage_s, kind=WISH, about=(who, "client"),
            numbers=f"{wait}: {number(after)} + connecting: {sum_} <= {number(env.outage_s)} (tolerated)",
        )  # fmt: skip

    def _missed(self, i: int) -> Iterator[Check]:
        env = self.environment
        server, limit = env.server_of(i), env.notice_within_s
        after = runs.vanished_client_noticed(self.force.server(i), env.linux)
        log, winner = LOGGED.get(server, "a log that says Connection timed out, or nothing"), KEEPALIVE
        for seconds, _, _ in self.force.timer(server, products.PAUSE.get(server, "")):
            if seconds < after:
                after, winner, log = seconds, SERVER, PAUSED.get(server, "a log of the timeout, or nothing")
        kept = "Its slot stays in use" if env.database == "redis" else "Its transaction and locks remain"
        broken = {
            "says": f"{title(server)} keeps the session of a client that vanished.", "winner": winner,
            "breaks_after_s": limit, "heard_after_s": after,
            "message": "" if after == inf else log,
            "left_behind": f"{kept} {words(after)}." if after == inf else f"{kept} for {words(after)}.",
        }  # fmt: skip
        yield made(
            after <= limit, f"{title(server)} detects in time that a client has vanished.", broken,
            inequality=4, name="a dead client is noticed", fails="a dead client is not detected in time",
            leg=env.legs[i].name, left=after, right=limit, kind=WISH,
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

    def connect(self, i: int = 0) -> tuple[float, str]:
        """How long connect() to a silent address takes a leg's client, seconds, and what ends it."""
        env = self.environment
        own = self.force.of(products.CONNECT, env.client_of(i)) or inf
        user = self.force.user_timeout(i)
        linux = runs.connect_unanswered(user, self.force.linux(products.SYN_RETRIES), env.linux).after_s
        return min((own, CONNECT), (linux, RESEND))

    def _checkout(self) -> Iterator[Check | Unknown]:
        """A checkout gives up before its caller does; the sooner, the better."""
        env, name = self.environment, "borrowers give up before the users do"
        acquire, who = self.acquire()
        limit = env.deadline_s or env.outage_s
        if not who:
            return
        if not limit:
            needs = "how long the caller waits"
            yield Unknown(inequality=4, name=name, needs=needs, field="deadline_s")
            return
        acquire = acquire or inf
        cause = ""
        if acquire < (connecting := self.connecting(0)[0]):
            cause = f" Connecting may take {words(connecting)}, so the pool's message hides the cause."
        broken = {
            "says": f"Callers wait for the pool longer than they tolerate.{cause}", "winner": who,
            "breaks_after_s": limit, "heard_after_s": acquire,
            "message": waited_for_pool(env.pool, acquire) if acquire < inf else "",
        }  # fmt: skip
        wanted = "the caller's deadline" if env.deadline_s else "tolerated"
        yield made(
            acquire <= limit, f"A thread that waits for the pool gets its error in time.{cause}", broken,
            inequality=4, about=("acquire",), name=name, fails="callers give up before the checkout does",
            left=acquire, right=limit, kind=WISH,
            numbers=f"{who}: {number(acquire)} <= {number(limit)} ({wanted})",
        )  # fmt: skip

    def _orphans(self) -> Iterator[Check]:
        """A client that stops waiting must not leave its query running."""
        env = self.environment
        answer, query = self.force.answer(0), env.longest_silent_query_s
        name = products.STATEMENT.get(env.database, "")
        if not name or not answer or query >= answer or of_product(env.driver).is_shared:
            return  # a read timeout below the longest query is broken by itself
        statement = self.force.seconds(env.database, name) or inf
        if self.force.of(products.ALIVE_CHECK, env.database):
            return  # the server asks whether the client is still there
        who = f"{title(env.database)}'s {name}"
        broken = {
            "says": f"{title(env.driver)} stops waiting after {words(answer)}; the query runs on.",
            "winner": READ, "breaks_after_s": answer, "heard_after_s": answer,
            "message": printed(env.driver, READ_TIMEOUT),
            "left_behind": "The query keeps its locks until it ends"
            + (f", at most {words(statement)}." if statement < inf else ", whenever that is."),
        }  # fmt: skip
        yield made(
            statement < answer, "The server ends a statement before its client stops waiting.", broken,
            inequality=4, name="a statement ends before its client", left=statement, right=answer,
            fails="a query goes on without its client", kind=WISH, about=(env.database, "statement"),
            numbers=f"{who}: {number(statement)} < {number(answer)} ({title(env.driver)}'s "
            f"{products.ANSWER[env.driver]})",
        )  # fmt: skip

    def _failover(self) -> Iterator[Check | Unknown]:
        env, name = self.environment, "a failover ends in time"
        needed = {"promotion_s": "how long a promotion takes", "outage_s": "the outage that is tolerated"}
        if missing := [field for field in needed if not getattr(env, field)]:
            needs = " and ".join(needed[field] for field in missing)
            yield Unknown(inequality=4, name=name, needs=needs, field=missing[0])
            return
        i = len(env.legs) - 1
        after, timer, error = self.detection(i)[1]
        promoted = env.promotion_s + self.names_s()
        connecting, sum_ = self.connecting(i)
        total = max(promoted, after) + connecting
        broken = {
            "says": f"The new primary can be reached after {words(promoted)}; {title(env.client_of(i))} "
            f"{_gives_up(after)}.",
            "winner": timer if after > promoted else "promotion and name", "breaks_after_s": env.outage_s,
            "heard_after_s": total,
            "message": "" if total == inf else printed(env.client_of(i), error),
            "left_behind": "No write succeeds until then.",
        }  # fmt: skip
        yield made(
            total <= env.outage_s, "Promotion, name, detection and connecting fit.", broken, inequality=4,
            name=name, fails="a failover does not end in time", leg=env.legs[i].name, kind=WISH,
            left=total, right=env.outage_s, about=(env.client_of(i), "failover"),
            numbers=f"max({promoted:g}, {after:g}) + {sum_} = {number(total)} <= {number(env.outage_s)} "
            "(tolerated)",
        )  # fmt: skip

    def names_s(self) -> float:
        """How long the client of the last leg may use an old address: the name's TTL and its own cache."""
        env = self.environment
        client = env.client_of(len(env.legs) - 1)
        holder = "java" if of_product(client).language == "Java" else client
        return env.dns_ttl_s + self.force.of(products.NAMES, holder)

    def _stale(self) -> Iterator[Check | Unknown]:
        """After a role change pools must leave the old address."""
        env, name = self.environment, "an old address is left in time"
        if not env.stale_s:
            if env.promotion_s:
                needs = "how long connections to an old address are tolerated"
                yield Unknown(inequality=4, name=name, needs=needs, field="stale_s")
            return
        i = len(env.legs) - 1
        holder = self.force.holder(i)
        age = self.force.of(products.AGE, holder) or inf
        total = age + self.longest_checkout() + self.names_s()
        what = f"{title(holder)}'s {products.AGE[holder]}" if age < inf else "nothing replaces connections"
        broken = {
            "says": "A pool keeps its connections to a server that is no longer the primary.",
            "winner": what, "breaks_after_s": env.stale_s, "heard_after_s": total,
            "message": "cannot execute … in a read-only transaction" if total < inf else "",
            "left_behind": "Reads may be old until then.",
        }  # fmt: skip
        yield made(
            total <= env.stale_s, "Connections are replaced in time.", broken, inequality=4, name=name,
            fails="an old address is used for too long", leg=env.legs[i].name, kind=WISH, left=total,
            right=env.stale_s, about=(holder, "stale"),
            numbers=f"{what}: {age:g} + {self.longest_checkout():g} in use + {self.names_s():g} of the name"
            f" = {number(total)} <= {number(env.stale_s)} (tolerated)",
        )  # fmt: skip
