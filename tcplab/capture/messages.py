"""The last words of a database server: error messages of PostgreSQL, MySQL, MariaDB and Redis in payloads.

PostgreSQL's ErrorResponse and NoticeResponse have fields S (severity, translated), V (severity, since 9.6),
C (SQLSTATE) and M (text): src/backend/utils/error/elog.c:send_message_to_frontend. MySQL's and MariaDB's
ERR packet has a number and, after the handshake, a SQLSTATE (sql/protocol_classic.cc:net_send_error_packet).
Redis answers with a line that begins with ``-`` (RESP). Nothing can be read of a session that uses TLS.
MariaDB 10.11 closes without a message after KILL and at a shutdown, also while it runs a statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

#: Bytes that are kept of a message, and characters of its text that are shown.
KEPT, SHOWN = 512, 200
#: Messages that are kept of a file; of those after which a session goes on only the last of each direction.
MOST_MESSAGES = 65_536
#: How a payload with an error message begins: type, length below 64 KiB, and the severity's field; a packet
#: below 64 KiB with an error number from 1000 to 8191; an error code in capital letters.
BEGINS = re.compile(rb"[EN]\0\0..S|..\0.\xff.[\x03-\x1f]|-[A-Z]{2}", re.S)
POSTGRES, MYSQL, REDIS = "PostgreSQL", "MySQL", "Redis"


class ServerMessage(NamedTuple):
    """An error message that a server sent."""

    protocol: str
    #: `FATAL`, `ERROR`, `WARNING` …, not translated where the server says so; empty outside PostgreSQL.
    severity: str
    #: SQLSTATE; MySQL's error number and SQLSTATE, ``1045 (28000)``; Redis's error code.
    code: str
    text: str
    #: The server ends the session with it.
    ends: bool

    @property
    def interrupts(self) -> bool:
        """A statement was interrupted: the session ends with it where the server then closes at once."""
        return self.protocol == MYSQL and self.code.split()[0] in INTERRUPTED

    @property
    def quoted(self) -> str:
        """``FATAL 57P01 “terminating connection due to administrator command”``."""
        text = re.sub(r"[“”\"]", "'", self.text)
        text = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
        return f"{self.severity} {self.code} “{text}”".strip()

    def to_json(self) -> dict[str, Any]:
        """As `tcplab diagnose --json` prints it."""
        return self._asdict()


class Meaning(NamedTuple):
    """What a message means: what happened, what sends the same message, what it leaves open."""

    code: str
    #: What the text contains, in lower case; empty: anything.
    text: str
    says: str
    same: str = ""
    open: str = ""


_LOGIN = "the login was rejected", "A wrong name and a wrong password can get the same message."
_STOP = "Whether it was stopped on purpose: see the server’s log and the service manager’s."
_FULL = "Which clients held the others: count sessions by host and program on the server."
#: The first that fits counts. Sources: PostgreSQL's errcodes.txt and tcop/postgres.c, MySQL's
#: messages_to_clients.txt, MariaDB's errmsg-utf8.txt, Redis's networking.c.
MEANINGS = (
    Meaning("57P01", "postmaster exit", "its main process, the postmaster, was gone",
            "A crash of the postmaster, kill -9 and the kernel’s OOM killer leave the same message.",
            "Why the postmaster ended: see the kernel’s log and the server’s."),
    Meaning("57P01", "immediate shutdown", "it was stopped at once, without a clean shutdown",
            "pg_ctl stop -m immediate and a SIGQUIT from a service manager send the same message.", _STOP),
    Meaning("57P01", "", "an administrator ended the session or stopped the server",
            "pg_terminate_backend(), pg_ctl stop -m fast and a restart send the same message.",
            "Who did it: see the server’s log; a stop ends all sessions at once."),
    Meaning("57P02", "", "another of its processes crashed, and it ended all sessions to recover",
            "A bug, kill -9 of one backend and the kernel’s OOM killer send the same message.",
            "Which process crashed: see the server’s log before this time."),
    Meaning("57P03", "", "it was starting, stopping or in recovery and took no sessions",
            "A restart, a failover and a standby that is not ready can send the same message."),
    Meaning("57P04", "", "the database was dropped"),
    Meaning("57P05", "", "idle_session_timeout ended the session",
            "Only that setting sends this message, set for the server, the role or the session."),
    Meaning("25P03", "", "idle_in_transaction_session_timeout ended the session",
            "Only that setting sends this message, set for the server, the role or the session."),
    Meaning("25P04", "", "transaction_timeout ended the session",
            "Only that setting sends this message, set for the server, the role or the session."),
    Meaning("53300", "", "all connection slots were taken",
            "The limits of the server, of a database and of a role send the same code.", _FULL),
    Meaning("28", "", *_LOGIN),
    Meaning("3D000", "", "there is no database of that name"),
    Meaning("08P01", "server conn crashed", "PgBouncer lost its own connection to the database",
            "A database that crashed, was stopped, or was cut off from PgBouncer leads to the same message.",
            "What happened behind PgBouncer: a capture between it and the database shows it."),
    Meaning("1040", "", "all connections that max_connections allows were taken", "", _FULL),
    Meaning("1044", "", "the account has no rights to the database that it asked for"),
    Meaning("1045", "", *_LOGIN),
    Meaning("1049", "", "there is no database of that name"),
    Meaning("1053", "", "the server was shutting down", "A stop and a restart send the same message.", _STOP),
    Meaning("1129", "", "the server blocks this host after too many connection errors (max_connect_errors)"),
    Meaning("1130", "", "no account allows this host to connect"),
    Meaning("1152", "", "the server aborted the connection"),
    Meaning("1317", "", "a running statement was interrupted and the session ended",
            "KILL of the session and a stop of the server can send the same message.",
            "Who did it: the server’s log does not always name the session that used KILL."),
    Meaning("1698", "", *_LOGIN),
    Meaning("1927", "", "the session was ended with KILL", "",
            "Who did it: the server’s log does not always name the session that used KILL."),
    Meaning("2013", "", "the session was lost while a statement ran",
            "A proxy that lost its own connection to the server, and KILL, can send the same message.",
            "What happened behind a proxy: a capture between it and the server shows it."),
    Meaning("3169", "", "the session was ended with KILL"),
    Meaning("4031", "", "wait_timeout or interactive_timeout ended the idle session",
            "Both settings send the same message."),
    Meaning("DENIED", "protected mode",
            "protected mode lets only clients on its own host in while no password is set"),
    Meaning("ERR", "max number of clients", "all connections that maxclients allows were taken", "", _FULL),
)  # fmt: skip
#: Numbers of MySQL's and MariaDB's messages after which the server closes.
ENDING = {"1040", "1053", "1129", "1130", "1152", "1927", "3169", "4031"}
#: Those of an interrupted statement: the session goes on after KILL QUERY, and not after KILL.
INTERRUPTED = {"1317", "2013"}
#: Those after which it closes at the login; a statement can get the same number, and the session goes on.
AT_LOGIN = {"1044", "1045", "1049", "1698"}


def meaning_of(message: ServerMessage) -> Meaning | None:
    """What a message means; None for one that is not in the table."""
    text = message.text.lower()
    fitting = (m for m in MEANINGS if message.code.startswith(m.code) and m.text in text)
    return next(fitting, None)


def read_message(payload: bytes) -> ServerMessage | None:
    """The error message at the beginning of a payload; None where there is none."""
    if not BEGINS.match(payload):
        return None
    # The first byte of MySQL's packet is a length, and so any character.
    return _postgres(payload) or _mysql(payload) or _redis(payload)


def _postgres(payload: bytes) -> ServerMessage | None:
    """The last error or notice among PostgreSQL's messages at the beginning of a payload."""
    found, at = None, 0
    while payload[at + 5 : at + 6] == b"S" and payload[at : at + 1] in (b"E", b"N") and at + 5 < len(payload):
        body = payload[at + 5 : at + 1 + int.from_bytes(payload[at + 1 : at + 5])]
        fields = {part[:1]: _text(part[1:]) for part in body.split(b"\0") if part}
        severity = fields.get(b"V") or fields.get(b"S", "")
        if not re.fullmatch(r"[0-9A-Z]{5}", fields.get(b"C", "")):
            break
        code = fields[b"C"]
        # quickdie() sends a WARNING and then ends the session.
        ends = severity in ("FATAL", "PANIC") or (payload[at : at + 1] == b"N" and code.startswith("57P"))
        found = ServerMessage(POSTGRES, severity, code, fields.get(b"M", ""), ends)
        at += 1 + int.from_bytes(payload[at + 1 : at + 5])
    return found


