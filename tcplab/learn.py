"""`tcplab learn`: copy the course into a folder of the learner's, and open JupyterLab on it.

A file that the learner changed is never overwritten: its newer edition is put beside it. `.tcplab.json` in
the folder records which edition of each file was copied last: a file that differs from it was changed.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from tcplab import __version__
from tcplab.capture.recordings import COURSE

#: The parts of the course that are copied, in the same layout as in the repository.
PARTS = ("notebooks", "data/captures", "data/README.md")
SUFFIXES = {".ipynb", ".md", ".html", ".pcap", ".json"}
FIRST = "notebooks/00_start_here.ipynb"
#: The name of the copy's own record: {path: SHA-256 of what was copied there last}.
RECORD = ".tcplab.json"


class LearnError(Exception):
    """Why the course could not be copied, in one sentence."""


@dataclass
class Copied:
    """What happened to the files, by their paths in the folder."""

    new: list[str] = field(default_factory=list)
    #: Replaced by a newer edition: the learner had not changed them.
    renewed: list[str] = field(default_factory=list)
    #: Changed by the learner, and where the newer edition lies.
    beside: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        said = [f"{len(self.new)} files copied"] if self.new else []
        said += [f"{len(self.renewed)} replaced by their newer edition"] if self.renewed else []
        lines = [", ".join(said) + "." if said else "The course is there already."]
        lines += [
            f"You changed {mine}: its newer edition is {theirs}." for mine, theirs in self.beside.items()
        ]
        return "\n".join(lines)


def course_files() -> Iterator[tuple[str, Path]]:
    """Every file of the course: its path in a copy, and where it is now."""
    for part in PARTS:
        origin = COURSE / part
        for path in sorted(origin.rglob("*")) if origin.is_dir() else [origin]:
            mine = ".ipynb_checkpoints" in path.parts or path.name.startswith("progress.")
            if path.suffix in SUFFIXES and not mine and path.is_file():
                yield path.relative_to(COURSE).as_posix(), path


def copy_course(folder: Path) -> Copied:
    """Copy the course into `folder`, which may have a copy already. Raises `LearnError`."""
    record, copied = folder / RECORD, Copied()
    if folder.resolve() == COURSE.resolve():
        raise LearnError(f"{folder} is where the course itself is; name another folder.")
    try:
        before: dict[str, str] = json.loads(record.read_text("utf-8")) if record.exists() else {}
        hashes = {}
        for name, origin in course_files():
            content, target = origin.read_bytes(), folder / name
            hashes[name] = hashlib.sha256(content).hexdigest()
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                copied.new.append(name)
            elif (there := hashlib.sha256(target.read_bytes()).hexdigest()) == hashes[name]:
                continue
            elif there == before.get(name):
                copied.renewed.append(name)
            elif before.get(name) == hashes[name]:
                continue  # changed by the learner, and there is nothing newer
            else:
                target = target.with_name(f"{target.stem}.tcplab-{__version__}{target.suffix}")
                copied.beside[name] = target.relative_to(folder).as_posix()
            target.write_bytes(content)
        record.write_text(json.dumps(hashes, indent=0) + "\n", "utf-8")
    except (OSError, ValueError) as error:
        raise LearnError(f"the course could not be copied into {folder}: {error}.") from None
    return copied


def open_lab(folder: Path) -> int:
    """Open JupyterLab on the first notebook of a copy; its exit code. Raises `LearnError` without it."""
    if not find_spec("jupyterlab"):
        raise LearnError("JupyterLab is not installed here: pip install 'tcplab[lab]' installs it.")
    options = [f"--ServerApp.root_dir={folder.resolve()}", f"--LabApp.default_url=/lab/tree/{FIRST}"]
    options += ["--ServerApp.jpserver_extensions=tcplab.views=True"]
    return subprocess.call([sys.executable, "-m", "jupyterlab", *options])
