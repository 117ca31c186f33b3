"""The desk's answers as text and HTML: what breaks first, all checks, settings to paste, what proves them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from math import inf

from tcplab.advice import Advice, Check
from tcplab.advice.checks import number, words
from tcplab.view.panels import paragraph

#: Who may change a setting, for people.
WHO = {
    "dba": "The DBA", "application": "The application's team", "network": "The network team",
    "cloud": "Who runs the cloud", "": "Nobody but the product's makers",
}  # fmt: skip
_BROKEN = (
    "check",
    "what must hold",
    "margin",
    "when, and who hears",
    "what it prints",
    "left behind",
    "decides",
)
_HOLDS = ("check", "what holds", "margin")


def first(advice: Advice) -> str:
    """What breaks first, when, with which message, and which timer decides."""
    broken, count = advice.broken, len(advice.checks)
    notes = "".join(f" {note}" for note in advice.notes)
    if not broken:
        return f"Nothing breaks: all {count} checks hold.{notes}"
    check = broken[0]
    where = f" ({check.leg})" if check.leg else ""
    told = [
        f"{len(broken)} of {count} checks {'is' if len(broken) == 1 else 'are'} broken.",
        f"What breaks first, {when(check.breaks_after_s)}: {check.name}{where}.",
        f"What must hold and does not: {_numbers(check)}. {check.says}",
        f"{capital(heard(check))}.",
    ]
    if check.message:
        told.append(f"Printed: “{check.message}”.")
    if check.winner:
        told.append(f"What decides: {check.winner}.")
    if check.left_behind:
        told.append(check.left_behind)
    return " ".join(told) + notes


def capital(text: str) -> str:
    """With a capital letter at the beginning."""
    return text[:1].upper() + text[1:]


def when(seconds: float | None) -> str:
    """`at once`, `after 350 s (5 min 50 s)`."""
    if not seconds:
        return "at once"
    if seconds == inf:
        return "never"
    said = words(seconds)
    return f"after {said}" if seconds < 100 else f"after {round(seconds):,} s ({words(round(seconds))})"


def heard(check: Check) -> str:
    """Who hears of it, and when."""
    if check.heard_after_s == inf:
        return f"{check.heard_by} never hears of it"
    return f"{check.heard_by} hears {when(check.heard_after_s)}"


def checks_table(advice: Advice) -> str:
    """Every check in a row: first the broken ones, by when they break, then those that hold."""
    holds = [check for check in advice.checks if check.holds]
    made = ""
    if advice.broken:
        caption = f"✗ {len(advice.broken)} broken, the first to break first"
        made += _table(caption, _BROKEN, map(_broken, advice.broken))
    if holds:
        made += _table(f"✓ {len(holds)} hold", _HOLDS, map(_held, holds))
    return made


def _table(caption: str, headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Rows of HTML; the first cell of each names it."""
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    body = ""
    for name, *cells in rows:
        body += f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
    return (
        f'<table class="tcplab-table tcplab-checks"><caption>{caption}; the number in brackets is that of '
        f"the inequality</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _held(check: Check) -> list[str]:
    sign = "✓" if check.holds else "✗"
    where = f"<br><i>{escape(check.leg)}</i>" if check.leg else ""
    name = f"{sign} ({check.inequality}) {escape(check.name)}{where}"
    return [name, f"{escape(_numbers(check))}<br>{escape(check.says)}", escape(_margin(check))]


def _broken(check: Check) -> list[str]:
    heard_ = f"{capital(when(check.breaks_after_s))}; {heard(check)}."
    decides = f"▶ {check.winner}" if check.winner else "–"
    texts = [heard_, check.message or "–", check.left_behind or "–", decides]
    return [*_held(check), *map(escape, texts)]


def _numbers(check: Check) -> str:
    """The inequality in mathematics' signs."""
    return check.numbers.replace(" x ", " × ").replace(" <= ", " ≤ ")


def _margin(check: Check) -> str:
    """How much is left; a whole timer of it is missing where one side never ends."""
    if abs(check.margin) == inf:
        return "unlimited" if check.margin > 0 else "no limit at all"
    sign = "−" if check.margin < 0 else "+"
    return f"{sign}{number(abs(check.margin), check.unit)}"


def changes_html(advice: Advice) -> str:
    """What to change: by who may, then as text to paste, then what no setting mends."""
    return "".join(_changes(advice))


def _changes(advice: Advice) -> Iterator[str]:
    if not advice.changes:
        yield paragraph(
            "Nothing has to be changed." if not advice.broken else "No setting of these products mends it."
        )
    for who, changes in advice.by_who().items():
        items = "".join(f"<li>{escape(change.sentence)}</li>" for change in changes)
        yield f"<h4>{escape(WHO[who])}</h4><ul>{items}</ul>"
    for kind, text in advice.paste.items():
        rows = text.count("\n")
        label = escape(f"settings to paste: {kind}", quote=True)
        yield (
            f'<h4>To paste: {escape(kind)}</h4><textarea class="tcplab-paste" readonly rows="{rows}" '
            f'spellcheck="false" aria-label="{label}">{escape(text)}</textarea>'
        )
    if advice.left:
        items = "".join(f"<li>{escape(check.sentence)}</li>" for check in advice.left)
        yield f"<h4>Still broken with all of that</h4><ul>{items}</ul>"


def prove_html(advice: Advice) -> str:
    """The command that shows it on each leg, and what it shows."""
    told = paragraph("When it is set, open a new connection, leave it idle, and look: the time counts down.")
    for leg, line in zip(advice.environment.legs, advice.prove.splitlines(), strict=True):
        command, _, note = line.removeprefix(f"{leg.name}: ").partition("   # ")
        label = escape(f"command for {leg.name}", quote=True)
        told += (
            f'<h4>{escape(leg.name)}</h4><pre class="tcplab-console" tabindex="0" aria-label="{label}">'
            f"{escape(command)}</pre>{paragraph(f'{capital(note)}.')}"
        )
    return told
