"""The capture clinic: what its cases' packets must show, and the right answers against them."""

from pathlib import Path

import pytest

from recordings.captures import STORED, Capture
from tcplab import AcceptQueue, RstInWindow, diagnose, read_capture, run, what_if
from tcplab.core.segment import ACK, RST
from tcplab.core.text import SECOND
from tcplab.follow import KEEPALIVE, RETRANSMISSION
from tcplab.lesson import ask

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "14_capture_clinic.ipynb"


def told(name):
    return diagnose(read_capture(STORED / f"{name}.pcap"))


def trace(name, number=0):
    return read_capture(STORED / f"{name}.pcap").connection(number)


def codes(connection):
    return {finding.code for finding in connection.findings}


def finding(name, code, number=0):
    (found,) = [each for each in told(name).connections[number].findings if each.code == code]
    return found


def result(name, call):
    return Capture(name).event(call)["result"]


# What happened ---------------------------------------------------------------------------------


def test_case_1_a_new_connection_works_while_the_old_one_hangs():
    old, new = told("case_1").connections
    assert codes(old) == {"idle_then_dead", "dead_peer"} and codes(new) == {"closed_by_client"}
    assert finding("case_1", "idle_then_dead").facts["idle_s"] == pytest.approx(300, abs=2)
    assert old.findings[0].t < new.findings[0].t < trace("case_1").packets[-1].t
    assert result("case_1", "psql -c").startswith("1\n")


def test_case_2_shows_one_silence_from_each_end():
    server, client = finding("case_2", "idle_then_dead"), finding("case_2_client", "keepalive_death")
    assert (server.facts["side"], client.facts["side"]) == ("server", "client")
    assert server.facts["idle_s"] == pytest.approx(300, abs=2)
    assert (client.facts["idle_s"], client.facts["probes"]) == (pytest.approx(280, abs=2), 3)
    # Both are alive and speak within the same half minute, and neither hears the other.
    spoke = [p.t for p in trace("case_2").packets if p.t > 250 * SECOND]
    asked = [p.t for p in trace("case_2_client").packets if p.t > 250 * SECOND]
    assert asked[0] < spoke[0] < asked[-1]
    assert {p.sender for p in trace("case_2").packets if p.t > 250 * SECOND} == {"server"}
    assert {p.sender for p in trace("case_2_client").packets if p.t > 250 * SECOND} == {"client"}
    assert "Connection timed out" in result("case_2_client", "psql -c")


def test_case_3_the_reset_is_the_clients_linuxs():
    packets = trace("case_3").packets
    died = finding("case_3", "keepalive_death")
    assert (died.facts["side"], died.facts["probes"]) == ("client", 3)
    assert died.facts["idle_s"] == pytest.approx(30, abs=1)
    assert packets[-1].segment.flags == RST | ACK
    assert [p.kind for p in packets[-4:-1]] == [KEEPALIVE] * 3
    assert packets[-1].t - packets[-4].t == pytest.approx(30 * SECOND, rel=0.08)


def test_case_4_seven_speak_and_the_server_does_not_hear_them():
    connections = told("case_4").connections
    ghosts = [each for each in connections if "cookie_ghost_suspected" in codes(each)]
    assert (len(connections), len(ghosts)) == (12, 7)
    for each in connections:
        data = [p for p in trace("case_4", each.number).packets if p.segment.length]
        assert {p.sender for p in data} == {"client"}
    assert Capture("case_4").sidecar["outcome"]["ghosts"] == 7


def test_case_5_three_resets_and_the_session_goes_on():
    seen = told("case_5").connections[0]
    assert [each.code for each in seen.findings].count("reset_ignored") == 2
    assert codes(seen) == {"reset_ignored", "reset_challenged", "closed_by_client"}
    resets = [p.t for p in trace("case_5").packets if p.segment.flags & RST]
    assert len(resets) == 3
    later = [p for p in trace("case_5").packets if p.t > resets[-1] and p.segment.length]
    assert {p.sender for p in later} == {"client", "server"}


def test_case_5_the_resets_have_another_ttl():
    from scapy.layers.inet import IP, TCP

    packets = Capture("case_5").packets
    ttls = {(packet[IP].src, "R" in str(packet[TCP].flags)): packet[IP].ttl for packet in packets}
    assert ttls == {("10.0.0.1", False): 64, ("10.0.0.2", False): 63, ("10.0.0.2", True): 255}


