"""Sentences and tables of a lesson: HTML in a notebook, plain text elsewhere.

Authors write plain sentences with two kinds of markup, as in Markdown: ``**bold**`` and ```code```. A
learner's own text takes the same path and can't become HTML.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from tcplab.core.table import Markup, html_table
from tcplab.core.text import STATUS, clock

_CODE = re.compile(r"`([^`]+)`")
_BOLD = re.compile(r"\*\*([^*]+)\*\*")

#: The class of what a page with living widgets hides.
STILL = "tcplab-still"
#: JupyterLab's border colour, which follows light and dark; the second value is for elsewhere.
FRAME = "var(--jp-border-color1, #999)"


def to_html(text: str) -> str:
    """Escaped text with its markup and line breaks as HTML."""
    words, codes = (_CODE.split(escape(text))[i::2] for i in (0, 1))  # codes were between backticks
    bold = _BOLD.sub(r"<b>\1</b>", "\0".join(words)).split("\0")
    made = "".join(f"{word}<code>{code}</code>" for word, code in zip(bold, codes, strict=False))
    return (made + bold[-1]).replace("\n", "<br>")


def to_plain(text: str) -> str:
    """The same text without the asterisks; backticks stay, because they read well."""
    return _BOLD.sub(r"\1", text)


def box(body: str, *, edge: str = FRAME, status: bool = False) -> str:
    """HTML in a frame with a coloured left edge; a `status` is read aloud when it changes."""
    return (
        f'<div{f" {STATUS}" if status else ""} style="border: 1px solid {FRAME}; '
        f"border-left: 6px solid {edge}; padding: 0.5em 1em; margin: 0.4em 0; max-width: 60em; "
        f'line-height: 1.5">{body}</div>'
    )


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """An HTML table with a header row; cells are HTML already."""
    padding = "padding: 0.3em 0.6em"
    return html_table(
        [Markup(to_html(name)) for name in columns],
        [map(Markup, row) for row in rows],
        classes="",
        attributes='style="line-height: 1.4"',
        heading_attributes=f'style="text-align: left; {padding}"',
        cell_attributes=f'style="text-align: left; vertical-align: top; {padding}"',
    )


class Shown:
    """Something with a text for the terminal and HTML for the notebook."""

    def __init__(self, plain: str, html: str) -> None:
        self.plain = plain
        self.html = html

    def __repr__(self) -> str:
        return self.plain

    def _repr_html_(self) -> str:
        return self.html


def in_a_box(text: str, *, edge: str = FRAME, status: bool = False) -> Shown:
    """Sentences with markup in a frame."""
    return Shown(to_plain(text), box(to_html(text), edge=edge, status=status))


def as_html(part: Any) -> str:
    """Things with an HTML form as they are, lines as a terminal shows them, sentences as paragraphs."""
    if html := getattr(part, "_repr_html_", None):
        return str(html())
    text = str(part)
    return f"<pre>{escape(text)}</pre>" if "\n" in text else f"<p>{to_html(text)}</p>"


def _lines(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("  ".join(row) for row in [columns, *rows])


def article_says(claim: str, *, linux: str, since: str = "", source: str) -> Shown:
    """A popular sentence beside what Linux does.

    `claim` in our own words; `since` names the Linux version where the behaviour depends on one;
    `source` says where to check it.
    """
    rows = [("The article says", claim), ("Linux does", linux), ("Since", since), ("Checked", source)]
    rows = [(name, text) for name, text in rows if text]
    lines = "".join(f"<div><b>{name}:</b> {to_html(text)}</div>" for name, text in rows)
    plain = "\n".join(f"{name}: {to_plain(text)}" for name, text in rows)
    return Shown(plain, box(lines, edge="#E69F00"))


FLAGS = {"S": "SYN", "F": "FIN", "R": "RST", "P": "PSH", "A": "ACK"}
COLUMNS = ("no.", "at", "later by", "from → to", "flags", "seq", "ack", "bytes", "window")


def chart(trace: Any, since_s: float = 0, until_s: float = math.inf, began: int = 0) -> Shown:
    """The segments of a trace without comment, a row each.

    Times are seconds: from the first segment, and since the one before; only segments between `since_s`
    and `until_s` are shown. With `began`, the moment of the capture's first packet (nanoseconds since 1970),
    the first column is the time of day in UTC. Numbers count from the beginning of each direction, as in
    Wireshark.
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
                clock(began + packet.t) if began else f"{at:.3f}",
                f"**{gap:.1f}**" if gap >= 1 else f"{gap:.3f}",  # a long silence is easy to see
                f"{packet.sender} → {packet.receiver}",
                ", ".join(name for letter, name in FLAGS.items() if letter in segment.letters),
                str(relative.seq),
                str(relative.ack) if "A" in segment.letters else "",
                str(segment.length),
                f"{segment.window:,}",
            ]
        )
    # There are many cells: one style for all of them, which also applies inside a widget.
    cells = ([Markup(to_html(cell)) for cell in row] for row in rows)
    style = 'cellpadding="4" style="text-align: right; line-height: 1.2"'
    columns = [f"{name} (UTC)" if name == "at" and began else name for name in COLUMNS]
    return Shown(_lines(columns, rows), html_table(columns, cells, classes="", attributes=style))


