"""The notebooks as a learner meets them: every question answered right, wrong and not at all, right
answers held against the model and against Linux, and every notebook run with the reference answers."""

import ast
import errno
import re
import socket
import struct
import threading
from pathlib import Path

import nbformat
import pytest

from answers import REFERENCE, asked_in
from tcplab import FinOrRst, HandshakeAndClose, UnansweredConnect, run
from tcplab.lesson import ask
from tcplab.lesson.course import lessons
from tcplab.lesson.question import WAITING, ChoiceQuestion, tables

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
READY = [lesson for lesson in lessons().values() if lesson.ready]
TAUGHT = [lesson for lesson in READY if lesson.name != "start_here"]
ALL = [(lesson.name, name) for lesson in TAUGHT for name in tables(lesson.name)]


def notebook(lesson):
    return nbformat.read(NOTEBOOKS / lesson.notebook, as_version=4)


def prose(lesson):
    return "\n".join(cell.source for cell in notebook(lesson).cells if cell.cell_type == "markdown")


def texts_of(book):
    """Everything that a run left to read, cell by cell."""
    for cell in book.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            yield output.get("text", "") + data.get("text/plain", "") + data.get("text/html", "")


# Questions ------------------------------------------------------------------------------------


def test_every_question_has_a_reference_answer():
    assert {(lesson, name) for lesson in REFERENCE for name in REFERENCE[lesson]} == set(ALL)


@pytest.mark.parametrize("lesson, name", ALL)
def test_the_reference_answer_is_right(lesson, name):
    question = ask(lesson, name)
    question.answer = REFERENCE[lesson][name]
    feedback = question.check()
    assert feedback.right, feedback
    assert question.because in feedback.text


@pytest.mark.parametrize("lesson, name", ALL)
def test_every_other_answer_is_wrong_and_told_why(lesson, name):
    question = ask(lesson, name)
    if isinstance(question, ChoiceQuestion):
        others = [label for label in question.options if label != question.right]
        reasons = [question.options[label] for label in others]
    else:
        others = [*question.common, question.right * 3, question.right / 3]
        reasons = [*question.common.values(), "too", "too"]
    for other, reason in zip(others, reasons, strict=True):
        question.answer = other
        feedback = question.check()
        assert feedback.attempted and not feedback.right, (other, feedback)
        assert reason in feedback.text
        assert question.because not in feedback.text


@pytest.mark.parametrize("lesson, name", ALL)
def test_an_untouched_question_is_not_attempted_and_still_helps(lesson, name):
    question = ask(lesson, name)
    assert question.check().outcome == "not attempted"
    hints = [question.hint().text for _ in question.hints]
    assert len(set(hints)) == len(question.hints)
    assert question.because in question.solution().text


# Right answers against the witnesses -----------------------------------------------------------


def test_a_healthy_connection_is_as_the_questions_say():
    trace = run(HandshakeAndClose(closer="client"))
    assert trace.outcome["segments"] == ask("life_of_a_connection", "segments").right
    assert trace.outcome["time_wait_on"] == "client"
    acks = {
        number.ack
        for packet, number in zip(trace.packets, trace.relative(), strict=True)
        if packet.sender == "server"
    }
    assert ask("life_of_a_connection", "next_byte").right in acks


def test_acknowledged_bytes_lie_unread_when_the_server_is_killed():
    trace = run(FinOrRst(ending="kill_unread"))
    killed = next(call.t for call in trace.calls if "killed" in call.call)
    queues = {sample.host: sample for sample in trace.sockets_at(killed - 1) if sample.state == "ESTABLISHED"}
    assert (queues["server"].recv_q, queues["client"].send_q) == (40, 0)
    assert trace.outcome["server_sends"] == "RST"


def test_the_first_send_after_a_kill_succeeds():
    outcome = run(FinOrRst(ending="kill", client="idle")).outcome
    assert outcome["client_error"] is None
    assert outcome["second_write_error"] == "EPIPE"


