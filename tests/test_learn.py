"""The course in the wheel: copied into a folder, never over what the learner changed, and complete."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tcplab import learn
from tcplab.capture.recordings import COURSE

ROOT = Path(__file__).resolve().parent.parent


def test_a_copy_is_complete_and_has_nothing_of_the_developers(tmp_path):
    copied = learn.copy_course(tmp_path)
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {*copied.new, learn.RECORD}
    assert len([name for name in there if name.endswith(".ipynb")]) == len(list(COURSE.rglob("*.ipynb")))
    assert learn.FIRST in there and "data/captures/keepalive.run.json" in there
    assert not [name for name in there if name.endswith(".py")]


def test_a_second_copy_changes_nothing(tmp_path):
    learn.copy_course(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "notebooks").rglob("*")}
    again = learn.copy_course(tmp_path)
    assert (again.new, again.renewed, again.beside) == ([], [], {})
    assert str(again) == "The course is there already."
    assert times == {path: path.stat().st_mtime_ns for path in times}


@pytest.fixture
def newer(tmp_path, monkeypatch):
    """A small course, and a function that publishes a newer edition of its only notebook."""
    course = tmp_path / "course"
    (course / "notebooks").mkdir(parents=True)
    (course / "data" / "captures").mkdir(parents=True)
    (course / "data" / "README.md").write_text("of data")

    def publish(text):
        (course / learn.FIRST).write_text(text)

    publish("first edition")
    monkeypatch.setattr(learn, "COURSE", course)
    return publish


def test_what_the_learner_changed_stays_and_the_newer_edition_lies_beside_it(tmp_path, newer):
    mine = tmp_path / "mine"
    learn.copy_course(mine)
    (mine / learn.FIRST).write_text("my answers")
    again = learn.copy_course(mine)  # nothing newer: nothing beside
    assert not again.beside and not again.renewed
    newer("second edition")
    copied = learn.copy_course(mine)
    (theirs,) = copied.beside.values()
    assert (mine / learn.FIRST).read_text() == "my answers"
    assert (mine / theirs).read_text() == "second edition"
    assert f"You changed {learn.FIRST}: its newer edition is {theirs}." in str(copied)
    assert not learn.copy_course(mine).beside


def test_what_the_learner_left_alone_is_renewed(tmp_path, newer):
    mine = tmp_path / "mine"
    learn.copy_course(mine)
    newer("second edition")
    assert learn.copy_course(mine).renewed == [learn.FIRST]
    assert (mine / learn.FIRST).read_text() == "second edition"


def test_a_file_that_was_there_before_any_copy_stays(tmp_path, newer):
    mine = tmp_path / "mine" / learn.FIRST
    mine.parent.mkdir(parents=True)
    mine.write_text("of another course")
    assert learn.FIRST in learn.copy_course(tmp_path / "mine").beside
    assert mine.read_text() == "of another course"


@pytest.mark.parametrize("wrong", ["a file", "a spoilt record", "the course itself"])
def test_a_folder_that_cannot_be_is_one_sentence(tmp_path, newer, wrong):
    folder = tmp_path / "mine"
    if wrong == "a file":
        folder.write_text("")
    elif wrong == "a spoilt record":
        folder.mkdir()
        (folder / learn.RECORD).write_text("{")
    else:
        folder = tmp_path / "course"
    with pytest.raises(learn.LearnError) as error:
        learn.copy_course(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_without_jupyterlab_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(learn, "find_spec", lambda name: None)
    with pytest.raises(learn.LearnError, match=r"pip install 'tcplab\[lab\]'"):
        learn.open_lab(tmp_path)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """An environment outside the repository: the wheel, and the packages of this one but not its tcplab."""
    folder = tmp_path_factory.mktemp("elsewhere")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    assert wheel.stat().st_size < 3_000_000
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    pip = [
        scripts / "python",
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*pip, wheel], check=True, capture_output=True)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.check_output([scripts / "python", "-c", where], text=True).strip()
    # A path in a .pth file is not searched for further .pth files: the editable tcplab stays unseen.
    Path(site, "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder, scripts


# Runs in the environment outside: every notebook from its first cell to its last, in two processes.
EXECUTE = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import nbformat
from nbclient import NotebookClient

def executed(path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    return path.name

with ThreadPoolExecutor(2) as pool:
    print(*pool.map(executed, sorted(Path("notebooks").glob("*.ipynb"))), sep="\\n")
"""


def test_every_notebook_runs_beside_the_wheel(elsewhere):
    folder, scripts = elsewhere
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    course = folder / "course"
    done = subprocess.run(
        [scripts / "tcplab", "learn", course, "--no-open"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "files copied." in done.stdout and learn.FIRST in done.stdout
    place = "import tcplab, json; print(json.dumps(tcplab.__file__))"
    where = json.loads(subprocess.check_output([scripts / "python", "-c", place], cwd=folder, env=env))
    assert Path(where).is_relative_to(folder / "venv")
    command = [scripts / "python", "-c", EXECUTE]
    done = subprocess.run(command, cwd=course, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    names = {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert set(done.stdout.split()) == names