def _mysql(payload: bytes) -> ServerMessage | None:
    if payload[4:5] != b"\xff":
        return None
    body = payload[4 : 4 + int.from_bytes(payload[:3], "little")]
    number, text = int.from_bytes(body[1:3], "little"), body[3:]
    state = ""
    if text[:1] == b"#":
        state, text = _text(text[1:6]), text[6:]
    if not 1000 <= number < 8192 or not text or not _text(text).isprintable():
        return None
    # What answers no command has the number 0: a refusal instead of a greeting, or an end on its own. An
    # answer to the login has 2 or more, the error of a statement 1.
    ends = str(number) in ENDING or not payload[3] or (str(number) in AT_LOGIN and payload[3] > 1)
    return ServerMessage(MYSQL, "", f"{number} ({state})" if state else str(number), _text(text), ends)


def _redis(payload: bytes) -> ServerMessage | None:
    line, end, _ = payload.partition(b"\r\n")
    match = re.fullmatch(r"-([A-Z]+) (.+)", _text(line))
    # The advice of protected mode is longer than what is kept.
    if match is None or not (end or len(payload) >= KEPT):
        return None
    ends = "max number of clients" in match[2] or match[1] == "DENIED"
    return ServerMessage(REDIS, "", match[1], match[2], ends)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


class Messages:
    """Collects the payloads of a file that are error messages, by the number of their frame."""

    def __init__(self) -> None:
        self._ending: dict[int, bytes] = {}
        #: The last message of each direction after which its session goes on.
        self._last: dict[Any, tuple[int, bytes]] = {}

    def add(self, frame: int, direction: Any, payload: bytes) -> None:
        """Keep a payload that is a message; `direction` is any key of one direction of a connection."""
        message = read_message(payload)
        if message is None:
            return
        if message.ends and len(self._ending) < MOST_MESSAGES:
            self._ending[frame] = payload[:KEPT]
        elif direction in self._last or len(self._last) < MOST_MESSAGES:
            self._last[direction] = frame, payload[:KEPT]

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        yield from self._ending.items()
        yield from self._last.values()
