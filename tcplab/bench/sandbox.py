"""The sandbox: a child process in which stories run on real Linux, and its handle out here.

    >>> with Sandbox() as sandbox:
    ...     trace = run_on_linux(story, sandbox)

Nothing of this machine's own network is read or changed, and everything inside ends with this
process, however that ends. A sandbox serves any number of runs, one after the other; several
sandboxes may run at once.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple, Self, TypeVar

from tcplab.bench.script import ScriptError, Story
from tcplab.core.text import SECOND
from tcplab.core.trace import Trace

T = TypeVar("T")

#: How often a run is tried again on a machine that had no time for its wire, and the first pause, seconds.
TRIES, PAUSE_S = 6, 0.25


class BenchError(RuntimeError):
    """One sentence: what could not be done on the Linux bench, and why."""


class TooBusy(BenchError):
    """The machine had no time for the wire: the run says nothing about Linux. Try again."""


def patiently(run: Callable[[], T]) -> T:
    """The result of a run, repeated after growing pauses while the machine is too busy for it."""
    for attempt in range(TRIES - 1):
        try:
            return run()
        except TooBusy:
            sleep(PAUSE_S * 2**attempt)
    return run()


class Cancelled(BenchError):
    """The run was cancelled before it was over."""


class Refused(OSError):
    """This machine refuses a step in making the sandbox; `errno` says how."""

    def __init__(self, step: str, errno: int) -> None:
        super().__init__(errno, step)
        #: `unshare`, `map`, `network`, `settings` or `packets`: see `sandbox.why_not`.
        self.step = step

    def __reduce__(self) -> tuple[type[Refused], tuple[str, int]]:
        return Refused, (self.step, self.errno or 0)


#: Called a few times a second with the seconds since the run began and the segments so far.
Progress = Callable[[float, int], None]


class Looks(NamedTuple):
    """How often sockets are read while nothing happens: for changes without an event (end of TIME_WAIT).

    Each look costs the same on any clock: in virtual time a larger share saves most of them and loses no
    change that has an event. Sockets are also read when a timer that ss shows is due.
    """

    #: No later than this after the last look, seconds.
    longest_s: float = 0.1
    #: Again after this share of the time since something last happened; above 0.
    share: float = 1 / 4


#: For real time.
REAL_TIME_LOOKS = Looks()

#: How long the processes inside get to end when they are asked to, seconds.
_PATIENCE = 5.0
#: A run may take this many times as long as the model says, and this many seconds more.
_TIMES, _MORE_S = 3, 60
_PACKAGE_PARENT = Path(__file__).resolve().parents[2]


class Sandbox:
    """A handle on the processes inside; the first run starts them, as does the next after `close()`."""

    def __init__(self, looks: Looks = REAL_TIME_LOOKS) -> None:
        self._looks = looks
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Connection[Any, Any] | None = None
        self._lock = threading.Lock()
        self._cancelled = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.close()

    @property
    def pid(self) -> int | None:
        """The first process inside, as this machine numbers it; None while there is none."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Make the namespaces, if that isn't done. Raises `BenchError` where they can't be had."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._process, self._channel = _launch(self._looks)
        try:
            if self._cancelled:
                raise Cancelled("the run was cancelled.")
            answer, content = self._next()
        except BaseException:
            self.close()
            raise
        if answer == "refused":
            self.close()
            raise BenchError(f"the Linux bench can't run here: {refusal(content)}") from content

    def run(self, story: Story, progress: Progress | None = None, limit_s: float | None = None) -> Trace:
        """Run a story and return its trace, outcome and kinds of segments not yet filled in.

        Raises `BenchError` in one sentence (`TooBusy`: try again; `Cancelled`; or `limit_s` seconds
        are over), `ScriptError` for a mistake in the experiment. Interrupted, or too late, it ends
        everything inside.
        """
        with self._lock:
            self._cancelled = False
            self.start()
            assert self._channel is not None
            until = None if limit_s is None else time.monotonic() + limit_s
            try:
                self._channel.send(story)
                while True:
                    if until is not None and not self._channel.poll(max(0.0, until - time.monotonic())):
                        self.close()
                        raise BenchError(
                            f"{story.name} was ended after {limit_s:.0f} s on the Linux bench: it should "
                            "have been over long before. Try again."
                        )
                    answer, content = self._next()
                    if answer == "trace":
                        return content
                    if answer == "error":
                        raise content
                    if progress:
                        progress(*content)
            except OSError as error:
                self.close()
                raise BenchError(f"the sandbox can't be reached: {error}.") from error
            except (BenchError, ScriptError):
                raise
            except BaseException:
                self.close()
                raise

    def _next(self) -> tuple[str, Any]:
        """The next message from inside."""
        assert self._channel is not None and self._process is not None
        try:
            return self._channel.recv()
        except (EOFError, OSError):
            said = self._last_words()
            self.close()
            if self._cancelled:
                raise Cancelled("the run was cancelled.") from None
            raise BenchError(f"the sandbox has ended unexpectedly{said}.") from None

    def _last_words(self) -> str:
        process = self._process
        if process is None or process.stderr is None:
            return ""
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            return ""
        lines = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def cancel(self) -> None:
        """End the run that is going on, from another thread; `run` then raises `Cancelled`."""
        self._cancelled = True
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End everything inside and wait until it has."""
        channel, self._channel = self._channel, None
        process, self._process = self._process, None
        if channel is not None:
            channel.close()
        if process is None:
            return
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stderr:
            process.stderr.close()


def _launch(looks: Looks) -> tuple[subprocess.Popen[bytes], Connection[Any, Any]]:
    """The first process of the inside, and the channel to the last."""
    import socket

    ours, theirs = socket.socketpair()
    paths = [str(_PACKAGE_PARENT), *filter(None, [os.environ.get("PYTHONPATH")])]
    start = f"from tcplab.bench.inside import Looks, main; main({theirs.fileno()}, {looks!r})"
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", start],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl-C is for this process, which then ends the other
        )
    except OSError as error:
        ours.close()
        raise BenchError(f"the sandbox could not be started: {error}.") from error
    finally:
        theirs.close()
    return process, Connection(ours.detach())


def run_on_linux(story: Story, sandbox: Sandbox | None = None, progress: Progress | None = None) -> Trace:
    """Run a story to its end on real Linux, in `sandbox` or in a new one.

    Raises `BenchError`, also for a run that takes far longer than the model says.
    """
    if sandbox is not None:
        return sandbox.run(story, progress, longest(story))
    if reason := why_not():
        raise BenchError(f"the Linux bench can't run here: {reason}")
    with Sandbox() as own:
        return own.run(story, progress, longest(story))


def longest(story: Story) -> float:
    """How long a story may take on real Linux before something must have gone wrong, seconds."""
    from tcplab.bench.model import run_on_model

    return _TIMES * run_on_model(story).end / SECOND + _MORE_S


@cache
def why_not() -> str | None:
    """The one reason why the Linux bench can't run on this machine, or None: tried once."""
    if sys.platform != "linux":
        return f"it needs Linux, and this is {sys.platform}."
    try:
        Sandbox().start()
    except BenchError as error:
        if isinstance(error.__cause__, Refused):
            return refusal(error.__cause__)
        return str(error)
    return None


