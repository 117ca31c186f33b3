"""Build the site: JupyterLite, Pyodide, the packages, the notebooks and the recordings.

Three steps. *Ingredients*: what the site needs and .venv lacks, Pyodide itself and micropip, is fetched
once by the machine's own npm and pip or uv, compared with the hashes below, and kept. *Packages*: wheels
are made of what is installed in .venv, so that nothing is fetched twice: it came from requirements.lock,
hash by hash. Compiled modules, JupyterLab's files and tests stay out. *Site*: JupyterLite builds the pages
around them. The browser asks no other machine for anything.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import nbformat
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tcplab.site import SiteError

ROOT = Path(__file__).resolve().parents[2]
#: The Pyodide that jupyterlite-pyodide-kernel 0.8.6 expects, the Python in it, and npm's hash of its package.
PYODIDE, PYTHON = "314.0.6", "3.14"
PYODIDE_SHA512 = "BKDTJyIqFxC4BExLqeRS3f5xvXZIjOt8C3zGLN/Cc7tFxSwvKVhVkchQQ2AGLOtR4YrVOIFxbV8poyDOOmWwxQ=="
#: Its files that a browser needs.
PYODIDE_FILES = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
#: Needs Python 3.13 or newer and so can't be in requirements.lock.
MICROPIP = "0.11.1"
MICROPIP_SHA256 = "768de165adb8e66906039d8fec4127a57f522dfdf8e6fbff877a4616941ecfd3"
#: What the notebook kernel and the lessons import; the rest follows from these.
WANTED = ("tcplab", "anywidget", "ipywidgets", "plotly", "ipython", "comm", "packaging")
#: Left out: NumPy and pandas are compiled, scapy needs a machine's network, shtab a shell, and JupyterLab's
#: part of the widgets is in the site anyway.
ABSENT = {"numpy", "pandas", "scapy", "shtab", "jupyterlab-widgets", "widgetsnbextension"}
#: Listed, and fetched only when a cell imports it: a quarter of what a first page would unpack.
LATER = {"plotly-python", "narwhals"}
#: plotly's JavaScript, all that our pictures ask of it.
PLOTLY_JS = "plotly/package_data/plotly.min.js"
#: Left out for jedi's 5 MB in 5,600 files. IPython completes without it, and the kernel only asks whether the
#: name is installed: its wheel holds no module.
EMPTY = {"jedi", "parso"}
#: Files of packages that no lesson opens, by the beginning and by the end of their path.
NEEDLESS = (
    "..", "plotly/labextension/", "plotly/package_data/widgetbundle.js", "plotly/package_data/datasets/",
)  # fmt: skip
COMPILED = (".so", ".pyd", ".pyc", ".dylib")
#: The browser's Python, for environment markers.
BROWSER = {
    "implementation_name": "cpython", "os_name": "posix", "platform_machine": "wasm32",
    "platform_python_implementation": "CPython", "platform_system": "Emscripten",
    "python_full_version": "3.14.2",
    "python_version": "3.14", "sys_platform": "emscripten", "extra": "",
}  # fmt: skip
#: The oldest date that a zip file can hold, so that the same files always make the same wheel.
ONCE = (1980, 1, 1, 0, 0, 0)
#: The kernel's own packages, which come as wheels with JupyterLite.
KERNEL = Path(sys.prefix, "share/jupyter/labextensions/@jupyterlite/pyodide-kernel-extension/static/pypi")
KERNEL_WHEELS = ("piplite", "pyodide_kernel", "ipykernel")
#: Pyodide's folder of packages. Notebooks run in a folder inside it, where ../data is the packages' data.
LIBRARY = f"/lib/python{PYTHON}/site-packages"
#: The question about news, and the service worker through which notebooks would read the site's files: it
#: needs HTTPS, and private windows lack it. Notebooks read the files that come with the packages.
DISABLED = (
    "@jupyterlab/apputils-extension:announcements",
    "@jupyterlite/application-extension:service-worker-manager",
)
FIRST = "lab/index.html?path=notebooks/00_start_here.ipynb"
ICON = "icon-120x120.png"
#: The pages below look for the element jupyter-config-data here.
LANDING = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>tcplab</title>
<meta http-equiv="refresh" content="0; url={first}">
<script id="jupyter-config-data" type="application/json" data-jupyter-lite-root=".">{{}}</script>
<p><a href="{first}">tcplab: open the start page</a></p>
</html>
"""


