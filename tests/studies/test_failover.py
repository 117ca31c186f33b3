"""failover by its contract: outages worked out by hand, and the parts that they are made of."""

import json
import re
from dataclasses import fields
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcplab import DeadPeer, Failover, run
from tcplab.core.knobs import ParameterError
from tcplab.studies import STUDIES
from tcplab.studies.failover import MOST_EVENTS, PARTS, STEPS

CONTRACT = {
    "domains": "single", "dns_ttl_s": 5, "client_dns_ttl_s": 30, "fails_at_s": 60, "promotion_s": 10,
    "old_primary": "dead", "probe": "none", "probe_interval_s": 10, "max_lifetime_s": 1800,
    "connect_timeout_s": 10, "keepalive_idle_s": 0, "keepalive_interval_s": 75, "keepalive_probes": 9,
    "user_timeout_s": 0, "rate_per_s": 20, "write_share": 0.5, "duration_s": 600,
}  # fmt: skip
OUTCOME = {
    "write_outage_s", "errors", "writes_refused", "reads_from_old_primary", "stale_connections",
    "detected_after_s",
}  # fmt: skip
#: Every request writes, and nothing takes time on the way: what is left is arithmetic.
PLAIN = {"latency_ms": 0, "write_share": 1, "rate_per_s": 10}


def outcome(**values):
    return run(Failover(**values)).outcome


def plain(**values):
    return outcome(**PLAIN | values)


def budget(**values):
    series = run(Failover(**PLAIN | values)).series
    return {part: round(until - since, 6) for part, since, until in series["budget"]}


def test_the_contract():
    assert STUDIES["failover"] is Failover
    defaults = Failover.defaults()
    assert {name: defaults[name] for name in CONTRACT} == CONTRACT
    assert outcome().keys() >= OUTCOME
    assert not Failover.sampled and set(Failover.controls) <= {each.name for each in fields(Failover)}


# -- by hand -------------------------------------------------------------------------------


def test_refused_it_is_the_promotion_and_both_caches():
    told = plain(old_primary="refuses")
    assert told["write_outage_s"] == pytest.approx(10 + 5 + 30, abs=0.11)
    assert told["detected_after_s"] == 0 and told["stale_connections"] == 0
    without = plain(old_primary="refuses", client_dns_ttl_s=0)
    assert without["write_outage_s"] == pytest.approx(15, abs=0.11)
    # Ten connections have one error each; the others wait for less than their 30 s.
    assert without["errors"] == 10 and without["writes_refused"] == 0


def test_an_address_that_is_kept_for_ever_is_never_the_right_one():
    told = plain(old_primary="refuses", client_dns_ttl_s=-1)
    assert told["write_outage_s"] is None and told["longest_part"] == "client cache"
    assert budget(old_primary="refuses", client_dns_ttl_s=-1) == {
        "promotion": 10, "DNS": 5, "client cache": 600 - 75,
    }  # fmt: skip


@pytest.mark.parametrize("probe", ["none", "select_1"])
@pytest.mark.parametrize("domains", ["single", "dual"])
def test_a_readable_old_primary_keeps_its_connections_until_they_are_too_old(probe, domains):
    values = {"old_primary": "readable_replica", "probe": probe, "domains": domains, "duration_s": 2000}
    told = plain(**values)
    assert told["write_outage_s"] == pytest.approx(1800 - 60, abs=0.11)
    assert told["detected_after_s"] is None and told["longest_part"] == "lifetime"
    assert told["errors"] == 0 and told["stale_connections"] == 10
    assert told["writes_refused"] == 10 * (1800 - 60)  # each of those 1740 s, ten a second
    assert budget(**values)["lifetime"] == 1740 - (10 if domains == "dual" else 45)


def test_nobody_looks_and_nothing_is_ever_too_old():
    told = plain(old_primary="readable_replica", max_lifetime_s=0)
    assert told["write_outage_s"] is None and told["longest_part"] == "lifetime"


def test_a_role_aware_probe_comes_at_its_next_round():
    values = {"old_primary": "readable_replica", "probe": "role_aware", "fails_at_s": 63}
    # The name is right for everybody at 63 + 45 = 108 s; the round of 110 s finds the replica.
    assert plain(**values)["write_outage_s"] == pytest.approx(110 - 63, abs=0.11)
    assert budget(**values) == {"promotion": 10, "DNS": 5, "client cache": 30, "probe": 2}
    # With both addresses the round of 70 s ends the connections, and at 73 s the other one says yes.
    assert plain(**values, domains="dual")["write_outage_s"] == pytest.approx(10, abs=0.11)
    assert plain(**values, domains="dual", promotion_s=1)["write_outage_s"] == 7
    assert budget(**values, domains="dual", promotion_s=1) == {"promotion": 1, "probe": 6}


def test_a_pool_that_drops_what_is_read_only_needs_no_probe():
    values = {"old_primary": "readable_replica", "drops_read_only": True}
    told = plain(**values, client_dns_ttl_s=0)
    assert told["write_outage_s"] == pytest.approx(15, abs=0.11) and told["detected_after_s"] == 0
    assert plain(**values, domains="dual")["write_outage_s"] == pytest.approx(10, abs=0.11)


