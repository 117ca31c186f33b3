"""Where scripts run: the verbs, and the benches that offer them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from tcplab.core.knobs import ParameterError

if TYPE_CHECKING:
    from tcplab.bench.sandbox import Sandbox
    from tcplab.bench.script import Bench
    from tcplab.core.trace import Trace


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


@runtime_checkable
class Study(Story, Protocol):
    """A study of many connections: it plays itself on the model; its script is for Linux alone."""

    def simulated(self) -> Trace: ...
    def check_for_linux(self) -> None: ...
    def twin(self, linux: Trace) -> Self: ...
    def compared(self) -> tuple[str, ...]: ...
    def nearby(self) -> Sequence[Self]: ...


def run(
    experiment: Story,
    bench: str = "model",
    progress: Callable[[float, int], None] | None = None,
    *,
    sandbox: Sandbox | None = None,
    lateness: float = 0,
    late_on: str = "",
) -> Trace:
    """Run an experiment and return its trace, with the outcome filled in.

    `bench` is `model` or `linux`; there `progress` is told a few times a second how far it is:
    seconds since the run began, and segments so far. `sandbox`: one that is already there, on Linux;
    `lateness`: the share by which the model's timers fire late (not in a study), on the host `late_on`
    alone if that is named. Raises `ParameterError` for a bench that doesn't exist,
    `tcplab.bench.sandbox.BenchError` where Linux can't be had.
    """
    from tcplab.follow import classify

    if bench == "model" and isinstance(experiment, Study):
        return experiment.simulated()
    if bench == "model":
        from tcplab.bench.model import run_on_model

        trace = run_on_model(experiment, lateness=lateness, late_on=late_on)
    elif bench == "linux":
        from tcplab.bench.sandbox import run_on_linux

        if isinstance(experiment, Study):
            experiment.check_for_linux()
        trace = run_on_linux(experiment, sandbox, progress)
    else:
        raise ParameterError(f"bench = {bench!r} is not one of model, linux.")
    classify(trace.packets)
    trace.outcome = experiment.outcome(trace)
    return trace
