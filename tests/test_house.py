"""The rules of the house: who may import whom, sizes and names, what stays light, what ruff and mypy say.

The rules read source text only, so they themselves are tested on made-up sources.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOUSE = ROOT / "tcplab"
LONGEST = 750  # lines of a module
MOST_FILES = 206
SMALL, MOST_SMALL = 120, 8  # lines; files below that which only one other imports
FACES = {"tcplab", "tcplab.__main__", "tcplab.cli"}

# Every room, and the rooms below it that it may import. Rooms beside each other don't know each other.
BENCH = {"core", "model", "route", "follow", "bench"}
STORIES = BENCH | {"experiments", "studies", "registry"}
PICTURES = STORIES | {"capture", "console", "what_if", "advice", "lesson", "pictures"}
EVERYTHING = PICTURES | {"widgets", "doctor", "agree", "claims", "sweep", "learn", "site", "cli", "tcplab"}
MAY_IMPORT = {
    "core": set(),
    "model": {"core"},
    "route": {"core"},
    "follow": {"core", "model"},
    "bench": BENCH,
    "experiments": BENCH,
    "studies": BENCH | {"experiments"},
    "registry": STORIES,
    "capture": BENCH,
    "console": {"core"},
    "what_if": BENCH | {"experiments", "capture"},
    "advice": STORIES,
    "lesson": {"core", "capture"},  # what belongs to a recording
    "pictures": PICTURES,
    "widgets": PICTURES | {"claims"},
    "doctor": {"core", "bench"},
    "agree": STORIES,
    "claims": STORIES | {"capture"},
    "sweep": STORIES,
    "learn": {"capture", "tcplab"},  # the course, copied
    "views": set(),  # of a Jupyter server
    "site": {"core", "capture"},  # the lessons as static files
    "cli": EVERYTHING,
    "tcplab": EVERYTHING,  # the package's face, __init__.py
    "__main__": {"cli"},
}

# What a room never imports, not even inside a function.
NEVER = {
    "model": {"simpy", "asyncio"},
    "route": {"simpy", "asyncio"},
    "experiments": {"asyncio", "socket", "selectors", "threading", "subprocess", "simpy", "time"},
    "pictures": {"ipywidgets", "anywidget"},
}

# These also run in a browser's Python: nothing compiled and nothing of a machine's at import.
FACES_IN_A_BROWSER = {"tcplab", "tcplab.bench", "tcplab.claims"}  # these, not what is inside them
ROOMS_IN_A_BROWSER = (PICTURES | {"widgets"}) - {"bench", "capture"}
MODULES_IN_A_BROWSER = FACES_IN_A_BROWSER | {
    "tcplab.capture",
    "tcplab.capture.both_ends",
    "tcplab.capture.capture",
    "tcplab.capture.causes",
    "tcplab.capture.breaks",
    "tcplab.capture.evidence",
    "tcplab.capture.incidents",
    "tcplab.capture.messages",
    "tcplab.capture.pcap",
    "tcplab.capture.plain",
    "tcplab.capture.recordings",
    "tcplab.capture.shared",
    *(
        f"tcplab.capture.findings{name}"
        for name in ("", ".coverage", ".lifecycle", ".report", ".screen", ".silence", ".story")
    ),
    "tcplab.bench.script",
    "tcplab.bench.model",
    "tcplab.bench.agreement",
    "tcplab.bench.path",
}
COMPILED = {"numpy", "pandas", "scapy"}
NOT_IN_A_BROWSER = COMPILED | {"threading", "multiprocessing", "subprocess", "socket", "fcntl", "resource"}


def module_name(path: str) -> str:
    """`tcplab/bench/script.py` -> `tcplab.bench.script`; a package's __init__ has the package's name."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def room(module: str) -> str:
    """The room of a module of ours: `tcplab.bench.script` -> `bench`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def in_a_browser(module: str) -> bool:
    """Whether this module of ours is one of those that also run in a browser."""
    return module in MODULES_IN_A_BROWSER or room(module) in ROOMS_IN_A_BROWSER


def only_for_types(node: ast.AST) -> bool:
    """Whether this is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(path: str, source: str, known: set[str]) -> Iterator[tuple[int, str, bool]]:
    """Each import as (line, module, whether it happens when the module itself is imported).

    `known` are the modules of the house: `from tcplab import segment` is a module, `from tcplab import run`
    is something of the face.
    """
    package = module_name(path).split(".")
    if not path.endswith("/__init__.py"):
        package.pop()

    def modules(node: ast.AST) -> Iterator[str]:
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                above = package[: len(package) - node.level + 1] if node.level else []
                origin = ".".join([*above, *filter(None, [node.module])])
                inner = [f"{origin}.{alias.name}" for alias in node.names]
                yield from sorted({name if name in known else origin for name in inner})
            case ast.Call(args=[ast.Constant(value=str(name)), *_]):
                if ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__"):
                    yield name

    def walk(node: ast.AST, at_import: bool) -> Iterator[tuple[int, str, bool]]:
        if only_for_types(node):
            for other in node.orelse:
                yield from walk(other, at_import)
            return
        for name in modules(node):
            yield node.lineno, name, at_import
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, at_import and not later)

    yield from walk(ast.parse(source), True)


