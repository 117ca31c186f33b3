"""The explorer, driven without a browser: whatever is turned, all of it shows the same run."""

import asyncio
import base64
import json
import re
import threading
from dataclasses import dataclass
from html import escape

import ipywidgets as widgets
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inside import button_of, everything_in, only, open_tab, tabs, text_in
from tcplab import (
    EXPERIMENTS,
    AcceptQueue,
    BindOrConnect,
    DeadPeer,
    Failover,
    FinOrRst,
    HandshakeAndClose,
    Keepalive,
    Pool,
    PortChurn,
    PortRange,
    ProxyLegs,
    RstInWindow,
    SlowReader,
    TimeWait,
    explore,
)
from tcplab.advice.settings import settings as to_paste
from tcplab.bench import run
from tcplab.capture.pcap import pcap_bytes
from tcplab.core.knobs import ParameterError
from tcplab.core.text import SECOND, scrolled
from tcplab.experiments.experiment import Experiment
from tcplab.pictures import ladder
from tcplab.pictures.console import console
from tcplab.pictures.tables import trace_table
from tcplab.pictures.text import MOST, excerpt
from tcplab.widgets.base import Fold
from tcplab.widgets.explorer import OWN, CursorSlider, Explorer
from tcplab.widgets.maps import UNTRIED, matrix
from tcplab.widgets.show import OF_ALL, PICTURES
from tcplab.widgets.timeline import LivingTimeline


def presets_of(explorer):
    return next(w for w in everything_in(explorer) if w.has_trait("options") and OWN in w.options)


def drawn(explorer):
    """What a page that is reloaded now would draw."""
    state = explorer.picture.figure.get_state()["drawn"]
    return json.loads(state) if state else None


def as_json(thing):
    return json.loads(json.dumps(thing))


def assert_all_agree(explorer):
    """Controls, values, sentence, picture and the open tab belong to one and the same run."""
    values = explorer.values
    for name, value in values.items():
        assert explorer.controls[name].value == value, name
    preset = presets_of(explorer).value
    kind = explorer.experiment_class
    same = [name for name, changes in kind.presets.items() if {**kind.defaults(), **changes} == values]
    assert preset == (same[0] if same else OWN)
    said = explorer.status.value
    if explorer.error:
        assert explorer.sentence == explorer.error
        assert explorer.trace is None and explorer.experiment is None and not explorer.outcome
        assert drawn(explorer) is None and explorer.figure is None
        assert tabs(explorer).layout.display == "none"
        assert said.count("<p") == 1 and "Traceback" not in said
        return
    experiment = explorer.experiment_class.from_values(values)
    trace = run(experiment)
    assert explorer.trace.to_json() == trace.to_json()
    assert explorer.sentence == experiment.sentence(trace)
    assert tabs(explorer).layout.display != "none"
    found = tabs(explorer)
    title = found.titles[found.selected_index]
    inside = found.children[found.selected_index]
    if title == "Picture":
        shown = drawn(explorer)
        at = explorer.cursor.t if explorer.cursor.picked else None
        name = explorer.picture.picture
        seen = trace if name in OF_ALL else excerpt(trace)
        beside = {"kept": explorer.kept, "limits": explorer.picture.drawn.limits}
        wanted = ladder.draw(seen, at=at) if name == "ladder" else PICTURES[name](seen, **beside)
        assert shown["data"] == as_json(wanted.data) and shown["layout"] == as_json(wanted.layout)
    elif title == "Segments":
        assert inside.value == scrolled(trace_table(excerpt(trace)), "segments")
    elif title == "Settings to paste":
        assert inside.value.count("<textarea") == len(to_paste(experiment))


