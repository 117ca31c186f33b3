"""Which timer wins: every state of a connection against every timer, under given settings.

    >>> TimerTable(Timers(keepalive_idle_s=300, box_idle_s=350)).row("idle").winner
    ''

Where the course has an experiment, the figure is the result of its run on the model; the others are the
settings themselves, and the time at which a middlebox forgets: its idle timer after the last segment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from math import inf
from textwrap import fill
from typing import Any

from tcplab.advice.products import KeepaliveDefaults
from tcplab.advice.runs import Ending, behind_middlebox, cached_run
from tcplab.core import knobs
from tcplab.core.catalogue import EXPIRIES
from tcplab.core.knobs import DAY, Knob, ParameterError, Parameters, knob
from tcplab.core.table import Cell, Markup, html_table, text_table
from tcplab.core.text import SECOND, STATUS, in_words
from tcplab.core.trace import Trace
from tcplab.experiments import DeadPeer, FinOrRst, Keepalive, SlowReader, UnansweredConnect
from tcplab.experiments.experiment import Experiment
from tcplab.experiments.idle_firewall import EXPIRED
from tcplab.model.rules import TIME_WAIT_LENGTH

#: The timers, in the table's order.
COLUMNS = (
    "connect timeout", "keepalive", "retransmission", "user timeout", "socketTimeout",
    "server's idle close", "the box", "Linux's closing timer",
)  # fmt: skip
CONNECT, KEEPALIVE, RESEND, USER, READ, SERVER, BOX, CLOSING = COLUMNS

#: Before the figure of the timer that ends a state first.
WINS = "▶ "


@dataclass(frozen=True)
class TimerCell:
    """What one timer does in one state."""

    #: When it acts, seconds from the last segment of the other side or from the call; None: never.
    seconds: float | None
    #: Why, or what it does then; empty where the timer has nothing to do with the state.
    says: str
    #: False: it probes or forgets, and the connection can go on.
    ends: bool = True
    #: Your program gets an error or an end of file, at once or at its next call.
    tells: bool = True


@dataclass(frozen=True)
class TimerRow:
    """One state of a connection."""

    name: str
    #: The situation, and from when seconds count.
    story: str
    #: One for each of `COLUMNS`.
    cells: tuple[TimerCell, ...]

    def __getitem__(self, column: str) -> TimerCell:
        return self.cells[COLUMNS.index(column)]

    @property
    def winner(self) -> str:
        """The timer that ends it first; empty: none does."""
        return self._first(lambda cell: cell.ends)

    @property
    def heard_from(self) -> str:
        """The timer that first makes a call of your program return; empty: none does."""
        return self._first(lambda cell: cell.ends and cell.tells)

    def _first(self, counts: Callable[[TimerCell], bool]) -> str:
        acting = [(c.seconds, i) for i, c in enumerate(self.cells) if c.seconds is not None and counts(c)]
        return COLUMNS[min(acting)[1]] if acting else ""

    @property
    def heard_after(self) -> str:
        """When a call of your program returns, as the table writes it."""
        return seconds_text(self[self.heard_from].seconds) if self.heard_from else "not by itself"

    def figures(self) -> Iterator[tuple[str, bool]]:
        """The text of each timer, and whether it is the winner."""
        for column, cell in zip(COLUMNS, self.cells, strict=True):
            wins = column == self.winner
            yield (WINS if wins else "") + seconds_text(cell.seconds), wins

    def reasons(self) -> Iterator[str]:
        """What each timer does here, or why nothing; those that are not set, together."""
        unset = []
        for column, cell in zip(COLUMNS, self.cells, strict=True):
            if cell.seconds is None and cell.says in ("not set", "off"):
                unset.append(column)
            elif cell.says:
                is_long = cell.seconds is not None and cell.seconds >= 120
                yield f"{column}{f' ({in_words(cell.seconds or 0)})' if is_long else ''}: {cell.says}"
        if unset:
            yield f"not set: {', '.join(unset)}"


def seconds_text(seconds: float | None) -> str:
    """``7875 s``, ``928.9 s``, ``–`` for never."""
    return "–" if seconds is None else f"{seconds:.1f}".removesuffix(".0") + " s"


CONNECT_TIMEOUT = Knob(
    "connect timeout", float, "s", 0, DAY, zero="none", slider_high=120,
    help="How long the driver or client waits for a connection.",
)  # fmt: skip
SOCKET_TIMEOUT = Knob(
    "socketTimeout", float, "s", 0, DAY, zero="none", slider_high=3600,
    help="How long the driver waits in one read for an answer.",
)  # fmt: skip
SERVER_IDLE = Knob(
    "server's idle close", float, "s", 0, 30 * DAY, zero="never", slider_high=28800,
    help="Idle time after which the server ends a session: wait_timeout, idle_session_timeout.",
)  # fmt: skip
OUTAGE = Knob(
    "outage tolerated", float, "s", 0, DAY, zero="not known", slider_high=3600,
    help="The longest outage that your users tolerate.",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Timers(Parameters):
    """The settings. By default: libpq on Linux, behind a load balancer that forgets after 350 s."""

    name = "which_timer_wins"

    connect_timeout_s: float = knob(CONNECT_TIMEOUT, default=0)
    keepalive_idle_s: float = knob(knobs.KEEPALIVE_IDLE, default=7200)
    keepalive_interval_s: float = knob(knobs.KEEPALIVE_INTERVAL, default=75)
    keepalive_probes: int = knob(knobs.KEEPALIVE_PROBES, default=9)
    user_timeout_s: float = knob(knobs.USER_TIMEOUT, default=0)
    socket_timeout_s: float = knob(SOCKET_TIMEOUT, default=0)
    server_idle_close_s: float = knob(SERVER_IDLE, default=0)
    box_idle_s: float = knob(knobs.FIREWALL_IDLE, default=350)
    box_expired: str = knob(EXPIRED, default="drop")
    retries2: int = knob(knobs.RETRIES2, default=15)
    syn_retries: int = knob(knobs.SYN_RETRIES, default=6)
    fin_timeout_s: float = knob(knobs.FIN_TIMEOUT, default=60)
    outage_s: float = knob(OUTAGE, default=60)

    def rows(self) -> tuple[TimerRow, ...]:
        """Every state, in the order of a connection's life."""
        return (
            self._syn(), self._ghost(), self._idle(), self._waiting(), self._sending(), self._zero_window(),
            self._close_wait(), self._fin_wait_2(), self._time_wait(),
        )  # fmt: skip

    def _syn(self) -> TimerRow:
        cells = {
            CONNECT: _set(self.connect_timeout_s, "the driver gives up"),
            RESEND: TimerCell(self._connects(0), f"after {self.syn_retries} retries (tcp_syn_retries)"),
            USER: TimerCell(None, "not set"),
            KEEPALIVE: TimerCell(None, "begins with an established connection"),
            BOX: TimerCell(None, "has no entry yet"),
        }
        if self.user_timeout_s:
            ended, alone = self._connects(self.user_timeout_s), cells[RESEND].seconds
            cells[USER] = TimerCell(None, "the retries end before")
            if ended is not None and alone is not None and ended < alone:
                cells[USER] = TimerCell(ended, "ends connect() too")
        return _row("SYN", "connect() to an address that does not answer; from the first SYN", cells)

    def _ghost(self) -> TimerRow:
        cells = {
            CONNECT: _set(self.connect_timeout_s, "if it covers the login, as libpq's does"),
            KEEPALIVE: self._probed("rebooted", "a RST answers the first probe"),
            RESEND: TimerCell(None, "nothing is sent"),
            USER: TimerCell(None, self._unset("nothing is unacknowledged")),
            READ: _set(self.socket_timeout_s, "ends the wait for the greeting"),
            SERVER: TimerCell(None, "the server has no session"),
        }
        cells[BOX] = self._box([0], cells[KEEPALIVE].seconds, "a probe comes before")
        story = "connect() has succeeded, the server has no session, the client waits for its greeting"
        return _row("ghost", story, cells)

    def _idle(self) -> TimerRow:
        idle = self.keepalive_idle_s
        asks = "is sent, and restarts the firewall's timer" if self._keeps_entry else "asks"
        cells = {
            KEEPALIVE: TimerCell(idle, asks, ends=False) if idle else TimerCell(None, "off"),
            RESEND: TimerCell(None, "nothing is sent"),
            USER: TimerCell(None, self._unset("nothing is unacknowledged")),
            READ: TimerCell(None, "no call reads"),
            SERVER: _set(self.server_idle_close_s, "a FIN; your next query fails"),
            BOX: self._box([0], idle if self._keeps_entry else None, f"a probe each {idle:g} s restarts it"),
        }
        if self.box_expired == "drop_inbound":
            cells[BOX] = replace(cells[BOX], ends=False)
        return _row("idle", "both ends are up and send nothing; from the last segment", cells)

    def _waiting(self) -> TimerRow:
        keepalive = self._probed("offline", f"after {self.keepalive_probes} probes without an answer")
        ended, probes = keepalive.seconds, []
        if ended is not None:
            probes = [t for t in self._keepalive_run("offline").outcome["probe_times_s"] if t <= ended]
        cells = {
            KEEPALIVE: keepalive,
            RESEND: TimerCell(None, "the query was acknowledged"),
            USER: TimerCell(None, self._unset("nothing is unacknowledged")),
            READ: _set(self.socket_timeout_s, "the driver gives up"),
            SERVER: TimerCell(None, "the session is not idle"),
            BOX: self._box([0, *probes], ended, "each probe restarts it"),
        }
        rejected = self._forgotten and self._forgotten.error != "ETIMEDOUT"
        if self.user_timeout_s and ended is not None and not rejected:
            # net/ipv4/tcp_timer.c:tcp_keepalive_timer looks at one or the other.
            cells[USER] = TimerCell(ended, "when the next probe is due after it")
            cells[KEEPALIVE] = TimerCell(None, "the user timeout decides, not the number of probes")
        story = "the server has the query and is gone, or its answer never arrives; from its last ACK"
        return _row("waiting for an answer", story, cells)

    def _sending(self) -> TimerRow:
        trace = self._run(DeadPeer, user_timeout_s=self.user_timeout_s, retries2=self.retries2)
        ended, sent = trace.outcome["detected_after_s"], _sent(trace, "client", trace.watched_from or 0)
        times = f"after {trace.outcome['transmissions']} transmissions"
        cells = {
            KEEPALIVE: TimerCell(None, "no probe while data is unacknowledged"),
            RESEND: TimerCell(ended, f"{times} (tcp_retries2 = {self.retries2})"),
            USER: TimerCell(None, "not set"),
            READ: _set(self.socket_timeout_s, "if the driver waits for the answer"),
            SERVER: TimerCell(None, "no segment reaches it"),
            BOX: self._box(
                [t for t in sent if t <= (ended or inf)], ended, "each retransmission restarts it"
            ),
        }
        if self.user_timeout_s:
            cells[USER] = TimerCell(ended, times)
            cells[RESEND] = TimerCell(None, "the user timeout decides, not tcp_retries2")
        story = "data is in flight and is not acknowledged; from its first transmission"
        return _row("sending", story, cells)

    def _zero_window(self) -> TimerRow:
        user, watch = self.user_timeout_s, max(self.user_timeout_s + 200, 600)
        trace = self._run(SlowReader, stops_reading_s=1, user_timeout_s=user, watch_s=watch)
        gone = trace.outcome["server_error"] is not None
        ended = trace.outcome["stalled_s"] if gone else None
        closed = next(
            (p.arrives for p in trace.packets if p.sender == "client" and p.segment.window == 0), trace.end
        )
        probes = _sent(trace, "server", closed or 0)
        cells = {
            KEEPALIVE: TimerCell(None, "no probe while data waits to be sent"),
            RESEND: TimerCell(None, "the reader answers each window probe"),
            USER: TimerCell(ended, "although the reader is up") if gone else TimerCell(None, "not set"),
            READ: TimerCell(None, "this end writes"),
            SERVER: TimerCell(None, "the session is not idle"),
            BOX: self._box([0, *probes], ended if gone else probes[-1], "each window probe restarts it"),
        }
        story = "the peer is up but does not read; you send; from when its window closed"
        return _row("zero window", story, cells)

    def _close_wait(self) -> TimerRow:
        idle = self.keepalive_idle_s
        keepalive = self._probed("rebooted", "a RST answers the probe")
        if idle and (self._keeps_entry or not self.box_idle_s):
            # The first probes may still meet the server's FIN_WAIT_2, which answers them.
            ended = _lasted(self._server_closes(idle), "client", "CLOSE_WAIT")
            keepalive = TimerCell(ended, "a RST answers the first probe after the server's FIN_WAIT_2")
        until = idle if self._keeps_entry else keepalive.seconds
        cells = {
            KEEPALIVE: keepalive,
            RESEND: TimerCell(None, "nothing is sent"),
            USER: TimerCell(None, self._unset("nothing is unacknowledged")),
            READ: TimerCell(None, "a read returns end of file at once"),
            SERVER: TimerCell(None, "it has closed already"),
            BOX: self._box([0], until, f"a probe each {idle:g} s restarts it"),
        }
        story = "the server has closed, your program has not: its close() would end this; from the FIN"
        return _row("CLOSE_WAIT", story, cells)

    def _fin_wait_2(self) -> TimerRow:
        ended = _lasted(self._server_closes(32767), "server", "FIN_WAIT_2")
        cells = {
            KEEPALIVE: TimerCell(None, "only the kernel still has the socket"),
            CLOSING: TimerCell(ended, "tcp_fin_timeout; no program waits", tells=False),
        }
        return _row("FIN_WAIT_2", "you have closed, the peer has not; from its ACK of the FIN", cells)

    def _time_wait(self) -> TimerRow:
        # net/ipv4/tcp_minisocks.c:tcp_time_wait, include/net/tcp.h:TCP_TIMEWAIT_LEN
        length = TIME_WAIT_LENGTH / SECOND
        cells = {
            CLOSING: TimerCell(length, "a constant in the kernel; the port is held that long", tells=False)
        }
        return _row("TIME_WAIT", "both have closed, you first; from the last ACK", cells)

    @cached_property
    def _keepalive(self) -> KeepaliveDefaults | None:
        times = self.keepalive_idle_s, self.keepalive_interval_s, self.keepalive_probes, self.user_timeout_s
        return KeepaliveDefaults(*times) if self.keepalive_idle_s else None

    @property
    def _keeps_entry(self) -> bool:
        """Whether answered probes come often enough for the middlebox."""
        return bool(self._keepalive and self._keepalive.beats(self.box_idle_s))

    def _run(self, experiment: Callable[..., Experiment], **settings: Any) -> Trace:
        """An experiment with this latency, release and seed."""
        common = {"latency_ms": self.latency_ms, "linux": self.linux, "seed": self.seed}
        return cached_run(experiment(**common, **settings))

    def _connects(self, user_timeout_s: float) -> float | None:
        trace = self._run(UnansweredConnect, syn_retries=self.syn_retries, user_timeout_s=user_timeout_s)
        return trace.outcome["gave_up_after_s"]

    def _server_closes(self, idle_s: float) -> Trace:
        return self._run(FinOrRst, client="idle", keepalive_idle_s=idle_s, fin_timeout_s=self.fin_timeout_s)

    def _keepalive_run(self, peer: str) -> Trace:
        return self._run(
            Keepalive, idle_s=self.keepalive_idle_s, interval_s=self.keepalive_interval_s,
            probes=self.keepalive_probes, user_timeout_s=self.user_timeout_s, peer=peer,
        )  # fmt: skip

    @cached_property
    def _forgotten(self) -> Ending | None:
        """How the connection ends when the middlebox has forgotten it; None: probes reach the server."""
        keepalive = self._keepalive
        if not keepalive or not self.box_idle_s or self._keeps_entry:
            return None
        # A silence in which keepalive can give up: what ends it before its end is the middlebox.
        quiet = self.box_idle_s + keepalive.options.keepalive_watch_s
        ending = behind_middlebox(
            self.box_idle_s, self.box_expired, "long_query", min(quiet, DAY), keepalive,
            self.user_timeout_s, linux=self.linux,
        )  # fmt: skip
        return ending if ending and ending.after_s < quiet else None

    def _probed(self, peer: str, says: str) -> TimerCell:
        """When keepalive ends the connection to a peer that is `offline` or has `rebooted`."""
        if not self.keepalive_idle_s:
            return TimerCell(None, "off")
        if (ending := self._forgotten) is None or (ending.error == "ETIMEDOUT" and peer == "offline"):
            return TimerCell(self._keepalive_run(peer).outcome["detected_after_s"], says)
        if ending.error == "ETIMEDOUT":
            return TimerCell(ending.after_s, "the firewall drops its probes")
        if self.box_expired == "reset_both":
            return TimerCell(None, "the box ends it before")
        return TimerCell(ending.after_s, "the firewall's RST answers the first probe")

    def _unset(self, why: str) -> str:
        """Why the user timeout has no effect."""
        return why if self.user_timeout_s else "not set"

    def _box(self, segments: Sequence[float], until: float | None, otherwise: str) -> TimerCell:
        """When a middlebox forgets that sees segments at these times, until the end (None: never)."""
        if not self.box_idle_s:
            return TimerCell(None, "none, or one whose entries don't expire")
        last = segments[0] if segments else 0.0
        for t in (*segments[1:], inf if until is None else until):
            if t - last >= self.box_idle_s:
                return TimerCell(
                    round(last + self.box_idle_s, 3), f"then it {EXPIRIES[self.box_expired]}",
                    ends=self.box_expired != "reopen", tells=self.box_expired == "reset_both",
                )  # fmt: skip
            last = t
        return TimerCell(None, otherwise)


