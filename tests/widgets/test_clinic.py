"""The clinic: a file in, a diagnosis out; nothing of a file's text becomes HTML."""

import base64
import gzip
import hashlib
import html
import re
import threading
from pathlib import Path

import pytest

from inside import button_of, everything_in, text_in
from recordings.captures import PROJECT
from tcplab import clinic, diagnose, read_capture
from tcplab.pictures.replay import frames_words
from tcplab.widgets.base import HERE
from tcplab.widgets.clinic import (
    ALL,
    LARGEST,
    REPORT,
    WITH,
    WITHOUT,
    CaptureClinic,
    DropZone,
    Reading,
    chosen,
    file_line,
    file_name,
    filters,
    line,
    worst_first,
)
from tcplab.widgets.what_if import KNOBS

CAPTURES = PROJECT / "data" / "captures"
HOSTILE = "<img src=x onerror=alert(1)>"


def opened(path):
    made = clinic(str(path))
    made.wait()
    return made


@pytest.fixture
def several():
    """A capture with several connections and findings of more than one kind."""
    return CAPTURES / "case_1.pcap"


def test_a_file_is_read_summed_up_and_its_worst_connection_shown(several):
    made = opened(several)
    diagnosis = diagnose(read_capture(several))
    assert made.sentence == made.incident.timeline.headline()
    assert f"{several.name} · {diagnosis.packets:,} TCP packet" in text_in(made)
    assert made.number == worst_first(diagnosis)[0].number
    said = text_in(made)
    for code in diagnosis.summary:
        assert code in said
    assert all(frames_words(f.frames) in made.findings.value for f in _worst(diagnosis))
    assert made.replay.steps.findings == sorted(_worst(diagnosis), key=lambda f: f.t)
    assert made.progress.layout.display == "none" and made.result.layout.display == ""


def _worst(diagnosis):
    return worst_first(diagnosis)[0].findings


def test_the_files_line_counts_states_once(several):
    capture = read_capture(several)
    diagnosis = diagnose(capture)
    told = file_line(capture, diagnosis).partition("(")[2].partition(")")[0]
    assert sum(int(part.split()[0].replace(",", "")) for part in told.split(", ")) == len(diagnosis)


@pytest.mark.parametrize("name", ["ghosts_half_open", "accept_queue", "lesson_client_write"])
def test_filters_let_through_what_they_say(name):
    made = opened(CAPTURES / f"{name}.pcap")
    for text, wanted in filters(made.diagnosis):
        made.filter.value = wanted
        count = int(text.rpartition("(")[2].rstrip(")").replace(",", ""))
        assert len(made.connections.options) == count
        for _, number in made.connections.options:
            codes = {finding.code for finding in made.diagnosis.connections[number].findings}
            assert wanted in (ALL, *codes) or (wanted == WITH and codes) or (wanted == WITHOUT and not codes)
        assert (made.number is None) == (count == 0)
        assert (made.one.layout.display == "none") == (count == 0)


def test_an_address_or_port_narrows_the_list_down():
    made = opened(CAPTURES / "ghosts_forty_nodes.pcap")
    connection = made.diagnosis.connections[-1]
    made.search.value = f" {connection.client} "
    assert [number for _, number in made.connections.options] == [connection.number]
    assert made.number == connection.number
    made.search.value = "no such address"
    assert made.connections.options == () and "No connection matches." in text_in(made)
    everything = worst_first(made.diagnosis)
    assert list(chosen(everything, ALL, "")) == everything


def test_each_tab_shows_the_connection_that_is_chosen():
    made = opened(CAPTURES / "ghosts_forty_nodes.pcap")
    other = made.diagnosis.connections[3]
    made.choose(other.number)
    trace = made.capture.connection(3)
    assert line(other).partition(": ")[2].partition(" →")[0] in made.findings.value
    assert made.replay.steps.watched.packets == trace.packets
    assert made.replay.steps.frames == made.capture.frames(3)
    open_tab_of(made, "Whole ladder")
    assert made.ladder.figure is not None
    open_tab_of(made, "Segments")
    assert made.segments.value.count("<tr>") >= len(trace.packets)


