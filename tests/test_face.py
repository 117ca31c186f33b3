"""The package's face: what `import tcplab` offers, and what it costs."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import tcplab

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {
    "numpy", "pandas", "scapy", "simpy", "plotly", "ipywidgets", "anywidget", "IPython",
    "asyncio", "inspect", "dataclasses", "subprocess", "socket",
}  # fmt: skip


def python(code):
    return subprocess.check_output([sys.executable, "-c", code], text=True).split()


def test_every_name_it_promises_is_there():
    for name in tcplab.__all__:
        value = getattr(tcplab, name)
        assert getattr(value, "__name__", name) == name


def test_every_experiment_is_among_them():
    classes = {kind.__name__ for kind in tcplab.EXPERIMENTS.values()}
    assert classes <= set(tcplab.__all__)


def test_a_type_checker_knows_each_name_and_no_other(tmp_path):
    code = tmp_path / "uses.py"
    names = "\n".join(f"reveal_type(tcplab.{name})" for name in tcplab.__all__)
    code.write_text(f"import tcplab\n{names}\ntcplab.Keepalive(idle_s='a')\ntcplab.Keepalife\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", code], cwd=ROOT, capture_output=True, text=True
    )
    revealed = [line for line in done.stdout.splitlines() if "Revealed type is" in line]
    assert len(revealed) == len(tcplab.__all__) and not [line for line in revealed if '"Any"' in line]
    errors = [line.rpartition("  [")[2] for line in done.stdout.splitlines() if ": error: " in line]
    assert errors == ["arg-type]", "attr-defined]"]


def test_names_for_completion():
    assert {*tcplab.__all__, "__version__"} <= set(dir(tcplab))
    assert dir(tcplab) == sorted(dir(tcplab))


def test_star_import():
    names = {}
    exec("from tcplab import *", names)
    assert set(tcplab.__all__) <= names.keys()


def test_version():
    assert tcplab.__version__ == metadata.version("tcplab")


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'tcplab' has no attribute 'diagnoze'"):
        _ = tcplab.diagnoze


def test_a_name_is_looked_up_once():
    first = tcplab.ParameterError
    assert vars(tcplab)["ParameterError"] is first


def test_it_imports_nothing_heavy_before_something_is_used():
    loaded = python(
        "import sys; before = set(sys.modules); import tcplab; dir(tcplab); print(*set(sys.modules) - before)"
    )
    assert not {name.partition(".")[0] for name in loaded} & HEAVY
    assert {name for name in loaded if name.startswith("tcplab")} == {"tcplab"}
    assert len(loaded) < 40, "typing and re, which most programs load anyway"


@pytest.mark.parametrize("name", ["sweep", "what_if"])
def test_a_module_never_hides_the_function_of_its_name(name):
    """In either order: the module imported before the function is asked for, and after it."""
    assert python(f"import tcplab.{name}, tcplab; print(callable(tcplab.{name}))") == ["True"]
    assert python(f"import tcplab; f = tcplab.{name}; import tcplab.{name}; print(f is tcplab.{name})") == [
        "True"
    ]


def test_running_needs_neither_scapy_nor_plotly():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['scapy', 'plotly', 'ipywidgets', 'numpy', 'pandas']));"
        "import tcplab; print(tcplab.run(tcplab.Keepalive()).outcome['error'])"
    )
    assert python(code) == ["ETIMEDOUT"]