def test_case_6_one_connection_among_them_is_in_trouble():
    seen = told("case_6")
    summary = seen.summary
    assert len(seen) == 137
    assert summary["reset_by_client"] == summary["probe_only"] == 96 and summary["refused"] == 24
    (report,) = [each for each in seen.connections if "zero_window" in codes(each)]
    assert {"zero_window", "reset_by_server"} <= codes(report)
    packets = trace("case_6", report.number).packets
    last = [p.t for p in packets if p.sender == "server" and not p.segment.flags & RST][-1]
    shut = next(p.t for p in packets if p.sender == "client" and p.segment.window == 0)
    assert (last - shut) / SECOND < 10 < (packets[-1].t - shut) / SECOND
    log = result("case_6", "PostgreSQL's log")
    assert "could not send data to client: Connection timed out" in log
    assert "incomplete startup" not in log and "reset by peer" not in log


def test_case_6_no_server_sent_the_timeout():
    """A user timeout says nothing: the RST is the answer to the client that reads on."""
    (report,) = [each for each in told("case_6").connections if "zero_window" in codes(each)]
    reset = next(each for each in report.findings if each.code == "reset_by_server")
    assert reset.facts["kind"] == "no_socket"
    assert not any(p.kind == RETRANSMISSION for p in trace("case_6", report.number).packets[-3:])


# The questions ---------------------------------------------------------------------------------

BOX = {"firewall_idle_s": 240}
ASKS = {"keepalive_interval_s": 10, "keepalive_probes": 6}


def question(name):
    return ask("capture_clinic", name)


def test_only_the_right_idle_time_saves_the_first_case():
    """The options are that of the question, in seconds; the box is the recording's."""
    lives = {
        label: what_if(trace("case_1"), keepalive_idle_s=int(label.split()[0]), **ASKS, **BOX).lived
        for label in question("safe_idle").options
    }
    assert [label for label, lived in lives.items() if lived] == [question("safe_idle").right]


def test_the_box_of_the_recordings_is_the_one_that_the_lesson_names():
    for name in ("case_1", "case_2"):
        assert "four" in Capture(name).sidecar["story"]
    script = (STORED / "record_clinic.py").read_text()
    assert script.count("forgets_after(on, 240)") == 2


def test_keepalive_in_time_saves_the_report_and_none_would_have_left_the_client_waiting():
    report = trace("case_2_client")
    assert what_if(report, keepalive_idle_s=60, **ASKS, **BOX).lived
    assert what_if(report, keepalive_idle_s=0).outcome.kind == "waits"


def test_the_defaults_would_have_told_of_the_dead_server_after_two_hours():
    answer = what_if(trace("case_3"), keepalive_idle_s=7200, keepalive_interval_s=75, keepalive_probes=9)
    assert answer.failed_after_s == pytest.approx(7875, abs=1)


def test_a_queue_for_all_twelve_leaves_no_ghost():
    assert run(AcceptQueue(backlog=4, connects=12)).outcome["ghosts"] == 7
    assert run(AcceptQueue(backlog=11, connects=12)).outcome["ghosts"] == 0


def test_what_the_model_makes_of_the_resets_is_what_linux_made_of_them():
    beside = [
        each.facts["offset"] for each in told("case_5").connections[0].findings if "offset" in each.facts
    ]
    for offset in beside:
        outcome = run(RstInWindow(offset=offset)).outcome
        assert outcome["alive"] is True, offset
    assert run(RstInWindow(offset=0)).outcome["alive"] is False


def test_one_connection_of_case_6_lost_its_work():
    seen = told("case_6")
    lost = [
        each
        for each in seen.connections
        if codes(each) & {"reset_by_client", "reset_by_server", "refused"} and each.state != "closed"
        and any(p.segment.length for p in trace("case_6", each.number).packets)
    ]  # fmt: skip
    assert len(lost) == question("in_trouble").right == 1
    summary = seen.summary
    assert summary["closed_by_server"] == 16
    for count in (summary["reset_by_client"] + summary["reset_by_server"], summary["refused"]):
        assert count in question("in_trouble").common


def test_the_lesson_names_the_numbers_of_the_capture():
    asked = question("in_trouble").text
    for words in ("96 resets by your clients and 24 refused connections", "137 connections", "16 closed"):
        assert words in asked
