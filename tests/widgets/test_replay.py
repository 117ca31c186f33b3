"""The replay: every step says and draws what had happened by then, for every witness."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inside import button_of
from pictures.transcripts import Story
from recordings.captures import PROJECT
from tcplab import (
    DeadPeer,
    FinOrRst,
    HandshakeAndClose,
    Keepalive,
    ProxyLegs,
    SlowReader,
    diagnose,
    read_capture,
    replay,
    run,
    write_pcap,
)
from tcplab.capture.capture import Capture
from tcplab.capture.findings import findings_of
from tcplab.capture.plain import read_plain
from tcplab.core.text import SECOND
from tcplab.core.trace import Trace
from tcplab.follow import EndStates
from tcplab.pictures.console import screens_html
from tcplab.pictures.replay import (
    HEIGHT,
    INFERRED,
    LOOK_BACK,
    NOTHING,
    OVERLAP,
    PAGE,
    ReplaySteps,
    consoles,
    ends_table,
)

CAPTURES = sorted((PROJECT / "data" / "captures").glob("*.pcap"))


def captured(name):
    return read_capture(PROJECT / "data" / "captures" / f"{name}.pcap").connection(0)


def drawn(widget):
    return json.loads(widget.picture.get_state()["drawn"])


def arrows(widget):
    """How many arrows are drawn."""
    data = drawn(widget)["data"]
    return sum(len({i for i in each["customdata"] if i is not None}) for each in data if "customdata" in each)


@pytest.mark.parametrize(
    "trace",
    [run(Keepalive()), run(DeadPeer()), run(ProxyLegs()), captured("keepalive"), captured("keepalive")],
    ids=["keepalive", "dead peer", "three hosts", "capture", "again"],
)
def test_every_step_draws_what_was_sent_by_then_and_says_what_happened(trace):
    widget = replay(trace)
    assert widget.position == 0
    for step, t in enumerate(widget.steps.instants):
        widget.go(step)
        assert widget.t == t
        assert arrows(widget) == sum(p.t <= t for p in trace.packets)
        assert widget.sentence
        assert f"Step {step + 1} of {len(widget.steps)}" in widget.status.value
        since = max((t - trace.watching_since) / SECOND, 0)
        assert widget.timeline.cursor == pytest.approx(since)
    assert widget.forward.disabled and not widget.back.disabled
    widget.step(1)
    assert widget.position == len(widget.steps) - 1
    widget.go(-5)
    assert widget.position == 0 and widget.back.disabled


def test_buttons_keys_and_the_timeline_do_the_same():
    widget = replay(captured("keepalive"))
    button_of(widget, "Forward").click()
    assert widget.position == 1
    widget.press("ArrowRight")
    assert widget.position == 2
    widget.press("ArrowLeft")
    button_of(widget, "Back").click()
    assert widget.position == 0
    widget.timeline.cursor = (widget.steps.instants[3] - widget.steps.trace.start) / SECOND + 1e-4
    assert widget.position == 3
    widget.timeline.cursor = -1.0  # Esc: the step stays
    assert widget.position == 3
    widget.press("End")
    assert widget.position == len(widget.steps) - 1
    widget.press("Home")
    widget.press("x")
    assert widget.position == 0


def test_the_next_finding_is_jumped_to_and_told_with_its_lesson():
    trace = captured("lesson_client_write")
    widget = replay(trace)
    found = sorted({widget.steps.step_of(finding) for finding in widget.steps.findings})
    assert len(found) >= 3
    visited = []
    for _ in found:
        widget.press("n")
        visited.append(widget.position)
        (finding, *_) = widget.steps.findings_at(widget.position)
        assert finding.says in widget.sentence
        assert f"{finding.lesson}.ipynb" in widget.status.value
    assert visited == found
    widget.press("n")
    assert widget.position == found[-1]
    widget.press("p")
    assert widget.position == found[-2]


def test_findings_can_be_given_and_without_any_there_is_nowhere_to_jump():
    capture = read_capture(PROJECT / "data" / "captures" / "keepalive.pcap")
    trace, findings = capture.connection(0), diagnose(capture).connections[0].findings
    widget = replay(trace, findings[:1], capture.frames(0))
    assert widget.steps.findings == list(findings[:1])
    widget.look_at(0)
    assert f"frame {capture.frames(0)[0]})" in widget.sentence
    nothing = replay(run(Keepalive()))
    assert button_of(nothing, "Next finding").disabled
    nothing.next_finding()
    assert nothing.position == 0


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_findings_of_a_trace_alone_are_those_of_its_capture(path):
    capture = read_capture(path)
    if len(capture.connections) != 1:
        return
    alone = findings_of(capture.connection(0))
    assert [each.code for each in alone] == [each.code for each in diagnose(capture).connections[0].findings]


def test_a_capture_read_without_numpy_is_replayed_with_the_same_findings():
    path = PROJECT / "data" / "captures" / "lesson_client_write.pcap"
    plain = Capture(path.name, read_plain(path)).connection(0)
    findings = replay(plain).steps.findings
    assert findings and findings == replay(captured("lesson_client_write")).steps.findings


# -- the timeline ------------------------------------------------------------------------------


def test_it_stands_on_top_whole_until_a_moment_is_chosen_and_has_the_findings():
    widget = replay(captured("lesson_client_write"))
    assert widget.timeline.cursor == -1.0
    now = widget.timeline.picture.now
    assert [b.text for b in now.breaks] == ["retransmission", "zero window", "reset by server"]
    widget.next_finding()
    assert widget.timeline.cursor == pytest.approx(now.breaks[0].t_s)
    frame = json.loads(widget.timeline.frame)
    assert {t for t, _ in frame["events"]} >= {b.t_s for b in now.breaks}
    assert "<svg" in widget._repr_html_() and "(inferred)" in widget._repr_html_()
    widget.show(captured("dead_peer"))
    assert widget.timeline.cursor == -1.0 and widget.position == 0
    assert [b.text for b in widget.timeline.picture.now.breaks] == ["dead peer"]


def test_space_plays_it_in_the_page(monkeypatch):
    widget = replay(captured("keepalive"))
    sent = []
    monkeypatch.setattr(widget.timeline, "send", sent.append)
    widget.press(" ")
    assert sent == [{"play": True}]
    # As the page then says ten times a second: what has happened by then is shown.
    for seconds in (0.5, 4.5, 9.0, 10.3):
        widget.timeline.cursor = seconds
        assert widget.position == widget.steps.position(widget.steps.trace.start + round(seconds * SECOND))
    assert widget.position == len(widget.steps) - 1


def test_the_axis_is_linear_or_logarithmic_and_nothing_is_kept():
    widget = replay(captured("case_1"))
    for wanted in ("log", "linear"):
        widget.timeline._pressed(wanted)
        frame = json.loads(widget.timeline.frame)
        assert frame["axis"]["log"] == (wanted == "log") and frame["bar"]["kept"] is None


# -- what is drawn -----------------------------------------------------------------------------


def long_story(exchanges):
    story, t = Story(), 0
    t = story.open()
    for i in range(exchanges):
        t = story.exchange(t + SECOND, seq=1 + 40 * i, ack=1 + 200 * i)
    return story.finish(t)


def test_a_long_connection_is_drawn_a_page_at_a_time_with_its_own_numbers():
    trace = long_story(100)
    widget = replay(trace)
    numbers = trace.relative()
    for step in range(0, len(widget.steps), 7):
        widget.go(step)
        page = widget.steps.page(widget.t)
        assert len(page.packets) <= PAGE + PAGE // 2 + OVERLAP + LOOK_BACK
        assert page.start == trace.start
        begin = trace.packets.index(page.packets[0])
        assert page.relative() == numbers[begin : begin + len(page.packets)]
        last = widget.steps.segments_by(widget.t) - 1
        assert begin <= last < begin + len(page.packets)
        assert drawn(widget)["layout"]["height"] <= HEIGHT


def test_a_connection_without_end_is_replayed_so_far_and_that_is_said(monkeypatch):
    trace = captured("lesson_client_write")
    monkeypatch.setattr("tcplab.pictures.replay.MOST", 20)
    whole = findings_of(trace)
    widget = replay(trace, whole)
    assert len(widget.steps.trace.packets) == 20
    kept = [finding for finding in whole if finding.t <= widget.steps.instants[-1]]
    assert widget.steps.findings == sorted(kept, key=lambda finding: finding.t) and len(kept) < len(whole)
    later = len(whole) - len(kept)
    says = f"The replay ends after the first 20 of 29 segments; findings that begin later: {later}."
    assert says in widget.title.value
    for step in range(len(widget.steps)):
        widget.go(step)


def test_the_moment_stays_in_the_frame_and_so_do_the_names():
    widget = replay(captured("lesson_client_write"))
    for step, t in enumerate(widget.steps.instants):
        widget.go(step)
        layout = drawn(widget)["layout"]
        bottom, top = layout["yaxis"]["range"]
        assert top <= widget.axis.bottom_of(t) <= bottom
        named = {each["text"] for each in layout["annotations"]}
        assert named == ({"<b>client</b>", "<b>server</b>"} if top > -40 else set())


def test_a_click_on_the_picture_goes_to_its_moment():
    widget = replay(captured("lesson_client_write"))
    widget.press("End")
    y = widget.axis.bottom_of(widget.steps.instants[20]) + 1
    widget.picture.clicked = {"y": y, "change": drawn(widget)["change"]}
    assert widget.position == 20


def test_a_trace_of_nothing_says_so():
    widget = replay(Trace("nothing", "capture"))
    assert repr(widget) == widget.sentence == NOTHING
    assert NOTHING in widget.title.value and widget.figure is None
    for key in ("ArrowRight", "n", " ", "End"):
        widget.press(key)


def test_a_new_page_is_given_where_it_stands():
    widget = replay(captured("keepalive"))
    widget.go(4)
    assert drawn(widget)["change"] == widget.picture.changes
    assert widget.timeline.get_state()["cursor"] == widget.timeline.cursor > 0
    assert "Step 5 of" in widget.status.get_state()["value"]


# -- what is inferred --------------------------------------------------------------------------


def states_of(trace, host):
    return [sample.state for sample in EndStates(trace).trace.sockets if sample.host == host]


def test_the_states_of_a_healthy_connection():
    assert states_of(captured("handshake_and_close"), "client") == [
        "SYN_SENT", "ESTABLISHED", "FIN_WAIT_1", "TIME_WAIT",
    ]  # fmt: skip
    assert states_of(captured("handshake_and_close"), "server") == [
        "SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSED",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [HandshakeAndClose, FinOrRst, SlowReader, Keepalive, DeadPeer])
def test_inferred_states_are_those_of_the_model(kind, tmp_path):
    """Captured at the client: what its segments tell of it is what the model's client was in."""
    trace = run(kind())
    path = tmp_path / "model.pcap"
    write_pcap(trace, path)
    seen = read_capture(path).connection(0)
    steps = ReplaySteps(seen)
    known = {s.state for s in trace.sockets if s.host == "client"} | {"CLOSED"}
    inferred = [s.state for s in steps.trace.sockets if s.host == "client"]
    assert set(inferred) <= known
    order = [s.state for s in trace.sockets if s.host == "client" and s.state not in ("LISTEN",)]
    remaining = iter(order)
    assert all(any(state == each for each in remaining) for state in inferred if state != "CLOSED")


