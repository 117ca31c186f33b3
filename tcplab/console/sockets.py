"""Lines that show sockets: `ss`, `netstat` of Linux, macOS and Windows, /proc/net/tcp, `uniq -c`.

A line is taken apart by what its words are (a state, a number, an address), not by columns: headers are
translated, run together or absent. Formats as measured on iproute2 6.1 and net-tools 2.10: `ss` prints
2152 ms as `2.152ms` (iproute2 misc/ss.c, print_ms_timer), netstat's brackets are seconds,
retransmissions, probes (net-tools netstat.c).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

#: Every spelling of a state, in lower case without `-` and `_`, and ss's name for it. The translated words
#: are those of Windows and of net-tools.
STATES = {
    word: state
    for state, words in {
        "ESTAB": "estab established hergestellt verbunden établie établi etabli establecido stabilita "
        "gevestigd estabelecido установлено ustanowiono etablerad",
        "LISTEN": "listen listening abhören abhoren écoute ecoute escuchar escuchando ascolto bezig слушает",
        "TIME-WAIT": "timewait wartend attente temposcaduto tiempoespera",
        "CLOSE-WAIT": "closewait schliessenwarten schließenwarten fermerattente",
        "SYN-SENT": "synsent syngesendet synenvoyé synenviado",
        "SYN-RECV": "synrecv synrcvd synreceived synempfangen newsynrecv",
        "FIN-WAIT-1": "finwait1 finwarten1",
        "FIN-WAIT-2": "finwait2 finwarten2",
        "LAST-ACK": "lastack letzteack",
        "CLOSING": "closing schließend schliessend",
        "CLOSED": "closed close",
        "UNCONN": "unconn",
        "BOUND": "bound",
    }.items()
    for word in words.split()
}
#: The states of /proc/net/tcp, include/net/tcp_states.h.
_HEX_STATES = {
    1: "ESTAB", 2: "SYN-SENT", 3: "SYN-RECV", 4: "FIN-WAIT-1", 5: "FIN-WAIT-2", 6: "TIME-WAIT", 7: "CLOSED",
    8: "CLOSE-WAIT", 9: "LAST-ACK", 10: "LISTEN", 11: "CLOSING", 12: "SYN-RECV",
}  # fmt: skip
#: Its timers, net/ipv4/tcp_ipv4.c, get_tcp4_sock().
_HEX_TIMERS = {0: "", 1: "on", 2: "keepalive", 3: "timewait", 4: "persist"}
#: Timers by what netstat and ss call them.
_TIMERS = {
    "off": "",
    "probe": "persist",
    "timewait": "timewait",
    "on": "on",
    "keepalive": "keepalive",
    "persist": "persist",
}
_PROTOCOLS = frozenset("tcp tcp4 tcp6 tcp46 mptcp".split())  # noqa: SIM905
_OTHERS = frozenset(
    "udp udp4 udp6 udp46 udplite raw raw6 icmp icm4 icm6 icmp6 unix u_str u_dgr u_seq nl p_raw p_dgr "  # noqa: SIM905
    "v_str sctp dccp vsock tipc xdp".split()
)
_ENDPOINT = re.compile(
    r"(?P<address>\[[^\]\s]+\](?:%\w+)?|[^\s\[\]()\"']*?)[:](?P<port>\d{1,5}|\*|[A-Za-z][\w.+-]*)"
)
_DOTTED = re.compile(
    r"(?P<address>\d+\.\d+\.\d+\.\d+|\*|[0-9a-fA-F:]*:[0-9a-fA-F:.]*(?:%\w+)?|[\w-]+(?:\.[\w-]+)+)\.(?P<port>\d{1,5}|\*)"
)
_SS_TIMER = re.compile(r"timer:\((\w+),([^,()]*),(\d+)\)")
_NETSTAT_TIMER = re.compile(r"\b(off|on|keepalive|timewait|probe|unkn-\d+)\s+\((-?[\d.]+)/(\d+)/(\d+)\)")
_PROCESS = re.compile(r'users:\(\("([^"]*)",(?:pid=)?(\d+)')
_PID_PROGRAM = re.compile(r"\s(\d+)/([\w.:@-]+)")
_INFO = re.compile(
    r"\b(backoff|bytes_sent|bytes_retrans|bytes_acked|bytes_received|mss|unacked|lost|lastrcv|lastsnd|lastack):(\d+)|\b(retrans):(\d+/\d+)"
)
_IS_INFO = re.compile(
    r"\b(?:rto|cwnd|wscale|mss|segs_out|rcv_space|skmem|rmem)[:\d(]|"
    r"\bskmem:|^\s*(?:ts sack|sack |cubic |bbr |reno )"
)
_DURATION = re.compile(r"(\d+)(?:\.(\d+))?(ms|sec|min|hour|hr|h|day|d|s|m)")
_LENGTHS = {
    "ms": 0.001,
    "sec": 1,
    "s": 1,
    "min": 60,
    "m": 60,
    "hour": 3600,
    "hr": 3600,
    "h": 3600,
    "day": 86400,
    "d": 86400,
}
_HEX = re.compile(
    r"^\s*(?:\d+:\s+)?([0-9A-Fa-f]{8}|[0-9A-Fa-f]{32}):([0-9A-Fa-f]{4})\s+([0-9A-Fa-f]{8}|[0-9A-Fa-f]{32}):([0-9A-Fa-f]{4})\s+"
    r"([0-9A-Fa-f]{2})\s+([0-9A-Fa-f]{8}):([0-9A-Fa-f]{8})\s+([0-9A-Fa-f]{2}):([0-9A-Fa-f]{8})\s+([0-9A-Fa-f]{8})\s*(.*)$"
)
_QUEUES_OF_MACOS = re.compile(r"^(?:tcp\d*\s+)?(\d+)/(\d+)/(\d+)\s+(\S+)\s*$")
#: PowerShell's Get-NetTCPConnection, whose ports are columns of their own.
_POWERSHELL = re.compile(r"^\s*(\S+)\s+(\d{1,5})\s+(\S+)\s+(\d{1,5})\s+([A-Z][A-Za-z0-9]+)\s+\S+\s+(\d+)\s*$")
_LSOF = re.compile(r"^(\S+)\s+(\d+)\s.*\sTCP (\S+?)(?:->(\S+))? \((\w+)\)$")
_NO_INFO: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class ConsoleSocket:
    """A TCP socket as a line shows it."""

    #: The line's number.
    line: int
    #: As ss prints it (`TIME-WAIT`); empty when the line and its block do not say.
    state: str
    #: Bytes; connections waiting and the backlog for LISTEN. -1 where they are not shown.
    receive_queue: int
    send_queue: int
    #: Address and port as text; the address `*` stands for any.
    local: tuple[str, str]
    peer: tuple[str, str]
    #: `on`, `keepalive`, `persist`, `timewait`; empty: none runs, or none is shown.
    timer: str = ""
    #: Seconds until it fires.
    timer_s: float = 0.0
    #: Retransmissions for `on`, unanswered probes for `keepalive` and `persist`.
    count: int = 0
    #: Program and process ID; empty where they are not shown.
    program: str = ""
    pid: str = ""
    #: What `-i` adds: backoff, bytes_sent, retrans …
    info: Mapping[str, str] = field(default_factory=dict)
    #: Where `info` is, when it is on a line of its own.
    info_line: int = 0

    @property
    def pair(self) -> tuple[str, str, str, str]:
        """The four-tuple."""
        return (*self.local, *self.peer)

    @property
    def on_loopback(self) -> bool:
        """Both ends are on this host, at a loopback address."""
        return is_loopback(self.local[0]) or is_loopback(self.peer[0])

    def detail(self, name: str) -> int:
        """A number of `info`; 0 where it is absent."""
        text = self.info.get(name, "0").rpartition("/")[2]
        return int(text) if text.isdigit() else 0


@dataclass(frozen=True, slots=True)
class CountedSockets:
    """A line of `… | sort | uniq -c`: how many sockets have this state and this address."""

    line: int
    count: int
    #: Empty where the line shows none.
    state: str
    #: Address and port; the port is empty where it was cut off, both are where only states were counted.
    endpoint: tuple[str, str]


def is_loopback(address: str) -> bool:
    """True for 127.0.0.0/8, ::1 and their names."""
    return address.startswith("127.") or address in (
        "::1",
        "localhost",
        "localhost.localdomain",
        "ip6-localhost",
    )


def state_of(word: str) -> str | None:
    """ss's name of a state in any spelling; None for another word."""
    return STATES.get(word.lower().strip("()").replace("-", "").replace("_", ""))


