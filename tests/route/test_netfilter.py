"""The firewall against the real thing: netfilter's conntrack and REJECT on a router, in namespaces.

Whatever came into the router is given to our firewall, at its moment; what it says has to leave is what left.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.sandboxes import need_sandbox
from conftest import need
from tcplab.core.segment import Endpoint, Segment
from tcplab.core.text import SECOND
from tcplab.route.firewall import Firewall

pytestmark = pytest.mark.linux

ROUTER = Path(__file__).with_name("netfilter_router.py")
ROOT = ROUTER.parents[2]
IDLE = 1
CASES = [
    (expired, who, action)
    for expired in ("drop", "reject", "reopen")
    for who in ("client", "server")
    for action in ("send", "fin")
]
OTHER = {"client": "server", "server": "client"}
#: What each side's call gives after the silence: who got the data, and what its sender hears.
RESULTS = {
    ("drop", "send"): {"there": "nothing", "here": "nothing", "there_lives": True},
    ("reject", "send"): {"there": "nothing", "here": "ECONNRESET", "there_lives": True},
    ("reopen", "send"): {"there": 40, "here": "nothing", "there_lives": True},
    # Neither conntrack nor we open an entry in mid-stream for a FIN.
    **{
        (expired, "fin"): {"there": "nothing", "there_lives": True}
        for expired in ("drop", "reject", "reopen")
    },
}


@pytest.fixture(scope="module")
def runs():
    """What each router saw, and what came of it."""
    need_sandbox()
    for program in ("ip", "nft"):
        need(program)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}

    def one(case):
        command = [sys.executable, str(ROUTER), str(IDLE), *case]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert done.returncode == 0, done.stderr
        return case, json.loads(done.stdout)

    with ThreadPoolExecutor(4) as pool:
        routers = dict(pool.map(one, CASES))
    for router in routers.values():
        if "missing" in router:
            pytest.skip(f"no real firewall to compare with: {router['missing']}")
    return routers


def replayed(events, expired):
    """For each segment that came in: what left by our firewall, with the card it leaves by."""
    box, left = Firewall(IDLE * SECOND, expired), []
    for now, card, way, ends, (seq, ack, flags, length) in events:
        if way == "out":
            continue
        source, destination = (Endpoint(*end) for end in ends)
        segment = Segment(source, destination, seq, ack, flags, 0, length)
        if (due := box.next_timer()) is not None and due <= now:
            box.timer(due)
        done = box.pass_on(now, segment)
        if done.passes:
            left.append((OTHER[card], *identity(segment)))
        left += [(card, *identity(reset)) for reset in done.resets]
    return left


def identity(segment):
    return segment.source, segment.destination, segment.seq, segment.ack, segment.flags, segment.length


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_what_leaves_our_firewall_leaves_netfilters(runs, case):
    events = runs[case]["events"]
    left = [
        (card, *(Endpoint(*end) for end in ends), *numbers)
        for _, card, way, ends, numbers in events
        if way == "out"
    ]
    assert len(left) >= 6
    for card in OTHER:
        assert [each for each in left if each[0] == card] == [
            each for each in replayed(events, case[0]) if each[0] == card
        ]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_what_the_programs_see(runs, case):
    expired, _, action = case
    assert runs[case]["results"] == RESULTS[expired, action]
