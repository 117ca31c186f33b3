"""What the captures of databases show, one recording at a time: PostgreSQL, MariaDB, Redis.

PostgreSQL's captures of ended sessions are also recorded here and now, and must show the same.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP

from conftest import need
from recordings.captures import CHECKS, KEYS, STORED, Capture

NAMES = {
    "postgres_closed_port",
    "postgres_kill9_backend",
    "postgres_kill9_postmaster",
    "postgres_kill9_unread",
    "postgres_stop_fast",
    "postgres_terminate_backend",
    "postgres_terminate_backend_reading",
}
FATAL = "FATAL:  terminating connection due to administrator command"
KILLED = {"dead_client_killed", "dead_client_killed_checked"}
ROWS = {"dead_client_vanished_rows", "dead_client_vanished_rows_limited"}
CHECKED = {"dead_client_killed_checked", "dead_client_vanished_both", "dead_client_vanished_checked"} | ROWS
ASKED = {"dead_client_vanished_both", "dead_client_vanished_idle", "dead_client_vanished_keepalive"}
LOST_CLIENT = KILLED | CHECKED | ASKED
IDLE = {"dead_client_vanished_idle"} | ROWS  # when the DBA looks


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new recording, made here and now by the recorder."""
    for program in ("psql", "postgres", "initdb", "unshare", "nsenter", "ip", "ss"):
        need(program)
    folder = tmp_path_factory.mktemp("recording")
    command = [sys.executable, str(STORED / "record_postgres.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if "no namespaces" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(params=["stored", pytest.param("fresh", marks=pytest.mark.linux)], scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    return STORED if request.param == "stored" else request.getfixturevalue("fresh")


@pytest.mark.linux
def test_a_fresh_recording_has_the_same_captures(fresh: Path) -> None:
    for ending in ("pcap", "json"):
        assert {path.stem for path in fresh.glob(f"*.{ending}")} == NAMES


@pytest.mark.linux
@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_fresh_recording_passes_every_check(fresh: Path, name: str) -> None:
    capture = Capture(name, fresh)
    for check in CHECKS.values():
        check(capture)
    assert set(capture.sidecar) == KEYS and set(capture.sidecar["software"]) == {"postgres", "psql"}
    assert capture.sidecar["command"] == "python3 data/captures/record_postgres.py"


@pytest.mark.parametrize("name", sorted(NAMES))
def test_one_connection_in_order_with_right_checksums(folder: Path, name: str) -> None:
    capture = Capture(name, folder)
    ends = {frozenset([(p[IP].src, p[TCP].sport), (p[IP].dst, p[TCP].dport)]) for p in capture.packets}
    assert len(ends) == 1
    assert len(capture.having("S")) == (2 if name != "postgres_closed_port" else 1)
    for packet in capture.packets:
        again = packet.copy()
        del again[IP].chksum, again[TCP].chksum
        again = again.__class__(bytes(again))
        assert (again[IP].chksum, again[TCP].chksum) == (packet[IP].chksum, packet[TCP].chksum)
    end = capture.frames[-1].t  # psql's calls end with the packets, unlike those that wait for a dead server
    assert all(event["t"] < end + 1 for event in capture.sidecar["events"] + capture.sidecar["states"])


def test_terminate_idle_fin_from_the_server_and_rst_only_for_the_next_query(folder: Path) -> None:
    capture = Capture("postgres_terminate_backend", folder)
    (fin,) = capture.having("F")
    (rst,) = capture.having("R")
    query = capture.frames[-2]
    assert fin.host == rst.host == "server" and rst is capture.frames[-1]
    assert query.host == "client" and query.payload.startswith(b"Q") and b"select 1;" in query.payload
    assert query.t - fin.t > 2, "the client must have sat in CLOSE-WAIT for a while"
    assert rst.flags == "R" and rst.seq == query.ack == fin.end, "exact: seq is what the query acknowledged"
    acknowledged = [f.t for f in capture.frames if f.host == "client" and f.ack == fin.end]
    assert acknowledged[0] < fin.t + 1

    said = next(frame for frame in capture.frames if b"C57P01\0" in frame.payload)
    assert said.host == "server" and said.t < fin.t
    event = capture.event("select 1;")
    assert event["began"] <= query.t <= event["t"]
    assert event["result"].startswith(FATAL) and FATAL.split("  ")[1].encode() in said.payload
    assert "server closed the connection unexpectedly" in event["result"]
    assert capture.event("pg_terminate_backend")["began"] < said.t

    assert capture.states("client") == ["ESTAB", "CLOSE-WAIT", "CLOSE-WAIT", "CLOSED"]
    assert capture.states("server") == ["ESTAB", "FIN-WAIT-2", "FIN-WAIT-2", "CLOSED"]
    waiting = [sample for sample in capture.sidecar["states"] if sample["state"] == "CLOSE-WAIT"]
    assert {sample["recv_q"] for sample in waiting} == {len(said.payload) + 1}, "unread message, and the FIN"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("postgres_stop_fast", b"terminating connection due to administrator command"),
        ("postgres_kill9_postmaster", b"terminating connection due to unexpected postmaster exit"),
        ("postgres_kill9_backend", b""),
    ],
)
def test_whatever_ends_an_idle_backend_sends_fin_and_the_next_query_draws_rst(
    folder: Path, name: str, said: bytes
) -> None:
    capture = Capture(name, folder)
    (fin,), (rst,) = capture.having("F"), capture.having("R")
    query = capture.frames[-2]
    assert fin.host == rst.host == "server" and rst is capture.frames[-1] and rst.flags == "R"
    assert query.host == "client" and b"select 1;" in query.payload and query.t - fin.t > 2
    assert rst.seq == query.ack == fin.end

    (asked,) = [frame for frame in capture.having("", "client") if b"pg_backend_pid" in frame.payload]
    answer, *last_words = [f for f in capture.having("", "server") if f.payload and f.t > asked.t]
    assert capture.event("pg_backend_pid")["result"].encode() in answer.payload
    assert len(last_words) == bool(said) and all(said in frame.payload for frame in last_words)
    result = capture.event("select 1;")["result"]
    assert said.decode() in result and ("FATAL" in result) == bool(said)
    assert "server closed the connection unexpectedly" in result
    assert ("Attempting reset: Succeeded" in result) == (name == "postgres_kill9_backend")

    killed = "pg_ctl stop -m fast" if name == "postgres_stop_fast" else "kill -9"
    assert capture.event(killed)["began"] < fin.t < capture.event(killed)["began"] + 1
    pid = capture.event("pg_backend_pid")["result"]
    assert (capture.event(killed)["call"] == f"kill -9 {pid}") == (name == "postgres_kill9_backend")
    assert capture.states("client") == ["ESTAB", "CLOSE-WAIT", "CLOSE-WAIT", "CLOSED"]
    assert capture.states("server") == ["ESTAB", "FIN-WAIT-2", "FIN-WAIT-2", "CLOSED"]


