"""Kernels in virtual time: what is to be had, how it comes, what goes into a machine and what comes out."""

import base64
import hashlib
import json
import lzma
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bench import sandboxes
from bench.linux_stories import Fin, Wrong
from bench.sandboxes import ROOT, TESTS, gone, need_kernel
from conftest import need
from tcplab.bench import kernels as bench_kernels
from tcplab.bench import run, run_all
from tcplab.bench.kernels import debian, image, machine
from tcplab.bench.sandbox import BenchError, Cancelled
from tcplab.capture import recordings
from tcplab.cli import main
from tcplab.experiments import HandshakeAndClose, Keepalive

FLAVOUR = "6.1.0-57-cloud-amd64"


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tcplab" / "kernels"


@pytest.fixture
def programs(monkeypatch, tmp_path):
    """A folder of programs that come before the machine's own."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def program(name, text):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)

    return program


# --- names ---


@pytest.mark.parametrize("name", ["", "6", "6.2", "6.1.1", "../6.1", "6.1; reboot"])
def test_a_kernel_that_is_not_there_is_one_sentence(name):
    with pytest.raises(BenchError, match=r"^no kernel .* choose one of 5\.10, 6\.1, 6\.12, 6\.18, 7\.3\.$"):
        run(Keepalive(), f"linux:{name}")
    with pytest.raises(BenchError, match="no kernel"):
        list(run_all(name, [Keepalive()]))


def test_a_kernel_is_found_by_its_version_too():
    for kernel in debian.kernels().values():
        assert debian.find_kernel(kernel.version) is debian.find_kernel(kernel.name) is kernel


# --- apt ---

URI = "http://mirror.example"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([f"{URI}/debian/ Debian", f"{URI}/debian-security/ Debian"], ("debian/", "debian-security/")),
        ([f"{URI}/debian-security/ Debian", f"{URI}/debian/ Debian"], ("debian/", "debian-security/")),
        ([f"{URI}/node/ . nodistro", f"{URI}/debian "], ("debian", "")),
        ([f"{URI}/deb/ Debian"], ("deb/", "")),
        ([f"{URI}/ubuntu/ Ubuntu"], ("", "")),
        ([], ("", "")),
    ],
)
def test_the_archive_is_the_one_that_apt_has(lines, found):
    archives = debian.archives(lambda command: "\n".join(lines))
    assert archives == tuple(f"{URI}/{each}" if each else "" for each in found)


def test_apt_keeps_the_proxy_and_loses_the_hooks(tmp_path):
    dump = (
        'Acquire::http::Proxy "http://proxy.example:3128";\nDir::State "var/lib/apt";\n'
        'APT::Update::Post-Invoke:: "rm -rf /";\nDPkg::Post-Invoke:: "rm -rf /";\n'
    )
    lines = debian.Apt("bookworm", tmp_path)._configuration(dump).splitlines()
    assert lines[0] == 'Acquire::http::Proxy "http://proxy.example:3128";'
    assert not [line for line in lines if "rm -rf" in line or "var/lib" in line]
    assert f'Dir::State "{tmp_path}/state";' in lines and 'Dir::Etc::parts "/dev/null";' in lines


@pytest.mark.parametrize(
    ("suite", "name", "known", "newest"),
    [
        ("bookworm", "6.1", [f"linux-image-6.1.0-{n}-cloud-amd64" for n in (9, 57, 48)],
         ["linux-image-6.1.0-57-cloud-amd64"]),
        ("bullseye", "6.1", ["linux-image-6.1.0-0.deb11.52-cloud-amd64"], []),
        ("trixie", "6.12", ["linux-image-6.12.99+deb12-cloud-amd64", "linux-image-6.12.9+deb13-cloud-amd64",
                            "linux-image-6.12.118+deb13-cloud-amd64-dbg", "linux-image-6.12-cloud-amd64"],
         ["linux-image-6.12.9+deb13-cloud-amd64"]),
        ("trixie-backports", "7.3", [f"linux-{kind}-7.3.{n}+deb13-cloud-amd64" for kind in
                                     ("image", "binary", "modules") for n in (4, 10)],
         ["linux-binary-7.3.10+deb13-cloud-amd64", "linux-modules-7.3.10+deb13-cloud-amd64"]),
        ("trixie-backports", "7.0", [f"linux-{kind}-7.0.7+deb13-cloud-amd64" for kind in ("image", "binary")],
         ["linux-image-7.0.7+deb13-cloud-amd64", "linux-binary-7.0.7+deb13-cloud-amd64"]),
    ],
)  # fmt: skip
def test_the_newest_kernel_of_an_index(monkeypatch, tmp_path, suite, name, known, newest):
    monkeypatch.setattr(debian.Apt, "__call__", lambda *_, **__: "\n".join(known))
    assert debian.Apt(suite, tmp_path).newest(name) == newest


def module(*needs):
    """As much of a module as says what it depends on."""
    return b"\x7fELF\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0name=x\0"


def test_modules_come_after_what_they_need():
    files = {
        "nft_ct.ko.xz": lzma.compress(module("nf-tables", "nf_conntrack")),
        "nf_tables.ko": module("nfnetlink"),
        "nfnetlink.ko": module(),
        "nf-conntrack.ko": module(),
        "unused.ko": module(),
    }
    ordered = debian.in_order(files, ["nft_ct", "veth", "nf_tables"])
    assert list(ordered) == ["nfnetlink.ko", "nf_tables.ko", "nf_conntrack.ko", "nft_ct.ko"]
    assert ordered["nft_ct.ko"] == module("nf-tables", "nf_conntrack")


@pytest.fixture
def archive(monkeypatch, programs, tmp_path, cache):
    """A machine whose apt offers one package, which is whatever `offers` was called with."""
    need("dpkg-deb")
    offered = tmp_path / "offered"
    monkeypatch.setattr(debian, "KEYRING", tmp_path)
    monkeypatch.setattr(debian.platform, "machine", lambda: "x86_64")
    programs(
        "apt-get",
        f'case "$*" in\n*indextargets*) echo {URI}/debian/ Debian;;\n*update*) grep -q {URI}/debian/ '
        f'"$(dirname "$APT_CONFIG")/sources.list";;\n*download*) cp {offered}/*.deb .;;\nesac',
    )
    programs("apt-config", "echo")
    programs(
        "apt-cache",
        f'case "$1" in\npkgnames) ls {offered} | sed "s/_.*//";;\nshow) echo Size: 1000;;\n'
        f"madison) for d in {offered}/$2_*; do "
        '[ -e $d ] && echo "$2 | $(echo $d | rev | cut -d_ -f2 | rev) | here"; done;;\n'
        "esac; true",
    )

    def offers(package, version):
        tree = tmp_path / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(
            f"Package: {package}\nVersion: {version}\nArchitecture: amd64\nMaintainer: x <x@example.org>\n"
            "Description: x\n"
        )
        for name, data in {"boot/vmlinuz-x": b"kernel", "lib/modules/x/kernel/veth.ko": module()}.items():
            (tree / name).parent.mkdir(parents=True)
            (tree / name).write_bytes(data)
        offered.mkdir()
        deb = offered / f"{package}_{version}_amd64.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, deb], check=True, capture_output=True)
        return hashlib.sha256(deb.read_bytes()).hexdigest()

    return offers


def pinned(sha256):
    pin = debian.Pin("6.1.192-3", sha256)
    return replace(debian.find_kernel("6.1"), flavour=FLAVOUR, packages={"linux-image": pin})


def test_a_pinned_kernel_comes_into_the_cache(archive, cache):
    kernel = pinned(archive(f"linux-image-{FLAVOUR}", "6.1.192-3"))
    said = []
    assert debian.unpacked(kernel) is None
    made = debian.fetched(kernel, said.append)
    assert made == debian.unpacked(kernel) == debian.fetched(kernel)
    assert (made.version, made.pinned, made.modules) == ("6.1.192", True, ("veth.ko",))
    assert made.image.read_bytes() == b"kernel" and made.size < 2000
    assert [path.name for path in cache.iterdir()] == ["6.1"]  # neither packages nor apt's lists stay
    assert all(line.startswith("Linux 6.1: ") for line in said) and "reading Debian's index" in said[0]
    assert debian.remove(kernel) and debian.unpacked(kernel) is None and not debian.remove(kernel)


def test_a_file_with_another_sum_is_refused(archive, cache):
    archive(f"linux-image-{FLAVOUR}", "6.1.192-3")
    with pytest.raises(BenchError, match="does not match its SHA-256"):
        debian.fetch(pinned("0" * 64))
    assert list(cache.iterdir()) == []


def test_a_kernel_that_debian_has_replaced_is_the_newest_and_says_so(archive):
    archive("linux-image-6.1.0-60-cloud-amd64", "6.1.200-1")
    kernel, said = pinned("0" * 64), []
    made = debian.fetch(kernel, said.append)
    assert (made.version, made.pinned) == ("6.1.200", False)
    assert any("Debian no longer has 6.1.192" in line for line in said)


def test_a_download_can_be_cancelled(archive, programs, cache):
    kernel = pinned(archive(f"linux-image-{FLAVOUR}", "6.1.192-3"))
    programs("apt-get", f'case "$*" in *indextargets*) echo {URI}/debian/;; *) exec sleep 60;; esac')
    began = time.monotonic()
    with pytest.raises(Cancelled):
        debian.fetch(kernel, cancelled=lambda: time.monotonic() > began + 0.5)
    assert time.monotonic() - began < 20 and list(cache.iterdir()) == []


def test_what_apt_says_when_the_archive_is_out_of_reach(archive, programs):
    archive(f"linux-image-{FLAVOUR}", "6.1.192-3")
    programs(
        "apt-get",
        f'case "$*" in *indextargets*) echo {URI}/debian/;; *) echo "E: No route" >&2; exit 100;; esac',
    )
    with pytest.raises(BenchError, match=r"^apt-get -qq failed for Debian's bookworm: E: No route$"):
        debian.fetch(pinned("0" * 64))


# --- why not ---


def test_every_reason_is_a_sentence(archive, programs, monkeypatch, tmp_path):
    archive(f"linux-image-{FLAVOUR}", "6.1.192-3")
    programs(machine.QEMU, "")
    programs("nft", "")
    assert bench_kernels.why_not() is None and bench_kernels.why_not("6.1") is None
    nowhere = "/nonexistent"
    with monkeypatch.context() as patch:
        patch.setattr(debian, "KEYRING", Path(nowhere))
        assert bench_kernels.why_not("6.1") == (
            "Linux 6.1 is not in the cache, and kernels can't be fetched here: "
            "/nonexistent is missing: install the package debian-archive-keyring."
        )
    programs("apt-get", "echo http://mirror.example/ubuntu/ Ubuntu")
    assert "no Debian archive among its sources" in bench_kernels.why_not()
    monkeypatch.setattr(debian.platform, "machine", lambda: "aarch64")
    assert bench_kernels.why_not().endswith("they are for x86-64, and this is aarch64.")
    monkeypatch.setattr(debian.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    for missing, says in (
        ("apt-get", "with apt-get, which is not installed"),
        (machine.QEMU, "is not installed"),
    ):
        (tmp_path / "programs" / missing).unlink()
        assert says in bench_kernels.why_not()
    with pytest.raises(BenchError, match=r"^Linux 6\.1 can't run here in virtual time: qemu-sys"):
        run(Keepalive(), "linux:6.1")


# --- what goes in ---


def entries(data):
    """The files of a cpio archive: name -> (mode, content)."""
    found, at = {}, 0
    while at < len(data):
        if data[at : at + 6] != b"070701":
            assert not data[at:].strip(b"\0")
            break
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110 : at + 110 + fields[11] - 1].decode()
        start = (at + 110 + fields[11] + 3) & ~3
        found[name] = (fields[1], data[start : start + fields[6]])
        at = (start + fields[6] + 3) & ~3
        if name == "TRAILER!!!":
            at = (at + 511) & ~511
    return found


def unpacked_kernel(tmp_path):
    folder = tmp_path / "6.1"
    (folder / "modules").mkdir(parents=True)
    (folder / "modules/veth.ko").write_bytes(module())
    (folder / "vmlinuz").write_bytes(b"kernel")
    return debian.Unpacked(folder, "6.1.192", True, ("veth.ko",), ())


def test_the_same_inputs_are_the_same_bytes(tmp_path, cache):
    need("nft")
    kernel = unpacked_kernel(tmp_path)
    cache.mkdir(parents=True)
    first = image.base(kernel)
    (kept,) = cache.glob("6.1-*.cpio")
    assert kept.read_bytes() == first and image.base(kernel) == first
    kept.unlink()
    code = (
        "import sys, hashlib; from pathlib import Path; from tcplab.bench.kernels import image, debian;"
        "k = debian.Unpacked(Path(sys.argv[1]), '6.1.192', True, ('veth.ko',), ());"
        "print(*[hashlib.sha256(each).hexdigest() for each in (image.base(k), image.code())])"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, kernel.folder], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert other.stdout.split() == [hashlib.sha256(each).hexdigest() for each in (first, image.code())]
    (kernel.folder / "modules/veth.ko").write_bytes(module("other"))
    assert image.base(kernel) != first


def test_an_image_holds_what_a_guest_needs(tmp_path, cache):
    need("nft")
    held = entries(image.image(unpacked_kernel(tmp_path), [(0, Fin(), 60.0)]))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for name in (
        "python/bin/python3", f"python/lib/{version}/asyncio/__init__.pyc", "usr/sbin/nft", "modules/veth.ko",
        "opt/tcplab/bench/inside.pyc", "opt/tcplab/experiments/keepalive.pyc", "opt/guest.pyc",
        "opt/bench/linux_stories.pyc", "init", "lib64", "tmp",
    ):  # fmt: skip
        assert name in held
    assert held["init"][0] & 0o111 and held["modules/order"][1] == b"veth.ko"
    ((number, story, limit_s),) = pickle.loads(held["jobs"][1])
    assert (number, pickle.loads(story), limit_s) == (0, Fin(), 60.0)
    assert not [name for name in held if "widgets" in name or "_ssl" in name or "site-packages" in name]


# --- the machine, in which a script takes QEMU's place ---


def line(word, number=0, content=None):
    return f"{word} {number} {base64.b64encode(zlib.compress(pickle.dumps(content))).decode()}"


def qemu(programs, lines, then=""):
    """A QEMU that says these lines and then does something."""
    said = "".join(f"echo '{each}' >>$said\n" for each in lines)
    find = 'for a in "$@"; do case $a in file,id=said,path=*) said=${a#*path=};; esac; done\n'
    programs(machine.QEMU, f"{find}{said}{then}")


@pytest.fixture
def mark(monkeypatch):
    """A word in the environment of whatever this test starts; nothing with it outlives the test."""
    word = uuid.uuid4().hex
    monkeypatch.setenv("TCPLAB_TEST", word)
    yield word
    assert gone(word)


def booted(tmp_path, cancelled=lambda: False, silent_s=60.0):
    return machine.boot(unpacked_kernel(tmp_path), b"image", cancelled, silent_s)


def test_messages_come_one_by_one(programs, tmp_path, mark):
    qemu(programs, [line("ready"), line("done", 3, {"a": [1]}), line("over")], "exec sleep 60")
    messages = list(booted(tmp_path))
    assert [(each.word, each.number, each.content) for each in messages] == [
        ("ready", 0, None), ("done", 3, {"a": [1]}),
    ]  # fmt: skip


def test_a_machine_that_ends_or_is_silent_is_one_sentence(programs, tmp_path, mark):
    qemu(programs, [line("ready")], "echo Kernel panic; echo 'no init?' >&2")
    with pytest.raises(BenchError, match=r"^it ended too early; its last console message was 'no init.'\.$"):
        list(booted(tmp_path / "a"))
    qemu(programs, [], "exec sleep 60")
    with pytest.raises(BenchError, match=r"^it has sent nothing for 1 s\.$"):
        list(booted(tmp_path / "b", silent_s=1))


def test_a_cancelled_machine_is_gone(programs, tmp_path, mark):
    qemu(programs, [line("ready")], "exec sleep 60")
    cancel = threading.Event()
    messages = booted(tmp_path, cancel.is_set)
    assert next(messages).word == "ready"
    cancel.set()
    with pytest.raises(Cancelled):
        next(messages)
    assert gone(mark, 5)


def test_a_machine_is_gone_when_nobody_wants_the_rest(programs, tmp_path, mark):
    qemu(programs, [line("ready")], "exec sleep 60")
    messages = booted(tmp_path)
    next(messages)
    messages.close()
    assert gone(mark, 5)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_machine_ends_with_the_process_that_started_it(programs, tmp_path, mark, end):
    qemu(programs, [line("ready")], "exec sleep 60")
    kernel = unpacked_kernel(tmp_path)
    code = (
        "import sys; from pathlib import Path; from tcplab.bench.kernels import machine, debian;"
        "k = debian.Unpacked(Path(sys.argv[1]), '6.1.192', True, ('veth.ko',), ());"
        "[print(m.word, flush=True) for m in machine.boot(k, b'', lambda: False)]"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)])}
    child = subprocess.Popen(
        [sys.executable, "-c", code, kernel.folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=environment,
    )  # fmt: skip
    with child:
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(end)
    assert gone(mark, 10)


def test_a_story_whose_machine_dies_is_named_and_the_others_run(programs, tmp_path, monkeypatch, mark):
    stories = [HandshakeAndClose(), Keepalive(), HandshakeAndClose(closer="server")]
    first, second = tmp_path / "first", [line("done", 2, "second"), line("over")]
    begins = [line("ready"), line("done", 0, "first"), line("begins", 1)]
    once, again = (" ".join(f"'{each}'" for each in lines) for lines in (begins, second))
    then = f"[ -e {first} ] || {{ touch {first}; printf '%s\n' {once} >>$said; exit; }}"
    qemu(programs, [], f"{then}; printf '%s\n' {again} >>$said")
    monkeypatch.setattr(bench_kernels.image, "image", lambda *_: b"")
    monkeypatch.setattr(bench_kernels, "why_not", lambda *_: None)
    monkeypatch.setattr(bench_kernels, "fetched", lambda *_: unpacked_kernel(tmp_path))
    said = []
    made = list(bench_kernels.traces("6.1", stories, said.append))
    assert (made[0], made[2]) == ((0, "first"), (2, "second"))
    assert made[1][0] == 1 and str(made[1][1]).startswith("keepalive: Linux 6.1.192 stopped during the run")
    assert said[0] == "Linux 6.1.192: 0 of 3 run; boots" and said[-1] == "Linux 6.1.192: 2 of 3 run; boots"


# --- the command line ---


def test_kernels_are_listed_fetched_and_removed(archive, programs, monkeypatch, capsys):
    programs(machine.QEMU, "")
    programs("nft", "")
    kernel = pinned(archive(f"linux-image-{FLAVOUR}", "6.1.192-3"))
    monkeypatch.setattr(debian, "kernels", lambda: {"6.1": kernel})
    monkeypatch.setattr(bench_kernels, "kernels", lambda: {"6.1": kernel})

    def listed(*more):
        assert main(["kernels", "--json", *more]) == 0
        (row,) = json.loads(capsys.readouterr().out)["kernels"]
        return row

    before = listed()
    assert (before["fetched"], before["megabytes"], before["why_not"]) == (False, None, None)
    assert main(["kernels"]) == 0 and "tcplab kernels --fetch 6.1" in capsys.readouterr().out
    after = listed("--fetch", "all")
    assert (after["version"], after["fetched"], after["pinned"]) == ("6.1.192", True, True)
    assert main(["kernels"]) == 0 and "fetched, 0 MB" in capsys.readouterr().out
    assert listed("--remove", "6.1")["fetched"] is False
    for option in ("--fetch", "--remove"):
        assert main(["kernels", option, "6.2"]) == 2
        assert capsys.readouterr().err == (
            "tcplab: no kernel '6.2' to run on in virtual time: choose one of 6.1.\n"
        )


def test_recordings_of_another_kernel_say_so(monkeypatch, tmp_path, capsys):
    def instead(kernel, stories, tell):
        for index, story in enumerate(stories):
            trace = run(story)
            trace.bench, trace.linux = f"linux:{kernel}", "6.1.192"
            yield index, trace if index else "the machine has no time."

    monkeypatch.setattr(recordings, "run_all", instead)
    names = ["fin_or_rst", "handshake_and_close"]
    assert main(["record", *names, "--linux", "6.1", "--into", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert "handshake_and_close.pcap: " in out and out.strip().endswith(" segments on Linux 6.1.192")
    assert err == "tcplab: fin_or_rst was not recorded: the machine has no time.\n"
    sidecar = json.loads((tmp_path / "handshake_and_close.json").read_text("utf-8"))
    assert sidecar["command"] == "tcplab record handshake_and_close --linux 6.1"
    assert (sidecar["linux"], sidecar["software"]["QEMU"]) == ("6.1.192", "virtual time")


# --- where there is none ---


@pytest.mark.parametrize(
    ("system", "archive", "ends"),
    [
        ("debian", "", pytest.fail.Exception), ("debian", "deb.example", pytest.fail.Exception),
        ("ubuntu", "", pytest.skip.Exception), ("ubuntu", "deb.example", pytest.fail.Exception),
    ],
)  # fmt: skip
def test_only_a_system_without_debians_archive_skips_in_ci(
    system, archive, ends, programs, cache, monkeypatch
):
    for name in (machine.QEMU, "nft", "apt-get", "apt-config", "dpkg-deb"):
        programs(name, "exit 100")
    monkeypatch.setattr(debian, "KEYRING", Path(__file__))
    monkeypatch.setattr(debian, "archives", lambda: (archive, ""))
    monkeypatch.setattr(sandboxes, "os_release", lambda: {"NAME": system.title(), "ID": system})
    monkeypatch.setenv("CI", "1")
    with pytest.raises(ends) as ended:
        need_kernel("6.1")
    if not archive:
        why = "this machine's apt has no Debian archive among its sources."
        assert f"Linux 6.1 is not in the cache of this {system.title()}: {why}" in str(ended.value)
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception):
        need_kernel("6.1")


# --- Linux itself ---


@pytest.fixture(scope="module")
def kernel():
    """A function that has a kernel ready."""
    return need_kernel


def in_parallel(jobs):
    """What each (kernel, stories) gave, as a list by index: machines side by side, one a processor."""

    def one(job):
        name, stories = job
        made = dict(run_all(name, stories))
        return [made[index] for index in range(len(stories))]

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, jobs))


#: What each of the two machines with Linux 6.1 runs, and the one with the newest.
BOTH = [HandshakeAndClose(), Keepalive(idle_s=20, interval_s=3, probes=3)]
OLDER = [*BOTH, Keepalive(), Fin(), Wrong(), HandshakeAndClose(latency_ms=20)]


@pytest.fixture(scope="module")
def machines(kernel):
    """Three boots: Linux 6.1 twice with the same stories, and the newest; versions and traces by kernel."""
    versions = kernel("6.1"), kernel("7.3")
    first, again, newest = in_parallel([("6.1", OLDER), ("6.1", OLDER), ("7.3", BOTH)])
    return versions, first, again, newest


def test_many_stories_run_in_one_boot_of_another_kernel(machines):
    (old, new), first, _, newest = machines
    for version, name, traces in ((old, "6.1", first), (new, "7.3", newest)):
        closed, alive_no_more = traces[:2]
        assert (closed.bench, closed.linux, closed.is_virtual) == (f"linux:{name}", version, True)
        assert closed.outcome["segments"] >= 7 and closed.outcome["time_wait_on"] == "client"
        assert alive_no_more.outcome["error"] == "ETIMEDOUT"
        # 29 s, and what the timer wheel is late: up to 2 s for 20 s.
        assert 29 <= alive_no_more.outcome["detected_after_s"] <= 32
    assert first[3].experiment == "story" and first[3].bench == "linux:6.1"  # not tcplab's own module
    assert 20 <= first[5].packets[0].arrives / 1e6 - first[5].packets[0].t / 1e6 <= 22


def test_two_hours_of_keepalive_are_two_hours_of_the_kernel(machines):
    _, first, _, _ = machines
    outcome = first[2].outcome
    # 7200 + 9 × 75 s, and what the timer wheel is late: up to 131 s for 7200 s.
    assert 7875 <= outcome["detected_after_s"] <= 8015 and len(outcome["probe_times_s"]) == 9
    assert first[2].packets[-1].segment.letters == "RA"


def test_a_mistake_in_a_story_is_a_sentence_and_the_next_one_runs(machines):
    _, first, _, _ = machines
    assert isinstance(first[4], str) and "\n" not in first[4]
    assert first[5].outcome["time_wait_on"] == "client"


def happened(trace):
    """What a run holds, without its times and what chance chose by them (RFC 6528); and its times.

    Why a story failed is a text.
    """
    if isinstance(trace, str):
        return trace, []
    packets = [
        (p.sender, p.receiver, p.kind, p.segment.letters, relative, p.segment.length, p.segment.window)
        for p, relative in zip(trace.packets, trace.relative(), strict=True)
    ]
    calls = [(call.host, call.call, call.result) for call in trace.calls]
    times = [each.t for each in (*trace.packets, *trace.calls)]
    return (trace.experiment, trace.linux, packets, calls), times


def test_two_boots_give_the_same_traces_to_the_millisecond(machines):
    """QEMU rounds when it skips idle time, and a serial line takes its time: microseconds may differ."""
    _, first, again, _ = machines
    assert len(first) == len(again) > 3
    for ours, theirs in zip(first, again, strict=True):
        (one, one_times), (other, other_times) = happened(ours), happened(theirs)
        assert one == other
        assert one_times == pytest.approx(other_times, rel=0, abs=1_000_000)


def test_a_boot_can_be_cancelled(kernel, mark):
    kernel("6.1")
    began, said = time.monotonic(), []
    with pytest.raises(Cancelled):
        list(run_all("6.1", BOTH, said.append, lambda: time.monotonic() > began + 2))
    assert said and gone(mark, 10)
