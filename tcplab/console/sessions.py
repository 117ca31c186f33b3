"""What sessions mean: those of PostgreSQL, MySQL and InnoDB, PgBouncer, HAProxy and Redis.

"Now" is the latest time in the paste. A session that waits for its client's next statement (ClientRead,
Sleep) is as it should be; one that waits for its client to take data (ClientWrite) is not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from tcplab.console.connections import ConsoleFinding
from tcplab.console.paste import Paste
from tcplab.console.tables import ConsoleRow, interval_of, stamp_of
from tcplab.core.text import in_words, number, plural, size

#: A result is normally taken in less.
UNREAD_S = 10
#: A shorter one is an application between two statements.
IDLE_S = 60
#: A wait of milliseconds is a pool at work.
WAIT_S = 1
#: Bytes that Redis holds for a client that does not read: of one client now, of any lately.
WAITING_REPLY, RECENT_REPLY = 1 << 20, 8 << 20
NEAR_MAX = 0.9
#: superuser_reserved_connections, its default.
RESERVED = 3
_IN_TRANSACTION = "idle in transaction"
_AGES = (
    "since",
    "state_age",
    "age",
    "duration",
    "idle_for",
    "idle",
    "in_state",
    "oldest",
    "max",
    "blocking_xact_age",
    "xact_age",
    "transaction_age",
    "query_age",
    "runtime",
    "elapsed",
    "idle_time",
    "time_in_state",
)
_STARTS = ("state_change", "xact_start", "query_start")
_WRITING = ("Writing to net", "Sending to client", "Writing to client")


def check_sessions(paste: Paste) -> Iterator[ConsoleFinding]:
    """Every finding in the tables of a paste, in no order."""
    rows = paste.rows
    postgres = [row for row in rows if row.has("state") and _is_session(row)]
    now = _now(rows)
    yield from _idle_in_transaction(postgres, rows, now)
    yield from _blocked(rows)
    yield from _client_write(postgres, now)
    yield from _writing_to_net(rows)
    yield from _redis_clients(rows)
    yield from _pools(rows)
    yield from _haproxy(rows)
    yield from _clients_gone(paste, postgres)
    yield from _near_max(paste, postgres)


def _is_session(row: ConsoleRow) -> bool:
    """A row of pg_stat_activity, not one of PgBouncer's or MySQL's."""
    columns = (
        "wait_event",
        "pid",
        "query",
        "xact_start",
        "state_change",
        "usename",
        "count",
        "backend_type",
        "client_addr",
    )
    return (
        any(name in row.cells for name in columns) and "command" not in row.cells and "ptr" not in row.cells
    )


def _now(rows: Sequence[ConsoleRow]) -> float | None:
    """The latest time in any cell."""
    latest: dict[str, str] = {}
    for row in rows:
        for name, cell in row.cells.items():
            if cell[4:5] == "-" and cell[:4].isdigit() and ":" in cell and name != "query":
                # Texts with one zone, at their end, are in the order of their times.
                zone = cell[-3:]
                latest[zone] = max(cell, latest.get(zone, ""))
    return max((at for cell in latest.values() if (at := stamp_of(cell)) is not None), default=None)


def _age(row: ConsoleRow, now: float | None) -> float | None:
    """Seconds since the session is in its state; None where the row does not say."""
    for name in _AGES:
        if (age := interval_of(row.get(name))) is not None:
            return age
    start = next((at for name in _STARTS if (at := stamp_of(row.get(name))) is not None), None)
    return now - start if start is not None and now is not None else None


def _idle_in_transaction(
    sessions: Sequence[ConsoleRow], rows: Sequence[ConsoleRow], now: float | None
) -> Iterator[ConsoleFinding]:
    blockers = {
        pid
        for row in rows
        for pid in re.findall(r"\d+", row.get("blocked_by", "pg_blocking_pids", "blocking_pids"))
    }
    found, blocking, oldest = [], 0, 0.0
    for row in sessions:
        if not row.get("state").startswith(_IN_TRANSACTION):
            continue
        age, blocks = _age(row, now), row.get("pid") in blockers
        if blocks or (age is not None and age >= IDLE_S):
            found.append(row)
            blocking += blocks
            oldest = max(oldest, age or 0)
    if found:
        count = sum(int(row.number("count") or 1) for row in found)
        facts = {"count": plural(count, "session"), "oldest": in_words(round(oldest))}
        lines = [row.at("state") for row in found]
        yield ConsoleFinding("idle_in_transaction", "blocks" if blocking else "says", lines, facts)


def _blocked(rows: Sequence[ConsoleRow]) -> Iterator[ConsoleFinding]:
    """Joins of blocked and blocking sessions, and InnoDB's transactions."""
    found = [row for row in rows if row.get("blocking_state", "blocker_state").startswith(_IN_TRANSACTION)]
    found += [
        row for row in rows if row.has("blocking_query", "waiting_query") and not row.get("blocking_query")
    ]
    if found:
        age = max((interval_of(row.get("blocking_xact_age", "wait_age")) or 0 for row in found), default=0)
        facts = {
            "count": plural(len({row.get("blocking_pid", "blocking_trx_id") for row in found}), "session"),
            "oldest": in_words(round(age)),
        }
        yield ConsoleFinding("idle_in_transaction", "blocks", [row.line for row in found], facts)
    transactions = [row for row in rows if row.has("trx_state")]
    waiting = [row for row in transactions if row.get("trx_state").upper() == "LOCK WAIT"]
    silent = [
        row
        for row in transactions
        if row.get("trx_state").upper() == "RUNNING" and row.has("trx_query") and not row.get("trx_query")
    ]
    if waiting and silent:
        facts = {"count": plural(len(silent), "transaction"), "waiting": plural(len(waiting), "transaction")}
        lines = [row.at("trx_state") for row in silent] + [row.at("trx_query") for row in silent]
        yield ConsoleFinding("idle_in_transaction", "innodb", lines, facts)