@pytest.mark.parametrize("kind", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_it_shows_every_experiment_and_each_of_its_presets(kind):
    explorer = explore(kind)
    assert_all_agree(explorer)
    assert isinstance(explorer.figure, go.Figure)
    assert 3 <= len(kind.controls) <= 6
    for preset in kind.presets:
        explorer.use(preset)
        assert explorer.error is None
        assert_all_agree(explorer)
        for title in tabs(explorer).titles:
            open_tab(explorer, title)
            assert_all_agree(explorer)


def test_a_cell_turns_it_and_prints_what_happened(capfd):
    explorer = explore(Keepalive)
    assert explorer.outcome["detected_after_s"] == 7875
    explorer.set(idle_s=60, interval_s=10, probes=3)
    print(explorer.sentence)
    assert explorer.outcome["detected_after_s"] == 90
    assert_all_agree(explorer)
    out, err = capfd.readouterr()
    assert (out, err) == (explorer.sentence + "\n", "")


def test_a_slider_and_the_box_beside_it_turn_it_too():
    explorer = explore(Keepalive, peer="offline")
    row = explorer.controls["idle_s"]
    row.value = 60
    assert explorer.values["idle_s"] == 60
    assert_all_agree(explorer)
    row.value = 7201
    assert explorer.outcome["probe_times_s"][0] == 7201
    assert row.step == 7200
    assert_all_agree(explorer)


def test_a_value_that_the_notebook_asks_for_is_a_step_of_the_slider():
    explorer = explore(Keepalive, idle_s=61)
    assert explorer.controls["idle_s"].step == 61


def test_wrong_values_leave_a_sentence_and_no_picture_and_nothing_is_lost():
    explorer = explore(Keepalive, idle_s=60)
    box = explorer.controls["probes"]
    box.value = 500
    assert explorer.sentence == "“keepalive: probes” = 500 is out of range: 1 to 127."
    assert explorer.values["idle_s"] == 60 and box.value == 500
    assert_all_agree(explorer)
    box.value = 5
    assert explorer.error is None and explorer.outcome["detected_after_s"] == 60 + 5 * 75
    assert_all_agree(explorer)


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ({"idle_s": 99999}, "“keepalive: idle” = 99999 is out of range: 0 (off) to 32767 s."),
        ({"idle_s": "soon"}, "“keepalive: idle” = 'soon' is not a number"),
        ({"peer": "dead"}, "“the server” = 'dead' is not one of alive, offline, rebooted, moved."),
        ({"bogus": 1}, "keepalive has no parameter 'bogus'; it has idle_s"),
        ({"linux": "9.9"}, "“Linux version” = '9.9'"),
        ({"probes": 2.5}, "“keepalive: probes” = 2.5 is not a whole number"),
        ({"idle_s": float("nan")}, "“keepalive: idle” = nan is not a number"),
        ({"unacked": None}, "“data in flight” = None is not a boolean"),
    ],
)
def test_each_mistake_is_one_sentence_also_at_the_start(wrong, part):
    explorer = explore(Keepalive, **wrong)
    assert explorer.sentence.startswith(part) and "\n" not in explorer.sentence
    assert explorer.trace is None
    assert drawn(explorer) is None
    assert repr(explorer) == explorer.sentence
    explorer.use("redis-cli 15/5/3")
    assert explorer.error is None and explorer.outcome["detected_after_s"] == 30
    assert_all_agree(explorer)


def test_parameters_that_are_wrong_together():
    explorer = explore(RstInWindow)
    explorer.set(at_sack_edge=True)
    assert explorer.sentence.startswith("“at the SACK edge” = on needs “a hole” = on")
    assert_all_agree(explorer)
    explorer.set(sack_hole=True)
    assert explorer.error is None
    assert_all_agree(explorer)


def test_texts_are_taken_as_a_command_line_takes_them():
    explorer = explore(Keepalive, idle_s="60", unacked="yes", probes="3")
    assert explorer.values["idle_s"] == 60.0 and explorer.values["unacked"] is True
    assert_all_agree(explorer)


@dataclass(frozen=True, kw_only=True)
class Broken(Experiment):
    """An experiment with a mistake in it."""

    name = "broken"
    title = "<b>broken</b>"

    async def run(self, bench):
        bench.hosts("client", "server")

    def outcome(self, trace):
        if self.latency_ms > 100:
            raise KeyError("<i>nothing</i>")
        return {}

    def sentence(self, trace):
        return "<script>alert(1)</script>"


def test_a_mistake_of_ours_is_one_sentence_too(capfd):
    explorer = explore(Broken)
    assert "<script" not in explorer.status.value
    assert "&lt;b&gt;broken" in text_in(explorer)
    explorer.set(latency_ms=150)
    assert "KeyError" in explorer.sentence and "Traceback" not in text_in(explorer)
    assert "<i>" not in explorer.status.value
    assert explorer.trace is None and drawn(explorer) is None
    explorer.set(latency_ms=1)
    assert explorer.error is None
    assert capfd.readouterr() == ("", "")


def test_a_picture_that_fails_takes_the_run_with_it(monkeypatch):
    explorer = explore(SlowReader)
    assert explorer.experiment_class.pictures[0] == "window"
    monkeypatch.setattr("tcplab.pictures.ladder.draw", lambda trace, **options: 1 / 0)
    explorer.picture.choice.value = "Ladder"
    assert "ZeroDivisionError" in explorer.sentence
    assert_all_agree(explorer)


def test_presets_by_name_and_values_of_ones_own():
    explorer = explore(Keepalive)
    preset = presets_of(explorer)
    assert preset.value == "Linux default 7200/75/9"
    explorer.set(probes=8)
    assert preset.value == OWN
    preset.value = "redis-cli 15/5/3"
    assert explorer.outcome["detected_after_s"] == 30
    assert_all_agree(explorer)
    preset.value = OWN  # means nothing: the values are still the preset's
    assert preset.value == "redis-cli 15/5/3"
    explorer.use("no such")
    assert explorer.sentence.startswith("keepalive has no preset 'no such'; it has Linux default")


