"""README and CHANGELOG say what is so today."""

import importlib.util
import re
import shlex
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import tcplab
from tcplab.lesson.course import lessons

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGES = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
SVG = "{http://www.w3.org/2000/svg}"


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


def test_the_picture_shows_what_the_ladder_draws_today(draw):
    for name in draw.PICTURES:
        stored = ElementTree.parse(ROOT / "data" / "pictures" / f"{name}.svg").getroot()
        said = {"".join(text.itertext()).strip() for text in stored.iter(f"{SVG}text")}
        for trace in draw.figure(name).data:
            if trace.mode and "text" in trace.mode:
                for text in filter(None, trace.text or ()):
                    plain = (
                        re.sub(r"<br>|<[^>]+>", "", text)
                        .replace("&amp;", "&")
                        .replace("&nbsp;", "\u00a0")
                        .strip()
                    )
                    assert plain in said, (name, plain)


def test_the_picture_is_described_for_those_who_cannot_see_it():
    for words in re.findall(r"!\[([^\]]*)\]", README):
        assert len(words) > 60
