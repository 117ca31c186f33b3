"""What holds for every capture in data/captures: files, sidecar, recorder, packets, model.

`RECORDED` is the whole list. A new recording is a name in it.
"""

import json
import re
from dataclasses import dataclass

import pytest

from recordings.captures import CHECKS, KEYS, STORED, Capture, assert_it_reads_back_whole
from tcplab import agreement, recording, run
from tcplab.experiments import EXPERIMENTS
from tcplab.registry import find_experiment as find

PSYCOPG, SQLALCHEMY = "postgres psycopg psycopg_pool", "postgres psycopg sqlalchemy"
OF_A_RUN = {"experiment", "parameters", "outcome"}


@dataclass(frozen=True)
class Recorded:
    """Captures that one script records with the same software."""

    by: str
    software: str
    names: str
    #: What their sidecars have besides `KEYS`.
    more: frozenset[str] = frozenset()


RECORDED = (
    Recorded(
        "record_postgres.py",
        "postgres psql",
        "postgres_closed_port postgres_kill9_backend postgres_kill9_postmaster postgres_kill9_unread "
        "postgres_stop_fast postgres_terminate_backend postgres_terminate_backend_reading",
    ),
    Recorded("record_commit.py", "postgres psql", "postgres_commit_lost"),
    Recorded("record_postgres_idle.py", "postgres psql", "postgres_idle_in_transaction postgres_long_query"),
    Recorded("record_mariadb.py", "mariadbd mariadb", "mariadb_kill mariadb_quit mariadb_wait_timeout"),
    Recorded("record_redis.py", "redis-server redis-cli", "redis_kill9 redis_offline redis_shutdown"),
    Recorded(
        "record_dead_client.py",
        "postgres psql",
        "dead_client_killed dead_client_killed_checked dead_client_vanished_both "
        "dead_client_vanished_checked dead_client_vanished_idle dead_client_vanished_keepalive "
        "dead_client_vanished_rows dead_client_vanished_rows_limited",
    ),
    Recorded("lesson_postgres.py", "postgres psql", "lesson_client_write lesson_defaults"),
    Recorded("record_health_check.py", "postgres psql", "health_check_stopped"),
    Recorded("record_out_of_ports.py", "nft", "nat_out_of_ports redirected_port"),
    Recorded(
        "record_pools.py",
        PSYCOPG,
        "pool_dropped pool_dropped_checked pool_psycopg pool_psycopg_check_all pool_psycopg_checked "
        "pool_psycopg_immediate",
        frozenset({"requests"}),
    ),
    Recorded(
        "record_pools.py",
        SQLALCHEMY,
        "pool_dropped_pre_ping pool_engine pool_engine_pre_ping pool_queue_fifo pool_queue_lifo",
        frozenset({"requests"}),
    ),
    Recorded(
        "record_failover.py",
        PSYCOPG,
        "failover_dead failover_refused failover_role_aware failover_select_1 failover_two_hosts "
        "failover_two_hosts_checked failover_two_hosts_fenced failover_two_hosts_raised",
        frozenset({"requests", "failed"}),
    ),
    Recorded(
        "record_proxies.py",
        "postgres psql haproxy",
        "proxy_client_gone_front proxy_client_gone_back proxy_database_gone_front proxy_database_gone_back "
        "proxy_database_gone_keepalive_front proxy_database_gone_keepalive_back proxy_timeout_client_front "
        "proxy_timeout_client_back proxy_timeout_client_checked_front proxy_timeout_client_checked_back "
        "proxy_timeout_server_front proxy_timeout_server_back proxy_timeout_tunnel_front "
        "proxy_timeout_tunnel_back",
    ),
    Recorded("record_proxies.py", "postgres psql pgbouncer", "proxy_pgbouncer_front proxy_pgbouncer_back"),
    Recorded("record_clinic.py", "postgres psql nft", "case_1 case_2 case_2_client"),
    Recorded("record_clinic.py", "postgres psql", "case_3 case_5"),
    Recorded("record_clinic.py", "postgres psql haproxy", "case_6"),
    Recorded("record_clinic_queue.py", "tcplab python", "case_4", frozenset(OF_A_RUN)),
    Recorded("tcplab record", "tcplab python", " ".join(EXPERIMENTS), frozenset(OF_A_RUN)),
    Recorded(
        "lesson_recordings.py",
        "tcplab python",
        "lesson_cable_out_idle lesson_cable_out_sending lesson_cable_out_user_timeout lesson_idle_alive "
        "lesson_interval_above_idle lesson_keepalive_and_data lesson_keepalive_rebooted lesson_reject_alone "
        "lesson_reject_refreshed lesson_reject_stale lesson_report_dropped lesson_report_reset "
        "lesson_rst_beyond lesson_rst_exact lesson_rst_old lesson_rst_sack_edge lesson_syn_rejected "
        "lesson_timeout_capped lesson_user_timeout_idle",
        frozenset(OF_A_RUN),
    ),
    Recorded(
        "ghost_recordings.py",
        "tcplab python",
        "ghosts_forty_nodes ghosts_half_open queue_full_before",
        frozenset(OF_A_RUN),
    ),
    Recorded(
        "port_recordings.py",
        "tcplab python",
        "bind_blocks_connect bind_no_port last_ack_reset old_duplicate old_duplicate_believed",
        frozenset(OF_A_RUN),
    ),
    Recorded(
        "kernel_recordings.py",
        "tcplab python QEMU",
        "syn_linear_timeouts_on_6_1 syn_linear_timeouts_on_6_12 syn_linear_timeouts_on_6_18 "
        "tw_reuse_clock_early_on_6_1 tw_reuse_clock_early_on_6_12 tw_reuse_clock_early_on_6_18",
        frozenset(OF_A_RUN),
    ),
)
NAMES = {name: family for family in RECORDED for name in family.names.split()}
RUNS = [name for name, family in NAMES.items() if family.more == OF_A_RUN and name != "case_4"]


