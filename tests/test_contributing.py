"""CONTRIBUTING's recipe, followed to the letter in a copy of the package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from test_house import broken_rules, house, module_name

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = re.findall(r"^tcplab (.+?)(?:  +#.*)?$", TEXT, re.MULTILINE)
MODULE = re.search(r"`(tcplab/experiments/\w+\.py)`", TEXT)[1]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package with the new experiment, registered as the recipe says."""
    folder = tmp_path_factory.mktemp("recipe")
    shutil.copytree(ROOT / "tcplab", folder / "tcplab", ignore=shutil.ignore_patterns("__pycache__"))
    if (ROOT / ".mypy_cache").exists():  # only what is new needs to be checked
        shutil.copytree(ROOT / ".mypy_cache", folder / ".mypy_cache")
    source, registered, offered = BLOCKS
    (folder / MODULE).write_text(source, "utf-8")
    for path, before, line in (
        ("tcplab/experiments/__init__.py", "from tcplab.experiments.client_gone import", registered),
        ("tcplab/__init__.py", "    from tcplab.experiments import PortRange", "    " + offered),
    ):
        text = (folder / path).read_text("utf-8")
        assert before in text
        (folder / path).write_text(text.replace(before, line + before), "utf-8")
    return folder


def python(folder, *arguments):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_has_fewer_than_thirty_lines_of_code():
    lines = [line for block in BLOCKS for line in block.splitlines()]
    code = [line for line in lines if line.strip() and not line.strip().startswith(('"""', "#"))]
    assert 20 < len(code) < 30


def test_the_new_module_keeps_the_houses_rules(copy):
    source, *_ = BLOCKS
    known = {module_name(path) for path in house()} | {module_name(MODULE)}
    assert broken_rules(MODULE, source, known) == []
    assert not python(
        copy, "-m", "ruff", "check", "--quiet", "--config", str(ROOT / "pyproject.toml"), MODULE
    )
    python(copy, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--no-error-summary", MODULE)


def test_the_model_runs_it_and_its_figure_is_linuxs(copy):
    told = json.loads(python(copy, "-m", "tcplab", "run", "lost_query", "--set", "latency_ms=20", "--json"))
    # A round trip and TCP_RTO_MIN (net/ipv4/tcp_input.c:tcp_set_rto); a lone segment's probe comes no sooner.
    assert told["outcome"]["sent_again_after_s"] == 0.24
    assert [segment["fate"] for segment in told["segments"]].count("lost") == 1
    assert "lost_query" in python(copy, "-m", "tcplab", "list")


def test_it_has_sliders_and_a_sentence(copy):
    shown = python(copy, "-c", "import tcplab; e = tcplab.explore(tcplab.LostQuery, request=200); print(e)")
    assert "sends it again after" in shown


@pytest.mark.linux
def test_model_and_linux_agree_on_it(copy):
    (command,) = (command for command in COMMANDS if command.startswith("agree"))
    told = python(copy, "-m", "tcplab", *command.split())
    assert "5 of 5 agree" in told


def test_every_command_of_the_recipe_exists(copy):
    verbs = {command.split()[0] for command in COMMANDS}
    assert verbs == {"run", "agree", "record"}
    told = python(copy, "-m", "tcplab", "--help")
    assert all(verb in told for verb in verbs)


def test_what_it_names_is_there():
    for path in re.findall(r"`((?:tcplab|tests|data|benchmarks)/[a-z_/.]+\.\w+)`", TEXT):
        assert (ROOT / path).exists() or path == MODULE, path
