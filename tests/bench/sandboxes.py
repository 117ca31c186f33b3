"""What the tests of the Linux bench share."""

import os
import time
from pathlib import Path

import pytest

from tcplab.bench.sandbox import Sandbox, why_not
from tcplab.bench.trouble import TooBusy

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent


def need_sandbox() -> None:
    """Skip with doctor's sentence where the bench can't run; in CI it has to."""
    if reason := why_not():
        if os.environ.get("CI"):
            pytest.fail(f"the Linux bench can't run here, and CI must not skip: {reason}", pytrace=False)
        pytest.skip(f"the Linux bench can't run here: {reason}")


def patient_run(sandbox: Sandbox, story, progress=None, attempts: int = 6):
    """A run that is tried again where the machine had no time for the wire."""
    for left in reversed(range(attempts)):
        try:
            return sandbox.run(story, progress)
        except TooBusy:
            if not left:
                raise
            time.sleep(0.5)


def marked(mark: str) -> list[int]:
    """Processes whose environment names `mark`, as this machine numbers them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:  # gone meanwhile, or somebody else's
            continue
    return sorted(found)


def gone(mark: str, patience: float = 20) -> bool:
    """Wait until no process is marked any more."""
    until = time.monotonic() + patience
    while marked(mark):
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True
