"""What stands in notebooks/for_teachers: recorded evidence, minutes that add up, links that lead on."""

import importlib
import json
import re
from pathlib import Path

import pytest

from tcplab import read_capture
from tcplab.lesson import chart
from tcplab.lesson.course import lessons
from tcplab.lesson.question import tables

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks" / "for_teachers"
CARDS = (FOLDER / "incident_cards.md").read_text(encoding="utf-8")
EVIDENCE = re.findall(r"^\*\*(\w+)\.\*\* `(\w+)`[^\n]*\n```\n(.*?)```", CARDS, re.MULTILINE | re.DOTALL)
AT = re.compile(r"at (-?[\d.]+) s: (.*)")


def plain(line):
    return " ".join(line.replace("**", "").split())


def recorded(name):
    """What a recording has to say: (seconds, line), and None for lines of the capture."""
    path = ROOT / "data" / "captures" / name
    for event in json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["events"]:
        for line in (event["call"], *event["result"].split("\n")):
            yield event["t"], plain(line)
    capture = read_capture(path.with_suffix(".pcap"))
    for number in range(len(capture.connections)):
        yield from ((None, plain(row)) for row in repr(chart(capture.connection(number))).split("\n")[1:])


def test_every_card_has_evidence_for_three():
    cards = CARDS.count("\n## Card ")
    assert cards == 8
    assert [role for role, _, _ in EVIDENCE] == ["Application", "DBA", "Network"] * cards
    answers = CARDS.split("## Answers")[1]
    assert re.findall(r"^(\d)\. ", answers, re.MULTILINE) == [str(n) for n in range(1, cards + 1)]
    named = re.findall(r"\*After lesson (\d\d)\.", CARDS)
    assert re.findall(r"\*Lesson (\d\d)\.\*", answers) == named


@pytest.mark.parametrize("role, name, block", EVIDENCE, ids=lambda value: value if "\n" not in value else "")
def test_the_evidence_was_recorded(role, name, block):
    known = list(recorded(name))
    for line in block.strip().split("\n"):
        if at := AT.fullmatch(line):
            said = {text for t, text in known if t is not None and abs(t - float(at[1])) <= 0.051}
            assert plain(at[2]) in said, line
        else:
            assert plain(line) in {text for _, text in known}, line


# The guide ---------------------------------------------------------------------------------------

GUIDE = (FOLDER / "guide.md").read_text(encoding="utf-8")
ROUTES = re.findall(
    r"^### ([^\n]+)\n\n\| what \| minutes \|\n\|---\|---\|\n((?:\|[^\n]+\n)+)", GUIDE, re.MULTILINE
)
SECTIONS = re.findall(r"^### (\d\d) (\w+)\n(.*?)(?=^##)", GUIDE, re.MULTILINE | re.DOTALL)
PARTS = ("One idea", "Ask first", "Show", "Stuck", "Skip")


@pytest.mark.parametrize("title, rows", ROUTES, ids=[title for title, _ in ROUTES])
def test_the_minutes_of_a_route_add_up(title, rows):
    *parts, (_, total) = re.findall(r"\| ([^|]+) \| \*{0,2}(\d+)\*{0,2} \|", rows)
    assert sum(int(minutes) for _, minutes in parts) == int(total)
    for what, minutes in parts:
        if numbered := re.fullmatch(r"(\d\d) (\w+)(?:, .*)?", what):
            lesson = lessons()[numbered[2]]
            assert (lesson.number, lesson.minutes, lesson.ready) == (numbered[1], int(minutes), True)


def test_there_is_a_route_for_each_length_and_two_days_have_every_lesson():
    assert len(ROUTES) == 4
    days = "".join(rows for title, rows in ROUTES if title.startswith("Two days"))
    taught = {lesson.name for lesson in lessons().values() if lesson.ready}
    assert set(re.findall(r"\| \d\d (\w+)", days)) == taught


def test_every_lesson_has_its_section_and_asks_a_question_that_exists():
    named = {(lesson.number, lesson.name) for lesson in lessons().values() if lesson.ready}
    assert named - {(number, name) for number, name, _ in SECTIONS} == {("00", "start_here")}
    for _, name, text in SECTIONS:
        assert re.findall(r"^- \*\*([\w ]+)\.\*\*", text, re.MULTILINE) == list(PARTS), name
        asked = re.search(r"^- \*\*Ask first\.\*\* `(\w+)`", text, re.MULTILINE)
        assert asked and asked[1] in tables(name), name


@pytest.mark.parametrize("file", ["guide.md", "incident_cards.md", "hand_out.md"])
def test_links_lead_somewhere(file):
    text = (FOLDER / file).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target.startswith("https://") or (FOLDER / target).exists(), target


def test_the_commands_of_the_guide_are_real():
    for line in re.findall(r"^from (\S+) import (\w+)$", GUIDE, re.MULTILINE):
        module, name = line
        assert hasattr(importlib.import_module(module), name)
