"""What a notebook shows: a widget with its static form, and what each cell has shown.

ipywidgets keep every widget until it is closed, and IPython keeps every result in `Out`: a lesson that is run
again and again would pile up pictures that are no longer on screen. So the kernel closes what a cell's next
run replaces. A front end names the cell that it runs (JupyterLab, Notebook 7 and VS Code do); without a name,
nothing is closed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from tcplab.core.text import paragraph


def parts(widget: Any) -> Iterator[Any]:
    """The widgets that a widget is made of, the innermost first, and itself."""
    own = (getattr(widget, name, None) for name in ("layout", "style"))
    for part in (*getattr(widget, "children", ()), *own):
        if hasattr(part, "comm"):
            yield from parts(part)
    yield widget


def close(widget: Any) -> None:
    """Close a widget and its parts: they would pile up in the kernel. Shown again, it opens again."""
    for part in parts(widget):
        part.close()
        vars(part).pop("_repr_mimebundle_", None)  # with which ipywidgets say: never again


def reopen(widget: Any) -> None:
    """Open what was closed."""
    for part in parts(widget):
        if part.comm is None:
            part.open()


class CellsShown:
    """The things that each cell of a notebook shows."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._shown: dict[str, list[Any]] = {}
        self._new: list[Any] = []
        shell.events.register("post_run_cell", self._has_run)

    def show(self, thing: Any) -> None:
        """The running cell shows this; outside of a cell's run, nothing is noted."""
        if self._shell.get_parent().get("metadata", {}).get("cellId"):
            self._new.append(thing)

    def _has_run(self, result: Any) -> None:
        """Let go of what this cell showed before and no cell shows now."""
        cell, new = result.info.cell_id, self._new
        self._new = []
        if cell is None:
            return
        gone = self._shown.get(cell, [])
        self._shown[cell] = new
        still = {id(thing) for things in self._shown.values() for thing in things}
        for thing in gone:
            if id(thing) not in still:
                self._forget(thing)
                thing.let_go()

    def _forget(self, thing: Any) -> None:
        """Take it from `Out`, `_` and their like; the learner's own names keep it."""
        shell = self._shell
        for names in (shell.user_ns, shell.user_ns_hidden, shell.user_ns.get("_oh", {})):
            for name in [name for name, value in names.items() if value is thing]:
                if isinstance(name, int) or name.startswith("_"):
                    del names[name]


_cells: CellsShown | None = None


def shown(thing: Any) -> None:
    """A notebook shows this now, if there is one."""
    global _cells
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or not hasattr(shell, "get_parent"):
        return
    if _cells is None or _cells._shell is not shell:
        _cells = CellsShown(shell)
    _cells.show(thing)


class Displayed:
    """What a notebook shows as a widget where a kernel runs, and as text, HTML or SVG where none does."""

    _widget: Any = None

    def widget(self) -> Any:
        """The widget, made when first wanted: always the same one."""
        if self._widget is None:
            self._widget = self._build()
        return self._widget

    def _build(self) -> Any:
        """Make the widget; one that is a widget itself returns itself."""
        return self

    def _repr_html_(self) -> str:
        """The widget as static HTML, here its text; a subclass may have a `_repr_svg_` too."""
        return paragraph(repr(self))

    def let_go(self) -> None:
        """No cell shows it any more: close its widget. Shown again, it gets a new one, or opens again."""
        if self._widget is not None:
            close(self._widget)
            self._widget = None

    def _repr_mimebundle_(self, **options: Any) -> Any:
        widget = self.widget()
        reopen(widget)
        shown(self)
        seen: Any = super() if widget is self else widget
        made = seen._repr_mimebundle_(**options) or {}
        bundle, *metadata = made if isinstance(made, tuple) else (made,)
        bundle = {**bundle, "text/plain": repr(self), "text/html": self._repr_html_()}
        if draw := getattr(self, "_repr_svg_", None):
            bundle["image/svg+xml"] = draw()
        return (bundle, *metadata) if metadata else bundle
