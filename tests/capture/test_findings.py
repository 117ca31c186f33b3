"""What a capture shows, held against what was done when it was recorded: parameters, outcomes, calls."""

import json
import subprocess
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

import tcplab
from conftest import need
from tcplab import cli
from tcplab.capture.capture import read_capture
from tcplab.capture.findings import CODES, diagnose, looks
from tcplab.capture.findings.report import diagnosis_lines, harmless
from tcplab.capture.findings.story import ENDS, PASS, WALK
from tcplab.capture.pcap import write_pcap
from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, Endpoint, Segment
from tcplab.core.text import MILLISECOND, SECOND
from tcplab.core.trace import Packet, Trace

ROOT = Path(__file__).parents[2]
STORED = ROOT / "data" / "captures"
CAPTURES = sorted(path.stem for path in STORED.glob("*.pcap"))


def sidecar(name):
    return json.loads((STORED / f"{name}.json").read_text(encoding="utf-8"))


def told(name):
    return diagnose(read_capture(STORED / f"{name}.pcap"))


def only(name, code, connection=0):
    """The one finding of this code."""
    (finding,) = (each for each in told(name).connections[connection].findings if each.code == code)
    return finding


def all_codes(name):
    return [sorted(each.code for each in connection.findings) for connection in told(name).connections]


def of_experiment(experiment):
    return [name for name in CAPTURES if sidecar(name).get("experiment") == experiment]


# --- the key: from what was done, never from what the program says ---


@pytest.mark.parametrize("name", of_experiment("keepalive"))
def test_keepalive_as_it_was_set(name):
    did, gave = sidecar(name)["parameters"], sidecar(name)["outcome"]
    if did["peer"] == "alive":
        finding = only(name, "keepalive")
        assert finding.facts["count"] == len(gave["probe_times_s"])
        assert all_codes(name) == [["keepalive"]]
    elif did["peer"] == "rebooted":
        assert only(name, "reset_by_server").facts["kind"] == "no_socket"
        assert all_codes(name) == [["reset_by_server"]]
        return
    else:
        finding = only(name, "keepalive_death")
        assert finding.facts["probes"] == len(gave["probe_times_s"])
        assert finding.facts["interval_s"] == pytest.approx(did["interval_s"], rel=0.08)
        assert only(name, "reset_by_client").facts["kind"] == "keepalive"
        assert all_codes(name) == [["keepalive_death", "reset_by_client"]]
    assert finding.facts["side"] == "client"
    assert finding.facts["idle_s"] == pytest.approx(gave["probe_times_s"][0], abs=0.05)


@pytest.mark.parametrize("name", of_experiment("dead_peer"))
def test_dead_peer(name):
    gave, facts = sidecar(name)["outcome"], only(name, "dead_peer").facts
    assert (facts["side"], facts["attempts"]) == ("client", gave["transmissions"])
    assert 0 < facts["waited_s"] < gave["detected_after_s"]
    assert all_codes(name) == [["dead_peer"]]


def test_a_firewall_that_forgot():
    did = sidecar("idle_firewall")["parameters"]
    finding = only("idle_firewall", "idle_then_dead")
    assert finding.facts["idle_s"] == pytest.approx(did["quiet_s"], abs=0.05)
    assert all_codes("idle_firewall") == [["dead_peer", "idle_then_dead"]]


def test_a_connect_that_nobody_answers():
    gave, facts = sidecar("unanswered_connect")["outcome"], only("unanswered_connect", "unanswered_syn").facts
    assert facts["attempts"] == len(gave["syn_times_s"]) and facts["schedule"] == "linear"
    assert only("nat_out_of_ports", "unanswered_syn").facts["schedule"] == "exponential"


@pytest.mark.parametrize("name", of_experiment("rst_in_window"))
def test_the_verdict_of_a_forged_reset(name):
    verdict, code = sidecar(name)["outcome"]["verdict"], "reset_by_server"
    code = {"challenged": "reset_challenged", "ignored": "reset_ignored"}.get(verdict, code)
    assert all_codes(name) == [[code]]
    if verdict != "accepted" and not sidecar(name)["parameters"]["at_sack_edge"]:
        did = sidecar(name)["parameters"]
        assert only(name, code).facts["offset"] == did["offset"]


