"""The page to hand on: what it says, what it must not say redacted, and that it is one page of paper."""

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from tcplab import cli
from tcplab.capture.both_ends import both_ends
from tcplab.capture.capture import read_capture
from tcplab.capture.findings import diagnose
from tcplab.capture.recordings import LIBRARY
from tcplab.core.text import time_zone
from tcplab.pictures.incident import read_incidents
from tcplab.pictures.report import CHANGES, EVIDENCE, incident_report

#: All kinds of ends, one connection to 137.
FILES = [
    "case_1", "case_2", "case_3", "case_4", "case_5", "case_6", "lesson_cable_out_sending",
    "lesson_report_dropped", "failover_dead", "slow_reader", "handshake_and_close", "postgres_closed_port",
    "ghosts_forty_nodes", "idle_firewall", "health_check_stopped",
]  # fmt: skip


def timeline(name):
    capture = read_capture(LIBRARY / f"{name}.pcap")
    return read_incidents(capture, diagnose(capture))


def text_of(html):
    return re.sub(r"<style>.*?</style>|<[^>]*>", " ", html)


@pytest.mark.parametrize("name", FILES)
def test_the_page_says_when_where_and_how_it_is_shown_again(name):
    shown = timeline(name)
    digest = hashlib.sha256((LIBRARY / f"{name}.pcap").read_bytes()).hexdigest()
    report = incident_report(shown, digests=(digest,), version="1.0")
    html = report.html()
    assert (
        html.startswith("<!doctype html>")
        and "<script" not in html
        and "http" not in re.sub(r'xmlns="[^"]*"', "", html)
    )
    assert digest in html and f"{name}.pcap" in html and "<svg" in html and len(html) < 60_000
    assert [row.t for row in report.evidence] == sorted(row.t for row in report.evidence)
    assert len(report.evidence) <= EVIDENCE and len(report.changes) <= CHANGES
    packets = len(shown.capture.table)
    for row in report.evidence:
        numbers = [int(number) for number in re.findall(r"\d+", row.filter)]
        assert numbers and max(numbers) <= packets + 1_000 and min(numbers) >= 1
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", row.wall)
    if shown.hit:
        assert report.evidence and report.changes


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("form", ["html", "markdown"])
def test_redacted_no_address_client_port_or_name_is_left_anywhere(name, form):
    shown = timeline(name)
    report = incident_report(shown, digests=("0" * 64,), redact=True, version="1.0")
    page = getattr(report, form)()
    for brief in shown.connections:
        assert brief.client.address not in page and brief.server.address not in page
        assert not re.search(rf"(?<![\d.]){brief.client.port}(?![\d.])", page), brief
    assert not re.search(r"\b\d+\.\d+\.\d+\.\d+\b", page) and not re.search(r"([0-9a-f]+::?){3}", page)
    assert name not in page and "0" * 64 not in page
    assert ("server A" in page and "client 1" in page) or not shown.hit


def test_an_address_in_any_sentence_is_hidden():
    from tcplab.pictures.report import _Names

    names = _Names(timeline("case_6"))
    brief = timeline("case_6").connections[0]
    hidden = names.hide(
        f"{brief.client} and {brief.server} of case_6.pcap: [fd00::1]:5432, 192.0.2.9 said “SELECT 1” at "
        f"06:24:48.927; {brief.client.port} again, fe80::1."
    )
    assert hidden == (
        "client 1, session 1 and server A:5433 of the file: another host:5432, another host said (text left "
        "out) at 06:24:48.927; (port) again, another host."
    )


def test_a_server_that_closed_is_evidence_and_is_named_once():
    names = [*FILES, "postgres_terminate_backend", "mariadb_kill"]
    closed = [n for n in names if any(b.broke.family == "server_end" for b in timeline(n).hit)]
    assert closed
    for name in closed:
        report = incident_report(timeline(name), redact=True)
        assert not re.search(r"\b(server|client) \1 ", report.html())
        assert any("closed" in row.seen or "RST" in row.seen for row in report.evidence)


def test_shifted_times_begin_at_midnight():
    for name in ("case_6", "lesson_cable_out_sending"):
        report = incident_report(timeline(name), shift_time=True)
        page = text_of(report.html())
        assert "UTC" not in page and " 1970" not in page and "01 Jan" not in page
        assert all(row.wall < "00:20" for row in report.evidence) and "00:00:00" in page


# -- two files -----------------------------------------------------------------------------------------


def pair(*options):
    made = both_ends(timeline("case_2_client"), timeline("case_2"))
    return incident_report(made.merged(), both=made, digests=("c" * 64, "d" * 64), **dict(options))


