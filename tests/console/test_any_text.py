"""Whatever is pasted, there is an answer: verdicts, or one sentence."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tcplab.console import explain
from tcplab.core.knobs import ParameterError
from tests.console.test_outputs import OUTPUTS, written_out

WHOLE = [written_out(output) for output in OUTPUTS]
LINES = sorted({line for text in WHOLE for line in text.splitlines() if line.strip()})


def answered(*texts):
    try:
        found = explain(*texts)
    except ParameterError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
        return []
    assert found.verdicts
    for verdict in found.verdicts:
        assert verdict.says and len(verdict.evidence) <= 5
    return found.verdicts


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=400))
@example("")
@example("|\n---\n|")
@example('a,"')
@example("-[ RECORD 1 ]\n:")
def test_any_text(text):
    answered(text)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(LINES) | st.text(max_size=60), max_size=40))
def test_any_lines(lines):
    answered("\n".join(lines))


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(WHOLE), st.data())
def test_any_damage(text, data):
    cut = data.draw(st.integers(0, len(text)))
    again = data.draw(st.integers(0, len(text)))
    answered(text[:cut] + data.draw(st.text(max_size=8)) + text[again:], text[:again])


@pytest.mark.parametrize(
    "line",
    [
        "ESTAB 0 0 10.0.0.1:40000 10.0.0.2:5432 timer:(keepalive,59sec,0)",
        "  TCP    10.1.4.20:49152        10.1.4.31:1433         TIME_WAIT       0",
        "a b c d e f g h 1 2 3 4 5 6 7 8 " * 8,
        "0/" * 200,
        "1-1-1 " * 60 + "10:00:00",
        "x" * 3000,
        "| a | b",
        "[" * 300 + "#",
        "a:b " * 200,
    ],
    ids=lambda line: line[:12],
)
def test_two_thousand_lines_take_no_time(line):
    text = "\n".join([line] * 2000)
    began = time.process_time()
    answered(text)
    assert time.process_time() - began < 2, "ten times what it takes on an idle machine"
