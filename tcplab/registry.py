"""Everything that can be run by its name: the experiments and the studies."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TypeAlias

from tcplab.core.knobs import ParameterError
from tcplab.experiments import EXPERIMENTS
from tcplab.experiments.experiment import Experiment
from tcplab.studies import STUDIES
from tcplab.studies.study import Study

Story: TypeAlias = Experiment | Study

#: Experiments first, then studies, each in the order of the course.
STORIES: dict[str, type[Story]] = {**EXPERIMENTS, **STUDIES}

#: Those that also run on Linux: a study may have no twin there, and then nothing is drawn for it.
ON_LINUX = {name: kind for name, kind in STORIES.items() if name in EXPERIMENTS or kind.sampled}


def find(name: str) -> type[Story]:
    """An experiment or a study by name; raises `ParameterError` with the nearest name when there is none."""
    if name in STORIES:
        return STORIES[name]
    near = get_close_matches(name, STORIES, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(STORIES)}."
    raise ParameterError(f"no experiment {name!r}: {hint}")
