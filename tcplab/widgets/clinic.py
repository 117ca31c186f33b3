"""The clinic's desk: a capture file in, a diagnosis out, and every connection to look into.

The file is read by the notebook kernel. Nothing of it goes anywhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from tcplab.core.html import paragraph
from tcplab.core.knobs import (
    FIREWALL_IDLE,
    KEEPALIVE_IDLE,
    KEEPALIVE_INTERVAL,
    KEEPALIVE_PROBES,
    RETRIES2,
    USER_TIMEOUT,
    ParameterError,
)
from tcplab.core.trace import Trace
from tcplab.pictures import ladder
from tcplab.pictures import replay as replay_steps
from tcplab.pictures.replay import findings_html, lesson_of
from tcplab.pictures.tables import trace_table
from tcplab.pictures.text import MOST, excerpt_words
from tcplab.widgets.controls import explanation, title
from tcplab.widgets.figure import LivingFigure
from tcplab.widgets.replay import Replay
from tcplab.widgets.upload import DropZone
from tcplab.widgets.what_if import Answer, beside

if TYPE_CHECKING:
    from tcplab.capture.capture import Capture
    from tcplab.capture.findings import ConnectionFindings, Diagnosis


# ----------------------------------------------------------------------
# The clinic's desk with all that belongs to it: one call in a notebook.


def clinic(path: str = "") -> Clinic:
    """A place to drop a capture file on, and what it shows: for the last line of a cell.

    `path` is read at once. The file is read by the notebook kernel and goes nowhere else. What is wrong with
    it is said in one sentence.
    """
    from tcplab.widgets.show import what_if

    return Clinic(path, what_if)


# ----------------------------------------------------------------------
# The clinic's question "would other settings have saved it?": settings to type, and the answer below.

#: What can be asked for, by the parameter's name.
KNOBS = {
    "keepalive_idle_s": KEEPALIVE_IDLE,
    "keepalive_interval_s": KEEPALIVE_INTERVAL,
    "keepalive_probes": KEEPALIVE_PROBES,
    "user_timeout_s": USER_TIMEOUT,
    "retries2": RETRIES2,
    "firewall_idle_s": FIREWALL_IDLE,
}
SIDES = {"the side that asked in vain": "", "the client": "client", "the server": "server"}
HELP = (
    "An empty box stays as the segments show it. The model of Linux TCP then plays the same conversation "
    "under the settings that you give."
)


class Asking(widgets.VBox):
    """Settings to type for one connection. `ask` takes its trace and them, as `tcplab.what_if` does."""

    def __init__(self, ask: Callable[..., Answer]) -> None:
        self._ask = ask
        self.trace: Trace | None = None
        #: The answer, or why there is none; empty before.
        self.sentence = ""
        self.boxes = {name: _box(name) for name in KNOBS}
        self.side = widgets.Dropdown(options=list(SIDES.items()), description="set on")
        self.side.style.description_width = "initial"
        self._go = widgets.Button(description="Would that have saved it?", icon="question")
        self._go.layout.width = "auto"
        self._go.on_click(lambda button: self.answer())
        self._below = widgets.VBox()
        grid = widgets.Box(list(self.boxes.values())).add_class("tcplab-asking")
        super().__init__(
            [
                widgets.HTML(f"<h4>Would other settings have saved it?</h4>{paragraph(HELP)}"),
                grid,
                widgets.HBox([self.side, self._go]).add_class("tcplab-head"),
                self._below,
            ]
        )

    def show(self, trace: Trace) -> None:
        """Ask about this connection from now on."""
        self.trace = trace
        self._put("")

    def answer(self) -> None:
        """Ask, and show the answer or in one sentence why there is none."""
        if self.trace is None:
            return
        self._put("")
        try:
            wanted = self._wanted()
            self._go.disabled = True
            shown = beside(self._ask(self.trace, side=self.side.value, **wanted))
        except ParameterError as error:
            self._put(str(error))
            return
        except Exception as error:
            self.log.error("what if %s", wanted, exc_info=error)
            self._put(
                f"With this connection tcplab itself makes a mistake ({type(error).__name__}: {error})."
            )
            return
        finally:
            self._go.disabled = False
        self.sentence = shown.sentence
        self._below.children = [shown]

    def _wanted(self) -> dict[str, Any]:
        texts = {name: box.value.strip() for name, box in self.boxes.items()}
        wanted = {name: KNOBS[name].check(name, text) for name, text in texts.items() if text}
        if not wanted:
            raise ParameterError("Type a value into one of the boxes first: 60 for keepalive: idle, say.")
        return wanted

    def _put(self, wrong: str) -> None:
        """Leave nothing but a sentence."""
        for old in self._below.children:
            old.close()
        self.sentence = wrong
        said = f'<div class="tcplab-sentence wrong" role="status"><p>✗ {escape(wrong)}</p></div>'
        self._below.children = [widgets.HTML(said)] if wrong else []


def _box(name: str) -> widgets.Text:
    knob = KNOBS[name]
    label = "a box on the way: forgets after (s)" if knob is FIREWALL_IDLE else title(knob)
    box = widgets.Text(description=label, placeholder="as captured", tooltip=explanation(knob))
    box.style.description_width = "initial"
    return box


# ----------------------------------------------------------------------
# What a diagnosis has, to choose from: a summary by finding, filters, connections, worst first.

#: Connections that a list holds at most; filters reach the others.
LISTED = 300
#: Filters beside the codes of findings.
ALL, WITH, WITHOUT = "", "*", "-"


def worst_first(diagnosis: Diagnosis) -> list[ConnectionFindings]:
    """Connections by their worst finding, then by their number."""
    from tcplab.capture.findings import CODES

    rank = {code: i for i, code in enumerate(CODES)}
    last = len(rank)
    return sorted(
        diagnosis.connections,
        key=lambda each: rank[each.findings[0].code] if each.findings else last,
    )


def headline(diagnosis: Diagnosis) -> str:
    """``big.pcap: 120,000 TCP packets, 1,204 connections: 3 reset, 1 dead, 1,200 closed.``"""
    packets, count = diagnosis.packets, len(diagnosis)
    states: dict[str, int] = {}
    for connection in diagnosis.connections:
        states[connection.state] = states.get(connection.state, 0) + 1
    told = ", ".join(f"{states[state]:,} {state}" for state in _STATES if state in states)
    return (
        f"{diagnosis.name}: {packets:,} TCP packet{'s' * (packets != 1)}, "
        f"{count:,} connection{'s' * (count != 1)}" + (f": {told}." if told else ".")
    )


#: States as `ConnectionFindings.state` has them, worst first.
_STATES = ("dead", "unanswered", "refused", "reset", "closing", "open", "closed")


def summary_table(diagnosis: Diagnosis) -> str:
    """How many connections show each finding, with the lesson that explains it, as HTML."""
    if not diagnosis.summary:
        return "<p>Nothing to tell: no finding in any connection.</p>"
    rows = []
    first = {f.code: f for each in reversed(diagnosis.connections) for f in each.findings}
    for code, count in diagnosis.summary.items():
        lesson = lesson_of(first[code])
        link = lesson.link() if lesson else ""
        rows.append(
            f'<tr><th scope="row">{escape(code)}</th><td class="n">{count:,}</td><td>{link}</td></tr>'
        )
    return (
        '<table class="tcplab-table"><caption>findings, worst first</caption><thead><tr>'
        '<th scope="col">finding</th><th scope="col">connections</th><th scope="col">explained in</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def filters(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """What one can look for: (text, filter) each."""
    found = sum(bool(each.findings) for each in diagnosis.connections)
    made = [(f"all connections ({len(diagnosis):,})", ALL), (f"with any finding ({found:,})", WITH)]
    made += [(f"{code} ({count:,})", code) for code, count in diagnosis.summary.items()]
    made.append((f"without a finding ({len(diagnosis) - found:,})", WITHOUT))
    return made


def chosen(connections: list[ConnectionFindings], wanted: str, text: str) -> Iterator[ConnectionFindings]:
    """Those that a filter lets through and that have a text in their addresses, ports or service."""
    text = text.strip().lower()
    for each in connections:
        codes = {finding.code for finding in each.findings}
        passes = {ALL: True, WITH: bool(codes), WITHOUT: not codes}.get(wanted, wanted in codes)
        if passes and text in f"{each.client} {each.server} {each.service or ''}".lower():
            yield each


def line(connection: ConnectionFindings) -> str:
    """One connection in a list."""
    service = f" ({connection.service})" if connection.service else ""
    codes = ", ".join(dict.fromkeys(finding.code for finding in connection.findings)) or "nothing to tell"
    ends = f"{connection.client} → {connection.server}{service}"
    return f"{connection.number}: {ends}, {connection.state}: {codes}"


# ----------------------------------------------------------------------
# Reading and diagnosing a capture so that it can be watched and cancelled.

#: What share of the work is the reading; the rest is the look at each connection.
READING = 0.4


class Cancelled(Exception):
    """Somebody has seen enough."""


class Reading:
    """One file on its way to a diagnosis, in a thread of its own where there are threads.

    Tells `progress` a share, 0 .. 1, and what is being done; then either `done` the result or `failed` one
    sentence; nothing more once it is cancelled.
    """

    def __init__(
        self,
        path: Path,
        progress: Callable[[float, str], None],
        done: Callable[[Capture, Diagnosis], None],
        failed: Callable[[str], None],
    ) -> None:
        self._path, self._progress, self._done, self._failed = path, progress, done, failed
        self._cancelled = False
        self._told = -1.0

    def start(self) -> None:
        """Begin; returns at once where there are threads."""
        if sys.platform == "emscripten":
            self._run()
            return
        from threading import Thread

        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until it is over: for tests and scripts."""
        if thread := getattr(self, "_thread", None):
            thread.join()

    def cancel(self) -> None:
        """Stop soon, and say nothing more."""
        self._cancelled = True

    def _run(self) -> None:
        try:
            result = self._read()
            if not self._cancelled:
                self._done(*result)
        except Cancelled:
            return
        except Exception as error:
            if not self._cancelled:
                self._failed(_sentence(self._path.name, error))

    def _read(self) -> tuple[Capture, Diagnosis]:
        from tcplab.capture.capture import read_capture
        from tcplab.capture.findings import diagnose

        size = self._path.stat().st_size / 1e6 if self._path.is_file() else 0
        capture = read_capture(
            self._path, progress=lambda share: self._tell(READING * share, f"reading {size:,.0f} MB")
        )
        count = len(capture.connections)
        what = f"looking at {count:,} connection{'s' * (count != 1)}"
        diagnosis = diagnose(
            capture, progress=lambda share: self._tell(READING + (1 - READING) * share, what)
        )
        return capture, diagnosis

    def _tell(self, share: float, what: str) -> None:
        if self._cancelled:
            raise Cancelled
        if share - self._told >= 0.01:
            self._told = share
            self._progress(share, what)