@pytest.mark.parametrize("name", of_experiment("stale_reject"))
def test_a_reject_that_came_too_late(name):
    gave = sidecar(name)["outcome"]
    did = sidecar(name)["parameters"]
    (codes,) = all_codes(name)
    assert ("reset_ignored" in codes) == (gave["verdict"] == "ignored")
    assert ("reset_by_client" in codes) == (gave["verdict"] == "accepted")
    assert ("reset_by_server" in codes) == (gave["closed_after_s"] is not None and gave["alive_after_rst"])
    if gave["verdict"] == "ignored":
        assert only(name, "reset_ignored").facts["offset"] == -40 * did["in_flight"]


def test_ghosts():
    for name, code in (
        ("accept_queue", "cookie_ghost_suspected"),
        ("case_4", "cookie_ghost_suspected"),
        ("ghosts_half_open", "ghost_suspected"),
    ):
        codes = all_codes(name)
        assert sum(code in each for each in codes) == sidecar(name)["outcome"]["ghosts"]
    # These ghosts' clients wait in silence for a greeting: nothing of it is on the wire.
    assert sidecar("ghosts_forty_nodes")["outcome"]["ghosts"] > 0
    assert all_codes("ghosts_forty_nodes") == [[]] * 40


def test_a_queue_that_was_full_before_makes_connect_slow_and_no_ghost():
    assert all_codes("queue_full_before") == [[], [], [], ["slow_connect"]]


def test_one_slow_reader_among_many():
    stuck = [each for each in told("case_6").connections if "zero_window" in codes_of(each)]
    assert len(stuck) == 1
    (read,) = [event for event in sidecar("case_6")["events"] if event["call"].startswith("the report: recv")]
    (shut,) = [each for each in stuck[0].findings if each.code == "zero_window"]
    assert (
        shut.facts["side"] == "client" and shut.facts["stalled_s"] > 10 and shut.t < read["t"] * SECOND
    )  # a tcp_user_timeout of 10 s ends it


def test_a_slow_reader():
    facts = only("slow_reader", "zero_window").facts
    assert facts["stalled_s"] == pytest.approx(sidecar("slow_reader")["outcome"]["stalled_s"], abs=0.05)
    assert facts["side"] == "client"


CLOSED = (
    "handshake_and_close", "time_wait", "why_time_wait", "bind_or_connect",
    "bind_blocks_connect",
)  # fmt: skip


@pytest.mark.parametrize("name", CLOSED)
def test_who_closed_keeps_time_wait(name):
    closer = sidecar(name)["parameters"].get("closer", "client")
    for connection in told(name).connections:
        (finding,) = connection.findings
        assert finding.code == f"closed_by_{closer}" and connection.state == "closed"
        assert finding.facts == {"complete": True, "time_wait_on": closer}


def test_a_reset_at_the_exact_number_ends_time_wait():
    """As far as a capture shows: net.ipv4.tcp_rfc1337 decides, and it is 0 by default."""
    ((finding,),) = (each.findings for each in told("old_duplicate").connections)
    assert finding.facts == {"complete": True, "time_wait_on": None}


def test_without_time_wait_a_repeated_fin_is_answered_by_a_reset():
    assert sidecar("last_ack_reset")["outcome"]["old_end_answers"] == "RST"
    assert only("last_ack_reset", "reset_after_close").facts == {"side": "client", "kind": "no_socket"}
    assert only("last_ack_reset", "closed_by_client").facts["time_wait_on"] is None


def test_a_port_used_again():
    assert sidecar("bind_no_port")["parameters"]["ports"] == 6
    (last,) = [each for each in told("bind_no_port").connections if "port_reused" in codes_of(each)]
    facts = last.findings[0].facts
    assert last.number == 6 and facts["within_time_wait"]
    assert facts["after_s"] == pytest.approx(sidecar("bind_no_port")["parameters"]["wait_s"], abs=0.5)
    assert "port_reused" in all_codes("old_duplicate_believed")[1]


def codes_of(connection):
    return {finding.code for finding in connection.findings}


