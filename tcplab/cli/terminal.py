"""What every command says, and how: lines that fit the terminal, JSON, progress, a sentence for a mistake."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import Any

MISUSED, BROKEN, INTERRUPTED, NO_READER = 2, 1, 130, 141
#: How a file with a picture begins.
PICTURE = "<!-- drawn by tcplab -->\n"
#: Replacements for a terminal that can't show the characters themselves.
ASCII = str.maketrans({"→": ">", "←": "<", "─": "-", "✗": "x", "–": "-", "…": "...", "×": "x"})


class UsageError(Exception):
    """A mistake on the command line, in one sentence."""


def complain(sentence: str, code: int) -> int:
    if sys.stderr is not None:  # print() would take standard output instead
        print(f"tcplab: {sentence}", file=sys.stderr)
    return code


def check_output() -> None:
    """Raise `UsageError` where there is no standard output, as after `>&-`."""
    if sys.stdout is None:
        raise UsageError("standard output is closed: there is nowhere to print.")


def flush_output() -> None:
    """Write what was printed so far. Raises `UsageError`, or `BrokenPipeError` where the reader has gone."""
    _print("", end="", flush=True)


def drop_output() -> None:
    """Print the rest to nowhere: Python must not fail again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print(text: str, **options: Any) -> None:
    try:
        print(text, **options)
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_output()
        raise UsageError(f"standard output can't be written: {error.strerror}.") from None


def say_json(value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    _print(json.dumps(value, indent=2))


def say(text: str) -> None:
    """Print, in a terminal no line longer than it is wide."""
    if sys.stdout.isatty():
        wide = get_terminal_size().columns
        text = "\n".join(_wrapped(line, wide) for line in text.splitlines())
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = text.translate(ASCII).encode("ascii", "replace").decode()
    _print(text)


def _wrapped(line: str, wide: int) -> str:
    if len(line) <= wide:
        return line
    indent = " " * min(len(line) - len(line.lstrip()) + 2, wide // 2)
    return fill(line, wide, subsequent_indent=indent, drop_whitespace=True, break_on_hyphens=False)


def show_status(text: str) -> None:
    """Overwrite the last line of a terminal; print nothing where there is none."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def fetch_status(done: str, text: str) -> None:
    show_status(f"{done}; {text}")


def is_picture(path: str | Path) -> bool:
    """Whether this is a picture that tcplab has drawn."""
    return Path(path).read_bytes().startswith(PICTURE.encode())


def check_overwriting(path: str | Path, arguments: Namespace, *, ours: bool = False) -> None:
    """Refuse to replace a file that tcplab did not write; `ours`: it is known to have written this one."""
    from tcplab.capture.pcap import is_ours

    there = Path(path).is_file() or Path(path).is_symlink()
    if there and not (ours or is_ours(path) or is_picture(path)) and not arguments.force:
        raise UsageError(f"{path} is there already, and tcplab did not write it: another name, or --force.")
