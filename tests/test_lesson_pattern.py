"""The pattern of a lesson: how long it is, what its cells are, and that its goals can be reached."""

import ast
import re

import nbformat
import pytest

from answers import NOTEBOOKS, is_rewritten
from tcplab import run
from tcplab.lesson.course import lessons
from tcplab.lesson.goals import Condition, conditions, goals
from tcplab.lesson.page import page_table, recognise
from tcplab.lesson.question import tables
from tcplab.registry import find
from tcplab.widgets.cases import cases_of, outcome_of, run_cases

REWRITTEN = [lesson for lesson in lessons().values() if lesson.ready and is_rewritten(lesson)]
#: It has recordings instead of explorers, so neither goals nor proofs.
CLINIC = "capture_clinic"
MOST_WORDS, MOST_FOLDED, MOST_CELLS, MOST_LINES = 1400, 400, 28, 3
CALLS = (
    "ask", "explore", "replay", "proof", "cases", "more", "recognise", "fix", "resets", "topology", "case",
    "clinic",
)  # fmt: skip
GOALS = [goal for lesson in lessons().values() for goal in goals(lesson.name).values()]
BY_NAME = {"argvalues": GOALS, "ids": lambda goal: f"{goal.lesson}-{goal.name}"}


def book(lesson):
    return nbformat.read(NOTEBOOKS / lesson.notebook, as_version=4)


def words(*texts):
    """How many words a reader counts: markup and addresses are none."""
    text = re.sub(r"\]\([^)]*\)", "]", " ".join(texts))
    return len(re.findall(r"[^\s|#*`>]*\w[^\s|`]*", text))


def visible_words(lesson):
    """Everything a learner sees without opening anything: text, questions with their why, goals, tables."""
    prose = [cell.source for cell in book(lesson).cells if cell.cell_type == "markdown"]
    asked = [
        part
        for question in tables(lesson.name).values()
        for part in (
            question["text"],
            question["because"],
            *(o["label"] for o in question.get("options", ())),
        )
    ]
    page = page_table(lesson.name)
    fixes = [row[part] for row in page.get("fix", ()) for part in ("where", "line", "who", "when")]
    wanted = [goal.text for goal in goals(lesson.name).values()]
    cases = [
        part
        for case in page.get("cases", {}).values()
        for part in (
            case["title"],
            case["says"],
            case["taken"],
            *(each.get("note", "") for each in case["packets"]),
        )
    ]
    return words(
        *prose,
        *asked,
        *wanted,
        *cases,
        recognise(lesson.name).plain,
        *fixes,
        *page.get("fix_more", {}).values(),
    )


def folded_words(lesson):
    """What stands in the folds of proofs, but for what is computed or was recorded."""
    found = []
    page = page_table(lesson.name)
    for proof in [*page.get("proofs", {}).values(), *page.get("cases", {}).values()]:
        found += [
            *proof.get("notes", ()),
            *(text for each in proof.get("articles", ()) for text in each.values()),
        ]
    return words(*found)


@pytest.mark.parametrize("lesson", REWRITTEN, ids=str)
def test_a_lesson_is_short(lesson):
    assert visible_words(lesson) <= MOST_WORDS
    assert folded_words(lesson) <= MOST_FOLDED
    assert len(book(lesson).cells) <= MOST_CELLS
    sections = re.findall(r"^## \d+ · ", "\n".join(c.source for c in book(lesson).cells), re.MULTILINE)
    assert 3 <= len(sections) <= 4


@pytest.mark.parametrize("lesson", REWRITTEN, ids=str)
def test_a_cell_is_one_call(lesson):
    first, *cells = (cell.source for cell in book(lesson).cells if cell.cell_type == "code")
    assert f'here = open_lesson("{lesson.number}")' in first
    for source in cells:
        (statement,) = ast.parse(source).body
        assert isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call), source
        assert ast.unparse(statement.value.func).removeprefix("here.") in CALLS, source
        assert len(source.splitlines()) <= MOST_LINES and "lambda" not in source, source


@pytest.mark.parametrize("lesson", REWRITTEN, ids=str)
def test_a_lesson_predicts_turns_proves_recognises_and_fixes(lesson):
    source = "\n".join(cell.source for cell in book(lesson).cells)
    for part in (
        "**You can then**",
        "here.ask(",
        "here.clinic(" if lesson.name == CLINIC else "here.proof(",
        "## Recognise it",
        "here.recognise()",
        "## Fix it",
    ):
        assert part in source, part
    for part in ("here.fix()", "## Take away", "**Tomorrow at work:**", "**Next:**"):
        assert part in source, part
    assert 4 <= len(page_table(lesson.name)["recognise"]) <= 7
    assert 2 <= len(page_table(lesson.name)["fix"]) <= 5
    used = re.findall(r'"(\w+)"', " ".join(re.findall(r"goals=\[([^]]*)\]", source)))
    assert sorted(used) == sorted(goals(lesson.name)) and len(used) >= (0 if lesson.name == CLINIC else 2)
    shown = {
        name
        for call in re.findall(r"here\.proof\(([^)]*)\)", source)
        for name in re.findall(r'"(\w+)"', call)
    }
    assert set(page_table(lesson.name).get("proofs", {})) <= shown


