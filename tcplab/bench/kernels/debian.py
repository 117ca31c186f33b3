"""Debian's kernels: the list, the download by this machine's apt, and the user's cache of unpacked kernels.

Nothing is installed and the machine's apt is not changed: apt gets a separate configuration and state
directory for the download. The machine's configuration determines where packages come from; apt checks
them against Debian's signed index, and tcplab against the sums in kernels.toml.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import platform
import re
import shutil
import subprocess
import tarfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Any

from tcplab.bench.sandbox import BenchError, Cancelled

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: The modules that the Linux bench and nft's rules need; those that a kernel does not have (built in, or
#: added later) are left out.
MODULES = (
    "veth", "af_packet", "inet_diag", "tcp_diag", "nf_conntrack", "nf_tables", "nft_reject",
    "nft_reject_ipv4", "nft_limit", "nft_ct", "nft_counter", "nft_compat", "ipv6",
)  # fmt: skip
#: Names of a kernel's packages, before its flavour.
_KINDS = ("linux-image", "linux-binary", "linux-modules")
#: Suites with a security archive.
_SECURED = ("bullseye", "bookworm", "trixie")
#: Called with a sentence about the progress, at most a few times a second.
Tell = Callable[[str], None]
Cancel = Callable[[], bool]


@dataclass(frozen=True)
class Pin:
    """A package's exact version and the SHA-256 of its file."""

    version: str
    sha256: str


@dataclass(frozen=True)
class Kernel:
    """A kernel that Debian offers."""

    #: `6.1`
    name: str
    suite: str
    #: `6.1.192`
    version: str
    #: What follows `linux-image-` in the package's name.
    flavour: str
    packages: Mapping[str, Pin]

    @property
    def folder(self) -> Path:
        """Where it is unpacked."""
        return cache_folder() / self.name


@dataclass(frozen=True)
class Unpacked:
    """A kernel in the cache."""

    folder: Path
    #: The kernel's version: `6.1.192`.
    version: str
    #: Whether it is the one that kernels.toml names.
    pinned: bool
    #: File names of modules, in the order in which to load them.
    modules: tuple[str, ...]
    packages: tuple[str, ...]

    @property
    def image(self) -> Path:
        """The kernel itself."""
        return self.folder / "vmlinuz"

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


@cache
def kernels() -> Mapping[str, Kernel]:
    """Every kernel by its name, oldest first."""
    entries = tomllib.loads(Path(__file__).with_name("kernels.toml").read_text("utf-8"))["kernel"]
    made = (
        Kernel(**{**entry, "packages": {name: Pin(**pin) for name, pin in entry["packages"].items()}})
        for entry in entries
    )
    return {kernel.name: kernel for kernel in made}


def find_kernel(name: str) -> Kernel:
    """The kernel called `6.1`, or `6.1.192` where that is its version. Raises `BenchError`."""
    for kernel in kernels().values():
        if name in (kernel.name, kernel.version):
            return kernel
    there = ", ".join(kernels())
    raise BenchError(f"no kernel {name!r} to run on in virtual time: choose one of {there}.")


