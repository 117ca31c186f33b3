"""What every command says, and how: lines that fit the terminal, JSON, progress, a sentence for a mistake."""

from __future__ import annotations

import json
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
    print(f"tcplab: {sentence}", file=sys.stderr)
    return code


def say_json(value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    print(json.dumps(value, indent=2))


def say(text: str) -> None:
    """Print, in a terminal no line longer than it is wide."""
    if sys.stdout.isatty():
        wide = get_terminal_size().columns
        text = "\n".join(_wrapped(line, wide) for line in text.splitlines())
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = text.translate(ASCII).encode("ascii", "replace").decode()
    print(text)


def _wrapped(line: str, wide: int) -> str:
    if len(line) <= wide:
        return line
    indent = " " * min(len(line) - len(line.lstrip()) + 2, wide // 2)
    return fill(line, wide, subsequent_indent=indent, drop_whitespace=True, break_on_hyphens=False)


def show_status(text: str) -> None:
    """Overwrite the last line of a terminal; print nothing where there is none."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def fetch_status(done: str, text: str) -> None:
    show_status(f"{done}; {text}")


def is_picture(path: str | Path) -> bool:
    """Whether this is a picture that tcplab has drawn."""
    return Path(path).read_bytes().startswith(PICTURE.encode())


def check_overwriting(path: str | Path, arguments: Namespace) -> None:
    """Refuse to replace a file that tcplab did not write."""
    from tcplab.capture.pcap import is_ours

    if Path(path).exists() and not (is_ours(path) or is_picture(path)) and not arguments.force:
        raise UsageError(f"{path} is there already, and tcplab did not write it: another name, or --force.")
