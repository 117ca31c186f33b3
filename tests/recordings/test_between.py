"""What the captures between client and database show: pools, failover, proxies, NAT."""

import re
from itertools import pairwise

import pytest

from recordings.captures import STORED, Capture, legs, merged
from tcplab.capture.capture import read_capture
from tcplab.capture.findings import diagnose
from tcplab.core.segment import ACK, SYN
from tcplab.core.text import SECOND

POOLS = sorted(path.stem for path in STORED.glob("pool_*.pcap"))
RESTARTED = [name for name in POOLS if "dropped" not in name]
FAILOVERS = sorted(path.stem for path in STORED.glob("failover_*.pcap"))
SIZE, BEFORE = 10, 20
FAREWELL = b"terminating connection due to"
OLD, NEW = "10.0.0.2", "10.0.0.4"
READ_ONLY = "ReadOnlySqlTransaction: cannot execute INSERT in a read-only transaction"
LIFETIME, NAME_MOVES = 6, 4
LOST = "server closed the connection unexpectedly"


def requests(name):
    return Capture(name).sidecar["requests"]


def after(name):
    """What became of the requests after the break: (seconds, result) in their order."""
    return [(each["t"] - each["began"], each["result"]) for each in requests(name)[BEFORE:]]


def errors(name):
    return [result for _, result in after(name) if result != "ok"]


def close_wait(capture):
    return [int(e["result"]) for e in capture.sidecar["events"] if "close-wait" in e["call"]]


@pytest.mark.parametrize("name", POOLS)
def test_requests_come_one_after_another_and_all_is_well_before_the_break(name):
    told = requests(name)
    assert [each["number"] for each in told] == list(range(1, len(told) + 1))
    for earlier, later in pairwise(told):
        assert earlier["began"] <= earlier["t"] <= later["began"]
    assert {each["result"] for each in told[:BEFORE]} == {"ok"}
    ports = [each["port"] for each in told[:BEFORE]]
    in_turn = len(set(ports)) == SIZE and ports[:SIZE] == ports[SIZE:]
    assert in_turn != (name == "pool_queue_lifo"), "first in first out: each in its turn"
    assert in_turn or len(set(ports)) == 1, "last in first out: always the same"


@pytest.mark.parametrize("name", RESTARTED)
def test_every_connection_hears_of_the_restart_at_once_and_nobody_reads_it(name):
    capture = Capture(name)
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
    assert close_wait(Capture(name))[1] == 0


def test_last_in_first_out_one_error_and_nine_dead_stay():
    assert [result == "ok" for _, result in after("pool_queue_lifo")] == [False] + [True] * 14
    assert close_wait(Capture("pool_queue_lifo")) == [SIZE, SIZE - 1]


def test_an_engine_learns_from_one_error():
    results = [result for _, result in after("pool_engine")]
    assert "AdminShutdown" in results[0] and set(results[1:]) == {"ok"}
    assert close_wait(Capture("pool_engine"))[1] == 0


def test_pre_ping_saves_every_request():
    assert not errors("pool_engine_pre_ping")
    assert all(seconds < 0.1 for seconds, _ in after("pool_engine_pre_ping"))
    # Seen on the wire: two questions for each request, the first of them the test.
    asked = [f for f in Capture("pool_engine_pre_ping").frames if f.payload and f.host == "client"]
    plain = [f for f in Capture("pool_engine").frames if f.payload and f.host == "client"]
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
    checked = Capture("pool_psycopg_check_all").event("pool.check()")
    assert checked["t"] - checked["began"] < 0.5


def test_a_silent_drop_costs_each_request_the_user_timeout():
    dead, well = after("pool_dropped")[:SIZE], after("pool_dropped")[SIZE:]
    assert {result for _, result in dead} == {
        "OperationalError: consuming input failed: could not receive data from server: Connection timed out"
    }
    assert all(2.3 < seconds < 2.6 for seconds, _ in dead) and {result for _, result in well} == {"ok"}
    capture = Capture("pool_dropped")
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
    capture = Capture("health_check_stopped")
    assert [capture.event(call)["result"] for call in ("connect()", "close()")] == ["ok", "ok"]
    assert "timeout expired" in capture.event("psql")["result"]
    assert capture.states("server") == ["ESTAB", "CLOSE-WAIT"], "nobody took it, and nobody closes it"
    assert not any(frame.payload for frame in capture.frames)
    (connection,) = diagnose(read_capture(capture.path)).connections
    assert "probe_only" in [finding.code for finding in connection.findings]


