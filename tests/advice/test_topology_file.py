"""A topology in a repository: what its TOML says, what is accepted until when, and the examples' lanes."""

from datetime import date
from pathlib import Path

import pytest

import tcplab.advice
from tcplab.advice.race import race
from tcplab.advice.topology_file import Topology, judge, load_topology, read_topology
from tcplab.core.knobs import ParameterError

EXAMPLES = Path(tcplab.advice.__file__).with_name("examples")
TODAY = date(2026, 12, 1)
#: Of each example: the lanes that are broken, and those that live or end in time.
EXPECTED = {
    "java_aws": (
        {
            "silent_query": "never",
            "server_dies_idle": "too late",
            "server_dies_waiting": "never",
            "server_dies_sending": "too late",
            "failover": "too late",
            "pool_exhausted": "never",
            "client_dies": "too late",
        },
        {"idle_session": "lives", "connect_nowhere": "in time"},
    ),
    "python_kubernetes": (
        {
            "server_dies_idle": "too late",
            "server_dies_waiting": "too late",
            "server_dies_sending": "too late",
            "pool_exhausted": "too late",
            "client_dies": "too late",
        },
        {
            "idle_session": "in time",
            "silent_query": "lives",
            "failover": "not known",
            "connect_nowhere": "in time",
        },
    ),
    "oracle_onprem": (
        {
            "server_dies_idle": "too late",
            "server_dies_waiting": "never",
            "server_dies_sending": "too late",
            "pool_exhausted": "never",
            "client_dies": "too late",
        },
        {
            "idle_session": "lives",
            "silent_query": "lives",
            "failover": "not known",
            "connect_nowhere": "in time",
        },
    ),
    "redis_azure": (
        {
            "idle_session": "too late",
            "server_dies_idle": "too late",
            "server_dies_waiting": "too late",
            "server_dies_sending": "too late",
            "client_dies": "too late",
        },
        {"failover": "not known", "connect_nowhere": "in time"},
    ),
    "go_google_cloud": (
        {
            "server_dies_idle": "too late",
            "server_dies_waiting": "too late",
            "server_dies_sending": "too late",
            "connect_nowhere": "too late",
            "pool_exhausted": "too late",
            "client_dies": "too late",
            "ports": "too late",
        },
        {"idle_session": "lives", "silent_query": "lives", "failover": "not known"},
    ),
    "node_haproxy": (
        {
            "silent_query": "too late",
            "server_dies_idle": "too late",
            "server_dies_waiting": "too late",
            "server_dies_sending": "too late",
            "pool_exhausted": "too late",
            "client_dies": "too late",
        },
        {"idle_session": "lives", "failover": "not known", "connect_nowhere": "in time"},
    ),
}


def read(text, **files):
    return read_topology(text, lambda name: files[name.replace(".", "_")])


def judged(topology, today=TODAY):
    return judge(topology, race(topology.environment), today)


HEAD = '[want]\noutage = "60 s"\n'
APPLICATION = '[[hop]]\napplication = "C"\ndriver = "libpq"\n'
DATABASE = '[[hop]]\ndatabase = "postgresql"\n'


