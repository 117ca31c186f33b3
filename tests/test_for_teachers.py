"""What stands in notebooks/for_teachers: recorded evidence, routes whose minutes add up, links that lead on."""

import json
import re
from pathlib import Path

import pytest

from tcplab import read_capture
from tcplab.lesson import chart
from tcplab.lesson.course import lessons

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
