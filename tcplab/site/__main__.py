"""`python -m tcplab.site`, which `python3 lab.py site` runs."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tcplab.site import SiteError
from tcplab.site.build import build

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str] | None = None) -> int:
    """Build the site and say how to look at it; the exit code."""
    parser = argparse.ArgumentParser(prog="lab.py site", description="Build the site.")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "dist" / "site", metavar="FOLDER", help="default: dist/site"
    )
    parser.add_argument(
        "--pyodide",
        type=Path,
        metavar="FILE",
        help="Pyodide's npm package, where there is no npm to fetch it",
    )
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        size = build(ROOT, chosen.output.resolve(), ROOT / "build" / "site", chosen.pyodide)
    except (SiteError, OSError) as error:
        print(f"lab.py: {error}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - began
    print(f"The site is in {chosen.output}: {size / 1e6:.0f} MB, {seconds:.0f} s. To look at it:")
    print(f"  python3 -m http.server --bind 127.0.0.1 --directory {chosen.output}")
    print("and open the address that it names. Any web server can hand the folder out.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
