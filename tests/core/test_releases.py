"""Which rules a Linux version has: each on both sides of the version that changed it."""

import os
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcplab.core.releases import (
    LISTED,
    NEWEST,
    NEWEST_PATCH,
    RULES,
    UnknownRelease,
    full_version,
    known_release,
    release,
)

#: A rule, the last version with the old value and the first with the new one.
CHANGES = [
    ("syn_linear_timeouts", "6.4", None, "6.5", 4),
    ("user_timeout_exact", "4.18", False, "4.19", True),
    ("user_timeout_exact_for_probes", "5.9", False, "5.11", True),
    ("rst_at_sack_edge", "4.7", False, "4.8", True),
    ("rst_before_fin", "4.10", False, "4.11", True),
    ("challenge_ack_per_socket_limit", "4.6", False, "4.7", True),
    ("pingpong_threshold", "5.0", 1, "5.1", 3),
    ("pingpong_threshold", "5.17", 3, "5.19", 1),
    ("full_accept_queue_drops_syn", "4.9", False, "4.10", True),
    ("syn_queue_rule", "4.2", "power_of_two", "4.4", "backlog"),
    ("syn_queue_rule", "6.11", "backlog", "6.13", "backlog_plus_one"),
    ("somaxconn", "5.3", 128, "5.4", 4096),
    ("last_local_port", "4.1", 61000, "4.2", 60999),
    ("ports_by_parity", "4.5", False, "4.6", True),
    ("bind_shares_when_full", "4.10", True, "4.11", False),
    ("autobind_reuse", "5.6", False, "5.7", True),
    ("bind_address_no_port", "4.1", False, "4.2", True),
    ("bound_port_recovers", "6.16", False, "6.18", True),
    ("has_rto_max", "6.14", False, "6.15", True),
    ("invalid_ratelimit", "3.19", 0, "4.0", 500),
    ("unsent_ack_challenged", "6.17", False, "7.1", True),
    ("exact_rst_in_syn_recv", "7.0", False, "7.2", True),
    ("syn_repeated_at_once", "5.5", False, "5.6", True),
    ("overhang_refused", "6.16", False, "6.17", True),
    ("fin_needs_no_window", "6.9", False, "6.10", True),
    ("fin_needs_no_window", "6.16", True, "6.17", False),
    ("fin_needs_no_window", "6.17", False, "7.0", True),
    ("filled_hole_acknowledged", "4.18", False, "4.19", True),
    ("payload_share_measured", "6.5", False, "6.6", True),
    ("tells_no_memory", "6.5", False, "6.6", True),
    ("timestamp_counts_s", "6.6", 2_073_600, "6.7", 2147),
    ("old_ack_unanswered", "6.13", False, "6.14", True),
    ("has_pingpong_sysctl", "6.6", False, "6.7", True),
    ("largest_rmem", "6.15", 6 << 20, "6.16", 32 << 20),
    ("connect_begins_even", "4.1", False, "4.2", True),
    ("has_local_port_range", "6.2", False, "6.3", True),
    ("tw_reuse", "4.18", 0, "4.19", 2),
    ("tw_reuse_clock", "4.18", "second_after_next", "4.19", "next_second"),
    ("tw_reuse_clock", "6.13", "next_second", "6.14", "delay"),
    ("closed_window_gives_up", "6.5", "silence", "6.6.40", "no_progress"),
    ("closed_window_gives_up", "6.6.40", "no_progress", "6.10", "user_timeout"),
    ("spurious_syn_undone", "5.1", False, "5.2", True),
]


@pytest.mark.parametrize(("rule", "last", "old", "first", "new"), CHANGES, ids=lambda value: str(value))
def test_each_rule_changes_with_its_mainline_version(rule, last, old, first, new):
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
        ("6.1@33", "no kernel has 33 ticks a second; after @ one of 100, 250, 300, 1000"),
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


RULED = st.sampled_from(sorted(RULES))
#: A stable tree that some rule was backported to, or another.
TREES = st.sampled_from(
    sorted({tree for rule in RULES.values() for each in rule.changes for tree in each.stable})
)
NUMBERS = st.tuples(st.integers(3, 7), st.integers(0, 30)).filter(lambda number: number >= (3, 10))


