"""Names with values (sysctl, nstat, `netstat -s`, sockstat, `ss -s`, conntrack, Redis), times, and logs.

A value is known by one name, whatever printed it: counters by the kernel's (RetransSegs,
ListenOverflows), settings by their full name (net.ipv4.tcp_mem).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

#: What `netstat -s` prints, by the kernel's name: net-tools 2.10 statistics.c, with the spellings of older
#: versions,
#: of macOS and of Windows.
_PHRASES = tuple(
    (re.compile(pattern, re.I), name)
    for pattern, name in (
        (r"^(\d+) segments? sen[dt] out$", "OutSegs"),
        (r"^(\d+) segments? retransmitt?ed$", "RetransSegs"),
        (r"^(\d+) times the listen queue of a socket overflowed$", "ListenOverflows"),
        (r"^(\d+) listen queue overflows?$", "ListenOverflows"),
        (r"^(\d+) SYNs to LISTEN sockets (?:dropped|ignored)$", "ListenDrops"),
        (r"^(\d+) SYN cookies sent$", "SyncookiesSent"),
        (r"^(\d+) data packets? \(\d+ bytes?\) retransmitted$", "RetransSegs"),
        (r"^(\d+) packets? sent$", "OutSegs"),
        (r"^Segments Sent\s*=\s*(\d+)$", "OutSegs"),
        (r"^Segments Retransmitted\s*=\s*(\d+)$", "RetransSegs"),
        (r"^Number of Ports\s*:\s*(\d+)$", "windows.ports"),
    )
)
#: Other lines of `netstat -s` and of Windows' netsh.
_STATISTIC = re.compile(
    r"^\s+\d+ (?:[a-z(]|(?!ESTAB|LISTEN)[A-Z]\w* [a-z(])"
    r"[\w /()'-]*|^\s{2,}[A-Z]\w+: -?\d+$|^\s+[A-Z][\w ]+ (?:sent|received|timeout)[\w ]*: \d+|"
    r"^(?:Ip|Icmp|IcmpMsg|Tcp|Udp|UdpLite|TcpExt|IpExt|MPTcpExt|Ip6|Icmp6|Udp6|tcp|udp|ip|Sctp):\s*$|"
    r"^\s*(?:Detected reordering|Quick ack mode was|Forwarding is|default TTL|Maximum number)\b|"
    r"^\s+[A-Z][\w ]+\s=\s\d+$|"
    r"^\s*(?:Start Port|Startport|Anzahl von Ports)\s*:\s*\d+$|"
    r"^\s*(?:destination unreachable|echo requests?|echo replies|InType\d+|OutType\d+|"
    r"timeout in transit)[\w ]*: \d+$"
)
_SYSCTL = re.compile(r"^([a-z][\w-]*(?:[./][\w-]+)+|[a-z]\w*_\w+)\s*(?:=|:)\s*(\S.*?)?$")
_PROC = re.compile(r"^/proc/sys/(\S+?):\s*(\S.*)$")
_COUNTER = re.compile(r"^([A-Z][A-Za-z0-9_]+)\s+(-?\d+)(?:\s+-?[\d.]+)?$")
_LABELLED = re.compile(r"^\s*(TCP\w+|[A-Z][a-z]\w*[A-Z]\w*): (\d+)$")
_PAIRED = re.compile(r"^(Ip|Icmp|IcmpMsg|Tcp|Udp|UdpLite|TcpExt|IpExt|MPTcpExt): (\S.*)$")
_SOCKSTAT = re.compile(r"^(sockets|TCP6?|UDP6?|UDPLITE6?|RAW6?|FRAG6?): ((?:[a-z]+ \d+ ?)+)$")
_SUMMARY = re.compile(r"^TCP:\s+\d+\s+\(([^)]*)\)")
_SUMMARY_TABLE = re.compile(
    r"^(?:Total: \d+.*|Transport\s+Total\s+IP\s+IPv6|"
    r"(?:\*|RAW|UDP|TCP|INET|FRAG|MPTCP)\s+\d+\s+[\d-]+\s+[\d-]+)$"
)
_CONNTRACK = re.compile(r"^cpu=\d+\s+(?:\w+=\d+\s*)+$")
_REDIS = re.compile(r"^([a-z][a-z0-9]*_[a-z0-9_]+|maxclients):(\S*)$")
_INFO_SECTION = re.compile(r"^# [A-Z]\w+$")
_PARAMETER = re.compile(r"^'?([a-z][\w-]*)'?\s*=\s*'?([\w.-]+)'?;?$")
_CLOCK = re.compile(r"(?<![\d:.])([01]?\d|2[0-3]):([0-5]\d):([0-5]\d)(?:[.,]\d+)?(?![\d:])")
_LATER = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|secs|seconds?|min|minutes?)\s+(?:later|after|apart)", re.I)
#: A line that is a time and few words beside it.
_DATE = re.compile(
    r"^[\W]*(?:[A-Za-zéûä]{2,9}\.?,?\s+){0,2}(?:\d{1,4}[-./ ]?){0,3}(?:[A-Za-zéûä]{3,9}\.?,?\s+)?"
    r"(?:\d{1,4}[-./ T]*){0,3}"
    r"\d{1,2}:\d\d:\d\d\S*(?:\s+(?:AM|PM|[A-Z]{2,5}|\d{4}|[+-]\d{4}|Uhr)){0,3}[\W]*(?:up .*)?$"
)

#: Lines of logs that mean something, and the code and wording that they lead to.
_LOGS = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"(?:nf|ip)_conntrack: table full, dropping packet", "conntrack"),
        (r"time wait bucket table overflow", "time_wait_table"),
        (r"Possible SYN flooding on port", "syn_flood"),
        (r"too many (?:of )?orphaned sockets", "orphans"),
        (r"out of memory -- consider tuning tcp_mem", "memory"),
        (r"Aborted connection \d+ to db", "aborted"),
        (r"unexpected EOF on client connection|"
         r"could not receive data from client: Connection reset by peer", "aborted"),
        (r"sorry, too many clients already|remaining connection slots are reserved|Too many connections|"
         r"max number of clients reached", "too_many"),
        (r"query_wait_timeout", "waited"),
        (r"backend \S+ has no server available", "no_server"),
    )
)  # fmt: skip
#: HAProxy's termination state in a line of its tcplog or httplog: `… 0/0/60004 9120 cD 11/11/10/3/0 0/0`.
_HAPROXY = re.compile(
    r"\s(\S+?)~?\s(\S+)/(\S+)\s[+\d/-]+\s(?:\d{3}\s|-1\s)?\+?\d+\s(?:\S+\s\S+\s)?([A-Za-z-][A-Za-z-])(?:[A-Za-z-]{2})?\s\d+/\d+/\d+/\d+/\+?\d+\s"
)
_KERNEL = re.compile(
    r"^(?:<\d+>)?\[\s*(?:\d+\.\d+|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:]{8} \d{4})\]|"
    r"\bkernel: |\bkern\b.*\bkernel"
)
_SYSLOG = re.compile(r"\b(?:haproxy|pgbouncer|postgres|mysqld|mariadbd|redis-server)\[\d+\]: ")


@dataclass(frozen=True, slots=True)
class ConsoleValue:
    """One value as a line shows it."""

    line: int
    name: str
    #: As the paste has it.
    text: str

    @property
    def numbers(self) -> list[float]:
        """Its numbers: three of `tcp_mem`, two of a range, one of most."""
        found = []
        for word in self.text.replace(",", " ").split():
            try:
                found.append(float(word))
            except ValueError:
                return found
        return found


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a log that means something."""

    line: int
    #: `conntrack`, `syn_flood` …; `haproxy` with its termination state in `detail`.
    kind: str
    text: str
    detail: str = ""
    #: What it is about: HAProxy's backend and server.
    subject: str = ""


