"""What is fetched for the site: kept, compared with its hash, and asked for in one sentence."""

import os
import sys

import pytest
from jupyterlite_pyodide_kernel.constants import PYODIDE_PYTHON_VERSION, PYODIDE_VERSION

from tcplab.site import SiteError
from tcplab.site import build as ingredients


def test_the_pyodide_is_the_one_that_the_kernel_expects():
    assert ingredients.PYODIDE == PYODIDE_VERSION
    assert ingredients.PYTHON == PYODIDE_PYTHON_VERSION


def test_a_package_with_another_hash_is_refused(tmp_path):
    package = tmp_path / "pyodide.tgz"
    package.write_bytes(b"something else")
    with pytest.raises(SiteError, match=r"^pyodide\.tgz is not npm's package pyodide .* npm pack pyodide@"):
        ingredients.pyodide(tmp_path / "store", package)


def test_a_package_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SiteError, match=r"^nothing\.tgz can't be read: No such file"):
        ingredients.pyodide(tmp_path / "store", tmp_path / "nothing.tgz")


def test_without_npm_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SiteError, match=r"needs npm once.*--pyodide"):
        ingredients.pyodide(tmp_path / "store")


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands for npm")
def test_what_npm_says_is_passed_on(tmp_path, monkeypatch):
    npm = tmp_path / "npm"
    npm.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('npm error: no route to the registry')\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SiteError, match=r"^Pyodide \S+ can't be fetched: npm error: no route"):
        ingredients.pyodide(tmp_path / "store")
    assert not list((tmp_path / "store").iterdir())
