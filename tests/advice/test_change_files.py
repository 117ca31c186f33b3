"""What to change in somebody's files: where the value is, beside its like, or in a file of its own."""

import pytest

from tcplab.advice import advise, read
from tcplab.advice.advice import Remedy
from tcplab.advice.change_files import changed_files, diffs, suggested, with_remedies, without_secrets
from tcplab.advice.race import race
from tcplab.advice.topology_file import examples, load_topology

FILES = {
    "application.properties": "spring.datasource.url=jdbc:postgresql://db/shop?connectTimeout=10&ssl=true\n"
    "spring.datasource.hikari.maximum-pool-size=30\n"
    "spring.datasource.hikari.connection-timeout=5000  # ms\n"
    "spring.datasource.password=hunter2",
    "pgbouncer.ini": "[pgbouncer]\nmax_client_conn = 500\ntcp_keepidle = 0 ; the kernel's\n",
    "90-tcp.conf": "net.ipv4.tcp_retries2 = 15",
    "haproxy.cfg": "defaults\n    timeout client 1m\n    timeout server 1m",
}


def changes(**values):
    """Changes as an advice makes them, by setting."""
    from tcplab.advice.environment import known_setting
    from tcplab.advice.settings import Change

    return [Change(known_setting(key), key, value, None, "a reason") for key, value in values.items()]


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("pgjdbc.connectTimeout", 5, "shop?connectTimeout=5&ssl=true"),
        ("pgjdbc.tcpKeepAlive", True, "shop?connectTimeout=10&tcpKeepAlive=true&ssl=true"),
        ("hikaricp.connectionTimeout", 3000, "spring.datasource.hikari.connection-timeout=3000  # ms"),
        ("hikaricp.keepaliveTime", 60000, "spring.datasource.hikari.keepaliveTime=60000"),
        ("pgbouncer.tcp_keepidle", 30, "tcp_keepidle = 30 ; the kernel's"),
        ("pgbouncer.tcp_user_timeout", 45000, "tcp_user_timeout = 45000"),
        ("linux.net.ipv4.tcp_retries2", 7, "net.ipv4.tcp_retries2 = 7"),
        ("haproxy.timeout client", 90_000, "    timeout client 90000ms"),
    ],
)  # fmt: skip
def test_a_value_is_changed_where_it_is_or_written_like_its_neighbour(key, value, line):
    own = changes(**{key: value})
    after = changed_files(FILES, own)
    assert set(after) == set(FILES)
    assert any(line in each for text in after.values() for each in text.splitlines())
    assert read(after).environment.settings[key] == value
    # Nothing else moves: one line goes or changes, one comes.
    [patch] = diffs(FILES, own).values()
    body = [each for each in patch.splitlines() if not each.startswith(("---", "+++"))]
    assert sum(each.startswith("+") for each in body) == 1
    assert sum(each.startswith("-") for each in body) <= 1


def test_what_no_file_has_becomes_a_file_of_its_own():
    patch = diffs(FILES, changes(**{"postgresql.tcp_keepalives_idle": 60}))
    assert "--- /dev/null\n+++ postgresql.conf" in patch["postgresql.conf (new)"]
    assert "+tcp_keepalives_idle = 60" in patch["postgresql.conf (new)"]
    assert diffs(FILES, []) == {}


def test_the_value_of_a_variable_is_on_its_own_line():
    yaml = {"deployment.yaml": "env:\n- name: SPRING_DATASOURCE_HIKARI_MAXIMUM_POOL_SIZE\n  value: '80'"}
    after = changed_files(yaml, changes(**{"hikaricp.maximumPoolSize": 30}))
    assert after["deployment.yaml"].endswith("  value: '30'")


def test_no_password_is_in_a_patch():
    given = {
        **FILES,
        "urls.txt": "jdbc:mysql://u:hunter3@db/x?password=hunter4&connectTimeout=9000\nPGPASSWORD=hunter5",
    }
    clean = without_secrets(read(given).files, given)
    assert "hunter" not in str(clean)
    assert "hunter" not in str(diffs(clean, changes(**{"connector_j.connectTimeout": 5})))
    assert clean["pgbouncer.ini"] == FILES["pgbouncer.ini"].rstrip("\n")


@pytest.mark.parametrize("name", examples())
def test_the_changed_files_say_what_was_proposed(name):
    topology = load_topology(examples()[name])
    remedies = suggested(topology.environment, advise(topology.environment).remedies)
    own = [change for remedy in remedies for change in remedy.changes]
    after = changed_files(topology.texts, own)
    again = read({f"{name}.txt": text for name, text in after.items()}, start=topology.environment)
    for change in own:
        assert again.environment.settings.get(change.key) == change.value, change.key


def test_the_fewest_remedies_leave_nothing_that_others_would_mend():
    env = load_topology(examples()["java_aws"]).environment
    offered = advise(env).remedies
    few = suggested(env, offered)
    assert 0 < len(few) < len(offered)
    left = {lane.key for lane in race(with_remedies(env, few)).broken}
    assert left == {"failover"}
    for remedy in few:
        assert isinstance(remedy, Remedy)
        without = [each for each in few if each is not remedy]
        assert len(race(with_remedies(env, without)).broken) > len(left)