def test_of_a_long_connection_no_more_is_built_than_is_shown(monkeypatch):
    monkeypatch.setattr("tcplab.pictures.replay.MOST", 8)
    monkeypatch.setattr("tcplab.widgets.clinic.MOST", 5)
    made = opened(CAPTURES / "lesson_client_write.pcap")
    assert len(made.trace.packets) == 29
    monkeypatch.setattr(type(made), "trace", property(lambda self: pytest.fail("built whole")))
    made.tabs.renew()
    assert len(made.replay.steps.watched.packets) == 8
    assert "The replay ends after the first 8 of 29 segments" in made.replay.title.value
    open_tab_of(made, "Whole ladder")
    assert made.ladder.figure is not None
    open_tab_of(made, "Segments")
    assert made.segments.value.count("<tr>") < 10
    open_tab_of(made, "Other settings")
    assert len(made.what_if.trace.packets) == 8
    assert "Only the last 8 of 29 segments are looked at." in made.what_if.trace.warnings


def open_tab_of(made, title):
    made.tabs.select(title)


def test_other_settings_are_asked_of_the_model():
    made = opened(CAPTURES / "lesson_cable_out_sending.pcap")
    open_tab_of(made, "Other settings")
    form = made.what_if
    assert set(form.fields) == set(KNOBS)
    form.answer()
    assert form.sentence.startswith("Type a value")
    form.fields["user_timeout_s"].value = "30"
    button_of(form, "Would that have saved it?").click()
    assert form.sentence.startswith("With user_timeout_s = 30 on the client")
    form.fields["user_timeout_s"].value = HOSTILE
    form.answer()
    assert "is not a number" in form.sentence
    assert "<img" not in text_in(form)
    form.show(made.trace)
    assert form.sentence == ""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty: not a capture file"),
        (b"#!/bin/sh\necho hello there\n", "is not a capture file: neither pcap nor pcapng"),
        (b"\x1f\x8bnothing that was packed", "trouble"),
    ],
)
def test_a_wrong_file_gets_one_sentence(tmp_path, content, says):
    path = tmp_path / "trouble.pcap"
    path.write_bytes(content)
    made = opened(path)
    assert says in made.sentence and "Traceback" not in made.status.value
    assert made.status.value.count("<p") == 1 and "wrong" in made.status.value
    assert made.diagnosis is None and made.result.layout.display == "none"
    assert made.progress.layout.display == "none"
    made.read(CAPTURES / "keepalive.pcap")  # and it is alive
    made.wait()
    assert made.diagnosis is not None


def test_without_a_path_one_is_asked_for():
    made = CaptureClinic()
    button_of(made, "Read it").click()
    assert made.sentence.startswith("Type the path")
    made.path.value = str(CAPTURES / "keepalive.pcap")
    button_of(made, "Read it").click()
    made.wait()
    assert made.diagnosis.name == "keepalive.pcap" and "keepalive.pcap · " in text_in(made)


def test_a_directory_and_a_missing_file_are_named(tmp_path):
    assert opened(tmp_path / "none.pcap").sentence.endswith("does not exist.")
    assert "Traceback" not in opened(tmp_path).sentence and tmp_path.name in opened(tmp_path).sentence


def test_a_reading_can_be_cancelled():
    at, go = threading.Event(), threading.Event()
    told = []

    def progress(share, what):
        at.set()
        assert go.wait(20)

    reading = Reading(CAPTURES / "keepalive.pcap", progress, lambda *found: told.append(found), told.append)
    reading.start()
    assert at.wait(20)
    reading.cancel()
    go.set()
    reading.wait()
    assert told == []


def test_cancelling_says_so():
    made = CaptureClinic()
    made.read(CAPTURES / "keepalive.pcap")
    reading = made.reading
    if reading is None:  # it was faster
        return
    made.cancel()
    reading.wait()
    assert made.sentence == "Cancelled: nothing was read." or made.diagnosis is not None
    assert made.progress.layout.display == "none"


# -- a file that is dropped ------------------------------------------------------------------------


class Page:
    """What a page does that hands over a file."""

    def __init__(self, zone, monkeypatch):
        self.zone, self.said = zone, []
        monkeypatch.setattr(zone, "send", lambda content, buffers=None: self.said.append(content))

    def offer(self, name, content, size=None, number=1):
        self.zone._handle_custom_msg(
            {"begin": number, "name": name, "size": len(content) if size is None else size}, []
        )
        self.content = content

    def piece(self, at, end, number=1):
        self.zone._handle_custom_msg({"piece": number, "at": at}, [memoryview(self.content[at:end])])


