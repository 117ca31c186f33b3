"""Process 1 of a kernel in virtual time: prepares the machine, runs the stories, sends their traces out.

It runs only in the guest. Everything that it needs is in the initramfs (`tcplab.bench.kernels.image`). Its
messages go over the second serial line, one per line: a word, a number, and the content as a Python pickle
in base64. The kernel's messages go over the first serial line.
"""

from __future__ import annotations

import base64
import ctypes
import fcntl
import os
import pickle
import socket
import struct
import sys
import termios
import time
import traceback
import zlib
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tcplab.core.trace import Ticks

#: Where `image` puts the stories.
JOBS, MODULES = "/jobs", "/modules"
#: How often sockets are read in quiet times (`tcplab.bench.sandbox.Looks`): each look costs, and idle time
#: does not. The timer wheel fires a timer up to an eighth of its time late (kernel/time/timer.c); a socket
#: that is then closed silently is found closed up to half that time later.
LONGEST_S, SHARE = 600.0, 1 / 2
#: The user of the bench: an ordinary one, as on most machines.
USER = 1000
_FINIT_MODULE, _EEXIST = 313, 17  # x86-64
_MONOTONIC_COARSE = 6  # of include/uapi/linux/time.h: it advances with each tick
_RESTART = 0x01234567
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
#: Progress is reported when a story's time has grown by this share: hours must not become thousands of lines.
_GROWTH, _LEAST_S = 1.25, 1.0

_libc = ctypes.CDLL(None, use_errno=True)


def _mount(kind: str, where: str, options: bytes = b"") -> None:
    os.makedirs(where, exist_ok=True)
    _libc.mount(kind.encode(), where.encode(), kind.encode(), 0, options)


def _make_ready() -> None:
    """Set up file systems, modules and the loopback interface, as on an ordinary system."""
    for kind, where in ("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/dev/shm"):
        _mount(kind, where)
    for name in Path(MODULES, "order").read_text().split():
        descriptor = os.open(f"{MODULES}/{name}", os.O_RDONLY)
        if _libc.syscall(_FINIT_MODULE, descriptor, b"", 0) and ctypes.get_errno() != _EEXIST:
            print(f"module {name}: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        os.close(descriptor)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("=16sH22x", b"lo", _IFF_UP))


class SerialLine:
    """The serial line to the host."""

    def __init__(self, name: str) -> None:
        self._descriptor = os.open(name, os.O_RDWR | os.O_NOCTTY)
        mode = termios.tcgetattr(self._descriptor)
        mode[0] = mode[1] = mode[3] = 0  # raw: a newline is not turned into two characters
        mode[4] = mode[5] = termios.B115200
        termios.tcsetattr(self._descriptor, termios.TCSANOW, mode)

    def say(self, word: str, number: int = 0, content: Any = None) -> None:
        """Send a message; returns once it is written."""
        packed = base64.b64encode(zlib.compress(pickle.dumps(content), 6))
        data = memoryview(b"%s %d %s\n" % (word.encode(), number, packed))
        while data:
            data = data[os.write(self._descriptor, data) :]
        termios.tcdrain(self._descriptor)


class Worker:
    """The bench's processes, forked from this one so that they share its imports."""

    def __init__(self, main: Callable[[int], None]) -> None:
        ours, theirs = socket.socketpair()
        self._pid = os.fork()
        if not self._pid:
            ours.close()
            os.setsid()
            os.setgroups([])
            os.setgid(USER)
            os.setuid(USER)
            _libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: /proc/self would stay root's (proc(5))
            try:
                main(theirs.fileno())
            except BaseException:
                traceback.print_exc()
            os._exit(0)
        theirs.close()
        self.channel: Connection[Any, Any] = Connection(ours.detach())

    def end(self) -> None:
        """End it and every process that it started: its guard does that when the channel breaks."""
        self.channel.close()
        os.waitpid(self._pid, 0)


def _ticks() -> Ticks | None:
    """The kernel's timer tick on CLOCK_MONOTONIC; None where root can't read it."""
    from tcplab.core.text import SECOND
    from tcplab.model.wheel import read_timer_list

    hz = round(1 / time.clock_getres(_MONOTONIC_COARSE))
    read: Ticks | None = None
    for _ in range(5):  # until no tick comes between two lines of the list
        before, read = read, read_timer_list(Path("/proc/timer_list").read_text("ascii"), hz)
        if read and before and (read.t - before.t) * hz == (read.jiffies - before.jiffies) * SECOND:
            return read
    return None


def _work(line: SerialLine) -> None:
    from tcplab.bench import inside, linux  # noqa: F401  (imported once, before the fork)
    from tcplab.bench.sandbox import BenchError, Looks, refusal
    from tcplab.core.trace import Trace

    jobs: list[tuple[int, bytes, float]] = pickle.loads(Path(JOBS).read_bytes())
    for _, story, _ in jobs:
        try:
            pickle.loads(story)  # also imported before the fork
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
    worker: Worker | None = None
    ticks = _ticks()
    for number, story, limit_s in jobs:
        if worker is None:
            worker = Worker(partial(inside.main, looks=Looks(LONGEST_S, SHARE)))
            answer, content = worker.channel.recv()
            if answer == "refused":
                line.say("refused", 0, refusal(content))
                return
            line.say("ready", 0, {"release": os.uname().release, "version": os.uname().version})
        try:
            line.say("begins", number)
            made = _run(worker.channel, story, limit_s, partial(line.say, "at", number))
        except EOFError:
            made = BenchError("the sandbox has ended unexpectedly.")
        except TimeoutError:
            made = BenchError(
                f"it was stopped after {limit_s:.0f} s of the kernel's time: it should have ended before."
            )
        else:
            if isinstance(made, Trace) and ticks:
                made.ticks = ticks.since(made.began)
            line.say("done", number, made)
            continue
        worker.end()
        worker = None
        line.say("done", number, made)


def _run(channel: Connection[Any, Any], story: bytes, limit_s: float, at: Callable[[Any], None]) -> Any:
    """The trace of a story, or the error that it ended with; raises EOFError, TimeoutError."""
    until, due = time.monotonic() + limit_s, _LEAST_S
    channel.send_bytes(story)
    while channel.poll(max(0.0, until - time.monotonic())):
        answer, content = channel.recv()
        if answer in ("trace", "error"):
            return content
        if content[0] >= due:
            due = content[0] * _GROWTH
            at(content)
    raise TimeoutError


def main() -> None:
    """Run everything, then power off."""
    try:
        _make_ready()
        line = SerialLine("/dev/ttyS1")
        try:
            _work(line)
        except BaseException:
            line.say("failed", 0, traceback.format_exc())
        line.say("over")
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    _libc.reboot(_RESTART)  # QEMU ends instead (-no-reboot), which needs no ACPI
