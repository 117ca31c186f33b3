"""A real JupyterLab and a real Chromium, for tests and for the benchmark of the slider.

Nothing of the person who runs it is touched: configuration, runtime files, IPython's own and the
browser's profile live in a temporary directory, and no request of the browser leaves the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import nbformat

from tcplab.pictures.svg import Drawing

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
CHROMIUM_ARGUMENTS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-sandbox",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
LAB = runpy.run_path(str(Path(__file__).parents[1] / "lab.py"))
#: Texts that overlap or lie outside, as a browser paints them.
OVERLAPS = """() => {
    const outside = document.querySelector("svg").getBoundingClientRect(), wrong = [];
    const boxes = [...document.querySelectorAll("svg text")].map(text => {
        // A text's own title is not painted.
        const words = [...text.childNodes].filter(node => node.nodeType === Node.TEXT_NODE);
        return [words.map(node => node.data).join(""), text.getBoundingClientRect()];
    });
    boxes.forEach(([words, box], i) => {
        if (box.left < outside.left - 1 || box.right > outside.right + 1 || box.top < outside.top - 1
            || box.bottom > outside.bottom + 1) wrong.push("cut: " + words);
        for (const [others, other] of boxes.slice(i + 1)) {
            const x = Math.min(box.right, other.right) - Math.max(box.left, other.left);
            const y = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
            if (x > 1 && y > 4) wrong.push(words + " × " + others);
        }
    });
    return [boxes.length, wrong];
}"""
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


def painted_wrong(page: Any, drawing: Drawing) -> list[str]:
    """What a page paints otherwise than it was laid out: texts that overlap, are cut, or are missing."""
    page.set_content(f'<body style="margin: 0">{drawing.svg}</body>')
    painted, wrong = page.evaluate(OVERLAPS)
    drawn = len(list(drawing.captions))
    return wrong if painted == drawn else [*wrong, f"{painted} texts of {drawn}"]


def write_notebook(path: Path, *cells: str) -> None:
    """A notebook of code cells, without outputs."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.write(notebook, path)


class JupyterLab:
    """One server on a free port of the loopback interface; its notebooks stand in `folder`.

    With `whole` a page holds all cells of a notebook, also those out of sight. `front_end` may be
    Notebook 7 instead, which is built from JupyterLab's parts and runs on the same server.
    """

    def __init__(
        self, folder: Path, *, theme: str = "light", whole: bool = False, front_end: str = "jupyterlab"
    ) -> None:
        self.front_end = front_end
        application = {"jupyterlab": "LabApp", "notebook": "JupyterNotebookApp"}[front_end]
        self.folder = folder / "notebooks"
        self.folder.mkdir(parents=True)
        home = folder / "jupyter"
        config = home / "config"
        LAB["calm_jupyterlab"](home / "quiet")
        shutil.copytree(home / "quiet" / "etc" / "jupyter", config)
        themes = home / "settings" / "@jupyterlab" / "apputils-extension"
        themes.mkdir(parents=True)
        (themes / "themes.jupyterlab-settings").write_text(json.dumps({"theme": THEMES[theme]}))
        if whole:
            notebooks = home / "settings" / "@jupyterlab" / "notebook-extension"
            notebooks.mkdir(parents=True)
            (notebooks / "tracker.jupyterlab-settings").write_text(json.dumps({"windowingMode": "none"}))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        environment = os.environ | {
            "HOME": str(home),
            "JUPYTER_CONFIG_DIR": str(config),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
            "IPYTHONDIR": str(home / "ipython"),
        }
        self.log = home / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", front_end, "--no-browser", "--allow-root",
                    f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0", "--ServerApp.ip=127.0.0.1",
                    f"--{application}.expose_app_in_browser=True",
                    "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True",
                    f"--ServerApp.root_dir={self.folder}",
                ],
                stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=self.folder,
            )  # fmt: skip
        self.url = f"http://127.0.0.1:{self.port}"

    def wait(self, limit_s: float = 60) -> None:
        """Return when the server answers; raises TimeoutError with its log when it doesn't."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{self.url}/api", timeout=5).close()
                return
            time.sleep(0.1)
        raise TimeoutError(f"JupyterLab did not start:\n{self.log.read_text()[-2000:]}")

    def address(self, name: str, workspace: str = "test") -> str:
        """Where JupyterLab shows that notebook, in a workspace that is empty at first.

        What another page of the same workspace showed last comes back with a reload. Notebook 7 has none.
        """
        if self.front_end == "notebook":
            return f"{self.url}/notebooks/{quote(name)}"
        return f"{self.url}/lab/workspaces/{workspace}/tree/{quote(name)}"

    def stop(self) -> None:
        """End the server and its kernels."""
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            request = urllib.request.Request(f"{self.url}/api/shutdown", method="POST")
            urllib.request.urlopen(request, timeout=10).close()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def jupyterlab(folder: Path, **options: Any) -> Iterator[JupyterLab]:
    """A server that ends with the block; `options` as JupyterLab has them."""
    lab = JupyterLab(folder, **options)
    try:
        lab.wait()
        yield lab
    finally:
        lab.stop()


@contextlib.contextmanager
def chromium_page(program: str, *, width: int = 1280, height: int = 900) -> Iterator[tuple[Any, list[str]]]:
    """A page in a fresh headless Chromium, and the list of requests that wanted to leave the machine.

    No name but the loopback's resolves there, so none of them does.
    """
    from playwright.sync_api import sync_playwright

    outside: list[str] = []

    def note(url: str) -> None:
        address = urlsplit(url)
        if address.scheme in ("http", "https", "ws", "wss") and address.hostname not in LOOPBACK:
            outside.append(url)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_ARGUMENTS)
        context = browser.new_context(viewport={"width": width, "height": height})
        context.on("request", lambda request: note(request.url))
        page = context.new_page()
        page.on("websocket", lambda socket: note(socket.url))
        try:
            yield page, outside
        finally:
            context.close()
            browser.close()


def open_notebook(page: Any, address: str) -> None:
    """Show a notebook, and return when its kernel is there and idle."""
    page.goto(f"{address}?reset")
    page.wait_for_function(
        """() => {
            const panel = window.jupyterapp?.shell.currentWidget;
            return panel?.sessionContext?.isReady && panel.sessionContext.session?.kernel?.status === "idle";
        }""",
        timeout=60_000,
    )


def run_all(page: Any) -> None:
    """Run all cells of the notebook that is open; doesn't wait for them."""
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
