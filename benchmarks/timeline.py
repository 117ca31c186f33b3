"""Reading, laying out and writing the timeline of a run, against drawing the same run's ladder.

`python benchmarks/timeline.py [--rounds 15]` takes the default of every experiment and study, each beside
a kept run with another seed. Reading turns a trace into lanes, layout turns lanes into SVG. The peer is the
run's ladder as the dicts that plotly draws, of a study its curves: they take turns, and the best round of
each counts. The machine's own speed goes into both, so that the ratios last.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from tcplab import run
from tcplab.core.trace import Trace
from tcplab.pictures.lanes import Timeline
from tcplab.pictures.timeline import read_timeline
from tcplab.pictures.timeline_layout import TimelinePicture
from tcplab.registry import STORIES
from tcplab.widgets.show import PICTURES

#: px of a notebook's cell.
WIDTH = 950
LAYOUT_MS, SVG_KB = 5.0, 50.0
#: All timelines together, read and laid out, take at most so many times as long as the peers.
TIMES_PEER = 2.0
#: The peer of a story that has no ladder.
CURVES = {"port_churn": "churn", "pool": "pool", "failover": "failover"}


def milliseconds(call: Callable[[], Any]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def measured(name: str, rounds: int) -> dict[str, Any]:
    """Reading, layout and peer of one story in milliseconds, and the size of its SVG."""
    trace = run(STORIES[name]())
    kept = read_timeline(run(STORIES[name](seed=2)))
    draw = PICTURES[CURVES.get(name, "ladder")]
    now = read_timeline(trace)
    svg = laid_out(now, kept)
    took = [timings(trace, now, kept, draw) for _ in range(rounds + 1)][1:]  # the first one warms up
    reading, layout, peer = map(min, zip(*took, strict=True))
    return {
        "story": name,
        "reading_ms": round(reading, 2),
        "layout_ms": round(layout, 2),
        "peer_ms": round(peer, 2),
        "times_peer": round((reading + layout) / peer, 2),
        "svg_kb": round(len(svg.encode()) / 1000, 1),
    }


def timings(trace: Trace, now: Timeline, kept: Timeline, draw: Callable[[Trace], Any]) -> tuple[float, ...]:
    """One round: reading, layout, the peer."""
    return (
        milliseconds(lambda: read_timeline(trace)),
        milliseconds(lambda: laid_out(now, kept)),
        milliseconds(lambda: draw(trace)),
    )


def laid_out(now: Timeline, kept: Timeline) -> str:
    """The SVG of a run beside a kept one; nothing is remembered from one call to the next."""
    return TimelinePicture(now, (kept,)).svg(WIDTH)


def main() -> None:
    """Print a JSON object for each story, then the claims; status 1 when one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    results = [measured(name, rounds) for name in STORIES]
    for result in results:
        print(json.dumps(result))
    ours = sum(result["reading_ms"] + result["layout_ms"] for result in results)
    slowest = max(results, key=lambda result: result["layout_ms"])
    largest = max(results, key=lambda result: result["svg_kb"])
    claims = {
        f"the slowest layout, {slowest['story']}": (slowest["layout_ms"], LAYOUT_MS, "ms"),
        f"the largest SVG, {largest['story']}": (largest["svg_kb"], SVG_KB, "kB"),
        "all timelines, read and laid out": (
            round(ours / sum(result["peer_ms"] for result in results), 2), TIMES_PEER, "times their peers",
        ),
    }  # fmt: skip
    for what, (value, most, unit) in claims.items():
        print(f"{what}: {value:g} {unit} (wanted: at most {most:g})")
    sys.exit(any(value > most for value, most, _ in claims.values()))


if __name__ == "__main__":
    main()
