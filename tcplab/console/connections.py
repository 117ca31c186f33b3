"""What the sockets of a paste mean, one snapshot or two: ports, queues, timers, states that should not last.

The thresholds are those that a healthy host does not reach; each has its reason beside it. A socket is
the server's when its local port is a service: only clients run out of ports, and only servers are left
with clients that are gone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from tcplab.console.paste import ConsoleHost, Paste
from tcplab.console.sockets import ConsoleSocket
from tcplab.core.text import in_words, number, plural, size

#: Local ports where the paste does not say: Linux 32768 to 60999; Windows and macOS 49152 to 65535.
PORTS, PORTS_ELSEWHERE = 28_232, 16_384
#: connect() fails when the range is used up; Linux leaves the last port of an odd-sized range unused.
EXHAUSTED = 0.99
#: From here a burst a fifth above the steady rate uses up the rest within one TIME_WAIT.
NEAR_LIMIT = 0.8
TIME_WAIT_S = 60
#: A queue in front of accept() of fewer is normal for a moment; `netstat` does not show how many fit.
WAITING = 5
#: The usual backlogs; a full queue holds one more.
_BACKLOGS = (5, 10, 16, 32, 50, 64, 100, 128, 150, 200, 250, 255, 256, 300, 400, 500, 511, 512, 1000, 1024)
FULL = frozenset(backlog + 1 for backlog in (*_BACKLOGS, 2048, 4096, 8192))
#: A healthy handshake stays in SYN-RECV for one round trip.
SYN_RECV = 10
#: A lost SYN is sent again once, after 1 s.
SYN_REPEATED, SYN_SENT = 2, 5
#: Three retransmissions: about 1.5 s without an answer at an RTO of 0.2 s.
STUCK = 3
#: One probe may be on its way; an answer sets the count back to 0.
PROBES = 2
#: Closing takes a round trip.
CLOSING = 3
#: A pool finds a closed connection only when it checks: a few for seconds are normal.
LEAK, LEAK_S = 10, 30
#: Between two reads of a program.
READ_S, UNREAD = 3, 16_384
#: The usual firewalls and load balancers drop idle connections after 240 to 1800 s.
LONG_IDLE_S = 1800
#: Below 1 % retransmissions no one notices in a database, and fewer than 20 segments are no rate.
LOSS, LOST_SEGMENTS = 0.01, 20

_DATABASES = (
    "postgres",
    "postmaster",
    "mysqld",
    "mariadbd",
    "redis-server",
    "valkey-server",
    "oracle",
    "tnslsnr",
    "sqlservr",
)
_DATABASE_PORTS = frozenset({"5432", "3306", "6379", "1521", "postgresql", "mysql", "redis"})
_BEFORE_CLOSED = ("FIN-WAIT-1", "LAST-ACK", "CLOSING")


@dataclass(frozen=True)
class ConsoleFinding:
    """Something found: a code, which of its wordings fits, what fills it, and the lines that show it."""

    code: str
    wording: str
    lines: Sequence[int]
    facts: dict[str, Any] = field(default_factory=dict)
    #: Where the code has a lesson for each side: `server`; else the first.
    side: str = ""


def check_sockets(paste: Paste) -> Iterator[ConsoleFinding]:
    """Every finding about sockets, in no order."""
    for host in paste.hosts:
        view = _View(paste, host)
        for check in _CHECKS:
            yield from check(view)
    yield from _half_open(paste)


class _View:
    """One host's sockets, now and at the snapshot before."""

    def __init__(self, paste: Paste, host: ConsoleHost) -> None:
        self.paste, self.host = paste, host
        self.now = host.sockets()
        self.before = {s.pair: s for s in host.sockets(-2)} if len(host.snapshots) > 1 else {}
        self.listening = {
            s.local[1]: s
            for s in chain.from_iterable(map(host.sockets, range(len(host.snapshots))))
            if s.state == "LISTEN"
        }
        self._locals = Counter((s.local[0], s.local[1]) for s in self.now if s.state != "LISTEN")
        self._peers = Counter((s.peer[0], s.peer[1]) for s in self.now if s.state != "LISTEN")
        #: A line of a timer shows that the others have none.
        self.timed_lines = {s.line for block in host.blocks if block.timers for s in block.sockets}
        kinds = {block.kind for block in host.blocks}
        self.ports, self.ports_said = _ports(paste, bool(kinds & {"windows", "macos"}))

    def state(self, *states: str) -> list[ConsoleSocket]:
        """The sockets in one of these states, now."""
        return [socket for socket in self.now if socket.state in states]

    def is_server(self, socket: ConsoleSocket) -> bool:
        """The local port is the service's."""
        (_, mine), (_, other) = socket.local, socket.peer
        if mine in self.listening:
            return True
        here, there = self._locals[socket.local], self._peers[socket.peer]
        if here != there:
            return here > there
        if not (mine.isdigit() and other.isdigit()):
            return not mine.isdigit() and other.isdigit()
        return int(mine) < int(other)

    def elapsed(self) -> float | None:
        """Seconds between the last two snapshots; by the age of the last segment where no time is pasted."""
        if len(self.host.snapshots) < 2:
            return None
        first, last = self.host.snapshots[-2][0], self.host.snapshots[-1][0]
        found = self.paste.elapsed(first.line, last.line)
        if found is not None:
            return found
        for socket in self.now:
            old = self.before.get(socket.pair)
            if (
                old
                and old.detail("lastrcv")
                and old.detail("bytes_received") == socket.detail("bytes_received")
            ):
                grown = (socket.detail("lastrcv") - old.detail("lastrcv")) / 1000
                if grown > 0:
                    return grown
        return None

    def apart(self) -> bool:
        """The two snapshots are further apart than two reads of a program; true where that is not known."""
        elapsed = self.elapsed()
        return elapsed is None or elapsed >= READ_S


