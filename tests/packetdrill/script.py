"""packetdrill's scripts as data: options, and events with their times.

A script is a list of events. Each has a time and one of five actions: a segment that arrives (``<``), one
that must leave (``>``), a system call with its result, a shell command in backticks, and assertions in
``%{ … }%``. The language is described in packetdrill's paper (USENIX ATC 2013) and by its grammar,
gtests/net/packetdrill/parser.y; this is the part that a model of TCP over IPv4 supports. Anything else
raises `NotModelled` with the reason.
"""

import re
from dataclasses import dataclass, field

from tcplab.core.segment import ACK, FIN, PSH, RST, SYN

MICROSECOND, SECOND = 1_000, 1_000_000_000


class NotModelled(Exception):
    """A script needs something that is not modelled; the message names it."""


class Differs(AssertionError):
    """The model does not do what the script expects."""


class NotUnderstood(ValueError):
    """Text that is not a script, with its line number."""


@dataclass(frozen=True)
class Moment:
    """When an event has to happen, nanoseconds: from `first` to `last`, of the event before or of the start.

    `first` None: at any time. `until`: when a call that blocks has to end.
    """

    first: int | None
    last: int | None = None
    relative: bool = False
    until: int | None = None


@dataclass(frozen=True)
class Stamps:
    """The timestamp option."""

    value: int
    echo: int


@dataclass(frozen=True)
class Options:
    """TCP options of a segment; their order and padding are left out."""

    mss: int | None = None
    scale: int | None = None
    sack_permitted: bool = False
    sack: tuple[tuple[int, int], ...] = ()
    stamps: Stamps | None = None


@dataclass(frozen=True)
class Arrives:
    """A segment from the peer, in the script's numbers; `window` is the unscaled header field."""

    flags: int
    seq: int
    length: int
    ack: int
    window: int | None
    #: None where the script takes any.
    options: Options | None


@dataclass(frozen=True)
class Leaves(Arrives):
    """A segment that the host must send; `window` None: any."""


@dataclass(frozen=True)
class Call:
    """A system call: name, arguments, and its result (an integer, or an errno name)."""

    name: str
    arguments: tuple
    result: int | str | None


@dataclass(frozen=True)
class Shell:
    """Commands, one a line."""

    commands: tuple[str, ...]


@dataclass(frozen=True)
class Assertions:
    """Python source that asserts."""

    source: str


@dataclass(frozen=True)
class Event:
    """One line of a script."""

    line: int
    moment: Moment
    action: Arrives | Leaves | Call | Shell | Assertions


@dataclass
class Script:
    """A script: its options without dashes, what is run before the start, and its events."""

    options: dict[str, str] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


_TIME = re.compile(r"(\*|\+?[\d.]*\d(?:[ \t]*(?:\.\.\.|~)[ \t]*\+?[\d.]*\d)?)[ \t]*")
_NUMBER = r"\+?(?:\d+\.?\d*|\.\d+)"
_TIMES = re.compile(rf"({_NUMBER})(?:\s*(\.\.\.|~)\s*({_NUMBER}))?$")
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|#[^\n]*", re.S)
_PACKET = re.compile(
    r"[<>]\s*(?P<ip>[\[(][^\])]*[\])])?\s*(?P<flags>[SFRPWEUAC.\d-]+)\s+(?P<seq>\d+):(?P<end>\d+)\((?P<length>\d+)\)"
    r"(?:\s+ack\s+(?P<ack>\d+))?(?:\s+win\s+(?P<window>\d+))?(?:\s+urg\s+(?P<urgent>\d+))?"
    r"\s*(?:<(?P<options>[^>]*)>)?\s*$"
)
_FLAGS = {"S": SYN, "F": FIN, "R": RST, "P": PSH, ".": ACK}


