"""The packages of the site: complete, pure, the same on every day, and in Pyodide's list."""

import hashlib
import json
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tcplab.site import SiteError
from tcplab.site import build as wheels


def test_what_the_lessons_import_is_there_and_nothing_that_no_browser_has():
    names = wheels.needed().keys()
    assert {"tcplab", "ipywidgets", "anywidget", "plotly", "simpy", "ipython", "comm"} <= names
    assert not names & {"scapy", "numpy", "pandas", "psutil", "pexpect", "jupyterlab"}


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(SiteError, match=r"^no-such-package is not installed"):
        wheels.needed(["no-such-package"])


def test_a_wheel_holds_the_source_and_no_compiled_part(tmp_path):
    wheel = wheels.wheel_of(tmp_path, distribution("psygnal"))  # its installed files are compiled ones, too
    names = zipfile.ZipFile(tmp_path / wheel.file).namelist()
    assert "psygnal/_signal.py" in names and any(name.endswith(".dist-info/METADATA") for name in names)
    assert not [name for name in names if name.endswith(wheels.COMPILED)]
    assert wheel.modules == ("psygnal",)
    assert wheel.sha256 == hashlib.sha256((tmp_path / wheel.file).read_bytes()).hexdigest()


def test_plotlys_javascript_comes_without_its_python(tmp_path):
    script, python = wheels.plotly_in_two(tmp_path)
    names = [set(zipfile.ZipFile(tmp_path / wheel.file).namelist()) for wheel in (script, python)]
    assert "plotly/package_data/plotly.min.js" in names[0] and script.modules == script.needs == ()
    assert not any(name.endswith(".py") for name in names[0])
    assert "plotly/graph_objects/__init__.py" in names[1] and "plotly" in python.modules
    assert not names[1] & {"plotly/package_data/plotly.min.js", "plotly/package_data/widgetbundle.js"}
    assert "narwhals" in python.needs and python.name in wheels.LATER


def test_an_empty_package_is_known_and_has_no_module(tmp_path):
    wheel = wheels.wheel_of(tmp_path, distribution("jedi"))
    assert wheel.modules == () and wheel.needs == ()


def test_the_same_files_make_the_same_wheel(tmp_path):
    files = [("a/b.py", b"B = 1\n"), ("a/__init__.py", b"")]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = wheels.write_wheel(tmp_path / "one", "a-b", "1", files)
    two = wheels.write_wheel(tmp_path / "two", "a-b", "1", reversed(files))
    assert one == two and one.file == "a_b-1-py3-none-any.whl"
    other = wheels.write_wheel(tmp_path / "two", "a-b", "1", [*files, ("a/c.py", b"")])
    assert other.sha256 != one.sha256


def test_pyodides_list_names_our_wheels_only(tmp_path):
    lock = tmp_path / "pyodide-lock.json"
    lock.write_text(json.dumps({"info": {"python": "3.14.2"}, "packages": {"numpy": {}}}))
    wheel = wheels.write_wheel(tmp_path, "a-b", "1", [("a/__init__.py", b"")], needs=["comm"])
    wheels.write_list(lock, [wheel])
    told = json.loads(lock.read_text())
    assert told["info"] == {"python": "3.14.2"} and list(told["packages"]) == ["a-b"]
    entry = told["packages"]["a-b"]
    assert (entry["file_name"], entry["sha256"], entry["depends"]) == (wheel.file, wheel.sha256, ["comm"])


def test_the_files_that_examples_of_topologies_name_are_in_the_site():
    root = Path(wheels.__file__).resolve().parents[2]
    named = [path for path in (root / "tcplab/advice/examples").rglob("*") if path.is_file()]
    assert any(path.parent.name != "examples" for path in named)
    assert {path.relative_to(root).as_posix() for path in named} <= {name for name, _ in wheels._tcplab(root)}