@pytest.fixture
def dropping(monkeypatch):
    arrived, refused, shares = [], [], []
    zone = DropZone(
        lambda name, share: shares.append(share),
        lambda path: arrived.append((path, path.read_bytes())),
        refused.append,
    )
    yield Page(zone, monkeypatch), arrived, refused, shares
    zone.forget()


def test_pieces_become_the_file_again_in_whatever_order(dropping):
    page, arrived, refused, shares = dropping
    page.offer("a.pcap", b"0123456789")
    assert page.said == [{"say": "go", "of": 1}]
    page.piece(4, 8)
    page.piece(0, 4)
    assert not arrived
    page.piece(8, 10)
    ((path, content),) = arrived
    assert content == b"0123456789" and path.name == "a.pcap" and not refused
    assert shares == [0, 0.4, 0.8, 1.0]
    page.zone.forget()
    assert not path.exists() and not path.parent.exists()


def test_another_file_ends_the_one_that_is_on_its_way(dropping):
    page, arrived, _, _ = dropping
    page.offer("a.pcap", b"0123456789")
    page.piece(0, 4)
    page.offer("b.pcap", b"xyz", number=2)
    page.piece(0, 3, number=1)  # late
    assert not arrived
    page.piece(0, 3, number=2)
    assert arrived[0][1] == b"xyz"


def test_what_is_too_large_or_cannot_be_read_is_refused_in_one_sentence(dropping):
    page, arrived, refused, _ = dropping
    page.offer("huge.pcap", b"", size=LARGEST + 1)
    assert refused == [
        "huge.pcap has 1.1 GB: too much to pass through the browser. Give its path below instead."
    ]
    page.offer("gone.pcap", b"0123", number=2)
    page.zone._handle_custom_msg({"failed": 2, "why": "NotReadableError"}, [])
    assert refused[1] == "gone.pcap could not be read by the browser: NotReadableError."
    page.piece(0, 4, number=2)
    assert not arrived


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("a.pcap", "a.pcap"), ("../../etc/passwd", "....etcpasswd"), ("..", "capture"), ("", "capture"),
        ("C:\\x\\y.cap", "C:xy.cap"), ("a\x00b\n\x1b[2J.pcap", "ab[2J.pcap"), (HOSTILE, HOSTILE),
    ],
)  # fmt: skip
def test_a_name_stays_in_its_folder(told, kept):
    assert file_name(told) == kept
    assert Path(file_name(told)).name == file_name(told)
    assert len(file_name("\N{SNOWMAN}" * 500).encode()) <= 255


def test_a_dropped_file_is_diagnosed_and_removed(monkeypatch):
    made = CaptureClinic()
    page = Page(made.drop, monkeypatch)
    content = gzip.compress((CAPTURES / "lesson_client_write.pcap").read_bytes())
    page.offer(f"{HOSTILE}.pcap.gz", content)
    page.piece(0, len(content))
    made.wait()
    assert "10.0.0.2:5432 (PostgreSQL) reset 1 connection" in made.sentence
    assert "29 TCP packets" in text_in(made) and "<img" not in text_in(made) and "&lt;img" in text_in(made)
    assert made.drop.folder is None


def test_one_style_serves_the_whole_tree():
    made = CaptureClinic()
    (style,) = [each for each in everything_in(made) if "tcplab-style" in getattr(each, "_dom_classes", ())]
    assert style is made.children[0]
    for name in ("base.css", "clinic.css", "replay.css"):
        assert style.value.count((HERE / name).read_text("utf-8")) == 1


def test_nothing_leaves_the_machine_is_said_where_one_chooses():
    assert "Nothing leaves this machine" in text_in(CaptureClinic())


