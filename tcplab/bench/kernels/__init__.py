"""Linux kernels in virtual time: Debian's kernels in QEMU, where the guest's clock counts instructions.

    >>> run(Keepalive(), "linux:6.1")       # tcplab.bench.run: two hours on Linux 6.1, in seconds

This module boots the kernels; `tcplab.bench.run` and `run_all` complete the traces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tcplab.bench.kernels import image
from tcplab.bench.kernels.debian import (
    Cancel,
    Kernel,
    Tell,
    Unpacked,
    fetched,
    find_kernel,
    kernels,
    unpacked,
    why_no_fetch,
)
from tcplab.bench.kernels.machine import SILENT_S, Message, boot, why_no_machine
from tcplab.bench.sandbox import BenchError, Cancelled, Progress, longest
from tcplab.bench.script import ScriptError, Story
from tcplab.core.trace import Trace

#: The prefix of a bench's name that is a kernel in virtual time: `linux:6.1`.
PREFIX = "linux:"
#: The longest time for a story that the model can't run, seconds of the kernel's clock.
_LIMIT_S = 600.0


def why_not(name: str = "") -> str | None:
    """Why a kernel (or, without a name, every one) can't run here, in one sentence, or None."""
    if reason := why_no_machine():
        return reason
    there = [find_kernel(name)] if name else list(kernels().values())
    if any(unpacked(kernel) for kernel in there):
        return None
    if reason := why_no_fetch():
        which = f"Linux {name} is not" if name else "none is"
        return f"{which} in the cache, and kernels can't be fetched here: {reason}"
    return None


def here() -> tuple[list[tuple[Kernel, Unpacked | None]], str | None]:
    """Kernels that can run here, each with its cached files; and in one sentence why others can't."""
    if reason := why_no_machine():
        return [], reason
    found = [(kernel, unpacked(kernel)) for kernel in kernels().values()]
    if all(there for _, there in found) or not (reason := why_no_fetch()):
        return found, None
    return [(kernel, there) for kernel, there in found if there], f"they can't be fetched here: {reason}"


@dataclass
class _Boots:
    """The runs of some stories on one kernel, in as many boots as are needed."""

    kernel: Unpacked
    stories: Sequence[Story]
    tell: Tell
    cancelled: Cancel
    silent_s: float
    progress: Progress

    def __post_init__(self) -> None:
        self.done = 0

    def traces(self) -> Iterator[tuple[int, Trace | BenchError | ScriptError]]:
        left = dict(enumerate(self.stories))
        while left:
            begun: int | None = None
            self._tell("boots")
            limits = [(number, story, _limit(story)) for number, story in left.items()]
            try:
                for message in boot(
                    self.kernel, image.image(self.kernel, limits), self.cancelled, self.silent_s
                ):
                    if message.word == "begins":
                        begun = message.number
                        self._tell(left[begun].name)
                    elif message.word == "done":
                        del left[message.number]
                        begun, self.done = None, self.done + 1
                        yield message.number, self._made(message.content)
                    else:
                        self._other(message)
            except Cancelled:
                raise
            except BenchError as error:
                if begun is None:
                    raise BenchError(f"Linux {self.kernel.version} in virtual time: {error}") from error
                story = left.pop(begun)
                self.done += 1
                yield (
                    begun,
                    BenchError(f"{story.name}: Linux {self.kernel.version} stopped during the run: {error}"),
                )

    def _other(self, message: Message) -> None:
        if message.word == "at":
            seconds, segments = message.content
            self._tell(f"{self.stories[message.number].name} {seconds:,.0f} s, {segments} segments")
            self.progress(seconds, segments)
        elif message.word == "refused":
            raise BenchError(f"the Linux bench can't run in it: {message.content}")
        elif message.word == "failed":
            error = BenchError(f"its first process failed: {message.content.strip().splitlines()[-1]}")
            error.add_note(message.content)
            raise error

    def _made(self, made: Trace | BenchError | ScriptError) -> Trace | BenchError | ScriptError:
        if isinstance(made, Trace):
            # Debian's `uname -r` is 6.1.0 for Linux 6.1.192.
            made.bench, made.linux = f"{PREFIX}{self.kernel.folder.name}", self.kernel.version
        return made

    def _tell(self, what: str) -> None:
        self.tell(f"Linux {self.kernel.version}: {self.done} of {len(self.stories)} run; {what}")


def _limit(story: Story) -> float:
    """The longest time for a story, seconds of the kernel's clock."""
    try:
        return longest(story)
    except Exception:  # a mistake in the script: the run reports it
        return _LIMIT_S


def traces(
    kernel: str,
    stories: Sequence[Story],
    tell: Tell = lambda _: None,
    cancelled: Cancel = lambda: False,
    silent_s: float = SILENT_S,
    progress: Progress = lambda seconds, segments: None,
) -> Iterator[tuple[int, Trace | BenchError | ScriptError]]:
    """Run stories on Linux `kernel` (`6.1`) in one boot; yields each one's number, and its trace or error.

    `tell` is called with a sentence about the progress, `progress` with the seconds since a story began and
    its segments so far. Raises `BenchError` where the kernel is not available or does not boot, `Cancelled`
    soon after `cancelled()` is true; nothing is left running, however it ends. A story may take `_limit()`
    seconds of the kernel's clock; its machine may be silent for `silent_s` seconds of the host's.
    """
    wanted = find_kernel(kernel)
    if reason := why_not(wanted.name):
        raise BenchError(f"Linux {kernel} can't run here in virtual time: {reason}")
    if not stories:
        return
    yield from _Boots(fetched(wanted, tell, cancelled), stories, tell, cancelled, silent_s, progress).traces()
