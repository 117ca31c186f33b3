"""What to change, in the files that somebody has: a unified diff for each, and the fewest remedies that help.

A value is changed where it is; a setting that is in no file goes beside one of the same product, written as
that one is. What no file has becomes a file of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import unified_diff
from typing import Any

from tcplab.advice.advice import Remedy
from tcplab.advice.environment import Environment
from tcplab.advice.race import race
from tcplab.advice.reading import SECRET, ReadFile, ReadLine, read_file, split
from tcplab.advice.settings import Change, texts
from tcplab.core.catalogue import TIMES

_VALUE = re.compile(r"([=:]\s*)\S.*")
_IN_URL = re.compile(r"((?:passw\w*|pwd|secret|token)=)[^&\s]*", re.IGNORECASE)
_LOGIN = re.compile(r"(://|^)([^\s/@:]+):[^\s/@]+@", re.MULTILINE)


def with_remedies(environment: Environment, remedies: Iterable[Remedy]) -> Environment:
    """The environment with all of them."""
    settings = {change.key: change.value for remedy in remedies for change in remedy.changes}
    return replace(environment, settings={**environment.settings, **settings})


def suggested(environment: Environment, remedies: Sequence[Remedy]) -> tuple[Remedy, ...]:
    """The fewest of these remedies that mend what they can: one by one the best, last resorts at the end."""
    chosen: list[Remedy] = []
    rest, left = list(remedies), len(race(environment).broken)
    for is_last in (False, True):
        while tries := [
            (len(race(with_remedies(environment, [*chosen, remedy])).broken), i)
            for i, remedy in enumerate(rest)
            if remedy.is_last == is_last
        ]:
            fewest, i = min(tries)
            if fewest >= left:
                break
            left = fewest
            chosen.append(rest.pop(i))
    for remedy in list(chosen):
        # One that was chosen early may be a part of what a later one does.
        without = [each for each in chosen if each is not remedy]
        if len(race(with_remedies(environment, without)).broken) <= left:
            chosen = without
    return tuple(chosen)


def without_secrets(files: Iterable[ReadFile], given: Mapping[str, str]) -> dict[str, str]:
    """Texts by the names of the files that were read from them, without their passwords."""
    parts = {name: text for whole, text_ in given.items() for name, text in split(text_, whole)}
    secret = {file.name: {line.number for line in file.of(SECRET)} for file in files}
    made = {}
    for name, text in parts.items():
        lines = text.splitlines()
        for number in secret.get(name, ()):
            is_url = "://" in lines[number - 1]
            lines[number - 1] = (_IN_URL if is_url else _VALUE).sub(r"\1…", lines[number - 1])
        made[name] = _LOGIN.sub(r"\1\2:…@", "\n".join(lines))
    return made


def changed_files(given: Mapping[str, str], changes: Sequence[Change]) -> dict[str, str]:
    """The texts after these changes, by name; new files are named after their kind."""
    made = {name: text.splitlines() for name, text in given.items()}
    rest = []
    for change in changes:
        files = [read_file(name, "\n".join(lines)) for name, lines in made.items()]
        if not (_replaced(made, files, change) or _added(made, files, change)):
            rest.append(change)
    after = {name: "\n".join(lines) for name, lines in made.items()}
    return after | {f"{kind} (new)": text.rstrip("\n") for kind, text in texts(rest).items()}


def diffs(given: Mapping[str, str], changes: Sequence[Change]) -> dict[str, str]:
    """A unified diff for each file that changes; `given` are texts without passwords."""
    made = {}
    for name, text in changed_files(given, changes).items():
        before = given.get(name, "").splitlines()
        was = name if name in given else "/dev/null"
        lines = unified_diff(before, text.splitlines(), was, name.removesuffix(" (new)"), n=1, lineterm="")
        if diff := "\n".join(lines):
            made[name] = diff + "\n"
    return made


def _text_of(change: Change) -> str:
    value: Any = change.value
    if isinstance(value, bool):
        return str(value).lower()
    return (
        f"{value}{change.setting.unit}"
        if change.file == "haproxy" and change.setting.unit in TIMES
        else f"{value}"
    )


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"({re.escape(name)}[\"']?\s*(?:[:=]|\s)\s*[\"']?)([^\s\"',;&(){{}}]+)")


def _replaced(made: Mapping[str, list[str]], files: Iterable[ReadFile], change: Change) -> bool:
    """Whether the setting is in a file: then it has the new value, wherever it is."""
    done = False
    for file in files:
        for line in file.lines:
            if line.key != change.key or line.value is None:
                continue
            lines, at = made[file.name], line.number - 1
            # In YAML an environment variable's value is on the next line.
            for i, name in ((at, line.name), (at + 1, "value"), (at, "value")):
                if i < len(lines) and (match := _pattern(name).search(lines[i])):
                    lines[i] = lines[i][: match.start(2)] + _text_of(change) + lines[i][match.end(2) :]
                    done = True
                    break
    return done


def _added(made: Mapping[str, list[str]], files: Iterable[ReadFile], change: Change) -> bool:
    """Whether a file has another setting of the product: then the new one is beside it, written like it."""
    product = change.setting.product.key
    for file in files:
        beside = [
            line for line in file.lines if line.key.startswith(f"{product}.") and line.form != "variable"
        ]
        for line in reversed(beside):
            lines, at = made[file.name], line.number - 1
            match = _pattern(line.name).search(lines[at])
            if match is None:
                continue
            if line.form == "url":
                more = f"&{change.setting.name}={_text_of(change)}"
                lines[at] = lines[at][: match.end(2)] + more + lines[at][match.end(2) :]
                return True
            if _is_alone(lines[at], line, match):
                own = lines[at][: match.start()] + match[1].replace(line.name, change.setting.name)
                lines.insert(at + 1, own + _text_of(change) + lines[at][match.end(2) :])
                return True
    return False


def _is_alone(text: str, line: ReadLine, match: re.Match[str]) -> bool:
    """Whether the line has this setting only, so that another one can have a line like it."""
    return re.fullmatch(r"[\"',;\s]*(?:[#;].*)?", text[match.end(2) :]) is not None
