"""Everything that can be run by its name: the experiments and the studies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, TypeVar

from tcplab.core.knobs import ParameterError
from tcplab.core.text import nearest
from tcplab.experiments import EXPERIMENTS
from tcplab.experiments.experiment import Experiment
from tcplab.studies import STUDIES
from tcplab.studies.study import Study

Story: TypeAlias = Experiment | Study

#: Experiments first, then studies, each in the order of the course.
STORIES: dict[str, type[Story]] = {**EXPERIMENTS, **STUDIES}

#: Those that also run on Linux, which not every study does.
ON_LINUX = {name: kind for name, kind in STORIES.items() if name in EXPERIMENTS or kind.sampled}

Kind = TypeVar("Kind", bound=Story)


def find(name: str) -> type[Story]:
    """An experiment or a study by name; raises `ParameterError` with the nearest name when there is none."""
    return _find(name, STORIES)


def find_experiment(name: str) -> type[Experiment]:
    """The same among experiments alone."""
    return _find(name, EXPERIMENTS)


def _find(name: str, among: Mapping[str, type[Kind]]) -> type[Kind]:
    if name in among:
        return among[name]
    raise ParameterError(f"no experiment {name!r}: {nearest(name, among)}")
