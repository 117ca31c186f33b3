"""Which timer wins: the table's figures against the experiments, and what it says of the winner."""

import re
import time

import pytest

import tcplab
from tcplab import ParameterError, run
from tcplab.advice.timers import (
    BOX,
    CLOSING,
    COLUMNS,
    CONNECT,
    KEEPALIVE,
    READ,
    RESEND,
    SERVER,
    USER,
)
from tcplab.core.text import SECOND
from tcplab.experiments import DeadPeer, IdleFirewall, Keepalive, SlowReader
from tcplab.pictures.timer_race import which_timer_wins

STATES = (
    "SYN", "ghost", "idle", "waiting for an answer", "sending", "zero window", "CLOSE_WAIT", "FIN_WAIT_2",
    "TIME_WAIT",
)  # fmt: skip
WAITING = "waiting for an answer"


def of(state, **settings):
    return which_timer_wins(**settings).row(state)


def test_every_state_against_every_timer():
    table = which_timer_wins()
    assert tuple(row.name for row in table.rows) == STATES
    assert all(len(row.cells) == len(COLUMNS) for row in table.rows)
    assert [row.winner for row in table.rows] == [RESEND, BOX, BOX, BOX, RESEND, "", BOX, CLOSING, CLOSING]


def test_linuxs_defaults_in_seconds():
    table = which_timer_wins(box_idle_s=0)
    assert table.row("SYN")[RESEND].seconds == 131
    assert table.row(WAITING)[KEEPALIVE].seconds == 7875
    assert table.row("ghost")[KEEPALIVE].seconds == pytest.approx(7200, abs=0.1)
    assert table.row("sending")[RESEND].seconds == pytest.approx(929, abs=1)
    assert table.row("CLOSE_WAIT")[KEEPALIVE].seconds == pytest.approx(7200, abs=0.1)
    assert table.row("FIN_WAIT_2")[CLOSING].seconds == 60
    assert table.row("TIME_WAIT")[CLOSING].seconds == 60
    assert not table.row("zero window").winner


def test_an_older_linux_gives_up_connecting_earlier_and_knows_no_user_timeout_there():
    assert of("SYN", linux="6.1")[RESEND].seconds == 127
    assert of("SYN", user_timeout_s=30)[USER].seconds == 30
    assert of("SYN", user_timeout_s=30, linux="3.10")[USER].seconds is None


