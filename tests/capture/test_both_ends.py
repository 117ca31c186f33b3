"""Two captures of the same connections: the clocks' difference is found again, and each loss is named."""

import json
import random
from dataclasses import replace

import pytest

from recordings.captures import PROJECT
from talks import Talk, capture
from tcplab import cli, diagnose, read_capture
from tcplab.capture.both_ends import both_ends
from tcplab.capture.capture import Capture
from tcplab.capture.incidents import find_incidents
from tcplab.capture.plain import read_plain
from tcplab.core.segment import ACK, PSH, RST
from tcplab.core.text import SECOND
from tcplab.pictures.incident import read_incidents
from tcplab.pictures.report import incident_report

STORED = PROJECT / "data" / "captures"


def found(path, shift_s=0.0, plain=False):
    read = read_capture(path)
    if plain:
        read = Capture(read.name, read_plain(path), read.sidecar)
    shift = round(shift_s * SECOND)
    table = replace(read.table, began=read.table.began + shift, ended=read.table.ended + shift)
    read = replace(read, table=table)
    return find_incidents(read, diagnose(read))


@pytest.mark.parametrize("shift", [0.0, 1.8374, -5.0, 7200.25])
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_recording_from_both_ends_with_any_clock(shift, plain, swapped):
    files = found(STORED / "case_2_client.pcap", plain=plain), found(STORED / "case_2.pcap", shift, plain)
    made = both_ends(*files[::-1] if swapped else files)
    assert made.near is files[0] and made.far is files[1]
    assert abs(made.clocks.offset - shift * SECOND) <= made.clocks.error + 1000 < 10_000
    assert made.matched == 9 and not made.translated and made.missed == 0
    assert (len(made.lost_from(True)), len(made.lost_from(False))) == (4, 7)
    assert made.story().startswith("Between 13:17:26.517 and 13:22:06.557 the path between the two capture")
    assert "broke in both directions for 1 connection, while both ends went on sending" in made.story()
    cause = made.merged().cause
    assert (cause.code, cause.certainty) == ("lost_between", "seen in both files")


# -- made files ------------------------------------------------------------------------------------------


def split(tmp_path, talks, *, delay=0.002, offset=0.3, drift=0.0, lost=lambda side, t: False, jitter=0.0,
          address=None, port=0, rewrite=(0, 0)):  # fmt: skip
    """What a capture at the client and one at the server hold of these conversations."""
    chance = random.Random(1)
    halves = {"near": [], "far": []}
    for number, talk in enumerate(talks):
        for end, mine in (("near", "client"), ("far", "server")):
            half = replace(talk, packets=[])
            if end == "far":
                isn = tuple(own + more for own, more in zip(talk.isn, rewrite, strict=True))
                half = replace(half, isn=isn)
            if end == "far" and address:
                half = replace(half, client=address, port=port + number)
            for t, side, *rest in talk.packets:
                if end == "far":
                    more = rewrite if side == "client" else rewrite[::-1]
                    acks = rest[2] & ACK
                    rest[:2] = rest[0] + more[0], rest[1] + more[1] if acks else 0
                if side != mine and lost(side, t):
                    continue
                there = t + (0 if side == mine else delay + chance.random() * jitter)
                half.packets.append((there + (offset + drift * there if end == "far" else 0), side, *rest))
            halves[end].append(half)
    return [capture(tmp_path / f"{name}.pcap", *each) for name, each in halves.items()]


def working(count=3, asked=30, every=1.0, **options):
    for i in range(count):
        talk = Talk(40_000 + i, isn=(1000 + 77 * i, 9000 + 55 * i), **options).open(0.1 * i)
        for n in range(asked):
            talk.ask(1 + 0.1 * i + n * every, f"question {n}".encode(), b"answer", 0.01)
        yield talk


def merged(files, order=1):
    return both_ends(*(found(path) for path in files[::order]))


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("offset", [0.0, 0.3, -40.0])
def test_the_offset_lies_within_its_error_and_nothing_is_lost(tmp_path, offset, order):
    made = merged(split(tmp_path, list(working()), offset=offset, jitter=0.005), order)
    assert abs(made.clocks.offset / SECOND - offset) <= made.clocks.error / SECOND + 1e-9 <= 0.0025
    assert made.near.capture.name == "near.pcap" and made.lost == () and made.missed == 0
    assert made.story() == f"Nothing was lost between the two files: {made.matched} packets are in both."


def test_a_clock_that_drifts_is_followed(tmp_path):
    made = merged(split(tmp_path, list(working(asked=90, every=10.0)), drift=50e-6, jitter=0.001))
    assert 45 < made.clocks.drift / 1000 < 55 and made.lost == ()
    assert made.clocks.error < SECOND // 100 and "gains" in made.clocks_line()


