"""States against timers as a table: text for a terminal, HTML for a notebook. The winner has a sign."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from tcplab.trace import SECOND, duration

#: The timers, in the table's order.
COLUMNS = (
    "connect timeout", "keepalive", "retransmission", "user timeout", "socketTimeout",
    "server's idle close", "the box", "Linux's closing timer",
)  # fmt: skip
CONNECT, KEEPALIVE, RESEND, USER, READ, SERVER, BOX, CLOSING = COLUMNS

#: Before the figure of the timer that ends a state first.
WINS = "▶ "


@dataclass(frozen=True)
class Cell:
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
class Row:
    """One state of a connection."""

    name: str
    #: What is the case, and from when seconds count.
    story: str
    #: One for each of `COLUMNS`.
    cells: tuple[Cell, ...]

    def __getitem__(self, column: str) -> Cell:
        return self.cells[COLUMNS.index(column)]

    @property
    def winner(self) -> str:
        """The timer that ends it first; empty: none does."""
        return self._first(lambda cell: cell.ends)

    @property
    def heard_from(self) -> str:
        """The timer through which your program first hears of it; empty: through none."""
        return self._first(lambda cell: cell.ends and cell.tells)

    def _first(self, counts: Callable[[Cell], bool]) -> str:
        acting = [
            (cell.seconds, i)
            for i, cell in enumerate(self.cells)
            if cell.seconds is not None and counts(cell)
        ]
        return COLUMNS[min(acting)[1]] if acting else ""


def seconds_text(seconds: float | None) -> str:
    """``7875 s``, ``928.9 s``, ``–`` for never."""
    return "–" if seconds is None else f"{seconds:.1f}".removesuffix(".0") + " s"


def table_text(rows: Sequence[Row], sentence: str) -> str:
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


def table_html(rows: Sequence[Row], sentence: str) -> str:
    """The same as a table with headings for columns and rows; below the figures of each state, why."""
    texts = ("state", *COLUMNS, "you hear after")
    head = "".join(f'<th scope="col">{_HYPHENS.get(text, escape(text))}</th>' for text in texts)
    return (
        f'{_STYLE}<div class="tcplab-timers"><table><caption>seconds until each timer acts; '
        f"{WINS}= the first that ends it; – = never</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(map(_row, rows))}</tbody></table>"
        f'<p role="status">{escape(sentence)}</p></div>'
    )


def _row(row: Row) -> str:
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


def _reasons(row: Row) -> Iterator[str]:
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


def _heard(row: Row) -> str:
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
