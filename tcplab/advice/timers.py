"""Which timer wins: every state of a connection against every timer, under one's own settings.

    >>> import tcplab
    >>> tcplab.which_timer_wins(keepalive_idle_s=300, box_idle_s=350).row("idle").winner
    ''

Where the course has an experiment, the figure is what its run on the model says; the rest are the
settings themselves, and a box's arithmetic: it forgets when no segment comes for as long as its timer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from math import inf
from typing import Any

from tcplab.bench import run
from tcplab.core.knobs import (
    DAY,
    FIN_TIMEOUT,
    FIREWALL_IDLE,
    KEEPALIVE_IDLE,
    KEEPALIVE_INTERVAL,
    KEEPALIVE_PROBES,
    RETRIES2,
    SYN_RETRIES,
    USER_TIMEOUT,
    Knob,
    ParameterError,
    Parameters,
    choice,
    knob,
)
from tcplab.core.text import SECOND, duration
from tcplab.core.trace import Trace
from tcplab.experiments import DeadPeer, FinOrRst, Keepalive, SlowReader, UnansweredConnect
from tcplab.model.rules import TIME_WAIT_LENGTH
from tcplab.route.firewall import EXPIRED

# ----------------------------------------------------------------------
# States against timers as a table: text for a terminal, HTML for a notebook. The winner has a sign.

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

    #: When it acts, seconds from when the other side was last heard or the call began; None: never.
    seconds: float | None
    #: Why, or what it does then; empty where the timer has nothing to do with the state.
    says: str
    #: False: it asks or forgets, and the connection can go on all the same.
    ends: bool = True
    #: Your program is told by it, at once or at its next call.
    tells: bool = True


@dataclass(frozen=True)
class TimerRow:
    """One state of a connection."""

    name: str
    #: What is the case, and from when seconds count.
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
        """The timer through which your program first hears of it; empty: through none."""
        return self._first(lambda cell: cell.ends and cell.tells)

    def _first(self, counts: Callable[[TimerCell], bool]) -> str:
        acting = [
            (cell.seconds, i)
            for i, cell in enumerate(self.cells)
            if cell.seconds is not None and counts(cell)
        ]
        return COLUMNS[min(acting)[1]] if acting else ""


def seconds_text(seconds: float | None) -> str:
    """``7875 s``, ``928.9 s``, ``–`` for never."""
    return "–" if seconds is None else f"{seconds:.1f}".removesuffix(".0") + " s"


def table_text(rows: Sequence[TimerRow], sentence: str) -> str:
    """The figures with narrow headings, and the sentence below."""
    headings = [_wrapped(text) for text in ("", *COLUMNS, "you hear after")]
    high = max(map(len, headings))
    lines = [[heading[i] if i < len(heading) else "" for heading in headings] for i in range(high)]
    for row in rows:
        marked = [
            (WINS if column == row.winner else "") + seconds_text(cell.seconds)
            for column, cell in zip(COLUMNS, row.cells, strict=True)
        ]
        lines.append([row.name, *marked, _heard(row)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    made = [
        "  ".join(
            [line[0].ljust(widths[0]), *(t.rjust(w) for t, w in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    ]
    return "\n".join([*(line.rstrip() for line in made), "", sentence])


def table_html(rows: Sequence[TimerRow], sentence: str) -> str:
    """The same as a table with headings for columns and rows; below the figures of each state, why."""
    texts = ("state", *COLUMNS, "you hear after")
    head = "".join(f'<th scope="col">{_HYPHENS.get(text, escape(text))}</th>' for text in texts)
    return (
        f'{_STYLE}<div class="tcplab-timers"><table><caption>seconds until each timer acts; '
        f"{WINS}= the first that ends it; – = never</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(map(_table_row, rows))}</tbody></table>"
        f'<p role="status">{escape(sentence)}</p></div>'
    )


def _table_row(row: TimerRow) -> str:
    figures = "".join(
        f'<td class="wins"><b>{WINS}{seconds_text(cell.seconds)}</b></td>'
        if column == row.winner
        else f"<td>{seconds_text(cell.seconds)}</td>"
        for column, cell in zip(COLUMNS, row.cells, strict=True)
    )
    name = f'<th scope="row" rowspan="2">{escape(row.name)}</th>'
    why = f"<b>{escape(row.story)}.</b> {escape('; '.join(_reasons(row)))}."
    return (
        f"<tr>{name}{figures}<td>{escape(_heard(row))}</td></tr>"
        f'<tr class="why"><td colspan="{len(COLUMNS) + 1}">{why}</td></tr>'
    )


def _reasons(row: TimerRow) -> Iterator[str]:
    """What each timer does here, or why nothing; those that are not set together."""
    unset = []
    for column, cell in zip(COLUMNS, row.cells, strict=True):
        if cell.seconds is None and cell.says in ("not set", "off"):
            unset.append(column)
        elif cell.says:
            is_long = cell.seconds is not None and cell.seconds >= 120
            long = f" ({duration(round((cell.seconds or 0) * SECOND))})" if is_long else ""
            yield f"{column}{long}: {cell.says}"
    if unset:
        yield f"not set: {', '.join(unset)}"


def _heard(row: TimerRow) -> str:
    """When the program is told, and nothing where nobody tells it."""
    if not row.heard_from:
        return "not by itself"
    return seconds_text(row[row.heard_from].seconds)


def _wrapped(text: str) -> list[str]:
    """Words below each other, short ones beside each other."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + len(word) < 9:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