def _client_write(sessions: Sequence[ConsoleRow], now: float | None) -> Iterator[ConsoleFinding]:
    found = [
        (row, age)
        for row in sessions
        if row.get("wait_event").endswith("ClientWrite")
        and (age := _age(row, now)) is not None
        and age >= UNREAD_S
    ]
    if found:
        count = sum(int(row.number("count") or 1) for row, _ in found)
        facts = {
            "count": plural(count, "session"),
            "oldest": in_words(round(max(age for _, age in found))),
            "where": "ClientWrite",
        }
        lines = [line for row, _ in found for line in (row.at("wait_event"), row.at("state"))]
        yield ConsoleFinding("not_reading", "session", lines, facts)


def _writing_to_net(rows: Sequence[ConsoleRow]) -> Iterator[ConsoleFinding]:
    found = []
    for row in rows:
        seconds = row.number("time")
        if seconds is None and (milliseconds := row.number("time_ms")) is not None:
            seconds = milliseconds / 1000
        if (
            row.has("command")
            and row.get("state") in _WRITING
            and seconds is not None
            and seconds >= UNREAD_S
        ):
            found.append((row, seconds))
    if found:
        where = found[0][0].get("state")
        facts = {
            "count": plural(len(found), "session"),
            "oldest": in_words(max(seconds for _, seconds in found)),
            "where": where,
        }
        yield ConsoleFinding("not_reading", "session", [row.at("state") for row, _ in found], facts)


def _redis_clients(rows: Sequence[ConsoleRow]) -> Iterator[ConsoleFinding]:
    found = [row for row in rows if row.has("redis_client") and (row.number("omem") or 0) >= WAITING_REPLY]
    if found:
        most = max(row.number("omem") or 0 for row in found)
        facts = {"count": plural(len(found), "client"), "bytes": size(most)}
        yield ConsoleFinding("not_reading", "redis", [row.line for row in found], facts)


def _pools(rows: Sequence[ConsoleRow]) -> Iterator[ConsoleFinding]:
    """PgBouncer's SHOW POOLS and SHOW CLIENTS."""
    found = []
    for row in rows:
        if row.has("cl_waiting", "maxwait"):
            waited = (row.number("maxwait") or 0) + (row.number("maxwait_us") or 0) / 1e6
            waiting = row.number("cl_waiting") or 0
        elif row.has("wait", "ptr") and row.get("state") == "waiting":
            waiting, waited = 1, (row.number("wait") or 0) + (row.number("wait_us") or 0) / 1e6
        else:
            continue
        if waiting > 0 and waited >= WAIT_S:
            found.append((row, waiting, waited))
    if found:
        row, waiting, waited = max(found, key=lambda each: each[2])
        facts = {
            "count": plural(int(sum(each[1] for each in found)), "client"),
            "longest": in_words(round(waited, 1)),
            "pool": row.get("database") or "a pool",
            "busy": int(row.number("sv_active") or 0),
        }
        lines = [
            line
            for each, _, _ in found
            for line in dict.fromkeys((each.at("cl_waiting"), each.at("maxwait"), each.line))
        ]
        yield ConsoleFinding("pool_waiting", "pgbouncer", lines, facts)


def _haproxy(rows: Sequence[ConsoleRow]) -> Iterator[ConsoleFinding]:
    stats = [row for row in rows if row.has("pxname", "svname")]
    queued = [row for row in stats if row.get("svname") == "BACKEND" and (row.number("qcur") or 0) > 0]
    if queued:
        facts = {
            "count": plural(int(sum(row.number("qcur") or 0 for row in queued)), "connection"),
            "pool": queued[0].get("pxname"),
        }
        yield ConsoleFinding("pool_waiting", "haproxy", [row.line for row in queued], facts)
    down = [
        row
        for row in stats
        if row.get("svname") == "BACKEND" and row.get("status").upper().startswith("DOWN")
    ]
    if down:
        facts = {"pool": down[0].get("pxname")}
        yield ConsoleFinding("proxy_timeout", "down", [row.line for row in down], facts)


