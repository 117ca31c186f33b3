"""Begin a lesson anew without restarting its kernel: for the next class, or the next learner.

Whatever learners change tells `remember` of itself when it is made. What nobody holds any more is
forgotten by itself.
"""

from __future__ import annotations

from typing import Any, Protocol
from weakref import WeakSet

from tcplab.lesson.text import Shown, box, to_html


class Beginner(Protocol):
    """Something that can be as it was at first."""

    def start_again(self) -> None:
        """Back to the beginning."""
        ...


_known: WeakSet[Any] = WeakSet()


def remember(thing: Beginner) -> None:
    """From now on `start_again` brings this back to its beginning, too."""
    _known.add(thing)


def start_again() -> Shown:
    """Every question of this notebook untouched, what waits behind it closed, every explorer as it began.

    For a cell of its own: ``start_again()``. What cells have printed stays, and so do the variables.
    """
    things = list(_known)
    for thing in things:
        thing.start_again()
    sentence = "All is as it was at the beginning: questions unanswered, what waits for them closed."
    if not things:
        sentence = "There is nothing to begin again: no cell has made a question or an explorer yet."
    return Shown(sentence, box(to_html(sentence), role="status"))
