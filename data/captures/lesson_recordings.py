"""Record lessons' experiments on real Linux: .venv/bin/python data/captures/lesson_recordings.py [NAME ...]

Each story of the table below runs on tcplab's Linux bench, with its defaults or with the settings that the
lesson discusses, and leaves a capture, its sidecar and the whole run beside this file; ../README.md says what
they are. All of them together take a quarter of an hour, since one waits for Linux's own patience.
"""

import argparse
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tcplab
from tcplab.bench.sandbox import TooBusy
from tcplab.capture.recordings import run_on_time, sidecar, write

FOLDER = Path(__file__).parent
COMMAND = ".venv/bin/python data/captures/lesson_recordings.py"

#: Name, experiment, title, story. The story's figures are held to the packets by the lessons' tests.
STORIES: dict[str, tuple[Any, str, str]] = {
    "lesson_cable_out_idle": (
        tcplab.Keepalive(idle_s=5, interval_s=1, probes=3),
        "The cable is out, and nothing was on the way",
        "An idle connection with a small keepalive of 5/1/3 loses its server. Three probes go "
        "unanswered, and after 8 seconds the client's Linux gives up with ETIMEDOUT.",
    ),
    "lesson_cable_out_sending": (
        tcplab.DeadPeer(keepalive_idle_s=5, keepalive_interval_s=1, keepalive_probes=3),
        "The cable is out, and a query was on the way",
        "The same keepalive of 5/1/3, but the client sends 40 bytes just after its server has gone. Not "
        "one keepalive probe is sent; the 40 bytes are repeated with growing gaps for a quarter of an "
        "hour, until tcp_retries2 at its default of 15 ends it with ETIMEDOUT.",
    ),
    "lesson_cable_out_user_timeout": (
        tcplab.DeadPeer(user_timeout_s=30, keepalive_idle_s=5, keepalive_interval_s=1,
            keepalive_probes=3),
        "The cable is out, a query was on the way, and the user timeout is 30 seconds",
        "As before, with TCP_USER_TIMEOUT at 30 seconds. The same 40 bytes are repeated, and half a "
        "minute after the first of them the client's Linux gives up with ETIMEDOUT.",
    ),
    "lesson_timeout_capped": (
        tcplab.DeadPeer(rto_max_s=1),
        "The cable is out, a query was in flight, and the longest retransmission timeout is 1 second",
        "tcp_rto_max_ms is 1000 instead of 120000 (Linux 6.15 and newer), tcp_retries2 has its default. The "
        "same 40 bytes are sent 17 times as well, most of them one second apart, and the client's kernel "
        "gives up with ETIMEDOUT after 15 seconds.",
    ),
    "lesson_user_timeout_idle": (
        tcplab.Keepalive(idle_s=60, interval_s=10, probes=6, user_timeout_s=30),
        "An idle connection with keepalive 60/10/6 and a user timeout of 30 seconds",
        "An idle connection loses its server. The first probe goes out after 60 seconds; when the next "
        "one is due, 10 seconds later, the user timeout has long been over and the client's Linux gives "
        "up.",
    ),
    "lesson_keepalive_and_data": (
        tcplab.Keepalive(idle_s=15, interval_s=5, probes=3, data_every_s=10),
        "Data every 10 seconds under a keepalive of 15/5/3, then silence",
        "A question and its answer every 10 seconds keep a keepalive of 15 seconds quiet: no probe is "
        "sent. Then the server vanishes. The timer counts from the last answer, so that the client "
        "notices 30 seconds after it.",
    ),
    "lesson_keepalive_rebooted": (
        tcplab.Keepalive(idle_s=5, interval_s=1, probes=3, peer="rebooted"),
        "An idle connection whose server has rebooted",
        "The server's machine is up again and knows nothing of the connection. The first probe, after 5 "
        "seconds, is answered with RST, and the client's next call gets ECONNRESET.",
    ),
    "lesson_idle_alive": (
        tcplab.Keepalive(idle_s=5, interval_s=3, probes=9, peer="alive"),
        "An idle connection with keepalive 5/3/9 to a server that lives",
        "Nobody sends anything; Linux asks every 5 seconds and is answered at once. The interval of 3 "
        "seconds is never used, because it counts only while answers stay away.",
    ),
    "lesson_interval_above_idle": (
        tcplab.Keepalive(idle_s=4, interval_s=10, probes=9, peer="alive", watch_s=30),
        "Keepalive with an interval longer than the idle time, to a server that lives",
        "Keepalive is 4/10/9, and the server answers each probe at once. The first probe goes out "
        "after 4 seconds, all others 10 seconds after the one before.",
    ),
    "lesson_report_dropped": (
        tcplab.IdleFirewall(
            firewall_idle_s=2, expired="drop", waiting_for="long_query", quiet_s=4,
            keepalive_idle_s=6, keepalive_interval_s=1, keepalive_probes=2, retries2=3,
        ),
        "A long report behind a firewall that forgets and drops",
        "A query takes 4 seconds, and a firewall forgets the connection after 2 seconds of silence. The "
        "server's answer is dropped, again and again; the client's keepalive of 6/1/2 probes into the same "
        "silence, and its call gives ETIMEDOUT 8 seconds after the question.",
    ),
    "lesson_report_reset": (
        tcplab.IdleFirewall(
            firewall_idle_s=2, expired="reject", waiting_for="long_query", quiet_s=4,
            keepalive_idle_s=6, keepalive_interval_s=1, keepalive_probes=2, retries2=3,
        ),
        "A long report behind a firewall that forgets and answers with RST",
        "The same, but the firewall answers whoever goes on with a RST. The server hears it when it answers, "
        "after 4 seconds; the client with its first keepalive probe, after 6.",
    ),
    "lesson_rst_exact": (
        tcplab.RstInWindow(),
        "A forged RST with exactly the number that the client expects",
        "The client's Linux obeys without an answer. Its next call gets ECONNRESET.",
    ),
    "lesson_rst_old": (
        tcplab.RstInWindow(offset=-1),
        "A forged RST, one byte too old",
        "The RST lies one byte before the client's window. It is thrown away without an answer, and the "
        "connection lives.",
    ),
    "lesson_rst_beyond": (
        tcplab.RstInWindow(offset=70_000),
        "A forged RST beyond the window",
        "The RST lies to the right of the client's window. It is thrown away without an answer, and the "
        "connection lives.",
    ),
    "lesson_rst_sack_edge": (
        tcplab.RstInWindow(sack_hole=True, at_sack_edge=True),
        "A forged RST at the right edge of what the client holds out of order",
        "A segment was lost, and the client holds the next one. A RST right behind that one is obeyed, as if "
        "its number were exact.",
    ),
    "lesson_reject_alone": (
        tcplab.StaleReject(in_flight=0, latency_ms=20),
        "The client's firewall rejects a response, and nothing newer is on its way",
        "The RST that the firewall makes has the number that the server expects: the server closes. The "
        "client's own socket knows of no RST and stays established; its next request is answered with one.",
    ),
    "lesson_reject_stale": (
        tcplab.StaleReject(latency_ms=20, watch_s=1.5),
        "The client's firewall rejects a response while six newer requests are on their way",
        "The RST has the number that the rejected response had acknowledged, and the server has six newer "
        "requests by then. It throws the RST away without an answer, and all requests are answered.",
    ),
    "lesson_reject_refreshed": (
        tcplab.StaleReject(latency_ms=20, balancer_close_s=2, balancer_refresh=True),
        "A balancer believes the stale RST, and each packet restarts its time",
        "The balancer would forget the session 2 seconds after the RST, but each packet restarts that time. "
        "The client asks four times a second, and nothing is closed.",
    ),
    "lesson_syn_rejected": (
        tcplab.UnansweredConnect(fate="reject"),
        "A firewall rejects a SYN with tcp-reset",
        "A rule on the server's host answers the SYN with RST and ACK, and connect() gives ECONNREFUSED at "
        "once, as for a closed port.",
    ),
}  # fmt: skip