def written(number, patch):
    return "{}.{}.{}".format(*number, patch)


@given(st.one_of(TREES, NUMBERS), st.integers(0, 400), st.integers(0, 400))
def test_a_stable_tree_only_goes_on(tree, one, other):
    """What a patch level has changed, the later ones keep: a value that has gone doesn't come back."""
    earlier, later = sorted((one, other))
    for name, rule in RULES.items():
        values = [getattr(release(written(tree, patch)), name) for patch in (0, earlier, later, 400)]
        assert sum(a != b for a, b in pairwise(values)) < max(2, len(set(values))), (name, values)
        plain = rule.at(tree, 0)
        took = [each for each in rule.changes if tree in each.stable]
        assert values[0] == plain or any(each.stable[tree] == 0 for each in took)
        assert values[-1] == (took[-1].value if took else plain)


@given(st.one_of(TREES, NUMBERS), st.integers(0, 400))
def test_a_newer_patch_level_than_any_known_has_the_newest_rules(tree, more):
    plain = release("{}.{}".format(*tree))
    newer = release(written(tree, plain.patch + more))
    assert newer.patch == plain.patch + more
    assert [getattr(newer, name) for name in RULES] == [getattr(plain, name) for name in RULES]


@given(NUMBERS, NUMBERS)
def test_a_mainline_version_keeps_what_an_earlier_one_changed(one, other):
    earlier, later = sorted((one, other))
    for rule in RULES.values():
        held = [each for each in rule.changes if each.holds(earlier, 0)]
        assert all(each.holds(later, 0) for each in held)


def test_every_change_says_what_it_changed_and_where_from():
    for name, rule in RULES.items():
        values = [rule.first, *(each.value for each in rule.changes)]
        assert rule.changes and all(a != b for a, b in pairwise(values)), name
        assert [each.since for each in rule.changes] == sorted(each.since for each in rule.changes), name
        for each in rule.changes:
            assert re.fullmatch("([0-9a-f]{12})?", each.commit), name
            assert not each.stable or each.commit, f"{name}: a backport is of a commit"
            for tree, patch in each.stable.items():
                assert tree < each.since and patch > 0, f"{name}: {tree} is not before {each.since}"
                assert patch <= NEWEST_PATCH[tree], f"{name}: {written(tree, patch)} is newer than the newest"


BACKPORTS = [
    ("user_timeout_of_probes", "5.0.21", "elapsed", "5.1", "unanswered"),
    ("user_timeout_of_probes", "5.4.92", "unanswered", "5.4.93", "elapsed"),
    ("user_timeout_of_probes", "5.10.10", "unanswered", "5.10.11", "elapsed"),
    ("user_timeout_of_probes", "5.9.16", "unanswered", "5.11", "elapsed"),
    ("closed_window_gives_up", "6.1.52", "silence", "6.1.53", "no_progress"),
    ("closed_window_gives_up", "6.1.99", "no_progress", "6.1.100", "user_timeout"),
    ("closed_window_gives_up", "5.4.279", "silence", "5.4.280", "user_timeout"),
    ("user_timeout_exact_for_probes", "5.4.95", False, "5.4.96", True),
    ("user_timeout_exact_for_probes", "5.10.12", False, "5.10.13", True),
    ("short_loss_timers", "4.14.327", False, "4.14.328", True),
    ("short_loss_timers", "6.1.59", False, "6.1.60", True),
    ("short_loss_timers", "6.5.8", False, "6.5.9", True),
    ("syn_queue_rule", "5.10.233", "backlog", "5.10.234", "backlog_plus_one"),
    ("syn_queue_rule", "6.1.124", "backlog", "6.1.125", "backlog_plus_one"),
    ("syn_queue_rule", "6.12.9", "backlog", "6.12.10", "backlog_plus_one"),
    ("pingpong_threshold", "5.10.134", 3, "5.10.135", 1),
    ("pingpong_threshold", "5.18.15", 3, "5.18.16", 1),
    ("fin_needs_no_window", "6.18.15", False, "6.18.16", True),
    ("unsent_ack_challenged", "6.18.32", False, "6.18.33", True),
    ("exact_rst_in_syn_recv", "6.18.41", False, "6.18.42", True),
    ("exact_rst_in_syn_recv", "6.12.104", False, "6.12.105", True),
    ("has_local_port_range", "6.1.31", False, "6.1.32", True),
    ("bound_port_recovers", "6.17.7", False, "6.17.8", True),
    ("full_accept_queue_drops_syn", "4.4.177", False, "4.4.178", True),
]


