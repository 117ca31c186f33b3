"""What a server said last: each database's messages, in both readers, and never where names are left out."""

import json
from pathlib import Path

import pytest

from recordings.captures import PROJECT
from talks import Talk, capture
from tcplab import cli, diagnose, read_capture
from tcplab.capture.capture import Capture
from tcplab.capture.incidents import find_incidents
from tcplab.capture.messages import KEPT, MEANINGS, MOST_MESSAGES, Messages, meaning_of, read_message
from tcplab.capture.plain import read_plain
from tcplab.core.segment import ACK, PSH
from tcplab.pictures.incident import read_incidents
from tcplab.pictures.report import incident_report


def postgres(severity, code, text, kind=b"E", local=""):
    fields = {"S": local or severity, "V": severity, "C": code, "M": text}
    body = b"".join(f"{key}{value}".encode() + b"\0" for key, value in fields.items()) + b"\0"
    return kind + (len(body) + 4).to_bytes(4) + body


def mysql(number, text, state="", sequence=0):
    body = b"\xff" + number.to_bytes(2, "little") + (f"#{state}".encode() if state else b"") + text.encode()
    return len(body).to_bytes(3, "little") + bytes([sequence]) + body


CASES = Path(__file__).parent / "cases"
MESSAGES = [
    (postgres("FATAL", "57P01", "terminating connection due to administrator command"), "FATAL 57P01", True),
    (postgres("FATAL", "57P01", "breche la connexion", local="FATAL :"), "FATAL 57P01", True),
    (postgres("WARNING", "57P02", "crash of another server process", kind=b"N"), "WARNING 57P02", True),
    (postgres("ERROR", "42P01", "relation does not exist"), "ERROR 42P01", False),
    (postgres("NOTICE", "00000", "table does not exist, skipping", kind=b"N"), "NOTICE 00000", False),
    (mysql(1040, "Too many connections"), "1040", True),
    (mysql(1045, "Access denied for user", "28000", 2), "1045 (28000)", True),
    (mysql(4031, "The client was disconnected", "HY000"), "4031 (HY000)", True),
    (mysql(1064, "You have an error in your SQL syntax", "42000", 1), "1064 (42000)", False),
    (mysql(1045, "Access denied for user", "28000", 1), "1045 (28000)", False),
    (mysql(1044, "Access denied for user", "42000", 2), "1044 (42000)", True),
    (b"-DENIED Redis is running in protected mode".ljust(KEPT, b"."), "DENIED", True),
    (b"-ERR max number of clients reached\r\n", "ERR", True),
    (b"-NOAUTH Authentication required.\r\n", "NOAUTH", False),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "words", "ends"), MESSAGES)
def test_a_message_is_read_with_its_code_and_text(payload, words, ends):
    message = read_message(payload)
    assert f"{message.severity} {message.code}".strip() == words and message.ends is ends
    assert message.text and message.quoted.startswith(f"{words} “")
    for short in range(len(payload)):  # what a short snap length leaves of it
        cut = read_message(payload[:short])
        assert cut is None or cut.code in message.code


@pytest.mark.parametrize(
    "payload",
    [b"", b"E", b"E\0\0\0\x04", b"HTTP/1.1 200 OK", b"-PONG\r\n", b"N" * 64, b"\x05\0\0\0\xff\xff\xff##\0",
     postgres("FATAL", "5", "x"), b"\x17\x03\x03\0\x20" + bytes(40), b"-E" * 300],
)  # fmt: skip
def test_what_is_no_message_is_none(payload):
    assert read_message(payload) is None


def test_the_meaning_depends_on_code_and_text():
    def says(text):
        return meaning_of(read_message(postgres("FATAL", "57P01", text))).says

    assert says("terminating connection due to unexpected postmaster exit").startswith("its main process")
    assert says("terminating connection due to administrator command").startswith("an administrator")
    assert meaning_of(read_message(postgres("FATAL", "XX000", "?"))) is None
    for each in MEANINGS:
        first = next(m for m in MEANINGS if each.code.startswith(m.code) and m.text in each.text)
        assert first is each  # no row hides another one


def test_so_many_messages_are_kept_and_no_more():
    kept = Messages()
    for frame in range(MOST_MESSAGES + 10):
        kept.add(frame, 0, b"-ERR max number of clients reached\r\n")
        kept.add(frame, frame, b"-NOAUTH x\r\n")
    assert len(list(kept)) == 2 * MOST_MESSAGES


def read_both(path):
    fast = read_capture(path)
    return fast, Capture(fast.name, read_plain(path), fast.sidecar)


@pytest.mark.parametrize(("payload", "words", "ends"), MESSAGES)
def test_it_is_the_cause_where_it_was_the_servers_last_data(tmp_path, payload, words, ends):
    ended = Talk().open(0).ask(0.1).say(5, "server", PSH | ACK, payload).close(5.001)
    went_on = Talk(40_001).open(0).ask(0.1, answer=payload).ask(3).close(5, "client")
    by_client = Talk(40_002).open(0).say(0.1, "client", PSH | ACK, payload).ask(1).close(5.2, "client")
    path = capture(tmp_path / "x.pcap", ended, went_on, by_client)
    for read in read_both(path):
        found = find_incidents(read, diagnose(read))
        assert list(found.said) == [0] and found.said[0].message == read_message(payload)
        assert list(found.broke) == ([0] if ends else [])
        if ends:
            assert found.cause.certainty == "said by the server" and words in found.cause.says
            assert f"last message, in frame 23: {words} “" in " ".join(found.remarks(0))
        assert found.life(0).doing == ("idle" if ends else None)