def test_terminate_reading_closes_both_ways_without_rst(folder: Path) -> None:
    capture = Capture("postgres_terminate_backend_reading", folder)
    first, second = capture.having("F")
    last = capture.frames[-1]
    assert not capture.having("R")
    assert (first.host, second.host) == ("server", "client") and second.ack == first.end
    assert last.host == "server" and last.flags == "A" and last.ack == second.end

    event = capture.event("pg_sleep")
    assert event["result"].startswith(FATAL) and first.t < event["t"] < first.t + 1
    assert event["began"] < first.t - 0.5, "psql was waiting for its result"
    assert capture.states("client") == ["ESTAB", "CLOSED"]
    assert capture.states("server") == ["ESTAB", "TIME-WAIT"]


def test_kill9_with_unread_bytes_sends_rst_and_no_fin(folder: Path) -> None:
    capture = Capture("postgres_kill9_unread", folder)
    (rst,) = capture.having("R")
    assert not capture.having("F")
    assert rst is capture.frames[-1] and (rst.host, rst.flags, rst.payload) == ("server", "RA", b"")
    sleep, unread = [frame for frame in capture.frames if frame.payload.startswith(b"Q")]
    assert b"pg_sleep" in sleep.payload
    assert not any(frame.payload for frame in capture.frames if frame.host == "server" and frame.t > sleep.t)
    assert rst.ack == unread.end, "Linux had acknowledged the bytes that PostgreSQL never read"

    queue = [sample["recv_q"] for sample in capture.sidecar["states"] if sample["host"] == "server"]
    assert queue == [len(unread.payload), 0]
    assert capture.states("server") == capture.states("client") == ["ESTAB", "CLOSED"]
    assert capture.event("kill -9")["began"] < rst.t < capture.event("recv")["t"]
    assert capture.event("recv")["result"] == "ECONNRESET: Connection reset by peer"
    assert capture.event("select 2;")["result"] == "EPIPE: Broken pipe"