def test_every_example_has_its_lanes_here():
    assert {path.stem for path in EXAMPLES.glob("*.toml")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_breaks_where_it_should(name):
    topology = load_topology(EXAMPLES / f"{name}.toml")
    broken, others = EXPECTED[name]
    lanes = race(topology.environment)
    assert {lane.key: lane.verdict for lane in lanes.broken} == broken
    assert {lane.key: lane.verdict for lane in lanes.lanes if lane.key not in broken} == others
    assert judged(topology).exit_code(is_strict=False) == bool(broken)


def test_the_numbers_and_units_of_an_example():
    env = load_topology(EXAMPLES / "java_aws.toml").environment
    assert (env.driver, env.pool, env.proxies, env.instances, env.surge) == (
        "pgjdbc", "hikaricp", ("pgbouncer",), 8, 0.25
    )  # fmt: skip
    assert env.settings["hikaricp.maxLifetime"] == 1_800_000
    assert env.settings["pgjdbc.connectTimeout"] == 10
    assert (env.outage_s, env.longest_silent_query_s, env.connects_per_s) == (60, 900, 2)
    assert [(box.name, box.idle_s) for leg in env.legs for box in leg.middleboxes] == [
        ("AWS NLB", 350), ("EC2 connection tracking", 432_000)
    ]  # fmt: skip


def test_an_acceptance_ends():
    topology = load_topology(EXAMPLES / "java_aws.toml")
    [line] = judged(topology).accepted
    assert line.startswith("· failover (leg 2) 7,890 s > 60 s") and "until 2027-03-31" in line
    later = judged(topology, date(2027, 4, 1))
    assert not later.accepted
    assert any("was accepted until 2027-03-31" in line for line in later.broken)


def test_what_is_not_known_is_broken_only_in_strict_mode():
    holds = '[[hop]]\napplication = "C"\ndriver = "libpq"\nset.driver = { tcp_user_timeout = "20 s", '
    holds += "keepalives_idle = 5, keepalives_interval = 3, keepalives_count = 3, connect_timeout = 5 }\n"
    server = '[[hop]]\ndatabase = "postgresql"\n'
    server += "set = { tcp_keepalives_idle = 5, tcp_keepalives_interval = 3, tcp_keepalives_count = 3 }\n"
    found = judged(read(HEAD + holds + server))
    assert found.broken == () and found.unknown == ("? failover not known: give [want] promotion",)
    assert (found.exit_code(is_strict=False), found.exit_code(is_strict=True)) == (0, 1)


def test_a_count_can_break_it_and_be_accepted():
    many = APPLICATION.replace('"libpq"\n', '"libpq"\ninstances = 300\n') + DATABASE
    found = judged(read(HEAD + many))
    assert any(line.startswith("✗ too few places at PostgreSQL server") for line in found.broken)
    accept = '[[accept]]\nsituation = "counts"\nwhy = "a pool comes"\nuntil = 2027-01-01\n'
    assert any("a pool comes" in line for line in judged(read(HEAD + many + accept)).accepted)


def test_the_repositorys_files_are_read_and_win_no_argument():
    with_file = '[[hop]]\ndatabase = "postgresql"\nread = ["postgresql.conf"]\n'
    conf = "tcp_keepalives_idle = 60\nno_such_setting = 1\n"
    topology = read(HEAD + APPLICATION + with_file, postgresql_conf=conf)
    assert topology.environment.settings == {"postgresql.tcp_keepalives_idle": 60}
    assert topology.texts == {"postgresql.conf": conf}
    [line] = topology.not_used
    assert line.startswith("postgresql.conf:2: no_such_setting: ")
    other = with_file + "set = { tcp_keepalives_idle = 30 }\n"
    with pytest.raises(ParameterError, match=r"30 here and 60 in postgresql.conf; write override = true"):
        read(HEAD + APPLICATION + other, postgresql_conf=conf)
    meant = read(HEAD + APPLICATION + other + "override = true\n", postgresql_conf=conf)
    assert meant.environment.settings["postgresql.tcp_keepalives_idle"] == 30


def test_a_box_by_its_numbers():
    box = '[[hop]]\nbox = "our firewall"\nidle = "1 h"\nthen = "reset both ends"\nsees = "data"\n'
    [middlebox] = read(APPLICATION + box + DATABASE).environment.legs[0].middleboxes
    assert (middlebox.name, middlebox.idle_s, middlebox.expired, middlebox.kind) == (
        "our firewall", 3600, "reset_both", "layer7"
    )  # fmt: skip


WRONG = {
    "schema = 2\n": "schema = 2 is not 1",
    "x = 1\n": "a topology has no 'x'",
    "[want\n": "this is not TOML",
    "": r"there is no \[\[hop\]\]",
    APPLICATION: "there is no hop with a database",
    DATABASE: "the application is the first hop",
    APPLICATION + DATABASE + '[[hop]]\nproxy = "haproxy"\n': "comes after the database",
    APPLICATION + '[[hop]]\nwire = "x"\n': "a hop begins with 'wire'",
    APPLICATION + '[[hop]]\nbox = "thing"\n' + DATABASE: "is not in the catalogue: give its idle time",
    APPLICATION + '[[hop]]\nbox = "aws_nlb"\nthen = "hangs"\n' + DATABASE: "'hangs' is not one of drop",
    APPLICATION + '[[hop]]\ndatabase = "postgres"\n': "'postgres' is not in the catalogue; did you mean",
    APPLICATION + DATABASE + "set = { max_conections = 1 }\n": "did you mean max_connections",
    APPLICATION + DATABASE + 'set = { max_connections = "many" }\n': "is no number in connections",
    APPLICATION + "set.pool.size = 3\n" + DATABASE: r"set.pool is of no product; there is set.driver",
    APPLICATION + "shared = true\n" + DATABASE: "shared = True, but libpq",
    APPLICATION + "instances = 'x'\n" + DATABASE: "can't be read: write it as 8",
    "[want]\nidel = 3\n" + APPLICATION + DATABASE: r"\[want\] has no 'idel'; did you mean idle",
    APPLICATION + DATABASE + "[[accept]]\nsituation = 'rain'\n": "'rain' is not one of idle_session",
    APPLICATION
    + DATABASE
    + "[[accept]]\nsituation = 'ports'\nwhy = 'x'\nuntil = 3\n": "until must be a date",
    APPLICATION + DATABASE + "[[accept]]\nsituation = 'ports'\nuntil = 2027-01-01\n": "why is missing",
    APPLICATION + DATABASE + "where = 'far'\n": "where = 'far' is not \"same host\"",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_is_one_sentence(text):
    with pytest.raises(ParameterError, match=WRONG[text]) as mistake:
        read(text)
    assert "\n" not in str(mistake.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"^none.toml: none.toml can't be read: No such file"):
        load_topology(tmp_path / "none.toml")
    (tmp_path / "a.toml").write_text(APPLICATION + DATABASE + 'read = ["gone.conf"]\n')
    with pytest.raises(ParameterError, match=r"^a.toml: gone.conf can't be read"):
        load_topology(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ParameterError, match="is not a text file"):
        load_topology(tmp_path / "b.toml")


def test_a_topology_without_acceptances_accepts_nothing():
    topology = read(APPLICATION + DATABASE)
    assert isinstance(topology, Topology) and topology.accepts("failover", TODAY) is None


#: Worked out by hand: lane, the timer that decides, seconds.
BY_HAND = {
    "python_kubernetes": [("server_dies_waiting", "TCP keepalive", 7200 + 9 * 75)],
    "oracle_onprem": [("client_dies", "Oracle Net keepalive", 10 * 60 + 10 * 6)],
    "redis_azure": [("client_dies", "redis-server keepalive", 300 + 3 * 100)],
    "go_google_cloud": [
        # A query of 20 minutes has no context deadline: what is left is the sidecar's keepalive, 30/30/9.
        ("server_dies_waiting", "Cloud SQL Auth Proxy keepalive", 30 + 9 * 30),
    ],
    "node_haproxy": [
        ("silent_query", "HAProxy timeout client", 60), ("server_dies_waiting", "HAProxy timeout client", 60),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_an_example_s_winners_by_hand(name):
    lanes = race(load_topology(EXAMPLES / f"{name}.toml").environment)
    for key, winner, heard in BY_HAND[name]:
        assert (lanes[key].winner, lanes[key].heard_s) == (winner, heard)


def test_the_examples_files_are_read_and_used_to_the_last_line():
    for name in EXPECTED:
        topology = load_topology(EXAMPLES / f"{name}.toml")
        assert topology.not_used == ()
    oracle = load_topology(EXAMPLES / "oracle_onprem.toml")
    assert oracle.environment.settings["oracle.SQLNET.EXPIRE_TIME"] == 10
    assert set(oracle.texts) == {"oracle_onprem/tnsnames.ora", "oracle_onprem/sqlnet.ora"}