def build(root: Path, output: Path, store: Path, package: Path | None = None) -> int:
    """Build the site of the project in `root`, replacing a site in `output`; its size in bytes.

    `store` keeps what was fetched; `package` is Pyodide's npm package if already there. Raises `SiteError`.
    """
    if output.exists() and not (output / "jupyter-lite.json").exists() and any(output.iterdir()):
        raise SiteError(f"{output} holds something other than a site: name another folder with --output.")
    python, installer = pyodide(store, package), micropip(store)
    with tempfile.TemporaryDirectory(prefix="tcplab-site-") as scratch:
        work = Path(scratch)
        static = work / "static" / "pyodide"
        shutil.copytree(python, static)
        made = list(_packages(root, static, installer))
        write_list(static / "pyodide-lock.json", made)
        made = precompiled(static, made)
        write_list(static / "pyodide-lock.json", made)
        _contents(root, work / "contents")
        settings = _settings([wheel.name for wheel in made if wheel.name not in LATER])
        (work / "jupyter-lite.json").write_text(json.dumps(settings), "utf-8")
        _jupyterlite(work)
        shutil.rmtree(output, ignore_errors=True)
        shutil.move(work / "site", output)
    (output / "index.html").write_text(LANDING.format(first=FIRST), "utf-8")
    for page in output.rglob("index.html"):
        _name_icon(page, output)
    return sum(path.stat().st_size for path in output.rglob("*") if path.is_file())


def _name_icon(page: Path, site: Path) -> None:
    """Say in a page where its icon is: a browser would ask the server's root, which need not be ours."""
    icon = "../" * len(page.relative_to(site).parent.parts) + ICON
    text = page.read_text("utf-8")
    link = f'<meta charset="utf-8">\n<link rel="icon" href="{icon}">'
    page.write_text(text.replace('<meta charset="utf-8">', link, 1), "utf-8")


def _packages(root: Path, folder: Path, micropip: Path) -> Iterator[Wheel]:
    for name, package in needed().items():
        if name == "plotly":
            yield from plotly_in_two(folder)
        else:
            yield wheel_of(folder, package, _tcplab(root) if name == "tcplab" else ())
    for name in KERNEL_WHEELS:
        wheels = list(KERNEL.glob(f"{name}-*.whl"))
        if not wheels:
            raise SiteError("jupyterlite-pyodide-kernel is not installed: python3 lab.py setup installs it.")
        yield copied(folder, wheels[0])
    files = tree(micropip / "micropip", under="micropip", endings=(".py", ".pyi", "py.typed"))
    info = f"micropip-{MICROPIP}.dist-info"
    metadata = tree(micropip / info, under=info, endings=("METADATA",))
    yield write_wheel(folder, "micropip", MICROPIP, [*files, *metadata], ["packaging"])


def _tcplab(root: Path) -> Iterator[tuple[str, bytes]]:
    """tcplab's own source, and the recordings and claims where lessons look for them."""
    endings = ".py", ".toml", ".tsv", ".js", ".css", "py.typed"
    configured = ".cfg", ".ora"  # the files that examples of topologies name
    yield from tree(root / "tcplab", under="tcplab", endings=(*endings, *configured))
    captures = root / "data" / "captures"
    yield from tree(captures, under="tcplab/course/data/captures", endings=(".json", ".pcap"))
    yield from tree(root / "data", under="tcplab/course/data", endings=("claims.json",))
    yield "tcplab/course/notebooks/README", b"Notebooks run here, in the browser's own memory.\n"


def _contents(root: Path, folder: Path) -> None:
    for part, endings in (("notebooks", (".ipynb", ".md")), ("data/captures", (".pcap", ".json"))):
        for name, content in tree(root / part, under=part, endings=endings):
            if ".ipynb_checkpoints" not in name:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(_joined(content) if name.endswith(".ipynb") else content)


def _joined(notebook: bytes) -> bytes:
    """The same notebook with every text in one piece.

    In files they are lists of lines. JupyterLite passes these to its renderers as they are, and the one
    that draws diagrams never returns from a list.
    """
    read = nbformat.reads(notebook.decode("utf-8"), as_version=4)
    joined: str = nbformat.writes(read, split_lines=False)
    return joined.encode("utf-8")


def _settings(packages: list[str]) -> dict[str, object]:
    options = {"packages": packages, "env": {"HOME": f"{LIBRARY}/tcplab/course/notebooks"}}
    kernel = {"loadPyodideOptions": options, "disablePyPIFallback": True}
    return {
        "jupyter-lite-schema-version": 0,
        "jupyter-config-data": {
            "appName": "tcplab", "exposeAppInBrowser": True, "disabledExtensions": [*DISABLED],
            "litePluginSettings": {"@jupyterlite/pyodide-kernel-extension:kernel": kernel},
        },
    }  # fmt: skip


