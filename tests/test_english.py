"""Plain technical English: what learners read has none of the words that a manual would not use."""

import ast
import re
import tomllib
from pathlib import Path

import nbformat
import pytest

from answers import NOTEBOOKS, is_rewritten
from tcplab import run
from tcplab.experiments import EXPERIMENTS
from tcplab.lesson.course import lessons
from tcplab.studies import STUDIES

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tcplab"

#: What none of the texts may match, whatever its case, and what to write instead.
PATTERNS = {
    r"for ?ever\b": "indefinitely, no limit",
    r"\banew\b": "again",
    r"\bat last\b": "finally, or nothing",
    r"\bhung up\b": "closed",
    r"\b(no|some|any)body\b": "no program, no host; the agent itself",
    r"\bshall\b": "must, or the goal as a sentence",
    r"\b(hears?|heard) (of|about|nothing|it|after|at)\b": "gets an error, detects, receives",
    r"\bbeliev(e|es|ed|ing)\b": "accepts, caches, considers",
    r"\bon (the|its|their|his) way\b": "in flight, on the path",
    r"\b(patient|impatient|patience)\b": "a long timeout, a limit",
    r"\b(brothers?|sisters?)\b": "the settings by name",
    r"\b(goodbye|farewell)s?\b": "the end of the session, the last message",
    r"\bknock(s|ed|ing)?\b": "connection attempts",
    r"\bstands? (at|beside|behind|between)\b": "is, follows, shows",
    r"\b(its|their|two) Linux(es)?\b|\bLinuxes\b": "the kernel",
    r"\bthe truth is\b|\bnot so:": "the right value is; say what is wrong",
    r"\bone's own\b|\bof one['’]s\b": "your own",
    r"\bmakes? a mistake\b": "fails; this is a bug",
    r"\bin vain\b": "without an answer",
    r"\bkeeps? quiet\b": "is inactive, sends nothing",
}
COMPILED = {re.compile(pattern, re.IGNORECASE): better for pattern, better in PATTERNS.items()}
#: Messages as printed, search words, commands, sources: not ours to word.
NOT_OURS = {"texts", "phrases", "first", "source", "sources", "url", "checked", "command", "name", "text_of"}
#: Modules whose strings are read by programs, or are those of others: quoted messages, words to search for.
NOT_READ = {"lesson/search.py", "core/text.py"}


def bad(texts):
    """Each text that matches a pattern, with the words and what to write instead."""
    return [
        f"{place}: “{found[0]}” in “{text[:90]}” ({better})"
        for place, text in texts
        for pattern, better in COMPILED.items()
        if (found := pattern.search(text))
    ]


def strings(value, key=""):
    """Every text in a table of TOML that people read."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name not in NOT_OURS:
                yield from strings(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each, key)
    elif isinstance(value, str) and " " in value:
        yield key, value


def literals(path):
    """The texts in a module's code: no docstrings, and of f-strings only what stands in them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [each.value if isinstance(each, ast.Constant) else "…" for each in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and " " in str(node.value) and id(node) not in docs:
            yield node.lineno, str(node.value)


def tables():
    """The tables of texts: the package's, and those of the lessons in their second edition."""
    rewritten = {each.name for each in lessons().values() if each.ready and is_rewritten(each)}
    for path in sorted(PACKAGE.rglob("*.toml")):
        if path.parent.name not in ("questions", "pages") or path.stem in rewritten:
            yield path


@pytest.mark.parametrize("path", tables(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_table_of_texts_is_in_plain_english(path):
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    assert not bad(strings(table))


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_what_a_module_says_is_in_plain_english(path):
    if str(path.relative_to(PACKAGE)) not in NOT_READ:
        assert not bad(literals(path))


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("for_teachers/*.md")), ids=lambda path: path.name)
def test_a_page_for_teachers_is_in_plain_english(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert not bad(enumerate(lines, 1))


@pytest.mark.parametrize(
    "lesson", [each for each in lessons().values() if each.ready and is_rewritten(each)], ids=str
)
def test_a_rewritten_lesson_is_in_plain_english(lesson):
    cells = nbformat.read(NOTEBOOKS / lesson.notebook, as_version=4).cells
    assert not bad((n, cell.source) for n, cell in enumerate(cells) if cell.cell_type == "markdown")


@pytest.mark.parametrize("name", [*EXPERIMENTS, *STUDIES])
def test_what_an_experiment_says_is_whole_sentences_in_plain_english(name):
    kind = {**EXPERIMENTS, **STUDIES}[name]
    said = [("title", kind.title), *(("preset", preset) for preset in kind.presets)]
    said += [("help", each) for knob in kind.knobs().values() for each in (knob.label, knob.help, knob.zero)]
    for preset, values in kind.presets.items():
        trace = run(kind.from_values(values))
        sentence = kind.from_values(values).sentence(trace)
        assert re.fullmatch(r"[A-Z0-9].*[.”]", sentence) and not re.search(r" {2}|\.\.| [.,;:]", sentence)
        said.append((preset, sentence))
    assert not bad(said)
