#!/usr/bin/env python3
"""Set tcplab up and start it. The standard library only.

python3 lab.py                       set up .venv where needed, open JupyterLab on the first notebook
python3 lab.py lab [ARGUMENTS]       the same; the arguments go to JupyterLab
python3 lab.py setup                 only set up
python3 lab.py test [ARGUMENTS]      every test and every notebook; the arguments go to pytest
python3 lab.py site [ARGUMENTS]      the lessons as static files that run in a browser (--help: how)
python3 lab.py lock [--upgrade]      for developers: write requirements.lock afresh (needs uv)

Setting up uses uv when it is there, else venv and pip: the same locked packages either way.
"""

# This file must parse on any Python, however old, so that an old one gets a sentence and not a
# SyntaxError: no f-strings, no annotations, nothing beyond Python 2.7's grammar.
from __future__ import print_function

import sys

OLDEST = (3, 11)

if sys.version_info[:2] < OLDEST:
    sys.exit(
        "tcplab needs Python %d.%d or newer; this is Python %d.%d. "
        "Try: python3.%d lab.py" % (OLDEST + tuple(sys.version_info[:2]) + (OLDEST[1],))
    )

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess

ROOT = os.path.dirname(os.path.realpath(__file__))
WINDOWS = os.name == "nt"
#: Which blocks of requirements.lock each part needs.
PARTS = {"lab": ("lab",), "test": ("lab", "test", "site"), "site": ("lab", "site")}
#: The blocks in their order, and what pyproject.toml calls them. The project is built where it is installed.
BLOCKS = {
    "lab": ["--extra", "lab", "--group", "build"],
    "test": ["--group", "test"],
    "site": ["--group", "site"],
}
# What another environment leaves behind and what would lead pip, uv or Python astray in ours.
FOREIGN = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "UV_PYTHON", "UV_SYSTEM_PYTHON")
# The Python behind this one: another environment's, or .venv's own, may be gone in a moment.
BASE = getattr(sys, "_base_executable", None) or sys.executable
#: What JupyterLab leaves out here.
UNWANTED = ("@jupyterlab/apputils-extension:announcements", "@jupyterlite/pyodide-kernel-extension")
UNREACHABLE = re.compile(
    r"connection|\bdns\b|lookup|timed? ?out|unreachable|proxy|certificate|failed to fetch|"
    r"no matching distribution|versions: none",
    re.IGNORECASE,
)


class Stop(Exception):
    """What the learner gets to read, in one line."""


