"""A guest's initramfs: archives that Linux unpacks into memory before process 1 starts.

Three archives, concatenated (Documentation/driver-api/early-userspace/buffer-format.rst): Python with its
library, the kernel's modules and nft, which change rarely and are cached; tcplab; and the stories. The same
inputs give the same bytes.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import marshal
import os
import pickle
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import MAGIC_NUMBER
from pathlib import Path, PurePosixPath
from typing import Any

from tcplab.bench.kernels.debian import Unpacked, cache_folder
from tcplab.bench.sandbox import BenchError
from tcplab.bench.script import Story

#: Paths in the guest.
PYTHON_HOME, CODE = "/python", "/opt"
#: Modules of the standard library that no script and no bench imports; and `ssl`, which asyncio would load.
_LEFT_OUT = {
    "test", "tests", "idlelib", "tkinter", "lib2to3", "ensurepip", "turtledemo", "site-packages",
    "dist-packages", "pydoc_data", "distutils", "unittest", "venv", "xmlrpc", "wsgiref", "sqlite3", "curses",
    "dbm", "__pycache__",
}  # fmt: skip
_LEFT_OUT_MODULES = re.compile(
    r"_(ssl|hashlib|tkinter|sqlite3|curses|gdbm|dbm|test|codecs_|xx|ctypes_test)|xx|nis\b"
)
#: The rooms of tcplab that a guest needs.
ROOMS = (
    "__init__.py",
    "follow",
    "registry.py",
    "core",
    "model",
    "route",
    "bench",
    "experiments",
    "studies",
)
_INIT = "import sys\nsys.path.insert(0, '/opt')\nimport guest\nguest.main()\n"
#: How many images of older Pythons and kernels are kept besides the newest.
_KEPT = 3


class Archive:
    """A cpio archive in the `newc` format, in memory."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._made: set[str] = set()

    def _entry(self, name: str, mode: int, data: bytes = b"") -> None:
        raw = name.encode() + b"\0"
        number = len(self._made) + 1
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        head = b"070701" + b"".join(b"%08X" % each for each in fields) + raw
        self._parts += [head + bytes(-len(head) % 4), data, bytes(-len(data) % 4)]

    def folder(self, path: str) -> None:
        """Add a folder and its parents."""
        path = path.strip("/")
        if path and path not in self._made:
            self.folder(str(PurePosixPath(path).parent).strip("."))
            self._made.add(path)
            self._entry(path, stat.S_IFDIR | (0o1777 if path == "tmp" else 0o755))

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a file; of several with one name, the first is kept."""
        path = path.strip("/")
        if path not in self._made:
            self.folder(str(PurePosixPath(path).parent).strip("."))
            self._made.add(path)
            self._entry(path, stat.S_IFREG | mode, data)

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        path = path.strip("/")
        self._made.add(path)
        self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def bytes(self) -> bytes:
        """The archive, padded so that another one can follow."""
        self._entry("TRAILER!!!", 0)
        data = b"".join(self._parts)
        return data + bytes(-len(data) % 512)


def image(kernel: Unpacked, stories: Sequence[tuple[int, Story, float]]) -> bytes:
    """The initramfs for a boot: `stories` with their numbers and the seconds that each may take."""
    return base(kernel) + code() + jobs(stories)


# ----------------------------------------------------------------------
# What changes rarely


def base(kernel: Unpacked) -> bytes:
    """Python, modules and nft for a kernel, from the cache if possible. Raises `BenchError`."""
    inputs = dict(sorted(_inputs(kernel).items()))
    key = hashlib.sha256(f"{sys.version} {MAGIC_NUMBER.hex()}".encode())
    for path, data in inputs.items():
        key.update(f"\0{path}\0{len(data)}\0".encode())
        key.update(data)
    place = cache_folder() / f"{kernel.folder.name}-{key.hexdigest()[:16]}.cpio"
    with suppress(OSError):
        return place.read_bytes()
    archive = Archive()
    for each in ("proc", "sys", "dev", "tmp", "run", "root", "etc", "lib"):
        archive.folder(each)
    for path in ("lib64", "usr/lib", "usr/lib64"):
        archive.folder(str(PurePosixPath(path).parent).strip("."))
        archive.link(path, "/lib")
    for path, data in inputs.items():
        if path.endswith(".py"):
            compiled = _compiled(compile(data, path, "exec", dont_inherit=True, optimize=0))
            archive.file(path + "c", compiled)
        else:
            archive.file(path, data, 0o755)
    data = archive.bytes()
    with suppress(OSError):  # a full or read-only cache: built again next time
        fresh = place.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(data)
        fresh.rename(place)
        images = place.parent.glob(f"{kernel.folder.name}-*.cpio")
        for old in sorted(images, key=lambda each: each.stat().st_mtime)[: -_KEPT - 1]:
            old.unlink(missing_ok=True)
    return data


def _inputs(kernel: Unpacked) -> dict[str, bytes]:
    """Files of the base image by their paths in the guest; Python modules as source text."""
    python = Path(sys.executable).resolve()
    library = f"{PYTHON_HOME}/{sys.platlibdir}/python{sys.version_info[0]}.{sys.version_info[1]}"
    files: dict[str, Path] = {f"{PYTHON_HOME}/bin/python3": python}
    for path, name in _standard_library(Path(sysconfig.get_path("stdlib"))):
        files[f"{library}/{name}"] = path
    if nft := shutil.which("nft", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])):
        files["/usr/sbin/nft"] = Path(nft).resolve()
    programs = [path for where, path in files.items() if path.suffix != ".py"]
    files |= {f"/lib/{library.name}": library.resolve() for library in _libraries(programs)}
    inputs = {where: path.read_bytes() for where, path in files.items()}
    for name in kernel.modules:
        inputs[f"/modules/{name}"] = (kernel.folder / "modules" / name).read_bytes()
    inputs["/modules/order"] = "\n".join(kernel.modules).encode()
    inputs["/etc/passwd"] = b"root:x:0:0::/root:/bin/sh\nlearner:x:1000:1000::/tmp:/bin/sh\n"
    inputs["/etc/group"] = b"root:x:0:\nlearner:x:1000:\n"
    inputs["/init"] = f"#!{PYTHON_HOME}/bin/python3 -SP\n{_INIT}".encode()
    return inputs


def _standard_library(root: Path) -> Iterator[tuple[Path, str]]:
    for folder, folders, names in os.walk(root):
        folders[:] = [each for each in folders if each not in _LEFT_OUT and not each.startswith("config-")]
        for name in names:
            if name.endswith((".py", ".so")) and not _LEFT_OUT_MODULES.match(name):
                path = Path(folder, name)
                yield path, path.relative_to(root).as_posix()


def _libraries(programs: Iterable[Path]) -> set[Path]:
    """Shared libraries that programs and extension modules need, including the loader."""
    done = subprocess.run(["ldd", *programs], capture_output=True, text=True)
    found = {Path(path) for path in re.findall(r"(/\S+) \(0x", done.stdout)}
    if not found:
        raise BenchError("ldd, which lists Python's shared libraries, printed nothing: is it installed?")
    return found


def _compiled(code: Any) -> bytes:
    """What a .pyc file without a source file holds (PEP 552: never checked against one).

    Version 2 of marshal has no references, which would depend on the other objects of the process.
    """
    return MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code, 2)


# ----------------------------------------------------------------------
# What changes often


def code() -> bytes:
    """The parts of tcplab that a guest needs."""
    archive = Archive()
    package = Path(__file__).resolve().parents[2]
    for room in ROOMS:
        paths = sorted((package / room).rglob("*")) if (package / room).is_dir() else [package / room]
        for path in paths:
            where = f"{CODE}/tcplab/{path.relative_to(package).as_posix()}"
            if path.suffix == ".py" and path != package / "__init__.py":
                archive.file(where + "c", _from_source("", path))
            elif path.suffix in (".py", ".toml"):  # the package reads its own source text
                archive.file(where, path.read_bytes())
    guest = Path(__file__).with_name("guest.py")
    archive.file(f"{CODE}/guest.pyc", _from_source("", guest))
    return archive.bytes()


def _from_source(name: str, path: Path) -> bytes:
    """A compiled module, from Python's own cache if possible."""
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    return _compiled(loader.get_code(name))


def jobs(stories: Sequence[tuple[int, Story, float]]) -> bytes:
    """The stories, and the modules of those from outside tcplab. Raises `BenchError`."""
    archive = Archive()
    packed: list[tuple[int, bytes, float]] = []
    for number, story, limit_s in stories:
        try:
            packed.append((number, pickle.dumps(story), limit_s))
        except Exception as error:
            raise BenchError(f"{story.name} can't be pickled for another kernel: {error}.") from error
        for name, path in _own_modules(story).items():
            archive.file(f"{CODE}/{name.replace('.', '/')}.pyc", _from_source(name, path))
    archive.file("/jobs", pickle.dumps(packed))
    return archive.bytes()


def _own_modules(story: Story) -> Mapping[str, Path]:
    """The modules of a story's class and its bases, except those of tcplab and the standard library."""
    found = {}
    for kind in type(story).__mro__:
        module = sys.modules.get(kind.__module__)
        path = getattr(module, "__file__", None)
        top = kind.__module__.partition(".")[0]
        if path and path.endswith(".py") and top != "tcplab" and top not in sys.stdlib_module_names:
            found[kind.__module__] = Path(path)
    return found
