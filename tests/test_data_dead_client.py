"""A real PostgreSQL whose client is gone: the stored captures, and lesson 05's answers held to them."""

import re

import pytest

from stored import assert_it_names_its_recorder, assert_it_reads_back_whole, assert_tshark_finds_nothing_wrong
from tcplab import ClientGone, recording, run
from tcplab.lesson import ask
from test_data import KEYS, STORED, Capture
from test_data_waiting import probes

KILLED = {"dead_client_killed", "dead_client_killed_checked"}
ROWS = {"dead_client_vanished_rows", "dead_client_vanished_rows_limited"}
CHECKED = {"dead_client_killed_checked", "dead_client_vanished_both", "dead_client_vanished_checked"} | ROWS
ASKED = {"dead_client_vanished_both", "dead_client_vanished_idle", "dead_client_vanished_keepalive"}
NAMES = KILLED | CHECKED | ASKED
IDLE = {"dead_client_vanished_idle"} | ROWS  # when the DBA looks
DEFAULTS = {"keepalive_idle_s": 7200, "keepalive_interval_s": 75, "keepalive_probes": 9}
SHORT = {"keepalive_idle_s": 2, "keepalive_interval_s": 1, "keepalive_probes": 3}


@pytest.fixture(params=sorted(NAMES))
def capture(request):
    return Capture(STORED, request.param)


def named(name):
    return Capture(STORED, name)


def ended(capture):
    """When the client was killed, or its address taken away."""
    return capture.event("kill -9" if capture.path.stem in KILLED else "ip address del")["began"]


def waited(capture):
    """How long the second session waited for the row, counted from the client's end; None: in vain."""
    wanted = capture.event("'desk'")
    return wanted["t"] - ended(capture) if wanted["result"] == "desk" else None


def log(capture):
    return capture.event("PostgreSQL's log")["result"].splitlines()


def silent_since(capture):
    """The last thing that the living client said."""
    return [frame.t for frame in capture.frames if frame.host == "client"][-1]


# What every one of them shows ---------------------------------------------------------------------


def test_the_folder_holds_exactly_these_pairs():
    for ending in ("pcap", "json"):
        assert {path.stem for path in STORED.glob(f"dead_client_*.{ending}")} == NAMES


def test_sidecar_is_complete_and_names_its_recorder(capture):
    told = capture.sidecar
    assert set(told) == KEYS
    assert 2 <= len(re.findall(r"[.](?: |$)", told["story"])) <= 4
    assert set(told["software"]) == {"postgres", "psql"}
    assert_it_names_its_recorder(capture, capture.path.stem)


def test_it_reads_back_as_one_connection_with_calls_and_states(capture):
    assert_it_reads_back_whole(capture)


def test_tshark_finds_nothing_wrong(capture):
    assert_tshark_finds_nothing_wrong(capture)


def test_only_the_settings_of_the_story_were_changed(capture):
    calls = [event["call"] for event in capture.sidecar["events"]]
    changed = {call.split()[4] for call in calls if "alter system" in call}
    check = {"client_connection_check_interval"} if capture.path.stem in CHECKED else set()
    keepalive = {f"tcp_keepalives_{name}" for name in ("idle", "interval", "count")}
    limit = {"tcp_user_timeout"} if capture.path.stem == "dead_client_vanished_rows_limited" else set()
    assert changed == check | limit | (keepalive if capture.path.stem in ASKED | ROWS else set())


def test_a_second_session_waits_for_the_lock_of_the_lost_client(capture):
    """While the DBA looks, the lost client's session is there, and stands in the other's way."""
    told = capture.sidecar["events"]
    idle = capture.path.stem in IDLE
    state = "idle in transaction" if idle else "active"
    waits = "Client|ClientRead" if idle else "Timeout|PgSleep"
    first, last = [event for event in told if "client_port" in event["call"]]
    assert first["result"] == f"{state}|{waits}"
    assert capture.event("pg_locks")["result"] == "transactionid|ShareLock|f"
    blocker = capture.event("pg_blocking_pids")
    assert blocker["result"] == f"desk|batch|10.0.0.1|{state}"
    wanted = capture.event("'desk'")
    assert ended(capture) < wanted["began"] < blocker["began"] < wanted["t"]
    assert last["result"] == ("no rows" if waited(capture) else first["result"])


# Killed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(KILLED))
def test_the_fin_of_a_killed_client_is_acknowledged_at_once_and_left_unread(name):
    capture = named(name)
    fin = capture.having("F", "client")[0]
    ack = next(frame for frame in capture.frames if frame.host == "server" and frame.t > fin.t)
    assert 0 <= fin.t - ended(capture) < 0.1 and ack.ack == fin.end and ack.t - fin.t < 0.1
    assert capture.event("ss -tno")["result"].startswith("CLOSE-WAIT 1 0 ")
    assert capture.states("server") == ["ESTAB", "CLOSE-WAIT", "CLOSED"]


