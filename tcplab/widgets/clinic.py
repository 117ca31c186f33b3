"""The clinic: a capture file in, a diagnosis out, and every connection to look into.

The file is read by the notebook kernel. Nothing of it goes anywhere else.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import file_digest
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO

import anywidget
import ipywidgets as widgets

from tcplab.capture.both_ends import BothEnds, both_ends
from tcplab.core.table import Markup, html_table
from tcplab.core.text import SECOND, clock, download, paragraph, plural, time_zone, to_copy
from tcplab.core.trace import Trace
from tcplab.pictures import ladder
from tcplab.pictures import replay as replay_steps
from tcplab.pictures.incident import CaptureTimeline, consequences, read_incidents
from tcplab.pictures.incident_both import both_drawing
from tcplab.pictures.incident_graphs import MOST as MOST_GRAPHED
from tcplab.pictures.incident_graphs import read_graphs
from tcplab.pictures.replay import findings_html, lesson_of
from tcplab.pictures.report import incident_report
from tcplab.pictures.tables import trace_table
from tcplab.pictures.text import MOST, excerpt_words
from tcplab.widgets import base
from tcplab.widgets.incident import GraphPanel, LivingIncident
from tcplab.widgets.replay import Replay
from tcplab.widgets.what_if import WhatIfForm

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from tcplab.capture.capture import Capture
    from tcplab.capture.findings import ConnectionFindings, Diagnosis

    Both = BothEnds[CaptureTimeline]

#: Bytes of the largest file that the browser hands over; a larger one is read from its path.
LARGEST = 1 << 30
#: Characters of a file's name that are kept: each has up to four bytes, and a name has at most 255.
LONGEST_NAME = 60


class DropZone(anywidget.AnyWidget):
    """Where a file is dropped or chosen. `arriving` gets its name and share, `arrived` its path here.

    It comes in pieces of 1 MiB: a Jupyter server takes no message beyond 10 MiB, and closes the connection
    over a larger one, so ipywidgets' own FileUpload fails silently from there on. The file is in a directory
    of its own, which is removed with the next file or by `forget`. `refused` gets one sentence about a file
    that can't be taken.
    """

    _esm = (base.HERE / "upload.js").read_text("utf-8")

    def __init__(
        self,
        arriving: Callable[[str, float], None],
        arrived: Callable[[Path], None],
        refused: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._arriving, self._arrived, self._refused = arriving, arrived, refused
        #: Where the file is; None when there is none.
        self.folder: TemporaryDirectory[str] | None = None
        self._file: BinaryIO | None = None
        self._of = self._size = self._got = 0
        self._name = ""
        self.on_msg(self._on_message)

    def stop(self) -> None:
        """Take no more of the file that is arriving."""
        self.forget()
        self.send({"say": "stop", "of": self._of})

    def forget(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.close()
        if self.folder is not None:
            self.folder.cleanup()
        self._file = self.folder = None

    def _on_message(self, widget: Any, content: Any, buffers: Any) -> None:
        if "begin" in content:
            self._begin(content)
        elif content.get("piece") == self._of and self._file is not None:
            self._take(int(content["at"]), bytes(buffers[0]))
        elif content.get("failed") == self._of and self._file is not None:
            self.forget()
            self._refused(f"{self._name} could not be read by the browser: {content['why']}.")

    def _begin(self, content: Any) -> None:
        self.forget()
        self._of, self._size, self._got = int(content["begin"]), int(content["size"]), 0
        self._name = file_name(str(content["name"]))
        if self._size > LARGEST:
            self._refused(
                f"{self._name} has {self._size / 1e9:.1f} GB: too much to pass through the browser. "
                "Give its path below instead."
            )
            self.send({"say": "stop", "of": self._of})
            return
        self.folder = TemporaryDirectory(prefix="tcplab-")
        with self._storing():
            self._file = Path(self.folder.name, self._name).open("wb")  # noqa: SIM115
            self._go_on("go")

    def _take(self, at: int, piece: bytes) -> None:
        assert self._file is not None
        with self._storing():
            self._file.seek(at)
            self._file.write(piece)
            self._got += len(piece)
            self._go_on("more")

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.stop()
            self._refused(f"{self._name} could not be stored: {error.strerror}.")

    def _go_on(self, say: str) -> None:
        """Ask for the next piece; without one, close the file and hand over its path."""
        assert self._file is not None and self.folder is not None
        self._arriving(self._name, self._got / self._size if self._got else 0.0)
        if self._got < self._size:
            self.send({"say": say, "of": self._of})
            return
        self._file.close()
        self._file = None
        self.send({"say": "stop", "of": self._of})
        self._arrived(Path(self.folder.name, self._name))


def file_name(sent: str) -> str:
    """A name that stays in its folder and can be printed, from the one that a page sent."""
    kept = "".join(sign for sign in sent if sign.isprintable() and sign not in "/\\")[-LONGEST_NAME:]
    return kept if kept.strip(". ") else "capture"


#: Connections that a list holds at most; filters reach the others.
LISTED = 300
#: The pages of a diagnosis.
TIMELINE, CONNECTIONS, REPORT = "Timeline", "Connections and findings", "Report"
#: Filters that are no code of a finding.
ALL, WITH, WITHOUT = "", "*", "-"


def worst_first(diagnosis: Diagnosis) -> list[ConnectionFindings]:
    """Connections by their worst finding, then by their number."""
    from tcplab.capture.findings import CODES

    rank = {code: i for i, code in enumerate(CODES)}

    def worst(connection: ConnectionFindings) -> int:
        return rank[connection.findings[0].code] if connection.findings else len(rank)

    return sorted(diagnosis.connections, key=worst)


def file_line(capture: Capture, diagnosis: Diagnosis) -> str:
    """``r02.pcap · 127 TCP packets, 10 connections (8 reset, 2 closed) · 06:24:44 to 06:24:57 UTC``."""
    states = Counter(connection.state for connection in diagnosis.connections)
    outcomes = ", ".join(f"{states[state]:,} {state}" for state in _STATES if state in states)
    counts = f"{plural(diagnosis.packets, 'TCP packet')}, {plural(len(diagnosis), 'connection')}"
    counts += f" ({outcomes})" if outcomes else ""
    return f"{diagnosis.name} · {counts} · {clock(capture.began, 0)} to {clock(capture.ended, 0)} UTC"


def ledger(timeline: CaptureTimeline) -> str:
    """The incidents by time as an HTML table; empty below two."""
    if len(timeline.incidents) < 2:
        return ""
    rows = [
        (str(each.number), clock(timeline.began + round(each.low_s * SECOND)), each.says)
        for each in timeline.incidents
    ]
    return html_table(("no.", "UTC", "what happened"), rows, caption="incidents by time", row_headings=True)


#: States as `ConnectionFindings.state` has them, worst first.
_STATES = ("dead", "unanswered", "refused", "reset", "closing", "open", "closed")


def summary_table(diagnosis: Diagnosis) -> str:
    """How many connections show each finding, with the lesson that explains it, as HTML."""
    if not diagnosis.summary:
        return "<p>Nothing to tell: no finding in any connection.</p>"
    first = {f.code: f for each in reversed(diagnosis.connections) for f in each.findings}
    rows = []
    for code, count in diagnosis.summary.items():
        lesson = lesson_of(first[code])
        rows.append((code, f"{count:,}", Markup(lesson.link() if lesson else "")))
    headings = ("finding", "connections", "explained in")
    return html_table(headings, rows, caption="findings, worst first", row_headings=True, numeric={1})


def filters(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """The filters to choose from: (text, filter) each."""
    count = sum(bool(each.findings) for each in diagnosis.connections)
    made = [(f"all connections ({len(diagnosis):,})", ALL), (f"with any finding ({count:,})", WITH)]
    made += [(f"{code} ({of_code:,})", code) for code, of_code in diagnosis.summary.items()]
    return [*made, (f"without a finding ({len(diagnosis) - count:,})", WITHOUT)]


def chosen(connections: list[ConnectionFindings], wanted: str, text: str) -> Iterator[ConnectionFindings]:
    """Those that pass a filter and have this text in their addresses, ports or service."""
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


#: What share of the work is the reading; the rest is the look at each connection.
READING = 0.4


class _Stopped(Exception):
    """The reading was cancelled."""


class Reading:
    """Reads and diagnoses one file, in a thread of its own where there are threads.

    `progress` gets a share, 0 .. 1, and what is being done; then either `done` the result or `failed` one
    sentence. After `cancel` none of them is called.
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
        self._share = -1.0
        self._thread: Any = None
        #: The file's SHA-256, once it is read: one that was dropped is removed then.
        self.digest = ""

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
        if self._thread is not None:
            self._thread.join()

    def cancel(self) -> None:
        """Stop soon, and call nothing more."""
        self._cancelled = True

    def _run(self) -> None:
        try:
            result = self._read()
            if not self._cancelled:
                self._done(*result)
        except _Stopped:
            return
        except Exception as error:
            if not self._cancelled:
                self._failed(_sentence(self._path.name, error))

    def _read(self) -> tuple[Capture, Diagnosis]:
        from tcplab.capture.capture import read_capture
        from tcplab.capture.findings import diagnose

        size = self._path.stat().st_size / 1e6 if self._path.is_file() else 0
        capture = read_capture(
            self._path, progress=lambda share: self._report(READING * share, f"reading {size:,.0f} MB")
        )
        what = f"looking at {plural(len(capture.connections), 'connection')}"
        diagnosis = diagnose(
            capture, progress=lambda share: self._report(READING + (1 - READING) * share, what)
        )
        with self._path.open("rb") as file:
            self.digest = file_digest(file, "sha256").hexdigest()
        return capture, diagnosis

    def _report(self, share: float, what: str) -> None:
        if self._cancelled:
            raise _Stopped
        if share - self._share >= 0.01:
            self._share = share
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
    return base.mistake(name, error)