# -- goals ------------------------------------------------------------------------------------------------


def played(goal, values):
    """Parameters and results of a run with these values, everything held being so."""
    return ran(goal, {**start_of(goal), **goal.hold, **values})


def ran(goal, values):
    """Parameters and results of a run of the goal's experiment, or of all its cases."""
    experiment = find(goal.experiment).from_values(values)
    if cases := arguments(goal).get("rows"):
        sides = cases_of(cases, arguments(goal)["columns"])
        return experiment.values(), outcome_of(run_cases(type(experiment), sides, values))
    return experiment.values(), run(experiment).outcome


def start_of(goal):
    """What the explorer of the goal's cell begins with."""
    others = ("goals", "after", "opened", "beside", "rows", "columns")
    return {name: value for name, value in arguments(goal).items() if name not in others}


def arguments(goal):
    """The named arguments of the goal's cell."""
    lesson = next(each for each in lessons().values() if each.name == goal.lesson)
    for cell in book(lesson).cells:
        if cell.cell_type == "code" and f'"{goal.name}"' in cell.source:
            (call,) = ast.parse(cell.source).body
            return {each.arg: ast.literal_eval(each.value) for each in call.value.keywords}
    raise AssertionError(f"no cell has the goal {goal.name}")


@pytest.mark.parametrize("goal", **BY_NAME)
def test_a_goal_is_reached_by_what_reaches_it(goal):
    assert goal.reaches
    for values in goal.reaches:
        assert goal.is_reached(*played(goal, values)), values


@pytest.mark.parametrize("goal", **BY_NAME)
def test_a_wrong_setting_misses_and_is_told_why(goal):
    assert goal.misses
    for miss in goal.misses:
        values, outcome = played(goal, miss.values)
        assert not goal.is_reached(values, outcome), miss.values
        assert goal.about(values, outcome) == miss.says, (miss.values, outcome)


@pytest.mark.parametrize("goal", **BY_NAME)
def test_a_goal_is_not_reached_at_the_start_nor_without_what_it_holds(goal):
    values, outcome = played(goal, {})
    assert not goal.is_reached(*ran(goal, start_of(goal)))
    assert not set(goal.hold) & {name for each in goal.reaches for name in each}
    other = {**values, **{name: object() for name in goal.hold}}
    assert not goal.hold or not goal.is_reached(other, outcome)


@pytest.mark.parametrize("goal", **BY_NAME)
def test_no_goal_is_near_a_tie(goal):
    """A little more latency changes nothing."""
    for values in [*goal.reaches, *(miss.values for miss in goal.misses)]:
        given = {**start_of(goal), **goal.hold, **values}
        if "latency_ms" not in find(goal.experiment).knobs() or "latency_ms" in given:
            continue
        near, far = (played(goal, {**values, "latency_ms": ms}) for ms in (1, 3))
        assert goal.is_reached(*near) == goal.is_reached(*far), values


@pytest.mark.parametrize(
    ("wanted", "value", "holds"),
    [
        (True, True, True), ("none", None, True), ("none", "EPIPE", False), ("some", [8.0], True),
        ("some", [], False), ("<= 300", 300, True), ("<= 300", 300.1, False), ("<= 300", None, False),
        ("!= drop", "reject", True), ("!= drop", "drop", False), ("drop", "drop", True), (">= 7", 8, True),
        ("in kill, close", "close", True), ("in kill, close", "drop", False),
    ],
)  # fmt: skip
def test_a_condition(wanted, value, holds):
    assert Condition("x", wanted).holds({"x": value}) is holds


def test_conditions_look_into_lists():
    times = {"probe_times_s": [10, 35.0, 60.0]}
    assert all(each.holds(times) for each in conditions({"largest gap of probe_times_s": "<= 25"}))
    assert not Condition("count of probe_times_s", ">= 4").holds(times)
    assert Condition("first of probe_times_s", 10).holds(times)
    errors = {"client_errors": [None, "ECONNRESET", None]}
    assert Condition("errors in client_errors", 1).holds(errors)
    assert not Condition("errors in client_errors", ">= 2").holds(errors)