#: What failed, in words.
_STEPS = {
    "unshare": "making namespaces",
    "map": "getting rights in a user namespace",
    "network": "making a network between two namespaces (veth)",
    "packets": "opening a packet socket",
    "settings": "setting sysctls of a network namespace",
}


def _kernel_file(name: str) -> str:
    try:
        return Path("/proc", name).read_text("ascii", "replace").strip()
    except OSError:
        return ""


def refusal(refused: Refused, read: Callable[[str], str] = _kernel_file) -> str:
    """The likeliest reason in one sentence; `read` gives the text of a file below /proc, or nothing."""
    number = refused.errno or 0
    forbidden = number in (errno.EPERM, errno.EACCES)
    if read("sys/user/max_user_namespaces") == "0":
        return "user namespaces are switched off: user.max_user_namespaces is 0; set it to a few hundred."
    if number == errno.ENOSPC and read("sys/user/max_net_namespaces") == "0":
        return "network namespaces are switched off: user.max_net_namespaces is 0; set it to a few hundred."
    if read("sys/kernel/unprivileged_userns_clone") == "0":
        return (
            "user namespaces are switched off for ordinary users: "
            "sysctl -w kernel.unprivileged_userns_clone=1 allows them."
        )
    if forbidden and read("sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            "AppArmor restricts user namespaces (Ubuntu since 23.10): "
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 allows them."
        )
    if re.search(r"^Seccomp:\s*2", read("self/status"), re.MULTILINE) and (
        forbidden or number == errno.ENOSYS
    ):
        return (
            "a seccomp filter forbids user namespaces, as Docker's own does: "
            "docker run --security-opt seccomp=unconfined allows them."
        )
    if number == errno.EROFS:
        return "/proc is read-only, as in a container: the sandbox must write to files there."
    if refused.step == "network" and number == errno.EOPNOTSUPP:
        return "this Linux has no veth devices: load the module veth."
    if refused.step == "unshare" and number in (errno.ENOSYS, errno.EINVAL):
        return "this Linux was built without user, pid or network namespaces."
    if number in (errno.ENOSPC, errno.EUSERS):
        return "there are too many namespaces already, or they are nested too deeply."
    name = errno.errorcode.get(number, str(number))
    return f"{_STEPS.get(refused.step, refused.step)} failed with {name} ({os.strerror(number)})."