def results(name, sql="insert"):
    """What the requests of this kind got that ended after the failure, in their order."""
    told = Capture(f"failover_{name}").sidecar
    return [each["result"] for each in told["requests"] if each["sql"] == sql and each["t"] > told["failed"]]


def outage(name):
    """Seconds from the failure to the first write that the new primary took."""
    told = Capture(f"failover_{name}").sidecar
    writes = (each for each in told["requests"] if each["sql"] == "insert")
    return next(each["t"] for each in writes if each["result"] == f"ok: {NEW}") - told["failed"]


@pytest.mark.parametrize("name", FAILOVERS)
def test_before_the_failure_the_old_primary_answers_and_at_the_end_the_new_one(name):
    capture = Capture(name)
    told = capture.sidecar
    before = [each["result"] for each in told["requests"] if each["t"] < told["failed"]]
    assert before and set(before) == {f"ok: {OLD}"}
    assert {each["result"] for each in told["requests"][-2:]} == {f"ok: {NEW}"}
    assert all(frame.host in ("client", "server") for frame in capture.frames)


def test_a_check_that_asks_for_life_lets_the_pool_write_to_a_standby_until_its_age():
    told = Capture("failover_select_1").sidecar
    refused = [each for each in told["requests"] if each["result"] == READ_ONLY]
    moved = next(event["t"] for event in told["events"] if "the name db" in event["call"])
    # The replacement led to the old address, and so it stayed after the name had moved.
    assert len({each["port"] for each in refused}) == 1 and refused[-1]["began"] > moved + 0.5
    assert f"ok: {OLD}" in results("select_1", "select")
    assert NAME_MOVES + 1 < outage("select_1") < LIFETIME + 5


def test_a_check_for_the_role_refuses_no_write_but_its_pool_rests():
    assert set(results("role_aware")) == {f"ok: {NEW}"}
    assert outage("role_aware") > NAME_MOVES


def test_what_only_fails_its_check_stays_in_the_pool_until_its_age():
    assert set(results("two_hosts_raised")) == {f"ok: {NEW}"}
    assert outage("two_hosts_raised") > LIFETIME - 2 > outage("two_hosts_checked")


def test_two_addresses_need_no_name():
    assert outage("two_hosts") < NAME_MOVES - 1
    assert READ_ONLY not in results("two_hosts")


def test_two_addresses_do_not_help_a_connection_that_lives():
    assert results("two_hosts_fenced").count(READ_ONLY) > 5
    assert LIFETIME - 3 < outage("two_hosts_fenced") < LIFETIME + 1
    capture = Capture("failover_two_hosts_fenced")
    assert capture.event("pg_is_in_recovery")["result"] == "f"
    assert capture.event("show transaction_read_only")["result"].endswith("on")
    # Nothing but the pool itself ends that connection: its Terminate comes before every FIN.
    (terminate,) = [frame for frame in capture.having("P", "client") if frame.payload == b"X\0\0\0\4"]
    assert terminate.t <= min(frame.t for frame in capture.having("F"))
    assert not capture.having("R", "server")


def test_two_addresses_and_a_check_for_the_role_need_neither_name_nor_age():
    assert set(results("two_hosts_checked")) == {f"ok: {NEW}"}
    assert outage("two_hosts_checked") < NAME_MOVES


def test_a_dead_primary_costs_a_user_timeout_and_a_connect_timeout():
    assert any("Connection timed out" in result for result in results("dead"))
    assert 3 + 2 < outage("dead") < 3 + 2 + 2
    question = [
        frame for frame in Capture("failover_dead").having("P", "client") if b"insert" in frame.payload
    ][-1]
    repeats = [
        frame for frame in Capture("failover_dead").frames if frame.seq == question.seq and frame.payload
    ]
    assert len(repeats) > 3


def test_a_refused_connect_is_tried_again_until_the_name_moves():
    told = [*results("refused"), *results("refused", "select")]
    assert len([result for result in told if "AdminShutdown" in result]) == 1
    assert NAME_MOVES < outage("refused") < NAME_MOVES + 9


