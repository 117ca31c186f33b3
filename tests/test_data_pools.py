"""The captures of real connection pools: what stored packets and sidecars must show."""

import re
from itertools import pairwise

import pytest

from stored import assert_it_names_its_recorder, assert_it_reads_back_whole, assert_tshark_finds_nothing_wrong
from tcplab.capture.capture import read_capture
from tcplab.capture.findings import diagnose
from test_data import KEYS, STORED, Capture

PSYCOPG_POOL = {"postgres", "psycopg", "psycopg_pool"}
SQLALCHEMY = {"postgres", "psycopg", "sqlalchemy"}
STORIES = {
    "pool_dropped": PSYCOPG_POOL,
    "pool_dropped_checked": PSYCOPG_POOL,
    "pool_dropped_pre_ping": SQLALCHEMY,
    "pool_engine": SQLALCHEMY,
    "pool_engine_pre_ping": SQLALCHEMY,
    "pool_psycopg": PSYCOPG_POOL,
    "pool_psycopg_check_all": PSYCOPG_POOL,
    "pool_psycopg_checked": PSYCOPG_POOL,
    "pool_psycopg_immediate": PSYCOPG_POOL,
    "pool_queue_fifo": SQLALCHEMY,
    "pool_queue_lifo": SQLALCHEMY,
}
RESTARTED = sorted(name for name in STORIES if "dropped" not in name)
SIZE, BEFORE = 10, 20
FAREWELL = b"terminating connection due to"


@pytest.fixture(params=sorted(STORIES))
def capture(request):
    return Capture(STORED, request.param)


def requests(name):
    return Capture(STORED, name).sidecar["requests"]


def after(name):
    """What became of the requests after the break: (seconds, result) in their order."""
    return [(each["t"] - each["began"], each["result"]) for each in requests(name)[BEFORE:]]


def errors(name):
    return [result for _, result in after(name) if result != "ok"]


def close_wait(capture):
    return [int(e["result"]) for e in capture.sidecar["events"] if "close-wait" in e["call"]]


def test_the_folder_holds_exactly_these_pairs():
    for ending in ("pcap", "json"):
        assert {path.stem for path in STORED.glob(f"pool_*.{ending}")} == STORIES.keys()


def test_sidecar_is_complete_and_names_its_recorder(capture):
    told, name = capture.sidecar, capture.path.stem
    assert set(told) == KEYS | {"requests"}
    assert 2 <= len(re.findall(r"[.](?: |$)", told["story"])) <= 4
    assert set(told["software"]) == STORIES[name]
    assert all(re.fullmatch(r"\d+(\.\d+)+", each) for each in [told["linux"], *told["software"].values()])
    assert_it_names_its_recorder(capture, name)


def test_it_reads_back_as_one_connection_with_calls_and_states(capture):
    assert_it_reads_back_whole(capture)


def test_tshark_finds_nothing_wrong(capture):
    assert_tshark_finds_nothing_wrong(capture)


def test_requests_come_one_after_another_and_all_is_well_before_the_break(capture):
    told = capture.sidecar["requests"]
    assert [each["number"] for each in told] == list(range(1, len(told) + 1))
    for earlier, later in pairwise(told):
        assert earlier["began"] <= earlier["t"] <= later["began"]
    assert {each["result"] for each in told[:BEFORE]} == {"ok"}
    ports = [each["port"] for each in told[:BEFORE]]
    in_turn = len(set(ports)) == SIZE and ports[:SIZE] == ports[SIZE:]
    assert in_turn != (capture.path.stem == "pool_queue_lifo"), "first in first out: each in its turn"
    assert in_turn or len(set(ports)) == 1, "last in first out: always the same"


# What happened ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RESTARTED)
def test_every_connection_hears_of_the_restart_at_once_and_nobody_reads_it(name):
    capture = Capture(STORED, name)
    restarted = capture.event("pg_ctl restart")
    (fin,) = {frame.seq + len(frame.payload) for frame in capture.having("F", "server")}
    told = [frame for frame in capture.frames if FAREWELL in frame.payload]
    assert told and told[0].end == fin and restarted["began"] < told[0].t < restarted["t"]
    assert capture.states("client") == ["ESTAB", "CLOSE-WAIT", "CLOSED"]
    unread = [sample["recv_q"] for sample in capture.sidecar["states"] if sample["host"] == "client"]
    assert unread == [0, len(told[0].payload) + 1, 0], "the farewell, and one for the FIN"
    assert close_wait(capture)[0] == SIZE
    assert capture.frames[-1].flags == "R" and capture.frames[-1].host == "server", (
        "whoever asks it draws RST"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pool_psycopg", "AdminShutdown: terminating connection due to administrator command"),
        ("pool_queue_fifo", "AdminShutdown: terminating connection due to administrator command"),
        (
            "pool_psycopg_immediate",
            "OperationalError: consuming input failed: server closed the connection unexpectedly",
        ),
    ],
)
def test_without_a_probe_ten_connections_are_ten_errors_in_a_row(name, said):
    results = [result for _, result in after(name)]
    assert results == [said] * SIZE + ["ok"] * 5
    assert all(seconds < 0.1 for seconds, _ in after(name)), "nobody waits"
    assert close_wait(Capture(STORED, name))[1] == 0


