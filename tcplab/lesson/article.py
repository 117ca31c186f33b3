"""What an article says, and what Linux does where that is something else."""

from __future__ import annotations

from tcplab.lesson.text import Shown, box, to_html, to_plain


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
