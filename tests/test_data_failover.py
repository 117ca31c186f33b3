"""The captures of a real failover: what stored packets, sidecars and requests must show."""

import re

import pytest

from stored import assert_it_names_its_recorder, assert_it_reads_back_whole, assert_tshark_finds_nothing_wrong
from test_data import KEYS, STORED, Capture

STORIES = {
    "failover_dead", "failover_refused", "failover_role_aware", "failover_select_1", "failover_two_hosts",
    "failover_two_hosts_checked", "failover_two_hosts_fenced", "failover_two_hosts_raised",
}  # fmt: skip
OLD, NEW = "10.0.0.2", "10.0.0.4"
READ_ONLY = "ReadOnlySqlTransaction: cannot execute INSERT in a read-only transaction"
LIFETIME, NAME_MOVES = 6, 4


@pytest.fixture(params=sorted(STORIES))
def capture(request):
    return Capture(STORED, request.param)


def named(name):
    return Capture(STORED, f"failover_{name}")


def results(name, sql="insert"):
    """What the requests of this kind got that ended after the failure, in their order."""
    told = named(name).sidecar
    return [each["result"] for each in told["requests"] if each["sql"] == sql and each["t"] > told["failed"]]


def outage(name):
    """Seconds from the failure to the first write that the new primary took."""
    told = named(name).sidecar
    writes = (each for each in told["requests"] if each["sql"] == "insert")
    return next(each["t"] for each in writes if each["result"] == f"ok: {NEW}") - told["failed"]


def test_the_folder_holds_exactly_these_pairs():
    for ending in ("pcap", "json"):
        assert {path.stem for path in STORED.glob(f"failover_*.{ending}")} == STORIES


def test_sidecar_is_complete_and_names_its_recorder(capture):
    told = capture.sidecar
    assert set(told) == KEYS | {"requests", "failed"}
    assert 2 <= len(re.findall(r"[.](?: |$)", told["story"])) <= 4
    assert set(told["software"]) == {"postgres", "psycopg", "psycopg_pool"}
    assert_it_names_its_recorder(capture, capture.path.stem)


def test_it_reads_back_as_one_connection_with_calls_and_states(capture):
    assert_it_reads_back_whole(capture)


def test_tshark_finds_nothing_wrong(capture):
    assert_tshark_finds_nothing_wrong(capture)


def test_before_the_failure_the_old_primary_answers_and_at_the_end_the_new_one(capture):
    told = capture.sidecar
    before = [each["result"] for each in told["requests"] if each["t"] < told["failed"]]
    assert before and set(before) == {f"ok: {OLD}"}
    assert {each["result"] for each in told["requests"][-2:]} == {f"ok: {NEW}"}
    assert all(frame.host in ("client", "server") for frame in capture.frames)


def test_a_check_that_asks_for_life_lets_the_pool_write_to_a_standby_until_its_age():
    told = named("select_1").sidecar
    refused = [each for each in told["requests"] if each["result"] == READ_ONLY]
    moved = next(event["t"] for event in told["events"] if "the name db" in event["call"])
    # The replacement led to the old address, and so it stayed after the name had moved.
    assert len({each["port"] for each in refused}) == 1 and refused[-1]["began"] > moved + 0.5
    assert f"ok: {OLD}" in results("select_1", "select")
    assert NAME_MOVES + 1 < outage("select_1") < LIFETIME + 5


def test_a_check_for_the_role_refuses_no_write_but_its_pool_rests():
    assert set(results("role_aware")) == {f"ok: {NEW}"}
    assert outage("role_aware") > NAME_MOVES


def test_what_only_fails_its_check_stays_in_the_pool_until_its_age():
    assert set(results("two_hosts_raised")) == {f"ok: {NEW}"}
    assert outage("two_hosts_raised") > LIFETIME - 2 > outage("two_hosts_checked")


def test_two_addresses_need_no_name():
    assert outage("two_hosts") < NAME_MOVES - 1
    assert READ_ONLY not in results("two_hosts")


def test_two_addresses_do_not_help_a_connection_that_lives():
    assert results("two_hosts_fenced").count(READ_ONLY) > 5
    assert LIFETIME - 3 < outage("two_hosts_fenced") < LIFETIME + 1
    capture = named("two_hosts_fenced")
    assert capture.event("pg_is_in_recovery")["result"] == "f"
    assert capture.event("show transaction_read_only")["result"].endswith("on")
    # Nothing but the pool itself ends that connection: its Terminate comes before every FIN.
    (terminate,) = [frame for frame in capture.having("P", "client") if frame.payload == b"X\0\0\0\4"]
    assert terminate.t <= min(frame.t for frame in capture.having("F"))
    assert not capture.having("R", "server")


def test_two_addresses_and_a_check_for_the_role_need_neither_name_nor_age():
    assert set(results("two_hosts_checked")) == {f"ok: {NEW}"}
    assert outage("two_hosts_checked") < NAME_MOVES


def test_a_dead_primary_costs_a_user_timeout_and_a_connect_timeout():
    assert any("Connection timed out" in result for result in results("dead"))
    assert 3 + 2 < outage("dead") < 3 + 2 + 2
    question = [frame for frame in named("dead").having("P", "client") if b"insert" in frame.payload][-1]
    repeats = [frame for frame in named("dead").frames if frame.seq == question.seq and frame.payload]
    assert len(repeats) > 3


def test_a_refused_connect_is_tried_again_until_the_name_moves():
    told = [*results("refused"), *results("refused", "select")]
    assert len([result for result in told if "AdminShutdown" in result]) == 1
    assert NAME_MOVES < outage("refused") < NAME_MOVES + 9