def _clients_gone(paste: Paste, sessions: Sequence[ConsoleRow]) -> Iterator[ConsoleFinding]:
    """Busy sessions whose connection is in CLOSE-WAIT, or missing in the server's own list of sockets."""
    ports = {row.get("client_port"): row for row in sessions if (row.number("client_port") or -1) > 0}
    for host in paste.hosts:
        connected = {s.peer[1]: s for s in host.sockets() if s.state not in ("LISTEN", "TIME-WAIT")}
        here = ports.keys() & connected.keys()
        # The other sessions must be found, or this is another host, or a part of its list.
        if not here or 2 * len(here) < len(ports):
            continue
        busy = [
            row
            for row in ports.values()
            if row.get("state") == "active" or row.get("state").startswith(_IN_TRANSACTION)
        ]
        gone = [row for row in busy if row.get("client_port") not in connected and not _asks(row)]
        closed = [
            row for row in busy if (s := connected.get(row.get("client_port"))) and s.state == "CLOSE-WAIT"
        ]
        if gone or closed:
            facts = {
                "count": plural(len(gone + closed), "session"),
                "client": (gone + closed)[0].get("client_port"),
            }
            lines = [row.line for row in closed + gone] + [
                connected[row.get("client_port")].line for row in closed
            ]
            yield ConsoleFinding("client_gone", "session" if closed else "missing", lines, facts)


def _asks(row: ConsoleRow) -> bool:
    """The session that made this very list."""
    return "pg_stat_activity" in row.get("query") or (
        not row.get("wait_event") and row.get("query")[:11].lower() == "select pid,"
    )


def _near_max(paste: Paste, sessions: Sequence[ConsoleRow]) -> Iterator[ConsoleFinding]:
    """Connections and their limit, where the paste has both."""
    limits = paste.series("max_connections")
    limit = limits[-1].numbers[0] if limits and limits[-1].numbers else None
    used = paste.series("Threads_connected")
    most = paste.series("Max_used_connections")
    if limit and most and most[-1].numbers and most[-1].numbers[0] >= limit:
        facts = {"count": number(most[-1].numbers[0]), "limit": number(limit)}
        yield ConsoleFinding("connections_near_max", "reached", [most[-1].line, limits[-1].line], facts)
    elif limit and used and used[-1].numbers and used[-1].numbers[0] >= NEAR_MAX * limit:
        facts = {"count": number(used[-1].numbers[0]), "limit": number(limit)}
        yield ConsoleFinding("connections_near_max", "says", [used[-1].line, limits[-1].line], facts)
    elif limit and not used and not most:
        yield from _postgres_near_max(paste, sessions, limit, limits[-1].line)
    for names, maximum in (
        (("connected_clients",), "maxclients"),
        (("lists.used_clients",), "max_client_conn"),
    ):
        now, top = paste.number(*names), paste.number(maximum)
        if now is not None and top and now >= NEAR_MAX * top:
            lines = [paste.series(*names)[-1].line, paste.series(maximum)[-1].line]
            yield ConsoleFinding(
                "connections_near_max", "says", lines, {"count": number(now), "limit": number(top)}
            )
    rejected = paste.series("rejected_connections")
    if rejected and (refused := paste.number("rejected_connections")):
        yield ConsoleFinding(
            "connections_near_max", "rejected", [rejected[-1].line], {"count": number(refused)}
        )


def _postgres_near_max(
    paste: Paste, sessions: Sequence[ConsoleRow], limit: float, line: int
) -> Iterator[ConsoleFinding]:
    reserved = (paste.number("superuser_reserved_connections") or RESERVED) + (
        paste.number("reserved_connections") or 0
    )
    counts = [
        row for row in paste.rows if row.has("count") and (row.has("state") or _counts_sessions(paste, row))
    ]
    listed = [
        row
        for row in sessions
        if row.get("pid") and row.get("backend_type") in ("", "client backend") and row.get("state")
    ]
    counted = paste.number(
        "numbackends", "used", "connections", "sum_numbackends", "total", "current_connections"
    )
    lines = [line]
    if counts:
        # One table of counts is one snapshot.
        last = max(row.table for row in counts)
        counted = sum(row.number("count") or 0 for row in counts if row.table == last)
        lines += [row.at("count") for row in counts if row.table == last]
    elif counted is None and listed:
        last = max(row.table for row in listed)
        counted = sum(row.table == last for row in listed)
    if counted is not None and counted >= NEAR_MAX * (limit - reserved):
        facts = {"count": number(counted), "limit": f"{number(limit)} ({number(reserved)} of them reserved)"}
        yield ConsoleFinding("connections_near_max", "says", lines, facts)


def _counts_sessions(paste: Paste, row: ConsoleRow) -> bool:
    """`select count(*) from pg_stat_activity` at the prompt before it, or a count alone beside the limit."""
    before = [command for line, command in paste.commands if line < row.line]
    return len(row.cells) <= 2 and (
        not before or "pg_stat_activity" in before[-1] or "count" not in before[-1]
    )


def most_common(words: Sequence[str]) -> str:
    """The word that occurs most."""
    return Counter(words).most_common(1)[0][0]
