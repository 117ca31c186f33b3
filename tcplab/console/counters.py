"""What counters, settings and log lines mean: since boot from one snapshot, now from two.

A counter counts since the boot of its network namespace, so one snapshot shows that it happened, not
that it still does. `orphan` and `mem` of /proc/net/sockstat are the whole host's, also inside a container.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tcplab.console.connections import LONG_IDLE_S, ConsoleFinding
from tcplab.console.paste import Paste, growth
from tcplab.console.sessions import RECENT_REPLY, most_common
from tcplab.console.values import ConsoleValue, LogLine
from tcplab.core.text import in_words, number, plural, size

#: Below 1 % no one notices in a database; fewer than 100 are no rate.
LOSS, FEWEST = 0.01, 100
#: conntrack begins to drop early when the table is full.
TABLE_FULL = 0.9
#: The kernel counts an orphan up to four times.
ORPHANS = 0.5
#: One aborted connection a day is a restarted client.
ABORTED_PER_MIN, ABORTED_LINES = 1, 2
_COOKIES = ("SyncookiesSent", "TCPReqQFullDoCookies", "TCPReqQFullDrop")


def check_counters(paste: Paste) -> Iterator[ConsoleFinding]:
    """Every finding in counters, settings and logs, in no order."""
    yield from _overflows(paste)
    yield from _request_queue(paste)
    yield from _retransmissions(paste)
    yield from _time_wait_table(paste)
    yield from _conntrack(paste)
    yield from _memory(paste)
    yield from _settings(paste)
    yield from _aborted(paste)
    if (
        recent := paste.number("client_recent_max_output_buffer", "client_longest_output_list")
    ) and recent >= RECENT_REPLY:
        line = paste.series("client_recent_max_output_buffer", "client_longest_output_list")[-1].line
        yield ConsoleFinding("not_reading", "redis_recent", [line], {"bytes": size(recent)})
    yield from _logs(paste)


def _rate(paste: Paste, first: int, last: int, grown: float) -> str:
    """`500 (50 a second)` between two lines; without the rate where no time is pasted."""
    elapsed = paste.elapsed(first, last)
    return number(grown) + (f" ({grown / elapsed:.3g} per second)" if elapsed else "")


def _since_boot(paste: Paste, code: str, name: str) -> Iterator[ConsoleFinding]:
    """A counter that should be 0: grows, stands still, or is not 0 in one snapshot."""
    values = paste.series(name)
    count = paste.number(name)
    if not values or not count:
        return
    grown = growth(values)
    facts = {"count": number(count), "counter": name}
    lines = [value.line for value in values]
    if grown:
        yield ConsoleFinding(
            code, "grows", lines, {**facts, "grown": _rate(paste, lines[0], lines[-1], grown)}
        )
    else:
        yield ConsoleFinding(code, "past" if grown == 0 else "counter", lines, facts)


def _overflows(paste: Paste) -> Iterator[ConsoleFinding]:
    yield from _since_boot(paste, "listen_queue_overflowed", "ListenOverflows")


def _request_queue(paste: Paste) -> Iterator[ConsoleFinding]:
    found = [finding for name in _COOKIES for finding in _since_boot(paste, "syn_backlog", name)]
    yield from sorted(found, key=lambda finding: finding.wording != "grows")[:1]


def _retransmissions(paste: Paste) -> Iterator[ConsoleFinding]:
    sent, again = paste.series("OutSegs"), paste.series("RetransSegs")
    if not sent or not again or not sent[-1].numbers or not again[-1].numbers:
        return
    all_sent, all_again = sent[-1].numbers[0], again[-1].numbers[0]
    grown, more = growth(sent), growth(again)
    if grown is not None and more is not None:
        all_sent, all_again = grown, more
    if all_again >= FEWEST and all_again >= LOSS * all_sent > 0:
        facts = {"share": f"{all_again / all_sent:.1%}", "count": number(all_again), "sent": number(all_sent)}
        yield ConsoleFinding(
            "retransmitting",
            "since_boot" if grown is None else "grows",
            [again[-1].line, sent[-1].line],
            facts,
        )


def _time_wait_table(paste: Paste) -> Iterator[ConsoleFinding]:
    yield from _since_boot(paste, "time_wait_overflow", "TCPTimeWaitOverflow")
    limit = paste.number("net.ipv4.tcp_max_tw_buckets")
    held = paste.series("sockstat.tw", "summary.timewait")
    if limit and held and held[-1].numbers[0] >= limit:
        facts = {"count": number(held[-1].numbers[0]), "limit": number(limit)}
        lines = [held[-1].line, paste.series("net.ipv4.tcp_max_tw_buckets")[-1].line]
        yield ConsoleFinding("time_wait_overflow", "limit", lines, facts)


def _conntrack(paste: Paste) -> Iterator[ConsoleFinding]:
    limits = paste.series(
        "net.netfilter.nf_conntrack_max", "net.nf_conntrack_max", "net.ipv4.netfilter.ip_conntrack_max"
    )
    counts = paste.series("net.netfilter.nf_conntrack_count", "net.ipv4.netfilter.ip_conntrack_count")
    if limits and counts and limits[-1].numbers and counts[-1].numbers:
        count, limit = counts[-1].numbers[0], limits[-1].numbers[0]
        if limit and count >= TABLE_FULL * limit:
            facts = {"count": number(count), "limit": number(limit), "share": f"{count / limit:.0%}"}
            yield ConsoleFinding("conntrack_full", "says", [counts[-1].line, limits[-1].line], facts)
    snapshots = _drops(paste)
    if not snapshots or not snapshots[-1].dropped:
        return
    first, last = snapshots[0], snapshots[-1]
    facts = {"count": number(last.dropped)}
    if last.dropped > first.dropped:
        facts["grown"] = _rate(paste, first.line, last.line, last.dropped - first.dropped)
        yield ConsoleFinding("conntrack_full", "grows", [*first.shown, *last.shown], facts)
    else:
        yield ConsoleFinding("conntrack_full", "dropped", last.shown, facts)


@dataclass
class _Drops:
    """One `conntrack -S`: its first line, drops and early drops of all CPUs, and the lines that have any."""

    line: int
    dropped: float = 0.0
    shown: list[int] = field(default_factory=list)


def _drops(paste: Paste) -> list[_Drops]:
    """Every `conntrack -S`; a CPU with a number that is not higher begins the next one."""
    snapshots: list[_Drops] = []
    last = -1.0
    for value in paste.values:
        if value.name == "conntrack.cpu":
            cpu = value.numbers[0]
            if cpu <= last or not snapshots:
                snapshots.append(_Drops(value.line))
            last = cpu
        elif value.name in ("conntrack.drop", "conntrack.early_drop") and snapshots and value.numbers[0]:
            snapshots[-1].dropped += value.numbers[0]
            if value.line not in snapshots[-1].shown:
                snapshots[-1].shown.append(value.line)
    return snapshots


def _memory(paste: Paste) -> Iterator[ConsoleFinding]:
    used, limit = paste.number("sockstat.mem"), paste.number("net.ipv4.tcp_mem", place=1)
    if used and limit and used >= limit:
        lines = [paste.series("sockstat.mem")[-1].line, paste.series("net.ipv4.tcp_mem")[-1].line]
        facts = {"count": number(used), "limit": number(limit)}
        yield ConsoleFinding("tcp_memory", "memory", lines, facts)
    orphans, most = (
        paste.number("sockstat.orphan", "summary.orphaned"),
        paste.number("net.ipv4.tcp_max_orphans"),
    )
    if orphans and most and orphans >= ORPHANS * most:
        lines = [
            paste.series("sockstat.orphan", "summary.orphaned")[-1].line,
            paste.series("net.ipv4.tcp_max_orphans")[-1].line,
        ]
        yield ConsoleFinding(
            "tcp_memory", "orphans", lines, {"count": number(orphans), "limit": number(most)}
        )


def _seconds(value: ConsoleValue) -> float | None:
    """A setting in seconds: `7200`, `7200 s`, `2h`, `120min`."""
    words = value.text.replace("'", "").split()
    if not words:
        return None
    digits = words[0].rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = words[0][len(digits) :] or (words[1] if len(words) > 1 else "")
    factor = {"": 1, "s": 1, "ms": 0.001, "min": 60, "h": 3600, "d": 86400}.get(unit)
    try:
        return float(digits) * factor if factor is not None else None
    except ValueError:
        return None


def _settings(paste: Paste) -> Iterator[ConsoleFinding]:
    for name in (
        "net.ipv4.tcp_keepalive_time",
        "tcp_keepalives_idle",
        "net.inet.tcp.keepidle",
        "tcp_keepalive_time",
    ):
        values = paste.series(name)
        if not values or (idle := _seconds(values[-1])) is None:
            continue
        idle = idle / 1000 if name == "net.inet.tcp.keepidle" else idle
        facts = {"name": name, "idle": in_words(idle)}
        if idle >= LONG_IDLE_S:
            wording = "sysctl" if name.startswith("net.") else "setting"
            yield ConsoleFinding("keepalive_two_hours", wording, [values[-1].line], facts)
        elif name == "tcp_keepalive_time" and idle == 0:
            yield ConsoleFinding("keepalive_two_hours", "default", [values[-1].line], facts)
    values = paste.series("tcp_user_timeout")
    if values and _seconds(values[-1]) == 0:
        yield ConsoleFinding("user_timeout_absent", "says", [values[-1].line])


def _aborted(paste: Paste) -> Iterator[ConsoleFinding]:
    for name in ("Aborted_connects", "Aborted_clients"):
        values = paste.series(name)
        count, of = paste.number(name), paste.number("Connections")
        if not values or not count:
            continue
        grown, elapsed = growth(values), paste.elapsed(values[0].line, values[-1].line)
        facts = {"name": name, "count": number(count), "of": number(of or 0)}
        lines = [value.line for value in values]
        if grown and elapsed:
            if grown >= ABORTED_PER_MIN * elapsed / 60:
                facts |= {
                    "grown": number(grown),
                    "elapsed": in_words(round(elapsed)),
                    "rate": f"{grown * 60 / elapsed:.3g}",
                }
                yield ConsoleFinding("aborted_connections", "grows", lines, facts)
        elif grown is None and of and count >= FEWEST and count >= LOSS * of:
            yield ConsoleFinding(
                "aborted_connections", "counter", lines[-1:], {**facts, "share": f"{count / of:.1%}"}
            )


#: Kinds of log lines: their code and wording; HAProxy's follow.
_MEANINGS = {
    "conntrack": ("conntrack_full", "log"),
    "time_wait_table": ("time_wait_overflow", "log"),
    "syn_flood": ("syn_backlog", "log"),
    "orphans": ("tcp_memory", "log_orphans"),
    "memory": ("tcp_memory", "log"),
    "too_many": ("connections_near_max", "log"),
    "waited": ("pool_waiting", "log"),
    "no_server": ("proxy_timeout", "no_server"),
}
#: HAProxy's termination states: the code and its wording. Lower case is one of its timers; `C` is the client
#: itself.
_TERMINATIONS = {
    "cD": ("proxy_timeout", "client"),
    "sD": ("proxy_timeout", "server"),
    "sH": ("proxy_timeout", "server"),
    "SC": ("proxy_timeout", "refused"),
    "sC": ("proxy_timeout", "connect"),
    "sQ": ("pool_waiting", "haproxy_log"),
}


def _logs(paste: Paste) -> Iterator[ConsoleFinding]:
    groups: dict[tuple[str, str], list[LogLine]] = {}
    for log in paste.logs:
        meaning = _TERMINATIONS.get(log.detail) if log.kind == "haproxy" else _MEANINGS.get(log.kind)
        if meaning:
            groups.setdefault(meaning, []).append(log)
    for (code, wording), logs in groups.items():
        facts = {"count": plural(len(logs), "line"), "pool": most_common([log.subject for log in logs])}
        yield ConsoleFinding(code, wording, [log.line for log in logs], facts)
    aborted = [log for log in paste.logs if log.kind == "aborted"]
    if len(aborted) >= ABORTED_LINES:
        check = any("without authentication" in log.text for log in aborted)
        facts = {"count": plural(len(aborted), "line")}
        yield ConsoleFinding(
            "aborted_connections", "log_check" if check else "log", [log.line for log in aborted], facts
        )