class Setup(object):
    """The project's own environment: where it is, whether it is up to date, how it is made."""

    def __init__(self, root=ROOT):
        self.root = root
        self.venv = os.path.join(root, ".venv")
        self.bin = os.path.join(self.venv, "Scripts" if WINDOWS else "bin")
        self.python = os.path.join(self.bin, "python.exe" if WINDOWS else "python")
        self.stamp = os.path.join(self.venv, "tcplab-setup")
        self.log = os.path.join(self.venv, "setup.log")

    def wanted(self):
        """The stamp's two lines: whose environment this is, and a hash of what belongs into it."""
        digest = hashlib.sha256()
        for name in ("requirements.lock", "pyproject.toml"):
            try:
                with open(os.path.join(self.root, name), "rb") as file:
                    digest.update(file.read())
            except OSError:
                raise Stop("%s is missing: start lab.py in a complete copy of tcplab." % name)
        return ["Python %s in %s" % (sys.version.split()[0], self.root), digest.hexdigest()]

    def found(self):
        """The stamp as it is: `wanted`, then a line for each block that is installed.

        Empty when a set-up never came to its end or its Python is gone.
        """
        if not os.path.exists(self.python):
            return []
        try:
            with open(self.stamp, encoding="utf-8") as file:
                return file.read().splitlines()
        except (OSError, UnicodeDecodeError):
            return []

    def environment(self):
        """Environment variables for programs of .venv, as if it were activated."""
        env = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        env["VIRTUAL_ENV"] = self.venv
        env["PATH"] = self.bin + os.pathsep + env.get("PATH", os.defpath)
        return env

    def ready(self, part="lab"):
        """Make .venv what the lock says, for `part` of PARTS; at once when it already is."""
        if not self.lacks(part):
            return
        with alone(os.path.join(self.root, ".venv.lock")):
            if self.lacks(part):  # another start may have done it meanwhile
                self.make(part)

    def lacks(self, part):
        """Whether something that `part` needs is not installed."""
        wanted, found = self.wanted(), self.found()
        return found[:2] != wanted or not set(PARTS[part]) <= set(found[2:])

    def make(self, part):
        """Install the blocks that `part` needs, and keep what is there for other parts."""
        wanted, found = self.wanted(), self.found()
        uv = find_uv()
        # Its Python is the same: what is new is added. Anything else, half a set-up too: from scratch.
        adding = found[:1] == wanted[:1] and (uv or found[:2] == wanted)
        blocks = [name for name in BLOCKS if name in PARTS[part] or (adding and name in found[2:])]
        how = "uv, some seconds" if uv else "pip, about a minute"
        print("Setting up tcplab in .venv, once (%s) ..." % how)
        sys.stdout.flush()
        if adding:
            os.remove(self.stamp)
        else:
            self.create(uv)
        if uv:
            pip = [uv, "pip", "install", "--python", self.python]
        else:
            pip = [self.python, "-m", "pip", "--disable-pip-version-check", "install"]
        packages = os.path.join(self.venv, "requirements.txt")
        with open(packages, "w", encoding="utf-8") as file:
            file.write("".join(self.locked().get(name, "") for name in blocks))
        self.step("installing the packages", pip + ["--require-hashes", "-r", packages])
        self.step("installing tcplab itself", pip + ["--no-deps", "--no-build-isolation", "-e", "."])
        calm_jupyterlab(self.venv)
        with open(self.stamp, "w", encoding="utf-8") as file:
            file.write("\n".join(wanted + blocks) + "\n")

    def locked(self):
        """The blocks of requirements.lock, which empty lines separate, by their names."""
        with open(os.path.join(self.root, "requirements.lock"), encoding="utf-8") as file:
            blocks = [block.strip() + "\n" for block in file.read().split("\n\n")]
        return dict(zip(BLOCKS, blocks))  # noqa: B905 (an older Python parses this)

    def create(self, uv):
        """An empty .venv, with this Python."""
        if not uv and not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
            raise Stop(
                "this Python cannot make a virtual environment. On Debian and Ubuntu: "
                "apt install python3-venv (or python%d.%d-venv); or install uv." % sys.version_info[:2]
            )
        try:
            if os.path.lexists(self.venv):
                shutil.rmtree(self.venv)
            os.mkdir(self.venv)
        except OSError as error:
            raise Stop("cannot make .venv afresh (%s): close what still uses it and try again." % error)
        if uv:
            make = [uv, "venv", "--quiet", "--allow-existing", "--python", BASE, self.venv]
        else:
            make = [BASE, "-m", "venv", self.venv]
        self.step("making .venv", make)

    def step(self, what, command):
        """Run one command into the log; when it fails, say what failed and the log's last line."""
        with open(self.log, "ab") as log:
            begin = log.tell()
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
            code = subprocess.call(command, cwd=self.root, env=self.environment(), **streams)
        if code:
            with open(self.log, "rb") as log:
                log.seek(begin)
                text = log.read().decode("utf-8", "replace").partition("\nhint:")[0]
            lines = [line.strip() for line in text.splitlines() if line.strip()] or ["exit code %d" % code]
            why = " (is the package index within reach?)" if UNREACHABLE.search(text) else ""
            last = re.sub(r"^(error|cause): ", "", lines[-1], flags=re.IGNORECASE)
            raise Stop("%s failed%s: %s [all of it: .venv/setup.log]" % (what, why, last))


@contextlib.contextmanager
def alone(path):
    """Wait until no other start of lab.py sets up; the system lets go of the lock when one is killed."""
    with open(path, "a") as file:
        try:
            hold(file, False)
        except OSError:
            print("Another start of lab.py is setting up; waiting for it ...")
            sys.stdout.flush()
            hold(file, True)
        yield  # closing the file lets go


def hold(file, wait):
    """Lock a file; raises OSError when another process has it and this one does not wait."""
    if WINDOWS:
        import msvcrt

        file.seek(0)
        while True:
            try:
                return msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError:  # LK_LOCK gives up after 10 s
                if not wait:
                    raise
    import fcntl

    return fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def calm_jupyterlab(venv):
    """Settings of this environment alone: no question about news, no kernel that only a browser has, and
    saved notebooks that show their pictures when no kernel runs (tcplab/views.py)."""
    settings = {
        "labconfig/page_config.json": {"disabledExtensions": dict.fromkeys(UNWANTED, True)},
        "jupyter_server_config.d/tcplab.json": {"ServerApp": {"jpserver_extensions": {"tcplab.views": True}}},
    }
    for name, content in settings.items():
        path = os.path.join(venv, "etc", "jupyter", os.path.normpath(name))
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path))
        with open(path, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)


