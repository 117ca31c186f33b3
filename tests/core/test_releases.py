"""Which rules a Linux version has: each on both sides of the version that changed it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplab.core.releases import LISTED, NEWEST, UnknownRelease, known_release, release

#: A rule, the last version with the old value and the first with the new one.
CHANGES = [
    ("syn_linear_timeouts", "6.4", None, "6.5", 4),
    ("user_timeout_exact", "4.18", False, "4.19", True),
    ("user_timeout_exact_for_probes", "5.10", False, "5.11", True),
    ("rst_at_sack_edge", "4.6", False, "4.7", True),
    ("rst_before_fin", "4.10", False, "4.11", True),
    ("challenge_ack_per_socket_limit", "4.6", False, "4.7", True),
    ("pingpong_threshold", "5.0", 1, "5.1", 3),
    ("pingpong_threshold", "5.18", 3, "5.19", 1),
    ("full_accept_queue_drops_syn", "4.9", False, "4.10", True),
    ("syn_queue_rule", "4.2", "power_of_two", "4.4", "backlog"),
    ("syn_queue_rule", "6.12", "backlog", "6.13", "backlog_plus_one"),
    ("somaxconn", "5.3", 128, "5.4", 4096),
    ("last_local_port", "4.1", 61000, "4.2", 60999),
    ("ports_by_parity", "4.5", False, "4.6", True),
    ("bind_shares_when_full", "4.11", True, "4.12", False),
    ("autobind_reuse", "5.6", False, "5.7", True),
    ("bind_address_no_port", "4.1", False, "4.2", True),
    ("bound_port_recovers", "6.17", False, "6.18", True),
    ("tw_reuse", "4.18", 0, "4.19", 2),
    ("tw_reuse_clock", "4.18", "second_after_next", "4.19", "next_second"),
    ("tw_reuse_clock", "6.13", "next_second", "6.14", "delay"),
]


@pytest.mark.parametrize(("rule", "last", "old", "first", "new"), CHANGES, ids=lambda value: str(value))
def test_each_rule_changes_with_its_version(rule, last, old, first, new):
    assert (getattr(release(last), rule), getattr(release(first), rule)) == (old, new)


def test_a_release_names_its_version_and_its_tick():
    for version in LISTED:
        rules = release(version)
        assert rules.tick == 4_000_000 and rules.version == version


def test_listed_versions_stand_in_order_and_the_newest_is_the_default():
    numbers = [release(version).number for version in LISTED]
    assert numbers == sorted(set(numbers))
    assert release() == release(NEWEST) == release(LISTED[-1])


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("5.14.0", (5, 14)),
        ("6.1.140-1", (6, 1)),
        ("5.14.0-427.13.1.el9_4.x86_64", (5, 14)),
        ("4.18.0-553.el8_10.x86_64", (4, 18)),
        ("6.18.0-rc3+", (6, 18)),
        (" 6.12 ", (6, 12)),
        ("6.6.87.2-microsoft-standard-WSL2", (6, 6)),
    ],
)
def test_what_uname_says_is_understood(written, number):
    assert release(written).number == number


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("", "not a Linux version; use one of 3.10, "),
        ("newest", "not a Linux version"),
        ("6", "not a Linux version"),
        ("6.x", "not a Linux version"),
        ("-6.1", "not a Linux version"),
        ("3.9", "older than 3.10"),
        ("2.6.32", "older than 3.10"),
        ("23.10", "no such Linux version; the newest that tcplab knows is"),
    ],
)
def test_what_is_no_version_is_said_in_the_rest_of_a_sentence(written, says):
    with pytest.raises(UnknownRelease) as said:
        release(written)
    assert str(said.value).startswith(says) and str(said.value).endswith(".")


def test_versions_compare_as_numbers_not_as_words():
    assert release("4.9").older_than("4.10")
    assert not release("4.10").older_than("4.9")
    assert not release("6.5").older_than("6.5")


@given(st.integers(3, 7), st.integers(0, 30), st.integers(0, 400))
def test_the_last_number_changes_no_rule(major, minor, patch):
    if (major, minor) < (3, 10):
        return
    plain, patched = release(f"{major}.{minor}"), release(f"{major}.{minor}.{patch}")
    names = [name for name in plain.__dataclass_fields__ if name != "version"]
    assert [getattr(plain, name) for name in names] == [getattr(patched, name) for name in names]


@pytest.mark.parametrize(
    ("named", "ruled"), [("4.9", "4.9"), ("", NEWEST), ("a router's", NEWEST), ("2.6", NEWEST)]
)
def test_a_trace_of_an_unknown_linux_has_the_newest_rules(named, ruled):
    assert known_release(named) == release(ruled)