@pytest.fixture(params=NAMES)
def capture(request):
    return Capture(request.param)


def test_the_folder_holds_exactly_these_captures():
    assert sum(len(family.names.split()) for family in RECORDED) == len(NAMES), "one family each"
    assert {path.stem for path in STORED.glob("*.pcap")} == set(NAMES)
    assert {path.name.removesuffix(".run.json") for path in STORED.glob("*.run.json")} == set(RUNS)
    beside = {path.stem for path in STORED.glob("*.json") if "." not in path.stem}
    assert beside - {"oracle_kill_session"} == set(NAMES)


def test_a_case_that_was_not_run_has_no_packets_and_names_captures_in_its_place():
    sidecar = json.loads((STORED / "oracle_kill_session.json").read_text("utf-8"))
    assert set(sidecar) == {"title", "story", "run", "why_not", "instead"} and not sidecar["run"]
    readme = (STORED.parent / "README.md").read_text("utf-8").split("### Told, and not run here")[1]
    assert not list(STORED.glob("oracle_kill_session*.pcap")) and "| `oracle_kill_session` |" in readme
    assert sidecar["instead"] and set(sidecar["instead"]) <= set(NAMES)


@pytest.mark.parametrize("check", CHECKS)
def test_it(check, capture):
    CHECKS[check](capture)


def test_its_sidecar_has_these_keys_and_this_software(capture):
    family = NAMES[capture.name]
    assert set(capture.sidecar) == KEYS | family.more
    assert set(capture.sidecar["software"]) == set(family.software.split())


def test_its_recorder_exists_and_knows_it(capture):
    by, command = NAMES[capture.name].by, capture.sidecar["command"]
    if by == "tcplab record":
        assert command == f"tcplab record {capture.name}"
        return
    python, script, *names = command.split()
    assert python in ("python3", ".venv/bin/python") and script == f"data/captures/{by}"
    source = (STORED / by).read_text("utf-8")
    if capture.name == "case_4":
        assert not names
    elif names:
        (name,) = names
        assert name == re.sub(r"_on_\d+_\d+$", "", capture.name) and f'"{name}"' in source
    else:
        story = re.sub("_client$" if by == "record_clinic.py" else "_(front|back)$", "", capture.name)
        assert f"def {story}(" in source


def test_it_reads_back_whole(capture):
    assert_it_reads_back_whole(capture)


@pytest.mark.parametrize("name", RUNS)
def test_the_model_says_what_linux_did(name):
    linux, sidecar = recording(name), Capture(name).sidecar
    experiment = find(linux.experiment).from_values(linux.parameters)
    kernel = re.search(r"_on_(\d+)_(\d+)$", name)
    assert linux.bench == (f"linux:{kernel[1]}.{kernel[2]}" if kernel else "linux")
    assert linux.is_virtual == (linux.ticks is not None)
    assert linux.experiment == sidecar["experiment"]
    assert linux.parameters == sidecar["parameters"]
    assert linux.outcome == experiment.outcome(linux) == sidecar["outcome"]
    assert run(experiment).outcome.keys() == linux.outcome.keys()
    result = agreement(linux)
    assert result.agrees, result.sentence
    assert result.linux == sidecar["linux"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiments_recording_is_its_quick_preset(name):
    sidecar, experiment = Capture(name).sidecar, EXPERIMENTS[name]
    assert (sidecar["experiment"], sidecar["title"]) == (experiment.name, experiment.title)
    assert sidecar["parameters"] == experiment.from_values(experiment.quick).values()
    assert sidecar["story"].endswith(".") and len(sidecar["story"]) > 80
