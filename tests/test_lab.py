"""lab.py for real: a tiny project beside a copy of it, set up offline with uv and with pip.

The project's one locked package is a wheel made here and its build backend stands in its own directory, so a
whole set-up takes a second or three, and no package index is asked.
"""

import ast
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAB = ROOT / "lab.py"
NEWER_GRAMMAR = (
    ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef, ast.Await, ast.Nonlocal, ast.Starred,
    ast.YieldFrom, ast.Match, ast.MatMult,
)  # fmt: skip
NOWHERE = "http://127.0.0.1:9/simple"  # the discard port: nobody listens

BACKEND = """
import zipfile

def build_editable(directory, config_settings=None, metadata_directory=None):
    name = "tiny_project-1-py3-none-any.whl"
    with zipfile.ZipFile(directory + "/" + name, "w") as wheel:
        info = "tiny_project-1.dist-info/"
        wheel.writestr("tiny_project.pth", "")
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: tiny-project\\nVersion: 1\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return name
"""
PYPROJECT = """
[project]
name = "tiny-project"
version = "1"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


@pytest.fixture(scope="module")
def lab():
    """lab.py as a module."""
    spec = importlib.util.spec_from_file_location("lab", LAB)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def locked_package(root: Path, name: str) -> str:
    """Make a wheel of one module in `root`'s folder of wheels; the lines that lock it."""
    wheel, info = root / "wheels" / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr(f"{name}.py", "ANSWER = 42\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{name}==1.0 \\\n    --hash=sha256:{digest}\n"


@pytest.fixture
def project(tmp_path):
    """A project to set up: lab.py, a lock of one package, and that package's wheel in `wheels`."""
    root = tmp_path / "project"
    (root / "wheels").mkdir(parents=True)
    shutil.copy(LAB, root)
    (root / "requirements.lock").write_text(locked_package(root, "tiny"))
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "backend.py").write_text(BACKEND)
    return root


def without_network(project: Path, path: str) -> dict[str, str]:
    """Environment variables: programs from `path`, packages from the project's wheels or not at all."""
    kept = {name: os.environ[name] for name in ("HOME", "PYENV_ROOT", "SYSTEMROOT") if name in os.environ}
    wheels, cache = str(project / "wheels"), str(project / "cache")
    uv = {"UV_NO_CONFIG": "1", "UV_FIND_LINKS": wheels, "UV_CACHE_DIR": cache, "UV_OFFLINE": "1"}
    pip = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": wheels,
        "PIP_NO_CACHE_DIR": "1",
        "PIP_NO_INDEX": "1",
    }
    return kept | {"PATH": path} | uv | pip


@pytest.fixture
def with_pip(project, tmp_path):
    """No program but Python: lab.py takes venv and pip."""
    return without_network(project, str(tmp_path / "no_programs"))


@pytest.fixture
def with_uv(lab, project, tmp_path, with_pip):
    """PATH as it is, so that lab.py takes uv; where there is none the same is asked of pip."""
    return without_network(project, os.environ["PATH"]) if lab.find_uv() else with_pip


@pytest.fixture
def with_uv_or_pip(request):
    """The one or the other."""
    return request.getfixturevalue(request.param)


BOTH = pytest.mark.parametrize("with_uv_or_pip", ["with_uv", "with_pip"], indirect=True)


def start(project: Path, environ: dict[str, str], *arguments: str, python: str | Path = sys.executable):
    """Run lab.py of `project` to its end."""
    command = [python, "lab.py", *arguments]
    return subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, timeout=120)


def in_venv(project: Path, name: str) -> Path:
    """A program of the project's environment."""
    return project / ".venv" / ("Scripts" if os.name == "nt" else "bin") / name


def fails_in_one_line(done) -> str:
    """The sentence of a lab.py that stopped; nothing else was on standard error."""
    assert done.returncode == 1, done
    assert done.stderr.startswith("lab.py: ") and done.stderr.count("\n") == 1
    return done.stderr


@BOTH
def test_a_set_up_installs_what_is_locked_and_the_next_one_nothing(project, with_uv_or_pip):
    first = start(project, with_uv_or_pip, "setup")
    assert first.returncode == 0, first.stderr
    assert "Setting up tcplab in .venv" in first.stdout
    says = subprocess.check_output(
        [in_venv(project, "python"), "-c", "import tiny; print(tiny.ANSWER)"], text=True
    )
    assert says == "42\n"

    log = (project / ".venv" / "setup.log").read_text()
    shutil.rmtree(project / "wheels")  # whoever installs now fails
    second = start(project, with_uv_or_pip, "setup")
    assert second.returncode == 0 and "Setting up" not in second.stdout
    assert (project / ".venv" / "setup.log").read_text() == log


