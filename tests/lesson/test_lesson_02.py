"""What lesson 02 says of recordings that it shows in folds, and the words on its controls."""

import pytest

from recordings.captures import STORED, Capture
from tcplab import FinOrRst, UnansweredConnect, explore, read_capture
from tcplab.lesson.page import proof_texts


def trace_of(name):
    return read_capture(STORED / f"{name}.pcap").connection(0)


def said(name):
    """What the client's program printed last."""
    return [event["result"] for event in Capture(name).sidecar["events"] if event["host"] == "client"][-1]


def first_ending(name):
    """Flags and sender of the first packet that ends something."""
    packet = next(p for p in trace_of(name).packets if set("FR") & set(p.segment.letters))
    return packet.sender, "FIN" if "F" in packet.segment.letters else "RST"


@pytest.mark.parametrize(
    ("name", "ends", "message"),
    [
        ("postgres_terminate_backend", "FIN", "terminating connection due to administrator command"),
        ("postgres_kill9_backend", "FIN", "server closed the connection unexpectedly"),
        ("postgres_kill9_postmaster", "FIN", "terminating connection due to unexpected postmaster exit"),
        ("mariadb_kill", "FIN", "ERROR 2013"),
        ("redis_shutdown", "FIN", "Error: Server closed the connection"),
        ("redis_kill9", "FIN", "Error: Broken pipe"),
        ("postgres_kill9_unread", "RST", "EPIPE"),
    ],
)
def test_how_a_recorded_server_ends_and_what_its_client_prints(name, ends, message):
    assert first_ending(name) == ("server", ends)
    assert message in said(name)
    assert proof_texts("fin_or_rst", name)["line"]


def test_a_killed_backend_says_nothing_and_a_terminated_one_leaves_its_message_unread():
    assert "FATAL" not in said("postgres_kill9_backend")
    queues = {s["recv_q"] for s in Capture("postgres_terminate_backend").sidecar["states"]
              if s["state"] == "CLOSE-WAIT"}  # fmt: skip
    assert queues == {118}
    assert "unexpected postmaster exit" in said("postgres_kill9_postmaster")


def test_a_fast_stop_ends_as_a_terminated_session_does():
    terminated, stopped = "postgres_terminate_backend", "postgres_stop_fast"
    assert stopped in proof_texts("fin_or_rst", terminated)["also"]
    assert first_ending(stopped) == first_ending(terminated) == ("server", "FIN")
    assert "terminating connection due to administrator command" in said(stopped)
    assert {118} == {s["recv_q"] for s in Capture(stopped).sidecar["states"] if s["state"] == "CLOSE-WAIT"}


def test_a_rejected_syn_and_a_closed_port_get_the_same_answer():
    rejected, closed = trace_of("lesson_syn_rejected"), trace_of("postgres_closed_port")
    for syn, answer in (rejected.packets, closed.packets):
        assert (syn.sender, syn.segment.letters) == ("client", "S")
        assert (answer.sender, answer.segment.letters) == ("server", "RA")
        assert (answer.segment.seq, answer.segment.ack) == (0, syn.segment.seq + 1)
        assert (answer.segment.window, answer.segment.length) == (0, 0)
    assert Capture("lesson_syn_rejected").sidecar["outcome"]["error"] == "ECONNREFUSED"


def test_redis_cli_is_answered_once_and_then_reset_by_the_server():
    trace = trace_of("redis_kill9")
    closed = next(p.t for p in trace.packets if "F" in p.segment.letters)
    probes = [(p.t - closed) / 1e9 for p in trace.packets if p.kind == "keepalive"]
    assert [round(t / 15) for t in probes] == [1, 2]
    (reset,) = [p for p in trace.packets if "R" in p.segment.letters]
    assert reset.sender == "server" and (reset.t - closed) / 1e9 == pytest.approx(probes[1], abs=0.1)


def test_endings_have_readable_names_on_the_screen_and_their_own_in_scripts():
    explorer = explore(FinOrRst, ending="kill_unread")
    control = explorer.controls["ending"]
    assert control.texts[control.steps.index("kill_unread")] == "kill -9, bytes unread"
    assert len(control.texts) == len(control.steps) == len(FinOrRst.knobs()["ending"].choices)
    explorer.set(client="idle")
    explorer.keep()
    explorer.set(ending="linger0", client="reading")
    assert "what ends it: kill -9, bytes unread" in explorer.timeline._repr_html_()
    assert "the client is idle" in explorer.timeline._repr_html_()
    assert explore(UnansweredConnect).controls["fate"].texts == [
        "dropped",
        "rejected",
        "sent to a closed port",
    ]