#: Pools and failovers whose server stops or restarts while the connection rests; the next request meets it.
RESTARTED = (
    "pool_engine", "pool_engine_pre_ping", "pool_psycopg", "pool_psycopg_check_all", "pool_psycopg_checked",
    "pool_psycopg_immediate", "pool_queue_fifo", "pool_queue_lifo", "failover_refused", "failover_role_aware",
    "failover_select_1", "failover_two_hosts",
)  # fmt: skip
#: What was done to a real database's connection (title and calls of the sidecar), and what that is called.
REAL = {
    "postgres_terminate_backend": {"closed_by_server", "half_closed", "reset_by_server"},
    "lesson_syn_rejected": {"refused"},
    "postgres_stop_fast": {"closed_by_server", "half_closed", "reset_by_server"},
    "postgres_kill9_backend": {"closed_by_server", "half_closed", "reset_by_server"},
    "postgres_kill9_postmaster": {"closed_by_server", "half_closed", "reset_by_server"},
    "postgres_terminate_backend_reading": {"closed_by_server"},
    "postgres_kill9_unread": {"reset_by_server"},
    "postgres_commit_lost": {"closed_by_server"},
    "postgres_closed_port": {"refused"},
    "postgres_idle_in_transaction": {"keepalive", "closed_by_client"},
    "postgres_long_query": {"keepalive", "closed_by_client"},
    "redis_shutdown": {"closed_by_server", "half_closed", "reset_by_server"},
    "redis_kill9": {"closed_by_server", "half_closed", "keepalive", "reset_by_server"},
    "redis_offline": {"keepalive_death", "reset_by_client"},
    "mariadb_kill": {"closed_by_server", "half_closed", "reset_by_server"},
    "mariadb_wait_timeout": {"reset_by_server"},
    "dead_client_killed": {"closed_by_client", "half_closed", "reset_by_client"},
    "dead_client_killed_checked": {"closed_by_client"},
    "dead_client_vanished_checked": set(),
    "dead_client_vanished_keepalive": {"keepalive_death", "reset_by_server"},
    "dead_client_vanished_both": {"keepalive_death", "reset_by_server"},
    "dead_client_vanished_idle": {"keepalive_death", "reset_by_server"},
    "dead_client_vanished_rows": {"dead_peer"},
    "dead_client_vanished_rows_limited": {"dead_peer"},
    "proxy_database_gone_front": {"keepalive"},
    "proxy_database_gone_back": set(),
    "proxy_database_gone_keepalive_back": {"keepalive_death", "reset_by_client"},
    "proxy_timeout_client_back": {"closed_by_client", "half_closed", "keepalive"},
    "proxy_timeout_server_back": {"closed_by_client", "keepalive", "reset_by_client"},
    "proxy_client_gone_front": {"keepalive_death", "reset_by_server"},
    "proxy_database_gone_keepalive_front": {"closed_by_server", "keepalive"},
    "proxy_timeout_server_front": {"closed_by_server", "keepalive"},
    "proxy_timeout_client_front": {"closed_by_client", "keepalive"},
    "proxy_timeout_client_checked_front": {"closed_by_server", "keepalive"},
    "proxy_timeout_client_checked_back": {"closed_by_client", "keepalive"},
    "proxy_timeout_tunnel_front": {"closed_by_client", "keepalive"},
    "proxy_timeout_tunnel_back": {"closed_by_client", "keepalive"},
    "proxy_client_gone_back": {"keepalive", "reset_by_client"},
    "proxy_pgbouncer_front": {"closed_by_server", "keepalive"},
    "proxy_pgbouncer_back": {"keepalive_death", "reset_by_client"},
    "lesson_defaults": {"closed_by_client"},
    "lesson_client_write": {"reset_by_server", "retransmission", "zero_window"},
    "redirected_port": set(),
    "proxy_legs": {"closed_by_server", "keepalive"},
    "fin_or_rst": {"closed_by_server", "reset_by_server"},
    "port_range": set(),
    "nat_out_of_ports": {"unanswered_syn"},
    **{name: {"closed_by_server", "reset_by_server"} for name in RESTARTED},
    **{name: {"dead_peer"} for name in ("pool_dropped", "pool_dropped_checked", "pool_dropped_pre_ping")},
    "failover_dead": {"dead_peer"},
    # A stopped PostgreSQL accepts nobody: its Linux does, and knows of the check's FIN long before.
    "health_check_stopped": {"closed_by_client", "half_closed", "probe_only"},
    "case_1": {"closed_by_client", "dead_peer", "idle_then_dead"},
    "case_2": {"dead_peer", "idle_then_dead"},
    "case_2_client": {"keepalive_death", "reset_by_client"},
    "case_3": {"keepalive_death", "reset_by_client"},
    "case_4": {"cookie_ghost_suspected", "dead_peer"},
    "case_5": {"closed_by_client", "reset_challenged", "reset_ignored"},
    "case_6": {"closed_by_server", "probe_only", "refused", "reset_by_client", "reset_by_server",
               "retransmission", "zero_window"},
}  # fmt: skip
#: Recordings that a test of their own looks at; those of some experiments have one by their parameters.
ALONE = {
    "accept_queue", "bind_no_port", "client_gone", "failover_two_hosts_checked", "old_duplicate",
    "failover_two_hosts_fenced", "failover_two_hosts_raised", "ghosts_forty_nodes", "ghosts_half_open",
    "idle_firewall", "last_ack_reset", "lesson_report_dropped", "lesson_report_reset", "mariadb_quit",
    "old_duplicate_believed", "queue_full_before", "slow_reader", "unanswered_connect",
}  # fmt: skip
#: What differs between kernels: four SYN repeats in 6.1, eight since 6.5; 6.18 does not reuse the port yet.
ON_KERNELS = {
    "syn_linear_timeouts_on_6_1": [["unanswered_syn"]],
    "syn_linear_timeouts_on_6_12": [["unanswered_syn"]],
    "syn_linear_timeouts_on_6_18": [["unanswered_syn"]],
    "tw_reuse_clock_early_on_6_1": [["closed_by_client"], ["port_reused"]],
    "tw_reuse_clock_early_on_6_12": [["closed_by_client"], ["port_reused"]],
    "tw_reuse_clock_early_on_6_18": [["closed_by_client"]],
}
BY_PARAMETERS = "keepalive", "dead_peer", "rst_in_window", "stale_reject"


