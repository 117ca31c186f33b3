"""Where a recorded capture comes from, and what the programs in it said."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from tcplab.lesson.text import Shown, box, table, to_html, to_plain


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
