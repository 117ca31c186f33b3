"""The built site: every lesson in Pyodide, and lessons in a Chromium without a network."""

import functools
import http.server
import json
import subprocess
import threading
import zipfile
from pathlib import Path

import pytest

from answers import REFERENCE
from conftest import need
from course_in_browser import DONE
from in_jupyterlab import chromium_page, run_all
from tcplab.site import SiteError
from tcplab.site.build import LATER, build

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site built into a folder of its own; what is fetched for it is kept in build/site as always."""
    need("npm")
    folder = tmp_path_factory.mktemp("site") / "built"
    try:
        build(ROOT, folder, ROOT / "build" / "site")
    except SiteError as error:
        if "can't be fetched" not in str(error):
            raise
        pytest.skip(str(error))
    return folder


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def address(site):
    """Where a plain web server hands the site out."""
    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def ran(site, tmp_path_factory):
    """What became of each notebook's cells in Pyodide, all questions answered."""
    answers = tmp_path_factory.mktemp("answers") / "answers.json"
    answers.write_text(json.dumps(REFERENCE))
    script = Path(__file__).with_name("run_lessons.mjs")
    done = subprocess.run([need("node"), script, site, answers], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    told = map(json.loads, filter(lambda line: line.startswith('{"name"'), done.stdout.splitlines()))
    return {each["name"]: each for each in told}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_cell_of_a_lesson_runs_in_pyodide(ran, name):
    cells = json.loads((ROOT / "notebooks" / name).read_text("utf-8"))["cells"]
    assert ran[name]["cells"] == sum(cell["cell_type"] == "code" for cell in cells)
    assert ran[name]["failed"] == []
    assert ran[name]["widgets"] > 0


def test_the_list_of_packages_names_files_that_are_there(site):
    pyodide = site / "static" / "pyodide"
    packages = json.loads((pyodide / "pyodide-lock.json").read_text())["packages"]
    assert all((pyodide / package["file_name"]).is_file() for package in packages.values())
    config = json.loads((site / "jupyter-lite.json").read_text())["jupyter-config-data"]
    kernel = config["litePluginSettings"]["@jupyterlite/pyodide-kernel-extension:kernel"]
    assert set(packages) - set(kernel["loadPyodideOptions"]["packages"]) == LATER
    assert kernel["pyodideUrl"].startswith("./") and kernel["disablePyPIFallback"] is True


def test_what_a_first_page_imports_comes_with_its_bytecode(site):
    pyodide = site / "static" / "pyodide"
    for wheel, module in (
        ("tcplab", "tcplab/widgets/explorer"),
        ("ipython", "IPython/core/interactiveshell"),
    ):
        (file,) = pyodide.glob(f"{wheel}-*.whl")
        folder, _, name = module.rpartition("/")
        with zipfile.ZipFile(file) as archive:
            (pyc,) = (each for each in archive.namelist() if each.startswith(f"{folder}/__pycache__/{name}."))
            content = archive.read(pyc)
        assert content[4:8] == b"\1\0\0\0"  # not compared with a source or its date (PEP 552)
    assert not list(pyodide.glob("bytecode"))


READY = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.content?.widgets?.length && panel.sessionContext?.session?.kernel?.status === "idle";
}"""
#: Run code in the kernel; what it printed.
PRINTED = """async code => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const future = kernel.requestExecute({ code });
    const said = [];
    future.onIOPub = message => said.push(message.content.text ?? message.content.evalue ?? "");
    await future.done;
    return said.join("").trim();
}"""
LEARN = """
from tcplab import Keepalive, explore
from tcplab.lesson import after, ask