def _jupyterlite(work: Path) -> None:
    command = [sys.executable, "-m", "jupyterlite_core", "build", "--apps", "lab", "--no-sourcemaps"]
    command += ["--no-unused-shared-packages", "--lite-dir", str(work), "--contents", str(work / "contents")]
    command += ["--output-dir", str(work / "site")]
    _finish(command, "JupyterLite could not build the site", work)


def pyodide(store: Path, package: Path | None = None) -> Path:
    """The folder of Pyodide's files, unpacked from `package` (what `npm pack` makes) or fetched with npm.

    `store` keeps the package between builds. Raises `SiteError`.
    """
    kept = store / f"pyodide-{PYODIDE}.tgz"
    if package is None and not kept.exists():
        _npm_pack(kept)
    origin = package or kept
    try:
        content = origin.read_bytes()
    except OSError as error:
        raise SiteError(f"{origin.name} can't be read: {error.strerror}.") from None
    if b64encode(hashlib.sha512(content).digest()).decode() != PYODIDE_SHA512:
        raise SiteError(
            f"{origin.name} is not npm's package pyodide {PYODIDE}, or is damaged: its hash differs. "
            f"npm pack pyodide@{PYODIDE} makes a good one."
        )
    folder = store / f"pyodide-{PYODIDE}"
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(origin) as archive:
        for name in (*PYODIDE_FILES, "pyodide-lock.json"):
            member = archive.extractfile(f"package/{name}")
            assert member is not None  # the hash says so
            (folder / name).write_bytes(member.read())
    return folder


def micropip(store: Path) -> Path:
    """A folder with micropip in it, as if installed there. Raises `SiteError`."""
    folder = store / f"micropip-{MICROPIP}"
    if folder.exists():
        return folder
    with tempfile.TemporaryDirectory(dir=_made(store)) as scratch:
        wanted = Path(scratch) / "requirements"
        wanted.write_text(f"micropip=={MICROPIP} --hash=sha256:{MICROPIP_SHA256}\n", "utf-8")
        installed = Path(scratch) / "installed"
        command = [*_pip(), "--target", str(installed), "--only-binary", ":all:", "--no-deps"]
        command += ["--require-hashes", "-r", str(wanted)]
        _finish(command, f"micropip {MICROPIP} can't be fetched")
        installed.rename(folder)
    return folder


def _pip() -> list[str]:
    """The beginning of an install command for the browser's Python: pip's where it is installed, else uv's.

    pip before 24 compares a package's Requires-Python with its own Python even where another one is named.
    """
    if importlib.util.find_spec("pip"):
        return [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--ignore-requires-python",
        ]
    return ["uv", "pip", "install", "--python", sys.executable, "--python-version", PYTHON]


