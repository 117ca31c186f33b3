"""What the doctor says: on this machine, and on machines that are ill in one way or another."""

import errno
import subprocess
import sys
import time
from importlib import metadata

import pytest

from conftest import need
from tcplab import doctor
from tcplab.bench import sandbox


@pytest.fixture(autouse=True)
def fresh():
    """The Linux bench is tried once in a process: here once a test."""
    sandbox.why_not.cache_clear()
    yield
    if hasattr(sandbox.why_not, "cache_clear"):
        sandbox.why_not.cache_clear()


def rows():
    return {row.what: row for row in doctor.report()}


def test_everything_is_looked_at_in_time_and_says_something():
    began = time.monotonic()
    found = rows()
    assert time.monotonic() - began < 1.5 * 2  # twice: the machine that tests run on may be busy
    expected = [
        "Python",
        "JupyterLab",
        "plotly",
        "ipywidgets",
        "scapy",
        "Linux",
        "Linux bench",
        "other kernels",
    ]
    assert list(found) == [*expected, *doctor.PROGRAMS]
    for row in found.values():
        assert row.says and "\n" not in row.says and isinstance(row.works, bool)


def test_rows_cannot_be_changed():
    with pytest.raises(AttributeError):
        doctor.ReportRow("x", True, "y").works = False


def test_versions_are_those_that_are_installed():
    found = rows()
    assert found["Python"].says == ".".join(map(str, sys.version_info[:3]))
    for title, name in {"JupyterLab": "jupyterlab", "plotly": "plotly", "scapy": "scapy"}.items():
        assert found[title] == doctor.ReportRow(title, True, metadata.version(name))


def test_a_program_tells_its_version():
    printed = subprocess.check_output([need("psql"), "--version"], text=True)
    row = rows()["psql"]
    assert row.works and row.says in printed


# --- Linux and its rules ---


@pytest.mark.parametrize(
    ("running", "works", "says"),
    [
        ("6.18.44-mine", True, "rules of 6.18.44 apply, for example: a SYN is repeated 4 times"),
        ("5.14.0-427.13.1.el9_4.x86_64", True, "rules of 5.14.21 apply, for example: the waits between SYNs"),
        ("6.5.0", True, "repeated 4 times"),
        ("2.6.32-754.el6", False, "older than 3.10"),
        ("strange", False, "not a Linux version"),
    ],
)
def test_which_rules_apply(monkeypatch, running, works, says):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(doctor.platform, "release", lambda: running)
    monkeypatch.setattr(doctor.platform, "version", lambda: "#1 SMP")
    row = rows()["Linux"]
    assert row.works is works and says in row.says and row.says.startswith(running)


@pytest.mark.parametrize(("platform", "system"), [("darwin", "Darwin"), ("win32", "Windows")])
def test_elsewhere_the_model_works_and_the_bench_does_not(monkeypatch, platform, system):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(doctor.platform, "system", lambda: system)
    found = rows()
    assert not found["Linux"].works and f"this is {system}" in found["Linux"].says
    assert not found["Linux bench"].works and "it needs Linux" in found["Linux bench"].says


# --- the Linux bench ---


def test_the_reason_is_the_benchs_own(monkeypatch):
    monkeypatch.setattr(sandbox, "why_not", lambda: "user namespaces are switched off.")
    works, says = doctor.linux_bench()
    assert not works and says.startswith("user namespaces are switched off. ")


@pytest.mark.linux
def test_it_says_what_a_sandbox_finds():
    works, says = doctor.linux_bench()
    assert works is (sandbox.why_not() is None), says


# --- programs that are missing, slow or broken ---


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif(sys.platform == "win32", reason="programs here are shell scripts")
@pytest.mark.parametrize(
    ("text", "works", "says"),
    [
        ("echo 'thing 4.2.1 (build 7)'", True, "4.2.1"),
        ("echo hello", True, "found."),
        ("echo 9.9.9; exit 3", False, "found, but it does not run."),
        ("sleep 20 & sleep 20", True, "found; it was too slow to print its version."),
    ],
)
def test_programs(monkeypatch, tmp_path, text, works, says):
    path = script(tmp_path / "nft", text)
    monkeypatch.setattr(doctor, "PATIENCE", 0.3)
    monkeypatch.setattr(doctor, "_find", lambda name: path)
    began = time.monotonic()
    assert doctor._programs(["nft"]) == {"nft": (works, says)}
    assert time.monotonic() - began < 5


def test_a_program_that_is_missing(monkeypatch):
    monkeypatch.setattr(doctor, "_find", lambda name: None)
    works, says = doctor._programs(["tshark"])["tshark"]
    assert not works and says.startswith("not found: only needed to look into captures")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file that can't be executed")
def test_a_program_that_cannot_be_started(monkeypatch, tmp_path):
    broken = tmp_path / "nft"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    monkeypatch.setattr(doctor, "_find", lambda name: str(broken))
    works, says = doctor._programs(["nft"])["nft"]
    assert not works and "can't be started" in says


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "version", nothing)
    row = rows()["plotly"]
    assert not row.works and "python3 lab.py setup" in row.says


def test_the_doctor_never_falls_ill(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no such thing here")

    for name in ("_package", "_linux", "linux_bench", "_other_kernels", "_programs"):
        monkeypatch.setattr(doctor, name, broken)
    found = rows()
    assert all("no such thing here" in row.says for what, row in found.items() if what != "Python")


def test_without_subprocesses_as_in_a_browser(monkeypatch):
    def refused(*_, **__):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(doctor.subprocess, "Popen", refused)
    assert len(rows()) == 8 + len(doctor.PROGRAMS)


def test_a_notebook_shows_the_same_as_a_table():
    shown = doctor.WhatWorks()
    for row in doctor.report():
        assert f"{row.what}  {'yes' if row.works else 'no'}" in repr(shown)
    assert "<table" in shown._repr_html_()
