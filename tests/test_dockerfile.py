"""The Dockerfile and the page for teachers, as far as they can be checked without Docker."""

import json
import re
from pathlib import Path

import pytest

from tcplab.site import build as ingredients

ROOT = Path(__file__).resolve().parents[1]
FILE = (ROOT / "Dockerfile").read_text("utf-8")
PAGE = (ROOT / "notebooks" / "for_teachers" / "hand_out.md").read_text("utf-8")
KNOWN = {"FROM", "ENV", "RUN", "USER", "WORKDIR", "COPY", "EXPOSE", "CMD"}


def instructions(text):
    """(instruction, argument) of each one; `ValueError` for what is none."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    found = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        name, _, argument = line.partition(" ")
        if name not in KNOWN or not argument:
            raise ValueError(line)
        found.append((name, argument.strip()))
    return found


def complaints(text):
    """What an unprivileged image must not do."""
    steps = instructions(text)
    names = [name for name, _ in steps]
    said = []
    if names[0] != "FROM" or not re.fullmatch(r"\S+:\d\S*", steps[0][1]):
        said.append("it begins with an image of a certain version")
    users = [i for i, (name, user) in enumerate(steps) if name == "USER" and user not in ("root", "0")]
    if not users or any(user in ("root", "0") for name, user in steps[users[-1] :] if name == "USER"):
        said.append("it ends as an ordinary user")
    installs = [
        i for i, (_, argument) in enumerate(steps) if "pip install" in argument or "lab.py setup" in argument
    ]
    if any(i < users[0] for i in installs if users):
        said.append("root installs nothing")
    if "pip install" in text:  # lab.py takes what is in the lock, with hashes
        said.append("every package has a hash")
    if "sudo" in text or "--privileged" in text:
        said.append("it asks for no privileges")
    return said


def test_the_image_is_pinned_and_unprivileged():
    assert complaints(FILE) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("USER tcplab\n", "", "ordinary user"),
        ("EXPOSE 8888", "USER root\nEXPOSE 8888", "ordinary user"),
        ("python:3.13-slim-bookworm", "python:latest", "certain version"),
        ("RUN python lab.py setup", "RUN pip install tcplab", "hash"),
        ("RUN useradd", "RUN pip install x && useradd", "root installs nothing"),
    ],
)
def test_a_planted_fault_is_seen(old, new, says):
    assert old in FILE
    assert any(says in each for each in complaints(FILE.replace(old, new)))


def test_what_is_no_instruction_is_seen():
    with pytest.raises(ValueError, match="INSTALL"):
        instructions("FROM x:1\nINSTALL y\n")


def test_jupyterlab_starts_on_the_start_page():
    steps = instructions(FILE)
    command = json.loads(dict(steps)["CMD"])
    assert command[:2] == ["jupyter", "lab"] and dict(steps)["EXPOSE"] == "8888"
    start = command[-1].removeprefix("--LabApp.default_url=/lab/tree/")
    assert (ROOT / start).is_file()
    assert f"tree/{start}" in PAGE


def test_what_is_copied_first_is_there_and_the_rest_is_small():
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert {".git", ".venv", "build", "dist"} <= {*ignored}
    assert (ROOT / "requirements.lock").is_file()


def test_the_page_names_the_pyodide_that_is_fetched():
    assert f"pyodide-{ingredients.PYODIDE}.tgz" in PAGE


def test_the_page_names_files_that_are_there():
    for name in ("environment.yml", "requirements.lock", "lab.py"):
        assert name in PAGE and (ROOT / name).is_file()
