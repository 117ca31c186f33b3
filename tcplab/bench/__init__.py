"""Where scripts run: the verbs, and the benches that offer them."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING

from tcplab.bench.deadlines import user_timeouts
from tcplab.bench.script import Story, StudyScript
from tcplab.core.knobs import ParameterError
from tcplab.core.trace import Trace
from tcplab.follow import classify

if TYPE_CHECKING:
    from tcplab.bench.sandbox import Sandbox

__all__ = ["Story", "StudyScript", "run"]


def run(
    experiment: Story,
    bench: str = "model",
    progress: Callable[[float, int], None] | None = None,
    *,
    sandbox: Sandbox | None = None,
    timer_delay: float = 0,
    delayed_host: str = "",
) -> Trace:
    """Run an experiment and return its trace, with the outcome filled in.

    `bench` is `model` or `linux`; there `progress` is called a few times a second with
    the seconds since the run began and the segments so far. `sandbox`: use this one on Linux.
    `timer_delay`: the share by which the model's timers fire late (not in a study), on all hosts or on
    `delayed_host` alone. Raises `ParameterError` for a bench that doesn't exist,
    `tcplab.bench.sandbox.BenchError` where Linux can't be had.
    """
    if bench == "model" and isinstance(experiment, StudyScript):
        return experiment.simulated()
    if bench == "model":
        from tcplab.bench.model import run_on_model

        trace = run_on_model(experiment, timer_delay=timer_delay, delayed_host=delayed_host)
    elif bench == "linux":
        from tcplab.bench.sandbox import run_on_linux

        if isinstance(experiment, StudyScript):
            experiment.check_for_linux()
        trace = run_on_linux(experiment, sandbox, progress)
    else:
        raise ParameterError(f"bench = {bench!r} is not one of model, linux.")
    classify(trace.packets)
    trace.deadlines = sorted([*trace.deadlines, *user_timeouts(trace)], key=attrgetter("t"))
    trace.outcome = experiment.outcome(trace)
    return trace