def test_every_recording_has_its_key():
    """A new recording gets a line in REAL, or a test: what was done, and what that is called."""
    keyed = {
        *REAL,
        *ALONE,
        *CLOSED,
        *ON_KERNELS,
        *(name for each in BY_PARAMETERS for name in of_experiment(each)),
    }
    assert not set(CAPTURES) - keyed


@pytest.mark.parametrize("name", ON_KERNELS)
def test_what_differs_between_kernels(name):
    assert all_codes(name) == ON_KERNELS[name]
    if name.startswith("syn_"):
        ((finding,),) = (each.findings for each in told(name).connections)
        assert finding.facts["attempts"] == (5 if name.endswith("6_1") else 9)
        assert finding.facts["schedule"] == ("exponential" if name.endswith("6_1") else "linear")


@pytest.mark.parametrize("name", REAL)
def test_a_real_database(name):
    assert {code for codes in all_codes(name) for code in codes} == REAL[name]


QUITS = "mariadb_quit", *(f"failover_two_hosts_{each}" for each in ("checked", "fenced", "raised"))


@pytest.mark.parametrize("name", QUITS)
def test_a_quit_is_a_close_by_whoever_was_first(name):
    (codes,) = all_codes(name)
    assert codes in (["closed_by_client"], ["closed_by_server"])


def test_a_client_that_is_gone_is_found_by_the_servers_keepalive():
    did = sidecar("client_gone")
    assert did["outcome"]["how_noticed"] == "keepalive"
    # The capture was taken at the client, whose cable was out: the server's probes never came.
    assert all_codes("client_gone") == [[]]


def test_a_firewall_that_rejects_what_it_forgot():
    assert sidecar("lesson_report_reset")["parameters"]["expired"] == "reject"
    assert only("lesson_report_reset", "reset_by_server").facts["kind"] == "no_socket"


def test_a_firewall_that_drops_what_it_forgot():
    did = sidecar("lesson_report_dropped")["parameters"]
    facts = only("lesson_report_dropped", "keepalive_death").facts
    assert (facts["side"], facts["probes"]) == ("client", did["keepalive_probes"])
    assert facts["idle_s"] == pytest.approx(did["keepalive_idle_s"], rel=0.08)


def test_reset_kinds_of_real_databases():
    assert only("mariadb_wait_timeout", "reset_by_server").facts["kind"] == "abort"
    assert only("postgres_kill9_unread", "reset_by_server").facts["kind"] == "abort"
    assert only("redis_kill9", "reset_by_server").facts["kind"] == "no_socket"
    assert only("redis_offline", "reset_by_client").facts["kind"] == "keepalive"