def test_one_direction_that_breaks_is_named(tmp_path):
    talks = list(working())
    for talk in talks:
        talk.say(40, "client", PSH | ACK, b"last question")
        for t in (40.3, 41, 43):
            talk.again(t)
    files = split(tmp_path, [*talks, *working(1)], lost=lambda side, t: side == "client" and t > 35)
    with open(files[1], "ab") as file:  # the server's capture went on
        file.write(capture(tmp_path / "more.pcap", Talk(50_000).open(60)).read_bytes()[24:])
    made = merged(files)
    assert len(made.lost_from(True)) == 12 and not made.lost_from(False)
    assert "broke from client to server for 3 connections, while the client went on sending" in made.story()
    assert all(each.final for each in made.lost)


def test_single_losses_are_no_break(tmp_path):
    talk = next(working(1))
    talk.say(40, "server", PSH | ACK, b"row").again(40.2).say(40.3, "client", ACK).ask(41).ask(50)
    made = merged(split(tmp_path, [talk], lost=lambda side, t: side == "server" and t == 40))
    assert [(each.by_client, each.final) for each in made.lost] == [(False, False)]
    assert (
        "No connection broke between the two files, but packets were lost: 1 packet from server"
        in made.story()
    )


def test_behind_nat_connections_are_found_by_their_numbers(tmp_path):
    made = merged(split(tmp_path, list(working()), address="192.0.2.7", port=61_000))
    assert made.translated and [(pair.near, pair.far) for pair in made.pairs] == [(0, 0), (1, 1), (2, 2)]
    assert made.lost == () and "(NAT)" in made.clocks_line()


@pytest.mark.parametrize("address", [None, "192.0.2.7"])
def test_where_sequence_numbers_are_rewritten_they_are_found_by_their_time_stamps(tmp_path, address):
    talks = list(working(stamped=True))
    for n, talk in enumerate(talks):  # so that no two are alike
        talk.ask(40 + n, b"x" * (n + 1), b"y").ask(50 + n)
    gone = {"lost": lambda side, t: side == "server" and t == 40.001}
    made = merged(split(tmp_path, talks, address=address, port=61_000, rewrite=(70_000, 1 << 31), **gone))
    assert [(pair.near, pair.far) for pair in made.pairs] == [(0, 0), (1, 1), (2, 2)]
    assert [(each.pair.near, each.by_client, each.final) for each in made.lost] == [(0, False, False)]
    assert abs(made.clocks.offset / SECOND - 0.3) <= made.clocks.error / SECOND + 1e-9 and not made.missed
    plain = split(tmp_path, list(working()), rewrite=(70_000, 1 << 31))
    assert "could not be matched" in both_ends(*map(found, plain))


# -- whose incidents count -------------------------------------------------------------------------------


def given_up(count=3):
    """The server gives its idle clients up, and none of its packets arrives: the clients see nothing."""
    for talk in working(count, asked=3):
        for t in (60, 70, 80):
            talk.next["server"] -= 1
            talk.say(t, "server", ACK)
            talk.next["server"] += 1
        yield talk.reset(90)


def test_what_only_the_far_file_shows_counts_on_the_near_files_clock(tmp_path):
    talks = [*given_up(), *working(2, asked=95)]
    for number, talk in enumerate(talks):
        talk.port = 40_000 + number
    near, far = split(
        tmp_path, talks, offset=-7.5, lost=lambda side, t: side == "server" and t in (60, 70, 80, 90)
    )
    assert not found(near).incidents and len(found(far).incidents) == 1
    made = merged([near, far])
    (incident,) = made.merged().incidents
    assert (
        incident.number == 1 and len(incident.connections) == 3 and incident.began == made.near.capture.began
    )
    assert incident.what.endswith(", which only far.pcap shows") and incident.cause.code == "lost_between"
    assert 3 < incident.low_s < 3.3 and incident.high_s <= 60.01
    assert {*made.merged().broke} == {*incident.connections} == {
        *made.merged().unaware
    } and made.remark() == ""
    assert made.to_json()["incidents"] == [incident.to_json()]
    assert made.near.incidents == () == tuple(made.near.broke)  # as it was


def test_what_only_the_far_file_shows_is_evidence_with_its_frames(tmp_path):
    talks = [*given_up(), *working(2, asked=95)]
    for number, talk in enumerate(talks):
        talk.port = 40_000 + number
    files = split(tmp_path, talks, lost=lambda side, t: side == "server" and t in (60, 70, 80, 90))
    made = both_ends(*(read_incidents(each.capture, each.diagnosis) for each in map(found, files)))
    report = incident_report(made.merged(), both=made)
    (row,) = (row for row in report.evidence if "which only far.pcap shows" in row.seen)
    assert row.frames.endswith(" of far.pcap") and row.t == round(made.only_far[0].low_s * SECOND)
    assert (
        "which only the server’s file shows" in incident_report(made.merged(), both=made, redact=True).html()
    )