def _ports(paste: Paste, elsewhere: bool) -> tuple[int, str]:
    """How many local ports there are, and whether the paste says so."""
    for value in reversed(paste.series("net.ipv4.ip_local_port_range", "ip_local_port_range")):
        if len(value.numbers) == 2 and value.numbers[1] >= value.numbers[0]:
            count = int(value.numbers[1] - value.numbers[0]) + 1
            return count, f"{number(count)} local ports"
    if (count_of := paste.number("windows.ports")) is not None:
        return int(count_of), f"{number(count_of)} local ports"
    first, last = (paste.number(f"net.inet.ip.portrange.{name}") for name in ("first", "last"))
    if first is not None and last is not None and last >= first:
        return int(last - first) + 1, f"{number(last - first + 1)} local ports"
    count = PORTS_ELSEWHERE if elsewhere else PORTS
    return count, f"{number(count)} local ports (the default: the paste does not show the range)"


def _end(end: tuple[str, str]) -> str:
    if end[0] == "*":
        return f"port {end[1]}"
    return f"[{end[0]}]:{end[1]}" if ":" in end[0] else f"{end[0]}:{end[1]}"


def _lines(sockets: Iterable[ConsoleSocket]) -> list[int]:
    return [socket.line for socket in sockets]


def _programs(sockets: Iterable[ConsoleSocket]) -> str:
    """` of java (pid 902)`; empty where no program is shown."""
    names = Counter((s.program, s.pid) for s in sockets if s.program or s.pid)
    if not names:
        return ""
    (name, pid), _ = names.most_common(1)[0]
    return f" of {name} (pid {pid})" if name and pid else f" of {name}" if name else f" of the process {pid}"


def _time_wait(view: _View) -> Iterator[ConsoleFinding]:
    """Ports to one destination: TIME_WAIT of many destinations do not add up."""
    used: dict[tuple[str, str, str], list[ConsoleSocket]] = defaultdict(list)
    for socket in view.now:
        if socket.state not in ("LISTEN", "") and not view.is_server(socket):
            used[(socket.local[0], *socket.peer)].append(socket)
    full: list[tuple[int, int, str, list[int]]] = []  # in all, in TIME_WAIT, destination, lines
    for (_, address, port), sockets in used.items():
        closed = [socket for socket in sockets if socket.state == "TIME-WAIT"]
        full.append((len(sockets), len(closed), _end((address, port)), _lines(closed or sockets)))
    full += _counted_ports(view)
    full.sort(reverse=True)
    for count, waiting, destination, lines in full[:1]:
        facts = {
            "count": number(count),
            "waiting": number(waiting),
            "destination": destination,
            "ports": view.ports_said,
            "share": f"{count / view.ports:.0%}",
            "per_s": f"{view.ports / TIME_WAIT_S:.1f}",
        }
        if count >= EXHAUSTED * view.ports:
            yield ConsoleFinding("ports_exhausted", "says", lines, facts)
        elif waiting >= NEAR_LIMIT * view.ports:
            facts["share"] = f"{waiting / view.ports:.0%}"
            yield ConsoleFinding("time_wait_near_limit", "says", lines, facts)
        else:
            yield from _time_wait_grows(view, full)