def test_the_report_is_offered_when_its_page_is_seen_and_redacted_on_demand(several, tmp_path):
    def page(name):
        (data,) = re.findall(
            rf'download="{name}" href="data:text/[a-z]+;base64,([^"]+)"', made.report.links.value
        )
        return base64.b64decode(data).decode()

    made = opened(several)
    assert made.report.links.value == ""
    made.pages.select(REPORT)
    digest = hashlib.sha256(several.read_bytes()).hexdigest()
    assert (
        digest in page("incident.html")
        and digest in page("incident.md")
        and several.name in page("incident.md")
    )
    made.report.redact.value = made.report.shift.value = True
    client = made.diagnosis.connections[0].client
    for name in ("incident.html", "incident.md"):
        assert digest not in page(name) and client.address not in page(name) and "UTC" not in page(name)
    made.read(CAPTURES / "case_6.pcap")  # another file: made when its page is seen again
    made.wait()
    assert made.report.links.value == ""
    made.report.redact.value = False
    assert "137 connections" in page("incident.html")


# -- both ends -------------------------------------------------------------------------------------------


def both(made, name):
    """Add this file with the button, and read it."""
    button_of(made, "Add the other end").click()
    assert "at the other end of the connections in case_2" in made.sentence
    made.path.value = str(CAPTURES / f"{name}.pcap")
    button_of(made, "Read it").click()
    made.wait()
    return made


@pytest.mark.parametrize("names", [("case_2", "case_2_client"), ("case_2_client", "case_2")])
def test_two_files_of_one_incident_become_one_story(names):
    by_button = both(opened(CAPTURES / f"{names[0]}.pcap"), names[1])
    at_once = clinic(*(str(CAPTURES / f"{name}.pcap") for name in names))
    at_once.wait()
    for made in (by_button, at_once):
        assert made.sentence.startswith("Between 13:17:26.517 and 13:22:06.557 the path between the two")
        assert "A capture that dropped packets itself looks the same" in text_in(made)
        assert "UTC · at the other end case_2.pcap" in text_in(made)
        assert "The clock of case_2.pcap is" in text_in(made) and made.capture.name == "case_2_client.pcap"
        assert made.result.layout.display == ""
        assert "7 lost to the client" in made.between.value and "7 lost to the client" in made._repr_html_()
        before, made.incident.dark = made.between.value, True
        assert made.between.value != before and "7 lost to the client" in made.between.value
    by_button.read(CAPTURES / "case_4.pcap")
    by_button.wait()
    assert by_button.between.value == ""


def test_a_file_that_does_not_belong_to_the_first_leaves_it_shown():
    made = both(opened(CAPTURES / "case_2.pcap"), "case_4")
    assert made.both is None and made.capture.name == "case_2.pcap"
    assert "case_2.pcap and case_4.pcap could not be matched" in text_in(made)
    made.read(CAPTURES / "case_4.pcap")
    made.wait()
    assert made.capture.name == "case_4.pcap" and "could not be matched" not in text_in(made)


@pytest.mark.parametrize("names", [("case_2", "case_2_client"), ("case_2_client", "case_2")])
def test_the_report_of_two_files_names_both(names):
    made = both(opened(CAPTURES / f"{names[0]}.pcap"), names[1])
    made.pages.select(REPORT)
    (page,) = re.findall(r'download="incident.md" href="[^"]*base64,([^"]+)"', made.report.links.value)
    text = base64.b64decode(page).decode()
    for name in names:
        digest = hashlib.sha256((CAPTURES / f"{name}.pcap").read_bytes()).hexdigest()
        assert f"{name}.pcap {digest}" in text
    assert "The clock of case_2.pcap is" in text and "10–16 of case_2.pcap" in text


def test_a_time_zone_is_said_beside_utc_and_the_browsers_is_offered():
    made = opened(CAPTURES / "case_2.pcap")
    made.incident.zone = "no/such zone"
    assert made.zone.options == ()
    made.incident.zone = "Europe/Paris"
    assert made.zone.options == ("Europe/Paris",) and "Europe/Paris" not in text_in(made)
    made.zone.value = "Europe/Paris"
    assert "In Europe/Paris (UTC+01:00) that was from 14:17:" in text_in(made)
    both(made, "case_2_client")
    assert "In Europe/Paris (UTC+01:00) that was from 14:17:26.517" in text_in(made)
    made.zone.value = "Nowhere"
    said = text_in(made)
    assert "'Nowhere' is no time zone of this machine" in html.unescape(said) and "that was" not in said
    assert made.sentence.startswith("Between 13:17:26.517")
    made.zone.value = ""
    assert "no time zone" not in text_in(made)
