"""The receiving half against this kernel: the same segments and calls to both, the same has to leave.

Each story begins with an established connection (but for those of a listener), in the words of
`conversation.py`. The model gets every segment at the moment at which the kernel got it.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.sandboxes import need_sandbox
from conftest import need
from model.conversation import SECOND, Conversation
from tcplab.bench.linux import version

pytestmark = pytest.mark.linux

PEER = Path(__file__).with_name("linux_peer.py")
TESTS = PEER.parents[1]
#: A timer of the kernel is a tick late or two, and a busy machine some more.
LATE, EARLY = 0.02, 0.006
#: A machine without time for us gets more tries.
TRIES = 5


def server(**more):
    return {"role": "server", **more}


def client(**more):
    return more


def listener(**more):
    return {"role": "listening", **more}


def filling(segments, length, gap=0.004, reads=""):
    """Segments of a length one after the other, each read at once if `reads` says so."""
    return ";".join(f"{0.05 + gap * i:.3f} < A {1 + length * i} 1 {length}{reads}" for i in range(segments))


#: What happens: which options, and the story.
STORIES = {
    "overlap left": (server(), "0.05 < PA 1 1 100; 0.1 < PA 51 1 100; 0.2 recv()"),
    "overlap right of a hole": (
        server(),
        "0.05 < PA 101 1 100; 0.1 < PA 151 1 100; 0.15 < PA 51 1 100; 0.2 < PA 1 1 60; 0.3 recv()",
    ),
    "covers two blocks": (
        server(),
        "0.05 < PA 101 1 50; 0.1 < PA 201 1 50; 0.15 < PA 51 1 300; 0.2 < PA 1 1 50; 0.25 recv()",
    ),
    "inside a block": (
        server(),
        "0.05 < PA 101 1 100; 0.1 < PA 121 1 20; 0.15 < PA 101 1 100; 0.2 < PA 1 1 100",
    ),
    "same start, longer": (server(), "0.05 < PA 101 1 50; 0.1 < PA 101 1 100; 0.15 < PA 1 1 100"),
    "five holes": (
        server(),
        "0.05 < PA 11 1 5; 0.06 < PA 21 1 5; 0.07 < PA 31 1 5; 0.2 < PA 41 1 5; 0.21 < PA 51 1 5; "
        "0.22 < PA 1 1 10; 0.23 < PA 16 1 5",
    ),
    "five holes with timestamps": (
        server(timestamps=True),
        "0.05 < PA 11 1 5; 0.06 < PA 21 1 5; 0.07 < PA 31 1 5; 0.2 < PA 41 1 5; 0.21 < PA 51 1 5; "
        "0.22 < PA 1 1 10; 0.23 < PA 16 1 5",
    ),
    "old payload": (server(), "0.05 < PA 1 1 100; 0.1 < PA 1 1 100; 0.12 < PA 1 1 50; 0.15 < PA 51 1 50"),
    "old number, no payload": (server(), "0.05 < PA 1 1 100; 0.1 < A 1 1; 0.15 < A 50 1; 0.7 < A 1 1"),
    "keepalive probe": (
        server(),
        "0.05 < PA 1 1 100; 0.1 recv(); 0.15 < A 100 1; 0.25 < A 100 1; 0.75 < A 100 1",
    ),
    "keepalive probe with a byte": (server(), "0.05 < PA 1 1 100; 0.1 < A 100 1 1; 0.2 < A 100 1 1"),
    "keepalive probe before any data": (server(), "0.05 < A 0 1; 0.1 < A 0 1; 0.6 < A 0 1"),
    "keepalive probe with timestamps": (
        server(timestamps=True),
        "0.05 < PA 1 1 100; 0.1 < A 100 1; 0.7 < A 100 1",
    ),
    "fin with data": (server(), "0.05 < FPA 1 1 100; 0.2 recv(); 0.25 recv(); 0.3 close(); 0.35 < A 102 2"),
    "fin after data": (
        server(),
        "0.05 < PA 1 1 100; 0.1 < FA 101 1; 0.2 recv(); 0.25 recv(); 0.3 send(10); 0.31 < A 102 11; "
        "0.35 close(); 0.36 < A 102 12",
    ),
    "fin again": (server(), "0.05 < FA 1 1; 0.1 < FA 1 1; 0.15 < FA 1 1"),
    "fin again with data before it": (server(), "0.05 < FPA 1 1 10; 0.1 < FPA 1 1 10; 0.15 < FA 11 1"),
    "data after a fin": (server(), "0.05 < FA 1 1; 0.1 < PA 2 1 10; 0.15 < A 2 1; 0.2 recv()"),
    "data straddling a fin": (
        server(),
        "0.05 < PA 1 1 10; 0.1 < FA 11 1; 0.2 < PA 6 1 10; 0.25 recv(); 0.3 recv()",
    ),
    "fin ahead, then payload in its place": (
        server(),
        "0.05 < FA 51 1; 0.1 < PA 1 1 100; 0.15 < PA 101 1 10; 0.2 recv()",
    ),
    "fin ahead, other fin": (server(), "0.05 < FA 51 1; 0.1 < FA 1 1; 0.2 recv()"),
    "fin ahead, hole filled in steps": (
        server(),
        "0.05 < FPA 51 1 50; 0.1 < PA 1 1 20; 0.15 < PA 21 1 30; 0.2 recv(); 0.25 recv()",
    ),
    "rst exact": (server(), "0.05 < R 1; 0.1 recv(); 0.15 send(1)"),
    "rst with ack": (server(), "0.05 < RA 1 1; 0.1 recv()"),
    "rst one ahead": (server(), "0.05 < R 2; 0.1 < R 3; 0.6 < R 4; 0.7 recv()"),
    "rst one behind": (server(), "0.05 < PA 1 1 10; 0.1 < R 10; 0.15 < R 0; 0.2 recv()"),
    "rst at the right edge": (
        server(receive_buffer=9000),
        "0.05 < R 4381; 0.1 < R 4382; 0.7 < R 4380; 0.8 recv()",
    ),
    "rst at the sack edge": (server(), "0.05 < PA 101 1 100; 0.1 < R 201; 0.2 recv()"),
    "rst at a lower sack edge": (
        server(),
        "0.05 < PA 101 1 100; 0.1 < PA 301 1 100; 0.15 < R 201; 0.7 < R 401; 0.8 recv()",
    ),
    "rst before the last ack": (
        server(),
        "0.05 < PA 1 1 10; 0.06 send(10); 0.065 < A 11 11; 0.07 < PA 11 11 10; 0.08 < R 11; 0.09 < R "
        "21; 0.2 recv(); 0.25 recv()",
    ),
    "rst after a fin, one before": (server(), "0.05 < FA 1 1; 0.1 < R 1; 0.2 recv(); 0.25 send(1)"),
    "rst after a fin": (server(), "0.05 < FA 1 1; 0.1 < R 2; 0.2 send(1); 0.25 send(1)"),
    "rst in fin_wait_2": (server(), "0.05 shutdown(); 0.06 < A 1 2; 0.1 < R 2; 0.2 < R 1; 0.25 recv()"),
    "syn in the window": (server(), "0.05 < S 5; 0.1 < S 0; 0.7 < SA 5 1; 0.8 < S -500"),
    "syn with data": (server(), "0.05 < S 1 10; 0.6 < SA 1 1 10"),
    "ack of nothing sent": (server(), "0.05 < A 1 50; 0.1 < PA 1 50 10; 0.7 < PA 1 50 10; 0.8 recv()"),
    "ack far too old": (
        server(),
        "0.05 send(100); 0.06 < A 1 101; 0.1 < A 1 -70000; 0.7 < PA 1 -70000 10; 0.8 recv()",
    ),
    "old ack with payload": (server(), "0.05 send(100); 0.06 < A 1 101; 0.1 < PA 1 50 10; 0.2 recv()"),
    "no flags, no ack": (server(), "0.05 < - 1 10; 0.1 < P 1 10; 0.15 < F 1; 0.2 recv()"),
    "beyond the window": (
        server(receive_buffer=9000),
        "0.05 < PA 4381 1 10; 0.1 < PA 4382 1 10; 0.15 < A 4381 1; 0.2 < A 4382 1; 0.25 < FA 4381 1; "
        "0.3 < FA 4380 1",
    ),
    "overhang, nothing waits": (
        server(receive_buffer=4608),
        "0.05 < PA 1401 1 100; 0.1 < PA 1 1 1400; 0.2 recv()",
    ),
    "overhang, something waits": (
        server(receive_buffer=4608),
        "0.05 < PA 1 1 1400; 0.1 < PA 1401 1 61; 0.15 < PA 1401 1 60; 0.2 recv(); 0.25 < FPA 1461 1 "
        "1400; 0.3 recv()",
    ),
    "fin into a closed window": (
        server(receive_buffer=4608),
        "0.05 < PA 1 1 1460; 0.1 < PA 1461 1 1460; 0.15 < FA 1461 1; 0.2 recv(); 0.25 recv()",
    ),
    "probe of a closed window": (
        server(receive_buffer=9000),
        "0.05 < A 1 1 1460; 0.06 < A 1461 1 1460; 0.07 < A 2921 1 1460; 0.2 < A 4380 1; 0.3 < A 4380 "
        "1; 0.8 < A 4380 1; 0.9 < A 4381 1 1; 1 recv(100); 1.1 recv()",
    ),
    "small reads open it late": (
        server(receive_buffer=16384),
        filling(9, 1460) + "".join(f";{0.2 + i * 0.03:.2f} recv(700)" for i in range(15)),
    ),
    "one big read opens it": (
        server(receive_buffer=16384),
        filling(9, 1460) + "; 0.2 recv(); 0.25 < A 11681 1 1460; 0.3 recv()",
    ),
    "default buffer grows": (server(), filling(20, 1460, 0.01, "; recv()")),
    "default buffer grows, timestamps": (server(timestamps=True), filling(20, 1448, 0.01, "; recv()")),
    "small segments": (server(receive_buffer=65536), filling(20, 30, 0.01)),
    "segments of one size without push": (server(), filling(6, 300, 0.01)),
    "client mss 536": (
        server(mss=536),
        "0.05 < A 1 1 536; 0.06 < A 537 1 536; 0.1 recv(); 0.2 send(1000); 0.204 < A 1073 1001",
    ),
    "no scaling": (server(scale=None), "0.05 < A 1 1 1460; 0.06 < A 1461 1 1460; 0.1 recv()"),
    "no scaling, small buffer": (
        server(scale=None, receive_buffer=20000),
        "0.05 < A 1 1 1460; 0.06 < A 1461 1 1460; 0.1 recv()",
    ),
    "window clamp": (server(window_clamp=20000), filling(20, 1460, 0.01, "; recv()")),
    "window clamp, client": (client(window_clamp=20000), filling(20, 1460, 0.01, "; recv()")),
    "window clamp below the least": (server(window_clamp=500), "0.05 < PA 1 1 400; 0.1 recv()"),
    "window clamp, small buffer": (
        server(window_clamp=4000, receive_buffer=16384),
        "0.05 < PA 1 1 200; 0.1 recv(); 0.15 < PA 201 1 1460; 0.2 recv(); 0.25 < PA 1661 1 1460; 0.3 recv()",
    ),
    "window clamp of the whole buffer": (
        client(window_clamp=20000, receive_buffer=40000),
        "0.05 < PA 1 1 200; 0.1 recv(); 0.15 < PA 201 1 1460; 0.2 recv()",
    ),
    "window clamp, scaled": (
        client(window_clamp=200_000, receive_buffer=400_000),
        "0.05 < PA 1 1 200; 0.1 recv(); 0.15 < PA 201 1 1460; 0.2 recv()",
    ),
    "without sack": (
        server(sack=False),
        "0.05 < PA 101 1 100; 0.1 < PA 301 1 100; 0.15 < PA 1 1 100; 0.2 < PA 201 1 100; 0.25 < PA 1 1 50",
    ),
    "interactive, delayed": (
        server(),
        "0.05 < PA 1 1 40; 0.06 send(200); 0.065 < A 41 201; 0.07 < PA 41 201 40; 0.2 < PA 81 201 40; "
        "0.22 send(10); 0.225 < A 121 211",
    ),
    "interactive, rides": (
        server(),
        "0.05 < PA 1 1 40; 0.06 send(200); 0.065 < A 41 201; 0.07 < PA 41 201 40; 0.09 send(200); "
        "0.095 < A 81 401",
    ),
    "reading acknowledges": (
        server(),
        "0.05 < PA 1 1 40; 0.06 send(200); 0.065 < A 41 201; 0.07 < PA 41 201 40; 0.08 < PA 81 201 "
        "40; 0.085 recv()",
    ),
    "close with unread": (server(), "0.05 < PA 1 1 40; 0.1 close(); 0.15 < A 41 1"),
    "close, then data": (server(), "0.05 close(); 0.06 < A 1 2; 0.1 < PA 1 2 10"),
    "close, data with the ack of the fin": (server(), "0.05 close(); 0.06 < PA 1 2 10"),
    "shutdown, data, fin": (
        server(),
        "0.05 shutdown(); 0.06 < A 1 2; 0.1 < PA 1 2 10; 0.15 recv(); 0.2 < FA 11 2; 0.25 recv(); 0.3 "
        "< FA 11 2; 0.35 < A 12 2; 0.4 < R 12",
    ),
    "simultaneous close": (
        server(),
        "0.05 shutdown(); 0.055 < FA 1 1; 0.06 < A 2 2; 0.1 < FA 1 2; 0.2 < A 2 2",
    ),
    "simultaneous close, data first": (
        server(),
        "0.05 send(10); 0.051 close(); 0.052 < FA 1 1; 0.054 < A 2 12; 0.1 < FA 1 12",
    ),
    "fin acknowledges ours": (
        server(),
        "0.05 close(); 0.06 < FA 1 2; 0.1 < FA 1 2; 0.2 < PA 2 2 5; 0.7 < S 100",
    ),
    "fin_wait_2, fin with data": (server(), "0.05 close(); 0.06 < A 1 2; 0.1 < FPA 1 2 10"),
    "fin_wait_2 without program, old payload": (
        server(),
        "0.05 < PA 1 1 10; 0.06 recv(); 0.1 close(); 0.11 < A 11 2; 0.15 < PA 1 2 10; 0.2 < A 10 2; "
        "0.7 < FA 11 2; 0.75 < FA 11 2",
    ),
    "last_ack": (
        server(),
        "0.05 < FA 1 1; 0.1 close(); 0.105 < FA 1 1; 0.11 < A 2 1; 0.12 < A 2 2; 0.15 < A 2 2",
    ),
    "linger 0": (server(), "0.05 < PA 1 1 10; 0.06 recv(); 0.1 reset(); 0.15 < PA 11 1 10"),
    "half open: data to nobody": (
        client(),
        "0.05 reset(); 0.1 < PA 1 1 10; 0.15 < A 1 1; 0.2 < FA 1 1; 0.25 < RA 1 1; 0.3 < S 1",
    ),
    "half open: syn to an old connection": (
        server(),
        "0.05 < PA 1 1 10; 0.1 < S 5000; 0.15 < R 11; 0.2 recv(); 0.25 recv()",
    ),
    "half open: syn beyond the window": (
        server(),
        "0.05 < PA 1 1 10; 0.1 < S 900000; 0.15 < R 11; 0.2 recv(); 0.25 recv()",
    ),
    "paws: old payload": (
        server(timestamps=True),
        "0.05 < PA 1 1 10 ts=2000; 0.1 < PA 11 1 10 ts=1990; 0.15 < PA 11 1 10 ts=1999; 0.2 recv()",
    ),
    "paws: acks": (
        server(timestamps=True),
        "0.05 < PA 1 1 10 ts=2000; 0.1 < A 11 1 ts=1900; 0.15 < A 11 1 ts=1000; 0.7 < A 10 1 ts=1990; "
        "0.75 < A 11 1 ts=1900 w=1024; 1.3 < A 11 1 ts=1900 w=131072",
    ),
    "paws: rst and fin and syn": (
        server(timestamps=True),
        "0.05 < PA 1 1 10 ts=2000; 0.1 < FA 11 1 ts=1000; 0.15 < S 11 ts=1000; 0.7 < R 12 ts=1000; "
        "0.8 < R 11 ts=1000; 0.9 recv(); 0.95 recv()",
    ),
    "timestamps: echo of what was late": (
        server(timestamps=True),
        "0.05 < PA 1 1 10 ts=2000; 0.06 send(10); 0.065 < A 11 11 ts=2001; 0.07 < PA 11 11 10 "
        "ts=2010; 0.08 < PA 21 11 10 ts=2020; 0.2 < PA 41 11 10 ts=2030; 0.25 < PA 31 11 10 ts=2040",
    ),
    "timestamps: segment without": (
        server(timestamps=True),
        "0.05 < PA 1 1 10 ts=2000; 0.1 < A 11 -20; 0.15 < PA 11 1 10 ts=2001",
    ),
    "client: data with a piece of the past": (
        client(),
        "0.05 send(100); 0.06 < PA 1 101 50; 0.1 < PA 0 101 51; 0.15 < PA -50 101 101; 0.2 recv()",
    ),
    "client: fin, rst": (
        client(),
        "0.05 send(100); 0.06 < FPA 1 101 50; 0.2 < RA 52 101; 0.25 recv(); 0.3 recv(); 0.35 send(1)",
    ),
    "client: small buffer": (
        client(receive_buffer=4608),
        "0.05 < A 1 1 1000; 0.06 < A 1001 1 460; 0.1 recv(500); 0.15 recv(); 0.2 < A 1461 1 700; 0.25 recv()",
    ),
    "small buffer, large segments": (
        server(receive_buffer=30000),
        filling(14, 1460) + "; 0.2 recv(3000); 0.25 recv(8000); 0.3 recv()",
    ),
    "small buffer out of order": (
        server(receive_buffer=16384),
        "0.05 < A 1461 1 1460; 0.1 < A 4381 1 1460; 0.15 < A 1 1 1460; 0.2 < A 2921 1 1460; 0.25 < A "
        "7301 1 1400; 0.3 recv(); 0.35 < A 5841 1 1460; 0.4 recv()",
    ),
    "listening: rst to a request": (listener(), "0.05 < S 0; 0.1 < R 5; 0.15 < R 1; 0.2 < A 1 1"),
    "listening: syn again, syn elsewhere": (
        listener(),
        "0.05 < S 0; 0.1 < S 0; 0.15 < S 0; 0.7 < S 100; 0.75 < A 1 1",
    ),
    "listening: ack of something else": (
        listener(),
        "0.05 < S 0; 0.1 < A 1 77; 0.15 < PA 1 1 10; 0.2 accept(); 0.25 recv()",
    ),
    "listening: payload first, out of order": (
        listener(),
        "0.05 < S 0; 0.1 < PA 11 1 10; 0.15 accept(); 0.2 < PA 1 1 10; 0.25 recv()",
    ),
    "listening: fin with the last step": (
        listener(),
        "0.05 < S 0; 0.1 < FPA 1 1 10; 0.15 accept(); 0.25 recv(); 0.3 recv()",
    ),
    "listening: nothing but a syn": (
        listener(),
        "0.05 < A 1 1; 0.1 < R 1; 0.15 < SA 0 1; 0.2 < F 1; 0.25 < SF 1; 0.3 < - 1 5",
    ),
}


def steps(story, timestamps):
    """[nanoseconds, "call" or "segment", words] of each line; a segment's timestamp is said in any case."""
    found, t = [], 0
    for line in story.split(";"):
        words = line.split()
        if re.fullmatch(r"\d+(\.\d+)?", words[0]):
            t = round(float(words.pop(0)) * SECOND)
        if words[:1] == ["<"]:
            stamp = [f"ts={1000 + t // 1_000_000}"] if timestamps and "ts=" not in line else []
            found.append([t, "segment", " ".join(words[1:] + stamp)])
        elif words:
            found.append([t, "call", " ".join(words)])
    return found


