// node compile.mjs FOLDER PACKAGES OUTPUT: compile, with the Pyodide in FOLDER, what a first page imports.
//
// A browser's Python keeps no bytecode between visits: without it, half of a start is the compiler's time. Writes
// a line of JSON for each module: its file relative to the packages' folder, the file that Python looks for, and
// the bytecode in base64.

import path from "node:path";
import fs from "node:fs";

const folder = path.resolve(process.argv[2]);
globalThis.fetch = (url) => { throw new Error(`asked for ${url}`); };
const { loadPyodide } = await import(path.join(folder, "pyodide.mjs"));
const py = await loadPyodide({ indexURL: folder + path.sep, env: { HOME: "/tmp" } });
await py.loadPackage(process.argv[3].split(","), { messageCallback() {} });
const compiled = py.runPython(`
import base64, importlib.util, json, os, pkgutil, sys
from importlib._bootstrap_external import _code_to_hash_pyc

def load(name):
    try:
        __import__(name)
    except Exception:  # a module that only Linux can load, whatever it lacks here
        pass

import tcplab
HOME = os.path.dirname(os.path.dirname(tcplab.__file__))
for each in pkgutil.walk_packages(tcplab.__path__, "tcplab."):
    if not each.name.endswith("__main__") and ".course" not in each.name and ".site" not in each.name:
        load(each.name)
for name in ("micropip", "piplite", "ipykernel", "pyodide_kernel"):  # the last takes stdout
    __import__(name)

def compiled(file):
    with open(file, "rb") as source:
        code = compile(source.read(), file, "exec", dont_inherit=True)
    pyc = base64.b64encode(_code_to_hash_pyc(code, bytes(8), False)).decode()
    return json.dumps([os.path.relpath(each, HOME) for each in (file, importlib.util.cache_from_source(file))] + [pyc])

files = {getattr(module, "__file__", None) or "" for module in [*sys.modules.values()]}
"\\n".join(compiled(file) for file in sorted(files) if file.startswith(HOME) and file.endswith(".py"))
`);
fs.writeFileSync(process.argv[4], compiled);
