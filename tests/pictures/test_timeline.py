"""Timelines as data: lanes, spans, marks, timers, the answer, and what tells two runs from each other."""

import json
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tcplab
from tcplab.agree import draw
from tcplab.core.knobs import ParameterError
from tcplab.core.text import SECOND
from tcplab.core.trace import Deadline
from tcplab.pictures.lanes import MARKS, Lane, Span, compared, counted, differences, same_lane, setting
from tcplab.pictures.timeline import joined, merged, paint, read_timeline, without
from tcplab.registry import EXPERIMENTS, STORIES, STUDIES

SOCKETS = ["client/program", "client/server", "server/client", "server/program"]
ROWS = ["client/program", "client/rows", "server/rows", "server/program"]
ONE_ROW = ["client/program", "client/rows", "server/program"]
#: Of each story: its lanes and its answer, the turn of its main control, and what differs then.
TURNS = {
    "handshake_and_close": (
        SOCKETS, "the port stays in TIME-WAIT for 60 s on the client",
        {"closer": "server"},
        "the port stays in TIME-WAIT for 60 s on the server instead of 60 s on the client",
    ),
    "fin_or_rst": (
        SOCKETS, "end of file after 0.001 s",
        {"ending": "kill_unread"}, "ECONNRESET after 0.001 s instead of end of file after 0.001 s",
    ),
    "unanswered_connect": (
        ["client/program", "client/server", "server/program"], "ETIMEDOUT after 2 min 11 s",
        {"syn_retries": 2}, "ETIMEDOUT after 7 s instead of 2 min 11 s",
    ),
    "rst_in_window": (
        SOCKETS, "the RST is accepted: ECONNRESET at the next call",
        {"offset": 1},
        "the RST is challenged: the connection stays open instead of "
        "the RST is accepted: ECONNRESET at the next call",
    ),
    "stale_reject": (
        SOCKETS, "the RST is ignored: the connection stays open",
        {"in_flight": 0},
        "closed 0.001 s after the RST instead of the RST is ignored: the connection stays open",
    ),
    "keepalive": (
        SOCKETS, "ETIMEDOUT after 2 h 11 min 15 s",
        {"idle_s": 60, "interval_s": 10, "probes": 6}, "ETIMEDOUT after 2 min instead of 2 h 11 min 15 s",
    ),
    "idle_firewall": (
        [*SOCKETS[:2], "firewall/entry", *SOCKETS[2:]], "ETIMEDOUT after 15 min 29 s",
        {"firewall_idle_s": 600}, "the answer arrives after 0.002 s instead of ETIMEDOUT after 15 min 29 s",
    ),
    "dead_peer": (
        SOCKETS, "ETIMEDOUT after 15 min 29 s",
        {"retries2": 8}, "ETIMEDOUT after 1 min 44 s instead of 15 min 29 s",
    ),
    "client_gone": (
        [*SOCKETS, "server/held up"], "locks held for 16 min 29 s",
        {"how": "kill"}, "locks held for 60 s instead of 16 min 29 s",
    ),
    "slow_reader": (
        [*SOCKETS[:2], "client/recv_q", "server/client", "server/send_q", "server/program", "server/held up"],
        "server stalled for 19.1 s",
        {"read_every_s": 5}, "server stalled for 99.1 s instead of 19.1 s",
    ),
    "proxy_legs": (
        ["client/program", "client/proxy", "proxy/program", "proxy/client", "proxy/database",
         "database/proxy", "database/program"],
        "client: no answer and no error for 1 h",
        {"backend_keepalive_idle_s": 10},
        "end of file after 13 s instead of client: no answer and no error for 1 h",
    ),
    "port_range": (
        ROWS, "EADDRNOTAVAIL: connection 7 gets no port",
        {"connects": 6}, "all 6 open instead of EADDRNOTAVAIL: connection 7 gets no port",
    ),
    "time_wait": (
        ONE_ROW, "EADDRNOTAVAIL after 0.200 s",
        {"tw_reuse": 1, "wait_s": 1.3},
        "connect() takes a port again after 1.300 s instead of EADDRNOTAVAIL after 0.200 s",
    ),
    "why_time_wait": (
        SOCKETS, "server done after 0.206 s",
        {"time_wait": "refused"}, "server done by a RST after 0.206 s instead of server done after 0.206 s",
    ),
    "bind_or_connect": (
        ONE_ROW, "EADDRINUSE after 1.300 s",
        {"then": "connect"}, "connect() takes a port after 1.300 s instead of EADDRINUSE after 1.300 s",
    ),
    "accept_queue": (
        ["client/program", "client/rows", "server/rows", "server/accept_queue", "server/program"],
        "5 ghosts: connected, unknown to the server, no error",
        {"backlog": 10},
        "no ghosts: the server has all 8 instead of 5 ghosts: connected, unknown to the server, no error",
    ),
    "port_churn": (
        ["client/connect", "client/in_use_high", "client/time_wait_high", "client/refused"],
        "first refusal after 56.5 s",
        {"rate_per_s": 600}, "first refusal after 47.1 s instead of 56.5 s",
    ),
    "pool": (
        ["client/alive", "client/requests"], None,
        {"breaks": "server_restart", "order": "fifo"}, "recovered after 0.040 s instead of nothing to detect",
    ),
    "failover": (
        ["client/promotion", "client/DNS", "client/client cache", "client/detection", "client/old",
         "client/writes_accepted", "client/errors"],
        "no write accepted when the run ends",
        {"old_primary": "refuses"},
        "first write accepted after 45 s instead of no write accepted when the run ends",
    ),
}  # fmt: skip

