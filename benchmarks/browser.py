"""A capture in a browser's Python: read, diagnosed and put into JSON, against a bare loop of the same Python.

    python benchmarks/browser.py            50,000 packets of 400 connections, one in ten with a finding

Runs tcplab in Pyodide under Node.js, as the site's pages run it in a browser, without NumPy. What it finds
must be what the fast reader finds here. Pyodide is fetched with npm once, into build/site, as for the site.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import captures

from tcplab.site import SiteError
from tcplab.site.build import pyodide

ROOT = Path(__file__).resolve().parents[1]
#: What the run must show: name -> at most.
BOUNDS = {"clinic_s": 10.0, "by_loop": 35.0}
#: Node.js: the folder of Pyodide, of tcplab, of the capture; a Python program whose result is printed.
SCRIPT = """
import path from "node:path";
const [folder, source, captures, program] = process.argv.slice(1);
const { loadPyodide } = await import(path.join(folder, "pyodide.mjs"));
globalThis.fetch = (url) => { throw new Error(`asked for ${url}`); };
const py = await loadPyodide({ indexURL: folder + path.sep });
for (const [place, there] of [["/source", source], ["/captures", captures]]) {
  py.FS.mkdirTree(place);
  py.mountNodeFS(place, there);
}
process.stdout.write(await py.runPythonAsync(program) + "\\n");
"""
PROGRAM = """
import json, struct, sys, time

sys.dont_write_bytecode = True
sys.path.insert(0, "/source")
from tcplab.capture.capture import read_capture
from tcplab.capture.findings import diagnose
from tcplab.capture.incidents import find_incidents


def loop(path):
    # The floor: from record to record, and nothing else.
    content, at, count, size = open(path, "rb").read(), 24, 0, 0
    while at < len(content):
        second, fraction, stored, wire = struct.unpack_from("<IIII", content, at)
        at += 16 + stored
        count += 1
        size += wire
    return count


best = {}


def timed(name, work, *arguments):
    began = time.perf_counter()
    result = work(*arguments)
    best[name] = min(best.get(name, float("inf")), time.perf_counter() - began)
    return result


for _ in range(ROUNDS):  # in turns, so that a busy moment hits all of them
    timed("loop_s", loop, "/captures/mixed.pcap")
    capture = timed("read_s", read_capture, "/captures/mixed.pcap")
    diagnosis = timed("diagnose_s", diagnose, capture)
    found = timed("json_s", lambda: json.dumps(find_incidents(capture, diagnosis).to_json()))
json.dumps({**best, "table": type(capture.table).__name__, "packets": len(capture), "found": found})
"""


def found_here(path: Path) -> Any:
    """What the fast reader finds."""
    from tcplab.capture.capture import read_capture
    from tcplab.capture.findings import diagnose
    from tcplab.capture.incidents import find_incidents

    capture = read_capture(path)
    return find_incidents(capture, diagnose(capture)).to_json()


def measure(folder: Path, rounds: int) -> dict[str, float]:
    captures.write_mixed(folder / "mixed.pcap", 53_000, 400)
    program = PROGRAM.replace("ROUNDS", str(rounds))
    source = folder / "source"
    shutil.copytree(ROOT / "tcplab", source / "tcplab", ignore=shutil.ignore_patterns("__pycache__"))
    command = ["node", "--input-type=module", "-e", SCRIPT, "--", pyodide(ROOT / "build" / "site"), source]
    done = subprocess.run([*command, folder, program], stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    if result.pop("table") != "PlainTable":
        raise SystemExit("this Pyodide has NumPy: the benchmark is about a Python without it.")
    if json.loads(result.pop("found")) != json.loads(json.dumps(found_here(folder / "mixed.pcap"))):
        raise SystemExit("Pyodide finds something else in the capture than the fast reader does.")
    result["clinic_s"] = result["read_s"] + result["diagnose_s"] + result["json_s"]
    result["by_loop"] = result["clinic_s"] / result["loop_s"]
    return result


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=5, help="of which the best counts")
    rounds = parser.parse_args().rounds
    if not shutil.which("node"):
        print("Node.js is not installed: it runs Pyodide here.", file=sys.stderr)
        return 1
    (ROOT / "build" / "site").mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = measure(Path(folder), rounds)
    except SiteError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({name: round(value, 4) for name, value in result.items()}))
    missed = [
        f"{name} is {result[name]:.4g}, not <= {most:g}"
        for name, most in BOUNDS.items()
        if result[name] > most
    ]
    for each in missed:
        print(each, file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