class ValueReader:
    """Reads names with values, line by line."""

    def __init__(self) -> None:
        self.values: list[ConsoleValue] = []
        self._pair: tuple[str, list[str]] | None = None
        #: Names that a command announced, whose values come alone: `cat /proc/sys/…`, `conntrack -C`.
        self.expected: list[str] = []
        self._cpu = 0

    def command(self, command: str) -> None:
        """What the next lines will be, from the command before them."""
        self.expected = []
        if re.search(r"\bcat\b", command):
            self.expected = [_setting(path) for path in re.findall(r"/proc/sys/(\S+)", command)]
        elif re.search(r"\bconntrack\s+-C\b", command):
            self.expected = ["net.netfilter.nf_conntrack_count"]
        elif re.search(r"\bsysctl\s+(?:-\w*n\w*|--values)\b", command):
            self.expected = re.findall(r"\b(?:net|fs|kernel)\.[\w.]+", command)

    def read(self, number: int, text: str) -> bool:
        """True when the line is understood; most of what is understood has no meaning here."""
        if self.expected and re.fullmatch(r"[\d\s]+", text) and text.strip():
            self._add(number, self.expected.pop(0), " ".join(text.split()))
            return True
        for name, value in self._found(number, text):
            self._add(number, name, value)
            return True
        return self._several(number, text) or bool(
            _STATISTIC.match(text)
            or _SUMMARY_TABLE.match(text)
            or _INFO_SECTION.match(text)
            or text == "#kernel"
        )

    def _add(self, number: int, name: str, text: str) -> None:
        self.values.append(ConsoleValue(number, name, text))

    def _found(self, number: int, text: str) -> Iterator[tuple[str, str]]:
        """The one value of a line."""
        if match := _COUNTER.match(text):
            yield (
                re.sub(r"^(?:TcpExt|Tcp(?=[A-Z]))", "", match[1]) if match[1] != "TcpExtTW" else "TW",
                match[2],
            )
        elif match := _PROC.match(text):
            yield _setting(match[1]), match[2]
        elif match := _LABELLED.match(text) or _REDIS.match(text):
            yield match[1], match[2]
        elif match := _SYSCTL.match(text):
            yield _setting(match[1]), match[2] or ""
        elif match := _PARAMETER.match(text):
            yield match[1], match[2]
        else:
            stripped = text.strip()
            if stripped[:1].isdigit() or stripped[:1] in "SN":
                for pattern, name in _PHRASES:
                    if match := pattern.match(stripped):
                        yield name, match[1]
                        return

    def _several(self, number: int, text: str) -> bool:
        """Lines with several values: pairs of /proc/net, sockstat, `ss -s`, `conntrack -S`."""
        if match := _PAIRED.match(text):
            words = match[2].split()
            if self._pair and self._pair[0] == match[1] and re.fullmatch(r"-?\d+", words[0]):
                for name, value in zip(self._pair[1], words, strict=False):
                    if match[1] in ("Tcp", "TcpExt"):
                        self._add(number, name, value)
                self._pair = None
                return True
            if re.fullmatch(r"[A-Z]\w+", words[0]):
                self._pair = (match[1], words)
                return True
            return False
        if match := _SOCKSTAT.match(text.strip()):
            if match[1] == "TCP":
                words = match[2].split()
                for name, value in zip(words[::2], words[1::2], strict=True):
                    self._add(number, f"sockstat.{name}", value)
            return True
        if match := _SUMMARY.match(text):
            for name, value in re.findall(r"(\w+) (\d+)", match[1]):
                self._add(number, f"summary.{name}", value)
            return True
        if _CONNTRACK.match(text):
            for name, value in re.findall(r"(\w+)=(\d+)", text):
                if name in ("cpu", "drop", "early_drop", "insert_failed"):
                    self._add(number, f"conntrack.{name}", value)
            return True
        return False


