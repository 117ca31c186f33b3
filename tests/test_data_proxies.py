"""The captures of real proxies: what stored packets and sidecars must show on either leg."""

import re
from itertools import pairwise

import pytest

from stored import assert_it_names_its_recorder, assert_it_reads_back_whole, assert_tshark_finds_nothing_wrong
from tcplab.capture.capture import both_legs, read_capture
from tcplab.core.text import SECOND
from test_data import KEYS, STORED, Capture
from test_data_waiting import probes

POSTGRES = {"postgres", "psql"}
STORIES = {
    "proxy_client_gone": "haproxy",
    "proxy_database_gone": "haproxy",
    "proxy_database_gone_keepalive": "haproxy",
    "proxy_pgbouncer": "pgbouncer",
    "proxy_timeout_client": "haproxy",
    "proxy_timeout_client_checked": "haproxy",
    "proxy_timeout_server": "haproxy",
    "proxy_timeout_tunnel": "haproxy",
}
LOST = "server closed the connection unexpectedly"


@pytest.fixture(params=[f"{name}_{leg}" for name in STORIES for leg in ("front", "back")])
def capture(request):
    return Capture(STORED, request.param)


def legs(name):
    return Capture(STORED, f"{name}_front"), Capture(STORED, f"{name}_back")


def merged(name):
    return both_legs(*(read_capture(STORED / f"{name}_{leg}.pcap") for leg in ("front", "back")))


def log(front):
    """The termination state in HAProxy's one line about the session."""
    return re.search(r" postgres/db \d+/\d+/\d+ \d+ (\S\S) ", front.event("haproxy's log")["result"])[1]


def query(front):
    return front.event("psql -c")


def test_the_folder_holds_exactly_these_pairs():
    names = {f"{name}_{leg}" for name in STORIES for leg in ("front", "back")}
    for ending in ("pcap", "json"):
        assert {path.stem for path in STORED.glob(f"proxy_*_*.{ending}")} - {"proxy_legs"} == names


def test_sidecar_is_complete_and_names_its_recorder(capture):
    told, story = capture.sidecar, capture.path.stem.rpartition("_")[0]
    assert set(told) == KEYS
    assert 2 <= len(re.findall(r"[.](?: |$)", told["story"])) <= 4
    assert set(told["software"]) == POSTGRES | {STORIES[story]}
    assert all(re.fullmatch(r"\d+(\.\d+)+", each) for each in [told["linux"], *told["software"].values()])
    assert_it_names_its_recorder(capture, story)


def test_it_reads_back_as_one_connection_with_calls_and_states(capture):
    assert_it_reads_back_whole(capture)


def test_tshark_finds_nothing_wrong(capture):
    assert_tshark_finds_nothing_wrong(capture)


# What happened ---------------------------------------------------------------------------------


def test_the_clients_probes_are_answered_by_the_proxy_and_reach_no_further():
    front, back = legs("proxy_database_gone")
    sent = probes(front)
    assert len(sent) >= 5
    for probe in sent:
        answer = front.frames[front.frames.index(probe) + 1]
        assert (answer.host, answer.flags, answer.ack) == ("server", "A", probe.seq + 1)
    gaps = [round(later.t - earlier.t) for earlier, later in pairwise(sent)]
    assert set(gaps) == {2}
    assert not probes(back) and not probes(back, "server"), "nobody asks on the database's leg"
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
    sent = probes(back)
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
        sent = probes(leg)
        assert sent and all(leg.frames[leg.frames.index(probe) + 1].host == "server" for probe in sent), (
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
    asked = probes(back, "server")
    assert len(asked) >= 2
    for probe in asked:
        answer = back.frames[back.frames.index(probe) + 1]
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
    assert [round(probe.t - probes(back)[0].t) for probe in probes(back)] == [0, 1, 2]
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
