"""Text for two readers: HTML in a notebook, plain text everywhere else.

Authors write plain sentences with two kinds of markup, as in Markdown: ``**bold**`` and
```code```. Whatever a learner types goes through the same door and can't become HTML.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

_CODE = re.compile(r"`([^`]+)`")
_BOLD = re.compile(r"\*\*([^*]+)\*\*")

#: JupyterLab's own colours, so that light and dark both work; the second value is for elsewhere.
FRAME = "var(--jp-border-color1, #999)"
FAINT = "var(--jp-layout-color2, rgba(128, 128, 128, 0.12))"


def to_html(text: str) -> str:
    """Escaped text with its markup and line breaks as HTML."""
    escaped = html.escape(text, quote=True)
    parts = _CODE.split(escaped)  # odd parts stood between backticks: no bold in there
    for i, part in enumerate(parts):
        parts[i] = f"<code>{part}</code>" if i % 2 else _BOLD.sub(r"<b>\1</b>", part)
    return "".join(parts).replace("\n", "<br>")


def to_plain(text: str) -> str:
    """The same text without the asterisks; backticks stay, they read well."""
    return _BOLD.sub(r"\1", text)


def box(body: str, *, edge: str = FRAME, role: str = "") -> str:
    """HTML in a quiet frame with a coloured left edge."""
    attribute = f' role="{role}"' if role else ""
    return (
        f'<div{attribute} style="border: 1px solid {FRAME}; border-left: 6px solid {edge}; '
        f'padding: 0.5em 1em; margin: 0.4em 0; max-width: 60em; line-height: 1.5">{body}</div>'
    )


def table(columns: list[str], rows: list[list[str]]) -> str:
    """An HTML table with a header row; cells are HTML already."""
    head = "".join(
        f'<th scope="col" style="text-align: left; padding: 0.3em 0.6em">{to_html(name)}</th>'
        if name
        else "<td></td>"  # the corner above the rows' names heads nothing
        for name in columns
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="text-align: left; vertical-align: top; padding: 0.3em 0.6em">{cell}</td>'
            for cell in row
        )
        + "</tr>"
        for row in rows
    )
    return f'<table style="line-height: 1.4"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


class Shown:
    """Something with a text for the terminal and HTML for the notebook."""

    def __init__(self, plain: str, html: str) -> None:
        self.plain = plain
        self.html = html

    def __repr__(self) -> str:
        return self.plain

    def _repr_html_(self) -> str:
        return self.html


# ----------------------------------------------------------------------
# What an article says, and what Linux does where that is something else.


def article_says(claim: str, *, linux: str, since: str = "", source: str) -> Shown:
    """A box that sets a popular sentence beside the truth.

    `claim` in our own words; `since` names the Linux version where the truth depends on one;
    `source` says where one can check it.
    """
    rows = [("The article says", claim), ("Linux does", linux), ("Since", since), ("Checked", source)]
    rows = [(name, text) for name, text in rows if text]
    lines = "".join(f"<div><b>{name}:</b> {to_html(text)}</div>" for name, text in rows)
    plain = "\n".join(f"{name}: {to_plain(text)}" for name, text in rows)
    return Shown(plain, box(lines, edge="#E69F00"))


# ----------------------------------------------------------------------
# What each request of a recorded connection pool got.


@dataclass(frozen=True)
class Borrowed:
    """The requests of a recorded pool that came after the break."""

    #: Seconds from asking the pool for a connection to the answer or the error, in the order of asking.
    seconds: tuple[float, ...]
    #: The errors' first lines, without the exception's name.
    errors: tuple[str, ...]

    @property
    def slowest(self) -> str:
        """How long the slowest request took, for people."""
        most = max(self.seconds)
        return f"{most:,.1f} s" if most >= 1 else f"{most * 1000:.0f} ms"

    @property
    def first_error(self) -> str:
        """What the first request that failed was told; a dash when none failed."""
        return self.errors[0] if self.errors else "–"


def borrowed(capture: str | Path) -> Borrowed:
    """The requests after the break, from the `requests` of the .json file beside a capture.

    The break is what was last done on the server. Raises `LookupError` in one sentence where the file
    tells of no requests.
    """
    path = Path(capture).with_suffix(".json")
    told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if "requests" not in told:
        raise LookupError(f"{path.name} tells of no pool's requests: take one of the captures pool_….")
    broken = max(event["t"] for event in told["events"] if event["host"] == "server")
    later = [each for each in told["requests"] if each["began"] >= broken]
    return Borrowed(
        seconds=tuple(each["t"] - each["began"] for each in later),
        errors=tuple(each["result"].partition(": ")[2] for each in later if each["result"] != "ok"),
    )


# ----------------------------------------------------------------------
# A captured connection as a table without comment: what one has before one knows what it means.

FLAGS = {"S": "SYN", "F": "FIN", "R": "RST", "P": "PSH", "A": "ACK"}
COLUMNS = ("no.", "at", "later by", "from → to", "flags", "seq", "ack", "bytes", "window")


def chart(trace: Any, since_s: float = 0, until_s: float = math.inf) -> Shown:
    """The segments of a trace, a row each, and not a word about what they are.

    Times are seconds: from the first segment, and since the one before; only segments between `since_s`
    and `until_s` are shown. Numbers count from the beginning of each direction, as in Wireshark.
    """
    rows, before = [], 0.0
    numbered = zip(trace.packets, trace.relative(), strict=True)
    for number, (packet, relative) in enumerate(numbered, 1):
        segment, at = packet.segment, trace.seconds(packet.t)
        gap, before = at - before, at
        if not since_s <= at <= until_s:
            continue
        rows.append(
            [
                str(number),
                f"{at:.3f}",
                _gap(gap),
                f"{packet.sender} → {packet.receiver}",
                ", ".join(name for letter, name in FLAGS.items() if letter in segment.letters),
                str(relative.seq),
                str(relative.ack) if "A" in segment.letters else "",
                str(segment.length),
                f"{segment.window:,}",
            ]
        )
    plain = "\n".join("  ".join(row) for row in [COLUMNS, *rows])
    return Shown(plain, _table(rows))


def _table(rows: list[list[str]]) -> str:
    """Lean, as there are many cells: one style for all of them, which also holds inside a widget."""
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    body = "".join(f"<tr>{''.join(f'<td>{to_html(cell)}</td>' for cell in row)}</tr>" for row in rows)
    style = 'cellpadding="4" style="text-align: right; line-height: 1.2"'
    return f"<table {style}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _gap(seconds: float) -> str:
    """A silence of a second or more stands out."""
    return f"**{seconds:.1f}**" if seconds >= 1 else f"{seconds:.3f}"


# ----------------------------------------------------------------------
# Where a recorded capture comes from, and what the programs in it said.


def provenance(capture: str | Path) -> Shown:
    """The story of a capture in data/captures, from the .json file beside it.

    What was called and what came back, and what `ss` showed, in the order in which it happened;
    seconds from the first packet. A capture without such a file gets a sentence that says so, and
    so does a case that was only told, not run.
    """
    path = Path(capture).with_suffix(".json")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return _story(told)
    except FileNotFoundError:
        why = f"there is no {path.name}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        lacks = f"{error} is missing in" if isinstance(error, KeyError) else f"{error} in"
        why = f"{lacks} {path.name}"
    name = path.with_suffix(".pcap").name
    sentence = f"Beside the packets, nothing is known about {name}: {why}."
    return Shown(sentence, box(escape(sentence)))


def _story(told: dict[str, Any]) -> Shown:
    if not told.get("run", True):
        return _not_run(told)
    software = ", ".join(f"{name} {version}" for name, version in told["software"].items())
    origin = f"Linux {told['linux']}, {software}, {told['date']}; to record it again: {told['command']}"
    moments = sorted([_event(each) for each in told["events"]] + [_sample(each) for each in told["states"]])
    rows = [
        [f"{t:.3f}\u00a0s", to_html(what), f"<code>{to_html(result)}</code>"] for t, what, result in moments
    ]
    head = f"<b>{to_html(told['title'])}.</b> {to_html(told['story'])}<br><i>{to_html(origin)}</i>"
    plain = [f"{told['title']}. {told['story']}", origin]
    plain += [
        f"{t:.3f} s  {what}{': ' if what.startswith('ss ') else ' → '}{result}" for t, what, result in moments
    ]
    return Shown("\n".join(plain), box(head + table(["when", "what", "came back"], rows)))


def _not_run(told: dict[str, Any]) -> Shown:
    paragraphs = [f"**{told['title']}.** {told['story']}", f"**Not run here.** {told['why_not']}"]
    paragraphs += [f"Recorded in its place: {', '.join(told['instead'])}."]
    body = "".join(f"<p>{to_html(paragraph)}</p>" for paragraph in paragraphs)
    return Shown("\n".join(map(to_plain, paragraphs)), box(body, edge="#888888"))


def _event(event: dict[str, Any]) -> tuple[float, str, str]:
    return event["t"], f"{event['host']}: {event['call']}", event["result"].replace("\t", "    ")


def _sample(sample: dict[str, Any]) -> tuple[float, str, str]:
    queues = f"{sample['state']}, Recv-Q {sample['recv_q']}, Send-Q {sample['send_q']}"
    return sample["t"], f"ss on the {sample['host']}", queues if sample["state"] != "CLOSED" else "gone"


# ----------------------------------------------------------------------
# Numbers as people write them, and how far two of them are apart.
#
# `15 min 29 s`, `7,875`, `200 ms`, `0,5` and `never` are all answers a learner may give.

#: How many seconds one of each unit is.
SECONDS = {
    "ms": 0.001, "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1,
    "m": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600, "d": 86_400, "day": 86_400, "days": 86_400,
}  # fmt: skip
NEVER = frozenset({"never", "inf", "infinity", "forever", "for ever", "∞"})

_PART = re.compile(r"[\s,+]*(?:and\s+)?([-+]?(?:\d[\d,_']*(?:\.\d+)?|\.\d+))\s*([^\W\d_]+|%)?")


def read(answer: object, unit: str = "") -> float | None:
    """`answer` as a number of `unit`; None where it is none.

    Takes numbers, texts of numbers with or without the unit, sums of times where the unit is
    `s`, and `never`, which is infinite.
    """
    if isinstance(answer, bool) or answer is None:
        return None
    if isinstance(answer, int | float):
        return None if math.isnan(answer) else float(answer)
    text = str(answer).strip().lower().strip("~≈ ").rstrip(".")
    if text in NEVER:
        return math.inf
    total, at, parts = 0.0, 0, 0
    while at < len(text):
        part = _PART.match(text, at)
        factor = part and _factor(part[2] or "", unit)
        if not part or factor is None or (parts and not part[2]) or (parts and unit != "s"):
            return None
        total += _number(part[1]) * factor
        at, parts = part.end(), parts + 1
    return total if parts else None


def _number(text: str) -> float:
    """`7,875` is 7875, and `0,5` is a half, as much of the world writes it."""
    text = text.rstrip(",_'")
    if "," in text and "." not in text and not re.fullmatch(r"[-+]?[1-9]\d{0,2}(,\d{3})+", text):
        text = text.replace(",", ".", 1)
    return float(re.sub("[,_']", "", text))


def _factor(word: str, unit: str) -> float | None:
    if not word or word == unit or word == unit.rstrip("s"):
        return 1
    return SECONDS.get(word) if unit == "s" else None


def show(value: float, unit: str = "") -> str:
    """`929 s (15 min 29 s)`, `7 connections`, `never`."""
    if math.isinf(value):
        return "never"
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    text = f"{number} {unit}".rstrip()
    return f"{text} ({in_words(value)})" if unit == "s" and value >= 120 else text


def in_words(seconds: float) -> str:
    """`2 h 11 min 15 s`; parts that are zero are left out."""
    rest = round(seconds)
    parts = []
    for name, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts) or "0 s"


def times(ratio: float) -> str:
    """A ratio above 1 in words, rounded as one would say it: `about 15 times`."""
    if ratio < 10:
        return f"about {round(ratio * 2) / 2:g} times"
    exponent = math.floor(math.log10(ratio))
    step = 10**exponent // 2 or 1
    return f"about {round(ratio / step) * step:,} times"


# ----------------------------------------------------------------------
# Tables in a lesson: rows of sentences, and the same results from several witnesses.


def as_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Shown:
    """A table of sentences, which may have `code` and **bold** in them."""
    plain = "\n".join("  ".join(row) for row in [columns, *rows])
    return Shown(plain, table(list(columns), [[to_html(cell) for cell in row] for row in rows]))


def side_by_side(witnesses: Mapping[str, Mapping[str, Any]], rows: Mapping[str, str]) -> Shown:
    """Outcomes beside each other, a column for each witness and a row for each result.

    `witnesses`: a heading, and the outcome of a run; `rows`: what the first column says, and the
    result's name there, whose ending gives the unit. Raises `KeyError` for a result that isn't there.
    """
    body = [
        [text, *(cell_text(name, outcome[name]) for outcome in witnesses.values())]
        for text, name in rows.items()
    ]
    return as_table(["", *witnesses], body)


def cell_text(name: str, value: Any) -> str:
    """A result as a reader wants it: `5.0 s, 6.0 s`, `929.4 s`, `never`, `17`, `100,000`, `none`, `yes`."""
    if isinstance(value, (list, tuple)):
        return ", ".join(cell_text(name, each) for each in value) or "none"
    if value is None:
        return "never" if name.endswith("_s") else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_s"):
        return f"{value:.1f} s"
    return f"{value:,}" if isinstance(value, int) else str(value)
