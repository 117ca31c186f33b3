"""A whole paste: every line given to the reader that knows it, sockets sorted by host and snapshot.

Several outputs one after the other are separated by their headers, by prompts and by times. Two blocks
of sockets are two snapshots of one host when they repeat a connection or have a time between them, and two
hosts when the local addresses of one are the peers of the other.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise

from tcplab.console.clean import PasteLine, clean, flags, is_one_of
from tcplab.console.sockets import (
    ConsoleSocket,
    CountedSockets,
    endpoint_of,
    is_cut,
    read_counted,
    read_listed,
    read_proc,
    read_socket,
    shows_timer,
    state_of,
    with_info,
)
from tcplab.console.tables import ConsoleRow, TableReader, stamp_of
from tcplab.console.values import ConsoleValue, LogLine, ValueReader, clock_of, later_of, read_log

#: The longest paste that is read, in characters.
LARGEST = 20_000_000
_DAY_S = 86_400
_BANNER = re.compile(
    r"^\s*(?:Active|Aktive|Connexions?|Conexiones|Connessioni|Actieve|Conexões|Активные)\b"
    r".{0,70}$|^Current listen queue|^\s*(?:sl|COUNT|count)\s+\w+|^Proto\s+(?:RefCnt|Listen)\b|"
    r"^Defaulted container|^Unable to use a TTY|"
    r"^COMMAND\s+PID|"
    r"^LocalAddress\s+LocalPort|^-{5,}(?:\s+-{3,}){4,}|"
    r"^\s*(?:Not all processes could be identified|will not be shown, you would have|"
    r"\(Not all|"
    r"\(No info could be read|net_ratelimit)|^\s*-?-?\[?snip|^\.{3}$"
)
#: Both queues come first: a line of an output without the column *State*.
_BARE = re.compile(r"\s*\d+\s+\d+\s")
_NOW = ("now()", "now", "current_timestamp", "clock_timestamp", "sysdate()", "current_timestamp()")


@dataclass(slots=True)
class SocketBlock:
    """The sockets of one output."""

    #: `ss`, `netstat` (Linux and BusyBox), `windows`, `macos`, `proc`, `lsof`.
    kind: str
    command: str
    host: str
    #: There is no column *State*.
    stateless: bool = False
    #: It would show a timer that runs.
    timers: bool = False
    #: The line at which it begins.
    line: int = 0
    sockets: list[ConsoleSocket] = field(default_factory=list)
    counted: list[CountedSockets] = field(default_factory=list)
    #: The counted addresses are those of this host, not of the peers.
    counts_local: bool = False

    @property
    def pairs(self) -> set[tuple[str, str, str, str]]:
        """What two snapshots of one host have in common: connections, or else listeners."""
        found = {socket.pair for socket in self.sockets if socket.state != "LISTEN"}
        return found or {socket.pair for socket in self.sockets}

    @property
    def addresses(self) -> set[str]:
        """This host's addresses, as far as connections show them."""
        return {
            s.local[0]
            for s in self.sockets
            if s.local[0] != "*" and s.state != "LISTEN" and not s.on_loopback
        }

    @property
    def peers(self) -> set[str]:
        """The addresses of the others."""
        return {s.peer[0] for s in self.sockets if s.peer[0] != "*" and not s.on_loopback}