def _set(seconds: float, says: str) -> TimerCell:
    return TimerCell(seconds, says) if seconds else TimerCell(None, "not set")


def _row(name: str, story: str, cells: Mapping[str, TimerCell]) -> TimerRow:
    return TimerRow(name, story, tuple(cells.get(column, TimerCell(None, "")) for column in COLUMNS))


def _sent(trace: Trace, host: str, since: int) -> list[float]:
    """When a host sent something from `since` on, seconds from the first segment."""
    sent = [p.t for p in trace.packets if p.sender == host and p.t >= since]
    return [(t - sent[0]) / SECOND for t in sent]


def _lasted(trace: Trace, host: str, state: str) -> float | None:
    """How long a host's socket was in a state, seconds; None: to the end of the run."""
    samples = [s for s in trace.sockets if s.host == host]
    began = next(s.t for s in samples if s.state == state)
    ended = next((s.t for s in samples if s.t > began and s.state != state), None)
    return None if ended is None else round((ended - began) / SECOND, 3)


class TimerTable:
    """The table, as text and as HTML; `rows` and `row(name)` have the figures."""

    def __init__(self, settings: Timers) -> None:
        self.settings = settings
        self.rows = settings.rows()

    def row(self, name: str) -> TimerRow:
        """One state by its name. `ParameterError` lists the names."""
        rows = {row.name: row for row in self.rows}
        if name not in rows:
            raise ParameterError(f"no state {name!r}: there are {', '.join(rows)}.")
        return rows[name]

    @property
    def sentence(self) -> str:
        """The winners in a few sentences."""
        silent = [row for row in self.rows if row.winner == BOX and not row[BOX].tells]
        never = [row.name for row in self.rows if not row.winner]
        first = [
            f"{row.name}: {row.winner} after {in_words(row[row.winner].seconds or 0)}"
            for row in self.rows
            if row.winner
        ]
        said = [f"First to act: {'; '.join(first)}."]
        if silent:
            said.append(f"The firewall acts without notice ({', '.join(row.name for row in silent)}).")
        if never:
            said.append(f"No timer ends: {', '.join(never)}.")
        return " ".join(said)

    def __repr__(self) -> str:
        headings = [fill(text, 9, break_long_words=False) for text in ("", *COLUMNS, _HEARD)]
        rows = [[row.name, *(text for text, _ in row.figures()), row.heard_after] for row in self.rows]
        lines = text_table(headings, rows, numeric=range(1, len(headings)))
        return "\n".join([*lines, "", self.sentence])

    def _repr_html_(self) -> str:
        headings = [Markup(_HYPHENS.get(text, escape(text))) for text in ("state", *COLUMNS, _HEARD)]
        caption = f"seconds until each timer acts; {WINS}= the first that ends it; – = never"
        table = html_table(headings, _html_rows(self.rows), caption=caption, classes="")
        return f'{_STYLE}<div class="tcplab-timers">{table}<p {STATUS}>{escape(self.sentence)}</p></div>'