def log(front):
    """The termination state in HAProxy's one line about the session."""
    return re.search(r" postgres/db \d+/\d+/\d+ \d+ (\S\S) ", front.event("haproxy's log")["result"])[1]


def query(front):
    return front.event("psql -c")


def test_the_clients_probes_are_answered_by_the_proxy_and_reach_no_further():
    front, back = legs("proxy_database_gone")
    sent = front.probes()
    assert len(sent) >= 5
    for probe in sent:
        answer = front.after(probe)
        assert (answer.host, answer.flags, answer.ack) == ("server", "A", probe.seq + 1)
    gaps = [round(later.t - earlier.t) for earlier, later in pairwise(sent)]
    assert set(gaps) == {2}
    assert not back.probes() and not back.probes("server"), "nobody asks on the database's leg"
    gone = back.event("ip address del")["began"]
    assert not [frame for frame in back.frames if frame.t > gone]
    assert query(front)["result"] == "still waits after 14 s"
    assert front.event("haproxy's log")["result"] == "nothing"
    for leg in (front, back):
        assert leg.states("client") == ["ESTAB"] * 2
    parameters = front.event("psql's connection string")["result"]
    assert parameters.endswith("keepalives_idle=2 keepalives_interval=1 keepalives_count=3")


def test_the_proxys_own_keepalive_ends_both_legs_after_five_seconds():
    front, back = legs("proxy_database_gone_keepalive")
    sent = back.probes()
    heard = [frame.t for frame in back.frames if frame.host == "server"][-1]
    assert [round(probe.t - heard) for probe in sent] == [2, 3, 4]
    (rst,) = back.having("R")
    assert rst is back.frames[-1] and (rst.host, rst.flags) == ("client", "RA") and 5 <= rst.t - heard < 5.5
    assert [fin.host for fin in front.having("F")] == ["server", "client"] and not front.having("R")
    assert LOST in query(front)["result"] and 5 <= query(front)["t"] < 6
    assert log(front) == "SD"
    assert back.states("server")[-1] == "ESTAB", "the database's half stays"


def test_timeout_server_cuts_a_silent_query_although_every_probe_was_answered():
    front, back = legs("proxy_timeout_server")
    for leg in (front, back):
        sent = leg.probes()
        assert sent and all(leg.after(probe).host == "server" for probe in sent), (
            "keepalive runs and is answered"
        )
    (asked,) = [frame for frame in back.frames if b"pg_sleep" in frame.payload and frame.host == "client"]
    fin = back.having("F", "client")[0]
    assert 2.9 < fin.t - asked.t < 3.3
    assert LOST in query(front)["result"] and query(front)["t"] < 4
    assert log(front) == "sD"
    looked = [e["result"] for e in back.sidecar["events"] if "pg_stat_activity" in e["call"]]
    assert looked == ["active|PgSleep", "no rows"], "the database finishes the query, for nobody"


def test_timeout_tunnel_replaces_both_timers():
    front, _ = legs("proxy_timeout_tunnel")
    assert {"timeout client 3s", "timeout server 3s"} < set(front.event("haproxy.cfg")["result"].splitlines())
    assert "exit status 0" in query(front)["result"] and 6 <= query(front)["t"] < 6.5
    assert log(front) == "--"


def test_timeout_client_half_closes_and_an_answer_still_passes():
    front, back = legs("proxy_timeout_client")
    (fin, *_) = back.having("F")
    assert fin.host == "client" and 2.9 < fin.t < 3.3
    answer = next(frame for frame in back.frames if frame.t > fin.t and frame.payload)
    assert answer.host == "server" and 6 <= answer.t < 6.5
    assert "exit status 0" in query(front)["result"] and LOST not in query(front)["result"]
    assert back.states("server") == ["ESTAB", "CLOSE-WAIT"]
    assert log(front) == "cD"


def test_the_same_half_close_ends_the_query_when_postgresql_checks_for_its_client():
    front, back = legs("proxy_timeout_client_checked")
    fins = back.having("F")
    assert [fin.host for fin in fins] == ["client", "server"] and 2.9 < fins[0].t < 3.3
    assert LOST in query(front)["result"] and 3 <= query(front)["t"] < 4.5
    assert log(front) == "cD"