def parse(text):
    """The script of `text`. Raises `NotUnderstood` with the line, or `NotModelled`."""
    script, at = Script(), 0
    while True:
        at = _skip(text, at)
        if at == len(text):
            return script
        line = text.count("\n", 0, at) + 1
        try:
            at = _item(script, text, at, line)
        except NotUnderstood as error:
            raise NotUnderstood(f"line {line}: {error}") from None


def _skip(text, at):
    """The next place that is neither white nor a comment."""
    while at < len(text):
        comment = _COMMENT.match(text, at)
        if comment:
            at = comment.end()
        elif text[at].isspace():
            at += 1
        else:
            break
    return at


def _item(script, text, at, line):
    if text.startswith("--", at):
        option, end = _rest_of_line(text, at)
        name, _, value = option[2:].partition("=")
        script.options[name.strip()] = value.strip()
        return end
    if text[at] == "`":
        shell, end = _shell(text, at)
        if script.events:
            script.events.append(Event(line, Moment(0, 0, True), shell))
        else:
            script.before += shell.commands
        return end
    time = _TIME.match(text, at)
    moment = moment_of(time[1]) if time else Moment(0, 0, True)
    at = time.end() if time else at
    if text[at] == "`":
        action, end = _shell(text, at)
    elif text.startswith("%{", at):
        end = text.find("}%", at)
        if end < 0:
            raise NotUnderstood("}% is missing")
        action, end = Assertions(text[at + 2 : end]), end + 2
    elif text[at] in "<>":
        words, end = _rest_of_line(text, at)
        action = packet(words)
    else:
        action, end = _call(text, at)
    script.events.append(Event(line, moment, action))
    return end


def _rest_of_line(text, at):
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    return _COMMENT.sub("", text[at:end]).strip(), end


def _shell(text, at):
    end = text.find("`", at + 1)
    if end < 0:
        raise NotUnderstood("a backtick is missing")
    joined = text[at + 1 : end].replace("\\\n", " ")
    commands = [command.split(" #")[0].strip() for command in re.split(r"\n|;", joined)]
    return Shell(tuple(filter(None, commands))), end + 1


def moment_of(words):
    """A time of a script: ``0.5``, ``+.01``, ``*``, ``+.1~+.2`` (range), ``0...0.2`` (blocking call)."""
    if words == "*":
        return Moment(None, relative=True)
    times = _TIMES.match(words)
    if not times:
        raise NotUnderstood(f"{words!r} is no time")
    first, kind, last = times.groups()
    start = _nanoseconds(first)
    end = _nanoseconds(last) if last else start
    if end < start:
        raise NotUnderstood(f"{words!r} ends before it begins")
    if kind == "...":
        return Moment(start, start, first[0] == "+", end)
    return Moment(start, end, first[0] == "+")


def _nanoseconds(seconds):
    return round(float(seconds) * SECOND)


# -- segments ------------------------------------------------------------------------------------------


def packet(words):
    """The segment of a line."""
    for mark, what in (
        ("icmp", "ICMP"),
        ("udp", "UDP"),
        ("ect", "ECN"),
        ("ce]", "ECN"),
        ("tos", "the TOS field"),
    ):
        if re.search(rf"^[<>]\s*[\[(]?{mark}", words):
            raise NotModelled(what)
    match = _PACKET.match(words)
    if not match:
        raise NotUnderstood(f"no segment: {words!r}")
    letters, flags = match["flags"], 0
    for letter in letters.replace("-", ""):
        if letter not in _FLAGS:
            raise NotModelled("urgent data" if letter == "U" else "ECN")
        flags |= _FLAGS[letter]
    seq, end, length = (int(match[name]) for name in ("seq", "end", "length"))
    if end != seq + length:
        raise NotUnderstood(f"{seq}:{end} is not {length} bytes")
    if match["urgent"]:
        raise NotModelled("urgent data")
    if match["ack"] and not flags & ACK:
        raise NotUnderstood(f"ack N without the flag: {words!r}")
    window = match["window"] and int(match["window"])
    kind = Arrives if words[0] == "<" else Leaves
    if kind is Arrives and window is None:
        # Like packetdrill: a segment that arrives without win offers nothing.
        window = 0
    text = match["options"]
    options = None if text is not None and text.strip() == "..." else options_of(text or "")
    return kind(flags, seq, length, int(match["ack"] or 0), window, options)