def test_reset_goes_back_to_what_the_notebook_asked_for():
    explorer = explore(Keepalive, idle_s=60, peer="rebooted")
    explorer.use("Linux default 7200/75/9")
    explorer.set(probes=500)
    button_of(explorer, "Reset").click()
    assert explorer.values["idle_s"] == 60 and explorer.values["peer"] == "rebooted"
    assert explorer.error is None
    assert_all_agree(explorer)


def test_controls_come_first_and_the_rest_is_folded():
    explorer = explore(DeadPeer)
    folded = only(explorer, Fold)
    button, content = folded.children
    hidden = list(everything_in(folded))
    for name in explorer.values:
        row = explorer.controls[name]
        assert (row in hidden) == (name not in DeadPeer.controls)
    assert not folded.opened and content.layout.display == "none"
    button.opened = True  # as a key does
    assert folded.opened and content.layout.display == ""


def test_tabs_are_filled_when_they_are_seen():
    explorer = explore(HandshakeAndClose)
    segments = tabs(explorer).children[1]
    assert segments.value == ""
    open_tab(explorer, "Segments")
    before = segments.value
    assert before.count("<tr") == explorer.outcome["segments"] + 1
    open_tab(explorer, "Picture")
    explorer.set(closer="both")
    assert segments.value == before
    open_tab(explorer, "Segments")
    assert segments.value == scrolled(trace_table(explorer.trace), "segments") != before
    explorer.set(request=0)
    assert segments.value == ""


def slider_of_instants(explorer):
    return next(w for w in everything_in(explorer) if isinstance(w, CursorSlider))


def test_the_console_follows_its_slider_and_the_picture_shows_the_moment():
    explorer = explore(Keepalive)
    panel = open_tab(explorer, "Your console")
    slider = slider_of_instants(explorer)
    slider.value = 0
    assert "SYN-SENT" in text_in(panel) and "client sends SYN" in slider.meaning
    slider.value = slider.steps[-1]
    assert "ESTAB" in text_in(panel)  # the server never hears that the client gave up
    explorer.look_at(3600)
    assert "timer:(keepalive,60min,0)" in text_in(panel)
    open_tab(explorer, "Picture")
    assert_all_agree(explorer)
    assert drawn(explorer)["data"][-1]["y"][0] is not None


def test_the_first_moment_shown_has_a_timer_that_runs():
    explorer = explore(Keepalive)
    assert "timer:(keepalive,1min15sec,9)" in text_in(open_tab(explorer, "Your console"))
    explorer = explore(HandshakeAndClose)
    assert "timer:(timewait" in text_in(open_tab(explorer, "Your console"))