def _setting(path: str) -> str:
    return path.strip().rstrip(":").replace("/", ".").removeprefix("proc.sys.")


def read_log(number: int, text: str) -> LogLine | bool:
    """What a line of a log means; True for a line of a known log without a meaning here."""
    for pattern, kind in _LOGS:
        if pattern.search(text):
            return LogLine(number, kind, text)
    if match := _HAPROXY.search(text):
        return LogLine(number, "haproxy", text, match[4], f"{match[2]}/{match[3]}")
    return bool(_KERNEL.search(text[:120]) or _SYSLOG.search(text[:120]))


def clock_of(text: str) -> float | None:
    """The time of day of a line that shows little else, in seconds: `date`, `uptime`, `10:14:02`."""
    if len(text) > 90:
        return None
    bare = re.sub(
        r"^(?:[\w.-]+: )|^[-=#\s]*(?:snapshot|look|run|sample|t)?\s*\d*\s*[:=-]*\s+(?=.*\d:\d\d)",
        "",
        text.strip(),
        flags=re.I,
    )
    match = _CLOCK.search(bare)
    if not match or not _DATE.match(bare.strip("-=# ()[]")):
        return None
    hour = int(match[1]) + (12 if re.search(r"\bPM\b", bare) and int(match[1]) < 12 else 0)
    return hour * 3600 + int(match[2]) * 60 + int(match[3])


def later_of(text: str) -> float | None:
    """Seconds in a remark between two snapshots: `30 s later`, `--- after 5 minutes ---` is none."""
    match = _LATER.search(text) if len(text) < 80 else None
    if not match:
        return None
    return float(match[1]) * (60 if match[2].lower().startswith("min") else 1)