@pytest.mark.parametrize(("rule", "last", "old", "first", "new"), BACKPORTS, ids=str)
def test_patch_levels_count(rule, last, old, first, new):
    assert (getattr(release(last), rule), getattr(release(first), rule)) == (old, new)


@pytest.mark.parametrize(
    ("named", "patch"),
    [
        ("6.1", 192), ("6.1.0", 0), ("6.1.140", 140), ("6.1.140-1", 140), ("6.1.0-56-cloud-amd64", 192),
        ("6.18.0-rc3+", 0), ("6.18-rc3", 0), ("6.18.44-fc-v657", 44),
        ("6.6.87.2-microsoft-standard-WSL2", 87),
        ("5.14.0-427.13.1.el9_4.x86_64", 21), ("6.8.0-45-generic", 0), ("6.1.99999", 99999), ("7.9", 0),
    ],
)  # fmt: skip
def test_which_patch_level_a_name_has(named, patch):
    assert release(named).patch == patch


@pytest.mark.parametrize(
    ("named", "hz"),
    [
        ("6.12", 250), ("6.12@1000", 1000), ("6.1.0-56-cloud-amd64", 250),
        ("5.14.0-427.el9.x86_64", 1000),
        ("4.18.0-553.el8_10.x86_64", 1000), ("6.17.5-200.fc42.x86_64", 1000), ("6.8.0-45-generic", 250),
        ("6.11.0-9-generic", 1000), ("6.8.0-45-lowlatency", 1000), ("6.8.0-45-generic@100", 100),
    ],
)  # fmt: skip
def test_hz_is_the_distributions_or_what_is_said(named, hz):
    assert release(named).tick == 1_000_000_000 // hz


@pytest.mark.parametrize(
    ("named", "built", "signature", "hz", "full"),
    [
        ("6.1.0-56-cloud-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-1 (2026-11-02)", "", 250, "6.1.192"),
        ("5.10.0-39-amd64", "#1 SMP Debian 5.10.262-1 (2026-10-30)", "", 0, "5.10.262"),
        ("6.8.0-45-generic", "#45-Ubuntu SMP", "Ubuntu 6.8.0-45.45-generic 6.8.12\n", 0, "6.8.12"),
        ("6.11.0-9-generic", "#9-Ubuntu SMP", "Ubuntu 6.11.0-9.9-generic 6.11.0\n", 1000, "6.11.0@1000"),
        ("5.14.0-427.el9.x86_64", "#1 SMP", "", 1000, "5.14.0-427.el9.x86_64"),
        ("6.18.44-fc-v657", "#1 SMP PREEMPT_DYNAMIC @0", "", 250, "6.18.44"),
        ("6.18.44-mine", "#1 SMP", "", 1000, "6.18.44@1000"),
        ("6.1.140", "#1 SMP Debian 5.10.1-1", "", 77, "6.1.140"),
        ("6.6.87.2-microsoft-standard-WSL2", "#1 SMP", "", 0, "6.6.87"),
        ("a router's", "", "", 250, "a router's"),
    ],
)  # fmt: skip
def test_the_running_kernel_says_its_patch_level_somewhere(named, built, signature, hz, full):
    assert full_version(named, built, signature, hz) == full
    assert known_release(full).tick == 1_000_000_000 // (hz if hz in (100, 250, 300, 1000) else 250)


def test_the_rules_of_this_kernel_are_found():
    said = os.uname()
    assert release(full_version(said.release, said.version)).number == release(said.release).number


@pytest.mark.parametrize(
    ("named", "ruled"), [("4.9", "4.9"), ("", NEWEST), ("a router's", NEWEST), ("2.6", NEWEST)]
)
def test_a_trace_of_an_unknown_linux_has_the_newest_rules(named, ruled):
    assert known_release(named) == release(ruled)


def test_every_rule_is_in_the_table_of_changes():
    assert {rule for rule, *_ in CHANGES} | {rule for rule, *_ in BACKPORTS} == set(RULES)