@dataclass(slots=True)
class ConsoleHost:
    """What the paste shows of one host: its snapshots, the earliest first; each is a list of blocks."""

    snapshots: list[list[SocketBlock]] = field(default_factory=list)

    @property
    def blocks(self) -> list[SocketBlock]:
        """All of them, in order."""
        return list(chain.from_iterable(self.snapshots))

    @property
    def now(self) -> list[SocketBlock]:
        """The last snapshot."""
        return self.snapshots[-1] if self.snapshots else []

    def sockets(self, snapshot: int = -1) -> list[ConsoleSocket]:
        """The sockets of a snapshot, each once."""
        found: dict[tuple[str | bool, ...], ConsoleSocket] = {}
        for block in self.snapshots[snapshot] if self.snapshots else []:
            for socket in block.sockets:
                key = (*socket.pair, socket.state == "LISTEN")
                # One with a timer knows more than one of an output without timers.
                if key not in found or socket.timer or not found[key].timer:
                    found[key] = socket
        return list(found.values())

    def counted(self, snapshot: int = -1) -> list[tuple[CountedSockets, bool]]:
        """The counted lines of a snapshot, and whether they count addresses of this host."""
        blocks = self.snapshots[snapshot] if self.snapshots else []
        return [(line, block.counts_local) for block in blocks for line in block.counted]


@dataclass
class Paste:
    """What was read."""

    lines: Sequence[PasteLine]
    #: The number of the first line of each paste.
    begins: Sequence[int]
    hosts: list[ConsoleHost] = field(default_factory=list)
    rows: list[ConsoleRow] = field(default_factory=list)
    values: list[ConsoleValue] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=list)
    #: Line and time of day in seconds.
    times: list[tuple[int, float]] = field(default_factory=list)
    commands: list[tuple[int, str]] = field(default_factory=list)
    #: How many lines were understood, and those that were not.
    understood: int = 0
    unknown: list[PasteLine] = field(default_factory=list)

    def series(self, *names: str) -> list[ConsoleValue]:
        """Every value of the first of these names that occurs, in order."""
        for name in names:
            if found := [value for value in self.values if value.name == name]:
                return found
        return []

    def number(self, *names: str, place: int = 0) -> float | None:
        """The last value's number; None where it does not occur or is none."""
        for value in reversed(self.series(*names)):
            if len(value.numbers) > place:
                return value.numbers[place]
        return None

    def elapsed(self, earlier: int, later: int) -> float | None:
        """Seconds between two lines, by the times in the paste; None when they say nothing."""
        first, second = self._time(earlier), self._time(later)
        if first is not None and second is not None and first != second:
            return (second - first) % _DAY_S
        uptime = self.series("uptime_in_seconds")
        if len(uptime) > 1 and uptime[0].numbers and uptime[-1].numbers:
            return max(uptime[-1].numbers[0] - uptime[0].numbers[0], 0) or None
        return None

    def _time(self, line: int) -> float | None:
        if not self.times:
            return None
        before = [at for number, at in self.times if number <= line]
        if self._times_lead:
            return before[-1] if before else None
        return next((at for number, at in self.times if number >= line), None)

    @property
    def _times_lead(self) -> bool:
        """Each time stands before what it belongs to, as after `date; ss`; else after it, as NOW() does."""
        first = [
            *(block.line for host in self.hosts for block in host.blocks),
            *(value.line for value in self.values),
        ]
        first += [row.line for row in self.rows if not row.get(*_NOW)]
        return not first or self.times[0][0] <= min(first)

    def place(self, number: int) -> tuple[int, int]:
        """Which paste a line is in, from 1, and its number there."""
        paste = bisect_right(self.begins, number)
        return paste, number - self.begins[paste - 1] + 1

    def text(self, number: int) -> str:
        """A line as the paste has it, without prompts and colours."""
        line = self.lines[number - 1]
        return line.text if line.command is None else line.command


def read(*texts: str) -> Paste:
    """Read one paste, or several in the order in which they were taken. Nothing in them is run."""
    lines: list[PasteLine] = []
    begins = []
    for text in texts:
        begins.append(len(lines) + 1)
        lines += [replace(line, number=line.number + begins[-1] - 1) for line in clean(text[:LARGEST])]
        # Whatever output was open ends with its paste, as at a prompt.
        lines.append(PasteLine(len(lines) + 1, "", ""))
    return _Reader(lines, begins).read()


