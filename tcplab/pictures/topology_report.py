"""A page to hand on about a topology: today and then, what to change, what was assumed; HTML and Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from math import inf

from tcplab.advice import Advice
from tcplab.advice.advice import Remedy
from tcplab.advice.race_lanes import ASSUMED, Race, RaceLane, compared, time_text
from tcplab.core.table import html_table
from tcplab.core.text import bullets, paragraph
from tcplab.pictures.race import draw_race

_STYLE = (
    "body{font:14px/1.45 system-ui,sans-serif;max-width:820px;margin:24px auto;padding:0 12px;color:#1b1f24;"
    "background:#fff}h1{font-size:20px;margin:0}h2{font-size:15px;margin:14px 0 2px}table{border-collapse:"
    "collapse;width:100%}th,td{border:1px solid #c3c9d0;padding:2px 7px;text-align:left;vertical-align:top}"
    "caption{text-align:left}ul{margin:2px 0;padding-left:20px}code,pre{font-size:12px}svg{max-width:100%;"
    "height:auto}small{color:#57606a}@media print{body{margin:0;font-size:11px}}"
)
_COLUMNS = ("situation", "today", "then", "what decides")


@dataclass(frozen=True)
class TopologyReport:
    """What the page says."""

    name: str
    day: date
    #: Of today's environment, and the race with the remedies; without one the two are the same.
    advice: Advice
    today: Race
    then: Race
    remedies: Sequence[Remedy] = ()
    #: Lines of files that were not used, and why.
    not_used: Sequence[str] = ()
    version: str = ""

    @property
    def head(self) -> str:
        """What is broken today, and with the remedies."""
        if not self.remedies:
            return self.today.sentence
        return f"{self.today.sentence} With the changes below: {compared(self.today, self.then)}"

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Each situation today and then, with what decides today."""
        was = {lane.key: lane for lane in self.today.lanes}
        for lane in self.then.lanes:
            before = was.get(lane.key, lane)
            name = f"{lane.situation.letter} {lane.situation.name}, {before.detail}"
            yield name, _said(before), _said(lane), before.winner or "no timer runs"

    def changes(self) -> Iterator[str]:
        """What to change, and who."""
        for remedy in self.remedies:
            for change in remedy.changes:
                yield f"{', '.join(change.setting.who) or 'vendor'}: {change.sentence}"

    def open(self) -> Iterator[str]:
        """What is still broken then."""
        for lane in self.then.broken:
            yield f"{lane.situation.letter} {lane.situation.name}: {lane.says}"
        for each in self.then.full:
            yield f"{each.title}: {each.numbers}"

    def assumed(self) -> Iterator[str]:
        """Numbers that no file had: defaults of products, in the lanes that are broken today."""
        seen = set()
        for lane in self.today.lanes:
            for event in lane.events:
                if event.source == ASSUMED and event.key and event.key not in seen and event.t_s < inf:
                    seen.add(event.key)
                    yield f"{event.timer}: {time_text(event.t_s)} ({event.key})"
        for lane in self.today.lanes:
            if lane.needs:
                yield f"{lane.situation.name} is not known: {lane.says}"

    def sections(self) -> Iterator[tuple[str, list[str]]]:
        """Headings and their lines, without the table."""
        proof = self.advice.prove.splitlines()
        parts = (
            ("What to change", self.changes()), ("Still open", self.open()),
            ("Assumed, not read", self.assumed()), ("Lines not used", self.not_used),
            ("What shows that it works (new connections, left idle)", proof if self.remedies else []),
        )  # fmt: skip
        for head, lines in parts:
            if listed := list(lines):
                yield head, listed

    def html(self) -> str:
        """The page, with the picture."""
        body = [f"<h1>{escape(self.name)}: path to the database</h1>", f"<small>{self.day:%d %b %Y}</small>"]
        body += [paragraph(self.head), html_table(_COLUMNS, self.rows(), row_headings=True, classes="")]
        for head, lines in self.sections():
            body.append(f"<h2>{escape(head)}</h2>{bullets(lines)}")
        body.append(f"<h2>Today</h2>{draw_race(self.today).svg}")
        if self.remedies:
            body.append(f"<h2>Then</h2>{draw_race(self.then, self.today).svg}")
        body.append(f"<p><small>{escape(self._footer())}</small></p>")
        return (
            f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(self.name)}</title>'
            f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
        )

    def markdown(self) -> str:
        """The same without the picture."""
        lines = [
            f"# {_plain(self.name)}: path to the database",
            "",
            f"{self.day:%d %b %Y}",
            "",
            _plain(self.head),
            "",
        ]
        lines += [f"| {' | '.join(_COLUMNS)} |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(_plain(cell) for cell in row)} |" for row in self.rows()]
        for head, items in self.sections():
            lines += ["", f"## {head}", "", *(f"- {_plain(item)}" for item in items)]
        return "\n".join([*lines, "", f"*{self._footer()}*"]) + "\n"

    def _footer(self) -> str:
        made = " ".join(filter(None, ["tcplab", self.version]))
        linux = self.advice.environment.linux
        return f"{made}, model of Linux {linux}. Defaults and their sources: the catalogue."


def _said(lane: RaceLane) -> str:
    return lane.when if lane.verdict == lane.when else f"{lane.when} ({lane.verdict})"


def _plain(text: str) -> str:
    """Text of others as Markdown shows it: no markup of theirs."""
    return (
        escape(text, quote=False)
        .replace("|", "\\|")
        .replace("`", "'")
        .replace("*", "\\*")
        .replace("_", "\\_")
    )
