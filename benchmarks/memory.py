"""What a kernel grows by while a lesson is run again and again on it.

`python benchmarks/memory.py [--runs 10] [LESSON…]` runs all cells of a lesson and answers every question,
which opens all explorers. It repeats this on the same kernel, with each cell's id, as JupyterLab sends it.
Linux only: the kernel reads its resident size in /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import nbformat

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from in_kernel import kernel

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
LESSONS = ("03_keepalive", "10_out_of_ports")
TARGET_GROWTH_MB, TARGET_SIZE_MB = 30, 300
RESIDENT = "int(open('/proc/self/statm').read().split()[1]) * __import__('resource').getpagesize() / 1e6"
ANSWER = """
from tcplab.lesson.question import Question
for each in [value for value in globals().values() if isinstance(value, Question)]:
    each.solution()
"""


def sizes_mb(lesson: str, runs: int) -> list[float]:
    """The kernel's resident size after each run."""
    notebook = nbformat.read(NOTEBOOKS / f"{lesson}.ipynb", 4)
    found = []
    with kernel(NOTEBOOKS) as python:
        for _ in range(runs):
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    python.run(cell.source, cell.id)
            python.run(ANSWER)
            found.append(round(python.value(RESIDENT), 1))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", default=LESSONS)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    os.environ["TCPLAB_PROGRESS"] = "off"  # the kernels begin without anybody's answers, and write none
    missed = []
    for lesson in options.lessons:
        found = sizes_mb(lesson, options.runs)
        growth = round(found[-1] - found[0], 1)
        print(json.dumps({"lesson": lesson, "first_mb": found[0], "last_mb": found[-1], "growth_mb": growth}))
        if growth >= TARGET_GROWTH_MB:
            missed.append(f"{lesson} grew by {growth} MB, not less than {TARGET_GROWTH_MB}.")
        if found[-1] >= TARGET_SIZE_MB:
            missed.append(f"{lesson} takes {found[-1]} MB, not less than {TARGET_SIZE_MB}.")
    for each in missed:
        print(each)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
