"""What pictures and tables say about a segment or a call."""

import pytest

from pictures.transcripts import ISN, MS, Story, slow_reader
from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, URG, seq_add
from tcplab.core.text import SECOND
from tcplab.core.trace import Call
from tcplab.pictures.text import LINE, call_lines, call_words, flag_words, hover_texts, is_error, words


def said(story):
    return [w.plain for w in words(story.finish())]


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (SYN, "SYN"),
        (SYN | ACK, "SYN, ACK"),
        (FIN | PSH | ACK, "FIN, PSH, ACK"),
        (RST | ACK, "RST, ACK"),
        (ACK | URG, "ACK, URG"),
        (0, "no flags"),
        (ACK | 0x40, "ACK"),
    ],
)
def test_flags_in_wiresharks_words(flags, text):
    assert flag_words(flags) == text


@pytest.mark.parametrize(
    ("call", "result", "text"),
    [
        ("connect(10.0.0.2:5432)", "ok", "connect() → ok"),
        ("recv()", "200", "recv() → 200 bytes"),
        ("recv()", "end of file", "recv() → end of file"),
        ("send(40)", "40", "send(40) → 40"),
        ("send(40)", "EPIPE", "send(40) → ✗ EPIPE"),
        ("killed (SIGKILL)", "ok", "killed (SIGKILL) → ok"),
        ("SELECT pg_sleep", "ok", "SELECT pg_sleep → ok"),
    ],
)
def test_calls_as_one_says_them(call, result, text):
    assert call_words(Call(0, 0, "client", call, result)) == text


def test_errors_are_errno_names_only():
    assert is_error("ETIMEDOUT")
    assert is_error("E2BIG")
    assert not any(map(is_error, ["ok", "200", "end of file", "Error", "E", ""]))


def test_a_client_programs_message_is_an_error_too():
    assert is_error("ECONNRESET: Connection reset by peer")
    assert is_error("FATAL:  terminating connection due to administrator command")
    assert is_error('psql: error: connection to server at "10.0.0.2", port 5433 failed: Connection refused')
    assert not is_error("1 row")


def test_a_long_message_is_told_in_short_lines():
    result = 'psql: error: connection to server at "10.0.0.2",\n\tport 5433 failed: Connection refused'
    call = Call(0, 0, "client", "psql: select pg_terminate_backend(39);", result)
    lines = call_lines(call)
    assert lines[0] == "psql: select pg_terminate_backend…"
    assert lines[1].startswith("→ ✗ psql: error: ")
    assert lines[-1].endswith("Connection refused")
    assert max(map(len, lines)) <= LINE
    assert call_lines(Call(0, 0, "client", "recv()", "40")) == ["recv() → 40 bytes"]
    assert len(call_lines(Call(0, 0, "client", "x", "word " * 100))) == 4


def test_an_acknowledgement_number_is_news_only_where_it_moved():
    story = Story()
    t = story.open()
    story.say(t, "client", PSH | ACK, 1, 1, 10)
    story.say(t + MS, "client", PSH | ACK, 11, 1, 10)
    story.say(t + 2 * MS, "client", PSH | ACK, 21, 50, 10)
    story.say(t + 3 * MS, "client", ACK, 31, 50)
    assert said(story)[3:] == [
        "PSH, ACK  seq 1 len 10",
        "PSH, ACK  seq 11 len 10",
        "PSH, ACK  seq 21 ack 50 len 10",
        "ACK  ack 50",
    ]


def test_a_keepalive_counts_from_the_last_answer():
    story = Story()
    t = story.open()
    for answered in (True, False, False):
        t += 75 * SECOND
        lost = {} if answered else {"fate": "lost"}
        story.say(t, "client", ACK, 0, 1, kind="keepalive", **lost)
        if answered:
            story.say(t + MS, "server", ACK, 1, 1)
    probes = [text for text in said(story) if "keepalive" in text]
    assert [text.split("  ")[0] for text in probes] == [f"keepalive probe {n}" for n in (1, 1, 2)]


def test_an_answer_still_on_its_way_does_not_count():
    story = Story(latency=100 * MS)
    t = story.open()
    story.say(t, "client", ACK, 0, 1, kind="keepalive")
    story.say(t + 100 * MS, "server", ACK, 1, 1)
    story.say(t + 150 * MS, "client", ACK, 0, 1, kind="keepalive")
    story.say(t + 250 * MS, "client", ACK, 0, 1, kind="keepalive")
    probes = [text.split("  ")[0] for text in said(story) if "keepalive" in text]
    assert probes == ["keepalive probe 1", "keepalive probe 2", "keepalive probe 1"]


def test_window_probes_count_until_the_window_opens():
    texts = [w.plain for w in words(slow_reader(fills=2, stall=6))]
    probes = [text.split("  ")[0] for text in texts if "probe" in text]
    assert probes == [f"window probe {n}" for n in (1, 2, 3, 4)] * 2
    assert texts.count("zero window  ACK  ack 32769") == 5
    assert "window update  ACK  ack 32769 win 32768" in texts


def test_retransmissions_count_by_sequence_number():
    story = Story()
    t = story.open()
    for n, seq in enumerate((1, 1, 1, 41, 41)):
        kind = "retransmission" if n in (1, 2, 4) else ""
        story.say(t + n * SECOND, "client", PSH | ACK, seq, 1, 40, kind=kind)
    names = [w.name for w in words(story.finish())[3:]]
    assert names == ["", "retransmission 1", "retransmission 2", "", "retransmission 1"]


def test_a_block_held_out_of_order_is_told_in_relative_numbers():
    """Also where its absolute numbers wrap."""
    story = Story()
    t = story.open()
    start = ISN["client"]
    block = (seq_add(start, 11), seq_add(start, 41))
    assert block[0] > block[1], "this block lies across the wrap"
    story.say(t, "server", ACK, 1, 1, sack=(block,))
    assert said(story)[-1] == "ACK  ack 1 SACK 11–41"
    trace = story.finish()
    assert "options: SACK 11–41" in hover_texts(trace, words(trace))[-1]


def test_a_syn_inside_a_connection_shows_its_number():
    story = Story()
    t = story.open()
    story.say(t, "server", PSH | ACK, 1, 1, 10)
    story.say(t + MS, "client", SYN, 0)
    assert said(story)[-1] == "SYN"


@pytest.mark.parametrize(
    ("fate", "verdict", "says"),
    [
        ("lost", "", "✗ lost on the way"),
        ("dropped_by:a <box>", "", "✗ dropped by a &lt;box&gt;"),
        ("delivered", "ignored", "client ignored it without a word"),
        ("delivered", "challenged", "challenge ACK"),
        ("delivered", "accepted", "client obeyed it"),
        ("delivered", "", "delivered"),
    ],
)
def test_hover_says_what_became_of_it(fate, verdict, says):
    story = Story()
    story.open()
    story.say(SECOND, "server", RST, 1, fate=fate, verdict=verdict)
    trace = story.finish()
    assert says in hover_texts(trace, words(trace))[-1].split("<br>")[-1]


def test_what_never_arrived_when_the_run_ended_is_on_its_way():
    story = Story()
    story.open()
    trace = story.finish()
    trace.packets[-1].arrives = None
    assert hover_texts(trace, words(trace))[-1].endswith("still on its way when the run ended")
