"""What every experiment declares: parameters, one script, its outcome and its sentence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from tcplab.bench.agreement import WHOLE, Scope
from tcplab.bench.script import Bench, SocketOptions
from tcplab.core.knobs import ParameterError, Parameters
from tcplab.core.releases import release
from tcplab.core.text import duration
from tcplab.core.trace import Answer, Call, Trace


@dataclass(frozen=True, kw_only=True)
class Runnable(Parameters):
    """Parameters plus what is taught with them: what experiments and studies have in common."""

    #: One line for lists and headings.
    title: ClassVar[str] = ""
    #: The notebook that explains it, without number or ending: `keepalive`.
    lesson: ClassVar[str] = ""
    #: Three to six parameters that an explorer shows first, in two rows; the others are folded away.
    controls: ClassVar[tuple[str, ...]] = ()
    #: Named settings for the explorer; the defaults come first under their own name.
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    #: Which pictures serve it, the most telling one first.
    pictures: ClassVar[tuple[str, ...]] = ("ladder",)
    #: At most 15 s of real time, for `agree`, `record`, tests and `run --quick`.
    quick: ClassVar[Mapping[str, Any]] = {}

    #: Values to draw from when model and Linux are compared on samples; the others as in `quick`.
    #: Whole seconds, and short.
    sampled: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    #: Knobs whose ends are not drawn either: there a program that is late by a millisecond decides.
    no_edges: ClassVar[tuple[str, ...]] = ()
    #: A story of milliseconds and minutes: its time axis begins logarithmic.
    log_time: ClassVar[bool] = False
    #: A lane below the program that holds locks, for what they hold up: its name, its words while they are
    #: held, and after it.
    held_up: ClassVar[tuple[str, str, str] | None] = None

    @abstractmethod
    def answer(self, trace: Trace) -> Answer | None:
        """What the story is about, from the break to the moment of truth; None where a run has none."""

    @abstractmethod
    def sentence(self, trace: Trace) -> str:
        """What happened, when, and what the application saw: reads without the picture."""


@dataclass(frozen=True, kw_only=True)
class Experiment(Runnable):
    """Parameters plus one script plus what it teaches. Frozen: a run never changes them."""

    @abstractmethod
    async def run(self, bench: Bench) -> None:
        """The story, in the bench's verbs."""

    @abstractmethod
    def outcome(self, trace: Trace) -> dict[str, Any]:
        """The named results, read from what the run left behind."""

    def answer(self, trace: Trace) -> Answer | None:
        """From the first thing that broke to the first call that failed or read end of file."""
        ends = (call for call in trace.calls if call.t >= trace.watching_since and is_end(call))
        end = next(ends, None)
        return answered(broke_at(trace), end.t, end.host, end.result) if end else None

    def matched_to(self, linux: Trace) -> Self:
        """The parameters with which the model is compared to a run on Linux.

        The rules are those of the Linux that ran. What it chose itself, and the model can't know, an
        experiment adds.
        """
        return self.with_values(linux=linux.linux or self.linux)

    def scope(self, trace: Trace) -> Scope:
        """What of a run the comparison of model and Linux looks at."""
        return WHOLE