#: Where a long heading may be broken.
_HYPHENS = {"retransmission": "retrans&shy;mission", "socketTimeout": "socket&shy;Timeout"}
#: Colours are the page's own, so that it reads in light and dark; the class twice, to win over JupyterLab's.
_STYLE = (
    "<style>.tcplab-timers{overflow-x:auto}"
    ".tcplab-timers.tcplab-timers table{border-collapse:collapse;font-size:14px;line-height:1.3;"
    "color:inherit;max-width:1150px}"
    ".tcplab-timers.tcplab-timers caption{text-align:left;padding:4px 8px;color:inherit;font-size:14px}"
    ".tcplab-timers.tcplab-timers tr{background:none}"
    ".tcplab-timers.tcplab-timers :is(th,td){padding:5px 6px;text-align:left;vertical-align:top;"
    "white-space:normal;border:1px solid color-mix(in srgb,currentColor 25%,transparent)}"
    ".tcplab-timers.tcplab-timers tr:not(.why) td:not(:last-child){white-space:nowrap}"
    ".tcplab-timers tr.why td{font-size:14px;opacity:.85}.tcplab-timers tr.why b{font-weight:600}"
    ".tcplab-timers td.wins{outline:2px solid currentColor;outline-offset:-3px}</style>"
)


CONNECT_TIMEOUT = Knob(
    "connect timeout", float, "s", 0, DAY, zero="none", slider_high=120,
    help="How long the driver or client lets connecting take.",
)  # fmt: skip
SOCKET_TIMEOUT = Knob(
    "socketTimeout", float, "s", 0, DAY, zero="none", slider_high=3600,
    help="How long the driver waits in one read for an answer.",
)  # fmt: skip
SERVER_IDLE = Knob(
    "server's idle close", float, "s", 0, 30 * DAY, zero="never", slider_high=28800,
    help="Silence after which the server ends a session: wait_timeout, idle_session_timeout.",
)  # fmt: skip
BOX_EXPIRED = choice("once the box has forgotten", *EXPIRED, help="What it does with what comes then.")

_FORGOTTEN = {
    "drop": "then it drops what comes, silently",
    "reject": "then it answers what comes with a RST",
    "reset_both": "a RST goes to both ends",
    "reopen": "the next segment opens its entry again",
    "drop_inbound": "then nothing comes in until you send",
}