def test_last_in_first_out_one_error_and_nine_dead_stay():
    assert [result == "ok" for _, result in after("pool_queue_lifo")] == [False] + [True] * 14
    assert close_wait(Capture(STORED, "pool_queue_lifo")) == [SIZE, SIZE - 1]


def test_an_engine_learns_from_one_error():
    results = [result for _, result in after("pool_engine")]
    assert "AdminShutdown" in results[0] and set(results[1:]) == {"ok"}
    assert close_wait(Capture(STORED, "pool_engine"))[1] == 0


def test_pre_ping_saves_every_request():
    assert not errors("pool_engine_pre_ping")
    assert all(seconds < 0.1 for seconds, _ in after("pool_engine_pre_ping"))
    # Seen on the wire: two questions for each request, the first of them the test.
    asked = [f for f in Capture(STORED, "pool_engine_pre_ping").frames if f.payload and f.host == "client"]
    plain = [f for f in Capture(STORED, "pool_engine").frames if f.payload and f.host == "client"]
    used = requests("pool_engine_pre_ping")[0]["port"]
    loans = [each for each in requests("pool_engine_pre_ping") if each["port"] == used]
    # The last test has no request behind it; the first answered none, as the connection was new.
    assert len(asked) - len(plain) == len(loans)


def test_psycopgs_check_rests_between_dead_connections():
    (first, second, *others) = after("pool_psycopg_checked")
    assert first == (pytest.approx(30, abs=0.5), "PoolTimeout: couldn't get a connection after 30.00 sec")
    assert second[1] == "ok" and 1 < second[0] < 30
    assert all(result == "ok" and seconds < 0.1 for seconds, result in others)


def test_a_program_that_has_the_pool_checked_after_an_error_has_one_error():
    results = [result for _, result in after("pool_psycopg_check_all")]
    assert "AdminShutdown" in results[0] and set(results[1:]) == {"ok"}
    checked = Capture(STORED, "pool_psycopg_check_all").event("pool.check()")
    assert checked["t"] - checked["began"] < 0.5


def test_a_silent_drop_costs_each_request_the_user_timeout():
    dead, well = after("pool_dropped")[:SIZE], after("pool_dropped")[SIZE:]
    assert {result for _, result in dead} == {
        "OperationalError: consuming input failed: could not receive data from server: Connection timed out"
    }
    assert all(2.3 < seconds < 2.6 for seconds, _ in dead) and {result for _, result in well} == {"ok"}
    capture = Capture(STORED, "pool_dropped")
    last = capture.frames[-1]
    again = [frame for frame in capture.frames if frame.seq == last.seq and frame.payload]
    assert len(again) == 5 and not capture.having("R")
    assert capture.states("server")[-1] == "ESTAB", "the database knows nothing"


def test_a_test_of_a_silent_connection_waits_as_long():
    first, *others = after("pool_dropped_pre_ping")
    assert first == (pytest.approx(2.45, abs=0.15), "ok") and all(seconds < 0.1 for seconds, _ in others)
    first, second, *others = after("pool_dropped_checked")
    assert "PoolTimeout" in first[1] and 30 <= first[0] < 33
    assert second[1] == "ok" and all(seconds < 0.1 for seconds, _ in others)


def test_a_check_that_only_connects_is_content_with_a_stopped_server():
    capture = Capture(STORED, "health_check_stopped")
    told = capture.sidecar
    assert set(told) == KEYS and set(told["software"]) == {"postgres", "psql"}
    assert_it_names_its_recorder(capture, "health_check_stopped")
    assert_it_reads_back_whole(capture)
    assert_tshark_finds_nothing_wrong(capture)
    assert [capture.event(call)["result"] for call in ("connect()", "close()")] == ["ok", "ok"]
    assert "timeout expired" in capture.event("psql")["result"]
    assert capture.states("server") == ["ESTAB", "CLOSE-WAIT"], "nobody took it, and nobody closes it"
    assert not any(frame.payload for frame in capture.frames)
    (connection,) = diagnose(read_capture(capture.path)).connections
    assert "probe_only" in [finding.code for finding in connection.findings]
