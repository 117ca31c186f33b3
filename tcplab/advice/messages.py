"""What a check is, and the words of its answer: what a product prints, when, and which timer decides.

When something breaks, and with which error, is a run of the model; what a product prints then was
checked as `tcplab/lesson/symptoms.toml` and `tcplab/experiments/experiment.py` say. Where a product's
words are not known, the errno stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from tcplab.advice.timers import RESEND
from tcplab.core import text
from tcplab.core.text import in_words
from tcplab.experiments.experiment import END_OF_FILE, PSQL

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
LOGGED = {"postgresql": "could not receive data from client: Connection timed out"}
_ERRNO = {
    "ETIMEDOUT": "Connection timed out", "ECONNRESET": "Connection reset by peer",
    "EPIPE": "Broken pipe", END_OF_FILE: "end of file", READ_TIMEOUT: "read timed out",
}  # fmt: skip
#: Too many connections. PostgreSQL's and PgBouncer's, and the next: seen with 15.18 and 1.18.
FULL = {
    "postgresql": "FATAL: remaining connection slots are reserved for …",
    "redis": "ERR max number of clients reached",
    "pgbouncer": "FATAL: no more connections allowed (max_client_conn)",
} | dict.fromkeys(("mysql", "mariadb"), "ERROR 1040 (HY000): Too many connections")  # fmt: skip
#: PgBouncer, of a query that runs longer than query_timeout.
QUERY_TIMEOUT = "FATAL: query timeout"
#: An idle session in a transaction is ended (PostgreSQL).
PAUSED = {"postgresql": "FATAL: terminating connection due to idle-in-transaction timeout"}
#: connect() meets no answer: the driver's own timer is over, or the kernel gives up.
_NO_ANSWER = {
    "libpq": ("timeout expired", "connection to server at … failed: Connection timed out"),
    "pgjdbc": ("The connection attempt failed.", "The connection attempt failed."),
    "connector_j": ("Communications link failure", "Communications link failure"),
}
#: No local port is free.
NO_PORT = {"connector_j": "Cannot assign requested address (99)"}
TESTED_DEAD = "Failed to validate connection … Possibly consider using a shorter maxLifetime value."


def printed(product: str, error: str) -> str:
    """What a client's product prints for an error."""
    messages = _PRINTED.get(product, {})
    return messages.get(error) or messages.get(_ANY) or _ERRNO.get(error, error)


def not_connected(product: str, timer: str) -> str:
    """What a client prints when connect() meets no answer, by the timer that ends it."""
    own, kernel = _NO_ANSWER.get(product, ("Connection timed out", "Connection timed out"))
    return kernel if timer == RESEND else own


def waited_for_pool(pool: str, acquire_s: float) -> str:
    """What a pool prints when a checkout has waited for too long."""
    if pool == "hikaricp":
        return f"Connection is not available, request timed out after {acquire_s * 1000:.0f}ms"
    return {"jedis": "Could not get a resource from the pool"}.get(pool, "the pool's own timeout")


#: A proxy's data timer; the table of timers has no column for it.
DATA_TIMER = "the proxy's data timer"
#: Something breaks for the application; something takes longer than is wanted; a queue is full for seconds.
INCIDENT, WISH, BURST = "incident", "wish", "burst"


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """An inequality that can't be judged: one of its numbers is not known."""

    inequality: int
    #: As a check's.
    name: str
    leg: str = ""
    #: What is missing, in a few words, and the field of `Environment` that has it; empty: no field has it.
    needs: str
    field: str = ""

    @property
    def sentence(self) -> str:
        """Everything in one line."""
        where = f" ({self.leg})" if self.leg else ""
        return f"Not known{where}: {self.name}. To judge it, give {self.needs}."


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
    #: `INCIDENT`, `WISH` or `BURST`: incidents come first, however late they happen.
    kind: str = INCIDENT
    #: What is the case where it is broken; empty: "does not hold: " and the name.
    fails: str = ""

    @property
    def title(self) -> str:
        """The name where it holds, and what is the case where it does not."""
        return self.name if self.holds else self.fails or f"does not hold: {self.name}"

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
            error = (
                "never gets an error"
                if self.heard_after_s == inf
                else f"gets an error {when}: {self.message}"
            )
            heard = f" {who} {error}{'' if error.endswith(('.', '…')) else '.'}"
        left = f" {self.left_behind}" if self.left_behind else ""
        return f"Broken{where}, required: {self.numbers}. {self.says}{heard}{left}"


def words(seconds: float) -> str:
    """Seconds in words; ``indefinitely``."""
    return "indefinitely" if seconds == inf else in_words(seconds)


def number(value: float) -> str:
    """A side of an inequality: ``350 s``, ``never``."""
    return text.number(value, "s")


def check(holds: bool, says: str, broken: Mapping[str, Any], **common: Any) -> Check:
    """A check that holds and says why, or one with what is broken."""
    return Check(holds=holds, **common, **({"says": says} if holds else broken))