def cache_folder() -> Path:
    """Where kernels and images are kept: below `$XDG_CACHE_HOME`, or `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()) / "tcplab" / "kernels"


def unpacked(kernel: Kernel) -> Unpacked | None:
    """A kernel's files in the cache; None where they are absent or unusable."""
    try:
        values = json.loads((kernel.folder / "kernel.json").read_text("utf-8"))
        found = Unpacked(
            kernel.folder, str(values["version"]), values["version"] == kernel.version,
            tuple(values["modules"]), tuple(values["packages"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.image.exists() else None


def remove(kernel: Kernel) -> bool:
    """Remove a kernel and its images from the cache; False where there was nothing."""
    paths = [path for path in (kernel.folder, *cache_folder().glob(f"{kernel.name}-*.cpio")) if path.exists()]
    for path in paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return bool(paths)


def fetched(kernel: Kernel, tell: Tell = lambda _: None, cancelled: Cancel = lambda: False) -> Unpacked:
    """The kernel in the cache, downloaded first if needed. Raises `BenchError`."""
    if found := unpacked(kernel):
        return found
    return fetch(kernel, tell, cancelled)


def why_no_fetch() -> str | None:
    """Why kernels can't be fetched on this machine, in one sentence, or None; nothing is sent."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"they are for x86-64, and this is {platform.machine()}."
    for program in ("apt-get", "apt-config", "dpkg-deb"):
        if shutil.which(program) is None:
            return f"they are fetched from Debian's archive with {program}, which is not installed."
    if not KEYRING.exists():
        return f"{KEYRING} is missing: install the package debian-archive-keyring."
    if not archives()[0]:
        return "this machine's apt has no Debian archive among its sources."
    return None


# ----------------------------------------------------------------------
# apt, with a separate configuration and state


def archives(run: Callable[[Sequence[str]], str] | None = None) -> tuple[str, str]:
    """Debian's archive and its security archive, as this machine's apt has them; empty where it has none."""
    ask = run or _output
    form = "$(REPO_URI) $(ORIGIN)"
    lines = dict.fromkeys(ask(["apt-get", "indextargets", "--format", form]).splitlines())
    pairs = [line.partition(" ")[::2] for line in lines if line.strip()]
    secure = [uri for uri, _ in pairs if re.search(r"/debian-security/?$", uri)]
    plain = [uri for uri, origin in pairs if uri not in secure
             and (origin == "Debian" or re.search(r"/debian/?$", uri))]  # fmt: skip
    return (plain or [""])[0], (secure or [""])[0]


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


class Apt:
    """apt for one suite: the machine's apt knows how to reach the archive, everything else is in `home`."""

    def __init__(self, suite: str, home: Path, cancelled: Cancel = lambda: False) -> None:
        self.suite, self.home, self._cancelled = suite, home, cancelled

    def prepare(self) -> None:
        """Write its configuration and fetch the suite's index. Raises `BenchError`."""
        for each in ("state/lists/partial", "cache/archives/partial"):
            (self.home / each).mkdir(parents=True, exist_ok=True)
        archive, security = archives()
        sources = [f"deb [signed-by={KEYRING}] {archive} {self.suite} main"]
        if self.suite in _SECURED and security:
            sources.append(f"deb [signed-by={KEYRING}] {security} {self.suite}-security main")
        (self.home / "sources.list").write_text("\n".join(sources) + "\n")
        (self.home / "apt.conf").write_text(self._configuration(_output(["apt-config", "dump"])))
        self("apt-get", "-qq", "update")

    def _configuration(self, machine: str) -> str:
        """The machine's proxies and similar settings, without its hooks; the only file read (apt.conf(5))."""
        kept = [line for line in machine.splitlines() if line.startswith("Acquire::")]
        ours = {
            "Dir::State": self.home / "state", "Dir::State::status": "/dev/null",
            "Dir::Cache": self.home / "cache",
            "Dir::Etc::sourcelist": self.home / "sources.list", "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::parts": "/dev/null", "Dir::Etc::main": "/dev/null", "APT::Architecture": "amd64",
            "APT::Sandbox::User": "", "Acquire::Languages": "none", "Acquire::Retries": "2",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
        }  # fmt: skip
        return "\n".join([*kept, *(f'{name} "{value}";' for name, value in ours.items())]) + "\n"

    def __call__(self, *command: str, folder: Path | None = None) -> str:
        """Run one of apt's programs; its output. Raises `BenchError` with apt's error, `Cancelled`."""
        environment = os.environ | {"APT_CONFIG": str(self.home / "apt.conf"), "LC_ALL": "C"}
        with subprocess.Popen(
            command, env=environment, cwd=folder, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                while True:
                    try:
                        output, errors = process.communicate(timeout=0.1)
                        break
                    except subprocess.TimeoutExpired:
                        if self._cancelled():
                            raise Cancelled("the download was cancelled.") from None
            except BaseException:
                process.kill()
                raise
        complaints = [line for line in errors.splitlines() if line.startswith(("E:", "Err"))]
        if process.returncode or complaints:
            reason = (complaints or errors.strip().splitlines() or ["nothing"])[0]
            raise BenchError(f"{' '.join(command[:2])} failed for Debian's {self.suite}: {_harmless(reason)}")
        return output

    def has(self, package: str, version: str) -> bool:
        """Whether the index has this version of a package."""
        lines = self("apt-cache", "madison", package).splitlines()
        return any(line.split("|")[1].strip() == version for line in lines if line.count("|") == 2)

    def newest(self, name: str) -> list[str]:
        """The packages of the newest kernel x.y: `linux-image-6.1.0-57-cloud-amd64`; empty without one."""
        known = self("apt-cache", "pkgnames", "linux-").split()
        x_y = re.escape(name)
        fits = re.compile(rf"({'|'.join(_KINDS)})-({x_y}\.\d+[^~]*-cloud-amd64)")
        found = [match.groups() for each in known if (match := fits.fullmatch(each))]
        found = [(kind, flavour) for kind, flavour in found if self._is_of_suite(flavour)]
        if not found:
            return []
        flavour = max((flavour for _, flavour in found), key=_numbers)
        there = {kind for kind, each in found if each == flavour}
        kinds = [kind for kind in ("linux-binary", "linux-modules") if kind in there]
        # From 6.19 to 7.1 the image package has the modules, and the kernel is in a separate package.
        kinds = kinds if len(kinds) == 2 or "linux-image" not in there else ["linux-image", *kinds]
        return [f"{kind}-{flavour}" for kind in kinds]

    def _is_of_suite(self, flavour: str) -> bool:
        """Not another suite's kernel, which Debian rebuilds for older ones (`deb11`)."""
        built_for = re.search(r"deb(\d+)", flavour)
        own = {"bullseye": "11", "bookworm": "12", "trixie": "13"}[self.suite.partition("-")[0]]
        return built_for is None or (built_for[1] == own and "-0.deb" not in flavour)


def _numbers(flavour: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", flavour)]


def _harmless(text: str) -> str:
    """A line of another program's output, without control characters."""
    return "".join(character for character in text if character.isprintable())[:300]


# ----------------------------------------------------------------------
# Into the cache


def fetch(kernel: Kernel, tell: Tell = lambda _: None, cancelled: Cancel = lambda: False) -> Unpacked:
    """Fetch a kernel and replace the cached one. Raises `BenchError`, `Cancelled`."""
    if reason := why_no_fetch():
        raise BenchError(
            f"Linux {kernel.name} is not in the cache, and kernels can't be fetched here: {reason}"
        )
    with _workshop(kernel.name) as folder:
        apt = Apt(kernel.suite, folder / "apt", cancelled)
        tell(f"Linux {kernel.name}: reading Debian's index of {kernel.suite}")
        apt.prepare()
        debs, pinned = _download(kernel, apt, folder, tell)
        tell(f"Linux {kernel.name}: unpacking")
        made = folder / "made"
        _unpack(debs, made)
        version = re.sub(r"[-~].*", "", debs[0].name.split("_")[1].replace("%3a", ":").rpartition(":")[2])
        _note(made, version, debs)
        _put_in_place(made, kernel.folder)
    found = unpacked(kernel)
    assert found is not None and found.pinned == pinned
    return found


@contextmanager
def _workshop(name: str) -> Iterator[Path]:
    """A temporary folder in the cache; those that a killed process has left are removed."""
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        for left in cache_folder().glob("making-*"):
            if time.time() - left.stat().st_mtime > 3600:
                shutil.rmtree(left, ignore_errors=True)
        with TemporaryDirectory(prefix=f"making-{name}-", dir=cache_folder()) as folder:
            yield Path(folder)
    except OSError as error:
        raise BenchError(f"the cache {cache_folder()} is not writable: {error.strerror}.") from error


def _download(kernel: Kernel, apt: Apt, folder: Path, tell: Tell) -> tuple[list[Path], bool]:
    """The packages' files, and whether they are the pinned ones."""
    names = {f"{kind}-{kernel.flavour}": pin for kind, pin in kernel.packages.items()}
    pinned = all(apt.has(name, pin.version) for name, pin in names.items())
    wanted = [f"{name}={pin.version}" for name, pin in names.items()] if pinned else apt.newest(kernel.name)
    if not wanted:
        raise BenchError(f"Debian's {kernel.suite} no longer has a kernel {kernel.name}.")
    size = sum(_size(apt, each) for each in wanted)
    tell(f"Linux {kernel.name}: fetching {size / 1e6:.0f} MB from Debian")
    (folder / "debs").mkdir()
    apt("apt-get", "-qq", "download", *wanted, folder=folder / "debs")
    debs = sorted((folder / "debs").glob("*.deb"))
    if pinned:
        sums = {pin.sha256 for pin in names.values()}
        for deb in debs:
            if hashlib.sha256(deb.read_bytes()).hexdigest() not in sums:
                raise BenchError(f"{deb.name} does not match its SHA-256 in kernels.toml.")
    else:
        was = f"{kernel.version}, the one that tcplab was tested with"
        tell(f"Linux {kernel.name}: Debian no longer has {was}; taking its newest {kernel.name}")
    return debs, pinned


def _size(apt: Apt, wanted: str) -> int:
    found = re.search(r"^Size: (\d+)$", apt("apt-cache", "show", wanted), re.MULTILINE)
    return int(found[1]) if found else 0


def _unpack(debs: Iterable[Path], into: Path) -> None:
    """Unpack the kernel and the modules that are used from the packages, and nothing else."""
    (into / "modules").mkdir(parents=True)
    found: dict[str, bytes] = {}
    for deb in debs:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for name, file in _files(archive):
                    if name.startswith("vmlinuz"):
                        (into / "vmlinuz").write_bytes(file.read())
                    elif ".ko" in name:
                        found[name] = file.read()
        if process.returncode:
            raise BenchError(f"dpkg-deb can't unpack {deb.name}.")
    if not (into / "vmlinuz").exists():
        raise BenchError(f"no kernel in {', '.join(deb.name for deb in debs)}.")
    for name, data in in_order(found).items():
        (into / "modules" / name).write_bytes(data)


def _files(archive: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    for member in archive:
        file = archive.extractfile(member) if member.isfile() else None
        if file is not None:
            yield PurePosixPath(member.name).name, file


def in_order(files: Mapping[str, bytes], wanted: Iterable[str] = MODULES) -> dict[str, bytes]:
    """Modules and their dependencies, unpacked, each after those that it depends on.

    depmod writes modules.dep at installation, so dependencies are read from each module's section
    .modinfo (include/linux/module.h).
    """
    packed = {name.partition(".ko")[0].replace("-", "_"): name for name in files}
    ordered: dict[str, bytes] = {}

    def add(module: str) -> None:
        if module not in packed or f"{module}.ko" in ordered:
            return
        data = _plain(packed[module], files[packed[module]])
        depends = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in (depends[1].decode() if depends else "").split(","):
            add(other.replace("-", "_"))
        ordered[f"{module}.ko"] = data

    for module in wanted:
        add(module)
    return ordered


def _plain(name: str, data: bytes) -> bytes:
    if name.endswith(".xz"):
        return lzma.decompress(data)
    if name.endswith(".zst"):
        for module in ("compression.zstd", "backports.zstd"):
            try:
                return import_module(module).decompress(data)
            except ImportError:
                continue
        raise BenchError(
            "the kernel's modules are compressed with zstd: pip install backports.zstd to read them."
        )
    return data


def _note(made: Path, version: str, debs: Iterable[Path]) -> None:
    values: dict[str, Any] = {
        "version": version,
        "packages": [deb.name for deb in debs],
        "modules": _load_order(made / "modules"),
    }
    (made / "kernel.json").write_text(json.dumps(values, indent=1) + "\n", "utf-8")


def _load_order(folder: Path) -> list[str]:
    return list(in_order({path.name: path.read_bytes() for path in folder.glob("*.ko")}))


def _put_in_place(made: Path, place: Path) -> None:
    if place.exists():
        aside = made.with_name("before")
        place.rename(aside)
    try:
        made.rename(place)
    except OSError:
        if not place.exists():  # else another process was faster
            raise
