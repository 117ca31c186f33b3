"""A machine in QEMU whose clock counts instructions: boots a kernel, runs stories, returns their traces.

The guest's time is not the host's: idle time is skipped, and a busy host makes nothing late (QEMU's
documentation, "TCG Instruction Counting"). The same inputs give the same run, to the millisecond. It has no
disk and no network card and needs no privileges: its input is the initramfs, its output are two pipes.
"""

from __future__ import annotations

import base64
import fcntl
import os
import pickle
import selectors
import shutil
import subprocess
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tcplab.bench.kernels.debian import Cancel, Unpacked
from tcplab.bench.sandbox import BenchError, Cancelled

QEMU = "qemu-system-x86_64"
MEMORY_MB = 512
#: How long a machine may stay silent, seconds of the host's clock.
SILENT_S = 300.0
_LOOK_S = 0.1
#: Bytes that a guest may write ahead of the reader: any user may set this size (/proc/sys/fs/pipe-max-size).
_PIPE = 1 << 20
#: Without anything that depends on the host or on chance: the kernel's address, the processor's features.
_APPEND = (
    "console=ttyS0 loglevel=4 panic=-1 mitigations=off tsc=reliable nowatchdog no_timer_check "
    "nokaslr norandmaps 8250.nr_uarts=2 random.trust_cpu=on rdinit=/init PYTHONHASHSEED=0 PYTHONHOME=/python "
    "PYTHONDONTWRITEBYTECODE=1 PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8"
)
#: Runs a command and kills it when standard input ends, as when the process at the other end is killed.
_GUARD = """
exec 3<&0
"$@" </dev/null 3<&- &
machine=$!
(read -r _ <&3; kill -9 $machine) 2>/dev/null &
watch=$!
wait $machine
kill $watch 2>/dev/null
"""


@dataclass(frozen=True)
class Message:
    """A guest's message: `ready`, `begins`, `at`, `done`, `refused`, `failed`, `over`."""

    word: str
    #: The story's number.
    number: int
    content: Any


def why_no_machine() -> str | None:
    """Why no other kernel can be booted here, in one sentence, or None."""
    if shutil.which(QEMU) is None:
        return f"{QEMU} is not installed: apt install --no-install-recommends qemu-system-x86."
    if shutil.which("nft", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])) is None:
        return "firewall rules need the program nft: install the package nftables."
    return None


def _command(kernel: str, initrd: str, said: int, console: int) -> list[str]:
    return [
        QEMU, "-M", "pc", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-icount", "shift=0,sleep=off",
        "-seed", "1", "-rtc", "base=2026-01-01T00:00:00,clock=vm", "-m", str(MEMORY_MB),
        "-display", "none", "-nodefaults", "-no-user-config", "-no-reboot", "-kernel", kernel,
        "-initrd", initrd, "-append", _APPEND,
        "-chardev", f"file,id=console,path=/dev/fd/{console}", "-serial", "chardev:console",
        "-chardev", f"file,id=said,path=/dev/fd/{said}", "-serial", "chardev:said",
    ]  # fmt: skip


def boot(kernel: Unpacked, image: bytes, cancelled: Cancel, silent_s: float = SILENT_S) -> Iterator[Message]:
    """Boot and yield each message. Raises `BenchError` where the machine ends or is silent too early.

    The machine is always ended afterwards.
    """
    memory = _high(os.memfd_create("initramfs"))
    (said, said_in), (console, console_in) = (map(_high, os.pipe()) for _ in range(2))
    # A full pipe would make the guest wait for this process, for as long as the host is busy.
    fcntl.fcntl(said_in, fcntl.F_SETPIPE_SZ, _PIPE)
    process: subprocess.Popen[bytes] | None = None
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(image)
        command = _command(str(kernel.image), f"/dev/fd/{memory}", said_in, console_in)
        process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", *command],
            stdin=subprocess.PIPE, stdout=console_in, stderr=console_in,
            pass_fds=[memory, said_in, console_in], start_new_session=True,
        )  # fmt: skip
        for each in (said_in, console_in, memory):
            os.close(each)
        said_in = console_in = memory = -1
        yield from _messages(said, console, cancelled, silent_s)
    except OSError as error:
        raise BenchError(f"the machine for Linux {kernel.version} could not be started: {error}.") from error
    finally:
        if process is not None and process.stdin:
            process.stdin.close()  # the guard ends QEMU
            process.wait()
        for each in (said, console, said_in, console_in, memory):
            if each >= 0:
                os.close(each)


def _high(descriptor: int) -> int:
    """A duplicate with a higher number, which the guard does not use."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 20)
    finally:
        os.close(descriptor)


def _messages(said: int, console: int, cancelled: Cancel, silent_s: float) -> Iterator[Message]:
    buffers = {said: b"", console: b""}
    last_output = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for each in buffers:
            selector.register(each, selectors.EVENT_READ)
        while selector.get_map():
            if cancelled():
                raise Cancelled("the run was cancelled.")
            if time.monotonic() - last_output > silent_s:
                raise BenchError(f"it has sent nothing for {silent_s:.0f} s{_last_words(buffers[console])}.")
            for key, _ in selector.select(_LOOK_S):
                each = int(key.fd)
                data = os.read(each, 1 << 16)
                if not data:
                    selector.unregister(each)
                    continue
                last_output = time.monotonic()
                buffers[each] += data
                if each == said:
                    *lines, buffers[said] = buffers[said].split(b"\n")
                    for line in lines:
                        message = _message(line)
                        if message.word == "over":
                            return
                        yield message
    raise BenchError(f"it ended too early{_last_words(buffers[console])}.")


def _message(line: bytes) -> Message:
    word, number, packed = line.split(b" ")
    return Message(word.decode(), int(number), pickle.loads(zlib.decompress(base64.b64decode(packed))))


def _last_words(console: bytes) -> str:
    lines = [line.strip() for line in console.decode("ascii", "replace").splitlines() if line.strip()]
    return f"; its last console message was {lines[-1]!r}" if lines else ""