#: Every way in which `fin_or_rst` ends a connection, and what that is called.
ENDINGS = {
    "close": {"closed_by_server", "reset_by_server"},
    "kill": {"closed_by_server", "reset_by_server"},
    "kill_unread": {"reset_by_server"},
    "kill_running": {"closed_by_server", "reset_by_server"},
    "linger0": {"reset_by_server"},
    "shutdown_write": {"closed_by_server", "half_closed"},
    "listener_killed": {"probe_only", "reset_by_server"},
    "port_closed": {"refused"},
    "reject": {"refused"},
    "drop": {"unanswered_syn"},
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending(ending, tmp_path):
    trace = tcplab.run(tcplab.FinOrRst.from_values({**tcplab.FinOrRst.quick, "ending": ending}))
    write_pcap(trace, tmp_path / "made.pcap")
    (connection,) = diagnose(read_capture(tmp_path / "made.pcap")).connections
    assert codes_of(connection) == ENDINGS[ending]


# --- what holds for every capture ---


@pytest.mark.parametrize("name", CAPTURES)
def test_what_is_passed_over_has_nothing_to_tell(name, monkeypatch):
    capture = read_capture(STORED / f"{name}.pcap")
    quick = diagnose(capture)
    assert len(quick) == len(capture.connections)
    monkeypatch.setattr("tcplab.capture.findings.looks", lambda table: [(WALK, None)] * len(quick))
    assert diagnose(capture) == quick


@pytest.mark.parametrize("name", CAPTURES)
def test_a_finding_names_its_own_frames_and_an_existing_lesson(name):
    capture = read_capture(STORED / f"{name}.pcap")
    for connection in diagnose(capture).connections:
        times = capture.table.t[capture.rows(connection.number)].tolist()
        at = dict(zip(capture.frames(connection.number), times, strict=True))
        for finding in connection.findings:
            own = [frame for frame in finding.frames if finding.code != "port_reused" or frame in at]
            assert own and set(own) <= set(at) and finding.t == at[own[0]]
            assert finding.says.endswith((".", ")")) and "  " not in finding.says


def test_every_lesson_exists():
    for _, lesson in CODES.values():
        assert (ROOT / "notebooks" / f"{lesson}.ipynb").exists()


# --- what no recording shows ---

CLIENT, SERVER = Endpoint("10.0.0.1", 40000), Endpoint("10.0.0.2", 27017)


def capture_of(tmp_path, *segments):
    """(milliseconds, who, flags, seq, ack, length) each."""
    ends = {"client": (CLIENT, SERVER), "server": (SERVER, CLIENT)}
    other = {"client": "server", "server": "client"}
    packets = [
        Packet(t * MILLISECOND, who, other[who], Segment(*ends[who], seq, ack, flags, 1000, length))
        for t, who, flags, seq, ack, length in segments
    ]
    packets = [replace(each, arrives=each.t) for each in packets]
    hosts = {"client": CLIENT.address, "server": SERVER.address}
    trace = Trace("made", "model", hosts=hosts, packets=packets, end=packets[-1].t + SECOND)
    write_pcap(trace, tmp_path / "made.pcap")
    return read_capture(tmp_path / "made.pcap")


HANDSHAKE = (
    (0, "client", SYN, 99, 0, 0),
    (1, "server", SYN | ACK, 499, 100, 0),
    (2, "client", ACK, 100, 500, 0),
)


def test_a_health_check(tmp_path):
    ends = (3, "client", FIN | ACK, 100, 500, 0), (4, "server", FIN | ACK, 500, 101, 0)
    capture = capture_of(tmp_path, *HANDSHAKE, *ends, (5, "client", ACK, 101, 501, 0))
    (connection,) = diagnose(capture).connections
    assert codes_of(connection) == {"probe_only", "closed_by_client"}
    assert (connection.service, connection.state) == ("MongoDB", "closed")


def test_a_health_check_that_answers_the_syn_ack_with_a_reset(tmp_path):
    """As HAProxy's does: the ACK that it owes goes out with the RST."""
    capture = capture_of(tmp_path, *HANDSHAKE[:2], (2, "client", RST | ACK, 100, 500, 0))
    (connection,) = diagnose(capture).connections
    assert codes_of(connection) == {"probe_only", "reset_by_client"}


def test_probes_of_a_capture_that_began_later(tmp_path):
    probes = [(t, "client", ACK, 100, 500, 0) for t in (0, 5000, 10000)]
    capture = capture_of(tmp_path, *probes, (15000, "client", RST | ACK, 101, 500, 0))
    (connection,) = diagnose(capture).connections
    assert codes_of(connection) >= {"midstream", "keepalive_death"}


def depths(capture):
    return [depth for depth, _ in looks(capture.table)]


def test_a_healthy_connection_is_passed_over_and_one_odd_byte_is_not(tmp_path):
    talk = (3, "client", PSH | ACK, 100, 500, 40), (4, "server", PSH | ACK, 500, 140, 90)
    healthy = *HANDSHAKE, *talk, (5, "client", ACK, 140, 590, 0)
    assert depths(capture_of(tmp_path, *healthy)) == [PASS]
    probed = capture_of(tmp_path, *healthy, (9000, "client", ACK, 139, 590, 0))
    assert depths(probed) == [WALK]
    unanswered = capture_of(tmp_path, *healthy, (9000, "client", PSH | ACK, 140, 590, 1))
    assert depths(unanswered) == [WALK]
    not_yet = capture_of(tmp_path, *healthy, (90, "client", PSH | ACK, 140, 590, 1))
    assert depths(not_yet) == [PASS]
    late = capture_of(
        tmp_path, *healthy, (9000, "client", ACK, 140, 590, 0), (9090, "client", ACK, 140, 590, 9)
    )
    assert depths(late) == [WALK]
    close = (9, "client", FIN | ACK, 140, 590, 0), (10, "server", FIN | ACK, 590, 141, 0)
    closed = capture_of(tmp_path, *healthy, *close, (11, "client", ACK, 141, 591, 0))
    assert depths(closed) == [ENDS]


# --- the command ---


def test_the_command_keeps_its_contract(capsys):
    assert cli.main(["diagnose", str(STORED / "keepalive.pcap"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed.keys() == {"packets", "warnings", "connections", "story", "incidents"}
    assert printed["warnings"] == [] and printed["packets"] == 11
    (incident,) = printed["incidents"]
    assert incident.keys() == {"number", "from", "to", "says", "connections", "unaware", "cause"}
    assert incident["cause"].keys() == {"code", "certainty", "says", "looks_same", "cannot_tell"}
    assert incident["unaware"] == []
    assert printed["story"] == incident["says"] and incident["connections"] == [0]
    assert 0 <= incident["from"] < incident["to"] < 11
    (connection,) = printed["connections"]
    assert connection.keys() == {"client", "server", "service", "state", "findings", "life"}
    assert connection["life"].keys() == {
        "from", "to", "open", "closed", "half_closed_s", "health_check", "broke", "doing", "last_message"
    }  # fmt: skip
    for finding in connection["findings"]:
        assert finding.keys() == {"code", "frames", "t", "says", "facts", "lesson", "wall", "filter"}
        assert finding["wall"].endswith("+00:00") and datetime.fromisoformat(finding["wall"]).year > 2000


def test_the_filter_of_a_finding_shows_its_frames():
    finding = told("case_1").connections[0].findings[0]
    fields = "-T", "fields", "-e", "frame.number"
    command = [need("tshark"), "-r", STORED / "case_1.pcap", "-Y", finding.filter, *fields]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert [int(each) for each in shown] == sorted(finding.frames)


def test_one_file_of_several_that_is_no_capture(capsys, tmp_path):
    wrong = tmp_path / "no\x1b[31m.pcap"
    wrong.write_bytes(b"hello")
    files = [str(STORED / "keepalive.pcap"), str(wrong)]
    assert cli.main(["diagnose", *files, "--json"]) == 2
    out, err = capsys.readouterr()
    good, bad = json.loads(out)
    assert [good["file"], bad["file"]] == files and "error" in bad and "error" not in good
    assert err.count("\n") == 1 and "\x1b" not in err
    assert cli.main(["diagnose", str(wrong)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1


def test_many_connections_begin_with_a_summary_worst_first():
    lines = list(diagnosis_lines(told("accept_queue")))
    assert lines[0] == "accept_queue.pcap: 55 TCP packets, 8 connections."
    counts = [line.split()[:2] for line in lines[1:4]]
    assert counts == [["5", "cookie_ghost_suspected"], ["5", "dead_peer"], ["3", "nothing"]]


def test_nothing_reaches_a_terminal_that_it_could_obey():
    assert harmless("a\x1b[31m\n\u202eb") == "a\\x1b[31m\\n\\u202eb"
