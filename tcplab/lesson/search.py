"""Find the lesson that explains a message: ranked answers with their reasons, for a line or a whole log.

Three kinds of evidence are added. **Messages as programs print them** (messages.tsv): the words that a known
text and the query share, weighted by their rarity, as a share of both texts; several similar messages count
more than the most similar one. **Phrases** (symptoms.toml): words with the same meaning in any product's
message. **Error numbers**, by name or number, count as their texts. A time decides only where no message
matches. Addresses, ports, process IDs, timestamps and log prefixes are removed first.
"""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any, TypeAlias

from tcplab.core.text import UNITS_S, in_words, listed, plural, read_number
from tcplab.lesson.course import lessons, read_table

#: The answer's lesson where the cause is none of TCP.
NOT_TCP = "not_tcp"
PHASES = {
    "connecting": "while connecting",
    "idle": "after it lay idle",
    "waiting": "while waiting for an answer",
    "sending": "while sending",
    "log": "in the server's log",
    "any": "at any time",
}
#: Answers with at least this confidence are shown as sure.
SURE = 0.5
#: Lines of a log below this confidence are left out.
TROUBLE = 0.4
#: How many answers are given, and how many phrases count.
MOST, MOST_PHRASES = 5, 4
#: The groups of words of a phrase, each by form.
_Phrase: TypeAlias = tuple[dict[str, str], ...]

_UNITS = "|".join(sorted(UNITS_S, key=len, reverse=True))
_TIME = re.compile(rf"(?<![\w.,])(?:\d+(?:[.,]\d+)?\s*(?:{_UNITS})\b\s*)+")
#: Parts that differ from line to line without meaning: IDs, dates, times, addresses, ports, quoted names.
_NOISE = re.compile(
    r"""^[a-z]{3}\s+\d{1,2}\s\d\d:\d\d:\d\d\s\S+\s | \b(?:utc|gmt|cest|cet|est|edt|pst|pdt|bst|jst|ist)\b |
    0x[0-9a-f]+ | \b[0-9a-f]{8}-[0-9a-f-]{27}\b | \d{4}-\d\d-\d\d[t ]\d\d:\d\d:\d\d[.,\d]*\s?z? |
    \b\d\d:\d\d:\d\d(?:[.,]\d+)? | \[\d+\] | \(pid\s\d+\) | \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)? |
    :\d{2,5}\b | '[^']{1,40}'@'[^']*' | \b(?:port|thread|pid|conn|id)[\s=:\#]+\d+""",
    re.VERBOSE,
)
#: Spellings of one term, replaced before the text is split into words.
_SAME = (
    (re.compile(r"\btimed?[- ]?out\b"), "timeout"),
    (re.compile(r"\bcan(?:['’]t| ?not)\b|\bcould(?: not|n['’]t)\b|\bunable to\b"), "cannot"),
    (re.compile(r"end[- ]of[- ](?:file|stream)"), "eof"),
)
#: Forms of one word, and words for one thing.
_FORMS = {
    "timeouts": "timeout", "connections": "connection", "connecting": "connect", "failed": "fail",
    "failure": "fail", "failing": "fail", "closing": "close", "closed": "close", "closes": "close",
    "disconnected": "close", "disconnecting": "close", "reading": "read", "writing": "write",
    "sending": "send", "sent": "send", "receiving": "receive", "received": "receive", "resetting": "reset",
    "refuse": "refused", "refusing": "refused", "terminating": "terminated",
}  # fmt: skip
#: Words that occur in messages of every kind.
_STOP = frozenset(
    "the an of to on in is it at by for and or with from be was has had been this that are as its your my "  # noqa: SIM905
    "java org com net io sql exception error errors errno line note warning log fatal err code host port "
    "user".split()
)
_NONE: frozenset[str] = frozenset()
#: Words, numbers and SQL states (57P01).
_WORD = re.compile(r"\b\d[0-9a-z]{4}\b|[a-z_]{2,}|\b\d{2,5}\b")
#: An error number: a number in brackets or after a word for error.
_NUMBER = re.compile(r"(?:\(|\berrno:?\s*|\berror:?\s*|\bcode[ =:]*|\bos error )(\d{1,5})\b", re.IGNORECASE)
#: A query that is only a number: 99, (104).
_BARE = re.compile(r"[\s()]*(\d{1,5})[\s()]*")
#: A message that has more in common with the question than this is named as the reason.
_ALIKE = 0.75
#: How much a shared pair of neighbouring words counts beside the words themselves.
_NEIGHBOURS = 0.5
#: How many of the most similar messages count.
_HEARD = 5
#: The weight of the second, third … lesson of a message or phrase, relative to the one before.
_NEXT = 0.75
#: The weight of a time that one of the timers takes: less than that of a message.
_SECONDS = 0.35
#: The weight of a phrase whose words are not in the text: its error number has them.
_BY_NUMBER = 0.85
#: The least weight of a phrase whose words all occur.
_PHRASE = 0.4


