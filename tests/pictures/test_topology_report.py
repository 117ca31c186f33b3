"""The page about a topology: today and then, what was assumed, and nothing of others as markup."""

from datetime import date
from html.parser import HTMLParser

import pytest

from tcplab.advice import advise
from tcplab.advice.change_files import suggested, with_remedies
from tcplab.advice.race import race
from tcplab.advice.topology_file import examples, load_topology
from tcplab.pictures.topology_report import TopologyReport


def report(name, remedies=True, called="shop", not_used=()):
    env = load_topology(examples()[name]).environment
    advice = advise(env)
    chosen = suggested(env, advice.remedies) if remedies else ()
    then = race(with_remedies(env, chosen))
    return TopologyReport(called, date(2026, 12, 1), advice, race(env), then, chosen, not_used, "9.9")


@pytest.mark.parametrize("name", examples())
def test_every_lane_is_there_today_and_then(name):
    page = report(name)
    rows = list(page.rows())
    assert len(rows) == len(page.then.lanes)
    for row in rows:
        assert row[0].split(" ")[0] in "ABCDEFGHIJ"
    text = page.markdown()
    assert text.startswith("# shop: path to the database\n\n01 Dec 2026\n")
    for head in ("## What to change", "## Assumed, not read"):
        assert head in text
    assert page.html().count("<svg") == 2


def test_what_is_assumed_is_not_what_was_said():
    assumed = " ".join(report("java_aws").assumed())
    assert "AWS NLB idle timer: 5 min 50 s" in assumed and "tcp_retries2" in assumed
    assert "hikaricp.connectionTimeout" not in assumed and "EC2" not in assumed


def test_without_remedies_there_is_one_picture_and_nothing_to_change():
    page = report("redis_azure", remedies=False)
    assert page.html().count("<svg") == 1 and "What to change" not in page.markdown()


def test_names_of_others_are_text():
    evil = "<img src=x onerror=alert(1)> | `a` *b*"
    page = report("java_aws", called=evil, not_used=[evil])
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append(tag)
    parser.feed(page.html())
    assert "img" not in tags and "script" not in tags
    assert "<img" not in page.markdown() and "\\|" in page.markdown()
