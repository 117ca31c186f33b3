"""The claims of three articles: each has its place in a lesson, and course_claims.toml says where."""

import ast
import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import nbformat
import pytest

from tcplab.lesson.course import lessons
from tcplab.lesson.page import page_table, proof_texts
from tcplab.lesson.question import tables
from tcplab.registry import find

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parent / "notebooks"
CLAIMS = tomllib.loads((HERE / "course_claims.toml").read_text("utf-8"))
#: How many claims each article makes.
ARTICLES = {"A": 18, "B": 77, "C": 32}
#: Claims that words alone may cover: a product or a kernel that is not run here, or nothing on the wire.
MAY_BE_TEXT = {"B22", "C4", "C22", "C26"}
#: What a claim may name, and what a part of a lesson has.
KINDS = ("experiment", "recording", "question", "goal")
MOST_TEXT = 60
_HEADING = re.compile(r"^## (?:(\d+) ·|(Recognise) it|(Fix) it)", re.MULTILINE)


@dataclass
class Part:
    """What a learner finds in a section of a lesson."""

    texts: list[str] = field(default_factory=list)
    names: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def says(self, text):
        return plain(text) in plain("\n".join(self.texts))


def plain(text):
    """Its words in one line."""
    return " ".join(text.split())


def strings(value):
    """All texts in a table."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in strings(each)]
    return [value] if isinstance(value, str) else []


def several(value):
    return [value] if isinstance(value, str) else list(value)


@cache
def parts(lesson):
    """The parts of a lesson: by number, `recognise`, `fix`, `fold`, and `start` before the first heading."""
    found, at = defaultdict(Part), "start"
    book = nbformat.read(NOTEBOOKS / lessons()[lesson].notebook, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            add_code(lesson, found, at, cell.source)
            continue
        begins = 0
        for heading in _HEADING.finditer(cell.source):
            found[at].texts.append(cell.source[begins : heading.start()])
            number, *names = heading.groups()
            at, begins = int(number) if number else "".join(filter(None, names)).lower(), heading.start()
        found[at].texts.append(cell.source[begins:])
    return found


def add_code(lesson, found, at, source):
    """What a cell's call shows: `here.ask("name")`, `here.explore(Experiment, goals=[…])` …"""
    part = found[at]
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func).removeprefix("here.")
        given = [each.value for each in call.args if isinstance(each, ast.Constant)]
        if name == "ask":
            part.names["question"].update(given)
            part.texts += strings([tables(lesson)[each] for each in given])
        elif name in ("explore", "cases"):
            part.names["experiment"].add(ast.unparse(call.args[0]))
            goals = next((ast.literal_eval(each.value) for each in call.keywords if each.arg == "goals"), [])
            part.names["goal"].update(goals)
            part.texts += strings([page_table(lesson)["goals"][each] for each in goals])
        elif name in ("replay", "resets", "proof", "case", "clinic"):
            add_recordings(lesson, [part, found["fold"]] if name == "proof" else [part], given)
        elif name in ("recognise", "fix"):
            rows = page_table(lesson).get(name, []), page_table(lesson).get(f"{name}_more", {})
            found[name].texts += strings(list(rows))


def add_recordings(lesson, those, names):
    for name in names:
        texts = proof_texts(lesson, name)
        for part in those:
            part.names["recording"].update([name, *texts.get("also", ())])
            part.texts += strings([texts.get(each, []) for each in ("line", "notes", "articles")])


def named(claim, kind):
    """The names that a claim gives of a kind, as the lesson's cells have them."""
    names = several(claim.get(kind, []))
    return [find(each).__name__ for each in names] if kind == "experiment" else names


def complaints(claim):
    """What is wrong with a claim's place, a sentence each; empty where it has one."""
    found, wrong = parts(claim["lesson"]), []
    if claim["section"] not in found:
        return [f"there is no section {claim['section']}"]
    section = found[claim["section"]]
    here = "text" in claim
    for kind in KINDS:
        for name in named(claim, kind):
            if not any(name in part.names[kind] for part in found.values()):
                wrong.append(f"the lesson has no {kind} {name}")
            here = here or name in section.names[kind]
    if not here:
        wrong.append("its section has none of this")
    if "text" in claim and not any(part.says(claim["text"]) for part in found.values()):
        wrong.append("the lesson does not say this")
    elif "text" in claim and not section.says(claim["text"]):
        wrong.append("another section says this")
    if claim.get("wrong") and not (claim.get("question") or claim.get("goal")):
        wrong.append("people get it wrong, and nothing asks")
    if len(claim.get("text", "")) > MOST_TEXT:
        wrong.append("its text is a paragraph")
    return wrong


def test_every_claim_is_there():
    assert list(CLAIMS) == [
        f"{article}{i}" for article, count in ARTICLES.items() for i in range(1, count + 1)
    ]
    assert len(CLAIMS) == 127


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_has_its_place(name):
    claim = CLAIMS[name]
    allowed = {"says", "lesson", "section", *KINDS, "text", "wrong", "only_text"}
    assert {"says", "lesson", "section"} <= set(claim) <= allowed
    assert complaints(claim) == []


def test_words_alone_are_for_what_can_be_neither_turned_nor_recorded():
    alone = {name for name, claim in CLAIMS.items() if not any(kind in claim for kind in KINDS)}
    assert alone == {name for name, claim in CLAIMS.items() if "only_text" in claim} == MAY_BE_TEXT
    assert all("text" in CLAIMS[name] and CLAIMS[name]["only_text"].endswith(".") for name in alone)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"section": 9}, "there is no section 9"),
        ({"question": "who_reset"}, "the lesson has no question who_reset"),
        ({"recording": "redis_kill9"}, "the lesson has no recording redis_kill9"),
        ({"goal": ["exact", "refused"]}, "the lesson has no goal refused"),
        ({"experiment": "keepalive"}, "the lesson has no experiment Keepalive"),
        ({"section": 3}, "its section has none of this"),
        ({"text": "A RST always closes."}, "the lesson does not say this"),
        ({"section": 3, "text": "That was the rule up to Linux 3.5"}, "another section says this"),
        ({"question": [], "goal": []}, "people get it wrong, and nothing asks"),
        ({"text": "a word " * 12}, "its text is a paragraph"),
    ],
)
def test_a_planted_claim_is_seen(changed, says):
    assert complaints(CLAIMS["A2"]) == []
    assert says in complaints({**CLAIMS["A2"], **changed})