SPANS = {
    "state", "one_side", "window_closed", "gone", "closed", "waits", "works", "idle", "unaware", "error",
    "locks", "known", "forgotten", "timer", "level",
}  # fmt: skip


def timeline(name, **values):
    """The timeline of a run on the model."""
    return read_timeline(tcplab.run(STORIES[name](**values)))


def lane(line, key):
    """A lane by its key."""
    return next(each for each in line.lanes if each.key == key)


def spans(line, key):
    """Kind and words of a lane's spans."""
    return [(span.kind, span.words[0]) for span in lane(line, key).spans]


def everything(each):
    """All bands of a lane."""
    return [each.spans, each.locks, *(row.spans for row in each.rows)]


def test_every_story_is_here():
    assert set(TURNS) == set(STORIES)


@pytest.mark.parametrize("name", STORIES)
def test_a_turn_changes_answer_and_spans_and_says_what_differs(name):
    keys, answer, turn, difference = TURNS[name]
    before, now = timeline(name), timeline(name, **turn)
    assert [each.key for each in before.lanes] == keys
    assert (before.answer and before.answer.text) == answer
    assert compared(now, before) == difference
    assert any(
        key not in keys
        or everything(lane(now, key)) != everything(lane(before, key))
        or lane(now, key).level != lane(before, key).level
        for key in (each.key for each in now.lanes)
    )


@pytest.mark.parametrize("name", STORIES)
def test_the_json_has_the_shape_that_scripts_rely_on(name):
    made = json.loads(json.dumps(timeline(name).to_json()))
    assert set(made) == {"from_s", "to_s", "log", "breaks", "answer", "lanes"}
    assert all(set(each) == {"t_s", "host", "kind", "text"} for each in made["breaks"])
    assert made["answer"] is None or set(made["answer"]) == {"from_s", "to_s", "host", "text"}
    for each in made["lanes"]:
        assert set(each) == {"key", "name", "host", "spans", "marks"}
        assert all(set(span) == {"from_s", "to_s", "kind", "text"} for span in each["spans"])
        assert {span["kind"] for span in each["spans"]} <= SPANS
        assert all(span["text"] for span in each["spans"])
        assert all(set(mark) == {"t_s", "kind", "text"} for mark in each["marks"])
        assert {mark["kind"].removesuffix(" lost") for mark in each["marks"]} <= set(MARKS) - {"check"}
        times = [mark["t_s"] for mark in each["marks"]]
        assert times == sorted(times)


