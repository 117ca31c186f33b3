"""A diagnosis as a table."""

import re
from pathlib import Path

from tcplab import diagnose, read_capture
from tcplab.lesson import found

CAPTURES = Path(__file__).parents[2] / "data" / "captures"


def told(name):
    return diagnose(read_capture(CAPTURES / f"{name}.pcap"))


def test_each_finding_is_a_row_with_its_frames_and_a_link():
    diagnosis = told("case_2_client")
    (connection,) = diagnosis.connections
    shown = found(diagnosis)
    html = shown._repr_html_()
    for finding in connection.findings:
        assert finding.code in html and finding.says in repr(shown)
    assert html.count("<tr") - 1 == len(connection.findings) == 2
    assert 'href="03_keepalive.ipynb"' in html and "10, 11, 12, 13" in html


def test_only_the_connections_that_were_named():
    diagnosis = told("case_1")
    assert {line.split()[0] for line in repr(found(diagnosis)).splitlines()} == {"0", "1"}
    assert {line.split()[0] for line in repr(found(diagnosis, 1)).splitlines()} == {"1"}


def test_many_frames_are_given_by_the_first_and_the_last():
    (row,) = [line for line in repr(found(told("case_1"), 0)).splitlines() if "dead_peer" in line]
    frames = re.search(r"\(frames (.+)\)", row)[1].split(", ")
    assert len(frames) == 6 and frames[-2] == "…"


def test_nothing_found_is_said():
    quiet = [each.number for each in told("case_4").connections if not each.findings]
    assert repr(found(told("case_4"), *quiet)) == "Nothing to tell: no finding in these connections."
