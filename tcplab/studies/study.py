"""What every study of many connections declares: parameters, its outcome, its curves and its sentence.

A study has no script and no segments. It plays a model of the whole and leaves a `Trace` whose
`series` hold the curves, so that whatever runs, lists, shows or prints an experiment takes it too.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any, Self

from tcplab.bench import run
from tcplab.core.knobs import DAY, Knob, ParameterError
from tcplab.core.text import SECOND
from tcplab.core.trace import Trace
from tcplab.experiments.experiment import Experiment, Runnable

if TYPE_CHECKING:
    from tcplab.bench.script import Bench


#: Later than everything that happens in a run, nanoseconds.
NEVER = 1 << 62


@lru_cache(maxsize=256)
def waits(experiment: Experiment, result: str) -> int:
    """How long a wait lasts in the model's run of an experiment: one of its results, in nanoseconds.

    `NEVER` where the experiment watched in vain.
    """
    seconds = run(experiment).outcome[result]
    return NEVER if seconds is None else round(seconds * SECOND)


def or_never(seconds: float) -> int:
    """A timer in nanoseconds, which is off when it is 0."""
    return round(seconds * SECOND) if seconds else NEVER


def at_even_steps(rate_per_s: float, duration_s: float) -> list[int]:
    """The times k/rate from 0 until the end of the run, in whole nanoseconds."""
    rate = Fraction(str(rate_per_s))
    step, ticks = rate.denominator * SECOND, rate.numerator
    return [k * step // ticks for k in range(ceil(Fraction(str(duration_s)) * rate))]


def counted(times: Sequence[int], edges: Sequence[int]) -> list[int]:
    """How many of these times, which are in order, lie in each step between two edges."""
    before = [bisect_left(times, edge) for edge in edges]
    return [after - until for until, after in pairwise(before)]


def timer(label: str, help: str, zero: str = "", slider_high: float = 600, low: float = 0) -> Knob:
    """A timer of a pool or of something behind it, in seconds."""
    return Knob(
        label, float, "s", low, 30 * DAY, zero=zero, help=help, slider_high=slider_high, test_only=True
    )


RATE = Knob(
    "attempts per second", float, "per s", 0.01, 1_000_000, slider_high=2000,
    help="How many connections the program asks for.", test_only=True,
)  # fmt: skip
ARRIVALS = Knob(
    "arrivals", str, choices=("constant", "poisson"), test_only=True,
    help="At regular intervals, or at random with that mean rate.",
)  # fmt: skip
DURATION = Knob(
    "run for", float, "s", 0.1, 86_400, slider_high=600, help="Length of the run.", test_only=True
)
SIZE = Knob(
    "pool size", int, low=1, high=1000, slider_high=50, test_only=True,
    help="Number of connections; all are open at the start.",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Study(Runnable):
    """Parameters plus a model of many connections plus what it teaches. Frozen: a run never changes them."""

    @property
    @abstractmethod
    def length_s(self) -> float:
        """How long the run lasts, seconds."""

    @property
    def broke_s(self) -> float:
        """The moment from which pictures count, seconds from the beginning: what breaks in this run."""
        return 0.0

    def settled_s(self, trace: Trace) -> float:
        """How long after that moment pictures go on: a little longer than anything happens; 0: to the end."""
        return 0.0

    @abstractmethod
    def simulate(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The outcome and the series."""

    def simulated(self) -> Trace:
        """The run, as a trace without segments."""
        outcome, series = self.simulate()
        broke = round(self.broke_s * SECOND)
        return Trace(
            self.name,
            "model",
            linux=self.linux,
            parameters=self.values(),
            outcome=outcome,
            series=series,
            end=round(self.length_s * SECOND),
            watched_from=broke or None,
            warnings=self.ignored_by_release(),
        )

    def check_for_linux(self) -> None:
        """Raise `ParameterError` where there is no run on real Linux, or not with these parameters."""
        raise ParameterError(f"{self.name} runs on the model only: tcplab run {self.name}.")

    async def run(self, bench: Bench) -> None:
        """The small run on Linux, in a bench's verbs."""
        self.check_for_linux()

    def outcome(self, trace: Trace) -> dict[str, Any]:
        """The named results of a run on Linux, read from its trace."""
        return dict(trace.outcome)

    def matched_to(self, linux: Trace) -> Self:
        """The parameters with which the model is compared to a run on Linux: those of that Linux."""
        return self.with_values(linux=linux.linux or self.linux)

    def compared(self) -> tuple[str, ...]:
        """The outcomes in which the two are compared."""
        return ()

    def nearby(self) -> Iterable[Trace]:
        """Runs that Linux may give as well: where one has another outcome, it's a tie."""
        return ()
