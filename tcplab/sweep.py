"""A grid of parameters, every point of it run on the model, as one table.

A small sweep is done before a second process would have started, so the first second is worked
off here; what is left then goes to the executor, in pieces. What comes out does not depend on it:
every run has its own seed and clock, and the table keeps the grid's order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import product
from math import inf, prod
from time import monotonic
from typing import TYPE_CHECKING, Any

from tcplab.bench import run
from tcplab.core.knobs import ParameterError
from tcplab.registry import Story, find

if TYPE_CHECKING:
    import pandas

#: More points would keep a learner waiting, and no picture shows them.
MOST_POINTS = 100_000
#: For so long a sweep stays in this process, seconds.
_ALONE_S = 1.0
#: A progress bar appears when a sweep takes longer than this, seconds.
_PATIENCE_S = 1.0
#: Runs in one piece of work at most: few enough for a bar that moves.
_LARGEST_PIECE = 16

#: Called with how many points are done, and of how many.
Progress = Callable[[int, int], None]


def sweep(
    story: str | Story | type[Story],
    grid: Mapping[str, Sequence[Any]],
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> pandas.DataFrame:
    """Run every combination of the grid's values on the model: a table with a row for each.

    `story`: an experiment or a study, by name, as a class, or with values for what the grid leaves
    alone. `grid`: parameters with the values that each takes; the last one changes fastest. The table
    has a column for each of them and one for each result (`outcome.NAME` where a parameter has that
    name), in the contracts' units; `table.attrs` keeps the experiment and the parameters that stayed.

    `executor`: any `concurrent.futures.Executor`, for example a Dask cluster's `client.get_executor()`;
    it is not shut down. Without one the cores of this machine are used (a script needs the usual
    ``if __name__ == "__main__":``). `progress` replaces the bar, which appears when a sweep takes
    longer than a second; interrupting the notebook kernel ends it.

    Raises `ParameterError`, before anything runs, for a name or a value that can't be used.
    """
    try:
        import pandas
    except ImportError:
        raise ParameterError("sweep needs pandas, which this Python (a browser's, perhaps) lacks.") from None
    if isinstance(story, str):
        story = find(story)
    points, stories = _points(story.from_values({}) if isinstance(story, type) else story, grid)
    with nullcontext(progress) if progress else _bar() as on_progress:
        outcomes = _outcomes(stories, executor, on_progress)
    rows = [
        point | {f"outcome.{name}" if name in grid else name: value for name, value in outcome.items()}
        for point, outcome in zip(points, outcomes, strict=True)
    ]
    table = pandas.DataFrame(rows)
    fixed = {name: value for name, value in stories[0].values().items() if name not in grid}
    table.attrs = {"experiment": stories[0].name, "grid": list(grid), "parameters": fixed}
    return table


def _points(story: Story, grid: Mapping[str, Sequence[Any]]) -> tuple[list[dict[str, Any]], list[Story]]:
    """Every combination, and the story with its values."""
    if not grid:
        raise ParameterError('the grid is empty: name a parameter and its values, {"idle_s": [60, 300]}.')
    for name, values in grid.items():
        if isinstance(values, str) or not hasattr(values, "__len__"):
            raise ParameterError(f"{name} = {values!r} is not a list of values.")
        if not len(values):
            raise ParameterError(f"{name} has no values in the grid.")
    if (many := prod(map(len, grid.values()))) > MOST_POINTS:
        raise ParameterError(f"the grid has {many:,} points: at most {MOST_POINTS:,} can be run.")
    stories = [
        # Values may come from NumPy, whose numbers are none of Python's.
        story.with_values(**{
            name: value.item() if hasattr(value, "item") else value
            for name, value in zip(grid, values, strict=True)
        })
        for values in product(*grid.values())
    ]  # fmt: skip
    return [{name: getattr(made, name) for name in grid} for made in stories], stories


def outcomes_of(stories: Sequence[Story]) -> list[dict[str, Any]]:
    """What each comes to on the model: one piece of work, here or in another process."""
    return [dict(run(story).outcome) for story in stories]


def _outcomes(
    stories: Sequence[Story], executor: Executor | None, progress: Progress
) -> list[dict[str, Any]]:
    outcomes: list[dict[str, Any]] = []
    if executor is None:
        until = monotonic() + _ALONE_S if _has_processes(stories[0]) else inf
        while len(outcomes) < len(stories) and monotonic() < until:
            outcomes += outcomes_of([stories[len(outcomes)]])
            progress(len(outcomes), len(stories))
    if rest := stories[len(outcomes) :]:
        with _processes() if executor is None else nullcontext(executor) as workers:
            before = len(outcomes)
            outcomes += _shared_out(rest, workers, lambda done: progress(before + done, len(stories)))
    return outcomes


def _has_processes(story: Story) -> bool:
    """A browser has none, and another process can't import what a notebook defines."""
    return sys.platform != "emscripten" and type(story).__module__ != "__main__"


def _processes() -> Executor:
    """This machine's cores. Started afresh: forking a notebook kernel, which has threads, may hang."""
    from multiprocessing import get_context

    return ProcessPoolExecutor(mp_context=get_context("spawn"))


def _shared_out(
    stories: Sequence[Story], workers: Executor, done: Callable[[int], None]
) -> list[dict[str, Any]]:
    """In pieces, in whatever order they come back; the answer is in the stories' order."""
    size = max(1, min(_LARGEST_PIECE, len(stories) // 32))
    pieces = [stories[at : at + size] for at in range(0, len(stories), size)]
    futures = [workers.submit(outcomes_of, piece) for piece in pieces]
    ready = 0
    try:
        for future in as_completed(futures):
            ready += len(future.result())
            done(ready)
    finally:
        for future in futures:
            future.cancel()
    return [outcome for future in futures for outcome in future.result()]


@contextmanager
def _bar() -> Iterator[Progress]:
    """A bar in a notebook, a line in a terminal, nothing elsewhere; gone when the sweep is done."""
    patient_until = monotonic() + _PATIENCE_S
    bar: Any = None

    def show(done: int, of: int) -> None:
        nonlocal bar
        if monotonic() < patient_until:
            return
        if _in_a_notebook():
            if bar is None:
                import ipywidgets
                from IPython.display import display

                bar = ipywidgets.IntProgress(max=of, description="sweep")
                at_end.callback(bar.close)
                display(bar)
            bar.value = done
        elif sys.stderr.isatty():
            if bar is None:
                bar = at_end.callback(print, file=sys.stderr)
            print(f"\r{done} of {of} runs done ", end="", file=sys.stderr, flush=True)

    with ExitStack() as at_end:
        yield show


def _in_a_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return hasattr(ipython and ipython.get_ipython(), "kernel")
