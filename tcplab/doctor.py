"""What works on this machine, and why not: `tcplab doctor`, and the start notebook's table.

Nothing here raises, and the whole report takes about a second at most, on Linux, macOS and Windows.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from tcplab.core.releases import UnknownRelease, full_version, release
from tcplab.core.table import html_table

#: Seconds that all programs together may take to print their versions.
PATIENCE = 1.0

PACKAGES = {
    "jupyterlab": ("JupyterLab", "the notebooks open in it"),
    "plotly": ("plotly", "the pictures are drawn with it"),
    "ipywidgets": ("ipywidgets", "sliders and buttons need it"),
    "scapy": ("scapy", "captures are read and written with it"),
}
PROGRAMS = {
    "postgres": "to record captures of PostgreSQL",
    "psql": "to record captures of PostgreSQL",
    "redis-server": "to try things on your own Redis",
    "mariadbd": "to try things on your own MariaDB",
    "nft": "for real firewall rules on the Linux bench",
    "tshark": "to look into captures without a window; some tests need it",
    "chromium": "to save pictures as files; some tests need it",
}
ALSO_CALLED = {"chromium": ("chromium-browser", "google-chrome"), "mariadbd": ("mysqld",)}
#: Directories that an ordinary user's PATH often leaves out.
MORE_PLACES = ("/usr/sbin", "/sbin", "/usr/local/sbin")


@dataclass(frozen=True, slots=True)
class ReportRow:
    """The result of one check."""

    what: str
    works: bool
    #: One sentence, or a version.
    says: str


class WhatWorks:
    """The report as a table, for a notebook."""

    def __repr__(self) -> str:
        return "\n".join(f"{row.what}  {'yes' if row.works else 'no'}  {row.says}" for row in report())

    def _repr_html_(self) -> str:
        rows = [(row.what, "yes" if row.works else "no", row.says) for row in report()]
        return html_table(("what", "works", "remark"), rows)


def report() -> list[ReportRow]:
    """Every check, the most basic first."""
    rows = [ReportRow("Python", sys.version_info >= (3, 11), platform.python_version())]
    rows += [_careful(title, partial(_package, name)) for name, (title, _) in PACKAGES.items()]
    rows += [_careful("Linux", _linux), _careful("Linux bench", linux_bench)]
    rows += [_careful("other kernels", _other_kernels)]
    try:
        programs = _programs(PROGRAMS)
    except Exception as error:
        programs = dict.fromkeys(PROGRAMS, (False, f"could not be looked for: {error}"))
    return rows + [ReportRow(name, *programs[name]) for name in PROGRAMS]


def _careful(what: str, look: Callable[[], tuple[bool, str]]) -> ReportRow:
    try:
        return ReportRow(what, *look())
    except Exception as error:  # a failed check must not hide the others
        return ReportRow(what, False, f"could not be checked: {type(error).__name__}: {error}")


def _package(name: str) -> tuple[bool, str]:
    try:
        return True, metadata.version(name)
    except metadata.PackageNotFoundError:
        return False, f"not installed: {PACKAGES[name][1]}; python3 lab.py setup installs it."


def _linux() -> tuple[bool, str]:
    if sys.platform != "linux":
        system = platform.system() or sys.platform
        return False, f"this is {system}: the model and the captures work here, the Linux bench does not."
    running = platform.release()
    try:
        rules = release(full_version(running, platform.version()))
    except UnknownRelease as unknown:
        return False, f"{running}: {unknown}"
    mainline = "{}.{}.{}".format(*rules.number, rules.patch)
    linear = rules.syn_linear_timeouts
    syn = f"a SYN is repeated {linear} times at one-second steps before the waits double" if linear else (
        "the waits between SYNs double from the first on"
    )  # fmt: skip
    return True, f"{running}: the rules of {mainline} apply, for example: {syn}."


def linux_bench() -> tuple[bool, str]:
    """Whether experiments can run on real Linux here, tried once; and why not."""
    from tcplab.bench.sandbox import why_not

    if reason := why_not():
        return False, f"{reason} Recorded captures are shown instead."
    return True, "runs here, in its own namespaces and without root: tcplab run NAME --bench linux."


def _other_kernels() -> tuple[bool, str]:
    """Whether experiments can run on other kernels here; and why not."""
    from tcplab.bench.kernels import why_not
    from tcplab.bench.kernels.debian import kernels, unpacked

    if reason := why_not():
        return False, reason
    there = ", ".join(name for name, kernel in kernels().items() if unpacked(kernel)) or "none yet"
    return True, f"run in virtual time: tcplab run NAME --bench linux:6.1. In the cache: {there}."


def _find(name: str) -> str | None:
    # Several PostgreSQL versions may be installed: the newest first.
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_number, reverse=True)
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, versions), *MORE_PLACES])
    for each in (name, *ALSO_CALLED.get(name, ())):
        if found := shutil.which(each, path=places):
            return found
    return None


def _number(path: Path) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", path.parent.name)]


def _programs(names: Iterable[str]) -> dict[str, tuple[bool, str]]:
    """Ask all programs for their versions at the same time: the slowest sets the time."""
    asked: dict[str, subprocess.Popen[str]] = {}
    results: dict[str, tuple[bool, str]] = {}
    for name in names:
        path = _find(name)
        if path is None:
            results[name] = False, f"not found: only needed {PROGRAMS.get(name, '')}."
            continue
        try:
            asked[name] = subprocess.Popen(
                [path, "--version"], text=True, errors="replace", stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            results[name] = False, f"found, but can't be started: {error.strerror}."
    deadline = time.monotonic() + PATIENCE
    for name, process in asked.items():
        results[name] = _version(process, deadline)
    return results


def _version(process: subprocess.Popen[str], deadline: float) -> tuple[bool, str]:
    try:
        says, _ = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        if process.stdout:  # reading to the end would hang: a child of the program may hold the other end
            process.stdout.close()
        process.wait()
        return True, "found; it was too slow to print its version."
    number = re.search(r"\d+(\.\d+)+", says)
    if process.returncode or not number:
        return process.returncode == 0, "found." if process.returncode == 0 else "found, but it does not run."
    return True, number[0]
