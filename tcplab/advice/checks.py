"""Inequalities 1 to 3: silence, and age, on each leg of the way.

1. idle + interval x lost probes < the shortest layer-4 idle timer
2. what the pool sends < the layer-7 idle timers, and the longest silent query < every data timer
3. the pool's maximum age < every age limit
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf

from tcplab.advice import played
from tcplab.advice.environment import Box, Environment
from tcplab.advice.messages import QUERY_TIMEOUT, READ_TIMEOUT, TESTED_DEAD, printed
from tcplab.advice.products import AGE, ANSWER, IDLE_CLOSE, RETRIES2, InForce, Keepalive, title
from tcplab.catalogue import CatalogueError
from tcplab.experiments.reading import in_words, plural
from tcplab.experiments.sayings import END_OF_FILE
from tcplab.view.timertable import BOX, KEEPALIVE, READ, SERVER, USER

#: A proxy's data timer, a column of its own in no table.
DATA_TIMER = "the proxy's data timer"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One inequality on one leg, with the numbers put in."""

    #: 1 to 5, as this module and `limits` count them.
    inequality: int
    #: What is compared, in a few words.
    name: str
    #: The leg's name; empty: not of one leg.
    leg: str = ""
    holds: bool
    #: The side that must be smaller, and the side that must be larger, in `unit`; `inf`: for ever.
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
    #: When the application hears of it, counted the same way; `inf`: never; None: it holds.
    heard_after_s: float | None = None
    #: Who hears of it.
    heard_by: str = "the application"
    #: What it prints then; empty: nothing.
    message: str = ""
    #: What stays on the server.
    left_behind: str = ""
    #: The timer that decides.
    winner: str = ""
    #: Which settings or boxes make the right side: for the remedies.
    about: tuple[str, ...] = ()

    @property
    def margin(self) -> float:
        """How much is left between the two sides; below 0: how much is missing."""
        if inf in (self.left, self.right):
            return inf if self.holds else -inf
        return self.right - self.left

    @property
    def sentence(self) -> str:
        """Everything in one line, for people."""
        where = f" ({self.leg})" if self.leg else ""
        if self.holds:
            return f"Holds{where}: {self.numbers}. {self.says}"
        heard = ""
        if self.heard_after_s is not None:
            who = self.heard_by[0].upper() + self.heard_by[1:]
            when = f"after {words(self.heard_after_s)}" if self.heard_after_s else "at once"
            heard = f" {who} hears {when}: {self.message}"
            if self.heard_after_s == inf:
                heard = f" {who} never hears of it"
            heard = heard if heard.endswith((".", "…")) else heard + "."
        left = f" {self.left_behind}" if self.left_behind else ""
        return f"Broken{where}: {self.numbers}. {self.says}{heard}{left}"


def words(seconds: float) -> str:
    """Seconds as one says them; ``for ever``."""
    return "for ever" if seconds == inf else in_words(seconds)


def number(value: float, unit: str = "s") -> str:
    """A side of an inequality: ``350 s``, ``never``."""
    return "never" if value == inf else f"{value:,.6g} {unit}".strip()