def _counted_ports(view: _View, snapshot: int = -1) -> list[tuple[int, int, str, list[int]]]:
    counted = view.host.counted(snapshot)
    # A LISTEN on the port shows that the column is the local address: the server's side.
    services = {line.endpoint[1] for line, _ in counted if line.state == "LISTEN"} | set(view.listening)
    found: dict[tuple[str, str], list[Any]] = defaultdict(lambda: [0, 0, []])
    for line, is_local in counted:
        address, port = line.endpoint
        if (
            is_local
            or not address
            or not port
            or (port in services and address != "*")
            or line.state == "LISTEN"
        ):
            continue
        entry = found[line.endpoint]
        entry[0] += line.count
        entry[1] += line.count if line.state in ("TIME-WAIT", "") else 0
        entry[2].append(line.line)
    return [(count, waiting, _end(end), lines) for end, (count, waiting, lines) in found.items()]


def _time_wait_grows(view: _View, full: list[tuple[int, int, str, list[int]]]) -> Iterator[ConsoleFinding]:
    """Below the limit now, but at this rate beyond it within one TIME_WAIT."""
    elapsed = view.elapsed()
    if not elapsed:
        return
    before = Counter(_end(s.peer) for s in view.before.values() if s.state == "TIME-WAIT")
    before.update({end: waiting for _, waiting, end, _ in _counted_ports(view, -2)})
    for count, waiting, destination, lines in full:
        grown = (waiting - before[destination]) / elapsed
        if grown * TIME_WAIT_S <= view.ports:
            continue
        facts = {
            "count": number(waiting),
            "destination": destination,
            "ports": view.ports_said,
            "rate": f"{grown:.0f}",
            "left_s": in_words(round((view.ports - count) / grown)),
        }
        yield ConsoleFinding("time_wait_near_limit", "grows", lines, facts)


def _listen_queue(view: _View) -> Iterator[ConsoleFinding]:
    for socket in view.state("LISTEN"):
        waiting, backlog, where = socket.receive_queue, socket.send_queue, _end(socket.local)
        facts = {
            "waiting": plural(waiting, "connection"),
            "backlog": number(backlog),
            "where": where,
            "program": _programs([socket]),
        }
        if 0 < backlog <= waiting:
            yield ConsoleFinding("listen_queue_full", "says", [socket.line], facts)
        elif backlog == 0 and waiting >= WAITING:
            facts["backlog"] = number(waiting - 1)
            yield ConsoleFinding(
                "listen_queue_full", "round" if waiting in FULL else "waiting", [socket.line], facts
            )


def _handshakes(view: _View) -> Iterator[ConsoleFinding]:
    by_port: dict[str, list[ConsoleSocket]] = defaultdict(list)
    for socket in view.state("SYN-RECV"):
        by_port[socket.local[1]].append(socket)
    for port, sockets in by_port.items():
        listener = view.listening.get(port)
        backlog = listener.send_queue if listener else 0
        if len(sockets) >= SYN_RECV or (backlog > 0 and len(sockets) >= max(2, backlog / 4)):
            facts = {"count": number(len(sockets)), "where": _end(sockets[0].local)}
            yield ConsoleFinding("syn_backlog", "says", _lines(sockets), facts)
    for line, _ in view.host.counted():
        if line.state == "SYN-RECV" and line.count >= SYN_RECV:
            facts = {
                "count": number(line.count),
                "where": _end(line.endpoint) if line.endpoint[1] else "this host",
            }
            yield ConsoleFinding("syn_backlog", "says", [line.line], facts)