class _Reader:
    """One pass over the lines."""

    def __init__(self, lines: list[PasteLine], begins: list[int]) -> None:
        self._lines = lines
        self._paste = Paste(lines, begins)
        self._tables = TableReader()
        self._values = ValueReader()
        self._blocks: list[SocketBlock] = []
        self._block: SocketBlock | None = None
        self._command, self._host = "", ""
        #: Lines that a wrapped line took along.
        self._taken: set[int] = set()
        self._timed = 0.0

    def read(self) -> Paste:
        paste = self._paste
        for at, line in enumerate(self._lines):
            if line.command is not None:
                self._begin(line)
                if not line.text:
                    continue
            if at in self._taken:
                continue
            if not line.text.strip():
                self._tables.end()
                continue
            if self._one(at, line):
                paste.understood += 1
            else:
                paste.unknown.append(line)
        self._tables.end()
        paste.rows, paste.values = self._tables.rows, self._values.values
        for row in paste.rows:
            when = row.get(*_NOW)
            if (stamp := stamp_of(when)) is not None and len(row.cells) == 1:
                paste.times.append((row.line, stamp % _DAY_S))
        paste.times.sort()
        paste.values = sorted([*paste.values, *_settings(paste.rows)], key=lambda value: value.line)
        blocks = [_with_states(block) for block in self._blocks if block.sockets or block.counted]
        paste.hosts = _hosts(blocks, [line for line, _ in paste.times])
        return paste

    def _begin(self, line: PasteLine) -> None:
        """A prompt: what comes now belongs to its command."""
        self._tables.end()
        self._block = None
        self._command, self._host = line.command or "", line.host or self._host
        self._values.command(self._command)
        if self._command:
            self._paste.commands.append((line.number, self._command))

    def _one(self, at: int, line: PasteLine) -> bool:
        text, number = line.text, line.number
        following = self._lines[at + 1].text if at + 1 < len(self._lines) else ""
        if (self._tables.in_table or text.startswith("id=")) and self._tables.read(number, text, following):
            return True
        if self._socket(at, line) or self._heading(line):
            self._tables.end()
            return True
        if self._block and self._block.sockets and (text[:1] in " \t" or "cwnd:" in text):
            more = with_info(self._block.sockets[-1], number, text)
            if more is not None:
                self._block.sockets[-1] = more
                return True
        log = read_log(number, text)
        if isinstance(log, LogLine):
            self._paste.logs.append(log)
        if log or self._time(line) or self._values.read(number, text):
            return True
        if self._tables.read(number, text, following):
            self._block = None
            return True
        return self._counted(line)

    def _socket(self, at: int, line: PasteLine) -> bool:
        text, number = line.text, line.number
        found: ConsoleSocket | bool | None = (
            read_proc(number, text) if ":" in text and text[:40].count(":") >= 2 else None
        )
        kind = "proc" if found else ""
        if not found:
            bare = _BARE.match(text) and (
                self._block is None or self._block.stateless or not self._block.sockets
            )
            found = read_socket(number, text, "" if bare else None)
            if is_cut(text, bool(found)) and at + 1 < len(self._lines):
                text = self._joined(at, text)
                found = read_socket(number, text, "" if bare else None)
        if not found and (found := read_listed(number, text)) is not None:
            kind = "windows" if text.rstrip()[-1:].isdigit() else "lsof"
        if not found:
            return False
        if isinstance(found, ConsoleSocket):
            block = self._block
            if block is None or (kind and block.kind != kind):
                block = self._new(
                    kind or ("ss" if state_of(text.split()[0]) or text.lstrip()[:1].isdigit() else "netstat")
                )
                block.stateless = not found.state
            if block.kind == "netstat" and found.receive_queue < 0:
                block.kind = "windows"
            elif block.kind == "netstat" and text.startswith(("tcp4", "tcp46")):
                block.kind = "macos"
            block.timers = block.timers or block.kind == "proc" or shows_timer(text)
            block.line = block.line or number
            block.sockets.append(found)
        return True

    def _joined(self, at: int, text: str) -> str:
        """A line with the one or two that a terminal has broken off."""
        for more in (at + 1, at + 2):
            if (
                more >= len(self._lines)
                or self._lines[more].command is not None
                or not self._lines[more].text.strip()
            ):
                break
            rest = self._lines[more].text
            if state_of(rest.split()[0]) or (rest.split()[0].lower() in ("tcp", "tcp6", "udp")):
                break
            glued, spaced = text + rest, f"{text} {rest.lstrip()}"
            open_bracket = text.count("(") > text.count(")")
            # A break within an address or a bracket; between two words there was a blank.
            text = glued if open_bracket or endpoint_of(rest.split()[0]) is None else spaced
            self._taken.add(more)
            self._paste.understood += 1
            if not is_cut(text, False):
                break
        return text

    def _new(self, kind: str) -> SocketBlock:
        command = self._command if is_one_of(self._command, ("ss", "netstat", "cat", "watch")) else ""
        asked = "o" in flags(command, "ss") or ("o" in flags(command, "netstat") and kind != "windows")
        self._block = SocketBlock(kind, command, self._host, timers=asked)
        self._blocks.append(self._block)
        return self._block

    def _heading(self, line: PasteLine) -> bool:
        """The header of an output, in any language, or a remark that a program prints above it."""
        text = line.text
        if "Recv-Q" in text and "Send-Q" in text:
            linux = text.lstrip().lower().startswith("proto")
            block = self._new(
                "macos" if "(state)" in text or "rhiwat" in text else "netstat" if linux else "ss"
            )
            block.stateless = not linux and not re.match(r"\s*(?:State|Netid)\b", text)
            block.timers = block.timers or bool(re.search(r"\bTimer\b", text))
            block.line = line.number
            return True
        if re.match(
            r"\s*(?:Proto|Protokoll|Proto\.)\s+\S*(?:[Aa]d+res|Indirizzo|Dirección|Endereço|Local|Lokal)",
            text,
        ):
            self._new("windows").line = line.number
            return True
        if _BANNER.match(text):
            if re.match(r"\s*(?:COUNT|count)\b", text):
                self._new("ss").counts_local = "LOCAL" in text.upper()
            return True
        return False

    def _time(self, line: PasteLine) -> bool:
        later = later_of(line.text)
        clock = clock_of(line.text) if later is None else (self._timed + later) % _DAY_S
        if later is not None and not self._paste.times:
            self._paste.times.append((0, 0.0))
        if clock is None:
            return False
        self._timed = clock
        self._paste.times.append((line.number, clock))
        self._block = None
        return True

    def _total(self, line: PasteLine) -> CountedSockets | None:
        """A number alone, when the command before it counts the sockets of one state."""
        asked = _counted_state(self._command)
        if asked is None or not line.text.strip().isdigit():
            return None
        state, header = asked
        return CountedSockets(line.number, max(int(line.text) - header, 0), state, ("", ""))

    def _counted(self, line: PasteLine) -> bool:
        found = read_counted(line.number, line.text) or self._total(line)
        if found is None:
            return False
        block = self._block or self._new("ss")
        if not block.counted:
            block.line = block.line or line.number
            # `ss` prints the local address as the fourth word, `netstat`, too.
            block.counts_local = block.counts_local or bool(re.search(r"\$4\b(?!.*\$5)", self._command))
        block.counted.append(found)
        return True


