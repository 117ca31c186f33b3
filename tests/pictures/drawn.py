"""Reading a drawn picture: its traces by name, its texts without markup, and whether plotly accepts it."""

import re
from functools import cache

import plotly.graph_objects as go

from tcplab import AcceptQueue, Failover, Keepalive, Pool, PortChurn, PortRange, RstInWindow, SlowReader, run
from tcplab.advice.runs import SilentConnection
from tcplab.widgets.maps import Cells, draw_heat_map, draw_idle_map
from tcplab.widgets.show import PICTURES


def named(picture, name):
    """The trace of a picture by its name."""
    (found,) = [trace for trace in picture.data if trace["name"] == name]
    return found


def plain(text):
    """A text without its markup."""
    return re.sub(r"<[^>]+>", "", text).replace("\xa0", " ")


def texts(picture, name="captions"):
    """The texts of a trace, without markup."""
    return [plain(text) for text in named(picture, name)["text"]]


def plotly_accepts(picture):
    """Whether plotly's validation leaves a picture as it is."""
    validated = go.Figure(data=picture.data, layout=picture.layout)
    return picture.figure().to_dict() == validated.to_dict()


@cache
def every_kind():
    """One picture of each kind by its name."""
    stories = {
        "ladder": Keepalive(), "window": SlowReader(), "queues": AcceptQueue(), "ports": PortRange(),
        "churn": PortChurn(rate_per_s=600), "pool": Pool(breaks="server_restart"), "failover": Failover(),
    }  # fmt: skip
    kinds = {name: PICTURES[name](run(story)) for name, story in stories.items()}
    kinds["rst window"] = PICTURES["window"](run(RstInWindow()))
    kinds["idle map"] = draw_idle_map(SilentConnection())
    cells = [(box, idle, None if box < idle else idle) for box in (60, 350) for idle in (30, 120, 600)]
    kinds["heat map"] = draw_heat_map(Cells(cells, "survives", "keepalive (s)", "box (s)"))
    return kinds