def broken_rules(path: str, source: str, known: set[str]) -> list[str]:
    """What is wrong with one module of the house; `path` is relative to the repository."""
    me = module_name(path)
    mine = room(me)
    if mine not in MAY_IMPORT:
        return [f"{path}: the house has no room {mine!r}; MAY_IMPORT says what a room may import"]
    said = []
    for line, name, at_import in imports(path, source, known):
        where, top = f"{path}:{line}", name.split(".")[0]
        if top == "tcplab":
            other = room(name)
            if other != mine and other not in MAY_IMPORT[mine]:
                said.append(f"{where}: {mine} may not import {other}")
            elif at_import and in_a_browser(me) and not in_a_browser(name):
                said.append(f"{where}: runs in a browser, but imports {name}, which does not")
        elif top in NEVER.get(mine, ()):
            said.append(f"{where}: {mine} never imports {top}")
        elif at_import and in_a_browser(me) and top in NOT_IN_A_BROWSER:
            said.append(f"{where}: runs in a browser, but imports {top}; import it where it is used")
    if (lines := source.count("\n")) > LONGEST:
        said.append(f"{path}: {lines} lines, more than {LONGEST}; is there a better cut?")
    return said


def house() -> dict[str, str]:
    """The house's modules: path in the repository and source text."""
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in HOUSE.rglob("*.py")}


def test_the_house_stands_as_planned():
    modules = house()
    known = {module_name(path) for path in modules} | {f"tcplab.{name}" for name in MAY_IMPORT}
    said = [rule for path, source in sorted(modules.items()) for rule in broken_rules(path, source, known)]
    assert modules
    assert not said, "\n".join(said)


def importers(modules: dict[str, str]) -> dict[str, set[str]]:
    """Which modules each module imports: at its top, for type checkers only, or inside a function.

    The package itself is left out: its face imports everything when it is used, and nothing before.
    """
    known = {module_name(path) for path in modules}
    wanted: dict[str, set[str]] = {}
    for path, source in modules.items():
        # For this purpose `if TYPE_CHECKING:` is an import like any other.
        plain = re.sub(r"\bif (typing\.)?TYPE_CHECKING:", "if True:", source)
        names = {name for _, name, _ in imports(path, plain, known)}
        wanted[module_name(path)] = (names & known) - {"tcplab", module_name(path)}
    return wanted


def circle(modules: dict[str, str]) -> list[str]:
    """Modules that import each other in a circle, the first one again at the end; empty: there is none."""
    try:
        TopologicalSorter(importers(modules)).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def small_with_one_importer(modules: dict[str, str]) -> list[str]:
    """Modules that could be in the only module that imports them; a package's own __init__ does not count."""
    wanted = importers(modules)
    single = []
    for path, source in modules.items():
        name = module_name(path)
        if source.count("\n") < SMALL and not path.endswith("__init__.py") and name not in FACES:
            by = {one for one in wanted if name in wanted[one]} - FACES - {name.rpartition(".")[0]}
            single += [name] * (len(by) == 1)
    return sorted(single)


