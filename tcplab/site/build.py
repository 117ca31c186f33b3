"""Put the site together: JupyterLite, Pyodide, the packages, the notebooks and what was recorded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat

from tcplab.capture.findings import diagnose
from tcplab.capture.reading import read_capture
from tcplab.capture.stored import store_capture
from tcplab.site import SiteError, ingredients, wheels

#: The kernel's own packages come with JupyterLite, as wheels.
KERNEL = Path(sys.prefix, "share/jupyter/labextensions/@jupyterlite/pyodide-kernel-extension/static/pypi")
KERNEL_WHEELS = ("piplite", "pyodide_kernel", "ipykernel")
#: Where packages are in Pyodide. Notebooks run beside them, so that ../data is the packages' neighbour, too.
LIBRARY = f"/lib/python{ingredients.PYTHON}/site-packages"
#: The question about news, and the service worker, through which notebooks would read the site's files: it
#: asks for HTTPS, and private windows lack it. Notebooks read the files that come with the packages.
DISABLED = (
    "@jupyterlab/apputils-extension:announcements",
    "@jupyterlite/application-extension:service-worker-manager",
)
FIRST = "lab/index.html?path=notebooks/00_start_here.ipynb"
#: The pages below look for the element named jupyter-config-data here.
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
    """Build the site of the project in `root` into `output`, afresh; its size in bytes.

    `store` keeps what was fetched; `package` is Pyodide's package where it need not be. Raises `SiteError`.
    """
    if output.exists() and not (output / "jupyter-lite.json").exists() and any(output.iterdir()):
        raise SiteError(f"{output} holds something else than a site: name another folder with --output.")
    pyodide = ingredients.pyodide(store, package)
    micropip = ingredients.micropip(store)
    with tempfile.TemporaryDirectory(prefix="tcplab-site-") as scratch:
        work = Path(scratch)
        static = work / "static" / "pyodide"
        shutil.copytree(pyodide, static)
        made = list(_packages(root, static, micropip))
        wheels.write_list(static / "pyodide-lock.json", made)
        _contents(root, work / "contents")
        settings = _settings([wheel.name for wheel in made])
        (work / "jupyter-lite.json").write_text(json.dumps(settings), "utf-8")
        _jupyterlite(work)
        shutil.rmtree(output, ignore_errors=True)
        shutil.move(work / "site", output)
    (output / "index.html").write_text(LANDING.format(first=FIRST), "utf-8")
    return sum(path.stat().st_size for path in output.rglob("*") if path.is_file())


def _packages(root: Path, folder: Path, micropip: Path) -> Iterator[wheels.Wheel]:
    for name, package in wheels.needed().items():
        yield wheels.wheel_of(folder, package, _tcplab(root) if name == "tcplab" else ())
    for name in KERNEL_WHEELS:
        found = list(KERNEL.glob(f"{name}-*.whl"))
        if not found:
            raise SiteError("jupyterlite-pyodide-kernel is not installed: python3 lab.py setup installs it.")
        yield wheels.copied(folder, found[0])
    files = wheels.tree(micropip / "micropip", under="micropip", endings=(".py", ".pyi", "py.typed"))
    info = f"micropip-{ingredients.MICROPIP}.dist-info"
    metadata = wheels.tree(micropip / info, under=info, endings=("METADATA",))
    yield wheels.write_wheel(folder, "micropip", ingredients.MICROPIP, [*files, *metadata], ["packaging"])


def _tcplab(root: Path) -> Iterator[tuple[str, bytes]]:
    """tcplab's own source, and the recordings where `recording` looks for them."""
    yield from wheels.tree(
        root / "tcplab", under="tcplab", endings=(".py", ".toml", ".js", ".css", "py.typed")
    )
    captures = root / "data" / "captures"
    yield from wheels.tree(captures, under="data/captures", endings=(".json", ".pcap"))
    yield "notebooks/README", b"Notebooks run here, in the browser's own memory.\n"
    with tempfile.TemporaryDirectory(prefix="tcplab-site-") as scratch:
        for path in sorted(captures.glob("*.pcap")):
            capture = read_capture(path)
            store_capture(path, capture, diagnose(capture), Path(scratch))
        yield from wheels.tree(Path(scratch), under="data/captures/stored", endings=(".json",))


def _contents(root: Path, folder: Path) -> None:
    for part, endings in (("notebooks", (".ipynb", ".md")), ("data/captures", (".pcap", ".json"))):
        for name, content in wheels.tree(root / part, under=part, endings=endings):
            if ".ipynb_checkpoints" not in name:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(_joined(content) if name.endswith(".ipynb") else content)


def _joined(notebook: bytes) -> bytes:
    """The same notebook with every text in one piece.

    In files they are lists of lines, and JupyterLite hands these to its renderers as they are: one that draws
    a diagram from a list never comes to an end.
    """
    read = nbformat.reads(notebook.decode("utf-8"), as_version=4)
    joined: str = nbformat.writes(read, split_lines=False)
    return joined.encode("utf-8")


def _settings(packages: list[str]) -> dict[str, object]:
    options = {"packages": packages, "env": {"HOME": f"{LIBRARY}/notebooks"}}
    kernel = {"loadPyodideOptions": options, "disablePyPIFallback": True}
    return {
        "jupyter-lite-schema-version": 0,
        "jupyter-config-data": {
            "appName": "tcplab",
            "exposeAppInBrowser": True,
            "disabledExtensions": [*DISABLED],
            "litePluginSettings": {"@jupyterlite/pyodide-kernel-extension:kernel": kernel},
        },
    }


def _jupyterlite(work: Path) -> None:
    command = [sys.executable, "-m", "jupyterlite_core", "build", "--apps", "lab", "--no-sourcemaps"]
    command += ["--no-unused-shared-packages", "--lite-dir", str(work), "--contents", str(work / "contents")]
    command += ["--output-dir", str(work / "site")]
    done = subprocess.run(
        command,
        cwd=work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        raise SiteError(f"JupyterLite could not build the site: {lines[-1] if lines else 'no reason given'}")