def fits(line):
    """Check what every timeline promises."""
    assert len({each.key for each in line.lanes}) == len(line.lanes)
    for each in line.lanes:
        for band in everything(each):
            assert all(0 <= span.from_s < span.to_s <= line.horizon_s for span in band)
            assert all(a.to_s <= b.from_s for a, b in pairwise(band))
            assert all(span.words[0] for span in band if span.to_s - span.from_s > line.horizon_s / 100)
        for timer in each.timers:
            assert 0 <= timer.from_s <= timer.to_s <= line.horizon_s
            assert timer.armed_s <= timer.due_s
        marks = [*each.marks, *(mark for row in each.rows for mark in row.marks)]
        assert all(0 <= mark.t_s <= line.to_s for mark in marks)
        if each.level:
            assert all(a[0] < b[0] and a[1] != b[1] for a, b in pairwise(each.level.points))
    times = line.instants()
    assert times == sorted(set(times))
    assert times[0] >= 0 and times[-1] <= line.to_s
    assert compared(line, line) == "the same as before"
    assert all(len(row) == 4 and row[0] and row[1] and row[3] for row in line.rows())


@settings(max_examples=120)
@given(st.sampled_from(list(EXPERIMENTS)), st.integers(0, 10_000))
def test_whatever_is_drawn_fits_into_the_picture(name, seed):
    try:
        story = draw(EXPERIMENTS[name], {}, random.Random(seed))
    except ParameterError:
        return
    fits(read_timeline(tcplab.run(story)))


@pytest.mark.parametrize("name", STUDIES)
def test_whatever_a_study_shows_fits_too(name):
    for preset in STUDIES[name].presets.values():
        fits(timeline(name, **preset))


# -- programs ------------------------------------------------------------------------------------


def test_a_program_works_waits_and_keeps_its_error():
    line = timeline("client_gone")
    assert lane(line, "server/program").name == "PostgreSQL's process"
    assert spans(line, "server/program") == [
        ("works", "the query runs"),
        ("waits", "waits: its rows are not acknowledged"),
        ("error", "ETIMEDOUT"),
    ]
    assert [mark.kind for mark in lane(line, "server/program").marks] == ["call", "error", "call"]
    (locks,) = lane(line, "server/program").locks
    assert (locks.from_s, locks.to_s) == (0, line.answer.to_s)
    waits, has_it = lane(line, "server/held up").spans
    assert (waits.words[0], waits.to_s, has_it.words) == ("waits for the lock", locks.to_s, ("has the lock",))


def test_a_call_that_blocks_is_a_wait_also_without_an_activity():
    connect = lane(timeline("unanswered_connect"), "client/program").spans
    assert [(span.kind, span.words) for span in connect] == [("waits", ("waits in connect()", "connect()"))]


def test_a_call_that_never_returns_waits_until_the_end():
    line = timeline("proxy_legs")
    span = lane(line, "client/program").spans[-1]
    assert (span.kind, span.to_s) == ("waits", line.to_s)


def test_a_program_has_not_noticed_while_its_socket_is_the_only_end():
    (span,) = lane(timeline("keepalive"), "client/program").spans
    assert span.kind == "unaware"
    assert span.words[-1] == "has not noticed"
    assert not [
        kind for kind, _ in spans(timeline("keepalive", peer="alive"), "client/program") if kind == "unaware"
    ]