def test_reads_come_from_old_data_until_somebody_asks_for_the_role():
    values = {"old_primary": "readable_replica", "rate_per_s": 10, "latency_ms": 0, "write_share": 0}
    told = outcome(**values, duration_s=100)
    assert told["reads_from_old_primary"] == 10 * 40 and told["write_outage_s"] is None
    assert told["longest_part"] is None  # nobody wanted to write


def test_a_dead_primary_costs_what_dead_peer_says():
    told = outcome(duration_s=1200)
    detected = run(DeadPeer()).outcome["detected_after_s"]
    assert told["detected_after_s"] == pytest.approx(detected, abs=0.05)
    assert told["write_outage_s"] == pytest.approx(detected, abs=0.1)
    assert told["longest_part"] == "detection"
    limited = outcome(user_timeout_s=20, duration_s=1200)
    wanted = run(DeadPeer(user_timeout_s=20)).outcome["detected_after_s"]
    assert limited["detected_after_s"] == pytest.approx(wanted, abs=0.05)


def test_keepalive_does_not_help_where_requests_are_on_their_way():
    small = {"keepalive_idle_s": 5, "keepalive_interval_s": 1, "keepalive_probes": 3, "duration_s": 1200}
    assert outcome(**small)["detected_after_s"] == outcome(duration_s=1200)["detected_after_s"]
    # But an idle connection dies of it: here no request comes between 55 s and 110 s.
    rare = {"rate_per_s": 1 / 55, "fails_at_s": 60, "write_share": 1, "client_dns_ttl_s": 0}
    told = outcome(**small | rare)
    # The connection used at 55 s has its last answer at 55.002 s; the end comes 5 + 3 × 1 s later.
    assert told["detected_after_s"] == pytest.approx(55.002 + 8 - 60)
    assert told["write_outage_s"] == pytest.approx(110 - 60, abs=0.01)
    assert told["errors"] == 0


def test_a_dead_primary_with_two_addresses_costs_a_connect_timeout_more():
    told = plain(domains="dual", user_timeout_s=20, connect_timeout_s=7)
    detected = run(DeadPeer(user_timeout_s=20, latency_ms=0)).outcome["detected_after_s"]
    assert told["write_outage_s"] == pytest.approx(detected + 7, abs=0.01)
    assert budget(domains="dual", user_timeout_s=20, connect_timeout_s=7) == {
        "promotion": 10, "detection": round(detected - 10, 6), "connecting": 7,
    }  # fmt: skip


def test_a_connect_that_began_too_early_is_waited_for():
    # Given up at about 20.4 s; connect() to the old address at 20.4, 30.5 and 40.6 s, the last until 50.6 s.
    told = plain(user_timeout_s=20)
    detected = told["detected_after_s"]
    assert told["write_outage_s"] == pytest.approx(detected + 3 * 10.1, abs=0.01)
    assert budget(user_timeout_s=20)["connecting"] == pytest.approx(detected + 30.3 - 45, abs=0.01)


def test_a_socket_timeout_ends_the_wait_too():
    assert plain(socket_timeout_s=3)["detected_after_s"] == 3


def test_short_lives_go_round_by_the_old_name():
    # Replaced at 80 and 100 s by the old name, at 120 s by the new one (known at 105 s).
    told = plain(old_primary="readable_replica", max_lifetime_s=20)
    assert told["write_outage_s"] == pytest.approx(60, abs=0.11)
    assert told["stale_connections"] == 10 + 2 * 10


# -- always ----------------------------------------------------------------------------------

choices = {
    "domains": st.sampled_from(["single", "dual"]),
    "dns_ttl_s": st.sampled_from([0, 5, 17.5]),
    "client_dns_ttl_s": st.sampled_from([-1, 0, 7, 30]),
    "fails_at_s": st.sampled_from([0, 10, 13.3]),
    "promotion_s": st.sampled_from([0, 4, 10]),
    "old_primary": st.sampled_from(["dead", "refuses", "readable_replica"]),
    "probe": st.sampled_from(["none", "select_1", "role_aware"]),
    "probe_interval_s": st.sampled_from([1, 7.7]),
    "max_lifetime_s": st.sampled_from([0, 5, 40]),
    "connect_timeout_s": st.sampled_from([0, 1, 6]),
    "keepalive_idle_s": st.sampled_from([0, 3]),
    "user_timeout_s": st.sampled_from([0, 9]),
    "socket_timeout_s": st.sampled_from([0, 2]),
    "drops_read_only": st.booleans(),
    "size": st.integers(1, 4),
    "acquire_timeout_s": st.sampled_from([0, 3]),
    "retry_s": st.sampled_from([0.1, 2]),
    "rate_per_s": st.sampled_from([0.2, 4, 20]),
    "write_share": st.sampled_from([0, 0.3, 1]),
    "duration_s": st.just(150),
    "latency_ms": st.sampled_from([0, 1, 15]),
    "seed": st.integers(0, 20),
}
anything = st.fixed_dictionaries(choices)


