"""The one answer to "does my keepalive beat this middlebox?", held to runs at full length."""

from itertools import product
from math import inf

import pytest

from tcplab import IdleFirewall, run
from tcplab.advice.products import KeepaliveDefaults
from tcplab.advice.runs import behind_middlebox
from tcplab.core.catalogue import EXPIRIES
from tcplab.core.text import SECOND
from tcplab.route.firewall import EXPIRED


def experiment(idle, interval, box, expired="drop", quiet=2000, waiting_for="long_query"):
    """A run whose silence is as long as it says."""
    return run(
        IdleFirewall(
            keepalive_idle_s=idle, keepalive_interval_s=interval, keepalive_probes=3, firewall_idle_s=box,
            expired=expired, quiet_s=quiet, waiting_for=waiting_for, watch_s=6000,
        )
    )  # fmt: skip


def test_the_words_of_a_middlebox_are_there_for_every_behaviour():
    assert list(EXPIRIES) == list(EXPIRED)


@pytest.mark.parametrize("interval", [20, 75, 400])
def test_a_keepalive_beats_a_middlebox_where_the_run_survives(interval):
    for idle, box in product((10, 60, 300, 500), (15, 70, 200, 350, 450)):
        survives = experiment(idle, interval, box).outcome["survived"]
        assert KeepaliveDefaults(idle, interval, 3).beats(box) == survives, (idle, box)


def test_an_interval_longer_than_the_middleboxs_timer_loses_although_the_first_probe_is_in_time():
    assert not KeepaliveDefaults(60, 400, 9).beats(350)
    assert behind_middlebox(350, "drop", "long_query", 1000, KeepaliveDefaults(60, 400, 9)) is not None
    assert behind_middlebox(350, "drop", "long_query", 1000, KeepaliveDefaults(60, 75, 9)) is None


@pytest.mark.parametrize("waiting_for", ["long_query", "next_query"])
@pytest.mark.parametrize("expired", EXPIRIES)
def test_what_is_left_out_of_a_long_silence_changes_nothing(expired, waiting_for):
    for idle, box in product((10, 60), (15, 65, 100)):
        trace = experiment(idle, 20, box, expired, 2000, waiting_for)
        ending = behind_middlebox(box, expired, waiting_for, 2000, KeepaliveDefaults(idle, 20, 3))
        assert (ending is None) == trace.outcome["survived"], (idle, box)
        if ending:
            gone = next((s.t for s in trace.sockets if s.host == "client" and s.state == "CLOSED"), None)
            after = inf if gone is None else (gone - trace.watched_from) / SECOND
            assert ending.error == (trace.outcome["error"] or "")
            assert ending.after_s == pytest.approx(after, abs=1)


def test_a_lost_probe_makes_the_next_one_the_first():
    keepalive = KeepaliveDefaults(60, 10, 6)
    assert keepalive.after_losing(0) == keepalive
    assert keepalive.after_losing(2) == KeepaliveDefaults(80, 10, 4)
    assert (keepalive.longest_gap(2), keepalive.beats(80, 2), keepalive.beats(81, 2)) == (80, False, True)