def _counted_state(command: str) -> tuple[str, int] | None:
    """Which state a command counts (`ss -Hn state close-wait | wc -l`), and how many lines are its header."""
    if not is_one_of(command, ("ss", "netstat")) or not re.search(r"\|\s*wc\s+-l|\bgrep\s+-\w*c", command):
        return None
    named = re.findall(r"\bstate\s+([\w-]+)", command)
    picked = re.findall(r"\bgrep\s+(?:-\w+\s+)*[\"']?(\w[\w-]+)", command)
    states = [state for word in (*named, *picked) if (state := state_of(word))]
    if len(states) != 1:
        return None
    return states[0], int(bool(named) and not picked and "H" not in flags(command, "ss"))


def _settings(rows: Iterable[ConsoleRow]) -> Iterator[ConsoleValue]:
    """Values that tables hold: SHOW STATUS, SHOW VARIABLES, pg_settings, `show name`, SHOW LISTS."""
    for row in rows:
        if row.has("variable_name", "value"):
            yield ConsoleValue(row.line, row.cells["variable_name"], row.cells["value"])
        elif row.has("name", "setting"):
            value = f"{row.cells['setting']} {row.cells.get('unit', '')}".strip()
            yield ConsoleValue(row.line, row.cells["name"], value)
        elif row.has("list", "items"):
            yield ConsoleValue(row.line, f"lists.{row.cells['list']}", row.cells["items"])
        elif row.has("key", "value"):
            yield ConsoleValue(row.line, row.cells["key"], row.cells["value"])
        elif len(row.cells) == 1:
            ((name, value),) = row.cells.items()
            yield ConsoleValue(row.line, name, value)
        elif all(re.fullmatch(r"[\d.]+", value) for value in row.cells.values()):
            for name, value in row.cells.items():
                yield ConsoleValue(row.line, name, value)


