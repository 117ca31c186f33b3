"""A connection as it was, and beside it as it would have been: two ladders on one time axis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from html import escape
from operator import attrgetter
from typing import Protocol

import ipywidgets as widgets

from tcplab.core.segment import Endpoint
from tcplab.core.text import duration
from tcplab.core.trace import Note, Packet, Trace
from tcplab.pictures.ladder import draw
from tcplab.pictures.tables import trace_table
from tcplab.pictures.text import MOST, excerpt, is_error
from tcplab.pictures.theme import TITLE_SIZE, Picture
from tcplab.widgets.figure import LivingFigure

#: Segments of either run that are drawn at most.
MOST_OF_EACH = MOST // 4
#: px on the right for the ends of labels: a ladder counts on the room between two lifelines.
ROOM = 140
#: What the lifelines are called: each name only once, though they look the same.
LEFT = {"client": "client", "server": "server"}
RIGHT = {"client": "client\u00a0", "server": "server\u00a0"}
#: The model's hosts beside those of a capture, which may have the same addresses (RFC 5737).
OTHERWISE = {"client": "192.0.2.1", "server": "192.0.2.2"}


class _Sure(Protocol):
    @property
    def says(self) -> str: ...
    @property
    def certainty(self) -> str: ...


class Answer(Protocol):
    """What is shown of a `WhatIf`."""

    @property
    def sentence(self) -> str: ...
    @property
    def captured(self) -> Trace: ...
    @property
    def model(self) -> Trace: ...
    @property
    def changed(self) -> Trace: ...
    @property
    def inferences(self) -> Iterable[_Sure]: ...
    @property
    def warnings(self) -> Iterable[str]: ...
    @property
    def reproduces(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def lived(self) -> bool: ...


class Beside(widgets.VBox):
    """Both ladders below the sentence, and below them what the answer rests on."""

    def __init__(self, answer: Answer) -> None:
        self.sentence = answer.sentence
        self.figure = LivingFigure("what_if")
        self.figure.show(draw_beside(answer), answer.sentence, trace_table(side_by_side(answer)))
        said = f'<div style="line-height: 1.5"><b>{escape(answer.sentence)}</b></div>'
        super().__init__([widgets.HTML(said), self.figure, widgets.HTML(_grounds(answer))])

    def __repr__(self) -> str:
        return self.sentence


def beside(answer: Answer) -> Beside:
    """The picture of a `what_if`: as captured on the left, with the changes on the right."""
    return Beside(answer)


def draw_beside(answer: Answer, *, dark: bool = False) -> Picture:
    """Both ladders, each below its name."""
    picture = draw(side_by_side(answer), title=" ", dark=dark)
    picture.layout["margin"]["r"] = max(picture.layout["margin"]["r"], ROOM)
    for x, label in ((0.5, "as captured"), (2.5, answer.label)):
        heading = {
            "x": x, "y": 1, "yref": "paper", "yanchor": "bottom", "yshift": 4, "showarrow": False,
            "text": f"<b>{escape(label, False)}</b>", "font": {"size": TITLE_SIZE},
        }  # fmt: skip
        picture.layout.setdefault("annotations", []).append(heading)
    return picture


def side_by_side(answer: Answer) -> Trace:
    """Both runs as one trace with four lifelines, the captured one first; calls only where they failed."""
    one, other = answer.captured, answer.changed
    later = one.packets[max(0, len(one.packets) - MOST_OF_EACH)].t - one.start
    one, other = (excerpt(_since(trace, trace.start + later), MOST_OF_EACH) for trace in (one, other))
    left = _moved(one, answer.captured.start + later, "left", LEFT, {})
    right = _moved(
        other,
        answer.changed.start + later,
        "right",
        RIGHT,
        {other.hosts[name]: address for name, address in OTHERWISE.items()},
    )
    if answer.lived:
        right = _until(right, max([left.end, *(call.t for call in left.calls)]))
    in_order = attrgetter("t")
    return replace(
        left,
        experiment="what_if",
        hosts=left.hosts | right.hosts,
        packets=sorted(left.packets + right.packets, key=in_order),
        calls=sorted(left.calls + right.calls, key=in_order),
        notes=sorted(left.notes + right.notes, key=in_order),
        end=max(left.end, right.end),
    )


def _until(trace: Trace, end: int) -> Trace:
    """What happened up to a moment: a connection that lives on goes on without end."""
    return replace(
        trace,
        packets=[p for p in trace.packets if p.t <= end],
        notes=[note for note in trace.notes if note.t <= end],
        end=min(trace.end, end),
    )


def _since(trace: Trace, t: int) -> Trace:
    """A long connection's end, where it is decided; the trace itself when it has nothing before."""
    before = sum(p.t < t for p in trace.packets)
    if not before:
        return trace
    told = Note(t, "", f"{before:,} segments before, in {duration(t - trace.start)}, are left out")
    return replace(
        trace,
        packets=trace.packets[before:],
        calls=[call for call in trace.calls if call.t >= t],
        notes=[told, *(note for note in trace.notes if note.t >= t)],
    )


def _moved(trace: Trace, zero: int, place: str, names: dict[str, str], addresses: dict[str, str]) -> Trace:
    """Counted from `zero`, under other names and addresses, and without its boxes' lifelines."""
    by_address = {address: name for name, address in trace.hosts.items() if address}

    def end(endpoint: Endpoint) -> Endpoint:
        return endpoint._replace(address=addresses.get(endpoint.address, endpoint.address))

    def packet(p: Packet) -> Packet:
        # A box speaks in the name of one of the two.
        sender = p.sender if p.sender in names else by_address[p.segment.source.address]
        segment = replace(p.segment, source=end(p.segment.source), destination=end(p.segment.destination))
        arrives = None if p.arrives is None else p.arrives - zero
        return replace(
            p, t=p.t - zero, arrives=arrives, sender=names[sender], receiver=names[p.receiver],
            segment=segment,
        )  # fmt: skip

    return replace(
        trace,
        hosts={name: name for name in names.values()},
        packets=[packet(p) for p in trace.packets],
        calls=[
            call._replace(t=call.t - zero, began=call.t - zero, host=names[call.host])
            for call in trace.calls
            if call.host in names and is_error(call.result)
        ],
        sockets=[],
        counters=[],
        notes=[
            note._replace(
                t=note.t - zero, host="", text=f"{place}: {note.host or ''} {note.text}".replace(":  ", ": ")
            )
            for note in trace.notes
        ],
        end=trace.end - zero,
    )


def _grounds(answer: Answer) -> str:
    """What the answer rests on: escaped, for a name from a capture may be anything."""
    rows = [
        f"<tr><td><i>{escape(each.certainty)}</i></td><td>{escape(each.says)}</td></tr>"
        for each in answer.inferences
    ]
    warned = "".join(f"<p>⚠ {escape(each)}</p>" for each in answer.warnings)
    style = "line-height: 1.5; padding-top: 6px"
    return (
        f'<div style="{style}">{warned}<p>{escape(answer.reproduces)}</p>'
        f"<details><summary>What this rests on</summary><table>{''.join(rows)}</table></details></div>"
    )