@dataclass(frozen=True, kw_only=True)
class Timers(Parameters):
    """One's own settings. As they come: libpq on Linux, behind a load balancer that forgets after 350 s."""

    name = "which_timer_wins"

    connect_timeout_s: float = knob(CONNECT_TIMEOUT, default=0)
    keepalive_idle_s: float = knob(KEEPALIVE_IDLE, default=7200)
    keepalive_interval_s: float = knob(KEEPALIVE_INTERVAL, default=75)
    keepalive_probes: int = knob(KEEPALIVE_PROBES, default=9)
    user_timeout_s: float = knob(USER_TIMEOUT, default=0)
    socket_timeout_s: float = knob(SOCKET_TIMEOUT, default=0)
    server_idle_close_s: float = knob(SERVER_IDLE, default=0)
    box_idle_s: float = knob(FIREWALL_IDLE, default=350)
    box_expired: str = knob(BOX_EXPIRED, default="drop")
    retries2: int = knob(RETRIES2, default=15)
    syn_retries: int = knob(SYN_RETRIES, default=6)
    fin_timeout_s: float = knob(FIN_TIMEOUT, default=60)

    def rows(self) -> tuple[TimerRow, ...]:
        """Every state, in the order of a connection's life."""
        return (
            self._syn(), self._ghost(), self._idle(), self._waiting(), self._sending(), self._zero_window(),
            self._close_wait(), self._fin_wait_2(), self._time_wait(),
        )  # fmt: skip

    # -- the states --------------------------------------------------------------------------

    def _syn(self) -> TimerRow:
        cells = {
            CONNECT: _set(self.connect_timeout_s, "the driver gives up"),
            RESEND: TimerCell(self._connects(0), f"after {self.syn_retries} retries (tcp_syn_retries)"),
            USER: TimerCell(None, "not set"),
            KEEPALIVE: TimerCell(None, "begins with an established connection"),
            BOX: TimerCell(None, "has no entry that it could forget"),
        }
        if self.user_timeout_s:
            ended, alone = self._connects(self.user_timeout_s), cells[RESEND].seconds
            bites = ended is not None and alone is not None and ended < alone
            cells[USER] = (
                TimerCell(ended, "ends connect() too") if bites else TimerCell(None, "the retries end before")
            )
        return _row("SYN", "connect() to an address that answers nothing; from the first SYN", cells)

    def _ghost(self) -> TimerRow:
        cells = {
            CONNECT: _set(self.connect_timeout_s, "if it covers the login, as libpq's does"),
            KEEPALIVE: self._probed("rebooted", "the first probe draws a RST"),
            RESEND: TimerCell(None, "nothing is sent"),
            USER: TimerCell(None, self._unset("nothing is unacknowledged")),
            READ: _set(self.socket_timeout_s, "ends the wait for the greeting"),
            SERVER: TimerCell(None, "the server has no session"),
        }
        cells[BOX] = self._box([0], cells[KEEPALIVE].seconds, "a probe comes before")
        story = "connect() has succeeded, the server has nothing, the client waits for its greeting"
        return _row("ghost", story, cells)

    def _idle(self) -> TimerRow:
        idle = self.keepalive_idle_s
        asks = "asks, and restarts the box's timer" if self._keeps_awake else "asks"
        cells = {
            KEEPALIVE: TimerCell(idle, asks, ends=False) if idle else TimerCell(None, "off"),
            RESEND: TimerCell(None, "nothing is sent"),
            USER: TimerCell(None, self._unset("nothing is unacknowledged")),
            READ: TimerCell(None, "nobody reads"),
            SERVER: _set(self.server_idle_close_s, "a FIN; you hear at your next query"),
            BOX: self._box([0], idle if self._keeps_awake else None, f"a probe each {idle:g} s restarts it"),
        }
        if self.box_expired == "drop_inbound":
            cells[BOX] = replace(cells[BOX], ends=False)
        return _row("idle", "both ends are alive and say nothing; from the last segment", cells)

    def _waiting(self) -> TimerRow:
        peer, says = self._meets("offline", f"after {self.keepalive_probes} probes without an answer")
        trace = self._keepalive_run(peer) if self.keepalive_idle_s and peer else None
        ended = trace.outcome["detected_after_s"] if trace else None
        cells = {
            KEEPALIVE: TimerCell(ended, says if self.keepalive_idle_s else "off"),
            RESEND: TimerCell(None, "the question was acknowledged"),
            USER: TimerCell(None, self._unset("nothing is unacknowledged")),
            READ: _set(self.socket_timeout_s, "the driver gives up"),
            SERVER: TimerCell(None, "the session is not idle"),
            BOX: self._box(
                [0, *(trace.outcome["probe_times_s"] if trace else [])], ended, "each probe restarts it"
            ),
        }
        if self.user_timeout_s and peer == "offline" and ended is not None:
            # net/ipv4/tcp_timer.c:tcp_keepalive_timer looks at one or the other.
            cells[USER] = TimerCell(ended, "when the next probe is due after it")
            cells[KEEPALIVE] = TimerCell(None, "the user timeout decides, not the number of probes")
        story = "the server has the question and is gone, or its answer never comes; from its last ACK"
        return _row("waiting for an answer", story, cells)

    def _sending(self) -> TimerRow:
        trace = run(DeadPeer(user_timeout_s=self.user_timeout_s, retries2=self.retries2, **self._common()))
        ended, sent = trace.outcome["detected_after_s"], _sent(trace, "client", trace.watched_from or 0)
        told = f"after {trace.outcome['transmissions']} transmissions (tcp_retries2 = {self.retries2})"
        cells = {
            KEEPALIVE: TimerCell(None, "no probe while data is unacknowledged"),
            RESEND: TimerCell(ended, told),
            USER: TimerCell(None, "not set"),
            READ: _set(self.socket_timeout_s, "if the driver waits for the answer"),
            SERVER: TimerCell(None, "it hears nothing"),
            BOX: self._box(
                [t for t in sent if ended is None or t <= ended], ended, "each repeat restarts it"
            ),
        }
        if self.user_timeout_s:
            cells[USER] = TimerCell(ended, f"after {trace.outcome['transmissions']} transmissions")
            cells[RESEND] = TimerCell(None, "the user timeout decides, not tcp_retries2")
        return _row("sending", "data is on its way and nobody acknowledges it; from its first sending", cells)

    def _zero_window(self) -> TimerRow:
        trace = run(
            SlowReader(
                stops_reading_s=1, user_timeout_s=self.user_timeout_s,
                watch_s=max(self.user_timeout_s + 200, 600), **self._common(),
            )
        )  # fmt: skip
        gone = trace.outcome["server_error"] is not None
        ended = trace.outcome["stalled_s"] if gone else None
        closed = next(
            (p.arrives for p in trace.packets if p.sender == "client" and p.segment.window == 0), trace.end
        )
        probes = _sent(trace, "server", closed or 0)
        cells = {
            KEEPALIVE: TimerCell(None, "no probe while data waits to be sent"),
            RESEND: TimerCell(None, "the reader answers each window probe"),
            USER: TimerCell(ended, "though the reader is alive") if gone else TimerCell(None, "not set"),
            READ: TimerCell(None, "this end writes"),
            SERVER: TimerCell(None, "the session is not idle"),
            BOX: self._box([0, *probes], ended if gone else probes[-1], "each window probe restarts it"),
        }
        story = "the other side is alive and does not read; you send; from when its window closed"
        return _row("zero window", story, cells)

    def _close_wait(self) -> TimerRow:
        idle = self.keepalive_idle_s
        keepalive = self._probed("rebooted", "a probe draws a RST")
        if idle and (self._keeps_awake or not self.box_idle_s):
            # The first probes may still find the server's FIN_WAIT_2, which answers them.
            story = FinOrRst(
                client="idle", keepalive_idle_s=idle, fin_timeout_s=self.fin_timeout_s, **self._common()
            )
            ended = _lasted(run(story), "client", "CLOSE_WAIT")
            keepalive = TimerCell(ended, "the first probe after the server's FIN_WAIT_2 draws a RST")
        cells = {
            KEEPALIVE: keepalive,
            RESEND: TimerCell(None, "nothing is sent"),
            USER: TimerCell(None, self._unset("nothing is unacknowledged")),
            READ: TimerCell(None, "a read returns end of file at once"),
            SERVER: TimerCell(None, "it has closed already"),
            BOX: self._box(
                [0],
                idle if self._keeps_awake else keepalive.seconds,
                f"a probe each {idle:g} s restarts it",
            ),
        }
        told = "the server has closed, your program has not: its close() would end this; from the FIN"
        return _row("CLOSE_WAIT", told, cells)

    def _fin_wait_2(self) -> TimerRow:
        trace = run(FinOrRst(client="idle", fin_timeout_s=self.fin_timeout_s,
            keepalive_idle_s=32767, **self._common()))  # fmt: skip
        ended = _lasted(trace, "server", "FIN_WAIT_2")
        cells = {
            KEEPALIVE: TimerCell(None, "the socket belongs to Linux alone"),
            CLOSING: TimerCell(ended, "tcp_fin_timeout; no program waits", tells=False),
        }
        return _row("FIN_WAIT_2", "you have closed, the other side has not; from its ACK of the FIN", cells)

    def _time_wait(self) -> TimerRow:
        # net/ipv4/tcp_minisocks.c:tcp_time_wait, include/net/tcp.h:TCP_TIMEWAIT_LEN
        length = TIME_WAIT_LENGTH / SECOND
        cells = {CLOSING: TimerCell(length, "fixed in Linux; the port is held so long", tells=False)}
        return _row("TIME_WAIT", "both have closed, you first; from the last ACK", cells)

    # -- the timers --------------------------------------------------------------------------

    @property
    def _keeps_awake(self) -> bool:
        """Whether probes that are answered come often enough for the box."""
        return 0 < self.keepalive_idle_s < (self.box_idle_s or inf)

    def _common(self) -> dict[str, Any]:
        return {"latency_ms": self.latency_ms, "linux": self.linux, "seed": self.seed}

    def _connects(self, user_timeout_s: float) -> float | None:
        trace = run(
            UnansweredConnect(syn_retries=self.syn_retries, user_timeout_s=user_timeout_s, **self._common())
        )
        return trace.outcome["gave_up_after_s"]

    def _keepalive_run(self, peer: str) -> Trace:
        return run(
            Keepalive(
                idle_s=self.keepalive_idle_s, interval_s=self.keepalive_interval_s,
                probes=self.keepalive_probes, user_timeout_s=self.user_timeout_s, peer=peer, **self._common(),
            )
        )  # fmt: skip

    def _meets(self, peer: str, says: str) -> tuple[str, str]:
        """What a probe finds, and what comes of it: a box that has forgotten may stand before the peer.

        Empty instead of a peer: the box has ended the connection before any probe.
        """
        if not self.box_idle_s or self._keeps_awake:
            return peer, says
        if self.box_expired == "reject":
            return "rebooted", "the first probe draws the box's RST"
        if self.box_expired == "reset_both":
            return "", "the box ends it before"
        if self.box_expired == "drop" and peer == "rebooted":
            return "offline", "the box drops its probes"
        return peer, says

    def _probed(self, peer: str, says: str) -> TimerCell:
        """Keepalive's end."""
        if not self.keepalive_idle_s:
            return TimerCell(None, "off")
        peer, says = self._meets(peer, says)
        return TimerCell(self._keepalive_run(peer).outcome["detected_after_s"] if peer else None, says)

    def _unset(self, why: str) -> str:
        """Why the user timeout does nothing."""
        return why if self.user_timeout_s else "not set"

    def _box(self, segments: Sequence[float], until: float | None, otherwise: str) -> TimerCell:
        """When a box forgets that sees these segments, up to the end or for ever."""
        if not self.box_idle_s:
            return TimerCell(None, "none, or one that never forgets")
        last = segments[0] if segments else 0.0
        for t in (*segments[1:], inf if until is None else until):
            if t - last >= self.box_idle_s:
                return TimerCell(
                    round(last + self.box_idle_s, 3), _FORGOTTEN[self.box_expired],
                    ends=self.box_expired != "reopen", tells=self.box_expired == "reset_both",
                )  # fmt: skip
            last = t
        return TimerCell(None, otherwise)