def _sentence(name: str, error: Exception) -> str:
    """What went wrong, for a learner."""
    from tcplab.capture import CaptureError

    if isinstance(error, CaptureError):
        return str(error)
    if isinstance(error, MemoryError):
        return (
            f"{name} is too large for the memory of this machine: take a part of it with tcpdump or editcap."
        )
    return f"With {name} tcplab itself makes a mistake ({type(error).__name__}: {error})."


_STYLES = [Path(__file__).with_name(name) for name in ("explorer.css", "clinic.css")]

ABOUT = (
    "Nothing leaves this machine, as long as your Jupyter runs on it: the file goes to the notebook kernel "
    "and no further, and what was copied is deleted once it is read. Files of tcpdump -w and Wireshark are "
    "read, pcap or pcapng, also packed with gzip or zstd."
)


class Clinic(widgets.VBox):
    """A capture to read and to look into. See `clinic`."""

    def __init__(self, path: str = "", what_if: Callable[..., Answer] | None = None) -> None:
        #: The file that was read last, and what it shows; None before, and after one that can't be read.
        self.capture: Capture | None = None
        self.diagnosis: Diagnosis | None = None
        #: What the file is, or why it can't be read.
        self.sentence = ABOUT
        self._reading: Reading | None = None
        self._quiet = False
        self._worst: list[ConnectionFindings] = []
        self._drop = DropZone(self._arriving, self._arrived, self._refuse)
        self._path = widgets.Text(
            value=path,
            description="or its path, for very large files:",
            placeholder="/var/tmp/trouble.pcap",
            continuous_update=False,
        ).add_class("tcplab-path")
        self._path.style.description_width = "initial"
        self._read = _button("Read it", "search", self._read_path)
        self._bar = widgets.FloatProgress(max=1, layout=widgets.Layout(width="16rem"))
        self._far = widgets.HTML()
        self._stop = _button("Cancel", "stop", self.cancel)
        self._running = widgets.HBox([self._bar, self._far, self._stop])
        self._said = widgets.HTML()
        self._result = self._make_result(what_if)
        style = "".join(file.read_text() for file in _STYLES)
        super().__init__(
            [
                widgets.HTML(f"<style>{style}</style>").add_class("tcplab-style"),
                widgets.HTML(f"<h3>The clinic: what does my capture show?</h3>{paragraph(ABOUT)}"),
                self._drop,
                widgets.HBox([self._path, self._read]).add_class("tcplab-head"),
                self._running,
                self._said,
                self._result,
            ]
        )
        self.add_class("tcplab-explorer")
        self.add_class("tcplab-clinic")
        self._progress(None)
        self._result.layout.display = "none"
        if path:
            self._read_path()

    def _make_result(self, what_if: Callable[..., Answer] | None) -> widgets.VBox:
        self._summary = widgets.HTML()
        self._filter = widgets.Dropdown(options=[("all connections", "")], description="show")
        self._search = widgets.Text(
            description="address or port", placeholder="5432", continuous_update=False
        )
        for each in (self._filter, self._search):
            each.style.description_width = "initial"
            each.observe(lambda change: self._list(), "value")
        self._connections = widgets.Select(rows=8, description="connection").add_class("tcplab-list")
        self._connections.style.description_width = "initial"
        self._connections.observe(lambda change: self._open(), "value")
        self._more = widgets.HTML()
        self._findings = widgets.HTML()
        self._replay = Replay(Trace("nothing", "capture"))
        self._ladder = LivingFigure("capture")
        self._segments = widgets.HTML().add_class("tcplab-scroll")
        pages: dict[str, widgets.Widget] = {
            "Step by step": self._replay,
            "Whole ladder": self._ladder,
            "Segments": self._segments,
        }
        self._asking = Asking(what_if) if what_if else None
        if self._asking is not None:
            pages["Other settings"] = self._asking
        self._tabs = widgets.Tab(list(pages.values()), titles=list(pages))
        self._tabs.selected_index = 0
        self._tabs.observe(lambda change: self._show(), "selected_index")
        narrow = widgets.HBox([self._filter, self._search]).add_class("tcplab-head")
        self._one = widgets.VBox([self._findings, self._tabs])
        return widgets.VBox([self._summary, narrow, self._connections, self._more, self._one])

    # -- for cells and tests -----------------------------------------------------------------

    def read(self, path: str | Path) -> None:
        """Read this file; `wait` returns when its diagnosis is there."""
        self.cancel()
        self._start(Path(path).expanduser())

    def wait(self) -> None:
        """Return when nothing is being read any more."""
        if self._reading is not None:
            self._reading.wait()

    def cancel(self) -> None:
        """Stop reading; what was shown before is gone."""
        self._drop.stop()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None
        if not self._running.layout.display:
            self._say("Cancelled: nothing was read.")
        self._progress(None)

    def choose(self, number: int) -> None:
        """Look into this connection, by its number in the capture."""
        self._connections.value = number

    @property
    def number(self) -> int | None:
        """The connection that is looked into; None without one."""
        value: int | None = self._connections.value
        return value

    @property
    def trace(self) -> Trace | None:
        """That connection's trace."""
        if self.capture is None or self.number is None:
            return None
        return self.capture.connection(self.number)

    # -- a file ------------------------------------------------------------------------------

    def _read_path(self) -> None:
        told = self._path.value.strip()
        if told:
            self.read(told)
        else:
            self._refuse("Type the path of a capture file first, or choose one above.")

    def _arriving(self, name: str, share: float) -> None:
        if not share and self._reading is not None:
            self._reading.cancel()
            self._reading = None
        self._progress(share, f"copying {name}")

    def _arrived(self, file: Path) -> None:
        self._start(file)

    def _start(self, file: Path) -> None:
        self._result.layout.display = "none"
        self.capture = self.diagnosis = None
        self._say(f"Reading {file.name} …")
        self._progress(0.0, "opening")
        reading = Reading(file, self._progress, self._done, self._refuse)
        self._reading = reading
        reading.start()

    def _done(self, capture: Capture, diagnosis: Diagnosis) -> None:
        self._over()
        self.capture, self.diagnosis = capture, diagnosis
        self._worst = worst_first(diagnosis)
        self._say(headline(diagnosis), warnings=diagnosis.warnings)
        self._summary.value = summary_table(diagnosis)
        self._quiet = True
        try:
            self._filter.options = filters(diagnosis)
            self._filter.value, self._search.value = "", ""
        finally:
            self._quiet = False
        self._result.layout.display = "" if len(diagnosis) else "none"
        self._list()

    def _refuse(self, why: str) -> None:
        self._over()
        self.capture = self.diagnosis = None
        self._result.layout.display = "none"
        self._say(why, wrong=True)

    def _over(self) -> None:
        self._reading = None
        self._drop.forget()
        self._progress(None)

    def _progress(self, share: float | None, what: str = "") -> None:
        """How far it is; None: nothing is being done."""
        self._running.layout.display = "none" if share is None else ""
        self._bar.value = share or 0.0
        self._far.value = escape(f" {what}, {share:.0%}") if share is not None else ""

    def _say(self, sentence: str, *, wrong: bool = False, warnings: tuple[str, ...] = ()) -> None:
        self.sentence = sentence
        marks = "tcplab-sentence wrong" if wrong else "tcplab-sentence"
        told = paragraph(f"✗ {sentence}" if wrong else sentence)
        told += "".join(paragraph(f"Note: {warning}", "warning") for warning in warnings)
        self._said.value = f'<div class="{marks}" role="status" aria-live="polite">{told}</div>'

    # -- its connections ---------------------------------------------------------------------

    def _list(self) -> None:
        if self._quiet:
            return
        there = list(chosen(self._worst, self._filter.value, self._search.value))
        self._quiet = True
        try:
            self._connections.options = [(line(each), each.number) for each in there[:LISTED]]
            self._connections.rows = min(max(len(there), 2), 8)
            self._connections.value = there[0].number if there else None
        finally:
            self._quiet = False
        said = "No connection is like that." if not there else ""
        if len(there) > LISTED:
            said = f"The first {LISTED} of {len(there):,}, worst first: narrow them down for the others."
        self._more.value = paragraph(said, "tcplab-help") if said else ""
        self._open()

    def _open(self) -> None:
        """Show the connection that is chosen."""
        if self._quiet:
            return
        self._one.layout.display = "none" if self.number is None else ""
        self._stale = {0, 1, 2, 3}
        if self.number is None or self.diagnosis is None:
            return
        connection = self.diagnosis.connections[self.number]
        found = findings_html(connection.findings) or paragraph("Nothing to tell: no finding here.")
        self._findings.value = f"<h4>{escape(line(connection))}</h4>{found}"
        self._show()

    def _show(self) -> None:
        """Fill the tab that is seen."""
        seen = self._tabs.selected_index or 0
        capture, number = self.capture, self.number
        if number is None or seen not in self._stale or capture is None or self.diagnosis is None:
            return
        self._stale.discard(seen)
        frames = capture.frames(number)
        # No more of a connection is built than is shown: a million segments take half a minute.
        if seen == 0:
            beginning = capture.connection(number, first=replay_steps.MOST)
            self._replay.show(beginning, self.diagnosis.connections[number].findings, frames)
        elif seen == 1:
            self._ladder.show(ladder.draw(capture.connection(number, first=MOST)))
        elif seen == 2:
            beginning = capture.connection(number, first=MOST)
            said = paragraph(excerpt_words(beginning, whole=len(frames)), "tcplab-help")
            self._segments.value = said + trace_table(beginning)
        elif self._asking is not None:
            self._asking.show(capture.connection(number, last=replay_steps.MOST))

    def __repr__(self) -> str:
        return self.sentence

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = dict(super()._repr_mimebundle_(**options) or {})
        html = self._said.value or paragraph(self.sentence)
        return bundle | {"text/plain": repr(self), "text/html": html}


def _button(text: str, icon: str, pressed: Callable[[], None]) -> widgets.Button:
    button = widgets.Button(description=text, icon=icon, layout=widgets.Layout(width="auto"))
    button.on_click(lambda _: pressed())
    return button
