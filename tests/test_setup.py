"""One source of truth for what gets installed: pyproject.toml; the lock and environment.yml follow it."""

import json
import os
import re
import runpy
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import need

ROOT = Path(__file__).resolve().parent.parent
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
GROUPS = PYPROJECT["dependency-groups"]
LAB = runpy.run_path(str(ROOT / "lab.py"))
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
LOCKED_LINE = re.compile(
    r"(?P<requirement>[a-z0-9-]+==\S+( ; [^\\\n]+)?)( \\\n    --hash=sha256:[0-9a-f]{64})+"
)


def locked() -> list[Requirement]:
    """Everything in the lock; a package stands there twice where Python versions need different ones."""
    return [Requirement(match["requirement"]) for match in LOCKED_LINE.finditer(LOCK)]


def test_the_lock_is_pins_with_hashes_and_nothing_else():
    assert LOCKED_LINE.sub("", LOCK).strip() == ""
    assert len(locked()) > 50


@pytest.mark.parametrize("foreign", ["://", "index-url", "find-links", "git+", " @ ", "file:", "#"])
def test_the_lock_names_no_place(foreign):
    assert foreign not in LOCK


EXTRAS = PROJECT["optional-dependencies"]
ASKED = {
    "dependencies": PROJECT["dependencies"],
    "build-system": PYPROJECT["build-system"]["requires"],
    **{name: [text for text in texts if not text.startswith("tcplab")] for name, texts in EXTRAS.items()},
    **GROUPS,
}


@pytest.mark.parametrize("group", [name for name in ASKED if name != "bench"])
def test_the_lock_covers_what_pyproject_asks_for(group):
    pins = [(canonicalize_name(pin.name), str(pin.specifier).removeprefix("==")) for pin in locked()]
    for requirement in map(Requirement, ASKED[group]):
        versions = [version for name, version in pins if name == canonicalize_name(requirement.name)]
        assert versions, f"{requirement.name} is not in requirements.lock: run `python3 lab.py lock`"
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_only_the_benchmarks_peer_is_left_out_of_the_lock():
    named = {words[i] for words in LAB["BLOCKS"].values() for i in (1, 3) if i < len(words)}
    assert GROUPS.keys() - named == {"bench"}
    assert "ns3" not in {pin.name for pin in locked()}


def test_a_learners_packages_come_first_in_the_lock_and_no_developers_tools():
    blocks = [set(re.findall(r"^[a-z0-9-]+(?===)", block, re.MULTILINE)) for block in LOCK.split("\n\n")]
    learner, test, site = blocks
    assert list(LAB["BLOCKS"]) == ["lab", "test", "site"]
    for name in ("lab", "notebook", "captures", "build"):
        assert {canonicalize_name(Requirement(text).name) for text in ASKED[name]} <= learner
    assert {"pytest", "mypy", "playwright", "distributed", "sqlalchemy"} <= test
    assert "jupyterlite-core" in site
    assert not learner & test and not (learner | test) & site


@pytest.mark.parametrize(
    ("python", "platform", "system"),
    [(python, *place) for python in ("3.11.0", "3.12.0", "3.13.0")
     for place in (("linux", "Linux"), ("darwin", "Darwin"), ("win32", "Windows"))],
)  # fmt: skip
def test_the_lock_is_unambiguous_everywhere(python, platform, system):
    place = {
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
        "sys_platform": platform,
        "platform_system": system,
        "os_name": "nt" if platform == "win32" else "posix",
    }
    chosen = [pin.name for pin in locked() if pin.marker is None or pin.marker.evaluate(place)]
    assert len(chosen) == len(set(chosen))
    assert {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]} <= set(chosen)


def test_every_place_names_the_same_oldest_python():
    oldest = "{}.{}".format(*LAB["OLDEST"])
    assert PROJECT["requires-python"] == f">={oldest}"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == oldest
    assert PYPROJECT["tool"]["ruff"]["target-version"] == "py" + oldest.replace(".", "")


def test_conda_gets_what_pyproject_asks_for():
    *packages, last = ENVIRONMENT["dependencies"]
    assert ENVIRONMENT["name"] == PROJECT["name"]
    assert ENVIRONMENT["channels"] == ["conda-forge"]
    assert last == {"pip": ["-e ."]}
    # conda knows no markers: what a newer Python needs no more is an empty package there.
    texts = [text for name in ("dependencies", "lab", "notebook", "captures") for text in ASKED[name]]
    asked = [text.partition(";")[0] for text in texts if not text.startswith("argon2")]
    python = next(text for text in packages if text.startswith("python="))
    assert Requirement(python.replace("=", "==")).specifier.contains("3.13")
    assert sorted(packages) == sorted([python, "pip", *asked])


def test_no_lock_of_another_kind_is_committed():
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone, so nothing is committed here")
    files = subprocess.check_output([need("git"), "ls-files"], cwd=ROOT, text=True).splitlines()
    others = {"uv.lock", "poetry.lock", "Pipfile.lock", "package-lock.json", "yarn.lock", "requirements.txt"}
    assert "requirements.lock" in files
    assert not [file for file in files if Path(file).name in others]


def test_the_licence_is_mit():
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert PROJECT["license"] == "MIT AND CC-BY-4.0"
    assert all((ROOT / name).is_file() for name in PROJECT["license-files"])
    assert text.startswith("MIT License\n\nCopyright (c) 2026 tcplab developers\n")
    assert 'THE SOFTWARE IS PROVIDED "AS IS"' in text


def test_jupyterlab_starts_without_the_question_about_news():
    code = (
        "import json; from jupyter_core.paths import jupyter_config_path;"
        "from jupyterlab_server.config import get_page_config;"
        "print(json.dumps(get_page_config(jupyter_config_path())))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "@jupyterlab/apputils-extension:announcements" in json.loads(done.stdout)["disabledExtensions"]


def test_the_wheel_touches_no_file_outside_the_package(tmp_path):
    """An administrator's page_config.json is the same after installing the wheel and after removing it."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
    assert all(name.startswith(("tcplab/", "tcplab-")) for name in names)
    assert not [name for name in names if ".data/" in name]
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    settings = tmp_path / "venv" / "etc" / "jupyter" / "labconfig" / "page_config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"disabledExtensions": {"an administrator": true}}')
    before = settings.read_bytes()
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], check=True, capture_output=True)
    assert settings.read_bytes() == before
    subprocess.run([*pip, "uninstall", "--yes", "tcplab"], check=True, capture_output=True)
    assert settings.read_bytes() == before


def test_the_command_and_the_type_marker_are_packaged():
    assert PROJECT["scripts"] == {"tcplab": "tcplab.cli:main"}
    assert (ROOT / "tcplab" / "py.typed").exists()


def test_what_a_test_needs_is_found_or_skips_and_in_ci_fails(monkeypatch):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert Path(need("pytest")).name.startswith("pytest")
    assert need("simpy") == "simpy"
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs no-such-program, which is not installed"):
        need("no-such-program")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no_such_module is missing here"):
        need("no_such_module")