def test_a_busy_backend_hears_of_a_killed_client_when_its_query_is_over():
    capture = named("dead_client_killed")
    query = capture.event("pg_sleep(8)")["t"]
    assert capture.event("'desk'")["t"] - query == pytest.approx(8.15, abs=0.15)
    (rst,) = capture.having("R")
    result = capture.frames[capture.frames.index(rst) - 1]
    assert (rst.host, result.host) == ("client", "server") and result.payload and 8 <= result.t - query < 8.3
    assert log(capture) == ["LOG:  unexpected EOF on client connection with an open transaction"]


def test_a_check_every_second_finds_a_killed_client_within_one():
    capture = named("dead_client_killed_checked")
    assert 0 < waited(capture) < 1.2
    fin = capture.having("F", "server")[0]
    assert fin.t > ended(capture) and not capture.having("R")
    assert log(capture) == ["FATAL:  connection to client lost"]


# Vanished -----------------------------------------------------------------------------------------


def test_a_check_alone_does_not_see_a_client_that_vanished():
    capture = named("dead_client_vanished_checked")
    assert waited(capture) is None
    refused = capture.event("'desk'")
    assert refused["result"].startswith("ERROR:  canceling statement due to lock timeout")
    assert 12 <= refused["t"] - refused["began"] < 12.5
    assert not [frame for frame in capture.frames if frame.t > ended(capture)], "the check sends nothing"
    assert capture.states("server") == ["ESTAB"] * 3 and log(capture) == ["nothing"]
    assert "timer:(keepalive,119min,0)" in capture.event("ss -tno")["result"]


@pytest.mark.parametrize("name", sorted(ASKED))
def test_the_servers_keepalive_asks_three_times_and_gives_up(name):
    capture = named(name)
    asked = probes(capture, "server")
    since = max(silent_since(capture), *(f.t for f in capture.frames if f.payload))
    assert [round(probe.t - since) for probe in asked] == [2, 3, 4]
    (rst,) = capture.having("R")
    assert (rst.host, rst.flags, rst.seq) == ("server", "RA", asked[0].seq + 1)
    assert 5 <= rst.t - since < 5.4 and rst is capture.frames[-1]
    assert capture.states("server") == ["ESTAB", "ESTAB", "CLOSED"]


def test_keepalive_and_check_together_free_the_lock_after_keepalives_seconds():
    capture = named("dead_client_vanished_both")
    (rst,) = capture.having("R")
    assert 0 < capture.event("'desk'")["t"] - rst.t < 1.1, "the next check"
    assert 4.5 < waited(capture) < 6.2
    assert log(capture) == ["FATAL:  connection to client lost"]


def test_keepalive_alone_tells_linux_and_not_the_busy_backend():
    capture = named("dead_client_vanished_keepalive")
    query = capture.event("pg_sleep(10)")["t"]
    free = capture.event("'desk'")["t"]
    assert free - query == pytest.approx(10.15, abs=0.15) and free - capture.having("R")[0].t > 4
    assert log(capture) == [
        "LOG:  could not send data to client: Connection timed out",
        "FATAL:  connection to client lost",
    ]


def test_an_idle_backend_needs_no_check():
    capture = named("dead_client_vanished_idle")
    (rst,) = capture.having("R")
    assert 0 <= capture.event("'desk'")["t"] - rst.t < 0.2 and 4.5 < waited(capture) < 5.5
    assert log(capture) == [
        "LOG:  could not receive data from client: Connection timed out",
        "LOG:  unexpected EOF on client connection with an open transaction",
    ]


@pytest.mark.parametrize("name", sorted(ROWS))
def test_rows_in_flight_are_sent_again_and_keepalive_asks_nothing(name):
    capture = named(name)
    sent = [frame for frame in capture.frames if frame.host == "server" and frame.t > ended(capture)]
    assert {(frame.seq, frame.payload) for frame in sent} == {(sent[0].seq, sent[0].payload)}
    assert len(sent) >= 6 and sent[0].payload and not capture.having("R")
    shown = capture.event("ss -tno")["result"]
    assert shown.startswith(f"ESTAB 0 {len(sent[0].payload)} ") and "timer:(on," in shown


def test_check_and_keepalive_do_not_free_the_lock_while_rows_are_in_flight():
    capture = named("dead_client_vanished_rows")
    assert waited(capture) is None and log(capture) == ["nothing"]
    assert capture.states("server") == ["ESTAB"] * 3


