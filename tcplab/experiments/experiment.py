"""What every experiment declares: parameters, one script, its outcome and its sentence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from tcplab.bench.script import Bench
from tcplab.bench.witness import WHOLE, Scope
from tcplab.knobs import ParameterError, Parameters
from tcplab.releases import release
from tcplab.trace import Trace


@dataclass(frozen=True, kw_only=True)
class Experiment(Parameters):
    """Parameters plus one script plus what it teaches. Frozen: a run never changes them."""

    #: One line for lists and headings.
    title: ClassVar[str] = ""
    #: The notebook that explains it, without number or ending: `keepalive`.
    lesson: ClassVar[str] = ""
    #: Three to five parameters that an explorer shows first; the others are folded away.
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

    def _connects_in_time(self, user_timeout_s: float) -> None:
        """Refuse a user timeout of the client that would end connect() before any answer can come."""
        round_trip = 2 * self.latency_ms / 1000
        if 0 < user_timeout_s <= round_trip and release(self.linux).user_timeout_exact:
            raise ParameterError(
                f"user_timeout_s = {user_timeout_s:g} is over before the server can answer: more than "
                f"{round_trip:g} s, a round trip at latency_ms = {self.latency_ms:g}, or 0 (off)."
            )

    def _probes_as_linux_does(self, *names: str) -> None:
        """Refuse a keepalive idle time below what TCP_KEEPIDLE takes."""
        for name in names:
            if 0 < getattr(self, name) < 1:
                raise ParameterError(
                    f"{name} = {getattr(self, name):g} is shorter than Linux takes: 1 s or more, or 0 (off)."
                )

    @abstractmethod
    async def run(self, bench: Bench) -> None:
        """The story, in the bench's verbs."""

    @abstractmethod
    def outcome(self, trace: Trace) -> dict[str, Any]:
        """The named results, read from what the run left behind."""

    def twin(self, linux: Trace) -> Self:
        """The parameters with which the model is compared to a run on Linux.

        The same, unless Linux chose something itself that the model has to be told.
        """
        return self

    def scope(self, trace: Trace) -> Scope:
        """What of a run the comparison of model and Linux looks at."""
        return WHOLE

    @abstractmethod
    def sentence(self, trace: Trace) -> str:
        """What happened, when, and what the application saw: reads without the picture."""