def _connecting(view: _View) -> Iterator[ConsoleFinding]:
    sockets = view.state("SYN-SENT")
    repeated = [s for s in sockets if s.timer and s.count >= SYN_REPEATED]
    still = (
        [s for s in sockets if s.pair in view.before and view.before[s.pair].state == "SYN-SENT"]
        if view.apart()
        else []
    )
    plain = [s for s in sockets if not s.timer]
    found = repeated or still or (plain if len(plain) >= SYN_SENT else [])
    if found:
        (peer, _), *_ = Counter(s.peer for s in found).most_common(1)
        works = any(s.state == "ESTAB" and s.peer == peer for s in view.now)
        facts = {
            "count": plural(len(found), "connection"), "destination": _end(peer),
            "repeats": max((s.count for s in repeated), default=0),
        }  # fmt: skip
        wording = ("repeated" if repeated else "says") + ("_queue" if works else "")
        yield ConsoleFinding("connect_unanswered", wording, _lines(found), facts)
    for line, _ in view.host.counted():
        if line.state == "SYN-SENT" and line.count >= SYN_SENT:
            facts = {
                "count": plural(line.count, "connection"),
                "destination": _end(line.endpoint) if line.endpoint[1] else "other hosts",
            }
            yield ConsoleFinding("connect_unanswered", "says", [line.line], facts)


def is_stuck(socket: ConsoleSocket) -> bool:
    """Sent data has been repeated, and no acknowledgement has come."""
    if socket.state not in ("ESTAB", "CLOSE-WAIT") or socket.send_queue <= 0:
        return False
    if socket.timer == "on":
        return socket.count >= STUCK or socket.detail("backoff") >= STUCK
    return not socket.timer and socket.detail("backoff") >= STUCK and "unacked" in socket.info


def _stuck(view: _View) -> Iterator[ConsoleFinding]:
    found = [socket for socket in view.now if is_stuck(socket)]
    facts: dict[str, Any]
    if found:
        worst = max(found, key=lambda socket: socket.count)
        facts = {
            "count": plural(len(found), "connection"),
            "destination": _end(worst.peer),
            "bytes": size(worst.send_queue),
            "repeats": max(worst.count, worst.detail("backoff")),
            "program": _programs(found),
        }
        yield ConsoleFinding("send_queue_stuck", "says", _lines(found), facts)
        return
    if not view.apart():
        return
    same = [
        s
        for s in view.now
        if s.state in ("ESTAB", "CLOSE-WAIT")
        and s.send_queue > 0
        and s.timer in ("", "on")
        and s.pair in view.before
        and view.before[s.pair].send_queue == s.send_queue
        and view.before[s.pair].timer in ("", "on")
        and (not s.timer or s.count > view.before[s.pair].count)
        and s.detail("bytes_acked") == view.before[s.pair].detail("bytes_acked")
    ]
    if same:
        facts = {
            "count": plural(len(same), "connection"), "destination": _end(same[0].peer),
            "bytes": size(same[0].send_queue), "program": _programs(same), "elapsed": _between(view),
        }  # fmt: skip
        yield ConsoleFinding("send_queue_stuck", "two_snapshots", _both(view, same), facts)


def _between(view: _View) -> str:
    elapsed = view.elapsed()
    return f"{f'in the {in_words(round(elapsed))} ' if elapsed else ''}between the two outputs"


def _both(view: _View, sockets: Iterable[ConsoleSocket]) -> list[int]:
    return [line for s in sockets for line in (view.before[s.pair].line, s.line)]


def _window(view: _View) -> Iterator[ConsoleFinding]:
    closed = [s for s in view.now if s.timer == "persist" and s.send_queue > 0]
    gone = [s for s in closed if s.count >= PROBES]
    if gone:
        facts = {
            "count": plural(len(gone), "connection"),
            "destination": _end(gone[0].peer),
            "probes": max(s.count for s in gone),
        }
        yield ConsoleFinding("window_probes_unanswered", "says", _lines(gone), facts)
    if waiting := [s for s in closed if s.count < PROBES]:
        worst = max(waiting, key=lambda s: s.send_queue)
        still = [s for s in waiting if s.pair in view.before and view.before[s.pair].timer == "persist"]
        facts = {
            "count": plural(len(waiting), "connection"),
            "destination": _end(worst.peer),
            "bytes": size(worst.send_queue),
        }
        sure = still or any(s.timer_s >= 1 for s in waiting)
        lines = _both(view, still) if still else _lines(waiting)
        yield ConsoleFinding("zero_window", "says" if sure else "perhaps", lines, facts)


