"""Record lessons 10 and 11 on real Linux: .venv/bin/python data/captures/port_recordings.py [NAME ...]

`bind_matrix` runs the experiment bind_or_connect once for each way to hold every port and each way to want
one more, and writes what came back into bind_or_connect.matrix.json. The others leave a capture, its sidecar
and the whole run beside this file; ../README.md says what they are. Everything together takes two minutes.
"""

import argparse
import json
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import tcplab
from tcplab.bench.sandbox import TooBusy
from tcplab.capture.recordings import run_on_time, write

FOLDER = Path(__file__).parent
#: How often a run is tried that did not keep to the latency of its wire.
ATTEMPTS = 30
COMMAND = ".venv/bin/python data/captures/port_recordings.py"
MATRIX = "bind_matrix"

#: Name, experiment, title, story. The lesson's tests hold the figures to the packets.
STORIES: dict[str, tuple[Any, str, str]] = {
    "bind_no_port": (
        tcplab.BindOrConnect(then="bind_no_port"),
        "bind() with IP_BIND_ADDRESS_NO_PORT, all ports in TIME_WAIT",
        "All six local ports are in TIME_WAIT and tcp_tw_reuse is 1. After 1.3 seconds a program binds its "
        "address alone; connect() then chooses the port and reuses one.",
    ),
    "bind_blocks_connect": (
        tcplab.BindOrConnect(held_by="bind0", then="connect", same_destination=False),
        "connect() to a new destination, after other programs' bind()",
        "Six programs called bind() to port 0, connected, and closed. Another program calls connect() alone, "
        "to a destination where nobody has ever been, and gets EADDRNOTAVAIL.",
    ),
    "last_ack_reset": (
        tcplab.WhyTimeWait(time_wait="refused"),
        "The last ACK is lost, and there is no TIME_WAIT",
        "tcp_max_tw_buckets = 0 refuses the client its TIME_WAIT. Its last ACK is lost, the server sends its "
        "FIN again, and Linux answers with RST.",
    ),
    "old_duplicate": (
        tcplab.WhyTimeWait(purpose="old_duplicate"),
        "An old answer comes late, into TIME_WAIT",
        "The client's only port is in TIME_WAIT, so that a second connect() gets EADDRNOTAVAIL. An old "
        "answer of the server comes late (it was forged for this recording), and is thrown away.",
    ),
    "old_duplicate_believed": (
        tcplab.WhyTimeWait(purpose="old_duplicate", time_wait="refused"),
        "An old answer comes late, and there is no TIME_WAIT",
        "The next connection has the same four-tuple at once. An old answer comes late, with the numbers "
        "that the client expects next (it was forged for this recording): the client reads it as the answer "
        "to its new question, and the true one is thrown away as a repetition.",
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


def record_matrix() -> str:
    """Every cell once, on Linux alone."""
    knobs = tcplab.BindOrConnect.knobs()
    axes = {name: knobs[name].choices for name in ("held_by", "state", "then")}
    axes["same_destination"] = (True, False)
    settings = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    stories = [tcplab.BindOrConnect(**each) for each in settings]
    with ThreadPoolExecutor(2) as side_by_side:
        traces = list(side_by_side.map(run_on_time, stories))
    pairs = zip(settings, traces, strict=True)
    told = {
        "title": "bind() or connect(): what the last program gets when every local port is held",
        "story": "Six local ports are held in one way; 1.3 seconds later one more program tries another way. "
        "tcp_tw_reuse is 1, and both ends use timestamps.",
        "linux": traces[0].linux,
        "software": {"tcplab": version("tcplab"), "python": platform.python_version()},
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"{COMMAND} {MATRIX}",
        "cells": [{**each, "result": trace.outcome["result"]} for each, trace in pairs],
    }
    lines = ",\n".join("  " + json.dumps(cell) for cell in told.pop("cells"))
    head = json.dumps(told, indent=1, ensure_ascii=False).removesuffix("\n}")
    text = f'{head},\n "cells": [\n{lines}\n ]\n}}\n'
    (FOLDER / "bind_or_connect.matrix.json").write_text(text, encoding="utf-8")
    return f"{MATRIX}: {len(settings)} cells"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = [MATRIX, *STORIES]
    parser.add_argument("name", nargs="*", help=f"one of {', '.join(known)}; all of them without a name")
    names = parser.parse_args().name or known
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"{unknown[0]} is none of the recordings: {', '.join(known)}.")
    for name in names:
        print(record_matrix() if name == MATRIX else record(name), flush=True)


if __name__ == "__main__":
    main()
