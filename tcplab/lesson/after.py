"""First predict, then look: what waits for a prediction."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from tcplab.lesson.question import Question
from tcplab.lesson.text import box, to_html, to_plain

WAITING = "First make your prediction above and press Check (any answer will do); then this part opens."


class After:
    """A place that stays closed until its question was answered. See `after`."""

    def __init__(self, question: Question, make: Callable[[], Any]) -> None:
        self.question = question
        self._make = make
        self._made: Any = None
        self._place: Any = None
        question.when_started_again(self._start_again)

    @property
    def thing(self) -> Any:
        """What was waiting, made when first wanted; None while the question is open."""
        if not self.question.committed:
            return None
        if self._made is None:
            self._made = self._make()
        return self._made

    def place(self) -> Any:
        """The widget that holds the waiting sentence first, and the thing itself later."""
        if self._place is None:
            import ipywidgets as widgets

            self._place = widgets.VBox([widgets.HTML(box(to_html(WAITING)))])
            self.question.when_committed(self._open)
        return self._place

    def _start_again(self) -> None:
        """The sentence in its place again; the thing will be another one, as it was at first."""
        import ipywidgets as widgets

        self._made = None
        if self._place is not None:
            gone = self._place.children
            self._place.children = [widgets.HTML(box(to_html(WAITING)))]
            _close(gone)

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
    Only `start_again` brings it about that it is called once more.
    """
    return After(question, make)


class Reveal:
    """A fact that is folded away while its question is open. See `reveal`."""

    def __init__(self, question: Question, *parts: Any, title: str = "What happens") -> None:
        self.question = question
        self.parts = parts
        self.title = title
        self._place: Any = None

    def place(self) -> Any:
        """The widget that unfolds by itself when the question is answered."""
        if self._place is None:
            import ipywidgets as widgets

            self._place = widgets.HTML(self._repr_html_())
            self.question.when_committed(self._fold_or_unfold)
            self.question.when_started_again(self._fold_or_unfold)
        return self._place

    def _fold_or_unfold(self) -> None:
        self._place.value = self._repr_html_()

    def __repr__(self) -> str:
        return "\n".join(to_plain(str(part)) for part in self.parts)

    def _repr_html_(self) -> str:
        done = self.question.committed
        summary = to_html(
            self.title if done else f"{self.title} (open this when you have made your prediction)"
        )
        inside = f"<summary><b>{summary}</b></summary>{''.join(map(_as_html, self.parts))}"
        return box(f"<details{' open' if done else ''}>{inside}</details>", edge="#009E73")

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = dict(self.place()._repr_mimebundle_(**options) or {})
        return bundle | {"text/plain": repr(self), "text/html": self._repr_html_()}


def reveal(question: Question, *parts: Any, title: str = "What happens") -> Reveal:
    """A fact under a title, folded away until `question` was answered; then it unfolds.

    Parts are sentences, lines of a terminal, or things with an HTML form such as tables. Without a
    kernel one opens it by hand; where no HTML is shown, its text simply stands there.
    """
    return Reveal(question, *parts, title=title)


def _close(widgets: Any) -> None:
    """Widgets that nobody will see again, with all that is in them: they would pile up in the kernel."""
    for widget in widgets:
        _close(getattr(widget, "children", ()))
        widget.close()


def _as_html(part: Any) -> str:
    """Things with an HTML form as they are, lines as a terminal shows them, sentences as paragraphs."""
    if show := getattr(part, "_repr_html_", None):
        return str(show())
    text = str(part)
    return f"<pre>{escape(text)}</pre>" if "\n" in text else f"<p>{to_html(text)}</p>"