def test_what_happened_after_the_near_file_ended_is_only_counted(tmp_path):
    made = merged(split(tmp_path, [*given_up()], lost=lambda side, t: side == "server" and t >= 60))
    assert made.merged().incidents == () and made.remark().startswith("far.pcap has 1 more incident")


def closed(count, at=50.0):
    for n, talk in enumerate(working(count, asked=3)):
        talk.packets.append(
            (at + n / 1000, "server", talk.next["server"], talk.next["client"], RST | ACK, b"")
        )
        yield talk


def test_an_incident_of_both_files_counts_once(tmp_path):
    made = merged(split(tmp_path, [*closed(4)]))
    (incident,) = made.merged().incidents
    assert incident == made.near.incidents[0] and "only" not in incident.what and made.remark() == ""


def test_of_connections_that_the_near_file_lacks_only_their_number_is_said(tmp_path):
    talks = list(closed(4))
    near, far = split(tmp_path, talks)
    others = [*closed(4, 55.0)]
    for talk in others:
        talk.client = "10.0.0.77"
    capture(far, *others, *working(4, asked=3), shift=0.3)
    near = capture(near, *working(4, asked=3), until=100)
    made = merged([near, far])
    assert made.merged().incidents == () and len(made.far.incidents) == 1
    assert made.remark() == (
        "far.pcap has 1 more incident, of connections or times that near.pcap does not hold."
    )


def test_part_of_an_incident_is_said_to_be_a_part(tmp_path):
    lost = {"lost": lambda side, t: side == "server" and t >= 50}
    near, far = split(tmp_path, [*closed(5)], **lost)
    kept = [talk for talk in closed(5) if talk.port < 40_002]
    capture(near, *(replace(t, packets=[p for p in t.packets if p[0] < 50]) for t in kept), until=100)
    made = merged([near, far])
    (incident,) = made.merged().incidents
    assert incident.connections == (0, 1)
    assert "5 connections" in incident.what
    assert incident.what.endswith(", which only far.pcap shows; 2 of them are in near.pcap")


def test_two_files_of_one_name_are_told_apart(tmp_path):
    near, far = split(tmp_path, list(working()))
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder, file in zip(folders, (near, far), strict=True):
        folder.mkdir()
        file.rename(folder / "trace.pcap")
    made = merged([folder / "trace.pcap" for folder in folders])
    assert "The clock of trace.pcap of the server’s side is 0.300 s ahead of" in made.clocks_line()


def test_bytes_in_other_pieces_are_not_lost(tmp_path):
    def talk(*pieces):
        made = Talk().open(0)
        for n, piece in enumerate(pieces):
            made.say(1 + n / 1e5, "server", PSH | ACK, piece)
        return made.say(1.1, "client", ACK).ask(2).ask(3)

    near = capture(tmp_path / "near.pcap", talk(b"a" * 1000, b"b" * 1000))
    far = capture(tmp_path / "far.pcap", talk(b"a" * 1000 + b"b" * 1000), shift=1.0)
    made = merged([near, far])
    assert made.lost == () and made.missed == 0


def test_what_can_not_be_matched_gets_one_sentence(tmp_path, capsys):
    one = capture(tmp_path / "one.pcap", *working(1))
    other = capture(tmp_path / "other.pcap", Talk(41_000, isn=(5, 6)).open(0).ask(1).reset(2))
    says = both_ends(found(one), found(other))
    assert says.startswith("one.pcap and other.pcap could not be matched: no connection is in both")
    assert cli.main(["diagnose", str(one), str(other)]) == 0
    assert says in capsys.readouterr().out
    syns = capture(
        tmp_path / "half.pcap", Talk().say(0, "client", PSH | ACK, b"x").say(1, "client", RST | ACK)
    )
    assert "their clocks can’t be compared" in both_ends(found(syns), found(syns))


def test_the_command_tells_one_story_of_two_files(capsys):
    files = [str(STORED / f"{name}.pcap") for name in ("case_2", "case_2_client")]
    assert cli.main(["diagnose", *files]) == 0
    printed = capsys.readouterr().out
    assert "case_2_client.pcap and case_2.pcap, on one clock:\nBetween 13:17:26.517 and" in printed
    assert cli.main(["diagnose", "--json", *files]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [result["file"] for result in results] == files
    (both,), (same,) = (result["both_ends"] for result in results)
    assert both == same and both["lost"]["client_to_server"] == [10, 11, 12, 13]
    assert both["client_file"] == "case_2_client.pcap" and both["connections"] == [[0, 0]]
