"""The clinic's desk: a capture file in, a diagnosis out, and every connection to look into.

The file is read by the notebook kernel. Nothing of it goes anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from tcplab.trace import Trace
from tcplab.view import ladder, replay_steps
from tcplab.view.clinic_asking import Asking
from tcplab.view.clinic_drop import DropZone
from tcplab.view.clinic_list import LISTED, chosen, filters, headline, line, summary_table, worst_first
from tcplab.view.clinic_reading import Reading
from tcplab.view.counterfactual import Answer
from tcplab.view.excerpt import MOST, excerpt_words
from tcplab.view.figure_widget import LivingFigure
from tcplab.view.panels import paragraph
from tcplab.view.replay import Replay
from tcplab.view.replay_text import findings_html
from tcplab.view.table import table

if TYPE_CHECKING:
    from tcplab.capture.findings import ConnectionFindings, Diagnosis
    from tcplab.capture.reading import Capture

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
            self._segments.value = said + table(beginning)
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
