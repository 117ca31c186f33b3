"""What the recordings' own consoles mean: as their stories say, and nothing else."""

import json
from pathlib import Path

import pytest

from tcplab.console import explain

CAPTURES = Path(__file__).parents[2] / "data" / "captures"
#: Capture, host, the nth `ss` of it, and what its story says.
STORIES = [
    ("case_1", "client", 0, {"send_queue_stuck"}),
    ("case_1", "server", 0, {"keepalive_two_hours"}),
    ("case_2", "server", -1, {"send_queue_stuck"}),
    ("case_2_client", "client", 0, {"probes_unanswered"}),
    ("case_3", "client", 0, {"healthy"}),
    ("case_6", "server", 0, {"zero_window"}),
    ("dead_client_killed", "server", 0, {"client_gone", "keepalive_two_hours"}),
    ("dead_client_vanished_keepalive", "server", 0, {"healthy"}),
    ("pool_engine", "client", 0, {"close_wait_leak"}),
    ("pool_engine", "client", -1, {"healthy"}),
    ("postgres_long_query", "server", 0, {"healthy"}),
]


def consoles(name, host):
    events = json.loads((CAPTURES / f"{name}.json").read_text("utf-8"))["events"]
    return [
        f"{host}:~$ {event['call']}\n{event['result']}\n"
        for event in events
        if event["host"] == host and event["call"].startswith("ss ")
    ]


@pytest.mark.parametrize(("name", "host", "place", "codes"), STORIES)
def test_a_recorded_console_means_what_its_story_says(name, host, place, codes):
    found = explain(consoles(name, host)[place])
    assert {verdict.code for verdict in found.verdicts} == codes
    assert found.unknown == ()