def seconds_of(text: str) -> float:
    """A duration as `ss` prints it: `59sec`, `9min49sec`, `696ms`; `2.152ms` are 2.152 s."""
    total = 0.0
    for whole, fraction, unit in _DURATION.findall(text):
        if unit == "ms" and fraction:
            total += float(f"{whole}.{fraction}")
        else:
            total += float(f"{whole}.{fraction or 0}") * _LENGTHS[unit]
    return total


def endpoint_of(word: str, *, dotted: bool = False) -> tuple[str, str] | None:
    """Address and port of a word; None when it is none. `dotted`: as macOS and BSD write them."""
    if word in ("*.*", "*:*"):
        return "*", "*"
    if ":" not in word and not dotted:
        return None
    match = (_DOTTED if dotted else _ENDPOINT).fullmatch(word)
    if not match or (
        not dotted and word.startswith(("timer:", "users:", "ino:", "uid:", "sk:", "cgroup:", "fd:"))
    ):
        return None
    address = match["address"].strip("[]")
    if "]" in address:
        address = address.replace("]", "")
    address = address.partition("%")[0]
    if address.lower().startswith("::ffff:") and "." in address:
        address = address[7:]
    return ("*" if address in ("0.0.0.0", "*", "::", "") else address), match["port"]


def read_socket(number: int, text: str, state: str | None = None) -> ConsoleSocket | bool:
    """The socket of a line; True for one of another protocol, False when the line shows no socket.

    `state`: for a block without the column *State*, all in one state; empty when it is unknown.
    """
    words = text.split(None, 9)
    if len(words) < 3:
        return False
    first = words[0].lower()
    if first in _OTHERS:
        return True
    if first in _PROTOCOLS:
        words = words[1:]
    elif len(words) > 3 and words[0].isdigit() and words[1].lower() in _PROTOCOLS:
        words = words[2:]
    elif state_of(words[0]) is None and not (state is not None and words[0].isdigit()):
        return False
    if first in _PROTOCOLS and (queues := _QUEUES_OF_MACOS.match(text)):
        return _macos_queue(number, queues)
    dotted = first in _PROTOCOLS
    queue: list[int] = []
    ends: list[tuple[str, str]] = []
    found = None
    for at, word in enumerate(words[:8]):
        if word.isdigit() and not ends and len(queue) < 2:
            queue.append(int(word))
            continue
        end = endpoint_of(word) if len(ends) < 2 else None
        if end is None and dotted and len(ends) < 2:
            end = endpoint_of(word, dotted=True)
        if end is not None:
            ends.append(end)
            continue
        named = state_of(word)
        if named is not None and found is None:
            found = named
        elif len(ends) == 2 or (found is None and at > 3):
            break
    if len(ends) < 2:
        return False
    if found is None:
        if state is None and first not in _PROTOCOLS:
            return False
        # A state in a language that is not known: only a listener has no peer.
        found = state or ("LISTEN" if ends[1][0] == "*" and ends[1][1] in ("0", "*") else "")
    if found in ("UNCONN", "BOUND"):
        return True
    timer, timer_s, count = _timer(text, found)
    program, pid = _process(text, first)
    return ConsoleSocket(
        number,
        found,
        queue[0] if len(queue) == 2 else -1,
        queue[1] if len(queue) == 2 else -1,
        ends[0],
        ends[1],
        timer,
        timer_s,
        count,
        program,
        pid,
        _info(text) if "rto:" in text or "cwnd:" in text else _NO_INFO,
    )