#: What real servers sent, MariaDB 10.11.19 and Redis 7.0.15: of each connection the code, and whether it
#: broke. MariaDB: KILL of an idle and of a running session, a wrong password, a syntax error and quit, a
#: database without rights, two clients too many; a shutdown with an idle and a running session; a host
#: without account. Redis: protected mode, no password, a wrong one, an unknown command, a stop, and a client
#: too many.
SENT = {
    "16_mariadb_errors": [
        (None, True), (None, True), ("1045 (28000)", True), ("1064 (42000)", False), ("1044 (42000)", True),
        ("1040 (08004)", True), ("1040 (08004)", True),
    ],
    "17_mariadb_shutdown": [(None, True), (None, True)],
    "18_mariadb_host_not_allowed": [("1130", True), ("1130", True)],
    "19_redis_errors": [
        ("DENIED", True), ("NOAUTH", False), ("NOAUTH", False), ("ERR", False), (None, False), (None, False),
        ("ERR", True),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SENT)
def test_what_real_servers_sent(name):
    for read in read_both(CASES / f"{name}.pcap"):
        found = find_incidents(read, diagnose(read))
        codes = [last and last.message.code for last in map(found.said.get, range(len(found.diagnosis)))]
        assert [(code, n in found.broke) for n, code in enumerate(codes)] == SENT[name]
        for last in found.said.values():
            assert bool(meaning_of(last.message)) is last.message.ends


@pytest.mark.parametrize("number", [1317, 2013])
def test_an_interrupted_statement_ends_the_session_where_the_server_closes_next(tmp_path, number):
    payload = mysql(number, "Query execution was interrupted", "70100", 1)

    def interrupted(port):
        return (
            Talk(port).open(0).ask(0.1).say(2, "client", PSH | ACK, b"SELECT").say(5, "server", PSH, payload)
        )

    killed, cancelled = interrupted(40_000).close(5.001), interrupted(40_001).close(5.001, "client")
    quits = interrupted(40_002).say(5.5, "client", PSH | ACK, b"quit!").close(5.501)
    idle = interrupted(40_003).close(20)
    for read in read_both(capture(tmp_path / "x.pcap", killed, cancelled, quits, idle)):
        found = find_incidents(read, diagnose(read))
        assert list(found.broke) == [0] and found.cause.code == "server_message"
        assert found.life(0).doing == "waiting" and "closed 1 connection" in found.headline()


def test_a_close_instead_of_an_answer_is_no_goodbye(tmp_path):
    """KILL of a session whose statement runs: MySQL and MariaDB close without a message."""
    killed = Talk().open(0).ask(0.1).say(2, "client", PSH | ACK, b"SELECT").close(5)
    says_goodbye = Talk(40_001).open(0).ask(0.1).say(2, "client", PSH | ACK, b"quit!").close(7)
    at_once = Talk(40_002).open(0).ask(0.1).say(2, "client", PSH | ACK, b"logout").close(2.001)
    answered = Talk(40_003).open(0).ask(0.1, b"SELECT").close(9)
    for read in read_both(capture(tmp_path / "x.pcap", killed, says_goodbye, at_once, answered)):
        found = find_incidents(read, diagnose(read))
        assert list(found.broke) == [0] and found.life(0).doing == "waiting"
        assert found.cause.code == "session_ended"


def test_every_recording_has_the_same_messages_without_numpy():
    for path in sorted((PROJECT / "data" / "captures").glob("*.pcap")):
        fast, plain = read_both(path)
        assert fast.table.messages == plain.table.messages, path.name


def test_of_a_recording_with_its_json(capsys):
    cli.main(["diagnose", str(PROJECT / "data" / "captures" / "postgres_stop_fast.pcap"), "--json"])
    life = json.loads(capsys.readouterr().out)["connections"][0]["life"]
    assert life["last_message"] == {
        "protocol": "PostgreSQL", "severity": "FATAL", "code": "57P01",
        "text": "terminating connection due to administrator command", "ends": True, "frame": 11,
        "t": life["broke"]["from"],
    }  # fmt: skip
    assert life["broke"]["how"] == "server_end" and life["doing"] == "idle" and not life["open"]


def test_redacted_the_text_is_left_out_and_its_code_stays(tmp_path):
    secret = 'role “bob” of 10.0.0.1 in database "payroll" is not permitted to log in'
    talk = Talk().open(0).say(1, "server", PSH | ACK, postgres("FATAL", "28000", secret)).close(1.001)
    read = read_capture(capture(tmp_path / "x.pcap", talk))
    timeline = read_incidents(read, diagnose(read))
    assert "bob" in incident_report(timeline).html()
    for page in (report := incident_report(timeline, redact=True)).html(), report.markdown():
        assert "bob" not in page and "payroll" not in page and "permitted" not in page
        assert "28000" in page and "(text left out)" in page