@pytest.mark.parametrize(("peer", "program", "socket"), [
    ("offline", ("gone", "cannot be reached"), ("gone", "ESTABLISHED, unplugged")),
    ("moved", ("gone", "cannot be reached"), ("gone", "ESTABLISHED, unreachable")),
    ("rebooted", ("gone", "gone: rebooted"), ("closed", "closed: rebooted")),
])  # fmt: skip
def test_a_host_that_is_gone_says_how(peer, program, socket):
    line = timeline("keepalive", peer=peer, idle_s=60)
    assert spans(line, "server/program") == [program]
    assert spans(line, "server/client") == [socket]
    assert spans(line, "client/server") == [("one_side", "ESTABLISHED: but server is gone")]


# -- sockets -------------------------------------------------------------------------------------


def test_states_have_the_words_of_ss_and_time_wait_goes_on_after_the_run():
    line = timeline("handshake_and_close")
    words = [words for _, words in spans(line, "client/server")]
    assert words == [
        "SYN-SENT",
        "ESTABLISHED",
        "FIN-WAIT-1",
        "TIME-WAIT",
        "TIME-WAIT, until its timer expires",
    ]
    last = lane(line, "client/server").spans[-1]
    assert last.predicted and (last.from_s, last.to_s) == (line.to_s, line.horizon_s)
    assert line.horizon_s == pytest.approx(60, abs=0.1)


def test_time_wait_is_not_followed_where_the_story_is_of_something_else():
    line = timeline("fin_or_rst")
    assert spans(line, "server/client")[-1] == ("state", "TIME-WAIT")
    assert line.horizon_s == line.to_s


def test_a_socket_that_a_rst_closed_says_so():
    line = timeline("rst_in_window")
    assert spans(line, "client/server") == [("state", "ESTABLISHED"), ("closed", "closed: a RST came")]
    assert spans(line, "server/client")[-1] == ("one_side", "ESTABLISHED: but client is gone")
    (forged,) = lane(line, "client/server").marks
    assert (forged.kind, forged.text.split()[0]) == ("rst", "forged")


def test_a_window_is_closed_in_one_piece_although_it_opens_a_little():
    line = timeline("slow_reader")
    kinds = [kind for kind, _ in spans(line, "server/client")]
    assert kinds == ["state", "window_closed", "state"]
    closed = lane(line, "server/client").spans[1]
    assert closed.words[0] == "ESTABLISHED: window closed, only probes"
    assert (closed.from_s, closed.to_s) == (line.answer.from_s, line.answer.to_s)


def test_ghosts_are_rows_of_their_own_kind():
    rows = lane(timeline("accept_queue"), "client/rows").rows
    ghosts = [row for row in rows if row.spans[-1].words[0] == "ESTABLISHED: a ghost"]
    assert (len(rows), len(ghosts)) == (8, 5)
    assert [mark.kind for mark in ghosts[0].marks].count("retransmission") == 5


def test_a_call_that_got_no_port_has_a_row_without_a_socket():
    *rows, free = lane(timeline("port_range"), "client/rows").rows
    assert len(rows) == 6
    assert (free.name, free.spans, free.marks[0].kind) == ("no port", (), "error")


@pytest.mark.parametrize("connects", [12, 40])
def test_of_very_many_sockets_it_counts_how_many_are_in_which_state(connects):
    line = timeline("accept_queue", connects=connects)
    levels = {
        each.name: each.level.points[-1][1] for each in line.lanes if each.key.startswith("client/ESTAB")
    }
    assert levels == {"ESTABLISHED": 3, "ESTABLISHED: a ghost": connects - 3}


def test_timers_run_from_set_to_due():
    timers = lane(timeline("keepalive", idle_s=60, interval_s=10, probes=2), "client/server").timers
    waits = [(round(t.from_s), round(t.to_s), t.name) for t in timers if t.to_s - t.from_s > 1]
    assert waits == [(0, 60, "keepalive"), (60, 70, "keepalive"), (70, 80, "keepalive")]
    assert all(timer.due_s == pytest.approx(timer.to_s, abs=0.01) for timer in timers)


