"""What each cell of a notebook shows, so that the kernel can let go of what a cell's next run replaces.

ipywidgets keep every widget until it is closed, and IPython keeps every result in `Out`: a lesson that is run
again and again would pile up pictures that nobody sees. A front end says which cell it runs (JupyterLab,
Notebook 7 and VS Code do); where none does, nothing is let go.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any


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
