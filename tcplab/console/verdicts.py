"""Verdicts: what a paste means, ranked, each with its evidence, lesson and fix.

The texts and their order are those of codes.toml; the numbers come from the paste.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from tcplab.console.connections import ConsoleFinding, check_sockets
from tcplab.console.counters import check_counters
from tcplab.console.paste import Paste, read
from tcplab.console.sessions import check_sessions
from tcplab.core.knobs import ParameterError
from tcplab.core.text import plural

#: How many lines are quoted for a verdict, how much of each, and how many sentences it has.
QUOTED, WIDTH, SENTENCES = 5, 240, 3
#: Codes that do not rule out `healthy`.
_NO_FAULT = frozenset({"timers_not_shown"})
READS = (
    "ss, netstat (also of Windows and macOS), nstat, netstat -s, sysctl, /proc/net/sockstat, "
    "pg_stat_activity, SHOW PROCESSLIST, PgBouncer's and HAProxy's tables, Redis' INFO, dmesg"
)


@dataclass(frozen=True)
class CodeTexts:
    """What is said about a code."""

    name: str
    title: str
    #: The lesson's name without number; empty for `healthy`.
    lesson: str
    fix: str
    #: Wording -> template.
    says: dict[str, str]
    lesson_server: str = ""
    #: Wordings that are not certain.
    perhaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class QuotedLine:
    """A line of the paste as evidence."""

    #: Which paste, from 1, and the line in it.
    paste: int
    line: int
    text: str


@dataclass(frozen=True)
class ConsoleVerdict:
    """One thing that the paste means."""

    code: str
    title: str
    says: str
    #: Not certain from this paste.
    perhaps: bool
    #: At most `QUOTED`; `lines` is how many there are.
    evidence: tuple[QuotedLine, ...]
    lines: int
    lesson: str
    fix: str

    @property
    def sentence(self) -> str:
        """What it means, marked where that is not certain."""
        return f"Perhaps: {self.says}" if self.perhaps else self.says

    def to_json(self) -> dict[str, Any]:
        """As `tcplab console --json` prints it."""
        quoted = [{"line": quote.line, "text": quote.text, "paste": quote.paste} for quote in self.evidence]
        return {
            "code": self.code,
            "says": self.sentence,
            "evidence": quoted,
            "lesson": self.lesson or None,
            "fix": self.fix,
        }


@dataclass(frozen=True)
class Explanation:
    """What a paste means."""

    #: The worst first; never empty.
    verdicts: tuple[ConsoleVerdict, ...]
    #: Lines that were understood, and the others.
    understood: int
    unknown: tuple[QuotedLine, ...]

    @property
    def rest(self) -> str:
        """The sentence about lines that were not understood; empty when there are none."""
        if not self.unknown:
            return ""
        named = "; ".join(f"{quote.line}: {quote.text[:60]}" for quote in self.unknown[:3])
        more = ", …" if len(self.unknown) > 3 else ""
        return f"{plural(len(self.unknown), 'line')} not understood ({named}{more})."


def _texts() -> dict[str, Any]:
    return tomllib.loads(files("tcplab.console").joinpath("codes.toml").read_text(encoding="utf-8"))


@cache
def examples() -> dict[str, str]:
    """Pastes to try, by what they show."""
    return {row["title"]: row["text"].strip() for row in _texts()["example"]}


@cache
def codes() -> dict[str, CodeTexts]:
    """Every code by its name, worst first."""
    return {
        row["name"]: CodeTexts(**{**row, "perhaps": tuple(row.get("perhaps", ()))})
        for row in _texts()["code"]
    }


def explain(*texts: str) -> Explanation:
    """What a pasted console means. Raises `ParameterError` when nothing of it is understood.

    Several texts are snapshots of the same thing in the order in which they were taken: they show what grows.
    """
    paste = read(*texts)
    if not paste.understood:
        if not any(text.strip() for text in texts):
            raise ParameterError("There is nothing to read: paste the output of a command.")
        count = plural(len(paste.unknown), "line")
        raise ParameterError(f"None of {count} is understood. What can be read: {READS}.")
    groups: dict[str, list[ConsoleFinding]] = defaultdict(list)
    for check in (check_sockets, check_sessions, check_counters):
        for finding in check(paste):
            groups[finding.code].append(finding)
    if not groups.keys() - _NO_FAULT:
        groups["healthy"] = [
            ConsoleFinding("healthy", "says", (), {"lines": plural(paste.understood, "line")})
        ]
    verdicts = [_verdict(texts, groups[name], paste) for name, texts in codes().items() if name in groups]
    unknown = tuple(
        QuotedLine(*paste.place(line.number), line.text.strip()[:WIDTH]) for line in paste.unknown
    )
    return Explanation(tuple(verdicts), paste.understood, unknown)


def _verdict(texts: CodeTexts, findings: Sequence[ConsoleFinding], paste: Paste) -> ConsoleVerdict:
    said = list(dict.fromkeys(texts.says[each.wording].format_map(each.facts) for each in findings))
    more = len(said) - SENTENCES
    sentence = " ".join(said[:SENTENCES]) + (f" And {more} more." if more > 0 else "")
    # A line of each finding first, so that each has its evidence.
    columns = [list(dict.fromkeys(each.lines)) for each in findings]
    lines = list(dict.fromkeys(line for column in columns for line in column[:1]))
    lines += [
        line
        for line in dict.fromkeys(line for column in columns for line in column)
        if line not in set(lines)
    ]
    quoted = tuple(
        QuotedLine(*paste.place(line), paste.text(line).strip()[:WIDTH]) for line in sorted(lines[:QUOTED])
    )
    server = texts.lesson_server and findings[0].side == "server"
    return ConsoleVerdict(
        texts.name,
        texts.title,
        sentence,
        all(each.wording in texts.perhaps for each in findings),
        quoted,
        len(lines),
        texts.lesson_server if server else texts.lesson,
        texts.fix,
    )


def where(quote: QuotedLine) -> str:
    """`line 12`; `line 3 of paste 2`."""
    return f"line {quote.line}" + (f" of paste {quote.paste}" if quote.paste > 1 else "")


def decode(content: bytes) -> str:
    """A file's text: UTF-8, UTF-16 with its mark (PowerShell's `>`), or a Windows console's code page."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # 0x80 to 0x9f are letters in a console (Ö is 0x99) and controls or signs elsewhere.
        page = "cp850" if any(0x80 <= byte <= 0x9F for byte in content) else "cp1252"
        return content.decode(page, "replace")


def lines_of(explanation: Explanation) -> list[str]:
    """The explanation for a terminal."""
    said = []
    for place, verdict in enumerate(explanation.verdicts, 1):
        said.append(f"{place}. {verdict.title} ({verdict.code})")
        said.append(f"   {verdict.sentence}")
        said += [f"   {where(quote)}: {quote.text}" for quote in verdict.evidence[:3]]
        if verdict.lines > 3:
            said.append(f"   … {verdict.lines} lines in all")
        if verdict.fix:
            said.append(f"   What to do: {verdict.fix}")
        if verdict.lesson:
            said.append(f"   Lesson: {verdict.lesson}")
        said.append("")
    return [*said, explanation.rest] if explanation.rest else said[:-1]
