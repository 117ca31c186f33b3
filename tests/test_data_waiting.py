"""The captures of real databases that no test records again: what stored packets and sidecars must show."""

import re

import pytest

from stored import assert_it_names_its_recorder, assert_it_reads_back_whole, assert_tshark_finds_nothing_wrong
from test_data import KEYS, STORED, WAITING, Capture

REDIS, POSTGRES, MARIADB = {"redis-server", "redis-cli"}, {"postgres", "psql"}, {"mariadbd", "mariadb"}
NAMES = {
    "mariadb_kill": MARIADB,
    "mariadb_quit": MARIADB,
    "mariadb_wait_timeout": MARIADB,
    "redis_kill9": REDIS,
    "redis_offline": REDIS,
    "redis_shutdown": REDIS,
    **dict.fromkeys(WAITING, POSTGRES),
}


@pytest.fixture(params=sorted(NAMES))
def capture(request):
    return Capture(STORED, request.param)


def named(name):
    return Capture(STORED, name)


def probes(capture, host="client"):
    """Keepalive probes of a host: empty, and one byte before what it would send next."""
    newest = 0
    found = []
    for frame in capture.having("", host):
        if frame.flags == "A" and not frame.payload and frame.seq == newest - 1:
            found.append(frame)
        newest = max(newest, frame.end)
    return found


def test_the_folder_holds_exactly_these_pairs():
    names = set(NAMES) - WAITING
    for ending in ("pcap", "json"):
        assert {
            p.stem for p in STORED.glob(f"*_*.{ending}") if p.stem.startswith(("redis_", "mariadb_"))
        } == names


def test_sidecar_is_complete_and_names_its_recorder(capture):
    told = capture.sidecar
    assert set(told) == KEYS
    assert 2 <= len(re.findall(r"[.](?: |$)", told["story"])) <= 4
    assert set(told["software"]) == NAMES[capture.path.stem]
    assert all(
        re.fullmatch(r"\d+(\.\d+)+", version) for version in [told["linux"], *told["software"].values()]
    )
    assert_it_names_its_recorder(capture, capture.path.stem)


def test_it_reads_back_as_one_connection_with_calls_and_states(capture):
    assert_it_reads_back_whole(capture)


def test_tshark_finds_nothing_wrong(capture):
    assert_tshark_finds_nothing_wrong(capture)


def test_shutdown_sends_fin_and_the_next_command_draws_rst():
    capture = named("redis_shutdown")
    (fin,), (rst,) = capture.having("F"), capture.having("R")
    assert fin.host == rst.host == "server" and rst is capture.frames[-1] and rst.flags == "R"
    command = capture.frames[-2]
    assert command.host == "client" and b"ping" in command.payload and command.t > fin.t + 3
    assert capture.states("client") == ["ESTAB", "CLOSE-WAIT", "CLOSE-WAIT", "CLOSED"]
    assert capture.states("server") == ["ESTAB", "FIN-WAIT-2", "FIN-WAIT-2", "CLOSED"]
    pongs = [event["result"] for event in capture.sidecar["events"] if event["call"] == "redis-cli: ping"]
    assert pongs == ["PONG", "Error: Server closed the connection"]


def test_after_kill9_probes_go_on_in_close_wait_and_the_servers_linux_sends_the_rst():
    capture = named("redis_kill9")
    (fin,), (rst,) = capture.having("F"), capture.having("R")
    first, second = probes(capture)
    assert fin.host == "server" and capture.event("kill -9")["began"] < fin.t
    assert 15 <= first.t - fin.t < 15.5 and 15 <= second.t - first.t < 15.5
    answer = capture.frames[capture.frames.index(first) + 1]
    assert (answer.host, answer.flags, answer.ack) == ("server", "A", first.seq + 1)
    assert second.t - fin.t > 20, "tcp_fin_timeout is 20 s on this server: it has forgotten the connection"
    assert rst is capture.frames[-1] and (rst.host, rst.flags, rst.seq) == ("server", "R", second.ack)
    assert capture.states("client") == ["ESTAB", "CLOSE-WAIT", "CLOSE-WAIT", "CLOSED"]
    assert capture.states("server") == ["ESTAB", "FIN-WAIT-2", "FIN-WAIT-2", "CLOSED"]
    assert re.match(r"CLOSE-WAIT 1 0 .* timer:\(keepalive,1[34]sec,0\)$", capture.event("ss -tno")["result"])
    assert capture.sidecar["events"][-1]["result"] == "Error: Broken pipe"


