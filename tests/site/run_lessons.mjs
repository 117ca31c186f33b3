// Every code cell of every notebook of a built site, in Pyodide itself, without a browser:
// node run_lessons.mjs SITE ANSWERS, a JSON file {lesson: {question: answer}} so that all that waits is opened, too.
// Prints one JSON line for each notebook: its name, how many cells ran, what failed, how many widgets were
// made, and the seconds it took.

import fs from "node:fs";
import path from "node:path";

const answers = JSON.parse(fs.readFileSync(process.argv[3]));
const ask = /^here\.ask\("(\w+)"\)$/m;
const answered = (source, lesson) =>
  source.replace(ask, (call, name) => `question = ${call}
question.answer = ${JSON.stringify(answers[lesson]?.[name])}
assert question.check().right, "${lesson} ${name}"
question`);

const site = path.resolve(process.argv[2]);
const pyodide = path.join(site, "static", "pyodide");
const { loadPyodide } = await import(path.join(pyodide, "pyodide.mjs"));
const config = JSON.parse(fs.readFileSync(path.join(site, "jupyter-lite.json")))["jupyter-config-data"];
const settings = config.litePluginSettings["@jupyterlite/pyodide-kernel-extension:kernel"];

// Nothing may be fetched from anywhere.
globalThis.fetch = (url) => { throw new Error(`asked for ${url}`); };
const py = await loadPyodide({ indexURL: pyodide + path.sep, ...settings.loadPyodideOptions });
const run = await py.runPythonAsync(`
import time
import pyodide_kernel
from ipywidgets.widgets.widget import _instances
from pyodide_kernel import ipython_shell as shell

shell.kernel._parent_header = {"header": {}}
shell.send_comm = lambda *arguments: None
for publisher in (shell.display_pub, shell.displayhook):
    for callback in ("clear_output_callback", "display_data_callback", "update_display_data_callback",
                     "publish_execution_result"):
        setattr(publisher, callback, lambda *arguments: None)

failed = []
# Errors of cells, and those that IPython swallows while it asks an object for its picture.
shell._showtraceback = lambda kind, error, lines: failed.append(f"{kind.__name__}: {error}")

def run(cells):
    shell.reset()
    failed.clear()
    began, before = time.monotonic(), len(_instances)
    for source in cells:
        shell.run_cell(source)
    return [len(cells), failed, len(_instances) - before, time.monotonic() - began]
run`);
const folder = path.join(site, "files", "notebooks");
for (const name of fs.readdirSync(folder).filter((each) => each.endsWith(".ipynb")).sort()) {
  const { cells } = JSON.parse(fs.readFileSync(path.join(folder, name)));
  const code = cells.filter((cell) => cell.cell_type === "code").map((cell) => answered(cell.source, name.slice(3, -6)));
  const [count, failed, widgets, seconds] = run(py.toPy(code)).toJs();
  process.stdout.write(JSON.stringify({ name, cells: count, failed, widgets, seconds }) + "\n");
}