def _set(seconds: float, says: str) -> TimerCell:
    return TimerCell(seconds, says) if seconds else TimerCell(None, "not set")


def _row(name: str, story: str, cells: Mapping[str, TimerCell]) -> TimerRow:
    return TimerRow(name, story, tuple(cells.get(column, TimerCell(None, "")) for column in COLUMNS))


def _sent(trace: Trace, host: str, since: int) -> list[float]:
    """When a host sent something from a moment on, seconds from that moment or the first of it."""
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
        """One state by its name. `ParameterError` names those there are."""
        for row in self.rows:
            if row.name == name:
                return row
        raise ParameterError(f"no state {name!r}: there are {', '.join(row.name for row in self.rows)}.")

    @property
    def sentence(self) -> str:
        """What the table says in a few lines."""
        silent = [row for row in self.rows if row.winner == BOX and not row[BOX].tells]
        never = [row.name for row in self.rows if not row.winner]
        said = [
            f"{row.name}: {row.winner} after {_words(row[row.winner])}" for row in self.rows if row.winner
        ]
        told = [f"First to act: {'; '.join(said)}."]
        if silent:
            names = ", ".join(row.name for row in silent)
            told.append(f"The box tells nobody ({names}).")
        if never:
            told.append(f"Nothing ends: {', '.join(never)}.")
        return " ".join(told)

    def __repr__(self) -> str:
        return table_text(self.rows, self.sentence)

    def _repr_html_(self) -> str:
        return table_html(self.rows, self.sentence)


def _words(cell: TimerCell) -> str:
    return duration(round((cell.seconds or 0) * SECOND))


def which_timer_wins(**settings: Any) -> TimerTable:
    """The table of states and timers under these settings; see `Timers` for their names and defaults.

    Raises `ParameterError` with one sentence for a name or a value that is wrong.
    """
    return TimerTable(Timers.from_values(settings))