SETTINGS = [
    {"keepalive_idle_s": 60, "keepalive_interval_s": 10, "keepalive_probes": 6},
    {"keepalive_idle_s": 60, "keepalive_interval_s": 10, "keepalive_probes": 6, "user_timeout_s": 30},
    {"keepalive_idle_s": 15, "keepalive_interval_s": 5, "keepalive_probes": 3, "user_timeout_s": 120},
    {"retries2": 5, "user_timeout_s": 0},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_figures_are_those_of_the_experiments(settings):
    table = which_timer_wins(**settings)
    user = settings.get("user_timeout_s", 0)
    which = USER if user else RESEND
    keepalive = {k.removeprefix("keepalive_"): v for k, v in settings.items() if k.startswith("keepalive")}
    ended = run(Keepalive(**keepalive, user_timeout_s=user)).outcome["detected_after_s"]
    assert table.row(WAITING)[USER if user else KEEPALIVE].seconds == ended
    dead = run(DeadPeer(user_timeout_s=user, retries2=settings.get("retries2", 15)))
    assert table.row("sending")[which].seconds == dead.outcome["detected_after_s"]
    assert table.row("sending")[KEEPALIVE].seconds is None
    if user:
        full = run(SlowReader(stops_reading_s=1, user_timeout_s=user, watch_s=600))
        assert table.row("zero window").winner == USER
        assert table.row("zero window")[USER].seconds == full.outcome["stalled_s"]


@pytest.mark.parametrize("expired", ["drop", "reject", "reset_both", "reopen", "drop_inbound"])
@pytest.mark.parametrize("idle", [0, 200, 300, 400])
def test_the_box_of_a_silent_query_is_the_experiments(idle, expired):
    settings = {"keepalive_idle_s": idle, "keepalive_interval_s": 20, "keepalive_probes": 3}
    row = of(WAITING, **settings, box_idle_s=350, box_expired=expired)
    trace = run(
        IdleFirewall(**settings, firewall_idle_s=350, expired=expired, waiting_for="long_query", quiet_s=1500)
    )
    forgets = [n.t for n in trace.notes if n.host == "firewall" and n.text.startswith("removes ")]
    last = max((p.arrives or 0 for p in trace.packets if not forgets or p.t < forgets[0] - SECOND), default=0)
    assert (row[BOX].seconds is not None) == bool(forgets)
    if forgets:
        assert (forgets[0] - last) / SECOND == pytest.approx(row[BOX].seconds, abs=0.1)
    if expired in ("drop", "reject", "reset_both") and forgets and idle:
        # Here the answer that never comes ends as keepalive says, or as the box does.
        heard = row[row.heard_from].seconds
        assert (trace.outcome["error"] is not None) == (heard is not None)


def test_a_probe_in_time_keeps_the_box_awake():
    row = of("idle", keepalive_idle_s=300)
    assert row.winner == "" and row[BOX].says == "a probe each 300 s restarts it"
    assert of("idle", keepalive_idle_s=350).winner == BOX
    assert of("idle", keepalive_idle_s=349).winner == ""


def test_the_servers_idle_close_is_not_fed_by_keepalive():
    row = of("idle", keepalive_idle_s=300, server_idle_close_s=28800)
    assert (row.winner, row.heard_from) == (SERVER, SERVER)


def test_a_box_that_resets_both_ends_tells():
    row = of("idle", box_expired="reset_both")
    assert row.winner == row.heard_from == BOX
    assert of("idle", box_expired="drop").heard_from == ""
    assert of("idle", box_expired="reopen").winner == ""
    assert of("idle", box_expired="drop_inbound").winner == ""
    assert of(WAITING, box_expired="drop_inbound").winner == BOX
    assert of(WAITING, box_expired="reset_both")[KEEPALIVE].seconds is None


def test_behind_a_box_that_rejects_the_first_probe_ends_it():
    row = of(WAITING, box_expired="reject")
    assert row[KEEPALIVE].seconds == pytest.approx(7200, abs=0.1)
    assert of(WAITING, box_expired="reject", user_timeout_s=30)[USER].seconds is None


def test_the_drivers_own_timeouts():
    table = which_timer_wins(connect_timeout_s=10, socket_timeout_s=60)
    assert [table.row(name).winner for name in ("SYN", "ghost", WAITING, "sending")] == [
        CONNECT,
        CONNECT,
        READ,
        READ,
    ]
    assert table.row("zero window")[READ].seconds is None
    assert table.row("idle")[READ].seconds is None


def test_without_keepalive_nobody_hears_of_a_dead_server():
    table = which_timer_wins(keepalive_idle_s=0, box_idle_s=0, user_timeout_s=30)
    for name in ("ghost", "idle", WAITING, "CLOSE_WAIT"):
        assert table.row(name).winner == table.row(name).heard_from == "", name
    assert table.row("sending").winner == USER


def test_a_short_box_forgets_between_two_repeats():
    row = of("sending", box_idle_s=60, keepalive_idle_s=0)
    assert row[BOX].seconds == pytest.approx(104 + 60, abs=2), "the first gap of more than a minute"
    assert row.winner == BOX and row.heard_from == RESEND


def test_fin_timeout_and_close_wait():
    assert of("FIN_WAIT_2", fin_timeout_s=30)[CLOSING].seconds == 30
    row = of("CLOSE_WAIT", keepalive_idle_s=15, keepalive_interval_s=5)
    assert row[KEEPALIVE].seconds == pytest.approx(75, abs=0.1), "the first probe after 60 s"


def test_the_winner_has_a_sign_in_text_and_html():
    table = which_timer_wins()
    text = repr(table)
    assert len(re.findall("▶ ", text)) == 8
    (line,) = [line for line in text.splitlines() if line.startswith("sending")]
    assert "▶ 928.9 s" in line
    html = table._repr_html_()
    assert html.count('<td class="wins"><b>▶ ') == 8
    assert html.count('<th scope="row" rowspan="2">') == len(STATES)
    assert '<th scope="col">user timeout</th>' in html
    assert "no probe while data is unacknowledged" in html
    assert table.sentence in text and "No timer ends: zero window." in table.sentence
    assert (
        "The firewall acts without notice (ghost, idle, waiting for an answer, CLOSE_WAIT)." in table.sentence
    )


def test_bad_input_is_one_sentence():
    for settings, says in (
        ({"keepalive_idle": 5}, "has no parameter 'keepalive_idle'"),
        ({"keepalive_idle_s": -1}, "keepalive_idle_s = -1 is out of range"),
        ({"user_timeout_s": 0.001}, "user_timeout_s = 0.001 expires before"),
        ({"box_expired": "forget"}, "is not one of drop, reject"),
    ):
        with pytest.raises(ParameterError, match=re.escape(says)):
            which_timer_wins(**settings)
    with pytest.raises(ParameterError, match="there are SYN, ghost"):
        of("LISTEN")


def test_it_takes_less_than_a_tenth_of_a_second():
    spent = []
    for _ in range(3):
        began = time.perf_counter()
        tcplab.which_timer_wins(keepalive_idle_s=10, user_timeout_s=3600, socket_timeout_s=5)
        spent.append(time.perf_counter() - began)
    assert min(spent) < 0.1
