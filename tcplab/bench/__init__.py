"""Where scripts run: the verbs, and the benches that offer them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from tcplab.knobs import ParameterError

if TYPE_CHECKING:
    from tcplab.bench.script import Bench
    from tcplab.trace import Trace


class Story(Protocol):
    """What a bench needs of an experiment."""

    @property
    def name(self) -> Any: ...
    @property
    def linux(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def latency_ms(self) -> float: ...

    def values(self) -> dict[str, Any]: ...
    def ignored_by_release(self) -> list[str]: ...
    async def run(self, bench: Bench) -> None: ...
    def outcome(self, trace: Trace) -> dict[str, Any]: ...


def run(experiment: Story, bench: str = "model") -> Trace:
    """Run an experiment and return its trace, with the outcome filled in.

    Raises `ParameterError` for a bench that doesn't exist.
    """
    if bench != "model":
        raise ParameterError(f"bench = {bench!r} is not one of model.")
    from tcplab.bench.model import run_on_model
    from tcplab.kinds import classify

    trace = run_on_model(experiment)
    classify(trace.passages)
    trace.outcome = experiment.outcome(trace)
    return trace
