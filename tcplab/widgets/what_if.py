"""A connection as captured, side by side with the model's run under other settings; a form to ask for it."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from operator import attrgetter
from typing import Any

import ipywidgets as widgets

from tcplab.core import knobs
from tcplab.core.knobs import ParameterError
from tcplab.core.segment import Endpoint
from tcplab.core.text import duration, paragraph
from tcplab.core.trace import Note, Packet, Trace
from tcplab.pictures.ladder import draw
from tcplab.pictures.tables import trace_table
from tcplab.pictures.text import MOST, excerpt, is_error
from tcplab.pictures.theme import TITLE_SIZE, Picture
from tcplab.what_if.answer import WhatIf, what_if
from tcplab.widgets.base import LivingFigure, Shell, button, explanation, in_row, labelled, title

#: Segments of either run that are drawn at most.
MOST_OF_EACH = MOST // 4
#: px on the right for the ends of labels: a ladder counts on the room between two lifelines.
ROOM = 140
#: What the lifelines are called: each name only once, though they look the same.
LEFT = {"client": "client", "server": "server"}
RIGHT = {"client": "client\u00a0", "server": "server\u00a0"}
#: Addresses of the model's hosts in the picture: a capture may have the same ones (RFC 5737).
OTHERWISE = {"client": "192.0.2.1", "server": "192.0.2.2"}


#: What can be asked for, by the parameter's name.
KNOBS = {
    "keepalive_idle_s": knobs.KEEPALIVE_IDLE, "keepalive_interval_s": knobs.KEEPALIVE_INTERVAL,
    "keepalive_probes": knobs.KEEPALIVE_PROBES, "user_timeout_s": knobs.USER_TIMEOUT,
    "retries2": knobs.RETRIES2, "firewall_idle_s": knobs.FIREWALL_IDLE,
}  # fmt: skip
SIDES = {"the side that got no answer": "", "the client": "client", "the server": "server"}
HELP = (
    "An empty field stays as the segments show it. The model of Linux TCP then plays the same conversation "
    "under the settings that you give."
)


class SideBySide(Shell):
    """Both ladders below the sentence, and below them what the answer rests on."""

    def __init__(self, answer: WhatIf) -> None:
        super().__init__()
        self.say(answer.sentence)
        self.figure = LivingFigure("what_if")
        self.figure.show(draw_side_by_side(answer), answer.sentence, trace_table(side_by_side(answer)))
        self.build(self.status, self.figure, widgets.HTML(_grounds(answer)))


class WhatIfForm(Shell):
    """Settings to type for one connection, and the answer of `tcplab.what_if`."""

    subject = "this connection"

    def __init__(self) -> None:
        super().__init__()
        self.trace: Trace | None = None
        #: A field for each setting, by the parameter's name.
        self.fields = {name: _field(name) for name in KNOBS}
        self.side = labelled(widgets.Dropdown(options=list(SIDES.items()), description="set on"))
        self._go = button("Would that have saved it?", "question", self.answer)
        self._below = widgets.VBox()
        self.build(
            widgets.HTML(f"<h4>Would other settings have saved it?</h4>{paragraph(HELP)}"),
            widgets.Box(list(self.fields.values())).add_class("tcplab-asking"),
            in_row(self.side, self._go),
            self.status,
            self._below,
        )

    def show(self, trace: Trace) -> None:
        """Ask about this connection from now on."""
        self.trace = trace
        self._clear()

    def answer(self) -> None:
        """Ask, and show the answer or in one sentence why there is none."""
        if trace := self.trace:
            self._clear()
            self._go.disabled = True
            self.guard(lambda: self._answer(trace))
            self._go.disabled = False

    def _answer(self, trace: Trace) -> None:
        texts = {name: field.value.strip() for name, field in self.fields.items()}
        wanted = {name: KNOBS[name].check(name, text) for name, text in texts.items() if text}
        if not wanted:
            raise ParameterError(
                "Type a value into one of the fields first, for example 60 for keepalive: idle."
            )
        shown = SideBySide(what_if(trace, side=self.side.value, **wanted))
        self.sentence = shown.sentence
        self._below.children = [shown.bare()]

    def _clear(self) -> None:
        for old in self._below.children:
            old.close()
        self._below.children = []
        self.sentence, self.status.value = "", ""


def _field(name: str) -> Any:
    knob = KNOBS[name]
    label = "a firewall on the path: idle timer (s)" if knob is knobs.FIREWALL_IDLE else title(knob)
    return labelled(widgets.Text(description=label, placeholder="as captured", tooltip=explanation(knob)))


def draw_side_by_side(answer: WhatIf, *, dark: bool = False) -> Picture:
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


def side_by_side(answer: WhatIf) -> Trace:
    """Both runs as one trace with four lifelines, the captured one first; calls only where they failed."""
    one, other = answer.captured, answer.changed
    later = one.packets[max(0, len(one.packets) - MOST_OF_EACH)].t - one.start
    one, other = (excerpt(_since(trace, trace.start + later), MOST_OF_EACH) for trace in (one, other))
    left = _moved(one, answer.captured.start + later, "left", LEFT, {})
    elsewhere = {other.hosts[name]: address for name, address in OTHERWISE.items()}
    right = _moved(other, answer.changed.start + later, "right", RIGHT, elsewhere)
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
    """What happened until then: a connection that survives goes on without end."""
    packets = [p for p in trace.packets if p.t <= end]
    notes = [note for note in trace.notes if note.t <= end]
    return replace(trace, packets=packets, notes=notes, end=min(trace.end, end))


def _since(trace: Trace, t: int) -> Trace:
    """The end of a long connection, where it is decided; the whole trace when nothing comes before."""
    before = sum(p.t < t for p in trace.packets)
    if not before:
        return trace
    left_out = Note(t, "", f"{before:,} segments before, in {duration(t - trace.start)}, are left out")
    calls = [call for call in trace.calls if call.t >= t]
    notes = [left_out, *(note for note in trace.notes if note.t >= t)]
    return replace(trace, packets=trace.packets[before:], calls=calls, notes=notes)


def _moved(trace: Trace, zero: int, place: str, names: dict[str, str], addresses: dict[str, str]) -> Trace:
    """Counted from `zero`, under other names and addresses, without the lifelines of middleboxes."""
    by_address = {address: name for name, address in trace.hosts.items() if address}

    def end(endpoint: Endpoint) -> Endpoint:
        return endpoint._replace(address=addresses.get(endpoint.address, endpoint.address))

    def packet(p: Packet) -> Packet:
        # A middlebox sends in the name of one of the two.
        sender = p.sender if p.sender in names else by_address[p.segment.source.address]
        segment = replace(p.segment, source=end(p.segment.source), destination=end(p.segment.destination))
        arrives = None if p.arrives is None else p.arrives - zero
        return replace(
            p, t=p.t - zero, arrives=arrives, sender=names[sender], receiver=names[p.receiver],
            segment=segment,
        )  # fmt: skip

    def note(old: Note) -> Note:
        words = f"{old.host} {old.text}" if old.host else old.text
        return old._replace(t=old.t - zero, host="", text=f"{place}: {words}")

    calls = [
        call._replace(t=call.t - zero, began=call.t - zero, host=names[call.host])
        for call in trace.calls
        if call.host in names and is_error(call.result)
    ]
    return replace(
        trace, hosts={name: name for name in names.values()}, packets=list(map(packet, trace.packets)),
        calls=calls, sockets=[], counters=[], notes=list(map(note, trace.notes)), end=trace.end - zero,
    )  # fmt: skip


def _grounds(answer: WhatIf) -> str:
    """What the answer rests on: escaped, because a name from a capture may be anything."""
    rows = "".join(
        f"<tr><td><i>{escape(each.certainty)}</i></td><td>{escape(each.says)}</td></tr>"
        for each in answer.inferences
    )
    warnings = "".join(f"<p>⚠ {escape(each)}</p>" for each in answer.warnings)
    return (
        f"{warnings}<p>{escape(answer.likeness.sentence)}</p>"
        f"<details><summary>What this rests on</summary><table>{rows}</table></details>"
    )