def shared_names(modules: dict[str, str]) -> list[str]:
    """Public classes of which the house has two."""
    names = Counter(
        node.name
        for source in modules.values()
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    return sorted(name for name, count in names.items() if count > 1)


def test_nothing_is_imported_in_a_circle():
    assert circle(house()) == []


def test_the_house_is_small_enough_to_be_read():
    modules = house()
    assert len(modules) <= MOST_FILES
    assert len(small_with_one_importer(modules)) <= MOST_SMALL


def test_no_two_classes_share_a_name():
    assert shared_names(house()) == []


def test_a_name_says_what_it_holds():
    """`told` meant seven different things."""
    assert [path for path, source in house().items() if re.search(r"\b[Tt]old\b", source)] == []


@pytest.mark.parametrize(
    "source",
    [
        "from tcplab.b import x",
        "import tcplab.b",
        "from . import b",
        "def f():\n    from .b import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tcplab.b import x",
        "import importlib\nimportlib.import_module('tcplab.b')",
    ],
)
def test_a_planted_circle_is_seen(source):
    others = {"tcplab/b.py": "from tcplab.c import y", "tcplab/c.py": "from tcplab.a import z"}
    assert set(circle({"tcplab/a.py": source, **others})) == {"tcplab.a", "tcplab.b", "tcplab.c"}
    assert circle({"tcplab/a.py": "import tcplab.d", "tcplab/d.py": "", **others}) == []


def test_planted_small_files_and_names_are_seen():
    modules = {
        "tcplab/a/__init__.py": "from tcplab.a.small import S",
        "tcplab/a/small.py": "class S: ...",
        "tcplab/a/long.py": "class S: ...\nclass _P: ...\n" + "\n" * SMALL,
        "tcplab/b.py": "from tcplab.a.small import S\nimport tcplab.a.long\nclass _P: ...",
    }
    assert small_with_one_importer(modules) == ["tcplab.a.small"]
    assert small_with_one_importer(modules | {"tcplab/c.py": "import tcplab.a.small" + "\n" * SMALL}) == []
    assert shared_names(modules) == ["S"]


# Modules that the made-up sources below import.
MADE_UP = {f"tcplab.{name}" for name in MAY_IMPORT} | {
    "tcplab.bench.linux", "tcplab.bench.script", "tcplab.core.segment", "tcplab.core.trace",
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "source", "says"),
    [
        ("tcplab/core/trace.py", "from tcplab.model.stack import Stack", "core may not import model"),
        ("tcplab/core/trace.py", "from ..model.stack import Stack", "core may not import model"),
        ("tcplab/model/stack.py", "import tcplab.bench.model", "model may not import bench"),
        ("tcplab/model/stack.py", "from ..bench import model", "model may not import bench"),
        ("tcplab/model/stack.py", "def f():\n    import simpy", "model never imports simpy"),
        ("tcplab/route/wire.py", "from tcplab import bench", "route may not import bench"),
        ("tcplab/route/wire.py", "import simpy.events", "route never imports simpy"),
        ("tcplab/route/wire.py", "from tcplab.model import rules", "route may not import model"),
        ("tcplab/follow.py", "from tcplab.bench.script import Bench", "follow may not import bench"),
        (
            "tcplab/bench/linux.py",
            "from tcplab.experiments import keepalive",
            "bench may not import experiments",
        ),
        (
            "tcplab/bench/linux.py",
            "def f():\n    from tcplab import pictures",
            "bench may not import pictures",
        ),
        (
            "tcplab/bench/linux.py",
            "import importlib\nimportlib.import_module('tcplab.pictures')",
            "import pictures",
        ),
        ("tcplab/experiments/keepalive.py", "async def f():\n    import asyncio", "never imports asyncio"),
        ("tcplab/experiments/keepalive.py", "from socket import socket", "never imports socket"),
        ("tcplab/experiments/keepalive.py", "from tcplab import run", "experiments may not import tcplab"),
        ("tcplab/lesson/check.py", "import tcplab.pictures", "lesson may not import pictures"),
        (
            "tcplab/studies/pool.py",
            "from tcplab.capture.pcap import write_pcap",
            "studies may not import capture",
        ),
        ("tcplab/capture/read.py", "from tcplab.pictures import ladder", "capture may not import pictures"),
        (
            "tcplab/pictures/ladder.py",
            "from tcplab.widgets.base import Panel",
            "pictures may not import widgets",
        ),
        ("tcplab/pictures/ladder.py", "def f():\n    import ipywidgets", "pictures never imports ipywidgets"),
        ("tcplab/pictures/ladder.py", "import numpy as np", "imports numpy; import it where it is used"),
        (
            "tcplab/pictures/ladder.py",
            "try:\n    import numpy\nexcept ImportError:\n    pass",
            "imports numpy",
        ),
        ("tcplab/pictures/ladder.py", "class A:\n    import pandas", "imports pandas"),
        ("tcplab/core/trace.py", "import threading", "imports threading"),
        ("tcplab/__init__.py", "import tcplab.capture.table", "imports tcplab.capture.table, which does not"),
        ("tcplab/pictures/ladder.py", "from tcplab.bench.linux import LinuxBench", "which does not"),
        ("tcplab/bench/script.py", "from .linux import LinuxBench", "which does not"),
        ("tcplab/bench/script.py", "from tcplab.bench import linux", "which does not"),
        ("tcplab/bench/__init__.py", "from . import linux", "which does not"),
        ("tcplab/misc.py", "", "the house has no room 'misc'"),
        ("tcplab/core/trace.py", "\n" * (LONGEST + 1), "lines, more than"),
    ],
)
def test_a_planted_violation_is_seen(path, source, says):
    (rule,) = broken_rules(path, source, MADE_UP)
    assert rule.startswith(path) and says in rule


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "tcplab/model/stack.py",
            "from tcplab.model.rules import verdict\nfrom . import sender\nimport heapq",
        ),
        ("tcplab/model/stack.py", "from tcplab.core import segment\nfrom ..core.releases import Release"),
        ("tcplab/bench/model.py", "import simpy\nfrom tcplab.model import stack\nfrom .script import Bench"),
        ("tcplab/bench/model.py", "from tcplab.bench import script"),
        ("tcplab/experiments/keepalive.py", "from tcplab.bench import Bench"),
        ("tcplab/bench/linux.py", "import socket, threading, scapy\nfrom .sandbox import Sandbox"),
        ("tcplab/capture/read.py", "import numpy as np\nfrom tcplab.model.rules import verdict"),
        ("tcplab/pictures/ladder.py", "import plotly.graph_objects as go\ndef f():\n    import numpy"),
        ("tcplab/widgets/base.py", "import ipywidgets"),
        ("tcplab/__init__.py", "def __getattr__(name):\n    from tcplab.capture import read_capture"),
        ("tcplab/cli.py", "from tcplab import run\nimport tcplab.pictures, tcplab.capture"),
        ("tcplab/core/trace.py", "\n" * LONGEST),
    ],
)
def test_what_is_allowed_is_not_complained_about(path, source):
    assert broken_rules(path, source, MADE_UP) == []


def python(code: str) -> str:
    """What a fresh Python prints that runs `code` in the repository."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_tcplab_loads_nothing_heavy():
    heavy = {*COMPILED, "simpy", "plotly", "ipywidgets", "anywidget", "IPython", "asyncio"}
    loaded = python("import sys; import tcplab; print(*{name.split('.')[0] for name in sys.modules})").split()
    assert "tcplab" in loaded
    assert not heavy & set(loaded)


def test_the_rooms_that_run_in_a_browser_need_nothing_compiled():
    light = sorted(filter(in_a_browser, map(module_name, house())))
    assert light
    # None in sys.modules makes an import fail, as it does where the package does not exist.
    blocked = f"import sys; sys.modules.update(dict.fromkeys({sorted(COMPILED)}))"
    assert python(f"{blocked}; import {', '.join(light)}; print('imported')") == "imported"


@pytest.mark.parametrize(
    "tool",
    [["ruff", "check", "--quiet", "--output-format", "concise"], ["mypy", "--no-error-summary"]],
    ids=lambda tool: tool[0],
)
def test_tool_has_nothing_to_say(tool):
    done = subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