question = ask("keepalive", "power_cut")
form = question.widget()
waiting = after(question, lambda: explore(Keepalive))
"""
LOOK = """
thing = waiting.thing
print(question.answer, thing and thing.values["idle_s"], thing and len(thing.kept), end=" ")
print("are back" in form.children[3].value)
"""


@pytest.mark.browser
def test_a_browser_remembers_what_was_answered(address):
    with chromium_page(need("chromium")) as (page, outside):
        for day in ("today", "tomorrow"):
            page.goto(f"{address}/lab/index.html?path=notebooks/03_keepalive.ipynb")
            page.wait_for_function(READY, timeout=180_000)
            page.evaluate(PRINTED, LEARN)
            if day == "tomorrow":
                for _ in range(30):  # the browser's storage is read between two cells
                    if (found := page.evaluate(PRINTED, LOOK)) == "7875 60.0 1 True":
                        break
                    page.wait_for_timeout(2000)
                assert found == "7875 60.0 1 True"
                continue
            assert page.evaluate(PRINTED, LOOK) == "None None None False"
            page.evaluate(PRINTED, "question.answer = '7875'; question.check()")
            page.evaluate(
                PRINTED, "waiting.thing.set(idle_s=30); waiting.thing.keep(); waiting.thing.set(idle_s=60)"
            )
            page.wait_for_timeout(5000)  # it is written while no cell runs
        assert outside == []


def complaints(page):
    """A list that fills with what the page reports: errors, and requests that failed."""
    said = []
    page.on("console", lambda message: message.type == "error" and said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(f"{request.failure}: {request.url}"))
    page.on("response", lambda answer: answer.status >= 400 and said.append(f"{answer.status}: {answer.url}"))
    return said


#: A question, a search, pictures of recordings, and a clinic with a replay and a form in it.
@pytest.mark.browser
@pytest.mark.parametrize("start", ["00", "02", "08", "14"])
def test_nothing_fails_on_a_page(address, start):
    (name,) = (each for each in NOTEBOOKS if each.startswith(start))
    with chromium_page(need("chromium"), height=1600) as (page, outside):
        said = complaints(page)
        page.goto(f"{address}/lab/index.html?path=notebooks/{name}")
        page.wait_for_function(READY, timeout=180_000)
        run_all(page)
        page.wait_for_function(DONE, timeout=180_000)
        page.wait_for_timeout(3000)  # an anywidget gives up after two seconds
        assert said == []
        assert outside == []


@pytest.mark.browser
@pytest.mark.parametrize("name", ["01_life_of_a_connection.ipynb"])  # with a diagram, recordings, an explorer
def test_a_lesson_runs_in_the_browser_and_asks_nobody_else(address, name):
    with chromium_page(need("chromium")) as (page, outside):
        page.goto(f"{address}/lab/index.html?path=notebooks/{name}")
        page.wait_for_function(READY, timeout=180_000)
        run_all(page)
        page.wait_for_function(
            """() => [...window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells]
                .every(cell => cell.cell_type !== "code" || cell.toJSON().execution_count)""",
            timeout=120_000,
        )
        outputs = page.evaluate(
            """() => [...window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells]
                .flatMap(cell => cell.cell_type === "code" ? cell.toJSON().outputs : [])"""
        )
        assert [each["evalue"] for each in outputs if each["output_type"] == "error"] == []
        assert any("application/vnd.jupyter.widget-view+json" in each.get("data", {}) for each in outputs)
        page.evaluate(
            """code => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel
                .requestExecute({ code }) }""",
            "question = here._question('segments'); question.answer = '10'; question.check()",
        )
        page.evaluate("() => window.jupyterapp.shell.currentWidget.content.scrollToItem(4, 'start')")
        page.locator(".tcplab-timeline svg").first.wait_for(timeout=60_000, state="attached")
        assert outside == []


@pytest.mark.browser
def test_the_sites_address_leads_to_the_start_page(address):
    with chromium_page(need("chromium")) as (page, outside):
        page.goto(address)
        page.get_by_role("heading", name="Start here").or_(page.locator("h1").first).wait_for(timeout=60_000)
        assert outside == []


@pytest.mark.browser
def test_the_clinic_reads_a_learners_capture_in_the_browser(address):
    capture = ROOT / "data" / "captures" / "nat_out_of_ports.pcap"
    with chromium_page(need("chromium"), height=1600) as (page, outside):
        said = complaints(page)
        page.goto(f"{address}/lab/index.html?path=notebooks/14_capture_clinic.ipynb")
        page.wait_for_function(READY, timeout=180_000)
        run_all(page)
        choose = page.locator(".tcplab-drop input[type=file]").first
        choose.wait_for(state="attached", timeout=120_000)
        choose.set_input_files(capture)
        page.get_by_text("nat_out_of_ports.pcap · 3 TCP packets, 1 connection").first.wait_for(timeout=60_000)
        page.get_by_role("tab", name="Connections and findings").click()
        page.locator(".tcplab-finding", has_text="unanswered_syn").first.wait_for()
        assert outside == []
        page.wait_for_timeout(3000)
    assert said == []