def options_of(text):
    """The options between < and >: ``mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7`` or ``sack 1:2 3:4``."""
    found = {}
    for option in filter(None, (each.strip() for each in text.split(","))):
        try:
            _take_option(found, option)
        except (IndexError, ValueError):
            raise NotUnderstood(f"no option: {option!r}") from None
    return Options(**found)


def _take_option(found, option):
    name, *values = option.split()
    if name == "mss":
        found["mss"] = int(values[0])
    elif name == "wscale":
        found["scale"] = int(values[0])
    elif name == "sackOK":
        found["sack_permitted"] = True
    elif name == "sack":
        blocks = (block.split(":") for block in values)
        found["sack"] = tuple((int(left), int(right)) for left, right in blocks)
    elif name == "TS" and values[::2] == ["val", "ecr"]:
        found["stamps"] = Stamps(int(values[1]), int(values[3]))
    elif name.startswith(("FO", "md5", "e0b", "e1b", "ECN", "ACCECN")):
        raise NotModelled("TCP Fast Open" if name.startswith("FO") else f"the option {name}")
    elif name not in ("nop", "eol"):
        raise ValueError


# -- calls ---------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r'\s*(?:(?P<number>-?(?:0x[\da-fA-F]+|\d+))|(?P<string>"[^"]*")|(?P<dots>\.\.\.)'
    r"|(?P<name>[A-Za-z_]\w*(?:\((?:\d+|\.\.\.)\))?)|(?P<sign>[\[\]{}(),=|:]))"
)
_RESULT = re.compile(r"=[ \t]*(?:(-1)[ \t]+([A-Z]+)|(-?(?:0x[\da-fA-F]+|\d+)))[^\n]*")


def _call(text, at):
    head = re.compile(r"([a-z_0-9]+)\(").match(text, at)
    if not head:
        raise NotUnderstood(f"no event: {text[at : at + 40].splitlines()[0]!r}")
    arguments, end = _list(text, head.end(), ")")
    result = _RESULT.match(text, _skip(text, end))
    if not result:
        raise NotUnderstood(f"{head[1]}() has no result")
    gives = result[2] if result[2] else int(result[3], 0)
    return Call(head[1], tuple(arguments), gives), result.end()


def _list(text, at, closing):
    """Values up to a closing sign; ``...`` is None, ``{name=value}`` a dict, ``A|B`` a string."""
    values = []
    while True:
        token = _token(text, at)
        if token["sign"] == closing:
            return values, token.end()
        if token["sign"] == ",":
            at = token.end()
            continue
        value, at = _value(text, at)
        values.append(value)


def _token(text, at):
    token = _TOKEN.match(text, _skip(text, at))
    if not token:
        raise NotUnderstood(f"no argument: {text[at : at + 20]!r}")
    return token


def _value(text, at):
    token = _token(text, at)
    at = token.end()
    if token["sign"] == "[":
        value, at = _list(text, at, "]")
    elif token["sign"] == "{":
        values, at = _list(text, at, "}")
        pairs = [each for each in values if isinstance(each, dict) and "=" in each]
        value = {name: what for each in pairs for name, what in [each["="]]} if pairs else values
    elif token["number"]:
        value = int(token["number"], 0)
    elif token["string"]:
        value = token["string"][1:-1]
    elif token["name"]:
        value = token["name"]
    elif token["dots"]:
        value = None
    else:
        raise NotUnderstood(f"unexpected {token['sign']!r}")
    follower = _token(text, at)
    if follower["sign"] == "=":
        right, at = _value(text, follower.end())
        return {"=": (str(value).split("(")[0], right)}, at
    if follower["sign"] == "|":
        right, at = _value(text, follower.end())
        return f"{value}|{right}", at
    return value, at
