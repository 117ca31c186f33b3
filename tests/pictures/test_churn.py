"""The picture of port churn: curves below their ceiling, outages, and an explorer without segments."""

import plotly.graph_objects as go
import pytest

from tcplab import PortChurn, explore, picture, run
from tcplab.pictures.studies import draw_churn


def named(drawn, name):
    (found,) = [trace for trace in drawn.data if trace["name"] == name]
    return found


@pytest.mark.parametrize("preset", PortChurn.presets)
@pytest.mark.parametrize("dark", [False, True])
def test_plotly_takes_every_picture(preset, dark):
    drawn = draw_churn(run(PortChurn(**PortChurn.presets[preset])), dark=dark, title=preset)
    go.Figure(data=drawn.data, layout=drawn.layout)


def test_curves_and_outages_are_those_of_the_run():
    drawn = draw_churn(run(PortChurn(rate_per_s=600, hold_s=0)))
    used = named(drawn, "ports in use")
    assert max(used["y"]) == 28232 and (used["x"][0], used["x"][-1]) == (0, 180)
    outages = named(drawn, "outages")
    assert [round(x, 2) for x in outages["x"][:2]] == [47.05, 60.0]
    assert outages["x"].count(None) == 3
    assert {"<b>no port<br>13 s</b>"} < {
        text.replace("12.9", "13") for text in named(drawn, "captions")["text"]
    }
    opened = named(drawn, "opened a second")
    assert max(opened["y"]) == 600 and min(opened["y"]) == 0


def test_a_curve_far_below_its_ceiling_says_so():
    drawn = draw_churn(run(PortChurn(rate_per_s=10, closer="server")))
    assert any("far above" in text for text in named(drawn, "captions")["text"])
    assert named(drawn, "ceiling")["x"] == []


def test_what_is_sent_stays_light_however_many_connections():
    drawn = draw_churn(run(PortChurn(rate_per_s=1000, arrivals="poisson")))
    assert all(len(trace["x"]) <= 700 for trace in drawn.data)


def test_the_explorer_shows_curves_sentence_and_numbers_and_settings():
    explorer = explore(PortChurn, rate_per_s=600)
    assert "EADDRNOTAVAIL" in explorer.sentence and explorer.error is None
    assert [panel.title for panel in explorer._panels] == ["Picture", "Numbers", "Settings to paste"]
    assert {trace.name for trace in explorer.figure.data} >= {"ports in use", "ceiling", "outages"}
    explorer.set(tw_reuse=1)
    assert explorer.outcome["refused"] == 0
    explorer.use("two server ports")
    assert explorer.values["destinations"] == 2
    explorer.set(ports=0)
    assert explorer.sentence == "ports = 0 is out of range: 1 to 65535." and explorer.figure is None
    explorer.reset()
    assert explorer.values["rate_per_s"] == 600 and explorer.error is None


def test_it_can_be_shown_in_one_call():
    assert "ceiling" in {trace.name for trace in picture(run(PortChurn())).figure.data}
