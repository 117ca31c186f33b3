"""What all tests share: `need`, and the marks that ask for a machine which has something."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import hypothesis
import pytest

# Where administrators' and database programs stand when PATH does not name them.
MORE_PLACES = ["/usr/sbin", "/sbin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin")))]
ALSO_CALLED = {"chromium": ["chromium-browser", "google-chrome"]}

os.environ.setdefault("TCPLAB_PROGRESS", "off")  # lessons begin without what a developer has answered

#: Files that take a minute and more. They begin first: at the end no worker is left alone with one.
LONG = (
    "test_lessons_in_site.py", "test_learn.py", "test_lessons_in_browser.py", "test_course_in_browser.py",
    "test_kernels.py", "test_experiment.py", "test_agree.py", "test_databases.py", "test_house.py",
    "test_lab.py", "test_browser.py", "test_tomorrow_in_browser.py", "test_front_ends.py",
)  # fmt: skip

if "CI" not in os.environ:  # there hypothesis has a profile of its own, without chance and without deadline
    hypothesis.settings.register_profile("tcplab", deadline=None)
    hypothesis.settings.load_profile("tcplab")


def need(name: str) -> str:
    """The path of program `name`, or the name itself of an importable module.

    Where there is neither, the test is skipped; with CI set it fails, for there everything is installed.
    """
    for program in [name, *ALSO_CALLED.get(name, [])]:
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), *MORE_PLACES])
        if found := shutil.which(program, path=path):
            return found
    if name.isidentifier() and importlib.util.find_spec(name):
        return name
    if os.environ.get("CI"):
        pytest.fail(f"{name} is missing here, and CI must not skip: install it in .ci/run.", pytrace=False)
    pytest.skip(f"needs {name}, which is not installed")


@pytest.fixture(name="need")
def need_fixture():
    """`need` without an import."""
    return need


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hold the marks to what they promise."""
    if item.get_closest_marker("linux") and sys.platform != "linux":
        pytest.skip("needs Linux")
    if item.get_closest_marker("browser"):
        need("chromium")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files, whose order `lab.py test` keeps."""
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONG)))
