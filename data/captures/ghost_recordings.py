"""Record lesson 12's stories on real Linux: .venv/bin/python data/captures/ghost_recordings.py [NAME ...]

Each runs the experiment accept_queue on tcplab's Linux bench with the settings of the table below, and
leaves a capture, its sidecar and the whole run beside this file; ../README.md says what they are. Both
together take a minute and a half, since one waits until Linux forgets.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tcplab
from tcplab.bench.sandbox import TooBusy
from tcplab.capture.recordings import run_on_time, write

FOLDER = Path(__file__).parent
COMMAND = ".venv/bin/python data/captures/ghost_recordings.py"

#: Name, experiment, title, story. The lessons' tests hold the figures to the packets.
STORIES: dict[str, tuple[Any, str, str]] = {
    "ghosts_forty_nodes": (
        tcplab.AcceptQueue(backlog=16, connects=40, accept_after_s=2, speaks_first="server", watch_s=6),
        "Forty nodes connect at once to a server that greets first",
        "The accept queue holds 17 of forty connections; the others get a SYN cookie, and connect() succeeds "
        "for all. After two seconds the server accepts and greets whom it has. The other 23 clients wait for "
        "a greeting that nobody sends.",
    ),
    "queue_full_before": (
        tcplab.AcceptQueue(connects_before=3, connects=1, accept_after_s=5.5, watch_s=9),
        "The accept queue is full before a client connects",
        "Three connections fill the queue. The fourth client's SYN is dropped, and so are its repeats, until "
        "accept() makes room at 5.5 s. The next repeat finds it: connect() returns after seven seconds.",
    ),
    "ghosts_half_open": (
        tcplab.AcceptQueue(
            syncookies=False, connects_before=2, connects=3, speaks_first="server", watch_s=80
        ),
        "Two ghosts, half open, until the server's Linux forgets them",
        "Without SYN cookies two clients' requests stay in the SYN queue after their last ACK has met a "
        "full accept queue. The SYN-ACK is repeated five times, and after 63 seconds the requests are gone "
        "without a word. The clients still show ESTABLISHED.",
    ),
}


def record(name: str) -> str:
    """Run one story on Linux and write its three files; whether the model does the same, in a sentence."""
    story, title, text = STORIES[name]
    try:
        trace = run_on_time(story)
    except TooBusy as error:
        return f"{name} was not recorded: {error}"
    # The run holds the states of all connections; a reader of the sidecar wants the calls.
    about = {"title": title, "story": text, "command": f"{COMMAND} {name}", "states": []}
    write(story, trace, FOLDER / f"{name}.pcap", **about)
    return f"{name}: {tcplab.agreement(trace).sentence}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="*", help=f"one of {', '.join(STORIES)}; all of them without a name")
    names = parser.parse_args().name or list(STORIES)
    if unknown := [name for name in names if name not in STORIES]:
        sys.exit(f"{unknown[0]} is none of the recordings: {', '.join(STORIES)}.")
    with ThreadPoolExecutor(2) as side_by_side:
        for said in side_by_side.map(record, names):
            print(said, flush=True)


if __name__ == "__main__":
    main()