def test_the_user_timeout_frees_it():
    capture = named("dead_client_vanished_rows_limited")
    sent = next(frame for frame in capture.frames if frame.host == "server" and frame.t > ended(capture))
    assert 6 <= capture.event("'desk'")["t"] - sent.t < 7
    assert capture.states("server") == ["ESTAB", "ESTAB", "CLOSED"]
    assert log(capture) == [
        "LOG:  could not receive data from client: Connection timed out",
        "LOG:  unexpected EOF on client connection with an open transaction",
    ]


# The lesson's answers -----------------------------------------------------------------------------


def held(**settings):
    """How long the model's lock is held, seconds."""
    return run(ClientGone(**settings)).outcome["lock_held_s"]


def test_keepalives_defaults_decide_over_a_check_every_second():
    right = ask("dead_client", "night_batch").right
    assert held(check_interval_s=1, query_s=28_800, **DEFAULTS) == right
    assert held(query_s=28_800, **DEFAULTS) == 28_800


def test_a_killed_clients_lock_is_held_until_the_query_is_over():
    assert held(how="kill", query_s=60, **DEFAULTS) == ask("dead_client", "killed").right
    assert held(how="kill", query_s=60, check_interval_s=1, **DEFAULTS) == 1
    assert held(how="kill", query_s=8) == pytest.approx(waited(named("dead_client_killed")), abs=0.5)


def test_keepalive_alone_does_not_reach_a_busy_backend():
    right = ask("dead_client", "keepalive_alone").right
    assert held(keepalive_idle_s=5, query_s=right) == right
    assert held(keepalive_idle_s=5, query_s=right, check_interval_s=1) == 8


def test_the_model_frees_the_lock_when_postgresql_does():
    alone = held(query_s=10, **SHORT)
    assert alone == pytest.approx(waited(named("dead_client_vanished_keepalive")), abs=0.5)
    idle = held(session="idle_in_transaction", **SHORT)
    assert idle == pytest.approx(waited(named("dead_client_vanished_idle")), abs=0.5)
    with_check = held(check_interval_s=1, **SHORT)
    assert with_check - 0.5 < waited(named("dead_client_vanished_both")) < with_check + 1.2
    assert held(check_interval_s=1, query_s=60, **DEFAULTS) > 12
    rows = {"check_interval_s": 1, "query_s": 0.7, **SHORT}  # a second from when it was asked
    limited = waited(named("dead_client_vanished_rows_limited"))
    assert held(**rows, user_timeout_s=6) == pytest.approx(limited, abs=0.6)
    assert held(**rows) > 900


def test_the_model_says_what_postgresql_logs():
    for name, settings in {
        "dead_client_killed": {"how": "kill"},
        "dead_client_killed_checked": {"how": "kill", "check_interval_s": 1},
        "dead_client_vanished_both": {"check_interval_s": 1, **SHORT},
        "dead_client_vanished_keepalive": {"query_s": 10, **SHORT},
        "dead_client_vanished_idle": {"session": "idle_in_transaction", **SHORT},
    }.items():
        story = ClientGone(**settings)
        _, said = log(named(name))[0].split("  ", 1)
        assert f"PostgreSQL's log says: {said}." in story.sentence(run(story))


def test_idle_in_transaction_only_keepalive_frees_the_lock():
    assert ask("dead_client", "idle_in_transaction").right == "Keepalive, after 2 h 11 min"
    for check in (0, 1):
        assert held(session="idle_in_transaction", check_interval_s=check, **DEFAULTS) == 7875


def test_rows_in_flight_wait_for_retransmission():
    question = ask("dead_client", "rows_in_flight")
    settings = {"session": "sending", "check_interval_s": 1, "keepalive_idle_s": 5}
    assert held(**settings) == pytest.approx(question.right, abs=0.5)
    for latency in (5, 20, 80, 150):
        after = held(**settings, latency_ms=latency)
        assert 924.6 <= after <= 1045
        assert abs(after - question.right) <= question.tolerance * question.right


def test_a_user_timeout_as_long_as_keepalives_total_changes_nothing_for_the_idle():
    asks = {"keepalive_idle_s": 60, "keepalive_interval_s": 10, "keepalive_probes": 6}
    for session in ("running", "idle_in_transaction", "sending"):
        settings = {"session": session, "check_interval_s": 10, "query_s": 3600, **asks}
        assert held(**settings, user_timeout_s=120) == pytest.approx(120, abs=1)
    assert held(session="idle_in_transaction", keepalive_idle_s=5, user_timeout_s=30) == 30


def test_the_experiments_recording_is_told_as_the_lesson_tells_it():
    parameters = recording("client_gone").parameters
    told = ("how", "session", "check_interval_s", "query_s", *SHORT)
    assert [parameters[name] for name in told] == ["vanish", "running", 1.5, 8, 2, 1, 2]
