"""Record the clinic's fourth case on real Linux: .venv/bin/python data/captures/record_clinic_queue.py

A capture and its sidecar are written beside this file; ../README.md says what they are, and gives the answer
away. It runs the experiment accept_queue on tcplab's Linux bench and takes half a minute. The other cases
are record_clinic.py's.
"""

import sys
from pathlib import Path
from typing import Any

import tcplab
from tcplab.bench.sandbox import TooBusy
from tcplab.capture.recordings import run_on_time, sidecar, write

COMMAND = ".venv/bin/python data/captures/record_clinic_queue.py"
TITLE = "Ghosts at a full accept queue: the server's view"
TOLD = (
    "Twelve clients connect at once to a server with a backlog of 4 whose program accepts nobody. Five "
    "connections fill its queue and their logins are acknowledged, which is Linux's doing; the other seven "
    "exist for their clients only, and their logins are sent again and again."
)


def record(path: Path) -> str:
    """Run it on Linux and write both files; whether the model does the same, in a sentence."""
    story = tcplab.AcceptQueue(backlog=4, connects=12, speak_after_s=1, watch_s=20)
    try:
        trace = run_on_time(story)
    except TooBusy as error:
        sys.exit(f"Not recorded: {error}")
    write(
        story, trace, path, at="server", whole=False, title=TITLE, story=TOLD, command=COMMAND, states=[],
        events=once_each([event for event in sidecar(story, trace)["events"] if event["t"] >= 0]),
        # Other names than client and server: nothing of the sidecar is drawn into the pictures.
        hosts={"application": trace.hosts["client"], "database": trace.hosts["server"]},
    )  # fmt: skip
    return f"{path.stem}: {tcplab.agreement(trace).sentence}"


def once_each(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Twelve clients do the same at the same moment: each call once, and how often."""
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for event in events:
        alike.setdefault((event["host"], event["call"], event["result"]), []).append(event)
    return [
        each[0] | ({"result": f"{each[0]['result']}, {len(each)} times"} if len(each) > 1 else {})
        for each in alike.values()
    ]


if __name__ == "__main__":
    print(record(Path(__file__).parent / "case_4.pcap"))
