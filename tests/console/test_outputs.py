"""Outputs as people paste them, and what is said about each."""

import re
import tomllib
from pathlib import Path

import pytest

from tcplab.console import explain
from tcplab.console.verdicts import codes
from tcplab.lesson.course import lessons

OUTPUTS = tomllib.loads(Path(__file__).with_name("outputs.toml").read_text("utf-8"))["output"]


def written_out(output):
    """The text with its repeated lines, carriage returns and colours."""

    def repeated(match):
        return "".join(match[2].replace("{N}", f"{number:02d}") + "\n" for number in range(int(match[1])))

    text = re.sub(r"\{(\d+)\*(.*?)\}\n", repeated, output["text"], flags=re.DOTALL)
    text = text.replace("\\u001b", "\x1b")
    return text.replace("\n", "\r\n") if output.get("crlf") else text


@pytest.mark.parametrize("output", OUTPUTS, ids=[output["name"] for output in OUTPUTS])
def test_what_is_said(output):
    found = [verdict.code for verdict in explain(written_out(output)).verdicts]
    assert not {*output["must"]} - {*found}
    assert not {*output["must_not"]} & {*found}
    assert "healthy" not in found or {*found} <= {"healthy", "timers_not_shown"}
    assert found == [name for name in codes() if name in found], "the worst first"


@pytest.mark.parametrize("output", OUTPUTS, ids=[output["name"] for output in OUTPUTS])
def test_evidence_is_a_line_of_the_paste(output):
    lines = written_out(output).split("\n")
    found = explain(written_out(output))
    assert found.unknown == ()
    for verdict in found.verdicts:
        assert verdict.evidence or verdict.code == "healthy"
        assert "{" not in verdict.says
        for quote in verdict.evidence:
            assert re.sub(r"\W", "", quote.text) in re.sub(r"\W", "", lines[quote.line - 1])


def test_every_code_has_its_lesson():
    for name, texts in codes().items():
        assert {texts.lesson, texts.lesson_server or texts.lesson} <= {*lessons(), ""}
        assert bool(texts.lesson) == bool(texts.fix) == (name != "healthy")
        assert {*texts.perhaps} <= {*texts.says}