def find_uv():
    """The path of a uv that works, or None (a version manager's shim may be there without a uv behind it)."""
    uv = shutil.which("uv")
    try:
        subprocess.check_output([uv or "uv", "--version"], stderr=subprocess.DEVNULL)
        return uv
    except (OSError, subprocess.CalledProcessError):
        return None


def start(setup, arguments):
    """Become `python -m ...` of .venv, in the project's directory; on Windows, wait for it."""
    command = [setup.python, "-m"] + arguments
    os.chdir(setup.root)
    sys.stdout.flush()
    if WINDOWS:
        return subprocess.call(command, env=setup.environment())
    os.execve(setup.python, command, setup.environment())


def open_lab(arguments):
    """Open JupyterLab on the first notebook; `arguments` may say otherwise."""
    setup = Setup()
    setup.ready()
    options = ["--ServerApp.root_dir=" + ROOT, "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"]
    if not WINDOWS and os.geteuid() == 0:
        options.append("--allow-root")  # in a container everybody is root
    return start(setup, ["jupyterlab"] + options + arguments)


def only_set_up(arguments):
    """Set up and say how to go on."""
    if arguments:
        raise Stop("setup takes no arguments, but got: %s." % " ".join(arguments))
    Setup().ready()
    print("tcplab is set up in .venv. Start it with: python3 lab.py")


def test(arguments):
    """Run the tests and compare every notebook with its stored outputs; paths replace the default ones."""
    setup = Setup()
    setup.ready("test")
    os.environ.setdefault("TCPLAB_PROGRESS", "off")  # a learner's answers must not change the outputs
    notebooks = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/nbval_sanitize.cfg"]
    # Long files begin: see tests/conftest.py.
    workers = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    return start(setup, ["pytest"] + notebooks + workers + arguments)


def site(arguments):
    """Build the site of static files, in which the lessons run in the browser itself."""
    setup = Setup()
    setup.ready("site")
    return start(setup, ["tcplab.site.build"] + arguments)


def lock(arguments):
    """Write requirements.lock: one file for every system, with hashes; --upgrade for newer versions.

    A block for each part, separated by empty lines: a package is in the first block that needs it.
    """
    uv = find_uv()
    if not uv:
        raise Stop("writing requirements.lock needs uv (pip install uv).")
    path = os.path.join(ROOT, "requirements.lock")
    command = [
        uv,
        "pip",
        "compile",
        "--quiet",
        "pyproject.toml",
        "--universal",
        "--no-header",
        "--no-annotate",
    ]
    command += ["--python-version", "%d.%d" % OLDEST]
    options = [option for wanted in BLOCKS.values() for option in wanted]
    code = subprocess.call(
        command + options + ["--generate-hashes", "--output-file", path] + arguments, cwd=ROOT
    )
    if code:
        return code
    with open(path, encoding="utf-8") as file:
        pins = re.findall(r"^[^ \n](?:.*\\\n)*.*\n", file.read(), re.MULTILINE)
    blocks, left = [], pins
    for name in BLOCKS:
        few = subprocess.check_output(command + BLOCKS[name] + ["--constraint", path], cwd=ROOT, text=True)
        names = set(re.findall(r"^[a-z0-9-]+", few, re.MULTILINE))
        blocks.append("".join(pin for pin in left if pin.partition("==")[0] in names))
        left = [pin for pin in left if pin.partition("==")[0] not in names]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(blocks))
    return 0


COMMANDS = {"lab": open_lab, "setup": only_set_up, "test": test, "site": site, "lock": lock}


def main(arguments):
    """Run one command; the exit code."""
    name = arguments[0] if arguments else "lab"
    if name in ("-h", "--help", "help"):
        print(__doc__.strip())
        return 0
    if name not in COMMANDS:
        print("lab.py: no command %r; there are: %s." % (name, ", ".join(COMMANDS)), file=sys.stderr)
        return 2
    try:
        return COMMANDS[name](arguments[1:]) or 0
    except (Stop, OSError) as problem:
        print("lab.py: %s" % problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
