"""What each request of a recorded connection pool got."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Borrowed:
    """The requests of a recorded pool that came after the break."""

    #: Seconds from asking the pool for a connection to the answer or the error, in the order of asking.
    seconds: tuple[float, ...]
    #: The errors' first lines, without the exception's name.
    errors: tuple[str, ...]

    @property
    def slowest(self) -> str:
        """How long the slowest request took, for people."""
        most = max(self.seconds)
        return f"{most:,.1f} s" if most >= 1 else f"{most * 1000:.0f} ms"

    @property
    def first_error(self) -> str:
        """What the first request that failed was told; a dash when none failed."""
        return self.errors[0] if self.errors else "–"


def borrowed(capture: str | Path) -> Borrowed:
    """The requests after the break, from the `requests` of the .json file beside a capture.

    The break is what was last done on the server. Raises `LookupError` in one sentence where the file
    tells of no requests.
    """
    path = Path(capture).with_suffix(".json")
    told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if "requests" not in told:
        raise LookupError(f"{path.name} tells of no pool's requests: take one of the captures pool_….")
    broken = max(event["t"] for event in told["events"] if event["host"] == "server")
    later = [each for each in told["requests"] if each["began"] >= broken]
    return Borrowed(
        seconds=tuple(each["t"] - each["began"] for each in later),
        errors=tuple(each["result"].partition(": ")[2] for each in later if each["result"] != "ok"),
    )
