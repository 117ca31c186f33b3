"""The living figure: its state is what is drawn, and plotly travels only when a page asks."""

import json

import plotly.graph_objects as go
import pytest

from tcplab import DeadPeer, Keepalive, PortChurn, SlowReader
from tcplab import picture as show_picture
from tcplab.bench import run
from tcplab.pictures import ladder
from tcplab.pictures.tables import trace_table
from tcplab.pictures.theme import PICTURE_CLASS, Picture
from tcplab.pictures.window import draw_window
from tcplab.widgets.base import LivingFigure


def test_a_new_page_gets_what_was_drawn_last():
    figure = LivingFigure("story")
    assert figure.get_state()["drawn"] == "" and figure.figure is None
    traces = [run(Keepalive()), run(DeadPeer()), run(SlowReader())]
    for picture in [*map(ladder.draw, traces), draw_window(traces[-1])]:
        figure.show(picture)
        state = json.loads(figure.get_state()["drawn"])
        assert state["data"] == json.loads(json.dumps(picture.data))
        assert state["layout"] == json.loads(json.dumps(picture.layout))
        assert state["filename"] == "story"
        assert isinstance(figure.figure, go.Figure)
        assert len(figure.figure.data) == len(picture.data)
    figure.clear()
    assert figure.get_state()["drawn"] == "" and figure.figure is None
    assert PICTURE_CLASS in figure.get_state()["_dom_classes"]


def test_an_instance_is_small():
    """plotly's own widget carries 5 MB in each instance's state."""
    figure = LivingFigure()
    assert sum(len(str(value)) for value in figure.get_state().values()) < 20_000


def test_plotly_is_sent_when_a_page_asks(monkeypatch):
    sent = []
    monkeypatch.setattr(LivingFigure, "send", lambda self, *message: sent.append(message))
    figure = LivingFigure()
    figure._handle_custom_msg("something else", [])
    assert sent == []
    figure._handle_custom_msg("plotly?", [])
    ((content, (library,)),) = sent
    assert content == "plotly" and b"Plotly" in library and len(library) > 1_000_000


def test_only_clicks_on_the_drawing_that_is_shown_count():
    figure, clicks = LivingFigure(), []
    figure.on_click(clicks.append)
    figure.show(ladder.draw(run(Keepalive())))
    figure.clicked = {"y": 5.0, "change": 1, "at": 0}
    figure.show(ladder.draw(run(DeadPeer())))
    figure.clicked = {"y": 6.0, "change": 1, "at": 1}
    figure.clicked = {"y": 7.0, "change": 2, "at": 2}
    figure.clear()
    figure.clicked = {"y": 8.0, "change": 2, "at": 3}
    assert clicks == [5.0, 7.0]


def test_a_number_that_json_lacks_is_refused_here_and_not_in_the_page():
    with pytest.raises(ValueError, match="JSON"):
        LivingFigure().show(Picture([{"type": "scatter", "y": [float("nan")]}], {}))


def test_a_picture_has_words_and_a_table_for_whom_sees_none():
    trace = run(Keepalive(idle_s=60, interval_s=10, probes=3))
    shown = show_picture(trace)
    assert shown.said.startswith(f"Ladder: {len(trace.packets)} segments between client and server.")
    assert shown.table == trace_table(trace) and "keepalive probe 3" in shown.table
    study = show_picture(run(PortChurn(duration_s=10)))
    assert study.said.startswith("Churn: 10 s") and "time_wait_high" in study.table
    shown.clear()
    assert (shown.said, shown.table) == ("", "")
    shown.show(ladder.draw(trace))
    assert "sentence beside it" in shown.said and shown.table == ""
