"""What pictures say about a segment, a call and an instant, and when things happened, in seconds."""

from pathlib import Path

import pytest

from pictures.transcripts import ALL, ISN, MS, Story, slow_reader
from tcplab import EXPERIMENTS, DeadPeer, HandshakeAndClose, Keepalive, SlowReader, read_capture, run
from tcplab.core.segment import ACK, FIN, PSH, RST, SYN, URG, seq_add
from tcplab.core.text import SECOND
from tcplab.core.trace import Call, Trace
from tcplab.pictures.text import (
    LINE,
    call_lines,
    call_words,
    events_at,
    flag_words,
    hover_texts,
    instant_to_show,
    instant_words,
    instants,
    is_error,
    keepalive_times_s,
    position,
    sending_times_s,
    window_closed_s,
    window_probe_times_s,
    words,
)


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
    assert ", SACK 11–41<br>" in hover_texts(trace, words(trace))[-1]


def test_a_syn_inside_a_connection_shows_its_number():
    story = Story()
    t = story.open()
    story.say(t, "server", PSH | ACK, 1, 1, 10)
    story.say(t + MS, "client", SYN, 0)
    assert said(story)[-1] == "SYN"


@pytest.mark.parametrize(
    ("fate", "verdict", "says"),
    [
        ("lost", "", "✗ lost on the path"),
        ("dropped_by:a <box>", "", "✗ dropped by a &lt;box&gt;"),
        ("delivered", "ignored", "client ignored it, no answer"),
        ("delivered", "challenged", "challenge ACK"),
        ("delivered", "accepted", "client obeyed it"),
        ("delivered", "", "server ends the connection at once"),
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
    assert hover_texts(trace, words(trace))[-1].endswith("still in flight when the run ended")


RUNS = {
    f"{kind.name}: {preset}": kind(**values)
    for kind in EXPERIMENTS.values()
    for preset, values in kind.presets.items()
}


@pytest.mark.parametrize("experiment", RUNS.values(), ids=RUNS)
def test_every_event_is_an_instant_and_the_first_one_shown_has_a_timer(experiment):
    trace = run(experiment)
    found = instants(trace)
    assert found == sorted(set(found))
    assert {packet.t for packet in trace.packets} | {sample.t for sample in trace.sockets} <= set(found)
    with_timer = [t for t in found if any(sample.timer for sample in trace.sockets_at(t))]
    assert instant_to_show(trace, found) == (with_timer or found)[-1]
    for t in found:
        assert events_at(trace, t) or any(sample.t == t for sample in trace.sockets) or t == trace.end


@pytest.mark.parametrize("story", ALL.values() if isinstance(ALL, dict) else ALL)
def test_the_position_of_an_instant_is_the_last_one_not_after_it(story):
    found = instants(story() if callable(story) else story)
    for i, t in enumerate(found):
        assert position(found, t) == i
        assert position(found, t + 1) == (i + 1 if t + 1 in found else i)
    assert position(found, found[0] - 1) == 0


def test_a_trace_of_nothing_has_one_instant():
    empty = Trace("nothing", "model")
    assert instants(empty) == [0] and instant_to_show(empty, [0]) == 0 and instant_words(empty, 0) == "0 s"


def test_what_happened_is_said_in_words():
    story = Story()
    t = story.open()
    story.note(t + SECOND, "server", "unplugged")
    story.say(t + 2 * SECOND, "client", RST, 1, fate="lost")
    story.say(t + 3 * SECOND, "client", RST, 1, fate="dropped_by:DROP")
    trace = story.finish(t + 3 * SECOND)
    assert events_at(trace, trace.start) == [
        "client sends SYN",
        "client: connect() waits",
        "server: accept() waits",
    ]
    assert events_at(trace, trace.start + 2 * MS) == [
        "client gets SYN, ACK",
        "client sends ACK",
        "client: connect() → ok",
    ]
    assert events_at(trace, trace.start + t + SECOND) == ["server: unplugged"]
    assert instant_words(trace, trace.start + t + 2 * SECOND) == "2.003 s: client sends RST (✗ lost)"
    assert events_at(trace, trace.start + t + 3 * SECOND) == ["client sends RST (✗ dropped by DROP)"]
    assert events_at(trace, trace.start + 1) == []


CAPTURES = Path(__file__).parents[2] / "data" / "captures"


def capture(name):
    return read_capture(CAPTURES / f"{name}.pcap").connection(0)


def test_probes_count_from_the_last_data():
    alive = run(Keepalive(idle_s=5, interval_s=3, peer="alive", watch_s=17, latency_ms=20))
    assert keepalive_times_s(alive) == pytest.approx([5, 10, 15], abs=0.15)
    after_data = run(Keepalive(idle_s=15, interval_s=5, probes=3, data_every_s=10))
    assert keepalive_times_s(after_data) == pytest.approx([15, 20, 25], abs=0.01)
    real = keepalive_times_s(capture("postgres_idle_in_transaction"))
    assert real == pytest.approx([5, 10, 15], rel=0.08)


def test_a_query_in_flight_is_sent_again_and_again():
    trace = run(DeadPeer(retries2=3))
    times = sending_times_s(trace)
    assert times[0] == 0 and times == sorted(times) and len(times) == trace.outcome["transmissions"]
    assert len(sending_times_s(run(HandshakeAndClose()))) == 1


def test_window_probes_count_from_the_closing_of_the_window():
    trace = run(SlowReader(receive_buffer=8192, response=40_000, stops_reading_s=0.5, user_timeout_s=10))
    model, real = window_probe_times_s(trace), window_probe_times_s(capture("lesson_client_write"))
    assert model == pytest.approx([0.2, 0.6, 1.5, 3.2, 6.6], abs=0.1)
    assert real == pytest.approx(model, rel=0.08, abs=0.05)
    closed = window_closed_s(trace)
    first = next(p for p in trace.packets if p.kind == "window_probe")
    assert closed + model[0] == pytest.approx(trace.seconds(first.t))


def test_where_nothing_of_the_kind_happened_there_are_no_times():
    healthy = run(HandshakeAndClose())
    assert keepalive_times_s(healthy) == window_probe_times_s(healthy) == []
    assert window_closed_s(healthy) is None
