"""Which timer wins on one leg, as a picture: the table's winners, and a lane for each state that waits."""

from math import inf

import pytest

from tcplab import DeadPeer, run
from tcplab.advice.race_lanes import FORGETS, IN_TIME, LIVES, NEVER, RESTARTS, TOO_LATE, UNKNOWN
from tcplab.pictures.race import draw_race
from tcplab.pictures.timer_race import which_timer_wins

SETTINGS = (
    {}, {"box_idle_s": 0}, {"keepalive_idle_s": 60, "keepalive_interval_s": 10, "keepalive_probes": 6},
    {"keepalive_idle_s": 0, "box_idle_s": 0}, {"user_timeout_s": 30, "socket_timeout_s": 20, "outage_s": 0},
    {"box_expired": "reset_both", "server_idle_close_s": 600},
)  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_race_says_what_the_table_says(settings):
    table = which_timer_wins(**settings)
    lanes = table.race.lanes
    assert [lane.situation.letter for lane in lanes] == ["A", "D", "E", "G", "K", "L"]
    rows = {
        "A": "idle",
        "D": "waiting for an answer",
        "E": "sending",
        "G": "SYN",
        "K": "ghost",
        "L": "zero window",
    }
    for lane in lanes:
        row = table.row(rows[lane.situation.letter])
        if row.winner:
            assert lane.winner == row.winner
        if row.heard_from:
            assert lane.heard_s == row[row.heard_from].seconds
    assert draw_race(table.race).overlaps() == []


def test_lanes_by_hand():
    lanes = which_timer_wins(
        keepalive_idle_s=60, keepalive_interval_s=10, keepalive_probes=6, box_idle_s=350
    ).race
    waiting = lanes["server_dies_waiting"]
    assert (waiting.winner, waiting.heard_s, waiting.verdict) == ("keepalive", 120, TOO_LATE)
    quarter = run(DeadPeer()).outcome["detected_after_s"]
    assert lanes["server_dies_sending"].heard_s == quarter
    idle = lanes["idle_session"]
    assert idle.verdict == LIVES and [each.kind for each in idle.events if each.timer == "keepalive"] == [
        RESTARTS
    ]
    short = which_timer_wins(user_timeout_s=30, box_idle_s=0).race["server_dies_sending"]
    assert (short.winner, short.verdict) == ("user timeout", IN_TIME)
    off = which_timer_wins(keepalive_idle_s=0, box_idle_s=0).race["server_dies_waiting"]
    assert (off.verdict, off.heard_s) == (NEVER, inf)
    assert which_timer_wins(box_idle_s=0, outage_s=0).race["server_dies_sending"].verdict == UNKNOWN


def test_a_box_that_tells_nobody_is_a_diamond():
    lane = which_timer_wins().race["server_dies_waiting"]
    assert lane.decided_by.kind == FORGETS and lane.breaks_s == 350
    assert "without notice" in lane.says


def test_the_table_is_the_accessible_view():
    table = which_timer_wins()
    html = table._repr_html_()
    assert html.count("<svg") == 1 and "<details>" in html and "TIME_WAIT" in html
    assert html.index("<svg") < html.index("<details>")
    assert 'aria-label="Breaks first: ' in html