def test_limits_that_ss_does_not_show_run_until_the_next_of_their_name():
    trace = tcplab.run(STORIES["proxy_legs"](watch_s=100))
    zero = trace.watching_since

    def limit(host, name, since, due):
        return Deadline(zero + since * SECOND, host, name, zero + due * SECOND)

    trace.deadlines += [
        limit("proxy", "data timer", -5, 55), limit("proxy", "data timer", 20, 80),
        limit("proxy", "data timer", 90, 90), limit("client", "user timeout", 10, 40),
        limit("proxy", "connection check", 0, 30),
    ]  # fmt: skip
    line = read_timeline(trace)
    timers = [(t.from_s, t.to_s, t.armed_s, t.due_s) for t in lane(line, "proxy/program").timers]
    assert timers == [(0, 20, -5, 55), (20, 80, 20, 80)]
    (check,) = [mark for mark in lane(line, "proxy/program").marks if mark.kind == "check"]
    assert check.t_s == 30
    assert [t.due_s for t in lane(line, "client/proxy").timers if t.name == "user timeout"] == [40]
    made = next(each for each in line.to_json()["lanes"] if each["key"] == "proxy/program")
    assert {"t_s": 30.0, "kind": "call", "text": "connection check"} in made["marks"]


def test_each_look_at_the_connection_is_a_mark():
    line = timeline("client_gone", check_interval_s=1, keepalive_idle_s=5)
    marks = lane(line, "server/program").marks
    assert [mark.t_s for mark in marks if mark.kind == "check"] == list(range(1, 9))
    assert line.answer.to_s == 8


def test_of_thousands_of_checks_every_so_many_th_is_marked_to_the_end():
    line = timeline("client_gone", check_interval_s=1, query_s=5000)
    checks = [mark.t_s for mark in lane(line, "server/program").marks if mark.kind == "check"]
    assert checks == list(range(5, 5001, 5))


def test_what_a_socket_sent_in_vain_is_marked():
    marks = lane(timeline("dead_peer", retries2=3), "client/server").marks
    assert [(mark.kind, mark.lost) for mark in marks][:2] == [("data", True), ("retransmission", True)]


def test_a_queue_has_a_lane_only_while_it_holds_something_for_long():
    line = timeline("slow_reader")
    assert lane(line, "client/recv_q").level.capacity == max(
        v for _, v in lane(line, "client/recv_q").level.points
    )
    assert lane(line, "server/send_q").level.capacity == 0
    assert not [each.key for each in timeline("dead_peer").lanes if each.level]


def test_an_accept_queue_is_full_with_one_more_than_its_backlog():
    level = lane(timeline("accept_queue", backlog=2), "server/accept_queue").level
    assert (level.capacity, level.points[-1][1]) == (3, 3)


def test_a_middlebox_knows_counts_down_forgets_and_drops():
    entry = lane(timeline("idle_firewall"), "firewall/entry")
    assert [span.kind for span in entry.spans] == ["known", "forgotten"]
    assert entry.spans[1].words[0] == "entry removed: drops packets"
    (timer,) = entry.timers
    assert timer.due_s - timer.armed_s == pytest.approx(350, abs=0.01)
    assert timer.to_s == pytest.approx(entry.spans[0].to_s, abs=0.01)
    assert {(mark.kind, mark.lost) for mark in entry.marks} == {("data", True), ("retransmission", True)}
    answers = lane(timeline("idle_firewall", expired="reject"), "firewall/entry")
    assert answers.spans[1].words[0] == "entry removed: answers with a RST"


def test_what_lies_before_is_told():
    assert timeline("keepalive").folded == "before: 7 segments in 0.006 s"
    assert not timeline("port_churn").folded


# -- studies -------------------------------------------------------------------------------------


def test_the_parts_of_an_outage_follow_each_other_from_the_failure_to_the_first_write():
    line = timeline("failover", old_primary="refuses")
    parts = [each.spans[0] for each in line.lanes if each.kind == "program"]
    assert parts[0].from_s == line.breaks[0].t_s == line.answer.from_s == 0
    assert all(a.to_s == b.from_s for a, b in pairwise(parts))
    assert parts[-1].to_s == pytest.approx(line.answer.to_s)


