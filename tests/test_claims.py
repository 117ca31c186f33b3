"""What differs between versions: each claim shows its rule, and the record is what kernels gave."""

import json
import re
from pathlib import Path

import pytest

from tcplab import claims
from tcplab.bench import run
from tcplab.claims import BY_KEY, CLAIMS, FAILS, HOLDS, NOT_RUN, OPEN, Observation
from tcplab.core.releases import RULES, release

#: Kernels that a claim may be asked of, with their patch levels.
KERNELS = ("5.10.262", "6.1.192", "6.12.118", "6.18.15", "6.18.44", "7.3.4")


def test_every_rule_is_claimed_or_says_why_it_is_not_run():
    claimed = {claim.rule for claim in CLAIMS}
    assert claimed | set(NOT_RUN) == set(RULES), "a new rule needs a claim, or a reason in NOT_RUN"
    assert not claimed & set(NOT_RUN)
    assert all(NOT_RUN.values())


def test_keys_and_readings():
    assert len(BY_KEY) == len(CLAIMS)
    for claim in CLAIMS:
        assert claim.shows in run(claim.experiment).outcome
        assert claim.says and not claim.says.endswith(".")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.key)
def test_a_claim_has_more_sides_than_one(claim):
    gives = list(claim.sides().values())
    assert any(not claims._same(one, other) for one in gives for other in gives)


def test_the_claims_about_a_rule_tell_all_its_values_apart():
    for rule in {claim.rule for claim in CLAIMS}:
        about = [claim for claim in CLAIMS if claim.rule == rule]
        values = about[0].values
        for one in values:
            for other in values[values.index(one) + 1 :]:
                assert any(not claims._same(claim.sides()[one], claim.sides()[other]) for claim in about), (
                    f"{rule}: nothing tells {one} from {other}"
                )


def by_the_model(version):
    """In place of a kernel: the model at its rules."""

    def run_all(kernel, stories, progress, cancelled):
        for index, story in enumerate(stories):
            trace = run(story.with_values(linux=version))
            trace.bench = f"linux:{kernel}"
            yield index, trace

    return run_all


@pytest.mark.parametrize("version", KERNELS)
def test_a_kernel_with_a_versions_rules_bears_all_its_claims_out(monkeypatch, version):
    monkeypatch.setattr(claims, "run_all", by_the_model(version))
    series = ".".join(version.split(".")[:2])
    found = list(claims.observe(series))
    assert [each.claim for each in found] == list(BY_KEY)
    assert {each.claim: each.verdict for each in found} == dict.fromkeys(BY_KEY, HOLDS)
    assert {each.linux for each in found} == {version}


def test_a_kernel_with_other_rules_does_not(monkeypatch):
    claim = BY_KEY["exact_rst_in_syn_recv"]
    trace = run(claim.experiment.with_values(linux="6.18.41"))
    for named, verdict in (("6.18.41", HOLDS), ("6.18.42", FAILS)):
        trace.linux = named
        seen = Observation(claim.key, named, "linux:6.18", "2026-11-30", claim.read(trace), claim.fits(trace))
        assert seen.verdict == verdict


def test_what_did_not_run_is_open(monkeypatch):
    def nothing(kernel, stories, progress, cancelled):
        yield 0, "it is too busy"

    monkeypatch.setattr(claims, "run_all", nothing)
    (seen,) = claims.observe("6.1", CLAIMS[:1])
    assert (seen.verdict, seen.trouble, seen.linux) == (OPEN, "it is too busy", "6.1")


def test_kept_and_read_again(tmp_path):
    path = tmp_path / "claims.json"
    first = Observation("tw_reuse", "6.1.100", "linux:6.1", "2026-01-01", True, (2,))
    other = Observation("syn_linear_timeouts", "6.12.118", "linux:6.12", "2026-01-01", 35.0, (4,))
    claims.save([first, other], path)
    assert claims.recorded(path) == (other, first), "in the order of the claims"
    newer = Observation("tw_reuse", "6.1.192", "linux:6.1", "2026-11-30", False, (2,))
    claims.save([newer], path)
    assert claims.recorded(path) == (other, newer), "of a series only the last"
    path.write_text(json.dumps({"format": 99, "observations": []}))
    claims.recorded.cache_clear()
    assert claims.recorded(path) == () and claims.recorded(tmp_path / "none.json") == ()


def test_the_record_bears_the_rules_out():
    """What kernels gave, by the rules as they are now: whoever changes a rule asks the kernels again."""
    kept = claims.recorded()
    assert {release(each.linux).number for each in kept} >= {(5, 10), (6, 1), (6, 12), (6, 18), (7, 3)}
    for linux, bench in claims.kernels(kept):
        of = [each for each in kept if (each.linux, each.bench) == (linux, bench)]
        assert [each.claim for each in of] == list(BY_KEY), f"{linux}: a claim is new, or gone"
    not_so = [f"{each.claim} on {each.linux}: {each.read}" for each in kept if each.verdict == FAILS]
    assert not not_so
    assert sum(each.verdict == OPEN for each in kept) <= 5


def test_table_and_json_show_every_claim():
    kept = claims.recorded()
    headings, rows = claims.table(kept)
    assert len(rows) == len(CLAIMS) and {len(row) for row in rows} == {len(headings)}
    data = json.loads(json.dumps(claims.to_json(kept)))
    assert [each["claim"] for each in data["claims"]] == list(BY_KEY) and data["not_run"] == NOT_RUN
    assert all(each["sides"] and each["changes"] for each in data["claims"])


def test_since_names_mainline_stable_trees_and_commit():
    change = RULES["syn_queue_rule"].changes[-1]
    assert claims.since(change) == (
        "6.13; 5.4.290, 5.10.234, 5.15.177, 6.1.125, 6.6.72, 6.12.10; 3479c7549fb1"
    )


# --- what the course says ---

#: Versions that texts name for something else than a rule of the model, each with what it is.
OTHER = {
    "3.6": "RFC 5961's check of a RST",
}
#: `since 6.5`, `before Linux 5.4`, `up to 4.9`; no product's x.y.z, no seconds.
SAID = re.compile(
    r"\b(since|before|up to)\s+(?:Linux\s+)?([3-7]\.\d{1,2})(?![\d.]\d|[\d%]|\s*(?:s|ms|min|h)\b)", re.I
)


def changed_in():
    return {"{}.{}".format(*change.since) for rule in RULES.values() for change in rule.changes}


def texts():
    for path in sorted((claims.COURSE / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            yield path.name, "".join(cell["source"])
    for path in sorted((Path(claims.__file__).parent / "lesson").rglob("*.toml")):
        yield path.name, path.read_text()


def test_what_the_course_says_of_versions_is_a_rule():
    said = [
        (name, match[1].lower(), match[2], text[max(0, match.start() - 60) : match.end() + 20])
        for name, text in texts()
        for match in SAID.finditer(text)
    ]
    assert len(said) >= 12
    known = changed_in() | set(OTHER)
    for name, word, version, where in said:
        major, minor = version.split(".")
        first = f"{major}.{int(minor) + 1}" if word == "up to" else version
        assert first in known, f"{name}: {where!r}: no rule changes in {first}"