ABOUT = (
    "Nothing leaves this machine, as long as your Jupyter runs on it: the file goes to the notebook kernel "
    "and no further, and what was copied is deleted once it is read. Files of tcpdump -w and Wireshark are "
    "read, pcap or pcapng, also packed with gzip or zstd."
)


class ReportPanel(widgets.VBox):
    """The page to hand on, to download as HTML or Markdown."""

    HELP = (
        "One page to send: what broke, the timeline, the evidence with Wireshark filters, what to change "
        "and whose setting it is. The report is generated locally; no data leaves this machine."
    )

    def __init__(self) -> None:
        self.redact = base.labelled(widgets.Checkbox(
            description="redact: no address, client port, name or message", indent=False,
            layout=widgets.Layout(width="auto"),
        ))  # fmt: skip
        self.shift = base.labelled(widgets.Checkbox(
            description="times from 00:00:00 at the first packet", indent=False,
            layout=widgets.Layout(width="auto"),
        ))  # fmt: skip
        self.links = widgets.HTML()
        super().__init__([widgets.HTML(paragraph(self.HELP)), self.redact, self.shift, self.links])
        self._timeline: CaptureTimeline | None = None
        self._both: Both | None = None
        self._digests: tuple[str, ...] = ()
        self._zone: ZoneInfo | None = None
        for each in (self.redact, self.shift):
            each.observe(lambda change: self.offer(), "value")

    def show(
        self, timeline: CaptureTimeline, both: Both | None, digests: tuple[str, ...], zone: ZoneInfo | None
    ) -> None:
        """The report is about this capture, or `both`; `digests` and `zone` as in `incident_report`."""
        self._timeline, self._both, self._digests, self._zone = timeline, both, digests, zone
        self.links.value = ""

    def offer(self) -> None:
        """Make the report and the links to it."""
        if (timeline := self._timeline) is None:
            return
        report = incident_report(
            timeline, both=self._both, digests=self._digests, redact=self.redact.value,
            shift_time=self.shift.value, zone=self._zone,
        )  # fmt: skip
        html, markdown = report.html().encode(), report.markdown().encode()
        self.links.value = (
            f"<p>{download('incident.html', html, 'text/html')} · "
            f"{download('incident.md', markdown, 'text/markdown')}</p>{to_copy('incident.html', html)}"
        )