class KeepaliveParameters:
    """What experiments with the three keepalive parameters share; they declare the knobs at their place."""

    latency_ms: float
    linux: str
    keepalive_idle_s: float = 0
    keepalive_interval_s: float
    keepalive_probes: int
    user_timeout_s: float = 0

    def options(self, idle_s: float | None = None) -> SocketOptions:
        """The socket with these parameters; `idle_s`: of several, the one with this idle time."""
        return SocketOptions(
            keepalive_idle_s=self.keepalive_idle_s if idle_s is None else idle_s,
            keepalive_interval_s=self.keepalive_interval_s,
            keepalive_probes=self.keepalive_probes,
            user_timeout_s=self.user_timeout_s,
        )

    def connects_in_time(self) -> None:
        """Refuse a user timeout of the client that would end connect() before any answer can come."""
        round_trip = 2 * self.latency_ms / 1000
        if 0 < self.user_timeout_s <= round_trip and release(self.linux).user_timeout_exact:
            raise ParameterError(
                f"user_timeout_s = {self.user_timeout_s:g} expires before the server can answer: use more "
                f"than {round_trip:g} s, a round trip at latency_ms = {self.latency_ms:g}, or 0 (off)."
            )

    def probes_as_linux_does(self, *names: str) -> None:
        """Refuse a keepalive idle time below what TCP_KEEPIDLE takes."""
        for name in names:
            if 0 < getattr(self, name) < 1:
                raise ParameterError(
                    f"{name} = {getattr(self, name):g} is shorter than Linux accepts: use 1 s or more, or 0 "
                    "(off)."
                )


#: What programs do in several stories, in the words of their pictures.
CLOSED = ("has closed its socket", "closed")
IN_POOL = ("idle in the pool", "idle")
NEXT_QUERY = ("waits for the next query", "waits")
ITS_ANSWER = ("waits in recv() for its answer", "waits in recv()", "recv()")
QUERY_RUNS = ("the query runs", "runs")


def broke_at(trace: Trace) -> int:
    """When the first thing broke that was watched; the beginning of the watch where nothing did."""
    watched = trace.watching_since
    return next((broken.t for broken in trace.breaks() if broken.t >= watched), watched)


def answered(start: int, end: int, host: str, what: str, measure: int | None = None) -> Answer:
    """``ETIMEDOUT after 15 min 29 s``: by the answer's own number of nanoseconds, where it has one."""
    after = duration(end - start if measure is None else measure)
    return Answer(start, end, host, f"{what} after {after}", measure)


def unanswered(start: int, trace: Trace, host: str) -> Answer:
    """``not detected in 1 h``: as long as it was watched."""
    return Answer(start, None, host, f"not detected in {duration(trace.end - start)}")


def is_end(call: Call) -> bool:
    """Whether a program has got an errno or an end of file."""
    return call.error is not None or call.result == END_OF_FILE


def first_error(calls: Iterable[Call]) -> str | None:
    """The first errno that these calls gave, or None."""
    return next((call.error for call in calls if call.error), None)


# ----------------------------------------------------------------------
# What the common clients print for an errno, in their own words.
#
# Seen with psql 15.18 and MariaDB's client 10.11, and read in the sources: libpq
# (src/interfaces/libpq/fe-secure.c:pqsecure_raw_read, pqsecure_raw_write), MySQL
# (sql-common/client.cc:cli_safe_read), pgjdbc (core/v3/QueryExecutorImpl.java:execute).

#: What a call gives when the peer has finished properly: no errno at all.
END_OF_FILE = "end of file"
_ENDED = "server closed the connection unexpectedly"
#: psql, and so libpq, by the errno of the call that failed.
PSQL = {
    END_OF_FILE: _ENDED,
    "ECONNRESET": _ENDED,
    "EPIPE": _ENDED,
    "ETIMEDOUT": "could not receive data from server: Connection timed out",
}
#: Of an errno that any call can give: what strerror() says, and its name.
ERRORS = {
    "ECONNRESET": "Connection reset by peer (ECONNRESET)",
    "ECONNREFUSED": "Connection refused (ECONNREFUSED)",
    "ETIMEDOUT": "Connection timed out (ETIMEDOUT)",
    "EPIPE": "Broken pipe (EPIPE)",
}
_OTHERS = (
    "the MySQL client: ERROR 2013 (HY000): Lost connection to MySQL server during query; "
    "pgjdbc: An I/O error occurred while sending to the backend"
)


def says(error: str) -> str:
    """How a client tells its user of an errno or an end of file; an errno alone where none is known to."""
    return (
        f"psql prints: {PSQL[error]} ({error}); {_OTHERS}"
        if error in PSQL
        else f"its next call fails with {error}"
    )