_HEARD = "error after"
#: Where a long heading may be broken.
_HYPHENS = {"retransmission": "retrans&shy;mission", "socketTimeout": "socket&shy;Timeout"}
#: The colours are the page's, in light and dark; the class is there twice to win over JupyterLab's.
_STYLE = (
    "<style>.tcplab-timers{overflow-x:auto}"
    ".tcplab-timers.tcplab-timers table{border-collapse:collapse;font-size:14px;line-height:1.3;"
    "color:inherit;max-width:1150px}"
    ".tcplab-timers.tcplab-timers caption{text-align:left;padding:4px 8px;color:inherit;font-size:14px}"
    ".tcplab-timers.tcplab-timers tr{background:none}"
    ".tcplab-timers.tcplab-timers :is(th,td){padding:5px 6px;text-align:left;vertical-align:top;"
    "white-space:normal;border:1px solid color-mix(in srgb,currentColor 25%,transparent)}"
    ".tcplab-timers.tcplab-timers td:not(.why,:last-child){white-space:nowrap}"
    ".tcplab-timers td.why{opacity:.85}.tcplab-timers td.why b{font-weight:600}"
    ".tcplab-timers td.wins{outline:2px solid currentColor;outline-offset:-3px}</style>"
)


def _html_rows(rows: Sequence[TimerRow]) -> Iterator[list[str | Cell]]:
    """Two rows for each state: the figures, and the reasons below them."""
    for row in rows:
        figures = [
            Cell(Markup(f"<b>{text}</b>"), 'class="wins"', "td") if wins else Cell(text, tag="td")
            for text, wins in row.figures()
        ]
        yield [Cell(row.name, 'rowspan="2"', "th"), *figures, Cell(row.heard_after, tag="td")]
        why = Markup(f"<b>{escape(row.story)}.</b> {escape('; '.join(row.reasons()))}.")
        yield [Cell(why, f'class="why" colspan="{len(COLUMNS) + 1}"', "td")]
