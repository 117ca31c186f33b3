"""Why connections broke: each rule by the evidence that it needs, and what a recording shows."""

import json
import re

import pytest

from recordings.captures import PROJECT
from tcplab import cli, diagnose, read_capture
from tcplab.capture.causes import BOTH_FILES, LIKELY, RULES, SAID, UNKNOWN, IncidentEvidence, cause_of
from tcplab.capture.incidents import find_incidents

#: What each rule needs, and nothing that an earlier rule would take.
NEEDS = {
    "lost_between": {"family": "silence", "lost": "3 packets never arrived"},
    "server_message": {"family": "server_end", "message": "FATAL 57P01"},
    "icmp_reject": {"family": "refused", "icmp": "administratively prohibited", "icmp_from": "10.0.0.9"},
    "icmp_unreachable": {"family": "silence", "icmp": "host unreachable", "icmp_from": "10.0.0.9"},
    "icmp_too_big": {"family": "silence", "icmp": "fragmentation needed", "icmp_from": "10.0.0.9"},
    "icmp_loop": {"family": "silence", "icmp": "time to live exceeded", "icmp_from": "10.0.0.9"},
    "process_ended": {"family": "server_end", "count": 3, "refused": 1},
    "idle_timeout": {"family": "server_end", "count": 3, "equal_s": 60.0},
    "no_socket": {"family": "server_end", "reset": "no_socket"},
    "server_abort": {"family": "server_end", "reset": "abort"},
    "server_gave_up": {"family": "server_end", "reset": "keepalive"},
    "sessions_ended": {"family": "server_end", "count": 3},
    "session_ended": {"family": "server_end"},
    "refused": {"family": "refused"},
    "accept_queue": {"family": "ghost"},
    "client_timeout": {"family": "client_end", "count": 3, "equal_s": 30.0},
    "client_ended": {"family": "client_end", "count": 3, "reset": "abort"},
    "client_no_socket": {"family": "client_end", "reset": "no_socket"},
    "client_abort": {"family": "client_end", "reset": "abort"},
    "one_direction": {"family": "silence", "codes": frozenset({"one_way"})},
    "handshake": {"family": "silence", "attempts": 1, "codes": frozenset({"handshake_incomplete"})},
    "mtu": {"family": "silence", "full_size": True},
    "path_between": {"family": "silence", "answers_others": True},
    "forgotten": {"family": "silence", "answers_same": True, "idle_s": 60.0},
    "filtered_attempts": {"family": "silence", "attempts": 1, "answers_same": True},
    "attempts": {"family": "silence", "attempts": 1},
    "these_only": {"family": "silence", "answers_same": True},
    "forgotten_or_gone": {"family": "silence", "idle_s": 60.0},
    "host_or_path": {"family": "silence", "count": 4, "idle_s": 60.0},
}


def test_every_rule_can_hold_and_says_what_looks_the_same_and_what_is_left_open():
    assert NEEDS.keys() == RULES.keys()
    for code, needs in NEEDS.items():
        cause = cause_of(IncidentEvidence(server="10.0.0.2:5432", host="10.0.0.2", peers="10.0.0.1", **needs))
        assert cause.code == code
        for sentence in (cause.says, cause.looks_same, cause.cannot_tell):
            assert re.fullmatch(r"[A-Z0-9].*\.", sentence) and "{" not in sentence and "  " not in sentence
        assert re.search(r"the same", cause.looks_same), code
        assert re.match(r"Wh(ich|ether|at|ere|o) ", cause.cannot_tell), code
        by_address = cause.certainty == "said by 10.0.0.9"
        assert by_address or cause.certainty in (SAID, BOTH_FILES, LIKELY, UNKNOWN)
        begins = {LIKELY: "Most likely ", UNKNOWN: "The file can’t tell "}.get(cause.certainty, "")
        assert cause.says.startswith(begins)


def test_that_a_process_ended_is_never_said_without_a_refusal_or_a_message():
    for code, needs in NEEDS.items():
        if "server process" in RULES[code].says and not needs.get("refused"):
            assert "or closed the socket" in RULES[code].says


def cause_in(name, number=1):
    capture = read_capture(PROJECT / "data" / "captures" / f"{name}.pcap")
    found = find_incidents(capture, diagnose(capture))
    return found.incidents[number - 1].cause


@pytest.mark.parametrize(
    ("name", "code", "certainty"),
    [
        ("case_1", "forgotten", LIKELY),
        ("case_2", "forgotten_or_gone", UNKNOWN),
        ("case_4", "accept_queue", LIKELY),
        ("case_6", "refused", UNKNOWN),
        ("dead_peer", "host_or_path", LIKELY),
        ("dead_client_killed", "client_no_socket", LIKELY),
        ("postgres_kill9_unread", "server_abort", LIKELY),
        ("lesson_keepalive_rebooted", "no_socket", LIKELY),
        ("unanswered_connect", "attempts", UNKNOWN),
    ],
)
def test_of_recordings(name, code, certainty):
    cause = cause_in(name)
    assert (cause.code, cause.certainty) == (code, certainty)


def test_the_command_says_it(capsys):
    cli.main(["diagnose", str(PROJECT / "data" / "captures" / "case_1.pcap")])
    printed = capsys.readouterr().out
    assert (
        "Most likely a firewall, NAT or load balancer removed this connection after at most 5 min" in printed
    )
    assert "What this file can’t show: which device it was" in printed


def test_a_time_zone_is_said_beside_utc(capsys):
    file = str(PROJECT / "data" / "captures" / "case_1.pcap")
    assert cli.main(["diagnose", file, "--zone", "Europe/Berlin"]) == 0
    says = "In Europe/Berlin (UTC+01:00) that was from 14:17:30.127 to 14:22:30.128; all other times are UTC."
    assert says in capsys.readouterr().out.splitlines()
    assert cli.main(["diagnose", file, "--zone", "Europe/Berlin", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert (whole["zone"], whole["in_zone"]) == ("Europe/Berlin", says)
    first, last = "2026-11-21T14:17:30.127+01:00", "2026-11-21T14:22:30.128+01:00"
    assert [each["local"] for each in whole["incidents"]] == [[first, last]]
    for wrong in ("Europe/Nowhere", "../etc/passwd"):
        assert cli.main(["diagnose", file, "--zone", wrong]) == 2
        assert f"--zone '{wrong}' is no time zone" in capsys.readouterr().err