@BOTH
def test_a_part_is_installed_when_it_is_asked_for(project, with_uv_or_pip):
    with (project / "requirements.lock").open("a") as lock:
        lock.write("\n" + locked_package(project, "extra"))

    def installed(name):
        command = [in_venv(project, "python"), "-c", f"import {name}"]
        return subprocess.run(command, capture_output=True).returncode == 0

    assert start(project, with_uv_or_pip, "setup").returncode == 0
    assert installed("tiny") and not installed("extra")
    done = start(project, with_uv_or_pip, "test")  # pytest itself is not in this lock
    assert done.returncode == 1 and "No module named pytest" in done.stderr
    assert installed("tiny") and installed("extra")
    assert "Setting up" not in start(project, with_uv_or_pip, "setup").stdout


@pytest.mark.parametrize("seconds", [0, 0.1, 0.4])
def test_two_starts_at_once_and_a_killed_one_spoil_nothing(project, with_uv, seconds):
    def begin():
        return subprocess.Popen(
            [sys.executable, "lab.py", "setup"], cwd=project, env=with_uv, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    killed, *others = begin(), begin(), begin()
    time.sleep(seconds)
    killed.kill()
    killed.communicate()
    for other in others:
        _, errors = other.communicate(timeout=60)
        assert (other.returncode, errors) == (0, "")
    assert subprocess.run([in_venv(project, "python"), "-c", "import tiny"]).returncode == 0
    assert "Setting up" not in start(project, with_uv, "setup").stdout


@BOTH
def test_an_index_out_of_reach_is_one_line(project, with_uv_or_pip):
    away = {"UV_DEFAULT_INDEX": NOWHERE, "UV_HTTP_RETRIES": "0", "PIP_INDEX_URL": NOWHERE, "PIP_RETRIES": "0"}
    online = {
        name: value for name, value in with_uv_or_pip.items() if name not in ("UV_OFFLINE", "PIP_NO_INDEX")
    }
    shutil.rmtree(project / "wheels")
    (project / "wheels").mkdir()
    said = fails_in_one_line(start(project, online | away, "setup"))
    assert "installing the packages failed (is the package index within reach?)" in said
    assert ".venv/setup.log" in said


def test_a_package_that_is_not_the_locked_one_is_refused(project, with_uv):
    lock = project / "requirements.lock"
    lock.write_text(lock.read_text()[:-5] + "0000\n")
    said = fails_in_one_line(start(project, with_uv, "setup"))
    assert "installing the packages failed" in said
    assert not (project / ".venv" / "tcplab-setup").exists()


def test_half_a_set_up_is_redone_from_scratch(project, with_uv):
    litter = project / ".venv" / "litter"
    litter.parent.mkdir()
    litter.touch()  # a .venv without the stamp that a finished set-up leaves
    assert start(project, with_uv, "setup").returncode == 0
    assert not litter.exists() and in_venv(project, "python").exists()


def test_a_new_lock_and_a_new_place_are_noticed(project, with_uv):
    assert start(project, with_uv, "setup").returncode == 0
    (project / "pyproject.toml").write_text(PYPROJECT + "# changed\n")
    assert "Setting up" in start(project, with_uv, "setup").stdout
    # Scripts and the project's own path name the directory: what was moved is made afresh.
    moved = project.rename(project.with_name("moved"))
    environ = without_network(moved, with_uv["PATH"])
    assert "Setting up" in start(moved, environ, "setup").stdout
    assert "Setting up" not in start(moved, environ, "setup").stdout


def test_a_set_up_from_inside_the_old_environment_works(project, with_uv):
    assert start(project, with_uv, "setup").returncode == 0
    (project / ".venv" / "tcplab-setup").unlink()
    # As when .venv is activated: this Python goes away while it makes the new one.
    inside = start(
        project, with_uv | {"VIRTUAL_ENV": str(project / ".venv")}, "setup", python=in_venv(project, "python")
    )
    assert inside.returncode == 0 or os.name == "nt", inside.stderr
    assert "Setting up" not in start(project, with_uv, "setup").stdout


def test_a_broken_python_behind_the_environment_is_noticed(lab, project):
    setup = lab.Setup(str(project))
    assert setup.found() == []
    python = in_venv(project, "python.exe" if os.name == "nt" else "python")
    python.parent.mkdir(parents=True)
    Path(setup.stamp).write_text("\n".join([*setup.wanted(), "lab"]) + "\n")
    python.symlink_to(project / "gone")
    assert setup.found() == []
    python.unlink()
    python.touch()
    assert setup.found() == [*setup.wanted(), "lab"]
    assert not setup.lacks("lab") and setup.lacks("test")


def test_a_python_without_venv_is_one_line(lab, project, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name != "ensurepip" and find_spec(name))
    with pytest.raises(lab.Stop, match=r"apt install python3-venv .* or install uv\.$"):
        lab.Setup(str(project)).create(uv=None)
    assert not (project / ".venv").exists()


def test_an_incomplete_copy_is_one_line(project, with_uv):
    (project / "requirements.lock").unlink()
    assert "requirements.lock is missing" in fails_in_one_line(start(project, with_uv, "setup"))


def test_an_unknown_command_is_one_line(project, with_uv):
    done = start(project, with_uv, "tset")
    assert done.returncode == 2
    assert done.stderr == "lab.py: no command 'tset'; there are: lab, setup, test, site, lock.\n"
    assert "python3 lab.py test" in start(project, with_uv, "--help").stdout


@pytest.fixture
def pretended(lab, project):
    """A finished set-up whose Python only says how it was called, and fails with 5."""
    python = in_venv(project, "python")
    python.parent.mkdir(parents=True)
    python.write_text(
        '#!/bin/sh\necho "$PWD $VIRTUAL_ENV ${PYTHONPATH-unset} ${TCPLAB_PROGRESS-unset}"\n'
        'printf "%s\\n" "$@"\nexit 5\n'
    )
    python.chmod(0o755)
    setup = lab.Setup(str(project))
    Path(setup.stamp).write_text("\n".join([*setup.wanted(), *lab.BLOCKS]) + "\n")
    return project


@pytest.mark.skipif(os.name == "nt", reason="a shell script pretends to be Python")
@pytest.mark.parametrize(
    ("arguments", "begins", "ends"),
    [
        ([], ["-m", "jupyterlab"], []),
        (["lab", "--no-browser", "--port", "9000"], ["-m", "jupyterlab"], ["--no-browser", "--port", "9000"]),
        (["test"], ["-m", "pytest", "--nbval"], ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]),
        (
            ["test", "-k", "keepalive", "tests/test_x.py"],
            ["-m", "pytest"],
            ["-k", "keepalive", "tests/test_x.py"],
        ),
    ],
)
def test_arguments_reach_the_program_and_its_exit_code_comes_back(
    pretended, with_pip, arguments, begins, ends
):
    environment = with_pip | {"PYTHONPATH": "elsewhere", "VIRTUAL_ENV": "other"}
    environment.pop("TCPLAB_PROGRESS", None)
    done = start(pretended, environment, *arguments)
    where, *called = done.stdout.splitlines()
    progress = "off" if "test" in arguments else "unset"
    assert where == f"{pretended} {pretended / '.venv'} unset {progress}"
    assert called[: len(begins)] == begins and called[len(called) - len(ends) :] == ends
    assert done.returncode == 5 and done.stderr == ""


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_control_c_is_quiet_and_leaves_nothing_half_done(project, with_pip, tmp_path):
    uv, begun = tmp_path / "no_programs" / "uv", tmp_path / "begun"
    uv.parent.mkdir()
    uv.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit\necho > {begun}\nexec /bin/sleep 60\n')
    uv.chmod(0o755)
    setup = subprocess.Popen(
        [sys.executable, "lab.py", "setup"], cwd=project, env=with_pip, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while not begun.exists():
        assert setup.poll() is None
        time.sleep(0.01)
    os.killpg(setup.pid, signal.SIGINT)
    _, errors = setup.communicate(timeout=10)
    assert (setup.returncode, errors) == (130, "")
    assert not (project / ".venv" / "tcplab-setup").exists()


def pretending_to_be(*version: int):
    """A command line: this Python runs lab.py and says that it is another one."""
    version_info = (*version, 0, "final", 0)
    code = f"import sys; sys.version_info = {version_info}; exec(open('lab.py').read())"
    return pytest.param([sys.executable, "-c", code], id="pretended {}.{}".format(*version))


def old_pythons():
    """Command lines of whatever older Pythons a version manager keeps here."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    pythons = [python for old in ("2.7", "3.6", "3.10") for python in versions.glob(f"{old}.*/bin/python")]
    return [pytest.param([str(python), "lab.py"], id=python.parts[-3]) for python in pythons]


@pytest.mark.parametrize("command", [pretending_to_be(3, 10), pretending_to_be(2, 7), *old_pythons()])
def test_an_old_python_is_one_line(command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("tcplab needs Python 3.11 or newer; this is Python ")
    assert done.stderr.count("\n") == 1


def newer_grammar(source: str) -> list[str]:
    """Which pieces of a source an old Python would not even parse."""
    found = []
    for node in ast.walk(ast.parse(source)):
        newer = isinstance(node, NEWER_GRAMMAR) or (isinstance(node, ast.Raise) and node.cause)
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            newer = node.returns or node.args.posonlyargs or node.args.kwonlyargs
            newer = newer or any(argument.annotation for argument in arguments)
        if newer:
            found.append(ast.unparse(node))
    return found


def test_an_old_python_can_parse_it():
    source = LAB.read_text("ascii")
    assert newer_grammar(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "f'{x}'",
        "x: int = 1",
        "def f(x: int): pass",
        "def f() -> int: pass",
        "def f(*, x): pass",
        "print(*x)",
        "if (x := 1): pass",
        "raise A from b",
        "async def f(): pass",
    ],
)
def test_what_an_old_python_cannot_parse_is_seen(source):
    assert newer_grammar(source)