@dataclass(frozen=True)
class Symptom:
    """One meaning, and what to do about it."""

    name: str
    #: Its best-known messages; `…` stands for what differs.
    texts: tuple[str, ...]
    #: Products that print them.
    who: str
    #: One of `PHASES`.
    phase: str
    #: Linux's error numbers behind them.
    errno: tuple[int, ...]
    #: Lessons by name, the likeliest first; none when it is not TCP.
    lessons: tuple[str, ...]
    #: One sentence, or two.
    cause: str
    #: The first command to run, and where and why.
    first: str
    where: str
    #: How this row was checked.
    checked: str
    #: Words that mean it in any product's message; `|` between alternatives.
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class KnownMessage:
    """A text as a program prints it."""

    symptom: str
    #: The likeliest first; `NOT_TCP` when it is none of TCP.
    lessons: tuple[str, ...]
    phase: str
    product: str
    text: str
    #: How it is known: measured with this version, seen in this report …
    source: str


@dataclass(frozen=True)
class PhaseMark:
    """A mark on the ruler of seconds."""

    #: The times; infinite for a wait that never ends.
    at: tuple[float, ...]
    #: True when anything from the first to the last of them counts.
    through: bool
    phase: str
    #: The symptom that it points to, by name.
    symptom: str
    lessons: tuple[str, ...]
    #: A few words for a picture.
    short: str
    says: str

    @property
    def label(self) -> str:
        """The times as printed: `1, 3, 7`, `127 to 135`, `never`."""
        if math.isinf(self.at[0]):
            return "never"
        return (" to " if self.through else ", ").join(f"{seconds:g}" for seconds in self.at)

    def fits(self, seconds: float) -> bool:
        """True when a clock may show `seconds` here: up to 5 % and 0.3 s late, at most 1 % early."""
        if self.through:
            return self.at[0] * 0.99 <= seconds <= self.at[-1]
        if math.isinf(seconds):
            return seconds in self.at
        return any(at * 0.99 <= seconds <= at * 1.05 + 0.3 for at in self.at)

    def nearness(self, seconds: float) -> float:
        """1 for one of its times, less the further `seconds` is from the nearest."""
        if self.through or math.isinf(seconds):
            return 1
        return 1 - min(abs(seconds - at) / max(seconds, at) for at in self.at if math.isfinite(at))


@dataclass(frozen=True)
class LessonAnswer:
    """A lesson that may explain a message."""

    #: Its name without the number, or `NOT_TCP`.
    lesson: str
    title: str
    #: One of `PHASES`.
    phase: str
    #: What happened, a sentence or two.
    says: str
    #: Why this lesson: the known message that is like it, error numbers, words, seconds.
    because: str
    #: 0 to 1; `SURE` and above: sure, below: perhaps.
    confidence: float
    #: What to run first.
    first_command: str
    #: How the known message was checked.
    source: str

    def to_json(self) -> dict[str, Any]:
        """As `tcplab symptom --json` prints it."""
        return asdict(self)


