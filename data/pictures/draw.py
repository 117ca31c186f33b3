#!/usr/bin/env python3
"""Draw the pictures of README.md afresh: python3 data/pictures/draw.py, in tcplab's environment."""

from pathlib import Path

from tcplab import DeadPeer, Keepalive, run, timeline

HERE = Path(__file__).parent
WIDTH = 950
PROBES = {"keepalive_idle_s": 5, "keepalive_interval_s": 1, "keepalive_probes": 3}
#: File name without ending: the run that it shows, and the kept one.
PICTURES = {
    "dead_peer": (DeadPeer(**PROBES), Keepalive(idle_s=5, interval_s=1, probes=3)),
}


def svg(name: str) -> str:
    """One picture as its file holds it."""
    now, kept = PICTURES[name]
    return timeline(run(now), [run(kept)]).svg(width=WIDTH) + "\n"


if __name__ == "__main__":
    for name in PICTURES:
        (HERE / f"{name}.svg").write_text(svg(name), encoding="utf-8")
