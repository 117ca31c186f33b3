"""Tables of psql (aligned, `-x`, `--csv`, `-A`, `-At`), mysql (boxes, `\\G`, `-B`), HAProxy and Redis.

Each row is a dictionary from column, in lower case, to text, with the line of each. A value over several
lines is joined; a border, `(3 rows)` and the like are understood and dropped.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

#: Columns that tell a header of csv, `-A` or `-B` from other text with commas, bars or tabs.
_COLUMNS = frozenset(
    "pid datid datname usename usesysid state wait_event wait_event_type client_addr "  # noqa: SIM905
    "client_port query xact_start query_start state_change backend_start backend_type "
    "application_name count name setting unit variable_name value id user host db command "
    "time info database cl_active cl_waiting sv_active maxwait pxname svname qcur qmax scur "
    "status blocked_pid blocking_pid blocked_by trx_id trx_state trx_query trx_started "
    "time_ms sessionid threadid now age since duration max_connections type addr port list "
    "items blocking_state metric trx_mysql_thread_id source".split()
)
_BORDER = re.compile(r"^\s*\+?[-=─━┬┼]{2,}(?:[+|┼┬][-=─━]*)*\+?\s*$")
_RECORD = re.compile(r"^\s*(?:-\[ RECORD (\d+) \][-+]*|\*{5,} (\d+)\. row \*{5,})\s*$", re.I)
_FOOTER = re.compile(
    r"^\s*\(\d+ (?:rows?|Zeilen?|lignes?|filas?)\)\s*$|^\s*\d+ rows? (?:in set|affected).*$|^\s*Empty set.*$|"
    r"^\s*(?:Time|Zeit): [\d.,]+ ms.*$|^Expanded display is \w+\.$|^Pager \w+.*$|^\s*Query OK.*$"
)
_CELL = re.compile(r"^\s*([A-Za-z_][\w ()*.]*?)\s*[|│]\s?(.*?)\s*$")
_KEY = re.compile(r"^\s*([A-Za-z_][\w ]*?):\s?(.*?)\s*$")
_CLIENT = re.compile(r"^id=\d+ addr=\S+ ")
_REPLIES = re.compile(r"\bomem=(\d+)")
_STAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\s?(Z|UTC|[+-]\d\d(?::?\d\d)?)?(?![\d:])"
)
_INTERVAL = re.compile(
    r"^(-)?(?:(\d+) years? ?)?(?:(\d+) mons? ?)?(?:(\d+) days? ?)?(?:(-)?(\d+):(\d\d):(\d\d(?:\.\d+)?))?$"
)
_SESSION_STATES = (
    "idle in transaction (aborted)",
    "idle in transaction",
    "active",
    "idle",
    "fastpath function call",
    "disabled",
)
_WAIT_TYPES = (
    "Activity",
    "BufferPin",
    "Client",
    "Extension",
    "IO",
    "IPC",
    "Lock",
    "LWLock",
    "Timeout",
    "InjectionPoint",
)
#: Wait events that matter here: those of a client, and those of locks.
_WAITS = frozenset(
    "ClientRead ClientWrite PgSleep transactionid tuple relation virtualxid advisory GSSOpenServer "  # noqa: SIM905
    "SSLOpenServer WalSenderMain WalSenderWaitForWAL DataFileRead WALSync".split()
)


@dataclass(frozen=True, slots=True)
class ConsoleRow:
    """One row of a table."""

    #: Its first line.
    line: int
    #: Which table of the paste, from 1.
    table: int
    #: Column in lower case -> text; NULL and an empty cell are empty.
    cells: Mapping[str, str]
    #: Column -> its line, where that is another than the row's.
    lines: Mapping[str, int] = field(default_factory=dict)

    def get(self, *names: str) -> str:
        """The first of these columns that is there and not empty."""
        return next((self.cells[name] for name in names if self.cells.get(name)), "")

    def at(self, name: str) -> int:
        """The line of that column."""
        return self.lines.get(name, self.line)

    def has(self, *names: str) -> bool:
        """All of these columns are there, empty or not."""
        return all(name in self.cells for name in names)

    def number(self, *names: str) -> float | None:
        """The number in the first of these columns that is not empty; None where it is none."""
        try:
            return float(self.get(*names).replace(",", ""))
        except ValueError:
            return None


def stamp_of(text: str) -> float | None:
    """The first date with a time of day in a text, as seconds since 1970; a zone that is missing is UTC."""
    match = _STAMP.search(text)
    if not match:
        return None
    zone, fraction = match[8] or "", float(f"0.{match[7] or 0}")
    try:
        at = datetime(*(int(match[place]) for place in range(1, 7)), tzinfo=UTC)  # type: ignore[misc, arg-type]
        if zone[:1] in ("+", "-"):
            digits = zone[1:].replace(":", "").ljust(4, "0")
            ahead = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
            at = at.replace(tzinfo=timezone(ahead if zone[0] == "+" else -ahead))
        return at.timestamp() + fraction
    except (ValueError, OverflowError):
        return None


def interval_of(text: str) -> float | None:
    """PostgreSQL's interval in seconds: `00:05:11.02`, `3 days 04:00:00`; a plain number is seconds."""
    text = text.strip()
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        return float(text)
    match = _INTERVAL.match(text)
    if not text or not match or not any(match.groups()[1:]):
        return None
    years, months, days = (int(match[place] or 0) for place in (2, 3, 4))
    clock = int(match[6] or 0) * 3600 + int(match[7] or 0) * 60 + float(match[8] or 0)
    return (years * 365 + months * 30 + days) * 86400 + (-clock if match[5] or match[1] else clock)