def test_outages_are_where_no_port_is_free():
    line = timeline("port_churn")
    refused = [span for span in lane(line, "client/connect").spans if span.kind == "error"]
    assert refused[0].from_s == pytest.approx(line.answer.to_s, abs=0.1)
    assert lane(line, "client/in_use_high").level.capacity == 28232


def test_dead_connections_in_a_pool_are_counted():
    line = timeline("pool", breaks="silent_drop", break_at_s=10, duration_s=60)
    assert "client/alive" not in {each.key for each in line.lanes}
    assert lane(line, "client/zombie").level.points == ((0.0, 10),) and line.to_s == 50


def test_a_pool_that_recovers_in_milliseconds_is_shown_in_milliseconds():
    line = timeline("pool", breaks="server_restart", order="fifo", break_at_s=60.003)
    errors = lane(line, "client/errors")
    assert errors.name == "10 errors" and len({mark.t_s for mark in errors.marks}) == 10
    assert line.settled_s == pytest.approx(4 * line.answer.to_s) and line.settled_s < 1 < line.to_s
    cut = line.until(0.02)
    assert len(lane(cut, "client/errors").marks) < 10 and cut.answer.to_s is None
    assert cut.to_s == cut.horizon_s == 0.02 and line.until(line.horizon_s) is line
    assert not timeline("pool", breaks="server_restart", order="lifo").settled_s, "zombies stay"


# -- comparing and words -------------------------------------------------------------------------


def test_watching_longer_is_no_difference():
    short, long = timeline("keepalive", idle_s=0, watch_s=100), timeline("keepalive", idle_s=0, watch_s=300)
    for one, other in zip(short.lanes, long.lanes, strict=True):
        assert same_lane(one, other, short.to_s, long.to_s)
    probed = timeline("keepalive", idle_s=30, watch_s=300)
    assert not same_lane(lane(long, "client/server"), lane(probed, "client/server"), long.to_s, probed.to_s)


def test_a_sliver_that_no_picture_shows_is_no_difference():
    plain = Lane("a/program", "a", "", "program", (Span(0, 100, "idle"), Span(100, 200, "waits")))
    sliver = (
        Span(0, 50, "idle"),
        Span(50, 50.01, "works"),
        Span(50.01, 100.05, "idle"),
        Span(100.05, 200, "waits"),
    )
    assert same_lane(plain, replace(plain, spans=sliver), 200, 200)
    assert not same_lane(plain, replace(plain, spans=plain.spans[:1]), 200, 200)


def test_the_same_answer_by_another_way_names_the_lanes():
    before, now = timeline("fin_or_rst"), timeline("fin_or_rst", ending="kill")
    assert compared(now, before) == "end of file after 0.001 s, as before; what differs: server's program"


def test_a_knob_without_effect_says_so():
    before, now = timeline("dead_peer"), timeline("dead_peer", keepalive_idle_s=5)
    assert compared(now, before) == "the same as before: this knob does nothing here"
    assert compared(now, now) == "the same as before"


def named(kept, now):
    return ", ".join(differences(kept.name, kept.parameters, now.name, now.parameters))


def test_runs_of_other_experiments_are_compared_and_named():
    idle, busy = timeline("keepalive", idle_s=60, interval_s=10, probes=6), timeline("dead_peer")
    assert compared(busy, idle) == "ETIMEDOUT after 15 min 29 s instead of 2 min"
    assert named(idle, busy) == "keepalive"


def test_a_kept_run_is_named_by_what_differs_now():
    before = timeline("keepalive")
    now = timeline("keepalive", idle_s=60, user_timeout_s=30, peer="rebooted")
    assert named(before, now) == "idle 7200 s, user timeout off, the server: offline"
    assert named(now, before) == "idle 60 s, user timeout 30 s, the server: rebooted"
    assert named(before, before) == "the same settings"