@dataclass(frozen=True)
class Logged:
    """A message of a log: how often it occurs, and when."""

    message: str
    count: int
    #: As the log writes the time of the first and of the last; empty where it writes none.
    first: str
    last: str
    answers: tuple[LessonAnswer, ...]

    def to_json(self) -> dict[str, Any]:
        """As `tcplab symptom - --json` prints it."""
        return asdict(self)


@dataclass(frozen=True)
class _Words:
    """A text taken apart: its words and its pairs of neighbouring words."""

    words: frozenset[str]
    pairs: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, text: str) -> _Words:
        words = words_of(text)
        return cls(frozenset(words), frozenset(pairwise(words)))


@dataclass(frozen=True)
class _Hit:
    """One piece of evidence: its strength, 0 to 1, and the lessons that it supports."""

    strength: float
    symptom: Symptom
    lessons: tuple[str, ...]
    phase: str
    because: str
    source: str
    #: It is a known message that is much like the question: the best reason to name.
    is_message: bool = False


@cache
def symptoms() -> tuple[Symptom, ...]:
    """Every row of symptoms.toml."""
    rows: list[dict[str, Any]] = [
        {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
        for row in read_table("symptoms.toml")["symptom"]
    ]
    return tuple(Symptom(**row) for row in rows)


@cache
def messages() -> tuple[KnownMessage, ...]:
    """Every message of messages.tsv, and the best-known ones of symptoms.toml."""
    text = files("tcplab.lesson").joinpath("messages.tsv").read_text(encoding="utf-8")
    listed = [
        KnownMessage(row["symptom"], tuple(row["lessons"].split(",")), row["phase"], row["product"],
                row["text"].replace("\\n", "\n").replace("\\t", "\t"), row["source"])
        for row in csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    ]  # fmt: skip
    known = [
        KnownMessage(row.name, row.lessons or (NOT_TCP,), row.phase, row.who, text, row.checked)
        for row in symptoms() for text in row.texts
    ]  # fmt: skip
    return (*listed, *known)


@cache
def errnos() -> dict[int, tuple[str, str]]:
    """Error number -> name and text."""
    return {row["number"]: (row["name"], row["text"]) for row in read_table("symptoms.toml")["errno"]}


@cache
def _winsock() -> dict[int, int]:
    """Error numbers of Windows sockets -> Linux's for the same."""
    rows = read_table("symptoms.toml")["errno"]
    return {row["winsock"]: row["number"] for row in rows if "winsock" in row}


@cache
def marks() -> tuple[PhaseMark, ...]:
    """The ruler of seconds, shortest first."""
    return tuple(
        PhaseMark(tuple(row["at"]), row.get("through", False), row["phase"], row["symptom"],
                  tuple(row["lessons"]), row["short"], row["says"])
        for row in read_table("symptoms.toml")["mark"]
    )  # fmt: skip


def times_in(query: str) -> list[float]:
    """Times with a unit in a text, in seconds; `for ever` is infinite."""
    text = query.lower()
    times = [seconds for part in _TIME.findall(text) if (seconds := read_number(part, "s")) is not None]
    return times + [math.inf] * bool(re.search(r"\b(never|for ?ever)\b", text))


def errnos_in(query: str) -> list[int]:
    """Linux's error numbers in a text: `(111)`, `Connection refused`; 111 for Windows' 10061."""
    numbers = [int(number) for number in _NUMBER.findall(_TIME.sub(" ", query))]
    numbers += [int(bare[1]) for bare in [_BARE.fullmatch(query)] if bare]
    words = set(re.findall(r"[a-z]{4,}", query.lower()))
    plain = query.lower()
    numbers += [
        number for number, (name, text) in errnos().items() if name.lower() in words or text.lower() in plain
    ]
    numbers = [_winsock().get(number, number) for number in numbers]
    return [number for number in dict.fromkeys(numbers) if number in errnos()]


def words_of(text: str, without: frozenset[str] = _STOP) -> list[str]:
    """The words of a message that tell it from others, in its order, in one form each."""
    plain = re.sub(r"([a-z]{2})([A-Z])", r"\1 \2", text).lower()
    plain = _TIME.sub(" ", _NOISE.sub(" ", plain))
    for pattern, word in _SAME:
        plain = pattern.sub(word, plain)
    words = [_FORMS.get(word, word) for word in _WORD.findall(plain)]
    return [word for word in words if word not in without]


def answers(query: str, phase: str = "", known: Sequence[KnownMessage] | None = None) -> list[LessonAnswer]:
    """The lessons that may explain a message, best first, at most `MOST`.

    `phase`: one of `PHASES`, when it is known; `known`: other messages than `messages()`, for tests.
    """
    hits = sorted(_hits(query, known), key=lambda hit: -hit.strength)
    if phase:
        hits = [hit for hit in hits if phase in (hit.phase, hit.symptom.phase) or hit.phase == "any"]
    scores: dict[str, float] = defaultdict(float)
    evidence: dict[str, _Hit] = {}
    for hit in hits:
        for place, lesson in enumerate(hit.lessons):
            scores[lesson] += hit.strength**2 * _NEXT**place
            best = evidence.get(lesson)
            if best is None or _reason(hit, lesson) > _reason(best, lesson):
                evidence[lesson] = hit
    if not scores:
        return []
    highest, surest = max(scores.values()), hits[0].strength
    ranked = sorted(scores, key=lambda lesson: -scores[lesson])[:MOST]
    return [
        _answer(lesson, evidence[lesson], query, surest * (scores[lesson] / highest) ** 1.5)
        for lesson in ranked
        if scores[lesson] > highest / 8
    ]


def _reason(hit: _Hit, lesson: str) -> tuple[bool, bool]:
    """How good a reason this is to name: a known message, and one that has the lesson first."""
    return hit.is_message, hit.lessons[0] == lesson


def question(found: Sequence[LessonAnswer]) -> str:
    """The one question that separates the two best answers; empty when the first is alone or not sure."""
    if len(found) < 2 or found[1].confidence < 0.6 * found[0].confidence:
        return ""
    asked = {frozenset(row["between"]): row["ask"] for row in read_table("symptoms.toml")["question"]}
    return asked.get(frozenset(answer.lesson for answer in found[:2]), "")


def read_log(
    lines: Iterable[str], progress: Callable[[int], None] = lambda done: None
) -> tuple[list[Logged], int]:
    """The messages of a log, each once, in order of first appearance; and the number of the other lines.

    Two lines are the same message when only numbers, addresses, times or quoted names differ. `progress` is
    called with the number of lines read, now and then.
    """
    seen: dict[tuple[str, ...], Logged | None] = {}
    silent = 0
    for number, line in enumerate(lines):
        if number % 1000 == 0:
            progress(number)
        text = line.strip()
        key = tuple(words_of(text[:2000]))
        if not key:
            silent += bool(text)
            continue
        if key not in seen:
            found = answers(text[:2000])
            trouble = bool(found) and found[0].confidence >= TROUBLE
            when = _when(text)
            seen[key] = Logged(text, 0, when, when, tuple(found)) if trouble else None
        entry = seen[key]
        if entry is None:
            silent += 1
        else:
            seen[key] = replace(entry, count=entry.count + 1, last=_when(text) or entry.last)
    return [entry for entry in seen.values() if entry is not None], silent


def log_report(found: Sequence[Logged], silent: int) -> Iterator[str]:
    """The lines of `tcplab symptom -`."""
    for entry in found:
        span = f", {entry.first} to {entry.last}" if entry.count > 1 and entry.first else ""
        at = f", {entry.first}" if entry.count == 1 and entry.first else ""
        yield f"{plural(entry.count, 'time')}{span}{at}: {entry.message}"
        for answer in one_of_each(entry.answers)[:2]:
            named = [each.lesson for each in entry.answers if each.says == answer.says]
            yield f"    {answer_line(answer, named)}"
    yield (
        f"{plural(silent, 'line')} without a message that tcplab knows."
        if found
        else ("No message that tcplab knows is in this log.")
    )


def one_of_each(found: Sequence[LessonAnswer]) -> list[LessonAnswer]:
    """The best answer of each meaning: several lessons may explain the same one."""
    return list({answer.says: answer for answer in reversed(found)}.values())[::-1]


def answer_line(answer: LessonAnswer, named: Sequence[str] = ()) -> str:
    """One answer in a line, with the names of every lesson that explains it."""
    sure = "" if answer.confidence >= SURE else "perhaps "
    where = "lesson " + ", ".join(
        str(lessons()[name]) for name in named or [answer.lesson] if name != NOT_TCP
    )
    where = "not TCP" if answer.lesson == NOT_TCP else where
    says = answer.says.removeprefix("Not TCP: ")
    return f"{sure}{where}: {says} Because: {answer.because}. Run first: {answer.first_command}"


_STAMP = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?|[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d|\b\d\d:\d\d:\d\d\b"
)


def _when(text: str) -> str:
    stamp = _STAMP.search(text[:80])
    return stamp[0] if stamp else ""


# -- evidence --


class _Index:
    """Known messages, ready to be compared with a question."""

    def __init__(self, known: Sequence[KnownMessage]) -> None:
        self.known = known
        self.parts = [_Words.of(message.text) for message in known]
        self.numbers = [frozenset(errnos_in(message.text)) for message in known]
        #: The messages that contain a word, or a pair of neighbouring words.
        self.having: dict[Any, list[int]] = defaultdict(list)
        for number, parts in enumerate(self.parts):
            for part in (*parts.words, *parts.pairs):
                self.having[part].append(number)
        self._rarest = math.log(1 + len(known))
        self._weights = {part: math.log(1 + len(known) / (1 + len(at))) for part, at in self.having.items()}
        self.sizes = [self.size(parts) for parts in self.parts]

    def weight(self, word: str) -> float:
        """The weight of a word: the rarer, the higher."""
        return self._weights.get(word, self._rarest)

    def size(self, parts: _Words) -> float:
        """The weight of a whole text."""
        return sum(self._shares(parts).values())

    def _shares(self, parts: _Words) -> dict[Any, float]:
        shares: dict[Any, float] = {word: self.weight(word) for word in parts.words}
        return shares | {pair: _NEIGHBOURS * self._weights.get(pair, self._rarest) for pair in parts.pairs}

    def likest(self, query: _Words, numbers: Sequence[int]) -> list[tuple[float, KnownMessage]]:
        """The most similar messages: the geometric mean of the common share of both texts.

        Messages with another error number are left out.
        """
        shares = self._shares(query)
        whole = sum(shares.values())
        common: dict[int, float] = defaultdict(float)
        for part, share in shares.items():
            for number in self.having.get(part, ()):
                common[number] += share
        scored = [
            (share / math.sqrt(whole * self.sizes[number]), number)
            for number, share in common.items()
            if not (numbers and self.numbers[number]) or not self.numbers[number].isdisjoint(numbers)
        ]
        scored.sort(key=lambda pair: (-pair[0], pair[1]))
        return [(score, self.known[number]) for score, number in scored[:_HEARD]]


@cache
def _index() -> _Index:
    return _Index(messages())


@cache
def _by_name() -> dict[str, Symptom]:
    return {row.name: row for row in symptoms()}


@cache
def _phrases() -> dict[str, list[tuple[_Phrase, Symptom]]]:
    """Phrases by their first words: groups of words, by their forms; of each group one must occur."""
    found: dict[str, list[tuple[_Phrase, Symptom]]] = defaultdict(list)
    for row in symptoms():
        for phrase in row.phrases:
            groups = tuple(
                {form: word for word in group.split("|") for form in words_of(word, _NONE)[:1]}
                for group in phrase.split()
            )
            entry = groups, row
            for word in groups[0]:
                found[word].append(entry)
    return found


def _hits(query: str, known: Sequence[KnownMessage] | None) -> Iterator[_Hit]:
    """All evidence in a query: messages, phrases, times."""
    index = _index() if known is None else _Index(known)
    numbers = errnos_in(query)
    # An error number counts as its name and text.
    text = "\n".join([query, *(" ".join(errnos()[number]) for number in numbers)])
    meanings = [_meaning(number, query) for number in numbers]
    parts = _Words.of(text)
    if parts.words:
        for score, message in index.likest(parts, numbers):
            like = "the message" if score > 0.95 else "it is like"
            because = "; ".join([f"{like} “{_short(message.text)}” ({message.product})", *meanings])
            row = _by_name()[message.symptom]
            yield _Hit(
                score**1.5, row, message.lessons, message.phase, because, message.source, score > _ALIKE
            )
        own, whole = frozenset(words_of(query, _NONE)), sum(map(index.weight, parts.words))
        for place, (weight, groups, row) in enumerate(_fitting(text, numbers, index)[:MOST_PHRASES]):
            strength = (_PHRASE + (1 - _PHRASE) * math.sqrt(min(1, weight / whole))) * 0.8**place
            words = [f"“{word}”" for group in groups for form, word in group.items() if form in own][:4]
            # Where the number alone brought the words, the number is the reason, and it says less.
            by_number = not all(own & group.keys() for group in groups)
            strength *= _BY_NUMBER if by_number else 1
            said = [] if by_number else [f"it contains {listed(words)}"]
            because = "; ".join([*said, *meanings])
            yield _Hit(strength, row, row.lessons or (NOT_TCP,), row.phase, because, row.checked)
    yield from _timed(query)


def _meaning(number: int, query: str) -> str:
    name, text = errnos()[number]
    return f"“{text}” is {name}" if text.lower() in query.lower() else f"Linux's error {number} is {name}"


def _fitting(text: str, numbers: Sequence[int], index: _Index) -> list[tuple[float, _Phrase, Symptom]]:
    """The phrases whose words all occur in a text, the highest weight first; one of each symptom."""
    words = frozenset(words_of(text, _NONE))
    found: dict[str, tuple[float, _Phrase, Symptom]] = {}
    for groups, row in (each for word in words for each in _phrases().get(word, ())):
        another = numbers and row.errno and set(row.errno).isdisjoint(numbers)
        if another or any(words.isdisjoint(group) for group in groups):
            continue
        weight = sum(max(index.weight(form) for form in group if form in words) for group in groups)
        if row.name not in found or weight > found[row.name][0]:
            found[row.name] = weight, groups, row
    return sorted(found.values(), key=lambda fit: -fit[0])


def _timed(query: str) -> Iterator[_Hit]:
    """The lessons that the times in a query support, by the ruler of seconds."""
    for seconds in times_in(query):
        for mark in marks():
            if mark.fits(seconds):
                because = f"{seconds_in_words(seconds)}: {mark.says}".rstrip(".")
                row = _by_name()[mark.symptom]
                yield _Hit(
                    _SECONDS * mark.nearness(seconds),
                    row,
                    mark.lessons,
                    mark.phase,
                    because,
                    "the ruler of seconds",
                )


def _answer(lesson: str, hit: _Hit, query: str, confidence: float) -> LessonAnswer:
    title = "Not TCP" if lesson == NOT_TCP else lessons()[lesson].title
    phase = hit.symptom.phase if hit.phase == "any" else hit.phase
    # A time that supports the same lesson is named beside the message.
    also = [timed.because for timed in _timed(query) if lesson in timed.lessons]
    because = "; ".join(dict.fromkeys([hit.because, *also]))
    return LessonAnswer(lesson, title, phase, hit.symptom.cause, because, round(min(0.99, confidence), 2),
                  hit.symptom.first, hit.source)  # fmt: skip


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 90 else line[:88].rstrip() + " …"


def seconds_in_words(seconds: float) -> str:
    """A time of the question: `131 s`, `2 h 11 min`, `for ever`."""
    if seconds < 60:
        return f"{seconds:g} s"
    return "for ever" if math.isinf(seconds) else in_words(round(seconds))
