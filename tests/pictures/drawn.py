"""Reading a drawn picture: its traces by name, its texts without markup, and whether plotly accepts it."""

import re

import plotly.graph_objects as go


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