def test_closed_port_answers_the_syn_with_rst_and_nothing_else(folder: Path) -> None:
    capture = Capture("postgres_closed_port", folder)
    syn, rst = capture.frames
    assert (syn.host, syn.flags) == ("client", "S")
    assert (rst.host, rst.flags, rst.window, rst.seq) == ("server", "RA", 0, 0)
    assert rst.ack == syn.end
    event = capture.event("psql")
    assert event["began"] < syn.t and rst.t < event["t"]
    assert "Connection refused" in event["result"]
    assert f"port {capture.packets[0][TCP].dport} failed" in event["result"]


def test_a_missing_folder_is_named_in_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, str(STORED / "record_postgres.py"), str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert re.fullmatch(r"There is no folder .*nowhere to record into: .*\n", done.stderr)


def test_shutdown_sends_fin_and_the_next_command_draws_rst():
    capture = Capture("redis_shutdown")
    (fin,), (rst,) = capture.having("F"), capture.having("R")
    assert fin.host == rst.host == "server" and rst is capture.frames[-1] and rst.flags == "R"
    command = capture.frames[-2]
    assert command.host == "client" and b"ping" in command.payload and command.t > fin.t + 3
    assert capture.states("client") == ["ESTAB", "CLOSE-WAIT", "CLOSE-WAIT", "CLOSED"]
    assert capture.states("server") == ["ESTAB", "FIN-WAIT-2", "FIN-WAIT-2", "CLOSED"]
    pongs = [event["result"] for event in capture.sidecar["events"] if event["call"] == "redis-cli: ping"]
    assert pongs == ["PONG", "Error: Server closed the connection"]


def test_after_kill9_probes_go_on_in_close_wait_and_the_servers_linux_sends_the_rst():
    capture = Capture("redis_kill9")
    (fin,), (rst,) = capture.having("F"), capture.having("R")
    first, second = capture.probes()
    assert fin.host == "server" and capture.event("kill -9")["began"] < fin.t
    assert 15 <= first.t - fin.t < 15.5 and 15 <= second.t - first.t < 15.5
    answer = capture.after(first)
    assert (answer.host, answer.flags, answer.ack) == ("server", "A", first.seq + 1)
    assert second.t - fin.t > 20, "tcp_fin_timeout is 20 s on this server: it has forgotten the connection"
    assert rst is capture.frames[-1] and (rst.host, rst.flags, rst.seq) == ("server", "R", second.ack)
    assert capture.states("client") == ["ESTAB", "CLOSE-WAIT", "CLOSE-WAIT", "CLOSED"]
    assert capture.states("server") == ["ESTAB", "FIN-WAIT-2", "FIN-WAIT-2", "CLOSED"]
    assert re.match(r"CLOSE-WAIT 1 0 .* timer:\(keepalive,1[34]sec,0\)$", capture.event("ss -tno")["result"])
    assert capture.sidecar["events"][-1]["result"] == "Error: Broken pipe"


def test_an_address_taken_offline_is_noticed_by_redis_clis_own_keepalive():
    capture = Capture("redis_offline")
    sent = capture.probes()
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


def test_a_delayed_ack_of_redis_cli_is_no_probe():
    """Lesson 03 tells them apart by their numbers: a probe's is one below the next."""
    capture = Capture("redis_offline")
    reply = [frame for frame in capture.frames if frame.host == "server"][-1]
    delayed = capture.after(reply)
    assert (delayed.host, delayed.flags, delayed.payload) == ("client", "A", b"")
    assert round(1000 * (delayed.t - reply.t)) == 43
    assert {probe.seq for probe in capture.probes()} == {delayed.seq - 1} and delayed not in capture.probes()


def test_idle_in_transaction_is_asked_every_idle_time_and_the_interval_plays_no_part():
    capture = Capture("postgres_idle_in_transaction")
    sent = capture.probes()
    heard = capture.frames[capture.frames.index(sent[0]) - 1]
    assert (heard.host, heard.payload) == ("client", b""), "the last thing before the silence"
    assert [round(probe.t - heard.t) for probe in sent] == [5, 10, 15]
    for probe in sent:
        answer = capture.after(probe)
        assert (answer.host, answer.flags, answer.ack) == ("server", "A", probe.seq + 1)
        assert answer.t - probe.t < 0.1
    between = [f for f in capture.frames if heard.t < f.t < capture.event("commit;")["began"]]
    assert len(between) == 6, "nothing else is on the wire"
    seen = capture.event("pg_stat_activity")
    assert seen["result"] == "idle in transaction|ClientRead" and seen["began"] > sent[-1].t
    assert "timer:(keepalive,4." in capture.event("ss -tno")["result"]
    assert not capture.having("R") and capture.states("server") == ["ESTAB"]


