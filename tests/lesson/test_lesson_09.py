"""The right answers of lesson 09 against the model, and against a real PostgreSQL under a real pool."""

import pytest

from recordings.captures import Capture
from recordings.test_between import LIFETIME, NEW, OLD, READ_ONLY, outage, results
from tcplab import DeadPeer, Failover, run
from tcplab.lesson import ask


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
