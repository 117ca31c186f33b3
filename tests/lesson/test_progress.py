"""Tomorrow: what was answered, set and kept comes back, from a file that several kernels may share."""

import dataclasses
import json
import re
import string
from base64 import b64decode
from weakref import WeakSet

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbclient import NotebookClient

from tcplab import Keepalive, explore
from tcplab.lesson import after, ask, hand_in, progress, quiz, start_again
from tcplab.lesson import question as question_module
from tcplab.lesson.course import done, lesson_map
from tcplab.lesson.progress import (
    CourseProgress,
    LessonProgress,
    QuestionEvent,
    Settings,
    day,
    merge,
    read_progress,
    store,
)
from tcplab.lesson.question import WAITING


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Where answers are kept in this test."""
    path = tmp_path / "progress.json"
    monkeypatch.setattr(question_module, "remembered", WeakSet())  # without what other tests have left
    monkeypatch.setenv("TCPLAB_PROGRESS", str(path))
    another_day()
    yield path
    store.cache_clear()


def another_day():
    """A kernel that knows nothing but the file."""
    store.cache_clear()


def said(question):
    """What stands below the buttons of its form."""
    return question.widget().children[3].value


def press(question, label):
    (button,) = (each for each in question.widget().children[2].children if each.description == label)
    button.click()


def answered():
    """A question with a wrong answer, a hint and a right one."""
    question = ask("keepalive", "power_cut")
    question.answer = "2 h"
    press(question, "Check")
    press(question, "Hint")
    question.answer = "2 h 11 min 15 s"
    press(question, "Check")
    return question


def test_answers_and_hints_are_back_as_if_just_given(file):
    before = answered()
    another_day()
    question = ask("keepalive", "power_cut")
    assert question.answer == "2 h 11 min 15 s" and question.committed
    assert question.widget().children[1].value == "2 h 11 min 15 s"
    greeting = (
        "Your answers from earlier today are back; <code>from tcplab.lesson import start_again; start_again()"
    )
    assert said(question).startswith(said(before)) and greeting in said(question)
    assert question.hint().text == before.hint().text  # the next one, not the first again
    assert "are back" not in said(ask("keepalive", "second_probe")) + said(ask("keepalive", "power_cut"))


def test_the_last_hint_or_solution_is_what_is_seen(file):
    press(answered(), "Hint")
    ask("keepalive", "second_probe").solution()
    another_day()
    assert "Hint." in said(ask("keepalive", "power_cut"))
    solved = ask("keepalive", "second_probe")
    assert solved.committed and solved.answer is None and "Solution." in said(solved)


def test_what_waited_is_open(file):
    answered()
    another_day()
    question = ask("keepalive", "power_cut")
    waiting = after(question, lambda: explore(Keepalive, idle_s=60))
    assert waiting.widget().children == (waiting.thing,) and WAITING not in repr(waiting)


def test_values_and_kept_runs_are_back(file):
    first = after(answered(), lambda: explore(Keepalive)).thing
    for idle in (15, 30):
        first.set(idle_s=idle)
        first.keep()
    first.set(idle_s=60, peer="rebooted")
    another_day()
    question = ask("keepalive", "power_cut")
    again = after(question, lambda: explore(Keepalive)).thing
    assert again.values == first.values and again.sentence == first.sentence
    assert [trace.parameters["idle_s"] for trace in again.kept] == [15, 30]
    assert again.compared == first.compared != ""
    # Another question's explorer, and one that begins otherwise, are others.
    assert after(question, lambda: explore(Keepalive, probes=3)).thing.values["idle_s"] == 7200
    other = ask("keepalive", "second_probe")
    other.solution()
    assert after(other, lambda: explore(Keepalive)).thing.kept == ()
    again.reset()
    again.forget()
    another_day()
    fresh = after(ask("keepalive", "power_cut"), lambda: explore(Keepalive)).thing
    assert fresh.values["idle_s"] == 7200 and fresh.kept == ()


def test_an_explorer_that_waits_for_nothing_is_its_lesson_s(file):
    explore(Keepalive).set(idle_s=5)  # nothing was asked: of no lesson
    assert not file.exists()
    ask("keepalive", "power_cut")
    explore(Keepalive).set(idle_s=60)
    another_day()
    ask("dead_peer", "waiting")
    assert explore(Keepalive).values["idle_s"] == 7200
    ask("keepalive", "power_cut")
    assert explore(Keepalive).values["idle_s"] == 60


def test_values_that_an_edition_refuses_leave_the_explorer_as_it_begins(file):
    ask("keepalive", "power_cut")
    explore(Keepalive).set(idle_s=60)
    for wrong in ({"idle_s": "soon"}, {"gone": 1}, {"idle_s": -5}):
        content = json.loads(file.read_text())
        content["lessons"]["keepalive"]["explorers"]["keepalive"]["values"] = wrong
        file.write_text(json.dumps(content))
        another_day()
        ask("keepalive", "power_cut")
        explorer = explore(Keepalive)
        assert explorer.error is None and explorer.values["idle_s"] == 7200


def test_an_answer_that_is_no_option_any_more_counts_as_none(file):
    store().add("keepalive", "who_first", "check", "the moon", "right")
    another_day()
    question = ask("keepalive", "who_first")
    assert not question.committed and question.widget().children[1].value is None


def test_a_sheet_that_was_handed_in_is_back_with_its_score(file):
    sheet = quiz("before")
    sheet.answer("abc-abcdab")
    score = sheet.hand_in()
    another_day()
    again = quiz("before")
    assert again.handed_in and [each.chosen() for each in again.questions] == [
        each.chosen() for each in sheet.questions
    ]
    shown = again.widget().children[-2].value
    assert score._repr_html_() in shown and "are back" in shown
    assert not quiz("after").handed_in


def test_beginning_again_clears_the_lesson_and_no_other(file):
    answered()
    explore(Keepalive).set(idle_s=60)
    store().add("dead_peer", "waiting", "check", "d", "right")
    start_again()
    another_day()
    assert not ask("keepalive", "power_cut").committed and explore(Keepalive).values["idle_s"] == 7200
    assert ask("dead_peer", "waiting").committed


def test_two_kernels_share_the_file_and_clearing_wins(file):
    mine, theirs = progress.Store(file), progress.Store(file)
    mine.add("keepalive", "power_cut", "check", "1", "wrong")
    theirs.add("fin_or_rst", "unread", "check", "b", "right")
    theirs.add("keepalive", "power_cut", "hint")
    assert [event.did for event in read_progress(file).lesson("keepalive").questions["power_cut"]] == [
        "check", "hint",
    ]  # fmt: skip
    theirs.clear(["keepalive"])
    mine.add("fin_or_rst", "unread", "hint")  # it still knew the old answer
    assert read_progress(file).lesson("keepalive").questions == {}
    assert len(read_progress(file).lesson("fin_or_rst").questions["unread"]) == 2
    assert [path.name for path in file.parent.iterdir()] == ["progress.json"]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"tcplab": 2, "lessons": {}}', '{"tcplab": 1, "lessons": [1]}', "\udcff"],
)
def test_a_broken_file_is_set_aside_and_said_once(file, content):
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    question = ask("keepalive", "power_cut")
    assert "progress.json cannot be read. It is progress.broken-" in said(question)
    (aside,) = file.parent.glob("progress.broken-*.json")
    assert aside.read_bytes() == content.encode("utf-8", "surrogateescape")
    press(question, "Hint")
    assert "broken" not in said(question) and read_progress(file).lessons


def test_a_folder_that_can_t_be_written_costs_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("TCPLAB_PROGRESS", str(tmp_path / "nowhere" / "progress.json"))
    another_day()
    question = ask("keepalive", "power_cut")
    press(question, "Hint")
    sentence = "Your answers are not kept for tomorrow: progress.json cannot be written (No such file"
    assert sentence in said(question)
    press(question, "Hint")
    assert sentence not in said(question)
    store.cache_clear()


def test_where_the_file_is(tmp_path, monkeypatch):
    monkeypatch.delenv("TCPLAB_PROGRESS")
    (tmp_path / "for_teachers").mkdir()
    monkeypatch.chdir(tmp_path / "for_teachers")
    assert progress.place() is None
    (tmp_path / "00_start_here.ipynb").touch()
    assert progress.place() == tmp_path / "progress.json"
    monkeypatch.chdir(tmp_path)
    assert progress.place() == tmp_path / "progress.json"
    monkeypatch.setenv("TCPLAB_PROGRESS", "off")
    assert progress.place() is None


def test_off_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TCPLAB_PROGRESS", "off")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "00_start_here.ipynb").touch()
    another_day()
    answered()
    explore(Keepalive).set(idle_s=60)
    assert not ask("keepalive", "power_cut").committed and explore(Keepalive).values["idle_s"] == 7200
    assert [path.name for path in tmp_path.iterdir()] == ["00_start_here.ipynb"]
    store.cache_clear()


@pytest.mark.parametrize(
    ("answer", "kept"),
    [(float("inf"), "never"), (None, None), (True, "True"), ([1], "[1]"), (7, 7), ("x", "x")],
)
def test_any_answer_can_be_kept(file, answer, kept):
    store().add("keepalive", "power_cut", "check", answer, "wrong")
    assert read_progress(file).lesson("keepalive").questions["power_cut"][0].answer == kept


def test_nothing_but_answers_settings_and_times_is_written(file):
    answered()
    explore(Keepalive).set(idle_s=60)
    content = json.loads(file.read_text())
    assert content.keys() == {"tcplab", "learner", "lessons"} and content["learner"] == ""
    (lesson,) = content["lessons"].values()
    (events,) = lesson["questions"].values()
    assert {key for event in events for key in event} == {"at", "did", "answer", "outcome"}
    assert {key for each in lesson["explorers"].values() for key in each} == {"at", "values", "kept"}


def test_a_clock_that_goes_back_does_not_change_the_order(file):
    file.write_text(
        CourseProgress({"keepalive": LessonProgress("2999-01-01T00:00:00.000000+00:00")}).to_json()
    )
    another_day()
    store().add("keepalive", "power_cut", "check", "1", "wrong")
    store().add("keepalive", "power_cut", "hint")
    assert [event.did for event in read_progress(file).lesson("keepalive").questions["power_cut"]] == [
        "check", "hint",
    ]  # fmt: skip


def test_the_course_map_shows_what_was_done_and_no_column_without(file):
    before = lesson_map()
    assert "answered" not in before.html + before.plain
    answered()
    ask("keepalive", "second_probe").hint()
    progress.Store(file).add("fin_or_rst", "unread", "check", "b", "right")  # another kernel
    shown = lesson_map()
    assert shown.html.count("<th") == before.html.count("<th") + 1
    assert shown.html.count("1 of 5") == 2 and "1 of 5 answered" in shown.plain
    assert shown.html.count("width: 20%") == 2  # as bars
    start_again()
    assert lesson_map().html.count("1 of 5") == 1


def test_what_counts_as_right_at_first(file):
    for question, outcomes in {
        "power_cut": ["right"],
        "idle_in_transaction": ["wrong", "right"],
        "second_probe": ["solution", "right"],
        "who_first": ["hint", "right"],
        "long_report": ["hint"],
    }.items():
        for outcome in outcomes:
            did = "check" if outcome in ("right", "wrong") else outcome
            store().add("keepalive", question, did, *(("1", outcome) if did == "check" else ()))
    store().add("quiz_before", "1", "check", "b", "right")
    keepalive, before = done(store().read()).values()
    assert (keepalive.answered, keepalive.of, keepalive.right_at_first, keepalive.hints) == (4, 5, 2, 2)
    assert (before.lesson, before.answered, before.of, before.right_at_first) == ("quiz_before", 1, 15, 1)


def test_what_is_read_late_comes_back_late(file):
    """In a browser the storage can be read only when a cell has ended, which may have asked."""
    answered()
    explore(Keepalive).set(idle_s=60)
    sheet = quiz("before")
    sheet.answer("b---------")
    sheet.hand_in()
    written = file.read_text()
    start_again()
    file.unlink()
    another_day()
    question, waiting = ask("keepalive", "power_cut"), quiz("before")
    gate, explorer = after(question, lambda: "open"), explore(Keepalive)
    shown = [each.widget() for each in (question, gate, waiting)]
    assert question.answer is None and said(question) == ""
    file.write_text(written)
    store().read()
    for _ in range(2):  # twice is once
        for bring_back in progress.on_load:
            bring_back()
    assert "Right" in said(question) and question._hints_given == 1
    assert shown[0].children[1].value == "2 h 11 min 15 s" and "open" in shown[1].children[0].value
    assert "of 15" in shown[2].children[-2].value and waiting.answered == 1
    assert explorer.values["idle_s"] == 60


def test_handing_in_is_a_link_to_the_file_s_content(file):
    answered()
    link = re.search(r'download="progress.json" href="data:application/json;base64,([^"]+)"', hand_in().html)
    assert b64decode(link[1]).decode() == file.read_text() == hand_in().plain


def test_days_in_words():
    assert day("2025-11-29T12:00:00.000000+00:00") == "29 November"
    assert day(store()._now()) == "earlier today" and day("some time") == "some time"


NAMES = st.sampled_from(["a", "b"])
TIMES = st.integers(0, 6).map(lambda n: f"2026-01-0{n + 1}" if n else "")
ANSWERS = st.one_of(st.integers(), st.text(string.printable, max_size=3))
EVENTS = st.one_of(
    st.builds(QuestionEvent, TIMES, st.just("check"), ANSWERS, st.sampled_from(["right", "wrong"])),
    st.builds(QuestionEvent, TIMES, st.sampled_from(["hint", "solution"])),
)
VALUES = st.dictionaries(NAMES, st.integers(0, 2))
SETTINGS = st.builds(Settings, TIMES, VALUES, st.lists(VALUES, max_size=2).map(tuple))
LESSONS = st.builds(
    LessonProgress,
    TIMES,
    st.dictionaries(NAMES, st.lists(EVENTS, max_size=3).map(tuple)),
    st.dictionaries(NAMES, SETTINGS),
)
FILES = st.builds(CourseProgress, st.dictionaries(NAMES, LESSONS), NAMES).map(lambda each: merge(each, each))


@given(FILES, FILES, FILES)
def test_files_merge_in_any_order_to_the_same(one, two, three):
    assert merge(one, two) == merge(two, one)
    assert merge(merge(one, two), three) == merge(one, merge(two, three))
    assert merge(one, one) == one == merge(one, CourseProgress())


@given(FILES, FILES)
def test_a_merge_loses_nothing_but_what_was_cleared(one, two):
    both = merge(one, two)
    for name, lesson in [*one.lessons.items(), *two.lessons.items()]:
        began = both.lesson(name).began
        assert began >= lesson.began
        for question, events in lesson.questions.items():
            assert {event for event in events if event.at > began} <= {
                *both.lesson(name).questions.get(question, ())
            }
        for key, settings in lesson.explorers.items():
            assert settings.at <= began or both.lesson(name).explorers[key].at >= settings.at


@given(FILES)
def test_a_file_reads_as_it_was_written(one):
    assert _read(one.to_json()) == one


def _read(text):
    class File:
        def read_text(self, _):
            return text

    return dataclasses.replace(read_progress(File()))


CELLS = (
    "from tcplab import Keepalive, explore\nfrom tcplab.lesson import after, ask",
    "question = ask('keepalive', 'power_cut')\nquestion",
    "waiting = after(question, lambda: explore(Keepalive))\nwaiting",
)
LEARNER = (
    "question.answer = '7875'\nquestion.check()",
    "waiting.thing.set(idle_s=15)\nwaiting.thing.keep()\nwaiting.thing.set(idle_s=60)",
)


def kernel(folder, *cells):
    """Run the cells in a kernel of their own, as JupyterLab does, and return the last one's text."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return "".join(output.get("text", "") for output in notebook.cells[-1].outputs)


def test_a_real_kernel_that_is_started_again_brings_all_of_it_back(tmp_path, monkeypatch):
    monkeypatch.delenv("TCPLAB_PROGRESS")
    (tmp_path / "00_start_here.ipynb").touch()
    look = "print(question.answer, waiting.thing.values['idle_s'], len(waiting.thing.kept))"
    kernel(tmp_path, *CELLS, *LEARNER)
    assert kernel(tmp_path, *CELLS, look) == "7875 60.0 1\n"
    monkeypatch.setenv("TCPLAB_PROGRESS", "off")
    assert kernel(tmp_path, *CELLS, "print(question.answer, waiting.thing)") == "None None\n"
