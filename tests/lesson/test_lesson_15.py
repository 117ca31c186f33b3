"""Lesson 15's right answers held against runs of the model, the catalogue and the desk."""

from math import inf

import pytest

from tcplab import IdleFirewall, Keepalive, run
from tcplab.advice import advise
from tcplab.advice.environment import PRESETS
from tcplab.core.catalogue import setting
from tcplab.lesson import ask
from tcplab.widgets.topology import topology

AWS, ORACLE = PRESETS["AWS: NLB, PgBouncer, RDS"], PRESETS["On-prem: firewall, Oracle"]
PODS = PRESETS["Kubernetes: NAT gateway, MySQL"]


def probes(**parameters):
    """When the probes of an end go out that nobody answers, seconds after the last segment."""
    return run(Keepalive(peer="offline", **parameters)).outcome["probe_times_s"]


def only(environment, **wanted):
    (check,) = [
        each for each in advise(environment).checks
        if all(getattr(each, name) == value for name, value in wanted.items())
    ]  # fmt: skip
    return check


def test_a_lost_probe_is_repeated_after_an_interval():
    assert probes(idle_s=300)[:2] == pytest.approx([300, ask("what_if", "one_lost").right], abs=0.1)
    oracle = probes(idle_s=300, interval_s=setting("oracle", "TCP_KEEPINTVL").seconds, probes=10)
    assert oracle[8] == pytest.approx(348, abs=0.1) and oracle[8] < 350 < oracle[9]  # nine before 350 s


def test_ten_is_ten_minutes():
    assert setting("oracle", "SQLNET.EXPIRE_TIME").unit == "min"
    behind = topology(ORACLE, legs=PRESETS["keepalive 300 before a box of 350"].legs)
    box = only(behind.environment, inequality=1, name="keepalive before the box")
    assert not box.holds and box.left == 600 + 2 * 6
    behind.paste("SQLNET.EXPIRE_TIME = 5")
    assert only(behind.environment, name="keepalive before the box").holds


def test_a_pool_pings_what_rests_and_nobody_asks_for_a_lent_connection():
    check = only(AWS, name="keepalive before the box", leg="application to PgBouncer")
    assert not check.holds and check.heard_after_s == inf and check.message == ""
    trace = run(IdleFirewall(expired="reject", quiet_s=900, waiting_for="long_query", keepalive_idle_s=0))
    assert trace.outcome["error"] is None and not trace.outcome["survived"]


def test_behind_the_gateway_the_first_probe_tells():
    check = only(PODS, name="keepalive before the box")
    assert check.heard_after_s == pytest.approx(ask("what_if", "behind_the_nat").right, abs=0.2)
    assert check.message == "Communications link failure"
    drops = run(IdleFirewall(quiet_s=600, waiting_for="long_query", keepalive_idle_s=7200))
    assert drops.outcome["detected_after_s"] == pytest.approx(7875, abs=0.2)


def test_on_prem_only_the_client_is_blind():
    assert [check.name for check in advise(ORACLE).broken] == [
        "an outage ends in time",
        "a dead server is noticed",
    ]
    assert only(ORACLE, name="a dead client is noticed").left == pytest.approx(660, abs=0.2)
