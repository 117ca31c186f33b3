"""An environment as a small file, and its settings as lines that the desk reads again."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from tcplab.advice import Environment
from tcplab.knobs import ParameterError

#: Bytes of a file that can't be one of ours.
LARGEST = 1_000_000
FILENAME = "topology.json"


def from_bytes(content: bytes, name: str) -> Environment:
    """The environment in a file. Raises `ParameterError` with one sentence that names it."""
    if len(content) > LARGEST:
        raise ParameterError(f"{name} has {len(content):,} bytes: a saved topology has at most {LARGEST:,}.")
    try:
        return Environment.from_json(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ParameterError(f"{name} is no text: use a file that this desk has saved.") from None
    except ParameterError as mistake:
        raise ParameterError(f"{name}: {mistake}") from None


def load(path: str | Path) -> Environment:
    """The environment in a file. Raises `ParameterError` with one sentence that names it."""
    path = Path(path).expanduser()
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise ParameterError(f"{path} can't be read: {_why(error)}.") from None
    return from_bytes(content, path.name)


def save(environment: Environment, path: str | Path) -> Path:
    """Write it; returns where. Raises `ParameterError` with one sentence."""
    path = Path(path).expanduser()
    try:
        path.write_text(environment.to_json() + "\n", "utf-8")
    except (OSError, ValueError) as error:
        raise ParameterError(f"{path} can't be written: {_why(error)}.") from None
    return path


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")


def link(environment: Environment) -> str:
    """A link that hands the file to the browser: nothing leaves the machine."""
    content = b64encode((environment.to_json() + "\n").encode()).decode()
    name = escape(FILENAME, quote=True)
    return f'<a download="{name}" href="data:application/json;base64,{content}">Download {name}</a>'


def as_lines(settings: Mapping[str, Any]) -> str:
    """``product.name = value``, a line each, in the product's own unit: `read_settings` reads them."""
    words = {True: "true", False: "false"}
    return "\n".join(
        f"{key} = {words[value] if isinstance(value, bool) else value}" for key, value in settings.items()
    )