def _npm_pack(kept: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise SiteError(
            f"building the site needs npm once, to fetch Pyodide. Elsewhere: npm pack pyodide@{PYODIDE}; "
            f"then here: python3 lab.py site --pyodide pyodide-{PYODIDE}.tgz"
        )
    with tempfile.TemporaryDirectory(dir=_made(kept.parent)) as scratch:
        command = [npm, "pack", f"pyodide@{PYODIDE}", "--pack-destination", scratch]
        _finish(command, f"Pyodide {PYODIDE} can't be fetched")
        shutil.move(Path(scratch) / kept.name, kept)


def _finish(command: list[str], failed: str, cwd: Path | None = None) -> None:
    """Run a program to its end; `SiteError` with the last line that it printed where it fails."""
    done = subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise SiteError(f"{failed}: {lines[-1] if lines else 'no reason given'}")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


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
    """These packages and all that they require in a browser, as installed here. Raises `SiteError`."""
    packages: dict[str, Distribution] = {}
    waiting = [*names]
    while waiting:
        name = waiting.pop()
        if name in packages:
            continue
        try:
            packages[name] = distribution(name)
        except PackageNotFoundError:
            raise SiteError(f"{name} is not installed: python3 lab.py setup installs it.") from None
        waiting += () if name in EMPTY else _needs(packages[name])
    return dict(sorted(packages.items()))


def write_wheel(folder: Path, name: str, version: str, files: Files, needs: Iterable[str] = ()) -> Wheel:
    """A wheel of these files; the same files give the same bytes."""
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


def plotly_in_two(folder: Path) -> Iterator[Wheel]:
    """plotly as two packages: its JavaScript, under its name, and the Python that a cell may import."""
    package = distribution("plotly")
    files = dict(_files(package, only_metadata=False))
    info = next(name for name in files if name.endswith(".dist-info/METADATA"))
    script = {PLOTLY_JS: files.pop(PLOTLY_JS), info: files[info]}
    yield dataclasses.replace(write_wheel(folder, "plotly", package.version, script.items()), modules=())
    files[f"plotly_python-{package.version}.dist-info/METADATA"] = files.pop(info)
    yield write_wheel(folder, "plotly-python", package.version, files.items(), _needs(package))


def tree(root: Path, *, under: str, endings: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """The files below `root` with one of these endings, as files of a wheel in the folder `under`."""
    for path in root.rglob("*"):
        if path.is_file() and path.name.endswith(endings):
            yield f"{under}/{path.relative_to(root).as_posix()}", path.read_bytes()


def copied(folder: Path, wheel: Path) -> Wheel:
    """A copy of a wheel that comes with JupyterLite's kernel."""
    name, version = wheel.name.split("-")[:2]
    (folder / wheel.name).write_bytes(wheel.read_bytes())
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Wheel(canonicalize_name(name), version, wheel.name, digest, (), (name,))


def precompiled(folder: Path, wheels: list[Wheel]) -> list[Wheel]:
    """The same packages with the bytecode of what a first page imports, made by the Pyodide in `folder`.

    Without Node.js, which npm brings, they stay as they are: pages start more slowly. Raises `SiteError`.
    """
    node = shutil.which("node")
    if node is None:
        return wheels
    first = [wheel.name for wheel in wheels if wheel.name not in LATER]
    script = Path(__file__).with_name("compile.mjs")
    output = folder / "bytecode"
    command = [node, str(script), str(folder), ",".join(first), str(output)]
    _finish(command, "Pyodide could not compile the packages")
    lines = map(json.loads, output.read_text("utf-8").splitlines())
    bytecode = {source: (name, b64decode(pyc)) for source, name, pyc in lines}
    output.unlink()
    return [_with_bytecode(folder, wheel, bytecode) for wheel in wheels]


def _with_bytecode(folder: Path, wheel: Wheel, bytecode: dict[str, tuple[str, bytes]]) -> Wheel:
    with ZipFile(folder / wheel.file) as archive:
        names = archive.namelist()
    more = [bytecode[name] for name in names if name in bytecode]
    with ZipFile(folder / wheel.file, "a") as archive:
        for name, content in more:
            archive.writestr(ZipInfo(name, ONCE), content, ZIP_DEFLATED)
    digest = hashlib.sha256((folder / wheel.file).read_bytes()).hexdigest()
    return dataclasses.replace(wheel, sha256=digest)


def write_list(lock: Path, wheels: Iterable[Wheel]) -> None:
    """Replace the packages in Pyodide's own list, none of which is in the site, by these."""
    listed = json.loads(lock.read_text("utf-8"))
    listed["packages"] = {
        wheel.name: {
            "name": wheel.name, "version": wheel.version, "file_name": wheel.file, "sha256": wheel.sha256,
            "depends": list(wheel.needs), "imports": list(wheel.modules), "install_dir": "site",
            "package_type": "package", "unvendored_tests": False,
        }
        for wheel in wheels
    }  # fmt: skip
    lock.write_text(json.dumps(listed), "utf-8")


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


def main(arguments: list[str] | None = None) -> int:
    """Build the site and say how to look at it; the exit code."""
    parser = argparse.ArgumentParser(prog="lab.py site", description="Build the site.")
    default, package = ROOT / "dist" / "site", "Pyodide's npm package, where there is no npm to fetch it"
    parser.add_argument("--output", type=Path, default=default, metavar="FOLDER", help="default: dist/site")
    parser.add_argument("--pyodide", type=Path, metavar="FILE", help=package)
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        size = build(ROOT, chosen.output.resolve(), ROOT / "build" / "site", chosen.pyodide)
    except (SiteError, OSError) as error:
        print(f"lab.py: {error}", file=sys.stderr)
        return 1
    took = f"{size / 1e6:.0f} MB, {time.monotonic() - began:.0f} s"
    print(f"The site is in {chosen.output}: {took}. To look at it:")
    print(f"  python3 -m http.server --bind 127.0.0.1 --directory {chosen.output}")
    print("and open the address that it names. Any web server can hand the folder out.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
