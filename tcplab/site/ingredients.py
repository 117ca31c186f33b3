"""What the site needs and .venv has not: Pyodide itself, and micropip, which its kernel imports.

Both are fetched once, by the machine's own npm and pip or uv, compared with the hashes below and kept.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tcplab.site import SiteError

#: The Pyodide that jupyterlite-pyodide-kernel 0.8.6 expects, the Python in it, and npm's hash of its package.
PYODIDE, PYTHON = "314.0.6", "3.14"
PYODIDE_SHA512 = "BKDTJyIqFxC4BExLqeRS3f5xvXZIjOt8C3zGLN/Cc7tFxSwvKVhVkchQQ2AGLOtR4YrVOIFxbV8poyDOOmWwxQ=="
#: What of it a browser needs.
PYODIDE_FILES = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
#: Needs Python 3.13 or newer, so that it can't stand in requirements.lock.
MICROPIP = "0.11.1"
MICROPIP_SHA256 = "768de165adb8e66906039d8fec4127a57f522dfdf8e6fbff877a4616941ecfd3"


def pyodide(store: Path, package: Path | None = None) -> Path:
    """The folder of Pyodide's files, unpacked from `package` (what `npm pack` makes) or fetched with npm.

    `store` keeps the package between builds. Raises `SiteError`.
    """
    kept = store / f"pyodide-{PYODIDE}.tgz"
    if package is None and not kept.exists():
        _npm_pack(kept)
    origin = package or kept
    try:
        content = origin.read_bytes()
    except OSError as error:
        raise SiteError(f"{origin.name} can't be read: {error.strerror}.") from None
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != PYODIDE_SHA512:
        raise SiteError(
            f"{origin.name} is not npm's package pyodide {PYODIDE}, or is damaged: its hash differs. "
            f"npm pack pyodide@{PYODIDE} makes a good one."
        )
    folder = store / f"pyodide-{PYODIDE}"
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(origin) as archive:
        for name in (*PYODIDE_FILES, "pyodide-lock.json"):
            member = archive.extractfile(f"package/{name}")
            assert member is not None  # the hash says so
            (folder / name).write_bytes(member.read())
    return folder


def micropip(store: Path) -> Path:
    """A folder with micropip in it, as if installed there. Raises `SiteError`."""
    folder = store / f"micropip-{MICROPIP}"
    if folder.exists():
        return folder
    with tempfile.TemporaryDirectory(dir=_made(store)) as scratch:
        wanted = Path(scratch) / "requirements"
        wanted.write_text(f"micropip=={MICROPIP} --hash=sha256:{MICROPIP_SHA256}\n", "utf-8")
        installed = Path(scratch) / "installed"
        command = [*_pip(), "--target", str(installed), "--python-version", PYTHON, "--only-binary", ":all:"]
        command += ["--no-deps", "--require-hashes", "-r", str(wanted)]
        _fetch(command, f"micropip {MICROPIP}")
        installed.rename(folder)
    return folder


def _pip() -> list[str]:
    """The beginning of an install command: pip's where this environment has one, else uv's."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "--disable-pip-version-check", "install"]
    return ["uv", "pip", "install", "--python", sys.executable]


def _npm_pack(kept: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise SiteError(
            f"building the site needs npm once, to fetch Pyodide. Elsewhere: npm pack pyodide@{PYODIDE}; "
            f"then here: python3 lab.py site --pyodide pyodide-{PYODIDE}.tgz"
        )
    with tempfile.TemporaryDirectory(dir=_made(kept.parent)) as scratch:
        _fetch([npm, "pack", f"pyodide@{PYODIDE}", "--pack-destination", scratch], f"Pyodide {PYODIDE}")
        shutil.move(Path(scratch) / kept.name, kept)


def _fetch(command: list[str], what: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise SiteError(f"{what} can't be fetched: {lines[-1] if lines else 'no reason given'}")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