def _unread(view: _View) -> Iterator[ConsoleFinding]:
    if view.before and view.apart():
        found = [
            s
            for s in view.state("ESTAB")
            if (old := view.before.get(s.pair))
            and old.state == "ESTAB"
            and s.receive_queue >= old.receive_queue > 0
            and s.detail("bytes_received") == old.detail("bytes_received")
        ]
        if found:
            facts = {
                "count": plural(len(found), "connection"), "bytes": size(max(s.receive_queue for s in found)),
                "program": _programs(found), "elapsed": _between(view),
            }  # fmt: skip
            yield ConsoleFinding("not_reading", "two_snapshots", _both(view, found), facts)
        return
    if large := [s for s in view.state("ESTAB") if s.receive_queue >= UNREAD]:
        facts = {
            "count": plural(len(large), "connection"), "bytes": size(max(s.receive_queue for s in large)),
            "program": _programs(large),
        }  # fmt: skip
        yield ConsoleFinding("not_reading", "perhaps", _lines(large), facts)


def _keepalive(view: _View) -> Iterator[ConsoleFinding]:
    alive = [s for s in view.state("ESTAB") if not s.on_loopback]
    held = [s for s in view.now if s.timer == "keepalive"]
    silent = [s for s in held if s.count >= PROBES]
    if silent:
        facts = {
            "count": plural(len(silent), "connection"), "destination": _end(silent[0].peer),
            "probes": max(s.count for s in silent), "program": _programs(silent),
        }  # fmt: skip
        yield ConsoleFinding("probes_unanswered", "says", _lines(silent), facts)
    without = [s for s in alive if not s.timer and s.send_queue <= 0 and s.line in view.timed_lines]
    if without:
        facts = {"count": number(len(without)), "of": number(len(alive)), "program": _programs(without)}
        yield ConsoleFinding("no_keepalive_timer", "says", _lines(without), facts)
    late = [s for s in held if s.timer_s > LONG_IDLE_S and s.count == 0 and not s.on_loopback]
    if late:
        longest = max(s.timer_s for s in late)
        facts = {"count": plural(len(late), "connection"), "longest": in_words(longest)}
        yield ConsoleFinding("keepalive_two_hours", "timer", _lines(late), facts)
    kinds = {block.kind for block in view.host.blocks}
    if alive and not view.timed_lines and kinds <= {"ss", "netstat"}:
        facts = {
            "count": plural(len(alive), "connection"),
            "program": kinds.pop() if len(kinds) == 1 else "ss",
        }
        yield ConsoleFinding("timers_not_shown", "says", _lines(alive), facts)


def _closing(view: _View) -> Iterator[ConsoleFinding]:
    found = [
        s
        for s in view.state(*_BEFORE_CLOSED)
        if s.timer != "persist" and (s.line not in view.timed_lines or s.count >= 2)
    ]
    if len(found) >= CLOSING or any(s.count >= PROBES + STUCK for s in found):
        (state, _), *_ = Counter(s.state for s in found).most_common(1)
        facts = {
            "count": plural(len(found), "connection"), "state": state, "repeats": max(s.count for s in found),
            "destination": _end(found[0].peer),
        }  # fmt: skip
        wording = "repeated" if facts["repeats"] else "says"
        yield ConsoleFinding("closing_unanswered", wording, _lines(found), facts)


def _close_wait(view: _View) -> Iterator[ConsoleFinding]:
    waiting = view.state("CLOSE-WAIT")
    groups: dict[tuple[str, str], list[ConsoleSocket]] = defaultdict(list)
    for socket in waiting:
        groups["server", socket.local[1]].append(socket) if view.is_server(socket) else groups[
            "client", _end(socket.peer)
        ].append(socket)
        if socket.pid:
            groups["process", socket.pid].append(socket)
    largest = max(groups.values(), key=len, default=[])
    old = [s for s in view.before.values() if s.state == "CLOSE-WAIT"]
    elapsed = view.elapsed()
    same = [s for s in waiting if s.pair in view.before and view.before[s.pair].state == "CLOSE-WAIT"]
    side = "server" if largest and view.is_server(largest[0]) else "client"
    facts = {
        "count": plural(len(largest), "connection"),
        "program": _programs(largest) or " of this host",
    }
    facts["where"] = _end(largest[0].local) if side == "server" else _end(largest[0].peer) if largest else ""
    wording = "says_server" if side == "server" else "says"
    if view.before and len(waiting) > len(old) and len(waiting) >= CLOSING:
        facts |= {"before": number(len(old)), "now": number(len(waiting)), "elapsed": _between(view)}
        yield ConsoleFinding("close_wait_leak", "grows", _lines([*old, *waiting]), facts, side)
    elif same and elapsed is not None and elapsed >= LEAK_S:
        facts |= {"count": plural(len(same), "connection"), "elapsed": _between(view)}
        yield ConsoleFinding("close_wait_leak", "same", _both(view, same), facts, side)
    elif len(largest) >= LEAK:
        yield ConsoleFinding("close_wait_leak", wording, _lines(largest), facts, side)
    else:
        gone = [
            s
            for s in waiting
            if view.is_server(s)
            and (s.program.startswith(_DATABASES) or (not s.program and s.local[1] in _DATABASE_PORTS))
        ]
        if gone:
            facts = {
                "count": plural(len(gone), "connection"),
                "client": _end(gone[0].peer),
                "program": _programs(gone) or " of the database",
            }
            yield ConsoleFinding("client_gone", "close_wait", _lines(gone), facts)
    for line, is_local in view.host.counted():
        if line.state == "CLOSE-WAIT" and line.count >= LEAK:
            facts = {
                "count": plural(line.count, "connection"),
                "program": " of this host",
                "where": _end(line.endpoint) if line.endpoint[1] else "other hosts",
            }
            yield ConsoleFinding(
                "close_wait_leak",
                "says_server" if is_local else "says",
                [line.line],
                facts,
                "server" if is_local else "client",
            )