def test_an_address_taken_offline_is_noticed_by_redis_clis_own_keepalive():
    capture = named("redis_offline")
    sent = probes(capture)
    heard = [frame.t for frame in capture.frames if frame.host == "server"][-1]
    assert [round(frame.t - heard) for frame in sent] == [15, 20, 25]
    (rst,) = capture.having("R")
    assert not capture.having("F") and rst is capture.frames[-1]
    assert (rst.host, rst.flags, rst.seq) == ("client", "RA", sent[0].seq + 1)
    assert 30 <= rst.t - heard < 31
    assert capture.event("ip address del")["began"] > heard
    assert capture.states("client") == ["ESTAB", "ESTAB", "CLOSED"]
    assert capture.states("server") == ["ESTAB"] * 3, "the server's half stays"
    assert capture.event("ss -tno")["result"].endswith("timer:(keepalive,14sec,0)")
    last = capture.sidecar["events"][-1]
    assert last["result"] == "Error: Connection timed out" and last["began"] > rst.t


def test_idle_in_transaction_is_asked_every_idle_time_and_the_interval_plays_no_part():
    capture = named("postgres_idle_in_transaction")
    sent = probes(capture)
    heard = capture.frames[capture.frames.index(sent[0]) - 1]
    assert (heard.host, heard.payload) == ("client", b""), "the last thing before the silence"
    assert [round(probe.t - heard.t) for probe in sent] == [5, 10, 15]
    for probe in sent:
        answer = capture.frames[capture.frames.index(probe) + 1]
        assert (answer.host, answer.flags, answer.ack) == ("server", "A", probe.seq + 1)
        assert answer.t - probe.t < 0.1
    between = [f for f in capture.frames if heard.t < f.t < capture.event("commit;")["began"]]
    assert len(between) == 6, "nothing else is on the wire"
    seen = capture.event("pg_stat_activity")
    assert seen["result"] == "idle in transaction|ClientRead" and seen["began"] > sent[-1].t
    assert "timer:(keepalive,4." in capture.event("ss -tno")["result"]
    assert not capture.having("R") and capture.states("server") == ["ESTAB"]


def test_a_long_query_is_silent_but_for_the_servers_probe():
    capture = named("postgres_long_query")
    (query,) = [frame for frame in capture.frames if b"pg_sleep" in frame.payload and frame.host == "client"]
    assert query.payload.startswith(b"Q")
    result = next(frame for frame in capture.frames if frame.t > query.t and frame.payload)
    assert result.host == "server" and 25 <= result.t - query.t < 26
    acknowledged, probe, answer = [f for f in capture.frames if query.t < f.t < result.t]
    assert [probe] == probes(capture, "server") and (acknowledged.host, answer.host) == ("server", "client")
    assert 10 <= probe.t - query.t < 10.5 and answer.ack == probe.seq + 1
    assert capture.event("pg_stat_activity")["result"] == "active|PgSleep"
    assert re.search(r"timer:\(keepalive,[45]\.\d+ms,0\)$", capture.event("ss -tno")["result"])
    assert capture.event("pg_sleep")["t"] > result.t and not capture.having("R")


def test_mariadb_quit_keeps_time_wait_on_the_side_whose_fin_came_first():
    capture = named("mariadb_quit")
    first, second = capture.having("F")
    (said,) = [frame for frame in capture.frames if frame.payload == b"\1\0\0\0\1"]  # COM_QUIT
    assert said.host == "client" and said.t <= first.t and {first.host, second.host} == {"client", "server"}
    assert not capture.having("R")
    ended = {host: capture.states(host) for host in ("client", "server")}
    assert ended == {first.host: ["ESTAB", "TIME-WAIT"], second.host: ["ESTAB", "CLOSED"]}


def test_mariadb_kill_sends_fin_and_the_next_statement_draws_rst():
    capture = named("mariadb_kill")
    (fin,), (rst,) = capture.having("F"), capture.having("R")
    statement = capture.frames[-2]
    assert fin.host == rst.host == "server" and rst is capture.frames[-1] and rst.seq == fin.end
    assert b"select 42" in statement.payload and statement.t > fin.t + 3
    killed = capture.event("mariadb: kill ")
    assert killed["began"] < fin.t and killed["call"].split()[-1] == (
        capture.event("connection_id")["result"] + ";"
    )
    assert capture.states("client") == ["ESTAB", "CLOSE-WAIT", "CLOSE-WAIT", "CLOSED"]
    assert (
        capture.event("select 42")["result"] == "ERROR 2013 (HY000): Lost connection to server during query"
    )


def test_mariadb_wait_timeout_resets_instead_of_closing():
    capture = named("mariadb_wait_timeout")
    (rst,) = capture.having("R")
    told = capture.event("set wait_timeout = 3")
    assert not capture.having("F") and rst is capture.frames[-1]
    assert (rst.host, rst.flags, rst.payload) == ("server", "RA", b"") and 3 <= rst.t - told["t"] < 3.5
    unread = [s["recv_q"] for s in capture.sidecar["states"] if s["host"] == "server" and s["t"] < rst.t]
    assert unread == [0], "the reset is MariaDB's own doing: it had read everything"
    assert capture.states("client") == capture.states("server") == ["ESTAB", "CLOSED", "CLOSED", "CLOSED"]
    after = capture.event("select 42")
    assert after["result"] == "ERROR 2006 (HY000): Server has gone away" and after["began"] > rst.t + 2
