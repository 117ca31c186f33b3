"""Every experiment on both benches, side by side, and whether the two agree."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tcplab.bench import StudyScript, run, run_all
from tcplab.bench.agreement import LATE_SHARE, Agreement, compare, judge, scope_of
from tcplab.bench.kernels.debian import find_kernel
from tcplab.bench.model import TooLong, run_on_model
from tcplab.bench.sandbox import PAUSE_S, TRIES, BenchError, Cancelled, Sandbox, TooBusy, why_not
from tcplab.core.knobs import Knob, ParameterError
from tcplab.core.releases import release
from tcplab.core.text import SECOND
from tcplab.core.trace import Trace
from tcplab.model.wheel import phases
from tcplab.registry import Story, find

#: Sandboxes at once: long waits cost little, but each has a wire that must keep time.
SIDE_BY_SIDE = 6
#: Parameters are drawn again when this much more latency changes what happens.
MORE_LATENCY_MS = 5
#: A sampled set in which so many draws are all ties is a mistake in the experiment.
DRAWS = 200
#: One sample in this many is at an edge.
EDGES_EVERY = 3
#: The longest real time of a sample at the edge of a range, seconds, and its most segments on the wire.
LONGEST_S, MOST_SEGMENTS = 12, 1000
#: Not knobs that are sampled: the kernel sets the version, and `watch` limits runs without an end.
_NO_EDGES = ("linux", "seed", "watch_s")

#: Kernels in virtual time at once: each takes a processor.
KERNELS_AT_ONCE = 2

#: Called with the index of an experiment among those asked for, and its result.
Progress = Callable[[int, Agreement], None]


def running() -> str:
    """The version of the running kernel, in the form that `linux` takes."""
    from tcplab.bench.linux import version

    return version()


def quick(kind: type[Story], settings: Mapping[str, Any]) -> Story:
    """The quick preset, with other settings on top."""
    return kind.from_values({**kind.quick, **settings})


def samples(kind: type[Story], settings: Mapping[str, Any], seed: int) -> Iterator[tuple[int, Story]]:
    """An endless series of sampled parameters, each with the seed that reproduces it.

    The first one of `seed + 1` is the second one of `seed`. Seeds that `EDGES_EVERY` divides draw `edges`.
    """
    while True:
        chance = random.Random(f"{kind.name} {seed}")
        yield seed, draw(kind, settings, chance, edges=seed % EDGES_EVERY == 0)
        seed += 1


def draw(
    kind: type[Story], settings: Mapping[str, Any], chance: random.Random, *, edges: bool = False
) -> Story:
    """Sampled parameters away from ties. Raises `ParameterError` when the settings leave none.

    `edges`: one or two of them are at an end of their knob's range, or a choice that is never sampled,
    where that keeps the run short in real time.
    """
    never = {} if not edges else {
        name: values for name, knob in kind.knobs().items()
        if name not in settings and name not in kind.no_edges
        and (values := ends(name, knob, kind.sampled.get(name, ())))
    }  # fmt: skip
    for _ in range(DRAWS):
        drawn = {name: chance.choice(values) for name, values in kind.sampled.items()}
        for name in chance.sample(sorted(never), min(chance.choice((1, 2)), len(never))) if never else ():
            drawn[name] = chance.choice(never[name])
        try:
            experiment = quick(kind, {**drawn, **settings})
            if isinstance(experiment, StudyScript):
                experiment.check_for_linux()
            if (not edges or _is_short(experiment)) and not is_tie(experiment):
                return experiment
        except ParameterError:
            # Incompatible values; `quick` checks the given settings alone.
            quick(kind, settings)
    raise ParameterError(f"{kind.name}: with these settings every sample is a tie.")


def ends(name: str, knob: Knob, sampled: tuple[Any, ...] = ()) -> tuple[Any, ...]:
    """The values at the edges of a knob's range, and its choices, but for those that are sampled anyway.

    Empty where a knob has no edge: a text, or one that only sets the scene.
    """
    if name in _NO_EDGES or (knob.kind is str and not knob.choices):
        return ()
    if knob.choices or knob.kind is bool:
        values = [*(knob.choices or (False, True))]
    else:
        highs = {each for each in (knob.slider_high, knob.high) if each is not None and each < math.inf}
        values = [knob.kind(each) for each in (knob.low, knob.low + knob.step, *sorted(highs))]
    return tuple(value for value in values if value not in sampled)


def _is_short(experiment: Story) -> bool:
    if isinstance(experiment, StudyScript):
        return run(experiment).end <= LONGEST_S * SECOND
    try:
        return len(run_on_model(experiment, limit_s=LONGEST_S).packets) <= MOST_SEGMENTS
    except TooLong:
        return False


def is_tie(experiment: Story) -> bool:
    """Would late timers, a phase of the kernel's timer wheel or a little more latency change what happens?"""
    base = run(experiment)
    others: list[Trace]
    if isinstance(experiment, StudyScript):
        others = list(experiment.nearby())
    else:
        latency = min(experiment.latency_ms + MORE_LATENCY_MS, 1000)
        late = [run(experiment, timer_delay=LATE_SHARE, delayed_host=host) for host in ("", *base.hosts)]
        others = [*late, run(experiment.with_values(latency_ms=latency))]
        others += [run(experiment, ticks=each) for each in phases(release(experiment.linux))]
    scope = scope_of(experiment, base)
    return any(compare(base, other, (scope, scope_of(experiment, other))) for other in others)


