"""The symptoms and the ruler of seconds on one page to print, for the wall beside a desk.

python3 -m tcplab.lesson.card notebooks/for_teachers/symptom_card.html
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tcplab.lesson.course import lessons
from tcplab.lesson.symptoms import PHASES, Mark, Symptom, errnos, marks, symptoms
from tcplab.lesson.text import to_html

#: So many of a row's messages are printed; the start page has them all.
MESSAGES = 2

_STYLE = """
@page { size: A4 portrait; margin: 8mm 9mm; }
* { box-sizing: border-box; }
body { margin: 1rem auto; max-width: 192mm; color: #000; background: #fff;
  font: 6.9pt/1.2 "DejaVu Sans Condensed", "Arial Narrow", Arial, "Liberation Sans", sans-serif; }
header { border-bottom: 1.5pt solid #000; margin-bottom: 1.5mm; padding-bottom: 0.8mm; }
h1 { font-size: 12.5pt; line-height: 1.2; margin: 0; }
h2 { font-size: 8.5pt; margin: 1.4mm 0 0.5mm; padding: 0.2mm 1mm; background: #ddd; break-after: avoid;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
p { margin: 0; }
.columns { columns: 2; column-gap: 5mm; }
.row { break-inside: avoid; border-bottom: 0.4pt solid #999; padding: 0.45mm 0 0.45mm 7mm;
  position: relative; }
.row > b:first-child { position: absolute; left: 0; width: 6.4mm; line-height: 1.1; }
code { font-family: "DejaVu Sans Mono", "Liberation Mono", monospace; font-size: 6pt;
  overflow-wrap: anywhere; }
.says { font-weight: 700; }
.run { padding-left: 1.6em; text-indent: -1.6em; }
.run::before { content: "▸ run: "; font-weight: 700; }
@media screen { body { font-size: 11pt; max-width: 62rem; padding: 0 1rem; } code { font-size: 9.5pt; } }
@media print { body { margin: 0; max-width: none; } }
"""


def symptom_card() -> str:
    """A whole HTML page that needs no other file; printed, it is one page of A4."""
    parts = []
    for phase, words in PHASES.items():
        rows = "".join(_symptom(row) for row in symptoms() if row.phase == phase)
        parts.append(f"<h2>{to_html(words)}</h2>{rows}")
    parts.append("<h2>the ruler of seconds</h2>" + "".join(map(_mark, marks())))
    numbers = " · ".join(f"{number} {name}" for number, (name, _) in errnos().items())
    parts.append(f"<h2>numbers in brackets (Linux)</h2><p>{numbers}</p>")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>tcplab: symptom card</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        "<header><h1>A database connection broke, or hangs</h1>"
        "<p>Three keys: the <b>message</b>, word for word; the <b>phase</b>; the <b>seconds</b> until it "
        "came. At the left stand tcplab's lessons, the likeliest first; — is not TCP.</p></header>\n"
        f'<div class="columns">\n{chr(10).join(parts)}\n</div>\n</body>\n</html>\n'
    )


def _symptom(row: Symptom) -> str:
    said = " · ".join(f'<code class="says">{to_html(text)}</code>' for text in row.texts[:MESSAGES])
    more = " …" if len(row.texts) > MESSAGES else ""
    return (
        f'<div class="row"><b>{_numbers(row.lessons)}</b><p>{said}{more}</p>'
        f'<p>{to_html(_first(row.cause))}</p><p class="run"><code>{to_html(row.first)}</code></p></div>\n'
    )


def _mark(mark: Mark) -> str:
    unit = "" if mark.label == "never" else " s"
    return (
        f'<div class="row"><b>{_numbers(mark.lessons)}</b>'
        f'<p><span class="says">{to_html(mark.label)}{unit}</span> {to_html(_first(mark.says))}</p></div>\n'
    )


def _first(sentences: str) -> str:
    """The first one says the most; the start page has the others."""
    return re.split(r"(?<=[.!?]) +(?=[A-Z“])", sentences, maxsplit=1)[0]


def _numbers(names: tuple[str, ...]) -> str:
    return " ".join(lessons()[name].number for name in names) or "—"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(symptom_card(), encoding="utf-8")