def test_a_long_query_is_silent_but_for_the_servers_probe():
    capture = Capture("postgres_long_query")
    (query,) = [frame for frame in capture.frames if b"pg_sleep" in frame.payload and frame.host == "client"]
    assert query.payload.startswith(b"Q")
    result = next(frame for frame in capture.frames if frame.t > query.t and frame.payload)
    assert result.host == "server" and 25 <= result.t - query.t < 26
    acknowledged, probe, answer = [f for f in capture.frames if query.t < f.t < result.t]
    assert [probe] == capture.probes("server") and (acknowledged.host, answer.host) == ("server", "client")
    assert 10 <= probe.t - query.t < 10.5 and answer.ack == probe.seq + 1
    assert capture.event("pg_stat_activity")["result"] == "active|PgSleep"
    assert re.search(r"timer:\(keepalive,[45]\.\d+ms,0\)$", capture.event("ss -tno")["result"])
    assert capture.event("pg_sleep")["t"] > result.t and not capture.having("R")


def test_mariadb_quit_keeps_time_wait_on_the_side_whose_fin_came_first():
    capture = Capture("mariadb_quit")
    first, second = capture.having("F")
    (said,) = [frame for frame in capture.frames if frame.payload == b"\1\0\0\0\1"]  # COM_QUIT
    assert said.host == "client" and said.t <= first.t and {first.host, second.host} == {"client", "server"}
    assert not capture.having("R")
    ended = {host: capture.states(host) for host in ("client", "server")}
    assert ended == {first.host: ["ESTAB", "TIME-WAIT"], second.host: ["ESTAB", "CLOSED"]}


def test_mariadb_kill_sends_fin_and_the_next_statement_draws_rst():
    capture = Capture("mariadb_kill")
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
    capture = Capture("mariadb_wait_timeout")
    (rst,) = capture.having("R")
    told = capture.event("set wait_timeout = 3")
    assert not capture.having("F") and rst is capture.frames[-1]
    assert (rst.host, rst.flags, rst.payload) == ("server", "RA", b"") and 3 <= rst.t - told["t"] < 3.5
    unread = [s["recv_q"] for s in capture.sidecar["states"] if s["host"] == "server" and s["t"] < rst.t]
    assert unread == [0], "the reset is MariaDB's own doing: it had read everything"
    assert capture.states("client") == capture.states("server") == ["ESTAB", "CLOSED", "CLOSED", "CLOSED"]
    after = capture.event("select 42")
    assert after["result"] == "ERROR 2006 (HY000): Server has gone away" and after["began"] > rst.t + 2


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


@pytest.mark.parametrize("name", sorted(LOST_CLIENT))
def test_only_the_settings_of_the_story_were_changed(name):
    capture = Capture(name)
    calls = [event["call"] for event in capture.sidecar["events"]]
    changed = {call.split()[4] for call in calls if "alter system" in call}
    check = {"client_connection_check_interval"} if capture.path.stem in CHECKED else set()
    keepalive = {f"tcp_keepalives_{name}" for name in ("idle", "interval", "count")}
    limit = {"tcp_user_timeout"} if capture.path.stem == "dead_client_vanished_rows_limited" else set()
    assert changed == check | limit | (keepalive if capture.path.stem in ASKED | ROWS else set())


@pytest.mark.parametrize("name", sorted(LOST_CLIENT))
def test_a_second_session_waits_for_the_lock_of_the_lost_client(name):
    """While the DBA looks, the lost client's session exists and blocks the other one."""
    capture = Capture(name)
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


@pytest.mark.parametrize("name", sorted(KILLED))
def test_the_fin_of_a_killed_client_is_acknowledged_at_once_and_left_unread(name):
    capture = Capture(name)
    fin = capture.having("F", "client")[0]
    ack = next(frame for frame in capture.frames if frame.host == "server" and frame.t > fin.t)
    assert 0 <= fin.t - ended(capture) < 0.1 and ack.ack == fin.end and ack.t - fin.t < 0.1
    assert capture.event("ss -tno")["result"].startswith("CLOSE-WAIT 1 0 ")
    assert capture.states("server") == ["ESTAB", "CLOSE-WAIT", "CLOSED"]


def test_a_busy_backend_hears_of_a_killed_client_when_its_query_is_over():
    capture = Capture("dead_client_killed")
    query = capture.event("pg_sleep(8)")["t"]
    assert capture.event("'desk'")["t"] - query == pytest.approx(8.15, abs=0.15)
    (rst,) = capture.having("R")
    result = capture.frames[capture.frames.index(rst) - 1]
    assert (rst.host, result.host) == ("client", "server") and result.payload and 8 <= result.t - query < 8.3
    assert log(capture) == ["LOG:  unexpected EOF on client connection with an open transaction"]