def on_linux(names):
    """For each story what happened on this kernel: (seconds, what, words or segment, what a call gave)."""
    told = [(STORIES[name][0], steps(STORIES[name][1], "timestamps" in STORIES[name][0])) for name in names]
    path = os.pathsep.join(map(str, (TESTS.parent, TESTS)))
    environment = os.environ | {"PYTHONPATH": path, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    done = subprocess.run(
        [sys.executable, str(PEER)], input=json.dumps(told), capture_output=True, text=True, env=environment,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(names, json.loads(done.stdout), strict=True))


def on_the_model(name, events):
    """The same for the model, which gets each segment and call when the kernel got it."""
    machine = Conversation(linux=version(), **STORIES[name][0])
    if machine.listener is None and STORIES[name][0].get("role") == "listening":
        machine.call("listen()")
    happened = []
    for t, what, text, *_ in events:
        if what == "leaves":
            continue
        happened += [[at, "leaves", said] for at, said in machine.sends_until(t)]
        if what == "call":
            happened.append([t, what, text, machine.call(text)])
        elif what == "segment":
            machine.arrives(text)
            happened.append([t, what, text, None])
    return happened


def words(event):
    """An event without its time; chance has made the number of a SYN."""
    _, what, said, *rest = event
    if what != "leaves":
        return [what, said, *rest]
    said = {**said, "sack": [list(block) for block in said["sack"]]}
    return [what, {**said, "seq": 0} if "S" in said["flags"] else said]


def differs(name, events):
    """The first difference between kernel and model in words, or nothing."""
    end = events[-1][0] - LATE
    linux = [each for each in events[:-1] if each[0] < end]
    model = on_the_model(name, events)
    for here, there in zip(linux, model, strict=False):
        if words(here) != words(there) or not -EARLY <= here[0] - there[0] <= LATE:
            return f"Linux {here}\nmodel {there}"
    return f"Linux {linux[len(model) :]}\nmodel {model[len(linux) :]}" if len(linux) != len(model) else ""


@pytest.fixture(scope="module")
def outcomes():
    """Where model and kernel differ; such a story is tried again, for the machine may be busy."""
    need_sandbox()
    need("ip")
    found = dict.fromkeys(STORIES, "?")
    for _ in range(TRIES):
        again = [name for name in STORIES if found[name]]
        if again:
            found |= {name: differs(name, events) for name, events in on_linux(again).items()}
    return found


@pytest.mark.parametrize("name", STORIES)
def test_the_model_does_what_this_kernel_does(outcomes, name):
    assert not outcomes[name], outcomes[name]