def test_a_reset_that_was_ignored_closes_nothing():
    steps = ReplaySteps(captured("lesson_reject_stale"))
    assert "reset_ignored" in [finding.code for finding in steps.findings]
    assert {end.state for end in steps.ends.at(steps.trace.end)} == {"ESTABLISHED"}


def test_the_last_reset_of_a_dead_peer_reaches_nobody():
    steps = ReplaySteps(captured("lesson_keepalive_and_data"))
    client, server = steps.ends.at(steps.trace.end)
    assert (client.host, client.state) == ("client", "CLOSED")
    assert (server.host, server.state) == ("server", "ESTABLISHED")


def test_timers_are_those_that_the_capture_saw_run_out():
    steps = ReplaySteps(captured("lesson_keepalive_and_data"))
    probes = [p.t for p in steps.trace.packets if p.kind == "keepalive"]
    for count, t in enumerate(probes):
        client, _ = steps.ends.at(t - SECOND)
        sample = steps.ends.sample(client, t - SECOND)
        assert (sample.timer, sample.due, sample.unanswered) == ("keepalive", t, count)
    assert "keepalive probe in 1 s, 2 without an answer" in ends_table(steps, probes[-1] - SECOND)


def test_the_sockets_of_a_capture_have_the_states_and_timers_that_its_packets_show():
    trace = captured("keepalive")
    seen = EndStates(trace).trace
    assert seen.inferred and not trace.inferred and len(trace.sockets) > 0
    client = [s for s in seen.sockets if s.host == "client"]
    assert [s.state for s in client] == ["SYN_SENT", *["ESTABLISHED"] * 5, "CLOSED"]
    probes = [p.t for p in seen.packets if p.kind == "keepalive"]
    armed = [(s.due, s.unanswered) for s in client if s.timer == "keepalive"]
    assert armed == list(zip(probes, range(3), strict=True))
    (waits,) = [s for s in EndStates(captured("handshake_and_close")).trace.sockets if s.timer]
    assert (waits.host, waits.state, waits.timer, waits.due - waits.t) == (
        "client", "TIME_WAIT", "timewait", 60 * SECOND,
    )  # fmt: skip
    model = run(Keepalive())
    assert EndStates(model).trace is model


def test_what_nobody_can_know_is_not_claimed():
    steps = ReplaySteps(captured("lesson_keepalive_and_data"))
    shown = consoles(steps, steps.trace.packets[8].t)
    assert "# inferred" in shown and " ?      " in shown
    assert "no segment tells" in INFERRED


def test_of_a_model_the_sockets_are_shown_as_they_were():
    trace = run(Keepalive())
    steps = ReplaySteps(trace)
    t = trace.end - SECOND
    assert not steps.ends.inferred
    assert consoles(steps, t) == screens_html(trace, t)
    assert "inferred" not in ends_table(steps, t)


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(0, 10**6))
def test_every_moment_has_its_step(exchanges, part):
    steps = ReplaySteps(long_story(exchanges))
    moments = steps.instants
    assert moments == sorted(set(moments))
    t = moments[0] + (moments[-1] - moments[0]) * part // 10**6
    step = steps.position(t)
    assert moments[step] <= t and (step + 1 == len(moments) or t < moments[step + 1])
    assert all(text.endswith(".") for text in steps.at(step))