class Silence:
    """Inequalities 1, 2 and 3 of an environment."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.force = InForce(environment)

    def checks(self) -> Iterator[Check]:
        """Every one that there is to check, in no order."""
        for i in range(len(self.environment.legs)):
            yield from self._boxes_of(i)
            yield from self._lost_probes(i)
            yield from self._idle_closes(i)
            yield from self._data_timers(i)
            yield from self._ages(i)

    # -- 1: keepalive before the box ---------------------------------------------------------

    def _boxes_of(self, i: int) -> Iterator[Check]:
        leg, lost = self.environment.legs[i], self.environment.lost_probes
        boxes = [box for box in leg.boxes if box.kind == "layer4" and box.idle_s]
        if not boxes:
            return
        # A box that takes a connection up again does no harm, however soon it forgets.
        harmful = [box for box in boxes if box.expired != "reopen"] or boxes
        box = min(harmful, key=lambda each: each.idle_s)
        ends = [end for end in (self.force.client(i), self.force.server(i)) if end]
        best = min(ends, key=lambda end: end.probe_after(lost), default=None)
        left = best.probe_after(lost) if best else inf
        sum_ = (
            f"{best.idle_s:g} + {best.interval_s:g} x {lost} = {left:g} s ({title(best.product)})"
            if best
            else "keepalive is off at both ends"
        )
        check = Check(
            inequality=1, name="keepalive before the box", leg=leg.name, holds=left < box.idle_s, left=left,
            right=box.idle_s, numbers=f"{sum_} < {number(box.idle_s)} ({box.name})", about=(box.name,),
            says=f"A probe restarts the box's timer, even if {plural(lost, 'probe')} before it get lost.",
        )  # fmt: skip
        yield check if check.holds else self._forgotten(check, i, box)

    def _forgotten(self, check: Check, i: int, box: Box) -> Check:
        """What comes of it: the worse of a long query and of an idle session, if either is so long."""
        told, answer = [], self.force.answer(i)
        # A driver that gives up before ends the silence, too: inequality 2 tells of that.
        query = min(self.environment.longest_silent_query_s, answer or inf)
        silences = {"long_query": query, "next_query": self.force.rests(i)[0]}
        for waiting_for, quiet in silences.items():
            if quiet >= box.idle_s and (ending := self._behind(i, box, waiting_for, quiet)):
                told.append((ending.after_s, waiting_for, quiet, ending))
        if not told:
            why = "with the next segment the box takes the connection up again."
            if max(silences.values()) < box.idle_s:
                why = f"nothing is ever silent for {words(box.idle_s)}."
            return replace(check, holds=True, says=f"Probes come too late, but {why}")
        _, waiting_for, quiet, ending = max(told)
        what = "query" if waiting_for == "long_query" else "rest of a session"
        client = self.force.client(i)
        early = client is not None and client.idle_s < box.idle_s
        if early and client:
            retry = client.probe_after(1)
            first = (
                f"The first probe comes in time; but let it be lost, and the next comes after "
                f"{words(retry)}{', too late' if retry >= box.idle_s else ''}. "
            )
        else:
            first = ""
        product = self.environment.client_of(i)
        heard, error, winner = ending.after_s, ending.error, self._winner(client, ending)
        if answer and (limit := answer + (0 if waiting_for == "long_query" else quiet)) < heard:
            heard, error, winner = limit, READ_TIMEOUT, READ
        if box.expired == "reset_both":
            winner = BOX
        return replace(
            check,
            says=f"{first}{box.name} forgets a silent {what} after {words(box.idle_s)}.",
            breaks_after_s=box.idle_s, heard_after_s=heard,
            message=printed(product, error) if heard < inf else "",
            left_behind=self._session_left(i, ending), winner=winner,
        )  # fmt: skip

    def _behind(self, i: int, box: Box, waiting_for: str, quiet: float) -> played.Ending | None:
        """The run: probes that get lost are no probes for the box, so the first that counts comes later."""
        keepalive, lost = self.force.client(i), self.environment.lost_probes
        if keepalive and keepalive.idle_s < box.idle_s:
            gone = next(n for n in range(lost + 1) if keepalive.probe_after(n) >= box.idle_s or n == lost)
            keepalive = replace(
                keepalive, idle_s=keepalive.probe_after(gone), probes=max(keepalive.probes - gone, 1)
            )
        return played.box_forgets(
            box.idle_s, box.expired, waiting_for, quiet, keepalive, self.force.user_timeout(i),
            self.force.linux(RETRIES2), self.environment.linux,
        )  # fmt: skip

    @staticmethod
    def _winner(client: Keepalive | None, ending: played.Ending) -> str:
        if ending.error == "ETIMEDOUT" and client and client.user_timeout_s:
            return USER
        return KEEPALIVE if client and ending.after_s < inf else BOX

    def _session_left(self, i: int, ending: played.Ending) -> str:
        server = self.environment.server_of(i)
        if not ending.left_behind:
            return f"On {title(server)} nothing stays for long: it is told, or gives up on its answer."
        until = played.nobody_answers_probes(self.force.server(i), self.environment.linux).after_s
        ends = "nothing ends it" if until == inf else f"its own keepalive ends it after {words(until)}"
        locks = "" if server == "redis" else ", with its locks"
        return f"On {title(server)} the session stays{locks}: {ends}."

    def _lost_probes(self, i: int) -> Iterator[Check]:
        """A healthy connection must outlive the probes that get lost."""
        lost = self.environment.lost_probes
        for end in filter(None, (self.force.client(i), self.force.server(i))):
            run = played.nobody_answers_probes(end, self.environment.linux)
            yield Check(
                inequality=1, name="probes that may get lost", leg=self.environment.legs[i].name,
                holds=run.probes > lost, left=lost, right=run.probes, unit="probes",
                numbers=f"{lost} lost < {plural(run.probes, 'probe')} of {title(end.product)}",
                about=(end.product, "client" if end == self.force.client(i) else "server"),
                **(
                    {"says": "A healthy connection outlives lost probes."}
                    if run.probes > lost
                    else {
                        "says": f"{title(end.product)} gives a healthy connection up when "
                        f"{plural(run.probes, 'probe')} in a row get lost.",
                        "breaks_after_s": run.after_s, "heard_after_s": run.after_s,
                        "message": printed(end.product, run.error),
                        "winner": USER if end.user_timeout_s else KEEPALIVE,
                        "left_behind": "Both ends were healthy.",
                    }
                ),
            )  # fmt: skip

    # -- 2: who looks at data or at requests -------------------------------------------------

    def _idle_timers(self, i: int) -> Iterator[tuple[float, str, str]]:
        """Timers that end a session which rests on a leg: seconds, in whose words, and the setting."""
        for box in self.environment.legs[i].boxes:
            if box.kind != "layer4" and box.idle_s:
                yield box.idle_s, box.name, box.name
        server = self.environment.server_of(i)
        if server == "haproxy":
            seconds, names = self.force.relay_timer()
            if seconds:
                yield seconds, f"HAProxy's {names[0]}", f"haproxy.{names[0]}"
        elif seconds := self.force.of(IDLE_CLOSE, server):
            name = IDLE_CLOSE[server]
            yield seconds, f"{title(server)}'s {name}", f"{server}.{name}"

    def _idle_closes(self, i: int) -> Iterator[Check]:
        (rests, what), env = self.force.rests(i), self.environment
        for seconds, who, key in self._idle_timers(i):
            holds = rests < seconds
            told: dict[str, object] = {"says": "Nobody is silent for so long."}
            if not holds:
                told = {
                    "says": f"{who} ends a session that rests for {words(seconds)}, "
                    "and keepalive does not count for it.",
                    "breaks_after_s": seconds, "heard_after_s": env.longest_idle_s,
                    "message": TESTED_DEAD if env.pool == "hikaricp" else printed(env.driver, END_OF_FILE),
                    "left_behind": "Nothing stays: the session is closed properly.", "winner": SERVER,
                }  # fmt: skip
            yield Check(
                inequality=2, name="what the pool sends before the idle close", leg=env.legs[i].name,
                holds=holds, left=rests, right=seconds, about=(key,),
                numbers=f"{what} {number(rests)} < {number(seconds)} ({who}{self._own(key)})",
                **told,  # type: ignore[arg-type]
            )  # fmt: skip

    def _own(self, key: str) -> str:
        product, _, name = key.partition(".")
        try:
            return self.force.in_own_unit(product, name)
        except CatalogueError:
            return ""  # a box's own timer

    def _data_timers(self, i: int) -> Iterator[Check]:
        """Timers that end a query which is silent: the proxy's, the driver's, a box's."""
        query, env = self.environment.longest_silent_query_s, self.environment
        found: list[tuple[float, str, str, str]] = [
            (box.idle_s, box.name, box.name, DATA_TIMER)
            for box in env.legs[i].boxes
            if box.kind == "layer7" and box.idle_s
        ]
        server = env.server_of(i)
        if server == "haproxy":
            seconds, names = self.force.relay_timer()
            if seconds:
                found.append((seconds, f"HAProxy's {names[0]}", f"haproxy.{names[0]}", DATA_TIMER))
        elif server == "pgbouncer" and (seconds := self.force.seconds("pgbouncer", "query_timeout")):
            found.append((seconds, "PgBouncer's query_timeout", "pgbouncer.query_timeout", DATA_TIMER))
        if i == 0 and (seconds := self.force.answer(0)):
            name = ANSWER[env.driver]
            found.append((seconds, f"{title(env.driver)}'s {name}", f"{env.driver}.{name}", READ))
        for seconds, who, key, winner in found:
            check = Check(
                inequality=2, name="the longest silent query before the data timer", leg=env.legs[i].name,
                holds=query < seconds, left=query, right=seconds, about=(key,), winner="",
                numbers=f"a silent query of {number(query)} < {number(seconds)} ({who}{self._own(key)})",
                says="Such a query gets its answer.",
            )  # fmt: skip
            yield check if check.holds else self._cut(check, seconds, who, key, winner)

    def _cut(self, check: Check, seconds: float, who: str, key: str, winner: str) -> Check:
        query, env = self.environment.longest_silent_query_s, self.environment
        ending = played.Ending(seconds, READ_TIMEOUT)
        if winner == DATA_TIMER:
            ending = played.relay_cuts(query, seconds) or played.Ending(seconds, END_OF_FILE)
            # The run counts from a moment after the proxy's timer began.
            ending = replace(ending, after_s=max(ending.after_s, seconds))
        message = printed(env.driver, ending.error)
        if key.startswith("haproxy."):
            letters = "cD" if key.endswith("client") else "sD"
            message += f" (HAProxy's log: {letters})"
        elif key == "pgbouncer.query_timeout":
            message = QUERY_TIMEOUT
        every = self.force.seconds("postgresql", "client_connection_check_interval")
        goes_on = played.server_hears_of_close(
            max(query - seconds, 0), every if env.database == "postgresql" else 0
        )
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
        age = self.force.of(AGE, holder) or inf
        name = AGE.get(holder, "")
        who = f"{title(holder)}'s {name}" if name else "nobody replaces connections"
        for box in env.legs[i].boxes:
            if not box.age_s:
                continue
            told: dict[str, object] = {"says": "Connections are replaced before."}
            if age >= box.age_s:
                told = {
                    "says": f"{box.name} ends connections of {words(box.age_s)}, in use or not.",
                    "breaks_after_s": box.age_s, "heard_after_s": box.age_s,
                    "message": printed(env.client_of(i), END_OF_FILE), "winner": BOX,
                    "left_behind": "A transaction that was open is rolled back.",
                }  # fmt: skip
            own = self._own(f"{holder}.{name}") if name else ""
            yield Check(
                inequality=3, name="replaced before the age limit", leg=env.legs[i].name,
                holds=age < box.age_s, left=age, right=box.age_s, about=(box.name, holder),
                numbers=f"{who}{own}: {number(age)} < {number(box.age_s)} ({box.name})",
                **told,  # type: ignore[arg-type]
            )  # fmt: skip