class CaptureClinic(base.Shell):
    """A place to drop a capture file on, and what it shows: for the last line of a cell.

    `path` is read at once; `other_end`: a capture of the same connections that was taken on another host. The
    files are read by the notebook kernel and go nowhere else. What is wrong with one is said in one sentence.
    """

    styles = ("clinic.css",)

    def __init__(self, path: str = "", other_end: str = "") -> None:
        super().__init__("tcplab-clinic")
        #: Both ends of the same connections, where two files were read that belong together.
        self.both: Both | None = None
        #: The first of two files while the other is read, and its SHA-256.
        self._first: tuple[CaptureTimeline, str] | None = None
        #: SHA-256 of what is shown, as in `incident_report`.
        self._digests: tuple[str, ...] = ()
        self._notes: list[str] = []
        self._other_end = other_end
        #: The file that was read last, and its diagnosis; None before, and after one that can't be read.
        self.capture: Capture | None = None
        self.diagnosis: Diagnosis | None = None
        #: What the file is, or why it can't be read; at first what can be read.
        self.sentence = ABOUT
        #: The reading that is under way.
        self.reading: Reading | None = None
        self._worst: list[ConnectionFindings] = []
        #: Where a file is dropped, and the path that is read instead.
        self.drop = DropZone(self._arriving, self._start, self.refuse)
        self.path = widgets.Text(
            value=path,
            description="or its path, for very large files:",
            placeholder="/var/tmp/trouble.pcap",
            continuous_update=False,
        ).add_class("tcplab-path")
        #: How far the reading is.
        self.progress = base.Progress(self.cancel)
        #: What is shown of a diagnosis.
        self.result = self._build_result()
        #: The controls that choose a file; hidden while one is shown.
        self.choosing = widgets.VBox([
            widgets.HTML(f"<h3>The clinic: what does my capture show?</h3>{paragraph(ABOUT)}"),
            self.drop,
            base.in_row(base.labelled(self.path), base.button("Read it", "search", self._read_path)),
        ])  # fmt: skip
        self._file = widgets.HTML()
        another = base.button("Another file", "folder-open", self._choose_another)
        other_end = base.button("Add the other end", "exchange", self._choose_other_end)
        #: When it broke is said in this time zone, too; the browser's own is offered.
        self.zone = base.labelled(widgets.Combobox(
            description="also in time zone", placeholder="Europe/Berlin", continuous_update=False,
        ).add_class("tcplab-zone"))  # fmt: skip
        self.react(self.zone, lambda value: self._tell())
        self.incident.observe(self._offer_zone, "zone")
        self._file_line = base.in_row(self._file, another, other_end, self.zone, css="tcplab-file")
        self.build(self.choosing, self.progress, self._file_line, self.status, self.result)
        self._choose_file(True)
        base.visible(self.result, False)
        if path:
            self._read_path()

    def _build_result(self) -> widgets.VBox:
        self._summary, self._more = widgets.HTML(), widgets.HTML()
        #: Which connections are listed: a finding's code (see `filters`), and a text in their addresses.
        self.filter = base.labelled(widgets.Dropdown(options=[("all connections", "")], description="show"))
        self.search = base.labelled(
            widgets.Text(description="address or port", placeholder="5432", continuous_update=False)
        )
        #: The connections that pass, and the one that is looked into.
        self.connections = base.labelled(
            widgets.Select(rows=8, description="connection").add_class("tcplab-list")
        )
        for each in (self.filter, self.search):
            self.react(each, lambda value: self._list())
        self.react(self.connections, lambda number: self._open())
        #: What is shown of that connection.
        self.findings = widgets.HTML()
        self.replay = Replay(Trace("nothing", "capture"))
        self.graphs = GraphPanel(self.replay)
        self.ladder = base.LivingFigure("capture")
        self.segments = widgets.HTML().add_class("tcplab-scroll")
        self.what_if = WhatIfForm()
        inner: dict[str, widgets.Widget] = {
            "Step by step": self.replay,
            "Graphs": self.graphs,
            "Whole ladder": self.ladder,
            "Segments": self.segments,
            "Other settings": self.what_if,
        }
        self.tabs = base.Tabs(inner, self._fill)
        self.one = widgets.VBox([self.findings, self.tabs])
        narrow = base.in_row(self.filter, self.search)
        #: The whole file on the wall clock, with a brush.
        self.incident = LivingIncident(self.look_into)
        #: Of two files the lanes of both, and what was lost between them.
        self.between = widgets.HTML()
        self.incident.observe(lambda change: self._draw_between(), ["width", "dark"])
        #: The incidents in order of time; shown where there are at least two.
        self.ledger = widgets.HTML()
        self.report = ReportPanel()
        pages: dict[str, widgets.Widget] = {
            TIMELINE: widgets.VBox([self.between, self.incident, self.ledger]),
            CONNECTIONS: widgets.VBox([self._summary, narrow, self.connections, self._more, self.one]),
            REPORT: self.report,
        }
        self.pages = base.Tabs(pages, lambda title: self.report.offer() if title == REPORT else None)
        return widgets.VBox([self.pages])

    def read(self, path: str | Path) -> None:
        """Read this file; `wait` returns when its diagnosis is there."""
        self.cancel()
        self._start(Path(path).expanduser())

    def wait(self) -> None:
        """Return when nothing is being read any more."""
        if self.reading is not None:
            self.reading.wait()

    def cancel(self) -> None:
        """Stop reading; what was shown before is gone."""
        self.drop.stop()
        self._stop_reading()
        if not self.progress.layout.display:
            self.say("Cancelled: nothing was read.")
        self.progress.show(None)

    def _stop_reading(self) -> None:
        if self.reading is not None:
            self.reading.cancel()
            self.reading = None

    def choose(self, number: int) -> None:
        """Look into this connection, by its number in the capture."""
        self.connections.value = number

    def look_into(self, number: int) -> None:
        """Show this connection on the page of connections, regardless of the filter."""
        if self.diagnosis is None:
            return
        with self.quietly():
            self.filter.value, self.search.value = ALL, ""
        self._list()
        if number not in [value for _, value in self.connections.options]:
            with self.quietly():
                each = self.diagnosis.connections[number]
                self.connections.options = [(line(each), number), *self.connections.options]
        self.choose(number)
        self.pages.select(CONNECTIONS)

    @property
    def number(self) -> int | None:
        """The connection that is looked into; None without one."""
        value: int | None = self.connections.value
        return value

    @property
    def trace(self) -> Trace | None:
        """That connection's trace."""
        if self.capture is None or self.number is None:
            return None
        return self.capture.connection(self.number)

    # -- a file ------------------------------------------------------------------------------

    def _read_path(self) -> None:
        if path := self.path.value.strip():
            self.read(path)
        else:
            self.refuse("Type the path of a capture file first, or choose one above.")

    def _arriving(self, name: str, share: float) -> None:
        if not share:
            self._stop_reading()
        self._show_progress(share, f"copying {name}")

    def _choose_file(self, yes: bool) -> None:
        """Show the controls that choose a file, or the line about the current one."""
        base.visible(self.choosing, yes)
        base.visible(self._file_line, not yes)

    def _choose_another(self) -> None:
        self._first = None
        self._choose_file(True)

    def _choose_other_end(self) -> None:
        """The next file that is read is a capture of the same connections, taken on another host."""
        if (timeline := self.incident.timeline) is None:
            return
        self._first = timeline, self._digests[0]
        self._choose_file(True)
        self.say(
            "Choose the capture that was taken at the other end of the connections in "
            f"{timeline.diagnosis.name}: both are put on one clock, and what was lost in between is named."
        )

    def _start(self, file: Path) -> None:
        base.visible(self.result, False)
        self._choose_file(True)
        self.capture = self.diagnosis = None
        self.say(f"Reading {file.name} …")
        self._show_progress(0.0, "opening")
        self.reading = reading = Reading(file, self._show_progress, self._done, self.refuse)
        reading.start()

    def _show_progress(self, share: float, what: str) -> None:
        self.progress.show(share, f" {what}, {share:.0%}")

    def _done(self, capture: Capture, diagnosis: Diagnosis) -> None:
        digest = self.reading.digest if self.reading else ""
        self._over()
        timeline = read_incidents(capture, diagnosis)
        self.both, self._digests, self._notes = None, (digest,), []
        if self._first is not None:
            (first, its_digest), self._first = self._first, None
            made = both_ends(first, timeline)
            if isinstance(made, str):
                timeline, self._digests, self._notes = first, (its_digest,), [made]
            else:
                in_order = made.near is first
                self._digests = (its_digest, digest) if in_order else (digest, its_digest)
                self.both, timeline = made, made.merged()
                self._notes = [made.clocks_line(), *filter(None, [made.remark()])]
        capture, diagnosis = timeline.capture, timeline.diagnosis
        self.capture, self.diagnosis = capture, diagnosis
        self._worst = worst_first(diagnosis)
        other = f" · at the other end {self.both.names[1]}" if self.both else ""
        self._file.value = paragraph(file_line(capture, diagnosis) + other)
        self._choose_file(not len(diagnosis))
        self.incident.show(timeline)
        self._draw_between()
        self.pages.select(TIMELINE)
        self._tell()
        self.ledger.value = ledger(timeline)
        self._summary.value = summary_table(diagnosis)
        with self.quietly():
            self.filter.options = filters(diagnosis)
            self.filter.value, self.search.value = "", ""
        base.visible(self.result, len(diagnosis) > 0)
        self._list()
        if self._other_end:
            other_end, self._other_end = self._other_end, ""
            self._first = timeline, digest
            self._start(Path(other_end).expanduser())
            self.wait()

    def _draw_between(self) -> None:
        place = self.incident
        drawing = both_drawing(self.both, place.timeline, place.width, dark=place.dark) if self.both else None
        self.between.value = drawing.svg if drawing else ""

    def _tell(self) -> None:
        """Say the story, and hand it to the report."""
        timeline, both = self.incident.timeline, self.both
        if timeline is None or self.diagnosis is None:
            return
        zone, wrong = None, []
        try:
            zone = time_zone(name) if (name := self.zone.value.strip()) else None
        except ValueError as error:
            wrong = [str(error)]
        why = both.why() if both else timeline.cause.text if timeline.cause else ""
        aside = " ".join(filter(None, (why, consequences(timeline), timeline.in_zone(zone))))
        warnings = (f"Note: {warning}" for warning in timeline.diagnosis.warnings)
        self.say(
            both.headline() if both else timeline.headline(), notes=[*wrong, *self._notes, *warnings],
            aside=aside,
        )  # fmt: skip
        self.report.show(timeline, both, self._digests, zone)
        self.pages.renew(REPORT)

    def _offer_zone(self, change: Any) -> None:
        """Offer the browser's time zone where it is one that this machine knows."""
        with suppress(ValueError):
            self.zone.options = (time_zone(change.new).key,)

    def refuse(self, why: str) -> None:
        self._over()
        self.capture = self.diagnosis = self._first = None
        base.visible(self.result, False)
        self._choose_file(True)
        super().refuse(why)

    def _over(self) -> None:
        self.reading = None
        self.drop.forget()
        self.progress.show(None)

    # -- its connections ---------------------------------------------------------------------

    def _list(self) -> None:
        """List the connections that pass the filters, and open the first."""
        passing = list(chosen(self._worst, self.filter.value, self.search.value))
        with self.quietly():
            self.connections.options = [(line(each), each.number) for each in passing[:LISTED]]
            self.connections.rows = min(max(len(passing), 2), 8)
            self.connections.value = passing[0].number if passing else None
        hint = "" if passing else "No connection matches."
        if len(passing) > LISTED:
            hint = f"The first {LISTED} of {len(passing):,}, worst first: filter them to see the others."
        self._more.value = paragraph(hint, "tcplab-help") if hint else ""
        self._open()

    def _open(self) -> None:
        """Show the connection that is chosen."""
        base.visible(self.one, self.number is not None)
        if self.number is None or self.diagnosis is None:
            self.tabs.forget()
            return
        connection = self.diagnosis.connections[self.number]
        findings = findings_html(connection.findings) or paragraph("No finding here.")
        timeline = self.incident.timeline
        said = " ".join(timeline.remarks(self.number)) if timeline else ""
        remarks = paragraph(said) if said else ""
        self.findings.value = f"<h4>{escape(line(connection))}</h4>{remarks}{findings}"
        self.tabs.renew()

    def _fill(self, title: str) -> None:
        """Show the connection, built only as far as it is shown: a million segments take half a minute."""
        capture, number, diagnosis = self.capture, self.number, self.diagnosis
        if capture is None or number is None or diagnosis is None:
            return
        frames = capture.frames(number)
        if title == "Step by step":
            beginning = capture.connection(number, first=replay_steps.MOST)
            self.replay.show(beginning, diagnosis.connections[number].findings, frames)
        elif title == "Graphs":
            trace = capture.connection(number, first=MOST_GRAPHED)
            self.graphs.show(read_graphs(trace, capture.began + trace.packets[0].t))
        elif title == "Whole ladder":
            self.ladder.show(ladder.draw(capture.connection(number, first=MOST)))
        elif title == "Segments":
            beginning = capture.connection(number, first=MOST)
            hint = paragraph(excerpt_words(beginning, whole=len(frames)), "tcplab-help")
            self.segments.value = hint + trace_table(beginning)
        else:
            self.what_if.show(capture.connection(number, last=replay_steps.MOST))

    def _repr_html_(self) -> str:
        if self.diagnosis is None:
            return super()._repr_html_()
        parts = self._file.value, self.status.value, self.between.value, self.incident._repr_html_()
        return f"{''.join(parts)}{self.ledger.value}"


def clinic(path: str = "", other_end: str = "") -> CaptureClinic:
    """A `CaptureClinic`: drop a capture file on it, or have `path` read at once.

    `other_end`: a capture of the same connections, taken on another host; both are put on one clock.
    """
    return CaptureClinic(path, other_end)
