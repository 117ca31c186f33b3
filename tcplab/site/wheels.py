"""The Python packages of the site: wheels made from what stands in .venv, and Pyodide's list of them.

What is installed came from requirements.lock, hash by hash, so nothing is fetched a second time. Parts that
no browser can use stay behind: compiled modules (their packages run without), JupyterLab's own files, tests.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tcplab.site import SiteError

#: What the notebook kernel and the lessons import; the rest follows from these.
WANTED = ("tcplab", "ipython", "comm", "packaging")
#: Needed, by their own word, and not there: with no compiled packages there is neither NumPy nor pandas;
#: JupyterLab's side of the widgets is in the site anyway.
ABSENT = {"numpy", "pandas", "jupyterlab-widgets", "widgetsnbextension"}
#: Left out for its 5 MB in 5,600 files. IPython completes without it, and the kernel only asks whether the
#: name is there: its wheel holds no module.
EMPTY = {"jedi", "parso"}
#: Files of packages that no lesson opens: by the beginning and by the end of their path.
NEEDLESS = (
    "..",
    "plotly/labextension/",
    "plotly/package_data/widgetbundle.js",
    "plotly/package_data/datasets/",
)
COMPILED = (".so", ".pyd", ".pyc", ".dylib")
#: As markers see the browser's Python.
BROWSER = {
    "implementation_name": "cpython", "os_name": "posix", "platform_machine": "wasm32",
    "platform_python_implementation": "CPython", "platform_system": "Emscripten",
    "python_full_version": "3.14.2",
    "python_version": "3.14", "sys_platform": "emscripten", "extra": "",
}  # fmt: skip
#: The oldest date that a zip file can hold: the same files make the same wheel on every day.
ONCE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Wheel:
    """One package of the site."""

    name: str
    version: str
    file: str
    sha256: str
    #: Names of the packages it needs, as far as the site has them.
    needs: tuple[str, ...]
    #: Top-level modules.
    modules: tuple[str, ...]


Files = Iterable[tuple[str, bytes]]


def needed(names: Iterable[str] = WANTED) -> dict[str, Distribution]:
    """These packages and all that they need in a browser, as installed here. Raises `SiteError`."""
    found: dict[str, Distribution] = {}
    waiting = [*names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            raise SiteError(f"{name} is not installed: python3 lab.py setup installs it.") from None
        waiting += () if name in EMPTY else _needs(found[name])
    return dict(sorted(found.items()))


def write_wheel(folder: Path, name: str, version: str, files: Files, needs: Iterable[str] = ()) -> Wheel:
    """A wheel of these files, whatever its origin; the same files, the same bytes."""
    file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    modules = set()
    with ZipFile(folder / file, "w", ZIP_DEFLATED) as archive:
        for path, content in sorted(files):
            top = PurePosixPath(path).parts[0]
            if not top.endswith(".dist-info"):
                modules.add(top.removesuffix(".py"))
            archive.writestr(ZipInfo(path, ONCE), content, ZIP_DEFLATED)
    digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    return Wheel(name, version, file, digest, tuple(sorted(needs)), tuple(sorted(modules)))


def wheel_of(folder: Path, package: Distribution, more: Files = ()) -> Wheel:
    """An installed package, and `more` files, as a wheel for the browser."""
    name = canonicalize_name(package.metadata["Name"])
    files = [*_files(package, only_metadata=name in EMPTY), *more]
    needs = () if name in EMPTY else _needs(package)
    return write_wheel(folder, name, package.version, files, needs)


def tree(root: Path, *, under: str, endings: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """The files below `root` with one of these endings, as files of a wheel in the folder `under`."""
    for path in root.rglob("*"):
        if path.is_file() and path.name.endswith(endings):
            yield f"{under}/{path.relative_to(root).as_posix()}", path.read_bytes()


def copied(folder: Path, wheel: Path) -> Wheel:
    """A wheel that comes ready with JupyterLite's kernel."""
    name, version = wheel.name.split("-")[:2]
    (folder / wheel.name).write_bytes(wheel.read_bytes())
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Wheel(canonicalize_name(name), version, wheel.name, digest, (), (name,))


def write_list(lock: Path, wheels: Iterable[Wheel]) -> None:
    """Replace the packages in Pyodide's own list, which are all elsewhere, by these."""
    told = json.loads(lock.read_text("utf-8"))
    told["packages"] = {
        wheel.name: {
            "name": wheel.name, "version": wheel.version, "file_name": wheel.file, "sha256": wheel.sha256,
            "depends": list(wheel.needs), "imports": list(wheel.modules), "install_dir": "site",
            "package_type": "package", "unvendored_tests": False,
        }
        for wheel in wheels
    }  # fmt: skip
    lock.write_text(json.dumps(told), "utf-8")


def _needs(package: Distribution) -> list[str]:
    asked = map(Requirement, package.requires or ())
    names = [str(canonicalize_name(r.name)) for r in asked if not r.marker or r.marker.evaluate(BROWSER)]
    return sorted({*names} - ABSENT)


def _files(package: Distribution, *, only_metadata: bool) -> Iterator[tuple[str, bytes]]:
    for file in package.files or ():
        path = file.as_posix()
        info = ".dist-info/" in path
        if path.startswith(NEEDLESS) or path.endswith(COMPILED) or (only_metadata and not info):
            continue
        if re.search(r"(^|/)(tests?|__pycache__)/|\.pth$", path) or (info and not path.endswith("METADATA")):
            continue
        yield path, Path(str(file.locate())).read_bytes()
