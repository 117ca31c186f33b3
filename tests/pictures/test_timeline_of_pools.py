"""The requests of recorded pools on a timeline: as many errors, and as long, as the sidecars say."""

import pytest

from recordings.captures import STORED, Capture
from tcplab.pictures.timeline_layout import TimelinePicture
from tcplab.pictures.timeline_studies import read_requests

FAILOVERS = sorted(path.stem for path in STORED.glob("failover_*.pcap"))
POOLS = sorted(path.stem for path in STORED.glob("pool_*.pcap"))


def line(name):
    return read_requests(Capture(name).sidecar)


def lane(line, name):
    return next(each for each in line.lanes if each.name == name)


@pytest.mark.parametrize("name", [*FAILOVERS, *POOLS])
def test_every_error_is_a_mark_and_nothing_overlaps(name):
    requests, shown = Capture(name).sidecar["requests"], line(name)
    wrong = [each for each in requests if not each["result"].startswith("ok")]
    assert sum(len(each.marks) for each in shown.lanes) == len(wrong)
    assert not TimelinePicture(shown).drawing().overlaps()
    for each in shown.lanes:
        assert all(a.to_s <= b.from_s + 1e-9 for a, b in zip(each.spans, each.spans[1:], strict=False))


def test_writes_are_refused_by_the_old_primary_long_after_the_name_has_moved():
    shown = line("failover_select_1")
    assert [lane.name for lane in shown.lanes] == ["writes", "reads", "the name db"]
    (refused,) = [span for span in lane(shown, "writes").spans if span.kind == "error"]
    old, new = lane(shown, "the name db").spans
    assert refused.from_s < new.from_s < refused.to_s and old.words == ("10.0.0.2",)
    assert "16 errors: cannot execute INSERT" in refused.words[0]
    assert shown.answer.text == "first write accepted after 7.1 s"


def test_a_pool_ends_with_its_last_error_or_its_last_slow_request():
    assert line("pool_psycopg").answer.text == "10 errors, the last after 1.2 s"
    assert line("pool_engine_pre_ping").answer.text == "no error"
    said = line("pool_dropped_pre_ping").answer.text
    assert said.startswith("no error, the last slow request ends after 2.4")
    waits = [span for span in line("pool_psycopg_checked").lanes[0].spans if span.kind == "waits"]
    assert waits[0].to_s == pytest.approx(30.3, abs=0.2)


def test_what_has_no_requests_has_no_timeline():
    with pytest.raises(KeyError):
        read_requests(Capture("redis_offline").sidecar)