def _macos_queue(number: int, match: re.Match[str]) -> ConsoleSocket | bool:
    """`netstat -L` of macOS and BSD: waiting, incomplete, longest."""
    end = endpoint_of(match[4], dotted=True) or endpoint_of(match[4])
    return ConsoleSocket(number, "LISTEN", int(match[1]), int(match[3]), end, ("*", "*")) if end else False


def _timer(text: str, state: str) -> tuple[str, float, int]:
    if match := _SS_TIMER.search(text):
        return _TIMERS.get(match[1], ""), seconds_of(match[2]), int(match[3])
    if match := _NETSTAT_TIMER.search(text):
        timer = _TIMERS.get(match[1], "")
        probes = timer in ("keepalive", "persist")
        return timer, max(float(match[2]), 0.0), int(match[4] if probes else match[3])
    return "", 0.0, 0


def shows_timer(text: str) -> bool:
    """The line has a timer, or says that none runs."""
    return "timer:(" in text or bool(_NETSTAT_TIMER.search(text))


def _process(text: str, protocol: str) -> tuple[str, str]:
    if match := _PROCESS.search(text):
        return match[1], match[2]
    if match := _PID_PROGRAM.search(text):
        return match[2].rstrip(":"), match[1]
    # Windows: the process ID is the last word.
    last = text.rsplit(None, 1)[-1]
    return "", last if protocol == "tcp" and last.isdigit() and last != "0" else ""


def _info(text: str) -> dict[str, str]:
    return {match[1] or match[3]: match[2] or match[4] for match in _INFO.finditer(text)}