def test_what_a_cell_looks_at_is_what_the_panel_shows():
    explorer = explore(FinOrRst, ending="kill", client="idle")
    said = explorer.look_at(0.3)
    assert said == console(explorer.trace, explorer.trace.start + 3 * SECOND // 10)
    shown = re.sub("<[^>]+>", "", text_in(open_tab(explorer, "Your console")))
    for line in said.splitlines():
        assert line.replace(">", "&gt;") in shown
    explorer.set(request=0, fin_timeout_s=0)
    assert explorer.look_at(0.3) == ""


def click(explorer, y, change=None):
    figure = explorer.picture.figure
    figure.clicked = {"y": y, "change": drawn(explorer)["change"] if change is None else change, "at": y}


def test_a_click_on_the_picture_picks_the_moment():
    explorer = explore(Keepalive)
    axis = ladder.time_axis(explorer.trace)
    hour = explorer.trace.start + 3600 * SECOND
    click(explorer, axis.y_of(hour))
    assert abs(explorer.cursor.t - hour) < 60 * SECOND
    assert re.search(r"timer:\(keepalive,(59|60)min,0\)", text_in(open_tab(explorer, "Your console")))
    open_tab(explorer, "Picture")
    assert drawn(explorer)["data"][-1]["y"][0] == pytest.approx(axis.bottom_of(explorer.cursor.t), abs=10)


def labels_in(explorer):
    (labels,) = [trace for trace in drawn(explorer)["data"] if trace["name"] == "labels"]
    return [re.sub("<[^>]+>", "", text) for text in labels["text"]]


def test_the_beginning_of_a_ladder_opens():
    explorer = explore(Keepalive)
    toggle = explorer.picture.beginning
    assert toggle.layout.display != "none" and "SYN" not in labels_in(explorer)
    toggle.value = True
    assert labels_in(explorer)[:2] == ["SYN", "SYN, ACK"]
    toggle.value = False
    click(explorer, 0)
    assert toggle.value and "SYN" in labels_in(explorer), "its row opens"
    assert not explorer.cursor.picked
    click(explorer, 0)
    assert explorer.cursor.t == explorer.trace.start, "then it is an instant like any other"


def test_where_nothing_is_folded_nothing_opens():
    assert explore(HandshakeAndClose).picture.beginning.layout.display == "none"
    assert explore(SlowReader).picture.beginning.layout.display == "none", "its first picture is the window"


def test_a_click_on_an_older_picture_means_nothing():
    explorer = explore(Keepalive)
    old = drawn(explorer)["change"]
    explorer.set(probes=3)
    before = drawn(explorer)
    click(explorer, 100, old)
    assert not explorer.cursor.picked and drawn(explorer) == before


def test_a_click_on_a_picture_without_a_time_axis_means_nothing():
    explorer = explore(SlowReader)
    click(explorer, 50)
    assert not explorer.cursor.picked


def test_another_run_keeps_its_place_among_the_events():
    explorer = explore(Keepalive)
    slider = slider_of_instants(explorer)
    open_tab(explorer, "Your console")
    slider.value = 14
    explorer.set(interval_s=10)
    assert slider.value == 14
    explorer.set(peer="alive", idle_s=0)
    assert slider.value <= slider.steps[-1] == max(len(explorer.cursor.instants) - 1, 1)
    assert_all_agree(explorer)


def test_the_capture_is_made_on_demand_and_never_of_an_older_run():
    explorer = explore(HandshakeAndClose)
    panel = open_tab(explorer, "Capture")
    button = button_of(panel, "Make the capture file")
    assert "href" not in text_in(panel)
    button.click()
    link = re.search(r'download="handshake_and_close.pcap" href="data:[^,]*;base64,([^"]+)"', text_in(panel))
    assert base64.b64decode(link[1]) == pcap_bytes(explorer.trace)
    explorer.set(closer="server")
    assert "href" not in text_in(panel)
    open_tab(explorer, "Picture")
    open_tab(explorer, "Capture")
    button.click()
    explorer.set(request=0)
    assert "href" not in text_in(panel)


def test_a_run_without_segments_has_no_capture_and_says_so():
    explorer = explore(Broken)
    panel = open_tab(explorer, "Capture")
    button_of(panel, "Make the capture file").click()
    assert "no segments" in text_in(panel)


def test_warnings_stand_beside_the_sentence():
    explorer = explore(EXPERIMENTS["unanswered_connect"], linux="5.4", linear_timeouts=2)
    (warning,) = explorer.trace.warnings
    assert f"⚠ {warning}" in explorer.status.value
    assert repr(explorer) == f"{explorer.sentence}\n{warning}"


def test_a_very_long_run_is_shown_in_part_and_says_so():
    explorer = explore(SlowReader, response=500_000)
    count = len(explorer.trace.packets)
    assert count > MOST
    assert f"first {MOST} of {count:,} segments" in explorer.status.value
    assert_all_agree(explorer)
    assert text_in(open_tab(explorer, "Segments")).count("<tr") == MOST + 1
    assert excerpt(explorer.trace).notes[-1].text == f"{count - MOST:,} more segments follow"


def test_outside_jupyter_its_sentence_speaks_for_it():
    explorer = explore(Keepalive, probes=3)
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == explorer.sentence
    assert "2 h 3 min 45 s" in bundle["text/html"] and "<script" not in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert explorer.sentence in repr(widgets.VBox([explorer]))


def test_two_at_a_time_leave_one_run():
    """A cell and a front end in two threads: the last picture belongs to the last values."""
    explorer = explore(Keepalive)

    def turn(first):
        for i in range(15):
            explorer.set(probes=first + i % 7, idle_s=60 + first)

    threads = [threading.Thread(target=turn, args=(first,)) for first in (1, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_all_agree(explorer)


def test_nothing_but_its_own_state_is_shared():
    one, other = explore(Keepalive), explore(Keepalive)
    one.set(probes=3)
    assert other.values["probes"] == 9 and other.outcome["detected_after_s"] == 7875
    one.values["probes"] = 77
    assert one.values["probes"] == 3


STEPS = st.one_of(
    st.tuples(st.just("idle_s"), st.one_of(st.sampled_from([0, 1, 60, 7200]), st.integers(-5, 40000))),
    st.tuples(st.just("interval_s"), st.sampled_from([0, 1, 10, 75, 1e6])),
    st.tuples(st.just("probes"), st.integers(-1, 130)),
    st.tuples(st.just("peer"), st.sampled_from(["alive", "offline", "rebooted", "moved", "gone"])),
    st.tuples(st.just("unacked"), st.booleans()),
    st.tuples(st.just("linux"), st.sampled_from(["3.10", "6.18", "5.15", "2.6", "x"])),
    st.tuples(st.just("user_timeout_s"), st.sampled_from([0, 30, -1])),
    st.tuples(st.just("tab"), st.integers(0, 4)),
    st.tuples(st.just("preset"), st.sampled_from(list(Keepalive.presets))),
    st.tuples(st.just("reset"), st.none()),
    st.tuples(st.just("moment"), st.integers(0, 10**4)),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=8))
def test_whatever_is_turned_in_whatever_order_all_of_it_agrees(steps):
    explorer = shared_explorer()
    explorer.reset()
    for what, value in steps:
        if what == "tab":
            tabs(explorer).selected_index = value
        elif what == "preset":
            explorer.use(value)
        elif what == "reset":
            explorer.reset()
        elif what == "moment":
            explorer.look_at(value)
        else:
            explorer.set(**{what: value})
        assert_all_agree(explorer)


_SHARED: list[Explorer] = []


def shared_explorer():
    """One for all examples: what an earlier one has done must not matter either."""
    if not _SHARED:
        _SHARED.append(explore(Keepalive))
    return _SHARED[0]


def test_a_parameter_error_in_a_run_is_a_sentence(monkeypatch):
    explorer = explore(Keepalive)

    def refuse(self, trace):
        raise ParameterError("idle_s = 1 can't be run.")

    monkeypatch.setattr(Keepalive, "sentence", refuse)
    explorer.set(idle_s=1)
    assert explorer.sentence == "“keepalive: idle” = 1 can't be run."
    monkeypatch.undo()
    explorer.set(idle_s=2)
    assert_all_agree(explorer)


# -- the table of cells to try ---------------------------------------------------------------------

ROWS = ("held_by", {"connect": "by connect()", "bind0": "by bind(0)"})
COLUMNS = ("then", {"connect": "connect()", "bind0": "bind(0)"})
RECORDED = [
    {"held_by": "connect", "then": "connect", "result": "ok"},
    {"held_by": "bind0", "then": "connect", "state": "established", "result": "made up"},
]


def a_matrix(**options):
    return matrix(explore(BindOrConnect, ports=2), ROWS, COLUMNS, **options)


def texts(shown):
    return {cell: button.description for cell, button in shown.cells.items()}


def grid_of(shown):
    return only(shown, widgets.GridBox)


def test_cells_wait_for_a_guess():
    shown = a_matrix()
    assert set(texts(shown).values()) == {UNTRIED}
    (grid,) = [each for each in everything_in(shown) if isinstance(each, widgets.GridBox)]
    heads = [each.value for each in grid.children if isinstance(each, widgets.HTML)]
    assert heads == ["", "<b>connect()</b>", "<b>bind(0)</b>", "<b>by connect()</b>", "<b>by bind(0)</b>"]
    assert shown.cells["bind0", "connect"].tooltip == "by bind(0); then connect()"


def test_pressing_one_runs_it_in_the_explorer():
    shown = a_matrix(recorded=[{**RECORDED[0], "ports": 2}])
    shown.cells["connect", "connect"].click()
    assert shown.explorer.values["then"] == "connect" and shown.explorer.outcome == {"result": "ok"}
    assert texts(shown) == {
        ("connect", "connect"): "ok",
        ("connect", "bind0"): UNTRIED,
        ("bind0", "connect"): UNTRIED,
        ("bind0", "bind0"): UNTRIED,
    }
    assert "Linux, recorded: ok" in shown.status.value
    assert shown.try_cell("bind0", "connect") == "EADDRNOTAVAIL"
    assert shown.sentence == "", "nothing was recorded for this one"


def test_a_recording_with_other_settings_says_nothing():
    shown = a_matrix(recorded=RECORDED)
    shown.try_cell("connect", "connect")
    assert shown.sentence == "", "recorded with six ports"
    shown.explorer.set(ports=6, state="established")
    shown.try_cell("bind0", "connect")
    assert "made up" in shown.status.value


def test_other_settings_open_all_cells_again():
    shown = a_matrix()
    shown.try_cell("connect", "connect")
    shown.explorer.set(state="established")
    shown.try_cell("connect", "bind0")
    assert texts(shown)["connect", "connect"] == UNTRIED
    assert texts(shown)["connect", "bind0"] == "EADDRINUSE"


def test_all_at_once_without_moving_the_explorer():
    shown = matrix(explore(BindOrConnect), ROWS, COLUMNS, recorded=RECORDED)
    before = shown.explorer.values
    button_of(shown, "Try all").click()
    assert shown.explorer.values == before
    assert list(texts(shown).values()) == ["ok", "EADDRINUSE", "EADDRNOTAVAIL", "EADDRINUSE"]
    assert "1 of 1 cells gave the same on Linux." in shown.status.value


def test_a_long_result_has_a_short_label():
    shown = a_matrix(labels={"EADDRINUSE": "98"})
    assert shown.try_cell("connect", "bind0") == "EADDRINUSE"
    assert texts(shown)["connect", "bind0"] == "98"


def test_without_widgets_it_is_a_list():
    assert repr(a_matrix()).splitlines()[:3] == [
        "held_by, then then:",
        "by connect(); connect(): ok",
        "by connect(); bind(0): EADDRINUSE",
    ]


# -- the timeline: keeping, comparing, its axis, its cursor ------------------------------------------


def frame_of(explorer):
    """What a page that is reloaded now would show above the tabs."""
    return json.loads(explorer.timeline.get_state()["frame"] or "{}")


@pytest.mark.parametrize("kind", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_every_experiment_begins_with_its_timeline(kind):
    explorer = explore(kind)
    frame = frame_of(explorer)
    assert frame["svg"] == explorer.timeline.picture.svg(log=frame["axis"]["log"], end_s=frame["axis"]["end"])
    assert frame["values"] == explorer.values and "grey" not in frame
    assert frame["events"] and all(0 <= t <= frame["stop"] for t, _ in frame["events"])
    assert escape(explorer.sentence) in frame["svg"]
    for title, _, _, what in explorer.timeline.picture.now.rows():
        assert escape(title) in frame["table"] and escape(what) in frame["table"]
    assert len(explorer._repr_html_()) < 50_000 and frame["svg"] in explorer._repr_html_()


def test_a_kept_run_stays_beside_the_next_one_with_the_difference_in_words():
    explorer = explore(Keepalive, idle_s=60, interval_s=10, probes=6)
    assert explorer.kept == () and explorer.compared == ""
    first = explorer.trace
    explorer.keep()
    explorer.keep()
    assert explorer.kept == (first,), "the same run is kept once"
    explorer.set(probes=3)
    picture = explorer.timeline.picture
    assert [run.parameters["probes"] for run in picture.kept] == [6]
    assert explorer.compared == picture.compared != ""
    assert explorer.compared in explorer.status.value
    assert frame_of(explorer)["bar"]["kept"] == 1


def test_a_setting_that_does_nothing_is_said_to_do_nothing():
    explorer = explore(Keepalive, idle_s=60)
    explorer.keep()
    explorer.set(seed=2)
    assert explorer.compared == "the same as before: this knob does nothing here"


def test_three_runs_are_kept_and_the_oldest_goes():
    explorer = explore(Keepalive, idle_s=60, interval_s=10)
    for probes in (2, 3, 4, 5):
        explorer.set(probes=probes)
        explorer.keep()
    assert [trace.parameters["probes"] for trace in explorer.kept] == [3, 4, 5]
    explorer.forget()
    assert explorer.kept == () and frame_of(explorer)["bar"]["kept"] == 0


def test_start_again_keeps_nothing():
    explorer = explore(Keepalive, idle_s=60)
    explorer.keep()
    explorer.start_again()
    assert explorer.kept == () and explorer.timeline.picture.kept == ()


def test_the_axis_grows_and_says_so_and_shrinks_only_when_asked():
    explorer = explore(Keepalive, idle_s=60, interval_s=10, probes=6)
    short = frame_of(explorer)["axis"]["end"]
    explorer.set(idle_s=10000)
    long = frame_of(explorer)["axis"]["end"]
    assert long == 3 * 3600 and "axis: 3 h, was 2 min." in explorer.status.value
    explorer.set(idle_s=60)
    assert frame_of(explorer)["axis"]["end"] == long and "axis:" not in explorer.status.value
    explorer.reset()
    assert frame_of(explorer)["axis"]["end"] == short
    explorer.set(idle_s=10000)
    explorer.use("redis-cli 15/5/3")
    assert frame_of(explorer)["axis"]["end"] == 30
    explorer.set(idle_s=10000)
    explorer.set(idle_s=15)
    explorer.forget()
    assert frame_of(explorer)["axis"]["end"] == 30 and "was" not in explorer.status.value


def press(explorer, what):
    """A button of the bar, as the page tells it."""
    explorer.timeline._handle_custom_msg({"press": what}, [])


def test_the_bar_keeps_forgets_and_changes_the_scale():
    explorer = explore(Keepalive, idle_s=60)
    assert frame_of(explorer)["axis"]["log"] is False, "linear by default"
    press(explorer, "log")
    assert frame_of(explorer)["axis"]["log"] is True
    explorer.set(probes=3)
    assert frame_of(explorer)["axis"]["log"] is True
    press(explorer, "keep")
    assert len(explorer.kept) == 1
    press(explorer, "forget")
    assert explorer.kept == ()
    press(explorer, "linear")
    assert frame_of(explorer)["axis"]["log"] is False
    assert frame_of(explore(HandshakeAndClose))["axis"]["log"] is True, "as the story asks"


def test_out_of_range_greys_the_last_picture():
    explorer = explore(Keepalive, idle_s=60)
    before = frame_of(explorer)
    explorer.set(probes=500)
    frame = frame_of(explorer)
    assert frame["svg"] == before["svg"] and frame["grey"] == explorer.sentence
    assert frame["values"]["probes"] == 500 and explorer.compared == ""
    explorer.keep()
    assert explorer.kept == (), "nothing is shown that could be kept"
    explorer.set(probes=9)
    assert frame_of(explorer) == before


def test_the_console_follows_the_cursor_of_the_page():
    explorer = explore(Keepalive, idle_s=60, interval_s=10, probes=6)
    panel = open_tab(explorer, "Your console")
    explorer.timeline.cursor = 65.0  # as the page says while it plays
    assert re.search(r"timer:\(keepalive,(4\.9\d*|5)sec,1\)", text_in(panel))
    assert explorer.cursor.t == explorer.trace.watching_since + 65 * SECOND
    explorer.timeline.cursor = -1.0
    assert not explorer.cursor.picked


def test_the_cursor_of_the_page_follows_console_and_ladder():
    explorer = explore(Keepalive, idle_s=60, interval_s=10, probes=6)
    open_tab(explorer, "Your console")
    slider = slider_of_instants(explorer)
    slider.value = slider.steps[-1]
    since = (explorer.cursor.t - explorer.trace.watching_since) / SECOND
    assert explorer.timeline.cursor == pytest.approx(since) and since > 60
    explorer.set(probes=3)
    assert explorer.timeline.cursor == pytest.approx(90, abs=0.1)


def test_playing_is_asked_of_the_page(monkeypatch):
    explorer = explore(Keepalive, idle_s=60)
    sent = []
    monkeypatch.setattr(explorer.timeline, "send", sent.append)
    explorer.play()
    assert sent == [{"play": True}]


def test_another_width_or_theme_draws_it_again():
    explorer = explore(Keepalive, idle_s=60)
    explorer.timeline.width = 800
    assert frame_of(explorer)["width"] == 800 and 'width="800"' in frame_of(explorer)["svg"]
    light = frame_of(explorer)["colours"]["paper"]
    explorer.timeline.dark = True
    assert frame_of(explorer)["colours"]["paper"] != light


# -- pictures that are sent ahead ---------------------------------------------------------------------


@pytest.fixture
def idle(monkeypatch):
    """Runs something inside an event loop, lets the loop be idle, and returns what was sent to the page."""
    sent = []
    monkeypatch.setattr(LivingTimeline, "send", lambda self, content: sent.append(content["ahead"]))

    def run_it(*actions):
        async def story():
            for action in actions:
                action()
            before = -1
            while before != len(sent):  # a busy machine may take its time
                before = len(sent)
                await asyncio.sleep(0.7)

        sent.clear()
        asyncio.run(story())
        return list(sent)

    return run_it


def test_pictures_of_the_neighbouring_steps_are_sent_ahead(idle):
    explorer = explore(Keepalive, idle_s=60, interval_s=10, probes=6)

    def turn():
        explorer.controls["probes"].value = 7

    begin, *frames = idle(turn)
    assert begin == {"generation": begin["generation"]}, "what was sent before is forgotten"
    assert sorted(each["value"] for each in frames) == [3, 4, 5, 6, 8, 9, 10, 11]
    assert [each["value"] for each in frames][:2] == [8, 6], "the nearest come first"
    for each in frames:
        other = explore(Keepalive, idle_s=60, interval_s=10, probes=each["value"])
        assert each["name"] == "probes" and each["generation"] == begin["generation"]
        assert {**each["values"], "probes": each["value"]} == other.values == each["frame"]["values"]
        wanted = other.timeline.picture.svg(log=False, end_s=each["frame"]["axis"]["end"])
        assert each["frame"]["svg"] == wanted and "table" not in each["frame"]


def test_what_was_sent_is_not_sent_again_while_only_this_control_moves(idle):
    explorer = explore(Keepalive, idle_s=60, interval_s=10, probes=20)

    def turn(value):
        return lambda: setattr(explorer.controls["probes"], "value", value)

    first = idle(turn(10))
    more = idle(turn(9))
    assert {each["generation"] for each in more} == {first[0]["generation"]}
    assert [each["value"] for each in more] == [10, 5]


@pytest.mark.parametrize("other", ["keep", "log", "set"])
def test_another_setting_makes_the_pictures_of_before_invalid(idle, other):
    explorer = explore(Keepalive, idle_s=60, interval_s=10, probes=10)
    before = idle(lambda: setattr(explorer.controls["probes"], "value", 9))[0]["generation"]
    changes = {
        "keep": explorer.keep, "log": lambda: press(explorer, "log"), "set": lambda: explorer.set(idle_s=30)
    }  # fmt: skip
    begin, *frames = idle(changes[other])
    assert begin["generation"] > before and frames
    assert all(each["values"]["idle_s"] == explorer.values["idle_s"] for each in frames)


def test_a_newer_turn_drops_what_was_planned(idle):
    explorer = explore(Keepalive, idle_s=60, interval_s=10, probes=10)
    turns = [lambda v=v: setattr(explorer.controls["idle_s"], "value", v) for v in (30, 45, 75)]
    frames = [each for each in idle(*turns) if "frame" in each]
    around = explorer.controls["idle_s"].neighbours(4)
    assert [each["value"] for each in frames] == around


def test_without_an_event_loop_nothing_is_made_ahead(monkeypatch):
    sent = []
    monkeypatch.setattr(LivingTimeline, "send", lambda self, content: sent.append(content))
    explorer = explore(Keepalive, idle_s=60)
    explorer.controls["probes"].value = 3
    assert sent == []


def test_the_control_that_gets_the_focus_is_prepared(idle):
    explorer = explore(Keepalive, idle_s=60, interval_s=10, probes=10)
    frames = idle(lambda: explorer.controls["peer"]._handle_custom_msg("focus", []))
    assert [each["value"] for each in frames[1:]] == ["alive", "rebooted", "moved"]


def test_the_tabs_follow_when_the_hand_rests(idle):
    explorer = explore(Keepalive, idle_s=60, interval_s=10)
    segments = open_tab(explorer, "Segments")
    seen = []

    def turn():
        before = segments.value
        explorer.controls["probes"].value = 3
        seen.append((explorer.outcome["detected_after_s"], segments.value == before))

    idle(turn)
    assert seen == [(90, True)]
    assert segments.value == scrolled(trace_table(explorer.trace), "segments")


# -- the other pictures beside kept runs -------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "before", "after", "says"),
    [
        (PortRange, {"last_port": 60012}, {"last_port": 60006}, "6 ports instead of 12"),
        (TimeWait, {"closer": "server"}, {"closer": "client"}, "6 of them in TIME_WAIT instead of 0"),
        (BindOrConnect, {"then": "connect"}, {"then": "bind0"}, "The last call may take 0 instead of 6"),
        (RstInWindow, {"offset": 0}, {"offset": 1}, "The RST is challenged instead of accepted"),
        (SlowReader, {"read_every_s": 0.5}, {"read_every_s": 1}, "Window closed for 19.1 s instead of"),
        (AcceptQueue, {"backlog": 7}, {"backlog": 2}, "Ghosts at the end: 5 instead of 0"),
        (PortChurn, {"ports": 40000}, {"ports": 28232}, "28,232 ports instead of 40,000"),
        (Pool, {"breaks": "nothing"}, {"breaks": "server_restart"}, "2 errors instead of 0"),
        (
            Failover,
            {"user_timeout_s": 20},
            {"user_timeout_s": 0},
            "The first write is accepted never instead",
        ),
    ],
)
def test_a_kept_run_is_beside_the_present_one_in_every_picture(kind, before, after, says):
    explorer = explore(kind, **before)
    assert not explorer.picture.drawn.compared
    explorer.keep()
    explorer.set(**after)
    assert_all_agree(explorer)
    shown = explorer.picture.drawn
    assert shown.compared.startswith(says) and shown.compared in explorer.picture.figure.said
    longest = shown.limits
    explorer.forget()
    assert not explorer.picture.drawn.compared
    assert all(explorer.picture.drawn.limits[unit] <= end for unit, end in longest.items())


def test_a_pictures_axis_grows_says_so_and_shrinks_on_reset():
    explorer = explore(SlowReader)
    first = explorer.picture.drawn.limits
    explorer.set(read_every_s=4)
    grown = explorer.picture.drawn.limits
    assert grown["s"] > first["s"] and "axis: 2 min, was 30 s" in text_in(explorer.picture.widget)
    explorer.set(read_every_s=1)
    assert explorer.picture.drawn.limits == grown
    assert_all_agree(explorer)
    explorer.reset()
    assert explorer.picture.drawn.limits == first


# -- which controls come first, and which do nothing --------------------------------------------------


def shown_first(explorer):
    folded = list(everything_in(only(explorer, Fold)))
    return [name for name, row in explorer.controls.items() if row not in folded]


def test_what_the_notebook_sets_comes_first_and_what_does_nothing_does_not():
    assert "data_every_s" in shown_first(explore(Keepalive, idle_s=15, data_every_s=10))
    assert "user_timeout_s" in shown_first(explore(Keepalive, user_timeout_s=30))
    shown = shown_first(explore(DeadPeer, keepalive_idle_s=5, keepalive_probes=3))
    assert not {name for name in shown if name.startswith("keepalive")} and "retries2" in shown
    report = ProxyLegs.presets["HAProxy, timeout server 1m, a report of five minutes"]
    assert set(report) <= set(shown_first(explore(ProxyLegs, **report)))


def test_a_control_without_effect_is_dimmed_and_says_why():
    explorer = explore(Keepalive, idle_s=60)
    assert {row.idle for row in explorer.controls.values()} == {""}
    explorer.set(idle_s=0)
    assert explorer.controls["interval_s"].idle == explorer.controls["probes"].idle == "keepalive is off."
    assert explorer.controls["idle_s"].idle == ""
    explorer.set(probes=500)
    assert explorer.controls["probes"].idle == "keepalive is off.", "as of the last run"
    explorer.set(probes=9, idle_s=60)
    assert explorer.controls["probes"].idle == ""