def agree(
    experiments: Iterable[Story],
    progress: Progress = lambda place, done: None,
    *,
    jobs: int = SIDE_BY_SIDE,
    own_rules: bool = True,
) -> list[Agreement]:
    """Run each on real Linux and on the model and compare; results in the order asked for.

    `jobs` run at once. A run that was late because the machine was busy is repeated, at last without others;
    one that still fails is skipped, and its `Agreement` gives the reason. One that differs is repeated so,
    too: programs that are late change the order of what happens, a wrong rule stays wrong. `own_rules`: the
    model follows the rules of the Linux that ran; otherwise those that the experiments name. An interrupt
    ends all runs.
    Raises `BenchError` where the Linux bench can't run at all.
    """
    if reason := why_not():
        raise BenchError(f"the Linux bench can't run here: {reason}")
    asked = list(experiments)
    results: dict[int, Agreement] = {}
    again = []
    with _Runners(own_rules) as runners:
        for place, done in runners.compared(asked, range(len(asked)), jobs):
            if done.agrees:
                results[place] = done
                progress(place, done)
            else:
                again.append(place)
        for place, done in runners.compared(asked, again, 1):
            results[place] = done
            progress(place, done)
    return [results[place] for place in range(len(asked))]


def agree_on_kernel(
    kernel: str,
    experiments: Sequence[Story],
    progress: Progress = lambda place, done: None,
    *,
    tell: Callable[[str], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
    own_rules: bool = True,
) -> list[Agreement]:
    """The same on another kernel (`6.1`) in virtual time, in one boot: a busy host makes nothing late there.

    `tell` is called with a sentence about the progress. Raises `BenchError` where that kernel is not
    available, `Cancelled` soon after `cancelled()` is true.
    """
    results: dict[int, Agreement] = {}
    for place, made in run_all(kernel, experiments, tell, cancelled):
        experiment = experiments[place]
        results[place] = (
            Agreement(str(experiment.name), experiment.values(), (), skipped=made)
            if isinstance(made, str)
            else judge(experiment, made, own_rules=own_rules)[0]
        )
        progress(place, results[place])
    return [results[place] for place in sorted(results)]


@dataclass(frozen=True)
class Asked:
    """An experiment to compare: on which kernel (empty: this machine's), and the seed that drew it."""

    kernel: str
    seed: int | None
    story: Story
    #: Whether the model follows the rules of the Linux that ran, and not those that the experiment names.
    own_rules: bool = True

    def words(self, done: Agreement) -> str:
        """`keepalive (seed 4) on 6.1 agrees`."""
        seed = "" if self.seed is None else f" (seed {self.seed})"
        on = f" on {self.kernel}" if self.kernel else ""
        result = "SKIPPED" if done.skipped else "agrees" if done.agrees else "DIFFERS"
        return f"{done.experiment}{seed}{on} {result}"

    def to_json(self, done: Agreement) -> dict[str, Any]:
        """One run in `tcplab agree --json`."""
        seed = {} if self.seed is None else {"seed": self.seed}
        return {**done.to_json(), **seed, **({"linux": done.linux or self.kernel} if self.kernel else {})}


def to_compare(
    settings: Mapping[type[Story], Mapping[str, Any]], kernels: Sequence[str], count: int, seed: int
) -> list[Asked]:
    """Each kind with its settings, as its quick preset or in `count` samples; on other kernels as both.

    Samples are drawn at each kernel's own rules, unless the settings name a `linux`.
    """
    asked = []
    for kernel in kernels or [""]:
        version = find_kernel(kernel).version if kernel else running()
        for kind, values in settings.items():
            own_rules, there = "linux" not in values, {"linux": version, **values}
            if kernel or not count:
                asked.append(Asked(kernel, None, quick(kind, there), own_rules))
            drawn = islice(samples(kind, there, seed), count)
            asked += [Asked(kernel, *each, own_rules) for each in drawn]
    return asked


def compare_all(
    asked: Sequence[Asked],
    progress: Progress = lambda place, done: None,
    *,
    jobs: int = SIDE_BY_SIDE,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Run all and call `progress` with each: on this machine side by side, on other kernels two at a time."""
    ended, own_rules = threading.Event(), all(each.own_rules for each in asked)

    def on(kernel: str) -> None:
        places = [place for place, each in enumerate(asked) if each.kernel == kernel]
        stories = [asked[place].story for place in places]

        def done(n: int, agreement: Agreement) -> None:
            progress(places[n], agreement)

        if kernel:
            agree_on_kernel(kernel, stories, done, tell=tell, cancelled=ended.is_set, own_rules=own_rules)
        else:
            agree(stories, done, jobs=jobs, own_rules=own_rules)

    kernels = list(dict.fromkeys(each.kernel for each in asked))
    if kernels == [""]:
        on("")
        return
    with ThreadPoolExecutor(min(jobs, KERNELS_AT_ONCE)) as pool:
        try:
            for future in [pool.submit(on, kernel) for kernel in kernels]:
                future.result()
        finally:
            ended.set()
            pool.shutdown(cancel_futures=True)


class _Runners:
    """Threads with a sandbox each; on exit, runs that are still active are ended."""

    def __init__(self, own_rules: bool) -> None:
        self.own_rules = own_rules
        self._ended = threading.Event()
        self._free: list[Sandbox] = []
        self._all: list[Sandbox] = []
        self._lock = threading.Lock()

    def __enter__(self) -> _Runners:
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        for sandbox in self._all:
            sandbox.cancel()
        for sandbox in self._all:
            sandbox.close()

    def compared(
        self, asked: list[Story], places: Iterable[int], jobs: int
    ) -> Iterator[tuple[int, Agreement]]:
        """The experiments at `places`, as they finish; one that did not finish is `skipped`."""
        left = iter(places)
        pool = ThreadPoolExecutor(jobs)
        try:
            going: dict[Future[Agreement], int] = {}
            while True:
                for place in islice(left, jobs - len(going)):
                    going[pool.submit(self._one, asked[place])] = place
                if not going:
                    return
                for future in wait(going, return_when=FIRST_COMPLETED).done:
                    yield going.pop(future), future.result()
        finally:
            if going:
                self.__exit__()
            pool.shutdown(cancel_futures=True)

    def _one(self, experiment: Story) -> Agreement:
        with self._lock:
            if self._free:
                sandbox = self._free.pop()
            else:
                sandbox = Sandbox()
                self._all.append(sandbox)
        try:
            linux = self._run(experiment, sandbox)
            return judge(experiment, linux, own_rules=self.own_rules)[0]
        except BenchError as error:
            return Agreement(str(experiment.name), experiment.values(), (), skipped=str(error))
        finally:
            self._free.append(sandbox)

    def _run(self, experiment: Story, sandbox: Sandbox) -> Trace:
        """On Linux; again after growing pauses while the machine is too busy for it."""
        for attempt in range(TRIES):
            if self._ended.is_set():
                raise Cancelled("the run was cancelled.")
            with suppress(*([TooBusy] if attempt + 1 < TRIES else [])):
                return run(experiment, "linux", sandbox=sandbox)
            self._ended.wait(PAUSE_S * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


def agreement(linux: Trace) -> Agreement:
    """Does the model say what this run on Linux shows? Raises `ParameterError` for no experiment's run."""
    return judge(find(linux.experiment).from_values(linux.parameters), linux)[0]