@pytest.mark.parametrize(("story", "name", "value", "words"), [
    ("keepalive", "unacked", True, "data in flight on"),
    ("idle_firewall", "firewall_idle_s", 350, "firewall: idle timer 350 s"),
    ("port_churn", "rate_per_s", 500, "attempts per second 500"),
    ("stale_reject", "balancer_close_s", 0, "balancer's close timer: no balancer"),
    ("slow_reader", "stops_reading_s", 0, "stops reading after never"),
    ("client_gone", "session", "idle_in_transaction", "the session is idle in transaction"),
])  # fmt: skip
def test_a_setting_in_words(story, name, value, words):
    assert setting(STORIES[story].knobs()[name], value) == words


def test_the_picture_as_a_table():
    rows = timeline("keepalive", idle_s=60, interval_s=10, probes=2).rows()
    assert rows[:2] == [
        ("server breaks", "0 s", "", "server: cable out"),
        ("answer", "0 s", "80 s", "ETIMEDOUT after 80 s"),
    ]
    assert ("client's socket", "0 s", "80 s", "ESTABLISHED: but server is gone") in rows
    assert ("client's socket", "60 s", "70 s", "2 keepalive probes, lost: 60 s, 70 s") in rows


# -- intervals -----------------------------------------------------------------------------------

CUTS = st.lists(st.integers(0, 100), unique=True, max_size=8).map(sorted)


def intervals(cuts, words):
    """Every second stretch between the cuts."""
    return [(float(a), float(b), words) for a, b in list(pairwise(cuts))[::2]]


@given(CUTS, CUTS)
def test_painting_covers_the_same_time_and_what_lies_under_an_interval_is_painted(cuts, over):
    base = [Span(a, b, "idle", ("idle",)) for a, b, _ in intervals(cuts, "")]
    painted = paint(base, intervals(over, "x"), lambda span, words: ("waits", (words,)))
    for tick in range(200):
        t = tick / 2 + 0.25
        at = [span for span in painted if span.from_s <= t < span.to_s]
        was = [span for span in base if span.from_s <= t < span.to_s]
        is_over = any(a <= t < b for a, b, _ in intervals(over, "x"))
        assert [span.kind for span in at] == ["waits" if is_over else "idle"] * len(was)


@given(CUTS, CUTS)
def test_intervals_without_cuts(cuts, over):
    left = list(without(intervals(cuts, "x"), intervals(over, "y")))
    for tick in range(200):
        t = tick / 2 + 0.25
        is_left = any(a <= t < b for a, b, _ in intervals(cuts, "")) and not any(
            a <= t < b for a, b, _ in intervals(over, "")
        )
        assert any(a <= t < b for a, b, _ in left) == is_left


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.sampled_from("xy"))))
def test_merged_intervals_cover_the_same_time_once(drawn):
    given_ = [(float(min(a, b)), float(max(a, b)), words) for a, b, words in drawn if a != b]
    made = merged(given_)
    assert all(x[1] < y[0] or (x[1] == y[0] and x[2] != y[2]) for x, y in pairwise(made))
    for tick in range(20):
        t = tick + 0.5
        assert any(a <= t < b for a, b, _ in made) == any(a <= t < b for a, b, _ in given_)


def test_joined_spans_leave_out_what_is_empty():
    idle = ("idle",)
    made = joined(
        [Span(0, 1, "idle", idle), Span(1, 1, "waits"), Span(1, 2, "idle", idle), Span(3, 4, "idle", idle)]
    )
    assert made == (Span(0, 2, "idle", idle), Span(3, 4, "idle", idle))


def test_counting_stops_at_the_end():
    assert counted([(1.0, 1), (2.0, 1), (3.0, -1), (9.0, -1)], 9.0) == (
        (0.0, 0.0),
        (1.0, 1.0),
        (2.0, 2.0),
        (3.0, 1.0),
    )