def _with_states(block: SocketBlock) -> SocketBlock:
    """The block with the one state of all its lines, where only the command or the timers name it."""
    if not any(not socket.state for socket in block.sockets):
        return block
    asked = re.findall(r"\bstate\s+([\w-]+)", block.command)
    state = state_of(asked[0]) if len(asked) == 1 else None
    if state is None and block.stateless:
        timers = {socket.timer for socket in block.sockets}
        if "timewait" in timers:
            state = "TIME-WAIT"
        elif timers & {"keepalive", "persist"} or any(
            s.timer == "on" and s.send_queue > 1 for s in block.sockets
        ):
            state = "ESTAB"
    if state:
        block.sockets = [socket if socket.state else replace(socket, state=state) for socket in block.sockets]
    return block


def _hosts(blocks: list[SocketBlock], times: list[int]) -> list[ConsoleHost]:
    """The blocks by host and snapshot."""
    sides: list[tuple[set[str], set[str], ConsoleHost]] = []
    for block in blocks:
        mine, others = block.addresses, block.peers
        host = None
        for addresses, names, known in sides:
            named = block.host in names if block.host and names else not block.host or not names
            if (
                mine & addresses
                or ((not mine or not addresses) and named)
                or (block.host and block.host in names)
                # A second address of the same host.
                or (mine and not block.host and not others & addresses and not mine & _known_peers(known))
            ):
                host = known
            if host:
                addresses |= mine
                names |= {block.host} if block.host else set()
                break
        if host is None:
            host = ConsoleHost()
            sides.append((set(mine), {block.host} if block.host else set(), host))
        _add_to_look(host, block, times)
    return [host for _, _, host in sides]


def _known_peers(host: ConsoleHost) -> set[str]:
    """The addresses to which this host is connected."""
    return set(chain.from_iterable(block.peers for block in host.blocks))


def _add_to_look(host: ConsoleHost, block: SocketBlock, times: list[int]) -> None:
    """Add the block to the last snapshot, or begin a new one when connections repeat or a time is between."""
    if host.snapshots:
        last = host.snapshots[-1]
        timed = any(last[0].line < line <= block.line for line in times)
        again = any(block.pairs & other.pairs for other in last)
        counted = {(line.state, line.endpoint) for other in last for line in other.counted}
        again = again or any((line.state, line.endpoint) in counted for line in block.counted)
        if not timed and not again:
            last.append(block)
            return
    host.snapshots.append([block])


def growth(values: Sequence[ConsoleValue]) -> float | None:
    """How much a counter has grown from first to last; None for a single value or after a restart."""
    numbers = [value.numbers[0] for value in values if value.numbers]
    if len(numbers) < 2 or any(later < earlier for earlier, later in pairwise(numbers)):
        return None
    return numbers[-1] - numbers[0]