def record(name: str) -> str:
    """Run one story on Linux and write its three files; whether the model does the same, in a sentence."""
    story, title, text = STORIES[name]
    try:
        trace = run_on_time(story)
    except TooBusy as error:
        return f"{name} was not recorded: {error}"
    about = {"title": title, "story": text, "command": f"{COMMAND} {name}"}
    about["states"] = lasting(sidecar(story, trace)["states"])
    write(story, trace, FOLDER / f"{name}.pcap", **about)
    return f"{name}: {tcplab.agreement(trace).sentence}"


def lasting(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """States that stay a second at least; the quick exchange at the beginning stands in the packets."""
    kept = []
    for i, state in enumerate(states):
        until = next((later["t"] for later in states[i + 1 :] if later["host"] == state["host"]), math.inf)
        if until - state["t"] >= 1:
            kept.append(state)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", nargs="*", help=f"one of {', '.join(STORIES)}; all of them without a name")
    names = parser.parse_args().name or list(STORIES)
    if unknown := [name for name in names if name not in STORIES]:
        sys.exit(f"{unknown[0]} is none of the recordings: {', '.join(STORIES)}.")
    with ThreadPoolExecutor(6) as side_by_side:
        for said in side_by_side.map(record, names):
            print(said, flush=True)


if __name__ == "__main__":
    main()