def test_a_dropped_syn_takes_as_long_as_the_question_says():
    question = ask("fin_or_rst", "drop_seconds")
    assert run(UnansweredConnect(fate="drop")).outcome["gave_up_after_s"] == question.right
    older = run(UnansweredConnect(fate="drop", linux="6.1"))
    assert older.outcome["gave_up_after_s"] == 127
    fewer = run(UnansweredConnect(fate="drop", linux="6.1", syn_retries=3))
    assert fewer.outcome["gave_up_after_s"] == 15
    assert {15, 127} <= set(question.common)


def test_the_late_reset_comes_from_the_server():
    trace = run(FinOrRst(ending="kill", client="idle", keepalive_idle_s=15))
    resets = [packet for packet in trace.packets if "R" in packet.segment.letters]
    assert [packet.sender for packet in resets] == ["server"]
    probes = [packet for packet in trace.packets if packet.kind == "keepalive"]
    assert len(probes) == 5 and resets[0].t > probes[-1].t


@pytest.mark.linux
@pytest.mark.parametrize(
    "leaves, error", [("unread", errno.ECONNRESET), ("read", None), ("linger0", errno.ECONNRESET)]
)
def test_how_a_health_check_leaves_decides_what_the_server_hears(leaves, error):
    """On this machine's own Linux: what the server's next recv() says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answered, left, heard = threading.Event(), threading.Event(), []

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"who are you?")
                answered.set()
                left.wait(5)
                try:
                    heard.append(None if connection.recv(100) == b"" else "data")
                except OSError as problem:
                    heard.append(problem.errno)

        server = threading.Thread(target=serve)
        server.start()
        checker = socket.create_connection(listener.getsockname())
        checker.sendall(b"login")
        assert answered.wait(5)
        assert checker.recv(100, socket.MSG_PEEK)  # the answer is here
        if leaves == "read":
            checker.recv(100)
        elif leaves == "linger0":
            checker.recv(100)
            checker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        checker.close()
        left.set()
        server.join(5)
    assert heard == [error]


# The notebooks ---------------------------------------------------------------------------------


def test_the_map_of_lessons_is_the_directory():
    assert {lesson.notebook for lesson in READY} == {path.name for path in NOTEBOOKS.glob("*.ipynb")}


@pytest.mark.parametrize("lesson", READY, ids=str)
def test_a_notebook_opens_as_all_of_them_do(lesson):
    first = notebook(lesson).cells[0].source
    assert first.startswith(f"# {lesson.number} · ")
    for part in ("**The incident", "ou can", "**", "needs"):
        assert part in first
    assert f"**{lesson.minutes} minutes · {'core' if lesson.core else 'elective'}" in first


@pytest.mark.parametrize("lesson", READY, ids=str)
def test_a_notebook_begins_with_imports_and_defines_nothing(lesson):
    cells = [ast.parse(cell.source) for cell in notebook(lesson).cells if cell.cell_type == "code"]
    body = [line for line in cells[0].body if not ast.unparse(line).startswith("here")]
    assert all(isinstance(line, (ast.Import, ast.ImportFrom)) for line in body)
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    assert not [node.name for cell in cells for node in ast.walk(cell) if isinstance(node, defined)]


@pytest.mark.parametrize("lesson", TAUGHT, ids=str)
def test_a_lesson_asks_every_one_of_its_questions(lesson):
    code = "\n".join(cell.source for cell in notebook(lesson).cells if cell.cell_type == "code")
    asked = asked_in(code)
    assert set(asked) == set(tables(lesson.name))
    assert len(asked) >= 3


@pytest.mark.parametrize("lesson", READY, ids=str)
def test_links_lead_to_notebooks_that_exist(lesson):
    for target in re.findall(r"\]\((\d\d_\w+\.ipynb)\)", prose(lesson)):
        assert (NOTEBOOKS / target).exists(), target


@pytest.mark.parametrize("lesson", TAUGHT, ids=str)
def test_no_answer_is_on_the_screen_before_a_prediction(lesson):
    texts = list(texts_of(notebook(lesson)))
    assert sum(WAITING in text for text in texts) >= 3
    assert not any("<details open" in text for text in texts)
    for name in tables(lesson.name):
        assert not any(ask(lesson.name, name).because in text for text in texts)