def with_info(socket: ConsoleSocket, number: int, text: str) -> ConsoleSocket | None:
    """The socket with what the second line of `ss -i` adds; None when the line is no such line."""
    if not _IS_INFO.search(text) and not text.lstrip().startswith(("timer:(", "users:((")):
        return None
    found = replace(socket, info={**socket.info, **_info(text)}, info_line=number)
    if not socket.timer and (match := _SS_TIMER.search(text)):
        found = replace(
            found, timer=_TIMERS.get(match[1], ""), timer_s=seconds_of(match[2]), count=int(match[3])
        )
    return found


def is_cut(text: str, is_socket: bool) -> bool:
    """A terminal broke the line: a bracket is open, or a socket's second address is missing."""
    if text.count("(") > text.count(")"):
        return "users:(" in text or "timer:(" in text
    if is_socket or not 30 <= len(text) <= 250:
        return False
    words = text.split()
    if not words or (state_of(words[0]) is None and words[0].lower() not in _PROTOCOLS):
        return False
    return sum(endpoint_of(word) is not None for word in words[1:6]) == 1


def read_proc(number: int, text: str) -> ConsoleSocket | None:
    """A line of /proc/net/tcp or tcp6: addresses in the machine's byte order, here little endian."""
    match = _HEX.match(text)
    if not match:
        return None
    timer = _HEX_TIMERS.get(int(match[8], 16), "")
    state = _HEX_STATES.get(int(match[5], 16), "")
    rest = match[11].split()
    probes = int(rest[1]) if len(rest) > 1 and rest[1].isdigit() else 0
    count = probes if timer in ("keepalive", "persist") else int(match[10], 16)
    return ConsoleSocket(
        number,
        state,
        int(match[7], 16),
        int(match[6], 16),
        _hex_end(match[1], match[2]),
        _hex_end(match[3], match[4]),
        timer,
        int(match[9], 16) / 100,
        count,
    )


def _hex_end(address: str, port: str) -> tuple[str, str]:
    words = [address[at : at + 8] for at in range(0, len(address), 8)]
    bytes_ = [int(word[at : at + 2], 16) for word in words for at in (6, 4, 2, 0)]
    if len(bytes_) == 16 and bytes_[:12] == [0] * 10 + [255, 255]:
        bytes_ = bytes_[12:]
    if not any(bytes_):
        text = "*"
    elif len(bytes_) == 4:
        text = ".".join(map(str, bytes_))
    else:
        pairs = [f"{bytes_[at] << 8 | bytes_[at + 1]:x}" for at in range(0, 16, 2)]
        text = "::1" if pairs == ["0"] * 7 + ["1"] else ":".join(pairs)
    number = int(port, 16)
    return text, str(number) if number else "*"


def read_listed(number: int, text: str) -> ConsoleSocket | None:
    """A line of PowerShell's Get-NetTCPConnection or of `lsof -i`: no queues, no timers."""
    if match := _POWERSHELL.match(text):
        state = state_of(match[5])
        local, peer = endpoint_of(f"[{match[1]}]:{match[2]}"), endpoint_of(f"[{match[3]}]:{match[4]}")
        program, pid = "", match[6] if match[6] != "0" else ""
    elif match := _LSOF.match(text):
        state = state_of(match[5])
        local, peer = endpoint_of(match[3]), endpoint_of(match[4] or "*:*")
        program, pid = match[1], match[2]
    else:
        return None
    if state is None or local is None or peer is None:
        return None
    return ConsoleSocket(number, state, -1, -1, local, peer, program=program, pid=pid)


def read_counted(number: int, text: str) -> CountedSockets | None:
    """A line that counts sockets: one number, beside it a state, an address, or both."""
    words = text.replace(",", " ").split()
    if not 2 <= len(words) <= 4:
        return None
    counts = [word for word in words if word.isdigit()]
    if len(counts) != 1:
        return None
    state, end = "", ("", "")
    for word in words:
        if word.isdigit() or word.lower() in _PROTOCOLS:
            continue
        if (named := state_of(word)) and not state:
            state = named
        elif (found := endpoint_of(word)) and not end[0]:
            end = found
        elif re.fullmatch(r"(?:\d{1,3}\.){3}\d{1,3}|(?:[0-9a-f]*:){2,}[0-9a-f:]*", word) and not end[0]:
            end = (word, "")
        else:
            return None
    if not state and not (end[0] and end[1].isdigit() and words[0].isdigit()):
        return None
    return CountedSockets(number, int(counts[0]), state, end)
