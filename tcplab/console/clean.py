"""A paste becomes lines: without colours, quotes, line numbers, log prefixes and prompts.

What follows a prompt is kept as the command: it says whether `-o` was asked for, and which state a filter
selects. Line numbers are those of the paste.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

#: Terminal control: colours and cursor (CSI), titles (OSC).
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)
_QUOTE = re.compile(r"^\s{0,3}(?:>\s?)+")
_FENCE = re.compile(r"^\s*(?:```|~~~)\S*\s*$")
_NUMBERED = re.compile(r"^\s*(\d{1,6})(\s*[|:│]\s?|\t|\s{1,2}(?=\S))")
#: A name of a pod, container or host that a tool puts before every line; never a state, a protocol or a
#: number.
_NAME = re.compile(r"\[pod/\S+\]|(?=\S*[-_.\d])(?=\S*[a-z])[a-z0-9][\w.-]*[\w\]]|\|")
_MAY_BE_NAMED = re.compile(r"\s*(?:\[pod/|[a-z0-9][\w.-]*[-_.\d]|\S+\s+\|)")
#: Programs whose output is read here, and those that people run before or around them.
_PROGRAMS = frozenset(
    "ss netstat nstat sysctl cat date conntrack dmesg journalctl kubectl docker podman crictl nsenter "  # noqa: SIM905
    "watch sudo for while echo printf lsof grep egrep zgrep head tail psql mysql mariadb mysqladmin "
    "redis-cli valkey-cli pgbouncer "
    "uptime awk sort oc ip hostname ssh timeout env time bash sh sleep uname less more tee netsh chcp "
    "powershell get-nettcpconnection show socat kill clear ls top ping exit".split()
)
_SQL = re.compile(
    r"(?:select|show|with|table|explain|set|use|info|client|config|begin|update|insert|delete|kill|status)\b|\\\w",
    re.I,
)
_SHELL_PROMPT = re.compile(
    r"""^\s*(?P<prompt>(?:\([^)]*\)\s*)? (?:
        \[[^\]\s]*@[^\]]*\]\s?[\#$%] | [A-Za-z]:\\[^>|]*> | PS\s[^>|]*> |
        [\w.-]+(?:@[\w.-]+)?[: ]\S*\s?[\#$%>] | [\w.-]+@[\w.-]+\s?[\#$%>] | [\w.-]+-\d[\d.]*[\#$] |
        [~/]\S*\s?[\#$%] | [\#$%❯➜] ))\s*(?P<command>\S.*)?$""",
    re.VERBOSE,
)
_SQL_PROMPT = re.compile(
    r"""^\s*(?P<prompt>(?:mysql|MySQL|mariadb|MariaDB|Admin|ProxySQL\w*)\b[^>|]{0,40}> |
        [\w.@-]+(?:[=\-'("*!^][\#>*]|=\#|=>) | [\w.-]+:\d+(?:\[\d+\])?> | SQL>)
        \s*(?P<command>\S.*)?$""",
    re.VERBOSE,
)
#: How a command that is read here begins, where it has no prompt.
_TYPED = frozenset({"ss", "ne", "ns", "sy", "co", "ku", "do"})
_HOST = re.compile(r"@([\w.-]+)|^\s*(?!PS )([A-Za-z][\w.-]+)[: ]")


@dataclass(frozen=True, slots=True)
class PasteLine:
    """One line of a paste."""

    #: From 1, as the paste has it.
    number: int
    #: Cleaned; empty for a prompt with its command.
    text: str
    #: What was typed at the prompt of this line; None where the line is no prompt.
    command: str | None = None
    #: The host that the prompt names.
    host: str = ""


def clean(text: str) -> list[PasteLine]:
    """The lines of a paste, in order; a line that only had a fence is empty."""
    lines = [_CONTROL.sub("", line) for line in text.split("\n")]
    lines = [line.replace("\r", "").replace("\xa0", " ").replace("\ufeff", "").rstrip() for line in lines]
    lines = ["" if _FENCE.match(line) else line for line in lines]
    if any(line.lstrip().startswith(">") for line in lines):
        lines = [_QUOTE.sub("", line) if _QUOTE.match(line) else line for line in lines]
        lines = ["" if _FENCE.match(line) else line for line in lines]
    lines = _without_names(_without_numbers(lines))
    return [_prompt(number, line) for number, line in enumerate(lines, 1)]


def _without_numbers(lines: list[str]) -> list[str]:
    """The same lines when each begins with its own number: copied from an editor, a pager or `nl`."""
    found = [(line, _NUMBERED.match(line)) for line in lines if line.strip()]
    if len(found) < 3 or any(match is None for _, match in found):
        return lines
    numbers = [int(match[1]) for _, match in found if match]
    marks = {match[2].strip() for _, match in found if match}
    steps = sum(0 < later - earlier <= 2 for earlier, later in pairwise(numbers))
    # `1 LISTEN`, `2 ESTAB` of uniq -c, and /proc/net/tcp's own `0:`, have numbers that mean something.
    if steps < 0.95 * (len(numbers) - 1) or (numbers[0] > 1 and not marks <= {"|", "│", ":"}):
        return lines
    if marks == {":"} and re.match(r"^\s*\d+: [0-9A-F]{8}", found[-1][0]):
        return lines
    return [_NUMBERED.sub("", line, count=1) for line in lines]


def _without_names(lines: list[str]) -> list[str]:
    """The same lines without the pod, container or host that all of them begin with."""
    full = [line for line in lines if line.strip()]
    if len(full) < 2 or not any(map(_MAY_BE_NAMED.match, full[:9])):
        return lines
    for count in (3, 2, 1):
        heads: Counter[str] = Counter()
        for line in full:
            heads[" ".join(line.split(None, count)[:count])] += 1
        # Several pods may stand in one paste; each of their names must begin more than one line.
        names = {head for head, times in heads.items() if times > 1 and _is_name(head)}
        if names and sum(heads[name] for name in names) >= 0.9 * len(full) and len(names) <= 8:
            drop = re.compile(rf"^\s*(?:\S+\s+){{{count - 1}}}\S+(?:\s|$)")
            return [
                drop.sub("", line, count=1) if " ".join(line.split(None, count)[:count]) in names else line
                for line in lines
            ]
    return lines


def _is_name(head: str) -> bool:
    words = head.split()
    if not words[0].startswith("[pod/") and words[-1] != "|" and not (len(words) == 2 and "-" in words[0]):
        return False
    return all(_NAME.fullmatch(word) or (place and word.islower()) for place, word in enumerate(words))


def _prompt(number: int, line: str) -> PasteLine:
    """The line, or the command that it shows behind a prompt."""
    if not line or line[0] in "|+" or len(line) > 4000:
        return PasteLine(number, line)
    if line.startswith("Every ") and (watch := re.match(r"Every \d+[.,]\d+s: (.*?)(?:\s{2,}|$)", line)):
        return PasteLine(number, line[watch.end() :].strip(), watch[1])
    if not any(mark in line for mark in "#$%>❯➜"):
        return PasteLine(number, line) if line[:2] not in _TYPED else _typed(number, line)
    match = _SQL_PROMPT.match(line)
    if match and (not match["command"] or _SQL.match(match["command"])):
        return PasteLine(number, "", match["command"] or "")
    match = _SHELL_PROMPT.match(line)
    if match and (not match["command"] or _runs_a_program(match["command"])):
        # A host's name, or `#` alone, which also begins a comment.
        if not match["command"] and match["prompt"].strip() in ("#", "%"):
            return PasteLine(number, "")
        host = _HOST.search(match["prompt"].split("[")[-1] if "@" in match["prompt"] else match["prompt"])
        return PasteLine(number, "", match["command"] or "", (host[1] or host[2] or "") if host else "")
    return _typed(number, line)


def _typed(number: int, line: str) -> PasteLine:
    """The line, or the command when it is one without a prompt: `ss -tano`, `kubectl exec web -- ss -tan`."""
    words = line.split()
    typed = words[0] in ("ss", "netstat", "nstat", "sysctl", "conntrack") and words[1:] and words[1][0] == "-"
    if typed or (words[0] in ("kubectl", "docker") and len(words) > 2):
        return PasteLine(number, "", line.strip())
    return PasteLine(number, line)


def _runs_a_program(command: str) -> bool:
    first = re.split(r"[\s;|&(]", command.strip(), maxsplit=1)[0].rsplit("/", 1)[-1].lower()
    return first.removesuffix(".exe").removesuffix(":") in _PROGRAMS


def flags(command: str, program: str) -> str:
    """The one-letter options of a program in a command: `tano` for `ss -tan -o`; `o` also for `--options`."""
    found = ""
    for part in re.split(r"[|;]|&&", command):
        words = part.split()
        names = [word.rsplit("/", 1)[-1].lower().removesuffix(".exe") for word in words]
        if program in names:
            for word in words[names.index(program) + 1 :]:
                if re.fullmatch(r"-[A-Za-z0-9]+", word):
                    found += word[1:]
                elif word in ("--options", "--timers"):
                    found += "o"
    return found


def is_one_of(command: str | None, programs: Sequence[str]) -> bool:
    """Whether a command runs one of these programs, also inside `kubectl exec` or behind `sudo`."""
    return bool(command) and any(
        re.search(rf"(?:^|[\s/;|&(]){name}(?:\.exe)?(?:\s|$)", command or "") for name in programs
    )
