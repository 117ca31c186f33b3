"""First predict, then look: what waits for a prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tcplab.lesson.question import Question
from tcplab.lesson.text import Shown, box, to_html, to_plain

WAITING = "First make your prediction above and press Check (any answer will do); then this part opens."


class After:
    """A place that stays closed until its question was answered. See `after`."""

    def __init__(self, question: Question, make: Callable[[], Any]) -> None:
        self.question = question
        self._make = make
        self._made: Any = None
        self._place: Any = None

    @property
    def thing(self) -> Any:
        """What was waiting, made when first wanted; None while the question is open."""
        if self._made is None and self.question.committed:
            self._made = self._make()
        return self._made

    def place(self) -> Any:
        """The widget that holds the waiting sentence first, and the thing itself later."""
        if self._place is None:
            import ipywidgets as widgets

            self._place = widgets.VBox([widgets.HTML(box(to_html(WAITING)))])
            self.question.when_committed(self._open)
        return self._place

    def _open(self) -> None:
        import ipywidgets as widgets

        thing = self.thing
        if not isinstance(thing, widgets.Widget):
            thing = widgets.HTML(_as_html(thing))
        self._place.children = [thing]

    def __repr__(self) -> str:
        if not self.question.committed:
            return WAITING
        return str(getattr(self.thing, "sentence", "") or repr(self.thing))

    def _repr_html_(self) -> str:
        return box(to_html(repr(self)))

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = dict(self.place()._repr_mimebundle_(**options) or {})
        return bundle | {"text/plain": repr(self), "text/html": self._repr_html_()}


def after(question: Question, make: Callable[[], Any]) -> After:
    """Show what `make` makes once `question` was answered, and a sentence that says so until then.

    `make` is called at most once, and not before: ``after(question, lambda: explore(Keepalive))``.
    """
    return After(question, make)


def reveal(question: Question, *parts: Any) -> Shown:
    """A fact that a learner opens: folded away until `question` was answered, open afterwards.

    Parts are sentences, or things with an HTML form such as tables. Without HTML (in a terminal,
    on a page that shows no output) their text simply stands there.
    """
    state = " open" if question.committed else ""
    summary = "What happens (open this when you have made your prediction)"
    body = f"<details{state}><summary><b>{summary}</b></summary>{''.join(map(_as_html, parts))}</details>"
    return Shown("\n".join(to_plain(str(part)) for part in parts), box(body, edge="#009E73"))


def live(widget: Any, *instead: Any) -> Live:
    """A widget where a kernel runs, and `instead` where none does: sentences, tables."""
    return Live(widget, *instead)


class Live:
    """See `live`."""

    def __init__(self, widget: Any, *instead: Any) -> None:
        self.widget = widget
        self.instead = instead

    def __repr__(self) -> str:
        return "\n".join(to_plain(str(part)) for part in self.instead)

    def _repr_html_(self) -> str:
        return "".join(map(_as_html, self.instead))

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = dict(self.widget._repr_mimebundle_(**options) or {})
        return bundle | {"text/plain": repr(self), "text/html": self._repr_html_()}


def _as_html(part: Any) -> str:
    show = getattr(part, "_repr_html_", None)
    return str(show()) if show else f"<p>{to_html(str(part))}</p>"