@given(anything)
@settings(max_examples=200, deadline=None)
def test_every_request_is_counted_once_and_the_parts_add_up(values):
    study = Failover(**values)
    trace = study.simulated()
    told, series = trace.outcome, trace.series
    counted = ("writes_accepted", "writes_refused", "reads", "reads_from_old_primary", "errors")
    assert {len(series[name]) for name in ("t_s", *counted)} == {STEPS}
    assert sum(sum(series[name]) for name in counted) + told["still_waiting"] == told["requests"]
    assert told["still_waiting"] >= 0 and sum(series["errors"]) == told["errors"]
    parts = series["budget"]
    if parts:
        outage = told["write_outage_s"]
        lasted = study.duration_s - study.fails_at_s if outage is None else outage
        assert [parts[0][1], parts[-1][2]] == [0, lasted]
    else:
        assert told["write_outage_s"] == (0 if told["writes_accepted"] else None)
    assert all(before[2] == after[1] for before, after in pairwise(parts))
    order = list(PARTS)
    assert [order.index(part) for part, _, _ in parts] == sorted(order.index(part) for part, _, _ in parts)
    assert all(since < until for _, since, until in parts)
    if values["domains"] == "dual":
        assert not {"DNS", "client cache"} & {part for part, _, _ in parts}
    if values["old_primary"] != "readable_replica":
        assert not told["writes_refused"] and not told["reads_from_old_primary"]
    if told["write_outage_s"] is not None:
        assert told["write_outage_s"] >= values["promotion_s"]
    for (row, _, until, _), (other, since, _, _) in pairwise(series["connections"]):
        assert row != other or until <= since
    said = study.sentence(trace)
    assert said.endswith(".") and "None" not in said and "nan" not in said
    json.dumps(trace.to_json(), allow_nan=False)


def ended(values):
    """The outage in seconds, endless where it is not over within the run."""
    outage = outcome(**values)["write_outage_s"]
    return float("inf") if outage is None else outage


@given(anything, st.sampled_from([3, 20]))
@settings(max_examples=100, deadline=None)
def test_a_longer_ttl_never_helps(values, more):
    values |= {"write_share": 1, "acquire_timeout_s": 0}
    longer = values | {"dns_ttl_s": values["dns_ttl_s"] + more}
    assert ended(values) <= ended(longer) + 1e-9
    if values["client_dns_ttl_s"] != -1:
        assert ended(values) <= ended(values | {"client_dns_ttl_s": values["client_dns_ttl_s"] + more}) + 1e-9
    assert ended(values) <= ended(values | {"client_dns_ttl_s": -1}) + 1e-9


@given(anything)
@settings(max_examples=60, deadline=None)
def test_two_addresses_ask_no_name(values):
    values |= {"domains": "dual"}
    assert outcome(**values) == outcome(**values | {"dns_ttl_s": 3600, "client_dns_ttl_s": -1})


def test_a_request_that_comes_just_then_may_notice_nothing():
    quick = {"dns_ttl_s": 0, "client_dns_ttl_s": 0, "promotion_s": 0, "latency_ms": 0, "fails_at_s": 10}
    study = Failover(**quick, max_lifetime_s=5, size=1, rate_per_s=0.2, write_share=1)
    trace = study.simulated()
    assert trace.outcome["write_outage_s"] == 0 and trace.series["budget"] == []
    assert study.sentence(trace) == "Writes continue without interruption."


def test_the_same_seed_gives_the_same_run():
    values = {"old_primary": "readable_replica"}
    assert run(Failover(**values)) == run(Failover(**values))
    assert run(Failover(**values)).series != run(Failover(**values, seed=2)).series


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"old_primary": "gone"}, r"old_primary = 'gone' is not one of dead, refuses, readable_replica\."),
        ({"client_dns_ttl_s": -0.5}, r"client_dns_ttl_s = -0\.5 is not allowed: use -1 \(no limit\), or 0"),
        ({"client_dns_ttl_s": -2}, r"client_dns_ttl_s = -2 is out of range"),
        ({"fails_at_s": 600}, r"fails_at_s = 600 is after the end of the run.* duration_s = 600\."),
        ({"write_share": 1.5}, r"write_share = 1\.5 is out of range: 0 to 1\."),
        (
            {"connect_timeout_s": 0.001},
            r"connect_timeout_s = 0\.001 ends every request: an answer takes 0\.002 s",
        ),
        ({"rate_per_s": 10_000}, rf"rate_per_s = 10000 .* at most {MOST_EVENTS:,}\."),
        ({"max_lifetime_s": 0.1}, r"max_lifetime_s = 0\.1 is too short"),
        ({"probe": "role_aware", "probe_interval_s": 0.01}, r"probe_interval_s = 0\.01 .* probes"),
    ],
)
def test_nonsense_is_answered_in_one_sentence(values, says):
    with pytest.raises(ParameterError) as told:
        Failover(**values)
    assert re.search(says, str(told.value)) and "\n" not in str(told.value)
