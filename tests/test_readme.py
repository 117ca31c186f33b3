"""README and CHANGELOG say what is so today."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

import tcplab
from tcplab.lesson.course import lessons

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGES = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def draw():
    spec = importlib.util.spec_from_file_location("draw", ROOT / "data" / "pictures" / "draw.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("text", [README, CHANGES])
def test_links_lead_somewhere(text):
    targets = re.findall(r"\]\(([^)]+)\)", text)
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_table_of_notebooks_is_what_exists():
    linked = set(re.findall(r"notebooks/(\w+\.ipynb)", README))
    assert linked == {lesson.notebook for lesson in lessons().values() if lesson.ready}


def test_every_folder_and_module_of_the_layout_exists():
    layout = README.split("## How it is laid out")[1].split("```")[1]
    for line in layout.strip().splitlines():
        inside = line.startswith("  ")
        names = line.strip().split("   ")[0].split()
        for name in names:
            assert (ROOT / ("tcplab" if inside else ".") / name).exists(), name


def test_the_commands_are_real(capsys):
    from tcplab.cli import main

    for line in re.findall(r"^tcplab (.+?)(?: {2,}#.*)?$", README, re.MULTILINE):
        arguments = shlex.split(line)
        for file in {"--pcap", "--timeline"} & {*arguments}:
            arguments = arguments[: arguments.index(file)]
        assert main(arguments) == 0, line
        assert capsys.readouterr().out


def test_the_python_example_is_real(monkeypatch):
    monkeypatch.chdir(ROOT)
    (example,) = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
    names: dict = {}
    exec(example, names)
    shown = re.search(r"# ([\d.]+)$", example, re.MULTILINE)[1]
    assert names["trace"].outcome["detected_after_s"] == float(shown)


def test_every_experiment_that_the_changes_name_exists():
    (names,) = re.findall(r"`tcplab run`: ([\w,\s]+)\.", CHANGES)
    assert {name.strip() for name in names.split(",")} == set(tcplab.EXPERIMENTS)


def test_the_pictures_are_what_tcplab_draws_today(draw):
    for name in draw.PICTURES:
        stored = (ROOT / "data" / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
        assert stored == draw.svg(name), "python3 data/pictures/draw.py draws it afresh"


def test_the_picture_is_described_for_those_who_cannot_see_it():
    for words in re.findall(r"!\[([^\]]*)\]", README):
        assert len(words) > 60