@dataclass(frozen=True)
class Borrowed:
    """The requests of a recorded connection pool that came after the break."""

    #: Seconds from asking the pool for a connection to the answer or the error, in the order of asking.
    seconds: tuple[float, ...]
    #: The errors' first lines, without the exception's name.
    errors: tuple[str, ...]

    @property
    def slowest(self) -> str:
        """How long the slowest request took, in words."""
        most = max(self.seconds)
        return f"{most:,.1f} s" if most >= 1 else f"{most * 1000:.0f} ms"

    @property
    def first_error(self) -> str:
        """The first error message; a dash when no request failed."""
        return self.errors[0] if self.errors else "–"


def borrowed(capture: str | Path) -> Borrowed:
    """The requests after the break, from the `requests` of the .json file beside a capture.

    The break is the last event on the server. Raises `LookupError` in one sentence where the file lists
    no requests.
    """
    from tcplab.capture.recordings import sidecar_path, sidecar_values

    path = sidecar_path(capture)
    sidecar = sidecar_values(capture) if path.is_file() else {}
    if "requests" not in sidecar:
        raise LookupError(f"{path.name} lists no pool's requests: take one of the captures pool_….")
    broken = max(event["t"] for event in sidecar["events"] if event["host"] == "server")
    later = [each for each in sidecar["requests"] if each["began"] >= broken]
    return Borrowed(
        seconds=tuple(each["t"] - each["began"] for each in later),
        errors=tuple(each["result"].partition(": ")[2] for each in later if each["result"] != "ok"),
    )


def provenance(capture: str | Path, most: int = 0) -> Shown:
    """The story of a capture in data/captures, from the .json file beside it.

    The calls with their results, and what `ss` showed, in the order in which it happened; seconds from the
    first packet; of more than `most` rows (0: any number) those in the middle are left out. A capture without
    such a file gets a sentence that says so, and so does a case that was described but not run.
    """
    from tcplab.capture.recordings import sidecar_path, sidecar_values

    path = sidecar_path(capture)
    try:
        return _story(sidecar_values(capture), most)
    except FileNotFoundError:
        why = f"there is no {path.name}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        lacks = f"{error} is missing in" if isinstance(error, KeyError) else f"{error} in"
        why = f"{lacks} {path.name}"
    name = path.with_suffix(".pcap").name
    sentence = f"Beside the packets, nothing is known about {name}: {why}."
    return Shown(sentence, box(escape(sentence)))


def _story(sidecar: dict[str, Any], most: int) -> Shown:
    if not sidecar.get("run", True):
        return _not_run(sidecar)
    software = ", ".join(f"{name} {version}" for name, version in sidecar["software"].items())
    origin = f"Linux {sidecar['linux']}, {software}, {sidecar['date']}; "
    origin += f"to record it again: {sidecar['command']}"
    events = sorted([*map(_event, sidecar["events"]), *map(_sample, sidecar["states"])])
    title, story = sidecar["title"], sidecar["story"]
    head = f"<b>{to_html(title)}.</b> {to_html(story)}<br><i>{to_html(origin)}</i>"
    rows, plain = [], [f"{title}. {story}", origin]
    half = most // 2 if most and len(events) > most else 0
    for i, (t, call, result) in enumerate(events):
        if half and half <= i < len(events) - half:
            if i == half:
                left_out = f"… {len(events) - 2 * half} more"
                rows.append(["", left_out, ""])
                plain.append(left_out)
            continue
        rows.append([f"{t:.3f}\u00a0s", to_html(call), f"<code>{to_html(result)}</code>"])
        plain.append(f"{t:.3f} s  {call}{': ' if call.startswith('ss ') else ' → '}{result}")
    return Shown("\n".join(plain), box(head + table(["when", "what", "came back"], rows)))


def _not_run(sidecar: dict[str, Any]) -> Shown:
    paragraphs = [
        f"**{sidecar['title']}.** {sidecar['story']}",
        f"**Not run here.** {sidecar['why_not']}",
        f"Recorded in its place: {', '.join(sidecar['instead'])}.",
    ]
    body = "".join(f"<p>{to_html(paragraph)}</p>" for paragraph in paragraphs)
    return Shown("\n".join(map(to_plain, paragraphs)), box(body, edge="#888888"))


def _event(event: dict[str, Any]) -> tuple[float, str, str]:
    return event["t"], f"{event['host']}: {event['call']}", event["result"].replace("\t", "    ")


def _sample(sample: dict[str, Any]) -> tuple[float, str, str]:
    queues = f"{sample['state']}, Recv-Q {sample['recv_q']}, Send-Q {sample['send_q']}"
    return sample["t"], f"ss on the {sample['host']}", queues if sample["state"] != "CLOSED" else "gone"