def test_a_check_every_second_finds_a_killed_client_within_one():
    capture = Capture("dead_client_killed_checked")
    assert 0 < waited(capture) < 1.2
    fin = capture.having("F", "server")[0]
    assert fin.t > ended(capture) and not capture.having("R")
    assert log(capture) == ["FATAL:  connection to client lost"]


def test_a_check_alone_does_not_see_a_client_that_vanished():
    capture = Capture("dead_client_vanished_checked")
    assert waited(capture) is None
    refused = capture.event("'desk'")
    assert refused["result"].startswith("ERROR:  canceling statement due to lock timeout")
    assert 12 <= refused["t"] - refused["began"] < 12.5
    assert not [frame for frame in capture.frames if frame.t > ended(capture)], "the check sends nothing"
    assert capture.states("server") == ["ESTAB"] * 3 and log(capture) == ["nothing"]
    assert "timer:(keepalive,119min,0)" in capture.event("ss -tno")["result"]


@pytest.mark.parametrize("name", sorted(ASKED))
def test_the_servers_keepalive_asks_three_times_and_gives_up(name):
    capture = Capture(name)
    asked = capture.probes("server")
    since = max(silent_since(capture), *(f.t for f in capture.frames if f.payload))
    assert [round(probe.t - since) for probe in asked] == [2, 3, 4]
    (rst,) = capture.having("R")
    assert (rst.host, rst.flags, rst.seq) == ("server", "RA", asked[0].seq + 1)
    assert 5 <= rst.t - since < 5.4 and rst is capture.frames[-1]
    assert capture.states("server") == ["ESTAB", "ESTAB", "CLOSED"]


def test_keepalive_and_check_together_free_the_lock_after_keepalives_seconds():
    capture = Capture("dead_client_vanished_both")
    (rst,) = capture.having("R")
    assert 0 < capture.event("'desk'")["t"] - rst.t < 1.1, "the next check"
    assert 4.5 < waited(capture) < 6.2
    assert log(capture) == ["FATAL:  connection to client lost"]


def test_keepalive_alone_tells_linux_and_not_the_busy_backend():
    capture = Capture("dead_client_vanished_keepalive")
    query = capture.event("pg_sleep(10)")["t"]
    free = capture.event("'desk'")["t"]
    assert free - query == pytest.approx(10.15, abs=0.15) and free - capture.having("R")[0].t > 4
    assert log(capture) == [
        "LOG:  could not send data to client: Connection timed out",
        "FATAL:  connection to client lost",
    ]


def test_an_idle_backend_needs_no_check():
    capture = Capture("dead_client_vanished_idle")
    (rst,) = capture.having("R")
    assert 0 <= capture.event("'desk'")["t"] - rst.t < 0.2 and 4.5 < waited(capture) < 5.5
    assert log(capture) == [
        "LOG:  could not receive data from client: Connection timed out",
        "LOG:  unexpected EOF on client connection with an open transaction",
    ]


@pytest.mark.parametrize("name", sorted(ROWS))
def test_rows_in_flight_are_sent_again_and_keepalive_asks_nothing(name):
    capture = Capture(name)
    sent = [frame for frame in capture.frames if frame.host == "server" and frame.t > ended(capture)]
    assert {(frame.seq, frame.payload) for frame in sent} == {(sent[0].seq, sent[0].payload)}
    assert len(sent) >= 6 and sent[0].payload and not capture.having("R")
    shown = capture.event("ss -tno")["result"]
    assert shown.startswith(f"ESTAB 0 {len(sent[0].payload)} ") and "timer:(on," in shown


def test_check_and_keepalive_do_not_free_the_lock_while_rows_are_in_flight():
    capture = Capture("dead_client_vanished_rows")
    assert waited(capture) is None and log(capture) == ["nothing"]
    assert capture.states("server") == ["ESTAB"] * 3


def test_the_user_timeout_frees_it():
    capture = Capture("dead_client_vanished_rows_limited")
    sent = next(frame for frame in capture.frames if frame.host == "server" and frame.t > ended(capture))
    assert 6 <= capture.event("'desk'")["t"] - sent.t < 7
    assert capture.states("server") == ["ESTAB", "ESTAB", "CLOSED"]
    assert log(capture) == [
        "LOG:  could not receive data from client: Connection timed out",
        "LOG:  unexpected EOF on client connection with an open transaction",
    ]