def test_a_vanished_client_is_the_proxys_to_notice():
    front, back = legs("proxy_client_gone")
    asked = back.probes("server")
    assert len(asked) >= 2
    for probe in asked:
        answer = back.after(probe)
        assert (answer.host, answer.ack) == ("client", probe.seq + 1), "the proxy answers for the client"
    gone = front.event("ip address del")["began"]
    assert [frame.host for frame in front.frames if frame.t > gone] == ["server"] * 3
    (rst,) = front.having("R")
    assert rst is front.frames[-1] and 6 <= rst.t < 6.5, "4 + 2 x 1"
    ended = back.frames[-1]
    assert (ended.host, ended.flags) == ("client", "RA") and log(front) == "CD"
    trace = merged("proxy_client_gone")
    to_client, to_database = [p for p in trace.packets if p.segment.letters == "RA"]
    assert (to_client.receiver, to_database.receiver) == ("client", "database")
    assert 0 <= to_database.t - to_client.t < 0.2 * SECOND
    looked = [e["result"] for e in back.sidecar["events"] if "pg_stat_activity" in e["call"]]
    assert looked == ["active|PgSleep", "no rows"]


def test_pgbouncer_says_so_in_postgresqls_own_protocol():
    front, back = legs("proxy_pgbouncer")
    assert [round(probe.t - back.probes()[0].t) for probe in back.probes()] == [0, 1, 2]
    assert back.having("R")[-1] is back.frames[-1]
    said = query(front)["result"]
    assert said.startswith("FATAL:  server conn crashed?") and LOST in said
    assert any(b"server conn crashed?" in frame.payload for frame in front.frames)
    lines = front.event("pgbouncer's log")["result"].splitlines()
    assert {line.split()[0] for line in lines} == {"LOG", "WARNING"}
    assert all("server conn crashed?" in line for line in lines)


def test_the_proxy_has_two_sockets_of_which_only_one_is_the_databases():
    _, back = legs("proxy_database_gone_keepalive")
    sockets = next(e for e in back.sidecar["events"] if e["host"] == "client" and e["call"] == "ss -tno")
    to_client, to_database = sorted(sockets["result"].splitlines(), key=lambda line: line.split()[4])
    assert "10.0.0.3:5432 10.0.0.1:" in to_client and "timer" not in to_client
    assert to_database.endswith(")") and "10.0.0.2:5432 timer:(keepalive," in to_database


def read(name):
    """The first connection, and the calls by what they called."""
    capture = Capture(name)
    trace = read_capture(capture.path).connection(0)
    return trace, {event["call"]: event for event in capture.sidecar["events"]}


def test_a_nat_without_a_port_looks_like_a_dropped_syn():
    trace, called = read("nat_out_of_ports")
    assert [p.segment.flags & (SYN | ACK) for p in trace.packets] == [SYN] * 3
    assert [round((p.t - trace.start) / SECOND) for p in trace.packets] == [0, 1, 3]
    seventh = called["connect(), the seventh"]
    assert seventh["result"].startswith("ETIMEDOUT") and 7 <= seventh["t"] - seventh["began"] < 8
    assert re.fullmatch(r"6 of \d{5}", called["ss: local ports in use"]["result"])
    seen = called["ss: its clients"]["result"].split()
    assert {int(end.rpartition(":")[2]) for end in seen} == set(range(60001, 60007))
    assert {end.rpartition(":")[0] for end in seen} == {"10.0.0.3"}


def test_a_redirected_port_serves_the_same_local_ports_again():
    trace, called = read("redirected_port")
    assert {p.segment.destination.port for p in trace.packets if p.sender == "client"} == {3307}
    assert called["connect() to 3306, the seventh"]["result"].startswith("EADDRNOTAVAIL")
    assert [called[f"connect() to 3307, number {n}"]["result"] for n in range(1, 7)] == ["ok"] * 6
    assert called["ss: its ports"]["result"].split() == [str(port) for port in range(60001, 60007)]
    seen = {int(end.rpartition(":")[2]) for end in called["ss: its clients"]["result"].split()}
    assert len(seen) == 12 and len(seen - set(range(60001, 60007))) == 6, "rewritten on the server"
