"""What the tests of the Linux bench share."""

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import simpy

import tcplab
from conftest import need
from tcplab.bench.kernels import debian
from tcplab.bench.kernels.machine import QEMU
from tcplab.bench.sandbox import BenchError, Sandbox, patiently, why_not

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent


def need_sandbox() -> None:
    """Skip with doctor's sentence where the bench can't run; in CI it has to."""
    if reason := why_not():
        if os.environ.get("CI"):
            pytest.fail(f"the Linux bench can't run here, and CI must not skip: {reason}", pytrace=False)
        pytest.skip(f"the Linux bench can't run here: {reason}")


def need_kernel(name: str) -> str:
    """The version of a kernel for virtual time, fetched where the cache does not have it.

    Skips where there is none; in CI it has to be there, unless the system is not Debian and its apt has no
    Debian archive.
    """
    need(QEMU)
    need("nft")
    try:
        return debian.fetched(debian.find_kernel(name)).version
    except BenchError as error:
        why = str(error)
    system, reason = os_release(), debian.why_no_fetch()
    if reason:
        why = f"Linux {name} is not in the cache of this {system['NAME']}: {reason}"
    if os.environ.get("CI") and (system["ID"] == "debian" or not reason):
        pytest.fail(f"CI must not skip: {why}", pytrace=False)
    pytest.skip(why)


def os_release() -> dict[str, str]:
    """What /etc/os-release says of this system."""
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {"NAME": platform.system(), "ID": platform.system()}


def patient_run(sandbox: Sandbox, story, progress=None):
    """A run that is tried again where the machine had no time for the wire."""
    return patiently(lambda: sandbox.run(story, progress))


@contextmanager
def ordinary_python() -> Iterator[tuple[list[str], dict[str, Any]]]:
    """A command that is Python, with tcplab to import, for a user without any rights, and how to start it.

    Root becomes nobody and gets copies to import: this installation may stand where only root may look.
    """
    with TemporaryDirectory() as folder:
        for package in (tcplab, simpy):
            source, copy = Path(package.__path__[0]), Path(folder, package.__name__)
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (Path(folder), *Path(folder).rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        environment = os.environ | {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        options: dict[str, Any] = {"env": environment, "cwd": "/"}
        if os.geteuid() != 0:
            yield [sys.executable], options
            return
        nobody = options | {"user": 65534, "group": 65534, "extra_groups": []}
        version = "import sys, tcplab.bench.model; sys.exit(sys.version_info < (3, 11))"
        for python in filter(None, [sys.executable, shutil.which("python3", path="/usr/bin")]):
            try:
                if not subprocess.run([python, "-c", version], **nobody, capture_output=True).returncode:
                    yield [python], nobody
                    return
            except PermissionError:
                continue
        # No Python that nobody may start: root without one capability is as helpless.
        yield ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable], options


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