class TableReader:
    """Reads tables line by line; `rows` has what was read."""

    def __init__(self) -> None:
        self.rows: list[ConsoleRow] = []
        self._table = 0
        self._columns: list[str] = []
        #: How the columns of the running table are parted: `|`, `,`, a tab; empty outside of a table.
        self._mark = ""
        self._record: tuple[int, dict[str, str], dict[str, int]] | None = None
        self._record_mark = ""
        #: The line before, which a border may turn into a header.
        self._before = ""
        self._last_key = ""
        self._open_quote = ""
        self._open_line = 0
        self._bordered = False
        #: How many rows there were when the running table began.
        self._first = 0

    @property
    def in_table(self) -> bool:
        """A table has begun and not ended."""
        return bool(self._mark or self._open_quote) or self._record is not None

    def read(self, number: int, text: str, following: str = "") -> bool:
        """True when the line belongs to a table. `following`: the next line, perhaps a header's border."""
        if self._record is not None or _RECORD.match(text):
            return self._vertical(number, text)
        if _FOOTER.match(text):
            self.end()
            return True
        if _CLIENT.match(text):
            return self._client(number, text)
        if self._open_quote:
            return self._delimited(number, text)
        if self._mark == "|psql" and _BORDER.match(following) and not _BORDER.match(text):
            self.end()  # the header of the next one
        if self._mark and self._row(number, text):
            return True
        return self._header(number, text, following) or self._headless(number, text)

    def end(self) -> None:
        """A blank line, a prompt or another kind of line ends a table."""
        self._flush()
        self._mark, self._columns, self._open_quote, self._bordered = "", [], "", False

    def _flush(self) -> None:
        if self._record is not None:
            line, cells, lines = self._record
            if cells:
                self.rows.append(ConsoleRow(line, self._table, cells, lines))
        self._record = None

    def _begin(self, columns: Sequence[str], mark: str) -> None:
        self._table += 1
        self._first = len(self.rows)
        self._columns, self._mark = [_column(name) for name in columns], mark

    def _header(self, number: int, text: str, following: str) -> bool:
        if _BORDER.match(text) and ("-" in text or "─" in text):
            if self._bordered or following.lstrip().startswith(("|", "│")) or text.lstrip().startswith("+"):
                # mysql's box: the next line is the header, unless the box has its header already.
                self._mark, self._columns, self._bordered = "|box", [], True
                return True
            return False
        if _BORDER.match(following) and not text.lstrip().startswith("|") and text.strip():
            self._begin(text.split("|"), "|psql")
            return True
        if text.startswith(("# pxname,", "pxname,")):
            self._begin(text.lstrip("# ").rstrip(",").split(","), ",")
            return True
        for mark in ("\t", ",", "|", ";"):
            names = [_column(name) for name in text.strip("|").split(mark)]
            known = sum(name in _COLUMNS for name in names)
            if (
                len(names) > 1
                and known >= max(2, len(names) * 0.4)
                and all(re.fullmatch(r"[\w()?. %]+|", name) for name in names)
            ):
                self._begin(names, mark)
                return True
        return False

    def _row(self, number: int, text: str) -> bool:
        mark = self._mark
        if mark == "|box":
            if _BORDER.match(text):
                if self._columns and len(self.rows) > self._first:
                    self.end()
                return True
            body = text.strip()
            if not body.startswith(("|", "│")):
                return False
            cells = body.strip("│").removeprefix("|").removesuffix("|").split("|")
            if not self._columns:
                self._begin(cells, "|box")
                return True
            return self._add(number, self._limited(cells, "|"))
        if mark == "|psql":
            if _BORDER.match(text):
                return True
            cells = self._limited(text.split("|"), "|")
            if len(cells) < len(self._columns) or (len(self._columns) == 1 and not text.startswith(" ")):
                return False
            if len(cells) > 1 and not cells[0].strip() and self.rows and self._before.rstrip().endswith("+"):
                self._before = text
                return True
            self._before = text
            return self._add(number, cells)
        return self._delimited(number, text)

    def _delimited(self, number: int, text: str) -> bool:
        mark = self._mark
        if mark in (",", ";"):
            joined = f"{self._open_quote}\n{text}" if self._open_quote else text
            if joined.count('"') % 2 and joined.count("\n") < 60:
                self._open_line = self._open_line if self._open_quote else number
                self._open_quote = joined
                return True
            number = self._open_line if self._open_quote else number
            self._open_quote = ""
            try:
                cells = next(csv.reader([joined.replace("\n", " ")], delimiter=mark))
            except (csv.Error, StopIteration):
                return False
        else:
            cells = text.split(mark)
        if not len(self._columns) * 0.6 <= len(cells) <= len(self._columns) + 3 or len(cells) < 2:
            return False
        if _column(cells[0]) == self._columns[0] and [*map(_column, cells)] == self._columns:
            # The same header again: the next snapshot, or another table of this kind.
            self._begin(cells, mark)
            return True
        return self._add(number, self._limited(cells, mark))

    def _limited(self, cells: list[str], mark: str) -> list[str]:
        """At most as many cells as columns: the last one, a statement, may hold the mark itself."""
        most = len(self._columns)
        return cells if len(cells) <= most else [*cells[: most - 1], mark.join(cells[most - 1 :])]

    def _add(self, number: int, cells: Sequence[str]) -> bool:
        row = {name: _cell(cell) for name, cell in zip(self._columns, cells, strict=False) if name}
        self.rows.append(ConsoleRow(number, self._table, row))
        return True

    def _vertical(self, number: int, text: str) -> bool:
        if match := _RECORD.match(text):
            first = (match[1] or match[2]) == "1"
            self._flush()
            self._mark, self._table = "", self._table + first
            self._record, self._record_mark = (number, {}, {}), "|" if match[1] else ":"
            return True
        assert self._record is not None
        _line, cells, lines = self._record
        match = (_CELL if self._record_mark == "|" else _KEY).match(text)
        if match is None:
            if _FOOTER.match(text) or not self._last_key:
                self.end()
                return bool(_FOOTER.match(text))
            # A statement over several lines.
            if self._record_mark == "|" and not re.match(r"^\s+[|:]", text):
                self.end()
                return False
            return True
        self._last_key = _column(match[1])
        cells[self._last_key], lines[self._last_key] = _cell(match[2]), number
        return True

    def _client(self, number: int, text: str) -> bool:
        """A line of Redis' CLIENT LIST, of which only the replies that wait count."""
        waiting = _REPLIES.search(text)
        self.rows.append(
            ConsoleRow(number, 0, {"redis_client": "yes", "omem": waiting[1] if waiting else "0"})
        )
        return True

    def _headless(self, number: int, text: str) -> bool:
        """A row of pg_stat_activity without its header (`psql -At`), recognised by what its cells hold."""
        for mark in ("\t", "|"):
            parts = [part.strip() for part in text.split(mark)]
            found = next((part for part in parts if part in _SESSION_STATES), "")
            if len(parts) < 2 or not found:
                continue
            row = {"state": found}
            stamps = [part for part in parts if _STAMP.match(part)]
            if stamps:
                row["state_change"] = stamps[-1]
            ages = [
                part for part in parts if ":" in part and part not in stamps and interval_of(part) is not None
            ]
            if ages:
                row["age"] = ages[-1]
            waits = [
                part for part in parts if part in _WAITS or re.fullmatch(r"[A-Z][a-z]+(?:[A-Z][a-z]*)+", part)
            ]
            row["wait_event"] = next((part for part in waits if part not in _WAIT_TYPES), "")
            row["wait_event_type"] = next((part for part in parts if part in _WAIT_TYPES), "")
            numbers = [part for part in parts if part.isdigit()]
            row["pid"] = numbers[0] if numbers else ""
            if len(numbers) > 1 and int(numbers[1]) < 65536:
                row["client_port"] = numbers[1]
            self.rows.append(ConsoleRow(number, 0, row))
            return True
        return False


def _column(name: str) -> str:
    return name.strip().strip('"').lower()


def _cell(text: str) -> str:
    text = text.strip()
    return "" if text in ("NULL", "\\N", "[NULL]", "∅", "<null>") else text
