"""Every experiment on both benches, side by side, and whether the two agree."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from tcplab.bench import StudyScript, run
from tcplab.bench.agreement import LATE_SHARE, Agreement, compare, judge, scope_of
from tcplab.bench.sandbox import Sandbox, patiently
from tcplab.core.knobs import ParameterError
from tcplab.core.trace import Trace
from tcplab.registry import Story, find

#: Sandboxes at once: long waits cost little, but each has a wire that must keep time.
SIDE_BY_SIDE = 6
#: Parameters are drawn again when this much more latency changes what happens.
MORE_LATENCY_MS = 5
#: A sampled set in which so many draws are all ties is a mistake in the experiment.
DRAWS = 200


def quick(kind: type[Story], settings: Mapping[str, Any]) -> Story:
    """The quick preset, with other settings on top."""
    return kind.from_values({**kind.quick, **settings})


def draw(kind: type[Story], settings: Mapping[str, Any], chance: random.Random) -> Story:
    """Sampled parameters away from ties. Raises `ParameterError` when the settings leave none."""
    for _ in range(DRAWS):
        drawn = {name: chance.choice(values) for name, values in kind.sampled.items()}
        try:
            experiment = quick(kind, {**drawn, **settings})
        except ParameterError:
            # Two values that don't go together; the other settings alone are checked by `quick`.
            quick(kind, settings)
            continue
        if not is_tie(experiment):
            return experiment
    raise ParameterError(f"{kind.name}: with these settings every sample is a tie.")


def is_tie(experiment: Story) -> bool:
    """Would late timers or a little more latency change what happens?"""
    base = run(experiment)
    others: list[Trace]
    if isinstance(experiment, StudyScript):
        others = [run(other) for other in experiment.nearby()]
    else:
        latency = min(experiment.latency_ms + MORE_LATENCY_MS, 1000)
        late = [run(experiment, timer_delay=LATE_SHARE, delayed_host=host) for host in ("", *base.hosts)]
        others = [*late, run(experiment.with_values(latency_ms=latency))]
    scope = scope_of(experiment, base)
    return any(compare(base, other, (scope, scope_of(experiment, other))) for other in others)


def agree(
    experiments: Iterable[Story], progress: Callable[[Agreement], None] = lambda done: None
) -> list[Agreement]:
    """Run each on real Linux and on the model and compare; results in the order asked for.

    Raises `BenchError` where the Linux bench can't run or the machine stays too busy.
    """
    held = threading.local()
    with ExitStack() as sandboxes, ThreadPoolExecutor(SIDE_BY_SIDE) as pool:

        def one(experiment: Story) -> Agreement:
            if not hasattr(held, "sandbox"):
                held.sandbox = sandboxes.enter_context(Sandbox())
            done = _compared(experiment, held.sandbox)
            progress(done)
            return done

        return list(pool.map(one, experiments))


def _compared(experiment: Story, sandbox: Sandbox) -> Agreement:
    linux = patiently(lambda: run(experiment, "linux", sandbox=sandbox))
    return judge(experiment, linux)[0]


def agreement(linux: Trace) -> Agreement:
    """Does the model say what this run on Linux shows? Raises `ParameterError` for no experiment's run."""
    return judge(find(linux.experiment).from_values(linux.parameters), linux)[0]
