"""What every study of many connections declares: parameters, its outcome, its curves and its sentence.

A study has no script and no segments. It plays a model of the whole and leaves a `Trace` whose
`series` hold the curves, so that whatever runs, lists, shows or prints an experiment takes it too.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tcplab.knobs import Knob, ParameterError, Parameters
from tcplab.trace import SECOND, Trace

if TYPE_CHECKING:
    from tcplab.bench.script import Bench

RATE = Knob(
    "attempts a second", float, "per s", 0.01, 1_000_000, slider_high=2000,
    help="How many connections the program asks for.", test_only=True,
)  # fmt: skip
ARRIVALS = Knob(
    "arrivals", str, choices=("constant", "poisson"), test_only=True,
    help="At even steps, or at random with that mean.",
)  # fmt: skip
DURATION = Knob(
    "run for", float, "s", 0.1, 86_400, slider_high=600, help="Length of the run.", test_only=True
)


@dataclass(frozen=True, kw_only=True)
class Study(Parameters):
    """Parameters plus a model of many connections plus what it teaches. Frozen: a run never changes them."""

    #: As of an experiment: see `tcplab.experiments.experiment`.
    title: ClassVar[str] = ""
    lesson: ClassVar[str] = ""
    controls: ClassVar[tuple[str, ...]] = ()
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    pictures: ClassVar[tuple[str, ...]] = ()
    quick: ClassVar[Mapping[str, Any]] = {}
    sampled: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

    @property
    @abstractmethod
    def length_s(self) -> float:
        """How long the run lasts, seconds."""

    @abstractmethod
    def simulate(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The outcome and the series."""

    @abstractmethod
    def sentence(self, trace: Trace) -> str:
        """What happened, when, and what the application saw: reads without the picture."""

    def simulated(self) -> Trace:
        """The run, as a trace without segments."""
        outcome, series = self.simulate()
        return Trace(
            self.name,
            "model",
            linux=self.linux,
            parameters=self.values(),
            outcome=outcome,
            series=series,
            end=round(self.length_s * SECOND),
            warnings=self.ignored_by_release(),
        )

    def check_for_linux(self) -> None:
        """Raise `ParameterError` where there is no run on real Linux, or not with these parameters."""
        raise ParameterError(f"{self.name} runs on the model only: tcplab run {self.name}.")

    async def run(self, bench: Bench) -> None:
        """The small twin on Linux, in a bench's verbs."""
        self.check_for_linux()

    def outcome(self, trace: Trace) -> dict[str, Any]:
        """The named results of the twin's run, read from what it left behind."""
        return dict(trace.outcome)

    def twin(self, linux: Trace) -> Self:
        """The parameters with which the model is compared to a run on Linux: those of that Linux."""
        return self.with_values(linux=linux.linux or self.linux)

    def compared(self) -> tuple[str, ...]:
        """The outcomes in which the two are compared."""
        return ()

    def nearby(self) -> Sequence[Self]:
        """Parameters that Linux may take these for: where they tell something else, it's a tie."""
        return ()