def _half_closed(view: _View) -> Iterator[ConsoleFinding]:
    """A FIN-WAIT-2 that a program holds has no timer; where neither is shown, nothing can be said."""
    found = [s for s in view.state("FIN-WAIT-2") if not s.timer and (s.program or s.line in view.timed_lines)]
    if len(found) >= LEAK:
        facts = {
            "count": plural(len(found), "connection"),
            "program": _programs(found) or " of this host",
            "peer": found[0].peer[0],
        }
        yield ConsoleFinding("half_closed", "says", _lines(found), facts)


def _losses(view: _View) -> Iterator[ConsoleFinding]:
    found = []
    for s in view.now:
        sent, lost = s.detail("bytes_sent"), s.detail("bytes_retrans")
        segments = lost / (s.detail("mss") or 1460)
        many = s.detail("retrans") >= 10 or segments >= LOST_SEGMENTS
        if sent and lost >= LOSS * sent and many and not is_stuck(s) and s.timer != "persist":
            found.append(s)
    if found:
        worst = max(found, key=lambda s: s.detail("bytes_retrans") / s.detail("bytes_sent"))
        share = worst.detail("bytes_retrans") / worst.detail("bytes_sent")
        facts = {
            "count": plural(len(found), "connection"),
            "share": f"{share:.1%}",
            "destination": _end(worst.peer),
        }
        lines = [line for s in found for line in (s.line, s.info_line) if line]
        yield ConsoleFinding("retransmitting", "connections", lines, facts)


_CHECKS: Sequence[Callable[[_View], Iterator[ConsoleFinding]]] = (
    _time_wait,
    _listen_queue,
    _handshakes,
    _connecting,
    _stuck,
    _window,
    _unread,
    _keepalive,
    _closing,
    _close_wait,
    _half_closed,
    _losses,
)


def _half_open(paste: Paste) -> Iterator[ConsoleFinding]:
    """Established on one host and missing on the other: only where the paste shows both."""
    for one in paste.hosts:
        for other in paste.hosts:
            if one is other:
                continue
            theirs = {socket.pair: socket for socket in other.sockets()}
            addresses = set(chain.from_iterable(block.addresses for block in other.blocks))
            shown = {s.local[1] for s in theirs.values()} | {s.peer[1] for s in theirs.values()}
            states = {s.state for s in theirs.values()}
            missing = [
                s for s in one.sockets()
                if s.state == "ESTAB" and s.peer[0] in addresses and "ESTAB" in states
                and shown & {s.local[1], s.peer[1]} and _mirror(s, theirs) in (None, "SYN-RECV")
            ]  # fmt: skip
            if missing:
                facts = {
                    "count": plural(len(missing), "connection"),
                    "here": missing[0].local[0],
                    "there": missing[0].peer[0],
                }
                yield ConsoleFinding("half_open_suspected", "says", _lines(missing), facts)


def _mirror(socket: ConsoleSocket, theirs: dict[tuple[str, str, str, str], ConsoleSocket]) -> str | None:
    """The state of the same connection on the other host; None where it is missing."""
    found = theirs.get((*socket.peer, *socket.local))
    return found.state if found else None