def test_of_two_files_there_is_one_story_with_the_clocks_the_losses_and_both_hashes():
    report = pair()
    assert report.title == both_ends(timeline("case_2"), timeline("case_2_client")).story()
    page = text_of(report.html())
    assert "The clock of case_2.pcap is 0.768 µs behind that of case_2_client.pcap, ± 2.48 µs" in page
    assert f"sha256 of case_2_client.pcap {'c' * 64}" in page and f"case_2.pcap {'d' * 64}" in page
    lost = {row.seen: (row.frames, row.filter) for row in report.evidence if "never arrived" in row.seen}
    assert lost == {
        "4 packets from client to server never arrived": (
            "10–13 of case_2_client.pcap", "frame.number in {10..13}",
        ),
        "7 packets from server to client never arrived": (
            "10–16 of case_2.pcap", "frame.number in {10..16}",
        ),
    }  # fmt: skip
    assert [row.t for row in report.evidence] == sorted(row.t for row in report.evidence)
    assert "What these files can’t show" in page and "two points of the path" in page
    assert "## What these files can’t show" in report.markdown()


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_of_two_files_redacted_and_shifted_nothing_of_both_is_left(form):
    page = getattr(pair(("redact", True), ("shift_time", True)), form)()
    for brief in (*timeline("case_2").connections, *timeline("case_2_client").connections):
        assert brief.client.address not in page and str(brief.client.port) not in page
    for secret in ("case_2", "c" * 64, "d" * 64, "UTC", "13:1", "13:2"):
        assert secret not in page, secret
    assert "The clock of the server’s file is" in page and "10–16 of the server’s file" in page
    assert "Between 00:00:00.048 and 00:04:40.088" in page


def test_a_time_zone_is_said_once_and_not_beside_shifted_times():
    zone = time_zone("Asia/Kolkata")
    says = "In Asia/Kolkata (UTC+05:30) that was from 18:47:26.517 to 18:52:06.557; all other times are UTC."
    assert text_of(pair(("zone", zone)).html()).count(says) == 1
    assert "Kolkata" not in pair(("zone", zone), ("shift_time", True)).html()


def test_the_command_writes_the_page_of_two_files(tmp_path, capsys):
    files = [str(LIBRARY / f"{name}.pcap") for name in ("case_2", "case_2_client")]
    page = tmp_path / "x.md"
    options = ["--report", str(page), "--zone", "Europe/Berlin"]
    assert cli.main(["diagnose", *files, *options]) == 0
    text = page.read_text("utf-8")
    for file in files:
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        assert f"{Path(file).name} {digest}" in text
    assert "In Europe/Berlin (UTC+01:00) that was from 14:17:26.517" in text
    for other, says in (("case_4", "could not be matched"), ("none", "does not exist")):
        gone = tmp_path / f"{other}.md"
        assert cli.main(["diagnose", files[0], str(LIBRARY / f"{other}.pcap"), "--report", str(gone)]) == 2
        assert says in capsys.readouterr().err and not gone.exists()
    assert cli.main(["diagnose", *files, files[0], "--report", str(tmp_path / "y.md")]) == 2
    assert "one capture, or two of the same connections, and here are 3." in capsys.readouterr().err
    assert cli.main(["diagnose", *files, *options, "--force", "--shift-time"]) == 2
    assert "--zone and --shift-time" in capsys.readouterr().err


def test_nothing_broken_is_said_and_nothing_is_to_be_changed():
    report = incident_report(timeline("handshake_and_close"))
    assert report.title.startswith("Nothing broke in this file: 1 connection") and not report.changes


def test_settings_are_proposed_by_owner_from_the_what_if():
    changes = incident_report(timeline("lesson_cable_out_sending")).changes
    who, what = changes[0]
    assert who == "Client settings" and "would have failed after 30.4 s (ETIMEDOUT) instead of 15 min" in what
    assert what.endswith("Set tcp_user_timeout=30000.")
    assert changes[1][0] == "Network, firewall"


@pytest.mark.browser
@pytest.mark.parametrize("name", [*FILES, ""])
def test_it_prints_on_one_page(name, need, tmp_path):
    page = tmp_path / "report.html"
    report = incident_report(timeline(name), digests=("a" * 64,), version="10.10.10") if name else pair()
    page.write_text(report.html(), "utf-8")
    subprocess.run(
        [need("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer",
         f"--print-to-pdf={tmp_path}/x.pdf", f"--user-data-dir={tmp_path}/profile", page.as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", (tmp_path / "x.pdf").read_bytes())) == 1
