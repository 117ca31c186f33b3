"""The right answers of lesson 09 against the model, and against a real PostgreSQL under a real pool."""

import pytest

from recordings.captures import Capture
from recordings.test_between import LIFETIME, NEW, OLD, READ_ONLY, outage, results
from tcplab import DeadPeer, Failover, run
from tcplab.lesson import ask
from tcplab.lesson.page import page_table


def question(name):
    return ask("failover", name)


def write_outage(**values):
    return run(Failover(**values)).outcome["write_outage_s"]


def test_a_readable_old_primary_is_left_when_its_connections_are_too_old():
    values = {"old_primary": "readable_replica", "probe": "select_1", "duration_s": 2100}
    assert write_outage(**values) == pytest.approx(question("readable").right, abs=0.2)
    assert write_outage(**values, dns_ttl_s=0, client_dns_ttl_s=0) == write_outage(**values)


def test_three_waits_add_up_where_everybody_has_to_ask_the_name():
    values = {"old_primary": "refuses", "promotion_s": 12}
    assert write_outage(**values) == pytest.approx(question("refused").right, abs=0.2)
    assert write_outage(**values, client_dns_ttl_s=0) == pytest.approx(12 + 5, abs=0.2)


def test_retransmission_is_the_longest_part_of_a_dead_primary():
    keepalive = {"keepalive_idle_s": 5, "keepalive_interval_s": 1, "keepalive_probes": 3}
    told = run(Failover(**keepalive, duration_s=1200)).outcome
    assert told["longest_part"] == "detection"
    assert told["detected_after_s"] == pytest.approx(run(DeadPeer()).outcome["detected_after_s"], abs=0.1)
    assert "quarter of an hour" in question("dead").right
    inside = {part: until - since for part, since, until in run(Failover(duration_s=1200)).series["budget"]}
    assert {"promotion", "DNS", "detection"} <= set(inside) and inside["promotion"] == 10


def test_two_addresses_help_only_where_somebody_connects():
    kept = {"old_primary": "readable_replica", "domains": "dual", "duration_s": 2100}
    assert write_outage(**kept) == pytest.approx(1740, abs=0.2)
    assert "replaces its connections" in question("two_addresses").right
    assert outage("two_hosts") < outage("two_hosts_fenced") < LIFETIME + 1


def test_only_the_right_question_is_answered_differently_by_what_refuses_writes():
    told = {
        event["call"]: event["result"] for event in Capture("failover_two_hosts_fenced").sidecar["events"]
    }
    assert told[f"{OLD}: select pg_is_in_recovery()"] == "f"
    assert told[f"{OLD}: show transaction_read_only"] == "on"
    assert READ_ONLY in results("two_hosts_fenced")
    assert set(results("two_hosts_checked")) == {f"ok: {NEW}"}
    assert question("which_probe").right == "SHOW transaction_read_only"


def moved(name):
    sidecar = Capture(f"failover_{name}").sidecar
    return next(e["t"] for e in sidecar["events"] if "the name db" in e["call"]) - sidecar["failed"]


def refused(name):
    return [each for each in Capture(f"failover_{name}").sidecar["requests"] if READ_ONLY in each["result"]]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("select_1", "16 writes refused, the last 2.3 s after the name moved"),
        ("refused", "the name moves after 4.2 s, the first write succeeds after 7.4 s"),
        ("dead", "error after 3.6 s, first write after 5.6 s"),
        ("two_hosts_fenced", "12 writes refused, until the connection is 6 s old"),
        ("two_hosts_checked", "no write refused, first write after 0.2 s"),
        ("role_aware", "no write refused, first write after 16.2 s"),
    ],
)
def test_the_line_of_a_proof_says_what_was_recorded(name, says):
    assert page_table("failover")["proofs"][f"failover_{name}"]["line"].endswith(says)
    wrong, sidecar = refused(name), Capture(f"failover_{name}").sidecar
    assert f"{len(wrong) or 'no'} write" in says or not wrong
    if "first write" in says:
        assert f"{outage(name):.1f} s" in says or f"{outage(name):.2f}".startswith("16.2")
    if name == "select_1":
        assert wrong[-1]["t"] - sidecar["failed"] - moved(name) == pytest.approx(2.3, abs=0.05)
    if name == "refused":
        assert f"after {moved(name):.1f} s" in says
    if name == "dead":
        lost = next(each for each in sidecar["requests"] if "timed out" in each["result"])
        assert lost["t"] - sidecar["failed"] == pytest.approx(3.6, abs=0.05)


def test_a_check_that_only_raises_takes_longer_than_one_that_closes():
    (note,) = page_table("failover")["proofs"]["failover_two_hosts_checked"]["notes"]
    assert f"{outage('two_hosts_raised'):.1f} s" in note
    (note,) = page_table("failover")["proofs"]["failover_role_aware"]["notes"]
    assert f"after {moved('role_aware'):.1f} s" in note
